#include "policy/language_stage.h"

#include "policy/language_loss.h"
#include "policy/network_file.h"
#include "policy/trainer.h"

#include <inttypes.h>
#include <math.h>

/* What the loop needs beside the job; all made before step 0. */
typedef struct Loop {
    LanguageStage *job;
    Trainer trainer;
    BlockPlan held_out; /* blocks of the held-out sequences */
    AdamW moments;      /* read from a checkpoint, until the trainer takes them over */
    int *index;         /* 0, 1, ... one a block: a minibatch is all blocks of its plan */
    double tokens;      /* worked through so far */
} Loop;

static Status cut_held_out(Loop *loop)
{
    const Sequences *sequences = loop->job->held_out;
    if (sequences->count == 0) return STATUS_OK;
    void *length;
    TRY(memory_claim(&length, sizeof(int32_t) * (size_t)sequences->count));
    for (int i = 0; i < sequences->count; i++) {
        ((int32_t *)length)[i] = (int32_t)sequences_length(sequences, i);
    }
    const Status status =
        block_plan_cut(&loop->held_out, length, sequences->count, 1, loop->job->shards);
    memory_release(length);
    return status;
}

/* The trainer, and on resuming the weights and moments of the checkpoint. */
static Status start(Loop *loop)
{
    LanguageStage *job = loop->job;
    if (job->stage->resumed) {
        const ModelShape shape = job->model.shape;
        model_free(&job->model);
        TRY(network_read(&job->model, &loop->moments, job->stage->checkpoint, "policy",
                         &job->stage->checkpoint_manifest, &shape));
    }
    TRY(cut_held_out(loop));
    const BlockPlan *plan = &loop->held_out;
    const int rows = plan->rows > job->rows ? plan->rows : job->rows;
    const int longest = plan->longest > job->longest ? plan->longest : job->longest;
    const int blocks = plan->blocks > job->blocks ? plan->blocks : job->blocks;
    TRY(trainer_init(&loop->trainer, &job->model, job->shards, job->stage->threads, rows, longest,
                     blocks));
    if (job->stage->resumed) {
        adamw_free(&loop->trainer.adamw);
        loop->trainer.adamw = loop->moments;
        loop->moments = (AdamW){0};
        TRY(guard_read(&loop->trainer.guard, job->stage->checkpoint, "policy",
                       &job->stage->checkpoint_manifest));
    }
    void *index;
    TRY(memory_claim(&index, sizeof *loop->index * (size_t)blocks));
    loop->index = index;
    for (int i = 0; i < blocks; i++) loop->index[i] = i;
    return STATUS_OK;
}

static Status measure_held_out(double *value, Loop *loop)
{
    const LanguageStage *job = loop->job;
    if (job->held_out->count == 0) return STATUS_OK;
    double sums[TRAINER_SUMS] = {0};
    LanguageLoss loss = {
        .sequences = job->held_out_labels != NULL ? job->held_out_labels : job->held_out,
        .response_only = job->response_only,
        .tokens = 1.0,
    };
    TRY(trainer_measure(sums, &loop->trainer, job->held_out, &loop->held_out, language_loss,
                        &loss));
    value[LANGUAGE_HELD_OUT] = sums[0] / sums[1];
    value[LANGUAGE_OWN] =
        job->own_scales_loss ? job->own_value * value[LANGUAGE_HELD_OUT] : job->own_value;
    /* The last update's weights meet no other pass than this one. */
    if (sums[1] > 0.0 && not_finite(value[LANGUAGE_HELD_OUT])) {
        return status_fail(STATUS_DIVERGED, "the held-out loss is %g", value[LANGUAGE_HELD_OUT]);
    }
    return STATUS_OK;
}

