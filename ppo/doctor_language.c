/* Gates of the language model: has it learned to speak, and then to answer? */
#include "ppo/doctor_checks.h"

#include "data/json.h"
#include "data/memory.h"
#include "data/prompts.h"
#include "data/tasks/task.h"

#include <math.h>

enum { CONFIG_BYTES = 1 << 20 };

/* Of what is left by knowing only how often each token comes; a language model knows more. */
static const double beyond_counting = 0.8;
/* Nats a token above the best that any model could do. */
static const double far_from_floor = 0.25;

/* ---- pretraining ---- */

/* Adds the tokens of `documents` to count[vocabulary]. */
static Status count_tokens(double *count, const Tokenizer *tokenizer, const Texts *documents)
{
    Tokens tokens = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < documents->count && status == STATUS_OK; i++) {
        size_t bytes;
        const char *text = texts_at(documents, i, &bytes);
        tokens.count = 0;
        status = tokenizer_encode(&tokens, tokenizer, text, bytes);
        for (size_t t = 0; t < tokens.count; t++) count[tokens.id[t]] += 1.0;
        count[tokenizer_end(tokenizer)] += 1.0;
    }
    tokens_free(&tokens);
    return status;
}

static double entropy_of(const double *count, int kinds)
{
    double sum = 0.0, weighted = 0.0;
    for (int v = 0; v < kinds; v++) {
        sum += count[v];
        if (count[v] > 0.0) weighted += count[v] * log(count[v]);
    }
    return sum > 0.0 ? log(sum) - weighted / sum : NAN;
}

static Status measure_counting(double *nats, const Tokenizer *tokenizer, const Task *task)
{
    void *count;
    Texts documents = {0};
    const int kinds = tokenizer_vocabulary(tokenizer);
    TRY(memory_claim(&count, (size_t)kinds * sizeof(double)));
    Status status = task->kind->documents(&documents, task, TASK_HELD_OUT);
    if (status == STATUS_OK) status = count_tokens(count, tokenizer, &documents);
    if (status == STATUS_OK) *nats = entropy_of(count, kinds);
    texts_free(&documents);
    memory_release(count);
    return status;
}

static Status read_task(TaskConfig *config, const char *run)
{
    char path[PATH_TEXT];
    JsonDocument *document;
    TRY(path_join(path, run, "config.json"));
    TRY(json_read(&document, STATUS_DATA, path, CONFIG_BYTES, NULL));
    ConfigSection section = task_section;
    section.name = "";
    const ConfigTable table = {&section, 1};
    config_defaults(&table, config);
    Json settings;
    Status status = json_get(&settings, json_root(document), "task");
    if (status == STATUS_OK) status = config_apply(&table, config, settings);
    json_free(document);
    return status;
}

/* The entropy of single tokens of held-out text, nats. */
static Status token_entropy(double *nats, const char *run)
{
    TaskConfig config;
    Task task = {0};
    Tokenizer *tokenizer;
    TRY(read_task(&config, run));
    TRY(stage_read_tokenizer(&tokenizer, run, "pretrain"));
    Status status = task_open(&task, &config, 0);
    if (status == STATUS_OK) status = measure_counting(nats, tokenizer, &task);
    task_close(&task);
    tokenizer_free(tokenizer);
    return status;
}

static const Check learned = {
    "pretrain", "language", FINDING_FAILED,
    "the language model knows hardly more than how often each token comes",
    "--set pretrain.steps=... (more), or another pretrain.learning_rate"};

/* The held-out loss, or the last batch's where nothing is held out. */
static double loss_of(const MetricColumns *columns)
{
    const double held_out = doctor_last(columns, "heldout/loss");
    return isnan(held_out) ? doctor_last(columns, "loss") : held_out;
}

Status doctor_pretrain(Examination *examination)
{
    MetricColumns columns = {0};
    double counting = NAN;
    TRY(doctor_journal(&columns, examination, "pretrain"));
    const double begun = doctor_first(&columns, "loss"), left = loss_of(&columns);
    metric_columns_free(&columns);
    TRY(token_entropy(&counting, examination->run));
    if (isnan(counting)) counting = begun;
    doctor_note(examination->diagnosis, &learned, !(left < beyond_counting * counting), 0,
                "held-out loss %.2f nats a token; knowing how often each comes leaves %.2f", left,
                counting);
    return STATUS_OK;
}

/* ---- fine-tuning ---- */

static const Check near_floor = {
    "sft", "answers", FINDING_FAILED,
    "the policy does not speak like the demonstrations: too little of them, or wrong labels",
    "--set sft.epochs=... (more), sft.learning_rate; look at what the loss is taken over"};

static void note_loss(Examination *examination, const MetricColumns *columns)
{
    const double loss = loss_of(columns), first = doctor_first(columns, "loss");
    const double floor = doctor_last(columns, "heldout/floor");
    if (isnan(floor)) {
        doctor_note(examination->diagnosis, &near_floor, !(loss <= first), 0,
                    "held-out loss %.2f nats a token; the first batch had %.2f", loss, first);
        return;
    }
    doctor_note(examination->diagnosis, &near_floor, !(loss - floor <= far_from_floor), 0,
                "held-out loss %.2f nats a token, %.2f above the floor of %.2f", loss, loss - floor,
                floor);
}

Status doctor_sft(Examination *examination)
{
    MetricColumns columns = {0};
    TRY(doctor_journal(&columns, examination, "sft"));
    note_loss(examination, &columns);
    metric_columns_free(&columns);
    return STATUS_OK;
}
