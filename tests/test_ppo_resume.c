/* A PPO stage that stops goes on to the same bytes, and believes nothing that lies there. */
#include "tests/support.h"

#include "tests/toy_reference.h"

typedef struct Patience {
    int questions; /* until the answer is yes */
} Patience;

static bool patience_is_over(void *context)
{
    Patience *patience = context;
    return --patience->questions <= 0;
}

static bool counted(void *context)
{
    ++*(int *)context;
    return false;
}

static int questions_of_a_life(void)
{
    Toy toy;
    toy_begin(&toy);
    int questions = 0;
    assert_ok(toy_life(&toy, 1, (StageHooks){.context = &questions, .should_stop = counted}));
    toy_end(&toy);
    return questions;
}

/* Wherever the run is stopped, going on ends with the same bytes. */
static void stopped_run_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    int stops = 0;
    const int all = questions_of_a_life();
    assert_true(all > 100); /* tokens, blocks and minibatches are among them */
    for (int questions = 1; questions <= all; questions += all / 16) {
        Toy toy;
        toy_begin(&toy);
        Patience patience = {.questions = questions};
        /* With a checkpoint behind it an update is dropped half way, without it is finished. */
        const StageHooks hooks = {.context = &patience,
                                  .should_stop = patience_is_over,
                                  .should_checkpoint = questions % 2 == 0 ? always : NULL};
        const Status status = toy_life(&toy, 1, hooks);
        if (status != STATUS_OK) {
            stops++;
            assert_fails(status, STATUS_STOPPED, "stopped after step");
            assert_ok(toy_life(&toy, 2, (StageHooks){0}));
        }
        check_same_results(&reference, &toy, true);
        toy_end(&toy);
    }
    assert_true(stops >= 12);
}

/* C15, C14: the coefficient moves once an iteration, by that iteration's KL, and survives a stop.
 */
static void c15_adaptive_coefficient_survives_a_stop(void **state)
{
    (void)state;
    Toy whole, parted;
    Toy *const toys[2] = {&whole, &parted};
    for (int i = 0; i < 2; i++) {
        toy_begin(toys[i]);
        strcpy(toys[i]->config.kl_controller, "adaptive");
        toys[i]->config.kl_target = 0.05;
    }
    assert_ok(toy_life(&whole, 1, (StageHooks){0}));
    Patience patience = {.questions = questions_of_a_life() / 2};
    assert_fails(
        toy_life(&parted, 1, (StageHooks){.context = &patience, .should_stop = patience_is_over}),
        STATUS_STOPPED, "stopped");
    assert_ok(toy_life(&parted, 1, (StageHooks){0}));
    check_same_results(&whole, &parted, true);

    char path[600];
    MetricColumns columns = {0};
    toy_path(path, &whole, "metrics.jsonl");
    assert_ok(metric_columns_read(&columns, path));
    const double *kl = metric_column(&columns, "objective/kl");
    const double *coefficient = metric_column(&columns, "objective/kl_coef");
    assert_true(coefficient[0] == 0.05);
    for (int i = 1; i < columns.rows; i++) {
        assert_true(coefficient[i] ==
                    ppo_config_next_kl_coef(&whole.config, coefficient[i - 1], kl[i - 1]));
        assert_true(coefficient[i] != coefficient[i - 1]);
    }
    metric_columns_free(&columns);
    toy_end(&whole);
    toy_end(&parted);
}

static void rollout_file_that_is_gone_is_missed(void **state)
{
    (void)state;
    Toy toy;
    toy_begin(&toy);
    Patience patience = {.questions = questions_of_a_life() / 2};
    assert_fails(
        toy_life(&toy, 1, (StageHooks){.context = &patience, .should_stop = patience_is_over}),
        STATUS_STOPPED, "stopped");
    char path[600];
    toy_path(path, &toy, "rollouts/000001.h5");
    assert_ok(io_remove(path));
    assert_fails(toy_life(&toy, 1, (StageHooks){0}), STATUS_DATA, "rollouts/000001.h5: missing");
    toy_end(&toy);
}

