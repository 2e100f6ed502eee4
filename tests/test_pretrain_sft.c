#include "tests/support.h"

#include "data/config.h"
#include "data/io.h"
#include "data/metrics.h"
#include "data/prompts.h"
#include "data/rng.h"
#include "data/store/store.h"
#include "data/tasks/kinds.h"
#include "policy/gemm.h"
#include "policy/language_loss.h"
#include "policy/network_file.h"
#include "policy/pretrain.h"
#include "policy/sft.h"
#include "policy/trainer.h"

enum { PRETRAIN_STEPS = 60, DEMONSTRATIONS = 70, BATCH = 16, EPOCHS = 2 };

/* A small run: the settings of two stages, a task and a folder. */
typedef struct World {
    TaskConfig task_config;
    Task task;
    ModelConfig model;
    PretrainConfig pretrain;
    SftConfig sft;
    char run[64];
} World;

static void section_defaults(const ConfigSection *section, void *settings)
{
    const ConfigTable table = {section, 1};
    config_defaults(&table, settings);
}

static void world_open(World *world)
{
    section_defaults(&task_section, &world->task_config);
    section_defaults(&model_section, &world->model);
    section_defaults(&pretrain_section, &world->pretrain);
    section_defaults(&sft_section, &world->sft);
    world->task_config.documents = 300;
    world->task_config.demonstrations = DEMONSTRATIONS;
    world->task_config.vocabulary = 320;
    world->model = (ModelConfig){.channels = 32, .layers = 1, .heads = 2, .positions = 80};
    world->pretrain.steps = PRETRAIN_STEPS;
    world->pretrain.batch = BATCH;
    world->pretrain.context = 40;
    world->pretrain.shards = 4;
    world->pretrain.evaluate_every = 25;
    world->pretrain.optimiser.learning_rate = 1e-2;
    world->pretrain.optimiser.warmup_steps = 5;
    world->sft.epochs = EPOCHS;
    world->sft.batch = BATCH;
    world->sft.shards = 4;
    world->sft.evaluate_every = 4;
    world->sft.optimiser.learning_rate = 3e-3;
    world->sft.optimiser.warmup_steps = 2;
    assert_ok(task_open(&world->task, &world->task_config, 1));
    test_folder(world->run);
}

static void world_close(World *world)
{
    task_close(&world->task);
    assert_ok(io_remove_tree(world->run));
}

/* ---- running a stage, stopped after `limit` steps (0: never) ---- */

typedef struct Stopper {
    int64_t seen, limit;
} Stopper;

static void count_step(void *context, const StageProgress *progress)
{
    ((Stopper *)context)->seen = progress->step;
}

static bool enough(void *context)
{
    const Stopper *stopper = context;
    return stopper->limit > 0 && stopper->seen >= stopper->limit;
}

typedef Status RunStage(const World *world, Stage *stage);

static Status run_pretrain(const World *world, Stage *stage)
{
    const PretrainJob job = {stage, &world->task, &world->model, &world->pretrain};
    return pretrain_run(&job);
}

static Status run_sft(const World *world, Stage *stage)
{
    const SftJob job = {.stage = stage, .task = &world->task, .config = &world->sft};
    return sft_run(&job);
}

static Status run_stage(const World *world, const char *name, RunStage *run, int threads,
                        int64_t limit)
{
    Stopper stopper = {0, limit};
    Stage stage = {
        .name = name,
        .run = world->run,
        .seed = 1,
        .threads = threads,
        .made_from = {1, 2},
        .hooks = {.context = &stopper, .progress = count_step, .should_stop = enough},
    };
    const Status status = run(world, &stage);
    assert_int_equal(stage.metrics.file.log.descriptor, -1); /* who opens a stage closes it */
    return status;
}

/* Both stages, start to end. */
static void run_both(const World *world, int threads)
{
    assert_ok(run_stage(world, "pretrain", run_pretrain, threads, 0));
    assert_ok(run_stage(world, "sft", run_sft, threads, 0));
}

static void read_columns(MetricColumns *columns, const World *world, const char *stage)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s/metrics.jsonl", world->run, stage);
    *columns = (MetricColumns){0};
    assert_ok(metric_columns_read(columns, path));
}

static double value_at(const MetricColumns *columns, const char *name, int row)
{
    const double *column = metric_column(columns, name);
    assert_non_null(column);
    return column[row];
}

/* ---- learning ---- */

