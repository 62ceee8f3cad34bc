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

enum { QUERIES = 12, CLASSES = 6, MOST = 20 };

/* What each rule of segments is called, and its thresholds where they matter. */
static const struct { const char *name; int object_score, overlap_share, most; } rules[] = {
    {"none", 0, 0, 0}, {"Mask2Former's", 100, 250, 0}, {"MaskFormer's", 100, 250, 0},
    {"Hugging Face's", 100, 600, 0}, {"detectron2's instances'", 40, 0, MOST},
    {"Hugging Face's instances'", 300, 0, 0}, {"its OneFormer's instances'", 100, 800, 0}
};

/* A model whose queries a test makes up, and the rules by which they become segments. */
static swin_config contest_config(int rule, int scores)
{
    const swin_segments_config segments = {
        rule, rules[rule].object_score, rules[rule].overlap_share, {0x29}
    };
    swin_config g = model_config(MASK2FORMER);
    g.queries.count = QUERIES;
    g.queries.scores = scores;
    g.segments = segments;
    g.instances.most = rules[rule].most;
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
    for (int q = 0; q < QUERIES; q++) {
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
    const swin__step *s = c->steps;
    while (strcmp(s->name, "rivals")) s++;
    for (int last = 0; !last; s++) {
        last = !strcmp(s->name, "segment ids");
        for (int unit = s->units - 1; unit >= 0; unit--) s->work(c, s, unit, s->scratch);
    }
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

/* The logits of query q's mask on the grid of scores, whose size goes to *rows and *cols; free()
   them. */
static double *plain_grid(const swin_context *c, const swin__contest *l, int q, int *rows,
                          int *cols)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    const int rule = c->model->config.queries.scores, w = c->desc.width, h = c->desc.height;
    const swin__fmap *masks = &l->scores.masks;
    double *map = (double *)need(sizeof *map * (size_t)(masks->h * masks->w));
    *rows = masks->h, *cols = masks->w;
    for (int i = 0; i < *rows * *cols; i++) map[i] = swin__pixel(masks, i)[q];
    if (rule == SWIN_SCORES_AT_384) {
        map = plain_resize(map, *rows, *cols, 384, 384, 384, 384);
        *rows = *cols = 384;
    } else if (rule != SWIN_SCORES_AT_MASKS) {
        map = plain_resize(map, *rows, *cols, (h + 31) / 32 * 32, (w + 31) / 32 * 32, h, w);
        *rows = h, *cols = w;
    }
    if (rule == SWIN_SCORES_AT_PICTURE) {
        map = plain_resize(map, *rows, *cols, H, W, H, W);
        *rows = H, *cols = W;
    }
    return map;
}

/* Turns a map of the picture's size around, where the desc says so. */
static void plain_flip(const swin_context *c, double *map)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    for (int i = 0; i < H * W && c->desc.flags & SWIN_RUN_FLIP; i++) {
        const int other = i / W * W + W - 1 - i % W;
        if (other <= i) continue;
        const double kept = map[i];
        map[i] = map[other];
        map[other] = kept;
    }
}

/* What queries compete with at the picture's size: the probabilities of query q's mask, or its
   logits, straight from the mask; free() them. */
static double *plain_mask(const swin_context *c, const swin__contest *l, int q)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    const swin__fmap *masks = &l->scores.masks;
    int rows, cols;
    double *map;
    if (c->model->config.segments.rule == SWIN_SEGMENTS_INSTANCES_ONEFORMER) {
        rows = masks->h, cols = masks->w;
        map = (double *)need(sizeof *map * (size_t)(rows * cols));
        for (int i = 0; i < rows * cols; i++) map[i] = swin__pixel(masks, i)[q];
    } else {
        map = plain_grid(c, l, q, &rows, &cols);
        for (int i = 0; i < rows * cols; i++) map[i] = 1 / (1 + exp(-map[i]));
    }
    map = plain_resize(map, rows, cols, H, W, H, W);
    plain_flip(c, map);
    return map;
}

