/* The gate of data/store: what does not fit, is damaged or means harm is refused by name. */
#include "tests/support.h"

#include "tests/folder.h"
#include "tests/sample_store.h"

#include <hdf5.h>
#include <pthread.h>
#include <sys/stat.h>

/* A file whose durability does not matter. */
static void put_file(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* ---- what the schema does not allow ---- */

static void expect_refusal(const StoreField field, const char *part)
{
    StoreContent content;
    char expected[512];
    snprintf(expected, sizeof expected, "%s/a.h5: %s", folder, part);
    assert_fails(store_read(&content, in("a.h5"), NULL, &field, 1), STATUS_DATA, expected);
    assert_null(content.memory);
    store_content_free(&content);
}

static void what_differs_from_the_schema_is_named(void **state)
{
    (void)state;
    write_sample(in("a.h5"));
    expect_refusal((StoreField){.name = "/none", .type = STORE_F32, .rank = 1, .extent = {-1}},
                   "/none: missing");
    expect_refusal((StoreField){.name = "/token/none/x", .type = STORE_F32, .rank = 1},
                   "/token/none/x: missing");
    expect_refusal((StoreField){.name = "/token", .type = STORE_F32, .rank = 1, .extent = {-1}},
                   "/token: not a dataset");
    expect_refusal((StoreField){.name = "/bits/x", .type = STORE_F32, .rank = 1, .extent = {-1}},
                   "/bits/x: what should hold x is not a group");
    expect_refusal(
        (StoreField){.name = "/model/h.0.weight", .type = STORE_F32, .rank = 2, .extent = {2, 4}},
        "/model/h.0.weight: dimension 1 is 3, not 4");
    expect_refusal(
        (StoreField){.name = "/model/h.0.weight", .type = STORE_F32, .rank = 1, .extent = {-1}},
        "/model/h.0.weight: rank is 2, not 1");
    expect_refusal(
        (StoreField){.name = "/model/h.0.weight", .type = STORE_F64, .rank = 2, .extent = {-1, -1}},
        "/model/h.0.weight: type is float32, not float64");
    expect_refusal((StoreField){.name = "/reals", .type = STORE_I64, .rank = 1, .extent = {-1}},
                   "/reals: type is float64, not int64");
    expect_refusal((StoreField){.name = "/bits", .type = STORE_I64, .rank = 1, .extent = {-1}},
                   "/bits: type is uint64, not int64");
    expect_refusal(
        (StoreField){.name = "/text/answer", .type = STORE_U8, .rank = 1, .extent = {-1}},
        "/text/answer: type is text of any length, not uint8");
    expect_refusal((StoreField){.name = "/", .attribute = "none", .type = STORE_I64},
                   "/: attribute none: missing");
    expect_refusal((StoreField){.name = "/", .attribute = "step", .type = STORE_F64},
                   "/: attribute step: type is int64, not float64");
    expect_refusal((StoreField){.name = "/none", .attribute = "step", .type = STORE_F64},
                   "/none: attribute step: missing");
}

static void flip_byte(const char *path, size_t at)
{
    Bytes bytes = {0};
    assert_ok(io_read(&bytes, path, 1 << 24));
    bytes.data[at % bytes.count] ^= 0x10;
    put_file(path, bytes.data, bytes.count);
    bytes_free(&bytes);
}

static void hash_is_checked_before_anything_is_parsed(void **state)
{
    (void)state;
    const Digest digest = write_sample(in("a.h5"));
    StoreContent content;
    uint64_t size;
    assert_ok(io_size(&size, in("a.h5")));
    for (size_t at = 0; at < size; at += 997) {
        flip_byte(in("a.h5"), at);
        assert_fails(store_read(&content, in("a.h5"), &digest, sample, SAMPLE_FIELDS), STATUS_DATA,
                     "/a.h5: hash is ");
        flip_byte(in("a.h5"), at);
    }
    assert_ok(store_read(&content, in("a.h5"), &digest, sample, SAMPLE_FIELDS));
    store_content_free(&content);
}

static void missing_foreign_and_truncated_files_are_refused(void **state)
{
    (void)state;
    StoreContent content;
    Bytes bytes = {0};
    assert_fails(store_read(&content, in("none.h5"), NULL, sample, SAMPLE_FIELDS), STATUS_DATA,
                 "/none.h5: missing");
    assert_ok(io_publish(in("a.h5"), "", 0));
    assert_fails(store_read(&content, in("a.h5"), NULL, sample, SAMPLE_FIELDS), STATUS_DATA,
                 "/a.h5: not an HDF5 file");
    assert_ok(io_publish(in("a.h5"), "PK\3\4 something else", 20));
    assert_fails(store_read(&content, in("a.h5"), NULL, sample, SAMPLE_FIELDS), STATUS_DATA,
                 "/a.h5: not an HDF5 file");

    write_sample(in("whole.h5"));
    assert_ok(io_read(&bytes, in("whole.h5"), 1 << 20));
    for (size_t count = 8; count < bytes.count; count += bytes.count / 13) {
        put_file(in("a.h5"), bytes.data, count);
        assert_fails(store_read(&content, in("a.h5"), NULL, sample, SAMPLE_FIELDS), STATUS_DATA,
                     "/a.h5: ");
    }
    bytes_free(&bytes);
}

/* Random edits, without a hash: each ends in a refusal or in arrays of the schema's shapes, in
 * time, and this process goes on. (A third of them is read without any error: hence the hash.) */
static void damaged_files_never_hurt_the_reader(void **state)
{
    (void)state;
    StoreContent content;
    Bytes good = {0}, bad = {0};
    uint64_t random = 1;
    int refused = 0;
    write_sample(in("whole.h5"));
    assert_ok(io_read(&good, in("whole.h5"), 1 << 20));
    for (int trial = 0; trial < 300; trial++) {
        bytes_clear(&bad);
        assert_ok(bytes_append(&bad, good.data, good.count));
        for (int edit = 0; edit <= trial % 4; edit++) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            bad.data[(random >> 33) % bad.count] = (char)(random >> 56);
        }
        put_file(in("a.h5"), bad.data, bad.count);
        if (store_read(&content, in("a.h5"), NULL, sample, SAMPLE_FIELDS) == STATUS_OK) {
            assert_int_equal(content.array[2].extent[0], 2);
            assert_int_equal(content.array[0].count,
                             content.array[0].extent[0] * content.array[0].extent[1]);
        } else {
            assert_non_null(strstr(status_message(), "/a.h5: "));
            refused++;
        }
        store_content_free(&content);
    }
    assert_true(refused > 20);
    bytes_free(&good);
    bytes_free(&bad);
}

