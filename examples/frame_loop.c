/* frame_loop.c - segmentation inside a game's frame: slices of a few milliseconds, on its thread

   cc -std=c99 -O2 examples/frame_loop.c -o frame_loop $(sdl2-config --cflags --libs) -lm -lpthread
   (Debian: libsdl2-dev, libstb-dev)

   What to take for a game of your own: `slicer` and the functions with that word in their names
   cut a run into slices that fit a budget; `publish` makes a palette texture of a class map; `play`
   is the loop. The rest is options, pictures and letters. */
#define SWIN_IMPLEMENTATION
#define COMMON_FOLDERS
#define COMMON_PICTURES
#include "common.h"

#define SDL_MAIN_HANDLED
#include <SDL.h>

static const char usage[] =
    "usage: frame_loop [options] MODEL PICTURE|FOLDER|-\n"
    "\n"
    "Shows a game's frame loop: a view pans over a large PICTURE, or a FOLDER of frames\n"
    "is played, while a .swin MODEL segments what is seen, in slices that fit into a\n"
    "budget of each frame. - plays BGRA frames of the view's size from standard input:\n"
    "  ffmpeg -i FILM -vf scale=320:240 -f rawvideo -pix_fmt bgra - | frame_loop MODEL -\n"
    "\n"
    "      --budget MS       milliseconds of a frame for the network, 0.01 to 1000 (4)\n"
    "      --job-threads N   threads of the job system that share each slice (1)\n"
    "      --view WxH        pixels of the view (320x240)\n"
    "      --size N          longest side at which the network sees it, 0: the model's\n"
    "                        own rule (the view's longest side)\n"
    "      --fps F           frames a second, 1 to 1000 (60)\n"
    "      --speed F         of the panning, 0: the view stands still (1)\n"
    "      --opacity F       of the classes' colours, 0 to 1 (0.6)\n"
    "      --at X,Y          names the class there instead of the one under the cursor\n"
    "      --scale N         pixels of the window for one of the view (3; 1 with --frames)\n"
    "      --frames N        ends after N frames, without a screen unless SDL_VIDEODRIVER\n"
    "                        names one\n"
    "      --shot FILE       writes the last frame as a PNG\n"
    "      --ids FILE        writes the last class map as a grey PNG of class numbers\n"
    "  -h, --help            this text\n"
    "\n"
    "Space cycles the opacity, Escape ends. At the end it tells how long frames took.\n"
    "Exit status: 0 done, 1 pictures or the screen failed, 2 usage, 3 the model failed.\n";

enum { DONE, FAILED, USAGE, MODEL };

typedef struct options {
    const char *model, *source, *shot, *ids;
    int width, height;          /* of the view */
    int threads, size, frames, scale;   /* size -1: the view's; frames 0: until the user ends it */
    int at[2];                  /* -1: the cursor's */
    double budget, fps, speed, opacity;
} options;

static int fail(int status, const char *what, const char *why)
{
    fprintf(stderr, "frame_loop: %s: %s\n", what, why);
    return status;
}

/* -------------------------------------------------------------------------- */
/* the command line                                                           */

/* Applies an option; returns a sentence where the name or the value is not good. */
static const char *set_option(options *o, const char *name, const char *value)
{
    if (!strcmp(name, "budget"))
        return decimal_of(value, 0.01, 1000, &o->budget) ? NULL :
               "expected milliseconds from 0.01 to 1000";
    if (!strcmp(name, "fps"))
        return decimal_of(value, 1, 1000, &o->fps) ? NULL : "expected a number from 1 to 1000";
    if (!strcmp(name, "speed"))
        return decimal_of(value, 0, 100, &o->speed) ? NULL : "expected a number from 0 to 100";
    if (!strcmp(name, "opacity")) return take_fraction(value, &o->opacity);
    if (!strcmp(name, "view"))
        return size_of(value, &o->width, &o->height) ? NULL :
               "expected a size such as 320x240, width first";
    if (!strcmp(name, "at"))
        return numbers(value, ',', 2, 0, SWIN_MAX_SIDE - 1, o->at) ? NULL :
               "expected a pixel such as 160,120";
    if (!strcmp(name, "size"))
        return (o->size = number(value, 0, SWIN_MAX_SIDE)) >= 0 ? NULL :
               "expected a number of pixels from 0 to 16384";
    if (!strcmp(name, "job-threads")) return take_threads(value, &o->threads);
    if (!strcmp(name, "frames"))
        return (o->frames = number(value, 1, 1000000000)) ? NULL :
               "expected a number from 1 to 1000000000";
    if (!strcmp(name, "scale"))
        return (o->scale = number(value, 1, 16)) ? NULL : "expected a number from 1 to 16";
    if (!strcmp(name, "shot")) return o->shot = value, NULL;
    if (!strcmp(name, "ids")) return o->ids = value, NULL;
    return "no such option (frame_loop --help lists them)";
}

