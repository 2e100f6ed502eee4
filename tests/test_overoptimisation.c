/* overoptimisation, least_squares: exact recovery, hand numbers, errors against repeated draws. */
#include "tests/support.h"

#include "data/rng.h"
#include "ppo/overoptimisation.h"
#include "reward/least_squares.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>

static const FrontierForm forms[2] = {FRONTIER_BEST_OF_N, FRONTIER_RL};

static void a_line_through_three_points_matches_hand_numbers(void **state)
{
    (void)state;
    /* y = 1, 2, 4 at x = 0, 1, 2: slope 3/2, intercept 5/6, squares left 1/6;
     * (X^T X)^-1 = ((5, -3), (-3, 3)) / 6 */
    static const double design[6] = {1, 0, 1, 1, 1, 2}, value[3] = {1, 2, 4};
    double c[2], cov[4], residual;
    assert_ok(least_squares(c, cov, &residual, design, value, 3, 2));
    assert_close(c[0], 5.0 / 6, 1e-14, 0);
    assert_close(c[1], 1.5, 1e-14, 0);
    assert_close(residual, 1.0 / 6, 1e-14, 0);
    assert_close(cov[0], 5.0 / 36, 1e-14, 0);
    assert_close(cov[1], -3.0 / 36, 1e-14, 0);
    assert_close(cov[2], -3.0 / 36, 1e-14, 0);
    assert_close(cov[3], 3.0 / 36, 1e-14, 0);
}

static void what_cannot_be_told_apart_is_refused(void **state)
{
    (void)state;
    double c[3], cov[9], residual;
    static const double twice[8] = {1, 2, 2, 4, 3, 6, 4, 8}, value[4] = {1, 2, 3, 5};
    assert_fails(least_squares(c, cov, &residual, twice, value, 4, 2), STATUS_DATA,
                 "the points tell only 1 of 2 coefficients apart");
    assert_fails(least_squares(c, cov, &residual, twice, value, 2, 2), STATUS_DATA,
                 "2 points do not determine 2 coefficients");
    static const double broken[4] = {1, NAN, 3, 5};
    static const double line[8] = {1, 0, 1, 1, 1, 2, 1, 3};
    assert_fails(least_squares(c, cov, &residual, line, broken, 4, 2), STATUS_DATA,
                 "the fit failed: not finite");
}

/* reward[i] of the form with the given alpha and beta. */
static void curve(double *reward, FrontierForm form, double alpha, double beta,
                  const double *distance, int count)
{
    const FrontierFit fit = {.form = form, .alpha = alpha, .beta = beta};
    for (int i = 0; i < count; i++) reward[i] = frontier_reward(&fit, distance[i]);
}

static void exact_points_give_alpha_and_beta_back(void **state)
{
    (void)state;
    static const double alpha[2] = {0.5, 0.35}, beta[2] = {0.12, 0.15};
    static const double peak[2] = {2.0833333333333335, 3.79366789468318};
    static const double highest[2] = {0.5208333333333334, 0.569050184202477};
    double distance[12], reward[12];
    for (int i = 0; i < 12; i++) distance[i] = 0.1 + 0.43 * i;
    for (int f = 0; f < 2; f++) {
        FrontierFit fit;
        curve(reward, forms[f], alpha[f], beta[f], distance, 12);
        assert_ok(frontier_fit(&fit, forms[f], distance, reward, 12));
        assert_int_equal(fit.points, 11); /* the first is nearer than 0.3 */
        assert_close(fit.nearest, 0.53, 1e-15, 0);
        assert_close(fit.furthest, 4.83, 1e-14, 0);
        assert_close(fit.alpha, alpha[f], 1e-12, 0);
        assert_close(fit.beta, beta[f], 1e-12, 0);
        assert_close(fit.r_squared, 1, 1e-12, 0);
        assert_true(fit.alpha_error < 1e-10 && fit.beta_error < 1e-10 && fit.residual < 1e-10);
        assert_close(fit.peak, peak[f], 1e-9, 0);
        assert_close(fit.peak_reward, highest[f], 1e-10, 0);
        assert_close(frontier_reward(&fit, fit.peak), fit.peak_reward, 1e-12, 0);
        assert_true(frontier_reward(&fit, fit.peak * 1.01) < fit.peak_reward);
        assert_true(frontier_reward(&fit, fit.peak * 0.99) < fit.peak_reward);
        assert_close(frontier_reward(&fit, 0), 0, 0, 0);
    }
}

