#include "tests/support.h"

#include "ppo/invariants.h"
#include "ppo/ppo_update.h"

enum { VOCABULARY = 5, END = 4, LONGEST = 3, SAMPLES = 2, TOKENS = 8 };

/* Two answers: prompt 2, response 1 1 end; prompt 1, response 2 3 3 without an end. */
typedef struct Facts {
    int32_t prompt_length[SAMPLES], response_length[SAMPLES], block[SAMPLES], id[TOKENS];
    int64_t prompt_id[SAMPLES], offset[SAMPLES + 1];
    float score[SAMPLES], raw_score[SAMPLES], gold[SAMPLES], kl[SAMPLES], rlhf_reward[SAMPLES];
    uint8_t terminated[SAMPLES], truncated[SAMPLES], is_response[TOKENS];
    float logp[TOKENS], reference_logp[TOKENS], value[TOKENS], reward[TOKENS];
    float advantage[TOKENS], returns[TOKENS], compact[TOKENS];
    double entropy[TOKENS], kl_exact[TOKENS], metric[PPO_METRICS];
    Rollout rollout;
    InvariantsOfRollout input;
} Facts;

static void shape(Facts *f)
{
    const PpoConfig config = {.gamma = 1.0, .lambda = 0.95};
    ppo_shape(&f->rollout, f->compact, &config);
    ppo_rollout_metrics(f->metric, &f->rollout);
}

static void make_facts(Facts *f)
{
    *f = (Facts){
        .prompt_length = {1, 1},
        .response_length = {3, 3},
        .id = {2, 1, 1, END, 1, 2, 3, 3},
        .offset = {0, 4, 8},
        .score = {0.75f, -1.0f},
        .raw_score = {0.75f, 0.5f},
        .terminated = {1, 0},
        .truncated = {0, 1},
        .is_response = {0, 1, 1, 1, 0, 1, 1, 1},
        .logp = {0, -1.5f, -0.25f, -2.0f, 0, -0.75f, -1.25f, -3.0f},
        .reference_logp = {0, -1.25f, -0.5f, -2.5f, 0, -0.7f, -1.0f, -3.5f},
        .value = {0, 0.5f, 0.25f, 0.75f, 0, -0.25f, -0.5f, -0.75f},
        .entropy = {0, 1.5, 0.5, 1.0, 0, 1.25, 0.0, 1.6},
        .kl_exact = {0, 0.1, 0.2, 0.0, 0, 0.05, 0.1, 0.3},
    };
    f->rollout = (Rollout){.step = 3,
                           .kl_coef = 0.1,
                           .temperature = 1.0,
                           .reference = {1, 2},
                           .reward_model = {3, 4},
                           .count = SAMPLES,
                           .tokens = TOKENS,
                           .prompt_id = f->prompt_id,
                           .prompt_length = f->prompt_length,
                           .response_length = f->response_length,
                           .block = f->block,
                           .score = f->score,
                           .raw_score = f->raw_score,
                           .gold = f->gold,
                           .kl = f->kl,
                           .rlhf_reward = f->rlhf_reward,
                           .terminated = f->terminated,
                           .truncated = f->truncated,
                           .offset = f->offset,
                           .id = f->id,
                           .is_response = f->is_response,
                           .logp = f->logp,
                           .reference_logp = f->reference_logp,
                           .value = f->value,
                           .reward = f->reward,
                           .advantage = f->advantage,
                           .returns = f->returns};
    f->input = (InvariantsOfRollout){.rollout = &f->rollout,
                                     .entropy = f->entropy,
                                     .kl_exact = f->kl_exact,
                                     .value = f->metric,
                                     .reference = {1, 2},
                                     .reward_model = {3, 4},
                                     .vocabulary = VOCABULARY,
                                     .longest = LONGEST,
                                     .end = END};
    shape(f);
}

static void what_the_program_computes_holds(void **state)
{
    (void)state;
    Facts f;
    make_facts(&f);
    assert_ok(invariants_of_rollout(&f.input));
    memcpy(f.reference_logp, f.logp, sizeof f.logp);
    shape(&f);
    f.input.untouched = true;
    assert_ok(invariants_of_rollout(&f.input));
}

#define PROVOKE(change, code, text)                                                                \
    do {                                                                                           \
        Facts f;                                                                                   \
        make_facts(&f);                                                                            \
        change;                                                                                    \
        assert_fails(invariants_of_rollout(&f.input), code, text);                                 \
    } while (0)

static void frozen_networks_must_not_change(void **state)
{
    (void)state;
    PROVOKE(f.rollout.reference.low++, STATUS_BROKEN, "the reference has changed");
    PROVOKE(f.rollout.reward_model.high++, STATUS_BROKEN, "the reward model has changed");
}

static void numbers_that_are_not_finite_are_named(void **state)
{
    (void)state;
    PROVOKE(f.raw_score[1] = NAN, STATUS_DIVERGED, "sample 1: raw_score is nan");
    PROVOKE(f.score[0] = INFINITY, STATUS_DIVERGED, "sample 0: score is inf");
    PROVOKE(f.logp[2] = NAN, STATUS_DIVERGED, "sample 0, token 2: logp is nan");
    PROVOKE(f.reference_logp[6] = -INFINITY, STATUS_DIVERGED,
            "sample 1, token 2: reference_logp is -inf");
    PROVOKE(f.value[5] = NAN, STATUS_DIVERGED, "sample 1, token 1: value is nan");
    PROVOKE(f.reward[3] = NAN, STATUS_DIVERGED, "sample 0, token 3: reward is nan");
    PROVOKE(f.advantage[1] = NAN, STATUS_DIVERGED, "sample 0, token 1: advantage is nan");
    PROVOKE(f.returns[7] = NAN, STATUS_DIVERGED, "sample 1, token 3: return is nan");
    PROVOKE(f.entropy[7] = NAN, STATUS_DIVERGED, "sample 1, token 3: entropy is nan");
    PROVOKE(f.kl_exact[7] = NAN, STATUS_DIVERGED, "kl_exact nan");
}

