/* The reward model: the SFT trunk with a scalar head at the last token (Ziegler et al. 2019;
 * Stiennon et al. 2020). Scoring answers, the loss on comparisons, the stage that trains it. */
#ifndef REWARD_REWARD_MODEL_H
#define REWARD_REWARD_MODEL_H

#include "data/config.h"
#include "data/sequences.h"
#include "data/stage.h"
#include "data/tasks/task.h"
#include "policy/model.h"
#include "policy/optimiser.h"
#include "policy/trainer.h"
#include "reward/bradley_terry.h"

typedef struct RewardConfig {
    int64_t epochs, batch; /* batch: pairs a step */
    int64_t shards;
    int64_t evaluate_every;
    bool causal;           /* false: reads the answer in both directions */
    int64_t normalise_answers; /* fresh SFT answers that fix mean 0 and standard deviation 1 */
    BradleyTerryConfig loss;
    OptimiserConfig optimiser;
} RewardConfig;

extern const ConfigSection reward_section;
extern const MetricTable reward_metrics;

/* score[i] = gain * head(last token of sequence i) + bias, float32. Threads change no bit. */
Status reward_score(float *score, const Model *model, const Sequences *sequences, int threads);
/* The same for a stage that may have to leave: asked before every block, STATUS_STOPPED. */
Status reward_score_in(const Stage *stage, float *score, const Model *model,
                       const Sequences *sequences);

/* The loss on comparisons for policy/trainer: sequences 2k and 2k + 1 of a block are the chosen and
 * the rejected answer of one pair; scores are the bare head's, without gain and bias.
 * sums[0] += loss, nats summed over pairs. */
typedef struct PreferenceLoss {
    const BradleyTerryConfig *config;
    double pairs;  /* what the gradient is divided by: pairs in the minibatch */
    double *score; /* written at each sequence's index */
} PreferenceLoss;
TrainerLoss preference_loss;

/* Stage 4. Reads sft/policy.h5 and label/comparisons.h5; leaves model.h5, calibration.json and
 * tokenizer.json. Zero pairs: STATUS_DATA. */
typedef struct RewardJob {
    Stage *stage;
    const Task *task;
    const RewardConfig *config;
    double sampling_temperature; /* of the SFT answers it is normalised on */
    /* Changes the answers of both splits before they are trained on (ppo/faults.h); they may only
     * become shorter. NULL: they stay as they are. */
    void (*alter_answers)(Sequences *answers);
} RewardJob;

Status reward_run(const RewardJob *job);

#endif
