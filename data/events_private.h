/* What the files of data/events share: the numbers of protobuf fields, as in TensorBoard's
 * event.proto, summary.proto, tensor.proto and plugins/hparams/plugin_data.proto. */
#ifndef DATA_EVENTS_PRIVATE_H
#define DATA_EVENTS_PRIVATE_H

#include "data/event_record.h"
#include "data/events.h"

enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum {
    VALUE_TAG = 1,
    VALUE_SIMPLE = 2,
    VALUE_HISTOGRAM = 5,
    VALUE_TENSOR = 8,
    VALUE_METADATA = 9,
};
enum { METADATA_PLUGIN = 1, METADATA_CLASS = 4, CLASS_TENSOR = 2 };
enum { PLUGIN_NAME = 1, PLUGIN_CONTENT = 2 };
enum { TENSOR_TYPE = 1, TENSOR_SHAPE = 2, TENSOR_FLOATS = 5, TENSOR_STRINGS = 8 };
enum { SHAPE_SIZE = 2, SIZE_SIZE = 1, TYPE_FLOAT = 1, TYPE_STRING = 7 };

/* Seconds since 1970, for people: no result depends on it. */
double events_clock(void);

/* The metadata of the value under construction: which plugin it is for; `data_class` 0: none. */
Status events_put_plugin(EventLog *events, const char *plugin, const void *content, size_t count,
                         int data_class);
/* Ends the value under construction. */
Status events_end_value(EventLog *events);

/* Values of the session's start and end, for the tab HPARAMS (events_session.c). */
Status events_put_start(EventLog *events, const char *group, const char *settings);
Status events_put_end(EventLog *events);

#endif
