/* What the terminal can do, text that is safe to show on it, and curves in braille. */
#ifndef SCRIPTS_RLHF_TERMINAL_H
#define SCRIPTS_RLHF_TERMINAL_H

#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* NO_COLOR and TERM=dumb are honoured. */
typedef struct Terminal {
    FILE *file;
    bool live;   /* a line may be redrawn */
    bool colour;
} Terminal;

Terminal terminal_of(FILE *file);

/* Sequences to switch a style on and all off; "" without colour. */
const char *terminal_bold(const Terminal *terminal);
const char *terminal_plain(const Terminal *terminal);

/* Bytes of the UTF-8 character that begins `text`, 0 where there is none; *point is its number. */
size_t terminal_character(uint32_t *point, const unsigned char *text, size_t count);
/* Characters that would move the cursor, break the line or turn the direction of text. */
bool terminal_is_control(uint32_t point);
/* Appends text of a model or a stranger: control characters, direction overrides and bytes that are
 * not UTF-8 are written as escapes (\n, \x1b). */
Status terminal_escape(Bytes *out, const char *text, size_t count);
/* Writes it so. */
Status terminal_write(FILE *file, const char *text, size_t count);
/* Columns a text takes: its code points. */
int terminal_columns(const char *text, size_t count);
/* Appends `text` (UTF-8, safe), broken at spaces into lines of at most `width` columns, lines after
 * the first behind `indent` spaces; at most `lines` lines. */
Status terminal_wrap(Bytes *out, const char *text, int indent, int width, int lines);

/* One curve. x rises; y that is not finite is left out. */
typedef struct Plot {
    const char *title;
    const double *x, *y;
    int count;
} Plot;

enum { PLOT_MARGIN = 10 }; /* columns left of the canvas: labels and axis */

/* height + 3 lines (title, canvas, axis, labels), each PLOT_MARGIN + width columns wide. */
Status plot_draw(Texts *lines, const Plot *plot, int width, int height);
/* Two plots side by side, or one (right NULL). */
Status plot_print(FILE *file, const Plot *left, const Plot *right, int width, int height);

/* "1:05", "2:03:04". */
const char *clock_text(char text[16], double seconds);
/* "950", "12.3k", "4.56M". */
const char *count_text(char text[16], double count);
/* "950 B", "12.3 MB". */
const char *bytes_text_of(char text[16], double bytes);

#endif
