"""The module swinh._core: swin.h's interface for cffi, which compiles it against the header.

cffi checks every declaration below against swin.h; "..." stands for what the compiler knows better
or Python does not use. Structs and enumerations are whole, as tests/python.py sees to it.
"""

import pathlib
import sys

import cffi

HERE = pathlib.Path(__file__).resolve().parent
UPSTREAM = HERE / "upstream" if (HERE / "upstream").exists() else HERE.parents[1]

DECLARATIONS = """
#define SWIN_VERSION_MAJOR ...
#define SWIN_VERSION_MINOR ...
#define SWIN_VERSION_PATCH ...
#define SWIN_MAX_STAGES ...
#define SWIN_MAX_THINGS ...

typedef enum swin_status {
    SWIN_OK, SWIN_MORE, SWIN_CANCELLED, SWIN_ARGUMENT, SWIN_SIZE, SWIN_MEMORY, SWIN_FILE,
    SWIN_DAMAGED, SWIN_UNSUPPORTED, SWIN_CORRUPT, ...
} swin_status;
typedef struct swin_error { swin_status status; char text[256]; } swin_error;

typedef enum swin_body {
    SWIN_BODY_BACKBONE, SWIN_BODY_UNET, SWIN_BODY_CROSS_UNET, SWIN_BODY_MIT,
    SWIN_BODY_BIREFNET, ...
} swin_body;
typedef enum swin_head {
    SWIN_HEAD_NONE, SWIN_HEAD_UPER, SWIN_HEAD_FCN, SWIN_HEAD_PSP, SWIN_HEAD_FPN,
    SWIN_HEAD_SEGFORMER, SWIN_HEAD_GLAM_SEGFORMER, SWIN_HEAD_CLASSIFIER, SWIN_HEAD_UNET,
    SWIN_HEAD_SMP_UNET, SWIN_HEAD_SMP_FPN, SWIN_HEAD_MERGED_SEGFORMER,
    SWIN_HEAD_MASKFORMER, SWIN_HEAD_MASK2FORMER, SWIN_HEAD_ONEFORMER,
    SWIN_HEAD_BIREFNET, ...
} swin_head;
typedef enum swin_mode { SWIN_MODE_WHOLE, SWIN_MODE_SLIDE, SWIN_MODE_CENTRE, ... } swin_mode;

typedef struct swin_stage_config {
    int width, depth, heads, hidden, window_h, window_w, shift_h, shift_w;
    int token_rows, token_middle;
} swin_stage_config;
typedef struct swin_head_config {
    int kind, channels;
    unsigned inputs;
    int align_corners, pool_count, pool_scale[...], convs, conv_kernel, conv_concat;
    int neck_channels, neck_convs[...];
} swin_head_config;
typedef struct swin_picture_config {
    float mean[3], scale[3];
    int bgr, resize_rule, resize_a, resize_b, resize_filter, resize_round;
    int mode, crop_h, crop_w, stride_h, stride_w;
} swin_picture_config;
typedef struct swin_rules_config {
    float feature_eps;
    int corners, one_class, input_multiple, straight;
} swin_rules_config;
typedef struct swin_decoder_config {
    int width[...], bilinear, scse, concat;
} swin_decoder_config;
typedef struct swin_mit_config {
    int kernel[...], stride[...], reduction[...];
    float eps;
} swin_mit_config;
typedef struct swin_sides_config { int cut, multiple; } swin_sides_config;
typedef struct swin_queries_config {
    int count, width, masks, heads, layers, hidden, projected;
    int pixel_heads, pixel_layers, pixel_hidden, start_layers, start_hidden, scores, size_divisor;
} swin_queries_config;
typedef struct swin_birefnet_config {
    int inner, branch, kernel[...], patches, gate;
} swin_birefnet_config;
typedef struct swin_segments_config {
    int rule, object_score, overlap_share;
    uint32_t things[...];
} swin_segments_config;
typedef struct swin_instances_config { int most; } swin_instances_config;
typedef struct swin_reference {
    uint32_t present, seed, width, height, classes[2], logits[2];
} swin_reference;
typedef struct swin_config {
    int version, body, patch, planes;
    struct { int rule, h, w; } input;
    int shift_rule, roll_before_pad;
    float mask, eps;
    int patch_norm, qkv_bias, merge_norm, final_norm;
    unsigned feature_norms;
    struct { int h, w, rule; } position;
    int tokens, stages;
    swin_stage_config stage[...];
    swin_head_config head;
    int classes;
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
typedef struct swin_model { swin_config config; ...; } swin_model;
typedef struct swin_resizing { int longest; double scale; } swin_resizing;

enum { SWIN_VERIFY, ... };
swin_status swin_open(swin_model *m, const void *blob, size_t size, unsigned flags,
                      swin_error *err);
const char *swin_class_name(const swin_model *m, int k);
uint32_t swin_class_color(const swin_model *m, int k);
const char *swin_note(const swin_model *m, const char *key);
swin_status swin_input_size(const swin_model *m, int w, int h, const swin_resizing *how,
                            int *input_w, int *input_h, swin_error *err);

typedef enum swin_cpu {
    SWIN_CPU_BEST, SWIN_CPU_SCALAR, SWIN_CPU_NEON, SWIN_CPU_AVX2, SWIN_CPU_AVX512,
    SWIN_CPU_NEON_DOT, SWIN_CPU_NEON_I8MM, SWIN_CPU_AVX2_VNNI, SWIN_CPU_AVX512_VNNI,
    SWIN_CPU_WASM, SWIN_CPU_AVX512_AMX, ...
} swin_cpu;
const char *swin_cpu_name(swin_cpu cpu);
int swin_cpu_available(swin_cpu cpu);

enum swin_output {
    SWIN_OUT_CLASSES, SWIN_OUT_LOGITS, SWIN_OUT_FEATURES, SWIN_OUT_SCORES, SWIN_OUT_CONFIDENCE,
    SWIN_OUT_CONFIDENCE_F32, SWIN_OUT_ATTENTION, SWIN_OUT_SEGMENTS, ...
};
enum swin_run_flag { SWIN_RUN_DIRECT, SWIN_RUN_WHOLE, SWIN_RUN_FLIP, ... };

typedef void (*swin_task)(void *arg, int index);
typedef void (*swin_parallel_for)(void *user, swin_task task, void *arg, int count);
typedef struct swin_context swin_context;
typedef struct swin_desc {
    int width, height, picture_width, picture_height;
    unsigned outputs;
    int tasks;
    swin_parallel_for parallel_for;
    void *user;
    swin_cpu cpu;
    unsigned flags;
    size_t memory_limit;
    int crop_width, crop_height, stride_width, stride_height;
    float threshold, *votes;
    void *kept;
    int attend_x, attend_y, attend_stage;
    const void *const *average;
    int average_count;
    float votes_decay;
} swin_desc;
size_t swin_workspace_size(const swin_model *m, const swin_desc *d, swin_error *err);
swin_status swin_init(swin_context **c, const swin_model *m, const swin_desc *d, void *mem,
                      size_t size, swin_error *err);

typedef enum swin_format {
    SWIN_RGB8, SWIN_BGR8, SWIN_RGBA8, SWIN_BGRA8, SWIN_GREY8, SWIN_PLANES,
    SWIN_YUYV, SWIN_NV12, ...
} swin_format;
typedef enum swin_yuv {
    SWIN_YUV_601, SWIN_YUV_601_FULL, SWIN_YUV_709, SWIN_YUV_709_FULL, ...
} swin_yuv;
typedef struct swin_image {
    const void *data;
    int width, height;
    ptrdiff_t stride;
    swin_format format;
    ptrdiff_t plane_stride;
    const void *chroma;
    ptrdiff_t chroma_stride;
    swin_yuv yuv;
} swin_image;
swin_status swin_begin(swin_context *c, const swin_image *in);
swin_status swin_step(swin_context *c, int units);
const char *swin_error_text(const swin_context *c);

typedef struct swin_map { const void *data; int width, height, bytes; } swin_map;
typedef struct swin_tensor {
    const float *data;
    int channels, height, width;
    size_t channel, row, pixel;
} swin_tensor;
swin_map swin_classes(const swin_context *c);
swin_map swin_confidence(const swin_context *c);
swin_tensor swin_logits(const swin_context *c);
swin_tensor swin_feature(const swin_context *c, int stage);
swin_tensor swin_scores(const swin_context *c);
typedef struct swin_region {
    int id, class_id, thing;
    float score;
    int area, x, y, width, height;
} swin_region;
const swin_region *swin_segments(const swin_context *c, int *count);
swin_map swin_segment_map(const swin_context *c);

struct pool;
struct pool *workers_new(int threads);
void workers_free(struct pool *p);
void workers_serve(struct pool *p, swin_desc *d);
int processors(void);
"""

builder = cffi.FFI()
builder.cdef(DECLARATIONS)
builder.set_source(
    "swinh._core", '#include "core.h"',
    sources=["core.c"],
    include_dirs=[str(HERE), str(UPSTREAM), str(UPSTREAM / "examples")],
    extra_compile_args=[] if sys.platform == "win32" else ["-O2", "-fvisibility=hidden"],
    libraries=[] if sys.platform == "win32" else ["m", "pthread"],
)
