/* The gradients of both losses over a batch, against differences and by hand. */
#include "tests/support.h"

#include "tests/batch_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy_gradient_is_the_derivative_of_the_loss),
        cmocka_unit_test(value_gradient_is_the_derivative_of_the_loss),
        cmocka_unit_test(c17_gradient_does_not_depend_on_the_cut),
        cmocka_unit_test(c17_losses_are_means_over_tokens),
    };
    return cmocka_run_group_tests(tests, prepare_worlds, NULL);
}
