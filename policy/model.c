#include "policy/model.h"

#include <assert.h>
#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static size_t weight_size(const ModelWeightInfo *info, ModelShape shape)
{
    const size_t layers = info->layered ? (size_t)shape.layers : 1;
    return layers * (size_t)info->rows * (size_t)(info->columns > 0 ? info->columns : 1);
}

/* Every row of the list, empty ones too. */
static int whole_list(ModelWeightInfo info[MODEL_WEIGHT_KINDS], ModelShape shape)
{
    int count = 0;
    size_t start = 0;
#define MODEL_WEIGHT_ROW(member, name_, layered_, rows_, columns_, decay_, initial_)               \
    info[count] = (ModelWeightInfo){.name = name_,                                                 \
                                    .layered = layered_,                                           \
                                    .decay = decay_,                                               \
                                    .rows = rows_,                                                 \
                                    .columns = columns_,                                           \
                                    .initial = initial_,                                           \
                                    .start = start};                                               \
    info[count].size = weight_size(&info[count], shape);                                           \
    start += info[count++].size;
    MODEL_WEIGHTS(MODEL_WEIGHT_ROW, shape)
    return count;
}

int model_weight_list(ModelWeightInfo info[MODEL_WEIGHT_KINDS], ModelShape shape)
{
    const int all = whole_list(info, shape);
    int kept = 0;
    for (int i = 0; i < all; i++) {
        if (info[i].size > 0) info[kept++] = info[i];
    }
    return kept;
}

void model_weight_at(char name[128], size_t *place, ModelShape shape, size_t at)
{
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int count = model_weight_list(info, shape);
    int i = 0;
    while (i < count - 1 && at >= info[i].start + info[i].size) i++;
    const size_t inside = at - info[i].start;
    if (!info[i].layered) {
        *place = inside;
        snprintf(name, 128, "%s", info[i].name);
        return;
    }
    const size_t layer = info[i].size / (size_t)shape.layers;
    *place = inside % layer;
    snprintf(name, 128, "transformer.h.%zu.%s", inside / layer, info[i].name);
}

size_t model_parameters(ModelShape shape)
{
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int last = whole_list(info, shape) - 1;
    return info[last].start + info[last].size;
}

Status model_init(Model *model, ModelShape shape)
{
    *model = (Model){0};
    if (shape.vocabulary < 1 || shape.positions < 1 || shape.channels < 1 || shape.layers < 0) {
        return status_fail(STATUS_SETTINGS,
                           "a model of %d words, %d positions, %d channels and %d layers",
                           shape.vocabulary, shape.positions, shape.channels, shape.layers);
    }
    if (shape.heads < 1 || shape.channels % shape.heads != 0) {
        return status_fail(STATUS_SETTINGS, "heads = %d does not divide channels = %d", shape.heads,
                           shape.channels);
    }
    const size_t count = model_parameters(shape);
    Arena plan = arena_measure();
    arena_floats(&plan, count);
    TRY(status_context(arena_init(&model->arena, plan.used), "a model of %zu weights", count));

    model->shape = shape;
    model->count = count;
    model->flat = arena_floats(&model->arena, count);
    model->reward_gain = 1.0f;
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    whole_list(info, shape);
    int at = 0;
#define MODEL_WEIGHT_PLACE(member, name, layered, rows, columns, decay, initial)                   \
    model->weight.member = model->flat + info[at++].start;
    MODEL_WEIGHTS(MODEL_WEIGHT_PLACE, )
    return STATUS_OK;
}

void model_free(Model *model)
{
    arena_free(&model->arena);
    *model = (Model){0};
}

static double initial_deviation(ModelInitial initial, ModelShape shape)
{
    switch (initial) {
    case INITIAL_NORMAL:
        return 0.02;
    case INITIAL_RESIDUAL:
        return 0.02 / sqrt(2.0 * shape.layers);
    case INITIAL_SCORE:
        return 1.0 / sqrt(shape.channels + 1.0);
    case INITIAL_ONE:
    case INITIAL_ZERO:
        break;
    }
    return 0.0;
}

void model_randomise(Model *model, uint64_t seed, RngStage stage, bool heads_only)
{
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int all = whole_list(info, model->shape);
    const size_t heads = (size_t)(model->weight.score_weight - model->flat);
    for (int i = 0; i < all; i++) {
        if (heads_only && info[i].start < heads) continue;
        Rng rng = rng_stream(seed, stage, RNG_INITIAL_WEIGHTS, 0, (uint64_t)i, 0);
        const gsl_rng source = rng_gsl(&rng);
        const double deviation = initial_deviation(info[i].initial, model->shape);
        const double level = info[i].initial == INITIAL_ONE ? 1.0 : 0.0;
        float *weight = model->flat + info[i].start;
        for (size_t w = 0; w < info[i].size; w++) {
            const double noise =
                deviation > 0.0 ? gsl_ran_gaussian_ziggurat(&source, deviation) : 0.0;
            weight[w] = (float)(level + noise);
        }
    }
}

static bool same_trunk(ModelShape a, ModelShape b)
{
    return a.vocabulary == b.vocabulary && a.positions == b.positions && a.channels == b.channels &&
           a.heads == b.heads && a.layers == b.layers && a.causal == b.causal;
}

void model_copy(Model *to, const Model *from)
{
    assert(same_trunk(to->shape, from->shape));
    const bool whole = to->shape.head == from->shape.head;
    const size_t trunk = (size_t)(from->weight.score_weight - from->flat);
    memcpy(to->flat, from->flat, sizeof *to->flat * (whole ? from->count : trunk));
    if (!whole) return;
    to->reward_gain = from->reward_gain;
    to->reward_bias = from->reward_bias;
}

void model_value_from_score(Model *critic, const Model *reward_model)
{
    assert(critic->shape.head == HEAD_VALUE && reward_model->shape.head == HEAD_SCORE);
    model_copy(critic, reward_model);
    for (int c = 0; c < critic->shape.channels; c++) {
        critic->weight.value_weight[c] =
            reward_model->reward_gain * reward_model->weight.score_weight[c];
    }
    critic->weight.value_bias[0] = reward_model->reward_bias;
}

Digest model_digest(const Model *model)
{
    return digest_of(model->flat, sizeof *model->flat * model->count);
}
