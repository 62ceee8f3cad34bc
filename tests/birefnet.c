/* tests/birefnet.c - BiRefNet: the memory that published models need, and the sizes of inputs

   cc -std=c99 -O2 -DSWIN_IMPLEMENTATION tests/birefnet.c -lm && ./a.out */

#include "../swin.h"
#include "model.h"
#include "report.h"
#include "session.h"

/* BiRefNet over Swin-T, as it is published for 1024 x 1024 pixels. */
static swin_config swin_t(void)
{
    static const swin_birefnet_config widths = {64, 256, {1, 1, 3, 7}, 64, 16};
    static const int depth[4] = {2, 2, 6, 2};
    swin_config g = model_config(BIREFNET);
    for (int i = 0; i < 4; i++) {
        swin_stage_config *s = &g.stage[i];
        s->width = 96 << i;
        s->hidden = 4 * s->width;
        s->heads = 3 << i;
        s->depth = depth[i];
        s->window_h = s->window_w = 7;
        s->shift_h = s->shift_w = 3;
    }
    g.birefnet = widths;
    g.picture.resize_rule = SWIN_RESIZE_EXACT;
    g.picture.resize_a = g.picture.resize_b = 1024;
    g.picture.resize_filter = SWIN_FILTER_BILINEAR_ANTIALIASED;
    return g;
}

/* A blob whose weights are zeros that nobody has touched. */
static blob hollow_blob(const swin_config *g)
{
    maker k = new_maker(g);
    size_t text;
    char *strings = new_strings(g, &text);
    blob b;
    k.hollow = 1;
    make_tensors(&k);
    b.size = data_offset(&k, text) + k.used;
    b.bytes = (unsigned char *)calloc(b.size, 1);
    if (!b.bytes) exit(2);
    write_front(&k, strings, text, b);
    free_maker(&k);
    free(strings);
    return b;
}

/* The workspace at 1024 x 1024 pixels for so many tasks, in MiB. */
static double workspace(const swin_model *m, int tasks)
{
    swin_desc d;
    swin_error e;
    memset(&d, 0, sizeof d);
    d.picture_width = 1600;
    d.picture_height = 1200;
    d.tasks = tasks;
    d.parallel_for = tasks > 1 ? backwards : NULL;
    return (double)swin_workspace_size(m, &d, &e) / (1 << 20);
}

static void test_memory(const swin_model *m)
{
    const double alone = workspace(m, 1), threads = workspace(m, 32);
    printf("1024x1024 takes %.0f MiB, for 32 tasks %.0f MiB, ", alone, threads);
    report("Swin-T at 1024x1024 in 200 MiB", alone > 50 && threads > alone && threads <= 200);
}

/* Is a desc refused as a size, with a sentence that says this? */
static int refused(const swin_model *m, swin_desc d, const char *says)
{
    swin_error e;
    return swin_workspace_size(m, &d, &e) == 0 && e.status == SWIN_SIZE && strstr(e.text, says);
}

static void test_sizes(const swin_model *m)
{
    const swin_resizing longest = {1000, 0};
    swin_desc d;
    int w, h, ok;
    ok = !swin_input_size(m, 500, 333, NULL, &w, &h, NULL) && w == 1024 && h == 1024;
    report("the aspect is ignored", ok);
    ok = !swin_input_size(m, 1000, 500, &longest, &w, &h, NULL) && w == 992 && h == 480;
    report("other sizes become multiples of 32", ok);
    memset(&d, 0, sizeof d);
    d.width = 1040, d.height = 1024;
    report("inputs", refused(m, d, "multiples of 32, not 1040 x 1024"));
    d.width = 1024, d.crop_width = 500, d.crop_height = 512;
    report("crops", refused(m, d, "multiples of 32, not 500 x 512"));
}

int main(void)
{
    const swin_config g = swin_t();
    const blob b = hollow_blob(&g);
    swin_model m;
    swin_error e;
    if (swin_open(&m, b.bytes, b.size, 0, &e)) {
        printf("%s\n", e.text);
        return 1;
    }
    test_memory(&m);
    test_sizes(&m);
    free(b.bytes);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
