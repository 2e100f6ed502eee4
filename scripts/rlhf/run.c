#include "scripts/rlhf/run.h"

#include "data/parallel.h"
#include "data/run_dir.h"
#include "policy/gemm.h"
#include "ppo/doctor.h"
#include "scripts/rlhf/interrupt.h"
#include "scripts/rlhf/life.h"
#include "scripts/rlhf/progress.h"
#include "scripts/rlhf/resumable.h"
#include "scripts/rlhf/summary.h"

#include <string.h>

enum { CONFIG_BYTES = 1 << 20 };

/* What the hooks of a stage know. */
typedef struct Watch {
    Progress *progress;
    double deadline; /* seconds, monotonic; 0: none */
} Watch;

static void on_progress(void *context, const StageProgress *now)
{
    Watch *watch = context;
    progress_step(watch->progress, now);
}

static bool on_should_stop(void *context)
{
    const Watch *watch = context;
    return interrupt_stop() || (watch->deadline > 0 && clock_seconds() > watch->deadline);
}

static bool on_should_checkpoint(void *context)
{
    (void)context;
    return interrupt_checkpoint();
}

/* config.json, unless it says the same already. */
static Status write_config(const RunDir *directory, const Bytes *config)
{
    char path[STAGE_PATH];
    TRY(path_join(path, directory->path, "config.json"));
    Bytes present = {0};
    bool same = false;
    Status status = STATUS_OK;
    if (io_exists(path)) {
        status = io_read(&present, path, CONFIG_BYTES);
        same = status == STATUS_OK && present.count == config->count &&
               memcmp(present.data, config->data, config->count) == 0;
    }
    if (status == STATUS_OK && !same) status = run_dir_write_config(directory, config->data);
    bytes_free(&present);
    return status;
}

static Status run_one(const Pipeline *pipeline, Progress *progress, int index)
{
    StageState state;
    TRY(pipeline_state(&state, pipeline, index));
    const char *name = pipeline_stages[index].name;
    if (state == STAGE_CHANGED || state == STAGE_DAMAGED) return needs_restart(pipeline, index);
    if (state == STAGE_FINISHED) {
        progress_say(progress, "%-8s finished already", name);
        return STATUS_OK;
    }
    progress_begin(progress, name);
    const Status status = pipeline_run_stage(pipeline, index);
    progress_end(progress, status == STATUS_OK        ? "done"
                           : status == STATUS_STOPPED ? "stopped"
                                                      : "failed");
    return status;
}

/* What the doctor says of a stage that is done; `failed` is kept where a gate failed before. */
static Status say_verdict(Finding *failed, const Pipeline *pipeline, Progress *progress, int index)
{
    Diagnosis diagnosis;
    char verdict[VERDICT_TEXT];
    TRY(doctor_examine(&diagnosis, pipeline->run, pipeline_stages[index].name));
    if (diagnosis.count == 0) return STATUS_OK;
    diagnosis_verdict(verdict, &diagnosis);
    progress_say(progress, "doctor   %s: %s", pipeline_stages[index].name, verdict);
    if (failed->name == NULL && diagnosis_gate_failed(&diagnosis)) {
        *failed = *diagnosis_worst(&diagnosis, NULL);
    }
    return STATUS_OK;
}

/* Nothing is optimised against a judge that is known to be broken. */
static Status pass_gates(const RunRequest *request, const Pipeline *pipeline, Progress *progress,
                         const Finding *failed)
{
    StageState state;
    if (failed->name == NULL) return STATUS_OK;
    TRY(pipeline_state(&state, pipeline, STAGE_PPO));
    if (state == STAGE_FINISHED) return STATUS_OK;
    if (request->force || !request->settings.doctor.gates) {
        progress_say(progress, "doctor   the gate of %s failed; PPO goes on, %s", failed->stage,
                     request->force ? "by --force" : "as doctor.gates is false");
        return STATUS_OK;
    }
    return status_fail(
        STATUS_GATE,
        "the gate of %s failed: %s; likely %s; %s; rlhf doctor %s says more, --force "
        "goes on",
        failed->stage, failed->evidence, failed->cause, failed->advice, pipeline->run);
}

static Status run_stages(const RunRequest *request, const Pipeline *pipeline, Progress *progress)
{
    Finding failed = {0};
    /* PPO alone stands before the same gates as PPO at the end of a run. */
    for (int i = 0; request->first == STAGE_PPO && i < STAGE_PPO; i++) {
        TRY(say_verdict(&failed, pipeline, progress, i));
    }
    for (int i = request->first; i <= request->last; i++) {
        if (i == STAGE_PPO) TRY(pass_gates(request, pipeline, progress, &failed));
        TRY(run_one(pipeline, progress, i));
        TRY(say_verdict(&failed, pipeline, progress, i));
        if (i < request->last && on_should_stop(pipeline->hooks.context)) {
            return status_fail(STATUS_STOPPED, "stopped after %s", pipeline_stages[i].name);
        }
    }
    return STATUS_OK;
}

