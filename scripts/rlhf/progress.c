#include "scripts/rlhf/progress.h"

#include "scripts/rlhf/interrupt.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

static const double REDRAW_SECONDS = 0.1, PLAIN_SECONDS = 5.0;
enum { LINE = 512, BAR = 16, COLUMNS = 100 };

Progress progress_on(FILE *file)
{
    Progress progress = {.terminal = terminal_of(file), .log = {.descriptor = -1}};
    return progress;
}

Status progress_log(Progress *progress, const char *run)
{
    char path[STAGE_PATH];
    TRY(path_join(path, run, "log.txt"));
    return io_log_open(&progress->log, path, false);
}

void progress_close(Progress *progress)
{
    if (progress->log.descriptor < 0) return;
    STATUS_ASIDE(io_log_close(&progress->log)); /* for people; no result hangs on it */
}

static void wipe(Progress *progress)
{
    if (progress->drawn) fputs("\r\033[K", progress->terminal.file);
    progress->drawn = false;
}

static void log_line(Progress *progress, const char *line)
{
    if (progress->log.descriptor < 0) return;
    char text[LINE + 2];
    const int length = snprintf(text, sizeof text, "%s\n", line);
    STATUS_ASIDE(io_log_append(&progress->log, text, (size_t)length)); /* as above */
}

static void plain_line(Progress *progress, const char *line)
{
    wipe(progress);
    fprintf(progress->terminal.file, "%s%s\n", progress->prefix, line);
    fflush(progress->terminal.file);
    log_line(progress, line);
}

void progress_say(Progress *progress, const char *format, ...)
{
    char line[LINE];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    plain_line(progress, line);
}

void progress_begin(Progress *progress, const char *stage)
{
    progress->stage = stage;
    progress->started = progress->last_drawn = progress->last_plain = clock_seconds();
    progress->first_step = -1;
    progress->tokens = 0;
}

void progress_end(Progress *progress, const char *outcome)
{
    char clock[16], tokens[16];
    const double seconds = clock_seconds() - progress->started;
    if (progress->tokens > 0) {
        progress_say(progress, "%-8s %s in %s, %s tokens/s", progress->stage, outcome,
                     clock_text(clock, seconds),
                     count_text(tokens, progress->tokens / (seconds > 0.001 ? seconds : 0.001)));
    } else {
        progress_say(progress, "%-8s %s in %s", progress->stage, outcome,
                     clock_text(clock, seconds));
    }
    progress->stage = NULL;
}

/* "objective/kl" is shown as "kl", unless another number would have the same short name. */
static const char *short_name(const StageProgress *now, int index)
{
    const char *slash = strrchr(now->name[index], '/');
    if (slash == NULL) return now->name[index];
    for (int i = 0; i < now->shown; i++) {
        const char *other = strrchr(now->name[i], '/');
        if (i != index && other != NULL && strcmp(other, slash) == 0) return now->name[index];
    }
    return slash + 1;
}

static void append(char line[LINE], const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(char line[LINE], const char *format, ...)
{
    const size_t used = strlen(line);
    va_list values;
    va_start(values, format);
    vsnprintf(line + used, LINE - used, format, values);
    va_end(values);
}

/* Speed, the numbers that matter and the time left: what both kinds of line say. */
static void append_numbers(char line[LINE], const Progress *progress, const StageProgress *now)
{
    char text[16];
    const double seconds = clock_seconds() - progress->started;
    const int64_t done = now->step - progress->first_step;
    if (seconds > 0.2) append(line, "  %s tok/s", count_text(text, progress->tokens / seconds));
    for (int i = 0; i < now->shown; i++) {
        if (isnan(now->value[i])) continue;
        append(line, "  %s %.3g", short_name(now, i), now->value[i]);
    }
    if (done > 0 && now->step < now->steps) {
        const double left = seconds * (double)(now->steps - now->step) / (double)done;
        append(line, "  ETA %s", clock_text(text, left));
    }
}

static void redraw(Progress *progress, const StageProgress *now)
{
    char line[LINE] = "";
    const double share = now->steps > 0 ? (double)now->step / (double)now->steps : 0;
    const int full = (int)(share * BAR + 0.5);
    append(line, "%-8s ", now->stage);
    for (int i = 0; i < BAR; i++) append(line, "%s", i < full ? "━" : "─");
    append(line, " %lld/%lld", (long long)now->step, (long long)now->steps);
    append_numbers(line, progress, now);
    size_t end = strlen(line);
    while (terminal_columns(line, end) > COLUMNS) end--;
    line[end] = '\0';
    fprintf(progress->terminal.file, "\r%s\033[K", line);
    fflush(progress->terminal.file);
    progress->drawn = true;
}

void progress_step(Progress *progress, const StageProgress *now)
{
    if (progress->stage == NULL) progress_begin(progress, now->stage);
    /* The steps done before this life are learnt from the first report: one step was done since. */
    if (progress->first_step < 0) progress->first_step = now->step > 0 ? now->step - 1 : 0;
    progress->tokens += (double)now->tokens;

    const double clock = clock_seconds();
    if (progress->terminal.live &&
        (clock - progress->last_drawn >= REDRAW_SECONDS || now->step == now->steps)) {
        progress->last_drawn = clock;
        redraw(progress, now);
    }
    if (clock - progress->last_plain < PLAIN_SECONDS && now->step != now->steps) return;
    progress->last_plain = clock;
    char line[LINE] = "";
    append(line, "%-8s step %lld/%lld", now->stage, (long long)now->step, (long long)now->steps);
    append_numbers(line, progress, now);
    if (progress->terminal.live) {
        log_line(progress, line);
    } else {
        plain_line(progress, line);
    }
}
