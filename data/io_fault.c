#include "data/io_fault.h"

#include "data/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KIND_TEXT = 16, TRACE_LINE = 2300 };

/* A planned fault. */
static const char *fault_kind;
static long fault_countdown; /* 0: none */
static int fault_action;
static bool fault_persistent;

static bool asked; /* the environment was looked at */
static int trace = -1;

void io_fault(const char *kind, long call, int error, bool persistent)
{
    asked = true;
    fault_kind = kind;
    fault_countdown = call;
    fault_action = error;
    fault_persistent = persistent;
}

static bool parse_action(int *action, const char *name)
{
    static const struct {
        const char *name;
        int action;
    } known[] = {{"EIO", EIO},         {"ENOSPC", ENOSPC},      {"EDQUOT", EDQUOT},
                 {"EINTR", EINTR},     {"EACCES", EACCES},      {"EROFS", EROFS},
                 {"EMFILE", EMFILE},   {"short", FAULT_SHORT}, {"kill", FAULT_KILL},
                 {"torn", FAULT_TORN}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) != 0) continue;
        *action = known[i].action;
        return true;
    }
    return false;
}

static bool parse_kind(const char **kind, const char *name)
{
    static const char *const known[] = {"open", "write",    "fsync", "rename", "close",
                                        "read", "truncate", "mkdir", "remove"};
    *kind = NULL;
    if (strcmp(name, "any") == 0) return true;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i]) == 0) *kind = known[i];
    }
    return *kind != NULL;
}

/* KIND:N:ACTION[:persist] */
static bool plan_from(const char *text)
{
    char kind[KIND_TEXT], action[KIND_TEXT];
    long call;
    int used;
    if (sscanf(text, "%15[a-z]:%ld:%15[A-Za-z]%n", kind, &call, action, &used) != 3) return false;
    const bool persistent = strcmp(text + used, ":persist") == 0;
    if ((text[used] != '\0' && !persistent) || call < 1) return false;
    if (!parse_kind(&fault_kind, kind) || !parse_action(&fault_action, action)) return false;
    fault_countdown = call;
    fault_persistent = persistent;
    return true;
}

static void ask_environment(void)
{
    asked = true;
    const char *fault = getenv("RLHF_IO_FAULT"), *path = getenv("RLHF_IO_TRACE");
    if (path != NULL) trace = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const bool untraced = path != NULL && trace < 0;
    if (untraced || (fault != NULL && !plan_from(fault))) io_fault(NULL, 1, EINVAL, true);
}

void fault_kill(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

CallFault fault_before(const char *kind)
{
    if (!asked) ask_environment();
    if (fault_countdown == 0) return CALL_GOES;
    if (fault_kind != NULL && strcmp(fault_kind, kind) != 0) return CALL_GOES;
    if (fault_countdown > 1) {
        fault_countdown--;
        return CALL_GOES;
    }
    if (!fault_persistent) fault_countdown = 0;

    const bool writes = strcmp(kind, "write") == 0;
    if (fault_action == FAULT_KILL || (fault_action == FAULT_TORN && !writes)) fault_kill();
    if (fault_action == FAULT_TORN) return CALL_TORN;
    if (fault_action == FAULT_SHORT) return writes ? CALL_SHORT : CALL_GOES;
    errno = fault_action;
    return CALL_FAILS;
}

void fault_trace(const char *kind, long result, int descriptor, const char *path)
{
    if (trace < 0) return;
    const int error = errno;
    char line[TRACE_LINE];
    const int length = snprintf(line, sizeof line, "%s %ld %d %s\n", kind, result, descriptor,
                                path != NULL ? path : "-");
    const size_t count = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
    if (write(trace, line, count) != (ssize_t)count) fault_kill(); /* a trace with a gap misleads */
    errno = error;
}
