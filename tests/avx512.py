"""The AVX-512 pass on any x86-64 machine with AVX2: its own text, compiled over SIMDe's portable
versions of the intrinsics, held against the scalar pass by tests/kernels.c and by a golden case.
"""

import platform
import re
import subprocess

import pytest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates on AVX2")


@pytest.fixture(scope="module")
def emulated(root, tmp_path_factory):
    """A copy of the tree's C files whose AVX-512 pass needs no AVX-512 and is always chosen."""
    tree = tmp_path_factory.mktemp("emulated")
    for folder in ("tests", "examples"):
        (tree / folder).mkdir()
        for file in (root / folder).glob("*.[ch]"):
            (tree / folder / file.name).write_text(file.read_text())

    def replace_once(text, old, new):
        text, count = re.subn(old, new, text)
        assert count == 1, f"{old}: {count} times in swin.h"
        return text

    header = (root / "swin.h").read_text().replace("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma",
                                                   "avx2,fma")
    header = replace_once(header, r"#include <immintrin\.h>",
                          "#include <immintrin.h>\n#define SIMDE_ENABLE_NATIVE_ALIASES\n"
                          "#include <simde/x86/avx512.h>\n"
                          "#define _mm512_stream_ps(p, v) _mm512_store_ps(p, v)")
    header = replace_once(header, r"static int swin__detects_avx512\(void\)\n{",
                          "static int swin__detects_avx512(void)\n{\n    return 1;")
    (tree / "swin.h").write_text(header)
    return tree


def build(emulated, source, *options):
    program = emulated / source.replace("/", "-").replace(".c", "")
    subprocess.run(["gcc", "-std=c99", "-O1", "-mavx2", "-mfma", "-w", emulated / source, *options,
                    "-o", program, "-lm", "-lpthread"], check=True)
    return program


def test_kernels(emulated):
    r = subprocess.run([build(emulated, "tests/kernels.c")], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout
    assert re.search(r"^avx512 gemm, every height to 40: ok$", r.stdout, re.M), r.stdout


@pytest.mark.parametrize("case", ["seg-glam-upernet-g5-opti", "seg-swin-fcn-w3"])
def test_same_bits_as_scalar(emulated, root, convert, tmp_path, case):
    program = build(emulated, "examples/tensor.c")
    picture = root / "tests" / "golden" / case / "input-0.npy"
    results = {}
    for cpu in ("avx512", "scalar"):
        subprocess.run([program, convert(case), picture, tmp_path / cpu, "--cpu", cpu], check=True)
        results[cpu] = {f.name.split(".", 1)[1]: f.read_bytes() for f in tmp_path.glob(cpu + ".*")}
    assert results["avx512"] == results["scalar"] and len(results["scalar"]) >= 3
