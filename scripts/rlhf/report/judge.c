/* The reward model: is it right, does it know how sure it may be, what does it go by? */
#include "scripts/rlhf/report/judged.h"

#include "data/io.h"
#include "reward/calibration_file.h"

#include <math.h>

enum { GROUPS_DRAWN = 4 }; /* pictures for the first run of so many groups; numbers for all */

/* ---- numbers of all runs ---- */

static bool has_judge(const ReportRun *run)
{
    char path[STAGE_PATH];
    return path_join(path, run->path, "reward/calibration.json") == STATUS_OK && io_exists(path);
}

static Status put_row(Page *page, const ReportRun *run)
{
    page_print(page, "<tr><th scope=\"row\">");
    page_string(page, run->name);
    page_print(page, "</th>");
    if (!has_judge(run)) {
        page_print(page, "<td colspan=\"9\" class=\"none\">not trained yet</td></tr>\n");
        return STATUS_OK;
    }
    CalibrationFile file;
    TRY(calibration_read(&file, run->path));
    const Calibration *c = &file.calibration;
    const double shown[] = {c->pairs,
                            c->accuracy,
                            c->ceiling,
                            c->gold_accuracy,
                            c->nll,
                            c->brier,
                            c->ece,
                            file.scale.gold_spearman,
                            file.scale.length_correlation};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) page_cell(page, shown[i]);
    page_print(page, "</tr>\n");
    return STATUS_OK;
}

static Status put_numbers(Page *page, const Report *report)
{
    page_print(page,
               "<div class=\"wide\"><table><caption>On held-out pairs, as the model was trained; "
               "the two correlations are over fresh answers of the SFT policy</caption>\n"
               "<thead><tr><th>run</th><th>pairs</th>"
               "<th><abbr title=\"share of labels agreed with\">accuracy</abbr></th>"
               "<th><abbr title=\"what knowing gold would score against the labels\">ceiling</abbr>"
               "</th><th><abbr title=\"share of gold orders agreed with\">against gold</abbr></th>"
               "<th><abbr title=\"mean of -log p(label), nats\">nll</abbr></th>"
               "<th><abbr title=\"mean of (1 - p(label))²\">Brier</abbr></th>"
               "<th><abbr title=\"expected calibration error, ten bins\">ECE</abbr></th>"
               "<th><abbr title=\"Spearman's\">rank correlation with gold</abbr></th>"
               "<th><abbr title=\"Pearson's\">correlation with length</abbr></th></tr></thead>\n"
               "<tbody>\n");
    for (int i = 0; i < report->runs; i++) TRY(put_row(page, &report->run[i]));
    page_print(page, "</tbody></table></div>\n");
    return STATUS_OK;
}

/* ---- calibration ---- */

static void draw_reliability(Page *page, const Calibration *c)
{
    static const double diagonal[2] = {0.5, 1.0};
    static const char *const names[] = {"right as often as it thinks", "held-out pairs"};
    double x[CALIBRATION_BINS], y[CALIBRATION_BINS], error[CALIBRATION_BINS], lowest = 0.5;
    int bins = 0;
    for (int b = 0; b < CALIBRATION_BINS; b++) {
        const ReliabilityBin *bin = &c->reliability[b];
        if (bin->pairs == 0) continue;
        x[bins] = bin->confidence;
        y[bins] = bin->accuracy;
        error[bins] = sqrt(bin->accuracy * (1.0 - bin->accuracy) / bin->pairs);
        lowest = fmin(lowest, y[bins++]);
    }
    Chart chart = chart_open(page, "Reliability: how sure it is, how often it is right",
                             "confidence", "accuracy", 0.5, bins > 0 ? 1.0 : NAN, lowest, 1.0);
    chart_dashes(&chart, 0, diagonal, diagonal, 2);
    chart_errors(&chart, 1, x, y, error, bins);
    chart_close(&chart, names, 2);
}

