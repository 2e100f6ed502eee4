/* Every fault of the lab is caught, by checks that do not know it: each judges what a run has left
 * (files, journal, exit status) or what its losses say, and passes on the sound program.
 *
 * test_faults [SEEDS]: seeds on which the sound program and every fault are judged; without it the
 * sound program on three and faults on one. */
#include "tests/fault_checks.h"

#include "data/preference.h"
#include "data/prompts.h"
#include "data/store/store.h"
#include "policy/sft.h"
#include "reward/labeller.h"
#include "reward/reward_model.h"

enum { DEMONSTRATIONS = 12 };

static uint64_t sound_seeds = 3, fault_seeds = 1;

/* ---- checks of the stages before ---- */

static const char *const demonstrated[3] = {" good fine plain", " bad poor plain fine",
                                            " fine good"};
static const int32_t demonstrated_id[3][5] = {
    {1, 2, 3, TOY_WORDS, 0}, {5, 4, 3, 2, TOY_WORDS}, {2, 1, TOY_WORDS, 0, 0}};

static Status demonstration(Bytes *prompt, Bytes *response, const Task *task, TaskSplit split,
                            int64_t index)
{
    TRY(toy_prompt(prompt, task, split, index));
    return bytes_text(response, demonstrated[index % 3]);
}

static int64_t demonstrations(const Task *task, TaskSplit split)
{
    (void)task;
    (void)split;
    return DEMONSTRATIONS;
}

/* The last number of a metric that a stage logged. */
static double last_logged(const char *run, const char *stage, const char *name)
{
    char path[600];
    MetricColumns columns = {0};
    snprintf(path, sizeof path, "%s/%s/metrics.jsonl", run, stage);
    assert_ok(metric_columns_read(&columns, path));
    const double number = metric_column(&columns, name)[columns.rows - 1];
    metric_columns_free(&columns);
    return number;
}

static void sft_run_on_toy(const char *run, const Fault *fault, uint64_t seed)
{
    TaskKind kind = toy_kind();
    kind.demonstration = demonstration;
    kind.demonstration_count = demonstrations;
    const Task task = {.kind = &kind, .config = &toy_config, .seed = seed};
    SftConfig config;
    const ConfigTable table = {&sft_section, 1};
    config_defaults(&table, &config);
    config.epochs = 60;
    config.batch = DEMONSTRATIONS;
    config.shards = 2;
    config.evaluate_every = 0;
    config.optimiser.learning_rate = 2e-2;
    toy_publish_policy(run, "pretrain", 1.0);
    Stage stage = toy_stage(run, "sft", 1);
    stage.seed = seed;
    const SftJob job = {.stage = &stage,
                        .task = &task,
                        .config = &config,
                        .alter_labels = fault != NULL ? fault->labels : NULL};
    assert_ok(sft_run(&job));
    stage_close(&stage);
}

static void published_policy(Model *policy, Tokenizer **tokenizer, const char *run)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%s/sft", run);
    assert_ok(network_read(policy, NULL, folder, "policy", NULL, NULL));
    assert_ok(stage_read_tokenizer(tokenizer, run, "sft"));
}

/* heldout/loss is minus the mean log-probability of the response tokens of the demonstrations. */
static bool published_policy_has_the_logged_loss(const Subject *subject)
{
    if (subject->sft == NULL) return true;
    TaskKind kind = toy_kind();
    kind.demonstration = demonstration;
    const Task task = {.kind = &kind, .config = &toy_config};
    Model policy = {0};
    Tokenizer *tokenizer;
    Sequences held_out = {0};
    float logp[DEMONSTRATIONS * TOY_POSITIONS];
    int32_t length[DEMONSTRATIONS];
    BlockPlan plan;
    published_policy(&policy, &tokenizer, subject->sft);
    assert_ok(demonstrations_read(&held_out, &task, tokenizer, TASK_HELD_OUT, 0, DEMONSTRATIONS,
                                  TOY_POSITIONS));
    for (int i = 0; i < held_out.count; i++) length[i] = (int32_t)sequences_length(&held_out, i);
    assert_ok(block_plan_cut(&plan, length, held_out.count, 1, 1));
    log_probabilities(logp, &policy, &held_out, &plan, 1.0);
    double sum = 0.0, tokens = 0.0;
    for (int i = 0; i < held_out.count; i++) {
        for (int64_t t = held_out.offset[i] + held_out.prompt[i]; t < held_out.offset[i + 1]; t++) {
            sum -= (double)logp[t];
            tokens += 1.0;
        }
    }
    block_plan_free(&plan);
    sequences_free(&held_out);
    tokenizer_free(tokenizer);
    model_free(&policy);
    return near(last_logged(subject->sft, "sft", "heldout/loss"), sum / tokens, 1e-4);
}

