/* tests/fuzz/desc.c - descs, pictures and arguments at their extremes: an error or a right answer

   clang -g -O1 -fsanitize=fuzzer,address,undefined,float-cast-overflow tests/fuzz/desc.c -lm

   Every field of a desc and a picture of a valid small model is one that fits or, now and then, any
   number near a limit. What can be made runs, and gives what the same pixels give in their plainest
   form. A picture whose stride leads out of its memory is only begun. */
#define SWIN_NO_SIMD
#define SWIN_IMPLEMENTATION
#include "../../swin.h"
#include "../model.h"
#include "fuzz.h"

#include <float.h>

enum { SIDE = 24 };             /* of pictures that fit, at most */
enum { MEMORY = 1 << 22 };      /* bytes of a workspace that is filled */

static swin_desc asked;
static swin_image shown;
static int which;

static void print_case(void)
{
    const swin_desc *d = &asked;
    fprintf(stderr, "model %s\ndesc: input %d x %d, picture %d x %d, outputs %u, tasks %d, cpu %d, "
                    "flags %u, limit %zu, crop %d x %d, stride %d x %d, threshold %g, "
                    "kept %d, votes %d, attend %d, %d, %d, averages %d\n",
            model_names[which], d->width, d->height, d->picture_width, d->picture_height,
            d->outputs, d->tasks, (int)d->cpu, d->flags, d->memory_limit, d->crop_width,
            d->crop_height, d->stride_width, d->stride_height, d->threshold,
            d->kept != NULL, d->votes != NULL,
            d->attend_x, d->attend_y, d->attend_stage, d->average_count);
    fprintf(stderr, "picture: %d x %d, stride %td, format %d, plane stride %td\n", shown.width,
            shown.height, shown.stride, (int)shown.format, shown.plane_stride);
}

/* --- drawing ---------------------------------------------------------------------------------- */

/* Any number, most of them near a limit of something. */
static int extreme(void)
{
    static const int numbers[] = {INT_MIN, INT_MIN + 1, -65536, -16385, -16384, -16383, -257, -256,
                                  -17, -2, -1, 0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 255, 256, 257,
                                  4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 1 << 24,
                                  1 << 26, 1 << 30, INT_MAX / 2, INT_MAX / 3, INT_MAX / 4,
                                  INT_MAX - 63, INT_MAX - 1, INT_MAX};
    return rarely(4) ? (int)(draw_word() - (uint32_t)INT_MAX) : ONE_OF(numbers);
}

/* One that fits, 0 .. high, but for once in a while. */
static int mostly(int high)
{
    return rarely(48) ? extreme() : (int)draw((uint32_t)high + 1);
}

static float extreme_float(void)
{
    static const float numbers[] = {0, -0.0f, 1, 0.5f, -1, 2, 1e-40f, FLT_MIN, FLT_MAX, -FLT_MAX,
                                    1.0000001f, 0.99999994f, INFINITY, -INFINITY, NAN};
    return ONE_OF(numbers);
}

static size_t draw_limit(void)
{
    static const size_t limits[] = {1, 63, 64, 1 << 16, 1 << 18, SIZE_MAX / 2, SIZE_MAX - 63,
                                    SIZE_MAX};
    return rarely(4) ? ONE_OF(limits) : 0;
}

static void backwards(void *user, swin_task task, void *arg, int count)
{
    (void)user;
    while (count--) task(arg, count);
}

static swin_desc draw_desc(const swin_config *g)
{
    const int dense = is_dense(g), fit = !rarely(8);
    const unsigned fitting = dense ? 1 | 2 | 4 | 16 | 32 : g->head.kind ? 4 | 8 : 4;
    swin_desc d;
    memset(&d, 0, sizeof d);
    if (rarely(2)) d.width = mostly(SIDE), d.height = mostly(SIDE);
    if (!d.width || rarely(2)) d.picture_width = mostly(SIDE), d.picture_height = mostly(SIDE);
    d.outputs = fit ? draw(128) & fitting : (unsigned)extreme();
    d.tasks = mostly(20);
    d.parallel_for = rarely(2) ? backwards : NULL;
    d.cpu = (swin_cpu)(rarely(8) ? extreme() : (int)draw(2));
    d.flags = rarely(3) ? (unsigned)mostly(7) : 0;
    d.memory_limit = draw_limit();
    if (rarely(4)) {
        d.crop_width = mostly(SIDE);
        d.crop_height = mostly(SIDE);
        d.stride_width = mostly(SIDE);
        d.stride_height = mostly(SIDE);
    }
    if (rarely(4)) d.threshold = extreme_float();
    if (g->tokens && rarely(4)) d.outputs |= SWIN_OUT_ATTENTION;
    if (g->segments.rule && rarely(2)) d.outputs |= SWIN_OUT_SEGMENTS;
    if (rarely(32)) d.average_count = extreme();
    d.attend_x = mostly(3);
    d.attend_y = mostly(3);
    d.attend_stage = mostly(2);
    return d;
}

