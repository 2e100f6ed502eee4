/* manifest, checkpoint: what is whole, which is the newest, which go. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/checkpoint.h"

#include <errno.h>

static const Digest settings = {0x1234, 0x5678};

static void a_manifest_reads_back(void **state)
{
    (void)state;
    write_file(in("policy.h5"), "weights");
    write_file(in("tokenizer.json"), "{}");
    Manifest made = {.stage = "sft", .step = 40, .made_from = settings, .made_by = "rlhf 1"};
    assert_ok(manifest_add(&made, folder, "policy.h5"));
    assert_ok(manifest_add(&made, folder, "tokenizer.json"));
    assert_ok(manifest_add(&made, folder, "policy.h5")); /* replaces */
    assert_int_equal(made.count, 2);
    assert_ok(manifest_write(&made, folder));

    Manifest read;
    assert_ok(manifest_read(&read, folder));
    assert_string_equal(read.stage, "sft");
    assert_int_equal(read.step, 40);
    assert_true(digest_equal(read.made_from, settings));
    assert_string_equal(read.made_by, "rlhf 1");
    assert_true(digest_equal(read.own, made.own));
    assert_int_equal(read.count, 2);
    const ManifestFile *file = manifest_find(&read, "policy.h5");
    assert_int_equal(file->size, 7);
    assert_true(digest_equal(file->digest, digest_of("weights", 7)));
    assert_null(manifest_find(&read, "critic.h5"));
    assert_string_equal(read.journal.name, "");
    assert_ok(manifest_verify(&read, folder));
}

static void verify_names_the_first_file_that_differs(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    Manifest manifest = {.stage = "sft"};
    for (int i = 0; i < 3; i++) {
        write_file(in(names[i]), "four");
        assert_ok(manifest_add(&manifest, folder, names[i]));
    }
    assert_ok(manifest_verify(&manifest, folder));
    write_file(in("b"), "fuor");
    write_file(in("c"), "longer");
    assert_fails(manifest_verify(&manifest, folder), STATUS_DATA, "/b: its hash is ");
    write_file(in("b"), "four");
    assert_fails(manifest_verify(&manifest, folder), STATUS_DATA, "/c: 6 bytes, not 4");
    assert_ok(io_remove(in("a")));
    assert_fails(manifest_verify(&manifest, folder), STATUS_DATA, "/a: missing");
    assert_fails(manifest_add(&manifest, folder, "d"), STATUS_DATA, "/d: missing");
}

static void a_foreign_manifest_is_refused(void **state)
{
    (void)state;
#define HEAD "{\"format_version\": 1, \"stage\": \"sft\", \"step\": 1,"
#define HASH "\"0123456789abcdef0123456789abcdef\""
    static const char *const cases[][2] = {
        {"{", "manifest.json:1:2: expected a key in quotes, found the end"},
        {"[]", "manifest.json:1:1: expected an object, found an array"},
        {"{}", "manifest.json:1:1: format_version: missing"},
        {"{\"format_version\": 3}", "format_version = 3: this program reads 2"},
        {"{\"format_version\": 2}", "manifest.json: does not end in the hash of its text"},
        {HEAD "\"made_from\": \"12\", \"files\": []}", "made_from: not 32 hex digits"},
        {HEAD "\"made_from\": " HASH "}", "files: no such array"},
        {HEAD "\"made_from\": " HASH ", \"files\": [3]}", "expected an object, found a number"},
        {HEAD "\"made_from\": " HASH ", \"files\": [{\"name\": \"x/../../y\", \"size\": 1,"
              " \"xxh3_128\": " HASH "}]}",
         "name: must stay inside the folder"},
        {HEAD "\"made_from\": " HASH ", \"files\": [{\"name\": \"/etc/passwd\", \"size\": 1,"
              " \"xxh3_128\": " HASH "}]}",
         "name: must stay inside the folder"},
        {HEAD "\"made_from\": " HASH ", \"files\": [{\"name\": \"x\", \"size\": -1,"
              " \"xxh3_128\": " HASH "}]}",
         "size = -1: must not be negative"},
        {HEAD "\"made_from\": " HASH ", \"files\": ["
              "{\"name\": \"x\", \"size\": 1, \"xxh3_128\": " HASH "},"
              "{\"name\": \"x\", \"size\": 1, \"xxh3_128\": " HASH "}]}",
         "x: named twice"},
    };
    Manifest manifest;
    assert_fails(manifest_read(&manifest, folder), STATUS_DATA, "/manifest.json: missing");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(in("manifest.json"), cases[i][0]);
        assert_fails(manifest_read(&manifest, folder), STATUS_DATA, cases[i][1]);
    }
    Manifest full = {.count = MANIFEST_FILES_MAX};
    assert_fails(manifest_add_known(&full, "one", 1, settings), STATUS_DATA,
                 "one: more than 64 files");
}

