/* manifest, checkpoint, stage, run_dir: what a run leaves behind and how it goes on. */
#include "tests/support.h"

#include "data/io_lines.h"
#include "data/json.h"
#include "data/run_dir.h"
#include "data/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const MetricInfo infos[] = {
    {"loss", "nats a token", "mean of -log p", "tokens", 0, 10, "a learning rate too high"},
    {"lr", "1", "learning rate", "steps", NAN, NAN, "none"},
};
static const MetricTable table = {.metrics = infos, .count = 2};
static const Digest settings = {0x1234, 0x5678};

static char run[64]; /* the folder of the test at work */

static int fresh_run(void **state)
{
    (void)state;
    test_folder(run);
    return 0;
}

static int drop_run(void **state)
{
    (void)state;
    return io_remove_tree(run) == STATUS_OK ? 0 : -1;
}

/* A path below the run; a few at a time. */
static const char *in_run(const char *name)
{
    static char paths[4][PATH_TEXT];
    static int next;
    char *path = paths[next++ % 4];
    assert_ok(path_join(path, run, name));
    return path;
}

static void write_file(const char *path, const char *text)
{
    assert_ok(io_publish(path, text, strlen(text)));
}

static void assert_file(const char *path, const char *expected)
{
    Bytes text = {0};
    assert_ok(io_read(&text, path, 1 << 20));
    assert_string_equal(text.data != NULL ? text.data : "", expected);
    bytes_free(&text);
}

static void a_manifest_reads_back(void **state)
{
    (void)state;
    write_file(in_run("policy.h5"), "weights");
    write_file(in_run("tokenizer.json"), "{}");
    Manifest made = {.stage = "sft", .step = 40, .made_from = settings, .made_by = "rlhf 1"};
    assert_ok(manifest_add(&made, run, "policy.h5"));
    assert_ok(manifest_add(&made, run, "tokenizer.json"));
    assert_ok(manifest_add(&made, run, "policy.h5")); /* replaces */
    assert_int_equal(made.count, 2);
    assert_ok(manifest_write(&made, run));

    Manifest read;
    assert_ok(manifest_read(&read, run));
    assert_string_equal(read.stage, "sft");
    assert_int_equal(read.step, 40);
    assert_true(digest_equal(read.made_from, settings));
    assert_string_equal(read.made_by, "rlhf 1");
    assert_true(digest_equal(read.own, made.own));
    assert_int_equal(read.count, 2);
    const ManifestFile *file = manifest_find(&read, "policy.h5");
    assert_int_equal(file->size, 7);
    assert_true(digest_equal(file->digest, digest_of("weights", 7)));
    assert_null(manifest_find(&read, "critic.h5"));
    assert_string_equal(read.journal.name, "");
    assert_ok(manifest_verify(&read, run));
}

static void verify_names_the_first_file_that_differs(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    Manifest manifest = {.stage = "sft"};
    for (int i = 0; i < 3; i++) {
        write_file(in_run(names[i]), "four");
        assert_ok(manifest_add(&manifest, run, names[i]));
    }
    assert_ok(manifest_verify(&manifest, run));
    write_file(in_run("b"), "fuor");
    write_file(in_run("c"), "longer");
    assert_fails(manifest_verify(&manifest, run), STATUS_DATA, "/b: its hash is ");
    write_file(in_run("b"), "four");
    assert_fails(manifest_verify(&manifest, run), STATUS_DATA, "/c: 6 bytes, not 4");
    assert_ok(io_remove(in_run("a")));
    assert_fails(manifest_verify(&manifest, run), STATUS_DATA, "/a: missing");
    assert_fails(manifest_add(&manifest, run, "d"), STATUS_DATA, "/d: missing");
}

