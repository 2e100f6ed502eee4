/* Kullback-Leibler divergence from the policy to the reference: Schulman's estimators (2020,
 * "Approximating KL divergence"), the exact sum, and the controllers of its coefficient (Ziegler et
 * al. 2019, section 2.2). `change` is logp - reference_logp of a token drawn from the policy, in
 * nats. */
#ifndef PPO_KL_H
#define PPO_KL_H

double kl_k1(double change); /* change: unbiased, either sign */
double kl_k2(double change); /* change^2 / 2: biased, >= 0 */
double kl_k3(double change); /* e^-change - 1 + change: unbiased, >= 0 */

/* sum_v p_v (log p_v - log q_v) of two softmax distributions given as logits at a temperature. */
double kl_exact(const float *logits, const float *reference_logits, int V, double temperature);

/* One step of the adaptive controller: e = clip(kl / target - 1, -0.2, 0.2),
 * beta (1 + e episodes / horizon), for a horizon above episodes / 5. `kl` is nats a sequence, never
 * a token. */
double kl_controller(double coefficient, double kl, double target, double episodes, double horizon);

#endif
