/* status, memory, arena, rng, parallel: what everything stands on. */
#include "tests/support.h"

#include "data/arena.h"
#include "data/memory.h"
#include "data/parallel.h"
#include "data/rng.h"

#include <gsl/gsl_randist.h>

static void context_goes_in_front_and_keeps_the_code(void **state)
{
    (void)state;
    Status status = status_fail(STATUS_DATA, "dimension %d is %d", 1, 96);
    status = status_context(status, "%s", "runs/a.h5");
    assert_int_equal(status, STATUS_DATA);
    assert_string_equal(status_message(), "runs/a.h5: dimension 1 is 96");
    assert_int_equal(status_context(STATUS_OK, "nothing"), STATUS_OK);
}

/* A message may quote a stranger's file, and ends on a terminal. */
static void control_characters_do_not_reach_a_message(void **state)
{
    (void)state;
    Status status = status_fail(STATUS_DATA, "%s",
                                "\x1b[2J a\nb \x7f \xc2\x9b"
                                "31m caf\xc3\xa9 \xc2\xb5");
    status = status_context(status, "%s", "a\r.json");
    assert_int_equal(status, STATUS_DATA);
    assert_string_equal(status_message(), "a?.json: ?[2J a?b ? ??31m caf\xc3\xa9 \xc2\xb5");
}

static void bytes_and_texts_grow(void **state)
{
    (void)state;
    Bytes bytes = {0};
    for (int i = 0; i < 1000; i++) assert_ok(bytes_print(&bytes, "%d,", i));
    assert_int_equal(strlen(bytes.data), bytes.count);
    assert_int_equal(bytes.count, 10 * 2 + 90 * 3 + 900 * 4);
    bytes_free(&bytes);

    Texts texts = {0};
    assert_ok(texts_add(&texts, "a\0b", 3));
    assert_ok(texts_add(&texts, "", 0));
    assert_ok(texts_add(&texts, "xyz", 3));
    size_t count;
    assert_memory_equal(texts_at(&texts, 0, &count), "a\0b", 3);
    assert_int_equal(count, 3);
    texts_at(&texts, 1, &count);
    assert_int_equal(count, 0);
    assert_memory_equal(texts_at(&texts, 2, &count), "xyz", 3);
    texts_free(&texts);
}

static void a_failed_allocation_leaves_what_was_there(void **state)
{
    (void)state;
    Bytes bytes = {0};
    assert_ok(bytes_text(&bytes, "kept"));
    memory_fault(1, 0);
    static const char large[4096];
    assert_fails(bytes_append(&bytes, large, sizeof large), STATUS_FAILED, "cannot allocate");
    assert_string_equal(bytes.data, "kept");
    assert_ok(bytes_append(&bytes, large, sizeof large));
    bytes_free(&bytes);
}

static void layout_measured_is_layout_claimed(void **state)
{
    (void)state;
    Arena plan = arena_measure();
    assert_null(arena_floats(&plan, 3));
    assert_null(arena_ints(&plan, 100));
    Arena arena;
    assert_ok(arena_init(&arena, plan.used));
    float *a = arena_floats(&arena, 3);
    int32_t *b = arena_ints(&arena, 100);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal((uintptr_t)b % 64, 0);
    assert_true((char *)b >= (char *)(a + 3));
    assert_int_equal(arena.used, arena.capacity);
    assert_int_equal(b[99], 0);
    arena_free(&arena);
}

static void streams_are_named_not_drawn(void **state)
{
    (void)state;
    Rng first = rng_stream(7, RNG_PPO, RNG_SAMPLING, 3, 11, 0);
    for (int i = 0; i < 1000; i++) rng_bits(&first);
    Rng again = rng_stream(7, RNG_PPO, RNG_SAMPLING, 3, 11, 0);
    Rng other = rng_stream(7, RNG_PPO, RNG_SAMPLING, 3, 12, 0);
    Rng same = rng_stream(7, RNG_PPO, RNG_SAMPLING, 3, 11, 0);
    const uint64_t bits = rng_bits(&again);
    assert_int_equal(bits, rng_bits(&same));
    assert_int_not_equal(bits, rng_bits(&other));
}

/* Random123's known answer for philox4x64-10 with key 0 and counter 0 (kat_vectors). */
static void philox_matches_its_known_answer(void **state)
{
    (void)state;
    Rng rng = {0};
    assert_int_equal(rng_bits(&rng), 0x16554d9eca36314cULL);
    assert_int_equal(rng_bits(&rng), 0xdb20fe9d672d0fdcULL);
    assert_int_equal(rng_bits(&rng), 0xd7e772cee186176bULL);
    assert_int_equal(rng_bits(&rng), 0x7e68b68aec7ba23bULL);
}

static void gsl_draws_from_our_stream(void **state)
{
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, RNG_WORLD, 0, 0, 0);
    gsl_rng source = rng_gsl(&rng);
    double sum = 0, squares = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        const double x = gsl_ran_gaussian(&source, 2.0);
        sum += x;
        squares += x * x;
    }
    assert_close(sum / n, 0, 4 * 2.0 / sqrt(n), 0);
    assert_close(squares / n, 4, 4 * 4 * sqrt(2.0 / n), 0);
}

static void shuffle_is_a_permutation_and_uniform_enough(void **state)
{
    (void)state;
    int first[6] = {0};
    for (int trial = 0; trial < 6000; trial++) {
        Rng rng = rng_stream(1, RNG_TEST, RNG_ORDER, (uint64_t)trial, 0, 0);
        int order[6] = {0, 1, 2, 3, 4, 5}, seen = 0;
        rng_shuffle(&rng, order, 6);
        for (int i = 0; i < 6; i++) seen |= 1 << order[i];
        assert_int_equal(seen, 63);
        first[order[0]]++;
    }
    for (int i = 0; i < 6; i++) assert_close(first[i], 1000, 5 * sqrt(1000 * 5.0 / 6), 0);
}

static Status fail_on_odd(void *context, int item, int worker)
{
    (void)worker;
    ((int *)context)[item]++;
    return item % 2 ? status_fail(STATUS_DATA, "item %d is odd", item) : STATUS_OK;
}

static void parallel_runs_all_and_reports_the_lowest(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        int ran[97] = {0};
        assert_fails(parallel_for(97, threads, fail_on_odd, ran), STATUS_DATA, "item 1 is odd");
        for (int i = 0; i < 97; i++) assert_int_equal(ran[i], 1);
    }
    assert_ok(parallel_for(0, 4, fail_on_odd, NULL));
    assert_true(parallel_cpus() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_goes_in_front_and_keeps_the_code),
        cmocka_unit_test(control_characters_do_not_reach_a_message),
        cmocka_unit_test(bytes_and_texts_grow),
        cmocka_unit_test(a_failed_allocation_leaves_what_was_there),
        cmocka_unit_test(layout_measured_is_layout_claimed),
        cmocka_unit_test(streams_are_named_not_drawn),
        cmocka_unit_test(philox_matches_its_known_answer),
        cmocka_unit_test(gsl_draws_from_our_stream),
        cmocka_unit_test(shuffle_is_a_permutation_and_uniform_enough),
        cmocka_unit_test(parallel_runs_all_and_reports_the_lowest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
