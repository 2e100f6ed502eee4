/* A file that only grows, and the hash of all that is in it: a checkpoint names both at no cost,
 * however long the file. */
#ifndef DATA_DIGEST_LOG_H
#define DATA_DIGEST_LOG_H

#include "data/io.h"
#include "data/io_digest.h"
#include "data/status.h"

#include <stdint.h>

typedef struct DigestLog {
    IoLog log;
    uint64_t size; /* bytes */
    IoHash *hash;  /* of them */
} DigestLog;

/* Opens `path` for appending, first cut back to `length` bytes (0: empty). Shorter than that:
 * STATUS_DATA. */
Status digest_log_open(DigestLog *log, const char *path, uint64_t length);
Status digest_log_append(DigestLog *log, const void *bytes, size_t count); /* as io_log_append */
/* Syncs; size and hash are then of what is durable. */
Status digest_log_commit(uint64_t *size, Digest *digest, DigestLog *log);
Status digest_log_close(DigestLog *log); /* fine on one that is zero or closed */

/* The file must begin with the bytes that a commit named. `ours` is false where it does not;
 * unreadable: STATUS_IO. */
Status digest_log_check(bool *ours, const char *path, uint64_t size, Digest digest);

#endif
