/* Own data: text, demonstrations, pairs and prompts from files. There is no gold.
 *
 * Every tenth prompt, demonstration and document is held out. */
#include "data/tasks/jsonl.h"
#include "data/tasks/kinds.h"

#include <string.h>

enum { HELD_OUT_EVERY = 10, TEXT_CAP = 1 << 30 };

typedef struct FilesWorld {
    JsonlRows demonstrations, pairs, prompts;
    Texts documents;
    Texts all_prompts; /* of the prompt file, or of demonstrations and pairs */
} FilesWorld;

static bool ends_with(const char *text, const char *ending)
{
    const size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

/* Plain text: a document a paragraph, its blank lines kept. */
static Status read_paragraphs(Texts *documents, const char *path)
{
    Bytes text = {0};
    Status status = io_read(&text, path, TEXT_CAP);
    for (size_t start = 0; start < text.count && status == STATUS_OK;) {
        const char *gap = strstr(text.data + start, "\n\n");
        size_t end = gap != NULL ? (size_t)(gap - text.data) : text.count;
        while (end < text.count && text.data[end] == '\n') end++;
        status = texts_add(documents, text.data + start, end - start);
        start = end;
    }
    bytes_free(&text);
    return status;
}

static Status add_joined(Texts *documents, const Texts *prompts, const Texts *answers, int index)
{
    size_t prompt_count, answer_count;
    const char *prompt = texts_at(prompts, index, &prompt_count);
    const char *answer = texts_at(answers, index, &answer_count);
    Bytes joined = {0};
    Status status = bytes_append(&joined, prompt, prompt_count);
    if (status == STATUS_OK) status = bytes_append(&joined, answer, answer_count);
    if (status == STATUS_OK) status = texts_add(documents, joined.data, joined.count);
    bytes_free(&joined);
    return status;
}

static Status read_documents(FilesWorld *world, const TaskConfig *config)
{
    if (config->text[0] != '\0') {
        if (!ends_with(config->text, ".jsonl")) {
            return read_paragraphs(&world->documents, config->text);
        }
        JsonlRows rows = {0};
        const Status status = jsonl_read(&rows, config->text, JSONL_TEXT);
        world->documents = rows.first;
        rows.first = (Texts){0};
        jsonl_free(&rows);
        return status;
    }
    for (int i = 0; i < world->demonstrations.count; i++) {
        TRY(add_joined(&world->documents, &world->demonstrations.prompt,
                       &world->demonstrations.first, i));
    }
    for (int i = 0; i < world->pairs.count; i++) {
        TRY(add_joined(&world->documents, &world->pairs.prompt, &world->pairs.first, i));
    }
    return STATUS_OK;
}

static Status add_all(Texts *to, const Texts *from)
{
    for (int i = 0; i < from->count; i++) {
        size_t count;
        const char *text = texts_at(from, i, &count);
        TRY(texts_add(to, text, count));
    }
    return STATUS_OK;
}

static Status read_all(FilesWorld *world, const TaskConfig *config)
{
    if (config->demonstration_file[0] != '\0') {
        TRY(jsonl_read(&world->demonstrations, config->demonstration_file, JSONL_DEMONSTRATIONS));
    }
    if (config->pair_file[0] != '\0') {
        TRY(jsonl_read(&world->pairs, config->pair_file, JSONL_PAIRS));
        if (world->pairs.count == 0) {
            return status_fail(STATUS_DATA, "%s: no pairs", config->pair_file);
        }
    }
    if (config->prompt_file[0] != '\0') {
        TRY(jsonl_read(&world->prompts, config->prompt_file, JSONL_PROMPTS));
    }
    TRY(read_documents(world, config));
    TRY(add_all(&world->all_prompts, &world->prompts.prompt));
    if (world->all_prompts.count == 0) {
        TRY(add_all(&world->all_prompts, &world->demonstrations.prompt));
        TRY(add_all(&world->all_prompts, &world->pairs.prompt));
    }
    if (world->documents.bytes.count == 0) {
        const char *named = config->text[0] != '\0'
                                ? config->text
                                : "task.text, task.demonstration_file and task.pair_file";
        return status_fail(STATUS_DATA, "%s: no text to learn from", named);
    }
    if (world->all_prompts.count == 0) {
        return status_fail(STATUS_DATA, "task.prompt_file, task.demonstration_file and "
                                        "task.pair_file: no prompts");
    }
    return STATUS_OK;
}

static Status files_open(Task *task, const TaskConfig *config, uint64_t seed)
{
    (void)seed;
    TRY(memory_claim(&task->world, sizeof(FilesWorld)));
    return read_all(task->world, config);
}

static void files_close(Task *task)
{
    FilesWorld *world = task->world;
    if (world == NULL) return;
    jsonl_free(&world->demonstrations);
    jsonl_free(&world->pairs);
    jsonl_free(&world->prompts);
    texts_free(&world->documents);
    texts_free(&world->all_prompts);
    memory_release(world);
    task->world = NULL;
}

/* How many of `count` rows a split has, and which row is the split's i-th. With fewer rows than
 * would fill the held-out share, both splits are all of them. */
static int split_count(int count, TaskSplit split)
{
    const int held_out = count / HELD_OUT_EVERY;
    if (held_out == 0) return count;
    return split == TASK_HELD_OUT ? held_out : count - held_out;
}

static int split_row(int count, TaskSplit split, int64_t index)
{
    const int i = (int)(index % split_count(count, split));
    if (count < HELD_OUT_EVERY) return i;
    if (split == TASK_HELD_OUT) return i * HELD_OUT_EVERY + HELD_OUT_EVERY - 1;
    return i + i / (HELD_OUT_EVERY - 1);
}

static Status files_documents(Texts *texts, const Task *task, TaskSplit split)
{
    const FilesWorld *world = task->world;
    const int count = world->documents.count;
    for (int i = 0; i < split_count(count, split); i++) {
        size_t length;
        const char *text = texts_at(&world->documents, split_row(count, split, i), &length);
        TRY(texts_add(texts, text, length));
    }
    return STATUS_OK;
}

static Status append_text(Bytes *out, const Texts *texts, int index)
{
    size_t count;
    const char *text = texts_at(texts, index, &count);
    return bytes_append(out, text, count);
}

static Status files_prompt(Bytes *prompt, const Task *task, TaskSplit split, int64_t index)
{
    const FilesWorld *world = task->world;
    return append_text(prompt, &world->all_prompts,
                       split_row(world->all_prompts.count, split, index));
}

/* Without demonstrations the preferred answers of the pairs are what is imitated. */
static const JsonlRows *demonstration_rows(const FilesWorld *world)
{
    return world->demonstrations.count > 0 ? &world->demonstrations : &world->pairs;
}

static Status files_demonstration(Bytes *prompt, Bytes *response, const Task *task, TaskSplit split,
                                  int64_t index)
{
    const JsonlRows *rows = demonstration_rows(task->world);
    const int row = split_row(rows->count, split, index);
    TRY(append_text(prompt, &rows->prompt, row));
    return append_text(response, &rows->first, row);
}

static int64_t files_demonstration_count(const Task *task, TaskSplit split)
{
    const int count = demonstration_rows(task->world)->count;
    return count > 0 ? split_count(count, split) : 0;
}

static Status files_pair(Bytes *prompt, Bytes *chosen, Bytes *rejected, const Task *task,
                         int64_t index)
{
    const FilesWorld *world = task->world;
    TRY(append_text(prompt, &world->pairs.prompt, (int)index));
    TRY(append_text(chosen, &world->pairs.first, (int)index));
    return append_text(rejected, &world->pairs.second, (int)index);
}

static int64_t files_pair_count(const Task *task)
{
    return ((const FilesWorld *)task->world)->pairs.count;
}

/* The hash of the files' contents, so that a run is bound to what they held. */
static Status files_data_digest(Digest *digest, const Task *task)
{
    const TaskConfig *config = task->config;
    const char *const paths[] = {config->text, config->demonstration_file, config->pair_file,
                                 config->prompt_file};
    Digest each[sizeof paths / sizeof paths[0]] = {{0}};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (paths[i][0] == '\0') continue;
        uint64_t count;
        TRY(io_digest(&each[i], &count, paths[i], UINT64_MAX));
    }
    *digest = digest_of(each, sizeof each);
    return STATUS_OK;
}

const TaskKind files_task = {
    .name = "files",
    .summary = "your own text, demonstrations, pairs and prompts (JSONL); no gold",
    .open = files_open,
    .close = files_close,
    .documents = files_documents,
    .prompt = files_prompt,
    .demonstration = files_demonstration,
    .demonstration_count = files_demonstration_count,
    .pair = files_pair,
    .pair_count = files_pair_count,
    .data_digest = files_data_digest,
};
