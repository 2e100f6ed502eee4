/* What a PPO stage publishes, what it depends on and what it refuses. */
#include "tests/support.h"

#include "tests/toy_reference.h"

#include "ppo/advantage.h"
#include "ppo/sample_file.h"

static void run_publishes_what_it_promises(void **state)
{
    (void)state;
    char folder[600];
    snprintf(folder, sizeof folder, "%s/ppo", reference.run);
    Manifest manifest;
    assert_ok(manifest_read(&manifest, folder));
    assert_ok(manifest_verify(&manifest, folder));
    assert_int_equal(manifest.step, 5);
    const char *const names[] = {"policy.h5",     "critic.h5",     "tokenizer.json",
                                 "samples.h5",    "metrics.jsonl", "rollouts/manifest.json",
                                 "rollouts.jsonl"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_non_null(manifest_find(&manifest, names[i]));
    }
    char sft[600];
    snprintf(sft, sizeof sft, "%s/sft", reference.run);
    Manifest before;
    assert_ok(manifest_read(&before, sft));
    assert_true(digest_equal(manifest_find(&manifest, "tokenizer.json")->digest,
                             manifest_find(&before, "tokenizer.json")->digest));
}

/* C28: what is published is the policy after the last step. */
static void c28_last_step_is_published(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    toy.job.keep_every = 5;
    assert_ok(toy_life(&toy, 1, (StageHooks){0}));
    char stage_folder[600], folder[STAGE_PATH];
    Manifest manifest;
    snprintf(stage_folder, sizeof stage_folder, "%s/ppo", toy.run);
    assert_ok(checkpoint_at(folder, &manifest, stage_folder, 5));
    Model last = {0}, published = {0};
    assert_ok(network_read(&last, NULL, folder, "policy", &manifest, NULL));
    assert_ok(network_read(&published, NULL, stage_folder, "policy", NULL, NULL));
    assert_true(digest_equal(model_digest(&last), model_digest(&published)));
    model_free(&last);
    model_free(&published);
    toy_end(&toy);
}

/* C31: samples say at which temperature and seed they were drawn: those of training. */
static void c31_samples_name_their_temperature(void **state)
{
    (void)state;
    static const StoreField schema[] = {
        {.name = "/", .attribute = "temperature", .type = STORE_F64},
        {.name = "/", .attribute = "seed", .type = STORE_I64},
        {.name = "/sample/step", .type = STORE_I64, .rank = 1, .extent = {-1}},
        {.name = "/sample/prompt_id", .type = STORE_I64, .rank = 1, .extent = {-1}},
    };
    char path[600];
    toy_path(path, &reference, "samples.h5");
    StoreContent content;
    assert_ok(store_read(&content, path, NULL, schema, 4));
    assert_true(*(const double *)content.array[0].data == 1.0);
    assert_int_equal(*(const int64_t *)content.array[1].data, 5);
    const int64_t *step = content.array[2].data, *prompt = content.array[3].data;
    const int64_t expected[4] = {0, 2, 4, 5};
    assert_int_equal(content.array[2].count, 64);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(step[i], expected[i / 16]);
        assert_int_equal(prompt[i], i % 16);
    }
    store_content_free(&content);
}

/* samples.h5 in *path with one answer of two tokens, and what a case puts in their place. */
typedef struct SampleCase {
    int64_t version, offset[3];
    int32_t prompt_length, id;
    size_t scores;
    const char *refusal; /* NULL: none */
} SampleCase;

static void write_samples(char path[128], const SampleCase *at)
{
    static const int64_t zeros[3] = {0};
    const int32_t id[2] = {at->id, 1};
    const struct {
        const char *name;
        StoreType type;
        size_t count;
        const void *data;
    } column[] = {{"/sample/step", STORE_I64, 1, zeros},
                  {"/sample/prompt_id", STORE_I64, 1, zeros},
                  {"/sample/prompt_length", STORE_I32, 1, &at->prompt_length},
                  {"/sample/score", STORE_F32, at->scores, zeros},
                  {"/sample/gold", STORE_F32, 1, zeros},
                  {"/sample/terminated", STORE_U8, 1, zeros},
                  {"/sample/offset", STORE_I64, 2, at->offset},
                  {"/token/id", STORE_I32, 2, id}};
    char folder[64];
    StoreImage *image;
    test_folder(folder);
    snprintf(path, 128, "%s/samples.h5", folder);
    assert_ok(store_create(&image));
    for (int c = 0; c < 8; c++) {
        assert_ok(store_put(image, column[c].name, column[c].type, 1, &column[c].count,
                            column[c].data, false));
    }
    assert_ok(store_put_integer(image, "/", "format_version", at->version));
    assert_ok(store_publish(image, path, NULL));
}

