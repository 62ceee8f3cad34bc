/* tests/formats.c - what cameras give: YUYV and NV12 against a double-precision reference, and
   votes that decay from frame to frame

   cc -std=c99 -O2 tests/formats.c -lm && ./a.out */
#define SWIN_IMPLEMENTATION
#include "../swin.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

static blob blobs[MODELS];
static swin_model models[MODELS];

/* --- frames ----------------------------------------------------------------------------------- */

/* A frame in memory of exactly its size, both ways, of the same Y, U and V. */
typedef struct frame {
    int w, h;
    unsigned char *luma, *u, *v;        /* [h][w], [h][pairs] twice */
    unsigned char *block;
    swin_image in;
} frame;

static int pairs_of(const frame *f) { return (f->w + 1) / 2; }

/* Random samples; rows of chroma come in twos that are equal, as NV12 has them. */
static frame make_frame(int w, int h)
{
    frame f;
    memset(&f, 0, sizeof f);
    f.w = w;
    f.h = h;
    const size_t pairs = (size_t)pairs_of(&f), rows = (size_t)h;
    f.luma = (unsigned char *)need((size_t)w * rows);
    f.u = (unsigned char *)need(pairs * rows);
    f.v = (unsigned char *)need(pairs * rows);
    for (size_t i = 0; i < (size_t)w * rows; i++) f.luma[i] = (unsigned char)dice(256);
    for (size_t y = 0; y < rows; y++)
        for (size_t x = 0; x < pairs; x++) {
            const size_t at = y * pairs + x;
            f.u[at] = y % 2 ? f.u[at - pairs] : (unsigned char)dice(256);
            f.v[at] = y % 2 ? f.v[at - pairs] : (unsigned char)dice(256);
        }
    return f;
}

static void free_frame(frame *f)
{
    free(f->luma);
    free(f->u);
    free(f->v);
    free(f->block);
}

/* Packs the frame as YUYV with rows `gap` bytes apart, upwards where asked. */
static void pack_yuyv(frame *f, int gap, int upward)
{
    const int row = 4 * pairs_of(f), stride = row + gap;
    free(f->block);
    f->block = (unsigned char *)need((size_t)(stride * (f->h - 1) + row));
    for (int y = 0; y < f->h; y++) {
        unsigned char *to = f->block + stride * (upward ? f->h - 1 - y : y);
        for (int x = 0; x < 2 * pairs_of(f); x++) {
            const int pair = y * pairs_of(f) + x / 2;
            to[2 * x] = x < f->w ? f->luma[y * f->w + x] : 99;
            to[2 * x + 1] = x % 2 ? f->v[pair] : f->u[pair];
        }
    }
    f->in = picture(upward ? f->block + stride * (f->h - 1) : f->block, f->w, f->h);
    f->in.format = SWIN_YUYV;
    f->in.stride = upward ? -stride : gap ? stride : 0;
}

/* Where NV12's planes lie: rows apart, and the chroma behind the luma, or named by the picture. */
typedef struct planes { int gap, chroma_gap, upward, named; } planes;

static void pack_nv12(frame *f, planes p)
{
    const int row = 2 * pairs_of(f), rows = (f->h + 1) / 2, stride = f->w + p.gap;
    const int even = stride + stride % 2, apart = p.named ? row + p.chroma_gap : even;
    free(f->block);
    f->block = (unsigned char *)need((size_t)(stride * f->h + apart * (rows - 1) + row));
    unsigned char *chroma = f->block + stride * f->h;
    for (int y = 0; y < f->h; y++)
        memcpy(f->block + stride * (p.upward ? f->h - 1 - y : y), f->luma + y * f->w,
               (size_t)f->w);
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < pairs_of(f); x++) {
            unsigned char *to = chroma + apart * (p.upward ? rows - 1 - y : y) + 2 * x;
            to[0] = f->u[2 * y * pairs_of(f) + x];
            to[1] = f->v[2 * y * pairs_of(f) + x];
        }
    f->in = picture(p.upward ? f->block + stride * (f->h - 1) : f->block, f->w, f->h);
    f->in.format = SWIN_NV12;
    f->in.stride = p.upward ? -stride : p.gap ? stride : 0;
    if (!p.named) return;
    f->in.chroma = p.upward ? chroma + apart * (rows - 1) : chroma;
    f->in.chroma_stride = p.upward ? -apart : apart;
}

