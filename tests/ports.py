"""The same bits from every compiler, on every machine.

Under pytest: a port for each kind of machine, of the many. As a program (`make ports`): all of
PORTS, into the table of README.md. What they need stands in tools/need.
"""

import collections
import functools
import itertools
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tests" / "same_bits.c"
MODEL = ROOT / "weights" / "street.swin"
TIMEOUT = 1800

# WebAssembly under node, which is asked for no folder but the root.
WASI = """
require('v8').setFlagsFromString('--experimental-wasm-relaxed-simd');    // for node 20
const { WASI } = require('wasi'), args = process.argv.slice(1);
const wasi = new WASI({ version: 'preview1', args, preopens: { '/': '/' }, returnOnExit: true });
WebAssembly.instantiate(require('fs').readFileSync(args[0]),
                        { wasi_snapshot_preview1: wasi.wasiImport })
    .then(m => process.exit(wasi.start(m.instance)));
"""
NODE = ["node", "--no-warnings", "--experimental-wasi-unstable-preview1", "-e", WASI]
# Node 20 may crash where a program's memory grows in many steps: it has all of it from the start.
WASI_FLAGS = ("--target=wasm32-wasi -O2 -Wl,-z,stack-size=1048576 -Wl,--initial-memory=1073741824 "
              "-D_WASI_EMULATED_PROCESS_CLOCKS -lwasi-emulated-process-clocks")
# Debian 12's own clang has a draft's codes, too.
WASM_CLANG = os.environ.get("WASM_CC") or "clang-19"

# title: the line of the table; builds: compiler and flags, one or more; run: what starts the
# program; timed: seconds say something; often: the first build is part of the usual tests, at -O1
# instead of -O2, which make every so many of the runs of same_bits.c; 0: it is none.
Port = collections.namedtuple("Port", "title builds run timed often")


def port(title, *builds, run=(), timed=False, often=0):
    return Port(title, [b.split() for b in builds], list(run), timed, often)


def cross(machine):
    """The static program of a cross compiler, whose C library qemu need not find."""
    return f"{machine}-gcc -O2 -static"


LEVELS = "-O0 -O1 -O3 -Os -O2_-march=native -O2_-flto".split()


def each(compiler, *flags):
    return [f"{compiler} {flag.replace('_', ' ')}" for flag in flags]