/* A checkpoint that was moved aside is told of in every life, until its stage is done. */
static Status say_damage(const Pipeline *pipeline, Progress *progress)
{
    Texts damaged = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < STAGES && status == STATUS_OK; i++) {
        StageState state;
        status = pipeline_state(&state, pipeline, i);
        if (status == STATUS_OK && state == STAGE_BEGUN) {
            status = damaged_checkpoints(&damaged, pipeline->run, pipeline_stages[i].name);
        }
    }
    for (int i = 0; i < damaged.count && status == STATUS_OK; i++) {
        size_t count;
        const char *path = texts_at(&damaged, i, &count);
        progress_say(progress,
                     "warning  %.*s: found damaged and moved aside; the one before it "
                     "is gone on from",
                     (int)count, path);
    }
    texts_free(&damaged);
    return status;
}

/* Under the lock, with the task open. Nothing of the run is touched before all that can be refused
 * has been asked. */
static Status run_in_directory(const RunRequest *request, RunDir *directory,
                               const Pipeline *pipeline, Progress *progress)
{
    const bool restarts = request->restart >= 0;
    TRY(check_resumable(pipeline, restarts ? request->restart - 1 : request->last, request->force));
    if (pipeline->options->check_room) TRY(plan_check(request, pipeline));
    if (restarts) TRY(pipeline_forget(request->run, request->restart));
    TRY(write_config(directory, &pipeline->config));
    TRY(life_record(directory, pipeline->options));
    TRY(progress_log(progress, request->run));
    progress_say(progress, "run      %s, task %s, seed %lld, %d thread%s", request->run,
                 request->settings.task.name, (long long)request->settings.seed,
                 (int)pipeline->options->threads, pipeline->options->threads == 1 ? "" : "s");
    TRY(say_damage(pipeline, progress));
    const char *fault = request->settings.fault;
    if (fault[0] != '\0') {
        progress_say(progress, "broken   on purpose, by %s; to see what it was: rlhf break %s %s",
                     fault_is_hidden(fault) ? "a hidden fault" : fault, "--reveal", request->run);
    }
    const Status status = run_stages(request, pipeline, progress);
    if (status == STATUS_STOPPED) {
        progress_say(progress, "go on with: rlhf resume %s", request->run);
    } else if (status == STATUS_OK && request->first == 0 && request->last < STAGES - 1) {
        progress_say(progress, "stopped after %s, as asked; go on with: rlhf resume %s",
                     pipeline_stages[request->last].name, request->run);
    }
    return status;
}

static Status run_locked(const RunRequest *request, RunDir *directory, FILE *errors)
{
    if (run_dir_exists(request->run) && !request->resume && request->restart < 0) {
        return status_fail(STATUS_SETTINGS,
                           "%s: holds a run already; --resume goes on with it, --restart starts it "
                           "again",
                           request->run);
    }
    Options options = request->options;
    if (options.threads == 0) options.threads = parallel_cpus();
    Progress progress = progress_on(errors);
    if (request->prefix != NULL) {
        progress.terminal.live = false; /* lines of several runs share the terminal */
        snprintf(progress.prefix, sizeof progress.prefix, "%.60s  ", request->prefix);
    }
    const double deadline = options.max_hours > 0 ? clock_seconds() + 3600 * options.max_hours : 0;
    Watch watch = {&progress, deadline};
    Pipeline pipeline = {.settings = &request->settings,
                         .options = &options,
                         .run = request->run,
                         .hooks = {&watch, on_progress, on_should_stop, on_should_checkpoint}};
    Status status = pipeline_open(&pipeline);
    if (status == STATUS_OK) status = run_in_directory(request, directory, &pipeline, &progress);
    pipeline_close(&pipeline);
    progress_close(&progress);
    return status;
}

Status run_execute(const RunRequest *request, FILE *out, FILE *errors)
{
    TRY(gemm_setup());
    interrupt_install();
    RunDir directory = {.lock = -1};
    Status status = run_dir_open(&directory, request->run);
    if (status == STATUS_OK) status = run_locked(request, &directory, errors);
    status = life_end(&directory, request->run, status);
    run_dir_close(&directory);
    TRY(status);
    if (request->quiet || request->last < STAGES - 1) return STATUS_OK;
    return request->json ? summary_json(out, request->run) : summary_print(out, request->run);
}
