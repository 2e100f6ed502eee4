#include "tests/support.h"

#include "data/memory.h"
#include "data/rng.h"
#include "policy/gemm.h"
#include "policy/language_loss.h"
#include "policy/trainer.h"

/* 40 sequences of 2 to 21 tokens, cut into 16 blocks. */
enum { COUNT = 40, MOST = 21, V = 29, SHARDS = 8, BLOCKS = 16 };

static const ModelShape shape = {
    .vocabulary = V, .positions = 32, .channels = 32, .heads = 4, .layers = 2, .causal = true};

typedef struct World {
    int32_t token[COUNT * MOST];
    int64_t offset[COUNT + 1];
    int32_t prompt[COUNT];
    int32_t length[COUNT];
    Sequences sequences;
    BlockPlan plan;
    int index[BLOCKS];
    Model model;
    Trainer trainer;
    OptimiserConfig config;
} World;

static void world_open(World *world, int shards, int threads)
{
    memset(world, 0, sizeof *world);
    assert_ok(gemm_setup());
    Rng rng = rng_stream(1, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        world->length[i] = 2 + rng_below(&rng, MOST - 1);
        world->prompt[i] = rng_below(&rng, world->length[i]);
        world->offset[i + 1] = world->offset[i] + world->length[i];
    }
    for (int t = 0; t < world->offset[COUNT]; t++) world->token[t] = rng_below(&rng, V);
    world->sequences = (Sequences){
        .count = COUNT, .token = world->token, .offset = world->offset, .prompt = world->prompt};
    assert_ok(block_plan_cut(&world->plan, world->length, COUNT, 1, BLOCKS));
    assert_int_equal(world->plan.blocks, BLOCKS);
    for (int b = 0; b < BLOCKS; b++) world->index[b] = BLOCKS - 1 - b;
    assert_ok(model_init(&world->model, shape));
    model_randomise(&world->model, 2, RNG_TEST, false);
    assert_ok(trainer_init(&world->trainer, &world->model, shards, threads, world->plan.rows,
                           world->plan.longest, BLOCKS));
    world->config = (OptimiserConfig){.learning_rate = 1e-2,
                                      .schedule = "constant",
                                      .beta1 = 0.9,
                                      .beta2 = 0.95,
                                      .epsilon = 1e-8,
                                      .weight_decay = 0.1,
                                      .max_grad_norm = 1.0};
}

static void world_close(World *world)
{
    trainer_free(&world->trainer);
    model_free(&world->model);
    block_plan_free(&world->plan);
}

static LanguageLoss loss_of(const World *world, bool response_only)
{
    return (LanguageLoss){
        .sequences = &world->sequences,
        .response_only = response_only,
        .tokens =
            language_targets(&world->sequences, &world->plan, world->index, BLOCKS, response_only),
    };
}

static Status world_step(World *world, double sums[TRAINER_SUMS], double *norm)
{
    LanguageLoss loss = loss_of(world, false);
    return trainer_step(sums, norm, &world->trainer, &world->sequences, &world->plan, world->index,
                        BLOCKS, language_loss, &loss, &world->config, 1e-2);
}

static void threads_change_no_bit_of_training(void **state)
{
    (void)state;
    const int threads[5] = {1, 2, 3, 8, 11};
    World first, other;
    double sums[2][TRAINER_SUMS], norm[2];
    world_open(&first, SHARDS, threads[0]);
    for (int step = 0; step < 3; step++) assert_ok(world_step(&first, sums[0], &norm[0]));
    for (int i = 1; i < 5; i++) {
        world_open(&other, SHARDS, threads[i]);
        for (int step = 0; step < 3; step++) assert_ok(world_step(&other, sums[1], &norm[1]));
        assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
        assert_true(norm[0] == norm[1]);
        assert_memory_equal(first.model.flat, other.model.flat, sizeof(float) * first.model.count);
        world_close(&other);
    }
    world_close(&first);
}

