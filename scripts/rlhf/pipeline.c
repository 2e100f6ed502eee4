#include "scripts/rlhf/pipeline.h"

#include "data/json.h"
#include "scripts/rlhf/versions.h"

#include <string.h>

/* Changes when stages compute something else from the same settings. */
enum { FORMAT_VERSION = 2 };

/* The mistake that this stage is to make; NULL: none. */
static const Fault *fault_of(const Settings *settings, const char *stage)
{
    const Fault *fault;
    if (fault_find(&fault, settings->fault, &settings->ppo) != STATUS_OK) return NULL;
    return fault != NULL && strcmp(fault->stage, stage) == 0 ? fault : NULL;
}

static Status run_pretrain(const Pipeline *pipeline, Stage *stage)
{
    const PretrainJob job = {.stage = stage,
                             .task = &pipeline->task,
                             .model = &pipeline->settings->model,
                             .config = &pipeline->settings->pretrain};
    return pretrain_run(&job);
}

static Status run_sft(const Pipeline *pipeline, Stage *stage)
{
    const Fault *fault = fault_of(pipeline->settings, "sft");
    const SftJob job = {.stage = stage,
                        .task = &pipeline->task,
                        .config = &pipeline->settings->sft,
                        .alter_labels = fault != NULL ? fault->labels : NULL};
    return sft_run(&job);
}

static Status run_label(const Pipeline *pipeline, Stage *stage)
{
    const LabelJob job = {
        .stage = stage, .task = &pipeline->task, .config = &pipeline->settings->label};
    return label_run(&job);
}

static Status run_reward(const Pipeline *pipeline, Stage *stage)
{
    const Fault *fault = fault_of(pipeline->settings, "reward");
    const RewardJob job = {.stage = stage,
                           .task = &pipeline->task,
                           .config = &pipeline->settings->reward,
                           .sampling_temperature = pipeline->settings->label.sampling_temperature,
                           .alter_answers = fault != NULL ? fault->answers : NULL};
    return reward_run(&job);
}

PpoJob pipeline_ppo_job(const Pipeline *pipeline, Stage *stage)
{
    return (PpoJob){.stage = stage,
                    .task = &pipeline->task,
                    .config = &pipeline->settings->ppo,
                    .sources = stage->sources,
                    .text_rows = pipeline->settings->rollout.text_rows,
                    .fault = fault_of(pipeline->settings, "ppo"),
                    .keep_every = pipeline->options->keep_every};
}

static Status run_ppo(const Pipeline *pipeline, Stage *stage)
{
    const PpoJob job = pipeline_ppo_job(pipeline, stage);
    return ppo_run(&job);
}

