/* configs.h - configs that are valid by construction, drawn from a fuzzer's input

   What a config may hold is taken from swin.h's description of its fields, not from the reader's
   checks: a config that the reader refuses is a fault, here or there. */
#ifndef CONFIGS_H
#define CONFIGS_H

/* One of 0 ... sides - 1, and one of low ... high, as a config counts. */
static int any(int sides) { return (int)draw((uint32_t)sides); }
static int within(int low, int high) { return (int)between((uint32_t)low, (uint32_t)high); }

/* SMALL: tiny maps and layers. LARGE: fields up to their limits, of models nobody can run. */
enum extent { SMALL, LARGE };

/* Floats of a weight matrix as stored. */
static double matrix(double outputs, double inputs) { return (outputs + 15) * inputs + 32; }

static double block_floats(const swin_config *g, int i)
{
    const double c = g->stage[i].width, wide = c + 15.0 * g->stage[i].heads;
    const double area = (2.0 * g->stage[i].window_h - 1) * (2.0 * g->stage[i].window_w - 1);
    return (matrix(3 * wide, c) + matrix(c, wide)) * (g->tokens ? 2 : 1) + g->stage[i].heads * area
           + matrix(g->stage[i].hidden, c) + matrix(c, g->stage[i].hidden) + 100;
}

/* Those of MiT. */
static double mit_floats(const swin_config *g)
{
    double sum = 0;
    for (int i = 0; i < g->stages; i++) {
        const double c = g->stage[i].width, before = i ? g->stage[i - 1].width : 3;
        const double kernel = g->mit.kernel[i], side = g->mit.reduction[i];
        sum += matrix(c, kernel * kernel * before);
        sum += g->stage[i].depth * (block_floats(g, i) + matrix(c, side * side * c) +
                                    10.0 * (g->stage[i].hidden + 16));
    }
    return sum;
}

static double body_floats(const swin_config *g)
{
    double sum = matrix(g->stage[0].width, 3.0 * g->patch * g->patch);
    if (g->body == SWIN_BODY_MIT) return mit_floats(g);
    if (g->position.h)
        sum += (double)g->position.h * g->position.w * (g->stage[0].width + 15);
    for (int i = 0; i < g->stages; i++) {
        const double c = g->stage[i].width, tokens = g->tokens + g->stage[i].token_rows;
        const int up = is_unet(g) && i + 1 < g->stages;
        sum += (g->stage[i].depth * block_floats(g, i) + tokens * (c + 15)) * (up ? 2 : 1);
        if (i + 1 < g->stages) sum += matrix(g->stage[i + 1].width, 4 * c);
        if (up) sum += matrix(4 * c, 2 * c) + 4 * block_floats(g, i) + matrix(c, 2 * c);
    }
    return sum + (is_unet(g) ? matrix(16.0 * g->stage[0].width, g->stage[0].width) : 0);
}

/* Of BiRefNet's decoder: five blocks as large as the largest, and what reads patches. */
static double birefnet_floats(const swin_config *g)
{
    const swin_birefnet_config *b = &g->birefnet;
    double widths = 0, sum = 0;
    for (int i = 0; i < g->stages; i++) {
        const double c = 2.0 * g->stage[i].width, grid = 4 << i;
        widths += c;
        sum += matrix(b->patches, 27 * grid * grid) + matrix(c, 9.0 * b->patches) + matrix(c, c) +
               matrix(b->gate, 9 * c);
    }
    for (int i = 0; i < SWIN_MAX_BRANCHES; i++) {
        const double area = (double)b->kernel[i] * b->kernel[i];
        sum += 5 * (matrix(3 * area, 2 * area * b->inner) + matrix(b->branch, area * b->inner) +
                    matrix(b->inner, b->branch));
    }
    return sum + 5 * (matrix(b->inner, 9 * widths) + matrix(widths, 9.0 * b->inner) +
                      2 * matrix(b->branch, b->inner));
}

/* Does the head have queries? */
static int has_queries(const swin_config *g)
{
    return g->head.kind >= SWIN_HEAD_MASKFORMER && g->head.kind <= SWIN_HEAD_ONEFORMER;
}

static double query_layers_floats(const swin_config *g, int layers, int hidden)
{
    const double c = g->queries.width, packed = c + 15.0 * g->queries.heads;
    return layers * (6 * matrix(packed, c) + 2 * matrix(c, packed) + matrix(hidden, c)
                     + matrix(c, hidden) + 12 * c);
}

