/* Pairs of answers that a task brings with it, as tokens. */
#ifndef REWARD_TASK_PAIRS_H
#define REWARD_TASK_PAIRS_H

#include "data/sequences.h"
#include "data/tasks/task.h"
#include "data/tokenizer.h"

/* Adds the answers of pairs [first, first + count) to *answers, of each the preferred one first.
 * STATUS_DATA for a pair that does not fit in `positions` tokens. */
Status task_pairs_read(Sequences *answers, const Task *task, const Tokenizer *tokenizer,
                       int positions, int first, int count);

#endif
