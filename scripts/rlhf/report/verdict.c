#include "scripts/rlhf/report/verdict.h"

#include "ppo/overoptimisation.h"

#include <math.h>

static double window_mean(const double *value, int first)
{
    double sum = 0.0;
    for (int i = 0; i < FRONTIER_WINDOW; i++) sum += value[first + i];
    return sum / FRONTIER_WINDOW;
}

static void find_peak(Verdict *verdict, const ReportRun *run, double unit)
{
    const MetricColumns *journal = &run->journal[report_stage("ppo")];
    const double *gold = report_column(run, "ppo", "objective/gold");
    const double *proxy = report_column(run, "ppo", "objective/scores");
    if (gold == NULL || proxy == NULL) return;
    const FrontierPeak peak = frontier_peak(gold, journal->rows);
    if (peak.middle < 0) return;
    const int last = journal->rows - FRONTIER_WINDOW;
    verdict->fall.mean = (peak.highest - peak.last) / unit;
    verdict->fall.error = peak.fall_error / unit;
    verdict->proxy_since =
        window_mean(proxy, last) - window_mean(proxy, peak.middle - FRONTIER_WINDOW / 2);
    verdict->peak_step = (double)journal->step[peak.middle];
}

/* `b` less `a`, in standard deviations of a's answers. */
static Estimate change(const Estimate *a, const Estimate *b)
{
    return (Estimate){.mean = (b->mean - a->mean) / a->deviation,
                      .error = hypot(a->error, b->error) / a->deviation,
                      .deviation = NAN};
}

/* More than three standard errors, and enough to matter: the best of many stretches is best by
 * luck too. */
static bool has_fallen(const Verdict *verdict)
{
    return verdict->fall.mean > fmax(0.1, 3.0 * verdict->fall.error) && verdict->proxy_since > 0.0;
}

static VerdictKind kind_of(const Verdict *verdict)
{
    const Estimate *gold = &verdict->gold;
    if (!isfinite(gold->mean)) return VERDICT_BLIND;
    if (fabs(gold->mean) <= 2.0 * gold->error) return VERDICT_NOT_LEARNED;
    if (gold->mean > 0) return has_fallen(verdict) ? VERDICT_PAST_ITS_PEAK : VERDICT_LEARNED;
    return verdict->proxy.mean > 2.0 * verdict->proxy.error ? VERDICT_OVER_OPTIMISED
                                                            : VERDICT_HARMED;
}

Verdict verdict_of(const ReportRun *run)
{
    const Estimate none = {NAN, NAN, NAN};
    Verdict verdict = {VERDICT_UNFINISHED, none, none, none, NAN, NAN};
    const PolicyScore *sft = run->scored ? scorecard_policy(&run->card, "sft") : NULL;
    const PolicyScore *ppo = run->scored ? scorecard_policy(&run->card, "ppo") : NULL;
    find_peak(&verdict, run, sft != NULL ? sft->gold.deviation : NAN);
    if (sft == NULL || ppo == NULL) return verdict;
    verdict.gold = change(&sft->gold, &ppo->gold);
    verdict.proxy = change(&sft->score, &ppo->score);
    verdict.kind = kind_of(&verdict);
    return verdict;
}

Estimate verdict_spread(const double *value, int count)
{
    double sum = 0.0, squares = 0.0;
    int known = 0;
    for (int i = 0; i < count; i++) {
        if (!isfinite(value[i])) continue;
        sum += value[i];
        known++;
    }
    if (known == 0) return (Estimate){NAN, NAN, NAN};
    const double mean = sum / known;
    for (int i = 0; i < count; i++) {
        if (isfinite(value[i])) squares += (value[i] - mean) * (value[i] - mean);
    }
    const double deviation = known > 1 ? sqrt(squares / (known - 1)) : NAN;
    return (Estimate){mean, deviation / sqrt(known), deviation};
}
