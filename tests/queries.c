/* tests/queries.c - heads with queries: memory, padding, the same bits in all ways of computing

   Models are those of model.h's makers. The steps from queries to segments are looked up inside a
   context, as random weights give queries that are all alike. */

#define SWIN_IMPLEMENTATION
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
    const unsigned outputs = SWIN_OUT_CLASSES | SWIN_OUT_CONFIDENCE_F32 | SWIN_OUT_SEGMENTS;
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

/* --- segments --------------------------------------------------------------------------------- */

enum { RIVALS = 12, CLASSES = 6, SEGMENT_STEPS = 4 };

/* A model whose queries a test makes up, and the rules by which they become segments. */
static swin_config contest_config(int rule, int scores)
{
    const int share = rule == SWIN_SEGMENTS_HUGGING_FACE ? 600 : 250;   /* where masks matter */
    const swin_segments_config segments = { rule, 100, share, {0x29} };
    swin_config g = model_config(MASK2FORMER);
    g.queries.count = RIVALS;
    g.queries.scores = scores;
    g.segments = segments;
    return g;
}

static const swin__contest *contest_of(const swin_context *c)
{
    for (int i = 0; i < c->step_count; i++)
        if (!strcmp(c->steps[i].name, "rivals")) return (const swin__contest *)c->steps[i].layer;
    exit(1);
}

/* Queries as trained ones are: each has a disk, somewhere, and mostly one class, or none. Three are
   rather of no class than of their own. */
static void make_up_queries(const swin__contest *l)
{
    const swin__fmap *masks = &l->scores.masks;
    dice_state = 11;
    for (int q = 0; q < RIVALS; q++) {
        const double y0 = masks->h * (0.5 + uniform() / 2), x0 = masks->w * (0.5 + uniform() / 2);
        const double r = 0.3 + 0.2 * uniform(), sharp = 3 + 2 * uniform();
        float *share = swin__pixel(&l->shares, q), sum = 0;
        for (int k = 0; k <= CLASSES; k++)
            sum += share[k] = (float)exp((k == q % (CLASSES + 1) ? 4 : 0) + (double)uniform());
        if (q < 6 && q % 2) sum += share[CLASSES] = 1.05f * share[q];
        for (int k = 0; k <= CLASSES; k++) share[k] /= sum;
        l->scores.none[q] = share[CLASSES];
        for (int i = 0; i < masks->h * masks->w; i++) {
            const int row = i / masks->w, col = i % masks->w;
            const double y = (row - y0) / masks->h, x = (col - x0) / masks->w;
            swin__pixel(masks, i)[q] = (float)(sharp * (1 - sqrt(y * y + x * x) / r) +
                                               0.2 * uniform());
        }
    }
}

/* Takes the steps from queries to segments again, their units from the last one to the first. */
static void take_segments(swin_context *c)
{
    int first = 0;
    while (strcmp(c->steps[first].name, "rivals")) first++;
    for (int i = first; i < first + SEGMENT_STEPS; i++)
        for (int unit = c->steps[i].units - 1; unit >= 0; unit--)
            c->steps[i].work(c, &c->steps[i], unit, c->steps[i].scratch);
}

/* A map [h][w] of doubles, resized to [H][W], of which the first rows and columns stay; free() it,
   as this does with the map. */
static double *plain_resize(double *map, int h, int w, int H, int W, int rows, int cols)
{
    double *to = (double *)need(sizeof *to * (size_t)rows * (size_t)cols);
    for (int i = 0; i < rows * cols; i++) {
        const int row = i / cols, col = i % cols;
        const double v = fmax((row + 0.5) * h / H - 0.5, 0);
        const double u = fmax((col + 0.5) * w / W - 0.5, 0);
        const int y = (int)v, x = (int)u, below = y + (y < h - 1), right = x + (x < w - 1);
        const double top = map[y * w + x] * (1 - u + x) + map[y * w + right] * (u - x);
        const double low = map[below * w + x] * (1 - u + x) + map[below * w + right] * (u - x);
        to[i] = top * (1 - v + y) + low * (v - y);
    }
    free(map);
    return to;
}

