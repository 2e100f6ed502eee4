/* The signature chart: gold and proxy against the distance that the policy has travelled. */
#include "scripts/rlhf/report/travel.h"

#include <math.h>
#include <stdio.h>

enum {
    GOLD,
    PROXY,
    BEST_GOLD,
    BEST_PROXY,
    KINDS,
    DOTS = 240, /* about so many a panel and kind; longer runs show means of steps */
    CURVE = 64, /* points of a drawn fit */
};

static const char *const kind_name[KINDS] = {
    [GOLD] = "gold along PPO",
    [PROXY] = "proxy along PPO",
    [BEST_GOLD] = "gold, best of n",
    [BEST_PROXY] = "proxy, best of n",
};

/* ---- the picture ---- */

typedef struct Extent {
    double x, low, high;
} Extent;

static void extend(Extent *extent, const Way *way)
{
    for (int i = 0; i < way->count; i++) {
        extent->x = fmax(extent->x, way->distance[i]);
        extent->low = fmin(extent->low, fmin(way->gold[i], way->proxy[i]));
        extent->high = fmax(extent->high, fmax(way->gold[i], way->proxy[i]));
    }
}

/* Means of `width` steps at a time of one run's way. */
static void draw_way(Chart *chart, int series, const Way *way, const double *value, int width)
{
    double x[DOTS + 1], y[DOTS + 1];
    int dots = 0;
    for (int first = 0; first < way->count && dots <= DOTS; first += width, dots++) {
        const int last = first + width < way->count ? first + width : way->count;
        x[dots] = y[dots] = 0.0;
        for (int i = first; i < last; i++) {
            x[dots] += way->distance[i] / (last - first);
            y[dots] += value[i] / (last - first);
        }
    }
    chart_points(chart, series, x, y, dots);
}

static void draw_fit(Chart *chart, int series, const FrontierFit *fit)
{
    double x[CURVE], y[CURVE];
    for (int i = 0; i < CURVE; i++) {
        x[i] = fit->nearest + (fit->furthest - fit->nearest) * i / (CURVE - 1);
        y[i] = frontier_reward(fit, x[i]);
    }
    chart_dashes(chart, series, x, y, CURVE);
}

/* The peaks as measured, their mean over runs, and as fitted. */
static void draw_marks(Chart *chart, const Travel *all, const Travel *runs, int count)
{
    const FrontierFit *fit = &all->fit[FIT_PPO];
    char label[96];
    double peak = 0.0;
    int fallen = 0;
    for (int r = 0; r < count; r++) {
        if (!travel_fell(&runs[r].peak)) continue;
        peak += runs[r].peak_distance;
        fallen++;
    }
    if (fallen > 0) {
        snprintf(label, sizeof label, "gold turned: %.3g", peak / fallen);
        chart_mark(chart, peak / fallen, label);
    }
    if (all->fitted[FIT_PPO] && travel_turns(fit)) {
        snprintf(label, sizeof label, "fit turns: %.3g", fit->peak);
        chart_mark(chart, fit->peak, label);
    }
}

/* Long runs are drawn as means of neighbouring steps. */
static int steps_a_dot(const Travel *all)
{
    return (all->ppo.count + DOTS - 1) / DOTS;
}

static void draw_panel(Page *page, const char *title, const Travel *all, const Travel *runs,
                       int count)
{
    Extent extent = {0};
    extend(&extent, &all->ppo);
    extend(&extent, &all->best);
    if (extent.x == 0.0) extent.x = NAN; /* nobody went anywhere */
    Chart chart =
        chart_open(page, title, "√KL from the SFT policy, √nats", "reward above the SFT policy's",
                   0.0, extent.x, extent.low, extent.high);
    const int width = steps_a_dot(all);
    for (int r = 0; r < count; r++) {
        const Way *ppo = &runs[r].ppo, *best = &runs[r].best;
        draw_way(&chart, PROXY, ppo, ppo->proxy, width);
        draw_way(&chart, GOLD, ppo, ppo->gold, width);
        chart_errors(&chart, BEST_PROXY, best->distance, best->proxy, best->proxy_error,
                     best->count);
        chart_errors(&chart, BEST_GOLD, best->distance, best->gold, best->gold_error, best->count);
    }
    if (all->fitted[FIT_PPO]) draw_fit(&chart, GOLD, &all->fit[FIT_PPO]);
    if (all->fitted[FIT_BEST_OF_N]) draw_fit(&chart, BEST_GOLD, &all->fit[FIT_BEST_OF_N]);
    draw_marks(&chart, all, runs, count);
    chart_close(&chart, kind_name, KINDS);
    if (width > 1) {
        page_print(page, "<p class=\"none\">A dot is the mean of %d steps.</p>\n", width);
    }
}

/* ---- the numbers ---- */

