#include "policy/pretrain.h"

#include "data/rng.h"
#include "policy/language_stage.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Prompts that the tokenizer is trained on beside the documents, and windows of held-out text. */
enum { PROMPTS_TAUGHT = 2000, HELD_OUT_WINDOWS = 64 };

static const ConfigField model_fields[] = {
    FIELD_INTEGER(ModelConfig, channels, 64, 1, 8192, "width of the residual stream"),
    FIELD_INTEGER(ModelConfig, layers, 2, 1, 256, "transformer layers"),
    FIELD_INTEGER(ModelConfig, heads, 4, 1, 256, "attention heads; divides channels"),
    FIELD_INTEGER(ModelConfig, positions, 64, 2, 65536, "longest sequence, in tokens"),
};

const ConfigSection model_section = {
    .name = "model",
    .fields = model_fields,
    .count = sizeof model_fields / sizeof model_fields[0],
    .help = "the network's shape: GPT-2's architecture",
};

static const ConfigField pretrain_fields[] = {
    FIELD_INTEGER(PretrainConfig, steps, 600, 1, 1e9, "updates"),
    FIELD_INTEGER(PretrainConfig, batch, 64, 1, 65536, "windows of text a step"),
    FIELD_INTEGER(PretrainConfig, context, 0, 0, 65536,
                  "tokens a window; 0: the model's positions"),
    FIELD_INTEGER(PretrainConfig, shards, 8, 1, 256,
                  "parts of a minibatch that threads may work on at once"),
    FIELD_INTEGER(PretrainConfig, evaluate_every, 100, 0, 1e9,
                  "steps between losses on held-out text; 0: only at the end"),
    OPTIMISER_FIELDS(PretrainConfig, optimiser, "", 3e-3, 40, 0.1, 0.95, 1e-8, 0.1),
};

const ConfigSection pretrain_section = {
    .name = "pretrain",
    .fields = pretrain_fields,
    .count = sizeof pretrain_fields / sizeof pretrain_fields[0],
    .help = "stage 1: next-token loss on the task's text",
};

static const MetricInfo pretrain_rows[LANGUAGE_METRICS] = {
    LANGUAGE_METRIC_ROWS,
    {"bits_per_byte", "bits a byte", "held-out nats / (ln 2 * held-out bytes)",
     "bytes of held-out text", 0, 8, "above 8: worse than no model at all"},
};

const MetricTable pretrain_metrics = {.metrics = pretrain_rows, .count = LANGUAGE_METRICS};

/* Windows of the stream of documents. All windows have one length, so one plan serves all steps. */
typedef struct Windows {
    uint64_t seed;
    int length;
    Tokens text;
    Sequences batch;
    BlockPlan plan;
    Sequences held_out;
} Windows;

static void windows_free(Windows *windows)
{
    tokens_free(&windows->text);
    sequences_free(&windows->batch);
    block_plan_free(&windows->plan);
    sequences_free(&windows->held_out);
}

/* ---- the text ---- */

static Status add_prompts(Texts *texts, const Task *task)
{
    const int64_t demonstrations = task->kind->demonstration_count(task, TASK_TRAIN);
    const int64_t count = demonstrations < PROMPTS_TAUGHT ? demonstrations : PROMPTS_TAUGHT;
    Bytes prompt = {0}, response = {0};
    Status status = STATUS_OK;
    for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
        bytes_clear(&prompt);
        bytes_clear(&response);
        status = task->kind->demonstration(&prompt, &response, task, TASK_TRAIN, i);
        if (status == STATUS_OK) status = texts_add(texts, prompt.data, prompt.count);
    }
    bytes_free(&prompt);
    bytes_free(&response);
    return status;
}

/* The task's own words, or a BPE of its documents and prompts: prompts are not pretrained on, but
 * should cost few tokens later. */
static Status make_tokenizer(Tokenizer **tokenizer, const Task *task, const Texts *documents)
{
    if (task->kind->words != NULL) {
        const char *const *words;
        int count;
        TRY(task->kind->words(&words, &count, task));
        return tokenizer_words(tokenizer, words, count);
    }
    Texts texts = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < documents->count && status == STATUS_OK; i++) {
        size_t count;
        const char *text = texts_at(documents, i, &count);
        status = texts_add(&texts, text, count);
    }
    if (status == STATUS_OK) status = add_prompts(&texts, task);
    if (status == STATUS_OK) {
        status = tokenizer_train(tokenizer, &texts, (int)task->config->vocabulary);
    }
    texts_free(&texts);
    return status;
}

/* All documents end to end, each followed by <|endoftext|>. */
static Status encode_documents(Tokens *tokens, const Tokenizer *tokenizer, const Texts *documents)
{
    for (int i = 0; i < documents->count; i++) {
        size_t count;
        const char *text = texts_at(documents, i, &count);
        TRY(status_context(tokenizer_encode(tokens, tokenizer, text, count), "document %d", i));
        TRY(tokens_add(tokens, tokenizer_end(tokenizer)));
    }
    return STATUS_OK;
}

static Status read_text(Tokenizer **tokenizer, Tokens *tokens, const Task *task)
{
    Texts documents = {0};
    Status status = task->kind->documents(&documents, task, TASK_TRAIN);
    if (status == STATUS_OK && documents.bytes.count == 0) {
        status =
            status_fail(STATUS_DATA, "task %s: there is no text to pretrain on", task->kind->name);
    }
    if (status == STATUS_OK) status = make_tokenizer(tokenizer, task, &documents);
    if (status == STATUS_OK) status = encode_documents(tokens, *tokenizer, &documents);
    texts_free(&documents);
    return status;
}

