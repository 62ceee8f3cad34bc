/* swinsegment in a harness that plays both of its neighbours: strides, caps, events, properties,
   errors, states. tests/gst.py builds and runs it, under valgrind too.

   gst_element MODEL OTHER_MODEL: paths of two .swin files with a class for each pixel. */
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <string.h>

#include "report.h"

static const char *model_path, *other_path;

static const GstVideoFormat formats[] = {
    GST_VIDEO_FORMAT_RGB, GST_VIDEO_FORMAT_BGR, GST_VIDEO_FORMAT_RGBA, GST_VIDEO_FORMAT_BGRA,
    GST_VIDEO_FORMAT_RGBx, GST_VIDEO_FORMAT_BGRx, GST_VIDEO_FORMAT_NV12, GST_VIDEO_FORMAT_YUY2
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* -------------------------------------------------------------------------- */
/* frames                                                                     */

static GstVideoInfo info_of(GstVideoFormat format, unsigned width, unsigned height)
{
    GstVideoInfo info;
    gst_video_info_set_format(&info, format, width, height);
    GST_VIDEO_INFO_FPS_N(&info) = 25;
    GST_VIDEO_INFO_FPS_D(&info) = 1;
    return info;
}

/* Bytes of a plane's row that belong to the picture. */
static size_t row_bytes(const GstVideoInfo *info, unsigned plane)
{
    size_t width = (size_t)GST_VIDEO_INFO_WIDTH(info), even = width + width % 2;
    if (GST_VIDEO_INFO_FORMAT(info) == GST_VIDEO_FORMAT_NV12) return plane ? even : width;
    if (GST_VIDEO_INFO_FORMAT(info) == GST_VIDEO_FORMAT_YUY2) return 2 * even;
    return width * (size_t)GST_VIDEO_INFO_COMP_PSTRIDE(info, 0);
}

static int plane_rows(const GstVideoInfo *info, unsigned plane)
{
    int height = GST_VIDEO_INFO_HEIGHT(info);
    return plane ? (height + 1) / 2 : height;
}

static unsigned char *row_of(GstVideoFrame *f, unsigned plane, int y)
{
    return (unsigned char *)GST_VIDEO_FRAME_PLANE_DATA(f, plane) +
           (ptrdiff_t)y * GST_VIDEO_FRAME_PLANE_STRIDE(f, plane);
}

/* The value of a byte: smooth, and another picture for another seed. */
static unsigned char byte_at(unsigned seed, unsigned plane, int y, size_t x)
{
    return (unsigned char)(40 + (seed * 31 + plane * 57 + (unsigned)y / 5 * 37 +
                                 (unsigned)x / 11 * 23) % 170);
}

static void fill(GstBuffer *buffer, GstVideoInfo *info, unsigned seed)
{
    GstVideoFrame f;
    gst_video_frame_map(&f, info, buffer, GST_MAP_WRITE);
    for (unsigned plane = 0; plane < GST_VIDEO_INFO_N_PLANES(info); plane++)
        for (int y = 0; y < plane_rows(info, plane); y++)
            for (size_t x = 0; x < row_bytes(info, plane); x++)
                row_of(&f, plane, y)[x] = byte_at(seed, plane, y, x);
    gst_video_frame_unmap(&f);
}

static void stamp(GstBuffer *buffer, unsigned number)
{
    GST_BUFFER_PTS(buffer) = number * GST_SECOND / 25;
    GST_BUFFER_DURATION(buffer) = GST_SECOND / 25;
}

static GstBuffer *frame_new(GstVideoInfo *info, unsigned seed)
{
    GstBuffer *buffer = gst_buffer_new_allocate(NULL, GST_VIDEO_INFO_SIZE(info), NULL);
    gst_buffer_memset(buffer, 0, 0, GST_VIDEO_INFO_SIZE(info));
    fill(buffer, info, seed);
    stamp(buffer, seed);
    return buffer;
}

enum { MARGIN = 13, PADDING = 0xa5 };

/* The same picture with longer rows and a margin before and between the planes, and nothing behind
   the last row: a byte too many is one outside the memory. */
static GstBuffer *padded_frame_new(GstVideoInfo *info, unsigned seed)
{
    gsize offsets[GST_VIDEO_MAX_PLANES] = { 0 }, end = 0;
    gint strides[GST_VIDEO_MAX_PLANES] = { 0 };
    unsigned planes = GST_VIDEO_INFO_N_PLANES(info);
    for (unsigned plane = 0; plane < planes; plane++) {
        size_t bytes = row_bytes(info, plane);
        offsets[plane] = end + MARGIN;
        strides[plane] = (gint)bytes + MARGIN;
        end = offsets[plane] + (size_t)(plane_rows(info, plane) - 1) * (bytes + MARGIN) + bytes;
    }
    guint8 *memory = (guint8 *)g_malloc(end);
    memset(memory, PADDING, end);
    GstBuffer *buffer = gst_buffer_new_wrapped(memory, end);
    gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT(info),
                                   (unsigned)GST_VIDEO_INFO_WIDTH(info),
                                   (unsigned)GST_VIDEO_INFO_HEIGHT(info), planes, offsets, strides);
    fill(buffer, info, seed);
    stamp(buffer, seed);
    return buffer;
}

