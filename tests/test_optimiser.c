#include "tests/support.h"

#include "data/memory.h"
#include "data/rng.h"
#include "policy/optimiser.h"

static const ModelShape tiny = {
    .vocabulary = 11, .positions = 4, .channels = 4, .heads = 2, .layers = 2, .causal = true};

static OptimiserConfig config_of(const char *schedule)
{
    OptimiserConfig config = {.learning_rate = 1e-3,
                              .warmup_steps = 4,
                              .final_rate = 0.1,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .epsilon = 1e-5};
    snprintf(config.schedule, sizeof config.schedule, "%s", schedule);
    return config;
}

/* Rate 1e-3, b 0.9 and 0.999, epsilon 1e-5, w = 1, gradients 0.1 and -0.2: torch's numbers. */
static void adamw_follows_torch(void **state)
{
    (void)state;
    Model model;
    AdamW adamw;
    assert_ok(model_init(&model, tiny));
    assert_ok(adamw_init(&adamw, &model));
    float gradient[1024];
    assert_in_range(model.count, 1, 1024);
    const OptimiserConfig config = config_of("constant");
    const double expected[2] = {0.999000099990, 0.999366180368};
    for (size_t i = 0; i < model.count; i++) model.flat[i] = 1.0f;
    for (int step = 0; step < 2; step++) {
        for (size_t i = 0; i < model.count; i++) gradient[i] = step == 0 ? 0.1f : -0.2f;
        adamw_update(&adamw, &model, gradient, 1.0, &config, 1e-3, 1);
        assert_int_equal(adamw.step, step + 1);
        for (size_t i = 0; i < model.count; i++) {
            assert_close((double)model.flat[i], expected[step], 1e-7, 0);
        }
    }
    assert_close((double)adamw.m[0], 0.9 * 0.01 - 0.1 * 0.2, 1e-8, 0);
    assert_close((double)adamw.v[0], 0.999 * 1e-5 + 0.001 * 0.04, 1e-10, 0);
    adamw_free(&adamw);
    model_free(&model);
}

/* No gradient: only decay moves a weight, and only matrices have it: 2 - 0.01 * 0.5 * 2 = 1.99. */
static void only_matrices_decay(void **state)
{
    (void)state;
    Model model;
    AdamW adamw;
    assert_ok(model_init(&model, tiny));
    assert_ok(adamw_init(&adamw, &model));
    OptimiserConfig config = config_of("constant");
    config.weight_decay = 0.5;
    const float gradient[1024] = {0.0f};
    for (size_t i = 0; i < model.count; i++) model.flat[i] = 2.0f;
    adamw_update(&adamw, &model, gradient, 1.0, &config, 0.01, 1);

    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int count = model_weight_list(info, tiny);
    int decayed = 0;
    for (int i = 0; i < count; i++) {
        decayed += info[i].decay;
        for (size_t w = 0; w < info[i].size; w++) {
            assert_close((double)model.flat[info[i].start + w], info[i].decay ? 1.99 : 2.0, 1e-6,
                         0);
        }
    }
    assert_int_equal(decayed, 4);
    adamw_free(&adamw);
    model_free(&model);
}

static void the_scale_multiplies_the_gradient(void **state)
{
    (void)state;
    Model model;
    AdamW adamw;
    assert_ok(model_init(&model, tiny));
    assert_ok(adamw_init(&adamw, &model));
    const OptimiserConfig config = config_of("constant");
    float gradient[1024];
    for (size_t i = 0; i < 1024; i++) gradient[i] = 0.5f;
    adamw_update(&adamw, &model, gradient, 0.25, &config, 1e-3, 1);
    assert_close((double)adamw.m[3], 0.0125, 1e-8, 0);
    assert_close((double)adamw.v[3], 0.125 * 0.125 * 0.001, 1e-10, 0);
    adamw_free(&adamw);
    model_free(&model);
}

