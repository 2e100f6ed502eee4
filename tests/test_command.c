/* The command line, driven in process: help, near misses, settings and exit statuses. */
#include "tests/support.h"

#include "data/io.h"
#include "data/store/store.h"
#include "scripts/rlhf/cli.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/presets.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"

#include <gsl/gsl_errno.h>
#include <string.h>

enum { WORDS = 16, TEXT = 1 << 17 };

static char out_text[TEXT], error_text[TEXT];

/* Runs "rlhf WORDS..." and keeps what it wrote. `line` is parted at spaces. */
static int rlhf(const char *line)
{
    char words[1024], *argv[WORDS + 1] = {NULL};
    int argc = 0;
    snprintf(words, sizeof words, "rlhf %s", line);
    for (char *word = strtok(words, " "); word != NULL && argc < WORDS; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    FILE *out = tmpfile(), *errors = tmpfile();
    assert_non_null(out);
    assert_non_null(errors);
    const int status = cli_main(argc, argv, out, errors);
    rewind(out);
    rewind(errors);
    out_text[fread(out_text, 1, TEXT - 1, out)] = '\0';
    error_text[fread(error_text, 1, TEXT - 1, errors)] = '\0';
    fclose(out);
    fclose(errors);
    return status;
}

static void check_text(const char *text, const char *part, int line)
{
    if (strstr(text, part) == NULL) {
        print_error("\"%s\" is not in: %s\n", part, text);
        _fail(__FILE__, line);
    }
}
#define assert_out(part) check_text(out_text, (part), __LINE__)
#define assert_error(part) check_text(error_text, (part), __LINE__)

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text != '\0'; text++) lines += *text == '\n';
    return lines;
}

static void every_command_explains_itself(void **state)
{
    (void)state;
    for (int i = 0; i < command_count; i++) {
        char line[64];
        char first[TEXT];
        for (int f = 0; f < 3; f++) {
            snprintf(line, sizeof line,
                     f == 0   ? "help %s"
                     : f == 1 ? "%s -h"
                              : "%s --help",
                     commands[i].name);
            assert_int_equal(rlhf(line), STATUS_OK);
            assert_out(commands[i].help);
            assert_out("example: rlhf");
            assert_string_equal(error_text, "");
            for (const Flag *flag = commands[i].flags; flag != NULL && flag->name != NULL; flag++) {
                assert_out(flag->name);
            }
            if (f == 0) memcpy(first, out_text, TEXT);
            assert_string_equal(first, out_text);
        }
    }
}

static void help_of_a_stage_lists_its_settings(void **state)
{
    (void)state;
    assert_int_equal(rlhf("help ppo"), STATUS_OK);
    assert_out("kl_coef");
    assert_out("clip_range");
    assert_int_equal(rlhf("help model"), STATUS_OK); /* a section without a command */
    assert_out("channels");
}

static void nothing_said_is_a_usage_error_with_help(void **state)
{
    (void)state;
    assert_int_equal(rlhf(""), STATUS_USAGE);
    assert_error("usage: rlhf COMMAND");
    assert_int_equal(rlhf("--help"), STATUS_OK);
    assert_out("usage: rlhf COMMAND");
}

