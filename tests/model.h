/* model.h - a blob for any config, with random weights: what tests of the C side run

   Written from the description of the format in swin.h (>>blob), not from its reader, so that each
   checks the other. Include it after the implementation or the interface of swin.h. */
#ifndef MODEL_H
#define MODEL_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct blob { unsigned char *bytes; size_t size; } blob;

enum { HEADER = 128, ENTRY = 128 };
enum { PLAIN_LAYOUT, ROWS_LAYOUT, PANELS_LAYOUT, QUADS_LAYOUT };

static int up16(int n) { return (n + 15) / 16 * 16; }
static size_t up64(size_t n) { return (n + 63) / 64 * 64; }

static void *need(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p) exit(2);
    return p;
}

static void put32(unsigned char *to, uint32_t value) { memcpy(to, &value, sizeof value); }
static void put64(unsigned char *to, uint64_t value) { memcpy(to, &value, sizeof value); }

static uint32_t dice_state = 1;

static uint32_t dice(uint32_t sides)
{
    dice_state ^= dice_state << 13, dice_state ^= dice_state >> 17, dice_state ^= dice_state << 5;
    return dice_state % sides;
}

/* -1 .. 1 */
static float uniform(void) { return (float)dice(1u << 24) / (float)(1u << 23) - 1.0f; }

/* middle +- spread; the product is kept from compilers that would fuse it with the sum */
static float around(float middle, float spread)
{
    const volatile float part = spread * uniform();
    return middle + part;
}

/* --- tensors ---------------------------------------------------------------------------------- */

typedef struct maker {
    const swin_config *g;
    unsigned char *directory;
    size_t count, entries;  /* in the directory, and how many it has room for */
    unsigned char *data;
    size_t used, room;
    int hollow;             /* no data is made: for models too large to fill */
    char prefix[32];
    int live, stride;       /* of each `stride` outputs the first `live` are not zero; 0: all */
    int numbers;            /* what tensors hold that need not be f32 */
} maker;

/* FLOATS: f32. ROUNDED: f32 that halves could hold. HALVES: the same as f16. WIDENED: f32 that s8
   could hold, and halves in tables. EIGHT: the same as s8 and f16. MIXED + n: each f32, f16 or s8,
   other ones for another n. */
enum { FLOATS, ROUNDED, HALVES, WIDENED, EIGHT, MIXED, NUMBERS };
static const char *const number_names[NUMBERS] = {"f32", "rounded", "f16", "widened", "s8",
                                                  "mixed"};
enum { F32_NUMBERS, F16_NUMBERS, S8_NUMBERS = 3 };      /* as entries say it */

/* `used` and `more` elements of `size` bytes fit into what this returns; *room says how many do. */
static void *grown(void *old, size_t used, size_t more, size_t *room, size_t size)
{
    if (used + more <= *room) return old;
    *room = 2 * (used + more);
    old = realloc(old, *room * size);
    if (!old) exit(2);
    return old;
}

/* The distance from x to the nearest halves beside it, in whose middle it may lie. */
static double half_step(float x)
{
    int exponent;
    frexpf(x, &exponent);
    return ldexp(1, x == 0 || exponent < -13 ? -24 : exponent - 11);
}

/* The half next to x, which is no more than the largest, as the float that it is. */
static float rounded_to_half(float x)
{
    const double step = half_step(x);
    return (float)(nearbyint(x / step) * step);
}

/* The bits of a half whose value is x. */
static uint16_t bits_of_half(float x)
{
    const double step = half_step(x), whole = fabs((double)x) / step;
    const int place = ilogb(step) + 24; /* its exponent, less one; denormals share that of 1 */
    return (uint16_t)((x < 0 ? 0x8000 : 0) + place * 1024 + (int)whole);
}

/* The type of the next tensor, if it may be f16, and if s8. */
static int next_type(const maker *k, int any_floats, int eight)
{
    static const int mixed[3] = {F32_NUMBERS, F16_NUMBERS, S8_NUMBERS};
    const uint32_t place = (uint32_t)k->count * 0x9e3779b1u + (uint32_t)k->numbers * 0x85ebca6bu;
    int type = F32_NUMBERS;
    if (k->numbers == HALVES) type = F16_NUMBERS;
    if (k->numbers == EIGHT) type = S8_NUMBERS;
    if (k->numbers >= MIXED) type = mixed[((place ^ place >> 13) * 0xc2b2ae35u >> 8) % 3];
    if (type == S8_NUMBERS && !eight) type = F16_NUMBERS;
    return any_floats ? type : F32_NUMBERS;
}

/* Turns n floats that halves can hold into these, in place. */
static void halve(unsigned char *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, numbers + 4 * i, sizeof x);
        const uint16_t half = bits_of_half(x);
        memcpy(numbers + 2 * i, &half, sizeof half);
    }
    memset(numbers + 2 * n, 0, 2 * n);
}

static void fill(const maker *k, float *numbers, int layout, int s0, int columns, int ld,
                 float middle, float spread)
{
    for (int i = 0; i < s0; i++) {
        for (int j = 0; j < columns; j++) {
            const int output = layout == PANELS_LAYOUT ? i : j;
            const size_t panel = (size_t)(i / 16) * (size_t)columns + (size_t)j;
            const size_t at = layout == PANELS_LAYOUT ? panel * 16 + (size_t)i % 16
                                                      : (size_t)i * (size_t)ld + (size_t)j;
            if (!k->stride || output % k->stride < k->live)
                numbers[at] = around(middle, spread);
        }
    }
}

/* Adds the entry of a tensor at the end of the data; returns it. */
static unsigned char *add_entry(maker *k, const char *name, int type, int layout, int s0, int s1,
                                int s2, size_t bytes)
{
    unsigned char *entry;
    k->directory = (unsigned char *)grown(k->directory, k->count, 1, &k->entries, ENTRY);
    entry = k->directory + k->count++ * ENTRY;
    memset(entry, 0, ENTRY);
    snprintf((char *)entry, 64, "%s%s", k->prefix, name);
    put32(entry + 64, (uint32_t)type);
    put32(entry + 68, (uint32_t)layout);
    put32(entry + 72, (uint32_t)s0);
    put32(entry + 76, (uint32_t)s1);
    put32(entry + 80, (uint32_t)s2);
    put32(entry + 84, 1);
    put64(entry + 88, k->used);     /* within the data: moved when all parts are known */
    put64(entry + 96, bytes);
    return entry;
}

