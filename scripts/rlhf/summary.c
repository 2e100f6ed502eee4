#include "scripts/rlhf/summary.h"

#include "data/io.h"
#include "data/metrics.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/scorecard.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <string.h>

enum { SCORECARD_BYTES = 1 << 20, CURVE_WIDTH = 38, CURVE_HEIGHT = 8, CELL = 48 };

Status stage_times(StageTimes *times, const char *run, const char *stage)
{
    *times = (StageTimes){0};
    char folder[STAGE_PATH], path[STAGE_PATH];
    TRY(path_join(folder, run, stage));
    TRY(path_join(path, folder, "timings.jsonl"));
    if (!io_exists(path)) return STATUS_OK;
    MetricColumns columns = {0};
    const Status status = metric_columns_read(&columns, path);
    const double *seconds = metric_column(&columns, "seconds");
    const double *tokens = metric_column(&columns, "tokens");
    for (int i = 0; status == STATUS_OK && i < columns.rows; i++) {
        if (columns.step[i] > times->steps) times->steps = columns.step[i];
        if (seconds != NULL && isfinite(seconds[i])) times->seconds += seconds[i];
        if (tokens != NULL && isfinite(tokens[i])) times->tokens += tokens[i];
    }
    metric_columns_free(&columns);
    return status;
}

static void heading(FILE *out, const Terminal *terminal, const char *text)
{
    fprintf(out, "\n%s%s%s\n", terminal_bold(terminal), text, terminal_plain(terminal));
}

static Status print_stages(FILE *out, const Terminal *terminal, const char *run)
{
    heading(out, terminal, "stage          steps       time    tokens/s");
    double seconds = 0;
    char clock[16], speed[16];
    for (int i = 0; i < STAGES; i++) {
        StageTimes times;
        TRY(stage_times(&times, run, pipeline_stages[i].name));
        seconds += times.seconds;
        fprintf(out, "%-12s %7lld %10s %11s\n", pipeline_stages[i].name, (long long)times.steps,
                clock_text(clock, times.seconds),
                times.tokens > 0 && times.seconds > 0
                    ? count_text(speed, times.tokens / times.seconds)
                    : "");
    }
    fprintf(out, "%-12s %7s %10s\n", "all", "", clock_text(clock, seconds));
    return STATUS_OK;
}

/* "0.81 ± 0.02", padded to `columns`; a dash where there is nothing. */
static void print_estimate(FILE *out, const Estimate *estimate, int columns)
{
    char text[CELL] = "-";
    if (isfinite(estimate->mean) && isfinite(estimate->error)) {
        snprintf(text, sizeof text, "%.3g ± %.2g", estimate->mean, estimate->error);
    } else if (isfinite(estimate->mean)) {
        snprintf(text, sizeof text, "%.3g", estimate->mean);
    }
    const int missing = columns - terminal_columns(text, strlen(text));
    fprintf(out, "%*s%s", missing > 0 ? missing : 0, "", text);
}

static void print_policies(FILE *out, const Terminal *terminal, const Scorecard *card)
{
    heading(out, terminal,
            "policy                   gold             proxy        KL (nats)           length   "
            "ended");
    for (int i = 0; i < card->count; i++) {
        const PolicyScore *policy = &card->policy[i];
        fprintf(out, "%-12s", policy->name);
        print_estimate(out, &policy->gold, 17);
        print_estimate(out, &policy->score, 18);
        print_estimate(out, &policy->kl, 17);
        print_estimate(out, &policy->length, 17);
        fprintf(out, "%7.0f %%\n", 100 * policy->terminated);
    }
}

