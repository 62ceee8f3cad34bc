"""The header as strangers compile it: languages, compilers, strict warnings, each option alone,
what an object refers to; and the program of its first comment."""

import platform
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, load_tool

sizes = load_tool("sizes")

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Wcast-align",
          "-Werror"]
LANGUAGES = {"gcc": "c99", "clang": "c99", "g++": "c++11", "clang++": "c++11"}

USE = """
#include "swin.h"
int main(void)
{
    static swin_desc d;
    swin_error error;
    swin_model model;
    uint32_t sums[2];
    swin_checksum("swin", 4, sums);
    return !(swin_open(&model, sums, 8, 0, &error) == SWIN_DAMAGED && d.cpu == SWIN_CPU_BEST);
}
"""


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600,
                          **options)


@pytest.fixture
def build(root, tmp_path):
    """build(compiler, sources {name: text}, flags): compiles with all warnings."""
    def compile(compiler, sources, *flags):
        language = "c++" if "++" in compiler else "c"
        for name, text in sources.items():
            (tmp_path / name).write_text(text)
        program = tmp_path / "program"
        files = [tmp_path / name for name in sources]
        link = [] if {"-c", "-S", "-fsyntax-only"} & set(flags) else ["-lm"]
        r = run(compiler, f"-std={LANGUAGES[compiler]}", *STRICT, f"-I{root}", *flags,
                "-x", language, *files, "-o", program, *link)
        assert r.returncode == 0, r.stdout + r.stderr
        return program
    return compile


IMPLEMENTATION = "#define SWIN_IMPLEMENTATION\n"
# Without vectors, and without all that a build may leave out: compiled soon, with an optimiser
# sooner, as it drops what nothing calls.
PLAINLY = ["-O1", "-DSWIN_NO_SIMD", *(f"-D{option}" for option in sizes.options())]


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_header_alone(build, compiler):
    """Warnings that need the optimiser are those of the builds in tests/run, which has the same."""
    assert run(build(compiler, {"alone.c": IMPLEMENTATION + USE}, "-O0")).returncode == 0


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_interface_alone_and_twice(build, compiler):
    casts = ["-Wold-style-cast"] if "++" in compiler else ["-Wstrict-prototypes"]
    build(compiler, {"interface.c": '#include "swin.h"\n#include "swin.h"\nint value;\n'},
          "-fsyntax-only", *casts)


OPTIONS_OF_PASSES = [
    "SWIN_NO_SIMD", "SWIN_NO_AVX2", "SWIN_NO_AVX512", "SWIN_NO_AVX2_VNNI", "SWIN_NO_AMX",
    "SWIN_NO_SCALAR"]
OF_OTHER_MACHINES = ["SWIN_NO_NEON", "SWIN_NO_WASM"]
OTHER_OPTIONS = [
    "SWIN_NO_STDIO", "SWIN_NO_MALLOC", "SWIN_API=extern", "SWIN_ANY_BITS", "SWIN_STATIC",
    "SWIN_DEBUG"]


@pytest.mark.parametrize("option", OPTIONS_OF_PASSES + OF_OTHER_MACHINES + OTHER_OPTIONS)
def test_option_alone(build, option):
    sources = {"option.c": IMPLEMENTATION + USE}
    flags = [f"-D{option}", *([] if option in OPTIONS_OF_PASSES else PLAINLY)]
    assert run(build("gcc", sources, *flags)).returncode == 0
    build("clang", sources, *flags, "-fsyntax-only")


@pytest.mark.parametrize("machine, option, suffix", [
    ("aarch64-linux-gnu-", "SWIN_NO_NEON", "_neon"),
    ("aarch64-linux-gnu-", "SWIN_NO_SCALAR", "_scalar"),
    ("x86_64-linux-gnu-", "SWIN_NO_AVX2", "_avx2"),
    ("x86_64-linux-gnu-", "SWIN_NO_AVX2_VNNI", "_avx2_vnni"),
    ("x86_64-linux-gnu-", "SWIN_NO_AMX", "_avx512_amx"),
    ("x86_64-linux-gnu-", "SWIN_NO_AVX512", "_avx512")])
