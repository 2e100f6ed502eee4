#include "tests/support.h"

#include "data/manifest.h"
#include "data/path.h"
#include "data/preference.h"
#include "ppo/doctor.h"
#include "ppo/doctor_pairs.h"

/* A run directory of a PPO stage alone: config.json and a journal written row by row. */
typedef struct Run {
    char path[64];
    Bytes journal;
} Run;

static void put(const Run *run, const char *name, const char *text)
{
    char path[PATH_TEXT];
    assert_ok(path_join(path, run->path, name));
    assert_ok(io_publish(path, text, strlen(text)));
}

static void run_open(Run *run)
{
    *run = (Run){0};
    test_folder(run->path);
    char path[PATH_TEXT];
    assert_ok(path_join(path, run->path, "ppo"));
    assert_ok(io_make_folder(path));
    put(run, "config.json", "{\"ppo\": {\"critic_warmup\": 0}}\n");
}

static void run_close(Run *run)
{
    bytes_free(&run->journal);
    assert_ok(io_remove_tree(run->path));
}

/* A healthy step: the score rises by 0.03 a step, everything else stands. */
typedef struct Step {
    double first_ratio, ratio, approxkl, clipfrac, kl, entropy, value, terminated, length, unique,
        score, sampled;
} Step;

static Step sound(int step)
{
    return (Step){.ratio = 1,
                  .approxkl = 0.01,
                  .clipfrac = 0.05,
                  .kl = 0.05 * step,
                  .entropy = 1.5,
                  .value = 0.6,
                  .terminated = 1,
                  .length = 12,
                  .unique = 1,
                  .score = 0.03 * (step - 1),
                  .sampled = 18};
}

static void run_add(Run *run, int step, Step s)
{
    assert_ok(bytes_print(
        &run->journal,
        "{\"step\":%d,\"val/first_ratio_deviation\":%g,\"val/ratio\":%g,"
        "\"policy/approxkl_avg\":%g,\"policy/clipfrac_avg\":%g,\"policy/kl_exact\":%g,"
        "\"policy/sampling_entropy\":%g,\"val/explained_var\":%g,\"objective/terminated\":%g,"
        "\"objective/length\":%g,\"objective/unique\":%g,\"objective/scores\":%g,"
        "\"objective/entropy\":%g}\n",
        step, s.first_ratio, s.ratio, s.approxkl, s.clipfrac, s.kl, s.entropy, s.value,
        s.terminated, s.length, s.unique, s.score, s.sampled));
}

static Diagnosis run_examine(Run *run, const char *stage)
{
    Diagnosis diagnosis;
    put(run, "ppo/metrics.jsonl", run->journal.data);
    assert_ok(doctor_examine(&diagnosis, run->path, stage));
    return diagnosis;
}

static const Finding *named(const Diagnosis *diagnosis, const char *name)
{
    for (int i = 0; i < diagnosis->count; i++) {
        if (strcmp(diagnosis->finding[i].name, name) == 0) return &diagnosis->finding[i];
    }
    fail_msg("no finding %s", name);
    return NULL;
}

static int ill(const Diagnosis *diagnosis)
{
    int count = 0;
    for (int i = 0; i < diagnosis->count; i++) count += diagnosis->finding[i].mark != FINDING_FINE;
    return count;
}

static void a_healthy_journal_raises_nothing(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    for (int step = 1; step <= 30; step++) run_add(&run, step, sound(step));
    const Diagnosis diagnosis = run_examine(&run, NULL);
    char verdict[VERDICT_TEXT];
    diagnosis_verdict(verdict, &diagnosis);
    assert_int_equal(ill(&diagnosis), 0);
    assert_string_equal(verdict, "fine: 12 checks");
    assert_null(diagnosis_stage(&diagnosis));
    assert_false(diagnosis_gate_failed(&diagnosis));
    assert_string_equal(named(&diagnosis, "progress")->evidence,
                        "score from 0.06 to 0.81 standard deviations of SFT's");
    run_close(&run);
}

/* From step 15 on one metric is `bad`; five steps are averaged but for the ratios. */
typedef struct Spoil {
    const char *name;
    size_t at; /* in Step */
    double bad;
    int64_t step; /* that the alarm names */
} Spoil;

