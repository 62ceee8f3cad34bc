/* tests/threads.c - eight contexts over one model in eight threads, each with a pool of its own,
   while another thread cancels: no race, and the results of one thread

   clang -std=c99 -O1 -g -fsanitize=thread tests/threads.c -lm -lpthread && ./a.out */

#define SWIN_IMPLEMENTATION
#include "../examples/common.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

enum { CONTEXTS = 8, ENDS = 2 };

/* A thread that runs its context until ENDS runs went to their ends and ENDS were cancelled. */
typedef struct runner {
    session s;
    pool workers;
    swin_image in;
    uint64_t expected;
    uint32_t random;
    int wants, done;            /* set by this thread: cancel the run that goes on; no more runs */
    int ok;
} runner;

static uint32_t draw(uint32_t *state, uint32_t sides)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % sides;
}

static swin_status run_slices(runner *r)
{
    swin_status status = swin_begin(r->s.c, &r->in);
    if (status == SWIN_OK) status = SWIN_MORE;
    while (status == SWIN_MORE) status = swin_step(r->s.c, 1 + (int)draw(&r->random, 9));
    return status;
}

static void *run_again_and_again(void *arg)
{
    runner *r = (runner *)arg;
    int ended = 0, cancelled = 0;
    while (ended < ENDS || cancelled < ENDS) {
        const int slices = (int)draw(&r->random, 2), wants = ended >= ENDS || draw(&r->random, 2);
        __atomic_store_n(&r->wants, wants, __ATOMIC_RELAXED);
        const swin_status status = slices ? run_slices(r) : swin_run(r->s.c, &r->in);
        ended += status == SWIN_OK;
        cancelled += status == SWIN_CANCELLED;
        r->ok &= status == SWIN_OK ? results(r->s.c) == r->expected
                                   : status == SWIN_CANCELLED && !swin_logits(r->s.c).data;
    }
    __atomic_store_n(&r->done, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void *cancel_at_random(void *arg)
{
    runner *runners = (runner *)arg;
    uint32_t random = 1;
    for (int left = CONTEXTS; left;) {
        const struct timespec moment = {0, (long)draw(&random, 3000000)};
        nanosleep(&moment, NULL);
        left = 0;
        for (int i = 0; i < CONTEXTS; i++) {
            runner *r = &runners[i];
            left += !__atomic_load_n(&r->done, __ATOMIC_RELAXED);
            if (draw(&random, 3) || !__atomic_exchange_n(&r->wants, 0, __ATOMIC_RELAXED)) continue;
            swin_cancel(r->s.c);
        }
    }
    return NULL;
}

/* Contexts of different sizes and numbers of tasks; what they must give, from one thread. */
static void prepare(runner *r, const swin_model *m, int i)
{
    const int w = 20 + 7 * i, h = 50 - 5 * i;
    swin_desc d = desc_of(w, h);
    memset(r, 0, sizeof *r);
    r->in = picture(make_rgb(w, h), w, h);
    r->random = (uint32_t)i;
    r->ok = 1;
    d.cpu = SWIN_CPU_SCALAR;
    const session alone = start(m, d);
    if (swin_run(alone.c, &r->in)) exit(1);
    r->expected = results(alone.c);
    free(alone.memory);
    pool_start(&r->workers, 1 + i % 3);
    d.cpu = i % 2 ? SWIN_CPU_BEST : SWIN_CPU_SCALAR;
    d.tasks = 2 + i;
    d.parallel_for = pool_run;
    d.user = &r->workers;
    r->s = start(m, d);
}

static void finish(runner *r)
{
    pool_stop(&r->workers);
    free(r->s.memory);
    free((void *)(uintptr_t)r->in.data);
}

static void test_model(int which)
{
    const blob b = model_blob(which);
    static runner runners[CONTEXTS];
    pthread_t thread[CONTEXTS], canceller;
    swin_model m;
    int ok = 1;
    if (swin_open(&m, b.bytes, b.size, SWIN_VERIFY, NULL)) exit(1);
    for (int i = 0; i < CONTEXTS; i++) prepare(&runners[i], &m, i);
    for (int i = 0; i < CONTEXTS; i++)
        if (pthread_create(&thread[i], NULL, run_again_and_again, &runners[i])) exit(2);
    if (pthread_create(&canceller, NULL, cancel_at_random, runners)) exit(2);
    for (int i = 0; i < CONTEXTS; i++) pthread_join(thread[i], NULL);
    pthread_join(canceller, NULL);
    for (int i = 0; i < CONTEXTS; i++) {
        ok &= runners[i].expected && runners[i].ok;
        finish(&runners[i]);
    }
    report(model_names[which], ok);
    free(b.bytes);
}

int main(void)
{
    alarm(600);                 /* a thread that waits for ever is a failure */
    for (int which = 0; which < MODELS; which++) test_model(which);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
