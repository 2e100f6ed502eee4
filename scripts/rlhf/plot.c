/* Curves in braille: a character cell is 2 by 4 dots. */
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 100, HEIGHT_MAX = 24 };

typedef struct Canvas {
    int width, height; /* cells */
    unsigned char cell[HEIGHT_MAX][WIDTH_MAX];
    double low, high, first, last; /* of y and x */
} Canvas;

static void set_dot(Canvas *canvas, int column, int row)
{
    static const unsigned char dot[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    canvas->cell[row / 4][column / 2] |= dot[row % 4][column % 2];
}

/* Ranges of what is finite; a flat curve gets room around it. False: nothing to draw. */
static bool canvas_ranges(Canvas *canvas, const Plot *plot)
{
    canvas->low = INFINITY;
    canvas->high = -INFINITY;
    for (int i = 0; i < plot->count; i++) {
        if (!isfinite(plot->y[i])) continue;
        canvas->low = fmin(canvas->low, plot->y[i]);
        canvas->high = fmax(canvas->high, plot->y[i]);
    }
    if (canvas->low > canvas->high) return false;
    if (canvas->high - canvas->low < 1e-9 * fmax(1, fabs(canvas->high))) {
        canvas->low -= 0.5;
        canvas->high += 0.5;
    }
    canvas->first = plot->x[0];
    canvas->last = plot->x[plot->count - 1];
    return true;
}

static int dot_column(const Canvas *canvas, double x)
{
    const double span = fmax(canvas->last - canvas->first, 1e-12);
    return (int)lround((x - canvas->first) / span * (2 * canvas->width - 1));
}

static int dot_row(const Canvas *canvas, double y)
{
    const double share = (y - canvas->low) / (canvas->high - canvas->low);
    return (int)lround((1 - share) * (4 * canvas->height - 1));
}

static void draw_line(Canvas *canvas, int column, int row, int to_column, int to_row)
{
    const int steps = (int)fmax(fmax(abs(to_column - column), abs(to_row - row)), 1);
    for (int s = 0; s <= steps; s++) {
        set_dot(canvas, column + (to_column - column) * s / steps,
                row + (to_row - row) * s / steps);
    }
}

static void draw_curve(Canvas *canvas, const Plot *plot)
{
    int column = -1, row = -1;
    for (int i = 0; i < plot->count; i++) {
        if (!isfinite(plot->y[i])) continue;
        const int to_column = dot_column(canvas, plot->x[i]), to_row = dot_row(canvas, plot->y[i]);
        draw_line(canvas, column < 0 ? to_column : column, row < 0 ? to_row : row, to_column,
                  to_row);
        column = to_column;
        row = to_row;
    }
}

static Status canvas_row(Bytes *line, const Canvas *canvas, int row)
{
    const bool top = row == 0, bottom = row == canvas->height - 1;
    if (top || bottom) {
        TRY(bytes_print(line, "%8.3g ┤", top ? canvas->high : canvas->low));
    } else {
        TRY(bytes_text(line, "         │"));
    }
    for (int c = 0; c < canvas->width; c++) {
        const unsigned code = 0x2800u + canvas->cell[row][c];
        const char utf8[3] = {(char)(0xe0 | code >> 12), (char)(0x80 | (code >> 6 & 0x3f)),
                              (char)(0x80 | (code & 0x3f))};
        TRY(bytes_append(line, canvas->cell[row][c] == 0 ? " " : utf8,
                         canvas->cell[row][c] == 0 ? 1 : 3));
    }
    return STATUS_OK;
}

/* Ends the line under construction, filled up with spaces. */
static Status line_done(Texts *lines, Bytes *line, int width)
{
    const int missing = PLOT_MARGIN + width - terminal_columns(line->data, line->count);
    if (missing > 0) TRY(bytes_print(line, "%*s", missing, ""));
    const Status status = texts_add(lines, line->data, line->count);
    bytes_clear(line);
    return status;
}

static Status draw_lines(Texts *lines, Bytes *line, const Plot *plot, Canvas *canvas)
{
    const bool drawable = plot->count > 0 && canvas_ranges(canvas, plot);
    if (drawable) draw_curve(canvas, plot);
    TRY(bytes_print(line, "%*s%s", PLOT_MARGIN, "", plot->title));
    TRY(line_done(lines, line, canvas->width));
    for (int row = 0; row < canvas->height; row++) {
        TRY(drawable ? canvas_row(line, canvas, row) : bytes_text(line, "         │"));
        TRY(line_done(lines, line, canvas->width));
    }
    TRY(bytes_text(line, "         └"));
    for (int c = 0; c < canvas->width; c++) TRY(bytes_text(line, "─"));
    TRY(line_done(lines, line, canvas->width));
    char last[32];
    snprintf(last, sizeof last, "%g", drawable ? canvas->last : 0.0);
    if (drawable) {
        TRY(bytes_print(line, "%*s%-*g%s", PLOT_MARGIN, "", canvas->width - (int)strlen(last),
                        canvas->first, last));
    } else {
        TRY(bytes_print(line, "%*s(no values)", PLOT_MARGIN, ""));
    }
    return line_done(lines, line, canvas->width);
}

Status plot_draw(Texts *lines, const Plot *plot, int width, int height)
{
    Canvas canvas = {.width = width < WIDTH_MAX ? width : WIDTH_MAX,
                     .height = height < HEIGHT_MAX ? height : HEIGHT_MAX};
    Bytes line = {0};
    const Status status = draw_lines(lines, &line, plot, &canvas);
    bytes_free(&line);
    return status;
}

Status plot_print(FILE *file, const Plot *left, const Plot *right, int width, int height)
{
    Texts a = {0}, b = {0};
    Status status = plot_draw(&a, left, width, height);
    if (status == STATUS_OK && right != NULL) status = plot_draw(&b, right, width, height);
    for (int i = 0; status == STATUS_OK && i < a.count; i++) {
        size_t count;
        const char *text = texts_at(&a, i, &count);
        if (i < b.count) {
            fprintf(file, "%.*s  ", (int)count, text);
            text = texts_at(&b, i, &count);
        }
        while (count > 0 && text[count - 1] == ' ') count--;
        fprintf(file, "%.*s\n", (int)count, text);
    }
    texts_free(&a);
    texts_free(&b);
    return status;
}