static int same_pictures(GstVideoInfo *info, GstBuffer *a, GstBuffer *b)
{
    GstVideoFrame fa, fb;
    int same = 1;
    if (!gst_video_frame_map(&fa, info, a, GST_MAP_READ)) return 0;
    if (!gst_video_frame_map(&fb, info, b, GST_MAP_READ)) same = 0;
    for (unsigned plane = 0; same && plane < GST_VIDEO_INFO_N_PLANES(info); plane++)
        for (int y = 0; y < plane_rows(info, plane); y++)
            same &= !memcmp(row_of(&fa, plane, y), row_of(&fb, plane, y), row_bytes(info, plane));
    gst_video_frame_unmap(&fa);
    gst_video_frame_unmap(&fb);
    return same;
}

/* Bytes of a buffer that have the value of the padding. */
static size_t count_padding(GstBuffer *buffer)
{
    GstMapInfo map;
    size_t count = 0;
    gst_buffer_map(buffer, &map, GST_MAP_READ);
    for (size_t i = 0; i < map.size; i++) count += map.data[i] == PADDING;
    gst_buffer_unmap(buffer, &map);
    return count;
}

/* -------------------------------------------------------------------------- */
/* the harness                                                                */

static GstHarness *harness_new(const char *properties)
{
    char *line = g_strdup_printf("swinsegment threads=2 model=\"%s\" %s", model_path, properties);
    GstHarness *h = gst_harness_new_parse(line);
    g_free(line);
    gst_harness_add_propose_allocation_meta(h, GST_VIDEO_META_API_TYPE, NULL);
    return h;
}

static void set_caps(GstHarness *h, GstVideoInfo *info)
{
    gst_harness_set_src_caps(h, gst_video_info_to_caps(info));
}

/* The element itself: parse_launch of one element puts it into no bin. */
static GstElement *element_of(GstHarness *h)
{
    GstElement *element = gst_harness_find_element(h, "swinsegment");
    gst_object_unref(element);          /* the harness keeps it */
    return element;
}

/* The picture that comes out for a frame with this seed, in a harness of its own. */
static GstBuffer *answer(const char *properties, GstVideoInfo *info, unsigned seed)
{
    GstHarness *h = harness_new(properties);
    set_caps(h, info);
    GstBuffer *out = gst_harness_push_and_pull(h, frame_new(info, seed));
    gst_harness_teardown(h);
    return out;
}

/* Does a frame with this seed come out as the picture wanted, which is given away? */
static int gives(GstHarness *h, GstVideoInfo *info, unsigned seed, GstBuffer *wanted,
                 GstVideoInfo *out_info)
{
    GstBuffer *out = gst_harness_push_and_pull(h, frame_new(info, seed));
    int same = same_pictures(out_info, out, wanted);
    gst_buffer_unref(out);
    gst_buffer_unref(wanted);
    return same;
}

static guint64 counted(GstHarness *h, const char *property)
{
    guint64 value;
    g_object_get(element_of(h), property, &value, NULL);
    return value;
}

/* The first message of this type that comes within a second, or NULL. */
static GstMessage *message_of(GstBus *bus, GstMessageType type)
{
    return gst_bus_timed_pop_filtered(bus, GST_SECOND, type);
}

