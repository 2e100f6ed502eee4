#include "ppo/doctor.h"
#include "scripts/rlhf/report/story.h"
#include "scripts/rlhf/report/verdict.h"

#include <math.h>
#include <string.h>

static const char *const kind_class[] = {
    [VERDICT_UNFINISHED] = "unsure",  [VERDICT_BLIND] = "unsure",
    [VERDICT_LEARNED] = "good",       [VERDICT_PAST_ITS_PEAK] = "unsure",
    [VERDICT_OVER_OPTIMISED] = "bad", [VERDICT_NOT_LEARNED] = "unsure",
    [VERDICT_HARMED] = "bad",
};

static const char *const kind_title[] = {
    [VERDICT_UNFINISHED] = "Not finished",
    [VERDICT_BLIND] = "Finished; nothing tells whether it is better",
    [VERDICT_LEARNED] = "It learned what was wanted",
    [VERDICT_PAST_ITS_PEAK] = "It learned, then over-optimised",
    [VERDICT_OVER_OPTIMISED] = "It over-optimised",
    [VERDICT_NOT_LEARNED] = "It did not learn",
    [VERDICT_HARMED] = "It got worse",
};

/* What several runs of one group are called together. */
static const char *const kind_count[] = {
    [VERDICT_UNFINISHED] = "unfinished",
    [VERDICT_BLIND] = "without gold",
    [VERDICT_LEARNED] = "learned",
    [VERDICT_PAST_ITS_PEAK] = "learned, then over-optimised",
    [VERDICT_OVER_OPTIMISED] = "over-optimised",
    [VERDICT_NOT_LEARNED] = "did not learn",
    [VERDICT_HARMED] = "got worse",
};

enum { KINDS = VERDICT_HARMED + 1 };

static void open_box(Page *page, VerdictKind kind, const char *title)
{
    page_print(page, "<div class=\"verdict %s\"><strong>", kind_class[kind]);
    page_string(page, title);
    page_print(page, "</strong>\n");
}

/* "rose by 1.66 ± 0.05" */
static void print_change(Page *page, const Estimate *change)
{
    const Estimate size = {fabs(change->mean), change->error, NAN};
    page_print(page, "%s by ", change->mean < 0 ? "fell" : "rose");
    page_estimate(page, &size);
}

static void print_gain(Page *page, const ReportRun *run, const Verdict *verdict)
{
    const PolicyScore *sft = scorecard_policy(&run->card, "sft");
    const PolicyScore *ppo = scorecard_policy(&run->card, "ppo");
    page_print(page, "From SFT to PPO gold, what is really wanted, ");
    print_change(page, &verdict->gold);
    page_print(page, " standard deviations of SFT's answers (");
    page_number(page, sft->gold.mean);
    page_print(page, " to ");
    page_number(page, ppo->gold.mean);
    page_print(page, "); the proxy, what PPO is paid for, ");
    print_change(page, &verdict->proxy);
    page_print(page, ". ");
    if (isfinite(run->card.win_rate.mean)) {
        const Estimate share = {100 * run->card.win_rate.mean, 100 * run->card.win_rate.error, NAN};
        page_print(page, "On %d held-out prompts PPO's answer beats SFT's in ", run->card.prompts);
        page_estimate(page, &share);
        page_print(page, " %% of cases, ");
    }
    page_print(page, "at a distance of ");
    page_estimate(page, &ppo->kl);
    page_print(page, " nats. ");
}

static void print_fall(Page *page, const Verdict *verdict)
{
    page_print(page, "Gold was best around step %.0f and has lost ", verdict->peak_step);
    page_estimate(page, &verdict->fall);
    page_print(page, " standard deviations since, while the proxy rose by ");
    page_number(page, verdict->proxy_since);
    page_print(page, ": stop earlier, or raise ppo.kl_coef. ");
}

static void print_blind(Page *page, const ReportRun *run, const Verdict *verdict)
{
    const PolicyScore *ppo = scorecard_policy(&run->card, "ppo");
    page_print(page, "The task has no gold. From SFT to PPO the proxy ");
    print_change(page, &verdict->proxy);
    page_print(page, " standard deviations of SFT's answers, at a distance of ");
    page_estimate(page, &ppo->kl);
    page_print(page, " nats: read the answers before believing it. ");
}

/* What an unfinished run has so far. */
static void print_progress(Page *page, const ReportRun *run)
{
    const MetricColumns *journal = &run->journal[report_stage("ppo")];
    const double *gold = report_column(run, "ppo", "objective/gold");
    const double *proxy = report_column(run, "ppo", "objective/scores");
    if (journal->rows == 0) {
        page_print(page, "PPO has not begun; what is there is shown below.");
        return;
    }
    page_print(page, "PPO stands at step %lld of %lld", (long long)journal->step[journal->rows - 1],
               (long long)run->settings.ppo.steps);
    if (proxy != NULL) {
        page_print(page, "; so far the proxy went from ");
        page_number(page, proxy[0]);
        page_print(page, " to ");
        page_number(page, proxy[journal->rows - 1]);
    }
    if (gold != NULL && isfinite(gold[0])) {
        page_print(page, ", gold from ");
        page_number(page, gold[0]);
        page_print(page, " to ");
        page_number(page, gold[journal->rows - 1]);
    }
    page_print(page, " (single batches, so noisy).");
}

static void print_single(Page *page, const ReportRun *run)
{
    const Verdict verdict = verdict_of(run);
    open_box(page, verdict.kind, kind_title[verdict.kind]);
    if (verdict.kind == VERDICT_UNFINISHED) {
        print_progress(page, run);
    } else if (verdict.kind == VERDICT_BLIND) {
        print_blind(page, run, &verdict);
    } else {
        print_gain(page, run, &verdict);
        if (verdict.kind == VERDICT_NOT_LEARNED) {
            page_print(page, "A difference of gold within two standard errors is none. ");
        }
        if (verdict.kind == VERDICT_PAST_ITS_PEAK) print_fall(page, &verdict);
    }
    page_print(page, "</div>\n");
}