static void a_foreign_manifest_is_refused(void **state)
{
    (void)state;
#define HEAD "{\"format_version\": 1, \"stage\": \"sft\", \"step\": 1,"
#define HASH "\"0123456789abcdef0123456789abcdef\""
    static const char *const cases[][2] = {
        {"{", "manifest.json:1:2: expected a key in quotes, found the end"},
        {"[]", "manifest.json:1:1: expected an object, found an array"},
        {"{}", "manifest.json:1:1: format_version: missing"},
        {"{\"format_version\": 3}", "format_version = 3: this program reads 2"},
        {"{\"format_version\": 2}", "manifest.json: does not end in the hash of its text"},
        {HEAD "\"made_from\": \"12\", \"files\": []}", "made_from: not 32 hex digits"},
        {HEAD "\"made_from\": " HASH "}", "files: no such array"},
        {HEAD "\"made_from\": " HASH ", \"files\": [3]}", "expected an object, found a number"},
        {HEAD "\"made_from\": " HASH ", \"files\": [{\"name\": \"x/../../y\", \"size\": 1,"
              " \"xxh3_128\": " HASH "}]}",
         "name: must stay inside the folder"},
        {HEAD "\"made_from\": " HASH ", \"files\": [{\"name\": \"/etc/passwd\", \"size\": 1,"
              " \"xxh3_128\": " HASH "}]}",
         "name: must stay inside the folder"},
        {HEAD "\"made_from\": " HASH ", \"files\": [{\"name\": \"x\", \"size\": -1,"
              " \"xxh3_128\": " HASH "}]}",
         "size = -1: must not be negative"},
        {HEAD "\"made_from\": " HASH ", \"files\": ["
              "{\"name\": \"x\", \"size\": 1, \"xxh3_128\": " HASH "},"
              "{\"name\": \"x\", \"size\": 1, \"xxh3_128\": " HASH "}]}",
         "x: named twice"},
    };
    Manifest manifest;
    assert_fails(manifest_read(&manifest, run), STATUS_DATA, "/manifest.json: missing");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(in_run("manifest.json"), cases[i][0]);
        assert_fails(manifest_read(&manifest, run), STATUS_DATA, cases[i][1]);
    }
    Manifest full = {.count = MANIFEST_FILES_MAX};
    assert_fails(manifest_add_known(&full, "one", 1, settings), STATUS_DATA,
                 "one: more than 64 files");
}

static void commit_step(int64_t step, const int64_t *keep, int keeps)
{
    char folder[PATH_TEXT], text[32];
    assert_ok(checkpoint_begin(folder, run, step));
    char path[PATH_TEXT];
    assert_ok(path_join(path, folder, "state"));
    snprintf(text, sizeof text, "state of %d", (int)step);
    write_file(path, text);
    Manifest manifest = {.stage = "ppo", .step = step, .made_from = settings};
    assert_ok(
        checkpoint_commit(folder, run, &manifest, (const char *const[]){"state"}, 1, keep, keeps));
}

/* The names below checkpoints/, a space between two. */
static void assert_checkpoints(const char *expected)
{
    Texts names = {0};
    Bytes list = {0};
    assert_ok(io_list(&names, in_run("checkpoints")));
    for (int i = 0; i < names.count; i++) {
        size_t count;
        const char *name = texts_at(&names, i, &count);
        assert_ok(bytes_print(&list, "%s%.*s", i > 0 ? " " : "", (int)count, name));
    }
    assert_string_equal(list.data != NULL ? list.data : "", expected);
    bytes_free(&list);
    texts_free(&names);
}

static void the_newest_two_and_the_kept_stay(void **state)
{
    (void)state;
    static const int64_t keep[] = {2, 3};
    commit_step(1, keep, 2);
    assert_checkpoints("step-000001");
    commit_step(2, keep, 2);
    commit_step(3, keep, 2);
    assert_checkpoints("step-000002 step-000003");
    commit_step(4, keep, 2);
    commit_step(5, keep, 2);
    assert_checkpoints("step-000002 step-000003 step-000004 step-000005");
    commit_step(1000000, keep, 1); /* 3 is no longer kept; more digits, still the newest */
    assert_checkpoints("step-000002 step-000005 step-1000000");
    commit_step(1000000, keep, 1); /* the same step again */
    assert_checkpoints("step-000002 step-000005 step-1000000");
    char left[PATH_TEXT];
    assert_ok(checkpoint_begin(left, run, 7));
    assert_ok(checkpoint_finish(run, keep, 2));
    assert_checkpoints("step-000002");
    assert_ok(checkpoint_clear(run));
    assert_checkpoints("");
}

