/* What PPO estimates and the stage logs, against the exact values. */
#include "tests/support.h"

#include "ppo/kl.h"
#include "ppo/ppo_run.h"
#include "tests/exact_world.h"

/* ---- PPO's estimates against the truth, at three policies along a run ---- */

enum { POLICIES = 3, STEPS = 12 };

static void publish(const char *run, const char *stage_name, const char *name, const Model *model,
                    const Tokenizer *tokenizer)
{
    static const MetricInfo loss = {"heldout/loss", "nats", "made up", "nothing", NAN, NAN, ""};
    static const MetricTable table = {.metrics = &loss, .count = 1};
    Stage stage = {.name = stage_name, .run = run, .seed = 5, .threads = 1};
    char names[NETWORK_FILES_MAX][128], path[STAGE_PATH + 16];
    const char *list[NETWORK_FILES_MAX + 1];
    int count = 0;
    assert_ok(stage_open(&stage, &table));
    assert_ok(
        network_write(names, &count, stage.folder, name, model, NULL, tokenizer_end(tokenizer)));
    for (int i = 0; i < count; i++) list[i] = names[i];
    snprintf(path, sizeof path, "%s/tokenizer.json", stage.folder);
    assert_ok(tokenizer_write(tokenizer, path));
    list[count++] = "tokenizer.json";
    assert_ok(stage_finish(&stage, 1, list, count, NULL, 0));
    stage_close(&stage);
}

/* The world's networks as a run with all stages before PPO done. */
static void publish_world(char run[64], const World *from)
{
    test_folder(run);
    publish(run, "sft", "policy", &from->reference, from->tokenizer);
    publish(run, "reward", "model", &from->reward_model, from->tokenizer);
}

static Status run_stage(const char *run, const Task *task, const PpoConfig *config, int threads)
{
    Stage stage = {.name = "ppo", .run = run, .seed = 5, .threads = threads};
    const PpoJob job = {.stage = &stage,
                        .task = task,
                        .config = config,
                        .sources = "{}",
                        .keep_every = STEPS / POLICIES};
    return ppo_run(&job);
}

static PpoConfig run_config(int64_t steps)
{
    PpoConfig config = world_config();
    config.steps = steps;
    config.rollouts = 128;
    config.sample_every = 0;
    config.optimiser.learning_rate = 1e-3;
    config.critic_optimiser.learning_rate = 3e-3;
    return config;
}

static void load_policy(World *at, const char *run, int64_t step)
{
    char stage_folder[128], folder[STAGE_PATH];
    Manifest manifest;
    snprintf(stage_folder, sizeof stage_folder, "%s/ppo", run);
    assert_ok(checkpoint_at(folder, &manifest, stage_folder, step));
    Model loaded = {0};
    assert_ok(network_read(&loaded, NULL, folder, "policy", &manifest, NULL));
    model_copy(&at->policy, &loaded);
    model_free(&loaded);
}

/* A run in the world of `tokens` tokens; its folder is left in `run`. */
static void train(char run[64], World *at, int tokens)
{
    world_begin(at, tokens);
    world_enumerate(at);
    publish_world(run, at);
    const PpoConfig config = run_config(STEPS);
    assert_ok(run_stage(run, &at->task, &config, 1));
}

static void k1_and_k3_sum_to_the_exact_kl(void **state)
{
    (void)state;
    char run[64];
    World at;
    train(run, &at, 3);
    assert_int_equal(at.exact.answers, 8421);
    for (int k = 1; k <= POLICIES; k++) {
        load_policy(&at, run, k * STEPS / POLICIES);
        ExactReport report;
        assert_ok(exact_measure(&report, &at.exact, 0.1));
        assert_close(report.probability, 1.0, 1e-12, 0);
        assert_true(report.kl > 1e-3);
        assert_close(report.kl_k1, report.kl, 0, 1e-6);
        assert_close(report.kl_k3, report.kl, 0, 1e-6);
    }
    assert_ok(io_remove_tree(run));
    world_end(&at);
}

typedef struct Moments {
    double count, sum, square;
} Moments;