/* --- pictures --------------------------------------------------------------------------------- */

enum { FORMATS = SWIN_PLANES + 1 };
static const int pixel_bytes[FORMATS] = {3, 3, 4, 4, 1, 4};

/* Memory a picture lies in, and the same pixels with nothing between them. */
typedef struct picture {
    unsigned char *block, *plain;
    size_t size;
    swin_image in;
} picture;

static size_t row_bytes(const swin_image *in)
{
    return (size_t)in->width * (size_t)pixel_bytes[in->format];
}

static float draw_sample(void)
{
    return rarely(32) ? extreme_float() : (float)draw(1000) / 300 - 1.5f;
}

/* A picture of the size that a context wants, rows up or down with room between them. */
static picture make_picture(const swin_context *c)
{
    picture p;
    memset(&p, 0, sizeof p);
    p.in.format = (swin_format)draw(FORMATS);
    const int planes = p.in.format == SWIN_PLANES, upward = rarely(3) != 0;
    p.in.width = planes ? c->desc.width : c->desc.picture_width;
    p.in.height = planes ? c->desc.height : c->desc.picture_height;
    const size_t h = (size_t)p.in.height, row = row_bytes(&p.in), gap = rarely(2) ? draw(9) : 0;
    const size_t stride = row + gap, count = planes ? 3 : 1;
    const size_t apart = planes ? draw(5) : 0, plane = stride * h + apart;
    p.size = (count - 1) * plane + (h - 1) * stride + row;
    p.block = (unsigned char *)need(p.size);
    p.plain = (unsigned char *)need(count * h * row);
    for (size_t i = 0; i < p.size; i++) p.block[i] = (unsigned char)(i * 77 + i / 256);
    for (size_t k = 0; k < count; k++) {
        for (size_t y = 0; y < h; y++) {
            unsigned char *at = p.block + k * plane + (upward ? h - 1 - y : y) * stride;
            for (size_t x = 0; planes && x < row; x += sizeof(float)) {
                const float value = draw_sample();
                memcpy(at + x, &value, sizeof value);
            }
            memcpy(p.plain + (k * h + y) * row, at, row);
        }
    }
    p.in.data = p.block + (upward ? (h - 1) * stride : 0);
    p.in.stride = upward ? -(ptrdiff_t)stride : (ptrdiff_t)stride;
    p.in.plane_stride = apart ? (ptrdiff_t)plane : 0;
    return p;
}

/* One field at an extreme. */
static void damage(swin_image *in)
{
    static const ptrdiff_t strides[] = {PTRDIFF_MIN, PTRDIFF_MIN + 1, -1, 0, 1, 3, PTRDIFF_MAX / 2,
                                        PTRDIFF_MAX / 3, PTRDIFF_MAX - 1, PTRDIFF_MAX};
    const ptrdiff_t stride = rarely(2) ? ONE_OF(strides) : extreme();
    switch (draw(6)) {
    case 0: in->width = extreme(); break;
    case 1: in->height = extreme(); break;
    case 2: in->format = (swin_format)extreme(); break;
    case 3: in->plane_stride = stride; break;
    case 4: in->data = NULL; break;
    default: in->stride = stride; break;
    }
}

