/* Rewards of tokens, generalised advantage estimation and whitening. Pure functions. */
#ifndef PPO_ADVANTAGE_H
#define PPO_ADVANTAGE_H

#include <stdbool.h>

/* reward[t] = -kl_coef (logp[t] - reference_logp[t]), plus score at the last token. */
void shape_rewards(float *reward, const float *logp, const float *reference_logp, int length,
                   double kl_coef, double score);

/* Schulman et al. 2016 (arXiv:1506.02438), equations 11 to 16:
 *   delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lambda A_{t+1}
 * The value of the state after the last token is 0: a response is an episode.
 * returns[t] = advantage[t] + value[t], before any whitening. All arrays: (length). */
void advantages(float *advantage, float *returns, const float *reward, const float *value,
                int length, double gamma, double lambda);

/* x <- (x - mean) / sqrt(var + 1e-8), population variance over all n; `keep_mean` adds the mean
 * back (rewards: scaled, not shifted). Fewer than two values or a variance below 1e-16: only
 * shifted. */
void whiten(float *x, int n, bool keep_mean);

#endif