static Status run_evaluate(const Pipeline *pipeline, Stage *stage)
{
    const EvaluateJob job = {.stage = stage,
                             .task = &pipeline->task,
                             .config = &pipeline->settings->evaluate,
                             .temperature = pipeline->settings->ppo.temperature};
    return evaluate_run(&job);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

const PipelineStage pipeline_stages[STAGES] = {
    {"pretrain", LIST("", "task", "model", "pretrain"), (const char *const[]){NULL},
     &pretrain_metrics, run_pretrain},
    {"sft", LIST("", "task", "sft"), LIST("pretrain"), &sft_metrics, run_sft},
    {"label", LIST("", "task", "label"), LIST("sft"), &label_metrics, run_label},
    {"reward", LIST("", "task", "label", "reward"), LIST("sft", "label"), &reward_metrics,
     run_reward},
    {"ppo", LIST("", "task", "ppo", "rollout"), LIST("sft", "reward"), &ppo_metrics, run_ppo},
    {"evaluate", LIST("", "task", "ppo", "evaluate"),
     LIST("pretrain", "sft", "label", "reward", "ppo"), &evaluate_metrics, run_evaluate},
};

Status pipeline_find(int *index, const char *name)
{
    const char *names[STAGES];
    for (int i = 0; i < STAGES; i++) {
        names[i] = pipeline_stages[i].name;
        if (strcmp(name, names[i]) == 0) {
            *index = i;
            return STATUS_OK;
        }
    }
    const char *near = config_nearest(name, names, STAGES);
    if (near != NULL) {
        return status_fail(STATUS_USAGE, "%s: no such stage; did you mean %s?", name, near);
    }
    return status_fail(STATUS_USAGE,
                       "%s: no such stage; there are pretrain, sft, label, reward, ppo, evaluate",
                       name);
}

Status pipeline_open(Pipeline *pipeline)
{
    TRY(settings_check(pipeline->settings));
    TRY(settings_text(&pipeline->config, pipeline->settings));
    TRY(task_open(&pipeline->task, &pipeline->settings->task, (uint64_t)pipeline->settings->seed));
    return task_data_digest(&pipeline->data, &pipeline->task);
}

void pipeline_close(Pipeline *pipeline)
{
    task_close(&pipeline->task);
    pipeline->task = (Task){0};
    bytes_free(&pipeline->config);
}

static Status manifest_path(char path[STAGE_PATH], char folder[STAGE_PATH], const char *run,
                            const char *stage)
{
    TRY(path_join(folder, run, stage));
    return path_join(path, folder, "manifest.json");
}

/* The digest of the manifest of an input stage. */
static Status put_input(JsonWriter *json, const Pipeline *pipeline, const char *stage)
{
    char path[STAGE_PATH], folder[STAGE_PATH], hex[DIGEST_TEXT];
    TRY(manifest_path(path, folder, pipeline->run, stage));
    if (!io_exists(path)) {
        return status_fail(STATUS_DATA, "%s: missing; run: rlhf %s %s", path, stage, pipeline->run);
    }
    Manifest manifest = {0};
    TRY(manifest_read(&manifest, folder));
    digest_text(hex, manifest.own);
    json_put_text(json, stage, hex);
    return STATUS_OK;
}

/* The settings that count, in the same places as in config.json. A fault counts for the stage that
 * makes the mistake; the others see it in their inputs. */
static Status put_settings(JsonWriter *json, const Settings *all, const PipelineStage *stage)
{
    const ConfigTable table = settings_table();
    const Fault *fault = fault_of(all, stage->name);
    Settings settings = *all;
    snprintf(settings.fault, sizeof settings.fault, "%s", fault != NULL ? fault->name : "");
    Bytes text = {0};
    JsonDocument *document = NULL;
    Status status = config_write(&text, &table, &settings, stage->sections);
    if (status == STATUS_OK) {
        status = json_parse(&document, STATUS_SETTINGS, "settings", text.data, text.count);
    }
    if (status == STATUS_OK) {
        Json member = json_first(json_root(document));
        for (; member.item != NULL; member = json_next(member)) {
            json_put_value(json, json_key(member), member);
        }
    }
    json_free(document);
    bytes_free(&text);
    return status;
}

Status pipeline_sources(Bytes *text, const Pipeline *pipeline, int index)
{
    const PipelineStage *stage = &pipeline_stages[index];
    char hex[DIGEST_TEXT];
    digest_text(hex, pipeline->data);
    JsonWriter json = json_writer(text, 2);
    json_open(&json, NULL, '{');
    json_put_integer(&json, "format", FORMAT_VERSION);
    json_put_text(&json, "stage", stage->name);
    json_put_text(&json, "data", hex);
    json_open(&json, "inputs", '{');
    for (const char *const *input = stage->inputs; *input != NULL; input++) {
        TRY(put_input(&json, pipeline, *input));
    }
    json_close(&json);
    TRY(put_settings(&json, pipeline->settings, stage));
    json_close(&json);
    return json_done(&json);
}

Status pipeline_made_from(Digest *digest, const Pipeline *pipeline, int index)
{
    Bytes text = {0};
    const Status status = pipeline_sources(&text, pipeline, index);
    if (status == STATUS_OK) *digest = digest_of(text.data, text.count);
    bytes_free(&text);
    return status;
}

static Status inputs_are_there(bool *there, const Pipeline *pipeline, int index)
{
    char path[STAGE_PATH], folder[STAGE_PATH];
    *there = true;
    for (const char *const *input = pipeline_stages[index].inputs; *input != NULL; input++) {
        TRY(manifest_path(path, folder, pipeline->run, *input));
        *there = *there && io_exists(path);
    }
    return STATUS_OK;
}

Status pipeline_state(StageState *state, const Pipeline *pipeline, int index)
{
    char path[STAGE_PATH], folder[STAGE_PATH];
    TRY(manifest_path(path, folder, pipeline->run, pipeline_stages[index].name));
    if (!io_exists(path)) {
        *state = io_exists(folder) ? STAGE_BEGUN : STAGE_MISSING;
        return STATUS_OK;
    }
    Manifest manifest = {0};
    const Status readable = manifest_read(&manifest, folder);
    *state = readable == STATUS_DATA ? STAGE_DAMAGED : STAGE_CHANGED;
    if (readable != STATUS_OK) return readable == STATUS_DATA ? STATUS_OK : readable;
    bool there;
    TRY(inputs_are_there(&there, pipeline, index));
    if (!there) return STATUS_OK;
    Digest digest;
    const Status known = pipeline_made_from(&digest, pipeline, index);
    if (known == STATUS_DATA) return STATUS_OK; /* an input is damaged */
    TRY(known);
    if (digest_equal(digest, manifest.made_from)) *state = STAGE_FINISHED;
    return STATUS_OK;
}

Status pipeline_stage(Stage *stage, PipelineSources *sources, const Pipeline *pipeline, int index)
{
    *sources = (PipelineSources){0};
    versions_made_by(sources->made_by);
    const Status status = pipeline_sources(&sources->text, pipeline, index);
    if (status != STATUS_OK) {
        bytes_free(&sources->text);
        return status;
    }
    *stage = (Stage){.name = pipeline_stages[index].name,
                     .run = pipeline->run,
                     .seed = (uint64_t)pipeline->settings->seed,
                     .threads = (int)pipeline->options->threads,
                     .checkpoint_seconds = pipeline->options->checkpoint_seconds,
                     .hooks = pipeline->hooks,
                     .tensorboard = pipeline->options->tensorboard,
                     .config = pipeline->config.data,
                     .made_from = digest_of(sources->text.data, sources->text.count),
                     .sources = sources->text.data,
                     .made_by = sources->made_by};
    return STATUS_OK;
}

Status pipeline_run_stage(const Pipeline *pipeline, int index)
{
    Stage stage;
    PipelineSources sources;
    TRY(pipeline_stage(&stage, &sources, pipeline, index));
    const Status status = pipeline_stages[index].run(pipeline, &stage);
    bytes_free(&sources.text);
    return status;
}

Status pipeline_forget(const char *run, int index)
{
    for (int i = index; i < STAGES; i++) {
        char path[STAGE_PATH], folder[STAGE_PATH];
        TRY(manifest_path(path, folder, run, pipeline_stages[i].name));
        TRY(io_remove(path)); /* first, so that a stage half removed is not a finished one */
        TRY(io_remove_tree(folder));
    }
    return STATUS_OK;
}
