/* A folder of its own for every test of a program that writes files. Tests that plan faults need
 * not switch them off: that is done before the folder goes. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include "data/io.h"
#include "data/memory.h"

static char folder[64]; /* of the test at work */

static inline int make_folder(void **state)
{
    (void)state;
    test_folder(folder);
    return 0;
}

static inline int drop_folder(void **state)
{
    (void)state;
    io_fault(NULL, 0, 0, false);
    memory_fault(0, 0);
    return io_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

/* folder/name, good until the fourth call after. */
static inline const char *in(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 256, "%s/%s", folder, name);
    return path;
}

static inline void write_file(const char *path, const char *text)
{
    assert_ok(io_publish(path, text, strlen(text)));
}

static inline void assert_file(const char *path, const char *expected)
{
    Bytes text = {0};
    assert_ok(io_read(&text, path, 1 << 20));
    assert_string_equal(text.data != NULL ? text.data : "", expected);
    bytes_free(&text);
}

/* Names a test that is given one. */
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, drop_folder)

#endif
