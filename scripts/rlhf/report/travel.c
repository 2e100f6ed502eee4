#include "scripts/rlhf/report/travel.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A fit that explains less than this is called none. */
static const double worth_drawing = 0.5;

/* ---- points ---- */

static Status way_claim(Way *way, int capacity)
{
    const size_t n = (size_t)capacity;
    *way = (Way){0};
    TRY(memory_claim(&way->memory, (n > 0 ? 6 * n : 1) * sizeof(double)));
    way->distance = way->memory;
    way->gold = way->distance + n;
    way->proxy = way->gold + n;
    way->gold_error = way->proxy + n;
    way->proxy_error = way->gold_error + n;
    way->label = way->proxy_error + n;
    return STATUS_OK;
}

static void way_add(Way *way, double label, double kl, double gold, double proxy)
{
    way->label[way->count] = label;
    way->distance[way->count] = sqrt(fmax(0.0, kl)); /* an estimate of 0 may fall below it */
    way->gold[way->count] = gold;
    way->proxy[way->count++] = proxy;
}

static void way_append(Way *way, const Way *other)
{
    const size_t n = (size_t)other->count;
    const struct {
        double *to;
        const double *from;
    } column[] = {{way->distance, other->distance},
                  {way->gold, other->gold},
                  {way->proxy, other->proxy},
                  {way->gold_error, other->gold_error},
                  {way->proxy_error, other->proxy_error},
                  {way->label, other->label}};
    for (size_t c = 0; c < sizeof column / sizeof column[0] && n > 0; c++) {
        memcpy(column[c].to + way->count, column[c].from, n * sizeof(double));
    }
    way->count += other->count;
}

static const double *kl_column(const ReportRun *run)
{
    const double *exact = report_column(run, "ppo", "policy/kl_exact");
    return exact != NULL ? exact : report_column(run, "ppo", "objective/kl");
}

/* SFT's own level: the scorecard's, else that of the first step, which SFT itself answered. */
static void find_zero(Travel *travel, const double *gold, const double *proxy)
{
    const PolicyScore *sft =
        travel->run->scored ? scorecard_policy(&travel->run->card, "sft") : NULL;
    travel->gold_zero = gold != NULL ? gold[0] : NAN;
    travel->proxy_zero = proxy[0];
    if (sft == NULL || isnan(sft->gold.mean) || isnan(sft->score.mean)) return;
    travel->gold_zero = sft->gold.mean;
    travel->proxy_zero = sft->score.mean;
}

static Status read_ppo(Travel *travel)
{
    const MetricColumns *journal = &travel->run->journal[report_stage("ppo")];
    const double *kl = kl_column(travel->run);
    const double *gold = report_column(travel->run, "ppo", "objective/gold");
    const double *proxy = report_column(travel->run, "ppo", "objective/scores");
    TRY(way_claim(&travel->ppo, journal->rows));
    if (journal->rows == 0 || kl == NULL || proxy == NULL) return STATUS_OK;
    find_zero(travel, gold, proxy);
    for (int i = 0; i < journal->rows; i++) {
        const double over = gold != NULL ? gold[i] - travel->gold_zero : NAN;
        if (isnan(kl[i]) || isnan(proxy[i])) continue;
        way_add(&travel->ppo, (double)journal->step[i], kl[i], over, proxy[i] - travel->proxy_zero);
    }
    return STATUS_OK;
}

/* From the pool's own mean, n = 1. */
static Status read_best_of_n(Travel *travel)
{
    const Scorecard *card = &travel->run->card;
    TRY(way_claim(&travel->best, card->sizes));
    if (card->sizes == 0 || card->best[0].n != 1) return STATUS_OK;
    travel->best_gold_zero = card->best[0].gold.mean;
    travel->best_proxy_zero = card->best[0].score.mean;
    for (int s = 0; s < card->sizes; s++) {
        const BestOfSize *size = &card->best[s];
        travel->best.gold_error[s] = size->gold.error;
        travel->best.proxy_error[s] = size->score.error;
        way_add(&travel->best, size->n, size->kl, size->gold.mean - travel->best_gold_zero,
                size->score.mean - travel->best_proxy_zero);
    }
    return STATUS_OK;
}

