/* What a finished run shows: stages, scorecard, curves, answers before and after, files. */
#ifndef SCRIPTS_RLHF_SUMMARY_H
#define SCRIPTS_RLHF_SUMMARY_H

#include "data/status.h"

#include <stdint.h>
#include <stdio.h>

Status summary_print(FILE *out, const char *run);
Status summary_json(FILE *out, const char *run); /* evaluate/scorecard.json */

/* Three held-out prompts answered by the SFT policy and by PPO's, with gold where there is one. */
Status summary_answers(FILE *out, const char *run);

/* How long a stage took, from its timings.jsonl, over all its lives. Nothing there: zeros. */
typedef struct StageTimes {
    int64_t steps; /* the last one done */
    double seconds, tokens;
} StageTimes;
Status stage_times(StageTimes *times, const char *run, const char *stage);

#endif