static void samples_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const SampleCase cases[] = {
        {1, {0, 2}, 1, 3, 1, NULL},
        {2, {0, 2}, 1, 3, 1, "samples.h5: format version is 2, not 1"},
        {1, {0, 2}, 1, 3, 2, "samples.h5: columns differ in length"},
        {1, {0, 1}, 1, 3, 1, "samples.h5: /sample/offset does not fit"},
        {1, {1, 2}, 1, 3, 1, "samples.h5: /sample/offset does not fit"},
        {1, {0, 2}, 3, 3, 1, "samples.h5: sample 0: lengths do not fit"},
        {1, {0, 2}, -1, 3, 1, "samples.h5: sample 0: lengths do not fit"},
        {1, {0, 2}, 1, 4, 1, "samples.h5: /token/id: 4 at 0 is not below 4"},
        {1, {0, 2}, 1, -1, 1, "samples.h5: /token/id: -1 at 0 is not below 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[128];
        SampleFile file;
        write_samples(path, &cases[i]);
        if (cases[i].refusal != NULL) {
            assert_fails(sample_file_read(&file, path, NULL, 4), STATUS_DATA, cases[i].refusal);
            continue;
        }
        assert_ok(sample_file_read(&file, path, NULL, 4));
        assert_int_equal(file.count, 1);
        assert_int_equal(file.answers.prompt[0], 1);
        assert_int_equal(file.answers.token[1], 1);
        sample_file_free(&file);
    }
}

static void metrics_of_the_run_hold_their_invariants(void **state)
{
    (void)state;
    char path[600];
    toy_path(path, &reference, "metrics.jsonl");
    MetricColumns columns = {0};
    assert_ok(metric_columns_read(&columns, path));
    assert_int_equal(columns.rows, 5);
    const double *kl = metric_column(&columns, "objective/kl");
    const double *k3 = metric_column(&columns, "objective/kl_k3");
    const double *exact = metric_column(&columns, "policy/kl_exact");
    const double *scores = metric_column(&columns, "objective/scores");
    const double *penalty = metric_column(&columns, "objective/non_score_reward");
    const double *total = metric_column(&columns, "objective/rlhf_reward");
    const double *first = metric_column(&columns, "val/first_ratio_deviation");
    const double *entropy = metric_column(&columns, "policy/entropy_avg");
    const double *episode = metric_column(&columns, "episode");
    /* C32: before the first update the policy is the reference. */
    assert_true(kl[0] == 0.0 && exact[0] == 0.0 && kl[4] != 0.0);
    for (int i = 0; i < 5; i++) {
        assert_true(first[i] == 0.0 && k3[i] >= 0.0 && exact[i] >= -1e-12);
        assert_close(total[i], scores[i] + penalty[i], 1e-12, 0);
        assert_true(entropy[i] > 0.0 && entropy[i] <= log(TOY_WORDS + 1));
        assert_close(episode[i], 16.0 * (i + 1), 0, 0);
    }
    metric_columns_free(&columns);
}

/* Everything in a rollout file follows from its own log-probabilities, values and raw scores. */
static void rollout_file_can_be_recomputed(void **state)
{
    (void)state;
    char path[600];
    toy_path(path, &reference, "rollouts/000004.h5");
    RolloutFile file;
    assert_ok(rollout_read(&file, path, NULL, TOY_WORDS + 1));
    const Rollout *r = &file.rollout;
    assert_int_equal(r->count, 16);
    int ended = 0;
    for (int i = 0; i < r->count; i++) {
        const int64_t first = r->offset[i] + r->prompt_length[i], end = r->offset[i + 1];
        const int length = r->response_length[i];
        assert_int_equal(r->prompt_id[i], 3 * 16 + i);
        assert_int_equal(end - first, length);
        assert_int_equal(r->terminated[i] + r->truncated[i], 1);
        assert_int_equal(r->id[end - 1] == TOY_WORDS, r->terminated[i]);
        assert_true(r->terminated[i] || length == TOY_ANSWER);
        assert_true(r->score[i] == (r->terminated[i] ? r->raw_score[i] : -1.0f));
        ended += r->terminated[i];

        float reward[TOY_POSITIONS], advantage[TOY_POSITIONS], returns[TOY_POSITIONS];
        shape_rewards(reward, r->logp + first, r->reference_logp + first, length, r->kl_coef,
                      (double)r->score[i]);
        advantages(advantage, returns, reward, r->value + first, length, 1.0, 0.95);
        assert_memory_equal(reward, r->reward + first, sizeof *reward * (size_t)length);
        assert_memory_equal(advantage, r->advantage + first, sizeof *reward * (size_t)length);
        assert_memory_equal(returns, r->returns + first, sizeof *reward * (size_t)length);
        for (int64_t t = r->offset[i]; t < first; t++) {
            assert_true(r->logp[t] == 0.0f && r->value[t] == 0.0f && r->reward[t] == 0.0f);
            assert_int_equal(r->is_response[t], 0);
        }
    }
    assert_true(ended > 0 && ended < 16); /* both kinds were seen */
    rollout_free(&file);
}

