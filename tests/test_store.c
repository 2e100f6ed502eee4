/* data/store: equal bytes, other readers' rules, and a gate that names what it refuses. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/io.h"
#include "data/store/store.h"

#include <errno.h>
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

static const float weights[6] = {1.5f, -2.25f, 3e-30f, 4e30f, -0.0f, 0.1f};
static const int32_t ids[5] = {7, -1, 2147483647, 0, -2147483647 - 1};
static const int64_t longs[2] = {INT64_MIN, INT64_MAX};
static const uint64_t bits[1] = {0xfedcba9876543210ULL};
static const uint8_t flags[3] = {0, 1, 255};
static const double reals[2] = {0.1, -1e300};
static const Digest hash = {.high = 0x8000000000000001ULL, .low = 42};

static void fill(StoreImage *image)
{
    const size_t two_by_three[2] = {2, 3}, five = 5, two = 2, one = 1, three = 3, none = 0;
    Texts texts = {0};
    assert_ok(store_put(image, "/model/h.0.weight", STORE_F32, 2, two_by_three, weights, false));
    assert_ok(store_put(image, "/token/id", STORE_I32, 1, &five, ids, true));
    assert_ok(store_put(image, "/token/deep/long", STORE_I64, 1, &two, longs, true));
    assert_ok(store_put(image, "/bits", STORE_U64, 1, &one, bits, true));
    assert_ok(store_put(image, "/flags", STORE_U8, 1, &three, flags, true));
    assert_ok(store_put(image, "/reals", STORE_F64, 1, &two, reals, true));
    assert_ok(store_put(image, "/one", STORE_F64, 0, NULL, reals, true));
    assert_ok(store_put(image, "/empty", STORE_I32, 1, &none, NULL, true));
    assert_ok(texts_add(&texts, "caf\xC3\xA9", 5));
    assert_ok(texts_add(&texts, "a\xFF\0b", 4));
    assert_ok(texts_add(&texts, "", 0));
    assert_ok(store_put_texts(image, "/text/answer", &texts));
    texts_free(&texts);
    assert_ok(store_put_text(image, "/", "config", "{\"a\": 1}"));
    assert_ok(store_put_integer(image, "/", "step", -5));
    assert_ok(store_put_number(image, "/model", "kl_coef", 0.05));
    assert_ok(store_put_digest(image, "/", "policy_hash", hash));
    assert_ok(store_put_text(image, "/reals", "units", "nats"));
    assert_ok(store_put_scale(image, "/flags", "/token/id"));
    assert_ok(store_put_scale(image, "/flags", "/reals"));
}

static Digest write_sample(const char *path)
{
    StoreImage *image;
    Digest digest;
    assert_ok(store_create(&image));
    fill(image);
    assert_ok(store_publish(image, path, &digest));
    return digest;
}

enum { SAMPLE_FIELDS = 13 };
static const StoreField sample[SAMPLE_FIELDS] = {
    {.name = "/model/h.0.weight", .type = STORE_F32, .rank = 2, .extent = {2, -1}},
    {.name = "/token/id", .type = STORE_I32, .rank = 1, .extent = {-1}},
    {.name = "/token/deep/long", .type = STORE_I64, .rank = 1, .extent = {2}},
    {.name = "/bits", .type = STORE_U64, .rank = 1, .extent = {-1}},
    {.name = "/flags", .type = STORE_U8, .rank = 1, .extent = {-1}},
    {.name = "/reals", .type = STORE_F64, .rank = 1, .extent = {-1}},
    {.name = "/one", .type = STORE_F64},
    {.name = "/empty", .type = STORE_I32, .rank = 1, .extent = {-1}},
    {.name = "/", .attribute = "step", .type = STORE_I64},
    {.name = "/model", .attribute = "kl_coef", .type = STORE_F64},
    {.name = "/", .attribute = "policy_hash", .type = STORE_U64, .rank = 1, .extent = {2}},
    {.name = "/no/such", .type = STORE_F32, .rank = 1, .extent = {-1}, .optional = true},
    {.name = "/", .attribute = "none", .type = STORE_I64, .optional = true},
};

static void what_was_put_comes_back(void **state)
{
    (void)state;
    const Digest digest = write_sample(in("a.h5"));
    StoreContent content;
    assert_ok(store_read(&content, in("a.h5"), &digest, sample, SAMPLE_FIELDS));
    const StoreArray *array = content.array;
    assert_int_equal(content.count, SAMPLE_FIELDS);
    for (int i = 0; i < SAMPLE_FIELDS; i++) {
        assert_int_equal(array[i].present, !sample[i].optional);
        assert_int_equal((uintptr_t)array[i].data % 8, 0);
    }
    assert_int_equal(array[0].extent[0], 2);
    assert_int_equal(array[0].extent[1], 3);
    assert_int_equal(array[0].count, 6);
    assert_memory_equal(array[0].data, weights, sizeof weights);
    assert_memory_equal(array[1].data, ids, sizeof ids);
    assert_memory_equal(array[2].data, longs, sizeof longs);
    assert_memory_equal(array[3].data, bits, sizeof bits);
    assert_memory_equal(array[4].data, flags, sizeof flags);
    assert_memory_equal(array[5].data, reals, sizeof reals);
    assert_int_equal(array[6].count, 1);
    assert_memory_equal(array[6].data, reals, sizeof reals[0]);
    assert_int_equal(array[7].count, 0);
    assert_int_equal(*(const int64_t *)array[8].data, -5);
    assert_true(*(const double *)array[9].data == 0.05);
    const uint64_t *half = array[10].data;
    assert_int_equal(half[0], hash.high);
    assert_int_equal(half[1], hash.low);
    store_content_free(&content);
}

/* Fills the stack and the heap with something, so that bytes nobody set would differ. */
static void dirty(unsigned char value)
{
    volatile unsigned char stack[1 << 16];
    void *blocks[64];
    for (size_t i = 0; i < sizeof stack; i++) stack[i] = value;
    for (int i = 0; i < 64; i++) {
        assert_ok(memory_claim(&blocks[i], (size_t)64 << (i % 11)));
        memset(blocks[i], value, (size_t)64 << (i % 11));
    }
    for (int i = 0; i < 64; i++) memory_release(blocks[i]);
}

