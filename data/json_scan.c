#include "data/json_scan.h"

#include "data/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct Scanner {
    const char *text;
    size_t count, at;
    int depth;
    Status code;
    JsonPlaces *places;
} Scanner;

size_t json_utf8_length(const char *text, size_t count)
{
    if (count == 0) return 0;
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] < 0x80) return 1;

    const size_t length = byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || length > count) return 0;
    /* the second byte is where overlong forms, surrogates and too large values show */
    const unsigned char low = byte[0] == 0xe0 ? 0xa0 : byte[0] == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = byte[0] == 0xed ? 0x9f : byte[0] == 0xf4 ? 0x8f : 0xbf;
    if (byte[1] < low || byte[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if (byte[i] < 0x80 || byte[i] > 0xbf) return 0;
    }
    return length;
}

static bool ended(const Scanner *scanner)
{
    return scanner->at >= scanner->count;
}

/* The byte to come; NUL at the end, which no rule accepts. */
static char ahead(const Scanner *scanner)
{
    return ended(scanner) ? '\0' : scanner->text[scanner->at];
}

static bool digit_ahead(const Scanner *scanner)
{
    return ahead(scanner) >= '0' && ahead(scanner) <= '9';
}

static bool accept(Scanner *scanner, char wanted)
{
    if (ended(scanner) || ahead(scanner) != wanted) return false;
    scanner->at++;
    return true;
}

static void skip_space(Scanner *scanner)
{
    while (!ended(scanner) && memchr(" \t\r\n", ahead(scanner), 4) != NULL) scanner->at++;
}

static Status fail_expected(const Scanner *scanner, const char *expected)
{
    char found[32] = "the end";
    if (!ended(scanner)) {
        const unsigned char byte = (unsigned char)ahead(scanner);
        const bool shown = byte > 0x20 && byte < 0x7f;
        snprintf(found, sizeof found, shown ? "'%c'" : "byte 0x%02x", byte);
    }
    return status_fail(scanner->code, "expected %s, found %s", expected, found);
}

static Status remember(Scanner *scanner, size_t key, size_t parent)
{
    JsonPlaces *places = scanner->places;
    if (places->count == JSON_VALUES_MAX) {
        return status_fail(scanner->code, "more than %d values", JSON_VALUES_MAX);
    }
    if (places->count == places->capacity) {
        const size_t capacity = places->capacity * 2 + 16;
        void *block = places->place;
        TRY(memory_resize(&block, capacity * sizeof *places->place));
        places->place = block;
        places->capacity = capacity;
    }
    places->place[places->count++] =
        (JsonPlace){.key = key, .value = scanner->at, .parent = parent};
    return STATUS_OK;
}

static Status scan_digits(Scanner *scanner, const char *expected)
{
    if (!digit_ahead(scanner)) return fail_expected(scanner, expected);
    while (digit_ahead(scanner)) scanner->at++;
    return STATUS_OK;
}

static Status scan_number(Scanner *scanner)
{
    const size_t start = scanner->at;
    (void)accept(scanner, '-');
    if (accept(scanner, '0')) {
        if (digit_ahead(scanner)) {
            scanner->at = start;
            return status_fail(scanner->code, "a number must not begin with 0");
        }
    } else {
        TRY(scan_digits(scanner, "a digit"));
    }
    if (accept(scanner, '.')) TRY(scan_digits(scanner, "a digit after the point"));
    if (accept(scanner, 'e') || accept(scanner, 'E')) {
        if (!accept(scanner, '+')) (void)accept(scanner, '-');
        TRY(scan_digits(scanner, "a digit in the exponent"));
    }
    /* cJSON would cut a longer one short */
    if (scanner->at - start > JSON_NUMBER_MAX) {
        scanner->at = start;
        return status_fail(scanner->code, "a number of more than %d characters", JSON_NUMBER_MAX);
    }
    return STATUS_OK;
}

/* Four hex digits behind \u. */
static Status scan_unit(Scanner *scanner, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = ended(scanner) ? NULL : memchr(digits, ahead(scanner), 22);
        if (digit == NULL) return fail_expected(scanner, "four hex digits after \\u");
        const uint32_t value = (uint32_t)(digit - digits);
        *unit = *unit * 16 + (value < 16 ? value : value - 6);
        scanner->at++;
    }
    return STATUS_OK;
}