static void both_stages_learn(void **state)
{
    (void)state;
    World world = {0};
    MetricColumns columns;
    world_open(&world);
    run_both(&world, 2);

    read_columns(&columns, &world, "pretrain");
    const int last = PRETRAIN_STEPS - 1;
    assert_int_equal(columns.rows, PRETRAIN_STEPS);
    assert_close(value_at(&columns, "loss", 0), log(320.0), 0.1, 0.0);
    assert_true(value_at(&columns, "loss", last) < 0.6 * log(320.0));
    assert_true(value_at(&columns, "heldout/loss", last) < 0.6 * log(320.0));
    assert_true(value_at(&columns, "heldout/loss", 24) > value_at(&columns, "heldout/loss", last));
    assert_true(isnan(value_at(&columns, "heldout/loss", 25)));
    assert_true(value_at(&columns, "accuracy", last) > 0.2);
    assert_true(value_at(&columns, "grad_norm", last) > 0.0);
    assert_close(value_at(&columns, "lr", 4), 1e-2, 0.0, 0.05);
    assert_close(value_at(&columns, "tokens", last), PRETRAIN_STEPS * BATCH * 40, 0.0, 0.0);
    const double bits = value_at(&columns, "bits_per_byte", last);
    const double nats = value_at(&columns, "heldout/loss", last);
    assert_true(bits < nats / log(2.0) && bits > nats / log(2.0) / 6.0);
    metric_columns_free(&columns);

    read_columns(&columns, &world, "sft");
    const int steps = EPOCHS * ((DEMONSTRATIONS + BATCH - 1) / BATCH);
    assert_int_equal(columns.rows, steps);
    assert_true(value_at(&columns, "loss", steps - 1) < value_at(&columns, "loss", 0) - 0.2);
    const double floor = value_at(&columns, "heldout/floor", steps - 1);
    assert_true(floor > 0.2 && floor < value_at(&columns, "heldout/loss", steps - 1));
    metric_columns_free(&columns);
    world_close(&world);
}

/* Each epoch goes through every demonstration once, whatever the minibatches. */
static void an_epoch_is_every_demonstration_once(void **state)
{
    (void)state;
    World world = {0};
    Sequences sequences = {0};
    MetricColumns columns;
    Tokenizer *tokenizer;
    world_open(&world);
    world.pretrain.steps = 2;
    run_both(&world, 2);
    assert_ok(stage_read_tokenizer(&tokenizer, world.run, "sft"));
    assert_ok(demonstrations_read(&sequences, &world.task, tokenizer, TASK_TRAIN, 0, DEMONSTRATIONS,
                                  1000));
    read_columns(&columns, &world, "sft");
    assert_close(value_at(&columns, "tokens", columns.rows - 1),
                 (double)(EPOCHS * sequences_tokens(&sequences)), 0.0, 0.0);
    metric_columns_free(&columns);
    sequences_free(&sequences);
    tokenizer_free(tokenizer);
    world_close(&world);
}

/* ---- stopping and going on ---- */

static void assert_same_file(const World *a, const World *b, const char *name)
{
    Bytes left = {0}, right = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/%s", a->run, name);
    assert_ok(io_read(&left, path, 1 << 26));
    snprintf(path, sizeof path, "%s/%s", b->run, name);
    assert_ok(io_read(&right, path, 1 << 26));
    assert_true(left.count > 0);
    assert_int_equal(left.count, right.count);
    assert_memory_equal(left.data, right.data, left.count);
    bytes_free(&left);
    bytes_free(&right);
}

static void a_stopped_run_ends_with_the_same_bytes(void **state)
{
    (void)state;
    World whole = {0}, stopped = {0};
    world_open(&whole);
    world_open(&stopped);
    run_both(&whole, 1);
    assert_fails(run_stage(&stopped, "pretrain", run_pretrain, 3, 17), STATUS_STOPPED,
                 "stopped after step 17 of 60");
    assert_fails(run_stage(&stopped, "sft", run_sft, 3, 0), STATUS_DATA, "run: rlhf pretrain");
    assert_fails(run_stage(&stopped, "pretrain", run_pretrain, 2, 41), STATUS_STOPPED,
                 "stopped after step 41 of 60");
    assert_ok(run_stage(&stopped, "pretrain", run_pretrain, 8, 0));
    assert_fails(run_stage(&stopped, "sft", run_sft, 2, 3), STATUS_STOPPED, "after step 3 of 10");
    assert_ok(run_stage(&stopped, "sft", run_sft, 3, 0));
    static const char *const names[] = {"pretrain/policy.h5",     "pretrain/tokenizer.json",
                                        "pretrain/metrics.jsonl", "sft/policy.h5",
                                        "sft/tokenizer.json",     "sft/metrics.jsonl"};
    for (int i = 0; i < 6; i++) assert_same_file(&whole, &stopped, names[i]);
    world_close(&whole);
    world_close(&stopped);
}