static void equal_contents_give_equal_bytes(void **state)
{
    (void)state;
    dirty(0xAA);
    const Digest first = write_sample(in("a.h5"));
    dirty(0x55);
    const Digest second = write_sample(in("b.h5"));
    Bytes a = {0}, b = {0};
    assert_ok(io_read(&a, in("a.h5"), 1 << 20));
    assert_ok(io_read(&b, in("b.h5"), 1 << 20));
    assert_int_equal(a.count, b.count);
    for (size_t i = 0; i < a.count; i++) {
        if (a.data[i] != b.data[i]) print_error("byte %zu differs\n", i);
    }
    assert_memory_equal(a.data, b.data, a.count);
    assert_true(digest_equal(first, second));
    assert_true(digest_equal(first, digest_of(a.data, a.count)));
    bytes_free(&a);
    bytes_free(&b);
}

static void *write_in_thread(void *digest)
{
    *(Digest *)digest = write_sample(in("thread.h5"));
    return NULL;
}

static void another_thread_writes_the_same(void **state)
{
    (void)state;
    pthread_t thread;
    Digest other;
    assert_int_equal(pthread_create(&thread, NULL, write_in_thread, &other), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(digest_equal(other, write_sample(in("a.h5"))));
}

static void two_images_are_built_side_by_side(void **state)
{
    (void)state;
    StoreImage *a, *b;
    const size_t one = 1;
    StoreContent content;
    const StoreField field = {.name = "/x", .type = STORE_F64, .rank = 1, .extent = {1}};
    assert_ok(store_create(&a));
    assert_ok(store_create(&b));
    assert_ok(store_put(a, "/x", STORE_F64, 1, &one, &reals[0], false));
    assert_ok(store_put(b, "/x", STORE_F64, 1, &one, &reals[1], false));
    assert_ok(store_publish(a, in("a.h5"), NULL));
    assert_ok(store_publish(b, in("b.h5"), NULL));
    assert_ok(store_read(&content, in("b.h5"), NULL, &field, 1));
    assert_memory_equal(content.array[0].data, &reals[1], sizeof reals[1]);
    store_content_free(&content);
}

static void long_columns_come_back_from_many_chunks(void **state)
{
    (void)state;
    enum { ROWS = 300000, COLUMNS = 3 };
    void *block;
    assert_ok(memory_claim(&block, sizeof(int32_t) * ROWS * COLUMNS));
    int32_t *values = block;
    for (int i = 0; i < ROWS * COLUMNS; i++) values[i] = i % 7919 - 5000;
    const size_t extent[2] = {ROWS, COLUMNS};
    StoreImage *image;
    StoreContent content;
    const StoreField field = {.name = "/x", .type = STORE_I32, .rank = 2, .extent = {-1, COLUMNS}};
    assert_ok(store_create(&image));
    assert_ok(store_put(image, "/x", STORE_I32, 2, extent, values, true));
    assert_ok(store_publish(image, in("a.h5"), NULL));
    assert_ok(store_read(&content, in("a.h5"), NULL, &field, 1));
    assert_int_equal(content.array[0].extent[0], ROWS);
    assert_memory_equal(content.array[0].data, values, sizeof(int32_t) * ROWS * COLUMNS);
    store_content_free(&content);
    memory_release(block);
}

/* ---- writing that fails ---- */

static void a_failed_put_says_why_and_poisons_the_image(void **state)
{
    (void)state;
    StoreImage *image;
    const size_t two = 2;
    assert_ok(store_create(&image));
    assert_ok(store_put(image, "/x", STORE_F64, 1, &two, reals, false));
    assert_fails(store_put(image, "/x", STORE_F64, 1, &two, reals, false), STATUS_IO,
                 "cannot create dataset /x: name already exists");
    assert_fails(store_put(image, "/x/y", STORE_F64, 1, &two, reals, false), STATUS_IO, "/x");
    assert_fails(store_put_number(image, "/none", "key", 1), STATUS_IO, "cannot open /none: ");
    assert_fails(store_put_scale(image, "/none", "/x"), STATUS_IO, "cannot open /none: ");
    assert_fails(store_publish(image, in("a.h5"), NULL), STATUS_BROKEN, "/a.h5: not published");
    assert_false(io_exists(in("a.h5")));
}

static void a_full_disk_leaves_the_old_file(void **state)
{
    (void)state;
    const Digest before = write_sample(in("a.h5"));
    StoreImage *image;
    assert_ok(store_create(&image));
    io_fault("write", 1, ENOSPC, false);
    assert_fails(store_publish(image, in("a.h5"), NULL), STATUS_IO, "No space left on device");
    StoreContent content;
    assert_ok(store_read(&content, in("a.h5"), &before, sample, SAMPLE_FIELDS));
    store_content_free(&content);
}

/* Every allocation of ours fails in turn, while writing and while reading. */
static void no_memory_is_a_refusal(void **state)
{
    (void)state;
    const Digest digest = write_sample(in("a.h5"));
    int failures = 0;
    for (long call = 1;; call++, failures++) {
        StoreContent content;
        memory_fault(call, 0);
        const Status status = store_read(&content, in("a.h5"), &digest, sample, SAMPLE_FIELDS);
        memory_fault(0, 0);
        store_content_free(&content);
        if (status == STATUS_OK) break;
        assert_int_equal(status, STATUS_FAILED);
        assert_non_null(strstr(status_message(), "cannot allocate"));
    }
    assert_true(failures >= 5);
    for (failures = 0;; failures++) {
        StoreImage *image = NULL;
        memory_fault(failures + 1, 0);
        Status status = store_create(&image);
        if (status == STATUS_OK) status = store_put_text(image, "/", "key", "text");
        if (status == STATUS_OK) {
            status = store_publish(image, in("b.h5"), NULL);
        } else {
            store_discard(image);
        }
        memory_fault(0, 0);
        if (status == STATUS_OK) break;
        assert_int_equal(status, STATUS_FAILED);
        assert_false(io_exists(in("b.h5")));
    }
    assert_true(failures >= 3);
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

/* What netCDF-4 and h5py ask of a file. */
static void order_of_creation_is_kept_and_times_are_not(void **state)
{
    (void)state;
    unsigned order = 0;
    H5O_info_t facts;
    write_sample(in("a.h5"));
    const hid_t file = H5Fopen(in("a.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    static const char *const groups[] = {"/", "/token", "/token/deep"};
    for (int i = 0; i < 3; i++) {
        const hid_t group = H5Gopen2(file, groups[i], H5P_DEFAULT);
        const hid_t properties = H5Gget_create_plist(group);
        assert_true(H5Pget_link_creation_order(properties, &order) >= 0);
        assert_int_equal(order, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
        assert_true(H5Oget_info2(group, &facts, H5O_INFO_TIME) >= 0);
        assert_int_equal(facts.btime, 0);
        H5Pclose(properties);
        H5Gclose(group);
    }
    const hid_t set = H5Dopen2(file, "/token/id", H5P_DEFAULT);
    assert_true(H5Oget_info2(set, &facts, H5O_INFO_TIME) >= 0);
    assert_int_equal(facts.mtime, 0);
    assert_true(H5Aexists(set, "DIMENSION_LIST") > 0);
    H5Dclose(set);
    H5Fclose(file);
}

static void text_is_utf8_without_nul(void **state)
{
    (void)state;
    char *rows[3] = {NULL};
    write_sample(in("a.h5"));
    const hid_t file = H5Fopen(in("a.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t set = H5Dopen2(file, "/text/answer", H5P_DEFAULT);
    const hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    assert_int_equal(H5Tget_cset(type), H5T_CSET_UTF8);
    assert_true(H5Tis_variable_str(type));
    assert_true(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
    assert_string_equal(rows[0], "caf\xC3\xA9");
    assert_string_equal(rows[1], "a\xEF\xBF\xBD\xE2\x90\x80"
                                 "b");
    assert_string_equal(rows[2] != NULL ? rows[2] : "", "");
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, rows);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(set);
    H5Fclose(file);
}

int main(void)
{
    store_setup();
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_was_put_comes_back),
        IN_FOLDER(equal_contents_give_equal_bytes),
        IN_FOLDER(another_thread_writes_the_same),
        IN_FOLDER(two_images_are_built_side_by_side),
        IN_FOLDER(long_columns_come_back_from_many_chunks),
        IN_FOLDER(a_failed_put_says_why_and_poisons_the_image),
        IN_FOLDER(a_full_disk_leaves_the_old_file),
        IN_FOLDER(no_memory_is_a_refusal),
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
        IN_FOLDER(order_of_creation_is_kept_and_times_are_not),
        IN_FOLDER(text_is_utf8_without_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