/* What was shown sixty times is known by heart: the likeliest answers are the demonstrations. */
static bool demonstrations_are_learned(const Subject *subject)
{
    if (subject->sft == NULL) return true;
    TaskKind kind = toy_kind();
    const Task task = {.kind = &kind, .config = &toy_config};
    Model policy = {0};
    Tokenizer *tokenizer;
    Sequences prompts = {0}, answers = {0};
    uint8_t terminated[3];
    GenerateRequest request[3];
    const int64_t index[3] = {0, 1, 2};
    const GenerateConfig config = {.temperature = 0.01,
                                   .top_p = 1.0,
                                   .response_tokens = TOY_ANSWER,
                                   .end = TOY_WORDS,
                                   .threads = 1,
                                   .stage = RNG_TEST,
                                   .purpose = RNG_SAMPLING};
    for (int i = 0; i < 3; i++) request[i] = (GenerateRequest){.prompt_id = i, .prompt = i};
    published_policy(&policy, &tokenizer, subject->sft);
    assert_ok(prompts_read(&prompts, &task, tokenizer, TASK_TRAIN, index, 3));
    assert_ok(generate(&answers, terminated, &policy, &prompts, request, 3, &config));
    bool learned = true;
    for (int i = 0; i < 3; i++) {
        const int32_t *id = answers.token + answers.offset[i] + answers.prompt[i];
        for (int64_t t = 0; learned && t < sequences_response(&answers, i); t++) {
            learned = t < 5 && id[t] == demonstrated_id[i][t];
        }
    }
    sequences_free(&answers);
    sequences_free(&prompts);
    tokenizer_free(tokenizer);
    model_free(&policy);
    return learned;
}

static void reward_run_on_toy(const char *run, const Fault *fault, uint64_t seed)
{
    const TaskKind kind = toy_kind();
    const Task task = {.kind = &kind, .config = &toy_config, .seed = seed};
    const LabelConfig labels = {.pairs = 200,
                                .held_out = 0.25,
                                .temperature = 0.25,
                                .annotators = 1,
                                .sampling_temperature = 1.0};
    RewardConfig config;
    const ConfigTable table = {&reward_section, 1};
    config_defaults(&table, &config);
    config.batch = 32;
    config.shards = 2;
    config.evaluate_every = 0;
    config.normalise_answers = 64;
    config.optimiser.learning_rate = 1e-2;
    toy_publish_policy(run, "sft", 1.0);
    Stage label = toy_stage(run, "label", 1), reward = toy_stage(run, "reward", 1);
    label.seed = reward.seed = seed;
    const LabelJob first = {.stage = &label, .task = &task, .config = &labels};
    assert_ok(label_run(&first));
    const RewardJob job = {.stage = &reward,
                           .task = &task,
                           .config = &config,
                           .sampling_temperature = 1.0,
                           .alter_answers = fault != NULL ? fault->answers : NULL};
    assert_ok(reward_run(&job));
}

/* heldout/nll is that of the published model's scores of the answers in comparisons.h5. */
static bool published_judge_has_the_logged_nll(const Subject *subject)
{
    if (subject->reward == NULL) return true;
    char path[600], folder[600];
    Preferences pairs = {0};
    Model judge = {0};
    float score[512];
    snprintf(path, sizeof path, "%s/label/comparisons.h5", subject->reward);
    snprintf(folder, sizeof folder, "%s/reward", subject->reward);
    assert_ok(preferences_read(&pairs, path, NULL, TOY_WORDS + 1));
    assert_ok(network_read(&judge, NULL, folder, "model", NULL, NULL));
    assert_true(pairs.completion.count <= 512);
    assert_ok(reward_score(score, &judge, &pairs.completion, 1));
    double nll = 0.0, count = 0.0;
    for (int i = 0; i < pairs.count; i++) {
        if (pairs.split[i] != 1) continue;
        const double gap = ((double)score[pairs.chosen[i]] - (double)score[pairs.rejected[i]]) /
                           (double)judge.reward_gain;
        nll += log1p(exp(-gap));
        count += 1.0;
    }
    model_free(&judge);
    preferences_free(&pairs);
    return near(last_logged(subject->reward, "reward", "heldout/nll"), nll / count, 1e-4);
}

/* ---- which check catches what ---- */

