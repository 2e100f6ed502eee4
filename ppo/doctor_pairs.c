#include "ppo/doctor_pairs.h"

#include "data/memory.h"
#include "data/path.h"
#include "data/preference.h"
#include "policy/inputs.h"
#include "reward/bradley_terry.h"
#include "reward/calibration.h"
#include "reward/reward_model.h"
#include "reward/reward_pairs.h"

#include <gsl/gsl_sort_double.h>
#include <limits.h>
#include <math.h>

enum { TRAIN, HELD_OUT, PAIRS_MAX = 4000 };

/* With ids below `vocabulary`; their hash counts from when the stage has published them. */
static Status read_comparisons(Preferences *all, const char *run, int vocabulary)
{
    char path[PATH_TEXT], manifest[PATH_TEXT];
    Digest digest;
    TRY(path_join(manifest, run, "label/manifest.json"));
    const bool published = io_exists(manifest);
    if (published) {
        TRY(stage_input(path, &digest, run, "label", "comparisons.h5"));
    } else {
        TRY(path_join(path, run, "label/comparisons.h5"));
    }
    return preferences_read(all, path, published ? &digest : NULL, vocabulary);
}

static double tokens_of(const Sequences *answers, int i)
{
    return (double)sequences_response(answers, i);
}

static void view_labels(LabelView *view, const Preferences *all)
{
    double differ = 0.0, longer = 0.0;
    for (int i = 0; i < all->count; i++) {
        const double chosen = tokens_of(&all->completion, all->chosen[i]);
        const double rejected = tokens_of(&all->completion, all->rejected[i]);
        if (all->split[i] == HELD_OUT) {
            view->held_out++;
        } else {
            view->pairs++;
        }
        if (chosen == rejected) continue;
        differ += 1.0;
        longer += chosen > rejected;
    }
    view->longer = longer / differ; /* NaN where all are of one length */
    view->by_length = fmax(view->longer, 1.0 - view->longer);
}

Status doctor_view_labels(LabelView *view, const char *run)
{
    Preferences all = {0};
    *view = (LabelView){0};
    const Status status = read_comparisons(&all, run, INT_MAX); /* tokens are only counted */
    if (status == STATUS_OK) view_labels(view, &all);
    preferences_free(&all);
    return status;
}

/* ---- the reward model's scores ---- */

/* Pairs of a split with their scores; zero-initialise. */
typedef struct Judged {
    Pairs pairs;
    int count;          /* the first so many pairs are looked at */
    double *gap, *size; /* (count); size: scratch */
    double *sorted;     /* (2 count) scratch */
    float *score;       /* (2 count) */
    Arena arena;
} Judged;

static void judged_layout(Judged *judged, Arena *arena)
{
    const size_t n = (size_t)judged->count;
    judged->gap = arena_doubles(arena, n);
    judged->size = arena_doubles(arena, n);
    judged->sorted = arena_doubles(arena, 2 * n);
    judged->score = arena_floats(arena, 2 * n);
}

static void judged_free(Judged *judged)
{
    pairs_free(&judged->pairs);
    arena_free(&judged->arena);
}

static Status judge(Judged *judged, const Preferences *all, uint8_t split, int most,
                    const Model *model)
{
    TRY(pairs_take(&judged->pairs, all, split, model->shape.positions));
    judged->count = judged->pairs.count < most ? judged->pairs.count : most;
    if (judged->count == 0) return STATUS_OK;
    Arena measure = arena_measure();
    judged_layout(judged, &measure);
    TRY(arena_init(&judged->arena, measure.used));
    judged_layout(judged, &judged->arena);
    Sequences answers = judged->pairs.answers;
    answers.count = 2 * judged->count;
    TRY(reward_score(judged->score, model, &answers, 1));
    for (int i = 0; i < judged->count; i++) {
        judged->gap[i] = (double)judged->score[2 * i] - (double)judged->score[2 * i + 1];
    }
    return STATUS_OK;
}

/* Accuracy over pairs that count and what the model expects of them. */
typedef struct Agreement {
    int pairs;
    double right, expected;
} Agreement;

static void agreement_add(Agreement *agreement, double gap)
{
    agreement->pairs++;
    agreement->right += gap > 0.0 ? 1.0 : gap < 0.0 ? 0.0 : 0.5;
    agreement->expected += sigmoid(fabs(gap));
}

