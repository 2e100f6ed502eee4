#include "data/events_private.h"
#include "data/io_lines.h"
#include "data/path.h"
#include "data/utf8.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char file_prefix[] = "events.out.tfevents.";
enum { HISTOGRAM_BINS = 30, HOST = 128 };
enum { RECORD_USUAL = 1 << 16, RECORD_MAX = 1 << 24 }; /* bytes; none of ours is as large */

double events_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- which file ---- */

/* The event file in `folder`, the last by name; "" where there is none. */
static Status find_file(char path[PATH_TEXT], const char *folder)
{
    Texts names = {0};
    path[0] = '\0';
    Status status = io_list(&names, folder);
    for (int i = names.count - 1; i >= 0 && status == STATUS_OK && path[0] == '\0'; i--) {
        size_t count;
        char name[PATH_TEXT];
        const char *text = texts_at(&names, i, &count);
        if (count >= sizeof name || strncmp(text, file_prefix, strlen(file_prefix)) != 0) continue;
        snprintf(name, sizeof name, "%.*s", (int)count, text);
        status = path_join(path, folder, name);
    }
    texts_free(&names);
    return status;
}

static Status name_file(char path[PATH_TEXT], const char *folder)
{
    char host[HOST] = "", name[HOST + 64];
    gethostname(host, sizeof host - 1);
    for (char *at = host; *at != '\0'; at++) {
        if (*at == '/') *at = '-';
    }
    snprintf(name, sizeof name, "%s%010lld.%s.%ld.0", file_prefix, (long long)events_clock(),
             host[0] != '\0' ? host : "host", (long)getpid());
    return path_join(path, folder, name);
}

/* The record that comes next; *whole is 0 where there is none, or a torn or damaged one. */
static Status next_record(const char **data, size_t *size, size_t *whole, IoLines *file)
{
    const char *bytes;
    size_t count, want = RECORD_USUAL;
    do {
        TRY(io_lines_peek(&bytes, &count, file, want));
        if (record_at(data, size, whole, bytes, count)) return STATUS_OK;
        want *= 2;
    } while (count >= want / 2 && want <= RECORD_MAX);
    *whole = 0;
    return STATUS_OK;
}

/* Bytes of the whole records up to the first of a step after `keep`. */
static Status measure_kept(uint64_t *length, IoLines *file, int64_t keep)
{
    for (*length = 0;;) {
        size_t size, whole;
        const char *data;
        int64_t step;
        TRY(next_record(&data, &size, &whole, file));
        if (whole == 0 || !field_find_integer(&step, EVENT_STEP, data, size) || step > keep) break;
        io_lines_skip(file, whole);
        *length += whole;
    }
    return STATUS_OK;
}

/* A file of any size: it is read record by record. */
static Status cut_file(bool *is_empty, const char *path, int64_t keep)
{
    IoLines file;
    uint64_t length = 0, size;
    TRY(io_size(&size, path));
    Status status = io_lines_open(&file, path, 0);
    if (status == STATUS_OK) status = measure_kept(&length, &file, keep);
    const Status closed = io_lines_close(&file);
    if (status == STATUS_OK) status = closed;
    if (status == STATUS_OK && length < size) status = io_log_cut(path, length);
    *is_empty = length == 0;
    return status;
}

/* ---- records ---- */

/* Appends the record of one event to events->record; `version` or what was gathered. */
static Status add_record(EventLog *events, int64_t step, const char *version)
{
    Bytes *event = &events->message;
    bytes_clear(event);
    TRY(field_double(event, EVENT_WALL_TIME, events_clock()));
    if (step != 0) TRY(field_integer(event, EVENT_STEP, step));
    if (version != NULL) {
        TRY(field_text(event, EVENT_FILE_VERSION, version));
    } else {
        TRY(field_bytes(event, EVENT_SUMMARY, events->values.data, events->values.count));
        bytes_clear(&events->values);
    }
    return record_append(&events->record, event->data, event->count);
}

/* The first two records, in one write(), so that a file has both or neither. */
static Status begin_file(EventLog *events, const char *group, const char *settings)
{
    bytes_clear(&events->record);
    TRY(add_record(events, 0, "brain.Event:2"));
    TRY(events_put_start(events, group, settings));
    if (events->values.count > 0) TRY(add_record(events, 0, NULL));
    return io_log_append(&events->log, events->record.data, events->record.count);
}

Status events_open(EventLog *events, const char *folder, int64_t keep, const char *group,
                   const char *settings)
{
    char path[PATH_TEXT];
    bool is_empty = true;
    *events = (EventLog){.log.descriptor = -1};
    TRY(find_file(path, folder));
    if (path[0] != '\0') {
        TRY(cut_file(&is_empty, path, keep));
    } else {
        TRY(name_file(path, folder));
    }
    TRY(io_log_open(&events->log, path, is_empty));
    events->open = true;
    return is_empty ? begin_file(events, group, settings) : STATUS_OK;
}

Status events_write(EventLog *events, int64_t step)
{
    if (!events->open || events->values.count == 0) return STATUS_OK;
    bytes_clear(&events->record);
    TRY(add_record(events, step, NULL));
    return io_log_append(&events->log, events->record.data, events->record.count);
}

Status events_finish(EventLog *events, int64_t step)
{
    if (!events->open) return STATUS_OK;
    TRY(events_put_end(events));
    TRY(events_write(events, step + 1));
    return events_sync(events);
}