/* ---- fits ---- */

static bool fit_way(FrontierFit *fit, char why[160], FrontierForm form, const Way *way)
{
    if (way->count == 0) {
        snprintf(why, 160, "there is nothing to fit");
        return false;
    }
    if (isnan(way->gold[0])) {
        snprintf(why, 160, "the task has no gold");
        return false;
    }
    if (frontier_fit(fit, form, way->distance, way->gold, way->count) != STATUS_OK) {
        snprintf(why, 160, "%.150s", status_message());
        return false;
    }
    if (fit->r_squared >= worth_drawing) return true;
    snprintf(why, 160, "the curve misses the points (R\302\262 %.2f)", fit->r_squared);
    return false;
}

static void fit_travel(Travel *travel)
{
    static const FrontierForm form[FITS] = {
        [FIT_PPO] = FRONTIER_RL,
        [FIT_PPO_SQUARE] = FRONTIER_BEST_OF_N,
        [FIT_BEST_OF_N] = FRONTIER_BEST_OF_N,
    };
    for (int f = 0; f < FITS; f++) {
        const Way *way = f == FIT_BEST_OF_N ? &travel->best : &travel->ppo;
        travel->fitted[f] = fit_way(&travel->fit[f], travel->why[f], form[f], way);
    }
}

/* Where on the way the peak of gold lies. */
static void place_peak(Travel *travel)
{
    const Way *ppo = &travel->ppo;
    if (ppo->count == 0 || isnan(ppo->gold[0])) return;
    travel->peak = frontier_peak(ppo->gold, ppo->count);
    if (travel->peak.middle < 0) return;
    double low = INFINITY, high = 0.0;
    for (int i = 0; i < FRONTIER_WINDOW; i++) {
        const double distance = ppo->distance[travel->peak.middle - FRONTIER_WINDOW / 2 + i];
        travel->peak_distance += distance / FRONTIER_WINDOW;
        low = fmin(low, distance);
        high = fmax(high, distance);
    }
    travel->peak_spread = (high - low) / 2.0;
}

Status travel_read(Travel *travel, const ReportRun *run)
{
    *travel = (Travel){.run = run, .peak = {.middle = -1}};
    TRY(read_ppo(travel));
    TRY(read_best_of_n(travel));
    fit_travel(travel);
    place_peak(travel);
    return STATUS_OK;
}

Status travel_pool(Travel *all, const Travel *runs, int count)
{
    int ppo = 0, best = 0;
    *all = (Travel){.peak = {.middle = -1}};
    for (int r = 0; r < count; r++) {
        ppo += runs[r].ppo.count;
        best += runs[r].best.count;
    }
    TRY(way_claim(&all->ppo, ppo));
    TRY(way_claim(&all->best, best));
    for (int r = 0; r < count; r++) {
        way_append(&all->ppo, &runs[r].ppo);
        way_append(&all->best, &runs[r].best);
    }
    fit_travel(all);
    return STATUS_OK;
}

void travel_free(Travel *travel)
{
    memory_release(travel->ppo.memory);
    memory_release(travel->best.memory);
}

bool travel_turns(const FrontierFit *fit)
{
    return fit->peak >= fit->nearest && fit->peak <= fit->furthest &&
           fit->peak_error < fit->peak / 2.0;
}

bool travel_fell(const FrontierPeak *peak)
{
    return peak->middle >= 0 && peak->highest - peak->last > 3.0 * peak->fall_error;
}

bool travel_disagrees(const Travel *travel)
{
    const FrontierFit *fit = &travel->fit[FIT_PPO];
    return travel->fitted[FIT_PPO] && travel_turns(fit) && travel_fell(&travel->peak) &&
           fabs(fit->peak - travel->peak_distance) > 3.0 * fit->peak_error + travel->peak_spread;
}
