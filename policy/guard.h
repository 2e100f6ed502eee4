/* Which updates of a network are made. One whose loss or gradient is not finite is left out and
 * counted; the third in a row ends the run. A loss far above its running mean (a spike) is left
 * out, ends the run or passes, as the settings say. One left out still draws the mean up, as if it
 * had been the largest loss that passes, and after GUARD_WARMUP in a row the statistics begin anew:
 * leaving out moves no weight, so a loss that stays up is none that would pass.
 *
 * A decision depends on the settings and on the state below, which stands in every checkpoint, so
 * a resumed run decides alike. */
#ifndef POLICY_GUARD_H
#define POLICY_GUARD_H

#include "data/manifest.h"
#include "data/stage.h"
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
    int64_t skipped;       /* updates left out since step 1 */
    int64_t in_a_row;      /* the last of them, for not being finite */
    int64_t losses;        /* in the two below; spikes are judged from GUARD_WARMUP on */
    double mean, variance; /* of the loss, running, each new one weighing 1 / GUARD_WARMUP */
    int64_t spikes;        /* the last losses, for being one */
} Guard;

/* All exponent bits are one: infinite or not a number, whatever the compiler thinks of them. */
bool not_finite(double x);

/* Whether the update with this loss (per token or pair) is to be left out. `found` is STATUS_OK or
 * the STATUS_DIVERGED of its computation, whose text is kept where it ends the run. A failure
 * leaves the guard as it was, so that going on from there fails alike. */
Status guard_judge(bool *skip, Guard *guard, Status found, double loss,
                   const OptimiserConfig *config);

/* Writes checkpoint `step`. */
typedef Status GuardSave(void *context, int64_t step);

/* After guard_judge ended the run: the state of `step`, just before it, is saved where it is not
 * yet, so that going on from it repeats the failure. STATUS_DIVERGED with the same text, and behind
 * it where the state is kept, if saving it succeeded, and what to try. */
Status guard_keep(const Stage *stage, int64_t step, GuardSave *save, void *context);

/* A number that is not finite, met elsewhere: the weights may be as bad, so nothing is saved.
 * Behind the text of STATUS_DIVERGED and STATUS_BROKEN comes what is kept to reproduce it: `dump`,
 * where there is such a file (NULL: none), and the newest checkpoint; behind that of the first also
 * what to try. Any other status passes. */
Status guard_explain(const Stage *stage, Status status, const char *dump);

/* Updates left out so far; NaN for none, so that nothing is written where nothing was left out. */
double guard_metric(const Guard *guard);

/* NAME-guard.json in a checkpoint's folder, for a guard that has something to say: its file's name
 * is then added to `names`. Reading: where the manifest names none, it is as new. */
Status guard_write(char names[][128], int *count, const char *folder, const char *name,
                   const Guard *guard);
Status guard_read(Guard *guard, const char *folder, const char *name, const Manifest *manifest);

#endif
