/* gstswinsegment.c - swinsegment, a GStreamer element: what every pixel of a video shows

   cc -std=c99 -O2 -shared -fPIC examples/gst/gstswinsegment.c -o libgstswin.so \
       $(pkg-config --cflags --libs gstreamer-video-1.0) -lm -lpthread
   GST_PLUGIN_PATH=. gst-launch-1.0 videotestsrc ! videoconvert ! \
       swinsegment model=weights/street.swin ! videoconvert ! autovideosink

   Frames go to swin.h as they lie in their buffers, NV12 and YUY2 too. The overlay is drawn into
   the buffer that came, in its own format; a map of ids takes a new GRAY8 buffer.

   Properties may be set at any time, from any thread: under the object lock they are only noted,
   and the thread that brings the next frame does what follows from them. */
#define SWIN_STATIC
#define SWIN_IMPLEMENTATION
#include "../common.h"

#include <gst/gst.h>
#include <gst/video/gstvideofilter.h>

#define FORMATS "RGB, BGR, RGBA, BGRA, RGBx, BGRx, NV12, YUY2"
#define SIDE "(int) [ 1, " G_STRINGIFY(SWIN_MAX_SIDE) " ]"
#define CAPS(formats)                                                   \
    "video/x-raw, format = (string) { " formats " }, width = " SIDE     \
    ", height = " SIDE ", framerate = (fraction) [ 0, max ]"

GST_DEBUG_CATEGORY_STATIC(swin_segment_debug);
#define GST_CAT_DEFAULT swin_segment_debug

typedef enum output { OUTPUT_OVERLAY, OUTPUT_IDS } output;

/* What the properties say. */
typedef struct settings {
    char *model;                /* path of a .swin file; NULL: $SWIN_MODEL */
    double opacity;
    unsigned threads, size;     /* 0: the processors, the model's own rule */
    output output;
} settings;

/* What has changed since the last frame. */
enum { STALE_MODEL = 1, STALE_THREADS = 2, STALE_SIZE = 4, STALE_CAPS = 8, STALE_ALL = 15 };

typedef unsigned char color[4];     /* the first bytes of an RGB format's pixel, or Y, U and V */

#define GST_TYPE_SWIN_SEGMENT gst_swin_segment_get_type()
G_DECLARE_FINAL_TYPE(GstSwinSegment, gst_swin_segment, GST, SWIN_SEGMENT, GstVideoFilter)

struct _GstSwinSegment {
    GstVideoFilter parent;
    /* under the object lock */
    settings wanted;
    unsigned stale;
    guint64 processed, dropped;
    GstClockTime latency;       /* what a LATENCY query is told */
    gboolean stopping;          /* from PAUSED to READY: no run begins */
    swin_context *context;      /* written by the streaming thread, cancelled by any */
    /* of the thread that brings the frames, or of state changes while there is none */
    settings now;               /* as the last frame found them */
    file_bytes blob;
    swin_model model;
    pool workers;               /* started if it has members */
    void *memory;               /* of the context */
    int width, height;          /* that the context is for */
    color *palette;             /* [classes], in the frames' format */
    double mean_time;           /* seconds that a frame takes; 0: none has been measured */
};

G_DEFINE_TYPE(GstSwinSegment, gst_swin_segment, GST_TYPE_VIDEO_FILTER)
#define parent_class gst_swin_segment_parent_class

/* -------------------------------------------------------------------------- */
/* the model, the threads, the context                                        */

static void mark_stale(GstSwinSegment *self, unsigned what)
{
    GST_OBJECT_LOCK(self);
    self->stale |= what;
    GST_OBJECT_UNLOCK(self);
}

static void set_context(GstSwinSegment *self, swin_context *context)
{
    GST_OBJECT_LOCK(self);
    self->context = context;
    GST_OBJECT_UNLOCK(self);
}

static void free_context(GstSwinSegment *self)
{
    set_context(self, NULL);
    free(self->memory);
    self->memory = NULL;
}

static void free_model(GstSwinSegment *self)
{
    free_context(self);
    free(self->palette);
    self->palette = NULL;
    file_free(&self->blob);
    memset(&self->blob, 0, sizeof self->blob);
}

