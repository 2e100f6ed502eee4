#include "data/io.h"

#include "data/io_calls.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* folder/.NAME.part */
static Status part_name(char *part, const char *path)
{
    char folder[CALL_PATH];
    TRY(call_folder(folder, path));
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const int length = snprintf(part, CALL_PATH, "%s/.%s.part", folder, name);
    if (length >= CALL_PATH) {
        return status_fail(STATUS_USAGE, "%.60s...: path is longer than %d bytes", path,
                           CALL_PATH - 1);
    }
    return STATUS_OK;
}

/* Opens the temporary name empty and for us alone: whoever else publishes this path now is
 * refused, what a killed run left is taken over. */
static Status open_part(int *descriptor, const char *part, const char *path)
{
    *descriptor = call_open(part, O_WRONLY | O_CREAT | O_NOFOLLOW);
    if (*descriptor < 0) return call_fail(STATUS_IO, path, "create");

    struct stat opened, named;
    if (flock(*descriptor, LOCK_EX | LOCK_NB) < 0 || fstat(*descriptor, &opened) < 0 ||
        lstat(part, &named) < 0 || opened.st_ino != named.st_ino) {
        call_close(*descriptor);
        *descriptor = -1;
        return status_fail(STATUS_IO, "%s: another process is writing it", path);
    }
    if (call_truncate(*descriptor, 0) < 0) return call_fail(STATUS_IO, path, "empty");
    return STATUS_OK;
}

static Status write_synced(int descriptor, const char *path, const void *bytes, size_t count)
{
    if (call_write(descriptor, bytes, count, NULL) < 0) {
        return status_fail(STATUS_IO, "%s: cannot write %zu bytes: %s", path, count,
                           strerror(errno));
    }
    if (call_fsync(descriptor) < 0) return call_fail(STATUS_IO, path, "sync");
    return STATUS_OK;
}

Status io_publish(const char *path, const void *bytes, size_t count)
{
    char part[CALL_PATH];
    int descriptor;
    TRY(part_name(part, path));
    Status status = open_part(&descriptor, part, path);
    if (descriptor < 0) return status;

    if (status == STATUS_OK) status = write_synced(descriptor, path, bytes, count);
    /* The rename comes before the close, which gives the name up to others. */
    if (status == STATUS_OK && call_rename(part, path) < 0) {
        status = call_fail(STATUS_IO, path, "rename into place");
    }
    if (status != STATUS_OK) (void)call_remove(part, false);
    if (call_close(descriptor) < 0 && status == STATUS_OK) {
        status = call_fail(STATUS_IO, path, "close");
    }
    if (status == STATUS_OK && call_sync_folder(path) < 0) {
        status = call_fail(STATUS_IO, path, "sync the folder");
    }
    return status;
}

/* Reads what is there, to the end or one byte past the cap. */
static Status read_to_end(Bytes *out, int descriptor, const char *path, size_t cap)
{
    char piece[1 << 16];
    size_t total = 0;
    for (;;) {
        const ssize_t got = call_read(descriptor, piece, sizeof piece);
        if (got < 0) return call_fail(STATUS_IO, path, "read");
        if (got == 0) return STATUS_OK;
        total += (size_t)got;
        if (total > cap) {
            return status_fail(STATUS_DATA, "%s: larger than %zu bytes", path, cap);
        }
        TRY(status_context(bytes_append(out, piece, (size_t)got), "%s", path));
    }
}

Status io_read(Bytes *out, const char *path, size_t cap)
{
    int descriptor;
    uint64_t size;
    TRY(call_open_regular(&descriptor, &size, path));
    const size_t before = out->count;
    Status status = STATUS_OK;
    if (size > cap) {
        status = status_fail(STATUS_DATA, "%s: %" PRIu64 " bytes, at most %zu are read", path, size,
                             cap);
    } else {
        status = read_to_end(out, descriptor, path, cap);
    }
    if (status != STATUS_OK && out->data != NULL) {
        out->count = before;
        out->data[before] = '\0';
    }
    if (call_close(descriptor) < 0 && status == STATUS_OK) {
        status = call_fail(STATUS_IO, path, "close");
    }
    return status;
}

static bool log_is_open(const IoLog *log)
{
    return log->descriptor >= 0 && log->path[0] != '\0';
}

/* A log lies in a run's folder, which may be a stranger's: were the file itself a link, it could
 * name any of ours, which would be written to or cut. */
static Status open_log(int *descriptor, const char *path, int flags)
{
    *descriptor = call_open(path, flags | O_NOFOLLOW);
    if (*descriptor >= 0) return STATUS_OK;
    if (errno != ELOOP) return call_fail(STATUS_IO, path, "open");
    return status_fail(STATUS_IO, "%s: a symbolic link, which is not followed for writing", path);
}

Status io_log_open(IoLog *log, const char *path, bool truncate)
{
    *log = (IoLog){.descriptor = -1};
    if (strlen(path) >= sizeof log->path) {
        return status_fail(STATUS_USAGE, "%.60s...: path is longer than %zu bytes", path,
                           sizeof log->path - 1);
    }
    const bool is_new = !io_exists(path);
    int descriptor;
    TRY(open_log(&descriptor, path, O_WRONLY | O_CREAT | O_APPEND | (truncate ? O_TRUNC : 0)));
    if (is_new && call_sync_folder(path) < 0) {
        const Status status = call_fail(STATUS_IO, path, "sync the folder");
        call_close(descriptor);
        return status;
    }
    log->descriptor = descriptor;
    memcpy(log->path, path, strlen(path) + 1);
    return STATUS_OK;
}

Status io_log_append(IoLog *log, const void *bytes, size_t count)
{
    assert(log_is_open(log));
    size_t written;
    if (call_write(log->descriptor, bytes, count, &written) == 0) return STATUS_OK;

    const Status status =
        status_fail(STATUS_IO, "%s: cannot write %zu bytes: %s", log->path, count, strerror(errno));
    struct stat facts;
    if (written > 0 && fstat(log->descriptor, &facts) == 0) {
        call_truncate(log->descriptor, facts.st_size - (off_t)written);
    }
    return status;
}

Status io_log_sync(IoLog *log)
{
    assert(log_is_open(log));
    if (call_fsync(log->descriptor) < 0) return call_fail(STATUS_IO, log->path, "sync");
    return STATUS_OK;
}

Status io_log_close(IoLog *log)
{
    if (!log_is_open(log)) return STATUS_OK;
    const int descriptor = log->descriptor;
    log->descriptor = -1;
    if (call_close(descriptor) < 0) return call_fail(STATUS_IO, log->path, "close");
    return STATUS_OK;
}

Status io_log_cut(const char *path, uint64_t length)
{
    int descriptor;
    TRY(open_log(&descriptor, path, O_WRONLY));
    Status status = STATUS_OK;
    struct stat facts;
    if (fstat(descriptor, &facts) < 0) {
        status = call_fail(STATUS_IO, path, "measure");
    } else if ((uint64_t)facts.st_size < length) {
        status = status_fail(STATUS_DATA, "%s: %jd bytes, but %ju were committed", path,
                             (intmax_t)facts.st_size, (uintmax_t)length);
    } else if (call_truncate(descriptor, (off_t)length) < 0 || call_fsync(descriptor) < 0) {
        status = call_fail(STATUS_IO, path, "cut");
    }
    if (call_close(descriptor) < 0 && status == STATUS_OK) {
        status = call_fail(STATUS_IO, path, "close");
    }
    return status;
}
