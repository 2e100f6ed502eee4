#include "scripts/rlhf/resumable.h"

#include "data/json.h"
#include "scripts/rlhf/versions.h"

#include <inttypes.h>
#include <string.h>

enum { SOURCES_BYTES = 1 << 20 };

/* What a stage was made from and would be made from now, by name: "ppo.clip_range: 0.2 -> 0.1".
 * Nothing where it keeps no made_from.json. */
static Status append_changes(Bytes *changes, const Pipeline *pipeline, int index)
{
    char folder[STAGE_PATH], path[STAGE_PATH];
    JsonDocument *before = NULL, *now = NULL;
    Bytes text = {0};
    TRY(path_join(folder, pipeline->run, pipeline_stages[index].name));
    TRY(path_join(path, folder, "made_from.json"));
    if (!io_exists(path)) return STATUS_OK;
    Status status = pipeline_sources(&text, pipeline, index);
    if (status == STATUS_OK) status = json_read(&before, STATUS_DATA, path, SOURCES_BYTES, NULL);
    if (status == STATUS_OK) status = json_parse(&now, STATUS_DATA, "now", text.data, text.count);
    if (status == STATUS_OK) {
        status = json_differences(changes, json_root(before), json_root(now));
    }
    json_free(before);
    json_free(now);
    bytes_free(&text);
    return status;
}

static Status is_changed(const Pipeline *pipeline, int index)
{
    const char *name = pipeline_stages[index].name;
    Bytes changes = {0};
    STATUS_ASIDE(append_changes(&changes, pipeline, index));
    const Status status = status_fail(
        STATUS_SETTINGS,
        "%s/%s: made from other settings or inputs; --restart %s does it again, with all after "
        "it%s%s",
        pipeline->run, name, name, changes.count > 0 ? "; changed: " : "",
        changes.count > 0 ? changes.data : "");
    bytes_free(&changes);
    return status;
}

/* `status` is a failure; what to do stands behind its reason. */
static Status advise_restart(Status status, const char *stage)
{
    char reason[STATUS_TEXT];
    status_keep(reason);
    return status_fail(status, "%.1900s; --restart %s does it again, with all after it", reason,
                       stage);
}

Status needs_restart(const Pipeline *pipeline, int index)
{
    const char *name = pipeline_stages[index].name;
    char folder[STAGE_PATH];
    Manifest manifest;
    TRY(path_join(folder, pipeline->run, name));
    const Status status = manifest_read(&manifest, folder);
    return status != STATUS_OK ? advise_restart(status, name) : is_changed(pipeline, index);
}

/* Another program, or another kernel of the BLAS, goes on to other bits. */
static Status check_program(const Manifest *manifest, const Pipeline *pipeline, int index)
{
    char now[MADE_BY];
    const char *name = pipeline_stages[index].name, *before = manifest->made_by;
    versions_made_by(now);
    if (strcmp(before, now) == 0) return STATUS_OK;
    return status_fail(STATUS_SETTINGS,
                       "%s/%s: its checkpoint of step %" PRId64 " was made by %s, and this is %s: "
                       "other bits from there on; --force goes on all the same, --restart %s does "
                       "the stage again",
                       pipeline->run, name, manifest->step,
                       *before != '\0' ? before : "a program that did not say its version", now,
                       name);
}

Status damaged_checkpoints(Texts *paths, const char *run, const char *stage)
{
    char folder[STAGE_PATH];
    Texts names = {0};
    Bytes path = {0};
    TRY(path_join(folder, run, stage));
    Status status = checkpoint_damaged(&names, folder);
    for (int i = 0; i < names.count && status == STATUS_OK; i++) {
        size_t count;
        const char *name = texts_at(&names, i, &count);
        bytes_clear(&path);
        status = bytes_print(&path, "%s/checkpoints/%.*s", folder, (int)count, name);
        if (status == STATUS_OK) status = texts_add(paths, path.data, path.count);
    }
    bytes_free(&path);
    texts_free(&names);
    return status;
}

/* Where nothing sound is left of what was committed, only its owner may give it up. */
static Status check_something_is_left(const Pipeline *pipeline, int index)
{
    const char *name = pipeline_stages[index].name;
    Texts damaged = {0};
    Status status = damaged_checkpoints(&damaged, pipeline->run, name);
    if (status == STATUS_OK && damaged.count > 0) {
        size_t count;
        const char *newest = texts_at(&damaged, damaged.count - 1, &count);
        status = advise_restart(status_fail(STATUS_DATA,
                                            "%.*s: damaged, and no checkpoint before "
                                            "it is left",
                                            (int)count, newest),
                                name);
    }
    texts_free(&damaged);
    return status;
}

static Status check_begun(const Pipeline *pipeline, int index, bool force)
{
    char folder[STAGE_PATH], checkpoint[STAGE_PATH];
    TRY(path_join(folder, pipeline->run, pipeline_stages[index].name));
    Manifest manifest = {0};
    Digest digest;
    bool found;
    int damaged;
    TRY(checkpoint_newest(&found, checkpoint, &manifest, &damaged, folder));
    if (!found) return check_something_is_left(pipeline, index);
    TRY(pipeline_made_from(&digest, pipeline, index));
    if (!digest_equal(digest, manifest.made_from)) return is_changed(pipeline, index);
    return force ? STATUS_OK : check_program(&manifest, pipeline, index);
}

Status check_resumable(const Pipeline *pipeline, int last, bool force)
{
    for (int i = 0; i <= last; i++) {
        StageState state;
        TRY(pipeline_state(&state, pipeline, i));
        if (state == STAGE_CHANGED || state == STAGE_DAMAGED) return needs_restart(pipeline, i);
        if (state == STAGE_BEGUN) return check_begun(pipeline, i, force);
        if (state == STAGE_MISSING) return STATUS_OK;
    }
    return STATUS_OK;
}