/* More shards than blocks, and one shard for all: the same sum but for the order of additions. */
static void shards_change_the_gradient_only_by_rounding(void **state)
{
    (void)state;
    const int shards[3] = {1, 5, 23};
    World worlds[3];
    double sums[TRAINER_SUMS];
    for (int i = 0; i < 3; i++) {
        world_open(&worlds[i], shards[i], 2);
        LanguageLoss loss = loss_of(&worlds[i], false);
        assert_ok(trainer_gradient(sums, &worlds[i].trainer, &worlds[i].sequences, &worlds[i].plan,
                                   worlds[i].index, BLOCKS, language_loss, &loss));
    }
    for (size_t w = 0; w < worlds[0].model.count; w++) {
        const double one = (double)worlds[0].trainer.gradient[0].flat[w];
        for (int i = 1; i < 3; i++) {
            assert_close((double)worlds[i].trainer.gradient[0].flat[w], one, 1e-7, 1e-4);
        }
    }
    for (int i = 0; i < 3; i++) world_close(&worlds[i]);
}

/* The whole chain, loss included: the gradient's length is the slope along the gradient. */
static void the_gradient_is_the_slope_of_the_loss(void **state)
{
    (void)state;
    for (int response_only = 0; response_only < 2; response_only++) {
        World world;
        double sums[TRAINER_SUMS], side[2];
        world_open(&world, SHARDS, 2);
        LanguageLoss loss = loss_of(&world, response_only);
        assert_ok(trainer_gradient(sums, &world.trainer, &world.sequences, &world.plan, world.index,
                                   BLOCKS, language_loss, &loss));
        const float *gradient = world.trainer.gradient[0].flat;
        double square = 0.0;
        for (size_t i = 0; i < world.model.count; i++) {
            square += (double)gradient[i] * (double)gradient[i];
        }
        const double step = 5e-3 / sqrt(square);
        for (int s = 0; s < 2; s++) {
            const double way = s == 0 ? step : -2.0 * step;
            for (size_t i = 0; i < world.model.count; i++) {
                world.model.flat[i] += (float)(way * (double)gradient[i]);
            }
            assert_ok(trainer_measure(sums, &world.trainer, &world.sequences, &world.plan,
                                      language_loss, &loss));
            side[s] = sums[0] / loss.tokens;
        }
        assert_close((side[0] - side[1]) / (2.0 * step), square, 0, 1e-2);
        world_close(&world);
    }
}

static void the_loss_of_a_fresh_model_is_the_log_of_the_vocabulary(void **state)
{
    (void)state;
    World world;
    double sums[TRAINER_SUMS];
    world_open(&world, 0, 2);
    LanguageLoss loss = loss_of(&world, false);
    assert_ok(
        trainer_measure(sums, &world.trainer, &world.sequences, &world.plan, language_loss, &loss));
    assert_close(sums[0] / sums[1], log(V), 0.05, 0);
    assert_close(sums[1], (double)(world.offset[COUNT] - COUNT), 0, 0);
    assert_close(sums[1], loss.tokens, 0, 0);
    world_close(&world);
}

static void only_response_tokens_are_targets(void **state)
{
    (void)state;
    World world;
    double sums[TRAINER_SUMS], expected = 0.0;
    world_open(&world, SHARDS, 1);
    for (int i = 0; i < COUNT; i++) {
        const int response = world.length[i] - world.prompt[i];
        expected += world.prompt[i] > 0 ? response : response - 1;
    }
    LanguageLoss loss = loss_of(&world, true);
    assert_close(loss.tokens, expected, 0, 0);
    assert_ok(trainer_gradient(sums, &world.trainer, &world.sequences, &world.plan, world.index,
                               BLOCKS, language_loss, &loss));
    assert_close(sums[1], expected, 0, 0);

    /* what the prompt's tokens would be predicted from does not matter */
    for (int i = 0; i < COUNT; i++) world.prompt[i] = world.length[i];
    loss = loss_of(&world, true);
    assert_close(loss.tokens, 0, 0, 0);
    world_close(&world);
}

static void measuring_agrees_with_training_and_with_any_batch(void **state)
{
    (void)state;
    World world, narrow;
    double trained[TRAINER_SUMS], measured[TRAINER_SUMS], again[TRAINER_SUMS];
    world_open(&world, SHARDS, 2);
    for (int b = 0; b < BLOCKS; b++) world.index[b] = b;
    LanguageLoss loss = loss_of(&world, false);
    assert_ok(trainer_gradient(trained, &world.trainer, &world.sequences, &world.plan, world.index,
                               BLOCKS, language_loss, &loss));
    assert_ok(trainer_measure(measured, &world.trainer, &world.sequences, &world.plan,
                              language_loss, &loss));
    assert_memory_equal(trained, measured, sizeof trained);

    world_open(&narrow, 0, 3);
    narrow.trainer.blocks_capacity = 5; /* several passes over the plan */
    assert_ok(trainer_measure(again, &narrow.trainer, &narrow.sequences, &narrow.plan,
                              language_loss, &loss));
    assert_memory_equal(again, measured, sizeof again);
    world_close(&narrow);
    world_close(&world);
}

