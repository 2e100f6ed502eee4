/* labeller, label: the simulated human by hand, and the stage on a toy run. */
#include "tests/support.h"
#include "tests/toy_run.h"

#include "data/preference.h"
#include "reward/answer_file.h"
#include "reward/labeller.h"

#include <gsl/gsl_randist.h>
#include <sys/wait.h>

/* ---- the person ---- */

static const LabelConfig sure = {0};

static void probability_matches_the_formula(void **state)
{
    (void)state;
    const LabelConfig config = {.flip_rate = 0.05, .length_bias = 0.2};
    /* (1.3 - 0.5 + 0.2 (9 - 4)) / (0.5 * 1.6) = 2.25 */
    const double expected = 0.9 / (1 + exp(-2.25)) + 0.05;
    assert_close(labeller_probability(1.3, 0.5, 9, 4, 1.6, 0.5, &config), expected, 1e-15, 0);
    const double other = labeller_probability(0.5, 1.3, 4, 9, 1.6, 0.5, &config);
    assert_close(expected + other, 1, 1e-15, 0);
}

static void a_cold_labeller_never_errs_but_for_flips(void **state)
{
    (void)state;
    const LabelConfig flips = {.flip_rate = 0.25};
    assert_close(labeller_probability(0.1, 0.0, 1, 1, 1, 0, &sure), 1, 0, 0);
    assert_close(labeller_probability(0.0, 0.1, 1, 1, 1, 0, &sure), 0, 0, 0);
    assert_close(labeller_probability(0.1, 0.1, 1, 1, 1, 0, &sure), 0.5, 0, 0);
    assert_close(labeller_probability(0.1, 0.0, 1, 1, 1, 0, &flips), 0.75, 1e-15, 0);
    assert_close(labeller_probability(0.1, 0.0, 1, 1, 0, 0.5, &sure), 1, 0, 0); /* sigma 0 */
}

/* Gold N(0, sigma^2) at temperature 0.5: 82.8 % of labels agree with gold, 96.1 % at 0.1. */
static void agreement_with_gold_matches_the_table(void **state)
{
    (void)state;
    enum { N = 40000 };
    static const double temperature[3] = {0.1, 0.5, 2.0}, agreement[3] = {0.961, 0.828, 0.631};
    for (int t = 0; t < 3; t++) {
        Rng rng = rng_stream(3, RNG_TEST, RNG_LABELLER, 0, (uint64_t)t, 0);
        const gsl_rng generator = rng_gsl(&rng);
        double agrees = 0;
        for (int i = 0; i < N; i++) {
            const double a = gsl_ran_gaussian(&generator, 1.7);
            const double b = gsl_ran_gaussian(&generator, 1.7);
            const double p = labeller_probability(a, b, 0, 0, 1.7, temperature[t], &sure);
            agrees += fmax(a, b) == a ? p : 1 - p;
        }
        assert_close(agrees / N, agreement[t], 0.004, 0);
    }
}

static void annotators_have_temperatures_of_their_own(void **state)
{
    (void)state;
    const LabelConfig same = {.temperature = 0.5};
    const LabelConfig spread = {.temperature = 0.5, .annotator_spread = 0.4};
    double sum = 0, squares = 0;
    for (int k = 0; k < 4000; k++) {
        assert_close(labeller_temperature(&same, 1, k), 0.5, 0, 0);
        const double change = log(labeller_temperature(&spread, 1, k) / 0.5);
        sum += change;
        squares += change * change;
    }
    assert_close(sum / 4000, 0, 0.03, 0);
    assert_close(sqrt(squares / 4000), 0.4, 0.02, 0);
    assert_true(labeller_temperature(&spread, 1, 7) == labeller_temperature(&spread, 1, 7));
    assert_true(labeller_temperature(&spread, 1, 7) != labeller_temperature(&spread, 2, 7));
}

/* ---- the stage ---- */

static const LabelConfig plain = {.pairs = 600,
                                  .held_out = 0.2,
                                  .temperature = 0.5,
                                  .annotators = 3,
                                  .sampling_temperature = 1.0};

static Status label_life(const char *run, const TaskKind *kind, const LabelConfig *config,
                         int threads, StageHooks hooks)
{
    const Task task = {.kind = kind, .config = &toy_config, .seed = 5};
    Stage stage = toy_stage(run, "label", threads);
    stage.hooks = hooks;
    const LabelJob job = {.stage = &stage, .task = &task, .config = config};
    return label_run(&job);
}

