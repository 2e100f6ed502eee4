/* config: one table gives defaults, checks, --set, the file, the schema and the help. */
#include "tests/support.h"

#include "data/config.h"

typedef struct Loss {
    double clip_range;
    int64_t epochs;
    bool whiten;
    char schedule[CONFIG_TEXT];
    char note[CONFIG_TEXT];
} Loss;

typedef struct Top {
    int64_t seed;
} Top;

typedef struct All {
    Top top;
    Loss ppo, sft;
} All;

static const ConfigField top_fields[] = {
    FIELD_INTEGER(Top, seed, 1, 0, 9007199254740992.0, "names every stream of random numbers"),
};
static const ConfigField loss_fields[] = {
    FIELD_REAL(Loss, clip_range, 0.2, 0, 1, "how far the policy may move, as a ratio"),
    FIELD_INTEGER(Loss, epochs, 4, 1, 64, "passes over a batch"),
    FIELD_FLAG(Loss, whiten, true, "advantages get mean 0 and standard deviation 1"),
    FIELD_CHOICE(Loss, schedule, "cosine", "constant|linear|cosine", "how the rate falls"),
    FIELD_STRING(Loss, note, "", "anything"),
};
static const ConfigSection sections[] = {
    {"", top_fields, 1, offsetof(All, top), "the run"},
    {"ppo", loss_fields, 5, offsetof(All, ppo), "the update"},
    {"sft", loss_fields, 2, offsetof(All, sft), "fine-tuning"},
};
static const ConfigTable table = {sections, 3};

static All defaults(void)
{
    All all;
    memset(&all, 0, sizeof all);
    config_defaults(&table, &all);
    return all;
}

static Status apply(All *all, const char *text)
{
    JsonDocument *document;
    TRY(json_parse(&document, STATUS_SETTINGS, "a.json", text, strlen(text)));
    const Status status = config_apply(&table, all, json_root(document));
    json_free(document);
    return status;
}

static void defaults_come_from_the_table(void **state)
{
    (void)state;
    const All all = defaults();
    assert_int_equal(all.top.seed, 1);
    assert_true(all.ppo.clip_range == 0.2);
    assert_int_equal(all.ppo.epochs, 4);
    assert_true(all.ppo.whiten);
    assert_string_equal(all.ppo.schedule, "cosine");
    assert_string_equal(all.ppo.note, "");
}

static void a_file_changes_what_it_names_and_nothing_else(void **state)
{
    (void)state;
    All all = defaults(), expected = defaults();
    assert_ok(apply(&all, "{\"$schema\": \"x\", \"seed\": 9007199254740992,"
                          " \"ppo\": {\"clip_range\": 1, \"whiten\": false,"
                          " \"schedule\": \"linear\", \"note\": \"caf\\u00e9\"}, \"sft\": {}}"));
    expected.top.seed = INT64_C(9007199254740992);
    expected.ppo.clip_range = 1;
    expected.ppo.whiten = false;
    strcpy(expected.ppo.schedule, "linear");
    strcpy(expected.ppo.note, "caf\xc3\xa9");
    assert_memory_equal(&all, &expected, sizeof all);
}

