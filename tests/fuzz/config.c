/* tests/fuzz/config.c - any valid model, run in two ways: the same bits

   clang -g -O1 -fsanitize=fuzzer,address,undefined,float-cast-overflow tests/fuzz/config.c -lm

   The input chooses a config that is valid by construction, a desc and a picture. The reader must
   take its blob. Then the scalar pass at one go is compared with another pass in slices, its tasks
   backwards, in other memory. SWIN_DEBUG fills buffers with NaNs and fences them: what a step reads
   that nobody wrote, or writes that is not its own, shows. */
#define SWIN_DEBUG
#define SWIN_IMPLEMENTATION
#include "../../swin.h"
#include "../model.h"
#include "fuzz.h"
#include "configs.h"

enum { BUDGET = 500000 };       /* multiply-adds of a run; the scalar pass is slow when sanitized */
enum { LARGEST = 50 };          /* budgets of a run, at most */
enum { MEMORY = 1 << 24 };      /* bytes of a workspace */

/* One input, decoded. */
typedef struct situation {
    swin_config g;
    swin_desc d;        /* but for what the two runs differ in */
    int votes, kept;    /* 1: a run adds its votes; keeps its logits for an average */
    swin_format format;
    swin_yuv yuv;
    int padding;        /* bytes from row to row beyond the pixels */
    int upward;         /* 1: the picture lies bottom up */
    uint32_t seed;      /* of weights and pixels */
    int tasks, slice;   /* of the other run: pieces of a step, pieces at a time */
    swin_cpu cpu;       /* of the other run */
    int tight;          /* 1: it gets no more memory than the first */
    int numbers;        /* what tensors hold that need not be f32, as model.h has it */
} situation;

static situation at_hand;

/* Inputs that once broke a promise, as printed by this program. */
static const situation regressions[] = {
#include "regressions/config.h"
};

static void print_situation(void)
{
    const situation *s = &at_hand;
    fprintf(stderr, "To keep this case as a test, add to tests/fuzz/regressions/config.h\n{.g = ");
    print_config(&s->g);
    fprintf(stderr, ",\n .d = {");
#define PRINT(field) if (s->d.field) fprintf(stderr, " .%s = %d,", #field, (int)s->d.field)
    PRINT(width); PRINT(height); PRINT(picture_width); PRINT(picture_height); PRINT(outputs);
    PRINT(flags); PRINT(crop_width); PRINT(crop_height); PRINT(stride_width);
    PRINT(stride_height); PRINT(attend_x); PRINT(attend_y); PRINT(attend_stage);
#undef PRINT
    fprintf(stderr, " .threshold = %.9g, .votes_decay = %.9g },\n .votes = %d, .kept = %d, "
                    ".format = %d, .yuv = %d, .padding = %d, .upward = %d, .seed = %u, "
                    ".tasks = %d, .slice = %d, .cpu = %d, .tight = %d, .numbers = %d },\n",
            s->d.threshold, s->d.votes_decay, s->votes, s->kept, s->format, s->yuv, s->padding,
            s->upward, s->seed, s->tasks, s->slice, s->cpu, s->tight, s->numbers);
}

/* --- drawing a situation ---------------------------------------------------------------------- */

static int fixed_grid(const swin_config *g) { return g->position.h && g->position.rule; }

/* A grid of absolute positions that fits no other input: the sizes follow from it. */
static void fit_grid(swin_config *g, int sides)
{
    if (!fixed_grid(g)) return;
    g->position.h = 1 + (g->position.h - 1) % sides;
    g->position.w = 1 + (g->position.w - 1) % sides;
    const int h = g->position.h * g->patch, w = g->position.w * g->patch;
    if (g->input.h) g->input.h = h, g->input.w = w;
    if (!g->picture.mode) return;
    g->picture.crop_h = h;
    g->picture.crop_w = w;
    g->picture.stride_h = 1 + (g->picture.stride_h - 1) % h;
    g->picture.stride_w = 1 + (g->picture.stride_w - 1) % w;
    if (g->picture.mode != SWIN_MODE_CENTRE) return;
    g->picture.resize_a = h > w ? h : w;
    g->picture.resize_b = g->picture.resize_a;
}

