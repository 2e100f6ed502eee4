/* calibration: accuracy, likelihood, ECE, Brier, accuracy by margin, correlations. */
#include "tests/support.h"

#include "data/rng.h"
#include "reward/bradley_terry.h"
#include "reward/calibration.h"

static void calibration_error_matches_hand_numbers(void **state)
{
    (void)state;
    static const double confidence[8] = {.55, .65, .72, .85, .93, .58, .61, .97};
    static const double correct[8] = {1, 0, 1, 1, 1, 0, 1, 1};
    assert_close(calibration_error(confidence, correct, 8, 5), 0.115, 1e-12, 0);
}

static void a_confidence_on_an_edge_belongs_to_the_bin_below(void **state)
{
    (void)state;
    /* with 2 bins, 0.75 and 0.6 share one: |(.75 + .6) / 2 - 1/2| = .175; apart: .25 and .6 */
    static const double confidence[2] = {0.75, 0.6}, correct[2] = {1, 0};
    assert_close(calibration_error(confidence, correct, 2, 2), 0.175, 1e-12, 0);
    static const double low[1] = {0.5}, high[1] = {1.0}, half[1] = {0.5}, all[1] = {1};
    assert_close(calibration_error(low, half, 1, 10), 0, 0, 0);
    assert_close(calibration_error(high, all, 1, 10), 0, 0, 0);
}

static void four_pairs_match_hand_numbers(void **state)
{
    (void)state;
    /* right; wrong about a wrong label; tie; right about a label that goes against gold */
    static const double gap[4] = {2.0, -1.0, 0.0, 0.5};
    static const double gold[4] = {1.0, -3.0, 0.3, -0.6};
    Calibration c;
    calibrate(&c, gap, gold, 4, 1.0);
    assert_int_equal(c.pairs, 4);
    assert_close(c.accuracy, 2.5 / 4, 0, 1e-15);
    assert_close(c.gold_accuracy, (1 + 1 + 0.5 + 0) / 4, 0, 1e-15);
    assert_close(c.ceiling, 0.5, 0, 1e-15);
    assert_close(
        c.nll, (0.126928011042973 + 1.313261687518223 + 0.693147180559945 + 0.474076984180107) / 4,
        1e-14, 0);
    const double p[4] = {1 / (1 + exp(-2)), 1 / (1 + exp(1)), 0.5, 1 / (1 + exp(-0.5))};
    double brier = 0.0;
    for (int i = 0; i < 4; i++) brier += (1 - p[i]) * (1 - p[i]) / 4;
    assert_close(c.brier, brier, 1e-15, 0);
    /* confidences .881, .731, .5, .622 lie in four bins of ten */
    assert_close(c.ece, (1 - p[0] + 1 - p[1] + 0 + 1 - p[3]) / 4, 1e-14, 0);
    static const double right[CALIBRATION_BINS] = {0.5, NAN, 1, NAN, 0, NAN, NAN, 1, NAN, NAN};
    const double sure[CALIBRATION_BINS] = {0.5, NAN, p[3], NAN, 1 - p[1], NAN, NAN, p[0], NAN, NAN};
    for (int b = 0; b < CALIBRATION_BINS; b++) {
        const ReliabilityBin *bin = &c.reliability[b];
        assert_int_equal(bin->pairs, isnan(right[b]) ? 0 : 1);
        assert_true(bin->pairs == 0 ? isnan(bin->accuracy) : bin->accuracy == right[b]);
        if (bin->pairs > 0) assert_close(bin->confidence, sure[b], 1e-15, 0);
    }
    static const int pairs[MARGIN_BINS] = {0, 1, 1, 1, 1};
    static const double accuracy[MARGIN_BINS] = {NAN, 0.5, 0, 1, 1};
    for (int b = 0; b < MARGIN_BINS; b++) {
        assert_int_equal(c.margin_pairs[b], pairs[b]);
        if (b > 0) assert_close(c.margin_accuracy[b], accuracy[b], 0, 0);
    }
    assert_true(isnan(c.margin_accuracy[0]));
}

