/* core.c - the library and the examples' pool of threads, compiled into the package's module */
#define SWIN_IMPLEMENTATION
#include "common.h"
#include "core.h"

pool *workers_new(int threads)
{
    pool *p = (pool *)malloc(sizeof *p);
    if (p) pool_start(p, threads);
    return p;
}

void workers_free(pool *p)
{
    if (!p) return;
    pool_stop(p);
    free(p);
}

void workers_serve(pool *p, swin_desc *d) { pool_serve(p, d); }

int processors(void) { return processor_count(); }
