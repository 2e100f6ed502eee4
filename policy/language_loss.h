/* The loss of language modelling for the trainer: minus the mean over target tokens of
 * log softmax(logits)[next], Radford et al. 2019. Row t of a sequence predicts its token t + 1. */
#ifndef POLICY_LANGUAGE_LOSS_H
#define POLICY_LANGUAGE_LOSS_H

#include "data/sequences.h"
#include "policy/blocks.h"
#include "policy/trainer.h"

#include <stdbool.h>

typedef struct LanguageLoss {
    const Sequences *sequences; /* labels: targets and prompts are read here */
    bool response_only; /* prompt tokens are no targets */
    double tokens;      /* what the gradient is divided by: targets in the minibatch */
} LanguageLoss;

/* sums[0] += loss in nats summed over targets; sums[1] += targets; sums[2] += correct argmax. */
TrainerLoss language_loss;

/* Targets in the blocks index[0..count). */
double language_targets(const Sequences *sequences, const BlockPlan *plan, const int *index,
                        int count, bool response_only);

#endif
