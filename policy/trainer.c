#include "policy/trainer.h"

#include "data/parallel.h"
#include "policy/kernels.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

/* Gradients are summed over shards, and their squares added up, a chunk at a time: each chunk has
 * a place of its own, so the order of additions does not depend on threads. */
enum { TRAINER_CHUNK = 4096 };

typedef struct TrainerWorker {
    Activations activations;
    Block block;
    TrainerBlock loss;
} TrainerWorker;

static size_t chunks_of(const Model *model)
{
    return (model->count + TRAINER_CHUNK - 1) / TRAINER_CHUNK;
}

static TrainerWorker worker_layout(Arena *arena, ModelShape shape, int rows, int longest,
                                   bool backward)
{
    const size_t N = (size_t)rows, C = (size_t)shape.channels, V = (size_t)shape.vocabulary;
    TrainerWorker worker = {0};
    activations_layout(&worker.activations, arena, shape, rows, longest, backward);
    block_layout(&worker.block, arena, rows, rows);
    if (shape.head == HEAD_LANGUAGE) worker.loss.logits = arena_floats(arena, N * V);
    worker.loss.rows = arena_floats(arena, N * C);
    worker.loss.drows = arena_floats(arena, N * C);
    worker.loss.scalar = arena_floats(arena, N);
    worker.loss.dscalar = arena_floats(arena, N);
    return worker;
}

static void trainer_layout(Trainer *trainer, Arena *arena)
{
    const int shards = trainer->shards, threads = trainer->threads;
    trainer->gradient = arena_push(arena, (size_t)shards, sizeof *trainer->gradient);
    trainer->worker = arena_push(arena, (size_t)threads, sizeof *trainer->worker);
    trainer->sums = arena_doubles(arena, (size_t)trainer->blocks_capacity * TRAINER_SUMS);
    trainer->square = arena_doubles(arena, chunks_of(trainer->model));
    for (int t = 0; t < threads; t++) {
        const TrainerWorker worker = worker_layout(arena, trainer->model->shape, trainer->rows,
                                                   trainer->longest, shards > 0);
        if (trainer->worker != NULL) trainer->worker[t] = worker;
    }
}

static Status trainer_claim(Trainer *trainer)
{
    Arena plan = arena_measure();
    trainer_layout(trainer, &plan);
    TRY(arena_init(&trainer->arena, plan.used));
    trainer_layout(trainer, &trainer->arena);
    if (trainer->shards == 0) return STATUS_OK;
    TRY(adamw_init(&trainer->adamw, trainer->model));
    for (int s = 0; s < trainer->shards; s++) {
        TRY(model_init(&trainer->gradient[s], trainer->model->shape));
    }
    return STATUS_OK;
}

Status trainer_init(Trainer *trainer, Model *model, int shards, int threads, int rows, int longest,
                    int blocks)
{
    assert(shards >= 0 && threads >= 1 && rows >= 0 && longest <= rows);
    *trainer = (Trainer){
        .model = model,
        .shards = shards,
        .threads = threads,
        .rows = rows,
        .longest = longest,
        .blocks_capacity = blocks > 0 ? blocks : 1,
    };
    const Status status = trainer_claim(trainer);
    if (status != STATUS_OK) trainer_free(trainer);
    return status_context(status, "training %zu weights with %d threads and %d shards",
                          model->count, threads, shards);
}

void trainer_free(Trainer *trainer)
{
    for (int s = 0; trainer->gradient != NULL && s < trainer->shards; s++) {
        model_free(&trainer->gradient[s]);
    }
    adamw_free(&trainer->adamw);
    arena_free(&trainer->arena);
    *trainer = (Trainer){0};
}

/* One pass over blocks: index[0..count) of the plan, or `first` .. first + count where it is NULL.
 */
typedef struct Pass {
    Trainer *trainer;
    const Sequences *sequences;
    const BlockPlan *plan;
    const int *index;
    int first, count;
    TrainerLoss *loss;
    void *context;
} Pass;

