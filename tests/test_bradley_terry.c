/* bradley_terry: the loss by hand, its gradient by differences, what must not change it. */
#include "tests/support.h"

#include "reward/bradley_terry.h"

static const BradleyTerryConfig plain = {0};

static double loss_of(double chosen, double rejected, double margin,
                      const BradleyTerryConfig *config)
{
    double dchosen, drejected;
    return bradley_terry_pair(&dchosen, &drejected, chosen, rejected, margin, config);
}

static void one_pair_matches_the_paper(void **state)
{
    (void)state;
    assert_close(loss_of(0, 0, 0, &plain), 0.693147180560, 1e-12, 0);
    assert_close(loss_of(1, 0, 0, &plain), 0.313261687518, 1e-12, 0);
    assert_close(loss_of(0.25, -0.75, 0.5, &plain), 0.474076984180, 1e-12, 0);
}

/* Three pairs: a right one, a wrong one, a tie. */
static const double chosen[3] = {1.2, 0.3, -0.5};
static const double rejected[3] = {0.4, 0.9, -0.5};

static double mean_loss(const double *margin, const BradleyTerryConfig *config)
{
    double sum = 0.0;
    for (int i = 0; i < 3; i++) sum += loss_of(chosen[i], rejected[i], margin[i], config);
    return sum / 3;
}

static void a_batch_matches_hand_numbers(void **state)
{
    (void)state;
    static const double none[3] = {0}, margins[3] = {1, 0, 1.0 / 3};
    const BradleyTerryConfig centred = {.centring = 0.01}, smooth = {.label_smoothing = 0.1};
    assert_close(mean_loss(none, &plain), 0.700578599, 1e-9, 0);
    assert_close(mean_loss(margins, &plain), 0.903088576, 1e-9, 0);
    assert_close(mean_loss(none, &centred), 0.7172452657, 1e-9, 0);
    assert_close(mean_loss(none, &smooth), 0.7072452657, 1e-9, 0);

    static const double slope[3] = {-0.1033418396, -0.2152187687, -0.1666666667};
    for (int i = 0; i < 3; i++) {
        double dchosen, drejected;
        bradley_terry_pair(&dchosen, &drejected, chosen[i], rejected[i], 0, &plain);
        assert_close(dchosen / 3, slope[i], 1e-9, 0);
        assert_close(drejected / 3, -slope[i], 1e-9, 0);
    }
}

static void far_scores_neither_overflow_nor_vanish(void **state)
{
    (void)state;
    double dchosen, drejected;
    assert_close(bradley_terry_pair(&dchosen, &drejected, -400, 400, 0, &plain), 800, 0, 0);
    assert_close(dchosen, -1, 0, 0);
    assert_close(drejected, 1, 0, 0);
    assert_close(bradley_terry_pair(&dchosen, &drejected, 400, -400, 0, &plain), 0, 1e-300, 0);
    assert_close(dchosen, 0, 1e-300, 0);
    assert_close(softplus(100), 100, 0, 0);
    assert_close(softplus(750), 750, 0, 0);
    assert_close(softplus(-40), exp(-40), 0, 1e-15);
    assert_true(isfinite(sigmoid(-1e4)) && isfinite(sigmoid(1e4)));
}

static void the_gradient_is_the_slope_of_the_loss(void **state)
{
    (void)state;
    const BradleyTerryConfig config = {.centring = 0.0137, .label_smoothing = 0.0719};
    static const double point[4][3] = {{0.8413, -1.3331, 0.2877},
                                       {-2.1173, 0.9091, 0.4637},
                                       {5.3, 5.1, -0.3119},
                                       {-7.7, 3.9, 1.1}};
    const double h = 1e-5;
    for (int i = 0; i < 4; i++) {
        const double c = point[i][0], r = point[i][1], m = point[i][2];
        double dchosen, drejected;
        bradley_terry_pair(&dchosen, &drejected, c, r, m, &config);
        const double slope_c = (loss_of(c + h, r, m, &config) - loss_of(c - h, r, m, &config));
        const double slope_r = (loss_of(c, r + h, m, &config) - loss_of(c, r - h, m, &config));
        assert_close(dchosen, slope_c / (2 * h), 1e-9, 1e-8);
        assert_close(drejected, slope_r / (2 * h), 1e-9, 1e-8);
    }
}

static void a_constant_added_to_both_scores_changes_nothing(void **state)
{
    (void)state;
    const BradleyTerryConfig smooth = {.label_smoothing = 0.2};
    double a, b, c, d;
    const double here = bradley_terry_pair(&a, &b, 0.75, -0.5, 0.25, &smooth);
    const double there = bradley_terry_pair(&c, &d, 4.75, 3.5, 0.25, &smooth);
    assert_true(here == there && a == c && b == d);
    assert_true(a + b == 0.0);

    const BradleyTerryConfig centred = {.centring = 0.01};
    assert_true(loss_of(4.75, 3.5, 0, &centred) > loss_of(0.75, -0.5, 0, &centred));
}

static void swapping_the_answers_mirrors_the_loss(void **state)
{
    (void)state;
    double a, b, c, d;
    const double won = bradley_terry_pair(&a, &b, 0.9, -0.35, 0, &plain);
    const double lost = bradley_terry_pair(&c, &d, -0.35, 0.9, 0, &plain);
    assert_close(lost - won, 1.25, 1e-15, 0); /* softplus(x) - softplus(-x) = x */
    assert_close(c, -1 - a, 1e-15, 0);
    assert_close(d, 1 - b, 1e-15, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_pair_matches_the_paper),
        cmocka_unit_test(a_batch_matches_hand_numbers),
        cmocka_unit_test(far_scores_neither_overflow_nor_vanish),
        cmocka_unit_test(the_gradient_is_the_slope_of_the_loss),
        cmocka_unit_test(a_constant_added_to_both_scores_changes_nothing),
        cmocka_unit_test(swapping_the_answers_mirrors_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
