/* dispatch.h - a parallel_for of Apple's Grand Central Dispatch: macOS, iOS

       desc.tasks = 64;                        the system has as many threads as it likes
       desc.parallel_for = dispatch_for;

   The tasks run at the priority of the thread that calls. */
#ifndef DISPATCH_H
#define DISPATCH_H

#ifndef __APPLE__
#error "dispatch.h is for Apple's systems: OpenMP, C++, SDL and common.h have one for others."
#endif
#include <dispatch/dispatch.h>

typedef struct dispatch_job { swin_task task; void *arg; } dispatch_job;

static void dispatch_task(void *user, size_t index)
{
    const dispatch_job *job = (const dispatch_job *)user;
    job->task(job->arg, (int)index);
}

static void dispatch_for(void *user, swin_task task, void *arg, int count)
{
    dispatch_job job = {task, arg};
    (void)user;
    dispatch_apply_f((size_t)count, DISPATCH_APPLY_AUTO, &job, dispatch_task);
}

#endif
