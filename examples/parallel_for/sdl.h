/* sdl.h - a parallel_for of SDL2's threads, started once: include SDL.h before it

       sdl_pool pool;
       if (sdl_pool_start(&pool, 4)) ...       this thread and three more; else SDL_GetError()
       desc.tasks = 16 * pool.threads;
       desc.parallel_for = sdl_pool_run;
       desc.user = &pool;

   The pool stays where it is until sdl_pool_stop, outlives the contexts that work on it, and serves
   one of them at a time. */
#ifndef SDL_POOL_H
#define SDL_POOL_H

enum { SDL_POOL_MAX = 64 };             /* threads at most */

/* A thread, and the consecutive tasks that it takes first: whoever has none left helps others. */
typedef struct sdl_member {
    struct sdl_pool *pool;
    SDL_Thread *thread;
    SDL_sem *begin;
    SDL_atomic_t next;
    int end;
} sdl_member;

typedef struct sdl_pool {
    sdl_member members[SDL_POOL_MAX];   /* the first is whoever calls sdl_pool_run */
    SDL_sem *done;
    int threads;
    swin_task task;                     /* NULL: the threads are to end */
    void *arg;
} sdl_pool;

static void sdl_pool_take(sdl_pool *p, int first)
{
    for (int i = 0; i < p->threads; i++) {
        sdl_member *m = &p->members[(first + i) % p->threads];
        for (int index; (index = SDL_AtomicAdd(&m->next, 1)) < m->end;) p->task(p->arg, index);
    }
}

static int sdl_pool_work(void *user)
{
    sdl_member *m = (sdl_member *)user;
    for (;;) {
        SDL_SemWait(m->begin);
        if (!m->pool->task) return 0;
        sdl_pool_take(m->pool, (int)(m - m->pool->members));
        SDL_SemPost(m->pool->done);
    }
}

static void sdl_pool_run(void *user, swin_task task, void *arg, int count)
{
    sdl_pool *p = (sdl_pool *)user;
    p->task = task;
    p->arg = arg;
    for (int i = 0; i < p->threads; i++) {
        SDL_AtomicSet(&p->members[i].next, (int)((Sint64)count * i / p->threads));
        p->members[i].end = (int)((Sint64)count * (i + 1) / p->threads);
    }
    for (int i = 1; i < p->threads; i++) SDL_SemPost(p->members[i].begin);
    sdl_pool_take(p, 0);
    for (int i = 1; i < p->threads; i++) SDL_SemWait(p->done);
}

static void sdl_pool_stop(sdl_pool *p)
{
    p->task = NULL;
    for (int i = 1; i < p->threads; i++) SDL_SemPost(p->members[i].begin);
    for (int i = 1; i < p->threads; i++) {
        SDL_WaitThread(p->members[i].thread, NULL);
        SDL_DestroySemaphore(p->members[i].begin);
    }
    SDL_DestroySemaphore(p->done);
}

/* Returns 1, or 0 where SDL could not start all of them: SDL_GetError says why. */
static int sdl_pool_start(sdl_pool *p, int threads)
{
    const int wanted = threads < 1 ? 1 : threads < SDL_POOL_MAX ? threads : SDL_POOL_MAX;
    SDL_memset(p, 0, sizeof *p);
    p->done = SDL_CreateSemaphore(0);
    for (p->threads = 1; p->done && p->threads < wanted; p->threads++) {
        sdl_member *m = &p->members[p->threads];
        m->pool = p;
        m->begin = SDL_CreateSemaphore(0);
        if (m->begin) m->thread = SDL_CreateThread(sdl_pool_work, "swin", m);
        if (m->thread) continue;
        if (m->begin) SDL_DestroySemaphore(m->begin);
        break;
    }
    if (p->done && p->threads == wanted) return 1;
    sdl_pool_stop(p);
    return 0;
}

#endif
