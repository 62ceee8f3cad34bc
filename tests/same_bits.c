/* tests/same_bits.c - one number of all that swin.h computes: the same from every compiler, on
   every machine

   cc -std=c99 -O2 tests/same_bits.c -lm && ./a.out [MODEL.swin | N]

   Runs every model of model.h at several sizes, with weights of every type and in every way that
   has arithmetic of its own, and prints what they hash to, line by line, and a hash of all lines
   as the last. With a number it runs every N-th of these alone, for machines that take long. With
   a model file it runs that one's self-test instead and prints the seconds that took. Needs
   nothing but standard C. */

#include <time.h>

#define SWIN_IMPLEMENTATION
#include "../swin.h"
#include "model.h"
#include "session.h"
#include "results.h"

static uint64_t all = 0xcbf29ce484222325u;
static int every = 1, met;      /* of `every` runs met, one is made */

static int passed_over(void) { return met++ % every != 0; }

static void line(const char *what, int w, int h, uint64_t value)
{
    printf("%-18s %3d x %3d  %08lx%08lx\n", what, w, h, (unsigned long)(value >> 32),
           (unsigned long)(value & 0xffffffffu));
    all = hash(all, &value, sizeof value);
}

static void stop(const char *why)
{
    printf("%s\n", why);
    exit(1);
}

/* --- one run ---------------------------------------------------------------------------------- */

/* A picture of 1, 3 or 4 bytes a pixel. */
static uint64_t run(const swin_model *m, swin_desc d, swin_format format, int w, int h)
{
    static const int pixel[] = {3, 3, 4, 4, 1};
    const size_t bytes = (size_t)w * (size_t)h * (size_t)pixel[format];
    unsigned char *pixels = (unsigned char *)need(4 * (size_t)w * (size_t)h);
    if (!d.outputs) d.outputs = outputs_of(&m->config, SWIN_OUT_CONFIDENCE_F32);
    const session s = start_as(m, d);
    for (size_t i = 0; i < bytes; i++) pixels[i] = (unsigned char)dice(256);
    swin_image in = picture(pixels, w, h);
    in.format = format;
    if (swin_run(s.c, d.average ? NULL : &in)) stop(swin_error_text(s.c));
    const uint64_t h64 = results(s.c);
    if (!h64) stop("results that are not finite");
    free(s.memory);
    free(pixels);
    return h64;
}

/* --- what is run ------------------------------------------------------------------------------ */

/* Two sizes: whole windows and patches, and neither; the large model at one. */
static void run_sizes(const swin_model *m, int which)
{
    static const int sizes[][2] = {{48, 32}, {61, 45}, {140, 124}};
    const int first = which == WIDE_UPER ? 2 : 0, last = which == WIDE_UPER ? 2 : 1;
    for (int i = first; i <= last; i++) {
        const int w = sizes[i][0], h = sizes[i][1];
        if (passed_over()) continue;
        dice_state = 7;
        line(model_names[which], w, h, run(m, desc_of(w, h), SWIN_RGB8, w, h));
    }
}

/* Pictures resized on the way in and class maps on the way out, mirrored, in other formats. */
static void run_resized(const swin_model *m, int which)
{
    static const char *const names[] = {"rgb", "bgr", "rgba", "bgra", "grey"};
    for (int format = SWIN_RGB8; format <= SWIN_GREY8; format++) {
        swin_desc d = desc_of(40, 36);
        if (passed_over()) continue;
        d.picture_width = 53 - 8 * format;
        d.picture_height = 19 + 11 * format;
        d.flags = format & 1 ? SWIN_RUN_FLIP : 0;
        if (m->config.classes && which != SWIN_V2) d.threshold = 0.1f * (float)format;
        dice_state = 7;
        line(names[format], d.picture_width, d.picture_height,
             run(m, d, (swin_format)format, d.picture_width, d.picture_height));
    }
}

/* The mean of two runs' softmaxes. */
static void run_average(const swin_model *m)
{
    const void *kept[2];
    swin_desc d = desc_of(40, 36);
    if (passed_over()) return;
    d.picture_width = 31;
    d.picture_height = 23;
    dice_state = 7;
    for (int i = 0; i < 2; i++) {
        kept[i] = d.kept = need(swin_kept_size(m, &d, NULL));
        d.flags = i ? SWIN_RUN_FLIP : 0;
        line("kept", 31, 23, run(m, d, SWIN_RGB8, 31, 23));
    }
    d.kept = NULL;
    d.flags = 0;
    d.average = kept;
    d.average_count = 2;
    d.outputs = SWIN_OUT_CLASSES | SWIN_OUT_CONFIDENCE_F32;
    line("average", 31, 23, run(m, d, SWIN_RGB8, 31, 23));
    for (int i = 0; i < 2; i++) free((void *)(uintptr_t)kept[i]);
}