static void stop_threads(GstSwinSegment *self)
{
    if (self->workers.members) pool_stop(&self->workers);
    memset(&self->workers, 0, sizeof self->workers);
}

/* The path of the model, or NULL with an error that is posted. */
static const char *model_path(GstSwinSegment *self)
{
    const char *path = self->now.model ? self->now.model : g_getenv("SWIN_MODEL");
    if (path && *path) return path;
    GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS,
                      ("no model: set the property model, or the environment's SWIN_MODEL"),
                      (NULL));
    return NULL;
}

/* Reads the model that is wanted instead of the one that is there. FALSE: an error is posted. */
static gboolean load_model(GstSwinSegment *self)
{
    swin_error error;
    const char *path = model_path(self);
    free_model(self);
    if (!path) return FALSE;
    int why = file_load(path, &self->blob);
    if (why) {
        GST_ELEMENT_ERROR(self, RESOURCE, OPEN_READ, ("model %s: %s", path, load_error(why)),
                          (NULL));
        return FALSE;
    }
    if (swin_open(&self->model, self->blob.data, self->blob.size, SWIN_VERIFY, &error)) {
        GST_ELEMENT_ERROR(self, RESOURCE, READ, ("model %s: %s", path, error.text), (NULL));
        return FALSE;
    }
    if (!gives_class_map(&self->model)) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS,
                          ("model %s: it gives no class for each pixel", path), (NULL));
        return FALSE;
    }
    return TRUE;
}

static void start_threads(GstSwinSegment *self)
{
    stop_threads(self);
    pool_start(&self->workers, self->now.threads ? (int)self->now.threads : processor_count());
}

/* Makes the context for frames of this size. FALSE: an error is posted. */
static gboolean make_context(GstSwinSegment *self, int width, int height)
{
    swin_error error;
    swin_desc desc;
    swin_context *context = NULL;
    swin_resizing how = { (int)self->now.size, 0 };
    size_t size = 0;
    free_context(self);
    memset(&desc, 0, sizeof desc);
    desc.picture_width = width;
    desc.picture_height = height;
    pool_serve(&self->workers, &desc);
    if (!swin_input_size(&self->model, width, height, &how, &desc.width, &desc.height, &error))
        size = swin_workspace_size(&self->model, &desc, &error);
    if (size) self->memory = workspace_new(size);
    if (size && !self->memory) {
        GST_ELEMENT_ERROR(self, RESOURCE, NO_SPACE_LEFT,
                          ("no memory for the %zu bytes that frames of %d x %d pixels take", size,
                           width, height), (NULL));
        return FALSE;
    }
    if (!size || swin_init(&context, &self->model, &desc, self->memory, size, &error)) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT,
                          ("frames of %d x %d pixels: %s", width, height, error.text), (NULL));
        return FALSE;
    }
    self->width = width;
    self->height = height;
    self->mean_time = 0;
    set_context(self, context);
    return TRUE;
}

/* -------------------------------------------------------------------------- */
/* colours                                                                    */

/* What swin.h knows beside BT.601 is BT.709, which is near to the others. */
static gboolean is_like_709(GstVideoColorMatrix matrix)
{
    return matrix == GST_VIDEO_COLOR_MATRIX_BT709 || matrix == GST_VIDEO_COLOR_MATRIX_BT2020 ||
           matrix == GST_VIDEO_COLOR_MATRIX_SMPTE240M;
}

static swin_yuv yuv_of(const GstVideoInfo *info)
{
    gboolean full = info->colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255;
    if (is_like_709(info->colorimetry.matrix)) return full ? SWIN_YUV_709_FULL : SWIN_YUV_709;
    return full ? SWIN_YUV_601_FULL : SWIN_YUV_601;
}

/* Colours of 0xRRGGBB, in the order of an RGB format's bytes. */
static void rgb_color(const GstVideoInfo *info, const unsigned char rgb[3], color to)
{
    for (unsigned i = 0; i < 3; i++) to[GST_VIDEO_INFO_COMP_POFFSET(info, i)] = rgb[i];
}

