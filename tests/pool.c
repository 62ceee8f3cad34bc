/* tests/pool.c - the examples' thread pool: each task once, neighbours by one thread, nobody idle

   cc -std=c99 -O2 tests/pool.c -lm -lpthread && ./a.out     (also with -fsanitize=thread) */

#define SWIN_NO_SIMD        /* nothing runs a model here */
#define SWIN_NO_WINOGRAD
#define SWIN_IMPLEMENTATION
#include "../examples/common.h"
#include "report.h"

enum { MOST = 70 };

/* A round: how often each task ran and in which thread, 0 the caller's. */
typedef struct note {
    pthread_t caller;
    pthread_mutex_t lock;
    int runs[MOST], thread[MOST], done;
    int meet;                   /* a task waits until so many have begun, at most the threads */
    int begun, wait_for, last;  /* task `wait_for` waits for all others, and is the last to end */
} note;

static void note_start(note *n)
{
    memset(n, 0, sizeof *n);
    n->caller = pthread_self();
    n->wait_for = -1;
    pthread_mutex_init(&n->lock, NULL);
}

/* The value of a counter that other threads raise. */
static int look(note *n, const int *counter)
{
    int value;
    pthread_mutex_lock(&n->lock);
    value = *counter;
    pthread_mutex_unlock(&n->lock);
    return value;
}

static void count_task(void *arg, int index)
{
    note *n = (note *)arg;
    n->runs[index]++;           /* a race of two threads, if both had the index */
    n->thread[index] = !pthread_equal(pthread_self(), n->caller);
    pthread_mutex_lock(&n->lock);
    n->begun++;
    pthread_mutex_unlock(&n->lock);
    while (look(n, &n->begun) < n->meet) continue;
    if (index == n->wait_for)
        while (look(n, &n->done) < n->last) continue;
    pthread_mutex_lock(&n->lock);
    n->done++;
    pthread_mutex_unlock(&n->lock);
}

static int all_once(const note *n, int count)
{
    for (int i = 0; i < MOST; i++)
        if (n->runs[i] != (i < count)) return 0;
    return n->done == count;
}

static void test_each_once(void)
{
    for (int threads = 1; threads <= 5; threads++) {
        char what[60];
        pool p;
        int ok = 1;
        pool_start(&p, threads);
        for (int count = 0; count <= MOST; count++) {
            note n;
            note_start(&n);
            pool_run(&p, count_task, &n, count);
            ok &= all_once(&n, count);
        }
        ok &= p.workers + 1 == threads;
        pool_stop(&p);
        sprintf(what, "%d threads, 0 to %d tasks, each once", threads, MOST);
        report(what, ok);
    }
}

/* Both threads surely work. In each half, the caller's first, then the worker's, its owner has the
   tasks up to some place and the other those behind it. */
static void test_neighbours(void)
{
    enum { COUNT = 16, HALF = COUNT / 2 };
    pool p;
    int ok = 1;
    pool_start(&p, 2);
    for (int round = 0; round < 200; round++) {
        note n;
        note_start(&n);
        n.meet = 2;
        pool_run(&p, count_task, &n, COUNT);
        ok &= all_once(&n, COUNT) && n.thread[0] == 0 && n.thread[HALF] == 1;
        for (int i = 1; i < HALF; i++)
            ok &= n.thread[i] >= n.thread[i - 1] && n.thread[HALF + i] <= n.thread[HALF + i - 1];
    }
    pool_stop(&p);
    report("each thread takes neighbours, and helps from the other end", ok);
}

static void test_help(void)
{
    enum { COUNT = 30 };
    for (int threads = 2; threads <= 4; threads++) {
        char what[60];
        note n;
        pool p;
        int ok = 1;
        pool_start(&p, threads);
        for (int held = 0; held < COUNT; held += 7) {
            note_start(&n);
            n.wait_for = held;
            n.last = COUNT - 1;
            pool_run(&p, count_task, &n, COUNT);
            ok &= all_once(&n, COUNT);
        }
        pool_stop(&p);
        sprintf(what, "%d threads, one held up: others take its tasks", threads);
        report(what, ok);
    }
}

static void test_rounds(void)
{
    enum { ROUNDS = 5000 };
    pool p;
    int ok = 1;
    pool_start(&p, 3);
    for (int round = 0; round < ROUNDS; round++) {
        note n;
        note_start(&n);
        pool_run(&p, count_task, &n, 3);
        ok &= all_once(&n, 3);
    }
    pool_stop(&p);
    report("round after round", ok);
    for (int i = 0; i < 50; i++) {
        note n;
        note_start(&n);
        pool_start(&p, 3);
        if (i % 2) pool_run(&p, count_task, &n, 3);
        pool_stop(&p);
        ok &= all_once(&n, i % 2 * 3);
    }
    report("started and stopped", ok);
}

int main(void)
{
    alarm(600);                 /* a thread that waits for ever is a failure */
    test_each_once();
    test_neighbours();
    test_help();
    test_rounds();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
