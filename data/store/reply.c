/* What the child says, taken apart by the parent, who believes nothing of it: every header is
 * checked against the schema and against the size of the file before memory is claimed. */
#include "data/store/private.h"

#include "data/memory.h"

enum { ALIGNMENT = 64 };

static size_t rounded(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The refusal that `reply` announces. The text goes to a terminal: printable ASCII only. */
static Status receive_refusal(const StoreSource *source, const StoreReply *reply)
{
    char text[STORE_REFUSAL_MAX + 1] = "";
    if (reply->bytes > STORE_REFUSAL_MAX)
        return status_fail(STATUS_DATA, "refused without a reason");
    TRY(source->receive(source->context, text, reply->bytes));
    text[reply->bytes] = '\0';
    for (char *c = text; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~') *c = '?';
    }
    return status_fail(reply->code == STATUS_FAILED ? STATUS_FAILED : STATUS_DATA, "%s", text);
}

static Status receive_reply(StoreReply *reply, const StoreSource *source)
{
    TRY(source->receive(source->context, reply, sizeof *reply));
    if (reply->kind == STORE_REFUSED) return receive_refusal(source, reply);
    return STATUS_OK;
}

/* Most bytes of arrays that a file of this size can hold. */
static size_t content_most(const StoreRequest *request)
{
    const size_t packed = request->image->count;
    const size_t room = STORE_CONTENT_MAX - STORE_RATIO_FREE;
    return STORE_RATIO_FREE + (packed < room / STORE_RATIO_FILE ? packed * STORE_RATIO_FILE : room);
}

static Status receive_headers(StoreArray *arrays, size_t *total, const StoreSource *source,
                              const StoreRequest *request)
{
    const size_t most = content_most(request);
    for (int i = 0; i < request->count; i++) {
        const StoreField *field = &request->schema[i];
        StoreReply reply;
        size_t bytes;
        TRY(receive_reply(&reply, source));
        if (reply.kind == STORE_ABSENT && field->optional) continue;
        if (reply.kind != STORE_PRESENT) {
            return gate_context(status_fail(STATUS_DATA, "missing"), field);
        }
        for (int d = 0; d < field->rank; d++) arrays[i].extent[d] = reply.extent[d];
        TRY(gate_context(gate_measure(&bytes, arrays[i].extent, field), field));
        if (bytes > most || *total > most - bytes) {
            return gate_context(status_fail(STATUS_DATA, "%zu bytes are too many", bytes), field);
        }
        arrays[i].present = true;
        arrays[i].count = bytes / store_type_size(field->type);
        *total += rounded(bytes);
    }
    return STATUS_OK;
}

static Status receive_data(char *data, StoreArray *arrays, const StoreSource *source,
                           const StoreRequest *request)
{
    for (int i = 0; i < request->count; i++) {
        const StoreField *field = &request->schema[i];
        const size_t bytes = arrays[i].count * store_type_size(field->type);
        StoreReply reply;
        if (!arrays[i].present) continue;
        TRY(receive_reply(&reply, source));
        if (reply.kind != STORE_DATA || reply.bytes != bytes) {
            return gate_context(status_fail(STATUS_DATA, "its values do not fit its shape"), field);
        }
        TRY(source->receive(source->context, data, bytes));
        arrays[i].data = data;
        data += rounded(bytes);
    }
    return STATUS_OK;
}

/* content->memory holds the arrays' headers, then their data. */
Status store_collect(StoreContent *content, const StoreSource *source, const StoreRequest *request)
{
    const size_t heads = rounded((size_t)request->count * sizeof(StoreArray));
    void *block = NULL;
    size_t total = 0;
    TRY(memory_claim(&block, heads));
    Status status = receive_headers(block, &total, source, request);
    if (status == STATUS_OK) status = memory_resize(&block, heads + total);
    if (status == STATUS_OK) status = receive_data((char *)block + heads, block, source, request);
    if (status != STATUS_OK) {
        memory_release(block);
        return status;
    }
    *content = (StoreContent){.count = request->count, .array = block, .memory = block};
    return STATUS_OK;
}