/* The same as Y, U and V with the frames' matrix and range. */
static void yuv_color(const GstVideoInfo *info, const unsigned char rgb[3], color to)
{
    double red = 0.299, blue = 0.114;
    int offset[GST_VIDEO_MAX_COMPONENTS], scale[GST_VIDEO_MAX_COMPONENTS];
    gst_video_color_matrix_get_Kr_Kb(info->colorimetry.matrix, &red, &blue);
    gst_video_color_range_offsets(info->colorimetry.range, info->finfo, offset, scale);
    double y = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2];
    double yuv[3] = { y, (rgb[2] - y) / (2 * (1 - blue)), (rgb[0] - y) / (2 * (1 - red)) };
    for (int i = 0; i < 3; i++) {
        double value = offset[i] + yuv[i] / 255 * scale[i] + 0.5;
        to[i] = (unsigned char)CLAMP(value, 0, 255);
    }
}

/* The classes' colours in the frames' format. FALSE: an error is posted. */
static gboolean make_palette(GstSwinSegment *self, const GstVideoInfo *info)
{
    int classes = self->model.config.classes;
    free(self->palette);
    self->palette = (color *)calloc((size_t)classes, sizeof *self->palette);
    if (!self->palette) {
        GST_ELEMENT_ERROR(self, RESOURCE, NO_SPACE_LEFT,
                          ("no memory for the colours of %d classes", classes), (NULL));
        return FALSE;
    }
    for (int k = 0; k < classes; k++) {
        uint32_t value = swin_class_color(&self->model, k);
        const unsigned char rgb[3] = { (unsigned char)(value >> 16 & 255),
                                       (unsigned char)(value >> 8 & 255),
                                       (unsigned char)(value & 255) };
        if (GST_VIDEO_INFO_IS_RGB(info)) rgb_color(info, rgb, self->palette[k]);
        else yuv_color(info, rgb, self->palette[k]);
    }
    return TRUE;
}

/* -------------------------------------------------------------------------- */
/* the overlay                                                                */

typedef struct blending {
    swin_map map;
    const color *palette;
    unsigned opacity;           /* 0..256 */
} blending;

static const unsigned char *color_at(const blending *b, int x, int y)
{
    return b->palette[class_at(b->map, (size_t)y * (size_t)b->map.width + (size_t)x)];
}

static unsigned char blend(const blending *b, unsigned is, unsigned wanted)
{
    return (unsigned char)((is * (256 - b->opacity) + wanted * b->opacity + 128) >> 8);
}

static unsigned char *row_of(const GstVideoFrame *f, unsigned plane, int y)
{
    return (unsigned char *)GST_VIDEO_FRAME_PLANE_DATA(f, plane) +
           (ptrdiff_t)y * GST_VIDEO_FRAME_PLANE_STRIDE(f, plane);
}

static void draw_rgb(const blending *b, GstVideoFrame *f)
{
    int step = GST_VIDEO_FRAME_COMP_PSTRIDE(f, 0);
    for (int y = 0; y < b->map.height; y++) {
        unsigned char *pixel = row_of(f, 0, y);
        for (int x = 0; x < b->map.width; x++, pixel += step) {
            const unsigned char *wanted = color_at(b, x, y);
            for (int i = 0; i < 3; i++) pixel[i] = blend(b, pixel[i], wanted[i]);
        }
    }
}

/* Component i of the mean colour of the pixels that share a U and a V: of two columns and `rows`
   rows, those that the frame has. */
static unsigned mean_color(const blending *b, int x, int y, int rows, int i)
{
    int right = x + 1 < b->map.width ? x + 1 : x, low = y + rows - 1;
    if (low >= b->map.height) low = y;
    int sum = color_at(b, x, y)[i] + color_at(b, right, y)[i] + color_at(b, x, low)[i] +
              color_at(b, right, low)[i];
    return (unsigned)(sum + 2) / 4;
}

static void draw_yuy2(const blending *b, GstVideoFrame *f)
{
    for (int y = 0; y < b->map.height; y++) {
        unsigned char *row = row_of(f, 0, y);
        for (int x = 0; x < b->map.width; x++)
            row[2 * x] = blend(b, row[2 * x], color_at(b, x, y)[0]);
        for (int x = 0; x < b->map.width; x += 2, row += 4) {
            row[1] = blend(b, row[1], mean_color(b, x, y, 1, 1));
            row[3] = blend(b, row[3], mean_color(b, x, y, 1, 2));
        }
    }
}