static void near_misses_are_named(void **state)
{
    (void)state;
    const struct {
        const char *line, *error;
    } cases[] = {
        {"rnu", "rlhf: rnu: no such command; did you mean run?"},
        {"run quickstrat",
         "rlhf run: quickstrat: no such preset or file; did you mean quickstart?"},
        {"run tiny --untill sft", "rlhf run: --untill: no such flag; did you mean --until?"},
        {"run tiny --until sfd", "rlhf run: sfd: no such stage; did you mean sft?"},
        {"config shwo tiny", "shwo: expected new, show, check or diff; did you mean show?"},
        {"explain objective/kll", "no such metric; did you mean objective/kl?"},
        {"run tiny --out", "rlhf run: --out: DIR is missing"},
        {"run tiny --json=1", "rlhf run: --json: takes no value"},
        {"run", "rlhf run: something is missing; usage: rlhf run PRESET|CONFIG.json"},
        {"run tiny more", "rlhf run: more: one word too many"},
        {"run tiny --resume --restart", "--resume and --restart exclude each other"},
        {"metrics nowhere --csv --plot", "--csv, --json and --plot exclude each other"},
        {"generate a@pp --prompt x", "did you mean @ppo?"},
        {"export a pears -o b", "pears: expected pairs or rollouts"},
        {"run tiny --seeds 3..1", "--seeds 3..1: expected A..B"},
        {"run tiny --max-hours soon", "--max-hours soon: expected a number in [0, 1e+06]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rlhf(cases[i].line), STATUS_USAGE);
        assert_error(cases[i].error);
        assert_int_equal(count_lines(error_text), 1);
        assert_string_equal(out_text, "");
    }
}

static void wrong_settings_are_named(void **state)
{
    (void)state;
    const struct {
        const char *line, *error;
    } cases[] = {
        {"run tiny --set ppo.clip_rnage=0.1", "ppo.clip_rnage: no such setting"},
        {"run tiny --set label.flip_rate=1.5", "label.flip_rate = 1.5: must be in [0, 0.5]"},
        {"run tiny --set ppo.steps=few", "ppo.steps: expected an integer, found text"},
        {"run tiny --set model.heads=3", "model.heads = 3: must divide model.channels = 32"},
        {"run tiny --set task.response_tokens=96", "must be below model.positions = 96"},
        {"run tiny --set pretrain.context=97", "must be at most model.positions = 96"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rlhf(cases[i].line), STATUS_SETTINGS);
        assert_error(cases[i].error);
        assert_int_equal(count_lines(error_text), 1);
    }
}

static void presets_are_built_in_and_resolve(void **state)
{
    (void)state;
    for (int i = 0; i < preset_count; i++) {
        char line[64];
        snprintf(line, sizeof line, "config show %s", presets[i].name);
        assert_int_equal(rlhf(line), STATUS_OK);
        assert_out("\"seed\"");
        assert_out("\"kl_coef\"");
        assert_true(out_text[strlen(out_text) - 1] == '\n');
    }
    assert_int_equal(rlhf("config show tiny --schema"), STATUS_OK);
    assert_out("2020-12/schema");
}

static void config_new_check_and_diff_agree(void **state)
{
    (void)state;
    char folder[64], line[512];
    test_folder(folder);
    snprintf(line, sizeof line, "config new tiny --set ppo.kl_coef=0.25 --out %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_OK);
    assert_out("/run/config.json");
    snprintf(line, sizeof line, "config check %s/run/config.json", folder);
    assert_int_equal(rlhf(line), STATUS_OK);
    assert_out("fine");
    snprintf(line, sizeof line, "config diff tiny %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_OK);
    assert_out("ppo.kl_coef: ");
    assert_out(" -> 0.25");
    assert_int_equal(count_lines(out_text), 1);
    snprintf(line, sizeof line, "config new tiny --out %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_SETTINGS);
    assert_error("holds a run already");
    assert_ok(io_remove_tree(folder));
}

static void options_never_enter_the_settings(void **state)
{
    (void)state;
    Settings settings;
    Options options;
    const ConfigTable own = settings_table(), option = options_table();
    Bytes before = {0}, after = {0};
    config_defaults(&own, &settings);
    config_defaults(&option, &options);
    assert_ok(settings_text(&before, &settings));
    assert_ok(settings_set(&settings, &options, "threads=3"));
    assert_ok(settings_set(&settings, &options, "checkpoint_seconds=1.5"));
    assert_ok(settings_text(&after, &settings));
    assert_string_equal(before.data, after.data);
    assert_int_equal(options.threads, 3);
    assert_close(options.checkpoint_seconds, 1.5, 0, 0);
    assert_null(strstr(after.data, "threads"));
    bytes_free(&before);
    bytes_free(&after);
}

static Digest made_from(const Settings *settings, const char *run, int stage)
{
    Options options = {.threads = 1};
    Digest digest = {0};
    Pipeline pipeline = {.settings = settings, .options = &options, .run = run};
    assert_ok(pipeline_open(&pipeline));
    assert_ok(pipeline_made_from(&digest, &pipeline, stage));
    pipeline_close(&pipeline);
    return digest;
}

/* pretrain reads no stage, so its digest needs no run. */
static void only_settings_that_count_change_what_a_stage_is_made_from(void **state)
{
    (void)state;
    Settings settings;
    Options options = {0};
    assert_ok(settings_load(&settings, "tiny"));
    const Digest plain = made_from(&settings, "nowhere", 0);
    assert_true(digest_equal(plain, made_from(&settings, "elsewhere", 0)));
    assert_ok(settings_set(&settings, &options, "ppo.kl_coef=0.77"));
    assert_true(digest_equal(plain, made_from(&settings, "nowhere", 0)));
    const char *const counting[] = {"seed=2", "model.channels=64", "task.demonstrations=401",
                                    "pretrain.steps=61"};
    for (int i = 0; i < 4; i++) {
        Settings other = settings;
        assert_ok(settings_set(&other, &options, counting[i]));
        assert_false(digest_equal(plain, made_from(&other, "nowhere", 0)));
    }
}

static void faults_are_listed_and_revealed(void **state)
{
    (void)state;
    char folder[64], line[256];
    JsonDocument *document;
    assert_int_equal(rlhf("break"), STATUS_OK);
    assert_out("score-early (ppo)\n  mistake  the score is paid one token before the last");
    assert_int_equal(rlhf("break --list --json"), STATUS_OK);
    assert_ok(json_parse(&document, STATUS_DATA, "break", out_text, strlen(out_text)));
    assert_int_equal(json_kind(json_root(document)), JSON_ARRAY);
    json_free(document);

    test_folder(folder);
    snprintf(line, sizeof line, "config new tiny --set break=hidden:3 --out %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_OK);
    snprintf(line, sizeof line, "break --reveal %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_OK);
    assert_out(" (ppo)\n  mistake  ");
    assert_ok(io_remove_tree(folder));
    assert_int_equal(rlhf("config show tiny --set break=score-erly"), STATUS_SETTINGS);
    assert_error("break = score-erly: no such fault; did you mean score-early");
}

/* A sound run does not say that it is one; a fault counts for its own stage. */
static void a_fault_is_a_setting_only_where_there_is_one(void **state)
{
    (void)state;
    Settings settings;
    Options options = {0};
    Bytes text = {0};
    assert_ok(settings_load(&settings, "tiny"));
    assert_ok(settings_text(&text, &settings));
    assert_null(strstr(text.data, "break"));
    const Digest plain = made_from(&settings, "nowhere", 0);
    assert_ok(settings_set(&settings, &options, "break=hidden:5"));
    bytes_clear(&text);
    assert_ok(settings_text(&text, &settings));
    assert_non_null(strstr(text.data, "\"break\": \"hidden:5\""));
    assert_true(digest_equal(plain, made_from(&settings, "nowhere", 0)));
    bytes_free(&text);
}

static void a_stage_without_inputs_says_what_to_run(void **state)
{
    (void)state;
    char folder[64], line[512], expected[256];
    test_folder(folder);
    snprintf(line, sizeof line, "ppo %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_DATA);
    assert_error("run/config.json: missing; make it with: rlhf config new PRESET --out");
    snprintf(line, sizeof line, "config new tiny --out %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_OK);
    snprintf(line, sizeof line, "ppo %s/run", folder);
    assert_int_equal(rlhf(line), STATUS_DATA);
    snprintf(expected, sizeof expected,
             "rlhf ppo: %s/run/sft/manifest.json: missing; run: rlhf sft %s/run", folder, folder);
    assert_error(expected);
    assert_ok(io_remove_tree(folder));
}

static void a_dry_run_changes_nothing(void **state)
{
    (void)state;
    char folder[64], line[512];
    test_folder(folder);
    snprintf(line, sizeof line, "run tiny --out %s/run --dry-run", folder);
    assert_int_equal(rlhf(line), STATUS_OK);
    assert_out("parameters a network");
    assert_out("estimate");
    assert_out(" free\n");
    snprintf(line, sizeof line, "%s/run", folder);
    assert_false(io_exists(line));
    assert_ok(io_remove_tree(folder));
}

static void lists_are_lists_on_numeric_settings_only(void **state)
{
    (void)state;
    assert_true(sweep_is_list("ppo.kl_coef=0,0.05"));
    assert_true(sweep_is_list("seed=1,2"));
    assert_false(sweep_is_list("ppo.kl_coef=0.05"));
    assert_false(sweep_is_list("task.text=a,b"));
    assert_false(sweep_is_list("ppo.kl_cofe=0,1"));
}

static void text_of_strangers_is_escaped(void **state)
{
    (void)state;
    Bytes text = {0};
    const char hostile[] = "a\033[2J\xff\r\n\xc2\x9b é \xe2\x80\xae!\xe2\x80\xa8\xe2\x80\x8e";
    assert_ok(terminal_escape(&text, hostile, sizeof hostile - 1));
    assert_string_equal(text.data, "a\\x1b[2J\\xff\\x0d\\n\\x9b é \\u202e!\\u2028\\u200e");
    bytes_free(&text);
}

static void text_is_wrapped_at_spaces(void **state)
{
    (void)state;
    Bytes text = {0};
    assert_ok(terminal_wrap(&text, "one two three four five", 2, 9, 2));
    assert_string_equal(text.data, "one two\n  three...");
    bytes_free(&text);
}

static void numbers_are_short(void **state)
{
    (void)state;
    char text[16];
    assert_string_equal(count_text(text, 950), "950");
    assert_string_equal(count_text(text, 12345), "12.3k");
    assert_string_equal(count_text(text, 1.5e6), "1.50M");
    assert_string_equal(bytes_text_of(text, 2e8), "200 MB");
    assert_string_equal(clock_text(text, 65), "1:05");
    assert_string_equal(clock_text(text, 7384), "2:03:04");
    assert_string_equal(clock_text(text, 1e9), "999:59:59");
    assert_string_equal(clock_text(text, NAN), "0:00");
}

/* Four columns by one row: a rising line from the lower left to the upper right dot. */
static void a_curve_is_drawn_between_labelled_axes(void **state)
{
    (void)state;
    const double x[] = {1, 2}, y[] = {0, 3};
    const Plot plot = {"rise", x, y, 2};
    Texts lines = {0};
    assert_ok(plot_draw(&lines, &plot, 2, 2));
    const char *const expected[] = {"          rise", "       3 ┤ ⡠", "       0 ┤⡠ ",
                                    "         └──", "          1 2"};
    assert_int_equal(lines.count, 5);
    for (int i = 0; i < lines.count; i++) {
        size_t count;
        const char *text = texts_at(&lines, i, &count);
        if (i == 3) assert_memory_equal(text, expected[3], strlen(expected[3]));
        if (i == 1 || i == 2) assert_memory_equal(text, expected[i], 12); /* label and axis */
    }
    texts_free(&lines);
    const double gaps[] = {NAN, NAN};
    const Plot empty = {"none", x, gaps, 2};
    assert_ok(plot_draw(&lines, &empty, 20, 2));
    size_t count;
    assert_non_null(strstr(texts_at(&lines, 4, &count), "(no values)"));
    texts_free(&lines);
}

static void tasks_and_versions_are_valid_json(void **state)
{
    (void)state;
    assert_int_equal(rlhf("tasks"), STATUS_OK);
    assert_out("reviews");
    assert_int_equal(rlhf("tasks --json"), STATUS_OK);
    JsonDocument *document;
    assert_ok(json_parse(&document, STATUS_DATA, "tasks", out_text, strlen(out_text)));
    assert_int_equal(json_kind(json_root(document)), JSON_ARRAY);
    json_free(document);
    assert_int_equal(rlhf("version --json"), STATUS_OK);
    assert_ok(json_parse(&document, STATUS_DATA, "version", out_text, strlen(out_text)));
    const char *kernel;
    assert_ok(json_get_text(&kernel, json_root(document), "blas_kernel"));
    assert_true(strlen(kernel) > 0);
    json_free(document);
}

static void metrics_are_explained_from_their_table(void **state)
{
    (void)state;
    assert_int_equal(rlhf("explain objective/kl"), STATUS_OK);
    const char *const fields[] = {"objective/kl  (ppo)",
                                  "objective/kl  (evaluate)",
                                  "unit          nats a sequence",
                                  "formula       mean over sequences of sum_t (logp_t - ",
                                  "averaged over sequences of the batch",
                                  "healthy       -0.5 to 20",
                                  "unhealthy     above: the policy has left the reference",
                                  "elsewhere     TRL objective/kl; OpenAI objective/kl;",
                                  "OpenRLHF train/kl (nats a token)"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) assert_out(fields[i]);
    for (const char *line = out_text; line != NULL; line = strchr(line + 1, '\n')) {
        assert_true(strcspn(line + 1, "\n") <= 100u);
    }
    assert_int_equal(rlhf("explain objective/kl_k3"), STATUS_OK);
    assert_out("a heavy tail: the mean of a batch fails above about half a nat");
    assert_int_equal(rlhf("explain"), STATUS_OK);
    assert_out("objective/gold");
}

static void check_field(const char *metric, const char *field, const char *text)
{
    if (text != NULL && text[0] != '\0' && strcmp(text, "-") != 0) return;
    print_error("%s has no %s\n", metric, field);
    fail();
}

static void every_metric_of_every_stage_is_described(void **state)
{
    (void)state;
    for (int s = 0; s < STAGES; s++) {
        const MetricTable *table = pipeline_stages[s].metrics;
        assert_true(table->count > 0);
        for (int m = 0; m < table->count; m++) {
            const MetricInfo *metric = &table->metrics[m];
            check_field(pipeline_stages[s].name, "name", metric->name);
            check_field(metric->name, "unit", metric->unit);
            check_field(metric->name, "formula", metric->formula);
            check_field(metric->name, "over", metric->over);
            check_field(metric->name, "meaning", metric->meaning);
            assert_true(!(metric->low > metric->high));
            assert_ptr_equal(metric_find(table, metric->name), metric); /* named once */
        }
    }
}

static void other_names_are_of_metrics_there_are(void **state)
{
    (void)state;
    const MetricTable *ppo = pipeline_stages[4].metrics;
    for (int s = 0; s < STAGES; s++) {
        const MetricTable *table = pipeline_stages[s].metrics;
        for (const MetricAlias *alias = table->aliases; alias != NULL && alias->name != NULL;
             alias++) {
            const MetricTable *home = s == 5 ? ppo : table; /* evaluate shares ppo's */
            if (metric_find(home, alias->name) == NULL) print_error("%s\n", alias->name);
            assert_non_null(metric_find(home, alias->name));
            check_field(alias->name, "other name", alias->others);
        }
    }
    assert_null(metric_aliases(ppo, "objective/gold")); /* nobody else knows it */
    const char *kl = metric_aliases(ppo, "objective/kl");
    assert_non_null(strstr(kl, "verl actor/reward_kl_penalty (nats a token)"));
    const char *explained = metric_aliases(ppo, "val/explained_var");
    assert_non_null(strstr(explained, "verl critic/vf_explained_var"));
    assert_non_null(strstr(metric_aliases(pipeline_stages[3].metrics, "accuracy"), "OpenRLHF acc"));
}

int main(void)
{
    gsl_set_error_handler_off();
    store_setup();
    char folder[64];
    test_folder(folder);
    if (chdir(folder) != 0)
        return 1; /* a run that should have been refused stays out of the tree */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_explains_itself),
        cmocka_unit_test(help_of_a_stage_lists_its_settings),
        cmocka_unit_test(nothing_said_is_a_usage_error_with_help),
        cmocka_unit_test(near_misses_are_named),
        cmocka_unit_test(wrong_settings_are_named),
        cmocka_unit_test(presets_are_built_in_and_resolve),
        cmocka_unit_test(config_new_check_and_diff_agree),
        cmocka_unit_test(options_never_enter_the_settings),
        cmocka_unit_test(only_settings_that_count_change_what_a_stage_is_made_from),
        cmocka_unit_test(faults_are_listed_and_revealed),
        cmocka_unit_test(a_fault_is_a_setting_only_where_there_is_one),
        cmocka_unit_test(a_stage_without_inputs_says_what_to_run),
        cmocka_unit_test(a_dry_run_changes_nothing),
        cmocka_unit_test(lists_are_lists_on_numeric_settings_only),
        cmocka_unit_test(text_of_strangers_is_escaped),
        cmocka_unit_test(text_is_wrapped_at_spaces),
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(a_curve_is_drawn_between_labelled_axes),
        cmocka_unit_test(tasks_and_versions_are_valid_json),
        cmocka_unit_test(metrics_are_explained_from_their_table),
        cmocka_unit_test(every_metric_of_every_stage_is_described),
        cmocka_unit_test(other_names_are_of_metrics_there_are),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(folder) == 0 ? failed : 1;
}
