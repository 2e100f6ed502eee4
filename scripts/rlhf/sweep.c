/* One run a combination of seeds and listed values, each a process of its own, so that a failure of
 * one leaves the others alone. */
#include "scripts/rlhf/run.h"

#include "data/parallel.h"
#include "scripts/rlhf/interrupt.h"
#include "scripts/rlhf/scorecard.h"
#include "scripts/rlhf/terminal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUES_MAX = 100, AXES_MAX = 8, RUNS_MAX = 1000, NAME = 200, POLL_MICROSECONDS = 50000 };

/* A setting and the values it takes. */
typedef struct Axis {
    char key[64];
    char value[VALUES_MAX][32];
    int count;
} Axis;

typedef struct Member {
    char name[NAME]; /* of its directory */
    int choice[AXES_MAX];
    pid_t process; /* 0: not started, -1: done */
    Status status;
} Member;

typedef struct Sweep {
    const SweepRequest *request;
    Axis axis[AXES_MAX];
    int axes;
    Member *member;
    int members;
    FILE *out, *errors;
} Sweep;

bool sweep_is_list(const char *assignment)
{
    const size_t key = strcspn(assignment, "=");
    const ConfigField *field = settings_field(assignment, key);
    const bool number =
        field != NULL && (field->type == CONFIG_INTEGER || field->type == CONFIG_REAL);
    return number && strchr(assignment + key, ',') != NULL;
}

static Status axis_add(Axis *axis, const char *value, size_t length)
{
    if (axis->count == VALUES_MAX) {
        return status_fail(STATUS_USAGE, "%s: more than %d values", axis->key, VALUES_MAX);
    }
    if (length == 0 || length >= sizeof axis->value[0]) {
        return status_fail(STATUS_USAGE, "%s: a value of the list is empty or too long", axis->key);
    }
    snprintf(axis->value[axis->count++], sizeof axis->value[0], "%.*s", (int)length, value);
    return STATUS_OK;
}

static Status axis_list(Axis *axis, const char *list)
{
    for (;;) {
        const size_t length = strcspn(list, ",");
        TRY(axis_add(axis, list, length));
        if (list[length] == '\0') return STATUS_OK;
        list += length + 1;
    }
}

/* "1..5" or "1,2,3". */
static Status axis_seeds(Axis *axis, const char *seeds)
{
    snprintf(axis->key, sizeof axis->key, "seed");
    char *end;
    const long long first = strtoll(seeds, &end, 10);
    if (end == seeds || strncmp(end, "..", 2) != 0) return axis_list(axis, seeds);
    const char *rest = end + 2;
    const long long last = strtoll(rest, &end, 10);
    if (end == rest || *end != '\0' || last < first) {
        return status_fail(STATUS_USAGE, "--seeds %s: expected A..B with A at most B, or A,B,C",
                           seeds);
    }
    for (long long seed = first; seed <= last; seed++) {
        char text[32];
        snprintf(text, sizeof text, "%lld", seed);
        TRY(axis_add(axis, text, strlen(text)));
    }
    return STATUS_OK;
}

/* Lists in --set in their order, the seed last. */
static Status find_axes(Sweep *sweep)
{
    const SweepRequest *request = sweep->request;
    for (int i = 0; i < request->sets; i++) {
        if (!sweep_is_list(request->set[i])) continue;
        if (sweep->axes == AXES_MAX - 1) {
            return status_fail(STATUS_USAGE, "--set: more than %d lists", AXES_MAX - 1);
        }
        Axis *axis = &sweep->axis[sweep->axes++];
        const size_t key = strcspn(request->set[i], "=");
        snprintf(axis->key, sizeof axis->key, "%.*s", (int)(key < 63 ? key : 63), request->set[i]);
        TRY(axis_list(axis, request->set[i] + key + 1));
    }
    if (request->seeds != NULL) TRY(axis_seeds(&sweep->axis[sweep->axes++], request->seeds));
    return STATUS_OK;
}

