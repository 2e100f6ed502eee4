/* run, resume and the stages: what their flags ask for, as a RunRequest. */
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"

#include <string.h>

Status run_path(char path[STAGE_PATH], const char *text)
{
    size_t length = strlen(text);
    if (length == 0) return status_fail(STATUS_USAGE, "the run directory has no name");
    if (length > 300) {
        return status_fail(STATUS_USAGE, "the run directory's name is %zu bytes long, at most 300",
                           length);
    }
    while (length > 1 && text[length - 1] == '/') length--;
    snprintf(path, STAGE_PATH, "%.*s", (int)length, text);
    return STATUS_OK;
}

void run_source_name(char name[64], const char *source)
{
    const char *slash = strrchr(source, '/');
    snprintf(name, 64, "%.60s", slash != NULL ? slash + 1 : source);
    char *dot = strrchr(name, '.');
    if (dot != NULL && strcmp(dot, ".json") == 0) *dot = '\0';
}

static Status read_fault(Settings *settings, const char *name)
{
    if (name == NULL) return STATUS_OK;
    if (strcmp(name, "none") == 0) name = "";
    if (strlen(name) >= sizeof settings->fault) {
        return status_fail(STATUS_USAGE, "--break: longer than %zu bytes",
                           sizeof settings->fault - 1);
    }
    snprintf(settings->fault, sizeof settings->fault, "%s", name);
    return STATUS_OK;
}

static Status apply_sets(RunRequest *request, const Cli *cli)
{
    for (int i = 0; i < cli->givens; i++) {
        const Given *given = &cli->given[i];
        if (strcmp(given->flag->name, "--set") == 0) {
            TRY(settings_set(&request->settings, &request->options, given->value));
        }
    }
    return STATUS_OK;
}

/* The flags that run, resume and the stages share. */
static Status read_request(RunRequest *request, const Cli *cli)
{
    TRY(apply_sets(request, cli));
    TRY(read_fault(&request->settings, cli_value(cli, "--break")));
    TRY(cli_number(&request->options.max_hours, cli, "--max-hours", request->options.max_hours, 0,
                   1e6));
    const char *until = cli_value(cli, "--until");
    if (until != NULL) TRY(pipeline_find(&request->last, until));
    request->json = cli_has(cli, "--json");
    request->force = cli_has(cli, "--force");
    return settings_check(&request->settings);
}

static RunRequest empty_request(void)
{
    RunRequest request = {.last = STAGES - 1, .restart = -1};
    const ConfigTable table = options_table();
    config_defaults(&table, &request.options);
    return request;
}

/* DIR/config.json, gone on with. */
static Status request_of_run(RunRequest *request, const Cli *cli)
{
    *request = empty_request();
    request->resume = true;
    TRY(run_path(request->run, cli->word[0]));
    TRY(settings_of_run(&request->settings, request->run));
    TRY(life_options(&request->options, request->run));
    return read_request(request, cli);
}

Status command_resume(Cli *cli)
{
    RunRequest request;
    TRY(request_of_run(&request, cli));
    return run_execute(&request, cli->out, cli->errors);
}

Status command_stage(Cli *cli)
{
    RunRequest request;
    int index;
    TRY(pipeline_find(&index, cli->command->name));
    TRY(request_of_run(&request, cli));
    request.first = request.last = index;
    if (cli_has(cli, "--restart")) request.restart = index;
    return run_execute(&request, cli->out, cli->errors);
}

static Status read_restart(RunRequest *request, const Cli *cli)
{
    if (!cli_has(cli, "--restart")) return STATUS_OK;
    if (cli_has(cli, "--resume")) {
        return status_fail(STATUS_USAGE, "--resume and --restart exclude each other");
    }
    request->restart = 0;
    const char *stage = cli_value(cli, "--restart");
    return stage != NULL ? pipeline_find(&request->restart, stage) : STATUS_OK;
}

/* --seeds and lists in --set. */
static Status run_sweep(const RunRequest *base, const Cli *cli)
{
    const char *set[64];
    SweepRequest sweep = {.source = cli->word[0],
                          .folder = base->options.out[0] != '\0' ? base->options.out : "runs",
                          .seeds = cli_value(cli, "--seeds"),
                          .set = set,
                          .base = *base};
    sweep.base.force = cli_has(cli, "--force");
    TRY(read_fault(&sweep.base.settings, cli_value(cli, "--break")));
    for (int i = 0; i < cli->givens; i++) {
        if (strcmp(cli->given[i].flag->name, "--set") != 0) continue;
        if (sweep.sets == 64) return status_fail(STATUS_USAGE, "--set: more than 64 of them");
        set[sweep.sets++] = cli->given[i].value;
    }
    int64_t jobs;
    TRY(cli_integer(&jobs, cli, "--jobs", 1, 1, 64));
    sweep.jobs = (int)jobs;
    return sweep_execute(&sweep, cli->out, cli->errors);
}

static bool is_sweep(const Cli *cli)
{
    if (cli_has(cli, "--seeds")) return true;
    for (int i = 0; i < cli->givens; i++) {
        const Given *given = &cli->given[i];
        if (strcmp(given->flag->name, "--set") == 0 && sweep_is_list(given->value)) return true;
    }
    return false;
}

/* --out or the option of that name; else runs/NAME-sSEED. */
static Status choose_directory(RunRequest *request, const Cli *cli)
{
    char name[64], path[128];
    run_source_name(name, cli->word[0]);
    snprintf(path, sizeof path, "runs/%s-s%lld", name, (long long)request->settings.seed);
    const char *out = request->options.out;
    return run_path(request->run, out[0] != '\0' ? out : path);
}

Status command_run(Cli *cli)
{
    RunRequest request = empty_request();
    request.resume = cli_has(cli, "--resume");
    TRY(settings_load(&request.settings, cli->word[0]));
    TRY(read_restart(&request, cli));
    const char *out = cli_value(cli, "--out");
    if (out != NULL) {
        TRY(run_path(request.run, out));
        if (strlen(request.run) >= sizeof request.options.out) {
            return status_fail(STATUS_USAGE, "--out: longer than %zu bytes",
                               sizeof request.options.out - 1);
        }
        snprintf(request.options.out, sizeof request.options.out, "%.255s", request.run);
    }
    if (is_sweep(cli)) return run_sweep(&request, cli);
    TRY(read_request(&request, cli));
    TRY(choose_directory(&request, cli));
    if (request.resume) { /* its place is known only now */
        TRY(life_options(&request.options, request.run));
        TRY(apply_sets(&request, cli));
    }
    if (cli_has(cli, "--dry-run")) return plan_print(cli->out, &request);
    return run_execute(&request, cli->out, cli->errors);
}
