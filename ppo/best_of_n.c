#include "ppo/best_of_n.h"

#include <assert.h>
#include <math.h>

static void order_by(int *order, const double *key, int n)
{
    for (int i = 0; i < n; i++) {
        int place = i;
        for (; place > 0 && key[order[place - 1]] > key[i]; place--)
            order[place] = order[place - 1];
        order[place] = i;
    }
}

double best_of_n(const double *proxy, const double *value, int pool, int n, int *order)
{
    assert(n >= 1 && n <= pool);
    order_by(order, proxy, pool);

    /* weight of rank i (from 1): C(i - 1, n - 1) / C(N, n), from the top down */
    double weight = (double)n / pool, expected = 0.0;
    for (int top = pool; top > 0;) {
        double group_weight = 0.0, group_value = 0.0;
        int i = top;
        do {
            group_weight += weight;
            group_value += value[order[i - 1]];
            weight *= i > 1 ? (double)(i - n) / (i - 1) : 0.0;
            i--;
        } while (i > 0 && proxy[order[i - 1]] == proxy[order[top - 1]]);
        expected += group_weight * group_value / (top - i);
        top = i;
    }
    return expected;
}

double best_of_n_kl(int n)
{
    return log(n) - (n - 1.0) / n;
}
