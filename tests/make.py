"""make as a user meets it: what is missing is named or installed, the environment's variables are
defaults, paths may hold spaces, and what fails leaves nothing behind. Compilers, apt-get, sudo and
pip are small scripts here; tests/bare.sh has the real ones."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest

from conftest import ROOT

NEED = ROOT / "tools/need"
THINGS = subprocess.run([NEED, "--list"], capture_output=True, text=True).stdout.splitlines()
STB = ["stb_image.h", "stb_image_write.h", "stb_easy_font.h"]
STRANGERS = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PYTHON",
             "BUILD", "PREFIX", "DESTDIR")


def run(*command, folder=ROOT, **variables):
    """The command without the variables that this run of make was given, and with these."""
    environment = {k: v for k, v in os.environ.items() if k not in STRANGERS}
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=300,
                          env=environment | {k: str(v) for k, v in variables.items()})


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)        # never write through a link into the system
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def headers(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return f"-nostdinc -I{folder}"


def path_without(folder, *commands):
    """A PATH that leads to all commands but these."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(":")):
        for command in os.scandir(place) if os.path.isdir(place) else ():
            if command.name not in commands:
                (folder / command.name).unlink(missing_ok=True)
                (folder / command.name).symlink_to(command.path)
    return folder


# what is missing ----------------------------------------------------------------------------------

def without(command):
    return lambda tmp: {"PATH": path_without(tmp / "without", command)}


def with_script(name, text):
    return lambda tmp: {"PATH": f"{script(tmp / name, text).parent}:{os.environ['PATH']}"}


def with_scripts(**texts):
    """Commands, named with _ for -, that are these lines of shell."""
    def world(tmp):
        for name, text in texts.items():
            script(tmp / name.replace("_", "-"), text)
        return {"PATH": f"{tmp}:{os.environ['PATH']}"}
    return world


def includes(*names):
    return lambda tmp: {"CPPFLAGS": headers(tmp, *names)}


def no_ensurepip(tmp):
    (tmp / "ensurepip.py").write_text("raise ImportError")
    return {"PYTHON": sys.executable, "PYTHONPATH": tmp}


def no_python_header(tmp):
    (tmp / "sysconfig.py").write_text("get_path = '/no-such-folder/{}'.format")
    return {"PYTHON": sys.executable, "PYTHONPATH": tmp}


# thing: the worlds where it is missing, or there in part
MISSING = {
    "C compiler": [lambda tmp: {"CC": "no-such-compiler"}, lambda tmp: {"LDFLAGS": "-lno-library"}],
    "stb": [includes(), includes(*(f"stb/{name}" for name in STB[:2]))],
    "SDL2": [without("sdl2-config"), with_script("sdl2-config", "echo -nostdinc")],
    "gcc": [without("gcc"), with_script("gcc", "exit 1")],
    "clang": [without("clang"),
              with_script("clang", 'case "$*" in *-fsanitize*) exit 1 ;; esac')],
    "g++": [without("g++"), with_script("g++", "exit 1")],
    "gcc for AArch64": [without("aarch64-linux-gnu-gcc"),
                        with_script("aarch64-linux-gnu-gcc", "exit 1")],
    "clang for WebAssembly": [with_script("clang", 'case "$*" in *wasm32*) exit 1 ;; esac')],
    "clang for relaxed SIMD": [lambda tmp: {"WASM_CC": "no-such-clang"},
                               with_script("clang-19", "exit 1")],
    "node": [without("node")],
    "npm": [without("npm")],
    "Chromium": [without("chromedriver")],
    "clang-tidy": [without("clang-tidy")],
    "cppcheck": [without("cppcheck")],
    "valgrind": [without("valgrind")],
    "qemu": [without("qemu-aarch64"), without("qemu-arm")],
    "wine": [without("wine")],
    "llvm": [without("llvm-size"), without("llvm-cov"), without("llvm-profdata")],
    "simde": [includes(*(f"stb/{name}" for name in STB))],
    "venv of Python": [no_ensurepip, lambda tmp: {"PYTHON": "no-such-python"}],
    "headers of Python": [no_python_header, lambda tmp: {"PYTHON": "no-such-python"}],
    "debootstrap": [without("debootstrap")],
    "GStreamer": [without("pkg-config"), lambda tmp: {"PKG_CONFIG_LIBDIR": tmp}],
    "GStreamer tools": [without("gst-launch-1.0"), with_script("gst-inspect-1.0", "exit 1")],
}
# compilers and builders, each of one command
COMPILERS = {
    "TinyCC": "tcc", "gcc for i386": "i686-linux-gnu-gcc",
    "gcc for ARMv7": "arm-linux-gnueabihf-gcc", "gcc for RISC-V": "riscv64-linux-gnu-gcc",
    "gcc for s390x": "s390x-linux-gnu-gcc", "gcc for POWER": "powerpc64le-linux-gnu-gcc",
    "gcc for Windows": "x86_64-w64-mingw32-gcc", "musl": "musl-gcc", "CMake": "cmake",
    "pkg-config": "pkg-config", "ninja": "ninja", "git": "git",
}
MISSING.update({thing: [without(command), with_script(command, "exit 1")]
                for thing, command in COMPILERS.items()})
