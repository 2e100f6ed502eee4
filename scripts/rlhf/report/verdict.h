/* What became of a run, judged by gold where the task has one: numbers first, then one word. */
#ifndef SCRIPTS_RLHF_REPORT_VERDICT_H
#define SCRIPTS_RLHF_REPORT_VERDICT_H

#include "scripts/rlhf/report/report.h"

typedef enum VerdictKind {
    VERDICT_UNFINISHED,     /* no scorecard, or none of PPO */
    VERDICT_BLIND,          /* finished, without gold */
    VERDICT_LEARNED,
    VERDICT_PAST_ITS_PEAK,  /* better than SFT, but gold has fallen since while the proxy rose */
    VERDICT_OVER_OPTIMISED, /* worse than SFT, the proxy better */
    VERDICT_NOT_LEARNED,    /* no difference beyond the error */
    VERDICT_HARMED,         /* worse than SFT, and the proxy no better */
} VerdictKind;

typedef struct Verdict {
    VerdictKind kind;
    /* PPO's mean less SFT's on held-out prompts, in standard deviations of SFT's answers; the errors
     * of both taken as independent. */
    Estimate gold, proxy;
    /* Along the run, from frontier_peak: the best few steps of gold less the last few, in the same
     * unit. */
    Estimate fall;
    double proxy_since; /* the proxy's rise since the best few steps */
    double peak_step;   /* their middle */
} Verdict;

/* NaN where something is not known. */
Verdict verdict_of(const ReportRun *run);

/* Mean and standard deviation (n - 1) over runs, standard error of the mean with it; values that
 * are not finite are left out. */
Estimate verdict_spread(const double *value, int count);

#endif