static void every_alarm_names_its_first_step(void **state)
{
    (void)state;
    static const Spoil spoils[] = {
        {"first-ratio", offsetof(Step, first_ratio), 1e-4, 15},
        {"ratio-drift", offsetof(Step, ratio), 1.2, 15},
        {"ratio-drift", offsetof(Step, ratio), 0.8, 15},
        {"step-size", offsetof(Step, approxkl), 0.2, 15},
        /* (0.05 + 4 * 0.4) / 5 = 0.33; with three bad ones 0.26 */
        {"clip-fraction", offsetof(Step, clipfrac), 0.4, 18},
        /* (0.6 + 0.65 + 0.7 + 60 + 60) / 5 = 24.4 */
        {"kl-explosion", offsetof(Step, kl), 60, 16},
        /* below 0.5, a third of 1.5: (1.5 + 4 * 0.1) / 5 = 0.38 */
        {"entropy-collapse", offsetof(Step, entropy), 0.1, 18},
        /* (2 * 0.6 - 3 * 1) / 5 = -0.36; with two bad ones -0.04 */
        {"value", offsetof(Step, value), -1, 16},
        /* (3 + 2 * 0.4) / 5 = 0.76 of 1 */
        {"endings", offsetof(Step, terminated), 0.4, 16},
        /* above 21: (12 + 4 * 24) / 5 = 21.6 */
        {"length", offsetof(Step, length), 24, 18},
        /* below 6: (12 + 4 * 2) / 5 = 4 */
        {"length", offsetof(Step, length), 2, 18},
        /* (3 + 2 * 0.2) / 5 = 0.68 of 1 */
        {"repetition", offsetof(Step, unique), 0.2, 16},
    };
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        Run run;
        run_open(&run);
        for (int step = 1; step <= 25; step++) {
            Step now = sound(step);
            if (step >= 15) memcpy((char *)&now + spoils[i].at, &spoils[i].bad, sizeof(double));
            run_add(&run, step, now);
        }
        const Diagnosis diagnosis = run_examine(&run, NULL);
        const Finding *finding = named(&diagnosis, spoils[i].name);
        assert_int_equal(finding->mark, FINDING_ALARM);
        assert_int_equal(finding->step, spoils[i].step);
        assert_non_null(finding->cause);
        assert_non_null(finding->advice);
        assert_int_equal(ill(&diagnosis), 1);
        assert_string_equal(diagnosis_stage(&diagnosis), "ppo");
        assert_false(diagnosis_gate_failed(&diagnosis));
        run_close(&run);
    }
}

static void one_unlucky_batch_raises_nothing(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    for (int step = 1; step <= 25; step++) {
        Step now = sound(step);
        if (step == 15) {
            now.clipfrac = 0.9;
            now.value = -2;
            now.unique = 0.2;
            now.length = 40;
        }
        run_add(&run, step, now);
    }
    const Diagnosis diagnosis = run_examine(&run, NULL);
    assert_int_equal(ill(&diagnosis), 0);
    run_close(&run);
}

static void a_critic_that_has_just_begun_is_left_in_peace(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    for (int step = 1; step <= 25; step++) {
        Step now = sound(step);
        if (step <= 5) now.value = -3;
        run_add(&run, step, now);
    }
    const Diagnosis diagnosis = run_examine(&run, NULL);
    assert_int_equal(ill(&diagnosis), 0);
    run_close(&run);
}

static void ranges_and_windows_are_told_as_they_are_judged(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    put(&run, "config.json", "{\"ppo\": {\"critic_warmup\": 5}}\n");
    for (int step = 1; step <= 25; step++) {
        Step now = sound(step);
        if (step <= 11) now.value = -3; /* the means from step 16 on hold none of these */
        if (step == 20) now.approxkl = 0.2;
        if (step >= 15) now.clipfrac = 0.4;
        run_add(&run, step, now);
    }
    const Diagnosis diagnosis = run_examine(&run, NULL);
    assert_string_equal(named(&diagnosis, "value")->evidence, "val/explained_var from 0.6 to 0.6");
    assert_string_equal(named(&diagnosis, "step-size")->evidence,
                        "policy/approxkl_avg is 0.2 at step 20, above 0.1");
    assert_string_equal(named(&diagnosis, "clip-fraction")->evidence,
                        "policy/clipfrac_avg is 0.33 at step 18, above 0.3 (mean of 5 steps)");
    run_close(&run);
}

