#include "tests/support.h"

#include "data/memory.h"
#include "data/rng.h"
#include "policy/blocks.h"
#include "policy/model.h"

static const ModelShape small = {
    .vocabulary = 40, .positions = 16, .channels = 24, .heads = 3, .layers = 2, .causal = true};

static ModelShape with_head(ModelHead head)
{
    ModelShape shape = small;
    shape.head = head;
    return shape;
}

static void the_list_counts_gpt2_to_the_weight(void **state)
{
    (void)state;
    const ModelShape gpt2 = {
        .vocabulary = 50257, .positions = 1024, .channels = 768, .heads = 12, .layers = 12};
    assert_true(model_parameters(gpt2) == 124439808);
}

static void the_list_covers_all_weights_end_to_end(void **state)
{
    (void)state;
    const ModelHead heads[3] = {HEAD_LANGUAGE, HEAD_SCORE, HEAD_VALUE};
    const int rows[3] = {16, 17, 18};
    for (int h = 0; h < 3; h++) {
        ModelWeightInfo info[MODEL_WEIGHT_KINDS];
        const ModelShape shape = with_head(heads[h]);
        const int count = model_weight_list(info, shape);
        assert_int_equal(count, rows[h]);
        size_t end = 0;
        for (int i = 0; i < count; i++) {
            assert_true(info[i].start == end && info[i].size > 0);
            end += info[i].size;
        }
        assert_true(end == model_parameters(shape));
        assert_string_equal(info[4].name, "attn.c_attn.weight");
        assert_true(info[4].layered && info[4].decay);
        assert_int_equal(info[4].rows, 24);
        assert_int_equal(info[4].columns, 72);
    }
}

static void an_element_is_named_by_its_tensor(void **state)
{
    (void)state;
    const ModelShape shape = with_head(HEAD_VALUE);
    char name[128];
    size_t place;
    model_weight_at(name, &place, shape, 0);
    assert_string_equal(name, "transformer.wte.weight");
    assert_int_equal(place, 0);
    model_weight_at(name, &place, shape, 40 * 24 + 5);
    assert_string_equal(name, "transformer.wpe.weight");
    assert_int_equal(place, 5);
    model_weight_at(name, &place, shape, 40 * 24 + 16 * 24 + 2 * 24 + 24 + 7);
    assert_string_equal(name, "transformer.h.1.ln_1.bias");
    assert_int_equal(place, 7);
    model_weight_at(name, &place, shape, model_parameters(shape) - 1);
    assert_string_equal(name, "v_head.summary.bias");
    assert_int_equal(place, 0);
}

static void shapes_that_cannot_be_are_refused(void **state)
{
    (void)state;
    Model model;
    ModelShape shape = small;
    shape.heads = 5;
    assert_fails(model_init(&model, shape), STATUS_SETTINGS,
                 "heads = 5 does not divide channels = 24");
    shape = small;
    shape.vocabulary = 0;
    assert_fails(model_init(&model, shape), STATUS_SETTINGS, "a model of 0 words");
    memory_fault(1, 0);
    assert_fails(model_init(&model, small), STATUS_FAILED, "weights: cannot allocate");
    model_free(&model);
}

static void initial_weights_have_gpt2s_spread(void **state)
{
    (void)state;
    Model model;
    ModelShape shape = with_head(HEAD_SCORE);
    shape.channels = 96;
    assert_ok(model_init(&model, shape));
    model_randomise(&model, 3, RNG_TEST, false);
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int count = model_weight_list(info, shape);
    for (int i = 0; i < count; i++) {
        double mean = 0.0, square = 0.0;
        for (size_t w = 0; w < info[i].size; w++) {
            const double weight = (double)model.flat[info[i].start + w];
            mean += weight / (double)info[i].size;
            square += weight * weight / (double)info[i].size;
        }
        double expected = 0.02;
        if (info[i].initial == INITIAL_RESIDUAL) expected = 0.02 / sqrt(4.0);
        if (info[i].initial == INITIAL_SCORE) expected = 1.0 / sqrt(97.0);
        if (info[i].initial == INITIAL_ONE || info[i].initial == INITIAL_ZERO) expected = 0.0;
        const double level = info[i].initial == INITIAL_ONE ? 1.0 : 0.0;
        const double few = 4.0 / sqrt((double)info[i].size);
        assert_close(mean, level, expected * few + 1e-9, 0);
        assert_close(sqrt(fmax(0.0, square - mean * mean)), expected, expected * few + 1e-6, 0);
    }
    model_free(&model);
}

static void the_trunk_starts_alike_whatever_the_head(void **state)
{
    (void)state;
    Model policy, reward;
    assert_ok(model_init(&policy, with_head(HEAD_LANGUAGE)));
    assert_ok(model_init(&reward, with_head(HEAD_SCORE)));
    model_randomise(&policy, 3, RNG_TEST, false);
    model_randomise(&reward, 3, RNG_TEST, false);
    assert_memory_equal(policy.flat, reward.flat, sizeof(float) * policy.count);
    assert_true(reward.weight.score_weight[0] != 0.0f);

    model_randomise(&policy, 4, RNG_TEST, false);
    model_copy(&reward, &policy);
    model_randomise(&reward, 9, RNG_TEST, true);
    assert_memory_equal(policy.flat, reward.flat, sizeof(float) * policy.count);
    model_free(&policy);
    model_free(&reward);
}