# where it is there: this machine, but for what the tests do without
THERE = {
    "gcc for POWER": with_script("powerpc64le-linux-gnu-gcc", ""),
    "wine": with_script("wine", ""),
    # LLVM 14's profdata knows no --version.
    "llvm": with_scripts(llvm_size="", llvm_cov="",
                         llvm_profdata='case $1 in merge) ;; *) exit 1 ;; esac'),
    "stb": includes(*(f"stb/{name}" for name in STB)),
    "simde": includes("simde/x86/avx512.h"),
    "debootstrap": with_script("debootstrap", ""),
}


@pytest.mark.parametrize("thing", THINGS)
def test_check_fails_where_the_thing_is_missing(thing, tmp_path):
    for number, world in enumerate(MISSING[thing]):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert run(NEED, "--check", thing, **world(folder)).returncode != 0, number


@pytest.mark.parametrize("thing", THINGS)
def test_check_passes_where_the_thing_is_there(thing, tmp_path):
    world = THERE.get(thing, lambda tmp: {})(tmp_path)
    assert run(NEED, "--check", thing, **world).returncode == 0


@pytest.mark.parametrize("thing", ["stb", "simde"])
def test_this_machine_has_the_headers(thing):
    assert run(NEED, "--check", thing).returncode == 0


GOALS = {
    (): "programs", ("install",): "programs", ("bench",): "programs bench",
    ("game",): "programs game", ("gst",): "programs gst",
    ("page",): "programs page", ("web",): "programs web",
    ("bench-web",): "programs web bench bench-web",
    ("lib",): "library", ("lib", "install"): "programs",
    ("demo",): "--install programs", ("deps",): "--install programs bench game gst web",
    ("deps", "game"): "--install programs game", ("deps", "all"): "--install programs",
    ("sizes",): "programs", ("ports",): "--install programs tests ports",
    ("fuzz",): "--install programs tests",
    ("coverage",): "--install programs tests coverage",
    ("test",): "--install programs tests", ("test-setup",): "--install programs tests",
}


@pytest.mark.parametrize("goals", GOALS)
def test_what_each_goal_needs(goals):
    said = run("make", "-n", *goals).stdout
    assert [line.split()[1:] for line in said.splitlines() if line.startswith("tools/need")] == [
        GOALS[goals].split()]


@pytest.mark.parametrize("goal, venv", [
    ("test", "venv"), ("fuzz", "venv"), ("ports", "venv"), ("bench", "venv-bench"),
    ("bench-web", "venv-bench")])
