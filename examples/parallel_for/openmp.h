/* openmp.h - a parallel_for of OpenMP: cc -fopenmp

       desc.tasks = 16 * omp_get_max_threads();
       desc.parallel_for = openmp_for;

   Each thread takes consecutive tasks. Inside a parallel region of the program it runs in the one
   thread that calls it, as OpenMP's nested regions are off unless asked for. */
#ifndef OPENMP_H
#define OPENMP_H

#include <omp.h>

static void openmp_for(void *user, swin_task task, void *arg, int count)
{
    (void)user;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < count; i++) task(arg, i);
}

#endif
