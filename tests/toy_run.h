/* A run directory small enough for a test: seven words, a gold that adds up what words are worth,
 * and an untrained policy that says all of them about equally often. */
#ifndef TESTS_TOY_RUN_H
#define TESTS_TOY_RUN_H

#include "data/rng.h"
#include "data/stage.h"
#include "data/tasks/task.h"
#include "data/tokenizer.h"
#include "policy/gemm.h"
#include "policy/model.h"
#include "policy/network_file.h"

enum { TOY_WORDS = 6, TOY_POSITIONS = 16, TOY_ANSWER = 6 };
static const char *const toy_word[TOY_WORDS] = {"item", "good", "fine", "plain", "poor", "bad"};
static const double toy_worth[TOY_WORDS] = {0.125, 1.0, 0.5, 0.0, -0.5, -1.0};

/* Prompt i: "item", once, twice or three times. */
static Status toy_prompt(Bytes *prompt, const Task *task, TaskSplit split, int64_t index)
{
    (void)task;
    (void)split;
    TRY(bytes_text(prompt, "item"));
    for (int64_t i = 0; i < index % 3; i++) TRY(bytes_text(prompt, " item"));
    return STATUS_OK;
}

static double toy_gold(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    double gold = answer->terminated ? 0.0 : -0.25;
    for (size_t i = 0; i < answer->response_count;) {
        for (int w = 0; w < TOY_WORDS; w++) {
            const size_t n = strlen(toy_word[w]);
            if (answer->response_count - i >= n &&
                memcmp(answer->response + i, toy_word[w], n) == 0) {
                gold += toy_worth[w];
                i += n - 1;
                break;
            }
        }
        i++;
    }
    return gold;
}

static inline TaskKind toy_kind(void)
{
    return (TaskKind){.name = "toy", .summary = "words", .prompt = toy_prompt, .gold = toy_gold};
}

static const TaskConfig toy_config = {.name = "toy", .response_tokens = TOY_ANSWER};

static inline Stage toy_stage(const char *run, const char *name, int threads)
{
    return (Stage){.name = name, .run = run, .seed = 5, .threads = threads};
}

static const MetricInfo toy_metric_list[2] = {
    {"heldout/loss", "nats a token", "made up", "nothing", NAN, NAN, ""},
    {"heldout/floor", "nats a token", "made up", "nothing", NAN, NAN, ""},
};
static const MetricTable toy_metrics = {.metrics = toy_metric_list, .count = 2};

/* Publishes an untrained policy as stage `name`; `scale` stretches its weights. */
static inline void toy_publish_policy(const char *run, const char *name, double scale)
{
    assert_ok(gemm_setup());
    Tokenizer *tokenizer;
    assert_ok(tokenizer_words(&tokenizer, toy_word, TOY_WORDS));
    Model model = {0};
    const ModelShape shape = {.vocabulary = TOY_WORDS + 1,
                              .positions = TOY_POSITIONS,
                              .channels = 16,
                              .heads = 2,
                              .layers = 1,
                              .causal = true,
                              .head = HEAD_LANGUAGE};
    assert_ok(model_init(&model, shape));
    model_randomise(&model, 11, RNG_TEST, false);
    for (size_t i = 0; i < model.count; i++) model.flat[i] *= (float)scale;

    Stage stage = toy_stage(run, name, 1);
    char names[NETWORK_FILES_MAX][128], path[600];
    const char *list[NETWORK_FILES_MAX + 1];
    int count = 0;
    assert_ok(stage_open(&stage, &toy_metrics));
    static const double losses[2] = {1.75, 1.5}, unknown[2] = {NAN, NAN};
    assert_ok(stage_record(&stage, 1, 2, 10, losses, (const char *const[]){NULL}));
    assert_ok(stage_record(&stage, 2, 2, 10, unknown, (const char *const[]){NULL}));
    assert_ok(network_write(names, &count, stage.folder, "policy", &model, NULL,
                            tokenizer_end(tokenizer)));
    for (int i = 0; i < count; i++) list[i] = names[i];
    list[count++] = "tokenizer.json";
    snprintf(path, sizeof path, "%s/tokenizer.json", stage.folder);
    assert_ok(tokenizer_write(tokenizer, path));
    assert_ok(stage_finish(&stage, 2, list, count, NULL, 0));
    stage_close(&stage);
    model_free(&model);
    tokenizer_free(tokenizer);
}

/* A fresh run directory in which sft is done. */
static inline void toy_run(char run[64])
{
    test_folder(run);
    toy_publish_policy(run, "sft", 1.0);
}

#endif
