/* Lets every allocation or every I/O call of a run fail in turn, or kills it there, without running
 * up to it each time: at each, the process is copied, the run's folder with it, and in the copy the
 * call fails. Where an HDF5 file is read, copies for allocations are made before: a reader that is
 * under way cannot be had twice. For tests/fault_run.py, which judges each copy; linked in by
 * --wrap, so no line of the program knows of it.
 *
 *     RLHF_EVERY_FAULT="WHAT FIRST STRIDE PLACE RUN ASK ANSWER"
 *         WHAT is memory, famine (memory that is gone for good), io or kill; calls FIRST,
 *         FIRST + STRIDE, ... (from 1; for allocations a file read counts as one); a copy works in
 *         the folder PLACE, on PLACE/RUN, with PLACE/errors as its standard error; when it has
 *         ended, "NAME STATUS" is written to the descriptor ASK, and a byte from ANSWER waited for.
 *         NAME is as in RLHF_MEMORY_FAULT and RLHF_IO_FAULT, or N/call-K and N/reader-K for the
 *         K-th allocation of the caller and of the reader of a file. A copy that got over what
 *         failed once is given up after a while, as UNHARMED.
 *
 * Without it the program is the program. One thread only: a copy has no other. */
#include "data/io.h"
#include "data/io_fault.h"
#include "data/memory.h"
#include "data/memory_fault.h"
#include "data/store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PATH_SIZE = 4096, NAME_SIZE = 64, COPY_SECONDS = 120 };
enum { NOT_STRUCK = 200, BROKEN = 201, UNHARMED = 202 }; /* no exit statuses of the program's */

/* So many folders does a copy make after a failure that it got over: the next step is committed by
 * then, or the next stage begun. */
enum { FOLLOWED = 1 };

static struct Plan {
    char what[16];
    long first, stride;
    char place[512], run[512];
    int ask, answer;
} plan;

static pid_t explorer; /* who makes copies; 0: nobody */
static bool asked, is_copy;
static long met;              /* allocations, and files read */
static bool reading;          /* such a file: no copies for allocations now */
static volatile bool *struck; /* shared with the reader: what was to fail did */
static bool for_good;         /* so does what follows */
static int made;              /* folders by a copy, after its failure */

/* The fault of a copy that was made to read a file; 0: none. */
static struct ReadFault {
    long call;
    bool in_reader;
} fault;

CallFault __real_fault_before(const char *kind);
CallFault __wrap_fault_before(const char *kind);
bool __real_memory_strikes(void);
bool __wrap_memory_strikes(void);
Status __real_store_read(StoreContent *content, const char *path, const Digest *expected,
                         const StoreField *schema, int count);
Status __wrap_store_read(StoreContent *content, const char *path, const Digest *expected,
                         const StoreField *schema, int count);
_Noreturn void __real_store_child(int to, pid_t parent, const StoreRequest *request);
_Noreturn void __wrap_store_child(int to, pid_t parent, const StoreRequest *request);

/* The harness itself fails; no status of the program's. */
static void need(bool held, const char *what)
{
    if (held) return;
    fprintf(stderr, "every_fault: %s: %s\n", what, strerror(errno));
    _exit(BROKEN);
}

