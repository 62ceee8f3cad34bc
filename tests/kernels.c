/* tests/kernels.c - every kernel of swin.h, in every pass this machine can run.

   Each pass is held against a plain reference: bit for bit where the order of operations is the
   contract (products, sums of rows, transposes, labels), against double arithmetic where accuracy
   is (exp, GELU, LayerNorm, softmax, Winograd), and then bit for bit against the scalar pass.
   Buffers have exactly the size promised, so that a sanitizer sees one float too many. A case that
   fails says which it was and what its first wrong number is and should be.

   cc -std=c99 -O2 tests/kernels.c -lm && ./a.out */

#define SWIN_IMPLEMENTATION
#if defined(__linux__) && defined(__x86_64__)
#include "../examples/common.h"
#endif
#include "../swin.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;
static const swin__kernels *spec, *pass; /* the scalar table and the one under test */

static int shown; /* failures that were described since the last report */

static void report(const char *what, int ok)
{
    printf("%s %s: %s\n", swin_cpu_name(pass->cpu), what, ok ? "ok" : "FAILED");
    shown = 0;
    if (ok) passed++;
    else failed++;
}

/* --- cases ------------------------------------------------------------------------------------ */

enum { SHOWN = 3 }; /* failing cases a report describes */

static char at_hand[128]; /* the case: its kernel and sizes */
static int complaints;    /* about it */

/* Names the case that begins. */
static void begin(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(at_hand, sizeof at_hand, format, list);
    va_end(list);
    complaints = 0;
}

/* Describes the first wrong number of a case; always 0. */
static int wrong(const char *of, size_t i, double got, double wanted)
{
    if (!complaints++ && shown++ < SHOWN)
        printf("  %s %s: %s[%zu] is %.9g (%a), not %.9g (%a)\n",
               swin_cpu_name(pass->cpu), at_hand, of, i, got, got, wanted, wanted);
    return 0;
}

static int equal(const char *of, size_t i, double got, double wanted)
{
    return got == wanted || wrong(of, i, got, wanted);
}

static int near(const char *of, size_t i, double got, double wanted, double tolerance)
{
    return fabs(got - wanted) <= tolerance || wrong(of, i, got, wanted);
}

/* The first of n floats whose bits are others, or n. */
static size_t first_other(const float *a, const float *b, size_t n)
{
    size_t i = 0;
    while (i < n && !memcmp(a + i, b + i, sizeof *a)) i++;
    return i;
}

static int same(const char *of, const float *got, const float *wanted, size_t n)
{
    const size_t i = first_other(got, wanted, n);
    return i == n || wrong(of, i, got[i], wanted[i]);
}

/* --- material --------------------------------------------------------------------------------- */

static uint32_t state = 1;

static uint32_t dice(uint32_t sides)
{
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state % sides;
}

/* -1 .. 1 */
static float uniform(void) { return (float)dice(1u << 24) / (float)(1u << 23) - 1.0f; }

/* n floats of exactly that many bytes, random */
static float *room(size_t n)
{
    float *p = (float *)malloc(n * sizeof *p);
    if (!p) exit(2);
    for (size_t i = 0; i < n; i++) p[i] = uniform();
    return p;
}

static float *copy(const float *p, size_t n)
{
    float *q = (float *)malloc(n * sizeof *q);
    if (!q) exit(2);
    memcpy(q, p, n * sizeof *q);
    return q;
}

/* --- fused multiply-adds ---------------------------------------------------------------------- */

__extension__ typedef __int128 int128;

/* A finite float other than 0 as m * 2^e, with 48 bits from m's first to its last. */
static int64_t parts(double x, int *e)
{
    const int64_t m = (int64_t)ldexp(frexp(x, e), 48);
    *e -= 48;
    return m;
}

/* m * 2^e, m > 0, rounded to the nearest float, ties to even. */
static float nearest(int negative, int128 m, int e)
{
    int top = 0, keep;
    for (int128 rest = m; rest; rest /= 2) top++;
    keep = top + e > -125 ? 24 : top + e + 149;
    const int away = top - keep;
    const int128 one = 1, half = away > 0 ? one << (away - 1) : 0;
    int128 q = away > 0 ? m >> away : m << -away;
    const int128 rest = away > 0 ? m & ((one << away) - 1) : 0;
    if (rest > half || (rest == half && half && (q & 1))) q++;
    const float value = ldexpf((float)q, e + away);
    return negative ? -value : value;
}

/* a * b + c of finite floats in integers: exact, then rounded once. */
static float exact_fma(float a, float b, float c)
{
    int ep, ec, gap;
    if (a == 0 || b == 0 || c == 0) return (float)((double)a * b + c);
    const int64_t p = parts((double)a * b, &ep), d = parts(c, &ec);
    const int128 large = (int128)(ep >= ec ? p : d) * ((int128)1 << 60);
    int128 small = ep >= ec ? d : p, sum;
    gap = abs(ep - ec);
    /* what lies below all bits that count is as good as the last of them */
    small = gap <= 60 ? small * ((int128)1 << (60 - gap)) : small > 0 ? 1 : -1;
    sum = large + small;
    if (sum == 0) return 0;
    return nearest(sum < 0, sum < 0 ? -sum : sum, (ep >= ec ? ep : ec) - 60);
}