/* A stage with some steps done and committed. */
static void begin_stopped(Toy *toy)
{
    toy_begin(toy);
    Patience patience = {.questions = questions_of_a_life() / 2};
    assert_fails(
        toy_life(toy, 1, (StageHooks){.context = &patience, .should_stop = patience_is_over}),
        STATUS_STOPPED, "stopped");
    assert_true(toy->stage.last_step >= 1 && toy->stage.last_step < 5);
}

/* Opens the stage again and leaves at once. */
static void look_in(Toy *toy)
{
    Patience patience = {.questions = 0};
    assert_fails(
        toy_life(toy, 1, (StageHooks){.context = &patience, .should_stop = patience_is_over}),
        STATUS_STOPPED, "stopped");
}

/* A rollout is bound to its run from when it is written, not from when it is published. */
static void rollout_file_that_was_altered_is_refused(void **state)
{
    (void)state;
    Toy toy;
    begin_stopped(&toy);
    char path[600];
    Bytes bytes = {0};
    toy_path(path, &toy, "rollouts/000001.h5");
    assert_ok(io_read(&bytes, path, 1 << 24));
    bytes.data[bytes.count / 2] ^= 1;
    assert_ok(io_publish(path, bytes.data, bytes.count));
    assert_fails(toy_life(&toy, 1, (StageHooks){0}), STATUS_DATA,
                 "rollouts/000001.h5: its hash is");
    assert_non_null(strstr(status_message(), "; --restart ppo starts the stage over"));
    bytes.data[bytes.count / 2] ^= 1;
    assert_ok(io_publish(path, bytes.data, bytes.count));
    bytes_free(&bytes);

    put_text(&toy, "rollouts.jsonl", "{\"name\":\"000001.h5\"}\n");
    assert_fails(toy_life(&toy, 1, (StageHooks){0}), STATUS_DATA, "ppo/rollouts.jsonl: its first ");
    assert_non_null(strstr(status_message(), "; --restart ppo starts the stage over"));
    toy_end(&toy);
}

/* What a life beyond the checkpoint left goes when it is resumed. */
static void a_resumed_stage_shows_nothing_of_later_steps(void **state)
{
    (void)state;
    Toy toy;
    begin_stopped(&toy);
    char path[600];
    static const char *const later[] = {"rollouts/000005.h5", "rollouts/1000000.h5",
                                        "rollouts/manifest.json", "metrics.h5"};
    for (int i = 0; i < 4; i++) put_text(&toy, later[i], "of a later step");
    const Digest samples = file_digest(&toy, "samples.h5");
    put_text(&toy, "samples.h5", "of a later step");
    put_text(&toy, "rollouts/notes.txt", "somebody's own");
    look_in(&toy);
    for (int i = 0; i < 4; i++) {
        toy_path(path, &toy, later[i]);
        assert_false(io_exists(path));
    }
    assert_true(digest_equal(samples, file_digest(&toy, "samples.h5")));
    toy_path(path, &toy, "rollouts/notes.txt");
    assert_true(io_exists(path));
    toy_path(path, &toy, "rollouts/000001.h5");
    assert_true(io_exists(path));
    assert_ok(toy_life(&toy, 1, (StageHooks){0}));
    check_same_results(&reference, &toy, true);
    toy_end(&toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_run_goes_on_to_the_same_bytes),
        cmocka_unit_test(c15_adaptive_coefficient_survives_a_stop),
        cmocka_unit_test(rollout_file_that_is_gone_is_missed),
        cmocka_unit_test(rollout_file_that_was_altered_is_refused),
        cmocka_unit_test(a_resumed_stage_shows_nothing_of_later_steps),
    };
    return cmocka_run_group_tests(tests, make_reference, drop_reference);
}