static void draw_nv12(const blending *b, GstVideoFrame *f)
{
    for (int y = 0; y < b->map.height; y++) {
        unsigned char *row = row_of(f, 0, y);
        for (int x = 0; x < b->map.width; x++) row[x] = blend(b, row[x], color_at(b, x, y)[0]);
    }
    for (int y = 0; y < b->map.height; y += 2) {
        unsigned char *pair = row_of(f, 1, y / 2);
        for (int x = 0; x < b->map.width; x += 2, pair += 2)
            for (int i = 0; i < 2; i++) pair[i] = blend(b, pair[i], mean_color(b, x, y, 2, 1 + i));
    }
}

/* -------------------------------------------------------------------------- */
/* a frame                                                                    */

/* Takes the settings that were noted; returns what has changed. */
static unsigned take_settings(GstSwinSegment *self)
{
    GST_OBJECT_LOCK(self);
    unsigned stale = self->stale;
    self->stale = 0;
    if (stale & STALE_MODEL) {
        g_free(self->now.model);
        self->now.model = g_strdup(self->wanted.model);
    }
    self->now.opacity = self->wanted.opacity;
    self->now.threads = self->wanted.threads;
    self->now.size = self->wanted.size;
    GST_OBJECT_UNLOCK(self);
    return stale;
}

/* Does what follows from changes of properties and caps. FALSE: an error is posted. */
static gboolean follow_changes(GstSwinSegment *self, const GstVideoInfo *info, unsigned stale)
{
    int width = GST_VIDEO_INFO_WIDTH(info), height = GST_VIDEO_INFO_HEIGHT(info);
    gboolean resized = width != self->width || height != self->height;
    if ((stale & STALE_MODEL) && !load_model(self)) return FALSE;
    if (stale & STALE_THREADS) start_threads(self);
    if (((stale & (STALE_MODEL | STALE_THREADS | STALE_SIZE)) || resized) &&
        !make_context(self, width, height))
        return FALSE;
    return !(stale & (STALE_MODEL | STALE_CAPS)) || make_palette(self, info);
}

/* What failed is tried again with the next frame: it fails again, or what was wrong is mended. */
static gboolean is_ready(GstSwinSegment *self, const GstVideoInfo *info)
{
    if (follow_changes(self, info, take_settings(self))) return TRUE;
    mark_stale(self, STALE_ALL);
    return FALSE;
}

static swin_image image_of(const GstVideoFrame *f)
{
    swin_image image;
    memset(&image, 0, sizeof image);
    image.data = GST_VIDEO_FRAME_PLANE_DATA(f, 0);
    image.stride = GST_VIDEO_FRAME_PLANE_STRIDE(f, 0);
    image.width = GST_VIDEO_FRAME_WIDTH(f);
    image.height = GST_VIDEO_FRAME_HEIGHT(f);
    image.yuv = yuv_of(&f->info);
    switch (GST_VIDEO_FRAME_FORMAT(f)) {
    case GST_VIDEO_FORMAT_BGR: image.format = SWIN_BGR8; break;
    case GST_VIDEO_FORMAT_RGBA:
    case GST_VIDEO_FORMAT_RGBx: image.format = SWIN_RGBA8; break;
    case GST_VIDEO_FORMAT_BGRA:
    case GST_VIDEO_FORMAT_BGRx: image.format = SWIN_BGRA8; break;
    case GST_VIDEO_FORMAT_YUY2: image.format = SWIN_YUYV; break;
    case GST_VIDEO_FORMAT_NV12:
        image.format = SWIN_NV12;
        image.chroma = GST_VIDEO_FRAME_PLANE_DATA(f, 1);
        image.chroma_stride = GST_VIDEO_FRAME_PLANE_STRIDE(f, 1);
        break;
    default: image.format = SWIN_RGB8; break;
    }
    return image;
}

/* Begins under the lock, so that whoever stops or flushes the element either finds a run to cancel
   or keeps it from beginning. */
static swin_status begin(GstSwinSegment *self, const swin_image *image)
{
    GST_OBJECT_LOCK(self);
    gboolean ends = self->stopping || GST_PAD_IS_FLUSHING(GST_BASE_TRANSFORM_SINK_PAD(self));
    swin_status status = ends ? SWIN_CANCELLED : swin_begin(self->context, image);
    GST_OBJECT_UNLOCK(self);
    return status;
}

