#include "data/io_lines.h"
#include "data/json.h"
#include "policy/inputs.h"
#include "ppo/ppo_run.h"
#include "ppo/rollout_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES_MAX = 512 };

void ppo_list_layout(PpoRun *run, Arena *arena)
{
    const size_t steps = (size_t)run->job->config->steps;
    run->list.size = arena_push(arena, steps, sizeof *run->list.size);
    run->list.digest = arena_push(arena, steps, sizeof *run->list.digest);
}

static void put_entry(JsonWriter *json, const PpoList *list, int64_t step)
{
    rollout_list_put(json, step, list->size[step - 1], list->digest[step - 1]);
}

Status ppo_list_add(PpoRun *run, int64_t step)
{
    Bytes line = {0};
    JsonWriter json = json_writer(&line, 0);
    put_entry(&json, &run->list, step);
    Status status = json_done(&json);
    if (status == STATUS_OK) status = bytes_text(&line, "\n");
    if (status == STATUS_OK) status = digest_log_append(&run->list.log, line.data, line.count);
    bytes_free(&line);
    return status;
}

Status ppo_list_commit(PpoRun *run)
{
    PpoState *state = &run->state;
    return digest_log_commit(&state->list_size, &state->list, &run->list.log);
}

/* ---- going on ---- */

/* What a life beyond the checkpoint left: it tells of steps that are not done. */
static Status remove_beyond(const PpoRun *run, const char *folder)
{
    Texts names = {0};
    Status status = io_list(&names, folder);
    for (int i = 0; i < names.count && status == STATUS_OK; i++) {
        char name[ROLLOUT_NAME], again[ROLLOUT_NAME], path[STAGE_PATH];
        size_t count;
        const char *text = texts_at(&names, i, &count);
        snprintf(name, sizeof name, "%.*s", (int)count, text);
        const int64_t step = strtoll(name, NULL, 10);
        rollout_file_name(again, step);
        const bool beyond = step > run->state.step && strcmp(name, again) == 0;
        if (!beyond && strcmp(name, "manifest.json") != 0) continue;
        status = path_join(path, folder, name);
        if (status == STATUS_OK) status = io_remove(path);
    }
    texts_free(&names);
    return status;
}

/* One line, and the file it is of. */
static Status check_line(PpoRun *run, IoLines *lines, int64_t step, const char *folder)
{
    const char *text;
    size_t count;
    TRY(io_lines_next(&text, &count, lines));
    if (text == NULL) {
        return status_fail(STATUS_DATA, "%s: %" PRId64 " lines for %" PRId64 " steps", lines->path,
                           step - 1, run->state.step);
    }
    ManifestFile file = {0};
    JsonDocument *document;
    TRY(json_parse_line(&document, STATUS_DATA, lines->path, lines->line, text, count));
    const Status status = rollout_list_entry(&file, json_root(document), step);
    json_free(document);
    TRY(status);
    run->list.size[step - 1] = file.size;
    run->list.digest[step - 1] = file.digest;
    return manifest_verify_file(&file, folder);
}

static Status check_files(PpoRun *run, const char *path, const char *folder)
{
    IoLines lines;
    Status status = io_lines_open(&lines, path, LINE_BYTES_MAX);
    for (int64_t step = 1; step <= run->state.step && status == STATUS_OK; step++) {
        status = check_line(run, &lines, step, folder);
    }
    const Status closed = io_lines_close(&lines);
    return status == STATUS_OK ? closed : status;
}

static Status go_on(PpoRun *run, const char *path, const char *folder)
{
    const PpoState *state = &run->state;
    bool ours;
    TRY(digest_log_check(&ours, path, state->list_size, state->list));
    if (!ours) {
        return status_fail(STATUS_DATA,
                           "%s: its first %" PRIu64 " bytes are not those of checkpoint %" PRId64,
                           path, state->list_size, state->step);
    }
    TRY(check_files(run, path, folder));
    TRY(digest_log_open(&run->list.log, path, state->list_size));
    return remove_beyond(run, folder);
}

Status ppo_list_open(PpoRun *run)
{
    const Stage *stage = run->job->stage;
    char path[STAGE_PATH], folder[STAGE_PATH], reason[1024];
    TRY(stage_path(path, stage, PPO_LIST_FILE));
    TRY(stage_path(folder, stage, "rollouts"));
    TRY(io_make_folder(folder));
    if (!stage->resumed) return digest_log_open(&run->list.log, path, 0);
    const Status status = go_on(run, path, folder);
    if (status != STATUS_DATA) return status;
    snprintf(reason, sizeof reason, "%s", status_message());
    return status_fail(STATUS_DATA, "%s; --restart %s starts the stage over", reason, stage->name);
}

/* ---- publishing ---- */

Status ppo_list_publish(const PpoRun *run)
{
    char path[STAGE_PATH];
    TRY(stage_path(path, run->job->stage, "rollouts/manifest.json"));
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_integer(&json, "format_version", ROLLOUT_LIST_VERSION);
    json_open(&json, "files", '[');
    for (int64_t step = 1; step <= run->state.step; step++) put_entry(&json, &run->list, step);
    json_close(&json);
    json_close(&json);
    Status status = json_done(&json);
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    bytes_free(&text);
    return status;
}