/* Takes MODEL, then what is to be shown; a sentence where there is a third. */
static const char *set_path(options *o, const char *path)
{
    if (!o->model) o->model = path;
    else if (!o->source) o->source = path;
    else return "expected one MODEL and one PICTURE, FOLDER or -";
    return NULL;
}

/* Returns a status to end with, or -1 to go on. */
static int parse_options(options *o, int argc, char **argv)
{
    const options defaults = { NULL, NULL, NULL, NULL, 320, 240, 1, -1, 0, 0, { -1, -1 },
                               4, 60, 1, 0.6 };
    *o = defaults;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i], *why;
        if (!strcmp(arg, "-h") || !strcmp(arg, "--help"))
            return fputs(usage, stdout) < 0 ? FAILED : DONE;
        if (arg[0] != '-' || !arg[1]) why = set_path(o, arg);
        else if (arg[1] != '-') why = "no such option (frame_loop --help lists them)";
        else if (i + 1 == argc) why = "a value must follow";
        else why = set_option(o, arg + 2, argv[++i]);
        if (why) return fail(USAGE, arg, why);
    }
    if (!o->source) return fail(USAGE, "usage", "frame_loop [options] MODEL PICTURE|FOLDER|-");
    if (!o->scale) o->scale = o->frames ? 1 : 3;
    return -1;
}

/* -------------------------------------------------------------------------- */
/* what is seen: a window into a picture, frames in memory, or frames of a pipe */

enum { PIPE_FRAMES = 3 };       /* one on the screen, one in the network, one being read */

typedef struct source {
    uint32_t *pixels;           /* 0xAARRGGBB, BGRA in memory; `count` frames of width x height */
    int width, height, count;
    int view_width, view_height;
    int frame, x, y;            /* what is seen: this frame from here on */
    double angle;               /* on the path that the view pans along */
    int held;                   /* a pipe's frame that the network reads */
    int filling;                /* and the one that the reader fills */
    size_t got;                 /* bytes of it that came */
    SDL_sem *wanted, *ready;    /* NULL where there is no pipe */
} source;

static size_t frame_bytes(const source *s)
{
    return (size_t)s->width * (size_t)s->height * sizeof *s->pixels;
}

static uint32_t *frame_at(const source *s, int frame)
{
    return s->pixels + (size_t)frame * (size_t)s->width * (size_t)s->height;
}

static const uint32_t *view_pixels(const source *s)
{
    return frame_at(s, s->frame) + (size_t)s->y * (size_t)s->width + (size_t)s->x;
}

static void pack_pixels(uint32_t *out, const unsigned char *rgb, size_t count)
{
    for (; count--; rgb += 3)
        *out++ = 0xff000000u | (uint32_t)rgb[0] << 16 | (uint32_t)rgb[1] << 8 | rgb[2];
}

/* Room for `count` frames of width x height. */
static int source_room(source *s, int width, int height, int count)
{
    s->width = width;
    s->height = height;
    s->count = count;
    s->pixels = (uint32_t *)(frame_bytes(s) > SIZE_MAX / (size_t)count ? NULL
                                              : malloc(frame_bytes(s) * (size_t)count));
    return s->pixels ? DONE : fail(FAILED, "memory", "none left for the frames");
}

/* Where the view is on its path over the picture. */
static void place_view(source *s)
{
    s->x = (int)((s->width - s->view_width) * (0.5 + 0.5 * sin(s->angle)));
    s->y = (int)((s->height - s->view_height) * (0.5 + 0.5 * sin(0.7 * s->angle)));
}

static int open_picture(source *s, const char *path)
{
    picture p;
    char why[256];
    if (!picture_read(&p, path, why)) return fail(FAILED, path, why);
    int status = source_room(s, p.width, p.height, 1);
    if (!status) pack_pixels(s->pixels, p.rgb, (size_t)p.width * (size_t)p.height);
    free(p.rgb);
    place_view(s);
    if (status || (p.width >= s->view_width && p.height >= s->view_height)) return status;
    snprintf(why, sizeof why, "its %dx%d pixels are fewer than the view's %dx%d: choose a smaller "
             "--view", p.width, p.height, s->view_width, s->view_height);
    return fail(FAILED, path, why);
}