static void the_forms_match_hand_numbers(void **state)
{
    (void)state;
    const FrontierFit best = {.form = FRONTIER_BEST_OF_N, .alpha = 2, .beta = 0.5};
    assert_close(frontier_reward(&best, 3), 3 * (2 - 0.5 * 3), 1e-15, 0);
    const FrontierFit rl = {.form = FRONTIER_RL, .alpha = 2, .beta = 0.5};
    assert_close(frontier_reward(&rl, 3), 4.352081566997836, 1e-14, 0); /* 6 - 1.5 ln 3 */
    assert_close(frontier_reward(&rl, 0.35), 0.883718871787269, 1e-14, 0);
}

static void a_curve_that_only_rises_has_no_peak(void **state)
{
    (void)state;
    double distance[8], reward[8];
    for (int i = 0; i < 8; i++) distance[i] = 0.5 + 0.5 * i;
    for (int f = 0; f < 2; f++) {
        FrontierFit fit;
        curve(reward, forms[f], 0.4, -0.05, distance, 8);
        assert_ok(frontier_fit(&fit, forms[f], distance, reward, 8));
        assert_close(fit.beta, -0.05, 1e-12, 0);
        assert_true(isnan(fit.peak) && isnan(fit.peak_error) && isnan(fit.peak_reward));
        assert_true(isnan(fit.peak_reward_error));
    }
    FrontierFit fit;
    curve(reward, FRONTIER_BEST_OF_N, -0.4, 0.05, distance, 8);
    assert_ok(frontier_fit(&fit, FRONTIER_BEST_OF_N, distance, reward, 8));
    assert_true(isnan(fit.peak)); /* it only falls */
}

