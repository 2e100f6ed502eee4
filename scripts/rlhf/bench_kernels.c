/* Every kernel of a PPO iteration alone, on one thread, with the shapes of one block. */
#include "scripts/rlhf/bench.h"

#include "policy/decode.h"
#include "policy/gemm.h"
#include "policy/kernels.h"
#include "policy/sampling.h"
#include "policy/transformer.h"
#include "ppo/kl.h"

#include <string.h>

enum { DECODED_TOGETHER = 64 }; /* generate's default */

/* One block's worth of memory for every kernel. */
typedef struct Bed {
    const BenchSizes *sizes;
    int N, C, H, V, T, sequences; /* rows of a block, ... */
    int n;                        /* rows that predict a response token */
    int group;                    /* answers decoded together */
    Model model, gradient;
    Model nothing; /* a gradient that stays zero */
    AdamW adamw;
    OptimiserConfig optimiser;
    Block block;
    float *narrow, *normal, *rstd, *stream, *qkv, *dqkv, *wide, *dwide, *gated; /* as Layer's */
    float *weight, *scratch, *logits, *probability;
    SamplingCandidate *candidate;
    Decoder decoder;
    int32_t *token, *slot, *position;
    Arena arena;
} Bed;

static int row_limit(const Bed *bed)
{
    return bed->N > BLOCK_ROWS ? bed->N : BLOCK_ROWS;
}

static void bed_layout(Bed *bed, Arena *arena)
{
    const size_t N = (size_t)row_limit(bed), C = (size_t)bed->C, V = (size_t)bed->V;
    const size_t T = (size_t)bed->T;
    const int rows = row_limit(bed);
    bed->narrow = arena_floats(arena, N * C);
    bed->normal = arena_floats(arena, N * C);
    bed->rstd = arena_floats(arena, N);
    bed->stream = arena_floats(arena, N * C);
    bed->qkv = arena_floats(arena, N * 3 * C);
    bed->dqkv = arena_floats(arena, N * 3 * C);
    bed->wide = arena_floats(arena, N * 4 * C);
    bed->dwide = arena_floats(arena, N * 4 * C);
    bed->gated = arena_floats(arena, N * 4 * C);
    const bool kept = bed->T <= ATTENTION_KEPT;
    bed->weight = kept ? arena_floats(arena, (size_t)bed->H * T * T) : NULL;
    bed->scratch = arena_floats(arena, attention_scratch(bed->T));
    bed->logits = arena_floats(arena, N * V);
    bed->probability = arena_floats(arena, V);
    bed->candidate = arena_push(arena, V, sizeof *bed->candidate);
    bed->token = arena_ints(arena, N);
    bed->slot = arena_ints(arena, N);
    bed->position = arena_ints(arena, N);
    block_layout(&bed->block, arena, rows, rows);
    decoder_layout(&bed->decoder, arena, bed->model.shape, bed->group, bed->T, rows);
}

static void fill(float *x, size_t count, Rng *rng)
{
    for (size_t i = 0; i < count; i++) x[i] = (float)(2.0 * rng_uniform(rng) - 1.0);
}

static Status bed_init(Bed *bed, BenchPpo *ppo)
{
    const BenchSizes *sizes = &ppo->sizes;
    const ModelShape shape = ppo->policy.shape;
    *bed = (Bed){.sizes = sizes,
                 .N = ppo->plan.rows,
                 .C = shape.channels,
                 .H = shape.heads,
                 .V = shape.vocabulary,
                 .T = shape.positions,
                 .optimiser = ppo->config.optimiser};
    bed->sequences = bed->N / bed->T;
    bed->n = bed->sequences * sizes->response;
    bed->group = sizes->rollouts < DECODED_TOGETHER ? sizes->rollouts : DECODED_TOGETHER;
    TRY(model_init(&bed->model, shape));
    TRY(model_init(&bed->gradient, shape));
    TRY(model_init(&bed->nothing, shape));
    TRY(adamw_init(&bed->adamw, &bed->model));
    model_copy(&bed->model, &ppo->policy);
    Arena plan = arena_measure();
    bed_layout(bed, &plan);
    TRY(arena_init(&bed->arena, plan.used));
    bed_layout(bed, &bed->arena);

    Rng rng = rng_stream(1, RNG_PPO, RNG_WORLD, 0, 0, 0);
    const size_t N = (size_t)bed->N, C = (size_t)bed->C;
    fill(bed->stream, N * C, &rng);
    fill(bed->qkv, N * 3 * C, &rng);
    fill(bed->wide, N * 4 * C, &rng);
    fill(bed->logits, N * (size_t)bed->V, &rng);
    const Sequences sequences = rollout_sequences(&ppo->rollout);
    block_fill(&bed->block, &ppo->plan, 0, &sequences);
    return STATUS_OK;
}

