/* The settings of proximal policy optimisation. */
#ifndef PPO_PPO_CONFIG_H
#define PPO_PPO_CONFIG_H

#include "data/config.h"
#include "data/status.h"
#include "policy/optimiser.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct PpoConfig {
    int64_t steps;       /* iterations */
    int64_t rollouts;    /* answers an iteration, one a prompt */
    int64_t epochs, minibatches, shards;
    double temperature;
    double kl_coef;      /* at the start; fixed, or where the controller begins */
    char kl_controller[CONFIG_TEXT]; /* fixed | adaptive */
    double kl_target;    /* adaptive: nats a sequence */
    double kl_horizon;   /* adaptive: episodes; 0: five batches */
    double kl_ceiling;   /* mean KL of an iteration above it ends the run, nats a sequence; 0: not */
    double gamma, lambda;
    double clip_range, value_clip_range;
    double entropy_coef;
    double target_kl;    /* an epoch's mean approxkl above 1.5 of this ends the update; 0: never */
    bool whiten_advantages, whiten_rewards;
    double missing_eos_penalty;
    char missing_eos[CONFIG_TEXT]; /* replace | subtract | none */
    double reward_clip;  /* scores are held in [-x, x] before the missing-EOS rule; 0: not */
    int64_t critic_warmup; /* first iterations that train only the critic */
    int64_t sample_every;  /* steps between answers to the 16 fixed prompts; 0: never */
    OptimiserConfig optimiser, critic_optimiser;
} PpoConfig;

extern const ConfigSection ppo_section;

/* What the table of ranges cannot say: STATUS_SETTINGS. */
Status ppo_config_check(const PpoConfig *config);

/* What enters the reward of an answer that the reward model gave `raw_score`: held in the clip
 * range, then the missing-EOS rule. */
double ppo_config_score(const PpoConfig *config, double raw_score, bool terminated);

/* Coefficient after an iteration in which the policy moved and whose mean KL was `kl`. */
double ppo_config_next_kl_coef(const PpoConfig *config, double coefficient, double kl);

#endif