/* Scales the middle of a picture to a frame. */
static int fit_picture(uint32_t *out, int width, int height, const picture *p)
{
    int w = p->width, h = p->height, ok = 0;
    if ((long long)w * height > (long long)h * width) w = (int)((long long)h * width / height);
    else h = (int)((long long)w * height / width);
    SDL_Rect middle = { (p->width - w) / 2, (p->height - h) / 2, w > 0 ? w : 1, h > 0 ? h : 1 };
    const Uint32 format = SDL_PIXELFORMAT_ARGB8888;
    SDL_Surface *from = SDL_CreateRGBSurfaceWithFormat(0, p->width, p->height, 32, format);
    SDL_Surface *to = SDL_CreateRGBSurfaceWithFormatFrom(out, width, height, 32, 4 * width, format);
    if (from && to) {
        pack_pixels((uint32_t *)from->pixels, p->rgb, (size_t)p->width * (size_t)p->height);
        ok = !SDL_SoftStretchLinear(from, &middle, to, NULL);
    }
    SDL_FreeSurface(from);
    SDL_FreeSurface(to);
    return ok;
}

/* Takes one picture of a folder as the next frame; what is none is named and left out. */
static void add_frame(source *s, const char *path)
{
    picture p;
    char why[256];
    if (!picture_read(&p, path, why)) {
        fail(FAILED, path, why);
        return;
    }
    if (fit_picture(frame_at(s, s->count), s->width, s->height, &p)) s->count++;
    else fail(FAILED, path, SDL_GetError());
    free(p.rgb);
}

static int open_folder(source *s, const char *path)
{
    int count;
    char **files;
    folder_list(path, &files, &count);      /* one that cannot be read has no picture either */
    int status = count ? source_room(s, s->view_width, s->view_height, count) : DONE;
    s->count = 0;
    for (int i = 0; i < count && !status; i++) add_frame(s, files[i]);
    folder_free(files, count);
    return status || s->count ? status : fail(FAILED, path, "no picture in this folder");
}

/* The reader of a pipe, a thread of its own: the loop never waits for a frame. */
static int read_pipe(void *user)
{
    source *s = (source *)user;
    for (int more = 1; more;) {
        SDL_SemWait(s->wanted);
        char *out = (char *)frame_at(s, s->filling);
        for (s->got = 0; more && s->got < frame_bytes(s);) {
            size_t left = frame_bytes(s) - s->got;
            long long n = read(0, out + s->got, left < 1 << 20 ? (unsigned)left : 1 << 20);
            if (n > 0) s->got += (size_t)n;
            else more = n < 0 && errno == EINTR;
        }
        SDL_SemPost(s->ready);
    }
    return 0;
}

/* Has the reader the frame that neither the screen nor the network uses fill. */
static void want_frame(source *s)
{
    for (s->filling = 0; s->filling == s->frame || s->filling == s->held;) s->filling++;
    SDL_SemPost(s->wanted);
}

/* Shows the frame that was read; 0 where the pipe has ended. */
static int take_frame(source *s)
{
    if (s->got < frame_bytes(s)) return 0;
    s->frame = s->filling;
    want_frame(s);
    return 1;
}

/* Starts the reader and waits for the first frame. */
static int open_pipe(source *s)
{
    char why[256];
    int status = source_room(s, s->view_width, s->view_height, PIPE_FRAMES);
    if (status) return status;
    binary_stream(stdin);
    s->wanted = SDL_CreateSemaphore(0);
    s->ready = SDL_CreateSemaphore(0);
    SDL_Thread *reader = SDL_CreateThread(read_pipe, "frames", s);
    if (!s->wanted || !s->ready || !reader) return fail(FAILED, "frames", SDL_GetError());
    SDL_DetachThread(reader);       /* it may wait in a read when the program ends */
    s->frame = s->held = PIPE_FRAMES - 1;
    want_frame(s);
    SDL_SemWait(s->ready);
    if (take_frame(s)) return DONE;
    snprintf(why, sizeof why, "ended after %zu bytes, before a whole BGRA frame of %dx%d", s->got,
             s->width, s->height);
    return fail(FAILED, "standard input", why);
}

static int open_source(source *s, const options *o)
{
    memset(s, 0, sizeof *s);
    s->view_width = o->width;
    s->view_height = o->height;
    if (!strcmp(o->source, "-")) return open_pipe(s);
    return is_directory(o->source) ? open_folder(s, o->source) : open_picture(s, o->source);
}

/* The next frame of a pipe, if it is there, else of those in memory, and the next place of the
   view; 0 when a pipe has ended. */
static int advance_source(source *s, double speed)
{
    if (s->ready) return SDL_SemTryWait(s->ready) || take_frame(s);
    s->frame = (s->frame + 1) % s->count;
    s->angle += 0.006 * speed;
    place_view(s);
    return 1;
}

/* -------------------------------------------------------------------------- */
/* slices: a run of the network, a little in every frame                      */

/* The steps of a run and what they take. A round is a unit for every thread: what they do side by
   side. The last step is ours: it publishes the class map. */
typedef struct slicer {
    swin_context *context;
    int threads, steps;
    int *units;                 /* [steps]: of each step */
    double *cost;               /* [steps]: seconds that a round is expected to take */
    int step, unit;             /* where the run is */
} slicer;