static void bed_free(Bed *bed)
{
    model_free(&bed->model);
    model_free(&bed->gradient);
    model_free(&bed->nothing);
    adamw_free(&bed->adamw);
    arena_free(&bed->arena);
}

/* ---- kernels ---- */

static Status layer_products(void *context)
{
    Bed *b = context;
    const ModelWeights *w = &b->model.weight;
    const int N = b->N, C = b->C;
    gemm(b->dqkv, b->stream, w->qkv_weight, N, 3 * C, C, false, false, 0.0f);
    gemm(b->narrow, b->stream, w->attention_weight, N, C, C, false, false, 1.0f);
    gemm(b->dwide, b->stream, w->up_weight, N, 4 * C, C, false, false, 0.0f);
    gemm(b->narrow, b->wide, w->down_weight, N, C, 4 * C, false, false, 1.0f);
    memset(b->narrow, 0, sizeof(float) * (size_t)N * (size_t)C); /* or it grows without end */
    return STATUS_OK;
}

/* dweight += in^T dout, din = dout weight^T */
static void products_back(Bed *b, float *dweight, const float *weight, float *din,
                          const float *dout, const float *in, int inner, int outer)
{
    gemm(dweight, in, dout, inner, outer, b->N, true, false, 1.0f);
    gemm(din, dout, weight, b->N, inner, outer, false, true, 0.0f);
}

static Status layer_products_back(void *context)
{
    Bed *b = context;
    const ModelWeights *w = &b->model.weight, *d = &b->gradient.weight;
    const int C = b->C;
    products_back(b, d->down_weight, w->down_weight, b->dwide, b->stream, b->wide, 4 * C, C);
    products_back(b, d->up_weight, w->up_weight, b->narrow, b->wide, b->stream, C, 4 * C);
    products_back(b, d->attention_weight, w->attention_weight, b->narrow, b->stream, b->stream, C,
                  C);
    products_back(b, d->qkv_weight, w->qkv_weight, b->narrow, b->qkv, b->stream, C, 3 * C);
    return STATUS_OK;
}

static Status attend(void *context)
{
    Bed *b = context;
    for (int s = 0; s < b->sequences; s++) {
        attention_forward(row_at(b->narrow, s * b->T, b->C), b->weight, b->scratch,
                          row_of(b->qkv, s * b->T, 3 * b->C), b->T, b->C, b->H, true);
    }
    return STATUS_OK;
}

static Status attend_back(void *context)
{
    Bed *b = context;
    for (int s = 0; s < b->sequences; s++) {
        attention_backward(row_at(b->dqkv, s * b->T, 3 * b->C), b->scratch,
                           row_of(b->stream, s * b->T, b->C), b->weight,
                           row_of(b->qkv, s * b->T, 3 * b->C), b->T, b->C, b->H, true);
    }
    return STATUS_OK;
}

static Status norm(void *context)
{
    Bed *b = context;
    layer_norm_forward(b->narrow, b->normal, b->rstd, b->stream, b->model.weight.norm_gain,
                       b->model.weight.norm_bias, b->N, b->C);
    return STATUS_OK;
}

static Status norm_back(void *context)
{
    Bed *b = context;
    layer_norm_rebuild(b->wide, b->normal, b->model.weight.norm_gain, b->model.weight.norm_bias,
                       b->N, b->C);
    layer_norm_backward(b->narrow, b->gradient.weight.norm_gain, b->gradient.weight.norm_bias,
                        b->stream, b->normal, b->rstd, b->model.weight.norm_gain, b->N, b->C);
    return STATUS_OK;
}