static double query_floats(const swin_config *g)
{
    const swin_queries_config *q = &g->queries;
    const double c = q->width, ch = g->head.channels, last = g->stage[3].width;
    const double packed = ch + 15.0 * q->pixel_heads;
    return query_layers_floats(g, q->layers, q->hidden)
           + query_layers_floats(g, q->start_layers, q->start_hidden)
           + q->pixel_layers * (matrix(40.0 * q->pixel_heads, ch) + matrix(packed, ch)
                                + matrix(ch, packed) + matrix(q->pixel_hidden, ch)
                                + matrix(ch, q->pixel_hidden))
           + 4 * matrix(ch, 9 * last) + 4 * matrix(ch, 9 * ch) + matrix(q->masks, 9 * ch)
           + 2.0 * q->count * (c + 15) + 4 * matrix(c, ch > last ? ch : last) + 3 * matrix(c, c)
           + matrix(q->masks, c) + matrix(g->classes + 1, c);
}

static double head_floats(const swin_config *g)
{
    if (has_queries(g)) return query_floats(g);
    if (g->head.kind == SWIN_HEAD_BIREFNET) return birefnet_floats(g);
    const double ch = g->head.channels, last = g->stage[g->stages - 1].width;
    const double area = (double)g->head.conv_kernel * g->head.conv_kernel;
    const double neck = g->head.neck_channels, pools = g->head.pool_count;
    double sum = matrix(g->classes, ch > last ? ch : last);
    if (g->head.kind == SWIN_HEAD_UPER || g->head.kind == SWIN_HEAD_PSP)
        sum += pools * matrix(ch, last) + matrix(ch, 9 * (last + pools * ch));
    if (g->head.kind == SWIN_HEAD_UPER) sum += 4 * matrix(ch, last) + 7 * matrix(ch, 9 * ch);
    if (g->head.kind == SWIN_HEAD_FCN)
        sum += (g->head.convs + 2) * matrix(ch, area * (ch > last ? ch : last));
    if (g->head.kind == SWIN_HEAD_SMP_UNET) {
        double below = last;
        for (int i = 0; i <= g->stages; i++) {
            const double own = g->decoder.width[i], inputs = below + last;
            sum += matrix(own, 9 * inputs) + matrix(own, 9 * own) + inputs * inputs + own * own;
            below = own;
        }
        sum += matrix(g->classes, 9 * ch);
    }
    if (g->head.kind == SWIN_HEAD_SMP_FPN) sum += matrix(g->classes, g->stages * ch);
    if (g->head.kind == SWIN_HEAD_FPN || g->head.kind == SWIN_HEAD_SMP_FPN) {
        sum += 4 * (matrix(neck, last) + matrix(neck, 9 * neck));
        for (int l = 0; l < g->stages; l++)
            sum += g->head.neck_convs[l] * matrix(ch, 9 * (ch > neck ? ch : neck));
    }
    if (g->head.kind == SWIN_HEAD_SEGFORMER || g->head.kind == SWIN_HEAD_GLAM_SEGFORMER ||
        g->head.kind == SWIN_HEAD_MERGED_SEGFORMER)
        sum += 4 * matrix(ch, last) + matrix(ch, 4 * ch);
    return sum;
}

/* About how many floats the weights of a config take. */
static inline double weights_of(const swin_config *g)
{
    return body_floats(g) + (g->head.kind ? head_floats(g) : 0);
}

/* A divisor of the stage's channels, up to 1024. */
static int draw_heads(int channels)
{
    const int most = channels < 1024 ? channels : 1024, few = most < 8 ? most : 8;
    int count = within(1, rarely(4) ? most : few);
    while (channels % count) count--;
    return count;
}

static int draw_side(enum extent extent)
{
    if (extent == LARGE) return rarely(3) ? within(1, 64) : rarely(2) ? 64 : within(1, 2);
    return rarely(16) ? within(9, 20) : within(1, 8);
}

