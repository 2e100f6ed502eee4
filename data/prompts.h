/* The task's prompts and answers as tokens, and answers as text: where words meet ids. */
#ifndef DATA_PROMPTS_H
#define DATA_PROMPTS_H

#include "data/sequences.h"
#include "data/tasks/task.h"
#include "data/tokenizer.h"

/* Prompts index[0..count) of a split, one sequence each, without answers. */
Status prompts_read(Sequences *prompts, const Task *task, const Tokenizer *tokenizer,
                    TaskSplit split, const int64_t *index, int count);

/* Demonstrations first .. first + count - 1: prompt, answer, <|endoftext|>. One longer than
 * `longest` tokens: STATUS_DATA with its index and lengths. */
Status demonstrations_read(Sequences *sequences, const Task *task, const Tokenizer *tokenizer,
                           TaskSplit split, int64_t first, int64_t count, int64_t longest);

/* Answer `index` as the task sees it; prompt and response are decoded into the two texts, which
 * must live as long as the answer. */
Status answer_read(TaskAnswer *answer, Bytes *prompt, Bytes *response, const Sequences *sequences,
                   int index, const Tokenizer *tokenizer);

/* Gold of every sequence; NaN where the task has none. */
Status answers_gold(float *gold, const Task *task, const Sequences *sequences,
                    const Tokenizer *tokenizer);

/* The tokenizer.json that `stage` published into `run`. Missing or not matching: STATUS_DATA that
 * says what to run. */
Status stage_read_tokenizer(Tokenizer **tokenizer, const char *run, const char *stage);

#endif