static int slicer_publishes(const slicer *s) { return s->step == s->steps - 1; }

static int slicer_init(slicer *s, swin_context *context, int threads)
{
    swin_step_info info;
    s->context = context;
    s->threads = threads;
    s->step = s->unit = 0;
    for (s->steps = 1; swin_plan_step(context, s->steps - 1, &info);) s->steps++;
    s->units = (int *)calloc((size_t)s->steps, sizeof *s->units);
    s->cost = (double *)calloc((size_t)s->steps, sizeof *s->cost);
    if (!s->units || !s->cost) return 0;
    for (int i = 0; swin_plan_step(context, i, &info); i++) s->units[i] = info.units;
    s->units[s->steps - 1] = 1;
    return 1;
}

/* Runs units of one step that should take at most half of what is `left`: a wrong guess then costs
   little. At least one round; *rounds tells how many. */
static swin_status slicer_run(slicer *s, double left, int *rounds)
{
    int units = s->units[s->step] - s->unit, most = (units + s->threads - 1) / s->threads;
    double fit = left / 2 / s->cost[s->step];
    *rounds = fit >= most ? most : fit > 1 ? (int)fit : 1;
    if (*rounds < most) units = *rounds * s->threads;
    s->unit += units;
    if (s->unit == s->units[s->step]) {
        s->unit = 0;
        s->step++;
    }
    return swin_step(s->context, units);
}

/* Expects more at once, though a stall of the machine counts double at most, and less slowly. */
static void slicer_learn(double *cost, double took)
{
    if (took > 2 * *cost) *cost *= 2;
    else if (took > *cost) *cost = took;
    else *cost -= (*cost - took) / 8;
}

/* -------------------------------------------------------------------------- */
/* the game                                                                   */

enum { GRAPH = 120, GRAPH_HIGH = 40, TEXT_HIGH = 12, LABEL_WIDE = 200, BINS = 20000 };
enum { WHITE = 0xffffff, BLACK = 0, GREEN = 0x60d060, RED = 0xff5040 };

/* How often something took so many hundredths of a millisecond. */
typedef struct histogram {
    unsigned bins[BINS], count;
    double longest;
} histogram;

/* A class map on its way over the picture: a texture in the palette's colours. */
typedef struct layer {
    SDL_Texture *texture;
    int x, y;                   /* of the view that it was made of */
} layer;

/* What is drawn here, pixel by pixel, and laid over the picture: one command for SDL, however many
   letters and lines there are. */
typedef struct panel {
    SDL_Texture *texture;
    uint32_t *pixels;           /* 0xAARRGGBB */
    int width, height;
} panel;

typedef struct game {
    const options *options;
    file_bytes blob;            /* the model file */
    swin_model model;
    void *memory;               /* of the context */
    pool jobs;
    source source;
    slicer slicer;
    int begun_x, begun_y;       /* the view that the network works on */

    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *view;
    panel graph, label;
    uint32_t palette[256];
    uint8_t *ids;               /* the class map shown, [height][width] */
    layer layers[2];            /* [newest] fades in over the other */
    int newest;
    double published, fade;     /* when, and how long it fades */
    int segmentations;

    int cursor_x, cursor_y;
    double opacity;
    float times[GRAPH];         /* milliseconds of the last frames */
    int frames;
    histogram frame_times, slice_times;
    char status[64];            /* the line above the graph */
    const char *failure;        /* of the network */
} game;

static int sdl_failed(const char *what)
{
    fail(FAILED, what, SDL_GetError());
    return FAILED;
}

static SDL_Texture *new_texture(game *g, int width, int height, SDL_BlendMode mode)
{
    SDL_Texture *t = SDL_CreateTexture(g->renderer, SDL_PIXELFORMAT_ARGB8888,
                                       SDL_TEXTUREACCESS_STREAMING, width, height);
    if (t) SDL_SetTextureBlendMode(t, mode);
    return t;
}

static int panel_new(panel *p, game *g, int width, int height)
{
    p->width = width;
    p->height = height;
    p->pixels = (uint32_t *)calloc((size_t)width * (size_t)height, sizeof *p->pixels);
    p->texture = new_texture(g, width, height, SDL_BLENDMODE_BLEND);
    return p->pixels && p->texture;
}

/* Without --frames a window; with it no screen, unless the environment asks for one. */
static int start_video(const options *o)
{
    SDL_SetMainReady();
    if (o->frames) SDL_SetHint(SDL_HINT_VIDEODRIVER, "dummy");
    if (SDL_Init(SDL_INIT_VIDEO)) return sdl_failed("the screen");
    /* Where SDL finds no screen it draws into memory, which nobody would see. */
    if (!SDL_GetHint(SDL_HINT_VIDEODRIVER) && !strcmp(SDL_GetCurrentVideoDriver(), "offscreen"))
        return fail(FAILED, "the screen", "there is none; --frames N --shot FILE.png needs none");
    return DONE;
}

