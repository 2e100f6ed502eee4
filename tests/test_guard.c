/* policy/guard: which updates are left out, and that a checkpoint keeps what decides it. */
#include "tests/support.h"

#include "policy/guard.h"
#include "tests/folder.h"

static const OptimiserConfig off = {.on_spike = "off", .spike_sigmas = 6};
static const OptimiserConfig skip_spikes = {.on_spike = "skip", .spike_sigmas = 6};
static const OptimiserConfig stop_at_spikes = {.on_spike = "stop", .spike_sigmas = 6};

static bool judge(Guard *guard, double loss, const OptimiserConfig *config)
{
    bool skip;
    assert_ok(guard_judge(&skip, guard, STATUS_OK, loss, config));
    return skip;
}

/* A loss around 2 that never leaves 1.9 to 2.1. */
static void warm_up(Guard *guard, const OptimiserConfig *config)
{
    for (int i = 0; i < 2 * GUARD_WARMUP; i++) {
        assert_false(judge(guard, i % 2 == 0 ? 1.9 : 2.1, config));
    }
}

static void the_third_in_a_row_that_is_not_finite_ends_the_run(void **state)
{
    (void)state;
    Guard guard = {0};
    bool skip;
    assert_true(isnan(guard_metric(&guard)));
    assert_true(judge(&guard, NAN, &off));
    assert_true(judge(&guard, INFINITY, &off));
    assert_false(judge(&guard, 1.0, &off)); /* not in a row */
    assert_true(judge(&guard, -INFINITY, &off));
    assert_true(judge(&guard, NAN, &off));
    const Guard before = guard;
    assert_fails(guard_judge(&skip, &guard, STATUS_OK, INFINITY, &off), STATUS_DIVERGED,
                 "3 updates in a row were not finite: the loss is inf");
    assert_close(guard_metric(&guard), 4, 0, 0);
    assert_memory_equal(&guard, &before, sizeof guard); /* going on from here fails alike */
}

static void a_spike_is_what_the_settings_say(void **state)
{
    (void)state;
    Guard guard = {0};
    bool skip;
    warm_up(&guard, &skip_spikes);
    assert_close(guard.mean, 2.0, 0.05, 0);
    assert_false(judge(&guard, 2.3, &skip_spikes));
    assert_true(judge(&guard, 4.0, &skip_spikes));
    assert_false(judge(&guard, 2.0, &skip_spikes));
    assert_fails(guard_judge(&skip, &guard, STATUS_OK, 4.0, &stop_at_spikes), STATUS_DIVERGED,
                 "the loss is 4, above 2.");
    assert_false(judge(&guard, 4.0, &off));
    /* Before there is a mean to speak of nothing is a spike. */
    guard = (Guard){0};
    assert_false(judge(&guard, 1.0, &skip_spikes));
    assert_false(judge(&guard, 1e6, &skip_spikes));
}

static void a_checkpoint_keeps_what_decides(void **state)
{
    (void)state;
    Guard guard = {0}, again;
    Manifest manifest = {0};
    char names[2][128];
    int count = 0;
    /* Nothing to say, nothing written. */
    assert_ok(guard_write(names, &count, folder, "policy", &guard));
    assert_int_equal(count, 0);
    assert_ok(guard_read(&again, folder, "policy", &manifest));
    assert_memory_equal(&again, &guard, sizeof guard);

    warm_up(&guard, &skip_spikes);
    assert_true(judge(&guard, 4.0, &skip_spikes));
    assert_true(judge(&guard, NAN, &skip_spikes));
    assert_ok(guard_write(names, &count, folder, "policy", &guard));
    assert_int_equal(count, 1);
    assert_string_equal(names[0], "policy-guard.json");
    assert_ok(manifest_add(&manifest, folder, names[0]));
    assert_ok(guard_read(&again, folder, "policy", &manifest));
    assert_memory_equal(&again, &guard, sizeof guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_third_in_a_row_that_is_not_finite_ends_the_run),
        cmocka_unit_test(a_spike_is_what_the_settings_say),
        cmocka_unit_test_setup_teardown(a_checkpoint_keeps_what_decides, make_folder, drop_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