/* Is there an error that holds this word? */
static int error_says(GstBus *bus, const char *word)
{
    GstMessage *message = message_of(bus, GST_MESSAGE_ERROR);
    GError *error = NULL;
    if (!message) return 0;
    gst_message_parse_error(message, &error, NULL);
    int found = strstr(error->message, word) != NULL;
    if (!found) printf("the error says: %s\n", error->message);
    g_error_free(error);
    gst_message_unref(message);
    return found;
}

static GstBus *bus_of(GstHarness *h)
{
    GstBus *bus = gst_bus_new();
    gst_element_set_bus(element_of(h), bus);
    return bus;
}

static void teardown(GstHarness *h, GstBus *bus)
{
    gst_element_set_bus(element_of(h), NULL);
    gst_object_unref(bus);
    gst_harness_teardown(h);
}

/* -------------------------------------------------------------------------- */
/* pictures                                                                   */

/* Rows of any length give the same picture, and nothing between them is touched. */
static void test_strides(const char *properties, GstVideoFormat format, unsigned w, unsigned h)
{
    char what[128];
    GstVideoInfo info = info_of(format, w, h), out_info = info;
    if (*properties) out_info = info_of(GST_VIDEO_FORMAT_GRAY8, w, h);
    GstHarness *harness = harness_new(properties);
    set_caps(harness, &info);
    GstBuffer *plain = gst_harness_push_and_pull(harness, frame_new(&info, 3));
    GstBuffer *in = padded_frame_new(&info, 3);
    size_t padding = count_padding(in);
    GstBuffer *padded = gst_harness_push_and_pull(harness, in);
    int ok = same_pictures(&out_info, plain, padded);
    if (!*properties) ok &= count_padding(padded) >= padding - (padding - MARGIN) % MARGIN;
    snprintf(what, sizeof what, "strides: %s %u x %u %s", gst_video_format_to_string(format), w, h,
             properties);
    report(what, ok);
    gst_buffer_unref(plain);
    gst_buffer_unref(padded);
    gst_harness_teardown(harness);
}

static void test_all_strides(void)
{
    static const unsigned sizes[][2] = { { 46, 34 }, { 45, 33 }, { 1, 1 }, { 3, 2 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int k = 0; k < FORMATS; k++) {
            test_strides("", formats[k], sizes[i][0], sizes[i][1]);
            test_strides("output=ids", formats[k], sizes[i][0], sizes[i][1]);
        }
}

/* Whoever else holds the buffer that came keeps it as it was. */
static void test_shared_buffer(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_NV12, 46, 34);
    GstHarness *h = harness_new("");
    GstBuffer *kept = frame_new(&info, 1), *as_it_was = frame_new(&info, 1);
    set_caps(h, &info);
    GstBuffer *out = gst_harness_push_and_pull(h, gst_buffer_ref(kept));
    report("a shared buffer is left alone", same_pictures(&info, kept, as_it_was));
    report("the overlay is in another", out != kept && !same_pictures(&info, out, kept));
    gst_buffer_unref(out);
    gst_buffer_unref(kept);
    gst_buffer_unref(as_it_was);
    gst_harness_teardown(h);
}

/* -------------------------------------------------------------------------- */
/* caps and events                                                            */

static void test_caps_changes(void)
{
    static const unsigned sizes[][2] = { { 46, 34 }, { 21, 55 }, { 46, 34 } };
    GstHarness *h = harness_new("");
    int ok = 1;
    for (unsigned n = 0; n < 3 * FORMATS; n++) {
        GstVideoInfo info = info_of(formats[n % FORMATS], sizes[n / FORMATS][0],
                                    sizes[n / FORMATS][1]);
        set_caps(h, &info);
        ok &= gives(h, &info, n, answer("", &info, n), &info);
    }
    report("caps change in mid-stream", ok && counted(h, "processed") == 3 * FORMATS);
    gst_harness_teardown(h);
}