static void draw_sizes(situation *s, int sides)
{
    const swin_config *g = &s->g;
    swin_desc *d = &s->d;
    const double pixels = BUDGET / 4.0 / (g->classes + 1.0);
    const int most = pixels > 1600 ? 40 : pixels < 4 ? 2 : (int)sqrt(pixels);
    const int pictures = (int)rarely(2);
    if (!pictures || rarely(2)) {
        d->width = fixed_grid(g) ? g->position.w * g->patch : draw_length(g, sides);
        d->height = fixed_grid(g) ? g->position.h * g->patch : draw_length(g, sides);
        if (g->input.h) d->width = g->input.w, d->height = g->input.h;
    }
    if (!pictures) return;
    const int any_size = d->width || g->picture.resize_rule || g->input.rule != SWIN_INPUT_FLOOR;
    const int least = any_size ? 1 : g->patch;
    d->picture_width = least < most ? within(least, most) : least;
    d->picture_height = least < most ? within(least, most) : least;
}

static void draw_crops(situation *s, int sides)
{
    const swin_config *g = &s->g;
    swin_desc *d = &s->d;
    if (g->input.h || fixed_grid(g) || !rarely(4)) return;
    if (!rarely(3)) d->crop_width = draw_length(g, sides);
    if (!rarely(3)) d->crop_height = draw_length(g, sides);
    if (d->crop_width && rarely(2)) d->stride_width = within(1, d->crop_width);
    if (d->crop_height && rarely(2)) d->stride_height = within(1, d->crop_height);
}

static void draw_outputs(situation *s)
{
    const swin_config *g = &s->g;
    swin_desc *d = &s->d;
    const int slides = is_dense(g) && !(d->flags & SWIN_RUN_WHOLE)
                       && (g->picture.mode == SWIN_MODE_SLIDE || d->crop_width || d->crop_height);
    unsigned can = slides ? 0 : SWIN_OUT_FEATURES;
    if (is_dense(g))
        can |= SWIN_OUT_CLASSES | SWIN_OUT_LOGITS | SWIN_OUT_CONFIDENCE | SWIN_OUT_CONFIDENCE_F32;
    if (g->head.kind == SWIN_HEAD_CLASSIFIER) can |= SWIN_OUT_SCORES;
    if (g->segments.rule && !slides) can |= SWIN_OUT_SEGMENTS;
    d->attend_stage = any(g->stages);
    const int attends = g->tokens && g->stage[d->attend_stage].depth > 1;
    if (attends && !slides && !(d->flags & SWIN_RUN_FLIP)) {
        const int w = d->picture_width ? d->picture_width : d->width;
        const int h = d->picture_height ? d->picture_height : d->height;
        can |= SWIN_OUT_ATTENTION;
        d->attend_x = any(w);
        d->attend_y = any(h);
    }
    d->outputs = rarely(4) ? 0 : draw(256) & can;
    if (!is_dense(g)) return;
    static const float thresholds[] = {1e-30f, 0.1f, 0.5f, 1};
    if (g->classes != 256 && rarely(4)) d->threshold = ONE_OF(thresholds);
    s->votes = (int)rarely(4);
    s->kept = (int)rarely(4);
}

static void draw_runs(situation *s)
{
    s->format = (swin_format)draw(SWIN_PLANES + 1);
    s->padding = rarely(2) ? (int)draw(9) : 0;
    s->upward = (int)rarely(4);
    s->seed = draw_word() | 1;
    s->tasks = (int)between(1, 40);
    s->slice = rarely(4) ? 1 << 20 : (int)(2 * draw(8) + 1);
    s->cpu = (swin_cpu)(SWIN_CPU_SCALAR + 1 + draw(SWIN_CPU_COUNT - SWIN_CPU_SCALAR - 1));
    if (!swin_cpu_available(s->cpu)) s->cpu = SWIN_CPU_BEST;
    s->tight = (int)rarely(4);
    if (rarely(4)) s->format = draw(2) ? SWIN_YUYV : SWIN_NV12;
    s->yuv = (swin_yuv)draw(SWIN_YUV_709_FULL + 1);
    if (s->votes && rarely(2)) s->d.votes_decay = 0.25f;
}

