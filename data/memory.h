/* The only door to the heap, so that a test can make any allocation fail.
 *
 * Long-lived plain arrays live in an Arena (data/arena.h); this is for what grows
 * while foreign input is read. */
#ifndef DATA_MEMORY_H
#define DATA_MEMORY_H

#include "data/status.h"

#include <stddef.h>

/* *block = `bytes` bytes of zeros. Fails with the number in the message; *block is then NULL. */
Status memory_claim(void **block, size_t bytes);

/* Resizes *block (NULL is an empty one), keeping its content; what is added is not cleared. On
 * failure *block stands as it was. */
Status memory_resize(void **block, size_t bytes);

/* NULL is fine. */
void memory_release(void *block);

/* For tests: the `call`-th allocation from now fails (1 is the next); `persistent` fails all
 * after it too. 0 switches the fault off. From outside: RLHF_MEMORY_FAULT=CALL[:persist] in the
 * environment, for the calls from the start of the process. */
void memory_fault(long call, int persistent);

/* Text or bytes that grow. Zero-initialise; `data` is always followed by a NUL once something
 * was appended. */
typedef struct Bytes {
    char *data;
    size_t count;
    size_t capacity;
} Bytes;

Status bytes_append(Bytes *bytes, const void *data, size_t count);
Status bytes_text(Bytes *bytes, const char *text);
Status bytes_print(Bytes *bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bytes_clear(Bytes *bytes); /* empty, memory kept */
void bytes_free(Bytes *bytes);

/* Many byte strings end to end: string i is data[offset[i]] up to data[offset[i + 1]].
 * Zero-initialise. */
typedef struct Texts {
    int count;
    Bytes bytes;
    size_t *offset; /* (count + 1) */
    size_t offset_capacity;
} Texts;

Status texts_add(Texts *texts, const char *data, size_t count);
const char *texts_at(const Texts *texts, int index, size_t *count); /* not NUL-terminated */
void texts_free(Texts *texts);

#endif
