/* The losses of a block of rollouts, with the gradients of their heads. */
#include "ppo/invariants.h"
#include "ppo/kl.h"
#include "ppo/ppo_loss.h"
#include "ppo/ppo_score.h"
#include "ppo/ppo_update.h"

#include <math.h>
#include <string.h>

/* The formulas of a token, unless a fault has its own. */
static PolicyTerm policy_term_of(const PpoLoss *loss, double logp, double old_logp,
                                 double advantage)
{
    const bool faulty = loss->fault != NULL && loss->fault->policy_term != NULL;
    return (faulty ? loss->fault->policy_term : policy_term)(logp, old_logp, advantage,
                                                             loss->config->clip_range);
}

static ValueTerm value_term_of(const PpoLoss *loss, double value, double old_value, double returns)
{
    const bool faulty = loss->fault != NULL && loss->fault->value_term != NULL;
    return (faulty ? loss->fault->value_term : value_term)(value, old_value, returns,
                                                           loss->config->value_clip_range);
}

/* d loss / d logits of one row, in place of its probabilities, with z = logits / T:
 *   d logp[token] / d z_v = [v = token] - p_v        d H / d z_v = -p_v (log p_v + H) */
static void logits_gradient(float *probability, int V, int32_t token, double slope, double entropy,
                            double entropy_slope, double temperature)
{
    const double step = -slope / temperature;
    const double spread = -entropy_slope / temperature;
    if (spread == 0.0) {
        const float scale = (float)step;
        for (int v = 0; v < V; v++) probability[v] *= scale;
    } else {
        for (int v = 0; v < V; v++) {
            const double p = (double)probability[v];
            const double bonus = p > 0.0 ? spread * (log(p) + entropy) : 0.0;
            probability[v] = (float)(p * (step + bonus));
        }
    }
    probability[token] -= (float)step;
}

static void add_policy_term(double *sums, PolicyTerm term, double change, double entropy)
{
    sums[POLICY_SUM_LOSS] += term.loss;
    sums[POLICY_SUM_APPROXKL] += kl_k2(change);
    sums[POLICY_SUM_K3] += kl_k3(-change);
    sums[POLICY_SUM_CLIPPED] += term.clipped;
    sums[POLICY_SUM_ENTROPY] += entropy;
    sums[POLICY_SUM_RATIO] += term.ratio;
    sums[POLICY_SUM_DEVIATION] += fabs(term.ratio - 1.0);
}

Status ppo_policy_loss(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    const PpoLoss *loss = context;
    const PpoConfig *config = loss->config;
    const Rollout *rollout = loss->rollout;
    const int V = block->model->shape.vocabulary;
    const int n = response_rows(block->rows, block->activations->hidden, block->block,
                                loss->sequences, block->model->shape.channels);
    language_head_forward(block->logits, block->rows, block->model, n);

    ResponseToken at = RESPONSE_START;
    for (size_t i = 0; response_next(&at, block->block, loss->sequences); i++) {
        float *row = block->logits + i * (size_t)V;
        const int32_t id = rollout->id[at.token];
        const TokenScore score = token_score(row, row, V, config->temperature, id);
        /* Rounded as the old one was, so that equal weights have a ratio of exactly 1. */
        const double logp = (double)(float)score.logp, old_logp = (double)rollout->logp[at.token];
        const PolicyTerm term =
            policy_term_of(loss, logp, old_logp, (double)loss->advantage[at.token]);
        if (loss->unmoved) {
            TRY(invariants_of_ratio(rollout, at.token, logp, term.ratio, term.clipped));
        }
        add_policy_term(sums, term, logp - old_logp, score.entropy);
        logits_gradient(row, V, id, term.slope / loss->tokens, score.entropy,
                        -config->entropy_coef / loss->tokens, config->temperature);
    }
    if (block->gradient == NULL) return STATUS_OK;
    language_head_backward(block->drows, block->gradient, block->logits, block->rows, block->model,
                           n);
    response_rows_back(block, loss->sequences);
    return STATUS_OK;
}

Status ppo_value_loss(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    const PpoLoss *loss = context;
    const Rollout *rollout = loss->rollout;
    const int n = response_rows(block->rows, block->activations->hidden, block->block,
                                loss->sequences, block->model->shape.channels);
    scalar_head_forward(block->scalar, block->rows, block->model, n);

    ResponseToken at = RESPONSE_START;
    for (int i = 0; response_next(&at, block->block, loss->sequences); i++) {
        const ValueTerm term =
            value_term_of(loss, (double)block->scalar[i], (double)rollout->value[at.token],
                          (double)rollout->returns[at.token]);
        sums[VALUE_SUM_LOSS] += term.loss;
        sums[VALUE_SUM_CLIPPED] += term.clipped;
        block->dscalar[i] = (float)(term.slope / loss->tokens);
    }
    if (block->gradient == NULL) return STATUS_OK;
    scalar_head_backward(block->drows, block->gradient, block->dscalar, block->rows, block->model,
                         n);
    response_rows_back(block, loss->sequences);
    return STATUS_OK;
}
