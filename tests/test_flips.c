/* Checkpoints that were damaged: each flipped bit, each length cut short, each file that belongs to
 * another generation is found before HDF5 sees a byte, and the generation before is used.
 *
 * Without an argument a sample of the cases; with "all" every one of them. */
#include "tests/support.h"

#include "data/checkpoint.h"
#include "data/stage.h"
#include "policy/gemm.h"
#include "policy/network_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

enum { OLDER = 100, NEWER = 200, SAMPLE = 61 };

static char run[64];          /* in memory, where there is such a folder */
static char older[PATH_TEXT]; /* the two generations */
static char newer[PATH_TEXT];
static char stage_folder[PATH_TEXT];
static int stride = SAMPLE; /* every so many cases */
static int forks;           /* each is a reader of HDF5 */
static int cases;           /* damaged generations tried */

static void count_fork(void)
{
    forks++;
}

static const MetricInfo infos[] = {{"loss", "nats a token", "made up", "nothing", NAN, NAN, ""}};
static const MetricTable table = {.metrics = infos, .count = 1};

/* What pretraining a model of one layer with 8 channels commits at `step`. */
static void commit(Stage *stage, const Model *model, const AdamW *adamw, int64_t step)
{
    char folder[PATH_TEXT], names[NETWORK_FILES_MAX][128];
    const double loss = 1.0 / (double)step;
    int count = 0;
    assert_ok(stage_record(stage, step, NEWER, 10, &loss, (const char *const[]){NULL}));
    assert_ok(stage_checkpoint_begin(stage, folder, step));
    assert_ok(network_write(names, &count, folder, "policy", model, adamw, 6));
    assert_int_equal(count, 1);
    const char *const list[] = {names[0]};
    assert_ok(stage_checkpoint(stage, folder, step, list, 1, NULL, 0));
}

static void drop_generations(void)
{
    if (getpid() == test_owner) (void)io_remove_tree(run);
}

static int make_generations(void **state)
{
    (void)state;
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(run, sizeof run, "%s/rlhf-test-XXXXXX", base);
    assert_non_null(mkdtemp(run));
    test_owner = getpid();
    atexit(drop_generations);

    assert_ok(gemm_setup());
    Model model = {0};
    AdamW adamw = {0};
    const ModelShape shape = {.vocabulary = 7,
                              .positions = 16,
                              .channels = 8,
                              .heads = 2,
                              .layers = 1,
                              .causal = true,
                              .head = HEAD_LANGUAGE};
    assert_ok(model_init(&model, shape));
    model_randomise(&model, 11, RNG_TEST, false);
    assert_ok(adamw_init(&adamw, &model));
    Stage stage = {.name = "pretrain", .run = run, .seed = 5, .threads = 1};
    assert_ok(stage_open(&stage, &table));
    commit(&stage, &model, &adamw, OLDER);
    model_randomise(&model, 12, RNG_TEST, false);
    adamw.step = NEWER;
    commit(&stage, &model, &adamw, NEWER);
    assert_ok(path_join(stage_folder, run, "pretrain"));
    assert_ok(path_join(older, stage_folder, "checkpoints/step-000100"));
    assert_ok(path_join(newer, stage_folder, "checkpoints/step-000200"));
    stage_close(&stage);
    adamw_free(&adamw);
    model_free(&model);
    return pthread_atfork(count_fork, NULL, NULL);
}

static const char *in_newer(const char *name)
{
    static char path[PATH_TEXT];
    assert_ok(path_join(path, newer, name));
    return path;
}

/* The newer generation is found damaged and put aside, the older one is taken; then the newer one
 * stands where it was. */
static void falls_back(const char *what, size_t at)
{
    bool found;
    int damaged;
    char folder[PATH_TEXT], aside[PATH_TEXT];
    Manifest manifest;
    cases++;
    assert_ok(checkpoint_newest(&found, folder, &manifest, &damaged, stage_folder));
    if (!found || manifest.step != OLDER || damaged != 1) {
        print_error("%s, case %zu: taken for whole\n", what, at);
        fail();
    }
    assert_string_equal(folder, older);
    assert_ok(path_join(aside, stage_folder, "checkpoints/damaged-step-000200"));
    assert_int_equal(rename(aside, newer), 0);
}

static void is_whole(void)
{
    bool found;
    int damaged;
    char folder[PATH_TEXT];
    Manifest manifest;
    assert_ok(checkpoint_newest(&found, folder, &manifest, &damaged, stage_folder));
    assert_true(found);
    assert_int_equal(damaged, 0);
    assert_int_equal(manifest.step, NEWER);
}

static void flip_bits_of(const char *name, int every)
{
    uint64_t size;
    assert_ok(io_size(&size, in_newer(name)));
    const int file = open(in_newer(name), O_RDWR);
    assert_true(file >= 0);
    for (size_t bit = 0; bit < 8 * size; bit += (size_t)every) {
        const off_t at = (off_t)(bit / 8);
        unsigned char good, bad;
        assert_int_equal(pread(file, &good, 1, at), 1);
        bad = (unsigned char)(good ^ 1U << bit % 8);
        assert_int_equal(pwrite(file, &bad, 1, at), 1);
        falls_back(name, bit);
        assert_int_equal(pwrite(file, &good, 1, at), 1);
    }
    assert_int_equal(close(file), 0);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    is_whole();
    flip_bits_of("manifest.json", stride == 1 ? 1 : 3);
    flip_bits_of("policy.h5", stride);
    is_whole();
    assert_int_equal(forks, 0);
}

