/* Answers of a run with what reward model and gold make of them: points for scatter plots, rows for
 * the regression that shows what the reward model has learned. */
#ifndef SCRIPTS_RLHF_REPORT_JUDGED_H
#define SCRIPTS_RLHF_REPORT_JUDGED_H

#include "data/tasks/task.h"
#include "scripts/rlhf/report/report.h"

/* Whose answer it is: PPO's first step is answered by the SFT policy, its last by the published
 * policy but for one update, the steps between by policies on the way. */
enum { JUDGED_PRETRAIN, JUDGED_SFT, JUDGED_PPO, JUDGED_BETWEEN, JUDGED_KINDS };

enum { JUDGED_STEPS = 16, JUDGED_TERMS_MAX = 128 };

typedef struct JudgedAnswer {
    int policy;
    double score; /* the reward model's normalised output */
    double gold;  /* NaN where the task has none */
    double length;
} JudgedAnswer;

/* Zero-initialise. */
typedef struct Judged {
    int count, steps; /* answers; PPO steps they are from */
    int terms;        /* of gold; 0: the task does not say */
    GoldTerm term[JUDGED_TERMS_MAX];
    Bytes answers; /* JudgedAnswer (count) */
    Bytes amounts; /* double (count, terms) */
} Judged;

/* The answers of evaluate/samples.h5 and of up to JUDGED_STEPS of PPO's rollouts, spread evenly
 * over the steps that are kept, first and last among them. Files that are not there are left out. */
Status judged_read(Judged *judged, const ReportRun *run);
void judged_free(Judged *judged);

const JudgedAnswer *judged_answer(const Judged *judged, int index);
const double *judged_amounts(const Judged *judged, int index);

/* ---- learned.c ---- */

/* What a regression of a measure on the amounts of gold's terms gives each of them. */
typedef struct LearnedTerm {
    const GoldTerm *term;
    int answers;            /* it is in so many */
    Estimate score, gold;   /* the coefficients of score and of gold, with standard errors */
} LearnedTerm;

enum { LEARNED_ANSWERS_MIN = 20 };

typedef struct Learned {
    int answers, terms;
    LearnedTerm term[JUDGED_TERMS_MAX]; /* (terms) by hidden weight, falling */
    int left_out;                       /* terms that are in fewer than LEARNED_ANSWERS_MIN */
    double r_squared;                   /* of the regression of score */
    double correlation;                 /* of hidden weights and coefficients of score */
} Learned;

/* Least squares of score and of gold on the terms and a constant, over all answers. Nothing to
 * learn from, or terms that always go together: STATUS_DATA. */
Status judged_learn(Learned *learned, const Judged *judged);

/* ---- judged_answers.c ---- */

/* Writes what a run's answers show: scatter plots, correlations, what was learned. */
Status judged_show(Page *page, const ReportRun *run);

#endif