/* Adds a tensor of middle +- spread; any_floats: it need not be f32. */
static void add_tensor(maker *k, const char *name, int any_floats, int layout, int s0, int s1,
                       int s2, float middle, float spread)
{
    const int columns = layout == PLAIN_LAYOUT ? s1 * s2 : s1;
    const int ld = layout == ROWS_LAYOUT ? up16(s1) : columns;
    const int rows = layout == PANELS_LAYOUT ? up16(s0) : s0;
    const size_t count = (size_t)rows * (size_t)ld, room = up64(count * sizeof(float));
    const int type = next_type(k, any_floats, 0);
    const size_t bytes = type == F16_NUMBERS ? 2 * count : 4 * count;
    add_entry(k, name, type, layout, s0, s1, s2, bytes);
    if (!k->hollow) {
        float *numbers;
        k->data = (unsigned char *)grown(k->data, k->used, room, &k->room, 1);
        memset(k->data + k->used, 0, room);
        numbers = (float *)(void *)(k->data + k->used);
        fill(k, numbers, layout, s0, columns, ld, middle, spread);
        if (type == F16_NUMBERS ||
            (any_floats && (k->numbers == ROUNDED || k->numbers == WIDENED)))
            for (size_t i = 0; i < count; i++) numbers[i] = rounded_to_half(numbers[i]);
        if (type == F16_NUMBERS) halve(k->data + k->used, count);
    }
    k->used += up64(bytes);
}

/* Adds a tensor of f32, middle +- spread. */
static void tensor(maker *k, const char *name, int layout, int s0, int s1, int s2, float middle,
                   float spread)
{
    add_tensor(k, name, 0, layout, s0, s1, s2, middle, spread);
}

static void vector(maker *k, const char *layer, const char *name, int n, float middle,
                   float spread)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", layer, name);
    tensor(k, full, ROWS_LAYOUT, 1, n, 1, middle, spread);
}

static void affine(maker *k, const char *name, int n)
{
    vector(k, name, ".weight", n, 1, 0.5f);
    vector(k, name, ".bias", n, 0, 0.5f);
}

/* Adds `bytes` zeros to the data; returns them. */
static unsigned char *add_zeros(maker *k, size_t bytes)
{
    const size_t room = up64(bytes);
    k->data = (unsigned char *)grown(k->data, k->used, room, &k->room, 1);
    memset(k->data + k->used, 0, room);
    k->used += room;
    return k->data + k->used - room;
}

/* Adds a matrix of bytes, all values but -128, and the scales that make it of about +- spread; or
   the floats that these stand for. */
static void add_quads(maker *k, const char *name, int outputs, int inputs, float spread)
{
    const size_t quads = (size_t)(inputs + 3) / 4, depth = (size_t)inputs, n = (size_t)outputs;
    const int widened = k->numbers == WIDENED;
    const size_t bytes = (size_t)up16(outputs) * 4 * (widened ? depth : quads);
    signed char *whole = (signed char *)need(n * depth);
    float *scale = (float *)need(n * sizeof *scale);
    char full[64];
    unsigned char *to;
    memset(whole, 0, n * depth);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < depth; j++)
            if (!k->stride || (int)i % k->stride < k->live)
                whole[i * depth + j] = (signed char)((int)dice(255) - 127);
    for (size_t i = 0; i < n; i++) scale[i] = around(spread / 127, spread / 254);
    snprintf(full, sizeof full, "%s.weight", name);
    add_entry(k, full, widened ? F32_NUMBERS : S8_NUMBERS, widened ? PANELS_LAYOUT : QUADS_LAYOUT,
              outputs, inputs, 1, bytes);
    to = add_zeros(k, bytes);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < depth; j++) {
            const signed char w = whole[i * depth + j];
            const float value = (float)w * scale[i];
            if (widened) memcpy(to + 4 * ((i / 16 * depth + j) * 16 + i % 16), &value, 4);
            else memcpy(to + (i / 16 * quads + j / 4) * 64 + i % 16 * 4 + j % 4, &w, 1);
        }
    }
    if (!widened) {
        snprintf(full, sizeof full, "%s.scale", name);
        add_entry(k, full, F32_NUMBERS, ROWS_LAYOUT, 1, outputs, 1, 4 * (size_t)up16(outputs));
        memcpy(add_zeros(k, 4 * (size_t)up16(outputs)), scale, n * sizeof *scale);
    }
    free(whole);
    free(scale);
}

/* any_floats: its weights need not be f32. */
static void add_linear(maker *k, const char *name, int any_floats, int outputs, int inputs,
                       int bias)
{
    const float spread = 2 / sqrtf((float)inputs);
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    if (next_type(k, any_floats, 1) == S8_NUMBERS || (any_floats && k->numbers == WIDENED))
        add_quads(k, name, outputs, inputs, spread);
    else add_tensor(k, full, any_floats, PANELS_LAYOUT, outputs, inputs, 1, 0, spread);
    if (bias) vector(k, name, ".bias", outputs, 0, 0.5f);
}

static void linear(maker *k, const char *name, int outputs, int inputs, int bias)
{
    add_linear(k, name, 1, outputs, inputs, bias);
}

static void table(maker *k, const char *name, int stage)
{
    const swin_config *g = k->g;
    tensor(k, name, PLAIN_LAYOUT, g->stage[stage].heads, 2 * g->stage[stage].window_h - 1,
           2 * g->stage[stage].window_w - 1, 0, 1);
}

/* --- layers ----------------------------------------------------------------------------------- */

static void attention(maker *k, const char *name, int stage)
{
    const swin_config *g = k->g;
    const int c = g->stage[stage].width, heads = g->stage[stage].heads, d = c / heads;
    char full[32];
    k->live = d, k->stride = up16(d);
    snprintf(full, sizeof full, "%s.qkv", name);
    linear(k, full, 3 * heads * up16(d), c, g->qkv_bias);
    k->stride = 0;
    if (!strcmp(name, "attn")) table(k, "attn.bias", stage);
    if (!strcmp(name, "attn") && g->version == 2) vector(k, "attn.scale", "", heads, 30, 29);
    snprintf(full, sizeof full, "%s.proj", name);
    linear(k, full, c, heads * up16(d), 1);
}

