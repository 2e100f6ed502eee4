/* rlhf plot: figures for papers, as gnuplot scripts and their data. */
#include "data/io.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/plot_figure.h"
#include "scripts/rlhf/run.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef struct PlotRequest {
    Cli *cli;
    const char *folder, *format;
    Report report;
    int figures; /* written */
} PlotRequest;

static Status write_figure(PlotRequest *request, const Figure *figure)
{
    int drawn;
    TRY(figure_write(&drawn, figure, &request->report, request->folder, request->format));
    if (drawn == 0) return STATUS_OK;
    request->figures++;
    fprintf(request->cli->out, "gnuplot %s/%s.gp\n", request->folder, figure->name);
    return STATUS_OK;
}

static Status write_rewards(PlotRequest *request)
{
    Figure figure = {.stage = "ppo",
                     .y_label = "reward",
                     .curve = {{"objective/gold", "gold"}, {"objective/scores", "proxy"}},
                     .curves = 2};
    snprintf(figure.name, sizeof figure.name, "reward-over-steps");
    TRY(write_figure(request, &figure));
    snprintf(figure.name, sizeof figure.name, "reward-over-kl");
    figure.over_kl = true;
    return write_figure(request, &figure);
}

/* "ppo-objective-kl" */
static void name_figure(Figure *figure, const char *metric)
{
    snprintf(figure->name, sizeof figure->name, "%s-%s", figure->stage, metric);
    for (char *at = figure->name; *at != '\0'; at++) {
        if (!isalnum((unsigned char)*at) && *at != '_') *at = '-';
    }
}

static Status write_metric(PlotRequest *request, int stage, const MetricInfo *metric)
{
    Figure figure = {
        .stage = pipeline_stages[stage].name, .curve = {{metric->name, NULL}}, .curves = 1};
    name_figure(&figure, metric->name);
    snprintf(figure.y_label, sizeof figure.y_label, "%s (%s)", metric->name, metric->unit);
    return write_figure(request, &figure);
}

/* A figure for each metric whose name contains `part`, or that is called so. */
static Status write_metrics(PlotRequest *request, int stage, const char *part)
{
    const MetricTable *table = pipeline_stages[stage].metrics;
    const int before = request->figures;
    const MetricInfo *exact = metric_find(table, part);
    for (int i = 0; i < table->count; i++) {
        const MetricInfo *metric = &table->metrics[i];
        const bool wanted = exact != NULL ? metric == exact : strstr(metric->name, part) != NULL;
        if (wanted) TRY(write_metric(request, stage, metric));
    }
    if (request->figures > before) return STATUS_OK;
    return status_fail(STATUS_USAGE,
                       "%s: no metric of %s named like that has values; 'rlhf explain' lists them",
                       part, pipeline_stages[stage].name);
}

static Status write_figures(PlotRequest *request)
{
    const Cli *cli = request->cli;
    int stage = report_stage("ppo");
    bool chosen = false;
    if (cli_value(cli, "--stage") != NULL) TRY(pipeline_find(&stage, cli_value(cli, "--stage")));
    for (int i = 0; i < cli->givens; i++) {
        if (strcmp(cli->given[i].flag->name, "--metric") != 0) continue;
        chosen = true;
        TRY(write_metrics(request, stage, cli->given[i].value));
    }
    if (chosen) return STATUS_OK;
    TRY(cli_value(cli, "--stage") != NULL ? write_metrics(request, stage, "")
                                          : write_rewards(request));
    if (request->figures > 0) return STATUS_OK;
    return status_fail(STATUS_DATA, "%s: no step of %s yet", cli->word[0],
                       pipeline_stages[stage].name);
}

Status command_plot(Cli *cli)
{
    if (cli->words > FIGURE_RUNS) {
        return status_fail(STATUS_USAGE, "%d runs, at most %d", cli->words, FIGURE_RUNS);
    }
    const char *out = cli_value(cli, "--out");
    PlotRequest request = {.cli = cli,
                           .folder = out != NULL ? out : "plots",
                           .format = cli_has(cli, "--pdf") ? "pdf" : "svg"};
    Status status = report_read(&request.report, cli->word, cli->words);
    if (status == STATUS_OK) status = io_make_folder(request.folder);
    if (status == STATUS_OK) status = write_figures(&request);
    report_free(&request.report);
    return status;
}
