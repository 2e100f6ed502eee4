/* The story on one screen: what became of it, the stages, the scorecard, gold against proxy. */
#include "scripts/rlhf/report/story.h"
#include "data/io.h"
#include "scripts/rlhf/report/report.h"
#include "scripts/rlhf/report/series.h"
#include "scripts/rlhf/report/verdict.h"
#include "scripts/rlhf/summary.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- stages ---- */

static bool is_finished(const ReportRun *run, const char *stage)
{
    char folder[STAGE_PATH], path[STAGE_PATH];
    if (path_join(folder, run->path, stage) != STATUS_OK) return false;
    return path_join(path, folder, "manifest.json") == STATUS_OK && io_exists(path);
}

/* "200 steps in 0:12", of several runs how many have finished and the time of all. */
static Status print_stage(Page *page, const Report *report, int stage)
{
    const char *name = pipeline_stages[stage].name;
    int64_t steps = 0;
    double seconds = 0.0;
    int finished = 0;
    char clock[16];
    for (int r = 0; r < report->runs; r++) {
        StageTimes times;
        const MetricColumns *journal = &report->run[r].journal[stage];
        TRY(stage_times(&times, report->run[r].path, name));
        if (journal->rows > 0 && journal->step[journal->rows - 1] > steps) {
            steps = journal->step[journal->rows - 1];
        }
        seconds += times.seconds;
        finished += is_finished(&report->run[r], name);
    }
    const bool begun = steps > 0 || finished > 0;
    page_print(page, "<li class=\"%s\"><b>%s</b><span>",
               finished == report->runs ? "finished"
               : begun                  ? "begun"
                                        : "missing",
               name);
    if (!begun) {
        page_print(page, "not begun");
    } else {
        page_print(page, "%lld step%s, %s", (long long)steps, steps == 1 ? "" : "s",
                   clock_text(clock, seconds));
        if (report->runs > 1) {
            page_print(page, ", finished %d/%d", finished, report->runs);
        } else if (finished == 0) {
            page_print(page, ", unfinished");
        }
    }
    page_print(page, "</span></li>\n");
    return STATUS_OK;
}

static void print_stages(Page *page, const Report *report)
{
    page_print(page, "<ol class=\"stages\">\n");
    for (int s = 0; s < STAGES && page->status == STATUS_OK; s++) {
        const Status status = print_stage(page, report, s);
        if (page->status == STATUS_OK) page->status = status;
    }
    page_print(page, "</ol>\n");
}

/* ---- scorecards ---- */

static void print_cell(Page *page, const Estimate *estimate)
{
    page_print(page, "<td>");
    page_estimate(page, estimate);
    page_print(page, "</td>");
}

static void print_card(Page *page, const ReportRun *run)
{
    page_print(page,
               "<div class=\"wide\"><table>\n<caption>Scorecard on %d held-out prompts; ± is "
               "one standard error</caption>\n<thead><tr><th>policy</th><th>gold</th>"
               "<th>proxy</th><th>KL, nats</th><th>length</th><th>ended</th></tr></thead>\n"
               "<tbody>\n",
               run->card.prompts);
    for (int i = 0; i < run->card.count; i++) {
        const PolicyScore *policy = &run->card.policy[i];
        page_print(page, "<tr><th>");
        page_string(page, policy->name);
        page_print(page, "</th>");
        print_cell(page, &policy->gold);
        print_cell(page, &policy->score);
        print_cell(page, &policy->kl);
        print_cell(page, &policy->length);
        page_print(page, "<td>");
        page_number(page, policy->terminated);
        page_print(page, "</td></tr>\n");
    }
    page_print(page, "</tbody></table></div>\n");
}

static void print_judge(Page *page, const Scorecard *card)
{
    if (!isfinite(card->accuracy)) return;
    page_print(page, "<p class=\"about\">The reward model orders ");
    page_number(page, 100 * card->accuracy);
    page_print(page, " %% of held-out pairs like their labels");
    if (isfinite(card->ceiling)) {
        page_print(page, ", where knowing gold would order ");
        page_number(page, 100 * card->ceiling);
        page_print(page, " %%");
    }
    if (isfinite(card->gold_accuracy)) {
        page_print(page, "; it orders ");
        page_number(page, 100 * card->gold_accuracy);
        page_print(page, " %% like gold");
    }
    page_print(page, ".</p>\n");
}

