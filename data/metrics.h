/* Metrics: each declared once, with what people need to read it; help, files and reports walk the
 * tables. The journal is the live copy, metrics.h5 a snapshot of it. */
#ifndef DATA_METRICS_H
#define DATA_METRICS_H

#include "data/digest_log.h"
#include "data/memory.h"
#include "data/status.h"

#include <stdint.h>

typedef struct MetricInfo {
    const char *name;    /* "objective/kl" */
    const char *unit;    /* "nats a sequence" */
    const char *formula; /* "mean over sequences of sum_t (logp_t - reference_logp_t)" */
    const char *over;    /* what it averages over */
    double low, high;    /* healthy range; NAN where there is none */
    const char *meaning; /* one line: what an unhealthy value usually means */
} MetricInfo;

/* What other frameworks call a metric, and how theirs differs in unit or sign. */
typedef struct MetricAlias {
    const char *name;   /* ours */
    const char *others; /* "verl actor/reward_kl_penalty (nats a token); ..." */
} MetricAlias;

typedef struct MetricTable {
    const MetricInfo *metrics;
    int count;
    const MetricAlias *aliases; /* ends with a NULL name; NULL: none */
} MetricTable;

const MetricInfo *metric_find(const MetricTable *table, const char *name); /* NULL: none */
const char *metric_aliases(const MetricTable *table, const char *name);    /* NULL: none known */
/* "0 to 20", "at least 0", "at most 1" or, where nothing is healthy or ill by itself, "". */
void metric_healthy(char text[64], const MetricInfo *metric);

/* metrics.jsonl: append-only, one write() a record: {"step":1,"objective/kl":0.0,...}. Nothing in
 * it depends on clock, host or threads. */
typedef struct Journal {
    DigestLog file;
    const MetricTable *table;
    Bytes line; /* the record being written */
} Journal;

/* Opens `path` for appending, first cut back to `length` bytes (0: empty). Shorter than that:
 * STATUS_DATA. */
Status journal_open(Journal *journal, const char *path, const MetricTable *table, uint64_t length);
/* One record; `value[i]` belongs to table->metrics[i]; NAN: left out, infinite: null. */
Status journal_write(Journal *journal, int64_t step, const double *value);
Status journal_close(Journal *journal); /* fine on one that is zero or closed */

/* The rows of a journal (or of timings.jsonl) as columns; a torn last line is dropped. */
typedef struct MetricColumns {
    int rows, columns;
    int64_t *step;      /* (rows) */
    char (*name)[64];   /* (columns), in order of first appearance */
    double *value;      /* (columns, rows), NAN where a record has none */
} MetricColumns;

/* Takes memory in proportion to the file. A line of over 1 MiB, or that is not an object of numbers
 * (or null) with a "step": STATUS_DATA with its place. */
Status metric_columns_read(MetricColumns *columns, const char *path);
const double *metric_column(const MetricColumns *columns, const char *name); /* NULL: none */
void metric_columns_free(MetricColumns *columns);

/* metrics.h5 from metrics.jsonl: /step as dimension scale and one float64 dataset a metric with
 * attributes units, long_name (the formula), averaged_over, healthy, comment (what an unhealthy
 * value means) and aliases, from the table; also valid netCDF-4. A journal that is too long for it
 * or not readable: STATUS_DATA. */
Status metrics_publish(const char *path, const char *journal_path, const MetricTable *table,
                       Digest *digest);

#endif
