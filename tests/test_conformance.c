/* The mistakes that RLHF code is known to make, row by row, and the test that each would fail: in
 * tests/test_FILE.c or here. Where the design leaves no room for one (no dropout, no padding), a
 * test shows that it does.
 *
 *   C1  ratio is not 1 at first        ppo_update   c1_ratio_is_exactly_one_before_the_first_step
 *                                      ppo_loss     c1_equal_log_probabilities_have_ratio_one
 *   C2  dropout while scoring          here         c2_scoring_has_no_chance_in_it
 *   C3  temperature forgotten          here         c3_log_softmax_has_its_golden_values
 *                                      here         c3_samples_are_as_frequent_as_scored
 *                                      ppo_score    c3_scores_feel_the_temperature
 *   C4  score at the wrong token       advantage    c4_score_is_paid_at_the_last_token
 *   C5  end masked out                 ppo_update   c5_end_of_the_answer_is_learned_from
 *   C6  truncated or terminated        advantage    c6_nothing_is_bootstrapped_at_the_end
 *                                      ppo_shape    c6_missing_end_is_paid_for
 *   C7  pads leak                      advantage    c7_no_pad_leaks_into_advantages
 *   C8  GAE off by one                 advantage    c8_advantages_have_their_golden_values
 *   C9  returns from whitened          advantage    c9_returns_come_from_raw_advantages
 *                                      ppo_shape    c9_shaping_keeps_the_contract_of_the_file
 *   C10 whitening                      advantage    c10_whitening_uses_the_population_variance
 *   C11 k1, k3, their direction        kl           c11_expectations_are_the_exact_kl
 *   C12 sign of the penalty            ppo_update   c12_penalty_alone_lowers_the_exact_kl
 *   C13 unit of the controller's KL    kl           c13_controller_has_its_golden_values
 *   C14 controller, stale or often     here         c14_coefficient_moves_once_an_iteration
 *   C15 coefficient not in checkpoint  ppo_resume   c15_adaptive_coefficient_survives_a_stop
 *   C16 prompt tokens count            ppo_update   c16_prompt_tokens_change_nothing
 *   C17 aggregation of losses          ppo_gradient c17_gradient_does_not_depend_on_the_cut
 *                                      ppo_gradient c17_losses_are_means_over_tokens
 *   C18 metrics over pads              here         c18_metrics_are_means_over_response_tokens
 *   C19 groups of one, score 0         here         c19_score_of_zero_is_a_score
 *                                      here         c19_one_answer_alone_has_advantages
 *   C20 nothing left to average        advantage    c20_whitening_is_defined_where_nothing_varies
 *   C21 network that never moves       ppo_update   c21_each_network_moves_when_it_should
 *   C22 log-sigmoid overflows          here         c22_far_scores_have_finite_losses
 *   C23 score of a pad                 here         c23_score_is_that_of_the_last_token
 *   C24 pairs equal once truncated     here         c24_no_pair_is_equal_or_truncated
 *   C25 label off by one               here         c25_row_predicts_the_next_token
 *                                      here         c25_uniform_network_loses_ln_v
 *   C26 value clip                     ppo_loss     c26_value_clip_is_around_the_old_value
 *   C27 clip where A < 0               ppo_loss     c27_clip_has_its_four_corners
 *   C28 last checkpoint missing        ppo_train    c28_last_step_is_published
 *   C29 chance, on resume and shared   ppo_train    c29_answers_to_one_prompt_differ_between_steps
 *                                      ppo_update   c29_every_step_has_an_order_of_its_own
 *   C30 whitening by minibatch         ppo_update   c30_advantages_are_whitened_over_the_batch
 *   C31 samples at another temperature ppo_train    c31_samples_name_their_temperature
 *   C32 reference drifts               here         c32_reference_is_the_sft_policy_for_good
 *   C33 last token left out            advantage    c33_one_token_is_an_episode
 *                                      ppo_score    c33_scores_are_read_where_they_belong
 *   C34 gamma below 1                  advantage    c34_recursion_is_the_definition
 *   C35 precision of log-probabilities here         c35_log_probabilities_are_rounded_once
 *
 * tests/test_faults.c makes most of these mistakes on purpose and shows which checks see them. */
#include "tests/support.h"