static void draw_stage(const swin_config *g, swin_stage_config *s, enum extent extent)
{
    static const int hiddens[] = {1, 2, 65535, 65536};
    const int c = s->width;
    const int square = g->shift_rule == SWIN_SHIFT_SQUARE || g->body == SWIN_BODY_CROSS_UNET;
    s->depth = extent == LARGE ? (rarely(4) ? 256 : within(1, 24)) : within(1, 3);
    s->heads = draw_heads(c);
    s->window_h = draw_side(extent);
    s->window_w = square ? s->window_h : draw_side(extent);
    if (extent == SMALL && !square && rarely(32)) {     /* long and narrow */
        s->window_h = rarely(2) ? 64 : 1;
        s->window_w = s->window_h == 1 ? 64 : within(1, 3);
    }
    s->shift_h = rarely(4) ? any(s->window_h) : s->window_h / 2;
    s->shift_w = rarely(4) ? any(s->window_w) : s->window_w / 2;
    s->hidden = extent == LARGE ? (rarely(2) ? ONE_OF(hiddens) : within(1, 65536))
                                   : within(1, 4 * c);
    if (!g->tokens || s->depth == 1) return;
    s->token_rows = rarely(8) ? within(1, 40) : within(200, 900);
    s->token_middle = s->token_rows / 2 + any(3);
    if (extent == SMALL) return;
    s->token_rows = 1 << 24;
    s->token_middle = 1 << within(20, 24);
}

/* Twice as many channels from stage to stage, as papers have it, or any. */
static void draw_widths(swin_config *g, int width)
{
    const int doubled = g->body || !rarely(4);
    for (int i = 0; i < g->stages; i++) {
        const int most = i < 3 ? 4096 << i : 32768, twice = width << i;
        const int limit = twice < most ? twice : most;
        g->stage[i].width = doubled ? limit : within(1, limit);
        if (g->body && twice > most) g->stages = i;
    }
}

/* Makes a drawn backbone one of MiT, whose maps shrink by its strides. */
static void draw_mit(swin_config *g)
{
    g->body = SWIN_BODY_MIT;
    g->version = g->patch_norm = g->qkv_bias = 1;
    g->tokens = g->merge_norm = g->final_norm = g->roll_before_pad = g->shift_rule = 0;
    g->feature_norms = (1u << g->stages) - 1;
    if (rarely(2)) g->mit.eps = g->eps;
    for (int i = 0; i < g->stages; i++) {
        g->mit.kernel[i] = rarely(4) ? 2 * any(8) + 1 : i ? 3 : 7;
        g->mit.stride[i] = i ? 2 : g->patch;
        g->mit.reduction[i] = rarely(2) ? within(2, 8) : 1;
        g->stage[i].token_rows = g->stage[i].token_middle = 0;
    }
}

/* Its four stages are wide enough, and have no tokens. */
static void fit_birefnet(swin_config *g)
{
    g->tokens = 0;
    g->input.rule = SWIN_INPUT_EXACT;
    g->rules.input_multiple = 32;
    while (g->stage[0].width < 4)
        for (int i = 0; i < g->stages; i++) g->stage[i].width *= 2;
}

static void draw_body(swin_config *g, enum extent extent)
{
    static const int patches[] = {4, 4, 4, 4, 4, 2, 1, 3, 5, 7, 8, 16, 32};
    static const int widths[] = {1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 33, 48};
    static const int most[] = {96, 128, 192, 1024, 1536, 4095, 4096};
    static const float epsilons[] = {1e-5f, 1e-5f, 1e-6f, 1e-12f, 1e-30f, 0.99f};
    static const float masks[] = {-100, -100, -200, 0, -0.5f, -1e6f};
    const int kind = any(8);
    g->body = kind < 5 ? 0 : kind < 6 ? 1 : 2;
    if (rarely(40)) g->body = SWIN_BODY_BIREFNET;       /* which takes ten times as long */
    g->version = !g->body && rarely(4) ? 2 : 1;
    g->patch = g->body ? 4 : ONE_OF(patches);
    g->planes = 3;
    g->stages = within(g->body ? 2 : 1, rarely(8) ? 6 : 4);
    if (g->body == SWIN_BODY_BIREFNET) g->stages = 4;
    draw_widths(g, extent == LARGE ? ONE_OF(most) : ONE_OF(widths));
    g->shift_rule = any(3);
    g->roll_before_pad = any(2);
    g->mask = ONE_OF(masks);
    g->eps = ONE_OF(epsilons);
    g->tokens = g->version == 2 || rarely(2) ? 0 : rarely(16) ? within(5, 40) : within(1, 4);
    if (extent == LARGE && g->tokens) g->tokens = rarely(2) ? 256 : within(1, 255);
    if (g->body == SWIN_BODY_BIREFNET) fit_birefnet(g);
    for (int i = 0; i < g->stages; i++) draw_stage(g, &g->stage[i], extent);
    g->patch_norm = any(2);
    g->qkv_bias = any(2);
    g->merge_norm = any(2);
    g->final_norm = is_unet(g) || (!g->body && any(2));
    if (g->body == SWIN_BODY_BIREFNET) g->feature_norms = 15;
    if (!g->body) g->feature_norms = rarely(3) ? 0 : draw(1u << g->stages);
    if (!g->body && rarely(4)) draw_mit(g);
    if (g->body == SWIN_BODY_MIT || any(2)) return;
    g->position.h = extent == LARGE ? ONE_OF(most) : within(1, 9);
    g->position.w = extent == LARGE ? ONE_OF(most) : within(1, 9);
    g->position.rule = (int)rarely(4);
}

