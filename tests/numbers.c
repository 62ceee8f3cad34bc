/* tests/numbers.c - models whose weights are not f32: every kind, on every instruction set

   Blobs of all models of model.h with weights as f16, as s8, and with some as each, give the same
   bits everywhere, in pieces too; those of f16 the bits of the f32 blob that holds the same
   numbers, and those of s8 about what it gives.

   cc -std=c99 -O2 -DSWIN_IMPLEMENTATION tests/numbers.c -lm && ./a.out */

#include "../swin.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

static swin_model opened(blob b)
{
    swin_model m;
    swin_error e;
    if (swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e)) {
        printf("%s\n", e.text);
        exit(1);
    }
    return m;
}

/* What a run gives, as a number; 0 where it failed. */
static uint64_t once(const swin_model *m, swin_desc d, int w, int h)
{
    unsigned char *rgb = make_rgb(w, h);
    const session s = start(m, d);
    const swin_image in = picture(rgb, w, h);
    const uint64_t result = swin_run(s.c, &in) == SWIN_OK ? results(s.c) : 0;
    if (!result) printf("%s\n", swin_error_text(s.c));
    free(s.memory);
    free(rgb);
    return result;
}

/* A model at one size: the same bits on all instruction sets, and in pieces; 0 where not. */
static uint64_t everywhere(const swin_model *m, int w, int h)
{
    swin_desc d = desc_of(w, h);
    d.cpu = SWIN_CPU_SCALAR;
    const uint64_t expected = once(m, d, w, h);
    int ok = expected != 0;
    for (int cpu = SWIN_CPU_SCALAR + 1; cpu < SWIN_CPU_COUNT; cpu++) {
        d.cpu = (swin_cpu)cpu;
        if (!swin_cpu_available(d.cpu) || once(m, d, w, h) == expected) continue;
        printf("  %s at %d x %d: other bits\n", swin_cpu_name(d.cpu), w, h);
        ok = 0;
    }
    d.cpu = SWIN_CPU_BEST;
    d.tasks = 5;
    d.parallel_for = backwards;
    ok &= once(m, d, w, h) == expected;
    return ok ? expected : 0;
}

/* All results of a model at its sizes, as a number; 0: some are not the same everywhere. */
static uint64_t all_sizes(int which, int numbers)
{
    static const int sizes[][2] = {{1, 1}, {61, 45}, {48, 64}, {100, 33}};
    static const int larger[][2] = {{70, 66}, {72, 64}, {140, 124}, {104, 96}}; /* one doubled */
    const int eight = numbers == EIGHT || numbers == MIXED;
    const int wide = which == WIDE_UPER;
    const blob b = model_blob_of(which, numbers);
    const swin_model m = opened(b);
    uint64_t h64 = 1;
    for (int i = 0; i < (wide ? 2 + 2 * eight : 4); i++) {
        const int w = (wide ? larger : sizes)[i][0], h = (wide ? larger : sizes)[i][1];
        const uint64_t result = everywhere(&m, w, h);
        h64 = result && h64 ? hash(h64, &result, sizeof result) : 0;
    }
    free(b.bytes);
    return h64;
}

/* --- eight bits beside floats ----------------------------------------------------------------- */

/* The coarsest feature, or a classifier's scores, or the logits: what all layers had a part in. */
static swin_tensor last_of(const swin_context *c)
{
    swin_tensor t = swin_logits(c);
    if (!t.data) t = swin_scores(c);
    for (int i = SWIN_MAX_STAGES; i >= 0 && !t.data; i--) t = swin_feature(c, i);
    return t;
}

/* The rms of the difference of two tensors of one shape, by that of the second's deviation from its
   mean. */
static double difference(swin_tensor a, swin_tensor b)
{
    double sum = 0, squares = 0, off = 0, n = (double)a.channels * a.height * a.width;
    for (int c = 0; c < a.channels; c++)
        for (int y = 0; y < a.height; y++)
            for (int x = 0; x < a.width; x++) {
                const double p = element(a, c, y, x), q = element(b, c, y, x);
                sum += q, squares += q * q, off += (p - q) * (p - q);
            }
    return sqrt(off / (squares - sum * sum / n));
}

/* How much a model's rows of eight bits change what the same weights give as floats; of WIDE_UPER
   at a size where a map is doubled. */
static double loss_of(int which, unsigned flags)
{
    const int wide = which == WIDE_UPER, w = wide ? 136 : 132, h = wide ? 120 : 124;
    const blob eight = model_blob_of(which, EIGHT), floats = model_blob_of(which, WIDENED);
    const swin_model m8 = opened(eight), m32 = opened(floats);
    swin_desc d = desc_of(w, h);
    unsigned char *rgb = make_rgb(w, h);
    const swin_image in = picture(rgb, w, h);
    d.flags = flags;
    const session s8 = start(&m8, d), s32 = start(&m32, d);
    if (swin_run(s8.c, &in) || swin_run(s32.c, &in)) exit(1);
    const double loss = difference(last_of(s8.c), last_of(s32.c));
    free(s8.memory), free(s32.memory), free(rgb), free(eight.bytes), free(floats.bytes);
    return loss;
}

/* The bounds are about twice what these models, of random weights, lose; a wrong scale or term
   loses about 1. */
static void test_losses(int which)
{
    static const double most[MODELS] = {0.02, 0.04, 0.03, 0.02, 0.1, 0.12, 0.04, 0.04, 0.02, 0.08,
                                         0.15, 0.07, 0.02, 0.09, 0.1, 0.07, 0.01};
    const double loss = loss_of(which, 0), direct = loss_of(which, SWIN_RUN_DIRECT);
    printf("%s, rows of eight bits change %.4f, with plain convolutions %.4f, ",
           model_names[which], loss, direct);
    report("as little as they may", loss > 0 && loss < most[which] && direct < most[which]);
}

