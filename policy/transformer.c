#include "policy/transformer.h"

#include "policy/gemm.h"
#include "policy/kernels.h"

#include <assert.h>
#include <string.h>

static Layer layer_layout(Arena *arena, ModelShape shape, size_t rows, size_t longest, bool kept)
{
    const size_t C = (size_t)shape.channels, H = (size_t)shape.heads;
    return (Layer){
        .normal1 = arena_floats(arena, rows * C),
        .rstd1 = arena_floats(arena, rows),
        .qkv = arena_floats(arena, rows * 3 * C),
        .weight = kept ? arena_floats(arena, rows * longest * H) : NULL,
        .mixed = arena_floats(arena, rows * C),
        .normal2 = arena_floats(arena, rows * C),
        .rstd2 = arena_floats(arena, rows),
        .up = arena_floats(arena, rows * 4 * C),
    };
}

void activations_layout(Activations *activations, Arena *arena, ModelShape shape, int rows,
                        int longest, bool backward)
{
    const size_t N = (size_t)rows, C = (size_t)shape.channels;
    const bool kept = backward && longest <= ATTENTION_KEPT;
    const int layers = backward ? shape.layers : 1;
    *activations = (Activations){
        .hidden = arena_floats(arena, N * C),
        .dhidden = backward ? arena_floats(arena, N * C) : NULL,
        .layer = arena_push(arena, (size_t)layers, sizeof(Layer)),
        .stream = arena_floats(arena, N * C),
        .normal = arena_floats(arena, N * C),
        .rstd = arena_floats(arena, N),
        .narrow = arena_floats(arena, N * C),
        .wide = arena_floats(arena, N * 4 * C),
        .dstream = backward ? arena_floats(arena, N * C) : NULL,
        .dnarrow = backward ? arena_floats(arena, N * C) : NULL,
        .dwide = backward ? arena_floats(arena, N * 4 * C) : NULL,
        .scratch = arena_floats(arena, attention_scratch(longest)),
        .shared = !backward,
    };
    for (int l = 0; l < layers; l++) {
        const Layer layer = layer_layout(arena, shape, N, (size_t)longest, kept);
        if (activations->layer != NULL) activations->layer[l] = layer;
    }
}

/* The weights (or gradients) of layer l. */
static ModelWeights layer_weights(const Model *model, int l)
{
    ModelWeights weight = model->weight;
    const ModelShape shape = model->shape;
#define LAYER_WEIGHT(member, name, layered, rows, columns, decay, initial)                         \
    if (layered) {                                                                                 \
        weight.member += (ptrdiff_t)l * (rows) * ((columns) > 0 ? (columns) : 1);                  \
    }
    MODEL_WEIGHTS(LAYER_WEIGHT, shape)
    return weight;
}

/* Where the attention weights of the next sequence start. */
static ptrdiff_t kept_after(ptrdiff_t kept, int T, int H)
{
    return kept + (ptrdiff_t)H * T * T;
}

static void attend(Layer *layer, float *scratch, ModelShape shape, const Block *block)
{
    const int C = shape.channels, H = shape.heads;
    ptrdiff_t kept = 0;
    for (int s = 0; s < block->sequences; s++) {
        const int start = block->start[s], T = block->start[s + 1] - start;
        float *weight = layer->weight != NULL ? layer->weight + kept : NULL;
        attention_forward(row_at(layer->mixed, start, C), weight, scratch,
                          row_of(layer->qkv, start, 3 * C), T, C, H, shape.causal);
        kept = kept_after(kept, T, H);
    }
}

static void attend_backward(float *dqkv, const float *dmixed, const Layer *layer, float *scratch,
                            ModelShape shape, const Block *block)
{
    const int C = shape.channels, H = shape.heads;
    ptrdiff_t kept = 0;
    for (int s = 0; s < block->sequences; s++) {
        const int start = block->start[s], T = block->start[s + 1] - start;
        const float *weight = layer->weight != NULL ? layer->weight + kept : NULL;
        attention_backward(row_at(dqkv, start, 3 * C), scratch, row_of(dmixed, start, C), weight,
                           row_of(layer->qkv, start, 3 * C), T, C, H, shape.causal);
        kept = kept_after(kept, T, H);
    }
}

