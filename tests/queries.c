/* tests/queries.c - heads with queries: memory, padding, the same bits in all ways of computing

   Models are those of model.h's makers. */

#include "../swin.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

/* Mask2Former over Swin-T as its authors released it for ADE20K, scores at the input's size. */
static swin_config mask2former(void)
{
    static const swin_queries_config queries = {
        100, 256, 256, 8, 9, 2048, 0, 8, 6, 1024, 0, 0, SWIN_SCORES_AT_INPUT, 32
    };
    static const int depth[4] = {2, 2, 6, 2};
    swin_config g = model_config(MASK2FORMER);
    for (int i = 0; i < 4; i++) {
        swin_stage_config *s = &g.stage[i];
        s->width = 96 << i;
        s->depth = depth[i];
        s->heads = 3 << i;
        s->hidden = 4 * s->width;
        s->window_h = s->window_w = 7;
        s->shift_h = s->shift_w = 3;
    }
    g.head.channels = 256;
    g.classes = 150;
    g.queries = queries;
    return g;
}

/* Of scores by Winograd's convolutions and by plain ones, the largest difference. */
static double difference(const swin_model *m)
{
    enum { W = 96, H = 64 };
    unsigned char *rgb = make_rgb(W, H);
    const swin_image in = picture(rgb, W, H);
    swin_desc d = desc_of(W, H);
    double most = 0;
    d.outputs = SWIN_OUT_LOGITS;
    const session tiles = start_as(m, d);
    d.flags = SWIN_RUN_DIRECT;
    const session plain = start_as(m, d);
    if (swin_run(tiles.c, &in) || swin_run(plain.c, &in)) exit(1);
    for (int k = 0; k < m->config.classes; k++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                const float a = element(swin_logits(tiles.c), k, y, x);
                most = fmax(most, fabsf(a - element(swin_logits(plain.c), k, y, x)));
            }
    free(tiles.memory);
    free(plain.memory);
    free(rgb);
    return most;
}

/* The workspace is known without a run. */
static void test_released(void)
{
    const swin_config g = mask2former();
    const blob b = make_blob(&g);
    const swin_desc d = desc_of(512, 512);
    swin_model m;
    open_blob(&m, b);
    const double most = difference(&m);
    printf("Mask2Former over Swin-T, plain convolutions change scores by %.2g, ", most);
    report("as little as rounding", most > 0 && most < 0.02);
    const size_t size = swin_workspace_size(&m, &d, NULL);
    printf("Mask2Former over Swin-T of 512 x 512 takes %.1f MiB, ", (double)size / (1 << 20));
    report("no more than 80", size > 0 && size <= (size_t)80 << 20);
    free(b.bytes);
}

/* Zeros pad the input to multiples of 32 pixels, which features show and scores do not. */
static void test_padding(void)
{
    const blob b = model_blob(MASK2FORMER);
    unsigned char *rgb = make_rgb(33, 20);
    const swin_image in = picture(rgb, 33, 20);
    swin_desc d = desc_of(33, 20);
    swin_model m;
    open_blob(&m, b);
    d.outputs = SWIN_OUT_FEATURES | SWIN_OUT_LOGITS;
    const session s = start_as(&m, d);
    if (swin_run(s.c, &in)) exit(1);
    const swin_tensor feature = swin_feature(s.c, 0), scores = swin_logits(s.c);
    report("features are those of the padded input", feature.width == 16 && feature.height == 8);
    report("scores are those of the input", scores.width == 33 && scores.height == 20);
    free(s.memory);
    free(b.bytes);
    free(rgb);
}

/* A checksum of the results of a picture of 50 x 41 pixels, w x h as the network's input. */
static uint64_t run(const swin_model *m, int w, int h, unsigned outputs, swin_cpu cpu, int tasks)
{
    unsigned char *rgb = make_rgb(50, 41);
    const swin_image in = picture(rgb, 50, 41);
    swin_desc d = desc_of(w, h);
    d.picture_width = 50;
    d.picture_height = 41;
    d.cpu = cpu;
    d.outputs = outputs;
    if (tasks) d.tasks = tasks, d.parallel_for = backwards;
    const session s = start_as(m, d);
    const uint64_t value = swin_run(s.c, &in) ? 0 : results(s.c);
    free(s.memory);
    free(rgb);
    return value;
}

static void test_same_bits(int which, int numbers)
{
    const blob b = model_blob_of(which, numbers);
    const unsigned outputs = SWIN_OUT_CLASSES | SWIN_OUT_CONFIDENCE_F32;
    swin_model m;
    int ok = 1;
    open_blob(&m, b);
    for (int i = 0; i < 3; i++) {
        const int w = 30 + 47 * i, h = 77 - 13 * i;
        const uint64_t expected = run(&m, w, h, outputs, SWIN_CPU_SCALAR, 0);
        ok &= expected != 0 && run(&m, w, h, outputs, SWIN_CPU_BEST, 7) == expected;
        for (int cpu = SWIN_CPU_BEST; cpu < SWIN_CPU_COUNT; cpu++)
            if (swin_cpu_available((swin_cpu)cpu))
                ok &= run(&m, w, h, outputs, (swin_cpu)cpu, 0) == expected;
    }
    printf("%s, %s, ", model_names[which], number_names[numbers]);
    report("the same bits on every set and in every order", ok);
    free(b.bytes);
}

/* The classes of a run, or of one that keeps all scores. */
static unsigned char *classes_of(const swin_model *m, int w, int h, unsigned more)
{
    unsigned char *rgb = make_rgb(50, 41), *copy = (unsigned char *)malloc(50 * 41);
    const swin_image in = picture(rgb, 50, 41);
    swin_desc d = desc_of(w, h);
    d.picture_width = 50;
    d.picture_height = 41;
    d.outputs = SWIN_OUT_CLASSES | more;
    const session s = start_as(m, d);
    if (!copy || swin_run(s.c, &in)) exit(1);
    memcpy(copy, swin_classes(s.c).data, 50 * 41);
    free(s.memory);
    free(rgb);
    return copy;
}

/* By every rule, scores that are made where they are needed give the classes of a map of all. */
static void test_bands(void)
{
    int ok = 1;
    for (int rule = 0; rule < SWIN_SCORES_COUNT; rule++) {
        for (int side = 20; side < 140; side += 50) {
            swin_config g = model_config(MASK2FORMER);
            g.queries.scores = rule;
            dice_state = 3;
            const blob b = make_blob(&g);
            swin_model m;
            open_blob(&m, b);
            unsigned char *bands = classes_of(&m, side, side + 9, 0);
            unsigned char *whole = classes_of(&m, side, side + 9, SWIN_OUT_LOGITS);
            ok &= !memcmp(bands, whole, 50 * 41);
            free(bands);
            free(whole);
            free(b.bytes);
        }
    }
    report("classes by bands are those of a map of scores", ok);
}

int main(void)
{
    test_released();
    test_padding();
    test_bands();
    for (int which = MASKFORMER; which <= ONEFORMER; which++) {
        test_same_bits(which, FLOATS);
        test_same_bits(which, EIGHT);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
