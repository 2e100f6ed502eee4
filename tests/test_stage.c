/* stage: what a stage leaves behind and how it goes on. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/io_lines.h"
#include "data/json.h"
#include "data/stage.h"

#include <errno.h>
#include <fcntl.h>

static const MetricInfo infos[] = {
    {"loss", "nats a token", "mean of -log p", "tokens", 0, 10, "a learning rate too high"},
    {"lr", "1", "learning rate", "steps", NAN, NAN, "none"},
};
static const MetricTable table = {.metrics = infos, .count = 2};
static const Digest settings = {0x1234, 0x5678};
/* What the hooks were told and answer. */
typedef struct Watcher {
    StageProgress seen;
    int calls;
    bool stop, checkpoint;
} Watcher;

static void watch(void *context, const StageProgress *progress)
{
    Watcher *watcher = context;
    watcher->seen = *progress;
    watcher->calls++;
}

static bool wants_stop(void *context)
{
    return ((Watcher *)context)->stop;
}

static bool wants_checkpoint(void *context)
{
    return ((Watcher *)context)->checkpoint;
}

static Stage stage_of(Watcher *watcher)
{
    return (Stage){.name = "sft",
                   .run = folder,
                   .seed = 1,
                   .threads = 1,
                   .made_from = settings,
                   .hooks = {watcher, watch, wants_stop, wants_checkpoint}};
}

static void record(Stage *stage, int64_t step)
{
    const double value[] = {1.0 / (double)step, 0.5};
    assert_ok(stage_record(stage, step, 10, 640, value, (const char *const[]){"loss", NULL}));
}

static void save(Stage *stage, int64_t step, const int64_t *keep, int keeps)
{
    char step_folder[PATH_TEXT], path[PATH_TEXT];
    assert_ok(stage_checkpoint_begin(stage, step_folder, step));
    assert_ok(path_join(path, step_folder, "state"));
    write_file(path, "weights and moments");
    assert_ok(
        stage_checkpoint(stage, step_folder, step, (const char *const[]){"state"}, 1, keep, keeps));
}

static void a_step_is_recorded_and_shown(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    assert_false(stage.resumed);
    record(&stage, 1);
    save(&stage, 1, NULL, 0);
    record(&stage, 2);
    assert_int_equal(watcher.calls, 2);
    assert_string_equal(watcher.seen.stage, "sft");
    assert_int_equal(watcher.seen.step, 2);
    assert_int_equal(watcher.seen.steps, 10);
    assert_int_equal(watcher.seen.tokens, 640);
    assert_int_equal(watcher.seen.shown, 1);
    assert_string_equal(watcher.seen.name[0], "loss");
    assert_true(watcher.seen.value[0] == 0.5);
    assert_int_equal(stage.step, 2);
    stage_close(&stage);
    stage_close(&stage);
    assert_file(in("sft/metrics.jsonl"),
                "{\"step\":1,\"loss\":1,\"lr\":0.5}\n{\"step\":2,\"loss\":0.5,\"lr\":0.5}\n");

    MetricColumns timings;
    assert_ok(metric_columns_read(&timings, in("sft/timings.jsonl")));
    assert_int_equal(timings.rows, 2);
    assert_true(metric_column(&timings, "seconds")[1] >= 0);
    assert_true(metric_column(&timings, "tokens")[1] == 640);
    assert_true(metric_column(&timings, "max_resident_kb")[1] > 100);
    assert_non_null(metric_column(&timings, "tokens_per_second"));
    const double *checkpoint = metric_column(&timings, "time/checkpoint");
    assert_non_null(checkpoint);
    assert_true(isnan(checkpoint[0])); /* none before */
    assert_true(checkpoint[1] > 0 && checkpoint[1] <= metric_column(&timings, "seconds")[1]);
    metric_columns_free(&timings);
}

