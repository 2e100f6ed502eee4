/* What the reward model goes by, in answers that it judged. */
#include "scripts/rlhf/report/judged.h"

#include "reward/calibration.h"

#include <math.h>

enum { DOTS = 300 }; /* at most so many answers of a policy in a scatter plot */

/* ---- score against gold and length ---- */

static const char *const cloud_name[] = {
    [JUDGED_PRETRAIN] = "pretrained policy",
    [JUDGED_SFT] = "SFT policy",
    [JUDGED_PPO] = "PPO policy",
};
enum { CLOUDS = JUDGED_PPO + 1 };

/* The answers of one policy. */
typedef struct Cloud {
    int count;
    double *score, *gold, *length; /* (count) */
} Cloud;

typedef struct Clouds {
    Cloud of[CLOUDS];
    void *memory;
} Clouds;

static Status gather(Clouds *clouds, const Judged *judged)
{
    const size_t n = (size_t)judged->count;
    *clouds = (Clouds){0};
    TRY(memory_claim(&clouds->memory, (n > 0 ? 3 * CLOUDS * n : 1) * sizeof(double)));
    double *block = clouds->memory;
    for (int k = 0; k < CLOUDS; k++, block += 3 * n) {
        clouds->of[k] = (Cloud){.score = block, .gold = block + n, .length = block + 2 * n};
    }
    for (int i = 0; i < judged->count; i++) {
        const JudgedAnswer *answer = judged_answer(judged, i);
        if (answer->policy >= CLOUDS) continue;
        Cloud *cloud = &clouds->of[answer->policy];
        cloud->score[cloud->count] = answer->score;
        cloud->gold[cloud->count] = answer->gold;
        cloud->length[cloud->count++] = answer->length;
    }
    return STATUS_OK;
}

static void widen(double range[2], const double *value, int count)
{
    for (int i = 0; i < count; i++) {
        range[0] = fmin(range[0], value[i]);
        range[1] = fmax(range[1], value[i]);
    }
}

static const double *measure(const Cloud *cloud, bool by_gold)
{
    return by_gold ? cloud->gold : cloud->length;
}

static void draw_scatter(Page *page, const Clouds *clouds, bool by_gold)
{
    double x[2] = {INFINITY, -INFINITY}, y[2] = {INFINITY, -INFINITY};
    for (int k = 0; k < CLOUDS; k++) {
        const Cloud *cloud = &clouds->of[k];
        widen(x, measure(cloud, by_gold), cloud->count);
        widen(y, cloud->score, cloud->count);
    }
    Chart chart = chart_open(page, by_gold ? "Score against gold" : "Score against length",
                             by_gold ? "gold reward" : "tokens of the answer",
                             "score, standard deviations of SFT's", x[0], x[1], y[0], y[1]);
    for (int k = 0; k < CLOUDS; k++) {
        const Cloud *cloud = &clouds->of[k];
        const int dots = cloud->count < DOTS ? cloud->count : DOTS;
        if (dots > 0) chart_points(&chart, k, measure(cloud, by_gold), cloud->score, dots);
    }
    chart_close(&chart, cloud_name, CLOUDS);
}

static void put_correlations(Page *page, const Clouds *clouds)
{
    page_print(page,
               "<div class=\"wide\"><table><caption>Pearson's correlations over the answers of "
               "evaluate/samples.h5 and, for SFT and PPO, of PPO's first and last rollouts (drawn: "
               "at most %d of a policy)</caption>\n<thead><tr><th>policy</th><th>answers</th>"
               "<th>score with gold</th><th>score with length</th></tr></thead>\n<tbody>\n",
               (int)DOTS);
    for (int k = 0; k < CLOUDS; k++) {
        const Cloud *cloud = &clouds->of[k];
        if (cloud->count == 0) continue;
        page_print(page, "<tr><th scope=\"row\">%s</th>", cloud_name[k]);
        page_cell(page, cloud->count);
        page_cell(page, isnan(cloud->gold[0])
                            ? NAN
                            : linear_correlation(cloud->score, cloud->gold, cloud->count));
        page_cell(page, linear_correlation(cloud->score, cloud->length, cloud->count));
        page_print(page, "</tr>\n");
    }
    page_print(page, "</tbody></table></div>\n");
}