/* A block of MiT, in stage i. */
static void mit_block(maker *k, int i)
{
    const swin_config *g = k->g;
    const int c = g->stage[i].width, heads = g->stage[i].heads, d = c / heads;
    const int hidden = g->stage[i].hidden, side = g->mit.reduction[i];
    affine(k, "norm1", c);
    if (side > 1) {
        linear(k, "attn.reduce", c, side * side * c, 1);
        affine(k, "attn.reduce.norm", c);
    }
    k->live = d, k->stride = up16(d);
    linear(k, "attn.q", heads * up16(d), c, 1);
    linear(k, "attn.kv", 2 * heads * up16(d), c, 1);
    k->stride = 0;
    linear(k, "attn.proj", c, heads * up16(d), 1);
    affine(k, "norm2", c);
    linear(k, "mlp.fc1", hidden, c, 1);
    tensor(k, "mlp.depthwise.weight", ROWS_LAYOUT, 9, hidden, 1, 0, 1);
    vector(k, "mlp.depthwise", ".bias", hidden, 0, 0.5f);
    linear(k, "mlp.fc2", c, hidden, 1);
}

/* Tokens and blocks of a stage, or of a Unet's level up: where is "stage" or "up". */
static void blocks(maker *k, const char *where, int i)
{
    const swin_config *g = k->g;
    const int c = g->stage[i].width, depth = g->stage[i].depth, tokens = g->tokens;
    if (tokens) add_tensor(k, "tokens", 1, ROWS_LAYOUT, tokens, c, 1, 0, 1);
    if (tokens && depth > 1)
        add_tensor(k, "token_position", 1, ROWS_LAYOUT, g->stage[i].token_rows, c, 1, 0, 1);
    for (int j = 0; j < depth; j++) {
        snprintf(k->prefix, sizeof k->prefix, "%s%d.block%d.", where, i, j);
        if (g->body == SWIN_BODY_MIT) {
            mit_block(k, i);
            continue;
        }
        affine(k, "norm1", c);
        attention(k, "attn", i);
        if (tokens && j < depth - 1) attention(k, "global", i);
        affine(k, "norm2", c);
        linear(k, "mlp.fc1", g->stage[i].hidden, c, 1);
        linear(k, "mlp.fc2", c, g->stage[i].hidden, 1);
    }
}

static void stage(maker *k, int i)
{
    const swin_config *g = k->g;
    const int c = g->stage[i].width;
    const int mit = g->body == SWIN_BODY_MIT, side = g->mit.kernel[i];
    snprintf(k->prefix, sizeof k->prefix, "stage%d.", i);
    if (mit && i) {
        linear(k, "embed", c, side * side * g->stage[i - 1].width, 1);
        affine(k, "embed.norm", c);
    }
    blocks(k, "stage", i);
    snprintf(k->prefix, sizeof k->prefix, "stage%d.", i);
    if (g->feature_norms >> i & 1) affine(k, "norm", c);
    if (i == g->stages - 1 || mit) return;
    const int next = g->stage[i + 1].width;
    if (g->merge_norm) affine(k, "merge.norm", g->version == 2 ? next : 4 * c);
    linear(k, "merge", next, 4 * c, 0);
}

/* A Unet's level up, with or without cross-attention. */
static void level_up(maker *k, int i)
{
    const swin_config *g = k->g;
    const int c = g->stage[i].width, heads = g->stage[i].heads, d = 2 * c / heads;
    snprintf(k->prefix, sizeof k->prefix, "up%d.", i);
    affine(k, "expand.norm", c);
    linear(k, "expand", 4 * c, 2 * c, 0);
    if (g->body == SWIN_BODY_CROSS_UNET) {
        affine(k, "cross.norm1", 2 * c);
        k->live = d, k->stride = up16(d);
        linear(k, "cross.q", heads * up16(d), c, 1);
        linear(k, "cross.kv", 2 * heads * up16(d), 2 * c, 1);
        k->stride = 0;
        table(k, "cross.bias", i);
        linear(k, "cross.proj", c, heads * up16(d), 1);
        affine(k, "cross.norm2", c);
        linear(k, "cross.fc1", g->stage[i].hidden, c, 1);
        linear(k, "cross.fc2", c, g->stage[i].hidden, 1);
    }
    linear(k, "concat", c, 2 * c, 1);
    blocks(k, "up", i);
}

/* name0, name1, ...: count layers of `inputs` columns, or of inputs[l] * area. */
static void row(maker *k, const char *name, int count, int outputs, const int *inputs, int area)
{
    char full[64];
    for (int l = 0; l < count; l++) {
        snprintf(full, sizeof full, "%s%d", name, l);
        linear(k, full, outputs, inputs[l] * area, 1);
    }
}

/* scSE attention over n channels. */
static void scse(maker *k, const char *name, int n)
{
    char full[64];
    snprintf(full, sizeof full, "%s.reduce", name);
    linear(k, full, n / 16, n, 1);
    snprintf(full, sizeof full, "%s.restore", name);
    linear(k, full, n, n / 16, 1);
    snprintf(full, sizeof full, "%s.pixel", name);
    add_linear(k, full, 0, 1, n, 1);
}

/* The blocks of SMP's Unet, a block more than stages, and its classes. */
static void smp_unet(maker *k)
{
    const swin_config *g = k->g;
    const int *width = g->decoder.width;
    int below = g->stage[g->stages - 1].width;
    for (int i = 0; i <= g->stages; i++) {
        const int skip = g->stages - 2 - i;
        const int inputs = below + (skip >= 0 ? g->stage[skip].width : 0);
        snprintf(k->prefix, sizeof k->prefix, "head.block%d.", i);
        if (g->decoder.scse && i < g->stages) scse(k, "attend1", inputs);
        linear(k, "conv1", width[i], 9 * inputs, 1);
        linear(k, "conv2", width[i], 9 * width[i], 1);
        if (g->decoder.scse) scse(k, "attend2", width[i]);
        below = width[i];
    }
    snprintf(k->prefix, sizeof k->prefix, "head.");
    linear(k, "classify", g->classes, 9 * below, 1);
}

/* --- heads with queries ----------------------------------------------------------------------- */

/* Its tensors are named after `layer`. */
static void named(maker *k, const char *layer, const char *name, int outputs, int inputs, int bias)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", layer, name);
    linear(k, full, outputs, inputs, bias);
}

