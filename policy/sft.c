#include "policy/sft.h"

#include "data/prompts.h"
#include "data/rng.h"
#include "policy/inputs.h"
#include "policy/language_stage.h"

#include <math.h>

enum { HELD_OUT_MAX = 256 };

static const ConfigField sft_fields[] = {
    FIELD_INTEGER(SftConfig, epochs, 2, 1, 10000, "passes over the demonstrations"),
    FIELD_INTEGER(SftConfig, batch, 64, 1, 65536, "demonstrations a step"),
    FIELD_INTEGER(SftConfig, shards, 8, 1, 256,
                  "parts of a minibatch that threads may work on at once"),
    FIELD_INTEGER(SftConfig, evaluate_every, 25, 0, 1e9,
                  "steps between losses on held-out demonstrations; 0: only at the end"),
    OPTIMISER_FIELDS(SftConfig, optimiser, "", 1e-3, 10, 0.1, 0.95, 1e-8, 0.1),
};

const ConfigSection sft_section = {
    .name = "sft",
    .fields = sft_fields,
    .count = sizeof sft_fields / sizeof sft_fields[0],
    .help = "stage 2: fine-tuning on demonstrations, loss on the response only",
};

static const MetricInfo sft_rows[LANGUAGE_METRICS] = {
    LANGUAGE_METRIC_ROWS,
    {"heldout/floor", "nats a token",
     "-(log-probability of the world's own answers) / their tokens",
     "response tokens of held-out demonstrations", 0, NAN,
     "heldout/loss below it: the held-out demonstrations were seen"},
};

const MetricTable sft_metrics = {.metrics = sft_rows, .count = LANGUAGE_METRICS};

/* The demonstrations, and the blocks of every minibatch of every epoch, cut before step 0. */
typedef struct Demonstrations {
    Sequences train, held_out;
    Sequences train_labels, held_out_labels; /* only where the job alters them */
    BlockPlan *plan;                         /* (steps) members are indices into `train` */
    int64_t *tokens;                         /* (steps) */
    int64_t steps;
} Demonstrations;

static void demonstrations_free(Demonstrations *demonstrations)
{
    for (int64_t s = 0; demonstrations->plan != NULL && s < demonstrations->steps; s++) {
        block_plan_free(&demonstrations->plan[s]);
    }
    memory_release(demonstrations->plan);
    memory_release(demonstrations->tokens);
    sequences_free(&demonstrations->train);
    sequences_free(&demonstrations->held_out);
    sequences_free(&demonstrations->train_labels);
    sequences_free(&demonstrations->held_out_labels);
}

/* ---- what the stage reads ---- */

static Status read_demonstrations(Demonstrations *demonstrations, const Task *task,
                                  const Tokenizer *tokenizer, int positions)
{
    const TaskKind *kind = task->kind;
    const int64_t train = kind->demonstration_count(task, TASK_TRAIN);
    const int64_t held_out = kind->demonstration_count(task, TASK_HELD_OUT);
    if (train == 0) {
        return status_fail(STATUS_DATA, "task %s: there are no demonstrations to fine-tune on",
                           kind->name);
    }
    TRY(demonstrations_read(&demonstrations->train, task, tokenizer, TASK_TRAIN, 0, train,
                            positions));
    return status_context(
        demonstrations_read(&demonstrations->held_out, task, tokenizer, TASK_HELD_OUT, 0,
                            held_out < HELD_OUT_MAX ? held_out : HELD_OUT_MAX, positions),
        "held out");
}

static Status alter_labels(Sequences *labels, const Sequences *sequences, const SftJob *job)
{
    for (int i = 0; i < sequences->count; i++) {
        const int32_t *token = sequences->token + sequences->offset[i];
        TRY(sequences_add(labels, token, sequences->prompt[i], token + sequences->prompt[i],
                          sequences_response(sequences, i)));
    }
    job->alter_labels(labels);
    return STATUS_OK;
}

/* Minus the log-probability that the world itself gives its held-out answers, nats a token. */
static Status measure_floor(double *nats, const Task *task, const Sequences *held_out,
                            const Tokenizer *tokenizer)
{
    *nats = NAN;
    if (task->kind->log_probability == NULL || held_out->count == 0) return STATUS_OK;
    Bytes prompt = {0}, response = {0};
    double sum = 0.0, tokens = 0.0;
    Status status = STATUS_OK;
    for (int i = 0; i < held_out->count && status == STATUS_OK; i++) {
        TaskAnswer answer;
        status = answer_read(&answer, &prompt, &response, held_out, i, tokenizer);
        if (status == STATUS_OK) sum -= task->kind->log_probability(task, &answer);
        tokens += (double)sequences_response(held_out, i);
    }
    *nats = sum / tokens;
    bytes_free(&prompt);
    bytes_free(&response);
    return status;
}

/* ---- minibatches ---- */

