/* evaluate/scorecard.json, read back for people. What is not in it is NaN. */
#ifndef SCRIPTS_RLHF_SCORECARD_H
#define SCRIPTS_RLHF_SCORECARD_H

#include "data/status.h"

enum { SCORECARD_POLICIES = 8 };

typedef struct Estimate {
    double mean, error, deviation; /* error: standard error of the mean */
} Estimate;

typedef struct PolicyScore {
    char name[32];
    Estimate gold, score, kl, length;
    double terminated;
} PolicyScore;

typedef struct Scorecard {
    int prompts;
    int count;
    PolicyScore policy[SCORECARD_POLICIES];
    Estimate win_rate; /* PPO over SFT */
    double accuracy, gold_accuracy, ceiling; /* of the reward model */
} Scorecard;

/* Missing: STATUS_DATA. */
Status scorecard_read(Scorecard *card, const char *run);
const PolicyScore *scorecard_policy(const Scorecard *card, const char *name); /* NULL: none */
/* How many standard deviations of SFT's gold PPO gained; NaN without gold. */
double scorecard_gain(const Scorecard *card);

#endif