#include "data/preference.h"
#include "data/store/store.h"
#include "policy/generate.h"
#include "policy/language_loss.h"
#include "ppo/advantage.h"
#include "ppo/kl.h"
#include "ppo/ppo_loss.h"
#include "reward/labeller.h"
#include "reward/reward_model.h"
#include "reward/reward_pairs.h"
#include "tests/toy_ppo.h"

enum { WORDS = 7, ROOM = 16, ROLLOUTS = 16 };

static Model random_model(ModelHead head, uint64_t seed)
{
    Model model = {0};
    const ModelShape shape = {.vocabulary = WORDS,
                              .positions = ROOM,
                              .channels = 16,
                              .heads = 2,
                              .layers = 2,
                              .causal = true,
                              .head = head};
    assert_ok(model_init(&model, shape));
    model_randomise(&model, seed, RNG_TEST, false);
    for (size_t i = 0; i < model.count; i++) model.flat[i] *= 3.0f;
    return model;
}

/* ---- a toy run that the rows below look at: two epochs of two minibatches ---- */

static Toy toy;
static RolloutFile rollouts[5];
static MetricColumns journal;

static int make_run(void **state)
{
    (void)state;
    store_setup();
    toy_begin(&toy);
    strcpy(toy.config.kl_controller, "adaptive");
    toy.config.kl_target = 0.01;
    assert_ok(toy_life(&toy, 1, (StageHooks){0}));
    char path[600], name[32];
    for (int k = 0; k < 5; k++) {
        snprintf(name, sizeof name, "rollouts/%06d.h5", k + 1);
        toy_path(path, &toy, name);
        assert_ok(rollout_read(&rollouts[k], path, NULL, WORDS));
    }
    toy_path(path, &toy, "metrics.jsonl");
    assert_ok(metric_columns_read(&journal, path));
    return 0;
}

static int drop_run(void **state)
{
    (void)state;
    for (int k = 0; k < 5; k++) rollout_free(&rollouts[k]);
    metric_columns_free(&journal);
    toy_end(&toy);
    return 0;
}

/* What the SFT policy says of the answers of a rollout file. */
static void score_again(float *logp, double *entropy, const Rollout *r)
{
    Model policy = {0};
    char folder[600];
    snprintf(folder, sizeof folder, "%s/sft", toy.run);
    assert_ok(network_read(&policy, NULL, folder, "policy", NULL, NULL));
    PpoScorer scorer;
    BlockPlan plan;
    const Sequences sequences = rollout_sequences(r);
    const PpoNetworks networks = {.policy = &policy};
    const PpoScores scores = {.logp = logp, .entropy = entropy};
    assert_ok(rollout_plan(&plan, r));
    assert_ok(ppo_scorer_init(&scorer, policy.shape, 256, TOY_POSITIONS, 1));
    assert_ok(ppo_score(&scorer, &scores, &networks, &sequences, &plan, r->temperature));
    ppo_scorer_free(&scorer);
    block_plan_free(&plan);
    model_free(&policy);
}

/* C2: there is no dropout to switch off: scored again, the same answers get the same bits. */
static void c2_scoring_has_no_chance_in_it(void **state)
{
    (void)state;
    const Rollout *r = &rollouts[0].rollout;
    float logp[2][ROLLOUTS * TOY_POSITIONS] = {{0}};
    double entropy[ROLLOUTS * TOY_POSITIONS];
    for (int i = 0; i < 2; i++) score_again(logp[i], entropy, r);
    assert_memory_equal(logp[0], logp[1], sizeof logp[0]);
    for (int64_t t = 0; t < r->tokens; t++) assert_true(logp[0][t] == r->logp[t]);
}

/* ---- C3 ---- */

static void c3_log_softmax_has_its_golden_values(void **state)
{
    (void)state;
    static const float logits[3] = {2.0f, 1.0f, 0.0f};
    static const double at_one[3] = {-.407605964444, -1.407605964444, -2.407605964444};
    static const double at_point_seven[3] = {-.260118402645, -1.688689831216, -3.117261259788};
    for (int v = 0; v < 3; v++) {
        assert_close(token_score(NULL, logits, 3, 1.0, v).logp, at_one[v], 1e-6, 0);
        assert_close(token_score(NULL, logits, 3, 0.7, v).logp, at_point_seven[v], 1e-6, 0);
    }
}

