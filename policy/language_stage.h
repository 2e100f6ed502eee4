/* What pretraining and SFT have in common: next-token steps over minibatches, losses on held-out
 * sequences, checkpoints, resuming and publishing. How a network starts and which sequences make
 * step k is theirs to say; they depend on no step before, so a resumed run is the same. */
#ifndef POLICY_LANGUAGE_STAGE_H
#define POLICY_LANGUAGE_STAGE_H

#include "data/sequences.h"
#include "data/stage.h"
#include "data/tokenizer.h"
#include "policy/blocks.h"
#include "policy/guard.h"
#include "policy/model.h"
#include "policy/optimiser.h"

#include <stdbool.h>
#include <stdint.h>

/* The metrics of both tables, in their order; the last row is the stage's own. */
enum {
    LANGUAGE_LOSS,
    LANGUAGE_HELD_OUT,
    LANGUAGE_ACCURACY,
    LANGUAGE_RATE,
    LANGUAGE_NORM,
    LANGUAGE_TOKENS,
    LANGUAGE_SKIPPED,
    LANGUAGE_OWN,
    LANGUAGE_METRICS
};

/* The rows before the stage's own. */
#define LANGUAGE_METRIC_ROWS                                                                       \
    {"loss", "nats a token", "-mean of log softmax(logits)[next token]",                           \
     "target tokens of the step's minibatch", 0, NAN,                                              \
     "above ln(vocabulary): the learning rate is too high"},                                       \
    {"heldout/loss", "nats a token", "as loss, nothing learned from it",                           \
     "target tokens of held-out sequences", 0, NAN,                                                \
     "rising while loss falls: the text is learned by heart"},                                     \
    {"accuracy", "share", "mean of [argmax logits = next token]",                                  \
     "target tokens of the step's minibatch", 0, 1, "flat: nothing is learned"},                   \
    {"lr", "1", "schedule(step) * learning_rate", "the step", 0, NAN,                              \
     "held too high: loss jumps and grad_norm climbs"},                                            \
    {"grad_norm", "1", "global L2 norm of the gradient before clipping", "the step", 0, NAN,       \
     "far above max_grad_norm throughout: the learning rate is too high"},                         \
    {"tokens", "tokens", "sequence tokens worked through since step 1", "the run so far", 0, NAN,  \
     "work done: runs compare at equal tokens, not at equal steps"},                               \
    SKIPPED_METRIC_ROW("skipped_updates")

/* One minibatch: all blocks of `plan`. */
typedef struct LanguageBatch {
    const Sequences *sequences;
    const BlockPlan *plan;
    int64_t tokens; /* rows in all blocks */
    const Sequences *labels; /* of the same lengths, what the loss reads; NULL: the sequences */
} LanguageBatch;

/* Makes minibatch `step` (from 0); allocates nothing. */
typedef Status LanguageDraw(void *context, LanguageBatch *batch, int64_t step);

typedef struct LanguageStage {
    Stage *stage; /* open */
    const Tokenizer *tokenizer;
    const OptimiserConfig *optimiser;
    int64_t steps, evaluate_every;
    int shards;
    bool response_only;

    Model model; /* to start from; loaded from the checkpoint where the stage is resumed */
    const Sequences *held_out; /* may be empty */
    const Sequences *held_out_labels; /* NULL: held_out */
    LanguageDraw *draw;
    void *context;
    int rows, longest, blocks; /* the most that any minibatch of `draw` has */

    double own_value;     /* the last metric with each held-out loss; NAN: none */
    bool own_scales_loss; /* it is own_value * heldout/loss */
} LanguageStage;

/* Trains from the stage's step to the last, publishes policy.h5 and tokenizer.json and finishes
 * the stage. STATUS_STOPPED after a checkpoint when the stage should stop. */
Status language_stage_run(LanguageStage *language);

#endif