/* The caps of ids differ in their format, and say nothing of colours. */
static void test_caps_of_ids(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_NV12, 46, 34);
    GstHarness *h = harness_new("output=ids");
    set_caps(h, &info);
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 0)));
    GstCaps *in = gst_video_info_to_caps(&info), *out = gst_pad_get_current_caps(h->sinkpad);
    GstStructure *s = gst_caps_get_structure(in, 0);
    gst_structure_set(s, "format", G_TYPE_STRING, "GRAY8", NULL);
    report("frames of NV12 have colours", gst_structure_has_field(s, "colorimetry"));
    gst_structure_remove_fields(s, "colorimetry", "chroma-site", NULL);
    report("ids have none, and all the rest", gst_caps_is_equal(in, out));
    gst_caps_unref(in);
    gst_caps_unref(out);
    gst_harness_teardown(h);
}

static void test_end(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_RGB, 46, 34);
    GstHarness *h = harness_new("");
    set_caps(h, &info);
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 0)));
    int ok = gst_harness_push_event(h, gst_event_new_eos());
    GstEvent *event;
    for (int ended = 0; !ended && ok; gst_event_unref(event)) {
        event = gst_harness_pull_event(h);
        ended = GST_EVENT_TYPE(event) == GST_EVENT_EOS;
    }
    report("the end is passed on", ok);
    report("no frame comes after it",
           gst_harness_push(h, frame_new(&info, 1)) == GST_FLOW_EOS);
    gst_harness_teardown(h);
}

static void send_segment(GstHarness *h)
{
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    gst_harness_push_event(h, gst_event_new_segment(&segment));
}

static void test_flush(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_YUY2, 46, 34);
    GstHarness *h = harness_new("");
    set_caps(h, &info);
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 0)));
    gst_harness_push_event(h, gst_event_new_flush_start());
    report("no frame is taken between flushes",
           gst_harness_push(h, frame_new(&info, 1)) == GST_FLOW_FLUSHING);
    gst_harness_push_event(h, gst_event_new_flush_stop(TRUE));
    send_segment(h);
    report("frames come after a flush", gives(h, &info, 2, answer("", &info, 2), &info));
    gst_harness_teardown(h);
}

/* A sink that is three frames late says so: what is to be shown until then is dropped. */
static void test_qos(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_RGB, 46, 34);
    GstHarness *h = harness_new("");
    GstBus *bus = bus_of(h);
    GstFormat format = GST_FORMAT_UNDEFINED;
    guint64 processed = 0, dropped = 0;
    set_caps(h, &info);
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 0)));
    gst_harness_push_upstream_event(h, gst_event_new_qos(GST_QOS_TYPE_UNDERFLOW, 2.0,
                                                         3 * GST_SECOND / 25, GST_SECOND / 25));
    for (unsigned n = 1; n <= 4; n++) gst_harness_push(h, frame_new(&info, n));
    report("late frames are dropped", counted(h, "dropped") == 4 && counted(h, "processed") == 1);
    GstMessage *message = message_of(bus, GST_MESSAGE_QOS);
    if (message) gst_message_parse_qos_stats(message, &format, &processed, &dropped);
    report("a message counts them", format == GST_FORMAT_BUFFERS && processed == 1 && dropped == 1);
    if (message) gst_message_unref(message);
    GstBuffer *out = gst_harness_push_and_pull(h, frame_new(&info, 20));
    report("later ones are not, and the first is marked",
           GST_BUFFER_IS_DISCONT(out) && counted(h, "processed") == 2);
    gst_buffer_unref(out);
    g_object_set(element_of(h), "qos", FALSE, NULL);
    gst_harness_push_upstream_event(h, gst_event_new_qos(GST_QOS_TYPE_UNDERFLOW, 2.0, GST_SECOND,
                                                         GST_SECOND));
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 21)));
    report("qos=false drops nothing", counted(h, "dropped") == 4);
    teardown(h, bus);
}

/* A live pipeline is told to wait as long as a frame takes. */
static void test_latency(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_RGB, 46, 34);
    GstHarness *h = harness_new("");
    GstBus *bus = bus_of(h);
    set_caps(h, &info);
    GstClockTime before = gst_harness_query_latency(h);
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 0)));
    GstMessage *message = message_of(bus, GST_MESSAGE_LATENCY);
    report("latency is measured", before == 0 && message && gst_harness_query_latency(h) > 0);
    if (message) gst_message_unref(message);
    teardown(h, bus);
}

/* -------------------------------------------------------------------------- */
/* properties in mid-stream                                                   */