static void cut_lengths_of(const char *name, int every)
{
    Bytes whole = {0};
    assert_ok(io_read(&whole, in_newer(name), 1 << 20));
    const int file = open(in_newer(name), O_RDWR);
    assert_true(file >= 0);
    for (size_t length = 0; length < whole.count; length += (size_t)every) {
        assert_int_equal(ftruncate(file, (off_t)length), 0);
        falls_back(name, length);
        assert_int_equal(pwrite(file, whole.data, whole.count, 0), (ssize_t)whole.count);
    }
    assert_int_equal(pwrite(file, "", 1, (off_t)whole.count), 1); /* and one byte too many */
    falls_back(name, whole.count + 1);
    assert_int_equal(ftruncate(file, (off_t)whole.count), 0);
    assert_int_equal(close(file), 0);
    bytes_free(&whole);
}

static void every_length_is_found(void **state)
{
    (void)state;
    cut_lengths_of("manifest.json", stride == 1 ? 1 : 7);
    cut_lengths_of("policy.h5", stride);
    is_whole();
    assert_int_equal(forks, 0);
}

/* Both generations hold files of the same names and sizes. */
static void a_file_of_another_generation_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"policy.h5", "manifest.json"};
    for (int i = 0; i < 2; i++) {
        char from[PATH_TEXT];
        Bytes mine = {0}, other = {0};
        assert_ok(path_join(from, older, names[i]));
        assert_ok(io_read(&other, from, 1 << 20));
        assert_ok(io_read(&mine, in_newer(names[i]), 1 << 20));
        assert_ok(io_publish(in_newer(names[i]), other.data, other.count));
        falls_back(names[i], 0);
        assert_ok(io_publish(in_newer(names[i]), mine.data, mine.count));
        bytes_free(&mine);
        bytes_free(&other);
    }
    /* All files of the older one under the newer one's name. */
    char aside[PATH_TEXT], copy[PATH_TEXT];
    assert_ok(path_join(aside, stage_folder, "checkpoints/aside"));
    assert_int_equal(rename(newer, aside), 0);
    assert_int_equal(mkdir(newer, 0700), 0);
    for (int i = 0; i < 2; i++) {
        Bytes other = {0};
        assert_ok(path_join(copy, older, names[i]));
        assert_ok(io_read(&other, copy, 1 << 20));
        assert_ok(io_publish(in_newer(names[i]), other.data, other.count));
        bytes_free(&other);
    }
    falls_back("the older generation renamed", 0);
    assert_ok(io_remove_tree(newer));
    assert_int_equal(rename(aside, newer), 0);
    is_whole();
    assert_int_equal(forks, 0);
}

static void what_is_no_file_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"policy.h5", "manifest.json"};
    for (int i = 0; i < 2; i++) {
        Bytes mine = {0};
        assert_ok(io_read(&mine, in_newer(names[i]), 1 << 20));
        assert_ok(io_remove(in_newer(names[i])));
        falls_back("missing", 0);
        assert_int_equal(mkdir(in_newer(names[i]), 0700), 0);
        falls_back("a folder", 0);
        assert_int_equal(rmdir(in_newer(names[i])), 0);
        assert_int_equal(mkfifo(in_newer(names[i]), 0600), 0);
        falls_back("a pipe", 0);
        assert_ok(io_publish(in_newer(names[i]), mine.data, mine.count));
        bytes_free(&mine);
    }
    is_whole();
    assert_int_equal(forks, 0);
}

/* Were the hashes left out, most of the flips above would go unseen: HDF5 checks little itself. */
static void without_the_hash_flips_are_read_as_data(void **state)
{
    (void)state;
    enum { TRIALS = 60 };
    int read = 0;
    uint64_t size;
    Model model = {0};
    assert_ok(io_size(&size, in_newer("policy.h5")));
    const int file = open(in_newer("policy.h5"), O_RDWR);
    assert_true(file >= 0);
    for (int i = 0; i < TRIALS; i++) {
        const off_t at = (off_t)(size * (uint64_t)i / TRIALS);
        unsigned char good, bad;
        assert_int_equal(pread(file, &good, 1, at), 1);
        bad = good ^ 0x10;
        assert_int_equal(pwrite(file, &bad, 1, at), 1);
        read += network_read(&model, NULL, newer, "policy", NULL, NULL) == STATUS_OK;
        model_free(&model);
        assert_int_equal(pwrite(file, &good, 1, at), 1);
    }
    assert_int_equal(close(file), 0);
    assert_true(forks >= TRIALS);
    assert_true(read > TRIALS / 2);
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "all") == 0) stride = 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_length_is_found),
        cmocka_unit_test(a_file_of_another_generation_is_found),
        cmocka_unit_test(what_is_no_file_is_found),
        cmocka_unit_test(without_the_hash_flips_are_read_as_data),
    };
    const double begun = stage_seconds();
    const int failed = cmocka_run_group_tests(tests, make_generations, NULL);
    printf("test_flips: %s: %d damaged checkpoints in %.0f s\n", failed ? "failed" : "fine", cases,
           stage_seconds() - begun);
    return failed;
}