/* ---- the loss ---- */

enum { V = 11, POSITIONS = 16 };

/* A trainer over three sequences with prompts of 1, 5 and 3 tokens. */
typedef struct Bench {
    Model model;
    Trainer trainer;
    Sequences sequences;
    BlockPlan plan;
    int index[2];
} Bench;

static void bench_open(Bench *bench)
{
    static const int length[3] = {7, 9, 12}, prompt[3] = {1, 5, 3};
    const ModelShape shape = {V, POSITIONS, 8, 2, 1, true, HEAD_LANGUAGE};
    Rng rng = rng_stream(1, RNG_TEST, RNG_PROMPT, 0, 0, 0);
    int32_t lengths[3];
    for (int s = 0; s < 3; s++) {
        int32_t token[POSITIONS];
        for (int t = 0; t < length[s]; t++) token[t] = rng_below(&rng, V);
        assert_ok(sequences_add(&bench->sequences, token, prompt[s], token + prompt[s],
                                length[s] - prompt[s]));
        lengths[s] = length[s];
    }
    assert_ok(block_plan_cut(&bench->plan, lengths, 3, 1, 2));
    assert_ok(model_init(&bench->model, shape));
    assert_ok(trainer_init(&bench->trainer, &bench->model, 2, 2, bench->plan.rows,
                           bench->plan.longest, bench->plan.blocks));
    assert_int_equal(bench->plan.blocks, 2);
    bench->index[1] = 1;
}

static void bench_close(Bench *bench)
{
    trainer_free(&bench->trainer);
    model_free(&bench->model);
    block_plan_free(&bench->plan);
    sequences_free(&bench->sequences);
}

static void bench_gradient(double sums[TRAINER_SUMS], Bench *bench, bool response_only)
{
    LanguageLoss loss = {&bench->sequences, response_only, 0.0};
    loss.tokens = language_targets(&bench->sequences, &bench->plan, bench->index, 2, response_only);
    memset(sums, 0, sizeof(double) * TRAINER_SUMS);
    assert_ok(trainer_gradient(sums, &bench->trainer, &bench->sequences, &bench->plan, bench->index,
                               2, language_loss, &loss));
    assert_close(sums[1], loss.tokens, 0.0, 0.0);
}

/* 6 + 8 + 11 next tokens, of which 6 + 4 + 9 in responses. */
static void a_uniform_network_loses_ln_v(void **state)
{
    (void)state;
    Bench bench = {0};
    double sums[TRAINER_SUMS];
    bench_open(&bench);
    bench_gradient(sums, &bench, false);
    assert_close(sums[1], 25.0, 0.0, 0.0);
    assert_close(sums[0] / sums[1], log(V), 1e-6, 0.0);
    bench_gradient(sums, &bench, true);
    assert_close(sums[1], 19.0, 0.0, 0.0);
    assert_close(sums[0] / sums[1], log(V), 1e-6, 0.0);
    bench_close(&bench);
}

/* With attention switched off a row sees its own token alone, so all that could tell one prompt
 * from another (but for its last token) is being a target. */
static void prompt_tokens_carry_no_gradient(void **state)
{
    (void)state;
    Bench bench = {0};
    double sums[TRAINER_SUMS], other_sums[TRAINER_SUMS];
    bench_open(&bench);
    model_randomise(&bench.model, 3, RNG_TEST, false);
    const size_t width = 8;
    memset(bench.model.weight.qkv_weight, 0, sizeof(float) * width * 3 * width);
    memset(bench.model.weight.attention_weight, 0, sizeof(float) * width * width);

    for (int response_only = 0; response_only < 2; response_only++) {
        void *gradient;
        const size_t bytes = sizeof(float) * bench.model.count;
        bench_gradient(sums, &bench, response_only);
        assert_ok(memory_claim(&gradient, bytes));
        memcpy(gradient, bench.trainer.gradient[0].flat, bytes);
        for (int s = 0; s < 3; s++) {
            int32_t *token = bench.sequences.token + bench.sequences.offset[s];
            for (int t = 0; t + 1 < bench.sequences.prompt[s]; t++) token[t] = (token[t] + 1) % V;
        }
        bench_gradient(other_sums, &bench, response_only);
        const bool same = memcmp(gradient, bench.trainer.gradient[0].flat, bytes) == 0;
        assert_int_equal(same, response_only);
        assert_int_equal(sums[0] == other_sums[0], response_only);
        memory_release(gradient);
    }
    bench_close(&bench);
}

