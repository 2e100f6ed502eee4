#include "data/io.h"

#include "data/io_calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

bool io_exists(const char *path)
{
    struct stat facts;
    return stat(path, &facts) == 0;
}

Status io_size(uint64_t *bytes, const char *path)
{
    struct stat facts;
    if (stat(path, &facts) < 0) {
        if (errno == ENOENT) return status_fail(STATUS_DATA, "%s: missing", path);
        return call_fail(STATUS_IO, path, "measure");
    }
    *bytes = (uint64_t)facts.st_size;
    return STATUS_OK;
}

Status io_free_space(uint64_t *bytes, const char *path)
{
    struct statvfs facts;
    if (statvfs(path, &facts) < 0) {
        /* What is not there yet will lie in the nearest folder that is. */
        char folder[CALL_PATH];
        if (errno != ENOENT || strcmp(path, ".") == 0) return call_fail(STATUS_IO, path, "measure");
        TRY(call_folder(folder, path));
        return io_free_space(bytes, folder);
    }
    *bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
    return STATUS_OK;
}

/* One level; an existing folder is fine. */
static Status make_one_folder(const char *path)
{
    struct stat facts;
    if (call_make_folder(path) == 0) {
        if (call_sync_folder(path) < 0) return call_fail(STATUS_IO, path, "sync the folder");
        return STATUS_OK;
    }
    if (errno != EEXIST) return call_fail(STATUS_IO, path, "make the folder");
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) return STATUS_OK;
    return status_fail(STATUS_IO, "%s: cannot make the folder: a file has that name", path);
}

Status io_make_folder(const char *path)
{
    struct stat facts;
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) return STATUS_OK;
    char parent[CALL_PATH];
    TRY(call_folder(parent, path));
    if (!io_exists(parent)) TRY(io_make_folder(parent));
    return make_one_folder(path);
}

Status io_rename(const char *from, const char *to)
{
    if (call_rename(from, to) < 0) {
        return status_fail(STATUS_IO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    }
    if (call_sync_folder(to) < 0) return call_fail(STATUS_IO, to, "sync the folder");
    return STATUS_OK;
}

Status io_remove(const char *path)
{
    if (call_remove(path, false) < 0 && errno != ENOENT)
        return call_fail(STATUS_IO, path, "remove");
    return STATUS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static Status add_sorted(Texts *names, const Texts *found)
{
    void *block;
    TRY(memory_claim(&block, (size_t)found->count * sizeof(char *)));
    const char **sorted = block;
    size_t size;
    for (int i = 0; i < found->count; i++) sorted[i] = texts_at(found, i, &size);
    qsort(block, (size_t)found->count, sizeof *sorted, by_name);

    Status status = STATUS_OK;
    for (int i = 0; i < found->count && status == STATUS_OK; i++) {
        status = texts_add(names, sorted[i], strlen(sorted[i]));
    }
    memory_release(block);
    return status;
}

/* The names in readdir's order, each with its NUL. */
static Status read_folder(Texts *found, DIR *folder, const char *path)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) return errno == 0 ? STATUS_OK : call_fail(STATUS_IO, path, "list");
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        TRY(texts_add(found, entry->d_name, strlen(entry->d_name) + 1));
    }
}

/* Nothing is added where the folder is not there. */
static Status list(Texts *names, bool *there, const char *folder)
{
    DIR *stream = opendir(folder);
    *there = stream != NULL || errno != ENOENT;
    if (stream == NULL) return *there ? call_fail(STATUS_IO, folder, "list") : STATUS_OK;
    Texts found = {0};
    Status status = read_folder(&found, stream, folder);
    closedir(stream);
    if (status == STATUS_OK) status = add_sorted(names, &found);
    texts_free(&found);
    return status;
}

Status io_list(Texts *names, const char *folder)
{
    bool there;
    TRY(list(names, &there, folder));
    return there ? STATUS_OK : status_fail(STATUS_DATA, "%s: missing", folder);
}

/* What a walk does with each thing it meets, a folder after what lies in it. */
typedef Status Visit(void *context, const char *path, const struct stat *facts);

static Status walk(const char *path, Visit *visit, void *context);