static void test_models(int which)
{
    uint64_t result[NUMBERS];
    for (int numbers = 0; numbers < NUMBERS; numbers++) {
        result[numbers] = all_sizes(which, numbers);
        printf("%s, %s ", model_names[which], number_names[numbers]);
        report("same bits everywhere", result[numbers] != 0);
    }
    printf("%s ", model_names[which]);
    report("halves give the bits of the floats that they are",
           result[HALVES] == result[ROUNDED] && result[HALVES] != result[FLOATS]);
    printf("%s ", model_names[which]);
    report("types are mixed", result[MIXED] != result[FLOATS] && result[MIXED] != result[HALVES] &&
                              result[MIXED] != result[EIGHT]);
}

/* --- damage ----------------------------------------------------------------------------------- */

/* The entry of a tensor. */
static unsigned char *entry_of(blob b, const char *name)
{
    uint64_t directory[2];
    memcpy(directory, b.bytes + 48, sizeof directory);
    for (uint64_t i = 0; i < directory[1]; i++) {
        unsigned char *entry = b.bytes + directory[0] + ENTRY * i;
        if (!strcmp((const char *)entry, name)) return entry;
    }
    printf("no tensor %s\n", name);
    exit(1);
}

/* Is the blob refused with a sentence that says this, once the word at `at` of a tensor's entry has
   this value? */
static int refused(int numbers, const char *name, size_t at, uint32_t value, const char *says)
{
    const blob b = model_blob_of(GLAM_UPER, numbers);
    swin_model m;
    swin_error e;
    put32(entry_of(b, name) + at, value);
    seal(b);
    const int ok = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e) == SWIN_DAMAGED &&
                   strstr(e.text, name) && strstr(e.text, says);
    free(b.bytes);
    if (!ok) printf("  %s: %s, not %s\n", name, e.text, says);
    return ok;
}

static void test_damage(void)
{
    enum { TYPE = 64, LAYOUT = 68, BYTES = 96 };
    static const char qkv[] = "stage0.block0.attn.qkv.weight", table[] = "stage0.block0.attn.bias";
    int ok = 1;
    for (uint32_t type = 2; type < 40; type += type == 2 ? 2 : 1)
        ok &= refused(FLOATS, qkv, TYPE, type, "number type") &
              refused(HALVES, "stage0.tokens", TYPE, type, "number type");
    ok &= refused(FLOATS, table, TYPE, F16_NUMBERS, "not f32");
    ok &= refused(FLOATS, "stage0.block0.norm1.weight", TYPE, F16_NUMBERS, "not f32");
    ok &= refused(FLOATS, "embed.weight", TYPE, F16_NUMBERS, "not f32");
    report("types that there are not, or not there", ok);
    ok = refused(FLOATS, qkv, TYPE, F16_NUMBERS, "size") & refused(HALVES, qkv, TYPE, 0, "size");
    ok &= refused(HALVES, "embed.position", BYTES, 64, "size");
    report("sizes of another type", ok);
    ok = refused(HALVES, qkv, LAYOUT, ROWS_LAYOUT, "layout");
    ok &= refused(EIGHT, qkv, LAYOUT, PANELS_LAYOUT, "layout");
    ok &= refused(FLOATS, qkv, LAYOUT, QUADS_LAYOUT, "layout");
    report("another layout", ok);
}

/* A layer may have as many inputs as it likes, but in eight bits no more than sums of 32 bits hold:
   here a convolution's 15 x 15 taps of 588 channels. */
static void test_inputs(void)
{
    swin_config g = model_config(FCN_HEAD);
    int ok = 1;
    g.stage[0].width = 294, g.stage[1].width = 588;
    g.head.convs = 1, g.head.conv_kernel = 15, g.head.conv_concat = 0;
    for (int numbers = FLOATS; numbers <= EIGHT; numbers += EIGHT - FLOATS) {
        const blob b = make_blob_of(&g, numbers);
        swin_model m;
        swin_error e;
        const swin_status status = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e);
        ok &= numbers == FLOATS ? status == SWIN_OK
                                : status == SWIN_DAMAGED && strstr(e.text, "head.conv0.weight") &&
                                      strstr(e.text, "131072");
        free(b.bytes);
    }
    report("more inputs than eight bits may have", ok);
}

/* Scales must be numbers, and not below zero. */
static void test_scales(void)
{
    static const char name[] = "stage0.block0.attn.qkv.scale";
    static const float values[] = {NAN, INFINITY, -INFINITY, -1e-45f, -1, 0, -0.0f, 1e-45f, 3e38f};
    int ok = 1;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const blob b = model_blob_of(PLAIN, EIGHT);
        const int good = values[i] >= 0 && values[i] < INFINITY;
        uint64_t offset;
        swin_model m;
        swin_error e;
        memcpy(&offset, entry_of(b, name) + 88, sizeof offset);
        memcpy(b.bytes + offset + 4 * 5, &values[i], sizeof values[i]);
        seal(b);
        const swin_status status = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e);
        ok &= good ? status == SWIN_OK : status == SWIN_DAMAGED && !!strstr(e.text, name);
        free(b.bytes);
    }
    report("scales that are negative or no numbers", ok);
}

int main(void)
{
    test_damage();
    test_inputs();
    test_scales();
    for (int which = 0; which < MODELS; which++) test_losses(which);
    for (int which = 0; which < MODELS; which++) test_models(which);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
