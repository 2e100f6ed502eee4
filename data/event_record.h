/* What a TensorBoard event file is made of: framed records, and protobuf's fields inside them.
 *
 *   record   u64 length, u32 check(length), data, u32 check(data); little-endian
 *   check    (c >> 15 | c << 17) + 0xa282ead8, where c is CRC-32C
 *
 * Knows no message; those are in data/events.c. */
#ifndef DATA_EVENT_RECORD_H
#define DATA_EVENT_RECORD_H

#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint32_t record_check(const void *bytes, size_t count);

/* Appends one record that holds `data`. */
Status record_append(Bytes *out, const void *data, size_t count);

/* The record that `bytes` begin with: *data and *size are what it holds, *whole its length with the
 * frame. False where it is torn or damaged. */
bool record_at(const char **data, size_t *size, size_t *whole, const char *bytes, size_t count);

/* One field of a message, appended. */
Status field_integer(Bytes *out, unsigned field, int64_t value);
Status field_double(Bytes *out, unsigned field, double value);
Status field_float(Bytes *out, unsigned field, float value);
Status field_bytes(Bytes *out, unsigned field, const void *bytes, size_t count);
Status field_text(Bytes *out, unsigned field, const char *text);
Status field_doubles(Bytes *out, unsigned field, const double *values, size_t count); /* packed */

/* The integer of `field` in a message, 0 where it has none, as protobuf has it. False where the
 * message is broken. */
bool field_find_integer(int64_t *value, unsigned field, const char *message, size_t count);

#endif
