/* Which updates of a network are made. One whose loss or gradient is not finite is left out and
 * counted; the third in a row ends the run. A loss far above its running mean (a spike) is left
 * out, ends the run or passes, as the settings say.
 *
 * A decision depends on the settings and on the state below, which stands in every checkpoint, so
 * a resumed run decides alike. */
#ifndef POLICY_GUARD_H
#define POLICY_GUARD_H

#include "data/manifest.h"
#include "data/status.h"
#include "policy/optimiser.h"

#include <stdbool.h>
#include <stdint.h>

/* Of a table of metrics. */
#define SKIPPED_METRIC_ROW(name)                                                                   \
    {name, "updates", "those left out as not finite or as spikes", "since step 1", 0, 0,           \
     "there from the first one on: something overflows or a batch is unlike all others"}

enum { GUARD_IN_A_ROW = 3, GUARD_WARMUP = 20 };

/* Zero-initialise. */
typedef struct Guard {
    int64_t skipped;      /* updates left out since step 1 */
    int64_t in_a_row;     /* the last of them, for not being finite */
    int64_t losses;       /* in the two below; spikes are judged from GUARD_WARMUP on */
    double mean, variance; /* of the loss, running, each new one weighing 1 / GUARD_WARMUP */
} Guard;

/* All exponent bits are one: infinite or not a number, whatever the compiler thinks of them. */
bool not_finite(double x);

/* Whether the update with this loss (per token or pair) is to be left out. `found` is STATUS_OK or
 * the STATUS_DIVERGED of its computation, whose text is kept where it ends the run. A failure
 * leaves the guard as it was, so that going on from there fails alike. */
Status guard_judge(bool *skip, Guard *guard, Status found, double loss,
                   const OptimiserConfig *config);

/* The last failure, behind it where the state of `step`, just before it, was kept: below the
 * stage's `folder` of the run. */
Status guard_kept(const char *run, const char *folder, int64_t step);

/* Updates left out so far; NaN for none, so that nothing is written where nothing was left out. */
double guard_metric(const Guard *guard);

/* NAME-guard.json in a checkpoint's folder, for a guard that has something to say: its file's name
 * is then added to `names`. Reading: where the manifest names none, it is as new. */
Status guard_write(char names[][128], int *count, const char *folder, const char *name,
                   const Guard *guard);
Status guard_read(Guard *guard, const char *folder, const char *name, const Manifest *manifest);

#endif
