/* Curves over steps: a metric's finite values, smoothed and thinned, and the mean of several runs.
 *
 * Smoothing is Adam's debiased exponential average (Kingma & Ba 2015, arXiv:1412.6980, section 3),
 * over all values, before any thinning: the drawn line never smooths what thinning left. */
#ifndef SCRIPTS_RLHF_REPORT_SERIES_H
#define SCRIPTS_RLHF_REPORT_SERIES_H

#include "data/metrics.h"
#include "data/status.h"

enum { SERIES_POINTS = 250 }; /* at most so many are drawn of a curve */

typedef struct Series {
    int count;
    double *step, *value; /* (count), steps rising */
    double *smooth;       /* (count), as series_smooth leaves it */
} Series;

/* A metric's finite values, not smoothed yet; count 0: there are none. */
Status series_read(Series *series, const MetricColumns *columns, const char *metric);
void series_free(Series *series);

/* The weight that averages over about a fortieth of `count` values, in whole hundredths; 0 below
 * 20 values. */
double series_weight(int count);
/* smooth[i] = m / (1 - weight^i'), m <- weight m + (1 - weight) value[i], i' counting from 1. */
void series_smooth(double *smooth, const double *value, int count, double weight);
/* Which of `count` values to draw, at most `most` (4 to SERIES_POINTS) of them: the first, the last,
 * and of every bucket of equally many its smallest and its largest, in order. Returns how many. */
int series_thin(int index[SERIES_POINTS], int most, const double *value, int count);

/* Several runs at the steps that any has: mean, smallest and largest of the smoothed values of
 * those that have it. */
typedef struct SeriesBand {
    int count;
    double *step, *mean, *low, *high; /* (count) */
} SeriesBand;

Status series_band(SeriesBand *band, const Series *const *series, int count);
void series_band_free(SeriesBand *band);

#endif