static int open_window(game *g)
{
    const options *o = g->options;
    long long width = (long long)o->width * o->scale, height = (long long)o->height * o->scale;
    if (width > SWIN_MAX_SIDE || height > SWIN_MAX_SIDE)
        return fail(USAGE, "--scale", "the window would be more than 16384 pixels wide or high");
    g->window = SDL_CreateWindow("swin.h", SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED,
                                 (int)width, (int)height, SDL_WINDOW_RESIZABLE);
    if (!g->window) return sdl_failed("the window");
    g->renderer = SDL_CreateRenderer(g->window, -1, o->frames ? SDL_RENDERER_SOFTWARE : 0u);
    if (!g->renderer) return sdl_failed("the renderer");
    SDL_RenderSetLogicalSize(g->renderer, o->width, o->height);
    g->view = new_texture(g, o->width, o->height, SDL_BLENDMODE_NONE);
    for (int i = 0; i < 2; i++)
        g->layers[i].texture = new_texture(g, o->width, o->height, SDL_BLENDMODE_BLEND);
    int ok = g->view && g->layers[0].texture && g->layers[1].texture &&
             panel_new(&g->graph, g, GRAPH, TEXT_HIGH + GRAPH_HIGH) &&
             panel_new(&g->label, g, LABEL_WIDE, TEXT_HIGH);
    return ok ? DONE : sdl_failed("a texture");
}

/* Makes the one context of the game, for pictures of the view's size. */
static int open_network(game *g)
{
    const options *o = g->options;
    swin_error error;
    swin_context *context;
    swin_desc d = {0};
    swin_resizing how = { o->size < 0 ? o->width > o->height ? o->width : o->height : o->size, 1 };
    int why = file_load(o->model, &g->blob);
    if (why) return fail(MODEL, o->model, load_error(why));
    if (swin_open(&g->model, g->blob.data, g->blob.size, SWIN_VERIFY, &error))
        return fail(MODEL, o->model, error.text);
    if (g->model.config.classes > 256)
        return fail(MODEL, o->model, "it has more classes than the 256 of a palette texture");
    d.picture_width = o->width;
    d.picture_height = o->height;
    d.outputs = SWIN_OUT_CLASSES;
    d.flags = SWIN_RUN_WHOLE;       /* each step of the plan once */
    pool_serve(&g->jobs, &d);
    if (swin_input_size(&g->model, o->width, o->height, &how, &d.width, &d.height, &error))
        return fail(MODEL, o->model, error.text);
    size_t size = swin_workspace_size(&g->model, &d, &error);
    if (!size) return fail(MODEL, o->model, error.text);
    g->memory = workspace_new(size);
    g->ids = (uint8_t *)calloc((size_t)o->width, (size_t)o->height);
    if (!g->memory || !g->ids) return fail(FAILED, "memory", "none left for the network");
    if (swin_init(&context, &g->model, &d, g->memory, size, &error))
        return fail(MODEL, o->model, error.text);
    if (!slicer_init(&g->slicer, context, g->jobs.workers + 1))
        return fail(FAILED, "memory", "none left for the slices");
    for (int k = 0; k < g->model.config.classes; k++)
        g->palette[k] = 0xff000000u | swin_class_color(&g->model, k);
    return DONE;
}

/* Lets the network begin with what is seen. Its pixels are read where they lie, by a stride, and
   stay there until the run is over. */
static swin_status begin(game *g)
{
    source *s = &g->source;
    swin_image image = {0};
    image.data = view_pixels(s);
    image.width = s->view_width;
    image.height = s->view_height;
    image.stride = (ptrdiff_t)sizeof(uint32_t) * s->width;
    image.format = SWIN_BGRA8;
    s->held = s->frame;
    g->begun_x = s->x;
    g->begun_y = s->y;
    g->slicer.step = g->slicer.unit = 0;
    return swin_begin(g->slicer.context, &image);
}

/* Takes over a finished class map, one byte a pixel. An engine uploads these bytes as an R8 texture
   and looks the 256 colours up in its shader; SDL has no shaders, so that is done here. */
static void publish(game *g)
{
    const options *o = g->options;
    layer *l = &g->layers[g->newest ^= 1];
    uint32_t *row;
    int pitch;
    memcpy(g->ids, swin_classes(g->slicer.context).data, (size_t)o->width * (size_t)o->height);
    l->x = g->begun_x;
    l->y = g->begun_y;
    if (SDL_LockTexture(l->texture, NULL, (void **)&row, &pitch)) return;
    for (int y = 0; y < o->height; y++, row += pitch / (int)sizeof *row)
        for (int x = 0; x < o->width; x++)
            row[x] = g->palette[g->ids[(size_t)y * (size_t)o->width + (size_t)x]];
    SDL_UnlockTexture(l->texture);

    double now = seconds(), took = now - g->published;
    g->fade = took < 0.25 ? took : 0.25;
    g->published = now;
    g->segmentations++;
}