static void one_batch_is_learned_by_heart(void **state)
{
    (void)state;
    World world;
    double sums[TRAINER_SUMS], norm, loss = 1e9;
    world_open(&world, SHARDS, 2);
    world.config.weight_decay = 0.0;
    /* the first token says which sequence it is, so that everything after it can be known */
    for (int i = 0; i < COUNT; i++) {
        world.token[world.offset[i]] = i % V;
        for (int64_t t = world.offset[i] + 1; t < world.offset[i + 1]; t++) {
            world.token[t] = (int32_t)((i % V * 7 + (t - world.offset[i]) * 5) % V);
        }
    }
    for (int step = 0; step < 300 && loss > 0.01; step++) {
        assert_ok(world_step(&world, sums, &norm));
        loss = sums[0] / sums[1];
    }
    assert_true(loss < 0.01);
    assert_true(sums[2] == sums[1]);
    world_close(&world);
}

/* Rate and moments fixed, so the step is bounded by the clipped gradient alone. */
static void the_gradient_is_clipped_to_its_global_norm(void **state)
{
    (void)state;
    World world;
    double sums[TRAINER_SUMS], norm;
    world_open(&world, SHARDS, 1);
    world.config.max_grad_norm = 0.01;
    assert_ok(world_step(&world, sums, &norm));
    assert_true(norm > 0.01);
    double square = 0.0, exact = 0.0;
    for (size_t i = 0; i < world.model.count; i++) {
        const double moment = (double)world.trainer.adamw.m[i] / 0.1;
        const double gradient = (double)world.trainer.gradient[0].flat[i];
        square += moment * moment;
        exact += gradient * gradient;
    }
    assert_close(sqrt(square), 0.01, 0, 1e-5);
    assert_close(norm, sqrt(exact), 0, 1e-9);
    world_close(&world);
}

static void a_gradient_that_is_not_finite_is_named_and_nothing_moves(void **state)
{
    (void)state;
    World world;
    double sums[TRAINER_SUMS], norm;
    world_open(&world, SHARDS, 2);
    const float bias = world.model.weight.norm_bias[0];
    world.model.weight.norm_bias[0] = INFINITY;
    for (int i = 1; i < GUARD_IN_A_ROW; i++) {
        assert_ok(world_step(&world, sums, &norm));
        assert_true(world.trainer.skipped);
        assert_false(world.trainer.refused);
        assert_int_equal(world.trainer.guard.skipped, i);
    }
    assert_fails(world_step(&world, sums, &norm), STATUS_DIVERGED,
                 "3 updates in a row were not finite: gradient of transformer.wte.weight is not "
                 "finite");
    assert_true(world.trainer.refused);
    assert_int_equal(world.trainer.adamw.step, 0);
    world.model.weight.norm_bias[0] = bias;
    assert_ok(world_step(&world, sums, &norm));
    assert_false(world.trainer.refused);
    assert_false(world.trainer.skipped);
    assert_int_equal(world.trainer.guard.in_a_row, 0);
    assert_int_equal(world.trainer.adamw.step, 1);
    world_close(&world);
}

/* Puts a NaN into one layered gradient, as a fault in a kernel would. */
static Status poison(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    (void)context;
    (void)sums;
    memset(block->activations->dhidden, 0,
           sizeof(float) * (size_t)block->block->rows * (size_t)block->model->shape.channels);
    block->gradient->weight.qkv_weight[32 * 96 + 5] = NAN; /* layer 1 */
    return STATUS_OK;
}

static void a_layered_gradient_is_named_with_its_layer(void **state)
{
    (void)state;
    World world;
    double sums[TRAINER_SUMS], norm;
    world_open(&world, SHARDS, 2);
    world.trainer.guard.in_a_row = GUARD_IN_A_ROW - 1;
    assert_fails(trainer_step(sums, &norm, &world.trainer, &world.sequences, &world.plan,
                              world.index, BLOCKS, poison, NULL, &world.config, 1e-2),
                 STATUS_DIVERGED, "gradient of transformer.h.1.attn.c_attn.weight is not finite");
    world_close(&world);
}

