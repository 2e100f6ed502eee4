/* The parent's side of the HDF5 gate: the bytes that a child, taken over by a hostile file, may
 * send. The first byte is the size of the file in 8 KiB, up to what lets a target claim half of
 * the memory it has; the rest goes through the pipe. */
#include "tests/fuzz/fuzz.h"

#include "data/store/private.h"

enum { FIELDS = 5 };
static const StoreField schema[FIELDS] = {
    {.name = "/model/weight", .type = STORE_F32, .rank = 2, .extent = {-1, 4}},
    {.name = "/token/id", .type = STORE_I32, .rank = 1, .extent = {-1}},
    {.name = "/cube", .type = STORE_U8, .rank = 4, .extent = {-1, -1, -1, -1}, .optional = true},
    {.name = "/", .attribute = "step", .type = STORE_I64},
    {.name = "/flags", .type = STORE_U8, .rank = 1, .extent = {3}, .optional = true},
};

typedef struct Pipe {
    const uint8_t *at;
    size_t left;
} Pipe;

static Status receive(void *context, void *bytes, size_t count)
{
    Pipe *from = context;
    if (count > from->left) {
        from->left = 0;
        return status_fail(STATUS_DATA, "reading it stopped half-way");
    }
    if (count > 0) memcpy(bytes, from->at, count);
    from->at += count;
    from->left -= count;
    return STATUS_OK;
}

/* Shapes as the schema allows, no more than a file of this size holds, and every byte of every
 * array there to be read: their sum. */
static uint64_t check(const StoreContent *content, size_t size)
{
    uint64_t sum = 0;
    size_t total = 0;
    FUZZ_MUST(content->count == FIELDS);
    for (int i = 0; i < FIELDS; i++) {
        const StoreArray *array = &content->array[i];
        FUZZ_MUST(array->present || schema[i].optional);
        if (!array->present) continue;
        size_t count = 1;
        for (int d = 0; d < schema[i].rank; d++) {
            FUZZ_MUST(schema[i].extent[d] < 0 || array->extent[d] == (size_t)schema[i].extent[d]);
            count *= array->extent[d];
        }
        FUZZ_MUST(array->count == count);
        total += count * store_type_size(schema[i].type);
        FUZZ_MUST(total <= STORE_RATIO_FREE + size * STORE_RATIO_FILE);
        const uint8_t *bytes = array->data;
        for (size_t b = 0; b < count * store_type_size(schema[i].type); b++) sum += bytes[b];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count == 0) return 0;
    Bytes image = {.count = (size_t)bytes[0] << 13};
    const StoreRequest request = {.image = &image, .schema = schema, .count = FIELDS};
    Pipe from = {bytes + 1, count - 1};
    const StoreSource source = {receive, &from};
    StoreContent content = {0};
    const Status status = store_collect(&content, &source, &request);
    FUZZ_MUST(status == STATUS_OK || status == STATUS_DATA || status == STATUS_FAILED);
    if (status == STATUS_OK) {
        FUZZ_MUST(check(&content, image.count) == check(&content, image.count));
    }
    store_content_free(&content);
    return 0;
}
