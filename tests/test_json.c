/* json: what the scanner refuses and where it says so, typed access, writing. */
#include "tests/support.h"

#include "data/json.h"

#include <float.h>

/* Parses `text` as a.json; the failure's text, "" where there is none. */
static const char *complaint(const char *text)
{
    JsonDocument *document;
    const Status status = json_parse(&document, STATUS_SETTINGS, "a.json", text, strlen(text));
    if (status == STATUS_OK) {
        json_free(document);
        return "";
    }
    assert_int_equal(status, STATUS_SETTINGS);
    assert_null(document);
    return status_message();
}

static JsonDocument *parsed(const char *text)
{
    JsonDocument *document;
    assert_ok(json_parse(&document, STATUS_DATA, "a.json", text, strlen(text)));
    return document;
}

static void every_kind_of_value_is_read(void **state)
{
    (void)state;
    JsonDocument *document = parsed("\xef\xbb\xbf {\"n\": -1.5e3, \"i\": 42, \"yes\": true,"
                                    "\"t\": \"\\u00e9\\ud83d\\ude00\\n\", \"nil\": null,"
                                    "\"list\": [1, [], {}], \"N\": 2}");
    const Json root = json_root(document);
    assert_int_equal(json_kind(root), JSON_OBJECT);
    assert_int_equal(json_count(root), 7);
    assert_null(json_key(root));
    double number;
    assert_ok(json_get_number(&number, root, "n"));
    assert_true(number == -1500.0);
    int64_t integer;
    assert_ok(json_get_integer(&integer, root, "i"));
    assert_int_equal(integer, 42);
    bool flag = false;
    assert_ok(json_bool(&flag, json_find(root, "yes")));
    assert_true(flag);
    const char *text;
    assert_ok(json_get_text(&text, root, "t"));
    assert_string_equal(text, "\xc3\xa9\xf0\x9f\x98\x80\n");
    assert_int_equal(json_kind(json_find(root, "nil")), JSON_NULL);
    const Json list = json_find(root, "list");
    assert_int_equal(json_count(list), 3);
    assert_int_equal(json_kind(json_next(json_first(list))), JSON_ARRAY);
    assert_string_equal(json_key(json_first(root)), "n");
    assert_null(json_find(root, "LIST").item);
    json_free(document);
}

static void positions_count_lines_and_characters(void **state)
{
    (void)state;
    JsonDocument *document = parsed("{\"\xc3\xa9\": 1, \"b\": [true,\r\n  null],\n\t\"c\": {}}");
    const Json b = json_find(json_root(document), "b");
    assert_fails(json_fail(b, "here"), STATUS_DATA, ":1:10: here");
    assert_fails(json_fail(json_next(json_first(b)), "here"), STATUS_DATA, ":2:3: here");
    assert_fails(json_fail(json_find(json_root(document), "c"), "here"), STATUS_DATA, ":3:2: here");
    json_free(document);
}

static void differences_are_told_by_name(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"{\"a\": 1, \"b\": {\"c\": [2]}}", "{\"b\": {\"c\": [2]}, \"a\": 1}", ""},
        {"{\"b\": {\"c\": 0.2, \"d\": 1}}", "{\"b\": {\"c\": 0.1, \"d\": 1}}", "b.c: 0.2 -> 0.1"},
        {"{\"a\": 1}", "{\"b\": \"x\"}", "b: none -> \"x\", a: 1 -> none"},
        {"{\"b\": {\"c\": 1}}", "{\"b\": 3, \"z\": true}", "b: {\"c\":1} -> 3, z: none -> true"},
        {"{\"h\": \"00112233445566778899aabbccddeeff\"}",
         "{\"h\": \"10112233445566778899aabbccddeeff\"}", "h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        JsonDocument *before = parsed(cases[i][0]), *now = parsed(cases[i][1]);
        Bytes out = {0};
        assert_ok(bytes_text(&out, ""));
        assert_ok(json_differences(&out, json_root(before), json_root(now)));
        assert_string_equal(out.data, cases[i][2]);
        bytes_free(&out);
        json_free(before);
        json_free(now);
    }
}