/* stream += proj(attention(norm1(stream))); stream += down(gelu(up(norm2(stream)))) */
static void layer_forward(Activations *a, Layer *layer, const ModelWeights *w, ModelShape shape,
                          const Block *block)
{
    const int N = block->rows, C = shape.channels;
    layer_norm_forward(a->narrow, layer->normal1, layer->rstd1, a->stream, w->norm1_gain,
                       w->norm1_bias, N, C);
    gemm(layer->qkv, a->narrow, w->qkv_weight, N, 3 * C, C, false, false, 0.0f);
    bias_forward(layer->qkv, w->qkv_bias, N, 3 * C);
    attend(layer, a->scratch, shape, block);
    gemm(a->stream, layer->mixed, w->attention_weight, N, C, C, false, false, 1.0f);
    bias_forward(a->stream, w->attention_bias, N, C);

    layer_norm_forward(a->narrow, layer->normal2, layer->rstd2, a->stream, w->norm2_gain,
                       w->norm2_bias, N, C);
    gemm(layer->up, a->narrow, w->up_weight, N, 4 * C, C, false, false, 0.0f);
    bias_gelu_forward(a->wide, layer->up, w->up_bias, N, 4 * C);
    gemm(a->stream, a->wide, w->down_weight, N, C, 4 * C, false, false, 1.0f);
    bias_forward(a->stream, w->down_bias, N, C);
}

void transformer_forward(Activations *activations, const Model *model, const Block *block)
{
    const ModelShape shape = model->shape;
    const int N = block->rows, C = shape.channels;
    if (N == 0) return;
    embed_forward(activations->stream, model->weight.token_embedding,
                  model->weight.position_embedding, block->token, block->place, N, C);
    for (int l = 0; l < shape.layers; l++) {
        const ModelWeights weight = layer_weights(model, l);
        layer_forward(activations, &activations->layer[activations->shared ? 0 : l], &weight, shape,
                      block);
    }
    layer_norm_forward(activations->hidden, activations->normal, activations->rstd,
                       activations->stream, model->weight.norm_gain, model->weight.norm_bias, N, C);
}

/* dweight += in^T dout; din = dout weight^T; (N, inner), (N, outer). */
static void linear_backward(float *din, float *dweight, float *dbias, const float *dout,
                            const float *in, const float *weight, int N, int inner, int outer)
{
    bias_backward(dbias, dout, N, outer);
    gemm(dweight, in, dout, inner, outer, N, true, false, 1.0f);
    gemm(din, dout, weight, N, inner, outer, false, true, 0.0f);
}

static void layer_backward(ModelWeights *d, Activations *a, const Layer *layer,
                           const ModelWeights *w, ModelShape shape, const Block *block)
{
    const int N = block->rows, C = shape.channels;
    /* through the GELU: wide becomes its output again and dwide the gradient of its input */
    gemm(a->dwide, a->dstream, w->down_weight, N, 4 * C, C, false, true, 0.0f);
    gelu_backward(a->wide, a->dwide, layer->up, (size_t)N * 4 * (size_t)C);
    gemm(d->down_weight, a->wide, a->dstream, 4 * C, C, N, true, false, 1.0f);
    bias_backward(d->down_bias, a->dstream, N, C);
    layer_norm_rebuild(a->narrow, layer->normal2, w->norm2_gain, w->norm2_bias, N, C);
    linear_backward(a->dnarrow, d->up_weight, d->up_bias, a->dwide, a->narrow, w->up_weight, N, C,
                    4 * C);
    layer_norm_backward(a->dstream, d->norm2_gain, d->norm2_bias, a->dnarrow, layer->normal2,
                        layer->rstd2, w->norm2_gain, N, C);

    linear_backward(a->dnarrow, d->attention_weight, d->attention_bias, a->dstream, layer->mixed,
                    w->attention_weight, N, C, C);
    float *dqkv = a->dwide;
    attend_backward(dqkv, a->dnarrow, layer, a->scratch, shape, block);
    layer_norm_rebuild(a->narrow, layer->normal1, w->norm1_gain, w->norm1_bias, N, C);
    linear_backward(a->dnarrow, d->qkv_weight, d->qkv_bias, dqkv, a->narrow, w->qkv_weight, N, C,
                    3 * C);
    layer_norm_backward(a->dstream, d->norm1_gain, d->norm1_bias, a->dnarrow, layer->normal1,
                        layer->rstd1, w->norm1_gain, N, C);
}

void transformer_backward(Model *gradient, Activations *activations, const Model *model,
                          const Block *block)
{
    const ModelShape shape = model->shape;
    const int N = block->rows, C = shape.channels;
    assert(!activations->shared);
    if (N == 0) return;
    memset(activations->dstream, 0, sizeof(float) * (size_t)N * (size_t)C);
    layer_norm_backward(activations->dstream, gradient->weight.norm_gain,
                        gradient->weight.norm_bias, activations->dhidden, activations->normal,
                        activations->rstd, model->weight.norm_gain, N, C);
    for (int l = shape.layers - 1; l >= 0; l--) {
        const ModelWeights weight = layer_weights(model, l);
        ModelWeights dweight = layer_weights(gradient, l);
        layer_backward(&dweight, activations, &activations->layer[l], &weight, shape, block);
    }
    embed_backward(gradient->weight.token_embedding, gradient->weight.position_embedding,
                   activations->dstream, block->token, block->place, N, C);
}
