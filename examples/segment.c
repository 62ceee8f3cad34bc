/* segment.c - pictures in, class maps out: the command line of swin.h

   cc -std=c99 -O2 examples/segment.c -o segment -lm -lpthread        (stb: Debian's libstb-dev) */
#define SWIN_IMPLEMENTATION
#define COMMON_PICTURES
#include "common.h"

/* In parts, as a string of C99 may be only so long. */
static const char usage[] =
    "usage: segment [-m MODEL] [-o OUT] [options] IMAGE...\n"
    "\n"
    "Tells for every pixel of a picture (PNG, JPEG, PNM) what it shows, with a Swin\n"
    "or GLAM model. Each IMAGE gives a PNG beside it: its name with .overlay.png,\n"
    ".mask.png and so on at its end. - reads standard input and writes to standard\n"
    "output. A classifier says instead what the whole picture shows.\n"
    "\n"
    "  -m, --model MODEL   a .swin file. Default: $SWIN_MODEL, or street.swin beside\n"
    "                      the program, in ../weights or in ../share/swin from there\n"
    "  -o, --output OUT    the PNG to write, where one IMAGE gives one. For more,\n"
    "                      and where OUT is a directory or ends in /: the directory\n"
    "                      for all of them. - is standard output. Nothing that is\n"
    "                      read is ever written over\n"
    "what to write, several together if you like:\n"
    "      --overlay       the picture blended with the classes' colours, and a\n"
    "                      legend (the default)\n"
    "      --mask          the classes' colours alone\n"
    "      --ids           the class of each pixel as its grey value, in 8 bits, or\n"
    "                      in 16 bits for a model of more than 256 classes\n"
    "      --confidence    how sure each pixel's class is, from black to white\n"
    "      --alpha         of a model that tells an object from its background: how\n"
    "                      likely each pixel is the object's, from black to white (a\n"
    "                      matte)\n"
    "      --cutout        the picture with that as its transparency\n"
    "      --panoptic      of a model trained for it: each thing, and all that is of\n"
    "                      one kind of stuff, in a colour with a border; of a model\n"
    "                      of instances, the things alone. --json lists them\n"
    "      --attend X,Y    where in the picture a GLAM model's global tokens let\n"
    "                      pixel X,Y look, light on dark\n"
    "      --against OTHER no picture, but text: how many pixels this model and the\n"
    "                      model OTHER call different, and both mean IoUs where\n"
    "                      NAME.label.png lies beside NAME.jpg: grey, the numbers of\n"
    "                      classes, 255 where nothing is known\n"
    "      --top N         the N likeliest classes of a classifier (5)\n"
    "      --json          a line of JSON an IMAGE, to standard output or to OUT\n"
    "                      where that ends in .json: classes, their share, times.\n"
    "                      Alone it writes a PNG only where -o names one\n";

static const char usage_how[] =
    "how:\n"
    "      --opacity F     of the colours in the overlay, 0 to 1 (0.5)\n"
    "      --bits N        of a pixel of --alpha, 8 or 16 (8)\n"
    "      --size N        longest side at which the network sees a picture (the\n"
    "                      model's own rule)\n"
    "      --threshold F   pixels of less confidence, 0 to 1, are of no class: 255\n"
    "                      in --ids (65535 in 16 bits)\n"
    "      --slide HxW     slide a window of that size over the network's input and\n"
    "                      average (some models do on their own)\n"
    "      --stride HxW    its steps (two thirds of the window)\n"
    "      --whole         the whole picture at once, whatever the model says\n"
    "      --scales LIST   average over sizes of the picture, such as 0.75,1,1.25\n"
    "      --flip          and over its mirror image\n"
    "      --attend-stage N\n"
    "                      the stage at which --attend looks, 0 the finest (the last\n"
    "                      one whose tokens mix)\n"
    "      --threads N     (the processors that it may use)\n"
    "      --cpu NAME      the instruction set (the best there is): scalar, avx2,\n"
    "                      avx2_vnni, avx512, avx512_vnni, avx512_amx (taken\n"
    "                      only if asked for), neon, neon_dot or neon_i8mm;\n"
    "                      all give the same result\n"
    "  -q, --quiet         no progress bar and no summary, which only a terminal\n"
    "                      gets anyway\n"
    "without an IMAGE:\n"
    "      --info          what the model file holds: tensors, their number types,\n"
    "                      sizes and shares\n"
    "      --self-test     prove that this machine computes the same bits as the\n"
    "                      machine of the model's maker\n"
    "      --record        store what the self-test expects in the model file\n"
    "  -h, --help          this text\n"
    "      --version\n"
    "\n"
    "Exit status: 0 done, 1 an image failed, 2 usage, 3 the model could not be used\n"
    "or failed its self-test.\n";

enum { DONE, IMAGE_FAILED, USAGE, MODEL };

enum { OVERLAY, MASK, IDS, CONFIDENCE, ALPHA, CUTOUT, PANOPTIC, ATTENTION, KINDS };
static const char *const kind_names[KINDS] = {
    "overlay", "mask", "ids", "confidence", "alpha", "cutout", "panoptic", "attention"
};
enum { SCALES_MAX = 16, TOP = 5 };              /* TOP: classes told */

typedef struct options {
    const char *model, *against, *out, *json_path;
    int kinds[KINDS], json, info, self_test, record, quiet;
    int size, threads, flip, bits;
    int top;                    /* 0: not given */
    int attend_x, attend_y, attend_stage;       /* stage -1: chosen by the model */
    double opacity, threshold, scales[SCALES_MAX];
    int scale_count;            /* 0: the picture as it is */
    swin_desc desc;             /* cpu, flags, crop and stride */
    char **images;              /* in argv, moved to its front */
    int count;
} options;

static int fail(int status, const char *what, const char *why)
{
    progress_clear();
    fprintf(stderr, "segment: %s: %s\n", what, why);
    return status;
}

/* Text that is not yet written: to a file, or standard output where path is NULL. */
static int flush_output(FILE *f, const char *path)
{
    errno = 0;
    if (!fflush(f) && !ferror(f)) return DONE;
    const char *why = errno ? strerror(errno) : "could not be written";
    return fail(IMAGE_FAILED, path ? path : "standard output", why);
}

/* -------------------------------------------------------------------------- */
/* the command line                                                           */

enum { O_MODEL, O_OUTPUT, O_OVERLAY, O_MASK, O_IDS, O_CONFIDENCE, O_ALPHA,
       O_CUTOUT, O_PANOPTIC, O_ATTEND, O_AGAINST, O_TOP, O_JSON,
       O_OPACITY, O_BITS, O_SIZE, O_THRESHOLD, O_SLIDE, O_STRIDE, O_WHOLE, O_SCALES, O_FLIP,
       O_ATTEND_STAGE, O_THREADS, O_CPU, O_QUIET, O_INFO, O_SELF_TEST, O_RECORD, O_HELP, O_VERSION, O_COUNT };

/* Each option's name, its letter or 0, and whether a value follows. */
static const struct option { const char *name; char letter; int takes; } option_list[O_COUNT] = {
    [O_MODEL] = { "model", 'm', 1 },    [O_OUTPUT] = { "output", 'o', 1 },
    [O_OVERLAY] = { "overlay", 0, 0 },  [O_MASK] = { "mask", 0, 0 },
    [O_IDS] = { "ids", 0, 0 },          [O_CONFIDENCE] = { "confidence", 0, 0 },
    [O_ALPHA] = { "alpha", 0, 0 },      [O_CUTOUT] = { "cutout", 0, 0 },
    [O_PANOPTIC] = { "panoptic", 0, 0 },
    [O_ATTEND] = { "attend", 0, 1 },    [O_AGAINST] = { "against", 0, 1 },
    [O_TOP] = { "top", 0, 1 },          [O_BITS] = { "bits", 0, 1 },
    [O_JSON] = { "json", 0, 0 },        [O_OPACITY] = { "opacity", 0, 1 },
    [O_SIZE] = { "size", 0, 1 },        [O_THRESHOLD] = { "threshold", 0, 1 },
    [O_SLIDE] = { "slide", 0, 1 },      [O_STRIDE] = { "stride", 0, 1 },
    [O_WHOLE] = { "whole", 0, 0 },      [O_SCALES] = { "scales", 0, 1 },
    [O_FLIP] = { "flip", 0, 0 },        [O_ATTEND_STAGE] = { "attend-stage", 0, 1 },
    [O_THREADS] = { "threads", 0, 1 },  [O_CPU] = { "cpu", 0, 1 },
    [O_QUIET] = { "quiet", 'q', 0 },    [O_INFO] = { "info", 0, 0 },
    [O_SELF_TEST] = { "self-test", 0, 0 },
    [O_RECORD] = { "record", 0, 0 },    [O_HELP] = { "help", 'h', 0 },
    [O_VERSION] = { "version", 0, 0 },
};