static Status biases(void *context)
{
    Bed *b = context;
    bias_forward(b->dqkv, b->model.weight.qkv_bias, b->N, 3 * b->C);
    bias_forward(b->narrow, b->model.weight.attention_bias, b->N, b->C);
    bias_forward(b->narrow, b->model.weight.down_bias, b->N, b->C);
    return STATUS_OK;
}

static Status biases_back(void *context)
{
    Bed *b = context;
    const ModelWeights *d = &b->gradient.weight;
    bias_backward(d->down_bias, b->stream, b->N, b->C);
    bias_backward(d->up_bias, b->wide, b->N, 4 * b->C);
    bias_backward(d->attention_bias, b->stream, b->N, b->C);
    bias_backward(d->qkv_bias, b->qkv, b->N, 3 * b->C);
    return STATUS_OK;
}

static Status gelu(void *context)
{
    Bed *b = context;
    bias_gelu_forward(b->gated, b->dwide, b->model.weight.up_bias, b->N, 4 * b->C);
    return STATUS_OK;
}

static Status gelu_back(void *context)
{
    Bed *b = context;
    gelu_backward(b->gated, b->dwide, b->wide, (size_t)b->N * 4 * (size_t)b->C);
    return STATUS_OK;
}

static Status embed(void *context)
{
    Bed *b = context;
    embed_forward(b->narrow, b->model.weight.token_embedding, b->model.weight.position_embedding,
                  b->block.token, b->block.place, b->block.rows, b->C);
    return STATUS_OK;
}

static Status embed_back(void *context)
{
    Bed *b = context;
    embed_backward(b->gradient.weight.token_embedding, b->gradient.weight.position_embedding,
                   b->stream, b->block.token, b->block.place, b->block.rows, b->C);
    return STATUS_OK;
}

static Status logits(void *context)
{
    Bed *b = context;
    language_head_forward(b->logits, b->stream, &b->model, b->n);
    return STATUS_OK;
}

static Status logits_back(void *context)
{
    Bed *b = context;
    language_head_backward(b->narrow, &b->gradient, b->logits, b->stream, &b->model, b->n);
    return STATUS_OK;
}

static Status token_scores(void *context)
{
    Bed *b = context;
    for (int i = 0; i < b->n; i++) {
        token_score(b->probability, row_of(b->logits, i, b->V), b->V, 1.0, 1);
    }
    return STATUS_OK;
}

static Status exact_kls(void *context)
{
    Bed *b = context;
    for (int i = 0; i < b->n; i++) {
        const float *row = row_of(b->logits, i, b->V);
        kl_exact(row, b->logits, b->V, 1.0);
    }
    return STATUS_OK;
}

/* What a minibatch does to the gradients of one shard: clear them, add them to another's. */
static Status gradient_pass(void *context)
{
    Bed *b = context;
    enum { CHUNK = 4096 };
    const size_t count = b->model.count;
    memset(b->nothing.flat, 0, sizeof(float) * count);
    for (size_t at = 0; at < count; at += CHUNK) {
        const int n = (int)(count - at < CHUNK ? count - at : CHUNK);
        add_scaled_row(b->gradient.flat + at, 1.0f, b->nothing.flat + at, n);
    }
    return STATUS_OK;
}

static Status adamw(void *context)
{
    Bed *b = context;
    adamw_update(&b->adamw, &b->model, b->nothing.flat, 1.0, &b->optimiser,
                 b->optimiser.learning_rate, 1);
    return STATUS_OK;
}

/* Rows of the prompts of a group that go through together. */
static int prompt_rows(const Bed *bed)
{
    const int all = bed->group * bed->sizes->prompt;
    return all < BLOCK_ROWS ? all : BLOCK_ROWS;
}

static Status decode_prompts(void *context)
{
    Bed *b = context;
    const int rows = prompt_rows(b);
    for (int i = 0; i < rows; i++) {
        b->token[i] = b->block.token[0];
        b->slot[i] = i / b->sizes->prompt;
        b->position[i] = i % b->sizes->prompt;
    }
    decode_rows(&b->decoder, &b->model, b->token, b->slot, b->position, rows);
    return STATUS_OK;
}

