/* The only door to the file system. Every call is checked, so a failing disk ends in one line
 * that names the file and the cause; tests can make any call fail (io_fault).
 *
 * The idea to remember: a result file exists whole or not at all. io_publish writes a temporary
 * name, syncs, renames and syncs the folder. */
#ifndef DATA_IO_H
#define DATA_IO_H

#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 128 bits of XXH3 of a file's bytes. */
typedef struct Digest {
    uint64_t high, low;
} Digest;

enum { DIGEST_TEXT = 33 }; /* 32 hex digits and a NUL */

Digest digest_of(const void *bytes, size_t count);
bool digest_equal(Digest a, Digest b);
void digest_text(char text[DIGEST_TEXT], Digest digest);
bool digest_parse(Digest *digest, const char *text); /* false: not 32 hex digits */
/* Of a regular file's first `most` bytes, read in pieces; *count is how many there were. Missing or
 * not a regular file: STATUS_DATA; unreadable: STATUS_IO. */
Status io_digest(Digest *digest, uint64_t *count, const char *path, uint64_t most);

/* Replaces path by `count` bytes, whole or not at all, durable when it returns. STATUS_IO. While it
 * writes there is ".NAME.part" beside it, which a killed run may leave and the next one reuses. */
Status io_publish(const char *path, const void *bytes, size_t count);

/* Reads a regular file of at most `cap` bytes; appends to *out. Missing, larger or not a regular
 * file: STATUS_DATA; unreadable: STATUS_IO. */
Status io_read(Bytes *out, const char *path, size_t cap);

bool io_exists(const char *path);
Status io_size(uint64_t *bytes, const char *path);    /* of one file */
Status io_usage(uint64_t *bytes, const char *folder); /* of all files below */
Status io_free_space(uint64_t *bytes, const char *path);
Status io_make_folder(const char *path);            /* with its parents; may be there already */
Status io_rename(const char *from, const char *to); /* within one folder, folder synced */
Status io_remove(const char *path);                 /* a file; missing is fine */
Status io_remove_tree(const char *path);            /* missing is fine */
Status io_list(Texts *names, const char *folder);   /* without . and .., sorted by strcmp */

/* A file that only grows: one write() a record. */
typedef struct IoLog {
    int descriptor; /* -1: closed; also where path is empty */
    char path[512];
} IoLog;

Status io_log_open(IoLog *log, const char *path, bool truncate);
/* A record that does not fit is taken back, so the file ends with a whole one. */
Status io_log_append(IoLog *log, const void *bytes, size_t count);
Status io_log_sync(IoLog *log);
Status io_log_close(IoLog *log);
/* Shortens the file to `length` bytes, synced. Shorter already: STATUS_DATA. */
Status io_log_cut(const char *path, uint64_t length);

enum { IO_HOLDER = 256 }; /* bytes of a lock's line */

/* An exclusive lock that lives as long as the process: file `path`, flock, and in it one line of
 * information (pid, host). Held by another: STATUS_LOCKED with that line. */
Status io_lock(int *descriptor, const char *path);
void io_unlock(int descriptor);
/* Whether a process holds the lock at `path`, and its line. Only looks; the lock is taken for a
 * moment where nobody holds it, which io_lock waits for. */
Status io_lock_holder(bool *held, char line[IO_HOLDER], const char *path);

/* For tests: the `call`-th system call of `kind` ("write", "fsync", "rename", "open", "close",
 * "read", "truncate", "mkdir", "remove", any: NULL) from now fails with errno `error` (a write
 * with 0 is a short one); `persistent`: all after it too. call 0: off. From outside a process:
 * data/io_fault.h. */
void io_fault(const char *kind, long call, int error, bool persistent);

#endif
