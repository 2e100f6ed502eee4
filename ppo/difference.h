/* Comparisons to the last bit of what a run holds with the same thing computed again. The first
 * difference is named, file first: STATUS_BROKEN. Two numbers that are not finite are equal. */
#ifndef PPO_DIFFERENCE_H
#define PPO_DIFFERENCE_H

#include "data/manifest.h"
#include "data/metrics.h"
#include "data/rollout.h"
#include "policy/optimiser.h"

/* A column of tokens of the rollouts in `file`, prompts included; both (tokens). */
Status difference_tokens(const char *file, const char *column, const Rollout *rollout,
                         const float *found, const float *again);

/* A number a sequence; both (count). */
Status difference_sequences(const char *file, const char *column, int count, const float *found,
                            const float *again);

/* Metrics first .. last of the table at `step` of the journal, whose row step - 1 that is. One that
 * the journal lacks is not a number. */
Status difference_metrics(const char *file, const MetricColumns *journal, const MetricTable *table,
                          int64_t step, const double *value, int first, int last);

/* folder/NAME.h5 against weights and, where `adamw` is not NULL, moments. */
Status difference_network(const char *folder, const char *name, const Manifest *manifest,
                          const Model *model, const AdamW *adamw);

/* Hash of a network as `file` has it. */
Status difference_digest(const char *file, const char *what, Digest found, Digest again);

#endif
