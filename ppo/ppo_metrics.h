/* What a PPO iteration reports: names are TRL's where TRL has one. Everything under objective/ is a
 * function of the rollout file alone. */
#ifndef PPO_PPO_METRICS_H
#define PPO_PPO_METRICS_H

#include "data/metrics.h"
#include "data/rollout.h"

typedef enum PpoMetric {
    PPO_KL,
    PPO_KL_K2,
    PPO_KL_K3,
    PPO_ENTROPY,
    PPO_NON_SCORE_REWARD,
    PPO_RLHF_REWARD,
    PPO_SCORES,
    PPO_SCORES_STD,
    PPO_RAW_SCORES,
    PPO_GOLD,
    PPO_KL_COEF,
    PPO_LENGTH,
    PPO_TERMINATED,
    PPO_UNIQUE,
    PPO_EOS_TOKENS,
    PPO_EXPLAINED_VAR,
    PPO_KL_EXACT,
    PPO_SAMPLING_ENTROPY,
    PPO_APPROXKL,
    PPO_APPROXKL_K3,
    PPO_CLIPFRAC,
    PPO_UPDATE_ENTROPY,
    PPO_POLICY_LOSS,
    PPO_VALUE_LOSS,
    PPO_VALUE_CLIPFRAC,
    PPO_RATIO,
    PPO_RATIO_VAR,
    PPO_FIRST_RATIO,
    PPO_POLICY_NORM,
    PPO_CRITIC_NORM,
    PPO_EPOCHS,
    PPO_LR,
    PPO_CRITIC_LR,
    PPO_EPISODE,
    /* known where all answers are enumerated */
    PPO_EXACT_KL,
    PPO_EXACT_KL_K1,
    PPO_EXACT_KL_K3,
    PPO_EXACT_GOLD,
    PPO_EXACT_PROXY,
    PPO_EXACT_ENTROPY,
    PPO_EXACT_OBJECTIVE,
    PPO_EXACT_OPTIMUM,
    PPO_EXACT_REGRET,
    PPO_EXACT_OPTIMUM_KL,
    PPO_EXACT_COSINE,
    PPO_SKIPPED,
    PPO_CRITIC_SKIPPED,
    PPO_METRICS, /* how many */
} PpoMetric;

extern const MetricTable ppo_metrics;
extern const MetricAlias ppo_aliases[]; /* ppo_aliases.c */

/* Everything from PPO_KL to PPO_EXPLAINED_VAR into value[PPO_METRICS], from the numbers of the
 * file, in double. Gold is NaN where an answer has none. */
void ppo_rollout_metrics(double *value, const Rollout *rollout);

#endif