/* --- the reference ---------------------------------------------------------------------------- */

static double clamp(double x) { return x < 0 ? 0 : x > 255 ? 255 : x; }

/* Red, green and blue of pixel x, y, from the definition of Y'CbCr by the weights of red and
   blue. */
static void convert(const frame *f, swin_yuv yuv, int x, int y, double rgb[3])
{
    const int limited = yuv == SWIN_YUV_601 || yuv == SWIN_YUV_709;
    const int hd = yuv == SWIN_YUV_709 || yuv == SWIN_YUV_709_FULL;
    const double r = hd ? 0.2126 : 0.299, b = hd ? 0.0722 : 0.114;
    const int pair = y * pairs_of(f) + x / 2;
    const double light = (f->luma[y * f->w + x] - (limited ? 16 : 0)) / (limited ? 219.0 : 255.0);
    const double cb = (f->u[pair] - 128) / (limited ? 224.0 : 255.0);
    const double cr = (f->v[pair] - 128) / (limited ? 224.0 : 255.0);
    const double red = light + 2 * (1 - r) * cr, blue = light + 2 * (1 - b) * cb;
    rgb[0] = clamp(255 * red);
    rgb[1] = clamp(255 * (light - r * red - b * blue) / (1 - r - b));
    rgb[2] = clamp(255 * blue);
}

/* The largest difference of row y, weighted and added to 1, from the reference, in levels. */
static double row_error(const session *s, const frame *f, int y, float weight)
{
    float *sum = (float *)need((size_t)(3 * f->w) * sizeof *sum);
    double worst = 0;
    for (int more = 0; more < 2; more++) {
        for (int i = 0; i < 3 * f->w; i++) sum[i] = 1;
        swin__take_pixels(s->c, y, weight, more, sum);
        for (int i = 0; i < 3 * f->w; i++) {
            double rgb[3];
            convert(f, f->in.yuv, i / 3, y, rgb);
            worst = fmax(worst, fabs((double)sum[i] - more - (double)weight * rgb[i % 3]));
        }
    }
    free(sum);
    return worst;
}

static double frame_error(const session *s, const frame *f)
{
    double worst = swin_begin(s->c, &f->in) ? 1e9 : 0;
    for (int y = 0; y < f->h && worst < 1; y++)
        worst = fmax(worst, fmax(row_error(s, f, y, 1), row_error(s, f, y, 0.3f)));
    return worst;
}

static const planes layouts[] = {
    {0, 0, 0, 0}, {3, 0, 0, 0}, {4, 0, 0, 0}, {0, 0, 0, 1}, {5, 9, 0, 1}, {2, 3, 1, 1}};

static void test_conversion(void)
{
    static const int sizes[][2] = {{29, 22}, {30, 21}, {1, 1}, {2, 1}, {1, 2}, {33, 33}};
    double worst = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        frame f = make_frame(sizes[i][0], sizes[i][1]);
        swin_desc d = desc_of(32, 32);
        d.picture_width = f.w;
        d.picture_height = f.h;
        const session s = start(&models[GLAM_UPER], d);
        for (int yuv = 0; yuv <= SWIN_YUV_709_FULL; yuv++) {
            for (int way = 0; way < 4; way++) {
                pack_yuyv(&f, way % 2 * 5, way / 2);
                f.in.yuv = (swin_yuv)yuv;
                worst = fmax(worst, frame_error(&s, &f));
            }
            for (size_t way = 0; way < sizeof layouts / sizeof *layouts; way++) {
                pack_nv12(&f, layouts[way]);
                f.in.yuv = (swin_yuv)yuv;
                worst = fmax(worst, frame_error(&s, &f));
            }
        }
        free(s.memory);
        free_frame(&f);
    }
    printf("largest difference: %g levels\n", worst);
    report("YUYV and NV12 against doubles, in every layout", worst < 1e-4);
}

