/* One training step, the same for every stage: a minibatch's blocks are dealt to a fixed number of
 * shards; a shard adds up its blocks' gradients in order; shards are summed in a fixed tree; AdamW.
 * Threads only decide who computes which shard, so they change no bit. */
#ifndef POLICY_TRAINER_H
#define POLICY_TRAINER_H

#include "data/sequences.h"
#include "policy/blocks.h"
#include "policy/guard.h"
#include "policy/model.h"
#include "policy/optimiser.h"
#include "policy/transformer.h"

enum { TRAINER_SUMS = 16 };

/* What a loss gets: a block after forward. It reads activations->hidden, adds its head's
 * gradients to `gradient`, fills activations->dhidden (all rows; zero where nothing flows) and adds
 * to `sums`. */
typedef struct TrainerBlock {
    const Model *model;
    Model *gradient;
    Activations *activations;
    const Block *block;
    float *logits;  /* (rows, V) scratch, HEAD_LANGUAGE only */
    float *rows;    /* (rows, C) scratch for gathered rows */
    float *drows;   /* (rows, C) */
    float *scalar;  /* (rows) scratch */
    float *dscalar; /* (rows) */
} TrainerBlock;

/* `sums` belong to this block alone and start at zero; they are added up in block order. */
typedef Status TrainerLoss(void *context, double sums[TRAINER_SUMS], TrainerBlock *block);

typedef struct Trainer {
    Model *model;
    AdamW adamw;
    Guard guard;
    double units; /* tokens or pairs that sums[0] is of, for the guard; set before a step; 0: one */
    bool skipped; /* by the last trainer_step: nothing was updated */
    bool refused; /* in the last trainer_step the guard ended the run: nothing was updated */
    int shards, threads;
    Model *gradient;  /* (shards) */
    struct TrainerWorker *worker; /* (threads) */
    double *sums;     /* (blocks of the largest minibatch, TRAINER_SUMS) */
    double *square;   /* (chunks of the weights) squares of the gradient added up */
    int rows, longest, blocks_capacity;
    Arena arena;
} Trainer;

/* `rows`, `longest`: largest block and sequence to come; `blocks`: most blocks in a minibatch.
 * Memory runs out here or never. `shards` 0: for measuring alone, without gradients and AdamW. */
Status trainer_init(Trainer *trainer, Model *model, int shards, int threads, int rows, int longest,
                    int blocks);
void trainer_free(Trainer *trainer);

/* Gradients of the minibatch made of plan's blocks index[0..count) into trainer->gradient[0] and
 * the sums. The loss itself divides by whatever it averages over. */
Status trainer_gradient(double sums[TRAINER_SUMS], Trainer *trainer, const Sequences *sequences,
                        const BlockPlan *plan, const int *index, int count, TrainerLoss *loss,
                        void *context);

/* The above, then clip and AdamW at learning rate `rate`. *norm: global norm before clipping.
 * The guard judges loss and gradient (policy/guard.h); a norm whose square is no float counts as
 * not finite. Where it leaves the update out, trainer->skipped is set, norm may be anything, and so
 * may sums: NAN where there is no loss. The third loss or gradient in a row that is not finite:
 * STATUS_DIVERGED with the tensor's name, and trainer->refused is set, as by a spike that ends the
 * run. A weight that is not finite after the update: STATUS_DIVERGED alone. */
Status trainer_step(double sums[TRAINER_SUMS], double *norm, Trainer *trainer,
                    const Sequences *sequences, const BlockPlan *plan, const int *index, int count,
                    TrainerLoss *loss, void *context, const OptimiserConfig *config, double rate);

/* Forward only, for measuring: the same blocks, no gradient (block->gradient is NULL, and the loss
 * must leave dhidden alone). */
Status trainer_measure(double sums[TRAINER_SUMS], Trainer *trainer, const Sequences *sequences,
                       const BlockPlan *plan, TrainerLoss *loss, void *context);

#endif
