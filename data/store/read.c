/* Reading: the parent reads the file's bytes, checks their hash and forks; the child, which may
 * open nothing and has little memory and time, parses them and sends plain arrays through a pipe.
 * The parent believes nothing of it: what comes is checked against the schema again (reply.c). */
#include "data/store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WALL_SECONDS = 120, IDLE_SECONDS = 5, ATTEMPTS = 3 };

/* Unpacking takes under 10 ms a MB; a crafted file can keep the library busy for ever. */
enum { CPU_SECONDS = 3, CPU_BYTES_A_SECOND = 2 << 20 };

/* Whether a lock that a fork caught is waited for without sleeping: gcc 12's address sanitizer has
 * such locks in its allocator and lets go of none on forking. */
#ifdef __SANITIZE_ADDRESS__
enum { LOCKS_SPIN = true };
#else
enum { LOCKS_SPIN = false };
#endif

typedef struct Child {
    pid_t pid;
    int from;
    double deadline; /* seconds, monotonic */
    double work;     /* seconds of CPU it had used when last asked */
    bool late;
    bool stuck;   /* it neither says nor does anything */
    bool hopeful; /* another try may do better */
    bool ended;   /* its end of the pipe is closed */
} Child;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Seconds of CPU the child has used. */
static double work_of(const Child *child)
{
    clockid_t clock;
    struct timespec time = {0};
    if (clock_getcpuclockid(child->pid, &clock) != 0) return 0.0;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Waits for something to read; false: too late, or the child stands still. A fork can catch another
 * thread inside a library's lock: such a child waits for ever and is told by its CPU clock, which
 * does not move. */
static bool wait_for(Child *child)
{
    for (;;) {
        const double left = child->deadline - now();
        const double patience = left < IDLE_SECONDS ? left : IDLE_SECONDS;
        struct pollfd watched = {.fd = child->from, .events = POLLIN};
        const int ready = left > 0 ? poll(&watched, 1, (int)(patience * 1000) + 1) : 0;
        if (ready > 0) return true;
        if (ready < 0 && errno == EINTR) continue;
        const double work = work_of(child);
        child->stuck = left > 0 && work <= child->work;
        child->work = work;
        if (child->stuck || left <= 0) {
            child->late = true;
            return false;
        }
    }
}

static Status receive(void *context, void *bytes, size_t count)
{
    Child *child = context;
    char *at = bytes;
    while (count > 0 && wait_for(child)) {
        const ssize_t got = read(child->from, at, count);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            child->ended = true;
            break;
        }
        at += got;
        count -= (size_t)got;
    }
    if (count == 0) return STATUS_OK;
    return status_fail(STATUS_DATA, "reading it stopped half-way");
}

/* How the child ended, where that explains `status`. */
static Status explain(const Child *child, int ending, const StoreRequest *request, Status status)
{
    if (child->stuck) return status_fail(STATUS_FAILED, "its reader stands still");
    if (child->late) {
        return status_fail(STATUS_DATA, "the HDF5 library took more than %d s to read it",
                           WALL_SECONDS);
    }
    if (!child->ended) return status;
    if (WIFSIGNALED(ending) && WTERMSIG(ending) == SIGXCPU) {
        return status_fail(STATUS_DATA, "the HDF5 library took more than %u s to read it",
                           request->seconds);
    }
    if (WIFSIGNALED(ending) && WTERMSIG(ending) == SIGKILL) {
        return status_fail(STATUS_DATA, "its reader had to be killed, or memory ran out");
    }
    if (WIFSIGNALED(ending)) {
        return status_fail(STATUS_DATA, "the HDF5 library crashed on it (signal %d, %s)",
                           WTERMSIG(ending), strsignal(WTERMSIG(ending)));
    }
    if (WEXITSTATUS(ending) != 0) {
        return status_fail(STATUS_DATA, "the HDF5 library failed on it (exit status %d)",
                           WEXITSTATUS(ending));
    }
    return status;
}

