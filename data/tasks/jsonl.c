#include "data/tasks/jsonl.h"

#include "data/io_lines.h"
#include "data/json.h"

#include <limits.h>
#include <string.h>

enum { LINE_CAP = 1 << 20 };

#define ASSISTANT_TURN "\n\nAssistant:"
#define HUMAN_TURN "\n\nHuman: "

size_t jsonl_common_prompt(const char *chosen, size_t chosen_count, const char *rejected,
                           size_t rejected_count)
{
    size_t common = 0;
    while (common < chosen_count && common < rejected_count && chosen[common] == rejected[common]) {
        common++;
    }
    const size_t turn = strlen(ASSISTANT_TURN);
    for (size_t end = common; end >= turn; end--) {
        if (memcmp(chosen + end - turn, ASSISTANT_TURN, turn) == 0) return end;
    }
    /* A UTF-8 character that both begin alike belongs to neither prompt. */
    while (common > 0 && common < chosen_count && ((unsigned char)chosen[common] & 0xc0) == 0x80) {
        common--;
    }
    return common;
}

/* {"messages": [...]} as an HH dialogue: all turns but the last are the prompt. */
static Status read_messages(JsonlRows *rows, Json messages)
{
    Bytes prompt = {0};
    Status status = STATUS_OK;
    bool answered = false;
    for (Json turn = json_first(messages); turn.item != NULL && status == STATUS_OK;
         turn = json_next(turn)) {
        const char *role, *content;
        status = json_get_text(&role, turn, "role");
        if (status == STATUS_OK) status = json_get_text(&content, turn, "content");
        if (status != STATUS_OK) break;
        const bool assistant = strcmp(role, "assistant") == 0;
        const bool last = json_next(turn).item == NULL;
        if (last && assistant) {
            answered = true;
            status = bytes_text(&prompt, ASSISTANT_TURN);
            if (status == STATUS_OK) status = texts_add(&rows->prompt, prompt.data, prompt.count);
            bytes_clear(&prompt);
            if (status == STATUS_OK) status = bytes_print(&prompt, " %s", content);
            if (status == STATUS_OK) status = texts_add(&rows->first, prompt.data, prompt.count);
        } else {
            status =
                bytes_print(&prompt, "%s%s", assistant ? ASSISTANT_TURN " " : HUMAN_TURN, content);
        }
    }
    bytes_free(&prompt);
    if (status == STATUS_OK && !answered) {
        status = json_fail(messages, "messages: the last turn is not the assistant's");
    }
    return status;
}

static Status add_member(Texts *texts, Json object, const char *key)
{
    const char *text;
    TRY(json_get_text(&text, object, key));
    return texts_add(texts, text, strlen(text));
}

static Status read_pair(JsonlRows *rows, Json object)
{
    const char *chosen, *rejected;
    TRY(json_get_text(&chosen, object, "chosen"));
    TRY(json_get_text(&rejected, object, "rejected"));
    size_t shared = 0;
    if (json_find(object, "prompt").item != NULL) {
        TRY(add_member(&rows->prompt, object, "prompt"));
    } else {
        shared = jsonl_common_prompt(chosen, strlen(chosen), rejected, strlen(rejected));
        if (shared == 0)
            return json_fail(object, "chosen and rejected begin with no common prompt");
        TRY(texts_add(&rows->prompt, chosen, shared));
    }
    TRY(texts_add(&rows->first, chosen + shared, strlen(chosen + shared)));
    return texts_add(&rows->second, rejected + shared, strlen(rejected + shared));
}

static Status read_row(JsonlRows *rows, Json object, JsonlKind kind)
{
    if (json_kind(object) != JSON_OBJECT) return json_fail(object, "expected an object");
    switch (kind) {
    case JSONL_TEXT:
        return add_member(&rows->first, object, "text");
    case JSONL_PROMPTS:
        return add_member(&rows->prompt, object, "prompt");
    case JSONL_DEMONSTRATIONS: {
        const Json messages = json_find(object, "messages");
        if (messages.item != NULL) return read_messages(rows, messages);
        TRY(add_member(&rows->prompt, object, "prompt"));
        return add_member(&rows->first, object, "completion");
    }
    case JSONL_PAIRS:
        return read_pair(rows, object);
    }
    return STATUS_OK;
}

static Status read_line(JsonlRows *rows, const IoLines *lines, const char *text, size_t count,
                        JsonlKind kind)
{
    if (strspn(text, " \t\r") == count) return STATUS_OK;
    if (rows->count == INT_MAX) return status_fail(STATUS_DATA, "%s: too many rows", lines->path);
    JsonDocument *document;
    TRY(json_parse_line(&document, STATUS_DATA, lines->path, lines->line, text, count));
    const Status status = read_row(rows, json_root(document), kind);
    json_free(document);
    if (status == STATUS_OK) rows->count++;
    return status;
}

Status jsonl_read(JsonlRows *rows, const char *path, JsonlKind kind)
{
    IoLines lines;
    Status status = io_lines_open(&lines, path, LINE_CAP);
    while (status == STATUS_OK) {
        const char *text;
        size_t count;
        status = io_lines_next(&text, &count, &lines);
        if (status != STATUS_OK || text == NULL) break;
        status = read_line(rows, &lines, text, count, kind);
    }
    const Status closed = io_lines_close(&lines);
    return status != STATUS_OK ? status : closed;
}

void jsonl_free(JsonlRows *rows)
{
    texts_free(&rows->prompt);
    texts_free(&rows->first);
    texts_free(&rows->second);
    *rows = (JsonlRows){0};
}