/* The probabilities of query q's mask at the picture's size; free() them. */
static double *plain_mask(const swin_context *c, const swin__contest *l, int q)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    const int rule = c->model->config.queries.scores, w = c->desc.width, h = c->desc.height;
    const swin__fmap *masks = &l->scores.masks;
    int rows = masks->h, cols = masks->w;
    double *map = (double *)need(sizeof *map * (size_t)(rows * cols));
    for (int i = 0; i < rows * cols; i++) map[i] = swin__pixel(masks, i)[q];
    if (rule == SWIN_SCORES_AT_384) {
        map = plain_resize(map, rows, cols, 384, 384, 384, 384);
        rows = cols = 384;
    } else if (rule != SWIN_SCORES_AT_MASKS) {
        map = plain_resize(map, rows, cols, (h + 31) / 32 * 32, (w + 31) / 32 * 32, h, w);
        rows = h, cols = w;
    }
    if (rule == SWIN_SCORES_AT_PICTURE) {
        map = plain_resize(map, rows, cols, H, W, H, W);
        rows = H, cols = W;
    }
    for (int i = 0; i < rows * cols; i++) map[i] = 1 / (1 + exp(-map[i]));
    map = plain_resize(map, rows, cols, H, W, H, W);
    if (!(c->desc.flags & SWIN_RUN_FLIP)) return map;
    for (int i = 0; i < H * W; i++) {
        const int other = i / W * W + W - 1 - i % W;
        if (other <= i) continue;
        const double kept = map[i];
        map[i] = map[other];
        map[other] = kept;
    }
    return map;
}

/* A region grows by a pixel. */
static void plain_pixel(swin_region *r, int y, int x)
{
    const int first = !r->area++, right = r->x + r->width, bottom = r->y + r->height;
    r->x = first || x < r->x ? x : r->x;
    r->y = first || y < r->y ? y : r->y;
    r->width = (first || x >= right ? x + 1 : right) - r->x;
    r->height = (first || y >= bottom ? y + 1 : bottom) - r->y;
}

/* The rule, query after query, each over the whole picture. Returns how many segments there are. */
static int plain_segments(const swin_context *c, const swin__contest *l, swin_region *regions,
                          int *ids)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    const swin_segments_config *g = &c->model->config.segments;
    const int rule = g->rule;
    double *mask[RIVALS];
    int label[RIVALS], count = 0;
    for (int q = 0; q < RIVALS; q++) {
        const float *share = swin__pixel(&l->shares, q);
        int best = 0;
        for (int k = 1; k < CLASSES; k++)
            if (share[k] > share[best]) best = k;
        label[q] = share[best] > 0.1f && share[best] > l->scores.none[q] ? best : CLASSES;
        mask[q] = plain_mask(c, l, q);
    }
    int *owner = (int *)need(sizeof *owner * (size_t)(H * W));
    for (int i = 0; i < H * W; i++) {
        double most = -1;
        ids[i] = 0;
        for (int q = 0; q < RIVALS; q++) {
            if (label[q] == CLASSES) continue;
            const double weighed = mask[q][i] * swin__pixel(&l->shares, q)[label[q]];
            if (weighed > most) most = weighed, owner[i] = q;
        }
    }
    for (int q = 0; q < RIVALS; q++) {
        if (label[q] == CLASSES) continue;
        const float score = swin__pixel(&l->shares, q)[label[q]];
        const int thing = (int)(g->things[0] >> label[q] & 1);
        int won = 0, whole = 0, area = 0, at = 0;
        for (int i = 0; i < H * W; i++) {
            const int inside = mask[q][i] >= 0.5;
            whole += rule == SWIN_SEGMENTS_HUGGING_FACE ? mask[q][i] * score >= 0.5 : inside;
            won += owner[i] == q;
            area += owner[i] == q && (inside || rule != SWIN_SEGMENTS_MASK2FORMER);
        }
        if (!area || !whole || won < g->overlap_share * whole / 1000.0) continue;
        while (!thing && at < count && regions[at].class_id != label[q]) at++;
        if (thing) at = count;
        if (at == count) {
            const swin_region fresh = { ++count, label[q], thing, score, 0, 0, 0, 0, 0 };
            regions[at] = fresh;
        }
        for (int i = 0; i < H * W; i++) {
            if (owner[i] != q || (rule == SWIN_SEGMENTS_MASK2FORMER && mask[q][i] < 0.5)) continue;
            ids[i] = at + 1;
            plain_pixel(&regions[at], i / W, i % W);
        }
    }
    free(owner);
    for (int q = 0; q < RIVALS; q++) free(mask[q]);
    return count;
}