static void print_card_row(Page *page, const ReportRun *run)
{
    const PolicyScore *ppo = run->scored ? scorecard_policy(&run->card, "ppo") : NULL;
    const Verdict verdict = verdict_of(run);
    page_print(page, "<tr><th>");
    page_string(page, run->name);
    page_print(page, "</th>");
    if (ppo == NULL) {
        page_print(page, "<td colspan=\"5\" class=\"none\">no scorecard yet</td></tr>\n");
        return;
    }
    print_cell(page, &verdict.gold);
    print_cell(page, &verdict.proxy);
    print_cell(page, &run->card.win_rate);
    print_cell(page, &ppo->kl);
    print_cell(page, &ppo->length);
    page_print(page, "</tr>\n");
}

static void open_card(Page *page, const char *caption, const char *first)
{
    page_print(page,
               "<div class=\"wide\"><table>\n<caption>%s</caption>\n<thead><tr><th>%s</th>"
               "<th>gold, σ</th><th>proxy, σ</th><th>wins, share</th><th>KL, nats</th>"
               "<th>length</th></tr></thead>\n<tbody>\n",
               caption, first);
}

static Status print_group_row(Page *page, const Report *report, int group)
{
    enum { MEASURES = 5 };
    void *block;
    TRY(memory_claim(&block, MEASURES * (size_t)report->runs * sizeof(double)));
    double *value = block;
    int runs = 0;
    for (int r = 0; r < report->runs; r++) {
        const ReportRun *run = &report->run[r];
        const PolicyScore *ppo = run->scored ? scorecard_policy(&run->card, "ppo") : NULL;
        if (run->group != group || ppo == NULL) continue;
        const Verdict verdict = verdict_of(run);
        const double measured[MEASURES] = {verdict.gold.mean, verdict.proxy.mean,
                                           run->card.win_rate.mean, ppo->kl.mean, ppo->length.mean};
        for (int m = 0; m < MEASURES; m++) value[m * report->runs + runs] = measured[m];
        runs++;
    }
    page_print(page, "<tr><th>");
    page_string(page, report->group[group].label);
    page_print(page, "</th>");
    for (int m = 0; m < MEASURES; m++) {
        const Estimate spread = verdict_spread(value + m * report->runs, runs);
        print_cell(page, &(Estimate){spread.mean, spread.deviation, NAN});
    }
    page_print(page, "</tr>\n");
    memory_release(block);
    return STATUS_OK;
}

static void print_cards(Page *page, const Report *report)
{
    open_card(
        page,
        "PPO against SFT on held-out prompts: mean over the runs ± standard deviation between "
        "them",
        "settings");
    for (int g = 0; g < report->groups && page->status == STATUS_OK; g++) {
        const Status status = print_group_row(page, report, g);
        if (page->status == STATUS_OK) page->status = status;
    }
    page_print(page, "</tbody></table></div>\n<details><summary>every run</summary>\n");
    open_card(page, "The same for each run ± one standard error", "run");
    for (int g = 0; g < report->groups; g++) {
        for (int r = 0; r < report->runs; r++) {
            if (report->run[r].group == g) print_card_row(page, &report->run[r]);
        }
    }
    page_print(page, "</tbody></table></div>\n</details>\n");
}

/* ---- gold against proxy ---- */

/* One metric of PPO over steps, averaged over the runs of a group and smoothed; in standard
 * deviations of SFT's answers above SFT's mean where every run's scorecard tells them. */
typedef struct Rise {
    Series *series; /* (runs) */
    SeriesBand band;
} Rise;

static void rise_free(Rise *rise, int runs)
{
    for (int i = 0; rise->series != NULL && i < runs; i++) series_free(&rise->series[i]);
    memory_release(rise->series);
    series_band_free(&rise->band);
    *rise = (Rise){0};
}

/* One chart has one unit. */
static bool all_scored(const Report *report)
{
    for (int r = 0; r < report->runs; r++) {
        const ReportRun *run = &report->run[r];
        if (!run->scored || scorecard_policy(&run->card, "sft") == NULL) return false;
    }
    return true;
}