/* First tokens of many answers to one prompt against exp(logp) at the temperature: Pearson's
 * statistic of 7 cells stays below its 1 - 1e-6 quantile, 40. */
static void c3_samples_are_as_frequent_as_scored(void **state)
{
    (void)state;
    enum { DRAWS = 2000 };
    static GenerateRequest request[DRAWS];
    static uint8_t terminated[DRAWS];
    Model model = random_model(HEAD_LANGUAGE, 4);
    Sequences prompts = {0}, answers = {0}, words = {0};
    assert_ok(sequences_add(&prompts, (const int32_t[2]){1, 5}, 2, NULL, 0));
    for (int i = 0; i < DRAWS; i++) request[i] = (GenerateRequest){.prompt_id = i};
    const GenerateConfig config = {.temperature = 0.6,
                                   .top_p = 1.0,
                                   .response_tokens = 1,
                                   .end = WORDS - 1,
                                   .threads = 1,
                                   .seed = 3,
                                   .stage = RNG_TEST,
                                   .purpose = RNG_SAMPLING};
    assert_ok(generate(&answers, terminated, &model, &prompts, request, DRAWS, &config));
    int seen[WORDS] = {0};
    for (int i = 0; i < DRAWS; i++) seen[answers.token[answers.offset[i] + 2]]++;

    int32_t length[WORDS];
    float logp[3 * WORDS];
    for (int32_t v = 0; v < WORDS; v++) {
        length[v] = 3;
        assert_ok(sequences_add(&words, (const int32_t[2]){1, 5}, 2, &v, 1));
    }
    PpoScorer scorer;
    BlockPlan plan;
    const PpoNetworks networks = {.policy = &model};
    const PpoScores scores = {.logp = logp};
    assert_ok(block_plan_cut(&plan, length, WORDS, 1, 1));
    assert_ok(ppo_scorer_init(&scorer, model.shape, 256, ROOM, 1));
    assert_ok(ppo_score(&scorer, &scores, &networks, &words, &plan, 0.6));
    double statistic = 0.0, cold = 0.0;
    for (int v = 0; v < WORDS; v++) {
        const double expected = DRAWS * exp((double)logp[3 * v + 2]);
        statistic += (seen[v] - expected) * (seen[v] - expected) / expected;
    }
    assert_true(statistic < 40.0);
    /* The same draws do not fit the distribution at temperature 1. */
    assert_ok(ppo_score(&scorer, &scores, &networks, &words, &plan, 1.0));
    for (int v = 0; v < WORDS; v++) {
        const double expected = DRAWS * exp((double)logp[3 * v + 2]);
        cold += (seen[v] - expected) * (seen[v] - expected) / expected;
    }
    assert_true(cold > 40.0);
    ppo_scorer_free(&scorer);
    block_plan_free(&plan);
    sequences_free(&words);
    sequences_free(&answers);
    sequences_free(&prompts);
    model_free(&model);
}

/* ---- rows about the run ---- */

/* C14: one step of the controller a batch of rollouts, however many epochs and minibatches, by the
 * KL of that batch. */
static void c14_coefficient_moves_once_an_iteration(void **state)
{
    (void)state;
    assert_true(toy.config.epochs * toy.config.minibatches == 4);
    for (int k = 1; k < 5; k++) {
        const Rollout *before = &rollouts[k - 1].rollout;
        double kl = 0.0;
        for (int i = 0; i < before->count; i++) kl += (double)before->kl[i] / before->count;
        const double error = fmin(fmax(kl / 0.01 - 1.0, -0.2), 0.2);
        assert_close(rollouts[k].rollout.kl_coef, before->kl_coef * (1.0 + error / 5.0), 0, 1e-6);
    }
    assert_true(rollouts[1].rollout.kl_coef < rollouts[0].rollout.kl_coef);
    assert_true(rollouts[4].rollout.kl_coef > rollouts[3].rollout.kl_coef); /* both ways */
}

