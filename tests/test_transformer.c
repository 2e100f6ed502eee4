#include "tests/support.h"

#include "data/memory.h"
#include "data/rng.h"
#include "policy/gemm.h"
#include "policy/trainer.h"

/* A network, one block of three sequences of 5, 1 and 6 tokens, and a loss with a random weight on
 * every output, so that no gradient is zero by symmetry. */
enum { SEQUENCES = 3, ROWS = 12, LONGEST = 6 };
static const int lengths[SEQUENCES] = {5, 1, 6};

typedef struct World {
    Model model, gradient;
    Activations activations;
    Block block;
    Arena arena;
    int V;
    float *logits, *dlogits, *scalar, *dscalar;
} World;

static ModelShape shape_of(bool causal, ModelHead head)
{
    return (ModelShape){.vocabulary = 23,
                        .positions = 9,
                        .channels = 20,
                        .heads = 4,
                        .layers = 2,
                        .causal = causal,
                        .head = head};
}

static void world_layout(World *world, Arena *arena, ModelShape shape)
{
    activations_layout(&world->activations, arena, shape, ROWS, LONGEST, true);
    block_layout(&world->block, arena, ROWS, SEQUENCES);
    world->logits = arena_floats(arena, (size_t)ROWS * (size_t)shape.vocabulary);
    world->dlogits = arena_floats(arena, (size_t)ROWS * (size_t)shape.vocabulary);
    world->scalar = arena_floats(arena, ROWS);
    world->dscalar = arena_floats(arena, ROWS);
}

static float noise(Rng *rng, double size)
{
    return (float)(size * (2.0 * rng_uniform(rng) - 1.0));
}

static void block_of(Block *block, const int *length, int sequences, int vocabulary)
{
    Rng rng = rng_stream(7, RNG_TEST, RNG_WORLD, 1, 0, 0);
    block->sequences = sequences;
    block->rows = 0;
    for (int s = 0; s < sequences; s++) {
        block->start[s] = block->rows;
        block->member[s] = s;
        for (int t = 0; t < length[s]; t++, block->rows++) {
            block->token[block->rows] = rng_below(&rng, vocabulary);
            block->place[block->rows] = t;
        }
    }
    block->start[sequences] = block->rows;
}

static World world_of(ModelShape shape)
{
    World world = {.V = shape.vocabulary};
    assert_ok(gemm_setup());
    assert_ok(model_init(&world.model, shape));
    assert_ok(model_init(&world.gradient, shape));
    Rng rng = rng_stream(3, RNG_TEST, RNG_WORLD, 0, 0, 0);
    model_randomise(&world.model, 5, RNG_TEST, false);
    for (size_t i = 0; i < world.model.count; i++) world.model.flat[i] += noise(&rng, 0.3);

    Arena plan = arena_measure();
    world_layout(&world, &plan, shape);
    assert_ok(arena_init(&world.arena, plan.used));
    world_layout(&world, &world.arena, shape);
    block_of(&world.block, lengths, SEQUENCES, shape.vocabulary);
    for (int i = 0; i < ROWS * shape.vocabulary; i++) world.dlogits[i] = noise(&rng, 1.0);
    for (int i = 0; i < ROWS; i++) world.dscalar[i] = noise(&rng, 1.0);
    return world;
}

static void world_free(World *world)
{
    model_free(&world->model);
    model_free(&world->gradient);
    arena_free(&world->arena);
}

static double world_forward(World *world)
{
    double loss = 0.0;
    transformer_forward(&world->activations, &world->model, &world->block);
    if (world->model.shape.head == HEAD_LANGUAGE) {
        language_head_forward(world->logits, world->activations.hidden, &world->model, ROWS);
        for (int i = 0; i < ROWS * world->V; i++) {
            loss += (double)world->logits[i] * (double)world->dlogits[i];
        }
    } else {
        scalar_head_forward(world->scalar, world->activations.hidden, &world->model, ROWS);
        for (int i = 0; i < ROWS; i++) {
            loss += (double)world->scalar[i] * (double)world->dscalar[i];
        }
    }
    return loss;
}

static void world_backward(World *world)
{
    Activations *a = &world->activations;
    if (world->model.shape.head == HEAD_LANGUAGE) {
        language_head_backward(a->dhidden, &world->gradient, world->dlogits, a->hidden,
                               &world->model, ROWS);
    } else {
        scalar_head_backward(a->dhidden, &world->gradient, world->dscalar, a->hidden, &world->model,
                             ROWS);
    }
    transformer_backward(&world->gradient, a, &world->model, &world->block);
}