static void c29_answers_to_one_prompt_differ_between_steps(void **state)
{
    (void)state;
    char path[600];
    MetricColumns columns = {0};
    toy_path(path, &reference, "metrics.jsonl");
    assert_ok(metric_columns_read(&columns, path));
    const double *unique = metric_column(&columns, "objective/unique");
    for (int i = 0; i < columns.rows; i++) assert_true(unique[i] > 0.5);
    metric_columns_free(&columns);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 3; threads++) {
        Toy toy;
        toy_begin(&toy);
        assert_ok(toy_life(&toy, threads, (StageHooks){0}));
        check_same_results(&reference, &toy, true);
        toy_end(&toy);
    }
}

static void checkpoints_change_nothing(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    assert_ok(toy_life(&toy, 1, (StageHooks){.should_checkpoint = always}));
    check_same_results(&reference, &toy, true);
    toy_end(&toy);
}

static void samples_change_nothing(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    toy.config.sample_every = 0;
    assert_ok(toy_life(&toy, 1, (StageHooks){0}));
    check_same_results(&reference, &toy, false);
    char path[600];
    toy_path(path, &toy, "samples.h5");
    assert_false(io_exists(path));
    toy_end(&toy);
}

static double noise(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    return (double)(digest_of(answer->response, answer->response_count).low % 1000) - 500.0;
}

/* Gold is in the file and in the journal and nowhere else. */
static void gold_reaches_no_weight(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    toy.kind.gold = noise;
    assert_ok(toy_life(&toy, 1, (StageHooks){.should_checkpoint = always}));
    check_same_file(&reference, &toy, "policy.h5");
    check_same_file(&reference, &toy, "critic.h5");
    assert_false(
        digest_equal(file_digest(&reference, "metrics.jsonl"), file_digest(&toy, "metrics.jsonl")));
    toy_end(&toy);
}

/* At a KL above the ceiling the rollouts are on disk and nothing is learned from them; going on
 * says the same. */
static void kl_above_the_ceiling_ends_the_run_before_the_update(void **state)
{
    (void)state;
    Toy free_run, held;
    MetricColumns columns = {0};
    char path[600], expected[1400];
    toy_begin(&free_run);
    toy_begin(&held);
    assert_ok(toy_life(&free_run, 1, (StageHooks){0}));
    toy_path(path, &free_run, "metrics.jsonl");
    assert_ok(metric_columns_read(&columns, path));
    const double *kl = metric_column(&columns, "objective/kl");
    int step = 1;
    while (step < columns.rows && kl[step] <= kl[step - 1]) step++;
    assert_in_range(step, 1, columns.rows - 1);
    held.config.kl_ceiling = 0.5 * (kl[step - 1] + kl[step]);
    int first = 0;
    while (kl[first] <= held.config.kl_ceiling) first++;

    toy_path(path, &held, "rollouts");
    snprintf(
        expected, sizeof expected,
        "ppo step %d: the mean KL to the reference is %g nats a sequence, above ppo.kl_ceiling "
        "= %g: a higher ppo.kl_coef holds it; kept: %s/%06d.h5 and nothing of the stage yet; "
        "to try: a lower ppo.learning_rate or gradients clipped sooner (ppo.max_grad_norm), by "
        "--set with --restart ppo",
        first + 1, kl[first], held.config.kl_ceiling, path, first + 1);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(toy_life(&held, 1 + life, (StageHooks){0}), STATUS_DIVERGED);
        assert_string_equal(status_message(), expected);
        assert_int_equal(held.stage.last_step, -1);
    }
    toy_path(path, &held, "manifest.json");
    assert_false(io_exists(path));
    metric_columns_free(&columns);

    held.config.kl_ceiling = 1e6; /* not reached: the same bytes as without one */
    assert_ok(toy_life(&held, 1, (StageHooks){0}));
    check_same_results(&free_run, &held, true);
    toy_end(&free_run);
    toy_end(&held);
}