/* The first segmentation, before the first frame: it touches all memory, and each step's time is
   the first guess of what it takes. */
static swin_status rehearse(game *g)
{
    slicer *s = &g->slicer;
    swin_status status = begin(g);
    for (int step = 0; !status || status == SWIN_MORE; step++) {
        double start = seconds();
        if (slicer_publishes(s)) publish(g);
        else status = swin_step(s->context, s->units[step]);
        s->cost[step] = (seconds() - start) / ((s->units[step] + s->threads - 1) / s->threads);
        if (slicer_publishes(s)) break;
        s->step++;
    }
    return status ? status : begin(g);
}

/* Works on the segmentation until the next round would not end before the deadline. One round runs
   in any case, so that even a tiny budget gets on. */
static swin_status segment(game *g, double deadline)
{
    slicer *s = &g->slicer;
    swin_status status = SWIN_MORE;
    double now = seconds(), start;
    do {
        int step = s->step, rounds = 1;
        start = now;
        if (slicer_publishes(s)) {
            publish(g);
            status = begin(g);
        } else {
            status = slicer_run(s, deadline - now, &rounds);
        }
        now = seconds();
        slicer_learn(&s->cost[step], (now - start) / rounds);
    } while ((!status || status == SWIN_MORE) && now + s->cost[s->step] <= deadline);
    return status == SWIN_MORE ? SWIN_OK : status;
}

/* -------------------------------------------------------------------------- */
/* drawing                                                                    */

/* A box of a colour, 0xRRGGBB, as far as it lies in the panel. */
static void fill(panel *p, int x, int y, int w, int h, uint32_t rgb)
{
    for (int row = y; row < y + h; row++)
        for (int column = x; column < x + w; column++)
            if (row >= 0 && row < p->height && column >= 0 && column < p->width)
                p->pixels[row * p->width + column] = 0xff000000u | rgb;
}

/* Darkens what lies under the left part of a panel, and lets the rest be seen. */
static void clear(panel *p, int width)
{
    for (int i = 0; i < p->width * p->height; i++)
        p->pixels[i] = i % p->width < width ? 0xb8101418u : 0;
}

/* White letters. */
static void draw_text(panel *p, int x, int y, char *text)
{
    static struct { float x, y, z; unsigned char color[4]; } quads[4 * 1024];
    for (char *c = text; *c; c++)
        if (*c < ' ' || *c > '~') *c = '?';         /* the font has no other letters */
    int n = stb_easy_font_print(0, 0, text, NULL, quads, sizeof quads);
    for (int i = 0; i < n; i++) {
        int left = (int)quads[4 * i].x, top = (int)quads[4 * i].y;
        int right = (int)quads[4 * i + 2].x, bottom = (int)quads[4 * i + 2].y;
        fill(p, x + left, y + top, right - left, bottom - top, WHITE);
    }
}

static void draw_panel(game *g, const panel *p, int x, int y)
{
    SDL_Rect place = { x, y, p->width, p->height };
    SDL_UpdateTexture(p->texture, NULL, p->pixels, p->width * (int)sizeof *p->pixels);
    SDL_RenderCopy(g->renderer, p->texture, NULL, &place);
}

/* The class map lies over what it was made of, wherever that has moved meanwhile. */
static void draw_layer(game *g, const layer *l, double alpha)
{
    SDL_Rect place = { l->x - g->source.x, l->y - g->source.y, g->options->width,
                       g->options->height };
    SDL_SetTextureAlphaMod(l->texture, (Uint8)(255 * alpha + 0.5));
    SDL_RenderCopy(g->renderer, l->texture, NULL, &place);
}

/* The newest class map fades in as the one before fades out: together they have the opacity. */
static void draw_layers(game *g)
{
    double part = g->fade > 0 ? (seconds() - g->published) / g->fade : 1;
    if (part > 1 || g->segmentations < 2) part = 1;
    double above = g->opacity * part;
    double below = part < 1 ? g->opacity * (1 - part) / (1 - above) : 0;
    draw_layer(g, &g->layers[!g->newest], below);
    draw_layer(g, &g->layers[g->newest], above);
}

/* The class at a pixel of the view, or -1 where the class map does not reach. */
static int class_below(const game *g, int x, int y)
{
    const layer *l = &g->layers[g->newest];
    x += g->source.x - l->x;
    y += g->source.y - l->y;
    int inside = x >= 0 && y >= 0 && x < g->options->width && y < g->options->height;
    return inside ? g->ids[(size_t)y * (size_t)g->options->width + (size_t)x] : -1;
}

