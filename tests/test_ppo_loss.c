#include "tests/support.h"

#include "data/rng.h"
#include "ppo/kl.h"
#include "ppo/ppo_loss.h"

/* C27: the four corners of equation 7. */
static void c27_clip_has_its_four_corners(void **state)
{
    (void)state;
    const double ratio[4] = {1.5, 1.5, 0.5, 0.5}, advantage[4] = {1, -1, 1, -1};
    const double loss[4] = {-1.2, 1.5, -0.5, 0.8}, slope[4] = {0, 1.5, -0.5, 0};
    for (int i = 0; i < 4; i++) {
        const PolicyTerm term = policy_term(log(ratio[i]), 0.0, advantage[i], 0.2);
        assert_close(term.loss, loss[i], 1e-12, 0);
        assert_close(term.slope, slope[i], 1e-12, 0);
        assert_close(term.ratio, ratio[i], 1e-12, 0);
        assert_int_equal(term.clipped, slope[i] == 0.0);
    }
}

static void policy_terms_have_their_golden_mean(void **state)
{
    (void)state;
    const double ratio[5] = {1.5, 0.5, 1.5, 0.5, 1.1}, advantage[5] = {1, 1, -1, -1, 0.5};
    const double slope[5] = {0, -0.1, 0.3, 0, -0.11};
    double loss = 0.0, clipped = 0.0, square = 0.0, k3 = 0.0;
    for (int i = 0; i < 5; i++) {
        const PolicyTerm term = policy_term(log(ratio[i]) - 2.0, -2.0, advantage[i], 0.2);
        assert_close(term.slope / 5, slope[i], 1e-12, 0);
        loss += term.loss / 5;
        clipped += term.clipped / 5.0;
        square += 0.5 * log(ratio[i]) * log(ratio[i]) / 5;
        k3 += kl_k3(-log(ratio[i])) / 5;
    }
    assert_close(loss, 0.01, 1e-12, 0);
    assert_close(clipped, 0.4, 1e-12, 0);
    assert_close(square, 0.1298793966, 1e-10, 0);
    assert_close(k3, 0.116010793, 1e-9, 0);
}

