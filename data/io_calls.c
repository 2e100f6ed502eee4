#include "data/io_calls.h"

#include "data/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A planned fault. */
static const char *fault_kind;
static long fault_countdown; /* 0: none */
static int fault_error;
static bool fault_persistent;

void io_fault(const char *kind, long call, int error, bool persistent)
{
    fault_kind = kind;
    fault_countdown = call;
    fault_error = error;
    fault_persistent = persistent;
}

/* True when this call is the one to fail; errno says with what. */
static bool fault_strikes(const char *kind)
{
    if (fault_countdown == 0) return false;
    if (fault_kind != NULL && strcmp(fault_kind, kind) != 0) return false;
    if (fault_countdown > 1) {
        fault_countdown--;
        return false;
    }
    if (!fault_persistent) fault_countdown = 0;
    errno = fault_error;
    return true;
}

int call_open(const char *path, int flags)
{
    int descriptor;
    do {
        descriptor = fault_strikes("open") ? -1 : open(path, flags | O_CLOEXEC, 0666);
    } while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

int call_close(int descriptor)
{
    const bool fails = fault_strikes("close");
    const int error = errno;
    const int result = close(descriptor);
    if (fails) {
        errno = error;
        return -1;
    }
    /* Linux has closed the descriptor even so; a second close could hit somebody else's. */
    return result < 0 && errno == EINTR ? 0 : result;
}

int call_rename(const char *from, const char *to)
{
    return fault_strikes("rename") ? -1 : rename(from, to);
}

int call_fsync(int descriptor)
{
    int result;
    do {
        result = fault_strikes("fsync") ? -1 : fsync(descriptor);
    } while (result < 0 && errno == EINTR);
    return result;
}

int call_truncate(int descriptor, off_t length)
{
    int result;
    do {
        result = fault_strikes("truncate") ? -1 : ftruncate(descriptor, length);
    } while (result < 0 && errno == EINTR);
    return result;
}

ssize_t call_read(int descriptor, void *bytes, size_t count)
{
    ssize_t got;
    do {
        got = fault_strikes("read") ? -1 : read(descriptor, bytes, count);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* One write; a fault with errno 0 makes it a short one. */
static ssize_t write_once(int descriptor, const void *bytes, size_t count)
{
    if (fault_strikes("write")) {
        if (errno != 0) return -1;
        count = (count + 1) / 2;
    }
    return write(descriptor, bytes, count);
}

int call_write(int descriptor, const void *bytes, size_t count, size_t *written)
{
    size_t done = 0;
    int result = 0;
    while (done < count && result == 0) {
        const ssize_t now = write_once(descriptor, (const char *)bytes + done, count - done);
        if (now > 0) done += (size_t)now;
        if (now == 0) errno = EIO; /* no progress and no reason */
        if (now == 0 || (now < 0 && errno != EINTR)) result = -1;
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