/* Threads of this process. */
static int count_threads(void)
{
    int count = 0;
    GDir *folder = g_dir_open("/proc/self/task", 0, NULL);
    while (folder && g_dir_read_name(folder)) count++;
    if (folder) g_dir_close(folder);
    return count;
}

static void test_threads(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_RGB, 46, 34);
    GstHarness *h = harness_new("");
    set_caps(h, &info);
    g_object_set(element_of(h), "threads", 9u, NULL);
    int ok = gives(h, &info, 0, answer("", &info, 0), &info), many = count_threads();
    g_object_set(element_of(h), "threads", 1u, NULL);
    ok &= gives(h, &info, 1, answer("", &info, 1), &info);
    report("threads are as many as asked for", ok && many - count_threads() == 8);
    gst_harness_teardown(h);
}

static void test_properties(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_NV12, 45, 33);
    GstVideoInfo grey = info_of(GST_VIDEO_FORMAT_GRAY8, 45, 33);
    GstHarness *h = harness_new("opacity=1");
    GstElement *e = element_of(h);
    char *other = g_strdup_printf("model=\"%s\"", other_path);
    set_caps(h, &info);
    report("opacity 1", gives(h, &info, 1, answer("opacity=1", &info, 1), &info));
    g_object_set(e, "opacity", 0.0, NULL);
    report("opacity 0", gives(h, &info, 2, frame_new(&info, 2), &info));
    g_object_set(e, "opacity", 0.5, "threads", 1u, NULL);
    report("threads", gives(h, &info, 3, answer("", &info, 3), &info));
    g_object_set(e, "size", 90u, NULL);
    report("size", gives(h, &info, 4, answer("size=90", &info, 4), &info));
    g_object_set(e, "size", 0u, "model", other_path, NULL);
    report("another model", gives(h, &info, 5, answer(other, &info, 5), &info));
    g_object_set(e, "model", model_path, "threads", 2u, NULL);
    report("and back", gives(h, &info, 6, answer("", &info, 6), &info));
    gst_util_set_object_arg(G_OBJECT(e), "output", "ids");
    report("ids", gives(h, &info, 7, answer("output=ids", &info, 7), &grey));
    gst_util_set_object_arg(G_OBJECT(e), "output", "overlay");
    report("an overlay again", gives(h, &info, 8, answer("", &info, 8), &info));
    g_free(other);
    gst_harness_teardown(h);
}

/* -------------------------------------------------------------------------- */
/* errors                                                                     */

static void test_missing_model_in_midstream(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_RGB, 46, 34);
    GstHarness *h = harness_new("");
    GstBus *bus = bus_of(h);
    set_caps(h, &info);
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 0)));
    g_object_set(element_of(h), "model", "no-such.swin", NULL);
    for (int i = 0; i < 2; i++)
        report("a model that is not there ends the stream",
               gst_harness_push(h, frame_new(&info, 1)) == GST_FLOW_ERROR &&
               error_says(bus, "no-such.swin"));
    g_object_set(element_of(h), "model", model_path, NULL);
    report("one that is there mends it",
           gives(h, &info, 2, answer("", &info, 2), &info));
    teardown(h, bus);
}

static void test_short_frame(const char *properties)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_NV12, 46, 34);
    GstHarness *h = harness_new(properties);
    GstBus *bus = bus_of(h);
    set_caps(h, &info);
    GstBuffer *frame = frame_new(&info, 0);
    gst_buffer_set_size(frame, (gssize)GST_VIDEO_INFO_SIZE(&info) - 1);
    report("a frame that is too short is an error",
           gst_harness_push(h, frame) == GST_FLOW_ERROR && error_says(bus, "NV12 of 46 x 34"));
    teardown(h, bus);
}

static void test_unknown_matrix(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_NV12, 46, 34);
    GstHarness *h = harness_new("");
    GstBus *bus = bus_of(h);
    info.colorimetry.matrix = GST_VIDEO_COLOR_MATRIX_BT2020;
    set_caps(h, &info);
    gst_buffer_unref(gst_harness_push_and_pull(h, frame_new(&info, 0)));
    GstMessage *message = message_of(bus, GST_MESSAGE_WARNING);
    report("a matrix that is not known is told", message != NULL);
    if (message) gst_message_unref(message);
    teardown(h, bus);
}

