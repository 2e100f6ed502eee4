/* reward_model, reward_train: the loss through the network by differences, scores that see one
 * answer and its last token only, the stage on a toy run. */
#include "tests/support.h"
#include "tests/toy_run.h"

#include "data/json.h"
#include "data/preference.h"
#include "policy/inputs.h"
#include "reward/labeller.h"
#include "reward/reward_model.h"
#include "reward/reward_pairs.h"

/* ---- the loss through the network ---- */

enum { ANSWERS = 6 };

static Model random_model(bool causal)
{
    Model model = {0};
    const ModelShape shape = {.vocabulary = 11,
                              .positions = 12,
                              .channels = 8,
                              .heads = 2,
                              .layers = 2,
                              .causal = causal,
                              .head = HEAD_SCORE};
    assert_ok(gemm_setup());
    assert_ok(model_init(&model, shape));
    model_randomise(&model, 3, RNG_TEST, false);
    Rng rng = rng_stream(4, RNG_TEST, RNG_INITIAL_WEIGHTS, 0, 0, 0);
    for (size_t i = 0; i < model.count; i++) {
        model.flat[i] += (float)(0.4 * rng_uniform(&rng) - 0.2);
    }
    return model;
}

static void random_answers(Sequences *answers)
{
    static const int length[ANSWERS] = {7, 5, 12, 1, 3, 9};
    Rng rng = rng_stream(7, RNG_TEST, RNG_DOCUMENT, 0, 0, 0);
    for (int i = 0; i < ANSWERS; i++) {
        int32_t token[12];
        for (int t = 0; t < length[i]; t++) token[t] = rng_below(&rng, 11);
        assert_ok(sequences_add(answers, token, 1, token + 1, length[i] - 1));
    }
}

static void cut_pairs(BlockPlan *plan, const Sequences *answers)
{
    int32_t length[ANSWERS];
    for (int i = 0; i < ANSWERS; i++) length[i] = (int32_t)sequences_length(answers, i);
    assert_ok(block_plan_cut(plan, length, ANSWERS, 2, 2));
}

static double loss_of(Trainer *trainer, const Sequences *answers, const BlockPlan *plan,
                      PreferenceLoss *loss)
{
    double sums[TRAINER_SUMS] = {0};
    assert_ok(trainer_measure(sums, trainer, answers, plan, preference_loss, loss));
    return sums[0] / loss->pairs;
}

static void gradient_matches_differences(bool causal)
{
    Model model = random_model(causal);
    Sequences answers = {0};
    BlockPlan plan = {0};
    Trainer trainer = {0};
    random_answers(&answers);
    cut_pairs(&plan, &answers);
    assert_ok(trainer_init(&trainer, &model, 2, 1, plan.rows, plan.longest, plan.blocks));

    const BradleyTerryConfig config = {.margin = 0.3, .centring = 0.05, .label_smoothing = 0.1};
    double score[ANSWERS], sums[TRAINER_SUMS] = {0};
    PreferenceLoss loss = {.config = &config, .pairs = ANSWERS / 2, .score = score};
    const int index[2] = {0, 1};
    assert_ok(trainer_gradient(sums, &trainer, &answers, &plan, index, plan.blocks, preference_loss,
                               &loss));
    double right = 0;
    for (int i = 0; i < ANSWERS; i += 2) right += score[i] > score[i + 1];
    assert_true(right > 0 && right < ANSWERS / 2.0); /* both signs of the gap were met */

    double largest = 0;
    for (size_t i = 0; i < model.count; i++) {
        largest = fmax(largest, fabs((double)trainer.gradient[0].flat[i]));
    }
    assert_true(largest > 0.01);
    const float h = 1.0F / 128;
    for (size_t i = 0; i < model.count; i += 7) {
        const float was = model.flat[i];
        model.flat[i] = was + h;
        const double above = loss_of(&trainer, &answers, &plan, &loss);
        model.flat[i] = was - h;
        const double below = loss_of(&trainer, &answers, &plan, &loss);
        model.flat[i] = was;
        assert_close((double)trainer.gradient[0].flat[i], (above - below) / (2 * (double)h),
                     2e-3 * largest, 2e-3);
    }
    trainer_free(&trainer);
    block_plan_free(&plan);
    sequences_free(&answers);
    model_free(&model);
}

static void gradient_is_the_slope_of_the_loss(void **state)
{
    (void)state;
    gradient_matches_differences(true);
    gradient_matches_differences(false);
}