/* The attention of global tokens. */
static void run_attention(const swin_model *m)
{
    swin_desc d = desc_of(61, 45);
    if (passed_over()) return;
    d.outputs = SWIN_OUT_ATTENTION;
    d.attend_x = 17;
    d.attend_y = 30;
    dice_state = 7;
    line("attention", 61, 45, run(m, d, SWIN_RGB8, 61, 45));
}

/* Plain convolutions, which other ways through the heads leave out. */
static void run_direct(const swin_model *m)
{
    swin_desc d = desc_of(61, 45);
    if (passed_over()) return;
    d.flags = SWIN_RUN_DIRECT;
    dice_state = 7;
    line("direct", 61, 45, run(m, d, SWIN_RGB8, 61, 45));
}

static swin_model opened(blob b)
{
    swin_model m;
    swin_error e;
    if (swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e)) stop(e.text);
    return m;
}

static void run_model(int which)
{
    const blob b = model_blob(which);
    swin_model m = opened(b);
    m.config.picture.resize_filter = (uint32_t)which % 4;
    run_sizes(&m, which);
    if (which != WIDE_UPER && which != PSP_HEAD) run_resized(&m, which);
    if (which == GLAM_UPER) {
        run_average(&m);
        run_attention(&m);
        run_direct(&m);
    }
    free(b.bytes);
}

/* A model whose weights are of other types than f32, at one size. */
static void run_numbers(int which, int numbers, int w, int h, unsigned flags)
{
    if (passed_over()) return;
    const blob b = model_blob_of(which, numbers);
    const swin_model m = opened(b);
    swin_desc d = desc_of(w, h);
    char what[32];
    d.flags = flags;
    dice_state = 7;
    snprintf(what, sizeof what, "%s %s", model_names[which], number_names[numbers]);
    line(what, w, h, run(&m, d, SWIN_RGB8, w, h));
    free(b.bytes);
}

/* Each type in every model; then what larger maps have of their own: rows of several blocks of
   pixels, Winograd's tiles, and those of a doubled map. */
static void run_types(void)
{
    for (int which = 0; which < WIDE_UPER; which++) {
        run_numbers(which, HALVES, 61, 45, 0);
        run_numbers(which, EIGHT, 61, 45, 0);
        run_numbers(which, MIXED, 48, 32, 0);
    }
    run_numbers(GLAM_UPER, EIGHT, 300, 21, SWIN_RUN_DIRECT);
    run_numbers(WIDE_UPER, HALVES, 68, 64, 0);
    run_numbers(WIDE_UPER, EIGHT, 104, 96, 0);
}

/* A float of few or many bits, of a size near enough to others' for sums to take notice of both. */
static float number(void)
{
    const uint32_t sign = dice(2) << 31, exponent = (100 + dice(54)) << 23;
    const uint32_t fraction = dice(1u << 23), kept = dice(24);
    const uint32_t bits = sign | exponent | (fraction >> kept << kept);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The fused multiply-add of the scalar pass, which is the C library's, the hardware's or the
   header's own. */
static void run_multiply_adds(void)
{
    uint64_t h = 1;
    dice_state = 7;
    for (int i = 0; i < 200000; i++) {
        const float a = number(), b = number(), c = number();
        const float sum = swin__fmaf(a, b, c);
        h = hash(h, &sum, sizeof sum);
    }
    line("multiply-add", 0, 0, h);
}

/* --- a model file ----------------------------------------------------------------------------- */

static void check(const void *data, size_t size, const uint32_t expected[2])
{
    uint32_t sums[2];
    swin_checksum(data, size, sums);
    if (sums[0] != expected[0] || sums[1] != expected[1]) stop("other bits than the reference's");
}

/* The reference picture's class map against its checksum. */
static void self_test(const char *path)
{
    swin_error e;
    swin_model *m = swin_load(path, &e);
    if (!m) stop(e.text);
    const swin_reference *r = &m->config.reference;
    const size_t pixels = (size_t)r->width * r->height;
    unsigned char *rgb = (unsigned char *)need(3 * pixels), *ids = (unsigned char *)need(pixels);
    swin_reference_picture(rgb, (int)r->width, (int)r->height, r->seed);
    const clock_t start = clock();
    if (swin_segment(m, rgb, (int)r->width, (int)r->height, ids, &e)) stop(e.text);
    printf("%.2f\n", (double)(clock() - start) / CLOCKS_PER_SEC);
    check(ids, pixels, r->classes);
    free(ids);
    free(rgb);
    swin_free(m);
}

int main(int argc, char **argv)
{
    if (argc > 1) every = (int)strtol(argv[1], NULL, 10);
    if (every < 1) return self_test(argv[1]), 0;
    run_multiply_adds();
    for (int which = 0; which < MODELS; which++) run_model(which);
    run_types();
    printf("%08lx%08lx\n", (unsigned long)(all >> 32), (unsigned long)(all & 0xffffffffu));
    return 0;
}