/* The option that `arg` names, as -m, -mVALUE, --model or --model=VALUE; *value is its VALUE. */
static int find_option(const char *arg, const char **value)
{
    int longer = arg[1] == '-';
    size_t length = longer ? strcspn(arg + 2, "=") : 1;
    for (int i = 0; i < O_COUNT; i++) {
        const struct option *o = &option_list[i];
        int same = longer ? strlen(o->name) == length && !memcmp(arg + 2, o->name, length)
                          : o->letter == arg[1];
        if (!same) continue;
        const char *rest = arg + (longer ? 2 + length : 2);
        *value = !*rest ? NULL : longer ? rest + 1 : rest;
        return !longer && *value && !o->takes ? O_COUNT : i;
    }
    return O_COUNT;
}

static int scales_of(const char *text, options *o)
{
    char *end = NULL;
    for (o->scale_count = 0; o->scale_count < SCALES_MAX; text = end + 1) {
        if (!decimal(text, 0.05, 20, &o->scales[o->scale_count++], &end)) return 0;
        if (*end != ',') return !*end;
    }
    return 0;
}

/* Applies one option; returns a sentence when its value is not good. */
static const char *set_option(options *o, int option, const char *value)
{
    int at[2];
    switch (option) {
    case O_MODEL:
        if (!*value) return "expected the name of a model file";
        o->model = value;
        break;
    case O_AGAINST:
        if (!*value) return "expected the name of a model file";
        o->against = value;
        break;
    case O_OUTPUT:
        if (!*value) return "expected the name of a file or directory";
        o->out = value;
        break;
    case O_OVERLAY:   o->kinds[OVERLAY] = 1; break;
    case O_MASK:      o->kinds[MASK] = 1; break;
    case O_IDS:       o->kinds[IDS] = 1; break;
    case O_JSON:      o->json = 1; break;
    case O_QUIET:     o->quiet = 1; break;
    case O_INFO:      o->info = 1; break;
    case O_SELF_TEST: o->self_test = 1; break;
    case O_RECORD:    o->record = 1; break;
    case O_CONFIDENCE: o->kinds[CONFIDENCE] = 1; break;
    case O_ALPHA:     o->kinds[ALPHA] = 1; break;
    case O_CUTOUT:    o->kinds[CUTOUT] = 1; break;
    case O_PANOPTIC:  o->kinds[PANOPTIC] = 1; break;
    case O_WHOLE:     o->desc.flags |= SWIN_RUN_WHOLE; break;
    case O_FLIP:      o->flip = 1; break;
    case O_OPACITY:   return take_fraction(value, &o->opacity);
    case O_THRESHOLD: return take_fraction(value, &o->threshold);
    case O_SIZE:      return take_longest_side(value, &o->size);
    case O_THREADS:   return take_threads(value, &o->threads);
    case O_CPU:       return take_cpu(value, &o->desc.cpu);
    case O_BITS:
        o->bits = number(value, 8, 16);
        if (o->bits != 8 && o->bits != 16) return "expected 8 or 16";
        break;
    case O_TOP:
        o->top = number(value, 1, 65535);
        if (!o->top) return "expected a number of classes from 1 to 65535";
        break;
    case O_SLIDE:
        if (!size_of(value, &o->desc.crop_height, &o->desc.crop_width))
            return "expected a size such as 512x512, height first";
        break;
    case O_STRIDE:
        if (!size_of(value, &o->desc.stride_height, &o->desc.stride_width))
            return "expected a size such as 341x341, height first";
        break;
    case O_SCALES:
        if (!scales_of(value, o))
            return "expected up to 16 factors from 0.05 to 20, such as 0.75,1,1.25";
        break;
    case O_ATTEND:
        o->kinds[ATTENTION] = 1;
        if (!numbers(value, ',', 2, 0, SWIN_MAX_SIDE - 1, at))
            return "expected a pixel such as 240,180";
        o->attend_x = at[0];
        o->attend_y = at[1];
        break;
    case O_ATTEND_STAGE:
        o->attend_stage = number(value, 0, 3);
        if (o->attend_stage < 0) return "expected a stage from 0 to 3";
        break;
    }
    return NULL;
}

/* Does a file name end in a dot and `ending`, in any case? */
static int ends_in(const char *s, const char *ending)
{
    const char *dot = strrchr(base_name(s), '.');
    if (!dot) return 0;
    for (dot++; *dot && (*dot | 32) == *ending; dot++) ending++;
    return !*dot && !*ending;
}

/* What a file name promises that is not written: endings of pictures and of data. */
static int promises_other(const char *s)
{
    static const char *const endings[] = {
        "jpg", "jpeg", "jpe", "jfif", "jp2", "j2k", "jxl", "gif", "bmp", "dib", "tif", "tiff",
        "webp", "ppm", "pgm", "pbm", "pnm", "pam", "pfm", "tga", "ico", "heic", "heif", "avif",
        "exr", "hdr", "psd", "svg", "pdf", "dds", "qoi", "raw", "dng", "apng", "json", "txt", "csv",
        "npy", "swin"
    };
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_in(s, endings[i])) return 1;
    return 0;
}

/* How many kinds of PNG are asked for. */
static int kinds_of(const options *o)
{
    int count = 0;
    for (int kind = 0; kind < KINDS; kind++) count += o->kinds[kind];
    return count;
}

/* Is a kind of PNG asked for that shows how likely a pixel is the object's? */
static int wants_matte(const options *o) { return o->kinds[ALPHA] || o->kinds[CUTOUT]; }

/* Why the other options do not fit --against, or NULL. */
static const char *settle_comparison(const options *o)
{
    int standard_inputs = !strcmp(o->against, "-") + (o->model && !strcmp(o->model, "-"));
    for (int i = 0; i < o->count; i++) standard_inputs += !strcmp(o->images[i], "-");
    if (standard_inputs > 1) return "only one of models and IMAGEs can be standard input";
    if (kinds_of(o) || o->json || o->out || o->threshold > 0)
        return "--against compares classes and writes text: no -o, --json, --threshold, and no "
               "kind of PNG";
    return NULL;
}

/* What follows from the options together; a sentence where they do not fit. */
static const char *settle_options(options *o)
{
    static char why[256];
    if (o->info || o->self_test || o->record)
        return o->count ? "--info, --self-test and --record take no IMAGE" :
               o->against ? "--against compares on pictures: give an IMAGE alone with it" :
               o->out ? "--info, --self-test and --record write no picture: no -o" :
               o->info + o->self_test + o->record > 1 ?
               "--info, --self-test or --record: one of them" : NULL;
    if (!o->count) return "no IMAGE given (segment --help tells more)";
    if (o->against) return settle_comparison(o);
    if (o->json && o->out && ends_in(o->out, "json")) {
        o->json_path = o->out;
        o->out = NULL;
    }
    int kinds = kinds_of(o);
    if (!kinds && (!o->json || o->out)) o->kinds[OVERLAY] = kinds = 1;
    if (o->out && promises_other(o->out) && !is_directory(o->out)) {
        snprintf(why, sizeof why, "'%.150s' promises another format: results are PNG, and JSON "
                 "with --json", o->out);
        return why;
    }
    if (o->kinds[ATTENTION] && (o->flip || o->scale_count || o->desc.crop_height))
        return "--attend takes one look at the whole picture: no --flip, --scales or --slide";
    if (o->kinds[PANOPTIC] && (o->flip || o->scale_count || o->desc.crop_height))
        return "--panoptic takes one look at the whole picture: no --flip, --scales or --slide";
    if (wants_matte(o) && o->threshold > 0)
        return "--alpha and --cutout tell how likely each pixel is: no --threshold";
    if (o->bits && !o->kinds[ALPHA]) return "--bits needs --alpha";
    if (o->desc.stride_height && !o->desc.crop_height) return "--stride needs --slide";

    int standard_inputs = 0;
    for (int i = 0; i < o->count; i++) standard_inputs += !strcmp(o->images[i], "-");
    if (standard_inputs > 1) return "only one IMAGE can be standard input";
    int to_standard = o->out ? !strcmp(o->out, "-") : standard_inputs && kinds;
    if (to_standard && kinds * (o->out ? o->count : 1) > 1)
        return "standard output can take one PNG only";
    if (to_standard && o->json && !o->json_path)
        return "the PNG and --json cannot both go to standard output";
    return NULL;
}

/* Returns a status to end with, or -1 to go on. */
static int parse_options(options *o, int argc, char **argv)
{
    int only_images = 0;
    o->opacity = 0.5;
    o->attend_stage = -1;
    o->threads = processor_count();
    o->images = argv + 1;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (only_images || arg[0] != '-' || !arg[1]) {
            if (!*arg) return fail(USAGE, "''", "the name of an IMAGE is empty");
            o->images[o->count++] = arg;
            continue;
        }
        if (!strcmp(arg, "--")) {
            only_images = 1;
            continue;
        }
        const char *value, *why;
        int option = find_option(arg, &value);
        if (option == O_COUNT)
            return fail(USAGE, arg, "no such option (segment --help lists them)");
        if (!option_list[option].takes && value)
            return fail(USAGE, arg, "this option takes no value");
        if (option_list[option].takes && !value) {
            if (++i == argc) return fail(USAGE, arg, "a value must follow");
            value = argv[i];
        }
        if (option == O_HELP)
            return fputs(usage, stdout), fputs(usage_how, stdout), flush_output(stdout, NULL);
        if (option == O_VERSION)
            return printf("segment %d.%d.%d\n", SWIN_VERSION_MAJOR, SWIN_VERSION_MINOR,
                          SWIN_VERSION_PATCH), flush_output(stdout, NULL);
        why = set_option(o, option, value);
        if (why) return fail(USAGE, arg, why);
    }
    const char *why = settle_options(o);
    return why ? fail(USAGE, "usage", why) : -1;
}