/* Of random bits, with few bits set or all, and exponents that let product and addend meet. */
static float float_near(int exponent)
{
    const uint32_t sign = dice(2) << 31, kept = dice(24), ones = dice(4);
    const int e = exponent + (int)dice(60) - 30;
    uint32_t fraction = dice(1u << 23) >> kept << kept, bits;
    float x;
    if (!ones) fraction = 0x7fffffu >> kept << kept;
    bits = sign | (uint32_t)(e < 0 ? 0 : e > 254 ? 254 : e) << 23 | fraction;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Both ways to a fused multiply-add against `wanted`; NaNs are all the same. */
static int fma_is(float a, float b, float c, float wanted)
{
    const float got[2] = {swin__fma_by_doubles(a, b, c), swin__fmaf(a, b, c)};
    int ok = 1;
    begin("%a * %a + %a", (double)a, (double)b, (double)c);
    for (size_t way = 0; way < 2; way++)
        if (!isnan(got[way]) || !isnan(wanted)) ok &= same("way", got + way, &wanted, 1);
    return ok;
}

/* Large, small, denormal and overflowing results, products that almost cancel, and what is no
   number. */
static void test_fma(void)
{
    static const float odd[] = {0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 1e-45f, -1e-45f,
                                3.4028235e38f, -3.4028235e38f, 1.17549435e-38f, 1.0000001f};
    enum { N = sizeof odd / sizeof *odd };
    int ok = 1;
    for (int i = 0; i < 3000000 && ok; i++) {
        const int first = (int)dice(255), second = (int)dice(255);
        const float a = float_near(first), b = float_near(second);
        const float c = i % 4 ? float_near(first + second - 127)
                              : -(float)((double)a * b * (1 + (double)(dice(3)) / 8388608));
        if (!(fabsf(c) <= FLT_MAX)) continue;
        ok = fma_is(a, b, c, exact_fma(a, b, c));
    }
    report("fused multiply-adds are rounded once", ok);
    ok = 1;
    for (int i = 0; i < N * N * N; i++) {
        const float a = odd[i / N / N], b = odd[i / N % N], c = odd[i % N];
        const float product = a * b, expected = fabsf(a) <= FLT_MAX && fabsf(b) <= FLT_MAX
                              ? fabsf(c) <= FLT_MAX ? exact_fma(a, b, c) : c : product + c;
        ok &= fma_is(a, b, c, expected);
    }
    report("fused multiply-adds of zeros, infinities and NaNs", ok);
}

/* --- products --------------------------------------------------------------------------------- */

static void plain_product(const swin__product *p)
{
    for (int i = 0; i < p->m; i++) {
        float *c = p->c + (size_t)i * p->ldc;
        for (int j = 0; j < p->n; j++) {
            float sum = p->init ? p->init[(size_t)i * p->ldi + (size_t)j] : 0.0f;
            const float *b = p->b + (size_t)(j / 16) * p->panel + j % 16;
            for (int k = 0; k < p->k; k++)
                sum = fmaf(p->a[(size_t)i * p->lda + (size_t)k], b[(size_t)k * p->ldb], sum);
            c[j] = p->act == SWIN__RELU && !(sum > 0) ? 0.0f : sum;
        }
        if (p->act == SWIN__GELU) spec->gelu(c, 0, 1, p->n);
        for (int j = 0; p->onto && j < p->n; j++) p->onto[(size_t)i * p->ldo + (size_t)j] += c[j];
    }
}

/* The number that binary16 bits stand for, from the format's definition; not of infinity or NaN. */
static float value_of_half(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double size = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return (float)(half & 0x8000 ? -size : size);
}

/* n halves below 2, some of them denormal; *values: the same as floats. */
static uint16_t *halves(size_t n, float **values)
{
    uint16_t *h = (uint16_t *)malloc(n * sizeof *h);
    *values = room(n);
    if (!h) exit(2);
    for (size_t i = 0; i < n; i++) {
        h[i] = (uint16_t)(dice(4) ? dice(1u << 16) & 0xbfff : dice(1u << 10));
        (*values)[i] = value_of_half(h[i]);
    }
    return h;
}

/* All halves, NaNs being quiet ones; not a number more than asked for is read or written. */
static void test_widen(void)
{
    uint16_t *all = (uint16_t *)malloc(sizeof *all << 16);
    float *got = room(1u << 16), *wanted = room(1u << 16);
    if (!all) exit(2);
    for (size_t i = 0; i < 1u << 16; i++) {
        const uint32_t sign = (uint32_t)i >> 15 << 31, fraction = i & 1023;
        const uint32_t none = sign | 0x7f800000u | (fraction ? 0x400000u | fraction << 13 : 0);
        all[i] = (uint16_t)i;
        wanted[i] = value_of_half((uint16_t)i);
        if ((i >> 10 & 31) == 31) memcpy(&wanted[i], &none, sizeof none);
    }
    begin("widen");
    pass->widen(got, all, 1u << 16);
    report("every half as a float", same("got", got, wanted, 1u << 16));
    free(all), free(got), free(wanted);
}

/* One product; variant chooses the layout of B, the start, the activation, where C goes and what
   B's numbers are. */
static int product_case(int m, int n, int k, unsigned variant)
{
    const size_t lda = (size_t)k + variant % 3, ldc = (size_t)n + 16 * (variant % 2);
    const size_t sizec = (size_t)(m - 1) * ldc + (size_t)n;
    const int half = variant / 96 % 2, packed = half || variant / 2 % 2;
    const int start = (int)(variant / 4 % 4);
    float *a = room((size_t)(m - 1) * lda + (size_t)k), *b;
    uint16_t *h = halves((size_t)n * (size_t)k, &b);
    float *c = room(sizec), *d = copy(c, sizec), *init = room((size_t)m * (size_t)n);
    float *x = room(sizec), *y = copy(x, sizec);
    swin__product p = {.m = m, .n = n, .k = k, .a = a, .lda = lda, .b = b, .c = c, .ldc = ldc};
    p.ldb = packed ? 16 : (size_t)n;
    p.panel = packed ? 16 * (size_t)k : 16;
    p.act = (int)(variant / 16 % 3);
    if (variant / 48 % 2) p.onto = x, p.ldo = ldc;
    if (half) p.type = SWIN__F16, p.b = (const float *)(const void *)h, p.ldb = 8, p.panel /= 2;
    if (variant % 2) p.next_b = p.b, p.next_c = c;
    if (start) p.init = start == 3 ? c : init;
    if (start > 1) p.ldi = start == 3 ? ldc : (size_t)n;
    begin("gemm m %d, n %d, k %d, variant %u, rows of %zu", m, n, k, variant, ldc);
    pass->gemm(&p);
    if (half) p.type = SWIN__F32, p.b = b, p.ldb = 16, p.panel *= 2;
    p.c = d;
    if (start == 3) p.init = d;
    if (p.onto) p.onto = y;
    plain_product(&p);
    const int ok = same("c", c, d, sizec) && same("onto", x, y, sizec);
    free(a), free(b), free(h), free(c), free(d), free(init), free(x), free(y);
    return ok;
}

static void test_gemm(void)
{
    static const int columns[] = {16, 32, 48, 80};
    static const int depths[] = {1, 2, 3, 5, 8, 31, 64, 193, 400, 800};
    unsigned variant = 0;
    int ok = 1;
    for (int m = 1; m <= 40; m++)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 10; j++)
                ok &= product_case(m, columns[i], depths[j], variant += 5);
    report("gemm, every height to 40", ok);
    ok = 1;
    for (variant = 0; variant < 96; variant++) ok &= product_case(17, 48, 67, variant);
    report("gemm, every layout, start, activation and way out", ok);
    ok = 1;
    for (; variant < 192; variant++)
        ok &= product_case(1 + (int)(variant % 19), 16 * (1 + (int)(variant % 5)), 191, variant) &
              product_case(17, 48, 387 + (int)(variant % 4), variant);
    report("gemm of halves", ok);
}

/* --- eight bits ------------------------------------------------------------------------------- */

/* The floats of a quantised row of n numbers. */
static size_t quantised(int n) { return ((size_t)(n + 15) / 16 * 8 + 6 + 15) / 16 * 16; }

/* The scale of a row whose largest |x| has these bits, from the formula. */
static float scale_of(uint32_t top)
{
    float x;
    memcpy(&x, &top, sizeof x);
    return top > 0x7f7fffffu ? NAN : x < ldexpf(1, -100) ? 0.0f : x / 127.0f;
}

/* x as a whole number of the scale of a row whose largest |x| has these bits. */
static int whole(float x, uint32_t top)
{
    float largest;
    memcpy(&largest, &top, sizeof largest);
    if (top > 0x7f7fffffu || largest < ldexpf(1, -100)) return 0;
    return (int)(exact_fma(x, 127.0f / largest, 12582912.0f) - 12582912.0f);
}

/* The largest of the bits of |x|. */
static uint32_t largest_bits(const float *x, int n, uint32_t top)
{
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        if ((bits & 0x7fffffffu) > top) top = bits & 0x7fffffffu;
    }
    return top;
}

/* Weights of eight bits as a blob has them: bytes [ceil(n/16)][ceil(k/4)][16][4]. */
static int8_t *quads_of(int n, int k, const int8_t *w)
{
    const size_t quads = (size_t)(k + 3) / 4, panels = (size_t)(n + 15) / 16;
    int8_t *to = (int8_t *)calloc(panels * quads, 64);
    if (!to) exit(2);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++)
            to[((size_t)(i / 16) * quads + (size_t)(j / 4)) * 64 + (size_t)(i % 16 * 4 + j % 4)] =
                w[(size_t)i * (size_t)k + (size_t)j];
    return to;
}

/* What a case of eight bits is: m rows of k numbers and n columns, of weights with `lead` terms
   before them, or of that many pieces. */
typedef struct eight { int m, n, k, lead, pieces, extreme, act, onto; } eight;

/* The rows a as whole numbers [rows][k], which free() takes, and the scale of each; pieces share
   one. */
static int *whole_rows(const eight *e, int rows, const float *a, size_t lda, float *scale)
{
    int *numbers = (int *)malloc((size_t)rows * (size_t)e->k * sizeof *numbers), *to = numbers;
    uint32_t all = 0;
    if (!numbers) exit(2);
    for (int i = 0; i < rows; i++) all = largest_bits(a + (size_t)i * lda, e->k, all);
    for (int i = 0; i < rows; i++, a += lda) {
        const uint32_t top = e->pieces ? all : largest_bits(a, e->k, 0);
        scale[i] = scale_of(top);
        for (int t = 0; t < e->k; t++) *to++ = whole(a[t], top);
    }
    return numbers;
}

/* The plain sum for a row and column, and what becomes of it; w: the column's weights. A piece's
   row follows the one before it. */
static float plain_eight(const eight *e, const int *row, float scale, const int8_t *w,
                         float column, float init)
{
    const int terms = (e->pieces ? e->pieces : 1) * e->k;
    int64_t sum = 0;
    for (int t = 0; t < terms; t++) sum += w[e->lead + t] * row[t];
    return fmaf((float)sum * scale, column, init);
}

/* quantise and gemm8 against the formulas, bit for bit. Pieces are overlapping rows of A, which
   share a scale. */
