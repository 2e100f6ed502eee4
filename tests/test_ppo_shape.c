/* What becomes of scores: rewards, advantages, metrics; and the settings that rule it. */
#include "tests/support.h"

#include "tests/batch_world.h"

#include "ppo/ppo_metrics.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c9_shaping_keeps_the_contract_of_the_file),
        cmocka_unit_test(rollout_metrics_have_their_hand_values),
        cmocka_unit_test(rlhf_reward_is_scores_and_non_score_reward),
        cmocka_unit_test(every_metric_is_described),
        cmocka_unit_test(c6_missing_end_is_paid_for),
        cmocka_unit_test(controller_acts_only_where_asked),
        cmocka_unit_test(too_few_rollouts_are_refused),
        cmocka_unit_test(a_horizon_below_an_iteration_is_refused),
    };
    return cmocka_run_group_tests(tests, prepare_worlds, NULL);
}
