/* One block through one network, forward and backward. */
#ifndef POLICY_TRANSFORMER_H
#define POLICY_TRANSFORMER_H

#include "data/arena.h"
#include "policy/blocks.h"
#include "policy/model.h"

#include <stdint.h>

/* What forward keeps of one layer for backward. */
typedef struct Layer {
    float *normal1, *rstd1; /* (rows, C), (rows) */
    float *qkv;             /* (rows, 3C) */
    float *weight;          /* (H, T, T) a sequence, end to end; NULL: computed again */
    float *mixed;           /* (rows, C) what the heads read */
    float *normal2, *rstd2;
    float *up; /* (rows, 4C) before the GELU */
} Layer;

typedef struct Activations {
    float *hidden;  /* (rows, C) after the final norm */
    float *dhidden; /* (rows, C) gradient of the loss by `hidden`; the caller writes it */
    /* the rest is transformer.c's business */
    Layer *layer;         /* (layers), one for all without `backward` */
    float *stream;        /* (rows, C) the residual stream */
    float *normal, *rstd; /* of the final norm */
    float *narrow, *wide; /* (rows, C), (rows, 4C) passing through */
    float *dstream, *dnarrow, *dwide;
    float *scratch; /* attention's */
    bool shared;    /* one layer for all: no backward */
} Activations;

/* Attention weights are kept for sequences up to this long, and computed again in backward
 * beyond: they grow with the square of the length, the rest of the memory only with the rows. */
enum { ATTENTION_KEPT = 256 };

/* Memory for blocks of up to `rows` rows whose sequences have up to `longest` tokens. In floats:
 * with `backward` a layer takes rows * (10 C + 2), and rows * longest * H more where longest <=
 * ATTENTION_KEPT; the rest is rows * 15 C and 64 * longest. Without `backward` all layers share
 * one. */
void activations_layout(Activations *activations, Arena *arena, ModelShape shape, int rows,
                        int longest, bool backward);

/* activations->hidden from block->token. An empty block is fine. */
void transformer_forward(Activations *activations, const Model *model, const Block *block);

/* Adds the gradients of all trunk weights to `gradient` from activations->dhidden. */
void transformer_backward(Model *gradient, Activations *activations, const Model *model,
                          const Block *block);

/* Heads on `n` gathered rows (n, C); logits (n, V). */
void language_head_forward(float *logits, const float *rows, const Model *model, int n);
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