static void named_norm(maker *k, const char *layer, const char *name, int n)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", layer, name);
    affine(k, full, n);
}

/* A convolution and its norm. */
static void normed(maker *k, const char *name, int outputs, int inputs, int bias)
{
    linear(k, name, outputs, inputs, bias);
    named_norm(k, name, ".norm", outputs);
}

/* Heads of d channels are stored as up16(d): outputs beyond d are zero. */
static void to_heads(maker *k, const char *layer, const char *name, int heads, int d, int inputs)
{
    k->live = d, k->stride = up16(d);
    named(k, layer, name, heads * up16(d), inputs, 1);
    k->stride = 0;
}

static void query_attention(maker *k, const char *layer, const char *name, int number)
{
    const int c = k->g->queries.width, heads = k->g->queries.heads, d = c / heads;
    char part[48];
    snprintf(part, sizeof part, "%s%s", layer, name);
    to_heads(k, part, ".q", heads, d, c);
    to_heads(k, part, ".k", heads, d, c);
    to_heads(k, part, ".v", heads, d, c);
    named(k, part, ".proj", c, heads * up16(d), 1);
    snprintf(part, sizeof part, "norm%d", number);
    named_norm(k, layer, part, c);
}

static void query_layers(maker *k, const char *name, int layers, int hidden, const char *first,
                         const char *second)
{
    const int c = k->g->queries.width;
    for (int i = 0; i < layers; i++) {
        char layer[32];
        snprintf(layer, sizeof layer, "%s.layer%d.", name, i);
        query_attention(k, layer, first, 1);
        query_attention(k, layer, second, 2);
        named(k, layer, "fc1", hidden, c, 1);
        named(k, layer, "fc2", c, hidden, 1);
        named_norm(k, layer, "norm3", c);
    }
}

static void pixel_level(maker *k, int level)
{
    const int ch = k->g->head.channels;
    char name[32];
    snprintf(name, sizeof name, "pixel.lateral%d", level);
    normed(k, name, ch, k->g->stage[level].width, 0);
    snprintf(name, sizeof name, "pixel.out%d", level);
    normed(k, name, ch, 9 * ch, 0);
}

static void deformable(maker *k)
{
    const swin_queries_config *q = &k->g->queries;
    const int ch = k->g->head.channels, heads = q->pixel_heads, d = ch / heads;
    char name[32];
    for (int l = 0; l < 3; l++) {
        snprintf(name, sizeof name, "pixel.project%d", l);
        normed(k, name, ch, k->g->stage[3 - l].width, 1);
    }
    add_tensor(k, "pixel.levels", 1, ROWS_LAYOUT, 3, ch, 1, 0, 1);
    for (int i = 0; i < q->pixel_layers; i++) {
        snprintf(name, sizeof name, "pixel.layer%d.", i);
        named(k, name, "offsets", 24 * heads, ch, 1);
        to_heads(k, name, "weights", heads, 12, ch);
        to_heads(k, name, "value", heads, d, ch);
        named(k, name, "proj", ch, heads * up16(d), 1);
        named_norm(k, name, "norm1", ch);
        named(k, name, "fc1", q->pixel_hidden, ch, 1);
        named(k, name, "fc2", ch, q->pixel_hidden, 1);
        named_norm(k, name, "norm2", ch);
    }
    pixel_level(k, 0);
    linear(k, "pixel.mask", q->masks, ch, 1);
}

/* MaskFormer's pixel decoder, and what follows its queries' places. */
static void pixel_pyramid(maker *k)
{
    const int ch = k->g->head.channels;
    normed(k, "pixel.stem", ch, 9 * k->g->stage[3].width, 0);
    for (int l = 2; l >= 0; l--) pixel_level(k, l);
    linear(k, "pixel.mask", k->g->queries.masks, 9 * ch, 1);
}

static void query_head(maker *k)
{
    const swin_queries_config *q = &k->g->queries;
    const int c = q->width, ch = k->g->head.channels, guided = q->pixel_layers > 0;
    const int widths[3] = {ch, ch, ch};
    snprintf(k->prefix, sizeof k->prefix, "head.");
    if (guided) deformable(k);
    else pixel_pyramid(k);
    add_tensor(k, "query.embed", 1, ROWS_LAYOUT, q->count, c, 1, 0, 1);
    if (k->g->head.kind == SWIN_HEAD_MASK2FORMER)
        add_tensor(k, "query.start", 1, ROWS_LAYOUT, q->count, c, 1, 0, 1);
    if (k->g->head.kind == SWIN_HEAD_ONEFORMER) {
        add_tensor(k, "query.task", 1, ROWS_LAYOUT, 1, c, 1, 0, 1);
        linear(k, "query.input", c, ch, 1);
        query_layers(k, "start", q->start_layers, q->start_hidden, "self", "cross");
        affine(k, "start.norm", c);
    }
    if (guided && q->projected) row(k, "query.project", 3, c, widths, 1);
    if (guided) add_tensor(k, "query.levels", 1, ROWS_LAYOUT, 3, c, 1, 0, 1);
    if (!guided && q->projected) linear(k, "query.project", c, k->g->stage[3].width, 1);
    query_layers(k, "decoder", q->layers, q->hidden, guided ? "cross" : "self",
                 guided ? "self" : "cross");
    affine(k, "decoder.norm", c);
    linear(k, "mask_embed.fc1", c, c, 1);
    linear(k, "mask_embed.fc2", c, c, 1);
    linear(k, "mask_embed.fc3", q->masks, c, 1);
    linear(k, "classify", k->g->classes + 1, c, 1);
}

/* A layer whose inputs are no rows of eight bits. */
static void float_linear(maker *k, const char *name, int outputs, int inputs)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    add_tensor(k, full, 1, PANELS_LAYOUT, outputs, inputs, 1, 0, 2 / sqrtf((float)inputs));
    vector(k, name, ".bias", outputs, 0, 0.5f);
}

/* A block of BiRefNet's decoder, number l or, with -1, the one before it; outputs 0: without the
   convolution at its end. */
