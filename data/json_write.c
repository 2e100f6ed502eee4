#include "data/json.h"

#include "data/json_scan.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

JsonWriter json_writer(Bytes *out, int indent)
{
    JsonWriter writer = {.out = out, .indent = indent};
    writer.first[0] = true;
    return writer;
}

static void put(JsonWriter *writer, const char *text, size_t count)
{
    if (writer->status == STATUS_OK) writer->status = bytes_append(writer->out, text, count);
}

static void put_literal(JsonWriter *writer, const char *text)
{
    put(writer, text, strlen(text));
}

static void put_line(JsonWriter *writer)
{
    if (writer->indent == 0) return;
    put(writer, "\n", 1);
    for (int i = 0; i < writer->indent * writer->depth; i++) put(writer, " ", 1);
}

/* A character whose well-formed UTF-8 has up to 3 bytes; 0 for longer ones. */
static unsigned character_of(const char *text, size_t length)
{
    const unsigned char *byte = (const unsigned char *)text;
    if (length == 1) return byte[0];
    if (length == 2) return (byte[0] & 0x1fu) << 6 | (byte[1] & 0x3fu);
    if (length > 3) return 0;
    return (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
}

/* What a terminal would act on, or would turn or break the line. */
static bool is_control(unsigned point)
{
    return (point > 0 && point < 0x20) || (point >= 0x7f && point < 0xa0) || point == 0x061c ||
           point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

/* One character of text, escaped where JSON or the reader needs it; the bytes it took. */
static size_t put_character(JsonWriter *writer, const char *text, size_t count)
{
    const size_t length = json_utf8_length(text, count);
    const unsigned char byte = (unsigned char)*text;
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    const char *special = byte == 0 ? NULL : strchr(plain, byte);
    char escape[8];
    if (length == 0) {
        put_literal(writer, "\xef\xbf\xbd"); /* U+FFFD */
        return 1;
    }
    if (byte == 0) {
        put_literal(writer, "\xe2\x90\x80"); /* U+2400 */
    } else if (special != NULL) {
        snprintf(escape, sizeof escape, "\\%c", letter[special - plain]);
        put_literal(writer, escape);
    } else if (is_control(character_of(text, length))) {
        snprintf(escape, sizeof escape, "\\u%04x", character_of(text, length));
        put_literal(writer, escape);
    } else {
        put(writer, text, length);
    }
    return length;
}

static void put_quoted(JsonWriter *writer, const char *text, size_t count)
{
    put(writer, "\"", 1);
    for (size_t i = 0; i < count;) i += put_character(writer, text + i, count - i);
    put(writer, "\"", 1);
}

/* What stands in front of a value: comma, line, key. */
static void begin(JsonWriter *writer, const char *key)
{
    if (!writer->first[writer->depth]) put(writer, ",", 1);
    writer->first[writer->depth] = false;
    if (writer->depth > 0) put_line(writer);
    if (key == NULL) return;
    put_quoted(writer, key, strlen(key));
    put_literal(writer, writer->indent > 0 ? ": " : ":");
}

void json_open(JsonWriter *writer, const char *key, char bracket)
{
    assert(bracket == '{' || bracket == '[');
    assert(writer->depth < JSON_DEPTH_MAX);
    begin(writer, key);
    put(writer, &bracket, 1);
    writer->depth++;
    writer->first[writer->depth] = true;
    writer->closing[writer->depth] = bracket == '{' ? '}' : ']';
}

void json_close(JsonWriter *writer)
{
    assert(writer->depth > 0);
    const char closing = writer->closing[writer->depth];
    const bool empty = writer->first[writer->depth];
    writer->depth--;
    if (!empty) put_line(writer);
    put(writer, &closing, 1);
}

void json_number_text(char text[32], double value)
{
    if (!isfinite(value)) {
        snprintf(text, 32, "null");
    } else if (value == trunc(value) && fabs(value) <= 9007199254740992.0) {
        snprintf(text, 32, "%.0f", value);
    } else {
        int digits = 15;
        do {
            snprintf(text, 32, "%.*g", digits, value);
        } while (strtod(text, NULL) != value && digits++ < 17);
    }
}

void json_put_number(JsonWriter *writer, const char *key, double value)
{
    char text[32];
    json_number_text(text, value);
    begin(writer, key);
    put_literal(writer, text);
}

void json_put_float(JsonWriter *writer, const char *key, float value)
{
    char text[32] = "null";
    int digits = 6;
    while (isfinite(value)) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value || digits++ == 9) break;
    }
    begin(writer, key);
    put_literal(writer, text);
}

void json_put_integer(JsonWriter *writer, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    begin(writer, key);
    put_literal(writer, text);
}

void json_put_bool(JsonWriter *writer, const char *key, bool value)
{
    begin(writer, key);
    put_literal(writer, value ? "true" : "false");
}

void json_put_text(JsonWriter *writer, const char *key, const char *text)
{
    json_put_bytes(writer, key, text, strlen(text));
}

void json_put_bytes(JsonWriter *writer, const char *key, const char *text, size_t count)
{
    begin(writer, key);
    put_quoted(writer, text, count);
}

static void put_scalar(JsonWriter *writer, const char *key, Json value)
{
    bool flag;
    double number;
    const char *text;
    const JsonKind kind = json_kind(value);
    if (kind == JSON_BOOL && json_bool(&flag, value) == STATUS_OK) {
        json_put_bool(writer, key, flag);
    } else if (kind == JSON_NUMBER && json_number(&number, value) == STATUS_OK) {
        json_put_number(writer, key, number);
    } else if (kind == JSON_TEXT && json_text(&text, value) == STATUS_OK) {
        json_put_text(writer, key, text);
    } else {
        json_put_number(writer, key, NAN);
    }
}

void json_put_value(JsonWriter *writer, const char *key, Json value)
{
    const JsonKind kind = json_kind(value);
    if (kind != JSON_ARRAY && kind != JSON_OBJECT) {
        put_scalar(writer, key, value);
        return;
    }
    json_open(writer, key, kind == JSON_OBJECT ? '{' : '[');
    for (Json child = json_first(value); child.item != NULL; child = json_next(child)) {
        json_put_value(writer, kind == JSON_OBJECT ? json_key(child) : NULL, child);
    }
    json_close(writer);
}

Status json_done(JsonWriter *writer)
{
    assert(writer->depth == 0);
    if (writer->indent > 0) put(writer, "\n", 1);
    return writer->status;
}
