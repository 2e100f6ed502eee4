/* Alarms of PPO: what its steps say, in the order they come. Each metric is judged by the mean of
 * the last few steps, so that one unlucky batch raises nothing, against a range of its own or
 * against what it was in the first step, where the policy is still the reference. */
#include "ppo/doctor_checks.h"
#include "ppo/doctor_pairs.h"
#include "ppo/ppo_metrics.h"

#include "data/io.h"
#include "data/run_dir.h"

#include <math.h>
#include <stdio.h>

enum { WINDOW = 5 };

/* A metric and the range that is no reason for alarm. */
typedef struct Level {
    Check check;
    PpoMetric metric;
    int window;       /* steps that are averaged */
    int after;        /* steps before which it says nothing yet */
    double low, high; /* NAN: no such end */
    bool relative;    /* low and high are shares of the first step's value */
} Level;

static const Level levels[] = {
    {{"ppo", "first-ratio", FINDING_ALARM,
      "sampled and trained log-probabilities disagree: a bug (dropout, padding, precision)",
      "nothing helps but mending it; rlhf verify DIR names the tensor"},
     PPO_FIRST_RATIO,
     1,
     0,
     NAN,
     1e-6,
     false},
    {{"ppo", "ratio-drift", FINDING_ALARM, "an update moves the policy away from its own samples",
      "--set ppo.learning_rate=... (a third), or fewer ppo.epochs"},
     PPO_RATIO,
     1,
     0,
     0.9,
     1.1,
     false},
    {{"ppo", "step-size", FINDING_ALARM, "updates are too large",
      "--set ppo.learning_rate=... (a third), ppo.target_kl=0.02, or fewer ppo.epochs"},
     PPO_APPROXKL,
     1,
     0,
     NAN,
     0.1,
     false},
    {{"ppo", "clip-fraction", FINDING_ALARM, "updates push most tokens into the clip",
      "--set ppo.learning_rate=... (a third), or fewer ppo.epochs"},
     PPO_CLIPFRAC,
     WINDOW,
     0,
     NAN,
     0.3,
     false},
    {{"ppo", "kl-explosion", FINDING_ALARM, "the policy has left the reference",
      "--set ppo.kl_coef=... (higher: 0.1, or twice what it is), or ppo.kl_controller=adaptive"},
     PPO_KL_EXACT,
     WINDOW,
     0,
     NAN,
     20,
     false},
    {{"ppo", "entropy-collapse", FINDING_ALARM, "the policy gives ever the same answer",
      "--set ppo.kl_coef=... (higher), or ppo.entropy_coef=0.01"},
     PPO_SAMPLING_ENTROPY,
     WINDOW,
     0,
     1.0 / 3,
     NAN,
     true},
    {{"ppo", "value", FINDING_ALARM, "the critic explains nothing of the returns",
      "--set ppo.critic_learning_rate=... (higher), ppo.critic_warmup=5"},
     PPO_EXPLAINED_VAR,
     WINDOW,
     10,
     0,
     NAN,
     false},
    {{"ppo", "endings", FINDING_ALARM, "answers no longer end by themselves",
      "--set ppo.missing_eos_penalty=... (higher), or ppo.kl_coef"},
     PPO_TERMINATED,
     WINDOW,
     0,
     0.8,
     NAN,
     true},
    {{"ppo", "length", FINDING_ALARM, "the reward model pays for the number of tokens",
      "--set ppo.kl_coef=... (higher); look for length among the labels"},
     PPO_LENGTH,
     WINDOW,
     0,
     0.5,
     1.75,
     true},
    {{"ppo", "repetition", FINDING_ALARM, "the policy repeats itself",
      "--set ppo.kl_coef=... (higher), or ppo.entropy_coef=0.01; at step 1: the sampler's streams"},
     PPO_UNIQUE,
     WINDOW,
     0,
     0.7,
     NAN,
     true},
};

