/* tensor.c - runs a model on a float array and writes what the network gives: for checking numbers

   cc -std=c99 -O2 examples/tensor.c -o tensor -lm -lpthread */
#define SWIN_IMPLEMENTATION
#include "common.h"

static const char usage[] =
    "usage: tensor MODEL.swin IN.npy PREFIX [--threads N] [--cpu scalar|avx2|avx512|neon]\n"
    "              [--crop HxW [--stride HxW] | --whole] [--attend X,Y,STAGE]\n"
    "\n"
    "IN.npy is the network's input: float32 [3,H,W], already normalised. Writes\n"
    "  PREFIX.logits.npy        float32 [classes,h,w], as the head gives them\n"
    "  PREFIX.classes.npy       uint16 [H,W]: the logits resized to the input, then the largest\n"
    "  PREFIX.segments.npy      uint16 [H,W], the ids of segments, 0 where there is none; of\n"
    "                           instances that overlap, of one that is there\n"
    "  PREFIX.regions.npy       float32 [segments,9]: id, class, 1 of things, score, area, and of\n"
    "                           the box x, y, width, height\n"
    "  PREFIX.feature{0..3}.npy float32 [C,h,w], the output of each stage as a head reads it\n"
    "  PREFIX.norm.npy          float32 [C,h,w], after the final norm\n"
    "  PREFIX.scores.npy        float32 [classes], a classifier's logits\n"
    "  PREFIX.attention.npy     float32 [1,h,w], where the global tokens let pixel X,Y look\n"
    "as far as the model has them. --crop slides a window over the input (or the model's own\n"
    "does): then the logits are averages at the input's size, and there are no features.\n"
    "--whole does not, whatever the model says.\n"
    "Exit status: 0 done, 1 the input or an output failed, 2 usage, 3 the model failed.\n";

enum { DONE, FAILED, USAGE, MODEL };

static int fail(int status, const char *what, const char *why)
{
    fprintf(stderr, "tensor: %s%s%s\n", what, *what ? ": " : "", why);
    return status;
}

/* PREFIX.name.npy; free() it. */
static char *output_path(const char *prefix, const char *name)
{
    char *path = (char *)malloc(strlen(prefix) + strlen(name) + 6);
    if (path) sprintf(path, "%s.%s.npy", prefix, name);
    return path;
}

/* Writes the file made by npy_header, and frees it. */
static int save(const char *prefix, const char *name, unsigned char *file, size_t size)
{
    char *path = output_path(prefix, name);
    int why = path && file ? file_save(path, file, size) : ENOMEM;
    if (why) fail(FAILED, path ? path : prefix, strerror(why));
    free(path);
    free(file);
    return why ? FAILED : DONE;
}

/* Would an output replace the model or the input? Then says so. paths: MODEL, IN, PREFIX. */
static int check_outputs(const char *const paths[3])
{
    static const char *const names[] = {
        "logits", "classes", "segments", "regions", "scores", "attention", "norm",
        "feature0", "feature1", "feature2", "feature3"
    };
    int status = DONE;
    for (size_t i = 0; i < sizeof names / sizeof *names && !status; i++) {
        file_id out, in;
        char *path = output_path(paths[2], names[i]);
        int known = path && file_identify(path, &out);
        for (int k = 0; k < 2 && known && !status; k++)
            if (file_identify(paths[k], &in) && !compare_files(&in, &out))
                status = fail(USAGE, path, "is read here and must not be written: take another "
                              "PREFIX");
        free(path);
    }
    return status;
}

static int save_floats(const char *prefix, const char *name, swin_tensor t, const char *shape)
{
    size_t start, elements = tensor_size(t);
    unsigned char *file = npy_header("<f4", sizeof(float), shape, elements, &start);
    if (file) tensor_copy((float *)(void *)(file + start), t);
    return save(prefix, name, file, start + elements * sizeof(float));
}

static int save_tensor(const char *prefix, const char *name, swin_tensor t)
{
    if (!t.data) return DONE;
    char shape[64];
    snprintf(shape, sizeof shape, "%d, %d, %d", t.channels, t.height, t.width);
    return save_floats(prefix, name, t, shape);
}

static int save_scores(const char *prefix, swin_tensor t)
{
    if (!t.data) return DONE;
    char shape[64];
    snprintf(shape, sizeof shape, "%d,", t.channels);
    return save_floats(prefix, "scores", t, shape);
}

static int save_ids(const char *prefix, const char *name, swin_map m)
{
    if (!m.data) return DONE;
    char shape[64];
    snprintf(shape, sizeof shape, "%d, %d", m.height, m.width);
    size_t start, elements = (size_t)m.height * (size_t)m.width;
    unsigned char *file = npy_header("<u2", 2, shape, elements, &start);
    for (size_t i = 0; file && i < elements; i++) {
        unsigned id = m.bytes == 1 ? ((const uint8_t *)m.data)[i] : ((const uint16_t *)m.data)[i];
        file[start + 2 * i] = (unsigned char)(id & 255);
        file[start + 2 * i + 1] = (unsigned char)(id >> 8);
    }
    return save(prefix, name, file, start + 2 * elements);
}

static int save_regions(const char *prefix, const swin_context *c)
{
    int count;
    const swin_region *regions = swin_segments(c, &count);
    if (!regions) return DONE;
    char shape[64];
    snprintf(shape, sizeof shape, "%d, 9", count);
    size_t start, bytes = (size_t)count * 9 * sizeof(float);
    unsigned char *file = npy_header("<f4", sizeof(float), shape, bytes / sizeof(float), &start);
    for (int i = 0; file && i < count; i++) {
        const swin_region *s = &regions[i];
        const float row[9] = {
            (float)s->id, (float)s->class_id, (float)s->thing, s->score, (float)s->area,
            (float)s->x, (float)s->y, (float)s->width, (float)s->height
        };
        memcpy(file + start + (size_t)i * sizeof row, row, sizeof row);
    }
    return save(prefix, "regions", file, start + bytes);
}

