/* data/store, written and read back: equal bytes, and what other readers ask for. */
#include "tests/support.h"

#include "tests/folder.h"
#include "tests/sample_store.h"

#include <errno.h>
#include <hdf5.h>
#include <pthread.h>

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

/* ---- what netCDF-4 and h5py ask of a file ---- */

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
        IN_FOLDER(order_of_creation_is_kept_and_times_are_not),
        IN_FOLDER(text_is_utf8_without_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