static void broken_grammar_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "a.json:1:1: expected a value, found the end"},
        {"{\n  \"a\": 01\n}", "a.json:2:8: a number must not begin with 0"},
        {"[1.]", "a.json:1:4: expected a digit after the point, found ']'"},
        {"[.5]", "a.json:1:2: expected a value, found '.'"},
        {"[+1]", "a.json:1:2: expected a value, found '+'"},
        {"[-]", "a.json:1:3: expected a digit, found ']'"},
        {"[1e]", "a.json:1:4: expected a digit in the exponent, found ']'"},
        {"[0x10]", "a.json:1:3: expected ',' or ']', found 'x'"},
        {"[1.2.3]", "a.json:1:5: expected ',' or ']', found '.'"},
        {"{\"a\": NaN}", "a.json:1:7: expected a value, found 'N'"},
        {"{\"a\": -Infinity}", "a.json:1:8: expected a digit, found 'I'"},
        {"{\"a\": nul}", "a.json:1:7: expected a value, found 'n'"},
        {"{\"a\": 1e999}", "a.json:1:7: number out of range"},
        {"{\"a\": -1e999}", "a.json:1:7: number out of range"},
        {"{\"a\" 1}", "a.json:1:6: expected ':', found '1'"},
        {"{\"a\": 1,}", "a.json:1:9: expected a key in quotes, found '}'"},
        {"{a: 1}", "a.json:1:2: expected a key in quotes, found 'a'"},
        {"[1 2]", "a.json:1:4: expected ',' or ']', found '2'"},
        {"[1", "a.json:1:3: expected ',' or ']', found the end"},
        {"{\"a\": \"b", "a.json:1:9: expected '\"', found the end"},
        {"{}\nxyz", "a.json:2:1: expected the end of the text, found 'x'"},
        {"{} {}", "a.json:1:4: expected the end of the text, found '{'"},
        {"\xef\xbb\xbf\xef\xbb\xbf{}", "a.json:1:1: expected a value, found byte 0xef"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(complaint(cases[i][0]), cases[i][1]);
    }
}

static void broken_text_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"[\"a\xff\"]", "a.json:1:4: byte 0xff is not UTF-8"},
        {"[\"\xc3\xa9\xc3\"]", "a.json:1:4: byte 0xc3 is not UTF-8"},
        {"[\"\xc0\xaf\"]", "a.json:1:3: byte 0xc0 is not UTF-8"},         /* overlong */
        {"[\"\xe0\x80\xaf\"]", "a.json:1:3: byte 0xe0 is not UTF-8"},     /* overlong */
        {"[\"\xed\xa0\x80\"]", "a.json:1:3: byte 0xed is not UTF-8"},     /* a surrogate */
        {"[\"\xf4\x90\x80\x80\"]", "a.json:1:3: byte 0xf4 is not UTF-8"}, /* beyond U+10FFFF */
        {"[\"\xf0\x9f\x98", "a.json:1:3: byte 0xf0 is not UTF-8"},        /* cut short */
        {"[\"a\nb\"]", "a.json:1:4: control character 0x0a in text"},
        {"[\"a\\x\"]", "a.json:1:5: expected an escape such as \\n, found 'x'"},
        {"[\"\\u12g4\"]", "a.json:1:7: expected four hex digits after \\u, found 'g'"},
        {"[\"ab\\u0000\"]", "a.json:1:5: \\u0000 is not accepted"},
        {"[\"\\ud800\"]", "a.json:1:3: half of a surrogate pair, \\ud800"},
        {"[\"\\ud800\\u0041\"]", "a.json:1:3: half of a surrogate pair, \\ud800"},
        {"[\"x\\udc00\"]", "a.json:1:4: half of a surrogate pair, \\udc00"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(complaint(cases[i][0]), cases[i][1]);
    }
    JsonDocument *document;
    assert_fails(json_parse(&document, STATUS_DATA, "a.json", "[\"a\0b\"]", 7), STATUS_DATA,
                 "a.json:1:4: control character 0x00 in text");
    assert_fails(json_parse(&document, STATUS_DATA, "a.json", "[1]\0", 4), STATUS_DATA,
                 "a.json:1:4: expected the end of the text, found byte 0x00");
}