/* Forward, loss and (with a gradient) backward of the k-th block of the pass. */
static Status pass_block(const Pass *pass, int k, int worker, Model *gradient)
{
    Trainer *trainer = pass->trainer;
    TrainerWorker *own = &trainer->worker[worker];
    double *sums = trainer->sums + (ptrdiff_t)k * TRAINER_SUMS;
    memset(sums, 0, sizeof *sums * TRAINER_SUMS);
    block_fill(&own->block, pass->plan, pass->index != NULL ? pass->index[k] : pass->first + k,
               pass->sequences);
    if (own->block.rows == 0) return STATUS_OK;

    TrainerBlock block = own->loss;
    block.model = trainer->model;
    block.gradient = gradient;
    block.activations = &own->activations;
    block.block = &own->block;
    transformer_forward(&own->activations, trainer->model, &own->block);
    TRY(pass->loss(pass->context, sums, &block));
    if (gradient != NULL) {
        transformer_backward(gradient, &own->activations, trainer->model, &own->block);
    }
    return STATUS_OK;
}

static Status measure_block(void *context, int item, int worker)
{
    return pass_block(context, item, worker, NULL);
}

/* Shard s computes blocks [s count / shards, (s + 1) count / shards) of the minibatch, in order. */
static Status shard_gradient(void *context, int shard, int worker)
{
    const Pass *pass = context;
    const Trainer *trainer = pass->trainer;
    Model *gradient = &trainer->gradient[shard];
    memset(gradient->flat, 0, sizeof *gradient->flat * gradient->count);
    const int64_t count = pass->count;
    const int first = (int)(shard * count / trainer->shards);
    const int end = (int)((shard + 1) * count / trainer->shards);
    for (int k = first; k < end; k++) TRY(pass_block(pass, k, worker, gradient));
    return STATUS_OK;
}

/* Sums the shards' gradients into gradient[0] by pairs: (0 + 1) + (2 + 3), and so on. */
static Status reduce_chunk(void *context, int item, int worker)
{
    (void)worker;
    Trainer *trainer = context;
    const size_t first = (size_t)item * TRAINER_CHUNK;
    const size_t left = trainer->model->count - first;
    const int n = (int)(left < TRAINER_CHUNK ? left : TRAINER_CHUNK);
    for (int stride = 1; stride < trainer->shards; stride *= 2) {
        for (int s = 0; s + stride < trainer->shards; s += 2 * stride) {
            add_scaled_row(trainer->gradient[s].flat + first, 1.0f,
                           trainer->gradient[s + stride].flat + first, n);
        }
    }
    trainer->square[item] = sum_of_squares(trainer->gradient[0].flat + first, n);
    return STATUS_OK;
}

static void add_sums(double sums[TRAINER_SUMS], const Trainer *trainer, int count)
{
    for (int k = 0; k < count; k++) {
        for (int i = 0; i < TRAINER_SUMS; i++) sums[i] += trainer->sums[k * TRAINER_SUMS + i];
    }
}

Status trainer_gradient(double sums[TRAINER_SUMS], Trainer *trainer, const Sequences *sequences,
                        const BlockPlan *plan, const int *index, int count, TrainerLoss *loss,
                        void *context)
{
    assert(trainer->shards > 0 && count <= trainer->blocks_capacity);
    assert(plan->rows <= trainer->rows && plan->longest <= trainer->longest);
    Pass pass = {trainer, sequences, plan, index, 0, count, loss, context};
    memset(sums, 0, sizeof *sums * TRAINER_SUMS);
    TRY(parallel_for(trainer->shards, trainer->threads, shard_gradient, &pass));
    add_sums(sums, trainer, count);
    return parallel_for((int)chunks_of(trainer->model), trainer->threads, reduce_chunk, trainer);
}

/* Names the tensor that element `at` belongs to. */
static Status name_diverged(const char *what, const Model *model, size_t at)
{
    char name[128];
    size_t place;
    model_weight_at(name, &place, model->shape, at);
    return status_fail(STATUS_DIVERGED, "%s of %s is not finite", what, name);
}

