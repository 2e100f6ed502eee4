#include "ppo/kl.h"

#include <math.h>

double kl_k1(double change)
{
    return change;
}

double kl_k2(double change)
{
    return 0.5 * change * change;
}

double kl_k3(double change)
{
    /* expm1: near 0 the plain form loses its sign in rounding. */
    return expm1(-change) + change;
}

/* log sum_v exp(logits[v] / temperature) */
static double log_partition(const float *logits, int V, double temperature)
{
    float largest = logits[0];
    for (int v = 1; v < V; v++) largest = logits[v] > largest ? logits[v] : largest;
    double sum = 0.0;
    for (int v = 0; v < V; v++) sum += exp(((double)logits[v] - (double)largest) / temperature);
    return (double)largest / temperature + log(sum);
}

double kl_exact(const float *logits, const float *reference_logits, int V, double temperature)
{
    const double partition = log_partition(logits, V, temperature);
    const double reference_partition = log_partition(reference_logits, V, temperature);
    double kl = 0.0;
    for (int v = 0; v < V; v++) {
        const double logp = (double)logits[v] / temperature - partition;
        const double reference = (double)reference_logits[v] / temperature - reference_partition;
        kl += exp(logp) * (logp - reference);
    }
    return kl;
}

double kl_controller(double coefficient, double kl, double target, double episodes, double horizon)
{
    const double error = fmin(fmax(kl / target - 1.0, -0.2), 0.2);
    return coefficient * (1.0 + error * episodes / horizon);
}