/* Reads all stages, of which there is one less than the most. */
static void draw_smp_unet(swin_config *g, enum extent extent)
{
    if (g->stages == SWIN_MAX_STAGES) g->stages--;
    g->feature_norms &= (1u << g->stages) - 1;
    g->decoder.scse = g->stage[g->stages - 1].width >= 16 && any(2);
    g->decoder.bilinear = any(2);
    for (int i = 0; i <= g->stages; i++)
        g->decoder.width[i] = extent == LARGE ? (rarely(2) ? 16384 : within(16, 16384))
                              : g->decoder.scse ? within(16, 34) : within(1, 34);
    g->head.channels = g->decoder.width[g->stages];
    g->head.inputs = (1u << g->stages) - 1;
}

static void draw_convolutions(swin_config *g, enum extent extent)
{
    const int sides = extent == LARGE ? 64 : rarely(16) ? 12 : 6;
    if (g->head.kind == SWIN_HEAD_UPER || g->head.kind == SWIN_HEAD_PSP) {
        g->head.pool_count = within(1, 8);
        for (int p = 0; p < g->head.pool_count; p++)
            g->head.pool_scale[p] = within(1, sides);
    }
    if (g->head.kind == SWIN_HEAD_FCN) {
        g->head.convs = extent == LARGE ? 8 : any(4);
        g->head.conv_concat = g->head.convs && rarely(2);
        g->head.conv_kernel = rarely(8) ? 2 * any(8) + 1 : rarely(3) ? 1 : 3;
    }
    if (g->head.kind == SWIN_HEAD_SMP_FPN) {
        g->head.channels = 32 * within(1, extent == LARGE ? 512 : 2);
        g->decoder.concat = any(2);
        g->decoder.bilinear = any(2);
    }
    if (g->head.kind == SWIN_HEAD_SMP_UNET) draw_smp_unet(g, extent);
    if (g->head.kind == SWIN_HEAD_FPN || g->head.kind == SWIN_HEAD_SMP_FPN) {
        g->head.neck_channels = extent == LARGE ? 16384 : within(1, 24);
        for (int l = 0; l < SWIN_MAX_STAGES; l++)
            g->head.neck_convs[l] = l ? within(1, l + (int)rarely(8)) : 1;
    }
}

/* Does the head read one feature, any of them? */
static int reads_one(const swin_config *g)
{
    return g->head.kind == SWIN_HEAD_FCN || g->head.kind == SWIN_HEAD_PSP;
}

/* The largest divisor of n up to a number of 1 ... most. */
static int draw_divisor(int n, int most)
{
    int divisor = within(1, n < most ? n : most);
    while (n % divisor) divisor--;
    return divisor;
}