/* Black, white and the primaries of a limited range, as every camera's data sheet lists them. */
static void test_colors(void)
{
    static const struct { unsigned char y, u, v, rgb[3]; } known[] = {
        {16, 128, 128, {0, 0, 0}},       {235, 128, 128, {255, 255, 255}},
        {126, 128, 128, {128, 128, 128}}, {81, 90, 240, {255, 0, 0}},
        {145, 54, 34, {0, 255, 0}},      {41, 240, 110, {0, 0, 255}},
        {0, 128, 128, {0, 0, 0}},        {255, 128, 128, {255, 255, 255}}};
    swin_desc d = desc_of(32, 32);
    int ok = 1;
    d.picture_width = d.picture_height = 1;
    const session s = start(&models[GLAM_UPER], d);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const unsigned char yuyv[] = {known[i].y, known[i].u, 0, known[i].v};
        swin_image in = picture(yuyv, 1, 1);
        float rgb[3] = {-1, -1, -1};
        in.format = SWIN_YUYV;
        ok &= swin_begin(s.c, &in) == SWIN_OK;
        swin__take_pixels(s.c, 0, 1, 0, rgb);
        for (int k = 0; k < 3; k++) ok &= fabsf(rgb[k] - (float)known[i].rgb[k]) < 1.5f;
    }
    report("colours that are known", ok);
    free(s.memory);
}

/* --- whole runs ------------------------------------------------------------------------------- */

static uint64_t once(const swin_model *m, swin_desc d, const swin_image *in)
{
    const session s = start(m, d);
    const uint64_t h = swin_run(s.c, in) ? 0 : results(s.c);
    free(s.memory);
    return h;
}

/* All instruction sets, resized or not, and both formats of the same samples: one result. */
static void test_same_bits(void)
{
    int ok = 1;
    for (int resized = 0; resized < 2; resized++) {
        frame f = make_frame(45, 34);
        swin_desc d = desc_of(resized ? 40 : 45, resized ? 36 : 34);
        uint64_t expected = 0;
        d.picture_width = f.w;
        d.picture_height = f.h;
        for (int cpu = SWIN_CPU_SCALAR; cpu < SWIN_CPU_COUNT; cpu++) {
            if (!swin_cpu_available((swin_cpu)cpu)) continue;
            d.cpu = (swin_cpu)cpu;
            for (int nv12 = 0; nv12 < 2; nv12++) {
                if (nv12) pack_nv12(&f, layouts[4]);
                else pack_yuyv(&f, 3, 0);
                const uint64_t found = once(&models[GLAM_UPER], d, &f.in);
                if (!expected) expected = found;
                ok &= found && found == expected;
            }
        }
        free_frame(&f);
    }
    report("the same bits on every instruction set", ok);
}

/* A wrong matrix, range or plane is an error; so are strides that are too short. */
static int fails(const session *s, swin_image in)
{
    return swin_begin(s->c, &in) == SWIN_ARGUMENT && strlen(swin_error_text(s->c)) > 20;
}

