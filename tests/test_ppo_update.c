/* An update: which weights move, by which tokens, in which order, and what stops it. */
#include "tests/support.h"

#include "tests/batch_world.h"

#include "policy/generate.h"
#include "ppo/advantage.h"
#include "ppo/ppo_metrics.h"

/* With a learning rate of 0 every minibatch of every epoch is a first one. */
static void c1_ratio_is_exactly_one_before_the_first_step(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        for (int shards = 1; shards <= 3; shards++) {
            World world;
            make_world(&world);
            score_world(&world, threads);
            world.config.shards = shards;
            world.config.epochs = 3;
            world.config.optimiser.learning_rate = 0.0;
            PpoUpdateReport report;
            assert_ok(update_world(&report, &world, threads, false));
            assert_true(report.first_deviation == 0.0 && report.ratio == 1.0);
            assert_true(report.approxkl == 0.0 && report.approxkl3 == 0.0);
            assert_true(report.clipfrac == 0.0 && report.ratio_variance == 0.0);
            assert_int_equal(report.epochs, 3);
            free_world(&world);
        }
    }
}

static void c1_ratio_that_is_not_one_stops_the_run(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    for (int64_t t = 0; t < world.rollout.tokens; t++) world.rollout.logp[t] += 1e-6f;
    PpoUpdateReport report;
    assert_fails(update_world(&report, &world, 1, false), STATUS_BROKEN,
                 "ratios are not 1 before the first step");
    free_world(&world);
}

static void number_that_is_not_finite_stops_the_run(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    world.rollout.returns[world.rollout.offset[1] - 1] = INFINITY; /* one sequence: left out */
    PpoUpdateReport report;
    assert_ok(update_world(&report, &world, 1, false));
    assert_false(report.starved);
    assert_true(isfinite(report.value_loss) && isfinite(report.policy_loss));

    free_world(&world);
    make_world(&world);
    world.config.epochs = 3;
    for (int64_t t = 0; t < world.rollout.tokens; t++) world.rollout.returns[t] = INFINITY;
    assert_fails(update_world(&report, &world, 1, false), STATUS_DIVERGED,
                 "3 updates in a row were not finite");
    free_world(&world);
}

static void threads_change_no_bit_of_an_update(void **state)
{
    (void)state;
    World one;
    make_world(&one);
    PpoUpdateReport report;
    assert_ok(update_world(&report, &one, 1, false));
    for (int threads = 2; threads <= 3; threads++) {
        World many;
        make_world(&many);
        PpoUpdateReport other;
        assert_ok(update_world(&other, &many, threads, false));
        assert_true(digest_equal(model_digest(&one.policy), model_digest(&many.policy)));
        assert_true(digest_equal(model_digest(&one.critic), model_digest(&many.critic)));
        assert_memory_equal(&report, &other, sizeof report);
        free_world(&many);
    }
    free_world(&one);
}

/* C21: both networks move, and while the critic warms up only it does. */
static void c21_each_network_moves_when_it_should(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    const Digest policy = model_digest(&world.policy), critic = model_digest(&world.critic);
    PpoUpdateReport report;
    assert_ok(update_world(&report, &world, 1, true));
    assert_true(digest_equal(policy, model_digest(&world.policy)));
    assert_false(digest_equal(critic, model_digest(&world.critic)));
    assert_true(isnan(report.policy_loss) && isnan(report.ratio) && isfinite(report.value_loss));

    const Digest warm = model_digest(&world.critic);
    assert_ok(update_world(&report, &world, 1, false));
    assert_false(digest_equal(policy, model_digest(&world.policy)));
    assert_false(digest_equal(warm, model_digest(&world.critic)));
    free_world(&world);
}

/* C16, C7: whatever stands at prompt tokens, the update is the same to the bit. */
static void c16_prompt_tokens_change_nothing(void **state)
{
    (void)state;
    World clean, poisoned;
    make_world(&clean);
    make_world(&poisoned);
    Rollout *rollout = &poisoned.rollout;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (rollout->is_response[t]) continue;
        rollout->logp[t] = rollout->reference_logp[t] = rollout->value[t] = NAN;
        rollout->advantage[t] = rollout->returns[t] = rollout->reward[t] = 1e30f;
    }
    double metric[PPO_METRICS], other_metric[PPO_METRICS];
    ppo_rollout_metrics(metric, &clean.rollout);
    ppo_rollout_metrics(other_metric, rollout);
    for (int m = PPO_KL; m <= PPO_EXPLAINED_VAR; m++) assert_true(metric[m] == other_metric[m]);

    PpoUpdateReport report, other;
    assert_ok(update_world(&report, &clean, 1, false));
    assert_ok(update_world(&other, &poisoned, 1, false));
    assert_memory_equal(&report, &other, sizeof report);
    assert_true(digest_equal(model_digest(&clean.policy), model_digest(&poisoned.policy)));
    assert_true(digest_equal(model_digest(&clean.critic), model_digest(&poisoned.critic)));
    free_world(&clean);
    free_world(&poisoned);
}