static Status read_member(Series *series, const ReportRun *run, const char *metric, bool gold,
                          bool scaled)
{
    const PolicyScore *sft = scaled ? scorecard_policy(&run->card, "sft") : NULL;
    TRY(series_read(series, &run->journal[report_stage("ppo")], metric));
    const double zero = sft != NULL ? (gold ? sft->gold : sft->score).mean : 0.0;
    const double unit = sft != NULL ? (gold ? sft->gold : sft->score).deviation : 1.0;
    for (int i = 0; i < series->count; i++) series->value[i] = (series->value[i] - zero) / unit;
    series_smooth(series->smooth, series->value, series->count, series_weight(series->count));
    return STATUS_OK;
}

static Status rise_read(Rise *rise, const Report *report, int group, const char *metric, bool gold)
{
    const bool scaled = all_scored(report);
    void *block, *list;
    int members = 0;
    TRY(memory_claim(&block, (size_t)report->runs * sizeof(Series)));
    rise->series = block;
    TRY(memory_claim(&list, (size_t)report->runs * sizeof(Series *)));
    const Series **member = list;
    Status status = STATUS_OK;
    for (int r = 0; r < report->runs && status == STATUS_OK; r++) {
        if (report->run[r].group != group) continue;
        status = read_member(&rise->series[r], &report->run[r], metric, gold, scaled);
        member[members++] = &rise->series[r];
    }
    if (status == STATUS_OK) status = series_band(&rise->band, member, members);
    memory_release(list);
    return status;
}

/* Widens a range to hold the band. */
static void reach(double *low, double *high, const SeriesBand *band)
{
    for (int i = 0; i < band->count; i++) {
        *low = fmin(*low, band->mean[i]);
        *high = fmax(*high, band->mean[i]);
    }
}

static void draw_rises(Page *page, const Report *report, const Rise *gold, const Rise *proxy,
                       int shown)
{
    const char *names[CHART_SERIES] = {"gold: what is wanted", "proxy: what PPO is paid for"};
    double last = -INFINITY, low = 0.0, high = -INFINITY;
    for (int g = 0; g < shown; g++) {
        const SeriesBand *band = &proxy[g].band;
        if (band->count > 0) last = fmax(last, band->step[band->count - 1]);
        reach(&low, &high, band);
        reach(&low, &high, &gold[g].band);
    }
    Chart chart = chart_open(
        page, shown == 1 ? "Gold against proxy" : "Gold (lines) against proxy (dashes)", "PPO step",
        all_scored(report) ? "above SFT, in σ of SFT's answers" : "as measured", 0, last, low,
        high);
    for (int g = 0; g < shown; g++) {
        const SeriesBand *up = &proxy[g].band, *true_up = &gold[g].band;
        if (shown > 1) names[g] = report->group[g].label;
        chart_dashes(&chart, shown == 1 ? 1 : g, up->step, up->mean, up->count);
        chart_line(&chart, g, true_up->step, true_up->mean, true_up->count);
    }
    chart_close(&chart, names, shown == 1 ? 2 : shown);
}

static Status print_rises(Page *page, const Report *report)
{
    Rise gold[CHART_SERIES] = {{0}}, proxy[CHART_SERIES] = {{0}};
    const int shown = report->groups < CHART_SERIES ? report->groups : CHART_SERIES;
    Status status = STATUS_OK;
    for (int g = 0; g < shown && status == STATUS_OK; g++) {
        status = rise_read(&gold[g], report, g, "objective/gold", true);
        if (status == STATUS_OK) {
            status = rise_read(&proxy[g], report, g, "objective/scores", false);
        }
    }
    if (status == STATUS_OK) draw_rises(page, report, gold, proxy, shown);
    for (int g = 0; g < shown; g++) {
        rise_free(&gold[g], report->runs);
        rise_free(&proxy[g], report->runs);
    }
    return status;
}

void report_story(Page *page, const Report *report)
{
    page_section(page, "story", "The story", NULL);
    story_verdicts(page, report);
    print_stages(page, report);
    page_print(page, "<div class=\"halves scores\">\n<div>\n");
    if (report->runs > 1) {
        print_cards(page, report);
    } else if (report->run[0].scored) {
        print_card(page, &report->run[0]);
        print_judge(page, &report->run[0].card);
    } else {
        page_print(page, "<p class=\"none\">No scorecard yet: it comes with the stage "
                         "evaluate.</p>\n");
    }
    page_print(page, "</div>\n<div>\n");
    const Status status = print_rises(page, report);
    if (page->status == STATUS_OK) page->status = status;
    page_print(page, "</div>\n</div>\n");
    story_findings(page, report);
}