static void ask_environment(void)
{
    asked = true;
    const char *text = getenv("RLHF_EVERY_FAULT");
    if (text == NULL) return;
    need(sscanf(text, "%15s %ld %ld %511s %511s %d %d", plan.what, &plan.first, &plan.stride,
                plan.place, plan.run, &plan.ask, &plan.answer) == 7 &&
             plan.first >= 1 && plan.stride >= 1,
         "the plan cannot be read");
    for_good = strcmp(plan.what, "famine") == 0;
    struck = mmap(NULL, sizeof *struck, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(struck != MAP_FAILED, "no shared memory");
    explorer = getpid();
}

/* Whether this is the process that makes copies, and for `what`. */
static bool explores(const char *what)
{
    if (!asked) ask_environment();
    return explorer == getpid() && !is_copy && strcmp(plan.what, what) == 0;
}

static bool explores_memory(void)
{
    return explores("memory") || explores("famine");
}

/* Whether it is the turn of the call that it meets. */
static bool is_turn(void)
{
    met++;
    return met >= plan.first && (met - plan.first) % plan.stride == 0;
}

static void copy_folder(void)
{
    if (access(plan.run, F_OK) != 0) return; /* not begun */
    char *words[] = {"cp", "-a", plan.run, plan.place, NULL};
    pid_t pid;
    int ending = 0;
    need(posix_spawnp(&pid, "cp", NULL, NULL, words, environ) == 0, "cannot start cp");
    need(waitpid(pid, &ending, 0) == pid && ending == 0, "cannot copy the folder");
}

/* A descriptor of a file of the run becomes one of its copy. */
static void move_descriptor(int descriptor, const char *here)
{
    char link[NAME_SIZE], target[PATH_SIZE], path[2 * PATH_SIZE];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, target, sizeof target - 1);
    if (length <= 0) return;
    target[length] = '\0';
    const size_t prefix = strlen(here);
    if (strncmp(target, here, prefix) != 0 || target[prefix] != '/') return;

    const int flags = fcntl(descriptor, F_GETFL), close_on_exec = fcntl(descriptor, F_GETFD);
    snprintf(path, sizeof path, "%s%s", plan.run, target + prefix);
    const int copy = open(path, flags & ~(O_CREAT | O_EXCL | O_TRUNC));
    need(copy >= 0, path);
    const bool is_lock = strcmp(target + prefix, "/lock") == 0;
    need(!is_lock || flock(copy, LOCK_EX | LOCK_NB) == 0, "cannot lock the copy");
    if (lseek(descriptor, 0, SEEK_CUR) > 0) lseek(copy, lseek(descriptor, 0, SEEK_CUR), SEEK_SET);
    need(dup2(copy, descriptor) == descriptor, "dup2");
    fcntl(descriptor, F_SETFD, close_on_exec);
    close(copy);
}

