/* tests/inputs.c - every kind of model on inputs and weights of any bits: results never depend on
   what memory held before, denormal numbers give the same bits in every pass, and numbers that are
   none or infinite give classes and confidences all the same

   cc -std=c99 -O2 -DSWIN_IMPLEMENTATION tests/inputs.c -lm && ./a.out

   With any argument every kind runs but once, in memory that was never written: for valgrind, which
   then sees whether a result comes from it (with -DSWIN_NO_SIMD, as it knows no AVX-512). */

#include "../swin.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

#include <float.h>

enum { W = 45, H = 38, MOST = 64 };

static swin_desc everything(const swin_model *m, int cpu)
{
    swin_desc d = desc_of(side_of(m, W), side_of(m, H));
    d.cpu = (swin_cpu)cpu;
    d.outputs = outputs_of(&m->config, SWIN_OUT_CONFIDENCE_F32);
    if (m->config.tokens && !m->config.body) d.outputs |= SWIN_OUT_ATTENTION;
    return d;
}

/* Every id a class, every confidence from 0 to 1. */
static int sound(const swin_model *m, const swin_context *c)
{
    const swin_map classes = swin_classes(c), sure = swin_confidence(c);
    const int n = classes.data ? classes.width * classes.height : 0;
    for (int i = 0; i < n; i++) {
        const int id = classes.bytes == 1 ? ((const uint8_t *)classes.data)[i]
                                          : ((const uint16_t *)classes.data)[i];
        const float confidence = ((const float *)sure.data)[i];
        if (id >= m->config.classes || !(confidence >= 0 && confidence <= 1)) return 0;
    }
    return 1;
}

/* A run in memory that held `filled` bytes, or, below 0, was never written. */
static uint64_t run(const swin_model *m, int cpu, const swin_image *in, int filled, int *ok)
{
    const swin_desc d = everything(m, cpu);
    session s = start_as(m, d);
    if (filled >= 0) memset(s.memory, filled, s.size);
    if (filled >= 0) *ok &= swin_init(&s.c, m, &d, s.memory, s.size, NULL) == SWIN_OK;
    *ok &= swin_run(s.c, in) == SWIN_OK && sound(m, s.c);
    const uint64_t h = results(s.c);
    free(s.memory);
    return h;
}

/* The same bits in every pass and over any memory. */
static int same_everywhere(const swin_model *m, const swin_image *in)
{
    int ok = 1;
    const uint64_t expected = run(m, SWIN_CPU_SCALAR, in, -1, &ok);
    for (int cpu = SWIN_CPU_SCALAR; cpu < SWIN_CPU_COUNT; cpu++) {
        if (!swin_cpu_available((swin_cpu)cpu)) continue;
        ok &= run(m, cpu, in, 0, &ok) == expected;
        ok &= run(m, cpu, in, 255, &ok) == expected;        /* floats that are no numbers */
    }
    return ok && expected;
}

/* No crash and sound results in every pass. */
static int sound_everywhere(const swin_model *m, const swin_image *in)
{
    int ok = 1;
    for (int cpu = SWIN_CPU_SCALAR; cpu < SWIN_CPU_COUNT; cpu++)
        if (swin_cpu_available((swin_cpu)cpu)) run(m, cpu, in, -1, &ok);
    return ok;
}

/* --- numbers out of the ordinary -------------------------------------------------------------- */

enum { DENORMAL, TINY, NOT_A_NUMBER, INFINITE, LARGEST, SEVERAL, KINDS };

static const char *const kinds[] = {"denormal", "some denormal", "not a number", "infinite",
                                    "the largest", "any of these"};

static float odd_number(int kind, float ordinary)
{
    switch (kind) {
    case DENORMAL:     return ordinary * 1e-40f;
    case TINY:         return dice(2) ? ordinary * FLT_MIN : ordinary;
    case NOT_A_NUMBER: return NAN;
    case INFINITE:     return ordinary < 0 ? -INFINITY : INFINITY;
    case LARGEST:      return ordinary < 0 ? -FLT_MAX : FLT_MAX;
    default:           return dice(20) ? ordinary : odd_number((int)dice(SEVERAL), ordinary);
    }
}

static int fine(const swin_model *m, const swin_image *in, int kind)
{
    return kind <= TINY ? same_everywhere(m, in) : sound_everywhere(m, in);
}

static int odd_pictures(const swin_model *m, int kind)
{
    float planes[3 * MOST * MOST];
    swin_image in = picture(NULL, side_of(m, W), side_of(m, H));
    in.data = planes;
    in.format = SWIN_PLANES;
    for (int i = 0; i < 3 * in.width * in.height; i++) planes[i] = odd_number(kind, uniform());
    return fine(m, &in, kind);
}

/* Every weight of a copy of the model; its padding stays zero. */
static int odd_weights(const blob b, const swin_image *in, int kind)
{
    const blob copy = {(unsigned char *)need(b.size), b.size};
    uint64_t data;
    swin_model m;
    memcpy(copy.bytes, b.bytes, b.size);
    memcpy(&data, b.bytes + 80, sizeof data);
    for (unsigned char *at = copy.bytes + data; at < copy.bytes + b.size; at += sizeof(float)) {
        float weight;
        memcpy(&weight, at, sizeof weight);
        if (weight != 0) weight = odd_number(kind, weight);
        memcpy(at, &weight, sizeof weight);
    }
    seal(copy);
    const int ok = !swin_open(&m, copy.bytes, copy.size, SWIN_VERIFY, NULL) && fine(&m, in, kind);
    free(copy.bytes);
    return ok;
}

/* --- every kind of model ---------------------------------------------------------------------- */

static void test_once(int which, const swin_model *m, const swin_image *in)
{
    int ok = 1;
    ok &= run(m, SWIN_CPU_SCALAR, in, -1, &ok) != 0;
    report(model_names[which], ok);
}

static void test_all(int which, const swin_model *m, const blob b, const swin_image *in)
{
    printf("%s ", model_names[which]);
    report("results do not depend on what memory held", same_everywhere(m, in));
    for (int kind = 0; kind < KINDS; kind++) {
        printf("%s, %s ", model_names[which], kinds[kind]);
        report("pictures", odd_pictures(m, kind));
        printf("%s, %s ", model_names[which], kinds[kind]);
        report("weights", odd_weights(b, in, kind));
    }
}

int main(int argc, char **argv)
{
    unsigned char *rgb = make_rgb(MOST, MOST);
    (void)argv;
    for (int which = 0; which < MODELS; which++) {
        const blob b = model_blob(which);
        swin_model m;
        if (swin_open(&m, b.bytes, b.size, SWIN_VERIFY, NULL)) return 1;
        const swin_image in = picture(rgb, side_of(&m, W), side_of(&m, H));
        if (argc > 1) test_once(which, &m, &in);
        else test_all(which, &m, b, &in);
        free(b.bytes);
    }
    free(rgb);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
