/* The system calls of data/io, each of which a test can make fail (data/io_fault.h). For
 * data/io*.c only.
 *
 * All return as the call they wrap does, -1 and errno; where it can be interrupted it is tried
 * again, a hundred times in a row. */
#ifndef DATA_IO_CALLS_H
#define DATA_IO_CALLS_H

#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int call_open(const char *path, int flags); /* mode 0666, close-on-exec */
int call_close(int descriptor);             /* always closes, also when it reports a failure */
int call_rename(const char *from, const char *to);
int call_make_folder(const char *path); /* mode 0777 */
int call_remove(const char *path, bool is_folder);
int call_fsync(int descriptor);
int call_truncate(int descriptor, off_t length);
ssize_t call_read(int descriptor, void *bytes, size_t count);

/* Writes all `count` bytes, however many calls it takes. *written (may be NULL) is how far it
 * came. */
int call_write(int descriptor, const void *bytes, size_t count, size_t *written);

/* Makes what was renamed or created in the folder of `path` durable. */
int call_sync_folder(const char *path);

/* A regular file to read, and its size. Missing or anything else: STATUS_DATA. */
Status call_open_regular(int *descriptor, uint64_t *size, const char *path);

/* "path: cannot WHAT: strerror(errno)" */
Status call_fail(Status code, const char *path, const char *what);

/* The folder a path lies in: "." where it names none. `folder` has 1024 bytes; STATUS_USAGE where
 * that does not do. */
Status call_folder(char *folder, const char *path);

enum { CALL_PATH = 1024 };

#endif