static int eight_case(eight e)
{
    const int pieces = e.pieces ? e.pieces : 1, rows = e.m + pieces - 1;
    const int terms = e.lead + pieces * e.k + 3, n16 = (e.n + 15) / 16 * 16;
    const size_t lda = ((size_t)e.k + 15) / 16 * 16, ldq = quantised(e.k), ldc = (size_t)n16 + 16;
    const size_t quads = (size_t)(terms + 3) / 4, sizec = (size_t)e.m * ldc;
    float *a = room((size_t)rows * lda), *q = room((size_t)rows * ldq), *c = room(sizec), *d;
    float *column = room((size_t)n16), *init = room((size_t)n16), *x = room(sizec), *y;
    float *scale = (float *)malloc((size_t)rows * sizeof *scale);
    int8_t *w = (int8_t *)malloc((size_t)e.n * (size_t)terms), *b;
    int *numbers;
    size_t from[16];
    int ok = 1;
    if (!scale || !w) exit(2);
    for (size_t i = 0; i < (size_t)e.n * (size_t)terms; i++)
        w[i] = (int8_t)(e.extreme == 1 ? 127 : e.extreme == 2 ? (int)dice(2) * 254 - 127
                        : e.extreme == 3 ? -128 : (int)dice(255) - 127);
    for (size_t i = 0; e.extreme && i < (size_t)rows * lda; i++)
        a[i] = e.extreme == 2 && dice(2) ? -3.0f : 3.0f;
    b = quads_of(e.n, terms, w);
    d = copy(c, sizec), y = copy(x, sizec);
    for (size_t i = 0; i < 16; i++) from[i] = i * ldq;
    swin__product p = {.m = e.m, .n = n16, .k = e.k, .type = SWIN__S8, .a = q, .lda = ldq,
                       .b = (const float *)(const void *)b, .ldb = 16, .panel = 16 * quads,
                       .init = init, .c = c, .ldc = ldc, .act = e.act, .column = column,
                       .lead = e.lead, .pieces = e.pieces, .piece_a = from,
                       .piece_b = 4 * (size_t)e.k};
    if (e.onto) p.onto = x, p.ldo = ldc;
    begin("gemm8 m %d, n %d, k %d, lead %d, pieces %d, extreme %d", e.m, e.n, e.k, e.lead,
          e.pieces, e.extreme);
    pass->quantise(q, ldq, a, lda, rows, e.k, e.pieces > 0);
    pass->gemm8(&p);
    numbers = whole_rows(&e, rows, a, lda, scale);
    for (int i = 0; i < e.m; i++) {
        float *row = d + (size_t)i * ldc;
        for (int j = 0; j < n16; j++)
            row[j] = j < e.n ? plain_eight(&e, numbers + (size_t)i * (size_t)e.k, scale[i],
                                           w + (size_t)j * (size_t)terms, column[j], init[j])
                             : init[j];
        if (e.act == SWIN__RELU) spec->relu(row, 0, 1, n16);
        if (e.act == SWIN__GELU) spec->gelu(row, 0, 1, n16);
        if (e.onto) spec->add(y + (size_t)i * ldc, 0, row, 0, 1, n16);
    }
    ok &= same("c", c, d, sizec) && same("onto", x, y, sizec);
    free(a), free(q), free(c), free(d), free(x), free(y), free(column), free(init), free(scale);
    free(w), free(b), free(numbers);
    return ok;
}

/* One row through quantise, in place or not: its scale against the formula, its numbers through a
   product with weights that pick one of them. */
static int quantise_case(float *x, int n, int in_place)
{
    const size_t ld = ((size_t)n + 15) / 16 * 16, ldq = in_place ? ld : quantised(n);
    float *source = (float *)malloc(ld * sizeof *source), *q, *c = room(ld), *column = room(ld);
    int8_t *w = (int8_t *)calloc((size_t)n * (size_t)n, 1), *b;
    const uint32_t top = largest_bits(x, n, 0);
    const float scale = scale_of(top);
    int ok = 1;
    if (!source || !w) exit(2);
    for (size_t i = 0; i < ld; i++) source[i] = i < (size_t)n ? x[i] : NAN, column[i] = 1;
    for (size_t i = 0; i < (size_t)n; i++) w[i * (size_t)n + i] = 1;
    q = in_place ? source : room(ldq);
    b = quads_of(n, n, w);
    swin__product p = {.m = 1, .n = (int)ld, .k = n, .type = SWIN__S8, .a = q, .lda = ldq,
                       .b = (const float *)(const void *)b, .ldb = 16,
                       .panel = 16 * (size_t)((n + 3) / 4), .c = c, .ldc = ld, .column = column};
    begin("quantise n %d, largest %08x%s", n, top, in_place ? ", in place" : "");
    pass->quantise(q, ldq, source, ld, 1, n, 0);
    pass->gemm8(&p);
    for (size_t i = 0; i < (size_t)n; i++) {
        const float wanted = fmaf((float)whole(x[i], top) * scale, 1, 0);
        if (!isnan(scale) || !isnan(c[i])) ok &= same("number", c + i, &wanted, 1);
    }
    if (!isnan(scale)) ok &= same("scale", q, &scale, 1);
    else ok &= isnan(q[0]) || wrong("scale", 0, q[0], NAN);
    if (!in_place) free(q);
    free(source), free(c), free(column), free(w), free(b);
    return ok;
}

static void test_quantise(void)
{
    static const float odd[] = {0, -0.0f, 1e-45f, 7.8886e-31f, 7.8888e-31f, -7.88860905e-31f,
                                1e-38f, 3.4028235e38f, -3.4028235e38f, INFINITY, -INFINITY,
                                NAN, -NAN};
    float x[96];
    int ok = 1;
    for (int n = 1; n <= 96; n++) {
        for (int i = 0; i < n; i++) x[i] = uniform() * ldexpf(1, (int)dice(20) - 10);
        ok &= quantise_case(x, n, 0) & quantise_case(x, n, 1);
        for (int i = 0; i < n; i++) x[i] = ((float)dice(255) - 127 + 0.5f) / 127.5f; /* ties */
        x[dice((uint32_t)n)] = 127;
        ok &= quantise_case(x, n, 0);
    }
    report("quantise", ok);
    ok = 1;
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
        for (int n = 1; n <= 70; n += 3) {
            for (int i = 0; i < n; i++) x[i] = k % 2 ? 0 : uniform() * odd[k] * 0.5f;
            x[dice((uint32_t)n)] = odd[k];
            ok &= quantise_case(x, n, n % 2);
            x[dice((uint32_t)n)] = 1;
            ok &= quantise_case(x, n, n % 2);
        }
    }
    report("quantise zeros, denormals, infinities and NaNs", ok);
}

static void test_gemm8(void)
{
    static const int columns[] = {1, 16, 33, 80};
    static const int depths[] = {1, 2, 3, 4, 5, 7, 8, 16, 31, 64, 193};
    int ok = 1, count = 0;
    for (int m = 1; m <= 30; m++)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 11; j++, count++)
                ok &= eight_case((eight){.m = m, .n = columns[i], .k = depths[j],
                                         .act = count % 3, .onto = count % 2});
    report("gemm8, every height to 30", ok);
    ok = 1;
    for (int lead = 0; lead < 4; lead++)
        for (int k = 1; k <= 40; k++)
            ok &= eight_case((eight){1 + k % 17, 48, k, lead, 0, 0, 0, 0});
    report("gemm8, from every term of a quad", ok);
    ok = 1;
    for (int pieces = 1; pieces <= 9; pieces++)
        for (int k = 4; k <= 36; k += 4)
            ok &= eight_case((eight){1 + k % 19, 32 + pieces, k, 0, pieces, 0, 0, 0});
    report("gemm8 of pieces", ok);
    ok = 1;
    for (int extreme = 1; extreme <= 3; extreme++) {
        for (int k = 1; k <= 70; k++)
            ok &= eight_case((eight){1 + k % 15, 33, k, 0, 0, extreme, 0, 0});
        ok &= eight_case((eight){1, 17, 131069, 0, 0, extreme, 0, 0});
    }
    report("gemm8 of the largest numbers, and the most of them", ok);
}

/* --- functions of one number ------------------------------------------------------------------ */

static void test_sigmoid(void)
{
    enum { N = 4096 };
    float *x = room(N), *y;
    int ok = 1;
    for (int i = 0; i < N; i++) x[i] *= i < N / 2 ? 20 : 1;
    x[0] = 0.0f, x[1] = 200.0f, x[2] = -200.0f, x[3] = -80.0f;
    y = copy(x, N);
    begin("sigmoid of -20 .. 20 and -1 .. 1");
    pass->sigmoid(y, 1024, 4, 1024);
    for (size_t i = 0; i < N; i++) {
        const double exact = 1 / (1 + exp(-(double)x[i]));
        ok &= near("y", i, y[i], exact, 4e-7 * exact + 1e-37);
    }
    report("sigmoid", ok);
    spec->sigmoid(x, 1024, 4, 1024);
    report("sigmoid, the scalar bits", same("y", y, x, N));
    free(x), free(y);
}

static void test_gelu(void)
{
    enum { N = 4096 };
    float *x = room(N), *y;
    double worst = 0, first = 0;
    int ok = 1;
    for (int i = 0; i < N; i++) x[i] = i < N / 2 ? x[i] * 8 : x[i] * 1e-3f;
    x[0] = 0.0f, x[1] = 100.0f, x[2] = -100.0f;
    y = copy(x, N);
    begin("gelu of -8 .. 8 and -0.001 .. 0.001");
    pass->gelu(y, 1024, 4, 1024);
    for (size_t i = 0; i < N; i++) {
        const double v = x[i], exact = v * 0.5 * erfc(-v * sqrt(0.5)), error = fabs(y[i] - exact);
        ok &= near("y", i, y[i], exact, 1.5e-7 * fmax(1, fabs(v)));
        worst = fmax(worst, error / fmax(1, fabs(v)));
        if (i < N / 2) continue;
        ok &= near("y", i, y[i], exact, 5e-7 * fabs(exact));
        if (exact != 0) first = fmax(first, error / fabs(exact));
    }
    printf("  error %.2g max(1, |x|), relative near 0 %.2g\n", worst, first);
    report("gelu", ok);
    spec->gelu(x, 1024, 4, 1024);
    report("gelu, the scalar bits", same("y", y, x, N));
    for (int i = 0; i < 64; i++) x[i] = uniform(), y[i] = x[i] > 0 ? x[i] : 0.0f;
    x[5] = -0.0f, y[5] = 0.0f;
    begin("relu");
    pass->relu(x, 32, 2, 32);
    report("relu", same("x", x, y, 64));
    free(x), free(y);
}

