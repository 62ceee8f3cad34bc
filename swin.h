/* swin.h - v0.2.0 - Swin Transformer + GLAM semantic segmentation on the CPU, C99, no dependencies

   One file is the whole library: a picture in, a class for every pixel out, on any CPU, inside your
   program. MIT licence, at the end of this file.

DO THIS
   In exactly one C or C++ file:       #define SWIN_IMPLEMENTATION
                                       #include "swin.h"
   Everywhere else:                    #include "swin.h"
   Link with the C maths library (-lm). Models are .swin files: tools/convert.py makes them from
   PyTorch checkpoints.

A COMPLETE PROGRAM

   #define SWIN_IMPLEMENTATION
   #include "swin.h"
   int main(int argc, char **argv)
   {
       enum { W = 480, H = 360 };
       static unsigned char rgb[W * H * 3], classes[W * H];
       swin_error error;
       swin_model *model = argc > 1 ? swin_load(argv[1], &error) : NULL;
       if (!model) return puts(argc > 1 ? error.text : "usage: minimal MODEL.swin < RGB"), 1;
       if (fread(rgb, 1, sizeof rgb, stdin) != sizeof rgb)
           return puts("expected 480x360 RGB bytes"), 1;
       if (swin_segment(model, rgb, W, H, classes, &error)) return puts(error.text), 1;
       printf("the middle of the picture is %s\n",
              swin_class_name(model, classes[H / 2 * W + W / 2]));
       swin_free(model);
       return 0;
   }

WHAT IT COMPUTES
   Swin Transformer V1 and V2 backbones of any width, depth, window and number of heads, V1 plain
   or with GLAM's global tokens; UPerHead, PSPHead, FCNHead, semantic FPN, both Segformer heads, the
   decoders UPerNet, FPN, Segformer and Unet of segmentation_models_pytorch, MaskFormer, Mask2Former
   and OneFormer to the map of classes, panoptic segments and instances, Swin-Unet and
   GLAM-Swin-Unet with plain or cross-attention upsampling, BiRefNet (background removal), the image
   classifier, or no head (features only).
   SegFormer, whose backbone is MiT, as its authors, mmsegmentation and Hugging Face have it. Whole
   pictures, sliding windows, averages over sizes and flips. Exactly what the authors' code
   computes, to float32 rounding, whichever library the weights are from; what a file asks for and
   this version does not know is refused by name. It does not train, use GPUs, run batches (take
   several contexts side by side over one model) or other networks.
   Weights are stored as float32, f16, or whole numbers of eight bits with a scale an output, each
   tensor by itself. Rows that meet eight bits become such numbers, too, with a scale a row, or of
   all that a convolution's block of pixels sees; everything between products is float32.

INPUT AND OUTPUT
   Pictures are 8-bit RGB, BGR, RGBA, BGRA or grey, or a camera's YUYV or NV12, with a row stride,
   origin top left, any size from 1x1 to SWIN_MAX_SIDE; a negative stride reads from the bottom up.
   The model file knows how a picture is resized and normalised. Or give float planes that are
   normalised already (SWIN_PLANES). The class map has one id a pixel, 0 ... classes-1, at the
   picture's size, and beside it, if you like, how sure that is (SWIN_OUT_CONFIDENCE; a threshold
   makes doubtful pixels SWIN_IGNORE). Models trained for panoptic results also list things one by
   one (SWIN_OUT_SEGMENTS). Names and colours are in the model file. Logits, features, a
   classifier's scores and the tokens' attention are views with strides, [channels][height][width]
   through them.

MEMORY
   The core never allocates. Ask swin_workspace_size, give that many bytes to swin_init, and
   nothing else is ever written; throw the bytes away when done. The model file stays where it
   is: mapped, embedded or read, it is never copied, and any number of contexts share it. A
   workspace belongs to one picture size; its size depends on the model, the sizes, the outputs
   kept and `tasks` alone.

THREADS
   swin.h starts none. Give the desc a parallel_for and `tasks` (about 16 a thread): every step of
   the network is cut into at most that many pieces of independent work. Pieces next to each other
   use rows next to each other, step after step: a thread does best to take consecutive ones. A
   model is read-only; a context belongs to one thread at a time, except for swin_cancel. For a
   game loop use swin_begin and swin_step: a bounded piece of a frame per call.

SAME BITS
   Class maps, logits and features are identical, bit for bit, for any number of tasks, in any
   order, in slices or at once, and on every instruction set: scalar, NEON, AVX2 and AVX-512; in
   WebAssembly with relaxed SIMD, too, where the engine fuses (swin_cpu_exact asks; see SPEED).
   Every output is a sum in a fixed order with one fused multiply-add a term; row sums go into
   sixteen lanes and down one tree; exp and GELU are polynomials here, not the C library's; division
   and square root are IEEE's; sums of eight-bit products are whole numbers, exact in any order.
   Denormal numbers are kept, as IEEE says, at the usual speed where the processor has one (exp
   gives none); a program that turns on flush-to-zero may see other bits where they occur. Inputs or
   weights with NaNs or infinities give NaNs, whose bits may differ, or zeros behind a ReLU. No
   product is left for a compiler to fuse with a sum, under any flags. Flags that let it compute
   something else (-ffast-math, -funsafe-math-optimizations and what they are made of) and x86
   without SSE are refused when this file is compiled; SWIN_ANY_BITS takes them. clang tells of
   -ffast-math and -ffinite-math-only alone: its -fassociative-math and the like break the promise
   unseen.

SPEED
   The best instruction set is found when a context is made (AVX-512, AVX2 with FMA, NEON, and what
   they have for eight bits: VNNI, dot products, and AMX where a desc asks for it); no compiler
   flags are needed, -O2 is enough. The scalar pass is the fallback and is slow where the compiler
   may not use a fused multiply-add of the hardware. WebAssembly wants -msimd128, and -mrelaxed-simd
   (clang 17 or newer) for fused multiply-adds: without these, and in engines or on processors
   without them, its SIMD rounds products before it adds them and is taken all the same, as the
   scalar pass is far slower; ask for SWIN_CPU_SCALAR where bits count. The heads' convolutions are
   rewritten exactly: products with upsampled maps at the small map's size, 3x3 convolutions by
   Winograd's F(6x6, 3x3), and of maps twice as large as their source by F(7x7, 2x2) before
   smoothing; eight-bit ones by F(4x4, 3x3), which rounds in other places than plain convolutions
   do. The flag SWIN_RUN_DIRECT takes plain convolutions instead.

ERRORS
   Calls return a swin_status; with a swin_error they also leave a sentence that names the
   tensor, field or size at fault. Nothing is printed, no call exits or asserts.

SECURITY
   A model file from a stranger is data: swin_open checks every field before it is used, and no blob
   makes the library read outside the blob or the picture, write outside the workspace, overflow,
   divide by zero or wait for ever. What it may do is ask for much: the network's input, which its
   resize rule sets, grows to SWIN_MAX_PIXELS, and memory and time grow with that and with its
   layers, whose weights lie in the blob. swin_workspace_size and swin_plan_step tell both before
   anything runs: set desc.memory_limit, and width and height yourself, where that matters. Trusted
   are the pointers, strides and memory the program hands over, and that the blob's bytes stay as
   they are while the model is used. NaNs in weights give wrong classes, nothing else.

COMPILE-TIME OPTIONS, all for the file with SWIN_IMPLEMENTATION unless marked *
   SWIN_STATIC *          all functions are static: private to this file
   SWIN_API *             your own linkage, for instance __declspec(dllexport)
   SWIN_NO_STDIO *        no swin_load
   SWIN_NO_MALLOC *       no easy tier at all
   SWIN_MALLOC, SWIN_FREE what the easy tier allocates with
   SWIN_NO_SIMD, SWIN_NO_AVX2, SWIN_NO_AVX512, SWIN_NO_NEON, SWIN_NO_WASM    leave passes out, and
                          those that add products of eight bits to them (avx512_vnni, neon_dot ...)
   SWIN_NO_AVX2_VNNI, SWIN_NO_AMX    leave out AVX2 with VNNI, for which GCC needs GNU binutils 2.36
                          or newer, and AVX-512 with AMX, which is built for Linux alone
   SWIN_NO_UPER, SWIN_NO_FCN, SWIN_NO_PSP, SWIN_NO_FPN, SWIN_NO_SEGFORMER, SWIN_NO_CLASSIFIER,
   SWIN_NO_UNET, SWIN_NO_SMP_UNET, SWIN_NO_MIT, SWIN_NO_QUERIES, SWIN_NO_BIREFNET, SWIN_NO_V2,
   SWIN_NO_GLAM, SWIN_NO_SLIDE, SWIN_NO_AVERAGE, SWIN_NO_ATTENTION_MAP, SWIN_NO_F16, SWIN_NO_INT8
                          leave out kinds of models, and what can be asked of them, where code has
                          to be small; what needs them is refused by name
   SWIN_NO_WINOGRAD       plain convolutions everywhere, as with SWIN_RUN_DIRECT: 120 KB less code,
                          slower, and other last bits, so that self-tests of logits fail
   SWIN_NO_SCALAR         leaves the scalar pass out of builds for WebAssembly's SIMD and AArch64,
                          which get smaller
   SWIN_MAX_SIDE, SWIN_MAX_PIXELS    the largest picture or input, 16384 and 2^26
   SWIN_DEBUG             red zones around every buffer, poisoned memory, a watch over the model's
                          blob, a context that was moved, a parallel_for that skips or repeats
                          tasks: what goes wrong is reported as SWIN_CORRUPT
   SWIN_ANY_BITS          compiles where floats do not behave as IEEE says (-ffast-math, x87), too:
                          results then differ in their last bits, and self-tests fail
   SWIN_HEADER_NAME       the name this file is included by, "swin.h": the kernels include it again

WHAT IT NEEDS OF C
   Two's complement, little-endian, IEEE floats. With SWIN_NO_STDIO and SWIN_NO_MALLOC only memcpy,
   memmove, memset, memcmp, strlen, strcmp, strchr, sqrtf, fabsf; what compilers make of them, bcmp
   and memchr; fmaf where the hardware has it; and getauxval of Linux on AArch64, which tells of
   products of eight bits. The easy tier adds malloc and free, swin_load fopen, fseek, ftell, fread
   and fclose.

MAP OF THIS FILE - search for the anchors
   >>public     the interface: status and errors, models, contexts, results, looking inside, easy
   >>platform   compilers, errors, sizes           >>conv     convolutions and pooling
   >>numbers    a vector of 16 lanes, exp, GELU    >>output   from logits to classes, confidence
   >>kernels    the inner loops, once per pass     >>average  the mean softmax of kept runs
   >>blob       the file format                    >>queries  what decoders with queries do
   >>config     a model's description, checked     >>heads    from features to logits
   >>weights    shapes, tensors, where they lie    >>bodies   from a picture to features
   >>plan       steps and memory                   >>network  a body, a head, what comes after
   >>resize     pictures and maps, along an axis   >>open     from a blob to a model
   >>rows       embedding, norms, products, MLP    >>run      contexts, slices, results
   >>attention  windows and global tokens          >>easy     files and malloc
   >>merge      patch merging and expanding        >>refine   deformable convolution, BiRefNet's
   >>mit        SegFormer's backbone               >>segments things one by one, of queries
*/
#ifndef SWIN_H
#define SWIN_H

#include <stddef.h>
#include <stdint.h>

#define SWIN_VERSION_MAJOR 0
#define SWIN_VERSION_MINOR 2
#define SWIN_VERSION_PATCH 0

#ifndef SWIN_API
#if defined(SWIN_STATIC) && (defined(__GNUC__) || defined(__clang__))
#define SWIN_API static __attribute__((unused))
#elif defined(SWIN_STATIC)
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
    X(SWIN_DAMAGED,     "not a model blob, or a damaged one")                        \
    X(SWIN_UNSUPPORTED, "a model this version does not know")                        \
    X(SWIN_CORRUPT,     "memory or tasks were tampered with from outside (SWIN_DEBUG)")

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

/* The kinds of things a model is made of; the names are those of the blob's records, too. */

#define SWIN_BODY_LIST(X)                                                                   \
    X(SWIN_BODY_BACKBONE)           /* stages, each half the size of the one before */      \
    X(SWIN_BODY_UNET)               /* Swin-Unet: the stages, then a level up for each but  \
                                       the last */                                          \
    X(SWIN_BODY_CROSS_UNET)         /* the same with cross-attention upsampling */          \
    X(SWIN_BODY_MIT)                /* SegFormer's backbone, MiT: every query attends to    \
                                       the pixels of a reduced map */                          \
    X(SWIN_BODY_BIREFNET)           /* BiRefNet: the backbone of the input and of half its  \
                                       size, features side by side */

#define SWIN_HEAD_LIST(X)                                                                   \
    X(SWIN_HEAD_NONE)               /* features only */                                     \
    X(SWIN_HEAD_UPER)               /* UPerHead */                                          \
    X(SWIN_HEAD_FCN)                /* FCNHead */                                           \
    X(SWIN_HEAD_PSP)                /* PSPHead */                                           \
    X(SWIN_HEAD_FPN)                /* FPN neck and FPNHead: semantic FPN */                \
    X(SWIN_HEAD_SEGFORMER)          /* SegformerHead */                                     \
    X(SWIN_HEAD_GLAM_SEGFORMER)     /* GLAM's SegFormerHead */                              \
    X(SWIN_HEAD_CLASSIFIER)         /* one class for the picture */                         \
    X(SWIN_HEAD_UNET)               /* a Unet's end: each patch becomes pixels again */     \
    X(SWIN_HEAD_SMP_UNET)           /* SMP's Unet decoder, as segmentation_models_pytorch   \
                                       is called here */                                    \
    X(SWIN_HEAD_SMP_FPN)            /* SMP's FPN decoder, with GroupNorm */                 \
    X(SWIN_HEAD_MERGED_SEGFORMER)   /* the SegFormer authors' head, whose first two layers  \
                                       are one */                                         \
    X(SWIN_HEAD_MASKFORMER)         /* queries that each give a mask and its class: over an \
                                       FPN, */                                              \
    X(SWIN_HEAD_MASK2FORMER)        /* or deformable attention; masks guide the queries, */ \
    X(SWIN_HEAD_ONEFORMER)          /* which a task token joins in OneFormer */         \
    X(SWIN_HEAD_BIREFNET)           /* BiRefNet's decoder, for its body */

/* What becomes of an input that is no whole number of patches. */
#define SWIN_INPUT_RULE_LIST(X)                                                             \
    X(SWIN_INPUT_PAD)               /* zeros fill the last patches */                       \
    X(SWIN_INPUT_FLOOR)             /* what fills no patch is dropped */                    \
    X(SWIN_INPUT_EXACT)             /* it is refused */

/* When the windows of a stage's odd blocks are shifted. */
#define SWIN_SHIFT_RULE_LIST(X)                                                             \
    X(SWIN_SHIFT_STORED)            /* always, by shift_h and shift_w */                    \
    X(SWIN_SHIFT_SQUARE)            /* unless a side of the map is the window's; smaller    \
                                       maps are refused (Hugging Face) */                   \
    X(SWIN_SHIFT_PER_AXIS)          /* along an axis of more than one window (torchvision) */

#define SWIN_POSITION_RULE_LIST(X)                                                          \
    X(SWIN_POSITION_RESIZED)        /* the grid is resized to the map, bicubic */           \
    X(SWIN_POSITION_FIXED)          /* the input must have the grid's size */

/* The size that a picture is resized to; a and b are resize_a and resize_b. */
#define SWIN_RESIZE_RULE_LIST(X)                                                            \
    X(SWIN_RESIZE_NONE)             /* its own size: it is not resized */                   \
    X(SWIN_RESIZE_WITHIN)           /* the shape is kept: as large as a long side of a and  \
                                       a short side of b let it be (mmseg's keep_ratio) */  \
    X(SWIN_RESIZE_LONGEST)          /* the shape is kept, the longer side is a */           \
    X(SWIN_RESIZE_SHORTEST)         /* the shape is kept, the shorter side is a */          \
    X(SWIN_RESIZE_EXACT)            /* a high and b wide */

/* Antialiased filters are stretched by the factor of a shrinking. */
#define SWIN_FILTER_LIST(X)                                                                 \
    X(SWIN_FILTER_BILINEAR)                                                                 \
    X(SWIN_FILTER_BILINEAR_ANTIALIASED)                                                     \
    X(SWIN_FILTER_BICUBIC)                                                                  \
    X(SWIN_FILTER_BICUBIC_ANTIALIASED)

/* How a map of logits is resized to the picture. */
#define SWIN_CORNERS_LIST(X)                                                                \
    X(SWIN_CORNERS_AS_HEAD)         /* as the head's own resizes: by align_corners */       \
    X(SWIN_CORNERS_ALIGNED)         /* corners stay where they are */                       \
    X(SWIN_CORNERS_HALF_PIXEL)      /* edges stay where they are */

/* Where the masks of queries become scores of classes, which are then resized to the picture. */
#define SWIN_SCORES_LIST(X)                                                                 \
    X(SWIN_SCORES_AT_MASKS)         /* at the masks' own size (Hugging Face) */             \
    X(SWIN_SCORES_AT_384)           /* at 384 x 384 (its Mask2Former) */                    \
    X(SWIN_SCORES_AT_INPUT)         /* at the input's size (detectron2, mmseg) */           \
    X(SWIN_SCORES_AT_PICTURE)       /* at the picture's size (detectron2's panoptic) */

/* How queries become segments, panoptic ones or instances.
   Panoptic: queries that are sure of their class compete for each pixel, and the highest product of
   the class's and the mask's probability wins it. A query whose winnings are less than a share of
   its mask, of where that is probable, has no segment.
   Instances: of all pairs of a query and a class, the most probable ones whose class is one of
   things, so that a query may give several. An instance has all pixels where its mask's logit is
   above zero, also such as others have; its score is the probability of its class times the mean
   probability of its mask there. */
#define SWIN_SEGMENTS_LIST(X)                                                               \
    X(SWIN_SEGMENTS_NONE)           /* the model was not trained for them */                \
    X(SWIN_SEGMENTS_MASK2FORMER)    /* a segment is what a query wins inside its mask       \
                                       (detectron2's Mask2Former and OneFormer) */          \
    X(SWIN_SEGMENTS_MASKFORMER)     /* all that it wins (detectron2's MaskFormer) */        \
    X(SWIN_SEGMENTS_HUGGING_FACE)   /* likewise, but its mask is where the product is 1/2   \
                                       or more, and it needs more than that share           \
                                       (Hugging Face) */                                    \
    X(SWIN_SEGMENTS_INSTANCES)      /* instances, the map shows the one of the highest      \
                                       score (detectron2, mmdetection) */                   \
    X(SWIN_SEGMENTS_INSTANCES_HUGGING_FACE)     /* the map shows the last one of the list   \
                                       (Hugging Face's MaskFormer, Mask2Former) */          \
    X(SWIN_SEGMENTS_INSTANCES_ONEFORMER)        /* pairs compete as queries do by           \
                                       SWIN_SEGMENTS_HUGGING_FACE, with logits for the      \
                                       masks' probabilities (Hugging Face's OneFormer) */

/* Which part of the resized picture the network sees at a time. */
#define SWIN_MODE_LIST(X)                                                                   \
    X(SWIN_MODE_WHOLE)              /* all of it */                                         \
    X(SWIN_MODE_SLIDE)              /* overlapping crops, whose logits are averaged */      \
    X(SWIN_MODE_CENTRE)             /* its centre, crop_h x crop_w */

#define SWIN__ENUM(name) name,
typedef enum swin_body { SWIN_BODY_LIST(SWIN__ENUM) SWIN_BODY_COUNT } swin_body;
typedef enum swin_head { SWIN_HEAD_LIST(SWIN__ENUM) SWIN_HEAD_COUNT } swin_head;
typedef enum swin_input_rule {
    SWIN_INPUT_RULE_LIST(SWIN__ENUM) SWIN_INPUT_RULE_COUNT
} swin_input_rule;
typedef enum swin_shift_rule {
    SWIN_SHIFT_RULE_LIST(SWIN__ENUM) SWIN_SHIFT_RULE_COUNT
} swin_shift_rule;
typedef enum swin_position_rule {
    SWIN_POSITION_RULE_LIST(SWIN__ENUM) SWIN_POSITION_RULE_COUNT
} swin_position_rule;
typedef enum swin_resize_rule {
    SWIN_RESIZE_RULE_LIST(SWIN__ENUM) SWIN_RESIZE_RULE_COUNT
} swin_resize_rule;
typedef enum swin_filter { SWIN_FILTER_LIST(SWIN__ENUM) SWIN_FILTER_COUNT } swin_filter;
typedef enum swin_corner_rule {
    SWIN_CORNERS_LIST(SWIN__ENUM) SWIN_CORNERS_COUNT
} swin_corner_rule;
typedef enum swin_scores_rule {
    SWIN_SCORES_LIST(SWIN__ENUM) SWIN_SCORES_COUNT
} swin_scores_rule;
typedef enum swin_segments_rule {
    SWIN_SEGMENTS_LIST(SWIN__ENUM) SWIN_SEGMENTS_COUNT
} swin_segments_rule;
typedef enum swin_mode { SWIN_MODE_LIST(SWIN__ENUM) SWIN_MODE_COUNT } swin_mode;
#undef SWIN__ENUM

/* The most of each that a model may have. */
enum { SWIN_MAX_STAGES = 8, SWIN_MAX_POOLS = 8, SWIN_MAX_CONVS = 8, SWIN_MAX_BRANCHES = 4 };
enum { SWIN_MAX_THINGS = 512 };         /* classes of a model that gives segments */

/* A stage of the backbone; a Unet's level up is like the stage beside it. */
typedef struct swin_stage_config {
    int width;                  /* channels */
    int depth;                  /* blocks */
    int heads;                  /* of attention; they divide the channels */
    int hidden;                 /* width of the MLP */
    int window_h, window_w;
    int shift_h, shift_w;       /* of odd blocks; even blocks do not shift */
    int token_rows;             /* of GLAM's positional table that the blob holds; 0: depth is 1 */
    int token_middle;           /* N tokens take N of these rows, from row
                                   token_middle - floor(N / 2) on */
} swin_stage_config;

/* What SWIN_BODY_MIT has beside, a stage each; zeros in other bodies. */
typedef struct swin_mit_config {
    int kernel[SWIN_MAX_STAGES];        /* side of the patches that are embedded before a stage, */
    int stride[SWIN_MAX_STAGES];        /* and pixels from one to the next; stage 0's is `patch` */
    int reduction[SWIN_MAX_STAGES];     /* side of the patches that are keys; 1: pixels are */
    float eps;                  /* of the norms after patch embedding and reduction; 0: 1e-5 */
} swin_mit_config;

typedef struct swin_head_config {
    int kind;                   /* SWIN_HEAD_... */
    int channels;               /* of its layers; 0 where it has none */
    unsigned inputs;            /* bit i: it reads feature i */
    int align_corners;          /* 1: its resizes keep corners where they are */
    int pool_count, pool_scale[SWIN_MAX_POOLS];         /* UPerHead, PSPHead */
    int convs, conv_kernel, conv_concat;                /* FCNHead: how many, their side; 1:
                                                           one more reads input and result */
    int neck_channels;          /* FPN: channels of the neck, */
    int neck_convs[SWIN_MAX_STAGES];    /* and how many convolutions the head has on each level */
} swin_head_config;

/* SMP's decoders, beside what swin_head_config has of them. */
typedef struct swin_decoder_config {
    int width[SWIN_MAX_STAGES]; /* channels of each block of the Unet, coarsest first */
    int bilinear;               /* 1: maps grow bilinearly, by half-pixel centres; 0: by nearest
                                   pixels */
    int scse;                   /* 1: the Unet's blocks have scSE attention */
    int concat;                 /* 1: the FPN's levels lie side by side; 0: they are summed */
} swin_decoder_config;

/* The widths of BiRefNet's decoder that do not follow from the stages' widths. */
typedef struct swin_birefnet_config {
    int inner;                  /* channels inside its blocks, */
    int branch;                 /* and of each branch of their deformable pyramids; */
    int kernel[SWIN_MAX_BRANCHES];      /* sides of the branches' kernels, 0 where there is none */
    int patches;                /* channels inside the blocks that read the picture's patches */
    int gate;                   /* channels that a gate is computed from */
} swin_birefnet_config;

/* How a picture becomes the network's input. */
typedef struct swin_picture_config {
    float mean[3], scale[3];    /* R, G, B: (pixel - mean) * scale, pixels 0..255; scale is 1 / std
                                   rounded from double */
    int bgr;                    /* 1: input plane 0 is blue */
    int resize_rule;            /* SWIN_RESIZE_... */
    int resize_a, resize_b;
    int resize_filter;          /* SWIN_FILTER_... */
    int resize_round;           /* 1: resized pixels are rounded to 8 bits */
    int mode;                   /* SWIN_MODE_... */
    int crop_h, crop_w, stride_h, stride_w;     /* of SWIN_MODE_SLIDE and SWIN_MODE_CENTRE */
} swin_picture_config;

/* Rules that few sources differ in; 0 is the usual one. */
typedef struct swin_rules_config {
    float feature_eps;          /* of the features' norms; 0: 1e-5 */
    int corners;                /* SWIN_CORNERS_... */
    int one_class;              /* 1: the source has one logit, that of class 1: it is class 1 where
                                   its sigmoid exceeds a threshold. Class 0 is what is left, its
                                   logit is constant, and swin_logits does not show it */
    int input_multiple;         /* of which the sides of an exact input are multiples; 0: of a
                                   patch */
    int straight;               /* 1: logits of a whole input are resized to the picture at once,
                                   not to the input's size first */
} swin_rules_config;

/* How the sides of resized pictures become whole numbers; 0: they are rounded, halves up. */
typedef struct swin_sides_config {
    int cut;                    /* 1: the longer side is cut (Hugging Face's MaskFormer and kin) */
    int multiple;               /* then raised to multiples of it, stretching pictures; 0: not */
} swin_sides_config;

/* MaskFormer, Mask2Former, OneFormer: layers are head.channels wide where they work on pixels. */
typedef struct swin_queries_config {
    int count, width;           /* queries, and their channels */
    int masks;                  /* channels whose products with the pixels' are the masks */
    int heads, layers, hidden;  /* of the decoder: of each attention, of all, of each MLP */
    int projected;              /* 1: maps are projected to the queries' channels */
    int pixel_heads, pixel_layers, pixel_hidden;        /* of deformable attention; 0: an FPN */
    int start_layers, start_hidden;     /* OneFormer: of the decoder that makes the queries */
    int scores;                 /* SWIN_SCORES_... */
    int size_divisor;           /* zeros pad the input to multiples of it; 0: they do not */
} swin_queries_config;

/* Panoptic or instance results of MaskFormer, Mask2Former and OneFormer. */
typedef struct swin_segments_config {
    int rule;                   /* SWIN_SEGMENTS_... */
    int object_score;           /* queries, or pairs, compete whose class is more probable than
                                   that, */
    int overlap_share;          /* and want that share of their mask; both in thousandths. Where
                                   nobody competes, instances have that score or more, and the share
                                   is 0 */
    uint32_t things[SWIN_MAX_THINGS / 32];      /* bit k % 32 of number k / 32: class k is one of
                                   things, which are segments one by one; of stuff, all is one, or
                                   no instance */
} swin_segments_config;

typedef struct swin_instances_config {
    int most;                   /* pairs of a query and a class that are looked at; 0: as many as
                                   there are queries */
} swin_instances_config;

/* The self-test a blob may carry: segmenting the generated picture `seed` of width x height gives a
   class map and logits with these checksums, on every machine. */
typedef struct swin_reference {
    uint32_t present, seed, width, height;
    uint32_t classes[2], logits[2];     /* swin_checksum of the class map and of the logits' bits */
} swin_reference;

/* The canonical description of a model: every family of checkpoints is mapped onto it. swin_open
   reads it from the blob's records and checks it. */
typedef struct swin_config {
    int version;                /* of Swin: 1, or 2 (cosine attention, norms after the branches) */
    int body;                   /* SWIN_BODY_... */
    int patch;                  /* side of a patch in pixels */
    int planes;                 /* of the input: 3 */
    struct {
        int rule;               /* SWIN_INPUT_... */
        int h, w;               /* the one size of an exact input, or 0 */
    } input;
    int shift_rule;             /* SWIN_SHIFT_... */
    int roll_before_pad;        /* 1: the map is shifted before it is padded (timm >= 0.9) */
    float mask;                 /* added to the score of a pair in different regions: -100, -200 */
    float eps;                  /* of the blocks' norms and the final one; all others have 1e-5 */
    int patch_norm, qkv_bias, merge_norm, final_norm;   /* 1: the model has them */
    unsigned feature_norms;     /* bit i: feature i is normalised by stage i's norm. None: features
                                   are the stages' outputs as they are (a Unet's: their inputs) */
    struct {
        int h, w;               /* grid of the absolute positions, 0: none */
        int rule;               /* SWIN_POSITION_... */
    } position;
    int tokens;                 /* GLAM's global tokens a window */
    int stages;
    swin_stage_config stage[SWIN_MAX_STAGES];
    swin_head_config head;
    int classes;                /* 0: features only */
    swin_picture_config picture;
    swin_rules_config rules;
    swin_decoder_config decoder;
    swin_mit_config mit;
    swin_sides_config sides;
    swin_queries_config queries;
    swin_birefnet_config birefnet;
    swin_segments_config segments;
    swin_instances_config instances;
    swin_reference reference;
} swin_config;

/* A checked view of a blob. Immutable once opened: any number of contexts, on any threads, may
   share it. Read `config`; the other fields are private. Keep the blob's bytes unchanged while the
   model is used. */
typedef struct swin_model {
    swin_config config;
    const unsigned char *blob, *directory;
    const char *strings;        /* class names and notes, in the blob */
    size_t size, strings_size;
    uint32_t marks[64];         /* where in strings every so many classes start, */
    uint32_t notes;             /* and where the notes do */
    uint64_t tensors, data;     /* how many tensors the directory lists, offset of the data */
    void *easy;                 /* what swin_load and swin_segment own; NULL otherwise */
} swin_model;

enum { SWIN_VERIFY = 1 };       /* swin_open: also verify the checksum (reads the whole blob) */

/* Opens a blob in the caller's memory: no copy is made. Every field is checked before use, so a
   blob from a stranger is safe to try. blob: `size` bytes, aligned to 4 (64 is fastest), owned by
   the caller. flags: 0 or SWIN_VERIFY. Returns SWIN_OK, SWIN_ARGUMENT, SWIN_DAMAGED or
   SWIN_UNSUPPORTED. */
SWIN_API swin_status swin_open(swin_model *m, const void *blob, size_t size, unsigned flags,
                               swin_error *err);

SWIN_API const char *swin_class_name(const swin_model *m, int k);  /* UTF-8; NULL: no such class */
SWIN_API uint32_t swin_class_color(const swin_model *m, int k);    /* 0xRRGGBB */
/* Notes travel with the weights: "name", "source", "licence", "training", ... NULL when there is
   none. */
SWIN_API const char *swin_note(const swin_model *m, const char *key);

/* Another size of input than the model's preprocessing gives. Zeros change nothing. */
typedef struct swin_resizing {
    int longest;                /* above 0: the longer side becomes that many pixels and the shape
                                   is kept, whatever the model's rule */
    double scale;               /* above 0: times this, as averages over several sizes ask for it */
} swin_resizing;

/* The network's input size for a picture of w x h pixels, by the model's preprocessing; how: NULL,
   or what is asked for instead. Returns SWIN_OK, SWIN_ARGUMENT or SWIN_SIZE. */
SWIN_API swin_status swin_input_size(const swin_model *m, int w, int h, const swin_resizing *how,
                                     int *input_w, int *input_h, swin_error *err);

/* Writes a reference into a blob in writable memory and renews the blob's checksum. */
SWIN_API swin_status swin_set_reference(void *blob, size_t size, const swin_reference *r,
                                        swin_error *err);
/* Fills w*h RGB pixels with the generated picture `seed`: smooth colours with texture, the same on
   every machine. */
SWIN_API void swin_reference_picture(unsigned char *rgb, int w, int h, uint32_t seed);
/* Fletcher's two sums over little-endian 32-bit words (a last partial word is padded with
   zeros). */
SWIN_API void swin_checksum(const void *data, size_t size, uint32_t sums[2]);

/* -------------------------------------------------------------------------- */
/* >>public: contexts - one picture at a time, in the caller's memory         */

typedef struct swin_context swin_context;

/* Instruction sets, a better one after a worse one: X(enumerator, name, 1 if it gives the scalar
   set's bits everywhere, 0 if only where swin_cpu_exact says so). SWIN_CPU_BEST is the last that
   this machine and build have, but never one with AMX, which a desc has to ask for: Linux lets a
   process use its registers, 8 KiB a thread, once that has asked (allow_amx of examples/common.h
   does), and until then the set is not available. */
#define SWIN_CPU_LIST(X)                                                             \
    X(SWIN_CPU_SCALAR,      scalar,      1)                                          \
    X(SWIN_CPU_WASM,        wasm,        0)                                          \
    X(SWIN_CPU_NEON,        neon,        1)                                          \
    X(SWIN_CPU_NEON_DOT,    neon_dot,    1) /* other products of eight bits */       \
    X(SWIN_CPU_NEON_I8MM,   neon_i8mm,   1) /* likewise */                           \
    X(SWIN_CPU_AVX2,        avx2,        1)                                          \
    X(SWIN_CPU_AVX2_VNNI,   avx2_vnni,   1) /* likewise */                           \
    X(SWIN_CPU_AVX512,      avx512,      1)                                          \
    X(SWIN_CPU_AVX512_VNNI, avx512_vnni, 1) /* likewise */                           \
    X(SWIN_CPU_AVX512_AMX,  avx512_amx,  1) /* likewise */

typedef enum swin_cpu {
    SWIN_CPU_BEST,
#define SWIN__ENUM(cpu, name, exact) cpu,
    SWIN_CPU_LIST(SWIN__ENUM)
#undef SWIN__ENUM
    SWIN_CPU_COUNT
} swin_cpu;

/* Results to keep. Asking for more costs memory, never other results. */
enum swin_output {
    SWIN_OUT_CLASSES = 1,       /* the class map: swin_classes */
    SWIN_OUT_LOGITS = 2,        /* the head's logits at its own resolution: swin_logits */
    SWIN_OUT_FEATURES = 4,      /* every stage's output: swin_feature */
    SWIN_OUT_SCORES = 8,        /* a classifier's logits: swin_scores */
    SWIN_OUT_CONFIDENCE = 16,   /* how sure the class map is, 0..255 a pixel: swin_confidence */
    SWIN_OUT_CONFIDENCE_F32 = 32,       /* the same as floats, 0..1 */
    SWIN_OUT_ATTENTION = 64,    /* where GLAM's global tokens let a pixel look: swin_attention */
    SWIN_OUT_SEGMENTS = 128     /* panoptic or instance results: swin_segments, swin_segment_map */
};
/* How to run; none changes what a model means. */
enum swin_run_flag {
    SWIN_RUN_DIRECT = 1,        /* plain convolutions everywhere (slow; for comparison) */
    SWIN_RUN_WHOLE = 2,         /* the whole picture at once, also where the model says otherwise */
    SWIN_RUN_FLIP = 4           /* the network sees the picture mirrored left to right; class map,
                                   confidence, votes and kept logits are turned back */
};

/* Runs each of task(arg, 0) ... task(arg, count - 1) exactly once, in any order, on any threads,
   and returns when all are done. Fastest where a thread takes consecutive indices, see THREADS
   above. */
typedef void (*swin_task)(void *arg, int index);
typedef void (*swin_parallel_for)(void *user, swin_task task, void *arg, int count);

/* Start with `swin_desc d = {0};` - zero is every field's default. */
typedef struct swin_desc {
    int width, height;          /* the network's input size; 0: what the model's preprocessing gives
                                   the picture */
    int picture_width;          /* size of the pictures to come, and of the class map; */
    int picture_height;         /* 0: the network's input size */
    unsigned outputs;           /* SWIN_OUT_CLASSES | ...; 0: the class map, or the features where
                                   there is no head */
    int tasks;                  /* pieces that a step is cut into at most, 0: 1. Take about 16 a
                                   thread, 4 where there are many threads: each task has its own
                                   scratch memory, results are the same */
    swin_parallel_for parallel_for;     /* NULL: everything runs in the calling thread */
    void *user;                 /* handed to parallel_for */
    swin_cpu cpu;
    unsigned flags;             /* SWIN_RUN_DIRECT | ... */
    size_t memory_limit;        /* bytes of workspace at most, 0: no limit; near it fewer tasks are
                                   taken than asked for, and smaller pieces of convolutions */
    int crop_width, crop_height;        /* sliding window: logits of overlapping crops of the */
    int stride_width, stride_height;    /* input are averaged (mmseg's slide mode); 0: as the model
                                           says, a stride then two thirds of its crop */
    float threshold;            /* pixels of less confidence (0..1) get SWIN_IGNORE */
    float *votes;               /* NULL, or [picture_height][picture_width][classes]: every run adds
                                   its softmax; swin_decide makes classes of them. For sums over
                                   frames; over sizes and flips of one picture `kept` takes less */
    void *kept;                 /* NULL, or swin_kept_size bytes of the caller's, aligned to 4: each
                                   run leaves its logits there, for an average, and makes only the
                                   outputs asked for (0: none) */
    int attend_x, attend_y;     /* SWIN_OUT_ATTENTION: the pixel of the picture that looks, */
    int attend_stage;           /* and the stage at which it does */
    const void *const *average; /* NULL, or blocks that finished runs filled as their `kept`, over
                                   scales and flips of one picture: the context gives the class map
                                   and confidence of their mean softmax, and runs without a picture:
                                   NULL */
    int average_count;          /* how many; each must stay, where it is, until the run is over */
    float votes_decay;          /* each run multiplies what votes hold by this, 0..1, before it adds
                                   to them, so that old frames fade; 0: 1, they do not */
} swin_desc;

/* The id of a pixel below the threshold; SWIN_IGNORE_16 in a map of 2 bytes a pixel. */
enum { SWIN_IGNORE = 255, SWIN_IGNORE_16 = 65535 };

/* Bytes of workspace that swin_init needs for this desc: exact, the same on every machine of one
   pointer size. 0: see err (SWIN_SIZE when the model cannot take the size, SWIN_MEMORY over
   memory_limit). */
SWIN_API size_t swin_workspace_size(const swin_model *m, const swin_desc *d, swin_error *err);

/* Bytes of desc.kept: a run's logits as the head gives them, of every crop of a sliding window.
   They grow with the network's input and the classes, not with the picture. 0: see err. */
SWIN_API size_t swin_kept_size(const swin_model *m, const swin_desc *d, swin_error *err);

/* Makes a context in `mem` (`size` bytes, any alignment, owned by the caller; there is nothing to
   free). Nothing outside `mem` and desc.kept is ever written. Keep `m` and its blob while the
   context is used, and the context where it is: a copy elsewhere is none. */
SWIN_API swin_status swin_init(swin_context **c, const swin_model *m, const swin_desc *d,
                               void *mem, size_t size, swin_error *err);

typedef enum swin_format {
    SWIN_RGB8, SWIN_BGR8, SWIN_RGBA8, SWIN_BGRA8, SWIN_GREY8,
    SWIN_PLANES,                /* float planes in the network's order, already normalised, at its
                                   input size */
    SWIN_YUYV,                  /* two pixels in four bytes, Y U Y V; of an odd width a row's last Y
                                   is not used */
    SWIN_NV12                   /* rows of Y, one byte a pixel, and in `chroma` U V for each 2 x 2
                                   pixels, (width + 1) / 2 pairs in (height + 1) / 2 rows */
} swin_format;

/* What Y, U and V of SWIN_YUYV and SWIN_NV12 mean. Pixels take their U and V as they lie there,
   without smoothing between neighbours; red, green and blue are floats, clamped to 0..255 and not
   rounded. */
typedef enum swin_yuv {
    SWIN_YUV_601,               /* BT.601, Y 16..235, U and V 16..240: what cameras give unless they
                                   say otherwise */
    SWIN_YUV_601_FULL,          /* BT.601, all 0..255, as JPEG has it */
    SWIN_YUV_709,               /* BT.709, Y 16..235, U and V 16..240: high-definition video */
    SWIN_YUV_709_FULL           /* BT.709, all 0..255 */
} swin_yuv;

/* A picture in the caller's memory; origin top left. A negative stride walks upwards from `data`. A
   stride counts bytes, not pixels; one that is shorter than a row is SWIN_ARGUMENT. */
typedef struct swin_image {
    const void *data;           /* first pixel of the top row */
    int width, height;          /* must be the desc's picture size (or its input size for
                                   SWIN_PLANES) */
    ptrdiff_t stride;           /* bytes from row to row; 0: rows follow each other */
    swin_format format;
    ptrdiff_t plane_stride;     /* SWIN_PLANES: bytes from plane to plane; 0: planes follow each
                                   other in memory */
    const void *chroma;         /* SWIN_NV12: first pair of the top row; NULL: height strides behind
                                   data, for a stride that is not negative */
    ptrdiff_t chroma_stride;    /* SWIN_NV12: bytes from row to row of pairs; 0: the stride, and 1
                                   more where that is odd */
    swin_yuv yuv;               /* SWIN_YUYV, SWIN_NV12 */
} swin_image;

/* Runs the whole network on a picture. SWIN_OK, SWIN_ARGUMENT, SWIN_SIZE or SWIN_CANCELLED. */
SWIN_API swin_status swin_run(swin_context *c, const swin_image *in);

/* The same in slices: begin, then step until it no longer says SWIN_MORE. `in`'s pixels must stay
   until then. A call of swin_step runs at most `units` of the plan's units of work, the smallest
   there are (about a millisecond each). */
SWIN_API swin_status swin_begin(swin_context *c, const swin_image *in);
SWIN_API swin_status swin_step(swin_context *c, int units);
SWIN_API float swin_progress(const swin_context *c);    /* 0..1 of the multiply-adds */
/* From any thread: ends the run, SWIN_CANCELLED. swin_begin forgets a cancel from before it. */
SWIN_API void swin_cancel(swin_context *c);
/* The sentence of the last begin, run or step that failed. */
SWIN_API const char *swin_error_text(const swin_context *c);

/* -------------------------------------------------------------------------- */
/* >>public: results - views into the workspace

   They are valid from the end of a run to the next begin. Before a run has ended, and of one that
   was cancelled or failed, their data is NULL. */

/* One id a pixel: uint8 where the model has at most 256 classes, else uint16. data NULL: not
   there. */
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
/* Per pixel the softmax of the class that won: bytes 1, or 4 where floats were asked for. Of two
   classes it tells that of the second, too, a matte of what it stands for: what is here where the
   second has won, and 1 less that where the first has. */
SWIN_API swin_map swin_confidence(const swin_context *c);
/* [classes][h][w] as the head gives them; of a sliding window the averages, at the input's size. Of
   a model with config.rules.one_class [1][h][w], the logit of class 1. */
SWIN_API swin_tensor swin_logits(const swin_context *c);
/* Stage i's output as a head reads it; one stage further the final norm's, where there is one. */
SWIN_API swin_tensor swin_feature(const swin_context *c, int stage);
/* A classifier's logits: [classes][1][1]. */
SWIN_API swin_tensor swin_scores(const swin_context *c);
/* [1][h][w], the map of desc.attend_stage: where GLAM's global tokens let the chosen pixel look.
   Its attention to its window's tokens in the stage's last block, times these tokens' attention to
   all tokens (G-MSA), times what those took from the pixels of their windows; heads averaged. */
SWIN_API swin_tensor swin_attention(const swin_context *c);

/* A thing in the picture, or all that it shows of a class of stuff. */
typedef struct swin_region {
    int id;                     /* of its pixels in the map, 1, 2, ... in the order of the list */
    int class_id, thing;        /* thing: 0 where the class is one of stuff */
    float score;                /* the probability of its class, of stuff that of its first query;
                                   where instances overlap, times that of its mask */
    int area;                   /* pixels, of such an instance all of its mask, of which the map
                                   shows what no other one hides */
    int x, y, width, height;    /* the smallest box around them, in pixels of the picture */
} swin_region;

/* The segments of a model with config.segments.rule, which other models do not give; *count: how
   many, at most config.queries.count, or config.instances.most where that is not 0. In the order of
   queries, or of the probability of their classes where they are instances. NULL: not there. They
   are in the workspace, as views are. */
SWIN_API const swin_region *swin_segments(const swin_context *c, int *count);
/* Their ids, uint16, at the picture's size; 0 where there is none. */
SWIN_API swin_map swin_segment_map(const swin_context *c);

/* The class of most votes (the lowest of equals) for each of n pixels: votes [n][classes] as
   desc.votes gathers them, ids of 1 byte, or 2 where there are more than 256 classes. runs: how
   many were added; a pixel whose mean vote is below threshold gets SWIN_IGNORE. Where votes decay,
   n runs weigh 1 + decay + ... + decay^(n - 1): give 1 as runs, and threshold times this. */
SWIN_API void swin_decide(const float *votes, size_t n, int classes, int runs, float threshold,
                          void *ids);

/* -------------------------------------------------------------------------- */
/* >>public: looking inside                                                   */

/* The name in SWIN_CPU_LIST: "scalar", "neon", ...; "best" of SWIN_CPU_BEST. */
SWIN_API const char *swin_cpu_name(swin_cpu cpu);
SWIN_API int swin_cpu_available(swin_cpu cpu);      /* may a desc ask for it on this machine? */
/* Is it available and gives the bits that all others give? WebAssembly has fused multiply-adds only
   with relaxed SIMD (-mrelaxed-simd) and where engine and processor fuse: elsewhere the wasm set
   rounds products, too, and differs in last bits. SWIN_CPU_SCALAR is exact everywhere, but slow. */
SWIN_API int swin_cpu_exact(swin_cpu cpu);
SWIN_API swin_cpu swin_cpu_used(const swin_context *c);     /* never SWIN_CPU_BEST */

typedef struct swin_step_info {
    const char *name;           /* "attention", "mlp", "merge", ... */
    int stage;                  /* backbone stage or pyramid level, -1 where it has none */
    int units;                  /* of independent work, what swin_step counts */
    int repeats;                /* how often a run takes the step: once for each crop of a sliding
                                   window, or for each row of crops; else once */
    double madds;               /* multiply-adds of the whole step, each time */
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
/* Segments w*h RGB pixels (rows follow each other) with a loaded model, resizing as the model wants
   it. classes: w*h bytes. Memory for one size is kept in the model until the size changes or
   swin_free, so one thread at a time. Models with more than 256 classes need the core calls. */
SWIN_API swin_status swin_segment(swin_model *m, const unsigned char *rgb, int w, int h,
                                  unsigned char *classes, swin_error *err);
SWIN_API void swin_free(swin_model *m);         /* NULL is fine */
#endif

#ifdef __cplusplus
}
#endif
#endif /* SWIN_H: the interface ends here */

/* ========================================================================== */
/* The implementation: rooms from the ground up, each calling only rooms above it. During a kernel
   pass this file includes itself: then only >>numbers and >>kernels are seen.

   Words that are ours, or that have several meanings elsewhere:
   room      a part of this file with an anchor, as in the map at the top
   pass      the kernels of one instruction set, and the inclusion of this file that makes them
   lanes     the sixteen floats of a vector; a row of `lanes` floats is padded to whole vectors
   panel     16 columns of a product's second factor: [k][16]; weights lie in panels
   microtile the rows and columns of a product whose sums stay in registers
   row       the channels of one pixel or token, side by side, padded with zeros
   head      of the network: its layers from features to logits; `heads` are those of attention
   packed    the columns of q, k or v for all heads of an attention side by side, heads * dp
   step      an entry of the plan: a layer, and how many units of work it has
   unit      the smallest piece of a step: units are independent and write different rows
   task      a call of the caller's parallel_for: consecutive units, with scratch of its own
   axis      for each output of a resize along rows or columns the inputs that it mixes
   crop      what the network sees of an input at a time: all of it, or a sliding window's place
   kept      a run whose logits stay in the caller's desc.kept, for averages over several runs
   tile, strip, block, group    how Winograd's convolution is cut: see >>conv */

#if defined(SWIN_IMPLEMENTATION) && !defined(SWIN__PASS) && !defined(SWIN__IMPLEMENTED)
#define SWIN__IMPLEMENTED
#define SWIN__BUILDING

/* -------------------------------------------------------------------------- */
/* >>platform: what the rest takes for granted                                */

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#ifndef SWIN_NO_STDIO
#include <limits.h>
#include <stdio.h>
#endif
#if !defined(SWIN_NO_MALLOC) && !defined(SWIN_MALLOC)
#include <stdlib.h>
#define SWIN_MALLOC(size) malloc(size)
#define SWIN_FREE(p) free(p)
#endif

/* The name this file is included by, for the kernel passes: change it with the file's. */
#ifndef SWIN_HEADER_NAME
#define SWIN_HEADER_NAME "swin.h"
#endif

/* A blob's numbers are used where they lie, in the machine's byte order. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "swin.h needs a little-endian machine: models are used as they lie in their files."
#endif

/* What floats must be for the same bits everywhere. */
#ifndef SWIN_ANY_BITS
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    defined(__NO_SIGNED_ZEROS__) || defined(_M_FP_FAST)
#error "swin.h gives the same bits everywhere, which -ffast-math, -funsafe-math-optimizations, \
-ffinite-math-only and /fp:fast break: compile this file without, or define SWIN_ANY_BITS."
#endif
#if (defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16) || \
    (defined(_M_IX86_FP) && _M_IX86_FP < 1) || (defined(__TINYC__) && defined(__i386__))
#error "swin.h gives the same bits everywhere, but floats are kept in wider registers here (x87): \
compile with -msse2 -mfpmath=sse, or define SWIN_ANY_BITS."
#endif
#endif /* SWIN_ANY_BITS */

/* No compiler fuses a product with a sum on its own; after this file the user's rule holds again.
   clang can restore it on x86 only: elsewhere it is left as it is (see SWIN__HOLD). */
#if defined(__clang__)
#if defined(__x86_64__) || defined(__i386__)
#pragma float_control(push)
#pragma clang fp contract(off)
#endif
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The largest side of a picture or input, and the most pixels. A row of any map, a side times its
   channels, and the pixels of any map, up to twice those of a picture and four of them compared at
   once, are counted in an int. */
#ifndef SWIN_MAX_SIDE
#define SWIN_MAX_SIDE 16384
#endif
#ifndef SWIN_MAX_PIXELS
#define SWIN_MAX_PIXELS (1 << 26)
#endif
#if SWIN_MAX_SIDE < 1 || SWIN_MAX_SIDE > 32767 || SWIN_MAX_PIXELS < 1 || \
    SWIN_MAX_PIXELS > 1 << 27
#error "swin.h counts in int: SWIN_MAX_SIDE is 32767 at most, SWIN_MAX_PIXELS 1 << 27"
#endif

static int swin__min(int a, int b) { return a < b ? a : b; }
static int swin__max(int a, int b) { return a > b ? a : b; }
static int swin__divide_up(int a, int b) { return (a + b - 1) / b; }
static int swin__round_up(int a, int b) { return swin__divide_up(a, b) * b; }
/* The floats from row to row of a map that has n columns: whole vectors. */
static int swin__padded(int n) { return swin__round_up(n, 16); }
/* Floats of `rows` rows that lie ld apart: as an offset into memory that exists, or as a size that
   may turn out not to fit into memory. */
static size_t swin__offset(int rows, int ld) { return (size_t)rows * (size_t)ld; }
static uint64_t swin__floats(int rows, int ld) { return (uint64_t)rows * (uint64_t)ld; }
static uint64_t swin__align64(uint64_t n) { return (n + 63) & ~(uint64_t)63; }

/* A cancel flag is the one thing two threads may touch at once. */
#if defined(__GNUC__) || defined(__clang__)
static int swin__peek(const int *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }
static void swin__poke(int *flag, int value) { __atomic_store_n(flag, value, __ATOMIC_RELAXED); }
#else
static int swin__peek(const int *flag) { return *(const volatile int *)flag; }
static void swin__poke(int *flag, int value) { *(volatile int *)flag = value; }
#endif

/* The version as a string, for error sentences. */
#define SWIN__QUOTED(x) #x
#define SWIN__DOTTED(a, b, c) SWIN__QUOTED(a) "." SWIN__QUOTED(b) "." SWIN__QUOTED(c)
#define SWIN__VERSION SWIN__DOTTED(SWIN_VERSION_MAJOR, SWIN_VERSION_MINOR, SWIN_VERSION_PATCH)

/* As much of vsnprintf as error sentences need, so that the core needs no stdio: %s, %d and %z (a
   size_t). What does not fit into `size` bytes with the final zero is cut off. */
static void swin__print(char *to, size_t size, const char *format, va_list args)
{
    size_t at = 0;
    for (; *format && at + 1 < size; format++) {
        char digits[24];
        const char *piece;
        if (*format != '%') {
            to[at++] = *format;
            continue;
        }
        format++;
        if (*format == 's') {
            piece = va_arg(args, const char *);
        } else {
            char *d = digits + sizeof digits - 1;
            long long value = *format == 'd' ? va_arg(args, int) : (long long)va_arg(args, size_t);
            unsigned long long rest = value < 0 ? 0 - (unsigned long long)value
                                                : (unsigned long long)value;
            *d = 0;
            do *--d = (char)('0' + rest % 10); while (rest /= 10);
            if (value < 0) *--d = '-';
            piece = d;
        }
        while (*piece && at + 1 < size) to[at++] = *piece++;
    }
    to[at] = 0;
}

static void swin__format(char *to, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    swin__print(to, size, format, args);
    va_end(args);
}

/* Leaves the status and its sentence in *err, if there is one; returns the status. */
static swin_status swin__fail(swin_error *err, swin_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->status = status;
        swin__print(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

#ifdef __clang_analyzer__ /* which does not look into a function of variable arguments */
#define swin__fail(err, status, ...) (swin__fail(err, status, __VA_ARGS__), status)
#endif

SWIN_API const char *swin_status_text(swin_status status)
{
    static const char *const text[] = {
#define SWIN__TEXT(name, sentence) sentence,
        SWIN_STATUS_LIST(SWIN__TEXT)
#undef SWIN__TEXT
    };
    return (unsigned)status < SWIN_STATUS_COUNT ? text[status] : "no such status";
}

/* --- what a build may leave out ---------------------------------------------------------------

   SWIN_NO_name leaves out what a row names. Code asks for SWIN__HAS_name, 0 or 1, as for any
   condition, and tables name functions through SWIN__IF: compilers drop what nothing reaches then,
   with the layers and kernels that it alone uses, and nothing has to be cut out by hand. What a
   model needs is asked in swin__check_build. */
#define SWIN__OPTIONS(X) \
    X(UPER,          "UPerHead") \
    X(FCN,           "FCNHead") \
    X(PSP,           "PSPHead") \
    X(FPN,           "FPNHead and SMP's FPN") \
    X(SEGFORMER,     "Segformer heads") \
    X(CLASSIFIER,    "classifiers") \
    X(UNET,          "Unets") \
    X(SMP_UNET,      "SMP's Unet") \
    X(MIT,           "SegFormer's backbone MiT") \
    X(QUERIES,       "MaskFormer, Mask2Former and OneFormer") \
    X(BIREFNET,      "BiRefNet") \
    X(V2,            "Swin V2") \
    X(GLAM,          "GLAM's global tokens") \
    X(ATTENTION_MAP, "maps of attention") \
    X(SLIDE,         "sliding windows") \
    X(AVERAGE,       "averages") \
    X(F16,           "weights of f16") \
    X(INT8,          "weights of eight bits") \
    X(WINOGRAD,      "Winograd's convolution")

/* A name that is no macro remains itself. */
#define SWIN__EXPANDED(macro) SWIN__QUOTED(macro)
#define SWIN__HAS(name, what) \
    SWIN__HAS_##name = sizeof SWIN__EXPANDED(SWIN_NO_##name) == sizeof "SWIN_NO_" #name,
enum {
    SWIN__OPTIONS(SWIN__HAS)
    /* Are there convolutions to rewrite? */
    SWIN__REWRITES = SWIN__HAS_WINOGRAD &&
                     (SWIN__HAS_UPER || SWIN__HAS_FCN || SWIN__HAS_PSP || SWIN__HAS_FPN ||
                      SWIN__HAS_SMP_UNET || SWIN__HAS_QUERIES || SWIN__HAS_BIREFNET),
    SWIN__LOOKS = SWIN__HAS_GLAM && SWIN__HAS_ATTENTION_MAP
};
#undef SWIN__HAS

#define SWIN__IF(has, function) ((has) ? (function) : NULL)

/* SWIN__NEEDS_name stands for a row above; SWIN__NEEDS_NOTHING is in every build. */
#define SWIN__NEEDS(name, what) SWIN__NEEDS_##name,
enum { SWIN__NEEDS_NOTHING, SWIN__OPTIONS(SWIN__NEEDS) SWIN__NEEDS_COUNT };
#undef SWIN__NEEDS

/* Refuses what this build leaves out. */
static swin_status swin__check_need(int need, swin_error *err)
{
#define SWIN__TEXT(name, what) SWIN__HAS_##name ? NULL : what " (SWIN_NO_" #name ")",
    static const char *const left_out[SWIN__NEEDS_COUNT] = { NULL, SWIN__OPTIONS(SWIN__TEXT) };
#undef SWIN__TEXT
    if (!left_out[need]) return SWIN_OK;
    return swin__fail(err, SWIN_UNSUPPORTED, "this build leaves out %s", left_out[need]);
}
#endif /* the rooms before the kernels */

#ifdef SWIN__BUILDING
/* -------------------------------------------------------------------------- */
/* >>numbers: a vector of sixteen lanes, exp, GELU

   Everything hot works on one type: sixteen floats. A pass (one instruction
   set) says in about a hundred lines what the operations below are for it; what
   is built from them is written once and is included once per pass. The
   scalar pass is the specification: every other pass gives its bits.

   Two rules make that so. A product never flows into a plain sum: where both
   meet, vfma says so (one rounding), or vhold, swin__times or swin__timesf
   round the product before the sum sees it (two roundings), hence no compiler
   finds anything to contract. And a sum over a row goes into sixteen lanes,
   element i to lane i mod 16, then down one tree: 8, 4, 2, 1. */

#ifndef SWIN__PASS

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Which rows of SWIN_CPU_LIST this compiler builds: 1 or 0. TinyCC calls itself x86-64 but has no
   intrinsics; 32-bit x86 has eight registers, too few for a microtile of a product. */
#if (defined(__x86_64__) || defined(_M_X64)) && !defined(__TINYC__) && !defined(SWIN_NO_SIMD)
#define SWIN__X86
#endif
#if defined(__wasm_simd128__) && !defined(SWIN_NO_SIMD) && !defined(SWIN_NO_WASM)
#define SWIN__BUILDS_wasm 1
#else
#define SWIN__BUILDS_wasm 0
#endif
#if (defined(__aarch64__) || defined(_M_ARM64)) && !defined(SWIN_NO_SIMD) && !defined(SWIN_NO_NEON)
#define SWIN__BUILDS_neon 1
#else
#define SWIN__BUILDS_neon 0
#endif
#if defined(SWIN__X86) && !defined(SWIN_NO_AVX2)
#define SWIN__BUILDS_avx2 1
#else
#define SWIN__BUILDS_avx2 0
#endif
#if defined(SWIN__X86) && !defined(SWIN_NO_AVX512)
#define SWIN__BUILDS_avx512 1
#else
#define SWIN__BUILDS_avx512 0
#endif
/* The extensions for eight bits: where the compiler may use them anywhere, or GCC where it is
   told. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 10
#define SWIN__TARGETS_ARM 1
#else
#define SWIN__TARGETS_ARM 0
#endif
#if SWIN__BUILDS_neon && (defined(__ARM_FEATURE_DOTPROD) || SWIN__TARGETS_ARM)
#define SWIN__BUILDS_neon_dot 1
#else
#define SWIN__BUILDS_neon_dot 0
#endif
#if SWIN__BUILDS_neon && (defined(__ARM_FEATURE_MATMUL_INT8) || SWIN__TARGETS_ARM)
#define SWIN__BUILDS_neon_i8mm 1
#else
#define SWIN__BUILDS_neon_i8mm 0
#endif
#if defined(__clang__)
#define SWIN__TARGETS_AVX_VNNI (__clang_major__ >= 13) /* Apple's version 12 is LLVM's 11 */
#elif defined(__GNUC__)
#define SWIN__TARGETS_AVX_VNNI (__GNUC__ >= 11)
#elif defined(_MSC_VER)
#define SWIN__TARGETS_AVX_VNNI (_MSC_VER >= 1930)
#else
#define SWIN__TARGETS_AVX_VNNI 0
#endif
#if SWIN__BUILDS_avx2 && SWIN__TARGETS_AVX_VNNI && !defined(SWIN_NO_AVX2_VNNI)
#define SWIN__BUILDS_avx2_vnni 1
#else
#define SWIN__BUILDS_avx2_vnni 0
#endif
#if SWIN__BUILDS_avx512 && (defined(__clang__) || !defined(__GNUC__) || __GNUC__ >= 8)
#define SWIN__BUILDS_avx512_vnni 1
#else
#define SWIN__BUILDS_avx512_vnni 0
#endif
#if defined(__clang__)
#define SWIN__TARGETS_AMX (__clang_major__ >= 13)
#elif defined(__GNUC__)
#define SWIN__TARGETS_AMX (__GNUC__ >= 11)
#else
#define SWIN__TARGETS_AMX 0
#endif
#if SWIN__BUILDS_avx512 && SWIN__TARGETS_AMX && defined(__linux__) && !defined(__ILP32__) && \
    !defined(SWIN_NO_AMX)
#define SWIN__BUILDS_avx512_amx 1
#else
#define SWIN__BUILDS_avx512_amx 0
#endif

/* An instruction set that a build cannot do without can stand in for the scalar one. */
#if defined(SWIN_NO_SCALAR) && (SWIN__BUILDS_wasm || SWIN__BUILDS_neon)
#define SWIN__BUILDS_scalar 0
#else
#define SWIN__BUILDS_scalar 1
#endif

/* The headers of intrinsics: a pass's region of target options is no place to include them in. */
#if SWIN__BUILDS_wasm
#include <wasm_simd128.h>
#endif
#if SWIN__BUILDS_neon
#include <arm_neon.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif
#endif
#ifdef SWIN__X86
#include <immintrin.h>
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

/* A microtile keeps its sums in registers only if every operation is inlined, at -O2 too. */
#if defined(__GNUC__) || defined(__clang__)
#define SWIN__INLINE static inline __attribute__((always_inline))
#define SWIN__PREFETCH(p) __builtin_prefetch(p)
#elif defined(_MSC_VER)
#define SWIN__INLINE static __forceinline
#define SWIN__PREFETCH(p) ((void)(p))
#else
#define SWIN__INLINE static inline
#define SWIN__PREFETCH(p) ((void)(p))
#endif

/* SWIN__ALIGNED float x[16 n]: scratch for n vectors, aligned as the widest register is. Vectors
   themselves are in no array or struct outside their own section, so that one can be of a size the
   compiler does not know. */
#if defined(__GNUC__) || defined(__clang__)
#define SWIN__ALIGNED __attribute__((aligned(64)))
#elif defined(_MSC_VER)
#define SWIN__ALIGNED __declspec(align(64))
#else
#define SWIN__ALIGNED
#endif

/* The vocabulary. Comparisons with a NaN are false, except vne's, which is true. */
#define swin__v16      SWIN__FN(v16)       /* sixteen floats, lanes 0..15 */
#define swin__vload    SWIN__FN(vload)     /* (p): p[0..15], any alignment */
#define swin__vstore   SWIN__FN(vstore)    /* (p, v) */
#define swin__vstream  SWIN__FN(vstream)   /* (p, v): past the caches; p: a multiple of 64 bytes */
#define swin__vdrain   SWIN__FN(vdrain)    /* (): what was streamed is seen before what follows */
#define swin__vset1    SWIN__FN(vset1)     /* (x): x in all lanes */
#define swin__vadd     SWIN__FN(vadd)      /* (a, b): a + b */
#define swin__vsub     SWIN__FN(vsub)      /* (a, b): a - b */
#define swin__vmul     SWIN__FN(vmul)      /* (a, b): a * b */
#define swin__vmax     SWIN__FN(vmax)      /* (a, b): a > b ? a : b */
#define swin__vmin     SWIN__FN(vmin)      /* (a, b): a < b ? a : b */
#define swin__vabs     SWIN__FN(vabs)      /* (a): sign bit cleared */
#define swin__vfma     SWIN__FN(vfma)      /* (a, b, c): a * b + c, rounded once */
#define swin__vnfma    SWIN__FN(vnfma)     /* (a, b, c): c - a * b, rounded once */
#define swin__vlt      SWIN__FN(vlt)       /* (a, b, yes, no): a < b ? yes : no */
#define swin__vne      SWIN__FN(vne)       /* (a, b, yes, no): a != b ? yes : no */
#define swin__vpow2    SWIN__FN(vpow2)     /* (v, t): v * 2^n where t = SWIN__MAGIC + n */
#define swin__vkeep    SWIN__FN(vkeep)     /* (v, n): lanes below n, +0 in the others */
#define swin__vhold    SWIN__FN(vhold)     /* (v): v, a product no compiler may fuse with a sum */
/* (v): sum of the lanes: i with i + 8, i + 4, i + 2, i + 1 */
#define swin__vsum     SWIN__FN(vsum)
#define swin__vhighest SWIN__FN(vhighest)  /* (v): vmax down the same tree */
#define swin__vlowest  SWIN__FN(vlowest)   /* (v): vmin down the same tree */
/* (p, ld): four floats each at p, p + 4 ld, + 8 ld, + 12 ld */
#define swin__vquads   SWIN__FN(vquads)
#define swin__vbytes   SWIN__FN(vbytes)    /* (p): the bytes p[0..15] as floats */
#define swin__vhalves  SWIN__FN(vhalves)   /* (p): the f16 numbers p[0..15] as floats, exactly */
/* (&a, &b, &c, &d): in each quad of lanes, transposes the 4 x 4 whose rows are a, b, c and d */
#define swin__vtranspose SWIN__FN(vtranspose)
#define swin__vints    SWIN__FN(vints)     /* (p): the int32 numbers p[0..15] as floats */
#define swin__vquad    SWIN__FN(vquad)     /* (p, i): the bytes i of the quads p[0..15] as floats */
/* (p, a, b, c, d): the low bytes of a, b, c and d side by side, as quads p[0..15] */
#define swin__vpack    SWIN__FN(vpack)
/* (a, b): of |a| and |b| the one whose bits are the larger number: NaN > infinity > all others */
#define swin__vwider   SWIN__FN(vwider)
#define swin__vwidest  SWIN__FN(vwidest)   /* (v): the same down the tree, v's signs cleared */

/* 1.5 * 2^23: adding it rounds a float to a whole number, which then stands in the low bits. */
#define SWIN__MAGIC 12582912.0f

static const float swin__lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* SWIN__HOLD(kind, x): the variable x is computed before anything is made of it. GCC and MSVC obey
   the pragma that says so; clang's flags overrule it. kind: the constraint of x's register. */
#if defined(__clang__) && \
    (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__wasm__))
#define SWIN__HOLD(kind, x) __asm__("" : "+" kind(x))
#else
#define SWIN__HOLD(kind, x) ((void)0)
#endif
#if defined(__aarch64__)
#define SWIN__FLOAT_KIND "w"
#elif defined(__wasm__)
#define SWIN__FLOAT_KIND "r"
#else
#define SWIN__FLOAT_KIND "x"
#endif
#if (defined(__GNUC__) && !defined(__clang__)) || defined(_MSC_VER) || defined(__TINYC__) || \
    defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__wasm__)
#define SWIN__HELD
#else
#define SWIN__HELD volatile
#endif

/* a * b, rounded before it enters a sum. */
SWIN__INLINE double swin__times(double a, double b)
{
    SWIN__HELD double product = a * b;
    SWIN__HOLD(SWIN__FLOAT_KIND, product);
    return product;
}
SWIN__INLINE float swin__timesf(float a, float b)
{
    SWIN__HELD float product = a * b;
    SWIN__HOLD(SWIN__FLOAT_KIND, product);
    return product;
}

/* a * b + c, rounded once, by doubles. The product is exact and `rest` is what the sum lacks
   (Knuth's two-sum), so the sum can be rounded to odd: towards the neighbour whose last bit is 1
   unless it is exact. Of a number with three bits more than a float's that keeps the side of every
   tie: rounding again gives what rounding the exact number would, denormals included (Boldo and
   Melquiond, "When double rounding is odd", 2005). Of infinities and NaNs nothing is lacking. */
SWIN__INLINE float swin__fma_by_doubles(float a, float b, float c)
{
    const double product = (double)a * (double)b, addend = (double)c, sum = product + addend;
    const double part = sum - product, rest = (product - (sum - part)) + (addend - part);
    double odd = sum;
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if ((rest < 0 || rest > 0) && !(bits & 1)) {
        bits += (rest > 0) == (sum > 0) ? 1 : (uint64_t)-1;
        memcpy(&odd, &bits, sizeof odd);
    }
    return (float)odd;
}

/* C libraries' fmaf is slow where the hardware has none, and mingw-w64's and newlib's are not
   rounded once. */
#if (defined(__GNUC__) || defined(__clang__)) && \
    (defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__) || \
     defined(__ARM_FEATURE_FMA) || defined(__riscv_flen) || defined(__powerpc__))
#define swin__fmaf(a, b, c) __builtin_fmaf(a, b, c)
#elif defined(_M_ARM64)
#define swin__fmaf(a, b, c) fmaf(a, b, c)
#else
#define swin__fmaf(a, b, c) swin__fma_by_doubles(a, b, c)
#endif

/* The float that IEEE's binary16 number of these bits is; a NaN comes out quiet. */
static inline float swin__half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    /* exponent and fraction at their places in a float, whose exponents start 112 lower */
    uint32_t bits = rest << 13;
    float x;
    if (rest >= 0x7c00) bits |= rest > 0x7c00 ? 0x7fc00000 : 0x7f800000;
    else if (rest >= 0x0400) bits += (uint32_t)112 << 23;
    memcpy(&x, &bits, sizeof x);
    if (rest < 0x0400) x = (float)rest / 16777216.0f; /* a denormal: whole times 2^-24 */
    memcpy(&bits, &x, sizeof bits);
    bits |= sign;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float swin__not_a_number(void)
{
    const uint32_t bits = 0x7fc00000;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif /* !SWIN__PASS */

/* --- what the passes of four registers share -------------------------------------------------- */

#if defined(SWIN__PASS_neon) || defined(SWIN__PASS_wasm)

#define SWIN__FOUR_REGISTERS
#define SWIN__1(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 x) \
    { \
        x.a = f(x.a), x.b = f(x.b), x.c = f(x.c), x.d = f(x.d); \
        return x; \
    }
#define SWIN__2(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 x, swin__v16 y) \
    { \
        x.a = f(x.a, y.a), x.b = f(x.b, y.b), x.c = f(x.c, y.c), x.d = f(x.d, y.d); \
        return x; \
    }
#define SWIN__3(name, f) /* f takes the addend first, as NEON does */ \
    SWIN__INLINE swin__v16 name(swin__v16 x, swin__v16 y, swin__v16 z) \
    { \
        z.a = f(z.a, x.a, y.a), z.b = f(z.b, x.b, y.b); \
        z.c = f(z.c, x.c, y.c), z.d = f(z.d, x.d, y.d); \
        return z; \
    }

#endif

/* --- the scalar pass: sixteen floats in an array ---------------------------------------------- */

#ifdef SWIN__PASS_scalar

#define SWIN__CPU SWIN_CPU_SCALAR
#define SWIN__FN(name) swin__##name##_scalar
#define SWIN__FN_8(name) swin__##name##_scalar
#define SWIN__ROWS_OF_1 1      /* there are no registers to keep more rows in */
#define SWIN__ROWS_OF_2 0
#define SWIN__DEPTH     256    /* one panel of 256 x 16 floats: 16 KiB of L1 */

typedef struct swin__v16 { float x[16]; } swin__v16;

#define SWIN__EACH(expression) \
    swin__v16 r; \
    for (int i = 0; i < 16; i++) r.x[i] = (expression); \
    return r
#define SWIN__V swin__v16
/* What the product does not need stays a call: inlined, these loops of 16 take compilers ages. So
   does what kernels share, but for clang, which makes vectors of it where size is no matter. */
#if defined(__GNUC__) || defined(__clang__)
#define SWIN__OUTLINE static __attribute__((noinline))
#else
#define SWIN__OUTLINE static
#endif
#if !defined(__clang__) || defined(__OPTIMIZE_SIZE__)
#define SWIN__REPEATED SWIN__OUTLINE
#endif
SWIN__INLINE SWIN__V swin__vload(const float *p) { SWIN__EACH(p[i]); }
SWIN__INLINE void swin__vstore(float *p, SWIN__V v) { for (int i = 0; i < 16; i++) p[i] = v.x[i]; }
SWIN__INLINE void swin__vstream(float *p, SWIN__V v) { swin__vstore(p, v); }
SWIN__INLINE void swin__vdrain(void) {}
SWIN__INLINE SWIN__V swin__vset1(float x) { SWIN__EACH(x); }
SWIN__OUTLINE SWIN__V swin__vadd(SWIN__V a, SWIN__V b) { SWIN__EACH(a.x[i] + b.x[i]); }
SWIN__OUTLINE SWIN__V swin__vsub(SWIN__V a, SWIN__V b) { SWIN__EACH(a.x[i] - b.x[i]); }
SWIN__OUTLINE SWIN__V swin__vmul(SWIN__V a, SWIN__V b) { SWIN__EACH(a.x[i] * b.x[i]); }
SWIN__OUTLINE SWIN__V swin__vmax(SWIN__V a, SWIN__V b)
{
    SWIN__EACH(a.x[i] > b.x[i] ? a.x[i] : b.x[i]);
}
SWIN__OUTLINE SWIN__V swin__vmin(SWIN__V a, SWIN__V b)
{
    SWIN__EACH(a.x[i] < b.x[i] ? a.x[i] : b.x[i]);
}
SWIN__OUTLINE SWIN__V swin__vabs(SWIN__V a) { SWIN__EACH(fabsf(a.x[i])); }
SWIN__INLINE SWIN__V swin__vfma(SWIN__V a, SWIN__V b, SWIN__V c)
{
    SWIN__EACH(swin__fmaf(a.x[i], b.x[i], c.x[i]));
}
SWIN__OUTLINE SWIN__V swin__vnfma(SWIN__V a, SWIN__V b, SWIN__V c)
{
    SWIN__EACH(swin__fmaf(-a.x[i], b.x[i], c.x[i]));
}
SWIN__OUTLINE SWIN__V swin__vlt(SWIN__V a, SWIN__V b, SWIN__V yes, SWIN__V no)
{
    SWIN__EACH(a.x[i] < b.x[i] ? yes.x[i] : no.x[i]);
}
SWIN__OUTLINE SWIN__V swin__vne(SWIN__V a, SWIN__V b, SWIN__V yes, SWIN__V no)
{
    SWIN__EACH(a.x[i] != b.x[i] ? yes.x[i] : no.x[i]);
}
SWIN__OUTLINE SWIN__V swin__vpow2(SWIN__V v, SWIN__V t)
{
    uint32_t bits[16], shift[16];
    memcpy(bits, v.x, sizeof bits);
    memcpy(shift, t.x, sizeof shift);
    for (int i = 0; i < 16; i++) bits[i] += shift[i] << 23;
    memcpy(v.x, bits, sizeof bits);
    return v;
}
SWIN__OUTLINE SWIN__V swin__vkeep(SWIN__V v, int n) { SWIN__EACH(i < n ? v.x[i] : 0.0f); }
SWIN__OUTLINE SWIN__V swin__vhold(SWIN__V v) { SWIN__EACH(v.x[i]); }
SWIN__OUTLINE float swin__vsum(SWIN__V v)
{
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++) v.x[i] += v.x[i + n];
    return v.x[0];
}
SWIN__OUTLINE float swin__vhighest(SWIN__V v)
{
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++) v.x[i] = v.x[i] > v.x[i + n] ? v.x[i] : v.x[i + n];
    return v.x[0];
}
SWIN__OUTLINE float swin__vlowest(SWIN__V v)
{
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++) v.x[i] = v.x[i] < v.x[i + n] ? v.x[i] : v.x[i + n];
    return v.x[0];
}
SWIN__OUTLINE SWIN__V swin__vquads(const float *p, size_t ld)
{
    SWIN__EACH(p[(size_t)(i & ~3) * ld + (size_t)(i & 3)]);
}
SWIN__OUTLINE SWIN__V swin__vbytes(const unsigned char *p) { SWIN__EACH((float)p[i]); }
SWIN__OUTLINE SWIN__V swin__vhalves(const uint16_t *p) { SWIN__EACH(swin__half(p[i])); }
SWIN__OUTLINE SWIN__V swin__vints(const int32_t *p) { SWIN__EACH((float)p[i]); }
SWIN__OUTLINE SWIN__V swin__vquad(const void *p, int at)
{
    const signed char *bytes = (const signed char *)p + at;
    SWIN__EACH((float)bytes[4 * i]);
}
SWIN__OUTLINE void swin__vpack(void *p, SWIN__V a, SWIN__V b, SWIN__V c, SWIN__V d)
{
    const SWIN__V *from[4] = {&a, &b, &c, &d};
    for (int i = 0; i < 64; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i % 4]->x[i / 4], sizeof bits);
        ((unsigned char *)p)[i] = (unsigned char)(bits & 255);
    }
}
SWIN__INLINE float SWIN__FN(wider)(float a, float b)
{
    uint32_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x &= 0x7fffffffu, y &= 0x7fffffffu;
    if (y > x) x = y;
    memcpy(&a, &x, sizeof a);
    return a;
}
SWIN__OUTLINE SWIN__V swin__vwider(SWIN__V a, SWIN__V b)
{
    SWIN__EACH(SWIN__FN(wider)(a.x[i], b.x[i]));
}
SWIN__OUTLINE float swin__vwidest(SWIN__V v)
{
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++) v.x[i] = SWIN__FN(wider)(v.x[i], v.x[i + n]);
    return v.x[0];
}
SWIN__OUTLINE void swin__vtranspose(SWIN__V *a, SWIN__V *b, SWIN__V *c, SWIN__V *d)
{
    const SWIN__V row[4] = {*a, *b, *c, *d};
    for (int i = 0; i < 16; i++) {
        a->x[i] = row[i & 3].x[i & ~3];
        b->x[i] = row[i & 3].x[(i & ~3) + 1];
        c->x[i] = row[i & 3].x[(i & ~3) + 2];
        d->x[i] = row[i & 3].x[(i & ~3) + 3];
    }
}
#undef SWIN__EACH
#undef SWIN__V

/* --- AVX-512: one register -------------------------------------------------------------------- */

#elif defined(SWIN__PASS_avx512)

#define SWIN__TARGET
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c"))), \
    apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC diagnostic push
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")
#pragma GCC diagnostic ignored "-Wuninitialized" /* GCC's own header: its bug 105593 */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define SWIN__CPU SWIN_CPU_AVX512
#define SWIN__FN(name) swin__##name##_avx512
#define SWIN__FN_8(name) swin__##name##_avx512
#define SWIN__ROWS_OF_1 14
#define SWIN__ROWS_OF_2 14     /* 14 x 32: 28 sums + 2 weights + 1 broadcast = 31 of 32 zmm */
/* Two panels of 768 x 16 floats: 96 KiB of L2, which gives two lines per 28 multiply-adds. */
#define SWIN__DEPTH     768

typedef __m512 swin__v16;

#define SWIN__1(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 a) { return f(a); }
#define SWIN__2(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 a, swin__v16 b) { return f(a, b); }
#define SWIN__3(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 a, swin__v16 b, swin__v16 c) { return f(a, b, c); }
#define SWIN__PICK(name, how) \
    SWIN__INLINE swin__v16 name(swin__v16 a, swin__v16 b, swin__v16 yes, swin__v16 no) \
    { \
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, how), no, yes); \
    }
SWIN__INLINE swin__v16 swin__vload(const float *p) { return _mm512_loadu_ps(p); }
SWIN__INLINE void swin__vstore(float *p, swin__v16 v) { _mm512_storeu_ps(p, v); }
SWIN__INLINE void swin__vstream(float *p, swin__v16 v) { _mm512_stream_ps(p, v); }
SWIN__INLINE void swin__vdrain(void) { _mm_sfence(); }
SWIN__INLINE swin__v16 swin__vset1(float x) { return _mm512_set1_ps(x); }
SWIN__2(swin__vadd, _mm512_add_ps)
SWIN__2(swin__vsub, _mm512_sub_ps)
SWIN__2(swin__vmul, _mm512_mul_ps)
SWIN__2(swin__vmax, _mm512_max_ps)
SWIN__2(swin__vmin, _mm512_min_ps)
SWIN__1(swin__vabs, _mm512_abs_ps)
SWIN__3(swin__vfma, _mm512_fmadd_ps)
SWIN__3(swin__vnfma, _mm512_fnmadd_ps)
SWIN__PICK(swin__vlt, _CMP_LT_OQ)
SWIN__PICK(swin__vne, _CMP_NEQ_UQ)
SWIN__INLINE swin__v16 swin__vpow2(swin__v16 v, swin__v16 t)
{
    const __m512i shift = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), shift));
}
SWIN__INLINE swin__v16 swin__vkeep(swin__v16 v, int n)
{
    return _mm512_maskz_mov_ps((__mmask16)(n < 16 ? (1u << n) - 1 : 0xffff), v);
}
SWIN__INLINE swin__v16 swin__vhold(swin__v16 v)
{
    SWIN__HOLD("v", v);
    return v;
}
SWIN__INLINE swin__v16 swin__vquads(const float *p, size_t ld)
{
    const __m512 a = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(p)),
                                        _mm_loadu_ps(p + 4 * ld), 1);
    const __m512 b = _mm512_insertf32x4(a, _mm_loadu_ps(p + 8 * ld), 2);
    return _mm512_insertf32x4(b, _mm_loadu_ps(p + 12 * ld), 3);
}
SWIN__INLINE swin__v16 swin__vbytes(const unsigned char *p)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i upper = _mm_unpackhi_epi64(bytes, bytes);
    const __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    const __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(upper));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}
SWIN__INLINE swin__v16 swin__vhalves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
SWIN__INLINE swin__v16 swin__vints(const int32_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_loadu_si512(p));
}
SWIN__INLINE swin__v16 swin__vquad(const void *p, int at)
{
    const __m512i up = _mm512_sll_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(24 - 8 * at));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(up, 24));
}
SWIN__INLINE void swin__vpack(void *p, swin__v16 a, swin__v16 b, swin__v16 c, swin__v16 d)
{
    const __m512i low = _mm512_set1_epi32(255);
    const __m512i x = _mm512_and_si512(_mm512_castps_si512(a), low);
    const __m512i y = _mm512_slli_epi32(_mm512_and_si512(_mm512_castps_si512(b), low), 8);
    const __m512i z = _mm512_slli_epi32(_mm512_and_si512(_mm512_castps_si512(c), low), 16);
    const __m512i w = _mm512_slli_epi32(_mm512_castps_si512(d), 24);
    _mm512_storeu_si512(p, _mm512_or_si512(_mm512_or_si512(x, y), _mm512_or_si512(z, w)));
}
SWIN__INLINE swin__v16 swin__vwider(swin__v16 a, swin__v16 b)
{
    const __m512i x = _mm512_castps_si512(_mm512_abs_ps(a));
    const __m512i y = _mm512_castps_si512(_mm512_abs_ps(b));
    return _mm512_castsi512_ps(_mm512_max_epi32(x, y));
}
SWIN__INLINE void swin__vtranspose(__m512 *a, __m512 *b, __m512 *c, __m512 *d)
{
    const __m512 p = _mm512_unpacklo_ps(*a, *b), q = _mm512_unpackhi_ps(*a, *b);
    const __m512 r = _mm512_unpacklo_ps(*c, *d), s = _mm512_unpackhi_ps(*c, *d);
    *a = _mm512_shuffle_ps(p, r, 0x44), *b = _mm512_shuffle_ps(p, r, 0xee);
    *c = _mm512_shuffle_ps(q, s, 0x44), *d = _mm512_shuffle_ps(q, s, 0xee);
}
#define SWIN__LOW(v)  _mm512_castps512_ps256(v)
#define SWIN__HIGH(v) _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1))

/* From intrinsics clang makes loads of all rows of a microtile first, finds no registers left for
   the sums and takes twice the time. */
#ifdef __clang__
#define SWIN__TIMES(c, d, value, w0, w1, panels) \
    { \
        swin__v16 x; \
        if (panels > 1) \
            __asm__("vbroadcastss %3, %2\n\tvfmadd231ps %4, %2, %0\n\tvfmadd231ps %5, %2, %1" \
                    : "+v"(c), "+v"(d), "=&v"(x) : "m"(value), "v"(w0), "v"(w1)); \
        else \
            __asm__("vbroadcastss %2, %1\n\tvfmadd231ps %3, %1, %0" \
                    : "+v"(c), "=&v"(x) : "m"(value), "v"(w0)); \
    }
#endif

/* --- AVX-512 with VNNI: the same but for eight bits ------------------------------------------- */

#elif defined(SWIN__PASS_avx512_vnni)

#define SWIN__TARGET
#define SWIN__ONLY_8
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx2,fma,f16c"))), \
    apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC diagnostic push
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx2,fma,f16c")
#pragma GCC diagnostic ignored "-Wuninitialized" /* as above */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define SWIN__CPU SWIN_CPU_AVX512_VNNI
#define SWIN__FN(name) swin__##name##_avx512
#define SWIN__FN_8(name) swin__##name##_avx512_vnni

/* --- AVX-512 with AMX: the same but for eight bits -------------------------------------------- */

#elif defined(SWIN__PASS_avx512_amx)

#define SWIN__TARGET
#define SWIN__ONLY_8
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c,amx-tile,amx-int8"))), \
    apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC diagnostic push
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c,amx-tile,amx-int8")
#pragma GCC diagnostic ignored "-Wuninitialized" /* as above */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define SWIN__CPU SWIN_CPU_AVX512_AMX
#define SWIN__FN(name) swin__##name##_avx512
#define SWIN__FN_8(name) swin__##name##_avx512_amx

/* --- AVX2 with FMA: two registers ------------------------------------------------------------- */

#elif defined(SWIN__PASS_avx2)

#define SWIN__TARGET
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC diagnostic push
#pragma GCC target("avx2,fma,f16c")
#endif

#define SWIN__CPU SWIN_CPU_AVX2
#define SWIN__FN(name) swin__##name##_avx2
#define SWIN__FN_8(name) swin__##name##_avx2
#define SWIN__ROWS_OF_1 6      /* 6 x 16: 12 sums + 2 weights + 1 broadcast = 15 of 16 ymm */
#define SWIN__ROWS_OF_2 3      /* 3 x 32: 12 sums + 1 weight + 3 broadcasts = 16 of 16 */
#define SWIN__MICROTILE_2_BY_REGISTER
#define SWIN__DEPTH     192    /* two panels of 192 x 16 floats: 24 of the 32 KiB of L1 */

typedef struct swin__v16 { __m256 lo, hi; } swin__v16;

#define SWIN__1(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 a) \
    { \
        a.lo = f(a.lo), a.hi = f(a.hi); \
        return a; \
    }
#define SWIN__2(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 a, swin__v16 b) \
    { \
        a.lo = f(a.lo, b.lo), a.hi = f(a.hi, b.hi); \
        return a; \
    }
#define SWIN__3(name, f) \
    SWIN__INLINE swin__v16 name(swin__v16 a, swin__v16 b, swin__v16 c) \
    { \
        a.lo = f(a.lo, b.lo, c.lo), a.hi = f(a.hi, b.hi, c.hi); \
        return a; \
    }
#define SWIN__PICK(name, how) \
    SWIN__INLINE swin__v16 name(swin__v16 a, swin__v16 b, swin__v16 yes, swin__v16 no) \
    { \
        no.lo = _mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, how)); \
        no.hi = _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, how)); \
        return no; \
    }
SWIN__INLINE swin__v16 swin__vload(const float *p)
{
    const swin__v16 v = {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
    return v;
}
SWIN__INLINE void swin__vstore(float *p, swin__v16 v)
{
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
}
SWIN__INLINE void swin__vstream(float *p, swin__v16 v)
{
    _mm256_stream_ps(p, v.lo);
    _mm256_stream_ps(p + 8, v.hi);
}
SWIN__INLINE void swin__vdrain(void) { _mm_sfence(); }
SWIN__INLINE swin__v16 swin__vset1(float x)
{
    const swin__v16 v = {_mm256_set1_ps(x), _mm256_set1_ps(x)};
    return v;
}
SWIN__INLINE __m256 SWIN__FN(abs)(__m256 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
SWIN__INLINE __m256 SWIN__FN(pow2)(__m256 v, __m256 t)
{
    const __m256i shift = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), shift));
}
SWIN__2(swin__vadd, _mm256_add_ps)
SWIN__2(swin__vsub, _mm256_sub_ps)
SWIN__2(swin__vmul, _mm256_mul_ps)
SWIN__2(swin__vmax, _mm256_max_ps)
SWIN__2(swin__vmin, _mm256_min_ps)
SWIN__1(swin__vabs, SWIN__FN(abs))
SWIN__3(swin__vfma, _mm256_fmadd_ps)
SWIN__3(swin__vnfma, _mm256_fnmadd_ps)
SWIN__PICK(swin__vlt, _CMP_LT_OQ)
SWIN__PICK(swin__vne, _CMP_NEQ_UQ)
SWIN__2(swin__vpow2, SWIN__FN(pow2))
SWIN__INLINE swin__v16 swin__vkeep(swin__v16 v, int n)
{
    const swin__v16 zero = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    return swin__vlt(swin__vload(swin__lanes), swin__vset1((float)n), v, zero);
}
SWIN__INLINE swin__v16 swin__vhold(swin__v16 v)
{
    SWIN__HOLD("x", v.lo);
    SWIN__HOLD("x", v.hi);
    return v;
}
SWIN__INLINE swin__v16 swin__vquads(const float *p, size_t ld)
{
    const __m256 lo = _mm256_castps128_ps256(_mm_loadu_ps(p));
    const __m256 hi = _mm256_castps128_ps256(_mm_loadu_ps(p + 8 * ld));
    const swin__v16 v = {_mm256_insertf128_ps(lo, _mm_loadu_ps(p + 4 * ld), 1),
                         _mm256_insertf128_ps(hi, _mm_loadu_ps(p + 12 * ld), 1)};
    return v;
}
SWIN__INLINE swin__v16 swin__vbytes(const unsigned char *p)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i high = _mm_unpackhi_epi64(bytes, bytes);
    const swin__v16 v = {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                         _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high))};
    return v;
}
SWIN__INLINE swin__v16 swin__vhalves(const uint16_t *p)
{
    const __m128i *halves = (const __m128i *)(const void *)p;
    const swin__v16 v = {_mm256_cvtph_ps(_mm_loadu_si128(halves)),
                         _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
    return v;
}
SWIN__INLINE swin__v16 swin__vints(const int32_t *p)
{
    const __m256i *ints = (const __m256i *)(const void *)p;
    const swin__v16 v = {_mm256_cvtepi32_ps(_mm256_loadu_si256(ints)),
                         _mm256_cvtepi32_ps(_mm256_loadu_si256(ints + 1))};
    return v;
}
SWIN__INLINE __m256 SWIN__FN(quad)(const __m256i *p, int at)
{
    const __m256i up = _mm256_sll_epi32(_mm256_loadu_si256(p), _mm_cvtsi32_si128(24 - 8 * at));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(up, 24));
}
SWIN__INLINE swin__v16 swin__vquad(const void *p, int at)
{
    const __m256i *quads = (const __m256i *)p;
    const swin__v16 v = {SWIN__FN(quad)(quads, at), SWIN__FN(quad)(quads + 1, at)};
    return v;
}
SWIN__INLINE void SWIN__FN(pack)(__m256i *p, __m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256i low = _mm256_set1_epi32(255);
    const __m256i x = _mm256_and_si256(_mm256_castps_si256(a), low);
    const __m256i y = _mm256_slli_epi32(_mm256_and_si256(_mm256_castps_si256(b), low), 8);
    const __m256i z = _mm256_slli_epi32(_mm256_and_si256(_mm256_castps_si256(c), low), 16);
    const __m256i w = _mm256_slli_epi32(_mm256_castps_si256(d), 24);
    _mm256_storeu_si256(p, _mm256_or_si256(_mm256_or_si256(x, y), _mm256_or_si256(z, w)));
}
SWIN__INLINE void swin__vpack(void *p, swin__v16 a, swin__v16 b, swin__v16 c, swin__v16 d)
{
    __m256i *quads = (__m256i *)p;
    SWIN__FN(pack)(quads, a.lo, b.lo, c.lo, d.lo);
    SWIN__FN(pack)(quads + 1, a.hi, b.hi, c.hi, d.hi);
}
SWIN__INLINE __m256 SWIN__FN(wider)(__m256 a, __m256 b)
{
    const __m256i x = _mm256_castps_si256(SWIN__FN(abs)(a));
    return _mm256_castsi256_ps(_mm256_max_epi32(x, _mm256_castps_si256(SWIN__FN(abs)(b))));
}
SWIN__2(swin__vwider, SWIN__FN(wider))
SWIN__INLINE void SWIN__FN(transpose4)(__m256 *a, __m256 *b, __m256 *c, __m256 *d)
{
    const __m256 p = _mm256_unpacklo_ps(*a, *b), q = _mm256_unpackhi_ps(*a, *b);
    const __m256 r = _mm256_unpacklo_ps(*c, *d), s = _mm256_unpackhi_ps(*c, *d);
    *a = _mm256_shuffle_ps(p, r, 0x44), *b = _mm256_shuffle_ps(p, r, 0xee);
    *c = _mm256_shuffle_ps(q, s, 0x44), *d = _mm256_shuffle_ps(q, s, 0xee);
}
SWIN__INLINE void swin__vtranspose(swin__v16 *a, swin__v16 *b, swin__v16 *c, swin__v16 *d)
{
    SWIN__FN(transpose4)(&a->lo, &b->lo, &c->lo, &d->lo);
    SWIN__FN(transpose4)(&a->hi, &b->hi, &c->hi, &d->hi);
}
#define SWIN__LOW(v)  (v).lo
#define SWIN__HIGH(v) (v).hi

/* --- AVX2 with VNNI: the same but for eight bits ---------------------------------------------- */

#elif defined(SWIN__PASS_avx2_vnni)

#define SWIN__TARGET
#define SWIN__ONLY_8
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avxvnni,avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC diagnostic push
#pragma GCC target("avxvnni,avx2,fma,f16c")
#endif

#define SWIN__CPU SWIN_CPU_AVX2_VNNI
#define SWIN__FN(name) swin__##name##_avx2
#define SWIN__FN_8(name) swin__##name##_avx2_vnni

/* --- NEON: four registers --------------------------------------------------------------------- */

#elif defined(SWIN__PASS_neon)

#define SWIN__CPU SWIN_CPU_NEON
#define SWIN__FN(name) swin__##name##_neon
#define SWIN__FN_8(name) swin__##name##_neon
/* 5 x 16: 20 sums + 5 of A, four terms each, + 4 weights = 29 of 32 registers; with six rows
   compilers spill */
#define SWIN__ROWS_OF_1 5
#define SWIN__ROWS_OF_2 0
#define SWIN__MICROTILE_1_BY_ELEMENT
#define SWIN__DEPTH     256    /* one panel of 256 x 16 floats: 16 KiB of L1 */

typedef struct swin__v16 { float32x4_t a, b, c, d; } swin__v16;

#define SWIN__PICK(name, how, first, second) \
    SWIN__INLINE swin__v16 name(swin__v16 x, swin__v16 y, swin__v16 yes, swin__v16 no) \
    { \
        no.a = vbslq_f32(how(x.a, y.a), first.a, second.a); \
        no.b = vbslq_f32(how(x.b, y.b), first.b, second.b); \
        no.c = vbslq_f32(how(x.c, y.c), first.c, second.c); \
        no.d = vbslq_f32(how(x.d, y.d), first.d, second.d); \
        return no; \
    }
SWIN__INLINE swin__v16 swin__vload(const float *p)
{
    const swin__v16 v = {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
    return v;
}
SWIN__INLINE void swin__vstore(float *p, swin__v16 v)
{
    vst1q_f32(p, v.a), vst1q_f32(p + 4, v.b), vst1q_f32(p + 8, v.c), vst1q_f32(p + 12, v.d);
}
SWIN__INLINE swin__v16 swin__vset1(float x)
{
    const float32x4_t q = vdupq_n_f32(x);
    const swin__v16 v = {q, q, q, q};
    return v;
}
/* FMAX and FMIN order zeros and NaNs in their own way; these do as the scalar pass does. */
SWIN__INLINE float32x4_t SWIN__FN(max)(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcgtq_f32(x, y), x, y);
}
SWIN__INLINE float32x4_t SWIN__FN(min)(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcltq_f32(x, y), x, y);
}
SWIN__INLINE float32x4_t SWIN__FN(quad)(const signed char *p, int at)
{
    const int32x4_t quads = vreinterpretq_s32_s8(vld1q_s8((const int8_t *)p));
    return vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(quads, vdupq_n_s32(24 - 8 * at)), 24));
}
SWIN__INLINE void SWIN__FN(pack)(signed char *p, float32x4_t a, float32x4_t b, float32x4_t c,
                                 float32x4_t d)
{
    /* each inserts its byte above those of the ones before it */
    const uint32x4_t x = vsliq_n_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b), 8);
    const uint32x4_t y = vsliq_n_u32(x, vreinterpretq_u32_f32(c), 16);
    const uint32x4_t z = vsliq_n_u32(y, vreinterpretq_u32_f32(d), 24);
    vst1q_s8((int8_t *)p, vreinterpretq_s8_u32(z));
}
SWIN__INLINE float32x4_t SWIN__FN(wider)(float32x4_t x, float32x4_t y)
{
    const uint32x4_t a = vreinterpretq_u32_f32(vabsq_f32(x));
    return vreinterpretq_f32_u32(vmaxq_u32(a, vreinterpretq_u32_f32(vabsq_f32(y))));
}
SWIN__INLINE float32x4_t SWIN__FN(pow2)(float32x4_t v, float32x4_t t)
{
    const uint32x4_t shift = vshlq_n_u32(vreinterpretq_u32_f32(t), 23);
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(v), shift));
}
SWIN__2(swin__vadd, vaddq_f32)
SWIN__2(swin__vsub, vsubq_f32)
SWIN__2(swin__vmul, vmulq_f32)
SWIN__2(swin__vmax, SWIN__FN(max))
SWIN__2(swin__vmin, SWIN__FN(min))
SWIN__1(swin__vabs, vabsq_f32)
SWIN__3(swin__vfma, vfmaq_f32)
SWIN__3(swin__vnfma, vfmsq_f32)
SWIN__PICK(swin__vlt, vcltq_f32, yes, no)
SWIN__PICK(swin__vne, vceqq_f32, no, yes)
SWIN__2(swin__vpow2, SWIN__FN(pow2))
SWIN__INLINE swin__v16 swin__vhold(swin__v16 v)
{
    SWIN__HOLD("w", v.a);
    SWIN__HOLD("w", v.b);
    SWIN__HOLD("w", v.c);
    SWIN__HOLD("w", v.d);
    return v;
}
#define SWIN__FOLD(name, f) \
    SWIN__INLINE float name(swin__v16 v) \
    { \
        const float32x4_t q = f(f(v.a, v.c), f(v.b, v.d)); \
        const float32x4_t h = f(q, vextq_f32(q, q, 2)); \
        return vgetq_lane_f32(f(h, vextq_f32(h, h, 1)), 0); \
    }
SWIN__FOLD(swin__vsum, vaddq_f32)
SWIN__FOLD(swin__vhighest, SWIN__FN(max))
SWIN__FOLD(swin__vlowest, SWIN__FN(min))
SWIN__FOLD(swin__vwidest, SWIN__FN(wider))
SWIN__INLINE swin__v16 swin__vquads(const float *p, size_t ld)
{
    const swin__v16 v = {vld1q_f32(p), vld1q_f32(p + 4 * ld), vld1q_f32(p + 8 * ld),
                         vld1q_f32(p + 12 * ld)};
    return v;
}
SWIN__INLINE swin__v16 swin__vbytes(const unsigned char *p)
{
    const uint8x16_t bytes = vld1q_u8(p);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    const swin__v16 v = {vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                         vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
                         vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                         vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))};
    return v;
}
SWIN__INLINE float32x4_t SWIN__FN(halves)(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
SWIN__INLINE float32x4_t SWIN__FN(ints)(const int32_t *p) { return vcvtq_f32_s32(vld1q_s32(p)); }
SWIN__INLINE void SWIN__FN(transpose4)(float32x4_t *a, float32x4_t *b, float32x4_t *c,
                                       float32x4_t *d)
{
    const float32x4x2_t p = vtrnq_f32(*a, *b), q = vtrnq_f32(*c, *d);
    *a = vcombine_f32(vget_low_f32(p.val[0]), vget_low_f32(q.val[0]));
    *b = vcombine_f32(vget_low_f32(p.val[1]), vget_low_f32(q.val[1]));
    *c = vcombine_f32(vget_high_f32(p.val[0]), vget_high_f32(q.val[0]));
    *d = vcombine_f32(vget_high_f32(p.val[1]), vget_high_f32(q.val[1]));
}

/* --- WebAssembly: four registers -------------------------------------------------------------- */

#elif defined(SWIN__PASS_wasm)

#define SWIN__CPU SWIN_CPU_WASM
#define SWIN__FN(name) swin__##name##_wasm
#define SWIN__FN_8(name) swin__##name##_wasm
/* 6 x 16 in halves of 8 columns: 12 sums + 2 weights + 1 broadcast = the 15 of 16 registers that
   engines leave on x86 */
#define SWIN__ROWS_OF_1 6
#define SWIN__ROWS_OF_2 0
#define SWIN__MICROTILE_1_BY_HALVES
#define SWIN__DEPTH     256    /* one panel of 256 x 16 floats: 16 KiB of L1 */

/* c + a b and c - a b of four lanes: rounded once where relaxed SIMD is, if the engine fuses; else
   twice. swin__fuses_wasm tells. clang has the codes and names of the standard since version 17. */
#if defined(__wasm_relaxed_simd__) && defined(__clang__) && __clang_major__ >= 17
#define SWIN__MADD(c, a, b)  wasm_f32x4_relaxed_madd(a, b, c)
#define SWIN__NMADD(c, a, b) wasm_f32x4_relaxed_nmadd(a, b, c)
#else
#define SWIN__MADD(c, a, b)  wasm_f32x4_add(wasm_f32x4_mul(a, b), c)
#define SWIN__NMADD(c, a, b) wasm_f32x4_sub(c, wasm_f32x4_mul(a, b))
#endif

typedef struct swin__v16 { v128_t a, b, c, d; } swin__v16;

#define SWIN__PICK(name, how) \
    SWIN__INLINE swin__v16 name(swin__v16 x, swin__v16 y, swin__v16 yes, swin__v16 no) \
    { \
        no.a = wasm_v128_bitselect(yes.a, no.a, how(x.a, y.a)); \
        no.b = wasm_v128_bitselect(yes.b, no.b, how(x.b, y.b)); \
        no.c = wasm_v128_bitselect(yes.c, no.c, how(x.c, y.c)); \
        no.d = wasm_v128_bitselect(yes.d, no.d, how(x.d, y.d)); \
        return no; \
    }
SWIN__INLINE swin__v16 swin__vload(const float *p)
{
    const swin__v16 v = {wasm_v128_load(p), wasm_v128_load(p + 4), wasm_v128_load(p + 8),
                         wasm_v128_load(p + 12)};
    return v;
}
SWIN__INLINE void swin__vstore(float *p, swin__v16 v)
{
    wasm_v128_store(p, v.a), wasm_v128_store(p + 4, v.b);
    wasm_v128_store(p + 8, v.c), wasm_v128_store(p + 12, v.d);
}
SWIN__INLINE swin__v16 swin__vset1(float x)
{
    const v128_t q = wasm_f32x4_splat(x);
    const swin__v16 v = {q, q, q, q};
    return v;
}
/* pmax(x, y) is x < y ? y : x, which is x86's instruction with its operands swapped. */
SWIN__INLINE v128_t SWIN__FN(max)(v128_t x, v128_t y) { return wasm_f32x4_pmax(y, x); }
SWIN__INLINE v128_t SWIN__FN(min)(v128_t x, v128_t y) { return wasm_f32x4_pmin(y, x); }
SWIN__INLINE v128_t SWIN__FN(pow2)(v128_t v, v128_t t)
{
    return wasm_i32x4_add(v, wasm_i32x4_shl(t, 23));
}
SWIN__2(swin__vadd, wasm_f32x4_add)
SWIN__2(swin__vsub, wasm_f32x4_sub)
SWIN__2(swin__vmul, wasm_f32x4_mul)
SWIN__2(swin__vmax, SWIN__FN(max))
SWIN__2(swin__vmin, SWIN__FN(min))
SWIN__1(swin__vabs, wasm_f32x4_abs)
SWIN__3(swin__vfma, SWIN__MADD)
SWIN__3(swin__vnfma, SWIN__NMADD)
SWIN__PICK(swin__vlt, wasm_f32x4_lt)
SWIN__PICK(swin__vne, wasm_f32x4_ne)
SWIN__2(swin__vpow2, SWIN__FN(pow2))
/* Ors a zero that the compiler does not know to be one: not every clang takes a v128_t as an
   operand of assembly. */
SWIN__INLINE v128_t SWIN__FN(hold)(v128_t v)
{
    int zero = 0;
    SWIN__HOLD("r", zero);
    return wasm_v128_or(v, wasm_i32x4_splat(zero));
}
SWIN__1(swin__vhold, SWIN__FN(hold))
#define SWIN__FOLD(name, f) \
    SWIN__INLINE float name(swin__v16 v) \
    { \
        const v128_t q = f(f(v.a, v.c), f(v.b, v.d)); \
        const v128_t h = f(q, wasm_i32x4_shuffle(q, q, 2, 3, 0, 1)); \
        return wasm_f32x4_extract_lane(f(h, wasm_i32x4_shuffle(h, h, 1, 0, 3, 2)), 0); \
    }
SWIN__FOLD(swin__vsum, wasm_f32x4_add)
SWIN__FOLD(swin__vhighest, SWIN__FN(max))
SWIN__FOLD(swin__vlowest, SWIN__FN(min))
SWIN__INLINE swin__v16 swin__vquads(const float *p, size_t ld)
{
    const swin__v16 v = {wasm_v128_load(p), wasm_v128_load(p + 4 * ld), wasm_v128_load(p + 8 * ld),
                         wasm_v128_load(p + 12 * ld)};
    return v;
}
/* Four of swin__half. */
SWIN__INLINE v128_t SWIN__FN(halves)(const uint16_t *p)
{
    const v128_t bits = wasm_u32x4_load16x4(p), up = wasm_i32x4_splat(112 << 23);
    const v128_t rest = wasm_v128_and(bits, wasm_i32x4_splat(0x7fff));
    const v128_t sign = wasm_i32x4_shl(wasm_v128_xor(bits, rest), 16);
    const v128_t none = wasm_i32x4_gt(rest, wasm_i32x4_splat(0x7bff)); /* infinity or NaN */
    const v128_t quiet = wasm_u32x4_shr(wasm_i32x4_gt(rest, wasm_i32x4_splat(0x7c00)), 31);
    const v128_t denormal = wasm_i32x4_lt(rest, wasm_i32x4_splat(0x0400));
    const v128_t small = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(rest),
                                        wasm_f32x4_splat(1.0f / 16777216.0f));
    v128_t x = wasm_i32x4_add(wasm_i32x4_shl(rest, 13), up);
    x = wasm_i32x4_add(x, wasm_v128_and(none, up));
    x = wasm_v128_or(x, wasm_i32x4_shl(quiet, 22));
    return wasm_v128_or(wasm_v128_bitselect(small, x, denormal), sign);
}
SWIN__INLINE v128_t SWIN__FN(ints)(const int32_t *p)
{
    return wasm_f32x4_convert_i32x4(wasm_v128_load(p));
}
SWIN__INLINE v128_t SWIN__FN(quad)(const signed char *p, int at)
{
    const v128_t up = wasm_i32x4_shl(wasm_v128_load(p), (uint32_t)(24 - 8 * at));
    return wasm_f32x4_convert_i32x4(wasm_i32x4_shr(up, 24));
}
SWIN__INLINE void SWIN__FN(pack)(signed char *p, v128_t a, v128_t b, v128_t c, v128_t d)
{
    const v128_t low = wasm_i32x4_splat(255);
    const v128_t x = wasm_v128_and(a, low);
    const v128_t y = wasm_i32x4_shl(wasm_v128_and(b, low), 8);
    const v128_t z = wasm_i32x4_shl(wasm_v128_and(c, low), 16);
    const v128_t w = wasm_i32x4_shl(d, 24);
    wasm_v128_store(p, wasm_v128_or(wasm_v128_or(x, y), wasm_v128_or(z, w)));
}
SWIN__INLINE v128_t SWIN__FN(wider)(v128_t x, v128_t y)
{
    return wasm_u32x4_max(wasm_f32x4_abs(x), wasm_f32x4_abs(y));
}
SWIN__FOLD(swin__vwidest, SWIN__FN(wider))
SWIN__INLINE swin__v16 swin__vbytes(const unsigned char *p)
{
    const v128_t bytes = wasm_v128_load(p), low = wasm_u16x8_extend_low_u8x16(bytes);
    const v128_t high = wasm_u16x8_extend_high_u8x16(bytes);
    const swin__v16 v = {wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(low)),
                         wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(low)),
                         wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(high)),
                         wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(high))};
    return v;
}
SWIN__INLINE void SWIN__FN(transpose4)(v128_t *a, v128_t *b, v128_t *c, v128_t *d)
{
    const v128_t p = wasm_i32x4_shuffle(*a, *b, 0, 4, 1, 5);
    const v128_t q = wasm_i32x4_shuffle(*a, *b, 2, 6, 3, 7);
    const v128_t r = wasm_i32x4_shuffle(*c, *d, 0, 4, 1, 5);
    const v128_t s = wasm_i32x4_shuffle(*c, *d, 2, 6, 3, 7);
    *a = wasm_i32x4_shuffle(p, r, 0, 1, 4, 5), *b = wasm_i32x4_shuffle(p, r, 2, 3, 6, 7);
    *c = wasm_i32x4_shuffle(q, s, 0, 1, 4, 5), *d = wasm_i32x4_shuffle(q, s, 2, 3, 6, 7);
}

/* Are this engine's multiply-adds rounded once? (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24, whose last bit a
   float does not hold. */
static int SWIN__FN(fuses)(void)
{
    const swin__v16 x = swin__vset1(1.0f + 1.0f / 4096);
    const swin__v16 y = swin__vset1(1.0f + 1.0f / 2048);
    const swin__v16 over = swin__vfma(x, x, swin__vsub(swin__vset1(0.0f), y));
    return swin__vlowest(over) > 0 && swin__vhighest(swin__vnfma(x, x, y)) < 0;
}

/* --- NEON with dot products, and with products of matrices: the same but for eight bits ------- */

#elif defined(SWIN__PASS_neon_dot)

#define SWIN__ONLY_8
#if SWIN__TARGETS_ARM
#define SWIN__TARGET
#pragma GCC push_options
#pragma GCC diagnostic push
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#define SWIN__CPU SWIN_CPU_NEON_DOT
#define SWIN__FN(name) swin__##name##_neon
#define SWIN__FN_8(name) swin__##name##_neon_dot

#elif defined(SWIN__PASS_neon_i8mm)

#define SWIN__ONLY_8
#if SWIN__TARGETS_ARM
#define SWIN__TARGET
#pragma GCC push_options
#pragma GCC diagnostic push
#pragma GCC target("arch=armv8.2-a+i8mm")
#endif

#define SWIN__CPU SWIN_CPU_NEON_I8MM
#define SWIN__FN(name) swin__##name##_neon
#define SWIN__FN_8(name) swin__##name##_neon_i8mm

#endif /* the vocabularies */

#ifdef SWIN__FOUR_REGISTERS
SWIN__INLINE void swin__vstream(float *p, swin__v16 v) { swin__vstore(p, v); }
SWIN__INLINE void swin__vdrain(void) {}
SWIN__INLINE swin__v16 swin__vkeep(swin__v16 v, int n)
{
    return swin__vlt(swin__vload(swin__lanes), swin__vset1((float)n), v, swin__vset1(0.0f));
}
SWIN__INLINE void swin__vtranspose(swin__v16 *a, swin__v16 *b, swin__v16 *c, swin__v16 *d)
{
    SWIN__FN(transpose4)(&a->a, &b->a, &c->a, &d->a);
    SWIN__FN(transpose4)(&a->b, &b->b, &c->b, &d->b);
    SWIN__FN(transpose4)(&a->c, &b->c, &c->c, &d->c);
    SWIN__FN(transpose4)(&a->d, &b->d, &c->d, &d->d);
}
SWIN__INLINE swin__v16 swin__vhalves(const uint16_t *p)
{
    const swin__v16 v = {SWIN__FN(halves)(p), SWIN__FN(halves)(p + 4), SWIN__FN(halves)(p + 8),
                         SWIN__FN(halves)(p + 12)};
    return v;
}
SWIN__INLINE swin__v16 swin__vints(const int32_t *p)
{
    const swin__v16 v = {SWIN__FN(ints)(p), SWIN__FN(ints)(p + 4), SWIN__FN(ints)(p + 8),
                         SWIN__FN(ints)(p + 12)};
    return v;
}
SWIN__INLINE swin__v16 swin__vquad(const void *p, int at)
{
    const signed char *quads = (const signed char *)p;
    const swin__v16 v = {SWIN__FN(quad)(quads, at), SWIN__FN(quad)(quads + 16, at),
                         SWIN__FN(quad)(quads + 32, at), SWIN__FN(quad)(quads + 48, at)};
    return v;
}
SWIN__INLINE void swin__vpack(void *p, swin__v16 a, swin__v16 b, swin__v16 c, swin__v16 d)
{
    signed char *quads = (signed char *)p;
    SWIN__FN(pack)(quads, a.a, b.a, c.a, d.a), SWIN__FN(pack)(quads + 16, a.b, b.b, c.b, d.b);
    SWIN__FN(pack)(quads + 32, a.c, b.c, c.c, d.c), SWIN__FN(pack)(quads + 48, a.d, b.d, c.d, d.d);
}
SWIN__2(swin__vwider, SWIN__FN(wider))
#undef SWIN__FOUR_REGISTERS
#endif

#ifdef SWIN__LOW
/* What both x86 passes share: down the tree from the two halves of the sixteen lanes. */
#define SWIN__FOLD(name, f) \
    SWIN__INLINE float name(swin__v16 v) \
    { \
        const __m256 h = _mm256_##f##_ps(SWIN__LOW(v), SWIN__HIGH(v)); \
        __m128 q = _mm_##f##_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)); \
        q = _mm_##f##_ps(q, _mm_movehl_ps(q, q)); \
        return _mm_cvtss_f32(_mm_##f##_ss(q, _mm_shuffle_ps(q, q, 1))); \
    }
SWIN__FOLD(swin__vsum, add)
SWIN__FOLD(swin__vhighest, max)
SWIN__FOLD(swin__vlowest, min)
SWIN__INLINE float swin__vwidest(swin__v16 v)
{
    const __m256i h = _mm256_max_epi32(_mm256_castps_si256(SWIN__LOW(v)),
                                       _mm256_castps_si256(SWIN__HIGH(v)));
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(q));
}
#undef SWIN__LOW
#undef SWIN__HIGH
#endif

#if defined(SWIN__PASS) && !defined(SWIN__ONLY_8)

/* What kernels share is inlined into each, anew for the shapes that are constants there. */
#ifndef SWIN__REPEATED
#define SWIN__REPEATED SWIN__INLINE
#endif

/* exp(x) for x <= 88, within 2 units in the last place; below -87, where floats get denormal,
   exactly 0. x = n ln 2 + r with whole n and |r| <= ln 2 / 2; ln 2 is taken away in two parts, the
   first short enough for n * part to be exact. exp(r) = 1 + r Q(r), Q of degree 4 minimising the
   largest relative error (9.2e-8), found by linear programming and rounded to floats. */
SWIN__REPEATED swin__v16 SWIN__FN(exp)(swin__v16 x)
{
    const swin__v16 magic = swin__vset1(SWIN__MAGIC), one = swin__vset1(1.0f);
    const swin__v16 t = swin__vfma(x, swin__vset1(1.44269504f), magic); /* x / ln 2, rounded */
    const swin__v16 n = swin__vsub(t, magic);
    swin__v16 r = swin__vnfma(n, swin__vset1(0.693359375f), x);
    r = swin__vnfma(n, swin__vset1(-2.12194440e-4f), r);
    swin__v16 p = swin__vset1(0.00829027221f);
    p = swin__vfma(p, r, swin__vset1(0.0418981612f));
    p = swin__vfma(p, r, swin__vset1(0.166676387f));
    p = swin__vfma(p, r, swin__vset1(0.499991477f));
    p = swin__vfma(p, r, swin__vset1(0.999999702f));
    p = swin__vpow2(swin__vfma(p, r, one), t);
    return swin__vlt(x, swin__vset1(-87.0f), swin__vset1(0.0f), p);
}

/* GELU, x Phi(x) with Phi the normal distribution = max(x, 0) - |x| Phi(-|x|). The fourth root of
   Phi(-t) is close to a polynomial: degree 8 on [0, 5.6] brings Phi(-t) within 5.2e-8 (weighted
   minimax by linear programming, rounded to floats). Beyond 5.6 the term is below 1e-10. Largest
   error of all, rounding included: 1.4e-7 max(1, |x|); with the exact erf in floats 1.1e-7. */
SWIN__REPEATED swin__v16 SWIN__FN(gelu16)(swin__v16 x)
{
    const swin__v16 t = swin__vmin(swin__vabs(x), swin__vset1(5.6f));
    swin__v16 p = swin__vset1(-3.40829706e-06f);
    p = swin__vfma(p, t, swin__vset1(5.85414855e-05f));
    p = swin__vfma(p, t, swin__vset1(-0.000308168732f));
    p = swin__vfma(p, t, swin__vset1(-3.30642288e-05f));
    p = swin__vfma(p, t, swin__vset1(0.00379237323f));
    p = swin__vfma(p, t, swin__vset1(0.00465232274f));
    p = swin__vfma(p, t, swin__vset1(-0.050198786f));
    p = swin__vfma(p, t, swin__vset1(-0.167733863f));
    p = swin__vfma(p, t, swin__vset1(0.840896428f));
    p = swin__vmul(p, p);
    p = swin__vmul(p, p);
    return swin__vnfma(t, p, swin__vmax(x, swin__vset1(0.0f)));
}

#endif /* SWIN__PASS */

/* -------------------------------------------------------------------------- */
/* >>kernels: the inner loops, once per pass

   The loops that take the time, and the choice among their passes. A map is
   rows of floats `ld` apart (ldd, lds, ...: those of dst, src, ...), padded to
   a multiple of 16 columns (n16, w16); the padding holds zeros and gets what
   the formula makes of them. Pointers may have any alignment; 64 bytes is
   fastest. Nothing is shared, nothing allocated.

   Every result is the same in every pass: an output is a sum in the order
   given here, one fused multiply-add a term (of two roundings where
   swin_cpu_exact says no).

   To add an instruction set:
   1. A row in SWIN_CPU_LIST, after the sets it is better than.
   2. In >>numbers SWIN__BUILDS_name: 1 where the compiler can build it, else 0; and the header of
      its intrinsics.
   3. In >>numbers its vector, a section like the others: SWIN__CPU, SWIN__FN, the type swin__v16
      and every word of the vocabulary. It also states the shapes of a product's microtiles, by what
      its registers hold: SWIN__ROWS_OF_1 rows of one panel, SWIN__ROWS_OF_2 rows of two panels (0:
      the pass has none of these); and SWIN__DEPTH, the terms whose panels its cache holds.
      Where functions need target options: SWIN__TARGET and the pragmas.
   4. At the end of >>kernels the inclusion of this file for the pass, and swin__detects_name.
   A set that only adds products of eight bits to another shares all else with it: see avx2_vnni.
   tests/kernels.c then holds it against the scalar pass. A pass whose registers the microtile
   written for all does not use well brings one of its own, as AVX2, NEON and WebAssembly do. */

#ifndef SWIN__PASS

/* The activations that a product can end with; SWIN__LINEAR is none. */
enum { SWIN__LINEAR, SWIN__RELU, SWIN__GELU };

/* What weights are stored as; blobs hold these numbers. */
enum { SWIN__F32 = 0, SWIN__F16 = 1, SWIN__S8 = 3 };
static int swin__is_f16(int type) { return SWIN__HAS_F16 && type == SWIN__F16; }
static int swin__is_s8(int type) { return SWIN__HAS_INT8 && type == SWIN__S8; }

/* A quantised row: its scale, a float, at the start; from float SWIN__NUMBERS on its numbers, -127
   ... 127, which times the scale are about what the row was. How they are stored is the pass's
   own; before and behind them are zeros, three at least. It takes at most the floats of the row
   that it was made from, padded to a multiple of 16. */
enum { SWIN__NUMBERS = 4 };

/* The score of a key or class that does not exist, in the padding: its exp is exactly 0 beside any
   real score, and unlike an infinity it can be subtracted from itself. */
#define SWIN__NO_SCORE (-1e30f)

/* Rows that LayerNorm takes together: enough for one's sums not to wait for another's. */
enum { SWIN__NORM_TOGETHER = 8 };

/* C = act(init + A B), element by element a sum over k in order; where onto is given, onto += C
   afterwards. */
typedef struct swin__product {
    int m, n, k;          /* m is at least 1, n a multiple of 16 */
    const float *a;       /* [m][k], rows lda apart */
    size_t lda;
    int type;             /* of B's numbers: SWIN__F32, SWIN__F16, or SWIN__S8 for gemm8 */
    const float *b;       /* [k][n]: panel p, columns 16 p .. 16 p + 15, starts at b + p * panel, */
    size_t ldb, panel;    /* its rows ldb apart. Weights in panels have ldb = 16, panel = 16 k; a
                             plain matrix with rows ld apart has ldb = ld, panel = 16. f16 numbers
                             are in panels and take half of a float: ldb = 8, panel = 8 k */
    const float *init;    /* [m][n], rows ldi apart, 0: one row for all; NULL: +0; may be c */
    size_t ldi;
    float *c;             /* [m][n], rows ldc apart */
    size_t ldc;
    int act;              /* SWIN__LINEAR, SWIN__RELU, SWIN__GELU */
    float *onto;          /* [m][n], rows ldo apart, or NULL */
    size_t ldo;
    const float *next_b, *next_c; /* b and c of the product that follows, to prefetch; or NULL */
    int next_rows;        /* rows of 16 floats to prefetch from next_b in each of two panels, and */
    size_t next_panel;    /* how far the second one is; rows 0: as in b */
    /* the rest is gemm8's: A's rows are quantised ones, lda floats apart, and B's panels are quads,
       as in >>blob, with ldb = 16 */
    const float *column;  /* [n], the scales of B's columns */
    int lead;             /* B starts at term `lead` of its first quad, 0 ... 3 */
    int pieces;           /* 0: A and B are as they stand. Else they are that many pieces of k */
    const size_t *piece_a;/* terms each, whose products add up: rows of A's piece i lie */
    size_t piece_b;       /* piece_a[i] floats further on, B's i * piece_b; lead is 0 */
} swin__product;

/* A tile of Winograd's has 8 values along each axis, 8 x 8 planes in all, or fewer; with eight bits
   6 of them. Pointers to its pixels' rows are [8][8]. */
enum { SWIN__WINO_SIDE = 8, SWIN__WINO_PLANES = 64, SWIN__WINO8_SIDE = 6, SWIN__WINO8_PLANES = 36 };

/* Where a tile's products are transformed back to, and how: rows[8 y + x][n16] = act(start + pixel
   (y, x)), where that row is not NULL. A plane of src is [n16]. */
typedef struct swin__wino_output {
    float *const *rows;   /* [SWIN__WINO_PLANES]; NULL: a pixel outside the map or the tile */
    const float *start;   /* [n16], or NULL: +0; with accumulate rows start from what they hold */
    int accumulate, act;
    const float *src;     /* [plane][n16], `stride` floats from plane to plane */
    size_t stride;
    int n16, pairs_h, pairs_w, taps;
    int uncached;         /* 1: the pixels are not needed soon and are written past the caches;
                             `rows` are then aligned to 64 bytes */
    int eight;            /* 1: by the points of eight bits, two pairs along both axes or one */
} swin__wino_output;

/* Samples of a map between its pixels: number i is factor[i] times the bilinear mix of the four
   pixels around row y[i], column x[i]; what lies beyond the map's ends is zero. */
typedef struct swin__samples {
    const float *map;     /* [h][w] pixels `ld` floats apart */
    size_t ld;
    int h, w, count;
    const float *y, *x, *factor;
} swin__samples;

/* The table of kernels: name and parameters. What each does stands above its body. */
#define SWIN__KERNELS(X) \
    X(gemm, (const swin__product *p)) \
    X(relu, (float *x, size_t ld, int rows, int n16)) \
    X(gelu, (float *x, size_t ld, int rows, int n16)) \
    X(sigmoid, (float *x, size_t ld, int rows, int n16)) \
    X(norm, (float *dst, size_t ldd, const float *src, size_t lds, int rows, int n, \
             const float *weight, const float *bias, float eps)) \
    X(moments, (float *sum, float *spread, const float *src, size_t ld, int rows, int n16)) \
    X(normalise, (float *x, size_t ld, int rows, int n16, const float *mean, const float *factor, \
                  const float *bias, int act)) \
    X(softmax, (float *s, size_t ld, int rows, int n16, const float *region, float mask, \
                float *inverse)) \
    X(scale, (float *x, size_t ld, int rows, int n16, const float *factor)) \
    X(excite, (float *x, size_t ld, int rows, int n16, const float *column, const float *row, \
               size_t ldr)) \
    X(add, (float *x, size_t ldx, const float *y, size_t ldy, int rows, int n16)) \
    X(copy, (float *dst, size_t ldd, const float *src, size_t lds, int rows, int n16)) \
    X(window_bias, (float *rows, int lanes, const float *bands, int tokens, int h, int w)) \
    X(transpose, (float *dst, const float *src, size_t ld, int rows, int w16)) \
    X(combine, (float *dst, int n16, const float *const *src, const float *coef, int count, \
                int accumulate)) \
    X(pixels, (float *dst, const unsigned char *src, int n, float weight, int accumulate)) \
    X(labels, (void *dst, int bytes, int count, const float *row, size_t ld, const int *at, \
               const float *coef, int taps, int classes))

/* Those that not every build needs: X(is it needed, name, parameters). */
#define SWIN__KERNELS_IF(X) \
    X(SWIN__HAS_V2, unit_vectors, (float *x, size_t ld, int rows, int w16, float scale)) \
    X(SWIN__HAS_GLAM || SWIN__HAS_MIT || SWIN__HAS_QUERIES, softmax_block, \
      (float *s, size_t ld, int rows, int n16, float *top, float *sum, float *out, size_t ldo, \
       int w16)) \
    X(SWIN__HAS_MIT, depthwise, \
      (float *dst, size_t ldd, const float *src, size_t ld, size_t row, int count, int n16, \
       const float *weight, size_t ldw, const float *bias)) \
    X(SWIN__HAS_QUERIES || SWIN__HAS_BIREFNET, sample, \
      (float *dst, size_t ldd, int n16, const swin__samples *s, int accumulate)) \
    X(SWIN__HAS_F16, widen, (float *dst, const uint16_t *src, size_t n16)) \
    X(SWIN__REWRITES, wino_weights, \
      (float *dst, size_t stride, const void *src, int type, size_t tap, int k, int taps_h, \
       int taps_w)) \
    X(SWIN__REWRITES, wino_input, \
      (float *dst, size_t stride, const float *const *rows, int n16, int pairs_h, int pairs_w, \
       int eight)) \
    X(SWIN__REWRITES, wino_output, (const swin__wino_output *w)) \
    X(SWIN__REWRITES && SWIN__HAS_INT8, wino8_weights, \
      (float *dst, size_t stride, float *column, size_t ldc, const float *src, size_t tap, \
       const float *scale, int k, int taps_h, int taps_w))

/* Those of eight bits, which some instruction sets have alone that share the others. */
#define SWIN__KERNELS_8(X) \
    X(SWIN__HAS_INT8, gemm8, (const swin__product *p)) \
    X(SWIN__HAS_INT8, quantise, \
      (float *dst, size_t ldd, const float *src, size_t lds, int rows, int n, int together))

#define SWIN__MEMBER(name, parameters) void (*name) parameters;
#define SWIN__MEMBER_IF(needed, name, parameters) void (*name) parameters;
typedef struct swin__kernels {
    swin_cpu cpu;
    SWIN__KERNELS(SWIN__MEMBER)
    SWIN__KERNELS_IF(SWIN__MEMBER_IF)
    SWIN__KERNELS_8(SWIN__MEMBER_IF)
} swin__kernels;
#undef SWIN__MEMBER
#undef SWIN__MEMBER_IF

/* Four numbers of a quantised row, wherever they lie. */
typedef struct swin__quad { uint8_t x[4]; } swin__quad;
typedef struct swin__quad16 { int16_t x[4]; } swin__quad16;

/* One microtile of a product, whose sums stay in registers: up to SWIN__ROWS_OF_1 rows of one panel
   of 16 columns of C, or SWIN__ROWS_OF_2 of two panels, over k terms. It also prefetches the next
   microtile's part of C, or what its own sums are added onto, and a share of the weights that
   follow: one cache line every few terms, as a burst would wait for its own misses. */
typedef struct swin__microtile {
    int k, act;
    int left;             /* microtiles of these columns from this one down */
    const float *a;       /* a, b, init, c, onto and their strides: as in swin__product */
    size_t lda;
    const float *b;
    size_t ldb, panel;
    const float *init;    /* not NULL */
    size_t ldi;
    float *c;
    size_t ldc;
    float *onto;
    size_t ldo;
    const float *next_b;  /* the weights that follow, without those prefetched already: */
    int next_rows, share; /* so many rows, of which each microtile prefetches `share`, */
    size_t next_panel;    /* and if this is not 0, also those so many floats further on */
    const float *next_c;  /* the first rows of the columns that follow, or NULL */
    /* of gemm8, where k counts quads: as in swin__product, with one piece at least */
    const float *column;
    int lead, pieces;
    const size_t *piece_a;
    size_t piece_b;
    const int32_t *start; /* [two panels]: what the sums of each column start from */
} swin__microtile;

static const float swin__zeros[32] = {0}; /* two panels wide, as the widest microtile */

/* So many cache lines to prefetch, the first at `at`. The second lies `hop` floats on, the third
   `pair` floats, and so forth: the two lines of a row, then those of the next. */
typedef struct swin__lines {
    const float *at;
    ptrdiff_t hop, pair;
    int left;
} swin__lines;

/* The lines of so many rows `ld` apart: two in each, `second` floats apart, or one if that is 0. */
SWIN__INLINE swin__lines swin__row_lines(const float *at, size_t ld, size_t second, int rows)
{
    swin__lines ahead;
    ahead.at = at;
    ahead.hop = (ptrdiff_t)(second ? second : ld);
    ahead.pair = (ptrdiff_t)(second ? ld : 2 * ld);
    ahead.left = second ? 2 * rows : rows;
    return ahead;
}

/* Prefetches the next line; when none are left, *next takes over. */
SWIN__INLINE void swin__prefetch_line(swin__lines *now, const swin__lines **next)
{
    while (now->left == 0) *now = *(*next)++;
    SWIN__PREFETCH(now->at);
    now->at += now->hop;
    now->hop = now->pair - now->hop;
    now->left--;
}

/* The microtile's share of the weights that follow; the one below it takes the next share. */
SWIN__INLINE swin__lines swin__weight_lines(swin__microtile *t)
{
    const int rows = t->next_rows < t->share ? t->next_rows : t->share;
    const float *from = t->next_b;
    t->next_b += (size_t)rows * t->ldb;
    t->next_rows -= rows;
    return swin__row_lines(from, t->ldb, t->next_panel, rows);
}

/* What the microtile is added onto, or where the sums of the one that follows will be. */
SWIN__INLINE swin__lines swin__sum_lines(const swin__microtile *t, int rows, int panels)
{
    const float *below = t->left > 1 ? t->c + (size_t)rows * t->ldc : t->next_c;
    const size_t second = 16 * ((size_t)panels - 1);
    if (t->onto) return swin__row_lines(t->onto, t->ldo, second, rows);
    return swin__row_lines(below, t->ldc, second, below ? rows : 0);
}

/* Declares all that a microtile prefetches: sums, weights, then again and again the same line. */
#define SWIN__PREFETCHES(t, rows, panels) \
    swin__lines weights[2] = { {NULL, 0, 0, 0}, {(t)->b, 0, 0, INT32_MAX} }, ahead; \
    const swin__lines *next = weights; \
    weights[0] = swin__weight_lines(t); \
    ahead = swin__sum_lines(t, rows, panels)

/* SWIN__UP_TO(n, X) is X(1) X(2) ... X(n). */
#define SWIN__UP_TO_0(X)
#define SWIN__UP_TO_1(X)  X(1)
#define SWIN__UP_TO_2(X)  SWIN__UP_TO_1(X) X(2)
#define SWIN__UP_TO_3(X)  SWIN__UP_TO_2(X) X(3)
#define SWIN__UP_TO_4(X)  SWIN__UP_TO_3(X) X(4)
#define SWIN__UP_TO_5(X)  SWIN__UP_TO_4(X) X(5)
#define SWIN__UP_TO_6(X)  SWIN__UP_TO_5(X) X(6)
#define SWIN__UP_TO_7(X)  SWIN__UP_TO_6(X) X(7)
#define SWIN__UP_TO_8(X)  SWIN__UP_TO_7(X) X(8)
#define SWIN__UP_TO_9(X)  SWIN__UP_TO_8(X) X(9)
#define SWIN__UP_TO_10(X) SWIN__UP_TO_9(X) X(10)
#define SWIN__UP_TO_11(X) SWIN__UP_TO_10(X) X(11)
#define SWIN__UP_TO_12(X) SWIN__UP_TO_11(X) X(12)
#define SWIN__UP_TO_13(X) SWIN__UP_TO_12(X) X(13)
#define SWIN__UP_TO_14(X) SWIN__UP_TO_13(X) X(14)
#define SWIN__UP_TO_15(X) SWIN__UP_TO_14(X) X(15)
#define SWIN__UP_TO_16(X) SWIN__UP_TO_15(X) X(16)
#define SWIN__UP_TO(n, X) SWIN__UP_TO_THE(n, X)
#define SWIN__UP_TO_THE(n, X) SWIN__UP_TO_##n(X)

/* What the microtiles prefetch that compute terms k .. k + t->k - 1 of the columns from n to
   end - 1: the weights of the columns after these, or of the next terms, or of the next product. */
static void swin__plan_prefetches(swin__microtile *t, const swin__product *p, int n, int k, int end)
{
    const int col_count = p->n - end, last = k + t->k == p->k, panels = (end - n) / 16;
    const float *next_b = col_count ? t->b + (size_t)panels * p->panel
                        : last ? p->next_b : p->b + (size_t)(k + t->k) * p->ldb;
    t->next_b = next_b ? next_b : t->b;
    t->next_rows = next_b ? t->k : 0;
    t->next_panel = panels == 1 || col_count == 16 ? 0 : p->panel;
    if (next_b && next_b == p->next_b && p->next_rows) {
        t->next_rows = p->next_rows;
        t->next_panel = panels == 1 ? 0 : p->next_panel;
    }
    t->share = (t->next_rows + t->left - 1) / t->left;
    t->next_c = col_count ? p->c + end : last ? p->next_c : p->c;
}

/* The topmost of some microtiles that compute terms k .. k + depth - 1 of the columns from n on.
   Sums of later terms start from those of earlier ones, which are in C. */
static swin__microtile swin__top_microtile(const swin__product *p, int n, int k, int depth,
                                           int tiles)
{
    const int last = k + depth == p->k;
    swin__microtile t;
    memset(&t, 0, sizeof t);
    t.k = depth, t.act = last ? p->act : SWIN__LINEAR, t.left = tiles;
    t.a = p->a + k, t.lda = p->lda;
    t.b = p->b + (size_t)(n / 16) * p->panel + (size_t)k * p->ldb, t.ldb = p->ldb;
    t.panel = p->panel;
    t.init = swin__zeros;
    if (k > 0) t.init = p->c + n, t.ldi = p->ldc;
    else if (p->init) t.init = p->init + n, t.ldi = p->ldi;
    t.c = p->c + n, t.ldc = p->ldc;
    t.onto = last && p->onto ? p->onto + n : NULL, t.ldo = p->ldo;
    if (p->column) t.column = p->column + n;
    t.lead = p->lead, t.pieces = p->pieces, t.piece_a = p->piece_a, t.piece_b = p->piece_b;
    return t;
}

/* Computes `count` microtiles of one shape, the first being t, one below the other. */
typedef void (*swin__microtiles)(swin__microtile *t, int count);

/* A pass's functions for each shape, of one panel and of two: by[panels - 1][rows - 1], up to
   most[panels - 1] rows, 0 where there are none. */
typedef struct swin__shapes {
    const swin__microtiles *by[2];
    int most[2];
} swin__shapes;

/* The panels of the microtiles for columns n ... of a product: two, or one where the pass or C has
   no more. */
static int swin__panels_at(const swin__product *p, int n, const swin__shapes *shapes)
{
    return shapes->most[1] > 0 && p->n - n >= 32 ? 2 : 1;
}

/* All rows of these panels, over terms k .. k + depth - 1. The rows are cut into microtiles of
   nearly equal height, the taller ones first. start: gemm8's. */
static void swin__compute_panels(const swin__product *p, int n, int panels, int k, int depth,
                                 const int32_t *start, const swin__shapes *shapes)
{
    const int most = shapes->most[panels - 1], tiles = (p->m + most - 1) / most;
    const int rows = p->m / tiles, taller = p->m % tiles;
    swin__microtile t = swin__top_microtile(p, n, k, depth, tiles);
    t.start = start;
    swin__plan_prefetches(&t, p, n, k, n + 16 * panels);
    if (taller) shapes->by[panels - 1][rows](&t, taller);
    shapes->by[panels - 1][rows - 1](&t, tiles - taller);
}

/* The part of a product that makes columns n .. n + wide - 1 from terms k .. k + deep - 1. Sums of
   later terms start from those of earlier ones, which are in C. */
static swin__product swin__part_of(const swin__product *p, int n, int wide, int k, int deep)
{
    const int last = k + deep == p->k, rightmost = n + wide == p->n;
    swin__product part = *p;
    part.n = wide, part.k = deep, part.a += k, part.c += n;
    part.b += (size_t)(n / 16) * p->panel + (size_t)k * p->ldb;
    if (k > 0) part.init = p->c, part.ldi = p->ldc;
    if (part.init) part.init += n;
    if (!last) part.act = SWIN__LINEAR, part.onto = NULL;
    if (part.onto) part.onto += n;
    part.next_b = !rightmost ? part.b + (size_t)(wide / 16) * p->panel
                  : last     ? p->next_b
                             : p->b + (size_t)(k + deep) * p->ldb;
    part.next_c = !rightmost ? part.c + wide : last ? p->next_c : p->c;
    return part;
}

/* Winograd along one axis, with `pairs` (0 to 3) pairs of points; without pairs a pixel is not
   transformed. Does a tile have value p of the eight? */
SWIN__INLINE int swin__wino_has(int p, int pairs)
{
    return p <= 2 * pairs || (pairs > 0 && p == SWIN__WINO_SIDE - 1);
}
/* The places for a tile's values: eight, as those of fewer pairs keep theirs among them, or one;
   with eight bits, where all that have pairs have two, six or one. */
SWIN__INLINE int swin__wino_values(int pairs, int eight)
{
    return pairs == 0 ? 1 : eight ? SWIN__WINO8_SIDE : SWIN__WINO_SIDE;
}
/* The place of value p, one that a tile has, among these: the last one is that at infinity. */
SWIN__INLINE int swin__wino_place(int p, int eight)
{
    return eight && p == SWIN__WINO_SIDE - 1 ? SWIN__WINO8_SIDE - 1 : p;
}
/* The pixels that a tile takes in. */
SWIN__INLINE int swin__wino_takes(int pairs) { return pairs > 0 ? 2 * pairs + 2 : 1; }
/* The pixels that it makes, if the filter has so many taps. */
SWIN__INLINE int swin__wino_makes(int pairs, int taps)
{
    return pairs > 0 ? 2 * pairs + 3 - taps : 1;
}
/* Of a filter's three taps all count, the outer two, or the middle one: which is the i-th? */
SWIN__INLINE int swin__wino_tap(int taps, int i) { return taps == 3 ? i : taps == 2 ? 2 * i : 1; }

/* The points of the three pairs, p and -p, and their squares. */
#define SWIN__POINT_A 1.0f
#define SWIN__POINT_B 2.0f
#define SWIN__POINT_C 0.5f
#define SWIN__SQUARE_A 1.0f
#define SWIN__SQUARE_B 4.0f
#define SWIN__SQUARE_C 0.25f
/* Of the two pairs that tiles of eight bits have: rounding each plane to whole numbers then errs
   the least, by a third of what the points 1 and 2 would. */
#define SWIN__POINT_A8 0.625f
#define SWIN__POINT_B8 1.5f
#define SWIN__SQUARE_A8 0.390625f
#define SWIN__SQUARE_B8 2.25f

/* The transformed weights are those of all three pairs: for a tile of fewer pairs, they have been
   divided by one factor too many for each pair that it leaves out. The product of these factors, at
   a point whose square this is. */
SWIN__INLINE float swin__wino_left_out(float square, int pairs)
{
    return (pairs < 2 ? square - SWIN__SQUARE_B : 1.0f) *
           (pairs < 3 ? square - SWIN__SQUARE_C : 1.0f);
}

#endif /* !SWIN__PASS */

#if defined(SWIN__PASS) && !defined(SWIN__ONLY_8)

/* --- the product ------------------------------------------------------------------------------ */

/* SWIN__MICROTILE_1(t, rows) and SWIN__MICROTILE_2(t, rows) compute a microtile of one panel or
   two.

   This one serves passes that state none of their own: it takes one row of weights at a time and
   broadcasts each value of A. */
#if !defined(SWIN__MICROTILE_1_BY_ELEMENT) && !defined(SWIN__MICROTILE_1_BY_HALVES)

/* X(row, the pointer it is reached from, and how many rows on). Five pointers reach all rows with
   the strides lda and 2 lda, both of which x86 can add while addressing: nothing spills. */
#define SWIN__ROWS(X, j) \
    X(0, a0, 0, j)  X(1, a0, 1, j)   X(2, a0, 2, j)   X(3, a3, 0, j)   X(4, a3, 1, j) \
    X(5, a3, 2, j)  X(6, a6, 0, j)   X(7, a6, 1, j)   X(8, a6, 2, j)   X(9, a9, 0, j) \
    X(10, a9, 1, j) X(11, a9, 2, j)  X(12, a12, 0, j) X(13, a12, 1, j)
#define SWIN__START(i, p, s, j) \
    swin__v16 c##i = zero, d##i = zero; \
    if (rows > i) { \
        c##i = swin__vload(t->init + i * t->ldi); \
        if (panels > 1) d##i = swin__vload(t->init + i * t->ldi + 16); \
    }
/* c += value w0; with two panels d += value w1. A pass may have its own way. */
#ifndef SWIN__TIMES
#define SWIN__TIMES(c, d, value, w0, w1, panels) \
    { \
        const swin__v16 x = swin__vset1(value); \
        c = swin__vfma(x, w0, c); \
        if (panels > 1) d = swin__vfma(x, w1, d); \
    }
#endif
#define SWIN__TERM(i, p, s, j) \
    if (rows > i) SWIN__TIMES(c##i, d##i, p[s * lda + j], w0, w1, panels)
#define SWIN__STEP(j) \
    { \
        const swin__v16 w0 = swin__vload(b), w1 = panels > 1 ? swin__vload(b + panel) : zero; \
        SWIN__ROWS(SWIN__TERM, j) \
        b += ldb; \
    }
#define SWIN__FINISH(i, p, s, j) \
    if (rows > i) { \
        swin__vstore(t->c + i * t->ldc, c##i); \
        if (panels > 1) swin__vstore(t->c + i * t->ldc + 16, d##i); \
    }

/* Wherever this is inlined, rows and panels are constants: the compiler drops the code of all rows
   and panels beyond them. */
SWIN__INLINE void SWIN__FN(microtile)(swin__microtile *t, int rows, int panels)
{
    const swin__v16 zero = swin__vset1(0.0f);
    const size_t lda = t->lda, ldb = t->ldb, panel = t->panel;
    const float *a0 = t->a, *b = t->b;
    const float *a3 = rows > 3 ? a0 + 3 * lda : a0, *a6 = rows > 6 ? a0 + 6 * lda : a0;
    const float *a9 = rows > 9 ? a0 + 9 * lda : a0, *a12 = rows > 12 ? a0 + 12 * lda : a0;
    SWIN__PREFETCHES(t, rows, panels);
    int k = t->k;
    SWIN__ROWS(SWIN__START, 0)
    for (; k >= 2; k -= 2, a0 += 2, a3 += 2, a6 += 2, a9 += 2, a12 += 2) {
        SWIN__STEP(0)
        SWIN__STEP(1)
        swin__prefetch_line(&ahead, &next);
    }
    if (k > 0) SWIN__STEP(0)
    SWIN__ROWS(SWIN__FINISH, 0)
}
#undef SWIN__ROWS
#undef SWIN__START
#undef SWIN__TERM
#undef SWIN__STEP
#undef SWIN__FINISH
#endif

/* AVX2's microtile of two panels: one register of weights after the other, each for all rows. That
   makes seven loads for twelve multiply-adds, one less than 6 x 16 needs. */
#ifdef SWIN__MICROTILE_2_BY_REGISTER
#define SWIN__START(i) \
    __m256 a##i = zero, b##i = zero, c##i = zero, d##i = zero; \
    if (rows > i) { \
        const float *from = t->init + i * t->ldi; \
        a##i = _mm256_loadu_ps(from), b##i = _mm256_loadu_ps(from + 8); \
        c##i = _mm256_loadu_ps(from + 16), d##i = _mm256_loadu_ps(from + 24); \
    }
#define SWIN__COLUMN(sum, from) \
    { \
        const __m256 w = _mm256_loadu_ps(from); \
        sum##0 = _mm256_fmadd_ps(x0, w, sum##0); \
        if (rows > 1) sum##1 = _mm256_fmadd_ps(x1, w, sum##1); \
        if (rows > 2) sum##2 = _mm256_fmadd_ps(x2, w, sum##2); \
    }
#define SWIN__STEP(j) \
    { \
        const __m256 x0 = _mm256_broadcast_ss(x + j); \
        const __m256 x1 = rows > 1 ? _mm256_broadcast_ss(x + lda + j) : zero; \
        const __m256 x2 = rows > 2 ? _mm256_broadcast_ss(x + 2 * lda + j) : zero; \
        SWIN__COLUMN(a, w0 + j * ldb) \
        SWIN__COLUMN(b, w0 + j * ldb + 8) \
        SWIN__COLUMN(c, w0 + panel + j * ldb) \
        SWIN__COLUMN(d, w0 + panel + j * ldb + 8) \
    }
#define SWIN__FINISH(i) \
    if (rows > i) { \
        float *to = t->c + i * t->ldc; \
        _mm256_storeu_ps(to, a##i), _mm256_storeu_ps(to + 8, b##i); \
        _mm256_storeu_ps(to + 16, c##i), _mm256_storeu_ps(to + 24, d##i); \
    }
/* The sums of up to three rows of A and two panels, in twelve registers. */
SWIN__INLINE void SWIN__FN(microtile_by_register)(swin__microtile *t, int rows, size_t ldb)
{
    const __m256 zero = _mm256_setzero_ps();
    const size_t lda = t->lda, panel = t->panel;
    const float *x = t->a, *w0 = t->b;
    swin__lines weights = swin__weight_lines(t);
    int k = t->k;
    while (weights.left) swin__prefetch_line(&weights, NULL);
    SWIN__START(0) SWIN__START(1) SWIN__START(2)
    for (; k >= 2; k -= 2, x += 2, w0 += 2 * ldb) {
        SWIN__STEP(0)
        SWIN__STEP(1)
    }
    if (k > 0) SWIN__STEP(0)
    SWIN__FINISH(0) SWIN__FINISH(1) SWIN__FINISH(2)
}
#undef SWIN__START
#undef SWIN__COLUMN
#undef SWIN__STEP
#undef SWIN__FINISH
#define SWIN__MICROTILE_2(t, rows) /* ldb is 16 for weights in panels */ \
    if ((t)->ldb == 16) SWIN__FN(microtile_by_register)(t, rows, 16); \
    else SWIN__FN(microtile_by_register)(t, rows, (t)->ldb)
#endif

/* NEON's microtile: four terms of a row of A in a register, multiplied by element. A load that
   broadcasts would take a slot of the multiply-adds on many cores. */
#ifdef SWIN__MICROTILE_1_BY_ELEMENT
#define SWIN__START(i) \
    float32x4_t a##i = zero, b##i = zero, c##i = zero, d##i = zero, x##i = zero; \
    if (rows > i) { \
        const float *from = t->init + i * t->ldi; \
        a##i = vld1q_f32(from), b##i = vld1q_f32(from + 4); \
        c##i = vld1q_f32(from + 8), d##i = vld1q_f32(from + 12); \
    }
#define SWIN__COLUMN(sum, from, e) \
    { \
        const float32x4_t v = vld1q_f32(from); \
        sum##0 = vfmaq_laneq_f32(sum##0, v, x0, e); \
        if (rows > 1) sum##1 = vfmaq_laneq_f32(sum##1, v, x1, e); \
        if (rows > 2) sum##2 = vfmaq_laneq_f32(sum##2, v, x2, e); \
        if (rows > 3) sum##3 = vfmaq_laneq_f32(sum##3, v, x3, e); \
        if (rows > 4) sum##4 = vfmaq_laneq_f32(sum##4, v, x4, e); \
    }
#define SWIN__STEP(e) \
    SWIN__COLUMN(a, w, e) \
    SWIN__COLUMN(b, w + 4, e) \
    SWIN__COLUMN(c, w + 8, e) \
    SWIN__COLUMN(d, w + 12, e) \
    w += ldb;
#define SWIN__FOUR(i)  if (rows > i) x##i = vld1q_f32(x + i * lda);
#define SWIN__ONE(i)   if (rows > i) x##i = vdupq_n_f32(x[i * lda]);
#define SWIN__FINISH(i) \
    if (rows > i) { \
        float *to = t->c + i * t->ldc; \
        vst1q_f32(to, a##i), vst1q_f32(to + 4, b##i); \
        vst1q_f32(to + 8, c##i), vst1q_f32(to + 12, d##i); \
    }
#define SWIN__EACH_ROW(X) X(0) X(1) X(2) X(3) X(4)
/* The sums of up to five rows of A and one panel, in twenty registers. */
SWIN__INLINE void SWIN__FN(microtile_by_element)(swin__microtile *t, int rows)
{
    const float32x4_t zero = vdupq_n_f32(0.0f);
    const size_t lda = t->lda, ldb = t->ldb;
    const float *x = t->a, *w = t->b;
    SWIN__PREFETCHES(t, rows, 1);
    int k = t->k;
    SWIN__EACH_ROW(SWIN__START)
    for (; k >= 4; k -= 4, x += 4) {
        SWIN__EACH_ROW(SWIN__FOUR)
        SWIN__STEP(0)
        SWIN__STEP(1)
        swin__prefetch_line(&ahead, &next);
        SWIN__STEP(2)
        SWIN__STEP(3)
        swin__prefetch_line(&ahead, &next);
        swin__prefetch_line(&ahead, &next);
    }
    for (; k > 0; k--, x++) {
        SWIN__EACH_ROW(SWIN__ONE)
        SWIN__STEP(0)
    }
    SWIN__EACH_ROW(SWIN__FINISH)
}
#undef SWIN__START
#undef SWIN__COLUMN
#undef SWIN__STEP
#undef SWIN__FOUR
#undef SWIN__ONE
#undef SWIN__FINISH
#undef SWIN__EACH_ROW
#define SWIN__MICROTILE_1(t, rows) SWIN__FN(microtile_by_element)(t, rows)
#endif

/* WebAssembly's microtile: one half of the panel after the other, eight columns each. A value of A
   is loaded into all lanes of a register: shuffles would take a slot of the multiply-adds. */
#ifdef SWIN__MICROTILE_1_BY_HALVES
#define SWIN__EACH_ROW(X, j) X(0, j) X(1, j) X(2, j) X(3, j) X(4, j) X(5, j)
#define SWIN__START(i, j) \
    v128_t a##i = zero, b##i = zero; \
    const float *x##i = rows > i ? t->a + i * t->lda : t->a; \
    if (rows > i) { \
        const float *from = t->init + i * t->ldi + at; \
        a##i = wasm_v128_load(from), b##i = wasm_v128_load(from + 4); \
    }
#define SWIN__TERM(i, j) \
    if (rows > i) { \
        const v128_t x = wasm_v128_load32_splat(x##i + j); \
        a##i = SWIN__MADD(a##i, x, w0); \
        b##i = SWIN__MADD(b##i, x, w1); \
    }
#define SWIN__STEP(j) \
    { \
        const v128_t w0 = wasm_v128_load(w), w1 = wasm_v128_load(w + 4); \
        SWIN__EACH_ROW(SWIN__TERM, j) \
        w += ldb; \
    }
#define SWIN__FINISH(i, j) \
    if (rows > i) { \
        float *to = t->c + i * t->ldc + at; \
        wasm_v128_store(to, a##i), wasm_v128_store(to + 4, b##i); \
    }
/* The sums of up to six rows of A and the columns at ... at + 7 of one panel. */
SWIN__INLINE void SWIN__FN(half_microtile)(swin__microtile *t, int rows, int at, size_t ldb)
{
    const v128_t zero = wasm_f32x4_splat(0.0f);
    const float *w = t->b + at;
    int k = t->k;
    SWIN__EACH_ROW(SWIN__START, 0)
    for (; k >= 4; k -= 4, x0 += 4, x1 += 4, x2 += 4, x3 += 4, x4 += 4, x5 += 4) {
        SWIN__STEP(0)
        SWIN__STEP(1)
        SWIN__STEP(2)
        SWIN__STEP(3)
    }
    for (; k > 0; k--, x0++, x1++, x2++, x3++, x4++, x5++) SWIN__STEP(0)
    SWIN__EACH_ROW(SWIN__FINISH, 0)
}
#undef SWIN__EACH_ROW
#undef SWIN__START
#undef SWIN__TERM
#undef SWIN__STEP
#undef SWIN__FINISH
#define SWIN__MICROTILE_1(t, rows) \
    for (int at = 0; at < 16; at += 8) SWIN__FN(half_microtile)(t, rows, at, (t)->ldb)
#endif

#ifndef SWIN__MICROTILE_1
#define SWIN__MICROTILE_1(t, rows) SWIN__FN(microtile)(t, rows, 1)
#endif
#ifndef SWIN__MICROTILE_2
#define SWIN__MICROTILE_2(t, rows) SWIN__FN(microtile)(t, rows, 2)
#endif

/* x = max(x, 0), row by row */
static void SWIN__FN(relu)(float *x, size_t ld, int rows, int n16)
{
    for (int i = 0; i < rows; i++, x += ld)
        for (int c = 0; c < n16; c += 16)
            swin__vstore(x + c, swin__vmax(swin__vload(x + c), swin__vset1(0.0f)));
}

/* x = GELU(x), row by row */
static void SWIN__FN(gelu)(float *x, size_t ld, int rows, int n16)
{
    for (int i = 0; i < rows; i++, x += ld)
        for (int c = 0; c < n16; c += 16)
            swin__vstore(x + c, SWIN__FN(gelu16)(swin__vload(x + c)));
}

/* x = 1 / (1 + exp(-x)), row by row: by exp(-|x|), which is 1 at most */
static void SWIN__FN(sigmoid)(float *x, size_t ld, int rows, int n16)
{
    for (int i = 0; i < rows; i++, x += ld) {
        for (int c = 0; c < n16; c += 16) {
            float e[16];
            const swin__v16 size = swin__vabs(swin__vload(x + c));
            swin__vstore(e, SWIN__FN(exp)(swin__vsub(swin__vset1(0.0f), size)));
            for (int l = 0; l < 16; l++)
                x[c + l] = (x[c + l] < 0.0f ? e[l] : 1.0f) / (1.0f + e[l]);
        }
    }
}

/* x += y, row by row */
static void SWIN__FN(add)(float *x, size_t ldx, const float *y, size_t ldy, int rows, int n16)
{
    for (int i = 0; i < rows; i++, x += ldx, y += ldy)
        for (int c = 0; c < n16; c += 16)
            swin__vstore(x + c, swin__vadd(swin__vload(x + c), swin__vload(y + c)));
}

/* The activation and `onto` of a microtile whose sums are in C; then t is the one below it. */
SWIN__INLINE void SWIN__FN(finish)(swin__microtile *t, int rows, int panels)
{
    if (t->act == SWIN__RELU) SWIN__FN(relu)(t->c, t->ldc, rows, 16 * panels);
    if (t->act == SWIN__GELU) SWIN__FN(gelu)(t->c, t->ldc, rows, 16 * panels);
    if (t->onto) {
        SWIN__FN(add)(t->onto, t->ldo, t->c, t->ldc, rows, 16 * panels);
        t->onto += (size_t)rows * t->ldo;
    }
    t->a += (size_t)rows * t->lda;
    t->init += (size_t)rows * t->ldi;
    t->c += (size_t)rows * t->ldc;
    t->left--;
}

/* One function per shape of a microtile, so that no edge is computed and thrown away. Each computes
   `count` microtiles, one below the other. */
#define SWIN__SHAPE(rows, panels, compute) \
    static void SWIN__FN(microtiles##rows##x##panels)(swin__microtile *t, int count) \
    { \
        for (; count > 0; count--) { \
            compute(t, rows); \
            SWIN__FN(finish)(t, rows, panels); \
        } \
    }
#define SWIN__SHAPE_1(rows) SWIN__SHAPE(rows, 1, SWIN__MICROTILE_1)
#define SWIN__SHAPE_2(rows) SWIN__SHAPE(rows, 2, SWIN__MICROTILE_2)
#define SWIN__ENTRY_1(rows) SWIN__FN(microtiles##rows##x1),
#define SWIN__ENTRY_2(rows) SWIN__FN(microtiles##rows##x2),
SWIN__UP_TO(SWIN__ROWS_OF_1, SWIN__SHAPE_1)
SWIN__UP_TO(SWIN__ROWS_OF_2, SWIN__SHAPE_2)

/* The microtiles of floats. */
SWIN__INLINE swin__shapes SWIN__FN(shapes)(void)
{
    static const swin__microtiles one[] = {SWIN__UP_TO(SWIN__ROWS_OF_1, SWIN__ENTRY_1) NULL};
    static const swin__microtiles two[] = {SWIN__UP_TO(SWIN__ROWS_OF_2, SWIN__ENTRY_2) NULL};
    const swin__shapes shapes = {{one, two}, {SWIN__ROWS_OF_1, SWIN__ROWS_OF_2}};
    return shapes;
}
#undef SWIN__TIMES
#undef SWIN__MICROTILE_1
#undef SWIN__MICROTILE_2
#undef SWIN__SHAPE
#undef SWIN__SHAPE_1
#undef SWIN__SHAPE_2
#undef SWIN__ENTRY_1
#undef SWIN__ENTRY_2

/* The product of floats. k is cut into nearly equal blocks whose panels stay in the cache while all
   rows of A pass by; between blocks the sums are stored as the floats they are, so that no bit
   changes. */
static void SWIN__FN(gemm_floats)(const swin__product *p)
{
    const int blocks = p->k > SWIN__DEPTH ? (p->k - 1) / SWIN__DEPTH + 1 : 1;
    const swin__shapes shapes = SWIN__FN(shapes)();
    int k = 0;
    for (int i = 0; i < blocks; i++) {
        const int depth = p->k / blocks + (i < p->k % blocks);
        for (int n = 0, panels; n < p->n; n += 16 * panels) {
            panels = swin__panels_at(p, n, &shapes);
            swin__compute_panels(p, n, panels, k, depth, NULL, &shapes);
        }
        k += depth;
    }
}

/* dst = src, numbers of f16 as floats; n16, their count, is a multiple of 16. */
static void SWIN__FN(widen)(float *dst, const uint16_t *src, size_t n16)
{
    for (size_t i = 0; i < n16; i += 16) swin__vstore(dst + i, swin__vhalves(src + i));
}

/* The product with weights of f16: some rows of one or two panels at a time become floats. The sums
   between are stored as the floats they are, as above. */
static void SWIN__FN(gemm_halves)(const swin__product *p)
{
    enum { SWIN__DEEP = 192, SWIN__WIDE = SWIN__ROWS_OF_2 ? 32 : 16 };
    SWIN__ALIGNED float floats[SWIN__DEEP * SWIN__WIDE];
    for (int k = 0, deep; k < p->k; k += deep) {
        deep = swin__min(p->k - k, SWIN__DEEP);
        for (int n = 0, wide; n < p->n; n += wide) {
            wide = swin__min(p->n - n, SWIN__WIDE);
            swin__product part = swin__part_of(p, n, wide, k, deep);
            for (int i = 0; i < wide; i += 16) {
                const float *panel = part.b + (size_t)(i / 16) * p->panel;
                SWIN__FN(widen)(floats + i * deep, (const uint16_t *)(const void *)panel,
                                16 * (size_t)deep);
            }
            part.b = floats, part.ldb = 16, part.panel = 16 * (size_t)deep;
            part.next_rows = deep / 2, part.next_panel = p->panel;
            SWIN__FN(gemm_floats)(&part);
        }
    }
}

/* The product that swin__product describes. */
static void SWIN__FN(gemm)(const swin__product *p)
{
    if (swin__is_f16(p->type)) SWIN__FN(gemm_halves)(p);
    else SWIN__FN(gemm_floats)(p);
}

/* --- rows: LayerNorm, softmax, sums ----------------------------------------------------------- */

/* The mean of a row of n columns. */
SWIN__INLINE float SWIN__FN(mean)(const float *x, int n)
{
    swin__v16 sum = swin__vset1(0.0f);
    int c = 0;
    for (; c + 16 <= n; c += 16) sum = swin__vadd(sum, swin__vload(x + c));
    if (c < n) sum = swin__vadd(sum, swin__vkeep(swin__vload(x + c), n - c));
    return swin__vsum(sum) / (float)n;
}

/* The mean of (x - mean)^2 over a row of n columns. */
SWIN__INLINE float SWIN__FN(variance)(const float *x, int n, float mean)
{
    const swin__v16 m = swin__vset1(mean);
    swin__v16 sum = swin__vset1(0.0f);
    int c = 0;
    for (; c + 16 <= n; c += 16) {
        const swin__v16 d = swin__vsub(swin__vload(x + c), m);
        sum = swin__vfma(d, d, sum);
    }
    if (c < n) {
        const swin__v16 d = swin__vkeep(swin__vsub(swin__vload(x + c), m), n - c);
        sum = swin__vfma(d, d, sum);
    }
    return swin__vsum(sum) / (float)n;
}

/* LayerNorm of rows of n columns: dst = (src - mean) / sqrt(variance + eps) * weight + bias. weight
   and bias are padded with zeros, so that dst's padding comes out 0. dst may be src. */
static void SWIN__FN(norm)(float *dst, size_t ldd, const float *src, size_t lds, int rows, int n,
                           const float *weight, const float *bias, float eps)
{
    for (int left = rows; left > 0; left -= SWIN__NORM_TOGETHER) {
        const int count = left < SWIN__NORM_TOGETHER ? left : SWIN__NORM_TOGETHER;
        float mean[SWIN__NORM_TOGETHER], factor[SWIN__NORM_TOGETHER];
        for (int i = 0; i < count; i++) mean[i] = SWIN__FN(mean)(src + (size_t)i * lds, n);
        for (int i = 0; i < count; i++)
            factor[i] = 1.0f / sqrtf(SWIN__FN(variance)(src + (size_t)i * lds, n, mean[i]) + eps);
        for (int i = 0; i < count; i++, src += lds, dst += ldd) {
            const swin__v16 m = swin__vset1(mean[i]), f = swin__vset1(factor[i]);
            for (int c = 0; c < n; c += 16) {
                const swin__v16 x = swin__vmul(swin__vsub(swin__vload(src + c), m), f);
                swin__vstore(dst + c,
                             swin__vfma(x, swin__vload(weight + c), swin__vload(bias + c)));
            }
        }
    }
}

/* Of each column of so many rows: the sum, and the sum of (x - mean)^2 with the rows' own mean. */
static void SWIN__FN(moments)(float *sum, float *spread, const float *src, size_t ld, int rows,
                              int n16)
{
    const swin__v16 part = swin__vset1(1.0f / (float)rows);
    for (int c = 0; c < n16; c += 16) {
        swin__v16 all = swin__vset1(0.0f), squares = all;
        for (int i = 0; i < rows; i++) all = swin__vadd(all, swin__vload(src + (size_t)i * ld + c));
        const swin__v16 mean = swin__vmul(all, part);
        for (int i = 0; i < rows; i++) {
            const swin__v16 d = swin__vsub(swin__vload(src + (size_t)i * ld + c), mean);
            squares = swin__vfma(d, d, squares);
        }
        swin__vstore(sum + c, all);
        swin__vstore(spread + c, squares);
    }
}

/* Rows x = act((x - mean) * factor + bias), each column with its own; act: none or ReLU. */
static void SWIN__FN(normalise)(float *x, size_t ld, int rows, int n16, const float *mean,
                                const float *factor, const float *bias, int act)
{
    for (int i = 0; i < rows; i++, x += ld) {
        for (int c = 0; c < n16; c += 16) {
            const swin__v16 d = swin__vsub(swin__vload(x + c), swin__vload(mean + c));
            const swin__v16 y = swin__vfma(d, swin__vload(factor + c), swin__vload(bias + c));
            swin__vstore(x + c, act == SWIN__RELU ? swin__vmax(y, swin__vset1(0.0f)) : y);
        }
    }
}

/* The highest of a row of n16 scores. */
SWIN__INLINE float SWIN__FN(highest)(const float *s, int n16)
{
    swin__v16 top = swin__vload(s);
    for (int c = 16; c < n16; c += 16) top = swin__vmax(swin__vload(s + c), top);
    return swin__vhighest(top);
}

/* A row s = exp(s - top); returns its sum. Scores more than 87 below the top become exactly 0. */
SWIN__INLINE float SWIN__FN(exps)(float *s, int n16, float top)
{
    const swin__v16 shift = swin__vset1(top);
    swin__v16 sum = swin__vset1(0.0f);
    for (int c = 0; c < n16; c += 16) {
        const swin__v16 e = SWIN__FN(exp)(swin__vsub(swin__vload(s + c), shift));
        swin__vstore(s + c, e);
        sum = swin__vadd(sum, e);
    }
    return swin__vsum(sum);
}

/* Adds mask to a row's scores of keys whose region is neither the query's own nor 0, which belongs
   to all. */
SWIN__INLINE void SWIN__FN(mask_row)(float *s, int n16, const float *region, float own, float mask)
{
    const swin__v16 zero = swin__vset1(0.0f), mine = swin__vset1(own);
    for (int c = 0; c < n16; c += 16) {
        const swin__v16 key = swin__vload(region + c);
        const swin__v16 other = swin__vne(key, mine, swin__vset1(mask), zero);
        swin__vstore(s + c, swin__vadd(swin__vload(s + c), swin__vne(key, zero, other, zero)));
    }
}

/* The softmax of rows of n16 scores, not yet divided: they become exp(score - row's highest),
   and inverse[i] = 1 / the sum of row i. region: NULL, or [n16], the number of the region that
   token i is in, row i and key i being the same token; between regions mask is added to the
   scores first. */
static void SWIN__FN(softmax)(float *s, size_t ld, int rows, int n16, const float *region,
                              float mask, float *inverse)
{
    for (int i = 0; i < rows; i++, s += ld) {
        if (region && region[i] != 0.0f) SWIN__FN(mask_row)(s, n16, region, region[i], mask);
        inverse[i] = 1.0f / SWIN__FN(exps)(s, n16, SWIN__FN(highest)(s, n16));
    }
}

/* Rows of length `scale`: x[i] *= scale / max(|x[i]|, 1e-12), for Swin V2's cosine attention. The
   bound is that of PyTorch's normalize. */
static void SWIN__FN(unit_vectors)(float *x, size_t ld, int rows, int w16, float scale)
{
    for (int i = 0; i < rows; i++, x += ld) {
        swin__v16 squares = swin__vset1(0.0f);
        for (int c = 0; c < w16; c += 16) {
            const swin__v16 v = swin__vload(x + c);
            squares = swin__vfma(v, v, squares);
        }
        const float length = sqrtf(swin__vsum(squares));
        const swin__v16 factor = swin__vset1(scale / (length > 1e-12f ? length : 1e-12f));
        for (int c = 0; c < w16; c += 16)
            swin__vstore(x + c, swin__vmul(swin__vload(x + c), factor));
    }
}

/* x[i][:] *= factor[i], row by row */
static void SWIN__FN(scale)(float *x, size_t ld, int rows, int n16, const float *factor)
{
    for (int i = 0; i < rows; i++, x += ld) {
        const swin__v16 f = swin__vset1(factor[i]);
        for (int c = 0; c < n16; c += 16)
            swin__vstore(x + c, swin__vmul(swin__vload(x + c), f));
    }
}

/* x[i][c] *= column[c] + row[i ldr], the factors of scSE attention */
static void SWIN__FN(excite)(float *x, size_t ld, int rows, int n16, const float *column,
                             const float *row, size_t ldr)
{
    for (int i = 0; i < rows; i++, x += ld, row += ldr) {
        const swin__v16 own = swin__vset1(*row);
        for (int c = 0; c < n16; c += 16)
            swin__vstore(x + c, swin__vmul(swin__vload(x + c),
                                           swin__vadd(swin__vload(column + c), own)));
    }
}

/* A block of keys of a softmax whose keys come block by block (Milakov and Gimelshein, "Online
   normalizer calculation for softmax", 2018). Of the blocks so far each row has the highest score,
   top[i], at first SWIN__NO_SCORE; the sum of exp(score - top[i]), sum[i], at first 0; and the sum
   of the values weighted by these, out [rows][w16], at first 0. Brings all three to the new highest
   score, adds this block's to sum, and turns its scores s into the weights of its values, which the
   caller adds to out. */
static void SWIN__FN(softmax_block)(float *s, size_t ld, int rows, int n16, float *top,
                                    float *sum, float *out, size_t ldo, int w16)
{
    for (int i = 0; i < rows; i++, s += ld, out += ldo) {
        const float here = SWIN__FN(highest)(s, n16);
        float shrink[16] = {1};
        if (here > top[i]) {
            swin__vstore(shrink, SWIN__FN(exp)(swin__vset1(top[i] - here)));
            SWIN__FN(scale)(out, ldo, 1, w16, shrink);
            top[i] = here;
        }
        swin__vstore(shrink, swin__vfma(swin__vset1(sum[i]), swin__vload(shrink),
                                        swin__vset1(SWIN__FN(exps)(s, n16, top[i]))));
        sum[i] = shrink[0];
    }
}

/* dst = src, row by row in this order: where ldd is less than n16, a row of dst is written over the
   end of the one before. */
static void SWIN__FN(copy)(float *dst, size_t ldd, const float *src, size_t lds, int rows, int n16)
{
    for (int i = 0; i < rows; i++, dst += ldd, src += lds)
        for (int c = 0; c < n16; c += 16) swin__vstore(dst + c, swin__vload(src + c));
}

/* The relative position biases of one head's attention in a window of h x w pixels, which follow
   `tokens` global tokens: rows [query][key], both tokens + h w, a row being `lanes` floats. Zero
   where query or key is a token, SWIN__NO_SCORE in the padding. bands [w][2 h - 1][w] are the
   biases sorted for this: bands[q][j - i + h - 1][r] is that of the query in row i, column q and
   the key in row j, column r. Rows are written one after the other, sixteen lanes at a time, each
   beyond its end; so are up to 16 floats after the last. */
static void SWIN__FN(window_bias)(float *rows, int lanes, const float *bands, int tokens, int h,
                                  int w)
{
    const swin__v16 zero = swin__vset1(0.0f), none = swin__vset1(SWIN__NO_SCORE);
    const int area = h * w;
    for (int t = 0; t < tokens; t++, rows += lanes) {
        for (int c = 0; c < lanes; c += 16) swin__vstore(rows + c, zero);
        swin__vstore(rows + tokens + area, none);
    }
    for (int i = h - 1; i >= 0; i--) {
        for (int q = 0; q < w; q++, rows += lanes) {
            const float *band = bands + (q * (2 * h - 1) + i) * w;
            for (int c = 0; c < tokens; c += 16) swin__vstore(rows + c, zero);
            for (int c = 0; c < area; c += 16)
                swin__vstore(rows + tokens + c, swin__vload(band + c));
            swin__vstore(rows + tokens + area, none);
        }
    }
}

/* One round of combine, below: one to four terms, in their order. */
SWIN__INLINE void SWIN__FN(terms)(float *dst, int n16, const float *const *src, const float *coef,
                                  int count, int accumulate)
{
    const float *s0 = src[0], *s1 = src[count > 1], *s2 = src[count > 2 ? 2 : 0];
    const float *s3 = src[count > 3 ? 3 : 0];
    const swin__v16 f0 = swin__vset1(coef[0]), f1 = swin__vset1(coef[count > 1]);
    const swin__v16 f2 = swin__vset1(coef[count > 2 ? 2 : 0]);
    const swin__v16 f3 = swin__vset1(coef[count > 3 ? 3 : 0]);
    for (int c = 0; c < n16; c += 16) {
        swin__v16 x = accumulate ? swin__vload(dst + c) : swin__vset1(0.0f);
        x = swin__vfma(f0, swin__vload(s0 + c), x);
        if (count > 1) x = swin__vfma(f1, swin__vload(s1 + c), x);
        if (count > 2) x = swin__vfma(f2, swin__vload(s2 + c), x);
        if (count > 3) x = swin__vfma(f3, swin__vload(s3 + c), x);
        swin__vstore(dst + c, x);
    }
}

/* A weighted sum of `count` rows of n16 columns, for bilinear resizing, pooling and convolutions:
   dst = (accumulate ? dst : +0) + coef[0] src[0] + coef[1] src[1] + ..., in this order. Four terms
   a round; between rounds the floats are stored. */
static void SWIN__FN(combine)(float *dst, int n16, const float *const *src, const float *coef,
                              int count, int accumulate)
{
    for (; count >= 4; count -= 4, src += 4, coef += 4, accumulate = 1)
        SWIN__FN(terms)(dst, n16, src, coef, 4, accumulate);
    if (count == 3) SWIN__FN(terms)(dst, n16, src, coef, 3, accumulate);
    if (count == 2) SWIN__FN(terms)(dst, n16, src, coef, 2, accumulate);
    if (count == 1) SWIN__FN(terms)(dst, n16, src, coef, 1, accumulate);
}

/* The pixels of a map that sample number i mixes, those of them inside the map, and their factors;
   returns how many. A place that is no number has none. */
SWIN__INLINE int SWIN__FN(corners)(const swin__samples *s, int i, const float *from[4],
                                   float coef[4])
{
    const float v = s->y[i], u = s->x[i], factor = s->factor[i];
    int count = 0;
    if (!(v > -1.0f && v < (float)s->h && u > -1.0f && u < (float)s->w)) return 0;
    const int top = (int)v - (v < 0.0f), left = (int)u - (u < 0.0f);
    const float down = v - (float)top, across = u - (float)left;
    for (int corner = 0; corner < 4; corner++) {
        const int y = top + (corner >> 1), x = left + (corner & 1);
        if (y < 0 || y >= s->h || x < 0 || x >= s->w) continue;
        from[count] = s->map + ((size_t)y * (size_t)s->w + (size_t)x) * s->ld;
        coef[count++] = (corner >> 1 ? down : 1.0f - down) *
                        (corner & 1 ? across : 1.0f - across) * factor;
    }
    return count;
}

/* Samples of a map as rows of n16 columns, dst = (accumulate ? dst : +0) + sample, row by row in
   this order: where ldd is less than n16, a row is written over the end of the one before; where it
   is 0, all samples may add up in one row. */
static void SWIN__FN(sample)(float *dst, size_t ldd, int n16, const swin__samples *s,
                             int accumulate)
{
    for (int i = 0; i < s->count; i++, dst += ldd) {
        const float *from[4];
        float coef[4];
        const int count = SWIN__FN(corners)(s, i, from, coef);
        for (int c = 0; c < n16 && !count && !accumulate; c += 16)
            swin__vstore(dst + c, swin__vset1(0.0f));
        SWIN__FN(combine)(dst, n16, from, coef, count, accumulate);
    }
}

/* One term of a weighted sum of a picture's rows: dst = (accumulate ? dst : +0) + weight src, n
   bytes; the product is rounded before it is added. */
static void SWIN__FN(pixels)(float *dst, const unsigned char *src, int n, float weight,
                             int accumulate)
{
    const swin__v16 zero = swin__vset1(0.0f), w = swin__vset1(weight);
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        const swin__v16 sum = accumulate ? swin__vload(dst + i) : zero;
        swin__vstore(dst + i, swin__vadd(sum, swin__vhold(swin__vmul(w, swin__vbytes(src + i)))));
    }
    for (; i < n; i++)
        dst[i] = (accumulate ? dst[i] : 0.0f) + swin__timesf(weight, (float)src[i]);
}

/* --- depthwise convolution -------------------------------------------------------------------- */

/* Four pixels side by side of what depthwise makes, below, or one: each load of weights serves them
   all. */
SWIN__REPEATED void SWIN__FN(depthwise_pixels)(float *dst, size_t ldd, const float *src, size_t ld,
                                               size_t row, int four, int n16, const float *weight,
                                               size_t ldw, const float *bias)
{
    for (int c = 0; c < n16; c += 16) {
        swin__v16 x0 = swin__vload(bias + c), x1 = x0, x2 = x0, x3 = x0;
        for (int y = 0; y < 3; y++) {
            const float *at = src + (size_t)y * row + c, *w = weight + (size_t)(3 * y) * ldw + c;
            for (int tap = 0; tap < 3; tap++, at += ld, w += ldw) {
                const swin__v16 f = swin__vload(w);
                x0 = swin__vfma(f, swin__vload(at), x0);
                if (four) {
                    x1 = swin__vfma(f, swin__vload(at + ld), x1);
                    x2 = swin__vfma(f, swin__vload(at + 2 * ld), x2);
                    x3 = swin__vfma(f, swin__vload(at + 3 * ld), x3);
                }
            }
        }
        swin__vstore(dst + c, SWIN__FN(gelu16)(x0));
        if (four) {
            swin__vstore(dst + ldd + c, SWIN__FN(gelu16)(x1));
            swin__vstore(dst + 2 * ldd + c, SWIN__FN(gelu16)(x2));
            swin__vstore(dst + 3 * ldd + c, SWIN__FN(gelu16)(x3));
        }
    }
}

/* A depthwise 3 x 3 convolution and GELU along a row of pixels: dst[i][c] = GELU(bias[c] + the sum
   over y, x < 3, in this order, of weight[3 y + x][c] src[y][i + x][c]), i < count, c < n16. src
   has pixels ld apart in rows `row` floats apart; weights lie ldw apart, pixels of dst ldd. */
static void SWIN__FN(depthwise)(float *dst, size_t ldd, const float *src, size_t ld, size_t row,
                                int count, int n16, const float *weight, size_t ldw,
                                const float *bias)
{
    int i = 0;
    for (; i + 4 <= count; i += 4, dst += 4 * ldd, src += 4 * ld)
        SWIN__FN(depthwise_pixels)(dst, ldd, src, ld, row, 1, n16, weight, ldw, bias);
    for (; i < count; i++, dst += ldd, src += ld)
        SWIN__FN(depthwise_pixels)(dst, ldd, src, ld, row, 0, n16, weight, ldw, bias);
}

/* --- transpose -------------------------------------------------------------------------------- */

/* Transposes 16 x 16 floats, dst[c][t] = src[t][c], four columns c at a time. */
SWIN__INLINE void SWIN__FN(transpose16)(float *dst, const float *src, size_t ld)
{
    for (int c = 0; c < 16; c += 4, dst += 64) {
        swin__v16 r0 = swin__vquads(src + c, ld), r1 = swin__vquads(src + c + ld, ld);
        swin__v16 r2 = swin__vquads(src + c + 2 * ld, ld), r3 = swin__vquads(src + c + 3 * ld, ld);
        swin__vtranspose(&r0, &r1, &r2, &r3);
        swin__vstore(dst, r0);
        swin__vstore(dst + 16, r1);
        swin__vstore(dst + 32, r2);
        swin__vstore(dst + 48, r3);
    }
}

/* src [rows][w16], the keys of a head, becomes the right side of the product q k^T: panels of 16
   keys, dst[key / 16][channel][key % 16]. Keys missing in the last panel are 0. */
static void SWIN__FN(transpose)(float *dst, const float *src, size_t ld, int rows, int w16)
{
    for (; rows >= 16; rows -= 16, src += 16 * ld)
        for (int c = 0; c < w16; c += 16, dst += 256) SWIN__FN(transpose16)(dst, src + c, ld);
    for (int c = 0; rows > 0 && c < w16; c += 16, dst += 256) {
        float part[256] = {0};
        for (int i = 0; i < rows; i++)
            swin__vstore(part + 16 * i, swin__vload(src + (size_t)i * ld + c));
        SWIN__FN(transpose16)(dst, part, 16);
    }
}

/* --- Winograd F(6 x 6, 3 x 3) ----------------------------------------------------------------- */

/* The points are 0, a, -a, b, -b, c, -c and infinity with a = 1, b = 2 and c = 1/2. With 512
   channels of normal data a tile errs by 1.3e-5 of the largest value (direct sums: 1.5e-6).
   Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.

   A tile of fewer pixels needs fewer points. With `pairs` pairs of points, 0 and infinity, it makes
   2 pairs pixels of 2 pairs + 2. The weights stay those of three pairs, and wino_a multiplies by
   the factors they then lack (swin__wino_left_out). With two taps instead of three, 2 pairs + 2
   pixels make 2 pairs + 1; with one tap there are no points, and a pixel stays what it is. That
   gives F(7 x 7, 2 x 2), which errs by 2e-5, and F(7, 2) along rows or columns.

   A transform along one axis takes vectors of 16 channels, 16 floats apart, and leaves vectors
   `stride` floats apart. */

/* Vector i of what a transform takes. */
SWIN__INLINE swin__v16 SWIN__FN(at)(const float *x, int i) { return swin__vload(x + 16 * i); }

/* The polynomial of the filter's taps g at the points p and -p, times factor. */
SWIN__INLINE void SWIN__FN(wino_taps)(float *d, int stride, const float *g, int taps, float p,
                                      float factor)
{
    const swin__v16 point = swin__vset1(p), f = swin__vset1(factor);
    const swin__v16 odd = SWIN__FN(at)(g, 1);
    swin__v16 even = SWIN__FN(at)(g, 0);
    if (taps > 2) even = swin__vfma(swin__vset1(p * p), SWIN__FN(at)(g, 2), even);
    /* vhold: of a multiply-add with the point 1 compilers make a plain sum */
    swin__vstore(d, swin__vhold(swin__vmul(swin__vfma(point, odd, even), f)));
    swin__vstore(d + stride, swin__vhold(swin__vmul(swin__vnfma(point, odd, even), f)));
}

/* Two or three filter taps become the values of their polynomial at the eight points, each divided
   by the product of (point - other point) over the other points. One tap stays what it is. */
SWIN__REPEATED void SWIN__FN(wino_g)(float *d, int stride, const float *g, int taps)
{
    const float a2 = SWIN__SQUARE_A, b2 = SWIN__SQUARE_B, c2 = SWIN__SQUARE_C;
    const float zero = -1 / (a2 * b2 * c2), a = 1 / (2 * a2 * (a2 - b2) * (a2 - c2));
    const float b = 1 / (2 * b2 * (b2 - a2) * (b2 - c2)), c = 1 / (2 * c2 * (c2 - a2) * (c2 - b2));
    if (taps == 1) {
        swin__vstore(d, SWIN__FN(at)(g, 0));
        return;
    }
    swin__vstore(d, swin__vhold(swin__vmul(SWIN__FN(at)(g, 0), swin__vset1(zero))));
    SWIN__FN(wino_taps)(d + stride, stride, g, taps, SWIN__POINT_A, a);
    SWIN__FN(wino_taps)(d + 3 * stride, stride, g, taps, SWIN__POINT_B, b);
    SWIN__FN(wino_taps)(d + 5 * stride, stride, g, taps, SWIN__POINT_C, c);
    swin__vstore(d + 7 * stride, SWIN__FN(at)(g, taps - 1));
}

/* The sum of x[0], x[2], ..., each times a coefficient of a polynomial in z: of the product of the
   first n of the factors (z - s) and (z - t). */
SWIN__INLINE swin__v16 SWIN__FN(wino_factors)(const float *x, int n, float s, float t)
{
    const swin__v16 sum = swin__vset1(s + t), product = swin__vset1(s * t);
    const swin__v16 x0 = SWIN__FN(at)(x, 0);
    if (n == 0) return x0;
    if (n == 1) return swin__vnfma(swin__vset1(s), x0, SWIN__FN(at)(x, 2));
    return swin__vfma(product, x0, swin__vnfma(sum, SWIN__FN(at)(x, 2), SWIN__FN(at)(x, 4)));
}

/* The same for the product of the factors (z - p^2) of all pairs of points p and -p: the pixels'
   value at 0 or, from the second pixel on, at infinity. */
SWIN__INLINE swin__v16 SWIN__FN(wino_ends)(const float *x, int pairs, float a2, float b2)
{
    const float c2 = SWIN__SQUARE_C;
    const swin__v16 one = swin__vset1(a2 + b2 + c2), all = swin__vset1(a2 * b2 * c2);
    const swin__v16 two = swin__vset1(a2 * b2 + a2 * c2 + b2 * c2);
    if (pairs < 3) return SWIN__FN(wino_factors)(x, pairs, a2, b2);
    const swin__v16 sum = swin__vnfma(one, SWIN__FN(at)(x, 4), SWIN__FN(at)(x, 6));
    return swin__vnfma(all, SWIN__FN(at)(x, 0), swin__vfma(two, SWIN__FN(at)(x, 2), sum));
}

/* The pixels' values at the points p and -p; s and t are the squares of the n other points. */
SWIN__INLINE void SWIN__FN(wino_pair)(float *d, int stride, const float *x, float p, int n, float s,
                                      float t)
{
    const swin__v16 point = swin__vset1(p);
    const swin__v16 even = SWIN__FN(wino_factors)(x + 32, n, s, t);
    const swin__v16 odd = SWIN__FN(wino_factors)(x + 16, n, s, t);
    swin__vstore(d, swin__vfma(point, odd, even));
    swin__vstore(d + stride, swin__vnfma(point, odd, even));
}

/* 2 pairs + 2 pixels x become as many values, each at the place it has among eight. eight: by the
   points of eight bits. */
SWIN__REPEATED void SWIN__FN(wino_b)(float *d, int stride, const float *x, int pairs, int eight)
{
    const float a2 = eight ? SWIN__SQUARE_A8 : SWIN__SQUARE_A, c2 = SWIN__SQUARE_C;
    const float b2 = eight ? SWIN__SQUARE_B8 : SWIN__SQUARE_B;
    const float a = eight ? SWIN__POINT_A8 : SWIN__POINT_A;
    const float b = eight ? SWIN__POINT_B8 : SWIN__POINT_B;
    if (pairs == 0) {
        swin__vstore(d, SWIN__FN(at)(x, 0));
        return;
    }
    swin__vstore(d, SWIN__FN(wino_ends)(x, pairs, a2, b2));
    SWIN__FN(wino_pair)(d + stride, stride, x, a, pairs - 1, b2, c2);
    if (pairs > 1) SWIN__FN(wino_pair)(d + 3 * stride, stride, x, b, pairs - 1, a2, c2);
    if (pairs > 2) SWIN__FN(wino_pair)(d + 5 * stride, stride, x, SWIN__POINT_C, pairs - 1, a2, b2);
    swin__vstore(d + 7 * stride, SWIN__FN(wino_ends)(x + 16, pairs, a2, b2));
}

/* a x + b y + c z, the first n terms. */
SWIN__INLINE swin__v16 SWIN__FN(wino_sum)(swin__v16 x, float a, swin__v16 y, float b, swin__v16 z,
                                          float c, int n)
{
    swin__v16 sum = swin__vmul(swin__vset1(a), x);
    if (n > 1) sum = swin__vfma(swin__vset1(b), y, sum);
    if (n > 2) sum = swin__vfma(swin__vset1(c), z, sum);
    return sum;
}

/* The values x of a tile, each at its place among eight, become the pixels that the tile makes:
   pixel i is the sum over the pairs of the i-th power of their point p times the sum (i even) or
   difference (i odd) of their values at p and -p. The value at 0 belongs to the first pixel, the
   one at infinity to the last. */
SWIN__REPEATED void SWIN__FN(wino_a)(float *d, int stride, const float *x, int pairs, int taps,
                                     int eight)
{
    const float o = eight ? 1 : swin__wino_left_out(0, pairs);
    const float a2 = eight ? SWIN__SQUARE_A8 : SWIN__SQUARE_A, c2 = SWIN__SQUARE_C;
    const float b2 = eight ? SWIN__SQUARE_B8 : SWIN__SQUARE_B;
    const float a = eight ? 1 : swin__wino_left_out(a2, pairs);
    const float b = eight ? 1 : swin__wino_left_out(b2, pairs);
    const float c = swin__wino_left_out(c2, pairs);
    const float ap = a * (eight ? SWIN__POINT_A8 : SWIN__POINT_A);
    const float bp = b * (eight ? SWIN__POINT_B8 : SWIN__POINT_B), cp = c * SWIN__POINT_C;
    const int n = swin__wino_makes(pairs, taps);
    if (pairs == 0) {
        swin__vstore(d, SWIN__FN(at)(x, 0));
        return;
    }
#define SWIN__EVEN(i) swin__vadd(SWIN__FN(at)(x, i), SWIN__FN(at)(x, i + 1))
#define SWIN__ODD(i)  swin__vsub(SWIN__FN(at)(x, i), SWIN__FN(at)(x, i + 1))
    const swin__v16 ea = SWIN__EVEN(1), oa = SWIN__ODD(1);
    const swin__v16 eb = pairs > 1 ? SWIN__EVEN(3) : ea, ob = pairs > 1 ? SWIN__ODD(3) : oa;
    const swin__v16 ec = pairs > 2 ? SWIN__EVEN(5) : ea, oc = pairs > 2 ? SWIN__ODD(5) : oa;
#undef SWIN__EVEN
#undef SWIN__ODD
    /* vhold: with one pair the last pixel is a sum of a product and a value */
#define SWIN__MAKE(i, e, fa, fb, fc) \
    if (n > i) { \
        swin__v16 v = SWIN__FN(wino_sum)(e##a, fa, e##b, fb, e##c, fc, pairs); \
        if (i == 0) v = swin__vfma(swin__vset1(o), SWIN__FN(at)(x, 0), v); \
        if (i == n - 1) v = swin__vadd(pairs > 1 ? v : swin__vhold(v), SWIN__FN(at)(x, 7)); \
        swin__vstore(d + i * stride, v); \
    }
    SWIN__MAKE(0, e, a, b, c)
    SWIN__MAKE(1, o, ap, bp, cp)
    SWIN__MAKE(2, e, a * a2, b * b2, c * c2)
    SWIN__MAKE(3, o, ap * a2, bp * b2, cp * c2)
    SWIN__MAKE(4, e, a * a2 * a2, b * b2 * b2, c * c2 * c2)
    SWIN__MAKE(5, o, ap * a2 * a2, bp * b2 * b2, cp * c2 * c2)
    SWIN__MAKE(6, e, a * a2 * a2 * a2, b * b2 * b2 * b2, c * c2 * c2 * c2)
#undef SWIN__MAKE
}

/* Sixteen weights of a type, the first being number `at`. */
SWIN__INLINE swin__v16 SWIN__FN(weights)(const void *src, int type, size_t at)
{
    return swin__is_f16(type) ? swin__vhalves((const uint16_t *)src + at)
                              : swin__vload((const float *)src + at);
}

/* The body of wino_weights, below: repeated for each number of taps that is worth it. */
SWIN__REPEATED void SWIN__FN(wino_filter)(float *dst, size_t stride, const void *src, int type,
                                          size_t tap, int k, int taps_h, int taps_w)
{
    const int h = swin__wino_values(taps_h - 1, 0), w = swin__wino_values(taps_w - 1, 0);
    SWIN__ALIGNED float line[3 * 16], d[24 * 16], u[64 * 16]; /* d: [h][3][16], u: [h][w][16] */
    for (int c = 0; c < k; c++, dst += 16) {
        for (int x = 0; x < taps_w; x++) {
            for (int y = 0; y < taps_h; y++) {
                const int t = 3 * swin__wino_tap(taps_h, y) + swin__wino_tap(taps_w, x);
                const size_t at = (size_t)t * tap + 16 * (size_t)c;
                swin__vstore(line + 16 * y, SWIN__FN(weights)(src, type, at));
            }
            SWIN__FN(wino_g)(d + 16 * x, 3 * 16, line, taps_h);
        }
        for (int y = 0; y < h; y++) SWIN__FN(wino_g)(u + 16 * w * y, 16, d + 48 * y, taps_w);
        for (int i = 0; i < h * w; i++)
            swin__vstream(dst + (size_t)i * stride, swin__vload(u + 16 * i));
    }
    swin__vdrain();
}

/* One panel of 16 filters: src[tap t][c][16], numbers of a type, taps t = 3 y + x apart by `tap` of
   them, becomes dst[plane][c][16], apart by stride, for c < k; so many taps count along each axis.
   dst and stride: multiples of 64 bytes. A convolution's weights are more than caches hold, and go
   past them. */
static void SWIN__FN(wino_weights)(float *dst, size_t stride, const void *src, int type, size_t tap,
                                   int k, int taps_h, int taps_w)
{
    if (taps_h == 3 && taps_w == 3) SWIN__FN(wino_filter)(dst, stride, src, type, tap, k, 3, 3);
    else if (taps_h == 2 && taps_w == 2)
        SWIN__FN(wino_filter)(dst, stride, src, type, tap, k, 2, 2);
    else SWIN__FN(wino_filter)(dst, stride, src, type, tap, k, taps_h, taps_w);
}

/* Two or three filter taps become the values of their polynomial at the six points of eight bits,
   divided as in wino_g. One tap stays what it is. */
SWIN__REPEATED void SWIN__FN(wino8_g)(float *d, int stride, const float *g, int taps)
{
    const float a2 = SWIN__SQUARE_A8, b2 = SWIN__SQUARE_B8;
    const float zero = 1 / (a2 * b2), a = 1 / (2 * a2 * (a2 - b2)), b = 1 / (2 * b2 * (b2 - a2));
    if (taps == 1) {
        swin__vstore(d, SWIN__FN(at)(g, 0));
        return;
    }
    swin__vstore(d, swin__vhold(swin__vmul(SWIN__FN(at)(g, 0), swin__vset1(zero))));
    SWIN__FN(wino_taps)(d + stride, stride, g, taps, SWIN__POINT_A8, a);
    SWIN__FN(wino_taps)(d + 3 * stride, stride, g, taps, SWIN__POINT_B8, b);
    swin__vstore(d + 5 * stride, SWIN__FN(at)(g, taps - 1));
}

/* The values u, [plane][16], of one channel of 16 filters: `quads` are those of its tap 0 that hold
   it, as byte `at`. */
SWIN__REPEATED void SWIN__FN(wino8_filter)(float *u, const float *quads, size_t tap, int at,
                                           int taps_h, int taps_w)
{
    const int h = swin__wino_values(taps_h - 1, 1), w = swin__wino_values(taps_w - 1, 1);
    SWIN__ALIGNED float line[3 * 16], d[18 * 16]; /* d: [h][3][16] */
    for (int x = 0; x < taps_w; x++) {
        for (int y = 0; y < taps_h; y++) {
            const int t = 3 * swin__wino_tap(taps_h, y) + swin__wino_tap(taps_w, x);
            swin__vstore(line + 16 * y, swin__vquad(quads + (size_t)t * tap, at));
        }
        SWIN__FN(wino8_g)(d + 16 * x, 3 * 16, line, taps_h);
    }
    for (int y = 0; y < h; y++) SWIN__FN(wino8_g)(u + 16 * w * y, 16, d + 48 * y, taps_w);
}

/* The 16 scales of a plane from the largest |u| of each output, which become their inverses. */
SWIN__INLINE void SWIN__FN(wino8_scales)(float *top, float *column, const float *scale)
{
    for (int n = 0; n < 16; n++) {
        const float largest = top[n], unit = largest / 127;
        column[n] = swin__timesf(unit, scale[n]);
        top[n] = largest > 0 ? 127 / largest : 0;
    }
}

/* One panel of 16 filters of eight bits, quads src[tap t][channel / 4], taps t = 3 y + x apart by
   `tap` floats, becomes quads dst[plane][c / 4] for k channels, k a multiple of 4; planes are apart
   by stride, and so many taps count along each axis. An output's numbers in a plane times
   column[plane][n], apart by ldc, are the transformed weights. scale: [16], of the filters. */
static void SWIN__FN(wino8_weights)(float *dst, size_t stride, float *column, size_t ldc,
                                    const float *src, size_t tap, const float *scale, int k,
                                    int taps_h, int taps_w)
{
    const int planes = swin__wino_values(taps_h - 1, 1) * swin__wino_values(taps_w - 1, 1);
    const swin__v16 magic = swin__vset1(SWIN__MAGIC);
    SWIN__ALIGNED float top[SWIN__WINO8_PLANES * 16], u[4 * SWIN__WINO8_PLANES * 16];
    for (int i = 0; i < planes; i++) swin__vstore(top + 16 * i, swin__vset1(0.0f));
    for (int c = 0; c < k; c++) {
        SWIN__FN(wino8_filter)(u, src + 16 * (c / 4), tap, c % 4, taps_h, taps_w);
        for (int i = 0; i < planes; i++)
            swin__vstore(top + 16 * i, swin__vwider(SWIN__FN(at)(u, i), SWIN__FN(at)(top, i)));
    }
    for (int i = 0; i < planes; i++)
        SWIN__FN(wino8_scales)(top + 16 * i, column + (size_t)i * ldc, scale);
    for (int c = 0; c < k; c += 4, src += 16, dst += 16) {
        for (int j = 0; j < 4; j++)
            SWIN__FN(wino8_filter)(u + 16 * planes * j, src, tap, j, taps_h, taps_w);
        for (int i = 0; i < planes; i++) {
            const swin__v16 f = SWIN__FN(at)(top, i);
            swin__vpack(dst + (size_t)i * stride,
                        swin__vfma(SWIN__FN(at)(u, i), f, magic),
                        swin__vfma(SWIN__FN(at)(u, i + planes), f, magic),
                        swin__vfma(SWIN__FN(at)(u, i + 2 * planes), f, magic),
                        swin__vfma(SWIN__FN(at)(u, i + 3 * planes), f, magic));
        }
    }
}

/* The body of wino_input, below: repeated for whole tiles of each kind, and for all others. */
SWIN__REPEATED void SWIN__FN(wino_in)(float *dst, size_t stride, const float *const *rows, int n16,
                                      int pairs_h, int pairs_w, int eight)
{
    const int values = swin__wino_values(pairs_w, eight);
    SWIN__ALIGNED float d[64 * 16], line[8 * 16]; /* d: [8][8][16] */
    for (int c = 0; c < n16; c += 16) {
        for (int x = 0; x < swin__wino_takes(pairs_w); x++) {
            for (int y = 0; y < swin__wino_takes(pairs_h); y++) {
                SWIN__PREFETCH(rows[8 * y + x] + c + 16);
                swin__vstore(line + 16 * y, swin__vload(rows[8 * y + x] + c));
            }
            SWIN__FN(wino_b)(d + 16 * x, 8 * 16, line, pairs_h, eight);
        }
        for (int y = 0; y < 8; y++) {
            if (!swin__wino_has(y, pairs_h)) continue;
            SWIN__FN(wino_b)(line, 16, d + 8 * 16 * y, pairs_w, eight);
            for (int x = 0; x < 8; x++) {
                const int place = values * swin__wino_place(y, eight) + swin__wino_place(x, eight);
                float *to = dst + (size_t)place * stride + c;
                if (!swin__wino_has(x, pairs_w)) continue;
                SWIN__PREFETCH(to + 16);
                swin__vstore(to, SWIN__FN(at)(line, x));
            }
        }
    }
}

/* rows[8 y + x][n16], the channels of a tile's pixels, become those planes of dst[plane][n16],
   apart by stride, that so many pairs of points along each axis have; eight: by the points of eight
   bits. */
static void SWIN__FN(wino_input)(float *dst, size_t stride, const float *const *rows, int n16,
                                 int pairs_h, int pairs_w, int eight)
{
    if (pairs_h == 3 && pairs_w == 3) SWIN__FN(wino_in)(dst, stride, rows, n16, 3, 3, 0);
    else if (SWIN__HAS_INT8 && eight && pairs_h && pairs_w)
        SWIN__FN(wino_in)(dst, stride, rows, n16, 2, 2, 1);
    else SWIN__FN(wino_in)(dst, stride, rows, n16, pairs_h, pairs_w, SWIN__HAS_INT8 && eight);
}

/* Writes one pixel's channels c ... c + 15, before the activation. */
SWIN__INLINE void SWIN__FN(wino_pixel)(const swin__wino_output *w, float *row, int c, swin__v16 v)
{
    if (!row) return;
    if (w->accumulate) v = swin__vadd(swin__vload(row + c), v);
    else if (w->start) v = swin__vadd(swin__vload(w->start + c), v);
    if (w->uncached) {
        swin__vstream(row + c, v);
    } else {
        SWIN__PREFETCH(row + c + 16);
        swin__vstore(row + c, v);
    }
}

/* The body of wino_output, below: repeated for whole tiles of each kind, and for all others. */
SWIN__REPEATED void SWIN__FN(wino_out)(const swin__wino_output *w, int pairs_h, int pairs_w,
                                       int taps, int eight)
{
    const int values = swin__wino_values(pairs_w, eight);
    SWIN__ALIGNED float d[7 * 8 * 16], line[8 * 16]; /* d: [7][8][16] */
    for (int c = 0; c < w->n16; c += 16) {
        for (int x = 0; x < 8; x++) {
            if (!swin__wino_has(x, pairs_w)) continue;
            for (int y = 0; y < 8; y++) {
                const int place = values * swin__wino_place(y, eight) + swin__wino_place(x, eight);
                const float *value = w->src + (size_t)place * w->stride + c;
                if (!swin__wino_has(y, pairs_h)) continue;
                SWIN__PREFETCH(value + 16);
                swin__vstore(line + 16 * y, swin__vload(value));
            }
            SWIN__FN(wino_a)(d + 16 * x, 8 * 16, line, pairs_h, taps, eight);
        }
        for (int y = 0; y < swin__wino_makes(pairs_h, taps); y++) {
            SWIN__FN(wino_a)(line, 16, d + 8 * 16 * y, pairs_w, taps, eight);
            for (int x = 0; x < swin__wino_makes(pairs_w, taps); x++)
                SWIN__FN(wino_pixel)(w, w->rows[8 * y + x], c, SWIN__FN(at)(line, x));
        }
    }
}

/* What swin__wino_output describes: the products of a tile become the pixels of the map. */
static void SWIN__FN(wino_output)(const swin__wino_output *w)
{
    const int whole = w->pairs_h == 3 && w->pairs_w == 3, eight = SWIN__HAS_INT8 && w->eight;
    if (eight && w->taps == 3) SWIN__FN(wino_out)(w, 2, 2, 3, 1);
    else if (whole && w->taps == 3) SWIN__FN(wino_out)(w, 3, 3, 3, 0);
    else if (whole) SWIN__FN(wino_out)(w, 3, 3, 2, 0);
    else SWIN__FN(wino_out)(w, w->pairs_h, w->pairs_w, w->taps, eight);
    for (int i = 0; i < SWIN__WINO_PLANES; i++) {
        if (w->rows[i] && w->act == SWIN__RELU) SWIN__FN(relu)(w->rows[i], 0, 1, w->n16);
        if (w->rows[i] && w->act == SWIN__GELU) SWIN__FN(gelu)(w->rows[i], 0, 1, w->n16);
    }
    if (w->uncached) swin__vdrain();
}

/* --- labels ----------------------------------------------------------------------------------- */

/* The class whose sum over taps t of coef[t] times row at[t] is the highest; the lowest such class
   where several are equal; a NaN never wins. Classes are counted in floats; 65536, more than any,
   stands for none. */
SWIN__INLINE int SWIN__FN(winner)(const float *row, size_t ld, const int *at, const float *coef,
                                  int taps, int classes)
{
    const swin__v16 least = swin__vset1(-3e38f), none = swin__vset1(65536.0f);
    swin__v16 best = least, id = swin__vload(swin__lanes), which = id;
    for (int c = 0; c < classes; c += 16) {
        swin__v16 v = swin__vmul(swin__vset1(coef[0]), swin__vload(row + (size_t)at[0] * ld + c));
        for (int t = 1; t < taps; t++)
            v = swin__vfma(swin__vset1(coef[t]), swin__vload(row + (size_t)at[t] * ld + c), v);
        if (c + 16 > classes) v = swin__vlt(id, swin__vset1((float)classes), v, least);
        which = swin__vlt(best, v, id, which);
        best = swin__vmax(v, best);
        id = swin__vadd(id, swin__vset1(16.0f));
    }
    const swin__v16 top = swin__vset1(swin__vhighest(best));
    return (int)swin__vlowest(swin__vne(best, top, none, which));
}

/* The class of `count` pixels, as 1 or 2 bytes each: the one with the highest logit. The logits of
   pixel x are the sum over t < taps (1 .. 4) of coef[x][t] times row number at[x][t], each row
   being those of a pixel of a smaller map, [classes], ld apart. */
static void SWIN__FN(labels)(void *dst, int bytes, int count, const float *row, size_t ld,
                             const int *at, const float *coef, int taps, int classes)
{
    for (int x = 0; x < count; x++, at += taps, coef += taps) {
        const int k = taps == 2 ? SWIN__FN(winner)(row, ld, at, coef, 2, classes)
                                : SWIN__FN(winner)(row, ld, at, coef, taps, classes);
        if (bytes == 1) ((uint8_t *)dst)[x] = (uint8_t)k;
        else ((uint16_t *)dst)[x] = (uint16_t)k;
    }
}

#endif /* SWIN__PASS, all kernels but those of eight bits */

#ifdef SWIN__PASS

/* --- eight bits --------------------------------------------------------------------------------

   A pass may say how it stores the numbers of a quantised row, and how it computes the sums of a
   microtile: SWIN__NUMBER, their type; SWIN__NO_NUMBER, what a zero is stored as; SWIN__MAGIC_8,
   the float that makes such numbers of whole ones when it is added; put, which stores sixteen of
   them; SWIN__ROWS_OF_1_8 and SWIN__ROWS_OF_2_8, as above; and microtile8. A pass that says nothing
   does as the scalar one. */

/* AVX2, AVX-512 without VNNI and WebAssembly multiply 16-bit numbers and add pairs of products. */
#if defined(SWIN__PASS_avx512) || defined(SWIN__PASS_avx2) || defined(SWIN__PASS_wasm)
#define SWIN__NUMBER      int16_t
#define SWIN__NO_NUMBER   0
#define SWIN__MAGIC_8     SWIN__MAGIC
#define SWIN__ROWS_OF_2_8 0

#ifdef SWIN__PASS_avx512
#define SWIN__ROWS_OF_1_8 12    /* 24 sums, 2 weights, 1 broadcast, 1 product of 32 zmm */
SWIN__INLINE void SWIN__FN_8(put)(int16_t *to, swin__v16 t)
{
    const __m256i numbers = _mm512_cvtepi32_epi16(_mm512_castps_si512(t));
    _mm256_storeu_si256((__m256i *)(void *)to, numbers);
}
#elif defined(SWIN__PASS_wasm)
#define SWIN__ROWS_OF_1_8 5     /* 10 sums, 2 weights, 1 broadcast, 1 product of 15 registers */
SWIN__INLINE void SWIN__FN_8(put)(int16_t *to, swin__v16 t)
{
    wasm_v128_store(to, wasm_i16x8_shuffle(t.a, t.b, 0, 2, 4, 6, 8, 10, 12, 14));
    wasm_v128_store(to + 8, wasm_i16x8_shuffle(t.c, t.d, 0, 2, 4, 6, 8, 10, 12, 14));
}
#else
#define SWIN__ROWS_OF_1_8 6     /* 12 sums, 2 weights, 1 broadcast, 1 product of 16 ymm */
SWIN__INLINE void SWIN__FN_8(put)(int16_t *to, swin__v16 t)
{
    const __m256i low = _mm256_set1_epi32(0xffff);
    const __m256i a = _mm256_and_si256(_mm256_castps_si256(t.lo), low);
    const __m256i b = _mm256_and_si256(_mm256_castps_si256(t.hi), low);
    const __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
    _mm256_storeu_si256((__m256i *)(void *)to, both);
}
#endif

/* VNNI multiplies bytes without a sign by such with one: it takes numbers plus 128, and sums start
   from what the 128s add too much. */
#elif defined(SWIN__PASS_avx512_vnni) || defined(SWIN__PASS_avx2_vnni)
#define SWIN__NUMBER      uint8_t
#define SWIN__NO_NUMBER   128
#define SWIN__MAGIC_8     (SWIN__MAGIC + 128)
#define SWIN__STARTS_8
#ifdef SWIN__PASS_avx512_vnni
#define SWIN__ROWS_OF_1_8 14
#define SWIN__ROWS_OF_2_8 14    /* 28 sums, 2 weights, 1 broadcast of 32 zmm */
SWIN__INLINE void SWIN__FN_8(put)(uint8_t *to, swin__v16 t)
{
    const __m128i numbers = _mm512_cvtepi32_epi8(_mm512_castps_si512(t));
    _mm_storeu_si128((__m128i *)(void *)to, numbers);
}
#else
#define SWIN__ROWS_OF_1_8 6     /* 12 sums, 2 weights, 1 broadcast of 16 ymm */
#define SWIN__ROWS_OF_2_8 0
SWIN__INLINE void SWIN__FN_8(put)(uint8_t *to, swin__v16 t)
{
    const __m256i low = _mm256_set1_epi32(255);
    const __m256i a = _mm256_and_si256(_mm256_castps_si256(t.lo), low);
    const __m256i b = _mm256_and_si256(_mm256_castps_si256(t.hi), low);
    const __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
    const __m128i numbers = _mm_packus_epi16(_mm256_castsi256_si128(both),
                                             _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128((__m128i *)(void *)to, numbers);
}
#endif

/* AMX multiplies tiles of bytes with signs: up to 16 rows of 16 quads by 16 quads of a panel. */
#elif defined(SWIN__PASS_avx512_amx)
#define SWIN__NUMBER      int8_t
#define SWIN__NO_NUMBER   0
#define SWIN__MAGIC_8     SWIN__MAGIC
#define SWIN__ROWS_OF_1_8 16
#define SWIN__ROWS_OF_2_8 16
SWIN__INLINE void SWIN__FN_8(put)(int8_t *to, swin__v16 t)
{
    const __m128i numbers = _mm512_cvtepi32_epi8(_mm512_castps_si512(t));
    _mm_storeu_si128((__m128i *)(void *)to, numbers);
}

/* NEON has products of bytes with signs. */
#elif defined(SWIN__PASS_neon) || defined(SWIN__PASS_neon_dot) || defined(SWIN__PASS_neon_i8mm)
#define SWIN__NUMBER      int8_t
#define SWIN__NO_NUMBER   0
#define SWIN__MAGIC_8     SWIN__MAGIC
#define SWIN__ROWS_OF_2_8 0
#if defined(SWIN__PASS_neon)
#define SWIN__ROWS_OF_1_8 2     /* 16 sums, 2 weights, 4 of A, 1 product of 32 registers */
#elif defined(SWIN__PASS_neon_dot)
#define SWIN__ROWS_OF_1_8 5     /* 20 sums, 4 weights, 5 of A, four quads each */
#else
#define SWIN__ROWS_OF_1_8 8     /* of half a panel at a time: 16 sums, 8 weights, 4 of A */
#endif
SWIN__INLINE void SWIN__FN_8(put)(int8_t *to, swin__v16 t)
{
    const uint16x8_t low = vcombine_u16(vmovn_u32(vreinterpretq_u32_f32(t.a)),
                                        vmovn_u32(vreinterpretq_u32_f32(t.b)));
    const uint16x8_t high = vcombine_u16(vmovn_u32(vreinterpretq_u32_f32(t.c)),
                                         vmovn_u32(vreinterpretq_u32_f32(t.d)));
    vst1q_s8(to, vreinterpretq_s8_u8(vcombine_u8(vmovn_u16(low), vmovn_u16(high))));
}
SWIN__INLINE int8x16_t SWIN__FN_8(broadcast)(const int8_t *four)
{
    int32_t x;
    memcpy(&x, four, sizeof x);
    return vreinterpretq_s8_s32(vdupq_n_s32(x));
}

#else
#define SWIN__PLAIN_8
#define SWIN__NUMBER      int8_t
#define SWIN__NO_NUMBER   0
#define SWIN__MAGIC_8     SWIN__MAGIC
#define SWIN__ROWS_OF_1_8 1
#define SWIN__ROWS_OF_2_8 0
SWIN__INLINE void SWIN__FN_8(put)(int8_t *to, swin__v16 t)
{
    float x[16];
    swin__vstore(x, t);
    for (int i = 0; i < 16; i++) to[i] = (int8_t)(int)(x[i] - SWIN__MAGIC_8);
}
#endif

/* The numbers of a quantised row, from those before it that `lead` leaves out. */
SWIN__INLINE const SWIN__NUMBER *SWIN__FN_8(numbers)(const float *row, int lead)
{
    return (const SWIN__NUMBER *)(const void *)(row + SWIN__NUMBERS) - lead;
}

/* A row's sums of a panel, as floats, become outputs: sum * scale * column + start. */
SWIN__INLINE void SWIN__FN_8(outputs)(const swin__microtile *t, int row, int panel,
                                      swin__v16 sums)
{
    const size_t i = (size_t)row, n = 16 * (size_t)panel;
    const swin__v16 scaled = swin__vmul(sums, swin__vset1(t->a[i * t->lda]));
    const swin__v16 start = swin__vload(t->init + i * t->ldi + n);
    swin__vstore(t->c + i * t->ldc + n, swin__vfma(scaled, swin__vload(t->column + n), start));
}

#ifdef SWIN__PLAIN_8
/* One row of one panel. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    int32_t sums[16] = {0};
    (void)rows, (void)panels;
    for (int i = 0; i < t->pieces; i++) {
        const int8_t *x = SWIN__FN_8(numbers)(t->a + t->piece_a[i], t->lead);
        const int8_t *w = (const int8_t *)(const void *)(t->b + (size_t)i * t->piece_b);
        for (int k = 0; k < t->k; k++, x += 4, w += 64)
            for (int j = 0; j < 64; j++) sums[j / 4] += w[j] * x[j % 4];
    }
    SWIN__FN_8(outputs)(t, 0, 0, swin__vints(sums));
}
#undef SWIN__PLAIN_8
#endif

#if defined(SWIN__PASS_avx2) || defined(SWIN__PASS_avx2_vnni) || \
    defined(SWIN__PASS_avx512) || defined(SWIN__PASS_avx512_vnni)

/* X(row, the pointer it is reached from, and how many rows on), as in the microtile of floats. */
#define SWIN__ROWS(X) \
    X(0, a0, 0)  X(1, a0, 1)   X(2, a0, 2)   X(3, a3, 0)   X(4, a3, 1) \
    X(5, a3, 2)  X(6, a6, 0)   X(7, a6, 1)   X(8, a6, 2)   X(9, a9, 0) \
    X(10, a9, 1) X(11, a9, 2)  X(12, a12, 0) X(13, a12, 1)
/* The pointers to the rows of a piece. */
#define SWIN__POINTERS(piece) \
    const SWIN__NUMBER *a0 = SWIN__FN_8(numbers)(t->a + t->piece_a[piece], t->lead); \
    const SWIN__NUMBER *a3 = rows > 3 ? a0 + 3 * lda : a0, *a6 = rows > 6 ? a0 + 6 * lda : a0; \
    const SWIN__NUMBER *a9 = rows > 9 ? a0 + 9 * lda : a0, *a12 = rows > 12 ? a0 + 12 * lda : a0

#if defined(SWIN__PASS_avx512_vnni) || defined(SWIN__PASS_avx2_vnni)
/* A microtile has one or two registers of sums a row, of so many outputs each, whose weights lie so
   many floats apart: those of two panels, or the halves of one. */
#ifdef SWIN__PASS_avx512_vnni
#define SWIN__INTS           __m512i
#define SWIN__OUTPUTS        16
#define SWIN__APART(t)       (t)->panel
#define SWIN__REGISTERS      panels
#define SWIN__TAKE(p)        _mm512_loadu_si512(p)
#define SWIN__LEAVE(p, v)    _mm512_storeu_si512(p, v)
#define SWIN__DOT(sum, x, w) _mm512_dpbusd_epi32(sum, x, w)
#define SWIN__BROADCAST(x)   _mm512_set1_epi32(x)
#define SWIN__VPDPBUSD       "vpdpbusd"
#define SWIN__KIND           "v"
#define SWIN__MINUS(a, b)    _mm512_sub_epi32(a, b)
#define SWIN__FINISH(i, p, s) \
    if (rows > i) { \
        SWIN__FN_8(outputs)(t, i, 0, _mm512_cvtepi32_ps(c##i)); \
        if (panels > 1) SWIN__FN_8(outputs)(t, i, 1, _mm512_cvtepi32_ps(d##i)); \
    }
#else
#define SWIN__INTS           __m256i
#define SWIN__OUTPUTS        8
#define SWIN__APART(t)       8
#define SWIN__REGISTERS      (2 * panels)
#define SWIN__TAKE(p)        _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define SWIN__LEAVE(p, v)    _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define SWIN__DOT(sum, x, w) _mm256_dpbusd_avx_epi32(sum, x, w)
#define SWIN__BROADCAST(x)   _mm256_set1_epi32(x)
#define SWIN__VPDPBUSD       "%{vex%} vpdpbusd" /* assemblers take it for AVX-512's */
#define SWIN__KIND           "x"
#define SWIN__MINUS(a, b)    _mm256_sub_epi32(a, b)
#define SWIN__FINISH(i, p, s) \
    if (rows > i) { \
        const swin__v16 sums = {_mm256_cvtepi32_ps(c##i), _mm256_cvtepi32_ps(d##i)}; \
        SWIN__FN_8(outputs)(t, i, 0, sums); \
    }
#endif
#define SWIN__SUMS(i, p, s) SWIN__INTS c##i = c, d##i = d;
#if defined(__GNUC__) || defined(__clang__) /* left to themselves they spill */
#define SWIN__TERM(i, p, s) \
    if (rows > i) { \
        SWIN__INTS x; \
        const swin__quad *four = (const swin__quad *)(const void *)(p + s * lda); \
        if (SWIN__REGISTERS > 1) \
            __asm__("vpbroadcastd %3, %2\n\t" SWIN__VPDPBUSD " %4, %2, %0\n\t" \
                    SWIN__VPDPBUSD " %5, %2, %1" \
                    : "+" SWIN__KIND(c##i), "+" SWIN__KIND(d##i), "=&" SWIN__KIND(x) \
                    : "m"(*four), SWIN__KIND(w0), SWIN__KIND(w1)); \
        else \
            __asm__("vpbroadcastd %2, %1\n\t" SWIN__VPDPBUSD " %3, %1, %0" \
                    : "+" SWIN__KIND(c##i), "=&" SWIN__KIND(x) : "m"(*four), SWIN__KIND(w0)); \
    }
#else
#define SWIN__TERM(i, p, s) \
    if (rows > i) { \
        int32_t four; \
        memcpy(&four, p + s * lda, sizeof four); \
        const SWIN__INTS x = SWIN__BROADCAST(four); \
        c##i = SWIN__DOT(c##i, x, w0); \
        if (SWIN__REGISTERS > 1) d##i = SWIN__DOT(d##i, x, w1); \
    }
#endif
/* Up to 14 rows of one or two panels in 28 of 32 registers, or 6 rows of one panel in 12 of 16. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    const SWIN__INTS c = SWIN__TAKE(t->start), d = SWIN__TAKE(t->start + SWIN__OUTPUTS);
    const size_t lda = 4 * t->lda;
    SWIN__PREFETCHES(t, rows, panels);
    SWIN__ROWS(SWIN__SUMS)
    for (int i = 0; i < t->pieces; i++) {
        const float *w = t->b + (size_t)i * t->piece_b;
        SWIN__POINTERS(i);
        for (int k = t->k; k > 0; k--, a0 += 4, a3 += 4, a6 += 4, a9 += 4, a12 += 4, w += 16) {
            const SWIN__INTS w0 = SWIN__TAKE(w);
            const SWIN__INTS w1 = SWIN__REGISTERS > 1 ? SWIN__TAKE(w + SWIN__APART(t)) : w0;
            SWIN__ROWS(SWIN__TERM)
            swin__prefetch_line(&ahead, &next);
        }
    }
    SWIN__ROWS(SWIN__FINISH)
}

/* -128 times the sum of each column's weights. */
static void SWIN__FN_8(starts)(const swin__product *p, int n, int panels, int32_t *start)
{
    const SWIN__INTS zeros = SWIN__BROADCAST(-0x7f7f7f80); /* bytes of 128 */
    const SWIN__INTS zero = SWIN__BROADCAST(0);
    for (int j = 0; j < SWIN__REGISTERS; j++) {
        const float *first = p->b + (size_t)(n / 16) * p->panel + (size_t)j * SWIN__APART(p);
        SWIN__INTS sum = zero, more = zero;
        for (int i = 0; i < p->pieces; i++) {
            const float *w = first + (size_t)i * p->piece_b;
            int k = 0;
            for (; k + 2 <= p->k; k += 2, w += 32) {
                sum = SWIN__DOT(sum, zeros, SWIN__TAKE(w));
                more = SWIN__DOT(more, zeros, SWIN__TAKE(w + 16));
            }
            if (k < p->k) sum = SWIN__DOT(sum, zeros, SWIN__TAKE(w));
        }
        sum = SWIN__MINUS(SWIN__MINUS(zero, sum), more);
        SWIN__LEAVE(start + SWIN__OUTPUTS * j, sum);
    }
}
#undef SWIN__INTS
#undef SWIN__OUTPUTS
#undef SWIN__APART
#undef SWIN__REGISTERS
#undef SWIN__TAKE
#undef SWIN__LEAVE
#undef SWIN__DOT
#undef SWIN__BROADCAST
#undef SWIN__VPDPBUSD
#undef SWIN__KIND
#undef SWIN__MINUS

#elif defined(SWIN__PASS_avx512)
#define SWIN__SUMS(i, p, s) __m512i c##i = zero, d##i = zero;
#define SWIN__TERM(i, p, s) \
    if (rows > i) { \
        int64_t four; \
        memcpy(&four, p + s * lda, sizeof four); \
        const __m512i x = _mm512_set1_epi64(four); \
        c##i = _mm512_add_epi32(c##i, _mm512_madd_epi16(x, w0)); \
        d##i = _mm512_add_epi32(d##i, _mm512_madd_epi16(x, w1)); \
    }
#define SWIN__FINISH(i, p, s) \
    if (rows > i) { \
        const __m512i evens = _mm512_permutex2var_epi32(c##i, even, d##i); \
        const __m512i odds = _mm512_permutex2var_epi32(c##i, odd, d##i); \
        const __m512i sums = _mm512_add_epi32(evens, odds); \
        SWIN__FN_8(outputs)(t, i, 0, _mm512_cvtepi32_ps(sums)); \
    }
/* Up to 12 rows of one panel: two sums of each output, side by side. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                           30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __m512i zero = _mm512_setzero_si512();
    const size_t lda = 2 * t->lda;
    SWIN__PREFETCHES(t, rows, 1);
    SWIN__ROWS(SWIN__SUMS)
    (void)panels;
    for (int i = 0; i < t->pieces; i++) {
        const __m256i *w = (const __m256i *)(const void *)(t->b + (size_t)i * t->piece_b);
        SWIN__POINTERS(i);
        for (int k = t->k; k > 0; k--, a0 += 4, a3 += 4, a6 += 4, a9 += 4, a12 += 4, w += 2) {
            const __m512i w0 = _mm512_cvtepi8_epi16(_mm256_loadu_si256(w));
            const __m512i w1 = _mm512_cvtepi8_epi16(_mm256_loadu_si256(w + 1));
            SWIN__ROWS(SWIN__TERM)
            swin__prefetch_line(&ahead, &next);
        }
    }
    SWIN__ROWS(SWIN__FINISH)
}

#elif defined(SWIN__PASS_avx2)
#define SWIN__SUMS(i, p, s) __m256i c##i = zero, d##i = zero;
#if defined(__GNUC__) || defined(__clang__) /* as for VNNI */
#define SWIN__TERM(i, p, s) \
    if (rows > i) { \
        __m256i x, y; \
        __asm__("vpbroadcastq %4, %2\n\tvpmaddwd %5, %2, %3\n\tvpmaddwd %6, %2, %2\n\t" \
                "vpaddd %3, %0, %0\n\tvpaddd %2, %1, %1" \
                : "+x"(c##i), "+x"(d##i), "=&x"(x), "=&x"(y) \
                : "m"(*(const swin__quad16 *)(const void *)(p + s * lda)), "x"(w0), "x"(w1)); \
    }
#else
#define SWIN__TERM(i, p, s) \
    if (rows > i) { \
        int64_t four; \
        memcpy(&four, p + s * lda, sizeof four); \
        const __m256i x = _mm256_set1_epi64x(four); \
        c##i = _mm256_add_epi32(c##i, _mm256_madd_epi16(x, w0)); \
        d##i = _mm256_add_epi32(d##i, _mm256_madd_epi16(x, w1)); \
    }
#endif
#define SWIN__FINISH(i, p, s) \
    if (rows > i) { \
        const __m256i pairs = _mm256_hadd_epi32(c##i, d##i); \
        _mm256_storeu_si256((__m256i *)(void *)(sums + 16 * i), \
                            _mm256_permute4x64_epi64(pairs, 0xd8)); \
    }
/* The sums of up to six rows of half a panel, [row][16]: two of each output, side by side. */
SWIN__INLINE void SWIN__FN_8(half_panel)(const swin__microtile *t, const float *panel, int rows,
                                         int32_t *sums, swin__lines *ahead,
                                         const swin__lines **next)
{
    const __m256i zero = _mm256_setzero_si256();
    const size_t lda = 2 * t->lda;
    SWIN__ROWS(SWIN__SUMS)
    for (int i = 0; i < t->pieces; i++) {
        const __m128i *w = (const __m128i *)(const void *)(panel + (size_t)i * t->piece_b);
        SWIN__POINTERS(i);
        (void)a6, (void)a9, (void)a12;
        for (int k = t->k; k > 0; k--, a0 += 4, a3 += 4, w += 4) {
            const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(w));
            const __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(w + 1));
            SWIN__ROWS(SWIN__TERM)
            swin__prefetch_line(ahead, next);
        }
    }
    SWIN__ROWS(SWIN__FINISH)
}

/* Up to six rows of a panel, half after half. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    SWIN__ALIGNED int32_t sums[6 * 16];
    SWIN__PREFETCHES(t, rows, 1);
    (void)panels;
    SWIN__FN_8(half_panel)(t, t->b, rows, sums, &ahead, &next);
    SWIN__FN_8(half_panel)(t, t->b + 8, rows, sums + 8, &ahead, &next);
    for (int i = 0; i < rows; i++) SWIN__FN_8(outputs)(t, i, 0, swin__vints(sums + 16 * i));
}
#endif
#undef SWIN__ROWS
#undef SWIN__POINTERS
#undef SWIN__SUMS
#undef SWIN__TERM
#undef SWIN__FINISH
#endif /* x86 */

#ifdef SWIN__PASS_wasm
#define SWIN__EACH_ROW(X) X(0) X(1) X(2) X(3) X(4)
#define SWIN__SUMS(i) v128_t a##i = zero, b##i = zero;
#define SWIN__TERM(i) \
    if (rows > i) { \
        const v128_t x = wasm_v128_load64_splat(a + i * lda); \
        a##i = wasm_i32x4_add(a##i, wasm_i32x4_dot_i16x8(x, w0)); \
        b##i = wasm_i32x4_add(b##i, wasm_i32x4_dot_i16x8(x, w1)); \
    }
#define SWIN__FINISH(i) \
    if (rows > i) { \
        const v128_t evens = wasm_i32x4_shuffle(a##i, b##i, 0, 2, 4, 6); \
        const v128_t odds = wasm_i32x4_shuffle(a##i, b##i, 1, 3, 5, 7); \
        wasm_v128_store(sums + 16 * i, wasm_i32x4_add(evens, odds)); \
    }
/* The sums of up to five rows and four outputs of a panel, [row][16]: two of each output, side by
   side. */
SWIN__INLINE void SWIN__FN_8(quarter_panel)(const swin__microtile *t, const float *panel, int rows,
                                            int32_t *sums)
{
    const v128_t zero = wasm_i32x4_splat(0);
    const size_t lda = 2 * t->lda;
    SWIN__EACH_ROW(SWIN__SUMS)
    for (int i = 0; i < t->pieces; i++) {
        const int16_t *a = SWIN__FN_8(numbers)(t->a + t->piece_a[i], t->lead);
        const float *w = panel + (size_t)i * t->piece_b;
        for (int k = t->k; k > 0; k--, a += 4, w += 16) {
            const v128_t w0 = wasm_i16x8_load8x8(w), w1 = wasm_i16x8_load8x8(w + 2);
            SWIN__EACH_ROW(SWIN__TERM)
        }
    }
    SWIN__EACH_ROW(SWIN__FINISH)
}

/* Up to five rows of a panel, quarter after quarter. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    int32_t sums[5 * 16];
    (void)panels;
    for (int j = 0; j < 16; j += 4) SWIN__FN_8(quarter_panel)(t, t->b + j, rows, sums + j);
    for (int i = 0; i < rows; i++) SWIN__FN_8(outputs)(t, i, 0, swin__vints(sums + 16 * i));
}
#undef SWIN__EACH_ROW
#undef SWIN__SUMS
#undef SWIN__TERM
#undef SWIN__FINISH
#endif /* SWIN__PASS_wasm */

#ifdef SWIN__PASS_neon
#define SWIN__EACH_ROW(X) X(0) X(1)
#define SWIN__SUMS(i) \
    int32x4_t a##i = zero, b##i = zero, c##i = zero, d##i = zero; \
    int32x4_t e##i = zero, f##i = zero, g##i = zero, h##i = zero; \
    int8x16_t x##i = nothing, y##i = nothing;
#define SWIN__ONE(i) if (rows > i) x##i = SWIN__FN_8(broadcast)(x + i * lda);
#define SWIN__TWO(i) if (rows > i) y##i = SWIN__FN_8(broadcast)(x + i * lda + 4);
/* The sums of four outputs of row i: of two quads, u and v. */
#define SWIN__TERM(i, low, high) \
    if (rows > i) { \
        int16x8_t p = vmull_s8(vget_low_s8(u), vget_low_s8(x##i)); \
        p = vmlal_s8(p, vget_low_s8(v), vget_low_s8(y##i)); \
        low##i = vpadalq_s16(low##i, p); \
        p = vmull_high_s8(u, x##i); \
        p = vmlal_high_s8(p, v, y##i); \
        high##i = vpadalq_s16(high##i, p); \
    }
#define SWIN__FOUR(first, low, high) \
    { \
        const int8x16_t u = vld1q_s8(w + first), v = two ? vld1q_s8(w + 64 + first) : nothing; \
        SWIN__TERM(0, low, high) \
        SWIN__TERM(1, low, high) \
    }
#define SWIN__QUADS(pair) \
    { \
        const int two = pair; \
        SWIN__EACH_ROW(SWIN__ONE) \
        if (two) { SWIN__EACH_ROW(SWIN__TWO) } \
        SWIN__FOUR(0, a, b) SWIN__FOUR(16, c, d) SWIN__FOUR(32, e, f) SWIN__FOUR(48, g, h) \
    }
#define SWIN__FINISH(i) \
    if (rows > i) { \
        vst1q_s32(sums, vpaddq_s32(a##i, b##i)), vst1q_s32(sums + 4, vpaddq_s32(c##i, d##i)); \
        vst1q_s32(sums + 8, vpaddq_s32(e##i, f##i)), vst1q_s32(sums + 12, vpaddq_s32(g##i, h##i)); \
        SWIN__FN_8(outputs)(t, i, 0, swin__vints(sums)); \
    }
/* Up to two rows of a panel, two quads at a time: two products of bytes are added in 16 bits, which
   hold the largest, and these in pairs to the sums, two of each output, side by side. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    const int32x4_t zero = vdupq_n_s32(0);
    const int8x16_t nothing = vdupq_n_s8(0);
    const size_t lda = 4 * t->lda;
    int32_t sums[16];
    SWIN__PREFETCHES(t, rows, 1);
    SWIN__EACH_ROW(SWIN__SUMS)
    (void)panels;
    for (int i = 0; i < t->pieces; i++) {
        const int8_t *x = SWIN__FN_8(numbers)(t->a + t->piece_a[i], t->lead);
        const int8_t *w = (const int8_t *)(const void *)(t->b + (size_t)i * t->piece_b);
        int k = t->k;
        for (; k >= 2; k -= 2, x += 8, w += 128) {
            SWIN__QUADS(1)
            swin__prefetch_line(&ahead, &next);
        }
        if (k > 0) SWIN__QUADS(0)
    }
    SWIN__EACH_ROW(SWIN__FINISH)
}
#undef SWIN__EACH_ROW
#undef SWIN__SUMS
#undef SWIN__ONE
#undef SWIN__TWO
#undef SWIN__TERM
#undef SWIN__FOUR
#undef SWIN__QUADS
#undef SWIN__FINISH
#endif /* SWIN__PASS_neon */

#ifdef SWIN__PASS_neon_dot
#define SWIN__EACH_ROW(X) X(0) X(1) X(2) X(3) X(4)
#define SWIN__SUMS(i) \
    int32x4_t a##i = zero, b##i = zero, c##i = zero, d##i = zero; \
    int8x16_t x##i = vreinterpretq_s8_s32(zero);
#define SWIN__FOUR(i) if (rows > i) x##i = vld1q_s8(x + i * lda);
#define SWIN__ONE(i)  if (rows > i) x##i = SWIN__FN_8(broadcast)(x + i * lda);
#define SWIN__COLUMN(sum, from, e) \
    { \
        const int8x16_t v = vld1q_s8(from); \
        sum##0 = vdotq_laneq_s32(sum##0, v, x0, e); \
        if (rows > 1) sum##1 = vdotq_laneq_s32(sum##1, v, x1, e); \
        if (rows > 2) sum##2 = vdotq_laneq_s32(sum##2, v, x2, e); \
        if (rows > 3) sum##3 = vdotq_laneq_s32(sum##3, v, x3, e); \
        if (rows > 4) sum##4 = vdotq_laneq_s32(sum##4, v, x4, e); \
    }
#define SWIN__STEP(e) \
    SWIN__COLUMN(a, w, e) \
    SWIN__COLUMN(b, w + 16, e) \
    SWIN__COLUMN(c, w + 32, e) \
    SWIN__COLUMN(d, w + 48, e) \
    swin__prefetch_line(&ahead, &next); \
    w += 64;
#define SWIN__FINISH(i) \
    if (rows > i) { \
        vst1q_s32(sums, a##i), vst1q_s32(sums + 4, b##i); \
        vst1q_s32(sums + 8, c##i), vst1q_s32(sums + 12, d##i); \
        SWIN__FN_8(outputs)(t, i, 0, swin__vints(sums)); \
    }
/* Up to five rows of a panel: four quads of each in a register, multiplied by element. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    const int32x4_t zero = vdupq_n_s32(0);
    const size_t lda = 4 * t->lda;
    int32_t sums[16];
    SWIN__PREFETCHES(t, rows, 1);
    SWIN__EACH_ROW(SWIN__SUMS)
    (void)panels;
    for (int i = 0; i < t->pieces; i++) {
        const int8_t *x = SWIN__FN_8(numbers)(t->a + t->piece_a[i], t->lead);
        const int8_t *w = (const int8_t *)(const void *)(t->b + (size_t)i * t->piece_b);
        int k = t->k;
        for (; k >= 4; k -= 4, x += 16) {
            SWIN__EACH_ROW(SWIN__FOUR)
            SWIN__STEP(0)
            SWIN__STEP(1)
            SWIN__STEP(2)
            SWIN__STEP(3)
        }
        for (; k > 0; k--, x += 4) {
            SWIN__EACH_ROW(SWIN__ONE)
            SWIN__STEP(0)
        }
    }
    SWIN__EACH_ROW(SWIN__FINISH)
}
#undef SWIN__EACH_ROW
#undef SWIN__SUMS
#undef SWIN__FOUR
#undef SWIN__ONE
#undef SWIN__COLUMN
#undef SWIN__STEP
#undef SWIN__FINISH
#endif /* SWIN__PASS_neon_dot */

#ifdef SWIN__PASS_avx512_amx
/* Gives the tiles their shapes, for so many rows and k quads: 0 and 1 are the sums of two panels,
   [row][16]; 2 is 16 quads of A's rows, 3 and 4 are those of the panels, [quad][16]; 5, 6 and 7 are
   the same for the quads at the end that are fewer. */
static void SWIN__FN_8(shape_tiles)(int rows, int k)
{
    const int last = k % 16, heights[8] = {rows, rows, rows, 16, 16, rows, last, last};
    uint8_t shapes[64] = {1}; /* the palette; bytes of a row from 16 on, rows from 48 on */
    for (int i = 0; i < (last ? 8 : 5); i++) {
        shapes[16 + 2 * i] = (uint8_t)(i == 5 ? 4 * last : 64);
        shapes[48 + i] = (uint8_t)heights[i];
    }
    __asm__ volatile("" : : "r"(shapes) : "memory"); /* GCC takes them for eight bytes */
    _tile_loadconfig(shapes);
}

/* The sums of a microtile, [panel][row][16]. */
static void SWIN__FN_8(sum)(const swin__microtile *t, int panels, int32_t *sums, swin__lines *ahead,
                            const swin__lines **next)
{
    const size_t lda = 4 * t->lda;
    _tile_zero(0);
    _tile_zero(1);
    for (int i = 0; i < t->pieces; i++) {
        const int8_t *x = SWIN__FN_8(numbers)(t->a + t->piece_a[i], t->lead);
        const float *w = t->b + (size_t)i * t->piece_b;
        int k = t->k;
        for (; k >= 16; k -= 16, x += 64, w += 256) {
            _tile_loadd(2, x, lda);
            _tile_loadd(3, w, 64);
            _tile_dpbssd(0, 2, 3);
            for (int j = 0; j < 16; j++) swin__prefetch_line(ahead, next);
            if (panels == 1) continue;
            _tile_loadd(4, w + t->panel, 64);
            _tile_dpbssd(1, 2, 4);
        }
        if (k == 0) continue;
        _tile_loadd(5, x, lda);
        _tile_loadd(6, w, 64);
        _tile_dpbssd(0, 5, 6);
        for (; k > 0; k--) swin__prefetch_line(ahead, next);
        if (panels == 1) continue;
        _tile_loadd(7, w + t->panel, 64);
        _tile_dpbssd(1, 5, 7);
    }
    _tile_stored(0, sums, 64);
    if (panels > 1) _tile_stored(1, sums + 256, 64);
}

SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    SWIN__ALIGNED int32_t sums[2 * 256];
    SWIN__PREFETCHES(t, rows, panels);
    SWIN__FN_8(sum)(t, panels, sums, &ahead, &next);
    for (int p = 0; p < panels; p++)
        for (int i = 0; i < rows; i++)
            SWIN__FN_8(outputs)(t, i, p, _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + 256 * p +
                                                                               16 * i)));
}

/* Threads that do not use the tiles have no 8 KiB of them to be saved. */
#define SWIN__BEGIN_8(t, rows) SWIN__FN_8(shape_tiles)(rows, (t)->k)
#define SWIN__END_8            _tile_release()
#endif /* SWIN__PASS_avx512_amx */

#ifdef SWIN__PASS_neon_i8mm
/* X(pair of rows, the first of them). */
#define SWIN__EACH_PAIR(X) X(0, 0) X(1, 2) X(2, 4) X(3, 6)
#define SWIN__SUMS(j, i) int32x4_t a##j = zero, b##j = zero, c##j = zero, d##j = zero;
#define SWIN__TERM(j, i) \
    if (rows > i) { \
        const int8_t *other = rows > i + 1 ? x + (i + 1) * lda : x + i * lda; \
        const int8x16_t both = vcombine_s8(vld1_s8(x + i * lda), vld1_s8(other)); \
        a##j = vmmlaq_s32(a##j, both, w0); \
        b##j = vmmlaq_s32(b##j, both, w1); \
        c##j = vmmlaq_s32(c##j, both, w2); \
        d##j = vmmlaq_s32(d##j, both, w3); \
    }
#define SWIN__STORE(to, get, j) \
    vst1_s32(to, get(a##j)), vst1_s32((to) + 2, get(b##j)); \
    vst1_s32((to) + 4, get(c##j)), vst1_s32((to) + 6, get(d##j));
#define SWIN__FINISH(j, i) \
    if (rows > i) { \
        SWIN__STORE(sums + 16 * i, vget_low_s32, j) \
        if (rows > i + 1) { SWIN__STORE(sums + 16 * i + 16, vget_high_s32, j) } \
    }
/* The sums of up to eight rows of half a panel, [row][16], two quads at a time: a register holds
   eight terms of two rows, or of two outputs. */
SWIN__INLINE void SWIN__FN_8(half_panel)(const swin__microtile *t, const float *panel, int rows,
                                         int32_t *sums, swin__lines *ahead,
                                         const swin__lines **next)
{
    const int32x4_t zero = vdupq_n_s32(0);
    const size_t lda = 4 * t->lda;
    SWIN__EACH_PAIR(SWIN__SUMS)
    for (int i = 0; i < t->pieces; i++) {
        const int8_t *x = SWIN__FN_8(numbers)(t->a + t->piece_a[i], t->lead);
        const int32_t *w = (const int32_t *)(const void *)(panel + (size_t)i * t->piece_b);
        for (int k = t->k; k > 0; k -= 2, x += 8, w += 32) {
            const int32x4_t u0 = vld1q_s32(w), u1 = vld1q_s32(w + 4);
            const int32x4_t v0 = k > 1 ? vld1q_s32(w + 16) : zero;
            const int32x4_t v1 = k > 1 ? vld1q_s32(w + 20) : zero;
            const int8x16_t w0 = vreinterpretq_s8_s32(vzip1q_s32(u0, v0));
            const int8x16_t w1 = vreinterpretq_s8_s32(vzip2q_s32(u0, v0));
            const int8x16_t w2 = vreinterpretq_s8_s32(vzip1q_s32(u1, v1));
            const int8x16_t w3 = vreinterpretq_s8_s32(vzip2q_s32(u1, v1));
            SWIN__EACH_PAIR(SWIN__TERM)
            swin__prefetch_line(ahead, next);
        }
    }
    SWIN__EACH_PAIR(SWIN__FINISH)
}

/* Up to eight rows of a panel, half after half. */
SWIN__INLINE void SWIN__FN_8(microtile8)(swin__microtile *t, int rows, int panels)
{
    int32_t sums[8 * 16];
    SWIN__PREFETCHES(t, rows, 1);
    (void)panels;
    SWIN__FN_8(half_panel)(t, t->b, rows, sums, &ahead, &next);
    SWIN__FN_8(half_panel)(t, t->b + 8, rows, sums + 8, &ahead, &next);
    for (int i = 0; i < rows; i++) SWIN__FN_8(outputs)(t, i, 0, swin__vints(sums + 16 * i));
}
#undef SWIN__EACH_PAIR
#undef SWIN__SUMS
#undef SWIN__TERM
#undef SWIN__STORE
#undef SWIN__FINISH
#endif /* SWIN__PASS_neon_i8mm */

/* What a pass does before and after microtiles of so many rows. */
#ifndef SWIN__BEGIN_8
#define SWIN__BEGIN_8(t, rows) ((void)0)
#define SWIN__END_8            ((void)0)
#endif
#define SWIN__SHAPE_8(rows, panels) \
    static void SWIN__FN_8(microtiles8_##rows##x##panels)(swin__microtile *t, int count) \
    { \
        SWIN__BEGIN_8(t, rows); \
        for (; count > 0; count--) { \
            SWIN__FN_8(microtile8)(t, rows, panels); \
            SWIN__FN(finish)(t, rows, panels); \
        } \
        SWIN__END_8; \
    }
#define SWIN__SHAPE_1(rows) SWIN__SHAPE_8(rows, 1)
#define SWIN__SHAPE_2(rows) SWIN__SHAPE_8(rows, 2)
#define SWIN__ENTRY_1(rows) SWIN__FN_8(microtiles8_##rows##x1),
#define SWIN__ENTRY_2(rows) SWIN__FN_8(microtiles8_##rows##x2),
SWIN__UP_TO(SWIN__ROWS_OF_1_8, SWIN__SHAPE_1)
SWIN__UP_TO(SWIN__ROWS_OF_2_8, SWIN__SHAPE_2)

/* The product of quantised rows with weights of eight bits. The sums over k are whole numbers,
   exact in any order; an output is (float)sum * scale * column + init, the product of the first
   two rounded, then a fused multiply-add. Then the activation and onto, as in gemm. */
static void SWIN__FN_8(gemm8)(const swin__product *p)
{
    static const swin__microtiles one[] = {SWIN__UP_TO(SWIN__ROWS_OF_1_8, SWIN__ENTRY_1) NULL};
    static const swin__microtiles two[] = {SWIN__UP_TO(SWIN__ROWS_OF_2_8, SWIN__ENTRY_2) NULL};
    static const size_t as_it_stands = 0;
    const swin__shapes shapes = {{one, two}, {SWIN__ROWS_OF_1_8, SWIN__ROWS_OF_2_8}};
    swin__product quads = *p;
    quads.k = (p->lead + p->k + 3) / 4;
    if (!p->pieces) quads.pieces = 1, quads.piece_a = &as_it_stands;
    for (int n = 0, panels; n < p->n; n += 16 * panels) {
        int32_t start[32] = {0};
        panels = swin__panels_at(p, n, &shapes);
#ifdef SWIN__STARTS_8
        SWIN__FN_8(starts)(&quads, n, panels, start);
#endif
        swin__compute_panels(&quads, n, panels, 0, quads.k, start, &shapes);
    }
}
#undef SWIN__BEGIN_8
#undef SWIN__END_8
#undef SWIN__SHAPE_8
#undef SWIN__SHAPE_1
#undef SWIN__SHAPE_2
#undef SWIN__ENTRY_1
#undef SWIN__ENTRY_2

/* The largest |x| of a row of n numbers; NaN > infinity > all others. */
SWIN__INLINE float SWIN__FN_8(widest)(const float *x, int n, float top)
{
    swin__v16 all = swin__vset1(top);
    int c = 0;
    for (; c + 16 <= n; c += 16) all = swin__vwider(swin__vload(x + c), all);
    if (c < n) all = swin__vwider(swin__vkeep(swin__vload(x + c), n - c), all);
    return swin__vwidest(all);
}

/* A row of n numbers times `inverse`, rounded: as the numbers of a quantised row; `real` 0: zeros
   instead. */
SWIN__INLINE void SWIN__FN_8(quantise_row)(float *dst, const float *x, int n, float scale,
                                           float inverse, int real)
{
    const swin__v16 magic = swin__vset1(SWIN__MAGIC_8), factor = swin__vset1(inverse);
    SWIN__NUMBER *to = (SWIN__NUMBER *)(void *)(dst + SWIN__NUMBERS);
    int c = 0;
    for (; real && c + 16 <= n; c += 16)
        SWIN__FN_8(put)(to + c, swin__vfma(swin__vload(x + c), factor, magic));
    if (real && c < n)
        SWIN__FN_8(put)(to + c, swin__vfma(swin__vkeep(swin__vload(x + c), n - c), factor, magic));
    for (; !real && c < n; c += 16) SWIN__FN_8(put)(to + c, magic);
    if (c < n) c += 16;
    for (int i = 0; i < 4; i++) to[c + i] = to[i - 4] = SWIN__NO_NUMBER;
    dst[0] = scale;
}

/* Rows of n numbers become quantised rows: scale = the largest |x| of the row, or of all rows if
   they go together, / 127, and each number x * (127 / the largest), rounded once to a whole one,
   ties to even. A row, or all of them, below 2^-100 becomes zeros with the scale 0; one that is not
   finite zeros with the scale NaN. dst may be src, with ldd = lds. */
static void SWIN__FN_8(quantise)(float *dst, size_t ldd, const float *src, size_t lds, int rows,
                                 int n, int together)
{
    float top = 0;
    for (int i = 0; together && i < rows; i++)
        top = SWIN__FN_8(widest)(src + (size_t)i * lds, n, top);
    for (int i = 0; i < rows; i++, dst += ldd, src += lds) {
        if (!together) top = SWIN__FN_8(widest)(src, n, 0);
        const int least = top >= 7.88860905e-31f, finite = top <= 3.40282347e38f;
        if (least && finite) SWIN__FN_8(quantise_row)(dst, src, n, top / 127, 127 / top, 1);
        else SWIN__FN_8(quantise_row)(dst, src, n, top < 1 ? 0 : swin__not_a_number(), 0, 0);
    }
}

#define SWIN__ENTRY(name, parameters) SWIN__FN(name),
#define SWIN__ENTRY_IF(needed, name, parameters) SWIN__IF(needed, SWIN__FN(name)),
#define SWIN__ENTRY_8(needed, name, parameters) SWIN__IF(needed, SWIN__FN_8(name)),
static const swin__kernels SWIN__FN_8(kernels) = {
    SWIN__CPU, SWIN__KERNELS(SWIN__ENTRY) SWIN__KERNELS_IF(SWIN__ENTRY_IF)
    SWIN__KERNELS_8(SWIN__ENTRY_8)
};
#undef SWIN__ENTRY
#undef SWIN__ENTRY_IF
#undef SWIN__ENTRY_8
#undef SWIN__NUMBER
#undef SWIN__NO_NUMBER
#undef SWIN__MAGIC_8
#undef SWIN__ROWS_OF_1_8
#undef SWIN__ROWS_OF_2_8
#undef SWIN__STARTS_8
#undef SWIN__FN_8

/* The end of a pass: of its vector, its microtiles and its region of target options. */
#undef SWIN__1
#undef SWIN__2
#undef SWIN__3
#undef SWIN__PICK
#undef SWIN__FOLD
#undef SWIN__CPU
#undef SWIN__FN
#undef SWIN__ROWS_OF_1
#undef SWIN__ROWS_OF_2
#undef SWIN__DEPTH
#undef SWIN__MICROTILE_1_BY_ELEMENT
#undef SWIN__MICROTILE_1_BY_HALVES
#undef SWIN__MADD
#undef SWIN__NMADD
#undef SWIN__MICROTILE_2_BY_REGISTER
#undef SWIN__ONLY_8
#undef SWIN__REPEATED
#undef SWIN__OUTLINE
#ifdef SWIN__TARGET
#undef SWIN__TARGET
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif
#endif

#endif /* SWIN__PASS */

/* --- the passes, and the choice among them ---------------------------------------------------- */

#ifndef SWIN__PASS

#define SWIN__PASS
#if SWIN__BUILDS_scalar
#define SWIN__PASS_scalar
#include SWIN_HEADER_NAME
#undef SWIN__PASS_scalar
#endif
#if SWIN__BUILDS_wasm
#define SWIN__PASS_wasm
#include SWIN_HEADER_NAME
#undef SWIN__PASS_wasm
#endif
#if SWIN__BUILDS_neon
#define SWIN__PASS_neon
#include SWIN_HEADER_NAME
#undef SWIN__PASS_neon
#endif
#if SWIN__BUILDS_neon_dot
#define SWIN__PASS_neon_dot
#include SWIN_HEADER_NAME
#undef SWIN__PASS_neon_dot
#endif
#if SWIN__BUILDS_neon_i8mm
#define SWIN__PASS_neon_i8mm
#include SWIN_HEADER_NAME
#undef SWIN__PASS_neon_i8mm
#endif
#if SWIN__BUILDS_avx2
#define SWIN__PASS_avx2
#include SWIN_HEADER_NAME
#undef SWIN__PASS_avx2
#endif
#if SWIN__BUILDS_avx2_vnni
#define SWIN__PASS_avx2_vnni
#include SWIN_HEADER_NAME
#undef SWIN__PASS_avx2_vnni
#endif
#if SWIN__BUILDS_avx512
#define SWIN__PASS_avx512
#include SWIN_HEADER_NAME
#undef SWIN__PASS_avx512
#endif
#if SWIN__BUILDS_avx512_vnni
#define SWIN__PASS_avx512_vnni
#include SWIN_HEADER_NAME
#undef SWIN__PASS_avx512_vnni
#endif
#if SWIN__BUILDS_avx512_amx
#define SWIN__PASS_avx512_amx
#include SWIN_HEADER_NAME
#undef SWIN__PASS_avx512_amx
#endif
#undef SWIN__PASS

#if SWIN__BUILDS_scalar
static int swin__detects_scalar(void) { return 1; }
#endif
#if SWIN__BUILDS_wasm
static int swin__detects_wasm(void) { return 1; } /* else the module would not have been loaded */
#endif
#if SWIN__BUILDS_neon
static int swin__detects_neon(void) { return 1; } /* it is a part of AArch64 */
#endif
#if SWIN__BUILDS_neon_dot
static int swin__detects_neon_dot(void)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return 1;
#elif defined(__linux__)
    return (int)(getauxval(AT_HWCAP) >> 20 & 1); /* HWCAP_ASIMDDP */
#else
    return 0;
#endif
}
#endif
#if SWIN__BUILDS_neon_i8mm
static int swin__detects_neon_i8mm(void)
{
#if defined(__ARM_FEATURE_MATMUL_INT8)
    return 1;
#elif defined(__linux__)
    return (int)(getauxval(AT_HWCAP2) >> 13 & 1); /* HWCAP2_I8MM */
#else
    return 0;
#endif
}
#endif

#if SWIN__BUILDS_avx2 || SWIN__BUILDS_avx512
static void swin__cpuid(unsigned leaf, unsigned subleaf, unsigned r[4])
{
#ifdef _MSC_VER
    __cpuidex((int *)r, (int)leaf, (int)subleaf);
#else
    __cpuid_count(leaf, subleaf, r[0], r[1], r[2], r[3]);
#endif
}

/* XCR0, the register sets that the operating system saves: AVX-512 is no use under a system that
   forgets its registers. */
static unsigned swin__saved_registers(void)
{
#ifdef _MSC_VER
    return (unsigned)_xgetbv(0);
#else
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
#endif
}

/* Does the processor have FMA, AVX and F16C, all these features (leaf 7, EBX and ECX), and the
   system save all these registers? */
static int swin__x86_has(unsigned features, unsigned more, unsigned registers)
{
    const unsigned base = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29; /* FMA, OSXSAVE, AVX, F16C */
    unsigned r[4];
    swin__cpuid(0, 0, r);
    if (r[0] < 7) return 0;
    swin__cpuid(1, 0, r);
    if ((r[2] & base) != base) return 0;
    swin__cpuid(7, 0, r);
    return (r[1] & features) == features && (r[2] & more) == more &&
           (swin__saved_registers() & registers) == registers;
}
#endif
#if SWIN__BUILDS_avx2
static int swin__detects_avx2(void)
{
    return swin__x86_has(1u << 5 /* AVX2 */, 0, 0x06 /* xmm, ymm */);
}
#endif
#if SWIN__BUILDS_avx2_vnni
static int swin__detects_avx2_vnni(void)
{
    unsigned r[4];
    if (!swin__detects_avx2()) return 0;
    swin__cpuid(7, 0, r);
    if (r[0] < 1) return 0; /* the last subleaf */
    swin__cpuid(7, 1, r);
    return (int)(r[0] >> 4 & 1); /* AVX-VNNI */
}
#endif
#if SWIN__BUILDS_avx512
/* AVX-512, and these features beside it (leaf 7, ECX)? */
static int swin__has_avx512(unsigned more)
{
    const unsigned features = 1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    return swin__x86_has(features /* AVX2, F, DQ, BW, VL */, more, 0xe6 /* xmm, ymm, masks, zmm */);
}
static int swin__detects_avx512(void) { return swin__has_avx512(0); }
#endif
#if SWIN__BUILDS_avx512_vnni
static int swin__detects_avx512_vnni(void) { return swin__has_avx512(1u << 11); }
#endif
#if SWIN__BUILDS_avx512_amx
/* May this process use the tiles' registers? Asked of Linux without the C library. */
static int swin__may_use_tiles(void)
{
    const long arch_prctl = 158, get_permissions = 0x1022;
    uint64_t permissions = 0;
    long result;
    __asm__ volatile("syscall" : "=a"(result)
                     : "a"(arch_prctl), "D"(get_permissions), "S"(&permissions)
                     : "rcx", "r11", "memory");
    return result == 0 && permissions >> 18 & 1; /* the tiles' data */
}
static int swin__detects_avx512_amx(void)
{
    const unsigned features = 1u << 24 | 1u << 25; /* AMX-TILE, AMX-INT8 */
    const unsigned registers = 1u << 17 | 1u << 18; /* the tiles' shapes and data */
    unsigned r[4];
    if (!swin__detects_avx512()) return 0;
    swin__cpuid(7, 0, r);
    return (r[3] & features) == features && (swin__saved_registers() & registers) == registers &&
           swin__may_use_tiles();
}
#endif

/* The rows of SWIN_CPU_LIST, each at the place of its enumerator. */
typedef struct swin__pass {
    const char *name;
    int exact;
    int (*detected)(void);          /* NULL, as kernels: this build has no such pass */
    const swin__kernels *kernels;
} swin__pass;

/* x if a pass is built, NULL if not. */
#define SWIN__IF_BUILT(built, x) SWIN__IF_BUILT_IS(built, x)
#define SWIN__IF_BUILT_IS(built, x) SWIN__IF_BUILT_##built(x)
#define SWIN__IF_BUILT_0(x) NULL
#define SWIN__IF_BUILT_1(x) x
#define SWIN__ROW(cpu, name, exact) \
    {#name, exact, SWIN__IF_BUILT(SWIN__BUILDS_##name, swin__detects_##name), \
     SWIN__IF_BUILT(SWIN__BUILDS_##name, &swin__kernels_##name)},
static const swin__pass swin__passes[SWIN_CPU_COUNT] = {
    {"best", 0, NULL, NULL},
    SWIN_CPU_LIST(SWIN__ROW)
};
#undef SWIN__ROW

static int swin__runs_here(const swin__pass *pass) { return pass->detected && pass->detected(); }

enum { SWIN__LAST_UNASKED = SWIN_CPU_AVX512_VNNI };    /* AMX is for those who ask for it */

/* The kernels of an instruction set; NULL if this machine or build lacks it. Of SWIN_CPU_BEST those
   of the last pass that runs here, as the scalar one or what stands in for it does. */
static const swin__kernels *swin__choose(swin_cpu cpu)
{
    const swin__pass *pass;
    if ((unsigned)cpu >= SWIN_CPU_COUNT) return NULL;
    pass = &swin__passes[cpu == SWIN_CPU_BEST ? SWIN__LAST_UNASKED : (int)cpu];
    if (cpu == SWIN_CPU_BEST)
        while (!swin__runs_here(pass)) pass--;
    return swin__runs_here(pass) ? pass->kernels : NULL;
}

SWIN_API const char *swin_cpu_name(swin_cpu cpu)
{
    return (unsigned)cpu < SWIN_CPU_COUNT ? swin__passes[cpu].name : "no such instruction set";
}

SWIN_API int swin_cpu_available(swin_cpu cpu) { return swin__choose(cpu) != NULL; }

SWIN_API int swin_cpu_exact(swin_cpu cpu)
{
    const swin__kernels *kernels = swin__choose(cpu);
#if SWIN__BUILDS_wasm
    if (kernels && kernels->cpu == SWIN_CPU_WASM) return swin__fuses_wasm();
#endif
    return kernels && swin__passes[kernels->cpu].exact;
}

#endif /* !SWIN__PASS */
#endif /* SWIN__BUILDING */

#if defined(SWIN__BUILDING) && !defined(SWIN__PASS)
/* -------------------------------------------------------------------------- */
/* >>blob: the file format, version 2

   Little-endian; every part starts at a multiple of 64 bytes, in this order, zero bytes between:

   header, 128 bytes
       0  8 bytes  magic "\x89SWIN\r\n\x1a"
       8  u32      version, 2
      12  u32      endian mark, 0x01020304
      16  u64      size of the whole blob, a multiple of 64
      24  u32[2]   checksum of all bytes from 32 to the end: Fletcher's two sums over that range's
                   u32 words w, modulo 2^32:  for each w: a += w, b += a  (both start at 0; [a, b])
      32  u64[2]   config:    offset (128), size (without padding)
      48  u64[2]   directory: offset, count of entries of 128 bytes
      64  u64[2]   strings:   offset, size (without padding)
      80  u64[2]   data:      offset, size (to the end of the blob)
      96  32 bytes zero

   config     records, one after another: model, one `stage` a stage, head, classes, picture,
              rules, decoder, mit, sides, queries, birefnet, segments and instances, each if one of
              its fields is not 0, reference
       0  12 bytes name, zero-padded ASCII
      12  u32      bytes that follow
      16           fields of four bytes each, in the order of the tables in >>config
   directory  per tensor, in the order below
       0  64 bytes name, zero-padded ASCII
      64  u32      number type: 0 f32, 1 f16, 3 s8: two's complement bytes (2: reserved)
      68  u32      layout: 0 plain, 1 rows, 2 panels, 3 quads
      72  u32[4]   shape, unused dimensions 1
      88  u64      offset from the start of the blob; tensors follow each other, each at the next
                   multiple of 64, the first at the start of data
      96  u64      bytes
     104  24 bytes zero
   strings    UTF-8, each ended by a zero byte, in pairs: first one pair a class, its colour
              "#rrggbb" and its name of 1023 bytes at most, in class order; then notes, key and
              text ("licence", ...)

   Layouts
       plain   [s0][s1][s2][s3] as it is
       rows    [s0][s1 rounded up to 16]: rows padded with zeros; a vector is one row, shape {1, n}
       panels  [ceil(N/16)][K][16]: element (n, k) of a matrix {N, K} at ((n/16)*K + k)*16 + n%16;
               outputs beyond N are zero. A convolution's k is (ky*kernel + kx)*inputs + channel
       quads   [ceil(N/16)][ceil(K/4)][16][4]: element (n, k) of a matrix {N, K} of s8 at
               ((n/16)*ceil(K/4) + k/4)*64 + (n%16)*4 + k%4; zero beyond N and K; K is 131072 at
               most

   Number types: weights in panels but embed's, tokens and positions may be f16, each tensor by
   itself; of BiRefNet's gate{l}.out, out and image not. Instead of in panels these weights, but a
   pyramid's branches, offsets, mean and fuse, may be s8 in quads: then .scale {1, outputs} follows
   .weight, finite and 0 at least, and output n's weights are its scale times the bytes. All else is
   f32.

   Tensors, in order. Layers have .weight (panels) and .bias {1, outputs}, norms .weight and .bias
   {1, C}. packed = heads * dp, where dp is the head width d rounded up to 16; q's rows and bias
   hold the factor d^-0.5, but for Swin V2's.
       embed {E, patch*patch*planes}, k = (ky*patch + kx)*planes + plane
       embed.norm                                               if patch norm
       embed.position rows {position_h*position_w, E}           if absolute position
       for stage i:
         stage{i}.tokens rows {g, C}                            if global tokens
         stage{i}.token_position rows {token_rows[i], C}        if global tokens and depth > 1
         for block j, all with the prefix stage{i}.block{j}.
           norm1
           attn.qkv {3*packed, C}, row (part*heads + head)*dp + t, rows t >= d zero; bias if qkv
                bias
           attn.bias plain {heads, 2*wh-1, 2*ww-1}: entry (head, kr-qr+wh-1, kc-qc+ww-1) is the
                relative position bias of query (qr,qc), key (kr,kc): key minus query, the papers'
                tables backwards
           attn.scale rows {1, heads}: the factor of the cosines            if Swin V2
           attn.proj {C, packed}, k = head*dp + t, zero for t >= d
           global.qkv, global.proj, likewise                    if global tokens and j < depth-1
           norm2
           mlp.fc1 {hidden, C}, mlp.fc2 {C, hidden}
         stage{i}.norm                                          if bit i of feature_norms
         stage{i}.merge.norm, of 4*C, V2's of 2*C               if i < stages-1 and merge norm
         stage{i}.merge {2*C, 4*C}, no bias, k = (2*column + row)*C + c       if i < stages-1
       norm, of the last stage's C                              if final norm
       MiT, after embed {E, kernel*kernel*planes} and embed.norm, for stage i:
         stage{i}.embed {C, kernel*kernel*C of stage i-1}, stage{i}.embed.norm      if i > 0
         for block j, all with the prefix stage{i}.block{j}., q, kv and proj as attn.qkv and
             attn.proj above:
           norm1
           attn.reduce {C, r*r*C}, attn.reduce.norm             if r, the stage's reduction, > 1
           attn.q {packed, C}, attn.kv {2*packed, C}, attn.proj {C, packed}
           norm2
           mlp.fc1 {hidden, C}
           mlp.depthwise.weight rows {9, hidden}, row 3*ky + kx; mlp.depthwise.bias {1, hidden}
           mlp.fc2 {C, hidden}
         stage{i}.norm
       Unets, for level l = stages-2 ... 0, all with the prefix up{l}., C that of stage l:
         expand.norm, of C; expand {4*C, 2*C}, no bias, row (2*y + x)*C + c makes pixel (y,x) of 4
         with cross-attention, d of 2*C channels and stage l's heads, q's factor as above:
           cross.norm1, of 2*C; cross.q {packed, C}; cross.kv {2*packed, 2*C};
           cross.bias plain {heads, 2*wh-1, 2*ww-1}, backwards as attn.bias; cross.proj {C, packed};
           cross.norm2; cross.fc1 {hidden, C}, cross.fc2 {C, hidden}
         concat {C, 2*C}, the expanded map first, then the skip
         tokens, token_position, block{j}., as in stage l
       Unets: final.norm, final.expand.norm, of E; final.expand {16*E, E}, no bias, row
         (4*y + x)*E + c; head.classify {classes, E}, no bias
       head. of UPerHead, BatchNorm folded in; inputs l = 0..L-1 are the features of head_inputs:
         pool{p} {ch, c_last}, bottleneck {ch, 9*(c_last + pool_count*ch)}
         lateral{l} {ch, c_l} for l < L-1, then fpn{l} {ch, 9*ch} for l < L-1
         fuse {ch, 9*L*ch}, classify {classes, ch}
       head. of PSPHead, one input: pool{p}, bottleneck, classify
       head. of FCNHead, one input, kernel K:
         conv{n} {ch, K*K*(n ? ch : c_in)}, cat {ch, K*K*(c_in + ch)} if conv_concat
         classify {classes, convs ? ch : c_in}
       head. of BiRefNet, m, A, P and G being inner, branch, patches and gate, B its branches, c_l =
         2 * width of stage l, i_l = c_(l+1) / 8 but i_3 = c_3 / 8, squeeze first:
         squeeze and block{l}, all with such a prefix: conv_in {m, 9*n}, n being c_0 + c_1 + c_2 +
           c_3 or c_l + i_l; for branch b of kernel k branch{b}.offset {3*k*k, k*k*m}, outputs
           2*t and 2*t + 1 being row and column of tap t, 2*k*k + t what makes its factor; with
           k > 3 {3*k*k, 9*p*p*m}, p = ceil(k/3): tap (3*i + y, 3*j + x), 0 beyond the kernel, at
           (3*y + x)*p*p*m + (i*p + j)*m; branch{b} {A, k*k*m}; mean {A, m}; fuse {m, (B+1)*A}, the
           mean last; conv_out {o, 9*m}, o being c_3 of squeeze, c_(l-1) of block{l}, which block0
           lacks
         for l = 3 ... 0: lateral{l} {c_l, c_l} if l < 3; patches{l} {P, 9*3*g*g}, g = 4 << l, input
           (row*g + column)*3 + plane; patches{l}.out {i_l, 9*P}; block{l}; if l > 0
           gate{l} {G, 9*c_(l-1)}, gate{l}.out {1, G}
         out {9, m}, no bias: tap t's share of the logits, the last block's convolution and what
           follows it in one; image {9, 27}, likewise of the input
       FPN: neck.lateral{l} {neck, c_l}, then neck.fpn{l} {neck, 9*neck}, then head.scale{l}.conv{n}
         {ch, 9*(n ? ch : neck)} for n < neck_convs[l], head.classify {classes, ch}
       head. of both Segformer kinds: lateral{l} {ch, c_l}, fuse {ch, L*ch}, classify {classes, ch}
       head. of the SegFormer authors: lateral{l} {ch, c_l}, bias if l is 0; classify {classes, ch}
       head. of a classifier: classify {classes, c_last}
       head. of SMP's Unet, for block i = 0 ... stages, all with the prefix block{i}., c of its
         inputs (C of the last stage, else d_{i-1}) + C of stage stages-2-i, if there is one, d_i of
         its own channels: attend1. if scSE and i < stages; conv1 {d_i, 9*c}; conv2 {d_i, 9*d_i};
         attend2. if scSE; attend1 of c channels and attend2 of d_i have
           reduce {c/16, c}, restore {c, c/16}, pixel {1, c}, of f32
         then classify {classes, 9*d of the last block}
       SMP's FPN: neck.lateral{l} {neck, c_l}; then, for n < neck_convs[l], head.scale{l}.conv{n}
         {ch, 9*(n ? ch : neck)} and head.scale{l}.norm{n}; head.classify {classes, ch, or 4*ch,
         coarsest level first, if concat}
       head. of MaskFormer, Mask2Former and OneFormer, with fields of the record queries; inputs are
       four features of c_0 ... c_3 channels; what is normed has name.norm after name, and what has
       no bias says so. Attentions, each with q, k, v {packed, width}, q with its factor, and proj
       {width, packed}, have heads as stages have.
         of MaskFormer: pixel.stem {ch, 9*c_3}, normed, no bias; for l = 2, 1, 0 pixel.lateral{l}
           {ch, c_l} and pixel.out{l} {ch, 9*ch}, normed, no bias; pixel.mask {masks, 9*ch}
         of the others: for l = 0, 1, 2 pixel.project{l} {ch, c_(3-l)}, normed; pixel.levels rows
           {3, ch}; for layer i, all with the prefix pixel.layer{i}.: offsets {24*pixel_heads, ch},
           row ((head*3 + l)*4 + point)*2 + {0: x, 1: y}; weights {16*pixel_heads, ch}, row head*16
           + l*4 + point, rows beyond 11 of a head zero; value {packed, ch}, proj {ch, packed} of
           the pixel_heads; norm1; fc1 {pixel_hidden, ch}, fc2 {ch, pixel_hidden}; norm2; then
           pixel.lateral0, pixel.out0, as above; pixel.mask {masks, ch}
         query.embed rows {count, width}; of Mask2Former query.start rows {count, width}; of
           OneFormer query.task rows {1, width}, query.input {width, ch}, start.layer{i}. as
           decoder.layer{i}. of MaskFormer, with start_hidden, and start.norm
         if projected query.project {width, c_3} of MaskFormer, query.project{l} {width, ch} of the
           others, which have query.levels rows {3, width} after it
         decoder.layer{i}.: of MaskFormer attention self, norm1, attention cross, norm2; of the
           others cross first, then self; fc1 {hidden, width}, fc2 {width, hidden}; norm3
         decoder.norm, mask_embed.fc1 and fc2 {width, width}, fc3 {masks, width}, classify
           {classes + 1, width}, the last row for no class */

/* Header and directory as they lie in the blob. */
typedef struct swin__header {
    unsigned char magic[8];
    uint32_t version, endian;
    uint64_t size;
    uint32_t checksum[2];
    uint64_t config[2], directory[2], strings[2], data[2];      /* offset, and size or count */
    unsigned char zero[32];
} swin__header;

typedef struct swin__entry {
    char name[64];
    uint32_t type, layout, shape[4];
    unsigned char place[16];    /* u64 offset, u64 bytes: not aligned to 8 here */
    unsigned char zero[24];
} swin__entry;

enum { SWIN__LAYOUT_PLAIN, SWIN__LAYOUT_ROWS, SWIN__LAYOUT_PANELS, SWIN__LAYOUT_QUADS };

enum { SWIN__CHECKED_FROM = 32 };       /* the checksum's first byte */

static const unsigned char swin__magic[8] = { 0x89, 'S', 'W', 'I', 'N', '\r', '\n', 0x1a };

SWIN_API void swin_checksum(const void *data, size_t size, uint32_t sums[2])
{
    const unsigned char *bytes = (const unsigned char *)data;
    uint32_t a = 0, b = 0;
    for (size_t i = 0; i < size; i += 4) {
        uint32_t part = 0;
        if (size - i >= 4) memcpy(&part, bytes + i, 4);
        else memcpy(&part, bytes + i, size - i);
        a += part;
        b += a;
    }
    sums[0] = a;
    sums[1] = b;
}

/* Are all bytes zero? */
static int swin__zero(const void *p, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)p;
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return 0;
    return 1;
}

enum { SWIN__NAME_BYTES = 1023 };       /* of a class's name at most */

/* Are the strings pairs of printable UTF-8, the first `classes` of them "#rrggbb" and a name? */
static int swin__strings_hold(const unsigned char *s, size_t size, int classes)
{
    size_t count = 0, start = 0, named = (size_t)classes;
    for (size_t i = 0; i < size; i++) {
        if (s[i] == 0) {
            if (count % 2 == 0 && count / 2 < named) {
                if (i - start != 7 || s[start] != '#') return 0;
                for (size_t j = start + 1; j < i; j++)
                    if (!strchr("0123456789abcdef", s[j])) return 0;
            }
            if (count / 2 < named && i - start > SWIN__NAME_BYTES) return 0;
            count++;
            start = i + 1;
        } else if ((s[i] < 32 && s[i] != '\n' && s[i] != '\t') || s[i] == 127) {
            return 0;
        } else if (s[i] >= 128) {
            int more = s[i] >= 0xc2 && s[i] < 0xe0   ? 1
                       : (s[i] & 0xf0) == 0xe0       ? 2
                       : s[i] >= 0xf0 && s[i] < 0xf5 ? 3
                                                     : 0;
            if (!more) return 0;
            for (; more; more--)
                if (++i >= size || (s[i] & 0xc0) != 0x80) return 0;
        }
    }
    return start == size && count % 2 == 0 && count / 2 >= named;
}

/* The second string of a pair, from its first. */
static const char *swin__partner(const char *s)
{
    return s + strlen(s) + 1;
}

static const char *swin__next_pair(const char *s)
{
    return swin__partner(swin__partner(s));
}

/* Strings have no index: where every so many classes start is marked when a model is opened, and a
   look-up walks on from the last mark before its class. */
static int swin__mark_distance(const swin_model *m)
{
    return m->config.classes / (int)(sizeof m->marks / sizeof *m->marks) + 1;
}

static void swin__set_marks(swin_model *m)
{
    const char *s = m->strings;
    int distance = swin__mark_distance(m);
    for (int k = 0; k < m->config.classes; k++, s = swin__next_pair(s))
        if (k % distance == 0) m->marks[k / distance] = (uint32_t)(s - m->strings);
    m->notes = (uint32_t)(s - m->strings);
}

/* The colour of class k; its name follows. */
static const char *swin__class_pair(const swin_model *m, int k)
{
    int distance = swin__mark_distance(m);
    const char *s = m->strings + m->marks[k / distance];
    for (int skip = k % distance; skip; skip--) s = swin__next_pair(s);
    return s;
}

SWIN_API const char *swin_class_name(const swin_model *m, int k)
{
    if (k < 0 || k >= m->config.classes) return NULL;
    return swin__partner(swin__class_pair(m, k));
}

SWIN_API uint32_t swin_class_color(const swin_model *m, int k)
{
    uint32_t color = 0;
    if (k < 0 || k >= m->config.classes) return 0;
    for (const char *s = swin__class_pair(m, k) + 1; *s; s++)
        color = color * 16 + (uint32_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    return color;
}

SWIN_API const char *swin_note(const swin_model *m, const char *key)
{
    const char *s = m->strings + m->notes, *end = m->strings + m->strings_size;
    for (; key && s < end; s = swin__next_pair(s))
        if (!strcmp(s, key)) return swin__partner(s);
    return NULL;
}

SWIN_API void swin_reference_picture(unsigned char *rgb, int w, int h, uint32_t seed)
{
    enum { SWIN__CELL = 32 };
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            for (int c = 0; c < 3; c++) {
                uint32_t value = 0;
                /* value noise, bilinear between cells */
                for (int corner = 0; corner < 4; corner++) {
                    int right = corner & 1, below = corner >> 1;
                    uint32_t cell = seed + 0x9e3779b9u * (uint32_t)(y / SWIN__CELL + below) +
                                    0x85ebca6bu * (uint32_t)(x / SWIN__CELL + right) +
                                    0xc2b2ae35u * (uint32_t)c;
                    cell = (cell ^ (cell >> 15)) * 0x2c1b3c6du;
                    cell = (cell ^ (cell >> 12)) * 0x297a2d39u;
                    value += (cell >> 24)
                             * (uint32_t)(right ? x % SWIN__CELL : SWIN__CELL - x % SWIN__CELL)
                             * (uint32_t)(below ? y % SWIN__CELL : SWIN__CELL - y % SWIN__CELL);
                }
                value = value / (SWIN__CELL * SWIN__CELL)
                        + ((uint32_t)x * 5 + (uint32_t)y * 3) % 16;
                rgb[((size_t)y * (size_t)w + (size_t)x) * 3 + (size_t)c] =
                    (unsigned char)(value > 255 ? 255 : value);
            }
        }
    }
}

/* -------------------------------------------------------------------------- */
/* >>config: the records of a model's description, read and checked

   A field is one row of a table below: where it lies in swin_config, and what it may be. A new
   field takes a member of swin_config, a row here, a line in the converter's description
   (tools/swinblob/records.py; a test compares the two) and whoever uses it. */

/* Types of fields; each value takes four bytes. */
enum {
    SWIN__COUNT,                /* u32, an int from low to high */
    SWIN__KIND,                 /* u32, an int with a name */
    SWIN__KNOWN,                /* u32, an int; what is not low ... high is for later versions */
    SWIN__BITS,                 /* u32 */
    SWIN__NUMBER                /* f32, from low to high */
};

/* One field of a record. */
typedef struct swin__field {
    const char *name;
    int type;
    int count;                  /* how many values, side by side */
    size_t at;                  /* where the first one lies in swin_config */
    double low, high;
    const char *const *kinds;   /* names of a kind's values */
} swin__field;

#define SWIN__NAME_OF(name) #name,
static const char *const swin__body_names[] = { SWIN_BODY_LIST(SWIN__NAME_OF) };
static const char *const swin__head_names[] = { SWIN_HEAD_LIST(SWIN__NAME_OF) };
static const char *const swin__input_names[] = { SWIN_INPUT_RULE_LIST(SWIN__NAME_OF) };
static const char *const swin__shift_names[] = { SWIN_SHIFT_RULE_LIST(SWIN__NAME_OF) };
static const char *const swin__position_names[] = { SWIN_POSITION_RULE_LIST(SWIN__NAME_OF) };
static const char *const swin__resize_names[] = { SWIN_RESIZE_RULE_LIST(SWIN__NAME_OF) };
static const char *const swin__filter_names[] = { SWIN_FILTER_LIST(SWIN__NAME_OF) };
static const char *const swin__corner_names[] = { SWIN_CORNERS_LIST(SWIN__NAME_OF) };
static const char *const swin__scores_names[] = { SWIN_SCORES_LIST(SWIN__NAME_OF) };
static const char *const swin__segments_names[] = { SWIN_SEGMENTS_LIST(SWIN__NAME_OF) };
static const char *const swin__mode_names[] = { SWIN_MODE_LIST(SWIN__NAME_OF) };
#undef SWIN__NAME_OF

#define SWIN__PLACE(member) \
    (int)(sizeof ((swin_config *)0)->member / 4), offsetof(swin_config, member)
#define SWIN__COUNTS(name, member, low, high) \
    { name, SWIN__COUNT, SWIN__PLACE(member), low, high, NULL }
#define SWIN__KINDS(name, member, names) \
    { name, SWIN__KIND, SWIN__PLACE(member), 0, (int)(sizeof names / sizeof *names) - 1, names }

static const swin__field swin__model_fields[] = {
    { "version", SWIN__KNOWN, SWIN__PLACE(version), 1, 2, NULL },
    SWIN__KINDS("body", body, swin__body_names),
    SWIN__COUNTS("patch", patch, 1, 32),
    { "planes", SWIN__KNOWN, SWIN__PLACE(planes), 3, 3, NULL },
    SWIN__KINDS("input_rule", input.rule, swin__input_names),
    SWIN__COUNTS("input_h", input.h, 0, SWIN_MAX_SIDE),
    SWIN__COUNTS("input_w", input.w, 0, SWIN_MAX_SIDE),
    SWIN__KINDS("shift_rule", shift_rule, swin__shift_names),
    SWIN__COUNTS("roll_before_pad", roll_before_pad, 0, 1),
    { "mask", SWIN__NUMBER, SWIN__PLACE(mask), -1e6, 0, NULL },
    { "eps", SWIN__NUMBER, SWIN__PLACE(eps), (double)FLT_MIN, 1, NULL },
    SWIN__COUNTS("patch_norm", patch_norm, 0, 1),
    SWIN__COUNTS("qkv_bias", qkv_bias, 0, 1),
    SWIN__COUNTS("merge_norm", merge_norm, 0, 1),
    SWIN__COUNTS("final_norm", final_norm, 0, 1),
    { "feature_norms", SWIN__BITS, SWIN__PLACE(feature_norms), 0, 0, NULL },
    SWIN__COUNTS("position_h", position.h, 0, 4096),
    SWIN__COUNTS("position_w", position.w, 0, 4096),
    SWIN__KINDS("position_rule", position.rule, swin__position_names),
    SWIN__COUNTS("tokens", tokens, 0, 256),
};

/* Their places are those in stage 0; the other stages follow it in swin_config. */
static const swin__field swin__stage_fields[] = {
    SWIN__COUNTS("width", stage[0].width, 1, 32768),
    SWIN__COUNTS("depth", stage[0].depth, 1, 256),
    SWIN__COUNTS("heads", stage[0].heads, 1, 1024),
    SWIN__COUNTS("hidden", stage[0].hidden, 1, 65536),
    SWIN__COUNTS("window_h", stage[0].window_h, 1, 64),
    SWIN__COUNTS("window_w", stage[0].window_w, 1, 64),
    SWIN__COUNTS("shift_h", stage[0].shift_h, 0, 63),
    SWIN__COUNTS("shift_w", stage[0].shift_w, 0, 63),
    SWIN__COUNTS("token_rows", stage[0].token_rows, 0, 1 << 24),
    SWIN__COUNTS("token_middle", stage[0].token_middle, 0, 1 << 24),
};

static const swin__field swin__head_fields[] = {
    SWIN__KINDS("head", head.kind, swin__head_names),
    SWIN__COUNTS("head_channels", head.channels, 0, 16384),
    { "head_inputs", SWIN__BITS, SWIN__PLACE(head.inputs), 0, 0, NULL },
    SWIN__COUNTS("align_corners", head.align_corners, 0, 1),
    SWIN__COUNTS("pool_count", head.pool_count, 0, SWIN_MAX_POOLS),
    SWIN__COUNTS("pool_scale", head.pool_scale, 0, 64),
    SWIN__COUNTS("convs", head.convs, 0, SWIN_MAX_CONVS),
    SWIN__COUNTS("conv_kernel", head.conv_kernel, 0, 15),
    SWIN__COUNTS("conv_concat", head.conv_concat, 0, 1),
    SWIN__COUNTS("neck_channels", head.neck_channels, 0, 16384),
    SWIN__COUNTS("neck_convs", head.neck_convs, 0, SWIN_MAX_CONVS),
};

static const swin__field swin__class_fields[] = {
    SWIN__COUNTS("classes", classes, 0, 65535),
};

static const swin__field swin__picture_fields[] = {
    { "mean", SWIN__NUMBER, SWIN__PLACE(picture.mean), -1e6, 1e6, NULL },
    { "scale", SWIN__NUMBER, SWIN__PLACE(picture.scale), -1e6, 1e6, NULL },
    SWIN__COUNTS("bgr", picture.bgr, 0, 1),
    SWIN__KINDS("resize_rule", picture.resize_rule, swin__resize_names),
    SWIN__COUNTS("resize_a", picture.resize_a, 0, SWIN_MAX_SIDE),
    SWIN__COUNTS("resize_b", picture.resize_b, 0, SWIN_MAX_SIDE),
    SWIN__KINDS("resize_filter", picture.resize_filter, swin__filter_names),
    SWIN__COUNTS("resize_round", picture.resize_round, 0, 1),
    SWIN__KINDS("mode", picture.mode, swin__mode_names),
    SWIN__COUNTS("crop_h", picture.crop_h, 0, SWIN_MAX_SIDE),
    SWIN__COUNTS("crop_w", picture.crop_w, 0, SWIN_MAX_SIDE),
    SWIN__COUNTS("stride_h", picture.stride_h, 0, SWIN_MAX_SIDE),
    SWIN__COUNTS("stride_w", picture.stride_w, 0, SWIN_MAX_SIDE),
};

static const swin__field swin__mit_fields[] = {
    SWIN__COUNTS("patch_kernel", mit.kernel, 0, 15),
    SWIN__COUNTS("patch_stride", mit.stride, 0, 32),
    SWIN__COUNTS("reduction", mit.reduction, 0, 64),
    { "patch_eps", SWIN__NUMBER, SWIN__PLACE(mit.eps), 0, 1, NULL },
};

static const swin__field swin__rules_fields[] = {
    { "feature_eps", SWIN__NUMBER, SWIN__PLACE(rules.feature_eps), 0, 1, NULL },
    SWIN__KINDS("corner_rule", rules.corners, swin__corner_names),
    SWIN__COUNTS("one_class", rules.one_class, 0, 1),
    SWIN__COUNTS("input_multiple", rules.input_multiple, 0, SWIN_MAX_SIDE),
    SWIN__COUNTS("straight", rules.straight, 0, 1),
};

static const swin__field swin__decoder_fields[] = {
    SWIN__COUNTS("width", decoder.width, 0, 16384),
    SWIN__COUNTS("bilinear", decoder.bilinear, 0, 1),
    SWIN__COUNTS("scse", decoder.scse, 0, 1),
    SWIN__COUNTS("concat", decoder.concat, 0, 1),
};

static const swin__field swin__sides_fields[] = {
    SWIN__COUNTS("cut", sides.cut, 0, 1),
    SWIN__COUNTS("multiple", sides.multiple, 0, 1024),
};

static const swin__field swin__queries_fields[] = {
    SWIN__COUNTS("count", queries.count, 0, 4096),
    SWIN__COUNTS("width", queries.width, 0, 4096),
    SWIN__COUNTS("masks", queries.masks, 0, 4096),
    SWIN__COUNTS("heads", queries.heads, 0, 256),
    SWIN__COUNTS("layers", queries.layers, 0, 64),
    SWIN__COUNTS("hidden", queries.hidden, 0, 65536),
    SWIN__COUNTS("projected", queries.projected, 0, 1),
    SWIN__COUNTS("pixel_heads", queries.pixel_heads, 0, 256),
    SWIN__COUNTS("pixel_layers", queries.pixel_layers, 0, 64),
    SWIN__COUNTS("pixel_hidden", queries.pixel_hidden, 0, 65536),
    SWIN__COUNTS("start_layers", queries.start_layers, 0, 64),
    SWIN__COUNTS("start_hidden", queries.start_hidden, 0, 65536),
    SWIN__KINDS("scores", queries.scores, swin__scores_names),
    SWIN__COUNTS("size_divisor", queries.size_divisor, 0, 1024),
};

static const swin__field swin__birefnet_fields[] = {
    SWIN__COUNTS("inner", birefnet.inner, 0, 1024),
    SWIN__COUNTS("branch", birefnet.branch, 0, 4096),
    SWIN__COUNTS("kernel", birefnet.kernel, 0, 11),
    SWIN__COUNTS("patches", birefnet.patches, 0, 1024),
    SWIN__COUNTS("gate", birefnet.gate, 0, 1024),
};

static const swin__field swin__segments_fields[] = {
    SWIN__KINDS("rule", segments.rule, swin__segments_names),
    SWIN__COUNTS("object_score", segments.object_score, 0, 1000),
    SWIN__COUNTS("overlap_share", segments.overlap_share, 0, 1000),
    { "things", SWIN__BITS, SWIN__PLACE(segments.things), 0, 0, NULL },
};

static const swin__field swin__instances_fields[] = {
    SWIN__COUNTS("most", instances.most, 0, 4096),
};

/* Whoever opens a blob may run its self-test: the picture of it is bounded like any other field. */
enum { SWIN__REFERENCE_SIDE = 1024 };

static const swin__field swin__reference_fields[] = {
    SWIN__COUNTS("present", reference.present, 0, 1),
    { "seed", SWIN__BITS, SWIN__PLACE(reference.seed), 0, 0, NULL },
    SWIN__COUNTS("width", reference.width, 0, SWIN__REFERENCE_SIDE),
    SWIN__COUNTS("height", reference.height, 0, SWIN__REFERENCE_SIDE),
    { "classes", SWIN__BITS, SWIN__PLACE(reference.classes), 0, 0, NULL },
    { "logits", SWIN__BITS, SWIN__PLACE(reference.logits), 0, 0, NULL },
};

/* How many records of a kind a config has, side by side. */
enum {
    SWIN__ONE,
    SWIN__STAGES,               /* one a stage, and so many stages there are */
    SWIN__OPTIONAL              /* one, or none: then all fields are zero, which is the default */
};

/* A kind of record. A new one is optional, so that older blobs stay whole; it stands before
   `reference`, which swin_set_reference looks for at the end. */
typedef struct swin__record {
    const char *name;
    const swin__field *fields;
    int field_count, times;     /* SWIN__ONE, ... */
} swin__record;

#define SWIN__RECORD(name, fields, times) { name, fields, sizeof fields / sizeof *fields, times }
static const swin__record swin__records[] = {       /* in the order of the blob */
    SWIN__RECORD("model", swin__model_fields, SWIN__ONE),
    SWIN__RECORD("stage", swin__stage_fields, SWIN__STAGES),
    SWIN__RECORD("head", swin__head_fields, SWIN__ONE),
    SWIN__RECORD("classes", swin__class_fields, SWIN__ONE),
    SWIN__RECORD("picture", swin__picture_fields, SWIN__ONE),
    SWIN__RECORD("rules", swin__rules_fields, SWIN__OPTIONAL),
    SWIN__RECORD("decoder", swin__decoder_fields, SWIN__OPTIONAL),
    SWIN__RECORD("mit", swin__mit_fields, SWIN__OPTIONAL),
    SWIN__RECORD("sides", swin__sides_fields, SWIN__OPTIONAL),
    SWIN__RECORD("queries", swin__queries_fields, SWIN__OPTIONAL),
    SWIN__RECORD("birefnet", swin__birefnet_fields, SWIN__OPTIONAL),
    SWIN__RECORD("segments", swin__segments_fields, SWIN__OPTIONAL),
    SWIN__RECORD("instances", swin__instances_fields, SWIN__OPTIONAL),
    SWIN__RECORD("reference", swin__reference_fields, SWIN__ONE),
};
#undef SWIN__RECORD
#undef SWIN__KINDS
#undef SWIN__COUNTS
#undef SWIN__PLACE

/* The bytes of the config part that are not read yet. */
typedef struct swin__reader {
    const unsigned char *at;
    size_t left;
    swin_error *err;
} swin__reader;

/* What stands in front of a record's fields. */
typedef struct swin__record_header {
    char name[12];
    uint32_t size;
} swin__record_header;

static size_t swin__record_size(const swin__record *r)
{
    size_t values = 0;
    for (int i = 0; i < r->field_count; i++) values += (size_t)r->fields[i].count;
    return 4 * values;
}

/* Reads value `index` of a field to `to`, from low to high; where: "model" or "stage 2". */
static swin_status swin__read_value(swin__reader *r, const swin__field *f, const char *where,
                                    unsigned char *to)
{
    uint32_t bits;
    float number;
    memcpy(&bits, r->at, 4);
    memcpy(&number, r->at, 4);
    memcpy(to, r->at, 4);
    r->at += 4;
    r->left -= 4;
    if (f->type == SWIN__BITS) return SWIN_OK;
    if (f->type == SWIN__NUMBER)
        return (double)number >= f->low && (double)number <= f->high
                   ? SWIN_OK
                   : swin__fail(r->err, SWIN_DAMAGED, "config: %s of the record `%s` is no number "
                                "in its range", f->name, where);
    if (bits >= f->low && bits <= f->high) return SWIN_OK;
    if (f->type == SWIN__COUNT)
        return swin__fail(r->err, SWIN_DAMAGED, "config: %s of the record `%s` is %z, not %d..%d",
                          f->name, where, (size_t)bits, (int)f->low, (int)f->high);
    return swin__fail(r->err, SWIN_UNSUPPORTED, "config: %s of the record `%s` is %z, which swin.h "
                      SWIN__VERSION " does not know", f->name, where, (size_t)bits);
}

/* Reads the fields of record number `index` of its kind into g. */
static swin_status swin__read_fields(swin__reader *r, const swin__record *record, int index,
                                     swin_config *g)
{
    char where[24];
    swin_status status = SWIN_OK;
    swin__format(where, sizeof where, record->times == SWIN__STAGES ? "%s %d" : "%s",
                 record->name, index);
    for (int i = 0; i < record->field_count && status == SWIN_OK; i++) {
        const swin__field *f = &record->fields[i];
        unsigned char *to = (unsigned char *)g + f->at + (size_t)index * sizeof *g->stage;
        for (int k = 0; k < f->count && status == SWIN_OK; k++)
            status = swin__read_value(r, f, where, to + 4 * k);
    }
    return status;
}

/* Is a record of this name next? */
static int swin__record_is(const swin__reader *r, const char *name)
{
    char padded[sizeof ((swin__record_header *)0)->name] = { 0 };
    memcpy(padded, name, strlen(name));
    return r->left >= sizeof(swin__record_header) && !memcmp(r->at, padded, sizeof padded);
}

/* Refuses what comes next instead of a record `wanted` or, if that is NULL, of the config's end. */
static swin_status swin__refuse_record(const swin__reader *r, const char *wanted)
{
    swin__record_header header;
    char name[sizeof header.name + 1] = { 0 };
    int printable = 1;
    if (r->left < sizeof header)
        return swin__fail(r->err, SWIN_DAMAGED, wanted ? "config: the record `%s` is missing"
                                                       : "config: its records do not fill it",
                          wanted);
    memcpy(name, r->at, sizeof header.name);
    for (const char *s = name; *s; s++) printable &= *s > ' ' && *s < 127;
    for (size_t i = 0; i < sizeof swin__records / sizeof *swin__records; i++)
        if (swin__record_is(r, swin__records[i].name))
            return swin__fail(r->err, SWIN_DAMAGED, "config: a record `%s` is out of place", name);
    return swin__fail(r->err, SWIN_UNSUPPORTED, "config: a record `%s`, which swin.h "
                      SWIN__VERSION " does not know", printable ? name : "?");
}

/* Reads as many records of a kind as there are; *count: how many. */
static swin_status swin__read_records(swin__reader *r, const swin__record *record, swin_config *g,
                                      int *count)
{
    swin__record_header header;
    size_t size = swin__record_size(record);
    int stages = record->times == SWIN__STAGES, most = stages ? SWIN_MAX_STAGES : 1;
    for (*count = 0; swin__record_is(r, record->name); ++*count) {
        swin_status status;
        memcpy(&header, r->at, sizeof header);
        if (*count == most)
            return swin__fail(r->err, stages ? SWIN_UNSUPPORTED : SWIN_DAMAGED,
                              "config: more than %d records `%s`", most, record->name);
        if (header.size != size || r->left - sizeof header < size)
            return swin__fail(r->err, header.size > size ? SWIN_UNSUPPORTED : SWIN_DAMAGED,
                              "config: a record `%s` of %z bytes, in swin.h " SWIN__VERSION
                              " it has %z", record->name, (size_t)header.size, size);
        r->at += sizeof header;
        r->left -= sizeof header;
        if ((status = swin__read_fields(r, record, *count, g)) != SWIN_OK) return status;
    }
    return *count || record->times == SWIN__OPTIONAL ? SWIN_OK
                                                     : swin__refuse_record(r, record->name);
}

/* Reads the config part. Each field is in its range then; swin__check_config asks whether they go
   together. */
static swin_status swin__read_config(swin_config *g, const unsigned char *bytes, size_t size,
                                     swin_error *err)
{
    swin__reader r = { bytes, size, err };
    for (size_t i = 0; i < sizeof swin__records / sizeof *swin__records; i++) {
        int count;
        swin_status status = swin__read_records(&r, &swin__records[i], g, &count);
        if (status != SWIN_OK) return status;
        if (swin__records[i].times == SWIN__STAGES) g->stages = count;
    }
    return r.left ? swin__refuse_record(&r, NULL) : SWIN_OK;
}

/* Fields that must fit each other. Together with the ranges above, this is what the rest relies on:
       patch, width, hidden, head_channels, neck_channels, classes: a row of any map, its side times
           its channels, and the columns of any layer are counted in an int; a stage has 4096 <<
           stage channels at most, as its map's sides are halved
       heads: divide the channels of their stage; none is without a channel
       window: a window's tokens, 64 * 64 + 256 at most, squared are an int; square for
           cross-attention upsampling and for Hugging Face's shift rule, which know one side
       shift: less than the window, so that what wraps does so once
       input_multiple: of patches, for inputs that are not padded
       stages, depth, pool_count, convs, neck_convs: bound the plan's and the weights' arrays
       token_rows, token_middle: the rows that N tokens take are looked up in 24 bits; whether they
           are there is asked when N is known
       feature_norms, head_inputs: name stages that there are
       queries: there are some where the head has them, none elsewhere
       segments: of queries, and things has a bit for each class; a share of overlaps, and the most
           instances, only by rules that know them
       patch_stride: 2 at least but before stage 0, so that maps are halved, too; patch_kernel is
           odd, as half of it lies before a patch's middle; reduction is above zero
       resize_a, resize_b, input_h, input_w, crop, stride: sides of pictures; a centre crop lies
           inside its picture, a stride is no longer than its crop; none divides by zero
       eps, feature_eps, patch_eps, mask, mean, scale: finite numbers; eps is above zero
   What depends on the input's size, too, is asked when the plan is made: swin__product_fits. */

#define SWIN__DEMAND(holds, status, ...) \
    do { if (!(holds)) return swin__fail(err, status, __VA_ARGS__); } while (0)

/* Do the fields of stage i fit each other? */
static swin_status swin__check_stage(const swin_config *g, int i, swin_error *err)
{
    const swin_stage_config *s = &g->stage[i];
    int square = s->window_h == s->window_w, global = g->tokens && s->depth > 1;
    SWIN__DEMAND(i > 3 || s->width <= 4096 << i, SWIN_DAMAGED,
                 "config: width of stage %d is more than %d", i, 4096 << i);
    SWIN__DEMAND(s->width % s->heads == 0, SWIN_DAMAGED,
                 "config: heads of stage %d do not divide its channels", i);
    SWIN__DEMAND(s->shift_h < s->window_h && s->shift_w < s->window_w, SWIN_DAMAGED,
                 "config: a shift as large as its window in stage %d", i);
    SWIN__DEMAND(square || g->shift_rule != SWIN_SHIFT_SQUARE, SWIN_DAMAGED,
                 "config: windows that are not square under this shift rule in stage %d", i);
    SWIN__DEMAND(!global || s->token_rows, SWIN_DAMAGED,
                 "config: no rows of the tokens' positional table in stage %d", i);
    return SWIN_OK;
}

/* Are the sizes there that the rules for pictures need, and no crop larger than its picture? */
static swin_status swin__check_picture(const swin_config *g, swin_error *err)
{
    const swin_picture_config *p = &g->picture;
    int rule = p->resize_rule, both = rule == SWIN_RESIZE_WITHIN || rule == SWIN_RESIZE_EXACT;
    int resized_w = rule == SWIN_RESIZE_EXACT ? p->resize_b : p->resize_a;
    SWIN__DEMAND((rule == SWIN_RESIZE_NONE || p->resize_a) && (!both || p->resize_b), SWIN_DAMAGED,
                 "config: the size to resize to");
    if (p->mode == SWIN_MODE_WHOLE) return SWIN_OK;
    SWIN__DEMAND(p->crop_h && p->crop_w, SWIN_DAMAGED, "config: the size of a crop");
    if (p->mode == SWIN_MODE_SLIDE)
        SWIN__DEMAND(p->stride_h && p->stride_h <= p->crop_h && p->stride_w &&
                     p->stride_w <= p->crop_w, SWIN_DAMAGED, "config: a sliding window's stride");
    else
        SWIN__DEMAND((rule == SWIN_RESIZE_SHORTEST || rule == SWIN_RESIZE_EXACT) &&
                     p->resize_a >= p->crop_h && resized_w >= p->crop_w, SWIN_DAMAGED,
                     "config: a centre crop larger than its picture");
    return SWIN_OK;
}

static swin_status swin__check_reference(const swin_reference *r, swin_error *err)
{
    if (r->present > 1 || (r->present && (r->width - 1 >= SWIN__REFERENCE_SIDE ||
                                          r->height - 1 >= SWIN__REFERENCE_SIDE)))
        return swin__fail(err, SWIN_DAMAGED, "config: the self-test's picture is not 1..%d a side",
                          SWIN__REFERENCE_SIDE);
    return SWIN_OK;
}

/* Do a rule's instances, or queries, compete for each pixel? Otherwise instances overlap. */
static int swin__competes(int rule)
{
    return rule != SWIN_SEGMENTS_INSTANCES && rule != SWIN_SEGMENTS_INSTANCES_HUGGING_FACE;
}

/* Does a rule list instances, which are pairs of a query and a class? */
static int swin__lists_pairs(int rule)
{
    return rule == SWIN_SEGMENTS_INSTANCES_ONEFORMER || !swin__competes(rule);
}

static swin_status swin__check_segments(const swin_config *g, swin_error *err)
{
    const swin_segments_config *s = &g->segments;
    uint32_t things = 0;
    for (int i = 0; i < SWIN_MAX_THINGS / 32; i++) things |= s->things[i];
    SWIN__DEMAND(!s->rule || (g->queries.count && g->classes <= SWIN_MAX_THINGS), SWIN_DAMAGED,
                 "config: segments without queries, or of more than %d classes", SWIN_MAX_THINGS);
    SWIN__DEMAND(swin__competes(s->rule) || !s->overlap_share, SWIN_DAMAGED,
                 "config: overlap_share, by a rule of instances that overlap");
    SWIN__DEMAND(!swin__lists_pairs(s->rule) || things, SWIN_DAMAGED,
                 "config: instances, but no class is one of things");
    SWIN__DEMAND(swin__lists_pairs(s->rule) || !g->instances.most, SWIN_DAMAGED,
                 "config: the most instances, by a rule that gives none");
    return SWIN_OK;
}

/* What one kind of body or head asks of its fields, is checked in >>bodies and >>heads. */
static swin_status swin__check_config(const swin_config *g, swin_error *err)
{
    swin_status status;
    SWIN__DEMAND(!(g->tokens && g->version == 2), SWIN_UNSUPPORTED,
                 "config: global tokens in Swin V2");
    SWIN__DEMAND(g->feature_norms >> g->stages == 0 && g->head.inputs >> g->stages == 0,
                 SWIN_DAMAGED, "config: a feature that no stage makes");
    SWIN__DEMAND(!g->input.h == !g->input.w &&
                 (g->input.rule == SWIN_INPUT_EXACT || !g->input.h) &&
                 g->input.h % g->patch == 0 && g->input.w % g->patch == 0, SWIN_DAMAGED,
                 "config: the one size of the input");
    SWIN__DEMAND(!(g->rules.feature_eps > 0) || g->rules.feature_eps >= FLT_MIN, SWIN_DAMAGED,
                 "config: feature_eps is too small");
    SWIN__DEMAND(!g->rules.input_multiple || (g->input.rule == SWIN_INPUT_EXACT &&
                                              g->rules.input_multiple % g->patch == 0),
                 SWIN_DAMAGED, "config: input_multiple");
    SWIN__DEMAND(!(g->mit.eps > 0) || g->mit.eps >= FLT_MIN, SWIN_DAMAGED,
                 "config: patch_eps is too small");
    for (int i = 0; i < SWIN_MAX_STAGES; i++)
        SWIN__DEMAND((g->body == SWIN_BODY_MIT && i < g->stages) ||
                     !(g->mit.kernel[i] || g->mit.stride[i] || g->mit.reduction[i]), SWIN_DAMAGED,
                     "config: patches before stage %d, which has none", i);
    SWIN__DEMAND(!g->position.h == !g->position.w, SWIN_DAMAGED,
                 "config: the grid of absolute positions has one side");
    for (int i = 0; i < g->stages; i++)
        if ((status = swin__check_stage(g, i, err)) != SWIN_OK) return status;
    if ((status = swin__check_segments(g, err)) != SWIN_OK) return status;
    if ((status = swin__check_reference(&g->reference, err)) != SWIN_OK) return status;
    return swin__check_picture(g, err);
}

/* -------------------------------------------------------------------------- */
/* >>weights: what a config implies - shapes, tensors, and where they lie     */

/* A matrix in panels of 16 outputs, or in quads, as >>blob describes them. */
typedef struct swin__panels {
    const void *data;           /* NULL: there is none */
    int type;                   /* SWIN__F32, SWIN__F16; SWIN__S8: in quads */
    int inputs;                 /* columns of the stored matrix */
    const float *scale;         /* of quads: of each output */
    int lead;                   /* of quads: which input of the first one, 0 ... 3, it starts at */
} swin__panels;

/* The rows of a panel, quads counting as rows, and the floats that a row takes. */
static size_t swin__panel_rows(const swin__panels *w)
{
    return (size_t)(swin__is_s8(w->type) ? swin__divide_up(w->inputs, 4) : w->inputs);
}
static size_t swin__panel_row(const swin__panels *w) { return swin__is_f16(w->type) ? 8 : 16; }

/* A matrix without its outputs before `output`, a multiple of 16, and its inputs before `input`. */
static swin__panels swin__panels_from(swin__panels w, int output, int input)
{
    size_t rows = (size_t)(output / 16) * swin__panel_rows(&w);
    if (swin__is_s8(w.type)) {
        input += w.lead;
        w.lead = input % 4;
        input /= 4;
        w.scale += output;
    }
    w.data = (const float *)w.data + (rows + (size_t)input) * swin__panel_row(&w);
    return w;
}

/* Makes a matrix the second factor of a product. */
static void swin__use_panels(swin__product *p, swin__panels w)
{
    p->type = w.type;
    p->b = (const float *)w.data;
    p->ldb = swin__panel_row(&w);
    p->panel = p->ldb * swin__panel_rows(&w);
    p->column = w.scale;
    p->lead = w.lead;
}

/* Rows of numbers in the blob: f32 or f16. data NULL: there are none. */
typedef struct swin__stored { const void *data; int type; } swin__stored;

/* The same without the numbers before number `first`. */
static swin__stored swin__stored_from(swin__stored s, size_t first)
{
    s.data = s.type == SWIN__F16 ? (const void *)((const uint16_t *)s.data + first)
                                 : (const void *)((const float *)s.data + first);
    return s;
}

typedef struct swin__affine { const float *weight, *bias; } swin__affine;       /* of a LayerNorm */
#define SWIN__EPS 1e-5f         /* of all norms but the blocks' and the final one */

/* A field of eps, 0 being that. */
static float swin__eps(float told) { return told > 0 ? told : SWIN__EPS; }

/* y = weight x + bias; bias NULL where there is none. */
typedef struct swin__linear { swin__panels weight; const float *bias; } swin__linear;

/* The weights of a Swin block. */
typedef struct swin__block {
    swin__affine norm1, norm2;
    swin__linear qkv, proj, fc1, fc2;
    swin__linear q, kv, reduce;         /* MiT's, in place of qkv; reduce where keys are patches */
    swin__affine reduce_norm;
    const float *depthwise, *depthwise_bias;    /* [9][hidden], [hidden], of MiT's MLP */
    const float *table;                 /* [heads][2wh-1][2ww-1], key minus query */
    const float *scale;                 /* [heads], of Swin V2's cosines */
    swin__linear global_qkv, global_proj;
} swin__block;

/* What a stage, or a level up, has beside its blocks. */
typedef struct swin__stage {
    swin__stored tokens;                /* [g][C] */
    swin__stored token_position;        /* [token_rows][C] */
    swin__affine norm, merge_norm;
    swin__linear merge;
    swin__linear embed;                 /* MiT: the patch embedding before a stage but the first */
    swin__affine embed_norm;
} swin__stage;

/* One level of a Unet's way up. */
typedef struct swin__up {
    swin__linear expand, concat;
    swin__affine expand_norm;
    swin__linear q, kv;                 /* of the cross-attention */
    swin__block cross;                  /* its norms, table, proj, fc1 and fc2; no other member */
    swin__stage stage;
} swin__up;

/* scSE attention: from the mean over all pixels a factor a channel, and from each pixel one. */
typedef struct swin__scse { swin__linear reduce, restore, pixel; } swin__scse;

/* A block of SMP's Unet. */
typedef struct swin__smp_block { swin__scse attend[2]; swin__linear conv[2]; } swin__smp_block;
/* A convolution or product without ReLU, and the GroupNorm after it. */
typedef struct swin__normed { swin__linear linear; swin__affine norm; } swin__normed;

enum { SWIN__LEVELS = 3 };      /* that queries attend to, coarse to fine */

/* Those of a head with queries but those of its layers, which are looked up when they are
   planned. */
typedef struct swin__query_weights {
    swin__normed stem, lateral[SWIN__LEVELS], out[SWIN__LEVELS];        /* by feature */
    swin__normed level[SWIN__LEVELS];   /* of the features that deformable attention sees */
    swin__linear mask;
    swin__stored pixel_levels;          /* [SWIN__LEVELS][head.channels] */
    swin__stored embed, start;          /* [count][width]; of OneFormer start is its task: [1] */
    swin__linear input, project[SWIN__LEVELS];
    swin__affine start_norm, norm;
    swin__stored levels;                /* [SWIN__LEVELS][width] */
    swin__linear fc1, fc2, fc3;         /* from queries to the masks' channels */
} swin__query_weights;

/* A block of BiRefNet's decoder: a convolution, the branches of a deformable pyramid and the mean,
   a layer that fuses them, and a convolution. */
typedef struct swin__pyramid {
    swin__linear conv_in, conv_out, mean, fuse;
    swin__linear offset[SWIN_MAX_BRANCHES], branch[SWIN_MAX_BRANCHES];
} swin__pyramid;

enum { SWIN__REFINED = 4 };     /* the levels of BiRefNet's decoder, one a stage */

/* BiRefNet's decoder; a level's members have the number of its stage, and number 3 of lateral and 0
   of the gates are not set. */
typedef struct swin__birefnet {
    swin__pyramid squeeze, block[SWIN__REFINED];
    swin__linear patches[SWIN__REFINED], patches_out[SWIN__REFINED];
    swin__linear gate[SWIN__REFINED], gate_out[SWIN__REFINED];
    swin__linear out, image;    /* shares of the logits, a tap each */
} swin__birefnet;

/* All weights of a model but those of the blocks; what a model lacks is not set. */
typedef struct swin__weights {
    swin__linear embed;
    swin__affine embed_norm;
    swin__stored position;              /* [position_h*position_w][E] */
    swin__stage stage[SWIN_MAX_STAGES];
    swin__affine norm;                  /* after the last stage */
    swin__up up[SWIN_MAX_STAGES];
    swin__affine final_norm, final_expand_norm;
    swin__linear final_expand;
    /* of heads: each kind has some of these */
    swin__linear pool[SWIN_MAX_POOLS], bottleneck, fuse, cat, classify, conv[SWIN_MAX_CONVS];
    swin__linear lateral[SWIN_MAX_STAGES], fpn[SWIN_MAX_STAGES];
    swin__linear scale[SWIN_MAX_STAGES][SWIN_MAX_CONVS];
    swin__affine scale_norm[SWIN_MAX_STAGES][SWIN_MAX_CONVS];
    swin__smp_block decoder[SWIN_MAX_STAGES];
    swin__query_weights queries;
    swin__birefnet birefnet;
} swin__weights;

/* What the blocks of a stage, or of a Unet's level up, are made of. */
typedef struct swin__shape {
    int channels, hidden;
    int heads, d, dp;           /* heads of d channels, stored as dp: d rounded up to 16 */
    int packed;                 /* heads * dp: columns of q, k or v of all heads */
    int window_h, window_w, area;
    int table;                  /* entries of a head's relative position biases */
    int tokens, rows;           /* of a window: global tokens, and these and its pixels */
    int post_norm, cosine;      /* Swin V2: norms after the branches; cosines for scores */
} swin__shape;

/* The shape of the blocks of a stage, and of a Unet's level up beside it. */
static swin__shape swin__shape_of(const swin_config *g, int stage)
{
    const swin_stage_config *s = &g->stage[stage];
    swin__shape shape;
    shape.channels = s->width;
    shape.hidden = s->hidden;
    shape.heads = s->heads;
    shape.d = s->width / s->heads;
    shape.dp = swin__padded(shape.d);
    shape.packed = shape.heads * shape.dp;
    shape.window_h = s->window_h;
    shape.window_w = s->window_w;
    shape.area = s->window_h * s->window_w;
    shape.table = (2 * s->window_h - 1) * (2 * s->window_w - 1);
    shape.tokens = SWIN__HAS_GLAM ? g->tokens : 0;
    shape.rows = shape.tokens + shape.area;
    shape.post_norm = shape.cosine = SWIN__HAS_V2 && g->version == 2;
    return shape;
}

/* The shape of a level's cross-attention: its heads divide twice the channels and see no tokens. */
static swin__shape swin__cross_shape(const swin_config *g, int level)
{
    swin__shape shape = swin__shape_of(g, level);
    shape.d *= 2;
    shape.dp = swin__padded(shape.d);
    shape.packed = shape.heads * shape.dp;
    shape.tokens = 0;
    shape.rows = shape.area;
    return shape;
}

static int swin__is_unet(const swin_config *g)
{
    return g->body == SWIN_BODY_UNET || g->body == SWIN_BODY_CROSS_UNET;
}

/* The levels of a Unet's way up; 0 without one. */
static int swin__levels_up(const swin_config *g)
{
    return swin__is_unet(g) ? g->stages - 1 : 0;
}

/* The blocks of all stages and, in a Unet, of the levels up. */
static int swin__blocks(const swin_config *g)
{
    int n = 0;
    for (int i = 0; i < g->stages; i++) n += g->stage[i].depth;
    for (int i = 0; i < swin__levels_up(g); i++) n += g->stage[i].depth;
    return n;
}

/* Does G-MSA follow a block? Not a stage's last one: nobody reads the tokens after it. */
static int swin__has_global(const swin_config *g, int stage, int block)
{
    return SWIN__HAS_GLAM && g->tokens && block + 1 < g->stage[stage].depth;
}

/* Walks the directory in the order of >>blob: each call of swin__take and its kin expects the next
   tensor, and the first one that is not what the config implies is reported. */
typedef struct swin__binder {
    const swin_model *model;
    swin__block *blocks;        /* where the next block goes, or NULL: only check */
    uint64_t next, offset;      /* the next entry, and where its data must start */
    uint64_t end;               /* of the data */
    char prefix[48];
    swin_error *err;
    swin_status status;
} swin__binder;

/* Fails the walk, unless it has failed before; returns data NULL, the tensor that is not there. */
static swin__stored swin__mismatch(swin__binder *b, const char *name, const char *what)
{
    const swin__stored none = { NULL, SWIN__F32 };
    if (b->status == SWIN_OK)
        b->status = swin__fail(b->err, SWIN_DAMAGED, "%s%s: %s", b->prefix, name, what);
    return none;
}

/* The number types that a tensor may have: bit t stands for type t. */
enum {
    SWIN__AS_F32 = 1 << SWIN__F32, SWIN__AS_FLOATS = SWIN__AS_F32 | 1 << SWIN__F16,
    SWIN__AS_WEIGHTS = SWIN__AS_FLOATS | 1 << SWIN__S8
};

enum { SWIN__MOST_TERMS = 131072 };     /* of a sum of 127 * 128, which an int32 must hold */

/* What the next tensor must be: its layout, its shape {s0, s1, s2, 1}, its possible types. */
typedef struct swin__expected {
    uint32_t layout;
    int s0, s1, s2;
    unsigned types;
} swin__expected;

/* Refuses weights of a type that this build leaves out. */
static swin_status swin__check_type(int type, swin_error *err)
{
    return swin__check_need(type == SWIN__F16  ? SWIN__NEEDS_F16
                            : type == SWIN__S8 ? SWIN__NEEDS_INT8 : SWIN__NEEDS_NOTHING, err);
}

/* The bytes of such a tensor, of this type. */
static uint64_t swin__implied_bytes(const swin__expected *x, uint32_t type)
{
    uint64_t s0 = (uint64_t)x->s0, s1 = (uint64_t)x->s1, size = type == SWIN__F16 ? 2 : 4;
    if (type == SWIN__S8) return (uint64_t)swin__padded(x->s0) * ((s1 + 3) / 4 * 4);
    if (x->layout == SWIN__LAYOUT_ROWS) s1 = (uint64_t)swin__padded(x->s1);
    if (x->layout == SWIN__LAYOUT_PANELS) s0 = (uint64_t)swin__padded(x->s0);
    return s0 * s1 * (uint64_t)x->s2 * size;
}

/* The next tensor, which must have this name after the prefix, be what is expected, and lie right
   after the one before; else data is NULL, and the walk has failed. */
static swin__stored swin__take_as(swin__binder *b, const char *name, const swin__expected *x)
{
    swin__entry e;
    swin__stored tensor;
    char expected[sizeof e.name];
    uint64_t offset, bytes;
    if (b->status != SWIN_OK) return swin__mismatch(b, name, "");
    if (b->next == b->model->tensors) return swin__mismatch(b, name, "the tensor is missing");
    memcpy(&e, b->model->directory + b->next++ * sizeof e, sizeof e);
    memcpy(&offset, e.place, 8);
    memcpy(&bytes, e.place + 8, 8);

    memset(expected, 0, sizeof expected);
    swin__format(expected, sizeof expected, "%s%s", b->prefix, name);
    if (memcmp(e.name, expected, sizeof expected))
        return swin__mismatch(b, name, "another tensor is in its place");
    if (e.type > 31 || !(x->types >> e.type & 1))
        return swin__mismatch(b, name, x->types == SWIN__AS_F32 ? "its number type is not f32"
                                                : "its number type is none that it may have");
    b->status = swin__check_type((int)e.type, b->err);
    if (b->status != SWIN_OK) return swin__mismatch(b, name, "");
    if (e.layout != (e.type == SWIN__S8 ? (uint32_t)SWIN__LAYOUT_QUADS : x->layout) ||
        !swin__zero(e.zero, sizeof e.zero))
        return swin__mismatch(b, name, "unknown layout");
    if (e.shape[0] != (uint32_t)x->s0 || e.shape[1] != (uint32_t)x->s1 ||
        e.shape[2] != (uint32_t)x->s2 || e.shape[3] != 1)
        return swin__mismatch(b, name, "its shape is not what the config implies");
    if (e.type == SWIN__S8 && x->s1 > SWIN__MOST_TERMS)
        return swin__mismatch(b, name, "s8 has no more than 131072 inputs");
    if (bytes != swin__implied_bytes(x, e.type))
        return swin__mismatch(b, name, "its size does not fit its shape");
    if (offset != b->offset || offset > b->end || bytes > b->end - offset)
        return swin__mismatch(b, name, "it does not lie where it should");
    b->offset = swin__align64(offset + bytes);
    tensor.data = b->model->blob + offset;
    tensor.type = (int)e.type;
    return tensor;
}

/* The next tensor, of f32. */
static const float *swin__take(swin__binder *b, const char *name, uint32_t layout, int s0, int s1,
                               int s2)
{
    const swin__expected x = { layout, s0, s1, s2, SWIN__AS_F32 };
    return (const float *)swin__take_as(b, name, &x).data;
}

/* The next tensor, rows of f32 or f16. */
static swin__stored swin__take_rows(swin__binder *b, const char *name, int rows, int n)
{
    const swin__expected x = { SWIN__LAYOUT_ROWS, rows, n, 1, SWIN__AS_FLOATS };
    return swin__take_as(b, name, &x);
}

/* A vector is a matrix of one row. */
static const float *swin__vector(swin__binder *b, const char *name, int n)
{
    return swin__take(b, name, SWIN__LAYOUT_ROWS, 1, n, 1);
}

/* The two tensors of a LayerNorm: `name`.weight and `name`.bias. */
static swin__affine swin__take_affine(swin__binder *b, const char *name, int n)
{
    swin__affine a;
    char full[48];
    swin__format(full, sizeof full, "%s.weight", name);
    a.weight = swin__vector(b, full, n);
    swin__format(full, sizeof full, "%s.bias", name);
    a.bias = swin__vector(b, full, n);
    return a;
}

/* The scales of n outputs whose weights are s8. */
static const float *swin__take_scales(swin__binder *b, const char *name, int n)
{
    const float *scale = swin__vector(b, name, n);
    for (int i = 0; scale && i < n; i++)
        if (!(scale[i] >= 0 && scale[i] <= FLT_MAX))
            return (const float *)swin__mismatch(b, name, "a scale is negative or not finite").data;
    return scale;
}

/* Those of a linear layer: `name`.weight, of one of these types, `name`.scale, where that is s8,
   and, where it has one, `name`.bias. */
static swin__linear swin__take_linear_as(swin__binder *b, const char *name, int outputs, int inputs,
                                         int bias, unsigned types)
{
    const swin__expected x = { SWIN__LAYOUT_PANELS, outputs, inputs, 1, types };
    swin__stored weight;
    swin__linear l;
    char full[48];
    swin__format(full, sizeof full, "%s.weight", name);
    weight = swin__take_as(b, full, &x);
    l.weight.data = weight.data;
    l.weight.type = weight.type;
    l.weight.inputs = inputs;
    l.weight.lead = 0;
    swin__format(full, sizeof full, "%s.scale", name);
    l.weight.scale = weight.type == SWIN__S8 ? swin__take_scales(b, full, outputs) : NULL;
    swin__format(full, sizeof full, "%s.bias", name);
    l.bias = bias ? swin__vector(b, full, outputs) : NULL;
    return l;
}

static swin__linear swin__take_linear(swin__binder *b, const char *name, int outputs, int inputs,
                                      int bias)
{
    return swin__take_linear_as(b, name, outputs, inputs, bias, SWIN__AS_WEIGHTS);
}

/* Relative position biases of all heads. */
static const float *swin__take_table(swin__binder *b, const char *name, const swin__shape *s)
{
    return swin__take(b, name, SWIN__LAYOUT_PLAIN, s->heads, 2 * s->window_h - 1,
                      2 * s->window_w - 1);
}

/* The tensors of a block of MiT, in stage i. */
static void swin__bind_mit_block(swin__binder *b, swin__block *block, int i)
{
    const swin_config *g = &b->model->config;
    const swin__shape s = swin__shape_of(g, i);
    int c = s.channels, packed = s.packed, side = g->mit.reduction[i];
    block->norm1 = swin__take_affine(b, "norm1", c);
    if (side > 1) {
        block->reduce = swin__take_linear(b, "attn.reduce", c, side * side * c, 1);
        block->reduce_norm = swin__take_affine(b, "attn.reduce.norm", c);
    }
    block->q = swin__take_linear(b, "attn.q", packed, c, 1);
    block->kv = swin__take_linear(b, "attn.kv", 2 * packed, c, 1);
    block->proj = swin__take_linear(b, "attn.proj", c, packed, 1);
    block->norm2 = swin__take_affine(b, "norm2", c);
    block->fc1 = swin__take_linear(b, "mlp.fc1", s.hidden, c, 1);
    block->depthwise = swin__take(b, "mlp.depthwise.weight", SWIN__LAYOUT_ROWS, 9, s.hidden, 1);
    block->depthwise_bias = swin__vector(b, "mlp.depthwise.bias", s.hidden);
    block->fc2 = swin__take_linear(b, "mlp.fc2", c, s.hidden, 1);
}

/* Block j of a stage, or of a Unet's level up: `where` is "stage" or "up". */
static void swin__bind_block(swin__binder *b, swin__block *block, const char *where, int i, int j)
{
    const swin_config *g = &b->model->config;
    const swin__shape s = swin__shape_of(g, i);
    int c = s.channels, packed = s.packed;
    swin__format(b->prefix, sizeof b->prefix, "%s%d.block%d.", where, i, j);
    memset(block, 0, sizeof *block);
    if (g->body == SWIN_BODY_MIT) {
        swin__bind_mit_block(b, block, i);
        return;
    }
    block->norm1 = swin__take_affine(b, "norm1", c);
    block->qkv = swin__take_linear(b, "attn.qkv", 3 * packed, c, g->qkv_bias);
    block->table = swin__take_table(b, "attn.bias", &s);
    if (s.cosine) block->scale = swin__vector(b, "attn.scale", s.heads);
    block->proj = swin__take_linear(b, "attn.proj", c, packed, 1);
    if (swin__has_global(g, i, j)) {
        block->global_qkv = swin__take_linear(b, "global.qkv", 3 * packed, c, g->qkv_bias);
        block->global_proj = swin__take_linear(b, "global.proj", c, packed, 1);
    }
    block->norm2 = swin__take_affine(b, "norm2", c);
    block->fc1 = swin__take_linear(b, "mlp.fc1", s.hidden, c, 1);
    block->fc2 = swin__take_linear(b, "mlp.fc2", c, s.hidden, 1);
}

/* The tokens and blocks of a stage or of a level up. */
static void swin__bind_blocks(swin__binder *b, swin__stage *stage, const char *where, int i)
{
    const swin_config *g = &b->model->config;
    int c = g->stage[i].width;
    swin__block unused;
    if (g->tokens) stage->tokens = swin__take_rows(b, "tokens", g->tokens, c);
    if (g->tokens && g->stage[i].depth > 1)
        stage->token_position = swin__take_rows(b, "token_position", g->stage[i].token_rows, c);
    for (int j = 0; j < g->stage[i].depth; j++)
        swin__bind_block(b, b->blocks ? b->blocks++ : &unused, where, i, j);
    swin__format(b->prefix, sizeof b->prefix, "%s%d.", where, i);
}

/* Stage i: its tokens and blocks, its norm, and the merging after it, as far as there are any. */
static void swin__bind_stage(swin__binder *b, swin__stage *stage, int i)
{
    const swin_config *g = &b->model->config;
    int c = g->stage[i].width;
    swin__format(b->prefix, sizeof b->prefix, "stage%d.", i);
    swin__bind_blocks(b, stage, "stage", i);
    if (g->feature_norms >> i & 1) stage->norm = swin__take_affine(b, "norm", c);
    if (i + 1 < g->stages) {
        int next = g->stage[i + 1].width, post_norm = swin__shape_of(g, i).post_norm;
        if (g->merge_norm)
            stage->merge_norm = swin__take_affine(b, "merge.norm", post_norm ? next : 4 * c);
        stage->merge = swin__take_linear(b, "merge", next, 4 * c, 0);
    }
}

/* --- what a head reads ------------------------------------------------------------------------ */

/* The numbers of the features that the head reads, finest first; returns how many there are. */
static int swin__head_inputs(const swin_config *g, int inputs[SWIN_MAX_STAGES])
{
    int n = 0;
    for (int i = 0; i < g->stages; i++)
        if (g->head.inputs >> i & 1) inputs[n++] = i;
    return n;
}

/* The channels of these features; returns how many there are. */
static int swin__head_widths(const swin_config *g, int widths[SWIN_MAX_STAGES])
{
    int count = swin__head_inputs(g, widths);
    for (int l = 0; l < count; l++) widths[l] = g->stage[widths[l]].width;
    return count;
}

/* The number of the coarsest of them, of a head that reads one at least; its channels. */
static int swin__coarsest_input(const swin_config *g)
{
    int i = g->stages - 1;
    while (i > 0 && !(g->head.inputs >> i & 1)) i--;
    return i;
}

static int swin__head_depth(const swin_config *g)
{
    return g->stage[swin__coarsest_input(g)].width;
}

/* Binds the layers name{l} for l < count, of `inputs` channels each or, if given, widths[l]. */
static void swin__bind_row(swin__binder *b, swin__linear *layers, const char *name, int count,
                           int outputs, int inputs, const int *widths)
{
    char full[24];
    for (int l = 0; l < count; l++) {
        swin__format(full, sizeof full, "%s%d", name, l);
        layers[l] = swin__take_linear(b, full, outputs, widths ? widths[l] : inputs, 1);
    }
}

/* -------------------------------------------------------------------------- */
/* >>plan: from (model, size) to a list of steps

   A step is a function, a count of independent units of work, and buffers. Builders
   (swin__plan_...) walk the network once in the order of computation, and keep to four rules:
       a buffer is taken (swin__alloc) before the first step that uses it is added and given back
           (swin__release) once, after the last one: its place follows from its lifetime, first fit;
       a step is complete when it is added (swin__add_step): its layer is copied, and its scratch,
           which lives while it runs, is taken and given back there, so that all of its buffers are
           alive already;
       the same walk runs twice, to measure and to build. While it measures, pointers are made from
           counts and nothing is written through them; p->context is NULL;
       what a unit computes depends on shapes alone: never on tasks or machine. */

/* Rows of channels: pixel (y, x) starts at data + (y*w + x) * ld; ld is c rounded up to 16, the
   rest is zero. */
typedef struct swin__fmap { float *data; int h, w, c, ld; } swin__fmap;

static int swin__pixels(const swin__fmap *map) { return map->h * map->w; }
static float *swin__pixel(const swin__fmap *map, int index)
{
    return map->data + (size_t)index * (size_t)map->ld;
}

/* Resizing along one axis: output o is the sum over t < taps of coef[o*taps + t] * input[at[o*taps
   + t]]. */
typedef struct swin__axis { int count, taps; int *at; float *coef; } swin__axis;

/* The crops of a sliding window, row by row; the last of a row or column is moved back inside. A
   whole picture is one crop. */
typedef struct swin__crops {
    int h, w, stride_h, stride_w, rows, cols;
    int input_h, input_w;       /* what they cover */
} swin__crops;

/* Does any window slide over the input? */
static int swin__slides(const swin__crops *g)
{
    return SWIN__HAS_SLIDE && (g->h < g->input_h || g->w < g->input_w);
}

static int swin__crop_top(const swin__crops *g, int crop)
{
    return swin__min(crop / g->cols * g->stride_h, g->input_h - g->h);
}
static int swin__crop_left(const swin__crops *g, int crop)
{
    return swin__min(crop % g->cols * g->stride_w, g->input_w - g->w);
}

/* The windows of one block: the map is padded to whole windows and read with a cyclic shift. */
typedef struct swin__grid {
    int h, w;                   /* of the map */
    int window_h, window_w, shift_h, shift_w;
    int rows, cols;             /* of windows */
    int roll_before_pad;
} swin__grid;

typedef struct swin__step swin__step;
typedef void (*swin__work)(const swin_context *c, const swin__step *s, int unit, float *scratch);

/* The buffers of SWIN_OUT_ATTENTION. They hold means over the heads of three attentions: that of a
   pixel to its window's rows, that of this window's tokens to all tokens, and that of all tokens to
   the rows of their windows. */
typedef struct swin__look {
    int window, row;            /* of the pixel, in the last block of its stage */
    swin__fmap pixel;           /* the first: 1 x 1 of [lanes] */
    swin__fmap mixed;           /* the second: 1 x tokens of [all tokens] */
    swin__fmap tokens;          /* the third: windows x tokens of [lanes] */
    swin__fmap map;             /* the answer, one channel */
} swin__look;

/* An entry of the plan: units 0 ... units - 1 of one layer, in any order. */
struct swin__step {
    const char *name;
    int stage, units;
    double madds;
    swin__work work;
    float *scratch;             /* the tasks' scratch, one behind the other, */
    size_t task_scratch;        /* so many floats for each */
    const void *layer;          /* what `work` works on: a struct defined beside that function */
};

enum { SWIN__TASKS = 4096 };    /* the most tasks that a step is cut into */

/* A map of the picture's size that a run writes: swin_map shows it to the caller. */
typedef struct swin__picture_map { void *data; int width, height, bytes; } swin__picture_map;

/* What the scores of a head with queries are made of. */
typedef struct swin__scores {
    swin__fmap masks;           /* a logit a query */
    swin__fmap shares;          /* rows of queries: the probability of each class; data NULL: the
                                   scores are the masks' own probabilities */
    swin__axis rows, cols;      /* from masks to the grid of scores */
    float *none;                /* a query's probability of no class, where segments need it */
} swin__scores;

/* What a run gives; what nobody asked for has data NULL. */
typedef struct swin__results {
    swin__picture_map classes, confidence, segment_ids;
    swin_tensor logits, feature[SWIN_MAX_STAGES + 1], scores, attention;
    swin_region *segments;
    int *segment_count;
} swin__results;

/* It lies at the start of the workspace; steps, what is computed once and buffers follow. */
struct swin_context {
    const swin_model *model;
    const swin__kernels *kernels;
    swin_desc desc;             /* with every default filled in */
    swin__weights weights;
    swin__step *steps;
    int step_count;
    swin__crops crops;
    int repeated;               /* steps before this one run for each crop, the others for each row
                                   of crops */
    int crop, at, unit;         /* the next step, and the next unit of it */
    int cancel, running, finished;      /* finished: the results are those of the last run */
    double total, done;         /* multiply-adds */
    swin_image image;
    swin__results results;
    swin_error error;
#ifdef SWIN_DEBUG
    const swin_context *self;   /* where swin_init made it */
    unsigned char ran[SWIN__TASKS];     /* how often each task of the current batch ran */
    struct swin__guard *guards;
    int guard_count;
    /* checksums of the blob's header, config and directory, as they were at init */
    uint32_t model_sums[2];
#endif
};

/* The walk's state. While sizing, pointers are made but never followed. */
typedef struct swin__plan {
    const swin_model *model;
    const swin_config *config;
    swin_context *context;      /* NULL while sizing */
    swin_desc desc;
    swin__crops crops;
    swin__weights *weights;
    swin__block *blocks, no_block;      /* while sizing, no_block is the block at hand, */
    uint64_t entry;                     /* the directory's entries up to here are those before it */
    swin__step no_step;
    int block_count, step_count, repeated;
    int lasting;                /* buffers made now outlive a crop */
    uint64_t kept;              /* floats of a run's kept logits */
    swin__results results;
    swin__look look;
    swin__scores scores;        /* set by a head with queries */
    uintptr_t arena, tables;    /* where buffers lie, and what is computed once, at init */
    uint64_t peak, table_bytes;
    struct { uint64_t start, end; } live[64];   /* the buffers that are taken, from low to high */
    int live_count;
    int tiles;                  /* how many a Winograd convolution takes at a time */
#ifdef SWIN_DEBUG
    int guard_count;
#endif
    swin_error *err;
    swin_status status;
} swin__plan;

/* With SWIN_DEBUG every buffer lies between two red zones. Zones and buffer are painted with NaNs
   when its life begins, and the zones checked when it ends: a step that reads what nobody wrote, or
   writes what is not its own, shows. */
#ifdef SWIN_DEBUG
enum { SWIN__ZONE = 64 };        /* bytes of one red zone */
/* A buffer with its zones, and the steps of its life; first -1: from the beginning of a run. */
typedef struct swin__guard { unsigned char *start, *end; int first, last; } swin__guard;

/* The life of the buffer from start to end begins with the next step. */
static void swin__guard_new(swin__plan *p, uint64_t start, uint64_t end)
{
    swin__guard *g = p->context ? &p->context->guards[p->guard_count] : NULL;
    p->guard_count++;
    if (!g) return;
    g->start = (unsigned char *)(p->arena + (uintptr_t)start);
    g->end = (unsigned char *)(p->arena + (uintptr_t)end);
    g->first = p->lasting ? -1 : p->step_count;
    g->last = 1 << 30;
}

/* The life of the buffer at start ended with the last step. */
static void swin__guard_end(swin__plan *p, uint64_t start)
{
    const unsigned char *at = (const unsigned char *)(p->arena + (uintptr_t)start);
    if (!p->context) return;
    for (int i = p->guard_count - 1; i >= 0; i--) {
        swin__guard *g = &p->context->guards[i];
        if (g->start != at || g->last != 1 << 30) continue;
        g->last = p->step_count - 1;
        return;
    }
}

static void swin__guards_paint(const swin_context *c, int step)
{
    for (int i = 0; i < c->guard_count; i++)
        if (c->guards[i].first == step)
            memset(c->guards[i].start, 0xff, (size_t)(c->guards[i].end - c->guards[i].start));
}

/* Are the zones of every buffer that lives during this step as they were painted? */
static int swin__guards_hold(const swin_context *c, int step)
{
    for (int i = 0; i < c->guard_count; i++) {
        const swin__guard *g = &c->guards[i];
        for (int at = 0; g->first <= step && step <= g->last && at < SWIN__ZONE; at++)
            if (g->start[at] != 0xff || g->end[-1 - at] != 0xff) return 0;
    }
    return 1;
}
#else
enum { SWIN__ZONE = 0 };
#endif

/* Takes a buffer of so many floats: the first gap among the live ones that is large enough. */
static float *swin__alloc(swin__plan *p, uint64_t floats)
{
    uint64_t start = 0, size = swin__align64(floats * sizeof(float)) + 2 * SWIN__ZONE;
    int i = 0;
    if (p->live_count == (int)(sizeof p->live / sizeof *p->live)) {
        p->status = swin__fail(p->err, SWIN_UNSUPPORTED,
                               "the plan has too many buffers alive at once");
        return NULL;
    }
    while (i < p->live_count && p->live[i].start - start < size) start = p->live[i++].end;
    memmove(p->live + i + 1, p->live + i, (size_t)(p->live_count - i) * sizeof *p->live);
    p->live[i].start = start;
    p->live[i].end = start + size;
    p->live_count++;
    if (p->peak < start + size) p->peak = start + size;
#ifdef SWIN_DEBUG
    swin__guard_new(p, start, start + size);
#endif
    return (float *)(p->arena + (uintptr_t)start + SWIN__ZONE);
}

/* Gives a buffer back; one that is not alive fails the plan in debug builds. */
static void swin__release(swin__plan *p, const void *buffer)
{
    uint64_t start = (uint64_t)((uintptr_t)buffer - p->arena - SWIN__ZONE);
    int i = 0;
    while (i < p->live_count && p->live[i].start != start) i++;
#ifdef SWIN_DEBUG
    if (i == p->live_count && p->status == SWIN_OK)
        p->status = swin__fail(p->err, SWIN_CORRUPT, "the plan gives a buffer back that is not "
                               "alive, after step %d", p->step_count);
    swin__guard_end(p, start);
#endif
    if (i == p->live_count) return;
    p->live_count--;
    memmove(p->live + i, p->live + i + 1, (size_t)(p->live_count - i) * sizeof *p->live);
}

/* a * b, things that an int counts: the pixels of a map, the tokens of a stage. Twice a picture's
   pixels allow for what is padded. More fails the plan, which goes on with 1: it is being
   measured then, and nothing that follows from the count can overflow. */
static int swin__product_fits(swin__plan *p, const char *what, int64_t a, int64_t b)
{
    if (a * b <= 2 * (int64_t)SWIN_MAX_PIXELS) return (int)(a * b);
    if (p->status == SWIN_OK)
        p->status = swin__fail(p->err, SWIN_SIZE, "an input of this size would need %d x %d %s: "
                               "take a smaller one", (int)a, (int)b, what);
    return 1;
}

/* A map of h x w pixels, rows of c channels, ld floats apart. */
static swin__fmap swin__alloc_rows(swin__plan *p, int h, int w, int c, int ld)
{
    swin__fmap map;
    if (swin__product_fits(p, "pixels of a map", h, w) != h * (int64_t)w) h = w = 1;
    map.h = h;
    map.w = w;
    map.c = c;
    map.ld = ld;
    map.data = swin__alloc(p, (uint64_t)h * (uint64_t)w * (uint64_t)ld);
    return map;
}

static swin__fmap swin__alloc_fmap(swin__plan *p, int h, int w, int c)
{
    return swin__alloc_rows(p, h, w, c, swin__padded(c));
}

/* A map that only products read: rows a multiple of 4 KiB apart would share one set of the first
   cache, so there they lie further apart. */
static swin__fmap swin__alloc_factor(swin__plan *p, int h, int w, int c)
{
    int ld = swin__padded(c);
    return swin__alloc_rows(p, h, w, c, ld % 1024 ? ld : ld + 16);
}

/* So many bytes for what is computed once, at init. While sizing nothing may be written there. */
static void *swin__table(swin__plan *p, uint64_t bytes)
{
    void *table = (void *)(p->tables + (uintptr_t)p->table_bytes);
    p->table_bytes += swin__align64(bytes);
    return table;
}

/* A copy that lasts as long as the context; while sizing there is none, and thing is returned. */
static const void *swin__keep_copy(swin__plan *p, const void *thing, size_t size)
{
    void *copy = swin__table(p, size);
    return p->context ? memcpy(copy, thing, size) : thing;
}

/* n stored numbers as floats, which last as long as the context. */
static const float *swin__stored_floats(swin__plan *p, swin__stored s, size_t n)
{
    float *floats;
    if (s.type == SWIN__F32) return (const float *)s.data;
    floats = (float *)swin__table(p, n * sizeof *floats);
    for (size_t i = 0; p->context && i < n; i++)
        floats[i] = swin__half(((const uint16_t *)s.data)[i]);
    return floats;
}

/* A walk through the directory that starts at the tensor of this name, which follows those of
   earlier such walks. */
static swin__binder swin__binder_at(swin__plan *p, const char *name)
{
    swin__binder b = { p->model, NULL, 0, 0, p->model->size, "", p->err, SWIN_OK };
    swin__entry e;
    char padded[sizeof e.name];
    memset(padded, 0, sizeof padded);
    swin__format(padded, sizeof padded, "%s", name);
    for (b.next = p->entry; b.next < p->model->tensors; b.next++) {
        memcpy(&e, p->model->directory + b.next * sizeof e, sizeof e);
        memcpy(&b.offset, e.place, 8);
        if (!memcmp(e.name, padded, sizeof padded)) break;
    }
    p->entry = b.next;
    return b;
}

/* What swin__add_step asks about a step, beside its layer. */
typedef struct swin__job {
    const char *name;
    int stage;                  /* backbone stage or pyramid level, -1 where it has none */
    swin__work work;
    int units;
    uint64_t scratch;           /* floats that a task takes for itself while the step runs */
    double madds;
} swin__job;

/* A plan longer than this is not worth its memory: the largest sensible ones have some thousand. */
enum { SWIN__STEPS = 1 << 20 };

/* Adds a step, complete as it is: layer, `size` bytes, is what the work gets as s->layer. */
static void swin__add_step(swin__plan *p, const swin__job *job, const void *layer, size_t size)
{
    swin__step *s = p->context ? p->context->steps + p->step_count : &p->no_step;
    int tasks = swin__min(p->desc.tasks, job->units);
    if (p->status == SWIN_OK && p->step_count == SWIN__STEPS)
        p->status = swin__fail(p->err, SWIN_SIZE, "an input of this size would take more than %d "
                               "steps: take a smaller one", SWIN__STEPS);
    if (p->status == SWIN_OK && job->scratch > SIZE_MAX / 64)
        p->status = swin__fail(p->err, SWIN_MEMORY, "the workspace would not fit this machine's "
                               "address space");
    memset(s, 0, sizeof *s);
    s->name = job->name;
    s->stage = job->stage;
    s->units = job->units;
    s->madds = job->madds;
    s->work = job->work;
    s->layer = swin__keep_copy(p, layer, size);
    s->task_scratch = (size_t)(swin__align64(job->scratch * sizeof(float)) / sizeof(float));
    s->scratch = swin__alloc(p, (uint64_t)s->task_scratch * (uint64_t)tasks);
    p->step_count++;
    swin__release(p, s->scratch);
}

/* A map as the caller sees it. */
static swin_tensor swin__view(swin__fmap map)
{
    swin_tensor t;
    t.data = map.data;
    t.channels = map.c;
    t.height = map.h;
    t.width = map.w;
    t.channel = 1;
    t.pixel = (size_t)map.ld;
    t.row = (size_t)map.ld * (size_t)map.w;
    return t;
}

/* Makes a map one of the results, if features are asked for. */
static void swin__show_feature(swin__plan *p, int index, swin__fmap map)
{
    if (p->desc.outputs & SWIN_OUT_FEATURES) p->results.feature[index] = swin__view(map);
}

/* Gives back a feature that no layer reads any more, unless it is a result. */
static void swin__drop_feature(swin__plan *p, swin__fmap feature)
{
    if (!(p->desc.outputs & SWIN_OUT_FEATURES)) swin__release(p, feature.data);
}

/* -------------------------------------------------------------------------- */
/* >>resize: how a map or a picture is resized along an axis

   An axis holds for each output the inputs it mixes and their shares. Two axes, of rows and of
   columns, resize a map. */

/* A bilinear resize of n inputs x to m outputs makes output o = (1 - t) x[a] + t x[b]. Pixels have
   their centres at halves or, if aligned, the first and the last of both are at the same places. */
static void swin__bilinear(int n, int m, int o, int aligned, int *a, int *b, double *t)
{
    double u = aligned ? (m > 1 ? swin__times(o, (double)(n - 1) / (m - 1)) : 0)
                       : swin__times(o + 0.5, (double)n / m) - 0.5;
    if (u < 0) u = 0;
    *a = swin__min((int)u, n - 1);
    *b = swin__min(*a + 1, n - 1);
    *t = u - *a;
}

/* Takes memory for an axis of count outputs; 0 while sizing, when nothing may be written to it. */
static int swin__alloc_axis(swin__plan *p, swin__axis *axis, int count, int taps)
{
    uint64_t bytes = (uint64_t)count * (uint64_t)taps * 4;
    axis->count = count;
    axis->taps = taps;
    axis->at = (int *)swin__table(p, bytes);
    axis->coef = (float *)swin__table(p, bytes);
    return p->context != NULL;
}

/* `count` outputs, from number first on, of a bilinear resize of n inputs to m outputs. */
static swin__axis swin__axis_bilinear(swin__plan *p, int n, int m, int first, int count,
                                      int aligned)
{
    swin__axis axis;
    if (!swin__alloc_axis(p, &axis, count, 2)) return axis;
    for (int o = 0; o < count; o++) {
        double t;
        swin__bilinear(n, m, first + o, aligned, &axis.at[2 * o], &axis.at[2 * o + 1], &t);
        axis.coef[2 * o] = (float)(1 - t);
        axis.coef[2 * o + 1] = (float)t;
    }
    return axis;
}

/* The input of n that is nearest to output o of m, as PyTorch has it. */
static int swin__nearest(int n, int m, int o)
{
    return (int)((int64_t)o * n / m);
}

/* A resize of n inputs to m outputs, each of them the nearest input. */
static swin__axis swin__axis_nearest(swin__plan *p, int n, int m)
{
    swin__axis axis;
    if (!swin__alloc_axis(p, &axis, m, 1)) return axis;
    for (int o = 0; o < m; o++) {
        axis.at[o] = swin__nearest(n, m, o);
        axis.coef[o] = 1;
    }
    return axis;
}

/* A resize to m outputs, each of them the nearest output of another resize. */
static swin__axis swin__axis_repeat(swin__plan *p, const swin__axis *from, int m)
{
    swin__axis axis;
    if (!swin__alloc_axis(p, &axis, m, from->taps)) return axis;
    for (int o = 0; o < m * axis.taps; o++) {
        int i = swin__nearest(from->count, m, o / axis.taps) * axis.taps + o % axis.taps;
        axis.at[o] = from->at[i];
        axis.coef[o] = from->coef[i];
    }
    return axis;
}

/* Output o of two bilinear resizes in sequence, from sizes[0] to sizes[1], of which the first
   sizes[2] go to sizes[3], as one sum: the shares of up to four inputs from *first on. */
static void swin__bilinear_twice(const int sizes[4], int o, const int aligned[2], int *first,
                                 double share[4])
{
    int middle[2];
    double outer;
    swin__bilinear(sizes[2], sizes[3], o, aligned[1], &middle[0], &middle[1], &outer);
    for (int i = 0; i < 2; i++) {
        int a, b;
        double inner, part = i ? outer : 1 - outer;
        swin__bilinear(sizes[0], sizes[1], middle[i], aligned[0], &a, &b, &inner);
        if (!i) *first = a;
        share[a - *first] += swin__times(part, 1 - inner);
        share[b - *first] += swin__times(part, inner);
    }
}

/* Two bilinear resizes in sequence as one: n -> m with n <= 2 m, and the first `cut` of these -> q.
   Corners are aligned in the first, in the second. */
static swin__axis swin__axis_cut(swin__plan *p, int n, int m, int cut, int q, int aligned,
                                 int aligned_again)
{
    const int sizes[4] = { n, m, cut, q }, corners[2] = { aligned, aligned_again };
    swin__axis axis;
    if (cut == q) return swin__axis_bilinear(p, n, m, 0, q, aligned);
    if (!swin__alloc_axis(p, &axis, q, n > m ? 4 : 3)) return axis;
    for (int o = 0; o < q; o++) {
        int first = 0;
        double share[4] = { 0, 0, 0, 0 };
        swin__bilinear_twice(sizes, o, corners, &first, share);
        for (int t = 0; t < axis.taps; t++) {
            axis.at[o * axis.taps + t] = swin__min(first + t, n - 1);
            axis.coef[o * axis.taps + t] = (float)share[t];
        }
    }
    return axis;
}

/* The same with all of the first resize's outputs. */
static swin__axis swin__axis_twice(swin__plan *p, int n, int m, int q, int aligned,
                                   int aligned_again)
{
    return swin__axis_cut(p, n, m, m, q, aligned, aligned_again);
}

/* Weight of a sample x pixels away, x >= 0: a triangle, or Keys' cubic convolution with a. */
static double swin__tent(double x)
{
    return x < 1 ? 1 - x : 0;
}
static double swin__cubic(double x, double a)
{
    double inner = swin__times(swin__times(swin__times(a + 2, x) - (a + 3), x), x) + 1;
    double outer = swin__times(swin__times(swin__times(a, x) - 5 * a, x) + 8 * a, x) - 4 * a;
    return x <= 1 ? inner : x < 2 ? outer : 0;
}

/* `count` outputs, from number first on, of a bicubic resize of n inputs to m outputs: cubic with
   a = -0.75, indices clamped, as PyTorch has it. */
static swin__axis swin__axis_bicubic(swin__plan *p, int n, int m, int first, int count)
{
    swin__axis axis;
    if (!swin__alloc_axis(p, &axis, count, 4)) return axis;
    for (int o = 0; o < count; o++) {
        double u = swin__times(first + o + 0.5, (double)n / m) - 0.5;
        int a = (int)(u + 1) - 1;               /* floor, as u >= -0.5 */
        for (int i = 0; i < 4; i++) {
            double away = u - (a - 1 + i);
            axis.at[4 * o + i] = swin__min(swin__max(a - 1 + i, 0), n - 1);
            axis.coef[4 * o + i] = (float)swin__cubic(away < 0 ? -away : away, -0.75);
        }
    }
    return axis;
}

/* The same antialiased, as Pillow does it: the filter, linear or cubic with a = -0.5, is stretched
   by the factor of the shrinking and cut at the border. */
static swin__axis swin__axis_antialias(swin__plan *p, int n, int m, int first, int count, int cubic)
{
    double scale = (double)n / m, stretch = scale > 1 ? scale : 1, support = stretch * (1 + cubic);
    swin__axis axis;
    if (!swin__alloc_axis(p, &axis, count, 2 * (int)support + 3)) return axis;
    for (int o = 0; o < count; o++) {
        double centre = swin__times(first + o + 0.5, scale), sum = 0;
        int start = swin__max(0, (int)(centre - support + 0.5));
        int end = swin__min(n, (int)(centre + support + 0.5));
        int *at = axis.at + o * axis.taps;
        float *coef = axis.coef + o * axis.taps;
        for (int pass = 0; pass < 2; pass++) {
            for (int t = 0; t < axis.taps; t++) {
                double away = (start + t + 0.5 - centre) / stretch, weight;
                away = away < 0 ? -away : away;
                weight = start + t >= end ? 0 : cubic ? swin__cubic(away, -0.5) : swin__tent(away);
                at[t] = swin__min(start + t, n - 1);
                if (pass) coef[t] = (float)(weight / sum);
                else sum += weight;
            }
        }
    }
    return axis;
}

/* The same by the filter that the model wants for pictures. */
static swin__axis swin__axis_picture(swin__plan *p, int n, int m, int first, int count)
{
    int filter = p->config->picture.resize_filter;
    if (filter == SWIN_FILTER_BILINEAR) return swin__axis_bilinear(p, n, m, first, count, 0);
    if (filter == SWIN_FILTER_BICUBIC) return swin__axis_bicubic(p, n, m, first, count);
    return swin__axis_antialias(p, n, m, first, count,
                                filter == SWIN_FILTER_BICUBIC_ANTIALIASED);
}

/* Turns an axis around, so that what comes out is mirrored. */
static void swin__mirror(const swin__plan *p, swin__axis *axis)
{
    int taps = axis->taps;
    if (!p->context) return;
    for (int o = 0; o < axis->count / 2; o++) {
        for (int t = 0; t < taps; t++) {
            int a = o * taps + t, b = (axis->count - 1 - o) * taps + t;
            int at = axis->at[a];
            float coef = axis->coef[a];
            axis->at[a] = axis->at[b];
            axis->coef[a] = axis->coef[b];
            axis->at[b] = at;
            axis->coef[b] = coef;
        }
    }
}

/* --- the size of a picture as the network wants it -------------------------------------------- */

/* A side times a factor, rounded; 1 at least, and at most a size that is refused. */
static int swin__scaled(int side, double factor)
{
    double n = swin__times(side, factor) + 0.5;
    return n < 1 ? 1 : n > 2.0 * SWIN_MAX_SIDE ? 2 * SWIN_MAX_SIDE : (int)n;
}

/* A resized picture, and where the network's input lies in it. */
typedef struct swin__resized { int w, h, left, top; } swin__resized;

/* n * a / b, cut to a whole number; 1 at least, and at most a size that is refused. */
static int swin__cut_side(int n, int a, int b)
{
    uint64_t side = (uint64_t)n * (uint64_t)a / (uint64_t)b, most = 2 * SWIN_MAX_SIDE;
    return side < 1 ? 1 : (int)(side < most ? side : most);
}

/* The sides of a picture whose shorter one becomes `shorter` pixels, the longer one cut; or, where
   that would pass `longest` (0: any), whose longer one becomes `longest`, the shorter one cut. */
static void swin__cut_sides(swin__resized *to, int w, int h, int shorter, int longest)
{
    int longer = swin__cut_side(shorter, swin__max(w, h), swin__min(w, h));
    if (longest && longer > longest) {
        shorter = swin__cut_side(longest, shorter, longer);
        longer = longest;
    }
    to->w = w < h ? shorter : longer;
    to->h = w < h ? longer : shorter;
}

/* The size by the model's rule; how: NULL, or what is asked for instead. */
static swin__resized swin__resize_picture(const swin_config *g, int w, int h,
                                          const swin_resizing *how)
{
    const swin_picture_config *picture = &g->picture;
    int longest = how ? how->longest : 0;
    double scale = how && how->scale > 0 ? how->scale : 1, factor = scale;
    int rule = longest > 0 ? SWIN_RESIZE_LONGEST : picture->resize_rule;
    int a = (int)swin__times(picture->resize_a, scale);
    int b = (int)swin__times(picture->resize_b, scale);
    double long_side = swin__max(w, h), short_side = swin__min(w, h);
    swin__resized to = { 0, 0, 0, 0 };
    if (longest > 0) a = (int)(swin__times(swin__min(longest, 2 * SWIN_MAX_SIDE), scale) + 0.5);
    if (rule == SWIN_RESIZE_WITHIN)
        factor = a / long_side < b / short_side ? a / long_side : b / short_side;
    if (rule == SWIN_RESIZE_LONGEST) factor = a / long_side;
    if (rule == SWIN_RESIZE_SHORTEST) factor = a / short_side;
    to.w = rule == SWIN_RESIZE_EXACT ? b : swin__scaled(w, factor);
    to.h = rule == SWIN_RESIZE_EXACT ? a : swin__scaled(h, factor);
    if (g->sides.cut && rule == SWIN_RESIZE_WITHIN)
        swin__cut_sides(&to, w, h, swin__max(1, b), swin__max(1, a));
    if (g->sides.cut && rule == SWIN_RESIZE_SHORTEST)
        swin__cut_sides(&to, w, h, swin__max(1, a), 0);
    if (g->sides.multiple) {
        to.w = swin__round_up(to.w, g->sides.multiple);
        to.h = swin__round_up(to.h, g->sides.multiple);
    }
    return to;
}

/* Half of what a crop leaves of a side, halves rounded to the even number, as Python does. */
static int swin__margin(int side, int crop)
{
    int n = side - crop;
    return n % 2 ? n / 2 + n / 2 % 2 : n / 2;
}

/* How the picture of a desc, with all defaults filled in, becomes the network's input. */
static swin__resized swin__resize(const swin_config *g, const swin_desc *d)
{
    swin__resized to = { 0, 0, 0, 0 };
    to.w = d->width;
    to.h = d->height;
    if (g->picture.mode == SWIN_MODE_CENTRE && !(d->flags & SWIN_RUN_WHOLE) &&
        d->width == g->picture.crop_w && d->height == g->picture.crop_h) {
        to = swin__resize_picture(g, d->picture_width, d->picture_height, NULL);
        to.left = swin__margin(to.w, d->width);
        to.top = swin__margin(to.h, d->height);
    }
    return to;
}

/* -------------------------------------------------------------------------- */
/* >>rows: layers that work on rows of channels - embedding, norms, products, MLP

   In this room and those below, a layer is a struct of what it computes with, a function that does
   a unit of its work, and one that adds it to a plan. All of it is index arithmetic and calls of
   kernels; a unit writes only its own rows. */

/* Rows of channels: n of them, each c floats, ld floats apart. */
typedef struct swin__rows { float *data; size_t ld; int n, c; } swin__rows;

/* The rows that start at data. */
static swin__rows swin__make_rows(float *data, int ld, int n, int c)
{
    swin__rows rows;
    rows.data = data;
    rows.ld = (size_t)ld;
    rows.n = n;
    rows.c = c;
    return rows;
}

static float *swin__row(swin__rows rows, int index)
{
    return rows.data + (size_t)index * rows.ld;
}

/* Rows first ... first + n - 1 of these. */
static swin__rows swin__rows_from(swin__rows rows, int first, int n)
{
    rows.data = swin__row(rows, first);
    rows.n = n;
    return rows;
}

/* The rows of a map's pixels first ... first + n - 1. */
static swin__rows swin__map_rows(const swin__fmap *map, int first, int n)
{
    return swin__make_rows(swin__pixel(map, first), map->ld, n, map->c);
}

/* The product to = act(bias + W in): as many rows as `in` has, to.c outputs of the layer. */
static swin__product swin__rows_product(const swin__linear *l, swin__rows in, swin__rows to,
                                        int act)
{
    swin__product p;
    memset(&p, 0, sizeof p);
    p.m = in.n;
    p.n = swin__padded(to.c);
    p.k = in.c;
    p.a = in.data;
    p.lda = in.ld;
    swin__use_panels(&p, l->weight);
    p.init = l->bias;
    p.c = to.data;
    p.ldc = to.ld;
    p.act = act;
    return p;
}

/* The floats of a quantised row of n numbers, where they may take two bytes each: the same for all
   instruction sets. */
static int swin__quantised(int n)
{
    return swin__padded(SWIN__NUMBERS + swin__padded(n) / 2 + 2);
}

/* Rows as a product with these weights reads them: as they are or, for weights of s8, quantised; to
   `room`, which takes rows of swin__quantised(from.c) floats, or with room NULL in place. */
static swin__rows swin__factor(const swin_context *c, const swin__panels *w, swin__rows from,
                               float *room)
{
    swin__rows to = from;
    if (!swin__is_s8(w->type)) return from;
    if (room) to.data = room, to.ld = (size_t)swin__quantised(from.c);
    c->kernels->quantise(to.data, to.ld, from.data, from.ld, from.n, from.c, 0);
    return to;
}

/* The floats of so many rows in `room`, above. */
static uint64_t swin__factor_room(const swin__panels *w, int rows, int n)
{
    return swin__is_s8(w->type) ? swin__floats(rows, swin__quantised(n)) : 0;
}

/* Computes a product, whose rows are as its weights want them. */
static void swin__multiply(const swin_context *c, const swin__product *p)
{
    if (swin__is_s8(p->type)) c->kernels->gemm8(p);
    else c->kernels->gemm(p);
}

/* Computes the product of a layer and rows that swin__factor made. */
static void swin__apply(const swin_context *c, const swin__linear *l, swin__rows in, swin__rows to,
                        int act)
{
    const swin__product p = swin__rows_product(l, in, to, act);
    swin__multiply(c, &p);
}

/* The same with rows that nobody else reads, and that are quantised where they lie. */
static void swin__apply_to_own(const swin_context *c, const swin__linear *l, swin__rows in,
                               swin__rows to, int act)
{
    swin__apply(c, l, swin__factor(c, &l->weight, in, NULL), to, act);
}

static void swin__clear(float *row, int n)
{
    memset(row, 0, (size_t)n * sizeof *row);
}

static void swin__copy(float *to, const float *from, int n)
{
    memcpy(to, from, (size_t)n * sizeof *to);
}

static void swin__clear_rows(swin__rows rows)
{
    memset(rows.data, 0, (size_t)rows.n * rows.ld * sizeof *rows.data);
}

/* to += from, padding included. */
static void swin__add_rows(const swin_context *c, swin__rows to, swin__rows from)
{
    c->kernels->add(to.data, to.ld, from.data, from.ld, from.n, swin__padded(from.c));
}

/* to = from, padding included. */
static void swin__copy_rows(const swin_context *c, swin__rows to, swin__rows from)
{
    c->kernels->copy(to.data, to.ld, from.data, from.ld, from.n, swin__padded(from.c));
}

/* n numbers as they are stored or, if these are no floats, as floats in `room`; n is a multiple of
   16. */
static const float *swin__stored_row(const swin_context *c, swin__stored s, int n, float *room)
{
    if (s.type == SWIN__F32) return (const float *)s.data;
    c->kernels->widen(room, (const uint16_t *)s.data, (size_t)n);
    return room;
}

/* LayerNorm of rows; to may be from. */
static void swin__norm_rows(const swin_context *c, const swin__affine *norm, float eps,
                            swin__rows from, swin__rows to)
{
    c->kernels->norm(to.data, to.ld, from.data, from.ld, from.n, from.c, norm->weight, norm->bias,
                     eps);
}

/* The part [from, to) of `count` things that unit `unit` takes when all units take equal parts. */
static void swin__share(int count, int units, int unit, int *from, int *to)
{
    *from = (int)((int64_t)count * unit / units);
    *to = (int)((int64_t)count * (unit + 1) / units);
}

/* The rows of a map that belong to a unit of a step. */
static swin__rows swin__unit_rows(const swin__fmap *map, const swin__step *s, int unit)
{
    int from, to;
    swin__share(swin__pixels(map), s->units, unit, &from, &to);
    return swin__map_rows(map, from, to - from);
}

/* A unit of a product has about 50 million multiply-adds, half a millisecond, and 2 to 14 of the
   largest microtiles of 14 rows: fewer would read the weights for too little, more would be too
   long. */
enum { SWIN__MICROTILE_ROWS = 14, SWIN__UNIT_ROWS_LEAST = 28, SWIN__UNIT_ROWS_MOST = 196 };
#define SWIN__UNIT_MADDS 5e7

/* The rows of a unit of a product, each of so many multiply-adds: in whole microtiles. */
static int swin__rows_a_unit(double madds_a_row)
{
    double rows = SWIN__UNIT_MADDS / madds_a_row;
    if (rows > (double)SWIN__UNIT_ROWS_MOST) return SWIN__UNIT_ROWS_MOST;
    if (rows < (double)SWIN__UNIT_ROWS_LEAST) return SWIN__UNIT_ROWS_LEAST;
    return (int)rows / SWIN__MICROTILE_ROWS * SWIN__MICROTILE_ROWS;
}

enum { SWIN__MANY = 64 };       /* units a step should offer, for as many cores */

/* Units of a product of count rows: as many as swin__rows_a_unit makes of them. Where these are
   fewer than wanted, more, down to SWIN__UNIT_ROWS_LEAST rows each. */
static int swin__units(int count, double madds_a_row, int wanted)
{
    int units = swin__divide_up(count, swin__rows_a_unit(madds_a_row));
    return swin__max(units, swin__min(wanted, count / SWIN__UNIT_ROWS_LEAST));
}

/* --- the picture's rows ----------------------------------------------------------------------- */

/* Patch embedding: x = norm(W patch + b), of patches of `kernel` pixels a side, `stride` apart, the
   first of which starts `padding` pixels before the picture. The axes resize the picture; they have
   no outputs where it has the input's size. */
typedef struct swin__embed_layer {
    swin__fmap x;
    int kernel, stride, padding;
    swin__linear linear;
    swin__affine norm;
    float eps;
    swin__axis rows, cols;
    int from_map;               /* 1: the patches are those of `input`, else of the picture */
    swin__fmap input;           /* its rows follow each other without padding: ld is c */
} swin__embed_layer;

/* Red is (Y - black) luma + (V - 128) red, blue the same with U, and from green both are taken. */
typedef struct swin__matrix { float black, luma, red, green_u, green_v, blue; } swin__matrix;

/* By swin_yuv. With the standard's weights r and b of red and blue, and g = 1 - r - b: red is
   2 (1 - r), blue 2 (1 - b), green_u 2 (1 - b) b / g, green_v 2 (1 - r) r / g. Of a limited range
   luma is 255 / 219, and the others are 255 / 224 of that. */
static const swin__matrix swin__matrices[] = {
    { 16, 1.16438356f, 1.59602679f, 0.391762290f, 0.812967647f, 2.01723214f },
    { 0, 1, 1.402f, 0.344136286f, 0.714136286f, 1.772f },
    { 16, 1.16438356f, 1.79274107f, 0.213248614f, 0.532909329f, 2.11240179f },
    { 0, 1, 1.5748f, 0.187324273f, 0.468124273f, 1.8556f }
};

static float swin__clamp_byte(float x) { return x < 0 ? 0 : x > 255 ? 255 : x; }

/* What swin__take_pixels does, of SWIN_YUYV and SWIN_NV12. */
static void swin__take_yuv(const swin_context *c, int y, float weight, int more, float *sum)
{
    const swin_image *in = &c->image;
    const swin__matrix m = swin__matrices[in->yuv];
    int packed = in->format == SWIN_YUYV, luma_step = packed ? 2 : 1, v_at = packed ? 2 : 1;
    const unsigned char *luma = (const unsigned char *)in->data + (ptrdiff_t)y * in->stride;
    const unsigned char *pair = packed ? luma + 1 : (const unsigned char *)in->chroma +
                                                    (ptrdiff_t)(y / 2) * in->chroma_stride;
    float red = 0, green_u = 0, green_v = 0, blue = 0;
    for (int x = 0; x < in->width; x++, luma += luma_step, sum += 3) {
        const float light = swin__timesf((float)*luma - m.black, m.luma);
        if (x % 2 == 0) {
            const float u = (float)pair[0] - 128, v = (float)pair[v_at] - 128;
            red = swin__timesf(v, m.red);
            green_u = swin__timesf(u, m.green_u);
            green_v = swin__timesf(v, m.green_v);
            blue = swin__timesf(u, m.blue);
            pair += 2 * luma_step;
        }
        sum[0] = (more ? sum[0] : 0) + swin__timesf(weight, swin__clamp_byte(light + red));
        sum[1] = (more ? sum[1] : 0) +
                 swin__timesf(weight, swin__clamp_byte(light - green_u - green_v));
        sum[2] = (more ? sum[2] : 0) + swin__timesf(weight, swin__clamp_byte(light + blue));
    }
}

/* sum = weight * row y of an 8-bit picture, [width][R, G, B]; with `more`, sum += that. */
static void swin__take_pixels(const swin_context *c, int y, float weight, int more, float *sum)
{
    static const struct { int bytes, r, g, b; } layouts[] = {
        { 3, 0, 1, 2 }, { 3, 2, 1, 0 }, { 4, 0, 1, 2 }, { 4, 2, 1, 0 }, { 1, 0, 0, 0 }
    };
    const swin_image *in = &c->image;
    if (in->format == SWIN_YUYV || in->format == SWIN_NV12) {
        swin__take_yuv(c, y, weight, more, sum);
        return;
    }
    int bytes = layouts[in->format].bytes, r = layouts[in->format].r, g = layouts[in->format].g,
        b = layouts[in->format].b;
    const unsigned char *pixel = (const unsigned char *)in->data + (ptrdiff_t)y * in->stride;
    if (in->format == SWIN_RGB8) {
        c->kernels->pixels(sum, pixel, 3 * in->width, weight, more);
        return;
    }
    for (int x = 0; x < in->width; x++, pixel += bytes, sum += 3) {
        sum[0] = (more ? sum[0] : 0) + swin__timesf(weight, (float)pixel[r]);
        sum[1] = (more ? sum[1] : 0) + swin__timesf(weight, (float)pixel[g]);
        sum[2] = (more ? sum[2] : 0) + swin__timesf(weight, (float)pixel[b]);
    }
}

/* Row y of the network's input from the picture: [width][3] in R, G, B order, 0..255. sum: memory
   for a row of the picture. */
static void swin__resized_row(const swin_context *c, const swin__embed_layer *l, int y, float *row,
                              float *sum)
{
    const swin__axis *rows = &l->rows, *cols = &l->cols;
    int more = 0;
    if (!rows->count) {
        swin__take_pixels(c, y, 1, 0, row);
        return;
    }
    for (int t = y * rows->taps; t < (y + 1) * rows->taps; t++)
        if (rows->coef[t] != 0)
            swin__take_pixels(c, rows->at[t], rows->coef[t], more++, sum);
    swin__clear(row, 3 * cols->count);
    for (int x = 0; x < cols->count; x++) {
        for (int t = 0; t < cols->taps; t++) {
            const float *from = sum + 3 * cols->at[x * cols->taps + t];
            float weight = cols->coef[x * cols->taps + t];
            for (int k = 0; k < 3; k++) row[3 * x + k] += swin__timesf(weight, from[k]);
        }
    }
    if (c->model->config.picture.resize_round)
        for (int i = 0; i < 3 * cols->count; i++)
            row[i] = row[i] < 0 ? 0 : row[i] > 255 ? 255 : (float)(int)(row[i] + 0.5f);
}

/* Row y of the picture as the network wants it, normalised: [width][plane]. */
static void swin__picture_row(const swin_context *c, const swin__embed_layer *l, int y, float *row,
                              float *sum)
{
    const swin_picture_config *g = &c->model->config.picture;
    const float r0 = g->mean[0], g0 = g->mean[1], b0 = g->mean[2];
    const float r1 = g->scale[0], g1 = g->scale[1], b1 = g->scale[2];
    int first = g->bgr ? 2 : 0;
    swin__resized_row(c, l, y, row, sum);
    for (int x = 0; x < c->desc.width; x++, row += 3) {
        const float red = (row[0] - r0) * r1, blue = (row[2] - b0) * b1;
        row[1] = (row[1] - g0) * g1;
        row[first] = red;
        row[2 - first] = blue;
    }
}

/* Row y of the network's input from float planes: [width][plane]. */
static void swin__planes_row(const swin_context *c, int y, float *row)
{
    const swin_image *in = &c->image;
    for (int k = 0; k < 3; k++) {
        const char *from = (const char *)in->data + k * in->plane_stride + y * in->stride;
        for (int x = 0; x < c->desc.width; x++)
            memcpy(&row[3 * x + k], from + (size_t)x * sizeof(float), sizeof(float));
    }
}

/* Row y of the network's input, mirrored where the desc says so. */
static void swin__input_row(const swin_context *c, const swin__embed_layer *l, int y, float *row,
                            float *sum)
{
    int last = c->desc.width - 1;
    if (c->image.format == SWIN_PLANES) swin__planes_row(c, y, row);
    else swin__picture_row(c, l, y, row, sum);
    for (int x = 0; c->desc.flags & SWIN_RUN_FLIP && x < last - x; x++) {
        float swapped[3];
        memcpy(swapped, row + 3 * x, sizeof swapped);
        memcpy(row + 3 * x, row + 3 * (last - x), sizeof swapped);
        memcpy(row + 3 * (last - x), swapped, sizeof swapped);
    }
}

/* --- patch embedding -------------------------------------------------------------------------- */

/* Copies what the patches have of a row of the input, w pixels: row py of each. */
static void swin__gather_patches(const swin__embed_layer *l, const float *row, int w, int py,
                                 swin__rows patches)
{
    for (int px = 0; px < patches.n; px++) {
        int left = px * l->stride - l->padding, from = swin__max(0, -left);
        int to = swin__min(l->kernel, w - left);
        if (from < to)
            swin__copy(swin__row(patches, px) + 3 * (py * l->kernel + from),
                       row + 3 * (left + from), 3 * (to - from));
    }
}

/* Embeds one row of patches: gathers their pixels, [patch][k], and multiplies. */
static void swin__embed(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__embed_layer *l = (const swin__embed_layer *)s->layer;
    const swin__crops *crops = &c->crops;
    int top = swin__crop_top(crops, c->crop), left = swin__crop_left(crops, c->crop);
    int first = unit * l->stride - l->padding, k = 3 * l->kernel * l->kernel;
    swin__rows x = swin__map_rows(&l->x, unit * l->x.w, l->x.w);
    swin__rows patches = swin__make_rows(scratch, swin__padded(k), x.n, k);
    float *row = swin__row(patches, x.n), *sum = row + 3 * c->desc.width;
    int h = l->from_map ? l->input.h : crops->h, w = l->from_map ? l->input.w : crops->w;
    swin__clear_rows(patches);  /* what lies beyond the picture is zero */
    for (int py = swin__max(0, -first); py < l->kernel && first + py < h; py++) {
        const float *from = row + 3 * left;
        if (l->from_map) from = swin__pixel(&l->input, (first + py) * w);
        else swin__input_row(c, l, top + first + py, row, sum);
        swin__gather_patches(l, from, w, py, patches);
    }
    swin__apply(c, &l->linear, patches, x, SWIN__LINEAR);
    if (l->norm.weight) swin__norm_rows(c, &l->norm, l->eps, x, x);
}

/* x += the absolute positions' table [table_w columns][x.ld], resized to the map. */
typedef struct swin__position_layer {
    swin__fmap x;
    swin__stored table;
    int table_w;
    swin__axis rows, cols;
} swin__position_layer;

/* One row of patches: to each, a mix of 4 x 4 entries of the table is added. Scratch: room for
   these as floats, if they are not. */
static void swin__position(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__position_layer *l = (const swin__position_layer *)s->layer;
    const swin__axis *rows = &l->rows, *cols = &l->cols;
    for (int px = 0; px < l->x.w; px++) {
        const float *from[16];
        float coef[16];
        for (int i = 0; i < 16; i++) {
            int ty = unit * rows->taps + i / 4, tx = px * cols->taps + i % 4;
            int at = rows->at[ty] * l->table_w + cols->at[tx];
            from[i] = swin__stored_row(c, swin__stored_from(l->table, swin__offset(at, l->x.ld)),
                                       l->x.ld, scratch + swin__offset(i, l->x.ld));
            coef[i] = rows->coef[ty] * cols->coef[tx];
        }
        c->kernels->combine(swin__pixel(&l->x, unit * l->x.w + px), l->x.ld, from, coef, 16, 1);
    }
}

/* Adds the resized absolute positions to x. */
static void swin__plan_position(swin__plan *p, swin__fmap x)
{
    const swin_config *g = p->config;
    swin__job job = { "position", 0, swin__position, x.h, 0, (double)x.h * x.w * 16 * x.c };
    swin__position_layer l;
    if (p->weights->position.type == SWIN__F16) job.scratch = swin__floats(16, x.ld);
    l.x = x;
    l.table = p->weights->position;
    l.table_w = g->position.w;
    l.rows = swin__axis_bicubic(p, g->position.h, x.h, 0, x.h);
    l.cols = swin__axis_bicubic(p, g->position.w, x.w, 0, x.w);
    swin__add_step(p, &job, &l, sizeof l);
}

/* A side of the input with the zeros that pad it. */
static int swin__padded_side(const swin_config *g, int side)
{
    int divisor = swin__max(1, g->queries.size_divisor);
    return swin__divide_up(side, divisor) * divisor;
}

/* The axes along which the picture is resized, as far as it is. */
static void swin__resize_input(swin__plan *p, swin__embed_layer *l)
{
    const swin_desc *d = &p->desc;
    swin__resized to = swin__resize(p->config, d);
    if (to.w == d->picture_width && to.h == d->picture_height && !to.left && !to.top) return;
    l->rows = swin__axis_picture(p, d->picture_height, to.h, to.top, d->height);
    l->cols = swin__axis_picture(p, d->picture_width, to.w, to.left, d->width);
}

/* The scratch of swin__input_row: a row of the input, and one of the picture. */
static uint64_t swin__input_scratch(const swin_desc *d)
{
    return swin__floats(3, d->width) + swin__floats(3, d->picture_width);
}

/* From the picture, or if it is given from a map of its pixels, to the first stage's map: resizing,
   patch embedding, absolute positions. */
static swin__fmap swin__plan_embed(swin__plan *p, const swin__fmap *input)
{
    const swin_config *g = p->config;
    int patch = g->patch, floor = g->input.rule == SWIN_INPUT_FLOOR, mit = g->body == SWIN_BODY_MIT;
    int kernel = mit ? g->mit.kernel[0] : patch, k = 3 * kernel * kernel;
    int input_h = input ? input->h : swin__padded_side(g, p->crops.h);
    int input_w = input ? input->w : swin__padded_side(g, p->crops.w);
    int h = floor ? input_h / patch : swin__divide_up(input_h, patch);
    int w = floor ? input_w / patch : swin__divide_up(input_w, patch);
    swin__job job = { "embed", 0, swin__embed, h, 0, 0 };
    swin__embed_layer l;
    memset(&l, 0, sizeof l);
    l.x = swin__alloc_fmap(p, h, w, g->stage[0].width);
    l.kernel = kernel;
    l.stride = patch;
    l.padding = mit ? kernel / 2 : 0;
    l.linear = p->weights->embed;
    l.norm = p->weights->embed_norm;
    l.eps = swin__eps(g->mit.eps);
    l.from_map = input != NULL;
    if (input) l.input = *input;
    else swin__resize_input(p, &l);
    job.scratch = swin__floats(w, swin__padded(k)) + swin__input_scratch(&p->desc);
    job.madds = (double)h * w * k * l.x.c;
    swin__add_step(p, &job, &l, sizeof l);
    if (g->position.h) swin__plan_position(p, l.x);
    return l.x;
}

/* --- norms ------------------------------------------------------------------------------------ */

/* out = norm(in) or, with onto, as Swin V2 has it, out += norm(in); a copy where there is no
   norm. */
typedef struct swin__norm_layer {
    swin__fmap in, out;
    swin__affine norm;
    float eps;
    int onto;
    int quantises;              /* out: quantised rows */
} swin__norm_layer;

/* The most rows that a unit takes to norm: some hundred thousand floats. */
enum { SWIN__NORM_ROWS = 128 };

/* LayerNorm of rows, then quantised: some rows at a time, while they are in the first cache. */
static void swin__norm_quantised(const swin_context *c, const swin__affine *norm, float eps,
                                 swin__rows from, swin__rows to)
{
    for (int i = 0; i < from.n; i += SWIN__NORM_TOGETHER) {
        int n = swin__min(SWIN__NORM_TOGETHER, from.n - i);
        const swin__rows normed = swin__rows_from(to, i, n);
        swin__norm_rows(c, norm, eps, swin__rows_from(from, i, n), normed);
        c->kernels->quantise(normed.data, normed.ld, normed.data, normed.ld, n, from.c, 0);
    }
}

/* LayerNorm of rows that a product with these weights reads. */
static void swin__norm_factor(const swin_context *c, const swin__panels *w,
                              const swin__affine *norm, float eps, swin__rows from, swin__rows to)
{
    if (swin__is_s8(w->type)) swin__norm_quantised(c, norm, eps, from, to);
    else swin__norm_rows(c, norm, eps, from, to);
}

/* Norms or copies a share of the pixels. */
static void swin__norm_map(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__norm_layer *l = (const swin__norm_layer *)s->layer;
    swin__rows in = swin__unit_rows(&l->in, s, unit), out = swin__unit_rows(&l->out, s, unit);
    swin__rows normed = l->onto ? swin__make_rows(scratch, l->in.ld, in.n, in.c) : out;
    if (!l->norm.weight) {
        memcpy(out.data, in.data, (size_t)in.n * in.ld * sizeof(float));
        return;
    }
    if (l->quantises) swin__norm_quantised(c, &l->norm, l->eps, in, normed);
    else swin__norm_rows(c, &l->norm, l->eps, in, normed);
    if (l->onto) swin__add_rows(c, out, normed);
}

static void swin__add_norm(swin__plan *p, int stage, const swin__norm_layer *l)
{
    swin__job job = { l->norm.weight ? "norm" : "copy", stage, swin__norm_map, 0, 0, 0 };
    job.units = swin__divide_up(swin__pixels(&l->in), SWIN__NORM_ROWS);
    if (l->onto) job.scratch = swin__floats(SWIN__NORM_ROWS, l->in.ld);
    swin__add_step(p, &job, l, sizeof *l);
}

static swin__fmap swin__plan_norm(swin__plan *p, int stage, swin__fmap in, swin__affine norm,
                                  float eps)
{
    swin__norm_layer l = { in, swin__alloc_fmap(p, in.h, in.w, in.c), norm, eps, 0, 0 };
    swin__add_norm(p, stage, &l);
    return l.out;
}

/* --- products ------------------------------------------------------------------------------------

   On large maps a step does more than a product at a time, while its rows are in cache, and cuts
   the map into units of rows. A small map has too few rows for that: there each product is a step,
   whose units take some rows and some columns. */

/* out = act(W in + b), or with onto out += W in + b; in: [pixels of out][ld]. */
typedef struct swin__dense_layer {
    const float *in;
    int ld;
    swin__linear linear;
    swin__fmap out;
    int act, onto;
    int column_parts;           /* the columns are cut into so many shares of pairs of panels */
    int ready;                  /* for weights of s8, the rows are quantised already */
    int chunk;                  /* for weights of s8, so many columns of a row are quantised for
                                   themselves, in place; 0: all of a row, elsewhere */
    float *own;                 /* with chunk: `in`, which no other layer reads */
} swin__dense_layer;

/* The most rows of a unit: 7 microtiles of 14. */
enum { SWIN__DENSE_ROWS = 98 };

/* Computes a product whose rows of A have been quantised in chunks of so many columns, each where
   it lies; 0: whole. The sums of a chunk start from those of the chunks before it. */
static void swin__multiply_chunks(const swin_context *c, const swin__product *p, int chunk)
{
    swin__product part = *p;
    int k = 0;
    for (; chunk && p->k - k > chunk; k += chunk) {
        part.k = chunk;
        part.act = SWIN__LINEAR;
        part.onto = NULL;
        part.next_b = part.b + 4 * (size_t)chunk;       /* quads of 4 inputs take 16 floats */
        part.next_c = p->c;
        swin__multiply(c, &part);
        part.init = p->c;
        part.ldi = p->ldc;
        part.a += chunk;
        part.b = part.next_b;
    }
    part.k = p->k - k;
    part.act = p->act;
    part.onto = p->onto;
    part.next_b = p->next_b;
    part.next_c = p->next_c;
    swin__multiply(c, &part);
}

/* Quantises rows for a step of products: of each of so many pixels' n columns, in chunks; out may
   be in. */
typedef struct swin__quantise_layer {
    const float *in;
    float *out;
    int ld, ldo;
    int pixels, n, chunk;
} swin__quantise_layer;

/* Quantises a share of the pixels. */
static void swin__quantise(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__quantise_layer *l = (const swin__quantise_layer *)s->layer;
    int from, to;
    (void)scratch;
    swin__share(l->pixels, s->units, unit, &from, &to);
    for (int first = 0; first < l->n; first += l->chunk)
        c->kernels->quantise(l->out + swin__offset(from, l->ldo) + first, (size_t)l->ldo,
                             l->in + swin__offset(from, l->ld) + first, (size_t)l->ld, to - from,
                             swin__min(l->chunk, l->n - first), 0);
}

static void swin__add_quantise(swin__plan *p, const char *name, int stage,
                               const swin__quantise_layer *l)
{
    swin__job job = { name, stage, swin__quantise, swin__divide_up(l->pixels, SWIN__NORM_ROWS), 0,
                      0 };
    swin__add_step(p, &job, l, sizeof *l);
}

/* A share of the rows times a share of the columns; the next unit takes the next columns. */
static void swin__dense(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__dense_layer *l = (const swin__dense_layer *)s->layer;
    swin__linear part = l->linear;
    int parts = l->column_parts, from, to, low, high, col_count;
    swin__product p;
    float *out;
    swin__share(swin__pixels(&l->out), s->units / parts, unit / parts, &from, &to);
    swin__share(swin__divide_up(l->out.c, 32), parts, unit % parts, &low, &high);
    low *= 32;
    high = swin__min(32 * high, swin__padded(l->out.c));
    col_count = high - low;
    part.weight = swin__panels_from(part.weight, low, 0);
    if (part.bias) part.bias += low;
    out = swin__pixel(&l->out, from) + low;
    memset(&p, 0, sizeof p);
    p.m = to - from;  p.n = col_count;  p.k = part.weight.inputs;
    p.a = l->in + swin__offset(from, l->ld);
    p.lda = (size_t)l->ld;
    swin__use_panels(&p, part.weight);
    p.init = part.bias;
    p.act = l->act;
    p.c = l->onto ? scratch : out;
    p.ldc = (size_t)(l->onto ? col_count : l->out.ld);
    if (l->onto) p.onto = out, p.ldo = (size_t)l->out.ld;
    p.next_b = (const float *)(high < l->out.c ? swin__panels_from(part.weight, col_count, 0)
                                               : l->linear.weight).data;
    swin__multiply_chunks(c, &p, l->chunk);
}

/* A layer without activation from rows that lie ld apart, one for every pixel of out. */
static swin__dense_layer swin__make_dense(const float *in, int ld, swin__linear linear,
                                          swin__fmap out)
{
    swin__dense_layer l;
    memset(&l, 0, sizeof l);
    l.in = in;
    l.ld = ld;
    l.linear = linear;
    l.out = out;
    l.act = SWIN__LINEAR;
    return l;
}

/* Adds the step that quantises a layer's rows, and makes the layer read them: in place, if it reads
   them in chunks. Returns what to release after the layer's own step, or NULL. */
static float *swin__plan_factor(swin__plan *p, const char *name, int stage, swin__dense_layer *l)
{
    int inputs = l->linear.weight.inputs, pixels = swin__pixels(&l->out);
    swin__quantise_layer q = { l->in, NULL, l->ld, l->ld, pixels, inputs, inputs };
    float *room = NULL;
    if (!swin__is_s8(l->linear.weight.type)) l->chunk = 0;
    if (!swin__is_s8(l->linear.weight.type) || l->ready) return NULL;
    if (l->chunk) {
        q.out = l->own;
        q.chunk = l->chunk;
    } else {
        room = q.out = swin__alloc(p, swin__floats(pixels, swin__quantised(inputs)));
        q.ldo = swin__quantised(inputs);
    }
    swin__add_quantise(p, name, stage, &q);
    l->in = q.out;
    l->ld = q.ldo;
    return room;
}

/* Adds the step of a layer: as few shares of columns as make SWIN__MANY units with those of
   rows. */
static void swin__plan_dense(swin__plan *p, const char *name, int stage, swin__dense_layer l)
{
    int pixels = swin__pixels(&l.out), groups = swin__divide_up(pixels, SWIN__DENSE_ROWS);
    int pairs = swin__divide_up(l.out.c, 32), rows = swin__divide_up(pixels, groups);
    swin__job job = { name, stage, swin__dense, 0, 0, 0 };
    float *room = swin__plan_factor(p, name, stage, &l);
    l.column_parts = swin__max(1, swin__min(pairs, swin__divide_up(SWIN__MANY, groups)));
    job.units = groups * l.column_parts;
    if (l.onto)
        job.scratch = swin__floats(rows, 32 * swin__divide_up(pairs, l.column_parts));
    job.madds = (double)pixels * l.linear.weight.inputs * l.out.c;
    swin__add_step(p, &job, &l, sizeof l);
    if (room) swin__release(p, room);
}

/* --- branches in steps of products ------------------------------------------------------------ */

/* A branch of a block: x += f(norm(x)), or by Swin V2's order x += norm(f(x)). */
typedef struct swin__branch {
    int stage;
    swin__fmap x;
    swin__affine norm;
    int post_norm;
} swin__branch;

/* A branch of a block of this stage, in place on x. */
static swin__branch swin__make_branch(const swin__plan *p, int stage, swin__fmap x,
                                      swin__affine norm)
{
    swin__branch b;
    b.stage = stage;
    b.x = x;
    b.norm = norm;
    b.post_norm = swin__shape_of(p->config, stage).post_norm;
    return b;
}

/* norm, where it comes first, and f's first product; returns its output, of so many columns. */
static swin__fmap swin__plan_branch(swin__plan *p, const swin__branch *b, const char *name,
                                    swin__linear linear, int act, int col_count)
{
    swin__norm_layer norm = { b->x, b->x, b->norm, p->config->eps, 0, 0 };
    swin__dense_layer dense;
    if (!b->post_norm) {
        norm.out = swin__alloc_factor(p, b->x.h, b->x.w, b->x.c);
        norm.quantises = swin__is_s8(linear.weight.type);
        swin__add_norm(p, b->stage, &norm);
    }
    dense = swin__make_dense(norm.out.data, norm.out.ld, linear,
                             swin__alloc_factor(p, b->x.h, b->x.w, col_count));
    dense.act = act;
    dense.ready = norm.quantises;
    swin__plan_dense(p, name, b->stage, dense);
    if (!b->post_norm) swin__release(p, norm.out.data);
    return dense.out;
}

/* f's last product, from `in`, which no other layer reads; its norm, where that comes last; and the
   sum with x. chunk: how many columns are quantised for themselves. */
static void swin__plan_return(swin__plan *p, const swin__branch *b, const char *name,
                              swin__fmap in, swin__linear linear, int chunk)
{
    swin__dense_layer dense = swin__make_dense(in.data, in.ld, linear, b->x);
    swin__norm_layer norm = { b->x, b->x, b->norm, p->config->eps, 1, 0 };
    dense.onto = !b->post_norm;
    dense.chunk = chunk;
    dense.own = in.data;
    if (b->post_norm) norm.in = dense.out = swin__alloc_fmap(p, b->x.h, b->x.w, b->x.c);
    swin__plan_dense(p, name, b->stage, dense);
    if (!b->post_norm) return;
    swin__add_norm(p, b->stage, &norm);
    swin__release(p, norm.in.data);
}

/* --- MLP: x = x + fc2(GELU(fc1(norm(x)))) ----------------------------------------------------- */

/* An MLP in one step. */
typedef struct swin__mlp_layer {
    swin__fmap x;
    swin__affine norm;
    swin__linear fc1, fc2;
    int hidden, col_count;      /* hidden columns, and how many at a time */
    int post_norm;
    int act;
    int sum_norm;               /* 1: x = norm(x + fc2(act(fc1(x)))), as DETR's layers have it */
} swin__mlp_layer;

/* The most hidden columns at a time: with so many a unit's rows stay in the second cache. For fc2
   so many have a scale of their own where they are quantised, which makes the number part of what
   is computed. */
enum { SWIN__MLP_COLUMNS = 384 };

/* out = fc2(GELU(fc1(in))), some hidden columns at a time; the last product also adds to x,
   unless a norm comes first. */
static void swin__mlp_parts(const swin_context *c, const swin__mlp_layer *l, swin__rows in,
                            swin__rows middle, swin__rows out, swin__rows x)
{
    for (int h = 0; h < l->hidden; h += l->col_count) {
        int last = h + l->col_count >= l->hidden;
        swin__linear fc1 = l->fc1, fc2 = l->fc2;
        swin__product up, down;
        fc1.weight = swin__panels_from(fc1.weight, h, 0);
        fc1.bias += h;
        fc2.weight = swin__panels_from(fc2.weight, 0, h);
        middle.c = swin__min(l->col_count, l->hidden - h);
        up = swin__rows_product(&fc1, in, middle, l->act);
        swin__multiply(c, &up);
        middle = swin__factor(c, &fc2.weight, middle, NULL);
        down = swin__rows_product(&fc2, middle, out, SWIN__LINEAR);
        if (h) down.init = out.data, down.ldi = out.ld;
        if (last && !l->post_norm) down.onto = x.data, down.ldo = x.ld;
        swin__multiply(c, &down);
    }
}

/* The MLP of a share of the pixels: norm before or after, and the sum with x. */
static void swin__mlp(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__mlp_layer *l = (const swin__mlp_layer *)s->layer;
    float eps = c->model->config.eps;
    int pre_norm = !l->post_norm && !l->sum_norm;
    swin__rows x = swin__unit_rows(&l->x, s, unit);
    swin__rows in = swin__make_rows(scratch, l->x.ld, x.n, x.c);
    swin__rows middle = swin__make_rows(swin__row(in, x.n), l->col_count, x.n, l->col_count);
    swin__rows out = swin__make_rows(swin__row(middle, x.n), l->x.ld, x.n, x.c);
    if (pre_norm) swin__norm_factor(c, &l->fc1.weight, &l->norm, eps, x, in);
    else in = swin__factor(c, &l->fc1.weight, x, in.data);
    swin__mlp_parts(c, l, in, middle, out, x);
    if (l->sum_norm) swin__norm_rows(c, &l->norm, SWIN__EPS, x, x);
    if (!l->post_norm) return;
    swin__norm_rows(c, &l->norm, eps, out, out);
    swin__add_rows(c, x, out);
}

/* Plans the MLP in one step or, where that would offer few units, in steps of products. */
static void swin__plan_mlp(swin__plan *p, int stage, const swin__block *weights, swin__fmap x)
{
    swin__shape shape = swin__shape_of(p->config, stage);
    double madds = 2.0 * x.c * shape.hidden;
    int units = swin__units(swin__pixels(&x), madds / 2, SWIN__MANY);
    int rows = swin__divide_up(swin__pixels(&x), units);
    swin__job job = { "mlp", stage, swin__mlp, units, 0, madds * swin__pixels(&x) };
    swin__mlp_layer l = { x, weights->norm2, weights->fc1, weights->fc2, shape.hidden,
                          swin__min(swin__padded(shape.hidden), SWIN__MLP_COLUMNS),
                          shape.post_norm, SWIN__GELU, 0 };
    if (units < SWIN__MANY) {
        swin__branch branch = swin__make_branch(p, stage, x, weights->norm2);
        swin__fmap middle = swin__plan_branch(p, &branch, "fc1", weights->fc1, SWIN__GELU,
                                              shape.hidden);
        swin__plan_return(p, &branch, "fc2", middle, weights->fc2, SWIN__MLP_COLUMNS);
        swin__release(p, middle.data);
        return;
    }
    job.scratch = swin__floats(rows + 1, 2 * x.ld + l.col_count);
    swin__add_step(p, &job, &l, sizeof l);
}

/* -------------------------------------------------------------------------- */
/* >>attention: windows, global tokens, and what looks into them

   A window's rows are its global tokens, if there are any, and its pixels. Attention's heads lie
   side by side in a row of q, k or v, dp floats each; `packed` is all of them. */

/* --- windows ---------------------------------------------------------------------------------- */

/* A walk over the pixels of a window, and what swin__next_pixels found last. */
typedef struct swin__window {
    const swin__grid *grid;
    int row, column;            /* of the window, among the grid's */
    int r, q;                   /* the next pixel: row and column in the window */
    int pixel, count;           /* `count` pixels, side by side in the map from `pixel` on; or, if
                                   that is -1, of the padding */
} swin__window;

static swin__window swin__window_of(const swin__grid *g, int index)
{
    swin__window w = { g, index / g->cols, index % g->cols, 0, 0, -1, 0 };
    return w;
}

/* The map's pixel at row r, column q of a window, or -1 for padding: shift and wrap are address
   arithmetic. */
static int swin__window_pixel(const swin__window *w, int r, int q)
{
    const swin__grid *g = w->grid;
    int y = w->row * g->window_h + r, x = w->column * g->window_w + q;
    if (g->roll_before_pad)
        return y < g->h && x < g->w ? (y + g->shift_h) % g->h * g->w + (x + g->shift_w) % g->w : -1;
    y += g->shift_h;
    x += g->shift_w;
    y -= y >= g->rows * g->window_h ? g->rows * g->window_h : 0;
    x -= x >= g->cols * g->window_w ? g->cols * g->window_w : 0;
    return y < g->h && x < g->w ? y * g->w + x : -1;
}

/* Finds the next pixels of a row that lie side by side in the map; 0 at the window's end. */
static int swin__next_pixels(swin__window *w)
{
    const swin__grid *g = w->grid;
    int step;
    if (w->q == g->window_w) w->q = 0, w->r++;
    if (w->r == g->window_h) return 0;
    w->pixel = swin__window_pixel(w, w->r, w->q);
    step = w->pixel >= 0;
    for (w->count = 1; w->q + w->count < g->window_w; w->count++)
        if (swin__window_pixel(w, w->r, w->q + w->count) != w->pixel + w->count * step) break;
    w->q += w->count;
    return 1;
}

/* The region along one axis of pixel `at` of a window: 0 in all windows but the last; there 1, and
   2 for what the shift wrapped around. */
static int swin__region(int window, int windows, int length, int shift, int at)
{
    if (!shift || window + 1 < windows) return 0;
    return at < length - shift ? 1 : 2;
}

/* Does a window hold pixels of different regions? Then fills in the region of each key, up to whole
   lanes; global tokens have 0, which belongs to all. */
static int swin__regions(const swin__window *w, int tokens, float *region)
{
    const swin__grid *g = w->grid;
    int last_row = w->row + 1 == g->rows, last_column = w->column + 1 == g->cols;
    int keys = tokens + g->window_h * g->window_w;
    if (!(g->shift_h && last_row) && !(g->shift_w && last_column)) return 0;
    for (int t = 0; t < tokens; t++) *region++ = 0;
    for (int r = 0; r < g->window_h; r++)
        for (int q = 0; q < g->window_w; q++)
            *region++ = (float)(1 + 3 * swin__region(w->row, g->rows, g->window_h, g->shift_h, r)
                                  + swin__region(w->column, g->cols, g->window_w, g->shift_w, q));
    for (int lane = keys; lane < swin__padded(keys); lane++) *region++ = 0;
    return 1;
}

/* Copies a window's pixels of a map to rows, which are zero in the padding; norm: NULL, or what the
   pixels go through. */
static void swin__window_rows(const swin_context *c, const swin__fmap *map, swin__window w,
                              const swin__affine *norm, float eps, swin__rows to)
{
    for (int at = 0; swin__next_pixels(&w); at += w.count) {
        swin__rows rows = swin__rows_from(to, at, w.count);
        rows.c = map->c;
        if (w.pixel < 0) swin__clear_rows(rows);
        else if (norm) swin__norm_rows(c, norm, eps, swin__map_rows(map, w.pixel, w.count), rows);
        else swin__copy_rows(c, rows, swin__map_rows(map, w.pixel, w.count));
    }
}

/* The way back: map += rows or, with a norm, which changes them, map += norm(rows). */
static void swin__add_window(const swin_context *c, const swin__fmap *map, swin__window w,
                             const swin__affine *norm, swin__rows from)
{
    for (int at = 0; swin__next_pixels(&w); at += w.count) {
        swin__rows rows = swin__rows_from(from, at, w.count);
        if (w.pixel < 0) continue;
        if (norm) swin__norm_rows(c, norm, c->model->config.eps, rows, rows);
        swin__add_rows(c, swin__map_rows(map, w.pixel, w.count), rows);
    }
}

/* The windows of a block on an h x w map: whether they shift, the model's rule says. */
static swin__grid swin__make_grid(const swin_config *g, int stage, int block, int h, int w)
{
    const swin_stage_config *s = &g->stage[stage];
    swin__grid grid;
    grid.h = h;
    grid.w = w;
    grid.window_h = s->window_h;
    grid.window_w = s->window_w;
    grid.rows = swin__divide_up(h, grid.window_h);
    grid.cols = swin__divide_up(w, grid.window_w);
    grid.shift_h = block % 2 ? s->shift_h : 0;
    grid.shift_w = block % 2 ? s->shift_w : 0;
    if (g->shift_rule == SWIN_SHIFT_SQUARE && swin__min(h, w) <= grid.window_h)
        grid.shift_h = grid.shift_w = 0;
    if (g->shift_rule == SWIN_SHIFT_PER_AXIS && grid.rows == 1) grid.shift_h = 0;
    if (g->shift_rule == SWIN_SHIFT_PER_AXIS && grid.cols == 1) grid.shift_w = 0;
    grid.roll_before_pad = g->roll_before_pad;
    return grid;
}

/* Makes keys, transposed into panels, the second factor of a product. */
static void swin__use_keys(swin__product *p, const float *panels, int dp)
{
    p->b = panels;
    p->ldb = 16;
    p->panel = 16 * (size_t)dp;
}

/* --- one head --------------------------------------------------------------------------------- */

/* One head of one window: out = softmax(q k^T + bias + mask) v; q and out are [queries][dp], k and
   v [keys][dp]. The scores, [queries][lanes] with the number of keys rounded up to 16, hold the
   bias at first. */
typedef struct swin__attendance {
    const float *q, *k, *v, *region;    /* region: of each key; NULL where nothing is masked */
    size_t ldq, ldk, ldv, ldo;
    int queries, keys, dp;
    float *panels;                      /* memory for the transposed keys, [lanes/16][dp][16] */
    float *scores, *inverse, *out;      /* inverse [queries]: 1 / the sums of the softmax */
} swin__attendance;

/* Computes what swin__attendance describes. */
static void swin__attend(const swin_context *c, const swin__attendance *a)
{
    const swin__kernels *k = c->kernels;
    int lanes = swin__padded(a->keys);
    swin__product scores, mix;
    memset(&scores, 0, sizeof scores);
    memset(&mix, 0, sizeof mix);
    k->transpose(a->panels, a->k, a->ldk, a->keys, a->dp);
    scores.m = a->queries;  scores.n = lanes;  scores.k = a->dp;
    scores.a = a->q;  scores.lda = a->ldq;
    swin__use_keys(&scores, a->panels, a->dp);
    scores.init = scores.c = a->scores;
    scores.ldi = scores.ldc = (size_t)lanes;
    k->gemm(&scores);
    k->softmax(a->scores, scores.ldc, a->queries, lanes, a->region, c->model->config.mask,
               a->inverse);
    mix.m = a->queries;  mix.n = a->dp;  mix.k = a->keys;
    mix.a = a->scores;  mix.lda = scores.ldc;
    mix.b = a->v;  mix.ldb = a->ldv;  mix.panel = 16;
    mix.c = a->out;  mix.ldc = a->ldo;
    k->gemm(&mix);
    k->scale(a->out, a->ldo, a->queries, a->dp, a->inverse);
}

/* Sorts one head's biases, from its table [2 window_h - 1][2 window_w - 1], as the kernel
   window_bias takes them. Whole registers are copied, beyond the ends of rows, and so from `copy`
   of the table. */
static void swin__bands(const swin_context *c, const swin__shape *f, const float *table,
                        float *copy, float *bands)
{
    int w = f->window_w, down = 2 * f->window_h - 1, across = 2 * w - 1;
    swin__copy(copy, table, down * across);
    for (int q = 0; q < w; q++)
        c->kernels->copy(bands + q * down * w, (size_t)w, copy + w - 1 - q, (size_t)across, down,
                         swin__padded(w));
}

/* Where the parts of a unit's scratch start, in floats. */
typedef struct swin__attention_scratch {
    uint64_t rows;              /* [group * rows][ld]: normed inputs, then attention outputs */
    uint64_t qkv;               /* [group * rows][3 * packed]; at the end the projected rows */
    uint64_t keys;              /* [lanes/16][dp][16] */
    uint64_t bands;             /* one head's biases: see swin__bands */
    uint64_t scores;            /* [rows][lanes], and 16 more */
    uint64_t region, inverse;   /* [lanes] */
    uint64_t size;
    int ld, lanes;              /* lanes: rows of a window, rounded up to 16 */
} swin__attention_scratch;

/* The scratch for `group` windows; col_count: of a row that goes in, packed: of q, k or v. */
static swin__attention_scratch swin__attention_layout(const swin__shape *f, int group,
                                                      int col_count, int packed)
{
    int bands = swin__padded(f->window_w * f->window_w * (2 * f->window_h - 1)) + 16;
    int lanes = swin__padded(f->rows), rows = group * f->rows;
    swin__attention_scratch at;
    at.ld = swin__max(col_count, packed);
    at.lanes = lanes;
    at.rows = 0;
    at.qkv = at.rows + swin__floats(rows, at.ld);
    at.keys = at.qkv + swin__floats(rows, 3 * packed);
    at.bands = at.keys + swin__floats(lanes, f->dp);
    at.scores = at.bands + swin__floats(1, bands);
    at.region = at.scores + swin__floats(f->rows, lanes) + 16;
    at.inverse = at.region + swin__floats(1, lanes);
    at.size = at.inverse + swin__floats(1, lanes);
    return at;
}

/* What the attention of all heads of a window has in common: q, k, v, region and out are left to
   the caller. Rows of q, k and v lie ld apart, those of the output ldo. */
static swin__attendance swin__window_attendance(const swin__shape *f,
                                                const swin__attention_scratch *at, float *scratch,
                                                int ld, int ldo)
{
    swin__attendance a;
    memset(&a, 0, sizeof a);
    a.ldq = a.ldk = a.ldv = (size_t)ld;
    a.ldo = (size_t)ldo;
    a.queries = a.keys = f->rows;
    a.dp = f->dp;
    a.panels = scratch + at->keys;
    a.scores = scratch + at->scores;
    a.inverse = scratch + at->inverse;
    return a;
}

/* --- windowed attention: x = x + proj(softmax(q k + bias + mask) v) --------------------------- */

/* Windowed attention of a block, whose x's windows are read and written in one step. */
typedef struct swin__attention_layer {
    int stage;
    swin__shape shape;
    swin__grid grid;
    const swin__block *block;
    swin__fmap x;
    int shared;                 /* all windows have the same tokens */
    const float *tokens_in;     /* [shared ? tokens : windows * tokens][x.ld] */
    float *tokens_out;          /* [windows * tokens][x.ld], NULL where they feed nothing */
    int group;                  /* the most windows of a unit */
} swin__attention_layer;

/* Block `index` of a stage, without its tokens. */
static swin__attention_layer swin__make_attention(const swin__plan *p, int stage, int index,
                                                  const swin__block *block, swin__fmap x)
{
    swin__attention_layer l;
    memset(&l, 0, sizeof l);
    l.stage = stage;
    l.shape = swin__shape_of(p->config, stage);
    l.grid = swin__make_grid(p->config, stage, index, x.h, x.w);
    l.block = block;
    l.x = x;
    l.shared = index == 0;
    l.group = 1;
    return l;
}

static int swin__windows_of(const swin__attention_layer *l) { return l->grid.rows * l->grid.cols; }

/* Copies a window's rows, tokens first; pixels go through norm1 where that comes first. */
static void swin__gather_window(const swin_context *c, const swin__attention_layer *l, int window,
                                swin__rows to)
{
    int tokens = l->shape.tokens, first = l->shared ? 0 : window * tokens;
    if (tokens)
        c->kernels->copy(to.data, to.ld, l->tokens_in + swin__offset(first, l->x.ld),
                         swin__offset(1, l->x.ld), tokens, l->x.ld);
    swin__window_rows(c, &l->x, swin__window_of(&l->grid, window),
                      l->shape.post_norm ? NULL : &l->block->norm1, c->model->config.eps,
                      swin__rows_from(to, tokens, l->shape.area));
}

/* The way back: a window's tokens are replaced, its pixels added to x. */
static void swin__scatter_window(const swin_context *c, const swin__attention_layer *l, int window,
                                 swin__rows from)
{
    int tokens = l->shape.tokens;
    if (l->tokens_out)
        swin__copy(l->tokens_out + swin__offset(window * tokens, l->x.ld), from.data,
                   tokens * l->x.ld);
    swin__add_window(c, &l->x, swin__window_of(&l->grid, window),
                     l->shape.post_norm ? &l->block->norm1 : NULL,
                     swin__rows_from(from, tokens, l->shape.area));
}

/* Swin V2: q and k of one head become unit vectors, q times the head's factor. */
static void swin__cosines(const swin_context *c, float factor, float *q, float *k, size_t ld,
                          int rows, int dp)
{
    c->kernels->unit_vectors(q, ld, rows, dp, factor);
    c->kernels->unit_vectors(k, ld, rows, dp, 1);
}

/* The windows of a unit: from ... to - 1, their rows and these rows' q, k and v. */
typedef struct swin__attention_unit {
    int from, to;
    swin__rows rows, qkv;
    swin__attention_scratch at;
    float *scratch;
} swin__attention_unit;

/* Head h of a unit's windows: its outputs replace columns of u->rows, which q, k and v came
   from. */
static void swin__attend_windows(const swin_context *c, const swin__attention_layer *l, int h,
                                 const swin__attention_unit *u)
{
    const swin__shape *f = &l->shape;
    float *region = u->scratch + u->at.region, *bands = u->scratch + u->at.bands;
    swin__attendance a = swin__window_attendance(f, &u->at, u->scratch, 3 * f->packed, u->at.ld);
    float *q = u->qkv.data + h * f->dp;
    if (SWIN__HAS_V2 && f->cosine)
        swin__cosines(c, l->block->scale[h], q, q + f->packed, u->qkv.ld, u->qkv.n, f->dp);
    swin__bands(c, f, l->block->table + h * f->table, a.scores, bands);
    for (int i = u->from; i < u->to; i++) {
        const swin__window w = swin__window_of(&l->grid, i);
        int first = (i - u->from) * f->rows;
        a.q = swin__row(u->qkv, first) + h * f->dp;
        a.k = a.q + f->packed;
        a.v = a.k + f->packed;
        a.region = swin__regions(&w, f->tokens, region) ? region : NULL;
        a.out = swin__row(u->rows, first) + h * f->dp;
        c->kernels->window_bias(a.scores, u->at.lanes, bands, f->tokens, f->window_h, f->window_w);
        swin__attend(c, &a);
    }
}

/* Windowed attention of a share of the windows, all heads. */
static void swin__attention(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__attention_layer *l = (const swin__attention_layer *)s->layer;
    const swin__shape *f = &l->shape;
    int n = f->rows, count;
    swin__attention_unit u;
    swin__rows mixed, projected;
    u.at = swin__attention_layout(f, l->group, l->x.ld, f->packed);
    u.scratch = scratch;
    swin__share(swin__windows_of(l), s->units, unit, &u.from, &u.to);
    count = u.to - u.from;
    u.rows = swin__make_rows(scratch + u.at.rows, u.at.ld, count * n, l->x.c);
    u.qkv = swin__make_rows(scratch + u.at.qkv, 3 * f->packed, count * n, 3 * f->packed);
    for (int i = 0; i < count; i++)
        swin__gather_window(c, l, u.from + i, swin__rows_from(u.rows, i * n, n));
    swin__apply_to_own(c, &l->block->qkv, u.rows, u.qkv, SWIN__LINEAR);
    for (int h = 0; h < f->heads; h++) swin__attend_windows(c, l, h, &u);
    mixed = u.rows;
    mixed.c = f->packed;
    projected = swin__make_rows(u.qkv.data, l->x.ld, count * n, l->x.c);
    swin__apply_to_own(c, &l->block->proj, mixed, projected, SWIN__LINEAR);
    for (int i = 0; i < count; i++)
        swin__scatter_window(c, l, u.from + i, swin__rows_from(projected, i * n, n));
}

/* --- the same in steps of products and of windows --------------------------------------------- */

/* The step between two products: the one before it makes q, k and v of all pixels and tokens, the
   one after it projects what the heads give. A unit takes one head of some windows. Padding has no
   rows in the maps: it would be zero before the product, so its q, k and v are the bias. */
typedef struct swin__windows_layer {
    swin__attention_layer attention;
    swin__fmap qkv, mixed;                      /* of x's pixels: q, k, v; what the heads give */
    swin__fmap token_qkv, token_mixed;          /* of the tokens; empty where there are none */
} swin__windows_layer;

/* q, k and v of one head, [n][3 * dp], from rows of all heads; ld 0: one row serves all n. */
static void swin__gather_parts(const swin_context *c, const swin__shape *f, float *to,
                               const float *from, int ld, int n)
{
    for (int part = 0; part < 3; part++)
        c->kernels->copy(to + part * f->dp, 3 * (size_t)f->dp, from + part * f->packed, (size_t)ld,
                         n, f->dp);
}

/* Copies q, k and v of head h of a window's rows. */
static void swin__gather_head(const swin_context *c, const swin__windows_layer *l, int window,
                              int h, swin__rows to)
{
    const swin__shape *f = &l->attention.shape;
    const float *bias = l->attention.block->qkv.bias;
    swin__window w = swin__window_of(&l->attention.grid, window);
    int first = l->attention.shared ? 0 : window * f->tokens, at = h * f->dp;
    if (f->tokens)
        swin__gather_parts(c, f, to.data, swin__pixel(&l->token_qkv, first) + at, l->token_qkv.ld,
                           f->tokens);
    for (int i = f->tokens; swin__next_pixels(&w); i += w.count) {
        swin__rows rows = swin__rows_from(to, i, w.count);
        if (w.pixel >= 0)
            swin__gather_parts(c, f, rows.data, swin__pixel(&l->qkv, w.pixel) + at, l->qkv.ld,
                               w.count);
        else if (bias) swin__gather_parts(c, f, rows.data, bias + at, 0, w.count);
        else swin__clear_rows(rows);
    }
}

/* The way back: what head h gives for a window's tokens and pixels. */
static void swin__scatter_head(const swin_context *c, const swin__windows_layer *l, int window,
                               int h, swin__rows from)
{
    const swin__shape *f = &l->attention.shape;
    swin__window w = swin__window_of(&l->attention.grid, window);
    if (l->token_mixed.data)
        c->kernels->copy(swin__pixel(&l->token_mixed, window * f->tokens) + h * f->dp,
                         (size_t)l->token_mixed.ld, from.data, from.ld, f->tokens, f->dp);
    for (int i = f->tokens; swin__next_pixels(&w); i += w.count)
        if (w.pixel >= 0)
            c->kernels->copy(swin__pixel(&l->mixed, w.pixel) + h * f->dp, (size_t)l->mixed.ld,
                             swin__row(from, i), from.ld, w.count, f->dp);
}

/* One head of a share of the windows. */
static void swin__windows(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__windows_layer *l = (const swin__windows_layer *)s->layer;
    const swin__attention_layer *attention = &l->attention;
    const swin__shape *f = &attention->shape;
    swin__attention_scratch at = swin__attention_layout(f, 1, f->dp, f->dp);
    int h = unit % f->heads, dp = f->dp, from, to;
    swin__attendance a = swin__window_attendance(f, &at, scratch, 3 * dp, dp);
    swin__rows qkv = swin__make_rows(scratch + at.qkv, 3 * dp, f->rows, 3 * dp);
    swin__rows out = swin__make_rows(scratch + at.rows, dp, f->rows, dp);
    float *bands = scratch + at.bands, *region = scratch + at.region;
    a.q = qkv.data;
    a.k = a.q + dp;
    a.v = a.k + dp;
    a.out = out.data;
    swin__bands(c, f, attention->block->table + h * f->table, a.scores, bands);
    swin__share(swin__windows_of(attention), s->units / f->heads, unit / f->heads, &from, &to);
    for (int i = from; i < to; i++) {
        const swin__window w = swin__window_of(&attention->grid, i);
        swin__gather_head(c, l, i, h, qkv);
        if (SWIN__HAS_V2 && f->cosine)
            swin__cosines(c, attention->block->scale[h], qkv.data, qkv.data + dp, qkv.ld, qkv.n,
                          dp);
        a.region = swin__regions(&w, f->tokens, region) ? region : NULL;
        c->kernels->window_bias(a.scores, at.lanes, bands, f->tokens, f->window_h, f->window_w);
        swin__attend(c, &a);
        swin__scatter_head(c, l, i, h, out);
    }
}

/* The rows of a unit's windows, about: for these the weights pass once through the caches. There
   are fewer where the step would have few units. */
enum { SWIN__ATTENTION_ROWS = 224 };

static int swin__windows_a_unit(const swin__shape *f, int offered)
{
    return swin__max(1, swin__min(SWIN__ATTENTION_ROWS / f->rows, offered / SWIN__MANY));
}

/* q, k and v of the tokens. */
static void swin__plan_token_qkv(swin__plan *p, swin__windows_layer *l)
{
    const swin__attention_layer *a = &l->attention;
    const swin__shape *f = &a->shape;
    if (!f->tokens) return;
    l->token_qkv = swin__alloc_fmap(p, a->shared ? 1 : swin__windows_of(a), f->tokens,
                                    3 * f->packed);
    swin__plan_dense(p, "qkv", a->stage, swin__make_dense(a->tokens_in, a->x.ld, a->block->qkv,
                                                          l->token_qkv));
}

/* The projection of what the heads give for the tokens, unless nobody reads them after it. */
static void swin__plan_token_proj(swin__plan *p, const swin__windows_layer *l)
{
    const swin__attention_layer *a = &l->attention;
    swin__fmap tokens = a->x;
    if (!a->tokens_out) return;
    tokens.data = a->tokens_out;
    tokens.h = swin__windows_of(a);
    tokens.w = a->shape.tokens;
    swin__plan_dense(p, "proj", a->stage, swin__make_dense(l->token_mixed.data, l->token_mixed.ld,
                                                           a->block->proj, tokens));
    swin__release(p, l->token_mixed.data);
}

/* Attention in steps of products and of windows. */
static void swin__plan_windows(swin__plan *p, const swin__attention_layer *a)
{
    const swin__shape *f = &a->shape;
    int windows = swin__windows_of(a), group = swin__windows_a_unit(f, windows * f->heads);
    swin__job job = { "attention", a->stage, swin__windows, 0, 0, 0 };
    swin__branch branch = swin__make_branch(p, a->stage, a->x, a->block->norm1);
    swin__windows_layer l;
    memset(&l, 0, sizeof l);
    l.attention = *a;
    l.qkv = swin__plan_branch(p, &branch, "qkv", a->block->qkv, SWIN__LINEAR, 3 * f->packed);
    swin__plan_token_qkv(p, &l);
    l.mixed = swin__alloc_fmap(p, a->x.h, a->x.w, f->packed);
    if (a->tokens_out) l.token_mixed = swin__alloc_fmap(p, windows, f->tokens, f->packed);
    job.units = f->heads * swin__divide_up(windows, group);
    job.scratch = swin__attention_layout(f, 1, f->dp, f->dp).size;
    job.madds = 2.0 * windows * f->rows * f->rows * a->x.c;
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, l.qkv.data);
    if (f->tokens) swin__release(p, l.token_qkv.data);
    swin__plan_return(p, &branch, "proj", l.mixed, a->block->proj, f->packed);
    swin__plan_token_proj(p, &l);
    swin__release(p, l.mixed.data);
}

/* Multiply-adds of so many windows: q, k, v and the projection, and the scores and their mix. */
static double swin__attention_madds(const swin__attention_layer *a, int windows)
{
    double c = a->x.c, n = a->shape.rows;
    return windows * n * (4.0 * c * c + 2.0 * n * c);
}

/* Plans windowed attention in one step or, where that would offer few units, in several. */
static void swin__plan_attention(swin__plan *p, swin__attention_layer a)
{
    int windows = swin__windows_of(&a);
    swin__job job = { "attention", a.stage, swin__attention, 0, 0, 0 };
    if (p->config->shift_rule == SWIN_SHIFT_SQUARE && swin__min(a.x.h, a.x.w) < a.grid.window_h) {
        p->status = swin__fail(
            p->err, SWIN_SIZE, "the map of stage %d is %d x %d, smaller than this model's window "
            "of %d: take a larger input", a.stage, a.x.w, a.x.h, a.grid.window_h);
        return;
    }
    if (windows < SWIN__MANY) {
        swin__plan_windows(p, &a);
        return;
    }
    a.group = swin__windows_a_unit(&a.shape, windows);
    job.units = swin__divide_up(windows, a.group);
    job.scratch = swin__attention_layout(&a.shape, a.group, a.x.ld, a.shape.packed).size;
    job.madds = swin__attention_madds(&a, windows);
    swin__add_step(p, &job, &a, sizeof a);
}

/* --- G-MSA: T = proj(softmax(q k) v), every window's global tokens attend to all -------------- */

/* The keys of a block of the streaming softmax: one number for all, as it decides how sums are
   rounded. */
enum { SWIN__KEYS = 64 };
/* The most queries of a unit, which takes one head: 6 microtiles of 14. */
enum { SWIN__GLOBAL_QUERIES = 84 };

/* G-MSA takes three steps, which share buffers: q, k and v of all n tokens, the keys transposed
   into panels, and what the heads make of them. */
typedef struct swin__global_layer {
    swin__shape shape;
    int n;
    const swin__block *block;
    swin__stored position;      /* [n][ld] */
    swin__rows tokens;          /* [n], replaced in the end */
    swin__rows qkv;             /* [n] of 3 * packed */
    float *keys;                /* [heads][lanes/16][dp][16], lanes: n rounded up to 16 */
    swin__rows out;             /* [n] of packed */
} swin__global_layer;

/* The keys of one head. */
static float *swin__global_keys(const swin__global_layer *l, int head)
{
    return l->keys + swin__offset(head, swin__padded(l->n)) * (size_t)l->shape.dp;
}

/* q, k and v of a share of the tokens, to which their positions are added first; transposes
   keys. */
static void swin__global_qkv(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__global_layer *l = (const swin__global_layer *)s->layer;
    const swin__shape *f = &l->shape;
    int from, to;
    swin__rows in, tokens, qkv;
    swin__share(swin__divide_up(l->n, 16), s->units, unit, &from, &to);
    from *= 16;
    to = swin__min(16 * to, l->n);
    tokens = swin__rows_from(l->tokens, from, to - from);
    qkv = swin__rows_from(l->qkv, from, to - from);
    in = swin__make_rows(scratch, (int)tokens.ld, tokens.n, tokens.c);
    for (int i = 0; i < in.n; i++) {
        const swin__stored position = swin__stored_from(l->position, (size_t)(from + i) * in.ld);
        float *row = swin__row(in, i), *room = swin__row(in, in.n);
        swin__copy(row, swin__row(tokens, i), (int)in.ld);
        c->kernels->add(row, in.ld, swin__stored_row(c, position, (int)in.ld, room), in.ld, 1,
                        (int)in.ld);
    }
    swin__apply_to_own(c, &l->block->global_qkv, in, qkv, SWIN__LINEAR);
    for (int h = 0; h < f->heads; h++)
        c->kernels->transpose(swin__global_keys(l, h) + swin__offset(from, f->dp),
                              qkv.data + f->packed + h * f->dp, qkv.ld, qkv.n, f->dp);
}

/* Attention whose softmax streams over blocks of keys. */
typedef struct swin__stream {
    swin__rows q, out;          /* one head's share of the queries, and its outputs so far */
    const float *keys, *v;      /* the head's panels, and its values, ldv apart */
    size_t ldv;
    int depth;                  /* rows of a panel: the head's, first, and others */
    const float *bias;          /* or NULL: [queries][keys] in beyond's place, rows ldb apart, */
    size_t ldb;                 /* SWIN__NO_SCORE in the padding */
    int block;                  /* keys that are taken at a time */
    float *scores;              /* [queries][block] */
    float *beyond;              /* [block]: what scores start from */
    float *top, *sum;           /* of each query: the highest score, and the sum, so far */
} swin__stream;

/* Places all that a stream of SWIN__GLOBAL_QUERIES queries at most keeps in scratch of
   swin__stream_scratch(block) floats. */
static void swin__stream_room(swin__stream *t, float *scratch)
{
    t->scores = scratch;
    t->beyond = t->scores + t->q.n * t->block;
    t->top = t->beyond + t->block;
    t->sum = t->top + swin__padded(t->q.n);
}

static uint64_t swin__stream_scratch(int block)
{
    return swin__floats(SWIN__GLOBAL_QUERIES + 1, block) +
           swin__floats(2, swin__padded(SWIN__GLOBAL_QUERIES));
}

/* Takes the block of `count` keys from `key` on. */
static void swin__stream_block(const swin_context *c, const swin__stream *t, int key, int count)
{
    int lanes = swin__padded(count), dp = t->out.c;
    swin__product scores, mix;
    memset(&scores, 0, sizeof scores);
    memset(&mix, 0, sizeof mix);
    for (int i = 0; i < lanes; i++) t->beyond[i] = i < count ? 0 : SWIN__NO_SCORE;
    scores.m = t->q.n;  scores.n = lanes;  scores.k = dp;
    scores.a = t->q.data;  scores.lda = t->q.ld;
    swin__use_keys(&scores, t->keys + swin__offset(key, t->depth), t->depth);
    scores.init = t->beyond;
    if (t->bias) scores.init = t->bias + key, scores.ldi = t->ldb;
    scores.c = t->scores;  scores.ldc = (size_t)t->block;
    c->kernels->gemm(&scores);
    c->kernels->softmax_block(t->scores, scores.ldc, t->q.n, lanes, t->top, t->sum, t->out.data,
                              t->out.ld, dp);
    mix.m = t->q.n;  mix.n = dp;  mix.k = count;
    mix.a = t->scores;  mix.lda = scores.ldc;
    mix.b = t->v + (size_t)key * t->ldv;  mix.ldb = t->ldv;  mix.panel = 16;
    mix.init = mix.c = t->out.data;
    mix.ldi = mix.ldc = t->out.ld;
    c->kernels->gemm(&mix);
}

/* Takes all n keys: out = softmax(q k^T) v. */
static void swin__stream_keys(const swin_context *c, const swin__stream *t, int n)
{
    for (int i = 0; i < t->q.n; i++) {
        t->top[i] = SWIN__NO_SCORE;
        t->sum[i] = 0;
        swin__clear(swin__row(t->out, i), t->out.c);
    }
    for (int key = 0; key < n; key += t->block)
        swin__stream_block(c, t, key, swin__min(t->block, n - key));
    for (int i = 0; i < t->q.n; i++) t->sum[i] = 1 / t->sum[i];
    c->kernels->scale(t->out.data, t->out.ld, t->out.n, t->out.c, t->sum);
}

/* A share of the queries of one head against all keys. */
static void swin__global_attend(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    const swin__global_layer *l = (const swin__global_layer *)s->layer;
    const swin__shape *f = &l->shape;
    int h = unit % f->heads, at = h * f->dp, from, to;
    swin__stream t;
    memset(&t, 0, sizeof t);
    swin__share(l->n, s->units / f->heads, unit / f->heads, &from, &to);
    t.q = swin__rows_from(l->qkv, from, to - from);
    t.q.data += at;
    t.out = swin__rows_from(l->out, from, to - from);
    t.out.data += at;
    t.out.c = f->dp;
    t.keys = swin__global_keys(l, h);
    t.depth = f->dp;
    t.v = l->qkv.data + 2 * f->packed + at;
    t.ldv = l->qkv.ld;
    t.block = SWIN__KEYS;
    swin__stream_room(&t, scratch);
    swin__stream_keys(c, &t, l->n);
}

/* The projection of a share of the tokens, which replaces them. */
static void swin__global_proj(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__global_layer *l = (const swin__global_layer *)s->layer;
    int from, to;
    (void)scratch;
    swin__share(l->n, s->units, unit, &from, &to);
    swin__apply_to_own(c, &l->block->global_proj, swin__rows_from(l->out, from, to - from),
                       swin__rows_from(l->tokens, from, to - from), SWIN__LINEAR);
}

/* The first row of the positional table that n tokens take; fails the plan if the table is too
   short. */
static int swin__first_position(swin__plan *p, int stage, int n)
{
    const swin_stage_config *s = &p->config->stage[stage];
    int first = s->token_middle - n / 2;
    if (first >= 0 && n <= s->token_rows - first) return first;
    p->status = swin__fail(
        p->err, SWIN_SIZE,
        "the input needs %d global tokens in stage %d and the model's positional table "
        "does not reach that far: take a smaller input, or convert with a larger --max-size",
        n, stage);
    return 0;
}

/* Adds the step that makes q, k and v of all tokens: a unit takes whole panels of keys. */
static void swin__plan_global_qkv(swin__plan *p, int stage, const swin__global_layer *l)
{
    double madds = 3.0 * l->tokens.c * l->tokens.c;
    int rows = swin__max(16, swin__rows_a_unit(madds) / 16 * 16);
    swin__job job = { "global qkv", stage, swin__global_qkv, swin__divide_up(l->n, rows),
                      swin__floats(rows + 17, (int)l->tokens.ld), madds * l->n };
    swin__add_step(p, &job, l, sizeof *l);
}

/* Adds the step of the heads. */
static void swin__plan_global_attend(swin__plan *p, int stage, const swin__global_layer *l)
{
    swin__job job = { "global attention", stage, swin__global_attend,
                      l->shape.heads * swin__divide_up(l->n, SWIN__GLOBAL_QUERIES),
                      swin__stream_scratch(SWIN__KEYS), 2.0 * l->n * l->n * l->tokens.c };
    swin__add_step(p, &job, l, sizeof *l);
}

static void swin__plan_global_proj(swin__plan *p, int stage, const swin__global_layer *l)
{
    double madds = (double)l->tokens.c * l->tokens.c;
    swin__job job = { "global proj", stage, swin__global_proj,
                      swin__units(l->n, madds, SWIN__MANY), 0, madds * l->n };
    swin__add_step(p, &job, l, sizeof *l);
}

/* --- SWIN_OUT_ATTENTION: where the global tokens let a pixel look --------------------------------

   The pixel attends to its window's tokens in a stage's last block; these came from the G-MSA of
   the block before, where they attended to the tokens of all windows, which had attended to their
   windows' pixels. The product of the three, heads averaged, is a map over the stage's pixels. */

typedef struct swin__look_layer {
    swin__attention_layer attention;
    swin__look look;
} swin__look_layer;

/* to [count][lanes] = what rows first ... first + count - 1 of a window attend to, the mean over
   the heads. */
static void swin__look_rows(const swin_context *c, const swin__attention_layer *l, int window,
                            int first, int count, float *scratch, float *to)
{
    const swin__shape *f = &l->shape;
    const swin__window w = swin__window_of(&l->grid, window);
    swin__attention_scratch at = swin__attention_layout(f, 1, l->x.ld, f->packed);
    swin__rows rows = swin__make_rows(scratch + at.rows, at.ld, f->rows, l->x.c);
    swin__rows qkv = swin__make_rows(scratch + at.qkv, 3 * f->packed, f->rows, 3 * f->packed);
    swin__attendance a = swin__window_attendance(f, &at, scratch, 3 * f->packed, at.ld);
    swin__rows sum = swin__make_rows(to, at.lanes, count, at.lanes);
    swin__rows scores = swin__make_rows(a.scores + swin__offset(first, at.lanes), at.lanes, count,
                                        at.lanes);
    float *bands = scratch + at.bands;
    swin__gather_window(c, l, window, rows);
    swin__apply_to_own(c, &l->block->qkv, rows, qkv, SWIN__LINEAR);
    a.queries = first + count;
    a.region = swin__regions(&w, f->tokens, scratch + at.region) ? scratch + at.region : NULL;
    a.out = rows.data;
    swin__clear_rows(sum);
    for (int h = 0; h < f->heads; h++) {
        swin__bands(c, f, l->block->table + h * f->table, a.scores, bands);
        c->kernels->window_bias(a.scores, at.lanes, bands, f->tokens, f->window_h, f->window_w);
        a.q = qkv.data + h * f->dp;
        a.k = a.q + f->packed;
        a.v = a.k + f->packed;
        swin__attend(c, &a);
        for (int i = 0; i < count; i++) a.inverse[first + i] /= (float)f->heads;
        c->kernels->scale(scores.data, scores.ld, count, at.lanes, a.inverse + first);
        swin__add_rows(c, sum, scores);
    }
}

/* look.tokens: the rows of one window, a unit. */
static void swin__look_tokens(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__look_layer *l = (const swin__look_layer *)s->layer;
    int tokens = l->attention.shape.tokens;
    swin__look_rows(c, &l->attention, unit, 0, tokens, scratch,
                    swin__pixel(&l->look.tokens, unit * tokens));
}

/* look.pixel, in one unit. */
static void swin__look_pixel(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__look_layer *l = (const swin__look_layer *)s->layer;
    (void)unit;
    swin__look_rows(c, &l->attention, l->look.window, l->look.row, 1, scratch, l->look.pixel.data);
}

typedef struct swin__look_global_layer {
    swin__global_layer global;
    swin__look look;
} swin__look_global_layer;

/* look.mixed = what the tokens of the pixel's window attend to in G-MSA, the mean over the heads;
   the step is one unit. */
static void swin__look_global(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__look_global_layer *l = (const swin__look_global_layer *)s->layer;
    const swin__shape *f = &l->global.shape;
    const swin__fmap *mixed = &l->look.mixed;
    int lanes = swin__padded(l->global.n), tokens = f->tokens;
    swin__rows queries = swin__rows_from(l->global.qkv, l->look.window * tokens, tokens);
    swin__rows scores = swin__make_rows(scratch + lanes, lanes, tokens, lanes);
    float *beyond = scratch, *inverse = swin__row(scores, tokens);
    (void)unit;
    for (int i = 0; i < lanes; i++) beyond[i] = i < l->global.n ? 0 : SWIN__NO_SCORE;
    swin__clear_rows(swin__map_rows(mixed, 0, tokens));
    for (int h = 0; h < f->heads; h++) {
        swin__product p;
        memset(&p, 0, sizeof p);
        p.m = tokens;  p.n = lanes;  p.k = f->dp;
        p.a = queries.data + h * f->dp;  p.lda = queries.ld;
        swin__use_keys(&p, swin__global_keys(&l->global, h), f->dp);
        p.init = beyond;
        p.c = scores.data;  p.ldc = scores.ld;
        c->kernels->gemm(&p);
        c->kernels->softmax(scores.data, scores.ld, tokens, lanes, NULL, 0, inverse);
        for (int i = 0; i < tokens; i++) inverse[i] /= (float)f->heads;
        c->kernels->scale(scores.data, scores.ld, tokens, lanes, inverse);
        swin__add_rows(c, swin__map_rows(mixed, 0, tokens), scores);
    }
}

/* The product of the three: a unit makes the pixels of one window of the block before the last. */
static void swin__look_map(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__look_layer *l = (const swin__look_layer *)s->layer;
    const swin__look *look = &l->look;
    const swin__grid *g = &l->attention.grid;
    const swin__window w = swin__window_of(g, unit);
    int tokens = l->attention.shape.tokens, lanes = look->tokens.ld;
    float *sum = scratch;
    swin__clear(sum, lanes);
    for (int t = 0; t < tokens; t++) {
        const float *from = swin__pixel(&look->tokens, unit * tokens + t);
        float share = 0;
        for (int k = 0; k < tokens; k++)
            share = swin__fmaf(look->pixel.data[k],
                               swin__pixel(&look->mixed, k)[unit * tokens + t], share);
        c->kernels->combine(sum, lanes, &from, &share, 1, 1);
    }
    for (int i = 0; i < l->attention.shape.area; i++) {
        int pixel = swin__window_pixel(&w, i / g->window_w, i % g->window_w);
        if (pixel >= 0) swin__pixel(&look->map, pixel)[0] = sum[tokens + i];
    }
}

/* Row or column `at` of the map, counted through the windows: what swin__window_pixel does, undone.
   windowed: the side of the map in whole windows. */
static int swin__in_windows(const swin__grid *g, int at, int shift, int side, int windowed)
{
    int around = g->roll_before_pad ? side : windowed;
    return (at - shift % around + around) % around;
}

/* Finds the pixel that looks in the windows of the last block, and takes buffers; x: the stage's
   map. */
static void swin__plan_look(swin__plan *p, int stage, swin__fmap x)
{
    const swin_config *g = p->config;
    const swin_desc *d = &p->desc;
    const swin__shape f = swin__shape_of(g, stage);
    int last = g->stage[stage].depth - 1, pixels = g->patch << stage, y, q;
    swin__grid grid = swin__make_grid(g, stage, last, x.h, x.w);
    swin__grid before = swin__make_grid(g, stage, last - 1, x.h, x.w);
    int windows = before.rows * before.cols;
    y = (int)((double)d->attend_y * d->height / d->picture_height) / pixels;
    q = (int)((double)d->attend_x * d->width / d->picture_width) / pixels;
    y = swin__in_windows(&grid, swin__min(y, x.h - 1), grid.shift_h, x.h,
                         grid.rows * grid.window_h);
    q = swin__in_windows(&grid, swin__min(q, x.w - 1), grid.shift_w, x.w,
                         grid.cols * grid.window_w);
    p->look.window = y / grid.window_h * grid.cols + q / grid.window_w;
    p->look.row = f.tokens + y % grid.window_h * grid.window_w + q % grid.window_w;
    p->look.pixel = swin__alloc_fmap(p, 1, 1, f.rows);
    p->look.mixed = swin__alloc_fmap(p, 1, f.tokens, windows * f.tokens);
    p->look.tokens = swin__alloc_fmap(p, windows, f.tokens, f.rows);
    p->look.map = swin__alloc_fmap(p, x.h, x.w, 1);
}

/* Adds swin__look_tokens, swin__look_pixel or swin__look_map. */
static void swin__add_look(swin__plan *p, const swin__attention_layer *a, swin__work work,
                           int windows)
{
    swin__job job = { "look", a->stage, work, windows, 0, swin__attention_madds(a, windows) };
    swin__look_layer l;
    l.attention = *a;
    l.look = p->look;
    job.scratch = swin__attention_layout(&a->shape, 1, a->x.ld, a->shape.packed).size;
    swin__add_step(p, &job, &l, sizeof l);
}

/* Adds swin__look_global. */
static void swin__plan_look_global(swin__plan *p, int stage, const swin__global_layer *global)
{
    int tokens = global->shape.tokens, lanes = swin__padded(global->n);
    swin__job job = { "look", stage, swin__look_global, 1, 0, 0 };
    swin__look_global_layer l;
    l.global = *global;
    l.look = p->look;
    job.scratch = swin__floats(lanes + 1, tokens + 1);
    swin__add_step(p, &job, &l, sizeof l);
}

static void swin__end_look(swin__plan *p)
{
    swin__release(p, p->look.pixel.data);
    swin__release(p, p->look.mixed.data);
    swin__release(p, p->look.tokens.data);
}

/* Adds the G-MSA that follows a block's windows, in place on their tokens; position: the stage's
   table; look: for the attention map, too. */
static void swin__plan_global(swin__plan *p, const swin__attention_layer *a, swin__stored position,
                              int look)
{
    const swin__shape *f = &a->shape;
    int n = swin__windows_of(a) * f->tokens, packed = f->packed, stage = a->stage;
    int first = swin__first_position(p, stage, n), ld = a->x.ld;
    swin__global_layer l;
    if (p->status != SWIN_OK) return;
    l.shape = *f;
    l.n = n;
    l.block = a->block;
    l.position = swin__stored_from(position, swin__offset(first, ld));
    l.tokens = swin__make_rows(a->tokens_out, ld, n, a->x.c);
    l.qkv = swin__make_rows(swin__alloc(p, swin__floats(n, 3 * packed)), 3 * packed, n,
                            3 * packed);
    l.keys = swin__alloc(p, swin__floats(swin__padded(n), packed));
    l.out = swin__make_rows(swin__alloc(p, swin__floats(n, packed)), packed, n, packed);
    swin__plan_global_qkv(p, stage, &l);
    if (look) swin__plan_look_global(p, stage, &l);
    swin__plan_global_attend(p, stage, &l);
    swin__plan_global_proj(p, stage, &l);
    swin__release(p, l.qkv.data);
    swin__release(p, l.keys);
    swin__release(p, l.out.data);
}

/* --- cross-attention upsampling ------------------------------------------------------------------

   The pixels of every 2w x 2w window of the skip are the queries to the w x w window of the coarser
   map at the same place; on the expanded map out = out + proj(softmax(q k^T + bias) v). */

typedef struct swin__cross_layer {
    swin__fmap x, skip, out;    /* x: the coarser map */
    const swin__up *weights;
    swin__shape shape;
    swin__grid keys, queries;   /* windows of x, and of skip and out */
} swin__cross_layer;

/* Where the parts of one window's scratch start, in floats. */
typedef struct swin__cross_scratch {
    uint64_t keys_in;           /* [area][x.ld] */
    uint64_t kv;                /* [area][2 * packed] */
    uint64_t queries_in;        /* [4 area][ld], then the heads' outputs */
    uint64_t q;                 /* [4 area][packed], then the projected rows */
    uint64_t scores;            /* [4 area][lanes] */
    uint64_t panels, inverse, size;
    int ld;
} swin__cross_scratch;

/* The scratch for one window. */
static swin__cross_scratch swin__cross_layout(const swin__cross_layer *l)
{
    const swin__shape *f = &l->shape;
    int n = f->area, lanes = swin__padded(n), packed = f->packed;
    swin__cross_scratch at;
    at.ld = swin__max(l->out.ld, f->packed);
    at.keys_in = 0;
    at.kv = at.keys_in + swin__floats(n, l->x.ld);
    at.queries_in = at.kv + swin__floats(n, 2 * packed);
    at.q = at.queries_in + swin__floats(4 * n, at.ld);
    at.scores = at.q + swin__floats(4 * n, packed);
    at.panels = at.scores + swin__floats(4 * n, lanes);
    at.inverse = at.panels + swin__floats(lanes, f->dp);
    at.size = at.inverse + swin__floats(4, lanes);
    return at;
}

/* One head's matrix of biases, [4 area][lanes]. The published code takes a quarter of the table and
   counts the keys' rows and columns as if every fourth one were there: models were trained so. */
static void swin__cross_bias(const swin__grid *keys, const float *table, float *bias)
{
    int w = keys->window_h, lanes = swin__padded(w * w); /* windows are square here */
    for (int q = 0; q < 4 * w * w; q++) {
        int qr = q / (2 * w) / 2, qc = q % (2 * w) / 2;
        for (int t = 0; t < lanes; t++) {
            int kr = 4 * t / (2 * w) / 2, kc = 4 * t % (2 * w) / 2;
            int at = (kr - qr + w - 1) * (2 * w - 1) + kc - qc + w - 1;
            bias[q * lanes + t] = t < w * w ? table[at] : SWIN__NO_SCORE;
        }
    }
}

/* The cross-attention of one window, all heads. */
static void swin__cross(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__cross_layer *l = (const swin__cross_layer *)s->layer;
    const swin__shape *f = &l->shape;
    const swin__block *block = &l->weights->cross;
    const swin__window fine = swin__window_of(&l->queries, unit);
    swin__cross_scratch at = swin__cross_layout(l);
    int area = f->area, packed = f->packed;
    swin__rows keys_in = swin__make_rows(scratch + at.keys_in, l->x.ld, area, l->x.c);
    swin__rows kv = swin__make_rows(scratch + at.kv, 2 * packed, area, 2 * packed);
    swin__rows queries_in = swin__make_rows(scratch + at.queries_in, at.ld, 4 * area, l->skip.c);
    swin__rows q = swin__make_rows(scratch + at.q, packed, 4 * area, packed);
    swin__rows mixed = queries_in, projected = swin__make_rows(q.data, l->out.ld, q.n, l->out.c);
    swin__attendance a;
    swin__window_rows(c, &l->x, swin__window_of(&l->keys, unit), &block->norm1, SWIN__EPS, keys_in);
    swin__apply_to_own(c, &l->weights->kv, keys_in, kv, SWIN__LINEAR);
    swin__window_rows(c, &l->skip, fine, NULL, 0, queries_in);
    swin__apply_to_own(c, &l->weights->q, queries_in, q, SWIN__LINEAR);
    memset(&a, 0, sizeof a);
    a.ldq = q.ld;
    a.ldk = a.ldv = kv.ld;
    a.ldo = mixed.ld;
    a.queries = 4 * area;
    a.keys = area;
    a.dp = f->dp;
    a.panels = scratch + at.panels;
    a.scores = scratch + at.scores;
    a.inverse = scratch + at.inverse;
    for (int h = 0; h < f->heads; h++) {
        swin__cross_bias(&l->keys, block->table + h * f->table, a.scores);
        a.q = q.data + h * f->dp;
        a.k = kv.data + h * f->dp;
        a.v = a.k + packed;
        a.out = mixed.data + h * f->dp;
        swin__attend(c, &a);
    }
    mixed.c = packed;
    swin__apply_to_own(c, &block->proj, mixed, projected, SWIN__LINEAR);
    swin__add_window(c, &l->out, fine, NULL, projected);
}

/* Adds to `out`, the expanded map, what the skip of its level finds in the coarser map x. */
static void swin__plan_cross(swin__plan *p, int level, swin__fmap x, swin__fmap skip,
                             swin__fmap out)
{
    swin__job job = { "cross attention", level, swin__cross, 0, 0, 0 };
    swin__cross_layer l;
    double area;
    l.x = x;
    l.skip = skip;
    l.out = out;
    l.weights = &p->weights->up[level];
    l.shape = swin__cross_shape(p->config, level);
    l.keys = l.queries = swin__make_grid(p->config, level, 0, x.h, x.w);
    l.queries.h = skip.h;
    l.queries.w = skip.w;
    l.queries.window_h *= 2;
    l.queries.window_w *= 2;
    area = l.shape.area;
    job.units = l.keys.rows * l.keys.cols;
    job.scratch = swin__cross_layout(&l).size;
    job.madds = job.units * area * x.c * (2.0 * x.c + 8.0 * out.c + 8.0 * area);
    swin__add_step(p, &job, &l, sizeof l);
}

/* -------------------------------------------------------------------------- */
/* >>merge: between stages - patch merging and expanding                      */

/* --- patch merging: a 2x2 cell's channels side by side, norm, reduction ----------------------- */

/* Merging in one step, or its cells alone where the product is a step of its own. */
typedef struct swin__merge_layer {
    swin__fmap in, out;
    swin__fmap cells;           /* [pixels of out][4 * in.c], if the product is a step of its own */
    swin__affine norm;          /* weight NULL: none */
    swin__linear linear;
    int post_norm;
} swin__merge_layer;

/* The cells of the merged map's pixels from `first` on, through the norm where that comes first. */
static void swin__gather_cells(const swin_context *c, const swin__merge_layer *l, int first,
                               swin__rows to)
{
    const swin__fmap *in = &l->in, *out = &l->out;
    for (int i = 0; i < to.n; i++) {
        int top = 2 * ((first + i) / out->w), left = 2 * ((first + i) % out->w);
        float *row = swin__row(to, i);
        swin__clear_rows(swin__rows_from(to, i, 1));
        for (int k = 0; k < 4; k++) {
            int y = top + k % 2, x = left + k / 2;
            if (y < in->h && x < in->w)
                swin__copy(row + k * in->c, swin__pixel(in, y * in->w + x), in->c);
        }
    }
    if (l->norm.weight && !l->post_norm) swin__norm_rows(c, &l->norm, SWIN__EPS, to, to);
}

/* Gathers a share of the cells, where the product is a step of its own. */
static void swin__merge_cells(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__merge_layer *l = (const swin__merge_layer *)s->layer;
    int from, to;
    swin__rows cells;
    (void)scratch;
    swin__share(swin__pixels(&l->cells), s->units, unit, &from, &to);
    cells = swin__map_rows(&l->cells, from, to - from);
    swin__gather_cells(c, l, from, cells);
    swin__factor(c, &l->linear.weight, cells, NULL);
}

/* Merges a share of the cells: gathers, norms, multiplies. */
static void swin__merge(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__merge_layer *l = (const swin__merge_layer *)s->layer;
    int col_count = 4 * l->in.c, from, to;
    swin__rows cells, out;
    swin__share(swin__pixels(&l->out), s->units, unit, &from, &to);
    cells = swin__make_rows(scratch, swin__padded(col_count), to - from, col_count);
    out = swin__map_rows(&l->out, from, to - from);
    swin__gather_cells(c, l, from, cells);
    swin__apply_to_own(c, &l->linear, cells, out, SWIN__LINEAR);
    if (l->norm.weight && l->post_norm) swin__norm_rows(c, &l->norm, SWIN__EPS, out, out);
}

/* The most cells that a unit gathers. */
enum { SWIN__CELLS = 16 };

/* Plans patch merging in steps of cells, products and norms. */
static void swin__plan_merge_steps(swin__plan *p, int stage, swin__merge_layer l)
{
    swin__norm_layer norm = { l.out, l.out, l.norm, SWIN__EPS, 0, 0 };
    swin__job job = { "merge", stage, swin__merge_cells, 0, 0, 0 };
    swin__dense_layer dense;
    l.cells = swin__alloc_factor(p, l.out.h, l.out.w, 4 * l.in.c);
    job.units = swin__divide_up(swin__pixels(&l.out), SWIN__CELLS);
    swin__add_step(p, &job, &l, sizeof l);
    dense = swin__make_dense(l.cells.data, l.cells.ld, l.linear, l.out);
    dense.ready = 1;
    swin__plan_dense(p, "merge", stage, dense);
    if (l.norm.weight && l.post_norm) swin__add_norm(p, stage, &norm);
    swin__release(p, l.cells.data);
}

/* Plans patch merging in one step or, where that would offer few units, in several. */
static swin__fmap swin__plan_merge(swin__plan *p, int stage, swin__fmap in)
{
    swin__merge_layer l;
    swin__job job = { "merge", stage, swin__merge, 0, 0, 0 };
    double madds;
    int pixels;
    memset(&l, 0, sizeof l);
    l.in = in;
    l.out = swin__alloc_fmap(p, swin__divide_up(in.h, 2), swin__divide_up(in.w, 2),
                             p->config->stage[stage + 1].width);
    l.norm = p->weights->stage[stage].merge_norm;
    l.linear = p->weights->stage[stage].merge;
    l.post_norm = swin__shape_of(p->config, stage).post_norm;
    madds = 4.0 * in.c * l.out.c;
    pixels = swin__pixels(&l.out);
    job.units = swin__units(pixels, 4 * madds, SWIN__MANY);
    job.scratch = (uint64_t)(swin__divide_up(pixels, job.units) + 1) *
                  (uint64_t)swin__padded(4 * in.c);
    job.madds = madds * pixels;
    if (job.units < SWIN__MANY / 4) swin__plan_merge_steps(p, stage, l);
    else swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* --- patch expanding: a pixel becomes 2x2, norm ----------------------------------------------- */

/* Where merging had padded an odd side of the finer map, the pixels of the padding are dropped. */
typedef struct swin__expand_layer {
    swin__fmap in, out;         /* out: of half the channels */
    swin__affine norm;
    swin__linear linear;
} swin__expand_layer;

/* Expands a share of the pixels: to each a product, whose four parts are normed into their
   places. */
static void swin__expand(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__expand_layer *l = (const swin__expand_layer *)s->layer;
    const swin__fmap *in = &l->in, *out = &l->out;
    int col_count = 4 * out->c, from, to;
    swin__rows factor, expanded;        /* 16 floats more: a norm takes whole registers */
    swin__share(swin__pixels(in), s->units, unit, &from, &to);
    expanded = swin__make_rows(scratch, swin__padded(col_count) + 16, to - from, col_count);
    factor = swin__factor(c, &l->linear.weight, swin__map_rows(in, from, to - from),
                          swin__row(expanded, expanded.n));
    swin__apply(c, &l->linear, factor, expanded, SWIN__LINEAR);
    for (int i = 0; i < expanded.n; i++) {
        float *row = swin__row(expanded, i);
        swin__clear(row + expanded.ld - 16, 16);
        for (int k = 0; k < 4; k++) {
            int y = 2 * ((from + i) / in->w) + k / 2, x = 2 * ((from + i) % in->w) + k % 2;
            if (y < out->h && x < out->w)
                swin__norm_rows(c, &l->norm, SWIN__EPS,
                                swin__make_rows(row + k * out->c, 0, 1, out->c),
                                swin__map_rows(out, y * out->w + x, 1));
        }
    }
}

/* Expands `in` to the h x w map of `level`. */
static swin__fmap swin__plan_expand(swin__plan *p, int level, swin__fmap in, int h, int w)
{
    double madds = 2.0 * in.c * in.c;
    swin__expand_layer l = { in, swin__alloc_fmap(p, h, w, in.c / 2),
                             p->weights->up[level].expand_norm, p->weights->up[level].expand };
    swin__job job = { "expand", level, swin__expand, 0, 0, madds * swin__pixels(&in) };
    int rows;
    job.units = swin__units(swin__pixels(&in), madds, SWIN__MANY);
    rows = swin__divide_up(swin__pixels(&in), job.units) + 1;
    job.scratch = swin__floats(rows, swin__padded(2 * in.c) + 16) +
                  swin__factor_room(&l.linear.weight, rows, in.c);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* --- a Unet's last step: norm, each pixel becomes 4x4, norm, classes -----------------------------

   A row of the map is a unit, so that the expanded map never exists. */

typedef struct swin__final_layer {
    swin__fmap in, out;
    swin__affine norm, expand_norm;
    swin__linear expand, classify;
} swin__final_layer;

/* One row of the map: four rows of logits. */
static void swin__final(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__final_layer *l = (const swin__final_layer *)s->layer;
    const swin__fmap *in = &l->in, *out = &l->out;
    int e = in->c, w = in->w;
    swin__rows normed = swin__make_rows(scratch, in->ld, w, e);
    swin__rows expanded = swin__make_rows(swin__row(normed, w), 16 * e + 16, w, 16 * e);
    swin__rows pixels = swin__make_rows(swin__row(expanded, w), in->ld, 4 * w, e);
    swin__norm_rows(c, &l->norm, SWIN__EPS, swin__map_rows(in, unit * w, w), normed);
    swin__apply_to_own(c, &l->expand, normed, expanded, SWIN__LINEAR);
    for (int x = 0; x < w; x++) swin__clear(swin__row(expanded, x) + 16 * e, 16);
    for (int y = 0; y < 4; y++) {
        for (int x = 0; x < 4 * w; x++)
            swin__norm_rows(
                c, &l->expand_norm, SWIN__EPS,
                swin__make_rows(swin__row(expanded, x / 4) + (4 * y + x % 4) * e, 0, 1, e),
                swin__rows_from(pixels, x, 1));
        swin__apply_to_own(c, &l->classify, pixels,
                           swin__map_rows(out, (4 * unit + y) * out->w, out->w), SWIN__LINEAR);
    }
}

/* Plans a Unet's last step; returns the logits. */
static swin__fmap swin__plan_final(swin__plan *p, swin__fmap in)
{
    const swin__weights *w = p->weights;
    swin__final_layer l = { in, swin__alloc_fmap(p, 4 * in.h, 4 * in.w, p->config->classes),
                            w->final_norm, w->final_expand_norm, w->final_expand, w->classify };
    double madds = 16.0 * in.w * in.c * (in.c + l.out.c);
    swin__job job = { "final", 0, swin__final, in.h, 0, madds * in.h };
    job.scratch = swin__floats(in.w, 5 * in.ld + 16 * in.c + 16);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* -------------------------------------------------------------------------- */
/* >>mit: SegFormer's backbone - overlapping patches, reduced keys, Mix-FFN

   Xie et al., "SegFormer: Simple and Efficient Design for Semantic
   Segmentation with Transformers", 2021. */

/* --- patches of a map: the embedding between stages, and the keys of attention ---------------- */

/* out = after(W patch + b), of patches of kernel x kernel pixels, `stride` apart, the first of
   which starts `padding` pixels before the map; beyond it lie zeros. In one step, or the patches
   alone where the product is a step of its own. */
typedef struct swin__patches_layer {
    swin__fmap in, out;
    swin__fmap cells;           /* [pixels of out][kernel * kernel * in.c], of the latter way */
    int kernel, stride, padding;
    const swin__affine *before; /* a norm that pixels go through first, or NULL */
    swin__linear linear;
    swin__affine after;
    float eps;                  /* of `after` */
} swin__patches_layer;

/* Copies patch number `index` to a row. room: for a norm's pixels, [kernel][in.ld]. */
static void swin__gather_patch(const swin_context *c, const swin__patches_layer *l, int index,
                               float *to, float *room)
{
    const swin__fmap *in = &l->in;
    int top = index / l->out.w * l->stride - l->padding;
    int left = index % l->out.w * l->stride - l->padding, from = swin__max(0, -left);
    int n = swin__min(l->kernel, in->w - left) - from;
    swin__clear(to, swin__padded(l->kernel * l->kernel * in->c));
    for (int y = swin__max(0, -top); y < l->kernel && top + y < in->h; y++) {
        swin__rows pixels = swin__map_rows(in, (top + y) * in->w + left + from, n);
        float *at = to + (y * l->kernel + from) * in->c;
        if (l->before) {
            pixels.data = room;
            swin__norm_rows(c, l->before, c->model->config.eps,
                            swin__map_rows(in, (top + y) * in->w + left + from, n), pixels);
        }
        for (int i = 0; i < n; i++) swin__copy(at + i * in->c, swin__row(pixels, i), in->c);
    }
}

/* The patches from `first` on, to rows. */
static void swin__gather_rows_of_patches(const swin_context *c, const swin__patches_layer *l,
                                         int first, swin__rows to, float *room)
{
    for (int i = 0; i < to.n; i++) swin__gather_patch(c, l, first + i, swin__row(to, i), room);
}

/* Gathers a share of the patches, where the product is a step of its own. */
static void swin__patch_cells(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__patches_layer *l = (const swin__patches_layer *)s->layer;
    int from, to;
    swin__rows cells;
    swin__share(swin__pixels(&l->cells), s->units, unit, &from, &to);
    cells = swin__map_rows(&l->cells, from, to - from);
    swin__gather_rows_of_patches(c, l, from, cells, scratch);
    swin__factor(c, &l->linear.weight, cells, NULL);
}

/* A share of the patches: gathers, multiplies, norms. */
static void swin__patches(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__patches_layer *l = (const swin__patches_layer *)s->layer;
    int k = l->linear.weight.inputs, from, to;
    swin__rows cells, out;
    swin__share(swin__pixels(&l->out), s->units, unit, &from, &to);
    cells = swin__make_rows(scratch, swin__padded(k), to - from, k);
    out = swin__map_rows(&l->out, from, to - from);
    swin__gather_rows_of_patches(c, l, from, cells, swin__row(cells, cells.n));
    swin__apply_to_own(c, &l->linear, cells, out, SWIN__LINEAR);
    swin__norm_rows(c, &l->after, l->eps, out, out);
}

/* Plans patches in steps of gathering, products and norms. */
static void swin__plan_patch_steps(swin__plan *p, const char *name, int stage,
                                   swin__patches_layer l)
{
    swin__norm_layer norm = { l.out, l.out, l.after, l.eps, 0, 0 };
    swin__job job = { name, stage, swin__patch_cells, 0, swin__floats(l.kernel, l.in.ld), 0 };
    swin__dense_layer dense;
    l.cells = swin__alloc_factor(p, l.out.h, l.out.w, l.linear.weight.inputs);
    job.units = swin__divide_up(swin__pixels(&l.out), SWIN__CELLS);
    swin__add_step(p, &job, &l, sizeof l);
    dense = swin__make_dense(l.cells.data, l.cells.ld, l.linear, l.out);
    dense.ready = 1;
    swin__plan_dense(p, name, stage, dense);
    swin__add_norm(p, stage, &norm);
    swin__release(p, l.cells.data);
}

/* Plans patches in one step or, where that would offer few units and columns offer more, in
   several. */
static void swin__plan_patches(swin__plan *p, const char *name, int stage, swin__patches_layer l)
{
    int pixels = swin__pixels(&l.out), k = l.linear.weight.inputs;
    int groups = swin__divide_up(pixels, SWIN__DENSE_ROWS), pairs = swin__divide_up(l.out.c, 32);
    double madds = (double)k * l.out.c;
    int units = swin__units(pixels, madds, SWIN__MANY);
    swin__job job = { name, stage, swin__patches, units, 0, madds * pixels };
    if (units < SWIN__MANY / 4 && units < groups * pairs) {
        swin__plan_patch_steps(p, name, stage, l);
        return;
    }
    job.scratch = swin__floats(swin__divide_up(pixels, units) + 1, swin__padded(k)) +
                  swin__floats(l.kernel, l.in.ld);
    swin__add_step(p, &job, &l, sizeof l);
}

/* Plans the patch embedding between stage - 1, whose feature this is, and a stage. */
static swin__fmap swin__plan_embed_stage(swin__plan *p, int stage, swin__fmap in)
{
    const swin_mit_config *g = &p->config->mit;
    swin__patches_layer l;
    memset(&l, 0, sizeof l);
    l.in = in;
    l.kernel = g->kernel[stage];
    l.stride = g->stride[stage];
    l.padding = l.kernel / 2;
    l.out = swin__alloc_fmap(p, swin__divide_up(in.h, l.stride), swin__divide_up(in.w, l.stride),
                             p->config->stage[stage].width);
    l.linear = p->weights->stage[stage].embed;
    l.after = p->weights->stage[stage].embed_norm;
    l.eps = swin__eps(g->eps);
    swin__plan_patches(p, "embed", stage, l);
    return l.out;
}

/* --- attention to reduced keys: x = x + proj(softmax(q k) v) -------------------------------------

   q comes from norm(x), k and v from the same or, where keys are patches, from these. */

/* The keys of a block of the streaming softmax: all those of an input of 512 x 512. */
enum { SWIN__REDUCED_KEYS = 256 };

typedef struct swin__reduced_layer {
    swin__shape shape;
    const swin__block *block;
    swin__fmap x;
    swin__fmap kv;              /* of 2 * packed */
    float *keys;                /* [heads][lanes/16][dp][16], lanes: pixels of kv, padded to 16 */
    swin__fmap q, mixed;        /* of packed, in steps of products */
} swin__reduced_layer;

/* The keys of one head. */
static float *swin__reduced_keys(const swin__reduced_layer *l, int head)
{
    return l->keys + swin__offset(head, swin__padded(swin__pixels(&l->kv))) * (size_t)l->shape.dp;
}

/* Transposes 16 keys of all heads. */
static void swin__transpose_keys(const swin_context *c, const swin__step *s, int unit,
                                 float *scratch)
{
    const swin__reduced_layer *l = (const swin__reduced_layer *)s->layer;
    int first = 16 * unit, n = swin__min(16, swin__pixels(&l->kv) - first), dp = l->shape.dp;
    (void)scratch;
    for (int h = 0; h < l->shape.heads; h++)
        c->kernels->transpose(swin__reduced_keys(l, h) + swin__offset(first, dp),
                              swin__pixel(&l->kv, first) + h * dp, (size_t)l->kv.ld, n, dp);
}

/* Some queries of head h, rows of all heads, against all keys. */
static void swin__attend_reduced(const swin_context *c, const swin__reduced_layer *l, int h,
                                 swin__rows q, swin__rows out, float *scratch)
{
    int at = h * l->shape.dp;
    swin__stream t;
    memset(&t, 0, sizeof t);
    t.keys = swin__reduced_keys(l, h);
    t.depth = l->shape.dp;
    t.v = l->kv.data + l->shape.packed + at;
    t.ldv = (size_t)l->kv.ld;
    t.block = SWIN__REDUCED_KEYS;
    for (int i = 0; i < q.n; i += SWIN__GLOBAL_QUERIES) {
        int n = swin__min(SWIN__GLOBAL_QUERIES, q.n - i);
        t.q = swin__rows_from(q, i, n);
        t.q.data += at;
        t.out = swin__rows_from(out, i, n);
        t.out.data += at;
        t.out.c = l->shape.dp;
        swin__stream_room(&t, scratch);
        swin__stream_keys(c, &t, swin__pixels(&l->kv));
    }
}

/* The attention of a share of the pixels, all heads: norm, q, the streams, projection, sum. */
static void swin__reduced_attention(const swin_context *c, const swin__step *s, int unit,
                                    float *scratch)
{
    const swin__reduced_layer *l = (const swin__reduced_layer *)s->layer;
    const swin__block *block = l->block;
    int packed = l->shape.packed, ld = swin__max(l->x.ld, packed);
    float eps = c->model->config.eps;
    swin__rows x = swin__unit_rows(&l->x, s, unit);
    swin__rows in = swin__make_rows(scratch, ld, x.n, x.c), mixed = in;
    swin__rows q = swin__make_rows(swin__row(in, x.n), ld, x.n, packed), projected = q;
    swin__product proj;
    swin__norm_factor(c, &block->q.weight, &block->norm1, eps, x, in);
    swin__apply(c, &block->q, in, q, SWIN__LINEAR);
    mixed.c = packed;
    for (int h = 0; h < l->shape.heads; h++)
        swin__attend_reduced(c, l, h, q, mixed, swin__row(q, x.n));
    mixed = swin__factor(c, &block->proj.weight, mixed, NULL);
    projected.c = x.c;
    proj = swin__rows_product(&block->proj, mixed, projected, SWIN__LINEAR);
    proj.onto = x.data;
    proj.ldo = x.ld;
    swin__multiply(c, &proj);
}

/* One head of a share of the queries, between the products. */
static void swin__reduced_head(const swin_context *c, const swin__step *s, int unit,
                               float *scratch)
{
    const swin__reduced_layer *l = (const swin__reduced_layer *)s->layer;
    int heads = l->shape.heads, from, to;
    swin__share(swin__pixels(&l->q), s->units / heads, unit / heads, &from, &to);
    swin__attend_reduced(c, l, unit % heads, swin__map_rows(&l->q, from, to - from),
                         swin__map_rows(&l->mixed, from, to - from), scratch);
}

/* Plans what keys and values come from: norm1 of x, or patches of it. */
static swin__fmap swin__plan_reduce(swin__plan *p, int stage, const swin__block *block,
                                    swin__fmap x)
{
    const swin_mit_config *g = &p->config->mit;
    int side = g->reduction[stage];
    swin__patches_layer l;
    if (side == 1) return swin__plan_norm(p, stage, x, block->norm1, p->config->eps);
    memset(&l, 0, sizeof l);
    l.in = x;
    l.out = swin__alloc_fmap(p, x.h / side, x.w / side, x.c);
    l.kernel = l.stride = side;
    l.before = &block->norm1;
    l.linear = block->reduce;
    l.after = block->reduce_norm;
    l.eps = swin__eps(g->eps);
    swin__plan_patches(p, "reduce", stage, l);
    return l.out;
}

/* Plans keys and values, which the caller releases. */
static void swin__plan_reduced_keys(swin__plan *p, int stage, swin__reduced_layer *l)
{
    swin__fmap from = swin__plan_reduce(p, stage, l->block, l->x);
    int pixels = swin__pixels(&from);
    swin__job job = { "keys", stage, swin__transpose_keys, swin__divide_up(pixels, 16), 0, 0 };
    l->kv = swin__alloc_fmap(p, from.h, from.w, 2 * l->shape.packed);
    swin__plan_dense(p, "kv", stage, swin__make_dense(from.data, from.ld, l->block->kv, l->kv));
    swin__release(p, from.data);
    l->keys = swin__alloc(p, swin__floats(swin__padded(pixels), l->shape.packed));
    swin__add_step(p, &job, l, sizeof *l);
}

/* Plans attention to keys that are there, in steps of products and heads. */
static void swin__plan_reduced_steps(swin__plan *p, int stage, swin__reduced_layer l, double madds)
{
    int groups = swin__divide_up(swin__pixels(&l.x), SWIN__GLOBAL_QUERIES);
    swin__branch branch = swin__make_branch(p, stage, l.x, l.block->norm1);
    swin__job job = { "attention", stage, swin__reduced_head, l.shape.heads * groups,
                      swin__stream_scratch(SWIN__REDUCED_KEYS), madds };
    l.q = swin__plan_branch(p, &branch, "q", l.block->q, SWIN__LINEAR, l.shape.packed);
    l.mixed = swin__alloc_fmap(p, l.x.h, l.x.w, l.shape.packed);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, l.q.data);
    swin__plan_return(p, &branch, "proj", l.mixed, l.block->proj, l.shape.packed);
    swin__release(p, l.mixed.data);
}

/* Plans attention, in place on x: in one step or, where that would offer few units, in several. */
static void swin__plan_reduced(swin__plan *p, int stage, const swin__block *block, swin__fmap x)
{
    int side = p->config->mit.reduction[stage], pixels = swin__pixels(&x), units, rows;
    swin__job job = { "attention", stage, swin__reduced_attention, 0, 0, 0 };
    swin__reduced_layer l;
    double products, streams;
    if (x.h < side || x.w < side) {
        p->status = swin__fail(p->err, SWIN_SIZE, "the map of stage %d is %d x %d, smaller than "
                               "the patches of %d x %d that its keys are: take a larger input",
                               stage, x.w, x.h, side, side);
        return;
    }
    memset(&l, 0, sizeof l);
    l.shape = swin__shape_of(p->config, stage);
    l.block = block;
    l.x = x;
    swin__plan_reduced_keys(p, stage, &l);
    products = 2.0 * x.c * x.c;
    streams = 2.0 * x.c * swin__pixels(&l.kv);
    units = swin__units(pixels, products + streams, SWIN__MANY);
    if (units < SWIN__MANY) swin__plan_reduced_steps(p, stage, l, streams * pixels);
    else {
        rows = swin__divide_up(pixels, units);
        job.units = units;
        job.scratch = swin__floats(2 * rows + 2, swin__max(x.ld, l.shape.packed)) +
                      swin__stream_scratch(SWIN__REDUCED_KEYS);
        job.madds = (products + streams) * pixels;
        swin__add_step(p, &job, &l, sizeof l);
    }
    swin__release(p, l.kv.data);
    swin__release(p, l.keys);
}

/* --- Mix-FFN: x + fc2(GELU(depthwise 3x3(fc1(norm(x))))) -----------------------------------------

   A unit takes a tile of the map, whose ring of one pixel is computed anew, and some hidden columns
   at a time: the hidden map never exists whole. */

enum { SWIN__MIX_SIDE = 16 };       /* of a tile at most: the ring adds a quarter to fc1 */
/* Hidden columns at a time: a tile's stay in the second cache. For fc2 so many have a scale of
   their own where they are quantised, which makes the number part of what is computed. */
enum { SWIN__MIX_COLUMNS = 128 };

typedef struct swin__mix_layer {
    swin__fmap x, out;
    swin__fmap hidden;          /* what fc1 makes, where it is a step of its own; out: [hidden] */
    const swin__block *block;
    int columns_hidden, col_count;      /* hidden columns, and how many at a time */
    int down, across;           /* tiles along the map's sides */
} swin__mix_layer;

/* A tile of a map: h x w pixels from (y, x) on. Its ring has a pixel more on each side. */
typedef struct swin__tile { int y, x, h, w; } swin__tile;

static swin__tile swin__tile_of(const swin__fmap *map, int down, int across, int index)
{
    swin__tile t;
    int bottom, right;
    swin__share(map->h, down, index / across, &t.y, &bottom);
    swin__share(map->w, across, index % across, &t.x, &right);
    t.h = bottom - t.y;
    t.w = right - t.x;
    return t;
}

/* The pixels of row r of the ring that lie in the map: how many, the first one's number in the map,
   and its place in the row. */
static int swin__ring_pixels(const swin__fmap *map, const swin__tile *t, int r, int *pixel,
                             int *place)
{
    int y = t->y + r - 1, left = swin__max(0, t->x - 1), right = swin__min(map->w, t->x + t->w + 1);
    *place = left - (t->x - 1);
    *pixel = y * map->w + left;
    return y < 0 || y >= map->h ? 0 : right - left;
}

/* Zeros where the ring, rows of pixels, lies beyond the map. */
static void swin__clear_beyond(const swin__fmap *map, const swin__tile *t, swin__rows ring)
{
    for (int r = 0; r < t->h + 2; r++) {
        int pixel, place, n = swin__ring_pixels(map, t, r, &pixel, &place), end = place + n;
        int first = r * (t->w + 2);
        swin__clear_rows(swin__rows_from(ring, first, place));
        swin__clear_rows(swin__rows_from(ring, first + end, t->w + 2 - end));
    }
}

/* The normed pixels of a tile and its ring. */
static void swin__gather_ring(const swin_context *c, const swin__mix_layer *l, const swin__tile *t,
                              swin__rows to)
{
    const swin__affine *norm = &l->block->norm2;
    float eps = c->model->config.eps;
    for (int r = 0; r < t->h + 2; r++) {
        int pixel, place, n = swin__ring_pixels(&l->x, t, r, &pixel, &place);
        swin__rows rows = swin__rows_from(to, r * (t->w + 2) + place, n);
        if (!n) continue;
        swin__norm_factor(c, &l->block->fc1.weight, norm, eps, swin__map_rows(&l->x, pixel, n),
                          rows);
    }
    swin__clear_beyond(&l->x, t, to);
}

/* to [h][w] = GELU(depthwise(ring)), to.c hidden columns from `first` on. */
static void swin__depthwise_tile(const swin_context *c, const swin__mix_layer *l,
                                 const swin__tile *t, int first, swin__rows ring, swin__rows to)
{
    for (int y = 0; y < t->h; y++)
        c->kernels->depthwise(swin__row(to, y * t->w), to.ld, swin__row(ring, y * (t->w + 2)),
                              ring.ld, (size_t)(t->w + 2) * ring.ld, t->w, swin__padded(to.c),
                              l->block->depthwise + first, (size_t)swin__padded(l->columns_hidden),
                              l->block->depthwise_bias + first);
}

/* The Mix-FFN of a tile. */
static void swin__mix_tile(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__mix_layer *l = (const swin__mix_layer *)s->layer;
    const swin__tile t = swin__tile_of(&l->x, l->down, l->across, unit);
    int ring = (t.h + 2) * (t.w + 2), area = t.h * t.w;
    swin__rows in = swin__make_rows(scratch, l->x.ld, ring, l->x.c);
    swin__rows middle = swin__make_rows(swin__row(in, ring), l->col_count, ring, l->col_count);
    swin__rows spread = swin__make_rows(swin__row(middle, ring), l->col_count, area, l->col_count);
    swin__rows out = swin__make_rows(swin__row(spread, area), l->x.ld, area, l->x.c);
    swin__gather_ring(c, l, &t, in);
    for (int h = 0; h < l->columns_hidden; h += l->col_count) {
        swin__linear fc1 = l->block->fc1, fc2 = l->block->fc2;
        swin__product down;
        fc1.weight = swin__panels_from(fc1.weight, h, 0);
        fc1.bias += h;
        fc2.weight = swin__panels_from(fc2.weight, 0, h);
        middle.c = spread.c = swin__min(l->col_count, l->columns_hidden - h);
        swin__apply(c, &fc1, in, middle, SWIN__LINEAR);
        swin__clear_beyond(&l->x, &t, middle);
        swin__depthwise_tile(c, l, &t, h, middle, spread);
        down = swin__rows_product(&fc2, swin__factor(c, &fc2.weight, spread, NULL), out,
                                  SWIN__LINEAR);
        if (h) down.init = out.data, down.ldi = out.ld;
        swin__multiply(c, &down);
    }
    for (int y = 0; y < t.h; y++) {
        int pixel = (t.y + y) * l->x.w + t.x;
        swin__rows to = swin__map_rows(&l->out, pixel, t.w);
        swin__copy_rows(c, to, swin__map_rows(&l->x, pixel, t.w));
        swin__add_rows(c, to, swin__rows_from(out, y * t.w, t.w));
    }
}

/* Between the products: some columns of a tile of the hidden map. */
static void swin__mix_hidden(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__mix_layer *l = (const swin__mix_layer *)s->layer;
    int tiles = l->down * l->across, first = unit / tiles * l->col_count;
    const swin__tile t = swin__tile_of(&l->hidden, l->down, l->across, unit % tiles);
    int col_count = swin__min(l->col_count, l->columns_hidden - first);
    swin__rows ring = swin__make_rows(scratch, l->col_count, (t.h + 2) * (t.w + 2), col_count);
    swin__clear_beyond(&l->hidden, &t, ring);
    for (int r = 0; r < t.h + 2; r++) {
        int pixel, place, n = swin__ring_pixels(&l->hidden, &t, r, &pixel, &place);
        swin__rows from;
        if (!n) continue;
        from = swin__make_rows(swin__pixel(&l->hidden, pixel) + first, l->hidden.ld, n, col_count);
        swin__copy_rows(c, swin__rows_from(ring, r * (t.w + 2) + place, n), from);
    }
    for (int y = 0; y < t.h; y++) {
        const swin__tile row = { 0, 0, 1, t.w };
        swin__rows to = swin__make_rows(swin__pixel(&l->out, (t.y + y) * l->out.w + t.x) + first,
                                        l->out.ld, t.w, col_count);
        swin__depthwise_tile(c, l, &row, first, swin__rows_from(ring, y * (t.w + 2), 3 * (t.w + 2)),
                             to);
    }
}

/* Plans a Mix-FFN in steps of products and of hidden columns, in place on x. */
static void swin__plan_mix_steps(swin__plan *p, int stage, swin__mix_layer l)
{
    swin__branch branch = swin__make_branch(p, stage, l.x, l.block->norm2);
    int chunks = swin__divide_up(l.columns_hidden, l.col_count);
    swin__job job = { "depthwise", stage, swin__mix_hidden, l.down * l.across * chunks, 0,
                      9.0 * swin__pixels(&l.x) * l.columns_hidden };
    job.scratch = swin__floats((SWIN__MIX_SIDE + 2) * (SWIN__MIX_SIDE + 2), l.col_count);
    l.hidden = swin__plan_branch(p, &branch, "fc1", l.block->fc1, SWIN__LINEAR, l.columns_hidden);
    l.out = swin__alloc_factor(p, l.x.h, l.x.w, l.columns_hidden);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, l.hidden.data);
    swin__plan_return(p, &branch, "fc2", l.out, l.block->fc2, SWIN__MIX_COLUMNS);
    swin__release(p, l.out.data);
}

/* Plans a Mix-FFN by tiles or, where these are few, in steps; returns the map that replaces x. */
static swin__fmap swin__plan_mix(swin__plan *p, int stage, const swin__block *block, swin__fmap x)
{
    int hidden = p->config->stage[stage].hidden, ring = SWIN__MIX_SIDE + 2;
    swin__job job = { "mlp", stage, swin__mix_tile, 0, 0, 0 };
    swin__mix_layer l;
    memset(&l, 0, sizeof l);
    l.x = x;
    l.block = block;
    l.columns_hidden = hidden;
    l.col_count = swin__min(swin__padded(hidden), SWIN__MIX_COLUMNS);
    l.down = swin__divide_up(x.h, SWIN__MIX_SIDE);
    l.across = swin__divide_up(x.w, SWIN__MIX_SIDE);
    job.units = l.down * l.across;
    if (job.units < SWIN__MANY / 4) {
        swin__plan_mix_steps(p, stage, l);
        return x;
    }
    l.out = swin__alloc_fmap(p, x.h, x.w, x.c);
    job.scratch = swin__floats(2 * ring * ring, x.ld + l.col_count);
    job.madds = (2.0 * x.c + 9) * hidden * swin__pixels(&x);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, x.data);
    return l.out;
}

/* -------------------------------------------------------------------------- */
/* >>conv: convolutions and pooling                                           */

/* --- pixels, and sums of them ----------------------------------------------------------------- */

static float *swin__at(const swin__fmap *map, int y, int x)
{
    return swin__pixel(map, y * map->w + x);
}

static int swin__inside(const swin__fmap *map, int y, int x)
{
    return y >= 0 && x >= 0 && y < map->h && x < map->w;
}

/* A sum of rows, each times its coef: of 16 at most, as two bilinear resizes in sequence mix four
   pixels along each axis. */
enum { SWIN__MIXED = 16 };
typedef struct swin__mix {
    int count;
    const float *from[SWIN__MIXED];
    float coef[SWIN__MIXED];
} swin__mix;

/* Writes n floats of the sum to `to`; onto: adds them to what is there. */
static void swin__combine(const swin_context *c, const swin__mix *mix, int n, float *to, int onto)
{
    c->kernels->combine(to, n, mix->from, mix->coef, mix->count, onto);
}

/* A map that a layer reads as it is or, if resized, as rows.count x cols.count pixels, which are
   computed along the axes when they are read. */
typedef struct swin__source {
    swin__fmap map;
    int resized;
    int first;                  /* its first channel, counted through the channels of all sources
                                   of a convolution in the order of the weights */
    swin__axis rows, cols;
    int down, right;            /* a convolution reads it so many pixels further on */
} swin__source;

/* *mix = pixel (y, x) of a resized source, its channels from `channel` on. */
static void swin__resized_pixel(const swin__source *source, int y, int x, int channel,
                                swin__mix *mix)
{
    const swin__axis *rows = &source->rows, *cols = &source->cols;
    int count = 0;
    for (int ty = y * rows->taps; ty < (y + 1) * rows->taps; ty++) {
        for (int tx = x * cols->taps; tx < (x + 1) * cols->taps; tx++) {
            mix->from[count] = swin__at(&source->map, rows->at[ty], cols->at[tx]) + channel;
            mix->coef[count++] = rows->coef[ty] * cols->coef[tx];
        }
    }
    mix->count = count;
}

/* Applies an activation, of which these layers have only ReLU, to rows. */
static void swin__rectify(const swin_context *c, int act, swin__rows rows)
{
    if (act == SWIN__RELU) c->kernels->relu(rows.data, rows.ld, rows.n, swin__padded(rows.c));
}

/* --- 1x1 convolutions ------------------------------------------------------------------------- */

/* out = act(W in + b), plus other maps resized to its size: out = act(W in + b) + sum, or with
   act_last act(W in + b + sum). */
typedef struct swin__linear_layer {
    swin__fmap in, out;
    swin__linear linear;
    int act, act_last;
    int added;                  /* maps, of out's channels */
    swin__source add[SWIN_MAX_STAGES];
} swin__linear_layer;

/* The pixels from `first` on, to rows `out`: their product, then what the other maps add to each.
   room: for the factor of the product, if it is quantised. */
static void swin__linear_rows(const swin_context *c, const swin__linear_layer *l, int first,
                              swin__rows out, float *room)
{
    swin__rows in = swin__factor(c, &l->linear.weight, swin__map_rows(&l->in, first, out.n), room);
    swin__apply(c, &l->linear, in, out, l->act_last ? SWIN__LINEAR : l->act);
    for (int n = 0; n < l->added; n++) {
        for (int i = 0; i < out.n; i++) {
            swin__mix mix;
            swin__resized_pixel(&l->add[n], (first + i) / l->in.w, (first + i) % l->in.w, 0, &mix);
            swin__combine(c, &mix, (int)out.ld, swin__row(out, i), 1);
        }
    }
    if (l->act_last) swin__rectify(c, l->act, out);
}

/* A share of the pixels. */
static void swin__linear_map(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__linear_layer *l = (const swin__linear_layer *)s->layer;
    int from, to;
    swin__share(swin__pixels(&l->out), s->units, unit, &from, &to);
    swin__linear_rows(c, l, from, swin__map_rows(&l->out, from, to - from), scratch);
}

/* The layer, and memory for its output; maps may be added before swin__add_linear adds its step. */
static swin__linear_layer swin__make_linear(swin__plan *p, swin__fmap in, int channels,
                                            swin__linear linear, int act)
{
    swin__linear_layer l;
    memset(&l, 0, sizeof l);
    l.in = in;
    l.out = swin__alloc_fmap(p, in.h, in.w, channels);
    l.linear = linear;
    l.act = act;
    return l;
}

/* Adds a map to the layer, resized along axes as long as the output's sides. */
static void swin__add_resized(swin__linear_layer *l, swin__fmap map, swin__axis rows,
                              swin__axis cols)
{
    swin__source *add = &l->add[l->added++];
    add->map = map;
    add->resized = 1;
    add->rows = rows;
    add->cols = cols;
}

/* The same by bilinear axes. */
static void swin__add_bilinear(swin__plan *p, swin__linear_layer *l, swin__fmap map, int aligned)
{
    const swin__fmap *out = &l->out;
    swin__axis rows = swin__axis_bilinear(p, map.h, out->h, 0, out->h, aligned);
    swin__add_resized(l, map, rows, swin__axis_bilinear(p, map.w, out->w, 0, out->w, aligned));
}

/* Adds the step of a layer to which all maps have been added. */
static void swin__add_linear(swin__plan *p, const char *name, int level,
                             const swin__linear_layer *l)
{
    double madds = (double)l->in.c * l->out.c;
    int pixels = swin__pixels(&l->in);
    swin__job job = { name, level, swin__linear_map, swin__units(pixels, madds, SWIN__MANY), 0,
                      madds * pixels };
    job.scratch = swin__factor_room(&l->linear.weight, swin__divide_up(pixels, job.units), l->in.c);
    swin__add_step(p, &job, l, sizeof *l);
}

/* Plans a layer to which no map is added; returns its output. */
static swin__fmap swin__plan_linear(swin__plan *p, const char *name, int level, swin__fmap in,
                                    int channels, swin__linear linear, int act)
{
    swin__linear_layer l = swin__make_linear(p, in, channels, linear, act);
    swin__add_linear(p, name, level, &l);
    return l.out;
}

/* --- GroupNorm over a map ------------------------------------------------------------------------

   x = act((x - mean) / sqrt(variance + eps) * weight + bias), mean and biased variance being those
   of a group of channels over all pixels. Three steps: the moments of each SWIN__MOMENT_PIXELS
   pixels, a number that is part of what is computed; from them a group's statistics, in double; and
   the map, in place. */

enum { SWIN__MOMENT_PIXELS = 64 };

typedef struct swin__group_norm_layer {
    swin__fmap x;
    swin__affine norm;
    int groups, act;
    float *moments;             /* [chunk][sum, spread][ld] */
    float *mean, *factor;       /* [ld], of each channel */
} swin__group_norm_layer;

/* The moments of one chunk of pixels. */
static void swin__group_moments(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    const swin__group_norm_layer *l = (const swin__group_norm_layer *)s->layer;
    float *sum = l->moments + swin__offset(2 * unit, l->x.ld);
    int from = unit * SWIN__MOMENT_PIXELS;
    int count = swin__min(SWIN__MOMENT_PIXELS, swin__pixels(&l->x) - from);
    (void)scratch;
    c->kernels->moments(sum, sum + l->x.ld, swin__pixel(&l->x, from), (size_t)l->x.ld, count,
                        l->x.ld);
}

/* The mean of channels [first, end) over all chunks and, given that mean, their variance. */
static double swin__group_statistic(const swin__group_norm_layer *l, int first, int end,
                                    const double *mean)
{
    int pixels = swin__pixels(&l->x), chunks = swin__divide_up(pixels, SWIN__MOMENT_PIXELS);
    double total = 0;
    for (int i = 0; i < chunks; i++) {
        const float *sum = l->moments + swin__offset(2 * i, l->x.ld), *spread = sum + l->x.ld;
        double n = swin__min(SWIN__MOMENT_PIXELS, pixels - i * SWIN__MOMENT_PIXELS);
        for (int k = first; k < end; k++) {
            double away = mean ? sum[k] / n - *mean : 0;
            total += mean ? spread[k] + swin__times(n, swin__times(away, away)) : sum[k];
        }
    }
    return total / ((double)pixels * (end - first));
}

/* The mean and the factor of one group's channels; the last group sets those of the padding. */
static void swin__group_statistics(const swin_context *c, const swin__step *s, int unit,
                                   float *scratch)
{
    const swin__group_norm_layer *l = (const swin__group_norm_layer *)s->layer;
    int size = l->x.c / l->groups, first = unit * size, end = first + size;
    double mean = swin__group_statistic(l, first, end, NULL);
    double variance = swin__group_statistic(l, first, end, &mean);
    float factor = 1 / sqrtf((float)variance + SWIN__EPS);
    (void)c;
    (void)scratch;
    for (int k = first; k < end; k++) {
        l->mean[k] = (float)mean;
        l->factor[k] = factor * l->norm.weight[k];
    }
    for (int k = l->x.c; unit + 1 == l->groups && k < l->x.ld; k++) l->mean[k] = l->factor[k] = 0;
}

/* Norms a share of the pixels. */
static void swin__group_normalise(const swin_context *c, const swin__step *s, int unit,
                                  float *scratch)
{
    const swin__group_norm_layer *l = (const swin__group_norm_layer *)s->layer;
    swin__rows x = swin__unit_rows(&l->x, s, unit);
    (void)scratch;
    c->kernels->normalise(x.data, x.ld, x.n, l->x.ld, l->mean, l->factor, l->norm.bias, l->act);
}

/* Plans the norm of a map in place, and ReLU, if act says so; groups divide the channels. */
static void swin__plan_group_norm(swin__plan *p, const char *name, int level, swin__fmap x,
                                  swin__affine norm, int groups, int act)
{
    int chunks = swin__divide_up(swin__pixels(&x), SWIN__MOMENT_PIXELS);
    swin__job moments = { name, level, swin__group_moments, chunks, 0, 0 };
    swin__job statistics = { name, level, swin__group_statistics, groups, 0, 0 };
    swin__job apply = { name, level, swin__group_normalise, 0, 0, 0 };
    swin__group_norm_layer l;
    l.x = x;
    l.norm = norm;
    l.groups = groups;
    l.act = act;
    l.moments = swin__alloc(p, swin__floats(2 * chunks, x.ld));
    l.mean = swin__alloc(p, swin__floats(2, x.ld));
    l.factor = l.mean + x.ld;
    apply.units = swin__divide_up(swin__pixels(&x), SWIN__NORM_ROWS);
    swin__add_step(p, &moments, &l, sizeof l);
    swin__add_step(p, &statistics, &l, sizeof l);
    swin__release(p, l.moments);
    swin__add_step(p, &apply, &l, sizeof l);
    swin__release(p, l.mean);
}

/* --- adaptive average pooling ----------------------------------------------------------------- */

/* A map's means over h x w bins, for several h x w. */
typedef struct swin__pool_layer { swin__fmap in, out[SWIN_MAX_POOLS]; } swin__pool_layer;

/* The pixels [from, to) of n that bin i of `bins` takes: neighbouring bins may share one. */
static void swin__bin(int i, int bins, int n, int *from, int *to)
{
    *from = i * n / bins;
    *to = swin__divide_up((i + 1) * n, bins);
}

/* The mean of one bin: a unit is a pixel of one of the outputs, counted from the first map on. */
static void swin__pool(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__pool_layer *l = (const swin__pool_layer *)s->layer;
    const swin__fmap *in = &l->in, *out = l->out;
    int top, bottom, left, right;
    swin__rows sum;
    float share;
    (void)scratch;
    for (; unit >= swin__pixels(out); out++) unit -= swin__pixels(out);
    swin__bin(unit / out->w, out->h, in->h, &top, &bottom);
    swin__bin(unit % out->w, out->w, in->w, &left, &right);
    sum = swin__map_rows(out, unit, 1);
    swin__clear_rows(sum);
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++)
            swin__add_rows(c, sum, swin__map_rows(in, y * in->w + x, 1));
    share = 1 / (float)((bottom - top) * (right - left));
    c->kernels->scale(sum.data, sum.ld, 1, out->ld, &share);
}

/* Pools `in` to scale[i] x scale[i] bins for each i < count, the maps out[i]. */
static void swin__plan_pools(swin__plan *p, swin__fmap in, const int *scale, int count,
                             swin__fmap *out)
{
    swin__job job = { "pool", -1, swin__pool, 0, 0, 0 };
    swin__pool_layer l;
    memset(&l, 0, sizeof l);
    l.in = in;
    for (int i = 0; i < count; i++) {
        out[i] = l.out[i] = swin__alloc_fmap(p, scale[i], scale[i], in.c);
        job.units += swin__pixels(&out[i]);
    }
    swin__add_step(p, &job, &l, sizeof l);
}

/* --- convolutions over concatenated maps ---------------------------------------------------------

   out = act(bias + sum over sources of W_s * resized(map_s)): kernel x kernel taps, zeros beyond
   the ends, the output as large as the resized sources. It is computed in four ways, which all are
   exact; swin__ways_of chooses by shapes:
   taps      a smaller map is multiplied by each of the nine taps at its own resolution; the nine
             results are resized, shifted and summed (resizing is linear and acts per channel, so it
             commutes with W_s);
   doubled   a map whose sides are both doubled: W_s is applied to its pixels with zeros between
             them, and the sums are smoothed afterwards;
   Winograd  F(6x6, 3x3): a fifth of the multiplications, for maps of many pixels; with weights of
             s8 F(4x4, 3x3), whose transforms leave more of eight bits, a quarter of them;
   direct    rows gathered for one tap after the other.
   All but the direct way are of 3 x 3 taps. All take a stride of 1 and as many zeros beyond the
   ends as keep the size; another stride or padding would be a source's, would enter the direct way
   in swin__gather, and would have to keep a convolution from the other ways. */

enum { SWIN__SOURCES = SWIN_MAX_STAGES + SWIN_MAX_POOLS };

/* A convolution of kernel x kernel taps over sources side by side, together `inputs` channels. */
typedef struct swin__conv {
    swin__fmap out;
    swin__panels weight;        /* [out.c][kernel][kernel][inputs] */
    const float *bias;
    int kernel, inputs;
    int act;                    /* SWIN__LINEAR or SWIN__RELU */
    int nearest;                /* resized pixels are the nearest ones, not bilinear */
    int sources;
    swin__source source[SWIN__SOURCES];
} swin__conv;

/* The channels that each of the chosen sources has, if they all have as many; else 0. */
static int swin__equal_channels(const swin__conv *conv, unsigned chosen)
{
    int all = -1;
    for (int i = 0; i < conv->sources; i++) {
        int n = conv->source[i].map.c;
        if (chosen >> i & 1) all = all < 0 || all == n ? n : 0;
    }
    return swin__max(all, 0);
}

/* The part of a convolution that one of the ways computes. */
typedef struct swin__part {
    const char *name;           /* of its steps, as is the level */
    int level;
    const swin__conv *conv;
    unsigned chosen;            /* bit i: source i belongs to it */
    int fresh;                  /* it is the first part to write the output: starts from the bias */
    int act;                    /* at its end: the convolution's own in the last part */
} swin__part;

static int swin__chosen(unsigned chosen, int source) { return chosen >> source & 1; }

/* The channels of the chosen sources before number `source`; with conv->sources, of all chosen. */
static int swin__channels_before(const swin__conv *conv, unsigned chosen, int source)
{
    int n = 0;
    for (int i = 0; i < source; i++)
        if (swin__chosen(chosen, i)) n += conv->source[i].map.c;
    return n;
}

static swin__job swin__part_job(const swin__part *part, swin__work work, int units,
                                uint64_t scratch, double madds)
{
    swin__job job = { part->name, part->level, work, units, scratch, madds };
    return job;
}

/* The weights without the outputs before `output`, a multiple of 16, from channel `first` of a
   tap. */
static swin__panels swin__conv_panels(const swin__conv *conv, int output, int tap, int first)
{
    return swin__panels_from(conv->weight, output, tap * conv->inputs + first);
}

/* The product to = one tap of the weights times rows of a source's channels. */
static swin__product swin__tap_product(const swin__conv *conv, const swin__source *source, int tap,
                                       swin__rows from, swin__rows to)
{
    swin__linear l;
    l.weight = swin__conv_panels(conv, 0, tap, source->first);
    l.bias = NULL;
    return swin__rows_product(&l, from, to, SWIN__LINEAR);
}

/* Channels first ... first + count - 1 of a source; count is a multiple of 16. */
typedef struct swin__slice { const swin__source *source; int first, count; } swin__slice;

/* Writes a slice of pixel (y, x), at the output's size, to a row; zeros beyond its ends. */
static void swin__fetch(const swin_context *c, const swin__conv *conv, const swin__slice *slice,
                        int y, int x, float *row)
{
    const swin__source *source = slice->source;
    y += source->down;
    x += source->right;
    if (!swin__inside(&conv->out, y, x)) {
        swin__clear(row, slice->count);
    } else if (!source->resized) {
        swin__copy(row, swin__at(&source->map, y, x) + slice->first, slice->count);
    } else {
        swin__mix mix;
        swin__resized_pixel(source, y, x, slice->first, &mix);
        swin__combine(c, &mix, slice->count, row, 0);
    }
}

/* --- taps ------------------------------------------------------------------------------------- */

/* Rows [tap][row] of three or nine taps, `tap` and `ld` floats apart. */
typedef struct swin__tap_rows { float *data; size_t tap, ld; } swin__tap_rows;

/* Takes memory for so many taps of n rows. */
static swin__tap_rows swin__alloc_taps(swin__plan *p, int taps, int n, int ld)
{
    swin__tap_rows rows;
    rows.data = swin__alloc(p, (uint64_t)taps * swin__floats(n, ld));
    rows.tap = swin__offset(n, ld);
    rows.ld = (size_t)ld;
    return rows;
}

static float *swin__tap_row(const swin__tap_rows *rows, int tap, int row)
{
    return rows->data + (size_t)tap * rows->tap + (size_t)row * rows->ld;
}

/* The products of a small map's pixels with the nine taps: [tap][pixel][out.ld]. */
typedef struct swin__tap_layer {
    const swin__conv *conv;
    const swin__source *source;
    swin__rows in;              /* the map's, quantised for weights of s8 */
    swin__tap_rows products;
} swin__tap_layer;

/* The product of one tap with a share of the pixels. */
static void swin__tap(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__tap_layer *l = (const swin__tap_layer *)s->layer;
    const swin__fmap *out = &l->conv->out;
    int tap = unit % 9, from, to;
    swin__product p;
    (void)scratch;
    swin__share(l->in.n, s->units / 9, unit / 9, &from, &to);
    p = swin__tap_product(l->conv, l->source, tap, swin__rows_from(l->in, from, to - from),
                          swin__make_rows(swin__tap_row(&l->products, tap, from), out->ld,
                                          to - from, out->c));
    swin__multiply(c, &p);
}

/* *mix = the sum over three taps of what an axis of one or two inputs makes of each tap's rows
   [tap][row], at most six: output at - 1 of the first tap's, output at of the second's, output
   at + 1 of the third's. Past the ends there is nothing or, with beyond, the last output once
   more. */
static void swin__three_taps(const swin__axis *axis, int at, int beyond,
                             const swin__tap_rows *rows, swin__mix *mix)
{
    int count = 0;
    for (int tap = 0; tap < 3; tap++) {
        int pixel = at + tap - 1, inside = swin__max(0, swin__min(pixel, axis->count - 1));
        if (pixel != inside && !beyond) continue;
        for (int t = inside * axis->taps; t < (inside + 1) * axis->taps; t++) {
            mix->from[count] = swin__tap_row(rows, tap, axis->at[t]);
            mix->coef[count++] = axis->coef[t];
        }
    }
    mix->count = count;
}

/* The sum of all small maps' products, resized and shifted. */
typedef struct swin__sum_layer {
    const swin__conv *conv;
    int fresh;
    swin__tap_rows products[SWIN__SOURCES];     /* data NULL: the source goes another way */
} swin__sum_layer;

/* Adds one source's products to row y of the output. They are resized along columns first, into
   scratch [column of taps][pixel][out.ld] at the source's width, then along rows. */
static void swin__sum_source(const swin_context *c, const swin__sum_layer *l, int source, int y,
                             float *scratch)
{
    const swin__fmap *out = &l->conv->out;
    const swin__source *from = &l->conv->source[source];
    const swin__tap_rows *products = &l->products[source];
    int length = from->map.w * out->ld;
    const swin__tap_rows line = { scratch, swin__offset(from->map.w, out->ld), products->ld };
    for (int kx = 0; kx < 3; kx++) {
        const swin__tap_rows column = { swin__tap_row(products, kx, 0), 3 * products->tap,
                                        line.tap };
        swin__mix mix;
        swin__three_taps(&from->rows, y, 0, &column, &mix);
        swin__combine(c, &mix, length, swin__tap_row(&line, kx, 0), 0);
    }
    for (int x = 0; x < out->w; x++) {
        swin__mix mix;
        swin__three_taps(&from->cols, x, 0, &line, &mix);
        swin__combine(c, &mix, out->ld, swin__at(out, y, x), 1);
    }
}

/* Makes row y of the output: what other ways have left there or, if this is the first, the bias,
   plus all sources' sums; then the activation. */
static void swin__sum_taps(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__sum_layer *l = (const swin__sum_layer *)s->layer;
    const swin__conv *conv = l->conv;
    const swin__fmap *out = &conv->out;
    for (int x = 0; l->fresh && x < out->w; x++)
        swin__copy(swin__at(out, y, x), conv->bias, out->ld);
    for (int i = 0; i < conv->sources; i++)
        if (l->products[i].data) swin__sum_source(c, l, i, y, scratch);
    swin__rectify(c, conv->act, swin__map_rows(out, y * out->w, out->w));
}

/* With weights of s8 adds the step that quantises rows, and makes *rows the quantised ones. Returns
   what to release after the products, or NULL. */
static float *swin__plan_quantised(swin__plan *p, const swin__part *part, swin__rows *rows)
{
    int ld = swin__quantised(rows->c);
    swin__quantise_layer q = { rows->data, NULL, (int)rows->ld, ld, rows->n, rows->c, rows->c };
    if (!swin__is_s8(part->conv->weight.type)) return NULL;
    rows->data = q.out = swin__alloc(p, swin__floats(rows->n, ld));
    rows->ld = (size_t)ld;
    swin__add_quantise(p, part->name, part->level, &q);
    return q.out;
}

/* Adds the step of source i's products; returns where they lie. */
static swin__tap_rows swin__plan_tap(swin__plan *p, const swin__part *part, int i)
{
    const swin__conv *conv = part->conv;
    int pixels = swin__pixels(&conv->source[i].map);
    double madds = (double)conv->source[i].map.c * conv->out.c;
    int shares = swin__units(pixels, madds, swin__divide_up(SWIN__MANY, 9));
    swin__job job = swin__part_job(part, swin__tap, 9 * shares, 0, 9 * madds * pixels);
    swin__rows rows = swin__map_rows(&conv->source[i].map, 0, pixels);
    swin__tap_layer l = { conv, &conv->source[i], rows, { NULL, 0, 0 } };
    float *room = swin__plan_quantised(p, part, &l.in);
    l.products = swin__alloc_taps(p, 9, pixels, conv->out.ld);
    swin__add_step(p, &job, &l, sizeof l);
    if (room) swin__release(p, room);
    return l.products;
}

/* Plans a step of products for each source, and one that adds them up. */
static void swin__plan_taps(swin__plan *p, const swin__part *part)
{
    const swin__conv *conv = part->conv;
    int widest = 0;
    swin__sum_layer l;
    swin__job job;
    memset(&l, 0, sizeof l);
    l.conv = conv;
    l.fresh = part->fresh;
    for (int i = 0; i < conv->sources; i++) {
        if (!swin__chosen(part->chosen, i)) continue;
        widest = swin__max(widest, conv->source[i].map.w);
        l.products[i] = swin__plan_tap(p, part, i);
    }
    job = swin__part_job(part, swin__sum_taps, conv->out.h,
                         swin__floats(3 * widest, conv->out.ld),
                         6.0 * swin__pixels(&conv->out) * conv->out.c);
    swin__add_step(p, &job, &l, sizeof l);
    for (int i = 0; i < conv->sources; i++)
        if (l.products[i].data) swin__release(p, l.products[i].data);
}

/* --- Winograd ------------------------------------------------------------------------------------

   A tile is 6 x 6 pixels of the output. They see 8 x 8 pixels of the input, which are transformed
   into 64 values a channel; so are the 3 x 3 taps of each pair of an input and an output. Value by
   value the tiles' [tile][input] times the weights' [input][output] are 64 sums a tile and output,
   which are transformed back into its pixels. The 64 places of a value are the planes, 8 x 8.

   The transforms rest on polynomials at pairs of points, p and -p, along each axis: three pairs for
   a whole tile. Where a map ends with fewer pixels more, its last tiles have two pairs or one and
   so fewer of the planes. Two taps along an axis make 7 pixels of 8. One tap makes a pixel of a
   pixel: no pairs, no transform, one plane.

   Weights, tiles and products are cut, so that they are near when they are read:
   a strip   is consecutive channels of the input, counted through the chosen sources: `depth` of
             them from channel `start`. Its weights, [plane][panel of 16 outputs][depth][16], are
             transformed once and kept while all blocks pass.
   a block   is consecutive tiles, `tiles` of them from tile `first`: [tile][plane][depth] when they
             are transformed.
   a group   is consecutive channels of the output, `col_count` of them from `column`: a block's
             products are [tile][plane][col_count] and go into the output before the next group's.
   The steps: for each strip its weights, for each block its tiles, for each group the products and
   the way back. Where one block and one group hold everything, the products of a strip go on from
   those of the strip before, and there is one way back, after the last. */

/* The most tiles, columns and weights of each: as many as let a UPerNet's other maps, not these,
   decide how much memory its workspace takes. */
enum {
    SWIN__TILES_A_BLOCK = 84,           /* rows of a product: whole microtiles of 14 or 6 */
    SWIN__COLUMNS_A_GROUP = 128,        /* a tile's products are 32 KiB then */
    SWIN__WEIGHTS_A_STRIP = 1 << 23     /* floats: of 256 channels and 512 outputs */
};

/* Channels of the input whose weights a unit transforms: a unit then writes 256 KiB. */
enum { SWIN__WEIGHTS_A_UNIT = 64 };

/* Planes, and tiles, lie 64 bytes further apart than they are long: most lengths are powers of two,
   and what is a power of two apart shares a few sets of the cache. */
enum { SWIN__SKEW = 16 };

static size_t swin__skewed(int floats) { return (size_t)floats + SWIN__SKEW; }

/* The floats from a tile to the next, where each has so many planes of so many floats. */
static size_t swin__tile_floats(int planes, int floats)
{
    return (size_t)planes * swin__skewed(floats) + SWIN__SKEW;
}

/* The floats of a plane of a strip's weights: [panel of 16 outputs][depth][16], or quads of 4 of
   the depth. */
static size_t swin__weight_plane(int depth, int outputs, int eight)
{
    return swin__offset(eight ? depth / 4 : depth, outputs) + SWIN__SKEW;
}

/* How `pixels` along one axis are cut into tiles: `count` whole ones of `side` pixels, which have
   `pairs` pairs of points and `values` values, and where pixels are left a last one with `rest`
   pairs. */
typedef struct swin__tile_axis {
    int pixels, count, side, pairs, values;
    int rest;                   /* 0: there is no last one */
} swin__tile_axis;

/* Cuts the pixels that filters of so many taps make. A tile that lacks one pixel counts as a whole
   one; one of fewer pixels has as few pairs as make them. Those of eight bits are whole ones. */
static swin__tile_axis swin__cut_axis(int pixels, int taps, int eight)
{
    swin__tile_axis t;
    int left;
    t.pixels = pixels;
    t.pairs = taps == 1 ? 0 : eight ? 2 : 3;
    t.values = swin__wino_values(t.pairs, eight);
    t.side = swin__wino_makes(t.pairs, taps);
    t.count = eight ? swin__divide_up(pixels, t.side) : taps > 1 ? (pixels + 1) / t.side : pixels;
    left = swin__max(0, pixels - t.side * t.count);
    t.rest = taps == 2 ? swin__max(left > 0, left / 2) : (left + 1) / 2;
    return t;
}

/* The tiles of a map. They are counted in this order: those of the last row, if it is not whole,
   but without the corner; from first_whole on the whole ones, row by row; from first_right on those
   of the last column, if it is not whole, and the corner. So those that have a plane follow one
   another. */
typedef struct swin__tiling {
    swin__tile_axis down, across;
    int first_whole, first_right;
    int count, planes;
} swin__tiling;

/* How many pixels filters of `taps` taps make along an axis of an output of `pixels`: three make
   all of them. Of a doubled map two make those between its own pixels, with one beyond each end,
   and one those at its own. */
static int swin__made(int pixels, int taps)
{
    return taps == 3 ? pixels : taps == 2 ? pixels / 2 + 1 : pixels / 2;
}

/* The tiles of an output, with so many taps along each axis. */
static swin__tiling swin__tiling_of(const swin__fmap *out, int taps_h, int taps_w, int eight)
{
    swin__tiling g;
    g.down = swin__cut_axis(swin__made(out->h, taps_h), taps_h, eight);
    g.across = swin__cut_axis(swin__made(out->w, taps_w), taps_w, eight);
    g.planes = g.down.values * g.across.values;
    g.first_whole = g.down.rest ? g.across.count : 0;
    g.first_right = g.first_whole + g.down.count * g.across.count;
    g.count = (g.down.count + (g.down.rest > 0)) * (g.across.count + (g.across.rest > 0));
    return g;
}

/* The first pixel that a tile makes, and its pairs of points along each axis. */
typedef struct swin__spot {
    int y, x, pairs_h, pairs_w;
} swin__spot;

/* The spot of a tile, counted in the tiling's order. */
static swin__spot swin__tile_spot(const swin__tiling *g, int tile)
{
    int right = tile >= g->first_right, whole = tile >= g->first_whole && !right;
    int at = tile - g->first_whole;
    int row = right ? tile - g->first_right : whole ? at / g->across.count : g->down.count;
    int column = right ? g->across.count : whole ? at % g->across.count : tile;
    swin__spot spot;
    spot.y = g->down.side * row;
    spot.x = g->across.side * column;
    spot.pairs_h = row < g->down.count ? g->down.pairs : g->down.rest;
    spot.pairs_w = column < g->across.count ? g->across.pairs : g->across.rest;
    return spot;
}

/* Of the tiles first ... first + tiles - 1 those that have this plane: first + from ...
   first + to - 1. */
static void swin__plane_tiles(const swin__tiling *g, int plane, int first, int tiles, int *from,
                              int *to)
{
    int bottom = swin__wino_has(plane / g->across.values, g->down.rest);
    int right = swin__wino_has(plane % g->across.values, g->across.rest);
    int start = bottom ? 0 : g->first_whole, end = right ? g->count : g->first_right;
    if (right && !bottom && g->down.rest && g->across.rest) end--;      /* not the corner */
    *from = swin__max(0, swin__min(start - first, tiles));
    *to = swin__max(*from, swin__min(end - first, tiles));
}

/* What all steps of a part share. */
typedef struct swin__winograd {
    const swin__conv *conv;
    unsigned chosen;
    int taps_h, taps_w;         /* three along each axis; of a doubled map two or one */
    int doubled;
    swin__tiling tiling;
    int depth;                  /* channels of the chosen sources, to be cut into strips */
    int strip, block, group;    /* the most channels, tiles and columns of one */
    int onward;                 /* the products of a strip go on from those of the one before */
    int eight;                  /* weights of s8: quads, and tiles of quantised rows */
    float *weights, *tiles, *products;
    float *scales;              /* with eight: the weights' scales, [plane][out.ld] */
} swin__winograd;

/* What one step works on: its strip (start, depth), block (first, tiles) and group (column,
   col_count). */
typedef struct swin__winograd_layer {
    const swin__winograd *all;
    int start, depth;
    int first, tiles;
    int column, col_count;
    int onward;                 /* there is a strip before, and the products go on from its own */
    int fresh, act;             /* on the way back: start from the bias, not from what is there; the
                                   activation */
    int stream;                 /* write past the caches, as the pixels wait for another strip */
} swin__winograd_layer;

static int swin__last_strip(const swin__winograd_layer *l)
{
    return l->start + l->depth == l->all->depth;
}

/* Where plane p of a block's tile t lies in `tiles`, whose planes have so many floats. */
static float *swin__tile_plane(const swin__winograd_layer *l, float *tiles, int t, int p,
                               int floats)
{
    return tiles + (size_t)t * swin__tile_floats(l->all->tiling.planes, floats) +
           (size_t)p * swin__skewed(floats);
}

/* The floats of a plane of a tile: its channels or, with eight, the quantised row of them. */
static int swin__tile_width(const swin__winograd *w, int depth)
{
    return w->eight ? swin__quantised(depth) : depth;
}

/* The strip's transformed weights of a plane. */
static swin__panels swin__plane_weights(const swin__winograd_layer *l, int plane)
{
    swin__panels panels;
    panels.data = l->all->weights + (size_t)plane * swin__weight_plane(
                                        l->depth, l->all->conv->out.ld, l->all->eight);
    panels.type = l->all->eight ? SWIN__S8 : SWIN__F32;
    panels.inputs = l->depth;
    panels.lead = 0;
    panels.scale = NULL;
    if (l->all->eight) panels.scale = l->all->scales + swin__offset(plane, l->all->conv->out.ld);
    return panels;
}

/* The channels of source i that belong to the strip; count 0: none do. */
static swin__slice swin__strip_slice(const swin__winograd_layer *l, int i)
{
    const swin__source *sources = l->all->conv->source;
    swin__slice slice = { &sources[i], 0, 0 };
    int before = swin__channels_before(l->all->conv, l->all->chosen, i), end;
    if (!swin__chosen(l->all->chosen, i)) return slice;
    slice.first = swin__max(0, l->start - before);
    end = swin__min(sources[i].map.c, l->start + l->depth - before);
    slice.count = swin__max(0, end - slice.first);
    return slice;
}

/* Transforms the weights of 16 outputs, a panel, and of SWIN__WEIGHTS_A_UNIT channels of a strip
   into that panel of all planes. */
static void swin__winograd_weights(const swin_context *c, const swin__step *s, int unit,
                                   float *scratch)
{
    const swin__winograd_layer *l = (const swin__winograd_layer *)s->layer;
    const swin__winograd *w = l->all;
    int panels = w->conv->out.ld / 16, output = unit % panels * 16;
    int low = unit / panels * SWIN__WEIGHTS_A_UNIT;
    int high = swin__min(low + SWIN__WEIGHTS_A_UNIT, l->depth);
    (void)scratch;
    for (int i = 0, at = 0; i < w->conv->sources; i++) {
        const swin__slice slice = swin__strip_slice(l, i);
        int from = swin__max(low, at), to = swin__min(high, at + slice.count);
        if (from < to) {
            const swin__panels taps = swin__conv_panels(
                w->conv, output, 0, slice.source->first + slice.first + from - at);
            c->kernels->wino_weights(w->weights + output * l->depth + 16 * from,
                                     swin__weight_plane(l->depth, w->conv->out.ld, 0),
                                     taps.data, taps.type, 16 * (size_t)w->conv->inputs, to - from,
                                     w->taps_h, w->taps_w);
        }
        at += slice.count;
    }
}

/* The same with weights of s8: a panel of all channels of a strip, which have one scale. A strip is
   of one source. */
static void swin__winograd_weights_8(const swin_context *c, const swin__step *s, int unit,
                                     float *scratch)
{
    const swin__winograd_layer *l = (const swin__winograd_layer *)s->layer;
    const swin__winograd *w = l->all;
    int output = 16 * unit;
    size_t plane = swin__weight_plane(l->depth, w->conv->out.ld, 1);
    (void)scratch;
    for (int i = 0; i < w->conv->sources; i++) {
        const swin__slice slice = swin__strip_slice(l, i);
        const swin__panels taps = swin__conv_panels(w->conv, output, 0,
                                                    w->conv->source[i].first + slice.first);
        float scale[16];
        if (!slice.count) continue;
        for (int n = 0; n < 16; n++) scale[n] = output + n < w->conv->out.c ? taps.scale[n] : 0;
        c->kernels->wino8_weights(w->weights + swin__offset(unit, 4 * l->depth), plane,
                                  w->scales + output, (size_t)w->conv->out.ld,
                                  (const float *)taps.data, 4 * (size_t)w->conv->inputs, scale,
                                  l->depth, w->taps_h, w->taps_w);
    }
}

/* Where the slice of pixel (y, x) of the input lies for a tile: in its map; in `spare`, where it is
   then resized to; or, beyond the ends, in `zeros`. Beyond a doubled map's ends are its last
   pixels. */
static const float *swin__seen(const swin_context *c, const swin__winograd *w,
                               const swin__slice *slice, int y, int x, const float *zeros,
                               float *spare)
{
    const swin__fmap *map = &slice->source->map;
    int down = y + slice->source->down, right = x + slice->source->right;
    if (w->doubled) {
        y = swin__max(0, swin__min(y, map->h - 1));
        x = swin__max(0, swin__min(x, map->w - 1));
        return swin__at(map, y, x) + slice->first;
    }
    if (!swin__inside(&w->conv->out, down, right)) return zeros;
    if (!slice->source->resized) return swin__at(map, down, right) + slice->first;
    swin__fetch(c, w->conv, slice, y, x, spare);
    return spare;
}

/* Transforms a tile of a block, source after source, and quantises it with eight. Scratch holds a
   row of zeros, the pixels of a resized source that the tile sees and, with eight, the planes that
   are to be quantised. */
static void swin__winograd_in(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__winograd_layer *l = (const swin__winograd_layer *)s->layer;
    const swin__winograd *w = l->all;
    const swin__spot spot = swin__tile_spot(&w->tiling, l->first + unit);
    int width = swin__tile_width(w, l->depth);
    float *tile = swin__tile_plane(l, w->tiles, unit, 0, width), *spare = scratch + l->depth;
    float *planes = w->eight ? scratch + (SWIN__WINO_PLANES + 1) * l->depth : tile, *to = planes;
    swin__clear(scratch, l->depth);
    for (int i = 0; i < w->conv->sources; i++) {
        const swin__slice slice = swin__strip_slice(l, i);
        const float *rows[SWIN__WINO_PLANES];
        if (!slice.count) continue;
        for (int k = 0; k < SWIN__WINO_PLANES; k++) {
            int down = k / SWIN__WINO_SIDE, across = k % SWIN__WINO_SIDE;
            int y = spot.y + down - (w->taps_h > 1), x = spot.x + across - (w->taps_w > 1);
            if (down >= swin__wino_takes(spot.pairs_h)) continue;
            if (across >= swin__wino_takes(spot.pairs_w)) continue;
            rows[k] = swin__seen(c, w, &slice, y, x, scratch, spare + k * slice.count);
        }
        c->kernels->wino_input(to, swin__skewed(l->depth), rows, slice.count, spot.pairs_h,
                               spot.pairs_w, w->eight);
        to += slice.count;
    }
    if (w->eight)
        c->kernels->quantise(tile, swin__skewed(width), planes, swin__skewed(l->depth),
                             w->tiling.planes, l->depth, 0);
}

/* The product of one plane for a share of a block's tiles, a group's columns. */
static void swin__winograd_product(const swin_context *c, const swin__step *s, int unit,
                                   float *scratch)
{
    const swin__winograd_layer *l = (const swin__winograd_layer *)s->layer;
    const swin__winograd *w = l->all;
    int planes = w->tiling.planes, plane = unit % planes, low, high, from, to;
    int width = swin__tile_width(w, l->depth);
    swin__product p;
    (void)scratch;
    swin__share(l->tiles, s->units / planes, unit / planes, &low, &high);
    swin__plane_tiles(&w->tiling, plane, l->first + low, high - low, &from, &to);
    if (from == to) return;
    memset(&p, 0, sizeof p);
    p.m = to - from;
    p.n = l->col_count;
    p.k = l->depth;
    p.lda = swin__tile_floats(planes, width);
    p.a = swin__tile_plane(l, w->tiles, low + from, plane, width);
    swin__use_panels(&p, swin__panels_from(swin__plane_weights(l, plane), l->column, 0));
    p.ldc = p.ldi = swin__tile_floats(planes, l->col_count);
    p.c = swin__tile_plane(l, w->products, low + from, plane, l->col_count);
    if (l->onward) p.init = p.c;
    if (plane + 1 < planes) {
        p.next_b = p.b + swin__weight_plane(l->depth, w->conv->out.ld, w->eight);
        p.next_c = p.c + swin__skewed(l->col_count);
    }
    swin__multiply(c, &p);
}

/* A doubled map's sums before they are smoothed, in the memory of the output. Those in row 2 y + 1
   and column 2 x + 1 are at the map's own pixel (y, x); those in other rows and columns lie between
   the map's pixels and beyond the ends. */
static swin__fmap swin__spread(const swin__fmap *out)
{
    swin__fmap map = *out;
    map.h++;
    map.w++;
    return map;
}

/* The way back of one tile of a block, for a group's columns: from products to pixels. */
static void swin__winograd_out(const swin_context *c, const swin__step *s, int unit,
                               float *scratch)
{
    const swin__winograd_layer *l = (const swin__winograd_layer *)s->layer;
    const swin__winograd *w = l->all;
    const swin__spot spot = swin__tile_spot(&w->tiling, l->first + unit);
    const swin__fmap out = w->doubled ? swin__spread(&w->conv->out) : w->conv->out;
    int taps = w->doubled ? 2 : 3;      /* an axis of one tap has no pairs: any number does */
    int made_h = swin__wino_makes(spot.pairs_h, taps);
    int made_w = swin__wino_makes(spot.pairs_w, taps);
    float *rows[SWIN__WINO_PLANES];
    swin__wino_output tile;
    (void)scratch;
    for (int k = 0; k < SWIN__WINO_PLANES; k++) {
        int down = k / SWIN__WINO_SIDE, across = k % SWIN__WINO_SIDE;
        int y = spot.y + down, x = spot.x + across;
        rows[k] = NULL;
        if (down >= made_h || across >= made_w) continue;
        if (y >= w->tiling.down.pixels || x >= w->tiling.across.pixels) continue;
        if (w->doubled) y = 2 * y + (w->taps_h == 1), x = 2 * x + (w->taps_w == 1);
        rows[k] = swin__at(&out, y, x) + l->column;
    }
    tile.rows = rows;
    tile.start = w->doubled ? NULL : w->conv->bias + l->column;
    tile.accumulate = !l->fresh;
    tile.act = l->act;
    tile.src = swin__tile_plane(l, w->products, unit, 0, l->col_count);
    tile.stride = swin__skewed(l->col_count);
    tile.n16 = l->col_count;
    tile.pairs_h = spot.pairs_h;
    tile.pairs_w = spot.pairs_w;
    tile.taps = taps;
    tile.uncached = l->stream;
    tile.eight = w->eight;
    c->kernels->wino_output(&tile);
}

/* The size of the parts when n things are cut into as few nearly equal parts of `most` as can
   be. */
static int swin__evenly(int n, int most)
{
    return swin__divide_up(n, swin__divide_up(n, most));
}

/* Cuts the channels into strips, the tiles into blocks, the columns into groups. Where tiles have
   fewer planes, a block has more tiles in proportion. What fits one block stays one, however few
   tiles the plan takes at a time: whether strips go on from earlier products decides bits, and
   memory must not. */
static void swin__cut(const swin__plan *p, swin__winograd *w)
{
    int count = w->tiling.count, col_count = w->conv->out.ld, whole;
    int times = SWIN__WINO_PLANES / w->tiling.planes, most = times * SWIN__TILES_A_BLOCK;
    int deepest = SWIN__WEIGHTS_A_STRIP / (w->tiling.planes * col_count);
    if (count > most) most = times * p->tiles;
    w->block = swin__evenly(count, most);
    w->strip = swin__padded(swin__evenly(w->depth, swin__max(deepest, 16)));
    if (w->eight) w->strip = swin__equal_channels(w->conv, w->chosen);
    w->group = swin__padded(swin__evenly(col_count, SWIN__COLUMNS_A_GROUP));
    whole = w->block == count;
    if (whole && times == 1) w->group = col_count;
    w->onward = whole && w->group == col_count;
}

static void swin__add_winograd(swin__plan *p, swin__job job, const swin__winograd_layer *l)
{
    swin__add_step(p, &job, l, sizeof *l);
}

/* Adds a strip's steps for one block: its tiles, and for each group the products and the way
   back. */
static void swin__add_block(swin__plan *p, const swin__part *part, swin__winograd_layer l)
{
    const swin__winograd *w = l.all;
    const swin__fmap *out = &w->conv->out;
    int planes = w->tiling.planes, shares = swin__divide_up(l.tiles, SWIN__TILES_A_BLOCK);
    int rows = 0;               /* of all planes' products */
    uint64_t scratch = swin__floats(SWIN__WINO_PLANES + 1, l.depth);
    if (w->eight) scratch += (size_t)planes * swin__skewed(l.depth);
    swin__add_winograd(p, swin__part_job(part, swin__winograd_in, l.tiles, scratch, 0), &l);
    for (int plane = 0, from, to; plane < planes; plane++) {
        swin__plane_tiles(&w->tiling, plane, l.first, l.tiles, &from, &to);
        rows += to - from;
    }
    for (l.column = 0; l.column < out->ld; l.column += w->group) {
        double madds;
        l.col_count = swin__min(w->group, out->ld - l.column);
        madds = (double)rows * l.depth * swin__min(l.col_count, out->c - l.column);
        swin__add_winograd(p, swin__part_job(part, swin__winograd_product, planes * shares, 0,
                                             madds), &l);
        if (w->onward && !swin__last_strip(&l)) continue;
        swin__add_winograd(p, swin__part_job(part, swin__winograd_out, l.tiles, 0, 0), &l);
    }
}

/* Adds the steps of the strip from channel `start` on: its weights, and all blocks. */
static void swin__add_strip(swin__plan *p, const swin__part *part, const swin__winograd *w,
                            int start)
{
    int panels = w->conv->out.ld / 16, last, shares;
    swin__winograd_layer l;
    memset(&l, 0, sizeof l);
    l.all = w;
    l.start = start;
    l.depth = swin__min(w->strip, w->depth - start);
    last = swin__last_strip(&l);
    l.onward = start > 0 && w->onward;
    l.fresh = part->fresh && (start == 0 || w->onward);
    l.stream = l.fresh && !last;
    l.act = last ? part->act : SWIN__LINEAR;
    shares = swin__divide_up(l.depth, SWIN__WEIGHTS_A_UNIT);
    if (w->eight) shares = 1;
    swin__add_winograd(p, swin__part_job(part, w->eight ? swin__winograd_weights_8
                                                        : swin__winograd_weights,
                                         panels * shares, 0, 0), &l);
    for (; l.first < w->tiling.count && p->status == SWIN_OK; l.first += w->block) {
        l.tiles = swin__min(w->block, w->tiling.count - l.first);
        swin__add_block(p, part, l);
    }
}

/* Plans a part, with so many taps along each axis: three, or of a doubled map two or one. */
static void swin__plan_winograd(swin__plan *p, const swin__part *part, int taps_h, int taps_w)
{
    const swin__conv *conv = part->conv;
    const swin__winograd *all;
    swin__winograd w;
    uint64_t block;
    memset(&w, 0, sizeof w);
    w.conv = conv;
    w.chosen = part->chosen;
    w.taps_h = taps_h;
    w.taps_w = taps_w;
    w.doubled = taps_h < 3;
    w.eight = swin__is_s8(conv->weight.type);
    w.tiling = swin__tiling_of(&conv->out, taps_h, taps_w, w.eight);
    w.depth = swin__channels_before(conv, w.chosen, conv->sources);
    swin__cut(p, &w);
    block = (uint64_t)w.block;
    w.weights = swin__alloc(p, (uint64_t)w.tiling.planes *
                                   swin__weight_plane(w.strip, conv->out.ld, w.eight));
    if (w.eight) w.scales = swin__alloc(p, swin__floats(w.tiling.planes, conv->out.ld));
    w.products = swin__alloc(p, block * swin__tile_floats(w.tiling.planes, w.group));
    w.tiles = swin__alloc(p, block * swin__tile_floats(w.tiling.planes,
                                                     swin__tile_width(&w, w.strip)));
    all = (const swin__winograd *)swin__keep_copy(p, &w, sizeof w);
    for (int start = 0; start < w.depth && p->status == SWIN_OK; start += w.strip)
        swin__add_strip(p, part, all, start);
    swin__release(p, w.weights);
    if (w.eight) swin__release(p, w.scales);
    swin__release(p, w.products);
    swin__release(p, w.tiles);
}

/* --- doubled -------------------------------------------------------------------------------------

   A bilinear resize by half-pixel centres that doubles both sides of a map is this: zeros between
   its pixels, then smoothing by [1 3 3 1] / 4 along each axis; beyond the ends are the last pixels.
   W commutes with smoothing. Applied before it, W meets only zeros but for one tap, at the map's
   own pixels, or two, between them, along each axis: four convolutions at the small size, which
   Winograd's F(7, 2) does with 1.15 multiplications a pixel where F(6, 3) takes 1.78, and with
   weights of s8 F(5, 2) with 1.21 where F(4, 3) takes 2.25.

   One correction is needed. The convolution has zeros beyond the ends of the doubled map, and these
   sums have the last pixels there: what they take from beyond an edge is subtracted. */

/* The edges of a map. */
enum { SWIN__TOP, SWIN__BOTTOM, SWIN__LEFT, SWIN__RIGHT, SWIN__EDGES };

static int swin__upright(int edge) { return edge == SWIN__LEFT || edge == SWIN__RIGHT; }

/* What the steps of the part share that do not belong to Winograd. */
typedef struct swin__doubled_layer {
    const swin__conv *conv;
    const swin__source *source;
    swin__rows in;              /* the map's pixels, quantised for weights of s8 */
    int act;
    /* The products of each edge's pixels with the three taps that meet it from beyond:
       [edge][tap][pixel][out.ld], every edge as long as the longest. */
    swin__tap_rows edges;
} swin__doubled_layer;

/* The products of one edge. */
static swin__tap_rows swin__edge_rows(const swin__doubled_layer *l, int edge)
{
    swin__tap_rows rows = l->edges;
    rows.data = swin__tap_row(&l->edges, 3 * edge, 0);
    return rows;
}

/* The sums at the map's own pixels, row y: one tap, the middle one. */
static void swin__on_pixels(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__doubled_layer *l = (const swin__doubled_layer *)s->layer;
    const swin__fmap *map = &l->source->map, sums = swin__spread(&l->conv->out);
    swin__rows to = swin__map_rows(&sums, (2 * y + 1) * sums.w + 1, map->w);
    swin__product p;
    (void)scratch;
    to.ld *= 2;
    p = swin__tap_product(l->conv, l->source, 4, swin__rows_from(l->in, y * map->w, map->w), to);
    swin__multiply(c, &p);
}

/* The products of an edge's pixels with one of the taps that meet it from beyond. */
static void swin__beyond(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    static const int taps[SWIN__EDGES][3] = {{0, 1, 2}, {6, 7, 8}, {0, 3, 6}, {2, 5, 8}};
    const swin__doubled_layer *l = (const swin__doubled_layer *)s->layer;
    const swin__fmap *map = &l->source->map, *out = &l->conv->out;
    int edge = unit / 3, tap = unit % 3, upright = swin__upright(edge);
    int y = edge == SWIN__BOTTOM ? map->h - 1 : 0, x = edge == SWIN__RIGHT ? map->w - 1 : 0;
    float *to = swin__tap_row(&l->edges, 3 * edge + tap, 0);
    swin__rows from = swin__rows_from(l->in, y * map->w + x, upright ? map->h : map->w);
    swin__product p;
    (void)scratch;
    if (upright) from.ld *= (size_t)map->w;
    p = swin__tap_product(l->conv, l->source, taps[edge][tap], from,
                          swin__make_rows(to, out->ld, from.n, out->c));
    swin__multiply(c, &p);
}

/* Channels first ... first + count - 1 of the output; count is a multiple of 16. */
typedef struct swin__columns { int first, count; } swin__columns;

/* Subtracts from pixel `at` along an edge what its sums took from beyond it; what they took from
   beyond a corner counts to top and bottom. */
static void swin__subtract_beyond(const swin_context *c, const swin__doubled_layer *l, int edge,
                                  int at, swin__columns part, float *to)
{
    int upright = swin__upright(edge);
    const swin__tap_rows products = swin__edge_rows(l, edge);
    swin__mix mix;
    swin__three_taps(upright ? &l->source->rows : &l->source->cols, at, !upright, &products, &mix);
    for (int i = 0; i < mix.count; i++) {
        mix.from[i] += part.first;
        mix.coef[i] = -mix.coef[i];
    }
    swin__combine(c, &mix, part.count, to, 1);
}

/* The factors of four neighbours in smoothing along an axis, and that of the bias. */
static const float swin__smoothing[5] = { 0.25f, 0.75f, 0.75f, 0.25f, 1.0f };

/* The row or column of the sums, 0 ... n, to read for number `at`, which may be one past the
   ends. */
static int swin__reflected(int at, int n) { return at < 0 ? 1 : at > n ? n - 1 : at; }

/* Smooths row y of the sums along the row, to a line of [out.w][part.count]. */
static void swin__smooth_line(const swin_context *c, const swin__fmap *out, int y,
                              swin__columns part, float *line)
{
    const swin__fmap sums = swin__spread(out);
    const float *from[4];
    for (int x = 0; x < out->w; x++) {
        for (int t = 0; t < 4; t++)
            from[t] = swin__at(&sums, y, swin__reflected(x + t - 1, out->w)) + part.first;
        for (int i = 0; i < part.count; i += 16) SWIN__PREFETCH(from[3] + 8 * out->ld + i);
        c->kernels->combine(line + x * part.count, part.count, from, swin__smoothing, 4, 0);
    }
}

/* Smooths down columns into row y of the output, and adds the bias; row k of the sums, smoothed
   along itself, is in smoothed[k % 4]. */
static void swin__smooth_down(const swin_context *c, const swin__doubled_layer *l, int y,
                              swin__columns part, float *const smoothed[4])
{
    const swin__fmap *out = &l->conv->out;
    int first = part.first, n = part.count;
    const float *from[5];
    from[4] = l->conv->bias + first;
    for (int x = 0; x < out->w; x++) {
        float *to = swin__at(out, y, x) + first;
        for (int t = 0; t < 4; t++)
            from[t] = smoothed[swin__reflected(y + t - 1, out->h) % 4] + x * n;
        c->kernels->combine(to, n, from, swin__smoothing, 5, 0);
        if (y == 0) swin__subtract_beyond(c, l, SWIN__TOP, x, part, to);
        if (y == out->h - 1) swin__subtract_beyond(c, l, SWIN__BOTTOM, x, part, to);
        if (x == 0) swin__subtract_beyond(c, l, SWIN__LEFT, y, part, to);
        if (x == out->w - 1) swin__subtract_beyond(c, l, SWIN__RIGHT, y, part, to);
    }
    swin__rectify(c, l->act, swin__make_rows(swin__at(out, y, 0) + first, out->ld, out->w, n));
}

/* The most channels that a unit smooths: four cache lines of each pixel. */
enum { SWIN__SMOOTHED = 64 };

/* Smooths some channels of all pixels, in place: a row of the output lies before the rows of the
   sums that are still to be read. Each row of the sums is smoothed along itself into one of four
   lines, where it stays as long as it is needed; four lines make a row of the output. */
static void swin__smooth(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__doubled_layer *l = (const swin__doubled_layer *)s->layer;
    const swin__fmap *out = &l->conv->out;
    swin__columns part;
    float *smoothed[4];
    int from, to;
    swin__share(out->ld / 16, s->units, unit, &from, &to);
    part.first = 16 * from;
    part.count = 16 * (to - from);
    for (int i = 0; i < 4; i++) smoothed[i] = scratch + i * out->w * part.count;
    for (int y = 0; y <= out->h + 1; y++) {
        if (y <= out->h) swin__smooth_line(c, out, y, part, smoothed[y % 4]);
        if (y >= 2) swin__smooth_down(c, l, y - 2, part, smoothed);
    }
}

/* Plans a part whose one source is a doubled map: the sums by Winograd and at its pixels, the
   products beyond the edges, smoothing. */
static void swin__plan_doubled(swin__plan *p, const swin__part *part, const swin__source *source)
{
    const swin__conv *conv = part->conv;
    const swin__fmap *map = &source->map, *out = &conv->out;
    int longer = swin__max(map->h, map->w);
    double madds = (double)map->c * out->c;
    swin__part between = *part;
    swin__rows pixels = swin__map_rows(map, 0, swin__pixels(map));
    swin__doubled_layer l = { conv, source, pixels, part->act, { NULL, 0, 0 } };
    float *room;
    swin__job job;
    between.act = SWIN__LINEAR;
    for (int way = 1; way < 4; way++) swin__plan_winograd(p, &between, 1 + way / 2, 1 + way % 2);
    room = swin__plan_quantised(p, part, &l.in);
    l.edges = swin__alloc_taps(p, 3 * SWIN__EDGES, longer, out->ld);
    job = swin__part_job(part, swin__on_pixels, map->h, 0, madds * swin__pixels(map));
    swin__add_step(p, &job, &l, sizeof l);
    job = swin__part_job(part, swin__beyond, 3 * SWIN__EDGES, 0, 6 * madds * (map->h + map->w));
    swin__add_step(p, &job, &l, sizeof l);
    job = swin__part_job(part, swin__smooth, swin__divide_up(out->ld, SWIN__SMOOTHED),
                         swin__floats(4 * out->w, SWIN__SMOOTHED),
                         8.0 * swin__pixels(out) * out->c);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, l.edges.data);
    if (room) swin__release(p, room);
}

/* --- direct ----------------------------------------------------------------------------------- */

/* The chosen sources, tap by tap. */
typedef struct swin__direct_layer {
    const swin__conv *conv;
    unsigned chosen;
    int act;
} swin__direct_layer;

/* Fills rows with the pixels of a source that a tap meets: one for each output pixel from `first`
   on. */
static void swin__gather(const swin_context *c, const swin__conv *conv, const swin__source *source,
                         int tap, int first, swin__rows rows)
{
    const swin__slice all = { source, 0, source->map.ld };
    int down = tap / conv->kernel - conv->kernel / 2;
    int across = tap % conv->kernel - conv->kernel / 2;
    for (int i = 0; i < rows.n; i++)
        swin__fetch(c, conv, &all, (first + i) / conv->out.w + down,
                    (first + i) % conv->out.w + across, swin__row(rows, i));
}

/* A share of the output's pixels: for each tap and source a product of the rows it meets. */
static void swin__direct(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__direct_layer *l = (const swin__direct_layer *)s->layer;
    const swin__conv *conv = l->conv;
    int from, to, last = conv->kernel * conv->kernel - 1, started = 0;
    swin__rows out;
    swin__share(swin__pixels(&conv->out), s->units, unit, &from, &to);
    out = swin__map_rows(&conv->out, from, to - from);
    for (int tap = 0; tap <= last; tap++) {
        for (int i = 0; i < conv->sources; i++) {
            const swin__source *source = &conv->source[i];
            const swin__rows in = swin__make_rows(scratch, source->map.ld, out.n, source->map.c);
            swin__product p;
            if (!swin__chosen(l->chosen, i)) continue;
            swin__gather(c, conv, source, tap, from, in);
            p = swin__tap_product(conv, source, tap, in, out);
            p.init = started ? p.c : conv->bias;
            p.ldi = started ? p.ldc : 0;
            if (tap == last && l->chosen >> i == 1) p.act = l->act;     /* no source comes after */
            started = 1;
            c->kernels->gemm(&p);
        }
    }
}

/* The pixels of a block, which lie in one row of the output. With weights of s8 a source's pixels
   that they see have one scale, so that the taps' sums add up as whole numbers. */
enum { SWIN__BLOCK_PIXELS = 64, SWIN__TAPS_MOST = 15 * 15 };

/* The first pixel of a block, and how many it has. */
typedef struct swin__block_place { int y, x, n; } swin__block_place;

/* The rows of a source's pixels that a block sees, [kernel][n + kernel - 1], quantised; data: room
   for them. */
static swin__rows swin__seen_by_block(const swin_context *c, const swin__conv *conv,
                                      const swin__source *source, const swin__block_place *at,
                                      float *data)
{
    const swin__slice all = { source, 0, source->map.ld };
    int wide = at->n + conv->kernel - 1, around = conv->kernel / 2;
    swin__rows rows = swin__make_rows(data, source->map.ld, conv->kernel * wide, source->map.c);
    for (int i = 0; i < rows.n; i++)
        swin__fetch(c, conv, &all, at->y + i / wide - around, at->x + i % wide - around,
                    swin__row(rows, i));
    c->kernels->quantise(rows.data, rows.ld, rows.data, rows.ld, rows.n, rows.c,
                         conv->kernel > 1);
    return rows;
}

/* Adds a source's products to a block's outputs, which start from init, [ldi]: all taps in one
   where each tap's weights start with a quad. */
static void swin__block_products(const swin_context *c, const swin__conv *conv,
                                 const swin__source *source, swin__rows seen, swin__product p)
{
    int taps = conv->kernel * conv->kernel, wide = seen.n / conv->kernel, act = p.act;
    int quads = conv->inputs % 4 == 0 && source->first % 4 == 0;
    size_t from[SWIN__TAPS_MOST];
    for (int t = 0; t < taps; t++)
        from[t] = (size_t)(t / conv->kernel * wide + t % conv->kernel) * seen.ld;
    p.k = seen.c;
    p.lda = seen.ld;
    for (int t = 0; t < taps; t += quads ? taps : 1) {
        swin__use_panels(&p, swin__conv_panels(conv, 0, t, source->first));
        p.a = seen.data + (quads ? 0 : from[t]);
        p.pieces = quads ? taps : 0;
        p.piece_a = from;
        p.piece_b = 4 * (size_t)conv->inputs;   /* quads of 4 inputs take 16 floats */
        p.act = quads || t + 1 == taps ? act : SWIN__LINEAR;
        swin__multiply(c, &p);
        p.init = p.c;
        p.ldi = p.ldc;
    }
}

/* A share of the blocks: for each chosen source the sum over all taps. */
static void swin__direct_blocks(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    const swin__direct_layer *l = (const swin__direct_layer *)s->layer;
    const swin__conv *conv = l->conv;
    int across = swin__divide_up(conv->out.w, SWIN__BLOCK_PIXELS), from, to;
    swin__share(conv->out.h * across, s->units, unit, &from, &to);
    for (; from < to; from++) {
        int x = from % across * SWIN__BLOCK_PIXELS;
        const swin__block_place at = { from / across, x,
                                       swin__min(SWIN__BLOCK_PIXELS, conv->out.w - x) };
        swin__product p;
        memset(&p, 0, sizeof p);
        p.m = at.n;
        p.n = conv->out.ld;
        p.c = swin__at(&conv->out, at.y, at.x);
        p.ldc = (size_t)conv->out.ld;
        p.init = conv->bias;
        for (int i = 0; i < conv->sources; i++) {
            const swin__source *source = &conv->source[i];
            if (!swin__chosen(l->chosen, i)) continue;
            p.act = l->chosen >> i == 1 ? l->act : SWIN__LINEAR;
            swin__block_products(c, conv, source,
                                 swin__seen_by_block(c, conv, source, &at, scratch), p);
            p.init = p.c;
            p.ldi = p.ldc;
        }
    }
}

/* Plans a part in one step. */
static void swin__plan_direct(swin__plan *p, const swin__part *part)
{
    const swin__conv *conv = part->conv;
    int eight = swin__is_s8(conv->weight.type);
    const swin__direct_layer l = { conv, part->chosen, part->act };
    int pixels = swin__pixels(&conv->out), widest = 0, units, rows;
    int depth = swin__channels_before(conv, part->chosen, conv->sources);
    double madds = (double)conv->kernel * conv->kernel * depth * conv->out.c;
    swin__job job;
    for (int i = 0; i < conv->sources; i++)
        if (swin__chosen(part->chosen, i)) widest = swin__max(widest, conv->source[i].map.ld);
    units = swin__units(pixels, madds, SWIN__MANY);
    rows = swin__divide_up(pixels, units) + 1;
    if (eight) units = swin__min(units, conv->out.h * swin__divide_up(conv->out.w,
                                                                      SWIN__BLOCK_PIXELS));
    if (eight) rows = conv->kernel * (SWIN__BLOCK_PIXELS + conv->kernel - 1);
    job = swin__part_job(part, eight ? swin__direct_blocks : swin__direct, units,
                         swin__floats(rows, widest), madds * pixels);
    swin__add_step(p, &job, &l, sizeof l);
}

/* --- which way -------------------------------------------------------------------------------- */

/* The fewest pixels of a map that is cut into tiles: too much of them hangs over the ends of a
   smaller one. The fewest channels in and out of it, and of a doubled map: narrower products do not
   repay the transforms, or the smoothing. */
enum { SWIN__TILED_PIXELS = 256, SWIN__TILED_CHANNELS = 32, SWIN__DOUBLED_CHANNELS = 64 };
/* The same with weights of s8, whose plain products take a quarter of the time. */
enum { SWIN__TILED_PIXELS_8 = 600, SWIN__TILED_CHANNELS_8 = 64 };

/* The way `taps` takes nine multiplications a pixel of the source. The other ways take nine a pixel
   of the output or, by Winograd, 1.78 and the transforms, about a fourth of that: then the source
   must be that much smaller. */
enum { SWIN__TAPS_GAIN = 4 };

/* Which source goes which way: bit i of taps and rest stands for source i. The rest goes by
   Winograd if tiled, else directly. doubled: the number of the source that goes so, or -1. */
typedef struct swin__ways { int tiled, doubled; unsigned taps, rest; } swin__ways;

/* Is Winograd worth its transforms? A tile holds the sources' channels side by side, so each fills
   whole vectors. */
static int swin__is_tiled(const swin__conv *conv)
{
    int pixels = SWIN__TILED_PIXELS, least = SWIN__TILED_CHANNELS;
    if (swin__is_s8(conv->weight.type)) {
        pixels = SWIN__TILED_PIXELS_8;
        least = SWIN__TILED_CHANNELS_8;
    }
    if (conv->kernel != 3 || swin__pixels(&conv->out) < pixels) return 0;
    if (conv->out.c < least) return 0;
    for (int i = 0; i < conv->sources; i++)
        if (conv->source[i].map.c % 16 || conv->source[i].map.c < least) return 0;
    return 1;
}

/* With weights of s8: do the weights of so many channels make a strip? */
static int swin__is_strip(const swin__conv *conv, int channels)
{
    uint64_t floats = SWIN__WINO8_PLANES * swin__floats(channels / 4, conv->out.ld);
    return channels && floats <= SWIN__WEIGHTS_A_STRIP;
}

/* Is a map doubled along each axis, bilinear by half-pixel centres, and are there channels
   enough? */
static int swin__is_doubled(const swin__conv *conv, const swin__fmap *map, int aligned)
{
    if (swin__is_s8(conv->weight.type) && !swin__is_strip(conv, map->c)) return 0;
    return !aligned && !conv->nearest && 2 * map->h == conv->out.h && 2 * map->w == conv->out.w &&
           map->c >= SWIN__DOUBLED_CHANNELS && conv->out.c >= SWIN__DOUBLED_CHANNELS;
}

/* Chooses the ways; plain: all sources go directly. */
static swin__ways swin__ways_of(const swin__conv *conv, int aligned, int plain)
{
    const int eight = swin__is_s8(conv->weight.type);
    swin__ways w = { !plain && swin__is_tiled(conv), -1, 0, 0 };
    for (int i = 0; i < conv->sources; i++) {
        const swin__source *s = &conv->source[i];
        int times = w.tiled ? SWIN__TAPS_GAIN : 1;
        int is_small = s->resized && times * swin__pixels(&s->map) < swin__pixels(&conv->out);
        if (!plain && conv->kernel == 3 && is_small) w.taps |= 1u << i;
        else if (w.tiled && w.doubled < 0 && swin__is_doubled(conv, &s->map, aligned))
            w.doubled = i;
        else w.rest |= 1u << i;
    }
    if (eight && !swin__is_strip(conv, swin__equal_channels(conv, w.rest))) w.tiled = 0;
    return w;
}

/* Makes the resized sources as large as the output. */
static void swin__resize_sources(swin__plan *p, swin__conv *conv, int aligned)
{
    const swin__fmap *out = &conv->out;
    for (int i = 0; i < conv->sources; i++) {
        swin__source *s = &conv->source[i];
        s->resized = s->map.h != out->h || s->map.w != out->w;
        if (!s->resized) continue;
        if (conv->nearest) {
            s->rows = swin__axis_nearest(p, s->map.h, out->h);
            s->cols = swin__axis_nearest(p, s->map.w, out->w);
        } else {
            s->rows = swin__axis_bilinear(p, s->map.h, out->h, 0, out->h, aligned);
            s->cols = swin__axis_bilinear(p, s->map.w, out->w, 0, out->w, aligned);
        }
    }
}

/* Takes memory for the output; with a doubled map for the sums, which are a row and a column
   more. */
static void swin__alloc_output(swin__plan *p, swin__fmap *out, int doubled)
{
    swin__fmap memory = doubled ? swin__spread(out) : *out;
    memory = swin__alloc_fmap(p, memory.h, memory.w, memory.c);
    out->ld = memory.ld;
    out->data = memory.data;
}

/* Adds the steps of `conv`, whose sources (map and first) and shape of `out` are set; returns the
   output. Its parts follow each other in this order: doubled, Winograd or direct, taps. */
static swin__fmap swin__plan_conv(swin__plan *p, const char *name, int level, swin__conv conv)
{
    int plain = !SWIN__REWRITES || (p->desc.flags & SWIN_RUN_DIRECT) != 0;
    int aligned = p->config->head.align_corners;
    swin__part part = { name, level, NULL, 0, 1, SWIN__LINEAR };
    swin__ways ways;
    swin__product_fits(p, "pixels of a map", conv.out.h, conv.out.w);
    if (p->status != SWIN_OK) conv.out.h = conv.out.w = 1;
    swin__resize_sources(p, &conv, aligned);
    ways = swin__ways_of(&conv, aligned, plain);
    swin__alloc_output(p, &conv.out, ways.doubled >= 0);
    part.conv = (const swin__conv *)swin__keep_copy(p, &conv, sizeof conv);
    if (SWIN__REWRITES && ways.doubled >= 0) {
        part.chosen = 1u << ways.doubled;
        part.act = ways.rest || ways.taps ? SWIN__LINEAR : conv.act;
        swin__plan_doubled(p, &part, &part.conv->source[ways.doubled]);
        part.fresh = 0;
    }
    if (ways.rest) {
        part.chosen = ways.rest;
        part.act = ways.taps ? SWIN__LINEAR : conv.act;
        if (SWIN__REWRITES && ways.tiled) swin__plan_winograd(p, &part, 3, 3);
        else swin__plan_direct(p, &part);
        part.fresh = 0;
    }
    if (SWIN__REWRITES && ways.taps) {
        part.chosen = ways.taps;
        part.act = conv.act;
        swin__plan_taps(p, &part);
    }
    return conv.out;
}

/* A convolution whose output is as large as the map `like`; the caller adds its sources. */
static swin__conv swin__make_conv(swin__linear linear, int kernel, int inputs, swin__fmap like,
                                  int channels)
{
    swin__conv conv;
    memset(&conv, 0, sizeof conv);
    conv.weight = linear.weight;
    conv.bias = linear.bias;
    conv.kernel = kernel;
    conv.inputs = inputs;
    conv.act = SWIN__RELU;
    conv.out = like;
    conv.out.c = channels;
    return conv;
}

/* Adds a map, whose channels count from `first` on in the order of the weights. */
static void swin__add_source(swin__conv *conv, swin__fmap map, int first)
{
    conv->source[conv->sources].map = map;
    conv->source[conv->sources].first = first;
    conv->sources++;
}

/* -------------------------------------------------------------------------- */
/* >>refine: layers of BiRefNet - the input as a map, deformable convolution, gates

   Zheng et al., "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", 2024. The
   network reads its input several times: as it is, at half its size, and cut into patches. So it is
   kept as a map of pixels without padding, [h][w][plane]. */

/* Row y of the network's input becomes that of the map. */
static void swin__keep_input(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__embed_layer *l = (const swin__embed_layer *)s->layer;
    const swin__crops *crops = &c->crops;
    int top = swin__crop_top(crops, c->crop), left = swin__crop_left(crops, c->crop);
    swin__input_row(c, l, top + y, scratch, scratch + 3 * c->desc.width);
    swin__copy(swin__at(&l->x, y, 0), scratch + 3 * left, 3 * l->x.w);
}

/* Plans the input as a map. */
static swin__fmap swin__plan_input(swin__plan *p)
{
    swin__job job = { "input", -1, swin__keep_input, p->crops.h, swin__input_scratch(&p->desc), 0 };
    swin__embed_layer l;
    memset(&l, 0, sizeof l);
    l.x = swin__alloc_rows(p, p->crops.h, p->crops.w, 3, 3);
    job.madds = 3.0 * swin__pixels(&l.x);
    swin__resize_input(p, &l);
    swin__add_step(p, &job, &l, sizeof l);
    return l.x;
}

/* A map of pixels without padding, resized. */
typedef struct swin__shrink_layer {
    swin__fmap in, out;
    swin__axis rows, cols;
} swin__shrink_layer;

/* Row y of the smaller map: two rows are mixed, then their pixels. */
static void swin__shrink(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__shrink_layer *l = (const swin__shrink_layer *)s->layer;
    const float *from[2] = { swin__at(&l->in, l->rows.at[2 * y], 0),
                             swin__at(&l->in, l->rows.at[2 * y + 1], 0) };
    float *to = swin__at(&l->out, y, 0);
    c->kernels->combine(scratch, 3 * l->in.w, from, l->rows.coef + 2 * y, 2, 0);
    for (int x = 0; x < l->out.w; x++) {
        const int *at = l->cols.at + 2 * x;
        const float *coef = l->cols.coef + 2 * x;
        for (int k = 0; k < 3; k++)
            *to++ = swin__timesf(coef[0], scratch[3 * at[0] + k]) +
                    swin__timesf(coef[1], scratch[3 * at[1] + k]);
    }
}

/* Plans the input at half its size; its rows are whole vectors. */
static swin__fmap swin__plan_half(swin__plan *p, swin__fmap in)
{
    swin__job job = { "half", -1, swin__shrink, in.h / 2, swin__floats(3, in.w), 0 };
    swin__shrink_layer l;
    l.in = in;
    l.out = swin__alloc_rows(p, in.h / 2, in.w / 2, 3, 3);
    l.rows = swin__axis_bilinear(p, in.h, l.out.h, 0, l.out.h, 1);
    l.cols = swin__axis_bilinear(p, in.w, l.out.w, 0, l.out.w, 1);
    job.madds = 3.0 * swin__pixels(&in);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* --- maps side by side, and patches side by side ---------------------------------------------- */

/* out = the channels of one map, then those of another, resized to its size. */
typedef struct swin__join_layer { swin__fmap first, out; swin__source second; } swin__join_layer;

static void swin__join(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__join_layer *l = (const swin__join_layer *)s->layer;
    int first = l->first.c, both = first + l->second.map.c;
    for (int x = 0; x < l->out.w; x++) {
        float *to = swin__at(&l->out, y, x);
        swin__mix mix;
        swin__resized_pixel(&l->second, y, x, 0, &mix);
        swin__combine(c, &mix, l->second.map.ld, scratch, 0);
        swin__copy(to, swin__at(&l->first, y, x), first);
        swin__copy(to + first, scratch, l->second.map.c);
        swin__clear(to + both, l->out.ld - both);
    }
}

static swin__fmap swin__plan_join(swin__plan *p, int stage, swin__fmap first, swin__fmap second)
{
    swin__job job = { "join", stage, swin__join, first.h, (uint64_t)second.ld, 0 };
    swin__join_layer l;
    memset(&l, 0, sizeof l);
    l.first = first;
    l.out = swin__alloc_fmap(p, first.h, first.w, first.c + second.c);
    l.second.map = second;
    l.second.rows = swin__axis_bilinear(p, second.h, first.h, 0, first.h, 1);
    l.second.cols = swin__axis_bilinear(p, second.w, first.w, 0, first.w, 1);
    job.madds = 4.0 * swin__pixels(&first) * second.c;
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* The input cut into grid x grid patches, which lie above each other: channel
   (row*grid + column)*3 + plane of a pixel is that of the patch in this row and column. */
typedef struct swin__stack_layer { swin__fmap in, out; int grid; } swin__stack_layer;

static void swin__stack(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__stack_layer *l = (const swin__stack_layer *)s->layer;
    (void)c;
    (void)scratch;
    for (int patch = 0; patch < l->grid * l->grid; patch++) {
        int row = patch / l->grid, column = patch % l->grid;
        const float *from = swin__at(&l->in, row * l->out.h + y, column * l->out.w);
        float *to = swin__at(&l->out, y, 0) + 3 * patch;
        for (int x = 0; x < l->out.w; x++, to += l->out.ld) swin__copy(to, from + 3 * x, 3);
    }
    for (int x = 0; x < l->out.w; x++)
        swin__clear(swin__at(&l->out, y, x) + l->out.c, l->out.ld - l->out.c);
}

/* Plans the input's patches, each as large as a map of this level. */
static swin__fmap swin__plan_stack(swin__plan *p, int level, swin__fmap in, int grid)
{
    swin__job job = { "stack", level, swin__stack, in.h / grid, 0, 0 };
    swin__stack_layer l;
    l.in = in;
    l.grid = grid;
    l.out = swin__alloc_fmap(p, in.h / grid, in.w / grid, 3 * grid * grid);
    job.madds = 3.0 * swin__pixels(&in);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* --- deformable convolution ----------------------------------------------------------------------

   Dai et al., "Deformable Convolutional Networks", 2017, and its second version, 2019: each tap of
   each pixel reads the map at an offset of its own, in fractions of pixels, and has a factor of its
   own. Here a branch is one such convolution with ReLU, and the layer that fuses all branches
   follows at once: out (+)= F relu(bias + W samples). Only the samples of the pixels at hand
   exist, some taps at a time: the left matrix of a product, whose sums go on from tap to tap. */

typedef struct swin__dcn_layer {
    swin__fmap in, out;
    swin__fmap told;            /* of each pixel (row, column) a tap, then what makes the factors */
    int kernel, taps;           /* taps at a time */
    swin__linear branch;
    swin__panels fuse;          /* the branch's share, */
    int fused;                  /* of so many inputs */
    int first;                  /* the first branch: its sums start from `start`, [out.ld] */
    const float *start;
    int act;
} swin__dcn_layer;

/* What a unit of it works with, for so many pixels. */
typedef struct swin__dcn_scratch {
    swin__rows factors, samples, made;
    float *y, *x;               /* of each tap */
} swin__dcn_scratch;

/* The floats from the samples of a pixel to those of the next: the last tap is a whole row. */
static int swin__samples_ld(const swin__dcn_layer *l)
{
    return swin__padded(l->taps * l->in.c + 16);
}

static swin__dcn_scratch swin__cut_scratch(const swin__dcn_layer *l, int n, float *scratch)
{
    int taps = swin__padded(l->kernel * l->kernel), made = l->fused;
    swin__dcn_scratch t;
    t.y = scratch;
    t.x = t.y + taps;
    t.factors = swin__make_rows(t.x + taps, taps, n, l->kernel * l->kernel);
    t.samples = swin__make_rows(swin__row(t.factors, n), swin__samples_ld(l), n, 0);
    t.made = swin__make_rows(swin__row(t.samples, n), swin__padded(made), n, made);
    return t;
}

/* The factors of pixels from `first` on: twice the sigmoid. */
static void swin__dcn_factors(const swin_context *c, const swin__dcn_layer *l, int first,
                              swin__rows factors)
{
    for (int i = 0; i < factors.n; i++) {
        float *to = swin__row(factors, i);
        swin__copy(to, swin__pixel(&l->told, first + i) + 2 * factors.c, factors.c);
        swin__clear(to + factors.c, (int)factors.ld - factors.c);
    }
    c->kernels->sigmoid(factors.data, factors.ld, factors.n, (int)factors.ld);
    c->kernels->add(factors.data, factors.ld, factors.data, factors.ld, factors.n,
                    (int)factors.ld);
}

/* Samples the map for `taps` taps of a pixel from tap `tap` on: [tap][channel], side by side. */
static void swin__dcn_samples(const swin_context *c, const swin__dcn_layer *l, int pixel,
                              int tap, int taps, const swin__dcn_scratch *t,
                              const float *factors, float *to)
{
    const float *offset = swin__pixel(&l->told, pixel) + 2 * tap;
    const swin__samples samples = { l->in.data, (size_t)l->in.ld, l->in.h, l->in.w, taps,
                                    t->y, t->x, factors + tap };
    int y = pixel / l->in.w - l->kernel / 2, x = pixel % l->in.w - l->kernel / 2;
    for (int i = 0; i < taps; i++) {
        int row = y + (tap + i) / l->kernel, col = x + (tap + i) % l->kernel;
        t->y[i] = (float)row + offset[2 * i];
        t->x[i] = (float)col + offset[2 * i + 1];
    }
    c->kernels->sample(to, (size_t)l->in.c, swin__padded(l->in.c), &samples, 0);
}

/* The branch's outputs for pixels from `first` on. */
static void swin__dcn_branch(const swin_context *c, const swin__dcn_layer *l, int first,
                             const swin__dcn_scratch *t)
{
    int all = l->kernel * l->kernel;
    for (int tap = 0; tap < all; tap += l->taps) {
        int taps = swin__min(l->taps, all - tap);
        swin__rows samples = t->samples;
        swin__linear part = l->branch;
        swin__product p;
        samples.c = taps * l->in.c;
        for (int i = 0; i < samples.n; i++)
            swin__dcn_samples(c, l, first + i, tap, taps, t, swin__row(t->factors, i),
                              swin__row(samples, i));
        part.weight = swin__panels_from(part.weight, 0, tap * l->in.c);
        p = swin__rows_product(&part, samples, t->made,
                               tap + taps == all ? SWIN__RELU : SWIN__LINEAR);
        if (tap) p.init = p.c, p.ldi = p.ldc;
        c->kernels->gemm(&p);
    }
}

/* A share of the pixels: the branch, and its share of the layer that fuses all. */
static void swin__dcn(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__dcn_layer *l = (const swin__dcn_layer *)s->layer;
    swin__linear fuse = { l->fuse, l->start };
    swin__dcn_scratch t;
    swin__product p;
    swin__rows out;
    int from, to;
    swin__share(swin__pixels(&l->out), s->units, unit, &from, &to);
    t = swin__cut_scratch(l, to - from, scratch);
    out = swin__map_rows(&l->out, from, to - from);
    swin__dcn_factors(c, l, from, t.factors);
    swin__dcn_branch(c, l, from, &t);
    p = swin__rows_product(&fuse, t.made, out, l->act);
    if (!l->first) p.init = p.c, p.ldi = p.ldc;
    c->kernels->gemm(&p);
}

/* The most numbers of a pixel that are sampled at a time: the samples of a unit then stay in the
   second cache. */
enum { SWIN__SAMPLED = 512 };

/* Adds the step of a branch; `in`, `out`, `told`, `kernel`, weights, `start` and `act` are set. */
static void swin__plan_dcn(swin__plan *p, int level, swin__dcn_layer l)
{
    int area = l.kernel * l.kernel, made = l.fused, pixels = swin__pixels(&l.out), rows;
    double madds = (double)made * (area * l.in.c + l.out.c);
    swin__job job = { "deform", level, swin__dcn, swin__units(pixels, madds, SWIN__MANY), 0,
                      madds * pixels };
    l.taps = swin__evenly(area, swin__max(1, SWIN__SAMPLED / l.in.c));
    rows = swin__divide_up(pixels, job.units);
    job.scratch = swin__floats(rows + 2, swin__padded(area)) +
                  swin__floats(rows, swin__samples_ld(&l) + swin__padded(made));
    swin__add_step(p, &job, &l, sizeof l);
}

/* --- gates ------------------------------------------------------------------------------------ */

/* x *= sigmoid(W in + b), one factor a pixel. */
typedef struct swin__gate_layer { swin__fmap x, in; swin__linear linear; } swin__gate_layer;

static void swin__gate(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__gate_layer *l = (const swin__gate_layer *)s->layer;
    swin__rows x = swin__unit_rows(&l->x, s, unit), in = swin__unit_rows(&l->in, s, unit);
    const swin__rows gates = swin__make_rows(scratch, 16, x.n, 1);
    swin__apply(c, &l->linear, in, gates, SWIN__LINEAR);
    c->kernels->sigmoid(gates.data, gates.ld, gates.n, 16);
    for (int i = 0; i < x.n; i++) scratch[i] = *swin__row(gates, i);
    c->kernels->scale(x.data, x.ld, x.n, (int)x.ld, scratch);
}

static void swin__plan_gate(swin__plan *p, int level, swin__fmap x, swin__fmap in,
                            swin__linear linear)
{
    const swin__gate_layer l = { x, in, linear };
    swin__job job = { "gate", level, swin__gate, 0, swin__floats(SWIN__NORM_ROWS, 16), 0 };
    job.units = swin__divide_up(swin__pixels(&x), SWIN__NORM_ROWS);
    job.madds = (double)swin__pixels(&x) * in.c;
    swin__add_step(p, &job, &l, sizeof l);
}

/* --- convolutions with one output ----------------------------------------------------------------

   A 3 x 3 convolution with one output is a product with nine outputs, one a tap, and then the sum
   of these, each taken from the pixel that its tap meets. What comes before the convolution and is
   linear becomes part of the product, zeros beyond the ends included. */

/* The sum over the taps that meet a pixel inside: rows above, of and below it, [pixel][ld], NULL
   beyond the ends. */
static float swin__sum_nine(const float *const rows[3], size_t ld, int x, int w, float sum)
{
    for (int tap = 0; tap < 9; tap++) {
        int at = x + tap % 3 - 1;
        if (rows[tap / 3] && at >= 0 && at < w) sum += rows[tap / 3][(size_t)at * ld + (size_t)tap];
    }
    return sum;
}

/* out, one float a pixel, = the sum of a map's nine shares. */
typedef struct swin__nine_layer { swin__fmap in, out; } swin__nine_layer;

static void swin__nine(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__nine_layer *l = (const swin__nine_layer *)s->layer;
    const float *rows[3];
    (void)c;
    (void)scratch;
    for (int i = 0; i < 3; i++)
        rows[i] = swin__inside(&l->in, y + i - 1, 0) ? swin__at(&l->in, y + i - 1, 0) : NULL;
    for (int x = 0; x < l->out.w; x++)
        *swin__at(&l->out, y, x) = swin__sum_nine(rows, (size_t)l->in.ld, x, l->in.w, 0);
}

static swin__fmap swin__plan_nine(swin__plan *p, swin__fmap in)
{
    swin__job job = { "sum", 0, swin__nine, in.h, 0, 0 };
    swin__nine_layer l;
    l.in = in;
    l.out = swin__alloc_rows(p, in.h, in.w, 1, 1);
    job.madds = 9.0 * swin__pixels(&in);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* The logits of two classes: 0, and a resized map's number plus a convolution of the input. */
typedef struct swin__matte_layer {
    swin__source coarse;
    swin__fmap input, out;
    swin__linear image;         /* nine outputs of 3 x 3 pixels of the input */
} swin__matte_layer;

enum { SWIN__SEEN = 3 * 3 * 3 };        /* numbers of the input that an output sees */

/* Fills rows of SWIN__SEEN with the input around each pixel of row y, zeros beyond its ends. */
static void swin__see_input(const swin__fmap *input, int y, swin__rows seen)
{
    for (int ky = 0; ky < 3; ky++) {
        for (int x = 0; x < seen.n; x++) {
            float *to = swin__row(seen, x) + 9 * ky;
            int first = swin__max(0, x - 1), last = swin__min(seen.n - 1, x + 1);
            if (first != x - 1 || last != x + 1 || !swin__inside(input, y + ky - 1, x))
                swin__clear(to, 9);
            if (swin__inside(input, y + ky - 1, x))
                swin__copy(to + 3 * (first - x + 1), swin__at(input, y + ky - 1, first),
                           3 * (last - first + 1));
        }
    }
}

/* Row y of the logits from three rows of the input's shares. */
static void swin__matte_row(const swin__matte_layer *l, int y, const float *const rows[3])
{
    for (int x = 0; x < l->out.w; x++) {
        float *to = swin__at(&l->out, y, x), sum = 0;
        swin__mix mix;
        swin__resized_pixel(&l->coarse, y, x, 0, &mix);
        for (int i = 0; i < mix.count; i++) sum += swin__timesf(mix.coef[i], *mix.from[i]);
        swin__clear(to, l->out.ld);
        to[1] = swin__sum_nine(rows, 16, x, l->out.w, sum);
    }
}

/* A share of the rows; those of the input's shares that they need pass through three places. */
static void swin__matte(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__matte_layer *l = (const swin__matte_layer *)s->layer;
    int from, to, w = l->out.w;
    const swin__rows seen = swin__make_rows(scratch, swin__padded(SWIN__SEEN), w, SWIN__SEEN);
    swin__rows nine = swin__make_rows(swin__row(seen, w), 16, w, 9);
    const float *rows[3] = { NULL, NULL, NULL };
    swin__share(l->out.h, s->units, unit, &from, &to);
    for (int y = from - 1; y <= to; y++) {
        swin__rows place = swin__rows_from(nine, (y + 1) % 3 * w, w);
        rows[0] = rows[1];
        rows[1] = rows[2];
        rows[2] = NULL;
        if (y >= 0 && y < l->out.h) {
            swin__see_input(&l->input, y, seen);
            swin__apply(c, &l->image, seen, place, SWIN__LINEAR);
            rows[2] = place.data;
        }
        if (y > from) swin__matte_row(l, y - 1, rows);
    }
}

enum { SWIN__MATTE_ROWS = 16 };         /* of a unit: it computes two more than it writes */

static swin__fmap swin__plan_matte(swin__plan *p, swin__fmap coarse, swin__fmap input,
                                   swin__linear image)
{
    swin__job job = { "matte", 0, swin__matte, swin__divide_up(input.h, SWIN__MATTE_ROWS), 0, 0 };
    swin__matte_layer l;
    memset(&l, 0, sizeof l);
    l.coarse.map = coarse;
    l.coarse.rows = swin__axis_bilinear(p, coarse.h, input.h, 0, input.h, 1);
    l.coarse.cols = swin__axis_bilinear(p, coarse.w, input.w, 0, input.w, 1);
    l.input = input;
    l.image = image;
    l.out = swin__alloc_fmap(p, input.h, input.w, 2);
    job.scratch = swin__floats(input.w, swin__padded(SWIN__SEEN) + 3 * 16);
    job.madds = (double)swin__pixels(&input) * (9 * SWIN__SEEN);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* -------------------------------------------------------------------------- */
/* >>output: from logits to classes, confidence and votes

   A head's logits are resized to the picture, and each pixel gets the class of the highest. Those
   of a sliding window's crops are first summed and averaged at the input's size. A unit takes a
   band of rows. */

/* The rows of a band that makes its own scores, and those at its ends again; the pixels that they
   are made of at a time. */
enum { SWIN__SCORE_BAND = 16, SWIN__SCORED = 56 };

/* The rows of a band: so few that a picture of 256 rows makes SWIN__MANY units. */
enum { SWIN__BAND = 4 };

/* Do the resizes from logits to the picture keep corners where they are? */
static int swin__output_aligned(const swin_config *g)
{
    return g->rules.corners == SWIN_CORNERS_AS_HEAD ? g->head.align_corners
                                                    : g->rules.corners == SWIN_CORNERS_ALIGNED;
}

/* The pixels whose softmax is taken at once: their logits, [16][ld], stay in the first cache. */
enum { SWIN__SOFT = 16 };

static int swin__band_count(int rows) { return swin__divide_up(rows, SWIN__BAND); }

/* The rows [from, to) of band number `unit`. */
static void swin__band(int rows, int unit, int *from, int *to)
{
    *from = unit * SWIN__BAND;
    *to = swin__min(rows, *from + SWIN__BAND);
}

/* --- rows and columns of logits --------------------------------------------------------------- */

/* A map of which only `held` rows are in memory at a time: row y lies at y modulo held. */
typedef struct swin__ring { swin__fmap map; int held; } swin__ring;

static swin__ring swin__whole(swin__fmap map)
{
    swin__ring ring;
    ring.map = map;
    ring.held = map.h;
    return ring;
}

/* The pixels of row y: [w][ld]. */
static swin__rows swin__ring_row(const swin__ring *ring, int y)
{
    return swin__map_rows(&ring->map, y % ring->held * ring->map.w, ring->map.w);
}

/* The logits of columns left ... left + logits.n - 1 of a row of pixels. */
typedef struct swin__span { swin__rows logits; int left; } swin__span;

/* A span of whole rows of a map, to be made at data. */
static swin__span swin__full_row(const swin__fmap *map, float *data)
{
    swin__span span;
    span.logits = swin__make_rows(data, map->ld, map->w, map->c);
    span.left = 0;
    return span;
}

/* to = or, with add, += the sum over i of coef[i] from[i], which are rows like `to`. */
static void swin__sum_rows(const swin_context *c, swin__rows to, const float *const *from,
                           const float *coef, int count, int add)
{
    c->kernels->combine(to.data, to.n * (int)to.ld, from, coef, count, add);
}

/* Makes a span of output row y: the sum of the rows that the axis reads for it. */
static void swin__resize_row(const swin_context *c, const swin__ring *from, const swin__axis *rows,
                             int y, const swin__span *to)
{
    const float *row[4];
    for (int t = 0; t < rows->taps; t++)
        row[t] = swin__row(swin__ring_row(from, rows->at[y * rows->taps + t]), to->left);
    swin__sum_rows(c, to->logits, row, rows->coef + y * rows->taps, rows->taps, 0);
}

/* Makes pixel i of `to` of output column x: the sum of the pixels of a row that the axis reads for
   it. add: adds it to what is there. */
static void swin__resize_column(const swin_context *c, const swin__span *from,
                                const swin__axis *cols, int x, swin__rows to, int i, int add)
{
    const float *column[4];
    x *= cols->taps;
    for (int t = 0; t < cols->taps; t++)
        column[t] = swin__row(from->logits, cols->at[x + t] - from->left);
    swin__sum_rows(c, swin__rows_from(to, i, 1), column, cols->coef + x, cols->taps, add);
}

/* Pixels times a factor each. */
static void swin__scale_pixels(const swin_context *c, swin__rows row, const float *factor)
{
    c->kernels->scale(row.data, row.ld, row.n, (int)row.ld, factor);
}

/* The class with the highest logit at each output of an axis, `bytes` a class. */
static void swin__label_row(const swin_context *c, swin__rows row, const swin__axis *cols,
                            void *ids, int bytes)
{
    c->kernels->labels(ids, bytes, cols->count, row.data, row.ld, cols->at, cols->coef, cols->taps,
                       row.c);
}

/* --- sliding windows -------------------------------------------------------------------------- */

/* The logits of a crop, [h][w][ld], are resized to its size and added to sums of the input's size,
   which are averaged and labelled in the rows that no later crop touches. */
typedef struct swin__slide_layer {
    swin__ring logits;          /* of a crop */
    swin__axis rows, cols;      /* from these to the crop's size */
    swin__ring sums;
} swin__slide_layer;

/* Where the rows of the input end that are complete once this crop's row of crops has run. */
static int swin__crop_done(const swin__crops *g, int crop)
{
    int next = (crop / g->cols + 1) * g->cols;
    return next < g->rows * g->cols ? swin__crop_top(g, next) : g->input_h;
}

/* Is row y of the input one that this row of crops completes? */
static int swin__completes(const swin__crops *g, int crop, int y)
{
    int above = crop - g->cols;
    return y >= (above < 0 ? 0 : swin__crop_done(g, above)) && y < swin__crop_done(g, crop);
}

/* Is this crop the first one that touches row y of the input? */
static int swin__touches_first(const swin__crops *g, int crop, int y)
{
    int above = crop - g->cols;
    return crop % g->cols == 0 && (above < 0 || y >= swin__crop_top(g, above) + g->h);
}

/* Adds the logits of a crop to the sums: sums[top + y][left + x] += resized[y][x]. scratch: a row
   of logits. */
static void swin__slide(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__slide_layer *l = (const swin__slide_layer *)s->layer;
    int top = swin__crop_top(&c->crops, c->crop), left = swin__crop_left(&c->crops, c->crop);
    swin__span row = swin__full_row(&l->logits.map, scratch);
    int from, to;
    swin__band(l->rows.count, unit, &from, &to);
    for (int y = from; y < to; y++) {
        swin__rows sum = swin__ring_row(&l->sums, top + y);
        swin__resize_row(c, &l->logits, &l->rows, y, &row);
        if (swin__touches_first(&c->crops, c->crop, top + y)) swin__clear_rows(sum);
        for (int x = 0; x < l->cols.count; x++)
            swin__resize_column(c, &row, &l->cols, x, sum, left + x, 1);
    }
}

/* How many of n crops of `side` along an axis of `length` cover the pixel `at`: those that start at
   multiples of the stride, and the last one, which ends where the axis does. */
static int swin__crops_over(int n, int stride, int side, int length, int at)
{
    int first = at < side ? 0 : (at - side) / stride + 1, last = swin__min(n - 2, at / stride);
    return swin__max(0, last - first + 1) + (at >= length - side);
}

/* factor[i] = 1 / the number of crops that cover pixel (y, left + i) of the input, i < n. */
static void swin__crop_factors(const swin__crops *g, int y, int left, int n, float *factor)
{
    int down = swin__crops_over(g->rows, g->stride_h, g->h, g->input_h, y);
    for (int i = 0; i < n; i++)
        factor[i] = 1 / (float)(down * swin__crops_over(g->cols, g->stride_w, g->w, g->input_w,
                                                        left + i));
}

/* Sums become averages in the rows that are complete after this row of crops. scratch: a factor a
   column. */
static void swin__slide_mean(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__slide_layer *l = (const swin__slide_layer *)s->layer;
    int from, to;
    swin__band(l->sums.map.h, unit, &from, &to);
    from = swin__max(from, swin__crop_top(&c->crops, c->crop));
    to = swin__min(to, swin__crop_done(&c->crops, c->crop));
    for (int y = from; y < to; y++) {
        swin__rows sum = swin__ring_row(&l->sums, y);
        swin__crop_factors(&c->crops, y, 0, sum.n, scratch);
        swin__scale_pixels(c, sum, scratch);
    }
}

/* The sums of a sliding window: whole where the logits are asked for, else the rows that one row of
   crops touches, and the last one before them. */
static swin__ring swin__plan_sums(swin__plan *p, int classes)
{
    const swin__crops *crops = &p->crops;
    swin__ring sums;
    sums.held = p->desc.outputs & SWIN_OUT_LOGITS ? crops->input_h
                                                  : swin__min(crops->input_h, crops->h + 1);
    sums.map = swin__alloc_fmap(p, sums.held, crops->input_w, classes);
    sums.map.h = crops->input_h;
    return sums;
}

/* Plans two steps: one adds a crop's logits to the sums, one averages them after each row of
   crops. */
static void swin__plan_slide(swin__plan *p, swin__fmap logits, swin__ring sums)
{
    const swin__crops *crops = &p->crops;
    int aligned = swin__output_aligned(p->config);
    swin__job add = { "slide", -1, swin__slide, swin__band_count(crops->h),
                      swin__floats(logits.w, logits.ld),
                      4.0 * crops->h * crops->w * logits.c };
    swin__job mean = { "slide mean", -1, swin__slide_mean, swin__band_count(sums.map.h),
                       swin__floats(sums.map.w, 1), 0 };
    swin__slide_layer layer;
    memset(&layer, 0, sizeof layer);
    layer.logits = swin__whole(logits);
    layer.rows = swin__axis_bilinear(p, logits.h, crops->h, 0, crops->h, aligned);
    layer.cols = swin__axis_bilinear(p, logits.w, crops->w, 0, crops->w, aligned);
    layer.sums = sums;
    swin__add_step(p, &add, &layer, sizeof layer);
    p->repeated = p->step_count;
    swin__add_step(p, &mean, &layer, sizeof layer);
}

/* --- softmaxes -------------------------------------------------------------------------------- */

/* Up to SWIN__SOFT pixels of a row of the picture whose softmax is taken together. */
typedef struct swin__soft {
    int x[SWIN__SOFT];          /* their columns */
    swin__rows exps;            /* [n][ld], of each class: exp(logit - the highest) */
    float inverse[SWIN__SOFT];  /* 1 / the sum of a pixel's exps */
} swin__soft;

/* The same of scores that are sums of probabilities: their shares in the sum over all classes. */
static void swin__take_shares(swin__soft *soft)
{
    for (int i = 0; i < soft->exps.n; i++) {
        float *score = swin__row(soft->exps, i), best = 0, sum = 0;
        for (int k = 0; k < soft->exps.c; k++) best = score[k] > best ? score[k] : best;
        for (int k = 0; k < soft->exps.c; k++) {
            score[k] = best > 0 ? score[k] / best : 0;
            sum += score[k];
        }
        soft->inverse[i] = sum > 0 ? 1 / sum : 0;
    }
}

/* Takes the softmax of the pixels soft->x, whose logits are those of row resized along cols. */
static void swin__take_softmax(const swin_context *c, const swin__span *row, const swin__axis *cols,
                               swin__soft *soft)
{
    swin__rows exps = soft->exps;
    int ld = (int)exps.ld;
    for (int i = 0; i < exps.n; i++) {
        swin__resize_column(c, row, cols, soft->x[i], exps, i, 0);
        for (int k = exps.c; k < ld; k++) swin__row(exps, i)[k] = SWIN__NO_SCORE;
    }
    if (SWIN__HAS_QUERIES && c->model->config.queries.count) swin__take_shares(soft);
    else c->kernels->softmax(exps.data, exps.ld, exps.n, ld, NULL, 0, soft->inverse);
}

/* Is a softmax needed, for confidence, threshold or votes? */
static int swin__wants_softmax(const swin_desc *d)
{
    return d->outputs & (SWIN_OUT_CONFIDENCE | SWIN_OUT_CONFIDENCE_F32) || d->threshold > 0 ||
           d->votes;
}

/* --- maps of the picture's size --------------------------------------------------------------- */

static size_t swin__map_index(const swin__picture_map *map, int y, int x)
{
    return (size_t)y * (size_t)map->width + (size_t)x;
}

/* SWIN_IGNORE_16 becomes SWIN_IGNORE in a map of 1 byte a pixel. */
static void swin__put_class(const swin__picture_map *classes, size_t at, int id)
{
    if (classes->bytes == 1) ((uint8_t *)classes->data)[at] = (uint8_t)id;
    else ((uint16_t *)classes->data)[at] = (uint16_t)id;
}

/* Writes nothing where no confidence is asked for: its map has 0 bytes a pixel then. */
static void swin__put_confidence(const swin__picture_map *confidence, size_t at, float sure)
{
    if (confidence->bytes == 1)
        ((uint8_t *)confidence->data)[at] = (uint8_t)(swin__timesf(sure, 255) + 0.5f);
    if (confidence->bytes == 4) ((float *)confidence->data)[at] = sure;
}

/* Takes memory for a map of the picture's size. */
static swin__picture_map swin__plan_map(swin__plan *p, int bytes)
{
    uint64_t pixels = (uint64_t)p->desc.picture_width * (uint64_t)p->desc.picture_height;
    swin__picture_map map;
    map.data = swin__alloc(p, (pixels * (uint64_t)bytes + 3) / 4);
    map.width = p->desc.picture_width;
    map.height = p->desc.picture_height;
    map.bytes = bytes;
    return map;
}

/* Memory for the class map and, where it is asked for, the confidence. */
static void swin__plan_maps(swin__plan *p, int classes)
{
    unsigned outputs = p->desc.outputs;
    p->results.classes = swin__plan_map(p, classes > 256 ? 2 : 1);
    if (outputs & SWIN_OUT_CONFIDENCE_F32) p->results.confidence = swin__plan_map(p, 4);
    else if (outputs & SWIN_OUT_CONFIDENCE) p->results.confidence = swin__plan_map(p, 1);
}

/* --- scores of queries' classes --------------------------------------------------------------- */

/* A row of the grid of scores: those of class k are the sum over queries q of share[q][k] *
   sigmoid(mask of q); without shares, there is a score sigmoid(mask of q) a query. scratch:
   swin__score_room floats. */
static void swin__score_row(const swin_context *c, const swin__scores *s, int y, swin__rows to,
                            float *scratch)
{
    swin__ring masks = swin__whole(s->masks);
    swin__span row = swin__full_row(&s->masks, scratch);
    swin__rows part = swin__make_rows(swin__row(row.logits, row.logits.n), s->masks.ld, 0,
                                      s->masks.c);
    swin__product p;
    memset(&p, 0, sizeof p);
    p.n = swin__padded(to.c);
    p.k = s->masks.c;
    p.a = part.data;
    p.lda = part.ld;
    p.b = s->shares.data;
    p.ldb = (size_t)s->shares.ld;
    p.panel = 16;
    p.ldc = to.ld;
    swin__resize_row(c, &masks, &s->rows, y, &row);
    for (int x = 0; x < to.n; x += SWIN__SCORED) {
        part.n = p.m = swin__min(SWIN__SCORED, to.n - x);
        if (!p.b) part.data = swin__row(to, x);
        for (int i = 0; i < part.n; i++)
            swin__resize_column(c, &row, &s->cols, x + i, part, i, 0);
        c->kernels->sigmoid(part.data, part.ld, part.n, s->masks.ld);
        p.c = swin__row(to, x);
        if (p.b) c->kernels->gemm(&p);
    }
}

static uint64_t swin__score_room(const swin__scores *s)
{
    return swin__floats(s->masks.w + SWIN__SCORED, s->masks.ld);
}

/* All scores, as a map. */
typedef struct swin__score_layer { swin__scores scores; swin__fmap out; } swin__score_layer;

/* A unit is a row. */
static void swin__score_map(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__score_layer *l = (const swin__score_layer *)s->layer;
    swin__score_row(c, &l->scores, unit, swin__map_rows(&l->out, unit * l->out.w, l->out.w),
                    scratch);
}

/* Gives back what scores are made of. */
static void swin__release_scores(swin__plan *p)
{
    swin__release(p, p->scores.masks.data);
    swin__release(p, p->scores.shares.data);
}

/* The multiply-adds of so many rows of scores. */
static double swin__score_madds(const swin__scores *s, int classes, int rows)
{
    return (double)rows * s->cols.count * s->masks.c * (classes + s->cols.taps);
}

/* Plans a map of all scores; returns it. */
static swin__fmap swin__plan_score_map(swin__plan *p)
{
    const swin__scores *s = &p->scores;
    int h = s->rows.count, w = s->cols.count, classes = p->config->classes;
    swin__job job = { "scores", -1, swin__score_map, h, swin__score_room(s),
                      swin__score_madds(s, classes, h) };
    swin__score_layer l;
    l.scores = *s;
    l.out = swin__alloc_fmap(p, h, w, classes);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release_scores(p);
    return l.out;
}

/* --- labels ----------------------------------------------------------------------------------- */

/* Each pixel of the picture gets the class whose logit, resized to it, is the highest. */
typedef struct swin__labels_layer {
    swin__ring logits;          /* the head's, or a sliding window's averages */
    swin__axis rows, cols;      /* from these to the picture */
    int slides;                 /* after a row of crops only the rows that it completes are there */
    int soft;                   /* a softmax is needed */
    swin__scores scores;        /* of a head with queries: what the logits are made of, of which no
                                   more than two rows are there at a time */
} swin__labels_layer;

/* Adds the softmax of each pixel to its votes, which decay, from pixel number `at` of the picture
   on. */
static void swin__add_votes(const swin_context *c, const swin__soft *soft, size_t at)
{
    swin__rows exps = soft->exps;
    float *votes = c->desc.votes + at * (size_t)exps.c;
    swin__scale_pixels(c, exps, soft->inverse);
    for (int i = 0; i < exps.n; i++)
        for (int k = 0; k < exps.c; k++, votes++)
            *votes = swin__timesf(*votes, c->desc.votes_decay) + swin__row(exps, i)[k];
}

/* Takes the softmax of row y of the picture, for confidence, threshold and votes. row: logits, with
   memory for SWIN__SOFT pixels behind them. */
static void swin__soft_row(const swin_context *c, const swin__labels_layer *l, int y,
                           const swin__span *row)
{
    const swin__results *to = &c->results;
    swin__soft soft;
    for (int x = 0; x < l->cols.count; x += SWIN__SOFT) {
        size_t at = swin__map_index(&to->classes, y, x);
        int n = swin__min(SWIN__SOFT, l->cols.count - x);
        soft.exps = swin__rows_from(row->logits, row->logits.n, n);
        for (int i = 0; i < n; i++) soft.x[i] = x + i;
        swin__take_softmax(c, row, &l->cols, &soft);
        if (c->desc.votes) swin__add_votes(c, &soft, at);
        for (int i = 0; i < n; i++, at++) {
            /* The best class adds 1 to the sum: only NaNs give an inverse outside 0..1. */
            float inverse = soft.inverse[i], sure = inverse > 0 && inverse <= 1 ? inverse : 0;
            if (sure < c->desc.threshold) swin__put_class(&to->classes, at, SWIN_IGNORE_16);
            swin__put_confidence(&to->confidence, at, sure);
        }
    }
}

/* Labels the pixels of a band of the picture. scratch: a row of logits, and a softmax's pixels. */
static void swin__labels(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__labels_layer *l = (const swin__labels_layer *)s->layer;
    const swin__picture_map *classes = &c->results.classes;
    swin__span row = swin__full_row(&l->logits.map, scratch);
    int from, to;
    swin__band(l->rows.count, unit, &from, &to);
    for (int y = from; y < to; y++) {
        size_t at = swin__map_index(classes, y, 0) * (size_t)classes->bytes;
        int last = l->rows.at[(y + 1) * l->rows.taps - 1];      /* row of the logits that y reads */
        if (l->slides && !swin__completes(&c->crops, c->crop, last)) continue;
        swin__resize_row(c, &l->logits, &l->rows, y, &row);
        swin__label_row(c, row.logits, &l->cols, (char *)classes->data + at, classes->bytes);
        if (l->soft) swin__soft_row(c, l, y, &row);
    }
}

/* Rows of scores while those of the picture are made of them, one after the other. */
typedef struct swin__score_rows {
    swin__rows memory[2];
    int held[2];                /* their numbers, -1: none yet */
    float *scratch;             /* swin__score_room */
} swin__score_rows;

/* None yet, in memory for 2 w pixels from number `first` of rows on, and swin__score_room. */
static swin__score_rows swin__no_scores(swin__rows row, int first)
{
    int w = row.n;
    swin__score_rows r;
    r.memory[0] = swin__rows_from(row, first, w);
    r.memory[1] = swin__rows_from(row, first + w, w);
    r.held[0] = r.held[1] = -1;
    r.scratch = swin__row(row, first + 2 * w);
    return r;
}

/* The row of scores number y: memory[0] or memory[1], of which `other` is to stay. */
static int swin__have_scores(const swin_context *c, const swin__scores *s, int y,
                             swin__score_rows *r, int other)
{
    int i = r->held[1] == y || (r->held[0] != y && other == 0);
    if (r->held[i] != y) swin__score_row(c, s, y, r->memory[i], r->scratch);
    r->held[i] = y;
    return i;
}

/* Makes row y of the picture, whose columns are still those of the scores. */
static void swin__mix_scores(const swin_context *c, const swin__scores *s, const swin__axis *rows,
                             int y, swin__score_rows *r, swin__rows to)
{
    const int *at = rows->at + y * rows->taps;
    const float *coef = rows->coef + y * rows->taps, *from[4];
    int count = 0, last = -1;
    for (int t = 0; t < rows->taps && (t == 0 || coef[t] != 0); t++) {
        last = swin__have_scores(c, s, at[t], r, last);
        from[count++] = r->memory[last].data;
    }
    swin__sum_rows(c, to, from, coef, count, 0);
}

/* Labels the pixels of a band of the picture by scores of queries. scratch: a row of scores and a
   softmax's pixels, two more rows, and swin__score_room. */
static void swin__score_labels(const swin_context *c, const swin__step *s, int unit,
                               float *scratch)
{
    const swin__labels_layer *l = (const swin__labels_layer *)s->layer;
    const swin__picture_map *classes = &c->results.classes;
    swin__span row = swin__full_row(&l->logits.map, scratch);
    swin__score_rows scores = swin__no_scores(row.logits, row.logits.n + SWIN__SOFT);
    int to = swin__min(l->rows.count, (unit + 1) * SWIN__SCORE_BAND);
    for (int y = unit * SWIN__SCORE_BAND; y < to; y++) {
        size_t place = swin__map_index(classes, y, 0) * (size_t)classes->bytes;
        swin__mix_scores(c, &l->scores, &l->rows, y, &scores, row.logits);
        swin__label_row(c, row.logits, &l->cols, (char *)classes->data + place, classes->bytes);
        if (l->soft) swin__soft_row(c, l, y, &row);
    }
}

/* One axis from n logits to the picture's m pixels. Logits of a whole input are resized to the
   input's side first, unless the model's rule is another; a sliding window's averages have that
   size. */
static swin__axis swin__label_axis(swin__plan *p, int slides, int n, int input, int m, int aligned)
{
    if (slides) return swin__axis_bilinear(p, input, m, 0, m, 0);
    if (p->config->rules.straight || p->config->queries.count)
        return swin__axis_bilinear(p, n, m, 0, m, aligned);
    return swin__axis_twice(p, n, input, m, aligned, 0);
}

/* Plans the class map of scores that are made where they are needed. */
static void swin__plan_score_labels(swin__plan *p)
{
    const swin_desc *d = &p->desc;
    const swin__scores *s = &p->scores;
    int h = s->rows.count, w = s->cols.count, classes = p->config->classes;
    int bands = swin__divide_up(d->picture_height, SWIN__SCORE_BAND);
    swin__job job = { "labels", -1, swin__score_labels, bands, 0, 0 };
    swin__labels_layer layer;
    memset(&layer, 0, sizeof layer);
    layer.logits.map.h = h;
    layer.logits.map.w = w;
    layer.logits.map.c = classes;
    layer.logits.map.ld = swin__padded(classes);
    layer.rows = swin__axis_bilinear(p, h, d->picture_height, 0, d->picture_height, 0);
    layer.cols = swin__axis_bilinear(p, w, d->picture_width, 0, d->picture_width, 0);
    layer.soft = swin__wants_softmax(d);
    layer.scores = *s;
    if (d->flags & SWIN_RUN_FLIP) swin__mirror(p, &layer.cols);
    job.scratch = swin__floats(3 * w + SWIN__SOFT, layer.logits.map.ld) + swin__score_room(s);
    job.madds = swin__score_madds(s, classes, swin__min(h + bands, d->picture_height + bands));
    swin__add_step(p, &job, &layer, sizeof layer);
    swin__release_scores(p);
}

/* Plans the class map of logits, or of a sliding window's averages. */
static void swin__plan_labels(swin__plan *p, swin__ring logits, int slides)
{
    const swin_desc *d = &p->desc;
    const swin__fmap *map = &logits.map;
    int w = d->picture_width, h = d->picture_height, soft = swin__wants_softmax(d);
    int aligned = swin__output_aligned(p->config);
    swin__job job = { "labels", -1, swin__labels, swin__band_count(h),
                      swin__floats(map->w + (soft ? SWIN__SOFT : 0), map->ld), 0 };
    swin__labels_layer layer;
    memset(&layer, 0, sizeof layer);
    layer.logits = logits;
    layer.rows = swin__label_axis(p, slides, map->h, d->height, h, aligned);
    layer.cols = swin__label_axis(p, slides, map->w, d->width, w, aligned);
    layer.slides = slides;
    layer.soft = soft;
    if (d->flags & SWIN_RUN_FLIP) swin__mirror(p, &layer.cols);
    job.madds = (double)w * h * map->c * layer.cols.taps / p->crops.rows;
    swin__add_step(p, &job, &layer, sizeof layer);
}

/* -------------------------------------------------------------------------- */
/* >>average: the mean softmax of runs that were kept

   A run leaves its logits as the head gives them, in memory of the caller; a context of its own
   resizes those of all runs to the picture and averages their softmaxes. A unit takes a chunk of
   SWIN__BAND rows and SWIN__CHUNK columns of the picture. Where all runs have one class on top, it
   is on top of their mean, too: a softmax is taken of the other pixels, and of all where confidence
   is asked for. */

/* The columns of a chunk: few enough for the runs' logits under a row of it, 18 pixels of each run
   at a quarter of the picture's size, to stay in the caches until all are read. */
enum { SWIN__CHUNK = 64 };

/* --- keeping a run ---------------------------------------------------------------------------- */

/* What a run leaves in desc.kept: this and, from byte SWIN__KEPT on, the head's logits, [h][w][ld]
   for each crop. */
typedef struct swin__kept {
    int picture_w, picture_h;
    int classes;                /* 0 before the end of the run */
    int h, w, ld;               /* of one crop's logits */
    int aligned, flip;
    swin__crops crops;
} swin__kept;
enum { SWIN__KEPT = 128 };

/* The logits of one crop, in the caller's memory: only the run that keeps them writes there. */
static swin__fmap swin__kept_logits(const swin__kept *k, int crop)
{
    swin__fmap map;
    map.data = (float *)(void *)((char *)(uintptr_t)k + SWIN__KEPT);
    map.h = k->h;
    map.w = k->w;
    map.c = k->classes;
    map.ld = k->ld;
    map.data += (size_t)crop * (size_t)swin__floats(swin__pixels(&map), map.ld);
    return map;
}

typedef struct swin__keep_layer { swin__fmap logits; } swin__keep_layer;

/* Copies a band of a crop's logits to where they are kept. */
static void swin__keep(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__fmap *in = &((const swin__keep_layer *)s->layer)->logits;
    swin__fmap out = swin__kept_logits((const swin__kept *)c->desc.kept, c->crop);
    int from, to;
    (void)scratch;
    swin__band(in->h, unit, &from, &to);
    for (int y = from; y < to; y++)
        swin__copy(swin__pixel(&out, y * in->w), swin__pixel(in, y * in->w), in->w * in->ld);
}

/* Adds the step that keeps each crop's logits, and fills in all of swin__kept but for the
   classes. */
static void swin__plan_keep(swin__plan *p, swin__fmap logits)
{
    double floats = (double)logits.h * logits.w * logits.ld;
    swin__job job = { "keep", -1, swin__keep, swin__band_count(logits.h), 0, floats };
    swin__keep_layer layer;
    swin__kept *k = (swin__kept *)p->desc.kept;
    layer.logits = logits;
    swin__add_step(p, &job, &layer, sizeof layer);
    p->kept = swin__floats(swin__pixels(&logits), logits.ld);
    if (!p->context) return;
    k->picture_w = p->desc.picture_width;
    k->picture_h = p->desc.picture_height;
    k->classes = 0;
    k->h = logits.h;
    k->w = logits.w;
    k->ld = logits.ld;
    k->aligned = swin__output_aligned(p->config);
    k->flip = (p->desc.flags & SWIN_RUN_FLIP) != 0;
    k->crops = p->crops;
}

/* --- kept runs, read -------------------------------------------------------------------------- */

/* A finished run, as an average reads it. */
typedef struct swin__kept_run {
    const swin__kept *kept;
    swin__axis rows, cols;      /* to the picture, from a whole input's logits or, of a sliding
                                   window, from averages of the input's size */
    swin__axis crop_rows, crop_cols;    /* of a sliding window: from a crop's logits to its size */
} swin__kept_run;

/* The span of a row that outputs first ... first + count - 1 of an axis read; it is to be made at
   the start of `memory`. */
static swin__span swin__reach(const swin__axis *axis, int first, int count, swin__rows memory)
{
    const int *a = axis->at + first * axis->taps, *b = a + (count - 1) * axis->taps;
    int end = swin__max(a[axis->taps - 1], b[axis->taps - 1]) + 1;
    swin__span span;
    span.left = swin__min(a[0], b[0]);
    span.logits = swin__rows_from(memory, 0, end - span.left);
    return span;
}

/* Adds what a crop of a sliding window has of row y of the input to a span of that row. spare:
   memory for the logits that the span reads of the crop. */
static void swin__add_crop(const swin_context *c, const swin__kept_run *run, int crop, int y,
                           const swin__span *to, swin__rows spare)
{
    const swin__crops *crops = &run->kept->crops;
    int down = y - swin__crop_top(crops, crop), left = swin__crop_left(crops, crop);
    int x = swin__max(to->left, left);
    int end = swin__min(to->left + to->logits.n, left + crops->w);
    if (down < 0 || down >= crops->h || x >= end) return;
    swin__ring logits = swin__whole(swin__kept_logits(run->kept, crop));
    swin__span row = swin__reach(&run->crop_cols, x - left, end - x, spare);
    swin__resize_row(c, &logits, &run->crop_rows, down, &row);
    for (; x < end; x++)
        swin__resize_column(c, &row, &run->crop_cols, x - left, to->logits, x - to->left, 1);
}

/* Makes a span of row y of a sliding window's averages, at the input's size. spare: as much
   memory. */
static void swin__crops_row(const swin_context *c, const swin__kept_run *run, int y,
                            const swin__span *to, swin__rows spare)
{
    const swin__crops *crops = &run->kept->crops;
    swin__clear_rows(to->logits);
    for (int crop = 0; crop < crops->rows * crops->cols; crop++)
        swin__add_crop(c, run, crop, y, to, spare);
    swin__crop_factors(crops, y, to->left, to->logits.n, spare.data);
    swin__scale_pixels(c, to->logits, spare.data);
}

/* Makes a span of a run's logits, resized along columns to row y of the picture. spare: three times
   as much memory. */
static void swin__kept_row(const swin_context *c, const swin__kept_run *run, int y,
                           const swin__span *to, swin__rows spare)
{
    int third = spare.n / 3;
    const swin__axis *rows = &run->rows;
    const float *from[2];
    if (!swin__slides(&run->kept->crops)) {
        swin__ring logits = swin__whole(swin__kept_logits(run->kept, 0));
        swin__resize_row(c, &logits, rows, y, to);
        return;
    }
    for (int t = 0; t < 2; t++) {
        swin__span row = *to;
        row.logits = swin__rows_from(spare, t * third, to->logits.n);
        swin__crops_row(c, run, rows->at[2 * y + t], &row,
                        swin__rows_from(spare, 2 * third, third));
        from[t] = row.logits.data;
    }
    swin__sum_rows(c, to->logits, from, rows->coef + 2 * y, 2, 0);
}

/* The axes by which a kept run's logits are resized to the picture. */
static swin__kept_run swin__plan_kept_run(swin__plan *p, const swin__kept *k)
{
    const swin__crops *crops = &k->crops;
    int slides = swin__slides(crops), aligned = k->aligned;
    swin__kept_run run;
    memset(&run, 0, sizeof run);
    run.kept = k;
    run.rows = swin__label_axis(p, slides, k->h, crops->input_h, k->picture_h, aligned);
    run.cols = swin__label_axis(p, slides, k->w, crops->input_w, k->picture_w, aligned);
    if (slides) {
        run.crop_rows = swin__axis_bilinear(p, k->h, crops->h, 0, crops->h, aligned);
        run.crop_cols = swin__axis_bilinear(p, k->w, crops->w, 0, crops->w, aligned);
    }
    if (k->flip) swin__mirror(p, &run.cols);
    return run;
}

/* The most columns of a run's logits that lie under a chunk of the picture. */
static int swin__widest_span(const swin__kept *k)
{
    const swin__crops *crops = &k->crops;
    int slides = swin__slides(crops), n = slides ? crops->input_w : k->w;
    /* With aligned corners an axis takes steps of up to twice n / m; 16: the taps at its ends. */
    int widest = swin__min(n, 2 * SWIN__CHUNK * n / k->picture_w + 16);
    /* A Unet gives a crop more logits than pixels where its width is no multiple of the patch. */
    return slides && k->w > crops->w ? swin__max(widest, k->w) : widest;
}

/* --- averages --------------------------------------------------------------------------------- */

/* The class of each pixel of the picture by the mean softmax of `count` runs. */
typedef struct swin__average_layer {
    const swin__kept_run *runs;
    int count;
    int c, ld;                  /* classes, and the floats from pixel to pixel of the logits */
    int widest;                 /* columns of logits under a chunk, at most */
    int soft;                   /* a softmax is taken of all pixels */
} swin__average_layer;

/* The part of a row of the picture that lies in a unit's chunk, and a task's memory for it. */
typedef struct swin__chunk_row {
    int y, first, count;        /* columns first ... first + count - 1 of row y */
    swin__rows rows;            /* [runs * widest][ld]: each run's logits, resized to row y */
    swin__rows spare;           /* [3 * widest][ld] */
    swin__rows sums;            /* [SWIN__SOFT][ld]: softmaxes, summed over the runs */
    swin__soft soft;
} swin__chunk_row;

/* Floats of a task's memory. */
static uint64_t swin__chunk_floats(const swin__average_layer *l)
{
    return (uint64_t)(l->count + 3) * swin__floats(l->widest, l->ld) +
           swin__floats(2 * SWIN__SOFT, l->ld);
}

/* Divides a task's memory. */
static swin__chunk_row swin__make_chunk_row(const swin__average_layer *l, float *scratch)
{
    swin__chunk_row chunk;
    memset(&chunk, 0, sizeof chunk);
    chunk.rows = swin__make_rows(scratch, l->ld, l->count * l->widest, l->c);
    chunk.spare = swin__rows_from(chunk.rows, chunk.rows.n, 3 * l->widest);
    chunk.sums = swin__rows_from(chunk.spare, chunk.spare.n, SWIN__SOFT);
    chunk.soft.exps = swin__rows_from(chunk.sums, chunk.sums.n, 0);
    return chunk;
}

/* The logits of run number r that the row of a chunk reads. */
static swin__span swin__chunk_span(const swin__average_layer *l, const swin__chunk_row *chunk,
                                   int r)
{
    return swin__reach(&l->runs[r].cols, chunk->first, chunk->count,
                       swin__rows_from(chunk->rows, r * l->widest, l->widest));
}

/* Makes each run's logits for the row of a chunk. ids: per column the class that all runs have on
   top, -1 where they differ. */
static void swin__chunk_winners(const swin_context *c, const swin__average_layer *l,
                                const swin__chunk_row *chunk, int *ids)
{
    int at[4 * SWIN__CHUNK];
    uint16_t tops[SWIN__CHUNK];
    for (int r = 0; r < l->count; r++) {
        const swin__axis *cols = &l->runs[r].cols;
        int first = chunk->first * cols->taps;
        swin__axis under = { chunk->count, cols->taps, at, cols->coef + first };
        swin__span row = swin__chunk_span(l, chunk, r);
        swin__kept_row(c, &l->runs[r], chunk->y, &row, chunk->spare);
        for (int i = 0; i < under.count * under.taps; i++) at[i] = cols->at[first + i] - row.left;
        swin__label_row(c, row.logits, &under, tops, 2);
        for (int i = 0; i < chunk->count; i++) ids[i] = !r || ids[i] == tops[i] ? tops[i] : -1;
    }
}

/* sums = the softmaxes of the pixels chunk->soft.x, summed over the runs. */
static void swin__chunk_sums(const swin_context *c, const swin__average_layer *l,
                             swin__chunk_row *chunk)
{
    swin__soft *soft = &chunk->soft;
    for (int r = 0; r < l->count; r++) {
        swin__span row = swin__chunk_span(l, chunk, r);
        swin__take_softmax(c, &row, &l->runs[r].cols, soft);
        for (int i = 0; i < soft->exps.n; i++) {
            const float *exps = swin__row(soft->exps, i);
            swin__sum_rows(c, swin__rows_from(chunk->sums, i, 1), &exps, &soft->inverse[i], 1,
                           r > 0);
        }
    }
}

/* The class with the highest of the sums number i; the lowest of several. */
static int swin__top_class(const swin_context *c, swin__rows sums, int i)
{
    float one = 1;
    swin__axis only = { 1, 1, &i, &one };
    uint16_t top;
    swin__label_row(c, sums, &only, &top, 2);
    return top;
}

/* Class and confidence of the pixels chunk->soft.x by their mean softmax; the class that all runs
   agree on, or -1, is in ids. */
static void swin__chunk_means(const swin_context *c, const swin__average_layer *l,
                              swin__chunk_row *chunk, const int *ids)
{
    const swin__results *to = &c->results;
    float runs = (float)l->count;
    swin__chunk_sums(c, l, chunk);
    for (int i = 0; i < chunk->soft.exps.n; i++) {
        const float *sums = swin__row(chunk->sums, i);
        int x = chunk->soft.x[i], agreed = ids[x - chunk->first];
        int id = agreed >= 0 ? agreed : swin__top_class(c, chunk->sums, i);
        int doubtful = sums[id] < c->desc.threshold * runs;
        size_t at = swin__map_index(&to->classes, chunk->y, x);
        swin__put_class(&to->classes, at, doubtful ? SWIN_IGNORE_16 : id);
        swin__put_confidence(&to->confidence, at, sums[id] > 0 ? sums[id] / runs : 0);
    }
}

/* Labels the row of a chunk: by the class that all runs agree on or, SWIN__SOFT pixels at a time,
   by the mean. */
static void swin__chunk_labels(const swin_context *c, const swin__average_layer *l,
                               swin__chunk_row *chunk)
{
    const swin__picture_map *classes = &c->results.classes;
    int ids[SWIN__CHUNK], *n = &chunk->soft.exps.n;
    swin__chunk_winners(c, l, chunk, ids);
    *n = 0;
    for (int i = 0; i < chunk->count; i++) {
        int x = chunk->first + i;
        if (ids[i] >= 0 && !l->soft)
            swin__put_class(classes, swin__map_index(classes, chunk->y, x), ids[i]);
        else
            chunk->soft.x[(*n)++] = x;
        if (*n < SWIN__SOFT && i + 1 < chunk->count) continue;
        if (*n > 0) swin__chunk_means(c, l, chunk, ids);
        *n = 0;
    }
}

/* Labels a chunk of the picture. */
static void swin__average(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__average_layer *l = (const swin__average_layer *)s->layer;
    const swin__picture_map *classes = &c->results.classes;
    int across = swin__divide_up(classes->width, SWIN__CHUNK), from, to;
    swin__chunk_row chunk = swin__make_chunk_row(l, scratch);
    chunk.first = unit % across * SWIN__CHUNK;
    chunk.count = swin__min(SWIN__CHUNK, classes->width - chunk.first);
    swin__band(classes->height, unit / across, &from, &to);
    for (chunk.y = from; chunk.y < to; chunk.y++) swin__chunk_labels(c, l, &chunk);
}

/* The layer of an average: its runs, and the memory that they need. */
static swin__average_layer swin__plan_kept_runs(swin__plan *p)
{
    const swin_desc *d = &p->desc;
    swin__kept_run *runs =
        (swin__kept_run *)swin__table(p, (uint64_t)d->average_count * sizeof *runs);
    swin__average_layer layer;
    memset(&layer, 0, sizeof layer);
    layer.runs = runs;
    layer.count = d->average_count;
    layer.c = p->config->classes;
    layer.ld = ((const swin__kept *)d->average[0])->ld;
    layer.soft = swin__wants_softmax(d);
    for (int i = 0; i < d->average_count; i++) {
        const swin__kept *k = (const swin__kept *)d->average[i];
        swin__kept_run run = swin__plan_kept_run(p, k);
        if (p->context) runs[i] = run;
        layer.widest = swin__max(layer.widest, swin__widest_span(k));
    }
    swin__product_fits(p, "logits of kept runs", layer.count, layer.widest);
    return layer;
}

/* Plans a context that averages kept runs: it has one step. */
static void swin__plan_average(swin__plan *p)
{
    int w = p->desc.picture_width, h = p->desc.picture_height;
    swin__average_layer layer = swin__plan_kept_runs(p);
    swin__job job = { "average", -1, swin__average, 0, swin__chunk_floats(&layer),
                      (double)w * h * layer.ld * layer.count };
    job.units = swin__band_count(h) * swin__divide_up(w, SWIN__CHUNK);
    swin__plan_maps(p, layer.c);
    swin__add_step(p, &job, &layer, sizeof layer);
    p->repeated = p->step_count;
}

/* -------------------------------------------------------------------------- */
/* >>queries: what MaskFormer, Mask2Former and OneFormer are made of

   Queries, rows of channels, attend to maps and to each other, layer by layer, as in DETR; then
   each gives a mask, by its product with every pixel, and the probabilities of its class. A map is
   seen together with sines of its rows and columns, which tell its places. Norms follow the
   sums. */

/* --- sines of places -------------------------------------------------------------------------- */

/* exp(-x) for 0 <= x < 100, by its series and powers of 2. */
static double swin__decay(double x)
{
    const double ln2 = 0.69314718055994531;
    int halvings = (int)(x / ln2 + 0.5);
    double r = swin__times(halvings, ln2) - x, sum = 1;
    for (int i = 16; i > 0; i--) sum = 1 + swin__times(sum, r / i);
    for (; halvings > 0; halvings--) sum /= 2;
    return sum;
}

/* sin(x + quarters * pi/2) for 0 <= x < 100, by its series around the nearest quarter. */
static double swin__sine(double x, int quarters)
{
    const double quarter = 1.5707963267948966, rest = 6.123233995736766e-17;
    int q = (int)(x / quarter + 0.5), odd;
    double r = x - swin__times(q, quarter) - swin__times(q, rest), square = swin__times(r, r);
    double sum = 1;
    q += quarters;
    odd = q % 2;                /* then it is a cosine of r */
    for (int i = odd ? 18 : 19; i > 1; i -= 2) sum = 1 - swin__times(sum, square / (i * (i - 1)));
    if (!odd) sum = swin__times(sum, r);
    return q % 4 < 2 ? sum : -sum;
}

/* The sines of a map's places: what is added to pixel (y, x) is row y of `rows` plus row x of
   `cols`, of which one holds zeros where the other does not. */
typedef struct swin__sines { const float *rows, *cols; int ld; } swin__sines;

/* A table [count][ld] with sines of `count` places in channels first ... first + n - 1, n even. */
static const float *swin__sine_table(swin__plan *p, int count, int first, int n, int ld)
{
    const double ln_base = 9.2103403719761836;      /* of 10000 */
    float *table = (float *)swin__table(p, swin__floats(count, ld) * sizeof(float));
    if (!p->context) return table;
    memset(table, 0, swin__offset(count, ld) * sizeof(float));
    for (int i = 0; i < n; i++) {
        int even = i - i % 2;
        double slower = swin__decay(swin__times(ln_base, (double)even / n));
        for (int at = 0; at < count; at++) {
            double turn = swin__times((at + 1) / (count + 1e-6), 6.2831853071795865);
            table[swin__offset(at, ld) + (size_t)(first + i)] =
                (float)swin__sine(swin__times(turn, slower), i % 2);
        }
    }
    return table;
}

/* The sines of a map's size, in so many channels, a multiple of 4. */
static swin__sines swin__plan_sines(swin__plan *p, int h, int w, int channels)
{
    swin__sines s;
    s.ld = swin__padded(channels);
    s.rows = swin__sine_table(p, h, 0, channels / 2, s.ld);
    s.cols = swin__sine_table(p, w, channels / 2, channels / 2, s.ld);
    return s;
}

/* What a layer reads of a map: its pixels, plus what all pixels of a level have, plus sines. */
typedef struct swin__sight {
    const float *pixels;        /* [pixel][ld], or NULL */
    const float *level;         /* [ld], or NULL */
    swin__sines sines;          /* rows NULL: none */
    int w, c, ld;
} swin__sight;

/* Makes rows of what is seen of n pixels from `first` on. */
static void swin__see(const swin_context *c, const swin__sight *seen, int first, swin__rows to)
{
    static const float ones[4] = { 1, 1, 1, 1 };
    for (int i = first; i < first + to.n; i++) {
        const float *from[4];
        int count = 0;
        if (seen->pixels) from[count++] = seen->pixels + swin__offset(i, seen->ld);
        if (seen->level) from[count++] = seen->level;
        if (seen->sines.rows) {
            from[count++] = seen->sines.rows + swin__offset(i / seen->w, seen->ld);
            from[count++] = seen->sines.cols + swin__offset(i % seen->w, seen->ld);
        }
        c->kernels->combine(swin__row(to, i - first), seen->ld, from, ones, count, 0);
    }
}

/* A map as it is. */
static swin__sight swin__see_map(const swin__fmap *map)
{
    swin__sight seen;
    memset(&seen, 0, sizeof seen);
    seen.pixels = map->data;
    seen.w = map->w;
    seen.c = map->c;
    seen.ld = map->ld;
    return seen;
}

/* The pixels that a unit of a layer of rows takes at a time. */
enum { SWIN__SEEN_ROWS = 56 };

/* out = act(W seen + b), of a share of the pixels. */
typedef struct swin__sight_layer {
    swin__sight seen;
    swin__linear linear;
    swin__fmap out;
} swin__sight_layer;

/* Scratch: rows of what is seen. */
static void swin__project_sight(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    const swin__sight_layer *l = (const swin__sight_layer *)s->layer;
    int from = unit * SWIN__SEEN_ROWS, all = swin__pixels(&l->out);
    swin__rows out = swin__map_rows(&l->out, from, swin__min(SWIN__SEEN_ROWS, all - from));
    swin__rows in = swin__make_rows(scratch, l->seen.ld, out.n, l->seen.c);
    swin__see(c, &l->seen, from, in);
    swin__apply_to_own(c, &l->linear, in, out, SWIN__LINEAR);
}

/* Plans a layer from what is seen of a map like `out`; returns its output, of so many channels. */
static swin__fmap swin__plan_sight(swin__plan *p, const char *name, int level, swin__sight seen,
                                   swin__fmap like, swin__linear linear, int channels)
{
    int pixels = swin__pixels(&like);
    swin__job job = { name, level, swin__project_sight, swin__divide_up(pixels, SWIN__SEEN_ROWS),
                      swin__floats(SWIN__SEEN_ROWS, seen.ld),
                      (double)pixels * seen.c * channels };
    swin__sight_layer l;
    memset(&l, 0, sizeof l);
    l.seen = seen;
    l.linear = linear;
    l.out = swin__alloc_fmap(p, like.h, like.w, channels);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* --- products of two maps --------------------------------------------------------------------- */

/* A map's rows as the columns of a product's second factor: panels [rows/16][ld][16]. */
typedef struct swin__panel_layer { swin__fmap in; float *out; } swin__panel_layer;

/* A unit takes 16 rows. */
static void swin__make_panel(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__panel_layer *l = (const swin__panel_layer *)s->layer;
    int count = swin__min(16, swin__pixels(&l->in) - 16 * unit);
    (void)scratch;
    c->kernels->transpose(l->out + swin__offset(16 * unit, l->in.ld),
                          swin__pixel(&l->in, 16 * unit), (size_t)l->in.ld, count, l->in.ld);
}

/* Plans the panels of a map's rows; returns them. */
static float *swin__plan_panels(swin__plan *p, const char *name, int level, swin__fmap in)
{
    int panels = swin__divide_up(swin__pixels(&in), 16);
    swin__job job = { name, level, swin__make_panel, panels, 0, 0 };
    swin__panel_layer l;
    l.in = in;
    l.out = swin__alloc(p, swin__floats(16 * panels, in.ld));
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* The linear layer whose weights are such panels, of rows `ld` apart. */
static swin__linear swin__panel_linear(const float *panels, int ld)
{
    swin__linear l;
    memset(&l, 0, sizeof l);
    l.weight.data = panels;
    l.weight.type = SWIN__F32;
    l.weight.inputs = ld;
    return l;
}

/* --- attention of queries --------------------------------------------------------------------- */

/* The heads of an attention: d channels each, stored as dp. */
static int swin__packed(int heads, int width) { return heads * swin__padded(width / heads); }

typedef struct swin__query_attention { swin__linear q, k, v, proj; swin__affine norm; }
    swin__query_attention;

/* Binds an attention, named e.g. "cross", and the norm after it, number `number` of its layer. */
static void swin__bind_attention(swin__binder *b, swin__query_attention *a, const char *name,
                                 int number, int width, int heads)
{
    int packed = swin__packed(heads, width);
    char full[24];
    swin__format(full, sizeof full, "%s.q", name);
    a->q = swin__take_linear(b, full, packed, width, 1);
    swin__format(full, sizeof full, "%s.k", name);
    a->k = swin__take_linear(b, full, packed, width, 1);
    swin__format(full, sizeof full, "%s.v", name);
    a->v = swin__take_linear(b, full, packed, width, 1);
    swin__format(full, sizeof full, "%s.proj", name);
    a->proj = swin__take_linear(b, full, width, packed, 1);
    swin__format(full, sizeof full, "norm%d", number);
    a->norm = swin__take_affine(b, full, width);
}

/* Each query's mix of the values, of each head: softmax(q k + bias) v, streamed over blocks of
   keys. */
typedef struct swin__attend_layer {
    swin__fmap q, v, out;       /* of heads * dp channels */
    const float *keys;          /* panels of as many */
    swin__fmap bias;            /* rows of queries, a channel a key; data NULL: none */
    int heads;
} swin__attend_layer;

/* A share of the queries of one head. Scratch: a stream's memory. */
static void swin__query_attend(const swin_context *c, const swin__step *s, int unit,
                               float *scratch)
{
    const swin__attend_layer *l = (const swin__attend_layer *)s->layer;
    int dp = l->q.c / l->heads, at = unit % l->heads * dp, from, to;
    swin__stream t;
    memset(&t, 0, sizeof t);
    swin__share(swin__pixels(&l->q), s->units / l->heads, unit / l->heads, &from, &to);
    t.q = swin__map_rows(&l->q, from, to - from);
    t.q.data += at;
    t.out = swin__map_rows(&l->out, from, to - from);
    t.out.data += at;
    t.out.c = dp;
    t.keys = l->keys + swin__offset(at, 16);
    t.depth = l->q.c;
    t.v = l->v.data + at;
    t.ldv = (size_t)l->v.ld;
    t.block = SWIN__KEYS;
    if (l->bias.data) t.bias = swin__pixel(&l->bias, from), t.ldb = (size_t)l->bias.ld;
    swin__stream_room(&t, scratch);
    swin__stream_keys(c, &t, swin__pixels(&l->v));
}

/* Plans the mixes, and gives q, k and v back; returns them. */
static swin__fmap swin__plan_attend(swin__plan *p, int level, swin__fmap q, swin__fmap k,
                                    swin__fmap v, swin__fmap bias, int heads)
{
    int queries = swin__pixels(&q), groups = swin__divide_up(queries, SWIN__GLOBAL_QUERIES);
    swin__job job = { "attend", level, swin__query_attend, heads * groups,
                      swin__stream_scratch(SWIN__KEYS),
                      2.0 * queries * swin__pixels(&k) * q.c };
    float *keys = swin__plan_panels(p, "key panels", level, k);
    swin__attend_layer l;
    swin__release(p, k.data);
    memset(&l, 0, sizeof l);
    l.q = q;
    l.keys = keys;
    l.v = v;
    l.bias = bias;
    l.heads = heads;
    l.out = swin__alloc_factor(p, q.h, q.w, q.c);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, keys);
    swin__release(p, q.data);
    swin__release(p, v.data);
    return l.out;
}

/* A product of all queries; returns its output. */
static swin__fmap swin__plan_query_linear(swin__plan *p, const char *name, int level,
                                          swin__fmap in, swin__linear linear, int channels,
                                          int act)
{
    swin__dense_layer dense = swin__make_dense(in.data, in.ld, linear,
                                               swin__alloc_fmap(p, in.h, in.w, channels));
    dense.act = act;
    swin__plan_dense(p, name, level, dense);
    return dense.out;
}

/* x = norm(x + W in + b); gives `in` back. */
static void swin__plan_query_sum(swin__plan *p, int level, swin__fmap x, swin__fmap in,
                                 swin__linear linear, swin__affine norm)
{
    swin__dense_layer dense = swin__make_dense(in.data, in.ld, linear, x);
    swin__norm_layer after = { x, x, norm, SWIN__EPS, 0, 0 };
    dense.onto = 1;
    swin__plan_dense(p, "proj", level, dense);
    swin__release(p, in.data);
    swin__add_norm(p, level, &after);
}

/* --- layers of queries ------------------------------------------------------------------------ */

/* The queries while layers are planned. */
typedef struct swin__query_state {
    swin__fmap x;               /* [count][width] */
    const float *place;         /* of each query: [count][ld] */
    int heads, hidden;
} swin__query_state;

/* One layer's weights. */
typedef struct swin__query_layer {
    swin__query_attention self, cross;
    swin__linear fc1, fc2;
    swin__affine norm;
} swin__query_layer;

/* Binds layer i of a decoder, "decoder" or "start"; cross_first: which attention comes first. */
static void swin__bind_query_layer(swin__binder *b, swin__query_layer *l, const char *decoder,
                                   int i, int hidden, int cross_first)
{
    const swin_queries_config *g = &b->model->config.queries;
    swin__format(b->prefix, sizeof b->prefix, "head.%s.layer%d.", decoder, i);
    if (cross_first) swin__bind_attention(b, &l->cross, "cross", 1, g->width, g->heads);
    swin__bind_attention(b, &l->self, "self", 1 + cross_first, g->width, g->heads);
    if (!cross_first) swin__bind_attention(b, &l->cross, "cross", 2, g->width, g->heads);
    l->fc1 = swin__take_linear(b, "fc1", hidden, g->width, 1);
    l->fc2 = swin__take_linear(b, "fc2", g->width, hidden, 1);
    l->norm = swin__take_affine(b, "norm3", g->width);
    swin__format(b->prefix, sizeof b->prefix, "head.");
}

/* out = a + b, row by row. */
typedef struct swin__placed_layer { swin__fmap out; const float *a, *b; } swin__placed_layer;

static void swin__place_queries(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    static const float ones[2] = { 1, 1 };
    const swin__placed_layer *l = (const swin__placed_layer *)s->layer;
    swin__rows out = swin__unit_rows(&l->out, s, unit);
    size_t at = (size_t)(out.data - l->out.data);
    const float *from[2];
    (void)scratch;
    from[0] = l->a + at;
    from[1] = l->b + at;
    c->kernels->combine(out.data, out.n * l->out.ld, from, ones, 2, 0);
}

/* Plans the queries with their places; returns them. */
static swin__fmap swin__plan_placed(swin__plan *p, const swin__query_state *q)
{
    swin__job job = { "places", -1, swin__place_queries, 0, 0, 0 };
    swin__placed_layer l;
    l.out = swin__alloc_fmap(p, q->x.h, q->x.w, q->x.c);
    l.a = q->x.data;
    l.b = q->place;
    job.units = swin__divide_up(swin__pixels(&q->x), SWIN__SEEN_ROWS);
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* The queries attend to each other. */
static void swin__plan_self(swin__plan *p, int level, const swin__query_state *state,
                            const swin__query_attention *a)
{
    const swin__fmap none = { NULL, 0, 0, 0, 0 };
    int packed = swin__packed(state->heads, state->x.c);
    swin__fmap placed = swin__plan_placed(p, state), q, k, v, out;
    q = swin__plan_query_linear(p, "q", level, placed, a->q, packed, SWIN__LINEAR);
    k = swin__plan_query_linear(p, "k", level, placed, a->k, packed, SWIN__LINEAR);
    swin__release(p, placed.data);
    v = swin__plan_query_linear(p, "v", level, state->x, a->v, packed, SWIN__LINEAR);
    out = swin__plan_attend(p, level, q, k, v, none, state->heads);
    swin__plan_query_sum(p, level, state->x, out, a->proj, a->norm);
}

/* What queries attend to: a map's size, and what keys and values see of it. */
typedef struct swin__memory { swin__fmap like; swin__sight keys, values; } swin__memory;

/* The queries attend to a map. bias: of each query to each pixel; data NULL: none. */
static void swin__plan_cross_attention(swin__plan *p, int level, const swin__query_state *state,
                                       const swin__query_attention *a, const swin__memory *memory,
                                       swin__fmap bias)
{
    int packed = swin__packed(state->heads, state->x.c);
    swin__fmap placed = swin__plan_placed(p, state), q, k, v, out;
    q = swin__plan_query_linear(p, "q", level, placed, a->q, packed, SWIN__LINEAR);
    swin__release(p, placed.data);
    k = swin__plan_sight(p, "k", level, memory->keys, memory->like, a->k, packed);
    v = swin__plan_sight(p, "v", level, memory->values, memory->like, a->v, packed);
    out = swin__plan_attend(p, level, q, k, v, bias, state->heads);
    swin__plan_query_sum(p, level, state->x, out, a->proj, a->norm);
}

/* The queries' feed-forward network. */
static void swin__plan_feed_forward(swin__plan *p, int level, const swin__query_state *state,
                                    const swin__query_layer *l)
{
    swin__fmap middle = swin__plan_query_linear(p, "fc1", level, state->x, l->fc1, state->hidden,
                                                SWIN__RELU);
    swin__plan_query_sum(p, level, state->x, middle, l->fc2, l->norm);
}

/* The weights of layer i of a decoder. */
static swin__query_layer swin__find_query_layer(swin__plan *p, const char *decoder, int i,
                                                int hidden, int cross_first)
{
    swin__query_layer l;
    char name[64];
    swin__binder b;
    memset(&l, 0, sizeof l);
    swin__format(name, sizeof name, "head.%s.layer%d.%s.q.weight", decoder, i,
                 cross_first ? "cross" : "self");
    b = swin__binder_at(p, name);
    swin__bind_query_layer(&b, &l, decoder, i, hidden, cross_first);
    return l;
}

/* Rows as they start: zeros, or those of `like`, or its first row for all. */
typedef struct swin__fill_layer { swin__fmap out; const float *like; int first; } swin__fill_layer;

/* A unit is a row. */
static void swin__fill(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__fill_layer *l = (const swin__fill_layer *)s->layer;
    float *row = swin__pixel(&l->out, unit);
    (void)c;
    (void)scratch;
    if (!l->like) swin__clear(row, l->out.ld);
    else swin__copy(row, l->like + swin__offset(l->first ? 0 : unit, l->out.ld), l->out.ld);
}

/* Plans such rows. */
static swin__fmap swin__plan_fill(swin__plan *p, int count, int channels, const float *like,
                                  int first)
{
    swin__job job = { "start", -1, swin__fill, count, 0, 0 };
    swin__fill_layer l;
    l.out = swin__alloc_fmap(p, count, 1, channels);
    l.like = like;
    l.first = first;
    swin__add_step(p, &job, &l, sizeof l);
    return l.out;
}

/* Rows of so many queries that the blob stores, as floats. */
static const float *swin__query_rows(swin__plan *p, swin__stored rows, int count, int channels)
{
    return swin__stored_floats(p, rows, swin__offset(count, swin__padded(channels)));
}

/* Plans the layers of a decoder without masks, DETR's. */
static void swin__plan_detr(swin__plan *p, const char *decoder, int layers,
                            const swin__query_state *state, const swin__memory *memory)
{
    const swin__fmap none = { NULL, 0, 0, 0, 0 };
    for (int i = 0; i < layers && p->status == SWIN_OK; i++) {
        const swin__query_layer l = swin__find_query_layer(p, decoder, i, state->hidden, 0);
        swin__plan_self(p, i, state, &l.self);
        swin__plan_cross_attention(p, i, state, &l.cross, memory, none);
        swin__plan_feed_forward(p, i, state, &l);
    }
}

/* --- classes of queries ----------------------------------------------------------------------- */

/* Logits become probabilities in place; that of the last class, which stands for none, goes to
   zero, and to none[query] if there is such a place. */
typedef struct swin__share_layer { swin__fmap x; float *none; } swin__share_layer;

static void swin__query_softmax(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    const swin__share_layer *l = (const swin__share_layer *)s->layer;
    float *row = swin__pixel(&l->x, unit);
    (void)scratch;
    for (int k = l->x.c; k < l->x.ld; k++) row[k] = SWIN__NO_SCORE;
    float inverse[16];
    c->kernels->softmax(row, (size_t)l->x.ld, 1, l->x.ld, NULL, 0, inverse);
    c->kernels->scale(row, (size_t)l->x.ld, 1, l->x.ld, inverse);
    if (l->none) l->none[unit] = row[l->x.c - 1];
    row[l->x.c - 1] = 0;
}

/* Plans each query's probabilities of the classes, from its normed channels; returns them. */
static swin__fmap swin__plan_query_classes(swin__plan *p, swin__fmap x)
{
    swin__job job = { "softmax", -1, swin__query_softmax, swin__pixels(&x), 0, 0 };
    swin__share_layer l;
    l.x = swin__plan_query_linear(p, "classify", -1, x, p->weights->classify,
                                  p->config->classes + 1, SWIN__LINEAR);
    l.none = NULL;
    if (p->desc.outputs & SWIN_OUT_SEGMENTS)
        l.none = swin__alloc(p, swin__floats(swin__pixels(&x), 1));
    p->scores.none = l.none;
    swin__add_step(p, &job, &l, sizeof l);
    return l.x;
}

/* Plans what queries multiply pixels with to give masks: MLP3 of their normed channels. */
static swin__fmap swin__plan_mask_rows(swin__plan *p, swin__fmap x)
{
    const swin__query_weights *w = &p->weights->queries;
    swin__fmap a = swin__plan_query_linear(p, "mask fc1", -1, x, w->fc1, x.c, SWIN__RELU), b, out;
    b = swin__plan_query_linear(p, "mask fc2", -1, a, w->fc2, x.c, SWIN__RELU);
    swin__release(p, a.data);
    out = swin__plan_query_linear(p, "mask fc3", -1, b, w->fc3, p->config->queries.masks,
                                  SWIN__LINEAR);
    swin__release(p, b.data);
    return out;
}

/* Plans the end of a decoder: masks and classes of the queries, which it gives back, as pixels.
   Returns the masks; *classes: the probabilities. */
static swin__fmap swin__plan_query_results(swin__plan *p, swin__fmap x, swin__fmap pixels,
                                           swin__fmap *classes)
{
    swin__fmap normed = swin__plan_norm(p, -1, x, p->weights->queries.norm, SWIN__EPS), rows, out;
    float *panels;
    swin__release(p, x.data);
    *classes = swin__plan_query_classes(p, normed);
    rows = swin__plan_mask_rows(p, normed);
    swin__release(p, normed.data);
    panels = swin__plan_panels(p, "mask panels", -1, rows);
    out = swin__plan_linear(p, "masks", -1, pixels, p->config->queries.count,
                            swin__panel_linear(panels, rows.ld), SWIN__LINEAR);
    swin__release(p, panels);
    swin__release(p, rows.data);
    swin__release(p, pixels.data);
    return out;
}

/* --- pixel decoders: an FPN ------------------------------------------------------------------- */

enum { SWIN__GROUPS = 32 };     /* of every GroupNorm */

/* Binds a convolution and its GroupNorm. */
static swin__normed swin__take_normed(swin__binder *b, const char *name, int outputs, int inputs,
                                      int bias)
{
    swin__normed n;
    char full[24];
    n.linear = swin__take_linear(b, name, outputs, inputs, bias);
    swin__format(full, sizeof full, "%s.norm", name);
    n.norm = swin__take_affine(b, full, outputs);
    return n;
}

/* Binds the lateral and the output convolution of a level. */
static void swin__bind_pixel_level(swin__binder *b, swin__query_weights *w, int level, int inputs)
{
    int ch = b->model->config.head.channels;
    char name[24];
    swin__format(name, sizeof name, "pixel.lateral%d", level);
    w->lateral[level] = swin__take_normed(b, name, ch, inputs, 0);
    swin__format(name, sizeof name, "pixel.out%d", level);
    w->out[level] = swin__take_normed(b, name, ch, 9 * ch, 0);
}

/* x = another map, resized along axes; or x += it. */
typedef struct swin__onto_layer { swin__fmap x; swin__source source; int adds; } swin__onto_layer;

/* A unit is a row of the map. */
static void swin__resize_onto(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__onto_layer *l = (const swin__onto_layer *)s->layer;
    (void)scratch;
    for (int x = 0; x < l->x.w; x++) {
        swin__mix mix;
        swin__resized_pixel(&l->source, unit, x, 0, &mix);
        swin__combine(c, &mix, l->x.ld, swin__at(&l->x, unit, x), l->adds);
    }
}

static void swin__plan_onto(swin__plan *p, const char *name, int level, swin__fmap x,
                            swin__fmap map, int nearest, int adds)
{
    swin__job job = { name, level, swin__resize_onto, x.h, 0, 0 };
    swin__onto_layer l;
    memset(&l, 0, sizeof l);
    l.x = x;
    l.adds = adds;
    l.source.map = map;
    l.source.resized = 1;
    l.source.rows = nearest ? swin__axis_nearest(p, map.h, x.h)
                            : swin__axis_bilinear(p, map.h, x.h, 0, x.h, 0);
    l.source.cols = nearest ? swin__axis_nearest(p, map.w, x.w)
                            : swin__axis_bilinear(p, map.w, x.w, 0, x.w, 0);
    swin__add_step(p, &job, &l, sizeof l);
}

/* Zeros for n channels, as the bias of a convolution that has none. */
static const float *swin__no_bias(swin__plan *p, int n)
{
    uint64_t bytes = (uint64_t)swin__padded(n) * sizeof(float);
    float *zeros = (float *)swin__table(p, bytes);
    if (p->context) memset(zeros, 0, (size_t)bytes);
    return zeros;
}

/* Plans a 3x3 convolution to the channels of the pixel decoder, its norm and ReLU. */
static swin__fmap swin__plan_normed_conv(swin__plan *p, int level, swin__fmap x,
                                         const swin__normed *n)
{
    swin__conv conv = swin__make_conv(n->linear, 3, x.c, x, p->config->head.channels);
    swin__fmap out;
    conv.act = SWIN__LINEAR;
    conv.bias = swin__no_bias(p, conv.out.c);
    swin__add_source(&conv, x, 0);
    out = swin__plan_conv(p, "pixel conv", level, conv);
    swin__plan_group_norm(p, "group norm", level, out, n->norm, SWIN__GROUPS, SWIN__RELU);
    return out;
}

/* Plans a level of the pixel decoder: the lateral of a feature, plus the level above, convolved.
   Drops the feature. */
static swin__fmap swin__plan_pixel_level(swin__plan *p, int level, swin__fmap feature,
                                         swin__fmap above, int nearest)
{
    const swin__query_weights *w = &p->weights->queries;
    swin__fmap x = swin__plan_linear(p, "lateral", level, feature, p->config->head.channels,
                                     w->lateral[level].linear, SWIN__LINEAR), out;
    swin__drop_feature(p, feature);
    swin__plan_group_norm(p, "group norm", level, x, w->lateral[level].norm, SWIN__GROUPS,
                          SWIN__LINEAR);
    swin__plan_onto(p, "add resized", level, x, above, nearest, 1);
    out = swin__plan_normed_conv(p, level, x, &w->out[level]);
    swin__release(p, x.data);
    return out;
}

/* --- pixel decoders: deformable attention -----------------------------------------------------

   The pixels of three levels, coarse to fine, are tokens, one row after the other. Each head of a
   token reads the values of all levels at some places near its own, which the token chooses. */

enum { SWIN__POINTS = 4, SWIN__PLACES = SWIN__LEVELS * SWIN__POINTS };

typedef struct swin__pixel_layer {
    swin__linear offsets, weights, value, proj, fc1, fc2;
    swin__affine norm1, norm2;
} swin__pixel_layer;

/* Binds layer i. Offsets are (head, level, point, {x, y}); a head's weights are padded to 16. */
static void swin__bind_pixel_layer(swin__binder *b, swin__pixel_layer *l, int i)
{
    const swin_config *g = &b->model->config;
    int ch = g->head.channels, heads = g->queries.pixel_heads, hidden = g->queries.pixel_hidden;
    swin__format(b->prefix, sizeof b->prefix, "head.pixel.layer%d.", i);
    l->offsets = swin__take_linear(b, "offsets", 2 * SWIN__PLACES * heads, ch, 1);
    l->weights = swin__take_linear(b, "weights", 16 * heads, ch, 1);
    l->value = swin__take_linear(b, "value", swin__packed(heads, ch), ch, 1);
    l->proj = swin__take_linear(b, "proj", ch, swin__packed(heads, ch), 1);
    l->norm1 = swin__take_affine(b, "norm1", ch);
    l->fc1 = swin__take_linear(b, "fc1", hidden, ch, 1);
    l->fc2 = swin__take_linear(b, "fc2", ch, hidden, 1);
    l->norm2 = swin__take_affine(b, "norm2", ch);
    swin__format(b->prefix, sizeof b->prefix, "head.");
}

/* Tokens, and the maps of the levels among them. */
typedef struct swin__tokens {
    swin__fmap all;             /* one column */
    swin__fmap level[SWIN__LEVELS];
} swin__tokens;

/* x = norm(x + proj(each head's samples of the values)). */
typedef struct swin__deform_layer {
    swin__tokens x;
    swin__fmap values[SWIN__LEVELS];    /* [heads][ep] channels */
    swin__sight seen[SWIN__LEVELS];      /* what offsets and weights are made of */
    swin__pixel_layer weights;
    int heads;
} swin__deform_layer;

/* A task's memory for a unit's tokens. */
typedef struct swin__deform_rows {
    swin__rows in, room, offsets, weights, sampled, out;
    float *inverse;
} swin__deform_rows;

/* The floats of n tokens' memory. */
static uint64_t swin__deform_room(const swin__deform_layer *l, int n)
{
    const swin__fmap *x = &l->x.all;
    int offsets = swin__padded(2 * SWIN__PLACES * l->heads);
    return swin__floats(n, 2 * x->ld + swin__quantised(x->c) + offsets + l->values[0].c) +
           swin__floats(n, 17 * l->heads);
}

static swin__deform_rows swin__lay_deform(const swin__deform_layer *l, int n, float *memory)
{
    const swin__fmap *x = &l->x.all;
    int packed = l->values[0].c, offsets = swin__padded(2 * SWIN__PLACES * l->heads);
    swin__deform_rows r;
    r.in = swin__make_rows(memory, x->ld, n, x->c);
    r.room = swin__make_rows(swin__row(r.in, n), swin__quantised(x->c), n, x->c);
    r.offsets = swin__make_rows(swin__row(r.room, n), offsets, n, 2 * SWIN__PLACES * l->heads);
    r.weights = swin__make_rows(swin__row(r.offsets, n), 16 * l->heads, n, 16 * l->heads);
    r.sampled = swin__make_rows(swin__row(r.weights, n), packed, n, packed);
    r.out = swin__make_rows(swin__row(r.sampled, n), x->ld, n, x->c);
    r.inverse = swin__row(r.out, n);
    return r;
}

/* The softmax of each head's weights over its places. */
static void swin__weigh_places(const swin_context *c, const swin__deform_rows *r, int heads)
{
    for (int i = 0; i < r->weights.n * heads; i++)
        for (int k = SWIN__PLACES; k < 16; k++)
            r->weights.data[16 * (size_t)i + (size_t)k] = SWIN__NO_SCORE;
    c->kernels->softmax(r->weights.data, 16, r->weights.n * heads, 16, NULL, 0, r->inverse);
    c->kernels->scale(r->weights.data, 16, r->weights.n * heads, 16, r->inverse);
}

/* What a head of row i of a unit reads of a level: the token's own place in its level, of h x w
   pixels, is (y, x). */
static void swin__sample_level(const swin_context *c, const swin__deform_layer *l,
                               const swin__deform_rows *r, int i, int head, int level,
                               const float place[2])
{
    const swin__fmap *v = &l->values[level];
    int ep = v->c / l->heads, first = level * SWIN__POINTS;
    const float *offset = swin__row(r->offsets, i) + 2 * (head * SWIN__PLACES + first);
    float y[SWIN__POINTS], x[SWIN__POINTS];
    swin__samples s;
    for (int k = 0; k < SWIN__POINTS; k++) {
        x[k] = swin__timesf(place[1], (float)v->w) + offset[2 * k] - 0.5f;
        y[k] = swin__timesf(place[0], (float)v->h) + offset[2 * k + 1] - 0.5f;
    }
    s.map = v->data + head * ep;
    s.ld = (size_t)v->ld;
    s.h = v->h;
    s.w = v->w;
    s.count = SWIN__POINTS;
    s.y = y;
    s.x = x;
    s.factor = swin__row(r->weights, i) + 16 * head + first;
    c->kernels->sample(swin__row(r->sampled, i) + head * ep, 0, ep, &s, 1);
}

/* The level of a unit, and its tokens there, which are taken SWIN__SEEN_ROWS at a time. */
static int swin__token_level(const swin__tokens *x, int unit, int *from, int *count)
{
    int level = 0, units;
    for (; unit >= (units = swin__divide_up(swin__pixels(&x->level[level]), SWIN__SEEN_ROWS));
         level++)
        unit -= units;
    *from = unit * SWIN__SEEN_ROWS;
    *count = swin__min(SWIN__SEEN_ROWS, swin__pixels(&x->level[level]) - *from);
    return level;
}

static void swin__deform(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__deform_layer *l = (const swin__deform_layer *)s->layer;
    const swin__pixel_layer *w = &l->weights;
    int from, n, level = swin__token_level(&l->x, unit, &from, &n);
    const swin__fmap *own = &l->x.level[level];
    const swin__deform_rows r = swin__lay_deform(l, n, scratch);
    swin__rows x = swin__map_rows(own, from, n);
    swin__product sum;
    swin__see(c, &l->seen[level], from, r.in);
    swin__apply(c, &w->offsets, swin__factor(c, &w->offsets.weight, r.in, r.room.data), r.offsets,
                SWIN__LINEAR);
    swin__apply_to_own(c, &w->weights, r.in, r.weights, SWIN__LINEAR);
    swin__weigh_places(c, &r, l->heads);
    swin__clear_rows(r.sampled);
    for (int i = 0; i < n; i++) {
        int row = (from + i) / own->w, col = (from + i) % own->w;
        float place[2];
        place[0] = ((float)row + 0.5f) / (float)own->h;
        place[1] = ((float)col + 0.5f) / (float)own->w;
        for (int head = 0; head < l->heads; head++)
            for (int at = 0; at < SWIN__LEVELS; at++)
                swin__sample_level(c, l, &r, i, head, at, place);
    }
    sum = swin__rows_product(&w->proj, swin__factor(c, &w->proj.weight, r.sampled, NULL), r.out,
                             SWIN__LINEAR);
    sum.onto = x.data;
    sum.ldo = x.ld;
    swin__multiply(c, &sum);
    swin__norm_rows(c, &w->norm1, SWIN__EPS, x, x);
}

/* Plans the tokens' feed-forward network. */
static void swin__plan_token_mlp(swin__plan *p, int level, swin__fmap x,
                                 const swin__pixel_layer *w, int hidden)
{
    double madds = 2.0 * x.c * hidden;
    int units = swin__units(swin__pixels(&x), madds / 2, SWIN__MANY);
    int rows = swin__divide_up(swin__pixels(&x), units);
    swin__job job = { "mlp", level, swin__mlp, units, 0, madds * swin__pixels(&x) };
    swin__mlp_layer l = { x, w->norm2, w->fc1, w->fc2, hidden,
                          swin__min(swin__padded(hidden), SWIN__MLP_COLUMNS), 0, SWIN__RELU, 1 };
    job.scratch = swin__floats(rows + 1, 2 * x.ld + l.col_count);
    swin__add_step(p, &job, &l, sizeof l);
}

/* Plans layer number `at`, in place on the tokens. */
static void swin__plan_pixel_layer(swin__plan *p, int at, const swin__tokens *x,
                                   const swin__sight seen[SWIN__LEVELS])
{
    const swin_queries_config *g = &p->config->queries;
    int ch = x->all.c, packed = swin__packed(g->pixel_heads, ch);
    swin__job job = { "deformable attention", at, swin__deform, 0, 0, 0 };
    swin__deform_layer l;
    swin__fmap values;
    char name[64];
    swin__binder b;
    swin__format(name, sizeof name, "head.pixel.layer%d.offsets.weight", at);
    b = swin__binder_at(p, name);
    memset(&l, 0, sizeof l);
    swin__bind_pixel_layer(&b, &l.weights, at);
    values = swin__plan_linear(p, "value", at, x->all, packed, l.weights.value, SWIN__LINEAR);
    l.x = *x;
    l.heads = g->pixel_heads;
    for (int i = 0; i < SWIN__LEVELS; i++) {
        l.seen[i] = seen[i];
        l.values[i] = x->level[i];
        l.values[i].c = values.c;
        l.values[i].ld = values.ld;
        l.values[i].data = swin__pixel(&values, (int)((x->level[i].data - x->all.data) /
                                                      x->all.ld));
        job.units += swin__divide_up(swin__pixels(&x->level[i]), SWIN__SEEN_ROWS);
    }
    job.scratch = swin__deform_room(&l, SWIN__SEEN_ROWS);
    job.madds = (double)swin__pixels(&x->all) *
                ((double)ch * (packed + (2 * SWIN__PLACES + 16) * l.heads) +
                 4.0 * (double)SWIN__PLACES * packed);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, values.data);
    swin__plan_token_mlp(p, at, x->all, &l.weights, g->pixel_hidden);
}

/* Plans the tokens: features, coarsest first, projected and normed; drops but the finest. */
static swin__tokens swin__plan_tokens(swin__plan *p, const swin__fmap *feature)
{
    int inputs[SWIN_MAX_STAGES] = {0}, ch = p->config->head.channels, all = 0;
    int64_t tokens = 0;
    swin__tokens x;
    swin__head_inputs(p->config, inputs);
    for (int l = 0; l < SWIN__LEVELS; l++) tokens += swin__pixels(&feature[inputs[3 - l]]);
    x.all = swin__alloc_fmap(p, swin__product_fits(p, "pixels of three levels", tokens, 1), 1, ch);
    for (int l = 0; l < SWIN__LEVELS; l++) {
        const swin__normed *w = &p->weights->queries.level[l];
        swin__linear_layer layer;
        x.level[l] = feature[inputs[3 - l]];
        x.level[l].data = swin__pixel(&x.all, all);
        x.level[l].c = ch;
        x.level[l].ld = x.all.ld;
        all += swin__pixels(&x.level[l]);
        memset(&layer, 0, sizeof layer);
        layer.in = feature[inputs[3 - l]];
        layer.out = x.level[l];
        layer.linear = w->linear;
        layer.act = SWIN__LINEAR;
        swin__add_linear(p, "project", 3 - l, &layer);
        swin__drop_feature(p, feature[inputs[3 - l]]);
        swin__plan_group_norm(p, "group norm", 3 - l, x.level[l], w->norm, SWIN__GROUPS,
                              SWIN__LINEAR);
    }
    return x;
}

/* Plans the pixel decoder: the tokens' layers, and above them the finest level. Returns the tokens;
   *pixels: what queries multiply. */
static swin__tokens swin__plan_deformable(swin__plan *p, const swin__fmap *feature,
                                          swin__fmap *pixels)
{
    const swin__query_weights *w = &p->weights->queries;
    int inputs[SWIN_MAX_STAGES], ch = p->config->head.channels;
    swin__tokens x = swin__plan_tokens(p, feature);
    const float *levels = swin__query_rows(p, w->pixel_levels, SWIN__LEVELS, ch);
    swin__sight seen[SWIN__LEVELS];
    swin__fmap fine;
    for (int l = 0; l < SWIN__LEVELS; l++) {
        seen[l] = swin__see_map(&x.level[l]);
        seen[l].level = levels + swin__offset(l, x.all.ld);
        seen[l].sines = swin__plan_sines(p, x.level[l].h, x.level[l].w, ch);
    }
    for (int i = 0; i < p->config->queries.pixel_layers && p->status == SWIN_OK; i++)
        swin__plan_pixel_layer(p, i, &x, seen);
    swin__head_inputs(p->config, inputs);
    fine = swin__plan_pixel_level(p, 0, feature[inputs[0]], x.level[SWIN__LEVELS - 1], 0);
    *pixels = swin__plan_linear(p, "mask features", 0, fine, p->config->queries.masks, w->mask,
                                SWIN__LINEAR);
    swin__release(p, fine.data);
    return x;
}

/* --- a decoder whose masks guide it ----------------------------------------------------------- */

/* Where queries' masks of a level are below zero, they do not look; but a query without any other
   pixel looks everywhere. Masks become the bias of attention, in place. */
typedef struct swin__guide_layer { swin__fmap masks; } swin__guide_layer;

/* A unit is a query. */
static void swin__guide(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__guide_layer *l = (const swin__guide_layer *)s->layer;
    float *row = swin__pixel(&l->masks, unit);
    int open = 0;
    (void)c;
    (void)scratch;
    for (int k = 0; k < l->masks.c; k++) open |= !(row[k] < 0);
    for (int k = 0; k < l->masks.c; k++) row[k] = open && row[k] < 0 ? SWIN__NO_SCORE : 0;
    for (int k = l->masks.c; k < l->masks.ld; k++) row[k] = SWIN__NO_SCORE;
}

/* Plans the pixels that queries multiply, at the size of a level: as resizing commutes with the
   product, masks need no larger size. Returns panels. */
static float *swin__plan_level_panels(swin__plan *p, int level, swin__fmap pixels,
                                      swin__fmap like)
{
    swin__fmap x = swin__alloc_fmap(p, like.h, like.w, pixels.c);
    float *panels;
    swin__plan_onto(p, "resize", level, x, pixels, 0, 0);
    panels = swin__plan_panels(p, "resize panels", level, x);
    swin__release(p, x.data);
    return panels;
}

/* Plans the bias by which the queries' masks guide their attention to a level. */
static swin__fmap swin__plan_guide(swin__plan *p, int layer, swin__fmap x, const float *panels,
                                   int ld, swin__fmap like)
{
    swin__job job = { "guide", layer, swin__guide, swin__pixels(&x), 0, 0 };
    swin__fmap normed = swin__plan_norm(p, layer, x, p->weights->queries.norm, SWIN__EPS);
    swin__fmap rows = swin__plan_mask_rows(p, normed);
    swin__guide_layer l;
    swin__dense_layer dense;
    swin__release(p, normed.data);
    l.masks = swin__alloc_fmap(p, x.h, 1, swin__pixels(&like));
    dense = swin__make_dense(rows.data, rows.ld, swin__panel_linear(panels, ld), l.masks);
    swin__plan_dense(p, "masks", layer, dense);
    swin__release(p, rows.data);
    swin__add_step(p, &job, &l, sizeof l);
    return l.masks;
}

/* What a decoder attends to: the levels, and their panels, rows of ld floats. */
typedef struct swin__guided {
    swin__memory memory[SWIN__LEVELS];
    float *panels[SWIN__LEVELS];
    int ld;
} swin__guided;

/* Plans what the decoder attends to: the tokens' levels, projected where the model does so. */
static swin__guided swin__plan_guided(swin__plan *p, const swin__tokens *x, swin__fmap pixels)
{
    const swin_queries_config *g = &p->config->queries;
    const swin__query_weights *w = &p->weights->queries;
    const float *levels = swin__query_rows(p, w->levels, SWIN__LEVELS, g->width);
    swin__guided to;
    to.ld = swin__padded(pixels.c);
    for (int l = 0; l < SWIN__LEVELS; l++) {
        swin__fmap map = x->level[l];
        if (g->projected)
            map = swin__plan_linear(p, "project", 3 - l, map, g->width, w->project[l],
                                    SWIN__LINEAR);
        to.memory[l].like = map;
        to.memory[l].values = swin__see_map(&map);
        to.memory[l].values.level = levels + swin__offset(l, map.ld);
        to.memory[l].keys = to.memory[l].values;
        to.memory[l].keys.sines = swin__plan_sines(p, map.h, map.w, g->width);
        to.panels[l] = swin__plan_level_panels(p, 3 - l, pixels, map);
    }
    return to;
}

/* Plans the decoder, whose layers take the levels in turn, and gives back what it attends to. */
static void swin__plan_guided_layers(swin__plan *p, const swin__query_state *state,
                                     const swin__tokens *x, const swin__guided *to)
{
    const swin_queries_config *g = &p->config->queries;
    for (int i = 0; i < g->layers && p->status == SWIN_OK; i++) {
        const swin__query_layer l = swin__find_query_layer(p, "decoder", i, state->hidden, 1);
        const swin__memory *memory = &to->memory[i % SWIN__LEVELS];
        swin__fmap bias = swin__plan_guide(p, i, state->x, to->panels[i % SWIN__LEVELS], to->ld,
                                           memory->like);
        swin__plan_cross_attention(p, i, state, &l.cross, memory, bias);
        swin__release(p, bias.data);
        swin__plan_self(p, i, state, &l.self);
        swin__plan_feed_forward(p, i, state, &l);
    }
    for (int l = 0; l < SWIN__LEVELS; l++) {
        swin__release(p, to->panels[l]);
        if (g->projected) swin__release(p, to->memory[l].like.data);
    }
    swin__release(p, x->all.data);
}

/* --- the end of all heads with queries -------------------------------------------------------- */

static void swin__bind_query_results(swin__binder *b, swin__weights *w)
{
    const swin_queries_config *g = &b->model->config.queries;
    swin__query_weights *q = &w->queries;
    q->norm = swin__take_affine(b, "decoder.norm", g->width);
    q->fc1 = swin__take_linear(b, "mask_embed.fc1", g->width, g->width, 1);
    q->fc2 = swin__take_linear(b, "mask_embed.fc2", g->width, g->width, 1);
    q->fc3 = swin__take_linear(b, "mask_embed.fc3", g->masks, g->width, 1);
    w->classify = swin__take_linear(b, "classify", b->model->config.classes + 1, g->width, 1);
}

/* From n rows or columns of masks to those of the scores, by the model's rule. */
static swin__axis swin__score_axis(swin__plan *p, int rule, int n, int input, int picture)
{
    int padded = swin__padded_side(p->config, input);
    if (rule == SWIN_SCORES_AT_384) return swin__axis_bilinear(p, n, 384, 0, 384, 0);
    if (rule == SWIN_SCORES_AT_INPUT) return swin__axis_bilinear(p, n, padded, 0, input, 0);
    if (rule == SWIN_SCORES_AT_PICTURE) return swin__axis_cut(p, n, padded, input, picture, 0, 0);
    return swin__axis_bilinear(p, n, n, 0, n, 0);
}

/* Plans what follows a decoder's last layer, from the queries and the pixels that they multiply,
   both of which it gives back: masks and classes. Returns the masks, which p->scores has, too. A
   sliding window makes its scores no larger than its input. */
static swin__fmap swin__plan_query_scores(swin__plan *p, swin__fmap x, swin__fmap pixels)
{
    swin__scores *s = &p->scores;
    int rule = p->config->queries.scores;
    if (rule == SWIN_SCORES_AT_PICTURE && swin__slides(&p->crops)) rule = SWIN_SCORES_AT_INPUT;
    s->masks = swin__plan_query_results(p, x, pixels, &s->shares);
    s->rows = swin__score_axis(p, rule, s->masks.h, p->crops.h, p->desc.picture_height);
    s->cols = swin__score_axis(p, rule, s->masks.w, p->crops.w, p->desc.picture_width);
    return s->masks;
}

/* -------------------------------------------------------------------------- */
/* >>segments: which pixels are of one thing, or of one kind of stuff

   Panoptic results: the queries that are sure of a class compete for each pixel, and the one of the
   highest product of its class's and its mask's probability wins it. What a query wins is a segment
   if that is most of its mask. Instances: the most probable pairs of a query and a class are rivals
   in the same way, or their masks, all pixels of which are theirs, overlap, and the map shows one
   of those that a pixel has.
   Masks of the picture's size are never in memory: bands of rows count what each rival has, in
   whole numbers, then it is decided, then the winners' numbers become ids. Where masks overlap, a
   walk over the grid of scores sums up their probabilities before. */

/* What may become a segment: a query, or a pair of a query and a class. The last one of a list is
   followed by one with query -1. */
typedef struct swin__rival { int query, class_id; float score; } swin__rival;

/* What a rival has in some rows. */
typedef struct swin__claim {
    int mask;                   /* pixels of its mask */
    int won;                    /* that it wins, */
    int area;                   /* and of these, such as become its segment's, in this box: */
    int left, top, right, bottom;       /* the last two are the first column and row beyond */
    uint64_t sure;              /* the sum of its mask's probabilities, in units of 2^-24, of which
                                   those above 1/2 are whole numbers */
} swin__claim;

/* All that the steps from masks to segments share, and how one of them walks over pixels. */
typedef struct swin__contest {
    swin__scores scores;        /* without shares: the masks' probabilities, on their grid */
    swin__fmap shares;          /* the probabilities of the classes, a row a query */
    swin__rival *rivals;
    swin__claim *claims;        /* [bands][most] */
    int *id;                    /* of the segment of each rival; 0: it has none */
    int rule, most;             /* of rivals */
    swin__fmap grid;            /* a row of what rows and cols read */
    swin__axis rows, cols;      /* to the pixels that are walked over */
    int bands;                  /* of these */
    int straight;               /* 1: from the masks' logits; 0: from the grid of probabilities */
    int logits;                 /* 1: pixels are judged by logits, where they are straight */
    /* Counts what rivals have of pixel (y, x), whose masks these are. Who wins it: the number of a
       rival, from 1 on, or 0 where the pixel is no segment's. */
    int (*judge)(const struct swin__contest *l, swin__claim *claims, const float *mask, int y,
                 int x);
} swin__contest;

/* Is class k one of things? */
static int swin__is_thing(const swin_segments_config *g, int k)
{
    return (int)(g->things[k / 32] >> k % 32 & 1);
}

/* Lists the queries that compete; returns the end. */
static swin__rival *swin__list_queries(const swin_config *g, const swin__contest *l)
{
    float least = (float)(g->segments.object_score / 1000.0);
    swin__rival *rival = l->rivals;
    for (int q = 0; q < g->queries.count; q++) {
        const float *share = swin__pixel(&l->shares, q);
        int best = 0;
        for (int k = 1; k < g->classes; k++)
            if (share[k] > share[best]) best = k;
        if (!(share[best] > least && share[best] >= l->scores.none[q])) continue;
        rival->query = q;
        rival->class_id = best;
        rival->score = share[best];
        rival++;
    }
    return rival;
}

/* A pair takes its place in a list of *count that falls in score, behind its equals. */
static void swin__rank_pair(const swin__contest *l, int *count, const swin__rival *pair)
{
    int at = *count;
    if (at == l->most && !(pair->score > l->rivals[--at].score)) return;
    for (; at > 0 && pair->score > l->rivals[at - 1].score; at--) l->rivals[at] = l->rivals[at - 1];
    l->rivals[at] = *pair;
    if (*count < l->most) ++*count;
}

/* Lists the pairs of the highest probability, then drops those of stuff, and where pairs compete
   such as are not sure; returns the end. */
static swin__rival *swin__list_pairs(const swin_config *g, const swin__contest *l)
{
    float least = (float)(g->segments.object_score / 1000.0);
    swin__rival *kept = l->rivals;
    int count = 0;
    for (int q = 0; q < g->queries.count; q++)
        for (int k = 0; k < g->classes; k++) {
            swin__rival pair;
            pair.query = q;
            pair.class_id = k;
            pair.score = swin__pixel(&l->shares, q)[k];
            if (pair.score > 0) swin__rank_pair(l, &count, &pair);
        }
    for (int i = 0; i < count; i++)
        if (swin__is_thing(&g->segments, l->rivals[i].class_id) &&
            (!swin__competes(l->rule) || l->rivals[i].score > least))
            *kept++ = l->rivals[i];
    return kept;
}

static void swin__list_rivals(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__contest *l = (const swin__contest *)s->layer;
    const swin_config *g = &c->model->config;
    (void)unit;
    (void)scratch;
    (swin__lists_pairs(l->rule) ? swin__list_pairs(g, l) : swin__list_queries(g, l))->query = -1;
}

/* Adds what is claimed elsewhere. */
static void swin__add_claim(swin__claim *sum, const swin__claim *claim)
{
    sum->mask += claim->mask;
    sum->won += claim->won;
    sum->sure += claim->sure;
    if (!claim->area) return;
    sum->left = sum->area ? swin__min(sum->left, claim->left) : claim->left;
    sum->top = sum->area ? swin__min(sum->top, claim->top) : claim->top;
    sum->right = swin__max(sum->right, claim->right);
    sum->bottom = swin__max(sum->bottom, claim->bottom);
    sum->area += claim->area;
}

/* What a rival has in all bands. */
static swin__claim swin__sum_claims(const swin__contest *l, int rival)
{
    swin__claim sum;
    memset(&sum, 0, sizeof sum);
    for (int band = 0; band < l->bands; band++)
        swin__add_claim(&sum, &l->claims[(size_t)band * (size_t)l->most + (size_t)rival]);
    return sum;
}

/* Does a rule compare products, and quotients as floats, as Hugging Face's library does where
   rivals compete? */
static int swin__weighs_masks(int rule)
{
    return rule == SWIN_SEGMENTS_HUGGING_FACE || rule == SWIN_SEGMENTS_INSTANCES_ONEFORMER;
}

/* The rival of the highest product wins a pixel. */
static int swin__contest_pixel(const swin__contest *l, swin__claim *claims, const float *mask,
                               int y, int x)
{
    swin__claim claim = { 0, 1, 1, x, y, x + 1, y + 1, 0 };
    int winner = 0, weighs = swin__weighs_masks(l->rule);
    float most = 0;
    for (int k = 0; l->rivals[k].query >= 0; k++) {
        float own = mask[l->rivals[k].query], weighed = swin__timesf(own, l->rivals[k].score);
        claims[k].mask += (weighs ? weighed : own) >= 0.5f;
        if (winner && !(weighed > most)) continue;
        winner = k + 1;
        most = weighed;
    }
    if (!winner) return 0;
    claim.area = l->rule != SWIN_SEGMENTS_MASK2FORMER || mask[l->rivals[winner - 1].query] >= 0.5f;
    swin__add_claim(&claims[winner - 1], &claim);
    return claim.area ? winner : 0;
}

/* Masks' probabilities are added up where they are above 1/2, nobody wins. */
static int swin__measure_pixel(const swin__contest *l, swin__claim *claims, const float *mask,
                               int y, int x)
{
    (void)y;
    (void)x;
    for (int k = 0; l->rivals[k].query >= 0; k++) {
        float own = mask[l->rivals[k].query];
        if (!(own > 0.5f)) continue;
        claims[k].mask++;
        claims[k].sure += (uint32_t)swin__timesf(own, 16777216.0f);
    }
    return 0;
}

/* All rivals whose mask's logit is above zero have a pixel; one is seen. */
static int swin__cover_pixel(const swin__contest *l, swin__claim *claims, const float *mask,
                             int y, int x)
{
    swin__claim claim = { 1, 1, 1, x, y, x + 1, y + 1, 0 };
    int seen = 0;
    for (int k = 0; l->rivals[k].query >= 0; k++) {
        if (!(mask[l->rivals[k].query] > 0)) continue;
        swin__add_claim(&claims[k], &claim);
        if (!seen || l->rule == SWIN_SEGMENTS_INSTANCES_HUGGING_FACE ||
            l->rivals[k].score > l->rivals[seen - 1].score)
            seen = k + 1;
    }
    return seen;
}

/* Makes row y of the masks, whose columns are still those that l->cols read. */
static void swin__mix_masks(const swin_context *c, const swin__contest *l, int y,
                            swin__score_rows *rows, const swin__span *to)
{
    swin__ring masks = swin__whole(l->scores.masks);
    if (l->straight) swin__resize_row(c, &masks, &l->rows, y, to);
    else swin__mix_scores(c, &l->scores, &l->rows, y, rows, to->logits);
}

/* Judges the pixels of row y. row: its masks; pixels: memory for some of them; winner: where who
   wins them goes, or NULL. */
static void swin__judge_row(const swin_context *c, const swin__contest *l, int y,
                            const swin__span *row, swin__rows pixels, swin__claim *claims,
                            uint16_t *winner)
{
    for (int x = 0; x < l->cols.count; x += SWIN__SCORED) {
        pixels.n = swin__min(SWIN__SCORED, l->cols.count - x);
        for (int i = 0; i < pixels.n; i++)
            swin__resize_column(c, row, &l->cols, x + i, pixels, i, 0);
        if (l->straight && !l->logits)
            c->kernels->sigmoid(pixels.data, pixels.ld, pixels.n, (int)pixels.ld);
        for (int i = 0; i < pixels.n; i++) {
            int won = l->judge(l, claims, swin__row(pixels, i), y, x + i);
            if (winner) winner[x + i] = (uint16_t)won;
        }
    }
}

/* The same of a band. scratch: pixels, a row of masks, and swin__no_scores' memory. */
static void swin__judge_band(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__contest *l = (const swin__contest *)s->layer;
    const swin__picture_map *map = &c->results.segment_ids;
    uint16_t *ids = l->judge == swin__measure_pixel ? NULL : (uint16_t *)map->data;
    swin__claim *claims = l->claims + (size_t)unit * (size_t)l->most;
    int to = swin__min(l->rows.count, (unit + 1) * SWIN__SCORE_BAND);
    swin__rows pixels = swin__make_rows(scratch, l->grid.ld, SWIN__SCORED, l->grid.c);
    swin__span row = swin__full_row(&l->grid, swin__row(pixels, SWIN__SCORED));
    swin__score_rows rows = swin__no_scores(row.logits, row.logits.n);
    memset(claims, 0, (size_t)l->most * sizeof *claims);
    for (int y = unit * SWIN__SCORE_BAND; y < to; y++) {
        swin__mix_masks(c, l, y, &rows, &row);
        swin__judge_row(c, l, y, &row, pixels, claims,
                        ids ? ids + swin__map_index(map, y, 0) : NULL);
    }
}

/* The scores of instances that overlap: those of their classes times the mean probability of their
   masks. Drops such as have too little. */
static void swin__score_instances(const swin_context *c, const swin__step *s, int unit,
                                  float *scratch)
{
    const swin__contest *l = (const swin__contest *)s->layer;
    double least = c->model->config.segments.object_score / 1000.0;
    swin__rival *kept = l->rivals;
    (void)unit;
    (void)scratch;
    for (int k = 0; l->rivals[k].query >= 0; k++) {
        swin__claim sum = swin__sum_claims(l, k);
        swin__rival rival = l->rivals[k];
        if (!sum.mask) continue;
        rival.score = swin__timesf(rival.score,
                                   (float)((double)sum.sure / 16777216.0 / sum.mask));
        if ((double)rival.score >= least) *kept++ = rival;
    }
    kept->query = -1;
}

/* Is enough of a mask left for a segment? */
static int swin__claim_holds(const swin_segments_config *g, const swin__claim *claim)
{
    double least = g->overlap_share / 1000.0;
    if (!claim->area || !claim->mask) return 0;
    if (swin__weighs_masks(g->rule))
        return (double)((float)claim->won / (float)claim->mask) > least;
    return !((double)claim->won / claim->mask < least);
}

/* The segment that a rival's pixels go to: a new one, or that of the same stuff. */
static int swin__segment_of(const swin__results *to, const swin__rival *rival, int thing)
{
    int i = thing ? *to->segment_count : 0;
    while (i < *to->segment_count && to->segments[i].class_id != rival->class_id) i++;
    if (i < *to->segment_count) return i;
    memset(&to->segments[i], 0, sizeof to->segments[i]);
    to->segments[i].id = ++*to->segment_count;
    to->segments[i].class_id = rival->class_id;
    to->segments[i].thing = thing;
    to->segments[i].score = rival->score;
    return i;
}

/* A segment grows by what a rival has. */
static void swin__grow_segment(swin_region *to, const swin__claim *claim)
{
    swin__claim sum = { 0, 0, to->area, to->x, to->y, to->x + to->width, to->y + to->height, 0 };
    swin__add_claim(&sum, claim);
    to->area = sum.area;
    to->x = sum.left;
    to->y = sum.top;
    to->width = sum.right - sum.left;
    to->height = sum.bottom - sum.top;
}

/* Decides which rivals have segments, in their order. */
static void swin__decide_segments(const swin_context *c, const swin__step *s, int unit,
                                  float *scratch)
{
    const swin__contest *l = (const swin__contest *)s->layer;
    const swin_segments_config *g = &c->model->config.segments;
    const swin__results *to = &c->results;
    (void)unit;
    (void)scratch;
    *to->segment_count = 0;
    for (int k = 0; l->rivals[k].query >= 0; k++) {
        const swin__rival *rival = &l->rivals[k];
        swin__claim sum = swin__sum_claims(l, k);
        int at;
        l->id[k] = 0;
        if (!swin__claim_holds(g, &sum)) continue;
        at = swin__segment_of(to, rival, swin__is_thing(g, rival->class_id));
        swin__grow_segment(&to->segments[at], &sum);
        l->id[k] = to->segments[at].id;
    }
}

/* The winners' numbers become ids, in a band. */
static void swin__name_segments(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    const swin__contest *l = (const swin__contest *)s->layer;
    const swin__picture_map *map = &c->results.segment_ids;
    int to = swin__min(map->height, (unit + 1) * SWIN__SCORE_BAND);
    uint16_t *at = (uint16_t *)map->data + swin__map_index(map, unit * SWIN__SCORE_BAND, 0);
    const uint16_t *end = (uint16_t *)map->data + swin__map_index(map, to, 0);
    (void)scratch;
    for (; at < end; at++)
        if (*at) *at = (uint16_t)l->id[*at - 1];
}

/* A contest by the scores of a plan that walks nowhere yet. */
static swin__contest swin__make_contest(swin__plan *p)
{
    const swin_config *g = p->config;
    int bands = swin__divide_up(swin__max(p->scores.rows.count, p->desc.picture_height),
                                SWIN__SCORE_BAND);
    uint64_t most, claim = sizeof(swin__claim) / sizeof(float);
    swin__contest l;
    memset(&l, 0, sizeof l);
    l.scores = p->scores;
    l.shares = p->scores.shares;
    l.scores.shares.data = NULL;
    l.rule = g->segments.rule;
    l.most = g->instances.most ? g->instances.most : g->queries.count;
    most = (uint64_t)l.most;
    l.rivals = (swin__rival *)swin__alloc(p, (most + 1) * sizeof(swin__rival) / sizeof(float));
    l.claims = (swin__claim *)(void *)swin__alloc(p, most * (uint64_t)bands * claim);
    l.id = (int *)(void *)swin__alloc(p, most);
    return l;
}

/* Plans a walk, by axes from the grid of probabilities or straight from masks. */
static void swin__plan_walk(swin__plan *p, const char *name, swin__contest *l)
{
    swin__job job = { name, -1, swin__judge_band, 0, 0, 0 };
    l->bands = job.units = swin__divide_up(l->rows.count, SWIN__SCORE_BAND);
    l->grid = l->scores.masks;
    if (!l->straight) l->grid.w = l->scores.cols.count;
    job.scratch = swin__floats(SWIN__SCORED + 3 * l->grid.w, l->grid.ld) +
                  swin__score_room(&l->scores);
    job.madds = (double)l->rows.count * l->cols.count * (l->grid.c * l->cols.taps + l->most);
    swin__add_step(p, &job, l, sizeof *l);
}

/* Plans what the instances that overlap score, on the grid of scores; then *l walks over the
   picture, each pixel of which is what the nearest one of the grid is. */
static void swin__plan_instances(swin__plan *p, swin__contest *l)
{
    swin__job score = { "instances", -1, swin__score_instances, 1, 0, 0 };
    l->straight = 1;
    l->rows = l->scores.rows;
    l->cols = l->scores.cols;
    l->judge = swin__measure_pixel;
    swin__plan_walk(p, "measure", l);
    swin__add_step(p, &score, l, sizeof *l);
    l->rows = swin__axis_repeat(p, &l->scores.rows, p->desc.picture_height);
    l->cols = swin__axis_repeat(p, &l->scores.cols, p->desc.picture_width);
    l->logits = 1;
    l->judge = swin__cover_pixel;
}

/* The walk over the picture of rivals that compete. */
static void swin__lay_contest(swin__plan *p, swin__contest *l)
{
    int h = p->desc.picture_height, w = p->desc.picture_width;
    const swin__scores *s = &l->scores;
    l->judge = swin__contest_pixel;
    l->logits = l->rule == SWIN_SEGMENTS_INSTANCES_ONEFORMER;
    l->straight = l->logits || (s->rows.count == h && s->cols.count == w);
    if (l->straight && !l->logits) {
        l->rows = s->rows;
        l->cols = swin__score_axis(p, p->config->queries.scores, s->masks.w, p->crops.w, w);
        return;
    }
    l->rows = swin__axis_bilinear(p, l->logits ? s->masks.h : s->rows.count, h, 0, h, 0);
    l->cols = swin__axis_bilinear(p, l->logits ? s->masks.w : s->cols.count, w, 0, w, 0);
}

/* Plans the segments, from masks and classes of queries, which stay. */
static void swin__plan_segments(swin__plan *p)
{
    swin__contest l = swin__make_contest(p);
    swin__job list = { "rivals", -1, swin__list_rivals, 1, 0, 0 };
    swin__job decide = { "segments", -1, swin__decide_segments, 1, 0, 0 };
    swin__job name = { "segment ids", -1, swin__name_segments, 0, 0, 0 };
    p->results.segment_ids = swin__plan_map(p, 2);
    p->results.segment_count = (int *)(void *)swin__alloc(p, 1);
    p->results.segments = (swin_region *)swin__alloc(p, (uint64_t)l.most * sizeof(swin_region) /
                                                        sizeof(float));
    swin__add_step(p, &list, &l, sizeof l);
    if (swin__competes(l.rule)) swin__lay_contest(p, &l);
    else swin__plan_instances(p, &l);
    if (p->desc.flags & SWIN_RUN_FLIP) swin__mirror(p, &l.cols);
    swin__plan_walk(p, "compete", &l);
    name.units = l.bands;
    swin__add_step(p, &decide, &l, sizeof l);
    swin__add_step(p, &name, &l, sizeof l);
    swin__release(p, p->scores.none);
    swin__release(p, l.rivals);
    swin__release(p, l.claims);
    swin__release(p, l.id);
}

/* -------------------------------------------------------------------------- */
/* >>heads: from features to logits

   Add a head: its enumerator at the end of SWIN_HEAD_LIST (blobs hold its number), the row at the
   same place of swin__heads below, and beside the others a function that checks its fields of
   swin_head_config (swin__check_nothing where what the row reads and gives says all), one that
   binds its tensors (swin__take_linear and its kin; their names and order go into >>blob) and one
   that plans its layers. feature[] has an entry a stage, and swin__head_inputs says which ones are
   read; each is dropped (swin__drop_feature) after its last use, every other map that was made is
   released, and the logits are the caller's. Where swin__weights has no place for its layers, they
   get one there. A row of SWIN__OPTIONS lets builds leave it out, and SWIN__REWRITES counts it if
   it has 3x3 convolutions. In the converter: its name (tools/swinblob/records.py), a row with its
   tensors and checks (heads.py beside it), and a row that reads its checkpoints
   (families/decode_heads.py). .github/CONTRIBUTING.md names the tests. */

/* --- layers of a head ------------------------------------------------------------------------- */

/* Binds a head's last layer, from so many channels to classes. */
static void swin__bind_classes(swin__binder *b, swin__weights *w, int inputs)
{
    w->classify = swin__take_linear(b, "classify", b->model->config.classes, inputs, 1);
}

/* Plans a head's last layer; returns the logits. */
static swin__fmap swin__plan_classes(swin__plan *p, swin__fmap x)
{
    return swin__plan_linear(p, "classify", -1, x, p->config->classes, p->weights->classify,
                             SWIN__LINEAR);
}

/* The same for a map that nothing else reads: gives it back. */
static swin__fmap swin__plan_classify(swin__plan *p, swin__fmap x)
{
    swin__fmap logits = swin__plan_classes(p, x);
    swin__release(p, x.data);
    return logits;
}

/* --- UPerHead and PSPHead: pooled branches ---------------------------------------------------- */

static swin_status swin__check_pools(const swin_config *g, swin_error *err)
{
    SWIN__DEMAND(g->head.pool_count, SWIN_DAMAGED, "config: pool_count is 0");
    for (int p = 0; p < g->head.pool_count; p++)
        SWIN__DEMAND(g->head.pool_scale[p], SWIN_DAMAGED, "config: pool_scale is 0");
    return SWIN_OK;
}

static void swin__bind_pyramid_top(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    int ch = g->head.channels, pools = g->head.pool_count, last = swin__head_depth(g);
    swin__bind_row(b, w->pool, "pool", pools, ch, last, NULL);
    w->bottleneck = swin__take_linear(b, "bottleneck", ch, 9 * (last + pools * ch), 1);
}

/* The pyramid's top: bottleneck(concat[feature, pooled branches]). */
static swin__fmap swin__plan_pyramid_top(swin__plan *p, swin__fmap feature)
{
    const swin_config *g = p->config;
    int pools = g->head.pool_count, ch = g->head.channels;
    swin__conv conv = swin__make_conv(p->weights->bottleneck, 3, feature.c + pools * ch, feature,
                                      ch);
    swin__fmap pooled[SWIN_MAX_POOLS], branch[SWIN_MAX_POOLS], top;
    swin__plan_pools(p, feature, g->head.pool_scale, pools, pooled);
    swin__add_source(&conv, feature, 0);
    for (int i = 0; i < pools; i++) {
        branch[i] = swin__plan_linear(p, "pool linear", i, pooled[i], ch, p->weights->pool[i],
                                      SWIN__RELU);
        swin__release(p, pooled[i].data);
        swin__add_source(&conv, branch[i], feature.c + i * ch);
    }
    top = swin__plan_conv(p, "bottleneck", -1, conv);
    for (int i = 0; i < pools; i++) swin__release(p, branch[i].data);
    return top;
}

/* The order of a head's tensors is that of >>blob, here and in the heads below. */
static void swin__bind_uper(swin__binder *b, swin__weights *w)
{
    int widths[SWIN_MAX_STAGES], levels = swin__head_widths(&b->model->config, widths);
    int ch = b->model->config.head.channels;
    swin__bind_pyramid_top(b, w);
    swin__bind_row(b, w->lateral, "lateral", levels - 1, ch, 0, widths);
    swin__bind_row(b, w->fpn, "fpn", levels - 1, ch, 9 * ch, NULL);
    w->fuse = swin__take_linear(b, "fuse", ch, 9 * levels * ch, 1);
    swin__bind_classes(b, w, ch);
}

/* Plans laterals from coarse to fine, then a convolution of each, then one that fuses all at the
   finest size. All laterals come before the convolutions, as the memory of large maps and of tiles
   then fits best. */
static swin__fmap swin__plan_uper(swin__plan *p, const swin__fmap *feature)
{
    int inputs[SWIN_MAX_STAGES], levels = swin__head_inputs(p->config, inputs),
                              ch = p->config->head.channels;
    swin__fmap lateral[SWIN_MAX_STAGES], out[SWIN_MAX_STAGES], fused;
    swin__conv fuse;
    lateral[levels - 1] = swin__plan_pyramid_top(p, feature[inputs[levels - 1]]);
    swin__drop_feature(p, feature[inputs[levels - 1]]);
    for (int l = levels - 2; l >= 0; l--) {
        swin__linear_layer layer = swin__make_linear(p, feature[inputs[l]], ch,
                                                     p->weights->lateral[l], SWIN__RELU);
        lateral[l] = layer.out;
        swin__add_bilinear(p, &layer, lateral[l + 1], p->config->head.align_corners);
        swin__add_linear(p, "lateral", l, &layer);
        swin__drop_feature(p, feature[inputs[l]]);
    }
    out[levels - 1] = lateral[levels - 1];
    for (int l = levels - 2; l >= 0; l--) {
        swin__conv conv = swin__make_conv(p->weights->fpn[l], 3, ch, lateral[l], ch);
        swin__add_source(&conv, lateral[l], 0);
        out[l] = swin__plan_conv(p, "fpn", l, conv);
        swin__release(p, lateral[l].data);
    }
    fuse = swin__make_conv(p->weights->fuse, 3, levels * ch, out[0], ch);
    for (int l = 0; l < levels; l++) swin__add_source(&fuse, out[l], l * ch);
    fused = swin__plan_conv(p, "fuse", 0, fuse);
    for (int l = 0; l < levels; l++) swin__release(p, out[l].data);
    return swin__plan_classify(p, fused);
}

static void swin__bind_psp(swin__binder *b, swin__weights *w)
{
    swin__bind_pyramid_top(b, w);
    swin__bind_classes(b, w, b->model->config.head.channels);
}

static swin__fmap swin__plan_psp(swin__plan *p, const swin__fmap *feature)
{
    swin__fmap in = feature[swin__coarsest_input(p->config)];
    swin__fmap x = swin__plan_pyramid_top(p, in);
    swin__drop_feature(p, in);
    return swin__plan_classify(p, x);
}

/* --- FCNHead ---------------------------------------------------------------------------------- */

static swin_status swin__check_fcn(const swin_config *g, swin_error *err)
{
    SWIN__DEMAND(g->head.convs || !g->head.conv_concat, SWIN_DAMAGED,
                 "config: conv_concat without convs");
    SWIN__DEMAND(g->head.conv_kernel % 2, SWIN_DAMAGED, "config: conv_kernel has no middle");
    return SWIN_OK;
}

/* Binds `convs` convolutions, the one over input and result, and the classes. */
static void swin__bind_fcn(swin__binder *b, swin__weights *w)
{
    const swin_head_config *h = &b->model->config.head;
    int depths[SWIN_MAX_CONVS] = { 0 }, area = h->conv_kernel * h->conv_kernel, ch = h->channels;
    int last = swin__head_depth(&b->model->config);
    for (int n = 0; n < h->convs; n++) depths[n] = area * (n ? ch : last);
    swin__bind_row(b, w->conv, "conv", h->convs, ch, 0, depths);
    if (h->conv_concat) w->cat = swin__take_linear(b, "cat", ch, area * (last + ch), 1);
    swin__bind_classes(b, w, h->convs ? ch : last);
}

/* Plans convolutions one after the other, then one over the input and their result. */
static swin__fmap swin__plan_fcn(swin__plan *p, const swin__fmap *feature)
{
    const swin_config *g = p->config;
    int kernel = g->head.conv_kernel, ch = g->head.channels;
    swin__fmap in = feature[swin__coarsest_input(g)], x = in;
    for (int n = 0; n < g->head.convs; n++) {
        swin__conv conv = swin__make_conv(p->weights->conv[n], kernel, x.c, in, ch);
        swin__fmap next;
        swin__add_source(&conv, x, 0);
        next = swin__plan_conv(p, "conv", n, conv);
        if (n) swin__release(p, x.data);
        x = next;
    }
    if (g->head.conv_concat) {
        swin__conv conv = swin__make_conv(p->weights->cat, kernel, in.c + ch, in, ch);
        swin__fmap next;
        swin__add_source(&conv, in, 0);
        swin__add_source(&conv, x, in.c);
        next = swin__plan_conv(p, "concat", -1, conv);
        swin__release(p, x.data);
        x = next;
    }
    if (g->head.convs) swin__drop_feature(p, in);
    else return swin__plan_classes(p, in);
    return swin__plan_classify(p, x);
}

/* --- FPNHead: semantic FPN; SMP's FPN --------------------------------------------------------- */

/* The finest level has one convolution, as it is not enlarged; every other has one or more. */
static swin_status swin__check_fpn(const swin_config *g, swin_error *err)
{
    int unused[SWIN_MAX_STAGES], levels = swin__head_inputs(g, unused);
    SWIN__DEMAND(g->head.neck_channels, SWIN_DAMAGED, "config: neck_channels is 0");
    SWIN__DEMAND(g->head.kind == SWIN_HEAD_FPN || g->head.channels % SWIN__GROUPS == 0,
                 SWIN_DAMAGED, "config: head_channels are no groups of %d", SWIN__GROUPS);
    for (int l = 0; l < levels; l++)
        SWIN__DEMAND(l ? g->head.neck_convs[l] : g->head.neck_convs[l] == 1, SWIN_DAMAGED,
                     "config: the head's convolutions on level %d of the neck", l);
    return SWIN_OK;
}

/* Binds the neck of an FPN and the head's convolutions on its levels; SMP's have norms, and its
   neck is laterals alone. */
static void swin__bind_fpn(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    int ch = g->head.channels, neck = g->head.neck_channels;
    int widths[SWIN_MAX_STAGES], levels = swin__head_widths(g, widths);
    int smp = g->head.kind == SWIN_HEAD_SMP_FPN;
    char name[24];
    swin__format(b->prefix, sizeof b->prefix, "neck.");
    swin__bind_row(b, w->lateral, "lateral", levels, neck, 0, widths);
    if (!smp) swin__bind_row(b, w->fpn, "fpn", levels, neck, 9 * neck, NULL);
    swin__format(b->prefix, sizeof b->prefix, "head.");
    for (int l = 0; l < levels; l++) {
        for (int n = 0; n < g->head.neck_convs[l]; n++) {
            swin__format(name, sizeof name, "scale%d.conv%d", l, n);
            w->scale[l][n] = swin__take_linear(b, name, ch, 9 * (n ? ch : neck), 1);
            swin__format(name, sizeof name, "scale%d.norm%d", l, n);
            if (smp) w->scale_norm[l][n] = swin__take_affine(b, name, ch);
        }
    }
    swin__bind_classes(b, w, smp && g->decoder.concat ? levels * ch : ch);
}

/* Plans the laterals of an FPN, from coarse to fine: each one and the coarser one, enlarged. */
static void swin__plan_laterals(swin__plan *p, const swin__fmap *feature, const int *inputs,
                                int levels, swin__fmap *lateral)
{
    for (int l = levels - 1; l >= 0; l--) {
        swin__linear_layer layer = swin__make_linear(p, feature[inputs[l]],
                                                     p->config->head.neck_channels,
                                                     p->weights->lateral[l], SWIN__LINEAR);
        lateral[l] = layer.out;
        if (l + 1 < levels && p->config->decoder.bilinear) {
            swin__add_bilinear(p, &layer, lateral[l + 1], 0);
        } else if (l + 1 < levels) {
            const swin__fmap *coarse = &lateral[l + 1];
            swin__axis rows = swin__axis_nearest(p, coarse->h, lateral[l].h);
            swin__add_resized(&layer, *coarse, rows,
                              swin__axis_nearest(p, coarse->w, lateral[l].w));
        }
        swin__add_linear(p, "lateral", l, &layer);
        swin__drop_feature(p, feature[inputs[l]]);
    }
}

/* Plans the neck's convolution of a level; SMP's has none. Gives the lateral back. */
static swin__fmap swin__plan_neck_conv(swin__plan *p, int l, swin__fmap lateral)
{
    swin__conv conv = swin__make_conv(p->weights->fpn[l], 3, lateral.c, lateral, lateral.c);
    swin__fmap x;
    if (p->config->head.kind == SWIN_HEAD_SMP_FPN) return lateral;
    conv.act = SWIN__LINEAR;
    swin__add_source(&conv, lateral, 0);
    x = swin__plan_conv(p, "fpn", l, conv);
    swin__release(p, lateral.data);
    return x;
}

/* Plans the head's convolutions on a level: x is doubled before each but the first, and SMP's have
   a GroupNorm each. Gives x back. */
static swin__fmap swin__plan_scale(swin__plan *p, int l, swin__fmap x)
{
    const swin_config *g = p->config;
    int smp = g->head.kind == SWIN_HEAD_SMP_FPN;
    for (int n = 0; n < g->head.neck_convs[l]; n++) {
        swin__fmap like = x;
        swin__conv conv;
        if (n) like.h *= 2;
        if (n) like.w *= 2;
        conv = swin__make_conv(p->weights->scale[l][n], 3, x.c, like, g->head.channels);
        if (smp) conv.act = SWIN__LINEAR;
        swin__add_source(&conv, x, 0);
        like = swin__plan_conv(p, "scale", l, conv);
        swin__release(p, x.data);
        x = like;
        if (smp)
            swin__plan_group_norm(p, "group norm", l, x, p->weights->scale_norm[l][n],
                                  SWIN__GROUPS, SWIN__RELU);
    }
    return x;
}

/* Plans laterals and a convolution of each (the neck); then every level is convolved and enlarged
   in turn, and classified; the classes of all levels are summed at the finest size, as classifying
   commutes with resizing. Levels side by side have a share of the classifying weights each, the
   coarsest the first. */
static swin__fmap swin__plan_fpn(swin__plan *p, const swin__fmap *feature)
{
    const swin_config *g = p->config;
    int inputs[SWIN_MAX_STAGES], levels = swin__head_inputs(g, inputs);
    int aligned = g->head.align_corners;
    swin__fmap lateral[SWIN_MAX_STAGES], classes[SWIN_MAX_STAGES];
    swin__plan_laterals(p, feature, inputs, levels, lateral);
    for (int l = levels - 1; l >= 0; l--) {
        swin__linear classify = p->weights->classify;
        swin__linear_layer layer;
        swin__fmap x = swin__plan_scale(p, l, swin__plan_neck_conv(p, l, lateral[l]));
        if (g->decoder.concat)
            classify.weight = swin__panels_from(classify.weight, 0,
                                                (levels - 1 - l) * g->head.channels);
        if (l) classify.bias = NULL;
        layer = swin__make_linear(p, x, g->classes, classify, SWIN__LINEAR);
        classes[l] = layer.out;
        for (int k = 1; l == 0 && k < levels; k++) {
            const swin__fmap *in = &classes[k], *out = &classes[0];
            swin__axis rows = swin__axis_twice(p, in->h, 2 * in->h, out->h, aligned, aligned);
            swin__add_resized(&layer, *in, rows,
                              swin__axis_twice(p, in->w, 2 * in->w, out->w, aligned, aligned));
        }
        swin__add_linear(p, "classify", l, &layer);
        swin__release(p, x.data);
    }
    for (int l = 1; l < levels; l++) swin__release(p, classes[l].data);
    return classes[0];
}

/* --- SegformerHead and GLAM's ----------------------------------------------------------------- */

static void swin__bind_segformer(swin__binder *b, swin__weights *w)
{
    int widths[SWIN_MAX_STAGES], levels = swin__head_widths(&b->model->config, widths);
    int ch = b->model->config.head.channels;
    swin__bind_row(b, w->lateral, "lateral", levels, ch, 0, widths);
    w->fuse = swin__take_linear(b, "fuse", ch, levels * ch, 1);
    swin__bind_classes(b, w, ch);
}

/* Plans a layer for each level, and one that fuses all at the finest size. The fusing layer's share
   of a coarser level is computed at that level's size: it commutes with resizing. */
static swin__fmap swin__plan_segformer(swin__plan *p, const swin__fmap *feature)
{
    const swin_config *g = p->config;
    int inputs[SWIN_MAX_STAGES], levels = swin__head_inputs(g, inputs), ch = g->head.channels;
    int glam = g->head.kind == SWIN_HEAD_GLAM_SEGFORMER;
    swin__fmap part[SWIN_MAX_STAGES];
    for (int l = levels - 1; l >= 0; l--) {
        swin__linear share = p->weights->fuse;
        swin__fmap x = swin__plan_linear(p, "lateral", l, feature[inputs[l]], ch,
                                         p->weights->lateral[l],
                                         glam ? SWIN__LINEAR : SWIN__RELU);
        swin__linear_layer layer;
        swin__drop_feature(p, feature[inputs[l]]);
        share.weight = swin__panels_from(share.weight, 0, l * ch);
        if (l) share.bias = NULL;
        layer = swin__make_linear(p, x, ch, share, l ? SWIN__LINEAR : SWIN__RELU);
        layer.act_last = 1;
        part[l] = layer.out;
        for (int k = 1; l == 0 && k < levels; k++)
            swin__add_bilinear(p, &layer, part[k], glam ? 0 : g->head.align_corners);
        swin__add_linear(p, "fuse", l, &layer);
        swin__release(p, x.data);
    }
    for (int l = 1; l < levels; l++) swin__release(p, part[l].data);
    return swin__plan_classify(p, part[0]);
}

/* --- the SegFormer authors' head -----------------------------------------------------------------

   A layer of each level, resized and fused: as nothing is between these two, they are one product
   for each level, at its own resolution. The fused map never exists whole. */

static void swin__bind_merged(swin__binder *b, swin__weights *w)
{
    int widths[SWIN_MAX_STAGES], levels = swin__head_widths(&b->model->config, widths);
    int ch = b->model->config.head.channels;
    char name[24];
    for (int l = 0; l < levels; l++) {
        swin__format(name, sizeof name, "lateral%d", l);
        w->lateral[l] = swin__take_linear(b, name, ch, widths[l], l == 0);
    }
    swin__bind_classes(b, w, ch);
}

/* The finest level's product, the others' added to it, ReLU, and the classes. */
typedef struct swin__merged_layer {
    swin__linear_layer fuse;    /* its `out` is never there */
    swin__linear classify;
    swin__fmap logits;
} swin__merged_layer;

/* The logits of a share of the pixels. */
static void swin__merged(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__merged_layer *l = (const swin__merged_layer *)s->layer;
    swin__rows logits = swin__unit_rows(&l->logits, s, unit), fused;
    int from, to;
    swin__share(swin__pixels(&l->logits), s->units, unit, &from, &to);
    fused = swin__make_rows(scratch, l->fuse.out.ld, to - from, l->fuse.out.c);
    swin__linear_rows(c, &l->fuse, from, fused, swin__row(fused, fused.n));
    swin__apply_to_own(c, &l->classify, fused, logits, SWIN__LINEAR);
}

static swin__fmap swin__plan_merged(swin__plan *p, const swin__fmap *feature)
{
    const swin_config *g = p->config;
    int inputs[SWIN_MAX_STAGES], levels = swin__head_inputs(g, inputs), ch = g->head.channels, rows;
    swin__fmap part[SWIN_MAX_STAGES], fine = feature[inputs[0]];
    swin__job job = { "head", -1, swin__merged, 0, 0, 0 };
    swin__merged_layer l;
    double madds = (double)ch * (fine.c + g->classes);
    memset(&l, 0, sizeof l);
    l.fuse.in = l.fuse.out = fine;
    l.fuse.out.c = ch;
    l.fuse.out.ld = swin__padded(ch);
    l.fuse.linear = p->weights->lateral[0];
    l.fuse.act = SWIN__RELU;
    l.fuse.act_last = 1;
    for (int i = levels - 1; i > 0; i--) {
        part[i] = swin__plan_linear(p, "lateral", i, feature[inputs[i]], ch, p->weights->lateral[i],
                                    SWIN__LINEAR);
        swin__drop_feature(p, feature[inputs[i]]);
        swin__add_bilinear(p, &l.fuse, part[i], 0);
    }
    l.classify = p->weights->classify;
    l.logits = swin__alloc_fmap(p, fine.h, fine.w, g->classes);
    job.units = swin__units(swin__pixels(&fine), madds, SWIN__MANY);
    rows = swin__divide_up(swin__pixels(&fine), job.units);
    job.scratch = swin__floats(rows, l.fuse.out.ld) +
                  swin__factor_room(&l.fuse.linear.weight, rows, fine.c);
    job.madds = madds * swin__pixels(&fine);
    swin__add_step(p, &job, &l, sizeof l);
    for (int i = 1; i < levels; i++) swin__release(p, part[i].data);
    swin__drop_feature(p, fine);
    return l.logits;
}

/* --- the image classifier --------------------------------------------------------------------- */

static void swin__bind_classifier(swin__binder *b, swin__weights *w)
{
    swin__bind_classes(b, w, swin__head_depth(&b->model->config));
}

/* Plans the mean of the last map's pixels, and its classes. */
static swin__fmap swin__plan_classifier(swin__plan *p, const swin__fmap *feature)
{
    static const int whole[] = { 1 };
    const swin_config *g = p->config;
    int last = g->final_norm ? g->stages : g->stages - 1;
    swin__fmap mean;
    swin__plan_pools(p, feature[last], whole, 1, &mean);
    return swin__plan_classes(p, mean);
}

/* --- a Unet's own ----------------------------------------------------------------------------- */

static swin_status swin__check_unet_head(const swin_config *g, swin_error *err)
{
    SWIN__DEMAND(swin__is_unet(g), SWIN_DAMAGED, "config: a Unet's head without a Unet");
    return SWIN_OK;
}

/* Binds the expanding of patches to pixels, and the classes. */
static void swin__bind_unet_head(swin__binder *b, swin__weights *w)
{
    int e = b->model->config.stage[0].width;
    swin__format(b->prefix, sizeof b->prefix, "final.");
    w->final_norm = swin__take_affine(b, "norm", e);
    w->final_expand_norm = swin__take_affine(b, "expand.norm", e);
    w->final_expand = swin__take_linear(b, "expand", 16 * e, e, 0);
    swin__format(b->prefix, sizeof b->prefix, "head.");
    w->classify = swin__take_linear(b, "classify", b->model->config.classes, e, 0);
}

static swin__fmap swin__plan_unet_head(swin__plan *p, const swin__fmap *feature)
{
    swin__fmap logits = swin__plan_final(p, feature[0]);
    swin__release(p, feature[0].data);
    return logits;
}

/* --- SMP's Unet ------------------------------------------------------------------------------- */

enum { SWIN__SCSE_SHARE = 16 }; /* of the channels that remain between the layers of scSE */

/* A block more than stages, which all are read: the next finer feature, then a map of half the
   input's size, then one of the input's own, decide on the blocks' sizes. */
static swin_status swin__check_smp_unet(const swin_config *g, swin_error *err)
{
    SWIN__DEMAND(g->head.inputs == (1u << g->stages) - 1 && g->stages < SWIN_MAX_STAGES,
                 SWIN_DAMAGED, "config: head_inputs of SMP's Unet");
    for (int i = 0; i <= g->stages; i++)
        SWIN__DEMAND(g->decoder.width[i] >= (g->decoder.scse ? SWIN__SCSE_SHARE : 1), SWIN_DAMAGED,
                     "config: the channels of block %d of SMP's Unet", i);
    SWIN__DEMAND(g->head.channels == g->decoder.width[g->stages], SWIN_DAMAGED,
                 "config: head_channels are not those of the last block of SMP's Unet");
    SWIN__DEMAND(!g->decoder.scse || g->stage[g->stages - 1].width >= SWIN__SCSE_SHARE,
                 SWIN_DAMAGED, "config: scSE of fewer than %d channels", SWIN__SCSE_SHARE);
    return SWIN_OK;
}

/* The channels that block i reads: the block's before it, and the skip's. */
static int swin__smp_inputs(const swin_config *g, int i)
{
    int skip = g->stages - 2 - i;
    return (i ? g->decoder.width[i - 1] : g->stage[g->stages - 1].width) +
           (skip >= 0 ? g->stage[skip].width : 0);
}

/* Binds scSE attention over n channels. */
static void swin__bind_scse(swin__binder *b, swin__scse *scse, const char *name, int n)
{
    char full[24];
    swin__format(full, sizeof full, "%s.reduce", name);
    scse->reduce = swin__take_linear(b, full, n / SWIN__SCSE_SHARE, n, 1);
    swin__format(full, sizeof full, "%s.restore", name);
    scse->restore = swin__take_linear(b, full, n, n / SWIN__SCSE_SHARE, 1);
    swin__format(full, sizeof full, "%s.pixel", name);
    scse->pixel = swin__take_linear_as(b, full, 1, n, 1, SWIN__AS_F32);
}

static void swin__bind_smp_unet(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    int scse = g->decoder.scse;
    for (int i = 0; i <= g->stages; i++) {
        swin__smp_block *block = &w->decoder[i];
        int inputs = swin__smp_inputs(g, i), ch = g->decoder.width[i];
        swin__format(b->prefix, sizeof b->prefix, "head.block%d.", i);
        if (scse && i < g->stages) swin__bind_scse(b, &block->attend[0], "attend1", inputs);
        block->conv[0] = swin__take_linear(b, "conv1", ch, 9 * inputs, 1);
        block->conv[1] = swin__take_linear(b, "conv2", ch, 9 * ch, 1);
        if (scse) swin__bind_scse(b, &block->attend[1], "attend2", ch);
    }
    swin__format(b->prefix, sizeof b->prefix, "head.");
    swin__bind_classes(b, w, 9 * g->head.channels);
}

/* Sources side by side, resized to one size. */
typedef struct swin__concat_layer { swin__conv sources; } swin__concat_layer;

/* One row of the map. Scratch: a source's pixel. */
static void swin__concat(const swin_context *c, const swin__step *s, int y, float *scratch)
{
    const swin__conv *conv = &((const swin__concat_layer *)s->layer)->sources;
    for (int x = 0; x < conv->out.w; x++) {
        float *to = swin__at(&conv->out, y, x);
        swin__clear(to, conv->out.ld);
        for (int i = 0; i < conv->sources; i++) {
            const swin__source *source = &conv->source[i];
            const swin__slice all = { source, 0, source->map.ld };
            swin__fetch(c, conv, &all, y, x, scratch);
            swin__copy(to + source->first, scratch, source->map.c);
        }
    }
}

/* Plans the map that a convolution reads as one; its sources are the caller's. */
static swin__fmap swin__plan_concat(swin__plan *p, int level, const swin__conv *conv)
{
    swin__job job = { "concat", level, swin__concat, 0, 0, 0 };
    swin__concat_layer l;
    int widest = 0;
    l.sources = *conv;
    l.sources.out = swin__alloc_fmap(p, conv->out.h, conv->out.w, conv->inputs);
    if (p->status == SWIN_OK) swin__resize_sources(p, &l.sources, 0);
    for (int i = 0; i < conv->sources; i++)
        widest = swin__max(widest, conv->source[i].map.ld);
    job.units = l.sources.out.h;
    job.scratch = (uint64_t)widest;
    swin__add_step(p, &job, &l, sizeof l);
    return l.sources.out;
}

/* The mean of each channel, to a map of one pixel. */
static void swin__channel_means(const swin_context *c, const swin__step *s, int unit,
                                float *scratch)
{
    const swin__group_norm_layer *l = (const swin__group_norm_layer *)s->layer;
    (void)c;
    (void)unit;
    (void)scratch;
    swin__clear(l->mean, l->x.ld);
    for (int k = 0; k < l->x.c; k++)
        l->mean[k] = (float)swin__group_statistic(l, k, k + 1, NULL);
}

/* Plans the mean over all pixels of a map. */
static swin__fmap swin__plan_channel_means(swin__plan *p, int level, swin__fmap x)
{
    int chunks = swin__divide_up(swin__pixels(&x), SWIN__MOMENT_PIXELS);
    swin__job moments = { "mean", level, swin__group_moments, chunks, 0, 0 };
    swin__job means = { "mean", level, swin__channel_means, 1, 0, 0 };
    swin__fmap mean = swin__alloc_fmap(p, 1, 1, x.c);
    swin__group_norm_layer l;
    memset(&l, 0, sizeof l);
    l.x = x;
    l.mean = mean.data;
    l.moments = swin__alloc(p, swin__floats(2 * chunks, x.ld));
    swin__add_step(p, &moments, &l, sizeof l);
    swin__add_step(p, &means, &l, sizeof l);
    swin__release(p, l.moments);
    return mean;
}

/* x *= sigmoid(gate) + sigmoid(w x + b): a factor a channel, and a factor a pixel. */
typedef struct swin__scse_layer {
    swin__fmap x, gate;         /* gate: of one pixel */
    swin__linear pixel;
} swin__scse_layer;

/* A share of the pixels. Scratch: the gate's factors, then the pixels', [n][16]. */
static void swin__excite(const swin_context *c, const swin__step *s, int unit, float *scratch)
{
    const swin__scse_layer *l = (const swin__scse_layer *)s->layer;
    swin__rows x = swin__unit_rows(&l->x, s, unit);
    swin__rows pixels = swin__make_rows(scratch + l->x.ld, 16, x.n, 1);
    swin__copy(scratch, l->gate.data, l->x.ld);
    c->kernels->sigmoid(scratch, 0, 1, l->x.ld);
    swin__apply(c, &l->pixel, x, pixels, SWIN__LINEAR);
    c->kernels->sigmoid(pixels.data, pixels.ld, pixels.n, 16);
    c->kernels->excite(x.data, x.ld, x.n, l->x.ld, scratch, pixels.data, pixels.ld);
}

/* Plans scSE attention in place. */
static void swin__plan_scse(swin__plan *p, int level, const swin__scse *scse, swin__fmap x)
{
    int pixels = swin__pixels(&x);
    swin__job job = { "scse", level, swin__excite, swin__units(pixels, 2.0 * x.c, SWIN__MANY), 0,
                      2.0 * pixels * x.c };
    swin__fmap mean = swin__plan_channel_means(p, level, x);
    swin__fmap hidden = swin__plan_linear(p, "scse", level, mean, x.c / SWIN__SCSE_SHARE,
                                          scse->reduce, SWIN__RELU);
    swin__scse_layer l;
    swin__release(p, mean.data);
    l.gate = swin__plan_linear(p, "scse", level, hidden, x.c, scse->restore, SWIN__LINEAR);
    swin__release(p, hidden.data);
    l.x = x;
    l.pixel = scse->pixel;
    job.scratch = (uint64_t)x.ld + swin__floats(swin__divide_up(pixels, job.units), 16);
    swin__add_step(p, &job, &l, sizeof l);
    swin__release(p, l.gate.data);
}

/* Plans a convolution of the last block, whose own are its output. Gives x back. */
static swin__fmap swin__plan_smp_conv(swin__plan *p, const char *name, int level, swin__fmap x,
                                      swin__linear weights, int channels, int act)
{
    swin__conv conv = swin__make_conv(weights, 3, x.c, x, channels);
    swin__fmap out;
    conv.act = act;
    swin__add_source(&conv, x, 0);
    out = swin__plan_conv(p, name, level, conv);
    swin__release(p, x.data);
    return out;
}

/* The shape of what block i makes; a skip, if there is one, has that size. */
static swin__fmap swin__smp_shape(const swin__plan *p, int i, const swin__fmap *feature)
{
    int stages = p->config->stages, half = i < stages ? 2 : 1;
    swin__fmap shape = feature[swin__max(0, stages - 2 - i)];
    if (i + 1 < stages) return shape;
    shape.h = swin__max(1, p->crops.h / half);
    shape.w = swin__max(1, p->crops.w / half);
    return shape;
}

/* Plans block i on what the one before made, or on the last feature. */
static swin__fmap swin__plan_smp_block(swin__plan *p, int i, swin__fmap x,
                                       const swin__fmap *feature)
{
    const swin_config *g = p->config;
    const swin__smp_block *w = &p->weights->decoder[i];
    int stages = g->stages, ch = g->decoder.width[i], skip = stages - 2 - i;
    swin__conv conv = swin__make_conv(w->conv[0], 3, swin__smp_inputs(g, i),
                                      swin__smp_shape(p, i, feature), ch);
    swin__fmap out, joined = { NULL, 0, 0, 0, 0 };
    conv.nearest = !g->decoder.bilinear;
    swin__add_source(&conv, x, 0);
    if (skip >= 0) swin__add_source(&conv, feature[skip], x.c);
    if (g->decoder.scse && i < stages) {
        joined = swin__plan_concat(p, i, &conv);
        swin__plan_scse(p, i, &w->attend[0], joined);
        conv.sources = 0;
        swin__add_source(&conv, joined, 0);
    }
    out = swin__plan_conv(p, "conv", i, conv);
    if (joined.ld) swin__release(p, joined.data);
    if (i) swin__release(p, x.data);
    else swin__drop_feature(p, x);
    if (skip >= 0) swin__drop_feature(p, feature[skip]);
    out = swin__plan_smp_conv(p, "conv", i, out, w->conv[1], ch, SWIN__RELU);
    if (g->decoder.scse) swin__plan_scse(p, i, &w->attend[1], out);
    return out;
}

/* Plans the blocks from coarse to fine, and a convolution that classifies, at the input's size. */
static swin__fmap swin__plan_smp_unet(swin__plan *p, const swin__fmap *feature)
{
    const swin_config *g = p->config;
    swin__fmap x = feature[g->stages - 1];
    for (int i = 0; i <= g->stages && p->status == SWIN_OK; i++)
        x = swin__plan_smp_block(p, i, x, feature);
    return swin__plan_smp_conv(p, "classify", -1, x, p->weights->classify, g->classes,
                               SWIN__LINEAR);
}

/* --- heads with queries ----------------------------------------------------------------------- */

/* attended: the channels of what queries attend to. */
static swin_status swin__check_queries(const swin_config *g, int deformable, int attended,
                                       swin_error *err)
{
    const swin_queries_config *q = &g->queries;
    int ch = g->head.channels, unused[SWIN_MAX_STAGES];
    SWIN__DEMAND(swin__head_inputs(g, unused) == SWIN__LEVELS + 1, SWIN_DAMAGED,
                 "config: a head with queries that does not read four features");
    SWIN__DEMAND(q->width && q->masks && q->heads && q->layers && q->hidden, SWIN_DAMAGED,
                 "config: a head with queries without width, masks, heads, layers or hidden");
    SWIN__DEMAND(q->width % 4 == 0 && q->width % q->heads == 0, SWIN_DAMAGED,
                 "config: queries whose width 4 and their heads do not divide");
    SWIN__DEMAND(ch % SWIN__GROUPS == 0, SWIN_DAMAGED,
                 "config: head_channels of a head with queries that %d groups do not divide",
                 SWIN__GROUPS);
    SWIN__DEMAND(!q->pixel_heads == !deformable && !q->pixel_layers == !deformable &&
                 !q->pixel_hidden == !deformable && (!deformable || ch % q->pixel_heads == 0),
                 SWIN_DAMAGED, "config: pixel_heads, pixel_layers or pixel_hidden of the queries");
    SWIN__DEMAND(q->projected || attended == q->width, SWIN_DAMAGED,
                 "config: queries that attend to other channels than their own");
    SWIN__DEMAND(g->head.kind == SWIN_HEAD_ONEFORMER ? q->start_layers && q->start_hidden &&
                                                       q->masks == ch && q->count > 1
                                                     : !q->start_layers && !q->start_hidden,
                 SWIN_DAMAGED, "config: start_layers, start_hidden, masks or count of the queries");
    SWIN__DEMAND(g->picture.mode != SWIN_MODE_SLIDE, SWIN_DAMAGED,
                 "config: a sliding window with queries");
    return SWIN_OK;
}

static swin_status swin__check_maskformer(const swin_config *g, swin_error *err)
{
    return swin__check_queries(g, 0, swin__head_depth(g), err);
}

static void swin__bind_maskformer(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    const swin_queries_config *q = &g->queries;
    swin__query_weights *to = &w->queries;
    int ch = g->head.channels, widths[SWIN_MAX_STAGES], last = swin__head_widths(g, widths) - 1;
    to->stem = swin__take_normed(b, "pixel.stem", ch, 9 * widths[last], 0);
    for (int l = last; l-- > 0;) swin__bind_pixel_level(b, to, l, widths[l]);
    to->mask = swin__take_linear(b, "pixel.mask", q->masks, 9 * ch, 1);
    to->embed = swin__take_rows(b, "query.embed", q->count, q->width);
    if (q->projected)
        to->project[0] = swin__take_linear(b, "query.project", q->width, widths[last], 1);
    for (int i = 0; i < q->layers; i++) {
        swin__query_layer unused;
        swin__bind_query_layer(b, &unused, "decoder", i, q->hidden, 0);
    }
    swin__bind_query_results(b, w);
}

/* The queries' places, heads and hidden channels; they start as `start`. */
static swin__query_state swin__plan_query_state(swin__plan *p, const float *start, int first)
{
    const swin_queries_config *g = &p->config->queries;
    swin__query_state state;
    state.x = swin__plan_fill(p, g->count, g->width, start, first);
    state.place = swin__query_rows(p, p->weights->queries.embed, g->count, g->width);
    state.heads = g->heads;
    state.hidden = g->hidden;
    return state;
}

/* The coarsest feature, brought to the queries' channels where the model does so. */
static swin__fmap swin__plan_attended(swin__plan *p, swin__fmap feature)
{
    const swin_queries_config *q = &p->config->queries;
    if (!q->projected) return feature;
    return swin__plan_linear(p, "project", -1, feature, q->width, p->weights->queries.project[0],
                             SWIN__LINEAR);
}

/* Plans the decoder over the coarsest feature, whose values have no places; returns the queries. */
static swin__fmap swin__plan_maskformer_queries(swin__plan *p, swin__fmap feature)
{
    const swin_queries_config *q = &p->config->queries;
    swin__fmap attended = swin__plan_attended(p, feature);
    const swin__query_state state = swin__plan_query_state(p, NULL, 0);
    swin__memory memory;
    memory.like = attended;
    memory.keys = memory.values = swin__see_map(&attended);
    memory.keys.sines = swin__plan_sines(p, attended.h, attended.w, q->width);
    swin__plan_detr(p, "decoder", q->layers, &state, &memory);
    if (q->projected) swin__release(p, attended.data);
    return state.x;
}

/* Plans the pixel decoder, coarse to fine, once the queries have seen the coarsest feature. */
static swin__fmap swin__plan_maskformer(swin__plan *p, const swin__fmap *feature)
{
    const swin__query_weights *w = &p->weights->queries;
    int inputs[SWIN_MAX_STAGES], last = swin__head_inputs(p->config, inputs) - 1;
    swin__fmap top = feature[inputs[last]], queries = swin__plan_maskformer_queries(p, top);
    swin__fmap x = swin__plan_normed_conv(p, last, top, &w->stem), pixels;
    swin__conv mask;
    swin__drop_feature(p, top);
    for (int l = last; l-- > 0;) {
        swin__fmap above = x;
        x = swin__plan_pixel_level(p, l, feature[inputs[l]], above, 1);
        swin__release(p, above.data);
    }
    mask = swin__make_conv(w->mask, 3, x.c, x, p->config->queries.masks);
    mask.act = SWIN__LINEAR;
    swin__add_source(&mask, x, 0);
    pixels = swin__plan_conv(p, "mask features", 0, mask);
    swin__release(p, x.data);
    return swin__plan_query_scores(p, queries, pixels);
}

static swin_status swin__check_mask2former(const swin_config *g, swin_error *err)
{
    return swin__check_queries(g, 1, g->head.channels, err);
}

/* Binds the pixel decoder of deformable attention. */
static void swin__bind_deformable(swin__binder *b, swin__query_weights *w)
{
    const swin_config *g = &b->model->config;
    int ch = g->head.channels, widths[SWIN_MAX_STAGES];
    char name[24];
    swin__head_widths(g, widths);
    for (int l = 0; l < SWIN__LEVELS; l++) {
        swin__format(name, sizeof name, "pixel.project%d", l);
        w->level[l] = swin__take_normed(b, name, ch, widths[SWIN__LEVELS - l], 1);
    }
    w->pixel_levels = swin__take_rows(b, "pixel.levels", SWIN__LEVELS, ch);
    for (int i = 0; i < g->queries.pixel_layers; i++) {
        swin__pixel_layer unused;
        swin__bind_pixel_layer(b, &unused, i);
    }
    swin__bind_pixel_level(b, w, 0, widths[0]);
    w->mask = swin__take_linear(b, "pixel.mask", g->queries.masks, ch, 1);
}

/* Binds the decoder that masks guide, and what comes after it. */
static void swin__bind_guided(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    const swin_queries_config *q = &g->queries;
    if (q->projected)
        swin__bind_row(b, w->queries.project, "query.project", SWIN__LEVELS, q->width,
                       g->head.channels, NULL);
    w->queries.levels = swin__take_rows(b, "query.levels", SWIN__LEVELS, q->width);
    for (int i = 0; i < q->layers; i++) {
        swin__query_layer unused;
        swin__bind_query_layer(b, &unused, "decoder", i, q->hidden, 1);
    }
    swin__bind_query_results(b, w);
}

static void swin__bind_mask2former(swin__binder *b, swin__weights *w)
{
    const swin_queries_config *q = &b->model->config.queries;
    swin__bind_deformable(b, &w->queries);
    w->queries.embed = swin__take_rows(b, "query.embed", q->count, q->width);
    w->queries.start = swin__take_rows(b, "query.start", q->count, q->width);
    swin__bind_guided(b, w);
}

static swin__fmap swin__plan_mask2former(swin__plan *p, const swin__fmap *feature)
{
    const swin_queries_config *g = &p->config->queries;
    swin__fmap pixels;
    const swin__tokens x = swin__plan_deformable(p, feature, &pixels);
    const float *start = swin__query_rows(p, p->weights->queries.start, g->count, g->width);
    const swin__query_state state = swin__plan_query_state(p, start, 0);
    const swin__guided to = swin__plan_guided(p, &x, pixels);
    swin__plan_guided_layers(p, &state, &x, &to);
    return swin__plan_query_scores(p, state.x, pixels);
}

static void swin__bind_oneformer(swin__binder *b, swin__weights *w)
{
    const swin_queries_config *q = &b->model->config.queries;
    swin__bind_deformable(b, &w->queries);
    w->queries.embed = swin__take_rows(b, "query.embed", q->count, q->width);
    w->queries.start = swin__take_rows(b, "query.task", 1, q->width);
    w->queries.input = swin__take_linear(b, "query.input", q->width, b->model->config.head.channels,
                                         1);
    for (int i = 0; i < q->start_layers; i++) {
        swin__query_layer unused;
        swin__bind_query_layer(b, &unused, "start", i, q->start_hidden, 0);
    }
    w->queries.start_norm = swin__take_affine(b, "start.norm", q->width);
    swin__bind_guided(b, w);
}

/* Plans OneFormer's first queries: all are the task, and all but the last look at the pixels, whose
   features tell keys alone: values are sines of the places. */
static swin__query_state swin__plan_task(swin__plan *p, swin__fmap pixels)
{
    const swin_queries_config *g = &p->config->queries;
    const swin__query_weights *w = &p->weights->queries;
    const float *task = swin__query_rows(p, w->start, 1, g->width);
    swin__query_state state = swin__plan_query_state(p, task, 1), first = state;
    swin__fmap map = swin__plan_linear(p, "input", -1, pixels, g->width, w->input, SWIN__LINEAR);
    swin__norm_layer norm;
    swin__memory memory;
    memory.like = map;
    memory.keys = swin__see_map(&map);
    memory.keys.sines = swin__plan_sines(p, map.h, map.w, g->width);
    memory.values = memory.keys;
    memory.values.pixels = NULL;
    first.x.h--;
    first.hidden = g->start_hidden;
    swin__plan_detr(p, "start", g->start_layers, &first, &memory);
    swin__release(p, map.data);
    memset(&norm, 0, sizeof norm);
    norm.in = norm.out = first.x;
    norm.norm = w->start_norm;
    norm.eps = SWIN__EPS;
    swin__add_norm(p, -1, &norm);
    return state;
}

static swin__fmap swin__plan_oneformer(swin__plan *p, const swin__fmap *feature)
{
    swin__fmap pixels;
    const swin__tokens x = swin__plan_deformable(p, feature, &pixels);
    const swin__query_state state = swin__plan_task(p, pixels);
    const swin__guided to = swin__plan_guided(p, &x, pixels);
    swin__plan_guided_layers(p, &state, &x, &to);
    return swin__plan_query_scores(p, state.x, pixels);
}

/* --- BiRefNet --------------------------------------------------------------------------------- */

/* The channels of a level's feature: those of both passes of the backbone. */
static int swin__refined(const swin_config *g, int level) { return 2 * g->stage[level].width; }

/* The channels that the patches of the input become on a level. */
static int swin__patch_width(const swin_config *g, int level)
{
    return swin__refined(g, swin__min(level + 1, SWIN__REFINED - 1)) / 8;
}

/* How many branches a pyramid has. */
static int swin__branches(const swin_config *g)
{
    int n = 0;
    while (n < SWIN_MAX_BRANCHES && g->birefnet.kernel[n]) n++;
    return n;
}

static swin_status swin__check_birefnet_head(const swin_config *g, swin_error *err)
{
    const swin_birefnet_config *b = &g->birefnet;
    SWIN__DEMAND(g->body == SWIN_BODY_BIREFNET, SWIN_DAMAGED,
                 "config: BiRefNet's decoder without its backbone");
    SWIN__DEMAND(g->rules.one_class && g->head.align_corners, SWIN_DAMAGED,
                 "config: BiRefNet has one class and keeps corners in resizes");
    SWIN__DEMAND(b->inner && b->branch && b->patches && b->gate && b->kernel[0], SWIN_DAMAGED,
                 "config: a width of BiRefNet's decoder is 0");
    for (int i = 0; i < SWIN_MAX_BRANCHES; i++)
        SWIN__DEMAND(i < swin__branches(g) ? b->kernel[i] % 2 : !b->kernel[i], SWIN_DAMAGED,
                     "config: BiRefNet's kernel %d has no middle, or comes after none", i);
    return SWIN_OK;
}

/* A convolution for offsets, of a kernel wider than 3, is stored as the sum of so many by so many
   3 x 3 convolutions of one map, each shifted by three pixels more: Winograd's takes that. */
static int swin__kernel_parts(int kernel) { return swin__divide_up(kernel, 3); }

/* Binds a block of the decoder: from so many channels to `outputs`, 0: without the convolution at
   its end. Names begin with `name`. */
static void swin__bind_pyramid(swin__binder *b, swin__pyramid *w, const char *name, int inputs,
                               int outputs)
{
    const swin_config *g = &b->model->config;
    int m = g->birefnet.inner, made = g->birefnet.branch, branches = swin__branches(g);
    char full[40];
    swin__format(b->prefix, sizeof b->prefix, "head.%s.", name);
    w->conv_in = swin__take_linear(b, "conv_in", m, 9 * inputs, 1);
    for (int i = 0; i < branches; i++) {
        int area = g->birefnet.kernel[i] * g->birefnet.kernel[i];
        int parts = swin__kernel_parts(g->birefnet.kernel[i]), taps = parts > 1 ? 9 : area;
        swin__format(full, sizeof full, "branch%d.offset", i);
        w->offset[i] = swin__take_linear_as(b, full, 3 * area, taps * parts * parts * m, 1,
                                            SWIN__AS_FLOATS);
        swin__format(full, sizeof full, "branch%d", i);
        w->branch[i] = swin__take_linear_as(b, full, made, area * m, 1, SWIN__AS_FLOATS);
    }
    w->mean = swin__take_linear_as(b, "mean", made, m, 1, SWIN__AS_FLOATS);
    w->fuse = swin__take_linear_as(b, "fuse", m, (branches + 1) * made, 1, SWIN__AS_FLOATS);
    if (outputs) w->conv_out = swin__take_linear(b, "conv_out", outputs, 9 * m, 1);
    swin__format(b->prefix, sizeof b->prefix, "head.");
}

/* The layers name{level}{part}. */
static swin__linear swin__take_level(swin__binder *b, const char *name, int level, const char *part,
                                     int outputs, int inputs, unsigned types)
{
    char full[40];
    swin__format(full, sizeof full, "%s%d%s", name, level, part);
    return swin__take_linear_as(b, full, outputs, inputs, 1, types);
}

static void swin__bind_birefnet_head(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    swin__birefnet *d = &w->birefnet;
    int inputs = 0, coarsest = SWIN__REFINED - 1, gate = g->birefnet.gate;
    for (int l = 0; l <= coarsest; l++) inputs += swin__refined(g, l);
    swin__bind_pyramid(b, &d->squeeze, "squeeze", inputs, swin__refined(g, coarsest));
    for (int l = coarsest; l >= 0; l--) {
        int c = swin__refined(g, l), patches = swin__patch_width(g, l), grid = 4 << l;
        char name[16];
        if (l < coarsest)
            w->lateral[l] = swin__take_level(b, "lateral", l, "", c, c, SWIN__AS_WEIGHTS);
        d->patches[l] = swin__take_level(b, "patches", l, "", g->birefnet.patches,
                                         9 * 3 * grid * grid, SWIN__AS_WEIGHTS);
        d->patches_out[l] = swin__take_level(b, "patches", l, ".out", patches,
                                             9 * g->birefnet.patches, SWIN__AS_WEIGHTS);
        swin__format(name, sizeof name, "block%d", l);
        swin__bind_pyramid(b, &d->block[l], name, c + patches, l ? swin__refined(g, l - 1) : 0);
        if (!l) continue;
        d->gate[l] = swin__take_level(b, "gate", l, "", gate, 9 * swin__refined(g, l - 1),
                                      SWIN__AS_WEIGHTS);
        d->gate_out[l] = swin__take_level(b, "gate", l, ".out", 1, gate, SWIN__AS_F32);
    }
    d->out = swin__take_linear_as(b, "out", 9, g->birefnet.inner, 0, SWIN__AS_F32);
    d->image = swin__take_linear_as(b, "image", 9, SWIN__SEEN, 1, SWIN__AS_F32);
}

/* Plans a convolution of one map. */
static swin__fmap swin__plan_conv_of(swin__plan *p, const char *name, int level,
                                     swin__linear linear, int kernel, swin__fmap in, int channels,
                                     int act)
{
    swin__conv conv = swin__make_conv(linear, kernel, in.c, in, channels);
    conv.act = act;
    swin__add_source(&conv, in, 0);
    return swin__plan_conv(p, name, level, conv);
}

/* Plans the convolution that tells a branch's offsets and factors. */
static swin__fmap swin__plan_offsets(swin__plan *p, int level, swin__linear linear, int kernel,
                                     swin__fmap in)
{
    int parts = swin__kernel_parts(kernel), side = parts > 1 ? 3 : kernel;
    swin__conv conv = swin__make_conv(linear, side, parts * parts * in.c, in, 3 * kernel * kernel);
    conv.act = SWIN__LINEAR;
    for (int i = 0; i < parts * parts; i++) {
        swin__source *source = &conv.source[i];
        swin__add_source(&conv, in, i * in.c);
        source->down = i / parts * 3 + side / 2 - kernel / 2;
        source->right = i % parts * 3 + side / 2 - kernel / 2;
    }
    return swin__plan_conv(p, "offset", level, conv);
}

/* Plans what a pyramid's fusing layer gets from the mean: its bias and the mean's share. */
static swin__fmap swin__plan_mean_share(swin__plan *p, int level, const swin__pyramid *w,
                                        swin__fmap in)
{
    swin__linear share = w->fuse;
    swin__fmap mean = swin__plan_channel_means(p, level, in), made, out;
    made = swin__plan_linear(p, "mean", level, mean, p->config->birefnet.branch, w->mean,
                             SWIN__RELU);
    swin__release(p, mean.data);
    share.weight = swin__panels_from(share.weight, 0, swin__branches(p->config) * made.c);
    out = swin__plan_linear(p, "mean", level, made, in.c, share, SWIN__LINEAR);
    swin__release(p, made.data);
    return out;
}

/* Plans a pyramid after its first convolution, whose output `in` it gives back, up to the fusing
   layer: relu(F concat[branches, mean] + b). */
static swin__fmap swin__plan_branches(swin__plan *p, int level, const swin__pyramid *w,
                                      swin__fmap in)
{
    const swin_birefnet_config *g = &p->config->birefnet;
    int branches = swin__branches(p->config);
    swin__fmap start = swin__plan_mean_share(p, level, w, in);
    swin__fmap out = swin__alloc_fmap(p, in.h, in.w, in.c);
    for (int i = 0; i < branches; i++) {
        swin__dcn_layer l;
        memset(&l, 0, sizeof l);
        l.in = in;
        l.out = out;
        l.kernel = g->kernel[i];
        l.told = swin__plan_offsets(p, level, w->offset[i], l.kernel, in);
        l.branch = w->branch[i];
        l.fuse = swin__panels_from(w->fuse.weight, 0, i * g->branch);
        l.fused = g->branch;
        l.start = i ? NULL : start.data;
        l.first = !i;
        l.act = i + 1 == branches ? SWIN__RELU : SWIN__LINEAR;
        swin__plan_dcn(p, level, l);
        swin__release(p, l.told.data);
        if (!i) swin__release(p, start.data);
    }
    swin__release(p, in.data);
    return out;
}

/* Plans the context of all features at the coarsest size, squeezed. */
static swin__fmap swin__plan_squeeze(swin__plan *p, const swin__fmap *feature)
{
    const swin_config *g = p->config;
    const swin__pyramid *w = &p->weights->birefnet.squeeze;
    const swin__fmap *coarsest = &feature[SWIN__REFINED - 1];
    int inputs = 0;
    swin__fmap x, out;
    swin__conv conv;
    for (int l = 0; l < SWIN__REFINED; l++) inputs += feature[l].c;
    conv = swin__make_conv(w->conv_in, 3, inputs, *coarsest, g->birefnet.inner);
    for (int l = 0, first = 0; l < SWIN__REFINED; first += feature[l++].c)
        swin__add_source(&conv, feature[l], first);
    x = swin__plan_conv(p, "squeeze", SWIN__REFINED - 1, conv);
    x = swin__plan_branches(p, SWIN__REFINED - 1, w, x);
    out = swin__plan_conv_of(p, "squeeze", SWIN__REFINED - 1, w->conv_out, 3, x, coarsest->c,
                             SWIN__LINEAR);
    swin__release(p, x.data);
    return out;
}

/* Plans what a level's block reads of the input: two convolutions of its patches. */
static swin__fmap swin__plan_seen_patches(swin__plan *p, int level, swin__fmap input)
{
    const swin__birefnet *w = &p->weights->birefnet;
    swin__fmap stack = swin__plan_stack(p, level, input, 4 << level), inner, out;
    inner = swin__plan_conv_of(p, "patches", level, w->patches[level], 3, stack,
                               p->config->birefnet.patches, SWIN__LINEAR);
    swin__release(p, stack.data);
    out = swin__plan_conv_of(p, "patches", level, w->patches_out[level], 3, inner,
                             swin__patch_width(p->config, level), SWIN__LINEAR);
    swin__release(p, inner.data);
    return out;
}

/* Plans the sum of the coarser level's output, resized, and a layer of this level's feature. */
static swin__fmap swin__plan_lateral(swin__plan *p, int level, swin__fmap feature,
                                     swin__fmap coarser)
{
    swin__linear_layer l = swin__make_linear(p, feature, feature.c, p->weights->lateral[level],
                                             SWIN__LINEAR);
    swin__add_bilinear(p, &l, coarser, 1);
    swin__add_linear(p, "lateral", level, &l);
    swin__release(p, coarser.data);
    return l.out;
}

/* Plans a level of the decoder up to its pyramid's fusing layer. x: what the coarser level gave,
   which it gives back. */
static swin__fmap swin__plan_level(swin__plan *p, int level, const swin__fmap *feature,
                                   swin__fmap input, swin__fmap x)
{
    const swin__pyramid *w = &p->weights->birefnet.block[level];
    swin__fmap patches, inner;
    swin__conv conv;
    if (level + 1 < SWIN__REFINED) x = swin__plan_lateral(p, level, feature[level], x);
    swin__drop_feature(p, feature[level]);
    patches = swin__plan_seen_patches(p, level, input);
    conv = swin__make_conv(w->conv_in, 3, x.c + patches.c, x, p->config->birefnet.inner);
    swin__add_source(&conv, x, 0);
    swin__add_source(&conv, patches, x.c);
    inner = swin__plan_conv(p, "block", level, conv);
    swin__release(p, x.data);
    swin__release(p, patches.data);
    return swin__plan_branches(p, level, w, inner);
}

/* Plans the end of a level: its last convolution, and the gate. x is given back. */
static swin__fmap swin__plan_gated(swin__plan *p, int level, swin__fmap x)
{
    const swin__birefnet *w = &p->weights->birefnet;
    swin__fmap out = swin__plan_conv_of(p, "block", level, w->block[level].conv_out, 3, x,
                                        swin__refined(p->config, level - 1), SWIN__LINEAR);
    swin__fmap gate;
    swin__release(p, x.data);
    gate = swin__plan_conv_of(p, "gate", level, w->gate[level], 3, out, p->config->birefnet.gate,
                              SWIN__RELU);
    swin__plan_gate(p, level, out, gate, w->gate_out[level]);
    swin__release(p, gate.data);
    return out;
}

/* Plans the decoder. feature[stages] is the input, which the body hands over. The last block's
   convolution, which has no activation, and the logits' share of it are one product, as are the
   convolutions of the input and theirs. */
static swin__fmap swin__plan_birefnet_head(swin__plan *p, const swin__fmap *feature)
{
    const swin__birefnet *w = &p->weights->birefnet;
    swin__fmap input = feature[SWIN__REFINED], x = swin__plan_squeeze(p, feature);
    swin__fmap nine, coarse, logits;
    for (int l = SWIN__REFINED - 1; l >= 0; l--) {
        x = swin__plan_level(p, l, feature, input, x);
        if (l) x = swin__plan_gated(p, l, x);
    }
    nine = swin__plan_linear(p, "out", 0, x, 9, w->out, SWIN__LINEAR);
    swin__release(p, x.data);
    coarse = swin__plan_nine(p, nine);
    swin__release(p, nine.data);
    logits = swin__plan_matte(p, coarse, input, w->image);
    swin__release(p, coarse.data);
    swin__release(p, input.data);
    return logits;
}

/* --- the kinds of heads ----------------------------------------------------------------------- */

/* Which features a head reads, and so what head_inputs and head_channels may be. */
enum {
    SWIN__READS_NOTHING,        /* none, or one that its body hands over unasked */
    SWIN__READS_ONE, SWIN__READS_SOME,
    SWIN__READS_LAST            /* the last stage's, through the final norm where there is one; it
                                   has no channels of its own */
};
/* What a head gives: nothing, logits of pixels, or logits of the whole picture. */
enum { SWIN__GIVES_NOTHING, SWIN__GIVES_PIXELS, SWIN__GIVES_SCORES };

/* A kind of head: a row of swin__heads. */
typedef struct swin__head_kind {
    int need;                   /* SWIN__NEEDS_...: where a build leaves that out, functions are
                                   NULL */
    const char *name;
    int reads, gives;
    swin_status (*checks)(const swin_config *g, swin_error *err);
    void (*bind)(swin__binder *b, swin__weights *w);            /* names start with "head." */
    /* returns the logits or, with queries, the masks, and fills p->scores */
    swin__fmap (*plan)(swin__plan *p, const swin__fmap *feature);
} swin__head_kind;

/* Of a head or body about which nothing is left to check. */
static swin_status swin__check_nothing(const swin_config *g, swin_error *err)
{
    (void)g, (void)err;
    return SWIN_OK;
}

#define SWIN__HEAD(option, name, reads, gives, checks, bind, plan) \
    { SWIN__NEEDS_##option, name, reads, gives, SWIN__IF(SWIN__HAS_##option, checks), \
      SWIN__IF(SWIN__HAS_##option, bind), SWIN__IF(SWIN__HAS_##option, plan) }
static const swin__head_kind swin__heads[] = {          /* in the order of SWIN_HEAD_LIST */
    { SWIN__NEEDS_NOTHING, "no head", SWIN__READS_NOTHING, SWIN__GIVES_NOTHING,
      swin__check_nothing, NULL, NULL },
    SWIN__HEAD(UPER, "UPerHead", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_pools, swin__bind_uper, swin__plan_uper),
    SWIN__HEAD(FCN, "FCNHead", SWIN__READS_ONE, SWIN__GIVES_PIXELS,
               swin__check_fcn, swin__bind_fcn, swin__plan_fcn),
    SWIN__HEAD(PSP, "PSPHead", SWIN__READS_ONE, SWIN__GIVES_PIXELS,
               swin__check_pools, swin__bind_psp, swin__plan_psp),
    SWIN__HEAD(FPN, "FPNHead", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_fpn, swin__bind_fpn, swin__plan_fpn),
    SWIN__HEAD(SEGFORMER, "SegformerHead", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_nothing, swin__bind_segformer, swin__plan_segformer),
    SWIN__HEAD(SEGFORMER, "GLAM's SegFormerHead", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_nothing, swin__bind_segformer, swin__plan_segformer),
    SWIN__HEAD(CLASSIFIER, "a classifier", SWIN__READS_LAST, SWIN__GIVES_SCORES,
               swin__check_nothing, swin__bind_classifier, swin__plan_classifier),
    SWIN__HEAD(UNET, "a Unet's head", SWIN__READS_NOTHING, SWIN__GIVES_PIXELS,
               swin__check_unet_head, swin__bind_unet_head, swin__plan_unet_head),
    SWIN__HEAD(SMP_UNET, "SMP's Unet", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_smp_unet, swin__bind_smp_unet, swin__plan_smp_unet),
    SWIN__HEAD(FPN, "SMP's FPN", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_fpn, swin__bind_fpn, swin__plan_fpn),
    SWIN__HEAD(SEGFORMER, "the SegFormer authors' head", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_nothing, swin__bind_merged, swin__plan_merged),
    SWIN__HEAD(QUERIES, "MaskFormer", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_maskformer, swin__bind_maskformer, swin__plan_maskformer),
    SWIN__HEAD(QUERIES, "Mask2Former", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_mask2former, swin__bind_mask2former, swin__plan_mask2former),
    SWIN__HEAD(QUERIES, "OneFormer", SWIN__READS_SOME, SWIN__GIVES_PIXELS,
               swin__check_mask2former, swin__bind_oneformer, swin__plan_oneformer),
    SWIN__HEAD(BIREFNET, "BiRefNet's decoder", SWIN__READS_NOTHING, SWIN__GIVES_PIXELS,
               swin__check_birefnet_head, swin__bind_birefnet_head, swin__plan_birefnet_head),
};
#undef SWIN__HEAD
typedef char swin__heads_are_all_there[sizeof swin__heads / sizeof *swin__heads == SWIN_HEAD_COUNT
                                           ? 1 : -1];

static const swin__head_kind *swin__head_of(const swin_config *g)
{
    return &swin__heads[g->head.kind];
}

/* Do the fields of the head fit what its kind reads and gives, and each other? */
static swin_status swin__check_head(const swin_config *g, swin_error *err)
{
    const swin__head_kind *kind = swin__head_of(g);
    unsigned inputs = g->head.inputs, last = 1u << (g->stages - 1);
    int layers = kind->reads == SWIN__READS_ONE || kind->reads == SWIN__READS_SOME;
    SWIN__DEMAND(!g->classes == (kind->gives == SWIN__GIVES_NOTHING), SWIN_DAMAGED,
                 "config: %d classes for %s", g->classes, kind->name);
    SWIN__DEMAND(layers ? inputs && g->head.channels : !g->head.channels, SWIN_DAMAGED,
                 "config: head_channels or head_inputs of %s", kind->name);
    SWIN__DEMAND(layers || inputs == (kind->reads == SWIN__READS_LAST ? last : 0), SWIN_DAMAGED,
                 "config: head_inputs of %s", kind->name);
    SWIN__DEMAND(kind->reads != SWIN__READS_ONE || !(inputs & (inputs - 1)), SWIN_DAMAGED,
                 "config: %s reads one feature", kind->name);
    SWIN__DEMAND(g->head.kind == SWIN_HEAD_SMP_UNET || g->head.kind == SWIN_HEAD_SMP_FPN ||
                 swin__zero(&g->decoder, sizeof g->decoder), SWIN_DAMAGED,
                 "config: fields of `decoder` with %s", kind->name);
    SWIN__DEMAND(!g->rules.one_class || (g->classes == 2 && kind->gives == SWIN__GIVES_PIXELS),
                 SWIN_DAMAGED, "config: one_class with %d classes of %s", g->classes, kind->name);
    SWIN__DEMAND(g->picture.mode != SWIN_MODE_SLIDE || kind->gives == SWIN__GIVES_PIXELS,
                 SWIN_DAMAGED, "config: a sliding window with %s", kind->name);
    SWIN__DEMAND(g->picture.mode != SWIN_MODE_CENTRE || kind->gives == SWIN__GIVES_SCORES,
                 SWIN_DAMAGED, "config: a centre crop with %s", kind->name);
    SWIN__DEMAND(!g->queries.count == (g->head.kind < SWIN_HEAD_MASKFORMER ||
                                       g->head.kind > SWIN_HEAD_ONEFORMER), SWIN_DAMAGED,
                 "config: %d queries of %s", g->queries.count, kind->name);
    SWIN__DEMAND(!g->queries.count || !g->rules.one_class, SWIN_DAMAGED,
                 "config: one class of %s", kind->name);
    return kind->checks(g, err);
}

/* -------------------------------------------------------------------------- */
/* >>bodies: from a picture to features

   Add a backbone: its enumerator in SWIN_BODY_LIST, a row in swin__bodies below, and beside the
   others a function that checks what it asks of a config, one that binds its tensors (their names
   and order go into >>blob) and one that plans its layers and fills the features. Fields of its own
   go into a record of >>config. In the converter: a line for its name, one for its tensors
   (tools/swinblob/canonical.py), and a module that reads its checkpoints. */

/* Plans block j of `depth`; looks: this stage's attention map is asked for. */
static void swin__plan_block(swin__plan *p, const swin__attention_layer *a, int j, int depth,
                             int looks, swin__stored position)
{
    int windows = swin__windows_of(a);
    if (SWIN__LOOKS && looks && j + 2 == depth) swin__add_look(p, a, swin__look_tokens, windows);
    if (SWIN__LOOKS && looks && j + 1 == depth) swin__add_look(p, a, swin__look_pixel, 1);
    swin__plan_attention(p, *a);
    swin__plan_mlp(p, a->stage, a->block, a->x);
    if (SWIN__HAS_GLAM && a->tokens_out) swin__plan_global(p, a, position, looks && j + 2 == depth);
}

/* The weights of the next block, number j of a stage or of a Unet's level up: `where`. While sizing
   they have no place, and are taken from the directory again: their types decide on steps. */
static const swin__block *swin__next_block(swin__plan *p, const char *where, int i, int j)
{
    swin__binder b;
    char name[64];
    if (p->blocks) return &p->blocks[p->block_count++];
    p->block_count++;
    swin__format(name, sizeof name, "%s%d.block%d.norm1.weight", where, i, j);
    b = swin__binder_at(p, name);
    swin__bind_block(&b, &p->no_block, where, i, j);
    return &p->no_block;
}

/* Plans the blocks of a stage or of a level up, in place on x. */
static void swin__plan_stage(swin__plan *p, int stage, const swin__stage *weights, swin__fmap x)
{
    const swin_config *g = p->config;
    swin__grid grid = swin__make_grid(g, stage, 0, x.h, x.w);
    int n = swin__product_fits(p, "global tokens", grid.rows * grid.cols, g->tokens);
    int depth = g->stage[stage].depth;
    float *tokens = n && depth > 1 ? swin__alloc(p, (uint64_t)n * (uint64_t)x.ld) : NULL;
    const float *first = swin__stored_floats(p, weights->tokens, swin__offset(g->tokens, x.ld));
    int is_stage = weights == &p->weights->stage[stage];
    int looks = p->desc.outputs & SWIN_OUT_ATTENTION && p->desc.attend_stage == stage && is_stage;
    swin__attention_layer a;
    if (p->status != SWIN_OK) return;
    if (SWIN__LOOKS && looks) swin__plan_look(p, stage, x);
    for (int j = 0; j < depth; j++) {
        const swin__block *block = swin__next_block(p, is_stage ? "stage" : "up", stage, j);
        a = swin__make_attention(p, stage, j, block, x);
        a.tokens_in = j ? tokens : first;
        a.tokens_out = swin__has_global(g, stage, j) ? tokens : NULL;
        swin__plan_block(p, &a, j, depth, looks, weights->token_position);
    }
    if (SWIN__LOOKS && looks) {
        a = swin__make_attention(p, stage, depth - 2, NULL, x);
        swin__add_look(p, &a, swin__look_map, swin__windows_of(&a));
        p->results.attention = swin__view(p->look.map);
        swin__end_look(p);
    }
    if (tokens) swin__release(p, tokens);
}

/* Binds the patch embedding, its norm and the absolute positions, as far as there are any. */
static void swin__bind_embed(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    int width = g->stage[0].width;
    int side = g->body == SWIN_BODY_MIT ? g->mit.kernel[0] : g->patch;
    w->embed = swin__take_linear_as(b, "embed", width, side * side * g->planes, 1, SWIN__AS_F32);
    if (g->patch_norm) w->embed_norm = swin__take_affine(b, "embed.norm", width);
    if (g->position.h)
        w->position = swin__take_rows(b, "embed.position", g->position.h * g->position.w, width);
}

static void swin__bind_backbone(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    swin__bind_embed(b, w);
    for (int i = 0; i < g->stages; i++) swin__bind_stage(b, &w->stage[i], i);
    b->prefix[0] = 0;
    if (g->final_norm) w->norm = swin__take_affine(b, "norm", g->stage[g->stages - 1].width);
}

/* Plans the stages as far as somebody reads them, and fills the features that are wanted; the
   others stay empty. feature[stages] is the final norm's. */
static void swin__plan_backbone(swin__plan *p, swin__fmap feature[SWIN_MAX_STAGES + 1])
{
    const swin_config *g = p->config;
    int stages = g->stages, all = p->desc.outputs & SWIN_OUT_FEATURES;
    int last = g->final_norm && (all || swin__head_of(g)->reads == SWIN__READS_LAST);
    float eps = swin__eps(g->rules.feature_eps);
    uint32_t given = g->feature_norms ? g->feature_norms | g->head.inputs : (1u << stages) - 1;
    uint32_t wanted = all ? given : g->head.inputs;
    uint32_t reached = p->desc.outputs & SWIN_OUT_ATTENTION ? wanted | 1u << p->desc.attend_stage
                                                        : wanted;
    swin__fmap x = swin__plan_embed(p, NULL);
    for (int i = 0; i < stages && reached >> i && p->status == SWIN_OK; i++) {
        int as_is = 0;          /* the map is a feature without a norm */
        swin__fmap merged = x;
        swin__plan_stage(p, i, &p->weights->stage[i], x);
        if (wanted >> i & 1) {
            as_is = !(g->feature_norms >> i & 1);
            feature[i] = as_is ? x : swin__plan_norm(p, i, x, p->weights->stage[i].norm, eps);
            swin__show_feature(p, i, feature[i]);
        }
        if (reached >> (i + 1)) merged = swin__plan_merge(p, i, x);
        if (i + 1 == stages && last) {
            feature[stages] = swin__plan_norm(p, i, x, p->weights->norm, g->eps);
            swin__show_feature(p, stages, feature[stages]);
        }
        if (!as_is) swin__release(p, x.data);
        x = merged;
    }
}

/* --- Unets ------------------------------------------------------------------------------------ */

/* A Unet has its own head, patches of 4, and stages that double the channels. */
static swin_status swin__check_unet(const swin_config *g, swin_error *err)
{
    SWIN__DEMAND(g->head.kind == SWIN_HEAD_UNET, SWIN_DAMAGED, "config: a Unet without its head");
    SWIN__DEMAND(g->patch == 4 && g->stages >= 2 && g->version == 1 && g->final_norm &&
                 !g->feature_norms, SWIN_UNSUPPORTED,
                 "config: not a Unet's patch, stages, version or norms");
    for (int i = 0; i < g->stages; i++) {
        const swin_stage_config *s = &g->stage[i];
        SWIN__DEMAND(!i || s->width == 2 * s[-1].width, SWIN_UNSUPPORTED,
                     "config: a Unet whose stage %d is not twice as wide as the one before", i);
        SWIN__DEMAND(g->body != SWIN_BODY_CROSS_UNET || s->window_h == s->window_w, SWIN_DAMAGED,
                     "config: windows that are not square with cross-attention in stage %d", i);
    }
    return SWIN_OK;
}

/* Binds level i of a Unet's way up. */
static void swin__bind_up(swin__binder *b, swin__up *up, int i)
{
    const swin_config *g = &b->model->config;
    const swin__shape s = swin__cross_shape(g, i);
    int c = s.channels, packed = s.packed;
    swin__format(b->prefix, sizeof b->prefix, "up%d.", i);
    up->expand_norm = swin__take_affine(b, "expand.norm", c);
    up->expand = swin__take_linear(b, "expand", 4 * c, 2 * c, 0);
    if (g->body == SWIN_BODY_CROSS_UNET) {
        swin__block *cross = &up->cross;
        cross->norm1 = swin__take_affine(b, "cross.norm1", 2 * c);
        up->q = swin__take_linear(b, "cross.q", packed, c, 1);
        up->kv = swin__take_linear(b, "cross.kv", 2 * packed, 2 * c, 1);
        cross->table = swin__take_table(b, "cross.bias", &s);
        cross->proj = swin__take_linear(b, "cross.proj", c, packed, 1);
        cross->norm2 = swin__take_affine(b, "cross.norm2", c);
        cross->fc1 = swin__take_linear(b, "cross.fc1", s.hidden, c, 1);
        cross->fc2 = swin__take_linear(b, "cross.fc2", c, s.hidden, 1);
    }
    up->concat = swin__take_linear(b, "concat", c, 2 * c, 1);
    swin__bind_blocks(b, &up->stage, "up", i);
}

static void swin__bind_unet(swin__binder *b, swin__weights *w)
{
    swin__bind_backbone(b, w);
    for (int l = swin__levels_up(&b->model->config); l-- > 0;) swin__bind_up(b, &w->up[l], l);
}

/* Plans the stages down, whose inputs are copied as skips, and the levels up; the head reads the
   finest level, which takes feature 0's place. */
static void swin__plan_unet(swin__plan *p, swin__fmap feature[SWIN_MAX_STAGES + 1])
{
    static const swin__affine none = { NULL, NULL };
    const swin_config *g = p->config;
    int stages = g->stages;
    swin__fmap skip[SWIN_MAX_STAGES + 1], x = swin__plan_embed(p, NULL);
    for (int i = 0; i < stages && p->status == SWIN_OK; i++) {
        swin__fmap next;
        if (i + 1 < stages || p->desc.outputs & SWIN_OUT_FEATURES) {
            skip[i] = swin__plan_norm(p, i, x, none, 0);
            swin__show_feature(p, i, skip[i]);
        }
        swin__plan_stage(p, i, &p->weights->stage[i], x);
        next = i + 1 < stages ? swin__plan_merge(p, i, x)
                              : swin__plan_norm(p, i, x, p->weights->norm, g->eps);
        swin__release(p, x.data);
        x = next;
    }
    swin__show_feature(p, stages, x);
    for (int l = stages - 2; l >= 0 && p->status == SWIN_OK; l--) {
        const swin__up *up = &p->weights->up[l];
        swin__fmap above = swin__plan_expand(p, l, x, skip[l].h, skip[l].w);
        swin__conv concat = swin__make_conv(up->concat, 1, 2 * above.c, above, above.c);
        if (g->body == SWIN_BODY_CROSS_UNET) {
            swin__plan_cross(p, l, x, skip[l], above);
            swin__plan_mlp(p, l, &up->cross, above);
        }
        if (l + 2 == stages) swin__drop_feature(p, x);
        else swin__release(p, x.data);
        concat.act = SWIN__LINEAR;
        swin__add_source(&concat, above, 0);
        swin__add_source(&concat, skip[l], above.c);
        x = swin__plan_conv(p, "concat", l, concat);
        swin__release(p, above.data);
        swin__drop_feature(p, skip[l]);
        swin__plan_stage(p, l, &up->stage, x);
    }
    feature[0] = x;
}

/* --- MiT -------------------------------------------------------------------------------------- */

/* MiT has norms of patches and features, biases, and nothing of Swin's windows. */
static swin_status swin__check_mit(const swin_config *g, swin_error *err)
{
    const swin_mit_config *m = &g->mit;
    SWIN__DEMAND(g->version == 1 && !g->tokens && !g->position.h && g->patch_norm && g->qkv_bias &&
                 !g->merge_norm && !g->final_norm && g->feature_norms == (1u << g->stages) - 1 &&
                 g->input.rule == SWIN_INPUT_PAD, SWIN_UNSUPPORTED,
                 "config: not MiT's version, norms, biases or input");
    for (int i = 0; i < g->stages; i++) {
        SWIN__DEMAND(m->kernel[i] % 2, SWIN_DAMAGED, "config: the patches before stage %d have no "
                     "middle", i);
        SWIN__DEMAND(i ? m->stride[i] >= 2 : m->stride[i] == g->patch, SWIN_DAMAGED,
                     "config: the stride of the patches before stage %d", i);
        SWIN__DEMAND(m->reduction[i], SWIN_DAMAGED, "config: reduction of stage %d is 0", i);
    }
    return SWIN_OK;
}

static void swin__bind_mit(swin__binder *b, swin__weights *w)
{
    const swin_config *g = &b->model->config;
    swin__bind_embed(b, w);
    for (int i = 0; i < g->stages; i++) {
        int c = g->stage[i].width, side = g->mit.kernel[i];
        swin__format(b->prefix, sizeof b->prefix, "stage%d.", i);
        if (i) {
            w->stage[i].embed = swin__take_linear(b, "embed", c,
                                                  side * side * g->stage[i - 1].width, 1);
            w->stage[i].embed_norm = swin__take_affine(b, "embed.norm", c);
        }
        swin__bind_blocks(b, &w->stage[i], "stage", i);
        w->stage[i].norm = swin__take_affine(b, "norm", c);
    }
}

/* Plans the blocks of a stage and its norm; returns the map that replaces x. */
static swin__fmap swin__plan_mit_stage(swin__plan *p, int stage, swin__fmap x)
{
    swin__norm_layer norm;
    for (int j = 0; j < p->config->stage[stage].depth && p->status == SWIN_OK; j++) {
        const swin__block *block = swin__next_block(p, "stage", stage, j);
        swin__plan_reduced(p, stage, block, x);
        x = swin__plan_mix(p, stage, block, x);
    }
    memset(&norm, 0, sizeof norm);
    norm.in = norm.out = x;
    norm.norm = p->weights->stage[stage].norm;
    norm.eps = swin__eps(p->config->rules.feature_eps);
    swin__add_norm(p, stage, &norm);
    return x;
}

/* Plans the stages as far as somebody reads them, and fills the features that are wanted. */
static void swin__plan_mit(swin__plan *p, swin__fmap feature[SWIN_MAX_STAGES + 1])
{
    const swin_config *g = p->config;
    int all = p->desc.outputs & SWIN_OUT_FEATURES;
    uint32_t wanted = all ? (1u << g->stages) - 1 : g->head.inputs;
    swin__fmap x = swin__plan_embed(p, NULL);
    for (int i = 0; i < g->stages && wanted >> i && p->status == SWIN_OK; i++) {
        swin__fmap normed = swin__plan_mit_stage(p, i, x);
        if (wanted >> (i + 1)) x = swin__plan_embed_stage(p, i + 1, normed);
        if (wanted >> i & 1) {
            feature[i] = normed;
            swin__show_feature(p, i, normed);
        } else swin__release(p, normed.data);
    }
}

/* --- BiRefNet --------------------------------------------------------------------------------- */

enum { SWIN__REFINED_SIDES = 32 };      /* the sides of its inputs are multiples of this */

/* Four stages of Swin V1 whose features are normalised, of patches of 4; the coarsest map has a
   pixel for each patch of the finest grid, and each level's patches become a channel at least. */
static swin_status swin__check_birefnet(const swin_config *g, swin_error *err)
{
    SWIN__DEMAND(g->head.kind == SWIN_HEAD_BIREFNET || g->head.kind == SWIN_HEAD_NONE,
                 SWIN_DAMAGED, "config: BiRefNet's backbone with another head");
    SWIN__DEMAND(g->stages == SWIN__REFINED && g->version == 1 && g->patch == 4 && !g->tokens &&
                 !g->final_norm && g->feature_norms == (1u << SWIN__REFINED) - 1,
                 SWIN_UNSUPPORTED, "config: not BiRefNet's stages, version, patch or norms");
    SWIN__DEMAND(g->rules.input_multiple && g->rules.input_multiple % SWIN__REFINED_SIDES == 0,
                 SWIN_DAMAGED, "config: input_multiple is none of BiRefNet's %d",
                 SWIN__REFINED_SIDES);
    for (int i = 0; i < SWIN__REFINED; i++)
        SWIN__DEMAND(g->stage[i].width >= 4, SWIN_DAMAGED,
                     "config: BiRefNet's stage %d is too narrow", i);
    return SWIN_OK;
}

/* Plans the stages on an input, and the norms of their outputs: feature[0 ... stages - 1]. */
static void swin__plan_pass(swin__plan *p, const swin__fmap *input, swin__fmap *feature)
{
    const swin_config *g = p->config;
    swin__fmap x = swin__plan_embed(p, input);
    p->block_count = 0;
    p->entry = 0;
    for (int i = 0; i < g->stages && p->status == SWIN_OK; i++) {
        swin__fmap merged = x;
        swin__plan_stage(p, i, &p->weights->stage[i], x);
        feature[i] = swin__plan_norm(p, i, x, p->weights->stage[i].norm,
                                     swin__eps(g->rules.feature_eps));
        if (i + 1 < g->stages) merged = swin__plan_merge(p, i, x);
        swin__release(p, x.data);
        x = merged;
    }
}

/* Plans both passes, and joins their features; the input follows these. */
static void swin__plan_birefnet(swin__plan *p, swin__fmap feature[SWIN_MAX_STAGES + 1])
{
    swin__fmap whole[SWIN__REFINED], half[SWIN__REFINED], input, halved;
    memset(whole, 0, sizeof whole);
    memset(half, 0, sizeof half);
    input = swin__plan_input(p);
    halved = swin__plan_half(p, input);
    swin__plan_pass(p, &halved, half);
    swin__release(p, halved.data);
    swin__plan_pass(p, &input, whole);
    for (int i = SWIN__REFINED - 1; i >= 0 && p->status == SWIN_OK; i--) {
        feature[i] = swin__plan_join(p, i, whole[i], half[i]);
        swin__show_feature(p, i, feature[i]);
        swin__release(p, whole[i].data);
        swin__release(p, half[i].data);
    }
    feature[SWIN__REFINED] = input;
}

/* --- the kinds of bodies ---------------------------------------------------------------------- */

/* A kind of body: a row of swin__bodies. */
typedef struct swin__body_kind {
    int need;                   /* as a head's */
    swin_status (*checks)(const swin_config *g, swin_error *err);
    void (*bind)(swin__binder *b, swin__weights *w);
    void (*plan)(swin__plan *p, swin__fmap feature[SWIN_MAX_STAGES + 1]);
} swin__body_kind;

#define SWIN__BODY(option, checks, bind, plan) \
    { SWIN__NEEDS_##option, SWIN__IF(SWIN__HAS_##option, checks), \
      SWIN__IF(SWIN__HAS_##option, bind), SWIN__IF(SWIN__HAS_##option, plan) }
static const swin__body_kind swin__bodies[] = {         /* in the order of SWIN_BODY_LIST */
    { SWIN__NEEDS_NOTHING, swin__check_nothing, swin__bind_backbone, swin__plan_backbone },
    SWIN__BODY(UNET, swin__check_unet, swin__bind_unet, swin__plan_unet),
    SWIN__BODY(UNET, swin__check_unet, swin__bind_unet, swin__plan_unet),
    SWIN__BODY(MIT, swin__check_mit, swin__bind_mit, swin__plan_mit),
    SWIN__BODY(BIREFNET, swin__check_birefnet, swin__bind_backbone, swin__plan_birefnet),
};
#undef SWIN__BODY
typedef char swin__bodies_are_all_there[sizeof swin__bodies / sizeof *swin__bodies ==
                                            SWIN_BODY_COUNT ? 1 : -1];

/* -------------------------------------------------------------------------- */
/* >>network: a body, a head and what comes after them                        */

/* Has this build all that a model needs? The types of its weights are asked as they are bound. */
static swin_status swin__check_build(const swin_config *g, swin_error *err)
{
    const int needs[] = {
        swin__bodies[g->body].need, swin__head_of(g)->need,
        g->version == 2 ? SWIN__NEEDS_V2 : SWIN__NEEDS_NOTHING,
        g->tokens ? SWIN__NEEDS_GLAM : SWIN__NEEDS_NOTHING,
        g->picture.mode == SWIN_MODE_SLIDE ? SWIN__NEEDS_SLIDE : SWIN__NEEDS_NOTHING
    };
    swin_status status = SWIN_OK;
    for (size_t i = 0; i < sizeof needs / sizeof *needs && status == SWIN_OK; i++)
        status = swin__check_need(needs[i], err);
    return status;
}

/* Do the fields of a config, each in its range, go together, and has this build what they need? */
static swin_status swin__check_model(const swin_config *g, swin_error *err)
{
    swin_status status = swin__check_build(g, err);
    if (status == SWIN_OK) status = swin__check_config(g, err);
    if (status == SWIN_OK) status = swin__bodies[g->body].checks(g, err);
    return status == SWIN_OK ? swin__check_head(g, err) : status;
}

/* Binds all weights. blocks: memory for the blocks of all stages and levels, in order; NULL: they
   are only checked. */
static swin_status swin__bind(const swin_model *m, swin__weights *w, swin__block *blocks,
                              swin_error *err)
{
    const swin_config *g = &m->config;
    swin__binder b = { m, blocks, 0, m->data, m->size, "", err, SWIN_OK };
    swin__bodies[g->body].bind(&b, w);
    swin__format(b.prefix, sizeof b.prefix, "head.");
    if (swin__head_of(g)->bind) swin__head_of(g)->bind(&b, w);
    if (b.status == SWIN_OK && b.next != m->tensors)
        return swin__fail(err, SWIN_DAMAGED,
                          "the directory holds more tensors than the config implies");
    if (b.status == SWIN_OK && b.offset != m->size)
        return swin__fail(err, SWIN_DAMAGED, "the data part is longer than its tensors");
    return b.status;
}

/* Logits as the source has them: where it has one alone, that of class 1. */
static swin_tensor swin__view_logits(const swin_config *g, swin__fmap logits)
{
    swin_tensor t = swin__view(logits);
    if (!g->rules.one_class) return t;
    t.data += t.channel;
    t.channels = 1;
    return t;
}

/* From logits to the class map and what else the desc asks for. sums: a sliding window's, or
   NULL. */
static void swin__plan_results(swin__plan *p, swin__fmap logits, const swin__ring *sums, int labels)
{
    if (sums) swin__plan_slide(p, logits, *sums);
    p->results.logits = swin__view_logits(p->config, sums ? sums->map : logits);
    if (!sums && labels) swin__plan_maps(p, p->config->classes);
    if (labels) swin__plan_labels(p, sums ? *sums : swin__whole(logits), sums != NULL);
}

/* Plans all steps, from the first patch to the class map. */
static swin_status swin__plan_network(swin__plan *p)
{
    const swin_config *g = p->config;
    const swin_desc *d = &p->desc;
    const swin__head_kind *head = swin__head_of(g);
    int pixels = head->gives == SWIN__GIVES_PIXELS;
    int labels = pixels && (d->outputs & SWIN_OUT_CLASSES || swin__wants_softmax(d));
    int segments = SWIN__HAS_QUERIES && d->outputs & SWIN_OUT_SEGMENTS;
    int logits = labels || d->outputs & SWIN_OUT_LOGITS, slides = logits && swin__slides(&p->crops);
    swin__fmap feature[SWIN_MAX_STAGES + 1], out;
    swin__ring sums;
    memset(feature, 0, sizeof feature);
    memset(&sums, 0, sizeof sums);
    p->lasting = slides;
    if (slides && labels) swin__plan_maps(p, g->classes);
    if (slides) sums = swin__plan_sums(p, g->classes);
    p->lasting = 0;

    swin__bodies[g->body].plan(p, feature);
    p->repeated = p->step_count;
    if (p->status != SWIN_OK ||
        !(pixels ? logits || segments || d->kept : d->outputs & SWIN_OUT_SCORES))
        return p->status;
    out = head->plan(p, feature);
    if (segments) swin__plan_segments(p);
    if (segments && !logits && !d->kept) return p->status;
    if (SWIN__HAS_QUERIES && g->queries.count && labels && !slides && !d->kept &&
        !(d->outputs & SWIN_OUT_LOGITS)) {
        swin__plan_maps(p, g->classes);
        swin__plan_score_labels(p);
        return p->status;
    }
    if (SWIN__HAS_QUERIES && g->queries.count) out = swin__plan_score_map(p);
    if (SWIN__HAS_AVERAGE && d->kept) swin__plan_keep(p, out);
    p->repeated = p->step_count;
    if (pixels) swin__plan_results(p, out, slides ? &sums : NULL, labels);
    else p->results.scores = swin__view(out);
    return p->status;
}

/* -------------------------------------------------------------------------- */
/* >>open: from a blob to a model                                             */

enum { SWIN__BLOB_VERSION = 2 };        /* the one that this version of swin.h reads */

/* Is this a header of a whole blob that this version reads? */
static swin_status swin__check_header(const swin__header *h, size_t size, swin_error *err)
{
    static const uint32_t mark = 0x01020304;
    if (h->endian != mark)
        return swin__fail(err, SWIN_UNSUPPORTED, "the blob is little-endian, this machine is not");
    if (h->version != SWIN__BLOB_VERSION)
        return swin__fail(err, SWIN_UNSUPPORTED, "blob version %z, swin.h " SWIN__VERSION " reads "
                          "version %d: convert the checkpoint again", (size_t)h->version,
                          SWIN__BLOB_VERSION);
    if (h->size != size)
        return swin__fail(err, SWIN_DAMAGED, "the blob is damaged: %z bytes, its header says %z",
                          size, (size_t)h->size);
    return swin__zero(h->zero, sizeof h->zero) ? SWIN_OK
                                               : swin__fail(err, SWIN_DAMAGED, "header: its end");
}

/* Does a part of a blob of `size` bytes start at `at`, and do its things of so many bytes each
   fit? */
static int swin__part_holds(const uint64_t part[2], uint64_t at, size_t size, uint64_t bytes)
{
    return at <= size && part[0] == at && part[1] <= (size - at) / bytes;
}

/* Do the parts of a blob follow each other, and does the last one go to the end? */
static swin_status swin__check_parts(const swin__header *h, size_t size, swin_error *err)
{
    uint64_t at = sizeof *h;
    if (!swin__part_holds(h->config, at, size, 1))
        return swin__fail(err, SWIN_DAMAGED, "header: the config part");
    at = swin__align64(at + h->config[1]);
    if (!swin__part_holds(h->directory, at, size, sizeof(swin__entry)))
        return swin__fail(err, SWIN_DAMAGED, "header: the directory part");
    at += h->directory[1] * sizeof(swin__entry);
    if (!swin__part_holds(h->strings, at, size, 1))
        return swin__fail(err, SWIN_DAMAGED, "header: the strings part");
    at = swin__align64(at + h->strings[1]);
    if (!swin__part_holds(h->data, at, size, 1) || h->data[1] != size - at || size % 64)
        return swin__fail(err, SWIN_DAMAGED, "header: the data part");
    return SWIN_OK;
}

/* Reads a model's config and asks whether all that it implies is there. */
static swin_status swin__read_model(swin_model *m, const swin__header *h, swin_error *err)
{
    swin__weights unused;
    swin_status status = swin__read_config(&m->config, m->blob + h->config[0],
                                           (size_t)h->config[1], err);
    if (status == SWIN_OK) status = swin__check_model(&m->config, err);
    if (status != SWIN_OK) return status;
    if (!swin__strings_hold((const unsigned char *)m->strings, m->strings_size, m->config.classes))
        return swin__fail(err, SWIN_DAMAGED, "strings: class names, colours or notes");
    swin__set_marks(m);
    return swin__bind(m, &unused, NULL, err);
}

SWIN_API swin_status swin_open(swin_model *m, const void *blob, size_t size, unsigned flags,
                               swin_error *err)
{
    const unsigned char *bytes = (const unsigned char *)blob;
    swin__header h;
    swin_status status;
    if (m) memset(m, 0, sizeof *m);
    if (!m || !blob || (uintptr_t)blob % 4 || (flags & ~(unsigned)SWIN_VERIFY))
        return swin__fail(err, SWIN_ARGUMENT,
                          "swin_open wants a model and a blob aligned to 4 bytes");
    if (size < sizeof h || memcmp(blob, swin__magic, sizeof swin__magic))
        return swin__fail(err, SWIN_DAMAGED, "not a .swin model: it does not start like one "
                          "(tools/convert.py makes them from checkpoints)");
    memcpy(&h, blob, sizeof h);
    if ((status = swin__check_header(&h, size, err)) != SWIN_OK) return status;
    if ((status = swin__check_parts(&h, size, err)) != SWIN_OK) return status;
    if (flags & SWIN_VERIFY) {
        uint32_t sums[2];
        swin_checksum(bytes + SWIN__CHECKED_FROM, size - SWIN__CHECKED_FROM, sums);
        if (memcmp(sums, h.checksum, sizeof sums))
            return swin__fail(err, SWIN_DAMAGED, "the blob is damaged: its checksum does not hold");
    }
    m->blob = bytes;
    m->size = size;
    m->directory = bytes + h.directory[0];
    m->tensors = h.directory[1];
    m->data = h.data[0];
    m->strings = (const char *)(bytes + h.strings[0]);
    m->strings_size = (size_t)h.strings[1];
    if ((status = swin__read_model(m, &h, err)) != SWIN_OK) memset(m, 0, sizeof *m);
    return status;
}

SWIN_API swin_status swin_set_reference(void *blob, size_t size, const swin_reference *r,
                                        swin_error *err)
{
    unsigned char *bytes = (unsigned char *)blob;
    uint64_t config[2];
    uint32_t sums[2];
    swin_model m;
    swin_status status = swin_open(&m, blob, size, SWIN_VERIFY, err);
    if (status == SWIN_OK) status = swin__check_reference(r, err);
    if (status != SWIN_OK) return status;
    memcpy(&config, bytes + offsetof(swin__header, config), sizeof config);
    memcpy(bytes + config[0] + config[1] - sizeof *r, r, sizeof *r);     /* the last record */
    swin_checksum(bytes + SWIN__CHECKED_FROM, size - SWIN__CHECKED_FROM, sums);
    memcpy(bytes + offsetof(swin__header, checksum), sums, sizeof sums);
    return SWIN_OK;
}

/* -------------------------------------------------------------------------- */
/* >>run: contexts, slices, results                                           */

/* --- sizes ------------------------------------------------------------------------------------ */

/* Is a size of at least one pixel and within the limits? */
static swin_status swin__check_size(const char *what, int w, int h, swin_error *err)
{
    if (w < 1 || h < 1) return swin__fail(err, SWIN_SIZE, "%s of %d x %d pixels", what, w, h);
    if (w > SWIN_MAX_SIDE || h > SWIN_MAX_SIDE || (uint64_t)w * (uint64_t)h > SWIN_MAX_PIXELS)
        return swin__fail(err, SWIN_SIZE,
                          "%s of %d x %d pixels is too large: at most %d a side and %d in all",
                          what, w, h, SWIN_MAX_SIDE, SWIN_MAX_PIXELS);
    return SWIN_OK;
}

/* Of what the sides of an exact input are multiples. */
static int swin__input_multiple(const swin_config *g)
{
    return g->rules.input_multiple ? g->rules.input_multiple : g->patch;
}

/* What swin_input_size computes; whole: without a centre crop. */
static swin_status swin__input_size(const swin_config *g, int w, int h, const swin_resizing *how,
                                    int whole, swin__resized *to, swin_error *err)
{
    int asked = how && how->longest > 0;
    if (swin__check_size("a picture", w, h, err)) return SWIN_SIZE;
    *to = swin__resize_picture(g, w, h, how);
    if (g->picture.mode == SWIN_MODE_CENTRE && !asked && !whole) {
        to->w = g->picture.crop_w;
        to->h = g->picture.crop_h;
    }
    if (g->input.rule == SWIN_INPUT_EXACT) {
        int sides = swin__input_multiple(g);
        to->w = g->input.w ? g->input.w : swin__max(1, to->w / sides) * sides;
        to->h = g->input.h ? g->input.h : swin__max(1, to->h / sides) * sides;
    }
    return swin__check_size("a network input", to->w, to->h, err);
}

SWIN_API swin_status swin_input_size(const swin_model *m, int w, int h, const swin_resizing *how,
                                     int *input_w, int *input_h, swin_error *err)
{
    swin__resized to;
    swin_status status;
    if (!m || !input_w || !input_h)
        return swin__fail(err, SWIN_ARGUMENT, "swin_input_size wants a model, and places for the "
                          "size");
    if (how && !(how->scale >= 0 && how->scale <= SWIN_MAX_SIDE))
        return swin__fail(err, SWIN_ARGUMENT, "swin_input_size: a scale that is not 0..%d",
                          SWIN_MAX_SIDE);
    status = swin__input_size(&m->config, w, h, how, 0, &to, err);
    if (status != SWIN_OK) return status;
    *input_w = to.w;
    *input_h = to.h;
    return SWIN_OK;
}

/* --- what a context is made for --------------------------------------------------------------- */

/* A desc with every default filled in, and the crops that it implies. */
typedef struct swin__setup {
    const swin_model *model;
    swin_desc desc;
    swin__crops crops;
} swin__setup;

/* The crops of a desc whose sizes are filled in; one crop if nothing slides. */
static swin__crops swin__make_crops(const swin_config *g, const swin_desc *d)
{
    int own = g->picture.mode == SWIN_MODE_SLIDE;
    int h = d->crop_height ? d->crop_height : own ? g->picture.crop_h : d->height;
    int w = d->crop_width ? d->crop_width : own ? g->picture.crop_w : d->width;
    int model_strides = own && !d->crop_height && !d->crop_width;
    swin__crops crops;
    if (d->flags & SWIN_RUN_WHOLE) {
        h = d->height;
        w = d->width;
    }
    crops.input_h = d->height;
    crops.input_w = d->width;
    crops.h = swin__min(h, d->height);
    crops.w = swin__min(w, d->width);
    crops.stride_h = d->stride_height ? d->stride_height
                     : model_strides ? g->picture.stride_h : swin__max(1, 2 * h / 3);
    crops.stride_w = d->stride_width ? d->stride_width
                     : model_strides ? g->picture.stride_w : swin__max(1, 2 * w / 3);
    crops.rows = swin__divide_up(crops.input_h - crops.h, crops.stride_h) + 1;
    crops.cols = swin__divide_up(crops.input_w - crops.w, crops.stride_w) + 1;
    return crops;
}

/* Can the network take inputs of this size? */
static swin_status swin__check_input(const swin_config *g, int w, int h, swin_error *err)
{
    int patch = g->patch;
    if (g->input.h && (h != g->input.h || w != g->input.w))
        return swin__fail(err, SWIN_SIZE, "this model takes inputs of %d x %d pixels only, not "
                          "%d x %d", g->input.w, g->input.h, w, h);
    int sides = swin__input_multiple(g);
    if (g->input.rule == SWIN_INPUT_EXACT && (h % sides || w % sides))
        return swin__fail(err, SWIN_SIZE, "this model takes inputs whose sides are multiples of "
                          "%d, not %d x %d", sides, w, h);
    if (g->input.rule == SWIN_INPUT_FLOOR && (h < patch || w < patch))
        return swin__fail(err, SWIN_SIZE, "an input of %d x %d pixels is less than a patch", w, h);
    if (g->position.h && g->position.rule == SWIN_POSITION_FIXED &&
        (swin__divide_up(w, patch) != g->position.w ||
         swin__divide_up(h, patch) != g->position.h))
        return swin__fail(err, SWIN_SIZE,
                          "this model's absolute positions fit an input of %d x %d pixels only",
                          g->position.w * patch, g->position.h * patch);
    return SWIN_OK;
}

/* Does the model give what the desc asks for? */
static swin_status swin__check_outputs(const swin_config *g, const swin_desc *d, swin_error *err)
{
    static const unsigned pixels = SWIN_OUT_CLASSES | SWIN_OUT_LOGITS | SWIN_OUT_CONFIDENCE |
                                   SWIN_OUT_CONFIDENCE_F32;
    unsigned known = pixels | SWIN_OUT_FEATURES | SWIN_OUT_SCORES | SWIN_OUT_ATTENTION |
                     SWIN_OUT_SEGMENTS;
    int gives = swin__head_of(g)->gives;
    unsigned flags = SWIN_RUN_DIRECT | SWIN_RUN_WHOLE | SWIN_RUN_FLIP;
    if (d->outputs & ~known || d->flags & ~flags || d->tasks < 0)
        return swin__fail(err, SWIN_ARGUMENT, "desc: unknown outputs or flags, or tasks below 0");
    if (gives != SWIN__GIVES_PIXELS &&
        (d->outputs & pixels || d->votes || d->kept || d->average || d->threshold > 0))
        return swin__fail(err, SWIN_ARGUMENT, "desc: classes or logits of pixels, of a model that "
                          "gives none (a classifier, or features only)");
    if (gives != SWIN__GIVES_SCORES && d->outputs & SWIN_OUT_SCORES)
        return swin__fail(err, SWIN_ARGUMENT, "desc: scores of a model that is no classifier");
    if (d->outputs & SWIN_OUT_SEGMENTS && !g->segments.rule)
        return swin__fail(err, SWIN_ARGUMENT, "desc: segments of a model that does not give them: "
                          "its checkpoint was not converted as one trained for panoptic or "
                          "instance results");
    if (d->outputs & SWIN_OUT_ATTENTION && swin__check_need(SWIN__NEEDS_ATTENTION_MAP, err))
        return SWIN_UNSUPPORTED;
    if (d->outputs & SWIN_OUT_ATTENTION &&
        (!g->tokens || d->attend_stage < 0 || d->attend_stage >= g->stages ||
         g->stage[d->attend_stage].depth < 2))
        return swin__fail(err, SWIN_ARGUMENT, "desc: attention through global tokens at a stage "
                          "where there are none, or that has only one block");
    if (d->outputs & SWIN_OUT_ATTENTION &&
        (d->attend_x < 0 || d->attend_x >= d->picture_width || d->attend_y < 0 ||
         d->attend_y >= d->picture_height || d->flags & SWIN_RUN_FLIP))
        return swin__fail(err, SWIN_ARGUMENT, "desc: attention of a pixel that is not in the "
                          "picture, or of a mirrored one");
    if (!(d->threshold >= 0 && d->threshold <= 1) || (d->threshold > 0 && g->classes == 256))
        return swin__fail(err, SWIN_ARGUMENT, "desc: a threshold that is not 0..1, or with 256 "
                          "classes, which leave no id to ignore");
    if (!(d->votes_decay >= 0 && d->votes_decay <= 1))
        return swin__fail(err, SWIN_ARGUMENT, "desc: a decay of votes that is not 0..1");
    return SWIN_OK;
}

/* Fills in the tasks: one without a parallel_for, and a bounded number. */
static void swin__resolve_tasks(swin_desc *d)
{
    if (d->tasks == 0 || !d->parallel_for) d->tasks = 1;
    d->tasks = swin__min(d->tasks, SWIN__TASKS);
}

/* Have all runs of an average come to their end? */
static swin_status swin__check_finished(const swin_desc *d, swin_error *err)
{
    for (int i = 0; i < d->average_count; i++)
        if (!((const swin__kept *)d->average[i])->classes)
            return swin__fail(err, SWIN_ARGUMENT, "run %d of an average is not finished", i);
    return SWIN_OK;
}

/* Are all runs of an average finished, of one picture size and of the model's classes? */
static swin_status swin__check_runs(const swin_model *m, const swin_desc *d, swin_error *err)
{
    const swin__kept *first = (const swin__kept *)d->average[0];
    if (swin__check_finished(d, err) != SWIN_OK) return SWIN_ARGUMENT;
    for (int i = 0; i < d->average_count; i++) {
        const swin__kept *k = (const swin__kept *)d->average[i];
        if (k->picture_w != first->picture_w || k->picture_h != first->picture_h ||
            k->classes != m->config.classes)
            return swin__fail(err, SWIN_ARGUMENT, "desc: run %d of an average has another picture "
                              "size or other classes", i);
    }
    return SWIN_OK;
}

/* Fills in the desc of an average, which has no network's input. */
static swin_status swin__resolve_average(swin__setup *s, swin_error *err)
{
    swin_desc *d = &s->desc;
    swin__crops *crops = &s->crops;
    const swin__kept *first = (const swin__kept *)d->average[0];
    swin_status status;
    for (int i = 0; i < d->average_count; i++)
        if (!d->average[i] || (uintptr_t)d->average[i] % 4)
            return swin__fail(err, SWIN_ARGUMENT, "desc: run %d of an average is %s", i,
                              d->average[i] ? "not aligned to 4 bytes" : "NULL");
    if ((d->picture_width || d->picture_height) &&
        (d->picture_width != first->picture_w || d->picture_height != first->picture_h))
        return swin__fail(err, SWIN_ARGUMENT, "desc: a picture of %d x %d pixels, but run 0 of "
                          "the average has another one", d->picture_width, d->picture_height);
    memset(crops, 0, sizeof *crops);
    crops->rows = crops->cols = 1;
    d->picture_width = d->width = crops->w = crops->input_w = first->picture_w;
    d->picture_height = d->height = crops->h = crops->input_h = first->picture_h;
    if (d->outputs == 0) d->outputs = SWIN_OUT_CLASSES;
    if ((status = swin__check_outputs(&s->model->config, d, err)) != SWIN_OK) return status;
    if (d->kept || d->votes ||
        d->outputs & ~(unsigned)(SWIN_OUT_CLASSES | SWIN_OUT_CONFIDENCE | SWIN_OUT_CONFIDENCE_F32))
        return swin__fail(err, SWIN_ARGUMENT, "desc: an average gives classes and confidence only");
    return swin__check_runs(s->model, d, err);
}

/* Fills in the sizes of the picture and of the network's input. */
static swin_status swin__resolve_sizes(const swin_config *g, swin_desc *d, swin_error *err)
{
    swin__resized input;
    swin_status status;
    if (d->picture_width == 0 && d->picture_height == 0) {
        d->picture_width = d->width;
        d->picture_height = d->height;
    }
    status = swin__check_size("a picture", d->picture_width, d->picture_height, err);
    if (status != SWIN_OK) return status;
    if (d->width != 0 || d->height != 0)
        return swin__check_size("a network input", d->width, d->height, err);
    status = swin__input_size(g, d->picture_width, d->picture_height, NULL,
                              d->flags & SWIN_RUN_WHOLE, &input, err);
    if (status != SWIN_OK) return status;
    d->width = input.w;
    d->height = input.h;
    return SWIN_OK;
}

/* Fills in the crops, if the network can take them and the results asked for allow several. */
static swin_status swin__resolve_crops(swin__setup *s, swin_error *err)
{
    const swin_config *g = &s->model->config;
    const swin_desc *d = &s->desc;
    const swin__crops *crops = &s->crops;
    int scores = swin__head_of(g)->gives == SWIN__GIVES_SCORES;
    if ((unsigned)d->crop_width > SWIN_MAX_SIDE || (unsigned)d->crop_height > SWIN_MAX_SIDE ||
        (unsigned)d->stride_width > SWIN_MAX_SIDE || (unsigned)d->stride_height > SWIN_MAX_SIDE)
        return swin__fail(err, SWIN_ARGUMENT, "desc: a crop or stride that is not 0..%d",
                          SWIN_MAX_SIDE);
    s->crops = swin__make_crops(g, d);
    if (crops->rows * crops->cols > 1 && swin__check_need(SWIN__NEEDS_SLIDE, err) != SWIN_OK)
        return SWIN_UNSUPPORTED;
    if (crops->rows * crops->cols > 1 &&
        (d->outputs & (SWIN_OUT_FEATURES | SWIN_OUT_ATTENTION | SWIN_OUT_SEGMENTS) || scores))
        return swin__fail(err, SWIN_ARGUMENT, "desc: a sliding window gives no features, "
                          "attention, segments or scores");
    if ((crops->rows > 1 && crops->stride_h > crops->h) ||
        (crops->cols > 1 && crops->stride_w > crops->w))
        return swin__fail(err, SWIN_ARGUMENT, "desc: a stride larger than its crop");
    return swin__check_input(g, crops->w, crops->h, err);
}

/* The results of a desc that asks for none. */
static unsigned swin__default_outputs(const swin_config *g)
{
    int gives = swin__head_of(g)->gives;
    return gives == SWIN__GIVES_PIXELS   ? SWIN_OUT_CLASSES
           : gives == SWIN__GIVES_SCORES ? SWIN_OUT_SCORES : SWIN_OUT_FEATURES;
}

/* Fills in the desc of a run of the network. */
static swin_status swin__resolve_network(swin__setup *s, swin_error *err)
{
    const swin_config *g = &s->model->config;
    swin_desc *d = &s->desc;
    swin_status status = swin__resolve_sizes(g, d, err);
    if (status != SWIN_OK) return status;
    if (d->outputs == 0 && !d->kept) d->outputs = swin__default_outputs(g);
    if ((status = swin__check_outputs(g, d, err)) != SWIN_OK) return status;
    return swin__resolve_crops(s, err);
}

/* Makes the setup of a desc: every default is filled in and every field checked. */
static swin_status swin__resolve(const swin_model *m, const swin_desc *asked, swin__setup *s,
                                 swin_error *err)
{
    swin_desc *d = &s->desc;
    swin_status status;
    if (!m || !m->blob || !asked)
        return swin__fail(err, SWIN_ARGUMENT, "wanted: a model that swin_open opened, and a desc");
    memset(s, 0, sizeof *s);
    s->model = m;
    s->desc = *asked;
    if ((uintptr_t)d->kept % 4 || (uintptr_t)d->votes % 4)
        return swin__fail(err, SWIN_ARGUMENT, "desc: kept or votes are not aligned to 4 bytes");
    if (d->average ? d->average_count < 1 : d->average_count != 0)
        return swin__fail(err, SWIN_ARGUMENT, "desc: an average of no runs");
    if (d->votes_decay == 0) d->votes_decay = 1;
    if ((d->average || d->kept) && swin__check_need(SWIN__NEEDS_AVERAGE, err) != SWIN_OK)
        return SWIN_UNSUPPORTED;
    status = SWIN__HAS_AVERAGE && d->average ? swin__resolve_average(s, err)
                                             : swin__resolve_network(s, err);
    swin__resolve_tasks(d);
    return status;
}

/* --- workspaces ------------------------------------------------------------------------------- */

/* Where the parts of a workspace lie, from its first multiple of 64. */
typedef struct swin__places {
    uint64_t blocks, steps, tables, guards, arena, size;
    int tiles;                  /* how many a Winograd convolution takes at a time */
} swin__places;

/* Binds the weights and plans the steps, in the memory that *p names. */
static swin_status swin__walk(swin__plan *p, const swin__setup *s, swin__weights *w,
                              swin_error *err)
{
    p->model = s->model;
    p->config = &s->model->config;
    p->desc = s->desc;
    p->crops = s->crops;
    p->weights = w;
    p->err = err;
    p->status = swin__bind(s->model, w, p->blocks, err);
    if (p->status != SWIN_OK) return p->status;
    if (!SWIN__HAS_AVERAGE || !s->desc.average) return swin__plan_network(p);
    swin__plan_average(p);
    return p->status;
}

/* Walks the network once to measure it, from an empty plan: *p then holds the counts. tiles: how
   many a Winograd convolution takes at a time. */
static swin_status swin__count(swin__plan *p, const swin__setup *s, int tiles, swin_error *err)
{
    swin__weights w;
    swin_status status;
    memset(p, 0, sizeof *p);
    memset(&w, 0, sizeof w);
    p->arena = p->tables = 64;
    p->tiles = tiles;
    status = swin__walk(p, s, &w, err);
    p->weights = NULL;
    return status;
}

/* Fills in where the parts of a workspace lie; places->tiles is given. */
static swin_status swin__lay_out(const swin__setup *s, swin__places *places, swin_error *err)
{
    uint64_t blocks = (uint64_t)swin__blocks(&s->model->config) * sizeof(swin__block);
    swin__plan p;
    swin_status status = swin__count(&p, s, places->tiles, err);
    if (status != SWIN_OK) return status;
    places->blocks = swin__align64(sizeof(swin_context));
    places->steps = swin__align64(places->blocks + blocks);
    places->tables = swin__align64(places->steps + (uint64_t)p.step_count * sizeof(swin__step));
    places->arena = places->tables + p.table_bytes;
#ifdef SWIN_DEBUG
    places->guards = places->arena;
    places->arena = swin__align64(places->guards + (uint64_t)p.guard_count * sizeof(swin__guard));
#endif
    /* 63: the caller's memory may start anywhere */
    places->size = places->arena + p.peak + 63;
    if (places->size > SIZE_MAX / 2)
        return swin__fail(err, SWIN_MEMORY,
                          "the workspace would not fit this machine's address space");
    return SWIN_OK;
}

/* Finds the plan of the most tasks, then of the most tiles at a time, that keeps to memory_limit;
   neither changes a bit of the results. The setup's tasks may become fewer. */
static swin_status swin__measure(swin__setup *s, swin__places *places, swin_error *err)
{
    swin_desc *d = &s->desc;
    uint64_t least = UINT64_MAX;
    for (;; d->tasks /= 2) {
        for (int tiles = SWIN__TILES_A_BLOCK; tiles >= SWIN__TILES_A_BLOCK / 8; tiles /= 2) {
            swin_status status;
            places->tiles = tiles;
            status = swin__lay_out(s, places, err);
            if (status != SWIN_OK || !d->memory_limit || places->size <= d->memory_limit)
                return status;
            if (least > places->size) least = places->size;
        }
        if (d->tasks == 1)
            return swin__fail(err, SWIN_MEMORY,
                              "the workspace takes at least %z bytes, the desc's memory_limit is "
                              "%z", (size_t)least, d->memory_limit);
    }
}

SWIN_API size_t swin_workspace_size(const swin_model *m, const swin_desc *d, swin_error *err)
{
    swin__setup setup;
    swin__places places;
    if (swin__resolve(m, d, &setup, err) != SWIN_OK) return 0;
    return swin__measure(&setup, &places, err) == SWIN_OK ? (size_t)places.size : 0;
}

SWIN_API size_t swin_kept_size(const swin_model *m, const swin_desc *d, swin_error *err)
{
    swin_desc asked;
    swin__setup setup;
    swin__plan p;
    int crops;
    memset(&asked, 0, sizeof asked);
    if (d) asked = *d;
    asked.kept = &p;            /* any address will do: nothing is run */
    if (swin__resolve(m, d ? &asked : NULL, &setup, err) != SWIN_OK) return 0;
    if (swin__count(&p, &setup, SWIN__TILES_A_BLOCK, err) != SWIN_OK) return 0;
    crops = setup.crops.rows * setup.crops.cols;
    if ((double)p.kept * crops > (double)(SIZE_MAX / 16)) {
        swin__fail(err, SWIN_MEMORY, "the logits of %d crops would not fit this machine's address "
                   "space", crops);
        return 0;
    }
    return SWIN__KEPT + (size_t)p.kept * (size_t)crops * sizeof(float);
}

#ifdef SWIN_DEBUG
/* All of a blob but its data: enough to notice that it was freed or replaced. */
static void swin__model_sums(const swin_model *m, uint32_t sums[2])
{
    swin_checksum(m->blob, (size_t)m->data, sums);
}
#endif

/* Clears a context and tells it and its plan where their parts lie. */
static void swin__place(swin_context *c, swin__plan *p, const swin__setup *s,
                        const swin__places *places)
{
    unsigned char *base = (unsigned char *)c;
    memset(c, 0, sizeof *c);
    memset(p, 0, sizeof *p);
    c->model = s->model;
    c->desc = s->desc;
    c->crops = s->crops;
    c->steps = (swin__step *)(void *)(base + places->steps);
    p->context = c;
    p->blocks = (swin__block *)(void *)(base + places->blocks);
    p->tiles = places->tiles;
    p->tables = (uintptr_t)(base + places->tables);
    p->arena = (uintptr_t)(base + places->arena);
#ifdef SWIN_DEBUG
    c->self = c;
    c->guards = (swin__guard *)(void *)(base + places->guards);
    swin__model_sums(s->model, c->model_sums);
#endif
}

/* How often a run takes a step. */
static int swin__repeats(const swin_context *c, int step)
{
    return step < c->repeated ? c->crops.rows * c->crops.cols : c->crops.rows;
}

/* Takes over what a finished plan holds. */
static void swin__take_plan(swin_context *c, const swin__plan *p)
{
    c->step_count = p->step_count;
    c->repeated = p->repeated;
    c->results = p->results;
#ifdef SWIN_DEBUG
    c->guard_count = p->guard_count;
#endif
    for (int i = 0; i < p->step_count; i++)
        c->total += c->steps[i].madds * swin__repeats(c, i);
}

SWIN_API swin_status swin_init(swin_context **c, const swin_model *m, const swin_desc *d,
                               void *mem, size_t size, swin_error *err)
{
    swin_context *context = (swin_context *)(uintptr_t)swin__align64((uintptr_t)mem);
    const swin__kernels *kernels;
    swin__setup setup;
    swin__places places;
    swin__plan plan;
    swin_status status;
    *c = NULL;
    if ((status = swin__resolve(m, d, &setup, err)) != SWIN_OK) return status;
    if ((status = swin__measure(&setup, &places, err)) != SWIN_OK) return status;
    if (!mem || size < places.size)
        return swin__fail(err, SWIN_MEMORY, "the workspace takes %z bytes, %z were given",
                          (size_t)places.size, size);
    kernels = swin__choose(setup.desc.cpu);
    if (!kernels)
        return swin__fail(err, SWIN_UNSUPPORTED,
                          "this machine or build does not have the instruction set asked for");
    swin__place(context, &plan, &setup, &places);
    context->kernels = kernels;
    status = swin__walk(&plan, &setup, &context->weights, err);
    if (status != SWIN_OK) return status;
    swin__take_plan(context, &plan);
    *c = context;
    return SWIN_OK;
}

/* --- runs ------------------------------------------------------------------------------------- */

/* Consecutive units of one step, dealt out to tasks. */
typedef struct swin__batch {
    swin_context *c;
    const swin__step *step;
    int first, count, tasks;
} swin__batch;

/* Runs the units of task `index` of a batch: what parallel_for is given. */
static void swin__run_task(void *arg, int index)
{
    const swin__batch *b = (const swin__batch *)arg;
    int from, to;
#ifdef SWIN_DEBUG
    if (index < 0 || index >= b->tasks) index = 0;  /* task 0 then counts once too often */
    if (b->c->ran[index] < 2) b->c->ran[index]++;
#endif
    swin__share(b->count, b->tasks, index, &from, &to);
    for (int i = from; i < to && !swin__peek(&b->c->cancel); i++)
        b->step->work(b->c, b->step, b->first + i,
                      b->step->scratch + (size_t)index * b->step->task_scratch);
}

#ifdef SWIN_DEBUG
/* Did every task of a batch run once, and is the memory around all buffers as it was? */
static swin_status swin__check_batch(const swin__batch *b)
{
    swin_context *c = b->c;
    int all_ran = 1;
    for (int i = 0; i < b->tasks; i++) all_ran &= c->ran[i] == 1;
    if (!all_ran)
        return swin__fail(&c->error, SWIN_CORRUPT,
                          "parallel_for did not run each of %d tasks of step %d, %s, once",
                          b->tasks, c->at, b->step->name);
    if (!swin__guards_hold(c, c->at))
        return swin__fail(&c->error, SWIN_CORRUPT,
                          "step %d, %s, found memory outside its buffers changed", c->at,
                          b->step->name);
    return SWIN_OK;
}

static swin_status swin__check_place(swin_context *c)
{
    return c->self == c ? SWIN_OK
                        : swin__fail(&c->error, SWIN_CORRUPT,
                                     "the context was copied or moved: it works only where "
                                     "swin_init made it");
}
#endif

/* Is a stride, forwards or backwards, at least `least` bytes, and are `count` of them in reach of a
   pointer? */
static int swin__stride_holds(ptrdiff_t stride, size_t least, int count)
{
    size_t apart = stride < 0 ? 0 - (size_t)stride : (size_t)stride;
    return apart >= least && apart <= (size_t)PTRDIFF_MAX / 4 / (size_t)count;
}

/* Fills in the strides of the context's picture where they are 0, and checks them. */
static swin_status swin__check_strides(swin_context *c, size_t row_bytes)
{
    swin_image *in = &c->image;
    int planes = in->format == SWIN_PLANES;
    if (in->stride == 0) in->stride = (ptrdiff_t)row_bytes;
    if (!swin__stride_holds(in->stride, row_bytes, in->height))
        return swin__fail(&c->error, SWIN_ARGUMENT, "a stride of %s%z bytes from row to row, and a "
                          "row of this picture has %z", in->stride < 0 ? "-" : "",
                          in->stride < 0 ? 0 - (size_t)in->stride : (size_t)in->stride, row_bytes);
    if (in->plane_stride == 0)
        in->plane_stride = (in->stride < 0 ? -in->stride : in->stride) * in->height;
    if (planes && !swin__stride_holds(in->plane_stride, row_bytes, 3))
        return swin__fail(&c->error, SWIN_ARGUMENT, "the stride from plane to plane is less than "
                          "a row of %z bytes, or out of reach", row_bytes);
    return SWIN_OK;
}

/* Fills in where the chroma of the context's SWIN_NV12 picture lies, and checks it. */
static swin_status swin__check_chroma(swin_context *c)
{
    swin_image *in = &c->image;
    size_t row_bytes = 2 * (size_t)swin__divide_up(in->width, 2);
    if (!in->chroma && in->stride < 0)
        return swin__fail(&c->error, SWIN_ARGUMENT, "a picture of SWIN_NV12 with a negative stride "
                          "must say where its chroma is");
    if (!in->chroma)
        in->chroma = (const unsigned char *)in->data + (ptrdiff_t)in->height * in->stride;
    if (in->chroma_stride == 0)
        in->chroma_stride = in->stride + (in->stride < 0 ? -1 : 1) * (in->stride % 2 != 0);
    if (!swin__stride_holds(in->chroma_stride, row_bytes, in->height))
        return swin__fail(&c->error, SWIN_ARGUMENT, "the chroma's stride from row to row is less "
                          "than a row of %z bytes, or out of reach", row_bytes);
    return SWIN_OK;
}

/* Bytes of a row of w pixels, of a plane's or of Y where there are several. */
static size_t swin__row_bytes(swin_format format, int w)
{
    static const int bytes[] = { 3, 3, 4, 4, 1, 4, 2, 1 };
    return (size_t)bytes[format] * (size_t)(format == SWIN_YUYV ? swin__round_up(w, 2) : w);
}

/* Checks the picture of a run and remembers it. */
static swin_status swin__take_picture(swin_context *c, const swin_image *in)
{
    const swin_desc *d = &c->desc;
    int planes = in && in->format == SWIN_PLANES;
    int w = planes ? d->width : d->picture_width, h = planes ? d->height : d->picture_height;
    swin_status status;
    if (!in || !in->data || (unsigned)in->format > SWIN_NV12 ||
        (unsigned)in->yuv > SWIN_YUV_709_FULL)
        return swin__fail(&c->error, SWIN_ARGUMENT,
                          "swin_begin wants a picture with data and a known format");
    if (in->width != w || in->height != h)
        return swin__fail(&c->error, SWIN_SIZE,
                          "the picture is %d x %d pixels, the context was made for %d x %d",
                          in->width, in->height, w, h);
    c->image = *in;
    status = swin__check_strides(c, swin__row_bytes(in->format, w));
    return status != SWIN_OK || in->format != SWIN_NV12 ? status : swin__check_chroma(c);
}

SWIN_API swin_status swin_begin(swin_context *c, const swin_image *in)
{
    swin_status status;
    c->running = c->finished = 0;
#ifdef SWIN_DEBUG
    if (swin__check_place(c) != SWIN_OK) return SWIN_CORRUPT;
#endif
    if (c->desc.kept) ((swin__kept *)c->desc.kept)->classes = 0;
    status = c->desc.average ? swin__check_finished(&c->desc, &c->error)
                             : swin__take_picture(c, in);
    if (status != SWIN_OK) return status;
#ifdef SWIN_DEBUG
    uint32_t sums[2];
    swin__model_sums(c->model, sums);
    if (memcmp(sums, c->model_sums, sizeof sums))
        return swin__fail(&c->error, SWIN_CORRUPT,
                          "the model's blob was freed or changed under the context");
#endif
    c->crop = c->at = c->unit = 0;
    c->done = 0;
    c->running = 1;
    swin__poke(&c->cancel, 0);
#ifdef SWIN_DEBUG
    swin__guards_paint(c, -1);
#endif
    return SWIN_OK;
}

/* Moves on to the next step of this crop, or to the first one of the next crop. */
static void swin__next_step(swin_context *c)
{
    const swin__crops *g = &c->crops;
    int next = c->crop + 1, row_ends = next % g->cols == 0;
    c->unit = 0;
    c->at++;
    if ((c->at == c->repeated && !row_ends) ||
        (c->at == c->step_count && next < g->rows * g->cols)) {
        c->crop = next;
        c->at = 0;
    }
}

/* The batch of the next units of a run, `units` at most. */
static swin__batch swin__next_batch(swin_context *c, int units)
{
    swin__batch b;
    b.c = c;
    b.step = &c->steps[c->at];
    b.first = c->unit;
    b.count = swin__min(units, b.step->units - c->unit);
    b.tasks = c->desc.parallel_for ? swin__min(b.count, c->desc.tasks) : 1;
    return b;
}

/* Runs a batch on the threads of parallel_for, or on this one. */
static swin_status swin__run_batch(swin__batch *b)
{
    swin_context *c = b->c;
#ifdef SWIN_DEBUG
    if (b->first == 0) swin__guards_paint(c, c->at);
    memset(c->ran, 0, sizeof c->ran);
#endif
    if (b->tasks > 1) c->desc.parallel_for(c->desc.user, swin__run_task, b, b->tasks);
    else swin__run_task(b, 0);
    if (swin__peek(&c->cancel))
        return swin__fail(&c->error, SWIN_CANCELLED, "cancelled by swin_cancel");
#ifdef SWIN_DEBUG
    return swin__check_batch(b);
#else
    return SWIN_OK;
#endif
}

SWIN_API swin_status swin_step(swin_context *c, int units)
{
    if (!c->running || units < 1)
        return swin__fail(&c->error, SWIN_ARGUMENT,
                          "swin_step wants a run that swin_begin started, and units above 0");
#ifdef SWIN_DEBUG
    if (swin__check_place(c) != SWIN_OK) return SWIN_CORRUPT;
#endif
    while (units > 0 && c->at < c->step_count) {
        swin__batch b = swin__next_batch(c, units);
        swin_status status = swin__run_batch(&b);
        if (status != SWIN_OK) {
            c->running = 0;
            return status;
        }
        units -= b.count;
        c->unit += b.count;
        c->done += b.step->madds * b.count / b.step->units;
        if (c->unit == b.step->units) swin__next_step(c);
    }
    if (c->at < c->step_count) return SWIN_MORE;
    c->running = 0;
    c->finished = 1;
    if (c->desc.kept) ((swin__kept *)c->desc.kept)->classes = c->model->config.classes;
    return SWIN_OK;
}

SWIN_API swin_status swin_run(swin_context *c, const swin_image *in)
{
    swin_status status = swin_begin(c, in);
    if (status != SWIN_OK) return status;
    while ((status = swin_step(c, 1 << 30)) == SWIN_MORE) continue;
    return status;
}

SWIN_API float swin_progress(const swin_context *c)
{
    return c->at == c->step_count ? 1 : (float)(c->done / c->total);
}

SWIN_API void swin_cancel(swin_context *c) { swin__poke(&c->cancel, 1); }
SWIN_API const char *swin_error_text(const swin_context *c) { return c->error.text; }
SWIN_API swin_cpu swin_cpu_used(const swin_context *c) { return c->kernels->cpu; }

/* --- results ---------------------------------------------------------------------------------- */

/* Results are there from the end of a run to the next begin, if the desc asked for them. */
static swin_map swin__map_result(const swin_context *c, const swin__picture_map *map)
{
    swin_map result;
    memset(&result, 0, sizeof result);
    if (!c->finished) return result;
    result.data = map->data;
    result.width = map->width;
    result.height = map->height;
    result.bytes = map->bytes;
    return result;
}

static swin_tensor swin__tensor_result(const swin_context *c, const swin_tensor *tensor, int there)
{
    static const swin_tensor none = { NULL, 0, 0, 0, 0, 0, 0 };
    return c->finished && there ? *tensor : none;
}

SWIN_API swin_map swin_classes(const swin_context *c)
{
    return swin__map_result(c, &c->results.classes);
}

SWIN_API swin_map swin_confidence(const swin_context *c)
{
    return swin__map_result(c, &c->results.confidence);
}

SWIN_API swin_map swin_segment_map(const swin_context *c)
{
    return swin__map_result(c, &c->results.segment_ids);
}

SWIN_API const swin_region *swin_segments(const swin_context *c, int *count)
{
    int there = c->finished && c->results.segments;
    *count = there ? *c->results.segment_count : 0;
    return there ? c->results.segments : NULL;
}

SWIN_API swin_tensor swin_logits(const swin_context *c)
{
    return swin__tensor_result(c, &c->results.logits, (c->desc.outputs & SWIN_OUT_LOGITS) != 0);
}

SWIN_API swin_tensor swin_feature(const swin_context *c, int stage)
{
    int there = stage >= 0 && stage <= SWIN_MAX_STAGES;
    return swin__tensor_result(c, &c->results.feature[there ? stage : 0], there);
}

SWIN_API swin_tensor swin_scores(const swin_context *c)
{
    return swin__tensor_result(c, &c->results.scores, 1);
}

SWIN_API swin_tensor swin_attention(const swin_context *c)
{
    return swin__tensor_result(c, &c->results.attention, 1);
}

SWIN_API void swin_decide(const float *votes, size_t n, int classes, int runs, float threshold,
                          void *ids)
{
    for (size_t i = 0; i < n; i++, votes += classes) {
        int best = 0;
        for (int k = 1; k < classes; k++)
            if (votes[k] > votes[best]) best = k;
        if (votes[best] < threshold * (float)runs)
            best = classes > 256 ? SWIN_IGNORE_16 : SWIN_IGNORE;
        if (classes > 256) ((uint16_t *)ids)[i] = (uint16_t)best;
        else ((uint8_t *)ids)[i] = (uint8_t)best;
    }
}

SWIN_API int swin_plan_step(const swin_context *c, int index, swin_step_info *info)
{
    if (index < 0 || index >= c->step_count) return 0;
    info->name = c->steps[index].name;
    info->stage = c->steps[index].stage;
    info->units = c->steps[index].units;
    info->repeats = swin__repeats(c, index);
    info->madds = c->steps[index].madds;
    return 1;
}

/* -------------------------------------------------------------------------- */
/* >>easy: files and malloc                                                   */

#ifndef SWIN_NO_MALLOC

/* What the easy tier owns beside the model: the blob's bytes, and a context for one picture
   size. */
typedef struct swin__easy {
    unsigned char *blob;
    void *workspace;
    swin_context *context;
    int width, height;
} swin__easy;

#ifndef SWIN_NO_STDIO
/* A file's bytes, in memory of SWIN_MALLOC; NULL: see err. */
static unsigned char *swin__read_file(const char *path, size_t *size, swin_error *err)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    long length = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    *size = (size_t)length;
    /* on some systems a directory opens too, and is LONG_MAX long */
    if (length < 0 || length == LONG_MAX || fseek(file, 0, SEEK_SET) != 0) {
        swin__fail(err, SWIN_FILE, "%s cannot be read", path);
    } else if ((bytes = (unsigned char *)SWIN_MALLOC(*size + 1)) == NULL) {
        swin__fail(err, SWIN_MEMORY, "no memory for %s", path);
    } else if (fread(bytes, 1, *size, file) != *size) {
        swin__fail(err, SWIN_FILE, "%s cannot be read to its end", path);
        SWIN_FREE(bytes);
        bytes = NULL;
    }
    if (file) fclose(file);
    return bytes;
}

SWIN_API swin_model *swin_load(const char *path, swin_error *err)
{
    size_t size = 0;
    unsigned char *blob = swin__read_file(path, &size, err);
    swin_model *m = (swin_model *)SWIN_MALLOC(sizeof *m);
    swin__easy *easy = (swin__easy *)SWIN_MALLOC(sizeof *easy);
    if (blob && (!m || !easy)) swin__fail(err, SWIN_MEMORY, "no memory for a model");
    if (!blob || !m || !easy || swin_open(m, blob, size, SWIN_VERIFY, err) != SWIN_OK) {
        SWIN_FREE(easy);
        SWIN_FREE(m);
        SWIN_FREE(blob);
        return NULL;
    }
    memset(easy, 0, sizeof *easy);
    easy->blob = blob;
    m->easy = easy;
    return m;
}
#endif

/* Makes sure that the context of a loaded model is one for pictures of w x h pixels. */
static swin_status swin__easy_context(swin_model *m, int w, int h, swin_error *err)
{
    swin__easy *easy = (swin__easy *)m->easy;
    swin_desc d;
    swin_status status;
    size_t size;
    if (easy->context && easy->width == w && easy->height == h) return SWIN_OK;
    SWIN_FREE(easy->workspace);
    easy->workspace = NULL;
    easy->context = NULL;
    memset(&d, 0, sizeof d);
    d.picture_width = w;
    d.picture_height = h;
    d.outputs = SWIN_OUT_CLASSES;
    size = swin_workspace_size(m, &d, err);
    if (size == 0) return err->status;
    easy->workspace = SWIN_MALLOC(size);
    if (!easy->workspace)
        return swin__fail(err, SWIN_MEMORY, "no memory for a workspace of %z bytes", size);
    status = swin_init(&easy->context, m, &d, easy->workspace, size, err);
    easy->width = w;
    easy->height = h;
    return status;
}

SWIN_API swin_status swin_segment(swin_model *m, const unsigned char *rgb, int w, int h,
                                  unsigned char *classes, swin_error *err)
{
    swin__easy *easy = m ? (swin__easy *)m->easy : NULL;
    swin_error unread;
    swin_image in;
    swin_status status;
    if (!err) err = &unread;
    if (!easy || !rgb || !classes || m->config.classes > 256)
        return swin__fail(
            err, SWIN_ARGUMENT,
            "swin_segment wants a model from swin_load with at most 256 classes, and pixels");
    if ((status = swin__easy_context(m, w, h, err)) != SWIN_OK) return status;
    memset(&in, 0, sizeof in);
    in.data = rgb;
    in.width = w;
    in.height = h;
    if ((status = swin_run(easy->context, &in)) != SWIN_OK) {
        *err = easy->context->error;
        return status;
    }
    memcpy(classes, swin_classes(easy->context).data, (size_t)w * (size_t)h);
    return SWIN_OK;
}

SWIN_API void swin_free(swin_model *m)
{
    if (!m) return;
    if (m->easy) {
        SWIN_FREE(((swin__easy *)m->easy)->workspace);
        SWIN_FREE(((swin__easy *)m->easy)->blob);
        SWIN_FREE(m->easy);
    }
    SWIN_FREE(m);
}
#endif /* SWIN_NO_MALLOC */

#ifdef __cplusplus
}
#endif

#if defined(__clang__)
#if defined(__x86_64__) || defined(__i386__)
#pragma float_control(pop)
#endif
#elif defined(__GNUC__)
#pragma GCC pop_options
#elif defined(_MSC_VER) && (_MSC_VER < 1930 || defined(_M_FP_CONTRACT))
#pragma fp_contract(on) /* as its command line says; older ones fuse unless told not to */
#endif
#undef SWIN__BUILDING
#endif /* the rooms after the kernels */

/* -------------------------------------------------------------------------- */
/* CHANGES

   0.2.0    One description of a model, one meaning for every public word, the same bits however
            the header is compiled.

            To change in a program:
            - Outputs are SWIN_OUT_CLASSES and so on (SWIN_CLASSES, SWIN_LOGITS, ... before), flags
              SWIN_RUN_DIRECT, SWIN_RUN_WHOLE and SWIN_RUN_FLIP.
            - A damaged blob is SWIN_DAMAGED (SWIN_FORMAT before).
            - swin_step counts units of work, and swin_step_info.units tells those of a step (both
              were named tasks); desc.tasks are the pieces that a step is cut into, as before.
            - swin_cpu_name takes an instruction set (a context before), so that its name can be
              printed without a context; swin_cpu_used tells a context's, SWIN_CPU_LIST all there
              are.
            - swin_input_size takes a swin_resizing (the longer side before), which also has a
              factor, as averages over sizes ask for it.
            - swin_config is a struct of structs with one entry a stage: config.stage[i].width,
              config.head.kind, config.picture.mean. Kinds and rules are enumerations, such as
              SWIN_HEAD_UPER and SWIN_MODE_SLIDE. Its ignore_label is gone: nothing read it.
            - Models are blobs of version 2, a sequence of records with names and lengths. Those of
              version 1 are refused: convert the checkpoints again.
            - tools/convert.py takes the centre of pictures by --mode centre (crop before).
            - `make install` compiles a library: swin.pc, which pkg-config reads, means it, and
              swin-header.pc the header alone (swin.pc before).

            New:
            - MaskFormer, Mask2Former and OneFormer: SWIN_HEAD_MASKFORMER and so on, and the fields
              swin_config.queries. Their logits are scores, sums of probabilities; confidence is a
              class's share in the sum over all classes.
            - Panoptic and instance results of these: SWIN_OUT_SEGMENTS, swin_segments,
              swin_segment_map, config.segments and config.instances, of checkpoints trained for
              them. segment --panoptic.
            - The decoders of segmentation_models_pytorch over timm's Swin: UPerNet, FPN, Segformer
              and Unet (SWIN_HEAD_SMP_UNET, SWIN_HEAD_SMP_FPN, config.decoder).
            - A model of one class: config.rules.one_class. Its class map has two, background and
              object, and swin_logits shows the one logit. segment --alpha and --cutout.
            - SegFormer: the body SWIN_BODY_MIT, its fields swin_config.mit, and its authors' head,
              SWIN_HEAD_MERGED_SEGFORMER; rules.straight resizes logits to the picture at once.
            - BiRefNet over Swin: background removal, from its own checkpoints and RMBG-2.0's.
            - Weights of f16 and of eight bits (tools/convert.py --f16, --int8), with kernels of
              their own in AVX2, AVX-512, NEON and WebAssembly, and the sets SWIN_CPU_AVX2_VNNI,
              SWIN_CPU_AVX512_VNNI, SWIN_CPU_NEON_DOT and SWIN_CPU_NEON_I8MM.
            - SWIN_NO_UNET, SWIN_NO_INT8 and their like leave kinds of models out of a build, for
              small code; swin_open refuses such models by name.
            - SWIN_CPU_AVX512_AMX multiplies tiles of eight bits, for programs that ask for it.
            - Pictures may be a camera's SWIN_YUYV and SWIN_NV12; swin_image.yuv tells matrix and
              range, swin_image.chroma where the second plane is.
            - desc.votes_decay lets the votes of old frames fade.
            - SWIN_CPU_WASM, the SIMD of WebAssembly. swin_cpu_exact tells of an instruction set
              whether it gives the bits of all others on this machine; SWIN_NO_SCALAR leaves the
              scalar one out where another is always there.
            - desc.kept, desc.average and swin_kept_size average over sizes and mirror images of a
              picture with less memory than desc.votes.
            - No product is left for a compiler to fuse with a sum, so -ffp-contract changes no bit;
              -ffast-math and its parts are refused when compiled, unless SWIN_ANY_BITS is defined.
            - Stages may have any width, where the body allows it, and a blob up to eight of them.
            - A result's data is NULL until its run has ended, and after one cancelled or failed.
            - SWIN_DEBUG also reports a context that was moved and a parallel_for that leaves out or
              repeats tasks.
            - A stranger's blob: names of classes have a bounded length and are found in bounded
              time, and every number is checked where it is read.
            - Compiles with TinyCC, for 32-bit x86 and ARM, RISC-V, POWER, WebAssembly and Windows.

   0.1.0    The first version: Swin Transformer V1 and V2, Swin-Unet and GLAM; UPerHead, FCNHead,
            PSPHead, FPN, Segformer heads and classifiers; scalar, AVX2, AVX-512 and NEON.
*/

/* -------------------------------------------------------------------------- */
/* LICENCE

   The source of this file, the converter of checkpoints and the models: THIS-REPOSITORY

   MIT License

   Copyright (c) 2026 The swin.h authors

   Permission is hereby granted, free of charge, to any person obtaining a copy
   of this software and associated documentation files (the "Software"), to deal
   in the Software without restriction, including without limitation the rights
   to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
   copies of the Software, and to permit persons to whom the Software is
   furnished to do so, subject to the following conditions:

   The above copyright notice and this permission notice shall be included in all
   copies or substantial portions of the Software.

   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
   IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
   FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
   AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
   LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
   OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
   SOFTWARE.
*/
