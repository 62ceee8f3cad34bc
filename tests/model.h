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

enum { HEADER = 128, CONFIG = 512, ENTRY = 128, MAX_TENSORS = 256 };
enum { PLAIN_LAYOUT, ROWS_LAYOUT, PANELS_LAYOUT };
enum { PATCH_NORM = 1, QKV_BIAS = 2, POSITION = 4, MERGE_NORM = 8 };
enum { NO_HEAD, UPER, FCN };

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

/* --- tensors ---------------------------------------------------------------------------------- */

typedef struct maker {
    const swin_config *g;
    unsigned char directory[MAX_TENSORS][ENTRY];
    size_t count;
    unsigned char *data;
    size_t used;
    char prefix[32];
    int live, stride;       /* of each `stride` outputs the first `live` are not zero; 0: all */
} maker;

/* Adds a tensor of middle +- spread. */
static void tensor(maker *k, const char *name, int layout, int s0, int s1, int s2, float middle,
                   float spread)
{
    const int columns = layout == PLAIN_LAYOUT ? s1 * s2 : s1;
    const int ld = layout == ROWS_LAYOUT ? up16(s1) : columns;
    const int rows = layout == PANELS_LAYOUT ? up16(s0) : s0;
    const size_t bytes = (size_t)rows * (size_t)ld * sizeof(float), room = up64(bytes);
    unsigned char *entry = k->directory[k->count++];
    float *numbers = (float *)calloc(1, room);
    if (!numbers || k->count == MAX_TENSORS) exit(2);
    for (int i = 0; i < s0; i++) {
        for (int j = 0; j < columns; j++) {
            const int output = layout == PANELS_LAYOUT ? i : j;
            const size_t at = layout == PANELS_LAYOUT
                              ? ((size_t)(i / 16) * (size_t)s1 + (size_t)j) * 16 + (size_t)i % 16
                              : (size_t)i * (size_t)ld + (size_t)j;
            if (!k->stride || output % k->stride < k->live)
                numbers[at] = middle + spread * uniform();
        }
    }
    memset(entry, 0, ENTRY);
    snprintf((char *)entry, 64, "%s%s", k->prefix, name);
    put32(entry + 68, (uint32_t)layout);
    put32(entry + 72, (uint32_t)s0);
    put32(entry + 76, (uint32_t)s1);
    put32(entry + 80, (uint32_t)s2);
    put32(entry + 84, 1);
    put64(entry + 88, k->used);     /* within the data: moved when all parts are known */
    put64(entry + 96, bytes);
    k->data = (unsigned char *)realloc(k->data, k->used + room);
    if (!k->data) exit(2);
    memcpy(k->data + k->used, numbers, room);
    k->used += room;
    free(numbers);
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

static void linear(maker *k, const char *name, int outputs, int inputs, int bias)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    tensor(k, full, PANELS_LAYOUT, outputs, inputs, 1, 0, 2 / sqrtf((float)inputs));
    if (bias) vector(k, name, ".bias", outputs, 0, 0.5f);
}

/* --- layers ----------------------------------------------------------------------------------- */

static void attention(maker *k, const char *name, int stage)
{
    const swin_config *g = k->g;
    const int c = (int)g->width << stage, heads = (int)g->heads[stage], d = c / heads;
    char full[32];
    k->live = d, k->stride = up16(d);
    snprintf(full, sizeof full, "%s.qkv", name);
    linear(k, full, 3 * heads * up16(d), c, (g->flags & QKV_BIAS) != 0);
    k->stride = 0;
    if (!strcmp(name, "attn"))
        tensor(k, "attn.bias", PLAIN_LAYOUT, heads, 2 * (int)g->window_h[stage] - 1,
               2 * (int)g->window_w[stage] - 1, 0, 1);
    snprintf(full, sizeof full, "%s.proj", name);
    linear(k, full, c, heads * up16(d), 1);
}

