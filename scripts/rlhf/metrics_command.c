/* rlhf metrics: what the stages measured, as a table, CSV, JSON or curves. */
#include "data/io.h"
#include "data/json.h"
#include "data/metrics.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <string.h>

/* One journal of one run. */
typedef struct Source {
    const char *run, *stage;
    MetricColumns columns;
    const char *wanted; /* part of a metric's name; NULL: all */
    FILE *out;
    bool found; /* a metric was shown */
} Source;

typedef Status Show(Source *source);

static bool is_wanted(const Source *source, int column)
{
    return source->wanted == NULL || strstr(source->columns.name[column], source->wanted) != NULL;
}

static const double *values_of(const Source *source, int column)
{
    return source->columns.value + (size_t)column * (size_t)source->columns.rows;
}

static Status show_table(Source *source)
{
    const MetricColumns *columns = &source->columns;
    for (int c = 0; c < columns->columns; c++) {
        if (!is_wanted(source, c)) continue;
        const double *value = values_of(source, c);
        double first = NAN, last = NAN, low = NAN, high = NAN;
        for (int i = 0; i < columns->rows; i++) {
            if (!isfinite(value[i])) continue;
            if (isnan(first)) first = value[i];
            last = value[i];
            low = fmin(low, value[i]); /* fmin and fmax pass over NaN */
            high = fmax(high, value[i]);
        }
        fprintf(source->out, "%-9s %-34s %11.4g %11.4g %11.4g %11.4g\n", source->stage,
                columns->name[c], first, last, low, high);
        source->found = true;
    }
    return STATUS_OK;
}

static Status show_csv(Source *source)
{
    const MetricColumns *columns = &source->columns;
    for (int i = 0; i < columns->rows; i++) {
        for (int c = 0; c < columns->columns; c++) {
            const double value = values_of(source, c)[i];
            if (!is_wanted(source, c) || isnan(value)) continue;
            fprintf(source->out, "%s,%s,%lld,%s,%.17g\n", source->run, source->stage,
                    (long long)columns->step[i], columns->name[c], value);
            source->found = true;
        }
    }
    return STATUS_OK;
}

static Status show_json(Source *source)
{
    const MetricColumns *columns = &source->columns;
    Bytes line = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < columns->rows && status == STATUS_OK; i++) {
        bytes_clear(&line);
        JsonWriter json = json_writer(&line, 0);
        json_open(&json, NULL, '{');
        json_put_text(&json, "run", source->run);
        json_put_text(&json, "stage", source->stage);
        json_put_integer(&json, "step", columns->step[i]);
        for (int c = 0; c < columns->columns; c++) {
            const double value = values_of(source, c)[i];
            if (!is_wanted(source, c) || isnan(value)) continue;
            json_put_number(&json, columns->name[c], value);
            source->found = true;
        }
        json_close(&json);
        status = json_done(&json);
        if (status == STATUS_OK) fprintf(source->out, "%s\n", line.data);
    }
    bytes_free(&line);
    return status;
}

static Status show_plot(Source *source)
{
    const MetricColumns *columns = &source->columns;
    void *steps;
    TRY(memory_claim(&steps, (size_t)columns->rows * sizeof(double)));
    double *x = steps;
    for (int i = 0; i < columns->rows; i++) x[i] = (double)columns->step[i];
    Status status = STATUS_OK;
    for (int c = 0; c < columns->columns && status == STATUS_OK; c++) {
        if (!is_wanted(source, c)) continue;
        char title[STAGE_PATH];
        snprintf(title, sizeof title, "%.60s %s %s", source->run, source->stage, columns->name[c]);
        const Plot plot = {title, x, values_of(source, c), columns->rows};
        status = plot_print(source->out, &plot, NULL, 80, 8);
        fputc('\n', source->out);
        source->found = true;
    }
    memory_release(steps);
    return status;
}

static Status show_journal(Source *source, Show *show)
{
    char folder[STAGE_PATH], path[STAGE_PATH];
    TRY(path_join(folder, source->run, source->stage));
    TRY(path_join(path, folder, "metrics.jsonl"));
    if (!io_exists(path)) return STATUS_OK;
    Status status = metric_columns_read(&source->columns, path);
    if (status == STATUS_OK) status = show(source);
    metric_columns_free(&source->columns);
    source->columns = (MetricColumns){0};
    return status;
}

static Status show_run(const Cli *cli, const char *run, int only, Show *show)
{
    if (!run_dir_exists(run)) {
        return status_fail(STATUS_DATA, "%s: holds no run (no config.json)", run);
    }
    Source source = {.run = run, .wanted = cli_value(cli, "--metric"), .out = cli->out};
    for (int i = 0; i < STAGES; i++) {
        if (only >= 0 && i != only) continue;
        source.stage = pipeline_stages[i].name;
        TRY(show_journal(&source, show));
    }
    if (source.found || source.wanted == NULL) return STATUS_OK;
    return status_fail(STATUS_USAGE, "%s: no metric named like %s; 'rlhf explain' lists them", run,
                       source.wanted);
}

static Status choose_show(Show **show, const Cli *cli)
{
    const bool csv = cli_has(cli, "--csv"), json = cli_has(cli, "--json");
    const bool plot = cli_has(cli, "--plot");
    if (csv + json + plot > 1) {
        return status_fail(STATUS_USAGE, "--csv, --json and --plot exclude each other");
    }
    *show = csv ? show_csv : json ? show_json : plot ? show_plot : show_table;
    return STATUS_OK;
}

Status command_metrics(Cli *cli)
{
    int only = -1;
    Show *show = NULL;
    TRY(choose_show(&show, cli));
    if (cli_value(cli, "--stage") != NULL) TRY(pipeline_find(&only, cli_value(cli, "--stage")));
    if (show == show_csv) fputs("run,stage,step,metric,value\n", cli->out);
    for (int i = 0; i < cli->words; i++) {
        char run[STAGE_PATH];
        TRY(run_path(run, cli->word[i]));
        if (show == show_table) {
            fprintf(cli->out, "%s\n%-9s %-34s %11s %11s %11s %11s\n", run, "stage", "metric",
                    "first", "last", "lowest", "highest");
        }
        TRY(show_run(cli, run, only, show));
    }
    return STATUS_OK;
}
