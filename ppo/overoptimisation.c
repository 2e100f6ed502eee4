#include "ppo/overoptimisation.h"

#include "data/memory.h"
#include "reward/least_squares.h"

#include <math.h>
#include <stdbool.h>

const double frontier_nearest = 0.3;

/* The regressor that belongs to beta. */
static double bend(FrontierForm form, double distance)
{
    if (distance == 0.0) return 0.0; /* also the limit of d ln d */
    return form == FRONTIER_BEST_OF_N ? -distance * distance : -distance * log(distance);
}

double frontier_reward(const FrontierFit *fit, double distance)
{
    return fit->alpha * distance + fit->beta * bend(fit->form, distance);
}

/* Standard error of a function of alpha and beta with that gradient. */
static double delta_error(const FrontierFit *fit, double by_alpha, double by_beta)
{
    const double a = by_alpha * fit->alpha_error, b = by_beta * fit->beta_error;
    return sqrt(fmax(0.0, a * a + 2.0 * by_alpha * by_beta * fit->covariance + b * b));
}

static void find_peak(FrontierFit *fit)
{
    const double a = fit->alpha, b = fit->beta;
    fit->peak = fit->peak_error = fit->peak_reward = fit->peak_reward_error = NAN;
    if (!(b > 0.0) || (fit->form == FRONTIER_BEST_OF_N && !(a > 0.0))) return;
    if (fit->form == FRONTIER_BEST_OF_N) {
        fit->peak = a / (2.0 * b);
        fit->peak_error = delta_error(fit, 1.0 / (2.0 * b), -a / (2.0 * b * b));
        fit->peak_reward = a * a / (4.0 * b);
    } else {
        fit->peak = exp(a / b - 1.0);
        fit->peak_error = delta_error(fit, fit->peak / b, -fit->peak * a / (b * b));
        fit->peak_reward = b * fit->peak;
    }
    /* at the top a shift of the place changes nothing, so the regressors there are the gradient */
    fit->peak_reward_error = delta_error(fit, fit->peak, bend(fit->form, fit->peak));
}

/* Rows for the points far enough away; false: not finite. */
static bool take(FrontierFit *fit, double (*design)[2], double *value, double distance,
                 double reward)
{
    if (!isfinite(distance) || !isfinite(reward)) return false;
    if (distance < frontier_nearest) return true;
    if (fit->points == 0 || distance < fit->nearest) fit->nearest = distance;
    if (fit->points == 0 || distance > fit->furthest) fit->furthest = distance;
    design[fit->points][0] = distance;
    design[fit->points][1] = bend(fit->form, distance);
    value[fit->points++] = reward;
    return true;
}

static double squares_about_mean(const double *value, int count)
{
    double mean = 0.0, squares = 0.0;
    for (int i = 0; i < count; i++) mean += value[i] / count;
    for (int i = 0; i < count; i++) squares += (value[i] - mean) * (value[i] - mean);
    return squares;
}

static Status fit_points(FrontierFit *fit, double (*design)[2], double *value,
                         const double *distance, const double *reward, int count)
{
    for (int i = 0; i < count; i++) {
        if (!take(fit, design, value, distance[i], reward[i])) {
            return status_fail(STATUS_DATA, "point %d of %d is not finite", i + 1, count);
        }
    }
    if (fit->points < FRONTIER_POINTS_MIN) {
        return status_fail(STATUS_DATA, "%d of %d points lie at a distance of %g or more, not %d",
                           fit->points, count, frontier_nearest, (int)FRONTIER_POINTS_MIN);
    }
    double coefficient[2], covariance[4], residual;
    TRY(least_squares(coefficient, covariance, &residual, design[0], value, fit->points, 2));
    fit->alpha = coefficient[0];
    fit->beta = coefficient[1];
    fit->alpha_error = sqrt(covariance[0]);
    fit->beta_error = sqrt(covariance[3]);
    fit->covariance = covariance[1];
    fit->residual = sqrt(residual / (fit->points - 2));
    fit->r_squared = 1.0 - residual / squares_about_mean(value, fit->points);
    find_peak(fit);
    return STATUS_OK;
}

Status frontier_fit(FrontierFit *fit, FrontierForm form, const double *distance,
                    const double *reward, int count)
{
    *fit = (FrontierFit){.form = form};
    void *design = NULL, *value = NULL;
    const size_t n = count > 0 ? (size_t)count : 1;
    Status status = memory_claim(&design, n * sizeof(double[2]));
    if (status == STATUS_OK) status = memory_claim(&value, n * sizeof(double));
    if (status == STATUS_OK) status = fit_points(fit, design, value, distance, reward, count);
    memory_release(value);
    memory_release(design);
    return status;
}

/* ---- the peak of what was measured ---- */

static double window_mean(const double *value, int first)
{
    double sum = 0.0;
    for (int i = 0; i < FRONTIER_WINDOW; i++) sum += value[first + i];
    return sum / FRONTIER_WINDOW;
}

FrontierPeak frontier_peak(const double *value, int count)
{
    FrontierPeak peak = {.middle = -1};
    peak.highest = peak.last = peak.noise = peak.fall_error = NAN;
    if (count < FRONTIER_WINDOW) return peak;
    for (int first = 0; first + FRONTIER_WINDOW <= count; first++) {
        const double mean = window_mean(value, first);
        if (peak.middle >= 0 && !(mean > peak.highest)) continue;
        peak.middle = first + FRONTIER_WINDOW / 2;
        peak.highest = mean;
    }
    peak.last = window_mean(value, count - FRONTIER_WINDOW);
    double squares = 0.0;
    for (int i = 1; i + 1 < count; i++) {
        const double second = value[i - 1] - 2.0 * value[i] + value[i + 1];
        squares += second * second / 6.0;
    }
    peak.noise = sqrt(squares / (count - 2));
    peak.fall_error = peak.noise * sqrt(2.0 / FRONTIER_WINDOW);
    return peak;
}
