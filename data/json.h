/* Strict JSON: one door to cJSON, which alone would accept duplicate keys, `01`, `1e999`, bad
 * UTF-8 and trailing text. Every failure says name:line:column.
 *
 * Limits: depth 32; 2^20 values; numbers finite, at most 63 characters; integers exact up to 2^53;
 * no \u0000. A byte order mark in front is skipped. Lines and columns count from 1, columns in
 * characters. */
#ifndef DATA_JSON_H
#define DATA_JSON_H

#include "data/io.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct JsonDocument JsonDocument; /* owns the tree and the positions */

/* A value inside a document; a plain handle, valid while the document lives. */
typedef struct Json {
    const JsonDocument *document;
    const void *item; /* NULL: no such value */
} Json;

typedef enum JsonKind {
    JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT
} JsonKind;

/* Parses all of `text`; `name` (a path, "--set") begins every message. Failures carry `code`
 * (STATUS_SETTINGS for settings, STATUS_DATA for data), here and in the getters below. */
Status json_parse(JsonDocument **document, Status code, const char *name, const char *text,
                  size_t count);
/* The same for one line of a file of many (JSONL): positions say line `line` of `name`. */
Status json_parse_line(JsonDocument **document, Status code, const char *name, int line,
                       const char *text, size_t count);
/* Reads a file of at most `cap` bytes, of the digest `expected` (may be NULL), and parses it. */
Status json_read(JsonDocument **document, Status code, const char *path, size_t cap,
                 const Digest *expected);
void json_free(JsonDocument *document);

Json json_root(const JsonDocument *document);
JsonKind json_kind(Json value);
const char *json_key(Json value);            /* its name in the object around it, or NULL */
Json json_first(Json container);             /* item == NULL at the end, and of no item */
Json json_next(Json value);
Json json_find(Json object, const char *key); /* item == NULL: absent */
int json_count(Json container);

/* Typed access; the wrong type is a failure with position, e.g.
 * "a.json:3:14: seed: expected an integer, found text". */
Status json_number(double *out, Json value);
Status json_integer(int64_t *out, Json value); /* |x| <= 2^53 */
Status json_bool(bool *out, Json value);
Status json_text(const char **out, Json value); /* UTF-8, lives with the document */
/* A member that must be there; *member has no item where it fails. */
Status json_get(Json *member, Json object, const char *key);
/* Typed access to such a member. */
Status json_get_number(double *out, Json object, const char *key);
Status json_get_integer(int64_t *out, Json object, const char *key);
Status json_get_text(const char **out, Json object, const char *key);
/* Whether text is UTF-8 without characters below U+0020. */
bool json_is_plain(const char *text);
/* "name:line:column: " + text, with the document's code. The place is that of the key where there
 * is one. */
Status json_fail(Json value, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "name:line:column: " in front of a failure's text; passes STATUS_OK through. */
Status json_context(Status status, Json value);

/* Appends what differs between two objects, members of members too: "ppo.clip_range: 0.2 -> 0.1",
 * separated by commas; of a long value (a hash) the name alone. */
Status json_differences(Bytes *out, Json before, Json now);

/* Writing: a flat stream of calls on a growing text. `indent` 0 writes one line. Doubles are
 * written in the fewest of 15, 16 or 17 digits that read back to the same bits, integers up to
 * 2^53 without exponent; not finite: null. A byte that is not UTF-8 becomes U+FFFD, NUL U+2400;
 * control and direction characters are written as \uXXXX, so that a terminal may show them. */
typedef struct JsonWriter {
    Bytes *out;
    int indent;
    int depth;
    bool first[40];    /* by depth: nothing written yet */
    char closing[40];  /* by depth */
    Status status; /* the first failure; later calls do nothing */
} JsonWriter;

JsonWriter json_writer(Bytes *out, int indent);
/* `bracket` is '{' or '['; here and below `key` is NULL inside arrays. */
void json_open(JsonWriter *writer, const char *key, char bracket);
void json_close(JsonWriter *writer);
void json_put_number(JsonWriter *writer, const char *key, double value);
/* In the fewest of 6 to 9 digits that read back to the same float32. */
void json_put_float(JsonWriter *writer, const char *key, float value);
void json_put_integer(JsonWriter *writer, const char *key, int64_t value);
void json_put_bool(JsonWriter *writer, const char *key, bool value);
void json_put_text(JsonWriter *writer, const char *key, const char *text);
void json_put_bytes(JsonWriter *writer, const char *key, const char *text, size_t count);
void json_put_value(JsonWriter *writer, const char *key, Json value); /* with all it holds */
Status json_done(JsonWriter *writer); /* a final newline where indented; the first failure */

/* A double as json_put_number writes it. */
void json_number_text(char text[32], double value);

#endif
