/* configs.h - configs that are valid by construction, drawn from a fuzzer's input

   What a config may hold is taken from swin.h's description of its fields, not from the reader's
   checks: a config that the reader refuses is a fault, here or there. */
#ifndef CONFIGS_H
#define CONFIGS_H

/* SMALL: tiny maps and layers. LARGE: fields up to their limits, of models nobody can run. */
enum extent { SMALL, LARGE };

/* Floats of a weight matrix as stored. */
static double matrix(double outputs, double inputs) { return (outputs + 15) * inputs + 32; }

static double block_floats(const swin_config *g, int i)
{
    const double c = (double)((uint64_t)g->width << i), wide = c + 15.0 * g->heads[i];
    const double area = (2.0 * g->window_h[i] - 1) * (2.0 * g->window_w[i] - 1);
    return (matrix(3 * wide, c) + matrix(c, wide)) * (g->tokens ? 2 : 1) + g->heads[i] * area
           + matrix(g->hidden[i], c) + matrix(c, g->hidden[i]) + 100;
}

static double body_floats(const swin_config *g)
{
    double sum = matrix(g->width, 3.0 * g->patch * g->patch);
    if (g->flags & POSITION) sum += (double)g->position_h * g->position_w * (g->width + 15);
    for (int i = 0; i < (int)g->stages; i++) {
        const double c = (double)((uint64_t)g->width << i), tokens = g->tokens + g->token_rows[i];
        const int up = g->body && i + 1 < (int)g->stages;
        sum += (g->depth[i] * block_floats(g, i) + tokens * (c + 15)) * (up ? 2 : 1);
        if (i + 1 < (int)g->stages) sum += matrix(2 * c, 4 * c);
        if (up) sum += matrix(4 * c, 2 * c) + 4 * block_floats(g, i) + matrix(c, 2 * c);
    }
    return sum + (g->body ? matrix(16.0 * g->width, g->width) : 0);
}

static double head_floats(const swin_config *g)
{
    const double ch = g->head_channels, last = (double)((uint64_t)g->width << 3);
    const double area = (double)g->conv_kernel * g->conv_kernel, neck = g->neck_channels;
    double sum = matrix(g->classes, ch > last ? ch : last);
    if (g->head == UPER || g->head == PSP)
        sum += g->pool_count * matrix(ch, last) + matrix(ch, 9 * (last + g->pool_count * ch));
    if (g->head == UPER) sum += 4 * matrix(ch, last) + 7 * matrix(ch, 9 * ch);
    if (g->head == FCN) sum += (g->convs + 2) * matrix(ch, area * (ch > last ? ch : last));
    if (g->head == FPN) {
        sum += 4 * (matrix(neck, last) + matrix(neck, 9 * neck));
        for (int l = 0; l < 4; l++)
            sum += g->neck_convs[l] * matrix(ch, 9 * (ch > neck ? ch : neck));
    }
    if (g->head == SEGFORMER || g->head == GLAM_SEGFORMER)
        sum += 4 * matrix(ch, last) + matrix(ch, 4 * ch);
    return sum;
}

/* About how many floats the weights of a config take. */
static inline double weights_of(const swin_config *g)
{
    return body_floats(g) + (g->head ? head_floats(g) : 0);
}

/* A divisor of the stage's channels, up to 1024. */
static uint32_t draw_heads(uint32_t channels)
{
    const uint32_t most = channels < 1024 ? channels : 1024, few = most < 8 ? most : 8;
    uint32_t count = between(1, rarely(4) ? most : few);
    while (channels % count) count--;
    return count;
}

static uint32_t draw_side(enum extent extent)
{
    if (extent == LARGE) return rarely(3) ? between(1, 64) : rarely(2) ? 64 : between(1, 2);
    return rarely(16) ? between(9, 20) : between(1, 8);
}

static void draw_stage(swin_config *g, int i, enum extent extent)
{
    static const uint32_t hiddens[] = {1, 2, 65535, 65536};
    const uint32_t c = g->width << i;
    const int square = g->shift_rule == 1 || g->body == 2;
    g->depth[i] = extent == LARGE ? (rarely(4) ? 256 : between(1, 24)) : between(1, 3);
    g->heads[i] = draw_heads(c);
    g->window_h[i] = draw_side(extent);
    g->window_w[i] = square ? g->window_h[i] : draw_side(extent);
    if (extent == SMALL && !square && rarely(32)) {     /* long and narrow */
        g->window_h[i] = rarely(2) ? 64 : 1;
        g->window_w[i] = g->window_h[i] == 1 ? 64 : between(1, 3);
    }
    g->shift_h[i] = rarely(4) ? draw(g->window_h[i]) : g->window_h[i] / 2;
    g->shift_w[i] = rarely(4) ? draw(g->window_w[i]) : g->window_w[i] / 2;
    g->hidden[i] = extent == LARGE ? (rarely(2) ? ONE_OF(hiddens) : between(1, 65536))
                                   : between(1, 4 * c);
    if (!g->tokens || g->depth[i] == 1) return;
    g->token_rows[i] = rarely(8) ? between(1, 40) : between(200, 900);
    g->token_middle[i] = g->token_rows[i] / 2 + draw(3);
    if (extent == SMALL) return;
    g->token_rows[i] = 1 << 24;
    g->token_middle[i] = 1 << between(20, 24);
}