static double deviation(const double *x, int n)
{
    double mean = 0, squares = 0;
    for (int i = 0; i < n; i++) mean += x[i] / n;
    for (int i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    return sqrt(squares / (n - 1));
}

static void standard_errors_are_those_of_repeated_draws(void **state)
{
    (void)state;
    enum { DRAWS = 2000, POINTS = 60 };
    static double alpha[DRAWS], beta[DRAWS], peak[DRAWS], highest[DRAWS];
    double distance[POINTS], exact[POINTS], reward[POINTS];
    for (int i = 0; i < POINTS; i++) distance[i] = 0.4 + 0.08 * i;
    for (int f = 0; f < 2; f++) {
        double errors[4] = {0};
        Rng rng = rng_stream(5, RNG_TEST, RNG_LABELLER, (uint64_t)f, 0, 0);
        gsl_rng source = rng_gsl(&rng);
        curve(exact, forms[f], 0.9, 0.3, distance, POINTS);
        for (int d = 0; d < DRAWS; d++) {
            FrontierFit fit;
            for (int i = 0; i < POINTS; i++) {
                reward[i] = exact[i] + gsl_ran_gaussian(&source, 0.1);
            }
            assert_ok(frontier_fit(&fit, forms[f], distance, reward, POINTS));
            alpha[d] = fit.alpha;
            beta[d] = fit.beta;
            peak[d] = fit.peak;
            highest[d] = fit.peak_reward;
            errors[0] += fit.alpha_error / DRAWS;
            errors[1] += fit.beta_error / DRAWS;
            errors[2] += fit.peak_error / DRAWS;
            errors[3] += fit.peak_reward_error / DRAWS;
        }
        /* a deviation of 2 000 draws is known to 1.6 %; the delta method is of first order */
        assert_close(errors[0], deviation(alpha, DRAWS), 0, 0.06);
        assert_close(errors[1], deviation(beta, DRAWS), 0, 0.06);
        assert_close(errors[2], deviation(peak, DRAWS), 0, 0.1);
        assert_close(errors[3], deviation(highest, DRAWS), 0, 0.1);
    }
}

static void too_little_to_fit_is_said(void **state)
{
    (void)state;
    FrontierFit fit;
    static const double near[6] = {0, 0.1, 0.2, 0.29, 0.31, 0.4}, reward[6] = {0, 1, 2, 3, 4, 5};
    assert_fails(frontier_fit(&fit, FRONTIER_RL, near, reward, 6), STATUS_DATA,
                 "2 of 6 points lie at a distance of 0.3 or more, not 4");
    assert_fails(frontier_fit(&fit, FRONTIER_RL, near, reward, 0), STATUS_DATA,
                 "0 of 0 points lie");
    static const double one_place[6] = {2, 2, 2, 2, 2, 2};
    assert_fails(frontier_fit(&fit, FRONTIER_BEST_OF_N, one_place, reward, 6), STATUS_DATA,
                 "the points tell only 1 of 2 coefficients apart");
    static const double hole[6] = {0, 1, NAN, 3, 4, 5};
    assert_fails(frontier_fit(&fit, FRONTIER_RL, hole, reward, 6), STATUS_DATA,
                 "point 3 of 6 is not finite");
    memory_fault(1, 0);
    assert_fails(frontier_fit(&fit, FRONTIER_RL, near, reward, 6), STATUS_FAILED, "96 bytes");
    memory_fault(0, 0);
}

static void the_peak_is_that_of_five_neighbours(void **state)
{
    (void)state;
    /* means of five: 3, 3.4, 2.4, 1.4; the 9 alone is no peak */
    static const double value[8] = {0, 2, 1, 3, 9, 2, -3, -4};
    const FrontierPeak peak = frontier_peak(value, 8);
    assert_int_equal(peak.middle, 3);
    assert_close(peak.highest, 3.4, 1e-15, 0);
    assert_close(peak.last, 1.4, 1e-15, 0);
    /* second differences -3, 3, 4, -13, 2, 4: squares 223 */
    assert_close(peak.noise, sqrt(223.0 / 36), 1e-14, 0);
    assert_close(peak.fall_error, sqrt(223.0 / 36 * 2 / 5), 1e-14, 0);
    assert_int_equal(frontier_peak(value, 4).middle, -1);
    assert_int_equal(frontier_peak(value, 5).middle, 2);
}

static void a_trend_is_no_noise(void **state)
{
    (void)state;
    enum { N = 400 };
    static double value[N];
    Rng rng = rng_stream(6, RNG_TEST, RNG_LABELLER, 0, 0, 0);
    gsl_rng source = rng_gsl(&rng);
    for (int i = 0; i < N; i++) {
        value[i] = 3 - pow((i - 150) / 100.0, 2) + gsl_ran_gaussian(&source, 0.2);
    }
    const FrontierPeak peak = frontier_peak(value, N);
    assert_true(abs(peak.middle - 150) < 40);
    assert_close(peak.noise, 0.2, 0, 0.1);
    assert_true(peak.highest - peak.last > 5);
}

int main(void)
{
    gsl_set_error_handler_off();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_through_three_points_matches_hand_numbers),
        cmocka_unit_test(what_cannot_be_told_apart_is_refused),
        cmocka_unit_test(exact_points_give_alpha_and_beta_back),
        cmocka_unit_test(the_forms_match_hand_numbers),
        cmocka_unit_test(a_curve_that_only_rises_has_no_peak),
        cmocka_unit_test(standard_errors_are_those_of_repeated_draws),
        cmocka_unit_test(too_little_to_fit_is_said),
        cmocka_unit_test(the_peak_is_that_of_five_neighbours),
        cmocka_unit_test(a_trend_is_no_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
