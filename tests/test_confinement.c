/* What the reader of a file could do if the file took it over: nothing. In place of opening the
 * file, the child runs a deed of this test (linked in by --wrap) and says what came of it. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

Status __real_hdf5_open_image(hid_t *file, void *bytes, size_t count);
Status __wrap_hdf5_open_image(hid_t *file, void *bytes, size_t count);

enum { FOREIGN_FILTER = 32015 }; /* tests/hdf5_plugin.c */

static Status (*deed)(void); /* NULL: the program is the program */
static pid_t parent;
static int inherited = -1; /* a file that the parent has open for writing */

Status __wrap_hdf5_open_image(hid_t *file, void *bytes, size_t count)
{
    if (deed == NULL || getpid() == parent) return __real_hdf5_open_image(file, bytes, count);
    *file = H5I_INVALID_HID;
    return deed();
}

/* A reader that does this is refused with `said`. */
static void expect_deed(Status (*what)(void), const char *said)
{
    const float one = 1.0F;
    const StoreField field = {.name = "/x", .type = STORE_F32};
    StoreImage *image;
    StoreContent content;
    char expected[256];
    assert_ok(store_create(&image));
    assert_ok(store_put(image, "/x", STORE_F32, 0, NULL, &one, false));
    assert_ok(store_publish(image, in("a.h5"), NULL));
    snprintf(expected, sizeof expected, "/a.h5: %s", said);
    deed = what;
    assert_fails(store_read(&content, in("a.h5"), NULL, &field, 1), STATUS_DATA, expected);
    deed = NULL;
    assert_ok(store_read(&content, in("a.h5"), NULL, &field, 1));
    store_content_free(&content);
}

static Status tell(const char *what, bool done)
{
    return status_fail(STATUS_DATA, "%s: %s", what, done ? "done" : strerror(errno));
}

static Status open_a_file(void)
{
    return tell("open", open("/etc/passwd", O_RDONLY) >= 0);
}

static Status open_a_socket(void)
{
    return tell("socket", socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
}

static Status double_a_descriptor(void)
{
    return tell("dup", dup(inherited) >= 0);
}

static Status claim_four_gigabytes(void)
{
    const size_t size = (size_t)4 << 30;
    return tell("claim", mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                              0) != MAP_FAILED);
}

static Status write_to_a_file(void)
{
    return tell("write", write(inherited, "x", 1) == 1);
}

static Status compute_for_ever(void)
{
    for (volatile uint64_t i = 1; i != 0; i++) {
    }
    return tell("compute", true);
}

static Status leave_a_core(void)
{
    struct rlimit core;
    getrlimit(RLIMIT_CORE, &core);
    return status_fail(STATUS_DATA, "core files of %llu bytes", (unsigned long long)core.rlim_max);
}

static Status gain_privileges(void)
{
    return status_fail(STATUS_DATA, "no new privileges: %d",
                       prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static Status follow_links(void)
{
    return status_fail(STATUS_DATA, "external links: %d", (int)H5Lis_registered(H5L_TYPE_EXTERNAL));
}

static Status load_a_plugin(void)
{
    return status_fail(STATUS_DATA, "filter of a plugin: %d", (int)H5Zfilter_avail(FOREIGN_FILTER));
}

static void nothing_can_be_opened(void **state)
{
    (void)state;
    inherited = open(in("out"), O_WRONLY | O_CREAT, 0666);
    assert_true(inherited >= 0);
    expect_deed(open_a_file, "open: Too many open files");
    expect_deed(open_a_socket, "socket: Too many open files");
    expect_deed(double_a_descriptor, "dup: Too many open files");
    close(inherited);
}

static void memory_and_time_are_limited(void **state)
{
    (void)state;
    expect_deed(claim_four_gigabytes, "claim: Cannot allocate memory");
    expect_deed(compute_for_ever, "the HDF5 library took more than 3 s to read it");
}

static void what_is_open_cannot_be_written(void **state)
{
    (void)state;
    Bytes text = {0};
    inherited = open(in("out"), O_WRONLY | O_CREAT, 0666);
    assert_true(inherited >= 0);
    expect_deed(write_to_a_file,
                "the HDF5 library crashed on it (signal 25, File size limit exceeded)");
    close(inherited);
    assert_ok(io_read(&text, in("out"), 16));
    assert_int_equal(text.count, 0);
    bytes_free(&text);
}

static void nothing_is_left_or_gained(void **state)
{
    (void)state;
    expect_deed(leave_a_core, "core files of 0 bytes");
    expect_deed(gain_privileges, "no new privileges: 1");
    expect_deed(follow_links, "external links: 0");
}

/* The plugin is one: where loading is allowed the library finds it. */
static void check_plugin(void)
{
    int ending = 0;
    const pid_t child = fork();
    if (child == 0) {
        H5PLset_loading_state(H5PL_ALL_PLUGIN);
        _exit(H5Zfilter_avail(FOREIGN_FILTER) > 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &ending, 0), child);
    assert_int_equal(ending, 0);
}

static void plugins_are_not_loaded(void **state)
{
    (void)state;
    check_plugin();
    expect_deed(load_a_plugin, "filter of a plugin: 0");
}

int main(void)
{
    parent = getpid();
    assert_int_equal(setenv("HDF5_PLUGIN_PATH", PLUGIN_FOLDER, 1), 0);
    store_setup();
    const struct CMUnitTest tests[] = {
        IN_FOLDER(nothing_can_be_opened),          IN_FOLDER(memory_and_time_are_limited),
        IN_FOLDER(what_is_open_cannot_be_written), IN_FOLDER(nothing_is_left_or_gained),
        IN_FOLDER(plugins_are_not_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