static void ends_are_accounted_for(void **state)
{
    (void)state;
    PROVOKE(f.truncated[0] = 1, STATUS_BROKEN, "sample 0: terminated is 1 and truncated 1");
    PROVOKE(f.id[3] = 1, STATUS_BROKEN, "sample 0, token 3: id is 1, the end 4, terminated 1");
    PROVOKE(f.id[6] = END, STATUS_BROKEN, "sample 1, token 2: id is 4");
    PROVOKE(f.input.longest = 4, STATUS_BROKEN, "sample 1: truncated with 3 of 4 tokens");
    PROVOKE(f.metric[PPO_EOS_TOKENS] = 2, STATUS_BROKEN,
            "val/num_eos_tokens is 2, the answers hold 1");
}

static void divergences_and_entropies_keep_their_ranges(void **state)
{
    (void)state;
    PROVOKE(f.entropy[1] = 1.62, STATUS_BROKEN, "sample 0, token 1: entropy is 1.62, not in");
    PROVOKE(f.entropy[1] = -0.01, STATUS_BROKEN, "entropy is -0.01");
    PROVOKE(f.kl_exact[2] = -1e-6, STATUS_BROKEN, "sample 0, token 2: kl_exact is -1e-06, below 0");
    PROVOKE(f.input.untouched = true, STATUS_BROKEN,
            "sample 0, token 1: logp is -1.5 and reference_logp -1.25 before the first update");
}

static void rewards_add_up(void **state)
{
    (void)state;
    PROVOKE(f.rlhf_reward[1] += 0.01f, STATUS_BROKEN, "sample 1: rlhf_reward is");
    PROVOKE(f.reward[1] += 0.0105f, STATUS_BROKEN, "its token rewards add up to 0.71");
    PROVOKE(f.returns[5] += 0.01f, STATUS_BROKEN, "sample 1, token 1: return is");
    PROVOKE(f.metric[PPO_NON_SCORE_REWARD] += 1e-6, STATUS_BROKEN,
            "objective/rlhf_reward is -0.15");
}

static void first_ratios_are_one(void **state)
{
    (void)state;
    Facts f;
    make_facts(&f);
    assert_ok(invariants_of_ratio(&f.rollout, 6, -1.25, 1.0, false));
    assert_fails(invariants_of_ratio(&f.rollout, 6, -1.0, 1.25, false), STATUS_BROKEN,
                 "sample 1, token 2: ratios are not 1 before the first step: logp is -1, the "
                 "sampler's -1.25, the ratio 1.25");
    assert_fails(invariants_of_ratio(&f.rollout, 1, -1.5, 1.0, true), STATUS_BROKEN,
                 "sample 0, token 1");
    assert_fails(invariants_of_ratio(&f.rollout, 1, (double)NAN, (double)NAN, false),
                 STATUS_DIVERGED, "sample 0, token 1");
}

static void updates_keep_their_ranges(void **state)
{
    (void)state;
    double value[PPO_METRICS] = {0};
    value[PPO_UPDATE_ENTROPY] = 1.0;
    assert_ok(invariants_of_update(value, VOCABULARY, false));
    value[PPO_UPDATE_ENTROPY] = 1.7;
    assert_fails(invariants_of_update(value, VOCABULARY, false), STATUS_BROKEN,
                 "policy/entropy_avg is 1.7, not in [0, ln 5]");
    value[PPO_UPDATE_ENTROPY] = 1.0;
    value[PPO_FIRST_RATIO] = 1e-9;
    assert_fails(invariants_of_update(value, VOCABULARY, false), STATUS_BROKEN,
                 "val/first_ratio_deviation is 1e-09, not 0");
    value[PPO_FIRST_RATIO] = 0.0;
    value[PPO_APPROXKL_K3] = -1e-3;
    assert_fails(invariants_of_update(value, VOCABULARY, false), STATUS_BROKEN,
                 "policy/approxkl3_avg is -0.001, below 0");
    value[PPO_APPROXKL_K3] = 0.0;
    value[PPO_POLICY_LOSS] = NAN;
    assert_fails(invariants_of_update(value, VOCABULARY, false), STATUS_DIVERGED,
                 "loss/policy_avg is nan");
    assert_ok(invariants_of_update(value, VOCABULARY, true)); /* the policy did not move */
    value[PPO_VALUE_LOSS] = NAN;
    assert_fails(invariants_of_update(value, VOCABULARY, true), STATUS_DIVERGED,
                 "loss/value_avg is nan");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_program_computes_holds),
        cmocka_unit_test(frozen_networks_must_not_change),
        cmocka_unit_test(numbers_that_are_not_finite_are_named),
        cmocka_unit_test(ends_are_accounted_for),
        cmocka_unit_test(divergences_and_entropies_keep_their_ranges),
        cmocka_unit_test(rewards_add_up),
        cmocka_unit_test(first_ratios_are_one),
        cmocka_unit_test(updates_keep_their_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
