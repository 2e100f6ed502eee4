#include "data/io_calls.h"

#include "data/io_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A call that is interrupted this often in a row is a call that fails. */
enum { TRIES = 100 };

static bool try_again(int *tries)
{
    return errno == EINTR && ++*tries < TRIES;
}

int call_open(const char *path, int flags)
{
    int descriptor, tries = 0;
    do {
        const bool fails = fault_before("open") == CALL_FAILS;
        descriptor = fails ? -1 : open(path, flags | O_CLOEXEC, 0666);
        fault_trace("open", descriptor, flags & O_CREAT, path);
    } while (descriptor < 0 && try_again(&tries));
    return descriptor;
}

int call_close(int descriptor)
{
    const bool fails = fault_before("close") == CALL_FAILS;
    const int error = errno;
    const int result = close(descriptor);
    fault_trace("close", result, descriptor, NULL);
    if (fails) errno = error;
    /* Linux has closed the descriptor even so; a second close could hit somebody else's. */
    return (fails || result < 0) && errno != EINTR ? -1 : 0;
}

int call_rename(const char *from, const char *to)
{
    const int result = fault_before("rename") == CALL_FAILS ? -1 : rename(from, to);
    fault_trace("from", result, -1, from);
    fault_trace("rename", result, -1, to);
    return result;
}

int call_make_folder(const char *path)
{
    const int result = fault_before("mkdir") == CALL_FAILS ? -1 : mkdir(path, 0777);
    fault_trace("mkdir", result, -1, path);
    return result;
}

int call_remove(const char *path, bool is_folder)
{
    int result = -1;
    if (fault_before("remove") != CALL_FAILS) result = is_folder ? rmdir(path) : unlink(path);
    fault_trace("remove", result, -1, path);
    return result;
}

int call_fsync(int descriptor)
{
    int result, tries = 0;
    do {
        result = fault_before("fsync") == CALL_FAILS ? -1 : fsync(descriptor);
        fault_trace("fsync", result, descriptor, NULL);
    } while (result < 0 && try_again(&tries));
    return result;
}

int call_truncate(int descriptor, off_t length)
{
    int result, tries = 0;
    do {
        result = fault_before("truncate") == CALL_FAILS ? -1 : ftruncate(descriptor, length);
        fault_trace("truncate", result, descriptor, NULL);
    } while (result < 0 && try_again(&tries));
    return result;
}

ssize_t call_read(int descriptor, void *bytes, size_t count)
{
    ssize_t got;
    int tries = 0;
    do {
        got = fault_before("read") == CALL_FAILS ? -1 : read(descriptor, bytes, count);
        fault_trace("read", got, descriptor, NULL);
    } while (got < 0 && try_again(&tries));
    return got;
}

static ssize_t write_once(int descriptor, const void *bytes, size_t count)
{
    const CallFault fault = fault_before("write");
    if (fault == CALL_SHORT || fault == CALL_TORN) count = (count + 1) / 2;
    const ssize_t now = fault == CALL_FAILS ? -1 : write(descriptor, bytes, count);
    fault_trace("write", now, descriptor, NULL);
    if (fault == CALL_TORN) fault_kill();
    return now;
}

int call_write(int descriptor, const void *bytes, size_t count, size_t *written)
{
    size_t done = 0;
    int result = 0, tries = 0;
    while (done < count && result == 0) {
        const ssize_t now = write_once(descriptor, (const char *)bytes + done, count - done);
        if (now > 0) {
            done += (size_t)now;
            tries = 0;
        }
        if (now == 0) errno = EIO; /* no progress and no reason */
        if (now == 0 || (now < 0 && !try_again(&tries))) result = -1;
    }
    if (written != NULL) *written = done;
    return result;
}

int call_sync_folder(const char *path)
{
    char folder[CALL_PATH];
    if (call_folder(folder, path) != STATUS_OK) {
        errno = ENAMETOOLONG;
        return -1;
    }
    const int descriptor = call_open(folder, O_RDONLY | O_DIRECTORY);
    if (descriptor < 0) return -1;
    int result = call_fsync(descriptor);
    int error = errno;
    if (result < 0 && error == EINVAL) result = 0; /* this file system has nothing to sync here */
    if (call_close(descriptor) < 0 && result == 0) {
        result = -1;
        error = errno;
    }
    errno = error;
    return result;
}

Status call_fail(Status code, const char *path, const char *what)
{
    return status_fail(code, "%s: cannot %s: %s", path, what, strerror(errno));
}

Status call_folder(char *folder, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    while (length > 0 && path[length - 1] == '/') length--;
    if (length >= CALL_PATH) {
        return status_fail(STATUS_USAGE, "%.60s...: path is longer than %d bytes", path,
                           CALL_PATH - 1);
    }
    const char *folder_text = length > 0 ? path : slash != NULL ? "/" : ".";
    if (length == 0) length = 1;
    memcpy(folder, folder_text, length);
    folder[length] = '\0';
    return STATUS_OK;
}

Status call_open_regular(int *descriptor, uint64_t *size, const char *path)
{
    /* Not blocking, so that a pipe of that name cannot hold us up. */
    *descriptor = call_open(path, O_RDONLY | O_NONBLOCK);
    if (*descriptor < 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return status_fail(STATUS_DATA, "%s: missing", path);
        }
        return call_fail(STATUS_IO, path, "open");
    }
    struct stat facts;
    Status status = STATUS_OK;
    if (fstat(*descriptor, &facts) < 0) {
        status = call_fail(STATUS_IO, path, "read");
    } else if (!S_ISREG(facts.st_mode)) {
        status = status_fail(STATUS_DATA, "%s: not a regular file", path);
    } else {
        *size = (uint64_t)facts.st_size;
        return STATUS_OK;
    }
    (void)call_close(*descriptor);
    *descriptor = -1;
    return status;
}
