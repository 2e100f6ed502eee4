/* Every metric over steps. The figures and their explanations are markup; the points are data for
 * curves.js, which draws a chart when it comes into sight. */
#include "scripts/rlhf/report/report.h"
#include "scripts/rlhf/report/series.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One metric of one stage. */
typedef struct Curve {
    Page *page;
    const Report *report;
    int stage;
    const char *metric;
    const MetricInfo *about; /* NULL: the table does not know it */
    Series *series;          /* (runs); count 0: the run has none */
    double weight;           /* of the smoothing, by the longest of them; 0: none */
} Curve;

/* Points take 6 digits in the page: more than is drawn or shown. */
static void put_values(JsonWriter *json, const char *key, const double *value, const int *index,
                       int count)
{
    json_open(json, key, '[');
    for (int i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.6g", value[index[i]]);
        json_put_number(json, NULL, strtod(text, NULL));
    }
    json_close(json);
}

/* As differences, which are short. */
static void put_steps(JsonWriter *json, const double *step, const int *index, int count)
{
    json_open(json, "step", '[');
    for (int i = 0; i < count; i++) {
        json_put_number(json, NULL, step[index[i]] - (i > 0 ? step[index[i - 1]] : 0));
    }
    json_close(json);
}

/* Points of one of so many curves: what the page has for a chart is shared by many. */
static int points_of(int curves)
{
    const int share = 4 * SERIES_POINTS / curves;
    return share > SERIES_POINTS ? SERIES_POINTS : share < 60 ? 60 : share;
}

static void put_run(JsonWriter *json, const Curve *curve, int run)
{
    int index[SERIES_POINTS];
    const Series *series = &curve->series[run];
    if (series->count == 0) return;
    const int count =
        series_thin(index, points_of(curve->report->runs), series->value, series->count);
    json_open(json, NULL, '{');
    json_put_integer(json, "run", run);
    put_steps(json, series->step, index, count);
    put_values(json, "value", series->value, index, count);
    json_close(json);
}

static Status put_group(JsonWriter *json, const Curve *curve, int group)
{
    int index[SERIES_POINTS], runs = 0;
    const Report *report = curve->report;
    void *block;
    TRY(memory_claim(&block, (size_t)report->runs * sizeof(Series *)));
    const Series **members = block;
    for (int r = 0; r < report->runs; r++) {
        if (report->run[r].group == group && curve->series[r].count > 0) {
            members[runs++] = &curve->series[r];
        }
    }
    SeriesBand band;
    const Status status = series_band(&band, members, runs);
    if (status != STATUS_OK || band.count == 0) {
        memory_release(block);
        return status;
    }
    /* A single run has its average where its values are. */
    const int count = series_thin(index, points_of(curve->report->groups),
                                  runs == 1 ? members[0]->value : band.mean, band.count);
    memory_release(block);
    json_open(json, NULL, '{');
    json_put_integer(json, "group", group);
    json_put_integer(json, "runs", runs);
    put_steps(json, band.step, index, count);
    put_values(json, "mean", band.mean, index, count);
    if (runs > 1) put_values(json, "low", band.low, index, count);
    if (runs > 1) put_values(json, "high", band.high, index, count);
    json_close(json);
    series_band_free(&band);
    return STATUS_OK;
}

static Status put_data(const Curve *curve)
{
    JsonWriter *json = &curve->page->data;
    json_open(json, NULL, '{');
    json_put_text(json, "metric", curve->metric);
    if (curve->about != NULL && isfinite(curve->about->low)) {
        json_put_number(json, "low", curve->about->low);
    }
    if (curve->about != NULL && isfinite(curve->about->high)) {
        json_put_number(json, "high", curve->about->high);
    }
    json_open(json, "runs", '[');
    for (int r = 0; r < curve->report->runs; r++) put_run(json, curve, r);
    json_close(json);
    json_open(json, "groups", '[');
    for (int g = 0; g < curve->report->groups; g++) TRY(put_group(json, curve, g));
    json_close(json);
    json_close(json);
    return STATUS_OK;
}

/* ---- markup ---- */

static void define(Page *page, const char *term, const char *text)
{
    if (text == NULL || text[0] == '\0') return;
    page_print(page, "<dt>%s</dt><dd>", term);
    page_string(page, text);
    page_print(page, "</dd>");
}