static void pyramid(maker *k, int l, int inputs, int outputs)
{
    const swin_birefnet_config *b = &k->g->birefnet;
    char name[32];
    int branches = 0;
    snprintf(k->prefix, sizeof k->prefix, l < 0 ? "head.squeeze." : "head.block%d.", l);
    linear(k, "conv_in", b->inner, 9 * inputs, 1);
    for (; branches < SWIN_MAX_BRANCHES && b->kernel[branches]; branches++) {
        const int area = b->kernel[branches] * b->kernel[branches];
        snprintf(name, sizeof name, "branch%d.offset", branches);
        const int parts = (b->kernel[branches] + 2) / 3;
        float_linear(k, name, 3 * area, (parts > 1 ? 9 * parts * parts : area) * b->inner);
        snprintf(name, sizeof name, "branch%d", branches);
        float_linear(k, name, b->branch, area * b->inner);
    }
    float_linear(k, "mean", b->branch, b->inner);
    float_linear(k, "fuse", b->inner, (branches + 1) * b->branch);
    if (outputs) linear(k, "conv_out", outputs, 9 * b->inner, 1);
}

static void birefnet_head(maker *k)
{
    const swin_config *g = k->g;
    const swin_birefnet_config *b = &g->birefnet;
    const int last = g->stages - 1;
    int width[8] = {0}, all = 0;
    char name[32];
    for (int l = 0; l <= last; l++) all += width[l] = 2 * g->stage[l].width;
    pyramid(k, -1, all, width[last]);
    for (int l = last; l >= 0; l--) {
        const int grid = 4 << l, patches = width[l < last ? l + 1 : last] / 8;
        snprintf(k->prefix, sizeof k->prefix, "head.");
        snprintf(name, sizeof name, "lateral%d", l);
        if (l < last) linear(k, name, width[l], width[l], 1);
        snprintf(name, sizeof name, "patches%d", l);
        linear(k, name, b->patches, 9 * 3 * grid * grid, 1);
        snprintf(name, sizeof name, "patches%d.out", l);
        linear(k, name, patches, 9 * b->patches, 1);
        pyramid(k, l, width[l] + patches, l ? width[l - 1] : 0);
        snprintf(k->prefix, sizeof k->prefix, "head.");
        if (!l) break;
        snprintf(name, sizeof name, "gate%d", l);
        linear(k, name, b->gate, 9 * width[l - 1], 1);
        snprintf(name, sizeof name, "gate%d.out", l);
        add_linear(k, name, 0, 1, b->gate, 1);
    }
    add_linear(k, "out", 0, 9, b->inner, 0);
    add_linear(k, "image", 0, 9, 27, 1);
}

static void head(maker *k)
{
    const swin_config *g = k->g;
    if (g->queries.count) {
        query_head(k);
        return;
    }
    const int ch = g->head.channels, area = g->head.conv_kernel * g->head.conv_kernel;
    const int head = g->head.kind, smp = head == SWIN_HEAD_SMP_FPN;
    const int pools = g->head.pool_count, neck = g->head.neck_channels;
    int all[8], necks[8], width[8] = {0}, same[8], levels = 0, last = g->stage[0].width;
    for (int i = 0; i < g->stages; i++)
        if (g->head.inputs >> i & 1) last = width[levels++] = g->stage[i].width;
    if (head == SWIN_HEAD_SMP_UNET) {
        smp_unet(k);
        return;
    }
    for (int i = 0; i < 8; i++) all[i] = ch, necks[i] = neck, same[i] = last;
    snprintf(k->prefix, sizeof k->prefix, head == SWIN_HEAD_FPN || smp ? "neck."
                                                                               : "head.");
    if (head == SWIN_HEAD_UPER || head == SWIN_HEAD_PSP) {
        row(k, "pool", pools, ch, same, 1);
        linear(k, "bottleneck", ch, 9 * (last + pools * ch), 1);
    }
    if (head == SWIN_HEAD_UPER) {
        row(k, "lateral", levels - 1, ch, width, 1);
        row(k, "fpn", levels - 1, ch, all, 9);
        linear(k, "fuse", ch, 9 * levels * ch, 1);
    }
    if (head == SWIN_HEAD_FCN) {
        for (int n = 1; n < 8; n++) same[n] = ch;
        row(k, "conv", g->head.convs, ch, same, area);
        if (g->head.conv_concat) linear(k, "cat", ch, area * (last + ch), 1);
    }
    if (head == SWIN_HEAD_FPN || smp) {
        row(k, "lateral", levels, neck, width, 1);
        if (!smp) row(k, "fpn", levels, neck, necks, 9);
        snprintf(k->prefix, sizeof k->prefix, "head.");
        for (int l = 0; l < levels; l++) {
            const int depths[8] = {neck, ch, ch, ch, ch, ch, ch, ch};
            char name[32];
            snprintf(name, sizeof name, "scale%d.conv", l);
            if (!smp) row(k, name, g->head.neck_convs[l], ch, depths, 9);
            for (int n = 0; smp && n < g->head.neck_convs[l]; n++) {
                snprintf(name, sizeof name, "scale%d.conv%d", l, n);
                linear(k, name, ch, 9 * depths[n], 1);
                snprintf(name, sizeof name, "scale%d.norm%d", l, n);
                affine(k, name, ch);
            }
        }
    }
    if (head == SWIN_HEAD_SEGFORMER || head == SWIN_HEAD_GLAM_SEGFORMER) {
        row(k, "lateral", levels, ch, width, 1);
        linear(k, "fuse", ch, levels * ch, 1);
    }
    for (int l = 0; head == SWIN_HEAD_MERGED_SEGFORMER && l < levels; l++) {
        char name[32];
        snprintf(name, sizeof name, "lateral%d", l);
        linear(k, name, ch, width[l], l == 0);
    }
    if (g->head.channels && (head != SWIN_HEAD_FCN || g->head.convs)) last = ch;
    if (smp && g->decoder.concat) last = levels * ch;
    linear(k, "classify", g->classes, last, head != SWIN_HEAD_UNET);
}

/* Is it a Unet? */
static int is_unet(const swin_config *g)
{
    return g->body == SWIN_BODY_UNET || g->body == SWIN_BODY_CROSS_UNET;
}

/* What lies between the stages and the head. */
static void after_stages(maker *k)
{
    const swin_config *g = k->g;
    const int e = g->stage[0].width;
    k->prefix[0] = 0;
    if (g->final_norm) affine(k, "norm", g->stage[g->stages - 1].width);
    if (!is_unet(g)) return;
    for (int l = g->stages - 2; l >= 0; l--) level_up(k, l);
    snprintf(k->prefix, sizeof k->prefix, "final.");
    affine(k, "norm", e);
    affine(k, "expand.norm", e);
    linear(k, "expand", 16 * e, e, 0);
}