static void add_to(Moments *moments, double x)
{
    moments->count += 1.0;
    moments->sum += x;
    moments->square += x * x;
}

static void check_mean(const Moments *moments, double expected)
{
    const double mean = moments->sum / moments->count;
    const double variance = moments->square / moments->count - mean * mean;
    assert_true(variance > 0.0);
    assert_close(mean, expected, 4.0 * sqrt(variance / moments->count), 0);
}

/* 20 fresh batches of 256 answers, to eight prompts by turns, against the exact values. k3's tail
 * is heavy: its mean is only asked for below half a nat. */
static void check_samples(World *at)
{
    ExactReport report;
    assert_ok(exact_measure(&report, &at->exact, 0.1));
    assert_true(report.kl > 0.05);
    Moments k1 = {0}, k3 = {0}, gold = {0}, proxy = {0}, entropy = {0}, chain = {0};
    for (uint64_t b = 0; b < 20; b++) {
        Batch batch;
        batch_of_samples(&batch, at, 256, b);
        const Rollout *rollout = &batch.rollout;
        for (int i = 0; i < rollout->count; i++) {
            double sum = 0.0, visited = 0.0;
            for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
                if (!rollout->is_response[t]) continue;
                sum += kl_k3((double)rollout->logp[t] - (double)rollout->reference_logp[t]);
                visited += batch.kl_exact[t];
            }
            add_to(&k1, (double)rollout->kl[i]);
            add_to(&k3, sum);
            add_to(&chain, visited);
            add_to(&gold, (double)rollout->gold[i]);
            add_to(&proxy, (double)rollout->score[i]);
            add_to(&entropy, -sequence_sum(rollout, i, rollout->logp));
        }
        batch_end(&batch);
    }
    check_mean(&k1, report.kl);
    if (report.kl < 0.5) check_mean(&k3, report.kl);
    check_mean(&chain, report.kl);
    check_mean(&gold, report.gold);
    check_mean(&proxy, report.proxy);
    check_mean(&entropy, report.entropy);
}

static void samples_estimate_the_exact_values(void **state)
{
    (void)state;
    world_start_again(&world);
    world_enumerate(&world);
    world_move(&world, 41, 0.04);
    ExactReport report;
    assert_ok(exact_measure(&report, &world.exact, 0.1));
    assert_true(report.kl < 0.5);
    check_samples(&world);

    char run[64];
    World at;
    train(run, &at, 3);
    for (int k = 1; k <= POLICIES; k++) {
        load_policy(&at, run, k * STEPS / POLICIES);
        check_samples(&at);
    }
    assert_ok(io_remove_tree(run));
    world_end(&at);
}

/* PPO's policy gradient over all answers, each weighted by its probability. */
static void weighted_gradient(float *gradient, World *at)
{
    Batch all;
    batch_of_all(&all, at);
    Rollout *rollout = &all.rollout;
    for (int i = 0; i < rollout->count; i++) {
        const double chance = exp(sequence_sum(rollout, i, rollout->logp));
        for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
            rollout->advantage[t] = (float)(chance * (double)rollout->advantage[t]);
        }
    }
    batch_gradient(gradient, at, &all, rollout->advantage, at->exact.prompts.count);
    batch_end(&all);
}

static double relative_error(World *at)
{
    const size_t count = at->policy.count;
    float *gradient = calloc(count, sizeof *gradient);
    ExactReport report;
    assert_ok(exact_measure(&report, &at->exact, at->config.kl_coef));
    assert_ok(exact_gradient(&at->exact));
    weighted_gradient(gradient, at);
    double error = 0.0;
    for (size_t i = 0; i < count; i++) {
        error += pow((double)gradient[i] - (double)at->exact.gradient[i], 2.0);
    }
    free(gradient);
    return sqrt(error / dot_of(at->exact.gradient, at->exact.gradient, count));
}

/* A critic whose values vary with the answer; strength 0: it says 0 of all. */
static void set_critic(World *at, double strength)
{
    for (int c = 0; c < at->critic.shape.channels; c++) {
        at->critic.weight.value_weight[c] = (float)(strength * (c % 5 - 2));
    }
}

