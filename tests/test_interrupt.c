/* scripts/rlhf/interrupt: no signal is lost between fork and the child's own handlers. */
#include "tests/support.h"

#include "scripts/rlhf/interrupt.h"

#include <signal.h>
#include <sys/wait.h>

static int end_of(pid_t child)
{
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void a_signal_is_noted_once_it_is_asked_for(void **state)
{
    (void)state;
    interrupt_install();
    assert_false(interrupt_stop());
    assert_null(interrupt_name());
    raise(SIGUSR1);
    assert_true(interrupt_checkpoint());
    assert_false(interrupt_checkpoint());
    raise(SIGTERM);
    assert_true(interrupt_stop());
    assert_string_equal(interrupt_name(), "SIGTERM");
    interrupt_install();
    assert_false(interrupt_stop());
}

/* The child is signalled before it goes on behind fork, in a parent that was asked to stop itself:
 * what the parent noted is no signal of the child's, what came meanwhile is. */
static void a_child_meets_what_came_before_its_handlers(void **state)
{
    (void)state;
    interrupt_install();
    raise(SIGINT);
    int gate[2];
    char byte;
    assert_int_equal(pipe(gate), 0);
    interrupt_hold();
    const pid_t child = fork();
    if (child == 0) {
        if (read(gate[0], &byte, 1) != 1) _exit(1);
        interrupt_install();
        const char *name = interrupt_name();
        _exit(name != NULL && strcmp(name, "SIGTERM") == 0 && interrupt_checkpoint() ? 0 : 2);
    }
    interrupt_release();
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(kill(child, SIGUSR1), 0);
    assert_int_equal(write(gate[1], "x", 1), 1);
    assert_int_equal(end_of(child), 0);
    close(gate[0]);
    close(gate[1]);
}

static void a_second_stop_leaves_at_once(void **state)
{
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        interrupt_install();
        raise(SIGTERM);
        raise(SIGINT);
        _exit(0);
    }
    assert_int_equal(end_of(child), 128 + SIGINT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_is_noted_once_it_is_asked_for),
        cmocka_unit_test(a_child_meets_what_came_before_its_handlers),
        cmocka_unit_test(a_second_stop_leaves_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