/* -------------------------------------------------------------------------- */
/* paths                                                                      */

static char *text_of(const char *a, const char *b, const char *c)      /* joined; free() it */
{
    size_t size = strlen(a) + strlen(b) + strlen(c) + 1;
    char *text = (char *)malloc(size);
    if (!text) exit(fail(IMAGE_FAILED, "memory", "none left for a file name"));
    snprintf(text, size, "%s%s%s", a, b, c);
    return text;
}

/* The directory of this program with a separator at its end. */
static char *program_directory(const char *argv0)
{
    char path[4096] = "";
#ifdef _WIN32
    GetModuleFileNameA(NULL, path, sizeof path - 1);
#else
    if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) path[0] = 0;
#endif
    if (!path[0]) snprintf(path, sizeof path, "%s", argv0);
    path[base_name(path) - path] = 0;
    return text_of(path, "", "");
}

static char *default_model(const char *argv0)
{
    static const char *const places[] = {
        "street.swin", "../weights/street.swin", "../share/swin/street.swin"
    };
    const char *named = getenv("SWIN_MODEL");
    if (named && *named) return text_of(named, "", "");
    char *directory = program_directory(argv0), *path = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct stat s;
        free(path);
        path = text_of(directory, places[i], "");
        if (!stat(path, &s)) break;
    }
    free(directory);
    return path;
}

/* A path without the dot and what follows it in the file's name; free() it. */
static char *without_ending(const char *path)
{
    char *text = text_of(path, "", ""), *dot = strrchr(text, '.');
    if (dot && dot > base_name(text)) *dot = 0;
    return text;
}

/* Where a picture's PNG of this kind goes; free() it. */
static char *output_path(const options *o, const char *image, int kind)
{
    int one = o->count == 1 && kinds_of(o) == 1;
    int standard = !strcmp(image, "-");
    if (o->out ? !strcmp(o->out, "-") : standard) return text_of("-", "", "");
    int slash = o->out && *o->out && is_separator(o->out[strlen(o->out) - 1]);
    int in_directory = o->out && (!one || slash || is_directory(o->out));
    if (o->out && !in_directory) return text_of(o->out, "", "");

    char *stem = without_ending(standard ? "stdin" : o->out ? base_name(image) : image);
    char *name = text_of(stem, ".", kind_names[kind]);
    char *directory = text_of(in_directory ? o->out : "", in_directory && !slash ? "/" : "", "");
    char *path = text_of(directory, name, ".png");
    free(stem);
    free(name);
    free(directory);
    return path;
}

/* A file that is read or will be written. */
typedef enum file_role { PICTURE, WEIGHTS, RESULT } file_role;
typedef struct file_use {
    char *path;
    file_id id;
    file_role role;
} file_use;

static int compare_uses(const void *a, const void *b)
{
    const file_use *p = (const file_use *)a, *q = (const file_use *)b;
    int order = compare_files(&p->id, &q->id);
    return order ? order : (int)p->role - (int)q->role;
}

/* Adds a file, unless it is a device, a pipe or cannot be made anyway; frees the path then. The
   result "-" is the file that standard output was sent to, if it is one. */
static void add_use(file_use *uses, int *count, char *path, file_role role)
{
    file_use *p = &uses[*count];
    p->path = path;
    p->role = role;
    int standard = role == RESULT && !strcmp(path, "-");
    if (file_identify(standard ? "/dev/stdout" : path, &p->id)) ++*count;
    else free(path);
}

/* Every file that is read or written; room for all of them is there. Returns how many. */
static int find_uses(const options *o, const char *model_path, file_use *uses)
{
    int count = 0;
    add_use(uses, &count, text_of(model_path, "", ""), WEIGHTS);
    if (o->json || !kinds_of(o))
        add_use(uses, &count, text_of(o->json_path ? o->json_path : "-", "", ""), RESULT);
    for (int i = 0; i < o->count; i++) {
        add_use(uses, &count, text_of(o->images[i], "", ""), PICTURE);
        for (int kind = 0; kind < KINDS; kind++)
            if (o->kinds[kind])
                add_use(uses, &count, output_path(o, o->images[i], kind), RESULT);
    }
    return count;
}

/* A result that another result or something that is read would be lost to; USAGE then, else -1. */
static int check_uses(file_use *uses, int count)
{
    qsort(uses, (size_t)count, sizeof *uses, compare_uses);
    for (int i = 1; i < count; i++) {
        const file_use *p = &uses[i - 1], *q = &uses[i];
        if (q->role != RESULT || compare_files(&p->id, &q->id)) continue;
        return fail(USAGE, strcmp(q->path, "-") ? q->path : "standard output",
                    p->role == RESULT ? "two results would be written here: -o DIRECTORY, or one "
                                       "IMAGE at a time" :
                    p->role == WEIGHTS ? "is the model: a result would replace it" :
                    "is an IMAGE, too, and a result would replace it: leave it out, or name "
                    "another place with -o");
    }
    return -1;
}

/* Length of the name without its ending, and without .overlay and so on before .png. */
static size_t stem_length(const char *path, int *is_result)
{
    const char *base = base_name(path), *dot = strrchr(base, '.');
    size_t length = dot && dot > base ? (size_t)(dot - path) : strlen(path);
    *is_result = 0;
    for (int kind = 0; kind < KINDS && ends_in(path, "png"); kind++) {
        size_t n = strlen(kind_names[kind]) + 1, before = (size_t)(base - path) + n;
        if (length <= before || path[length - n] != '.' ||
            memcmp(path + length - n + 1, kind_names[kind], n - 1)) continue;
        *is_result = 1;
        return length - n;
    }
    return length;
}

typedef struct stem { const char *path; size_t length; int is_result; } stem;

static int compare_stems(const void *a, const void *b)
{
    const stem *s = (const stem *)a, *t = (const stem *)b;
    size_t shorter = s->length < t->length ? s->length : t->length;
    int order = memcmp(s->path, t->path, shorter);
    if (order) return order;
    if (s->length != t->length) return s->length < t->length ? -1 : 1;
    return s->is_result - t->is_result;
}

/* Results of an earlier run beside their pictures, as *.png finds them: nobody wants results of
   results. USAGE, or -1 where there are none. */
static int check_earlier(const options *o)
{
    stem *stems = (stem *)malloc((size_t)o->count * sizeof *stems);
    int status = -1;
    if (!stems) return fail(IMAGE_FAILED, "memory", "none left for the file names");
    for (int i = 0; i < o->count; i++) {
        stems[i].path = o->images[i];
        stems[i].length = stem_length(o->images[i], &stems[i].is_result);
    }
    qsort(stems, (size_t)o->count, sizeof *stems, compare_stems);
    for (int i = 1; i < o->count && status < 0; i++) {
        const stem *s = &stems[i - 1], *t = &stems[i];
        if (!t->is_result || s->is_result || s->length != t->length ||
            memcmp(s->path, t->path, t->length))
            continue;
        status = fail(USAGE, t->path, "looks like a result for another IMAGE: leave it out, or "
                      "name it alone to take it for a picture");
    }
    free(stems);
    return status;
}

/* The directory for all results, where -o names one. */
static int make_output_directory(const options *o)
{
    int kind = 0;
    while (kind < KINDS && !o->kinds[kind]) kind++;
    if (kind == KINDS || !o->out) return -1;
    char *first = output_path(o, o->images[0], kind);
    int why = strcmp(o->out, first) ? make_directory(o->out) : 0;
    free(first);
    return !why ? -1 : fail(USAGE, o->out, why == EEXIST ? "is a file: several results need a "
                            "directory" : strerror(why));
}

/* Before the first picture is computed: nothing that is read may be written, nothing be written
   twice. -1 to go on. */
static int check_outputs(const options *o, const char *model_path)
{
    int status = check_earlier(o), made = o->out && !is_directory(o->out);
    if (status < 0) status = make_output_directory(o);
    if (status >= 0) return status;
    file_use *uses = (file_use *)malloc(((size_t)o->count * (KINDS + 1) + 2) * sizeof *uses);
    if (!uses) return fail(IMAGE_FAILED, "memory", "none left for the file names");
    int count = find_uses(o, model_path, uses);
    status = check_uses(uses, count);
    if (status >= 0 && made && is_directory(o->out)) remove(o->out);
    while (count) free(uses[--count].path);
    free(uses);
    return status;
}

/* -------------------------------------------------------------------------- */
/* running a model                                                            */

