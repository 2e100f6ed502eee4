#include "data/stage.h"

#include "data/json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const char journal_name[] = "metrics.jsonl", timings_name[] = "timings.jsonl";
static const char sources_name[] = "made_from.json";
static const size_t log_max = (size_t)1 << 28;

double stage_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool is_checkpoints(const char *path)
{
    return strcmp(strrchr(path, '/'), "/checkpoints") == 0;
}

/* Everything below `folder` but checkpoints found damaged; the manifest first, so that it never
 * vouches for half of it. */
static Status clear_folder(const char *folder)
{
    char path[STAGE_PATH];
    TRY(path_join(path, folder, "manifest.json"));
    TRY(io_remove(path));
    TRY(checkpoint_clear(folder));
    Texts names = {0}, damaged = {0};
    Bytes entry = {0};
    Status status = checkpoint_damaged(&damaged, folder);
    if (status == STATUS_OK) status = io_list(&names, folder);
    for (int i = 0; i < names.count && status == STATUS_OK; i++) {
        size_t count;
        const char *name = texts_at(&names, i, &count);
        bytes_clear(&entry);
        status = bytes_print(&entry, "%s/%.*s", folder, (int)count, name);
        if (status != STATUS_OK || (damaged.count > 0 && is_checkpoints(entry.data))) continue;
        status = io_remove_tree(entry.data);
    }
    texts_free(&damaged);
    bytes_free(&entry);
    texts_free(&names);
    return status;
}

/* The journal must begin with the bytes that the checkpoint was made beside. */
static Status check_journal(const Stage *stage, const char *path)
{
    const ManifestFile *committed = &stage->checkpoint_manifest.journal;
    Digest digest = digest_of("", 0);
    uint64_t size = 0;
    if (io_exists(path)) TRY(io_digest(&digest, &size, path, committed->size));
    if (size == committed->size && digest_equal(digest, committed->digest)) return STATUS_OK;
    return status_fail(STATUS_DATA,
                       "%s: its first %" PRIu64 " bytes are not those of checkpoint %" PRId64
                       "; --restart %s starts the stage over",
                       path, committed->size, stage->checkpoint_manifest.step, stage->name);
}

/* Drops the torn last line that a killed process may have left. */
static Status cut_torn_line(const char *path)
{
    if (!io_exists(path)) return STATUS_OK;
    Bytes text = {0};
    Status status = io_read(&text, path, log_max);
    size_t length = text.count;
    while (length > 0 && text.data[length - 1] != '\n') length--;
    if (status == STATUS_OK && length < text.count) status = io_log_cut(path, length);
    bytes_free(&text);
    return status;
}

static Status open_journals(Stage *stage)
{
    char path[STAGE_PATH];
    TRY(path_join(path, stage->folder, journal_name));
    const uint64_t length = stage->resumed ? stage->checkpoint_manifest.journal.size : 0;
    if (stage->resumed) TRY(check_journal(stage, path));
    TRY(journal_open(&stage->metrics, path, stage->table, length));

    TRY(path_join(path, stage->folder, timings_name));
    TRY(cut_torn_line(path));
    TRY(io_log_open(&stage->timings, path, !stage->resumed));
    if (!stage->tensorboard) return STATUS_OK;
    return events_open(&stage->events, stage->folder, stage->step, stage->run, stage->config);
}

static Status find_checkpoint(Stage *stage)
{
    Manifest *manifest = &stage->checkpoint_manifest;
    bool found;
    TRY(checkpoint_newest(&found, stage->checkpoint, manifest, &stage->damaged, stage->folder));
    stage->resumed = found && strcmp(manifest->stage, stage->name) == 0 &&
                     digest_equal(manifest->made_from, stage->made_from);
    if (!stage->resumed) return clear_folder(stage->folder);

    stage->step = stage->last_step = manifest->step;
    char path[STAGE_PATH];
    TRY(path_join(path, stage->folder, "manifest.json"));
    return io_remove(path); /* not finished any more */
}

/* What the stage is made from, in words: tells later what differs. */
static Status keep_sources(const Stage *stage)
{
    char path[STAGE_PATH];
    if (stage->sources == NULL || stage->resumed) return STATUS_OK;
    TRY(path_join(path, stage->folder, sources_name));
    return io_publish(path, stage->sources, strlen(stage->sources));
}