/* C30: advantages are whitened once over the batch, not minibatch by minibatch. */
static void c30_advantages_are_whitened_over_the_batch(void **state)
{
    (void)state;
    World by_update, by_hand;
    make_world(&by_update);
    make_world(&by_hand);
    int n = 0;
    Rollout *rollout = &by_hand.rollout;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (rollout->is_response[t]) by_hand.compact[n++] = rollout->advantage[t];
    }
    whiten(by_hand.compact, n, false);
    for (int64_t t = rollout->tokens - 1; t >= 0; t--) {
        if (rollout->is_response[t]) rollout->advantage[t] = by_hand.compact[--n];
    }
    by_hand.config.whiten_advantages = false;
    PpoUpdateReport report, other;
    assert_ok(update_world(&report, &by_update, 1, false));
    assert_ok(update_world(&other, &by_hand, 1, false));
    assert_true(digest_equal(model_digest(&by_update.policy), model_digest(&by_hand.policy)));
    assert_true(report.policy_loss == other.policy_loss);
    free_world(&by_update);
    free_world(&by_hand);
}

static void no_advantage_means_no_policy_step(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    for (int64_t t = 0; t < world.rollout.tokens; t++) world.rollout.advantage[t] = 0.25f;
    const Digest before = model_digest(&world.policy);
    PpoUpdateReport report;
    assert_ok(update_world(&report, &world, 1, false));
    assert_true(digest_equal(before, model_digest(&world.policy)));
    assert_true(report.policy_loss == 0.0 && report.policy_norm == 0.0);
    free_world(&world);
}

/* C29: the blocks of a batch come in another order at another step, and in the same at the same. */
static void c29_every_step_has_an_order_of_its_own(void **state)
{
    (void)state;
    Digest digest[3];
    for (int i = 0; i < 3; i++) {
        World world;
        make_world(&world);
        world.rollout.step = i == 2 ? 2 : 1;
        strcpy(world.config.optimiser.schedule, "constant");
        PpoUpdateReport report;
        assert_ok(update_world(&report, &world, 1, false));
        digest[i] = model_digest(&world.policy);
        free_world(&world);
    }
    assert_true(digest_equal(digest[0], digest[1]));
    assert_false(digest_equal(digest[0], digest[2]));
}

/* C5: EOS is a token like any other. */
static void c5_end_of_the_answer_is_learned_from(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    const Rollout *rollout = &world.rollout;
    for (int64_t t = 0; t < rollout->tokens; t++) rollout->advantage[t] = 0.0f;
    rollout->advantage[rollout->offset[6] - 1] = 1.0f;
    const Digest before = model_digest(&world.policy);
    PpoUpdateReport report;
    assert_ok(update_world(&report, &world, 1, false));
    assert_false(digest_equal(before, model_digest(&world.policy)));
    free_world(&world);
}

/* Fresh answers of the policy as it is. */
static void answer_again(World *world, int64_t step)
{
    Rollout *rollout = &world->rollout;
    Sequences prompts = {0}, answers = {0};
    GenerateRequest request[N];
    for (int i = 0; i < N; i++) {
        const int32_t prompt = i % 3;
        assert_ok(sequences_add(&prompts, &prompt, 1, NULL, 0));
        request[i] = (GenerateRequest){.prompt_id = i, .prompt = i};
    }
    const GenerateConfig config = {.temperature = rollout->temperature,
                                   .top_p = 1.0,
                                   .response_tokens = 8,
                                   .end = V - 1,
                                   .threads = 1,
                                   .seed = 3,
                                   .stage = RNG_TEST,
                                   .purpose = RNG_SAMPLING,
                                   .step = (uint64_t)step};
    assert_ok(
        generate(&answers, rollout->terminated, &world->policy, &prompts, request, N, &config));
    rollout->step = step;
    rollout->tokens = sequences_tokens(&answers);
    memcpy(rollout->id, answers.token, (size_t)rollout->tokens * sizeof *rollout->id);
    memcpy(rollout->offset, answers.offset, sizeof(int64_t[N + 1]));
    for (int i = 0; i < N; i++) {
        rollout->prompt_length[i] = 1;
        rollout->response_length[i] = (int32_t)sequences_response(&answers, i);
        rollout->block[i] = rollout->response_length[i] + 1;
        rollout->score[i] = 0.0f;
        for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
            rollout->is_response[t] = t > rollout->offset[i];
        }
    }
    cut_world(rollout);
    sequences_free(&prompts);
    sequences_free(&answers);
    score_world(world, 1);
}