static void samples_of_another_temperature_are_seen(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    for (int step = 1; step <= 25; step++) {
        Step now = sound(step);
        now.sampled = 12 * 1.3; /* nats an answer of 12 tokens, where 1.5 a token are meant */
        run_add(&run, step, now);
    }
    const Diagnosis diagnosis = run_examine(&run, NULL);
    assert_string_equal(named(&diagnosis, "sampling")->evidence,
                        "sampled tokens are worth 1.300 nats, their distributions say 1.500");
    assert_int_equal(named(&diagnosis, "sampling")->mark, FINDING_ALARM);
    assert_int_equal(ill(&diagnosis), 1);
    run_close(&run);
}

static void a_score_that_stands_still_is_no_progress(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    for (int step = 1; step <= 19; step++) {
        Step now = sound(step);
        now.score = 0.1;
        run_add(&run, step, now);
    }
    const Diagnosis early = run_examine(&run, NULL);
    assert_int_equal(ill(&early), 0); /* too soon to tell */
    Step now = sound(20);
    now.score = 0.1;
    run_add(&run, 20, now);
    const Diagnosis late = run_examine(&run, NULL);
    assert_int_equal(named(&late, "progress")->mark, FINDING_ALARM);
    run_close(&run);
}

/* ---- with labels ---- */

/* `pairs` pairs, one in ten held out, the chosen answer `longer` tokens longer; the labelling
 * policy's answers all ended. */
static void label(const Run *run, int pairs, int longer)
{
    char path[PATH_TEXT];
    assert_ok(path_join(path, run->path, "label"));
    assert_ok(io_make_folder(path));
    Preferences all = {0};
    const int32_t token[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int i = 0; i < pairs; i++) {
        const int32_t chosen = all.completion.count;
        assert_ok(sequences_add(&all.completion, token, 1, token, i % 3 ? 2 + longer : 2));
        assert_ok(sequences_add(&all.completion, token, 1, token, i % 3 ? 2 : 2 + longer));
        const Preference pair = {.prompt_id = i,
                                 .chosen = chosen,
                                 .rejected = chosen + 1,
                                 .gold_margin = NAN,
                                 .split = i % 10 == 0};
        assert_ok(preferences_add(&all, pair));
    }
    assert_ok(path_join(path, run->path, "label/comparisons.h5"));
    assert_ok(preferences_write(&all, NULL, path));
    preferences_free(&all);
    put(run, "label/metrics.jsonl",
        "{\"step\":1,\"pairs\":1000,\"identical\":3,\"terminated\":0.9}\n");
    Manifest manifest = {.stage = "label"};
    assert_ok(path_join(path, run->path, "label"));
    assert_ok(manifest_add(&manifest, path, "comparisons.h5"));
    assert_ok(manifest_write(&manifest, path));
}

static void labels_are_counted_and_measured(void **state)
{
    (void)state;
    Run run;
    LabelView view;
    run_open(&run);
    label(&run, 30, 3);
    assert_ok(doctor_view_labels(&view, run.path));
    assert_int_equal(view.pairs, 27);
    assert_int_equal(view.held_out, 3);
    assert_close(view.longer, 20.0 / 30, 1e-12, 0);
    assert_close(view.by_length, 20.0 / 30, 1e-12, 0);
    label(&run, 30, 0); /* all of one length */
    assert_ok(doctor_view_labels(&view, run.path));
    assert_true(isnan(view.longer));
    run_close(&run);
}

static void label_gates_blame_pairs_and_length(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    label(&run, 30, 3);
    run_add(&run, 1, sound(1));
    const Diagnosis diagnosis = run_examine(&run, "label");
    assert_int_equal(diagnosis.count, 4);
    assert_int_equal(named(&diagnosis, "pairs")->mark, FINDING_FAILED);
    assert_int_equal(named(&diagnosis, "length-bias")->mark, FINDING_FAILED);
    assert_string_equal(named(&diagnosis, "length-bias")->evidence,
                        "the longer answer is preferred in 66.7 % of the pairs");
    assert_int_equal(named(&diagnosis, "endings")->mark, FINDING_FINE);
    assert_string_equal(named(&diagnosis, "endings")->stage, "sft");
    assert_true(diagnosis_gate_failed(&diagnosis));
    assert_string_equal(diagnosis_stage(&diagnosis), "label");
    char verdict[VERDICT_TEXT];
    diagnosis_verdict(verdict, &diagnosis);
    assert_string_equal(verdict, "failed: label, pairs: 27 pairs to train on, 3 held out");
    run_close(&run);
}

/* 1 112 pairs leave 1 000 to train on: n = 2 000 answers: log n = 7.60 nats, log 30 n = 11.00. */
enum { PAIRS = 1112, LAST = 30 };