/* C1 in small: the same number twice is a ratio of exactly 1, and the loss is minus A. */
static void c1_equal_log_probabilities_have_ratio_one(void **state)
{
    (void)state;
    Rng rng = rng_stream(5, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    for (int i = 0; i < 100; i++) {
        const double logp = (double)(float)(-9.0 * rng_uniform(&rng));
        const double advantage = 2.0 * rng_uniform(&rng) - 1.0;
        const PolicyTerm term = policy_term(logp, logp, advantage, 0.2);
        assert_true(term.ratio == 1.0 && term.loss == -advantage && term.slope == -advantage);
        assert_false(term.clipped);
    }
}

static void policy_slope_is_the_derivative(void **state)
{
    (void)state;
    Rng rng = rng_stream(6, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    int branch[2] = {0, 0};
    for (int i = 0; i < 200; i++) {
        const double old = -3.0 * rng_uniform(&rng), logp = old + 1.2 * (rng_uniform(&rng) - 0.5);
        const double advantage = 3.0 * (rng_uniform(&rng) - 0.5), h = 1e-6;
        const double ratio = exp(logp - old);
        if (fabs(ratio - 0.8) < 1e-4 || fabs(ratio - 1.2) < 1e-4) continue; /* the kink */
        const PolicyTerm term = policy_term(logp, old, advantage, 0.2);
        const double up = policy_term(logp + h, old, advantage, 0.2).loss;
        const double down = policy_term(logp - h, old, advantage, 0.2).loss;
        assert_close(term.slope, (up - down) / (2 * h), 1e-8, 1e-7);
        branch[term.clipped]++;
    }
    assert_true(branch[0] > 20 && branch[1] > 20);
}

static void clipping_never_lowers_the_loss(void **state)
{
    (void)state;
    Rng rng = rng_stream(7, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    for (int i = 0; i < 500; i++) {
        const double logp = 2.0 * (rng_uniform(&rng) - 0.5), advantage = rng_uniform(&rng) - 0.5;
        const double ratio = exp(logp);
        const PolicyTerm term = policy_term(logp, 0.0, advantage, 0.2);
        assert_true(term.loss >= -advantage * ratio);
        const int held = (advantage > 0 && ratio > 1.2) || (advantage < 0 && ratio < 0.8);
        assert_int_equal(term.slope == 0.0, held);
        assert_int_equal(term.clipped, held);
    }
}

static void exponent_is_held_at_twenty(void **state)
{
    (void)state;
    const PolicyTerm far = policy_term(0.0, -300.0, -1.0, 0.2);
    assert_close(far.loss, exp(20.0), 0, 1e-12);
    assert_true(far.slope == 0.0);
    assert_true(policy_term(-300.0, 0.0, 1.0, 0.2).loss <= 0.0);
}

static void numbers_that_are_not_finite_stay_visible(void **state)
{
    (void)state;
    assert_true(isnan(policy_term(NAN, 0.0, 1.0, 0.2).loss));
    assert_true(isnan(policy_term(0.0, 0.0, NAN, 0.2).loss));
    assert_true(isnan(value_term(NAN, 0.0, 1.0, 0.2).loss));
    assert_true(isnan(value_term(0.5, 0.0, NAN, 0.2).loss));
}

/* C26: Vold 1, Vnew 1.5, R 2: held at 1.2, error 0.8, half its square. */
static void c26_value_clip_is_around_the_old_value(void **state)
{
    (void)state;
    const ValueTerm term = value_term(1.5, 1.0, 2.0, 0.2);
    assert_close(term.loss, 0.32, 1e-12, 0);
    assert_true(term.slope == 0.0 && term.clipped);

    const double value[3] = {0.9, 0.6, 0.1}, expected[3] = {0.045, 0.08, 0.405};
    double clipped = 0.0;
    for (int i = 0; i < 3; i++) {
        const ValueTerm golden = value_term(value[i], 0.5, 1.0, 0.2);
        assert_close(golden.loss, expected[i], 1e-12, 0);
        clipped += golden.clipped / 3.0;
    }
    assert_close(clipped, 1.0 / 3.0, 1e-12, 0);
}

static void value_slope_is_the_derivative(void **state)
{
    (void)state;
    Rng rng = rng_stream(8, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    int branch[2] = {0, 0};
    for (int i = 0; i < 300; i++) {
        const double old = rng_uniform(&rng), value = old + rng_uniform(&rng) - 0.5;
        const double returns = 2.0 * rng_uniform(&rng) - 0.5, h = 1e-6;
        if (fabs(fabs(value - old) - 0.2) < 1e-4) continue;
        const ValueTerm term = value_term(value, old, returns, 0.2);
        const double up = value_term(value + h, old, returns, 0.2).loss;
        const double down = value_term(value - h, old, returns, 0.2).loss;
        /* Where both errors are equal the loss has a kink. */
        if (fabs(fabs(value - returns) - fabs(old + copysign(0.2, value - old) - returns)) < 1e-4 &&
            fabs(value - old) > 0.2) {
            continue;
        }
        assert_close(term.slope, (up - down) / (2 * h), 1e-8, 1e-7);
        branch[term.clipped]++;
    }
    assert_true(branch[0] > 20 && branch[1] > 20);
}

static void value_clip_can_be_off(void **state)
{
    (void)state;
    const ValueTerm term = value_term(1.5, 1.0, 2.0, 0.0);
    assert_close(term.loss, 0.125, 0, 0);
    assert_close(term.slope, -0.5, 0, 0);
    assert_false(term.clipped);
}

static void value_clip_never_lowers_the_loss(void **state)
{
    (void)state;
    Rng rng = rng_stream(9, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    for (int i = 0; i < 500; i++) {
        const double value = rng_uniform(&rng), old = rng_uniform(&rng), r = rng_uniform(&rng);
        assert_true(value_term(value, old, r, 0.2).loss >= 0.5 * (value - r) * (value - r));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c27_clip_has_its_four_corners),
        cmocka_unit_test(policy_terms_have_their_golden_mean),
        cmocka_unit_test(c1_equal_log_probabilities_have_ratio_one),
        cmocka_unit_test(policy_slope_is_the_derivative),
        cmocka_unit_test(clipping_never_lowers_the_loss),
        cmocka_unit_test(exponent_is_held_at_twenty),
        cmocka_unit_test(numbers_that_are_not_finite_stay_visible),
        cmocka_unit_test(c26_value_clip_is_around_the_old_value),
        cmocka_unit_test(value_slope_is_the_derivative),
        cmocka_unit_test(value_clip_can_be_off),
        cmocka_unit_test(value_clip_never_lowers_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
