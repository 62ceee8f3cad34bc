/* swin.h - v0.1.0 - Swin Transformer + GLAM semantic segmentation on the CPU, C99, no dependencies
   Public domain of ideas, MIT licence of code (end of file). One file is the whole library.

DO THIS
   In exactly one C or C++ file:       #define SWIN_IMPLEMENTATION
                                       #include "swin.h"
   Everywhere else:                    #include "swin.h"
   Link with the C maths library (-lm). Models are .swin files, made from PyTorch checkpoints by tools/convert.py.

A COMPLETE PROGRAM

   #define SWIN_IMPLEMENTATION
   #include "swin.h"
   int main(int argc, char **argv)
   {
       enum { W = 480, H = 360 };
       static unsigned char rgb[W * H * 3], classes[W * H];
       swin_error error;
       swin_model *model = argc > 1 ? swin_load(argv[1], &error) : NULL;
       if (!model) return puts(argc > 1 ? error.text : "usage: minimal MODEL.swin < 480x360.rgb"), 1;
       if (fread(rgb, 1, sizeof rgb, stdin) != sizeof rgb) return puts("expected 480x360 RGB bytes"), 1;
       if (swin_segment(model, rgb, W, H, classes, &error)) return puts(error.text), 1;
       printf("the middle of the picture is %s\n", swin_class_name(model, classes[H / 2 * W + W / 2]));
       swin_free(model);
       return 0;
   }
*/
#ifndef SWIN_H
#define SWIN_H

#include <stddef.h>
#include <stdint.h>

#define SWIN_VERSION_MAJOR 0
#define SWIN_VERSION_MINOR 1
#define SWIN_VERSION_PATCH 0

#ifndef SWIN_API
#ifdef SWIN_STATIC
#define SWIN_API static
#else
#define SWIN_API extern
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------------- */
/* >>public: status and errors                                                */

/* One list makes the enumeration, the short names and the sentences. */
#define SWIN_STATUS_LIST(X)                                                          \
    X(SWIN_OK,          "done")                                                      \
    X(SWIN_MORE,        "more steps are left: call swin_step again")                 \
    X(SWIN_CANCELLED,   "cancelled by swin_cancel")                                  \
    X(SWIN_ARGUMENT,    "an argument is out of its range")                           \
    X(SWIN_SIZE,        "a picture or input size the model cannot take")             \
    X(SWIN_MEMORY,      "the memory given is too small, or none could be had")       \
    X(SWIN_FILE,        "a file could not be read")                                  \
    X(SWIN_FORMAT,      "not a model blob, or a damaged one")                        \
    X(SWIN_UNSUPPORTED, "a model this version does not know")                        \
    X(SWIN_CORRUPT,     "memory was overwritten from outside (SWIN_DEBUG)")

typedef enum swin_status {
#define SWIN__ENUM(name, text) name,
    SWIN_STATUS_LIST(SWIN__ENUM)
#undef SWIN__ENUM
    SWIN_STATUS_COUNT
} swin_status;

/* Filled whenever a call with a swin_error fails; `err` may be NULL everywhere. */
typedef struct swin_error {
    swin_status status;
    char text[256];     /* one sentence that names the tensor, field or size at fault */
} swin_error;

SWIN_API const char *swin_status_text(swin_status status);      /* the sentence of the list above */

/* -------------------------------------------------------------------------- */
/* >>public: models                                                           */

/* A checked view of a blob. Immutable once opened: any number of contexts, on any threads, may share
   it. The fields are private. Keep the blob's bytes readable and unchanged while the model is used. */
typedef struct swin_model {
    const unsigned char *blob;
    size_t size;
    const char *strings;        /* class names and notes, in the blob */
    uint32_t config[128];       /* the canonical description of the model (>>blob) */
    void *easy;                 /* what swin_load and swin_segment own; NULL otherwise */
} swin_model;

enum { SWIN_VERIFY = 1 };       /* swin_open: also verify the checksum (reads the whole blob) */

/* Opens a blob in the caller's memory: no copy is made. Every field is checked before use, so a blob
   from a stranger is safe to try.
   blob: `size` bytes, aligned to 4 (64 is fastest), owned by the caller. flags: 0 or SWIN_VERIFY.
   Returns SWIN_OK, SWIN_ARGUMENT, SWIN_FORMAT or SWIN_UNSUPPORTED. */
SWIN_API swin_status swin_open(swin_model *m, const void *blob, size_t size, unsigned flags, swin_error *err);