/* C18: prompts differ in length, and none of their tokens enters a mean. */
static void c18_metrics_are_means_over_response_tokens(void **state)
{
    (void)state;
    const Rollout *r = &rollouts[0].rollout;
    float logp[ROLLOUTS * TOY_POSITIONS];
    double entropy[ROLLOUTS * TOY_POSITIONS], sum = 0.0, surprise = 0.0, tokens = 0.0;
    score_again(logp, entropy, r);
    for (int i = 0; i < r->count; i++) {
        for (int64_t t = r->offset[i] + r->prompt_length[i]; t < r->offset[i + 1]; t++) {
            sum += entropy[t];
            surprise -= (double)r->logp[t];
            tokens += 1.0;
        }
    }
    assert_close(metric_column(&journal, "policy/sampling_entropy")[0], sum / tokens, 1e-12, 0);
    assert_close(metric_column(&journal, "objective/entropy")[0], surprise / r->count, 1e-12, 0);
    assert_close(metric_column(&journal, "objective/length")[0], tokens / r->count, 1e-12, 0);
    /* The update's means begin where sampling ends. */
    assert_close(metric_column(&journal, "policy/entropy_avg")[0], sum / tokens, 0.05, 0);
    assert_true(r->prompt_length[0] != r->prompt_length[1]);
}

/* C19: zero is a number like any other, not a missing one. */
static void c19_score_of_zero_is_a_score(void **state)
{
    (void)state;
    const PpoConfig config = toy_ppo_config();
    assert_true(ppo_config_score(&config, 0.0, true) == 0.0);
    const float logp[2] = {-1.0f, -2.0f}, reference[2] = {-1.5f, -2.0f};
    float reward[2];
    shape_rewards(reward, logp, reference, 2, 0.1, 0.0);
    assert_close((double)reward[0], -0.05, 1e-7, 0);
    assert_true(reward[1] == 0.0f);
}

/* C19: a prompt has one answer and its baseline is the critic, so there is no group whose
 * advantages could cancel. */
static void c19_one_answer_alone_has_advantages(void **state)
{
    (void)state;
    const float reward[3] = {0.0f, 0.0f, 0.5f}, value[3] = {0.1f, 0.3f, 0.2f};
    float advantage[3], returns[3];
    advantages(advantage, returns, reward, value, 3, 1.0, 0.95);
    whiten(advantage, 3, false);
    for (int t = 0; t < 3; t++) assert_true(fabsf(advantage[t]) > 0.1f);
}

/* C32: every rollout file names the same reference, the published SFT policy, and at first the
 * policy is that to the bit. */
static void c32_reference_is_the_sft_policy_for_good(void **state)
{
    (void)state;
    Model policy = {0};
    char folder[600];
    snprintf(folder, sizeof folder, "%s/sft", toy.run);
    assert_ok(network_read(&policy, NULL, folder, "policy", NULL, NULL));
    for (int k = 0; k < 5; k++) {
        assert_true(digest_equal(rollouts[k].rollout.reference, model_digest(&policy)));
    }
    const Rollout *first = &rollouts[0].rollout;
    assert_true(digest_equal(first->policy, first->reference));
    assert_false(digest_equal(rollouts[1].rollout.policy, first->reference));
    for (int64_t t = 0; t < first->tokens; t++) {
        assert_true(first->logp[t] == first->reference_logp[t]);
    }
    assert_true(metric_column(&journal, "objective/kl")[0] == 0.0);
    assert_true(metric_column(&journal, "policy/kl_exact")[0] == 0.0);
    model_free(&policy);
}

/* ---- C22 to C25: rewards and labels ---- */

static double pair_loss(double chosen, double rejected, double margin)
{
    const BradleyTerryConfig config = {0};
    double dchosen, drejected;
    const double loss = bradley_terry_pair(&dchosen, &drejected, chosen, rejected, margin, &config);
    assert_true(isfinite(dchosen) && dchosen == -drejected);
    return loss;
}

static void c22_far_scores_have_finite_losses(void **state)
{
    (void)state;
    assert_close(pair_loss(0.0, 0.0, 0.0), .693147180560, 1e-12, 0);
    assert_close(pair_loss(1.0, 0.0, 0.0), .313261687518, 1e-12, 0);
    assert_close(pair_loss(-800.0, 0.0, 0.0), 800.0, 0, 1e-15);
    assert_close(pair_loss(800.0, 0.0, 0.0), 0.0, 1e-300, 0);
    assert_close(pair_loss(1.0, 0.0, 0.5), .474076984180, 1e-12, 0); /* the margin counts */
}

/* C23: nothing is padded: beside longer answers an answer has the score it has alone, and that is
 * read at its last token. */