/* KL grows by `speed` a step up to `farthest`; the score by 0.06 a step up to `highest`. */
static Diagnosis travel(double speed, double farthest, double highest, const char *stage)
{
    Run run;
    run_open(&run);
    label(&run, PAIRS, 0);
    for (int step = 1; step <= LAST; step++) {
        Step now = sound(step);
        now.kl = fmin(speed * (step - 1), farthest);
        now.score = fmin(2 * now.score, highest);
        run_add(&run, step, now);
    }
    const Diagnosis diagnosis = run_examine(&run, stage);
    run_close(&run);
    return diagnosis;
}

static void overoptimisation_needs_distance_and_pace_and_a_gain(void **state)
{
    (void)state;
    const Diagnosis near = travel(0.2, INFINITY, INFINITY, NULL),
                    held = travel(0.4, 8.0, INFINITY, NULL),
                    idle = travel(0.8, INFINITY, 0.4, NULL),
                    lost = travel(0.8, INFINITY, INFINITY, NULL);
    assert_int_equal(named(&near, "over-optimisation")->mark, FINDING_FINE);
    assert_string_equal(named(&near, "over-optimisation")->evidence,
                        "at most 5.4 nats from SFT, 2000 labelled answers reach 7.6");
    assert_int_equal(named(&held, "over-optimisation")->mark, FINDING_FINE);
    assert_string_equal(named(&held, "over-optimisation")->evidence,
                        "at most 8.0 nats from SFT, 2000 labelled answers reach 7.6");
    assert_int_equal(named(&idle, "over-optimisation")->mark, FINDING_FINE);
    /* mean of five steps: 0.8 (step - 3) > 7.601 from step 13 on, where 8 + 4 > 11.00 */
    assert_int_equal(named(&lost, "over-optimisation")->mark, FINDING_ALARM);
    assert_int_equal(named(&lost, "over-optimisation")->step, 13);
    assert_string_equal(named(&lost, "over-optimisation")->evidence,
                        "8.0 nats from SFT at step 13, 4.0 more than 5 steps before; "
                        "2000 labelled answers reach 7.6");
}

static void overoptimisation_waits_for_the_pace_or_the_distance(void **state)
{
    (void)state;
    /* 0.3 (step - 3) = 8.1 at step 30, where 8.1 + 1.5 < 11.00 */
    const Diagnosis slow = travel(0.3, INFINITY, INFINITY, NULL);
    assert_int_equal(named(&slow, "over-optimisation")->mark, FINDING_FINE);
    /* 0.4 (step - 3) = 8.8 at step 25 and 8.8 + 2 < 11.00; at step 26 9.2 + 2 is more */
    const Diagnosis later = travel(0.4, INFINITY, INFINITY, NULL);
    assert_int_equal(named(&later, "over-optimisation")->step, 26);
}

static void overoptimisation_is_seen_where_ppo_alone_is_looked_at(void **state)
{
    (void)state;
    const Diagnosis whole = travel(0.8, INFINITY, INFINITY, NULL),
                    alone = travel(0.8, INFINITY, INFINITY, "ppo");
    const Finding *finding = named(&alone, "over-optimisation");
    assert_int_equal(finding->mark, FINDING_ALARM);
    assert_int_equal(finding->step, 13);
    assert_string_equal(finding->evidence, named(&whole, "over-optimisation")->evidence);
    for (int i = 0; i < alone.count; i++) {
        assert_string_equal(alone.finding[i].stage, "ppo");
    }
}

/* ---- the rest ---- */

static void gates_come_before_alarms_and_early_before_late(void **state)
{
    (void)state;
    const Diagnosis diagnosis = {
        .count = 4,
        .finding = {{.mark = FINDING_FINE, .stage = "pretrain", .name = "a"},
                    {.mark = FINDING_ALARM, .stage = "sft", .name = "b"},
                    {.mark = FINDING_FAILED, .stage = "reward", .name = "c"},
                    {.mark = FINDING_ALARM, .stage = "ppo", .name = "d", .step = 4}}};
    assert_string_equal(diagnosis_worst(&diagnosis, NULL)->name, "c");
    assert_string_equal(diagnosis_worst(&diagnosis, "ppo")->name, "d");
    assert_null(diagnosis_worst(&diagnosis, "pretrain"));
    assert_string_equal(diagnosis_stage(&diagnosis), "sft");
    assert_true(diagnosis_gate_failed(&diagnosis));
    assert_string_equal(finding_mark_text(FINDING_ALARM), "alarm");
}

