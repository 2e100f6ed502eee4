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

static double largest_of(const float *logits, int V)
{
    float largest = logits[0];
    for (int v = 1; v < V; v++) largest = logits[v] > largest ? logits[v] : largest;
    return (double)largest;
}

/* With l and m the logits over the temperature, p = softmax(l) and Z, Y the partition functions:
 * KL = sum p (l - m) - log Z + log Y, one exponential a logit. */
double kl_exact(const float *logits, const float *reference_logits, int V, double temperature)
{
    const double top = largest_of(logits, V), reference_top = largest_of(reference_logits, V);
    double sum = 0.0, reference_sum = 0.0, weighted = 0.0;
    for (int v = 0; v < V; v++) {
        const double logit = (double)logits[v], reference = (double)reference_logits[v];
        const double share = exp((logit - top) / temperature);
        sum += share;
        weighted += share * (logit - reference);
        reference_sum += exp((reference - reference_top) / temperature);
    }
    const double apart = (weighted / sum - top + reference_top) / temperature;
    return apart - log(sum) + log(reference_sum);
}

double kl_controller(double coefficient, double kl, double target, double episodes, double horizon)
{
    const double error = fmin(fmax(kl / target - 1.0, -0.2), 0.2);
    return coefficient * (1.0 + error * episodes / horizon);
}
