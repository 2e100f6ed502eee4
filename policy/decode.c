#include "policy/decode.h"

#include "policy/gemm.h"
#include "policy/kernels.h"
#include "policy/lanes.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Sums of 16 lanes that grow side by side: one alone would wait for each of its additions. */
enum { SIDE_BY_SIDE = 4 };

static int whole_lanes(int count)
{
    return (count + LANES - 1) / LANES * LANES;
}

void decoder_layout(Decoder *decoder, Arena *arena, ModelShape shape, int slots, int longest,
                    int rows)
{
    const size_t C = (size_t)shape.channels, R = (size_t)rows;
    const int room = whole_lanes(longest);
    const size_t cache = (size_t)shape.layers * (size_t)slots * (size_t)room * C;
    *decoder = (Decoder){.shape = shape, .slots = slots, .longest = room, .rows = rows};
    decoder->key = arena_floats(arena, cache);
    decoder->value = arena_floats(arena, cache);
    decoder->residual = arena_floats(arena, R * C);
    decoder->normed = arena_floats(arena, R * C);
    decoder->unit = arena_floats(arena, R * C);
    decoder->rstd = arena_floats(arena, R);
    decoder->hidden = arena_floats(arena, R * C);
    decoder->qkv = arena_floats(arena, R * 3 * C);
    decoder->up = arena_floats(arena, R * 4 * C);
    decoder->gated = arena_floats(arena, R * 4 * C);
    decoder->weight = arena_floats(arena, (size_t)shape.heads * (size_t)room);
}

/* Where the keys (and the values) of a slot start. */
static size_t cache_start(const Decoder *decoder, int layer, int slot)
{
    const size_t size = (size_t)decoder->longest * (size_t)decoder->shape.channels;
    return ((size_t)layer * (size_t)decoder->slots + (size_t)slot) * size;
}

/* score[s] = scale * q . k[s] for `blocks` times 16 keys; key (width, longest). `blocks` is a
 * constant where this is called, so that the sums stay in registers. */
INLINE void score_keys(float *score, const float *query, const float *key, int blocks, int longest,
                       int width, float scale)
{
    LaneVector sum[SIDE_BY_SIDE] = {{0.0f}};
    for (int c = 0; c < width; c++) {
        const LaneVector *k = (const LaneVector *)row_of(key, c, longest);
        for (int b = 0; b < blocks; b++) sum[b] += query[c] * k[b];
    }
    for (int b = 0; b < blocks; b++) ((LaneVector *)score)[b] = scale * sum[b];
}

/* The same for the first `count` keys, whole blocks of 16. */
HOT static void score_head(float *score, const float *query, const float *key, int count,
                           int longest, int width, float scale)
{
    int s = 0;
    for (; s + SIDE_BY_SIDE * LANES <= count; s += SIDE_BY_SIDE * LANES) {
        score_keys(score + s, query, key + s, SIDE_BY_SIDE, longest, width, scale);
    }
    for (; s < count; s += LANES) score_keys(score + s, query, key + s, 1, longest, width, scale);
}

/* out = sum over s < count of  weight[s] v[s]  for `blocks` times 16 columns; value (longest, C).
 * Columns of one head share a row of weights, `longest` apart. */
INLINE void mix_columns(float *out, const float *weight, const float *value, int count, int longest,
                        int column, int blocks, int width, int C)
{
    LaneVector sum[SIDE_BY_SIDE] = {{0.0f}};
    const float *w[SIDE_BY_SIDE];
    for (int b = 0; b < blocks; b++) {
        w[b] = row_of(weight, (column + b * LANES) / width, longest);
    }
    for (int s = 0; s < count; s++) {
        const LaneVector *v = (const LaneVector *)(row_of(value, s, C) + column);
        for (int b = 0; b < blocks; b++) sum[b] += w[b][s] * v[b];
    }
    memcpy(out + column, sum, sizeof sum[0] * (size_t)blocks);
}

/* All heads' values; weight (H, longest). */
HOT static void mix_values(float *out, const float *weight, const float *value, int count,
                           int longest, int width, int C)
{
    const int wide = SIDE_BY_SIDE * LANES;
    int c = 0;
    if (width % LANES == 0) {
        for (; c + wide <= C; c += wide) {
            mix_columns(out, weight, value, count, longest, c, SIDE_BY_SIDE, width, C);
        }
        for (; c < C; c += LANES) {
            mix_columns(out, weight, value, count, longest, c, 1, width, C);
        }
    }
    for (; c < C; c++) {
        const float *w = row_of(weight, c / width, longest);
        float sum = 0.0f;
        for (int s = 0; s < count; s++) sum += w[s] * row_of(value, s, C)[c];
        out[c] = sum;
    }
}