static void commit_step(int64_t step, const int64_t *keep, int keeps)
{
    char step_folder[PATH_TEXT], text[32];
    assert_ok(checkpoint_begin(step_folder, folder, step));
    char path[PATH_TEXT];
    assert_ok(path_join(path, step_folder, "state"));
    snprintf(text, sizeof text, "state of %d", (int)step);
    write_file(path, text);
    Manifest manifest = {.stage = "ppo", .step = step, .made_from = settings};
    assert_ok(checkpoint_commit(step_folder, folder, &manifest, (const char *const[]){"state"}, 1,
                                keep, keeps));
}

/* The names below checkpoints/, a space between two. */
static void assert_checkpoints(const char *expected)
{
    Texts names = {0};
    Bytes list = {0};
    assert_ok(io_list(&names, in("checkpoints")));
    for (int i = 0; i < names.count; i++) {
        size_t count;
        const char *name = texts_at(&names, i, &count);
        assert_ok(bytes_print(&list, "%s%.*s", i > 0 ? " " : "", (int)count, name));
    }
    assert_string_equal(list.data != NULL ? list.data : "", expected);
    bytes_free(&list);
    texts_free(&names);
}

static void the_newest_two_and_the_kept_stay(void **state)
{
    (void)state;
    static const int64_t keep[] = {2, 3};
    commit_step(1, keep, 2);
    assert_checkpoints("step-000001");
    commit_step(2, keep, 2);
    commit_step(3, keep, 2);
    assert_checkpoints("step-000002 step-000003");
    commit_step(4, keep, 2);
    commit_step(5, keep, 2);
    assert_checkpoints("step-000002 step-000003 step-000004 step-000005");
    commit_step(1000000, keep, 1); /* 3 is no longer kept; more digits, still the newest */
    assert_checkpoints("step-000002 step-000005 step-1000000");
    commit_step(1000000, keep, 1); /* the same step again */
    assert_checkpoints("step-000002 step-000005 step-1000000");
    char left[PATH_TEXT];
    assert_ok(checkpoint_begin(left, folder, 7));
    assert_ok(checkpoint_finish(folder, keep, 2));
    assert_checkpoints("step-000002");
    assert_ok(checkpoint_clear(folder));
    assert_checkpoints("");
}

/* Every step-... that is left is whole. */
static void assert_all_whole(void)
{
    int64_t *steps;
    int count;
    char step_folder[PATH_TEXT];
    Manifest manifest;
    assert_ok(checkpoint_steps(&steps, &count, folder));
    for (int i = 0; i < count; i++)
        assert_ok(checkpoint_at(step_folder, &manifest, folder, steps[i]));
    memory_release(steps);
}

