/* stream.c - frames in, a line of JSON a frame out: the eyes of a robot

   cc -std=c99 -O2 examples/stream.c -o stream -lm -lpthread        (stb: Debian's libstb-dev)

   A thread reads frames from a camera (V4L2), a folder or standard input; the main thread segments
   the newest one. Cameras' YUYV and NV12 go to swin.h as they lie in the driver's memory. All
   memory is there before the first frame, but for what decodes a folder's pictures. */
#define SWIN_IMPLEMENTATION
#define COMMON_FOLDERS
#define COMMON_PICTURES
#include "common.h"

#include <getopt.h>
#include <poll.h>
#ifdef __linux__
#include <linux/videodev2.h>
#include <sys/ioctl.h>
#endif

static const char usage[] =
    "usage: stream [-m MODEL] [options] [INPUT]\n"
    "\n"
    "Segments the frames of a camera (/dev/video0), of a folder of pictures, or of\n"
    "standard input (-, the default): YUV4MPEG2, or raw with --frame-size. Each frame\n"
    "gives a line of JSON. The newest frame is taken; those that came while another\n"
    "one was at work are dropped and counted, but for those of a folder.\n"
    "\n"
    "  -m, --model MODEL   a .swin file. Default: $SWIN_MODEL\n"
    "what comes in:\n"
    "      --frame-size WxH\n"
    "                      of raw frames; of a camera: what it is asked for\n"
    "      --format NAME   of raw frames: rgb24 (the default), bgr24, rgba, bgra,\n"
    "                      gray, yuyv422 or nv12; of a camera: the last two\n"
    "      --color NAME    how Y, U and V are meant: bt601, bt601-full, bt709 or\n"
    "                      bt709-full (what the input says, else bt601)\n"
    "      --all           drop nothing: the input waits\n"
    "      --frames N      stop after N\n"
    "what goes out, each to OUT: a file or named pipe, the number of an open\n"
    "descriptor such as 3, or - for standard output:\n"
    "      --json OUT      the lines (-, unless another option takes that)\n"
    "      --ids OUT       class maps, a byte a pixel, or two for a model of more\n"
    "                      than 256 classes\n"
    "      --overlay OUT   frames blended with the classes' colours, raw rgb24\n"
    "      --free CLASS,...\n"
    "                      the lines tell for each column how many pixels from the\n"
    "                      bottom up are of these classes; the overlay shows their\n"
    "                      last one white\n"
    "how:\n"
    "      --smooth F      of what earlier frames said, 0 to 0.99, goes into the next\n"
    "                      one: less flicker, more lag (0)\n"
    "      --opacity F     of the colours in the overlay, 0 to 1 (0.5)\n"
    "      --size N        longest side at which the network sees a frame (the\n"
    "                      model's own rule)\n"
    "      --threads N     (the processors that it may use)\n"
    "      --cpu NAME      the instruction set (the best there is): scalar, avx2,\n"
    "                      avx2_vnni, avx512, avx512_vnni, avx512_amx (taken\n"
    "                      only if asked for), neon, neon_dot or neon_i8mm\n"
    "      --realtime      lock memory, bind each thread to a processor, ask for\n"
    "                      real-time scheduling; says what it got\n"
    "  -h, --help          this text\n"
    "      --version\n"
    "\n"
    "Exit status: 0 the input ended or a signal came, 1 it failed or a result could\n"
    "not be written, 2 usage, 3 the model could not be used.\n";

enum { DONE, FAILED, USAGE, MODEL };
enum { JSON, IDS, OVERLAY, OUTPUTS };
static const char *const output_options[OUTPUTS] = { "--json", "--ids", "--overlay" };

/* The names are ffmpeg's. */
static const struct { const char *name; swin_format format; } formats[] = {
    { "rgb24", SWIN_RGB8 }, { "bgr24", SWIN_BGR8 }, { "rgba", SWIN_RGBA8 }, { "bgra", SWIN_BGRA8 },
    { "gray", SWIN_GREY8 }, { "yuyv422", SWIN_YUYV }, { "nv12", SWIN_NV12 }
};
static const char *const colors[] = { "bt601", "bt601-full", "bt709", "bt709-full" };

typedef struct options {
    const char *model, *input, *free_classes;
    const char *out[OUTPUTS];
    int width, height;          /* 0: not given */
    int format, color;          /* -1: not given */
    int all, frames, size, threads, realtime;
    double smooth, opacity;
    swin_cpu cpu;
} options;

static int fail(int status, const char *what, const char *why)
{
    fprintf(stderr, "stream: %s: %s\n", what, why);
    return status;
}

/* -------------------------------------------------------------------------- */
/* signals: SIGINT, SIGTERM and SIGHUP end the program after what is at work  */

static volatile sig_atomic_t stopping;
static int stop_pipe[2];                /* readable from the first signal on */
static swin_context *at_work;           /* what a signal cancels; set before the first frame */

static void stop(int number)
{
    int before = errno;
    (void)number;
    stopping = 1;
    if (at_work) swin_cancel(at_work);
    (void)!write(stop_pipe[1], "", 1);
    errno = before;
}

static const int stop_signals[] = { SIGINT, SIGTERM, SIGHUP };
enum { STOP_SIGNALS = sizeof stop_signals / sizeof *stop_signals };

/* Whoever ignores a signal (nohup) goes on ignoring it. Calls of the system that wait are
   interrupted. */
static void catch_signals(void)
{
    for (int i = 0; i < STOP_SIGNALS; i++) {
        struct sigaction act, before;
        memset(&act, 0, sizeof act);
        act.sa_handler = stop;
        if (!sigaction(stop_signals[i], NULL, &before) && before.sa_handler != SIG_IGN)
            sigaction(stop_signals[i], &act, NULL);
    }
}

/* Signals come to the main thread alone: threads that are started while they are held back never
   get them. */
static void hold_signals(int hold)
{
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < STOP_SIGNALS; i++) sigaddset(&set, stop_signals[i]);
    pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* Waits until there is something to read; 0: a signal came first. */
