#include "tests/support.h"

#include "data/rng.h"
#include "policy/gemm.h"
#include "policy/generate.h"
#include "ppo/advantage.h"
#include "ppo/ppo_metrics.h"
#include "ppo/ppo_score.h"
#include "ppo/ppo_update.h"

enum { V = 7, POSITIONS = 12, N = 12, ROWS = 256 };

/* A batch of random answers and the networks that made it. */
typedef struct World {
    Model policy, reference, reward_model, critic;
    Rollout rollout;
    double entropy[N * POSITIONS], kl_exact[N * POSITIONS];
    float compact[N * POSITIONS];
    PpoConfig config;
    Arena arena;
} World;

static Model random_model(ModelHead head, uint64_t seed, double spread)
{
    Model model = {0};
    const ModelShape shape = {.vocabulary = V,
                              .positions = POSITIONS,
                              .channels = 8,
                              .heads = 2,
                              .layers = 2,
                              .causal = true,
                              .head = head};
    assert_ok(model_init(&model, shape));
    model_randomise(&model, seed, RNG_TEST, false);
    Rng rng = rng_stream(seed, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (size_t i = 0; i < model.count; i++) {
        model.flat[i] += (float)(spread * (rng_uniform(&rng) - 0.5));
    }
    return model;
}

static PpoConfig small_config(void)
{
    PpoConfig config;
    const ConfigTable table = {&ppo_section, 1};
    config_defaults(&table, &config);
    config.steps = 10;
    config.rollouts = N;
    config.minibatches = 2;
    config.shards = 2;
    config.temperature = 0.7;
    return config;
}

/* Blocks out of the lengths that stand in their place. */
static void cut_world(Rollout *rollout)
{
    BlockPlan plan;
    assert_ok(block_plan_cut(&plan, rollout->block, N, 1, 4));
    for (int b = 0; b < plan.blocks; b++) {
        for (int m = plan.first[b]; m < plan.first[b + 1]; m++) rollout->block[plan.member[m]] = b;
    }
    block_plan_free(&plan);
}

static void draw_answers(World *world)
{
    Rollout *rollout = &world->rollout;
    Rng rng = rng_stream(21, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    rollout->step = 1;
    rollout->kl_coef = 0.1;
    rollout->temperature = world->config.temperature;
    rollout->count = N;
    int64_t at = 0;
    for (int i = 0; i < N; i++) {
        rollout->offset[i] = at;
        rollout->prompt_id[i] = i;
        rollout->prompt_length[i] = 1 + rng_below(&rng, 4);
        rollout->response_length[i] = 1 + rng_below(&rng, 8);
        rollout->terminated[i] = (uint8_t)(i % 3 != 0);
        rollout->truncated[i] = !rollout->terminated[i];
        rollout->gold[i] = (float)i;
        rollout->score[i] = rollout->raw_score[i] = (float)(4.0 * rng_uniform(&rng) - 2.0);
        const int length = rollout->prompt_length[i] + rollout->response_length[i];
        for (int t = 0; t < length; t++, at++) {
            rollout->id[at] = rng_below(&rng, V);
            rollout->is_response[at] = t >= rollout->prompt_length[i];
        }
        rollout->block[i] = length;
    }
    rollout->tokens = rollout->offset[N] = at;
    cut_world(rollout);
}

static void score_world(World *world, int threads)
{
    Rollout *rollout = &world->rollout;
    const PpoScores scores = {.logp = rollout->logp,
                              .reference_logp = rollout->reference_logp,
                              .value = rollout->value,
                              .entropy = world->entropy,
                              .kl_exact = world->kl_exact,
                              .raw_score = rollout->raw_score};
    const PpoNetworks networks = {&world->policy, &world->reference, &world->reward_model,
                                  &world->critic};
    const Sequences sequences = rollout_sequences(rollout);
    PpoScorer scorer;
    BlockPlan plan;
    assert_ok(ppo_scorer_init(&scorer, world->policy.shape, ROWS, POSITIONS, threads));
    assert_ok(rollout_plan(&plan, rollout));
    assert_ok(ppo_score(&scorer, &scores, &networks, &sequences, &plan, rollout->temperature));
    block_plan_free(&plan);
    ppo_scorer_free(&scorer);
}

static void make_world(World *world)
{
    *world = (World){.config = small_config()};
    world->policy = random_model(HEAD_LANGUAGE, 1, 0.5);
    world->reference = random_model(HEAD_LANGUAGE, 2, 0.5);
    world->reward_model = random_model(HEAD_SCORE, 3, 0.5);
    world->critic = random_model(HEAD_VALUE, 4, 0.5);
    Arena plan = arena_measure();
    rollout_layout(&world->rollout, &plan, N, N * POSITIONS);
    assert_ok(arena_init(&world->arena, plan.used));
    rollout_layout(&world->rollout, &world->arena, N, N * POSITIONS);
    draw_answers(world);
    score_world(world, 1);
    ppo_shape(&world->rollout, world->compact, &world->config);
}

static void free_world(World *world)
{
    model_free(&world->policy);
    model_free(&world->reference);
    model_free(&world->reward_model);
    model_free(&world->critic);
    arena_free(&world->arena);
}

static Status update_world(PpoUpdateReport *report, World *world, int threads, bool critic_only)
{
    PpoUpdater updater;
    assert_ok(ppo_updater_init(&updater, &world->policy, &world->critic, &world->config, ROWS,
                               POSITIONS, threads));
    const PpoUpdateJob job = {.rollout = &world->rollout,
                              .config = &world->config,
                              .seed = 5,
                              .critic_only = critic_only};
    const Status status = ppo_update(report, &updater, &job);
    ppo_updater_free(&updater);
    return status;
}

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

static bool asked_twice(void *context)
{
    return ++*(int *)context == 2;
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

/* ---- gradients ---- */

typedef struct Gradient {
    World world;
    Trainer trainer;
    Sequences sequences;
    BlockPlan plan;
    PpoLoss loss;
    int index[64];
} Gradient;

static void gradient_begin(Gradient *gradient, bool policy, int shards)
{
    make_world(&gradient->world);
    World *world = &gradient->world;
    /* Away from ratio 1 and from the old values, so that every branch has its tokens. */
    Rng rng = rng_stream(9, RNG_TEST, RNG_SAMPLING, 0, 0, 0);
    double tokens = 0.0;
    for (int64_t t = 0; t < world->rollout.tokens; t++) {
        world->rollout.logp[t] += (float)(1.2 * (rng_uniform(&rng) - 0.5));
        world->rollout.value[t] += (float)(1.2 * (rng_uniform(&rng) - 0.5));
        world->rollout.returns[t] = (float)(3.0 * (rng_uniform(&rng) - 0.5));
        world->rollout.advantage[t] = (float)(2.0 * (rng_uniform(&rng) - 0.5));
        tokens += world->rollout.is_response[t];
    }
    gradient->sequences = rollout_sequences(&world->rollout);
    assert_ok(rollout_plan(&gradient->plan, &world->rollout));
    world->config.entropy_coef = 0.3;
    gradient->loss = (PpoLoss){.rollout = &world->rollout,
                               .sequences = &gradient->sequences,
                               .config = &world->config,
                               .advantage = world->rollout.advantage,
                               .tokens = tokens};
    assert_ok(trainer_init(&gradient->trainer, policy ? &world->policy : &world->critic, shards, 1,
                           ROWS, POSITIONS, 64));
    for (int b = 0; b < 64; b++) gradient->index[b] = b;
}

static void gradient_end(Gradient *gradient)
{
    trainer_free(&gradient->trainer);
    block_plan_free(&gradient->plan);
    free_world(&gradient->world);
}

static double measured_loss(Gradient *gradient, bool policy)
{
    double sums[TRAINER_SUMS];
    assert_ok(trainer_measure(sums, &gradient->trainer, &gradient->sequences, &gradient->plan,
                              policy ? ppo_policy_loss : ppo_value_loss, &gradient->loss));
    if (!policy) return sums[VALUE_SUM_LOSS] / gradient->loss.tokens;
    const double bonus = gradient->world.config.entropy_coef * sums[POLICY_SUM_ENTROPY];
    return (sums[POLICY_SUM_LOSS] - bonus) / gradient->loss.tokens;
}

static void check_gradient(bool policy)
{
    Gradient gradient;
    gradient_begin(&gradient, policy, 2);
    double sums[TRAINER_SUMS];
    assert_ok(trainer_gradient(sums, &gradient.trainer, &gradient.sequences, &gradient.plan,
                               gradient.index, gradient.plan.blocks,
                               policy ? ppo_policy_loss : ppo_value_loss, &gradient.loss));
    const double clipped = sums[policy ? (int)POLICY_SUM_CLIPPED : (int)VALUE_SUM_CLIPPED];
    assert_true(clipped > 3.0 && clipped < gradient.loss.tokens - 3.0);

    Model *model = gradient.trainer.model;
    const float *flat = gradient.trainer.gradient[0].flat;
    double largest = 0.0;
    for (size_t i = 0; i < model->count; i++) largest = fmax(largest, fabs((double)flat[i]));
    int checked = 0;
    for (size_t i = 0; i < model->count; i += 7, checked++) {
        const float kept = model->flat[i], h = 2e-3f;
        model->flat[i] = kept + h;
        const double up = measured_loss(&gradient, policy);
        model->flat[i] = kept - h;
        const double down = measured_loss(&gradient, policy);
        const double width = (double)(kept + h) - (double)(kept - h);
        model->flat[i] = kept;
        assert_close((double)flat[i], (up - down) / width, 4e-3 * largest, 2e-2);
    }
    assert_true(checked > 100 && largest > 1e-3);
    gradient_end(&gradient);
}

static void policy_gradient_is_the_derivative_of_the_loss(void **state)
{
    (void)state;
    check_gradient(true);
}

static void value_gradient_is_the_derivative_of_the_loss(void **state)
{
    (void)state;
    check_gradient(false);
}

/* C17: however the batch is cut, it is one mean over tokens. */
static void c17_gradient_does_not_depend_on_the_cut(void **state)
{
    (void)state;
    Gradient one, many;
    gradient_begin(&one, true, 1);
    gradient_begin(&many, true, 4);
    double sums[TRAINER_SUMS], other[TRAINER_SUMS];
    assert_ok(trainer_gradient(sums, &one.trainer, &one.sequences, &one.plan, one.index,
                               one.plan.blocks, ppo_policy_loss, &one.loss));
    assert_ok(trainer_gradient(other, &many.trainer, &many.sequences, &many.plan, many.index,
                               many.plan.blocks, ppo_policy_loss, &many.loss));
    for (size_t i = 0; i < one.trainer.model->count; i++) {
        assert_close((double)many.trainer.gradient[0].flat[i],
                     (double)one.trainer.gradient[0].flat[i], 1e-6, 1e-4);
    }
    assert_true(sums[POLICY_SUM_LOSS] == other[POLICY_SUM_LOSS]);
    gradient_end(&one);
    gradient_end(&many);
}

/* Ratio 1, answers of 1 token with A = +1 and of 3 with A = -1: the mean over tokens is +.5, that
 * over sequences would be 0. */
static void c17_losses_are_means_over_tokens(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    Rollout *rollout = &world.rollout;
    rollout->count = 2;
    int64_t at = 0;
    for (int i = 0; i < 2; i++) {
        rollout->offset[i] = at;
        rollout->prompt_length[i] = 2;
        rollout->response_length[i] = i == 0 ? 1 : 3;
        for (int t = 0; t < 2 + rollout->response_length[i]; t++, at++) {
            rollout->is_response[at] = t >= 2;
            rollout->advantage[at] = i == 0 ? 1.0f : -1.0f;
        }
        rollout->block[i] = 0;
    }
    rollout->offset[2] = rollout->tokens = at;
    world.config.minibatches = world.config.shards = world.config.epochs = 1;
    world.config.rollouts = 2;
    world.config.whiten_advantages = false;
    score_world(&world, 1);
    PpoUpdateReport report;
    assert_ok(update_world(&report, &world, 1, false));
    assert_close(report.policy_loss, 0.5, 1e-12, 0);
    free_world(&world);
}

/* ---- scores ---- */

/* C4, C33: every response token is scored from the row before it, the last one too, and an answer's
 * score is read at its last token. */
static void c33_scores_are_read_where_they_belong(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    const Rollout *rollout = &world.rollout;
    for (int i = 0; i < N; i++) {
        /* The same sequence alone, through the parts. */
        const int length = rollout->prompt_length[i] + rollout->response_length[i];
        const Sequences alone = {.count = 1,
                                 .token = rollout->id + rollout->offset[i],
                                 .offset = (int64_t[2]){0, length},
                                 .prompt = rollout->prompt_length + i};
        BlockPlan plan;
        assert_ok(block_plan_cut(&plan, (int32_t[1]){length}, 1, 1, 1));
        float logp[POSITIONS], value[POSITIONS], score[1];
        const PpoScores scores = {.logp = logp, .value = value, .raw_score = score};
        const PpoNetworks networks = {
            .policy = &world.policy, .critic = &world.critic, .reward_model = &world.reward_model};
        PpoScorer scorer;
        assert_ok(ppo_scorer_init(&scorer, world.policy.shape, ROWS, POSITIONS, 1));
        assert_ok(ppo_score(&scorer, &scores, &networks, &alone, &plan, rollout->temperature));
        for (int t = rollout->prompt_length[i]; t < length; t++) {
            const int64_t place = rollout->offset[i] + t;
            assert_close((double)logp[t], (double)rollout->logp[place], 1e-5, 0);
            assert_close((double)value[t], (double)rollout->value[place], 1e-5, 0);
        }
        assert_close((double)score[0], (double)rollout->raw_score[i], 1e-5, 0);
        ppo_scorer_free(&scorer);
        block_plan_free(&plan);
    }
    free_world(&world);
}

/* A token is scored before it is read: changing it moves its own logp and nothing before. */
static void scores_do_not_see_the_future(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    Rollout *rollout = &world.rollout;
    static float logp[N * POSITIONS], value[N * POSITIONS];
    memcpy(logp, rollout->logp, sizeof logp);
    memcpy(value, rollout->value, sizeof value);
    const float score = rollout->raw_score[3];
    const int64_t last = rollout->offset[4] - 1;
    rollout->id[last] = (rollout->id[last] + 1) % V;
    score_world(&world, 1);
    for (int64_t t = 0; t < rollout->tokens; t++) {
        assert_int_equal(rollout->logp[t] == logp[t], t != last || !rollout->is_response[t]);
        assert_true(rollout->value[t] == value[t]);
    }
    assert_true(rollout->raw_score[3] != score);
    free_world(&world);
}

/* C3: the temperature of sampling is the temperature of every log-probability. */
static void c3_scores_feel_the_temperature(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    static float logp[N * POSITIONS];
    memcpy(logp, world.rollout.logp, sizeof logp);
    world.rollout.temperature = 1.0;
    score_world(&world, 1);
    const int64_t first = world.rollout.offset[0] + world.rollout.prompt_length[0];
    assert_true(fabs((double)(logp[first] - world.rollout.logp[first])) > 1e-3);

    /* Against itself the exact KL is 0, against another it is positive. */
    model_copy(&world.reference, &world.policy);
    for (int64_t t = 0; t < world.rollout.tokens; t++) {
        assert_true(!world.rollout.is_response[t] || world.kl_exact[t] > 1e-6);
    }
    score_world(&world, 1);
    for (int64_t t = 0; t < world.rollout.tokens; t++) {
        assert_true(world.kl_exact[t] == 0.0);
        assert_true(world.rollout.logp[t] == world.rollout.reference_logp[t]);
    }
    free_world(&world);
}

static void score_that_is_not_finite_is_named(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    for (size_t i = 0; i < world.critic.count; i++) world.critic.flat[i] = NAN;
    const PpoScores scores = {.value = world.rollout.value};
    const PpoNetworks networks = {.critic = &world.critic};
    const Sequences sequences = rollout_sequences(&world.rollout);
    PpoScorer scorer;
    BlockPlan plan;
    assert_ok(ppo_scorer_init(&scorer, world.policy.shape, ROWS, POSITIONS, 2));
    assert_ok(rollout_plan(&plan, &world.rollout));
    assert_fails(ppo_score(&scorer, &scores, &networks, &sequences, &plan, 1.0), STATUS_DIVERGED,
                 "value is nan");
    block_plan_free(&plan);
    ppo_scorer_free(&scorer);
    free_world(&world);
}

static void scoring_leaves_between_blocks_when_asked(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    const PpoScores scores = {.value = world.rollout.value};
    const PpoNetworks networks = {.critic = &world.critic};
    const Sequences sequences = rollout_sequences(&world.rollout);
    PpoScorer scorer;
    BlockPlan plan;
    int asked = 0;
    const StageHooks hooks = {.context = &asked, .should_stop = asked_twice};
    assert_ok(ppo_scorer_init(&scorer, world.policy.shape, ROWS, POSITIONS, 1));
    assert_ok(rollout_plan(&plan, &world.rollout));
    assert_true(plan.blocks >= 3);
    scorer.hooks = &hooks;
    memset(world.rollout.value, 0, sizeof(float) * (size_t)world.rollout.tokens);
    assert_fails(ppo_score(&scorer, &scores, &networks, &sequences, &plan, 1.0), STATUS_STOPPED,
                 "stopped");
    assert_int_equal(asked, plan.blocks); /* block 2 alone was left out */
    for (int i = 0; i < world.rollout.count; i++) {
        const float first =
            world.rollout.value[world.rollout.offset[i] + world.rollout.prompt_length[i]];
        assert_int_equal(first == 0.0f, world.rollout.block[i] == 1);
    }
    block_plan_free(&plan);
    ppo_scorer_free(&scorer);
    free_world(&world);
}

/* ---- shaping and metrics ---- */

static void c9_shaping_keeps_the_contract_of_the_file(void **state)
{
    (void)state;
    World world, whitened;
    make_world(&world);
    make_world(&whitened);
    whitened.config.whiten_rewards = true;
    ppo_shape(&whitened.rollout, whitened.compact, &whitened.config);
    const Rollout *rollout = &world.rollout;
    double moved = 0.0;
    for (int i = 0; i < N; i++) {
        const int64_t first = rollout->offset[i] + rollout->prompt_length[i];
        double kl = 0.0;
        for (int64_t t = first; t < rollout->offset[i + 1]; t++) {
            const double change = (double)rollout->logp[t] - (double)rollout->reference_logp[t];
            const double end = t == rollout->offset[i + 1] - 1 ? (double)rollout->score[i] : 0.0;
            kl += change;
            assert_close((double)rollout->reward[t], end - 0.1 * change, 1e-6, 0);
            assert_close((double)rollout->returns[t],
                         (double)rollout->advantage[t] + (double)rollout->value[t], 1e-6, 0);
            /* Whitening rewards changes what is learned from, not what is written down. */
            assert_true(whitened.rollout.reward[t] == rollout->reward[t]);
            moved += fabs((double)(whitened.rollout.advantage[t] - rollout->advantage[t]));
        }
        assert_close((double)rollout->kl[i], kl, 1e-6, 0);
        assert_close((double)rollout->rlhf_reward[i], (double)rollout->score[i] - 0.1 * kl, 1e-6,
                     0);
    }
    assert_true(moved > 0.1);
    free_world(&world);
    free_world(&whitened);
}

/* Two answers of the tokens (5, 6) and (5): every number by hand. */
static void rollout_metrics_have_their_hand_values(void **state)
{
    (void)state;
    int64_t offset[3] = {0, 3, 5}, prompt_id[2] = {0, 1};
    int32_t prompt[2] = {1, 1}, response[2] = {2, 1}, block[2] = {0, 0}, id[5] = {1, 5, 6, 1, 5};
    uint8_t is_response[5] = {0, 1, 1, 0, 1}, terminated[2] = {1, 0}, truncated[2] = {0, 1};
    float logp[5] = {9, -1, -2, 9, -0.5f}, reference[5] = {9, -1.5f, -1, 9, -1};
    float value[5] = {9, 1, 0, 9, 0.5f}, returns[5] = {9, 1, 2, 9, 0};
    float score[2] = {2, -1}, raw[2] = {2, 1}, gold[2] = {3, 5}, unused[5] = {0};
    const Rollout rollout = {.step = 1,
                             .kl_coef = 0.1,
                             .temperature = 1,
                             .count = 2,
                             .tokens = 5,
                             .prompt_id = prompt_id,
                             .prompt_length = prompt,
                             .response_length = response,
                             .block = block,
                             .score = score,
                             .raw_score = raw,
                             .gold = gold,
                             .kl = unused,
                             .rlhf_reward = unused,
                             .terminated = terminated,
                             .truncated = truncated,
                             .offset = offset,
                             .id = id,
                             .is_response = is_response,
                             .logp = logp,
                             .reference_logp = reference,
                             .value = value,
                             .reward = unused,
                             .advantage = unused,
                             .returns = returns};
    double m[PPO_METRICS];
    ppo_rollout_metrics(m, &rollout);
    /* changes: 0.5, -1 | 0.5 */
    assert_close(m[PPO_KL], 0.0, 1e-12, 0);
    assert_close(m[PPO_KL_K2], (0.125 + 0.5 + 0.125) / 2, 1e-12, 0);
    assert_close(m[PPO_KL_K3], (2 * (exp(-0.5) - 0.5) + exp(1.0) - 2.0) / 2, 1e-12, 0);
    assert_close(m[PPO_ENTROPY], 3.5 / 2, 1e-12, 0);
    assert_close(m[PPO_NON_SCORE_REWARD], 0.0, 1e-12, 0);
    assert_close(m[PPO_RLHF_REWARD], 0.5, 1e-12, 0);
    assert_close(m[PPO_SCORES], 0.5, 0, 0);
    assert_close(m[PPO_SCORES_STD], 1.5, 1e-12, 0);
    assert_close(m[PPO_RAW_SCORES], 1.5, 0, 0);
    assert_close(m[PPO_GOLD], 4.0, 0, 0);
    assert_close(m[PPO_KL_COEF], 0.1, 0, 0);
    assert_close(m[PPO_LENGTH], 1.5, 0, 0);
    assert_close(m[PPO_TERMINATED], 0.5, 0, 0);
    assert_close(m[PPO_EOS_TOKENS], 1.0, 0, 0);
    assert_close(m[PPO_UNIQUE], 1.0, 0, 0);
    /* returns 1, 2, 0, misses 0, 2, -0.5 */
    assert_close(m[PPO_EXPLAINED_VAR], 1.0 - 4.25 / 2.0, 1e-12, 0);

    response[1] = 2; /* (5, 6) twice */
    int32_t same[6] = {1, 5, 6, 1, 5, 6};
    Rollout twice = rollout;
    offset[2] = 6;
    twice.id = same;
    twice.tokens = 5;
    float longer[6] = {0};
    twice.logp = twice.reference_logp = longer;
    ppo_rollout_metrics(m, &twice);
    assert_close(m[PPO_UNIQUE], 0.5, 0, 0);
}

static void rlhf_reward_is_scores_and_non_score_reward(void **state)
{
    (void)state;
    World world;
    make_world(&world);
    double m[PPO_METRICS];
    ppo_rollout_metrics(m, &world.rollout);
    assert_close(m[PPO_RLHF_REWARD], m[PPO_SCORES] + m[PPO_NON_SCORE_REWARD], 1e-12, 0);
    assert_close(m[PPO_NON_SCORE_REWARD], -0.1 * m[PPO_KL], 1e-12, 0);
    assert_true(m[PPO_KL_K3] >= 0.0 && fabs(m[PPO_KL]) > 0.01);
    free_world(&world);
}

static void every_metric_is_described(void **state)
{
    (void)state;
    assert_int_equal(ppo_metrics.count, PPO_METRICS);
    for (int m = 0; m < PPO_METRICS; m++) {
        const MetricInfo *info = &ppo_metrics.metrics[m];
        assert_non_null(info->name);
        assert_non_null(info->unit);
        assert_non_null(info->formula);
        assert_non_null(info->over);
        assert_non_null(info->meaning);
        assert_true(isnan(info->low) || isnan(info->high) || info->low <= info->high);
        for (int other = 0; other < m; other++) {
            assert_string_not_equal(info->name, ppo_metrics.metrics[other].name);
        }
    }
}

/* ---- settings ---- */

/* C6: the rule is for answers that ran out of places, and a score of 0 is a number (C19). */
static void c6_missing_end_is_paid_for(void **state)
{
    (void)state;
    PpoConfig config = small_config();
    assert_close(ppo_config_score(&config, 0.7, true), 0.7, 0, 0);
    assert_close(ppo_config_score(&config, 0.7, false), -1.0, 0, 0);
    strcpy(config.missing_eos, "subtract");
    assert_close(ppo_config_score(&config, 0.0, false), -1.0, 0, 0);
    assert_close(ppo_config_score(&config, 0.0, true), 0.0, 0, 0);
    strcpy(config.missing_eos, "none");
    assert_close(ppo_config_score(&config, 0.7, false), 0.7, 0, 0);
    config.reward_clip = 0.5;
    assert_close(ppo_config_score(&config, 0.7, false), 0.5, 0, 0);
    assert_close(ppo_config_score(&config, -0.7, true), -0.5, 0, 0);
}

static void controller_acts_only_where_asked(void **state)
{
    (void)state;
    PpoConfig config = small_config();
    assert_true(ppo_config_next_kl_coef(&config, 0.05, 100.0) == 0.05);
    strcpy(config.kl_controller, "adaptive");
    config.rollouts = 256;
    config.kl_target = 6.0;
    config.kl_horizon = 1e4;
    assert_close(ppo_config_next_kl_coef(&config, 0.2, 6.6), 0.200512, 1e-12, 0);
    config.kl_horizon = 0.0; /* five batches */
    assert_close(ppo_config_next_kl_coef(&config, 0.2, 12.0), 0.2 * 1.04, 1e-12, 0);
}

static void too_few_rollouts_are_refused(void **state)
{
    (void)state;
    PpoConfig config = small_config();
    config.shards = 8;
    assert_fails(ppo_config_check(&config), STATUS_SETTINGS,
                 "ppo.rollouts = 12: must be at least minibatches times shards, 2 * 8 = 16");
}

/* A fifth of rollouts / kl_horizon off one is the least factor: it stays well above 0. */
static void a_horizon_below_an_iteration_is_refused(void **state)
{
    (void)state;
    PpoConfig config = small_config();
    config.kl_horizon = (double)config.rollouts - 1;
    assert_ok(ppo_config_check(&config)); /* the controller is fixed */
    strcpy(config.kl_controller, "adaptive");
    assert_fails(ppo_config_check(&config), STATUS_SETTINGS,
                 "ppo.kl_horizon = 11: must be 0 or at least ppo.rollouts = 12: kl_coef could turn "
                 "negative");
    config.kl_horizon = 0;
    assert_ok(ppo_config_check(&config));
    config.kl_horizon = (double)config.rollouts;
    assert_ok(ppo_config_check(&config));
    assert_close(ppo_config_next_kl_coef(&config, 0.2, 0.0), 0.2 * 0.8, 1e-12, 0);
}

static int setup(void **state)
{
    (void)state;
    return gemm_setup() == STATUS_OK ? 0 : -1;
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
        cmocka_unit_test(policy_gradient_is_the_derivative_of_the_loss),
        cmocka_unit_test(value_gradient_is_the_derivative_of_the_loss),
        cmocka_unit_test(c17_gradient_does_not_depend_on_the_cut),
        cmocka_unit_test(c17_losses_are_means_over_tokens),
        cmocka_unit_test(c33_scores_are_read_where_they_belong),
        cmocka_unit_test(scores_do_not_see_the_future),
        cmocka_unit_test(c3_scores_feel_the_temperature),
        cmocka_unit_test(score_that_is_not_finite_is_named),
        cmocka_unit_test(scoring_leaves_between_blocks_when_asked),
        cmocka_unit_test(c9_shaping_keeps_the_contract_of_the_file),
        cmocka_unit_test(rollout_metrics_have_their_hand_values),
        cmocka_unit_test(rlhf_reward_is_scores_and_non_score_reward),
        cmocka_unit_test(every_metric_is_described),
        cmocka_unit_test(c6_missing_end_is_paid_for),
        cmocka_unit_test(controller_acts_only_where_asked),
        cmocka_unit_test(too_few_rollouts_are_refused),
        cmocka_unit_test(a_horizon_below_an_iteration_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
