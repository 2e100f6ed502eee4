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

static void a_loss_that_rose_for_good_is_taken_again(void **state)
{
    (void)state;
    Guard guard = {0};
    warm_up(&guard, &skip_spikes);
    int left_out = 0;
    while (left_out < 100 && judge(&guard, 4.0, &skip_spikes)) left_out++;
    assert_in_range(left_out, 10, 60);
    assert_int_equal(guard.skipped, left_out);
    for (int i = 0; i < GUARD_WARMUP; i++) assert_false(judge(&guard, 4.0, &skip_spikes));
}

/* Losses all alike have no spread by which to judge the next. */
static void equal_losses_do_not_make_spikes_of_all_others(void **state)
{
    (void)state;
    const double means[] = {2.0, -2.0, 0.0};
    for (int m = 0; m < 3; m++) {
        Guard guard = {0};
        for (int i = 0; i < 2 * GUARD_WARMUP; i++)
            assert_false(judge(&guard, means[m], &skip_spikes));
        assert_true(guard.variance == 0);
        if (means[m] != 0) {
            const double near = means[m] + 0.01;
            Guard stopping = guard;
            assert_false(judge(&stopping, near, &stop_at_spikes));
            assert_true(stopping.variance > 0);
        }
        int left_out = 0;
        while (left_out < 100 && judge(&guard, 1000.0, &skip_spikes)) left_out++;
        assert_int_equal(left_out, GUARD_WARMUP);
        assert_int_equal(guard.skipped, GUARD_WARMUP);
        for (int i = 0; i < GUARD_WARMUP; i++) {
            assert_false(judge(&guard, i % 2 == 0 ? 900.0 : 1100.0, &skip_spikes));
        }
        assert_true(judge(&guard, 1e6, &skip_spikes)); /* and judges again */
        assert_false(judge(&guard, 1000.0, &skip_spikes));
        assert_int_equal(guard.spikes, 0);
    }
}

static void a_spike_that_ends_the_run_leaves_the_guard_as_it_was(void **state)
{
    (void)state;
    Guard guard = {0};
    bool skip;
    warm_up(&guard, &stop_at_spikes);
    assert_true(judge(&guard, NAN, &stop_at_spikes));
    const Guard before = guard;
    assert_fails(guard_judge(&skip, &guard, STATUS_OK, 4.0, &stop_at_spikes), STATUS_DIVERGED,
                 "the loss is 4, above 2.");
    assert_memory_equal(&guard, &before, sizeof guard);
    assert_false(judge(&guard, 2.0, &stop_at_spikes));
    assert_int_equal(guard.in_a_row, 0);
}

#define TO_TRY                                                                                     \
    "; to try: a lower sft.learning_rate or gradients clipped sooner (sft.max_grad_norm), by "     \
    "--set with "                                                                                  \
    "--restart sft"

/* Counts its calls; fails on request. */
typedef struct Saves {
    int calls;
    bool fail;
} Saves;

static Status save(void *context, int64_t step)
{
    Saves *saves = context;
    saves->calls++;
    assert_int_equal(step, 7);
    return saves->fail ? status_fail(STATUS_IO, "the disk is full") : STATUS_OK;
}

static void only_a_checkpoint_that_was_saved_is_said_to_be_kept(void **state)
{
    (void)state;
    Stage stage = {.name = "sft", .run = "runs/a", .folder = "runs/a/sft", .last_step = 5};
    Saves saves = {.fail = true};
    assert_int_equal(status_fail(STATUS_DIVERGED, "too much"), STATUS_DIVERGED);
    assert_int_equal(guard_keep(&stage, 7, save, &saves), STATUS_DIVERGED);
    assert_string_equal(status_message(), "too much" TO_TRY);

    saves.fail = false;
    const char *kept = "too much; kept: runs/a/sft/checkpoints/step-000007, from which rlhf resume "
                       "runs/a repeats it" TO_TRY;
    assert_int_equal(status_fail(STATUS_DIVERGED, "too much"), STATUS_DIVERGED);
    assert_int_equal(guard_keep(&stage, 7, save, &saves), STATUS_DIVERGED);
    assert_string_equal(status_message(), kept);
    assert_int_equal(saves.calls, 2);

    stage.last_step = 7; /* saved before: not again */
    assert_int_equal(status_fail(STATUS_DIVERGED, "too much"), STATUS_DIVERGED);
    assert_fails(guard_keep(&stage, 7, save, &saves), STATUS_DIVERGED, kept);
    assert_int_equal(saves.calls, 2);
}

static void what_diverged_elsewhere_says_what_is_kept_and_what_to_try(void **state)
{
    (void)state;
    Stage stage = {.name = "sft", .run = "runs/a", .folder = "runs/a/sft", .last_step = -1};
    char dump[600];
    snprintf(dump, sizeof dump, "%s/000003.h5", folder);
    assert_int_equal(guard_explain(&stage, status_fail(STATUS_DIVERGED, "too much"), dump),
                     STATUS_DIVERGED);
    assert_string_equal(status_message(), "too much; kept: nothing of the stage yet" TO_TRY);

    stage.last_step = 2;
    assert_int_equal(guard_explain(&stage, status_fail(STATUS_DIVERGED, "too much"), NULL),
                     STATUS_DIVERGED);
    assert_string_equal(status_message(),
                        "too much; kept: runs/a/sft/checkpoints/step-000002" TO_TRY);

    /* A broken invariant is a mistake of the program: no setting helps. */
    char expected[1200];
    assert_ok(io_publish(dump, "x", 1));
    snprintf(expected, sizeof expected, "not 1; kept: %s and runs/a/sft/checkpoints/step-000002",
             dump);
    assert_int_equal(guard_explain(&stage, status_fail(STATUS_BROKEN, "not 1"), dump),
                     STATUS_BROKEN);
    assert_string_equal(status_message(), expected);

    assert_int_equal(guard_explain(&stage, status_fail(STATUS_IO, "full"), dump), STATUS_IO);
    assert_string_equal(status_message(), "full");
    assert_ok(guard_explain(&stage, STATUS_OK, dump));
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
    assert_int_equal(guard.spikes, 1);
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
        cmocka_unit_test(a_loss_that_rose_for_good_is_taken_again),
        cmocka_unit_test(equal_losses_do_not_make_spikes_of_all_others),
        cmocka_unit_test(a_spike_that_ends_the_run_leaves_the_guard_as_it_was),
        cmocka_unit_test(only_a_checkpoint_that_was_saved_is_said_to_be_kept),
        IN_FOLDER(what_diverged_elsewhere_says_what_is_kept_and_what_to_try),
        IN_FOLDER(a_checkpoint_keeps_what_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
