/* A task: the world the policy lives in. It gives text to pretrain on, prompts, demonstrations and,
 * where it has one, the gold reward: what the simulated human really wants.
 *
 * Gold is for the labeller, for evaluation and for the journal. No training path reads it. */
#ifndef DATA_TASKS_TASK_H
#define DATA_TASKS_TASK_H

#include "data/config.h"
#include "data/memory.h"
#include "data/status.h"
#include "data/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct TaskConfig {
    char name[CONFIG_TEXT];  /* reviews | sentiment | exact | files */
    int64_t documents;       /* reviews, exact: documents to pretrain on */
    int64_t demonstrations;  /* demonstrations to fine-tune on */
    int64_t vocabulary;      /* ids of the trained BPE */
    int64_t prompt_words;    /* sentiment: words of text that make a prompt */
    int64_t response_tokens; /* longest answer, EOS included */
    /* files: paths of JSONL and text, "" where there is none */
    char text[CONFIG_TEXT];
    char demonstration_file[CONFIG_TEXT];
    char pair_file[CONFIG_TEXT];
    char prompt_file[CONFIG_TEXT];
} TaskConfig;

extern const ConfigSection task_section; /* offset 0; the program sets its own */

/* Two disjoint streams of prompts. */
typedef enum TaskSplit { TASK_TRAIN, TASK_HELD_OUT } TaskSplit;

/* One answer to one prompt, as the simulated human sees it. */
typedef struct TaskAnswer {
    const char *prompt;
    size_t prompt_count;
    const char *response; /* without <|endoftext|> */
    size_t response_count;
    bool terminated; /* it ended with <|endoftext|> */
} TaskAnswer;

typedef struct Task Task;

/* One of the terms that gold adds up. */
typedef struct GoldTerm {
    const char *name; /* a word, or "a repetition" */
    double weight;    /* hidden from everybody who learns */
} GoldTerm;

/* What a kind of task can do. NULL where it cannot: `files` has no gold, `sentiment` no floor. */
typedef struct TaskKind {
    const char *name;
    const char *summary; /* one line for `rlhf tasks` */
    Status (*open)(Task *task, const TaskConfig *config, uint64_t seed);
    void (*close)(Task *task);
    /* All documents to pretrain on (train) or to measure loss on (held out). */
    Status (*documents)(Texts *texts, const Task *task, TaskSplit split);
    /* Prompt `index` of the stream; any index >= 0 (finite prompt files wrap around). */
    Status (*prompt)(Bytes *prompt, const Task *task, TaskSplit split, int64_t index);
    /* Demonstration `index`: a prompt and a human's answer to it. */
    Status (*demonstration)(Bytes *prompt, Bytes *response, const Task *task, TaskSplit split,
                            int64_t index);
    int64_t (*demonstration_count)(const Task *task, TaskSplit split);
    /* The gold reward of an answer. Pure: the same answer always gives the same number. */
    double (*gold)(const Task *task, const TaskAnswer *answer);
    /* Term `index` (>= 0) of the sum that gold is, before anything bends it; false: there are no
     * more. And how much of each is in an answer (amount: one a term). For people who want to see
     * what a judge has learned. */
    bool (*gold_term)(GoldTerm *term, const Task *task, int index);
    void (*gold_amounts)(double *amount, const Task *task, const TaskAnswer *answer);
    /* Gold as annotator `annotator` sees it (>= 0); the task may ignore who it is. */
    double (*annotator_gold)(const Task *task, const TaskAnswer *answer, int annotator);
    int (*annotators)(const Task *task);
    /* Share of the answer that is well formed, 0 to 1: reviews, whether the grammar could have
     * said it; sentiment, the share of words that occur in the corpus. */
    double (*well_formed)(const Task *task, const TaskAnswer *answer);
    /* log-probability (nats) with which the world itself would give this demonstration's answer:
     * the floor of any model's loss. */
    double (*log_probability)(const Task *task, const TaskAnswer *answer);
    /* Own words instead of a trained BPE; NULL: train one. */
    Status (*words)(const char *const **words, int *count, const Task *task);
    /* Labelled pairs the task brings itself (files); NULL: the label stage makes them. */
    Status (*pair)(Bytes *prompt, Bytes *chosen, Bytes *rejected, const Task *task, int64_t index);
    int64_t (*pair_count)(const Task *task);
    /* How many prompts there are, where they are so few that a run may enumerate them: both streams
     * are then prompts 0, 1, ... of these, again and again. NULL: many. */
    int (*all_prompts)(const Task *task);
    /* Hash of the data outside the program that it reads; NULL: it reads none. */
    Status (*data_digest)(Digest *digest, const Task *task);
} TaskKind;

struct Task {
    const TaskKind *kind;
    const TaskConfig *config;
    uint64_t seed;
    void *world; /* the kind's own */
};

/* Opens the task that config->name asks for; `config` must outlive it. Missing package data:
 * STATUS_DATA with the command that fetches it. A kind's close must cope with a failed open. */
Status task_open(Task *task, const TaskConfig *config, uint64_t seed);
void task_close(Task *task); /* fine on a zeroed one */

/* All kinds, in the order `rlhf tasks` lists them. */
const TaskKind *const *task_kinds(int *count);

/* A hash of the data outside the program that the task reads (VADER, Austen, own files); equal
 * digests, equal data. */
Status task_data_digest(Digest *digest, const Task *task);

#endif
