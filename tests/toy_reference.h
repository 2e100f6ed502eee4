/* The toy PPO stage run once, for others to be compared with, file by file. */
#ifndef TESTS_TOY_REFERENCE_H
#define TESTS_TOY_REFERENCE_H

#include "data/store/store.h"
#include "tests/toy_ppo.h"

static inline Digest file_digest(const Toy *toy, const char *file)
{
    char path[600];
    Bytes bytes = {0};
    toy_path(path, toy, file);
    assert_ok(io_read(&bytes, path, (size_t)1 << 30));
    const Digest digest = digest_of(bytes.data, bytes.count);
    bytes_free(&bytes);
    return digest;
}

static inline void check_same_file(const Toy *a, const Toy *b, const char *file)
{
    if (digest_equal(file_digest(a, file), file_digest(b, file))) return;
    print_error("%s differs\n", file);
    fail();
}

/* Weights and rollouts; with `all` everything else that is published too. */
static inline void check_same_results(const Toy *a, const Toy *b, bool all)
{
    check_same_file(a, b, "policy.h5");
    check_same_file(a, b, "critic.h5");
    check_same_file(a, b, "rollouts/manifest.json");
    for (int step = 1; step <= a->config.steps; step++) {
        char file[32];
        snprintf(file, sizeof file, "rollouts/%06d.h5", step);
        check_same_file(a, b, file);
    }
    if (!all) return;
    check_same_file(a, b, "samples.h5");
    check_same_file(a, b, "metrics.jsonl");
    check_same_file(a, b, "metrics.h5");
}

/* The run that others are compared with. */
static Toy reference;

static inline int make_reference(void **state)
{
    (void)state;
    store_setup();
    toy_begin(&reference);
    assert_ok(toy_life(&reference, 1, (StageHooks){0}));
    return 0;
}

static inline int drop_reference(void **state)
{
    (void)state;
    toy_end(&reference);
    return 0;
}

static inline void put_text(const Toy *toy, const char *file, const char *text)
{
    char path[600];
    toy_path(path, toy, file);
    assert_ok(io_publish(path, text, strlen(text)));
}

/* A hook that always says yes. */
static inline bool always(void *context)
{
    (void)context;
    return true;
}

#endif
