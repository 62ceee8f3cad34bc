"""Checkers that read the C code without running it: clang-tidy and cppcheck. What they find is a
fault, but for the list in tests/checkers.txt.

gcc -fanalyzer is none of them: gcc 12 gives up on swin.h and on the programs before it has seen
their ends, and says so only with -Wanalyzer-too-complex; with summaries of calls it takes what a
function fills for uninitialised."""

import pathlib
import re
import subprocess

import pytest

from sources import function_at

ROOT = pathlib.Path(__file__).resolve().parent.parent
FINDING = re.compile(r"^([^\s:]+):(\d+)(?::\d+)?: (?:warning|error): (.+) \[([\w.,-]+)\]$", re.M)
PROGRAMS = ["examples/gst/gstswinsegment.c", "examples/minimal.c", "examples/stream.c",
            "examples/tensor.c"]
TESTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("**/*.c"))
# What pkg-config calls the libraries that these include.
LIBRARIES = {"examples/gst/gstswinsegment.c": ["gstreamer-video-1.0"],
             "tests/gst_element.c": ["gstreamer-check-1.0", "gstreamer-video-1.0"]}
# One file that includes all headers of the library and the programs.
ALL = "examples/segment.c"
HEADERS = {"swin.h", "examples/common.h", "examples/picture.h"}
SCALAR = ["-std=c99", "-DSWIN_NO_SIMD"]
XCLANG = ["-Xclang"]            # before each word of the front end's own


def exceptions():
    """{(file, function, check)}; a line names them before its reason."""
    lines = (ROOT / "tests/checkers.txt").read_text().splitlines()
    return {tuple(line.split("#")[0].split()) for line in lines if not line.startswith("#")}


def run(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    except FileNotFoundError:
        pytest.fail(f"there is no {command[0]}: install the Debian package {command[0]}, or run "
                    "`make test-setup`, which does")


def no_findings(output, files):
    """Fails with what a checker says of these files, one line each, but for the exceptions."""
    found = []
    for name, line, message, check in FINDING.findall(output):
        path = (ROOT / name).resolve()
        file = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
        function = function_at(path.read_text().splitlines(), int(line))
        if file in files and (file, function, check) not in exceptions():
            found.append(f"{file}:{line}: in {function}: {message} [{check}]")
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def library_flags(source):
    if source not in LIBRARIES:
        return []
    return run("pkg-config", "--cflags", *LIBRARIES[source]).stdout.split()


def tidy(source, files, *flags, options=()):
    r = run("clang-tidy", "--quiet", *options, source, "--", "-x", "c", *flags,
            *library_flags(source))
    assert "clang-diagnostic-error" not in r.stdout, r.stdout
    no_findings(r.stdout, files)


def test_clang_tidy():
    """Everything along all paths: its analyzer leaves headers out unless told. A function gets
    half of the steps that it usually has, as a few large ones take most of the time."""
    tidy(ALL, {ALL} | HEADERS, *SCALAR, *XCLANG, "-analyzer-opt-analyze-headers", *XCLANG,
         "-analyzer-config", *XCLANG, "max-nodes=110000")


def test_clang_tidy_of_passes():
    """The passes of this machine; of their paths the scalar one's are as many."""
    tidy("swin.h", {"swin.h"}, "-std=c99", "-DSWIN_IMPLEMENTATION",
         options=["--checks=-clang-analyzer-*"])


@pytest.mark.parametrize("source", PROGRAMS + TESTS)
def test_clang_tidy_of_file(source):
    beside = {str(path.relative_to(ROOT)) for path in (ROOT / source).parent.glob("*.h")}
    tidy(source, {source} | beside - HEADERS, "-std=c99")


def cppcheck(files, *options):
    r = run("cppcheck", "--quiet", "--std=c99", "--language=c", "--platform=unix64",
            "--enable=warning,performance,portability", "--template={file}:{line}: warning: "
            "{message} [{id}]", "-D__GNUC__=12", "-D__x86_64__", "-D__BYTE_ORDER__=1234",
            "-D__ORDER_LITTLE_ENDIAN__=1234", *options, *files)
    assert r.returncode == 0, r.stdout
    return r.stderr


def test_cppcheck():
    no_findings(cppcheck([ALL], *SCALAR[1:]), {ALL} | HEADERS)


def test_cppcheck_of_files():
    """Without the implementation, which they all include. GLib's macros are with GTK's."""
    sources = PROGRAMS + TESTS
    headers = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("**/*.h")}
    no_findings(cppcheck(sources, "-DSWIN__IMPLEMENTED", "--library=gtk"), {*sources, *headers})