/* A context for one picture size at a time; it is made anew when the size changes. */
typedef struct runner {
    const swin_model *model;
    const options *options;
    swin_desc desc;
    swin_context *context;
    size_t workspace;           /* bytes that the context needs */
    void *memory;
    size_t memory_size;
    double scale;               /* of the context's input */
    swin_map classes, confidence;       /* of the last picture; confidence: 4 bytes a pixel */
    uint32_t *palette;          /* 0xRRGGBB of each class */
} runner;

static int is_classifier(const swin_model *m)
{
    return m->config.head.kind == SWIN_HEAD_CLASSIFIER;
}

/* The input size by the model's rule or --size, times the scale. */
static swin_status input_size(const runner *r, int w, int h, int *input_w, int *input_h,
                              swin_error *error)
{
    swin_resizing how = { r->options->size, r->scale };
    return swin_input_size(r->model, w, h, &how, input_w, input_h, error);
}

static swin_status no_memory(swin_error *error, const char *what, size_t size)
{
    snprintf(error->text, sizeof error->text, "no memory for %s of %zu MiB", what, size >> 20);
    return error->status = SWIN_MEMORY;
}

/* A context for the desc as it is. */
static swin_status start(runner *r, swin_error *error)
{
    size_t size = swin_workspace_size(r->model, &r->desc, error);
    r->context = NULL;
    if (!size) return error->status;
    if (size > r->memory_size) {
        free(r->memory);
        r->memory = workspace_new(size);
        r->memory_size = r->memory ? size : 0;
    }
    if (!r->memory) return no_memory(error, "a workspace", size);
    if (size > r->workspace) r->workspace = size;
    return swin_init(&r->context, r->model, &r->desc, r->memory, r->memory_size, error);
}

static swin_status prepare(runner *r, int w, int h, swin_error *error)
{
    swin_desc *d = &r->desc;
    if (r->context && d->picture_width == w && d->picture_height == h) return SWIN_OK;
    r->context = NULL;
    r->workspace = 0;
    d->picture_width = w;
    d->picture_height = h;
    swin_status status = input_size(r, w, h, &d->width, &d->height, error);
    return status ? status : start(r, error);
}

/* rgb: NULL where the context is an average. */
static swin_status run_context(runner *r, const unsigned char *rgb, int w, int h, swin_error *error)
{
    swin_image image = {0};
    image.data = rgb;
    image.width = w;
    image.height = h;
    image.format = SWIN_RGB8;
    swin_status status = swin_run(r->context, rgb ? &image : NULL);
    if (status) snprintf(error->text, sizeof error->text, "%s", swin_error_text(r->context));
    return status;
}

static swin_status run_once(runner *r, const unsigned char *rgb, int w, int h, swin_error *error)
{
    swin_status status = prepare(r, w, h, error);
    return status ? status : run_context(r, rgb, w, h, error);
}

/* One of the runs that are averaged: its logits go to a block of its own, *kept; free() it. */
static swin_status run_kept(runner *r, const unsigned char *rgb, int w, int h, void **kept,
                            swin_error *error)
{
    swin_desc *d = &r->desc;
    d->outputs = 0;
    d->picture_width = w;
    d->picture_height = h;
    swin_status status = input_size(r, w, h, &d->width, &d->height, error);
    size_t size = status ? 0 : swin_kept_size(r->model, d, error);
    if (!size) return error->status;
    d->kept = *kept = malloc(size);
    if (!*kept) return no_memory(error, "a run's logits", size);
    status = start(r, error);
    return status ? status : run_context(r, rgb, w, h, error);
}

/* Averages every scale, as it is and mirrored. */
static swin_status run_all(runner *r, const unsigned char *rgb, int w, int h, swin_error *error)
{
    const options *o = r->options;
    const swin_desc asked = r->desc;
    void *kept[2 * SCALES_MAX] = { NULL };
    int runs = 0, scales = o->scale_count ? o->scale_count : 1;
    swin_status status = SWIN_OK;
    r->workspace = 0;
    for (int i = 0; i < scales && !status; i++) {
        for (int flip = 0; flip <= o->flip && !status; flip++, runs++) {
            r->scale = o->scale_count ? o->scales[i] : 1;
            r->desc.flags = o->desc.flags | (flip ? (unsigned)SWIN_RUN_FLIP : 0);
            status = run_kept(r, rgb, w, h, &kept[runs], error);
        }
    }
    swin_desc last = r->desc;
    r->desc = asked;
    r->desc.picture_width = w;
    r->desc.picture_height = h;
    r->desc.average = (const void *const *)kept;
    r->desc.average_count = runs;
    if (!status) status = start(r, error);
    if (!status) status = run_context(r, NULL, w, h, error);
    r->desc = asked;
    r->desc.width = last.width;
    r->desc.height = last.height;
    while (runs) free(kept[--runs]);
    return status;
}

static swin_status run(runner *r, const unsigned char *rgb, int w, int h, swin_error *error)
{
    int several = r->options->scale_count || r->options->flip;
    swin_status status = several ? run_all(r, rgb, w, h, error) : run_once(r, rgb, w, h, error);
    if (status) return status;
    r->classes = swin_classes(r->context);
    r->confidence = swin_confidence(r->context);
    return SWIN_OK;
}

/* -------------------------------------------------------------------------- */
/* drawing                                                                    */

enum { WHITE = 0xffffff, DARK = 0x101418 };

typedef struct share {          /* of a class in a picture */
    int id;
    size_t pixels;
    double score;               /* a classifier's: its softmax */
} share;

static double part_of(const share *s, const picture *p)
{
    return (double)s->pixels / ((double)p->width * p->height);
}

static int compare_shares(const void *a, const void *b)       /* largest first */
{
    const share *s = (const share *)a, *t = (const share *)b;
    if (s->pixels != t->pixels) return s->pixels < t->pixels ? 1 : -1;
    return s->id - t->id;
}

static void clear_shares(share *shares, int classes)
{
    for (int k = 0; k < classes; k++) {
        shares[k].id = k;
        shares[k].pixels = 0;
    }
}

/* Sorts the classes, largest first; returns how many are present. */
static int sort_shares(share *shares, int classes)
{
    int present = 0;
    qsort(shares, (size_t)classes, sizeof *shares, compare_shares);
    while (present < classes && shares[present].pixels) present++;
    return present;
}

/* The classes present, largest first; returns how many. `shares` has room for all classes. */
static int count_classes(swin_map m, int classes, share *shares)
{
    clear_shares(shares, classes);
    for (size_t i = 0; i < (size_t)m.width * (size_t)m.height; i++)
        if (class_at(m, i) < (unsigned)classes) shares[class_at(m, i)].pixels++;
    return sort_shares(shares, classes);
}

static int compare_scores(const void *a, const void *b)       /* likeliest first */
{
    const share *s = (const share *)a, *t = (const share *)b;
    if (s->score < t->score || s->score > t->score) return s->score < t->score ? 1 : -1;
    return s->id - t->id;       /* of equals; and of NaNs, which come together */
}

static void blend(unsigned char *rgb, uint32_t color, double opacity)
{
    for (int c = 0; c < 3; c++) {
        double wanted = color >> (16 - 8 * c) & 255;
        rgb[c] = (unsigned char)(rgb[c] + (wanted - rgb[c]) * opacity + 0.5);
    }
}

static void fill(picture *p, int x0, int y0, int x1, int y1, uint32_t color, double opacity)
{
    if (x1 > p->width) x1 = p->width;
    if (y1 > p->height) y1 = p->height;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
            blend(p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x), color, opacity);
}

/* Text as the axis-aligned quads of stb_easy_font, each font unit `scale` pixels wide. */
static void draw_text(picture *p, int x, int y, int scale, char *text)
{
    struct { float x, y, z; unsigned char color[4]; } quads[4 * 1024];
    int n = stb_easy_font_print(0, 0, text, NULL, quads, sizeof quads);
    for (int i = 0; i < n; i++) {
        int left = (int)quads[4 * i].x, top = (int)quads[4 * i].y;
        int right = (int)quads[4 * i + 2].x, bottom = (int)quads[4 * i + 2].y;
        fill(p, x + scale * left, y + scale * top, x + scale * right, y + scale * bottom, WHITE, 1);
    }
}

/* The class and its share as ASCII text: the font has no other letters. */
static void legend_text(char text[64], const char *name, double part)
{
    if (part < 0.0005) snprintf(text, 64, "%.48s <0.1%%", name);
    else snprintf(text, 64, "%.48s %.*f%%", name, part < 0.0095 ? 1 : 0, 100 * part);
    for (char *s = text; *s; s++)
        if (*s < ' ' || *s > '~') *s = '?';
}

/* A dark strip at the bottom with a patch of colour and the share of every class, largest first;
   at most a third of the picture, and nothing where not even one row fits. */
