/* data/io: whole files or none, every failing call ends in a line, locks, logs, folders. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void expect_content(const char *path, const char *expected)
{
    Bytes bytes = {0};
    assert_ok(io_read(&bytes, path, 1 << 20));
    assert_int_equal(bytes.count, strlen(expected));
    assert_string_equal(bytes.data != NULL ? bytes.data : "", expected);
    bytes_free(&bytes);
}

static int files_in_folder(void)
{
    Texts names = {0};
    assert_ok(io_list(&names, folder));
    const int count = names.count;
    texts_free(&names);
    return count;
}

/* The empty string's hash is a published constant of XXH3-128 (seed 0). */
static void digest_is_xxh3_and_survives_its_text(void **state)
{
    (void)state;
    char text[DIGEST_TEXT];
    digest_text(text, digest_of("", 0));
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
    const Digest digest = {.high = 0x0123456789abcdefULL, .low = 0x00000000fedcba98ULL};
    Digest again;
    digest_text(text, digest);
    assert_string_equal(text, "0123456789abcdef00000000fedcba98");
    assert_true(digest_parse(&again, text));
    assert_true(digest_equal(digest, again));
    assert_false(digest_equal(digest, digest_of("", 0)));
    assert_false(digest_parse(&again, ""));
    assert_false(digest_parse(&again, "0123456789abcdef00000000fedcba9"));
    assert_false(digest_parse(&again, "0123456789abcdef00000000fedcba980"));
    assert_false(digest_parse(&again, "0123456789abcdeg00000000fedcba98"));
}

static void publish_replaces_and_leaves_one_file(void **state)
{
    (void)state;
    assert_ok(io_publish(in("a"), "first", 5));
    expect_content(in("a"), "first");
    assert_ok(io_publish(in("a"), "second one", 10));
    expect_content(in("a"), "second one");
    assert_ok(io_publish(in("a"), "", 0));
    expect_content(in("a"), "");
    assert_int_equal(files_in_folder(), 1);
}

/* Each system call of a publish fails in turn, once and for good: the old file stands, or, where
 * only the folder's sync failed, the new one; never a third thing, and no temporary name, unless
 * removing it fails too. */
static void publish_is_whole_or_not_at_all(void **state)
{
    (void)state;
    for (int persistent = 0; persistent <= 1; persistent++) {
        int failures = 0;
        for (long call = 1;; call++) {
            io_fault(NULL, 0, 0, false);
            assert_ok(io_publish(in("a"), "old", 3));
            io_fault(NULL, call, EIO, persistent != 0);
            const Status status = io_publish(in("a"), "new!", 4);
            io_fault(NULL, 0, 0, false);
            assert_in_range(files_in_folder(), 1, 1 + persistent);
            if (status == STATUS_OK) break;

            failures++;
            assert_int_equal(status, STATUS_IO);
            assert_non_null(strstr(status_message(), "/a: "));
            assert_non_null(strstr(status_message(), "Input/output error"));
            Bytes bytes = {0};
            assert_ok(io_read(&bytes, in("a"), 100));
            assert_true(strcmp(bytes.data, "old") == 0 || strcmp(bytes.data, "new!") == 0);
            bytes_free(&bytes);
        }
        /* open, truncate, write, fsync, rename, close; open, fsync, close of the folder */
        assert_int_equal(failures, 9);
    }
}

static void failures_name_the_file_the_deed_and_the_cause(void **state)
{
    (void)state;
    char expected[256];
    static const char bytes[4096];
    io_fault("write", 1, ENOSPC, false);
    snprintf(expected, sizeof expected,
             "%s/policy.h5: cannot write 4096 bytes: No space left on device", folder);
    assert_fails(io_publish(in("policy.h5"), bytes, sizeof bytes), STATUS_IO, expected);
    io_fault("fsync", 1, EIO, false);
    assert_fails(io_publish(in("a"), "x", 1), STATUS_IO, "/a: cannot sync: Input/output error");
    io_fault("rename", 1, EACCES, false);
    assert_fails(io_publish(in("a"), "x", 1), STATUS_IO,
                 "/a: cannot rename into place: Permission");
    assert_fails(io_publish(in("none/a"), "x", 1), STATUS_IO,
                 "none/a: cannot create: No such file");
    assert_int_equal(files_in_folder(), 0);
}

