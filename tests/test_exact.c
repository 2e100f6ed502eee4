#include "tests/support.h"

#include "data/store/store.h"
#include "ppo/kl.h"
#include "ppo/ppo_run.h"
#include "tests/exact_world.h"

static World world; /* answers of at most 2 tokens: 421 to a prompt */

static int begin(void **state)
{
    (void)state;
    store_setup();
    world_begin(&world, 2);
    world_enumerate(&world);
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_end(&world);
    return 0;
}

static void start_again(World *at)
{
    model_copy(&at->policy, &at->reference);
}

/* ---- by hand ---- */

/* One prompt, one token: p = (.5, .3, .2), q = (.4, .4, .2), scores 1, 0, -1. */
static void one_token_by_hand(void **state)
{
    (void)state;
    double logp[] = {log(0.5), log(0.3), log(0.2)}, reference[] = {log(0.4), log(0.4), log(0.2)};
    double score[] = {1.0, 0.0, -1.0}, gold[] = {2.0, 3.0, 7.0}, slope[3];
    ExactPath path[1];
    PpoConfig config = world_config();
    Exact exact = {.job.config = &config,
                   .prompts.count = 1,
                   .words = 2,
                   .limit = 1,
                   .nodes = 1,
                   .leaves = 1,
                   .answers = 3,
                   .logp = logp,
                   .reference_logp = reference,
                   .score = score,
                   .gold = gold,
                   .slope = slope,
                   .path = path};
    ExactReport report;
    exact_values(&report, &exact, 0.5);
    assert_close(report.probability, 1.0, 1e-15, 0);
    assert_close(report.kl, 0.025267153922, 1e-12, 0);
    assert_close(report.kl_k1, 0.025267153922, 1e-12, 0);
    assert_close(report.kl_k3, 0.025267153922, 1e-12, 0);
    assert_close(report.entropy, 1.029653014064, 1e-12, 0);
    assert_close(report.proxy, 0.3, 1e-15, 0);
    assert_close(report.gold, 3.3, 1e-15, 0);
    assert_close(report.objective, 0.3 - 0.5 * 0.025267153922, 1e-12, 0);
    /* log(.4 e^2 + .4 + .2 e^-2) / 2 */
    assert_close(report.optimum, 0.5 * log(0.4 * exp(2.0) + 0.4 + 0.2 * exp(-2.0)), 1e-14, 0);
    assert_close(report.optimum, 0.609335551014, 1e-11, 0);

    /* Q = score - log(p / q) / 2 = .888428, .143841, -1; V = J */
    const double q[] = {1.0 - 0.5 * log(1.25), -0.5 * log(0.75), -1.0}, p[] = {0.5, 0.3, 0.2};
    for (int a = 0; a < 3; a++) {
        assert_close(slope[a], -p[a] * (q[a] - report.objective), 1e-15, 0);
    }

    /* Without a penalty the optimum is the best answer. */
    exact_values(&report, &exact, 0.0);
    assert_close(report.optimum, 1.0, 0, 0);
    assert_close(report.regret, 0.7, 1e-15, 0);
    assert_true(isnan(report.optimum_kl));
}

/* Two words, two tokens: seven answers; the second token's chances depend on the first. */
static void two_tokens_by_hand(void **state)
{
    (void)state;
    const double p[] = {0.5, 0.25, 0.25, 0.125, 0.375, 0.5, 0.1, 0.2, 0.7};
    double logp[9], reference[9], gold[9] = {0}, slope[9];
    /* End at once 1; a a 2, a b 3, a end 4; b a 5, b b 6, b end 7. */
    double score[9] = {0, 0, 1, 2, 3, 4, 5, 6, 7};
    for (int e = 0; e < 9; e++) logp[e] = log(p[e]);
    for (int e = 0; e < 9; e++) reference[e] = -log(3.0);
    ExactPath path[3];
    PpoConfig config = world_config();
    Exact exact = {.job.config = &config,
                   .prompts.count = 1,
                   .words = 2,
                   .limit = 2,
                   .nodes = 3,
                   .leaves = 2,
                   .answers = 7,
                   .logp = logp,
                   .reference_logp = reference,
                   .score = score,
                   .gold = gold,
                   .slope = slope,
                   .path = path};
    static const int child[9] = {1, 2, -1, -1, -1, -1, -1, -1, -1};
    for (int e = 0; e < 9; e++) assert_int_equal(exact_child(&exact, e), child[e]);

    ExactReport report;
    exact_values(&report, &exact, 0.0);
    assert_close(report.probability, 1.0, 1e-15, 0);
    const double after_a = 0.125 * 2 + 0.375 * 3 + 0.5 * 4, after_b = 0.1 * 5 + 0.2 * 6 + 0.7 * 7;
    const double all = 0.25 + 0.5 * after_a + 0.25 * after_b;
    assert_close(report.proxy, all, 1e-15, 0);
    assert_close(slope[0], -0.5 * (after_a - all), 1e-15, 0);
    assert_close(slope[2], -0.25 * (1.0 - all), 1e-15, 0);
    assert_close(slope[4], -0.5 * 0.375 * (3.0 - after_a), 1e-15, 0);
    assert_close(slope[8], -0.25 * 0.7 * (7.0 - after_b), 1e-15, 0);

    /* KL = -H(first) + log 3 + sum of the second tokens' own, weighted */
    double first = 0.0, second_a = 0.0, second_b = 0.0;
    for (int a = 0; a < 3; a++) {
        first += p[a] * log(3.0 * p[a]);
        second_a += p[3 + a] * log(3.0 * p[3 + a]);
        second_b += p[6 + a] * log(3.0 * p[6 + a]);
    }
    assert_close(report.kl, first + 0.5 * second_a + 0.25 * second_b, 1e-15, 0);
}

