#include "data/json.h"
#include "data/metrics.h"
#include "data/store/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = 1024, VALUES_FREE = 1 << 16, VALUES_A_BYTE = 8 };
static const size_t journal_max = (size_t)1 << 28; /* bytes */
static const size_t values_max = (size_t)1 << 27;  /* columns times rows */

/* A journal in the making. */
typedef struct Reading {
    MetricColumns *columns;
    int rows;           /* of the whole journal */
    size_t values_most; /* columns times rows that so many bytes can mean */
    size_t room;        /* columns that there is memory for */
} Reading;

static Status make_room(Reading *reading)
{
    MetricColumns *columns = reading->columns;
    const size_t most = reading->values_most / (size_t)reading->rows;
    const size_t wanted = 2 * reading->room + 8, room = wanted < most ? wanted : most;
    void *block = columns->name;
    TRY(memory_resize(&block, room * sizeof *columns->name));
    columns->name = block;
    block = columns->value;
    TRY(memory_resize(&block, room * (size_t)reading->rows * sizeof *columns->value));
    columns->value = block;
    reading->room = room;
    return STATUS_OK;
}

/* A new column of NAN behind the others. */
static Status add_column(Reading *reading, Json member)
{
    MetricColumns *columns = reading->columns;
    const char *name = json_key(member);
    const size_t rows = (size_t)reading->rows, count = (size_t)columns->columns + 1;
    if (strlen(name) >= sizeof *columns->name) {
        return json_fail(member, "a metric's name of more than %zu bytes",
                         sizeof *columns->name - 1);
    }
    if (count > COLUMNS_MAX || count * rows > reading->values_most) {
        return json_fail(member, "too many metrics, %zu in %zu rows", count, rows);
    }
    if (count > reading->room) TRY(make_room(reading));
    snprintf(columns->name[count - 1], sizeof *columns->name, "%s", name);
    double *value = columns->value + (count - 1) * rows;
    for (size_t i = 0; i < rows; i++) value[i] = NAN;
    columns->columns++;
    return STATUS_OK;
}

/* Columns mostly come in the order of the row before, so `guess` is tried first. */
static int find_column(const MetricColumns *columns, const char *name, int guess)
{
    if (guess < columns->columns && strcmp(columns->name[guess], name) == 0) return guess;
    int i = 0;
    while (i < columns->columns && strcmp(columns->name[i], name) != 0) i++;
    return i;
}

static Status take_row(Reading *reading, Json record)
{
    MetricColumns *columns = reading->columns;
    const size_t rows = (size_t)reading->rows, row = (size_t)columns->rows;
    TRY(json_get_integer(&columns->step[row], record, "step"));
    int next = 0;
    for (Json member = json_first(record); member.item != NULL; member = json_next(member)) {
        if (strcmp(json_key(member), "step") == 0) continue;
        const int index = find_column(columns, json_key(member), next);
        if (index == columns->columns) TRY(add_column(reading, member));
        if (json_kind(member) != JSON_NULL) {
            TRY(json_number(&columns->value[(size_t)index * rows + row], member));
        }
        next = index + 1;
    }
    columns->rows++;
    return STATUS_OK;
}

static Status take_rows(MetricColumns *columns, const Bytes *text, const char *path)
{
    int rows = 0;
    for (size_t i = 0; i < text->count; i++) rows += text->data[i] == '\n';
    if (rows == 0) return STATUS_OK;
    void *block;
    TRY(memory_claim(&block, (size_t)rows * sizeof *columns->step));
    columns->step = block;

    /* Newlines are cheap: a row of one byte must not claim a value for each of 1 024 columns. */
    const size_t meant = VALUES_FREE + text->count * VALUES_A_BYTE;
    Reading reading = {
        .columns = columns, .rows = rows, .values_most = meant < values_max ? meant : values_max};
    const char *line = text->data;
    for (int i = 0; i < rows; i++) {
        const char *end = memchr(line, '\n', text->count - (size_t)(line - text->data));
        JsonDocument *document;
        TRY(json_parse_line(&document, STATUS_DATA, path, i + 1, line, (size_t)(end - line)));
        const Status status = take_row(&reading, json_root(document));
        json_free(document);
        TRY(status);
        line = end + 1;
    }
    return STATUS_OK;
}

Status metric_columns_read(MetricColumns *columns, const char *path)
{
    *columns = (MetricColumns){0};
    Bytes text = {0};
    Status status = io_read(&text, path, journal_max);
    if (status == STATUS_OK) status = take_rows(columns, &text, path);
    if (status != STATUS_OK) metric_columns_free(columns);
    bytes_free(&text);
    return status;
}

const double *metric_column(const MetricColumns *columns, const char *name)
{
    const int index = find_column(columns, name, 0);
    if (index == columns->columns) return NULL;
    return columns->value + (size_t)index * (size_t)columns->rows;
}

void metric_columns_free(MetricColumns *columns)
{
    memory_release(columns->step);
    memory_release(columns->name);
    memory_release(columns->value);
    *columns = (MetricColumns){0};
}

/* What people need to read the column. */
static Status describe_column(StoreImage *image, const char *name, const MetricTable *table,
                              const MetricInfo *info)
{
    const char *aliases = metric_aliases(table, info->name);
    char healthy[64];
    metric_healthy(healthy, info);
    TRY(store_put_text(image, name, "units", info->unit));
    TRY(store_put_text(image, name, "long_name", info->formula));
    TRY(store_put_text(image, name, "averaged_over", info->over));
    TRY(store_put_text(image, name, "comment", info->meaning));
    if (healthy[0] != '\0') TRY(store_put_text(image, name, "healthy", healthy));
    return aliases != NULL ? store_put_text(image, name, "aliases", aliases) : STATUS_OK;
}

static Status put_column(StoreImage *image, const MetricColumns *columns, int index,
                         const MetricTable *table)
{
    char name[sizeof *columns->name + 1];
    snprintf(name, sizeof name, "/%s", columns->name[index]);
    const size_t rows = (size_t)columns->rows;
    TRY(store_put(image, name, STORE_F64, 1, &rows, columns->value + (size_t)index * rows, true));
    const MetricInfo *info = metric_find(table, columns->name[index]);
    if (info != NULL) TRY(describe_column(image, name, table, info));
    return store_put_scale(image, "/step", name);
}

static Status put_columns(StoreImage *image, const MetricColumns *columns, const MetricTable *table)
{
    const size_t rows = (size_t)columns->rows;
    TRY(store_put(image, "/step", STORE_I64, 1, &rows, columns->step, true));
    TRY(store_put_text(image, "/step", "long_name", "steps done"));
    for (int i = 0; i < columns->columns; i++) {
        TRY(put_column(image, columns, i, table));
    }
    return STATUS_OK;
}

Status metrics_publish(const char *path, const char *journal_path, const MetricTable *table,
                       Digest *digest)
{
    MetricColumns columns;
    TRY(metric_columns_read(&columns, journal_path));
    StoreImage *image = NULL;
    Status status = store_create(&image);
    if (status == STATUS_OK) status = put_columns(image, &columns, table);
    metric_columns_free(&columns);
    if (status != STATUS_OK) {
        store_discard(image);
        return status_context(status, "%s", path);
    }
    return store_publish(image, path, digest);
}
