/* What every test program needs: cmocka, closeness with a message, a folder to write in. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/io.h"
#include "data/memory.h"
#include "data/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* |actual - expected| <= absolute + relative * |expected|. */
static inline void check_close(double actual, double expected, double absolute, double relative,
                               const char *file, int line)
{
    const double allowed = absolute + relative * fabs(expected);
    if (!(fabs(actual - expected) <= allowed)) {
        print_error("%.17g, expected %.17g (within %g)\n", actual, expected, allowed);
        _fail(file, line);
    }
}
#define assert_close(actual, expected, absolute, relative)                                         \
    check_close((actual), (expected), (absolute), (relative), __FILE__, __LINE__)

/* The call succeeds; otherwise its message is shown. */
static inline void check_ok(Status status, const char *file, int line)
{
    if (status != STATUS_OK) {
        print_error("status %d: %s\n", (int)status, status_message());
        _fail(file, line);
    }
}
#define assert_ok(call) check_ok((call), __FILE__, __LINE__)

/* The call fails with `code` and its text contains `part`. */
static inline void check_fails(Status status, Status code, const char *part, const char *file,
                               int line)
{
    if (status != code || strstr(status_message(), part) == NULL) {
        print_error("status %d \"%s\", expected %d \"...%s...\"\n", (int)status, status_message(),
                    (int)code, part);
        _fail(file, line);
    }
}
#define assert_fails(call, code, part) check_fails((call), (code), (part), __FILE__, __LINE__)

static char test_root[32]; /* holds this program's folders */
static pid_t test_owner;

static inline void test_root_drop(void)
{
    if (getpid() != test_owner) return; /* a forked child */
    io_fault(NULL, 0, 0, false);
    memory_fault(0, 0);
    (void)io_remove_tree(test_root);
}

/* A fresh folder under the system's temporary one; `path` has room for 64 bytes. It goes when the
 * program ends, whether its tests passed or not. */
static inline void test_folder(char path[64])
{
    if (test_root[0] == '\0') {
        snprintf(test_root, sizeof test_root, "/tmp/rlhf-test-XXXXXX");
        assert_non_null(mkdtemp(test_root));
        test_owner = getpid();
        atexit(test_root_drop);
    }
    snprintf(path, 64, "%s/XXXXXX", test_root);
    assert_non_null(mkdtemp(path));
}

#endif