/* exp, seen through a softmax whose highest score is 0 */
static void test_exp(void)
{
    enum { N = 16384 };
    float *x = room(N), *y, inverse;
    double worst = 0;
    int ok;
    for (int i = 0; i < N; i++) x[i] = (x[i] - 1) * (i % 2 ? 50.0f : 1.0f);
    x[0] = 0, x[1] = -87.0f, x[2] = -1e30f, x[3] = -INFINITY, x[4] = -1e-30f;
    y = copy(x, N);
    begin("exp of -100 .. 0");
    pass->softmax(y, N, 1, N, NULL, 0, &inverse);
    ok = equal("y", 0, y[0], 1);
    for (size_t i = 0; i < N; i++) {
        if (x[i] < -87.0f) {
            ok &= equal("y", i, y[i], 0);
            continue;
        }
        const double exact = exp((double)x[i]), last = ldexp(1, ilogb(exact) - 23);
        ok &= near("y", i, y[i], exact, 2 * last);
        worst = fmax(worst, fabs(y[i] - exact) / last);
    }
    printf("  error %.2f units in the last place\n", worst);
    report("exp", ok);
    spec->softmax(x, N, 1, N, NULL, 0, &inverse);
    report("exp, the scalar bits", same("y", y, x, N));
    free(x), free(y);
}

/* One score of a row that is no number, or infinite, makes shares that are no numbers; one that is
   infinitely low has none, and the others are what they are without it. */
static void test_odd_scores(void)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    enum { N = 48 };
    int ok = 1;
    for (int i = 0; i < 3 * N; i++) {
        const int at = i / 3;
        float *x = room(N), *y = copy(x, N), inverse[2];
        begin("softmax with %g at %d of %d", (double)odd[i % 3], at, N);
        x[at] = odd[i % 3], y[at] = -1e30f;
        pass->softmax(x, N, 1, N, NULL, 0, inverse);
        spec->softmax(y, N, 1, N, NULL, 0, inverse + 1);
        if (i % 3 == 2) ok &= same("s", x, y, N) && same("inverse", inverse, inverse + 1, 1);
        else ok &= isnan(inverse[0]) || wrong("inverse", 0, inverse[0], NAN);
        free(x), free(y);
    }
    report("softmax of NaN and infinity", ok);
}

/* --- rows ------------------------------------------------------------------------------------- */

static int norm_case(int n)
{
    enum { ROWS = 11 };
    const int n16 = (n + 15) / 16 * 16;
    const size_t N = (size_t)n16, ld = N + 16;
    float *x = room(ROWS * ld), *y = room(ROWS * N), *z, *w = room(N), *b = room(N);
    int ok = 1;
    for (int i = 0; i < n16; i++) w[i] *= i < n, b[i] *= i < n;
    for (size_t i = 0; i < ROWS * ld; i++) x[i] = i % ld < (size_t)n ? x[i] * 3 + 1 : 0;
    z = copy(x, ROWS * ld);
    begin("norm of %d columns", n);
    pass->norm(y, N, x, ld, ROWS, n, w, b, 1e-5f);
    for (size_t row = 0; row < ROWS; row++) {
        const float *from = x + row * ld, *to = y + row * N;
        double mean = 0, variance = 0;
        for (int i = 0; i < n; i++) mean += (double)from[i] / n;
        for (int i = 0; i < n; i++) variance += (from[i] - mean) * (from[i] - mean) / n;
        for (size_t i = 0; i < N; i++) {
            const double unit = (from[i] - mean) / sqrt(variance + 1e-5);
            ok &= (int)i < n ? near("y", i, to[i], unit * w[i] + b[i], n > 1 ? 3e-6 : 1e-3)
                             : equal("y", i, to[i], 0);
        }
    }
    spec->norm(x, ld, x, ld, ROWS, n, w, b, 1e-5f);
    pass->norm(z, ld, z, ld, ROWS, n, w, b, 1e-5f);
    for (size_t row = 0; row < ROWS; row++)
        ok &= same("y", y + row * N, x + row * ld, N)
              && same("x in its place", z + row * ld, x + row * ld, N);
    free(x), free(y), free(z), free(w), free(b);
    return ok;
}

static int softmax_case(int rows, int keys, int regions)
{
    const int n16 = (keys + 15) / 16 * 16;
    const size_t N = (size_t)n16, size = (size_t)rows * N;
    float *s = room(size), *t, *raw, *region = room(N), *inverse = room((size_t)rows * 2);
    int ok = 1;
    for (size_t i = 0; i < size; i++) s[i] = (int)(i % N) < keys ? s[i] * 10 : -1e30f;
    for (size_t i = 0; i < N; i++) region[i] = (float)dice(4);
    raw = copy(s, size), t = copy(s, size);
    begin("softmax of %d rows, %d keys%s", rows, keys, regions ? " in regions" : "");
    pass->softmax(s, N, rows, n16, regions ? region : NULL, -100.0f, inverse);
    for (int i = 0; i < rows; i++) {
        double v[256], top = -1e300, sum = 0;
        for (int j = 0; j < keys; j++) {
            v[j] = raw[(size_t)i * N + (size_t)j];
            if (regions && region[i] != region[j] && region[i] != 0 && region[j] != 0) v[j] -= 100;
            top = fmax(top, v[j]);
        }
        for (int j = 0; j < keys; j++) sum += exp(v[j] - top);
        for (int j = 0; j < n16; j++) {
            const size_t at = (size_t)i * N + (size_t)j;
            const double p = (double)s[at] * inverse[i];
            const double share = j < keys ? exp(v[j] - top) / sum : 0;
            ok &= near("share", at, p, share, j < keys ? 8e-6 * share + 1e-37 : 0);
        }
    }
    spec->softmax(t, N, rows, n16, regions ? region : NULL, -100.0f, inverse + rows);
    ok &= same("s", s, t, size) && same("inverse", inverse, inverse + rows, (size_t)rows);
    free(s), free(t), free(raw), free(region), free(inverse);
    return ok;
}

/* Rows of every length become `scale` long; a row of zeros, or one too short to tell, stays. */
static int unit_case(int rows, int w16)
{
    const size_t ld = (size_t)w16 + 16, size = (size_t)rows * ld;
    float *x = room(size), *y;
    const float scale = 7.5f;
    int ok = 1;
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < w16; c++)
            x[(size_t)i * ld + (size_t)c] *= i % 3 == 1 ? 0 : 1e3f / (float)(1 + i);
    y = copy(x, size);
    begin("unit of %d rows, %d columns", rows, w16);
    pass->unit_vectors(x, ld, rows, w16, scale);
    for (int i = 0; i < rows; i++) {
        double length = 0;
        for (int c = 0; c < w16; c++) length += pow(y[(size_t)i * ld + (size_t)c], 2);
        for (size_t at = (size_t)i * ld; at < (size_t)(i + 1) * ld; at++) {
            const double factor = scale / fmax(sqrt(length), 1e-12);
            ok &= at % ld < (size_t)w16 ? near("x", at, x[at], y[at] * factor, 1e-6 * scale)
                                        : equal("x", at, x[at], y[at]);
        }
    }
    spec->unit_vectors(y, ld, rows, w16, scale);
    ok &= same("x", x, y, size);
    free(x), free(y);
    return ok;
}

/* The moments of columns, and rows brought to a mean and a spread, against double arithmetic. */
static int moments_case(int rows, int n16)
{
    const size_t N = (size_t)n16, ld = N + 16, size = (size_t)(rows - 1) * ld + N;
    float *x = room(size), *sum = room(2 * N), *spread = room(2 * N), *f = room(3 * N), *y, *z;
    int ok = 1;
    for (size_t i = 0; i < size; i++) x[i] = x[i] * 2 + 5;
    begin("moments of %d rows, %d columns", rows, n16);
    pass->moments(sum, spread, x, ld, rows, n16);
    spec->moments(sum + N, spread + N, x, ld, rows, n16);
    ok &= same("sum", sum, sum + N, N) && same("spread", spread, spread + N, N);
    for (size_t c = 0; c < N; c++) {
        double mean = 0, squares = 0;
        for (size_t i = 0; i < (size_t)rows; i++) mean += (double)x[i * ld + c] / rows;
        for (size_t i = 0; i < (size_t)rows; i++) squares += pow(x[i * ld + c] - mean, 2);
        ok &= near("sum", c, sum[c], mean * rows, 1e-6 * mean * rows);
        ok &= near("spread", c, spread[c], squares, 1e-6 * squares + 1e-9);
    }
    for (int act = SWIN__LINEAR; act <= SWIN__RELU; act++) {
        y = copy(x, size), z = copy(x, size);
        pass->normalise(y, ld, rows, n16, f, f + N, f + 2 * N, act);
        spec->normalise(z, ld, rows, n16, f, f + N, f + 2 * N, act);
        ok &= same("x", y, z, size);
        for (size_t i = 0; i < size; i++) {
            const size_t c = i % ld;
            const float wanted = c < N ? fmaf(x[i] - f[c], f[N + c], f[2 * N + c]) : x[i];
            ok &= equal("x", i, y[i], c < N && act == SWIN__RELU && wanted < 0 ? 0 : wanted);
        }
        free(y), free(z);
    }
    free(x), free(sum), free(spread), free(f);
    return ok;
}