static Status label(const char *run, const TaskKind *kind, const LabelConfig *config, int threads)
{
    return label_life(run, kind, config, threads, (StageHooks){0});
}

static void read_back(Preferences *pairs, const char *run)
{
    char path[128];
    snprintf(path, sizeof path, "%s/label/comparisons.h5", run);
    assert_ok(preferences_read(pairs, path, NULL, TOY_WORDS + 1));
}

static double last(const char *run, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/label/metrics.jsonl", run);
    MetricColumns columns = {0};
    assert_ok(metric_columns_read(&columns, path));
    const double value = metric_column(&columns, name)[columns.rows - 1];
    metric_columns_free(&columns);
    return value;
}

static void every_pair_is_labelled_or_counted(void **state)
{
    (void)state;
    char run[64];
    toy_run(run);
    const TaskKind kind = toy_kind();
    assert_ok(label(run, &kind, &plain, 1));
    Preferences pairs = {0};
    read_back(&pairs, run);
    assert_true(last(run, "ties") > 10 && last(run, "identical") > 0);
    assert_close(pairs.count + last(run, "ties") + last(run, "identical"), 600, 0, 0);
    assert_close(last(run, "pairs"), pairs.count, 0, 0);

    int flipped = 0;
    for (int i = 0; i < pairs.count; i++) {
        assert_true(pairs.gold_margin[i] != 0);
        assert_int_equal(pairs.flipped[i], pairs.gold_margin[i] < 0);
        assert_int_equal(pairs.annotator[i], pairs.prompt_id[i] % 3);
        assert_int_equal(pairs.split[i], pairs.prompt_id[i] >= 480);
        assert_true(i == 0 || pairs.prompt_id[i] > pairs.prompt_id[i - 1]);
        assert_int_equal(pairs.completion.prompt[pairs.chosen[i]], 1 + pairs.prompt_id[i] % 3);
        flipped += pairs.flipped[i];
    }
    assert_close(last(run, "flipped"), (double)flipped / pairs.count, 1e-12, 0);
    assert_close((double)flipped / pairs.count, 0.17, 0.06, 0);
    preferences_free(&pairs);
}

static void a_cold_labeller_follows_gold(void **state)
{
    (void)state;
    char run[64];
    toy_run(run);
    const TaskKind kind = toy_kind();
    LabelConfig config = plain;
    config.temperature = 0;
    assert_ok(label(run, &kind, &config, 1));
    assert_close(last(run, "flipped"), 0, 0, 0);
    config.flip_rate = 0.25;
    assert_ok(label(run, &kind, &config, 1));
    assert_close(last(run, "flipped"), 0.25, 0.06, 0);
}

static void read_bytes(Bytes *bytes, const char *run, const char *file)
{
    char path[128];
    snprintf(path, sizeof path, "%s/label/%s", run, file);
    assert_ok(io_read(bytes, path, 1 << 24));
}

static void equal_runs_give_equal_bytes_for_any_threads(void **state)
{
    (void)state;
    char run[2][64];
    const TaskKind kind = toy_kind();
    static const char *const files[] = {"comparisons.h5", "metrics.jsonl", "tokenizer.json"};
    for (int r = 0; r < 2; r++) {
        toy_run(run[r]);
        assert_ok(label(run[r], &kind, &plain, 1 + r));
    }
    for (int f = 0; f < 3; f++) {
        Bytes a = {0}, b = {0};
        read_bytes(&a, run[0], files[f]);
        read_bytes(&b, run[1], files[f]);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.data, b.data, a.count);
        bytes_free(&a);
        bytes_free(&b);
    }
}

static double backwards(const Task *task, const TaskAnswer *answer, int annotator)
{
    return annotator % 2 == 0 ? toy_gold(task, answer) : -toy_gold(task, answer);
}

static int four(const Task *task)
{
    (void)task;
    return 4;
}

