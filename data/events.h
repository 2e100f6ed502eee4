/* TensorBoard event files: what a stage measures, live, for `tensorboard --logdir`.
 *
 * They hold nothing that is not elsewhere, but for clock and host; so they are not hashed, no
 * manifest names them and no result depends on them. Writing one fails as any file does. Values
 * are gathered by events_scalar and the others, and written by events_write as one record, one
 * write(): a killed run leaves at most a torn tail, which the next life cuts off. */
#ifndef DATA_EVENTS_H
#define DATA_EVENTS_H

#include "data/io.h"
#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* {0} or closed: every call below does nothing. */
typedef struct EventLog {
    IoLog log;
    bool open;
    Bytes values;               /* fields of the summary under construction */
    Bytes value, message, part; /* one of its values, from the outside in */
    Bytes record;
} EventLog;

/* Opens the event file of `folder`: the one that lies there, without its records of steps after
 * `keep`, or a new one, events.out.tfevents.SECONDS.HOST.PID.0, that begins with the session:
 * `group` (the run) and `settings` (a JSON object; "ppo.kl_coef" and so on, NULL: none) for the tab
 * HPARAMS, which takes the last scalars as the session's figures. */
Status events_open(EventLog *events, const char *folder, int64_t keep, const char *group,
                   const char *settings);

/* A number, rounded to float32; NAN: left out. */
Status events_scalar(EventLog *events, const char *tag, double value);
/* 30 bins of equal width from the least to the greatest; what is not finite is left out. */
Status events_histogram(EventLog *events, const char *tag, const float *value, size_t count);
/* A table of texts, row by row, the first row its heading. Bytes that are not UTF-8 become U+FFFD.
 * No row but the heading: left out. */
Status events_table(EventLog *events, const char *tag, const Texts *cells, int columns);

/* Writes what was gathered since the last call. Steps must not fall. Nothing gathered: nothing. */
Status events_write(EventLog *events, int64_t step);

/* The session has ended well after `step`; synced. A stage that goes on nevertheless, since it
 * never came to its manifest, drops this record: it stands one step later. */
Status events_finish(EventLog *events, int64_t step);
Status events_sync(EventLog *events);
void events_close(EventLog *events); /* fine on one that is {0} or closed */

#endif
