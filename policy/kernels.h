/* The pieces of a transformer, forward and backward by hand, as pure functions over pointers and
 * sizes. Additions run in 16 fixed lanes, so every vector width gives the same bits.
 *
 * Legend: N rows of a block, C channels, H heads, T tokens of one sequence, V vocabulary.
 * Backward functions add to gradients of weights and write gradients of inputs, unless they say
 * otherwise. */
#ifndef POLICY_KERNELS_H
#define POLICY_KERNELS_H

#include "policy/blocks.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Row i of a matrix `width` wide. */
static inline float *row_at(float *matrix, int i, int width)
{
    return matrix + (ptrdiff_t)i * width;
}
static inline const float *row_of(const float *matrix, int i, int width)
{
    return matrix + (ptrdiff_t)i * width;
}

/* x[i] = token_embedding[token[i]] + position_embedding[place[i]]; x (N, C). */
void embed_forward(float *x, const float *token_embedding, const float *position_embedding,
                   const int32_t *token, const int32_t *place, int N, int C);
void embed_backward(float *dtoken_embedding, float *dposition_embedding, const float *dx,
                    const int32_t *token, const int32_t *place, int N, int C);

/* Ba et al. 2016 (arXiv:1607.06450), epsilon 1e-5:
 *   normal = (x - mean) rstd,  out = gain * normal + bias;  normal (N, C), rstd (N) */
void layer_norm_forward(float *out, float *normal, float *rstd, const float *x, const float *gain,
                        const float *bias, int N, int C);
/* `out` again, from what forward kept. */
void layer_norm_rebuild(float *out, const float *normal, const float *gain, const float *bias,
                        int N, int C);
/* Adds to dx, which carries the residual stream's gradient. */
void layer_norm_backward(float *dx, float *dgain, float *dbias, const float *dout,
                         const float *normal, const float *rstd, const float *gain, int N, int C);

/* x += bias, every row; x (N, width). */
void bias_forward(float *x, const float *bias, int N, int width);
/* dbias += the sum of dx's rows. */
void bias_backward(float *dbias, const float *dx, int N, int width);

/* x += bias, out = gelu(x), Hendrycks and Gimpel 2016 (arXiv:1606.08415) in the tanh form of GPT-2:
 *   gelu(x) = x / 2 (1 + tanh u) = x / (1 + e^(-2u)),  u = sqrt(2 / pi) (x + 0.044715 x^3) */
void bias_gelu_forward(float *out, float *x, const float *bias, int N, int width);
/* out = gelu(x) again; dx, which holds the gradient of `out`, becomes that of x. (count) */
void gelu_backward(float *out, float *dx, const float *x, size_t count);

/* Self-attention of one sequence, Vaswani et al. 2017 (arXiv:1706.03762), equation 1:
 *
 *   weight[t, s] = softmax over the s that t sees of  q[t] . k[s] / sqrt(C / H)
 *   out[t]       = sum over s of  weight[t, s] v[s]
 *
 * where t sees s <= t if causal, else all.
 *   out     (T, C)
 *   weight  (H, T, T)   kept for backward; entries past the last tile a row reaches are not
 *                       written. NULL: not kept, and backward computes it again
 *   scratch (attention_scratch(T))
 *   qkv     (T, 3C)     q, then k, then v; each is H heads of C/H channels */
void attention_forward(float *out, float *weight, float *scratch, const float *qkv, int T, int C,
                       int H, bool causal);
/* dqkv (T, 3C) written. */
void attention_backward(float *dqkv, float *scratch, const float *dout, const float *weight,
                        const float *qkv, int T, int C, int H, bool causal);
size_t attention_scratch(int T); /* floats; grows with T */

enum { ATTENTION_TILE = 32 }; /* queries taken together */
/* Up to ATTENTION_TILE rows of scores, `stride` apart: row r becomes its softmax over its first
 * seen + r step entries, and 0 from there to `reach`. */
void attention_softmax(float *weight, int stride, int rows, int reach, int seen, int step);

/* Sums over one row of logits, z = (logits - max) * inverse_temperature. */
typedef struct SoftmaxSums {
    float max;
    double sum;      /* of e^z */
    double weighted; /* of z e^z */
} SoftmaxSums;
/* Writes e^z to `power` where it is not NULL (may be `logits` itself); (V). */
SoftmaxSums softmax_sums(float *power, const float *logits, int V, float inverse_temperature);

void scale_row(float *x, float factor, int n);                          /* x *= factor */
void add_scaled_row(float *x, float factor, const float *y, int n);     /* x += factor * y */
float dot_rows(const float *a, const float *b, int n);                  /* a . b */
double sum_of_squares(const float *x, int n);                           /* in doubles */
bool any_above(const float *x, float limit, int n);                     /* some x > limit */

#endif
