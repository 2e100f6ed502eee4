/* Best-of-n from one pool of N answers a prompt: the unbiased estimator of Nakano et al. 2021
 * (appendix I) and the KL bound log n - (n - 1) / n (Stiennon et al. 2020). */
#ifndef PPO_BEST_OF_N_H
#define PPO_BEST_OF_N_H

/* Expected value of the answer that `proxy` ranks first among n drawn without replacement from the
 * pool: sum_{i=n}^{N} C(i - 1, n - 1) / C(N, n) value(S_i), S sorted by proxy ascending; within
 * proxy ties values are averaged. `order` (pool) is scratch. */
double best_of_n(const double *proxy, const double *value, int pool, int n, int *order);

double best_of_n_kl(int n); /* nats; an upper bound where answers repeat */

#endif