static int wait_for(int fd)
{
    struct pollfd fds[2] = { { fd, POLLIN, 0 }, { stop_pipe[0], POLLIN, 0 } };
    while (poll(fds, 2, -1) < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    return !fds[1].revents;
}

/* -------------------------------------------------------------------------- */
/* frames, and where they come from                                           */

enum { SLOTS = 4 };             /* one is read, one is the newest, one is at work; a camera has one
                                   more on the way */

typedef struct frame {
    swin_image image;
    double captured;            /* seconds() */
    void *memory;               /* of a camera: mapped */
    size_t size;                /* of the memory */
} frame;

typedef struct source source;
struct source {
    const char *name;
    frame slots[SLOTS];
    int count;                  /* of slots */
    /* Fills the slot that is given, which nobody else uses, or one that the driver chooses. Its
       index, or -1: the end, an error if `why` is set. */
    int (*read)(source *s, int slot);
    void (*give_back)(source *s, int slot);     /* to a driver; NULL: there is none */
    char why[256];
    int skipped;                /* pictures of a folder that could not be used */
    long long at;               /* frames read */
    /* standard input */
    unsigned char *packed;      /* a frame as YUV4MPEG2 has it */
    size_t packed_size;
    unsigned char buffer[1 << 16];
    size_t next, end;           /* what is in the buffer */
    char header[1024];          /* YUV4MPEG2's first line */
    /* a folder */
    char **names;
    int name_count;
    /* a camera */
    int fd;
};

static int source_fails(source *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(s->why, sizeof s->why, format, args);
    va_end(args);
    return 0;
}

/* Bytes of a frame whose rows follow each other. */
static size_t frame_bytes(const swin_image *in)
{
    static const int bytes[] = { 3, 3, 4, 4, 1 };
    size_t w = (size_t)in->width, h = (size_t)in->height, even = w + w % 2;
    if (in->format == SWIN_YUYV) return 2 * even * h;
    if (in->format == SWIN_NV12) return w * h + even * ((h + 1) / 2);
    return (size_t)bytes[in->format] * w * h;
}

/* Memory for frames like this one. */
static int make_slots(source *s, swin_image image)
{
    s->count = SLOTS;
    for (int i = 0; i < SLOTS; i++) {
        frame *f = &s->slots[i];
        f->size = frame_bytes(&image);
        f->memory = bytes_new(f->size);
        if (!f->memory) return source_fails(s, "no memory for frames of %zu bytes", f->size);
        f->image = image;
        f->image.data = f->memory;
        if (image.format == SWIN_NV12) {
            f->image.chroma = (unsigned char *)f->memory +
                              (size_t)image.width * (size_t)image.height;
            f->image.chroma_stride = image.width + image.width % 2;
        }
    }
    return 1;
}

/* --- standard input --------------------------------------------------------------------------- */

/* Reads at most `size` bytes; 0: the end, an error or a signal. */
static size_t read_some(source *s, void *to, size_t size)
{
    if (!wait_for(0)) return 0;
    ssize_t n = read(0, to, size);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return read_some(s, to, size);
    if (n < 0) source_fails(s, "%s", strerror(errno));
    return n < 0 ? 0 : (size_t)n;
}

/* Reads `size` bytes; returns how many there were. */
static size_t read_bytes(source *s, unsigned char *to, size_t size)
{
    size_t done = s->end - s->next < size ? s->end - s->next : size, more = 1;
    memcpy(to, s->buffer + s->next, done);
    s->next += done;
    while (done < size && (more = read_some(s, to + done, size - done)) > 0) done += more;
    return done;
}

/* Reads a line without its end; -1: the input ended or the line is too long, 0: it had ended
   before. */
static int read_line(source *s, char *line, size_t room)
{
    for (size_t n = 0; n < room; n++) {
        if (s->next == s->end) {
            s->next = 0;
            s->end = read_some(s, s->buffer, sizeof s->buffer);
            if (!s->end) return n ? -1 : 0;
        }
        line[n] = (char)s->buffer[s->next++];
        if (line[n] != '\n') continue;
        line[n] = 0;
        return 1;
    }
    return -1;
}

/* Did a frame come whole? Between frames the input may end. */
static int frame_came(source *s, size_t size, size_t wanted, int begun)
{
    if (size == wanted) return 1;
    if ((size || begun) && !stopping && !*s->why)
        source_fails(s, "ended in the middle of frame %lld, after %zu of its %zu bytes", s->at,
                     size, wanted);
    return 0;
}

static int finish_frame(source *s, int slot)
{
    s->slots[slot].captured = seconds();
    s->at++;
    return slot;
}

static int read_raw(source *s, int slot)
{
    frame *f = &s->slots[slot];
    size_t size = read_bytes(s, (unsigned char *)f->memory, f->size);
    return frame_came(s, size, f->size, 0) ? finish_frame(s, slot) : -1;
}

/* What follows a key in the header, "" where it is not there. YUV4MPEG2 separates its fields by
   spaces. */
static const char *y4m_field(const char *header, const char *key)
{
    static const char none[] = "";
    size_t length = strlen(key);
    for (const char *at = strchr(header, ' '); at; at = strchr(at + 1, ' '))
        if (!strncmp(at + 1, key, length)) return at + 1 + length;
    return none;
}

static int y4m_side(const char *text)
{
    char digits[8];
    size_t length = strcspn(text, " ");
    if (length >= sizeof digits) return 0;
    memcpy(digits, text, length);
    digits[length] = 0;
    return number(digits, 1, SWIN_MAX_SIDE);
}

static int same_field(const char *text, const char *value)
{
    size_t length = strlen(value);
    return !strncmp(text, value, length) && (!text[length] || text[length] == ' ');
}

/* The size and format of a YUV4MPEG2 header; 0 with a sentence where it is none that can be
   read. */
static int y4m_parse(source *s, const char *header, swin_image *image)
{
    static const char *const halves[] = { "420", "420jpeg", "420mpeg2", "420paldv" };
    const char *chroma = y4m_field(header, "C");
    int known = !*chroma;
    memset(image, 0, sizeof *image);
    if (strncmp(header, "YUV4MPEG2 ", 10))
        return source_fails(s, "is no YUV4MPEG2: for raw frames give --frame-size");
    image->width = y4m_side(y4m_field(header, "W"));
    image->height = y4m_side(y4m_field(header, "H"));
    if (image->width < 1 || image->height < 1)
        return source_fails(s, "its header has no width and height from 1 to %d", SWIN_MAX_SIDE);
    image->format = SWIN_NV12;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
        known |= same_field(chroma, halves[i]);
    if (same_field(chroma, "422")) image->format = SWIN_YUYV, known = 1;
    if (same_field(chroma, "mono")) image->format = SWIN_GREY8, known = 1;
    if (!known)
        return source_fails(s, "frames of C%.*s cannot be read, C420, C422 and Cmono can: try "
                            "ffmpeg -pix_fmt yuv420p", (int)strcspn(chroma, " "), chroma);
    if (same_field(y4m_field(header, "XCOLORRANGE="), "FULL"))
        image->yuv = SWIN_YUV_601_FULL;
    return 1;
}

/* The planes of 4:2:0 become NV12, those of 4:2:2 YUYV. */
static void y4m_pack(const unsigned char *planes, const swin_image *to, unsigned char *data)
{
    size_t w = (size_t)to->width, h = (size_t)to->height, pairs = (w + 1) / 2;
    size_t rows = to->format == SWIN_NV12 ? (h + 1) / 2 : h;
    const unsigned char *u = planes + w * h, *v = u + pairs * rows;
    if (to->format == SWIN_NV12) {
        memcpy(data, planes, w * h);
        data += w * h;
        for (size_t i = 0; i < pairs * rows; i++, data += 2) data[0] = u[i], data[1] = v[i];
        return;
    }
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < pairs; x++, data += 4, u++, v++) {
            data[0] = planes[y * w + 2 * x];
            data[1] = *u;
            data[2] = planes[y * w + (2 * x + 1 < w ? 2 * x + 1 : 2 * x)];
            data[3] = *v;
        }
}

