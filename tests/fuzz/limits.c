/* tests/fuzz/limits.c - sizes up to every limit: no product of counts overflows

   clang -g -O1 -fsanitize=fuzzer,address,undefined,float-cast-overflow tests/fuzz/limits.c -lm

   Models and pictures of terabytes, in address space that is reserved and never filled: opened,
   measured, planned, and of each step whose units are short the first, the last and one unit are
   run. Needs 64-bit Linux. */
#define _DEFAULT_SOURCE
#define SWIN_NO_SIMD
#define SWIN_IMPLEMENTATION
#include "../../swin.h"
#include "../model.h"
#include "fuzz.h"
#include "configs.h"
#include <sys/mman.h>

static const size_t ADDRESSES = (size_t)1 << 41;
static const double UNIT = 2e6;     /* multiply-adds of a unit that is run, at most */
static const size_t SCRATCH = 1 << 26;       /* floats of scratch, which it may fill */
enum { PLAN_SECONDS = 20, RUN_SECONDS = 1 };    /* of the largest model, sanitized */

static swin_config at_hand;
static swin_desc asked;

static void print_case(void)
{
    print_config(&at_hand);
    fprintf(stderr, "\ndesc: input %d x %d, picture %d x %d, crop %d x %d, stride %d x %d, "
                    "outputs %u, flags %u, tasks %d, limit %zu\n",
            asked.width, asked.height, asked.picture_width, asked.picture_height,
            asked.crop_width, asked.crop_height, asked.stride_width, asked.stride_height,
            asked.outputs, asked.flags, asked.tasks, asked.memory_limit);
}

/* Zero bytes that take no memory until they are written. */
static void *reserve(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) exit(2);
    return p;
}

/* --- drawing ---------------------------------------------------------------------------------- */

static int draw_extreme(int multiple)
{
    static const int sides[] = {1, 2, 64, 1000, 4095, 4096, 8191, 8192, 16383, 16384, 16384, 16384};
    const int side = rarely(3) ? (int)between(1, 16384) : ONE_OF(sides);
    return side < multiple ? multiple : side / multiple * multiple;
}

/* Two sides of at most SWIN_MAX_PIXELS pixels. */
static void draw_rectangle(int multiple, int *w, int *h)
{
    *w = draw_extreme(multiple);
    *h = draw_extreme(multiple);
    while ((int64_t)*w * *h > SWIN_MAX_PIXELS) *h = *h / 2 < multiple ? multiple : *h / 2;
    *h -= *h % multiple;
}

static swin_config draw_large(void)
{
    swin_config g = draw_model(rarely(3) ? SMALL : LARGE);
    if (g.shift_rule == SWIN_SHIFT_SQUARE) g.shift_rule = SWIN_SHIFT_STORED;
    if (!g.body && rarely(2)) g.patch = 1;
    g.picture.scale[0] = g.picture.scale[1] = g.picture.scale[2] = 1;
    g.position.rule = 0;
    g.picture.resize_filter = any(SWIN_FILTER_COUNT);
    if (g.body != SWIN_BODY_BIREFNET && g.body != SWIN_BODY_MIT)
        g.input.rule = any(SWIN_INPUT_RULE_COUNT);
    return g;
}

static swin_desc draw_desc(const swin_config *g)
{
    const int dense = is_dense(g), multiple = g->body == SWIN_BODY_BIREFNET ? 32 : g->patch;
    swin_desc d;
    memset(&d, 0, sizeof d);
    draw_rectangle(multiple, &d.width, &d.height);
    if (rarely(2)) draw_rectangle(1, &d.picture_width, &d.picture_height);
    d.tasks = rarely(2) ? INT_MAX : (int)between(1, 64);
    d.parallel_for = (swin_parallel_for)(uintptr_t)64;      /* for its tasks; never called */
    if (rarely(4)) d.memory_limit = (size_t)1 << between(20, 40);
    if (rarely(4)) d.flags = SWIN_RUN_DIRECT;
    if (dense && rarely(2))
        d.outputs = SWIN_OUT_CLASSES | SWIN_OUT_LOGITS | SWIN_OUT_CONFIDENCE_F32;
    if (dense && rarely(3)) {
        draw_rectangle(multiple, &d.crop_width, &d.crop_height);
        if (rarely(2)) d.stride_width = d.stride_height = 1;
    } else if (rarely(3)) {
        d.outputs |= SWIN_OUT_FEATURES;
    }
    if (g->tokens && g->stage[0].depth > 1 && !d.crop_width && rarely(2))
        d.outputs |= SWIN_OUT_ATTENTION;
    if (g->segments.rule && !d.crop_width) d.outputs |= SWIN_OUT_SEGMENTS;
    return d;
}

