/* XXH3-128 of bytes that come in pieces; of whole ones: io.h. */
#ifndef DATA_IO_DIGEST_H
#define DATA_IO_DIGEST_H

#include "data/io.h"
#include "data/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct IoHash IoHash;

Status io_hash_start(IoHash **hash, const char *path); /* `path` is for the message */
void io_hash_add(IoHash *hash, const void *bytes, size_t count);
/* Takes a file's first `most` bytes in, like io_digest. */
Status io_hash_file(IoHash *hash, uint64_t *count, const char *path, uint64_t most);
Digest io_hash_now(const IoHash *hash); /* of all so far; more may follow */
void io_hash_free(IoHash *hash);        /* NULL is fine */

#endif
