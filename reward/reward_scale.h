/* A trained reward model put on a scale: fresh answers of the SFT policy get mean 0 and standard
 * deviation 1, so that KL coefficients, penalties and clips mean the same in every run. */
#ifndef REWARD_REWARD_SCALE_H
#define REWARD_REWARD_SCALE_H

#include "data/tokenizer.h"
#include "reward/calibration.h"
#include "reward/reward_model.h"

typedef struct RewardScale {
    int answers;
    double mean, std;          /* of the bare head; population */
    double gold_std;           /* NaN without gold */
    double gold_spearman;      /* of score and gold over the answers; NaN without gold */
    double length_correlation; /* Pearson, of score and response length */
} RewardScale;

/* Sets model->reward_gain = 1 / std and reward_bias = -mean / std over one SFT answer to each of
 * config->normalise_answers train prompts from `first_prompt` on. Constant scores are only
 * shifted. */
Status reward_normalise(RewardScale *scale, Model *model, const RewardJob *job,
                        const Tokenizer *tokenizer, int64_t first_prompt);

#endif
