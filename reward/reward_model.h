/* The reward model: the SFT trunk with a scalar head at the last token (Ziegler et al. 2019;
 * Stiennon et al. 2020). Scoring answers, training it on comparisons, putting it on a scale. */
#ifndef REWARD_REWARD_MODEL_H
#define REWARD_REWARD_MODEL_H

#include "data/config.h"
#include "data/sequences.h"
#include "data/stage.h"
#include "data/tasks/task.h"
#include "policy/model.h"
#include "policy/optimiser.h"
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

/* Stage 4. Reads sft/policy.h5 and label/comparisons.h5; leaves model.h5, calibration.json and
 * tokenizer.json. Zero pairs: STATUS_DATA. */
typedef struct RewardJob {
    Stage *stage;
    const Task *task;
    const RewardConfig *config;
    double sampling_temperature; /* of the SFT answers it is normalised on */
} RewardJob;

Status reward_run(const RewardJob *job);

#endif
