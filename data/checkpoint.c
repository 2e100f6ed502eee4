#include "data/checkpoint.h"

#include "data/digest_log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 64 };

/* The steps that have a folder, ascending. */
typedef struct Steps {
    int64_t *step; /* (count) */
    int count;
} Steps;

/* stage_folder/checkpoints/<prefix>step-000400 */
static Status step_path(char path[PATH_TEXT], const char *stage_folder, const char *prefix,
                        int64_t step)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "checkpoints/%sstep-%06" PRId64, prefix, step);
    return path_join(path, stage_folder, name);
}

/* True for exactly the names that step_path makes. */
static bool parse_step(int64_t *step, const char *name)
{
    char again[NAME_SIZE];
    if (strncmp(name, "step-", 5) != 0) return false;
    *step = strtoll(name + 5, NULL, 10);
    snprintf(again, sizeof again, "step-%06" PRId64, *step);
    return *step >= 0 && strcmp(name, again) == 0;
}

static int compare_steps(const void *left, const void *right)
{
    const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void copy_name(char name[NAME_SIZE], const Texts *names, int index)
{
    size_t count;
    const char *text = texts_at(names, index, &count);
    snprintf(name, NAME_SIZE, "%.*s", (int)count, text);
}

/* No folder of checkpoints is no steps. */
static Status list_steps(Steps *steps, const char *stage_folder)
{
    *steps = (Steps){0};
    char folder[PATH_TEXT];
    TRY(path_join(folder, stage_folder, "checkpoints"));
    if (!io_exists(folder)) return STATUS_OK;

    Texts names = {0};
    void *block = NULL;
    Status status = io_list(&names, folder);
    if (status == STATUS_OK) {
        status = memory_claim(&block, (size_t)names.count * sizeof *steps->step);
    }
    steps->step = block;
    for (int i = 0; i < names.count && status == STATUS_OK; i++) {
        char name[NAME_SIZE];
        copy_name(name, &names, i);
        if (parse_step(&steps->step[steps->count], name)) steps->count++;
    }
    texts_free(&names);
    if (steps->count > 0) {
        qsort(steps->step, (size_t)steps->count, sizeof *steps->step, compare_steps);
    }
    return status;
}

static void free_steps(Steps *steps)
{
    memory_release(steps->step);
    *steps = (Steps){0};
}

static const char unfinished[] = "tmp-step-", damaged_name[] = "damaged-step-";

static bool begins_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* What begins with `prefix`: what a killed process was building, say. */
static Status remove_all(const char *stage_folder, const char *prefix)
{
    char folder[PATH_TEXT], path[PATH_TEXT], name[NAME_SIZE];
    TRY(path_join(folder, stage_folder, "checkpoints"));
    if (!io_exists(folder)) return STATUS_OK;

    Texts names = {0};
    Status status = io_list(&names, folder);
    for (int i = 0; i < names.count && status == STATUS_OK; i++) {
        copy_name(name, &names, i);
        if (!begins_with(name, prefix)) continue;
        status = path_join(path, folder, name);
        if (status == STATUS_OK) status = io_remove_tree(path);
    }
    texts_free(&names);
    return status;
}

/* Takes its name away in one step first: whatever is called step-... is whole. */
static Status drop(const char *stage_folder, int64_t step)
{
    char path[PATH_TEXT], aside[PATH_TEXT];
    TRY(step_path(path, stage_folder, "", step));
    TRY(step_path(aside, stage_folder, "tmp-", step));
    TRY(io_remove_tree(aside));
    TRY(io_rename(path, aside));
    return io_remove_tree(aside);
}

static bool is_kept(int64_t step, const int64_t *keep, int keeps)
{
    int i = 0;
    while (i < keeps && keep[i] != step) i++;
    return i < keeps;
}

/* All but the newest `newest` and those in `keep`, the oldest first. */
static Status prune(const char *stage_folder, int newest, const int64_t *keep, int keeps)
{
    Steps steps;
    Status status = list_steps(&steps, stage_folder);
    for (int i = 0; i < steps.count - newest && status == STATUS_OK; i++) {
        if (!is_kept(steps.step[i], keep, keeps)) status = drop(stage_folder, steps.step[i]);
    }
    free_steps(&steps);
    return status;
}

Status checkpoint_clear(const char *stage_folder)
{
    return checkpoint_finish(stage_folder, NULL, 0);
}

Status checkpoint_finish(const char *stage_folder, const int64_t *keep, int keeps)
{
    TRY(remove_all(stage_folder, unfinished));
    return prune(stage_folder, 0, keep, keeps);
}

Status checkpoint_damaged(Texts *names, const char *stage_folder)
{
    char folder[PATH_TEXT];
    TRY(path_join(folder, stage_folder, "checkpoints"));
    if (!io_exists(folder)) return STATUS_OK;

    Texts all = {0};
    Status status = io_list(&all, folder);
    for (int i = 0; i < all.count && status == STATUS_OK; i++) {
        char name[NAME_SIZE];
        copy_name(name, &all, i);
        if (begins_with(name, damaged_name)) status = texts_add(names, name, strlen(name));
    }
    texts_free(&all);
    return status;
}

Status checkpoint_begin(char folder[PATH_TEXT], const char *stage_folder, int64_t step)
{
    assert(step >= 0);
    TRY(step_path(folder, stage_folder, "tmp-", step));
    TRY(io_remove_tree(folder));
    return io_make_folder(folder);
}

static Status check(char folder[PATH_TEXT], Manifest *manifest, const char *stage_folder,
                    int64_t step)
{
    TRY(step_path(folder, stage_folder, "", step));
    TRY(manifest_read(manifest, folder));
    if (manifest->step != step) {
        return status_fail(STATUS_DATA, "%s/manifest.json: step %" PRId64 ", not %" PRId64, folder,
                           manifest->step, step);
    }
    return manifest_verify(manifest, folder);
}

static Status move_aside(const char *stage_folder, int64_t step)
{
    char from[PATH_TEXT], to[PATH_TEXT];
    TRY(step_path(from, stage_folder, "", step));
    TRY(step_path(to, stage_folder, "damaged-", step));
    TRY(io_remove_tree(to));
    return io_rename(from, to);
}

/* Gives what was built its name. A step that is there already and whole stays as it is: it holds
 * the same, and to replace it would take its name away for a moment. */
static Status settle(const char *built, const char *stage_folder, int64_t step)
{
    char path[PATH_TEXT];
    Manifest present;
    TRY(step_path(path, stage_folder, "", step));
    if (io_exists(path)) {
        const Status status = check(path, &present, stage_folder, step);
        if (status == STATUS_OK) return io_remove_tree(built);
        if (status != STATUS_DATA) return status;
        TRY(move_aside(stage_folder, step));
    }
    return io_rename(built, path);
}

Status checkpoint_commit(const char *folder, const char *stage_folder, Manifest *manifest,
                         const char *const *names, int count, const int64_t *keep, int keeps)
{
    for (int i = 0; i < count; i++) TRY(manifest_add(manifest, folder, names[i]));
    TRY(manifest_write(manifest, folder));
    TRY(settle(folder, stage_folder, manifest->step));
    return prune(stage_folder, 2, keep, keeps);
}

/* Whether the stage's journal still begins as it did when the checkpoint was made. */
static Status check_journal(bool *fits, const Manifest *manifest, const char *stage_folder)
{
    char path[PATH_TEXT];
    const ManifestFile *journal = &manifest->journal;
    *fits = true;
    if (journal->name[0] == '\0') return STATUS_OK;
    TRY(path_join(path, stage_folder, journal->name));
    return digest_log_check(fits, path, journal->size, journal->digest);
}

static Status fail_journal(const Manifest *manifest, const char *stage_folder)
{
    return status_fail(STATUS_DATA,
                       "%s/%s: its first %" PRIu64 " bytes are not those of checkpoint %" PRId64
                       "; --restart %s starts the stage over",
                       stage_folder, manifest->journal.name, manifest->journal.size, manifest->step,
                       manifest->stage);
}

/* What the newest generations came to. */
typedef struct Search {
    int at;     /* index of the one to go on from; -1: none */
    int beyond; /* whole ones that the journal does not fit, all newer */
    Manifest oldest_beyond;
} Search;

static Status search(Search *found, char folder[PATH_TEXT], Manifest *manifest, int *damaged,
                     const char *stage_folder, const Steps *steps)
{
    *found = (Search){.at = -1};
    for (int i = steps->count - 1; i >= 0 && found->at < 0; i--) {
        bool fits;
        const Status status = check(folder, manifest, stage_folder, steps->step[i]);
        if (status == STATUS_DATA) {
            ++*damaged;
            TRY(move_aside(stage_folder, steps->step[i]));
            continue;
        }
        TRY(status);
        TRY(check_journal(&fits, manifest, stage_folder));
        if (fits) {
            found->at = i;
        } else {
            found->beyond++;
            found->oldest_beyond = *manifest;
        }
    }
    return STATUS_OK;
}

/* The whole ones that the journal no longer reaches lead nowhere: they go aside like damaged ones,
 * but only where an older one is left to go on from. */
static Status leave_beyond(const Search *found, int *damaged, const char *stage_folder,
                           const Steps *steps)
{
    if (found->beyond == 0) return STATUS_OK;
    if (found->at < 0) return fail_journal(&found->oldest_beyond, stage_folder);
    char path[PATH_TEXT];
    for (int i = steps->count - 1; i > found->at; i--) {
        TRY(step_path(path, stage_folder, "", steps->step[i]));
        if (!io_exists(path)) continue; /* moved aside as damaged */
        ++*damaged;
        TRY(move_aside(stage_folder, steps->step[i]));
    }
    return STATUS_OK;
}

Status checkpoint_newest(bool *found, char folder[PATH_TEXT], Manifest *manifest, int *damaged,
                         const char *stage_folder)
{
    *found = false;
    *damaged = 0;
    TRY(remove_all(stage_folder, unfinished));
    Steps steps;
    Search result = {.at = -1};
    Status status = list_steps(&steps, stage_folder);
    if (status == STATUS_OK) {
        status = search(&result, folder, manifest, damaged, stage_folder, &steps);
    }
    if (status == STATUS_OK) status = leave_beyond(&result, damaged, stage_folder, &steps);
    *found = status == STATUS_OK && result.at >= 0;
    free_steps(&steps);
    return status;
}

static Status fail_absent(const char *stage_folder, int64_t step, const Steps *steps)
{
    Bytes list = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < steps->count && status == STATUS_OK; i++) {
        status = bytes_print(&list, "%s%" PRId64, i > 0 ? ", " : "", steps->step[i]);
    }
    if (status == STATUS_OK) {
        status = status_fail(STATUS_DATA, "%s/checkpoints: no step %" PRId64 "; there is %s",
                             stage_folder, step, list.count > 0 ? list.data : "none");
    }
    bytes_free(&list);
    return status;
}

Status checkpoint_steps(int64_t **steps, int *count, const char *stage_folder)
{
    Steps found;
    const Status status = list_steps(&found, stage_folder);
    *steps = found.step;
    *count = found.count;
    return status;
}

Status checkpoint_at(char folder[PATH_TEXT], Manifest *manifest, const char *stage_folder,
                     int64_t step)
{
    Steps steps;
    Status status = list_steps(&steps, stage_folder);
    if (status == STATUS_OK) {
        status = is_kept(step, steps.step, steps.count)
                     ? check(folder, manifest, stage_folder, step)
                     : fail_absent(stage_folder, step, &steps);
    }
    free_steps(&steps);
    return status;
}
