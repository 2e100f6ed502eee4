/* rlhf watch: the picture redrawn every second on a terminal, a line a change elsewhere. */
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"
#include "scripts/rlhf/watch.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <termios.h>
#include <unistd.h>

/* A file that is replaced just now cannot be read; one that stays unreadable is a failure. */
enum { FAILURES_MAX = 5, COLUMNS = 100, ROWS = 40, COLUMNS_LEAST = 20, ROWS_LEAST = 5 };

static const char enter[] = "\033[?1049h\033[?25l\033[?7l"; /* own screen, no cursor, no wrapping */
static const char leave[] = "\033[?7h\033[?25h\033[?1049l";

static volatile sig_atomic_t leave_asked;

static void on_leave(int number)
{
    (void)number;
    leave_asked = 1;
}

static void on_resize(int number)
{
    (void)number; /* it ends the wait, and the next picture asks for the size */
}

typedef struct Watch {
    Cli *cli;
    WatchView view;
    Terminal terminal;
    double seconds;      /* between two pictures */
    sigset_t signals;    /* held back while it waits: those from before */
    bool keys;           /* standard input is the terminal, and set to single keys */
    struct termios keep; /* as it was */
    Bytes line, said;    /* of the plain view: being written, written last */
} Watch;

/* They are held back but in the wait, so that none slips by just before it. */
static void catch_signals(sigset_t *before)
{
    static const int asking[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    leave_asked = 0;
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGWINCH);
    struct sigaction action = {.sa_handler = on_leave};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof asking / sizeof asking[0]; i++) {
        sigaddset(&held, asking[i]);
        sigaction(asking[i], &action, NULL);
    }
    action.sa_handler = on_resize;
    sigaction(SIGWINCH, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigprocmask(SIG_BLOCK, &held, before);
}

static void open_screen(Watch *watch)
{
    if (!watch->terminal.live) return;
    watch->keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &watch->keep) == 0;
    if (watch->keys) {
        struct termios single = watch->keep;
        single.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        single.c_cc[VSUSP] = _POSIX_VDISABLE; /* a stopped view would leave its screen behind */
        single.c_cc[VMIN] = 0;
        single.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &single);
    }
    fputs(enter, watch->terminal.file);
}

static void close_screen(Watch *watch)
{
    if (!watch->terminal.live) return;
    fputs(leave, watch->terminal.file);
    fflush(watch->terminal.file);
    if (watch->keys) tcsetattr(STDIN_FILENO, TCSAFLUSH, &watch->keep);
}

static void measure(int *columns, int *rows, FILE *file)
{
    struct winsize size = {0};
    *columns = COLUMNS;
    *rows = ROWS;
    if (!isatty(fileno(file)) || ioctl(fileno(file), TIOCGWINSZ, &size) != 0) return;
    if (size.ws_col > 0) *columns = size.ws_col > COLUMNS_LEAST ? size.ws_col : COLUMNS_LEAST;
    if (size.ws_row > 0) *rows = size.ws_row > ROWS_LEAST ? size.ws_row : ROWS_LEAST;
}

static void put_line(const Watch *watch, const WatchFrame *frame, int index)
{
    size_t count;
    const char *text = texts_at(&frame->lines, index, &count);
    while (count > 0 && text[count - 1] == ' ') count--;
    const bool bold = index == frame->bold[0] || index == frame->bold[1];
    fprintf(watch->terminal.file, "%s%.*s%s", bold ? terminal_bold(&watch->terminal) : "",
            (int)count, text, bold ? terminal_plain(&watch->terminal) : "");
}

/* The picture over the one before, and a last line that says how to leave. */
static Status redraw(const Watch *watch)
{
    FILE *out = watch->terminal.file;
    int columns, rows;
    WatchFrame frame;
    measure(&columns, &rows, out);
    const Status status = watch_draw(&frame, &watch->view, columns, rows - 1);
    if (status == STATUS_OK) {
        fputs("\033[H", out);
        for (int i = 0; i < rows - 1; i++) {
            if (i < frame.lines.count) put_line(watch, &frame, i);
            fputs("\033[K\r\n", out);
        }
        fputs("q leaves; the run goes on\033[K", out);
        fflush(out);
    }
    watch_frame_free(&frame);
    return status;
}

