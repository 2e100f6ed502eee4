#include "data/io_lines.h"

#include "data/io_calls.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 16 };

Status io_lines_open(IoLines *lines, const char *path, size_t cap)
{
    *lines = (IoLines){.path = path, .descriptor = -1, .cap = cap};
    uint64_t size;
    return call_open_regular(&lines->descriptor, &size, path);
}

/* Moves what is left to the front and reads a piece behind it. */
static Status read_more(IoLines *lines)
{
    char piece[PIECE];
    const ssize_t got = call_read(lines->descriptor, piece, sizeof piece);
    if (got < 0) return call_fail(STATUS_IO, lines->path, "read");
    lines->ended = got == 0;
    Bytes *bytes = &lines->bytes;
    if (lines->at > 0) {
        bytes->count -= lines->at;
        memmove(bytes->data, bytes->data + lines->at, bytes->count + 1);
        lines->at = 0;
    }
    return status_context(bytes_append(bytes, piece, (size_t)got), "%s", lines->path);
}

Status io_lines_next(const char **text, size_t *count, IoLines *lines)
{
    Bytes *bytes = &lines->bytes;
    size_t searched = 0; /* bytes of this line without a newline */
    char *newline = NULL;
    *text = NULL;
    for (;;) {
        const size_t left = bytes->count - lines->at;
        if (left > searched) {
            newline = memchr(bytes->data + lines->at + searched, '\n', left - searched);
        }
        searched = newline != NULL ? (size_t)(newline - bytes->data) - lines->at : left;
        if (newline != NULL || lines->ended || searched > lines->cap) break;
        TRY(read_more(lines));
    }
    if (newline == NULL && searched == 0) return STATUS_OK;
    lines->line++;
    if (searched > lines->cap) {
        return status_fail(STATUS_DATA, "%s:%d:1: a line of more than %zu bytes", lines->path,
                           lines->line, lines->cap);
    }
    if (newline != NULL) *newline = '\0';
    *text = bytes->data + lines->at;
    *count = searched;
    lines->at += searched + (newline != NULL);
    return STATUS_OK;
}

Status io_lines_peek(const char **bytes, size_t *count, IoLines *lines, size_t want)
{
    while (!lines->ended && lines->bytes.count - lines->at < want) TRY(read_more(lines));
    *bytes = lines->bytes.data + lines->at;
    *count = lines->bytes.count - lines->at;
    return STATUS_OK;
}

void io_lines_skip(IoLines *lines, size_t count)
{
    assert(count <= lines->bytes.count - lines->at);
    lines->at += count;
}

/* *whole = bytes up to the last newline in the `count` before `end`; 0: there is none. */
static Status find_newline(uint64_t *whole, int descriptor, uint64_t end, size_t count,
                           const char *path)
{
    char piece[PIECE];
    size_t held = 0;
    if (lseek(descriptor, (off_t)(end - count), SEEK_SET) < 0) {
        return call_fail(STATUS_IO, path, "read");
    }
    while (held < count) {
        const ssize_t got = call_read(descriptor, piece + held, count - held);
        if (got < 0) return call_fail(STATUS_IO, path, "read");
        if (got == 0) break;
        held += (size_t)got;
    }
    while (held > 0 && piece[held - 1] != '\n') held--;
    *whole = held > 0 ? end - count + held : 0;
    return STATUS_OK;
}

Status io_lines_whole(uint64_t *whole, uint64_t *size, const char *path)
{
    int descriptor;
    *whole = 0;
    TRY(call_open_regular(&descriptor, size, path));
    Status status = STATUS_OK;
    for (uint64_t end = *size; end > 0 && *whole == 0 && status == STATUS_OK;) {
        const size_t count = end < PIECE ? (size_t)end : PIECE;
        status = find_newline(whole, descriptor, end, count, path);
        end -= count;
    }
    if (call_close(descriptor) < 0 && status == STATUS_OK) {
        status = call_fail(STATUS_IO, path, "close");
    }
    return status;
}

Status io_lines_close(IoLines *lines)
{
    bytes_free(&lines->bytes);
    if (lines->path == NULL || lines->descriptor < 0) return STATUS_OK;
    const int descriptor = lines->descriptor;
    lines->descriptor = -1;
    if (call_close(descriptor) < 0) return call_fail(STATUS_IO, lines->path, "close");
    return STATUS_OK;
}
