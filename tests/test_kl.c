#include "tests/support.h"

#include "data/rng.h"
#include "ppo/kl.h"

static const double p[3] = {0.5, 0.3, 0.2}, q[3] = {0.4, 0.4, 0.2};

static void estimators_have_their_hand_values(void **state)
{
    (void)state;
    const double k1[3] = {0.223143551314, -0.287682072452, 0.0};
    const double k2[3] = {0.0248965222, 0.0413804874, 0.0};
    const double k3[3] = {0.023143551314, 0.045651260882, 0.0};
    for (int v = 0; v < 3; v++) {
        const double change = log(p[v] / q[v]);
        assert_close(kl_k1(change), k1[v], 1e-12, 0);
        assert_close(kl_k2(change), k2[v], 1e-10, 0);
        assert_close(kl_k3(change), k3[v], 1e-12, 0);
    }
}

/* Under the policy k1 and k3 are unbiased and k2 is not; the mistakes of other code have other
 * expectations. */
static void c11_expectations_are_the_exact_kl(void **state)
{
    (void)state;
    double k1 = 0.0, k2 = 0.0, k3 = 0.0, reversed = 0.0, absolute = 0.0, held = 0.0;
    for (int v = 0; v < 3; v++) {
        const double change = log(p[v] / q[v]);
        k1 += p[v] * kl_k1(change);
        k2 += p[v] * kl_k2(change);
        k3 += p[v] * kl_k3(change);
        reversed += p[v] * kl_k3(-change);
        absolute += p[v] * fabs(kl_k1(change));
        held += p[v] * fmax(kl_k1(change), 0.0);
    }
    const double exact = 0.025267153922;
    assert_close(k1, exact, 1e-12, 0);
    assert_close(k3, exact, 1e-12, 0);
    assert_close(k2, 0.024862407345, 1e-12, 0);
    assert_close(reversed, 0.024732846078, 1e-12, 0);
    assert_close(absolute, 0.197876397393, 1e-12, 0);
    assert_close(held, 0.111571775657, 1e-12, 0);
    assert_true(fabs(reversed - exact) > 1e-4 && fabs(absolute - exact) > 1e-4);
}

static void k3_keeps_its_sign_near_zero(void **state)
{
    (void)state;
    for (double change = -1e-7; change <= 1e-7; change += 1e-9) {
        assert_true(kl_k3(change) >= 0.0);
        assert_close(kl_k3(change), 0.5 * change * change, 1e-20, 1e-2);
    }
    for (double change = -3.0; change < 3.0; change += 0.01) assert_true(kl_k3(change) >= 0.0);
}

static void exact_kl_is_the_sum_over_the_vocabulary(void **state)
{
    (void)state;
    float a[3], b[3];
    for (int v = 0; v < 3; v++) {
        a[v] = (float)log(p[v]) + 7.0f; /* logits are free up to a constant */
        b[v] = (float)log(q[v]) - 2.0f;
    }
    assert_close(kl_exact(a, b, 3, 1.0), 0.025267153922, 1e-7, 0);
    assert_close(kl_exact(b, a, 3, 1.0), 0.0258154085, 1e-7, 0);
    assert_close(kl_exact(a, a, 3, 1.0), 0.0, 0, 0);
}

static void exact_kl_feels_the_temperature(void **state)
{
    (void)state;
    const float a[3] = {2.0f, 1.0f, 0.0f}, b[3] = {0.0f, 0.0f, 0.0f};
    /* Against the uniform: ln 3 minus the entropy of the softmax at the temperature. */
    const double at_one[3] = {-0.407605964444, -1.407605964444, -2.407605964444};
    const double at_seven[3] = {-0.260118402645, -1.688689831216, -3.117261259788};
    double one = log(3.0), seven = log(3.0);
    for (int v = 0; v < 3; v++) {
        one += exp(at_one[v]) * at_one[v];
        seven += exp(at_seven[v]) * at_seven[v];
    }
    assert_close(kl_exact(a, b, 3, 1.0), one, 1e-11, 0);
    assert_close(kl_exact(a, b, 3, 0.7), seven, 1e-11, 0);
}

static void exact_kl_survives_large_logits(void **state)
{
    (void)state;
    const float a[2] = {800.0f, -800.0f}, b[2] = {-800.0f, 800.0f};
    assert_close(kl_exact(a, b, 2, 1.0), 1600.0, 1e-9, 0);
}

/* The mean of k1 and of k3 over samples stays within four standard errors of the exact value. */
static void sampled_estimators_agree_with_the_exact_kl(void **state)
{
    (void)state;
    enum { N = 20000 };
    Rng rng = rng_stream(11, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    double sum[2] = {0}, square[2] = {0};
    for (int i = 0; i < N; i++) {
        const double u = rng_uniform(&rng);
        const int v = u < p[0] ? 0 : u < p[0] + p[1] ? 1 : 2;
        const double change = log(p[v] / q[v]);
        const double estimate[2] = {kl_k1(change), kl_k3(change)};
        for (int k = 0; k < 2; k++) {
            sum[k] += estimate[k];
            square[k] += estimate[k] * estimate[k];
        }
    }
    for (int k = 0; k < 2; k++) {
        const double mean = sum[k] / N;
        const double error = sqrt((square[k] / N - mean * mean) / N);
        assert_true(error > 0.0);
        assert_close(mean, 0.025267153922, 4 * error, 0);
    }
}

/* Target 6 is nats a sequence: C13. */
static void c13_controller_has_its_golden_values(void **state)
{
    (void)state;
    assert_close(kl_controller(0.2, 12.0, 6.0, 256, 1e4), 0.201024, 1e-12, 0);
    assert_close(kl_controller(0.2, 6.6, 6.0, 256, 1e4), 0.200512, 1e-12, 0);
    assert_close(kl_controller(0.2, 6.0, 6.0, 256, 1e4), 0.2, 0, 0);
    assert_close(kl_controller(0.2, 3.0, 6.0, 256, 1e4), 0.198976, 1e-12, 0);

    const double kl[4] = {3.0, 6.0, 6.6, 12.0};
    const double expected[4] = {0.148464, 0.148464, 0.1492241357, 0.1507521908};
    double coefficient = 0.15;
    for (int i = 0; i < 4; i++) {
        coefficient = kl_controller(coefficient, kl[i], 6.0, 512, 1e4);
        assert_close(coefficient, expected[i], 1e-10, 0);
    }
}

static void controller_never_reaches_zero(void **state)
{
    (void)state;
    double coefficient = 0.05;
    for (int i = 0; i < 1000; i++) coefficient = kl_controller(coefficient, -5.0, 6.0, 1, 5);
    assert_true(coefficient > 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimators_have_their_hand_values),
        cmocka_unit_test(c11_expectations_are_the_exact_kl),
        cmocka_unit_test(k3_keeps_its_sign_near_zero),
        cmocka_unit_test(exact_kl_is_the_sum_over_the_vocabulary),
        cmocka_unit_test(exact_kl_feels_the_temperature),
        cmocka_unit_test(exact_kl_survives_large_logits),
        cmocka_unit_test(sampled_estimators_agree_with_the_exact_kl),
        cmocka_unit_test(c13_controller_has_its_golden_values),
        cmocka_unit_test(controller_never_reaches_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
