/* core.h - what the package calls beside swin.h's own functions: threads for a context */
#ifndef CORE_H
#define CORE_H

#include "swin.h"

struct pool;

/* A pool of `threads` threads, the caller's among them, for one context at a time; NULL: no memory.
   Free with workers_free. It does not survive fork: its threads stay in the parent. */
struct pool *workers_new(int threads);

/* Stops the threads; no context may be running on them. NULL is fine. */
void workers_free(struct pool *p);

/* Lets contexts made with `d` work on the pool. */
void workers_serve(struct pool *p, swin_desc *d);

/* The processors that this process may use, by its affinity and its group's quota. */
int processors(void);

#endif
