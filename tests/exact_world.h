/* The exact world without a run: task, random networks and their enumeration, in memory. For
 * tests/test_exact.c and tests/test_exact_ppo.c. */
#ifndef TESTS_EXACT_WORLD_H
#define TESTS_EXACT_WORLD_H

#include "data/prompts.h"
#include "data/rng.h"
#include "data/stage.h"
#include "data/store/store.h"
#include "policy/gemm.h"
#include "policy/generate.h"
#include "policy/network_file.h"
#include "ppo/exact.h"
#include "ppo/ppo_score.h"

enum { WORLD_POSITIONS = 8, WORLD_ROWS = 256 };

typedef struct World {
    TaskConfig task_config;
    Task task;
    Tokenizer *tokenizer;
    Model policy, reference, reward_model, critic;
    PpoConfig config;
    Exact exact;
} World;

static inline Model world_model(ModelHead head, uint64_t seed, double scale)
{
    const ModelShape shape = {.vocabulary = 21,
                              .positions = WORLD_POSITIONS,
                              .channels = 16,
                              .heads = 2,
                              .layers = 1,
                              .causal = true,
                              .head = head};
    Model model = {0};
    assert_ok(gemm_setup());
    assert_ok(model_init(&model, shape));
    model_randomise(&model, seed, RNG_TEST, false);
    for (size_t i = 0; i < model.count; i++) model.flat[i] *= (float)scale;
    return model;
}

static inline PpoConfig world_config(void)
{
    PpoConfig config;
    const ConfigTable table = {&ppo_section, 1};
    config_defaults(&table, &config);
    config.kl_coef = 0.1;
    config.lambda = 1.0;
    config.shards = 2;
    return config;
}

/* The reference's answers are uneven; the reward model's scores have a deviation of about 1. */
static inline void world_begin(World *world, int response_tokens)
{
    *world = (World){
        .task_config = {.name = "exact",
                        .documents = 1,
                        .demonstrations = 1,
                        .response_tokens = response_tokens},
        .config = world_config(),
    };
    assert_ok(task_open(&world->task, &world->task_config, 5));
    const char *const *words;
    int count;
    assert_ok(world->task.kind->words(&words, &count, &world->task));
    assert_ok(tokenizer_words(&world->tokenizer, words, count));
    world->reference = world_model(HEAD_LANGUAGE, 11, 3.0);
    world->policy = world_model(HEAD_LANGUAGE, 11, 3.0);
    world->reward_model = world_model(HEAD_SCORE, 12, 1.0);
    world->critic = world_model(HEAD_VALUE, 13, 1.0);
}

static inline void world_enumerate(World *world)
{
    const ExactJob job = {.task = &world->task,
                          .tokenizer = world->tokenizer,
                          .policy = &world->policy,
                          .reference = &world->reference,
                          .reward_model = &world->reward_model,
                          .config = &world->config,
                          .threads = 1};
    exact_free(&world->exact);
    assert_ok(exact_open(&world->exact, &job));
}

static inline void world_end(World *world)
{
    exact_free(&world->exact);
    model_free(&world->policy);
    model_free(&world->reference);
    model_free(&world->reward_model);
    model_free(&world->critic);
    tokenizer_free(world->tokenizer);
    task_close(&world->task);
}

/* The policy is the reference again. */
static inline void world_start_again(World *at)
{
    model_copy(&at->policy, &at->reference);
}

