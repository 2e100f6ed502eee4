#include "ppo/ppo_score.h"

#include "data/parallel.h"
#include "policy/transformer.h"
#include "ppo/kl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Scratch of one thread: one block. */
typedef struct ScoreWorker {
    Activations activations;
    Block block;
    float *rows;                      /* (rows, C) */
    float *logits, *reference_logits; /* (rows, V) */
    float *scalar;                    /* (rows) */
} ScoreWorker;

static void scorer_layout(PpoScorer *scorer, Arena *arena)
{
    const ModelShape shape = scorer->shape;
    const size_t rows = (size_t)scorer->rows;
    const size_t channels = (size_t)shape.channels, vocabulary = (size_t)shape.vocabulary;
    ScoreWorker *workers = arena_push(arena, (size_t)scorer->threads, sizeof *workers);
    for (int w = 0; w < scorer->threads; w++) {
        ScoreWorker measured = {0};
        ScoreWorker *worker = workers != NULL ? &workers[w] : &measured;
        activations_layout(&worker->activations, arena, shape, scorer->rows, scorer->longest,
                           false);
        block_layout(&worker->block, arena, scorer->rows, scorer->rows);
        worker->rows = arena_floats(arena, rows * channels);
        worker->logits = arena_floats(arena, rows * vocabulary);
        worker->reference_logits = arena_floats(arena, rows * vocabulary);
        worker->scalar = arena_floats(arena, rows);
    }
    scorer->worker = workers;
}

Status ppo_scorer_init(PpoScorer *scorer, ModelShape shape, int rows, int longest, int threads)
{
    *scorer = (PpoScorer){.threads = threads, .rows = rows, .longest = longest, .shape = shape};
    Arena plan = arena_measure();
    scorer_layout(scorer, &plan);
    TRY(arena_init(&scorer->arena, plan.used));
    scorer_layout(scorer, &scorer->arena);
    return STATUS_OK;
}

void ppo_scorer_free(PpoScorer *scorer)
{
    arena_free(&scorer->arena);
    *scorer = (PpoScorer){0};
}

bool response_next(ResponseToken *at, const Block *block, const Sequences *sequences)
{
    at->place++;
    while (at->sequence < 0 ||
           at->place >= block->start[at->sequence + 1] - block->start[at->sequence]) {
        at->sequence++;
        if (at->sequence == block->sequences) return false;
        at->place = sequences->prompt[block->member[at->sequence]];
    }
    at->row = block->start[at->sequence] + at->place - 1;
    at->token = sequences->offset[block->member[at->sequence]] + at->place;
    return true;
}

int response_rows(float *rows, const float *hidden, const Block *block, const Sequences *sequences,
                  int channels)
{
    const size_t width = (size_t)channels;
    ResponseToken at = RESPONSE_START;
    int n = 0;
    for (; response_next(&at, block, sequences); n++) {
        memcpy(rows + (size_t)n * width, hidden + (size_t)at.row * width, width * sizeof *rows);
    }
    return n;
}

void response_rows_back(const TrainerBlock *block, const Sequences *sequences)
{
    const size_t width = (size_t)block->model->shape.channels;
    float *dhidden = block->activations->dhidden;
    memset(dhidden, 0, (size_t)block->block->rows * width * sizeof *dhidden);
    ResponseToken at = RESPONSE_START;
    for (size_t i = 0; response_next(&at, block->block, sequences); i++) {
        memcpy(dhidden + (size_t)at.row * width, block->drows + i * width, width * sizeof *dhidden);
    }
}

typedef struct ScoreContext {
    const PpoScorer *scorer;
    const PpoScores *scores;
    const PpoNetworks *networks;
    const Sequences *sequences;
    const BlockPlan *plan;
    double temperature;
} ScoreContext;

/* Logits of the rows that predict response tokens. */
static void block_logits(float *logits, ScoreWorker *worker, const Model *model,
                         const Sequences *sequences)
{
    transformer_forward(&worker->activations, model, &worker->block);
    const int n = response_rows(worker->rows, worker->activations.hidden, &worker->block, sequences,
                                model->shape.channels);
    language_head_forward(logits, worker->rows, model, n);
}

static void score_policy(const ScoreContext *context, ScoreWorker *worker)
{
    const PpoScores *scores = context->scores;
    const int32_t *id = context->sequences->token;
    const int V = context->scorer->shape.vocabulary;
    block_logits(worker->logits, worker, context->networks->policy, context->sequences);
    ResponseToken at = RESPONSE_START;
    for (size_t i = 0; response_next(&at, &worker->block, context->sequences); i++) {
        const TokenScore score = token_score(NULL, worker->logits + i * (size_t)V, V,
                                             context->temperature, id[at.token]);
        if (scores->logp != NULL) scores->logp[at.token] = (float)score.logp;
        if (scores->entropy != NULL) scores->entropy[at.token] = score.entropy;
    }
}