/* exp(score - top) of blocks of scores [block][row][key] in row i, added to `sum`. */
static double exps_of_row(const float *scores, size_t blocks, size_t rows, size_t n, size_t i,
                          double top, double sum)
{
    for (size_t b = 0; b < blocks; b++)
        for (size_t j = 0; j < n; j++) sum += exp(scores[(b * rows + i) * n + j] - top);
    return sum;
}

/* Keys that come in blocks against one softmax over all of them: each row's highest score, sum,
   weights and values, after earlier keys for odd rows, after none for even ones. */
static int online_case(int rows, int n16, int w16)
{
    enum { BLOCKS = 4 };
    const size_t N = (size_t)n16, W = (size_t)w16, R = (size_t)rows, block = R * N;
    float *s = room(BLOCKS * block), *t, *scores, *out[2], *values;
    float *top = room(2 * R), *sum = room(2 * R), *early = room(R), *before = room(R);
    int ok = 1;
    for (size_t i = 0; i < BLOCKS * block; i++) s[i] *= 20;
    t = copy(s, BLOCKS * block), scores = copy(s, BLOCKS * block);
    values = room(R * W), out[0] = copy(values, R * W), out[1] = copy(values, R * W);
    for (size_t i = 0; i < R; i++) {
        early[i] = i % 2 ? early[i] * 20 : -1e30f, before[i] = i % 2 ? 3.0f : 0.0f;
        top[i] = top[R + i] = early[i], sum[i] = sum[R + i] = before[i];
    }
    begin("online of %d rows, %d keys, %d columns", rows, n16, w16);
    for (size_t b = 0; b < BLOCKS; b++) {
        pass->softmax_block(s + b * block, N, rows, n16, top, sum, out[0], W, w16);
        spec->softmax_block(t + b * block, N, rows, n16, top + R, sum + R, out[1], W, w16);
        for (size_t i = 0; i < block; i++) {
            const double weight = exp((double)scores[b * block + i] - top[i / N]);
            ok &= near("weight", b * block + i, s[b * block + i], weight, 8e-6 * weight + 1e-37);
        }
    }
    for (size_t i = 0; i < R; i++) {
        double highest = early[i];
        for (size_t j = 0; j < BLOCKS * block; j++)
            if (j / N % R == i) highest = fmax(highest, scores[j]);
        const double shrink = exp(early[i] - highest);
        const double exact = exps_of_row(scores, BLOCKS, R, N, i, highest, before[i] * shrink);
        ok &= equal("top", i, top[i], highest) && near("sum", i, sum[i], exact, 8e-6 * exact);
        for (size_t at = i * W; at < (i + 1) * W; at++)
            ok &= near("out", at, out[0][at], values[at] * shrink,
                       8e-6 * (double)fabsf(values[at]) * shrink + 1e-37);
    }
    ok &= same("s", s, t, BLOCKS * block) && same("top", top, top + R, R);
    ok &= same("sum", sum, sum + R, R) && same("out", out[0], out[1], R * W);
    free(s), free(t), free(scores), free(out[0]), free(out[1]), free(values);
    free(top), free(sum), free(early), free(before);
    return ok;
}

static void test_rows(void)
{
    int ok = norm_case(768);
    for (int n = 1; n <= 100; n++) ok &= norm_case(n);
    report("norm, 1 to 100 columns", ok);
    ok = 1;
    for (int keys = 1; keys <= 100; keys++) ok &= softmax_case(1 + keys % 16, keys, 0);
    report("softmax, 1 to 100 keys", ok);
    ok = 1;
    for (int keys = 16; keys <= 64; keys++) ok &= softmax_case(keys, keys, 1);
    report("softmax with regions", ok);
    ok = 1;
    for (int w16 = 16; w16 <= 96; w16 += 16) ok &= unit_case(w16 / 16, w16);
    report("unit vectors", ok);
    ok = 1;
    for (int rows = 1; rows <= 70; rows++) ok &= moments_case(rows, 16 + 16 * (rows % 3));
    report("moments", ok);
    ok = 1;
    for (int rows = 1; rows < 12; rows++)
        ok &= online_case(rows, 16 + 16 * (rows % 5), 16 * (1 + rows % 3));
    report("online", ok);
}

/* The factors of scSE attention against their formula. */
static int excite_case(int rows, int n16)
{
    const size_t N = (size_t)n16, ld = N + 16, size = (size_t)(rows - 1) * ld + N;
    float *x = room(size), *z = copy(x, size), *column = room(N), *row = room(16 * (size_t)rows);
    begin("excite of %d rows, %d columns", rows, n16);
    pass->excite(x, ld, rows, n16, column, row, 16);
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t j = 0; j < N; j++) {
            const volatile float factor = column[j] + row[16 * i];
            z[i * ld + j] *= factor;
        }
    const int ok = same("x", x, z, size);
    free(x), free(z), free(column), free(row);
    return ok;
}

static int simple_case(int rows, int n16)
{
    const size_t N = (size_t)n16, ld = N + 16, size = (size_t)(rows - 1) * ld + N;
    float *x = room(size), *y = room((size_t)rows * N), *z = copy(x, size), *f = room((size_t)rows);
    begin("scale and add of %d rows, %d columns", rows, n16);
    pass->scale(x, ld, rows, n16, f);
    pass->add(x, ld, y, N, rows, n16);
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t j = 0; j < N; j++) {
            volatile float product = z[i * ld + j] * f[i]; /* volatile: not to be contracted */
            z[i * ld + j] = product + y[i * N + j];
        }
    const int ok = same("x", x, z, size);
    free(x), free(y), free(z), free(f);
    return ok;
}

static int combine_case(int n16, int count, int accumulate)
{
    const size_t N = (size_t)n16;
    float *x = room(N), *y = copy(x, N), *coef = room(64), *src[64];
    const float *rows[64];
    for (int i = 0; i < count; i++) rows[i] = src[i] = room(N);
    begin("combine of %d columns, %d terms%s", n16, count, accumulate ? ", added" : "");
    pass->combine(x, n16, rows, coef, count, accumulate);
    for (size_t j = 0; j < N; j++) {
        float sum = accumulate ? y[j] : 0.0f;
        for (int i = 0; i < count; i++) sum = fmaf(coef[i], src[i][j], sum);
        y[j] = sum;
    }
    const int ok = same("x", x, y, N);
    for (int i = 0; i < count; i++) free(src[i]);
    free(x), free(y), free(coef);
    return ok;
}

/* A channel of one sample, by its definition: the mix of its pixel's four corners. */
static float plain_sample(const swin__samples *s, int i, size_t channel, float sum)
{
    const float top = floorf(s->y[i]), left = floorf(s->x[i]);
    const float down[2] = { 1 - (s->y[i] - top), s->y[i] - top };
    const float across[2] = { 1 - (s->x[i] - left), s->x[i] - left };
    for (int corner = 0; corner < 4; corner++) {
        const int below = corner / 2, right = corner % 2;
        const float y = top + (float)below, x = left + (float)right;
        if (!(y >= 0 && y < (float)s->h && x >= 0 && x < (float)s->w)) continue;
        sum = fmaf(down[corner / 2] * across[corner % 2] * s->factor[i],
                   s->map[((size_t)y * (size_t)s->w + (size_t)x) * s->ld + channel], sum);
    }
    return sum;
}

/* Samples in and around a map of h x w pixels, rows ldd apart. */
static int sample_case(int h, int w, int n16, size_t ldd, int accumulate)
{
    static const float odd[] = { -1.0f, -0.0f, -1e-9f, 1e30f, -1e30f, INFINITY, NAN, -0.999999f };
    enum { COUNT = 40 };
    const size_t N = (size_t)n16, size = COUNT * ldd + N, ld = N + 16;
    float *map = room((size_t)h * (size_t)w * ld), *y = room(COUNT), *x = room(COUNT);
    float *factor = room(COUNT), *d = room(size), *e = copy(d, size);
    const swin__samples s = { map, ld, h, w, COUNT, y, x, factor };
    for (int i = 0; i < COUNT; i++) {
        y[i] = (float)(h + 2) * (y[i] + 1) / 2 - 1.5f;
        x[i] = (float)(w + 2) * (x[i] + 1) / 2 - 1.5f;
        if (i % 5 == 0) y[i] = floorf(y[i]);
        if (i % 7 == 0) x[i] = floorf(x[i]);
        if (i < 8) *(i % 2 ? &y[i] : &x[i]) = odd[i];
    }
    begin("sample of %dx%d pixels, %d columns, rows %d apart%s", h, w, n16, (int)ldd,
          accumulate ? ", added" : "");
    pass->sample(d, ldd, n16, &s, accumulate);
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < N; j++)
            e[i * ldd + j] = plain_sample(&s, (int)i, j, accumulate ? e[i * ldd + j] : 0.0f);
    const int ok = same("d", d, e, size);
    free(map), free(y), free(x), free(factor), free(d), free(e);
    return ok;
}