/* "quickstart-kl_coef=0.05-s1". */
static void name_member(Member *member, const Sweep *sweep, const Settings *settings)
{
    char source[64];
    run_source_name(source, sweep->request->source);
    size_t used = (size_t)snprintf(member->name, NAME, "%s", source);
    for (int a = 0; a < sweep->axes && used < NAME; a++) {
        const Axis *axis = &sweep->axis[a];
        if (strcmp(axis->key, "seed") == 0) continue;
        const char *dot = strrchr(axis->key, '.');
        used += (size_t)snprintf(member->name + used, NAME - used, "-%s=%s",
                                 dot != NULL ? dot + 1 : axis->key, axis->value[member->choice[a]]);
    }
    if (used < NAME) {
        snprintf(member->name + used, NAME - used, "-s%lld", (long long)settings->seed);
    }
}

/* Single values as given, then this member's of the lists. */
static Status set_member(RunRequest *request, const Member *member, const Sweep *sweep)
{
    const SweepRequest *of = sweep->request;
    for (int i = 0; i < of->sets; i++) {
        if (sweep_is_list(of->set[i])) continue;
        TRY(settings_set(&request->settings, &request->options, of->set[i]));
    }
    for (int a = 0; a < sweep->axes; a++) {
        char assignment[128];
        snprintf(assignment, sizeof assignment, "%s=%s", sweep->axis[a].key,
                 sweep->axis[a].value[member->choice[a]]);
        TRY(settings_set(&request->settings, &request->options, assignment));
    }
    return STATUS_OK;
}

static Status member_request(RunRequest *request, Member *member, const Sweep *sweep)
{
    const SweepRequest *of = sweep->request;
    *request = of->base;
    TRY(set_member(request, member, sweep));
    TRY(settings_check(&request->settings));
    name_member(member, sweep, &request->settings);
    char path[STAGE_PATH];
    TRY(path_join(path, of->folder, member->name));
    TRY(run_path(request->run, path));
    if (request->resume) { /* its place is known only now */
        TRY(life_options(&request->options, request->run));
        TRY(set_member(request, member, sweep));
    }
    const int64_t cpus = request->options.threads > 0 ? request->options.threads : parallel_cpus();
    request->options.threads = cpus / of->jobs > 0 ? cpus / of->jobs : 1;
    request->quiet = true;
    request->prefix = member->name;
    return STATUS_OK;
}

/* Every combination, the last axis fastest; each is tried before anything starts. */
static Status make_members(Sweep *sweep)
{
    int count = 1;
    for (int a = 0; a < sweep->axes; a++) {
        count *= sweep->axis[a].count;
        if (count > RUNS_MAX) {
            return status_fail(STATUS_USAGE, "the lists make more than %d runs", RUNS_MAX);
        }
    }
    void *members;
    TRY(memory_claim(&members, (size_t)count * sizeof *sweep->member));
    sweep->member = members;
    sweep->members = count;
    for (int i = 0; i < count; i++) {
        Member *member = &sweep->member[i];
        for (int a = sweep->axes - 1, rest = i; a >= 0; a--) {
            member->choice[a] = rest % sweep->axis[a].count;
            rest /= sweep->axis[a].count;
        }
        RunRequest request;
        TRY(member_request(&request, member, sweep));
    }
    return STATUS_OK;
}

/* In the child: one run, then out. A parent that is gone, however it went, cannot pass a signal on
 * any more: its end is one. */
static void live_as(Member *member, const Sweep *sweep, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != parent) _exit(128 + SIGTERM); /* it went before that */
    setpgid(0, 0); /* the terminal's signals come through it, once */
    RunRequest request;
    Status status = member_request(&request, member, sweep);
    if (status == STATUS_OK) status = run_execute(&request, sweep->out, sweep->errors);
    if (status != STATUS_OK) {
        fprintf(sweep->errors, "rlhf run: %s: %s\n", member->name, status_message());
    }
    fflush(sweep->errors);
    _exit((int)status);
}

static Status start(Member *member, const Sweep *sweep)
{
    fflush(sweep->out);
    fflush(sweep->errors);
    const pid_t parent = getpid();
    interrupt_hold(); /* the child installs its handlers in run_execute */
    member->process = fork();
    if (member->process == 0) live_as(member, sweep, parent);
    interrupt_release();
    if (member->process < 0) {
        member->process = -1;
        member->status = STATUS_FAILED;
        return status_fail(STATUS_FAILED, "cannot start a process: %s", strerror(errno));
    }
    return STATUS_OK;
}

