/* rlhf report: one HTML file that opens offline, about one run or many.
 *
 * What is shown is read once into a Report; each part of the page is a function of it alone. Text
 * of models and strangers goes through page_text (HTML) or a JsonWriter into page->data (script),
 * never through page_print. */
#ifndef SCRIPTS_RLHF_REPORT_REPORT_H
#define SCRIPTS_RLHF_REPORT_REPORT_H

#include "data/json.h"
#include "data/memory.h"
#include "data/metrics.h"
#include "data/status.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/scorecard.h"
#include "scripts/rlhf/settings.h"

#include <stdbool.h>
#include <stddef.h>

/* ---- what is shown (runs.c) ---- */

typedef struct ReportRun {
    char path[STAGE_PATH];
    const char *name; /* its last part; all of it where two runs' are equal */
    Settings settings;
    MetricColumns journal[STAGES]; /* rows == 0: the stage has none */
    Scorecard card;
    bool scored; /* card was there */
    int group;
} ReportRun;

/* Runs whose settings are equal apart from the seed. */
typedef struct ReportGroup {
    char label[128]; /* what sets it apart from the other groups: "kl_coef=0.05" */
    int first;       /* a run of it */
    int runs;
} ReportGroup;

typedef struct Report {
    int runs, groups;
    ReportRun *run;     /* (runs) */
    ReportGroup *group; /* (groups) */
} Report;

/* Unfinished runs are read as far as they are. Not a run, or a file that is broken: STATUS_DATA. */
Status report_read(Report *report, const char *const *path, int count);
void report_free(Report *report); /* fine on one that is zero */

/* A setting as people write it: "0.05", "true", "reviews". */
void report_setting(char text[CONFIG_TEXT], const Settings *settings, const ConfigSection *section,
                    const ConfigField *field);
/* The column of a metric in a run's journal of a stage; NULL: not there. */
const double *report_column(const ReportRun *run, const char *stage, const char *metric);
/* Index into pipeline_stages; the name is one of them. */
int report_stage(const char *name);

/* ---- writing the page (page.c) ---- */

/* Scripts find the data in the element "data": JSON.parse(document.getElementById("data")
 * .textContent).samples. What they read there is text of strangers: it goes to textContent. */
typedef struct Page {
    Bytes html;      /* the sections so far */
    Bytes contents;  /* the entries of the table of contents so far */
    JsonWriter data; /* one object, open at its top level: a part adds members named after itself */
    Bytes data_text;
    int sections;
    Status status;   /* the first failure; later calls do nothing */
} Page;

/* `page` stays where it is until page_free. */
void page_open(Page *page);
/* Appends the whole document: styles, contents, sections, data, scripts (all of assets.h). */
Status page_finish(Bytes *document, Page *page, const char *title, const char *about);
void page_free(Page *page);

/* Markup, as it stands. */
void page_print(Page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text, escaped for element content and quoted attributes; bytes that are not UTF-8 become U+FFFD,
 * control and direction characters visible escapes. */
void page_text(Page *page, const char *text, size_t count);
void page_string(Page *page, const char *text);
/* A number to read: 4 significant digits (integers: all), in an element whose title attribute has
 * as many as give back the same bits. Not finite: a dash. */
void page_number(Page *page, double value);
/* A section with a heading; ends where the next begins. `about` is a sentence below it. */
void page_section(Page *page, const char *id, const char *title, const char *about);

/* "0.811 ± 0.023": the error with 2 significant digits, the mean with as many decimals; titles as
 * above. Without the error where it is 0 or not finite. */
void page_estimate(Page *page, const Estimate *estimate);
/* A cell of a table with a number in it. */
void page_cell(Page *page, double value);

/* ---- charts in SVG (svg.c) ---- */

/* Linear axes over given ranges, with ticks, labels and a grid; points and lines follow in data
 * coordinates. Colours are classes (series-0 .. series-7, a palette that colour-blind people can
 * tell apart, each with its own marker), so that dark mode and print restyle them. */
enum { CHART_SERIES = 8, CHART_LABELS = 320 };

typedef struct ChartLabel {
    double left, right, baseline; /* in the picture */
} ChartLabel;

typedef struct Chart {
    Page *page;
    double x0, x1, y0, y1;         /* data ranges, widened to round ticks */
    double width, height;          /* of the picture */
    bool empty;                    /* "no data" stands in its place; nothing is drawn */
    unsigned char shown[CHART_SERIES]; /* how a series was drawn, for the legend */
    int marks;                     /* so far: each label a line below the one before */
    int labels;
    ChartLabel label[CHART_LABELS]; /* (labels) what words must not lie on */
} Chart;

/* `title` is read by screen readers too. Ranges that are empty or not finite show "no data".
 * Values that are not finite are left out; so are points beyond the ranges. */
Chart chart_open(Page *page, const char *title, const char *x_label, const char *y_label,
                 double x0, double x1, double y0, double y1);
void chart_points(Chart *chart, int series, const double *x, const double *y, int count);
/* With error bars of +- error[i]. */
void chart_errors(Chart *chart, int series, const double *x, const double *y, const double *error,
                  int count);
void chart_line(Chart *chart, int series, const double *x, const double *y, int count);
void chart_dashes(Chart *chart, int series, const double *x, const double *y, int count);
void chart_bar(Chart *chart, int series, double x0, double x1, double y);
/* A vertical line with a label. */
void chart_mark(Chart *chart, double x, const char *label);
/* Words stay away from these points. */
void chart_keep_clear(Chart *chart, const double *x, const double *y, int count);
/* A word beside a point; left out where there is no room for it. */
void chart_label(Chart *chart, double x, double y, const char *text);
/* Ends the picture; `name[i]` belongs to series i. */
void chart_close(Chart *chart, const char *const *name, int names);

/* ---- the parts, in the order of the page ---- */

void report_story(Page *page, const Report *report);    /* story.c: stages, scorecard, verdict */
void report_frontier(Page *page, const Report *report); /* frontier.c: gold and proxy over sqrt KL */
void report_judge(Page *page, const Report *report);    /* judge.c: the reward model */
void report_samples(Page *page, const Report *report);  /* samples.c: answers and tokens */
void report_curves(Page *page, const Report *report);   /* curves.c: every metric over steps */
void report_settings(Page *page, const Report *report); /* provenance.c: settings, lives, files */

#endif