static void c23_score_is_that_of_the_last_token(void **state)
{
    (void)state;
    Model model = random_model(HEAD_SCORE, 6);
    static const int32_t answer[4][6] = {
        {1, 2, 3}, {1, 2, 3, 4, 5, 5}, {1, 2, 4}, {1, 2, 3, 6, 6, 6}};
    static const int64_t length[4] = {3, 6, 3, 6};
    Sequences all = {0}, alone = {0};
    float score[4], single;
    for (int i = 0; i < 4; i++) {
        assert_ok(sequences_add(&all, answer[i], 1, answer[i] + 1, length[i] - 1));
    }
    assert_ok(sequences_add(&alone, answer[0], 1, answer[0] + 1, 2));
    assert_ok(reward_score(score, &model, &all, 1));
    assert_ok(reward_score(&single, &model, &alone, 1));
    assert_close((double)score[0], (double)single, 1e-6, 1e-6);
    for (int i = 1; i < 4; i++) assert_true(fabsf(score[i] - score[0]) > 1e-3f);
    sequences_free(&all);
    sequences_free(&alone);
    model_free(&model);
}

/* C24: nothing is truncated: what does not fit is refused; equal answers are counted and left
 * out. */
static void c24_no_pair_is_equal_or_truncated(void **state)
{
    (void)state;
    char run[64], path[600];
    toy_run(run);
    const TaskKind kind = toy_kind();
    const Task task = {.kind = &kind, .config = &toy_config, .seed = 5};
    const LabelConfig config = {.pairs = 300,
                                .held_out = 0.2,
                                .temperature = 0.25,
                                .annotators = 1,
                                .sampling_temperature = 1.0};
    Stage stage = toy_stage(run, "label", 1);
    const LabelJob job = {.stage = &stage, .task = &task, .config = &config};
    assert_ok(label_run(&job));
    Preferences all = {0};
    snprintf(path, sizeof path, "%s/label/comparisons.h5", run);
    assert_ok(preferences_read(&all, path, NULL, WORDS));
    assert_true(all.count > 100 && all.count < 300);
    const Sequences *c = &all.completion;
    for (int i = 0; i < all.count; i++) {
        const int a = all.chosen[i], b = all.rejected[i];
        assert_true(sequences_length(c, a) != sequences_length(c, b) ||
                    memcmp(c->token + c->offset[a], c->token + c->offset[b],
                           sizeof *c->token * (size_t)sequences_length(c, a)) != 0);
    }
    Pairs pairs = {0};
    assert_fails(pairs_take(&pairs, &all, 0, 3), STATUS_DATA, "tokens, the model reads 1 to 3");
    pairs_free(&pairs);
    preferences_free(&all);
    assert_ok(io_remove_tree(run));
}

/* Losses of one sequence under a model: sums of language_loss. */
static void language_sums(double sums[TRAINER_SUMS], Model *model, const int32_t *token, int prompt,
                          int length)
{
    Sequences sequences = {0};
    BlockPlan plan;
    Trainer trainer;
    LanguageLoss loss = {.sequences = &sequences, .response_only = true, .tokens = 1.0};
    assert_ok(sequences_add(&sequences, token, prompt, token + prompt, length - prompt));
    assert_ok(block_plan_cut(&plan, (int32_t[1]){length}, 1, 1, 1));
    assert_ok(trainer_init(&trainer, model, 0, 1, ROOM, ROOM, 1));
    assert_ok(trainer_measure(sums, &trainer, &sequences, &plan, language_loss, &loss));
    trainer_free(&trainer);
    block_plan_free(&plan);
    sequences_free(&sequences);
}

/* An empty network whose hidden state is its token's own embedding, one axis a word: it always
 * says the word it reads again. */
static Model echo(void)
{
    Model model = {0};
    const ModelShape shape = {.vocabulary = WORDS,
                              .positions = ROOM,
                              .channels = 8,
                              .heads = 2,
                              .layers = 1,
                              .causal = true,
                              .head = HEAD_LANGUAGE};
    assert_ok(model_init(&model, shape));
    memset(model.flat, 0, model.count * sizeof *model.flat);
    for (int c = 0; c < 8; c++) model.weight.norm_gain[c] = 1.0f;
    for (int v = 0; v < WORDS; v++) model.weight.token_embedding[v * 8 + v] = 1.0f;
    return model;
}

/* C25: the echo is right where the next token repeats the last; not where the one after it does,
 * which labels shifted once too often would reward; prompt tokens are no targets. */