static Status put_scatters(Page *page, const Judged *judged)
{
    Clouds clouds;
    TRY(gather(&clouds, judged));
    bool gold = false;
    for (int k = 0; k < CLOUDS; k++) {
        gold = gold || (clouds.of[k].count > 0 && !isnan(clouds.of[k].gold[0]));
    }
    page_print(page, "<div class=\"charts\">\n");
    if (gold) draw_scatter(page, &clouds, true);
    draw_scatter(page, &clouds, false);
    page_print(page, "</div>\n");
    put_correlations(page, &clouds);
    memory_release(clouds.memory);
    return STATUS_OK;
}

/* ---- what it learned ---- */

static void draw_learned(Page *page, const Learned *learned)
{
    static const char *const names[] = {"score", "the same for gold itself"};
    double hidden[JUDGED_TERMS_MAX], score[JUDGED_TERMS_MAX], error[JUDGED_TERMS_MAX];
    double gold[JUDGED_TERMS_MAX], x[2] = {0, 0}, y[2] = {0, 0};
    for (int t = 0; t < learned->terms; t++) {
        const LearnedTerm *term = &learned->term[t];
        hidden[t] = term->term->weight;
        score[t] = term->score.mean;
        error[t] = term->score.error;
        gold[t] = term->gold.mean;
    }
    widen(x, hidden, learned->terms);
    widen(y, score, learned->terms);
    widen(y, gold, learned->terms);
    Chart chart = chart_open(page, "Hidden weights and what the reward model made of them",
                             "hidden weight", "coefficient in the score", x[0], x[1], y[0], y[1]);
    chart_points(&chart, 1, hidden, gold, learned->terms);
    chart_errors(&chart, 0, hidden, score, error, learned->terms);
    chart_keep_clear(&chart, hidden, gold, learned->terms);
    chart_keep_clear(&chart, hidden, score, learned->terms);
    for (int t = 0; t < learned->terms; t++) {
        chart_label(&chart, hidden[t], score[t], learned->term[t].term->name);
    }
    chart_close(&chart, names, 2);
}

static void put_term(Page *page, const LearnedTerm *term)
{
    page_print(page, "<tr><th scope=\"row\">");
    page_string(page, term->term->name);
    page_print(page, "</th>");
    page_cell(page, term->answers);
    page_cell(page, term->term->weight);
    page_print(page, "<td>");
    page_estimate(page, &term->score);
    page_print(page, "</td>");
    page_cell(page, term->gold.mean);
    page_print(page, "</tr>\n");
}

static void put_terms(Page *page, const Learned *learned)
{
    page_print(page,
               "<details open><summary>All %d terms, by hidden weight</summary>\n"
               "<div class=\"wide\"><table>\n<thead><tr><th>term</th><th>answers with it"
               "</th><th>hidden weight</th><th>in the score</th><th>in gold</th></tr>"
               "</thead>\n<tbody>\n",
               learned->terms);
    for (int t = 0; t < learned->terms; t++) put_term(page, &learned->term[t]);
    page_print(page, "</tbody></table></div></details>\n");
}

static void put_learned(Page *page, const Judged *judged)
{
    if (judged->terms == 0) return;
    page_print(page, "<h3>What it learned</h3>\n");
    Learned learned;
    if (judged_learn(&learned, judged) != STATUS_OK) {
        page_print(page, "<p class=\"none\">Not to be told: ");
        page_string(page, status_message());
        page_print(page, ".</p>\n");
        return;
    }
    page_print(page, "<p class=\"about\">Least squares of the score on what gold adds up (words "
                     "count with the factor of “very”, “not” and the like), over ");
    page_number(page, learned.answers);
    page_print(page, " answers from evaluation and %d steps of PPO; R² ", judged->steps);
    page_number(page, learned.r_squared);
    page_print(page, ", correlation of hidden and learned weights ");
    page_number(page, learned.correlation);
    page_print(page, ". Gold bends its sum (tanh), so even gold's own coefficients lie below the "
                     "hidden weights.");
    if (learned.left_out > 0) {
        page_print(page, " Left out, in fewer than %d answers each: %d.", (int)LEARNED_ANSWERS_MIN,
                   learned.left_out);
    }
    page_print(page, "</p>\n<div class=\"halves learned\">\n");
    draw_learned(page, &learned);
    put_terms(page, &learned);
    page_print(page, "</div>\n");
}

Status judged_show(Page *page, const ReportRun *run)
{
    Judged judged = {0};
    Status status = judged_read(&judged, run);
    if (status == STATUS_OK && judged.count > 0) {
        page_print(page, "<h3>What it goes by</h3>\n");
        status = put_scatters(page, &judged);
        if (status == STATUS_OK) put_learned(page, &judged);
    }
    judged_free(&judged);
    return status;
}
