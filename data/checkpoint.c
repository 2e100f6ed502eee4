#include "data/checkpoint.h"

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

static const char unfinished[] = "tmp-step-", finished[] = "step-",
                  damaged_name[] = "damaged-step-";

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

Status checkpoint_clear(const char *stage_folder)
{
    TRY(remove_all(stage_folder, unfinished));
    return remove_all(stage_folder, finished);
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

Status checkpoint_remove(const char *stage_folder, int64_t step)
{
    char path[PATH_TEXT];
    TRY(step_path(path, stage_folder, "", step));
    return io_remove_tree(path);
}

static bool is_kept(int64_t step, const int64_t *keep, int keeps)
{
    int i = 0;
    while (i < keeps && keep[i] != step) i++;
    return i < keeps;
}

static Status prune(const char *stage_folder, const int64_t *keep, int keeps)
{
    Steps steps;
    Status status = list_steps(&steps, stage_folder);
    for (int i = 0; i < steps.count - 2 && status == STATUS_OK; i++) {
        if (is_kept(steps.step[i], keep, keeps)) continue;
        status = checkpoint_remove(stage_folder, steps.step[i]);
    }
    free_steps(&steps);
    return status;
}

Status checkpoint_commit(const char *folder, const char *stage_folder, Manifest *manifest,
                         const char *const *names, int count, const int64_t *keep, int keeps)
{
    for (int i = 0; i < count; i++) TRY(manifest_add(manifest, folder, names[i]));
    TRY(manifest_write(manifest, folder));

    char path[PATH_TEXT];
    TRY(step_path(path, stage_folder, "", manifest->step));
    TRY(io_remove_tree(path)); /* the same step made again */
    TRY(io_rename(folder, path));
    return prune(stage_folder, keep, keeps);
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

Status checkpoint_newest(bool *found, char folder[PATH_TEXT], Manifest *manifest, int *damaged,
                         const char *stage_folder)
{
    *found = false;
    *damaged = 0;
    TRY(remove_all(stage_folder, unfinished));
    Steps steps;
    Status status = list_steps(&steps, stage_folder);
    for (int i = steps.count - 1; i >= 0 && status == STATUS_OK && !*found; i--) {
        status = check(folder, manifest, stage_folder, steps.step[i]);
        *found = status == STATUS_OK;
        if (status == STATUS_DATA) {
            ++*damaged;
            status = move_aside(stage_folder, steps.step[i]);
        }
    }
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
