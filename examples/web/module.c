/* examples/web/module.c - swin.h as a WebAssembly module, for swinh.js

   Without a C library: memory is the caller's, given as WebAssembly.Memory, and grows at its end as
   the model and a picture's workspace ask for it. The memory is shared: helpers, which are workers
   with an instance of their own over the same memory, take part in each step of a run. */

#include <stddef.h>
#include <stdint.h>

#define SWIN_NO_STDIO
#define SWIN_NO_MALLOC
#define SWIN_NO_AVERAGE
#define SWIN_NO_ATTENTION_MAP
#define SWIN_STATIC
#define SWIN_IMPLEMENTATION
#include "../../swin.h"

#define EXPORT(name) __attribute__((export_name(#name)))

enum { MOST_THREADS = 16, HELPER_STACK = 1 << 18, PAGE = 1 << 16 };

/* --- what clang calls of the C library -------------------------------------------------------- */

/* With bulk memory clang makes instructions of the first three; their bodies are not calls. */
void *memcpy(void *to, const void *from, size_t n) { return __builtin_memcpy(to, from, n); }
void *memmove(void *to, const void *from, size_t n) { return __builtin_memmove(to, from, n); }
void *memset(void *to, int value, size_t n) { return __builtin_memset(to, value, n); }

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y) return *x - *y;
    return 0;
}

void *memchr(const void *in, int wanted, size_t n)
{
    const unsigned char *x = in;
    for (; n; n--, x++)
        if (*x == (unsigned char)wanted) return (void *)(uintptr_t)x;
    return NULL;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n]) n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}

char *strchr(const char *s, int wanted) { return memchr(s, wanted, strlen(s) + 1); }

/* --- threads ---------------------------------------------------------------------------------- */

/* A job is a call of parallel_for. Every helper takes part in every job once: the next one begins
   when all have left the last. */
static struct {
    uint32_t number, next, left; /* of the job; the task not yet taken; helpers that have left it */
    uint32_t helpers;
    swin_task task;
    void *arg;
    uint32_t count;
} job;

static unsigned char stacks[MOST_THREADS - 1][HELPER_STACK] __attribute__((aligned(16)));

static void take_part(void)
{
    for (;;) {
        const uint32_t i = __atomic_fetch_add(&job.next, 1, __ATOMIC_RELAXED);
        if (i >= job.count) return;
        job.task(job.arg, (int)i);
    }
}

static void parallel_for(void *user, swin_task task, void *arg, int count)
{
    uint32_t left;
    (void)user;
    job.task = task, job.arg = arg, job.count = (uint32_t)count;
    __atomic_store_n(&job.next, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&job.left, 0, __ATOMIC_RELAXED);
    __atomic_fetch_add(&job.number, 1, __ATOMIC_SEQ_CST);
    __builtin_wasm_memory_atomic_notify((int *)&job.number, MOST_THREADS);
    take_part();
    while ((left = __atomic_load_n(&job.left, __ATOMIC_SEQ_CST)) < job.helpers)
        __builtin_wasm_memory_atomic_wait32((int *)&job.left, (int)left, -1);
}

/* The end of the stack of helper `index`, which its instance must start from. */
EXPORT(helper_stack) unsigned char *helper_stack(uint32_t index)
{
    return index < MOST_THREADS - 1 ? stacks[index] + HELPER_STACK : NULL;
}

/* Where a helper waits for the number to change. It waits in JavaScript: V8 11.3, that of node 20,
   loses local variables of WebAssembly around a wait in a loop. */
EXPORT(job_number) uint32_t *job_number(void) { return &job.number; }

/* What a helper does in each job. */
EXPORT(help) void help(void)
{
    take_part();
    __atomic_fetch_add(&job.left, 1, __ATOMIC_SEQ_CST);
    __builtin_wasm_memory_atomic_notify((int *)&job.left, 1);
}

/* Before the first run: so many helpers are ready. */
EXPORT(set_helpers) void set_helpers(uint32_t helpers) { job.helpers = helpers; }

/* --- memory: model, picture and workspace, one behind the other ------------------------------- */

extern unsigned char __heap_base;