def test_option_leaves_a_pass_out(root, tmp_path, machine, option, suffix):
    source, functions = tmp_path / "pass.c", {}
    source.write_text(IMPLEMENTATION + '#include "swin.h"\n')
    for flag in (f"-D{option}", f"-U{option}"):
        r = run(f"{machine}gcc", f"-I{root}", flag, "-E", source)
        assert r.returncode == 0, r.stderr
        functions[flag] = set(re.findall(r"\b(swin__?\w+) *\(", r.stdout))
    of_pass = {name for name in functions[f"-U{option}"] if name.endswith(suffix)}
    assert len(of_pass) > 1 and not of_pass & functions[f"-D{option}"]
    assert "swin_run" in functions[f"-D{option}"]


def test_memory_of_ones_own(build):
    text = "#include <stddef.h>\nvoid *mine(size_t size);\nvoid theirs(void *memory);\n" \
           "#define SWIN_MALLOC(size) mine(size)\n#define SWIN_FREE(memory) theirs(memory)\n"
    program = build("gcc", {"memory.c": text + IMPLEMENTATION + '#include "swin.h"\n'},
                    "-c", *PLAINLY)
    called = set(re.findall(r" U (\w+)", run("nm", program).stdout))
    assert {"mine", "theirs"} <= called and not {"malloc", "calloc", "realloc", "free"} & called


def test_api_is_the_linkage_of_all_functions(build):
    hidden = '-DSWIN_API=__attribute__((visibility("hidden")))'
    program = build("gcc", {"hidden.c": IMPLEMENTATION + '#include "swin.h"\n'}, "-c", hidden,
                    *PLAINLY)
    public = re.findall(r"(\w+) .* (?:GLOBAL|LOCAL) +(\w+) .* (swin_(?!_)\w+)$",
                        run("readelf", "-sW", program).stdout, re.M)
    assert len(public) > 20 and {visibility for _, visibility, _ in public} == {"HIDDEN"}


# Static, so that all which is not called is left out.
SIZE = """
#define SWIN_STATIC
#define SWIN_IMPLEMENTATION
#include "swin.h"
#include <string.h>
int main(void)          /* is a picture of this size too large? */
{
    swin_model model;
    swin_error error;
    int w, h;
    memset(&model, 0, sizeof model);
    return swin_input_size(&model, WIDTH, HEIGHT, 0, &w, &h, &error) == SWIN_SIZE;
}
"""


@pytest.mark.parametrize("side, pixels, size, refused", [
    ("1", "1", (1, 1), False), ("1", "1", (2, 1), True),
    ("512", "1024", (513, 1), True), ("512", "1024", (512, 2), False),
    ("16384", "512", (513, 1), True),
    ("32767", "(1<<27)", (32767, 4096), False), ("32767", "(1<<27)", (32767, 4097), True),
    ("32767", "(1<<27)", (32768, 1), True)])
def test_largest_sizes(build, side, pixels, size, refused):
    program = build("gcc", {"size.c": SIZE}, *PLAINLY,
                    f"-DSWIN_MAX_SIDE={side}", f"-DSWIN_MAX_PIXELS={pixels}",
                    f"-DWIDTH={size[0]}", f"-DHEIGHT={size[1]}")
    assert run(program).returncode == refused


@pytest.mark.parametrize("option", [
    "SWIN_MAX_SIDE=0", "SWIN_MAX_SIDE=-1", "SWIN_MAX_SIDE=32768", "SWIN_MAX_PIXELS=0",
    "SWIN_MAX_PIXELS=((1<<27)+1)", "SWIN_MAX_PIXELS=0x80000000"])
def test_sizes_that_no_int_counts_are_refused(root, tmp_path, option):
    source = tmp_path / "sizes.c"
    source.write_text(IMPLEMENTATION + '#include "swin.h"\n')
    for compiler in ("gcc", "clang"):
        r = run(compiler, f"-I{root}", f"-D{option}", "-E", source, "-o", tmp_path / "out")
        assert r.returncode and "SWIN_MAX_SIDE is 32767 at most" in r.stderr