/* Another header where a frame should be, as of files put one behind the other. */
static int y4m_again(source *s, const char *line)
{
    const swin_image *first = &s->slots[0].image;
    swin_image image;
    if (!y4m_parse(s, line, &image)) return 0;
    if (image.width != first->width || image.height != first->height ||
        image.format != first->format)
        return source_fails(s, "after %lld frames of %d x %d pixels come others of %d x %d, or of "
                            "another format: start again for these", s->at, first->width,
                            first->height, image.width, image.height);
    return 1;
}

static int read_y4m(source *s, int slot)
{
    char line[sizeof s->header];
    int there;
    frame *f = &s->slots[slot];
    while ((there = read_line(s, line, sizeof line)) > 0 && !strncmp(line, "YUV4MPEG2", 9))
        if (!y4m_again(s, line)) return -1;
    if (!there || stopping || *s->why) return -1;
    if (there < 0 || strncmp(line, "FRAME", 5) || (line[5] && line[5] != ' ')) {
        source_fails(s, "after frame %lld something else than a frame of YUV4MPEG2 comes", s->at);
        return -1;
    }
    int grey = f->image.format == SWIN_GREY8;
    unsigned char *to = grey ? (unsigned char *)f->memory : s->packed;
    size_t size = read_bytes(s, to, s->packed_size);
    if (!frame_came(s, size, s->packed_size, 1)) return -1;
    if (!grey) y4m_pack(s->packed, &f->image, (unsigned char *)f->memory);
    return finish_frame(s, slot);
}

static int open_y4m(source *s)
{
    swin_image image;
    int there = read_line(s, s->header, sizeof s->header);
    if (!there && !*s->why) return source_fails(s, "is empty");
    if (there < 0) return source_fails(s, "is no YUV4MPEG2: for raw frames give --frame-size");
    if (!there || !y4m_parse(s, s->header, &image) || !make_slots(s, image)) return 0;
    size_t w = (size_t)image.width, h = (size_t)image.height, pairs = (w + 1) / 2;
    s->packed_size = w * h + (image.format == SWIN_GREY8 ? 0 : image.format == SWIN_NV12 ?
                              2 * pairs * ((h + 1) / 2) : 2 * pairs * h);
    s->packed = (unsigned char *)bytes_new(s->packed_size);
    s->read = read_y4m;
    return s->packed ? 1 : source_fails(s, "no memory for frames of %zu bytes", s->packed_size);
}

static int open_standard(source *s, const options *o)
{
    swin_image image;
    s->name = "standard input";
    if (!o->width)
        return o->format < 0 ? open_y4m(s) : source_fails(s, "--format needs --frame-size");
    memset(&image, 0, sizeof image);
    image.width = o->width;
    image.height = o->height;
    image.format = o->format < 0 ? SWIN_RGB8 : (swin_format)o->format;
    s->read = read_raw;
    return make_slots(s, image);
}

/* --- a folder --------------------------------------------------------------------------------- */

/* Tells that a picture is left out. */
static void skip_picture(source *s, const char *path, const char *why)
{
    fail(FAILED, path, why);
    s->skipped++;
}

static int picture_fits(source *s, const picture *p, const char *path)
{
    const swin_image *image = &s->slots[0].image;
    char why[128];
    if (p->width == image->width && p->height == image->height) return 1;
    snprintf(why, sizeof why, "is left out: it has %d x %d pixels, the first picture %d x %d",
             p->width, p->height, image->width, image->height);
    skip_picture(s, path, why);
    return 0;
}

static int read_folder(source *s, int slot)
{
    while (s->at < s->name_count && !stopping) {
        const char *path = s->names[s->at++];
        char why[256];
        picture p;
        if (!picture_read(&p, path, why)) {
            skip_picture(s, path, why);
            continue;
        }
        int fits = picture_fits(s, &p, path);
        if (fits) memcpy(s->slots[slot].memory, p.rgb, s->slots[slot].size);
        free(p.rgb);
        if (!fits) continue;
        s->slots[slot].captured = seconds();
        return slot;
    }
    return -1;
}

/* The first picture that can be read gives the size. */
static int open_folder(source *s)
{
    int error = folder_list(s->name, &s->names, &s->name_count);
    if (error) return source_fails(s, "%s", strerror(error));
    if (!s->name_count) return source_fails(s, "there is no picture in this folder");
    s->read = read_folder;
    for (; s->at < s->name_count; s->at++) {
        char why[256];
        swin_image image;
        picture p;
        memset(&image, 0, sizeof image);
        if (!picture_read(&p, s->names[s->at], why)) {
            skip_picture(s, s->names[s->at], why);
            continue;
        }
        image.width = p.width;
        image.height = p.height;
        free(p.rgb);
        return make_slots(s, image);
    }
    return source_fails(s, "none of its files is a picture that can be read");
}

/* --- a camera --------------------------------------------------------------------------------- */

#ifdef __linux__
static int camera_call(int fd, unsigned long request, void *argument)
{
    int result;
    do result = ioctl(fd, request, argument); while (result < 0 && errno == EINTR);
    return result;
}

static struct v4l2_buffer camera_buffer(int slot)
{
    struct v4l2_buffer b;
    memset(&b, 0, sizeof b);
    b.index = (unsigned)slot;
    b.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    b.memory = V4L2_MEMORY_MMAP;
    return b;
}

static void camera_give_back(source *s, int slot)
{
    struct v4l2_buffer b = camera_buffer(slot);
    camera_call(s->fd, VIDIOC_QBUF, &b);        /* of a camera that is gone the next read tells */
}

/* When the driver says that a frame was taken, or now where it does not say so on seconds()' clock.
   */
static double camera_time(const struct v4l2_buffer *b)
{
    if ((b->flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) != V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC)
        return seconds();
    return (double)b->timestamp.tv_sec + 1e-6 * (double)b->timestamp.tv_usec;
}