static void interrupted_and_short_writes_go_on(void **state)
{
    (void)state;
    io_fault("write", 1, EINTR, false);
    assert_ok(io_publish(in("a"), "interrupted", 11));
    expect_content(in("a"), "interrupted");
    io_fault("write", 1, 0, true); /* half of what is left, each time */
    assert_ok(io_publish(in("a"), "0123456789abcdef0123456789abcdef", 32));
    io_fault(NULL, 0, 0, false);
    expect_content(in("a"), "0123456789abcdef0123456789abcdef");
    io_fault("fsync", 1, EINTR, false);
    assert_ok(io_publish(in("a"), "synced", 6));
}

static void a_real_size_limit_is_a_plain_error(void **state)
{
    (void)state;
    struct rlimit before, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 50000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    static const char bytes[100000];
    const Status status = io_publish(in("a"), bytes, sizeof bytes);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_fails(status, STATUS_IO, "/a: cannot write 100000 bytes: File too large");
    assert_int_equal(files_in_folder(), 0);
}

static void what_a_killed_run_left_is_reused(void **state)
{
    (void)state;
    const int left = open(in(".a.part"), O_WRONLY | O_CREAT, 0666);
    assert_int_equal(write(left, "half of something longer", 24), 24);
    close(left);
    assert_ok(io_publish(in("a"), "whole", 5));
    expect_content(in("a"), "whole");
    assert_int_equal(files_in_folder(), 1);
}

static void read_refuses_what_is_no_plain_file(void **state)
{
    (void)state;
    Bytes bytes = {0};
    assert_ok(bytes_text(&bytes, "kept "));
    assert_fails(io_read(&bytes, in("none"), 10), STATUS_DATA, "/none: missing");
    assert_fails(io_read(&bytes, folder, 10), STATUS_DATA, "not a regular file");
    assert_int_equal(mkfifo(in("pipe"), 0666), 0);
    assert_fails(io_read(&bytes, in("pipe"), 10), STATUS_DATA, "/pipe: not a regular file");
    assert_ok(io_publish(in("a"), "12345678901", 11));
    assert_fails(io_read(&bytes, in("a"), 10), STATUS_DATA, "/a: 11 bytes, at most 10 are read");
    io_fault("read", 2, EIO, false);
    assert_fails(io_read(&bytes, in("a"), 11), STATUS_IO, "/a: cannot read: Input/output");
    assert_string_equal(bytes.data, "kept ");
    assert_ok(io_read(&bytes, in("a"), 11));
    assert_string_equal(bytes.data, "kept 12345678901");
    bytes_free(&bytes);
    /* A file of the kernel says it has 0 bytes. */
    assert_ok(io_read(&bytes, "/proc/self/statm", 4096));
    assert_true(bytes.count > 0);
    bytes_free(&bytes);
}

static void a_log_grows_by_whole_records(void **state)
{
    (void)state;
    IoLog log;
    assert_ok(io_log_open(&log, in("log"), false));
    assert_ok(io_log_append(&log, "one\n", 4));
    /* The first write is short, the next has no room: the half record is taken back. */
    io_fault("write", 1, 0, false);
    assert_ok(io_log_append(&log, "two\n", 4));
    struct rlimit before, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 10;
    setrlimit(RLIMIT_FSIZE, &small);
    const Status status = io_log_append(&log, "three\n", 6);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_fails(status, STATUS_IO, "/log: cannot write 6 bytes: File too large");
    expect_content(in("log"), "one\ntwo\n");
    assert_ok(io_log_append(&log, "four\n", 5));
    assert_ok(io_log_sync(&log));
    assert_ok(io_log_close(&log));
    assert_ok(io_log_close(&log));

    assert_ok(io_log_cut(in("log"), 4));
    expect_content(in("log"), "one\n");
    assert_fails(io_log_cut(in("log"), 5), STATUS_DATA, "/log: 4 bytes, but 5 were committed");
    assert_ok(io_log_open(&log, in("log"), false));
    assert_ok(io_log_append(&log, "more\n", 5));
    assert_ok(io_log_close(&log));
    expect_content(in("log"), "one\nmore\n");
    assert_ok(io_log_open(&log, in("log"), true));
    assert_ok(io_log_close(&log));
    expect_content(in("log"), "");
    const int input = fcntl(0, F_GETFD);
    assert_ok(io_log_close(&(IoLog){0})); /* never opened: not standard input */
    assert_int_equal(fcntl(0, F_GETFD), input);
}