static void stage(maker *k, int i)
{
    const swin_config *g = k->g;
    const int c = (int)g->width << i, depth = (int)g->depth[i], tokens = (int)g->tokens;
    snprintf(k->prefix, sizeof k->prefix, "stage%d.", i);
    if (tokens) tensor(k, "tokens", ROWS_LAYOUT, tokens, c, 1, 0, 1);
    if (tokens && depth > 1)
        tensor(k, "token_position", ROWS_LAYOUT, (int)g->token_rows[i], c, 1, 0, 1);
    for (int j = 0; j < depth; j++) {
        snprintf(k->prefix, sizeof k->prefix, "stage%d.block%d.", i, j);
        affine(k, "norm1", c);
        attention(k, "attn", i);
        if (tokens && j < depth - 1) attention(k, "global", i);
        affine(k, "norm2", c);
        linear(k, "mlp.fc1", (int)g->hidden[i], c, 1);
        linear(k, "mlp.fc2", c, (int)g->hidden[i], 1);
    }
    snprintf(k->prefix, sizeof k->prefix, "stage%d.", i);
    if (g->feature_norms >> i & 1) affine(k, "norm", c);
    if (i == (int)g->stages - 1) return;
    if (g->flags & MERGE_NORM) affine(k, "merge.norm", 4 * c);
    linear(k, "merge", 2 * c, 4 * c, 0);
}

