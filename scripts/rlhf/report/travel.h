/* How far runs went from the SFT policy, and what it brought them: the points of the report's
 * signature chart, their fits, and where gold turned. */
#ifndef SCRIPTS_RLHF_REPORT_TRAVEL_H
#define SCRIPTS_RLHF_REPORT_TRAVEL_H

#include "ppo/overoptimisation.h"
#include "scripts/rlhf/report/report.h"

/* Points on the way: along PPO one a step, in best-of-n one a size. Rewards are above the SFT
 * policy's; gold is NaN where the task has none. */
typedef struct Way {
    int count;
    /* (count) */
    double *distance, *gold, *proxy;
    double *gold_error, *proxy_error; /* best-of-n only */
    double *label;                    /* the step, or n */
    void *memory;
} Way;

/* Fits to gold: PPO's by both forms, since small runs often follow the other one. */
enum { FIT_PPO, FIT_PPO_SQUARE, FIT_BEST_OF_N, FITS };

/* One run, or all of a group. */
typedef struct Travel {
    const ReportRun *run;                   /* NULL: a group */
    double gold_zero, proxy_zero;           /* what was subtracted along PPO */
    double best_gold_zero, best_proxy_zero; /* from best-of-n */
    Way ppo, best;
    FrontierPeak peak;                  /* of gold along PPO; of one run only */
    double peak_distance, peak_spread; /* mean over its steps, half their range */
    FrontierFit fit[FITS];
    bool fitted[FITS];
    char why[FITS][160]; /* it was not */
} Travel;

/* A run as far as it is there. SFT's level is the scorecard's, else that of the first step, which
 * SFT itself answered; best-of-n starts at the mean of its own pool. */
Status travel_read(Travel *travel, const ReportRun *run);
/* The points of runs together, fitted as one. */
Status travel_pool(Travel *all, const Travel *runs, int count);
void travel_free(Travel *travel); /* fine on one that is zero */

/* Is the top of a fitted curve among its points, and known to a half? */
bool travel_turns(const FrontierFit *fit);
/* Is the top of PPO's fitted curve away from where the run's gold was highest, by more than three
 * standard errors and the spread of the peak? */
bool travel_disagrees(const Travel *travel);
/* Did gold fall after its peak, by more than three standard errors? */
bool travel_fell(const FrontierPeak *peak);

#endif
