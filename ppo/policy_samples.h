/* evaluate/samples.h5 read back, policy by policy: held-out prompts, one answer to each and what it
 * was worth. */
#ifndef PPO_POLICY_SAMPLES_H
#define PPO_POLICY_SAMPLES_H

#include "data/sequences.h"
#include "data/store/store.h"

/* Free with policy_samples_free. */
typedef struct PolicySamples {
    bool present; /* the policy is in the file */
    int count;
    Sequences answers;
    const double *score, *gold; /* (count); gold NaN where the task has none */
    StoreContent content;       /* owns the columns */
} PolicySamples;

/* Reads the answers of `policy` ("sft"). Checked: lengths, offsets, ids below `vocabulary`.
 * STATUS_DATA with path and cause. */
Status policy_samples_read(PolicySamples *samples, const char *path, const char *policy,
                           int vocabulary);
void policy_samples_free(PolicySamples *samples); /* fine on a zeroed one */

#endif
