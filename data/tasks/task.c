#include "data/tasks/kinds.h"

#include "data/config.h"

#include <string.h>

static const TaskKind *const kinds[] = {&reviews_task, &sentiment_task, &exact_task, &files_task};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static const ConfigField task_fields[] = {
    FIELD_CHOICE(TaskConfig, name, "reviews", "reviews|sentiment|exact|files",
                 "the world the policy lives in"),
    FIELD_INTEGER(TaskConfig, documents, 12000, 1, 1e7, "reviews, exact: documents to pretrain on"),
    FIELD_INTEGER(TaskConfig, demonstrations, 4000, 1, 1e7, "demonstrations to fine-tune on"),
    FIELD_INTEGER(TaskConfig, vocabulary, 512, 257, 65536,
                  "ids of the byte-level BPE, trained by the tool"),
    FIELD_INTEGER(TaskConfig, prompt_words, 12, 1, 4096,
                  "sentiment: words of text that make a prompt"),
    FIELD_INTEGER(TaskConfig, response_tokens, 32, 1, 4096,
                  "longest answer in tokens, its end included"),
    FIELD_STRING(TaskConfig, text, "", "files: plain text or JSONL with \"text\" to pretrain on"),
    FIELD_STRING(TaskConfig, demonstration_file, "",
                 "files: JSONL with \"prompt\" and \"completion\""),
    FIELD_STRING(TaskConfig, pair_file, "",
                 "files: JSONL with \"prompt\", \"chosen\", \"rejected\", or HH's"),
    FIELD_STRING(TaskConfig, prompt_file, "",
                 "files: JSONL with \"prompt\"; none: the demonstrations' and pairs'"),
};

const ConfigSection task_section = {
    .name = "task",
    .fields = task_fields,
    .count = sizeof task_fields / sizeof task_fields[0],
    .help = "the task: text, prompts, demonstrations and, where it has one, the gold reward",
};

const TaskKind *const *task_kinds(int *count)
{
    *count = KINDS;
    return kinds;
}

Status task_open(Task *task, const TaskConfig *config, uint64_t seed)
{
    *task = (Task){.config = config, .seed = seed};
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i]->name, config->name) != 0) continue;
        task->kind = kinds[i];
        const Status status = kinds[i]->open(task, config, seed);
        if (status != STATUS_OK) task_close(task);
        return status;
    }
    return status_fail(STATUS_SETTINGS, "task.name = %s: no such task", config->name);
}

void task_close(Task *task)
{
    if (task->kind != NULL) task->kind->close(task);
    *task = (Task){0};
}

Status task_data_digest(Digest *digest, const Task *task)
{
    if (task->kind->data_digest == NULL) {
        *digest = (Digest){0};
        return STATUS_OK;
    }
    return task->kind->data_digest(digest, task);
}
