/* The session of TensorBoard's tab HPARAMS: a stage, in the group of its run. */
#include "data/events_private.h"
#include "data/json.h"
#include "data/utf8.h"

#include <stdio.h>
#include <string.h>

enum {
    CONTENT_START = 3,
    CONTENT_END = 4
}; /* of the plugin's content; its version, 0, is left out */
enum { START_HPARAMS = 1, START_GROUP = 4, START_SECONDS = 5 };
enum { END_STATUS = 1, END_SECONDS = 2, STATUS_SUCCESS = 1 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { ANY_NUMBER = 2, ANY_TEXT = 3, ANY_BOOL = 4 }; /* of google.protobuf.Value */

/* A setting as google.protobuf.Value; of another kind: nothing. */
static Status put_any(Bytes *out, Json value)
{
    double number;
    bool flag;
    const char *text;
    switch (json_kind(value)) {
    case JSON_NUMBER:
        TRY(json_number(&number, value));
        return field_double(out, ANY_NUMBER, number);
    case JSON_BOOL:
        TRY(json_bool(&flag, value));
        return field_integer(out, ANY_BOOL, flag);
    case JSON_TEXT:
        TRY(json_text(&text, value));
        return field_text(out, ANY_TEXT, text);
    default:
        return STATUS_OK;
    }
}

/* One entry of the map of settings; `part` is scratch. */
static Status put_setting(Bytes *start, Bytes *part, const char *section, Json value)
{
    Bytes entry = {0};
    bytes_clear(part);
    Status status = section[0] != '\0' ? bytes_print(part, "%s.%s", section, json_key(value))
                                       : bytes_text(part, json_key(value));
    if (status == STATUS_OK) status = field_bytes(&entry, ENTRY_KEY, part->data, part->count);
    bytes_clear(part);
    if (status == STATUS_OK) status = put_any(part, value);
    if (status == STATUS_OK) status = field_bytes(&entry, ENTRY_VALUE, part->data, part->count);
    if (status == STATUS_OK) status = field_bytes(start, START_HPARAMS, entry.data, entry.count);
    bytes_free(&entry);
    return status;
}

static Status put_settings(Bytes *start, Bytes *part, Json settings)
{
    for (Json one = json_first(settings); one.item != NULL; one = json_next(one)) {
        if (json_kind(one) != JSON_OBJECT) {
            TRY(put_setting(start, part, "", one));
            continue;
        }
        for (Json inner = json_first(one); inner.item != NULL; inner = json_next(inner)) {
            TRY(put_setting(start, part, json_key(one), inner));
        }
    }
    return STATUS_OK;
}

/* A tensor of one 0: the plugin wants one, and reads its metadata alone. */
static Status put_no_tensor(EventLog *events)
{
    static const char one_dimension[] = {SHAPE_SIZE << 3 | 2, 2, SIZE_SIZE << 3, 1};
    const float zero = 0;
    Bytes *tensor = &events->message;
    bytes_clear(tensor);
    TRY(field_integer(tensor, TENSOR_TYPE, TYPE_FLOAT));
    TRY(field_bytes(tensor, TENSOR_SHAPE, one_dimension, sizeof one_dimension));
    TRY(field_bytes(tensor, TENSOR_FLOATS, &zero, sizeof zero));
    return field_bytes(&events->value, VALUE_TENSOR, tensor->data, tensor->count);
}

/* One value of the plugin: field `which` of its content is `message`. */
static Status put_content(EventLog *events, const char *tag, unsigned which, const Bytes *message)
{
    Bytes content = {0};
    bytes_clear(&events->value);
    Status status = field_text(&events->value, VALUE_TAG, tag);
    if (status == STATUS_OK) status = put_no_tensor(events);
    if (status == STATUS_OK) status = field_bytes(&content, which, message->data, message->count);
    if (status == STATUS_OK) {
        status = events_put_plugin(events, "hparams", content.data, content.count, CLASS_TENSOR);
    }
    bytes_free(&content);
    TRY(status);
    return events_end_value(events);
}

static Status make_start(Bytes *start, Bytes *part, const char *group, const char *settings)
{
    JsonDocument *document;
    TRY(json_parse(&document, STATUS_DATA, "settings", settings, strlen(settings)));
    Status status = put_settings(start, part, json_root(document));
    json_free(document);
    TRY(status);
    bytes_clear(part);
    TRY(utf8_append(part, group, strlen(group)));
    TRY(field_bytes(start, START_GROUP, part->data, part->count));
    return field_double(start, START_SECONDS, events_clock());
}

Status events_put_start(EventLog *events, const char *group, const char *settings)
{
    if (settings == NULL) return STATUS_OK;
    Bytes start = {0};
    Status status = make_start(&start, &events->part, group, settings);
    if (status == STATUS_OK) {
        status = put_content(events, "_hparams_/session_start_info", CONTENT_START, &start);
    }
    bytes_free(&start);
    return status;
}

Status events_put_end(EventLog *events)
{
    Bytes end = {0};
    Status status = field_integer(&end, END_STATUS, STATUS_SUCCESS);
    if (status == STATUS_OK) status = field_double(&end, END_SECONDS, events_clock());
    if (status == STATUS_OK) {
        status = put_content(events, "_hparams_/session_end_info", CONTENT_END, &end);
    }
    bytes_free(&end);
    return status;
}
