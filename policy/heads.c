#include "policy/gemm.h"
#include "policy/kernels.h"
#include "policy/transformer.h"

#include <assert.h>
#include <math.h>

void language_head_forward(float *logits, const float *rows, const Model *model, int n)
{
    const int V = model->shape.vocabulary, C = model->shape.channels;
    gemm(logits, rows, model->weight.token_embedding, n, V, C, false, true, 0.0f);
}

void language_head_backward(float *drows, Model *gradient, const float *dlogits, const float *rows,
                            const Model *model, int n)
{
    const int V = model->shape.vocabulary, C = model->shape.channels;
    gemm(drows, dlogits, model->weight.token_embedding, n, C, V, false, false, 0.0f);
    gemm(gradient->weight.token_embedding, dlogits, rows, V, C, n, true, false, 1.0f);
}

static const float *scalar_weight(const Model *model)
{
    assert(model->shape.head != HEAD_LANGUAGE);
    return model->shape.head == HEAD_SCORE ? model->weight.score_weight
                                           : model->weight.value_weight;
}

void scalar_head_forward(float *out, const float *rows, const Model *model, int n)
{
    const int C = model->shape.channels;
    const float *weight = scalar_weight(model);
    const float bias = model->shape.head == HEAD_VALUE ? model->weight.value_bias[0] : 0.0f;
    for (int i = 0; i < n; i++) out[i] = dot_rows(row_of(rows, i, C), weight, C) + bias;
}

void scalar_head_backward(float *drows, Model *gradient, const float *dout, const float *rows,
                          const Model *model, int n)
{
    const int C = model->shape.channels;
    const float *weight = scalar_weight(model);
    const bool value = model->shape.head == HEAD_VALUE;
    float *dweight = value ? gradient->weight.value_weight : gradient->weight.score_weight;
    for (int i = 0; i < n; i++) {
        float *drow = row_at(drows, i, C);
        for (int c = 0; c < C; c++) drow[c] = dout[i] * weight[c];
        add_scaled_row(dweight, dout[i], row_of(rows, i, C), C);
        if (value) gradient->weight.value_bias[0] += dout[i];
    }
}

/* With z = (logits - max) / T and S the sum of e^z:
 *   logp = z[token] - log S,   entropy = log S - (sum of z e^z) / S */
TokenScore token_score(float *probability, const float *logits, int V, double temperature,
                       int32_t token)
{
    assert(token >= 0 && token < V && temperature > 0.0);
    const double chosen = (double)logits[token]; /* before `probability` may overwrite it */
    const SoftmaxSums sums = softmax_sums(probability, logits, V, (float)(1.0 / temperature));
    if (probability != NULL) scale_row(probability, (float)(1.0 / sums.sum), V);
    const double log_sum = log(sums.sum);
    return (TokenScore){
        .logp = (chosen - (double)sums.max) / temperature - log_sum,
        .entropy = log_sum - sums.weighted / sums.sum,
    };
}
