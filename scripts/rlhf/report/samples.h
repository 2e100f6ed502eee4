/* The two halves of the samples part, each of one run: a static table in HTML for the newest step,
 * and a member of the run's object in page->data from which samples.js shows the rest. */
#ifndef SCRIPTS_RLHF_REPORT_SAMPLES_H
#define SCRIPTS_RLHF_REPORT_SAMPLES_H

#include "scripts/rlhf/report/report.h"

/* How much of a run is shown: less of each where there are several. */
typedef struct SampleBudget {
    int steps;      /* of rollouts */
    int rows;       /* rollouts a step */
    int64_t tokens; /* response tokens a step of rollouts; in all of the fixed prompts' answers */
} SampleBudget;

/* The fixed prompts' answers through time: member "fixed" (fixed_prompts.c). */
Status report_fixed_prompts(Page *page, const ReportRun *run, const SampleBudget *budget);
/* Rollouts, token by token: member "rollouts" (rollouts.c). */
Status report_rollouts(Page *page, const ReportRun *run, const SampleBudget *budget);

/* Index of choice `i` of `chosen` that lie evenly among `count`: the first, the last, others
 * between. */
int sample_choice(int i, int chosen, int count);
/* "<span class=KIND>TEXT</span>", the text with visible escapes, cut where it is long. */
Status sample_text(Page *page, const char *kind, const Bytes *text);
/* The same text as a value of page->data. */
Status sample_data(Page *page, const char *key, const Bytes *text);

#endif
