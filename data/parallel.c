#define _GNU_SOURCE /* sched_getaffinity */
#include "data/parallel.h"

#include <limits.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>

Status parallel_for(int count, int threads, ParallelWork *work, void *context)
{
    const int team = threads < 1 ? 1 : threads < count ? threads : count > 0 ? count : 1;
    int lowest = INT_MAX;
    Status first = STATUS_OK;
    char text[2048] = "";
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
    for (int item = 0; item < count; item++) {
        const Status status = work(context, item, omp_get_thread_num());
        if (status != STATUS_OK) {
#pragma omp critical(parallel_failure)
            if (item < lowest) {
                lowest = item;
                first = status;
                snprintf(text, sizeof text, "%s", status_message());
            }
        }
    }
    return first == STATUS_OK ? STATUS_OK : status_fail(first, "%s", text);
}

int parallel_cpus(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
    const int count = CPU_COUNT(&allowed);
    return count > 0 ? count : 1;
}
