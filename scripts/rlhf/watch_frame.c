#include "scripts/rlhf/watch.h"

#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BAR = 12, SHOWN = 5, PLOT_LOW = 3, PLOT_HIGH = 10, PLOT_NARROW = 16, PLOT_WIDE = 100 };

/* Metrics of a stage: the first two as curves where they are there, all as numbers. */
static const char *const shown[STAGES][SHOWN] = {
    {"loss", "accuracy", "lr", "grad_norm"},
    {"loss", "accuracy", "lr", "grad_norm"},
    {"gold/mean", "length/mean", "pairs", "flipped"},
    {"loss", "accuracy", "margin", "heldout/nll"},
    {"objective/scores", "objective/gold", "objective/kl", "objective/length"},
    {NULL},
};

/* ---- numbers ---- */

static const double *column_of(const WatchView *view, int index)
{
    if (view->drawn == WATCH_NONE || shown[view->drawn][index] == NULL) return NULL;
    return metric_column(&view->journal, shown[view->drawn][index]);
}

/* The last value that there is. */
static double newest(const WatchView *view, int index)
{
    const double *value = column_of(view, index);
    for (int i = view->journal.rows - 1; value != NULL && i >= 0; i--) {
        if (isfinite(value[i])) return value[i];
    }
    return NAN;
}

/* "objective/kl" is "kl" to people. */
static const char *short_name(const char *metric)
{
    static const char prefix[] = "objective/";
    return strncmp(metric, prefix, strlen(prefix)) == 0 ? metric + strlen(prefix) : metric;
}

static Status append_numbers(Bytes *line, const WatchView *view)
{
    for (int i = 0; i < SHOWN; i++) {
        const double value = newest(view, i);
        if (!isfinite(value)) continue;
        TRY(bytes_print(line, "  %s %.4g", short_name(shown[view->drawn][i]), value));
    }
    return STATUS_OK;
}

static Status append_steps(Bytes *line, const StageStatus *stage)
{
    TRY(bytes_print(line, "%lld", (long long)stage->times.steps));
    return stage->steps > 0 ? bytes_print(line, "/%lld", (long long)stage->steps) : STATUS_OK;
}

Status watch_line(Bytes *line, const WatchView *view)
{
    if (view->at == WATCH_NONE) return bytes_text(line, "nothing has begun");
    const StageStatus *stage = &view->run.stage[view->at];
    TRY(bytes_print(line, "%s %s, step ", stage->name, stage_state_names[stage->state]));
    TRY(append_steps(line, stage));
    if (view->drawn == view->at) TRY(append_numbers(line, view));
    char clock[16];
    const double left = stage_seconds_left(stage);
    return isfinite(left) ? bytes_print(line, "  ETA %s", clock_text(clock, left)) : STATUS_OK;
}

/* ---- lines ---- */

/* The bytes that fit into `columns`. */
static size_t fitting(const char *text, size_t count, int columns)
{
    size_t at = 0;
    for (int used = 0; at < count; at++) {
        used += ((unsigned char)text[at] & 0xc0) != 0x80;
        if (used > columns) break;
    }
    return at;
}

/* Ends the line under construction. */
static Status end_line(WatchFrame *frame, Bytes *line, int columns)
{
    TRY(bytes_text(line, ""));
    const Status status =
        texts_add(&frame->lines, line->data, fitting(line->data, line->count, columns));
    bytes_clear(line);
    return status;
}

Status watch_describe(Bytes *line, const WatchView *view)
{
    Bytes text = {0};
    Status status = run_status_describe(&text, &view->run, view->pipeline->run);
    if (status == STATUS_OK) status = terminal_escape(line, text.data, text.count);
    bytes_free(&text);
    return status;
}

static Status put_head(WatchFrame *frame, Bytes *line, const WatchView *view, int columns)
{
    const Settings *settings = view->pipeline->settings;
    TRY(terminal_escape(line, view->pipeline->run, strlen(view->pipeline->run)));
    TRY(bytes_print(line, "  task %s, seed %lld", settings->task.name, (long long)settings->seed));
    TRY(end_line(frame, line, columns));
    TRY(watch_describe(line, view));
    return end_line(frame, line, columns);
}

static Status put_bar(Bytes *line, const StageStatus *stage)
{
    const double share = stage->state == STAGE_FINISHED ? 1
                         : stage->steps > 0 ? (double)stage->times.steps / (double)stage->steps
                                            : 0;
    for (int i = 0; i < BAR; i++) TRY(bytes_text(line, i < share * BAR ? "━" : "─"));
    return STATUS_OK;
}

static Status put_stage(WatchFrame *frame, Bytes *line, const StageStatus *stage, int columns)
{
    char clock[16] = "", speed[16] = "", left[16] = "", steps[48] = "";
    const StageTimes *times = &stage->times;
    Bytes text = {0};
    if (times->steps > 0) {
        const Status status = append_steps(&text, stage);
        if (status == STATUS_OK) snprintf(steps, sizeof steps, "%s", text.data);
        bytes_free(&text);
        TRY(status);
    }
    if (times->seconds > 0) clock_text(clock, times->seconds);
    if (times->seconds > 0 && times->tokens > 0) count_text(speed, times->tokens / times->seconds);
    if (isfinite(stage_seconds_left(stage))) clock_text(left, stage_seconds_left(stage));
    TRY(bytes_print(line, "%-9s %-10s", stage->name, stage_state_names[stage->state]));
    TRY(put_bar(line, stage));
    TRY(bytes_print(line, " %11s %8s %9s %8s", steps, clock, speed, left));
    return end_line(frame, line, columns);
}