/* A stranger's run directory may link its journal to a file of ours. */
static void a_log_is_not_written_through_a_link(void **state)
{
    (void)state;
    IoLog log;
    assert_ok(io_publish(in("profile"), "mine\n", 5));
    assert_int_equal(symlink("profile", in("log")), 0);
    const char *const said = "/log: a symbolic link, which is not followed for writing";
    assert_fails(io_log_open(&log, in("log"), false), STATUS_IO, said);
    assert_fails(io_log_open(&log, in("log"), true), STATUS_IO, said);
    assert_ok(io_log_close(&log));
    assert_fails(io_log_cut(in("log"), 0), STATUS_IO, said);
    expect_content(in("profile"), "mine\n");
}

static void folders_are_made_listed_measured_and_removed(void **state)
{
    (void)state;
    assert_ok(io_make_folder(in("x/y/z")));
    assert_ok(io_make_folder(in("x/y/z")));
    assert_ok(io_publish(in("x/b"), "12", 2));
    assert_ok(io_publish(in("x/y/a"), "345", 3));
    assert_ok(io_publish(in("x/B"), "", 0));
    assert_fails(io_make_folder(in("x/b")), STATUS_IO, "x/b: cannot make the folder: a file has");
    assert_fails(io_make_folder(in("x/b/c")), STATUS_IO,
                 "x/b/c: cannot make the folder: Not a dir");

    Texts names = {0};
    size_t size;
    assert_ok(io_list(&names, in("x")));
    assert_int_equal(names.count, 3);
    assert_memory_equal(texts_at(&names, 0, &size), "B", 1);
    assert_memory_equal(texts_at(&names, 1, &size), "b", 1);
    assert_memory_equal(texts_at(&names, 2, &size), "y", 1);
    texts_free(&names);
    assert_fails(io_list(&names, in("none")), STATUS_DATA, "/none: missing");

    uint64_t bytes;
    assert_ok(io_size(&bytes, in("x/y/a")));
    assert_int_equal(bytes, 3);
    assert_fails(io_size(&bytes, in("none")), STATUS_DATA, "/none: missing");
    assert_ok(io_usage(&bytes, folder));
    assert_int_equal(bytes, 5);
    assert_ok(io_free_space(&bytes, in("not/there/yet")));
    assert_true(bytes > 0);

    assert_ok(io_rename(in("x/b"), in("x/c")));
    assert_false(io_exists(in("x/b")));
    assert_fails(io_rename(in("x/b"), in("x/c")), STATUS_IO, "x/b: cannot rename to ");
    assert_ok(io_remove(in("x/c")));
    assert_ok(io_remove(in("x/c")));

    /* A link out of the tree is removed, what it points to is not. */
    assert_ok(io_publish(in("outside"), "stays", 5));
    assert_int_equal(symlink(folder, in("x/link")), 0);
    assert_ok(io_remove_tree(in("x")));
    assert_ok(io_remove_tree(in("x")));
    assert_false(io_exists(in("x")));
    expect_content(in("outside"), "stays");
}

static char vanishing[128]; /* goes when it is opened; "": none */

/* In libc's place: between a look at a folder and its opening another process may remove it. */
DIR *opendir(const char *path)
{
    if (vanishing[0] != '\0' && strcmp(path, vanishing) == 0) assert_int_equal(rmdir(path), 0);
    const int file = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return file < 0 ? NULL : fdopendir(file);
}

