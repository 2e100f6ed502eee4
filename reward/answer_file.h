/* Answers that a stage has drawn so far, as a file of its checkpoint: the sequences and a few
 * numbers an answer. Whoever goes on computes the rest again. */
#ifndef REWARD_ANSWER_FILE_H
#define REWARD_ANSWER_FILE_H

#include "data/manifest.h"
#include "data/sequences.h"
#include "data/store/store.h"

enum { ANSWER_FILE_COLUMNS = 8, ANSWER_FILE_VERSION = 1 };

/* One number an answer, for every answer of the file. */
typedef struct AnswerColumn {
    const char *name; /* "terminated": it is /answer/terminated */
    StoreType type;
    void *data; /* (answers) */
} AnswerColumn;

/* Writes folder/name. */
Status answer_file_write(const Sequences *answers, const AnswerColumn *column, int columns,
                         const char *folder, const char *name);

/* Adds the `count` answers of folder/name to *answers and fills the columns. The file must be the
 * one that the manifest names; it must hold just so many answers, of ids below `vocabulary`:
 * STATUS_DATA with path and cause. */
Status answer_file_read(Sequences *answers, const AnswerColumn *column, int columns, int count,
                        const char *folder, const char *name, const Manifest *manifest,
                        int vocabulary);

#endif