/* The global norm of gradient[0]. A square of a finite float is a finite double, so a chunk's sum
 * says whether anything in it is not finite. */
static Status gradient_norm(double *norm, const Trainer *trainer)
{
    const Model *gradient = &trainer->gradient[0];
    const size_t chunks = chunks_of(trainer->model);
    double square = 0.0;
    for (size_t c = 0; c < chunks; c++) square += trainer->square[c];
    *norm = sqrt(square);
    if (!not_finite(square)) return STATUS_OK;
    for (size_t i = 0; i < gradient->count; i++) {
        if (not_finite((double)gradient->flat[i])) return name_diverged("gradient", gradient, i);
    }
    return STATUS_OK;
}

/* AdamW squares what is left of a gradient after clipping. An infinite second moment would hold its
 * weight still for good, and nothing later would show it. */
static Status check_square(double norm, double scale)
{
    const double square = norm * scale * norm * scale;
    if (square <= (double)FLT_MAX) return STATUS_OK;
    return status_fail(STATUS_DIVERGED, "the gradient's norm is %g: its square overflows", norm);
}

/* Exponents of all ones, in one pass that the compiler can put in vector registers. */
static Status check_weights(const Model *model)
{
    const uint32_t exponent = UINT32_C(0xff) << 23;
    int bad = 0;
    for (size_t i = 0; i < model->count; i++) {
        uint32_t bits;
        memcpy(&bits, &model->flat[i], sizeof bits);
        bad |= (bits & exponent) == exponent;
    }
    for (size_t i = 0; bad != 0 && i < model->count; i++) {
        if (not_finite((double)model->flat[i])) return name_diverged("weight", model, i);
    }
    return STATUS_OK;
}

Status trainer_step(double sums[TRAINER_SUMS], double *norm, Trainer *trainer,
                    const Sequences *sequences, const BlockPlan *plan, const int *index, int count,
                    TrainerLoss *loss, void *context, const OptimiserConfig *config, double rate)
{
    *norm = NAN;
    trainer->skipped = trainer->refused = false;
    Status found = trainer_gradient(sums, trainer, sequences, plan, index, count, loss, context);
    for (int i = 0; found != STATUS_OK && i < TRAINER_SUMS; i++) sums[i] = NAN;
    if (found == STATUS_OK) found = gradient_norm(norm, trainer);
    const double most = config->max_grad_norm;
    const double scale = most > 0.0 && *norm > most ? most / *norm : 1.0;
    if (found == STATUS_OK) found = check_square(*norm, scale);
    if (found != STATUS_OK && found != STATUS_DIVERGED) return found;
    const double value = trainer->units > 0.0 ? sums[0] / trainer->units : sums[0];
    const Status judged = guard_judge(&trainer->skipped, &trainer->guard, found, value, config);
    trainer->refused = judged != STATUS_OK;
    if (trainer->skipped) return judged;

    adamw_update(&trainer->adamw, trainer->model, trainer->gradient[0].flat, scale, config, rate,
                 trainer->threads);
    return check_weights(trainer->model);
}

Status trainer_measure(double sums[TRAINER_SUMS], Trainer *trainer, const Sequences *sequences,
                       const BlockPlan *plan, TrainerLoss *loss, void *context)
{
    assert(plan->rows <= trainer->rows && plan->longest <= trainer->longest);
    memset(sums, 0, sizeof *sums * TRAINER_SUMS);
    for (int first = 0; first < plan->blocks; first += trainer->blocks_capacity) {
        const int left = plan->blocks - first;
        const int count = left < trainer->blocks_capacity ? left : trainer->blocks_capacity;
        Pass pass = {trainer, sequences, plan, NULL, first, count, loss, context};
        TRY(parallel_for(count, trainer->threads, measure_block, &pass));
        add_sums(sums, trainer, count);
    }
    return STATUS_OK;
}