static void the_bins_of_a_diagram_add_up_to_its_error(void **state)
{
    (void)state;
    enum { N = 500 };
    double gap[N], gold[N];
    for (int i = 0; i < N; i++) {
        gap[i] = 8 * fmod(i * 0.618033988749895, 1.0) - 2;
        gold[i] = NAN;
    }
    Calibration c;
    calibrate(&c, gap, gold, N, NAN);
    double error = 0;
    int pairs = 0;
    for (int b = 0; b < CALIBRATION_BINS; b++) {
        const ReliabilityBin *bin = &c.reliability[b];
        assert_true(bin->confidence >= 0.5 + 0.05 * b && bin->confidence <= 0.55 + 0.05 * b);
        error += bin->pairs * fabs(bin->confidence - bin->accuracy) / N;
        pairs += bin->pairs;
    }
    assert_int_equal(pairs, N);
    assert_close(error, c.ece, 1e-14, 0);
}

static void margins_are_counted_in_standard_deviations(void **state)
{
    (void)state;
    static const double gap[5] = {1, 1, 1, 1, 1}, gold[5] = {0.4, 0.5, 1.0, 2.0, 4.0};
    Calibration c;
    calibrate(&c, gap, gold, 5, 2.0);
    for (int b = 0; b < MARGIN_BINS; b++) assert_int_equal(c.margin_pairs[b], 1);
}

static void without_gold_only_labels_count(void **state)
{
    (void)state;
    static const double gap[2] = {1, -1}, gold[2] = {NAN, NAN};
    Calibration c;
    calibrate(&c, gap, gold, 2, NAN);
    assert_close(c.accuracy, 0.5, 0, 0);
    assert_true(isnan(c.gold_accuracy) && isnan(c.ceiling));
    calibrate(&c, gap, gold, 0, NAN);
    assert_true(isnan(c.accuracy) && isnan(c.nll) && isnan(c.ece));
}

static void a_perfect_judge_has_no_calibration_error(void **state)
{
    (void)state;
    enum { N = 100000 };
    static double gap[N], gold[N];
    Rng rng = rng_stream(1, RNG_TEST, RNG_LABELLER, 0, 0, 0);
    for (int i = 0; i < N; i++) {
        const double difference = 6 * rng_uniform(&rng) - 3;
        const double sign = rng_uniform(&rng) < sigmoid(difference) ? 1 : -1;
        gap[i] = sign * difference;
        gold[i] = gap[i];
    }
    Calibration c;
    calibrate(&c, gap, gold, N, 1.0);
    assert_true(c.ece >= 0 && c.ece < 0.01);
    assert_close(c.gold_accuracy, 1, 0, 0);
    assert_close(c.accuracy, c.ceiling, 0, 0);

    const double honest = c.nll;
    for (int i = 0; i < N; i++) gap[i] *= 2; /* overconfident: more error, less likelihood */
    calibrate(&c, gap, gold, N, 1.0);
    assert_true(c.ece > 0.05 && c.nll > honest);
    assert_close(c.accuracy, c.ceiling, 0, 0); /* accuracy does not see a gain above 0 */
    for (int i = 0; i < N; i++) gap[i] /= 4;
    calibrate(&c, gap, gold, N, 1.0);
    assert_true(c.ece > 0.05 && c.nll > honest);
}

static void correlations_match_hand_numbers(void **state)
{
    (void)state;
    static const double a[5] = {1, 2, 2, 4, 10}, b[5] = {3, 1, 4, 4, 9};
    double scratch[10];
    /* ranks 1 2.5 2.5 4 5 and 2 1 3.5 3.5 5: covariance 7.25, squares 9.5 and 9.5 */
    assert_close(rank_correlation(a, b, 5, scratch), 7.25 / 9.5, 1e-12, 0);
    /* deviations -2.8 -1.8 -1.8 .2 6.2 and -1.2 -3.2 -.2 -.2 4.8 */
    assert_close(linear_correlation(a, b, 5), 39.2 / sqrt(52.8 * 34.8), 1e-12, 0);
    static const double same[3] = {2, 2, 2};
    assert_true(isnan(rank_correlation(a, same, 3, scratch)));
    assert_true(isnan(linear_correlation(same, b, 3)));
    assert_true(isnan(linear_correlation(a, b, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calibration_error_matches_hand_numbers),
        cmocka_unit_test(a_confidence_on_an_edge_belongs_to_the_bin_below),
        cmocka_unit_test(four_pairs_match_hand_numbers),
        cmocka_unit_test(the_bins_of_a_diagram_add_up_to_its_error),
        cmocka_unit_test(margins_are_counted_in_standard_deviations),
        cmocka_unit_test(without_gold_only_labels_count),
        cmocka_unit_test(a_perfect_judge_has_no_calibration_error),
        cmocka_unit_test(correlations_match_hand_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
