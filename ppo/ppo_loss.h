/* The clipped losses of PPO (Schulman et al. 2017, arXiv:1707.06347, equation 7; the value clip of
 * OpenAI's baselines as used by Ziegler et al. 2019). Pure functions of one token. */
#ifndef PPO_PPO_LOSS_H
#define PPO_PPO_LOSS_H

#include <stdbool.h>

/* loss = max(-A ratio, -A clip(ratio, 1 - eps, 1 + eps)), ratio = exp(logp - old_logp), exponent
 * clamped to +-20. *slope = d loss / d logp. */
typedef struct PolicyTerm {
    double loss, slope, ratio;
    bool clipped; /* the clipped branch is the larger */
} PolicyTerm;
PolicyTerm policy_term(double logp, double old_logp, double advantage, double clip_range);

/* loss = max((V - R)^2, (V_old + clip(V - V_old, -eps, eps) - R)^2) / 2; *slope = d loss / d V.
 * clip_range <= 0: not clipped. */
typedef struct ValueTerm {
    double loss, slope;
    bool clipped;
} ValueTerm;
ValueTerm value_term(double value, double old_value, double returns, double clip_range);

#endif