/* Cuts minibatch `step` out of order[0..count). */
static Status cut_minibatch(Demonstrations *demonstrations, int64_t step, int32_t *length,
                            const int *order, int count, int shards)
{
    BlockPlan *plan = &demonstrations->plan[step];
    for (int i = 0; i < count; i++) {
        length[i] = (int32_t)sequences_length(&demonstrations->train, order[i]);
        demonstrations->tokens[step] += length[i];
    }
    TRY(block_plan_cut(plan, length, count, 1, shards));
    for (int i = 0; i < count; i++) plan->member[i] = order[plan->member[i]];
    return STATUS_OK;
}

static Status cut_minibatches(Demonstrations *demonstrations, const SftJob *job)
{
    const int count = demonstrations->train.count, batch = (int)job->config->batch;
    const int a_pass = (count + batch - 1) / batch;
    void *plan, *tokens, *order_block = NULL, *length = NULL;
    demonstrations->steps = job->config->epochs * a_pass;
    TRY(memory_claim(&plan, sizeof *demonstrations->plan * (size_t)demonstrations->steps));
    demonstrations->plan = plan;
    TRY(memory_claim(&tokens, sizeof *demonstrations->tokens * (size_t)demonstrations->steps));
    demonstrations->tokens = tokens;
    Status status = memory_claim(&order_block, sizeof(int) * (size_t)count);
    if (status == STATUS_OK) status = memory_claim(&length, sizeof(int32_t) * (size_t)count);
    int *order = order_block;
    for (int64_t step = 0; step < demonstrations->steps && status == STATUS_OK; step++) {
        const int first = (int)(step % a_pass) * batch, left = count - first;
        if (first == 0) {
            Rng rng =
                rng_stream(job->stage->seed, RNG_SFT, RNG_ORDER, (uint64_t)(step / a_pass), 0, 0);
            for (int i = 0; i < count; i++) order[i] = i;
            rng_shuffle(&rng, order, count);
        }
        status = cut_minibatch(demonstrations, step, length, order + first,
                               left < batch ? left : batch, (int)job->config->shards);
    }
    memory_release(order_block);
    memory_release(length);
    return status;
}

static Status draw_demonstrations(void *context, LanguageBatch *batch, int64_t step)
{
    const Demonstrations *demonstrations = context;
    const bool altered = demonstrations->train_labels.count > 0;
    *batch = (LanguageBatch){
        .sequences = &demonstrations->train,
        .plan = &demonstrations->plan[step],
        .tokens = demonstrations->tokens[step],
        .labels = altered ? &demonstrations->train_labels : NULL,
    };
    return STATUS_OK;
}

/* ---- the stage ---- */

static Status prepare(LanguageStage *language, Demonstrations *demonstrations,
                      Tokenizer **tokenizer, const SftJob *job)
{
    TRY(stage_read_tokenizer(tokenizer, job->stage->run, "pretrain"));
    const ModelShape expected = {.vocabulary = tokenizer_vocabulary(*tokenizer)};
    TRY(input_network(&language->model, job->stage->run, "pretrain", "policy", &expected));
    TRY(read_demonstrations(demonstrations, job->task, *tokenizer,
                            language->model.shape.positions));
    TRY(measure_floor(&language->own_value, job->task, &demonstrations->held_out, *tokenizer));
    if (job->alter_labels != NULL) {
        TRY(alter_labels(&demonstrations->train_labels, &demonstrations->train, job));
        TRY(alter_labels(&demonstrations->held_out_labels, &demonstrations->held_out, job));
        language->held_out_labels = &demonstrations->held_out_labels;
    }
    TRY(cut_minibatches(demonstrations, job));
    language->tokenizer = *tokenizer;
    language->steps = demonstrations->steps;
    for (int64_t s = 0; s < demonstrations->steps; s++) {
        const BlockPlan *plan = &demonstrations->plan[s];
        if (plan->rows > language->rows) language->rows = plan->rows;
        if (plan->longest > language->longest) language->longest = plan->longest;
        if (plan->blocks > language->blocks) language->blocks = plan->blocks;
    }
    return STATUS_OK;
}

Status sft_run(const SftJob *job)
{
    Demonstrations demonstrations = {0};
    Tokenizer *tokenizer = NULL;
    LanguageStage language = {
        .stage = job->stage,
        .optimiser = &job->config->optimiser,
        .evaluate_every = job->config->evaluate_every,
        .shards = (int)job->config->shards,
        .response_only = true,
        .held_out = &demonstrations.held_out,
        .draw = draw_demonstrations,
        .context = &demonstrations,
    };
    Status status = stage_open(job->stage, &sft_metrics);
    if (status == STATUS_OK) status = prepare(&language, &demonstrations, &tokenizer, job);
    if (status == STATUS_OK) status = language_stage_run(&language);
    stage_close(job->stage);
    model_free(&language.model);
    demonstrations_free(&demonstrations);
    tokenizer_free(tokenizer);
    return status;
}
