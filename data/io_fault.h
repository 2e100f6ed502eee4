/* Faults that a test plans for the system calls of data/io, from inside (io_fault in data/io.h) or
 * from outside by two environment variables, and a trace of the calls. For data/io*.c only.
 *
 *     RLHF_IO_FAULT=KIND:N:ACTION[:persist]
 *         KIND    open, write, fsync, rename, close, read, truncate, mkdir, remove or any
 *         N       the N-th call of that kind, from 1
 *         ACTION  an errno (EIO, ENOSPC, EDQUOT, EINTR, EACCES, EROFS, EMFILE): the call fails;
 *                 short: a write writes half; kill: SIGKILL instead of the call;
 *                 torn: half a write and then SIGKILL, kill for other calls
 *         persist all calls after it too
 *     RLHF_IO_TRACE=FILE   appends a line a call: kind, result, descriptor, path ("-": none);
 *         before "rename" a line "from"; the descriptor of "open" is 64 where it may create
 *
 * They are in every build, so that what is tested is what people run; unset they cost a comparison
 * a call. One that cannot be read makes every call fail with EINVAL: no test passes by a slip. */
#ifndef DATA_IO_FAULT_H
#define DATA_IO_FAULT_H

/* What a call is to do. */
typedef enum CallFault {
    CALL_GOES,  /* its work */
    CALL_FAILS, /* nothing; errno is set */
    CALL_SHORT, /* half of a write */
    CALL_TORN,  /* half of a write, then fault_kill */
} CallFault;

/* What io_fault takes beside an errno. */
enum { FAULT_SHORT = 0, FAULT_KILL = -1, FAULT_TORN = -2 };

/* Asked before every call. Does not return where the process is to die here. */
CallFault fault_before(const char *kind);
void fault_kill(void);

/* Told after every call; leaves errno alone. `path` may be NULL. */
void fault_trace(const char *kind, long result, int descriptor, const char *path);

#endif