static int camera_read(source *s, int unused)
{
    (void)unused;
    struct v4l2_buffer b = camera_buffer(0);
    for (;;) {
        if (!wait_for(s->fd)) return -1;
        if (camera_call(s->fd, VIDIOC_DQBUF, &b)) {
            if (errno == EAGAIN) continue;
            source_fails(s, "the camera gives no more frames after %lld: %s", s->at,
                         strerror(errno));
            return -1;
        }
        int slot = (int)b.index;
        s->at++;
        if (!(b.flags & V4L2_BUF_FLAG_ERROR) && b.bytesused + 4 >= s->slots[slot].size / 2) {
            s->slots[slot].captured = camera_time(&b);
            return slot;
        }
        camera_give_back(s, slot);      /* a damaged frame */
    }
}

/* What the driver's colours are; most say nothing, and mean BT.601 of a limited range. */
static swin_yuv camera_colors(const struct v4l2_pix_format *pix)
{
    int full = pix->quantization == V4L2_QUANTIZATION_FULL_RANGE ||
               (!pix->quantization && pix->colorspace == V4L2_COLORSPACE_JPEG);
    int hd = pix->ycbcr_enc == V4L2_YCBCR_ENC_709 ||
             (!pix->ycbcr_enc && pix->colorspace == V4L2_COLORSPACE_REC709);
    return hd ? (full ? SWIN_YUV_709_FULL : SWIN_YUV_709)
              : (full ? SWIN_YUV_601_FULL : SWIN_YUV_601);
}

/* Asks for one of the two formats; the driver answers with what it gives. */
static int camera_format(source *s, const options *o, swin_image *image)
{
    static const struct { unsigned fourcc; swin_format format; } known[] = {
        { V4L2_PIX_FMT_YUYV, SWIN_YUYV }, { V4L2_PIX_FMT_NV12, SWIN_NV12 }
    };
    struct v4l2_format f;
    for (int i = 0; i < 2; i++) {
        memset(&f, 0, sizeof f);
        if (o->format >= 0 && known[i].format != (swin_format)o->format) continue;
        f.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
        f.fmt.pix.width = o->width ? (unsigned)o->width : 640;
        f.fmt.pix.height = o->width ? (unsigned)o->height : 480;
        f.fmt.pix.pixelformat = known[i].fourcc;
        f.fmt.pix.field = V4L2_FIELD_ANY;
        if (camera_call(s->fd, VIDIOC_S_FMT, &f))
            return source_fails(s, "takes no format: %s", strerror(errno));
        if (f.fmt.pix.pixelformat != known[i].fourcc) continue;
        image->format = known[i].format;
        image->width = (int)f.fmt.pix.width;
        image->height = (int)f.fmt.pix.height;
        image->stride = (ptrdiff_t)f.fmt.pix.bytesperline;
        image->yuv = camera_colors(&f.fmt.pix);
        return 1;
    }
    return source_fails(s, "this camera gives neither YUYV nor NV12, it offers %.4s",
                        (const char *)&f.fmt.pix.pixelformat);
}

/* Maps a buffer of the driver, if a frame of this format fits into it. */
static int camera_map(source *s, int slot, const swin_image *image)
{
    struct v4l2_buffer b = camera_buffer(slot);
    frame *f = &s->slots[slot];
    size_t rows = (size_t)image->height;
    if (camera_call(s->fd, VIDIOC_QUERYBUF, &b))
        return source_fails(s, "tells nothing of its buffers: %s", strerror(errno));
    f->image = *image;
    if (image->format == SWIN_NV12) rows += (rows + 1) / 2;
    f->size = (size_t)(image->stride > 0 ? image->stride : 0) * rows;
    if (!f->size || f->size > b.length)
        return source_fails(s, "its buffers of %u bytes are too small for rows of %zd",
                            (unsigned)b.length, (ssize_t)image->stride);
    f->size = b.length;
    f->memory = mmap(NULL, b.length, PROT_READ, MAP_SHARED, s->fd, (off_t)b.m.offset);
    if (f->memory == MAP_FAILED) return source_fails(s, "its memory: %s", strerror(errno));
    f->image.data = f->memory;
    camera_give_back(s, slot);
    return 1;
}

static int camera_start(source *s, const swin_image *image)
{
    struct v4l2_requestbuffers ask;
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    memset(&ask, 0, sizeof ask);
    ask.count = SLOTS;
    ask.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    ask.memory = V4L2_MEMORY_MMAP;
    if (camera_call(s->fd, VIDIOC_REQBUFS, &ask) || ask.count < SLOTS)
        return source_fails(s, "gives no %d buffers for streaming", SLOTS);
    for (s->count = 0; s->count < SLOTS; s->count++)
        if (!camera_map(s, s->count, image)) return 0;
    if (camera_call(s->fd, VIDIOC_STREAMON, &type))
        return source_fails(s, "does not start: %s", strerror(errno));
    s->read = camera_read;
    s->give_back = camera_give_back;
    return 1;
}