def test_what_needs_libraries_of_python_has_a_venv(goal, venv, tmp_path):
    said = run("make", "-n", goal, f"BUILD={tmp_path}").stdout.splitlines()
    made = [i for i, line in enumerate(said) if line.startswith(f'tools/venv "{tmp_path}/{venv}" ')]
    last = [i for i, line in enumerate(said) if line.startswith(f'"{tmp_path}/{venv}/bin/python" ')]
    assert len(made) == len(last) == 1 and made < last == [len(said) - 1]


# what is installed --------------------------------------------------------------------------------

APT = """echo "$@" >> '{log}'
{apt}
"""
ARRIVES = "mkdir -p '{0}/stb'; cd '{0}/stb'; touch " + " ".join(STB)


@pytest.fixture
def machine(tmp_path):
    """machine(goal, user ID, apt-get, sudo): make where stb is missing. apt-get, which brings stb,
    and sudo are lines of shell, or None where there is none. Returns the result and apt-get's
    calls."""
    include, log = tmp_path / "include", tmp_path / "log"

    def start(goal, user=0, apt=ARRIVES.format(include), sudo=None):
        tools = path_without(tmp_path / "tools", "apt-get", "sudo", "id")
        script(tools / "id", f"echo {user}")
        script(tools / "sdl2-config", "")
        script(tools / "clang-19", "")
        if apt is not None:
            script(tools / "apt-get", APT.format(log=log, apt=apt))
        if sudo is not None:
            script(tools / "sudo", sudo)
        result = run("make", goal, f"BUILD={tmp_path}/build", PATH=tools,
                     CPPFLAGS=headers(include, "SDL.h"))
        assert not (tmp_path / "build").exists()
        return result, log.read_text().splitlines() if log.exists() else []

    return start


def refused(result, *words):
    """Exit 2 after one sentence that names the packages and holds the words."""
    assert result.returncode == 2
    sentence, *more = result.stderr.splitlines()[-2:]
    for word in ("missing: stb", "libstb-dev", "Fedora: stb-devel", *words):
        assert word in sentence
    assert all(line.startswith("make: ***") for line in more)


@pytest.mark.parametrize("goal", ["all", "install", "bench"])
def test_other_goals_install_nothing(machine, goal):
    result, calls = machine(goal)
    refused(result, "`make deps`")
    assert not calls


def test_root_installs(machine):
    result, calls = machine("deps")
    assert result.returncode == 0, result.stderr
    assert len(calls) == 1 and calls[0].endswith("install libstb-dev") and "--no-remove" in calls[0]


def test_sudo_installs(machine):
    result, calls = machine("deps", user=1000, sudo='[ "$1" = -n ] && shift; exec "$@"')
    assert result.returncode == 0 and calls[0].endswith("install libstb-dev")


def test_lists_are_fetched_once_where_a_package_is_unknown(machine, tmp_path):
    lists = tmp_path / "lists"
    apt = (f"case \"$*\" in *update*) touch '{lists}' ;; *) [ -e '{lists}' ] || exit 100; "
           f"{ARRIVES.format(tmp_path / 'include')} ;; esac")
    result, calls = machine("deps", apt=apt)
    assert result.returncode == 0
    assert [re.search("install|update", call)[0] for call in calls] == ["install", "update",
                                                                        "install"]


def test_lists_are_waited_for_where_they_are_locked(machine, tmp_path):
    """The first update finds them locked; a package is known after the second."""
    lists, arrives = tmp_path / "lists", ARRIVES.format(tmp_path / "include")
    apt = (f"case \"$*\" in *update*) echo . >> '{lists}'; [ $(wc -l < '{lists}') = 2 ] || "
           "{ echo 'E: Could not get lock'; exit 100; } ;; "
           f"*) [ $(wc -l < '{lists}') = 2 ] || exit 100; {arrives} ;; esac")
    result, calls = machine("deps", apt=apt)
    assert result.returncode == 0, result.stderr
    assert len(calls) == 4 and calls[-1].endswith("install libstb-dev")