static int bytes_case(int n, int accumulate)
{
    const size_t N = (size_t)n;
    float *x = room(N + 1), *y = copy(x, N + 1), *z = copy(x, N + 1);
    unsigned char *src = (unsigned char *)malloc(N);
    for (size_t i = 0; i < N; i++) src[i] = (unsigned char)(i * 37 + 255);
    begin("bytes, %d of them%s", n, accumulate ? ", added" : "");
    pass->pixels(x, src, n, 0.3f, accumulate);
    spec->pixels(z, src, n, 0.3f, accumulate);
    int ok = same("x", x, z, N + 1) && equal("x", N, x[N], y[N]);
    for (size_t i = 0; i < N; i++)
        ok &= near("x", i, x[i], (accumulate ? y[i] : 0.0) + (double)0.3f * src[i], 2e-5);
    free(x), free(y), free(z), free(src);
    return ok;
}

/* Rows closer together than they are long: of each but the last only the start stays. */
static int copy_case(int rows, int n16, int ldd)
{
    const size_t N = (size_t)n16, lds = N + 5, L = (size_t)ldd, R = (size_t)rows;
    float *src = room((R - 1) * lds + N), *dst = room((R - 1) * L + N);
    float *old = copy(dst, (R - 1) * L + N);
    int ok = 1;
    begin("copy of %d rows, %d columns, to rows of %d", rows, n16, ldd);
    pass->copy(dst, L, src, lds, rows, n16);
    for (size_t i = 0; i < R; i++)
        for (size_t c = 0; c < (i + 1 < R ? L : N); c++)
            ok &= equal("dst", i * L + c, dst[i * L + c],
                        c < N ? src[i * lds + c] : old[i * L + c]);
    free(src), free(dst), free(old);
    return ok;
}

/* Query i is a token or pixel (i - tokens) of the window, key k likewise. */
static int bias_case(int tokens, int h, int w)
{
    const int area = h * w, n = tokens + area, lanes = (n + 15) / 16 * 16, down = 2 * h - 1;
    float *bands = room((size_t)(w * down * w) + 16), *rows = room((size_t)(n * lanes) + 16);
    int ok = 1;
    begin("bias of a window of %d x %d after %d tokens", h, w, tokens);
    pass->window_bias(rows, lanes, bands, tokens, h, w);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < lanes; k++) {
            const int from = i - tokens, to = k - tokens;
            float expected = 0;
            if (k >= n) expected = -1e30f;
            else if (from >= 0 && to >= 0)
                expected = bands[(from % w * down + to / w - from / w + h - 1) * w + to % w];
            ok &= equal("rows", (size_t)(i * lanes + k), rows[i * lanes + k], expected);
        }
    free(bands), free(rows);
    return ok;
}

static int transpose_case(int rows, int w16)
{
    const int panels = (rows + 15) / 16;
    const size_t ld = (size_t)w16 + 3, size = (size_t)panels * 16 * (size_t)w16;
    float *src = room((size_t)(rows - 1) * ld + (size_t)w16), *dst = room(size);
    int ok = 1;
    begin("transpose of %d tokens, %d columns", rows, w16);
    pass->transpose(dst, src, ld, rows, w16);
    for (int t = 0; t < panels * 16; t++)
        for (int c = 0; c < w16; c++) {
            const size_t at = (size_t)(t / 16 * w16 + c) * 16 + (size_t)(t % 16);
            ok &= equal("dst", at, dst[at], t < rows ? src[(size_t)t * ld + (size_t)c] : 0.0f);
        }
    free(src), free(dst);
    return ok;
}

static void test_moves(void)
{
    int ok = 1;
    for (int rows = 1; rows < 9; rows++) ok &= simple_case(rows, 16 * (1 + rows % 4));
    for (int rows = 1; rows < 9; rows++) ok &= excite_case(rows, 16 * (1 + rows % 4));
    report("scale, add", ok);
    ok = 1;
    for (int count = 1; count <= 40; count++)
        ok &= combine_case(16 * (1 + count % 3), count, count & 1);
    for (int count = 1; count <= 8; count++) ok &= combine_case(48, count, ~count & 1);
    report("combine, 1 to 40 terms", ok);
    ok = 1;
    for (int h = 1; h < 6; h++) {
        for (int w = 1; w < 6; w++) {
            const int n16 = 16 * (1 + w % 3);
            ok &= sample_case(h, w, n16, (size_t)n16 + 5, h % 2) & sample_case(h, w, n16, 6, 0);
            ok &= sample_case(h, w, n16, 0, 1);
        }
    }
    report("samples of maps of 1x1 to 5x5", ok);
    ok = 1;
    for (int n = 1; n <= 70; n++) ok &= bytes_case(n, n & 1) & bytes_case(n, ~n & 1);
    report("bytes, 1 to 70", ok);
    ok = 1;
    for (int rows = 1; rows < 9; rows++)
        for (int n16 = 16; n16 <= 48; n16 += 16)
            ok &= copy_case(rows, n16, n16 + 3) & copy_case(rows, n16, 7 + rows);
    report("copy, rows apart and overlapping", ok);
    ok = 1;
    for (int h = 1; h <= 9; h++)
        for (int w = 1; w <= 18; w += 1 + w / 9)
            for (int tokens = 0; tokens <= 20; tokens += 5) ok &= bias_case(tokens, h, w);
    report("bias, windows of 1x1 to 9x18 after 0 to 20 tokens", ok);
    ok = 1;
    for (int rows = 1; rows <= 50; rows++) ok &= transpose_case(rows, 16 * (1 + rows % 3));
    report("transpose, 1 to 50 tokens", ok);
}

/* --- Winograd --------------------------------------------------------------------------------- */

/* A tile: pairs of points each way, 0 where there is one tap, else `taps`. */
typedef struct wino {
    int high, wide, taps;
} wino;

/* Does the tile make pixel i of 8 x 8? */
static int wino_makes(wino w, size_t i)
{
    return (int)i / 8 < swin__wino_makes(w.high, w.taps) &&
           (int)i % 8 < swin__wino_makes(w.wide, w.taps);
}
/* The same, where a tile of both axes leaves one out. */
static int wino_pixel(wino w, size_t i)
{
    return wino_makes(w, i) && !(w.high && w.wide && i == 9);
}
/* The first of p's numbers at a multiple of 64 bytes; 15 may lie before it. */
static float *aligned(float *p) { return p + (64 - (uintptr_t)p % 64) % 64 / sizeof *p; }

/* One tile of a 3 x 3 convolution, or of its outer taps or middle one, of k channels to 16, by the
   kernels of table t; start: 16 numbers, or NULL. */
static void wino_tile(const swin__kernels *t, const float *image, const float *filter, int k,
                      wino w, int fresh, const float *start, float *result, int act)
{
    const size_t K = (size_t)k, padded = (K + 15) / 16 * 16;
    const size_t values = (size_t)swin__wino_values(w.wide, 0);
    float *weights = room(64 * K * 16 + 15), *v = room(64 * padded), m[64 * 16], *to[64];
    float *u = aligned(weights), *pixels = room(1024 + 15), *out = aligned(pixels);
    const float *rows[64];
    memcpy(out, result, 1024 * sizeof *out);
    for (size_t i = 0; i < 64; i++) rows[i] = image + i * padded;
    for (size_t i = 0; i < 64; i++) to[i] = wino_pixel(w, i) ? out + 16 * i : NULL;
    t->wino_weights(u, K * 16, filter, SWIN__F32, K * 16, k, w.high ? w.taps : 1,
                    w.wide ? w.taps : 1);
    t->wino_input(v, padded, rows, (int)padded, w.high, w.wide, 0);
    for (size_t y = 0; y < 8; y++) {
        for (size_t x = 0; x < 8; x++) {
            const size_t i = values * y + x;
            if (!swin__wino_has((int)y, w.high) || !swin__wino_has((int)x, w.wide)) continue;
            const swin__product p = {.m = 1, .n = 16, .k = k, .a = v + i * padded, .lda = padded,
                                     .b = u + i * K * 16, .ldb = 16, .panel = 16 * K,
                                     .c = m + 16 * i, .ldc = 16, .act = SWIN__LINEAR};
            t->gemm(&p);
        }
    }
    const swin__wino_output back = {to, start, !fresh, act, m, 16, 16, w.high, w.wide, w.taps,
                                    fresh && k % 5 == 0, 0};
    t->wino_output(&back);
    memcpy(result, out, 1024 * sizeof *out);
    free(weights), free(v), free(pixels);
}
/* Tap i of those that count, of three. */
static size_t wino_tap(size_t taps, size_t i) { return taps == 3 ? i : taps == 2 ? 2 * i : 1; }
/* Of the largest value: F(7, 2) goes up to 2^6, F(6, 3) to 2^5. */
static double wino_limit(int taps) { return taps == 3 ? 3e-5 : 6e-5; }