static void a_repeated_key_is_refused_however_it_is_written(void **state)
{
    (void)state;
    assert_string_equal(complaint("{\"a\": 1,\n \"b\": {\"a\": 2},\n \"a\": 3}"),
                        "a.json:3:2: a: repeated, first at 1:2");
    assert_string_equal(complaint("{\"a\": 1, \"\\u0061\": 2}"),
                        "a.json:1:10: a: repeated, first at 1:2");
    assert_string_equal(complaint("[{\"z\":1,\"y\":2,\"y\":3,\"z\":4}]"),
                        "a.json:1:15: y: repeated, first at 1:9");
    assert_string_equal(complaint("{\"a\": 1, \"A\": 2, \"b\": {\"a\": {\"a\": 3}}}"), "");
}

static void nesting_ends_at_32(void **state)
{
    (void)state;
    char text[128] = "";
    memset(text, '[', 32);
    memset(text + 32, ']', 32);
    assert_string_equal(complaint(text), "");
    memset(text, '[', 33);
    memset(text + 33, ']', 33);
    assert_string_equal(complaint(text), "a.json:1:33: nested deeper than 32");
}

static void a_number_longer_than_cjson_reads_is_refused(void **state)
{
    (void)state;
    char text[80] = "[0.";
    memset(text + 3, '1', 61);
    strcpy(text + 64, "]");
    assert_string_equal(complaint(text), "");
    strcpy(text + 64, "1]");
    assert_string_equal(complaint(text), "a.json:1:2: a number of more than 63 characters");
}

static void the_wrong_type_is_named_with_its_place(void **state)
{
    (void)state;
    JsonDocument *document = parsed("{\n  \"seed\": \"x\", \"half\": 0.5, \"list\": [null]}");
    const Json root = json_root(document);
    int64_t integer;
    double number;
    bool flag;
    const char *text;
    assert_fails(json_get_integer(&integer, root, "seed"), STATUS_DATA,
                 "a.json:2:3: seed: expected an integer, found text");
    assert_fails(json_get_integer(&integer, root, "half"), STATUS_DATA,
                 "a.json:2:16: half: expected an integer of at most 2^53, found 0.5");
    assert_fails(json_get_number(&number, root, "list"), STATUS_DATA,
                 "list: expected a number, found an array");
    assert_fails(json_number(&number, json_first(json_find(root, "list"))), STATUS_DATA,
                 "a.json:2:38: expected a number, found null");
    assert_fails(json_bool(&flag, json_find(root, "half")), STATUS_DATA,
                 "half: expected true or false, found a number");
    assert_fails(json_get_text(&text, root, "half"), STATUS_DATA,
                 "half: expected text, found a number");
    assert_fails(json_get_text(&text, root, "Seed"), STATUS_DATA, "a.json:1:1: Seed: missing");
    assert_fails(json_get_text(&text, json_find(root, "half"), "x"), STATUS_DATA,
                 "half: expected an object, found a number");
    assert_fails(json_fail(json_find(root, "half"), "too %s", "big"), STATUS_DATA,
                 "a.json:2:16: too big");
    json_free(document);
}

