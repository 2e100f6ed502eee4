#include "data/metrics.h"

#include "data/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const MetricInfo *metric_find(const MetricTable *table, const char *name)
{
    for (int i = 0; i < table->count; i++) {
        if (strcmp(table->metrics[i].name, name) == 0) return &table->metrics[i];
    }
    return NULL;
}

const char *metric_aliases(const MetricTable *table, const char *name)
{
    const MetricAlias *alias = table->aliases;
    while (alias != NULL && alias->name != NULL && strcmp(alias->name, name) != 0) alias++;
    return alias != NULL ? alias->others : NULL;
}

void metric_healthy(char text[64], const MetricInfo *metric)
{
    text[0] = '\0';
    if (isfinite(metric->low) && isfinite(metric->high)) {
        snprintf(text, 64, "%g to %g", metric->low, metric->high);
    } else if (isfinite(metric->low)) {
        snprintf(text, 64, "at least %g", metric->low);
    } else if (isfinite(metric->high)) {
        snprintf(text, 64, "at most %g", metric->high);
    }
}

Status journal_open(Journal *journal, const char *path, const MetricTable *table, uint64_t length)
{
    *journal = (Journal){.table = table};
    return digest_log_open(&journal->file, path, length);
}

Status journal_write(Journal *journal, int64_t step, const double *value)
{
    bytes_clear(&journal->line);
    JsonWriter writer = json_writer(&journal->line, 0);
    json_open(&writer, NULL, '{');
    json_put_integer(&writer, "step", step);
    for (int i = 0; i < journal->table->count; i++) {
        if (!isnan(value[i])) json_put_number(&writer, journal->table->metrics[i].name, value[i]);
    }
    json_close(&writer);
    TRY(json_done(&writer));
    TRY(bytes_text(&journal->line, "\n"));
    return digest_log_append(&journal->file, journal->line.data, journal->line.count);
}

Status journal_close(Journal *journal)
{
    bytes_free(&journal->line);
    return digest_log_close(&journal->file);
}
