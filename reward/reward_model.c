#include "reward/reward_model.h"

#include "data/arena.h"
#include "data/memory.h"
#include "data/parallel.h"
#include "policy/blocks.h"
#include "policy/transformer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static int last_row(const Block *block, int sequence)
{
    return block->start[sequence + 1] - 1;
}

/* rows (sequences, C): the hidden state of each sequence's last token. */
static void gather_last(float *rows, const float *hidden, const Block *block, int channels)
{
    const size_t C = (size_t)channels;
    for (int s = 0; s < block->sequences; s++) {
        memcpy(rows + (size_t)s * C, hidden + (size_t)last_row(block, s) * C, sizeof *rows * C);
    }
}

/* Gradients of the last rows back to their places; nothing flows into any other row. */
static void scatter_last(float *dhidden, const float *drows, const Block *block, int channels)
{
    const size_t C = (size_t)channels;
    memset(dhidden, 0, sizeof *dhidden * (size_t)block->rows * C);
    for (int s = 0; s < block->sequences; s++) {
        memcpy(dhidden + (size_t)last_row(block, s) * C, drows + (size_t)s * C, sizeof *drows * C);
    }
}

Status preference_loss(void *context, double sums[TRAINER_SUMS], TrainerBlock *b)
{
    const PreferenceLoss *loss = context;
    const Block *block = b->block;
    const int n = block->sequences, C = b->model->shape.channels;
    gather_last(b->rows, b->activations->hidden, block, C);
    scalar_head_forward(b->scalar, b->rows, b->model, n);

    for (int s = 0; s < n; s += 2) {
        const double chosen = b->scalar[s], rejected = b->scalar[s + 1];
        if (!isfinite(chosen) || !isfinite(rejected)) {
            return status_fail(STATUS_DIVERGED, "pair %d: scores are %g and %g",
                               block->member[s] / 2, chosen, rejected);
        }
        double dchosen, drejected;
        sums[0] += bradley_terry_pair(&dchosen, &drejected, chosen, rejected, loss->config->margin,
                                      loss->config);
        loss->score[block->member[s]] = chosen;
        loss->score[block->member[s + 1]] = rejected;
        b->dscalar[s] = (float)(dchosen / loss->pairs);
        b->dscalar[s + 1] = (float)(drejected / loss->pairs);
    }
    if (b->gradient == NULL) return STATUS_OK;
    scalar_head_backward(b->drows, b->gradient, b->dscalar, b->rows, b->model, n);
    scatter_last(b->activations->dhidden, b->drows, block, C);
    return STATUS_OK;
}

/* ---- scoring ---- */

typedef struct ScoreWorker {
    Activations activations;
    Block block;
    float *rows, *head; /* (sequences, C), (sequences) */
} ScoreWorker;

typedef struct Scoring {
    const Model *model;
    const Sequences *sequences;
    BlockPlan plan;
    int most; /* sequences in the fullest block */
    ScoreWorker *worker;
    float *score;
    const StageHooks *hooks; /* NULL: it is never left */
    Arena arena;
} Scoring;

static void scoring_layout(Scoring *s, Arena *arena, int threads)
{
    s->worker = arena_push(arena, (size_t)threads, sizeof *s->worker);
    for (int t = 0; t < threads; t++) {
        ScoreWorker measured, *worker = s->worker ? &s->worker[t] : &measured;
        activations_layout(&worker->activations, arena, s->model->shape, s->plan.rows,
                           s->plan.longest, false);
        block_layout(&worker->block, arena, s->plan.rows, s->most);
        worker->rows = arena_floats(arena, (size_t)s->most * (size_t)s->model->shape.channels);
        worker->head = arena_floats(arena, (size_t)s->most);
    }
}

static Status score_block(void *context, int item, int thread)
{
    const Scoring *s = context;
    TRY(stage_leave(s->hooks));
    ScoreWorker *w = &s->worker[thread];
    block_fill(&w->block, &s->plan, item, s->sequences);
    transformer_forward(&w->activations, s->model, &w->block);
    gather_last(w->rows, w->activations.hidden, &w->block, s->model->shape.channels);
    scalar_head_forward(w->head, w->rows, s->model, w->block.sequences);
    for (int i = 0; i < w->block.sequences; i++) {
        const float score = s->model->reward_gain * w->head[i] + s->model->reward_bias;
        if (!isfinite(score)) {
            return status_fail(STATUS_DIVERGED, "answer %d: its score is %g", w->block.member[i],
                               (double)score);
        }
        s->score[w->block.member[i]] = score;
    }
    return STATUS_OK;
}

static Status cut_blocks(BlockPlan *plan, const Sequences *sequences, int positions)
{
    void *block;
    TRY(memory_claim(&block, sizeof(int32_t) * (size_t)sequences->count));
    int32_t *length = block;
    Status status = STATUS_OK;
    for (int i = 0; i < sequences->count && status == STATUS_OK; i++) {
        length[i] = (int32_t)sequences_length(sequences, i);
        if (length[i] < 1 || length[i] > positions) {
            status =
                status_fail(STATUS_DATA, "answer %d: %d tokens, the reward model reads 1 to %d", i,
                            length[i], positions);
        }
    }
    if (status == STATUS_OK) status = block_plan_cut(plan, length, sequences->count, 1, 1);
    memory_release(block);
    return status;
}

static Status score_all(Scoring *s, int threads)
{
    TRY(cut_blocks(&s->plan, s->sequences, s->model->shape.positions));
    for (int b = 0; b < s->plan.blocks; b++) {
        const int count = s->plan.first[b + 1] - s->plan.first[b];
        if (count > s->most) s->most = count;
    }
    Arena measure = arena_measure();
    scoring_layout(s, &measure, threads);
    TRY(arena_init(&s->arena, measure.used));
    scoring_layout(s, &s->arena, threads);
    return parallel_for(s->plan.blocks, threads, score_block, s);
}

static Status score_answers(Scoring *scoring, int threads)
{
    if (scoring->sequences->count == 0) return STATUS_OK;
    const Status status = score_all(scoring, threads);
    arena_free(&scoring->arena);
    block_plan_free(&scoring->plan);
    return status;
}

Status reward_score(float *score, const Model *model, const Sequences *sequences, int threads)
{
    Scoring scoring = {.model = model, .sequences = sequences, .score = score};
    return score_answers(&scoring, threads);
}

Status reward_score_in(const Stage *stage, float *score, const Model *model,
                       const Sequences *sequences)
{
    Scoring scoring = {
        .model = model, .sequences = sequences, .score = score, .hooks = &stage->hooks};
    return score_answers(&scoring, stage->threads);
}