def test_neither_root_nor_sudo(machine):
    result, calls = machine("demo", user=1000)
    refused(result, "root, or sudo")
    assert not calls


def test_sudo_asks_for_a_password_where_nobody_is(machine):
    result, calls = machine("demo", user=1000, sudo="exit 1")
    refused(result, "password")
    assert not calls


def test_no_apt_get(machine):
    refused(machine("demo", apt=None)[0], "no apt-get")


def test_apt_get_fails(machine):
    said = "echo 'W: no network' >&2; echo 'E: Unable to locate package libstb-dev' >&2; exit 100"
    refused(machine("demo", apt=said)[0], "no network;Unable to locate package libstb-dev")


def test_apt_get_brings_something_else(machine):
    refused(machine("demo", apt=":")[0], "includes stb/stb_image.h")


def test_clang_is_named_where_it_is_the_compiler(tmp_path):
    said = run(NEED, "programs", CC="clang", CPPFLAGS="-nostdinc", LDFLAGS="-lno-library").stderr
    assert "install clang libc6-dev libstb-dev (" in said
    said = run(NEED, "programs", CC="gcc-99", CPPFLAGS="-nostdinc").stderr
    assert "install gcc libc6-dev libstb-dev (" in said
    assert "(gcc-99 -nostdinc builds no program)" in said


# the environment ----------------------------------------------------------------------------------

def compilations(*arguments, **variables):
    lines = run("make", "-n", "-B", "BUILD=/no-such-folder", *arguments, **variables).stdout
    return [line for line in lines.splitlines() if " examples/" in line and " -o " in line]


def test_compilers_and_flags():
    assert all(re.match("gcc .* -O2 ", line) for line in compilations())
    flags = {"CFLAGS": "-O1 -g", "CPPFLAGS": "-DONE", "LDFLAGS": "-static"}
    for line in compilations(CC="clang", **flags):
        assert line.startswith("clang ") and not re.search("-O2", line)
        assert all(flag in line for flag in flags.values())
    assert all(line.startswith("tcc ") for line in compilations("CC=tcc", CC="clang"))
    assert len(compilations()) == 4


@pytest.mark.parametrize("how", ["command line", "environment"])
def test_empty_variables_are_as_if_unset(how):
    empty = {"BUILD": "", "CC": "", "PYTHON": " "}
    arguments = [f"{k}={v}" for k, v in empty.items()] if how == "command line" else []
    lines = run("make", "-n", "-B", *arguments, **({} if arguments else empty)).stdout
    assert re.search('^gcc .* -o "build/segment"', lines, re.MULTILINE) and '"/' not in lines


COMPILER = """echo "start $*" >> "$LOG"
case " $* " in *" -fsyntax-only "*) exit ;; *examples/*) sleep 0.5 ;; esac
while [ "$1" != -o ]; do shift; done
cat > "$2" <<'END'
#!/bin/sh
folder=$4
shift 4
for photo; do touch "$folder${photo##*/}.png"; done
END
chmod +x "$2"
echo end >> "$LOG"
"""


@pytest.fixture
def copy(tmp_path):
    """make(arguments, variables): in a copy of the checkout whose path has a space, with a compiler
    that takes half a second and whose programs make an empty picture of each photo."""
    checkout = tmp_path / "a copy"
    for name in ("examples", "weights", "tools"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "Makefile", "swin.h", "swin.pc.in"):
        shutil.copy(ROOT / name, checkout)
    compiler = script(tmp_path / "cc", COMPILER)

    def make(*arguments, **variables):
        variables = {"CC": compiler, "LOG": tmp_path / "log"} | variables
        return run("make", *arguments, folder=checkout, **variables)

    make.checkout, make.log = checkout, tmp_path / "log"
    return make


def at_once(log):
    """The most compilations of examples/ that ran at the same time."""
    running = most = 0
    for line in log.read_text().splitlines():
        running += (" examples/" in line) - (running > 0 and line == "end")
        most = max(most, running)
    return most


