/* rlhf status: what a run directory holds. Only looks: takes no lock and changes nothing. */
#include "data/io.h"
#include "data/json.h"
#include "data/metrics.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/summary.h"
#include "scripts/rlhf/terminal.h"

#include <string.h>

static const char *const state_names[] = {"not begun", "begun", "finished", "changed"};

typedef struct StageStatus {
    const char *name;
    StageState state;
    StageTimes times;
    int64_t steps; /* planned; 0: not known before it is done */
    uint64_t bytes;
} StageStatus;

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
    if (stage->state == STAGE_BEGUN && times->steps > 0 && stage->steps > times->steps) {
        clock_text(left,
                   times->seconds / (double)times->steps * (double)(stage->steps - times->steps));
    }
    fprintf(out, "%-10s %-10s %13s %9s %11s %9s %10s\n", stage->name, state_names[stage->state],
            steps, times->seconds > 0 ? clock_text(clock, times->seconds) : "",
            times->tokens > 0 && times->seconds > 0
                ? count_text(speed, times->tokens / times->seconds)
                : "",
            left, stage->bytes > 0 ? bytes_text_of(size, (double)stage->bytes) : "");
}

static Status print_all(FILE *out, const StageStatus *stages, const Pipeline *pipeline)
{
    const Terminal terminal = terminal_of(out);
    fprintf(out, "%s  task %s, seed %lld\n\n", pipeline->run, pipeline->settings->task.name,
            (long long)pipeline->settings->seed);
    fprintf(out,
            "%sstage      state              steps      time    tokens/s      left       size"
            "%s\n",
            terminal_bold(&terminal), terminal_plain(&terminal));
    for (int i = 0; i < STAGES; i++) print_stage(out, &stages[i]);
    uint64_t bytes;
    char size[16];
    TRY(io_usage(&bytes, pipeline->run));
    fprintf(out, "\n%s in all\n", bytes_text_of(size, (double)bytes));
    return STATUS_OK;
}

static Status print_json(FILE *out, const StageStatus *stages, const Pipeline *pipeline)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_text(&json, "run", pipeline->run);
    json_put_text(&json, "task", pipeline->settings->task.name);
    json_put_integer(&json, "seed", pipeline->settings->seed);
    json_open(&json, "stages", '{');
    for (int i = 0; i < STAGES; i++) {
        json_open(&json, stages[i].name, '{');
        json_put_text(&json, "state", state_names[stages[i].state]);
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
    StageStatus stages[STAGES] = {0};
    for (int i = 0; i < STAGES; i++) TRY(look(&stages[i], pipeline, i));
    return cli_has(cli, "--json") ? print_json(cli->out, stages, pipeline)
                                  : print_all(cli->out, stages, pipeline);
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
