/* JSON as strangers write it: what is accepted and what is refused, where and why. Every case is of
 * our own making, after the shapes of RFC 8259; then own data in large files and long lines. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/json.h"
#include "data/tasks/jsonl.h"

#include <sys/resource.h>

typedef struct Case {
    const char *text;
    const char *refusal; /* "line:column: why"; NULL: accepted */
} Case;

/* The text may hold a NUL, which TEXT counts. */
static void try_case(const char *text, size_t count, const char *refusal)
{
    JsonDocument *document;
    const Status status = json_parse(&document, STATUS_DATA, "a", text, count);
    char expected[256];
    snprintf(expected, sizeof expected, "a:%s", refusal != NULL ? refusal : "");
    if (refusal == NULL && status != STATUS_OK) {
        print_error("%s\n    refused: %s\n", text, status_message());
        fail();
    }
    if (refusal != NULL && (status != STATUS_DATA || strcmp(status_message(), expected) != 0)) {
        print_error("%s\n    %s\n    expected: %s\n", text,
                    status == STATUS_OK ? "accepted" : status_message(), expected);
        fail();
    }
    if (status == STATUS_OK) json_free(document);
}

static void try_all(const Case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        try_case(cases[i].text, strlen(cases[i].text), cases[i].refusal);
    }
}
#define TRY_ALL(cases) try_all(cases, sizeof(cases) / sizeof *(cases))

static void numbers(void **state)
{
    (void)state;
    static const Case cases[] = {
        {"0", NULL},
        {"-0", NULL},
        {"-0.0", NULL},
        {"10", NULL},
        {"1.5", NULL},
        {"0.0001", NULL},
        {"1e5", NULL},
        {"1E5", NULL},
        {"1e+5", NULL},
        {"1e-5", NULL},
        {"0e0", NULL},
        {"1.0e0", NULL},
        {"1e308", NULL},
        {"5e-324", NULL},
        {"1e-400", NULL},           /* becomes 0 */
        {"9007199254740993", NULL}, /* a number; no integer, see test_json.c */
        {"18446744073709551615", NULL},
        {" 1 ", NULL},
        {"01", "1:1: a number must not begin with 0"},
        {"-01", "1:1: a number must not begin with 0"},
        {"00", "1:1: a number must not begin with 0"},
        {"+1", "1:1: expected a value, found '+'"},
        {"--1", "1:2: expected a digit, found '-'"},
        {"-", "1:2: expected a digit, found the end"},
        {"- 1", "1:2: expected a digit, found byte 0x20"},
        {"1.", "1:3: expected a digit after the point, found the end"},
        {"-1.", "1:4: expected a digit after the point, found the end"},
        {".5", "1:1: expected a value, found '.'"},
        {"-.5", "1:2: expected a digit, found '.'"},
        {"1.e5", "1:3: expected a digit after the point, found 'e'"},
        {"1..5", "1:3: expected a digit after the point, found '.'"},
        {"1.2.3", "1:4: expected the end of the text, found '.'"},
        {"1e", "1:3: expected a digit in the exponent, found the end"},
        {"1e+", "1:4: expected a digit in the exponent, found the end"},
        {"1e+-5", "1:4: expected a digit in the exponent, found '-'"},
        {"1e5.5", "1:4: expected the end of the text, found '.'"},
        {"1ee5", "1:3: expected a digit in the exponent, found 'e'"},
        {"0x10", "1:2: expected the end of the text, found 'x'"},
        {"0b1", "1:2: expected the end of the text, found 'b'"},
        {"1_000", "1:2: expected the end of the text, found '_'"},
        {"1,5", "1:2: expected the end of the text, found ','"},
        {"1 000", "1:3: expected the end of the text, found '0'"},
        {"1f", "1:2: expected the end of the text, found 'f'"},
        {"1L", "1:2: expected the end of the text, found 'L'"},
        {"NaN", "1:1: expected a value, found 'N'"},
        {"nan", "1:1: expected a value, found 'n'"},
        {"Infinity", "1:1: expected a value, found 'I'"},
        {"-Infinity", "1:2: expected a digit, found 'I'"},
        {"-inf", "1:2: expected a digit, found 'i'"},
        {"1#INF", "1:2: expected the end of the text, found '#'"},
        {"1e999", "1:1: number out of range"},
        {"-1e999", "1:1: number out of range"},
        {"[1, 2e400]", "1:5: number out of range"},
        {"\xd9\xa1", "1:1: expected a value, found byte 0xd9"},     /* an Arabic digit */
        {"\xef\xbc\x91", "1:1: expected a value, found byte 0xef"}, /* a full-width one */
    };
    TRY_ALL(cases);
}