/* Where query q's mask is, 1 at such pixels of the picture; free() it. *sure: its mean probability
   there, on the grid of scores. */
static double *plain_cover(const swin_context *c, const swin__contest *l, int q, double *sure)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    double *to = (double *)need(sizeof *to * (size_t)(H * W)), sum = 0;
    int rows, cols, count = 0;
    double *grid = plain_grid(c, l, q, &rows, &cols);
    for (int i = 0; i < rows * cols; i++)
        if (grid[i] > 0) sum += 1 / (1 + exp(-grid[i])), count++;
    for (int i = 0; i < H * W; i++)
        to[i] = grid[i / W * rows / H * cols + i % W * cols / W] > 0;
    *sure = count ? sum / count : 0;
    free(grid);
    plain_flip(c, to);
    return to;
}

/* A query, or a pair of a query and a class, that may become a segment. */
typedef struct candidate { int query, class_id; float score; } candidate;

/* The queries that are surer of a class than of none. Returns how many. */
static int plain_queries(const swin_context *c, const swin__contest *l, candidate *list)
{
    const float least = (float)(c->model->config.segments.object_score / 1000.0);
    int count = 0;
    for (int q = 0; q < QUERIES; q++) {
        const float *share = swin__pixel(&l->shares, q);
        candidate best = { q, 0, share[0] };
        for (int k = 1; k < CLASSES; k++)
            if (share[k] > best.score) best.class_id = k, best.score = share[k];
        if (best.score > least && best.score > l->scores.none[q]) list[count++] = best;
    }
    return count;
}

/* The most probable pairs, one after the other, without those of stuff. Returns how many. */
static int plain_pairs(const swin_context *c, const swin__contest *l, candidate *list)
{
    const swin_config *g = &c->model->config;
    const float least = g->segments.rule == SWIN_SEGMENTS_INSTANCES_ONEFORMER
                        ? (float)(g->segments.object_score / 1000.0) : -1;
    int taken[QUERIES][CLASSES] = {{0}}, count = 0;
    for (int n = 0; n < (g->instances.most ? g->instances.most : QUERIES); n++) {
        candidate best = { 0, 0, -1 };
        for (int q = 0; q < QUERIES; q++)
            for (int k = 0; k < CLASSES; k++) {
                const candidate pair = { q, k, swin__pixel(&l->shares, q)[k] };
                if (!taken[q][k] && pair.score > best.score) best = pair;
            }
        taken[best.query][best.class_id] = 1;
        if (g->segments.things[0] >> best.class_id & 1 && best.score > least) list[count++] = best;
    }
    return count;
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

/* The pixels of one candidate become a region's, all or those that are its own. */
static void plain_region(const swin_context *c, const double *mask, const int *owner, int own,
                         swin_region *to, int *ids)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    for (int i = 0; i < H * W; i++) {
        if (mask && !(mask[i] >= 0.5)) continue;
        if (ids && owner[i] != own) continue;
        if (ids) ids[i] = to->id;
        plain_pixel(to, i / W, i % W);
    }
}

/* Candidates compete, one after the other, each over the whole picture. Returns how many segments
   there are. */
