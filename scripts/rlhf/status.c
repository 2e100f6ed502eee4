/* rlhf status: what a run directory holds. Only looks: takes no lock and changes nothing. */
#include "scripts/rlhf/status.h"
#include "data/io.h"
#include "data/json.h"
#include "data/metrics.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/resumable.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <string.h>

const char *const stage_state_names[] = {"not begun", "begun", "finished", "changed", "damaged"};
static const char *const run_names[] = {"not begun", "running", "finished", "not finished",
                                        "stopped",   "failed",  "crashed"};

static int64_t planned_steps(const Settings *settings, int index)
{
    const int64_t steps[STAGES] = {[0] = settings->pretrain.steps, [4] = settings->ppo.steps};
    return steps[index];
}

static Status look(StageStatus *stage, const Pipeline *pipeline, int index)
{
    char folder[STAGE_PATH];
    stage->name = pipeline_stages[index].name;
    TRY(path_join(folder, pipeline->run, stage->name));
    TRY(pipeline_state(&stage->state, pipeline, index));
    TRY(stage_times(&stage->times, pipeline->run, stage->name));
    stage->steps = planned_steps(pipeline->settings, index);
    return io_exists(folder) ? io_usage(&stage->bytes, folder) : STATUS_OK;
}

static RunState state_of_run(const RunStatus *run, bool held)
{
    if (held) return RUN_RUNNING;
    int finished = 0;
    for (int i = 0; i < STAGES; i++) finished += run->stage[i].state == STAGE_FINISHED;
    if (finished == STAGES) return RUN_FINISHED;
    if (run->life.lives == 0) return RUN_NEW;
    if (!run->life.ended) return RUN_CRASHED;
    if (run->life.exit_status == STATUS_OK) return RUN_PAUSED;
    return run->life.exit_status == STATUS_STOPPED ? RUN_STOPPED : RUN_FAILED;
}

Status run_status_read(RunStatus *run, const Pipeline *pipeline)
{
    char lock[STAGE_PATH];
    bool held;
    TRY(path_join(lock, pipeline->run, "lock"));
    TRY(io_lock_holder(&held, run->holder, lock));
    TRY(run_dir_last_life(&run->life, pipeline->run));
    for (int i = 0; i < STAGES; i++) {
        TRY(look(&run->stage[i], pipeline, i));
        TRY(damaged_checkpoints(&run->damaged, pipeline->run, run->stage[i].name));
    }
    run->state = state_of_run(run, held);
    return STATUS_OK;
}

void run_status_free(RunStatus *run)
{
    texts_free(&run->damaged);
    *run = (RunStatus){0};
}

/* What to do next, unless the reason says so itself. */
static Status describe_way_on(Bytes *line, const RunStatus *run, const char *path)
{
    const RunLife *life = &run->life;
    if (run->state == RUN_FINISHED || strstr(life->reason, "rlhf ") != NULL ||
        strstr(life->reason, "--restart") != NULL) {
        return STATUS_OK;
    }
    if (run->state == RUN_FAILED &&
        (life->exit_status == STATUS_DIVERGED || life->exit_status == STATUS_BROKEN)) {
        return bytes_print(line,
                           "; going on repeats it: other settings and --restart STAGE, or "
                           "rlhf doctor %s",
                           path);
    }
    return bytes_print(line, "; go on with: rlhf resume %s", path);
}

Status run_status_describe(Bytes *line, const RunStatus *run, const char *path)
{
    const RunLife *life = &run->life;
    TRY(bytes_print(line, "%s", run_names[run->state]));
    switch (run->state) {
    case RUN_RUNNING:
        return bytes_print(line, ": %s", run->holder);
    case RUN_STOPPED:
    case RUN_FAILED:
        TRY(bytes_print(line, " at %s with exit status %d: %s", life->ended_at,
                        (int)life->exit_status, life->reason));
        break;
    case RUN_CRASHED:
        TRY(bytes_print(line, ": begun %s by pid %d on host %s, then killed, or its disk full",
                        life->started, (int)life->process, life->host));
        break;
    default:
        break;
    }
    return describe_way_on(line, run, path);
}

double stage_seconds_left(const StageStatus *stage)
{
    const StageTimes *times = &stage->times;
    if (stage->state != STAGE_BEGUN || times->steps <= 0 || stage->steps <= times->steps) {
        return NAN;
    }
    return times->seconds / (double)times->steps * (double)(stage->steps - times->steps);
}