static void a_checkpoint_is_due_by_time_signal_or_stop(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_false(stage_checkpoint_due(&stage));
    assert_false(stage_should_stop(&stage));
    watcher.checkpoint = true;
    assert_true(stage_checkpoint_due(&stage));
    watcher = (Watcher){.stop = true};
    assert_true(stage_should_stop(&stage));
    assert_true(stage_checkpoint_due(&stage));

    Stage timed = {.name = "sft", .run = folder, .checkpoint_seconds = 1e-9};
    assert_ok(stage_open(&timed, &table));
    usleep(10);
    assert_true(stage_checkpoint_due(&timed));
    timed.checkpoint_seconds = 3600;
    assert_false(stage_checkpoint_due(&timed));
    assert_false(stage_should_stop(&timed));
    stage_close(&timed);
    stage_close(&(Stage){0});
}

static void an_abandoned_stage_goes_on_from_its_checkpoint(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage first = stage_of(&watcher);
    assert_ok(stage_open(&first, &table));
    record(&first, 1);
    record(&first, 2);
    save(&first, 2, NULL, 0);
    record(&first, 3);
    assert_ok(io_log_append(&first.metrics.file.log, "{\"step\":4,\"lo", 13)); /* torn */
    assert_ok(io_log_append(&first.timings, "{\"step\":4,", 10));
    stage_close(&first);

    Stage second = stage_of(&watcher);
    assert_ok(stage_open(&second, &table));
    assert_true(second.resumed);
    assert_int_equal(second.step, 2);
    assert_int_equal(second.damaged, 0);
    assert_string_equal(second.checkpoint, in("sft/checkpoints/step-000002"));
    record(&second, 3);
    record(&second, 4);
    stage_close(&second);
    assert_file(in("sft/metrics.jsonl"), "{\"step\":1,\"loss\":1,\"lr\":0.5}\n"
                                         "{\"step\":2,\"loss\":0.5,\"lr\":0.5}\n"
                                         "{\"step\":3,\"loss\":0.3333333333333333,\"lr\":0.5}\n"
                                         "{\"step\":4,\"loss\":0.25,\"lr\":0.5}\n");
    MetricColumns timings; /* step 3 was worked through twice */
    assert_ok(metric_columns_read(&timings, in("sft/timings.jsonl")));
    assert_int_equal(timings.rows, 5);
    metric_columns_free(&timings);
}

static void a_damaged_checkpoint_costs_only_itself(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    record(&stage, 1);
    save(&stage, 1, NULL, 0);
    record(&stage, 2);
    save(&stage, 2, NULL, 0);
    stage_close(&stage);
    write_file(in("sft/checkpoints/step-000002/state"), "weights and momentz");

    Stage again = stage_of(&watcher);
    assert_ok(stage_open(&again, &table));
    assert_true(again.resumed);
    assert_int_equal(again.step, 1);
    assert_int_equal(again.damaged, 1);
    stage_close(&again);
    assert_file(in("sft/metrics.jsonl"), "{\"step\":1,\"loss\":1,\"lr\":0.5}\n");
}

/* Where none is left the stage starts again, and what was found damaged stays to be seen. */
static void damage_stays_to_be_seen(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    record(&stage, 1);
    save(&stage, 1, NULL, 0);
    stage_close(&stage);
    write_file(in("sft/checkpoints/step-000001/state"), "weights and momentz");
    Stage again = stage_of(&watcher);
    assert_ok(stage_open(&again, &table));
    assert_false(again.resumed);
    Texts names = {0};
    assert_ok(checkpoint_damaged(&names, again.folder));
    assert_int_equal(names.count, 1);
    assert_string_equal(names.bytes.data, "damaged-step-000001");
    texts_free(&names);
    stage_close(&again);
}

static void a_journal_that_was_altered_stops_the_resume(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    record(&stage, 1);
    save(&stage, 1, NULL, 0);
    stage_close(&stage);
    write_file(in("sft/metrics.jsonl"), "{\"step\":1,\"loss\":9,\"lr\":0.5}\n");
    Stage again = stage_of(&watcher);
    assert_fails(stage_open(&again, &table), STATUS_DATA,
                 "sft/metrics.jsonl: its first 29 bytes are not those of checkpoint 1; "
                 "--restart sft starts the stage over");
    stage_close(&again);
    assert_ok(io_remove(in("sft/metrics.jsonl")));
    assert_fails(stage_open(&again, &table), STATUS_DATA, "its first 29 bytes are not those");
    stage_close(&again);
    Texts names = {0}; /* whole as it is, it stays */
    assert_ok(io_list(&names, in("sft/checkpoints")));
    assert_int_equal(names.count, 1);
    assert_string_equal(names.bytes.data, "step-000001");
    texts_free(&names);
}