static void a_mistake_is_named_with_its_place_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\n\n\n\"ppo\":\n{ \"epochs\": 2, \"clip_rnage\": 0.1}}",
         "a.json:5:16: ppo.clip_rnage: no such setting; did you mean ppo.clip_range?"},
        {"{\n  \"seed\": \"text\"}", "a.json:2:3: seed: expected an integer, found text"},
        {"{\"seed\": 1.5}", "a.json:1:2: seed: expected an integer, found 1.5"},
        {"{\"seed\": 9007199254740993}",
         "a.json:1:2: seed: expected an integer, found 9007199254740992"},
        {"{\"seed\": -1}", "a.json:1:2: seed = -1: must be in [0, 9007199254740992]"},
        {"{\"seed\": true}", "a.json:1:2: seed: expected an integer, found true"},
        {"{\"seed\": 1, \"seed\": 2}", "a.json:1:13: seed: repeated, first at 1:2"},
        {"{\"sed\": 1}", "a.json:1:2: sed: no such setting; did you mean seed?"},
        {"{\"pp\": {\"epochs\": 2}}", "a.json:1:2: pp: no such setting; did you mean ppo?"},
        {"{\"whiten\": true}", "a.json:1:2: whiten: no such setting; did you mean ppo.whiten?"},
        {"{\"temperature\": 1}", "a.json:1:2: temperature: no such setting"},
        {"{\"ppo\": 3}", "a.json:1:2: ppo: expected an object, found 3"},
        {"{\"seed\": 3, \"ppo\": {\"clip_range\": 1.5}}",
         "a.json:1:21: ppo.clip_range = 1.5: must be in [0, 1]"},
        {"{\"ppo\": {\"clip_range\": null}}",
         "a.json:1:10: ppo.clip_range: expected a number, found null"},
        {"{\"ppo\": {\"epochs\": 65}}", "a.json:1:10: ppo.epochs = 65: must be in [1, 64]"},
        {"{\"ppo\": {\"epochs\": {}}}",
         "a.json:1:10: ppo.epochs: expected an integer, found an object"},
        {"{\"ppo\": {\"whiten\": 1}}", "a.json:1:10: ppo.whiten: expected true or false, found 1"},
        {"{\"ppo\": {\"schedule\": \"cosin\"}}",
         "a.json:1:10: ppo.schedule = cosin: must be one of constant|linear|cosine"},
        {"{\"ppo\": {\"schedule\": [1]}}",
         "a.json:1:10: ppo.schedule: expected text, found an array"},
        {"{\"sft\": {\"note\": \"x\"}}",
         "a.json:1:10: sft.note: no such setting; did you mean ppo.note?"},
        {"{\"seed\": 2, \"ppo\": {\"epochs\": 1}, \"sft\": {\"x\": 1}}",
         "a.json:1:43: sft.x: no such setting"},
        {"[]", "a.json:1:1: expected an object of settings"},
    };
    const All expected = defaults();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        All all = defaults();
        assert_int_equal(apply(&all, cases[i][0]), STATUS_SETTINGS);
        assert_string_equal(status_message(), cases[i][1]);
        assert_memory_equal(&all, &expected, sizeof all);
    }
}

static void text_longer_than_its_room_is_refused(void **state)
{
    (void)state;
    char text[320] = "{\"ppo\": {\"note\": \"";
    const size_t start = strlen(text);
    memset(text + start, 'x', CONFIG_TEXT);
    strcpy(text + start + CONFIG_TEXT, "\"}}");
    All all = defaults();
    assert_fails(apply(&all, text), STATUS_SETTINGS,
                 "a.json:1:10: ppo.note: longer than 255 bytes");
    strcpy(text + start + CONFIG_TEXT - 1, "\"}}");
    assert_ok(apply(&all, text));
    assert_int_equal(strlen(all.ppo.note), 255);
}

/* config.json could not hold it as it is. */
static void text_that_json_cannot_hold_is_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {"ppo.note=a\xff", "ppo.note=a\nb", "ppo.note=\x1b[2J",
                                          "ppo.note=\xed\xa0\x80"};
    All all = defaults();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_fails(config_set(&table, &all, refused[i]), STATUS_SETTINGS,
                     "ppo.note: not UTF-8, or with control characters");
    }
    assert_ok(config_set(&table, &all, "ppo.note=caf\xc3\xa9 \xf0\x9f\x8c\xb8"));
    assert_string_equal(all.ppo.note, "caf\xc3\xa9 \xf0\x9f\x8c\xb8");
}

static void set_takes_one_setting(void **state)
{
    (void)state;
    All all = defaults();
    assert_ok(config_set(&table, &all, "ppo.clip_range=0.1"));
    assert_ok(config_set(&table, &all, "seed=7"));
    assert_ok(config_set(&table, &all, "ppo.whiten=false"));
    assert_ok(config_set(&table, &all, "ppo.schedule=linear"));
    assert_ok(config_set(&table, &all, "ppo.note=a=b, 3"));
    assert_true(all.ppo.clip_range == 0.1);
    assert_int_equal(all.top.seed, 7);
    assert_false(all.ppo.whiten);
    assert_string_equal(all.ppo.schedule, "linear");
    assert_string_equal(all.ppo.note, "a=b, 3");
    assert_ok(config_set(&table, &all, "ppo.note="));
    assert_string_equal(all.ppo.note, "");
}