/* A head's layers wide enough for Winograd's tiles, over a backbone of one or two stages. */
static swin_config draw_wide(void)
{
    swin_config g;
    do g = draw_model(SMALL);
    while (g.body || g.head.kind < SWIN_HEAD_UPER || g.head.kind > SWIN_HEAD_FPN);
    g.patch = within(1, 2);
    g.stages = within(1, 2);
    g.position.h = g.position.w = 0;
    g.tokens = 0;
    memset(g.stage, 0, sizeof g.stage);
    for (int i = 0; i < g.stages; i++) {
        swin_stage_config *s = &g.stage[i];
        s->width = 32 << i;
        s->depth = 1;
        s->heads = draw_heads(s->width);
        s->window_h = s->window_w = within(1, 5);
        s->hidden = within(1, 40);
    }
    g.feature_norms &= (1u << g.stages) - 1;
    g.head.inputs = reads_one(&g) ? 1 : between(1, (1u << g.stages) - 1);
    g.head.channels = rarely(3) ? 64 : 32;
    g.head.neck_channels = g.head.kind == SWIN_HEAD_FPN ? 32 : 0;
    g.head.pool_count = g.head.pool_count ? 1 : 0;
    if (g.head.kind == SWIN_HEAD_FCN) g.head.convs = within(1, 2), g.head.conv_kernel = 3;
    return g;
}

/* Maps of a wide head as large as its tiles want them. */
static void widen(situation *s)
{
    const int patch = s->g.patch;
    s->g.picture.mode = 0;
    s->g.input.h = s->g.input.w = 0;
    s->d.width = (int)between(16, 18) * patch;
    s->d.height = (int)between(16, 18) * patch;
    s->d.crop_width = s->d.crop_height = s->d.stride_width = s->d.stride_height = 0;
}

/* Weights of eight bits want larger maps and more channels for their tiles. */
static void widen_eight(situation *s)
{
    s->d.width = (int)between(25, 26) * s->g.patch;
    s->d.height = (int)between(24, 25) * s->g.patch;
    s->g.head.channels = 64;
    if (s->g.head.neck_channels) s->g.head.neck_channels = 64;
}

static situation draw_situation(void)
{
    const uint32_t wide = rarely(24);
    situation s;
    memset(&s, 0, sizeof s);
    do s.g = wide ? draw_wide() : draw_model(SMALL); while (!wide && weights_of(&s.g) > 4e5);
    const double sides = sqrt(BUDGET / weights_of(&s.g));
    const int cap = rarely(6) ? 48 : 16, most = sides > cap ? cap : sides < 1 ? 1 : (int)sides;
    fit_windows(&s.g, most);
    draw_preprocessing(&s.g, most);
    fit_grid(&s.g, most);
    if (rarely(4)) s.d.flags = draw(8);
    draw_sizes(&s, most);
    if (is_dense(&s.g)) draw_crops(&s, most);
    if (wide) widen(&s);
    draw_outputs(&s);
    draw_runs(&s);
    s.numbers = draw_numbers();
    if (wide && s.numbers >= EIGHT) widen_eight(&s);
    return s;
}

/* --- one run ---------------------------------------------------------------------------------- */

typedef struct run {
    fenced memory, votes, kept;
    swin_context *c;
    size_t size;
} run;

static void backwards(void *user, swin_task task, void *arg, int count)
{
    (void)user;
    while (count--) task(arg, count);
}