/* Damage behind the length that the generation before committed costs one generation. */
static void a_journal_damaged_at_its_end_costs_one_checkpoint(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    for (int64_t step = 1; step <= 2; step++) {
        record(&stage, step);
        save(&stage, step, NULL, 0);
    }
    stage_close(&stage);
    const char *first = "{\"step\":1,\"loss\":1,\"lr\":0.5}\n";
    char text[128];
    snprintf(text, sizeof text, "%s{\"step\":2,\"loss\":9.5,\"lr\":0.5}\n", first);
    write_file(in("sft/metrics.jsonl"), text);
    Stage again = stage_of(&watcher);
    assert_ok(stage_open(&again, &table));
    assert_true(again.resumed);
    assert_int_equal(again.step, 1);
    assert_int_equal(again.damaged, 1);
    stage_close(&again);
    assert_file(in("sft/metrics.jsonl"), first);
    assert_true(io_exists(in("sft/checkpoints/damaged-step-000002/manifest.json")));
}

/* What tells of steps beyond the checkpoint must not outlive the steps. */
static void a_resumed_stage_has_no_snapshot(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    record(&stage, 1);
    save(&stage, 1, (const int64_t[]){1}, 1);
    assert_false(io_exists(in("sft/metrics.h5"))); /* not a minute old */
    stage.next_snapshot = stage_seconds();
    record(&stage, 2);
    save(&stage, 2, (const int64_t[]){1}, 1);
    assert_true(io_exists(in("sft/metrics.h5")));
    assert_true(stage.next_snapshot > stage_seconds() + 50);
    stage_close(&stage);
    assert_ok(stage_open(&stage, &table));
    assert_int_equal(stage.step, 2);
    assert_false(io_exists(in("sft/metrics.h5")));
    stage_close(&stage);
}

/* A stage that no commit followed upon has the checkpoints left that any other has. */
static void a_finish_after_resuming_clears_up_too(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    for (int64_t step = 1; step <= 4; step++) {
        record(&stage, step);
        save(&stage, step, (const int64_t[]){1}, 1);
    }
    stage_close(&stage);
    assert_ok(stage_open(&stage, &table));
    assert_int_equal(stage.step, 4);
    assert_ok(stage_finish(&stage, 4, NULL, 0, (const int64_t[]){1}, 1));
    stage_close(&stage);
    Texts names = {0};
    assert_ok(io_list(&names, in("sft/checkpoints")));
    assert_int_equal(names.count, 1);
    assert_string_equal(names.bytes.data, "step-000001");
    texts_free(&names);
}

/* Days of work do not end at a copy for reading. */
static void a_journal_without_a_snapshot_is_no_failure(void **state)
{
    (void)state;
    enum { METRICS = 1025 };
    static MetricInfo many[METRICS];
    static char name[METRICS][16];
    static double value[METRICS];
    for (int i = 0; i < METRICS; i++) {
        snprintf(name[i], sizeof name[i], "m%d", i);
        many[i] = infos[0];
        many[i].name = name[i];
    }
    const MetricTable wide = {.metrics = many, .count = METRICS};
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &wide));
    assert_ok(stage_record(&stage, 1, 1, 1, value, NULL));
    assert_ok(stage_finish(&stage, 1, NULL, 0, NULL, 0));
    stage_close(&stage);
    Manifest manifest;
    assert_ok(manifest_read(&manifest, stage.folder));
    assert_ok(manifest_verify(&manifest, stage.folder));
    assert_int_equal(manifest.count, 1);
    assert_non_null(manifest_find(&manifest, "metrics.jsonl"));
}