/* After score_policy, whose logits it compares with. */
static void score_reference(const ScoreContext *context, ScoreWorker *worker)
{
    const PpoScores *scores = context->scores;
    const int32_t *id = context->sequences->token;
    const int V = context->scorer->shape.vocabulary;
    const bool both = context->networks->policy != NULL && scores->kl_exact != NULL;
    block_logits(worker->reference_logits, worker, context->networks->reference,
                 context->sequences);
    ResponseToken at = RESPONSE_START;
    for (size_t i = 0; response_next(&at, &worker->block, context->sequences); i++) {
        const float *row = worker->reference_logits + i * (size_t)V;
        if (scores->reference_logp != NULL) {
            scores->reference_logp[at.token] =
                (float)token_score(NULL, row, V, context->temperature, id[at.token]).logp;
        }
        if (both) {
            scores->kl_exact[at.token] =
                kl_exact(worker->logits + i * (size_t)V, row, V, context->temperature);
        }
    }
}

static void score_values(const ScoreContext *context, ScoreWorker *worker)
{
    const Model *critic = context->networks->critic;
    transformer_forward(&worker->activations, critic, &worker->block);
    const int n = response_rows(worker->rows, worker->activations.hidden, &worker->block,
                                context->sequences, critic->shape.channels);
    scalar_head_forward(worker->scalar, worker->rows, critic, n);
    ResponseToken at = RESPONSE_START;
    for (int i = 0; response_next(&at, &worker->block, context->sequences); i++) {
        context->scores->value[at.token] = worker->scalar[i];
    }
}

static void score_answers(const ScoreContext *context, ScoreWorker *worker)
{
    const Model *model = context->networks->reward_model;
    const Block *block = &worker->block;
    const size_t channels = (size_t)model->shape.channels;
    transformer_forward(&worker->activations, model, block);
    for (int s = 0; s < block->sequences; s++) {
        const float *last =
            worker->activations.hidden + (size_t)(block->start[s + 1] - 1) * channels;
        memcpy(worker->rows + (size_t)s * channels, last, channels * sizeof *last);
    }
    scalar_head_forward(worker->scalar, worker->rows, model, block->sequences);
    for (int s = 0; s < block->sequences; s++) {
        context->scores->raw_score[block->member[s]] =
            (float)((double)model->reward_gain * (double)worker->scalar[s] +
                    (double)model->reward_bias);
    }
}

static Status check_finite(const float *array, int member, ResponseToken at, const char *what)
{
    if (array == NULL || isfinite(array[at.token])) return STATUS_OK;
    return status_fail(STATUS_DIVERGED, "sequence %d, token %d: %s is %g", member, at.place, what,
                       (double)array[at.token]);
}

static Status check_block(const ScoreContext *context, const Block *block)
{
    const PpoScores *scores = context->scores;
    const PpoNetworks *networks = context->networks;
    ResponseToken at = RESPONSE_START;
    while (response_next(&at, block, context->sequences)) {
        const int member = block->member[at.sequence];
        if (networks->policy != NULL) TRY(check_finite(scores->logp, member, at, "logp"));
        if (networks->reference != NULL) {
            TRY(check_finite(scores->reference_logp, member, at, "reference_logp"));
        }
        if (networks->critic != NULL) TRY(check_finite(scores->value, member, at, "value"));
    }
    for (int s = 0; networks->reward_model != NULL && s < block->sequences; s++) {
        const float score = scores->raw_score[block->member[s]];
        if (!isfinite(score)) {
            return status_fail(STATUS_DIVERGED, "sequence %d: raw_score is %g", block->member[s],
                               (double)score);
        }
    }
    return STATUS_OK;
}

static Status score_block(void *opaque, int index, int thread)
{
    const ScoreContext *context = opaque;
    ScoreWorker *worker = &context->scorer->worker[thread];
    TRY(stage_leave(context->scorer->hooks));
    block_fill(&worker->block, context->plan, index, context->sequences);
    if (worker->block.sequences == 0) return STATUS_OK;
    if (context->networks->policy != NULL) score_policy(context, worker);
    if (context->networks->reference != NULL) score_reference(context, worker);
    if (context->networks->critic != NULL) score_values(context, worker);
    if (context->networks->reward_model != NULL) score_answers(context, worker);
    return check_block(context, &worker->block);
}

Status ppo_score(const PpoScorer *scorer, const PpoScores *scores, const PpoNetworks *networks,
                 const Sequences *sequences, const BlockPlan *plan, double temperature)
{
    assert(plan->rows <= scorer->rows && plan->longest <= scorer->longest);
    ScoreContext context = {.scorer = scorer,
                            .scores = scores,
                            .networks = networks,
                            .sequences = sequences,
                            .plan = plan,
                            .temperature = temperature};
    return parallel_for(plan->blocks, scorer->threads, score_block, &context);
}
