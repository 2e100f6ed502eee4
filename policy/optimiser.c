#include "policy/optimiser.h"

#include "data/parallel.h"
#include "policy/lanes.h"

#include <assert.h>
#include <math.h>
#include <string.h>

double schedule_rate(const OptimiserConfig *config, int64_t step, int64_t steps)
{
    const double peak = config->learning_rate, floor_rate = config->final_rate;
    if (step < config->warmup_steps) {
        return peak * (double)(step + 1) / (double)config->warmup_steps;
    }
    const int64_t falling = steps - 1 - config->warmup_steps;
    const double part =
        falling > 0 ? fmin(1.0, (double)(step - config->warmup_steps) / (double)falling) : 0.0;
    if (strcmp(config->schedule, "linear") == 0) return peak * (1.0 - (1.0 - floor_rate) * part);
    if (strcmp(config->schedule, "cosine") == 0) {
        const double wave = 0.5 * (1.0 + cos(3.14159265358979323846 * part));
        return peak * (floor_rate + (1.0 - floor_rate) * wave);
    }
    return peak;
}

Status adamw_init(AdamW *adamw, const Model *model)
{
    *adamw = (AdamW){.count = model->count};
    Arena plan = arena_measure();
    for (int i = 0; i < 2; i++) arena_floats(&plan, model->count);
    TRY(status_context(arena_init(&adamw->arena, plan.used), "AdamW's moments"));
    adamw->m = arena_floats(&adamw->arena, model->count);
    adamw->v = arena_floats(&adamw->arena, model->count);
    return STATUS_OK;
}

void adamw_free(AdamW *adamw)
{
    arena_free(&adamw->arena);
    *adamw = (AdamW){0};
}

/* The numbers of one update, the same for every weight. */
typedef struct Update {
    float scale, epsilon;
    float beta1, rest1; /* b1, 1 - b1 */
    float beta2, rest2;
    float rate;   /* lr / (1 - b1^t) */
    float root;   /* 1 / sqrt(1 - b2^t) */
    float shrink; /* lr decay */
} Update;

HOT static void update_weights(float *restrict w, float *restrict m, float *restrict v,
                               const float *restrict gradient, const Update *update, float shrink,
                               size_t count)
{
    const Update u = *update;
    for (size_t i = 0; i < count; i++) {
        const float g = gradient[i] * u.scale;
        m[i] = u.beta1 * m[i] + u.rest1 * g;
        v[i] = u.beta2 * v[i] + u.rest2 * g * g;
        w[i] = (w[i] - shrink * w[i]) - u.rate * m[i] / (sqrtf(v[i]) * u.root + u.epsilon);
    }
}

typedef struct UpdateJob {
    AdamW *adamw;
    float *weight;
    const float *gradient;
    Update update;
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    int infos;
} UpdateJob;

enum { UPDATE_CHUNK = 1 << 16 };

/* The part of one chunk that lies in each tensor, with that tensor's decay. */
static Status update_chunk(void *context, int item, int worker)
{
    (void)worker;
    UpdateJob *job = context;
    const size_t first = (size_t)item * UPDATE_CHUNK, last = first + UPDATE_CHUNK;
    for (int i = 0; i < job->infos; i++) {
        const ModelWeightInfo *info = &job->info[i];
        const size_t from = info->start > first ? info->start : first;
        const size_t end = info->start + info->size;
        const size_t to = end < last ? end : last;
        if (from >= to) continue;
        update_weights(job->weight + from, job->adamw->m + from, job->adamw->v + from,
                       job->gradient + from, &job->update, info->decay ? job->update.shrink : 0.0f,
                       to - from);
    }
    return STATUS_OK;
}

void adamw_update(AdamW *adamw, Model *model, const float *gradient, double scale,
                  const OptimiserConfig *config, double rate, int threads)
{
    assert(adamw->count == model->count);
    adamw->step++;
    const double t = (double)adamw->step;
    UpdateJob job = {
        .adamw = adamw,
        .weight = model->flat,
        .gradient = gradient,
        .update = {.scale = (float)scale,
                   .epsilon = (float)config->epsilon,
                   .beta1 = (float)config->beta1,
                   .rest1 = (float)(1.0 - config->beta1),
                   .beta2 = (float)config->beta2,
                   .rest2 = (float)(1.0 - config->beta2),
                   .rate = (float)(rate / (1.0 - pow(config->beta1, t))),
                   .root = (float)(1.0 / sqrt(1.0 - pow(config->beta2, t))),
                   .shrink = (float)(rate * config->weight_decay)},
    };
    job.infos = model_weight_list(job.info, model->shape);
    const size_t chunks = (model->count + UPDATE_CHUNK - 1) / UPDATE_CHUNK;
    const Status status = parallel_for((int)chunks, threads, update_chunk, &job);
    assert(status == STATUS_OK);
    (void)status;
}
