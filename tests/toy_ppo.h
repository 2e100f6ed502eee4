/* The PPO stage on the toy world of tests/toy_run.h, for the tests of what it does and leaves. */
#ifndef TESTS_TOY_PPO_H
#define TESTS_TOY_PPO_H

#include "ppo/ppo_run.h"
#include "tests/toy_run.h"

/* A whole PPO stage on the toy world, small enough to run dozens of times. */
typedef struct Toy {
    char run[64];
    TaskKind kind;
    Task task;
    PpoConfig config;
    PpoJob job;
    Stage stage;
} Toy;

static inline void toy_publish_reward_model(const char *run, bool causal)
{
    const ModelShape shape = {.vocabulary = TOY_WORDS + 1,
                              .positions = TOY_POSITIONS,
                              .channels = 16,
                              .heads = 2,
                              .layers = 1,
                              .causal = causal,
                              .head = HEAD_SCORE};
    Model model = {0};
    assert_ok(model_init(&model, shape));
    model_randomise(&model, 12, RNG_TEST, false);
    model.reward_gain = 1.5f;
    model.reward_bias = 0.1f;
    Stage stage = toy_stage(run, "reward", 1);
    char names[NETWORK_FILES_MAX][128];
    const char *list[NETWORK_FILES_MAX];
    int count = 0;
    assert_ok(stage_open(&stage, &toy_metrics));
    assert_ok(network_write(names, &count, stage.folder, "model", &model, NULL, TOY_WORDS));
    for (int i = 0; i < count; i++) list[i] = names[i];
    assert_ok(stage_finish(&stage, 1, list, count, NULL, 0));
    stage_close(&stage);
    model_free(&model);
}

static inline PpoConfig toy_ppo_config(void)
{
    PpoConfig config;
    const ConfigTable table = {&ppo_section, 1};
    config_defaults(&table, &config);
    config.steps = 5;
    config.rollouts = 16;
    config.minibatches = 2;
    config.shards = 2;
    config.sample_every = 2;
    config.optimiser.learning_rate = 3e-3;
    config.critic_optimiser.learning_rate = 3e-3;
    return config;
}

static inline void toy_begin(Toy *toy)
{
    *toy = (Toy){.config = toy_ppo_config(), .kind = toy_kind()};
    toy->job.keep_every = 100;
    toy_run(toy->run);
    toy_publish_reward_model(toy->run, true);
}

/* One life of the stage. */
static inline Status toy_life(Toy *toy, int threads, StageHooks hooks)
{
    toy->task = (Task){.kind = &toy->kind, .config = &toy_config, .seed = 5};
    toy->stage = toy_stage(toy->run, "ppo", threads);
    toy->stage.hooks = hooks;
    toy->job.stage = &toy->stage;
    toy->job.task = &toy->task;
    toy->job.config = &toy->config;
    toy->job.sources = "{}";
    toy->job.text_rows = 4;
    return ppo_run(&toy->job);
}

static inline void toy_end(Toy *toy)
{
    assert_ok(io_remove_tree(toy->run));
}

static inline void toy_path(char path[600], const Toy *toy, const char *file)
{
    snprintf(path, 600, "%s/ppo/%s", toy->run, file);
}

#endif
