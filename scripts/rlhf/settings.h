/* Every setting of the program in one struct and one table, gathered from the floors; and the
 * options.
 *
 * Settings change results: they stand in config.json and are hashed. Options change none: they
 * stand in run.json and nowhere else. --set accepts both. */
#ifndef SCRIPTS_RLHF_SETTINGS_H
#define SCRIPTS_RLHF_SETTINGS_H

#include "data/config.h"
#include "data/tasks/task.h"
#include "policy/pretrain.h"
#include "policy/sft.h"
#include "ppo/evaluate.h"
#include "ppo/ppo_train.h"
#include "reward/labeller.h"
#include "reward/reward_model.h"

typedef struct RolloutConfig {
    int64_t text_rows;
} RolloutConfig;

typedef struct DoctorConfig {
    bool gates;
} DoctorConfig;

typedef struct Settings {
    int64_t seed;
    char fault[CONFIG_TEXT]; /* "break": a mistake made on purpose (ppo/faults.h); "" none */
    TaskConfig task;
    ModelConfig model;
    PretrainConfig pretrain;
    SftConfig sft;
    LabelConfig label;
    RewardConfig reward;
    PpoConfig ppo;
    EvaluateConfig evaluate;
    RolloutConfig rollout;
    DoctorConfig doctor;
} Settings;

typedef struct Options {
    int64_t threads;           /* 0: the CPUs the process may use */
    double checkpoint_seconds;
    int64_t keep_every;
    double max_hours;          /* 0: no limit */
    bool tensorboard;          /* event files beside metrics.jsonl */
    bool check_room;           /* refuse where disk or memory will not do */
    char out[CONFIG_TEXT];
} Options;

ConfigTable settings_table(void);
ConfigTable options_table(void);
/* The field that "ppo.kl_coef" names, of settings or options; NULL: none. */
const ConfigField *settings_field(const char *key, size_t length);

/* Defaults, then the preset or file that `source` names. */
Status settings_load(Settings *settings, const char *source);
/* Defaults, then the file at `path`. */
Status settings_read(Settings *settings, const char *path);
/* DIR/config.json; missing: STATUS_DATA that says how to make it. */
Status settings_of_run(Settings *settings, const char *run);
/* One --set, of a setting or an option. */
Status settings_set(Settings *settings, Options *options, const char *assignment);
/* Values that only make sense together. STATUS_SETTINGS. */
Status settings_check(const Settings *settings);
/* The resolved config.json. */
Status settings_text(Bytes *out, const Settings *settings);

#endif