static void explain(const Curve *curve)
{
    char healthy[64];
    const MetricInfo *about = curve->about;
    if (about == NULL) return;
    metric_healthy(healthy, about);
    page_print(curve->page, "<details><summary>what it is</summary><dl>");
    define(curve->page, "formula", about->formula);
    define(curve->page, "over", about->over);
    define(curve->page, "healthy", healthy);
    define(curve->page, "otherwise", about->meaning);
    define(curve->page, "elsewhere",
           metric_aliases(pipeline_stages[curve->stage].metrics, about->name));
    page_print(curve->page, "</dl></details>\n");
}

static void print_extremes(Page *page, const Series *series)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < series->count; i++) {
        low = fmin(low, series->value[i]);
        high = fmax(high, series->value[i]);
    }
    page_print(page, "<p class=\"facts\"><span>first ");
    page_number(page, series->value[0]);
    page_print(page, "</span> <span>last ");
    page_number(page, series->value[series->count - 1]);
    page_print(page, "</span> <span>least ");
    page_number(page, low);
    page_print(page, "</span> <span>most ");
    page_number(page, high);
    page_print(page, "</span></p>\n");
}

static void print_figure(const Curve *curve, int index)
{
    Page *page = curve->page;
    page_print(page, "<figure class=\"curve\">\n<figcaption><span class=\"metric\">");
    page_string(page, curve->metric);
    page_print(page, "</span> <span class=\"unit\">");
    if (curve->about != NULL) page_string(page, curve->about->unit);
    if (curve->weight > 0) {
        page_print(page, "<span class=\"weight\">, smoothed %.2f</span>", curve->weight);
    }
    page_print(page,
               "</span></figcaption>\n<div class=\"plot\" role=\"img\" data-stage=\"%s\" "
               "data-chart=\"%d\" aria-label=\"",
               pipeline_stages[curve->stage].name, index);
    page_string(page, curve->metric);
    page_print(page, " over steps\"></div>\n<p class=\"readout\" aria-hidden=\"true\"></p>\n");
    if (curve->report->runs == 1) print_extremes(page, &curve->series[0]);
    explain(curve);
    page_print(page, "</figure>\n");
}

/* A schedule or a counter: there is no noise to take out. */
static bool is_monotone(const Series *series)
{
    bool rises = true, falls = true;
    for (int i = 1; i < series->count; i++) {
        rises = rises && series->value[i] >= series->value[i - 1];
        falls = falls && series->value[i] <= series->value[i - 1];
    }
    return rises || falls;
}

/* False where no run has a finite value. */
static Status read_curve(bool *found, Curve *curve)
{
    const Report *report = curve->report;
    int longest = 0;
    bool noisy = false;
    for (int r = 0; r < report->runs; r++) {
        Series *series = &curve->series[r];
        TRY(series_read(series, &report->run[r].journal[curve->stage], curve->metric));
        if (series->count > longest) longest = series->count;
        noisy = noisy || !is_monotone(series);
    }
    *found = longest > 0;
    curve->weight = noisy ? series_weight(longest) : 0.0;
    for (int r = 0; r < report->runs; r++) {
        Series *series = &curve->series[r];
        series_smooth(series->smooth, series->value, series->count, curve->weight);
    }
    return STATUS_OK;
}

/* Is there a run before `run` whose journal has the metric? */
static bool is_known_before(const Report *report, int run, int stage, const char *metric)
{
    for (int r = 0; r < run; r++) {
        if (metric_column(&report->run[r].journal[stage], metric) != NULL) return true;
    }
    return false;
}

static Status print_curve(Curve *curve, int *charts)
{
    bool found;
    const Report *report = curve->report;
    memset(curve->series, 0, (size_t)report->runs * sizeof *curve->series);
    curve->about = metric_find(pipeline_stages[curve->stage].metrics, curve->metric);
    Status status = read_curve(&found, curve);
    if (status == STATUS_OK && found) {
        print_figure(curve, (*charts)++);
        status = put_data(curve);
    }
    for (int r = 0; r < report->runs; r++) series_free(&curve->series[r]);
    return status;
}

/* What most people come for stands open. */
static bool is_opened(int stage)
{
    return stage == report_stage("reward") || stage == report_stage("ppo");
}