static int open_camera(source *s, const options *o)
{
    struct v4l2_capability can;
    swin_image image;
    memset(&image, 0, sizeof image);
    memset(&can, 0, sizeof can);
    s->fd = open(s->name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (s->fd < 0) return source_fails(s, "%s", strerror(errno));
    if (camera_call(s->fd, VIDIOC_QUERYCAP, &can) || !(can.capabilities & V4L2_CAP_VIDEO_CAPTURE))
        return source_fails(s, "is no camera, no folder and no -");
    if (o->format >= 0 && o->format != SWIN_YUYV && o->format != SWIN_NV12)
        return source_fails(s, "a camera's --format is yuyv422 or nv12");
    return camera_format(s, o, &image) && camera_start(s, &image);
}

static void close_camera(source *s)
{
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    if (s->fd < 0) return;
    camera_call(s->fd, VIDIOC_STREAMOFF, &type);
    for (int i = 0; i < s->count; i++) munmap(s->slots[i].memory, s->slots[i].size);
    close(s->fd);
    s->count = 0;
}
#else
static int open_camera(source *s, const options *o)
{
    (void)o;
    return source_fails(s, "is no folder and no -; cameras are read on Linux only");
}

static void close_camera(source *s) { (void)s; }
#endif

/* --- any of them ------------------------------------------------------------------------------ */

static int open_source(source *s, const options *o)
{
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->name = o->input;
    int ok = !strcmp(o->input, "-") ? open_standard(s, o) :
             is_directory(o->input) ? open_folder(s) : open_camera(s, o);
    for (int i = 0; i < s->count && o->color >= 0; i++)
        s->slots[i].image.yuv = (swin_yuv)o->color;
    return ok;
}

static void close_source(source *s)
{
    close_camera(s);
    for (int i = 0; i < s->count; i++) free(s->slots[i].memory);
    folder_free(s->names, s->name_count);
    free(s->packed);
}

/* -------------------------------------------------------------------------- */
/* the newest frame: what the reader leaves and the main thread takes         */

typedef struct mailbox {
    source *source;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int newest, at_work;        /* slots, -1: none */
    int all;                    /* the reader waits until the newest is taken */
    int ended, quit;
    long long dropped;
} mailbox;

/* A slot that is neither the newest nor at work. */
static int free_slot(const mailbox *m)                      /* with the lock held */
{
    int slot = 0;
    while (slot == m->newest || slot == m->at_work) slot++;
    return slot;
}

static void give_back(mailbox *m, int slot)                 /* with the lock held */
{
    if (m->source->give_back) m->source->give_back(m->source, slot);
}

/* Puts a frame where the newest one is; 0: no more are wanted. */
static int post_frame(mailbox *m, int slot)                 /* with the lock held */
{
    while (m->all && m->newest >= 0 && !m->quit) pthread_cond_wait(&m->changed, &m->lock);
    if (m->quit) {
        give_back(m, slot);
        return 0;
    }
    if (m->newest >= 0) {
        give_back(m, m->newest);
        m->dropped++;
    }
    m->newest = slot;
    pthread_cond_broadcast(&m->changed);
    return 1;
}

static void *read_frames(void *user)
{
    mailbox *m = (mailbox *)user;
    int more = 1;
    pthread_mutex_lock(&m->lock);
    while (more) {
        int slot = free_slot(m);
        pthread_mutex_unlock(&m->lock);
        slot = m->source->read(m->source, slot);
        pthread_mutex_lock(&m->lock);
        more = slot >= 0 && post_frame(m, slot);
    }
    m->ended = 1;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* The newest slot; -1: there will be none. */
static int take_frame(mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    while (m->newest < 0 && !m->ended) pthread_cond_wait(&m->changed, &m->lock);
    int slot = stopping ? -1 : m->newest;
    if (slot >= 0) m->newest = -1;
    m->at_work = slot;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return slot;
}

/* The frame at work is done. */
static void finish_work(mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    give_back(m, m->at_work);
    m->at_work = -1;
    pthread_mutex_unlock(&m->lock);
}

static long long dropped_frames(mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    long long dropped = m->dropped;
    pthread_mutex_unlock(&m->lock);
    return dropped;
}

/* Ends the reader, which may be waiting for its input. */
static void end_reader(mailbox *m, pthread_t reader)
{
    pthread_mutex_lock(&m->lock);
    m->quit = 1;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    (void)!write(stop_pipe[1], "", 1);
    pthread_join(reader, NULL);
}

/* -------------------------------------------------------------------------- */
/* latencies: a histogram, so that memory does not grow                       */

enum { BINS = 1700 };           /* each 1 % wider than the one before, from 10 microseconds on */

typedef struct latencies {
    long long bins[BINS], count;
    double most;
} latencies;

static void add_latency(latencies *l, double value)
{
    int bin = value > 1e-5 ? (int)(log(value / 1e-5) / log(1.01)) : 0;
    l->bins[bin < BINS ? bin : BINS - 1]++;
    l->count++;
    if (value > l->most) l->most = value;
}

/* To 1 %: the value that `part` of all do not exceed. */
static double percentile(const latencies *l, double part)
{
    long long below = 0;
    for (int bin = 0; bin < BINS; bin++) {
        below += l->bins[bin];
        if ((double)below < part * (double)l->count) continue;
        double edge = 1e-5 * pow(1.01, bin + 1);
        return edge < l->most ? edge : l->most;
    }
    return l->most;
}

/* -------------------------------------------------------------------------- */
/* results                                                                    */

typedef struct output {
    const char *name;           /* of its option; NULL: not asked for */
    FILE *file;
} output;

typedef struct worker {
    const options *options;
    swin_model model;
    swin_context *context;
    swin_desc desc;
    pool threads;               /* the threads that desc.parallel_for uses */
    void *memory;
    float *votes;
    swin_map map;               /* of the last frame */
    void *smooth_ids;           /* the class map of the votes */
    unsigned char *is_free;     /* [classes] */
    long long *pixels;          /* [classes] of the last frame */
    int *reach;                 /* [width] */
    unsigned char *rgb;         /* the overlay */
    output outputs[OUTPUTS];
    long long frames;
    latencies latency;
} worker;

/* How far up each column the free classes reach, from the bottom row on. */
static void measure_reach(worker *w)
{
    for (int x = 0; x < w->map.width; x++) {
        int y = w->map.height;
        while (y > 0) {
            size_t at = (size_t)(y - 1) * (size_t)w->map.width + (size_t)x;
            if (!w->is_free[class_at(w->map, at)]) break;
            y--;
        }
        w->reach[x] = w->map.height - y;
    }
}

static void count_pixels(worker *w)
{
    size_t count = (size_t)w->map.width * (size_t)w->map.height;
    memset(w->pixels, 0, (size_t)w->model.config.classes * sizeof *w->pixels);
    for (size_t i = 0; i < count; i++) w->pixels[class_at(w->map, i)]++;
}

static double wall_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The line of a frame. `time` is when it was captured: seconds since 1970, and on the clock that
   only goes forward. */
static void write_line(worker *w, FILE *f, const frame *in, double network, long long dropped)
{
    double area = (double)w->map.width * w->map.height, now = seconds();
    const char *comma = "";
    count_pixels(w);
    fprintf(f, "{\"frame\": %lld, \"dropped\": %lld, \"time\": %.6f, \"monotonic\": %.6f, "
            "\"ms\": {\"latency\": %.3f, \"network\": %.3f}, \"width\": %d, \"height\": %d, "
            "\"classes\": [", w->frames, dropped, wall_clock() - (now - in->captured),
            in->captured, 1e3 * (now - in->captured), 1e3 * network, w->map.width, w->map.height);
    for (int k = 0; k < w->model.config.classes; k++) {
        if (!w->pixels[k]) continue;
        fprintf(f, "%s{\"id\": %d, \"name\": ", comma, k);
        json_text(f, swin_class_name(&w->model, k));
        fprintf(f, ", \"share\": %.6f}", (double)w->pixels[k] / area);
        comma = ", ";
    }
    fputc(']', f);
    if (w->is_free) {
        for (int x = 0; x < w->map.width; x++)
            fprintf(f, "%s%d", x ? ", " : ", \"free\": [", w->reach[x]);
        fputc(']', f);
    }
    fputs("}\n", f);
}

/* Y, U and V as red, green and blue, for the eye. */
static void yuv_pixel(const swin_image *in, int x, int y, unsigned char rgb[3])
{
    int packed = in->format == SWIN_YUYV;
    int full = in->yuv == SWIN_YUV_601_FULL || in->yuv == SWIN_YUV_709_FULL;
    int hd = in->yuv == SWIN_YUV_709 || in->yuv == SWIN_YUV_709_FULL;
    const unsigned char *row = (const unsigned char *)in->data + y * in->stride;
    const unsigned char *pair = packed ? row + x / 2 * 4 + 1 :
        (const unsigned char *)in->chroma + y / 2 * in->chroma_stride + x / 2 * 2;
    float r = hd ? 0.2126f : 0.299f, b = hd ? 0.0722f : 0.114f, scale = full ? 1 : 255 / 224.0f;
    float light = full ? (float)row[packed ? 2 * x : x]
                       : ((float)row[packed ? 2 * x : x] - 16) * (255 / 219.0f);
    float u = ((float)pair[0] - 128) * scale, v = ((float)pair[packed ? 2 : 1] - 128) * scale;
    float mixed[3];
    mixed[0] = light + 2 * (1 - r) * v;
    mixed[2] = light + 2 * (1 - b) * u;
    mixed[1] = (light - r * mixed[0] - b * mixed[2]) / (1 - r - b);
    for (int k = 0; k < 3; k++)
        rgb[k] = (unsigned char)(mixed[k] < 0 ? 0 : mixed[k] > 255 ? 255 : mixed[k] + 0.5f);
}

static void frame_pixel(const swin_image *in, int x, int y, unsigned char rgb[3])
{
    static const struct { int bytes, r, g, b; } layouts[] = {
        { 3, 0, 1, 2 }, { 3, 2, 1, 0 }, { 4, 0, 1, 2 }, { 4, 2, 1, 0 }, { 1, 0, 0, 0 }
    };
    if (in->format == SWIN_YUYV || in->format == SWIN_NV12) {
        yuv_pixel(in, x, y, rgb);
        return;
    }
    int bytes = layouts[in->format].bytes;
    const unsigned char *pixel = (const unsigned char *)in->data +
                                 ((size_t)y * (size_t)in->width + (size_t)x) * (size_t)bytes;
    rgb[0] = pixel[layouts[in->format].r];
    rgb[1] = pixel[layouts[in->format].g];
    rgb[2] = pixel[layouts[in->format].b];
}

/* The frame with strides filled in, as the overlay reads it. */
static swin_image with_strides(swin_image in)
{
    if (!in.stride) in.stride = in.format == SWIN_YUYV ? 2 * (in.width + in.width % 2) : in.width;
    if (!in.chroma)
        in.chroma = (const unsigned char *)in.data + (ptrdiff_t)in.height * in.stride;
    if (!in.chroma_stride) in.chroma_stride = in.stride + in.stride % 2;
    return in;
}

static void draw_overlay(worker *w, const frame *f)
{
    const swin_image in = with_strides(f->image);
    int opacity = (int)(256 * w->options->opacity + 0.5);
    unsigned char *rgb = w->rgb;
    for (int y = 0; y < in.height; y++) {
        for (int x = 0; x < in.width; x++, rgb += 3) {
            size_t at = (size_t)y * (size_t)in.width + (size_t)x;
            uint32_t color = swin_class_color(&w->model, (int)class_at(w->map, at));
            frame_pixel(&in, x, y, rgb);
            for (int k = 0; k < 3; k++) {
                int wanted = (int)(color >> (16 - 8 * k) & 255);
                rgb[k] = (unsigned char)(rgb[k] + (wanted - rgb[k]) * opacity / 256);
            }
        }
    }
}

/* Makes the last free pixel of each column white. */
static void draw_reach(worker *w)
{
    for (int x = 0; x < w->map.width; x++) {
        size_t at = (size_t)(w->map.height - w->reach[x]) * (size_t)w->map.width + (size_t)x;
        if (w->reach[x]) memset(w->rgb + 3 * at, 255, 3);
    }
}

static int written(const output *to)
{
    errno = 0;
    if (!fflush(to->file) && !ferror(to->file)) return 1;
    if (!stopping) fail(FAILED, to->name, errno == EPIPE ? "whoever read this has closed the pipe" :
                        errno ? strerror(errno) : "could not be written");
    return 0;
}

/* Writes what is asked for, the bytes first: a line tells that they are there. */
static int write_results(worker *w, const frame *in, double network, long long dropped)
{
    size_t pixels = (size_t)w->map.width * (size_t)w->map.height;
    const output *ids = &w->outputs[IDS], *overlay = &w->outputs[OVERLAY];
    const output *json = &w->outputs[JSON];
    if (w->is_free) measure_reach(w);
    if (ids->name) {
        fwrite(w->map.data, (size_t)w->map.bytes, pixels, ids->file);
        if (!written(ids)) return 0;
    }
    if (overlay->name) {
        draw_overlay(w, in);
        if (w->is_free) draw_reach(w);
        fwrite(w->rgb, 3, pixels, overlay->file);
        if (!written(overlay)) return 0;
    }
    if (json->name) {
        write_line(w, json->file, in, network, dropped);
        if (!written(json)) return 0;
    }
    return 1;
}

/* -------------------------------------------------------------------------- */
/* a frame after the other                                                    */

/* Segments a frame; 0: cancelled or failed. */
static int segment(worker *w, const frame *f)
{
    swin_status status = swin_run(w->context, &f->image);
    if (status == SWIN_CANCELLED) return 0;
    if (status) return fail(FAILED, "frame", swin_error_text(w->context)), 0;
    w->map = swin_classes(w->context);
    if (!w->votes) return 1;
    swin_decide(w->votes, (size_t)w->map.width * (size_t)w->map.height, w->model.config.classes, 1,
                0, w->smooth_ids);
    w->map.data = w->smooth_ids;
    return 1;
}

/* Until the input ends, a signal comes or a result cannot be written. */
static int run(worker *w, mailbox *m)
{
    int slot, ok = 1;
    while (ok && (slot = take_frame(m)) >= 0) {
        const frame *f = &m->source->slots[slot];
        double start = seconds();
        ok = segment(w, f) && write_results(w, f, seconds() - start, dropped_frames(m));
        if (ok) {
            add_latency(&w->latency, seconds() - f->captured);
            w->frames++;
        }
        finish_work(m);
        if (w->options->frames && w->frames == w->options->frames) break;
    }
    return ok || stopping ? DONE : FAILED;
}

static void summarise(const worker *w, long long dropped, double elapsed)
{
    fprintf(stderr, "stream: %lld frames in %.2f s, %.1f a second, %lld dropped", w->frames,
            elapsed, elapsed > 0 ? (double)w->frames / elapsed : 0, dropped);
    if (w->frames)
        fprintf(stderr, "; latency p50 %.1f ms, p99 %.1f ms, max %.1f ms",
                1e3 * percentile(&w->latency, 0.5), 1e3 * percentile(&w->latency, 0.99),
                1e3 * w->latency.most);
    fputc('\n', stderr);
}

/* -------------------------------------------------------------------------- */
/* starting                                                                   */

enum { O_FRAME_SIZE = 256, O_FORMAT, O_COLOR, O_ALL, O_FRAMES, O_JSON, O_IDS, O_OVERLAY, O_FREE,
       O_SMOOTH, O_OPACITY, O_SIZE, O_THREADS, O_CPU, O_REALTIME, O_VERSION };

static const struct option option_list[] = {
    { "model", required_argument, NULL, 'm' },
    { "frame-size", required_argument, NULL, O_FRAME_SIZE },
    { "format", required_argument, NULL, O_FORMAT },
    { "color", required_argument, NULL, O_COLOR },
    { "all", no_argument, NULL, O_ALL },
    { "frames", required_argument, NULL, O_FRAMES },
    { "json", required_argument, NULL, O_JSON },
    { "ids", required_argument, NULL, O_IDS },
    { "overlay", required_argument, NULL, O_OVERLAY },
    { "free", required_argument, NULL, O_FREE },
    { "smooth", required_argument, NULL, O_SMOOTH },
    { "opacity", required_argument, NULL, O_OPACITY },
    { "size", required_argument, NULL, O_SIZE },
    { "threads", required_argument, NULL, O_THREADS },
    { "cpu", required_argument, NULL, O_CPU },
    { "realtime", no_argument, NULL, O_REALTIME },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, O_VERSION },
    { NULL, 0, NULL, 0 }
};

/* What a name means; a sentence where there is no such name. */
static const char *format_of(const char *name, int *format)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(name, formats[i].name)) return *format = (int)formats[i].format, NULL;
    return "expected rgb24, bgr24, rgba, bgra, gray, yuyv422 or nv12";
}