/* ---- against brute force: all answers one by one through the stage's own scoring ---- */

static double sequence_sum(const Rollout *rollout, int i, const float *column)
{
    double sum = 0.0;
    for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
        if (rollout->is_response[t]) sum += (double)column[t];
    }
    return sum;
}

/* Every quantity from its definition, each answer scored as a sequence of its own. */
static ExactReport brute_force(const Batch *batch, int prompts, double kl_coef)
{
    const Rollout *rollout = &batch->rollout;
    const int each = rollout->count / prompts;
    ExactReport report = {0};
    for (int p = 0; p < prompts; p++) {
        double partition = 0.0, gap = 0.0;
        for (int i = p * each; i < (p + 1) * each; i++) {
            const double logp = sequence_sum(rollout, i, rollout->logp);
            const double reference = sequence_sum(rollout, i, rollout->reference_logp);
            const double chance = exp(logp), score = (double)rollout->score[i];
            report.probability += chance / prompts;
            report.kl += chance * (logp - reference) / prompts;
            report.entropy -= chance * logp / prompts;
            report.proxy += chance * score / prompts;
            report.gold += chance * (double)rollout->gold[i] / prompts;
            const double tilted = exp(reference + score / kl_coef);
            partition += tilted;
            gap += tilted * (reference + score / kl_coef - logp);
        }
        report.optimum += kl_coef * log(partition) / prompts;
        report.optimum_kl += (gap / partition - log(partition)) / prompts;
    }
    return report;
}

static void enumeration_agrees_with_brute_force(void **state)
{
    (void)state;
    static const char *const rules[] = {"replace", "subtract", "none"};
    for (int r = 0; r < 3; r++) {
        snprintf(world.config.missing_eos, CONFIG_TEXT, "%s", rules[r]);
        world.config.temperature = r == 1 ? 0.75 : 1.0;
        start_again(&world);
        world_enumerate(&world);
        world_move(&world, 21, 0.1);
        ExactReport report;
        assert_ok(exact_measure(&report, &world.exact, 0.3));
        Batch all;
        batch_of_all(&all, &world);
        const ExactReport expected = brute_force(&all, world.exact.prompts.count, 0.3);
        assert_int_equal(all.rollout.count, 8 * 421);
        assert_close(expected.probability, 1.0, 1e-5, 0);
        assert_close(report.probability, 1.0, 1e-13, 0);
        assert_true(report.kl > 0.05);
        assert_close(report.kl, expected.kl, 1e-6, 1e-5);
        assert_close(report.entropy, expected.entropy, 1e-6, 1e-5);
        assert_close(report.proxy, expected.proxy, 1e-6, 1e-5);
        assert_close(report.gold, expected.gold, 1e-6, 1e-5);
        assert_close(report.optimum, expected.optimum, 1e-6, 1e-5);
        assert_close(report.optimum_kl, expected.optimum_kl, 1e-6, 1e-5);
        assert_close(report.objective, expected.proxy - 0.3 * expected.kl, 1e-6, 1e-5);
        batch_end(&all);
    }
    world.config = world_config();
}

/* J* - J(pi) = beta KL(pi || pi*): the regret, by another way, is never negative. */
static void regret_is_the_divergence_from_the_optimum(void **state)
{
    (void)state;
    start_again(&world);
    world_enumerate(&world);
    world_move(&world, 22, 0.1);
    const Exact *exact = &world.exact;
    const int edges = exact_edges(exact), V = exact->words + 1;
    const double beta = 0.2;
    ExactReport report;
    assert_ok(exact_measure(&report, &world.exact, beta));
    double divergence = 0.0;
    for (int p = 0; p < exact->prompts.count; p++) {
        double partition = 0.0, sum = 0.0;
        for (int e = 0; e < edges; e++) {
            if (exact_child(exact, e) != EXACT_END) continue;
            /* Tokens before the last: the edge that leads to this one's node. */
            const int node = e / V, up = node > 0 ? (node - 1) % exact->words : 0;
            const ptrdiff_t at = (ptrdiff_t)p * edges;
            const double before = node > 0 ? exact->logp[at + up] : 0.0;
            const double reference_before = node > 0 ? exact->reference_logp[at + up] : 0.0;
            const double logp = before + exact->logp[at + e];
            const double tilted =
                reference_before + exact->reference_logp[at + e] + exact->score[at + e] / beta;
            partition += exp(tilted);
            sum += exp(logp) * (logp - tilted);
        }
        divergence += (sum + log(partition)) / exact->prompts.count;
    }
    assert_true(report.regret > 0.01);
    assert_close(report.regret, beta * divergence, 1e-12, 1e-12);
}

