/* Own data: TRL's JSONL and HH's dialogues in, with line and column where they are wrong. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/io.h"
#include "data/tasks/jsonl.h"
#include "data/tasks/kinds.h"

static void write_text(char path[160], const char *name, const char *text)
{
    snprintf(path, 160, "%s/%s", folder, name);
    assert_ok(io_publish(path, text, strlen(text)));
}

static void assert_text(const Texts *texts, int index, const char *expected)
{
    size_t count;
    const char *text = texts_at(texts, index, &count);
    assert_int_equal(count, strlen(expected));
    assert_memory_equal(text, expected, count);
}

static void hh_dialogues_share_their_prompt_up_to_the_last_turn(void **state)
{
    (void)state;
    char path[160];
    write_text(
        path, "hh.jsonl",
        "{\"chosen\":\"\\n\\nHuman: Hi\\n\\nAssistant: Yes\\n\\nHuman: So?\\n\\nAssistant: Go "
        "on.\",\"rejected\":\"\\n\\nHuman: Hi\\n\\nAssistant: Yes\\n\\nHuman: So?\\n\\nAssistant: "
        "Go away.\"}\n\n{\"chosen\":\"2+2=4\",\"rejected\":\"2+2=5\"}\n");
    JsonlRows rows = {0};
    assert_ok(jsonl_read(&rows, path, JSONL_PAIRS));
    assert_int_equal(rows.count, 2);
    assert_text(&rows.prompt, 0, "\n\nHuman: Hi\n\nAssistant: Yes\n\nHuman: So?\n\nAssistant:");
    assert_text(&rows.first, 0, " Go on.");
    assert_text(&rows.second, 0, " Go away.");
    assert_text(&rows.prompt, 1, "2+2=");
    assert_text(&rows.first, 1, "4");
    jsonl_free(&rows);
}

static void a_common_prompt_ends_between_characters(void **state)
{
    (void)state;
    /* e-acute and e-grave share their first byte. */
    assert_int_equal(jsonl_common_prompt("caf\u00e9", 5, "caf\u00e8", 5), 3);
}

static void messages_become_a_dialogue(void **state)
{
    (void)state;
    char path[160];
    write_text(path, "chat.jsonl",
               "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},"
               "{\"role\":\"assistant\",\"content\":\"Hello\"}]}\n");
    JsonlRows rows = {0};
    assert_ok(jsonl_read(&rows, path, JSONL_DEMONSTRATIONS));
    assert_text(&rows.prompt, 0, "\n\nHuman: Hi\n\nAssistant:");
    assert_text(&rows.first, 0, " Hello");
    jsonl_free(&rows);
}

static void wrong_lines_are_named_with_line_and_column(void **state)
{
    (void)state;
    const struct {
        JsonlKind kind;
        const char *text, *part;
    } cases[] = {
        {JSONL_PROMPTS, "{\"prompt\":\"a\"}\n{\"prompt\":3}\n", "bad.jsonl:2:2: prompt"},
        {JSONL_PROMPTS, "{\"prompt\":\"a\"}\n\n{\"prompt\"", "bad.jsonl:3:10"},
        {JSONL_PAIRS, "{\"chosen\":\"a\"}\n", "rejected"},
        {JSONL_PAIRS, "{\"chosen\":\"a\",\"rejected\":\"b\"}\n", "no common prompt"},
        {JSONL_DEMONSTRATIONS, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n",
         "the last turn is not the assistant's"},
        {JSONL_TEXT, "[1]\n", "expected an object"},
    };
    char path[160];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text(path, "bad.jsonl", cases[i].text);
        JsonlRows rows = {0};
        assert_fails(jsonl_read(&rows, path, cases[i].kind), STATUS_DATA, cases[i].part);
        jsonl_free(&rows);
    }
}

static void splits_are_disjoint_and_whole(void **state)
{
    (void)state;
    char path[160];
    Bytes lines = {0};
    for (int i = 0; i < 37; i++) {
        assert_ok(bytes_print(&lines, "{\"prompt\":\"p%d\",\"completion\":\" c%d\"}\n", i, i));
    }
    write_text(path, "demos.jsonl", lines.data);
    TaskConfig config = {.name = "files"};
    snprintf(config.demonstration_file, sizeof config.demonstration_file, "%s", path);
    Task task;
    assert_ok(task_open(&task, &config, 1));
    assert_int_equal(task.kind->demonstration_count(&task, TASK_TRAIN), 34);
    assert_int_equal(task.kind->demonstration_count(&task, TASK_HELD_OUT), 3);
    int seen[37] = {0};
    for (int split = 0; split < 2; split++) {
        for (int i = 0; i < (split == 0 ? 34 : 3); i++) {
            Bytes prompt = {0}, response = {0};
            assert_ok(task.kind->demonstration(&prompt, &response, &task, (TaskSplit)split, i));
            seen[atoi(prompt.data + 1)]++;
            bytes_free(&prompt);
            bytes_free(&response);
        }
    }
    for (int i = 0; i < 37; i++) assert_int_equal(seen[i], 1);
    assert_null(task.kind->gold);
    task_close(&task);
    bytes_free(&lines);
}

static void nothing_to_learn_from_is_said(void **state)
{
    (void)state;
    char path[160];
    Task task;
    TaskConfig config = {.name = "files"};
    assert_fails(task_open(&task, &config, 1), STATUS_DATA, "no text to learn from");
    write_text(path, "empty.txt", "");
    snprintf(config.text, sizeof config.text, "%s", path);
    assert_fails(task_open(&task, &config, 1), STATUS_DATA, "empty.txt: no text");
    config.text[0] = '\0';
    write_text(path, "pairs.jsonl", "\n");
    snprintf(config.pair_file, sizeof config.pair_file, "%s", path);
    assert_fails(task_open(&task, &config, 1), STATUS_DATA, "pairs.jsonl: no pairs");
    snprintf(config.pair_file, sizeof config.pair_file, "%s/missing.jsonl", folder);
    assert_fails(task_open(&task, &config, 1), STATUS_DATA, "missing.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(hh_dialogues_share_their_prompt_up_to_the_last_turn),
        cmocka_unit_test(a_common_prompt_ends_between_characters),
        IN_FOLDER(messages_become_a_dialogue),
        IN_FOLDER(wrong_lines_are_named_with_line_and_column),
        IN_FOLDER(splits_are_disjoint_and_whole),
        IN_FOLDER(nothing_to_learn_from_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