#define CHECKS(X)                                                                                  \
    X(invariants_hold)                                                                             \
    X(rewards_follow_their_definition)                                                             \
    X(at_first_only_ends_are_paid)                                                                 \
    X(advantages_follow_their_definition)                                                          \
    X(returns_forget_the_critic)                                                                   \
    X(k3_is_of_the_right_side)                                                                     \
    X(coefficient_follows_the_journal)                                                             \
    X(coefficient_follows_the_files)                                                               \
    X(frozen_networks_are_those_published)                                                         \
    X(sft_policy_says_reference_logp)                                                              \
    X(checkpoint_says_logp)                                                                        \
    X(surprise_is_the_entropy)                                                                     \
    X(answers_are_drawn_again)                                                                     \
    X(equal_prompts_get_different_answers)                                                         \
    X(updates_come_out_again)                                                                      \
    X(losses_of_still_networks_follow_from_the_file)                                               \
    X(clip_has_its_corners)                                                                        \
    X(value_clip_is_around_the_old_value)                                                          \
    X(published_policy_has_the_logged_loss)                                                        \
    X(demonstrations_are_learned)                                                                  \
    X(published_judge_has_the_logged_nll)

#define CHECK_ROW(name) {#name, name},
static const struct {
    const char *name;
    Check *holds;
} checks[] = {CHECKS(CHECK_ROW)};
enum { CHECK_COUNT = sizeof checks / sizeof checks[0], CAUGHT_BY_MOST = 4 };

/* At least these catch the fault, at every seed. Two of a row are independent: neither calls the
 * other's code. */
static const struct {
    const char *fault;
    Check *caught_by[CAUGHT_BY_MOST];
} expected[] = {
    {"sft-prompt-loss", {published_policy_has_the_logged_loss}},
    {"sft-label-shift", {published_policy_has_the_logged_loss, demonstrations_are_learned}},
    {"reward-wrong-token", {published_judge_has_the_logged_nll}},
    {"shared-seed", {answers_are_drawn_again, equal_prompts_get_different_answers}},
    {"temperature-forgotten", {checkpoint_says_logp, surprise_is_the_entropy}},
    {"low-precision", {invariants_hold, checkpoint_says_logp, at_first_only_ends_are_paid}},
    {"score-early", {rewards_follow_their_definition, at_first_only_ends_are_paid}},
    {"kl-sign", {invariants_hold, rewards_follow_their_definition}},
    {"gae-off-by-one", {advantages_follow_their_definition, returns_forget_the_critic}},
    {"bootstrap-truncated", {advantages_follow_their_definition, returns_forget_the_critic}},
    {"returns-whitened",
     {invariants_hold, advantages_follow_their_definition, returns_forget_the_critic}},
    {"k3-reversed", {k3_is_of_the_right_side}},
    {"eos-left-out", {updates_come_out_again, losses_of_still_networks_follow_from_the_file}},
    {"whiten-minibatch", {updates_come_out_again, losses_of_still_networks_follow_from_the_file}},
    {"clip-min", {updates_come_out_again, clip_has_its_corners}},
    {"value-clip-anchor", {updates_come_out_again, value_clip_is_around_the_old_value}},
    {"reference-drift",
     {invariants_hold, frozen_networks_are_those_published, sft_policy_says_reference_logp}},
    {"stale-kl", {coefficient_follows_the_journal, coefficient_follows_the_files}},
    {"token-kl", {coefficient_follows_the_journal, coefficient_follows_the_files}},
};

/* Every check of the program with this fault, or of the sound one; which of them fail. */
static void judge(bool failed[CHECK_COUNT], const Fault *fault, uint64_t seed)
{
    static Trial plain, still;
    char sft[64], reward[64];
    Subject subject = {0};
    if (fault == NULL || strcmp(fault->stage, "ppo") == 0) {
        trial_run(&plain, fault, seed, false);
        trial_run(&still, fault, seed, true);
        subject.plain = &plain;
        subject.still = &still;
    }
    if (fault == NULL || strcmp(fault->stage, "sft") == 0) {
        test_folder(sft);
        sft_run_on_toy(sft, fault, seed);
        subject.sft = sft;
    }
    if (fault == NULL || strcmp(fault->stage, "reward") == 0) {
        test_folder(reward);
        reward_run_on_toy(reward, fault, seed);
        subject.reward = reward;
    }
    for (int c = 0; c < CHECK_COUNT; c++) failed[c] = !checks[c].holds(&subject);
    if (subject.plain != NULL) trial_end(&plain);
    if (subject.still != NULL) trial_end(&still);
    if (subject.sft != NULL) assert_ok(io_remove_tree(sft));
    if (subject.reward != NULL) assert_ok(io_remove_tree(reward));
}

