/* session.h - a context in exactly the memory it asks for, and pictures to run it on. Include it
   after model.h. */
#ifndef SESSION_H
#define SESSION_H

typedef struct session { swin_context *c; void *memory; size_t size; } session;

static inline swin_desc desc_of(int w, int h)
{
    swin_desc d;
    memset(&d, 0, sizeof d);
    d.width = w;
    d.height = h;
    return d;
}

/* A side of the inputs of a model: some take multiples of a number alone. */
static inline int side_of(const swin_model *m, int side)
{
    const int multiple = m->config.rules.input_multiple;
    return multiple ? (side + multiple - 1) / multiple * multiple : side;
}

/* What a model whose inputs are multiples makes of a desc: its sizes become the picture's, and the
   input is as much larger as it has to be. */
static inline void fit_input(const swin_model *m, swin_desc *d)
{
    if (!m->config.rules.input_multiple || !d->width) return;
    if (!d->picture_width) d->picture_width = d->width, d->picture_height = d->height;
    d->width = side_of(m, d->width);
    d->height = side_of(m, d->height);
}

/* Opens a model; a failure ends the tests. */
static inline void open_blob(swin_model *m, blob b)
{
    swin_error e;
    if (!swin_open(m, b.bytes, b.size, SWIN_VERIFY, &e)) return;
    printf("%s\n", e.text);
    exit(1);
}

/* A parallel_for: runs the tasks from the last to the first. */
static inline void backwards(void *user, void (*task)(void *arg, int index), void *arg, int count)
{
    (void)user;
    while (count-- > 0) task(arg, count);
}

/* A failure to start ends the tests. The memory is as malloc gives it: not initialised. */
static inline session start_as(const swin_model *m, swin_desc d)
{
    session s;
    swin_error e;
    fit_input(m, &d);
    s.size = swin_workspace_size(m, &d, &e);
    s.memory = need(s.size);
    if (!s.size || swin_init(&s.c, m, &d, s.memory, s.size, &e)) {
        printf("%s\n", e.text);
        exit(1);
    }
    return s;
}

/* All that the model can be asked for at once; the confidence in bytes or in floats. */
static inline unsigned outputs_of(const swin_config *g, unsigned confidence)
{
    const unsigned features = g->picture.mode == SWIN_MODE_SLIDE ? 0 : SWIN_OUT_FEATURES;
    if (g->head.kind == SWIN_HEAD_CLASSIFIER) return features | SWIN_OUT_SCORES;
    const unsigned segments = g->segments.rule ? SWIN_OUT_SEGMENTS : 0;
    return g->head.kind ? features | SWIN_OUT_CLASSES | SWIN_OUT_LOGITS | segments | confidence
                        : features;
}

static inline session start(const swin_model *m, swin_desc d)
{
    d.outputs = outputs_of(&m->config, SWIN_OUT_CONFIDENCE);
    return start_as(m, d);
}

static inline swin_image picture(const unsigned char *rgb, int w, int h)
{
    swin_image in;
    memset(&in, 0, sizeof in);
    in.data = rgb;
    in.width = w;
    in.height = h;
    return in;
}

static inline unsigned char *make_rgb(int w, int h)
{
    unsigned char *rgb = (unsigned char *)need((size_t)w * (size_t)h * 3);
    swin_reference_picture(rgb, w, h, (uint32_t)(w + h));
    return rgb;
}

#endif
