/* rlhf config: make, show, check and compare settings. */
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"

#include <string.h>

static Status apply_sets(Settings *settings, const Cli *cli)
{
    const ConfigTable table = settings_table();
    for (int i = 0; i < cli->givens; i++) {
        if (strcmp(cli->given[i].flag->name, "--set") != 0) continue;
        TRY(config_set(&table, settings, cli->given[i].value));
    }
    return settings_check(settings);
}

/* A preset, a file or a run directory. */
static Status load_any(Settings *settings, const char *source)
{
    return run_dir_exists(source) ? settings_of_run(settings, source)
                                  : settings_load(settings, source);
}

static Status words_are(const Cli *cli, int count)
{
    if (cli->words == count) return STATUS_OK;
    return status_fail(STATUS_USAGE, "usage: rlhf config %s", cli->command->arguments);
}

static Status publish_config(const char *path, const Settings *settings)
{
    RunDir run = {.lock = -1};
    Bytes text = {0};
    TRY(run_dir_open(&run, path));
    Status status = STATUS_OK;
    if (run_dir_exists(path)) {
        status = status_fail(STATUS_SETTINGS, "%s: holds a run already", path);
    }
    if (status == STATUS_OK) status = settings_text(&text, settings);
    if (status == STATUS_OK) status = run_dir_write_config(&run, text.data);
    bytes_free(&text);
    run_dir_close(&run);
    return status;
}

static Status config_new(const Cli *cli)
{
    Settings settings;
    char path[STAGE_PATH];
    TRY(words_are(cli, 2));
    const char *out = cli_value(cli, "--out");
    if (out == NULL) return status_fail(STATUS_USAGE, "--out DIR is missing");
    TRY(run_path(path, out));
    TRY(settings_load(&settings, cli->word[1]));
    TRY(apply_sets(&settings, cli));
    TRY(publish_config(path, &settings));
    fprintf(cli->out, "%s/config.json\n", path);
    return STATUS_OK;
}

static Status config_show(const Cli *cli)
{
    Settings settings;
    Bytes text = {0};
    const ConfigTable table = settings_table();
    TRY(words_are(cli, 2));
    TRY(load_any(&settings, cli->word[1]));
    TRY(apply_sets(&settings, cli));
    const Status status =
        cli_has(cli, "--schema") ? config_schema(&text, &table) : settings_text(&text, &settings);
    if (status == STATUS_OK) fputs(text.data, cli->out);
    bytes_free(&text);
    return status;
}

static Status config_check(const Cli *cli)
{
    Settings settings;
    TRY(words_are(cli, 2));
    TRY(settings_read(&settings, cli->word[1]));
    TRY(settings_check(&settings));
    fprintf(cli->out, "%s: fine\n", cli->word[1]);
    return STATUS_OK;
}

static Status config_compare(const Cli *cli)
{
    Settings a, b;
    int differences;
    Bytes text = {0};
    const ConfigTable table = settings_table();
    TRY(words_are(cli, 3));
    TRY(load_any(&a, cli->word[1]));
    TRY(load_any(&b, cli->word[2]));
    const Status status = config_diff(&text, &differences, &table, &a, &b);
    if (status == STATUS_OK && text.count > 0) fputs(text.data, cli->out);
    bytes_free(&text);
    return status;
}

Status command_config(Cli *cli)
{
    static const struct {
        const char *name;
        Status (*run)(const Cli *cli);
    } verbs[] = {{"new", config_new},
                 {"show", config_show},
                 {"check", config_check},
                 {"diff", config_compare}};
    const char *names[4];
    for (int i = 0; i < 4; i++) {
        names[i] = verbs[i].name;
        if (strcmp(cli->word[0], names[i]) == 0) return verbs[i].run(cli);
    }
    const char *near = config_nearest(cli->word[0], names, 4);
    return status_fail(STATUS_USAGE, "%s: expected new, show, check or diff%s%s%s", cli->word[0],
                       near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                       near != NULL ? "?" : "");
}