/* The slope of the loss when one tensor moves along `direction`, by central differences. */
static double measured_slope(World *world, const ModelWeightInfo *info, const float *direction)
{
    const double step = 2e-3;
    float *weight = world->model.flat + info->start;
    double loss[2];
    for (int side = 0; side < 2; side++) {
        const double signed_step = side == 0 ? step : -step;
        for (size_t i = 0; i < info->size; i++) {
            weight[i] += (float)(signed_step * (double)direction[i]);
        }
        loss[side] = world_forward(world);
        for (size_t i = 0; i < info->size; i++) {
            weight[i] -= (float)(signed_step * (double)direction[i]);
        }
    }
    return (loss[0] - loss[1]) / (2.0 * step);
}

/* Along the gradient's own direction, so that the slope is its length, and one random direction. */
static void check_gradients(ModelShape shape)
{
    World world = world_of(shape);
    world_forward(&world);
    world_backward(&world);
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int count = model_weight_list(info, shape);
    Rng rng = rng_stream(11, RNG_TEST, RNG_WORLD, 2, 0, 0);
    void *claimed;
    assert_ok(memory_claim(&claimed, sizeof(float) * world.model.count));
    float *direction = claimed;
    for (int i = 0; i < count; i++) {
        const float *gradient = world.gradient.flat + info[i].start;
        double length = 0.0;
        for (size_t w = 0; w < info[i].size; w++) {
            length += (double)gradient[w] * (double)gradient[w];
        }
        length = sqrt(length);
        assert_true(length > 1e-3);
        for (int way = 0; way < 2; way++) {
            double expected = 0.0;
            for (size_t w = 0; w < info[i].size; w++) {
                direction[w] = way == 0 ? (float)((double)gradient[w] / length) : noise(&rng, 1.0);
                expected += (double)gradient[w] * (double)direction[w];
            }
            const double slope = measured_slope(&world, &info[i], direction);
            if (fabs(slope - expected) > 1e-2 * length) {
                print_error("%s: slope %g, gradient says %g\n", info[i].name, slope, expected);
                fail();
            }
        }
    }
    memory_release(claimed);
    world_free(&world);
}

static void every_gradient_of_a_causal_model_is_a_slope(void **state)
{
    (void)state;
    check_gradients(shape_of(true, HEAD_LANGUAGE));
}

static void every_gradient_of_a_bidirectional_model_is_a_slope(void **state)
{
    (void)state;
    check_gradients(shape_of(false, HEAD_LANGUAGE));
}

static void every_gradient_of_a_reward_model_is_a_slope(void **state)
{
    (void)state;
    check_gradients(shape_of(true, HEAD_SCORE));
    check_gradients(shape_of(false, HEAD_SCORE));
}

static void every_gradient_of_a_critic_is_a_slope(void **state)
{
    (void)state;
    check_gradients(shape_of(true, HEAD_VALUE));
}

/* Logits of the world's block, all rows. */
static void world_logits(World *world)
{
    transformer_forward(&world->activations, &world->model, &world->block);
    language_head_forward(world->logits, world->activations.hidden, &world->model,
                          world->block.rows);
}

/* Changes the last token of the last sequence; returns how many rows of logits before it moved. */
static int rows_moved_by_the_last_token(bool causal)
{
    World world = world_of(shape_of(causal, HEAD_LANGUAGE));
    enum { V = 23 };
    float before[ROWS * V];
    world_logits(&world);
    memcpy(before, world.logits, sizeof before);
    world.block.token[ROWS - 1] = (world.block.token[ROWS - 1] + 1) % V;
    world_logits(&world);
    assert_memory_not_equal(before + (ROWS - 1) * V, world.logits + (ROWS - 1) * V,
                            sizeof(float) * V);
    /* the other sequences never see it */
    assert_memory_equal(before, world.logits, sizeof(float) * 6 * V);
    int moved = 0;
    for (int r = 0; r < ROWS - 1; r++) {
        moved += memcmp(before + r * V, world.logits + r * V, sizeof(float) * V) != 0;
    }
    world_free(&world);
    return moved;
}

static void attention_ignores_the_future(void **state)
{
    (void)state;
    assert_int_equal(rows_moved_by_the_last_token(true), 0);
}

static void bidirectional_attention_sees_the_whole_sequence(void **state)
{
    (void)state;
    assert_int_equal(rows_moved_by_the_last_token(false), 5);
}

static void a_sequence_is_the_same_alone_and_in_a_block(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        World world = world_of(shape_of(causal, HEAD_LANGUAGE));
        world_logits(&world);
        enum { V = 23 };
        float together[ROWS * V];
        int32_t token[ROWS];
        memcpy(together, world.logits, sizeof together);
        memcpy(token, world.block.token, sizeof token);
        for (int s = 0, start = 0; s < SEQUENCES; start += lengths[s++]) {
            block_of(&world.block, &lengths[s], 1, V);
            memcpy(world.block.token, token + start, sizeof *token * (size_t)lengths[s]);
            world_logits(&world);
            for (int i = 0; i < lengths[s] * V; i++) {
                assert_close((double)world.logits[i], (double)together[start * V + i], 1e-5, 1e-5);
            }
        }
        world_free(&world);
    }
}