/* An update is a function of the file and of the checkpoint of the step before. */
static void update_can_be_replayed_from_the_file(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    toy.job.keep_every = 1;
    assert_ok(toy_life(&toy, 2, (StageHooks){0}));
    char folder[STAGE_PATH], stage_folder[600], path[600];
    Manifest manifest;
    snprintf(stage_folder, sizeof stage_folder, "%s/ppo", toy.run);
    assert_ok(checkpoint_at(folder, &manifest, stage_folder, 2));

    Model policy = {0}, critic = {0};
    AdamW policy_moments = {0}, critic_moments = {0};
    assert_ok(network_read(&policy, &policy_moments, folder, "policy", &manifest, NULL));
    assert_ok(network_read(&critic, &critic_moments, folder, "critic", &manifest, NULL));
    PpoUpdater updater;
    assert_ok(ppo_updater_init(&updater, &policy, &critic, &toy.config, 256, TOY_POSITIONS, 1));
    adamw_free(&updater.policy.adamw);
    adamw_free(&updater.critic.adamw);
    updater.policy.adamw = policy_moments;
    updater.critic.adamw = critic_moments;

    RolloutFile third, fourth;
    toy_path(path, &toy, "rollouts/000003.h5");
    assert_ok(rollout_read(&third, path, NULL, TOY_WORDS + 1));
    toy_path(path, &toy, "rollouts/000004.h5");
    assert_ok(rollout_read(&fourth, path, NULL, TOY_WORDS + 1));
    assert_true(digest_equal(model_digest(&policy), third.rollout.policy));
    const PpoUpdateJob job = {
        .rollout = &third.rollout, .config = &toy.config, .seed = toy.stage.seed};
    PpoUpdateReport report;
    assert_ok(ppo_update(&report, &updater, &job));
    assert_true(digest_equal(model_digest(&policy), fourth.rollout.policy));
    assert_true(digest_equal(model_digest(&critic), fourth.rollout.critic));
    assert_true(digest_equal(third.rollout.reference, fourth.rollout.reference));

    rollout_free(&third);
    rollout_free(&fourth);
    ppo_updater_free(&updater);
    model_free(&policy);
    model_free(&critic);
    toy_end(&toy);
}

static bool has_checkpoint(const Toy *toy, int step)
{
    char path[600], file[64];
    snprintf(file, sizeof file, "checkpoints/step-%06d", step);
    toy_path(path, toy, file);
    return io_exists(path);
}

/* Every second step, the best proxy inside the budget and the best gold; nothing else. */
static void checkpoints_are_kept_by_rule(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    toy.config.steps = 8;
    toy.job.keep_every = 3;
    assert_ok(toy_life(&toy, 1, (StageHooks){.should_checkpoint = always}));
    char path[600];
    MetricColumns columns = {0};
    toy_path(path, &toy, "metrics.jsonl");
    assert_ok(metric_columns_read(&columns, path));
    const double *scores = metric_column(&columns, "objective/scores");
    const double *gold = metric_column(&columns, "objective/gold");
    int best_score = 1, best_gold = 1; /* row i measures checkpoint i */
    for (int i = 2; i < columns.rows; i++) {
        if (scores[i] > scores[best_score]) best_score = i;
        if (gold[i] > gold[best_gold]) best_gold = i;
    }
    for (int step = 1; step <= 8; step++) {
        const bool kept = step % 3 == 0 || step == best_score || step == best_gold;
        assert_int_equal(has_checkpoint(&toy, step), kept);
    }
    metric_columns_free(&columns);
    toy_end(&toy);
}

/* A reward model that reads in both directions cannot be a critic: that starts from the SFT policy
 * and has five iterations to itself. */
static void blind_critic_gets_a_warm_up(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    toy_publish_reward_model(toy.run, false);
    toy.config.steps = 7;
    assert_ok(toy_life(&toy, 1, (StageHooks){0}));
    char path[600];
    MetricColumns columns = {0};
    toy_path(path, &toy, "metrics.jsonl");
    assert_ok(metric_columns_read(&columns, path));
    const double *kl = metric_column(&columns, "objective/kl");
    const double *ratio = metric_column(&columns, "val/ratio");
    const double *value_loss = metric_column(&columns, "loss/value_avg");
    for (int i = 0; i < 7; i++) {
        assert_int_equal(kl[i] == 0.0, i < 6); /* row 6 is sampled before the policy's first step */
        assert_int_equal(isnan(ratio[i]), i < 5);
        assert_true(value_loss[i] > 0.0);
    }
    metric_columns_free(&columns);
    toy_end(&toy);
}