/* lambda = gamma = 1, whatever the critic says. */
static void gradient_over_all_answers_is_the_exact_one(void **state)
{
    (void)state;
    static const double strength[POLICIES] = {0.0, 0.1, -1.0};
    char run[64];
    World at;
    train(run, &at, 3);
    for (int k = 1; k <= POLICIES; k++) {
        load_policy(&at, run, k * STEPS / POLICIES);
        set_critic(&at, strength[k - 1]);
        assert_close(relative_error(&at), 0.0, 1e-5, 0);
    }
    assert_ok(io_remove_tree(run));
    world_end(&at);

    for (int c = 0; c < POLICIES; c++) {
        world_start_again(&world);
        world_enumerate(&world);
        world_move(&world, 61, 0.1);
        set_critic(&world, strength[c]);
        assert_close(relative_error(&world), 0.0, 1e-5, 0);
    }
    /* With another lambda it is not, unless the critic is right: the check can fail. */
    world.config.lambda = 0.5;
    assert_true(relative_error(&world) > 0.01);
    world.config = world_config();
    set_critic(&world, 0.0);
}

/* The cosine of the gradient over `count` samples, at pi = reference, as the first minibatch of an
 * update takes it: one minibatch, no clipping, whitened. */
static double sampled_cosine(World *at, int count)
{
    world_start_again(at);
    Batch batch;
    batch_of_samples(&batch, at, count, 77);
    double cosine, tokens = 0.0;
    for (int i = 0; i < count; i++) tokens += batch.rollout.response_length[i];
    float *advantage = calloc((size_t)batch.rollout.tokens, sizeof *advantage);
    float *gradient = calloc(at->policy.count, sizeof *gradient);
    ppo_loss_advantages(advantage, &batch.rollout, true);
    ExactReport report;
    assert_ok(exact_measure(&report, &at->exact, at->config.kl_coef));
    assert_ok(exact_gradient(&at->exact));
    batch_gradient(gradient, at, &batch, advantage, tokens);
    const size_t n = at->policy.count;
    cosine =
        dot_of(gradient, at->exact.gradient, n) /
        sqrt(dot_of(gradient, gradient, n) * dot_of(at->exact.gradient, at->exact.gradient, n));
    free(gradient);
    free(advantage);
    batch_end(&batch);
    return cosine;
}

static void gradient_over_samples_nears_the_exact_one(void **state)
{
    (void)state;
    world_enumerate(&world);
    const double few = sampled_cosine(&world, 512), many = sampled_cosine(&world, 65536);
    print_message("cosine %.4f over 512, %.4f over 65536 samples\n", few, many);
    assert_true(many > few);
    assert_in_range((int)(1000 * many), 990, 1000);
}

/* ---- the stage ---- */

static void bandit_finds_its_optimum(void **state)
{
    (void)state;
    char run[64], path[128];
    World at;
    world_begin(&at, 1);
    snprintf(at.config.missing_eos, CONFIG_TEXT, "none");
    world_enumerate(&at);
    assert_int_equal(at.exact.answers, 21);
    publish_world(run, &at);
    PpoConfig config = run_config(120);
    snprintf(config.missing_eos, CONFIG_TEXT, "none");
    config.rollouts = 256;
    config.kl_coef = 0.3;
    config.optimiser.learning_rate = 3e-3;
    assert_ok(run_stage(run, &at.task, &config, 1));

    Model trained = {0};
    snprintf(path, sizeof path, "%s/ppo", run);
    assert_ok(network_read(&trained, NULL, path, "policy", NULL, NULL));
    ExactReport before, after;
    assert_ok(exact_measure(&before, &at.exact, 0.3));
    model_copy(&at.policy, &trained);
    assert_ok(exact_measure(&after, &at.exact, 0.3));
    print_message("KL(pi* || pi) from %.3f to %.4f, regret from %.3f to %.4f\n", before.optimum_kl,
                  after.optimum_kl, before.regret, after.regret);
    assert_true(before.optimum_kl > 0.3);
    assert_close(after.optimum_kl, 0.0, 0.01, 0);

    /* pi*, by its definition, beside the policy: the likeliest answers are the same. */
    for (int p = 0; p < at.exact.prompts.count; p++) {
        double partition = 0.0, distance = 0.0;
        const ptrdiff_t first = (ptrdiff_t)p * 21;
        for (ptrdiff_t e = first; e < first + 21; e++) {
            partition += exp(at.exact.reference_logp[e] + at.exact.score[e] / 0.3);
        }
        for (ptrdiff_t e = first; e < first + 21; e++) {
            const double best =
                exp(at.exact.reference_logp[e] + at.exact.score[e] / 0.3) / partition;
            distance += 0.5 * fabs(best - exp(at.exact.logp[e]));
        }
        assert_close(distance, 0.0, 0.1, 0);
    }
    model_free(&trained);
    assert_ok(io_remove_tree(run));
    world_end(&at);
}