static int wino_case(int k, wino w, int fresh, int act, double *worst)
{
    const size_t K = (size_t)k, padded = (K + 15) / 16 * 16;
    const size_t tall = w.high ? (size_t)w.taps : 1, broad = w.wide ? (size_t)w.taps : 1;
    float *image = room(64 * padded), *filter = room(9 * K * 16);
    float *out = room(1024), *again = copy(out, 1024), *before = copy(out, 1024), *bias = room(16);
    const float *start = fresh && k % 2 ? bias : NULL;
    double exact[1024], largest = 0;
    int ok = 1;
    begin("winograd of %d channels, %d x %d pairs, %d taps, fresh %d, activation %d", k, w.high,
          w.wide, w.taps, fresh, act);
    wino_tile(pass, image, filter, k, w, fresh, start, out, act);
    wino_tile(spec, image, filter, k, w, fresh, start, again, act);
    for (size_t i = 0; i < 1024; i++) {
        const size_t y = i / 128, x = i / 16 % 8, lane = i % 16;
        const int made = wino_pixel(w, i / 16);
        double sum = !made || !fresh ? before[i] : start ? start[lane] : 0;
        for (size_t t = 0; made && t < tall * broad; t++) {
            const size_t down = t / broad, across = t % broad;
            const size_t tap = 3 * wino_tap(tall, down) + wino_tap(broad, across);
            for (size_t c = 0; c < K; c++)
                sum += (double)image[((y + down) * 8 + x + across) * padded + c] *
                       filter[(tap * K + c) * 16 + lane];
        }
        largest = fmax(largest, fabs(sum));
        if (made && act == SWIN__RELU) sum = fmax(sum, 0);
        if (made && act == SWIN__GELU) sum *= 0.5 * erfc(-sum * sqrt(0.5));
        exact[i] = sum;
    }
    for (size_t i = 0; i < 1024; i++) {
        ok &= wino_pixel(w, i / 16)
              ? near("out", i, out[i], exact[i], wino_limit(w.taps) * largest)
              : equal("out", i, out[i], before[i]);
        *worst = fmax(*worst, fabs(out[i] - exact[i]) / largest);
    }
    ok &= same("out", out, again, 1024);
    free(image), free(filter), free(out), free(again), free(before), free(bias);
    return ok;
}

/* Are halves transformed as the floats that they are? */
static int wino_halves(int k, int taps_h, int taps_w)
{
    const size_t K = (size_t)k, size = 64 * K * 16;
    float *from, *room_a = room(size + 15), *room_b = room(size + 15);
    uint16_t *h = halves(9 * K * 16, &from);
    float *a = aligned(room_a), *b = aligned(room_b);
    memcpy(a, b, size * sizeof *a);
    begin("wino_weights of halves, k %d, taps %d x %d", k, taps_h, taps_w);
    pass->wino_weights(a, K * 16, h, SWIN__F16, K * 16, k, taps_h, taps_w);
    pass->wino_weights(b, K * 16, from, SWIN__F32, K * 16, k, taps_h, taps_w);
    const int ok = same("weights", a, b, size);
    free(from), free(room_a), free(room_b), free(h);
    return ok;
}

/* --- Winograd in eight bits ------------------------------------------------------------------- */

/* One tile of 16 filters over k channels, or of their outer taps or middle one, by the kernels of
   table t: result [8 y + x][16]; image: [8 y + x][k], k a multiple of 16; q: [tap][16][k]. */
static void wino8_tile(const swin__kernels *t, const float *image, const int8_t *q, int k, wino w,
                       const float *scale, float *result)
{
    const size_t K = (size_t)k, plane = 4 * K + 16, ld = K + 16;
    const size_t planes = (size_t)(swin__wino_values(w.high, 1) * swin__wino_values(w.wide, 1));
    float *quads = room(9 * 4 * K), *u = room(36 * plane), *column = room(36 * 16);
    float *v = room(36 * ld), m[36 * 16], *to[64];
    const float *rows[64];
    for (size_t i = 0; i < 9; i++) {
        int8_t *one = quads_of(16, k, q + i * 16 * K);
        memcpy(quads + i * 4 * K, one, 16 * K);
        free(one);
    }
    for (size_t i = 0; i < 64; i++) {
        rows[i] = image + i * K;
        to[i] = wino_makes(w, i) ? result + 16 * i : NULL;
    }
    t->wino8_weights(u, plane, column, 16, quads, 4 * K, scale, k, w.high ? w.taps : 1,
                     w.wide ? w.taps : 1);
    t->wino_input(v, ld, rows, k, w.high, w.wide, 1);
    for (size_t i = 0; i < planes; i++) {
        const swin__product p = {.m = 1, .n = 16, .k = k, .type = SWIN__S8, .a = v + i * ld,
                                 .lda = ld, .b = u + i * plane, .ldb = 16, .panel = 4 * K,
                                 .c = m + 16 * i, .ldc = 16, .column = column + 16 * i};
        t->quantise(v + i * ld, ld, v + i * ld, ld, 1, k, 0);
        t->gemm8(&p);
    }
    const swin__wino_output back = {to, NULL, 0, SWIN__LINEAR, m, 16, 16, w.high, w.wide, w.taps,
                                    0, 1};
    t->wino_output(&back);
    free(quads), free(u), free(column), free(v);
}

/* The tile against plain sums, and the scalar pass's bits. */
static int wino8_case(int k, wino w, double *worst)
{
    const size_t K = (size_t)k;
    const size_t tall = w.high ? (size_t)w.taps : 1, broad = w.wide ? (size_t)w.taps : 1;
    float *image = room(64 * K), scale[16], got[64 * 16] = {0}, again[64 * 16] = {0};
    int8_t *q = (int8_t *)malloc(9 * 16 * K);
    double off = 0, squares = 0;
    if (!q) exit(2);
    for (size_t i = 0; i < 9 * 16 * K; i++) q[i] = (int8_t)((int)dice(255) - 127);
    for (int n = 0; n < 16; n++) scale[n] = (1 + uniform() / 2) / 127;
    begin("winograd of eight bits, k %d, %d x %d pairs, %d taps", k, w.high, w.wide, w.taps);
    wino8_tile(pass, image, q, k, w, scale, got);
    wino8_tile(spec, image, q, k, w, scale, again);
    for (size_t i = 0; i < 64; i++) {
        for (size_t n = 0; wino_makes(w, i) && n < 16; n++) {
            double sum = 0;
            for (size_t t = 0; t < tall * broad; t++) {
                const size_t down = t / broad, across = t % broad;
                const size_t tap = 3 * wino_tap(tall, down) + wino_tap(broad, across);
                for (size_t c = 0; c < K; c++)
                    sum += (double)image[(i + 8 * down + across) * K + c] * scale[n] *
                           q[(tap * 16 + n) * K + c];
            }
            off += pow(sum - got[16 * i + n], 2), squares += sum * sum;
        }
    }
    *worst = fmax(*worst, sqrt(off / squares));
    free(image), free(q);
    return same("tile", got, again, 64 * 16) && sqrt(off / squares) < 0.08;
}

static void test_winograd_8(void)
{
    static const wino tiles[] = {{2, 2, 3}, {2, 2, 2}, {2, 0, 2}, {0, 2, 2}};
    double worst = 0;
    int ok = 1;
    for (int k = 16; k <= 128; k += 16)
        for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++)
            ok &= wino8_case(k, tiles[i], &worst);
    printf("  error %.2g, rms\n", worst);
    report("winograd of eight bits", ok);
}

static void test_winograd(int taps)
{
    double worst = 0;
    int ok = 1;
    for (int k = 1; k <= 70; k += 3)
        ok &= wino_case(k, (wino){3, 3, taps}, k % 4 < 2, k / 3 % 3, &worst);
    for (int shape = taps == 3 ? 5 : 1; shape < 16; shape++)
        for (int k = 1; k <= 70 && (taps == 2 || shape % 4); k += 23)
            ok &= wino_case(k, (wino){shape / 4, shape % 4, taps}, k % 4 < 2, shape % 3, &worst);
    for (int pairs = 1; pairs <= 3; pairs++)
        ok &= wino_case(512, (wino){pairs, pairs, taps}, 0, 0, &worst);
    for (int k = 1; k < 6; k++) ok &= wino_halves(k, taps, taps) & wino_halves(k, 1, taps);
    printf("  error %.2g of the largest value\n", worst);
    report(taps == 3 ? "winograd" : "winograd, two taps or one", ok);
}