/* A schema that cannot be read makes the child, and only it, crash. */
static void a_crash_while_reading_is_a_refusal_with_a_name(void **state)
{
    (void)state;
    write_sample(in("a.h5"));
    const char *nowhere = (const char *)(uintptr_t)64;
    expect_refusal((StoreField){.name = nowhere, .type = STORE_U8, .rank = 1, .extent = {-1}},
                   "the HDF5 library crashed on it (signal 11, Segmentation fault)");
}

/* ---- hostile files, made with HDF5 itself ---- */

static hid_t hostile_file(void)
{
    const hid_t file = H5Fcreate(in("a.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

/* A fork can catch another thread inside a library's lock; the child then waits for ever. */
static int forks_that_hang;

static void count_fork(void)
{
    if (forks_that_hang > 0) forks_that_hang--;
}

static void hang_in_child(void)
{
    while (forks_that_hang > 0) pause();
}

static void a_reader_that_stands_still_is_started_again(void **state)
{
    (void)state;
    StoreContent content;
    StoreImage *image;
    assert_ok(store_create(&image));
    fill(image);
    assert_ok(store_publish(image, in("a.h5"), NULL));
    assert_int_equal(pthread_atfork(count_fork, NULL, hang_in_child), 0);
    forks_that_hang = 2; /* the first; counted down before each fork */
    assert_ok(store_read(&content, in("a.h5"), NULL, sample, SAMPLE_FIELDS));
    assert_int_equal(forks_that_hang, 0);
    store_content_free(&content);
}

/* A child that a hostile file has taken over may close the pipe and stay. */
static bool fork_stays;

static void stay_in_child(void)
{
    if (!fork_stays) return;
    for (int descriptor = 0; descriptor < 64; descriptor++) close(descriptor);
    for (;;) pause();
}

static void a_reader_that_closes_the_pipe_and_stays_is_killed(void **state)
{
    (void)state;
    write_sample(in("a.h5"));
    assert_int_equal(pthread_atfork(NULL, NULL, stay_in_child), 0);
    fork_stays = true;
    alarm(60); /* who waits for such a child waits for ever */
    expect_refusal(sample[1], "its reader had to be killed, or memory ran out");
    alarm(0);
    fork_stays = false;
}

/* A dataset /x of float32 with these properties, unwritten; closes the properties. */
static void add_dataset(hid_t file, int rank, const hsize_t *extent, hid_t properties)
{
    const hid_t space = H5Screate_simple(rank, extent, NULL);
    const hid_t set =
        H5Dcreate2(file, "/x", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(set >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(properties);
}

static const StoreField x_field = {.name = "/x", .type = STORE_F32, .rank = 1, .extent = {-1}};

static void links_are_not_followed(void **state)
{
    (void)state;
    write_sample(in("other.h5"));
    const StoreField inside = {.name = "/g/id", .type = STORE_I32, .rank = 1, .extent = {-1}};
    hid_t file = hostile_file();
    assert_true(H5Lcreate_external(in("other.h5"), "/token", file, "g", H5P_DEFAULT, H5P_DEFAULT) >=
                0);
    assert_true(H5Lcreate_soft("/g/id", file, "x", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Fclose(file);
    expect_refusal(inside, "/g/id: g is an external link, which is not followed");
    expect_refusal(x_field, "/x: x is a soft link, which is not followed");
}

static void values_in_other_files_are_not_read(void **state)
{
    (void)state;
    const hsize_t extent = 4;
    assert_ok(io_publish(in("secret"), "0123456789abcdef", 16));
    hid_t file = hostile_file();
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_external(properties, in("secret"), 0, 16) >= 0);
    add_dataset(file, 1, &extent, properties);
    H5Fclose(file);
    expect_refusal(x_field, "/x: its values lie in another file, which is not opened");

    file = hostile_file();
    properties = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t space = H5Screate_simple(1, &extent, NULL);
    assert_true(H5Pset_virtual(properties, space, in("other.h5"), "/x", space) >= 0);
    H5Sclose(space);
    add_dataset(file, 1, &extent, properties);
    H5Fclose(file);
    expect_refusal(x_field, "/x: it is a virtual dataset, which is not followed");
}

static void unknown_filters_are_refused(void **state)
{
    (void)state;
    const hsize_t extent = 4;
    hid_t file = hostile_file();
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 1, &extent);
    assert_true(H5Pset_filter(properties, 32015, H5Z_FLAG_OPTIONAL, 0, NULL) >= 0);
    add_dataset(file, 1, &extent, properties);
    H5Fclose(file);
    expect_refusal(x_field, "/x: filter 32015 is not one of ours");

    file = hostile_file();
    properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 1, &extent);
    assert_true(H5Pset_nbit(properties) >= 0);
    add_dataset(file, 1, &extent, properties);
    H5Fclose(file);
    expect_refusal(x_field, "/x: filter nbit is not one of ours");
}

static void shapes_that_would_eat_the_memory_are_refused(void **state)
{
    (void)state;
    const StoreField square = {.name = "/x", .type = STORE_F32, .rank = 2, .extent = {-1, -1}};
    const hsize_t bomb[2] = {(hsize_t)1 << 31, (hsize_t)1 << 31}, chunk[2] = {1, 1024};
    hid_t file = hostile_file();
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 2, chunk);
    add_dataset(file, 2, bomb, properties);
    H5Fclose(file);
    expect_refusal(square, "/x: more elements than can be counted");

    const hsize_t large[2] = {1 << 20, 1 << 10};
    file = hostile_file();
    properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 2, chunk);
    add_dataset(file, 2, large, properties);
    H5Fclose(file);
    expect_refusal(square, "/x: it declares 4294967296 bytes and stores 0");

    const hsize_t medium[2] = {1 << 10, 1 << 10}, wide[2] = {1 << 20, 32};
    file = hostile_file();
    properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 2, wide);
    H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
    const hid_t space =
        H5Screate_simple(2, medium, (const hsize_t[2]){H5S_UNLIMITED, H5S_UNLIMITED});
    const hid_t set =
        H5Dcreate2(file, "/x", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(set >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(properties);
    H5Fclose(file);
    expect_refusal(square, "/x: its chunks are empty or larger than 67108864 bytes");

    /* Declared, never written. */
    const hsize_t small = 100;
    file = hostile_file();
    add_dataset(file, 1, &small, H5Pcreate(H5P_DATASET_CREATE));
    H5Fclose(file);
    expect_refusal(x_field, "/x: it stores 0 bytes, not 400");
}

/* Each column is below what may be declared for nothing, all of them are not. */
static void small_columns_do_not_add_up_to_all_the_memory(void **state)
{
    (void)state;
    enum { COLUMNS = 8, LENGTH = 1 << 21 };
    static const char *const name[COLUMNS] = {"/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"};
    StoreField columns[COLUMNS];
    StoreContent content;
    StoreImage *image;
    const size_t length = LENGTH;
    void *zeros;
    assert_ok(memory_claim(&zeros, LENGTH * sizeof(int32_t)));
    memset(zeros, 0, LENGTH * sizeof(int32_t));
    assert_ok(store_create(&image));
    for (int i = 0; i < COLUMNS; i++) {
        columns[i] = (StoreField){.name = name[i], .type = STORE_I32, .rank = 1, .extent = {-1}};
        assert_ok(store_put(image, name[i], STORE_I32, 1, &length, zeros, true));
    }
    memory_release(zeros);
    assert_ok(store_publish(image, in("a.h5"), NULL));
    assert_ok(store_read(&content, in("a.h5"), NULL, columns, 2));
    store_content_free(&content);
    assert_fails(store_read(&content, in("a.h5"), NULL, columns, COLUMNS), STATUS_DATA,
                 "8388608 bytes are too many");
}

static void damaged_chunks_are_noticed(void **state)
{
    (void)state;
    StoreImage *image;
    Bytes bytes = {0};
    static const uint8_t zeros[100000];
    const size_t extent = sizeof zeros;
    const StoreField field = {.name = "/x", .type = STORE_U8, .rank = 1, .extent = {-1}};
    assert_ok(store_create(&image));
    assert_ok(store_put(image, "/x", STORE_U8, 1, &extent, zeros, true));
    assert_ok(store_publish(image, in("a.h5"), NULL));
    assert_ok(io_read(&bytes, in("a.h5"), 1 << 20));
    /* zlib's head at level 4 marks where the chunk begins. */
    size_t at = 0;
    while (at + 2 < bytes.count && memcmp(bytes.data + at, "\x78\x5e", 2) != 0) at++;
    assert_true(at + 40 < bytes.count);
    bytes_free(&bytes);
    flip_byte(in("a.h5"), at + 20);
    expect_refusal(field, "/x: cannot read its values: ");
}

int main(void)
{
    store_setup();
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_differs_from_the_schema_is_named),
        IN_FOLDER(hash_is_checked_before_anything_is_parsed),
        IN_FOLDER(missing_foreign_and_truncated_files_are_refused),
        IN_FOLDER(damaged_files_never_hurt_the_reader),
        IN_FOLDER(a_crash_while_reading_is_a_refusal_with_a_name),
        IN_FOLDER(a_reader_that_stands_still_is_started_again),
        IN_FOLDER(a_reader_that_closes_the_pipe_and_stays_is_killed),
        IN_FOLDER(links_are_not_followed),
        IN_FOLDER(values_in_other_files_are_not_read),
        IN_FOLDER(unknown_filters_are_refused),
        IN_FOLDER(shapes_that_would_eat_the_memory_are_refused),
        IN_FOLDER(small_columns_do_not_add_up_to_all_the_memory),
        IN_FOLDER(damaged_chunks_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
