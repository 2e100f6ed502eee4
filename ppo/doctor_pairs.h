/* What the labels say, and what the finished reward model says of the same pairs, read as PPO reads
 * it: whole answers, scored at their last token. Nothing here is gold's. */
#ifndef PPO_DOCTOR_PAIRS_H
#define PPO_DOCTOR_PAIRS_H

#include "data/status.h"

/* Of the labelled pairs alone. */
typedef struct LabelView {
    int pairs, held_out; /* to train on; kept for measuring */
    double longer;       /* share of pairs whose longer answer is preferred, of those that differ */
    double by_length;    /* what a rule that only counts tokens would score: longer or 1 - longer */
} LabelView;

/* Of the scores, on the scale that the model was trained on; NaN where no pairs say it. */
typedef struct JudgeView {
    int pairs;             /* held-out pairs behind the numbers */
    double accuracy, ece;  /* against held-out labels */
    double trained;        /* accuracy on as many pairs that it was trained on */
    double clear;          /* accuracy on the fifth of held-out pairs with the widest gaps */
    double clear_expected; /* what the model itself expects there: its mean confidence */
    int top_pairs;         /* held-out pairs both of whose answers are in the best third */
    double top, top_expected; /* accuracy there and what the model expects: best-of-n's choices */
    /* Correlation over pairs, through the origin, with the difference in tokens: of the difference
     * in score, and of the label. */
    double length_of_score, length_of_label;
} JudgeView;

/* From label/comparisons.h5. */
Status doctor_view_labels(LabelView *view, const char *run);
/* From the same and reward/model.h5. */
Status doctor_view_judge(JudgeView *view, const char *run);

#endif