static void texts(void **state)
{
    (void)state;
    static const Case cases[] = {
        {"\"\"", NULL},
        {"\"a\"", NULL},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", NULL},
        {"\"\\u0041\\u00e9\\u20AC\"", NULL},
        {"\"\\ud83d\\ude00\\uD83D\\uDE00\"", NULL},
        {"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", NULL},
        {"\"\x7f\"", NULL},         /* DEL is no control character to RFC 8259 */
        {"\"\xe2\x80\xa8\"", NULL}, /* a line separator */
        {"\"\xef\xbf\xbf\"", NULL}, /* a noncharacter is UTF-8 */
        {"\"\xf4\x8f\xbf\xbf\"", NULL},
        {"\"/\"", NULL},
        {"\"\\u0001\"", NULL},
        {"\"", "1:2: expected '\"', found the end"},
        {"\"a", "1:3: expected '\"', found the end"},
        {"\"\\", "1:3: expected an escape such as \\n, found the end"},
        {"\"\\\"", "1:4: expected '\"', found the end"},
        {"\"\\a\"", "1:3: expected an escape such as \\n, found 'a'"},
        {"\"\\'\"", "1:3: expected an escape such as \\n, found '''"},
        {"\"\\x41\"", "1:3: expected an escape such as \\n, found 'x'"},
        {"\"\\0\"", "1:3: expected an escape such as \\n, found '0'"},
        {"\"\\U0041\"", "1:3: expected an escape such as \\n, found 'U'"},
        {"\"\\u\"", "1:4: expected four hex digits after \\u, found '\"'"},
        {"\"\\u004\"", "1:7: expected four hex digits after \\u, found '\"'"},
        {"\"\\u004g\"", "1:7: expected four hex digits after \\u, found 'g'"},
        {"\"\\u-041\"", "1:4: expected four hex digits after \\u, found '-'"},
        {"\"\\u 041\"", "1:4: expected four hex digits after \\u, found byte 0x20"},
        {"\"\\u0000\"", "1:2: \\u0000 is not accepted"},
        {"{\"a\\u0000b\": 1}", "1:4: \\u0000 is not accepted"},
        {"\"\\ud800\"", "1:2: half of a surrogate pair, \\ud800"},
        {"\"\\udc00\"", "1:2: half of a surrogate pair, \\udc00"},
        {"\"\\ud800x\"", "1:2: half of a surrogate pair, \\ud800"},
        {"\"\\ud800\\n\"", "1:2: half of a surrogate pair, \\ud800"},
        {"\"\\ud800\\ud800\"", "1:2: half of a surrogate pair, \\ud800"},
        {"\"\\ude00\\ud83d\"", "1:2: half of a surrogate pair, \\ude00"},
        {"\"\\ud83d\\u00\"", "1:12: expected four hex digits after \\u, found '\"'"},
        {"\"a\tb\"", "1:3: control character 0x09 in text"},
        {"\"a\nb\"", "1:3: control character 0x0a in text"},
        {"\"a\rb\"", "1:3: control character 0x0d in text"},
        {"\"\x1b[2J\"", "1:2: control character 0x1b in text"},
        {"\"\x01\"", "1:2: control character 0x01 in text"},
        {"\"\x80\"", "1:2: byte 0x80 is not UTF-8"},
        {"\"\xbf\"", "1:2: byte 0xbf is not UTF-8"},
        {"\"\xc0\x80\"", "1:2: byte 0xc0 is not UTF-8"}, /* an overlong NUL */
        {"\"\xc1\xbf\"", "1:2: byte 0xc1 is not UTF-8"},
        {"\"\xc3\"", "1:2: byte 0xc3 is not UTF-8"},
        {"\"\xc3(\"", "1:2: byte 0xc3 is not UTF-8"},
        {"\"\xe0\x9f\xbf\"", "1:2: byte 0xe0 is not UTF-8"},
        {"\"\xe2\x82\"", "1:2: byte 0xe2 is not UTF-8"},
        {"\"\xed\xb0\x80\"", "1:2: byte 0xed is not UTF-8"},             /* a surrogate */
        {"\"\xed\xa0\xbd\xed\xb8\x80\"", "1:2: byte 0xed is not UTF-8"}, /* CESU-8 */
        {"\"\xf0\x8f\xbf\xbf\"", "1:2: byte 0xf0 is not UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "1:2: byte 0xf4 is not UTF-8"},
        {"\"\xf5\x80\x80\x80\"", "1:2: byte 0xf5 is not UTF-8"},
        {"\"\xf8\x88\x80\x80\x80\"", "1:2: byte 0xf8 is not UTF-8"},
        {"\"\xfe\xff\"", "1:2: byte 0xfe is not UTF-8"},
        {"\"caf\xe9\"", "1:5: byte 0xe9 is not UTF-8"}, /* Latin-1 */
        {"\"\xc3\xa9\xff\"", "1:3: byte 0xff is not UTF-8"},
        {"'a'", "1:1: expected a value, found '''"},
        {"\"a\"b", "1:4: expected the end of the text, found 'b'"},
        {"\"a\" \"b\"", "1:5: expected the end of the text, found '\"'"},
        {"\xe2\x80\x9c"
         "a\xe2\x80\x9d",
         "1:1: expected a value, found byte 0xe2"},
    };
    TRY_ALL(cases);
}

static void arrays(void **state)
{
    (void)state;
    static const Case cases[] = {
        {"[]", NULL},
        {"[ ]", NULL},
        {"[[]]", NULL},
        {"[1, \"a\", null, true, false, {}, []]", NULL},
        {"\t[\n1\r\n,\t2 ]\n", NULL},
        {"[", "1:2: expected a value, found the end"},
        {"[1", "1:3: expected ',' or ']', found the end"},
        {"[1,", "1:4: expected a value, found the end"},
        {"[1,]", "1:4: expected a value, found ']'"},
        {"[,1]", "1:2: expected a value, found ','"},
        {"[,]", "1:2: expected a value, found ','"},
        {"[1,,2]", "1:4: expected a value, found ','"},
        {"[1 2]", "1:4: expected ',' or ']', found '2'"},
        {"[1;2]", "1:3: expected ',' or ']', found ';'"},
        {"[1}", "1:3: expected ',' or ']', found '}'"},
        {"[\"a\": 1]", "1:5: expected ',' or ']', found ':'"},
        {"]", "1:1: expected a value, found ']'"},
        {"[]]", "1:3: expected the end of the text, found ']'"},
        {"[][]", "1:3: expected the end of the text, found '['"},
        {"[\n1,\n\n2\n3]", "5:1: expected ',' or ']', found '3'"},
        {"(1)", "1:1: expected a value, found '('"},
        {"[1, ...]", "1:5: expected a value, found '.'"},
        {"[*]", "1:2: expected a value, found '*'"},
    };
    TRY_ALL(cases);
}

static void objects(void **state)
{
    (void)state;
    static const Case cases[] = {
        {"{}", NULL},
        {"{ }", NULL},
        {"{\"\": 0}", NULL},
        {"{\"a\": {\"a\": 1}}", NULL},
        {"{\"a\": 1, \"A\": 2}", NULL},
        {"{\"\xc3\xa9\": 1, \"e\xcc\x81\": 2}", NULL}, /* alike on paper, other bytes */
        {"{\"a\" : 1 , \"b\" : 2}", NULL},
        {"{\"__proto__\": 1, \"constructor\": 2}", NULL},
        {"{", "1:2: expected a key in quotes, found the end"},
        {"{\"a\"", "1:5: expected ':', found the end"},
        {"{\"a\":", "1:6: expected a value, found the end"},
        {"{\"a\":1", "1:7: expected ',' or '}', found the end"},
        {"{\"a\":1,", "1:8: expected a key in quotes, found the end"},
        {"{\"a\":1,}", "1:8: expected a key in quotes, found '}'"},
        {"{,}", "1:2: expected a key in quotes, found ','"},
        {"{\"a\"}", "1:5: expected ':', found '}'"},
        {"{\"a\",1}", "1:5: expected ':', found ','"},
        {"{\"a\"=1}", "1:5: expected ':', found '='"},
        {"{\"a\"::1}", "1:6: expected a value, found ':'"},
        {"{\"a\":}", "1:6: expected a value, found '}'"},
        {"{\"a\":1 \"b\":2}", "1:8: expected ',' or '}', found '\"'"},
        {"{\"a\":1;\"b\":2}", "1:7: expected ',' or '}', found ';'"},
        {"{\"a\":1]", "1:7: expected ',' or '}', found ']'"},
        {"{a:1}", "1:2: expected a key in quotes, found 'a'"},
        {"{'a':1}", "1:2: expected a key in quotes, found '''"},
        {"{1:1}", "1:2: expected a key in quotes, found '1'"},
        {"{null:1}", "1:2: expected a key in quotes, found 'n'"},
        {"{[]:1}", "1:2: expected a key in quotes, found '['"},
        {"}", "1:1: expected a value, found '}'"},
        {"{}}", "1:3: expected the end of the text, found '}'"},
        {"{}{}", "1:3: expected the end of the text, found '{'"},
        {"{} xyz", "1:4: expected the end of the text, found 'x'"},
        {"{\"a\":1,\"a\":2}", "1:8: a: repeated, first at 1:2"},
        {"{\"a\":1,\"a\":1}", "1:8: a: repeated, first at 1:2"},
        {"{\"\":1,\"\":2}", "1:7: : repeated, first at 1:2"},
        {"{\"a\":1,\"\\u0061\":2}", "1:8: a: repeated, first at 1:2"},
        {"{\"/\":1,\"\\/\":2}", "1:8: /: repeated, first at 1:2"},
        {"{\"a\":\n1,\n  \"a\":2}", "3:3: a: repeated, first at 1:2"},
        {"{\"x\":[{\"a\":1},{\"b\":1,\"b\":2}]}", "1:22: b: repeated, first at 1:16"},
    };
    TRY_ALL(cases);
}

static void what_stands_around_and_between(void **state)
{
    (void)state;
    static const Case cases[] = {
        {"true", NULL},
        {"false", NULL},
        {"null", NULL},
        {" \t\r\n null \t\r\n ", NULL},
        {"\xef\xbb\xbf"
         "1",
         NULL}, /* a byte order mark */
        {"", "1:1: expected a value, found the end"},
        {"   ", "1:4: expected a value, found the end"},
        {"\n\n", "3:1: expected a value, found the end"},
        {"\xef\xbb\xbf", "1:1: expected a value, found the end"},
        {"\xef\xbb", "1:1: expected a value, found byte 0xef"},
        {"1\xef\xbb\xbf", "1:2: expected the end of the text, found byte 0xef"},
        {"\xfe\xff", "1:1: expected a value, found byte 0xfe"}, /* UTF-16 */
        {"True", "1:1: expected a value, found 'T'"},
        {"tru", "1:1: expected a value, found 't'"},
        {"truee", "1:5: expected the end of the text, found 'e'"},
        {"nul", "1:1: expected a value, found 'n'"},
        {"nulll", "1:5: expected the end of the text, found 'l'"},
        {"None", "1:1: expected a value, found 'N'"},
        {"undefined", "1:1: expected a value, found 'u'"},
        {"null null", "1:6: expected the end of the text, found 'n'"},
        {"// a\n1", "1:1: expected a value, found '/'"},
        {"/* a */ 1", "1:1: expected a value, found '/'"},
        {"1 # a", "1:3: expected the end of the text, found '#'"},
        {"[1, // a\n2]", "1:5: expected a value, found '/'"},
        {"\v1", "1:1: expected a value, found byte 0x0b"},
        {"\f1", "1:1: expected a value, found byte 0x0c"},
        {"\xc2\xa0"
         "1",
         "1:1: expected a value, found byte 0xc2"}, /* a no-break space */
        {"\xe2\x80\x8b"
         "1",
         "1:1: expected a value, found byte 0xe2"},
        {"<html>", "1:1: expected a value, found '<'"},
        {"a", "1:1: expected a value, found 'a'"},
        {"\x1b[31m", "1:1: expected a value, found byte 0x1b"},
        {"[1]\n\n  x", "3:3: expected the end of the text, found 'x'"},
    };
    TRY_ALL(cases);
    try_case("1\0", 2, "1:2: expected the end of the text, found byte 0x00");
    try_case("\0", 1, "1:1: expected a value, found byte 0x00");
    try_case("\"a\0b\"", 5, "1:3: control character 0x00 in text");
    try_case("[1,\0]", 5, "1:4: expected a value, found byte 0x00");
}

/* `count` times `piece`. */
static void repeat(Bytes *text, const char *piece, int count)
{
    for (int i = 0; i < count; i++) assert_ok(bytes_text(text, piece));
}

static void depth_ends_at_32_whatever_nests(void **state)
{
    (void)state;
    static const char *const opening[] = {"[", "{\"a\":", "[{\"a\":"};
    static const char *const closing[] = {"]", "}", "}]"};
    static const int levels[] = {1, 1, 2};
    for (int i = 0; i < 3; i++) {
        for (int extra = 0; extra < 2; extra++) {
            Bytes text = {0};
            char refusal[64];
            const int pairs = 32 / levels[i] + extra;
            repeat(&text, opening[i], pairs);
            assert_ok(bytes_text(&text, "1"));
            repeat(&text, closing[i], pairs);
            snprintf(refusal, sizeof refusal, "1:%zu: nested deeper than 32",
                     strlen(opening[i]) * (size_t)(32 / levels[i]) + 1);
            try_case(text.data, text.count, extra > 0 ? refusal : NULL);
            bytes_free(&text);
        }
    }
    /* Without an end: the stack is not what stops it. */
    Bytes text = {0};
    repeat(&text, "[", 1 << 20);
    try_case(text.data, text.count, "1:33: nested deeper than 32");
    bytes_free(&text);
}

static void values_end_at_a_million(void **state)
{
    (void)state;
    Bytes text = {0};
    assert_ok(bytes_text(&text, "["));
    repeat(&text, "0,", (1 << 20) - 2);
    assert_ok(bytes_text(&text, "0]"));
    try_case(text.data, text.count, NULL);
    text.count -= 2;
    assert_ok(bytes_text(&text, "0,0]"));
    try_case(text.data, text.count, "1:2097152: more than 1048576 values");
    bytes_free(&text);
}

/* ---- own data: lines ---- */

static void a_long_line_is_refused_by_its_number(void **state)
{
    (void)state;
    Bytes text = {0};
    assert_ok(bytes_text(&text, "{\"text\": \"short\"}\n{\"text\": \""));
    const size_t start = strlen("{\"text\": \"short\"}\n");
    repeat(&text, "x", (1 << 20) - 12);
    assert_ok(bytes_text(&text, "\"}"));
    assert_int_equal(text.count - start, 1 << 20);
    assert_ok(io_publish(in("fits.jsonl"), text.data, text.count));
    text.count -= 2;
    assert_ok(bytes_text(&text, "x\"}\n"));
    assert_ok(io_publish(in("long.jsonl"), text.data, text.count));
    bytes_free(&text);

    JsonlRows rows = {0};
    assert_ok(jsonl_read(&rows, in("fits.jsonl"), JSONL_TEXT));
    assert_int_equal(rows.count, 2);
    jsonl_free(&rows);
    assert_fails(jsonl_read(&rows, in("long.jsonl"), JSONL_TEXT), STATUS_DATA,
                 "/long.jsonl:2:1: a line of more than 1048576 bytes");
    jsonl_free(&rows);
}

static void a_line_says_its_number_and_column(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"text\": \"a\"}\n\n \t\n{\"text\": 1}\n", ":4:2: text: expected text, found a number"},
        {"{\"text\": \"a\"}\r\n{\"text\": \"\xff\"}", ":2:11: byte 0xff is not UTF-8"},
        {"{\"text\": \"a\"} {\"text\": \"b\"}\n", ":1:15: expected the end of the text, found '{'"},
        {"{\"text\": \"a\"\n}", ":1:13: expected ',' or '}', found the end"},
        {"[\"a\"]", ":1:1: expected an object"},
        {"{\"txt\": \"a\"}", ":1:1: text: missing"},
        {"{\"text\": \"a\", \"text\": \"b\"}", ":1:15: text: repeated, first at 1:2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        JsonlRows rows = {0};
        assert_ok(io_publish(in("a.jsonl"), cases[i][0], strlen(cases[i][0])));
        assert_fails(jsonl_read(&rows, in("a.jsonl"), JSONL_TEXT), STATUS_DATA, cases[i][1]);
        jsonl_free(&rows);
    }
    JsonlRows rows = {0};
    static const char with_nul[] = "{\"text\": \"a\"}\n\0\n";
    assert_ok(io_publish(in("a.jsonl"), with_nul, sizeof with_nul - 1));
    assert_fails(jsonl_read(&rows, in("a.jsonl"), JSONL_TEXT), STATUS_DATA,
                 ":2:1: expected a value, found byte 0x00");
    jsonl_free(&rows);
    assert_fails(jsonl_read(&rows, folder, JSONL_TEXT), STATUS_DATA, "not a regular file");
}