/* Every step-... that is left is whole. */
static void assert_all_whole(void)
{
    int64_t *steps;
    int count;
    char folder[PATH_TEXT];
    Manifest manifest;
    assert_ok(checkpoint_steps(&steps, &count, run));
    for (int i = 0; i < count; i++) assert_ok(checkpoint_at(folder, &manifest, run, steps[i]));
    memory_release(steps);
}

/* As a death at any call of the clearing up leaves it: none is without its files. */
static void what_is_removed_goes_at_once(void **state)
{
    (void)state;
    Status status = STATUS_IO;
    for (long call = 1; status != STATUS_OK; call++) {
        assert_true(call < 100);
        for (int64_t step = 1; step <= 2; step++) commit_step(step, NULL, 0);
        io_fault(NULL, call, EIO, true);
        status = checkpoint_finish(run, NULL, 0);
        io_fault(NULL, 0, 0, false);
        assert_all_whole();
        assert_ok(checkpoint_clear(run));
    }
    commit_step(1, NULL, 0);
    commit_step(2, NULL, 0);
    status = STATUS_IO;
    for (long call = 1; status != STATUS_OK; call++) {
        assert_true(call < 200);
        char folder[PATH_TEXT], path[PATH_TEXT];
        assert_ok(checkpoint_begin(folder, run, 2));
        assert_ok(path_join(path, folder, "state"));
        write_file(path, "state of 2");
        Manifest manifest = {.stage = "ppo", .step = 2, .made_from = settings};
        io_fault(NULL, call, EIO, true);
        status =
            checkpoint_commit(folder, run, &manifest, (const char *const[]){"state"}, 1, NULL, 0);
        io_fault(NULL, 0, 0, false);
        assert_ok(checkpoint_at(folder, &manifest, run, 2)); /* committed, and never gone */
    }
}

/* A step whose checkpoint was damaged is committed anew, and the damage stays to be seen. */
static void a_damaged_step_is_committed_again(void **state)
{
    (void)state;
    commit_step(1, NULL, 0);
    write_file(in_run("checkpoints/step-000001/state"), "state of 9");
    commit_step(1, NULL, 0);
    assert_all_whole();
    assert_checkpoints("damaged-step-000001 step-000001");
}

static void the_newest_valid_checkpoint_is_found(void **state)
{
    (void)state;
    bool found = true;
    int damaged;
    char folder[PATH_TEXT];
    Manifest manifest;
    assert_ok(checkpoint_newest(&found, folder, &manifest, &damaged, run));
    assert_false(found);

    static const int64_t keep[] = {10, 20, 30, 40};
    for (int i = 0; i < 4; i++) commit_step(keep[i], keep, 4);
    assert_ok(checkpoint_begin(folder, run, 50)); /* killed here */
    assert_ok(checkpoint_newest(&found, folder, &manifest, &damaged, run));
    assert_true(found);
    assert_int_equal(damaged, 0);
    assert_int_equal(manifest.step, 40);
    assert_string_equal(folder, in_run("checkpoints/step-000040"));
    assert_checkpoints("step-000010 step-000020 step-000030 step-000040");

    write_file(in_run("checkpoints/step-000040/state"), "state of 41");
    assert_ok(io_remove(in_run("checkpoints/step-000030/manifest.json")));
    assert_ok(checkpoint_newest(&found, folder, &manifest, &damaged, run));
    assert_true(found);
    assert_int_equal(damaged, 2);
    assert_int_equal(manifest.step, 20);
    assert_checkpoints("damaged-step-000030 damaged-step-000040 step-000010 step-000020");
}