/* Does the model give a class map? */
static inline int is_dense(const swin_config *g)
{
    return g->head.kind && g->head.kind != SWIN_HEAD_CLASSIFIER;
}

/* --- the blob --------------------------------------------------------------------------------- */

/* Renews the checksum, so that damage elsewhere is seen for what it is. */
static void seal(blob b)
{
    uint32_t sum = 0, sums = 0;
    for (size_t i = 32; i + 4 <= b.size; i += 4) {
        uint32_t word;
        memcpy(&word, b.bytes + i, 4);
        sum += word;
        sums += sum;
    }
    put32(b.bytes + 24, sum);
    put32(b.bytes + 28, sums);
}

static size_t add_string(char *to, size_t at, const char *text)
{
    memcpy(to + at, text, strlen(text) + 1);
    return at + strlen(text) + 1;
}

/* Adds a record to a config part that ends at `at`, or measures it (to: NULL); returns its end. */
static size_t put_record(unsigned char *to, size_t at, const char *name, const void *fields,
                         size_t size)
{
    if (to) {
        memset(to + at, 0, 12);
        memcpy(to + at, name, strlen(name));
        put32(to + at + 12, (uint32_t)size);
        memcpy(to + at + 16, fields, size);
    }
    return at + 16 + size;
}

/* The same of a record that is left out where its fields are all zero. */
static size_t put_optional(unsigned char *to, size_t at, const char *name, const void *fields,
                           size_t size)
{
    static const unsigned char zeros[256] = {0};
    return memcmp(fields, zeros, size) ? put_record(to, at, name, fields, size) : at;
}

/* Writes the config part, or measures it (to: NULL); returns its size. The members of swin_config
   lie in the order of the records' fields. */
static size_t put_config(const swin_config *g, unsigned char *to)
{
    size_t at = put_record(to, 0, "model", g, offsetof(swin_config, stages));
    for (int i = 0; i < g->stages; i++)
        at = put_record(to, at, "stage", &g->stage[i], sizeof g->stage[i]);
    at = put_record(to, at, "head", &g->head, sizeof g->head);
    at = put_record(to, at, "classes", &g->classes, sizeof g->classes);
    at = put_record(to, at, "picture", &g->picture, sizeof g->picture);
    at = put_optional(to, at, "rules", &g->rules, sizeof g->rules);
    at = put_optional(to, at, "decoder", &g->decoder, sizeof g->decoder);
    at = put_optional(to, at, "mit", &g->mit, sizeof g->mit);
    at = put_optional(to, at, "sides", &g->sides, sizeof g->sides);
    at = put_optional(to, at, "queries", &g->queries, sizeof g->queries);
    at = put_optional(to, at, "birefnet", &g->birefnet, sizeof g->birefnet);
    at = put_optional(to, at, "segments", &g->segments, sizeof g->segments);
    at = put_optional(to, at, "instances", &g->instances, sizeof g->instances);
    return put_record(to, at, "reference", &g->reference, sizeof g->reference);
}

/* Where the directory of a blob with this config starts. */
static size_t directory_offset(const swin_config *g) { return HEADER + up64(put_config(g, NULL)); }

/* Class k is called "class k" and has the colour 16 * k; one note, "name". */
static size_t make_strings(const swin_config *g, char *to)
{
    size_t at = 0;
    char text[32];
    for (int i = 0; i < g->classes; i++) {
        snprintf(text, sizeof text, "#%06x", 16u * (unsigned)i);
        at = add_string(to, at, text);
        snprintf(text, sizeof text, "class %d", i);
        at = add_string(to, at, text);
    }
    at = add_string(to, at, "name");
    return add_string(to, at, "Übung");
}

/* All tensors of a config, in order. */
static void make_tensors(maker *k)
{
    const swin_config *g = k->g;
    const int width = g->stage[0].width;
    const int patch = g->body == SWIN_BODY_MIT ? g->mit.kernel[0] : g->patch;
    add_linear(k, "embed", 0, width, patch * patch * 3, 1);
    if (g->patch_norm) affine(k, "embed.norm", width);
    if (g->position.h)
        add_tensor(k, "embed.position", 1, ROWS_LAYOUT, g->position.h * g->position.w, width, 1,
                   0, 1);
    for (int i = 0; i < g->stages; i++) stage(k, i);
    after_stages(k);
    if (g->head.kind == SWIN_HEAD_BIREFNET) birefnet_head(k);
    else if (g->head.kind) head(k);
}

/* Where a blob's data starts. */
static size_t data_offset(const maker *k, size_t text)
{
    return up64(directory_offset(k->g) + k->count * ENTRY + text);
}

/* Writes everything but the data; the bytes are zero, and without a checksum yet. */
static void write_front(const maker *k, const char *strings, size_t text, blob b)
{
    static const unsigned char magic[8] = {0x89, 'S', 'W', 'I', 'N', '\r', '\n', 0x1a};
    const size_t directory = directory_offset(k->g), at = directory + k->count * ENTRY;
    const size_t data = data_offset(k, text);
    const uint64_t parts[8] = {HEADER, put_config(k->g, NULL), directory, k->count,
                               at, text, data, k->used};
    memcpy(b.bytes, magic, sizeof magic);
    put32(b.bytes + 8, 2);
    put32(b.bytes + 12, 0x01020304);
    put64(b.bytes + 16, b.size);
    memcpy(b.bytes + 32, parts, sizeof parts);
    put_config(k->g, b.bytes + HEADER);
    memcpy(b.bytes + directory, k->directory, k->count * ENTRY);
    for (size_t i = 0; i < k->count; i++) {
        unsigned char *place = b.bytes + directory + i * ENTRY + 88;
        uint64_t within;
        memcpy(&within, place, 8);
        put64(place, data + within);
    }
    memcpy(b.bytes + at, strings, text);
}

/* A blob of these tensors and strings. */
static inline blob wrap(const maker *k, const char *strings, size_t text)
{
    blob b;
    b.size = data_offset(k, text) + k->used;
    b.bytes = (unsigned char *)need(b.size);
    memset(b.bytes, 0, b.size);
    write_front(k, strings, text, b);
    memcpy(b.bytes + data_offset(k, text), k->data, k->used);
    seal(b);
    return b;
}