static void a_stage_that_gave_up_is_named(void **state)
{
    (void)state;
    Run run;
    run_open(&run);
    for (int step = 1; step <= 2; step++) run_add(&run, step, sound(step));
#define LIFE "{\"started\": \"then\", \"host\": \"here\", \"process\": 1"
#define END(status)                                                                                \
    ", \"end\": {\"time\": \"now\", \"reason\": \"why\", \"exit_status\": " status "}}"
#define LIVES(lives) "{\"format_version\": 1, \"lives\": [" lives "]}\n"
    put(&run, "run.json", LIVES(LIFE END("8") ", " LIFE "}"));
    const Diagnosis going_on = run_examine(&run, NULL);
    assert_int_equal(ill(&going_on), 0);
    put(&run, "run.json", LIVES(LIFE END("5")));
    const Diagnosis full_disk = run_examine(&run, NULL);
    assert_int_equal(ill(&full_disk), 0);
    put(&run, "run.json", LIVES(LIFE END("8")));
    const Diagnosis stopped = run_examine(&run, NULL);
    assert_int_equal(ill(&stopped), 1);
    assert_string_equal(named(&stopped, "stopped")->evidence, "ended after step 2 with \"why\"");
    put(&run, "ppo/manifest.json", "{}\n");
    const Diagnosis finished = run_examine(&run, NULL);
    assert_int_equal(ill(&finished), 0);
    run_close(&run);
}

static void what_cannot_be_read_is_refused(void **state)
{
    (void)state;
    Run run;
    Diagnosis diagnosis;
    run_open(&run);
    put(&run, "ppo/metrics.jsonl", "{\"step\":1}\n{\"step\":}\n{\"step\":3}\n");
    assert_fails(doctor_examine(&diagnosis, run.path, NULL), STATUS_DATA, "metrics.jsonl:2");
    put(&run, "config.json", "{\"ppo\": {\"critic_warmup\": \"much\"}}\n");
    assert_fails(doctor_examine(&diagnosis, run.path, NULL), STATUS_DATA,
                 "critic_warmup: expected a number");
    run_close(&run);
}

static void settings_that_are_missing_are_named_with_their_place(void **state)
{
    (void)state;
    Run run;
    Diagnosis diagnosis;
    char path[PATH_TEXT];
    run_open(&run);
    put(&run, "config.json", "{}\n");
    assert_fails(doctor_examine(&diagnosis, run.path, NULL), STATUS_DATA,
                 "config.json:1:1: ppo: missing");
    put(&run, "config.json", "[]\n");
    assert_fails(doctor_examine(&diagnosis, run.path, NULL), STATUS_DATA,
                 "config.json:1:1: expected an object, found an array");
    put(&run, "config.json", "{\"ppo\": {\"critic_warmup\": 0}}\n");
    assert_ok(path_join(path, run.path, "pretrain"));
    assert_ok(io_make_folder(path));
    put(&run, "pretrain/manifest.json", "{}\n");
    put(&run, "pretrain/metrics.jsonl", "{\"step\":1,\"loss\":2}\n");
    assert_fails(doctor_examine(&diagnosis, run.path, "pretrain"), STATUS_DATA,
                 "config.json:1:1: task: missing");
    run_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_journal_raises_nothing),
        cmocka_unit_test(every_alarm_names_its_first_step),
        cmocka_unit_test(one_unlucky_batch_raises_nothing),
        cmocka_unit_test(a_critic_that_has_just_begun_is_left_in_peace),
        cmocka_unit_test(ranges_and_windows_are_told_as_they_are_judged),
        cmocka_unit_test(samples_of_another_temperature_are_seen),
        cmocka_unit_test(a_score_that_stands_still_is_no_progress),
        cmocka_unit_test(labels_are_counted_and_measured),
        cmocka_unit_test(label_gates_blame_pairs_and_length),
        cmocka_unit_test(overoptimisation_needs_distance_and_pace_and_a_gain),
        cmocka_unit_test(overoptimisation_waits_for_the_pace_or_the_distance),
        cmocka_unit_test(overoptimisation_is_seen_where_ppo_alone_is_looked_at),
        cmocka_unit_test(gates_come_before_alarms_and_early_before_late),
        cmocka_unit_test(a_stage_that_gave_up_is_named),
        cmocka_unit_test(what_cannot_be_read_is_refused),
        cmocka_unit_test(settings_that_are_missing_are_named_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