/* A live source's pipeline has to wait for the frames as long as they take: it asks anew when that
   grows. */
static void measure(GstSwinSegment *self, double took)
{
    self->mean_time += (took - self->mean_time) / (self->mean_time > 0 ? 8 : 1);
    GstClockTime mean = (GstClockTime)(1e9 * self->mean_time);
    GST_OBJECT_LOCK(self);
    gboolean grown = mean > self->latency;
    if (grown) self->latency = mean + mean / 2;
    self->processed++;
    GST_OBJECT_UNLOCK(self);
    if (grown)
        gst_element_post_message(GST_ELEMENT(self), gst_message_new_latency(GST_OBJECT(self)));
}

/* Finds the class map of a frame. */
static GstFlowReturn segment(GstSwinSegment *self, const GstVideoFrame *f, swin_map *map)
{
    if (!is_ready(self, &f->info)) return GST_FLOW_ERROR;
    const swin_image image = image_of(f);
    double start = seconds();
    swin_status status = begin(self, &image);
    if (status == SWIN_OK)
        while ((status = swin_step(self->context, INT_MAX)) == SWIN_MORE) continue;
    if (status == SWIN_CANCELLED) return GST_FLOW_FLUSHING;
    if (status != SWIN_OK) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT,
                          ("a frame could not be read: %s", swin_error_text(self->context)),
                          (NULL));
        return GST_FLOW_ERROR;
    }
    measure(self, seconds() - start);
    *map = swin_classes(self->context);
    return GST_FLOW_OK;
}

static GstFlowReturn transform_frame_ip(GstVideoFilter *filter, GstVideoFrame *f)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(filter);
    blending b;
    GstFlowReturn flow = segment(self, f, &b.map);
    if (flow != GST_FLOW_OK) return flow;
    b.palette = (const color *)self->palette;
    b.opacity = (unsigned)(256 * self->now.opacity + 0.5);
    switch (GST_VIDEO_FRAME_FORMAT(f)) {
    case GST_VIDEO_FORMAT_NV12: draw_nv12(&b, f); break;
    case GST_VIDEO_FORMAT_YUY2: draw_yuy2(&b, f); break;
    default: draw_rgb(&b, f); break;
    }
    return GST_FLOW_OK;
}

static GstFlowReturn transform_frame(GstVideoFilter *filter, GstVideoFrame *in,
                                     GstVideoFrame *out)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(filter);
    swin_map map;
    GstFlowReturn flow = segment(self, in, &map);
    if (flow != GST_FLOW_OK) return flow;
    if (map.bytes != 1) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT,
                          ("output=ids writes a byte a pixel, and the model has %d classes: take "
                           "output=overlay", self->model.config.classes), (NULL));
        return GST_FLOW_ERROR;
    }
    for (int y = 0; y < map.height; y++)
        memcpy(row_of(out, 0, y), (const unsigned char *)map.data + (size_t)y * (size_t)map.width,
               (size_t)map.width);
    return GST_FLOW_OK;
}

/* A frame that is too short would pass unchanged, with a warning that does not say why. */
static GstFlowReturn prepare_output_buffer(GstBaseTransform *trans, GstBuffer *in, GstBuffer **out)
{
    const GstVideoInfo *info = &GST_VIDEO_FILTER(trans)->in_info;
    if (!gst_buffer_get_video_meta(in) && gst_buffer_get_size(in) < GST_VIDEO_INFO_SIZE(info)) {
        GST_ELEMENT_ERROR(trans, STREAM, FORMAT,
                          ("a frame has %zu bytes, and %s of %d x %d pixels takes %zu",
                           gst_buffer_get_size(in), GST_VIDEO_INFO_NAME(info),
                           GST_VIDEO_INFO_WIDTH(info), GST_VIDEO_INFO_HEIGHT(info),
                           GST_VIDEO_INFO_SIZE(info)), (NULL));
        return GST_FLOW_ERROR;
    }
    return GST_BASE_TRANSFORM_CLASS(parent_class)->prepare_output_buffer(trans, in, out);
}