/* Puts the new keys and values into the cache. */
static void remember(Decoder *decoder, int layer, const int32_t *slot, const int32_t *position,
                     int n)
{
    const int C = decoder->shape.channels;
    for (int i = 0; i < n; i++) {
        const size_t start = cache_start(decoder, layer, slot[i]);
        const float *row = row_of(decoder->qkv, i, 3 * C);
        float *key = decoder->key + start + position[i];
        for (int c = 0; c < C; c++) *row_at(key, c, decoder->longest) = row[C + c];
        memcpy(row_at(decoder->value + start, position[i], C), row + 2 * C,
               sizeof *row * (size_t)C);
    }
}

/* Attention of every row over its own slot, up to its own position, into decoder->normed. */
static void attend(Decoder *decoder, int layer, const int32_t *slot, const int32_t *position, int n)
{
    const int C = decoder->shape.channels, H = decoder->shape.heads, width = C / H;
    const int room = decoder->longest;
    const float scale = 1.0f / sqrtf((float)width);
    for (int i = 0; i < n; i++) {
        const size_t start = cache_start(decoder, layer, slot[i]);
        const float *query = row_of(decoder->qkv, i, 3 * C);
        const int count = position[i] + 1, whole = whole_lanes(count);
        for (int h = 0; h < H; h++) {
            score_head(row_at(decoder->weight, h, room), query + h * width,
                       row_of(decoder->key + start, h * width, room), whole, room, width, scale);
        }
        for (int h = 0; h < H; h += ATTENTION_TILE) {
            const int rows = H - h < ATTENTION_TILE ? H - h : ATTENTION_TILE;
            attention_softmax(row_at(decoder->weight, h, room), room, rows, whole, count, 0);
        }
        mix_values(row_at(decoder->normed, i, C), decoder->weight, decoder->value + start, count,
                   room, width, C);
    }
}

/* residual += attention(norm1(residual)), then residual += mlp(norm2(residual)) */
static void layer_rows(Decoder *decoder, const Model *model, int layer, const int32_t *slot,
                       const int32_t *position, int n)
{
    const int C = decoder->shape.channels;
    const ModelWeights *w = &model->weight;
    float *x = decoder->residual;
    layer_norm_forward(decoder->normed, decoder->unit, decoder->rstd, x,
                       row_of(w->norm1_gain, layer, C), row_of(w->norm1_bias, layer, C), n, C);
    gemm(decoder->qkv, decoder->normed, row_of(w->qkv_weight, layer, 3 * C * C), n, 3 * C, C, false,
         false, 0.0f);
    bias_forward(decoder->qkv, row_of(w->qkv_bias, layer, 3 * C), n, 3 * C);
    remember(decoder, layer, slot, position, n);
    attend(decoder, layer, slot, position, n);
    gemm(x, decoder->normed, row_of(w->attention_weight, layer, C * C), n, C, C, false, false,
         1.0f);
    bias_forward(x, row_of(w->attention_bias, layer, C), n, C);

    layer_norm_forward(decoder->normed, decoder->unit, decoder->rstd, x,
                       row_of(w->norm2_gain, layer, C), row_of(w->norm2_bias, layer, C), n, C);
    gemm(decoder->up, decoder->normed, row_of(w->up_weight, layer, 4 * C * C), n, 4 * C, C, false,
         false, 0.0f);
    bias_gelu_forward(decoder->gated, decoder->up, row_of(w->up_bias, layer, 4 * C), n, 4 * C);
    gemm(x, decoder->gated, row_of(w->down_weight, layer, 4 * C * C), n, C, 4 * C, false, false,
         1.0f);
    bias_forward(x, row_of(w->down_bias, layer, C), n, C);
}

void decode_rows(Decoder *decoder, const Model *model, const int32_t *token, const int32_t *slot,
                 const int32_t *position, int n)
{
    const int C = decoder->shape.channels;
    assert(n <= decoder->rows && decoder->shape.causal);
    embed_forward(decoder->residual, model->weight.token_embedding,
                  model->weight.position_embedding, token, position, n, C);
    for (int l = 0; l < decoder->shape.layers; l++) {
        layer_rows(decoder, model, l, slot, position, n);
    }
    layer_norm_forward(decoder->hidden, decoder->unit, decoder->rstd, decoder->residual,
                       model->weight.norm_gain, model->weight.norm_bias, n, C);
}

void decode_copy(Decoder *decoder, int to, int from, int positions)
{
    const int C = decoder->shape.channels;
    const size_t bytes = sizeof(float) * (size_t)positions;
    for (int l = 0; l < decoder->shape.layers; l++) {
        const size_t target = cache_start(decoder, l, to), source = cache_start(decoder, l, from);
        for (int c = 0; c < C; c++) {
            memcpy(row_at(decoder->key + target, c, decoder->longest),
                   row_of(decoder->key + source, c, decoder->longest), bytes);
        }
        memcpy(decoder->value + target, decoder->value + source, bytes * (size_t)C);
    }
}
