/* scripts/rlhf/memory_room: limits of cgroups, of either version, on a made-up /proc and /sys. */
#include "tests/support.h"

#include "scripts/rlhf/memory_room.h"
#include "tests/folder.h"

static void put(const char *path, const char *text)
{
    char place[600], above[600];
    snprintf(place, sizeof place, "%s%s", folder, path);
    snprintf(above, sizeof above, "%.*s", (int)(strrchr(place, '/') - place), place);
    assert_ok(io_make_folder(above));
    assert_ok(io_publish(place, text, strlen(text)));
}

static void where_nothing_says_there_is_no_limit(void **state)
{
    (void)state;
    assert_true(isinf(memory_room(folder)));
    put("/proc/meminfo", "MemTotal:  9000 kB\nMemAvailable:   4000 kB\n");
    assert_close(memory_room(folder), 4096000, 0, 0);
    put("/proc/self/cgroup", "0::/\n");
    assert_close(memory_room(folder), 4096000, 0, 0);
    assert_true(memory_room("") > 0);
}

static void the_tightest_group_above_counts(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemAvailable:   4000 kB\n");
    put("/proc/self/cgroup", "0::/job/step\n");
    put("/sys/fs/cgroup/job/step/memory.max", "max\n");
    put("/sys/fs/cgroup/job/step/memory.current", "1000\n");
    assert_close(memory_room(folder), 4096000, 0, 0);
    put("/sys/fs/cgroup/job/memory.max", "500000\n");
    put("/sys/fs/cgroup/job/memory.current", "200000\n");
    assert_close(memory_room(folder), 300000, 0, 0);
    /* Files that were read are dropped when memory is wanted. */
    put("/sys/fs/cgroup/job/memory.stat", "anon 150000\ninactive_file 50000\nactive_file 7\n");
    assert_close(memory_room(folder), 350000, 0, 0);
    put("/sys/fs/cgroup/memory.max", "900000\n"); /* the mount itself, in a container */
    put("/sys/fs/cgroup/memory.current", "880000\n");
    assert_close(memory_room(folder), 20000, 0, 0);
    put("/sys/fs/cgroup/memory.current", "990000\n");
    assert_close(memory_room(folder), 0, 0, 0);
}

static void the_first_version_counts_too(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemAvailable:   4000 kB\n");
    put("/proc/self/cgroup", "8:pids:/\n4:memory:/a/b\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
    assert_close(memory_room(folder), 4096000, 0, 0);
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "70000\n");
    put("/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "30000\n");
    assert_close(memory_room(folder), 40000, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(where_nothing_says_there_is_no_limit),
        IN_FOLDER(the_tightest_group_above_counts),
        IN_FOLDER(the_first_version_counts_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
