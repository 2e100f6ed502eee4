/* How good a judge is: accuracy, likelihood, calibration, rank agreement. Pure functions of scores
 * and labels (ALGORITHMS 1.6); GSL for the statistics. */
#ifndef REWARD_CALIBRATION_H
#define REWARD_CALIBRATION_H

#include <stdint.h>

enum { CALIBRATION_BINS = 10, MARGIN_BINS = 5 };

typedef struct Calibration {
    int pairs;
    double accuracy;       /* share of labels agreed with, ties half */
    double gold_accuracy;  /* share of gold orders agreed with, ties half; NaN without gold */
    double ceiling;        /* what knowing gold would score against the labels */
    double nll;            /* mean softplus(-gap), nats */
    double ece;            /* expected calibration error, CALIBRATION_BINS equal bins on [0.5, 1] */
    double brier;          /* mean (p - 1)^2 where p is the chance given to the label */
    double margin_accuracy[MARGIN_BINS]; /* gold_accuracy by |gold margin| / sigma in [0,.25), [.25,.5), [.5,1), [1,2), [2,inf) */
    int margin_pairs[MARGIN_BINS];
} Calibration;

/* gap[i] = score of chosen - score of rejected; gold_margin[i] likewise in gold, NaN without;
 * sigma: standard deviation of gold. */
void calibrate(Calibration *result, const double *gap, const double *gold_margin, int pairs,
               double sigma);

/* Expected calibration error of confidences in [0.5, 1] against correctness, `bins` bins (lo, hi]. */
double calibration_error(const double *confidence, const double *correct, int n, int bins);

/* Spearman's rank correlation (ties get mean ranks) and Pearson's. NaN where one side is constant. */
double rank_correlation(const double *a, const double *b, int n);
double linear_correlation(const double *a, const double *b, int n);

#endif