static void c25_row_predicts_the_next_token(void **state)
{
    (void)state;
    Model model = echo();
    double sums[TRAINER_SUMS] = {0};
    language_sums(sums, &model, (const int32_t[6]){3, 3, 3, 3, 3, 3}, 1, 6);
    assert_true(sums[1] == 5.0 && sums[2] == 5.0);
    memset(sums, 0, sizeof sums);
    language_sums(sums, &model, (const int32_t[6]){3, 4, 3, 4, 3, 4}, 1, 6);
    assert_true(sums[1] == 5.0 && sums[2] == 0.0);
    memset(sums, 0, sizeof sums);
    language_sums(sums, &model, (const int32_t[6]){2, 2, 2, 5, 5, 6}, 3, 6);
    assert_true(sums[1] == 3.0 && sums[2] == 1.0); /* 5 after 2, 5 after 5, 6 after 5 */
    model_free(&model);
}

static void c25_uniform_network_loses_ln_v(void **state)
{
    (void)state;
    Model model = echo();
    memset(model.flat, 0, model.count * sizeof *model.flat);
    double sums[TRAINER_SUMS] = {0};
    language_sums(sums, &model, (const int32_t[6]){2, 2, 2, 5, 1, 6}, 2, 6);
    assert_true(sums[1] == 4.0);
    assert_close(sums[0] / sums[1], log(WORDS), 1e-6, 0);
    model_free(&model);
}

/* ---- C35 and golden numbers that no other test holds ---- */

/* C35: a log-probability is computed in double and rounded to float32 once, half a unit in its last
 * place; differences and sums of them are double. */
static void c35_log_probabilities_are_rounded_once(void **state)
{
    (void)state;
    const float logits[3] = {0.0f, -90.0f, -90.00001f};
    for (int v = 0; v < 3; v++) {
        const double logp = token_score(NULL, logits, 3, 1.0, v).logp;
        assert_close(logp, (double)logits[v], 1e-12, 1e-12);
        assert_close((double)(float)logp, logp, 0, 6e-8);
    }
    assert_close(kl_k3(1e-5), 4.9999833e-11, 0, 1e-6); /* 0 or below it in float32 */
    assert_close(kl_k3(-1e-5), 5.0000167e-11, 0, 1e-6);
    const Rollout *r = &rollouts[4].rollout;
    double kl = 0.0;
    for (int64_t t = 0; t < r->tokens; t++) kl += (double)r->logp[t] - (double)r->reference_logp[t];
    assert_close(metric_column(&journal, "objective/kl")[4], kl / r->count, 1e-13, 1e-13);
}

static void value_losses_have_their_golden_mean(void **state)
{
    (void)state;
    static const double value[3] = {0.9, 0.6, 0.1};
    double sum = 0.0, clipped = 0.0;
    for (int i = 0; i < 3; i++) {
        const ValueTerm term = value_term(value[i], 0.5, 1.0, 0.2);
        sum += term.loss;
        clipped += term.clipped;
    }
    assert_close(sum / 3.0, 0.1766666667, 1e-9, 0);
    assert_close(clipped / 3.0, 1.0 / 3.0, 1e-12, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c2_scoring_has_no_chance_in_it),
        cmocka_unit_test(c3_log_softmax_has_its_golden_values),
        cmocka_unit_test(c3_samples_are_as_frequent_as_scored),
        cmocka_unit_test(c14_coefficient_moves_once_an_iteration),
        cmocka_unit_test(c18_metrics_are_means_over_response_tokens),
        cmocka_unit_test(c19_score_of_zero_is_a_score),
        cmocka_unit_test(c19_one_answer_alone_has_advantages),
        cmocka_unit_test(c22_far_scores_have_finite_losses),
        cmocka_unit_test(c23_score_is_that_of_the_last_token),
        cmocka_unit_test(c24_no_pair_is_equal_or_truncated),
        cmocka_unit_test(c25_row_predicts_the_next_token),
        cmocka_unit_test(c25_uniform_network_loses_ln_v),
        cmocka_unit_test(c32_reference_is_the_sft_policy_for_good),
        cmocka_unit_test(c35_log_probabilities_are_rounded_once),
        cmocka_unit_test(value_losses_have_their_golden_mean),
    };
    return cmocka_run_group_tests(tests, make_run, drop_run);
}