static Status print_stage(Curve *curve)
{
    const Report *report = curve->report;
    Page *page = curve->page;
    const char *name = pipeline_stages[curve->stage].name;
    int charts = 0;
    page_print(page, "<details class=\"stage\" id=\"curves-%s\"%s><summary>%s</summary>\n", name,
               is_opened(curve->stage) ? " open" : "", name);
    page_print(page, "<div class=\"curves\">\n");
    json_open(&page->data, name, '[');
    for (int r = 0; r < report->runs; r++) {
        const MetricColumns *journal = &report->run[r].journal[curve->stage];
        for (int c = 0; c < journal->columns; c++) {
            curve->metric = journal->name[c];
            if (is_known_before(report, r, curve->stage, curve->metric)) continue;
            TRY(print_curve(curve, &charts));
        }
    }
    json_close(&page->data);
    page_print(page, "</div>\n</details>\n");
    return STATUS_OK;
}

static bool is_begun(const Report *report, int stage)
{
    for (int r = 0; r < report->runs; r++) {
        if (report->run[r].journal[stage].rows > 0) return true;
    }
    return false;
}

/* A name may hold characters that a browser would act on: they stand as escapes. */
static void put_name(Page *page, const char *key, const char *name)
{
    Bytes safe = {0};
    const Status status = terminal_escape(&safe, name, strlen(name));
    if (status == STATUS_OK) json_put_bytes(&page->data, key, safe.data, safe.count);
    if (page->status == STATUS_OK) page->status = status;
    bytes_free(&safe);
}

static void put_names(Page *page, const Report *report)
{
    json_open(&page->data, "runs", '[');
    for (int r = 0; r < report->runs; r++) {
        json_open(&page->data, NULL, '{');
        put_name(page, "name", report->run[r].name);
        json_put_integer(&page->data, "group", report->run[r].group);
        json_close(&page->data);
    }
    json_close(&page->data);
    json_open(&page->data, "groups", '[');
    for (int g = 0; g < report->groups; g++) {
        put_name(page, NULL, report->group[g].label);
    }
    json_close(&page->data);
}

static void print_controls(Page *page, const Report *report)
{
    page_print(page, "<div class=\"controls\" id=\"curve-controls\">\n");
    if (report->runs == 1) {
        page_print(page, "<label><input type=\"checkbox\" id=\"show-runs\" checked> raw values, "
                         "faint, behind</label>\n");
    } else {
        page_print(page, "<label><input type=\"checkbox\" id=\"show-runs\"> every single run, raw, "
                         "faint, behind</label>\n");
    }
    page_print(page, "<span>Drag to zoom all charts of a stage, double click to go back.</span>\n");
    if (report->runs > 1) {
        page_print(page, "<ul class=\"legend\">\n");
        for (int g = 0; g < report->groups; g++) {
            page_print(page,
                       "<li><svg viewBox=\"0 0 28 14\" width=\"28\" height=\"14\" "
                       "aria-hidden=\"true\"><path class=\"line series-%d dash-%d\" d=\"M1 "
                       "7H27\"/></svg>",
                       g % CHART_SERIES, g % CHART_SERIES);
            page_string(page, report->group[g].label);
            page_print(page, " (%d)</li>\n", report->group[g].runs);
        }
        page_print(page, "</ul>\n");
    }
    page_print(page, "</div>\n<noscript><p class=\"warning\">Curves are drawn by script, which is "
                     "off in this browser. All values stand in metrics.jsonl of each "
                     "stage.</p></noscript>\n");
}

void report_curves(Page *page, const Report *report)
{
    page_section(page, "curves", "Every metric over steps",
                 report->runs == 1
                     ? "The strong line is a debiased exponential average over all values, with "
                       "the weight written above each chart; the green strip is the healthy range."
                     : "The line is the mean over the runs of a group, each smoothed by a debiased "
                       "exponential average over all its values with the weight written above each "
                       "chart; the band reaches from the smallest run to the largest, the green "
                       "strip is the healthy range.");
    print_controls(page, report);
    void *block = NULL;
    if (page->status == STATUS_OK) {
        page->status = memory_claim(&block, (size_t)report->runs * sizeof(Series));
    }
    if (page->status != STATUS_OK) return;
    Curve curve = {.page = page, .report = report, .series = block};
    json_open(&page->data, "curves", '{');
    put_names(page, report);
    json_open(&page->data, "stages", '{');
    for (int i = 0; i < STAGES && page->status == STATUS_OK; i++) {
        curve.stage = i;
        if (!is_begun(report, i)) continue;
        const Status status = print_stage(&curve);
        if (page->status == STATUS_OK) page->status = status;
    }
    json_close(&page->data);
    json_close(&page->data);
    memory_release(block);
}