static void put_reliability(Page *page, const Calibration *c)
{
    page_print(page, "<div class=\"wide\"><table><caption>The bins of the diagram (bars: one "
                     "standard error)</caption>\n<thead><tr><th>confidence from</th><th>to</th>"
                     "<th>pairs</th><th>mean confidence</th><th>accuracy</th></tr></thead>\n"
                     "<tbody>\n");
    for (int b = 0; b < CALIBRATION_BINS; b++) {
        const ReliabilityBin *bin = &c->reliability[b];
        page_print(page, "<tr>");
        page_cell(page, 0.5 + 0.5 * b / CALIBRATION_BINS);
        page_cell(page, 0.5 + 0.5 * (b + 1) / CALIBRATION_BINS);
        page_cell(page, bin->pairs);
        page_cell(page, bin->confidence);
        page_cell(page, bin->accuracy);
        page_print(page, "</tr>\n");
    }
    page_print(page, "</tbody></table></div>\n");
}

static const char *const margin_name[MARGIN_BINS] = {"0 to ¼", "¼ to ½", "½ to 1", "1 to 2",
                                                     "2 and more"};

static void draw_margins(Page *page, const Calibration *c)
{
    bool any = false;
    for (int b = 0; b < MARGIN_BINS; b++) any = any || c->margin_pairs[b] > 0;
    Chart chart = chart_open(page, "Accuracy against gold by how far apart the answers are",
                             "bin of the gold margin: see the table", "share of gold orders", 0.5,
                             any ? MARGIN_BINS + 0.5 : NAN, 0.0, 1.0);
    for (int b = 0; b < MARGIN_BINS; b++) {
        if (c->margin_pairs[b] == 0) continue;
        chart_bar(&chart, 0, b + 0.6, b + 1.4, c->margin_accuracy[b]);
    }
    chart_close(&chart, NULL, 0);
}

static void put_margins(Page *page, const Calibration *c, double sigma)
{
    page_print(page, "<div class=\"wide\"><table><caption>Gold margin in standard deviations of "
                     "SFT's gold");
    if (isfinite(sigma)) {
        page_print(page, ", which is ");
        page_number(page, sigma);
    }
    page_print(page, "</caption>\n<thead><tr><th>bin</th><th>margin</th><th>pairs</th>"
                     "<th>accuracy</th></tr></thead>\n<tbody>\n");
    for (int b = 0; b < MARGIN_BINS; b++) {
        page_print(page, "<tr><td>%d</td><td>%s</td>", b + 1, margin_name[b]);
        page_cell(page, c->margin_pairs[b]);
        page_cell(page, c->margin_accuracy[b]);
        page_print(page, "</tr>\n");
    }
    page_print(page, "</tbody></table></div>\n");
}

static Status put_calibration(Page *page, const ReportRun *run)
{
    CalibrationFile file;
    TRY(calibration_read(&file, run->path));
    const Calibration *c = &file.calibration;
    if (c->pairs == 0) {
        page_print(page, "<p class=\"none\">No pairs were held out.</p>\n");
        return STATUS_OK;
    }
    page_print(page, "<div class=\"charts\">\n<div>\n");
    if (file.binned) {
        draw_reliability(page, c);
        put_reliability(page, c);
    } else {
        page_print(page, "<p class=\"none\">A run of an older version: it kept no bins for a "
                         "reliability diagram.</p>\n");
    }
    page_print(page, "</div>\n");
    if (!isnan(c->gold_accuracy)) {
        page_print(page, "<div>\n");
        draw_margins(page, c);
        put_margins(page, c, file.scale.gold_std);
        page_print(page, "</div>\n");
    }
    page_print(page, "</div>\n");
    return STATUS_OK;
}

/* ---- the section ---- */

static Status put_judge(Page *page, const Report *report)
{
    TRY(put_numbers(page, report));
    for (int g = 0; g < report->groups && g < GROUPS_DRAWN; g++) {
        const ReportRun *run = &report->run[report->group[g].first];
        if (!has_judge(run)) continue;
        if (report->runs > 1) {
            page_print(page, "<h3>");
            page_string(page, run->name);
            page_print(page, "</h3>\n");
        }
        TRY(put_calibration(page, run));
        TRY(judged_show(page, run));
    }
    return STATUS_OK;
}

void report_judge(Page *page, const Report *report)
{
    bool any = false;
    for (int i = 0; i < report->runs; i++) any = any || has_judge(&report->run[i]);
    page_section(page, "judge", "The reward model",
                 "The judge that PPO pleases: whether it is right, whether it knows how sure it "
                 "may be, and what it goes by.");
    if (!any) {
        page_print(page, "<p class=\"none\">Nothing yet: it has not been trained.</p>\n");
        return;
    }
    if (page->status == STATUS_OK) page->status = put_judge(page, report);
}
