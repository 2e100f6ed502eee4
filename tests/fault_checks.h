/* What a PPO stage left, and checks that judge it without knowing how the program was changed: each
 * looks at files, journal and exit status, or at what the losses say. */
#ifndef TESTS_FAULT_CHECKS_H
#define TESTS_FAULT_CHECKS_H

#include "tests/support.h"

#include "tests/toy_ppo.h"

enum { STEPS = 4, MOST = 64 };

/* A PPO stage and what it left. */
typedef struct Trial {
    Toy toy;
    uint64_t seed;
    Status status;
    int files; /* rollout files of steps 1, 2, ... */
    RolloutFile file[STEPS];
    MetricColumns journal;
} Trial;

/* `plain` trains as people do; `still` never moves, has one epoch and lambda 1. NULL where the
 * fault lies in another stage. */
typedef struct Subject {
    Trial *plain, *still;
    const char *sft, *reward; /* run directories of those stages */
} Subject;

typedef bool Check(const Subject *subject);

/* A run of the toy world with `fault` (NULL: none); end with trial_end. */
void trial_run(Trial *trial, const Fault *fault, uint64_t seed, bool still);
void trial_end(Trial *trial);

/* Log-probabilities of sequences by a model, indexed as their tokens. */
void log_probabilities(float *logp, const Model *model, const Sequences *sequences,
                       const BlockPlan *plan, double temperature);
bool near(double a, double b, double tolerance); /* relative, and absolute below 1 */

/* A check holds where a subject has nothing to judge by. */
Check invariants_hold,
    rewards_follow_their_definition,
    at_first_only_ends_are_paid,
    advantages_follow_their_definition,
    returns_forget_the_critic,
    k3_is_of_the_right_side,
    coefficient_follows_the_journal,
    coefficient_follows_the_files,
    frozen_networks_are_those_published,
    sft_policy_says_reference_logp,
    checkpoint_says_logp,
    surprise_is_the_entropy,
    answers_are_drawn_again,
    equal_prompts_get_different_answers,
    updates_come_out_again,
    losses_of_still_networks_follow_from_the_file,
    clip_has_its_corners,
    value_clip_is_around_the_old_value;

#endif