/* However long timings.jsonl has become. */
static void only_the_tail_of_a_log_is_read(void **state)
{
    (void)state;
    Bytes text = {0};
    uint64_t whole, size;
    for (int i = 0; i < 1 << 18; i++) assert_ok(bytes_text(&text, "x"));
    write_file(in("log"), text.data);
    assert_ok(io_lines_whole(&whole, &size, in("log")));
    assert_int_equal(whole, 0);
    assert_int_equal(size, 1 << 18);
    text.data[5] = '\n';
    write_file(in("log"), text.data);
    assert_ok(io_lines_whole(&whole, &size, in("log")));
    assert_int_equal(whole, 6);
    text.data[(1 << 18) - 1] = '\n';
    write_file(in("log"), text.data);
    assert_ok(io_lines_whole(&whole, &size, in("log")));
    assert_int_equal(whole, 1 << 18);
    bytes_free(&text);

    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    record(&stage, 1);
    save(&stage, 1, NULL, 0);
    stage_close(&stage);
    const int file = open(in("sft/timings.jsonl"), O_WRONLY);
    assert_int_equal(lseek(file, ((off_t)1 << 28) + 1, SEEK_SET), ((off_t)1 << 28) + 1);
    assert_int_equal(write(file, "\n{", 2), 2); /* a hole before it: no disk is filled */
    assert_int_equal(close(file), 0);
    assert_ok(stage_open(&stage, &table));
    stage_close(&stage);
    assert_ok(io_size(&size, in("sft/timings.jsonl")));
    assert_int_equal(size, ((uint64_t)1 << 28) + 2);
}

static void other_settings_start_clean(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    record(&stage, 1);
    save(&stage, 1, NULL, 0);
    assert_ok(io_make_folder(in("sft/rollouts")));
    write_file(in("sft/rollouts/000001.h5"), "x");
    write_file(in("sft/policy.h5"), "x");
    assert_ok(stage_finish(&stage, 1, (const char *const[]){"policy.h5"}, 1, NULL, 0));
    stage_close(&stage);

    Stage other = stage_of(&watcher);
    other.made_from.low++;
    assert_ok(stage_open(&other, &table));
    assert_false(other.resumed);
    assert_int_equal(other.step, 0);
    Texts names = {0};
    assert_ok(io_list(&names, other.folder));
    assert_int_equal(names.count, 2); /* the two journals, empty */
    texts_free(&names);
    assert_file(in("sft/metrics.jsonl"), "");
    stage_close(&other);
}

static void a_finished_stage_says_what_it_published(void **state)
{
    (void)state;
    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    for (int64_t step = 1; step <= 4; step++) {
        record(&stage, step);
        save(&stage, step, (const int64_t[]){1, 3}, 2);
    }
    write_file(in("sft/policy.h5"), "weights");
    assert_ok(
        stage_finish(&stage, 4, (const char *const[]){"policy.h5"}, 1, (const int64_t[]){1, 3}, 2));
    stage_close(&stage);

    Manifest manifest;
    assert_ok(manifest_read(&manifest, stage.folder));
    assert_ok(manifest_verify(&manifest, stage.folder));
    assert_string_equal(manifest.stage, "sft");
    assert_int_equal(manifest.step, 4);
    assert_true(digest_equal(manifest.made_from, settings));
    assert_int_equal(manifest.count, 3);
    assert_non_null(manifest_find(&manifest, "metrics.jsonl"));
    assert_non_null(manifest_find(&manifest, "metrics.h5"));
    assert_null(manifest_find(&manifest, "timings.jsonl"));
    Texts names = {0};
    assert_ok(io_list(&names, in("sft/checkpoints")));
    assert_int_equal(names.count, 2); /* 1 and 3, kept for good */
    texts_free(&names);
}