static void the_forward_only_layout_gives_the_same_bits(void **state)
{
    (void)state;
    World world = world_of(shape_of(true, HEAD_LANGUAGE));
    transformer_forward(&world.activations, &world.model, &world.block);
    Arena small = arena_measure(), whole = arena_measure(), arena;
    Activations activations;
    activations_layout(&activations, &whole, world.model.shape, ROWS, LONGEST, true);
    activations_layout(&activations, &small, world.model.shape, ROWS, LONGEST, false);
    assert_true(small.used < whole.used);
    assert_ok(arena_init(&arena, small.used));
    activations_layout(&activations, &arena, world.model.shape, ROWS, LONGEST, false);
    transformer_forward(&activations, &world.model, &world.block);
    assert_memory_equal(activations.hidden, world.activations.hidden, sizeof(float) * ROWS * 20);
    arena_free(&arena);
    world_free(&world);
}

/* Room for longer sequences than are kept: attention weights are computed again in backward. */
static void forgotten_attention_weights_change_no_gradient(void **state)
{
    (void)state;
    World world = world_of(shape_of(true, HEAD_LANGUAGE));
    world_forward(&world);
    world_backward(&world);
    Model kept;
    assert_ok(model_init(&kept, world.model.shape));
    model_copy(&kept, &world.gradient);
    memset(world.gradient.flat, 0, sizeof(float) * world.gradient.count);

    Arena plan = arena_measure(), arena;
    Activations own = world.activations;
    activations_layout(&world.activations, &plan, world.model.shape, ROWS, ATTENTION_KEPT + 1,
                       true);
    assert_ok(arena_init(&arena, plan.used));
    activations_layout(&world.activations, &arena, world.model.shape, ROWS, ATTENTION_KEPT + 1,
                       true);
    assert_null(world.activations.layer[0].weight);
    assert_non_null(own.layer[0].weight);
    world_forward(&world);
    world_backward(&world);
    assert_memory_equal(world.gradient.flat, kept.flat, sizeof(float) * kept.count);
    arena_free(&arena);
    model_free(&kept);
    world_free(&world);
}

static void backward_adds_to_the_gradient(void **state)
{
    (void)state;
    World world = world_of(shape_of(true, HEAD_SCORE));
    world_forward(&world);
    world_backward(&world);
    Model once;
    assert_ok(model_init(&once, world.model.shape));
    model_copy(&once, &world.gradient);
    world_backward(&world);
    for (size_t i = 0; i < once.count; i++) {
        assert_close((double)world.gradient.flat[i], 2.0 * (double)once.flat[i], 1e-5, 1e-5);
    }
    model_free(&once);
    world_free(&world);
}

static void an_empty_block_does_nothing(void **state)
{
    (void)state;
    World world = world_of(shape_of(true, HEAD_LANGUAGE));
    world.block.sequences = 0;
    world.block.rows = 0;
    transformer_forward(&world.activations, &world.model, &world.block);
    transformer_backward(&world.gradient, &world.activations, &world.model, &world.block);
    for (size_t i = 0; i < world.gradient.count; i++) {
        assert_true(world.gradient.flat[i] == 0.0f);
    }
    world_free(&world);
}

static void a_fresh_model_knows_nothing(void **state)
{
    (void)state;
    World world = world_of(shape_of(true, HEAD_LANGUAGE));
    model_randomise(&world.model, 1, RNG_TEST, false);
    world_logits(&world);
    double loss = 0.0;
    for (int r = 0; r < ROWS; r++) {
        loss -= token_score(NULL, world.logits + r * world.V, world.V, 1.0, r).logp / ROWS;
    }
    assert_close(loss, log(world.V), 0.05, 0);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gradient_of_a_causal_model_is_a_slope),
        cmocka_unit_test(every_gradient_of_a_bidirectional_model_is_a_slope),
        cmocka_unit_test(every_gradient_of_a_reward_model_is_a_slope),
        cmocka_unit_test(every_gradient_of_a_critic_is_a_slope),
        cmocka_unit_test(attention_ignores_the_future),
        cmocka_unit_test(bidirectional_attention_sees_the_whole_sequence),
        cmocka_unit_test(a_sequence_is_the_same_alone_and_in_a_block),
        cmocka_unit_test(the_forward_only_layout_gives_the_same_bits),
        cmocka_unit_test(forgotten_attention_weights_change_no_gradient),
        cmocka_unit_test(backward_adds_to_the_gradient),
        cmocka_unit_test(an_empty_block_does_nothing),
        cmocka_unit_test(a_fresh_model_knows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
