#include "data/memory.h"

#include "data/memory_fault.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status memory_claim(void **block, size_t bytes)
{
    *block = memory_strikes() ? NULL : calloc(1, bytes > 0 ? bytes : 1);
    if (*block == NULL) return status_fail(STATUS_FAILED, "cannot allocate %zu bytes", bytes);
    return STATUS_OK;
}

Status memory_resize(void **block, size_t bytes)
{
    void *larger = memory_strikes() ? NULL : realloc(*block, bytes > 0 ? bytes : 1);
    if (larger == NULL) return status_fail(STATUS_FAILED, "cannot allocate %zu bytes", bytes);
    *block = larger;
    return STATUS_OK;
}

void memory_release(void *block)
{
    free(block);
}

/* Room for `more` bytes and a NUL behind them; grows by half, so appending is linear. */
static Status bytes_reserve(Bytes *bytes, size_t more)
{
    if (more > SIZE_MAX / 2 - bytes->count - 1) {
        return status_fail(STATUS_FAILED, "cannot allocate %zu bytes more", more);
    }
    const size_t needed = bytes->count + more + 1;
    if (needed <= bytes->capacity) return STATUS_OK;
    const size_t grown = bytes->capacity + bytes->capacity / 2;
    const size_t capacity = needed > grown ? needed : grown;
    void *data = bytes->data;
    TRY(memory_resize(&data, capacity));
    bytes->data = data;
    bytes->capacity = capacity;
    return STATUS_OK;
}

Status bytes_append(Bytes *bytes, const void *data, size_t count)
{
    TRY(bytes_reserve(bytes, count));
    if (count > 0) memcpy(bytes->data + bytes->count, data, count);
    bytes->count += count;
    bytes->data[bytes->count] = '\0';
    return STATUS_OK;
}

Status bytes_text(Bytes *bytes, const char *text)
{
    return bytes_append(bytes, text, strlen(text));
}

Status bytes_print(Bytes *bytes, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    va_list again;
    va_copy(again, values);
    const int length = vsnprintf(NULL, 0, format, values);
    va_end(values);
    assert(length >= 0);

    const Status status = bytes_reserve(bytes, (size_t)length);
    if (status == STATUS_OK) {
        vsnprintf(bytes->data + bytes->count, (size_t)length + 1, format, again);
        bytes->count += (size_t)length;
    }
    va_end(again);
    return status;
}

void bytes_clear(Bytes *bytes)
{
    bytes->count = 0;
    if (bytes->data != NULL) bytes->data[0] = '\0';
}

void bytes_free(Bytes *bytes)
{
    memory_release(bytes->data);
    *bytes = (Bytes){0};
}

Status texts_add(Texts *texts, const char *data, size_t count)
{
    const size_t needed = (size_t)texts->count + 2;
    if (needed > texts->offset_capacity) {
        const size_t capacity = needed + needed / 2;
        void *offset = texts->offset;
        TRY(memory_resize(&offset, capacity * sizeof *texts->offset));
        texts->offset = offset;
        texts->offset_capacity = capacity;
        texts->offset[0] = 0;
    }
    TRY(bytes_append(&texts->bytes, data, count));
    texts->count++;
    texts->offset[texts->count] = texts->bytes.count;
    return STATUS_OK;
}

const char *texts_at(const Texts *texts, int index, size_t *count)
{
    assert(index >= 0 && index < texts->count);
    *count = texts->offset[index + 1] - texts->offset[index];
    return texts->bytes.data + texts->offset[index];
}

void texts_free(Texts *texts)
{
    bytes_free(&texts->bytes);
    memory_release(texts->offset);
    *texts = (Texts){0};
}