X86 = platform.machine() == "x86_64"
PORTS = [
    port("gcc", *each("gcc", *LEVELS), timed=True),
    port("clang", *each("clang -fuse-ld=lld", *LEVELS), timed=True),
    port("gcc and clang, `-ffp-contract=fast`", "clang -O1 -ffp-contract=fast -march=native",
         "clang -O3 -ffp-contract=fast -mfma -DSWIN_NO_SIMD",
         "gcc -O3 -ffp-contract=fast -march=native", timed=True, often=1),
    port("g++ and clang++, C++11 and C++20",
         *[f"{compiler} -x c++ -std={standard} -O2" for compiler in ("g++", "clang++")
           for standard in ("c++11", "c++20")], timed=True),
    port("gcc, scalar pass alone", "gcc -O2 -DSWIN_NO_SIMD", timed=True),
    port("TinyCC", "tcc", timed=True, often=2),
    port("musl", "musl-gcc -O2 -static", timed=True),
    port("32-bit x86 with SSE", cross("i686-linux-gnu") + " -msse2 -mfpmath=sse",
         run=["qemu-i386"], often=7),
    port("x86-64 without AVX (Nehalem)", "gcc -O1 -static",
         run=["qemu-x86_64", "-cpu", "Nehalem"], often=7),
    port("x86-64 without AVX-512 (Haswell)", "gcc -O1 -static",
         run=["qemu-x86_64", "-cpu", "Haswell"], often=2),
    port("AArch64, NEON", cross("aarch64-linux-gnu"),
         run=["qemu-aarch64", "-cpu", "cortex-a57"], often=1),
    port("AArch64, NEON with sdot", cross("aarch64-linux-gnu"),
         run=["qemu-aarch64", "-cpu", "neoverse-n1"], often=1),
    port("AArch64, NEON with i8mm", cross("aarch64-linux-gnu"),
         "clang --target=aarch64-linux-gnu -O2 -static -march=armv8.6-a",
         run=["qemu-aarch64", "-cpu", "max"], often=1),
    port("AArch64, scalar pass alone", cross("aarch64-linux-gnu") + " -DSWIN_NO_SIMD",
         run=["qemu-aarch64"]),
    port("AArch64, clang `-ffp-contract=fast`",
         "clang --target=aarch64-linux-gnu -O2 -static -ffp-contract=fast", run=["qemu-aarch64"]),
    port("ARMv7 with VFPv4, and with VFPv3",
         cross("arm-linux-gnueabihf") + " -mfpu=vfpv4 -mcpu=cortex-a15",
         cross("arm-linux-gnueabihf"), run=["qemu-arm"], often=5),
    port("RISC-V, 64 bits", cross("riscv64-linux-gnu"), run=["qemu-riscv64"], often=5),
    port("POWER, little-endian", cross("powerpc64le-linux-gnu"), run=["qemu-ppc64le"]),
    port("WebAssembly, in node", f"clang {WASI_FLAGS}", run=NODE, timed=True, often=1),
    port("WebAssembly with relaxed SIMD, in node",
         f"{WASM_CLANG} {WASI_FLAGS} -msimd128 -mrelaxed-simd", run=NODE, timed=True),
    port("Windows: mingw-w64, in wine", "x86_64-w64-mingw32-gcc -O2 -static",
         "x86_64-w64-mingw32-gcc -O0 -static", run=["wine"], timed=True),
]
NATIVE = port("gcc -O1", "gcc -O1 -static")     # what all others are compared with


def call(*command, **options):
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=TIMEOUT, **options)


def checked(*command):
    r = call(*command)
    assert r.returncode == 0, f"{' '.join(map(str, command))}\n{r.stdout[-1000:]}{r.stderr[-3000:]}"
    return r.stdout.strip()


def make(build, folder):
    program = folder / "same_bits.exe"
    compiler, *flags = build
    checked(compiler, *flags, SOURCE, "-o", program, *([] if "wasm32" in str(build) else ["-lm"]))
    return program


def lines_of(port, program, every=1):
    """What same_bits.c says of every so many of its runs, the hash of everything last."""
    return checked(*port.run, program, every).replace("\r", "").splitlines()


def differences(lines, expected):
    pairs = itertools.zip_longest(expected, lines, fillvalue="nothing")
    return [f"{b}   (native: {a})" for a, b in pairs if a != b]


# ---- the usual tests ----

@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """program(build): what it makes, made once."""
    return functools.lru_cache(None)(
        lambda *build: make(list(build), tmp_path_factory.mktemp("port")))


@pytest.fixture(scope="module")
def expected(program):
    """expected(every): what the native program says, run once."""
    return functools.lru_cache(None)(
        lambda every: lines_of(NATIVE, program(*NATIVE.builds[0]), every))


@pytest.mark.skipif(not X86, reason="cross compilers are those of an x86-64 machine")
@pytest.mark.parametrize("port", [p for p in PORTS if p.often], ids=lambda p: p.title)
def test_same_bits(port, expected, program):
    build = ["-O1" if word == "-O2" else word for word in port.builds[0]]
    said = lines_of(port, program(*build), port.often)
    assert len(said) > 90 / port.often
    assert differences(said, expected(port.often)) == []


@pytest.mark.parametrize("level", ["-O0", "-O1 -DSWIN_NO_SIMD", "-O1 -mfma -DSWIN_NO_SIMD"])
def test_mingw_needs_no_fmaf(level, tmp_path):
    """mingw-w64's own is not rounded once."""
    checked("x86_64-w64-mingw32-gcc", *level.split(), "-c", SOURCE, "-o", tmp_path / "o")
    symbols = checked("x86_64-w64-mingw32-nm", tmp_path / "o")
    assert re.search(r" U memcpy$", symbols, re.M) and not re.search(r" U fmaf?$", symbols, re.M)