static void draw_legend(picture *p, const swin_model *m, const share *shares, int present)
{
    enum { ROW = 13, PATCH = 9, GAP = 5 };      /* font units */
    if (!present) return;
    int scale = (p->width < p->height ? p->width : p->height) / 250;
    if (scale < 1) scale = 1;
    int rows = 1, most = p->height / 3 / (ROW * scale), shown = 0;
    int *place = (int *)malloc((size_t)present * sizeof *place);    /* row * picture width + x */
    char text[64];
    for (int x = GAP * scale; place && shown < present; shown++) {
        legend_text(text, swin_class_name(m, shares[shown].id), part_of(&shares[shown], p));
        int width = scale * (PATCH + GAP + stb_easy_font_width(text) + 2 * GAP);
        if (x + width > p->width) {
            if (GAP * scale + width > p->width || rows == most) break;
            rows++;
            x = GAP * scale;
        }
        place[shown] = (rows - 1) * p->width + x;
        x += width;
    }
    if (shown && rows <= most) {
        int top = p->height - rows * ROW * scale;
        fill(p, 0, top, p->width, p->height, DARK, 0.72);
        for (int i = 0; i < shown; i++) {
            int x = place[i] % p->width, y = top + place[i] / p->width * ROW * scale + 2 * scale;
            int side = PATCH * scale;
            fill(p, x - 1, y - 1, x + side + 1, y + side + 1, WHITE, 0.6);
            fill(p, x, y, x + side, y + side, swin_class_color(m, shares[i].id), 1);
            legend_text(text, swin_class_name(m, shares[i].id), part_of(&shares[i], p));
            draw_text(p, x + (PATCH + GAP) * scale, y + scale, scale, text);
        }
    }
    free(place);
}

/* -------------------------------------------------------------------------- */
/* one picture                                                                */

typedef struct job {
    const options *options;
    const char *image;
    picture picture;
    share *shares;              /* room for all classes */
    int present;
    double read, network, write;    /* seconds */
} job;

/* The likeliest classes of a classifier's logits, --top of them. */
static void rank_classes(job *j, swin_tensor scores)
{
    double most = scores.data[0], sum = 0;
    for (int k = 0; k < scores.channels; k++)
        if (scores.data[k] > most) most = scores.data[k];
    for (int k = 0; k < scores.channels; k++) {
        share *s = &j->shares[k];
        s->id = k;
        sum += s->score = exp(scores.data[k] - most);
    }
    for (int k = 0; k < scores.channels; k++) j->shares[k].score /= sum;
    qsort(j->shares, (size_t)scores.channels, sizeof *j->shares, compare_scores);
    int top = j->options->top ? j->options->top : TOP;
    j->present = scores.channels < top ? scores.channels : top;
}

static int write_ids(const char *path, swin_map m)
{
    size_t pixels = (size_t)m.width * (size_t)m.height;
    if (m.bytes == 1)
        return picture_write(path, (const unsigned char *)m.data, m.width, m.height, 1);
    unsigned char *wide = (unsigned char *)malloc(2 * pixels);
    if (!wide) return ENOMEM;
    for (size_t i = 0; i < pixels; i++) {
        unsigned id = class_at(m, i);
        wide[2 * i] = (unsigned char)(id >> 8);
        wide[2 * i + 1] = (unsigned char)(id & 255);
    }
    int why = picture_write(path, wide, m.width, m.height, 2);
    free(wide);
    return why;
}

static int write_confidence(const char *path, swin_map m)
{
    size_t pixels = (size_t)m.width * (size_t)m.height;
    unsigned char *grey = (unsigned char *)malloc(pixels);
    if (!grey) return ENOMEM;
    for (size_t i = 0; i < pixels; i++)
        grey[i] = (unsigned char)(((const float *)m.data)[i] * 255 + 0.5f);
    int why = picture_write(path, grey, m.width, m.height, 1);
    free(grey);
    return why;
}

/* How likely pixel `at` is of the second of two classes; the confidence is the winner's. */
static float matte_at(const runner *r, size_t at)
{
    float sure = ((const float *)r->confidence.data)[at];
    return class_at(r->classes, at) ? sure : 1 - sure;
}

static int write_alpha(const char *path, const runner *r, int bits)
{
    swin_map m = r->confidence;
    size_t pixels = (size_t)m.width * (size_t)m.height, bytes = bits == 16 ? 2 : 1;
    unsigned char *grey = (unsigned char *)malloc(bytes * pixels);
    if (!grey) return ENOMEM;
    for (size_t i = 0; i < pixels; i++) {
        float most = bits == 16 ? 65535 : 255;
        unsigned value = (unsigned)(matte_at(r, i) * most + 0.5f);
        if (bits == 16) grey[2 * i] = (unsigned char)(value >> 8);
        grey[bytes * i + bytes - 1] = (unsigned char)(value & 255);
    }
    int why = picture_write(path, grey, m.width, m.height, (int)bytes);
    free(grey);
    return why;
}

static int write_cutout(const char *path, const picture *p, const runner *r)
{
    size_t pixels = (size_t)p->width * (size_t)p->height;
    unsigned char *rgba = (unsigned char *)malloc(4 * pixels);
    if (!rgba) return ENOMEM;
    for (size_t i = 0; i < pixels; i++) {
        memcpy(rgba + 4 * i, p->rgb + 3 * i, 3);
        rgba[4 * i + 3] = (unsigned char)(matte_at(r, i) * 255 + 0.5f);
    }
    int why = picture_write(path, rgba, p->width, p->height, 4);
    free(rgba);
    return why;
}

/* A coarser map at a pixel of the picture, bilinear. */
static double map_at(swin_tensor t, const picture *p, int x, int y)
{
    double u = (x + 0.5) * t.width / p->width - 0.5, v = (y + 0.5) * t.height / p->height - 0.5;
    double sum = 0;
    u = u < 0 ? 0 : u > t.width - 1 ? t.width - 1 : u;
    v = v < 0 ? 0 : v > t.height - 1 ? t.height - 1 : v;
    for (int i = 0; i < 4; i++) {
        int left = (int)u + i % 2, top = (int)v + i / 2;
        double across = i % 2 ? u - (int)u : 1 - u + (int)u, down = i / 2 ? v - (int)v
                                                                         : 1 - v + (int)v;
        if (across * down > 0)
            sum += across * down * t.data[(size_t)top * t.row + (size_t)left * t.pixel];
    }
    return sum;
}

/* The picture darkened, bright where the pixel looks most, and a cross at the pixel. */
static int write_attention(const char *path, const picture *p, swin_tensor t, int at_x, int at_y)
{
    enum { ARM = 5, GLOW = 0xffb000, BLACK = 0 };
    size_t bytes = (size_t)p->width * (size_t)p->height * 3;
    picture lit = *p;
    float least = t.data[0], most = least;
    lit.rgb = (unsigned char *)malloc(bytes);
    if (!lit.rgb) return ENOMEM;
    memcpy(lit.rgb, p->rgb, bytes);
    for (int i = 0; i < t.width * t.height; i++) {
        float value = t.data[(size_t)(i / t.width) * t.row + (size_t)(i % t.width) * t.pixel];
        if (value > most) most = value;
        if (value < least) least = value;
    }
    for (int y = 0; y < p->height; y++) {
        for (int x = 0; x < p->width; x++) {
            unsigned char *pixel = lit.rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
            double glow = most > least ? (map_at(t, p, x, y) - least) / (most - least) : 0;
            blend(pixel, BLACK, 0.7);
            if (glow > 0) blend(pixel, GLOW, 0.9 * glow);
        }
    }
    fill(&lit, at_x < ARM ? 0 : at_x - ARM, at_y, at_x + ARM + 1, at_y + 1, WHITE, 1);
    fill(&lit, at_x, at_y < ARM ? 0 : at_y - ARM, at_x + 1, at_y + ARM + 1, WHITE, 1);
    int why = picture_write(path, lit.rgb, p->width, p->height, 3);
    free(lit.rgb);
    return why;
}

/* The classes' colours over what `p` shows, where there is a class. */
static void paint(picture *p, const runner *r, double opacity)
{
    for (size_t i = 0; i < (size_t)p->width * (size_t)p->height; i++) {
        unsigned id = class_at(r->classes, i);
        int known = id < (unsigned)r->model->config.classes;
        if (known || opacity == 1) blend(p->rgb + 3 * i, known ? r->palette[id] : 0, opacity);
    }
}

/* The colour of a segment: its class's, of things darker or lighter from one to the next. */
static uint32_t segment_color(const runner *r, const swin_region *s)
{
    static const double shade[] = { 0, 0.35, 0.7 };
    uint32_t color = r->palette[s->class_id], towards = s->id / 3 % 2 ? 0 : WHITE, mixed = 0;
    for (int c = 0; c < 3 && s->thing; c++) {
        double own = color >> (8 * c) & 255, other = towards >> (8 * c) & 255;
        mixed |= (uint32_t)(own + (other - own) * shade[s->id % 3] + 0.5) << (8 * c);
    }
    return s->thing ? mixed : color;
}

/* How many pixels a border is wide, on each of its sides. */
static int border_of(const picture *p)
{
    int side = p->width < p->height ? p->width : p->height;
    return side < 500 ? 1 : side / 500;
}