Status events_sync(EventLog *events)
{
    return events->open ? io_log_sync(&events->log) : STATUS_OK;
}

void events_close(EventLog *events)
{
    if (events->open) {
        const Status status = io_log_close(&events->log);
        (void)status; /* what counts has been synced */
    }
    bytes_free(&events->values);
    bytes_free(&events->value);
    bytes_free(&events->message);
    bytes_free(&events->part);
    bytes_free(&events->record);
    *events = (EventLog){.log.descriptor = -1};
}

/* ---- values ---- */

static Status begin_value(EventLog *events, const char *tag)
{
    bytes_clear(&events->value);
    return field_text(&events->value, VALUE_TAG, tag);
}

Status events_end_value(EventLog *events)
{
    return field_bytes(&events->values, SUMMARY_VALUE, events->value.data, events->value.count);
}

Status events_put_plugin(EventLog *events, const char *plugin, const void *content, size_t count,
                         int data_class)
{
    bytes_clear(&events->part);
    bytes_clear(&events->message);
    TRY(field_text(&events->part, PLUGIN_NAME, plugin));
    if (count > 0) TRY(field_bytes(&events->part, PLUGIN_CONTENT, content, count));
    TRY(field_bytes(&events->message, METADATA_PLUGIN, events->part.data, events->part.count));
    if (data_class != 0) TRY(field_integer(&events->message, METADATA_CLASS, data_class));
    return field_bytes(&events->value, VALUE_METADATA, events->message.data, events->message.count);
}

Status events_scalar(EventLog *events, const char *tag, double value)
{
    if (!events->open || isnan(value)) return STATUS_OK;
    TRY(begin_value(events, tag));
    TRY(field_float(&events->value, VALUE_SIMPLE, (float)value));
    return events_end_value(events);
}

typedef struct Histogram {
    double least, greatest, count, sum, squares;
    double limit[HISTOGRAM_BINS], bin[HISTOGRAM_BINS]; /* right edges, and how many lie below */
} Histogram;

/* False where nothing is finite. */
static bool count_values(Histogram *histogram, const float *value, size_t count)
{
    Histogram h = {.least = INFINITY, .greatest = -INFINITY};
    for (size_t i = 0; i < count; i++) {
        const double x = (double)value[i];
        if (!isfinite(x)) continue;
        h.least = fmin(h.least, x);
        h.greatest = fmax(h.greatest, x);
        h.count += 1;
        h.sum += x;
        h.squares += x * x;
    }
    const double width = (h.greatest - h.least) / HISTOGRAM_BINS;
    for (int b = 0; b < HISTOGRAM_BINS; b++) h.limit[b] = h.least + width * (b + 1);
    h.limit[HISTOGRAM_BINS - 1] = h.greatest;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(value[i])) continue;
        const double place = width > 0 ? ((double)value[i] - h.least) / width : HISTOGRAM_BINS;
        h.bin[(int)fmin(place, HISTOGRAM_BINS - 1)] += 1;
    }
    *histogram = h;
    return h.count > 0;
}

Status events_histogram(EventLog *events, const char *tag, const float *value, size_t count)
{
    Histogram histogram;
    if (!events->open || !count_values(&histogram, value, count)) return STATUS_OK;
    Bytes *message = &events->message;
    const double facts[] = {histogram.least, histogram.greatest, histogram.count, histogram.sum,
                            histogram.squares};
    bytes_clear(message);
    for (unsigned i = 0; i < 5; i++) TRY(field_double(message, i + 1, facts[i]));
    TRY(field_doubles(message, 6, histogram.limit, HISTOGRAM_BINS));
    TRY(field_doubles(message, 7, histogram.bin, HISTOGRAM_BINS));
    TRY(begin_value(events, tag));
    TRY(field_bytes(&events->value, VALUE_HISTOGRAM, message->data, message->count));
    return events_end_value(events);
}

/* A dimension; `scratch` is used. */
static Status put_dimension(Bytes *shape, Bytes *scratch, int64_t size)
{
    bytes_clear(scratch);
    TRY(field_integer(scratch, SIZE_SIZE, size));
    return field_bytes(shape, SHAPE_SIZE, scratch->data, scratch->count);
}

static Status put_cells(EventLog *events, const Texts *cells, int columns)
{
    Bytes *tensor = &events->message, *part = &events->part;
    bytes_clear(tensor);
    bytes_clear(part);
    TRY(put_dimension(part, &events->record, cells->count / columns));
    TRY(put_dimension(part, &events->record, columns));
    TRY(field_integer(tensor, TENSOR_TYPE, TYPE_STRING));
    TRY(field_bytes(tensor, TENSOR_SHAPE, part->data, part->count));
    for (int i = 0; i < cells->count; i++) {
        size_t count;
        const char *text = texts_at(cells, i, &count);
        bytes_clear(part);
        TRY(utf8_append(part, text, count));
        TRY(field_bytes(tensor, TENSOR_STRINGS, part->data, part->count));
    }
    return field_bytes(&events->value, VALUE_TENSOR, tensor->data, tensor->count);
}

Status events_table(EventLog *events, const char *tag, const Texts *cells, int columns)
{
    if (!events->open || cells->count <= columns) return STATUS_OK;
    assert(cells->count % columns == 0);
    TRY(begin_value(events, tag));
    TRY(put_cells(events, cells, columns));
    TRY(events_put_plugin(events, "text", NULL, 0, CLASS_TENSOR));
    return events_end_value(events);
}