static const char *color_of(const char *name, int *color)
{
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, colors[i])) return *color = i, NULL;
    return "expected bt601, bt601-full, bt709 or bt709-full";
}

/* Applies one option; returns a sentence when its value is not good. */
static const char *set_option(options *o, int option, const char *value)
{
    int sides[2];
    switch (option) {
    case 'm': o->model = value; break;
    case O_FRAME_SIZE:
        if (!numbers(value, 'x', 2, 1, SWIN_MAX_SIDE, sides))
            return "expected a size such as 640x480, width first";
        o->width = sides[0];
        o->height = sides[1];
        break;
    case O_FORMAT: return format_of(value, &o->format);
    case O_COLOR: return color_of(value, &o->color);
    case O_ALL: o->all = 1; break;
    case O_FRAMES:
        o->frames = number(value, 1, INT_MAX);
        if (!o->frames) return "expected a number of frames";
        break;
    case O_JSON: o->out[JSON] = value; break;
    case O_IDS: o->out[IDS] = value; break;
    case O_OVERLAY: o->out[OVERLAY] = value; break;
    case O_FREE: o->free_classes = value; break;
    case O_SMOOTH:
        if (!decimal_of(value, 0, 0.99, &o->smooth)) return "expected a number from 0 to 0.99";
        break;
    case O_OPACITY: return take_fraction(value, &o->opacity);
    case O_SIZE: return take_longest_side(value, &o->size);
    case O_THREADS: return take_threads(value, &o->threads);
    case O_CPU: return take_cpu(value, &o->cpu);
    case O_REALTIME: o->realtime = 1; break;
    }
    return NULL;
}

