/* Gates of the judge: the labels, and the reward model that learned from them. The blame for a
 * reward model that has learned nothing is told apart by what it knows of its own training pairs:
 * learned by heart, the labels are too few or contradict each other; not even that, it was hardly
 * trained. */
#include "ppo/doctor_checks.h"
#include "ppo/doctor_pairs.h"
#include "reward/calibration_file.h"

#include <math.h>

/* Below about two thousand comparisons reward models are near chance (Gao et al. 2022, section 3);
 * half of that leaves room for small worlds. */
enum { FEW_PAIRS = 1000 };
static const double enough_end = 0.5;    /* of the answers in the pairs */
static const double few_alike = 0.25;    /* identical pairs beside those kept */
static const double length_rule = 0.65;  /* what counting tokens may score against the labels */
static const double hardly_better = 0.6; /* than the 0.5 of a coin */
static const double by_heart = 0.04;     /* accuracy on training pairs beyond held-out ones */
static const double clear_enough = 0.75; /* agreement where the model is surest */
static const double as_reported = 0.03;
static const double well_calibrated = 0.1;
static const double overfit = 0.2;
static const double length_exaggerated = 0.35;
static const double overconfident = 0.1;

/* ---- label ---- */

static const Check enough_pairs = {"label", "pairs", FINDING_FAILED,
                                   "too few comparisons to learn a reward from",
                                   "--set label.pairs=... (several thousand)"};
static const Check length_neutral = {
    "label", "length-bias", FINDING_FAILED,
    "the labeller goes by length: PPO would buy tokens, not quality",
    "--set label.length_bias=0 here; elsewhere new instructions, or pairs balanced by length"};

static const Check answers_end = {
    "sft", "endings", FINDING_FAILED, "the fine-tuned policy does not know when to stop",
    "--set sft.epochs=... (more); look whether demonstrations end, or task.response_tokens"};
static const Check answers_differ = {
    "sft", "sameness", FINDING_FAILED, "the fine-tuned policy has few answers to a prompt",
    "--set sft.epochs=... (fewer), or label.sampling_temperature=1"};

/* What the pairs say of the policy that made them. */
static Status look_at_answers(Examination *examination)
{
    MetricColumns columns = {0};
    TRY(doctor_journal(&columns, examination, "label"));
    const double ended = doctor_last(&columns, "terminated");
    const double same = doctor_last(&columns, "identical"), kept = doctor_last(&columns, "pairs");
    metric_columns_free(&columns);
    doctor_note(examination->diagnosis, &answers_end, ended < enough_end, 0,
                "%.1f %% of the answers in the pairs ended by themselves", 100 * ended);
    doctor_note(examination->diagnosis, &answers_differ, same > few_alike * kept, 0,
                "twice the same answer in %.0f pairs, beside %.0f that differ", same, kept);
    return STATUS_OK;
}

Status doctor_label(Examination *examination)
{
    LabelView view;
    TRY(look_at_answers(examination));
    TRY(doctor_view_labels(&view, examination->run));
    examination->labelled = 2.0 * view.pairs;
    doctor_note(examination->diagnosis, &enough_pairs, view.pairs < FEW_PAIRS, 0,
                "%d pairs to train on, %d held out", view.pairs, view.held_out);
    doctor_note(examination->diagnosis, &length_neutral, view.by_length > length_rule, 0,
                "the longer answer is preferred in %.1f %% of the pairs", 100 * view.longer);
    return STATUS_OK;
}

/* ---- reward ---- */

static const Check too_few = {"label", "reward-accuracy", FINDING_FAILED,
                              "too few or too noisy labels: what is learned does not carry over",
                              "--set label.pairs=... (more), label.flip_rate, label.temperature"};
static const Check noisy = {"label", "reward-accuracy", FINDING_FAILED,
                            "the labels contradict each other: they are learned by heart at best",
                            "--set label.flip_rate=0 here; elsewhere look at who disagrees"};
static const Check untrained = {"reward", "reward-accuracy", FINDING_FAILED,
                                "the reward model was hardly trained",
                                "--set reward.learning_rate=... (higher), or more reward.epochs"};