static double accuracy_of(const Judged *judged)
{
    Agreement all = {0};
    for (int i = 0; i < judged->count; i++) agreement_add(&all, judged->gap[i]);
    return all.right / all.pairs; /* NaN: no pairs */
}

/* The value that a share of `n` values, sorted here, lies below. */
static double quantile(double *value, int n, double share)
{
    gsl_sort(value, 1, (size_t)n);
    return value[(int)(share * (n - 1))];
}

static void view_clear(JudgeView *view, Judged *held_out)
{
    Agreement clear = {0};
    for (int i = 0; i < held_out->count; i++) held_out->size[i] = fabs(held_out->gap[i]);
    const double least = quantile(held_out->size, held_out->count, 0.8);
    for (int i = 0; i < held_out->count; i++) {
        if (fabs(held_out->gap[i]) >= least) agreement_add(&clear, held_out->gap[i]);
    }
    view->clear = clear.right / clear.pairs;
    view->clear_expected = clear.expected / clear.pairs;
}

/* Best-of-n chooses among the best: does the model still order those as the labels do? */
static void view_top(JudgeView *view, Judged *held_out)
{
    Agreement top = {0};
    const int answers = 2 * held_out->count;
    for (int i = 0; i < answers; i++) held_out->sorted[i] = (double)held_out->score[i];
    const double least = quantile(held_out->sorted, answers, 2.0 / 3.0);
    for (int i = 0; i < held_out->count; i++) {
        const float *score = held_out->score + 2 * i;
        if ((double)score[0] < least || (double)score[1] < least) continue;
        agreement_add(&top, held_out->gap[i]);
    }
    view->top_pairs = top.pairs;
    view->top = top.right / top.pairs;
    view->top_expected = top.expected / top.pairs;
}

static void view_length(JudgeView *view, const Judged *held_out)
{
    double tokens = 0.0, scores = 0.0, score_tokens = 0.0, label_tokens = 0.0;
    for (int i = 0; i < held_out->count; i++) {
        const double longer = tokens_of(&held_out->pairs.answers, 2 * i) -
                              tokens_of(&held_out->pairs.answers, 2 * i + 1);
        tokens += longer * longer;
        scores += held_out->gap[i] * held_out->gap[i];
        score_tokens += held_out->gap[i] * longer;
        label_tokens += longer;
    }
    view->length_of_score = score_tokens / sqrt(scores * tokens);
    view->length_of_label = label_tokens / sqrt(held_out->count * tokens);
}

static Status view_judge(JudgeView *view, Judged *held_out, Judged *trained, const Preferences *all,
                         const Model *model)
{
    TRY(judge(held_out, all, HELD_OUT, PAIRS_MAX, model));
    TRY(judge(trained, all, TRAIN, held_out->count > 0 ? held_out->count : PAIRS_MAX, model));
    view->trained = accuracy_of(trained);
    view->pairs = held_out->count;
    if (view->pairs == 0) return STATUS_OK;
    view->accuracy = accuracy_of(held_out);
    view_clear(view, held_out);
    view_top(view, held_out);
    view_length(view, held_out);
    for (int i = 0; i < held_out->count; i++) held_out->size[i] = NAN; /* in place of gold */
    Calibration calibration;
    calibrate(&calibration, held_out->gap, held_out->size, held_out->count, NAN);
    view->ece = calibration.ece;
    return STATUS_OK;
}

static Status read_model(Model *model, const char *run)
{
    const ModelShape expected = {.head = HEAD_SCORE};
    TRY(input_network(model, run, "reward", "model", &expected));
    model->reward_gain = 1.0F; /* the scale of its confidence is the one it was trained on */
    model->reward_bias = 0.0F;
    return STATUS_OK;
}

Status doctor_view_judge(JudgeView *view, const char *run)
{
    *view = (JudgeView){.accuracy = NAN,
                        .ece = NAN,
                        .clear = NAN,
                        .top = NAN,
                        .clear_expected = NAN,
                        .top_expected = NAN,
                        .trained = NAN,
                        .length_of_score = NAN,
                        .length_of_label = NAN};
    Preferences all = {0};
    Model model = {0};
    Judged held_out = {0}, trained = {0};
    Status status = read_model(&model, run);
    if (status == STATUS_OK) status = read_comparisons(&all, run, model.shape.vocabulary);
    if (status == STATUS_OK) status = view_judge(view, &held_out, &trained, &all, &model);
    judged_free(&trained);
    judged_free(&held_out);
    model_free(&model);
    preferences_free(&all);
    return status;
}