static void draw_queries(swin_config *g, enum extent extent)
{
    swin_queries_config *q = &g->queries;
    const int large = extent == LARGE, deformable = g->head.kind != SWIN_HEAD_MASKFORMER;
    g->head.channels = 32 * within(1, large ? 512 : 2);
    q->count = within(2, large ? 4096 : rarely(8) ? 100 : 12);
    q->width = 4 * within(1, large ? 1024 : 8);
    q->heads = draw_divisor(q->width, 256);
    q->masks = g->head.kind == SWIN_HEAD_ONEFORMER ? g->head.channels
                                                   : within(1, large ? 4096 : 40);
    q->layers = within(1, large ? 64 : 4);
    q->hidden = within(1, large ? 65536 : 40);
    if (q->masks > 4096) q->masks = g->head.channels = 4096;
    if (deformable) {
        q->pixel_heads = draw_divisor(g->head.channels, 256);
        q->pixel_layers = within(1, large ? 64 : 2);
        q->pixel_hidden = within(1, large ? 65536 : 40);
    }
    if (g->head.kind == SWIN_HEAD_ONEFORMER) {
        q->start_layers = within(1, large ? 64 : 2);
        q->start_hidden = within(1, large ? 65536 : 40);
    }
    q->projected = (deformable ? g->head.channels : g->stage[3].width) != q->width || any(2);
    q->scores = rarely(3) ? SWIN_SCORES_AT_INPUT : rarely(2) ? SWIN_SCORES_AT_PICTURE : 0;
    if (rarely(40)) q->scores = SWIN_SCORES_AT_384;     /* many more pixels than the others */
    q->size_divisor = rarely(4) ? within(1, 40) : 0;
    if (g->classes > SWIN_MAX_THINGS || rarely(2)) return;
    g->segments.rule = any(SWIN_SEGMENTS_COUNT);
    g->segments.object_score = any(400);
    g->segments.things[0] = (uint32_t)any(1 << 16);
    if (swin__competes(g->segments.rule)) g->segments.overlap_share = any(400);
    if (!swin__lists_pairs(g->segments.rule)) return;
    g->segments.things[0] |= 1u << any(16);
    g->instances.most = rarely(2) ? 0 : within(1, large ? 4096 : 60);
}

/* BiRefNet's decoder, or none. */
static void draw_birefnet(swin_config *g, enum extent extent)
{
    swin_birefnet_config *b = &g->birefnet;
    const int large = extent == LARGE, branches = within(1, SWIN_MAX_BRANCHES);
    g->head.kind = rarely(8) ? SWIN_HEAD_NONE : SWIN_HEAD_BIREFNET;
    if (g->head.kind == SWIN_HEAD_NONE) return;
    g->head.align_corners = g->rules.one_class = 1;
    g->classes = 2;
    b->inner = within(1, large ? 1024 : 24);
    b->branch = within(1, large ? 4096 : 40);
    b->patches = within(1, large ? 1024 : 12);
    b->gate = within(1, large ? 1024 : 20);
    for (int i = 0; i < branches; i++) b->kernel[i] = 2 * any(large ? 6 : 3) + 1;
}

static void draw_head(swin_config *g, enum extent extent)
{
    static const int many[] = {254, 255, 256, 257, 300};
    const int other = any(SWIN_HEAD_BIREFNET - 1);      /* than a Unet's and BiRefNet's */
    if (g->body == SWIN_BODY_BIREFNET) {
        draw_birefnet(g, extent);
        return;
    }
    g->head.kind = is_unet(g) ? SWIN_HEAD_UNET : other + (other >= SWIN_HEAD_UNET);
    if (has_queries(g) && g->stages < 4) g->head.kind = SWIN_HEAD_UPER;
    if (g->head.kind == SWIN_HEAD_NONE) return;
    g->head.align_corners = any(2);
    g->classes = rarely(12) ? ONE_OF(many) : within(1, 24);
    if (extent == LARGE) g->classes = rarely(2) ? 65535 : ONE_OF(many);
    if (g->head.kind == SWIN_HEAD_UNET) return;
    g->head.inputs = g->head.kind == SWIN_HEAD_CLASSIFIER ? 1u << (g->stages - 1)
                     : reads_one(g)                       ? 1u << any(g->stages)
                                                          : between(1, (1u << g->stages) - 1);
    if (g->head.kind == SWIN_HEAD_CLASSIFIER) return;
    if (has_queries(g)) {
        g->head.inputs = 15;
        draw_queries(g, extent);
        return;
    }
    g->head.channels = extent == LARGE ? (rarely(2) ? 16384 : within(1, 16384))
                       : rarely(6) ? within(33, 64) : within(1, 24);
    draw_convolutions(g, extent);
    if (rarely(4)) g->rules.corners = any(SWIN_CORNERS_COUNT);
    if (rarely(4)) g->rules.feature_eps = 1e-6f;
    if (extent != LARGE && rarely(6)) {
        g->rules.one_class = 1;
        g->classes = 2;
    }
    if (rarely(4)) g->rules.straight = 1;
}

/* Does the model refuse maps that are smaller than its windows, or than patches that are keys? */
static int has_least(const swin_config *g)
{
    return g->shift_rule == SWIN_SHIFT_SQUARE || g->body == SWIN_BODY_MIT;
}