/* Windows of held-out text, one after another; *bytes: of all tokens but the first of each. */
static Status cut_held_out(Windows *windows, double *bytes, const Task *task,
                           const Tokenizer *tokenizer)
{
    Texts documents = {0};
    Tokens tokens = {0};
    Bytes text = {0};
    Status status = task->kind->documents(&documents, task, TASK_HELD_OUT);
    if (status == STATUS_OK) status = encode_documents(&tokens, tokenizer, &documents);
    const size_t length = (size_t)windows->length;
    for (size_t i = 0; i < HELD_OUT_WINDOWS && status == STATUS_OK; i++) {
        if ((i + 1) * length > tokens.count) break;
        const int32_t *window = tokens.id + i * length;
        status = sequences_add(&windows->held_out, NULL, 0, window, windows->length);
        if (status == STATUS_OK) {
            status = tokenizer_decode(&text, tokenizer, window + 1, length - 1);
        }
    }
    *bytes = (double)text.count;
    texts_free(&documents);
    tokens_free(&tokens);
    bytes_free(&text);
    return status;
}

/* ---- minibatches ---- */

static Status windows_prepare(Windows *windows, const PretrainJob *job)
{
    const int64_t positions = job->model->positions, wanted = job->config->context;
    windows->seed = job->stage->seed;
    windows->length = (int)(wanted > 0 ? wanted : positions);
    if (wanted > positions) {
        return status_fail(STATUS_SETTINGS,
                           "pretrain.context = %" PRId64 ": model.positions is %" PRId64, wanted,
                           positions);
    }
    if (windows->length < 2) {
        return status_fail(STATUS_SETTINGS, "pretrain.context = %" PRId64 ": must be at least 2",
                           wanted);
    }
    if (windows->text.count < (size_t)windows->length) {
        return status_fail(STATUS_DATA, "task %s: %zu tokens of text, a window needs %d",
                           job->task->kind->name, windows->text.count, windows->length);
    }
    const int batch = (int)job->config->batch;
    void *length;
    TRY(memory_claim(&length, sizeof(int32_t) * (size_t)batch));
    Status status = STATUS_OK;
    for (int i = 0; i < batch && status == STATUS_OK; i++) {
        ((int32_t *)length)[i] = windows->length;
        status = sequences_add(&windows->batch, NULL, 0, windows->text.id, windows->length);
    }
    if (status == STATUS_OK) {
        status = block_plan_cut(&windows->plan, length, batch, 1, (int)job->config->shards);
    }
    memory_release(length);
    return status;
}

/* Minibatch `step`: windows at random offsets of the text. */
static Status draw_windows(void *context, LanguageBatch *batch, int64_t step)
{
    Windows *windows = context;
    const size_t length = (size_t)windows->length;
    const double offsets = (double)(windows->text.count - length + 1);
    for (int i = 0; i < windows->batch.count; i++) {
        Rng rng =
            rng_stream(windows->seed, RNG_PRETRAIN, RNG_ORDER, (uint64_t)step, (uint64_t)i, 0);
        const size_t offset = (size_t)(rng_uniform(&rng) * offsets);
        memcpy(windows->batch.token + (size_t)i * length, windows->text.id + offset,
               length * sizeof(int32_t));
    }
    *batch = (LanguageBatch){.sequences = &windows->batch,
                             .plan = &windows->plan,
                             .tokens = sequences_tokens(&windows->batch)};
    return STATUS_OK;
}

/* ---- the stage ---- */

static Status start_model(Model *model, const PretrainJob *job, const Tokenizer *tokenizer)
{
    const ModelShape shape = {
        .vocabulary = tokenizer_vocabulary(tokenizer),
        .positions = (int)job->model->positions,
        .channels = (int)job->model->channels,
        .heads = (int)job->model->heads,
        .layers = (int)job->model->layers,
        .causal = true,
        .head = HEAD_LANGUAGE,
    };
    TRY(model_init(model, shape));
    model_randomise(model, job->stage->seed, RNG_PRETRAIN, false);
    return STATUS_OK;
}

static Status prepare(LanguageStage *language, Windows *windows, Tokenizer **tokenizer,
                      const PretrainJob *job)
{
    double bytes;
    TRY(read_text(tokenizer, &windows->text, job->task));
    TRY(windows_prepare(windows, job));
    TRY(cut_held_out(windows, &bytes, job->task, *tokenizer));
    TRY(start_model(&language->model, job, *tokenizer));
    language->tokenizer = *tokenizer;
    language->rows = windows->plan.rows;
    language->longest = windows->plan.longest;
    language->blocks = windows->plan.blocks;
    const double targets = (double)windows->held_out.count * (windows->length - 1);
    language->own_value = targets / (log(2.0) * bytes);
    return STATUS_OK;
}

Status pretrain_run(const PretrainJob *job)
{
    Windows windows = {0};
    Tokenizer *tokenizer = NULL;
    LanguageStage language = {
        .stage = job->stage,
        .optimiser = &job->config->optimiser,
        .steps = job->config->steps,
        .evaluate_every = job->config->evaluate_every,
        .shards = (int)job->config->shards,
        .response_only = false,
        .held_out = &windows.held_out,
        .draw = draw_windows,
        .context = &windows,
        .own_scales_loss = true,
    };
    Status status = stage_open(job->stage, &pretrain_metrics);
    if (status == STATUS_OK) status = prepare(&language, &windows, &tokenizer, job);
    if (status == STATUS_OK) status = language_stage_run(&language);
    stage_close(job->stage);
    model_free(&language.model);
    windows_free(&windows);
    tokenizer_free(tokenizer);
    return status;
}