static void put_with_error(Page *page, double value, double error)
{
    const Estimate estimate = {.mean = value, .error = error};
    page_print(page, "<td>");
    page_estimate(page, &estimate);
    page_print(page, "</td>");
}

/* Where the fitted curve is highest, over two columns. */
static void put_turn(Page *page, const FrontierFit *fit)
{
    if (travel_turns(fit)) {
        put_with_error(page, fit->peak, fit->peak_error);
        put_with_error(page, fit->peak_reward, fit->peak_reward_error);
        return;
    }
    page_print(page, "<td colspan=\"2\">");
    if (isnan(fit->peak)) {
        page_print(page, "nowhere: the curve does not bend down");
    } else if (fit->peak > fit->furthest) {
        page_print(page, "beyond the points, which end at ");
        page_number(page, fit->furthest);
    } else if (fit->peak < fit->nearest) {
        page_print(page, "before the points, which begin at ");
        page_number(page, fit->nearest);
    } else {
        page_print(page, "not known to a half");
    }
    page_print(page, "</td>");
}

static void put_fit(Page *page, const Travel *travel, int which)
{
    static const char *const form[FITS] = {
        [FIT_PPO] = "PPO, d(α − β ln d)",
        [FIT_PPO_SQUARE] = "PPO, d(α − βd)",
        [FIT_BEST_OF_N] = "best of n, d(α − βd)",
    };
    const FrontierFit *fit = &travel->fit[which];
    page_print(page, "<td class=\"formula\">%s</td>", form[which]);
    if (travel->fitted[which]) {
        put_with_error(page, fit->alpha, fit->alpha_error);
        put_with_error(page, fit->beta, fit->beta_error);
        page_cell(page, fit->points);
        page_cell(page, fit->r_squared);
        page_cell(page, fit->residual);
        put_turn(page, fit);
    } else {
        page_print(page, "<td colspan=\"7\" class=\"none\">no fit: ");
        page_string(page, travel->why[which]);
        page_print(page, "</td>");
    }
}

/* A run or a group: a row a fit, under one name. */
static void put_fits(Page *page, const char *name, const Travel *travel)
{
    const int rows = travel->best.count > 0 ? FITS : FITS - 1;
    for (int f = 0; f < rows; f++) {
        page_print(page, "<tr>");
        if (f == 0) {
            page_print(page, "<th scope=\"rowgroup\" rowspan=\"%d\">", rows);
            page_string(page, name);
            page_print(page, "</th>");
        }
        put_fit(page, travel, f);
        page_print(page, "</tr>\n");
    }
}

static void put_peak(Page *page, const Travel *travel)
{
    const FrontierPeak *peak = &travel->peak;
    page_print(page, "<tr><th scope=\"row\">");
    page_string(page, travel->run->name);
    page_print(page, "</th>");
    page_cell(page, travel->gold_zero);
    page_cell(page, travel->proxy_zero);
    if (peak->middle < 0) {
        page_print(page, "<td colspan=\"6\" class=\"none\">fewer than %d steps with gold</td>",
                   (int)FRONTIER_WINDOW);
    } else {
        page_cell(page, travel->ppo.label[peak->middle]);
        page_cell(page, travel->peak_distance);
        page_cell(page, peak->highest);
        put_with_error(page, peak->highest - peak->last, peak->fall_error);
        page_cell(page, peak->noise);
        page_print(page, "<td>%s</td>",
                   travel_fell(peak) ? "fell from there on, beyond noise" : "no fall beyond noise");
    }
    page_print(page, "</tr>\n");
}

static int runs_of(const Report *report, int group, const Travel *travels, const Travel **first)
{
    int count = 0;
    for (int g = 0; g < group; g++) count += report->group[g].runs;
    *first = travels + count;
    return report->group[group].runs;
}

static void put_fit_table(Page *page, const Report *report, const Travel *all,
                          const Travel *travels)
{
    page_print(page,
               "<div class=\"wide\"><table><caption>Least-squares fits to gold at d = √KL of %g or "
               "more</caption>\n<thead><tr><th>run</th><th>fit</th><th>α</th><th>β</th>"
               "<th>points</th><th>R²</th><th>misses by (rms)</th><th>turns at √KL</th>"
               "<th>gold there</th></tr></thead>\n<tbody>\n",
               frontier_nearest);
    for (int g = 0; g < report->groups; g++) {
        const Travel *runs;
        const int count = runs_of(report, g, travels, &runs);
        if (count > 1) put_fits(page, report->group[g].label, &all[g]);
        for (int r = 0; r < count; r++) put_fits(page, runs[r].run->name, &runs[r]);
    }
    page_print(page, "</tbody></table></div>\n");
}

