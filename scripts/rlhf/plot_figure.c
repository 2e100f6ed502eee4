#include "scripts/rlhf/plot_figure.h"

#include "data/io.h"
#include "scripts/rlhf/terminal.h"

#include <assert.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Okabe and Ito's palette, which colour-blind people can tell apart; its yellow is left out. */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#56b4e9", "#e69f00", "#000000"};
enum { COLOURS = sizeof colours / sizeof colours[0] };

/* One step of one curve of one group. */
typedef struct Row {
    double x, mean, deviation; /* deviation 0 where there is one run */
    int64_t step;
    int runs;            /* that have a value */
    const double *value; /* (runs of the group) NAN where a run has none */
} Row;

/* One curve of one group. */
typedef struct DataBlock {
    const Figure *figure;
    const Report *report;
    const FigureCurve *curve;
    int group, runs;
    const ReportRun **run; /* (runs) */
    Row *row;
    int rows;
    double *value; /* (rows, runs) */
} DataBlock;

/* ---- numbers ---- */

static int64_t next_step(const DataBlock *block, const int *at)
{
    int64_t step = INT64_MAX;
    for (int r = 0; r < block->runs; r++) {
        const MetricColumns *journal = &block->run[r]->journal[report_stage(block->figure->stage)];
        if (at[r] < journal->rows && journal->step[at[r]] < step) step = journal->step[at[r]];
    }
    return step;
}

/* The values of all runs at `step`, and where each is on the x axis; moves the cursors on. */
static void gather(Row *row, double *value, const DataBlock *block, int *at)
{
    const Figure *figure = block->figure;
    double sum = 0, some[FIGURE_RUNS];
    for (int r = 0; r < block->runs; r++) {
        const ReportRun *run = block->run[r];
        const MetricColumns *journal = &run->journal[report_stage(figure->stage)];
        value[r] = NAN;
        if (at[r] >= journal->rows || journal->step[at[r]] != row->step) continue;
        const int i = at[r]++;
        const double *y = metric_column(journal, block->curve->metric);
        const double *kl = metric_column(journal, "objective/kl");
        double x = (double)row->step;
        if (figure->over_kl) x = kl != NULL && kl[i] >= 0 ? sqrt(kl[i]) : NAN;
        if (y == NULL || !isfinite(y[i]) || !isfinite(x)) continue;
        value[r] = y[i];
        sum += x;
        some[row->runs++] = y[i];
    }
    if (row->runs == 0) return;
    row->x = sum / row->runs;
    row->mean = gsl_stats_mean(some, 1, (size_t)row->runs);
    row->deviation = row->runs > 1 ? gsl_stats_sd(some, 1, (size_t)row->runs) : 0;
    row->value = value;
}

static int by_x(const void *a, const void *b)
{
    const Row *one = a, *other = b;
    if (one->x != other->x) return one->x > other->x ? 1 : -1;
    return (one->step > other->step) - (one->step < other->step);
}

static void fill(DataBlock *block, int *at)
{
    for (int64_t step; (step = next_step(block, at)) != INT64_MAX;) {
        Row *row = &block->row[block->rows];
        *row = (Row){.step = step};
        gather(row, block->value + (size_t)block->rows * (size_t)block->runs, block, at);
        block->rows += row->runs > 0;
    }
    if (block->figure->over_kl && block->rows > 1) {
        qsort(block->row, (size_t)block->rows, sizeof *block->row, by_x);
    }
}

static void block_free(DataBlock *block)
{
    memory_release(block->run);
    memory_release(block->row);
    memory_release(block->value);
    *block = (DataBlock){0};
}

static Status claim(DataBlock *block, size_t most)
{
    void *memory;
    TRY(memory_claim(&memory, (size_t)block->runs * sizeof *block->run));
    block->run = memory;
    TRY(memory_claim(&memory, (most + 1) * sizeof *block->row));
    block->row = memory;
    TRY(memory_claim(&memory, (most + 1) * (size_t)block->runs * sizeof(double)));
    block->value = memory;
    return STATUS_OK;
}