static const Check *who_is_to_blame(const LabelView *labels, const JudgeView *judge)
{
    if (labels->pairs < 2 * FEW_PAIRS) return &too_few;
    return judge->trained - judge->accuracy > by_heart ? &noisy : &untrained;
}

static const Check clear_pairs = {
    "label", "label-noise", FINDING_FAILED,
    "even where the reward model is surest the labels often say otherwise: they are noisy",
    "--set label.flip_rate=0, label.temperature=... (lower) here; elsewhere several labels a pair"};
static const Check same_as_trained = {
    "reward", "used-as-trained", FINDING_FAILED,
    "the reward model is trained on other tokens than it is used on",
    "nothing helps but mending what training and scoring read; train again: --restart reward"};
static const Check calibrated = {"reward", "calibration", FINDING_ALARM,
                                 "the reward model is surer than it may be: trained too long",
                                 "--set reward.epochs=... (fewer), or reward.label_smoothing=0.05"};
static const Check carries_over = {"label", "overfit", FINDING_ALARM,
                                   "the reward model knows its training pairs by heart",
                                   "--set label.pairs=... (more), or reward.epochs (fewer)"};
static const Check length_learned = {"reward", "length-learned", FINDING_ALARM,
                                     "the reward model pays for length more than the labels do",
                                     "--set reward.weight_decay=... (higher), or more label.pairs"};
static const Check shifted = {"reward", "best-of-n", FINDING_ALARM,
                              "among good answers, where best-of-n and PPO choose, it guesses",
                              "--set label.pairs=... (more), ppo.kl_coef=... (higher)"};

static void note_labels(Diagnosis *diagnosis, const LabelView *labels, const JudgeView *judge)
{
    doctor_note(diagnosis, who_is_to_blame(labels, judge), judge->accuracy < hardly_better, 0,
                "agrees with %.1f %% of the held-out labels, with %.1f %% of those it learned from",
                100 * judge->accuracy, 100 * judge->trained);
    doctor_note(diagnosis, &clear_pairs,
                judge->accuracy >= hardly_better && judge->clear < clear_enough, 0,
                "in the fifth it is surest of, %.1f %% of the labels agree; it expects %.1f %%",
                100 * judge->clear, 100 * judge->clear_expected);
    doctor_note(diagnosis, &carries_over, judge->trained - judge->accuracy > overfit, 0,
                "%.1f points more on training pairs than on held-out ones",
                100 * (judge->trained - judge->accuracy));
}

static void note_scores(Diagnosis *diagnosis, const JudgeView *judge)
{
    doctor_note(diagnosis, &calibrated, judge->ece > well_calibrated, 0,
                "expected calibration error %.3f", judge->ece);
    doctor_note(diagnosis, &length_learned,
                fabs(judge->length_of_score) - fabs(judge->length_of_label) > length_exaggerated, 0,
                "correlation with length over pairs: scores %.2f, labels %.2f",
                judge->length_of_score, judge->length_of_label);
    const double chance = sqrt(judge->top * (1 - judge->top) / judge->top_pairs);
    doctor_note(diagnosis, &shifted, judge->top_expected - judge->top > overconfident + 2 * chance,
                0, "of %d pairs of good answers %.1f %% agree; it expects %.1f %%",
                judge->top_pairs, 100 * judge->top, 100 * judge->top_expected);
}

Status doctor_reward(Examination *examination)
{
    LabelView labels;
    JudgeView judge;
    CalibrationFile file;
    TRY(doctor_view_labels(&labels, examination->run));
    TRY(doctor_view_judge(&judge, examination->run));
    TRY(calibration_read(&file, examination->run));
    if (judge.pairs == 0) return STATUS_OK;
    const double reported = file.calibration.accuracy;
    const bool misused = fabs(judge.accuracy - reported) > as_reported;
    doctor_note(examination->diagnosis, &same_as_trained, misused, 0,
                "training reports %.1f %% of held-out labels; scored as PPO does, %.1f %%",
                100 * reported, 100 * judge.accuracy);
    if (misused) return STATUS_OK; /* scores of the wrong tokens say nothing of the labels */
    note_labels(examination->diagnosis, &labels, &judge);
    note_scores(examination->diagnosis, &judge);
    return STATUS_OK;
}