/* -------------------------------------------------------------------------- */
/* states                                                                     */

static GstPadProbeReturn frame_came(GstPad *pad, GstPadProbeInfo *probe, gpointer came)
{
    (void)pad;
    (void)probe;
    g_atomic_int_set((gint *)came, 1);
    return GST_PAD_PROBE_OK;
}

/* A pipeline that is stopped or flushed does not wait for the frame at work. */
static void test_cancel(int flush)
{
    char *line = g_strdup_printf("videotestsrc ! video/x-raw, format=RGB, width=640, height=480 ! "
                                 "swinsegment name=s size=4000 threads=1 model=\"%s\" ! fakesink",
                                 model_path);
    GstElement *pipeline = gst_parse_launch(line, NULL);
    GstElement *element = gst_bin_get_by_name(GST_BIN(pipeline), "s");
    GstPad *pad = gst_element_get_static_pad(element, "sink");
    gint came = 0;
    guint64 processed;
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, frame_came, &came, NULL);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    while (!g_atomic_int_get(&came)) g_usleep(1000);
    g_usleep(20000);
    if (flush) {
        gst_pad_send_event(pad, gst_event_new_flush_start());
        GST_PAD_STREAM_LOCK(pad);           /* held as long as a frame is at work */
        GST_PAD_STREAM_UNLOCK(pad);
    } else gst_element_set_state(pipeline, GST_STATE_NULL);
    g_object_get(element, "processed", &processed, NULL);
    report(flush ? "a flush cancels the frame at work" : "a stop cancels it", processed == 0);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pad);
    gst_object_unref(element);
    gst_object_unref(pipeline);
    g_free(line);
}

static void test_restart(void)
{
    GstVideoInfo info = info_of(GST_VIDEO_FORMAT_BGRx, 46, 34);
    GstHarness *h = harness_new("");
    for (unsigned i = 0; i < 3; i++) {
        set_caps(h, &info);
        report("from the start again", gives(h, &info, i, answer("", &info, i), &info));
        gst_element_set_state(element_of(h), GST_STATE_NULL);
        gst_harness_play(h);
        send_segment(h);
    }
    gst_harness_teardown(h);
}

/* After a seek the frame of that time is shown. */
static void test_seek(void)
{
    char *line = g_strdup_printf("videotestsrc num-buffers=1000 ! video/x-raw, width=46, height=34,"
                                 " framerate=25/1 ! swinsegment threads=1 model=\"%s\" ! "
                                 "fakesink name=sink enable-last-sample=true", model_path);
    GstElement *pipeline = gst_parse_launch(line, NULL);
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    int ok = 1;
    gst_element_set_state(pipeline, GST_STATE_PAUSED);
    for (GstClockTime at = 0; at < 4; at++) {
        GstClockTime wanted = (7 * at % 5) * GST_SECOND;
        GstSample *sample = NULL;
        gst_element_seek_simple(pipeline, GST_FORMAT_TIME,
                                (GstSeekFlags)(GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE),
                                (gint64)wanted);
        gst_element_get_state(pipeline, NULL, NULL, 20 * GST_SECOND);
        g_object_get(sink, "last-sample", &sample, NULL);
        ok &= sample && GST_BUFFER_PTS(gst_sample_get_buffer(sample)) == wanted;
        if (sample) gst_sample_unref(sample);
    }
    report("a pipeline seeks", ok);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
    g_free(line);
}

int main(int argc, char **argv)
{
    gst_init(&argc, &argv);
    if (argc != 3) return puts("usage: gst_element MODEL OTHER_MODEL"), 2;
    model_path = argv[1];
    other_path = argv[2];
    test_all_strides();
    test_shared_buffer();
    test_caps_changes();
    test_caps_of_ids();
    test_end();
    test_flush();
    test_qos();
    test_latency();
    test_properties();
    test_threads();
    test_missing_model_in_midstream();
    test_short_frame("");
    test_short_frame("output=ids");
    test_unknown_matrix();
    test_restart();
    test_seek();
    test_cancel(1);
    test_cancel(0);
    printf("%d passed, %d failed\n", passed, failed);
    gst_deinit();
    return failed > 0;
}