/* Is there another segment within so many pixels to the left, to the right, above or below? */
static int at_border(swin_map m, int x, int y, int border)
{
    size_t at = (size_t)y * (size_t)m.width + (size_t)x, row = (size_t)m.width * (size_t)border;
    unsigned id = class_at(m, at);
    return (x >= border && class_at(m, at - (size_t)border) != id) ||
           (x + border < m.width && class_at(m, at + (size_t)border) != id) ||
           (y >= border && class_at(m, at - row) != id) ||
           (y + border < m.height && class_at(m, at + row) != id);
}

/* The picture with the segments' colours and borders over it, and a legend of their classes. */
static int write_panoptic(const char *path, const picture *p, const runner *r, double opacity)
{
    int count, classes = r->model->config.classes, border = border_of(p);
    const swin_region *segments = swin_segments(r->context, &count);
    swin_map ids = swin_segment_map(r->context);
    size_t bytes = (size_t)p->width * (size_t)p->height * 3;
    picture painted = *p;
    share *shares = (share *)calloc((size_t)classes, sizeof *shares);
    painted.rgb = (unsigned char *)malloc(bytes);
    int why = shares && painted.rgb ? 0 : ENOMEM;
    if (!why) memcpy(painted.rgb, p->rgb, bytes);
    if (!why) clear_shares(shares, classes);
    for (int y = 0; y < p->height && !why; y++) {
        for (int x = 0; x < p->width; x++) {
            size_t at = (size_t)y * (size_t)p->width + (size_t)x;
            unsigned id = class_at(ids, at);
            unsigned char *pixel = painted.rgb + 3 * at;
            if (id) shares[segments[id - 1].class_id].pixels++;
            if (id) blend(pixel, segment_color(r, &segments[id - 1]), opacity);
            if (at_border(ids, x, y, border)) blend(pixel, WHITE, 0.8);
        }
    }
    if (!why) {
        draw_legend(&painted, r->model, shares, sort_shares(shares, classes));
        why = picture_write(path, painted.rgb, p->width, p->height, 3);
    }
    free(shares);
    free(painted.rgb);
    return why;
}

static int write_kind(job *j, int kind, const char *path, const runner *r)
{
    picture *p = &j->picture;
    const options *o = j->options;
    if (kind == IDS) return write_ids(path, r->classes);
    if (kind == CONFIDENCE) return write_confidence(path, r->confidence);
    if (kind == ALPHA) return write_alpha(path, r, o->bits);
    if (kind == CUTOUT) return write_cutout(path, p, r);
    if (kind == PANOPTIC) return write_panoptic(path, p, r, o->opacity);
    if (kind == ATTENTION)
        return write_attention(path, p, swin_attention(r->context), o->attend_x, o->attend_y);
    paint(p, r, kind == MASK ? 1 : o->opacity);
    if (kind == OVERLAY) draw_legend(p, r->model, j->shares, j->present);
    return picture_write(path, p->rgb, p->width, p->height, 3);
}

/* Writes the PNGs that are asked for: first what needs the photo as it is, then what paints over
   it, the mask last. */
static int write_pictures(job *j, const runner *r)
{
    static const int order[KINDS] = {
        IDS, CONFIDENCE, ALPHA, CUTOUT, PANOPTIC, ATTENTION, OVERLAY, MASK
    };
    double start = seconds();
    for (int i = 0; i < KINDS; i++) {
        int kind = order[i];
        if (!j->options->kinds[kind]) continue;
        char *path = output_path(j->options, j->image, kind);
        int why = write_kind(j, kind, path, r);
        if (why) fail(IMAGE_FAILED, strcmp(path, "-") ? path : "standard output", strerror(why));
        free(path);
        if (why) return IMAGE_FAILED;
    }
    j->write = seconds() - start;
    return DONE;
}

/* A list of the segments, after what comes before. */
static void write_segments(FILE *f, const runner *r)
{
    int count;
    const swin_region *segments = swin_segments(r->context, &count);
    fputs(", \"segments\": [", f);
    for (int i = 0; i < count; i++) {
        const swin_region *s = &segments[i];
        fprintf(f, "%s{\"id\": %d, \"class\": %d, \"name\": ", i ? ", " : "", s->id, s->class_id);
        json_text(f, swin_class_name(r->model, s->class_id));
        fprintf(f, ", \"thing\": %s, \"score\": %.6f, \"area\": %d, \"box\": [%d, %d, %d, %d]}",
                s->thing ? "true" : "false", s->score, s->area, s->x, s->y, s->width, s->height);
    }
    fputs("]", f);
}

static void write_json(FILE *f, const job *j, const runner *r, const char *model_path)
{
    const swin_desc *d = &r->desc;
    fputs("{\"schema\": 1, \"file\": ", f);
    json_text(f, j->image);
    fputs(", \"model\": ", f);
    json_text(f, model_path);
    fprintf(f, ", \"width\": %d, \"height\": %d, \"input_width\": %d, \"input_height\": %d",
            j->picture.width, j->picture.height, d->width, d->height);
    fprintf(f, ", \"cpu\": \"%s\", \"threads\": %d, \"workspace\": %zu",
            swin_cpu_name(swin_cpu_used(r->context)), j->options->threads, r->workspace);
    fprintf(f, ", \"ms\": {\"read\": %.3f, \"network\": %.3f, \"write\": %.3f}, \"classes\": [",
            1e3 * j->read, 1e3 * j->network, 1e3 * j->write);
    for (int i = 0; i < j->present; i++) {
        const share *s = &j->shares[i];
        fprintf(f, "%s{\"id\": %d, \"name\": ", i ? ", " : "", s->id);
        json_text(f, swin_class_name(r->model, s->id));
        if (is_classifier(r->model))
            fprintf(f, isfinite(s->score) ? ", \"score\": %.6f}" : ", \"score\": null}", s->score);
        else
            fprintf(f, ", \"color\": \"#%06x\", \"pixels\": %zu, \"share\": %.6f}",
                    (unsigned)swin_class_color(r->model, s->id), s->pixels,
                    part_of(s, &j->picture));
    }
    fputs("]", f);
    if (j->options->kinds[PANOPTIC]) write_segments(f, r);
    fputs("}\n", f);
}

/* Reads the picture and runs the model on it. */
static int run_picture(job *j, runner *r)
{
    char why[256];
    swin_error error;
    double start = seconds();
    if (!picture_read(&j->picture, j->image, why)) return fail(IMAGE_FAILED, j->image, why);
    j->read = seconds() - start;
    start = seconds();
    swin_status status = run(r, j->picture.rgb, j->picture.width, j->picture.height, &error);
    j->network = seconds() - start;
    return status ? fail(IMAGE_FAILED, j->image, error.text) : DONE;
}

static int segment(job *j, runner *r)
{
    int status = run_picture(j, r);
    if (status) return status;
    if (is_classifier(r->model)) return rank_classes(j, swin_scores(r->context)), DONE;
    j->present = count_classes(r->classes, r->model->config.classes, j->shares);
    return write_pictures(j, r);
}

/* A classifier's answer, where --json does not give it. */
static int print_top(const job *j, const runner *r)
{
    if (!isfinite(j->shares[0].score))
        return fail(IMAGE_FAILED, j->image, "the network's scores are no numbers (NaN): its "
                    "weights are damaged or overflow");
    for (int i = 0; i < j->present; i++)
        printf("%s: %5.1f%% %s\n", j->image, 100 * j->shares[i].score,
               swin_class_name(r->model, j->shares[i].id));
    return flush_output(stdout, NULL);
}

static void summarise(const job *j, const runner *r)
{
    progress_clear();
    fprintf(stderr, "%s: %dx%d in %.2f s,", j->image, j->picture.width, j->picture.height,
            j->network);
    for (int i = 0; i < j->present && i < 4; i++) {
        const share *s = &j->shares[i];
        double part = is_classifier(r->model) ? s->score : part_of(s, &j->picture);
        fprintf(stderr, " %s %.0f%%", swin_class_name(r->model, s->id), 100 * part);
    }
    fputc('\n', stderr);
}

static int segment_all(const options *o, runner *r, const char *model_path)
{
    int status = DONE, talk = !o->quiet && on_terminal();
    FILE *json = !o->json_path ? stdout : fopen(o->json_path, "wb");
    if (!json) return fail(IMAGE_FAILED, o->json_path, strerror(errno));
    int classes = r->model->config.classes;
    share *shares = (share *)malloc((size_t)classes * sizeof *shares);
    r->palette = (uint32_t *)malloc((size_t)classes * sizeof *r->palette);
    if (!shares || !r->palette)
        return fail(IMAGE_FAILED, "memory", "none left to count the classes");
    for (int k = 0; k < classes; k++) r->palette[k] = swin_class_color(r->model, k);
    for (int i = 0; i < o->count; i++) {
        if (talk && o->count > 1) progress_show(i, o->count);
        job j = {0};
        j.options = o;
        j.image = o->images[i];
        j.shares = shares;
        if (segment(&j, r)) {
            status = IMAGE_FAILED;
        } else {
            if (o->json) write_json(json, &j, r, model_path);
            int written = o->json ? flush_output(json, o->json_path) :
                          is_classifier(r->model) ? print_top(&j, r) : DONE;
            if (written) status = written;
            else if (talk) summarise(&j, r);
        }
        free(j.picture.rgb);
    }
    free(shares);
    if (json != stdout && fclose(json) && !status)
        status = fail(IMAGE_FAILED, o->json_path, strerror(errno));
    return status;
}