static void a_checkpoint_is_found_by_step(void **state)
{
    (void)state;
    char folder[PATH_TEXT];
    Manifest manifest;
    assert_fails(checkpoint_at(folder, &manifest, run, 7), STATUS_DATA,
                 "/checkpoints: no step 7; there is none");
    static const int64_t keep[] = {10, 20, 30};
    for (int i = 0; i < 3; i++) commit_step(keep[i], keep, 3);
    assert_ok(checkpoint_at(folder, &manifest, run, 20));
    assert_string_equal(folder, in_run("checkpoints/step-000020"));
    assert_fails(checkpoint_at(folder, &manifest, run, 7), STATUS_DATA,
                 "/checkpoints: no step 7; there is 10, 20, 30");
    write_file(in_run("checkpoints/step-000020/state"), "x");
    assert_fails(checkpoint_at(folder, &manifest, run, 20), STATUS_DATA,
                 "step-000020/state: 1 bytes, not 11");
    assert_checkpoints("step-000010 step-000020 step-000030");
}

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
                   .run = run,
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
    char folder[PATH_TEXT], path[PATH_TEXT];
    assert_ok(stage_checkpoint_begin(stage, folder, step));
    assert_ok(path_join(path, folder, "state"));
    write_file(path, "weights and moments");
    assert_ok(
        stage_checkpoint(stage, folder, step, (const char *const[]){"state"}, 1, keep, keeps));
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
    assert_file(in_run("sft/metrics.jsonl"),
                "{\"step\":1,\"loss\":1,\"lr\":0.5}\n{\"step\":2,\"loss\":0.5,\"lr\":0.5}\n");

    MetricColumns timings;
    assert_ok(metric_columns_read(&timings, in_run("sft/timings.jsonl")));
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

    Stage timed = {.name = "sft", .run = run, .checkpoint_seconds = 1e-9};
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
    assert_string_equal(second.checkpoint, in_run("sft/checkpoints/step-000002"));
    record(&second, 3);
    record(&second, 4);
    stage_close(&second);
    assert_file(in_run("sft/metrics.jsonl"), "{\"step\":1,\"loss\":1,\"lr\":0.5}\n"
                                             "{\"step\":2,\"loss\":0.5,\"lr\":0.5}\n"
                                             "{\"step\":3,\"loss\":0.3333333333333333,\"lr\":0.5}\n"
                                             "{\"step\":4,\"loss\":0.25,\"lr\":0.5}\n");
    MetricColumns timings; /* step 3 was worked through twice */
    assert_ok(metric_columns_read(&timings, in_run("sft/timings.jsonl")));
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
    write_file(in_run("sft/checkpoints/step-000002/state"), "weights and momentz");

    Stage again = stage_of(&watcher);
    assert_ok(stage_open(&again, &table));
    assert_true(again.resumed);
    assert_int_equal(again.step, 1);
    assert_int_equal(again.damaged, 1);
    stage_close(&again);
    assert_file(in_run("sft/metrics.jsonl"), "{\"step\":1,\"loss\":1,\"lr\":0.5}\n");
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
    write_file(in_run("sft/checkpoints/step-000001/state"), "weights and momentz");
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
    write_file(in_run("sft/metrics.jsonl"), "{\"step\":1,\"loss\":9,\"lr\":0.5}\n");
    Stage again = stage_of(&watcher);
    assert_fails(stage_open(&again, &table), STATUS_DATA,
                 "sft/metrics.jsonl: its first 29 bytes are not those of checkpoint 1; "
                 "--restart sft starts the stage over");
    stage_close(&again);
    assert_ok(io_remove(in_run("sft/metrics.jsonl")));
    assert_fails(stage_open(&again, &table), STATUS_DATA, "its first 29 bytes are not those");
    stage_close(&again);
    Texts names = {0}; /* whole as it is, it stays */
    assert_ok(io_list(&names, in_run("sft/checkpoints")));
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
    write_file(in_run("sft/metrics.jsonl"), text);
    Stage again = stage_of(&watcher);
    assert_ok(stage_open(&again, &table));
    assert_true(again.resumed);
    assert_int_equal(again.step, 1);
    assert_int_equal(again.damaged, 1);
    stage_close(&again);
    assert_file(in_run("sft/metrics.jsonl"), first);
    assert_true(io_exists(in_run("sft/checkpoints/damaged-step-000002/manifest.json")));
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
    assert_false(io_exists(in_run("sft/metrics.h5"))); /* not a minute old */
    stage.next_snapshot = stage_seconds();
    record(&stage, 2);
    save(&stage, 2, (const int64_t[]){1}, 1);
    assert_true(io_exists(in_run("sft/metrics.h5")));
    assert_true(stage.next_snapshot > stage_seconds() + 50);
    stage_close(&stage);
    assert_ok(stage_open(&stage, &table));
    assert_int_equal(stage.step, 2);
    assert_false(io_exists(in_run("sft/metrics.h5")));
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
    assert_ok(io_list(&names, in_run("sft/checkpoints")));
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
    write_file(in_run("log"), text.data);
    assert_ok(io_lines_whole(&whole, &size, in_run("log")));
    assert_int_equal(whole, 0);
    assert_int_equal(size, 1 << 18);
    text.data[5] = '\n';
    write_file(in_run("log"), text.data);
    assert_ok(io_lines_whole(&whole, &size, in_run("log")));
    assert_int_equal(whole, 6);
    text.data[(1 << 18) - 1] = '\n';
    write_file(in_run("log"), text.data);
    assert_ok(io_lines_whole(&whole, &size, in_run("log")));
    assert_int_equal(whole, 1 << 18);
    bytes_free(&text);

    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    record(&stage, 1);
    save(&stage, 1, NULL, 0);
    stage_close(&stage);
    const int file = open(in_run("sft/timings.jsonl"), O_WRONLY);
    assert_int_equal(lseek(file, ((off_t)1 << 28) + 1, SEEK_SET), ((off_t)1 << 28) + 1);
    assert_int_equal(write(file, "\n{", 2), 2); /* a hole before it: no disk is filled */
    assert_int_equal(close(file), 0);
    assert_ok(stage_open(&stage, &table));
    stage_close(&stage);
    assert_ok(io_size(&size, in_run("sft/timings.jsonl")));
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
    assert_ok(io_make_folder(in_run("sft/rollouts")));
    write_file(in_run("sft/rollouts/000001.h5"), "x");
    write_file(in_run("sft/policy.h5"), "x");
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
    assert_file(in_run("sft/metrics.jsonl"), "");
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
    write_file(in_run("sft/policy.h5"), "weights");
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
    assert_ok(io_list(&names, in_run("sft/checkpoints")));
    assert_int_equal(names.count, 2); /* 1 and 3, kept for good */
    texts_free(&names);
}