static void head(maker *k)
{
    const swin_config *g = k->g;
    const int ch = (int)g->head_channels, area = (int)(g->conv_kernel * g->conv_kernel);
    int width[4], levels = 0;
    char name[16];
    for (int i = 0; i < 4; i++)
        if (g->head_inputs >> i & 1) width[levels++] = (int)g->width << i;
    snprintf(k->prefix, sizeof k->prefix, "head.");
    if (g->head == UPER) {
        for (int p = 0; p < (int)g->pool_count; p++) {
            snprintf(name, sizeof name, "pool%d", p);
            linear(k, name, ch, width[levels - 1], 1);
        }
        linear(k, "bottleneck", ch, 9 * (width[levels - 1] + (int)g->pool_count * ch), 1);
        for (int l = 0; l < levels - 1; l++) {
            snprintf(name, sizeof name, "lateral%d", l);
            linear(k, name, ch, width[l], 1);
        }
        for (int l = 0; l < levels - 1; l++) {
            snprintf(name, sizeof name, "fpn%d", l);
            linear(k, name, ch, 9 * ch, 1);
        }
        linear(k, "fuse", ch, 9 * levels * ch, 1);
        linear(k, "classify", (int)g->classes, ch, 1);
    } else if (g->head == FCN) {
        for (int n = 0; n < (int)g->convs; n++) {
            snprintf(name, sizeof name, "conv%d", n);
            linear(k, name, ch, area * (n ? ch : width[0]), 1);
        }
        if (g->conv_concat) linear(k, "cat", ch, area * (width[0] + ch), 1);
        linear(k, "classify", (int)g->classes, g->convs ? ch : width[0], 1);
    }
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

/* Class k is called "class k" and has the colour 16 * k; one note, "name". */
static size_t make_strings(const swin_config *g, char *to)
{
    size_t at = 0;
    char text[32];
    for (unsigned i = 0; i < g->classes; i++) {
        snprintf(text, sizeof text, "#%06x", 16 * i);
        at = add_string(to, at, text);
        snprintf(text, sizeof text, "class %u", i);
        at = add_string(to, at, text);
    }
    at = add_string(to, at, "name");
    return add_string(to, at, "Übung");
}

static blob make_blob(const swin_config *g)
{
    static const unsigned char magic[8] = {0x89, 'S', 'W', 'I', 'N', '\r', '\n', 0x1a};
    maker *k = (maker *)need(sizeof *k);
    char *strings = (char *)need(64 + 32 * (size_t)g->classes);
    const size_t text = make_strings(g, strings);
    const int patch = (int)g->patch, width = (int)g->width;
    blob b;
    memset(k, 0, sizeof *k);
    k->g = g;
    linear(k, "embed", width, patch * patch * 3, 1);
    if (g->flags & PATCH_NORM) affine(k, "embed.norm", width);
    if (g->flags & POSITION)
        tensor(k, "embed.position", ROWS_LAYOUT, (int)(g->position_h * g->position_w), width, 1,
               0, 1);
    for (int i = 0; i < (int)g->stages; i++) stage(k, i);
    head(k);

    const size_t directory = HEADER + CONFIG, at = directory + k->count * ENTRY;
    const size_t data = up64(at + text);
    const uint64_t parts[8] = {HEADER, CONFIG, directory, k->count, at, text, data, k->used};
    b.size = data + k->used;
    b.bytes = (unsigned char *)need(b.size);
    memset(b.bytes, 0, b.size);
    memcpy(b.bytes, magic, sizeof magic);
    put32(b.bytes + 8, 1);
    put32(b.bytes + 12, 0x01020304);
    put64(b.bytes + 16, b.size);
    memcpy(b.bytes + 32, parts, sizeof parts);
    memcpy(b.bytes + HEADER, g, CONFIG);
    for (size_t i = 0; i < k->count; i++) {
        uint64_t within;
        memcpy(&within, k->directory[i] + 88, 8);
        put64(k->directory[i] + 88, data + within);
    }
    memcpy(b.bytes + directory, k->directory, k->count * ENTRY);
    memcpy(b.bytes + at, strings, text);
    memcpy(b.bytes + data, k->data, k->used);
    seal(b);
    free(k->data);
    free(k);
    free(strings);
    return b;
}

/* --- models worth testing --------------------------------------------------------------------- */

/* PLAIN: features only, the smallest; GLAM_UPER: tokens, positions; FCN_HEAD: no norms, no qkv
   bias; WIDE_UPER: channels and maps large enough for Winograd and for taps. */
enum { PLAIN, GLAM_UPER, FCN_HEAD, WIDE_UPER, MODELS };

static const char *const model_names[MODELS] = {"plain", "glam", "fcn", "wide"};

static swin_config model_config(int which)
{
    static const uint32_t depth[MODELS][4] = {{2}, {3, 1, 2}, {1, 2}, {2, 1, 1}};
    static const uint32_t heads[MODELS][4] = {{1}, {2, 1, 4}, {3, 6}, {1, 2, 4}};
    static const uint32_t window[MODELS][4] = {{2}, {3, 2, 4}, {5, 3}, {7, 7, 7}};
    static const uint32_t width[MODELS] = {6, 8, 12, 32}, stages[MODELS] = {1, 3, 2, 3};
    swin_config g;
    memset(&g, 0, sizeof g);
    g.version = 1;
    g.patch = 4;
    g.planes = 3;
    g.width = width[which];
    g.stages = stages[which];
    for (uint32_t i = 0; i < g.stages; i++) {
        g.depth[i] = depth[which][i];
        g.heads[i] = heads[which][i];
        g.window_h[i] = window[which][i];
        g.window_w[i] = window[which][i] + (which == FCN_HEAD);
        g.shift_h[i] = g.window_h[i] / 2;
        g.shift_w[i] = g.window_w[i] / 2;
        g.hidden[i] = which == WIDE_UPER ? 4 * g.width << i : (g.width << i) + 3;
    }
    g.mask = -100;
    g.eps = 1e-5f;
    g.flags = which == FCN_HEAD ? 0 : PATCH_NORM | QKV_BIAS | MERGE_NORM;
    g.feature_norms = (1u << g.stages) - 1;
    for (int i = 0; i < 3; i++) {
        g.mean[i] = 100 + 10.0f * (float)i;
        g.scale[i] = 0.02f + 0.001f * (float)i;
    }
    g.ignore_label = 255;
    if (which == GLAM_UPER) {
        g.flags |= POSITION;
        g.position_h = 5;
        g.position_w = 7;
        g.tokens = 2;
        for (int i = 0; i < 3; i += 2) {
            g.token_rows[i] = 400 >> i;
            g.token_middle[i] = 200 >> i;
        }
        g.align_corners = 1;
        g.bgr = 1;
    }
    if (which == GLAM_UPER || which == WIDE_UPER) {
        static const uint32_t scales[4] = {1, 2, 3, 6};
        g.head = UPER;
        g.classes = which == WIDE_UPER ? 300 : 5;
        g.head_channels = which == WIDE_UPER ? 32 : 8;
        g.head_inputs = 7;
        g.pool_count = 4;
        memcpy(g.pool_scale, scales, sizeof scales);
    }
    if (which == FCN_HEAD) {
        g.head = FCN;
        g.classes = 19;
        g.head_channels = 10;
        g.head_inputs = 2;
        g.convs = 2;
        g.conv_kernel = 3;
        g.conv_concat = 1;
    }
    return g;
}

static blob model_blob(int which)
{
    const swin_config g = model_config(which);
    dice_state = 1 + (uint32_t)which;
    return make_blob(&g);
}

#endif