/* Of at most `sides` patches: whole ones where the model takes no other, one or more where it drops
   the rest, and where there is a least size, enough for the windows that fit_windows leaves. */
static int draw_length(const swin_config *g, int sides)
{
    const int least = has_least(g) ? (sides + 1) / 2 : 1;
    const int whole = within(least, sides) * g->patch;
    if (g->body == SWIN_BODY_BIREFNET) return 32 * within(1, sides < 16 ? 1 : sides / 8);
    if (g->input.rule == SWIN_INPUT_EXACT || rarely(3)) return whole;
    return g->input.rule == SWIN_INPUT_FLOOR ? whole + any(g->patch) : whole - any(g->patch);
}

/* Rule 1 of shifts refuses maps smaller than their window, MiT maps smaller than a key's patch:
   neither is larger than the least map of inputs of (sides + 1) / 2 patches. */
static inline void fit_windows(swin_config *g, int sides)
{
    for (int i = 0; has_least(g) && i < g->stages; i++) {
        const int least = ((sides + 1) / 2) >> i, most = least ? least : 1;
        if (g->mit.reduction[i] > most) g->mit.reduction[i] = most;
        if (g->shift_rule != SWIN_SHIFT_SQUARE) continue;
        if (g->stage[i].window_h <= most) continue;
        g->stage[i].window_h = g->stage[i].window_w = most;
        g->stage[i].shift_h %= most;
        g->stage[i].shift_w %= most;
    }
}

