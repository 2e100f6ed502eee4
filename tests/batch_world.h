/* A batch of random answers and the networks that made it, in memory. */
#ifndef TESTS_BATCH_WORLD_H
#define TESTS_BATCH_WORLD_H

#include "data/rng.h"
#include "policy/gemm.h"
#include "ppo/ppo_score.h"
#include "ppo/ppo_update.h"

enum { V = 7, POSITIONS = 12, N = 12, ROWS = 256 };

typedef struct World {
    Model policy, reference, reward_model, critic;
    Rollout rollout;
    double entropy[N * POSITIONS], kl_exact[N * POSITIONS];
    float compact[N * POSITIONS];
    PpoConfig config;
    Arena arena;
} World;

static inline Model random_model(ModelHead head, uint64_t seed, double spread)
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

static inline PpoConfig small_config(void)
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
static inline void cut_world(Rollout *rollout)
{
    BlockPlan plan;
    assert_ok(block_plan_cut(&plan, rollout->block, N, 1, 4));
    for (int b = 0; b < plan.blocks; b++) {
        for (int m = plan.first[b]; m < plan.first[b + 1]; m++) rollout->block[plan.member[m]] = b;
    }
    block_plan_free(&plan);
}

static inline void draw_answers(World *world)
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

static inline void score_world(World *world, int threads)
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

static inline void make_world(World *world)
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

static inline void free_world(World *world)
{
    model_free(&world->policy);
    model_free(&world->reference);
    model_free(&world->reward_model);
    model_free(&world->critic);
    arena_free(&world->arena);
}

static inline Status update_world(PpoUpdateReport *report, World *world, int threads,
                                  bool critic_only)
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

/* A hook that says so the second time: `context` counts. */
static inline bool asked_twice(void *context)
{
    return ++*(int *)context == 2;
}

/* Before the first of them. */
static inline int prepare_worlds(void **state)
{
    (void)state;
    return gemm_setup() == STATUS_OK ? 0 : -1;
}

#endif