/* Does every row that the fields of a picture describe lie in its memory? */
static int lies_in_memory(const picture *p)
{
    const swin_image *in = &p->in;
    if ((unsigned)in->format >= FORMATS || !in->data) return 0;
    const double row = (double)row_bytes(in), start = (double)((const unsigned char *)in->data
                                                              - p->block);
    const double stride = in->stride ? (double)in->stride : row, last = stride * (in->height - 1);
    const double plane = in->plane_stride ? (double)in->plane_stride
                                          : fabs(stride) * in->height;
    const double end = in->format == SWIN_PLANES ? 2 * plane : 0;
    const double low = start + (last < 0 ? last : 0) + (end < 0 ? end : 0);
    const double high = start + (last > 0 ? last : 0) + (end > 0 ? end : 0) + row;
    return low >= 0 && high <= (double)p->size;
}

/* --- running ---------------------------------------------------------------------------------- */

/* Results as two sums: of the class map, and of logits, scores and features. */
typedef struct sums { uint32_t classes[2], floats[2]; } sums;

static void sum_floats(swin_tensor t, uint32_t to[2])
{
    for (int i = 0; t.data && i < t.channels; i++) {
        for (int pixel = 0; pixel < t.height * t.width; pixel++) {
            const size_t y = (size_t)(pixel / t.width), x = (size_t)(pixel % t.width);
            uint32_t word;
            memcpy(&word, t.data + (size_t)i * t.channel + y * t.row + x * t.pixel, 4);
            to[0] += word;
            to[1] += to[0];
        }
    }
}

static sums results(const swin_context *c)
{
    const swin_map map = swin_classes(c);
    sums s;
    memset(&s, 0, sizeof s);
    if (map.data) swin_checksum(map.data, (size_t)(map.width * map.height * map.bytes), s.classes);
    sum_floats(swin_logits(c), s.floats);
    sum_floats(swin_scores(c), s.floats);
    for (int i = -1; i < 6; i++) sum_floats(swin_feature(c, i), s.floats);
    swin_feature(c, extreme());
    return s;
}

static void look_inside(swin_context *c)
{
    swin_step_info info;
    PROMISE(swin_plan_step(c, 0, &info) && strlen(info.name) > 1 && info.units > 0,
            "a plan has steps");
    swin_plan_step(c, extreme(), &info);
    swin_progress(c);
    int count;
    swin_attention(c);
    swin_confidence(c);
    swin_segment_map(c);
    swin_segments(c, &count);
    swin_error_text(c);
}

/* Runs to the end in steps of any number of pieces. */
static void finish(swin_context *c)
{
    swin_status status = SWIN_MORE;
    for (int i = 0; status == SWIN_MORE; i++) {
        const int tasks = i < 8 ? extreme() : 1 << 20;
        status = swin_step(c, tasks);
        if (tasks < 1) {
            PROMISE(status == SWIN_ARGUMENT, "no step of less than a piece");
            status = SWIN_MORE;
        }
    }
    if (status) broken("what begins ends", swin_error_text(c));
}

static void run_pictures(swin_context *c)
{
    picture p = make_picture(c);
    swin_image plain = p.in;
    const uint32_t damaged = rarely(2);
    sums first;
    plain.data = p.plain;
    plain.stride = plain.plane_stride = 0;
    shown = plain;
    if (swin_run(c, &plain)) broken("a plain picture runs", swin_error_text(c));
    first = results(c);
    if (damaged) damage(&p.in);
    shown = p.in;
    if (swin_begin(c, &p.in)) {
        PROMISE(strlen(swin_error_text(c)) > 10, "a refusal says why");
        PROMISE(swin_step(c, 1) == SWIN_ARGUMENT, "nothing steps that did not begin");
        count("pictures refused");
    } else if (lies_in_memory(&p)) {
        finish(c);
        const sums second = results(c);
        PROMISE(damaged || !memcmp(&first, &second, sizeof first),
                "the same pixels give the same results");
        count("pictures run");
    } else {
        swin_cancel(c);
        PROMISE(swin_step(c, 1) == SWIN_CANCELLED, "what is cancelled ends");
        count("pictures only begun");
    }
    free(p.block);
    free(p.plain);
}

static void *give_kept(const swin_model *m, swin_desc *d)
{
    const size_t size = rarely(4) ? swin_kept_size(m, d, NULL) : 0;
    d->kept = size && size < MEMORY ? need(size) : NULL;
    return d->kept;
}

