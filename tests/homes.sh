#!/bin/bash
# homes.sh HOME - what the README's section of this home says, as a newcomer types it
#
# As root on a machine that holds little (tests/bare.sh --homes), in a checkout named swin whose
# parent may be written to. The blocks are the README's to the letter, but for the lines that need
# what such a machine has not: a camera, a screen, a Slurm cluster.

set -eo pipefail
cd "$(dirname "$0")/.."

# block LANGUAGE HEADING: the blocks of this language in the section, one after another.
block() {
    awk -v fence="\`\`\`$1" -v heading="$2" '
        /^#/ && !inside { here = $0 == "## " heading || $0 == "### " heading }
        /^```/ { inside = !inside; take = here && $0 == fence; next }
        take' README.md | grep . || { echo "no block of $1 under $2"; exit 1; }
}

# type_in LINES: runs them in a shell that shows them and stops at an error.
type_in() {
    bash -exo pipefail -c "$1"
}

# written FILE...: these are there and hold something.
written() {
    local file
    for file; do [ -s "$file" ] || { echo "there is no $file"; return 1; }; done
}

game() {
    type_in "$(block sh 'A game' | grep -vx 'build/frame_loop [^-]*')"
    written frame.png
}

robot() {
    type_in "$(block sh 'A robot' | grep -v /dev/video0)"
    written frames.jsonl seen.mp4
}

gstreamer() {
    type_in "$(block sh 'A GStreamer pipeline' | grep -v v4l2src)"
    written ids.png
}

# The page is served until it was asked for; then the package in node.
web() {
    local lines server
    lines=$(block sh 'A web page')
    type_in "$(grep -v '^make deps web' <<< "$lines" | head -n 1)"
    set -m
    type_in "$(grep '^make deps web' <<< "$lines")" & server=$!
    python3 -c '
import time, urllib.request
for name in ("", "swinh.wasm", "street.swin"):
    for attempt in range(600):
        try:
            print(name, len(urllib.request.urlopen(f"http://127.0.0.1:8000/{name}").read()))
            break
        except OSError:
            time.sleep(1)
    else:
        raise SystemExit("nothing is served")'
    kill -- -$server
    mkdir ../app
    block js 'A web page' > ../app/street.mjs
    type_in "$(tail -n 1 <<< "$lines")"
}

# class_maps FOLDER...: each has one of every photo.
class_maps() {
    local folder photo
    for folder; do
        for photo in examples/photos/*.jpg; do written "$folder/${photo##*/}.ids.png"; done
    done
}

in_python() {
    local lines
    lines=$(block sh Python)
    block python Python > ../first.py
    type_in "$lines
python ../first.py"
    class_maps out
}

cluster() {
    type_in "$(block sh Python | sed '$d')
$(block sh 'A cluster' | grep -v sbatch)
ray stop"
    class_maps by-ray by-cluster
}

build_systems() {
    mkdir ../app
    type_in "$(block sh 'C++ and build systems' | head -n 1)"
    git config --global safe.directory '*'
    git clone --quiet --bare . /tmp/swin.git
    git -C /tmp/swin.git branch --force main HEAD
    block cmake 'C++ and build systems' | sed 's|THIS-REPOSITORY|file:///tmp/swin.git|' \
        > ../app/CMakeLists.txt
    type_in "$(block sh 'C++ and build systems' | tail -n +2)"
}

threads() {
    type_in "$(block sh 'Memory and threads')"
}

# A newcomer says yes.
echo 'APT::Get::Assume-Yes "true";' > /etc/apt/apt.conf.d/98newcomer
"$1"
