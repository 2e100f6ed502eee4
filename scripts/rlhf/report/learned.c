/* What the reward model has learned, by a regression of its scores on the terms of gold. */
#include "scripts/rlhf/report/judged.h"

#include "reward/calibration.h"
#include "reward/least_squares.h"

#include <gsl/gsl_heapsort.h>
#include <math.h>

/* Columns of the regression: a constant, then the terms that occur often enough. */
typedef struct Regression {
    int rows, columns;
    int source[JUDGED_TERMS_MAX + 1]; /* (columns) which term; [0] unused */
    double *design, *score, *gold;    /* (rows, columns), (rows), (rows) */
    double *coefficient, *covariance; /* (columns), (columns, columns) */
    void *memory;
} Regression;

static int answers_with(const Judged *judged, int term)
{
    int answers = 0;
    for (int i = 0; i < judged->count; i++) answers += judged_amounts(judged, i)[term] != 0.0;
    return answers;
}

static void choose_terms(Regression *regression, Learned *learned, const Judged *judged)
{
    regression->columns = 1;
    for (int t = 0; t < judged->terms; t++) {
        const int answers = answers_with(judged, t);
        if (answers < LEARNED_ANSWERS_MIN) {
            learned->left_out++;
            continue;
        }
        learned->term[learned->terms++] =
            (LearnedTerm){.term = &judged->term[t], .answers = answers};
        regression->source[regression->columns++] = t;
    }
}

static Status claim(Regression *r)
{
    const size_t n = (size_t)r->rows, p = (size_t)r->columns;
    TRY(memory_claim(&r->memory, (n * p + 2 * n + p + p * p) * sizeof(double)));
    r->design = r->memory;
    r->score = r->design + n * p;
    r->gold = r->score + n;
    r->coefficient = r->gold + n;
    r->covariance = r->coefficient + p;
    return STATUS_OK;
}

static void fill(Regression *r, const Judged *judged)
{
    for (int i = 0; i < r->rows; i++) {
        const double *amount = judged_amounts(judged, i);
        double *row = r->design + (size_t)i * (size_t)r->columns;
        row[0] = 1.0;
        for (int c = 1; c < r->columns; c++) row[c] = amount[r->source[c]];
        r->score[i] = judged_answer(judged, i)->score;
        r->gold[i] = judged_answer(judged, i)->gold;
    }
}

/* Standard error of coefficient `column`. */
static double error_of(const Regression *r, int column)
{
    return sqrt(r->covariance[(size_t)column * (size_t)(r->columns + 1)]);
}

static double squares_about_mean(const double *value, int count)
{
    double mean = 0.0, squares = 0.0;
    for (int i = 0; i < count; i++) mean += value[i] / count;
    for (int i = 0; i < count; i++) squares += (value[i] - mean) * (value[i] - mean);
    return squares;
}

static Status regress(Learned *learned, Regression *r)
{
    double residual;
    TRY(least_squares(r->coefficient, r->covariance, &residual, r->design, r->gold, r->rows,
                      r->columns));
    for (int t = 0; t < learned->terms; t++) {
        learned->term[t].gold = (Estimate){r->coefficient[t + 1], error_of(r, t + 1), NAN};
    }
    TRY(least_squares(r->coefficient, r->covariance, &residual, r->design, r->score, r->rows,
                      r->columns));
    for (int t = 0; t < learned->terms; t++) {
        learned->term[t].score = (Estimate){r->coefficient[t + 1], error_of(r, t + 1), NAN};
    }
    learned->r_squared = 1.0 - residual / squares_about_mean(r->score, r->rows);
    return STATUS_OK;
}

static int by_weight(const void *a, const void *b)
{
    const double left = ((const LearnedTerm *)a)->term->weight;
    const double right = ((const LearnedTerm *)b)->term->weight;
    return (left < right) - (left > right);
}

Status judged_learn(Learned *learned, const Judged *judged)
{
    *learned = (Learned){.answers = judged->count, .correlation = NAN};
    Regression regression = {.rows = judged->count};
    choose_terms(&regression, learned, judged);
    if (learned->terms == 0) {
        return status_fail(STATUS_DATA, "no term of gold is in %d of the %d answers",
                           (int)LEARNED_ANSWERS_MIN, judged->count);
    }
    Status status = claim(&regression);
    if (status == STATUS_OK) {
        fill(&regression, judged);
        status = regress(learned, &regression);
    }
    memory_release(regression.memory);
    TRY(status);
    gsl_heapsort(learned->term, (size_t)learned->terms, sizeof *learned->term, by_weight);
    double hidden[JUDGED_TERMS_MAX], found[JUDGED_TERMS_MAX];
    for (int t = 0; t < learned->terms; t++) {
        hidden[t] = learned->term[t].term->weight;
        found[t] = learned->term[t].score.mean;
    }
    learned->correlation = linear_correlation(hidden, found, learned->terms);
    return STATUS_OK;
}
