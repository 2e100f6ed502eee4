/* run_dir: who holds a run, and what its lives were. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/path.h"
#include "data/run_dir.h"

#include <sys/stat.h>
#include <sys/wait.h>

static void a_run_directory_is_held_by_one_process(void **state)
{
    (void)state;
    const char *path = in("deep/er");
    assert_false(run_dir_exists(path));
    RunDir held;
    assert_ok(run_dir_open(&held, path));
    assert_string_equal(held.path, path);
    const pid_t child = fork();
    if (child == 0) {
        RunDir second;
        const Status status = run_dir_open(&second, path);
        _exit(status == STATUS_LOCKED && strstr(status_message(), "lock: held by pid ") != NULL
                  ? 0
                  : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);

    assert_ok(run_dir_write_config(&held, "{}\n"));
    assert_true(run_dir_exists(path));
    assert_file(in("deep/er/config.json"), "{}\n");
    run_dir_close(&held);
    run_dir_close(&held);
    assert_ok(run_dir_open(&held, path));
    run_dir_close(&held);
    assert_fails(run_dir_open(&held, "/proc/rlhf"), STATUS_IO, "/proc/rlhf: ");
}

static void every_life_is_an_entry(void **state)
{
    (void)state;
    RunDir dir;
    assert_ok(run_dir_open(&dir, folder));
    assert_ok(run_dir_add_life(&dir, "{\"threads\": 2, \"host\": \"a\", \"load\": [0.5, null]}"));
    assert_ok(run_dir_add_life(&dir, "{\"threads\": 4}"));
    assert_file(in("run.json"), "{\n"
                                "  \"format_version\": 1,\n"
                                "  \"lives\": [\n"
                                "    {\n"
                                "      \"threads\": 2,\n"
                                "      \"host\": \"a\",\n"
                                "      \"load\": [\n"
                                "        0.5,\n"
                                "        null\n"
                                "      ]\n"
                                "    },\n"
                                "    {\n"
                                "      \"threads\": 4\n"
                                "    }\n"
                                "  ]\n"
                                "}\n");
    assert_fails(run_dir_add_life(&dir, "{\"threads\": }"), STATUS_DATA,
                 "entry of run.json:1:13: ");
    write_file(in("run.json"), "{\"format_version\": 1, \"lives\": 3}");
    assert_fails(run_dir_add_life(&dir, "{}"), STATUS_DATA, "run.json:1:1: lives: no such array");
    write_file(in("run.json"), "{\"format_version\": 2, \"lives\": []}");
    assert_fails(run_dir_add_life(&dir, "{}"), STATUS_DATA,
                 "run.json:1:1: format_version = 2: this program reads 1");
    write_file(in("run.json"), "[]");
    assert_fails(run_dir_add_life(&dir, "{}"), STATUS_DATA, "run.json:1:1: ");
    run_dir_close(&dir);
}

static void a_life_says_how_it_ended(void **state)
{
    (void)state;
    RunDir dir;
    RunLife life;
    assert_ok(run_dir_open(&dir, folder));
    assert_ok(run_dir_last_life(&life, folder));
    assert_int_equal(life.lives, 0);
    const char *entry = "{\"started\": \"then\", \"host\": \"a\", \"process\": 7}";
    assert_ok(run_dir_add_life(&dir, entry));
    assert_ok(run_dir_end_life(&dir, STATUS_STOPPED, "SIGTERM"));
    assert_ok(run_dir_last_life(&life, folder));
    assert_true(life.ended);
    assert_int_equal(life.exit_status, STATUS_STOPPED);
    assert_string_equal(life.reason, "SIGTERM");

    /* Ended once more: one end stands, the last. */
    assert_ok(run_dir_end_life(&dir, STATUS_STOPPED, "SIGINT"));
    assert_ok(run_dir_last_life(&life, folder));
    assert_string_equal(life.reason, "SIGINT");
    assert_ok(run_dir_end_life(&dir, STATUS_STOPPED, "SIGTERM"));

    /* The next one has not, and the first keeps its end. */
    assert_ok(run_dir_add_life(&dir, entry));
    assert_ok(run_dir_last_life(&life, folder));
    assert_int_equal(life.lives, 2);
    assert_false(life.ended);
    assert_int_equal(life.process, 7);
    Bytes text = {0};
    assert_ok(io_read(&text, in("run.json"), 1 << 16));
    assert_non_null(strstr(text.data, "\"reason\": \"SIGTERM\""));
    bytes_free(&text);
    run_dir_close(&dir);
}

/* Who holds the lock can be asked without disturbing anybody. */
static void the_holder_of_a_lock_is_told(void **state)
{
    (void)state;
    char lock[PATH_TEXT], line[IO_HOLDER], mine[64];
    bool held = true;
    assert_ok(path_join(lock, folder, "lock"));
    assert_ok(io_lock_holder(&held, line, lock));
    assert_false(held);
    RunDir dir;
    assert_ok(run_dir_open(&dir, folder));
    assert_ok(io_lock_holder(&held, line, lock));
    assert_true(held);
    snprintf(mine, sizeof mine, "pid %ld on host ", (long)getpid());
    assert_non_null(strstr(line, mine));
    run_dir_close(&dir);
    assert_ok(io_lock_holder(&held, line, lock));
    assert_false(held);

    /* What is no file does not make anybody wait. */
    assert_ok(io_remove(lock));
    assert_int_equal(mkfifo(lock, 0600), 0);
    assert_ok(io_lock_holder(&held, line, lock));
    assert_false(held);
    assert_ok(io_remove(lock));
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char step_folder[600], path[PATH_TEXT];
    memset(step_folder, 'x', sizeof step_folder);
    step_folder[509] = '\0';
    assert_ok(path_join(path, step_folder, "y"));
    step_folder[509] = 'x';
    step_folder[510] = '\0';
    assert_fails(path_join(path, step_folder, "y"), STATUS_USAGE, "path is longer than 511 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_run_directory_is_held_by_one_process),
        IN_FOLDER(every_life_is_an_entry),
        IN_FOLDER(a_life_says_how_it_ended),
        IN_FOLDER(the_holder_of_a_lock_is_told),
        IN_FOLDER(a_path_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("run_dir", tests, NULL, NULL);
}