/* What a model is, in plain numbers. */
typedef struct swin_info {
    int stages;                 /* backbone stages, 1..4; stage i works at 1/(patch * 2^i) of the input */
    int channels[4];            /* of feature i */
    int patch;                  /* pixels of a patch's side, normally 4 */
    int tokens;                 /* GLAM's global tokens a window, 0 for plain Swin */
    int classes;                /* 0: features only */
    int ignore_label;           /* the class id that means "no class", normally 255; ids are 0..classes-1 */
    int bgr;                    /* 1: the network's first input plane is blue */
    float mean[3], scale[3];    /* input plane c = (pixel - mean[c]) * scale[c], pixels 0..255, in R,G,B order */
    size_t parameters;          /* numbers held by the blob's tensors */
} swin_info;

SWIN_API swin_info swin_describe(const swin_model *m);
SWIN_API const char *swin_class_name(const swin_model *m, int k);          /* UTF-8; NULL when k is no class */
SWIN_API uint32_t swin_class_color(const swin_model *m, int k);            /* 0xRRGGBB */
/* Notes travel with the weights: "name", "source", "licence", "training", ... NULL when there is none. */
SWIN_API const char *swin_note(const swin_model *m, const char *key);

/* The network input size that the model's preprocessing gives a picture of w x h pixels. longest > 0
   replaces the model's own rule: the longer side becomes that many pixels, the shape is kept. */
SWIN_API swin_status swin_input_size(const swin_model *m, int w, int h, int longest,
                                     int *input_w, int *input_h, swin_error *err);

/* The self-test a blob may carry: segmenting the generated picture `seed` of width x height gives a
   class map and logits with these checksums, on every machine. */
typedef struct swin_reference {
    uint32_t present, seed, width, height;
    uint32_t classes[2], logits[2];     /* swin_checksum of the class map and of the logits' bits */
} swin_reference;

SWIN_API swin_reference swin_get_reference(const swin_model *m);
/* Writes a reference into a blob in writable memory and renews the blob's checksum. */
SWIN_API swin_status swin_set_reference(void *blob, size_t size, const swin_reference *r, swin_error *err);
/* Fills w*h RGB pixels with the generated picture `seed`: smooth colours with texture, the same everywhere. */
SWIN_API void swin_reference_picture(unsigned char *rgb, int w, int h, uint32_t seed);
/* Fletcher's two sums over little-endian 32-bit words (a last partial word is padded with zeros). */
SWIN_API void swin_checksum(const void *data, size_t size, uint32_t sums[2]);

/* -------------------------------------------------------------------------- */
/* >>public: contexts - one picture at a time, in the caller's memory         */

typedef struct swin_context swin_context;

/* Instruction sets; all give the same bits. SWIN_CPU_BEST takes the best one the machine has. */
typedef enum swin_cpu { SWIN_CPU_BEST, SWIN_CPU_SCALAR, SWIN_CPU_AVX2, SWIN_CPU_AVX512, SWIN_CPU_NEON } swin_cpu;

/* Results to keep. Asking for more costs memory, never other results. */
enum {
    SWIN_CLASSES = 1,           /* the class map: swin_classes */
    SWIN_LOGITS = 2,            /* the head's logits at its own resolution: swin_logits */
    SWIN_FEATURES = 4           /* every normalised stage output: swin_feature */
};
enum { SWIN_DIRECT = 1 };       /* desc flag: plain convolutions everywhere (slow; for comparison) */

/* Runs task(arg, 0) ... task(arg, count - 1), in any order, on any threads, and returns when all are done. */
typedef void (*swin_task)(void *arg, int index);
typedef void (*swin_parallel_for)(void *user, swin_task task, void *arg, int count);

/* Start with `swin_desc d = {0};` - zero is every field's default. */
typedef struct swin_desc {
    int width, height;          /* the network's input size; 0: what the model's preprocessing gives the picture */
    int picture_width;          /* size of the pictures to come, and of the class map; */
    int picture_height;         /* 0: the network's input size */
    unsigned outputs;           /* SWIN_CLASSES | ...; 0: the class map, or the features where there is no head */
    int tasks;                  /* pieces that a step is cut into at most, 0: 1. Take 2 to 4 a thread: each
                                   piece has its own scratch memory. Results do not depend on it */
    swin_parallel_for parallel_for;     /* NULL: everything runs in the calling thread */
    void *user;                 /* handed to parallel_for */
    swin_cpu cpu;
    unsigned flags;             /* SWIN_DIRECT */
    size_t memory_limit;        /* bytes of workspace at most, 0: no limit */
} swin_desc;

/* Bytes of workspace that swin_init needs for this desc: exact, the same on every machine of one pointer
   size. 0: see err (SWIN_SIZE when the model cannot take the size, SWIN_MEMORY over memory_limit). */
