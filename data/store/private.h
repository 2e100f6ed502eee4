/* What the files of data/store/ share: HDF5 itself, its errors as ours, the gate. */
#ifndef DATA_STORE_PRIVATE_H
#define DATA_STORE_PRIVATE_H

#include "data/status.h"
#include "data/store/store.h"

#include <hdf5.h>
#include <sys/types.h>

struct StoreImage {
    hid_t file;
    hid_t group_properties, transfer;
    bool failed; /* something in it went wrong: it is not published any more */
};

/* ---- hdf5.c ---- */

/* "what name: innermost record of HDF5's error stack". The next call of HDF5 clears that stack, so
 * this comes first after a failure. */
Status hdf5_fail(Status code, const char *what, const char *name);

hid_t hdf5_disk_type(StoreType type); /* little-endian; not to be closed */
hid_t hdf5_memory_type(StoreType type);
const char *hdf5_type_name(StoreType type); /* "float32" */

/* Opens the bytes of a file for reading, without a copy: they must outlive *file. */
Status hdf5_open_image(hid_t *file, void *bytes, size_t count);

/* ---- image.c ---- */

/* Ends a call on an image: a failure poisons it. */
Status image_result(StoreImage *image, Status status);

/* store_put for any type; the caller poisons. */
Status image_put(StoreImage *image, const char *name, hid_t disk_type, hid_t memory_type, int rank,
                 const size_t *extent, const void *data, bool packed);

/* ---- gate.c: in the child only ---- */

/* Most bytes of the arrays read from one file, and of one chunk. */
#define STORE_CONTENT_MAX ((size_t)1 << 30)
#define STORE_CHUNK_MAX ((size_t)1 << 26)

/* A field found in an opened file, all that its header says checked. */
typedef struct GateItem {
    bool present;
    hid_t object; /* dataset or attribute */
    size_t extent[STORE_RANK_MAX];
    size_t bytes;
} GateItem;

/* Finds `field` and lowers *budget by its bytes. Nothing of that name: item->present is false, a
 * failure where the field is not optional. */
Status gate_find(GateItem *item, size_t *budget, hid_t file, const StoreField *field);
/* Reads item->bytes. */
Status gate_read(void *data, const GateItem *item, const StoreField *field);
void gate_close(GateItem *item, const StoreField *field);

/* Elements times size, and `extent` against the field's; used on both sides of the pipe. */
Status gate_measure(size_t *bytes, const size_t *extent, const StoreField *field);

/* Puts the field's name in front. */
Status gate_context(Status status, const StoreField *field);

/* A dataset may declare this many times what it stores, a file that many times its own size, and
 * on top of it as much as small columns of zeros, which pack better. Weights and columns of floats
 * are not packed: rollouts come to 1.3 times. Pairs have hardly any: 100 000 whose answers are one
 * token over and over come to 41 times, with longer answers to more. */
#define STORE_RATIO_MAX ((size_t)1000)
#define STORE_RATIO_FILE ((size_t)128)
#define STORE_RATIO_FREE ((size_t)1 << 24)

/* ---- child.c, reply.c, read.c ---- */

enum { STORE_REFUSAL_MAX = 1024 };

/* What the child says: a header a field, in order; then the data of those present, in order; or,
 * at any point, that it refuses. */
typedef enum StoreReplyKind {
    STORE_REFUSED = 1,
    STORE_ABSENT,
    STORE_PRESENT,
    STORE_DATA
} StoreReplyKind;

typedef struct StoreReply {
    uint32_t kind;
    uint32_t code;  /* STORE_REFUSED: the Status */
    uint64_t bytes; /* what follows: the text of a refusal, or data */
    uint64_t extent[STORE_RANK_MAX];
} StoreReply;

/* What the child is given by being forked. */
typedef struct StoreRequest {
    Bytes *image;
    const StoreField *schema;
    int count;
    size_t mapped; /* bytes of address space the parent had */
    unsigned seconds; /* of CPU it may take */
} StoreRequest;

/* Where the child's bytes come from: all `count` of them, or a failure. */
typedef struct StoreSource {
    Status (*receive)(void *context, void *bytes, size_t count);
    void *context;
} StoreSource;

/* Takes all that a child says in answer to `request`. *content is set where it succeeds. */
Status store_collect(StoreContent *content, const StoreSource *source, const StoreRequest *request);

/* The whole life of the child: confines itself, answers to the pipe's end `to`, exits. */
_Noreturn void store_child(int to, pid_t parent, const StoreRequest *request);

#endif
