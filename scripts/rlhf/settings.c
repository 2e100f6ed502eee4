#include "scripts/rlhf/settings.h"

#include "data/io.h"
#include "scripts/rlhf/presets.h"

#include <string.h>

enum { SETTINGS_BYTES = 1 << 20 };

static const ConfigField top_fields[] = {
    FIELD_INTEGER(Settings, seed, 1, 0, 9007199254740992.0,
                  "all randomness follows from it; equal settings and seed give equal bytes"),
    {.name = "break",
     .type = CONFIG_STRING,
     .offset = offsetof(Settings, fault),
     .text = "",
     .quiet = true,
     .help = "a known mistake made on purpose, see rlhf break --list; empty: none"},
};

static const ConfigField rollout_fields[] = {
    FIELD_INTEGER(RolloutConfig, text_rows, 64, 0, 1e6,
                  "answers that each rollout file also holds as text"),
};

static const ConfigField doctor_fields[] = {
    FIELD_FLAG(DoctorConfig, gates, 1,
               "stop before PPO where a gate of rlhf doctor fails; it changes no result"),
};

static const ConfigField option_fields[] = {
    FIELD_INTEGER(Options, threads, 0, 0, 1024, "threads; 0: the CPUs the process may use"),
    FIELD_REAL(Options, checkpoint_seconds, 30, 0, 1e9,
               "a checkpoint at least this often, seconds; 0: only at the end and on a signal"),
    FIELD_INTEGER(Options, keep_every, 0, 0, 1e9,
                  "keep a PPO checkpoint for good every so many steps; 0: a tenth of the run"),
    FIELD_REAL(Options, max_hours, 0, 0, 1e6, "commit and stop after so many hours; 0: never"),
    FIELD_FLAG(Options, tensorboard, true, "event files for TensorBoard beside metrics.jsonl"),
    FIELD_FLAG(Options, check_room, true,
               "do not begin where disk or memory will not do, by rlhf run --dry-run's estimate"),
    FIELD_STRING(Options, out, "", "the run directory"),
};

enum { SECTIONS = 11 };

static ConfigSection placed(ConfigSection section, size_t offset)
{
    section.offset = offset;
    return section;
}

ConfigTable settings_table(void)
{
    static ConfigSection sections[SECTIONS];
    sections[0] = (ConfigSection){"", top_fields, sizeof top_fields / sizeof top_fields[0], 0,
                                  "the whole run"};
    sections[1] = placed(task_section, offsetof(Settings, task));
    sections[2] = placed(model_section, offsetof(Settings, model));
    sections[3] = placed(pretrain_section, offsetof(Settings, pretrain));
    sections[4] = placed(sft_section, offsetof(Settings, sft));
    sections[5] = placed(label_section, offsetof(Settings, label));
    sections[6] = placed(reward_section, offsetof(Settings, reward));
    sections[7] = placed(ppo_section, offsetof(Settings, ppo));
    sections[8] = placed(evaluate_section, offsetof(Settings, evaluate));
    sections[9] = (ConfigSection){"rollout", rollout_fields, 1, offsetof(Settings, rollout),
                                  "what rollout files hold for people"};
    sections[10] = (ConfigSection){"doctor", doctor_fields, 1, offsetof(Settings, doctor),
                                   "whether broken stages stop a run"};
    return (ConfigTable){sections, SECTIONS};
}

ConfigTable options_table(void)
{
    static const ConfigSection section = {"", option_fields,
                                          sizeof option_fields / sizeof option_fields[0], 0,
                                          "options: they change no result"};
    return (ConfigTable){&section, 1};
}

static const ConfigField *field_of(const ConfigTable *table, const char *key, size_t length)
{
    for (size_t s = 0; s < table->count; s++) {
        const ConfigSection *section = &table->sections[s];
        const size_t prefix = section->name[0] == '\0' ? 0 : strlen(section->name) + 1;
        if (prefix > length || (prefix > 0 && (key[prefix - 1] != '.' ||
                                               strncmp(key, section->name, prefix - 1) != 0))) {
            continue;
        }
        for (size_t f = 0; f < section->count; f++) {
            const char *name = section->fields[f].name;
            if (strlen(name) == length - prefix &&
                strncmp(key + prefix, name, length - prefix) == 0) {
                return &section->fields[f];
            }
        }
    }
    return NULL;
}

const ConfigField *settings_field(const char *key, size_t length)
{
    const ConfigTable settings = settings_table(), options = options_table();
    const ConfigField *field = field_of(&settings, key, length);
    return field != NULL ? field : field_of(&options, key, length);
}

static Status apply(Settings *settings, JsonDocument *document)
{
    const ConfigTable table = settings_table();
    config_defaults(&table, settings);
    const Status status = config_apply(&table, settings, json_root(document));
    json_free(document);
    return status;
}

Status settings_read(Settings *settings, const char *path)
{
    JsonDocument *document;
    TRY(json_read(&document, STATUS_SETTINGS, path, SETTINGS_BYTES, NULL));
    return apply(settings, document);
}

Status settings_load(Settings *settings, const char *source)
{
    const Preset *preset = preset_find(source);
    if (preset != NULL) {
        JsonDocument *document;
        TRY(json_parse(&document, STATUS_SETTINGS, preset->name, preset->text,
                       strlen(preset->text)));
        return apply(settings, document);
    }
    const size_t length = strlen(source);
    const bool file = length > 5 && strcmp(source + length - 5, ".json") == 0;
    if (file || io_exists(source)) return settings_read(settings, source);
    return preset_unknown(source);
}

Status settings_of_run(Settings *settings, const char *run)
{
    char path[STAGE_PATH];
    TRY(path_join(path, run, "config.json"));
    if (!io_exists(path)) {
        return status_fail(STATUS_DATA,
                           "%s: missing; make it with: rlhf config new PRESET --out %s", path, run);
    }
    return settings_read(settings, path);
}

Status settings_set(Settings *settings, Options *options, const char *assignment)
{
    const ConfigTable own = settings_table(), option = options_table();
    const size_t key = strcspn(assignment, "=");
    if (field_of(&option, assignment, key) != NULL) {
        return config_set(&option, options, assignment);
    }
    return config_set(&own, settings, assignment);
}

Status settings_check(const Settings *settings)
{
    const ModelConfig *model = &settings->model;
    if (model->channels % model->heads != 0) {
        return status_fail(STATUS_SETTINGS, "model.heads = %lld: must divide model.channels = %lld",
                           (long long)model->heads, (long long)model->channels);
    }
    if (settings->task.response_tokens >= model->positions) {
        return status_fail(STATUS_SETTINGS,
                           "task.response_tokens = %lld: must be below model.positions = %lld",
                           (long long)settings->task.response_tokens, (long long)model->positions);
    }
    if (settings->pretrain.context > model->positions) {
        return status_fail(STATUS_SETTINGS,
                           "pretrain.context = %lld: must be at most model.positions = %lld",
                           (long long)settings->pretrain.context, (long long)model->positions);
    }
    TRY(ppo_config_check(&settings->ppo));
    const Fault *fault;
    return fault_find(&fault, settings->fault, &settings->ppo);
}

Status settings_text(Bytes *out, const Settings *settings)
{
    const ConfigTable table = settings_table();
    return config_write(out, &table, settings, NULL);
}
