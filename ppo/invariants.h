/* What must hold in every step of PPO, whatever the settings: cheap enough to stay on. The first
 * that does not stops the run: STATUS_BROKEN, or STATUS_DIVERGED where a number is not finite. The
 * message names sample, token and tensor. Pure functions of what a step has computed. */
#ifndef PPO_INVARIANTS_H
#define PPO_INVARIANTS_H

#include "data/rollout.h"
#include "ppo/ppo_metrics.h"

typedef struct InvariantsOfRollout {
    const Rollout *rollout;
    const double *entropy, *kl_exact; /* (tokens) as in PpoScores */
    const double *value;              /* (PPO_METRICS) up to PPO_SAMPLING_ENTROPY */
    Digest reference, reward_model;   /* as they were at the start */
    int vocabulary, longest;          /* longest: tokens of a response */
    int32_t end;
    bool untouched;                   /* the policy has had no update yet: it is the reference */
} InvariantsOfRollout;

/* Numbers finite; reference and reward model unchanged; KL exactly 0 before the first update; EOS
 * in its place; k3 and exact KL not negative; entropy in [0, ln V]; rlhf_reward = score - kl_coef
 * kl, also as the sum of token rewards and in the metrics; return = advantage + value. */
Status invariants_of_rollout(const InvariantsOfRollout *facts);

/* The ratio of token t (among all) in the first minibatch of an update: exactly 1. */
Status invariants_of_ratio(const Rollout *rollout, int64_t token, double logp, double ratio,
                           bool clipped);

/* Metrics of the update: finite, policy/entropy_avg in [0, ln V], no negative KL or share. Where
 * only the critic moved the policy's are not numbers. */
Status invariants_of_update(const double *value, int vocabulary, bool critic_only);

#endif
