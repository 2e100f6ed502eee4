#include "policy/sampling.h"

#include "policy/kernels.h"

#include <math.h>
#include <stdlib.h>

static int32_t most_likely(const float *logits, int V, int32_t never)
{
    int32_t best = never == 0 && V > 1 ? 1 : 0;
    for (int32_t id = 0; id < V; id++) {
        if (id != never && logits[id] > logits[best]) best = id;
    }
    return best;
}

/* Most probable first, the lower id first at a tie. */
static int by_probability(const void *left, const void *right)
{
    const SamplingCandidate *a = left, *b = right;
    if (a->probability != b->probability) return a->probability < b->probability ? 1 : -1;
    return (a->id > b->id) - (a->id < b->id);
}

/* Sets the probabilities of what top-k and top-p leave out to zero. */
static void keep_top(float *probability, SamplingCandidate *candidate, int V,
                     const SamplingConfig *config)
{
    for (int32_t id = 0; id < V; id++) candidate[id] = (SamplingCandidate){probability[id], id};
    qsort(candidate, (size_t)V, sizeof *candidate, by_probability);

    const int most = config->top_k > 0 && config->top_k < V ? config->top_k : V;
    double total = 0.0;
    for (int i = 0; i < most; i++) total += (double)candidate[i].probability;
    int kept = 0;
    for (double sum = 0.0; kept < most && sum < config->top_p * total; kept++) {
        sum += (double)candidate[kept].probability;
    }
    if (kept == 0) kept = 1;
    for (int i = kept; i < V; i++) probability[candidate[i].id] = 0.0f;
}

static int32_t inverse_cdf(const float *probability, int V, double target)
{
    int32_t last = 0;
    double sum = 0.0;
    for (int32_t id = 0; id < V; id++) {
        if (probability[id] <= 0.0f) continue;
        last = id;
        sum += (double)probability[id];
        if (sum > target) return id;
    }
    return last; /* the sum was rounded to below the target */
}

Status sampling_draw(int32_t *token, float *probability, SamplingCandidate *candidate,
                     const float *logits, int V, const SamplingConfig *config, double uniform)
{
    const double temperature = config->temperature > 0.0 ? config->temperature : 1.0;
    const SoftmaxSums sums = softmax_sums(probability, logits, V, (float)(1.0 / temperature));
    if (!isfinite(sums.sum) || !isfinite(sums.max)) {
        return status_fail(STATUS_DIVERGED, "the logits are not finite");
    }
    if (config->temperature <= 0.0) {
        *token = most_likely(logits, V, config->never);
        return STATUS_OK;
    }
    if (config->never >= 0) probability[config->never] = 0.0f;
    if (config->top_k > 0 || config->top_p < 1.0) keep_top(probability, candidate, V, config);
    double total = 0.0;
    for (int id = 0; id < V; id++) total += (double)probability[id];
    *token = inverse_cdf(probability, V, uniform * total);
    return STATUS_OK;
}
