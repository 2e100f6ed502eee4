/* Threads. Work is cut into items whose results land in places of their own; threads only
 * decide who computes which item, so no result depends on their number. */
#ifndef DATA_PARALLEL_H
#define DATA_PARALLEL_H

#include "data/status.h"

/* One item. `worker` in [0, threads) names the scratch memory this call may use alone. */
typedef Status ParallelWork(void *context, int item, int worker);

/* Runs work(context, i, worker) for every i in [0, count) on up to `threads` threads. All items
 * run; the status and text are those of the lowest failing item, so errors do not depend on
 * threads either. */
Status parallel_for(int count, int threads, ParallelWork *work, void *context);

/* The CPUs this process may use. */
int parallel_cpus(void);

#endif