static Status scan_escape(Scanner *scanner)
{
    const size_t start = scanner->at - 1;
    if (!accept(scanner, 'u')) {
        if (ended(scanner) || memchr("\"\\/bfnrt", ahead(scanner), 8) == NULL) {
            return fail_expected(scanner, "an escape such as \\n");
        }
        scanner->at++;
        return STATUS_OK;
    }
    uint32_t unit, low = 0;
    TRY(scan_unit(scanner, &unit));
    if (unit == 0) {
        scanner->at = start;
        return status_fail(scanner->code, "\\u0000 is not accepted");
    }
    bool alone = unit >= 0xdc00 && unit <= 0xdfff;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        if (accept(scanner, '\\') && accept(scanner, 'u')) TRY(scan_unit(scanner, &low));
        alone = low < 0xdc00 || low > 0xdfff;
    }
    if (alone) {
        scanner->at = start;
        return status_fail(scanner->code, "half of a surrogate pair, \\u%04x", (unsigned)unit);
    }
    return STATUS_OK;
}

static Status scan_text(Scanner *scanner)
{
    scanner->at++;
    while (!accept(scanner, '"')) {
        if (ended(scanner)) return fail_expected(scanner, "'\"'");
        const unsigned char byte = (unsigned char)ahead(scanner);
        if (byte < 0x20) {
            return status_fail(scanner->code, "control character 0x%02x in text", byte);
        }
        if (accept(scanner, '\\')) {
            TRY(scan_escape(scanner));
            continue;
        }
        const size_t length =
            json_utf8_length(scanner->text + scanner->at, scanner->count - scanner->at);
        if (length == 0) return status_fail(scanner->code, "byte 0x%02x is not UTF-8", byte);
        scanner->at += length;
    }
    return STATUS_OK;
}

static Status scan_literal(Scanner *scanner)
{
    static const char *const literals[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        const size_t length = strlen(literals[i]);
        if (scanner->count - scanner->at >= length &&
            memcmp(scanner->text + scanner->at, literals[i], length) == 0) {
            scanner->at += length;
            return STATUS_OK;
        }
    }
    return fail_expected(scanner, "a value");
}

static Status scan_value(Scanner *scanner, size_t key, size_t parent);

static Status scan_member(Scanner *scanner, size_t parent, bool named)
{
    skip_space(scanner);
    const size_t key = scanner->at;
    if (!named) return scan_value(scanner, key, parent);

    if (ahead(scanner) != '"') return fail_expected(scanner, "a key in quotes");
    TRY(scan_text(scanner));
    skip_space(scanner);
    if (!accept(scanner, ':')) return fail_expected(scanner, "':'");
    skip_space(scanner);
    return scan_value(scanner, key, parent);
}

static Status scan_container(Scanner *scanner, char closing)
{
    const size_t self = scanner->places->count - 1;
    if (scanner->depth == JSON_DEPTH_MAX) {
        return status_fail(scanner->code, "nested deeper than %d", JSON_DEPTH_MAX);
    }
    scanner->at++;
    skip_space(scanner);
    if (accept(scanner, closing)) return STATUS_OK;

    scanner->depth++;
    do {
        TRY(scan_member(scanner, self, closing == '}'));
        skip_space(scanner);
    } while (accept(scanner, ','));
    scanner->depth--;
    if (accept(scanner, closing)) return STATUS_OK;
    return fail_expected(scanner, closing == '}' ? "',' or '}'" : "',' or ']'");
}

static Status scan_value(Scanner *scanner, size_t key, size_t parent)
{
    TRY(remember(scanner, key, parent));
    const char first = ahead(scanner);
    if (first == '{') return scan_container(scanner, '}');
    if (first == '[') return scan_container(scanner, ']');
    if (first == '"') return scan_text(scanner);
    if (first == '-' || digit_ahead(scanner)) return scan_number(scanner);
    return scan_literal(scanner);
}

Status json_scan(JsonPlaces *places, size_t *stopped, Status code, const char *text, size_t start,
                 size_t count)
{
    Scanner scanner = {text, count, start, 0, code, places};
    skip_space(&scanner);
    Status status = scan_value(&scanner, scanner.at, 0);
    if (status == STATUS_OK) {
        skip_space(&scanner);
        if (!ended(&scanner)) status = fail_expected(&scanner, "the end of the text");
    }
    *stopped = scanner.at;
    return status;
}