/* A picture as a context wants it, in memory of exactly its size. */
static unsigned char *make_picture(const situation *s, const swin_context *c, swin_image *in)
{
    static const int bytes[] = {3, 3, 4, 4, 1, 4, 2, 1};
    const int planes = s->format == SWIN_PLANES, nv12 = s->format == SWIN_NV12;
    const int w = planes ? c->desc.width : c->desc.picture_width;
    const int h = planes ? c->desc.height : c->desc.picture_height;
    const int even = s->format == SWIN_YUYV ? w + w % 2 : w;
    const size_t row = (size_t)(even * bytes[s->format]), stride = row + (size_t)s->padding;
    const size_t plane = stride * (size_t)h, luma = plane - (size_t)s->padding;
    const size_t pairs = (size_t)(w + w % 2), apart = pairs + (size_t)s->padding;
    const size_t chroma = nv12 ? (size_t)((h + 1) / 2 - 1) * apart + pairs : 0;
    const size_t size = planes ? 2 * plane + luma : nv12 ? plane + chroma : luma;
    unsigned char *pixels = (unsigned char *)need(size);
    dice_state = s->seed;
    for (size_t i = 0; i < size; i++) pixels[i] = (unsigned char)(dice(1 << 16) >> 8);
    for (size_t k = 0; planes && k < 3; k++) {
        for (size_t y = 0; y < (size_t)h; y++) {
            for (size_t x = 0; x < (size_t)w; x++) {
                const float value = 3 * uniform();
                memcpy(pixels + k * plane + y * stride + 4 * x, &value, 4);
            }
        }
    }
    memset(in, 0, sizeof *in);
    in->data = s->upward ? pixels + (size_t)(h - 1) * stride : pixels;
    in->width = w;
    in->height = h;
    in->stride = s->upward ? -(ptrdiff_t)stride : s->padding ? (ptrdiff_t)stride : 0;
    in->plane_stride = s->upward || s->padding ? (ptrdiff_t)plane : 0;
    in->format = s->format;
    in->yuv = s->yuv;
    if (nv12) in->chroma = s->upward ? pixels + size - pairs : pixels + plane;
    if (nv12) in->chroma_stride = s->upward ? -(ptrdiff_t)apart : (ptrdiff_t)apart;
    return pixels;
}

static void free_run(run *r)
{
    if (r->memory.block) fenced_free(r->memory);
    if (r->votes.block) fenced_free(r->votes);
    if (r->kept.block) fenced_free(r->kept);
}

static void give_votes(run *r, const swin_model *m, swin_desc *d)
{
    swin__setup setup;
    if (swin__resolve(m, d, &setup, NULL)) return;
    const size_t pixels = (size_t)(setup.desc.picture_width * setup.desc.picture_height);
    r->votes = fenced_new(pixels * (size_t)m->config.classes * sizeof(float), 0, 0);
    d->votes = (float *)(void *)r->votes.bytes;
}

static void give_kept(run *r, const swin_model *m, swin_desc *d)
{
    const size_t size = swin_kept_size(m, d, NULL);
    if (!size) return;
    r->kept = fenced_new(size, 4, 0);
    d->kept = r->kept.bytes;
}

/* Makes a context in memory filled with `byte`, at an offset from a multiple of 64. 0: refused. */
static int make_run(run *r, const situation *s, const swin_model *m, swin_desc *d, int byte)
{
    swin_error e = {SWIN_OK, ""};
    memset(r, 0, sizeof *r);
    if (s->votes) give_votes(r, m, d);
    if (s->kept) give_kept(r, m, d);
    r->size = swin_workspace_size(m, d, &e);
    if (!r->size) {
        PROMISE(strlen(e.text) > 10, "a refusal says why");
        if (e.status != SWIN_SIZE && !d->memory_limit)
            broken("a desc that is valid by construction is taken", e.text);
        count(swin_status_text(e.status));
        return free_run(r), 0;
    }
    if (r->size > MEMORY) return count("too large to run"), free_run(r), 0;
    PROMISE(!d->memory_limit || r->size <= d->memory_limit, "a workspace keeps to its limit");
    PROMISE(swin_workspace_size(m, d, NULL) == r->size, "a workspace has one size");
    r->memory = fenced_new(r->size, (size_t)byte % 64, byte);
    PROMISE(swin_init(&r->c, m, d, r->memory.bytes, r->size - 1, &e) == SWIN_MEMORY,
            "a workspace one byte short is refused");
    if (swin_init(&r->c, m, d, r->memory.bytes, r->size, &e))
        broken("what can be measured can be made", e.text);
    return 1;
}