static void put_peak_table(Page *page, const Report *report, const Travel *travels)
{
    page_print(page,
               "<div class=\"wide\"><table><caption>Where gold was highest along PPO, as the mean "
               "of %d neighbouring steps, and how far the last %d lie below it</caption>\n"
               "<thead><tr><th>run</th><th>SFT's gold</th><th>SFT's proxy</th><th>peak at step"
               "</th><th>√KL there</th><th>gold above SFT's</th><th>fall since</th>"
               "<th>noise of a step</th><th></th></tr></thead>\n<tbody>\n",
               (int)FRONTIER_WINDOW, (int)FRONTIER_WINDOW);
    for (int r = 0; r < report->runs; r++) put_peak(page, &travels[r]);
    page_print(page, "</tbody></table></div>\n");
}

/* ---- the section ---- */

static bool has_ppo(const ReportRun *run)
{
    return run->journal[report_stage("ppo")].rows > 0;
}

static void put_explanation(Page *page, const Report *report)
{
    bool best = false, exact = true;
    for (int i = 0; i < report->runs; i++) {
        const ReportRun *run = &report->run[i];
        best = best || run->card.sizes > 0;
        exact = exact && (!has_ppo(run) || report_column(run, "ppo", "policy/kl_exact") != NULL);
    }
    page_print(page,
               "<p class=\"about\">KL is <code>%s</code>%s. What the SFT policy scores by itself "
               "is subtracted, so that all begin at 0 (the last table says what; from best-of-n, "
               "the mean of its pool). Proxy is in standard deviations of the scores of SFT's "
               "answers, gold in its own unit.",
               exact ? "policy/kl_exact" : "objective/kl", exact ? "" : ", an estimate");
    if (best) {
        page_print(page, " KL of best-of-n is the bound ln n − (n − 1)/n; its sizes come from one "
                         "pool of answers, so their errors (bars: one standard error) go "
                         "together.");
    }
    page_print(page, " Standard errors of fits take points for independent; neighbouring steps "
                     "are not quite, so these errors are on the small side.</p>\n");
}

/* One sentence where the fits must not be trusted. */
static void put_doubt(Page *page, const Travel *travels, int count)
{
    int fallen = 0, elsewhere = 0;
    for (int r = 0; r < count; r++) {
        fallen += travel_fell(&travels[r].peak);
        elsewhere += travel_disagrees(&travels[r]);
    }
    if (elsewhere == 0) return;
    page_print(page,
               "<p class=\"warning\">In %d of the %d runs whose gold turned, it did not turn where "
               "the curve d(α − β ln d) does, by more than three standard errors: the form does "
               "not describe them well, and what was measured counts.</p>\n",
               elsewhere, fallen);
}

static void put_panels(Page *page, const Report *report, const Travel *all, const Travel *travels)
{
    const bool one = report->groups == 1;
    if (!one) put_explanation(page, report);
    page_print(page, "<div class=\"%s\">\n", one ? "halves" : "charts");
    for (int g = 0; g < report->groups; g++) {
        const Travel *runs;
        const int count = runs_of(report, g, travels, &runs);
        draw_panel(page, report->group[g].label, &all[g], runs, count);
    }
    if (one) put_explanation(page, report);
    page_print(page, "</div>\n");
}

/* Runs in the order of their groups. */
static Status read_travels(Travel *all, Travel *travels, const Report *report)
{
    int place = 0;
    for (int g = 0; g < report->groups; g++) {
        const int first = place;
        for (int i = 0; i < report->runs; i++) {
            if (report->run[i].group != g) continue;
            TRY(travel_read(&travels[place++], &report->run[i]));
        }
        TRY(travel_pool(&all[g], travels + first, place - first));
    }
    return STATUS_OK;
}

static Status put_all(Page *page, const Report *report, Travel *all, Travel *travels)
{
    TRY(read_travels(all, travels, report));
    put_panels(page, report, all, travels);
    put_doubt(page, travels, report->runs);
    put_fit_table(page, report, all, travels);
    put_peak_table(page, report, travels);
    return STATUS_OK;
}

static Status put_frontier(Page *page, const Report *report)
{
    void *memory;
    const int count = report->groups + report->runs;
    TRY(memory_claim(&memory, (size_t)count * sizeof(Travel)));
    Travel *all = memory;
    const Status status = put_all(page, report, all, all + report->groups);
    for (int i = 0; i < count; i++) travel_free(&all[i]);
    memory_release(memory);
    return status;
}

void report_frontier(Page *page, const Report *report)
{
    bool any = false;
    for (int i = 0; i < report->runs; i++) {
        any = any || has_ppo(&report->run[i]) || report->run[i].card.sizes > 0;
    }
    page_section(page, "frontier", "Gold and proxy against the distance travelled",
                 "How much of what the reward model promises is real, and where pushing further "
                 "makes it worse (Gao et al. 2022).");
    if (!any) {
        page_print(page, "<p class=\"none\">Nothing yet: PPO has not begun.</p>\n");
        return;
    }
    if (page->status == STATUS_OK) page->status = put_frontier(page, report);
}