static void a_silent_head_loses_log_two(void **state)
{
    (void)state;
    Model model = random_model(true);
    memset(model.weight.score_weight, 0, sizeof(float) * 8);
    Sequences answers = {0};
    BlockPlan plan = {0};
    Trainer trainer = {0};
    random_answers(&answers);
    cut_pairs(&plan, &answers);
    assert_ok(trainer_init(&trainer, &model, 2, 1, plan.rows, plan.longest, plan.blocks));
    const BradleyTerryConfig config = {0};
    double score[ANSWERS];
    PreferenceLoss loss = {.config = &config, .pairs = ANSWERS / 2, .score = score};
    assert_close(loss_of(&trainer, &answers, &plan, &loss), log(2), 1e-15, 0);

    model.weight.score_weight[0] = NAN;
    double sums[TRAINER_SUMS] = {0};
    assert_fails(trainer_measure(sums, &trainer, &answers, &plan, preference_loss, &loss),
                 STATUS_DIVERGED, "scores are ");
    trainer_free(&trainer);
    block_plan_free(&plan);
    sequences_free(&answers);
    model_free(&model);
}

/* ---- scores ---- */

static void a_score_depends_on_its_own_answer_only(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        Model model = random_model(causal);
        Sequences together = {0};
        random_answers(&together);
        float score[ANSWERS], threads[ANSWERS], alone[1];
        assert_ok(reward_score(score, &model, &together, 1));
        assert_ok(reward_score(threads, &model, &together, 2));
        assert_memory_equal(score, threads, sizeof score);
        for (int i = 0; i < ANSWERS; i++) {
            Sequences one = {0};
            const int32_t *token = together.token + together.offset[i];
            assert_ok(sequences_add(&one, token, 1, token + 1, sequences_length(&together, i) - 1));
            assert_ok(reward_score(alone, &model, &one, 1));
            assert_close((double)alone[0], (double)score[i], 1e-5, 1e-5);
            sequences_free(&one);
        }
        sequences_free(&together);
        model_free(&model);
    }
}

static void the_last_token_and_the_ones_before_it_count(void **state)
{
    (void)state;
    Model model = random_model(true);
    Sequences answers = {0};
    static const int32_t token[3][5] = {{1, 2, 3, 4, 5}, {1, 2, 3, 4, 6}, {1, 7, 3, 4, 5}};
    for (int i = 0; i < 3; i++) assert_ok(sequences_add(&answers, token[i], 2, token[i] + 2, 3));
    float score[3];
    assert_ok(reward_score(score, &model, &answers, 1));
    assert_true(fabsf(score[0] - score[1]) > 1e-3F && fabsf(score[0] - score[2]) > 1e-4F);
    sequences_free(&answers);
    model_free(&model);
}

static void gain_and_bias_make_a_straight_line(void **state)
{
    (void)state;
    Model model = random_model(true);
    Sequences answers = {0};
    random_answers(&answers);
    float bare[ANSWERS], scaled[ANSWERS];
    assert_ok(reward_score(bare, &model, &answers, 1));
    model.reward_gain = 2.5F;
    model.reward_bias = -0.75F;
    assert_ok(reward_score(scaled, &model, &answers, 1));
    for (int i = 0; i < ANSWERS; i++) assert_true(scaled[i] == 2.5F * bare[i] - 0.75F);
    sequences_free(&answers);
    model_free(&model);
}

static void what_cannot_be_scored_is_named(void **state)
{
    (void)state;
    Model model = random_model(true);
    Sequences answers = {0};
    const int32_t token[13] = {0};
    assert_ok(sequences_add(&answers, token, 1, token, 3));
    assert_ok(sequences_add(&answers, token, 1, token, 12));
    float score[2];
    assert_fails(reward_score(score, &model, &answers, 1), STATUS_DATA,
                 "answer 1: 13 tokens, the reward model reads 1 to 12");
    answers.count = 1;
    model.weight.norm_bias[0] = INFINITY;
    assert_fails(reward_score(score, &model, &answers, 1), STATUS_DIVERGED, "answer 0: its score");
    sequences_free(&answers);
    model_free(&model);
}

/* ---- minibatches ---- */