static void integers_are_exact_up_to_2_to_the_53(void **state)
{
    (void)state;
    JsonDocument *document =
        parsed("[9007199254740992, -9007199254740992, 9007199254740993, 9007199254740992.5,"
               "18446744073709551615, 1e3]");
    Json value = json_first(json_root(document));
    int64_t integer;
    assert_ok(json_integer(&integer, value));
    assert_true(integer == INT64_C(9007199254740992));
    value = json_next(value);
    assert_ok(json_integer(&integer, value));
    assert_true(integer == -INT64_C(9007199254740992));
    for (int i = 0; i < 3; i++) {
        value = json_next(value);
        assert_fails(json_integer(&integer, value), STATUS_DATA, "expected an integer of at most");
    }
    assert_ok(json_integer(&integer, json_next(value)));
    assert_int_equal(integer, 1000);
    json_free(document);
}

static void a_line_of_many_says_its_number(void **state)
{
    (void)state;
    JsonDocument *document;
    assert_fails(json_parse_line(&document, STATUS_DATA, "a.jsonl", 17, "{\"a\" 1}", 7),
                 STATUS_DATA, "a.jsonl:17:6: expected ':', found '1'");
}

static void floats_are_written_in_their_own_digits(void **state)
{
    (void)state;
    static const float cases[] = {0.1f,    1.0f,        -0.0f,       1.0f / 3, 16777216.0f, 1e-40f,
                                  3.4e38f, 0.08544552f, -17.079352f, INFINITY, NAN};
    Bytes text = {0};
    JsonWriter writer = json_writer(&text, 0);
    json_open(&writer, NULL, '[');
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_put_float(&writer, NULL, cases[i]);
    }
    json_close(&writer);
    assert_ok(json_done(&writer));
    assert_string_equal(text.data, "[0.1,1,-0,0.33333334,16777216,9.99995e-41,3.4e+38,0.08544552,"
                                   "-17.079351,null,null]");
    const char *at = text.data + 1;
    for (size_t i = 0; i < 9; i++) {
        char *end;
        assert_true(strtof(at, &end) == cases[i]);
        at = end + 1;
    }
    bytes_free(&text);
}

static void numbers_are_written_short_and_read_back_to_the_bit(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {0.2, "0.2"},
                 {1.0, "1"},
                 {-0.0, "-0"},
                 {1e9, "1000000000"},
                 {9007199254740992.0, "9007199254740992"},
                 {1e22, "1e+22"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {1e-5, "1e-05"},
                 {INFINITY, "null"},
                 {NAN, "null"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_number_text(text, cases[i].value);
        assert_string_equal(text, cases[i].text);
    }
    uint64_t bits = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        json_number_text(text, value);
        const double again = strtod(text, NULL);
        assert_memory_equal(&again, &value, sizeof value);
    }
    json_number_text(text, DBL_TRUE_MIN);
    assert_true(strtod(text, NULL) == DBL_TRUE_MIN);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    Bytes out = {0};
    JsonWriter writer = json_writer(&out, 2);
    json_open(&writer, NULL, '{');
    json_put_text(&writer, "text", "a\"\\\n\x01\xc3\xa9");
    json_put_bytes(&writer, "bytes", "x\0\xff", 3);
    json_open(&writer, "list", '[');
    json_put_integer(&writer, NULL, -7);
    json_put_bool(&writer, NULL, true);
    json_open(&writer, NULL, '{');
    json_close(&writer);
    json_close(&writer);
    json_put_number(&writer, "x", 0.25);
    json_close(&writer);
    assert_ok(json_done(&writer));
    assert_string_equal(out.data, "{\n"
                                  "  \"text\": \"a\\\"\\\\\\n\\u0001\xc3\xa9\",\n"
                                  "  \"bytes\": \"x\xe2\x90\x80\xef\xbf\xbd\",\n"
                                  "  \"list\": [\n    -7,\n    true,\n    {}\n  ],\n"
                                  "  \"x\": 0.25\n"
                                  "}\n");
    JsonDocument *document = parsed(out.data);

    Bytes line = {0};
    writer = json_writer(&line, 0);
    json_put_value(&writer, NULL, json_root(document));
    assert_ok(json_done(&writer));
    assert_string_equal(line.data, "{\"text\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\","
                                   "\"bytes\":\"x\xe2\x90\x80\xef\xbf\xbd\","
                                   "\"list\":[-7,true,{}],\"x\":0.25}");
    json_free(document);
    bytes_free(&line);
    bytes_free(&out);
}