/* Mean over the last `window` steps up to row i; steps without a number do not count. */
static double mean_until(const double *value, int i, int window)
{
    double sum = 0.0, n = 0.0;
    for (int j = i; j >= 0 && j > i - window; j--) {
        if (isnan(value[j])) continue;
        sum += value[j];
        n += 1.0;
    }
    return sum / n; /* NaN: none */
}

static bool is_outside(double value, double low, double high)
{
    return value < low || value > high; /* false where one is NaN */
}

static const double *column_of(const MetricColumns *columns, PpoMetric metric)
{
    return metric_column(columns, ppo_metrics.metrics[metric].name);
}

static void note_range(Examination *e, const Level *level, const double *value, int after, int rows)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = after; i < rows; i++) {
        const double now = mean_until(value, i, level->window);
        low = fmin(low, now);
        high = fmax(high, now);
    }
    doctor_note(e->diagnosis, &level->check, false, 0, "%s from %.3g to %.3g",
                ppo_metrics.metrics[level->metric].name, low, high);
}

static void look_at_level(Examination *e, const Level *level, const MetricColumns *columns)
{
    const double *value = column_of(columns, level->metric);
    const int after = level->after + (int)e->settings.critic_warmup * (level->after > 0);
    if (value == NULL || columns->rows <= after) return;
    const double unit = level->relative ? value[0] : 1.0;
    const double low = level->low * unit, high = level->high * unit;
    char mean[32] = "";
    if (level->window > 1) snprintf(mean, sizeof mean, " (mean of %d steps)", level->window);
    for (int i = after; i < columns->rows; i++) {
        const double now = mean_until(value, i, level->window);
        if (!is_outside(now, low, high)) continue;
        const bool below = now < low;
        doctor_note(e->diagnosis, &level->check, true, columns->step[i],
                    "%s is %.3g at step %lld, %s %.3g%s", ppo_metrics.metrics[level->metric].name,
                    now, (long long)columns->step[i], below ? "below" : "above", below ? low : high,
                    mean);
        return;
    }
    note_range(e, level, value, after, columns->rows);
}

/* ---- over-optimisation ---- */

/* The policy's answers are e^KL times rarer with the SFT policy, which gave the n labelled ones:
 * past log n nats not one of those is like them, and the reward model guesses. Being there may be
 * harmless where the penalty holds the policy; running on is not. So: past log n, and at the
 * present pace past log 30 n in as many steps as are averaged. */
static const Check overoptimised = {
    "ppo", "over-optimisation", FINDING_ALARM,
    "the policy finds what the reward model overrates: true quality falls while the score rises",
    "--set ppo.kl_coef=0.1 (higher), or stop at this step; more label.pairs push it back"};
static const double rarer = 30.0;
static const double risen = 0.5; /* standard deviations; below, nothing was optimised */

static void look_at_overoptimisation(Examination *e, const MetricColumns *columns)
{
    const double *kl = column_of(columns, PPO_KL_EXACT), *score = column_of(columns, PPO_SCORES);
    if (kl == NULL || score == NULL || !(e->labelled > 1.0)) return;
    const double labelled = log(e->labelled), guessed = log(rarer * e->labelled);
    double farthest = 0.0;
    for (int i = WINDOW; i < columns->rows; i++) {
        const double distance = mean_until(kl, i, WINDOW);
        const double gone = distance - mean_until(kl, i - WINDOW, WINDOW);
        farthest = fmax(farthest, distance);
        if (!(distance > labelled) || !(distance + gone > guessed)) continue;
        if (mean_until(score, i, WINDOW) - score[0] < risen) continue;
        doctor_note(e->diagnosis, &overoptimised, true, columns->step[i],
                    "%.1f nats from SFT at step %lld, %.1f more than %d steps before; "
                    "%.0f labelled answers reach %.1f",
                    distance, (long long)columns->step[i], gone, (int)WINDOW, e->labelled,
                    labelled);
        return;
    }
    doctor_note(e->diagnosis, &overoptimised, false, 0,
                "at most %.1f nats from SFT, %.0f labelled answers reach %.1f", farthest,
                e->labelled, labelled);
}