/* ---- several runs ---- */

static void print_spread(Page *page, const char *what, const double *value, int count)
{
    const Estimate spread = verdict_spread(value, count);
    if (!isfinite(spread.mean)) return;
    page_print(page, "%s ", what);
    print_change(page, &(Estimate){spread.mean, spread.deviation, NAN});
    page_print(page, ". ");
}

static void print_group(Page *page, const Report *report, int group)
{
    double gold[1000], proxy[1000];
    int counts[KINDS] = {0}, runs = 0, commonest = 0, kinds = 0;
    for (int r = 0; r < report->runs && runs < 1000; r++) {
        if (report->run[r].group != group) continue;
        const Verdict verdict = verdict_of(&report->run[r]);
        gold[runs] = verdict.gold.mean;
        proxy[runs++] = verdict.proxy.mean;
        counts[verdict.kind]++;
    }
    for (int k = 1; k < KINDS; k++) {
        if (counts[k] > counts[commonest]) commonest = k;
    }
    open_box(page, (VerdictKind)commonest, report->group[group].label);
    for (int k = 0; k < KINDS; k++) {
        if (counts[k] == 0) continue;
        page_print(page, "%s%d of %d %s", kinds++ > 0 ? ", " : "", counts[k], runs, kind_count[k]);
    }
    page_print(page, ". ");
    print_spread(page, "Gold", gold, runs);
    print_spread(page, "The proxy", proxy, runs);
    page_print(page, "</div>\n");
}

void story_verdicts(Page *page, const Report *report)
{
    if (report->runs == 1) {
        print_single(page, &report->run[0]);
        return;
    }
    for (int g = 0; g < report->groups; g++) print_group(page, report, g);
    page_print(page, "<p class=\"about\">From SFT to PPO on held-out prompts, in standard "
                     "deviations of SFT's answers: mean over the runs ± standard deviation "
                     "between them.</p>\n");
}

/* ---- the doctor ---- */

static void print_finding(Page *page, const Finding *finding, int runs, int of)
{
    page_print(page, "<li class=\"%s\"><b>", finding_mark_text(finding->mark));
    page_string(page, finding->stage);
    page_print(page, ": ");
    page_string(page, finding->name);
    page_print(page, "</b>");
    if (of > 1) page_print(page, " in %d of %d runs", runs, of);
    if (of == 1 && finding->step > 0) {
        page_print(page, ", from step %lld", (long long)finding->step);
    }
    page_print(page, "<br>");
    page_string(page, finding->evidence);
    if (finding->cause != NULL) {
        page_print(page, ". Likely cause: ");
        page_string(page, finding->cause);
    }
    if (finding->advice != NULL) {
        page_print(page, ". Try <code>");
        page_string(page, finding->advice);
        page_print(page, "</code>");
    }
    page_print(page, "</li>\n");
}

static bool is_same(const Finding *a, const Finding *b)
{
    return a->mark == b->mark && strcmp(a->stage, b->stage) == 0 && strcmp(a->name, b->name) == 0;
}

/* How many of the runs have it; *first is the first of them. */
static int count_runs(int *first, const Diagnosis *diagnosis, int runs, const Finding *finding)
{
    int found = 0;
    for (int r = runs - 1; r >= 0; r--) {
        for (int i = 0; i < diagnosis[r].count; i++) {
            if (!is_same(&diagnosis[r].finding[i], finding)) continue;
            *first = r;
            found++;
            break;
        }
    }
    return found;
}

/* Each kind of finding once, with the evidence of the first run that has it; returns how many. */
static int print_kinds(Page *page, const Diagnosis *diagnosis, int runs, bool fine)
{
    int kinds = 0;
    for (int r = 0; r < runs; r++) {
        for (int i = 0; i < diagnosis[r].count; i++) {
            int first = r;
            const Finding *finding = &diagnosis[r].finding[i];
            if ((finding->mark == FINDING_FINE) != fine) continue;
            const int found = count_runs(&first, diagnosis, runs, finding);
            if (first != r) continue; /* told already */
            print_finding(page, finding, found, runs);
            kinds++;
        }
    }
    return kinds;
}

/* A run that cannot be examined is told as such: what else it has is shown. */
static int examine(Page *page, Diagnosis *diagnosis, const Report *report)
{
    int broken = 0;
    for (int r = 0; r < report->runs; r++) {
        if (doctor_examine(&diagnosis[r], report->run[r].path, NULL) == STATUS_OK) continue;
        diagnosis[r].count = 0;
        page_print(page, "<li class=\"failed\">cannot be examined: ");
        page_string(page, status_message());
        page_print(page, "</li>\n");
        broken++;
    }
    return broken;
}

void story_findings(Page *page, const Report *report)
{
    void *block;
    if (page->status == STATUS_OK) {
        page->status = memory_claim(&block, (size_t)report->runs * sizeof(Diagnosis));
    }
    if (page->status != STATUS_OK) return;
    page_print(page, "<h3>What the doctor found</h3>\n<ul class=\"findings\">\n");
    int wrong = examine(page, block, report);
    wrong += print_kinds(page, block, report->runs, false);
    if (wrong == 0) page_print(page, "<li class=\"fine\">Nothing wrong.</li>\n");
    page_print(page, "</ul>\n<details><summary>what is in order</summary>\n"
                     "<ul class=\"findings\">\n");
    print_kinds(page, block, report->runs, true);
    page_print(page, "</ul>\n</details>\n");
    memory_release(block);
}
