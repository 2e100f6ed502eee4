/* The exact values against hand computations, brute force and central differences. */
#include "tests/support.h"
#include "tests/exact_world.h"

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
        world_start_again(&world);
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
    world_start_again(&world);
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
        world_start_again(&world);
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
        cmocka_unit_test(what_is_too_large_is_not_enumerated),
        cmocka_unit_test(answers_need_room),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