static const char *name_at(const game *g, int x, int y)
{
    int id = class_below(g, x, y);
    const char *name = id < 0 ? "not seen yet" : swin_class_name(&g->model, id);
    return name ? name : "";
}

/* The class under the cursor, beside a box of its colour that lies there. */
static void draw_label(game *g)
{
    panel *p = &g->label;
    char text[64];
    int x = g->cursor_x, y = g->cursor_y, id = class_below(g, x, y);
    snprintf(text, sizeof text, "%.60s", name_at(g, x, y));
    clear(p, 13 + stb_easy_font_width(text));
    fill(p, 2, 2, 7, 7, WHITE);
    fill(p, 3, 3, 5, 5, id < 0 ? BLACK : g->palette[id]);
    draw_text(p, 11, 3, text);
    draw_panel(g, p, x - 5, y - 5);
}

/* The last frames' times, two pixels a millisecond; red where one took longer than a frame may. The
   line is where that is. */
static void draw_graph(game *g)
{
    panel *p = &g->graph;
    double most = 1e3 / g->options->fps;
    clear(p, p->width);
    for (int i = 0; i < GRAPH; i++) {
        float ms = g->times[(g->frames + i) % GRAPH];
        int high = 2 * ms < GRAPH_HIGH ? (int)(2 * ms + 0.5f) : GRAPH_HIGH;
        fill(p, i, p->height - high, 1, high, ms > most ? RED : GREEN);
    }
    int line = 2 * most < GRAPH_HIGH ? (int)(2 * most) : GRAPH_HIGH;
    fill(p, 0, p->height - line, GRAPH, 1, WHITE);
    draw_text(p, 3, 3, g->status);
    draw_panel(g, p, 4, g->options->height - p->height - 4);
}

static void draw(game *g)
{
    const source *s = &g->source;
    SDL_UpdateTexture(g->view, NULL, view_pixels(s), s->width * (int)sizeof *s->pixels);
    SDL_RenderCopy(g->renderer, g->view, NULL, NULL);
    draw_layers(g);
    draw_graph(g);
    draw_label(g);
}

/* SDL keeps room for as many commands as one frame had: lets it have more than any frame will. */
static void reserve_commands(game *g)
{
    SDL_Rect dot = { 0, 0, 1, 1 };
    for (Uint8 i = 0; i < 32; i++) {
        SDL_SetTextureAlphaMod(g->layers[0].texture, i);
        SDL_RenderCopy(g->renderer, g->layers[0].texture, NULL, &dot);
    }
}

/* -------------------------------------------------------------------------- */
/* the loop                                                                   */

static void count_time(histogram *h, double time)
{
    int bin = time < BINS * 1e-5 ? (int)(time * 1e5) : BINS - 1;
    h->bins[bin]++;
    h->count++;
    if (time > h->longest) h->longest = time;
}

/* Milliseconds that this part of the times did not exceed. */
static double percentile(const histogram *h, double part)
{
    double wanted = part * h->count, seen = 0;
    int i = 0;
    while (i < BINS - 1 && (seen += h->bins[i]) < wanted) i++;
    double most = (i + 1) / 100.0;
    return i == BINS - 1 || most > 1e3 * h->longest ? 1e3 * h->longest : most;
}

/* 0: the game is over. */
static int handle_events(game *g)
{
    static const double opacities[] = { 0, 0.3, 0.6, 1 };
    for (SDL_Event e; SDL_PollEvent(&e);) {
        if (e.type == SDL_QUIT) return 0;
        if (e.type == SDL_MOUSEMOTION && g->options->at[0] < 0) {
            g->cursor_x = e.motion.x;
            g->cursor_y = e.motion.y;
        }
        if (e.type != SDL_KEYDOWN) continue;
        if (e.key.keysym.sym == SDLK_ESCAPE) return 0;
        if (e.key.keysym.sym != SDLK_SPACE) continue;
        int next = 0;
        while (next < 4 && opacities[next] <= g->opacity) next++;
        g->opacity = opacities[next % 4];
    }
    return 1;
}

/* Sleeps until it is time for the next frame; one that is late sets the clock anew. */
static void wait_for(double *next, double period)
{
    double now = seconds();
    *next += period;
    if (*next < now) *next = now;
    else SDL_Delay((Uint32)(1e3 * (*next - now)));
}

/* Everything that a frame does but waiting; 0 when the game is over. Nothing here allocates, but
   that SDL's software renderer keeps lists of what it blends. */
