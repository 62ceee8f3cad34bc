/* tests/options.c - what each kind of model gives in this build, or the sentence that refuses it

   options [direct]: a line a thing, `NAME: HASH` or `NAME: SENTENCE`. tests/options.py builds it
   once and links it with builds of swin.h that leave things out. direct: plain convolutions. */

#include "../swin.h"
#include "model.h"
#include "session.h"
#include "results.h"

enum { W = 45, H = 37 };

/* The results of a run as a hash in the text; else the sentence that says why there are none. */
static void run(const swin_model *m, swin_desc d, const swin_image *in, swin_error *e)
{
    swin_context *c;
    const size_t size = swin_workspace_size(m, &d, e);
    void *memory = need(size);
    if (size && !swin_init(&c, m, &d, memory, size, e)) {
        const swin_status status = swin_run(c, in);
        const uint64_t h = status ? 0 : results(c);
        snprintf(e->text, sizeof e->text, "%08lx%08lx", (unsigned long)(h >> 32),
                 (unsigned long)(h & 0xffffffffu));
        if (status) snprintf(e->text, sizeof e->text, "%s", swin_error_text(c));
    }
    free(memory);
}

/* A run of a model, of all its outputs where the desc asks for none. kept: its average instead. */
static void line(const char *name, int which, int numbers, swin_desc d, int kept)
{
    const blob b = model_blob_of(which, numbers);
    unsigned char rgb[3 * W * H];
    swin_model m;
    swin_error e;
    const swin_image in = picture(rgb, W, H);
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (unsigned char)dice(256);
    d.picture_width = W, d.picture_height = H;
    if (!swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e)) {
        d.width = side_of(&m, W), d.height = side_of(&m, H);
        if (!d.outputs && !kept) d.outputs = outputs_of(&m.config, SWIN_OUT_CONFIDENCE);
        const size_t size = kept ? swin_kept_size(&m, &d, &e) : 0;
        void *logits = need(size);
        const void *logits_of[1];
        logits_of[0] = d.kept = logits;
        if (size) run(&m, d, &in, &e);
        d.kept = NULL;
        if (size) d.average = logits_of, d.average_count = 1;
        if (size || !kept) run(&m, d, d.average ? NULL : &in, &e);
        free(logits);
    }
    printf("%s %s: %s\n", name, number_names[numbers], e.text);
    free(b.bytes);
}

/* Models that are run with weights of floats alone. */
static int is_slow(int which) { return which == WIDE_UPER || which == ONEFORMER; }

int main(int argc, char **argv)
{
    static const int types[] = {FLOATS, HALVES, EIGHT};
    swin_desc d;
    memset(&d, 0, sizeof d);
    d.flags = argc > 1 && !strcmp(argv[1], "direct") ? SWIN_RUN_DIRECT : 0;
    for (int which = 0; which < MODELS; which++)
        for (int i = 0; i < (is_slow(which) ? 1 : 3); i++)
            line(model_names[which], which, types[i], d, 0);
    line("average", FCN_HEAD, FLOATS, d, 1);
    d.outputs = SWIN_OUT_CLASSES | SWIN_OUT_LOGITS;
    d.crop_width = d.crop_height = 24;
    line("slide", FCN_HEAD, FLOATS, d, 0);
    d.crop_width = d.crop_height = 0;
    d.outputs = SWIN_OUT_ATTENTION;
    line("attention", GLAM_UPER, FLOATS, d, 0);
    return 0;
}
