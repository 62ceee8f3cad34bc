"""The header as strangers compile it: languages, compilers, strict warnings, each option alone,
what an object refers to; and the program of its first comment."""

import re
import shutil
import subprocess

import pytest

from conftest import BUILD

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
    return !(swin_open(&model, sums, 8, 0, &error) == SWIN_FORMAT && d.cpu == SWIN_CPU_BEST);
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
        link = [] if {"-c", "-fsyntax-only"} & set(flags) else ["-lm"]
        r = run(compiler, f"-std={LANGUAGES[compiler]}", *STRICT, f"-I{root}", *flags,
                "-x", language, *files, "-o", program, *link)
        assert r.returncode == 0, r.stdout + r.stderr
        return program
    return compile


IMPLEMENTATION = "#define SWIN_IMPLEMENTATION\n"


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_header_alone(build, compiler):
    program = build(compiler, {"alone.c": IMPLEMENTATION + USE}, "-O2")
    assert run(program).returncode == 0


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_interface_alone_and_twice(build, compiler):
    casts = ["-Wold-style-cast"] if "++" in compiler else ["-Wstrict-prototypes"]
    build(compiler, {"interface.c": '#include "swin.h"\n#include "swin.h"\nint value;\n'},
          "-fsyntax-only", *casts)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("option", [
    "SWIN_NO_STDIO", "SWIN_NO_MALLOC", "SWIN_NO_SIMD", "SWIN_NO_AVX2", "SWIN_NO_AVX512",
    "SWIN_STATIC", "SWIN_DEBUG"])
def test_option_alone(build, compiler, option):
    program = build(compiler, {"option.c": IMPLEMENTATION + USE}, f"-D{option}")
    assert run(program).returncode == 0


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_two_files_one_program(build, compiler):
    implementation = IMPLEMENTATION + '#include "swin.h"\n'
    program = build(compiler, {"implementation.c": implementation, "use.c": USE})
    assert run(program).returncode == 0


def test_two_static_copies_in_one_program(build):
    static = "#define SWIN_STATIC\n" + IMPLEMENTATION
    second = USE.replace("int main(void)", "int other(void);\nint other(void)")
    program = build("gcc", {"one.c": static + USE, "two.c": static + second})
    assert run(program).returncode == 0
    assert not re.search(r" [TDBC] swin_", run("nm", program).stdout)


def test_renamed_copy(build, root, tmp_path):
    shutil.copy(root / "swin.h", tmp_path / "renamed.h")
    name = '#define SWIN_HEADER_NAME "renamed.h"\n'
    text = IMPLEMENTATION + name + USE.replace("swin.h", "renamed.h")
    assert run(build("gcc", {"renamed.c": text})).returncode == 0


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_core_needs_only_memory_and_maths(build, compiler):
    """Without stdio and malloc the object calls nothing that allocates, prints, exits, locks or
    waits, and keeps no writable data."""
    core = IMPLEMENTATION + '#include "swin.h"\n'
    bare = build(compiler, {"core.c": core}, "-O2", "-c", "-DSWIN_NO_STDIO", "-DSWIN_NO_MALLOC")
    symbols = run("nm", bare).stdout
    wanted = set(re.findall(r" U (\S+)", symbols))
    fine = r"mem(cpy|move|set|cmp|chr)|bcmp|str(len|n?cmp|chr)|(fma|sqrt)f|_GLOBAL_OFFSET_TABLE_"
    assert not {name for name in wanted if not re.fullmatch(fine, name)}
    assert re.search(r" T swin_run\b", symbols)
    sections = run("size", "-A", bare).stdout
    assert re.search(r"^\.rodata", sections, re.M)
    assert not re.search(r"^\.t?(data|bss) +[1-9]", sections, re.M)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("example", ["minimal", "segment", "tensor"])
def test_examples_are_free_of_warnings(root, tmp_path, compiler, example):
    r = run(compiler, "-std=c99", *STRICT, "-O2", "-c", root / f"examples/{example}.c",
            "-o", tmp_path / "o")
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