/* -------------------------------------------------------------------------- */
/* two models on the same pictures                                            */

enum { UNKNOWN = 255 };         /* a label: nobody said what the pixel shows */

/* Counts of pixels, of one picture or of several. */
typedef struct tally {
    uint64_t all, changed, labelled;
    uint64_t *truth;                    /* [classes], of the labelled ones */
    uint64_t *found[2], *hits[2];       /* [classes], of these: what each model says, and rightly */
} tally;

enum { TALLY_ROWS = 5 };                /* numbers a class, in one block */

/* Starts from nothing in a block of its own. */
static void tally_start(tally *t, uint64_t *block, int classes)
{
    memset(t, 0, sizeof *t);
    memset(block, 0, TALLY_ROWS * (size_t)classes * sizeof *block);
    t->truth = block;
    for (int i = 0; i < 2; i++) {
        t->found[i] = block + (size_t)(1 + i) * (size_t)classes;
        t->hits[i] = block + (size_t)(3 + i) * (size_t)classes;
    }
}

static void tally_add(tally *sum, const tally *t, int classes)
{
    sum->all += t->all;
    sum->changed += t->changed;
    sum->labelled += t->labelled;
    for (size_t i = 0; i < TALLY_ROWS * (size_t)classes; i++) sum->truth[i] += t->truth[i];
}

/* The mean over the classes that are labelled or found. */
static double mean_iou(const tally *t, int model, int classes)
{
    double sum = 0;
    int present = 0;
    for (int k = 0; k < classes; k++) {
        uint64_t either = t->truth[k] + t->found[model][k] - t->hits[model][k];
        if (!either) continue;
        sum += (double)t->hits[model][k] / (double)either;
        present++;
    }
    return sum / present;
}

static void print_tally(const char *what, const tally *t, int classes, const char *other)
{
    printf("%s: %llu of %llu pixels change, %.3f %%", what, (unsigned long long)t->changed,
           (unsigned long long)t->all, 100 * (double)t->changed / (double)t->all);
    if (t->labelled)
        printf("; mean IoU %.4f, %s %.4f", mean_iou(t, 0, classes), other,
               mean_iou(t, 1, classes));
    putchar('\n');
}

/* Decodes the labels in a file's bytes; they must fit the picture and the classes. */
static int take_labels(picture *labels, const file_bytes *b, const picture *p, int classes,
                       char why[256])
{
    enum { DEPTH = 24, COLOUR = 25 };           /* in a PNG's header */
    if (b->size <= COLOUR || memcmp(b->data, "\x89PNG", 4) || b->data[DEPTH] != 8
        || b->data[COLOUR])
        return picture_fail(why, "is no grey PNG of 8 bits, whose pixels are numbers of classes");
    if (!picture_decode(labels, b->data, b->size, why)) return 0;
    if (labels->width != p->width || labels->height != p->height)
        return picture_fail(why, "is %dx%d, and its picture %dx%d", labels->width, labels->height,
                            p->width, p->height);
    for (size_t i = 0; i < (size_t)p->width * (size_t)p->height; i++)
        if (labels->rgb[3 * i] >= classes && labels->rgb[3 * i] != UNKNOWN)
            return picture_fail(why, "holds class %d, and the models have %d", labels->rgb[3 * i],
                                classes);
    return 1;
}

/* Reads what lies beside the picture NAME.jpg as NAME.label.png; labels->rgb is to be freed, and
   NULL where there is no such file. */
static int read_labels(const job *j, int classes, picture *labels)
{
    char why[256];
    file_bytes b;
    labels->rgb = NULL;
    if (!strcmp(j->image, "-")) return DONE;
    char *name = without_ending(j->image), *path = text_of(name, ".label", ".png");
    int error = file_load(path, &b), status = DONE;
    if (error && error != ENOENT) status = fail(IMAGE_FAILED, path, load_error(error));
    else if (!error && !take_labels(labels, &b, &j->picture, classes, why))
        status = fail(IMAGE_FAILED, path, why);
    file_free(&b);
    free(name);
    free(path);
    return status;
}

/* Counts the pixels of the last picture of both runners. labels: NULL where there are none. */
static void count_changes(tally *t, const runner *both[2], const unsigned char *labels)
{
    const swin_map map = both[0]->classes;
    t->all = (uint64_t)map.width * (uint64_t)map.height;
    for (size_t i = 0; i < (size_t)t->all; i++) {
        unsigned ids[2] = { class_at(map, i), class_at(both[1]->classes, i) };
        t->changed += ids[0] != ids[1];
        if (!labels || labels[3 * i] == UNKNOWN) continue;
        t->labelled++;
        t->truth[labels[3 * i]]++;
        for (int k = 0; k < 2; k++) {
            t->found[k][ids[k]]++;
            t->hits[k][ids[k]] += ids[k] == labels[3 * i];
        }
    }
}

static int compare_picture(job *j, runner *r, runner *other, tally *t)
{
    swin_error error;
    picture labels = {0};
    const runner *both[2] = { r, other };
    int status = run_picture(j, r);
    if (!status && run(other, j->picture.rgb, j->picture.width, j->picture.height, &error))
        status = fail(IMAGE_FAILED, j->image, error.text);
    if (!status) status = read_labels(j, r->model->config.classes, &labels);
    if (!status) count_changes(t, both, labels.rgb);
    free(labels.rgb);
    return status;
}

static int compare_all(const options *o, runner *r, runner *other)
{
    int status = DONE, classes = r->model->config.classes, talk = !o->quiet && o->count > 1;
    size_t row = TALLY_ROWS * (size_t)classes;
    uint64_t *counts = (uint64_t *)malloc(2 * row * sizeof *counts);
    tally sum, t;
    if (!counts) return fail(IMAGE_FAILED, "memory", "none left to count the classes");
    tally_start(&sum, counts, classes);
    for (int i = 0; i < o->count; i++) {
        job j = {0};
        j.options = o;
        j.image = o->images[i];
        tally_start(&t, counts + row, classes);
        if (talk) progress_show(i, o->count);
        if (compare_picture(&j, r, other, &t)) {
            status = IMAGE_FAILED;
        } else {
            if (talk) progress_clear();
            print_tally(j.image, &t, classes, o->against);
            tally_add(&sum, &t, classes);
        }
        free(j.picture.rgb);
    }
    if (sum.all) print_tally("in all", &sum, classes, o->against);
    free(counts);
    int written = flush_output(stdout, NULL);
    return written ? written : status;
}

/* Reads and checks a model; blob: what it lies in. */
static int open_model(swin_model *m, file_bytes *blob, const char *path)
{
    swin_error error;
    int why = file_load(path, blob);
    if (why) return fail(MODEL, path, load_error(why));
    return swin_open(m, blob->data, blob->size, SWIN_VERIFY, &error) ?
           fail(MODEL, path, error.text) : DONE;
}

/* Why the class maps of two models cannot be compared, or NULL. */
static const char *why_different(const swin_model *m, const swin_model *other)
{
    static char why[128];
    int classes = m->config.classes, others = other->config.classes;
    if (is_classifier(other) || !others) return "gives no map of classes that could be compared";
    snprintf(why, sizeof why, "has %d classes, and the model %d: they cannot be compared", others,
             classes);
    return others == classes ? NULL : why;
}

static int compare(const options *o, runner *r)
{
    file_bytes blob;
    swin_model model;
    runner other = *r;
    int status = open_model(&model, &blob, o->against);
    const char *why = status ? NULL : why_different(r->model, &model);
    if (why) status = fail(MODEL, o->against, why);
    other.model = &model;
    if (!status) status = compare_all(o, r, &other);
    free(other.memory);
    file_free(&blob);
    return status;
}

/* -------------------------------------------------------------------------- */
/* what a model file holds                                                    */

/* Number types and layouts, as >>blob in swin.h numbers them. */
enum { TYPES = 4, LAYOUTS = 4 };
static const char *const type_names[TYPES] = { "f32", "f16", "bf16", "s8" };
static const char *const layout_names[LAYOUTS] = { "plain", "rows", "panels", "quads" };

/* The fields of a .swin file and of its directory that --info tells, by their offsets there. */
enum { DIRECTORY = 48, ENTRIES = 56, ENTRY_SIZE = 128,
       ENTRY_TYPE = 64, ENTRY_LAYOUT = 68, ENTRY_SHAPE = 72, ENTRY_BYTES = 96 };

static unsigned long long u64_at(const unsigned char *d)
{
    return (unsigned long long)little_endian(d + 4, 4) << 32 | little_endian(d, 4);
}

/* The entry of tensor i in the directory of a model that was opened. */
static const unsigned char *entry_at(const file_bytes *blob, size_t i)
{
    return blob->data + (size_t)u64_at(blob->data + DIRECTORY) + ENTRY_SIZE * i;
}

