#include "data/digest_log.h"

#include "data/memory.h"

#include <inttypes.h>

/* Cuts the file back to `length` bytes and takes them into the hash. */
static Status take_up(DigestLog *log, const char *path, uint64_t length)
{
    if (length == 0) return STATUS_OK;
    TRY(io_log_cut(path, length));
    TRY(io_hash_file(log->hash, &log->size, path, length));
    if (log->size == length) return STATUS_OK;
    return status_fail(STATUS_DATA, "%s: %" PRIu64 " bytes, but %" PRIu64 " were committed", path,
                       log->size, length);
}

Status digest_log_open(DigestLog *log, const char *path, uint64_t length)
{
    *log = (DigestLog){.log.descriptor = -1};
    TRY(io_hash_start(&log->hash, path));
    Status status = take_up(log, path, length);
    if (status == STATUS_OK) status = io_log_open(&log->log, path, length == 0);
    if (status == STATUS_OK) return STATUS_OK;
    io_hash_free(log->hash);
    log->hash = NULL;
    return status;
}

Status digest_log_append(DigestLog *log, const void *bytes, size_t count)
{
    TRY(io_log_append(&log->log, bytes, count));
    io_hash_add(log->hash, bytes, count);
    log->size += count;
    return STATUS_OK;
}

Status digest_log_commit(uint64_t *size, Digest *digest, DigestLog *log)
{
    *size = log->size;
    *digest = io_hash_now(log->hash);
    return io_log_sync(&log->log);
}

Status digest_log_close(DigestLog *log)
{
    io_hash_free(log->hash);
    log->hash = NULL;
    return io_log_close(&log->log);
}

Status digest_log_check(bool *ours, const char *path, uint64_t size, Digest digest)
{
    Digest found = digest_of("", 0);
    uint64_t count = 0;
    if (io_exists(path)) TRY(io_digest(&found, &count, path, size));
    *ours = count == size && digest_equal(found, digest);
    return STATUS_OK;
}