/* How pictures become inputs; sides: patches along an input at most. */
static inline void draw_preprocessing(swin_config *g, int sides)
{
    const int classifier = g->head.kind == SWIN_HEAD_CLASSIFIER;
    const int none = g->head.kind == SWIN_HEAD_NONE;
    for (int i = 0; i < 3; i++) {
        g->picture.mean[i] = (float)any(256);
        g->picture.scale[i] = 0.001f * (float)within(1, 40);
    }
    g->picture.bgr = any(2);
    g->input.rule = g->body == SWIN_BODY_MIT        ? SWIN_INPUT_PAD
                    : g->body == SWIN_BODY_BIREFNET ? SWIN_INPUT_EXACT
                                                    : any(3);
    if (g->input.rule == SWIN_INPUT_EXACT && rarely(2)) {
        g->input.h = draw_length(g, sides);
        g->input.w = draw_length(g, sides);
    }
    g->picture.resize_rule = any(5);
    if (g->picture.resize_rule) {
        g->picture.resize_a = draw_length(g, sides);
        g->picture.resize_b = draw_length(g, sides);
    }
    if (rarely(4)) g->sides.cut = 1;
    if (rarely(16)) g->sides.multiple = 32;
    g->picture.resize_filter = any(4);
    g->picture.resize_round = any(2);
    g->picture.mode = none || has_queries(g) || rarely(2) ? SWIN_MODE_WHOLE
                      : classifier      ? SWIN_MODE_CENTRE
                                        : SWIN_MODE_SLIDE;
    if (!g->picture.mode) return;
    g->picture.crop_h = g->input.h ? g->input.h : draw_length(g, sides);
    g->picture.crop_w = g->input.w ? g->input.w : draw_length(g, sides);
    g->picture.stride_h = rarely(2) ? within(1, g->picture.crop_h) : (g->picture.crop_h + 1) / 2;
    g->picture.stride_w = rarely(2) ? within(1, g->picture.crop_w) : (g->picture.crop_w + 1) / 2;
    if (g->picture.mode != SWIN_MODE_CENTRE) return;
    g->picture.resize_rule = within(SWIN_RESIZE_SHORTEST, SWIN_RESIZE_EXACT);
    g->picture.resize_a = g->picture.crop_h + any(9);
    g->picture.resize_b = g->picture.crop_w + any(9);
    if (g->picture.resize_rule == SWIN_RESIZE_SHORTEST &&
        g->picture.resize_a < g->picture.crop_w)
        g->picture.resize_a = g->picture.crop_w;
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

/* What the tensors hold that need not be f32, as model.h has it: f32 in half of the models. */
static inline int draw_numbers(void)
{
    static const int several[] = {HALVES, EIGHT, EIGHT, MIXED, MIXED};
    const int numbers = rarely(2) ? ONE_OF(several) : FLOATS;
    return numbers == MIXED ? MIXED + any(1 << 16) : numbers;
}

/* --- a config as C source --------------------------------------------------------------------- */

/* Every member but those of stages, and whether it holds floats. */
#define CONFIG_MEMBERS(X)                                                                         \
    X(version, 0) X(body, 0) X(patch, 0) X(planes, 0) X(input.rule, 0) X(input.h, 0)              \
    X(input.w, 0) X(shift_rule, 0) X(roll_before_pad, 0) X(mask, 1) X(eps, 1) X(patch_norm, 0)    \
    X(qkv_bias, 0) X(merge_norm, 0) X(final_norm, 0) X(feature_norms, 0) X(position.h, 0)         \
    X(position.w, 0) X(position.rule, 0) X(tokens, 0) X(stages, 0) X(head.kind, 0)                \
    X(head.channels, 0) X(head.inputs, 0) X(head.align_corners, 0) X(head.pool_count, 0)          \
    X(head.pool_scale, 0) X(head.convs, 0) X(head.conv_kernel, 0) X(head.conv_concat, 0)          \
    X(head.neck_channels, 0) X(head.neck_convs, 0) X(classes, 0) X(picture.mean, 1)               \
    X(picture.scale, 1) X(picture.bgr, 0) X(picture.resize_rule, 0) X(picture.resize_a, 0)        \
    X(picture.resize_b, 0) X(picture.resize_filter, 0) X(picture.resize_round, 0)                 \
    X(picture.mode, 0) X(picture.crop_h, 0) X(picture.crop_w, 0) X(picture.stride_h, 0)           \
    X(picture.stride_w, 0) X(rules.feature_eps, 1) X(rules.corners, 0) X(rules.one_class, 0)      \
    X(rules.input_multiple, 0) X(rules.straight, 0) X(decoder.width, 0) X(decoder.bilinear, 0)    \
    X(decoder.scse, 0) X(decoder.concat, 0) X(mit.kernel, 0) X(mit.stride, 0) X(mit.reduction, 0) \
    X(mit.eps, 1) X(sides.cut, 0) X(sides.multiple, 0) X(queries.count, 0) X(queries.width, 0)    \
    X(queries.masks, 0) X(queries.heads, 0) X(queries.layers, 0) X(queries.hidden, 0)             \
    X(queries.projected, 0) X(queries.pixel_heads, 0) X(queries.pixel_layers, 0)                  \
    X(queries.pixel_hidden, 0) X(queries.start_layers, 0) X(queries.start_hidden, 0)              \
    X(queries.scores, 0) X(queries.size_divisor, 0)                                  \
    X(birefnet.inner, 0) X(birefnet.branch, 0) X(birefnet.kernel, 0) X(birefnet.patches, 0)       \
    X(birefnet.gate, 0) X(segments.rule, 0) X(segments.object_score, 0)                           \
    X(segments.overlap_share, 0) X(segments.things, 0) X(instances.most, 0)

static void print_member(const char *name, const void *words, size_t length, int floats)
{
    static const unsigned char zero[4 * SWIN_MAX_THINGS / 32];
    const char *separator = length > 1 ? "{" : "";
    if (!memcmp(words, zero, 4 * length)) return;
    fprintf(stderr, " .%s = ", name);
    for (size_t i = 0; i < length; i++, separator = ", ") {
        uint32_t word;
        float value;
        memcpy(&word, (const unsigned char *)words + 4 * i, 4);
        memcpy(&value, &word, 4);
        if (floats) fprintf(stderr, "%s%.9g", separator, value);
        else fprintf(stderr, "%s%u", separator, word);
    }
    fprintf(stderr, "%s,", length > 1 ? "}" : "");
}

static void print_stage(int i, const swin_stage_config *s)
{
    fprintf(stderr, " .stage[%d] = {", i);
#define PRINT(member) print_member(#member, &s->member, 1, 0);
    PRINT(width) PRINT(depth) PRINT(heads) PRINT(hidden) PRINT(window_h) PRINT(window_w)
    PRINT(shift_h) PRINT(shift_w) PRINT(token_rows) PRINT(token_middle)
#undef PRINT
    fprintf(stderr, "},");
}

static inline void print_config(const swin_config *g)
{
    fprintf(stderr, "{");
#define PRINT(member, floats) print_member(#member, &g->member, sizeof g->member / 4, floats);
    CONFIG_MEMBERS(PRINT)
#undef PRINT
    for (int i = 0; i < g->stages; i++) print_stage(i, &g->stage[i]);
    fprintf(stderr, " }");
}
#endif
