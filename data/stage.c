#include "data/stage.h"

#include "data/io_lines.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const char journal_name[] = "metrics.jsonl", timings_name[] = "timings.jsonl";
static const char sources_name[] = "made_from.json", snapshot_name[] = "metrics.h5";

/* A snapshot is made at most this often, in seconds, and takes at most a part of all time. */
enum { SNAPSHOT_SECONDS = 60, SNAPSHOT_PART = 100 };

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

/* Drops the torn last line that a killed process may have left. */
static Status cut_torn_line(const char *path)
{
    if (!io_exists(path)) return STATUS_OK;
    uint64_t whole, size;
    TRY(io_lines_whole(&whole, &size, path));
    return whole < size ? io_log_cut(path, whole) : STATUS_OK;
}

static Status open_journals(Stage *stage)
{
    char path[STAGE_PATH];
    TRY(path_join(path, stage->folder, journal_name));
    const uint64_t length = stage->resumed ? stage->checkpoint_manifest.journal.size : 0;
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
    TRY(io_remove(path)); /* not finished any more */
    TRY(path_join(path, stage->folder, snapshot_name));
    return io_remove(path); /* its rows may be beyond the checkpoint's */
}

/* What the stage is made from, in words: tells later what differs. */
static Status keep_sources(const Stage *stage)
{
    char path[STAGE_PATH];
    if (stage->sources == NULL) return STATUS_OK;
    TRY(path_join(path, stage->folder, sources_name));
    return io_publish(path, stage->sources, strlen(stage->sources));
}

Status stage_open(Stage *stage, const MetricTable *table)
{
    assert(stage->name[0] != '\0' && strlen(stage->name) < sizeof((Manifest *)0)->stage);
    stage->table = table;
    stage->metrics = (Journal){.file.log.descriptor = -1};
    stage->timings = (IoLog){.descriptor = -1};
    stage->events = (EventLog){.log.descriptor = -1};
    stage->step = 0;
    stage->last_step = -1;
    stage->last_checkpoint = stage->last_record = stage_seconds();
    stage->next_snapshot = stage->last_record + SNAPSHOT_SECONDS;
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

/* metrics.h5 is a copy for reading: a journal that it cannot be made of (too long, say) goes
 * without, and the stage goes on. */
static Status publish_snapshot(bool *made, Stage *stage)
{
    char journal[STAGE_PATH], path[STAGE_PATH];
    TRY(path_join(journal, stage->folder, journal_name));
    TRY(path_join(path, stage->folder, snapshot_name));
    const double start = stage_seconds();
    const Status status = metrics_publish(path, journal, stage->table, NULL);
    const double end = stage_seconds(), pause = SNAPSHOT_PART * (end - start);
    stage->next_snapshot = end + (pause > SNAPSHOT_SECONDS ? pause : SNAPSHOT_SECONDS);
    *made = status == STATUS_OK;
    return status == STATUS_DATA ? io_remove(path) : status;
}

/* Memory too short for it now may pass; what is published in the end must not depend on that. */
static Status refresh_snapshot(Stage *stage)
{
    bool made;
    if (stage_seconds() < stage->next_snapshot) return STATUS_OK;
    const Status status = publish_snapshot(&made, stage);
    return status == STATUS_FAILED ? STATUS_OK : status;
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
    ManifestFile *journal = &manifest.journal;
    snprintf(journal->name, sizeof journal->name, "%s", journal_name);
    TRY(digest_log_commit(&journal->size, &journal->digest, &stage->metrics.file));
    TRY(events_sync(&stage->events));
    TRY(checkpoint_commit(folder, stage->folder, &manifest, names, count, keep, keeps));

    stage->last_step = step;
    TRY(refresh_snapshot(stage));
    stage->last_checkpoint = stage_seconds();
    stage->time[TIME_CHECKPOINT] += stage->last_checkpoint - stage->checkpoint_began;
    return STATUS_OK;
}

Status stage_finish(Stage *stage, int64_t step, const char *const *names, int count,
                    const int64_t *keep, int keeps)
{
    uint64_t size;
    Digest digest;
    bool snapshot;
    TRY(digest_log_commit(&size, &digest, &stage->metrics.file));
    TRY(events_finish(&stage->events, step));
    TRY(publish_snapshot(&snapshot, stage));

    Manifest manifest = {.step = step, .made_from = stage->made_from};
    snprintf(manifest.stage, sizeof manifest.stage, "%s", stage->name);
    for (int i = 0; i < count; i++) TRY(manifest_add(&manifest, stage->folder, names[i]));
    TRY(manifest_add_known(&manifest, journal_name, size, digest));
    if (snapshot) TRY(manifest_add(&manifest, stage->folder, snapshot_name));
    if (stage->sources != NULL) TRY(manifest_add(&manifest, stage->folder, sources_name));
    TRY(manifest_write(&manifest, stage->folder));
    return checkpoint_finish(stage->folder, keep, keeps);
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
    char reason[STATUS_TEXT], manifest[STAGE_PATH];
    status_keep(reason);
    snprintf(manifest, sizeof manifest, "%.*s/manifest.json", STAGE_PATH - 16, folder);
    return status_fail(STATUS_DATA, "%.1500s; run: rlhf %s %s%s", reason, stage, run,
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