# What headers of operating systems, graphics, terminals and boards define, and a few that C's do.
MACROS = """
small near far hyper pascal cdecl interface min max IN OUT OPTIONAL CONST VOID ERROR DELETE TRUE
FALSE BOOL BYTE WORD INT UINT LONG CHAR FLOAT HUGE STRICT IGNORE INFINITE RELATIVE ABSOLUTE OPAQUE
TRANSPARENT ALTERNATE THIS PURE TEXT RGB CALLBACK WINAPI APIENTRY NO_ERROR OVERFLOW UNDERFLOW DOMAIN
SING PLOSS TLOSS NEAR FAR FIXED READ_CONTROL PROOF_QUALITY rad1 rad2 lst1 edt1 cmb1 stc1 grp1 chx1
frm1 ico1 s_addr h_addr
I complex imaginary
None Success Status Bool True False Always Above Below Convex Nonconvex Complex KeyPress FocusIn
FocusOut CursorShape Expose Unsorted GrayScale DirectColor Opposite ScreenOfDisplay
lines columns clear erase move refresh scroll border bell tab direct major minor makedev
howmany roundup MIN MAX ABS CTRL ECHO B0 NBBY unix linux
INPUT OUTPUT LOW HIGH PI HALF_PI TWO_PI EULER DEFAULT EXTERNAL INTERNAL SERIAL DISPLAY constrain
radians degrees sq bit word abs round lowByte highByte interrupts F E C N P S SP PAGE
check verify require nil Nil YES NO foreach forever signals slots emit likely unlikely A CELL EXACT
and_ BIT SIZE COUNT DEBUG ASSERT PASS FAIL OK ERR STATIC EXPORT API PUBLIC PRIVATE INLINE RESTRICT
"""
AHEAD = """
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#include <cpuid.h>
#endif
"""


@pytest.mark.parametrize("compiler", LANGUAGES)
@pytest.mark.parametrize("implementation", ["", IMPLEMENTATION])
def test_behind_macros_of_other_headers(build, compiler, implementation):
    macros = "".join(f"#undef {name}\n#define {name} }} }} {name} of another header\n"
                     for name in MACROS.split())
    build(compiler, {"macros.c": AHEAD + macros + implementation + '#include "swin.h"\n'},
          "-fsyntax-only")


@pytest.mark.parametrize("compiler, flag", [
    ("gcc", "-ffast-math"), ("gcc", "-funsafe-math-optimizations"), ("gcc", "-ffinite-math-only"),
    ("gcc", "-freciprocal-math"), ("gcc", "-fno-signed-zeros"), ("g++", "-ffast-math"),
    ("clang", "-ffast-math"), ("clang", "-ffinite-math-only"), ("clang++", "-ffast-math")])
def test_fast_math_is_refused(build, root, tmp_path, compiler, flag):
    source = tmp_path / "fast.c"
    source.write_text(IMPLEMENTATION + USE)
    r = run(compiler, "-O2", flag, f"-I{root}", "-fsyntax-only", source)
    assert r.returncode and "compile this file without, or define SWIN_ANY_BITS" in r.stderr
    build(compiler, {"fast.c": IMPLEMENTATION + USE}, flag, "-fsyntax-only", "-DSWIN_ANY_BITS")
    build(compiler, {"fast.c": '#include "swin.h"\n'}, flag, "-fsyntax-only")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks for x86-64's instruction")
@pytest.mark.parametrize("compiler, rule, fused", [
    ("gcc", "off", False), ("gcc", "fast", True), ("clang", "off", False), ("clang", "on", True),
    ("clang", "fast", True)])
def test_rule_of_fusing_holds_again_behind_the_header(build, compiler, rule, fused):
    after = "float after(float, float, float);\n" \
            "float after(float a, float b, float c) { return a * b + c; }\n"
    text = IMPLEMENTATION + '#include "swin.h"\n' + after
    code = build(compiler, {"after.c": text}, *PLAINLY, "-O2", "-mfma", f"-ffp-contract={rule}",
                 "-S")
    body = code.read_text().split("\nafter:")[1].split("\n\tret")[0]
    assert ("vfmadd" in body) == fused


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_two_files_one_program(build, compiler):
    implementation = IMPLEMENTATION + '#include "swin.h"\n'
    program = build(compiler, {"implementation.c": implementation, "use.c": USE}, *PLAINLY)
    assert run(program).returncode == 0


def test_two_static_copies_in_one_program(build):
    static = "#define SWIN_STATIC\n" + IMPLEMENTATION
    second = USE.replace("int main(void)", "int other(void);\nint other(void)")
    program = build("gcc", {"one.c": static + USE, "two.c": static + second}, *PLAINLY)
    assert run(program).returncode == 0
    assert not re.search(r" [TDBC] swin_", run("nm", program).stdout)


def test_renamed_copy(build, root, tmp_path):
    shutil.copy(root / "swin.h", tmp_path / "renamed.h")
    name = '#define SWIN_HEADER_NAME "renamed.h"\n'
    text = IMPLEMENTATION + name + USE.replace("swin.h", "renamed.h")
    assert run(build("gcc", {"renamed.c": text}, *PLAINLY)).returncode == 0