@pytest.mark.parametrize("arguments,variables,most", [
    ([], {}, min(4, len(os.sched_getaffinity(0)))), ([], {"MAKEFLAGS": "-j1"}, 1),
    ([], {"MAKEFLAGS": "k --jobs=1"}, 1), (["-j1"], {}, 1), (["-j1"], {"MAKEFLAGS": "-j3"}, 1),
    (["-j3"], {"MAKEFLAGS": "-j1"}, 3), ([], {"MAKEFLAGS": "-k"}, min(4, os.cpu_count())),
    ([], {"MAKEFLAGS": "-- FOO=-j1"}, min(4, len(os.sched_getaffinity(0))))])
def test_jobs(copy, arguments, variables, most):
    assert copy(*arguments, **variables).returncode == 0
    assert at_once(copy.log) == most


# paths --------------------------------------------------------------------------------------------

def files(folder):
    """Every path below, with the time of its last change."""
    return {path.relative_to(folder): path.lstat().st_mtime_ns for path in folder.rglob("*")}


VERSION = re.search(r"v((\d+\.\d+)\.\d+)", (ROOT / "swin.h").read_text().splitlines()[0])
INSTALLED = {"include/swin.h", "bin/segment", "lib/pkgconfig/swin.pc", "share/swin/LICENSE",
             "lib/pkgconfig/swin-header.pc", "lib/cmake/swin/swin-config.cmake",
             "lib/cmake/swin/swin-config-version.cmake", "lib/libswin.a", "lib/libswin.so",
             f"lib/libswin.so.{VERSION[2]}", f"lib/libswin.so.{VERSION[1]}",
             "share/swin/street.swin", "share/swin/street.LICENSE",
             "share/swin/aerial.swin", "share/swin/aerial.LICENSE"}


def installed(folder):
    return {str(path) for path in files(folder) if not (folder / path).is_dir()}


@pytest.mark.parametrize("how", ["command line", "environment"])
def test_install_where_paths_hold_odd_characters(copy, tmp_path, how):
    paths = {"DESTDIR": f"{tmp_path}/the root", "PREFIX": "/opt/a b/it's & |so|"}
    arguments = [f"{k}={v}" for k, v in paths.items()] if how == "command line" else []
    result = copy("install", *arguments, **({} if arguments else paths))
    assert result.returncode == 0, result.stderr
    prefix = tmp_path / "the root" / paths["PREFIX"][1:]
    assert installed(tmp_path / "the root") == {
        f"{prefix.relative_to(tmp_path / 'the root')}/{name}" for name in INSTALLED}
    package = (prefix / "lib/pkgconfig/swin.pc").read_text()
    assert package.startswith(f"prefix={paths['PREFIX']}\n") and '-I"${includedir}"' in package
    assert (prefix / "bin/segment").stat().st_mode & 0o777 == 0o755
    assert (prefix / "include/swin.h").stat().st_mode & 0o777 == 0o644
    assert "non-commercial use only" in (prefix / "share/swin/street.LICENSE").read_text()


def test_no_model_is_installed_without_its_terms(copy, tmp_path):
    (copy.checkout / "weights/new.swin").write_bytes(b"SWIN")
    result = copy("install", f"PREFIX={tmp_path}/prefix")
    assert result.returncode == 2 and "weights/new.swin has no terms of use" in result.stderr
    assert not (tmp_path / "prefix").exists()


def test_install_below_a_relative_prefix(copy):
    assert copy("install", "PREFIX=below/here").returncode == 0
    prefix = copy.checkout / "below/here"
    assert (prefix / "lib/pkgconfig/swin.pc").read_text().startswith(f"prefix={prefix}\n")