static void every_epoch_meets_every_pair_once_whole(void **state)
{
    (void)state;
    enum { PAIRS = 37 };
    int32_t length[2 * PAIRS];
    for (int i = 0; i < 2 * PAIRS; i++) length[i] = 3 + i * 7 % 11;
    const Pairs pairs = {.count = PAIRS, .length = length};
    Minibatches batches = {0};
    assert_ok(minibatches_cut(&batches, &pairs, 2, 8, 3, 1));
    assert_int_equal(batches.steps, 10);
    int first_of[2] = {0};
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[PAIRS] = {0};
        for (int64_t step = 5 * epoch; step < 5 * epoch + 5; step++) {
            const int count = minibatch_pairs(&batches, step);
            assert_int_equal(count, step % 5 == 4 ? 5 : 8);
            const BlockPlan *plan = &batches.plan[step];
            assert_int_equal(plan->blocks % 3, 0);
            for (int i = 0; i < 2 * count; i += 2) {
                assert_int_equal(plan->member[i] % 2, 0);
                assert_int_equal(plan->member[i + 1], plan->member[i] + 1);
                seen[plan->member[i] / 2]++;
            }
            for (int b = 0; b <= plan->blocks; b++) assert_int_equal(plan->first[b] % 2, 0);
        }
        for (int i = 0; i < PAIRS; i++) assert_int_equal(seen[i], 1);
        first_of[epoch] = batches.plan[5 * epoch].member[0];
    }
    assert_true(first_of[0] != first_of[1]); /* an order of its own */
    minibatches_free(&batches);
}

/* ---- the stage ---- */

static const RewardConfig plain = {
    .epochs = 3,
    .batch = 32,
    .shards = 2,
    .evaluate_every = 5,
    .causal = true,
    .normalise_answers = 300,
    .optimiser = {.learning_rate = 1e-2,
                  .schedule = "linear",
                  .final_rate = 0.1,
                  .beta1 = 0.9,
                  .beta2 = 0.999,
                  .epsilon = 1e-8,
                  .max_grad_norm = 1.0},
};

static void labelled_run(char run[64], double held_out)
{
    toy_run(run);
    const TaskKind kind = toy_kind();
    const Task task = {.kind = &kind, .config = &toy_config, .seed = 5};
    const LabelConfig config = {.pairs = 700,
                                .held_out = held_out,
                                .temperature = 0.25,
                                .annotators = 1,
                                .sampling_temperature = 1.0};
    Stage stage = toy_stage(run, "label", 1);
    const LabelJob job = {.stage = &stage, .task = &task, .config = &config};
    assert_ok(label_run(&job));
}

/* What the hooks see; the stage is asked to stop once `steps_left` rows have passed. */
static int steps_left = -1;

static void count_step(void *context, const StageProgress *progress)
{
    (void)context;
    (void)progress;
    if (steps_left > 0) steps_left--;
}

/* Questions after which it is; -1: any. */
static int questions_left = -1;

static bool stop_at_zero(void *context)
{
    (void)context;
    return steps_left == 0 && (questions_left < 0 || questions_left-- == 0);
}

static Status train(const char *run, const RewardConfig *config, int threads)
{
    const TaskKind kind = toy_kind();
    const Task task = {.kind = &kind, .config = &toy_config, .seed = 5};
    Stage stage = toy_stage(run, "reward", threads);
    stage.hooks = (StageHooks){.progress = count_step, .should_stop = stop_at_zero};
    const RewardJob job = {
        .stage = &stage, .task = &task, .config = config, .sampling_temperature = 1.0};
    return reward_run(&job);
}

static double calibration_number(const char *run, const char *key)
{
    char path[128];
    double value;
    JsonDocument *document;
    snprintf(path, sizeof path, "%s/reward/calibration.json", run);
    assert_ok(json_read(&document, STATUS_DATA, path, 1 << 20, NULL));
    assert_ok(json_get_number(&value, json_root(document), key));
    json_free(document);
    return value;
}

static void read_bytes(Bytes *bytes, const char *run, const char *file)
{
    char path[128];
    snprintf(path, sizeof path, "%s/reward/%s", run, file);
    assert_ok(io_read(bytes, path, 1 << 24));
}

static void assert_same_files(const char *run, const char *other)
{
    static const char *const files[] = {"model.h5", "calibration.json", "metrics.jsonl",
                                        "tokenizer.json"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        Bytes a = {0}, b = {0};
        read_bytes(&a, run, files[f]);
        read_bytes(&b, other, files[f]);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.data, b.data, a.count);
        bytes_free(&a);
        bytes_free(&b);
    }
}

static void it_learns_what_the_labeller_likes(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        char run[64];
        labelled_run(run, 0.2);
        RewardConfig config = plain;
        config.causal = causal;
        assert_ok(train(run, &config, 2));
        assert_close(calibration_number(run, "format_version"), 1, 0, 0);
        assert_true(calibration_number(run, "gold_accuracy") > 0.85);
        assert_true(calibration_number(run, "nll") < 0.6);
        assert_true(calibration_number(run, "gold_spearman") > 0.75);
        assert_true(calibration_number(run, "ceiling") > 0.8);
        assert_close(calibration_number(run, "answers"), 300, 0, 0);

        Model model = {0};
        assert_ok(input_network(&model, run, "reward", "model", NULL));
        assert_int_equal(model.shape.causal, causal);
        assert_close((double)model.reward_gain, 1 / calibration_number(run, "std"), 0, 1e-6);
        assert_close((double)model.reward_bias,
                     -calibration_number(run, "mean") / calibration_number(run, "std"), 1e-6, 1e-6);
        model_free(&model);
    }
}