static void an_annotator_decides_by_gold_as_it_sees_it(void **state)
{
    (void)state;
    char run[64];
    toy_run(run);
    TaskKind kind = toy_kind();
    kind.annotator_gold = backwards;
    kind.annotators = four;
    LabelConfig config = plain;
    config.temperature = 0;
    config.annotators = 10; /* the task has four */
    assert_ok(label(run, &kind, &config, 1));
    Preferences pairs = {0};
    read_back(&pairs, run);
    for (int i = 0; i < pairs.count; i++) {
        assert_int_equal(pairs.annotator[i], pairs.prompt_id[i] % 4);
        assert_int_equal(pairs.flipped[i], pairs.annotator[i] % 2);
    }
    preferences_free(&pairs);
}

/* ---- pairs that the task brings ---- */

static int64_t own_pairs = 3;

static int64_t own_count(const Task *task)
{
    (void)task;
    return own_pairs;
}

/* 0: as it should be; 1: both answers alike; 2: one with as many words as `index` asks for */
static int long_words = 2;

static Status own_pair(Bytes *prompt, Bytes *chosen, Bytes *rejected, const Task *task,
                       int64_t index)
{
    (void)task;
    TRY(bytes_text(prompt, "item"));
    TRY(bytes_text(chosen, "good good"));
    if (index == 1) return bytes_text(rejected, "good good");
    TRY(bytes_text(rejected, "bad"));
    for (int i = 1; index == 2 && i < long_words; i++) TRY(bytes_text(rejected, " bad"));
    return STATUS_OK;
}

static TaskKind own_kind(void)
{
    TaskKind kind = toy_kind();
    kind.gold = NULL;
    kind.pair = own_pair;
    kind.pair_count = own_count;
    return kind;
}

static void own_pairs_are_taken_as_they_are(void **state)
{
    (void)state;
    char run[64];
    toy_run(run);
    const TaskKind kind = own_kind();
    assert_ok(label(run, &kind, &plain, 1));
    Preferences pairs = {0};
    read_back(&pairs, run);
    assert_int_equal(pairs.count, 2);
    assert_close(last(run, "identical"), 1, 0, 0);
    assert_true(isnan(pairs.gold_margin[0]));
    const Sequences *c = &pairs.completion;
    static const int32_t expected[4] = {0, 1, 1, TOY_WORDS}; /* item good good, the end */
    assert_int_equal(sequences_length(c, pairs.chosen[0]), 4);
    assert_memory_equal(c->token + c->offset[pairs.chosen[0]], expected, sizeof expected);
    assert_int_equal(sequences_response(c, pairs.rejected[0]), 2);
    preferences_free(&pairs);
}

static void a_pair_too_long_for_the_model_is_named(void **state)
{
    (void)state;
    char run[64];
    toy_run(run);
    const TaskKind kind = own_kind();
    long_words = TOY_POSITIONS - 2; /* the prompt and the end fill the rest */
    assert_ok(label(run, &kind, &plain, 1));
    long_words++;
    assert_fails(label(run, &kind, &plain, 1), STATUS_DATA,
                 "pair 2: 1 tokens of prompt and 16 of the rejected answer do not fit in 16 "
                 "positions");
    long_words = 2;
}

static double indifferent(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    (void)answer;
    return 0.5;
}

static void no_pairs_is_an_error_that_says_why(void **state)
{
    (void)state;
    char run[64];
    toy_run(run);
    TaskKind kind = own_kind();
    own_pairs = 0;
    assert_fails(label(run, &kind, &plain, 1), STATUS_DATA,
                 "no pairs: task toy has no gold reward and brings none; set task.pair_file");
    own_pairs = 3;
    kind = toy_kind();
    LabelConfig config = plain;
    config.pairs = 0;
    assert_fails(label(run, &kind, &config, 1), STATUS_DATA, "no pairs: label.pairs is 0");
    config.pairs = 40;
    kind.gold = indifferent;
    assert_fails(label(run, &kind, &config, 1), STATUS_DATA, "no pairs left: of 40, ");
}

static void a_run_without_sft_says_what_to_run(void **state)
{
    (void)state;
    char run[64];
    test_folder(run);
    const TaskKind kind = toy_kind();
    assert_fails(label(run, &kind, &plain, 1), STATUS_DATA, "run: rlhf sft");
}

/* ---- its checkpoints ---- */

/* The hooks of a life: how often it was asked to stop, and when the answer is yes. */
typedef struct Visitor {
    int questions, patience; /* patience 0: never asked to stop */
    int rows, rows_wanted;   /* a checkpoint is wanted after that row; 0: never */
    int rows_to_live;        /* 0: for ever */
} Visitor;