static void control_and_direction_characters_are_escaped(void **state)
{
    (void)state;
    const char hostile[] =
        "\x1b[2J\x7f\xc2\x9b\xd8\x9c\xe2\x80\x8f\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa9"
        "\xe2\x80\xaf\xc2\xa0\xf0\x9f\x98\x80";
    Bytes out = {0};
    JsonWriter writer = json_writer(&out, 0);
    json_put_text(&writer, NULL, hostile);
    assert_ok(json_done(&writer));
    assert_string_equal(out.data, "\"\\u001b[2J\\u007f\\u009b\\u061c\\u200f\\u2028\\u202e\\u2069"
                                  "\xe2\x80\xaf\xc2\xa0\xf0\x9f\x98\x80\"");
    JsonDocument *document = parsed(out.data);
    const char *back;
    assert_ok(json_text(&back, json_root(document)));
    assert_string_equal(back, hostile);
    json_free(document);
    bytes_free(&out);
}

/* What is not there holds nothing: a reader need not ask twice. */
static void what_is_absent_has_no_members(void **state)
{
    (void)state;
    JsonDocument *document = parsed("{\"empty\": []}");
    const Json absent = json_find(json_root(document), "lives");
    assert_null(absent.item);
    assert_null(json_first(absent).item);
    assert_null(json_find(absent, "lives").item);
    assert_int_equal(json_count(absent), 0);
    assert_null(json_first(json_find(json_root(document), "empty")).item);
    json_free(document);
}

static void a_file_is_parsed_only_with_its_hash(void **state)
{
    (void)state;
    char folder[64], path[128];
    test_folder(folder);
    snprintf(path, sizeof path, "%s/a.json", folder);
    assert_ok(io_publish(path, "{}", 2));
    JsonDocument *document;
    const Digest own = digest_of("{}", 2), other = digest_of("{]", 2);
    assert_ok(json_read(&document, STATUS_DATA, path, 2, &own));
    json_free(document);
    assert_fails(json_read(&document, STATUS_DATA, path, 2, &other), STATUS_DATA,
                 "a.json: its hash is not the one expected");
    assert_null(document);
}

static void memory_may_run_out_at_any_call(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [1, 2, {\"b\": \"text\"}], \"c\": null}";
    Status status = STATUS_FAILED;
    for (long call = 1; status == STATUS_FAILED; call++) {
        JsonDocument *document;
        memory_fault(call, 0);
        status = json_parse(&document, STATUS_DATA, "a.json", text, sizeof text - 1);
        memory_fault(0, 0);
        if (status == STATUS_OK) {
            assert_true(call > 10);
            json_free(document);
        }
    }
    assert_int_equal(status, STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(positions_count_lines_and_characters),
        cmocka_unit_test(broken_grammar_is_refused_with_its_place),
        cmocka_unit_test(broken_text_is_refused_with_its_place),
        cmocka_unit_test(a_repeated_key_is_refused_however_it_is_written),
        cmocka_unit_test(nesting_ends_at_32),
        cmocka_unit_test(a_number_longer_than_cjson_reads_is_refused),
        cmocka_unit_test(the_wrong_type_is_named_with_its_place),
        cmocka_unit_test(integers_are_exact_up_to_2_to_the_53),
        cmocka_unit_test(a_line_of_many_says_its_number),
        cmocka_unit_test(floats_are_written_in_their_own_digits),
        cmocka_unit_test(numbers_are_written_short_and_read_back_to_the_bit),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(differences_are_told_by_name),
        cmocka_unit_test(control_and_direction_characters_are_escaped),
        cmocka_unit_test(what_is_absent_has_no_members),
        cmocka_unit_test(a_file_is_parsed_only_with_its_hash),
        cmocka_unit_test(memory_may_run_out_at_any_call),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