static Status decode_position(void *context)
{
    Bed *b = context;
    for (int i = 0; i < b->group; i++) {
        b->token[i] = b->block.token[0];
        b->slot[i] = i;
        b->position[i] = b->sizes->prompt + b->sizes->response / 2;
    }
    decode_rows(&b->decoder, &b->model, b->token, b->slot, b->position, b->group);
    return STATUS_OK;
}

static Status decode_logits(void *context)
{
    Bed *b = context;
    language_head_forward(b->logits, b->stream, &b->model, b->group);
    return STATUS_OK;
}

static Status draw(void *context)
{
    Bed *b = context;
    const SamplingConfig config = {.temperature = 1.0, .top_p = 1.0, .never = BENCH_END};
    for (int i = 0; i < b->group; i++) {
        const double uniform = (i + 0.5) / b->group;
        TRY(sampling_draw(&b->token[i], b->probability, b->candidate, row_of(b->logits, i, b->V),
                          b->V, &config, uniform));
    }
    return STATUS_OK;
}

/* ---- what an iteration takes of each ---- */

typedef struct Kernel {
    const char *name;
    BenchWork *work;
    double calls; /* an iteration, on all threads together */
    double flops; /* of a call; 0: no product */
} Kernel;

static Status time_kernels(BenchKernel found[BENCH_KERNELS], Bed *bed, const BenchPpo *ppo)
{
    const BenchSizes *sizes = bed->sizes;
    const double blocks = ppo->plan.blocks, L = sizes->layers, E = sizes->epochs;
    const double forward = blocks * (4 + 2 * E), backward = blocks * 2 * E;
    const double steps = 2 * E * sizes->minibatches;
    const double groups = (double)sizes->rollouts / bed->group;
    const double C = bed->C, V = bed->V;
    const double layer = 2.0 * bed->N * 12 * C * C, head = 2.0 * bed->n * C * V;
    const Kernel all[BENCH_KERNELS] = {
        {"products of a layer", layer_products, forward * L, layer},
        {"products of a layer, back", layer_products_back, backward * L, 2 * layer},
        {"logits", logits, blocks * (2 + E), head},
        {"logits, back", logits_back, blocks * E, 2 * head},
        {"attention", attend, forward * L, 0},
        {"attention, back", attend_back, backward * L, 0},
        {"layer norm", norm, forward * (2 * L + 1), 0},
        {"layer norm, back", norm_back, backward * (2 * L + 1), 0},
        {"biases", biases, forward * L, 0},
        {"biases, back", biases_back, backward * L, 0},
        {"bias and GELU", gelu, forward * L, 0},
        {"GELU, back", gelu_back, backward * L, 0},
        {"embedding", embed, forward, 0},
        {"embedding, back", embed_back, backward, 0},
        {"token scores", token_scores, blocks * (2 + E), 0},
        {"exact KL", exact_kls, blocks, 0},
        {"gradients of a shard", gradient_pass, steps * sizes->shards, 0},
        {"AdamW", adamw, steps, 0},
        {"decoding, prompts", decode_prompts,
         (double)sizes->rollouts * sizes->prompt / prompt_rows(bed),
         2.0 * prompt_rows(bed) * 12 * L * C * C},
        {"decoding, a position", decode_position, groups * (sizes->response - 1),
         2.0 * bed->group * 12 * L * C * C},
        {"decoding, logits", decode_logits, groups * sizes->response, 2.0 * bed->group * C * V},
        {"decoding, draws", draw, groups * sizes->response, 0},
    };
    for (int k = 0; k < BENCH_KERNELS; k++) {
        found[k] = (BenchKernel){all[k].name, all[k].calls, all[k].flops, 0};
        TRY(bench_median(&found[k].seconds, all[k].work, bed, sizes->repeats));
    }
    return STATUS_OK;
}

Status bench_time_kernels(BenchKernel found[BENCH_KERNELS], BenchPpo *ppo)
{
    Bed bed;
    Status status = bed_init(&bed, ppo);
    if (status == STATUS_OK) status = time_kernels(found, &bed, ppo);
    bed_free(&bed);
    return status;
}