enum { DEATH = 77 };

static void count_row(void *context, const StageProgress *progress)
{
    (void)progress;
    Visitor *visitor = context;
    if (++visitor->rows == visitor->rows_to_live) _exit(DEATH);
}

static bool out_of_patience(void *context)
{
    Visitor *visitor = context;
    return ++visitor->questions >= visitor->patience && visitor->patience > 0;
}

static bool row_is_there(void *context)
{
    const Visitor *visitor = context;
    return visitor->rows == visitor->rows_wanted;
}

static StageHooks visit(Visitor *visitor)
{
    return (StageHooks){visitor, count_row, out_of_patience, row_is_there};
}

static int64_t newest(const char *run)
{
    char folder[128];
    int64_t *steps;
    int count;
    snprintf(folder, sizeof folder, "%s/label", run);
    assert_ok(checkpoint_steps(&steps, &count, folder));
    const int64_t step = count > 0 ? steps[count - 1] : 0;
    memory_release(steps);
    return step;
}

static const char *const published[] = {"comparisons.h5", "metrics.jsonl", "metrics.h5",
                                        "manifest.json"};

static void assert_same_label(const char *run, const char *other)
{
    for (int f = 0; f < 4; f++) {
        Bytes a = {0}, b = {0};
        read_bytes(&a, run, published[f]);
        read_bytes(&b, other, published[f]);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.data, b.data, a.count);
        bytes_free(&a);
        bytes_free(&b);
    }
}

/* The steps of timings.jsonl, which no life cuts: what was drawn, and drawn again. */
static int steps_timed(const char *run)
{
    Bytes text = {0};
    int lines = 0;
    read_bytes(&text, run, "timings.jsonl");
    for (size_t i = 0; i < text.count; i++) lines += text.data[i] == '\n';
    bytes_free(&text);
    return lines;
}

/* Asked at any moment, between two tokens too, it commits the chunks that are whole; the next life
 * draws the others alone. */
static void a_stopped_stage_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    char whole[64];
    const TaskKind kind = toy_kind();
    toy_run(whole);
    Visitor all = {0};
    assert_ok(label_life(whole, &kind, &plain, 1, visit(&all)));
    assert_int_equal(all.rows, 5);
    int stopped_at[5] = {0};
    for (int patience = 1; patience < all.questions; patience += all.questions / 11) {
        char run[64];
        toy_run(run);
        Visitor first = {.patience = patience}, second = {0};
        assert_fails(label_life(run, &kind, &plain, 1, visit(&first)), STATUS_STOPPED,
                     "stopped after ");
        assert_true(first.rows < 5 && newest(run) == first.rows);
        stopped_at[first.rows]++;
        assert_ok(label_life(run, &kind, &plain, 2, visit(&second)));
        assert_int_equal(first.rows + second.rows, 5);
        assert_int_equal(steps_timed(run), 5);
        assert_same_label(whole, run);
    }
    for (int rows = 0; rows < 4; rows++) assert_true(stopped_at[rows] > 0);
}

/* A life of its own that dies as it tells of row `rows`. */
static void label_and_die(const char *run, const TaskKind *kind, int rows, int wanted)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        Visitor visitor = {.rows_wanted = wanted, .rows_to_live = rows};
        _exit(label_life(run, kind, &plain, 1, visit(&visitor)) == STATUS_OK ? 0 : 1);
    }
    int ending;
    assert_int_equal(waitpid(child, &ending, 0), child);
    assert_true(WIFEXITED(ending) && WEXITSTATUS(ending) == DEATH);
}

static void a_killed_stage_goes_on_from_what_was_asked_for(void **state)
{
    (void)state;
    char whole[64];
    const TaskKind kind = toy_kind();
    toy_run(whole);
    assert_ok(label(whole, &kind, &plain, 1));
    static const int wanted[3] = {0, 1, 2};
    for (int i = 0; i < 3; i++) {
        char run[64];
        toy_run(run);
        label_and_die(run, &kind, 4, wanted[i]);
        assert_int_equal(newest(run), wanted[i]);
        Visitor second = {0};
        assert_ok(label_life(run, &kind, &plain, 2, visit(&second)));
        assert_int_equal(second.rows, 5 - wanted[i]);
        assert_same_label(whole, run);
    }
}