static Status one_step(Loop *loop, int64_t step)
{
    const LanguageStage *job = loop->job;
    double value[LANGUAGE_METRICS], sums[TRAINER_SUMS] = {0};
    LanguageBatch batch;
    for (int i = 0; i < LANGUAGE_METRICS; i++) value[i] = NAN;
    TRY(job->draw(job->context, &batch, step));
    const Sequences *labels = batch.labels != NULL ? batch.labels : batch.sequences;
    LanguageLoss loss = {
        .sequences = labels,
        .response_only = job->response_only,
        .tokens = language_targets(labels, batch.plan, loop->index, batch.plan->blocks,
                                   job->response_only),
    };
    value[LANGUAGE_RATE] = schedule_rate(job->optimiser, step, job->steps);
    loop->trainer.units = loss.tokens;
    TRY(trainer_step(sums, &value[LANGUAGE_NORM], &loop->trainer, batch.sequences, batch.plan,
                     loop->index, batch.plan->blocks, language_loss, &loss, job->optimiser,
                     value[LANGUAGE_RATE]));
    value[LANGUAGE_SKIPPED] = guard_metric(&loop->trainer.guard);
    loop->tokens += (double)batch.tokens;
    value[LANGUAGE_LOSS] = sums[0] / sums[1];
    value[LANGUAGE_ACCURACY] = sums[2] / sums[1];
    value[LANGUAGE_TOKENS] = loop->tokens;

    const int64_t done = step + 1;
    const bool due = job->evaluate_every > 0 && done % job->evaluate_every == 0;
    if (due || done == job->steps) TRY(measure_held_out(value, loop));
    static const char *const shown[] = {"loss", "accuracy", NULL};
    return stage_record(job->stage, done, job->steps, batch.tokens, value, shown);
}

static Status checkpoint(void *context, int64_t step)
{
    Loop *loop = context;
    Stage *stage = loop->job->stage;
    char folder[STAGE_PATH], names[NETWORK_FILES_MAX + 1][128];
    const char *list[NETWORK_FILES_MAX + 1];
    int count = 0;
    TRY(stage_checkpoint_begin(stage, folder, step));
    TRY(network_write(names, &count, folder, "policy", loop->trainer.model, &loop->trainer.adamw,
                      tokenizer_end(loop->job->tokenizer)));
    TRY(guard_write(names, &count, folder, "policy", &loop->trainer.guard));
    for (int i = 0; i < count; i++) list[i] = names[i];
    return stage_checkpoint(stage, folder, step, list, count, NULL, 0);
}

static Status publish(Loop *loop)
{
    Stage *stage = loop->job->stage;
    char path[STAGE_PATH], names[NETWORK_FILES_MAX][128];
    const char *list[NETWORK_FILES_MAX + 1];
    int count = 0;
    TRY(network_write(names, &count, stage->folder, "policy", loop->trainer.model, NULL,
                      tokenizer_end(loop->job->tokenizer)));
    for (int i = 0; i < count; i++) list[i] = names[i];
    list[count++] = "tokenizer.json";
    TRY(path_join(path, stage->folder, "tokenizer.json"));
    TRY(tokenizer_write(loop->job->tokenizer, path));
    return stage_finish(stage, loop->job->steps, list, count, NULL, 0);
}

/* Tokens of the steps that a resumed stage has behind it. */
static Status count_tokens(Loop *loop, int64_t steps)
{
    for (int64_t step = 0; step < steps; step++) {
        LanguageBatch batch;
        TRY(loop->job->draw(loop->job->context, &batch, step));
        loop->tokens += (double)batch.tokens;
    }
    return STATUS_OK;
}

static Status all_steps(Loop *loop)
{
    LanguageStage *job = loop->job;
    TRY(start(loop));
    TRY(count_tokens(loop, job->stage->step));
    for (int64_t step = job->stage->step; step < job->steps; step++) {
        Status status = one_step(loop, step);
        status = loop->trainer.refused ? guard_keep(job->stage, step, checkpoint, loop)
                                       : guard_explain(job->stage, status, NULL);
        TRY(status_context(status, "step %" PRId64, step + 1));
        const int64_t done = step + 1;
        const bool stop = done < job->steps && stage_should_stop(job->stage);
        if (stop || stage_checkpoint_due(job->stage)) TRY(checkpoint(loop, done));
        if (stop) {
            return status_fail(STATUS_STOPPED, "stopped after step %" PRId64 " of %" PRId64, done,
                               job->steps);
        }
    }
    return publish(loop);
}

Status language_stage_run(LanguageStage *language)
{
    Loop loop = {.job = language};
    const Status status = all_steps(&loop);
    trainer_free(&loop.trainer);
    adamw_free(&loop.moments);
    block_plan_free(&loop.held_out);
    memory_release(loop.index);
    return status;
}
