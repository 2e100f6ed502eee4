#include "scripts/rlhf/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

/* Set by a handler on one thread, asked for by all: atomic, and lock-free where this runs. */
static atomic_int stop_asked, checkpoint_asked;

static void on_stop(int number)
{
    if (stop_asked) _exit(128 + number);
    stop_asked = number;
}

static void on_checkpoint(int number)
{
    (void)number;
    checkpoint_asked = 1;
}

static void set_mask(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(how, &set, NULL);
}

void interrupt_hold(void)
{
    set_mask(SIG_BLOCK);
}

void interrupt_release(void)
{
    set_mask(SIG_UNBLOCK);
}

void interrupt_install(void)
{
    stop_asked = 0;
    checkpoint_asked = 0;
    struct sigaction action = {.sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_stop;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_checkpoint;
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &action, NULL);
    sigaction(SIGPIPE, &action, NULL);
    interrupt_release();
}

bool interrupt_stop(void)
{
    return stop_asked != 0;
}

const char *interrupt_name(void)
{
    if (stop_asked == 0) return NULL;
    return stop_asked == SIGINT ? "SIGINT" : "SIGTERM";
}

bool interrupt_checkpoint(void)
{
    const bool asked = checkpoint_asked != 0;
    checkpoint_asked = 0;
    return asked;
}

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