static void test_refusals(void)
{
    static const ptrdiff_t strides[] = {1, 29, -29, PTRDIFF_MAX, PTRDIFF_MIN, PTRDIFF_MAX / 4};
    frame f = make_frame(29, 22);
    const session s = start(&models[GLAM_UPER], desc_of(29, 22));
    int ok = 1;
    pack_nv12(&f, layouts[4]);
    ok &= swin_begin(s.c, &f.in) == SWIN_OK;
    for (size_t i = 0; i < sizeof strides / sizeof *strides; i++) {
        swin_image in = f.in;
        in.chroma_stride = strides[i];
        ok &= fails(&s, in);
    }
    swin_image in = f.in;
    in.yuv = (swin_yuv)4, ok &= fails(&s, in);
    in = f.in, in.stride = 28, ok &= fails(&s, in);
    in = f.in, in.format = (swin_format)(SWIN_NV12 + 1), ok &= fails(&s, in);
    in = f.in, in.chroma = NULL, in.stride = -in.stride, ok &= fails(&s, in);
    pack_yuyv(&f, 0, 0);
    in = f.in, in.stride = 58, ok &= fails(&s, in);
    in = f.in, in.stride = 60, ok &= swin_begin(s.c, &in) == SWIN_OK;
    report("planes and strides that cannot be", ok);
    free(s.memory);
    free_frame(&f);
}

/* --- votes that decay ------------------------------------------------------------------------- */

enum { W = 37, H = 29, FRAMES = 4 };

/* The votes after FRAMES frames, each another picture. */
static float *gather(const swin_model *m, float decay, int first, int count)
{
    const size_t numbers = (size_t)(W * H * m->config.classes);
    float *votes = (float *)need(numbers * sizeof *votes);
    unsigned char *rgb = (unsigned char *)need(W * H * 3);
    swin_desc d = desc_of(W, H);
    memset(votes, 0, numbers * sizeof *votes);
    d.votes = votes;
    d.votes_decay = decay;
    const session s = start_as(m, d);
    for (int i = first; i < first + count; i++) {
        const swin_image in = picture(rgb, W, H);
        swin_reference_picture(rgb, W, H, (uint32_t)i);
        if (swin_run(s.c, &in)) exit(1);
    }
    free(s.memory);
    free(rgb);
    return votes;
}

/* Zero and one are the same; others weigh a frame by how often it was multiplied. */
static void test_decay(void)
{
    const swin_model *m = &models[GLAM_UPER];
    const int numbers = W * H * m->config.classes;
    float *plain = gather(m, 0, 0, FRAMES), *one = gather(m, 1, 0, FRAMES);
    float *faded = gather(m, 0.6f, 0, FRAMES), *frame_votes[FRAMES];
    double worst = 0;
    for (int i = 0; i < FRAMES; i++) frame_votes[i] = gather(m, 0, i, 1);
    for (int i = 0; i < numbers; i++) {
        double sum = 0;
        for (int k = 0; k < FRAMES; k++) sum = sum * (double)0.6f + (double)frame_votes[k][i];
        worst = fmax(worst, fabs(sum - (double)faded[i]));
    }
    printf("largest difference: %g\n", worst);
    report("votes decay", worst < 1e-6 && memcmp(plain, faded, (size_t)numbers * sizeof *plain));
    report("no decay is a decay of one", !memcmp(plain, one, (size_t)numbers * sizeof *plain));
    for (int i = 0; i < FRAMES; i++) free(frame_votes[i]);
    free(plain);
    free(one);
    free(faded);
}

static void test_decay_range(void)
{
    static const float wrong[] = {-0.1f, 1.01f, -1, INFINITY, -INFINITY, NAN};
    swin_desc d = desc_of(W, H);
    swin_error e;
    int ok = 1;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        d.votes_decay = wrong[i];
        ok &= !swin_workspace_size(&models[GLAM_UPER], &d, &e) && e.status == SWIN_ARGUMENT;
    }
    d.votes_decay = 0.5f;
    ok &= swin_workspace_size(&models[GLAM_UPER], &d, &e) > 0;
    report("a decay that is not 0..1", ok);
}

int main(void)
{
    swin_error e;
    blobs[GLAM_UPER] = model_blob(GLAM_UPER);
    if (swin_open(&models[GLAM_UPER], blobs[GLAM_UPER].bytes, blobs[GLAM_UPER].size, SWIN_VERIFY,
                  &e))
        return printf("%s\n", e.text), 1;
    test_conversion();
    test_colors();
    test_same_bits();
    test_refusals();
    test_decay();
    test_decay_range();
    free(blobs[GLAM_UPER].bytes);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