/* Ends the child, which has nothing more to say. */
static Status reap(Child *child, const StoreRequest *request, Status status)
{
    char none;
    if (status == STATUS_OK && receive(child, &none, 1) == STATUS_OK) {
        status = status_fail(STATUS_DATA, "there is more in it than it declares");
    }
    close(child->from);
    kill(child->pid, SIGKILL); /* who only closed the pipe may live on; who has ended stays so */
    int ending = 0;
    while (waitpid(child->pid, &ending, 0) < 0 && errno == EINTR) {
    }
    const bool tired = WIFSIGNALED(ending) && WTERMSIG(ending) == SIGXCPU;
    child->hopeful = child->stuck || (LOCKS_SPIN && tired);
    return explain(child, ending, request, status);
}

/* Pages of address space this process has: the child starts with as many. */
static Status measure_mapped(size_t *mapped)
{
    Bytes text = {0};
    unsigned long long pages = 0;
    Status status = io_read(&text, "/proc/self/statm", 4096);
    if (status == STATUS_OK && sscanf(text.data, "%llu", &pages) != 1) {
        status = status_fail(STATUS_IO, "/proc/self/statm: not a number");
    }
    bytes_free(&text);
    *mapped = (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
    return status;
}

static Status start(Child *child, const StoreRequest *request)
{
    int ends[2];
    const pid_t self = getpid();
    if (pipe(ends) < 0) {
        return status_fail(STATUS_FAILED, "cannot make a pipe: %s", strerror(errno));
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    *child = (Child){.from = ends[0], .deadline = now() + WALL_SECONDS};
    child->pid = fork();
    if (child->pid == 0) store_child(ends[1], self, request);

    const int error = errno;
    close(ends[1]);
    if (child->pid < 0) {
        close(ends[0]);
        return status_fail(STATUS_FAILED, "cannot start a reader: %s", strerror(error));
    }
    return STATUS_OK;
}

static Status parse(StoreContent *content, Bytes *image, const StoreField *schema, int count)
{
    StoreRequest request = {.image = image, .schema = schema, .count = count};
    request.seconds = CPU_SECONDS + (unsigned)(image->count / CPU_BYTES_A_SECOND);
    Child child = {.hopeful = true};
    Status status = STATUS_OK;
    TRY(measure_mapped(&request.mapped));
    for (int attempt = 0; child.hopeful && attempt < ATTEMPTS; attempt++) {
        TRY(start(&child, &request));
        const StoreSource source = {receive, &child};
        status = reap(&child, &request, store_collect(content, &source, &request));
        if (status != STATUS_OK) store_content_free(content);
    }
    return status;
}

static Status check_bytes(const Bytes *image, const Digest *expected)
{
    static const char signature[] = "\211HDF\r\n\032\n";
    if (expected != NULL) {
        char found_text[DIGEST_TEXT], expected_text[DIGEST_TEXT];
        const Digest found = digest_of(image->data, image->count);
        digest_text(found_text, found);
        digest_text(expected_text, *expected);
        if (!digest_equal(found, *expected)) {
            return status_fail(STATUS_DATA, "hash is %s, not %s: changed since it was published",
                               found_text, expected_text);
        }
    }
    if (image->count < sizeof signature - 1 ||
        memcmp(image->data, signature, sizeof signature - 1) != 0) {
        return status_fail(STATUS_DATA, "not an HDF5 file");
    }
    return STATUS_OK;
}

Status store_read(StoreContent *content, const char *path, const Digest *expected,
                  const StoreField *schema, int count)
{
    *content = (StoreContent){0};
    store_setup();
    Bytes image = {0};
    Status status = io_read(&image, path, STORE_FILE_MAX);
    if (status == STATUS_OK) {
        status = check_bytes(&image, expected);
        if (status == STATUS_OK) status = parse(content, &image, schema, count);
        status = status_context(status, "%s", path);
    }
    bytes_free(&image);
    return status;
}

void store_content_free(StoreContent *content)
{
    memory_release(content->memory);
    *content = (StoreContent){0};
}