/* As a death at any call of the clearing up leaves it: none is without its files. */
static void what_is_removed_goes_at_once(void **state)
{
    (void)state;
    Status status = STATUS_IO;
    for (long call = 1; status != STATUS_OK; call++) {
        assert_true(call < 100);
        for (int64_t step = 1; step <= 2; step++) commit_step(step, NULL, 0);
        io_fault(NULL, call, EIO, true);
        status = checkpoint_finish(folder, NULL, 0);
        io_fault(NULL, 0, 0, false);
        assert_all_whole();
        assert_ok(checkpoint_clear(folder));
    }
    commit_step(1, NULL, 0);
    commit_step(2, NULL, 0);
    status = STATUS_IO;
    for (long call = 1; status != STATUS_OK; call++) {
        assert_true(call < 200);
        char step_folder[PATH_TEXT], path[PATH_TEXT];
        assert_ok(checkpoint_begin(step_folder, folder, 2));
        assert_ok(path_join(path, step_folder, "state"));
        write_file(path, "state of 2");
        Manifest manifest = {.stage = "ppo", .step = 2, .made_from = settings};
        io_fault(NULL, call, EIO, true);
        status = checkpoint_commit(step_folder, folder, &manifest, (const char *const[]){"state"},
                                   1, NULL, 0);
        io_fault(NULL, 0, 0, false);
        assert_ok(checkpoint_at(step_folder, &manifest, folder, 2)); /* committed, and never gone */
    }
}

/* A step whose checkpoint was damaged is committed anew, and the damage stays to be seen. */
static void a_damaged_step_is_committed_again(void **state)
{
    (void)state;
    commit_step(1, NULL, 0);
    write_file(in("checkpoints/step-000001/state"), "state of 9");
    commit_step(1, NULL, 0);
    assert_all_whole();
    assert_checkpoints("damaged-step-000001 step-000001");
}

static void the_newest_valid_checkpoint_is_found(void **state)
{
    (void)state;
    bool found = true;
    int damaged;
    char step_folder[PATH_TEXT];
    Manifest manifest;
    assert_ok(checkpoint_newest(&found, step_folder, &manifest, &damaged, folder));
    assert_false(found);

    static const int64_t keep[] = {10, 20, 30, 40};
    for (int i = 0; i < 4; i++) commit_step(keep[i], keep, 4);
    assert_ok(checkpoint_begin(step_folder, folder, 50)); /* killed here */
    assert_ok(checkpoint_newest(&found, step_folder, &manifest, &damaged, folder));
    assert_true(found);
    assert_int_equal(damaged, 0);
    assert_int_equal(manifest.step, 40);
    assert_string_equal(step_folder, in("checkpoints/step-000040"));
    assert_checkpoints("step-000010 step-000020 step-000030 step-000040");

    write_file(in("checkpoints/step-000040/state"), "state of 41");
    assert_ok(io_remove(in("checkpoints/step-000030/manifest.json")));
    assert_ok(checkpoint_newest(&found, step_folder, &manifest, &damaged, folder));
    assert_true(found);
    assert_int_equal(damaged, 2);
    assert_int_equal(manifest.step, 20);
    assert_checkpoints("damaged-step-000030 damaged-step-000040 step-000010 step-000020");
}

static void a_checkpoint_is_found_by_step(void **state)
{
    (void)state;
    char step_folder[PATH_TEXT];
    Manifest manifest;
    assert_fails(checkpoint_at(step_folder, &manifest, folder, 7), STATUS_DATA,
                 "/checkpoints: no step 7; there is none");
    static const int64_t keep[] = {10, 20, 30};
    for (int i = 0; i < 3; i++) commit_step(keep[i], keep, 3);
    assert_ok(checkpoint_at(step_folder, &manifest, folder, 20));
    assert_string_equal(step_folder, in("checkpoints/step-000020"));
    assert_fails(checkpoint_at(step_folder, &manifest, folder, 7), STATUS_DATA,
                 "/checkpoints: no step 7; there is 10, 20, 30");
    write_file(in("checkpoints/step-000020/state"), "x");
    assert_fails(checkpoint_at(step_folder, &manifest, folder, 20), STATUS_DATA,
                 "step-000020/state: 1 bytes, not 11");
    assert_checkpoints("step-000010 step-000020 step-000030");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_manifest_reads_back),
        IN_FOLDER(verify_names_the_first_file_that_differs),
        IN_FOLDER(a_foreign_manifest_is_refused),
        IN_FOLDER(the_newest_two_and_the_kept_stay),
        IN_FOLDER(what_is_removed_goes_at_once),
        IN_FOLDER(a_damaged_step_is_committed_again),
        IN_FOLDER(the_newest_valid_checkpoint_is_found),
        IN_FOLDER(a_checkpoint_is_found_by_step),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