static void a_wrong_set_is_named_and_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *assignment;
        Status code;
        const char *text;
    } cases[] = {
        {"ppo.clip_range=1.5", STATUS_SETTINGS, "--set: ppo.clip_range = 1.5: must be in [0, 1]"},
        {"ppo.clip_range=", STATUS_SETTINGS,
         "--set: ppo.clip_range: expected a number, found text"},
        {"ppo.clip_range=NaN", STATUS_SETTINGS,
         "--set: ppo.clip_range: expected a number, found text"},
        {"ppo.epochs=2x", STATUS_SETTINGS, "--set: ppo.epochs: expected an integer, found text"},
        {"ppo.epochs=2.5", STATUS_SETTINGS, "--set: ppo.epochs: expected an integer, found 2.5"},
        {"ppo.epochs=[1]", STATUS_SETTINGS,
         "--set: ppo.epochs: expected an integer, found an array"},
        {"ppo.whiten=1", STATUS_SETTINGS, "--set: ppo.whiten: expected true or false, found 1"},
        {"ppo.schedule=x", STATUS_SETTINGS,
         "--set: ppo.schedule = x: must be one of constant|linear|cosine"},
        {"ppo.epcohs=2", STATUS_SETTINGS,
         "--set: ppo.epcohs: no such setting; did you mean ppo.epochs?"},
        {"ppo=2", STATUS_SETTINGS, "--set: ppo: is a section, not a setting"},
        {"seed", STATUS_USAGE, "--set: expected NAME=VALUE, found seed"},
        {"=3", STATUS_USAGE, "--set: expected NAME=VALUE, found =3"},
    };
    const All expected = defaults();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        All all = defaults();
        assert_int_equal(config_set(&table, &all, cases[i].assignment), cases[i].code);
        assert_string_equal(status_message(), cases[i].text);
        assert_memory_equal(&all, &expected, sizeof all);
    }
}

static void what_is_written_reads_back_to_the_same_bytes(void **state)
{
    (void)state;
    All all = defaults();
    assert_ok(config_set(&table, &all, "ppo.clip_range=0.30000000000000004"));
    assert_ok(config_set(&table, &all, "sft.epochs=3"));
    Bytes out = {0}, again = {0};
    assert_ok(config_write(&out, &table, &all, NULL));
    assert_string_equal(out.data, "{\n"
                                  "  \"seed\": 1,\n"
                                  "  \"ppo\": {\n"
                                  "    \"clip_range\": 0.30000000000000004,\n"
                                  "    \"epochs\": 4,\n"
                                  "    \"whiten\": true,\n"
                                  "    \"schedule\": \"cosine\",\n"
                                  "    \"note\": \"\"\n"
                                  "  },\n"
                                  "  \"sft\": {\n"
                                  "    \"clip_range\": 0.2,\n"
                                  "    \"epochs\": 3\n"
                                  "  }\n"
                                  "}\n");
    All read = defaults();
    assert_ok(apply(&read, out.data));
    assert_memory_equal(&read, &all, sizeof all);
    assert_ok(config_write(&again, &table, &read, NULL));
    assert_string_equal(again.data, out.data);

    bytes_clear(&out);
    assert_ok(config_write(&out, &table, &all, (const char *const[]){"", "sft", NULL}));
    assert_null(strstr(out.data, "ppo"));
    assert_non_null(strstr(out.data, "\"seed\": 1"));
    assert_non_null(strstr(out.data, "\"epochs\": 3"));
    bytes_free(&out);
    bytes_free(&again);
}

