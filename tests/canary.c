/* Mistakes planted into the program for tests/test_canaries.sh: the harness that should notice one
 * must fail with it. RLHF_CANARY names the mistake; without it the program is the program. Linked
 * in by --wrap, so no line of the program knows of them. */
#include "data/checkpoint.h"
#include "data/io_calls.h"
#include "data/manifest.h"
#include "policy/network_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int planted(const char *name)
{
    const char *canary = getenv("RLHF_CANARY");
    return canary != NULL && strcmp(canary, name) == 0;
}

int __real_call_fsync(int descriptor);
int __wrap_call_fsync(int descriptor);
int __real_call_sync_folder(const char *path);
int __wrap_call_sync_folder(const char *path);
Status __real_checkpoint_newest(bool *found, char folder[PATH_TEXT], Manifest *manifest,
                                int *damaged, const char *stage_folder);
Status __wrap_checkpoint_newest(bool *found, char folder[PATH_TEXT], Manifest *manifest,
                                int *damaged, const char *stage_folder);
Status __real_manifest_verify(const Manifest *manifest, const char *folder);
Status __wrap_manifest_verify(const Manifest *manifest, const char *folder);
Status __real_io_log_cut(const char *path, uint64_t length);
Status __wrap_io_log_cut(const char *path, uint64_t length);
Status __real_network_read(Model *model, AdamW *moments, const char *folder, const char *name,
                           const Manifest *manifest, const ModelShape *expected);
Status __wrap_network_read(Model *model, AdamW *moments, const char *folder, const char *name,
                           const Manifest *manifest, const ModelShape *expected);

/* A file of a checkpoint that is being built. */
static int in_checkpoint(const char *path)
{
    const char *folder = strstr(path, "/tmp-step-");
    return folder != NULL && strchr(folder + 1, '/') != NULL;
}

static void path_of(char path[PATH_TEXT], int descriptor)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(name, path, PATH_TEXT - 1);
    path[length > 0 ? length : 0] = '\0';
}

/* No file is ever synced, or none of a checkpoint, or not the list of rollouts. */
int __wrap_call_fsync(int descriptor)
{
    char path[PATH_TEXT];
    path_of(path, descriptor);
    if (planted("fsync")) return 0;
    if (planted("checkpoint-fsync") && in_checkpoint(path)) return 0;
    if (planted("rollouts-fsync") && strstr(path, "/rollouts.jsonl") != NULL) return 0;
    return __real_call_fsync(descriptor);
}

/* A checkpoint's folder is not synced: its files are safe, their names are not. */
int __wrap_call_sync_folder(const char *path)
{
    return planted("checkpoint-names") && in_checkpoint(path) ? 0 : __real_call_sync_folder(path);
}

/* Every checkpoint is ignored. */
Status __wrap_checkpoint_newest(bool *found, char folder[PATH_TEXT], Manifest *manifest,
                                int *damaged, const char *stage_folder)
{
    const Status status = __real_checkpoint_newest(found, folder, manifest, damaged, stage_folder);
    *found = *found && !planted("anew");
    return status;
}

/* A checkpoint's hashes are not compared. */
Status __wrap_manifest_verify(const Manifest *manifest, const char *folder)
{
    return planted("checksum") ? STATUS_OK : __real_manifest_verify(manifest, folder);
}

/* Rows that no checkpoint vouches for stay in the journal. */
Status __wrap_io_log_cut(const char *path, uint64_t length)
{
    return planted("journal") ? STATUS_OK : __real_io_log_cut(path, length);
}

/* Adam begins anew on resuming. */
Status __wrap_network_read(Model *model, AdamW *moments, const char *folder, const char *name,
                           const Manifest *manifest, const ModelShape *expected)
{
    const Status status = __real_network_read(model, moments, folder, name, manifest, expected);
    if (status == STATUS_OK && moments != NULL && moments->m != NULL && planted("moments")) {
        memset(moments->m, 0, sizeof *moments->m * moments->count);
        memset(moments->v, 0, sizeof *moments->v * moments->count);
    }
    return status;
}
