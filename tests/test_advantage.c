#include "tests/support.h"

#include "data/rng.h"
#include "ppo/advantage.h"

static const float golden_reward[4] = {0.1f, -0.2f, 0.3f, 1.0f};
static const float golden_value[4] = {0.5f, 0.4f, 0.3f, 0.2f};

typedef struct AdvantageCase {
    double gamma, lambda;
    double advantage[4], returns[4];
} AdvantageCase;

static void c8_advantages_have_their_golden_values(void **state)
{
    (void)state;
    const AdvantageCase cases[] = {
        {1, 0.95, {0.5814, 0.612, 0.96, 0.8}, {1.0814, 1.012, 1.26, 1.0}},
        {0.99, 0.95, {0.5516955536, 0.5908512, 0.9504, 0.8}, {1.0516955536, 0.9908512, 1.2504, 1}},
        {1, 1, {0.7, 0.7, 1.0, 0.8}, {1.2, 1.1, 1.3, 1.0}},
        {1, 0, {0, -0.3, 0.2, 0.8}, {0.5, 0.1, 0.5, 1.0}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        float advantage[4], returns[4];
        advantages(advantage, returns, golden_reward, golden_value, 4, cases[c].gamma,
                   cases[c].lambda);
        for (int t = 0; t < 4; t++) {
            assert_close(advantage[t], cases[c].advantage[t], 1e-6, 0);
            assert_close(returns[t], cases[c].returns[t], 1e-6, 0);
        }
    }
}

static void advantages_have_their_second_golden_values(void **state)
{
    (void)state;
    const float reward[4] = {-0.01f, 0.02f, -0.03f, 0.96f}, value[4] = {0.5f, 0.4f, 0.6f, 0.7f};
    const AdvantageCase cases[] = {
        {1, 0.95, {0.3850925, 0.52115, 0.317, 0.26}, {0.8850925, 0.92115, 0.917, 0.96}},
        {1, 1, {0.44, 0.55, 0.33, 0.26}, {0.94, 0.95, 0.93, 0.96}},
        {1, 0, {-0.11, 0.22, 0.07, 0.26}, {0.39, 0.62, 0.67, 0.96}},
        {0.99,
         0.9,
         {0.3105989755, 0.47654206, 0.29466, 0.26},
         {0.8105989755, 0.87654206, 0.89466, 0.96}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        float advantage[4], returns[4];
        advantages(advantage, returns, reward, value, 4, cases[c].gamma, cases[c].lambda);
        for (int t = 0; t < 4; t++) {
            assert_close(advantage[t], cases[c].advantage[t], 1e-6, 0);
            assert_close(returns[t], cases[c].returns[t], 1e-6, 0);
        }
    }
}

/* C6: an answer is an episode, whether it ended or ran out of places; the value .25 of a state
 * after it would give the second row, which nobody gets here. */
static void c6_nothing_is_bootstrapped_at_the_end(void **state)
{
    (void)state;
    const double bootstrapped[4] = {0.79574375, 0.837625, 1.1975, 1.05};
    float advantage[4], returns[4];
    advantages(advantage, returns, golden_reward, golden_value, 4, 1.0, 0.95);
    for (int t = 0; t < 4; t++) assert_true(fabs((double)advantage[t] - bootstrapped[t]) > 0.2);

    /* Only by paying it as a reward does it come out. */
    const float reward[4] = {0.1f, -0.2f, 0.3f, 1.25f};
    advantages(advantage, returns, reward, golden_value, 4, 1.0, 0.95);
    for (int t = 0; t < 4; t++) assert_close(advantage[t], bootstrapped[t], 1e-6, 0);
}

/* C7 and C4: the design has no pads and no place after the last token, so the numbers of code that
 * lets pads in, or puts the score one place late, cannot come out. */
static void c7_no_pad_leaks_into_advantages(void **state)
{
    (void)state;
    const double pads[4] = {0.65663465625, 0.691194375, 1.0433625, 0.88775};
    const double late[4] = {0.542818125, 0.5713875, 0.91725, 0.755};
    /* Memory behind the sequence is poisoned. */
    float reward[6] = {0.1f, -0.2f, 0.3f, 1.0f, NAN, 1e30f};
    float value[6] = {0.5f, 0.4f, 0.3f, 0.2f, 0.9f, NAN};
    float advantage[6] = {0, 0, 0, 0, 7, 7}, returns[6] = {0, 0, 0, 0, 7, 7};
    advantages(advantage, returns, reward, value, 4, 1.0, 0.95);
    const double expected[4] = {0.5814, 0.612, 0.96, 0.8};
    for (int t = 0; t < 4; t++) {
        assert_close(advantage[t], expected[t], 1e-6, 0);
        assert_true(fabs((double)advantage[t] - pads[t]) > 0.05);
        assert_true(fabs((double)advantage[t] - late[t]) > 0.03);
    }
    assert_true(advantage[4] == 7.0f && returns[5] == 7.0f);
}

/* C8, C34: against the definition, A_t = sum_k (gamma lambda)^(k-t) delta_k, not the recursion. */
static void c34_recursion_is_the_definition(void **state)
{
    (void)state;
    enum { N = 13 };
    Rng rng = rng_stream(3, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    float r[N], v[N], advantage[N], returns[N];
    for (int t = 0; t < N; t++) {
        r[t] = (float)(4.0 * rng_uniform(&rng) - 2.0);
        v[t] = (float)(4.0 * rng_uniform(&rng) - 2.0);
    }
    advantages(advantage, returns, r, v, N, 0.93, 0.81);
    for (int t = 0; t < N; t++) {
        double expected = 0.0;
        for (int k = t; k < N; k++) {
            const double next = k + 1 < N ? (double)v[k + 1] : 0.0;
            expected += pow(0.93 * 0.81, k - t) * ((double)r[k] + 0.93 * next - (double)v[k]);
        }
        assert_close(advantage[t], expected, 1e-6, 1e-6);
        assert_close(returns[t], expected + (double)v[t], 1e-6, 1e-6);
    }
}

static void at_lambda_one_returns_forget_the_critic(void **state)
{
    (void)state;
    const float other[4] = {-3.0f, 8.0f, 0.125f, 2.0f};
    float advantage[4], returns[4], again[4];
    advantages(advantage, returns, golden_reward, golden_value, 4, 0.9, 1.0);
    advantages(advantage, again, golden_reward, other, 4, 0.9, 1.0);
    for (int t = 0; t < 4; t++) assert_close(again[t], returns[t], 1e-6, 0);

    /* A critic that knows the truth leaves nothing to gain. */
    advantages(again, returns, golden_reward, returns, 4, 0.9, 1.0);
    for (int t = 0; t < 4; t++) assert_close(again[t], 0.0, 1e-6, 0);
}

static void advantages_are_linear(void **state)
{
    (void)state;
    float reward[4], value[4], once[4], twice[4], returns[4];
    for (int t = 0; t < 4; t++) {
        reward[t] = 2.0f * golden_reward[t];
        value[t] = 2.0f * golden_value[t];
    }
    advantages(once, returns, golden_reward, golden_value, 4, 0.97, 0.9);
    advantages(twice, returns, reward, value, 4, 0.97, 0.9);
    for (int t = 0; t < 4; t++) assert_close(twice[t], 2.0 * (double)once[t], 1e-6, 0);
}

/* C33: an answer of one token, and the last token of any, is part of the episode. */
static void c33_one_token_is_an_episode(void **state)
{
    (void)state;
    const float reward = 1.5f, value = 0.25f;
    float advantage, returns;
    advantages(&advantage, &returns, &reward, &value, 1, 0.9, 0.9);
    assert_close(advantage, 1.25, 0, 0);
    assert_close(returns, 1.5, 0, 0);
}

static void c4_score_is_paid_at_the_last_token(void **state)
{
    (void)state;
    const float logp[3] = {-1.0f, -2.0f, -0.5f}, reference[3] = {-1.5f, -1.0f, -0.5f};
    float reward[3];
    shape_rewards(reward, logp, reference, 3, 0.1, 2.0);
    assert_close(reward[0], -0.05, 1e-7, 0); /* more likely than to the reference: paid for */
    assert_close(reward[1], 0.1, 1e-7, 0);
    assert_close(reward[2], 2.0, 1e-7, 0);

    shape_rewards(reward, logp, reference, 3, 0.0, 2.0);
    assert_true(reward[0] == 0.0f && reward[1] == 0.0f && reward[2] == 2.0f);
    shape_rewards(reward, logp, reference, 1, 0.1, -1.0);
    assert_close(reward[0], -1.05, 1e-7, 0);
}

/* C9: advantages are whitened after returns were taken, so returns do not feel it. */
static void c9_returns_come_from_raw_advantages(void **state)
{
    (void)state;
    float advantage[4], returns[4];
    advantages(advantage, returns, golden_reward, golden_value, 4, 1.0, 0.95);
    whiten(advantage, 4, false);
    const double expected[4] = {1.0814, 1.012, 1.26, 1.0};
    for (int t = 0; t < 4; t++) {
        assert_close(returns[t], expected[t], 1e-6, 0);
        assert_true(fabs((double)advantage[t] + (double)golden_value[t] - expected[t]) > 0.05);
    }
}

static void c10_whitening_uses_the_population_variance(void **state)
{
    (void)state;
    float x[3] = {1, 2, 3};
    whiten(x, 3, false);
    assert_close(x[0], -1.224744862206, 1e-6, 0);
    assert_close(x[1], 0.0, 1e-7, 0);
    assert_close(x[2], 1.224744862206, 1e-6, 0);

    float kept[3] = {1, 2, 3};
    whiten(kept, 3, true);
    assert_close(kept[0], 0.775255137794, 1e-6, 0);
    assert_close(kept[1], 2.0, 1e-6, 0);
    assert_close(kept[2], 3.224744862206, 1e-6, 0);

    float golden[4] = {0.3850925f, 0.52115f, 0.317f, 0.26f};
    const double expected[4] = {0.1465665225, 1.542844997, -0.5522269437, -1.1371845759};
    whiten(golden, 4, false);
    for (int t = 0; t < 4; t++) assert_close(golden[t], expected[t], 2e-6, 0);

    float rewards[4] = {-0.01f, 0.02f, -0.03f, 0.96f};
    const double scaled[4] = {-0.3497854806, -0.2781790952, -0.3975230708, 1.9654876466};
    whiten(rewards, 4, true);
    for (int t = 0; t < 4; t++) assert_close(rewards[t], scaled[t], 2e-6, 0);
}

static void c20_whitening_is_defined_where_nothing_varies(void **state)
{
    (void)state;
    float one[1] = {3.5f};
    whiten(one, 1, false);
    assert_true(one[0] == 0.0f);
    one[0] = 3.5f;
    whiten(one, 1, true);
    assert_true(one[0] == 3.5f);

    float same[4] = {0.7f, 0.7f, 0.7f, 0.7f};
    whiten(same, 4, false);
    for (int i = 0; i < 4; i++) assert_close(same[i], 0.0, 1e-7, 0);
    whiten(same, 0, false); /* nothing to do is fine */
}

static void whitened_numbers_have_mean_zero_and_variance_one(void **state)
{
    (void)state;
    enum { N = 1000 };
    static float x[N];
    Rng rng = rng_stream(4, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    for (int i = 0; i < N; i++) x[i] = (float)(5.0 + 3.0 * rng_uniform(&rng));
    whiten(x, N, false);
    double mean = 0.0, square = 0.0;
    for (int i = 0; i < N; i++) {
        mean += (double)x[i] / N;
        square += (double)x[i] * (double)x[i] / N;
    }
    assert_close(mean, 0.0, 1e-6, 0);
    assert_close(square - mean * mean, 1.0, 1e-6, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c8_advantages_have_their_golden_values),
        cmocka_unit_test(advantages_have_their_second_golden_values),
        cmocka_unit_test(c6_nothing_is_bootstrapped_at_the_end),
        cmocka_unit_test(c7_no_pad_leaks_into_advantages),
        cmocka_unit_test(c34_recursion_is_the_definition),
        cmocka_unit_test(at_lambda_one_returns_forget_the_critic),
        cmocka_unit_test(advantages_are_linear),
        cmocka_unit_test(c33_one_token_is_an_episode),
        cmocka_unit_test(c4_score_is_paid_at_the_last_token),
        cmocka_unit_test(c9_returns_come_from_raw_advantages),
        cmocka_unit_test(c10_whitening_uses_the_population_variance),
        cmocka_unit_test(c20_whitening_is_defined_where_nothing_varies),
        cmocka_unit_test(whitened_numbers_have_mean_zero_and_variance_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