static Status walk_folder(const char *path, Visit *visit, void *context)
{
    Texts names = {0};
    Bytes child = {0};
    bool there; /* it may be gone since it was looked at */
    Status status = list(&names, &there, path);
    for (int i = 0; i < names.count && status == STATUS_OK; i++) {
        size_t size;
        const char *name = texts_at(&names, i, &size);
        bytes_clear(&child);
        status = bytes_print(&child, "%s/%.*s", path, (int)size, name);
        if (status == STATUS_OK) status = walk(child.data, visit, context);
    }
    bytes_free(&child);
    texts_free(&names);
    return status;
}

/* Links are met, never followed; what vanishes meanwhile is passed over. */
static Status walk(const char *path, Visit *visit, void *context)
{
    struct stat facts;
    if (lstat(path, &facts) < 0) {
        return errno == ENOENT ? STATUS_OK : call_fail(STATUS_IO, path, "look at");
    }
    if (S_ISDIR(facts.st_mode)) TRY(walk_folder(path, visit, context));
    return visit(context, path, &facts);
}

static Status add_size(void *context, const char *path, const struct stat *facts)
{
    (void)path;
    if (S_ISREG(facts->st_mode)) *(uint64_t *)context += (uint64_t)facts->st_size;
    return STATUS_OK;
}

Status io_usage(uint64_t *bytes, const char *folder)
{
    *bytes = 0;
    return walk(folder, add_size, bytes);
}

static Status remove_one(void *context, const char *path, const struct stat *facts)
{
    (void)context;
    const int result = call_remove(path, S_ISDIR(facts->st_mode));
    if (result < 0 && errno != ENOENT) return call_fail(STATUS_IO, path, "remove");
    return STATUS_OK;
}

Status io_remove_tree(const char *path)
{
    return walk(path, remove_one, NULL);
}

/* The line the holder left, for people; "another process" where there is none. */
static void read_holder(char line[IO_HOLDER], int descriptor)
{
    ssize_t got = pread(descriptor, line, IO_HOLDER - 1, 0);
    if (got < 0) got = 0;
    line[got] = '\0';
    line[strcspn(line, "\n")] = '\0';
    for (char *c = line; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~') *c = '?';
    }
    if (line[0] == '\0') snprintf(line, IO_HOLDER, "another process");
}

static Status write_holder(int descriptor, const char *path)
{
    char host[128], line[IO_HOLDER];
    if (gethostname(host, sizeof host) < 0) snprintf(host, sizeof host, "unknown");
    host[sizeof host - 1] = '\0';
    const int length = snprintf(line, sizeof line, "pid %ld on host %s\n", (long)getpid(), host);
    if (call_truncate(descriptor, 0) < 0 ||
        call_write(descriptor, line, (size_t)length, NULL) < 0) {
        return call_fail(STATUS_IO, path, "write");
    }
    return STATUS_OK;
}

/* Who only looks at a lock holds it for microseconds, so a refusal counts when it lasts. */
static int flock_soon(int file)
{
    enum { TRIES = 10 };
    const struct timespec pause = {.tv_nsec = 2000000};
    int result = flock(file, LOCK_EX | LOCK_NB);
    for (int i = 1; i < TRIES && result < 0 && errno == EWOULDBLOCK; i++) {
        nanosleep(&pause, NULL);
        result = flock(file, LOCK_EX | LOCK_NB);
    }
    return result;
}

Status io_lock_holder(bool *held, char line[IO_HOLDER], const char *path)
{
    *held = false;
    line[0] = '\0';
    const int file = call_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0 && errno == ENOENT) return STATUS_OK;
    if (file < 0) return call_fail(STATUS_IO, path, "open");
    *held = flock(file, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    read_holder(line, file);
    call_close(file);
    return STATUS_OK;
}

Status io_lock(int *descriptor, const char *path)
{
    *descriptor = -1;
    const int file = call_open(path, O_RDWR | O_CREAT | O_NOFOLLOW);
    if (file < 0) return call_fail(STATUS_IO, path, "open");

    Status status;
    if (flock_soon(file) == 0) {
        status = write_holder(file, path);
    } else if (errno == EWOULDBLOCK) {
        char line[IO_HOLDER];
        read_holder(line, file);
        status = status_fail(STATUS_LOCKED, "%s: held by %s", path, line);
    } else {
        status = call_fail(STATUS_IO, path, "lock");
    }
    if (status == STATUS_OK) {
        *descriptor = file;
    } else {
        call_close(file);
    }
    return status;
}

void io_unlock(int descriptor)
{
    if (descriptor < 0) return;
    flock(descriptor, LOCK_UN); /* at once, even where a child still has the descriptor */
    call_close(descriptor);
}