static void a_critic_from_a_reward_model_says_what_the_reward_model_says(void **state)
{
    (void)state;
    Model reward, critic, copy;
    assert_ok(model_init(&reward, with_head(HEAD_SCORE)));
    assert_ok(model_init(&critic, with_head(HEAD_VALUE)));
    assert_ok(model_init(&copy, with_head(HEAD_SCORE)));
    model_randomise(&reward, 3, RNG_TEST, false);
    reward.reward_gain = 0.5f;
    reward.reward_bias = -2.0f;
    model_value_from_score(&critic, &reward);
    assert_memory_equal(critic.weight.qkv_weight, reward.weight.qkv_weight, 2 * 24 * 72 * 4);
    assert_true(critic.weight.value_weight[7] == 0.5f * reward.weight.score_weight[7]);
    assert_true(critic.weight.value_bias[0] == -2.0f);

    model_copy(&copy, &reward);
    assert_memory_equal(copy.flat, reward.flat, sizeof(float) * reward.count);
    assert_true(copy.reward_gain == 0.5f && copy.reward_bias == -2.0f);
    assert_true(digest_equal(model_digest(&copy), model_digest(&reward)));
    copy.flat[5] += 1.0f;
    assert_false(digest_equal(model_digest(&copy), model_digest(&reward)));
    model_free(&reward);
    model_free(&critic);
    model_free(&copy);
}

/* 200 -> block 0, 150 -> 1, 100 -> 1 (now 250), 50 -> 0 (250), 6 -> 0 at the tie (256). */
static void blocks_are_cut_longest_first(void **state)
{
    (void)state;
    BlockPlan plan;
    const int32_t length[5] = {6, 100, 200, 50, 150};
    const int expected[5] = {0, 2, 3, 1, 4};
    assert_ok(block_plan_cut(&plan, length, 5, 1, 2));
    assert_int_equal(plan.blocks, 2);
    assert_int_equal(plan.first[1], 3);
    for (int i = 0; i < 5; i++) assert_int_equal(plan.member[i], expected[i]);
    assert_int_equal(plan.rows, 256);
    assert_int_equal(plan.longest, 200);
    block_plan_free(&plan);
}

/* 64 sequences of 96 rows in multiples of 8: 24 blocks would hold up to 288 rows, so 32. */
static void blocks_stay_within_their_rows(void **state)
{
    (void)state;
    BlockPlan plan;
    int32_t length[64];
    for (int i = 0; i < 64; i++) length[i] = 96;
    assert_ok(block_plan_cut(&plan, length, 64, 1, 8));
    assert_int_equal(plan.blocks, 32);
    assert_int_equal(plan.rows, 192);
    block_plan_free(&plan);
}

static void a_longer_sequence_is_a_block_of_its_own(void **state)
{
    (void)state;
    BlockPlan plan;
    const int32_t length[4] = {10, 1024, 20, 300};
    assert_ok(block_plan_cut(&plan, length, 4, 1, 1));
    assert_int_equal(plan.blocks, 3);
    assert_int_equal(plan.rows, 1024);
    for (int b = 0; b < 2; b++) assert_int_equal(plan.first[b + 1] - plan.first[b], 1);
    block_plan_free(&plan);
}