def functions_of_c(root):
    """What swin.h says it needs, as three sets: the core, malloc's, stdio's."""
    text = (root / "swin.h").read_text().split("WHAT IT NEEDS OF C\n")[1].split("\n\n")[0]
    core, rest = text.split("only ")[1].split("The easy tier adds")
    names = lambda words: set(re.findall(r"\b(?:mem|str|bc)\w+\b|\b\w+f\b|\bmalloc\b|\bfree\b|"
                                         r"\bf(?:open|seek|tell|read|close)\b", words)) - {"of"}
    easy, stdio = rest.split("swin_load")
    return names(core), names(easy), names(stdio)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_core_links_with_the_functions_it_names(build, root, tmp_path, compiler, level):
    """Without stdio and malloc the object calls nothing that allocates, prints, exits, locks or
    waits, and keeps no writable data: it links with the functions that the header names alone. The
    optimiser, which adds calls of its own, sees one pass of vectors."""
    options = ["-DSWIN_NO_STDIO", "-DSWIN_NO_MALLOC", "-c", level]
    options += ["-DSWIN_NO_AVX512", "-DSWIN_NO_AVX2_VNNI"] if level == "-O2" else []
    core = build(compiler, {"core.c": IMPLEMENTATION + '#include "swin.h"\n'}, *options)
    stubs = tmp_path / "stubs.c"
    stubs.write_text("".join(f"void {name}(void) {{}}\n" for name in functions_of_c(root)[0])
                     + "void _start(void) {}\n")
    r = run("gcc", "-fno-builtin", "-w", "-nostdlib", "-static", stubs, "-x", "none",
            core.rename(tmp_path / "core.o"), "-o", tmp_path / "linked")
    assert r.returncode == 0, r.stderr
    assert re.search(r" T swin_run\b", run("nm", tmp_path / "core.o").stdout)
    sections = run("size", "-A", tmp_path / "core.o").stdout
    assert re.search(r"^\.rodata", sections, re.M)
    assert not re.search(r"^\.t?(data|bss) +[1-9]", sections, re.M)


def test_functions_named_are_those_called(build, root):
    """No more than these, and none that nothing calls."""
    core, easy, stdio = functions_of_c(root)
    assert len(core) == 12 and easy == {"malloc", "free"} and len(stdio) == 5
    object = build("gcc", {"all.c": IMPLEMENTATION + '#include "swin.h"\n'}, "-c", "-fno-builtin",
                   "-DSWIN_NO_SIMD")
    called = set(re.findall(r" U (\w+)", run("nm", object).stdout)) - {"_GLOBAL_OFFSET_TABLE_"}
    assert called | {"fmaf", "bcmp", "memchr"} == core | easy | stdio


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("program", ["examples/minimal", "examples/segment", "examples/stream",
                                     "examples/tensor", "tools/bench/bench"])
def test_programs_are_free_of_warnings(root, tmp_path, compiler, program):
    """Those of gcc need the optimiser."""
    seen = ["-fsyntax-only"] if compiler == "clang" else ["-O2", "-c", "-o", tmp_path / "o"]
    r = run(compiler, "-std=c99", *STRICT, *PLAINLY, *seen, root / f"{program}.c")
    assert r.returncode == 0, r.stderr


def test_minimal_is_the_header_program(root):
    comment = (root / "swin.h").read_text().split("*/")[0]
    lines = comment.split("A COMPLETE PROGRAM\n\n")[1].split("\n\n")[0].splitlines()
    program = "".join(line[3:] + "\n" for line in lines if line.strip())
    example = (root / "examples/minimal.c").read_text()
    assert program.startswith("#define SWIN_IMPLEMENTATION\n") and len(lines) <= 25
    assert example.split("*/\n", 1)[1] == program.replace('"swin.h"', '"../swin.h"')
    assert f"```c\n{program}```" in (root / "README.md").read_text()


def test_minimal_runs(root, convert):
    program = BUILD / "minimal"
    assert run(program).stdout.startswith("usage: minimal")
    assert run(program, "missing.swin").returncode == 1
    model = convert("seg-glam-upernet-g5-opti")
    assert "expected 480x360 RGB bytes" in run(program, model, input="").stdout
    r = subprocess.run([program, model], input=bytes(480 * 360 * 3), capture_output=True)
    assert r.returncode == 0 and re.fullmatch(rb"the middle of the picture is .+\n", r.stdout)