/* This process works in the copied folder from here on. */
static void move_in(void)
{
    char here[PATH_SIZE];
    need(realpath(".", here) != NULL, "where am I");
    need(strlen(here) + strlen(plan.run) + 2 < sizeof here, "the path is too long");
    strcat(strcat(here, "/"), plan.run);
    need(chdir(plan.place) == 0, plan.place);
    for (int descriptor = 3; descriptor < 256; descriptor++) move_descriptor(descriptor, here);
    const int errors = open("errors", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
    need(errors >= 0 && dup2(errors, 2) == 2, "cannot redirect the errors");
    close(errors);
}

/* Tells the judge how a copy ended, and waits until it is done with its folder. */
static void report(const char *name, int ending)
{
    char line[2 * NAME_SIZE], byte;
    const int status = WIFSIGNALED(ending) ? -WTERMSIG(ending) : WEXITSTATUS(ending);
    const int length = snprintf(line, sizeof line, "%s %d\n", name, status);
    need(write(plan.ask, line, (size_t)length) == length, "nobody listens");
    need(read(plan.answer, &byte, 1) == 1, "nobody answers");
}

/* True in the copy; false in the original once the copy has ended, with its status. */
static bool make_copy(const char *name, int *status)
{
    copy_folder();
    *struck = false;
    const pid_t pid = fork();
    need(pid >= 0, "cannot fork");
    if (pid == 0) {
        is_copy = true;
        alarm(COPY_SECONDS); /* no copy takes that long but one that hangs */
        move_in();
        return true;
    }
    int ending = 0;
    while (waitpid(pid, &ending, 0) < 0 && errno == EINTR) {
    }
    *status = WIFEXITED(ending) ? WEXITSTATUS(ending) : -1;
    report(name, ending);
    return false;
}

/* The number of this call of `kind`, from 1. */
static long count_kind(const char *kind)
{
    static const char *const known[] = {"open",     "write", "fsync",  "rename", "close",
                                        "truncate", "mkdir", "remove", "read"};
    enum { KINDS = sizeof known / sizeof known[0] };
    static long count[KINDS];
    int k = 0;
    while (k < KINDS && strcmp(known[k], kind) != 0) k++;
    need(k < KINDS, kind);
    return ++count[k];
}

/* One way in which a call may go wrong. */
typedef struct Way {
    const char *name;
    int error;
    bool only_write;
} Way;

static const Way failures[] = {
    {"EIO", EIO, 0}, {"ENOSPC", ENOSPC, 0}, {"EINTR", EINTR, 0}, {"short", FAULT_SHORT, 1}};
static const Way deaths[] = {{"kill", FAULT_KILL, 0}, {"torn", FAULT_TORN, 1}};

/* Copies in which this call of `kind` goes wrong so; in one of them it returns. */
static void try_way(const Way *way, const char *kind, long number, bool persistent)
{
    char name[NAME_SIZE];
    int status;
    if (is_copy || (way->only_write && strcmp(kind, "write") != 0)) return;
    snprintf(name, sizeof name, "%s:%ld:%s%s", kind, number, way->name,
             persistent ? ":persist" : "");
    if (!make_copy(name, &status)) return;
    *struck = true;
    for_good = persistent;
    io_fault(kind, 1, way->error, persistent);
}

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* A copy that goes on in spite of a failure does what the run does. It need not do so to the end
 * each time: its folder tells whether it is like one that was followed. */
static void follow(const char *kind)
{
    if (!is_copy || !*struck || for_good || strcmp(kind, "mkdir") != 0 || made++ < FOLLOWED) return;
    if (__lsan_do_recoverable_leak_check != NULL) __lsan_do_recoverable_leak_check();
    _exit(UNHARMED);
}

/* Nothing is lost by a reading that fails, so none is made to. */
CallFault __wrap_fault_before(const char *kind)
{
    follow(kind);
    const bool kills = explores("kill"), fails = explores("io") && strcmp(kind, "read") != 0;
    if (!kills && !fails) return __real_fault_before(kind);
    const long number = count_kind(kind);
    if (!is_turn()) return __real_fault_before(kind);
    for (size_t i = 0; kills && i < sizeof deaths / sizeof deaths[0]; i++) {
        try_way(&deaths[i], kind, number, false);
    }
    for (size_t i = 0; fails && i < sizeof failures / sizeof failures[0]; i++) {
        try_way(&failures[i], kind, number, false);
        try_way(&failures[i], kind, number, true);
    }
    return __real_fault_before(kind);
}

bool __wrap_memory_strikes(void)
{
    if (!reading && explores_memory() && is_turn()) {
        char name[NAME_SIZE];
        int status;
        snprintf(name, sizeof name, "%ld%s", met, for_good ? ":persist" : "");
        if (make_copy(name, &status)) memory_fault(1, for_good);
    }
    const bool strikes = __real_memory_strikes();
    if (strikes && struck != NULL) *struck = true;
    return strikes;
}

_Noreturn void __wrap_store_child(int to, pid_t parent, const StoreRequest *request)
{
    if (fault.call > 0) memory_fault(fault.in_reader ? fault.call : 0, for_good);
    __real_store_child(to, parent, request);
}

/* Copies that read with each allocation failing, until there are no more. True in a copy. */
static bool make_reading_copies(bool in_reader)
{
    int status = 0;
    for (long call = 1; status != NOT_STRUCK; call++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "%ld/%s-%ld%s", met, in_reader ? "reader" : "call", call,
                 for_good ? ":persist" : "");
        if (!make_copy(name, &status)) continue;
        fault = (struct ReadFault){call, in_reader};
        if (!in_reader) memory_fault(call, for_good);
        return true;
    }
    return false;
}

Status __wrap_store_read(StoreContent *content, const char *path, const Digest *expected,
                         const StoreField *schema, int count)
{
    if (explores_memory() && is_turn() && !make_reading_copies(false)) make_reading_copies(true);
    reading = true;
    const Status found = __real_store_read(content, path, expected, schema, count);
    reading = false;
    if (fault.call > 0 && !*struck) _exit(NOT_STRUCK);
    fault.call = 0;
    return found;
}
