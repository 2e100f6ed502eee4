/* How good a judge is: accuracy, likelihood, calibration, rank agreement. Pure functions of scores
 * and labels; GSL for the statistics. */
#ifndef REWARD_CALIBRATION_H
#define REWARD_CALIBRATION_H

#include <stdint.h>

enum { CALIBRATION_BINS = 10, MARGIN_BINS = 5 };

/* One bin of a reliability diagram; means over its pairs, NaN where it has none. */
typedef struct ReliabilityBin {
    int pairs;
    double confidence; /* max(p, 1 - p), p the chance given to the label */
    double accuracy;   /* share of labels agreed with, ties half */
} ReliabilityBin;

typedef struct Calibration {
    int pairs;
    double accuracy;       /* share of labels agreed with, ties half */
    double gold_accuracy;  /* share of gold orders agreed with, ties half; NaN without gold */
    double ceiling;        /* what knowing gold would score against the labels; NaN without gold */
    double nll;            /* mean softplus(-gap), nats */
    double ece;            /* expected calibration error, CALIBRATION_BINS equal bins on [0.5, 1] */
    double brier;          /* mean (p - 1)^2 where p is the chance given to the label */
    ReliabilityBin reliability[CALIBRATION_BINS]; /* the bins of ece */
    /* gold_accuracy by |gold margin| / sigma in [0, .25), [.25, .5), [.5, 1), [1, 2), [2, inf); NaN
     * in a bin without pairs */
    double margin_accuracy[MARGIN_BINS];
    int margin_pairs[MARGIN_BINS];
} Calibration;

/* gap[i] = score of chosen - score of rejected, on the scale the model was trained on;
 * gold_margin[i] likewise in gold, NaN without; sigma: standard deviation of gold. No pairs: every
 * share is NaN. */
void calibrate(Calibration *result, const double *gap, const double *gold_margin, int pairs,
               double sigma);

/* Expected calibration error of confidences in [0.5, 1] against correctness (Guo et al. 2017,
 * equation 3), `bins` bins (lo, hi], at most 64. */
double calibration_error(const double *confidence, const double *correct, int n, int bins);

/* Spearman's rank correlation (ties get mean ranks); `scratch` has room for 2n. NaN where one side
 * is constant or there are fewer than two. */
double rank_correlation(const double *a, const double *b, int n, double *scratch);
/* Pearson's, likewise. */
double linear_correlation(const double *a, const double *b, int n);

#endif