/* Freed memory is held back then. */
#if defined(__SANITIZE_ADDRESS__)
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static long peak_kilobytes(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_maxrss;
}

/* A file far larger than what is kept of it is read in the memory of a line. */
static void a_large_file_takes_the_memory_of_a_line(void **state)
{
    (void)state;
    enum { LINES = 320, WIDE = 100000 };
    FILE *file = fopen(in("wide.jsonl"), "wb");
    assert_non_null(file);
    Bytes line = {0};
    assert_ok(bytes_text(&line, "{\"prompt\": \"p\", \"ignored\": \""));
    repeat(&line, "y", WIDE);
    assert_ok(bytes_text(&line, "\"}\n"));
    for (int i = 0; i < LINES; i++) fwrite(line.data, 1, line.count, file);
    assert_int_equal(fclose(file), 0);
    bytes_free(&line);

    JsonlRows rows = {0};
    const long before = peak_kilobytes();
    assert_ok(jsonl_read(&rows, in("wide.jsonl"), JSONL_PROMPTS));
    assert_int_equal(rows.count, LINES);
    jsonl_free(&rows);
    const long grown = peak_kilobytes() - before;
    assert_true(sanitized || grown < 4096); /* of 32 MB */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(texts),
        cmocka_unit_test(arrays),
        cmocka_unit_test(objects),
        cmocka_unit_test(what_stands_around_and_between),
        cmocka_unit_test(depth_ends_at_32_whatever_nests),
        IN_FOLDER(a_large_file_takes_the_memory_of_a_line),
        IN_FOLDER(a_long_line_is_refused_by_its_number),
        IN_FOLDER(a_line_says_its_number_and_column),
        cmocka_unit_test(values_end_at_a_million),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
