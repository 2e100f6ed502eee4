/* One PPO update: a function of a rollout and of the weights and moments before it, and of
 * nothing else. Policy and critic each take a step a minibatch, with their own optimiser. */
#ifndef PPO_PPO_UPDATE_H
#define PPO_PPO_UPDATE_H

#include "data/rollout.h"
#include "policy/trainer.h"
#include "ppo/faults.h"
#include "ppo/ppo_config.h"

typedef struct PpoUpdater {
    Trainer policy, critic;
    float *advantage; /* (tokens) as the policy loss takes it */
    int *order;       /* (blocks of a batch) */
    Arena arena;
} PpoUpdater;

/* Memory for batches of config->rollouts answers, `rows` rows a block and `longest` tokens a
 * sequence at most. The models must outlive it. */
Status ppo_updater_init(PpoUpdater *updater, Model *policy, Model *critic, const PpoConfig *config,
                        int rows, int longest, int threads);
void ppo_updater_free(PpoUpdater *updater);

/* The arrays of a rollout as sequences; nothing is copied, nothing to free. */
Sequences rollout_sequences(const Rollout *rollout);
/* The blocks it was scored in; free with block_plan_free. */
Status rollout_plan(BlockPlan *plan, const Rollout *rollout);

/* Token rewards, advantages, returns, kl and rlhf_reward of a rollout from its log-probabilities,
 * values and scores. `compact` (tokens) is scratch. */
void ppo_shape(Rollout *rollout, float *compact, const PpoConfig *config);
/* Its two parts: token rewards, kl and rlhf_reward; then, from the rewards, advantages and
 * returns. */
void ppo_shape_rewards(Rollout *rollout);
void ppo_shape_advantages(Rollout *rollout, float *compact, const PpoConfig *config);

/* Means over all minibatches of all epochs; NaN for the policy where only the critic moved. */
typedef struct PpoUpdateReport {
    double approxkl, approxkl3, clipfrac, entropy, ratio, ratio_variance, policy_loss, policy_norm;
    double value_loss, value_clipfrac, critic_norm;
    double first_deviation; /* mean |ratio - 1| in the first minibatch: exactly 0 */
    int epochs;
    bool starved; /* a network's minibatches were all left out: what is told of them is NaN */
} PpoUpdateReport;

typedef struct PpoUpdateJob {
    const Rollout *rollout;
    const PpoConfig *config;
    uint64_t seed;
    bool critic_only;
    const Fault *fault; /* NULL: none */
    /* Asked before every minibatch whether to stop: it leaves with STATUS_STOPPED then, and weights
     * that no step ends with: they are to be thrown away. NULL: never. */
    const StageHooks *hooks;
} PpoUpdateJob;

/* Ratios that are not exactly 1 in the first minibatch: STATUS_BROKEN; the third
 * minibatch in a row whose loss or gradient is not finite: STATUS_DIVERGED. Both name epoch,
 * minibatch and, the first, sample and token. */
Status ppo_update(PpoUpdateReport *report, PpoUpdater *updater, const PpoUpdateJob *job);

/* The losses, for who wants gradients alone (tests, replay). `rollout` gives old log-probabilities,
 * old values and returns; `advantage` (tokens) is as the loss takes it; `tokens` are the response
 * tokens that the mean is over. */
typedef struct PpoLoss {
    const Rollout *rollout;
    const Sequences *sequences;
    const PpoConfig *config;
    const float *advantage;
    double tokens;
    const Fault *fault; /* NULL: none */
    bool unmoved; /* the weights are the sampler's: a ratio other than 1 is a failure */
} PpoLoss;

/* Where the losses leave their sums over response tokens. */
enum PpoPolicySum {
    POLICY_SUM_LOSS, /* without the entropy bonus */
    POLICY_SUM_APPROXKL, POLICY_SUM_K3, POLICY_SUM_CLIPPED, POLICY_SUM_ENTROPY, POLICY_SUM_RATIO,
    POLICY_SUM_DEVIATION
};
enum PpoValueSum { VALUE_SUM_LOSS, VALUE_SUM_CLIPPED };

TrainerLoss ppo_policy_loss;
TrainerLoss ppo_value_loss;

/* Advantages as the policy loss takes them, (tokens): whitened once over the batch, in a copy,
 * where `whitened`; 0 at prompt tokens. */
void ppo_loss_advantages(float *advantage, const Rollout *rollout, bool whitened);

#endif