/* Are the segments of made-up queries those of the rule, on every instruction set? *found counts
   them. */
static int segments_hold(const swin_model *m, int w, int h, unsigned flags, int *found)
{
    unsigned char *rgb = make_rgb(w, h);
    const swin_image in = picture(rgb, w, h);
    swin_region expected[RIVALS];
    int *ids = (int *)need(sizeof *ids * (size_t)(w * h)), count, ok;
    uint64_t first = 0;
    swin_desc d = desc_of(70, 53);
    d.picture_width = w;
    d.picture_height = h;
    d.outputs = SWIN_OUT_SEGMENTS;
    d.flags = flags;
    ok = 1;
    for (int cpu = SWIN_CPU_SCALAR; cpu < SWIN_CPU_COUNT; cpu++) {
        if (!swin_cpu_available((swin_cpu)cpu)) continue;
        d.cpu = (swin_cpu)cpu;
        const session s = start_as(m, d);
        if (swin_run(s.c, &in)) exit(1);
        make_up_queries(contest_of(s.c));
        take_segments(s.c);
        if (!first) {
            const swin_region *got = swin_segments(s.c, &count);
            const uint16_t *map = (const uint16_t *)swin_segment_map(s.c).data;
            ok &= count == plain_segments(s.c, contest_of(s.c), expected, ids);
            ok &= count > 0 && !memcmp(got, expected, (size_t)count * sizeof *got);
            for (int i = 0; i < w * h; i++) ok &= map[i] == ids[i];
            *found += count;
            first = results(s.c);
        }
        ok &= results(s.c) == first;
        free(s.memory);
    }
    free(ids);
    free(rgb);
    return ok;
}

/* By every rule, for pictures larger and smaller than the grid of scores, mirrored, too. */
static void test_segments(void)
{
    static const char *const names[] = { "none", "Mask2Former's", "MaskFormer's",
                                         "Hugging Face's" };
    for (int rule = 1; rule < SWIN_SEGMENTS_COUNT; rule++) {
        int ok = 1, found = 0;
        for (int scores = 0; scores < SWIN_SCORES_COUNT; scores++) {
            const swin_config g = contest_config(rule, scores);
            const blob b = make_blob(&g);
            swin_model m;
            open_blob(&m, b);
            ok &= segments_hold(&m, 131, 97, 0, &found);
            ok &= segments_hold(&m, 131, 97, SWIN_RUN_FLIP, &found);
            ok &= segments_hold(&m, 19, 23, 0, &found);
            ok &= segments_hold(&m, 70, 53, SWIN_RUN_FLIP, &found);
            free(b.bytes);
        }
        printf("%d segments by %s rule ", found, names[rule]);
        report("are those of the rule taken plainly, on every set", ok && found > 40);
    }
}

int main(void)
{
    test_released();
    test_padding();
    test_bands();
    test_segments();
    for (int which = MASKFORMER; which <= ONEFORMER; which++) {
        test_same_bits(which, FLOATS);
        test_same_bits(which, EIGHT);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