static void pass_signal(const Sweep *sweep, int number)
{
    for (int i = 0; i < sweep->members; i++) {
        if (sweep->member[i].process > 0) kill(sweep->member[i].process, number);
    }
}

/* Notes a child that ended; false where none did. */
static bool reap(Sweep *sweep)
{
    int how;
    const pid_t ended = waitpid(-1, &how, WNOHANG);
    if (ended <= 0) return false;
    for (int i = 0; i < sweep->members; i++) {
        if (sweep->member[i].process != ended) continue;
        sweep->member[i].process = -1;
        sweep->member[i].status = WIFEXITED(how) ? (Status)WEXITSTATUS(how) : STATUS_FAILED;
    }
    return true;
}

/* Keeps `jobs` runs going until all are done or a stop was asked for. */
static Status run_members(Sweep *sweep)
{
    int next = 0, running = 0;
    bool stopping = false;
    while (running > 0 || (next < sweep->members && !stopping)) {
        if (interrupt_stop() && !stopping) {
            stopping = true;
            pass_signal(sweep, SIGTERM);
        }
        if (interrupt_checkpoint()) pass_signal(sweep, SIGUSR1);
        if (!stopping && next < sweep->members && running < sweep->request->jobs) {
            TRY(start(&sweep->member[next++], sweep));
            running++;
        } else if (reap(sweep)) {
            running--;
        } else {
            usleep(POLL_MICROSECONDS);
        }
    }
    for (int i = next; i < sweep->members; i++) sweep->member[i].status = STATUS_STOPPED;
    return STATUS_OK;
}

static void print_row(const Sweep *sweep, const Member *member)
{
    Scorecard card;
    char path[STAGE_PATH];
    if (member->status != STATUS_OK ||
        path_join(path, sweep->request->folder, member->name) != STATUS_OK ||
        scorecard_read(&card, path) != STATUS_OK) {
        fprintf(sweep->out, "%-44s exit status %d\n", member->name, (int)member->status);
        return;
    }
    const PolicyScore *ppo = scorecard_policy(&card, "ppo"), *sft = scorecard_policy(&card, "sft");
    fprintf(sweep->out, "%-44s %9.3f %9.3f %8.2f %9.2f %7.1f %%\n", member->name,
            sft != NULL ? sft->gold.mean : NAN, ppo != NULL ? ppo->gold.mean : NAN,
            scorecard_gain(&card), ppo != NULL ? ppo->kl.mean : NAN, 100 * card.win_rate.mean);
}

/* The worst: any failure before a stop before success. */
static Status worst_of(const Sweep *sweep)
{
    const Member *worst = NULL;
    int failed = 0;
    for (int i = 0; i < sweep->members; i++) {
        const Member *member = &sweep->member[i];
        if (member->status == STATUS_OK) continue;
        failed++;
        if (worst == NULL ||
            (worst->status == STATUS_STOPPED && member->status != STATUS_STOPPED)) {
            worst = member;
        }
    }
    if (worst == NULL) return STATUS_OK;
    return status_fail(worst->status, "%d of %d runs did not finish, first %s", failed,
                       sweep->members, worst->name);
}

static Status sweep_run(Sweep *sweep)
{
    TRY(find_axes(sweep));
    TRY(make_members(sweep));
    interrupt_install();
    TRY(run_members(sweep));
    fprintf(sweep->out, "%-44s %9s %9s %8s %9s %9s\n", "run", "gold sft", "gold ppo", "sigma", "KL",
            "win rate");
    for (int i = 0; i < sweep->members; i++) print_row(sweep, &sweep->member[i]);
    return worst_of(sweep);
}

Status sweep_execute(const SweepRequest *request, FILE *out, FILE *errors)
{
    void *memory; /* the axes are too large for the stack */
    TRY(memory_claim(&memory, sizeof(Sweep)));
    Sweep *sweep = memory;
    sweep->request = request;
    sweep->out = out;
    sweep->errors = errors;
    const Status status = sweep_run(sweep);
    memory_release(sweep->member);
    memory_release(sweep);
    return status;
}