static void pairs_stay_together_and_every_sequence_has_one_place(void **state)
{
    (void)state;
    Rng rng = rng_stream(5, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (int trial = 0; trial < 30; trial++) {
        enum { MOST = 300 };
        int32_t length[MOST];
        int block[MOST];
        const int count = 2 * (1 + rng_below(&rng, MOST / 2));
        for (int i = 0; i < count; i++) length[i] = 1 + rng_below(&rng, 120);
        BlockPlan plan;
        assert_ok(block_plan_cut(&plan, length, count, 2, 4));
        assert_int_equal(plan.blocks % 4, 0);
        assert_int_equal(plan.first[plan.blocks], count);
        memset(block, -1, sizeof block);
        for (int b = 0; b < plan.blocks; b++) {
            int rows = 0;
            for (int m = plan.first[b]; m < plan.first[b + 1]; m++) {
                assert_int_equal(block[plan.member[m]], -1);
                assert_true(m == plan.first[b] || plan.member[m] > plan.member[m - 1]);
                block[plan.member[m]] = b;
                rows += length[plan.member[m]];
            }
            assert_in_range(rows, 0, BLOCK_ROWS);
        }
        for (int i = 0; i < count; i += 2) assert_int_equal(block[i], block[i + 1]);
        block_plan_free(&plan);
    }
}

static void a_recorded_plan_comes_back(void **state)
{
    (void)state;
    Rng rng = rng_stream(6, RNG_TEST, RNG_WORLD, 0, 0, 0);
    enum { COUNT = 100 };
    int32_t length[COUNT], block[COUNT];
    for (int i = 0; i < COUNT; i++) length[i] = 1 + rng_below(&rng, 60);
    BlockPlan plan, again;
    assert_ok(block_plan_cut(&plan, length, COUNT, 1, 8));
    for (int b = 0; b < plan.blocks; b++) {
        for (int m = plan.first[b]; m < plan.first[b + 1]; m++) block[plan.member[m]] = b;
    }
    assert_ok(block_plan_from(&again, block, length, COUNT));
    assert_int_equal(again.blocks, plan.blocks);
    assert_int_equal(again.rows, plan.rows);
    assert_int_equal(again.longest, plan.longest);
    assert_memory_equal(again.first, plan.first, sizeof(int) * ((size_t)plan.blocks + 1));
    assert_memory_equal(again.member, plan.member, sizeof(int) * COUNT);
    block_plan_free(&again);
    block_plan_free(&plan);

    block[3] = -1;
    assert_fails(block_plan_from(&again, block, length, COUNT), STATUS_DATA,
                 "block of sequence 3 is -1, not in [0, 100)");
}

static void no_sequences_make_empty_blocks(void **state)
{
    (void)state;
    BlockPlan plan;
    const int32_t length[1] = {3};
    assert_ok(block_plan_cut(&plan, length, 0, 1, 4));
    assert_int_equal(plan.blocks, 4);
    assert_int_equal(plan.rows, 0);
    block_plan_free(&plan);
    assert_ok(block_plan_cut(&plan, length, 1, 1, 4));
    assert_int_equal(plan.blocks, 4);
    assert_int_equal(plan.first[1], 1);
    block_plan_free(&plan);
}

static void every_allocation_of_a_plan_may_fail(void **state)
{
    (void)state;
    BlockPlan plan;
    const int32_t length[4] = {3, 9, 7, 5};
    for (int call = 1; call <= 6; call++) {
        memory_fault(call, 0);
        assert_fails(block_plan_cut(&plan, length, 4, 1, 2), STATUS_FAILED, "cannot allocate");
        assert_null(plan.first);
    }
    memory_fault(0, 0);
    assert_ok(block_plan_cut(&plan, length, 4, 1, 2));
    block_plan_free(&plan);
}

static void a_block_gathers_its_sequences(void **state)
{
    (void)state;
    int32_t token[9] = {10, 11, 12, 20, 30, 31, 40, 41, 42};
    int64_t offset[5] = {0, 3, 4, 6, 9};
    int32_t prompt[4] = {1, 1, 1, 1};
    const Sequences sequences = {.count = 4, .token = token, .offset = offset, .prompt = prompt};
    const int32_t assigned[4] = {1, 0, 0, 1}, length[4] = {3, 1, 2, 3};
    BlockPlan plan;
    assert_ok(block_plan_from(&plan, assigned, length, 4));

    Arena measure = arena_measure(), arena;
    Block block;
    block_layout(&block, &measure, 6, 2);
    assert_ok(arena_init(&arena, measure.used));
    block_layout(&block, &arena, 6, 2);
    block_fill(&block, &plan, 1, &sequences);
    const int32_t tokens[6] = {10, 11, 12, 40, 41, 42}, places[6] = {0, 1, 2, 0, 1, 2};
    assert_int_equal(block.rows, 6);
    assert_int_equal(block.sequences, 2);
    assert_memory_equal(block.token, tokens, sizeof tokens);
    assert_memory_equal(block.place, places, sizeof places);
    assert_int_equal(block.start[1], 3);
    assert_int_equal(block.start[2], 6);
    assert_int_equal(block.member[1], 3);
    arena_free(&arena);
    block_plan_free(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_counts_gpt2_to_the_weight),
        cmocka_unit_test(the_list_covers_all_weights_end_to_end),
        cmocka_unit_test(an_element_is_named_by_its_tensor),
        cmocka_unit_test(shapes_that_cannot_be_are_refused),
        cmocka_unit_test(initial_weights_have_gpt2s_spread),
        cmocka_unit_test(the_trunk_starts_alike_whatever_the_head),
        cmocka_unit_test(a_critic_from_a_reward_model_says_what_the_reward_model_says),
        cmocka_unit_test(blocks_are_cut_longest_first),
        cmocka_unit_test(blocks_stay_within_their_rows),
        cmocka_unit_test(a_longer_sequence_is_a_block_of_its_own),
        cmocka_unit_test(pairs_stay_together_and_every_sequence_has_one_place),
        cmocka_unit_test(a_recorded_plan_comes_back),
        cmocka_unit_test(no_sequences_make_empty_blocks),
        cmocka_unit_test(every_allocation_of_a_plan_may_fail),
        cmocka_unit_test(a_block_gathers_its_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