static double objective_at(const float *direction, const float *weights, double step)
{
    for (size_t i = 0; i < world.policy.count; i++) {
        world.policy.flat[i] = weights[i] + (float)(step * (double)direction[i]);
    }
    ExactReport report;
    assert_ok(exact_measure(&report, &world.exact, world.config.kl_coef));
    return report.objective;
}

/* Along the gradient itself and along random directions; temperature 1 and not. */
static void gradient_agrees_with_central_differences(void **state)
{
    (void)state;
    const size_t count = world.policy.count;
    float *weights = calloc(count, sizeof *weights), *direction = calloc(count, sizeof *direction);
    Rng rng = rng_stream(1, RNG_TEST, RNG_ORDER, 0, 0, 0);
    for (int r = 0; r < 6; r++) {
        world.config.temperature = r % 2 == 0 ? 1.0 : 0.75;
        start_again(&world);
        world_enumerate(&world);
        world_move(&world, (uint64_t)(30 + r), 0.1);
        memcpy(weights, world.policy.flat, count * sizeof *weights);
        ExactReport report;
        assert_ok(exact_measure(&report, &world.exact, world.config.kl_coef));
        assert_ok(exact_gradient(&world.exact));
        const double length = sqrt(dot_of(world.exact.gradient, world.exact.gradient, count));
        for (size_t i = 0; i < count; i++) {
            direction[i] = r < 2 ? world.exact.gradient[i] / (float)length
                                 : (float)(rng_uniform(&rng) - 0.5) * 0.1f;
        }
        const double expected = -dot_of(world.exact.gradient, direction, count);
        assert_true(fabs(expected) > 1e-3);
        const double h = 3e-3;
        const double slope =
            (objective_at(direction, weights, h) - objective_at(direction, weights, -h)) / (2 * h);
        assert_close(slope, expected, 1e-4, 2e-3);
    }
    world.config = world_config();
    free(weights);
    free(direction);
}

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
    start_again(&world);
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
        start_again(&world);
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
    start_again(at);
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

static void what_is_too_large_is_not_enumerated(void **state)
{
    (void)state;
    TaskConfig config = world.task_config;
    TaskKind kind = *world.task.kind;
    const Task task = {.kind = &kind, .config = &config};
    config.response_tokens = 3;
    assert_true(exact_possible(&task, 21));
    config.response_tokens = 4;
    assert_false(exact_possible(&task, 21));
    assert_true(exact_possible(&task, 11));
    config.response_tokens = 4096;
    assert_false(exact_possible(&task, 21));
    assert_false(exact_possible(&task, 2));
    config.response_tokens = 3;
    kind.all_prompts = NULL;
    assert_false(exact_possible(&task, 21));
}

static void answers_need_room(void **state)
{
    (void)state;
    World at;
    world_begin(&at, 2);
    at.task_config.response_tokens = 3;
    at.policy.shape.positions = 4;
    const ExactJob job = {.task = &at.task,
                          .tokenizer = at.tokenizer,
                          .policy = &at.policy,
                          .reference = &at.reference,
                          .reward_model = &at.reward_model,
                          .config = &at.config,
                          .threads = 1};
    Exact exact;
    assert_fails(
        exact_open(&exact, &job), STATUS_DATA,
        "enumerating answers: prompt 0: 2 tokens and 3 of answer do not fit in 4 positions");
    exact_free(&exact);
    world_end(&at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_token_by_hand),
        cmocka_unit_test(two_tokens_by_hand),
        cmocka_unit_test(enumeration_agrees_with_brute_force),
        cmocka_unit_test(regret_is_the_divergence_from_the_optimum),
        cmocka_unit_test(gradient_agrees_with_central_differences),
        cmocka_unit_test(k1_and_k3_sum_to_the_exact_kl),
        cmocka_unit_test(samples_estimate_the_exact_values),
        cmocka_unit_test(gradient_over_all_answers_is_the_exact_one),
        cmocka_unit_test(gradient_over_samples_nears_the_exact_one),
        cmocka_unit_test(bandit_finds_its_optimum),
        cmocka_unit_test(journal_has_the_truth_and_training_does_not_see_it),
        cmocka_unit_test(what_is_too_large_is_not_enumerated),
        cmocka_unit_test(answers_need_room),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