static float *give_votes(const swin_model *m, swin_desc *d)
{
    swin__setup setup;
    if (!m->config.classes || !rarely(4) || swin__resolve(m, d, &setup, NULL)) return NULL;
    const size_t pixels = (size_t)setup.desc.picture_width * (size_t)setup.desc.picture_height;
    if (pixels > SIDE * SIDE) return NULL;
    d->votes = (float *)calloc(pixels * (size_t)m->config.classes, sizeof(float));
    return d->votes;
}

static void try_desc(const swin_model *m)
{
    swin_error e = {SWIN_OK, ""};
    swin_context *c;
    swin_desc *d = &asked;
    *d = draw_desc(&m->config);
    void *kept = give_kept(m, d);
    float *votes = give_votes(m, d);
    const size_t size = swin_workspace_size(m, d, &e);
    PROMISE(size == swin_workspace_size(m, d, NULL), "a workspace has one size");
    if (!size) {
        PROMISE(e.status != SWIN_OK && strlen(e.text) > 10, "a refusal says why");
        PROMISE(swin_init(&c, m, d, &e, SIZE_MAX, NULL) == e.status && !c,
                "what cannot be measured cannot be made");
        count("descs refused");
    } else if (size > MEMORY) {
        PROMISE(swin_init(&c, m, d, &e, MEMORY, NULL) == SWIN_MEMORY && !c,
                "too little memory is refused");
        count("descs too large");
    } else {
        PROMISE(swin_init(&c, m, d, NULL, size, NULL) == SWIN_MEMORY, "no memory is refused");
        const fenced memory = fenced_new(size, draw(64), 0xff);
        if (swin_init(&c, m, d, memory.bytes, size, &e) == SWIN_OK) {
            look_inside(c);
            run_pictures(c);
            look_inside(c);
        } else {
            PROMISE(e.status == SWIN_UNSUPPORTED, "only another machine's pass is refused so late");
        }
        fenced_free(memory);
    }
    free(kept);
    free(votes);
}

/* --- functions without a context -------------------------------------------------------------- */

static void try_decide(void)
{
    enum { PIXELS = 3, CLASSES = 300 };
    float votes[PIXELS * CLASSES];
    uint16_t ids[PIXELS];
    for (int i = 0; i < PIXELS * CLASSES; i++) votes[i] = extreme_float();
    swin_decide(votes, PIXELS, 1 + (int)draw(CLASSES), extreme(), extreme_float(), ids);
}

static void try_functions(const swin_model *m)
{
    unsigned char one[3];
    int w = 0, h = 0;
    swin_error e = {SWIN_OK, ""};
    const int k = extreme();
    PROMISE(strlen(swin_status_text((swin_status)k)) > 3, "every status has a sentence");
    PROMISE((k >= 0 && k < m->config.classes) == (swin_class_name(m, k) != NULL),
            "every class has a name");
    swin_class_color(m, k);
    swin_cpu_available((swin_cpu)k);
    swin_reference_picture(one, 1, 1, draw_word());
    static const double scales[] = {0, 1, 0.5, 1.75, 1e-30, 16384, 1e30, -1, NAN, INFINITY};
    const int picture_w = mostly(SIDE), picture_h = mostly(SIDE);
    const swin_resizing how = {extreme(), ONE_OF(scales)};
    if (swin_input_size(m, picture_w, picture_h, rarely(4) ? NULL : &how, &w, &h, &e) == SWIN_OK)
        PROMISE(w >= 1 && h >= 1 && w <= SWIN_MAX_SIDE && h <= SWIN_MAX_SIDE,
                "an input has a size");
    else
        PROMISE((e.status == SWIN_SIZE || e.status == SWIN_ARGUMENT) && strlen(e.text) > 10,
                "a refusal says why");
    try_decide();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static blob whole[MODELS];
    swin_model m;
    describe = print_case;
    draw_from(data, size);
    which = (int)draw(MODELS);
    if (!whole[which].size) whole[which] = model_blob(which);
    if (swin_open(&m, whole[which].bytes, whole[which].size, 0, NULL))
        broken("a valid model opens", "");
    try_desc(&m);
    try_functions(&m);
    return 0;
}
