#include "ppo/advantage.h"

#include <math.h>

void shape_rewards(float *reward, const float *logp, const float *reference_logp, int length,
                   double kl_coef, double score)
{
    for (int t = 0; t < length; t++) {
        const double change = (double)logp[t] - (double)reference_logp[t];
        const double end = t == length - 1 ? score : 0.0;
        reward[t] = (float)(end - kl_coef * change);
    }
}

void advantages(float *advantage, float *returns, const float *reward, const float *value,
                int length, double gamma, double lambda)
{
    double next_value = 0.0, next_advantage = 0.0;
    for (int t = length - 1; t >= 0; t--) {
        const double now = (double)value[t];
        const double delta = (double)reward[t] + gamma * next_value - now;
        next_advantage = delta + gamma * lambda * next_advantage;
        next_value = now;
        advantage[t] = (float)next_advantage;
        returns[t] = (float)(next_advantage + now);
    }
}

void whiten(float *x, int n, bool keep_mean)
{
    double mean = 0.0, variance = 0.0;
    for (int i = 0; i < n; i++) mean += (double)x[i];
    mean = n > 0 ? mean / n : 0.0;
    for (int i = 0; i < n; i++) variance += ((double)x[i] - mean) * ((double)x[i] - mean);
    variance = n > 0 ? variance / n : 0.0;

    const double scale = n < 2 || variance < 1e-16 ? 1.0 : 1.0 / sqrt(variance + 1e-8);
    const double centre = keep_mean ? mean : 0.0;
    for (int i = 0; i < n; i++) x[i] = (float)(((double)x[i] - mean) * scale + centre);
}
