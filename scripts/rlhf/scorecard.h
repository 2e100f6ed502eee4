/* evaluate/scorecard.json, read back for people. What is not in it is NaN. */
#ifndef SCRIPTS_RLHF_SCORECARD_H
#define SCRIPTS_RLHF_SCORECARD_H

#include "data/status.h"

enum { SCORECARD_POLICIES = 8, SCORECARD_SIZES = 24 };

typedef struct Estimate {
    double mean, error, deviation; /* error: standard error of the mean */
} Estimate;

typedef struct PolicyScore {
    char name[32];
    Estimate gold, score, kl, length;
    double terminated;
} PolicyScore;

/* The best of n answers of the SFT policy, by the proxy. */
typedef struct BestOfSize {
    int n;
    double kl; /* nats, an upper bound */
    Estimate gold, score;
} BestOfSize;

typedef struct Scorecard {
    int prompts;
    int count;
    PolicyScore policy[SCORECARD_POLICIES];
    Estimate win_rate; /* PPO over SFT */
    double accuracy, gold_accuracy, ceiling; /* of the reward model */
    int sizes;                               /* 0: best-of-n was not measured */
    BestOfSize best[SCORECARD_SIZES];        /* (sizes) in ascending n */
} Scorecard;

/* Missing: STATUS_DATA. */
Status scorecard_read(Scorecard *card, const char *run);
const PolicyScore *scorecard_policy(const Scorecard *card, const char *name); /* NULL: none */
/* How many standard deviations of SFT's gold PPO gained; NaN without gold. */
double scorecard_gain(const Scorecard *card);

#endif