static void an_input_is_checked_and_what_to_run_is_said(void **state)
{
    (void)state;
    char path[STAGE_PATH], expected[256];
    Digest digest;
    snprintf(expected, sizeof expected, "%s/sft/manifest.json: missing; run: rlhf sft %s", folder,
             folder);
    assert_int_equal(stage_input(path, &digest, folder, "sft", "policy.h5"), STATUS_DATA);
    assert_string_equal(status_message(), expected);

    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    write_file(in("sft/policy.h5"), "weights");
    assert_ok(stage_finish(&stage, 0, (const char *const[]){"policy.h5"}, 1, NULL, 0));
    stage_close(&stage);
    assert_ok(stage_input(path, &digest, folder, "sft", "policy.h5"));
    assert_string_equal(path, in("sft/policy.h5"));
    assert_true(digest_equal(digest, digest_of("weights", 7)));
    assert_ok(stage_input(path, NULL, folder, "sft", "policy.h5"));

    assert_fails(stage_input(path, &digest, folder, "sft", "critic.h5"), STATUS_DATA,
                 "sft/manifest.json: names no critic.h5; run: rlhf sft ");
    write_file(in("sft/policy.h5"), "weight");
    assert_fails(stage_input(path, &digest, folder, "sft", "policy.h5"), STATUS_DATA,
                 "sft/policy.h5: 6 bytes, not 7; run: rlhf sft ");
    assert_ok(io_remove(in("sft/policy.h5")));
    assert_fails(stage_input(path, &digest, folder, "sft", "policy.h5"), STATUS_DATA,
                 "sft/policy.h5: missing; run: rlhf sft ");
    assert_ok(io_make_folder(in("ppo")));
    assert_ok(io_rename(in("sft/manifest.json"), in("sft/m")));
    Manifest manifest = {.stage = "sft"};
    assert_ok(manifest_write(&manifest, in("ppo")));
    assert_fails(stage_input(path, &digest, folder, "ppo", "policy.h5"), STATUS_DATA,
                 "ppo/manifest.json: of stage sft, not ppo; run: rlhf ppo ");
}

static void a_full_disk_leaves_the_checkpoint_before(void **state)
{
    (void)state;
    Watcher watcher = {0};
    for (long call = 1;; call++) {
        Stage stage = stage_of(&watcher);
        stage.made_from.low = (uint64_t)call;
        assert_ok(stage_open(&stage, &table));
        record(&stage, 1);
        save(&stage, 1, NULL, 0);
        char step_folder[PATH_TEXT], path[PATH_TEXT];
        assert_ok(stage_checkpoint_begin(&stage, step_folder, 2));
        assert_ok(path_join(path, step_folder, "state"));
        write_file(path, "weights and moments");
        io_fault(NULL, call, ENOSPC, false);
        const Status status =
            stage_checkpoint(&stage, step_folder, 2, (const char *const[]){"state"}, 1, NULL, 0);
        io_fault(NULL, 0, 0, false);
        stage_close(&stage);

        Stage again = stage_of(&watcher);
        again.made_from.low = (uint64_t)call;
        assert_ok(stage_open(&again, &table));
        assert_true(again.resumed && again.damaged == 0);
        assert_true(again.step == 1 || again.step == 2);
        stage_close(&again);
        if (status == STATUS_OK) {
            assert_int_equal(again.step, 2);
            assert_true(call > 5); /* each of them was made to fail */
            return;
        }
        assert_int_equal(status, STATUS_IO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_step_is_recorded_and_shown),
        IN_FOLDER(a_checkpoint_is_due_by_time_signal_or_stop),
        IN_FOLDER(an_abandoned_stage_goes_on_from_its_checkpoint),
        IN_FOLDER(a_damaged_checkpoint_costs_only_itself),
        IN_FOLDER(damage_stays_to_be_seen),
        IN_FOLDER(a_journal_that_was_altered_stops_the_resume),
        IN_FOLDER(a_journal_damaged_at_its_end_costs_one_checkpoint),
        IN_FOLDER(a_resumed_stage_has_no_snapshot),
        IN_FOLDER(a_finish_after_resuming_clears_up_too),
        IN_FOLDER(a_journal_without_a_snapshot_is_no_failure),
        IN_FOLDER(only_the_tail_of_a_log_is_read),
        IN_FOLDER(other_settings_start_clean),
        IN_FOLDER(a_finished_stage_says_what_it_published),
        IN_FOLDER(an_input_is_checked_and_what_to_run_is_said),
        IN_FOLDER(a_full_disk_leaves_the_checkpoint_before),
    };
    return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