static Status block_make(DataBlock *block, const Figure *figure, const Report *report, int curve,
                         int group)
{
    *block = (DataBlock){.figure = figure,
                         .report = report,
                         .curve = &figure->curve[curve],
                         .group = group,
                         .runs = report->group[group].runs};
    const int stage = report_stage(figure->stage);
    size_t most = 0;
    for (int i = 0; i < report->runs; i++) {
        if (report->run[i].group == group) most += (size_t)report->run[i].journal[stage].rows;
    }
    assert(block->runs <= FIGURE_RUNS);
    void *cursors;
    TRY(memory_claim(&cursors, (size_t)block->runs * sizeof(int)));
    const Status status = claim(block, most);
    if (status == STATUS_OK) {
        for (int i = 0, r = 0; i < report->runs; i++) {
            if (report->run[i].group == group) block->run[r++] = &report->run[i];
        }
        fill(block, cursors);
    }
    memory_release(cursors);
    return status;
}

/* ---- files ---- */

static const char *number_text(char text[32], double value)
{
    if (!isfinite(value)) return "NaN";
    json_number_text(text, value);
    return text;
}

static Status put_number(Bytes *out, double value)
{
    char text[32];
    return bytes_print(out, " %s", number_text(text, value));
}

/* Names of strangers without line breaks or control characters. */
static Status put_name(Bytes *out, const char *name)
{
    return terminal_escape(out, name, strlen(name));
}

static Status put_heading(Bytes *data, const DataBlock *block)
{
    TRY(bytes_print(data, "# %s of ", block->curve->metric));
    TRY(put_name(data, block->report->group[block->group].label));
    TRY(bytes_print(data,
                    "\n# columns: %s, mean, mean - deviation, mean + deviation, runs, step, then "
                    "the value of each run:\n",
                    block->figure->over_kl ? "mean square root of the KL (nats a sequence)"
                                           : "step"));
    for (int r = 0; r < block->runs; r++) {
        TRY(bytes_print(data, "#   %d ", 7 + r));
        TRY(put_name(data, block->run[r]->path));
        TRY(bytes_text(data, "\n"));
    }
    return STATUS_OK;
}

static Status put_block(Bytes *data, const DataBlock *block)
{
    TRY(put_heading(data, block));
    for (int i = 0; i < block->rows; i++) {
        const Row *row = &block->row[i];
        char x[32];
        TRY(bytes_text(data, number_text(x, row->x)));
        TRY(put_number(data, row->mean));
        TRY(put_number(data, row->mean - row->deviation));
        TRY(put_number(data, row->mean + row->deviation));
        TRY(bytes_print(data, " %d %lld", row->runs, (long long)row->step));
        for (int r = 0; r < block->runs; r++) TRY(put_number(data, row->value[r]));
        TRY(bytes_text(data, "\n"));
    }
    return bytes_text(data, "\n\n");
}

/* A string of gnuplot in which nothing is special. */
static Status put_quoted(Bytes *script, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        TRY(bytes_append(script, at, 1));
        if (*at == '\'') TRY(bytes_append(script, at, 1));
    }
    return STATUS_OK;
}

static Status put_key(Bytes *script, const DataBlock *block)
{
    const ReportGroup *group = &block->report->group[block->group];
    Bytes label = {0};
    Status status = bytes_text(&label, "");
    if (status == STATUS_OK && block->curve->name != NULL) {
        status =
            bytes_print(&label, "%s%s", block->curve->name, block->report->groups > 1 ? ", " : "");
    }
    if (status == STATUS_OK && (block->report->groups > 1 || block->curve->name == NULL)) {
        status = put_name(&label, group->label);
    }
    if (status == STATUS_OK && group->runs > 1) {
        status = bytes_print(&label, " (mean of %d ± deviation)", group->runs);
    }
    if (status == STATUS_OK) status = put_quoted(script, label.data);
    bytes_free(&label);
    return status;
}