/* The base class drops what is late, as sinks tell it by events of QoS. */
static GstFlowReturn submit_input_buffer(GstBaseTransform *trans, gboolean discont, GstBuffer *in)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(trans);
    GstFlowReturn flow = GST_BASE_TRANSFORM_CLASS(parent_class)->submit_input_buffer(trans, discont,
                                                                                     in);
    if (flow != GST_BASE_TRANSFORM_FLOW_DROPPED) return flow;
    GST_OBJECT_LOCK(self);
    self->dropped++;
    GST_OBJECT_UNLOCK(self);
    return flow;
}

/* -------------------------------------------------------------------------- */
/* caps, queries, events, states                                              */

/* The part of `caps` that one side takes, with the formats of the other; ids have no colours. */
static GstCaps *with_formats(const GstCaps *caps, const char *one, const char *other)
{
    GstCaps *side = gst_caps_from_string(one), *formats = gst_caps_from_string(other);
    GstCaps *to = gst_caps_intersect_full((GstCaps *)caps, side, GST_CAPS_INTERSECT_FIRST);
    for (unsigned i = 0; i < gst_caps_get_size(to); i++) {
        GstStructure *s = gst_caps_get_structure(to, i);
        gst_structure_set_value(s, "format", gst_structure_get_value(
            gst_caps_get_structure(formats, 0), "format"));
        gst_structure_remove_fields(s, "colorimetry", "chroma-site", NULL);
    }
    gst_caps_unref(side);
    gst_caps_unref(formats);
    return to;
}

/* What one pad has to have where the other has `caps`: an overlay's are the same. */
static GstCaps *transform_caps(GstBaseTransform *trans, GstPadDirection from, GstCaps *caps,
                               GstCaps *filter)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(trans);
    GstCaps *to;
    GST_OBJECT_LOCK(self);
    gboolean ids = self->wanted.output == OUTPUT_IDS;
    GST_OBJECT_UNLOCK(self);
    if (!ids) to = gst_caps_ref(caps);
    else if (from == GST_PAD_SINK) to = with_formats(caps, CAPS(FORMATS), CAPS("GRAY8"));
    else to = with_formats(caps, CAPS("GRAY8"), CAPS(FORMATS));
    if (filter) {
        GstCaps *both = gst_caps_intersect_full(filter, to, GST_CAPS_INTERSECT_FIRST);
        gst_caps_unref(to);
        to = both;
    }
    return to;
}

static gboolean set_info(GstVideoFilter *filter, GstCaps *in_caps, GstVideoInfo *in,
                         GstCaps *out_caps, GstVideoInfo *out)
{
    GstVideoColorMatrix matrix = in->colorimetry.matrix;
    (void)in_caps;
    (void)out_caps;
    gst_base_transform_set_in_place(GST_BASE_TRANSFORM(filter),
                                    GST_VIDEO_INFO_FORMAT(out) != GST_VIDEO_FORMAT_GRAY8);
    mark_stale(GST_SWIN_SEGMENT(filter), STALE_CAPS);
    if (GST_VIDEO_INFO_IS_YUV(in) && is_like_709(matrix) && matrix != GST_VIDEO_COLOR_MATRIX_BT709)
        GST_ELEMENT_WARNING(filter, STREAM, FORMAT,
                            ("the frames' colour matrix is not known to the network, which sees "
                             "them as bt709: for exact colours put videoconvert ! "
                             "video/x-raw,format=RGB before"), (NULL));
    return TRUE;
}

static gboolean answer_query(GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(trans);
    GstClockTime least, most;
    gboolean live;
    if (!GST_BASE_TRANSFORM_CLASS(parent_class)->query(trans, direction, query)) return FALSE;
    if (GST_QUERY_TYPE(query) != GST_QUERY_LATENCY || direction != GST_PAD_SRC) return TRUE;
    gst_query_parse_latency(query, &live, &least, &most);
    GST_OBJECT_LOCK(self);
    least += self->latency;
    if (GST_CLOCK_TIME_IS_VALID(most)) most += self->latency;
    GST_OBJECT_UNLOCK(self);
    gst_query_set_latency(query, live, least, most);
    return TRUE;
}

