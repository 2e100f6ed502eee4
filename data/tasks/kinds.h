/* The kinds of task there are, for data/tasks/task.c, which lists them; one file (or few) each. */
#ifndef DATA_TASKS_KINDS_H
#define DATA_TASKS_KINDS_H

#include "data/tasks/task.h"

extern const TaskKind reviews_task;   /* an embedded world: nothing to fetch */
extern const TaskKind sentiment_task; /* Austen's prose, judged by VADER's ratings */
extern const TaskKind exact_task;     /* so small that every answer can be enumerated */
extern const TaskKind files_task;     /* the user's own text and JSONL */

#endif
