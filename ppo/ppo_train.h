/* Stage 5: proximal policy optimisation against the reward model (ALGORITHMS 1.9).
 *
 * An iteration generates, scores, shapes and closes rollouts/NNNNNN.h5; the update is a function of
 * that file and of the checkpoint of the step before, and of nothing else. Gold is computed for
 * the file and the journal and read by nothing. */
#ifndef PPO_PPO_TRAIN_H
#define PPO_PPO_TRAIN_H

#include "data/config.h"
#include "data/metrics.h"
#include "data/stage.h"
#include "data/tasks/task.h"
#include "policy/optimiser.h"

typedef struct PpoConfig {
    int64_t steps;       /* iterations */
    int64_t rollouts;    /* answers an iteration, one a prompt */
    int64_t epochs, minibatches, shards;
    double temperature;
    double kl_coef;      /* at the start; fixed, or where the controller begins */
    char kl_controller[CONFIG_TEXT]; /* fixed | adaptive */
    double kl_target;    /* adaptive: nats a sequence */
    double kl_horizon;   /* adaptive: episodes; 0: five batches */
    double gamma, lambda;
    double clip_range, value_clip_range;
    double entropy_coef;
    double target_kl;    /* an epoch's mean approxkl above 1.5 of this ends the update; 0: never */
    bool whiten_advantages, whiten_rewards;
    double missing_eos_penalty;
    char missing_eos[CONFIG_TEXT]; /* replace | subtract | none */
    double reward_clip;  /* scores are held in [-x, x]; 0: not */
    int64_t critic_warmup; /* first iterations that train only the critic */
    int64_t sample_every;  /* steps between answers to the 16 fixed prompts; 0: never */
    OptimiserConfig optimiser, critic_optimiser;
} PpoConfig;

extern const ConfigSection ppo_section;
extern const MetricTable ppo_metrics;

typedef struct PpoJob {
    Stage *stage;
    const Task *task;
    const PpoConfig *config;
    const char *config_text; /* resolved config.json, into rollout files for people */
    int64_t text_rows;       /* rollout.text_rows */
    int64_t keep_every;      /* option: a checkpoint kept for good every so many steps; 0: a tenth of the run */
} PpoJob;

/* Reads sft/policy.h5 and reward/model.h5; leaves policy.h5, critic.h5, tokenizer.json, rollouts/
 * and samples.h5. */
Status ppo_run(const PpoJob *job);

#endif