static struct {
    unsigned char *blob;
    size_t size;
    swin_model model;
    swin_status opened;
    swin_context *context;
    unsigned char *pixels;
    int width, height;
    swin_error error;
} state;

/* Sees to it that the bytes at `from` exist; 0 where the memory cannot grow so far. */
static int exist(const unsigned char *from, size_t bytes)
{
    const uint64_t end = (uint64_t)(uintptr_t)from + bytes;
    const uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end <= have) return 1;
    return __builtin_wasm_memory_grow(0, (size_t)((end - have + PAGE - 1) / PAGE)) != (size_t)-1;
}

static unsigned char *align64(unsigned char *p)
{
    return (unsigned char *)(((uintptr_t)p + 63) & ~(uintptr_t)63);
}

static void *no_memory(const char *what)
{
    swin__fail(&state.error, SWIN_MEMORY, "there is not enough memory for %s", what);
    return NULL;
}

/* Where the caller puts a model file of so many bytes; NULL: see error_text. */
EXPORT(place_model) unsigned char *place_model(size_t size)
{
    unsigned char *blob = align64(&__heap_base);
    state.context = NULL;
    state.blob = NULL;
    if (!exist(blob, size)) return no_memory("the model");
    state.blob = blob, state.size = size;
    return blob;
}

/* Checks the model file that was placed; 0: see error_text. */
EXPORT(open_model) int open_model(void)
{
    state.opened = swin_open(&state.model, state.blob, state.size, SWIN_VERIFY, &state.error);
    if (state.opened) return 0;
    if (state.model.config.classes > 0 && state.model.config.classes <= 256) return 1;
    swin__fail(&state.error, SWIN_UNSUPPORTED, "the model has %d classes; 1 to 256 can be shown",
               (int)state.model.config.classes);
    return 0;
}

/* Where the caller puts the RGBA pixels of pictures of this size; NULL: see error_text. */
EXPORT(start) unsigned char *start(int width, int height, int exact)
{
    unsigned char *pixels = align64(state.blob + state.size), *workspace;
    swin_desc d = {0};
    size_t size;
    state.context = NULL;
    d.picture_width = width, d.picture_height = height;
    d.tasks = job.helpers ? 16 * (int)(job.helpers + 1) : 1;
    d.parallel_for = job.helpers ? parallel_for : NULL;
    d.cpu = exact && !swin_cpu_exact(SWIN_CPU_BEST) ? SWIN_CPU_SCALAR : SWIN_CPU_BEST;
    size = swin_workspace_size(&state.model, &d, &state.error);
    if (!size) return NULL;
    workspace = align64(pixels + 4 * (size_t)width * (size_t)height);
    if (!exist(pixels, (size_t)(workspace - pixels)) || !exist(workspace, size))
        return no_memory("a picture of this size");
    if (swin_init(&state.context, &state.model, &d, workspace, size, &state.error)) return NULL;
    state.pixels = pixels, state.width = width, state.height = height;
    return pixels;
}

/* The class of every pixel of the picture that was put there, a byte each; NULL: see error_text. */
EXPORT(run) const unsigned char *run(void)
{
    swin_image in = {0};
    in.format = SWIN_RGBA8;
    in.width = state.width, in.height = state.height;
    in.data = state.pixels;
    in.stride = 4 * (ptrdiff_t)state.width;
    if (swin_run(state.context, &in) == SWIN_OK) return swin_classes(state.context).data;
    swin__fail(&state.error, SWIN_ARGUMENT, "%s", swin_error_text(state.context));
    return NULL;
}

/* --- questions -------------------------------------------------------------------------------- */

EXPORT(error_text) const char *error_text(void) { return state.error.text; }
EXPORT(unsupported) int unsupported(void) { return state.opened == SWIN_UNSUPPORTED; }
EXPORT(class_count) int class_count(void) { return (int)state.model.config.classes; }
EXPORT(class_name) const char *class_name(int k) { return swin_class_name(&state.model, k); }
EXPORT(class_color) uint32_t class_color(int k) { return swin_class_color(&state.model, k); }
EXPORT(fuses) int fuses(void) { return swin_cpu_exact(SWIN_CPU_BEST); }
EXPORT(is_exact) int is_exact(void) { return swin_cpu_exact(swin_cpu_used(state.context)); }