static int play_frame(game *g)
{
    double start = seconds(), begun;
    if (!handle_events(g) || !advance_source(&g->source, g->options->speed)) return 0;
    begun = seconds();
    if (segment(g, begun + 1e-3 * g->options->budget)) {
        g->failure = swin_error_text(g->slicer.context);
        return 0;
    }
    count_time(&g->slice_times, seconds() - begun);
    draw(g);
    SDL_RenderPresent(g->renderer);
    double took = seconds() - start;
    count_time(&g->frame_times, took);
    g->times[g->frames++ % GRAPH] = (float)(1e3 * took);
    return 1;
}

/* Renews the line above the graph, four times a second. */
static void tell(game *g, double *told, int *then)
{
    double now = seconds();
    if (now - *told < 0.25) return;
    snprintf(g->status, sizeof g->status, "%.1f ms, %.1f maps/s",
             (double)g->times[(g->frames + GRAPH - 1) % GRAPH],
             (g->segmentations - *then) / (now - *told));
    *told = now;
    *then = g->segmentations;
}

/* Returns the seconds that it played. */
static double play(game *g)
{
    double start = seconds(), next = start, told = start;
    int first = g->segmentations, then = first;
    while (play_frame(g) && g->frames != g->options->frames) {
        tell(g, &told, &then);
        wait_for(&next, 1 / g->options->fps);
    }
    g->segmentations -= first;
    return seconds() - start;
}

static void print_times(const char *what, const histogram *h)
{
    printf("%s: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", what, percentile(h, 0.5),
           percentile(h, 0.99), 1e3 * h->longest);
}

static int report(const game *g, double played)
{
    const options *o = g->options;
    unsigned late = 0;
    for (int i = (int)(1e5 / o->fps); i < BINS; i++) late += g->frame_times.bins[i];
    printf("frames: %d, %.1f a second, %u longer than %.1f ms\n", g->frames, g->frames / played,
           late, 1e3 / o->fps);
    print_times("frame time", &g->frame_times);
    print_times("of it the network", &g->slice_times);
    printf("segmentations: %d, %.1f a second\n", g->segmentations, g->segmentations / played);
    printf("at %d,%d: %s\n", g->cursor_x, g->cursor_y, name_at(g, g->cursor_x, g->cursor_y));
    return fflush(stdout) ? fail(FAILED, "standard output", strerror(errno)) : DONE;
}

/* Draws the last frame again and writes it. */
static int write_shot(game *g, const char *path)
{
    int w, h, why = ENOMEM;
    draw(g);
    SDL_GetRendererOutputSize(g->renderer, &w, &h);
    unsigned char *rgb = (unsigned char *)malloc((size_t)w * (size_t)h * 3);
    if (rgb && SDL_RenderReadPixels(g->renderer, NULL, SDL_PIXELFORMAT_RGB24, rgb, 3 * w))
        why = EIO;
    else if (rgb) why = picture_write(path, rgb, w, h, 3);
    free(rgb);
    return why ? fail(FAILED, path, strerror(why)) : DONE;
}

static int write_results(game *g)
{
    const options *o = g->options;
    int status = o->shot ? write_shot(g, o->shot) : DONE;
    int why = o->ids ? picture_write(o->ids, g->ids, o->width, o->height, 1) : 0;
    return why ? fail(FAILED, o->ids, strerror(why)) : status;
}

/* What a pipe left behind, or the network. */
static int check_end(const game *g)
{
    const source *s = &g->source;
    if (g->failure) return fail(MODEL, g->options->model, g->failure);
    if (!s->ready || s->got == 0 || s->got == frame_bytes(s)) return DONE;
    return fail(FAILED, "standard input", "ended within a frame: are its frames BGRA and as large "
                "as --view says?");
}

static int run(game *g)
{
    const options *o = g->options;
    pool_start(&g->jobs, o->threads);
    g->opacity = o->opacity;
    g->cursor_x = o->at[0] < 0 ? o->width / 2 : o->at[0];
    g->cursor_y = o->at[0] < 0 ? o->height / 2 : o->at[1];
    int status = open_network(g);
    if (!status) status = start_video(o);
    if (!status) status = open_source(&g->source, o);
    if (!status) status = open_window(g);
    if (status) return status;
    if (rehearse(g)) return fail(MODEL, o->model, swin_error_text(g->slicer.context));
    reserve_commands(g);
    double played = play(g);
    status = report(g, played);
    int end = check_end(g), written = write_results(g);
    return status ? status : end ? end : written;
}

int main(int argc, char **argv)
{
    static game g;
    options o;
    prepare_streams();
    int status = parse_options(&o, argc, argv);
    if (status >= 0) return status;
    g.options = &o;
    status = run(&g);
    pool_stop(&g.jobs);
    SDL_Quit();
    if (!g.source.ready) free(g.source.pixels);     /* else the reader may still fill a frame */
    free(g.slicer.units);
    free(g.slicer.cost);
    free(g.memory);
    free(g.ids);
    free(g.graph.pixels);
    free(g.label.pixels);
    file_free(&g.blob);
    return status;
}
