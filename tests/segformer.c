/* tests/segformer.c - SegFormer: its memory, the sizes it refuses, the same bits in all ways of
   computing it

   Models are those of model.h's makers, with the reductions 8, 4, 2 and 1 of the paper. */

#include "../swin.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

/* SegFormer as the authors have it, of these widths a stage. */
static swin_config config_of(const int *widths, const int *depths, int channels, int classes)
{
    static const int of_heads[4] = {1, 2, 5, 8}, kernels[4] = {7, 3, 3, 3};
    static const int strides[4] = {4, 2, 2, 2}, reductions[4] = {8, 4, 2, 1};
    swin_config g = model_config(SEGFORMER);
    g.stages = 4;
    g.feature_norms = g.head.inputs = 15;
    for (int i = 0; i < 4; i++) {
        swin_stage_config *s = &g.stage[i];
        s->width = widths[i];
        s->hidden = 4 * widths[i];
        s->depth = depths[i];
        s->heads = of_heads[i];
        s->window_h = s->window_w = 1;
        s->shift_h = s->shift_w = 0;
        g.mit.kernel[i] = kernels[i];
        g.mit.stride[i] = strides[i];
        g.mit.reduction[i] = reductions[i];
    }
    g.head.channels = channels;
    g.classes = classes;
    return g;
}

static swin_config small_config(void)
{
    static const int widths[4] = {8, 12, 20, 32}, depths[4] = {1, 2, 1, 1};
    return config_of(widths, depths, 24, 7);
}

/* The bound is a little more than logits, their product's input and the largest features need. */
static void test_workspace(void)
{
    static const int widths[4] = {32, 64, 160, 256}, depths[4] = {2, 2, 2, 2};
    const swin_config g = config_of(widths, depths, 256, 150);
    const blob b = make_blob(&g);
    const swin_desc d = desc_of(512, 512);
    swin_model m;
    open_blob(&m, b);
    const size_t size = swin_workspace_size(&m, &d, NULL);
    printf("SegFormer-B0 of 512 x 512 takes %.1f MiB, ", (double)size / (1 << 20));
    report("no more than 24", size > 0 && size <= (size_t)24 << 20);
    free(b.bytes);
}

static void test_sizes(void)
{
    static const int sides[][2] = {{29, 29}, {64, 30}, {28, 64}, {64, 28}, {1, 1}};
    const swin_config g = small_config();
    const blob b = make_blob(&g);
    swin_model m;
    int ok = 1;
    open_blob(&m, b);
    for (int i = 0; i < 5; i++) {
        const swin_desc d = desc_of(sides[i][0], sides[i][1]);
        swin_error e = {SWIN_OK, ""};
        const size_t size = swin_workspace_size(&m, &d, &e);
        if (i < 2) ok &= size > 0;
        else ok &= !size && e.status == SWIN_SIZE && strstr(e.text, "smaller than the patches");
    }
    report("a map smaller than a key's patch is refused", ok);
    free(b.bytes);
}

static uint64_t run(const swin_model *m, int w, int h, swin_cpu cpu, int tasks)
{
    unsigned char *rgb = make_rgb(w, h);
    const swin_image in = picture(rgb, w, h);
    swin_desc d = desc_of(w, h);
    d.cpu = cpu;
    if (tasks) d.tasks = tasks, d.parallel_for = backwards;
    const session s = start(m, d);
    const uint64_t value = swin_run(s.c, &in) ? 0 : results(s.c);
    free(s.memory);
    free(rgb);
    return value;
}

/* Sizes whose maps are computed by tiles and in one step, in steps, and by both. */
static void test_same_bits(int numbers)
{
    static const int sizes[][2] = {{30, 61}, {131, 77}, {300, 270}};
    const swin_config g = small_config();
    dice_state = 5;
    const blob b = make_blob_of(&g, numbers);
    swin_model m;
    int ok = 1;
    open_blob(&m, b);
    for (int i = 0; i < 3; i++) {
        const int w = sizes[i][0], h = sizes[i][1];
        const uint64_t expected = run(&m, w, h, SWIN_CPU_SCALAR, 0);
        ok &= expected != 0 && run(&m, w, h, SWIN_CPU_BEST, 7) == expected;
        for (int cpu = SWIN_CPU_BEST; cpu < SWIN_CPU_COUNT; cpu++)
            if (swin_cpu_available((swin_cpu)cpu))
                ok &= run(&m, w, h, (swin_cpu)cpu, 0) == expected;
    }
    printf("%s, ", number_names[numbers]);
    report("the same bits on every set and in every order", ok);
    free(b.bytes);
}

/* --- logits straight to the picture ----------------------------------------------------------- */

/* The logit of class k at pixel (y, x) of a w x h picture, resized at once. */
static double resized(swin_tensor t, int k, int y, int x, int w, int h)
{
    double v = (y + 0.5) * t.height / h - 0.5, u = (x + 0.5) * t.width / w - 0.5;
    v = v > 0 ? v : 0;
    u = u > 0 ? u : 0;
    const int top = (int)v, left = (int)u;
    const int below = top + 1 < t.height ? top + 1 : top;
    const int right = left + 1 < t.width ? left + 1 : left;
    const double a = v - top, b = u - left;
    return (1 - a) * ((1 - b) * (double)element(t, k, top, left) +
                      b * (double)element(t, k, top, right)) +
           a * ((1 - b) * (double)element(t, k, below, left) +
                b * (double)element(t, k, below, right));
}

/* How many pixels have another class than the highest of their logits, resized at once, where that
   is clear. */
static int other_classes(const swin_context *c, int classes, int w, int h)
{
    const swin_tensor t = swin_logits(c);
    const swin_map map = swin_classes(c);
    int others = 0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double best = -1e30, second = -1e30;
            int at = 0;
            for (int k = 0; k < classes; k++) {
                const double value = resized(t, k, y, x, w, h);
                if (value > best) second = best, best = value, at = k;
                else if (value > second) second = value;
            }
            others += best - second > 1e-4 &&
                      ((const unsigned char *)map.data)[(size_t)y * (size_t)w + (size_t)x] != at;
        }
    return others;
}

static void test_straight(void)
{
    enum { W = 250, H = 171 };
    swin_config g = small_config();
    unsigned char *rgb = make_rgb(W, H);
    const swin_image in = picture(rgb, W, H);
    int others[2];
    for (int straight = 0; straight < 2; straight++) {
        swin_desc d = desc_of(64, 96);
        swin_model m;
        g.rules.straight = straight;
        dice_state = 9;
        const blob b = make_blob(&g);
        open_blob(&m, b);
        d.picture_width = W;
        d.picture_height = H;
        d.outputs = SWIN_OUT_CLASSES | SWIN_OUT_LOGITS;
        const session s = start_as(&m, d);
        others[straight] = swin_run(s.c, &in) ? -1 : other_classes(s.c, g.classes, W, H);
        free(s.memory);
        free(b.bytes);
    }
    printf("by way of the input %d pixels differ, ", others[0]);
    report("straight none", others[0] > 0 && others[1] == 0);
    free(rgb);
}

int main(void)
{
    test_straight();
    test_workspace();
    test_sizes();
    test_same_bits(FLOATS);
    test_same_bits(HALVES);
    test_same_bits(EIGHT);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
