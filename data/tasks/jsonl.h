/* The field's data sets as JSONL: TRL's `text`, `prompt`, `completion`, `chosen`, `rejected` and
 * `messages`, and Anthropic HH's `chosen` and `rejected` dialogues. One object a line. */
#ifndef DATA_TASKS_JSONL_H
#define DATA_TASKS_JSONL_H

#include "data/memory.h"
#include "data/status.h"

/* What a file may be read as. */
typedef enum JsonlKind {
    JSONL_TEXT,           /* {"text"} */
    JSONL_PROMPTS,        /* {"prompt"} */
    JSONL_DEMONSTRATIONS, /* {"prompt", "completion"} or {"messages"} */
    JSONL_PAIRS,          /* {"prompt", "chosen", "rejected"} or {"chosen", "rejected"} */
} JsonlKind;

/* The columns of a file; those that its kind lacks stay empty. Zero-initialise. */
typedef struct JsonlRows {
    int count;
    Texts prompt;
    Texts first;  /* text, completion or chosen */
    Texts second; /* rejected */
} JsonlRows;

/* Reads a file of any size line by line; what it keeps is the columns. A line of more than 1 MiB,
 * broken JSON, a missing or mistyped key, a pair without a common prompt:
 * STATUS_DATA, "pairs.jsonl:3:14: ...". Unknown keys are fine. */
Status jsonl_read(JsonlRows *rows, const char *path, JsonlKind kind);
void jsonl_free(JsonlRows *rows);

/* Where the prompt of two dialogues that share their beginning ends: after the last
 * "\n\nAssistant:" they have in common, else after their common bytes (not inside a character). */
size_t jsonl_common_prompt(const char *chosen, size_t chosen_count, const char *rejected,
                           size_t rejected_count);

#endif
