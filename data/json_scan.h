/* The grammar of JSON (RFC 8259), checked before cJSON sees a byte, with the place of every value
 * in document order. Inside data/json*.c only. */
#ifndef DATA_JSON_SCAN_H
#define DATA_JSON_SCAN_H

#include "data/status.h"

#include <stddef.h>

/* A value takes some 150 bytes of memory, and as little as two of text. */
enum { JSON_DEPTH_MAX = 32, JSON_NUMBER_MAX = 63, JSON_VALUES_MAX = 1 << 20 };

typedef struct JsonPlace {
    size_t key;       /* byte offset of the key; of the value where there is none */
    size_t value;     /* byte offset of the value */
    size_t parent;    /* index of the container around it; its own for the root */
    const void *item; /* its node in cJSON's tree, filled by json.c */
} JsonPlace;

typedef struct JsonPlaces {
    JsonPlace *place; /* (count), in document order: a container before what it holds */
    size_t count, capacity;
} JsonPlaces;

/* Checks all of `text` from byte `start` on. A failure has `code`, a text without position, and
 * leaves the offset in *stopped. `places` is the caller's to free either way. */
Status json_scan(JsonPlaces *places, size_t *stopped, Status code, const char *text, size_t start,
                 size_t count);

/* Bytes of the well-formed UTF-8 sequence at `text`; 0 where there is none. Overlong forms,
 * surrogates and what lies beyond U+10FFFF are none. */
size_t json_utf8_length(const char *text, size_t count);

#endif