static void print_stage(FILE *out, const StageStatus *stage)
{
    char steps[48] = "", clock[16], speed[16], size[16], left[16] = "";
    const StageTimes *times = &stage->times;
    if (stage->steps > 0) {
        snprintf(steps, sizeof steps, "%lld/%lld", (long long)times->steps,
                 (long long)stage->steps);
    } else if (times->steps > 0) {
        snprintf(steps, sizeof steps, "%lld", (long long)times->steps);
    }
    const double seconds = stage_seconds_left(stage);
    if (isfinite(seconds)) clock_text(left, seconds);
    fprintf(
        out, "%-10s %-10s %13s %9s %11s %9s %10s\n", stage->name, stage_state_names[stage->state],
        steps, times->seconds > 0 ? clock_text(clock, times->seconds) : "",
        times->tokens > 0 && times->seconds > 0 ? count_text(speed, times->tokens / times->seconds)
                                                : "",
        left, stage->bytes > 0 ? bytes_text_of(size, (double)stage->bytes) : "");
}

/* Reasons and names may come from a stranger's run. */
static Status print_run(FILE *out, const RunStatus *run, const char *path)
{
    Bytes line = {0};
    Status status = run_status_describe(&line, run, path);
    if (status == STATUS_OK) status = terminal_write(out, line.data, line.count);
    fputc('\n', out);
    for (int i = 0; i < run->damaged.count && status == STATUS_OK; i++) {
        size_t count;
        const char *damaged = texts_at(&run->damaged, i, &count);
        fputs("warning: ", out);
        status = terminal_write(out, damaged, count);
        fputs(" was found damaged and moved aside\n", out);
    }
    bytes_free(&line);
    return status;
}

static Status print_all(FILE *out, const RunStatus *run, const Pipeline *pipeline)
{
    const Terminal terminal = terminal_of(out);
    TRY(terminal_write(out, pipeline->run, strlen(pipeline->run)));
    fprintf(out, "  task %s, seed %lld\n", pipeline->settings->task.name,
            (long long)pipeline->settings->seed);
    TRY(print_run(out, run, pipeline->run));
    fprintf(out,
            "\n%sstage      state              steps      time    tokens/s      left       size"
            "%s\n",
            terminal_bold(&terminal), terminal_plain(&terminal));
    for (int i = 0; i < STAGES; i++) print_stage(out, &run->stage[i]);
    uint64_t bytes;
    char size[16];
    TRY(io_usage(&bytes, pipeline->run));
    fprintf(out, "\n%s in all\n", bytes_text_of(size, (double)bytes));
    return STATUS_OK;
}

static void put_run(JsonWriter *json, const RunStatus *run)
{
    const RunLife *life = &run->life;
    json_put_text(json, "state", run_names[run->state]);
    json_put_integer(json, "lives", life->lives);
    if (run->state == RUN_RUNNING) json_put_text(json, "holder", run->holder);
    if (life->ended) {
        json_put_integer(json, "exit_status", life->exit_status);
        json_put_text(json, "reason", life->reason);
    }
    json_open(json, "damaged", '[');
    for (int i = 0; i < run->damaged.count; i++) {
        size_t count;
        const char *path = texts_at(&run->damaged, i, &count);
        json_put_bytes(json, NULL, path, count);
    }
    json_close(json);
}

static Status print_json(FILE *out, const RunStatus *run, const Pipeline *pipeline)
{
    const StageStatus *stages = run->stage;
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_text(&json, "run", pipeline->run);
    json_put_text(&json, "task", pipeline->settings->task.name);
    json_put_integer(&json, "seed", pipeline->settings->seed);
    put_run(&json, run);
    json_open(&json, "stages", '{');
    for (int i = 0; i < STAGES; i++) {
        json_open(&json, stages[i].name, '{');
        json_put_text(&json, "state", stage_state_names[stages[i].state]);
        json_put_integer(&json, "step", stages[i].times.steps);
        if (stages[i].steps > 0) json_put_integer(&json, "steps", stages[i].steps);
        json_put_number(&json, "seconds", stages[i].times.seconds);
        json_put_number(&json, "tokens", stages[i].times.tokens);
        json_put_integer(&json, "bytes", (int64_t)stages[i].bytes);
        json_close(&json);
    }
    json_close(&json);
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bytes_free(&text);
    return status;
}

static Status status_of(const Cli *cli, const Pipeline *pipeline)
{
    RunStatus run = {0};
    Status status = run_status_read(&run, pipeline);
    if (status == STATUS_OK) {
        status = cli_has(cli, "--json") ? print_json(cli->out, &run, pipeline)
                                        : print_all(cli->out, &run, pipeline);
    }
    run_status_free(&run);
    return status;
}

Status command_status(Cli *cli)
{
    char run[STAGE_PATH];
    Settings settings;
    Options options = {0};
    TRY(run_path(run, cli->word[0]));
    TRY(settings_of_run(&settings, run));
    Pipeline pipeline = {.settings = &settings, .options = &options, .run = run};
    Status status = pipeline_open(&pipeline);
    if (status == STATUS_OK) status = status_of(cli, &pipeline);
    pipeline_close(&pipeline);
    return status;
}