static Status print_once(const Watch *watch)
{
    int columns, rows;
    WatchFrame frame;
    measure(&columns, &rows, watch->terminal.file);
    const Status status = watch_draw(&frame, &watch->view, columns, ROWS);
    for (int i = 0; i < frame.lines.count && status == STATUS_OK; i++) {
        put_line(watch, &frame, i);
        fputc('\n', watch->terminal.file);
    }
    watch_frame_free(&frame);
    return status;
}

/* A line, where it says something else than the one before. */
static Status print_change(Watch *watch)
{
    bytes_clear(&watch->line);
    TRY(watch_line(&watch->line, &watch->view));
    if (watch->said.data != NULL && strcmp(watch->line.data, watch->said.data) == 0) {
        return STATUS_OK;
    }
    fprintf(watch->terminal.file, "%s\n", watch->line.data);
    fflush(watch->terminal.file);
    bytes_clear(&watch->said);
    return bytes_append(&watch->said, watch->line.data, watch->line.count);
}

/* True where q is among the keys that were struck, or the terminal is gone. */
static bool keys_say_leave(void)
{
    char key[16];
    const ssize_t count = read(STDIN_FILENO, key, sizeof key);
    for (ssize_t i = 0; i < count; i++) {
        if (key[i] == 'q' || key[i] == 'Q') return true;
    }
    return count == 0 || (count < 0 && errno != EINTR);
}

/* Waits for the next picture's time, a key or a signal. True: leave. */
static bool wait_or_leave(const Watch *watch)
{
    if (ferror(watch->terminal.file)) return true;
    const double whole = floor(watch->seconds);
    const struct timespec wait = {.tv_sec = (time_t)whole,
                                  .tv_nsec = (long)(1e9 * (watch->seconds - whole))};
    fd_set keys;
    FD_ZERO(&keys);
    if (watch->keys) FD_SET(STDIN_FILENO, &keys);
    const int ready = pselect(STDIN_FILENO + 1, &keys, NULL, NULL, &wait, &watch->signals);
    return leave_asked || (ready > 0 && keys_say_leave());
}

/* Until the run ends or somebody leaves; *ended says which. */
static Status follow(bool *ended, Watch *watch)
{
    for (int failures = 0; !*ended;) {
        const Status status = watch_read(&watch->view);
        if (status != STATUS_OK && ++failures > FAILURES_MAX) return status;
        if (status == STATUS_OK) {
            failures = 0;
            *ended = watch->view.run.state != RUN_RUNNING;
            TRY(watch->terminal.live ? redraw(watch) : print_change(watch));
        }
        if (!*ended && wait_or_leave(watch)) return STATUS_OK;
    }
    return STATUS_OK;
}

static Status say_end(Watch *watch)
{
    bytes_clear(&watch->line);
    TRY(terminal_escape(&watch->line, watch->view.pipeline->run,
                        strlen(watch->view.pipeline->run)));
    TRY(bytes_text(&watch->line, ": "));
    TRY(watch_describe(&watch->line, &watch->view));
    fprintf(watch->terminal.file, "%s\n", watch->line.data);
    return STATUS_OK;
}

static Status watch_run(Watch *watch)
{
    TRY(watch_read(&watch->view));
    const bool over = watch->terminal.live && watch->view.run.state != RUN_RUNNING;
    if (over || cli_has(watch->cli, "--once")) return print_once(watch);
    catch_signals(&watch->signals);
    bool ended = false;
    open_screen(watch);
    Status status = follow(&ended, watch);
    close_screen(watch);
    return status == STATUS_OK && ended ? say_end(watch) : status;
}

Status command_watch(Cli *cli)
{
    char run[STAGE_PATH];
    Settings settings;
    Options options = {0};
    double seconds;
    TRY(cli_number(&seconds, cli, "--every", 1, 0.1, 3600));
    TRY(run_path(run, cli->word[0]));
    TRY(settings_of_run(&settings, run));
    Pipeline pipeline = {.settings = &settings, .options = &options, .run = run};
    Watch watch = {.cli = cli,
                   .view = {.pipeline = &pipeline, .sample_step = WATCH_NONE},
                   .terminal = terminal_of(cli->out),
                   .seconds = seconds};
    Status status = pipeline_open(&pipeline);
    if (status == STATUS_OK) status = watch_run(&watch);
    watch_free(&watch.view);
    bytes_free(&watch.line);
    bytes_free(&watch.said);
    pipeline_close(&pipeline);
    return status;
}
