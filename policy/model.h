/* The weights of one network: GPT-2's architecture exactly (pre-LN, learned positions, tanh-GELU,
 * biases, tied head), float32, causal or bidirectional, with an optional scalar head.
 *
 * One list names every weight; struct, memory, decay mask, names on disk, initial values and the
 * tests all walk it. Matrices are (in, out), as Hugging Face's Conv1D. */
#ifndef POLICY_MODEL_H
#define POLICY_MODEL_H

#include "data/arena.h"
#include "data/io.h"
#include "data/rng.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ModelHead {
    HEAD_LANGUAGE, /* logits = hidden . wte^T */
    HEAD_SCORE,    /* reward model: hidden . score */
    HEAD_VALUE,    /* critic: hidden . v_head.summary + bias */
} ModelHead;

typedef struct ModelShape {
    int vocabulary; /* V */
    int positions;  /* longest sequence */
    int channels;   /* C */
    int heads;      /* H, divides C */
    int layers;     /* L */
    bool causal;
    ModelHead head;
} ModelShape;

/* How a weight starts (GPT-2's way): N(0, 0.02), N(0, 0.02 / sqrt(2 L)) for what is added to the
 * residual stream, N(0, 1 / (C + 1)) for the score head, one, zero. */
typedef enum ModelInitial {
    INITIAL_NORMAL, INITIAL_RESIDUAL, INITIAL_SCORE, INITIAL_ONE, INITIAL_ZERO
} ModelInitial;

/* X(member, name on disk, layered, rows, columns, decay, initial): a layered weight is (L, rows,
 * columns) in memory and one dataset a layer on disk, "transformer.h.{i}." + name; columns 1 with
 * a one-dimensional dataset of `rows` where `columns` is 0. */
#define MODEL_WEIGHTS(X, s)                                                                        \
    X(token_embedding, "transformer.wte.weight", 0, (s).vocabulary, (s).channels, 0,               \
      INITIAL_NORMAL)                                                                              \
    X(position_embedding, "transformer.wpe.weight", 0, (s).positions, (s).channels, 0,             \
      INITIAL_NORMAL)                                                                              \
    X(norm1_gain, "ln_1.weight", 1, (s).channels, 0, 0, INITIAL_ONE)                               \
    X(norm1_bias, "ln_1.bias", 1, (s).channels, 0, 0, INITIAL_ZERO)                                \
    X(qkv_weight, "attn.c_attn.weight", 1, (s).channels, 3 * (s).channels, 1, INITIAL_NORMAL)      \
    X(qkv_bias, "attn.c_attn.bias", 1, 3 * (s).channels, 0, 0, INITIAL_ZERO)                       \
    X(attention_weight, "attn.c_proj.weight", 1, (s).channels, (s).channels, 1, INITIAL_RESIDUAL)  \
    X(attention_bias, "attn.c_proj.bias", 1, (s).channels, 0, 0, INITIAL_ZERO)                     \
    X(norm2_gain, "ln_2.weight", 1, (s).channels, 0, 0, INITIAL_ONE)                               \
    X(norm2_bias, "ln_2.bias", 1, (s).channels, 0, 0, INITIAL_ZERO)                                \
    X(up_weight, "mlp.c_fc.weight", 1, (s).channels, 4 * (s).channels, 1, INITIAL_NORMAL)          \
    X(up_bias, "mlp.c_fc.bias", 1, 4 * (s).channels, 0, 0, INITIAL_ZERO)                           \
    X(down_weight, "mlp.c_proj.weight", 1, 4 * (s).channels, (s).channels, 1, INITIAL_RESIDUAL)    \
    X(down_bias, "mlp.c_proj.bias", 1, (s).channels, 0, 0, INITIAL_ZERO)                           \
    X(norm_gain, "transformer.ln_f.weight", 0, (s).channels, 0, 0, INITIAL_ONE)                    \
    X(norm_bias, "transformer.ln_f.bias", 0, (s).channels, 0, 0, INITIAL_ZERO)                     \
    X(score_weight, "score.weight", 0, (s).head == HEAD_SCORE, (s).channels, 0, INITIAL_SCORE)     \
    X(value_weight, "v_head.summary.weight", 0, (s).head == HEAD_VALUE, (s).channels, 0,           \
      INITIAL_ZERO)                                                                                \
    X(value_bias, "v_head.summary.bias", 0, (s).head == HEAD_VALUE, 0, 0, INITIAL_ZERO)

#define MODEL_WEIGHT_MEMBER(member, name, layered, rows, columns, decay, initial) float *member;
typedef struct ModelWeights {
    MODEL_WEIGHTS(MODEL_WEIGHT_MEMBER, )
} ModelWeights;

#define MODEL_WEIGHT_ONE(member, name, layered, rows, columns, decay, initial) +1
enum { MODEL_WEIGHT_KINDS = 0 MODEL_WEIGHTS(MODEL_WEIGHT_ONE, ) }; /* rows of the list */

/* Weights, or gradients of them. All weights lie end to end in `flat`, in the order of the list. */
typedef struct Model {
    ModelShape shape;
    ModelWeights weight;
    float *flat;  /* (count) */
    size_t count; /* parameters */
    float reward_gain, reward_bias; /* reward model: score = gain * head + bias; else 1, 0 */
    Arena arena;
} Model;

size_t model_parameters(ModelShape shape);

/* One row of the list, made concrete, for whoever walks it at run time. */
typedef struct ModelWeightInfo {
    const char *name;
    bool layered, decay;
    int rows, columns; /* of one layer; columns 0: one-dimensional */
    ModelInitial initial;
    size_t start, size; /* in flat, all layers together */
} ModelWeightInfo;
/* The list in its order, empty rows left out; returns how many there are. */
int model_weight_list(ModelWeightInfo info[MODEL_WEIGHT_KINDS], ModelShape shape);
/* Name on disk of the tensor that element `at` of flat belongs to, and its place in that tensor. */
void model_weight_at(char name[128], size_t *place, ModelShape shape, size_t at);

/* Zeros of this shape. Heads that do not divide the channels: STATUS_SETTINGS. */
Status model_init(Model *model, ModelShape shape);
void model_free(Model *model); /* fine on a zeroed one */
/* Random initial weights (INITIAL_* above) from the stream (seed, stage, RNG_INITIAL_WEIGHTS);
 * `heads_only` draws only the scalar head. */
void model_randomise(Model *model, uint64_t seed, RngStage stage, bool heads_only);
/* Copies what both have: trunk, and the head where it is the same kind. Shapes but for the head
 * must agree (asserted). */
void model_copy(Model *to, const Model *from);
/* A critic out of a reward model: its head is gain * score, bias the reward's bias. */
void model_value_from_score(Model *critic, const Model *reward_model);
/* XXH3 of the weights. */
Digest model_digest(const Model *model);

#endif