static double mean_exact_kl(const World *world)
{
    double kl = 0.0, tokens = 0.0;
    for (int64_t t = 0; t < world->rollout.tokens; t++) {
        if (!world->rollout.is_response[t]) continue;
        kl += world->kl_exact[t];
        tokens += 1.0;
    }
    return kl / tokens;
}

/* C12: where the penalty is the only reward, PPO brings the policy back to the reference. */
static void c12_penalty_alone_lowers_the_exact_kl(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    world.config.steps = 60;
    world.config.optimiser.learning_rate = 0.01;
    world.config.critic_optimiser.learning_rate = 0.01;
    PpoUpdater updater;
    assert_ok(ppo_updater_init(&updater, &world.policy, &world.critic, &world.config, ROWS,
                               POSITIONS, 1));
    double first = 0.0, last = 0.0;
    for (int64_t step = 1; step <= world.config.steps; step++) {
        answer_again(&world, step);
        last = mean_exact_kl(&world);
        if (step == 1) first = last;
        ppo_shape(&world.rollout, world.compact, &world.config);
        const PpoUpdateJob job = {.rollout = &world.rollout, .config = &world.config, .seed = 5};
        PpoUpdateReport report;
        assert_ok(ppo_update(&report, &updater, &job));
    }
    assert_true(first > 0.02 && last < 0.4 * first);
    ppo_updater_free(&updater);
    free_world(&world);
}

static void target_kl_ends_the_update_after_an_epoch(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    world.config.epochs = 5;
    world.config.optimiser.learning_rate = 0.01;
    world.config.target_kl = 1e-9;
    PpoUpdateReport report;
    assert_ok(update_world(&report, &world, 1, false));
    assert_int_equal(report.epochs, 1);
    free_world(&world);

    make_world(&world);
    world.config.epochs = 5;
    world.config.target_kl = 1e3;
    assert_ok(update_world(&report, &world, 1, false));
    assert_int_equal(report.epochs, 5);
    free_world(&world);
}

static void update_leaves_between_minibatches_when_asked(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    PpoUpdater updater;
    PpoUpdateReport report;
    int asked = 0;
    assert_ok(ppo_updater_init(&updater, &world.policy, &world.critic, &world.config, ROWS,
                               POSITIONS, 1));
    const StageHooks hooks = {.context = &asked, .should_stop = asked_twice};
    const PpoUpdateJob job = {.rollout = &world.rollout, .config = &world.config, .hooks = &hooks};
    assert_fails(ppo_update(&report, &updater, &job), STATUS_STOPPED, "stopped");
    assert_int_equal(report.epochs, 0);
    assert_int_equal(updater.policy.adamw.step, 1);
    assert_int_equal(updater.critic.adamw.step, 1);
    ppo_updater_free(&updater);
    free_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c1_ratio_is_exactly_one_before_the_first_step),
        cmocka_unit_test(c1_ratio_that_is_not_one_stops_the_run),
        cmocka_unit_test(number_that_is_not_finite_stops_the_run),
        cmocka_unit_test(threads_change_no_bit_of_an_update),
        cmocka_unit_test(c21_each_network_moves_when_it_should),
        cmocka_unit_test(c16_prompt_tokens_change_nothing),
        cmocka_unit_test(c30_advantages_are_whitened_over_the_batch),
        cmocka_unit_test(no_advantage_means_no_policy_step),
        cmocka_unit_test(c29_every_step_has_an_order_of_its_own),
        cmocka_unit_test(c5_end_of_the_answer_is_learned_from),
        cmocka_unit_test(c12_penalty_alone_lowers_the_exact_kl),
        cmocka_unit_test(target_kl_ends_the_update_after_an_epoch),
        cmocka_unit_test(update_leaves_between_minibatches_when_asked),
    };
    return cmocka_run_group_tests(tests, prepare_worlds, NULL);
}