static void draw_body(swin_config *g, enum extent extent)
{
    static const uint32_t patches[] = {4, 4, 4, 4, 4, 2, 1, 3, 5, 7, 8, 16, 32};
    static const uint32_t widths[] = {1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 33, 48};
    static const uint32_t most[] = {96, 128, 192, 1024, 1536, 4095, 4096};
    static const float epsilons[] = {1e-5f, 1e-5f, 1e-6f, 1e-12f, 1e-30f, 0.99f};
    static const float masks[] = {-100, -100, -200, 0, -0.5f, -1e6f};
    const uint32_t kind = draw(8);
    g->body = kind < 5 ? 0 : kind < 6 ? 1 : 2;
    g->version = !g->body && rarely(4) ? 2 : 1;
    g->patch = g->body ? 4 : ONE_OF(patches);
    g->planes = 3;
    g->stages = between(g->body ? 2 : 1, 4);
    g->width = extent == LARGE ? ONE_OF(most) : ONE_OF(widths);
    g->shift_rule = draw(3);
    g->roll_before_pad = draw(2);
    g->mask = ONE_OF(masks);
    g->eps = ONE_OF(epsilons);
    g->tokens = g->version == 2 || rarely(2) ? 0 : rarely(16) ? between(5, 40) : between(1, 4);
    if (extent == LARGE && g->tokens) g->tokens = rarely(2) ? 256 : between(1, 255);
    for (int i = 0; i < (int)g->stages; i++) draw_stage(g, i, extent);
    g->flags = draw(32);
    if (g->body) g->flags |= FINAL_NORM;
    else g->feature_norms = rarely(3) ? 0 : draw(1u << g->stages);
    if (!(g->flags & POSITION)) return;
    g->position_h = extent == LARGE ? ONE_OF(most) : between(1, 9);
    g->position_w = extent == LARGE ? ONE_OF(most) : between(1, 9);
    g->position_rule = rarely(4);
}

static void draw_convolutions(swin_config *g, enum extent extent)
{
    const uint32_t sides = extent == LARGE ? 64 : rarely(16) ? 12 : 6;
    if (g->head == UPER || g->head == PSP) {
        g->pool_count = between(1, 8);
        for (uint32_t p = 0; p < g->pool_count; p++) g->pool_scale[p] = between(1, sides);
    }
    if (g->head == FCN) {
        g->convs = extent == LARGE ? 8 : draw(4);
        g->conv_concat = g->convs && rarely(2);
        g->conv_kernel = rarely(8) ? 2 * draw(8) + 1 : rarely(3) ? 1 : 3;
    }
    if (g->head == FPN) {
        g->neck_channels = extent == LARGE ? 16384 : between(1, 24);
        for (uint32_t l = 0; l < 4; l++) g->neck_convs[l] = l ? between(1, l + rarely(8)) : 1;
    }
}

static void draw_head(swin_config *g, enum extent extent)
{
    static const uint32_t many[] = {254, 255, 256, 257, 300};
    g->ignore_label = rarely(4) ? draw(65536) : 255;
    g->head = g->body ? UNET_HEAD : draw(CLASSIFIER + 1);
    if (g->head == NO_HEAD) return;
    g->align_corners = draw(2);
    g->classes = rarely(12) ? ONE_OF(many) : between(1, 24);
    if (extent == LARGE) g->classes = rarely(2) ? 65535 : ONE_OF(many);
    if (g->head == UNET_HEAD) return;
    g->head_inputs = g->head == CLASSIFIER ? 1u << (g->stages - 1)
                     : g->head == FCN || g->head == PSP ? 1u << draw(g->stages)
                                                        : between(1, (1u << g->stages) - 1);
    if (g->head == CLASSIFIER) return;
    g->head_channels = extent == LARGE ? (rarely(2) ? 16384 : between(1, 16384))
                       : rarely(6) ? between(33, 64) : between(1, 24);
    draw_convolutions(g, extent);
}

/* Of at most `sides` patches: whole ones where the model takes no other, one or more where it drops
   the rest, and in rule 1 of shifts enough for the windows that fit_windows leaves. */
static uint32_t draw_length(const swin_config *g, uint32_t sides)
{
    const uint32_t least = g->shift_rule == 1 ? (sides + 1) / 2 : 1;
    const uint32_t whole = between(least, sides) * g->patch;
    if (g->input_rule == 2 || rarely(3)) return whole;
    return g->input_rule == 1 ? whole + draw(g->patch) : whole - draw(g->patch);
}

/* Rule 1 of shifts refuses maps smaller than their window: no window is larger than the least map
   of inputs of (sides + 1) / 2 patches. */
