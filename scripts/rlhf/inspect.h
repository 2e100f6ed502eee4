/* What `rlhf inspect` shows: rows of a step's rollouts as a table, CSV or JSON. */
#ifndef SCRIPTS_RLHF_INSPECT_H
#define SCRIPTS_RLHF_INSPECT_H

#include "data/memory.h"
#include "scripts/rlhf/rollout_of_run.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct Look {
    FILE *out;
    bool json, csv; /* neither: a table */
    RunRollout view;
    int64_t sample; /* whose tokens are shown; -1: none */
    int64_t *row;   /* answers, or tokens of the sample, in the order shown */
    int rows;
    Bytes text, cell; /* of one row: as it is, and safe to show */
} Look;

typedef enum ColumnKind { COLUMN_INTEGER, COLUMN_NUMBER, COLUMN_FLAG } ColumnKind;

typedef struct Column {
    const char *name;
    ColumnKind kind;
    int width;
    double (*value)(const Look *look, int64_t row); /* NAN: nothing to show */
} Column;

/* Numbers, then one text a row. */
typedef struct Table {
    const Column *column;
    int columns;
    const char *text_name;
    Status (*read_text)(Look *look, int64_t row); /* into look->text */
    int text_width;                               /* 0: whole and in quotes, spaces count */
} Table;

extern const Table inspect_answers, inspect_tokens;

/* NULL: no answer has a column of that name. */
const Column *inspect_column(const char *name);

/* Prints the rows chosen. */
Status inspect_show(Look *look);

#endif