static void cancel(GstSwinSegment *self, gboolean stopping)
{
    GST_OBJECT_LOCK(self);
    self->stopping = stopping;
    if (self->context) swin_cancel(self->context);
    GST_OBJECT_UNLOCK(self);
}

static gboolean sink_event(GstBaseTransform *trans, GstEvent *event)
{
    if (GST_EVENT_TYPE(event) == GST_EVENT_FLUSH_START) cancel(GST_SWIN_SEGMENT(trans), FALSE);
    return GST_BASE_TRANSFORM_CLASS(parent_class)->sink_event(trans, event);
}

/* The model is read before the first frame, so that a wrong one is found when the pipeline
   starts. */
static gboolean start(GstBaseTransform *trans)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(trans);
    mark_stale(self, STALE_ALL);
    take_settings(self);
    gboolean loaded = load_model(self);
    if (!loaded) free_model(self);
    mark_stale(self, STALE_ALL & ~(unsigned)STALE_MODEL);
    GST_OBJECT_LOCK(self);
    self->processed = self->dropped = 0;
    self->latency = 0;
    GST_OBJECT_UNLOCK(self);
    return loaded;
}

static gboolean stop(GstBaseTransform *trans)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(trans);
    free_model(self);
    stop_threads(self);
    return TRUE;
}

static GstStateChangeReturn change_state(GstElement *element, GstStateChange change)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(element);
    if (change == GST_STATE_CHANGE_READY_TO_PAUSED) cancel(self, FALSE);
    if (change == GST_STATE_CHANGE_PAUSED_TO_READY) cancel(self, TRUE);
    return GST_ELEMENT_CLASS(parent_class)->change_state(element, change);
}

/* -------------------------------------------------------------------------- */
/* properties                                                                 */

enum { PROP_0, PROP_MODEL, PROP_OPACITY, PROP_THREADS, PROP_SIZE, PROP_OUTPUT, PROP_PROCESSED,
       PROP_DROPPED };

#define GST_TYPE_SWIN_SEGMENT_OUTPUT output_type()
static GType output_type(void)
{
    static const GEnumValue values[] = {
        { OUTPUT_OVERLAY, "The frame, blended with the colours of its classes", "overlay" },
        { OUTPUT_IDS, "The number of each pixel's class, GRAY8", "ids" },
        { 0, NULL, NULL }
    };
    static gsize type;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstSwinSegmentOutput", values));
    return (GType)type;
}

static void set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(object);
    settings *s = &self->wanted;
    GST_OBJECT_LOCK(self);
    switch (id) {
    case PROP_MODEL:
        g_free(s->model);
        s->model = g_value_dup_string(value);
        self->stale |= STALE_MODEL;
        break;
    case PROP_OPACITY: s->opacity = g_value_get_double(value); break;
    case PROP_THREADS:
        s->threads = g_value_get_uint(value);
        self->stale |= STALE_THREADS;
        break;
    case PROP_SIZE:
        s->size = g_value_get_uint(value);
        self->stale |= STALE_SIZE;
        break;
    case PROP_OUTPUT: s->output = (output)g_value_get_enum(value); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec); break;
    }
    GST_OBJECT_UNLOCK(self);
    if (id == PROP_OUTPUT) gst_base_transform_reconfigure_src(GST_BASE_TRANSFORM(self));
}

static void get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(object);
    const settings *s = &self->wanted;
    GST_OBJECT_LOCK(self);
    switch (id) {
    case PROP_MODEL: g_value_set_string(value, s->model); break;
    case PROP_OPACITY: g_value_set_double(value, s->opacity); break;
    case PROP_THREADS: g_value_set_uint(value, s->threads); break;
    case PROP_SIZE: g_value_set_uint(value, s->size); break;
    case PROP_OUTPUT: g_value_set_enum(value, (gint)s->output); break;
    case PROP_PROCESSED: g_value_set_uint64(value, self->processed); break;
    case PROP_DROPPED: g_value_set_uint64(value, self->dropped); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec); break;
    }
    GST_OBJECT_UNLOCK(self);
}

static void finalize(GObject *object)
{
    GstSwinSegment *self = GST_SWIN_SEGMENT(object);
    g_free(self->wanted.model);
    g_free(self->now.model);
    G_OBJECT_CLASS(parent_class)->finalize(object);
}