static void an_input_is_checked_and_what_to_run_is_said(void **state)
{
    (void)state;
    char path[STAGE_PATH], expected[256];
    Digest digest;
    snprintf(expected, sizeof expected, "%s/sft/manifest.json: missing; run: rlhf sft %s", run,
             run);
    assert_int_equal(stage_input(path, &digest, run, "sft", "policy.h5"), STATUS_DATA);
    assert_string_equal(status_message(), expected);

    Watcher watcher = {0};
    Stage stage = stage_of(&watcher);
    assert_ok(stage_open(&stage, &table));
    write_file(in_run("sft/policy.h5"), "weights");
    assert_ok(stage_finish(&stage, 0, (const char *const[]){"policy.h5"}, 1, NULL, 0));
    stage_close(&stage);
    assert_ok(stage_input(path, &digest, run, "sft", "policy.h5"));
    assert_string_equal(path, in_run("sft/policy.h5"));
    assert_true(digest_equal(digest, digest_of("weights", 7)));
    assert_ok(stage_input(path, NULL, run, "sft", "policy.h5"));

    assert_fails(stage_input(path, &digest, run, "sft", "critic.h5"), STATUS_DATA,
                 "sft/manifest.json: names no critic.h5; run: rlhf sft ");
    write_file(in_run("sft/policy.h5"), "weight");
    assert_fails(stage_input(path, &digest, run, "sft", "policy.h5"), STATUS_DATA,
                 "sft/policy.h5: 6 bytes, not 7; run: rlhf sft ");
    assert_ok(io_remove(in_run("sft/policy.h5")));
    assert_fails(stage_input(path, &digest, run, "sft", "policy.h5"), STATUS_DATA,
                 "sft/policy.h5: missing; run: rlhf sft ");
    assert_ok(io_make_folder(in_run("ppo")));
    assert_ok(io_rename(in_run("sft/manifest.json"), in_run("sft/m")));
    Manifest manifest = {.stage = "sft"};
    assert_ok(manifest_write(&manifest, in_run("ppo")));
    assert_fails(stage_input(path, &digest, run, "ppo", "policy.h5"), STATUS_DATA,
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
        char folder[PATH_TEXT], path[PATH_TEXT];
        assert_ok(stage_checkpoint_begin(&stage, folder, 2));
        assert_ok(path_join(path, folder, "state"));
        write_file(path, "weights and moments");
        io_fault(NULL, call, ENOSPC, false);
        const Status status =
            stage_checkpoint(&stage, folder, 2, (const char *const[]){"state"}, 1, NULL, 0);
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

static void a_run_directory_is_held_by_one_process(void **state)
{
    (void)state;
    const char *path = in_run("deep/er");
    assert_false(run_dir_exists(path));
    RunDir held;
    assert_ok(run_dir_open(&held, path));
    assert_string_equal(held.path, path);
    const pid_t child = fork();
    if (child == 0) {
        RunDir second;
        const Status status = run_dir_open(&second, path);
        _exit(status == STATUS_LOCKED && strstr(status_message(), "lock: held by pid ") != NULL
                  ? 0
                  : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);

    assert_ok(run_dir_write_config(&held, "{}\n"));
    assert_true(run_dir_exists(path));
    assert_file(in_run("deep/er/config.json"), "{}\n");
    run_dir_close(&held);
    run_dir_close(&held);
    assert_ok(run_dir_open(&held, path));
    run_dir_close(&held);
    assert_fails(run_dir_open(&held, "/proc/rlhf"), STATUS_IO, "/proc/rlhf: ");
}

static void every_life_is_an_entry(void **state)
{
    (void)state;
    RunDir dir;
    assert_ok(run_dir_open(&dir, run));
    assert_ok(run_dir_add_life(&dir, "{\"threads\": 2, \"host\": \"a\", \"load\": [0.5, null]}"));
    assert_ok(run_dir_add_life(&dir, "{\"threads\": 4}"));
    assert_file(in_run("run.json"), "{\n"
                                    "  \"format_version\": 1,\n"
                                    "  \"lives\": [\n"
                                    "    {\n"
                                    "      \"threads\": 2,\n"
                                    "      \"host\": \"a\",\n"
                                    "      \"load\": [\n"
                                    "        0.5,\n"
                                    "        null\n"
                                    "      ]\n"
                                    "    },\n"
                                    "    {\n"
                                    "      \"threads\": 4\n"
                                    "    }\n"
                                    "  ]\n"
                                    "}\n");
    assert_fails(run_dir_add_life(&dir, "{\"threads\": }"), STATUS_DATA,
                 "entry of run.json:1:13: ");
    write_file(in_run("run.json"), "{\"format_version\": 1, \"lives\": 3}");
    assert_fails(run_dir_add_life(&dir, "{}"), STATUS_DATA, "run.json:1:1: lives: no such array");
    write_file(in_run("run.json"), "{\"format_version\": 2, \"lives\": []}");
    assert_fails(run_dir_add_life(&dir, "{}"), STATUS_DATA,
                 "run.json:1:1: format_version = 2: this program reads 1");
    write_file(in_run("run.json"), "[]");
    assert_fails(run_dir_add_life(&dir, "{}"), STATUS_DATA, "run.json:1:1: ");
    run_dir_close(&dir);
}

static void a_life_says_how_it_ended(void **state)
{
    (void)state;
    RunDir dir;
    RunLife life;
    assert_ok(run_dir_open(&dir, run));
    assert_ok(run_dir_last_life(&life, run));
    assert_int_equal(life.lives, 0);
    const char *entry = "{\"started\": \"then\", \"host\": \"a\", \"process\": 7}";
    assert_ok(run_dir_add_life(&dir, entry));
    assert_ok(run_dir_end_life(&dir, STATUS_STOPPED, "SIGTERM"));
    assert_ok(run_dir_last_life(&life, run));
    assert_true(life.ended);
    assert_int_equal(life.exit_status, STATUS_STOPPED);
    assert_string_equal(life.reason, "SIGTERM");

    /* Ended once more: one end stands, the last. */
    assert_ok(run_dir_end_life(&dir, STATUS_STOPPED, "SIGINT"));
    assert_ok(run_dir_last_life(&life, run));
    assert_string_equal(life.reason, "SIGINT");
    assert_ok(run_dir_end_life(&dir, STATUS_STOPPED, "SIGTERM"));

    /* The next one has not, and the first keeps its end. */
    assert_ok(run_dir_add_life(&dir, entry));
    assert_ok(run_dir_last_life(&life, run));
    assert_int_equal(life.lives, 2);
    assert_false(life.ended);
    assert_int_equal(life.process, 7);
    Bytes text = {0};
    assert_ok(io_read(&text, in_run("run.json"), 1 << 16));
    assert_non_null(strstr(text.data, "\"reason\": \"SIGTERM\""));
    bytes_free(&text);
    run_dir_close(&dir);
}

/* Who holds the lock can be asked without disturbing anybody. */
static void the_holder_of_a_lock_is_told(void **state)
{
    (void)state;
    char lock[PATH_TEXT], line[IO_HOLDER], mine[64];
    bool held = true;
    assert_ok(path_join(lock, run, "lock"));
    assert_ok(io_lock_holder(&held, line, lock));
    assert_false(held);
    RunDir dir;
    assert_ok(run_dir_open(&dir, run));
    assert_ok(io_lock_holder(&held, line, lock));
    assert_true(held);
    snprintf(mine, sizeof mine, "pid %ld on host ", (long)getpid());
    assert_non_null(strstr(line, mine));
    run_dir_close(&dir);
    assert_ok(io_lock_holder(&held, line, lock));
    assert_false(held);

    /* What is no file does not make anybody wait. */
    assert_ok(io_remove(lock));
    assert_int_equal(mkfifo(lock, 0600), 0);
    assert_ok(io_lock_holder(&held, line, lock));
    assert_false(held);
    assert_ok(io_remove(lock));
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char folder[600], path[PATH_TEXT];
    memset(folder, 'x', sizeof folder);
    folder[509] = '\0';
    assert_ok(path_join(path, folder, "y"));
    folder[509] = 'x';
    folder[510] = '\0';
    assert_fails(path_join(path, folder, "y"), STATUS_USAGE, "path is longer than 511 bytes");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh_run, drop_run)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_manifest_reads_back),
        TEST(verify_names_the_first_file_that_differs),
        TEST(a_foreign_manifest_is_refused),
        TEST(the_newest_two_and_the_kept_stay),
        TEST(what_is_removed_goes_at_once),
        TEST(a_damaged_step_is_committed_again),
        TEST(the_newest_valid_checkpoint_is_found),
        TEST(a_checkpoint_is_found_by_step),
        TEST(a_step_is_recorded_and_shown),
        TEST(a_checkpoint_is_due_by_time_signal_or_stop),
        TEST(an_abandoned_stage_goes_on_from_its_checkpoint),
        TEST(a_damaged_checkpoint_costs_only_itself),
        TEST(damage_stays_to_be_seen),
        TEST(a_journal_that_was_altered_stops_the_resume),
        TEST(a_journal_damaged_at_its_end_costs_one_checkpoint),
        TEST(a_resumed_stage_has_no_snapshot),
        TEST(a_finish_after_resuming_clears_up_too),
        TEST(a_journal_without_a_snapshot_is_no_failure),
        TEST(only_the_tail_of_a_log_is_read),
        TEST(other_settings_start_clean),
        TEST(a_finished_stage_says_what_it_published),
        TEST(an_input_is_checked_and_what_to_run_is_said),
        TEST(a_full_disk_leaves_the_checkpoint_before),
        TEST(a_run_directory_is_held_by_one_process),
        TEST(every_life_is_an_entry),
        TEST(a_life_says_how_it_ended),
        TEST(the_holder_of_a_lock_is_told),
        TEST(a_path_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
