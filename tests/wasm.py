"""The wasm pass: in an engine that fuses multiply-adds it gives the bits of all others, in one that
does not, and without relaxed SIMD, those of a header whose multiply-adds are rounded twice.
"""

import functools
import re
import subprocess

import pytest

import ports

WHOLE = ["-DSWIN_IMPLEMENTATION"]
PLAIN = ["-msimd128"]
RELAXED = ["-msimd128", "-mrelaxed-simd"]
# Node 18 has the codes of a draft.
DRAFT = int(re.match(r"v(\d+)", ports.checked("node", "--version"))[1]) < 20
needs_relaxed = pytest.mark.skipif(DRAFT, reason="this node has a draft of relaxed SIMD")
STRICT = ("-std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wcast-align "
          "-Werror").split()


@pytest.fixture(scope="module")
def build(root, tmp_path_factory):
    """build(source, compiler, flags): a program, made once."""
    folder = tmp_path_factory.mktemp("wasm")

    @functools.lru_cache(None)
    def build(source, compiler, flags):
        program = folder / f"{source.stem}-{len(list(folder.iterdir()))}"
        ports.checked(*compiler.split(), *flags, *STRICT, source, "-o", program, "-lm")
        return program

    return lambda source, compiler, flags: build(source, compiler, tuple(flags))


@pytest.fixture(scope="module")
def rounded_twice(root, tmp_path_factory):
    """A copy of the tree's tests whose scalar pass rounds products before it adds them."""
    tree = tmp_path_factory.mktemp("twice")
    (tree / "tests").mkdir()
    for file in (root / "tests").glob("*.[ch]"):
        (tree / "tests" / file.name).write_text(file.read_text())
    header, count = re.subn(r"(#define swin__fmaf\(a, b, c\)) .*", r"\1 (swin__timesf(a, b) + (c))",
                            (root / "swin.h").read_text())
    assert count == 3
    (tree / "swin.h").write_text(header)
    return tree


WASM = f"{ports.WASM_CLANG} {ports.WASI_FLAGS}"
UNFUSED = ["node", "--no-enable-fma3", *ports.NODE[1:]]


@needs_relaxed
def test_kernels_where_fused(build, root):
    program = build(root / "tests" / "kernels.c", WASM, RELAXED)
    said = ports.call(*ports.NODE, program)
    assert said.returncode == 0, said.stdout
    assert re.search(r"^wasm gemm, every height to 40: ok$", said.stdout, re.M)
    assert re.search(r"^wasm gemm8, every height to 30: ok$", said.stdout, re.M)


@needs_relaxed
def test_models_of_eight_bits_where_fused(build, root):
    ports.checked(*ports.NODE, build(root / "tests" / "numbers.c", WASM, WHOLE + RELAXED))


def test_models_of_eight_bits_without_relaxed_simd(build, rounded_twice):
    ports.checked(*ports.NODE, build(rounded_twice / "tests" / "numbers.c", WASM, WHOLE + PLAIN))


@needs_relaxed
@pytest.mark.parametrize("contract", ["on", "fast"])
def test_same_bits_where_fused(build, root, contract):
    expected = ports.checked(build(root / "tests" / "same_bits.c", "gcc", ["-O1"])).splitlines()
    program = build(root / "tests" / "same_bits.c", WASM, [*RELAXED, f"-ffp-contract={contract}"])
    assert len(expected) > 60
    assert ports.differences(ports.checked(*ports.NODE, program).splitlines(),
                             expected) == []


@pytest.fixture(scope="module")
def bits_of_two_roundings(build, rounded_twice):
    source = rounded_twice / "tests" / "same_bits.c"
    return ports.checked(build(source, "gcc", ["-O2", "-DSWIN_NO_SIMD"])).splitlines()


def test_without_relaxed_simd(build, rounded_twice, bits_of_two_roundings):
    program = build(rounded_twice / "tests" / "same_bits.c", WASM, PLAIN)
    assert ports.differences(ports.checked(*ports.NODE, program).splitlines(),
                             bits_of_two_roundings) == []


@needs_relaxed
def test_where_the_engine_does_not_fuse(build, rounded_twice, bits_of_two_roundings):
    program = build(rounded_twice / "tests" / "same_bits.c", WASM, RELAXED)
    assert ports.differences(ports.checked(*UNFUSED, program).splitlines(),
                             bits_of_two_roundings) == []


@pytest.mark.parametrize("flags", [[], PLAIN, RELAXED], ids=["no SIMD", "SIMD", "relaxed SIMD"])
@pytest.mark.parametrize("language", ["-std=c99", "-std=c++11", "-std=c++20"])
@pytest.mark.parametrize("compiler", ["clang", ports.WASM_CLANG])
def test_compiles_without_a_warning(root, tmp_path, compiler, language, flags):
    """The core alone: Debian's C library for C++ has no WebAssembly."""
    source = tmp_path / ("core.cpp" if "++" in language else "core.c")
    source.write_text("#define SWIN_NO_STDIO\n#define SWIN_NO_MALLOC\n#define SWIN_IMPLEMENTATION\n"
                      '#include "swin.h"\n')
    ports.checked(compiler, "--target=wasm32-wasi", *STRICT[1:], language, *flags, f"-I{root}",
                  "-fsyntax-only", source)


EXACT = """
#define SWIN_IMPLEMENTATION
#include "swin.h"
int main(void)
{
    for (int cpu = 0; cpu < SWIN_CPU_COUNT; cpu++)
        if (swin_cpu_available((swin_cpu)cpu))
            printf("%s %d\\n", swin_cpu_name((swin_cpu)cpu), swin_cpu_exact((swin_cpu)cpu));
    return swin_cpu_exact((swin_cpu)99);
}
"""


@pytest.mark.parametrize("flags, run, expected", [
    ([], ports.NODE, "best 1 scalar 1"),
    (PLAIN, ports.NODE, "best 0 scalar 1 wasm 0"),
    ([*PLAIN, "-DSWIN_NO_WASM"], ports.NODE, "best 1 scalar 1"),
    ([*PLAIN, "-DSWIN_NO_SCALAR"], ports.NODE, "best 0 wasm 0"),
    pytest.param(RELAXED, ports.NODE, "best 1 scalar 1 wasm 1", marks=needs_relaxed),
    pytest.param(RELAXED, UNFUSED, "best 0 scalar 1 wasm 0", marks=needs_relaxed),
], ids=["no SIMD", "SIMD", "left out", "scalar left out", "fused", "not fused"])
def test_says_whether_it_is_exact(build, root, tmp_path, flags, run, expected):
    source = tmp_path / "exact.c"
    source.write_text(EXACT)
    program = build(source, WASM, [f"-I{root}", "-O1", *flags])
    assert ports.checked(*run, program).split() == expected.split()