/* ---- samples and log-probabilities ---- */

static const Check same_temperature = {
    "ppo", "sampling", FINDING_ALARM,
    "answers were not drawn from the distribution that scores them (temperature, top-k)",
    "nothing helps but drawing and scoring at the same ppo.temperature"};
static const double nats_apart = 0.1;

static void look_at_sampling(Examination *e, const MetricColumns *columns)
{
    const double *sampled = column_of(columns, PPO_ENTROPY),
                 *length = column_of(columns, PPO_LENGTH);
    const double *exact = column_of(columns, PPO_SAMPLING_ENTROPY);
    if (sampled == NULL || length == NULL || exact == NULL || columns->rows == 0) return;
    const int last = columns->rows < WINDOW ? columns->rows - 1 : WINDOW - 1;
    const double seen = mean_until(sampled, last, WINDOW) / mean_until(length, last, WINDOW);
    const double expected = mean_until(exact, last, WINDOW);
    doctor_note(e->diagnosis, &same_temperature, fabs(seen - expected) > nats_apart, 1,
                "sampled tokens are worth %.3f nats, their distributions say %.3f", seen, expected);
}

/* ---- progress ---- */

static const Check progress = {"ppo", "progress", FINDING_ALARM,
                               "PPO does not raise its own reward",
                               "--set ppo.learning_rate=... (higher), or ppo.kl_coef (lower)"};
enum { ENOUGH_STEPS = 20 };
static const double least_gain = 0.2;

static void look_at_progress(Examination *e, const MetricColumns *columns)
{
    const double *score = column_of(columns, PPO_SCORES);
    if (score == NULL || columns->rows < ENOUGH_STEPS) return;
    const double before = mean_until(score, WINDOW - 1, WINDOW);
    const double after = mean_until(score, columns->rows - 1, WINDOW);
    doctor_note(e->diagnosis, &progress, after - before < least_gain,
                columns->step[columns->rows - 1],
                "score from %.2f to %.2f standard deviations of SFT's", before, after);
}

/* ---- a run that gave up ---- */

static const Check gave_up = {
    "ppo", "stopped", FINDING_ALARM,
    "an invariant does not hold (a bug), or a number is no longer finite",
    "nothing before rlhf resume DIR has said which; it repeats the failing step"};

/* A full disk or a signal says nothing about training: those end otherwise. */
static Status look_at_end(Examination *e, const MetricColumns *columns)
{
    char path[PATH_TEXT];
    RunLife life;
    TRY(path_join(path, e->run, "ppo/manifest.json"));
    if (io_exists(path)) return STATUS_OK;
    TRY(run_dir_last_life(&life, e->run));
    const bool broken = life.exit_status == STATUS_BROKEN || life.exit_status == STATUS_DIVERGED;
    if (!life.ended || !broken) return STATUS_OK;
    const long long steps = columns->rows > 0 ? (long long)columns->step[columns->rows - 1] : 0;
    doctor_note(e->diagnosis, &gave_up, true, steps, "ended after step %lld with \"%.120s\"", steps,
                life.reason);
    return STATUS_OK;
}

/* Where the label stage is not looked at, nobody has counted yet. */
static Status count_labelled(Examination *e)
{
    char path[PATH_TEXT];
    LabelView view;
    TRY(path_join(path, e->run, "label/comparisons.h5"));
    if (!isnan(e->labelled) || !io_exists(path)) return STATUS_OK;
    TRY(doctor_view_labels(&view, e->run));
    e->labelled = 2.0 * view.pairs;
    return STATUS_OK;
}

Status doctor_ppo(Examination *e)
{
    MetricColumns columns = {0};
    TRY(count_labelled(e));
    TRY(doctor_journal(&columns, e, "ppo"));
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        look_at_level(e, &levels[i], &columns);
    }
    look_at_overoptimisation(e, &columns);
    look_at_sampling(e, &columns);
    look_at_progress(e, &columns);
    const Status status = look_at_end(e, &columns);
    metric_columns_free(&columns);
    return status;
}