/* --- denormals -------------------------------------------------------------------------------- */

static int denormals(const float *p, size_t n)
{
    int count = 0;
    for (size_t i = 0; i < n; i++) count += fpclassify(p[i]) == FP_SUBNORMAL;
    return count;
}

/* Numbers below 2^-126 are numbers like others: kept, and the same in every pass. */
static void test_denormals(void)
{
    enum { M = 13, N = 48, K = 37 };
    float *a = room(M * K), *b = room(N * K), *c = room(M * N), *d = room(M * N), *e, *f = room(N);
    const float coef[3] = {0.5f, -0.25f, 1.0f}, *src[3] = {c, c + N, c + 2 * N};
    for (int i = 0; i < M * K; i++) a[i] *= 1e-20f;
    for (int i = 0; i < N * K; i++) b[i] *= 1e-20f;
    swin__product p = {.m = M, .n = N, .k = K, .a = a, .lda = K, .b = b, .ldb = 16,
                       .panel = 16 * K, .c = c, .ldc = N, .act = SWIN__LINEAR};
    begin("denormals");
    pass->gemm(&p);
    p.c = d;
    plain_product(&p);
    report("denormal products", same("c", c, d, M * N) && denormals(c, M * N) > M * N / 2);

    e = copy(c, M * N);
    pass->gelu(d, N, M, N);
    spec->gelu(e, N, M, N);
    int ok = same("gelu", d, e, M * N) && denormals(d, M * N) > M * N / 2;
    pass->combine(d, N, src, coef, 3, 0);
    spec->combine(e, N, src, coef, 3, 0);
    ok &= same("combine", d, e, N) && denormals(d, N) > 0;
    pass->norm(d, N, c, N, 1, N, b, b + N, 0);
    spec->norm(e, N, c, N, 1, N, b, b + N, 0);
    ok &= same("norm", d, e, N);
    /* exp passes the least normal */
    for (int i = 0; i < N; i++) d[i] = e[i] = -80.0f - (float)i / 4;
    d[0] = e[0] = 0;
    pass->softmax(d, N, 1, N, NULL, 0, f);
    spec->softmax(e, N, 1, N, NULL, 0, f + 1);
    ok &= same("softmax", d, e, N) && equal("inverse", 0, f[0], f[1]) && !denormals(d, N);
    report("denormals in rows, the scalar bits", ok);

    float *image = room(64 * 32), *filter = room(9 * 32 * 16), *out = room(1024), *again;
    for (int i = 0; i < 64 * 32; i++) image[i] *= 1e-20f;
    for (int i = 0; i < 9 * 32 * 16; i++) filter[i] *= 1e-20f;
    for (int i = 0; i < 1024; i++) out[i] = 0;
    again = copy(out, 1024);
    wino_tile(pass, image, filter, 32, (wino){3, 3, 3}, 0, NULL, out, SWIN__LINEAR);
    wino_tile(spec, image, filter, 32, (wino){3, 3, 3}, 0, NULL, again, SWIN__LINEAR);
    report("denormals in winograd, the scalar bits",
           same("out", out, again, 1024) && denormals(out, 1024) > 450);
    free(a), free(b), free(c), free(d), free(e), free(f), free(image), free(filter), free(out);
    free(again);
}

/* --- labels ----------------------------------------------------------------------------------- */

static int labels_case(int classes, int taps, int bytes)
{
    enum { PIXELS = 33, CELLS = 12 };
    const size_t ld = (size_t)(classes + 15) / 16 * 16;
    float *row = room(CELLS * ld), *coef = room((size_t)(PIXELS * taps));
    int at[PIXELS * 4], ok = 1;
    uint16_t wide[PIXELS + 1]; /* the map, 1 or 2 bytes a pixel */
    uint8_t *map = (uint8_t *)wide;
    for (size_t i = 0; i < CELLS * ld; i++) row[i] = (float)(dice(9)) - 4; /* many ties */
    row[dice((uint32_t)(CELLS * ld))] = NAN;
    for (int i = 0; i < PIXELS * taps; i++) at[i] = (int)dice(CELLS), coef[i] = (float)dice(3);
    map[PIXELS * bytes] = 77;
    begin("labels of %d classes, %d taps, %d bytes", classes, taps, bytes);
    pass->labels(map, bytes, PIXELS, row, ld, at, coef, taps, classes);
    for (int x = 0; x < PIXELS; x++) {
        float best = -INFINITY;
        const int got = bytes == 2 ? wide[x] : map[x];
        int winner = 0;
        for (int c = 0; c < classes; c++) {
            float v = 0;
            for (int t = 0; t < taps; t++)
                v = fmaf(coef[x * taps + t], row[(size_t)at[x * taps + t] * ld + (size_t)c], v);
            if (v > best) best = v, winner = c;
        }
        ok &= equal("map", (size_t)x, got, winner);
    }
    ok &= equal("behind the map", 0, map[PIXELS * bytes], 77);
    free(row), free(coef);
    return ok;
}

static void test_labels(void)
{
    int ok = 1;
    for (int classes = 1; classes <= 50; classes++)
        for (int taps = 1; taps <= 4; taps++) ok &= labels_case(classes, taps, 1 + classes % 2);
    ok &= labels_case(150, 2, 1) && labels_case(1000, 4, 2);
    report("labels", ok);
}

/* --- all -------------------------------------------------------------------------------------- */

static void test_choice(void)
{
    const float zero = 0.0f, other = -0.0f;
    report("a flipped bit is seen", first_other(&zero, &other, 1) == 0);
    report("the best pass exists", swin__choose(SWIN_CPU_BEST) != NULL);
    report("an unknown pass does not", swin__choose((swin_cpu)99) == NULL);
#if defined(__x86_64__) && !defined(SWIN_NO_SIMD)
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
                       && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    report("AVX2 is tested where it is", !avx2 || swin__choose(SWIN_CPU_AVX2));
    const int vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    report("AVX-512 is tested where it is", !avx512 || swin__choose(SWIN_CPU_AVX512));
    report("its VNNI is, too", !vnni || swin__choose(SWIN_CPU_AVX512_VNNI));
    report("and its AMX, if allowed", !allow_amx() || swin__choose(SWIN_CPU_AVX512_AMX));
    report("which nothing but its name chooses",
           swin__choose(SWIN_CPU_BEST)->cpu != SWIN_CPU_AVX512_AMX);
#elif defined(__aarch64__) && !defined(SWIN_NO_SIMD)
    report("NEON is tested", swin__choose(SWIN_CPU_NEON) != NULL);
#elif defined(__wasm_simd128__) && !defined(SWIN_NO_SIMD)
    report("WebAssembly's SIMD is tested", swin__choose(SWIN_CPU_WASM) != NULL);
#endif
}

/* --- depthwise convolution ---------------------------------------------------------------------- */

static int depthwise_case(int count, int n16)
{
    const size_t N = (size_t)n16, ld = N + 3, row = ((size_t)count + 2) * ld + 5, ldw = N + 16;
    const size_t ldd = N + 1, size = (size_t)count * ldd;
    float *src = room(3 * row), *weight = room(9 * ldw), *bias = room(N), *x = room(size);
    float *y = copy(x, size);
    begin("depthwise of %d pixels, %d channels", count, n16);
    pass->depthwise(x, ldd, src, ld, row, count, n16, weight, ldw, bias);
    for (size_t i = 0; i < (size_t)count; i++)
        for (size_t c = 0; c < N; c++) {
            float sum = bias[c];
            for (size_t tap = 0; tap < 9; tap++)
                sum = fmaf(weight[tap * ldw + c], src[tap / 3 * row + (i + tap % 3) * ld + c],
                           sum);
            y[i * ldd + c] = sum;
        }
    spec->gelu(y, ldd, count, n16);
    const int ok = same("x", x, y, size);
    free(src), free(weight), free(bias), free(x), free(y);
    return ok;
}

static void test_depthwise(void)
{
    int ok = 1;
    for (int count = 1; count <= 20; count++) ok &= depthwise_case(count, 16 * (1 + count % 3));
    report("depthwise, 1 to 20 pixels", ok);
}

int main(void)
{
    spec = pass = swin__choose(SWIN_CPU_SCALAR);
    test_choice();
    test_fma();
    for (int cpu = SWIN_CPU_SCALAR; cpu < SWIN_CPU_COUNT; cpu++) {
        pass = swin__choose((swin_cpu)cpu);
        if (!pass) continue;
        state = 1;
        test_widen();
        test_quantise();
        test_gemm8();
        test_gemm();
        test_gelu();
        test_sigmoid();
        test_exp();
        test_odd_scores();
        test_rows();
        test_moves();
        test_winograd(3);
        test_winograd(2);
        test_winograd_8();
        test_denormals();
        test_labels();
        test_depthwise();
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