static void a_folder_that_vanishes_is_passed_over(void **state)
{
    (void)state;
    uint64_t bytes;
    assert_ok(io_make_folder(in("run/gone")));
    assert_ok(io_publish(in("run/a"), "123", 3));
    assert_ok(io_publish(in("run/z"), "4567", 4));
    snprintf(vanishing, sizeof vanishing, "%s", in("run/gone"));
    assert_ok(io_usage(&bytes, in("run")));
    assert_int_equal(bytes, 7);
    assert_ok(io_make_folder(vanishing));
    assert_ok(io_remove_tree(in("run")));
    vanishing[0] = '\0';
    assert_false(io_exists(in("run")));
    Texts names = {0};
    assert_fails(io_list(&names, in("run")), STATUS_DATA, "/run: missing");
}

static void a_lock_is_held_once_and_names_its_holder(void **state)
{
    (void)state;
    int first, second;
    char pid[64];
    snprintf(pid, sizeof pid, "held by pid %ld on host ", (long)getpid());
    assert_ok(io_lock(&first, in("lock")));
    assert_fails(io_lock(&second, in("lock")), STATUS_LOCKED, pid);
    assert_int_equal(second, -1);
    io_unlock(first);
    assert_ok(io_lock(&second, in("lock")));
    io_unlock(second);
    io_unlock(-1);
}

static void a_lock_dies_with_its_holder(void **state)
{
    (void)state;
    int ready[2], lock;
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t holder = fork();
    if (holder == 0) {
        if (io_lock(&lock, in("lock")) != STATUS_OK || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_fails(io_lock(&lock, in("lock")), STATUS_LOCKED, "/lock: held by pid ");
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    assert_ok(io_lock(&lock, in("lock")));
    io_unlock(lock);
}

/* In a process of its own: the environment is looked at once, at the first call. */
static bool plan_is_read(const char *plan)
{
    const pid_t child = fork();
    if (child == 0) {
        if (setenv("RLHF_IO_FAULT", plan, 1) != 0) _exit(2);
        _exit(io_remove("/tmp/rlhf-no-such-file") == STATUS_OK ? 0 : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) < 2);
    return WEXITSTATUS(result) == 0;
}

static void a_fault_plan_is_read_whole_or_refused(void **state)
{
    (void)state;
    assert_true(plan_is_read("write:3:EIO"));
    assert_true(plan_is_read("write:3:EIO:persist"));
    assert_true(plan_is_read("any:99:kill"));
    static const char *const wrong[] = {
        "",
        "write",
        "write:3",
        "write:3:",
        "write:0:EIO",
        "write:3:EIO:",
        "write:3:EIO:PERSIST",
        "write:3:EIO:persistent",
        "write:3:EIO:persist ",
        "write:3:EIO42",
        "write:3:EIO ",
        "write:3:NONE",
        "writes:3:EIO",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (plan_is_read(wrong[i])) fail_msg("\"%s\" is read", wrong[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_plan_is_read_whole_or_refused), /* before any call of this one */
        cmocka_unit_test(digest_is_xxh3_and_survives_its_text),
        IN_FOLDER(publish_replaces_and_leaves_one_file),
        IN_FOLDER(publish_is_whole_or_not_at_all),
        IN_FOLDER(failures_name_the_file_the_deed_and_the_cause),
        IN_FOLDER(interrupted_and_short_writes_go_on),
        IN_FOLDER(a_real_size_limit_is_a_plain_error),
        IN_FOLDER(what_a_killed_run_left_is_reused),
        IN_FOLDER(read_refuses_what_is_no_plain_file),
        IN_FOLDER(a_log_grows_by_whole_records),
        IN_FOLDER(a_log_is_not_written_through_a_link),
        IN_FOLDER(folders_are_made_listed_measured_and_removed),
        IN_FOLDER(a_folder_that_vanishes_is_passed_over),
        IN_FOLDER(a_lock_is_held_once_and_names_its_holder),
        IN_FOLDER(a_lock_dies_with_its_holder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