static void threads_change_no_bit_of_an_update(void **state)
{
    (void)state;
    ModelShape shape = tiny;
    shape.vocabulary = 40000; /* several chunks, and one that spans tensors */
    Model one, many;
    AdamW first, second;
    assert_ok(model_init(&one, shape));
    assert_ok(model_init(&many, shape));
    assert_ok(adamw_init(&first, &one));
    assert_ok(adamw_init(&second, &many));
    model_randomise(&one, 1, RNG_TEST, false);
    model_copy(&many, &one);
    OptimiserConfig config = config_of("constant");
    config.weight_decay = 0.1;
    void *claimed;
    assert_ok(memory_claim(&claimed, sizeof(float) * one.count));
    float *gradient = claimed;
    Rng rng = rng_stream(2, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (size_t i = 0; i < one.count; i++) gradient[i] = (float)rng_uniform(&rng) - 0.5f;
    for (int step = 0; step < 3; step++) {
        adamw_update(&first, &one, gradient, 0.7, &config, 1e-2, 1);
        adamw_update(&second, &many, gradient, 0.7, &config, 1e-2, 3);
    }
    assert_memory_equal(one.flat, many.flat, sizeof(float) * one.count);
    assert_memory_equal(first.v, second.v, sizeof(float) * one.count);
    memory_release(claimed);
    adamw_free(&first);
    adamw_free(&second);
    model_free(&one);
    model_free(&many);
}

/* 4 steps of warm-up, then from 1e-3 to 1e-4 over steps 4 to 12 of 13. */
static void schedules_match_hand_numbers(void **state)
{
    (void)state;
    const OptimiserConfig constant = config_of("constant"), linear = config_of("linear"),
                          cosine = config_of("cosine");
    const OptimiserConfig *all[3] = {&constant, &linear, &cosine};
    for (int i = 0; i < 3; i++) {
        assert_close(schedule_rate(all[i], 0, 13), 0.25e-3, 1e-15, 0);
        assert_close(schedule_rate(all[i], 3, 13), 1e-3, 1e-15, 0);
        assert_close(schedule_rate(all[i], 4, 13), 1e-3, 1e-15, 0);
    }
    assert_close(schedule_rate(&constant, 12, 13), 1e-3, 1e-15, 0);
    assert_close(schedule_rate(&linear, 6, 13), 1e-3 * (1.0 - 0.9 * 0.25), 1e-15, 0);
    assert_close(schedule_rate(&linear, 12, 13), 1e-4, 1e-15, 0);
    assert_close(schedule_rate(&cosine, 6, 13), 1e-3 * (0.1 + 0.45 * (1.0 + sqrt(0.5))), 1e-15, 0);
    assert_close(schedule_rate(&cosine, 8, 13), 1e-3 * 0.55, 1e-15, 0);
    assert_close(schedule_rate(&cosine, 12, 13), 1e-4, 1e-15, 0);
    assert_close(schedule_rate(&cosine, 40, 13), 1e-4, 1e-15, 0);
}

static void one_step_without_warm_up_runs_at_the_peak(void **state)
{
    (void)state;
    OptimiserConfig config = config_of("linear");
    config.warmup_steps = 0;
    assert_close(schedule_rate(&config, 0, 1), 1e-3, 1e-15, 0);
}

static void moments_that_do_not_fit_are_an_error(void **state)
{
    (void)state;
    Model model;
    AdamW adamw;
    assert_ok(model_init(&model, tiny));
    memory_fault(1, 0);
    assert_fails(adamw_init(&adamw, &model), STATUS_FAILED, "AdamW's moments: cannot allocate");
    adamw_free(&adamw);
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_follows_torch),
        cmocka_unit_test(only_matrices_decay),
        cmocka_unit_test(the_scale_multiplies_the_gradient),
        cmocka_unit_test(threads_change_no_bit_of_an_update),
        cmocka_unit_test(schedules_match_hand_numbers),
        cmocka_unit_test(one_step_without_warm_up_runs_at_the_peak),
        cmocka_unit_test(moments_that_do_not_fit_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
