#include "data/io_digest.h"

#include "data/io_calls.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

enum { PIECE = 1 << 16 };

static Digest digest_from(XXH128_hash_t hash)
{
    return (Digest){.high = hash.high64, .low = hash.low64};
}

Digest digest_of(const void *bytes, size_t count)
{
    return digest_from(XXH3_128bits(bytes, count));
}

bool digest_equal(Digest a, Digest b)
{
    return a.high == b.high && a.low == b.low;
}

void digest_text(char text[DIGEST_TEXT], Digest digest)
{
    snprintf(text, DIGEST_TEXT, "%016llx%016llx", (unsigned long long)digest.high,
             (unsigned long long)digest.low);
}

bool digest_parse(Digest *digest, const char *text)
{
    uint64_t half[2] = {0, 0};
    for (int i = 0; i < DIGEST_TEXT - 1; i++) {
        const char *hex = "0123456789abcdef";
        const char *digit = text[i] != '\0' ? strchr(hex, text[i]) : NULL;
        if (digit == NULL) return false;
        half[i / 16] = half[i / 16] << 4 | (uint64_t)(digit - hex);
    }
    if (text[DIGEST_TEXT - 1] != '\0') return false;
    *digest = (Digest){.high = half[0], .low = half[1]};
    return true;
}

Status io_hash_start(IoHash **hash, const char *path)
{
    XXH3_state_t *state = XXH3_createState();
    *hash = (IoHash *)state;
    if (state == NULL) return status_fail(STATUS_FAILED, "%s: no memory for its hash", path);
    XXH3_128bits_reset(state);
    return STATUS_OK;
}

void io_hash_add(IoHash *hash, const void *bytes, size_t count)
{
    XXH3_128bits_update((XXH3_state_t *)hash, bytes, count);
}

Digest io_hash_now(const IoHash *hash)
{
    return digest_from(XXH3_128bits_digest((const XXH3_state_t *)hash));
}

void io_hash_free(IoHash *hash)
{
    XXH3_freeState((XXH3_state_t *)hash);
}

/* Takes up to `most` bytes in. */
static Status take_bytes(IoHash *hash, uint64_t *count, int descriptor, const char *path,
                         uint64_t most)
{
    char piece[PIECE];
    *count = 0;
    while (*count < most) {
        const uint64_t left = most - *count;
        const ssize_t got = call_read(descriptor, piece, left < PIECE ? (size_t)left : PIECE);
        if (got < 0) return call_fail(STATUS_IO, path, "read");
        if (got == 0) break;
        io_hash_add(hash, piece, (size_t)got);
        *count += (uint64_t)got;
    }
    return STATUS_OK;
}

Status io_hash_file(IoHash *hash, uint64_t *count, const char *path, uint64_t most)
{
    int descriptor;
    uint64_t size;
    TRY(call_open_regular(&descriptor, &size, path));
    Status status = take_bytes(hash, count, descriptor, path, most);
    if (call_close(descriptor) < 0 && status == STATUS_OK) {
        status = call_fail(STATUS_IO, path, "close");
    }
    return status;
}

Status io_digest(Digest *digest, uint64_t *count, const char *path, uint64_t most)
{
    IoHash *hash;
    TRY(io_hash_start(&hash, path));
    const Status status = io_hash_file(hash, count, path, most);
    *digest = io_hash_now(hash);
    io_hash_free(hash);
    return status;
}