static void proxy_rises(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    toy.config.steps = 20;
    toy.config.rollouts = 64;
    toy.config.kl_coef = 0.01;
    toy.config.optimiser.learning_rate = 1e-2;
    assert_ok(toy_life(&toy, 2, (StageHooks){0}));
    char path[600];
    MetricColumns columns = {0};
    toy_path(path, &toy, "metrics.jsonl");
    assert_ok(metric_columns_read(&columns, path));
    const double *reward = metric_column(&columns, "objective/rlhf_reward");
    const double *spread = metric_column(&columns, "objective/scores_std");
    assert_true(reward[19] > reward[0] + 0.5 * spread[0]);
    metric_columns_free(&columns);
    toy_end(&toy);
}

static void missing_inputs_are_named(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    char path[600];
    snprintf(path, sizeof path, "%s/reward/manifest.json", toy.run);
    assert_ok(io_remove(path));
    assert_fails(toy_life(&toy, 1, (StageHooks){0}), STATUS_DATA, "run: rlhf reward");
    toy_end(&toy);
}

/* reward/model.h5 of this shape, published as the stage does. */
static void publish_model(const char *run, ModelShape shape)
{
    Model model = {0};
    Stage stage = toy_stage(run, "reward", 1);
    char names[NETWORK_FILES_MAX][128];
    int count = 0;
    assert_ok(model_init(&model, shape));
    assert_ok(stage_open(&stage, &toy_metrics));
    assert_ok(network_write(names, &count, stage.folder, "model", &model, NULL, TOY_WORDS));
    assert_ok(stage_finish(&stage, 1, (const char *const[]){names[0]}, count, NULL, 0));
    stage_close(&stage);
    model_free(&model);
}

static void a_reward_model_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    ModelShape shape = {.vocabulary = TOY_WORDS + 1,
                        .positions = TOY_POSITIONS,
                        .channels = 16,
                        .heads = 2,
                        .layers = 1,
                        .causal = true,
                        .head = HEAD_LANGUAGE};
    publish_model(toy.run, shape);
    assert_fails(toy_life(&toy, 1, (StageHooks){0}), STATUS_DATA,
                 "reward/model.h5: it is a language model, not a reward model");
    shape.head = HEAD_SCORE;
    shape.vocabulary++;
    publish_model(toy.run, shape);
    assert_fails(toy_life(&toy, 1, (StageHooks){0}), STATUS_DATA,
                 "reward/model.h5: vocab_size is 8, not 7");
    toy_end(&toy);
}

static void alter_first_rollout(void *context, const StageProgress *progress)
{
    if (progress->step == progress->steps) put_text(context, "rollouts/000001.h5", "others");
}

/* What is published is what was written, whatever lies there at the end. */
static void rollouts_are_listed_as_they_were_written(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    assert_ok(toy_life(&toy, 1, (StageHooks){.context = &toy, .progress = alter_first_rollout}));
    check_same_file(&reference, &toy, "rollouts/manifest.json");
    check_same_file(&reference, &toy, "rollouts.jsonl");
    toy_end(&toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_publishes_what_it_promises),
        cmocka_unit_test(c28_last_step_is_published),
        cmocka_unit_test(c31_samples_name_their_temperature),
        cmocka_unit_test(samples_that_do_not_fit_are_refused),
        cmocka_unit_test(metrics_of_the_run_hold_their_invariants),
        cmocka_unit_test(rollout_file_can_be_recomputed),
        cmocka_unit_test(c29_answers_to_one_prompt_differ_between_steps),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(checkpoints_change_nothing),
        cmocka_unit_test(samples_change_nothing),
        cmocka_unit_test(gold_reaches_no_weight),
        cmocka_unit_test(kl_above_the_ceiling_ends_the_run_before_the_update),
        cmocka_unit_test(update_can_be_replayed_from_the_file),
        cmocka_unit_test(checkpoints_are_kept_by_rule),
        cmocka_unit_test(blind_critic_gets_a_warm_up),
        cmocka_unit_test(proxy_rises),
        cmocka_unit_test(missing_inputs_are_named),
        cmocka_unit_test(a_reward_model_that_does_not_fit_is_refused),
        cmocka_unit_test(rollouts_are_listed_as_they_were_written),
    };
    return cmocka_run_group_tests(tests, make_reference, drop_reference);
}