static void print_tensor(const unsigned char *entry, double whole)
{
    char shape[64];
    int at = 0;
    for (int i = 0; i < 4; i++) {
        unsigned side = little_endian(entry + ENTRY_SHAPE + 4 * i, 4);
        if (i < 2 || side > 1)
            at += snprintf(shape + at, sizeof shape - (size_t)at, at ? "x%u" : "%u", side);
    }
    unsigned long long bytes = u64_at(entry + ENTRY_BYTES);
    printf("%-5s%-7s %-14s %11llu %5.1f %%  %.64s\n",
           type_names[little_endian(entry + ENTRY_TYPE, 4)],
           layout_names[little_endian(entry + ENTRY_LAYOUT, 4)], shape, bytes,
           100 * (double)bytes / whole, (const char *)entry);
}

/* Every tensor, then the sums by number type; shares are those of all tensors. */
static int print_info(const swin_model *m, const file_bytes *blob, const char *path)
{
    static const char *const notes[] = { "name", "licence", "numbers" };
    unsigned long long bytes[TYPES] = {0}, tensors[TYPES] = {0}, whole = 0;
    size_t count = (size_t)u64_at(blob->data + ENTRIES);
    for (size_t i = 0; i < count; i++) {
        unsigned type = little_endian(entry_at(blob, i) + ENTRY_TYPE, 4);
        bytes[type] += u64_at(entry_at(blob, i) + ENTRY_BYTES);
        whole += u64_at(entry_at(blob, i) + ENTRY_BYTES);
        tensors[type]++;
    }
    for (size_t i = 0; i < count; i++) print_tensor(entry_at(blob, i), (double)whole);
    printf("\n%s: %zu bytes, %d classes\n", path, blob->size, m->config.classes);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        if (swin_note(m, notes[i])) printf("%s: %s\n", notes[i], swin_note(m, notes[i]));
    for (int i = 0; i < TYPES; i++)
        if (tensors[i])
            printf("%-5s%11llu bytes %5.1f %%  in %llu tensors\n", type_names[i], bytes[i],
                   100 * (double)bytes[i] / (double)whole, tensors[i]);
    return flush_output(stdout, NULL);
}

/* -------------------------------------------------------------------------- */
/* the self-test                                                              */

/* Segments the generated picture of reference *r and renews its checksums. */
static swin_status measure_reference(runner *r, swin_reference *reference, swin_error *error)
{
    int w = (int)reference->width, h = (int)reference->height;
    unsigned char *rgb = (unsigned char *)malloc((size_t)w * (size_t)h * 3);
    r->desc.outputs = SWIN_OUT_CLASSES | SWIN_OUT_LOGITS;
    if (!rgb) snprintf(error->text, sizeof error->text, "no memory for the generated picture");
    else swin_reference_picture(rgb, w, h, reference->seed);
    swin_status status = rgb ? run_once(r, rgb, w, h, error) : SWIN_MEMORY;
    free(rgb);
    if (status) return status;

    swin_map m = swin_classes(r->context);
    swin_tensor t = swin_logits(r->context);
    swin_checksum(m.data, (size_t)w * (size_t)h * (size_t)m.bytes, reference->classes);
    float *plain = (float *)malloc(tensor_size(t) * sizeof *plain);
    if (!plain) {
        snprintf(error->text, sizeof error->text, "no memory for the logits");
        return SWIN_MEMORY;
    }
    tensor_copy(plain, t);
    swin_checksum(plain, tensor_size(t) * sizeof *plain, reference->logits);
    free(plain);
    return SWIN_OK;
}

/* Runs the model's reference on one instruction set, or on all that there are. */
static int self_test(const options *o, runner *r, const char *model_path)
{
    swin_reference expected = r->model->config.reference;
    if (!expected.present)
        return fail(MODEL, model_path, "holds no reference to test against (--record stores one)");
    for (int cpu = SWIN_CPU_COUNT - 1; cpu > SWIN_CPU_BEST; cpu--) {
        if (o->desc.cpu ? o->desc.cpu != (swin_cpu)cpu : !swin_cpu_available((swin_cpu)cpu))
            continue;
        const char *name = swin_cpu_name((swin_cpu)cpu);
        swin_reference found = expected;
        swin_error error;
        r->desc.cpu = (swin_cpu)cpu;
        r->context = NULL;
        double start = seconds();
        if (measure_reference(r, &found, &error)) return fail(MODEL, model_path, error.text);
        if (memcmp(&found, &expected, sizeof found))
            return fail(MODEL, name, "computes other bits than the model's reference");
        printf("%-6s the same bits, %ux%u in %.2f s\n", name, (unsigned)expected.width,
               (unsigned)expected.height, seconds() - start);
    }
    return flush_output(stdout, NULL);
}

static int record(runner *r, const char *model_path, file_bytes *blob)
{
    swin_reference reference = { 1, 1, 211, 157, { 0, 0 }, { 0, 0 } };
    swin_error error;
    struct stat s;
    if (strcmp(model_path, "-") && !stat(model_path, &s) && (s.st_mode & S_IFMT) != S_IFREG)
        return fail(MODEL, model_path, "is no regular file, and --record stores in one only");
    if (measure_reference(r, &reference, &error)
        || swin_set_reference(blob->data, blob->size, &reference, &error))
        return fail(MODEL, model_path, error.text);
    int why = file_save(model_path, blob->data, blob->size);
    return why ? fail(MODEL, model_path, strerror(why)) : DONE;
}

/* What the options ask of the model. */
static int ask(options *o, runner *r, const char *model_path)
{
    const swin_config *g = &r->model->config;
    swin_desc *d = &r->desc;
    if (g->head.kind == SWIN_HEAD_CLASSIFIER) {
        if (o->self_test || o->record || o->kinds[MASK] || o->kinds[IDS] || o->kinds[CONFIDENCE] ||
            o->kinds[ATTENTION] || o->kinds[PANOPTIC] || wants_matte(o) || o->flip ||
            o->scale_count || o->out || o->against)
            return fail(MODEL, model_path, "is a classifier: it takes pictures, and tells their "
                        "classes as text or --json");
        o->kinds[OVERLAY] = 0;
        d->outputs = SWIN_OUT_SCORES;
        return DONE;
    }
    if (o->top) return fail(MODEL, model_path, "is no classifier, which --top is for");
    if (wants_matte(o) && g->classes != 2)
        return fail(MODEL, model_path, "has not two classes, an object and its background, "
                    "which --alpha and --cutout are for");
    if (o->kinds[PANOPTIC] && !g->segments.rule)
        return fail(MODEL, model_path, "was not converted as a model that is trained for panoptic "
                    "results or instances, which --panoptic is for");
    d->outputs = SWIN_OUT_CLASSES;
    d->threshold = (float)o->threshold;
    if (o->kinds[PANOPTIC]) d->outputs |= SWIN_OUT_SEGMENTS;
    if (o->kinds[CONFIDENCE] || wants_matte(o)) d->outputs |= SWIN_OUT_CONFIDENCE_F32;
    if (o->kinds[ATTENTION]) {
        int stage = o->attend_stage;
        for (int i = 0; o->attend_stage < 0 && i < g->stages; i++)
            if (g->tokens && g->stage[i].depth > 1) stage = i;
        d->outputs |= SWIN_OUT_ATTENTION;
        d->attend_x = o->attend_x;
        d->attend_y = o->attend_y;
        d->attend_stage = stage;
    }
    return DONE;
}

static int run_options(options *o, runner *r, file_bytes *blob, const char *model_path)
{
    int status = ask(o, r, model_path);
    if (status) return status;
    if (o->self_test) return self_test(o, r, model_path);
    if (o->record) return record(r, model_path, blob);
    if (o->against) return compare(o, r);
    status = check_outputs(o, model_path);
    return status < 0 ? segment_all(o, r, model_path) : status;
}

/* What the options ask for, but --info, which models without classes have, too. */
static int run_model(options *o, const swin_model *model, file_bytes *blob, const char *model_path)
{
    if (!model->config.classes) return fail(MODEL, model_path, "gives features only, no classes");
    pool workers;
    pool_start(&workers, o->threads);
    runner r = {0};
    r.model = model;
    r.options = o;
    r.desc = o->desc;
    r.scale = 1;
    pool_serve(&workers, &r.desc);
    int status = run_options(o, &r, blob, model_path);
    pool_stop(&workers);
    free(r.memory);
    free(r.palette);
    return status;
}

int main(int argc, char **argv)
{
    options o = {0};
    prepare_streams();
    int status = parse_options(&o, argc, argv);
    if (status >= 0) return status;

    char *model_path = o.model ? text_of(o.model, "", "") : default_model(argv[0]);
    file_bytes blob;
    swin_model model;
    status = open_model(&model, &blob, model_path);
    if (!status) status = o.info ? print_info(&model, &blob, model_path)
                                 : run_model(&o, &model, &blob, model_path);
    free(model_path);
    file_free(&blob);
    return status;
}
