/* best_of_n: the estimator against enumeration of every draw, the KL bound. */
#include "tests/support.h"

#include "ppo/best_of_n.h"

static void a_pool_of_four_matches_hand_numbers(void **state)
{
    (void)state;
    static const double proxy[4] = {.5, .1, .9, .3}, gold[4] = {.2, 1, -1, .6};
    static const double best_proxy[4] = {.45, .6666666667, .8, .9};
    static const double best_gold[4] = {.2, -.3333333333, -.7, -1};
    int order[4];
    for (int n = 1; n <= 4; n++) {
        assert_close(best_of_n(proxy, proxy, 4, n, order), best_proxy[n - 1], 1e-9, 0);
        assert_close(best_of_n(proxy, gold, 4, n, order), best_gold[n - 1], 1e-9, 0);
    }
}

/* Mean over all subsets of size n of the mean value of those of highest proxy. */
static double by_enumeration(const double *proxy, const double *value, int pool, int n,
                             double *ties)
{
    double sum = 0.0;
    int subsets = 0;
    *ties = 0;
    for (unsigned set = 0; set < 1u << pool; set++) {
        if (__builtin_popcount(set) != n) continue;
        double best = -INFINITY, total = 0.0;
        int winners = 0;
        for (int i = 0; i < pool; i++) {
            if (set >> i & 1 && proxy[i] > best) best = proxy[i];
        }
        for (int i = 0; i < pool; i++) {
            /* a tie is broken evenly over everyone in the pool with that score */
            if (proxy[i] == best) {
                total += value[i];
                winners++;
            }
        }
        *ties += winners > 1;
        sum += total / winners;
        subsets++;
    }
    return sum / subsets;
}

static void the_estimator_is_the_mean_over_all_draws(void **state)
{
    (void)state;
    static const double proxy[9] = {.31, -1.2, .87, .31, 2.4, -.05, .87, .87, -3.3};
    static const double value[9] = {1.7, .3, -.9, .45, -2.2, .81, 1.13, .07, .66};
    int order[9];
    double ties = 0, any = 0;
    for (int n = 1; n <= 9; n++) {
        const double expected = by_enumeration(proxy, value, 9, n, &ties);
        assert_close(best_of_n(proxy, value, 9, n, order), expected, 1e-12, 0);
        any += ties;
    }
    assert_true(any > 0);
}

static void the_order_of_the_pool_does_not_matter(void **state)
{
    (void)state;
    static const double proxy[5] = {2, 1, 2, 3, 2}, value[5] = {5, 7, 11, 13, 17};
    static const double proxy_turned[5] = {2, 3, 2, 1, 2}, value_turned[5] = {17, 13, 11, 7, 5};
    int order[5];
    for (int n = 1; n <= 5; n++) {
        assert_close(best_of_n(proxy, value, 5, n, order),
                     best_of_n(proxy_turned, value_turned, 5, n, order), 1e-13, 0);
    }
}

static void a_large_pool_keeps_weights_that_sum_to_one(void **state)
{
    (void)state;
    enum { POOL = 512 };
    double proxy[POOL], one[POOL], last = -1;
    int order[POOL];
    for (int i = 0; i < POOL; i++) {
        proxy[i] = fmod(i * 0.618033988749895, 1.0);
        one[i] = 1.0;
    }
    for (int n = 1; n <= POOL; n *= 2) {
        assert_close(best_of_n(proxy, one, POOL, n, order), 1, 1e-12, 0);
        const double best = best_of_n(proxy, proxy, POOL, n, order);
        assert_true(best > last);
        last = best;
    }
}

static void the_kl_bound_matches_hand_numbers(void **state)
{
    (void)state;
    assert_close(best_of_n_kl(1), 0, 0, 0);
    assert_close(best_of_n_kl(2), 0.193147180560, 1e-12, 0);
    assert_close(best_of_n_kl(4), 0.636294361120, 1e-12, 0);
    assert_close(best_of_n_kl(16), 1.835088722240, 1e-12, 0);
    assert_close(best_of_n_kl(64), 3.174508083360, 1e-12, 0);
    assert_close(best_of_n_kl(256), 4.549083694480, 1e-12, 0);
    assert_close(best_of_n_kl(60000), 10.002117, 1e-6, 0);
}

/* Ten equally likely answers with scores of their own, n = 4: the best is answer k with chance
 * (k^4 - (k - 1)^4) / 10^4, and its KL from even odds is below the bound. */
static void the_exact_kl_stays_below_the_bound(void **state)
{
    (void)state;
    double kl = 0.0;
    for (int k = 1; k <= 10; k++) {
        const double p = (pow(k, 4) - pow(k - 1, 4)) / 1e4;
        kl += p * log(10 * p);
    }
    assert_close(kl, 0.6288, 5e-5, 0);
    assert_true(kl < best_of_n_kl(4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_of_four_matches_hand_numbers),
        cmocka_unit_test(the_estimator_is_the_mean_over_all_draws),
        cmocka_unit_test(the_order_of_the_pool_does_not_matter),
        cmocka_unit_test(a_large_pool_keeps_weights_that_sum_to_one),
        cmocka_unit_test(the_kl_bound_matches_hand_numbers),
        cmocka_unit_test(the_exact_kl_stays_below_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