static void step_through(swin_context *c, const swin_image *in, int slice)
{
    float progress = 0;
    swin_status status = swin_begin(c, in);
    for (status = status ? status : SWIN_MORE; status == SWIN_MORE;) {
        status = swin_step(c, slice);
        PROMISE(swin_progress(c) >= progress && swin_progress(c) <= 1.0001f, "progress grows");
        progress = swin_progress(c);
    }
    if (status) broken("what can be made runs in slices", swin_error_text(c));
    PROMISE(progress == 1, "progress ends at 1");
}

/* --- results ---------------------------------------------------------------------------------- */

static void same_tensor(swin_tensor a, swin_tensor b, const char *what)
{
    PROMISE(!a.data == !b.data && a.channels == b.channels && a.height == b.height
                && a.width == b.width,
            "both runs give the same results");
    if (!a.data) return;
    for (int i = 0; i < a.channels; i++) {
        for (int y = 0; y < a.height; y++) {
            for (int x = 0; x < a.width; x++) {
                const float *p = a.data + (size_t)i * a.channel + (size_t)y * a.row
                                 + (size_t)x * a.pixel;
                const float *q = b.data + (size_t)i * b.channel + (size_t)y * b.row
                                 + (size_t)x * b.pixel;
                if (!isfinite(*p)) broken("finite weights give finite results", what);
                if (memcmp(p, q, sizeof *p)) broken("both runs give the same bits", what);
            }
        }
    }
}

static void same_map(swin_map a, swin_map b, const char *what)
{
    PROMISE(!a.data == !b.data && a.width == b.width && a.height == b.height
                && a.bytes == b.bytes,
            "both runs give the same maps");
    if (a.data && memcmp(a.data, b.data, (size_t)(a.width * a.height * a.bytes)))
        broken("both runs give the same bits", what);
}

static void classes_hold(const situation *s, swin_map map)
{
    for (int i = 0; map.data && i < map.width * map.height; i++) {
        const unsigned char *at = (const unsigned char *)map.data + i * map.bytes;
        const unsigned id = at[0] + (map.bytes > 1 ? at[1] * 256u : 0);
        PROMISE(id < (unsigned)s->g.classes
                    || (s->d.threshold > 0 && id == (map.bytes > 1 ? 65535u : 255u)),
                "a pixel's id is a class, or says that it is in doubt");
    }
}

static void same_segments(const run *a, const run *b)
{
    int count, other;
    const swin_region *p = swin_segments(a->c, &count), *q = swin_segments(b->c, &other);
    same_map(swin_segment_map(a->c), swin_segment_map(b->c), "ids of segments");
    if (count != other || (count && memcmp(p, q, (size_t)count * sizeof *p)))
        broken("both runs give the same bits", "segments");
}

static void compare(const situation *s, const run *a, const run *b)
{
    same_segments(a, b);
    same_map(swin_classes(a->c), swin_classes(b->c), "classes");
    same_map(swin_confidence(a->c), swin_confidence(b->c), "confidence");
    same_tensor(swin_logits(a->c), swin_logits(b->c), "logits");
    same_tensor(swin_scores(a->c), swin_scores(b->c), "scores");
    same_tensor(swin_attention(a->c), swin_attention(b->c), "attention");
    for (int i = 0; i <= s->g.stages; i++)
        same_tensor(swin_feature(a->c, i), swin_feature(b->c, i), "features");
    if (s->votes && memcmp(a->votes.bytes, b->votes.bytes, a->votes.size))
        broken("both runs give the same bits", "votes");
    if (s->kept && memcmp(a->kept.bytes, b->kept.bytes, a->kept.size))
        broken("both runs give the same bits", "kept logits");
    classes_hold(s, swin_classes(a->c));
}