/* ---- refusals ---- */

static Status no_documents(Texts *texts, const Task *task, TaskSplit split)
{
    (void)texts;
    (void)task;
    (void)split;
    return STATUS_OK;
}

static Status one_document(Texts *texts, const Task *task, TaskSplit split)
{
    (void)task;
    (void)split;
    return texts_add(texts, "too short", 9);
}

static int64_t no_demonstrations(const Task *task, TaskSplit split)
{
    (void)task;
    (void)split;
    return 0;
}

static void what_cannot_be_trained_on_is_refused(void **state)
{
    (void)state;
    World world = {0};
    world_open(&world);
    assert_fails(run_stage(&world, "sft", run_sft, 1, 0), STATUS_DATA, "run: rlhf pretrain");
    world.pretrain.context = 81;
    assert_fails(run_stage(&world, "pretrain", run_pretrain, 1, 0), STATUS_SETTINGS,
                 "pretrain.context = 81: model.positions is 80");
    world.pretrain.context = 0;
    world.model.heads = 3;
    assert_fails(run_stage(&world, "pretrain", run_pretrain, 1, 0), STATUS_SETTINGS, "heads");
    world.model.heads = 2;

    const TaskKind *kind = world.task.kind;
    TaskKind other = *kind;
    world.task.kind = &other;
    other.documents = no_documents;
    assert_fails(run_stage(&world, "pretrain", run_pretrain, 1, 0), STATUS_DATA,
                 "task reviews: there is no text to pretrain on");
    other.documents = one_document;
    assert_fails(run_stage(&world, "pretrain", run_pretrain, 1, 0), STATUS_DATA,
                 "tokens of text, a window needs 80");
    world.task.kind = kind;
    world.model.positions = 12;
    world.pretrain.steps = 1;
    assert_ok(run_stage(&world, "pretrain", run_pretrain, 1, 0));
    assert_fails(run_stage(&world, "sft", run_sft, 1, 0), STATUS_DATA,
                 "of answer do not fit in 12 positions");
    other.demonstration_count = no_demonstrations;
    world.task.kind = &other;
    assert_fails(run_stage(&world, "sft", run_sft, 1, 0), STATUS_DATA,
                 "task reviews: there are no demonstrations to fine-tune on");
    world.task.kind = kind;
    world_close(&world);
}

/* The last update leaves weights whose forward pass overflows: no step comes behind it to show it,
 * and at a rate that is itself no float not even the weights are finite. */
static void a_last_update_that_ruins_the_network_is_not_published(void **state)
{
    (void)state;
    World world = {0};
    char path[600];
    world_open(&world);
    world.pretrain.steps = 2;
    world.pretrain.evaluate_every = 0;
    world.pretrain.optimiser.warmup_steps = 1;
    world.pretrain.optimiser.final_rate = 1;
    assert_fails(run_stage(&world, "pretrain", run_pretrain, 1, 1), STATUS_STOPPED, "after step 1");
    world.pretrain.optimiser.learning_rate = 1e30;
    snprintf(path, sizeof path,
             "; kept: %s/pretrain/checkpoints/step-000001; to try: a lower pretrain.learning_rate",
             world.run);
    assert_fails(run_stage(&world, "pretrain", run_pretrain, 1, 0), STATUS_DIVERGED,
                 "step 2: the held-out loss is ");
    assert_non_null(strstr(status_message(), path));
    world.pretrain.optimiser.learning_rate = 1e300;
    assert_fails(run_stage(&world, "pretrain", run_pretrain, 1, 0), STATUS_DIVERGED,
                 "step 2: weight of transformer.wte.weight is not finite; kept: ");
    assert_non_null(strstr(status_message(), path));
    snprintf(path, sizeof path, "%s/pretrain/manifest.json", world.run);
    assert_false(io_exists(path));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_stages_learn),
        cmocka_unit_test(an_epoch_is_every_demonstration_once),
        cmocka_unit_test(a_stopped_run_ends_with_the_same_bytes),
        cmocka_unit_test(a_uniform_network_loses_ln_v),
        cmocka_unit_test(prompt_tokens_carry_no_gradient),
        cmocka_unit_test(what_cannot_be_trained_on_is_refused),
        cmocka_unit_test(a_last_update_that_ruins_the_network_is_not_published),
    };
    store_setup();
    if (gemm_setup() != STATUS_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