static void every_check_passes_on_the_sound_program(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= sound_seeds; seed++) {
        bool failed[CHECK_COUNT];
        judge(failed, NULL, seed);
        for (int c = 0; c < CHECK_COUNT; c++) {
            if (!failed[c]) continue;
            print_error("seed %d: %s fails\n", (int)seed, checks[c].name);
            fail();
        }
    }
}

static void assert_caught(const bool failed[CHECK_COUNT], int row, uint64_t seed)
{
    for (int k = 0; k < CAUGHT_BY_MOST && expected[row].caught_by[k] != NULL; k++) {
        for (int c = 0; c < CHECK_COUNT; c++) {
            if (checks[c].holds != expected[row].caught_by[k] || failed[c]) continue;
            print_error("seed %d: %s does not catch %s\n", (int)seed, checks[c].name,
                        expected[row].fault);
            fail();
        }
    }
}

static void every_fault_is_caught(void **state)
{
    (void)state;
    assert_int_equal(sizeof expected / sizeof expected[0], fault_count);
    assert_true(fault_count >= 16);
    int twice = 0;
    for (int i = 0; i < fault_count; i++) {
        assert_string_equal(expected[i].fault, faults[i].name);
        assert_non_null(expected[i].caught_by[0]);
        twice += expected[i].caught_by[1] != NULL;
    }
    assert_true(2 * twice >= fault_count);
    for (int i = 0; i < fault_count; i++) {
        for (uint64_t seed = 1; seed <= fault_seeds; seed++) {
            bool failed[CHECK_COUNT];
            judge(failed, &faults[i], seed);
            assert_caught(failed, i, seed);
        }
    }
}

/* ---- the lab ---- */

static void faults_are_found_by_name(void **state)
{
    (void)state;
    const Fault *fault;
    PpoConfig config = toy_ppo_config();
    assert_ok(fault_find(&fault, "", &config));
    assert_null(fault);
    assert_ok(fault_find(&fault, "score-early", &config));
    assert_string_equal(fault->name, "score-early");
    assert_fails(fault_find(&fault, "score-erly", &config), STATUS_SETTINGS,
                 "break = score-erly: no such fault; did you mean score-early");
    assert_fails(fault_find(&fault, "stale-kl", &config), STATUS_SETTINGS,
                 "changes nothing without ppo.kl_controller = adaptive");
    assert_fails(fault_find(&fault, "hidden:x", &config), STATUS_SETTINGS, "wants a number");
    assert_false(fault_is_hidden("score-early"));
}

/* Equal seeds hide equal faults; only faults of ppo that act are hidden. */
static void hidden_faults_act(void **state)
{
    (void)state;
    const PpoConfig config = toy_ppo_config(); /* temperature 1, a fixed coefficient */
    int seen = 0;
    bool found[32] = {false};
    for (int seed = 0; seed < 400; seed++) {
        char text[32];
        const Fault *fault, *again;
        snprintf(text, sizeof text, "hidden:%d", seed);
        assert_true(fault_is_hidden(text));
        assert_ok(fault_find(&fault, text, &config));
        assert_ok(fault_find(&again, text, &config));
        assert_ptr_equal(fault, again);
        assert_string_equal(fault->stage, "ppo");
        assert_true(fault->acts == NULL || fault->acts(&config));
        seen += !found[fault - faults];
        found[fault - faults] = true;
    }
    int possible = 0;
    for (int i = 0; i < fault_count; i++) {
        possible += strcmp(faults[i].stage, "ppo") == 0 &&
                    (faults[i].acts == NULL || faults[i].acts(&config));
    }
    assert_int_equal(seen, possible);
}

static void every_fault_is_described(void **state)
{
    (void)state;
    for (int i = 0; i < fault_count; i++) {
        const Fault *fault = &faults[i];
        assert_true(fault->what[0] != '\0' && fault->bit[0] != '\0' && fault->sign[0] != '\0');
        assert_int_equal(fault->needs != NULL, fault->acts != NULL);
        for (int j = 0; j < i; j++) assert_string_not_equal(fault->name, faults[j].name);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) sound_seeds = fault_seeds = (uint64_t)atoi(argv[1]);
    store_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_check_passes_on_the_sound_program),
        cmocka_unit_test(every_fault_is_caught),
        cmocka_unit_test(faults_are_found_by_name),
        cmocka_unit_test(hidden_faults_act),
        cmocka_unit_test(every_fault_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