/* What follows from the options together; a sentence where they do not fit. */
static const char *settle_options(options *o)
{
    int standard = 0;
    if (!o->model) o->model = getenv("SWIN_MODEL");
    if (!o->model || !*o->model) return "no model: give -m MODEL or set SWIN_MODEL";
    for (int i = 0; i < OUTPUTS; i++) standard += o->out[i] && !strcmp(o->out[i], "-");
    if (!o->out[JSON] && !standard) o->out[JSON] = "-", standard++;
    if (standard > 1) return "standard output can take one of --json, --ids and --overlay";
    if (!strcmp(o->model, "-") && !strcmp(o->input, "-"))
        return "standard input can give the model or the frames, not both";
    return NULL;
}

/* Returns a status to end with, or -1 to go on. */
static int parse_options(options *o, int argc, char **argv)
{
    memset(o, 0, sizeof *o);
    o->format = o->color = -1;
    o->opacity = 0.5;
    o->threads = processor_count();
    o->input = "-";
    for (int option, at = 0; (option = getopt_long(argc, argv, "m:h", option_list, &at)) != -1;) {
        if (option == '?') return USAGE;
        if (option == 'h' || option == O_VERSION) {
            if (option == 'h') fputs(usage, stdout);
            else printf("stream %d.%d.%d\n", SWIN_VERSION_MAJOR, SWIN_VERSION_MINOR,
                        SWIN_VERSION_PATCH);
            return fflush(stdout) ? fail(FAILED, "standard output", strerror(errno)) : DONE;
        }
        const char *why = set_option(o, option, optarg);
        if (why) return fail(USAGE, optarg, why);
    }
    if (optind + 1 < argc) return fail(USAGE, argv[optind + 1], "only one INPUT can be read");
    if (optind < argc) o->input = argv[optind];
    const char *why = settle_options(o);
    return why ? fail(USAGE, "usage", why) : -1;
}

/* Marks the classes of --free. */
static int find_free(worker *w, const char *list)
{
    int classes = w->model.config.classes;
    w->is_free = (unsigned char *)calloc(1, 65536);
    if (!w->is_free) return fail(FAILED, "memory", "none left for the classes");
    while (*list) {
        size_t length = strcspn(list, ",");
        int found = 0;
        for (int k = 0; k < classes; k++) {
            const char *name = swin_class_name(&w->model, k);
            if (strlen(name) != length || memcmp(name, list, length)) continue;
            w->is_free[k] = 1;
            found = 1;
        }
        if (!found) {
            char name[128];
            snprintf(name, sizeof name, "%.*s", (int)length, list);
            return fail(USAGE, name, "--free: the model has no class of this name");
        }
        list += length + (list[length] == ',');
    }
    return DONE;
}

/* "-", the number of an open descriptor, or a path. */
static int open_output(output *to, const char *option, const char *where)
{
    int fd = number(where, 0, INT_MAX);
    to->name = option;
    to->file = !strcmp(where, "-") ? stdout : fd >= 0 ? fdopen(fd, "wb") : fopen(where, "wb");
    if (to->file) return DONE;
    return fail(USAGE, where, fd >= 0 ? "is no descriptor that is open for writing"
                                      : strerror(errno));
}