static inline void fit_windows(swin_config *g, uint32_t sides)
{
    for (int i = 0; g->shift_rule == 1 && i < (int)g->stages; i++) {
        const uint32_t least = ((sides + 1) / 2) >> i, most = least ? least : 1;
        if (g->window_h[i] <= most) continue;
        g->window_h[i] = g->window_w[i] = most;
        g->shift_h[i] %= most;
        g->shift_w[i] %= most;
    }
}

/* How pictures become inputs; sides: patches along an input at most. */
static inline void draw_preprocessing(swin_config *g, uint32_t sides)
{
    const int classifier = g->head == CLASSIFIER, none = g->head == NO_HEAD;
    for (int i = 0; i < 3; i++) {
        g->mean[i] = (float)draw(256);
        g->scale[i] = 0.001f * (float)between(1, 40);
    }
    g->bgr = draw(2);
    g->input_rule = draw(3);
    if (g->input_rule == 2 && rarely(2)) {
        g->input_h = draw_length(g, sides);
        g->input_w = draw_length(g, sides);
    }
    g->resize_rule = draw(5);
    if (g->resize_rule) {
        g->resize_a = draw_length(g, sides);
        g->resize_b = draw_length(g, sides);
    }
    g->resize_filter = draw(4);
    g->resize_round = draw(2);
    g->mode = none || rarely(2) ? 0 : classifier ? 2 : 1;
    if (!g->mode) return;
    g->crop_h = g->input_h ? g->input_h : draw_length(g, sides);
    g->crop_w = g->input_w ? g->input_w : draw_length(g, sides);
    g->stride_h = rarely(2) ? between(1, g->crop_h) : (g->crop_h + 1) / 2;
    g->stride_w = rarely(2) ? between(1, g->crop_w) : (g->crop_w + 1) / 2;
    if (g->mode != 2) return;
    g->resize_rule = between(3, 4);
    g->resize_a = g->crop_h + draw(9);
    g->resize_b = g->crop_w + draw(9);
    if (g->resize_rule == 3 && g->resize_a < g->crop_w) g->resize_a = g->crop_w;
}

/* The whole of a config but its preprocessing. */
static inline swin_config draw_model(enum extent extent)
{
    swin_config g;
    memset(&g, 0, sizeof g);
    draw_body(&g, extent);
    draw_head(&g, extent);
    return g;
}

/* --- a config as C source --------------------------------------------------------------------- */

/* Every field, its number of words, and whether they are floats. */
#define CONFIG_FIELDS(X)                                                                          \
    X(version, 1, 0) X(body, 1, 0) X(head, 1, 0) X(patch, 1, 0) X(planes, 1, 0) X(width, 1, 0)    \
    X(stages, 1, 0) X(input_rule, 1, 0) X(depth, 4, 0) X(heads, 4, 0) X(window_h, 4, 0)           \
    X(window_w, 4, 0) X(shift_h, 4, 0) X(shift_w, 4, 0) X(hidden, 4, 0) X(shift_rule, 1, 0)       \
    X(roll_before_pad, 1, 0) X(mask, 1, 1) X(eps, 1, 1) X(flags, 1, 0) X(feature_norms, 1, 0)     \
    X(position_h, 1, 0) X(position_w, 1, 0) X(position_rule, 1, 0) X(tokens, 1, 0)                \
    X(token_rows, 4, 0) X(token_middle, 4, 0) X(classes, 1, 0) X(head_channels, 1, 0)             \
    X(head_inputs, 1, 0) X(align_corners, 1, 0) X(pool_count, 1, 0) X(pool_scale, 8, 0)           \
    X(convs, 1, 0) X(conv_kernel, 1, 0) X(conv_concat, 1, 0) X(neck_channels, 1, 0)               \
    X(neck_convs, 4, 0) X(ignore_label, 1, 0) X(mean, 3, 1) X(scale, 3, 1) X(bgr, 1, 0)           \
    X(resize_rule, 1, 0) X(resize_a, 1, 0) X(resize_b, 1, 0) X(resize_filter, 1, 0)               \
    X(resize_round, 1, 0) X(mode, 1, 0) X(crop_h, 1, 0) X(crop_w, 1, 0) X(stride_h, 1, 0)         \
    X(stride_w, 1, 0) X(input_h, 1, 0) X(input_w, 1, 0)

static void print_field(const char *name, const void *words, int length, int floats)
{
    static const unsigned char zero[32];
    const char *separator = length > 1 ? "{" : "";
    if (!memcmp(words, zero, 4 * (size_t)length)) return;
    fprintf(stderr, " .%s = ", name);
    for (int i = 0; i < length; i++, separator = ", ") {
        uint32_t word;
        float value;
        memcpy(&word, (const unsigned char *)words + 4 * i, 4);
        memcpy(&value, &word, 4);
        if (floats) fprintf(stderr, "%s%.9g", separator, value);
        else fprintf(stderr, "%s%u", separator, word);
    }
    fprintf(stderr, "%s,", length > 1 ? "}" : "");
}

static inline void print_config(const swin_config *g)
{
    fprintf(stderr, "{");
#define PRINT(field, length, floats) print_field(#field, &g->field, length, floats);
    CONFIG_FIELDS(PRINT)
#undef PRINT
    fprintf(stderr, " }");
}
#endif
