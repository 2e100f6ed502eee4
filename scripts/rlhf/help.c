/* rlhf help, tasks, explain and version: what the program knows about itself, from its tables. */
#include "data/json.h"
#include "policy/gemm.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/presets.h"
#include "scripts/rlhf/versions.h"

#include <math.h>
#include <string.h>

static Status print_section(FILE *out, const ConfigTable *table, const char *section)
{
    Bytes text = {0};
    const Status status = config_help(&text, table, section);
    if (status == STATUS_OK) fprintf(out, "%s\n", text.data);
    bytes_free(&text);
    return status;
}

static void print_flag(FILE *out, const Flag *flag)
{
    char left[64];
    snprintf(left, sizeof left, "%s%s%s%s%s", flag->letter != NULL ? flag->letter : "",
             flag->letter != NULL ? ", " : "", flag->name, flag->argument != NULL ? " " : "",
             flag->argument != NULL ? flag->argument : "");
    fprintf(out, "  %-22s %s\n", left, flag->help);
}

static void print_presets(FILE *out)
{
    fprintf(out, "presets:");
    for (int i = 0; i < preset_count; i++) fprintf(out, " %s", presets[i].name);
    fputc('\n', out);
}

Status help_of(FILE *out, const Command *command)
{
    fprintf(out, "rlhf %s %s\n  %s\n", command->name, command->arguments, command->help);
    if (command->flags != NULL && command->flags->name != NULL) fputc('\n', out);
    for (const Flag *flag = command->flags; flag != NULL && flag->name != NULL; flag++) {
        print_flag(out, flag);
    }
    fprintf(out, "\nexample: %s\n", command->example);
    if (strcmp(command->name, "run") == 0) {
        const ConfigTable options = options_table();
        print_presets(out);
        fprintf(out, "\noptions for --set (settings: rlhf help SECTION):\n");
        return print_section(out, &options, "");
    }
    if (command->section == NULL) return STATUS_OK;
    const ConfigTable table = settings_table();
    fprintf(out, "\nsettings (--set %s.NAME=VALUE):\n", command->section);
    return print_section(out, &table, command->section);
}

void help_overview(FILE *out)
{
    fprintf(out, "usage: rlhf COMMAND ...\n\n"
                 "The whole RLHF loop on an ordinary CPU, with a simulated human whose true reward "
                 "is known.\n\n");
    for (int i = 0; i < command_count; i++) {
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    }
    const ConfigTable table = settings_table();
    fprintf(out, "\n'rlhf help COMMAND' shows flags; 'rlhf help SECTION' settings:");
    for (size_t s = 1; s < table.count; s++) fprintf(out, " %s", table.sections[s].name);
    fputs("\n", out);
    print_presets(out);
    fprintf(out, "\nstart with: rlhf run quickstart\n");
}

Status command_help(Cli *cli)
{
    if (cli->words == 0) {
        help_overview(cli->out);
        return STATUS_OK;
    }
    const Command *command = command_find(cli->word[0]);
    if (command != NULL) return help_of(cli->out, command);
    const ConfigTable table = settings_table();
    if (print_section(cli->out, &table, cli->word[0]) == STATUS_OK) return STATUS_OK;
    return command_unknown(cli->word[0]);
}

Status command_tasks(Cli *cli)
{
    int count;
    const TaskKind *const *kinds = task_kinds(&count);
    if (!cli_has(cli, "--json")) {
        for (int i = 0; i < count; i++) {
            fprintf(cli->out, "%-10s %s\n", kinds[i]->name, kinds[i]->summary);
        }
        return STATUS_OK;
    }
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '[');
    for (int i = 0; i < count; i++) {
        json_open(&json, NULL, '{');
        json_put_text(&json, "name", kinds[i]->name);
        json_put_text(&json, "summary", kinds[i]->summary);
        json_put_bool(&json, "gold", kinds[i]->gold != NULL);
        json_close(&json);
    }
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, cli->out);
    bytes_free(&text);
    return status;
}

/* One field of a metric, broken at blanks where a line is full. */
static void print_field(FILE *out, const char *label, const char *text)
{
    enum { FIELD_COLUMNS = 80 };
    int column = 0;
    fprintf(out, "  %-14s", label);
    while (*text != '\0') {
        const int length = (int)strcspn(text, " ");
        if (column > 0 && column + length > FIELD_COLUMNS) {
            fprintf(out, "\n  %-14s", "");
            column = 0;
        }
        fprintf(out, "%s%.*s", column > 0 ? " " : "", length, text);
        column += length + 1;
        text += length + (text[length] == ' ');
    }
    fputc('\n', out);
}

static void explain(FILE *out, const char *stage, const MetricTable *table,
                    const MetricInfo *metric)
{
    const char *aliases = metric_aliases(table, metric->name);
    char healthy[64];
    metric_healthy(healthy, metric);
    fprintf(out, "%s  (%s)\n", metric->name, stage);
    print_field(out, "unit", metric->unit);
    print_field(out, "formula", metric->formula);
    print_field(out, "averaged over", metric->over);
    print_field(out, "healthy", healthy[0] != '\0' ? healthy : "no range of its own");
    print_field(out, "unhealthy", metric->meaning);
    if (aliases != NULL) print_field(out, "elsewhere", aliases);
}

static Status explain_one(FILE *out, const char *name)
{
    enum { NAMES = 256 };
    const char *names[NAMES];
    size_t count = 0;
    bool found = false;
    for (int s = 0; s < STAGES; s++) {
        const MetricTable *table = pipeline_stages[s].metrics;
        const MetricInfo *metric = metric_find(table, name);
        if (metric != NULL) explain(out, pipeline_stages[s].name, table, metric);
        found = found || metric != NULL;
        for (int i = 0; i < table->count && count < NAMES; i++) {
            names[count++] = table->metrics[i].name;
        }
    }
    if (found) return STATUS_OK;
    const char *near = config_nearest(name, names, count);
    if (near == NULL) {
        return status_fail(STATUS_USAGE, "%s: no such metric; 'rlhf explain' lists them", name);
    }
    return status_fail(STATUS_USAGE, "%s: no such metric; did you mean %s?", name, near);
}

Status command_explain(Cli *cli)
{
    if (cli->words > 0) return explain_one(cli->out, cli->word[0]);
    for (int s = 0; s < STAGES; s++) {
        const MetricTable *table = pipeline_stages[s].metrics;
        for (int i = 0; i < table->count; i++) {
            fprintf(cli->out, "%-9s %-32s %s\n", pipeline_stages[s].name, table->metrics[i].name,
                    table->metrics[i].unit);
        }
    }
    return STATUS_OK;
}

Status command_version(Cli *cli)
{
    TRY(gemm_setup());
    if (!cli_has(cli, "--json")) {
        fprintf(cli->out, "rlhf %s (HDF5 %s, GSL %s, OpenBLAS kernel %s)\n", RLHF_VERSION,
                HDF5_BUILT_VERSION, gsl_version, gemm_kernel());
        return STATUS_OK;
    }
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    versions_write(&json);
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, cli->out);
    bytes_free(&text);
    return status;
}