static Status put_stages(WatchFrame *frame, Bytes *line, const WatchView *view, int columns)
{
    frame->bold[1] = frame->lines.count;
    TRY(bytes_print(line, "%-9s %-10s%*s %11s %8s %9s %8s", "stage", "state", BAR, "", "steps",
                    "time", "tokens/s", "ETA"));
    TRY(end_line(frame, line, columns));
    for (int i = 0; i < STAGES; i++) {
        TRY(put_stage(frame, line, &view->run.stage[i], columns));
    }
    return STATUS_OK;
}

/* Appends the lines of the right plot behind those of the left one. */
static Status put_plots(WatchFrame *frame, Bytes *line, const Texts *left, const Texts *right,
                        int columns)
{
    for (int i = 0; i < left->count; i++) {
        size_t count;
        const char *text = texts_at(left, i, &count);
        TRY(bytes_append(line, text, count));
        if (i < right->count) {
            text = texts_at(right, i, &count);
            TRY(bytes_text(line, "  "));
            TRY(bytes_append(line, text, count));
        }
        TRY(end_line(frame, line, columns));
    }
    return STATUS_OK;
}

static Status put_curves(WatchFrame *frame, Bytes *line, const WatchView *view, int columns,
                         int height)
{
    const bool two = column_of(view, 1) != NULL && columns >= 2 * (PLOT_MARGIN + PLOT_NARROW) + 2;
    const int room = (two ? (columns - 2) / 2 : columns) - PLOT_MARGIN;
    const int width = room < PLOT_WIDE ? room : PLOT_WIDE;
    if (column_of(view, 0) == NULL || width < PLOT_NARROW || height < PLOT_LOW) return STATUS_OK;
    Texts drawn[2] = {{0}, {0}};
    Status status = STATUS_OK;
    for (int i = 0; i < (two ? 2 : 1) && status == STATUS_OK; i++) {
        char title[STAGE_PATH];
        snprintf(title, sizeof title, "%s: %s", pipeline_stages[view->drawn].name,
                 shown[view->drawn][i]);
        const Plot plot = {title, view->step, column_of(view, i), view->journal.rows};
        status = plot_draw(&drawn[i], &plot, width, height < PLOT_HIGH ? height : PLOT_HIGH);
    }
    if (status == STATUS_OK) status = put_plots(frame, line, &drawn[0], &drawn[1], columns);
    texts_free(&drawn[0]);
    texts_free(&drawn[1]);
    return status;
}

static Status put_text(WatchFrame *frame, Bytes *line, const Texts *texts, int index, int indent,
                       int columns)
{
    size_t count;
    const char *text = texts_at(texts, index, &count);
    TRY(bytes_print(line, "%*s%.*s", indent, "", (int)count, text));
    return end_line(frame, line, columns);
}

static Status put_samples(WatchFrame *frame, Bytes *line, const WatchView *view, int columns,
                          int rows)
{
    if (view->sample_step == WATCH_NONE || view->prompts.count == 0 || rows < 4) return STATUS_OK;
    TRY(end_line(frame, line, columns));
    TRY(bytes_print(line, "answers after step %lld of ppo", (long long)view->sample_step));
    TRY(end_line(frame, line, columns));
    for (int i = 0; i < view->prompts.count && 2 * i + 4 <= rows; i++) {
        TRY(put_text(frame, line, &view->prompts, i, 2, columns));
        TRY(put_text(frame, line, &view->answers, i, 4, columns));
    }
    return STATUS_OK;
}

static Status draw(WatchFrame *frame, Bytes *line, const WatchView *view, int columns, int rows)
{
    TRY(put_head(frame, line, view, columns));
    TRY(end_line(frame, line, columns));
    TRY(put_stages(frame, line, view, columns));
    TRY(end_line(frame, line, columns));
    TRY(append_numbers(line, view));
    if (line->count > 0) TRY(end_line(frame, line, columns));
    /* Curves get half of what is left, and a title, an axis and its labels around them. */
    TRY(put_curves(frame, line, view, columns, (rows - frame->lines.count) / 2 - 3));
    return put_samples(frame, line, view, columns, rows - frame->lines.count);
}

Status watch_draw(WatchFrame *frame, const WatchView *view, int columns, int rows)
{
    *frame = (WatchFrame){0};
    Bytes line = {0};
    const Status status = draw(frame, &line, view, columns, rows);
    bytes_free(&line);
    if (status == STATUS_OK && frame->lines.count > rows) frame->lines.count = rows;
    return status;
}

void watch_frame_free(WatchFrame *frame)
{
    texts_free(&frame->lines);
}
