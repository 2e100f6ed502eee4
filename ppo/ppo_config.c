#include "ppo/ppo_config.h"

#include "ppo/kl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const ConfigField ppo_fields[] = {
    FIELD_INTEGER(PpoConfig, steps, 60, 1, 1e9, "iterations: rollouts, then an update"),
    FIELD_INTEGER(PpoConfig, rollouts, 256, 1, 1e6, "answers an iteration, one a prompt"),
    FIELD_INTEGER(PpoConfig, epochs, 2, 1, 1000, "passes over the rollouts of an iteration"),
    FIELD_INTEGER(PpoConfig, minibatches, 4, 1, 1e6, "optimiser steps an epoch"),
    FIELD_INTEGER(PpoConfig, shards, 8, 1, 4096,
                  "parts of a minibatch whose gradients are computed apart; changes last bits"),
    FIELD_REAL(PpoConfig, temperature, 1, 0.01, 100,
               "of sampling and of every log-probability; 1: the model's own distribution"),
    FIELD_REAL(PpoConfig, kl_coef, 0.05, 0, 1000,
               "reward lost for a nat of log-probability gained over the reference"),
    FIELD_CHOICE(PpoConfig, kl_controller, "fixed", "fixed|adaptive",
                 "whether kl_coef follows the measured KL"),
    FIELD_REAL(PpoConfig, kl_target, 6, 1e-6, 1e6, "adaptive: KL aimed at, nats a sequence"),
    FIELD_REAL(PpoConfig, kl_horizon, 0, 0, 1e12,
               "adaptive: episodes in which kl_coef may move by a fifth, no fewer than rollouts; "
               "0: five batches"),
    FIELD_REAL(PpoConfig, kl_ceiling, 0, 0, 1e6,
               "mean KL of an iteration that ends the run before its update, nats a sequence; 0: "
               "never"),
    FIELD_REAL(PpoConfig, gamma, 1, 0, 1, "discount of a reward a token later"),
    FIELD_REAL(PpoConfig, lambda, 0.95, 0, 1,
               "generalised advantage estimation: 0 trusts the critic, 1 only the rewards"),
    FIELD_REAL(PpoConfig, clip_range, 0.2, 0, 1e9,
               "how far a probability may move from the sampler's, as a ratio"),
    FIELD_REAL(PpoConfig, value_clip_range, 0.2, 0, 1e9,
               "how far a value may move from the old one; 0: any distance"),
    FIELD_REAL(PpoConfig, entropy_coef, 0, 0, 1000, "loss lost for a nat a token of entropy"),
    FIELD_REAL(
        PpoConfig, target_kl, 0, 0, 1000,
        "an epoch whose approxkl exceeds 1.5 of this, nats a token, ends the update; 0: never"),
    FIELD_FLAG(PpoConfig, whiten_advantages, 1,
               "give advantages mean 0 and variance 1 over the batch"),
    FIELD_FLAG(PpoConfig, whiten_rewards, 0,
               "give token rewards variance 1 over the batch, their mean kept"),
    FIELD_REAL(PpoConfig, missing_eos_penalty, 1, 0, 1e6,
               "for an answer that ran out of places, see missing_eos"),
    FIELD_CHOICE(PpoConfig, missing_eos, "replace", "replace|subtract|none",
                 "score becomes minus the penalty, is lowered by it, or stands"),
    FIELD_REAL(PpoConfig, reward_clip, 0, 0, 1e6,
               "scores are held between -x and x, before missing_eos; 0: never"),
    FIELD_INTEGER(PpoConfig, critic_warmup, 0, 0, 1e9,
                  "first iterations that train only the critic; at least 5 where the reward model "
                  "reads in both directions"),
    FIELD_INTEGER(PpoConfig, sample_every, 10, 0, 1e9,
                  "iterations between answers to the 16 fixed prompts; 0: never"),
    OPTIMISER_SHAPED_FIELDS(PpoConfig, optimiser, "", "linear", 3e-4, 0, 0.05, 0.999, 1e-5, 0),
    OPTIMISER_SHAPED_FIELDS(PpoConfig, critic_optimiser, "critic_", "linear", 1e-3, 0, 0.05, 0.999,
                            1e-5, 0),
};

const ConfigSection ppo_section = {
    .name = "ppo",
    .fields = ppo_fields,
    .count = sizeof ppo_fields / sizeof ppo_fields[0],
    .help = "proximal policy optimisation against the reward model",
};

Status ppo_config_check(const PpoConfig *config)
{
    const int64_t parts = config->minibatches * config->shards;
    if (config->rollouts < parts) {
        return status_fail(STATUS_SETTINGS,
                           "ppo.rollouts = %" PRId64 ": must be at least minibatches times shards, "
                           "%" PRId64 " * %" PRId64 " = %" PRId64,
                           config->rollouts, config->minibatches, config->shards, parts);
    }
    const bool adaptive = strcmp(config->kl_controller, "adaptive") == 0;
    if (adaptive && config->kl_horizon > 0.0 && config->kl_horizon < (double)config->rollouts) {
        return status_fail(STATUS_SETTINGS,
                           "ppo.kl_horizon = %g: must be 0 or at least ppo.rollouts = %" PRId64
                           ": kl_coef could turn negative within an iteration",
                           config->kl_horizon, config->rollouts);
    }
    return STATUS_OK;
}

double ppo_config_score(const PpoConfig *config, double raw_score, bool terminated)
{
    double score = raw_score;
    if (config->reward_clip > 0.0) {
        if (score > config->reward_clip) score = config->reward_clip;
        if (score < -config->reward_clip) score = -config->reward_clip;
    }
    if (terminated) return score;
    if (strcmp(config->missing_eos, "replace") == 0) return -config->missing_eos_penalty;
    if (strcmp(config->missing_eos, "subtract") == 0) return score - config->missing_eos_penalty;
    return score;
}

double ppo_config_next_kl_coef(const PpoConfig *config, double coefficient, double kl)
{
    if (strcmp(config->kl_controller, "adaptive") != 0) return coefficient;
    const double episodes = (double)config->rollouts;
    const double horizon = config->kl_horizon > 0.0 ? config->kl_horizon : 5.0 * episodes;
    return kl_controller(coefficient, kl, config->kl_target, episodes, horizon);
}
