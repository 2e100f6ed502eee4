/* How far a reward can be pushed before what it stands for falls: reward against the distance
 * d = sqrt(KL(policy || SFT)), in sqrt nats, after Gao, Schulman and Hilton 2022 (arXiv:2210.10760,
 * section 3). Pure functions of points; the reward is counted from the SFT policy's, so R(0) = 0. */
#ifndef PPO_OVEROPTIMISATION_H
#define PPO_OVEROPTIMISATION_H

#include "data/status.h"

/* The two forms, both linear in alpha and beta. */
typedef enum FrontierForm {
    FRONTIER_BEST_OF_N, /* R(d) = d (alpha - beta d) */
    FRONTIER_RL,        /* R(d) = d (alpha - beta ln d); its slope is infinite at 0 */
} FrontierForm;

typedef struct FrontierFit {
    FrontierForm form;
    int points;                  /* that were used */
    double nearest, furthest;    /* their distances */
    double alpha, beta;
    double alpha_error, beta_error, covariance; /* standard errors; covariance of the two */
    double r_squared; /* 1 - residual / squares about the mean; negative: worse than a constant */
    double residual;  /* root of the mean squared error, over points - 2 */
    /* Where the curve is highest, alpha / (2 beta) or e^(alpha / beta - 1), and how high; the
     * standard errors by the delta method. NaN where beta <= 0: it rises for ever. */
    double peak, peak_error, peak_reward, peak_reward_error;
} FrontierFit;

/* Points nearer than this are left out: there sqrt(KL) is noise and the second form steep. */
extern const double frontier_nearest;
enum { FRONTIER_POINTS_MIN = 4 };

/* Least squares over points (distance[i], reward[i]), whose standard errors take them to be
 * independent. Too few points, or distances too much alike: STATUS_DATA. */
Status frontier_fit(FrontierFit *fit, FrontierForm form, const double *distance,
                    const double *reward, int count);

double frontier_reward(const FrontierFit *fit, double distance); /* the curve; 0 at 0 */

/* Where the mean of `FRONTIER_WINDOW` neighbouring values is highest. */
enum { FRONTIER_WINDOW = 5 };

typedef struct FrontierPeak {
    int middle;        /* index of the window's middle; -1: fewer values than a window */
    double highest;    /* its mean */
    double last;       /* mean of the last window */
    double noise;      /* standard deviation of a value about its trend */
    double fall_error; /* standard error of highest - last by that noise */
} FrontierPeak;

/* The noise is taken from second differences, which a smooth trend does not reach:
 * variance = mean of (v[i - 1] - 2 v[i] + v[i + 1])^2 / 6. */
FrontierPeak frontier_peak(const double *value, int count);

#endif