static maker new_maker(const swin_config *g)
{
    maker k;
    memset(&k, 0, sizeof k);
    k.g = g;
    return k;
}

static void free_maker(maker *k)
{
    free(k->data);
    free(k->directory);
}

static char *new_strings(const swin_config *g, size_t *text)
{
    char *strings = (char *)need(64 + 32 * (size_t)g->classes);
    *text = make_strings(g, strings);
    return strings;
}

static inline blob make_blob_of(const swin_config *g, int numbers)
{
    size_t text;
    char *strings = new_strings(g, &text);
    maker k = new_maker(g);
    k.numbers = numbers;
    make_tensors(&k);
    const blob b = wrap(&k, strings, text);
    free_maker(&k);
    free(strings);
    return b;
}

static inline blob make_blob(const swin_config *g) { return make_blob_of(g, FLOATS); }

/* --- models worth testing --------------------------------------------------------------------- */

/* PLAIN: features only, the smallest; GLAM_UPER: tokens, positions; FCN_HEAD: no norms, no qkv
   bias; SWIN_V2: a classifier with cosine attention, shifted before padding; UNET: tokens on the
   way up; CROSS_UNET: cross-attention upsampling, no bias; SEMANTIC_FPN: raw features, windows that
   lose their shift along an axis; MLP_HEAD: Segformer's; PSP_HEAD: a sliding window; WIDE_UPER:
   channels and maps large enough for Winograd, for taps and for doubling; SMP_UNET: scSE attention,
   one class; SMP_FPN: GroupNorm, levels side by side; SEGFORMER: MiT whose keys are pixels, for the
   smallest pictures; logits resized straight to the picture; MASKFORMER: queries
   over an FPN, scores at the masks' size; MASK2FORMER: projected levels, scores at the size of
   inputs padded to 32; ONEFORMER: a task token, scores at 384 x 384; BIREFNET: deformable
   convolutions, inputs in multiples of 32 pixels. */
enum {
    PLAIN, GLAM_UPER, FCN_HEAD, SWIN_V2, UNET, CROSS_UNET, SEMANTIC_FPN, MLP_HEAD, PSP_HEAD,
    WIDE_UPER, SMP_UNET, SMP_FPN, SEGFORMER, MASKFORMER, MASK2FORMER, ONEFORMER,
    BIREFNET, MODELS
};

static const char *const model_names[MODELS] = {
    "plain", "glam", "fcn", "v2", "unet", "cross unet", "semantic fpn", "mlp", "psp", "wide",
    "smp unet", "smp fpn", "segformer", "maskformer", "mask2former", "oneformer",
    "birefnet"};

static const struct { int width, stages, depth[4], heads[4], window[4]; } shapes[MODELS] = {
    {6, 1, {2}, {1}, {2}},                          /* PLAIN */
    {8, 3, {3, 1, 2}, {2, 1, 4}, {3, 2, 4}},        /* GLAM_UPER */
    {12, 2, {1, 2}, {3, 6}, {5, 3}},                /* FCN_HEAD */
    {8, 3, {2, 2, 1}, {1, 2, 4}, {4, 3, 2}},        /* SWIN_V2 */
    {6, 3, {2, 1, 1}, {1, 2, 3}, {3, 3, 2}},        /* UNET */
    {4, 3, {2, 2, 1}, {1, 2, 2}, {3, 3, 3}},        /* CROSS_UNET */
    {4, 3, {2, 1, 2}, {1, 2, 4}, {3, 4, 2}},        /* SEMANTIC_FPN */
    {4, 3, {1, 2, 1}, {2, 2, 1}, {4, 3, 3}},        /* MLP_HEAD */
    {4, 2, {2, 1}, {1, 2}, {3, 3}},                 /* PSP_HEAD */
    {32, 3, {2, 1, 1}, {1, 2, 4}, {7, 7, 7}},       /* WIDE_UPER */
    {6, 3, {1, 2, 1}, {1, 2, 3}, {3, 2, 2}},        /* SMP_UNET */
    {4, 3, {1, 1, 2}, {1, 2, 2}, {3, 3, 2}},        /* SMP_FPN */
    {8, 3, {2, 1, 1}, {1, 2, 4}, {1, 1, 1}},        /* SEGFORMER */
    {4, 4, {1, 1, 1, 1}, {1, 2, 2, 4}, {3, 3, 3, 3}},       /* MASKFORMER */
    {4, 4, {1, 2, 1, 1}, {1, 2, 2, 4}, {4, 3, 3, 3}},       /* MASK2FORMER */
    {4, 4, {1, 1, 1, 1}, {1, 1, 2, 2}, {3, 3, 3, 3}},       /* ONEFORMER */
    {4, 4, {1, 2, 1, 1}, {1, 2, 2, 4}, {3, 3, 3, 3}},   /* BIREFNET */
};

/* The queries of a model: those from MASKFORMER to ONEFORMER. */
static const swin_queries_config query_fields[ONEFORMER - MASKFORMER + 1] = {
    {7, 24, 20, 3, 2, 19, 1, 0, 0, 0, 0, 0, SWIN_SCORES_AT_MASKS, 0},
    {90, 12, 24, 2, 4, 20, 1, 4, 2, 21, 0, 0, SWIN_SCORES_AT_INPUT, 32},
    {9, 32, 32, 2, 3, 16, 0, 2, 1, 33, 2, 18, SWIN_SCORES_AT_384, 0},
};

/* Their segments, a rule each; queries of such models are sure of little. */
static const swin_segments_config segment_fields[ONEFORMER - MASKFORMER + 1] = {
    {SWIN_SEGMENTS_MASKFORMER, 200, 100, {0x15}},
    {SWIN_SEGMENTS_MASK2FORMER, 180, 50, {0x0c}},
    {SWIN_SEGMENTS_HUGGING_FACE, 80, 50, {0xf0f}},
};