Status stage_open(Stage *stage, const MetricTable *table)
{
    assert(stage->name[0] != '\0' && strlen(stage->name) < sizeof((Manifest *)0)->stage);
    stage->table = table;
    stage->metrics = (Journal){.log.descriptor = -1};
    stage->timings = (IoLog){.descriptor = -1};
    stage->events = (EventLog){.log.descriptor = -1};
    stage->step = 0;
    stage->last_step = stage->spare[0] = stage->spare[1] = -1;
    stage->last_checkpoint = stage->last_record = stage_seconds();
    TRY(path_join(stage->folder, stage->run, stage->name));
    TRY(io_make_folder(stage->folder));
    TRY(find_checkpoint(stage));
    TRY(keep_sources(stage));
    return open_journals(stage);
}

static long max_resident_kb(void)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static Status record_timing(Stage *stage, int64_t step, int64_t tokens)
{
    const double now = stage_seconds();
    const double seconds = now - stage->last_record;
    stage->last_record = now;
    static const char *const name[STAGE_TIMES] = {"invariants", "rollout_file", "checkpoint"};
    char line[320];
    int length = snprintf(line, sizeof line,
                          "{\"step\":%" PRId64 ",\"seconds\":%.6f,\"tokens\":%" PRId64
                          ",\"tokens_per_second\":%.1f,\"max_resident_kb\":%ld",
                          step, seconds, tokens, seconds > 0 ? (double)tokens / seconds : 0.0,
                          max_resident_kb());
    for (int i = 0; i < STAGE_TIMES; i++) {
        if (stage->time[i] > 0) {
            length += snprintf(line + length, sizeof line - (size_t)length, ",\"time/%s\":%.6f",
                               name[i], stage->time[i]);
        }
        stage->time[i] = 0;
    }
    length += snprintf(line + length, sizeof line - (size_t)length, "}\n");
    return io_log_append(&stage->timings, line, (size_t)length);
}

/* The same row for TensorBoard. */
static Status record_events(Stage *stage, int64_t step, const double *value)
{
    for (int i = 0; i < stage->table->count; i++) {
        TRY(events_scalar(&stage->events, stage->table->metrics[i].name, value[i]));
    }
    return events_write(&stage->events, step);
}

Status stage_record(Stage *stage, int64_t step, int64_t steps, int64_t tokens, const double *value,
                    const char *const *shown)
{
    TRY(journal_write(&stage->metrics, step, value));
    TRY(record_timing(stage, step, tokens));
    TRY(record_events(stage, step, value));
    stage->step = step;

    StageProgress progress = {.stage = stage->name, .step = step, .steps = steps, .tokens = tokens};
    for (int i = 0; shown != NULL && shown[i] != NULL; i++) {
        const MetricInfo *metric = metric_find(stage->table, shown[i]);
        assert(metric != NULL && progress.shown < STAGE_SHOWN_MAX);
        progress.name[progress.shown] = metric->name;
        progress.value[progress.shown++] = value[metric - stage->table->metrics];
    }
    if (stage->hooks.progress != NULL) stage->hooks.progress(stage->hooks.context, &progress);
    return STATUS_OK;
}

bool stage_should_stop(const Stage *stage)
{
    return stage->hooks.should_stop != NULL && stage->hooks.should_stop(stage->hooks.context);
}

Status stage_leave(const StageHooks *hooks)
{
    if (hooks == NULL || hooks->should_stop == NULL || !hooks->should_stop(hooks->context)) {
        return STATUS_OK;
    }
    return status_fail(STATUS_STOPPED, "stopped");
}

bool stage_checkpoint_due(const Stage *stage)
{
    const StageHooks *hooks = &stage->hooks;
    if (hooks->should_checkpoint != NULL && hooks->should_checkpoint(hooks->context)) return true;
    if (stage_should_stop(stage)) return true;
    return stage->checkpoint_seconds > 0 &&
           stage_seconds() - stage->last_checkpoint >= stage->checkpoint_seconds;
}

static Status describe_journal(ManifestFile *entry, const Journal *journal)
{
    snprintf(entry->name, sizeof entry->name, "%s", journal_name);
    TRY(journal_length(&entry->size, journal));
    return io_digest(&entry->digest, &entry->size, journal->log.path, entry->size);
}

static int64_t unless_kept(int64_t step, const int64_t *keep, int keeps)
{
    for (int i = 0; i < keeps; i++) {
        if (keep[i] == step) return -1;
    }
    return step;
}