static void print_verdict(FILE *out, const Scorecard *card)
{
    fprintf(out, "\non %d held-out prompts", card->prompts);
    const double gain = scorecard_gain(card);
    if (isfinite(gain)) fprintf(out, ": PPO's gold is %+.2f sigma from SFT's", gain);
    if (isfinite(card->win_rate.mean)) {
        fprintf(out, "; it wins %.1f", 100 * card->win_rate.mean);
        if (isfinite(card->win_rate.error)) fprintf(out, " ± %.1f", 100 * card->win_rate.error);
        fprintf(out, " %% of prompts");
    }
    fputc('\n', out);
    if (isfinite(card->gold_accuracy)) {
        fprintf(out,
                "the reward model agrees with gold on %.1f %% of held-out pairs, with their labels "
                "on %.1f %%\n",
                100 * card->gold_accuracy, 100 * card->accuracy);
    } else if (isfinite(card->accuracy)) {
        fprintf(out, "the reward model agrees with the labels of %.1f %% of held-out pairs\n",
                100 * card->accuracy);
    }
}

static Status draw_curves(FILE *out, const MetricColumns *columns, const double *x)
{
    const double *proxy = metric_column(columns, "objective/scores");
    const double *gold = metric_column(columns, "objective/gold");
    if (proxy == NULL || columns->rows < 2) return STATUS_OK;
    const Plot left = {"proxy reward over PPO steps", x, proxy, columns->rows};
    const Plot right = {"gold reward over PPO steps", x, gold, columns->rows};
    fputc('\n', out);
    return plot_print(out, &left, gold != NULL ? &right : NULL,
                      gold != NULL ? CURVE_WIDTH : 2 * CURVE_WIDTH, CURVE_HEIGHT);
}

static Status print_curves(FILE *out, const char *run)
{
    char path[STAGE_PATH];
    TRY(path_join(path, run, "ppo/metrics.jsonl"));
    if (!io_exists(path)) return STATUS_OK;
    MetricColumns columns = {0};
    void *x = NULL;
    Status status = metric_columns_read(&columns, path);
    if (status == STATUS_OK) {
        status = memory_claim(&x, (size_t)columns.rows * sizeof(double));
    }
    if (status == STATUS_OK) {
        for (int i = 0; i < columns.rows; i++) ((double *)x)[i] = (double)columns.step[i];
        status = draw_curves(out, &columns, x);
    }
    memory_release(x);
    metric_columns_free(&columns);
    return status;
}

static Status print_files(FILE *out, const Terminal *terminal, const char *run)
{
    uint64_t bytes;
    char size[16];
    TRY(io_usage(&bytes, run));
    char title[64];
    snprintf(title, sizeof title, "files (%s)", bytes_text_of(size, (double)bytes));
    heading(out, terminal, title);
    fprintf(out, "  %s/config.json               every setting\n", run);
    fprintf(out, "  %s/STAGE/metrics.h5          what each stage measured (also metrics.jsonl)\n",
            run);
    fprintf(out, "  %s/ppo/rollouts/             every token of every rollout\n", run);
    fprintf(out, "  %s/ppo/policy.h5             the policy; rlhf generate %s --prompt TEXT\n", run,
            run);
    fprintf(out, "  %s/evaluate/scorecard.json   the numbers above\n", run);
    fprintf(out, "\nevery curve and every token on one page: rlhf report %s\n", run);
    return STATUS_OK;
}

Status summary_print(FILE *out, const char *run)
{
    const Terminal terminal = terminal_of(out);
    Scorecard card;
    TRY(scorecard_read(&card, run));
    TRY(print_stages(out, &terminal, run));
    print_policies(out, &terminal, &card);
    print_verdict(out, &card);
    TRY(print_curves(out, run));
    TRY(summary_answers(out, run));
    return print_files(out, &terminal, run);
}

Status summary_json(FILE *out, const char *run)
{
    char path[STAGE_PATH];
    TRY(path_join(path, run, "evaluate/scorecard.json"));
    Bytes text = {0};
    const Status status = io_read(&text, path, SCORECARD_BYTES);
    if (status == STATUS_OK) fwrite(text.data, 1, text.count, out);
    bytes_free(&text);
    return status;
}
