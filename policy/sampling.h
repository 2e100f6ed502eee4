/* One token out of a row of logits: temperature, then top-k, then top-p (Holtzman et al. 2020,
 * arXiv:1904.09751), then the inverse CDF over ids in ascending order. */
#ifndef POLICY_SAMPLING_H
#define POLICY_SAMPLING_H

#include "data/status.h"

#include <stdint.h>

typedef struct SamplingConfig {
    double temperature; /* 0: the most likely token, the lowest id at a tie */
    int top_k;          /* 0: off */
    double top_p;       /* 1: off */
    int32_t never;      /* an id that is never drawn; -1: none */
} SamplingConfig;

typedef struct SamplingCandidate {
    float probability;
    int32_t id;
} SamplingCandidate;

/* *token from `uniform` in [0, 1). Scratch: probability (V), candidate (V). Logits that are not
 * finite: STATUS_DIVERGED. */
Status sampling_draw(int32_t *token, float *probability, SamplingCandidate *candidate,
                     const float *logits, int V, const SamplingConfig *config, double uniform);

#endif