/* Buffers of their own: the C library's would be made when the first frame is written. */
static int open_outputs(worker *w, const options *o)
{
    static char buffers[OUTPUTS][1 << 16];
    for (int i = 0; i < OUTPUTS; i++) {
        if (!o->out[i]) continue;
        int status = open_output(&w->outputs[i], output_options[i], o->out[i]);
        if (status) return status;
        if (setvbuf(w->outputs[i].file, buffers[i], _IOFBF, sizeof buffers[i]))
            return fail(FAILED, o->out[i], "cannot be written through a buffer");
    }
    return DONE;
}

static int open_model(worker *w, file_bytes *blob, const options *o)
{
    swin_error error;
    int why = file_load(o->model, blob);
    if (why) return fail(MODEL, o->model, load_error(why));
    if (swin_open(&w->model, blob->data, blob->size, SWIN_VERIFY, &error))
        return fail(MODEL, o->model, error.text);
    if (!gives_class_map(&w->model))
        return fail(MODEL, o->model, "gives no class for each pixel");
    return DONE;
}

/* Memory for votes, if --smooth is given. */
static int make_votes(worker *w, size_t pixels)
{
    size_t votes = pixels * (size_t)w->model.config.classes;
    if (w->options->smooth <= 0) return 1;
    w->votes = (float *)calloc(votes, sizeof *w->votes);
    w->smooth_ids = malloc(2 * pixels);
    w->desc.votes = w->votes;
    w->desc.votes_decay = (float)w->options->smooth;
    return w->votes && w->smooth_ids;
}

/* A context and all other memory, for frames of this size. */
static int make_context(worker *w, const swin_image *image)
{
    swin_error error;
    swin_resizing how = { w->options->size, 0 };
    size_t pixels = (size_t)image->width * (size_t)image->height, size = 0;
    swin_desc *d = &w->desc;
    d->picture_width = image->width;
    d->picture_height = image->height;
    d->cpu = w->options->cpu;
    pool_serve(&w->threads, d);
    w->pixels = (long long *)calloc(65536, sizeof *w->pixels);
    w->reach = (int *)calloc((size_t)image->width, sizeof *w->reach);
    w->rgb = (unsigned char *)malloc(w->outputs[OVERLAY].name ? 3 * pixels : 1);
    if (!make_votes(w, pixels) || !w->pixels || !w->reach || !w->rgb)
        return fail(FAILED, "memory", "none left for frames of this size");
    if (!swin_input_size(&w->model, d->picture_width, d->picture_height, &how, &d->width,
                         &d->height, &error))
        size = swin_workspace_size(&w->model, d, &error);
    if (!size) return fail(MODEL, w->options->model, error.text);
    w->memory = workspace_new(size);
    if (!w->memory) return fail(FAILED, "memory", "none left for a workspace");
    if (swin_init(&w->context, &w->model, d, w->memory, size, &error))
        return fail(MODEL, w->options->model, error.text);
    return DONE;
}

static void free_worker(worker *w)
{
    free(w->memory);
    free(w->votes);
    free(w->smooth_ids);
    free(w->is_free);
    free(w->pixels);
    free(w->reach);
    free(w->rgb);
}

/* Before threads are started, which inherit the scheduling. Says what was had. */
static void ask_realtime(void)
{
    struct sched_param priority;
    memset(&priority, 0, sizeof priority);
    priority.sched_priority = sched_get_priority_min(SCHED_FIFO) + 10;
    int locked = mlockall(MCL_CURRENT | MCL_FUTURE), why = errno;
    fprintf(stderr, "stream: memory is %s%s\n", locked ? "not locked: " : "locked",
            locked ? strerror(why) : "");
    int failed = pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority);
    if (failed) fprintf(stderr, "stream: scheduling is the usual one: %s\n", strerror(failed));
    else fprintf(stderr, "stream: scheduling is SCHED_FIFO, priority %d\n",
                 priority.sched_priority);
}

/* Binds this thread and the pool's to a processor each: one that wakes on the processor of the one
   that woke it may wait there for milliseconds. 0: there are too few, or it is not to be had. */
static int bind_threads(const pool *p)
{
#ifdef __linux__
    cpu_set_t allowed, own;
    int next = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) || CPU_COUNT(&allowed) <= p->workers)
        return 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE && next <= p->workers; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        CPU_ZERO(&own);
        CPU_SET(cpu, &own);
        pthread_t thread = next ? p->members[next].thread : pthread_self();
        if (pthread_setaffinity_np(thread, sizeof own, &own)) return 0;
        next++;
    }
    return 1;
#else
    (void)p;
    return 0;
#endif
}

/* Reads in one thread and segments in this one and the pool's. */
static int stream(worker *w, source *s, const options *o)
{
    mailbox m = { s, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, -1, -1, 0, 0, 0, 0 };
    pthread_t reader;
    hold_signals(1);
    pool_start(&w->threads, o->threads);
    int status = make_context(w, &s->slots[0].image);
    m.all = o->all || s->names;
    at_work = w->context;
    if (!status && pthread_create(&reader, NULL, read_frames, &m))
        status = fail(FAILED, "a thread", "cannot be started");
    else if (!status) {
        double start = seconds();
        if (o->realtime)        /* after the reader was started, which is not bound */
            fprintf(stderr, "stream: threads %s to a processor each\n",
                    bind_threads(&w->threads) ? "are bound" : "could not be bound");
        hold_signals(0);
        status = run(w, &m);
        end_reader(&m, reader);
        summarise(w, m.dropped, seconds() - start);
        if (*s->why) status = fail(FAILED, s->name, s->why);
        if (s->skipped && !status) status = FAILED;
    }
    pool_stop(&w->threads);
    return status;
}

int main(int argc, char **argv)
{
    static source in;
    options o;
    worker w;
    file_bytes blob;
    memset(&w, 0, sizeof w);
    prepare_streams();
    int status = parse_options(&o, argc, argv);
    if (status >= 0) return status;
    if (pipe(stop_pipe)) return fail(FAILED, "a pipe", strerror(errno));
    catch_signals();
    if (o.realtime) ask_realtime();
    w.options = &o;
    if ((status = open_model(&w, &blob, &o)) != DONE) return status;
    if (o.free_classes && (status = find_free(&w, o.free_classes)) != DONE) return status;
    if ((status = open_outputs(&w, &o)) != DONE) return status;
    if (!open_source(&in, &o)) status = stopping ? DONE : fail(FAILED, in.name, in.why);
    else status = stream(&w, &in, &o);
    close_source(&in);
    free_worker(&w);
    file_free(&blob);
    return status;
}