static Digest digest_in(const char *run, const char *file)
{
    char path[160];
    Bytes bytes = {0};
    snprintf(path, sizeof path, "%s/ppo/%s", run, file);
    assert_ok(io_read(&bytes, path, (size_t)1 << 30));
    const Digest digest = digest_of(bytes.data, bytes.count);
    bytes_free(&bytes);
    return digest;
}

/* The same run with 1 and 3 threads, and with a task that does not say how few its prompts are. */
static void journal_has_the_truth_and_training_does_not_see_it(void **state)
{
    (void)state;
    char one[64], three[64], blind[64], path[128];
    const PpoConfig config = run_config(4);
    publish_world(one, &world);
    publish_world(three, &world);
    publish_world(blind, &world);
    TaskKind kind = *world.task.kind;
    kind.all_prompts = NULL;
    Task hidden = world.task;
    hidden.kind = &kind;
    assert_ok(run_stage(one, &world.task, &config, 1));
    assert_ok(run_stage(three, &world.task, &config, 3));
    assert_ok(run_stage(blind, &hidden, &config, 1));
    assert_true(digest_equal(digest_in(one, "metrics.jsonl"), digest_in(three, "metrics.jsonl")));
    assert_true(digest_equal(digest_in(one, "policy.h5"), digest_in(three, "policy.h5")));
    assert_true(digest_equal(digest_in(one, "policy.h5"), digest_in(blind, "policy.h5")));
    assert_true(digest_equal(digest_in(one, "critic.h5"), digest_in(blind, "critic.h5")));

    MetricColumns columns = {0};
    snprintf(path, sizeof path, "%s/ppo/metrics.jsonl", one);
    assert_ok(metric_columns_read(&columns, path));
    assert_int_equal(columns.rows, 4);
    for (int m = PPO_EXACT_KL; m <= PPO_EXACT_COSINE; m++) {
        const double *column = metric_column(&columns, ppo_metrics.metrics[m].name);
        assert_non_null(column);
        for (int row = 0; row < columns.rows; row++) assert_true(isfinite(column[row]));
    }
    assert_true(metric_column(&columns, "exact/kl")[0] == 0.0);
    assert_close(metric_column(&columns, "exact/proxy")[2],
                 metric_column(&columns, "objective/scores")[2], 0.5, 0);
    assert_true(metric_column(&columns, "exact/gradient_cosine")[0] > 0.5);
    metric_columns_free(&columns);

    snprintf(path, sizeof path, "%s/ppo/metrics.jsonl", blind);
    assert_ok(metric_columns_read(&columns, path));
    assert_null(metric_column(&columns, "exact/kl"));
    metric_columns_free(&columns);
    assert_ok(io_remove_tree(one));
    assert_ok(io_remove_tree(three));
    assert_ok(io_remove_tree(blind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(k1_and_k3_sum_to_the_exact_kl),
        cmocka_unit_test(samples_estimate_the_exact_values),
        cmocka_unit_test(gradient_over_all_answers_is_the_exact_one),
        cmocka_unit_test(gradient_over_samples_nears_the_exact_one),
        cmocka_unit_test(bandit_finds_its_optimum),
        cmocka_unit_test(journal_has_the_truth_and_training_does_not_see_it),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