def refusal(compiler, *flags):
    r = call(compiler, *flags, "-fsyntax-only", SOURCE)
    return r.returncode and re.findall(r'#?error:? (?:#error )?"(.*)"', r.stderr)


def test_big_endian_is_refused():
    assert "needs a little-endian machine" in refusal("s390x-linux-gnu-gcc")[0]


def test_wide_registers_are_refused():
    assert "-msse2 -mfpmath=sse" in refusal("i686-linux-gnu-gcc")[0]
    assert not refusal("i686-linux-gnu-gcc", "-DSWIN_ANY_BITS")


def test_span_of_a_row():
    assert span([460.4, 5213, None, 948], "{:.0f}".format) == "460–5213"
    assert span([0.031, 0.034], "{:.2f}".format) == "0.03" and span([None], str) == ""


# ---- the table ----

def code_size(build, folder):
    """Bytes of code and constants of the header alone; None where objects hold something else."""
    if "-flto" in build:
        return None
    source, thing = folder / "alone.c", folder / "alone.o"
    source.write_text(f'#define SWIN_IMPLEMENTATION\n#include "{ROOT}/swin.h"\n')
    flags = [f for f in build if not f.startswith(("-Wl", "-l", "-static", "-fuse-ld"))]
    checked(*flags, "-c", source, "-o", thing)
    return int(checked("llvm-size", thing).splitlines()[1].split()[0])


def measure(port, build, expected, folder):
    """(differences, seconds of the shipped model, bytes of code) of one build."""
    program = make(build, folder)
    wrong = differences(lines_of(port, program), expected)
    seconds = float(checked(*port.run, program, MODEL)) if port.timed else None
    return wrong, seconds, code_size(build, folder)


def span(values, form):
    """The least and the most of numbers, of which some may be None; one where both read the same."""
    values = [v for v in values if v is not None]
    return "–".join(dict.fromkeys(form(end(values)) for end in (min, max))) if values else ""


def row(port, expected):
    results = []
    for build in port.builds:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(port, build, expected, pathlib.Path(folder)))
        print(" ".join(build), *results[-1], flush=True)
    wrong = [r for r in results if r[0]]
    builds = f"{len(results)} builds" if len(results) > 1 else "1 build"
    return (f"| {port.title} | {builds} | {'DIFFERENT' if wrong else 'same'} | "
            f"{span([r[1] for r in results], '{:.2f}'.format)} | "
            f"{span([r[2] for r in results], lambda n: f'{n / 1024:.0f}')} |"), not wrong


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    return re.search(r"model name\s*: (.*)", info).group(1)


def write_table(rows):
    readme = ROOT / "README.md"
    start, end = "<!-- make ports -->\n", "<!-- end of make ports -->"
    table = "\n".join(["| compiled by, for | | bits | street, s | code, KiB |",
                       "|---|---|---|---:|---:|", *rows])
    text = readme.read_text()
    before, rest = text.split(start)
    after = rest.split(end)[1]
    versions = ", ".join(checked(c, "--version").splitlines()[0] for c in ("gcc", "clang"))
    readme.write_text(f"{before}{start}Measured on {machine()} with {versions}.\n\n{table}\n{end}"
                      f"{after}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        expected = lines_of(NATIVE, make(NATIVE.builds[0], pathlib.Path(folder)))
    rows = [row(p, expected) for p in PORTS]
    rows.append(("| s390x, big-endian | | refused | | |",
                 bool(refusal("s390x-linux-gnu-gcc"))))
    rows.append(("| x87; `-ffast-math` | | refused | | |",
                 bool(refusal("i686-linux-gnu-gcc") and refusal("gcc", "-ffast-math"))))
    if not all(ok for text, ok in rows):
        sys.exit("\n".join(text for text, ok in rows) + "\nnot the same bits everywhere")
    write_table([text for text, ok in rows])


if __name__ == "__main__":
    main()