Status stage_checkpoint_begin(Stage *stage, char folder[PATH_TEXT], int64_t step)
{
    stage->checkpoint_began = stage_seconds();
    return checkpoint_begin(folder, stage->folder, step);
}

Status stage_checkpoint(Stage *stage, const char *folder, int64_t step, const char *const *names,
                        int count, const int64_t *keep, int keeps)
{
    Manifest manifest = {.step = step, .made_from = stage->made_from};
    snprintf(manifest.stage, sizeof manifest.stage, "%s", stage->name);
    snprintf(manifest.made_by, MADE_BY, "%s", stage->made_by != NULL ? stage->made_by : "");
    TRY(describe_journal(&manifest.journal, &stage->metrics));
    TRY(events_sync(&stage->events));
    TRY(checkpoint_commit(folder, stage->folder, &manifest, names, count, keep, keeps));

    const int64_t before = stage->last_step != step ? stage->last_step : stage->spare[1];
    stage->spare[0] = unless_kept(step, keep, keeps);
    stage->spare[1] = unless_kept(before, keep, keeps);
    stage->last_step = step;
    stage->last_checkpoint = stage_seconds();
    stage->time[TIME_CHECKPOINT] += stage->last_checkpoint - stage->checkpoint_began;
    return STATUS_OK;
}

static Status remove_spare(const Stage *stage)
{
    for (int i = 0; i < 2; i++) {
        if (stage->spare[i] >= 0) TRY(checkpoint_remove(stage->folder, stage->spare[i]));
    }
    return STATUS_OK;
}

Status stage_finish(Stage *stage, int64_t step, const char *const *names, int count)
{
    char journal[STAGE_PATH], snapshot[STAGE_PATH];
    TRY(path_join(journal, stage->folder, journal_name));
    TRY(path_join(snapshot, stage->folder, "metrics.h5"));
    TRY(io_log_sync(&stage->metrics.log));
    TRY(events_finish(&stage->events, step));
    TRY(metrics_publish(snapshot, journal, stage->table, NULL));

    Manifest manifest = {.step = step, .made_from = stage->made_from};
    snprintf(manifest.stage, sizeof manifest.stage, "%s", stage->name);
    for (int i = 0; i < count; i++) TRY(manifest_add(&manifest, stage->folder, names[i]));
    TRY(manifest_add(&manifest, stage->folder, journal_name));
    TRY(manifest_add(&manifest, stage->folder, "metrics.h5"));
    if (stage->sources != NULL) TRY(manifest_add(&manifest, stage->folder, sources_name));
    TRY(manifest_write(&manifest, stage->folder));
    return remove_spare(stage);
}

void stage_close(Stage *stage)
{
    /* whatever was worth keeping has been synced by a checkpoint or by stage_finish */
    STATUS_ASIDE(journal_close(&stage->metrics));
    STATUS_ASIDE(io_log_close(&stage->timings));
    events_close(&stage->events);
}

/* What to do, behind the reason: a stage that says it is finished would be skipped. */
static Status advise(Status status, const char *run, const char *stage, const char *folder)
{
    if (status != STATUS_DATA) return status;
    char reason[1024], manifest[STAGE_PATH];
    snprintf(reason, sizeof reason, "%s", status_message());
    TRY(path_join(manifest, folder, "manifest.json"));
    return status_fail(STATUS_DATA, "%s; run: rlhf %s %s%s", reason, stage, run,
                       io_exists(manifest) ? " --restart" : "");
}

static Status find_input(char *path, Digest *digest, const char *folder, const char *stage,
                         const char *name)
{
    Manifest manifest;
    TRY(manifest_read(&manifest, folder));
    if (strcmp(manifest.stage, stage) != 0) {
        return status_fail(STATUS_DATA, "%s/manifest.json: of stage %s, not %s", folder,
                           manifest.stage, stage);
    }
    const ManifestFile *file = manifest_find(&manifest, name);
    if (file == NULL) {
        return status_fail(STATUS_DATA, "%s/manifest.json: names no %s", folder, name);
    }
    TRY(manifest_verify_file(file, folder));
    if (digest != NULL) *digest = file->digest;
    return path_join(path, folder, name);
}

Status stage_input(char *path, Digest *digest, const char *run, const char *stage, const char *file)
{
    char folder[STAGE_PATH];
    TRY(path_join(folder, run, stage));
    return advise(find_input(path, digest, folder, stage, file), run, stage, folder);
}