/* The head of each model: its kind, classes, channels and the features it reads. */
static const struct { int head, classes, channels; unsigned inputs; } heads[MODELS] = {
    {SWIN_HEAD_NONE, 0, 0, 0}, {SWIN_HEAD_UPER, 5, 8, 7}, {SWIN_HEAD_FCN, 19, 10, 2},
    {SWIN_HEAD_CLASSIFIER, 9, 0, 4}, {SWIN_HEAD_UNET, 5, 0, 0}, {SWIN_HEAD_UNET, 3, 0, 0},
    {SWIN_HEAD_FPN, 6, 10, 7}, {SWIN_HEAD_SEGFORMER, 7, 8, 7},
    {SWIN_HEAD_PSP, 4, 12, 2}, {SWIN_HEAD_UPER, 300, 64, 7},
    {SWIN_HEAD_SMP_UNET, 2, 16, 7}, {SWIN_HEAD_SMP_FPN, 5, 32, 7},
    {SWIN_HEAD_MERGED_SEGFORMER, 6, 20, 7},
    {SWIN_HEAD_MASKFORMER, 5, 32, 15}, {SWIN_HEAD_MASK2FORMER, 6, 64, 15},
    {SWIN_HEAD_ONEFORMER, 17, 32, 15},
    {SWIN_HEAD_BIREFNET, 2, 0, 0},
};

static inline swin_config model_config(int which)
{
    static const int scales[4] = {1, 2, 3, 6};
    const int unet = which == UNET || which == CROSS_UNET;
    swin_config g;
    memset(&g, 0, sizeof g);
    g.version = which == SWIN_V2 ? 2 : 1;
    g.body = which == UNET         ? SWIN_BODY_UNET
             : which == CROSS_UNET ? SWIN_BODY_CROSS_UNET
             : which == SEGFORMER  ? SWIN_BODY_MIT
             : which == BIREFNET   ? SWIN_BODY_BIREFNET
                                   : SWIN_BODY_BACKBONE;
    g.patch = 4;
    g.planes = 3;
    g.stages = shapes[which].stages;
    for (int i = 0; i < g.stages; i++) {
        swin_stage_config *stage = &g.stage[i];
        stage->width = shapes[which].width << i;
        stage->depth = shapes[which].depth[i];
        stage->heads = shapes[which].heads[i];
        stage->window_h = shapes[which].window[i];
        stage->window_w = shapes[which].window[i] + (which == FCN_HEAD);
        stage->shift_h = stage->window_h / 2;
        stage->shift_w = stage->window_w / 2;
        stage->hidden = which == WIDE_UPER ? 4 * stage->width : stage->width + 3;
    }
    g.mask = -100;
    g.eps = 1e-5f;
    g.patch_norm = g.qkv_bias = g.merge_norm = which != FCN_HEAD;
    g.final_norm = which == SWIN_V2 || unet;
    if (which != SWIN_V2 && which != SEMANTIC_FPN && which != SMP_FPN &&
        which != SMP_UNET && !unet)
        g.feature_norms = (1u << g.stages) - 1;
    for (int i = 0; i < 3; i++) {
        g.picture.mean[i] = 100 + 10.0f * (float)i;
        g.picture.scale[i] = (float)(20 + i) / 1000;
    }
    g.head.kind = heads[which].head;
    g.classes = heads[which].classes;
    g.head.channels = heads[which].channels;
    g.head.inputs = heads[which].inputs;
    if (which == GLAM_UPER || unet) {
        g.tokens = 2;
        for (int i = 0; i < g.stages; i++) {
            g.stage[i].token_rows = g.stage[i].depth > 1 ? 400 >> i : 0;
            g.stage[i].token_middle = g.stage[i].depth > 1 ? 200 >> i : 0;
        }
    }
    if (which == GLAM_UPER) {
        g.position.h = 5;
        g.position.w = 7;
        g.head.align_corners = 1;
        g.picture.bgr = 1;
    }
    if (which == SWIN_V2) {
        g.roll_before_pad = 1;
        g.mask = -200;
        g.picture.resize_filter = SWIN_FILTER_BICUBIC_ANTIALIASED;
        g.picture.resize_round = 1;
    }
    if (which == SEMANTIC_FPN || which == SMP_FPN) {
        static const int convs[4] = {1, 1, 2};
        g.shift_rule = which == SEMANTIC_FPN ? SWIN_SHIFT_PER_AXIS : SWIN_SHIFT_STORED;
        g.head.neck_channels = 7;
        memcpy(g.head.neck_convs, convs, sizeof convs);
    }
    if (which == SMP_FPN) g.head.align_corners = g.decoder.concat = g.decoder.bilinear = 1;
    if (which == SMP_UNET) {
        static const int widths[4] = {40, 20, 17, 16};
        memcpy(g.decoder.width, widths, sizeof widths);
        g.decoder.scse = g.rules.one_class = g.roll_before_pad = 1;
    }
    if (which >= MASKFORMER && which <= ONEFORMER) {
        g.queries = query_fields[which - MASKFORMER];
        g.segments = segment_fields[which - MASKFORMER];
    }
    if (which == PSP_HEAD) {
        g.picture.mode = SWIN_MODE_SLIDE;
        g.picture.crop_h = 24;
        g.picture.crop_w = 40;
        g.picture.stride_h = g.picture.stride_w = 17;
    }
    if (g.head.kind == SWIN_HEAD_UPER || g.head.kind == SWIN_HEAD_PSP) {
        g.head.pool_count = 4;
        memcpy(g.head.pool_scale, scales, sizeof scales);
    }
    if (which == SEGFORMER) {
        static const int kernels[3] = {7, 3, 5}, strides[3] = {4, 2, 2}, sides[3] = {1, 1, 1};
        memcpy(g.mit.kernel, kernels, sizeof kernels);
        memcpy(g.mit.stride, strides, sizeof strides);
        memcpy(g.mit.reduction, sides, sizeof sides);
        g.merge_norm = 0;
        g.eps = g.rules.feature_eps = 1e-6f;
        g.rules.straight = 1;
    }
    if (which == BIREFNET) {
        static const swin_birefnet_config widths = {8, 12, {1, 3, 5}, 6, 5};
        g.birefnet = widths;
        g.input.rule = SWIN_INPUT_EXACT;
        g.rules.input_multiple = 32;
        g.rules.one_class = 1;
        g.head.align_corners = 1;
    }
    if (which == FCN_HEAD) {
        g.head.convs = 2;
        g.head.conv_kernel = 3;
        g.head.conv_concat = 1;
    }
    return g;
}

static inline blob model_blob_of(int which, int numbers)
{
    const swin_config g = model_config(which);
    dice_state = 1 + (uint32_t)which;
    return make_blob_of(&g, numbers);
}

static inline blob model_blob(int which) { return model_blob_of(which, FLOATS); }

#endif
