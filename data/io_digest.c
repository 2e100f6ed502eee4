#include "data/io.h"

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

/* Takes up to `most` bytes in. */
static Status take_bytes(XXH3_state_t *state, uint64_t *count, int descriptor, const char *path,
                         uint64_t most)
{
    char piece[PIECE];
    *count = 0;
    while (*count < most) {
        const uint64_t left = most - *count;
        const ssize_t got = call_read(descriptor, piece, left < PIECE ? (size_t)left : PIECE);
        if (got < 0) return call_fail(STATUS_IO, path, "read");
        if (got == 0) break;
        XXH3_128bits_update(state, piece, (size_t)got);
        *count += (uint64_t)got;
    }
    return STATUS_OK;
}

Status io_digest(Digest *digest, uint64_t *count, const char *path, uint64_t most)
{
    int descriptor;
    uint64_t size;
    TRY(call_open_regular(&descriptor, &size, path));
    XXH3_state_t *state = XXH3_createState();
    Status status = STATUS_OK;
    if (state == NULL) {
        status = status_fail(STATUS_FAILED, "%s: no memory for its hash", path);
    } else {
        XXH3_128bits_reset(state);
        status = take_bytes(state, count, descriptor, path, most);
        *digest = digest_from(XXH3_128bits_digest(state));
    }
    XXH3_freeState(state);
    if (call_close(descriptor) < 0 && status == STATUS_OK) {
        status = call_fail(STATUS_IO, path, "close");
    }
    return status;
}
