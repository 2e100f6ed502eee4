#include "data/io_lines.h"
#include "data/json.h"
#include "data/metrics.h"
#include "data/store/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A row takes no fewer bytes than {"step":1} and its newline. */
enum { COLUMNS_MAX = 1024, VALUES_FREE = 1 << 16, LINE_MAX_BYTES = 1 << 20, ROW_BYTES_MIN = 11 };
static const size_t values_max = (size_t)1 << 27;   /* columns times rows */
static const size_t snapshot_max = (size_t)3 << 23; /* of these in a metrics.h5 */

/* A journal in the making. */
typedef struct Reading {
    MetricColumns *columns;
    int rows;           /* of the whole journal */
    size_t values_most; /* columns times rows that so many bytes may claim */
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

/* Bytes of the file as it is now, and newlines in them. */
static Status count_rows(size_t *rows, size_t *size, const char *path)
{
    IoLines lines;
    const char *bytes;
    *rows = *size = 0;
    Status status = io_lines_open(&lines, path, LINE_MAX_BYTES);
    for (size_t count; status == STATUS_OK; io_lines_skip(&lines, count)) {
        status = io_lines_peek(&bytes, &count, &lines, 1);
        if (status != STATUS_OK || count == 0) break;
        for (size_t i = 0; i < count; i++) *rows += bytes[i] == '\n';
        *size += count;
    }
    const Status closed = io_lines_close(&lines);
    return status == STATUS_OK ? closed : status;
}

/* Memory in proportion to the bytes of the file: newlines are cheap, and a row of one byte must not
 * claim much of a row, nor a value for each of 1 024 columns. */
static Status start_reading(Reading *reading, const char *path)
{
    size_t rows, size;
    TRY(count_rows(&rows, &size, path));
    const size_t most = size / ROW_BYTES_MIN + 1; /* of which not all can be whole */
    if (most < rows) rows = most;
    if (rows > INT32_MAX) return status_fail(STATUS_DATA, "%s: %zu rows are too many", path, rows);
    const size_t meant = VALUES_FREE + size;
    reading->rows = (int)rows;
    reading->values_most = meant < values_max ? meant : values_max;
    if (rows == 0) return STATUS_OK;
    void *block;
    TRY(memory_claim(&block, rows * sizeof *reading->columns->step));
    reading->columns->step = block;
    return STATUS_OK;
}

static Status take_line(Reading *reading, IoLines *lines)
{
    const char *text;
    size_t count;
    TRY(io_lines_next(&text, &count, lines));
    if (text == NULL) {
        return status_fail(STATUS_DATA, "%s: became shorter while it was read", lines->path);
    }
    JsonDocument *document;
    TRY(json_parse_line(&document, STATUS_DATA, lines->path, lines->line, text, count));
    const Status status = take_row(reading, json_root(document));
    json_free(document);
    return status;
}

static Status take_rows(Reading *reading, const char *path)
{
    IoLines lines;
    Status status = io_lines_open(&lines, path, LINE_MAX_BYTES);
    for (int i = 0; i < reading->rows && status == STATUS_OK; i++) {
        status = take_line(reading, &lines);
    }
    const Status closed = io_lines_close(&lines);
    return status == STATUS_OK ? closed : status;
}

Status metric_columns_read(MetricColumns *columns, const char *path)
{
    *columns = (MetricColumns){0};
    Reading reading = {.columns = columns};
    Status status = start_reading(&reading, path);
    if (status == STATUS_OK) status = take_rows(&reading, path);
    if (status != STATUS_OK) metric_columns_free(columns);
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
    const size_t rows = (size_t)columns->rows, values = rows * ((size_t)columns->columns + 1);
    if (values > snapshot_max) {
        return status_fail(STATUS_DATA, "%zu values, at most %zu", values, snapshot_max);
    }
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
