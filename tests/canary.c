/* Mistakes planted into the program for tests/test_canaries.sh: the harness that should notice one
 * must fail with it. RLHF_CANARY names the mistake; without it the program is the program. Linked
 * in by --wrap, so no line of the program knows of them. */
#include "data/io_calls.h"
#include "data/manifest.h"
#include "policy/network_file.h"

#include <stdlib.h>
#include <string.h>

static int planted(const char *name)
{
    const char *canary = getenv("RLHF_CANARY");
    return canary != NULL && strcmp(canary, name) == 0;
}

int __real_call_fsync(int descriptor);
int __wrap_call_fsync(int descriptor);
Status __real_manifest_verify(const Manifest *manifest, const char *folder);
Status __wrap_manifest_verify(const Manifest *manifest, const char *folder);
Status __real_io_log_cut(const char *path, uint64_t length);
Status __wrap_io_log_cut(const char *path, uint64_t length);
Status __real_network_read(Model *model, AdamW *moments, const char *folder, const char *name,
                           const Manifest *manifest);
Status __wrap_network_read(Model *model, AdamW *moments, const char *folder, const char *name,
                           const Manifest *manifest);

/* No file is ever synced. */
int __wrap_call_fsync(int descriptor)
{
    return planted("fsync") ? 0 : __real_call_fsync(descriptor);
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
                           const Manifest *manifest)
{
    const Status status = __real_network_read(model, moments, folder, name, manifest);
    if (status == STATUS_OK && moments != NULL && moments->m != NULL && planted("moments")) {
        memset(moments->m, 0, sizeof *moments->m * moments->count);
        memset(moments->v, 0, sizeof *moments->v * moments->count);
    }
    return status;
}