static void pairs_of_the_task_are_committed_too(void **state)
{
    (void)state;
    char run[64], whole[64];
    const TaskKind kind = own_kind();
    toy_run(whole);
    assert_ok(label(whole, &kind, &plain, 1));
    toy_run(run);
    Visitor first = {.patience = 2}, second = {0};
    assert_fails(label_life(run, &kind, &plain, 1, visit(&first)), STATUS_STOPPED,
                 "stopped after 1 of 3 pairs");
    assert_int_equal(newest(run), 1);
    assert_ok(label_life(run, &kind, &plain, 1, visit(&second)));
    assert_int_equal(second.rows, 3);
    assert_same_label(whole, run);
}

/* ---- the file of a checkpoint ---- */

static void answers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    char folder[64];
    test_folder(folder);
    Sequences answers = {0}, again = {0};
    static const int32_t text[5] = {0, 3, 6, 1, 2};
    assert_ok(sequences_add(&answers, text, 1, text + 1, 2));
    assert_ok(sequences_add(&answers, text, 2, text + 3, 0));
    double gold[2] = {0.1, NAN}, gold_again[2];
    uint8_t ended[2] = {1, 0}, ended_again[2];
    const AnswerColumn in[2] = {{"ended", STORE_U8, ended}, {"gold", STORE_F64, gold}};
    const AnswerColumn out[2] = {{"ended", STORE_U8, ended_again}, {"gold", STORE_F64, gold_again}};
    assert_ok(answer_file_write(&answers, in, 2, folder, "a.h5"));
    Manifest manifest = {0};
    assert_fails(answer_file_read(&again, out, 2, 2, folder, "a.h5", &manifest, 7), STATUS_DATA,
                 "a.h5: not in the manifest");
    assert_ok(manifest_add(&manifest, folder, "a.h5"));
    assert_fails(answer_file_read(&again, out, 2, 3, folder, "a.h5", &manifest, 7), STATUS_DATA,
                 "a.h5: 2 answers, not 3");
    assert_fails(answer_file_read(&again, out, 2, 2, folder, "a.h5", &manifest, 6), STATUS_DATA,
                 "a.h5: answer 0: token 6 of a vocabulary of 6");
    assert_int_equal(again.count, 0);
    assert_ok(answer_file_read(&again, out, 2, 2, folder, "a.h5", &manifest, 7));
    assert_int_equal(again.count, 2);
    assert_memory_equal(again.token, answers.token, sizeof *again.token * 5);
    assert_memory_equal(again.offset, answers.offset, sizeof *again.offset * 3);
    assert_memory_equal(again.prompt, answers.prompt, sizeof *again.prompt * 2);
    assert_memory_equal(ended_again, ended, sizeof ended);
    assert_memory_equal(gold_again, gold, sizeof gold);
    manifest.file[0].digest.low ^= 1;
    assert_fails(answer_file_read(&again, out, 2, 2, folder, "a.h5", &manifest, 7), STATUS_DATA,
                 "a.h5: ");
    sequences_free(&again);
    sequences_free(&answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probability_matches_the_formula),
        cmocka_unit_test(a_cold_labeller_never_errs_but_for_flips),
        cmocka_unit_test(agreement_with_gold_matches_the_table),
        cmocka_unit_test(annotators_have_temperatures_of_their_own),
        cmocka_unit_test(every_pair_is_labelled_or_counted),
        cmocka_unit_test(a_cold_labeller_follows_gold),
        cmocka_unit_test(equal_runs_give_equal_bytes_for_any_threads),
        cmocka_unit_test(an_annotator_decides_by_gold_as_it_sees_it),
        cmocka_unit_test(own_pairs_are_taken_as_they_are),
        cmocka_unit_test(a_pair_too_long_for_the_model_is_named),
        cmocka_unit_test(no_pairs_is_an_error_that_says_why),
        cmocka_unit_test(a_run_without_sft_says_what_to_run),
        cmocka_unit_test(a_stopped_stage_goes_on_to_the_same_bytes),
        cmocka_unit_test(a_killed_stage_goes_on_from_what_was_asked_for),
        cmocka_unit_test(pairs_of_the_task_are_committed_too),
        cmocka_unit_test(answers_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
