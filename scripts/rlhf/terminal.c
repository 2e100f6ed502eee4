#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Terminal terminal_of(FILE *file)
{
    const char *kind = getenv("TERM"), *none = getenv("NO_COLOR");
    const bool live = isatty(fileno(file)) && kind != NULL && strcmp(kind, "dumb") != 0;
    return (Terminal){file, live, live && (none == NULL || none[0] == '\0')};
}

const char *terminal_bold(const Terminal *terminal)
{
    return terminal->colour ? "\033[1m" : "";
}

const char *terminal_plain(const Terminal *terminal)
{
    return terminal->colour ? "\033[0m" : "";
}

size_t terminal_character(uint32_t *point, const unsigned char *text, size_t count)
{
    const size_t length = text[0] < 0x80   ? 1
                          : text[0] < 0xc2 ? 0
                          : text[0] < 0xe0 ? 2
                          : text[0] < 0xf0 ? 3
                          : text[0] < 0xf5 ? 4
                                           : 0;
    if (length == 0 || length > count) return 0;
    *point = length == 1 ? text[0] : text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
        *point = *point << 6 | (text[i] & 0x3fu);
    }
    const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = *point >= 0xd800 && *point < 0xe000;
    return *point < least[length] || surrogate || *point > 0x10ffff ? 0 : length;
}

bool terminal_is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x061c || point == 0x200e ||
           point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

Status terminal_escape(Bytes *out, const char *text, size_t count)
{
    for (size_t at = 0; at < count;) {
        uint32_t point = 0;
        const unsigned char *byte = (const unsigned char *)text + at;
        const size_t length = terminal_character(&point, byte, count - at);
        if (length == 0) {
            TRY(bytes_print(out, "\\x%02x", byte[0]));
        } else if (point == '\n') {
            TRY(bytes_text(out, "\\n"));
        } else if (terminal_is_control(point)) {
            TRY(bytes_print(out, point < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)point));
        } else {
            TRY(bytes_append(out, byte, length));
        }
        at += length > 0 ? length : 1;
    }
    return STATUS_OK;
}

Status terminal_write(FILE *file, const char *text, size_t count)
{
    Bytes safe = {0};
    const Status status = terminal_escape(&safe, text, count);
    if (status == STATUS_OK) fwrite(safe.data, 1, safe.count, file);
    bytes_free(&safe);
    return status;
}

int terminal_columns(const char *text, size_t count)
{
    int columns = 0;
    for (size_t i = 0; i < count; i++) columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

/* The bytes of `text` that fit into `width` columns, broken at a space where there is one. */
static size_t line_length(const char *text, int width)
{
    const size_t count = strlen(text);
    if (terminal_columns(text, count) <= width) return count;
    size_t at = 0, space = 0;
    for (int columns = 0; at < count; at++) {
        columns += ((unsigned char)text[at] & 0xc0) != 0x80;
        if (columns > width) break;
        if (text[at] == ' ') space = at;
    }
    return space > 0 ? space : at;
}

Status terminal_wrap(Bytes *out, const char *text, int indent, int width, int lines)
{
    for (int line = 0; line < lines; line++) {
        const bool last = line == lines - 1;
        size_t length = line_length(text, width);
        const bool cut = last && text[length] != '\0';
        if (cut) length = line_length(text, width - 3);
        if (line > 0) TRY(bytes_print(out, "\n%*s", indent, ""));
        TRY(bytes_append(out, text, length));
        if (cut) TRY(bytes_text(out, "..."));
        text += length;
        while (*text == ' ') text++;
        if (*text == '\0') break;
    }
    return STATUS_OK;
}

const char *clock_text(char text[16], double seconds)
{
    const double longest = 1000 * 3600 - 1; /* what three digits of hours hold */
    const unsigned whole = seconds > 0 ? (unsigned)lround(fmin(seconds, longest)) : 0;
    const unsigned hours = whole / 3600 % 1000, minutes = whole / 60 % 60;
    if (hours > 0) {
        snprintf(text, 16, "%u:%02u:%02u", hours, minutes, whole % 60);
    } else {
        snprintf(text, 16, "%u:%02u", minutes, whole % 60);
    }
    return text;
}

static const char *scaled(char text[16], double value, const char *const *suffix, int suffixes)
{
    int power = 0;
    while (value >= 999.5 && power < suffixes - 1) {
        value /= 1000;
        power++;
    }
    const int digits = power == 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(text, 16, "%.*f%s", digits, value, suffix[power]);
    return text;
}

const char *count_text(char text[16], double count)
{
    static const char *const suffix[] = {"", "k", "M", "G", "T"};
    return scaled(text, count, suffix, 5);
}

const char *bytes_text_of(char text[16], double bytes)
{
    static const char *const suffix[] = {" B", " kB", " MB", " GB", " TB"};
    return scaled(text, bytes, suffix, 5);
}