def test_build_elsewhere_leaves_the_checkout_alone(copy, tmp_path):
    before = files(copy.checkout)
    build = tmp_path / "built elsewhere"
    for goal in ("all", "demo", "install"):
        result = copy(goal, f"BUILD={build}", f"PREFIX={tmp_path}/prefix")
        assert result.returncode == 0, result.stderr
    assert files(copy.checkout) == before
    made = {path.name for path in build.iterdir()}
    assert {"minimal", "segment", "stream", "tensor", "demo"} <= made
    assert len(list((build / "demo").glob("*.png"))) == 3
    (build / "mine").touch()
    assert copy("clean", f"BUILD={build}").returncode == 0
    assert [path.name for path in build.iterdir()] == ["mine"]


def test_clean(copy):
    before = set(files(copy.checkout))
    assert copy().returncode == 0 and copy("clean").returncode == 0
    assert set(files(copy.checkout)) == before
    assert copy("clean").returncode == 0


# what fails leaves nothing behind -----------------------------------------------------------------

@pytest.mark.parametrize("obstacle", ["share", "lib/pkgconfig", "lib/libswin.so/folder",
                                      "share/swin/street.swin/folder"])
def test_failed_install_leaves_nothing(copy, tmp_path, obstacle):
    prefix = tmp_path / "prefix"
    (prefix / obstacle).parent.mkdir(parents=True)
    (prefix / obstacle).touch()
    (prefix / "bin").mkdir()
    (prefix / "bin/segment").write_text("the last version")
    before = files(prefix).keys()
    result = copy("install", f"PREFIX={prefix}")
    assert result.returncode == 2 and "nothing was installed" in result.stderr
    assert files(prefix).keys() == before
    assert (prefix / "bin/segment").read_text() == "the last version"


# An interpreter whose -m venv makes a folder with itself in it; pip is a line of shell.
PYTHON = """case "$*" in
    *venv*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
    *pip*) {pip} ;;
esac
"""


def make_venv(tmp_path, pip, *more):
    python = script(tmp_path / "python", PYTHON.format(pip=pip))
    return subprocess.Popen(
        [ROOT / "tools/venv", tmp_path / "a venv", ROOT / "tests/requirements.txt", *more],
        env=os.environ | {"PYTHON": str(python)}, stderr=subprocess.PIPE, text=True)


def test_venv(tmp_path):
    log = f"echo \"$*\" >> '{tmp_path}/log'"
    assert make_venv(tmp_path, log, "--alone", "FILE").wait(60) == 0
    assert (tmp_path / "a venv/.ready").exists()
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first.endswith("requirements.txt") and second.endswith("--no-deps -r FILE")


def test_no_venv_is_left_where_pip_fails(tmp_path):
    venv = make_venv(tmp_path, "exit 1")
    assert venv.wait(60) == 2 and "pip failed with" in venv.stderr.read()
    assert not (tmp_path / "a venv").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_no_venv_is_left_where_pip_is_interrupted(tmp_path, how):
    venv = make_venv(tmp_path, f"touch '{tmp_path}/started'; sleep 3")
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
    venv.send_signal(how)
    assert venv.wait(60) == 2 and "interrupted" in venv.stderr.read()
    assert not (tmp_path / "a venv").exists()


def test_what_a_fuzzer_found_says_how_to_keep_it(tmp_path):
    runner = types.ModuleType("runner")
    runner.__file__ = str(ROOT / "tests/run")
    exec((ROOT / "tests/run").read_text(), runner.__dict__)
    crash = tmp_path / "a folder/fuzz-desc-crash-1"
    crash.parent.mkdir()
    crash.write_bytes(b"\x01\xff")
    text = f"artifact_prefix='x'; Test unit written to {crash}\nBase64: Af8=\n"
    advice = runner.how_to_keep(ROOT / "tests/fuzz/desc.c", text)
    assert advice.endswith("fuzz/regressions/desc.txt the line\n01ff\n") and str(crash) in advice
    assert runner.how_to_keep(ROOT / "tests/fuzz/desc.c", "Done 100 runs") == ""
