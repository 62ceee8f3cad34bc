/* allocation_trap.c - aborts a program of SDL that allocates between its first and its last frame

   cc -shared -fPIC tests/allocation_trap.c -o trap.so -ldl
   LD_PRELOAD=./trap.so TRAP_FRAMES=100 program

   Allocations of all threads and libraries count, from the end of the first SDL_RenderPresent to
   the begin of the one that TRAP_FRAMES numbers; but not what SDL itself allocates while it
   presents: its software renderer keeps lists of the surfaces that it blends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static volatile int armed;
static __thread int presents;           /* is this thread in SDL_RenderPresent? */

static void check(const char *what)
{
    if (!armed || presents) return;
    armed = 0;
    (void)!write(2, what, strlen(what));
    (void)!write(2, " called after the first frame\n", 30);
    abort();
}

void *malloc(size_t size) { check("malloc"); return __libc_malloc(size); }
void *calloc(size_t count, size_t size) { check("calloc"); return __libc_calloc(count, size); }

void *realloc(void *memory, size_t size)
{
    check("realloc");
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    check("aligned_alloc");
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    check("posix_memalign");
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

void SDL_RenderPresent(void *renderer)
{
    static void (*present)(void *);
    static int frames;
    const char *last = getenv("TRAP_FRAMES");
    if (!present) *(void **)&present = dlsym(RTLD_NEXT, "SDL_RenderPresent");
    frames++;
    if (!last || frames >= atoi(last)) armed = 0;
    presents = 1;
    present(renderer);
    presents = 0;
    if (last && frames == 1) armed = 1;
}