/* --- one input -------------------------------------------------------------------------------- */

/* The average of what two runs kept: in the scalar pass, and in slices in another. */
static void run_average(situation s, const swin_model *m, const run *a, const run *b)
{
    const void *kept[] = {a->kept.bytes, b->kept.bytes};
    const float threshold = s.d.threshold;
    run first, other;
    s.votes = s.kept = 0;
    memset(&s.d, 0, sizeof s.d);
    s.d.average = kept;
    s.d.average_count = 2;
    s.d.outputs = SWIN_OUT_CLASSES | SWIN_OUT_CONFIDENCE_F32;
    s.d.threshold = threshold;
    s.d.cpu = SWIN_CPU_SCALAR;
    if (!make_run(&first, &s, m, &s.d, 0xff)) broken("what was kept can be averaged", "");
    if (swin_run(first.c, NULL)) broken("an average runs", swin_error_text(first.c));
    s.d.cpu = s.cpu;
    s.d.tasks = s.tasks;
    s.d.parallel_for = backwards;
    if (!make_run(&other, &s, m, &s.d, 0x3f)) broken("what was kept can be averaged", "");
    step_through(other.c, NULL, s.slice);
    compare(&s, &first, &other);
    free_run(&first);
    free_run(&other);
}

/* The other pass, in slices, backwards, twice in one context: against the first. */
static void run_otherwise(const situation *s, const swin_model *m, const run *first,
                          const swin_image *in)
{
    swin_desc d = s->d;
    run other;
    d.tasks = s->tasks;
    d.parallel_for = backwards;
    d.cpu = s->cpu;
    if (s->tight) d.memory_limit = first->size;
    if (!make_run(&other, s, m, &d, 0x3f)) {
        PROMISE(!s->tight, "what fits with one task fits with more");
        return;
    }
    step_through(other.c, in, s->slice);
    compare(s, first, &other);
    if (s->votes) memset(other.votes.bytes, 0, other.votes.size);
    if (swin_run(other.c, in)) broken("a context runs again", swin_error_text(other.c));
    compare(s, first, &other);
    if (s->kept && first->size < MEMORY / 4) run_average(*s, m, first, &other);
    free_run(&other);
}

static void run_model(const situation *s, const swin_model *m)
{
    swin_desc d = s->d;
    swin_image in;
    run first;
    d.cpu = SWIN_CPU_SCALAR;
    if (!make_run(&first, s, m, &d, 0xff)) return;
    if (first.c->total > LARGEST * (double)BUDGET) {
        count("too slow to run");
    } else {
        unsigned char *pixels = make_picture(s, first.c, &in);
        if (swin_run(first.c, &in)) broken("what can be made runs", swin_error_text(first.c));
        run_otherwise(s, m, &first, &in);
        count(s->numbers ? "ran twice with other numbers than f32" : "ran twice");
        free(pixels);
    }
    free_run(&first);
}

static void try_situation(const situation *s)
{
    swin_model m;
    swin_error e = {SWIN_OK, ""};
    at_hand = *s;
    describe = print_situation;
    dice_state = s->seed;
    const blob b = make_blob_of(&at_hand.g, s->numbers);
    if (swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e))
        broken("a config that is valid by construction is taken", e.text);
    run_model(s, &m);
    free(b.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static size_t kept;
    for (; kept < sizeof regressions / sizeof *regressions; kept++)
        try_situation(&regressions[kept]);
    draw_from(data, size);
    const situation s = draw_situation();
    try_situation(&s);
    return 0;
}
