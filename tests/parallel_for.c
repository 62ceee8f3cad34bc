/* tests/parallel_for.c - a recipe of examples/parallel_for: each task once, the bits of one thread

   cc -O2 tests/parallel_for.c -lm -lpthread && ./a.out
   tests/parallel_for.py has the flags of the other recipes. */

#define SWIN_IMPLEMENTATION
#include "../examples/common.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

enum { THREADS = 3, MOST = 100 };

/* Each recipe: workers_start and workers_stop around what a program does. */
#if defined(RECIPE_OPENMP)
#include "../examples/parallel_for/openmp.h"
static void *workers_start(void) { omp_set_num_threads(THREADS); return NULL; }
static void workers_stop(void *user) { (void)user; }
static const swin_parallel_for workers_run = openmp_for;
#elif defined(RECIPE_DISPATCH)
#include "../examples/parallel_for/dispatch.h"
static void *workers_start(void) { return NULL; }
static void workers_stop(void *user) { (void)user; }
static const swin_parallel_for workers_run = dispatch_for;
#elif defined(RECIPE_THREADS)
#include "../examples/parallel_for/threads.hpp"
static void *workers_start(void) { return new thread_pool(THREADS); }
static void workers_stop(void *user) { delete static_cast<thread_pool *>(user); }
static const swin_parallel_for workers_run = thread_pool::run;
#elif defined(RECIPE_SDL)
#define SDL_MAIN_HANDLED
#include <SDL.h>
#include "../examples/parallel_for/sdl.h"
static sdl_pool workers;
static void *workers_start(void) { return sdl_pool_start(&workers, THREADS) ? &workers : NULL; }
static void workers_stop(void *user) { sdl_pool_stop((sdl_pool *)user); }
static const swin_parallel_for workers_run = sdl_pool_run;
#else
static pool workers;
static void *workers_start(void) { pool_start(&workers, THREADS); return &workers; }
static void workers_stop(void *user) { pool_stop((pool *)user); }
static const swin_parallel_for workers_run = pool_run;
#endif

static void count_task(void *arg, int index) { ((int *)arg)[index]++; }

static void test_each_once(void)
{
    void *user = workers_start();
    int ok = 1;
    for (int count = 0; count <= MOST; count++) {
        int runs[MOST + 1] = {0};
        workers_run(user, count_task, runs, count);
        for (int i = 0; i <= MOST; i++) ok &= runs[i] == (i < count);
    }
    workers_stop(user);
    report("each task once, round after round", ok);
}

static void test_start_and_stop(void)
{
    int runs[MOST] = {0}, ok = 1;
    for (int round = 0; round < 20; round++) {
        void *user = workers_start();
        if (round % 2) workers_run(user, count_task, runs, MOST);
        workers_stop(user);
    }
    for (int i = 0; i < MOST; i++) ok &= runs[i] == 10;
    report("started and stopped", ok);
}

/* The results with `tasks` pieces a step, on the recipe's threads where user is not NULL. */
static uint64_t run(const swin_model *m, int tasks, swin_parallel_for parallel_for, void *user)
{
    const int w = 61, h = 45;
    unsigned char *rgb = make_rgb(w, h);
    const swin_image in = picture(rgb, w, h);
    swin_desc d = desc_of(w, h);
    d.tasks = tasks;
    d.parallel_for = parallel_for;
    d.user = user;
    const session s = start(m, d);
    const uint64_t h64 = swin_run(s.c, &in) ? 0 : results(s.c);
    free(s.memory);
    free(rgb);
    return h64;
}

static void test_model(int which)
{
    const blob b = model_blob(which);
    void *user = workers_start();
    swin_model m;
    if (swin_open(&m, b.bytes, b.size, 0, NULL)) exit(1);
    const uint64_t expected = run(&m, 0, NULL, NULL);
    const int ok = expected && expected == run(&m, 16 * THREADS, workers_run, user) &&
                   expected == run(&m, 2, workers_run, user);
    report(model_names[which], ok);
    workers_stop(user);
    free(b.bytes);
}

int main(void)
{
#ifndef _WIN32
    alarm(600);                 /* a thread that waits for ever is a failure */
#endif
    test_each_once();
    test_start_and_stop();
    for (int which = 0; which < MODELS; which += 4) test_model(which);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