static void the_schema_says_what_the_table_says(void **state)
{
    (void)state;
    Bytes out = {0};
    assert_ok(config_schema(&out, &table));
    JsonDocument *document;
    assert_ok(json_parse(&document, STATUS_DATA, "schema", out.data, out.count));
    const Json root = json_root(document);
    const char *text;
    assert_ok(json_get_text(&text, root, "$schema"));
    assert_string_equal(text, "https://json-schema.org/draft/2020-12/schema");
    bool open = true;
    assert_ok(json_bool(&open, json_find(root, "additionalProperties")));
    assert_false(open);
    const Json properties = json_find(root, "properties");
    assert_int_equal(json_count(properties), 4); /* $schema, seed, ppo, sft */

    open = true;
    const Json ppo = json_find(properties, "ppo");
    assert_ok(json_bool(&open, json_find(ppo, "additionalProperties")));
    assert_false(open);
    const Json clip = json_find(json_find(ppo, "properties"), "clip_range");
    double number;
    assert_ok(json_get_text(&text, clip, "type"));
    assert_string_equal(text, "number");
    assert_ok(json_get_number(&number, clip, "default"));
    assert_true(number == 0.2);
    assert_ok(json_get_number(&number, clip, "maximum"));
    assert_true(number == 1.0);
    assert_ok(json_get_text(&text, clip, "description"));
    assert_string_equal(text, "how far the policy may move, as a ratio");
    const Json schedule = json_find(json_find(ppo, "properties"), "schedule");
    const Json choices = json_find(schedule, "enum");
    assert_int_equal(json_count(choices), 3);
    assert_ok(json_text(&text, json_next(json_first(choices))));
    assert_string_equal(text, "linear");
    assert_ok(json_get_text(&text, json_find(json_find(ppo, "properties"), "whiten"), "type"));
    assert_string_equal(text, "boolean");
    json_free(document);
    bytes_free(&out);
}

static void a_difference_is_a_line(void **state)
{
    (void)state;
    const All a = defaults();
    All b = defaults();
    assert_ok(config_set(&table, &b, "ppo.clip_range=0.1"));
    assert_ok(config_set(&table, &b, "seed=2"));
    assert_ok(config_set(&table, &b, "ppo.note=x"));
    Bytes out = {0};
    int differences;
    assert_ok(config_diff(&out, &differences, &table, &a, &b));
    assert_int_equal(differences, 3);
    assert_string_equal(out.data,
                        "seed: 1 -> 2\nppo.clip_range: 0.2 -> 0.1\nppo.note: \"\" -> x\n");
    bytes_clear(&out);
    assert_ok(config_diff(&out, &differences, &table, &a, &a));
    assert_int_equal(differences, 0);
    assert_int_equal(out.count, 0);
    bytes_free(&out);
}

static void help_is_a_line_a_field(void **state)
{
    (void)state;
    Bytes out = {0};
    assert_ok(config_help(&out, &table, "sft"));
    assert_string_equal(
        out.data,
        "  sft.clip_range  number in [0, 1]    0.2  how far the policy may move, as a ratio\n"
        "  sft.epochs      integer in [1, 64]  4    passes over a batch\n");
    bytes_clear(&out);
    assert_ok(config_help(&out, &table, "ppo"));
    assert_non_null(strstr(out.data, "ppo.schedule    constant|linear|cosine  cosine  how the"));
    assert_non_null(strstr(out.data, "ppo.whiten      true|false              true    advantages"));
    assert_non_null(strstr(out.data, "ppo.note        text                    \"\"      anything"));
    assert_fails(config_help(&out, &table, "pop"), STATUS_USAGE, "pop: no such section");
    bytes_free(&out);
}

static void the_nearest_name_is_near(void **state)
{
    (void)state;
    static const char *const names[] = {"run", "resume", "report", "status"};
    assert_string_equal(config_nearest("reprot", names, 4), "report");
    assert_string_equal(config_nearest("statsu", names, 4), "status");
    assert_string_equal(config_nearest("ru", names, 4), "run");
    assert_null(config_nearest("evaluate", names, 4));
    char longest[300];
    memset(longest, 'r', sizeof longest - 1);
    longest[299] = '\0';
    assert_null(config_nearest(longest, names, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(a_file_changes_what_it_names_and_nothing_else),
        cmocka_unit_test(a_mistake_is_named_with_its_place_and_changes_nothing),
        cmocka_unit_test(text_longer_than_its_room_is_refused),
        cmocka_unit_test(text_that_json_cannot_hold_is_refused),
        cmocka_unit_test(set_takes_one_setting),
        cmocka_unit_test(a_wrong_set_is_named_and_changes_nothing),
        cmocka_unit_test(what_is_written_reads_back_to_the_same_bytes),
        cmocka_unit_test(the_schema_says_what_the_table_says),
        cmocka_unit_test(a_difference_is_a_line),
        cmocka_unit_test(help_is_a_line_a_field),
        cmocka_unit_test(the_nearest_name_is_near),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
