/* Scoring a batch: which row says what of which token. */
#include "tests/support.h"

#include "tests/batch_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c33_scores_are_read_where_they_belong),
        cmocka_unit_test(scores_do_not_see_the_future),
        cmocka_unit_test(c3_scores_feel_the_temperature),
        cmocka_unit_test(score_that_is_not_finite_is_named),
        cmocka_unit_test(scoring_leaves_between_blocks_when_asked),
    };
    return cmocka_run_group_tests(tests, prepare_worlds, NULL);
}