/* What is drawn of a block: the band, then the curve; over KL points and a smooth line. */
static Status put_plot(Bytes *script, const DataBlock *block, int index)
{
    const Figure *figure = block->figure;
    const int curve = (int)(block->curve - figure->curve);
    const bool grouped = block->report->groups > 1;
    const char *colour = colours[(grouped ? block->group : curve) % COLOURS];
    const int dash = grouped ? curve + 1 : 1;
    const char *join = index == 0 ? "plot" : ",";
    if (figure->over_kl) {
        TRY(bytes_print(script,
                        "%s \\\n  data index %d using 1:2%s pointtype %d pointsize 0.4 "
                        "linecolor rgb '%s' notitle",
                        join, index, block->runs > 1 ? ":3:4 with yerrorbars" : " with points",
                        7 - 2 * curve, colour));
        TRY(bytes_print(script, ", \\\n  data index %d using 1:2 smooth sbezier", index));
    } else {
        if (block->runs > 1) {
            TRY(bytes_print(script,
                            "%s \\\n  data index %d using 1:3:4 with filledcurves linecolor rgb "
                            "'%s' notitle",
                            join, index, colour));
            join = ",";
        }
        TRY(bytes_print(script, "%s \\\n  data index %d using 1:2 with lines", join, index));
    }
    TRY(bytes_print(script, " linewidth 2 dashtype %d linecolor rgb '%s' title '", dash, colour));
    TRY(put_key(script, block));
    return bytes_text(script, "'");
}

static Status begin_script(Bytes *script, const Figure *figure, const char *format)
{
    TRY(bytes_print(script,
                    "# Written by rlhf plot. Draws %s.%s beside it: gnuplot %s.gp\n"
                    "# Or, for the other format: gnuplot -e \"format='%s'\" %s.gp\n"
                    "if (!exists('format')) format = '%s'\n",
                    figure->name, format, figure->name, strcmp(format, "svg") == 0 ? "pdf" : "svg",
                    figure->name, format));
    TRY(bytes_text(script, "folder = ''\n"
                           "if (exists('ARG0')) {\n"
                           "  do for [i = 1:strlen(ARG0)] {\n"
                           "    if (ARG0[i:i] eq '/') { folder = ARG0[1:i] }\n"
                           "  }\n"
                           "}\n"
                           "set encoding utf8\n"
                           "if (format eq 'pdf') {\n"
                           "  set terminal pdfcairo noenhanced size 12cm,8cm font ',10'\n"
                           "} else {\n"
                           "  set terminal svg noenhanced size 640,430 font 'sans-serif,14' "
                           "background rgb 'white'\n"
                           "}\n"));
    TRY(bytes_print(script, "data = folder . '%s.dat'\nset output folder . '%s.' . format\n",
                    figure->name, figure->name));
    TRY(bytes_print(script, "set xlabel '%s'\nset ylabel '%s'\n",
                    figure->over_kl ? "square root of the KL to the SFT policy (nats a sequence)"
                                    : "step",
                    figure->y_label));
    return bytes_text(script, "set key below\nset grid linecolor rgb '#dddddd'\n"
                              "set style fill transparent solid 0.2 noborder\n");
}

static Status publish(const Figure *figure, const char *folder, const char *ending,
                      const Bytes *text)
{
    char path[STAGE_PATH], name[FIGURE_NAME + 8];
    snprintf(name, sizeof name, "%s.%s", figure->name, ending);
    TRY(path_join(path, folder, name));
    return io_publish(path, text->data, text->count);
}

static Status put_blocks(int *drawn, Bytes *data, Bytes *script, const Figure *figure,
                         const Report *report)
{
    for (int g = 0; g < report->groups; g++) {
        for (int c = 0; c < figure->curves; c++) {
            DataBlock block;
            Status status = block_make(&block, figure, report, c, g);
            if (status == STATUS_OK && block.rows > 0) {
                status = put_block(data, &block);
                if (status == STATUS_OK) status = put_plot(script, &block, *drawn);
                (*drawn)++;
            }
            block_free(&block);
            TRY(status);
        }
    }
    return bytes_text(script, "\n");
}

Status figure_write(int *drawn, const Figure *figure, const Report *report, const char *folder,
                    const char *format)
{
    Bytes data = {0}, script = {0};
    *drawn = 0;
    Status status = begin_script(&script, figure, format);
    if (status == STATUS_OK) status = put_blocks(drawn, &data, &script, figure, report);
    if (status == STATUS_OK && *drawn > 0) status = publish(figure, folder, "dat", &data);
    if (status == STATUS_OK && *drawn > 0) status = publish(figure, folder, "gp", &script);
    bytes_free(&data);
    bytes_free(&script);
    return status;
}
