#include "reward/calibration.h"

#include "reward/bradley_terry.h"

#include <assert.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdbool.h>

enum { BINS_MAX = 64 };

/* A histogram of confidence against correctness. */
typedef struct Bins {
    int count; /* bins */
    double n[BINS_MAX], confidence[BINS_MAX], correct[BINS_MAX];
} Bins;

static void bins_add(Bins *bins, double confidence, double correct)
{
    const double place = ceil((confidence - 0.5) * 2.0 * bins->count) - 1.0;
    const int bin = (int)fmin(fmax(place, 0.0), bins->count - 1.0);
    bins->n[bin] += 1.0;
    bins->confidence[bin] += confidence;
    bins->correct[bin] += correct;
}

static double bins_error(const Bins *bins)
{
    double error = 0.0, n = 0.0;
    for (int b = 0; b < bins->count; b++) {
        error += fabs(bins->confidence[b] - bins->correct[b]);
        n += bins->n[b];
    }
    return n > 0.0 ? error / n : NAN;
}

double calibration_error(const double *confidence, const double *correct, int n, int bins)
{
    assert(bins > 0 && bins <= BINS_MAX);
    Bins all = {.count = bins};
    for (int i = 0; i < n; i++) bins_add(&all, confidence[i], correct[i]);
    return bins_error(&all);
}

/* 1 for x > 0, 1/2 at a tie, 0 below. */
static double step(double x)
{
    return x > 0.0 ? 1.0 : x < 0.0 ? 0.0 : 0.5;
}

/* Does `gap` order a pair as gold does? An answer "equal" from either side is half right. */
static double agreement(double gap, double gold_margin)
{
    return gold_margin == 0.0 ? 0.5 : step(gold_margin > 0.0 ? gap : -gap);
}

static int margin_bin(double margin)
{
    static const double edge[MARGIN_BINS - 1] = {0.25, 0.5, 1.0, 2.0};
    int bin = 0;
    while (bin < MARGIN_BINS - 1 && margin >= edge[bin]) bin++;
    return bin;
}

void calibrate(Calibration *result, const double *gap, const double *gold_margin, int pairs,
               double sigma)
{
    *result = (Calibration){.pairs = pairs};
    Bins bins = {.count = CALIBRATION_BINS};
    int with_gold = 0;
    for (int i = 0; i < pairs; i++) {
        const double p = sigmoid(gap[i]); /* the label is "chosen", always */
        result->accuracy += step(gap[i]);
        result->nll += softplus(-gap[i]);
        result->brier += (p - 1.0) * (p - 1.0);
        bins_add(&bins, fmax(p, 1.0 - p), step(gap[i]));

        if (isnan(gold_margin[i])) continue;
        const double agrees = agreement(gap[i], gold_margin[i]);
        with_gold++;
        result->gold_accuracy += agrees;
        result->ceiling += step(gold_margin[i]);
        const double size = fabs(gold_margin[i]);
        const int bin = margin_bin(sigma > 0.0 ? size / sigma : size > 0.0 ? INFINITY : 0.0);
        result->margin_accuracy[bin] += agrees;
        result->margin_pairs[bin]++;
    }
    /* 0 / 0 is the NaN that "no pairs" asks for */
    result->accuracy /= pairs;
    result->nll /= pairs;
    result->brier /= pairs;
    result->ece = bins_error(&bins);
    for (int b = 0; b < CALIBRATION_BINS; b++) {
        result->reliability[b] = (ReliabilityBin){
            .pairs = (int)bins.n[b],
            .confidence = bins.confidence[b] / bins.n[b],
            .accuracy = bins.correct[b] / bins.n[b],
        };
    }
    result->gold_accuracy /= with_gold;
    result->ceiling /= with_gold;
    for (int b = 0; b < MARGIN_BINS; b++) result->margin_accuracy[b] /= result->margin_pairs[b];
}

static bool is_constant(const double *x, int n)
{
    for (int i = 1; i < n; i++) {
        if (x[i] != x[0]) return false;
    }
    return true;
}

double rank_correlation(const double *a, const double *b, int n, double *scratch)
{
    if (is_constant(a, n) || is_constant(b, n)) return NAN;
    return gsl_stats_spearman(a, 1, b, 1, (size_t)n, scratch);
}

double linear_correlation(const double *a, const double *b, int n)
{
    if (is_constant(a, n) || is_constant(b, n)) return NAN;
    return gsl_stats_correlation(a, 1, b, 1, (size_t)n);
}
