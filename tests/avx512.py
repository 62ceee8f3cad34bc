"""The AVX-512 pass on any x86-64 machine with AVX2: its own text, compiled over SIMDe's portable
versions of the intrinsics, held against the scalar pass by tests/kernels.c and by a golden case.
"""

import platform
import re
import subprocess

import pytest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates on AVX2")


# SIMDe's AVX-512, and what version 0.7 lacks, gives another's name (madd), or computes in another
# way (abs: of a NaN it keeps the sign).
EMULATION = r"""
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#undef _mm512_madd_epi16
#define _mm512_madd_epi16       simde_mm512_madd_epi16
#define _mm512_stream_ps(p, v)  _mm512_store_ps(p, v)
#undef _mm512_abs_ps
#define _mm512_abs_ps(v)        _mm512_andnot_ps(_mm512_set1_ps(-0.0f), v)

static inline __m512 emulated_cvtph_ps(__m256i halves)
{
    const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
    const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}
#define _mm512_cvtph_ps emulated_cvtph_ps

typedef union { int32_t s32[16]; float f32[16]; uint16_t u16[16]; uint8_t u8[16]; } lanes;
#define EACH(name, type, store, parameters, to, number) \
    static inline type emulated_##name parameters \
    { \
        lanes x, y; \
        _mm512_storeu_si512(&x, v); \
        for (int i = 0; i < 16; i++) y.to[i] = number; \
        return store((const void *)&y); \
    }
EACH(cvtepi32_ps, __m512, _mm512_loadu_ps, (__m512i v), f32, (float)x.s32[i])
EACH(srai_epi32, __m512i, _mm512_loadu_si512, (__m512i v, int n), s32, x.s32[i] >> n)
EACH(cvtepi32_epi16, __m256i, _mm256_loadu_si256, (__m512i v), u16, (uint16_t)x.s32[i])
EACH(cvtepi32_epi8, __m128i, _mm_loadu_si128, (__m512i v), u8, (uint8_t)x.s32[i])

static inline __m256i emulated_dpbusd(__m256i sums, __m256i a, __m256i b)
{
    union { __m256i v; uint32_t u32[8]; uint8_t u8[32]; } s = {sums}, x = {a};
    union { __m256i v; int8_t s8[32]; } y = {b};
    for (int i = 0; i < 32; i++) s.u32[i / 4] += (uint32_t)(x.u8[i] * y.s8[i]);
    return s.v;
}
#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#define _mm512_cvtepi32_ps      emulated_cvtepi32_ps
#define _mm512_srai_epi32       emulated_srai_epi32
#define _mm512_cvtepi32_epi16   emulated_cvtepi32_epi16
#define _mm512_cvtepi32_epi8    emulated_cvtepi32_epi8

/* AMX, as Intel's manual defines it; what a processor would refuse ends the program. */
static __thread struct { int rows, bytes; uint8_t at[16][64]; } emulated_tiles[8];
#define REFUSE_IF(wrong) do { if (wrong) abort(); } while (0)

static inline void emulated_loadconfig(const void *config)
{
    const uint8_t *c = (const uint8_t *)config;
    memset(emulated_tiles, 0, sizeof emulated_tiles);
    REFUSE_IF(c[0] != 1 || c[1] != 0);
    for (int i = 2; i < 64; i++) REFUSE_IF((i < 16 || (i >= 32 && i < 48) || i >= 56) && c[i]);
    for (int i = 0; i < 8; i++) {
        emulated_tiles[i].bytes = c[16 + 2 * i] + 256 * c[17 + 2 * i];
        emulated_tiles[i].rows = c[48 + i];
        REFUSE_IF(emulated_tiles[i].bytes > 64 || emulated_tiles[i].rows > 16);
        REFUSE_IF(!emulated_tiles[i].bytes != !emulated_tiles[i].rows);
    }
}
static inline void emulated_zero(int t)
{
    REFUSE_IF(!emulated_tiles[t].rows);
    memset(emulated_tiles[t].at, 0, sizeof emulated_tiles[t].at);
}
static inline void emulated_loadd(int t, const void *base, size_t stride)
{
    emulated_zero(t);
    for (int i = 0; i < emulated_tiles[t].rows; i++)
        memcpy(emulated_tiles[t].at[i], (const char *)base + (size_t)i * stride,
               (size_t)emulated_tiles[t].bytes);
}
static inline void emulated_stored(int t, void *base, size_t stride)
{
    REFUSE_IF(!emulated_tiles[t].rows);
    for (int i = 0; i < emulated_tiles[t].rows; i++)
        memcpy((char *)base + (size_t)i * stride, emulated_tiles[t].at[i],
               (size_t)emulated_tiles[t].bytes);
}
static inline void emulated_dpbssd(int c, int a, int b)
{
    const int quads = emulated_tiles[b].rows;
    REFUSE_IF(!quads || !emulated_tiles[c].rows || emulated_tiles[a].bytes != 4 * quads);
    REFUSE_IF(emulated_tiles[a].rows != emulated_tiles[c].rows);
    REFUSE_IF(emulated_tiles[b].bytes != emulated_tiles[c].bytes || c == a || c == b || a == b);
    for (int i = 0; i < emulated_tiles[c].rows; i++)
        for (int n = 0; n < emulated_tiles[c].bytes / 4; n++) {
            uint32_t sum;
            memcpy(&sum, emulated_tiles[c].at[i] + 4 * n, 4);
            for (int k = 0; k < 4 * quads; k++)
                sum += (uint32_t)((int8_t)emulated_tiles[a].at[i][k]
                                  * (int8_t)emulated_tiles[b].at[k / 4][4 * n + k % 4]);
            memcpy(emulated_tiles[c].at[i] + 4 * n, &sum, 4);
        }
}
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#define _tile_loadconfig        emulated_loadconfig
#define _tile_release()         memset(emulated_tiles, 0, sizeof emulated_tiles)
#define _tile_loadd             emulated_loadd
#define _tile_stored            emulated_stored
#define _tile_zero              emulated_zero
#define _tile_dpbssd            emulated_dpbssd
"""


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

    header = re.sub("avxvnni,|avx512f,avx512vl,avx512dq,avx512bw,(avx512vnni,)?(?=avx2,fma)|"
                    ",amx-tile,amx-int8", "", (root / "swin.h").read_text())
    header = replace_once(header, r"#include <immintrin\.h>",
                          lambda include: include.group() + "\n" + EMULATION)
    header = replace_once(header, r"static int swin__detects_avx2_vnni\(void\)\n{",
                          "static int swin__detects_avx2_vnni(void)\n{\n    return 1;")
    header = replace_once(header, r"static int swin__has_avx512\(unsigned more\)\n{",
                          "static int swin__has_avx512(unsigned more)\n{\n    return 1;")
    header = replace_once(header, r"static int swin__detects_avx512_amx\(void\)\n{",
                          "static int swin__detects_avx512_amx(void)\n{\n    return 1;")
    header = replace_once(header, r"#if .*/\* left to themselves they spill \*/", "#if 0")
    (tree / "swin.h").write_text(header)
    return tree