static void gst_swin_segment_init(GstSwinSegment *self)
{
    self->wanted.opacity = 0.5;
}

static void install_properties(GObjectClass *class)
{
    const GParamFlags both = (GParamFlags)(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                           GST_PARAM_MUTABLE_PLAYING);
    const GParamFlags read = (GParamFlags)(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
    g_object_class_install_property(class, PROP_MODEL,
        g_param_spec_string("model", "Model", "A .swin file (null: what SWIN_MODEL names)", NULL,
                            both));
    g_object_class_install_property(class, PROP_OPACITY,
        g_param_spec_double("opacity", "Opacity", "Of the colours in the overlay", 0, 1, 0.5,
                            both));
    g_object_class_install_property(class, PROP_THREADS,
        g_param_spec_uint("threads", "Threads", "Threads that work on a frame (0: the processors "
                          "that this process may use)", 0, THREADS_MAX, 0, both));
    g_object_class_install_property(class, PROP_SIZE,
        g_param_spec_uint("size", "Size", "Longest side at which the network sees a frame (0: the "
                          "model's own rule)", 0, SWIN_MAX_SIDE, 0, both));
    g_object_class_install_property(class, PROP_OUTPUT,
        g_param_spec_enum("output", "Output", "What comes out", GST_TYPE_SWIN_SEGMENT_OUTPUT,
                          OUTPUT_OVERLAY, both));
    g_object_class_install_property(class, PROP_PROCESSED,
        g_param_spec_uint64("processed", "Processed", "Frames segmented since the start", 0,
                            G_MAXUINT64, 0, read));
    g_object_class_install_property(class, PROP_DROPPED,
        g_param_spec_uint64("dropped", "Dropped", "Frames dropped since the start because they "
                            "were late", 0, G_MAXUINT64, 0, read));
}

static void gst_swin_segment_class_init(GstSwinSegmentClass *class)
{
    static GstStaticPadTemplate sink =
        GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS,
                                GST_STATIC_CAPS(CAPS(FORMATS)));
    static GstStaticPadTemplate src =
        GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS,
                                GST_STATIC_CAPS(CAPS(FORMATS ", GRAY8")));
    GObjectClass *object = G_OBJECT_CLASS(class);
    GstElementClass *element = GST_ELEMENT_CLASS(class);
    GstBaseTransformClass *transform = GST_BASE_TRANSFORM_CLASS(class);
    GstVideoFilterClass *filter = GST_VIDEO_FILTER_CLASS(class);
    object->set_property = set_property;
    object->get_property = get_property;
    object->finalize = finalize;
    install_properties(object);
    gst_element_class_add_static_pad_template(element, &sink);
    gst_element_class_add_static_pad_template(element, &src);
    gst_element_class_set_static_metadata(element, "Semantic segmentation",
        "Filter/Analyzer/Video", "Tells for every pixel what it shows, by a Swin Transformer",
        "swin.h");
    element->change_state = change_state;
    transform->start = start;
    transform->stop = stop;
    transform->query = answer_query;
    transform->sink_event = sink_event;
    transform->transform_caps = transform_caps;
    transform->submit_input_buffer = submit_input_buffer;
    transform->prepare_output_buffer = prepare_output_buffer;
    filter->set_info = set_info;
    filter->transform_frame = transform_frame;
    filter->transform_frame_ip = transform_frame_ip;
    gst_type_mark_as_plugin_api(GST_TYPE_SWIN_SEGMENT_OUTPUT, (GstPluginAPIFlags)0);
    GST_DEBUG_CATEGORY_INIT(swin_segment_debug, "swinsegment", 0, "semantic segmentation");
}

static gboolean plugin_init(GstPlugin *plugin)
{
    return gst_element_register(plugin, "swinsegment", GST_RANK_NONE, GST_TYPE_SWIN_SEGMENT);
}

#define PACKAGE "swin.h"
#define VERSION G_STRINGIFY(SWIN_VERSION_MAJOR) "." G_STRINGIFY(SWIN_VERSION_MINOR) "."     \
                G_STRINGIFY(SWIN_VERSION_PATCH)
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, swin,
                  "Semantic segmentation by Swin Transformers", plugin_init, VERSION, "MIT/X11",
                  PACKAGE, PACKAGE)