/* Moves every weight of the policy a little, at random. */
static inline void world_move(World *world, uint64_t seed, double size)
{
    Rng rng = rng_stream(seed, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (size_t i = 0; i < world->policy.count; i++) {
        world->policy.flat[i] += (float)(size * (2.0 * rng_uniform(&rng) - 1.0));
    }
}

/* A batch of answers, scored and shaped as PPO does it, in memory of its own. */
typedef struct Batch {
    Rollout rollout;
    Sequences sequences;
    BlockPlan plan;
    float *compact;
    double *entropy, *kl_exact;
    Arena arena;
} Batch;

static inline void batch_layout(Batch *batch, Arena *arena, int count, int64_t tokens)
{
    rollout_layout(&batch->rollout, arena, count, tokens);
    batch->compact = arena_floats(arena, (size_t)tokens);
    batch->entropy = arena_doubles(arena, (size_t)tokens);
    batch->kl_exact = arena_doubles(arena, (size_t)tokens);
}

static inline void batch_take(Batch *batch, const World *world, const Sequences *answers)
{
    Rollout *rollout = &batch->rollout;
    const int32_t end = tokenizer_end(world->tokenizer);
    rollout->step = 1;
    rollout->kl_coef = world->config.kl_coef;
    rollout->temperature = world->config.temperature;
    rollout->count = answers->count;
    rollout->tokens = sequences_tokens(answers);
    memcpy(rollout->id, answers->token, (size_t)rollout->tokens * sizeof *rollout->id);
    for (int i = 0; i <= answers->count; i++) rollout->offset[i] = answers->offset[i];
    for (int i = 0; i < answers->count; i++) {
        rollout->prompt_length[i] = answers->prompt[i];
        rollout->response_length[i] = (int32_t)sequences_response(answers, i);
        rollout->terminated[i] = rollout->id[rollout->offset[i + 1] - 1] == end;
        rollout->block[i] = (int32_t)sequences_length(answers, i);
        for (int64_t t = answers->offset[i] + answers->prompt[i]; t < answers->offset[i + 1]; t++) {
            rollout->is_response[t] = 1;
        }
    }
}

static inline void batch_score(Batch *batch, World *world)
{
    Rollout *rollout = &batch->rollout;
    const PpoNetworks networks = {&world->policy, &world->reference, &world->reward_model,
                                  &world->critic};
    const PpoScores scores = {.logp = rollout->logp,
                              .reference_logp = rollout->reference_logp,
                              .value = rollout->value,
                              .entropy = batch->entropy,
                              .kl_exact = batch->kl_exact,
                              .raw_score = rollout->raw_score};
    PpoScorer scorer;
    assert_ok(ppo_scorer_init(&scorer, world->policy.shape, WORLD_ROWS, WORLD_POSITIONS, 1));
    assert_ok(ppo_score(&scorer, &scores, &networks, &batch->sequences, &batch->plan,
                        rollout->temperature));
    ppo_scorer_free(&scorer);
    for (int i = 0; i < rollout->count; i++) {
        rollout->score[i] = (float)ppo_config_score(&world->config, (double)rollout->raw_score[i],
                                                    rollout->terminated[i]);
    }
    assert_ok(
        answers_gold(rollout->gold, &world->task, &batch->sequences, world->tokenizer));
    ppo_shape(rollout, batch->compact, &world->config);
}

/* Takes `answers` over. */
static inline void batch_begin(Batch *batch, World *world, Sequences *answers)
{
    *batch = (Batch){0};
    Arena plan = arena_measure();
    batch_layout(batch, &plan, answers->count, sequences_tokens(answers));
    assert_ok(arena_init(&batch->arena, plan.used));
    batch_layout(batch, &batch->arena, answers->count, sequences_tokens(answers));
    batch_take(batch, world, answers);
    sequences_free(answers);
    batch->sequences = rollout_sequences(&batch->rollout);
    assert_ok(block_plan_cut(&batch->plan, batch->rollout.block, batch->rollout.count, 1, 8));
    batch_score(batch, world);
}

static inline void batch_end(Batch *batch)
{
    block_plan_free(&batch->plan);
    arena_free(&batch->arena);
}

/* Of a column over the tokens of answer `i`. */
static inline double sequence_sum(const Rollout *rollout, int i, const float *column)
{
    double sum = 0.0;
    for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
        if (rollout->is_response[t]) sum += (double)column[t];
    }
    return sum;
}

/* Every answer to every prompt, by number. */
static inline void batch_of_all(Batch *batch, World *world)
{
    Sequences answers = {0};
    for (int p = 0; p < world->exact.prompts.count; p++) {
        for (int e = 0; e < exact_edges(&world->exact); e++) {
            if (exact_child(&world->exact, e) != EXACT_END) continue;
            assert_ok(exact_sequence(&answers, &world->exact, p, e));
        }
    }
    assert_int_equal(answers.count, world->exact.answers * world->exact.prompts.count);
    batch_begin(batch, world, &answers);
}

/* `count` answers drawn from the policy, prompt after prompt. */
static inline void batch_of_samples(Batch *batch, World *world, int count, uint64_t step)
{
    Sequences answers = {0};
    GenerateRequest *request = calloc((size_t)count, sizeof *request);
    uint8_t *terminated = calloc((size_t)count, 1);
    const GenerateConfig config = {.temperature = world->config.temperature,
                                   .top_p = 1.0,
                                   .response_tokens = (int)world->task_config.response_tokens,
                                   .end = tokenizer_end(world->tokenizer),
                                   .threads = 1,
                                   .seed = 3,
                                   .stage = RNG_TEST,
                                   .purpose = RNG_SAMPLING,
                                   .step = step};
    for (int i = 0; i < count; i++) {
        request[i] =
            (GenerateRequest){.prompt_id = i, .prompt = i % world->exact.prompts.count};
    }
    assert_ok(generate(&answers, terminated, &world->policy, &world->exact.prompts, request, count,
                       &config));
    free(terminated);
    free(request);
    batch_begin(batch, world, &answers);
}

/* The gradient of PPO's policy loss over the batch, into `gradient`; `advantage` as it takes it. */
static inline void batch_gradient(float *gradient, World *world, const Batch *batch,
                                  const float *advantage, double tokens)
{
    PpoLoss loss = {.rollout = &batch->rollout,
                    .sequences = &batch->sequences,
                    .config = &world->config,
                    .advantage = advantage,
                    .tokens = tokens};
    Trainer trainer;
    double sums[TRAINER_SUMS];
    int *index = calloc((size_t)batch->plan.blocks, sizeof *index);
    for (int b = 0; b < batch->plan.blocks; b++) index[b] = b;
    assert_ok(trainer_init(&trainer, &world->policy, 8, 1, WORLD_ROWS, WORLD_POSITIONS,
                           batch->plan.blocks));
    assert_ok(trainer_gradient(sums, &trainer, &batch->sequences, &batch->plan, index,
                               batch->plan.blocks, ppo_policy_loss, &loss));
    assert_true(sums[POLICY_SUM_DEVIATION] == 0.0);
    memcpy(gradient, trainer.gradient[0].flat, world->policy.count * sizeof *gradient);
    trainer_free(&trainer);
    free(index);
}

static inline double dot_of(const float *a, const float *b, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* The one that the tests of a file share: answers of at most 2 tokens, 421 to a prompt. */
static World world;

static inline int world_setup(void **state)
{
    (void)state;
    store_setup();
    world_begin(&world, 2);
    world_enumerate(&world);
    return 0;
}

static inline int world_teardown(void **state)
{
    (void)state;
    world_end(&world);
    return 0;
}

#endif