def build(emulated, source, *options):
    program = emulated / source.replace("/", "-").replace(".c", "")
    subprocess.run(["gcc", "-std=c99", "-O1", "-mavx2", "-mfma", "-mf16c", "-w", emulated / source,
                    *options, "-o", program, "-lm", "-lpthread"], check=True)
    return program


def test_kernels(emulated):
    r = subprocess.run([build(emulated, "tests/kernels.c")], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout
    assert re.search(r"^avx512 gemm, every height to 40: ok$", r.stdout, re.M), r.stdout
    assert re.search(r"^avx2_vnni gemm8, every height to 30: ok$", r.stdout, re.M), r.stdout
    assert re.search(r"^avx512_vnni gemm8, every height to 30: ok$", r.stdout, re.M), r.stdout
    assert re.search(r"^avx512_amx gemm8, every height to 30: ok$", r.stdout, re.M), r.stdout
    assert re.search(r"^scalar which nothing but its name chooses: ok$", r.stdout, re.M), r.stdout


@pytest.fixture(scope="module")
def tensor(emulated):
    return build(emulated, "examples/tensor.c")


@pytest.mark.parametrize("case", ["seg-glam-upernet-g5-opti", "seg-swin-fcn-w3"])
def test_same_bits_as_scalar(tensor, root, convert, tmp_path, case):
    picture = root / "tests" / "golden" / case / "input-0.npy"
    results = {}
    for cpu in ("avx512", "scalar"):
        subprocess.run([tensor, convert(case), picture, tmp_path / cpu, "--cpu", cpu], check=True)
        results[cpu] = {f.name.split(".", 1)[1]: f.read_bytes() for f in tmp_path.glob(cpu + ".*")}
    assert results["avx512"] == results["scalar"] and len(results["scalar"]) >= 3