static int plain_contest(const swin_context *c, const swin__contest *l, const candidate *list,
                         int n, swin_region *regions, int *ids)
{
    const int W = c->desc.picture_width, H = c->desc.picture_height;
    const swin_segments_config *g = &c->model->config.segments;
    const int inner = g->rule == SWIN_SEGMENTS_MASK2FORMER;
    const int weighs = g->rule == SWIN_SEGMENTS_HUGGING_FACE ||
                       g->rule == SWIN_SEGMENTS_INSTANCES_ONEFORMER;
    double *mask[MOST];
    int *owner = (int *)need(sizeof *owner * (size_t)(H * W)), count = 0;
    for (int j = 0; j < n; j++) mask[j] = plain_mask(c, l, list[j].query);
    for (int i = 0; i < H * W; i++) {
        owner[i] = 0;
        for (int j = 1; j < n; j++) {
            const int best = owner[i];
            if (mask[j][i] * list[j].score > mask[best][i] * list[best].score) owner[i] = j;
        }
    }
    for (int j = 0; j < n; j++) {
        const candidate *own = &list[j];
        const int thing = (int)(g->things[0] >> own->class_id & 1);
        int won = 0, whole = 0, area = 0, at = 0;
        for (int i = 0; i < H * W; i++) {
            const int inside = mask[j][i] >= 0.5;
            whole += weighs ? mask[j][i] * own->score >= 0.5 : inside;
            won += owner[i] == j;
            area += owner[i] == j && (inside || !inner);
        }
        if (!area || !whole || won < g->overlap_share * whole / 1000.0) continue;
        while (!thing && at < count && regions[at].class_id != own->class_id) at++;
        if (thing) at = count;
        if (at == count) {
            const swin_region fresh = { ++count, own->class_id, thing, own->score, 0, 0, 0, 0, 0 };
            regions[at] = fresh;
        }
        plain_region(c, inner ? mask[j] : NULL, owner, j, &regions[at], ids);
    }
    free(owner);
    for (int j = 0; j < n; j++) free(mask[j]);
    return count;
}

/* Candidates overlap. */
static int plain_instances(const swin_context *c, const swin__contest *l, const candidate *list,
                           int n, swin_region *regions, int *ids)
{
    const int size = c->desc.picture_width * c->desc.picture_height;
    const swin_segments_config *g = &c->model->config.segments;
    int count = 0;
    for (int j = 0; j < n; j++) {
        double sure, *mask = plain_cover(c, l, list[j].query, &sure);
        const swin_region fresh = {
            count + 1, list[j].class_id, 1, (float)(list[j].score * sure), 0, 0, 0, 0, 0
        };
        regions[count] = fresh;
        plain_region(c, mask, NULL, 0, &regions[count], NULL);
        if (regions[count].area && fresh.score >= g->object_score / 1000.0) {
            for (int i = 0; i < size; i++) {
                const int above = mask[i] > 0 && ids[i] && g->rule == SWIN_SEGMENTS_INSTANCES &&
                                  regions[ids[i] - 1].score >= fresh.score;
                if (mask[i] > 0 && !above) ids[i] = fresh.id;
            }
            count++;
        }
        free(mask);
    }
    return count;
}

/* The model's rule, taken plainly. Returns how many segments there are. */
static int plain_segments(const swin_context *c, const swin__contest *l, swin_region *regions,
                          int *ids)
{
    const int rule = c->model->config.segments.rule;
    candidate list[MOST];
    memset(ids, 0, sizeof *ids * (size_t)(c->desc.picture_width * c->desc.picture_height));
    if (rule <= SWIN_SEGMENTS_HUGGING_FACE)
        return plain_contest(c, l, list, plain_queries(c, l, list), regions, ids);
    const int n = plain_pairs(c, l, list);
    return rule == SWIN_SEGMENTS_INSTANCES_ONEFORMER ? plain_contest(c, l, list, n, regions, ids)
                                                     : plain_instances(c, l, list, n, regions, ids);
}

/* Are these the same regions? Scores that a mean is part of may be rounded otherwise. */
static int same_regions(const swin_region *a, const swin_region *b, int count)
{
    for (int i = 0; i < count; i++) {
        swin_region own = a[i];
        if (fabsf(own.score - b[i].score) > 2e-6f) return 0;
        own.score = b[i].score;
        if (memcmp(&own, &b[i], sizeof own)) return 0;
    }
    return 1;
}

/* Are the segments of made-up queries those of the rule, on every instruction set? *found counts
   them. */
static int segments_hold(const swin_model *m, int w, int h, unsigned flags, int *found)
{
    unsigned char *rgb = make_rgb(w, h);
    const swin_image in = picture(rgb, w, h);
    swin_region expected[MOST + 1];
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
            ok &= count > 0 && same_regions(got, expected, count);
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
        printf("%d segments by %s rule ", found, rules[rule].name);
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
