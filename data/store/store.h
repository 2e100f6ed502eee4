/* The only door to HDF5. A file is built in memory, its image taken and published by data/io, so
 * no open HDF5 file is ever the only copy of anything; a file is read by a forked child that can
 * open nothing, and what it sends back is checked against a schema before anybody uses it.
 *
 * Equal contents give equal bytes. No file holds a time, a host or a thread count. */
#ifndef DATA_STORE_STORE_H
#define DATA_STORE_STORE_H

#include "data/io.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum StoreType {
    STORE_U8, STORE_I32, STORE_I64, STORE_U64, STORE_F32, STORE_F64
} StoreType;

size_t store_type_size(StoreType type);

enum { STORE_RANK_MAX = 4, STORE_NAME = 128 };

/* Most bytes of a file that is read. */
#define STORE_FILE_MAX ((size_t)1 << 30)

/* ---- writing (image.c, labels.c, publish.c) ---- */

typedef struct StoreImage StoreImage; /* a file being built in memory */

Status store_create(StoreImage **image);
void store_discard(StoreImage *image); /* NULL is fine */

/* `packed`: chunked with shuffle, deflate 4 and fletcher32 (ids, metrics); else contiguous. Groups
 * in `name` ("/token/logp") are made as needed. */
Status store_put(StoreImage *image, const char *name, StoreType type, int rank,
                 const size_t *extent, const void *data, bool packed);
/* A column of text for people: variable-length UTF-8; bytes that are not UTF-8 become U+FFFD, NUL
 * becomes U+2400. The program never reads these back. */
Status store_put_texts(StoreImage *image, const char *name, const Texts *texts);
/* Attributes of the object `name` ("/" for the file). Text is for people. */
Status store_put_text(StoreImage *image, const char *name, const char *key, const char *text);
Status store_put_number(StoreImage *image, const char *name, const char *key, double value);
Status store_put_integer(StoreImage *image, const char *name, const char *key, int64_t value);
Status store_put_digest(StoreImage *image, const char *name, const char *key, Digest digest);
/* Makes `scale` the dimension scale of dimension 0 of `name` (netCDF-4's way). */
Status store_put_scale(StoreImage *image, const char *scale, const char *name);

/* Takes the image, opens it once to see that it is whole, publishes it at `path` and frees the
 * image, also on failure. *digest (may be NULL) is that of the bytes. */
Status store_publish(StoreImage *image, const char *path, Digest *digest);

/* ---- reading (read.c, child.c, gate.c) ---- */

/* One thing the file must (or may) hold. Datasets only where `attribute` is NULL. */
typedef struct StoreField {
    const char *name;      /* "/token/logp" or the object the attribute sits on */
    const char *attribute; /* NULL for a dataset */
    StoreType type;
    int rank;                        /* 0: scalar */
    int64_t extent[STORE_RANK_MAX];  /* -1: any */
    bool optional;
} StoreField;

/* What was read, in the order of the schema. */
typedef struct StoreArray {
    bool present;
    size_t extent[STORE_RANK_MAX];
    size_t count;     /* elements */
    const void *data; /* of the field's type, owned by the StoreContent */
} StoreArray;

typedef struct StoreContent {
    int count;
    StoreArray *array; /* (count) */
    void *memory;
} StoreContent;

/* Reads the fields of `schema` from the file at `path`; `expected` (may be NULL) is checked first.
 * Anything missing, of another type or shape, or hostile: STATUS_DATA with a line such as
 * "runs/a/policy.h5: /model/transformer.wpe.weight: dimension 1 is 96, not 192". Datasets outside
 * the schema are ignored. */
Status store_read(StoreContent *content, const char *path, const Digest *expected,
                  const StoreField *schema, int count);
void store_content_free(StoreContent *content);

/* Before anything else: HDF5 must not print, install exit handlers or load plugins. Every function
 * that begins or ends a file calls it, so nobody has to. */
void store_setup(void);

#endif