/* --- trying ----------------------------------------------------------------------------------- */

static void run_unit(const swin_context *c, const swin__step *s, int unit)
{
    s->work(c, s, unit, s->scratch);
}

/* Steps whose units grow with the map, the tokens or the crops, and count no multiply-adds. */
static int is_uncounted(const swin__step *s)
{
    return !strcmp(s->name, "pool") || !strcmp(s->name, "look") || !strcmp(s->name, "slide mean");
}

/* Units of every step at the ends of its memory, in the first crop and the last. */
static void run_ends(swin_context *c)
{
    const clock_t end = clock() + RUN_SECONDS * CLOCKS_PER_SEC;
    const double crops = (double)c->crops.rows * c->crops.cols;
    const double size = (double)c->crops.w * c->crops.h + 16 * crops;
    for (int at = 0; at < c->step_count && clock() < end; at++) {
        const swin__step *s = &c->steps[at];
        const double madds = s->madds / s->units;
        PROMISE(s->units >= 1 && s->madds >= 0 && isfinite(s->madds), "a step has units of work");
        if (madds > UNIT || (size > 256 && is_uncounted(s))) continue;
        if (s->task_scratch > SCRATCH) continue;
        if (c->step_count > 100 && !rarely(16)) continue;
        c->crop = 0;
        run_unit(c, s, 0);
        run_unit(c, s, (int)draw((uint32_t)s->units));
        c->crop = c->crops.rows * c->crops.cols - 1;
        run_unit(c, s, s->units - 1);
        count("steps run at their ends");
    }
}

static void set_picture(swin_context *c, const void *pixels)
{
    static const int bytes[] = {3, 3, 4, 4, 1, 4};
    c->image.format = (swin_format)draw(SWIN_PLANES + 1);
    const int planes = c->image.format == SWIN_PLANES;
    c->image.data = pixels;
    c->image.width = planes ? c->desc.width : c->desc.picture_width;
    c->image.height = planes ? c->desc.height : c->desc.picture_height;
    c->image.stride = (ptrdiff_t)bytes[c->image.format] * c->image.width;
    c->image.plane_stride = c->image.stride * c->image.height;
}

static void plan(const swin_model *m, const swin_desc *d)
{
    const clock_t end = clock() + PLAN_SECONDS * CLOCKS_PER_SEC;
    swin_error e = {SWIN_OK, ""};
    const size_t size = swin_workspace_size(m, d, &e), picture = (size_t)SWIN_MAX_PIXELS * 12;
    swin_context *c;
    if (!size) {
        PROMISE(strlen(e.text) > 10, "a refusal says why");
        if (e.status == SWIN_ARGUMENT || e.status == SWIN_DAMAGED)
            broken("a desc that is valid by construction is taken", e.text);
        count(swin_status_text(e.status));
        return;
    }
    PROMISE(!d->memory_limit || size <= d->memory_limit, "a workspace keeps to its limit");
    if (size > ADDRESSES) {
        count("measured only");
        return;
    }
    void *memory = reserve(size), *pixels = reserve(picture);
    if (swin_init(&c, m, d, memory, size, &e)) broken("what can be measured can be made", e.text);
    PROMISE(clock() < end, "plans take no time");
    set_picture(c, pixels);
    run_ends(c);
    count("planned");
    munmap(memory, size);
    munmap(pixels, picture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    swin_model m;
    swin_error e = {SWIN_OK, ""};
    size_t text;
    describe = print_case;
    draw_from(data, size);
    at_hand = draw_large();
    asked = draw_desc(&at_hand);
    maker k = new_maker(&at_hand);
    k.hollow = 1;
    make_tensors(&k);
    if (k.used < ADDRESSES) {
        char *strings = new_strings(&at_hand, &text);
        blob b = {NULL, data_offset(&k, text) + k.used};
        b.bytes = (unsigned char *)reserve(b.size);
        write_front(&k, strings, text, b);
        if (swin_open(&m, b.bytes, b.size, 0, &e))
            broken("a config that is valid by construction is taken", e.text);
        plan(&m, &asked);
        munmap(b.bytes, b.size);
        free(strings);
    } else {
        count("larger than the address space");
    }
    free_maker(&k);
    return 0;
}
