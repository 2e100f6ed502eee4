/* Comparisons as a reward model trains on them: two splits, and the training split cut into
 * minibatches of blocks for every step of every epoch before step 0. */
#ifndef REWARD_REWARD_PAIRS_H
#define REWARD_REWARD_PAIRS_H

#include "data/arena.h"
#include "data/preference.h"
#include "policy/blocks.h"

/* The pairs of one split: sequences 2k and 2k + 1 are the chosen and the rejected answer of pair k.
 * Zero-initialise. */
typedef struct Pairs {
    int count;
    Sequences answers;
    double *gold_margin; /* (count) NaN without gold */
    double *gap;         /* (count) for whoever scores them */
    double *score;       /* (2 count) likewise */
    int32_t *length;     /* (2 count) tokens */
    Arena arena;
} Pairs;

/* The pairs of `split`. A completion that `positions` do not hold: STATUS_DATA. */
Status pairs_take(Pairs *pairs, const Preferences *from, uint8_t split, int positions);
void pairs_free(Pairs *pairs);

/* What step k trains on: all blocks of plan[k], which name sequences of the split; the two of a
 * pair are adjacent. Zero-initialise. */
typedef struct Minibatches {
    int64_t steps, steps_an_epoch;
    int pairs, batch; /* in the split; a step, but for the last of an epoch */
    BlockPlan *plan;  /* (steps) */
} Minibatches;

/* Every epoch walks the split in an order of its own, from the stream (seed, RNG_REWARD,
 * RNG_ORDER, epoch). Blocks come in multiples of `shards`. */
Status minibatches_cut(Minibatches *batches, const Pairs *pairs, int64_t epochs, int64_t batch,
                       int shards, uint64_t seed);
void minibatches_free(Minibatches *batches);
int minibatch_pairs(const Minibatches *batches, int64_t step);

#endif
