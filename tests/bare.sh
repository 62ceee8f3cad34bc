#!/bin/bash
# bare.sh [SUITE...]                 - the README's first commands on bare machines, with what HEAD
#                                      holds; ends with the line `N passed, N failed[, N skipped]`
# bare.sh --homes [HOME...]          - the README's sections of homes, as tests/homes.sh types them,
#                                      on a bare Debian 12 each
# bare.sh --command SUITE COMMAND... - runs a command on a bare machine, as root in a clone of HEAD
#
# A bare machine is a chroot with a minimal Debian that has gcc, make and python3 and nothing else:
# Debian 12, up to all that the tests need, and Debian 13, or the suites named. That takes root,
# debootstrap and namespaces. The mirror, proxies, certificates and pip's index are this machine's.
# The systems are kept as archives below ${XDG_CACHE_HOME:-/var/cache}.
#
# Mounts are made in a namespace of their own, which ends with this script, however that ends.

cd "$(dirname "$0")/.." || exit 1
cache=${XDG_CACHE_HOME:-/var/cache}/swin-bare
root=                                           # of the machine in use, $cache/machines/SUITE
checkout="/home/stranger/my photos/swin"        # in the chroot, as are the two below
readonly=/mnt/swin
elsewhere="/home/stranger/built elsewhere"
PATH=$PATH:/usr/sbin:/sbin

# this machine -------------------------------------------------------------------------------------

# The mirror of this machine's own release, as apt is configured.
mirror() {
    apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' |
        awk -v release="$(. /etc/os-release; echo "$VERSION_CODENAME")" \
            '$2 == release { print $1; exit }'
}

# Variables that lead to the network: proxies, certificates, pip's own.
network() {
    local proxies='(https?|all|no)_proxy'
    local certificates='ssl_cert_(file|dir)|(curl|requests)_ca_bundle'
    env | grep -iE "^($proxies|$certificates|pip_[a-z_]+)="
}

# The files and folders of this machine that pip's configuration names. An index (file://) links to
# packages beside it.
pip_places() {
    python3 -m pip config list | grep -oE "(file://)?/[^' ]+" |
        sed -E 's|^file://(.*)/[^/]+/?$|\1|' | sort -u |
        while read -r path; do [ ! -e "$path" ] || echo "$path"; done
}

# the bare machine ---------------------------------------------------------------------------------

# The system as an archive, anew each month; it has another name until it is whole.
bootstrap() {
    local new=$cache/new archive=$cache/$1.tar
    [ -z "$(find "$archive" -mtime -30 2>/dev/null)" ] || return 0
    debootstrap --variant=minbase --include=gcc,libc6-dev,make,python3 "$1" "$new/root" \
        "$(mirror)" && tar -C "$new/root" -cf "$new/tar" . && mv "$new/tar" "$archive"
    rm -rf --one-file-system "$new"
    [ -f "$archive" ]
}

# place PATH: this machine's file or folder, read-only at the same place.
place() {
    if [ -d "$1" ]; then mkdir -p "$root$1"
    else mkdir -p "$root$(dirname "$1")" && { [ -e "$root$1" ] || touch "$root$1"; }
    fi
    mount --bind "$1" "$root$1" && mount -o remount,bind,ro "$root$1"
}