SWIN_API size_t swin_workspace_size(const swin_model *m, const swin_desc *d, swin_error *err);

/* Makes a context in `mem` (`size` bytes, any alignment, owned by the caller; there is nothing to free).
   Nothing outside `mem` is ever written. Keep `m` and its blob while the context is used. */
SWIN_API swin_status swin_init(swin_context **c, const swin_model *m, const swin_desc *d,
                               void *mem, size_t size, swin_error *err);

typedef enum swin_format {
    SWIN_RGB8, SWIN_BGR8, SWIN_RGBA8, SWIN_BGRA8, SWIN_GREY8,
    SWIN_PLANES                 /* float planes in the network's order, already normalised, at its input size */
} swin_format;

/* A picture in the caller's memory; origin top left. A negative stride walks upwards from `data`. */
typedef struct swin_image {
    const void *data;           /* first pixel of the top row */
    int width, height;          /* must be the desc's picture size (or its input size for SWIN_PLANES) */
    ptrdiff_t stride;           /* bytes from row to row; 0: rows follow each other */
    swin_format format;
    ptrdiff_t plane_stride;     /* SWIN_PLANES: bytes from plane to plane; 0: planes follow each other */
} swin_image;

/* Runs the whole network on a picture. SWIN_OK, SWIN_ARGUMENT, SWIN_SIZE or SWIN_CANCELLED. */
SWIN_API swin_status swin_run(swin_context *c, const swin_image *in);

/* The same in slices: begin, then step until it no longer says SWIN_MORE. `in`'s pixels must stay until
   then. A step runs at most `tasks` of the plan's smallest pieces of work (about a millisecond each). */
SWIN_API swin_status swin_begin(swin_context *c, const swin_image *in);
SWIN_API swin_status swin_step(swin_context *c, int tasks);
SWIN_API float swin_progress(const swin_context *c);     /* 0..1 of the multiply-adds */
SWIN_API void swin_cancel(swin_context *c);              /* from any thread: the run ends with SWIN_CANCELLED */
SWIN_API const char *swin_error_text(const swin_context *c);    /* of the last begin, run or step that failed */

/* -------------------------------------------------------------------------- */
/* >>public: results - views into the workspace, valid until the next begin   */

/* One id a pixel: uint8 where the model has at most 256 classes, else uint16. data NULL: not there. */
typedef struct swin_map {
    const void *data;
    int width, height;
    int bytes;                  /* 1 or 2 a pixel; rows follow each other */
} swin_map;

/* Element (c, y, x) is data[c * channel + y * row + x * pixel]. data NULL: not there. */
typedef struct swin_tensor {
    const float *data;
    int channels, height, width;
    size_t channel, row, pixel; /* strides in floats */
} swin_tensor;

SWIN_API swin_map swin_classes(const swin_context *c);
SWIN_API swin_tensor swin_logits(const swin_context *c);
SWIN_API swin_tensor swin_feature(const swin_context *c, int stage);

/* -------------------------------------------------------------------------- */
/* >>public: looking inside                                                   */

SWIN_API const char *swin_cpu_name(const swin_context *c);      /* "scalar", "avx2", "avx512", "neon" */
SWIN_API int swin_cpu_available(swin_cpu cpu);                  /* may a desc ask for it on this machine? */

typedef struct swin_step_info {
    const char *name;           /* "attention", "mlp", "merge", ... */
    int stage;                  /* backbone stage or pyramid level, -1 where it has none */
    int tasks;                  /* independent pieces of work */
    double madds;               /* multiply-adds of the whole step */
} swin_step_info;

/* Step `index` of the plan; 0 when there is none. */
SWIN_API int swin_plan_step(const swin_context *c, int index, swin_step_info *info);

/* -------------------------------------------------------------------------- */
/* >>public: easy - files and malloc                                          */

#ifndef SWIN_NO_STDIO
#ifndef SWIN_NO_MALLOC
/* Reads and verifies a model file. NULL: see err. Free with swin_free. */
SWIN_API swin_model *swin_load(const char *path, swin_error *err);
#endif
#endif
#ifndef SWIN_NO_MALLOC
/* Segments w*h RGB pixels (rows follow each other) with a loaded model, resizing as the model wants it.
   classes: w*h bytes. Memory for one size is kept in the model until the size changes or swin_free, so
   one thread at a time. Models with more than 256 classes need the core calls. */
SWIN_API swin_status swin_segment(swin_model *m, const unsigned char *rgb, int w, int h,
                                  unsigned char *classes, swin_error *err);
SWIN_API void swin_free(swin_model *m);         /* NULL is fine */
#endif

#ifdef __cplusplus
}
#endif
#endif /* SWIN_H: the interface ends here */