/* Finite, but not its square, which AdamW keeps. */
static Status inflate(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    (void)sums;
    memset(block->activations->dhidden, 0,
           sizeof(float) * (size_t)block->block->rows * (size_t)block->model->shape.channels);
    block->gradient->weight.qkv_weight[0] = *(const float *)context;
    return STATUS_OK;
}

static void a_gradient_whose_square_overflows_moves_nothing(void **state)
{
    (void)state;
    World world;
    double sums[TRAINER_SUMS], norm;
    float large = 4e18f;
    world_open(&world, 1, 1);
    const int index = world.index[0];
    for (int clipped = 0; clipped < 2; clipped++) {
        world.config.max_grad_norm = clipped;
        assert_ok(trainer_step(sums, &norm, &world.trainer, &world.sequences, &world.plan, &index,
                               1, inflate, &large, &world.config, 1e-2));
        assert_false(world.trainer.skipped);
        large = 4e19f;
    }
    world.config.max_grad_norm = 0;
    world.trainer.guard.in_a_row = GUARD_IN_A_ROW - 1;
    assert_fails(trainer_step(sums, &norm, &world.trainer, &world.sequences, &world.plan, &index, 1,
                              inflate, &large, &world.config, 1e-2),
                 STATUS_DIVERGED, "the gradient's norm is 4e+19: its square overflows");
    assert_true(world.trainer.refused);
    assert_int_equal(world.trainer.adamw.step, 2);
    for (size_t i = 0; i < world.model.count; i++) {
        assert_false(not_finite((double)world.trainer.adamw.v[i]));
    }
    world_close(&world);
}

/* Fails on every block, saying which sequence came first. */
static Status refuse(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    (void)context;
    (void)sums;
    return status_fail(STATUS_DIVERGED, "block of sequence %d", block->block->member[0]);
}

static void the_first_failing_block_is_reported_whatever_the_threads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        World world;
        double sums[TRAINER_SUMS];
        char expected[64];
        world_open(&world, SHARDS, threads);
        snprintf(expected, sizeof expected, "block of sequence %d",
                 world.plan.member[world.plan.first[world.index[0]]]);
        assert_fails(trainer_gradient(sums, &world.trainer, &world.sequences, &world.plan,
                                      world.index, BLOCKS, refuse, NULL),
                     STATUS_DIVERGED, expected);
        /* The step that is left out for it has no loss to show. */
        double norm;
        assert_ok(trainer_step(sums, &norm, &world.trainer, &world.sequences, &world.plan,
                               world.index, BLOCKS, refuse, NULL, &world.config, 1e-2));
        assert_true(world.trainer.skipped);
        assert_true(isnan(sums[0]) && isnan(sums[TRAINER_SUMS - 1]) && isnan(norm));
        world_close(&world);
    }
}

static void every_allocation_of_a_trainer_may_fail(void **state)
{
    (void)state;
    Model model;
    Trainer trainer;
    assert_ok(model_init(&model, shape));
    for (int call = 1; call <= 2 + SHARDS; call++) {
        memory_fault(call, 0);
        assert_fails(trainer_init(&trainer, &model, SHARDS, 2, 64, 32, 8), STATUS_FAILED,
                     "with 2 threads and 8 shards: ");
    }
    memory_fault(0, 0);
    assert_ok(trainer_init(&trainer, &model, SHARDS, 2, 64, 32, 8));
    trainer_free(&trainer);
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_change_no_bit_of_training),
        cmocka_unit_test(shards_change_the_gradient_only_by_rounding),
        cmocka_unit_test(the_gradient_is_the_slope_of_the_loss),
        cmocka_unit_test(the_loss_of_a_fresh_model_is_the_log_of_the_vocabulary),
        cmocka_unit_test(only_response_tokens_are_targets),
        cmocka_unit_test(measuring_agrees_with_training_and_with_any_batch),
        cmocka_unit_test(one_batch_is_learned_by_heart),
        cmocka_unit_test(the_gradient_is_clipped_to_its_global_norm),
        cmocka_unit_test(a_gradient_that_is_not_finite_is_named_and_nothing_moves),
        cmocka_unit_test(a_layered_gradient_is_named_with_its_layer),
        cmocka_unit_test(a_gradient_whose_square_overflows_moves_nothing),
        cmocka_unit_test(the_first_failing_block_is_reported_whatever_the_threads),
        cmocka_unit_test(every_allocation_of_a_trainer_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
