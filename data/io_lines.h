/* The lines of a file of any size, one after another, in the memory of one line; or its
 * bytes. */
#ifndef DATA_IO_LINES_H
#define DATA_IO_LINES_H

#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct IoLines {
    const char *path; /* the caller's */
    int descriptor;
    size_t cap;   /* most bytes of a line */
    Bytes bytes;  /* read and not yet handed out, from `at` on */
    size_t at;
    bool ended;   /* nothing is left to read */
    int line;     /* number of the line handed out last, from 1 */
} IoLines;

/* A regular file. Missing or anything else: STATUS_DATA. `path` must live as long. */
Status io_lines_open(IoLines *lines, const char *path, size_t cap);

/* The next line without its newline, NUL-ended, good until the next call; *text is NULL after the
 * last one. A line of more than `cap` bytes: STATUS_DATA, "path:line:1: ...". */
Status io_lines_next(const char **text, size_t *count, IoLines *lines);

/* Or its bytes: at least the next `want`, fewer only where the file ends; good until the next call.
 * io_lines_skip goes over `count` of them. */
Status io_lines_peek(const char **bytes, size_t *count, IoLines *lines, size_t want);
void io_lines_skip(IoLines *lines, size_t count);

/* Bytes of a file, and those up to its last newline: what is behind that is a torn line. Reads from
 * the end. */
Status io_lines_whole(uint64_t *whole, uint64_t *size, const char *path);

/* Fine on one that did not open, or is zero. */
Status io_lines_close(IoLines *lines);

#endif