static int save_results(const char *prefix, const swin_context *c, int stages)
{
    int status = save_tensor(prefix, "logits", swin_logits(c));
    if (!status) status = save_ids(prefix, "classes", swin_classes(c));
    if (!status) status = save_ids(prefix, "segments", swin_segment_map(c));
    if (!status) status = save_regions(prefix, c);
    if (!status) status = save_scores(prefix, swin_scores(c));
    if (!status) status = save_tensor(prefix, "attention", swin_attention(c));
    if (!status) status = save_tensor(prefix, "norm", swin_feature(c, stages));
    for (int i = 0; i < stages && !status; i++) {
        char name[24];
        snprintf(name, sizeof name, "feature%d", i);
        status = save_tensor(prefix, name, swin_feature(c, i));
    }
    return status;
}

static int run(const swin_model *m, const npy *in, const char *in_path, const char *prefix,
               swin_desc d)
{
    swin_error error;
    swin_context *c;
    d.width = (int)in->shape[2];
    d.height = (int)in->shape[1];
    int slides = d.crop_height || (m->config.picture.mode == SWIN_MODE_SLIDE &&
                                   !(d.flags & SWIN_RUN_WHOLE));
    d.outputs |= slides ? 0 : SWIN_OUT_FEATURES;
    if (m->config.head.kind == SWIN_HEAD_CLASSIFIER) d.outputs |= SWIN_OUT_SCORES;
    else if (m->config.classes) d.outputs |= SWIN_OUT_CLASSES | SWIN_OUT_LOGITS;
    if (m->config.segments.rule && !slides) d.outputs |= SWIN_OUT_SEGMENTS;
    size_t size = swin_workspace_size(m, &d, &error);
    if (!size) return fail(FAILED, in_path, error.text);
    void *memory = workspace_new(size);
    if (!memory) return fail(FAILED, in_path, "no memory for the workspace");

    swin_image image = {0};
    image.data = in->data;
    image.width = d.width;
    image.height = d.height;
    image.format = SWIN_PLANES;
    int status;
    if (swin_init(&c, m, &d, memory, size, &error)) status = fail(FAILED, in_path, error.text);
    else if (swin_run(c, &image)) status = fail(FAILED, in_path, swin_error_text(c));
    else status = save_results(prefix, c, m->config.stages);
    free(memory);
    return status;
}

int main(int argc, char **argv)
{
    const char *paths[3];
    int given = 0, threads = processor_count(), at[3];
    swin_desc d = {0};
    char why[256];
    prepare_streams();
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help"))
            return fputs(usage, stdout) < 0 || fflush(stdout) ?
                   fail(FAILED, "standard output", strerror(errno)) : DONE;
        if (!strcmp(argv[i], "--threads") && i + 1 < argc) {
            threads = number(argv[++i], 1, THREADS_MAX);
            if (!threads) return fail(USAGE, "--threads", "expected a number from 1 to 1024");
        } else if (!strcmp(argv[i], "--cpu") && i + 1 < argc) {
            int cpu = cpu_of_name(argv[++i], why);
            if (cpu < 0) return fail(USAGE, "--cpu", why);
            d.cpu = (swin_cpu)cpu;
        } else if (!strcmp(argv[i], "--whole")) {
            d.flags |= SWIN_RUN_WHOLE;
        } else if (!strcmp(argv[i], "--attend") && i + 1 < argc) {
            d.outputs |= SWIN_OUT_ATTENTION;
            if (!numbers(argv[++i], ',', 3, 0, SWIN_MAX_SIDE - 1, at))
                return fail(USAGE, "--attend", "expected X,Y,STAGE");
            d.attend_x = at[0];
            d.attend_y = at[1];
            d.attend_stage = at[2];
        } else if (!strcmp(argv[i], "--crop") && i + 1 < argc) {
            if (!size_of(argv[++i], &d.crop_height, &d.crop_width))
                return fail(USAGE, "--crop", "expected HxW");
        } else if (!strcmp(argv[i], "--stride") && i + 1 < argc) {
            if (!size_of(argv[++i], &d.stride_height, &d.stride_width))
                return fail(USAGE, "--stride", "expected HxW");
        } else if (given < 3 && strncmp(argv[i], "--", 2)) {
            paths[given++] = argv[i];
        } else {
            return fputs(usage, stderr), USAGE;
        }
    }
    if (given < 3 || (d.stride_height && !d.crop_height)) return fputs(usage, stderr), USAGE;
    if (check_outputs(paths)) return USAGE;

    file_bytes blob;
    int error = file_load(paths[0], &blob), status;
    if (error) return fail(MODEL, paths[0], load_error(error));
    swin_model model;
    swin_error refusal;
    npy in = {0};
    if (swin_open(&model, blob.data, blob.size, SWIN_VERIFY, &refusal)) {
        status = fail(MODEL, paths[0], refusal.text);
    } else if (!npy_read(&in, paths[1], why)) {
        status = fail(FAILED, paths[1], why);
    } else if (in.shape[0] != 3) {
        status = fail(FAILED, paths[1], "its shape is not [3,H,W]");
    } else {
        pool workers;
        pool_start(&workers, threads);
        pool_serve(&workers, &d);
        status = run(&model, &in, paths[1], paths[2], d);
        pool_stop(&workers);
    }
    free(in.data);
    file_free(&blob);
    return status;
}