# Certificates are copied, as a package installed later may write beside them, and those that this
# machine trusts beyond Debian's with what such a package makes its own list from.
configure() {
    mkdir -p "$root/etc/ssl/certs" "$root/usr/local/share/ca-certificates"
    cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/" 2>/dev/null
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    cp -rL /etc/ssl/certs/. "$root/etc/ssl/certs/" 2>/dev/null
    cp -r /etc/apt/auth.conf.d "$root/etc/apt/" 2>/dev/null
    apt-config dump Acquire | grep '^Acquire::' > "$root/etc/apt/apt.conf.d/99machine"
    for file in /etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip"; do
        [ ! -e "$file" ] || place "$file" || return
    done
    pip_places | while read -r path; do
        case $path in /etc/ssl/certs/*) ;; *) place "$path" || exit ;; esac
    done
}

# A fresh machine, with a clone of HEAD and the same once more as a read-only checkout.
machine() {
    mkdir -p "$root"
    tar -C "$root" -xf "$cache/$1.tar" && mount -t proc proc "$root/proc" &&
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts" &&
        mount -t tmpfs tmpfs "$root/dev/shm" && configure &&
        chroot "$root" useradd --create-home stranger &&
        git clone --quiet --no-hardlinks . "$root$checkout" &&
        git clone --quiet --no-hardlinks . "$root$readonly" &&
        mount --bind "$root$readonly" "$root$readonly" &&
        mount -o remount,bind,ro "$root$readonly" &&
        chroot "$root" chown -R stranger: /home/stranger
}

# as USER FOLDER COMMAND...: runs a command on the bare machine.
as() {
    local user=$1 folder=$2 home variables
    shift 2
    if [ "$user" = root ]; then home=/root; else home=/home/$user; fi
    mapfile -t variables < <(network)
    chroot --userspec="$user:$user" "$root" env -i -C "$folder" "${variables[@]}" HOME="$home" \
        LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

# steps --------------------------------------------------------------------------------------------

passed=0 failed=0 skipped=0

# step WHAT COMMAND...: passes when the command does; otherwise shows the end of what it printed.
step() {
    local start=$SECONDS verdict=ok said
    if said=$("${@:2}" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1)) verdict=FAIL
        echo "$said" | tail -n 40
    fi
    printf '%-5s%s: %s  (%d s)\n' $verdict "$suite" "$1" $((SECONDS - start))
    [ $verdict = ok ]
}

# names TARGET PACKAGE...: make ends with exit 2 and a sentence that names the packages.
names() {
    local said
    said=$(as stranger "$checkout" make "$1" 2>&1)
    [ $? = 2 ] || { echo "make $1 did not end with exit 2: $said"; return 1; }
    for package in "${@:2}"; do
        [[ $said == *"please install "*"$package"* ]] || { echo "no $package: $said"; return 1; }
    done
    [ ! -e "$root$checkout/build" ] || { echo "make $1 left build behind"; return 1; }
}

# missing THING...: each thing's check fails.
missing() {
    local thing
    for thing; do
        ! as root "$checkout" tools/need --check "$thing" || { echo "$thing is there"; return 1; }
    done
}

# without_warnings COMMAND...
without_warnings() {
    local said
    said=$("$@" 2>&1) || { echo "$said"; return 1; }
    [[ $said != *warning:* ]] || { echo "$said"; return 1; }
}

# right_pictures BUILD: the demo's three pictures, the shares of sky and road in them, and the bits.
right_pictures() {
    [ "$(as root "$checkout" sh -c 'ls "$0"/demo/*.png | wc -l' "$1")" = 3 ] || return
    as root "$checkout" "$1/segment" -m weights/street.swin --self-test || return
    as root "$checkout" "$1/segment" -m weights/street.swin --json \
        examples/photos/california_highway_dashcam.jpg examples/photos/lund_parked_cars.jpg \
        examples/photos/us_suburb_stop_sign.jpg > "$root/tmp/shares.jsonl" || return
    as root "$checkout" python3 -c '
import json
shares = [{c["name"]: c["share"] for c in json.loads(line)["classes"]}
          for line in open("/tmp/shares.jsonl")]
for name, expected in {"sky": (.371, .192, .191), "road": (.293, .196, .122)}.items():
    got = [share[name] for share in shares]
    print(name, got)
    assert all(abs(a - b) < .01 for a, b in zip(got, expected, strict=True))'
}

first_commands() {
    mapfile -t things < <(tools/need --list | grep -vx -e 'C compiler' -e gcc)
    step "the checks say what is missing" missing "${things[@]}"
    for target in all install demo; do
        step "without root, make $target names the packages" names $target libstb-dev stb-devel
    done
    step "without root, make test names the packages" names test libstb-dev clang g++ qemu-user \
        gcc-aarch64-linux-gnu libsimde-dev python3-venv
    step "make demo" without_warnings as root "$checkout" make demo || return
    step "three right pictures" right_pictures build
    step "make demo installs nothing for the tests" missing clang "venv of Python" "gcc for AArch64"
    # Debian 12 makes the same programs further on, by `make install`.
    [ "$suite" = bookworm ] || step "make" without_warnings as root "$checkout" make
}

# All that the tests need, from a read-only checkout; then nothing is asked for any more.
tests_setup() {
    step "make deps test-setup, from a read-only checkout" \
        as root "$readonly" make deps test-setup BUILD="$elsewhere" || return
    step "nothing is missing any more" as stranger "$readonly" tools/need programs tests bench
    as root / chown -R stranger: "$elsewhere"
    step "make demo, with clang and from a read-only checkout" without_warnings \
        as stranger "$readonly" env CC=clang make demo BUILD="$elsewhere"
    step "three right pictures again" right_pictures "$elsewhere"
    step "make install, to a path with a space" without_warnings \
        as stranger "$readonly" make install BUILD="$elsewhere" PREFIX="/home/stranger/a b"
    step "tests, from a read-only checkout" as stranger "$readonly" env BUILD="$elsewhere" \
        "$elsewhere/venv/bin/python" tests/run make cli
}

try() {
    suite=$1 root=$cache/machines/$1
    step "a minimal system" bootstrap "$suite" || return
    step "a fresh machine" machine "$suite" || return
    first_commands
    [ "$suite" != bookworm ] || tests_setup
}

# What each section says brings a newcomer to a program that runs.
try_homes() {
    suite=bookworm
    step "a minimal system" bootstrap bookworm || return
    for suite; do
        root=$cache/machines/$suite
        step "a fresh machine" machine bookworm &&
            step "what the README says" as root "$checkout" tests/homes.sh "$suite"
    done
}

# the script ---------------------------------------------------------------------------------------

# In the namespace: every suite, or home, on a machine of its own.
inside() {
    if [ "$1" = --command ]; then
        root=$cache/machines/$2
        bootstrap "$2" && machine "$2" && as root "$checkout" "${@:3}"
        exit
    fi
    if [ "$1" = --homes ]; then try_homes "${@:2}"; else for suite; do try "$suite"; done; fi
    finish
}

# Removes the machines, and the unfinished, which a killed run may have left too.
clean() {
    rm -rf --one-file-system "$cache/machines" "$cache/new"
}

finish() {
    [ $skipped = 0 ] && skipped= || skipped=", $skipped skipped"
    echo "$passed passed, $failed failed$skipped"
    exit $((failed > 0))
}

# A machine that is there to test everything must not pass over this.
skip() {
    echo "no bare machines are tried: $1"
    if [ "$CI" = true ]; then failed=1; else skipped=1; fi
    finish
}

if [ "$1" = --inside ]; then inside "${@:2}"; fi
[ $# -gt 0 ] || set -- bookworm trixie
[ "$*" != --homes ] ||
    set -- --homes game robot gstreamer web in_python cluster build_systems threads
[ "$(id -u)" = 0 ] || skip "that takes root"
command -v debootstrap >/dev/null || tools/need --install bare || skip "there is no debootstrap"
unshare --mount --pid --fork true || skip "this machine allows no namespaces"
mkdir -p "$cache"
exec 9> "$cache/lock"
flock 9
clean
trap 'kill -KILL $child; wait $child' HUP INT TERM
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child "$0" --inside \
    "$@" &
child=$!
wait $child
status=$?
clean
exit $status
