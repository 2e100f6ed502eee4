/* One block through one network, forward and backward. */
#ifndef POLICY_TRANSFORMER_H
#define POLICY_TRANSFORMER_H

#include "data/arena.h"
#include "policy/blocks.h"
#include "policy/model.h"

#include <stdint.h>

typedef struct Activations Activations; /* contents: transformer.c's business, but for: */
struct Activations {
    float *hidden;  /* (rows, C) after the final norm */
    float *dhidden; /* (rows, C) gradient of the loss by `hidden`; the caller writes it */
    struct Layer *layer;
    float *scratch[8];
};

/* Memory for blocks of up to `rows` rows whose sequences have up to `longest` tokens (`longest`^2 *
 * sequences bounded by rows * longest). Without `backward` only what forward needs. */
void activations_layout(Activations *activations, Arena *arena, ModelShape shape, int rows,
                        int longest, bool backward);

/* activations->hidden from block->token. An empty block is fine. */
void transformer_forward(Activations *activations, const Model *model, const Block *block);

/* Adds the gradients of all trunk weights to `gradient` from activations->dhidden. */
void transformer_backward(Model *gradient, Activations *activations, const Model *model,
                          const Block *block);

/* Heads on `n` gathered rows (n, C). */
void language_head_forward(float *logits /* (n, V) */, const float *rows, const Model *model, int n);
/* drows (n, C) written; gradient of wte added. */
void language_head_backward(float *drows, Model *gradient, const float *dlogits, const float *rows,
                            const Model *model, int n);
/* out[i] = rows[i] . head + bias: HEAD_SCORE (raw, without gain and bias) or HEAD_VALUE. */
void scalar_head_forward(float *out, const float *rows, const Model *model, int n);
void scalar_head_backward(float *drows, Model *gradient, const float *dout, const float *rows,
                          const Model *model, int n);

/* One row of logits at a temperature: log softmax(logits / T)[token] and the entropy, nats. Writes
 * the probabilities (V) where `probability` is not NULL (may be `logits` itself). */
typedef struct TokenScore {
    double logp, entropy;
} TokenScore;
TokenScore token_score(float *probability, const float *logits, int V, double temperature,
                       int32_t token);

#endif
