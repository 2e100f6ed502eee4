/* Errors: every function that can fail returns a Status; results leave through
 * pointers that come first. The text of the failure belongs to the thread that
 * met it and is one line: lower case, values included, no full stop.
 *
 * The values are the exit statuses of the program, so nothing translates them. */
#ifndef DATA_STATUS_H
#define DATA_STATUS_H

#include <stdarg.h>

#if defined(__clang__)
#define STATUS_MUST_USE __attribute__((warn_unused_result))
#else
#define STATUS_MUST_USE
#endif

typedef enum STATUS_MUST_USE Status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,   /* memory, and what has no number of its own */
    STATUS_USAGE = 2,    /* a flag or an argument */
    STATUS_SETTINGS = 3, /* a setting, or a directory that already holds a run */
    STATUS_DATA = 4,     /* missing, truncated, foreign or mismatching data */
    STATUS_IO = 5,       /* unwritable, full, not synced */
    STATUS_DIVERGED = 6, /* a number is not finite, or above its limit */
    STATUS_LOCKED = 7,   /* another process holds the run directory */
    STATUS_BROKEN = 8,   /* a broken invariant or a failed verification */
    STATUS_GATE = 9,     /* a gate stopped the run */
    STATUS_STOPPED = 75, /* stopped by a signal or a time limit, after a commit */
} Status;

/* The only maker of a failure: records the text and returns `code`. */
Status status_fail(Status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
Status status_fail_list(Status code, const char *format, va_list values)
    __attribute__((format(printf, 2, 0)));

/* Puts "where: " in front of the text of a failure; passes STATUS_OK through. */
Status status_context(Status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The text of this thread's last failure, "" if there was none. */
const char *status_message(void);

/* That text copied, and put back behind calls that may have failed with another. */
enum { STATUS_TEXT = 2048 };
void status_keep(char text[STATUS_TEXT]);
void status_restore(const char text[STATUS_TEXT]);

/* Makes a call whose failure matters to nobody, such as closing what is given up anyway: the text
 * of the failure before it stands. */
#define STATUS_ASIDE(call)                                                                         \
    do {                                                                                           \
        char status_before[STATUS_TEXT];                                                           \
        status_keep(status_before);                                                                \
        if ((call) != STATUS_OK) status_restore(status_before);                                    \
    } while (0)

/* Leaves the calling function with the failure of `call`. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        const Status try_status = (call);                                                          \
        if (try_status != STATUS_OK) return try_status;                                            \
    } while (0)

#endif