static int steps_of(const char *run)
{
    char path[128];
    MetricColumns columns = {0};
    snprintf(path, sizeof path, "%s/reward/metrics.jsonl", run);
    assert_ok(metric_columns_read(&columns, path));
    const int rows = columns.rows;
    metric_columns_free(&columns);
    return rows;
}

static void threads_and_a_stop_change_no_byte(void **state)
{
    (void)state;
    char whole[64], stopped[64];
    labelled_run(whole, 0.2);
    labelled_run(stopped, 0.2);
    assert_ok(train(whole, &plain, 1));
    steps_left = 7;
    assert_fails(train(stopped, &plain, 2), STATUS_STOPPED, "stopped after step 7 of ");
    steps_left = -1;
    assert_ok(train(stopped, &plain, 2));
    assert_same_files(whole, stopped);
}

/* All steps are done and in no checkpoint when it is asked to stop, while it draws the answers that
 * it is scaled on. */
static void a_stop_while_it_is_scaled_keeps_the_steps(void **state)
{
    (void)state;
    char whole[64], stopped[64], folder[128];
    labelled_run(whole, 0.2);
    labelled_run(stopped, 0.2);
    assert_ok(train(whole, &plain, 1));
    const int steps = steps_of(whole);
    steps_left = steps;
    questions_left = 3;
    assert_fails(train(stopped, &plain, 1), STATUS_STOPPED, ", unscaled");
    steps_left = questions_left = -1;
    int64_t *step;
    int count;
    snprintf(folder, sizeof folder, "%s/reward", stopped);
    assert_ok(checkpoint_steps(&step, &count, folder));
    assert_true(count == 1 && step[0] == steps);
    memory_release(step);
    assert_ok(train(stopped, &plain, 2));
    assert_same_files(whole, stopped);
}

static void without_held_out_pairs_the_judge_is_not_judged(void **state)
{
    (void)state;
    char run[64];
    labelled_run(run, 0.0);
    RewardConfig config = plain;
    config.epochs = 1;
    assert_ok(train(run, &config, 1));
    assert_close(calibration_number(run, "pairs"), 0, 0, 0);
    Bytes text = {0};
    read_bytes(&text, run, "calibration.json");
    assert_non_null(strstr(text.data, "\"accuracy\": null"));
    bytes_free(&text);
}

/* One update alone, so that only looking at the result can show what became of the network. */
static void a_ruined_judge_is_not_published(void **state)
{
    (void)state;
    static const char *const said[2] = {": its score is ", "step 1: held out: pair "};
    for (int held_out = 0; held_out < 2; held_out++) {
        char run[64], path[128];
        labelled_run(run, 0.2 * held_out);
        RewardConfig config = plain;
        config.epochs = 1;
        config.batch = 1000;
        config.optimiser.learning_rate = 1e30;
        assert_fails(train(run, &config, 1), STATUS_DIVERGED, said[held_out]);
        assert_non_null(strstr(status_message(),
                               "; kept: nothing of the stage yet; to try: a lower "
                               "reward.learning_rate or gradients clipped sooner"));
        snprintf(path, sizeof path, "%s/reward/manifest.json", run);
        assert_false(io_exists(path));
    }
}

static void without_comparisons_it_says_what_to_run(void **state)
{
    (void)state;
    char run[64];
    toy_run(run);
    assert_fails(train(run, &plain, 1), STATUS_DATA, "run: rlhf label");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_the_slope_of_the_loss),
        cmocka_unit_test(a_silent_head_loses_log_two),
        cmocka_unit_test(a_score_depends_on_its_own_answer_only),
        cmocka_unit_test(the_last_token_and_the_ones_before_it_count),
        cmocka_unit_test(gain_and_bias_make_a_straight_line),
        cmocka_unit_test(what_cannot_be_scored_is_named),
        cmocka_unit_test(every_epoch_meets_every_pair_once_whole),
        cmocka_unit_test(it_learns_what_the_labeller_likes),
        cmocka_unit_test(threads_and_a_stop_change_no_byte),
        cmocka_unit_test(a_stop_while_it_is_scaled_keeps_the_steps),
        cmocka_unit_test(without_held_out_pairs_the_judge_is_not_judged),
        cmocka_unit_test(a_ruined_judge_is_not_published),
        cmocka_unit_test(without_comparisons_it_says_what_to_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
