#include "policy/network_file_private.h"

#include "data/path.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const double network_norm_epsilon = 1e-5;

static NetworkTensor tensor_of(const ModelWeightInfo *info, int layer)
{
    const size_t columns = info->columns > 0 ? (size_t)info->columns : 1;
    NetworkTensor tensor = {
        .rank = info->columns > 0 ? 2 : 1,
        .extent = {(size_t)info->rows, columns},
        .size = (size_t)info->rows * columns,
    };
    tensor.start = info->start + tensor.size * (size_t)layer;
    if (info->layered) {
        snprintf(tensor.name, sizeof tensor.name, "/model/transformer.h.%d.%s", layer, info->name);
    } else {
        snprintf(tensor.name, sizeof tensor.name, "/model/%s", info->name);
    }
    return tensor;
}

Status network_tensors(NetworkTensor **tensors, int *count, ModelShape shape)
{
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int kinds = model_weight_list(info, shape);
    void *block;
    const size_t most = shape.layers > 1 ? (size_t)shape.layers : 1;
    TRY(memory_claim(&block, sizeof **tensors * (size_t)kinds * most));
    *tensors = block;
    *count = 0;
    for (int heads = 1; heads >= 0; heads--) {
        for (int k = 0; k < kinds; k++) {
            const int is_head = strncmp(info[k].name, "transformer.", 12) != 0 && !info[k].layered;
            if (is_head != heads) continue;
            const int layers = info[k].layered ? shape.layers : 1;
            for (int l = 0; l < layers; l++) (*tensors)[(*count)++] = tensor_of(&info[k], l);
        }
    }
    return STATUS_OK;
}

void network_file_name(char text[128], const char *name, int part)
{
    if (part == 0) {
        snprintf(text, 128, "%s.h5", name);
    } else {
        snprintf(text, 128, "%s-%d.h5", name, part + 1);
    }
}

/* The files of one network while they are written, one after another. */
typedef struct Writer {
    const char *folder, *name;
    char (*names)[128];
    int *count;
    size_t limit;
    int part;          /* of the open file */
    size_t used;       /* bytes of tensors in it */
    StoreImage *image; /* NULL: none open */
} Writer;

static Status writer_finish(Writer *writer)
{
    char path[PATH_TEXT];
    char *name = writer->names[*writer->count];
    network_file_name(name, writer->name, writer->part);
    TRY(path_join(path, writer->folder, name));
    StoreImage *image = writer->image;
    writer->image = NULL;
    TRY(store_publish(image, path, NULL));
    (*writer->count)++;
    writer->part++;
    writer->used = 0;
    return STATUS_OK;
}

/* Room for `bytes` more in the open file, which may be a new one. */
static Status writer_room(Writer *writer, size_t bytes)
{
    if (writer->used > 0 && writer->used + bytes > writer->limit) TRY(writer_finish(writer));
    if (writer->image == NULL) {
        if (writer->part == NETWORK_FILES_MAX) {
            return status_fail(STATUS_DATA, "%s: more than %d files of %zu bytes", writer->name,
                               NETWORK_FILES_MAX, writer->limit);
        }
        TRY(store_create(&writer->image));
    }
    writer->used += bytes;
    return STATUS_OK;
}

static Status put_attributes(StoreImage *image, const Model *model, int32_t end)
{
    const ModelShape *shape = &model->shape;
    TRY(store_put_integer(image, "/model", "n_layer", shape->layers));
    TRY(store_put_integer(image, "/model", "n_head", shape->heads));
    TRY(store_put_integer(image, "/model", "n_embd", shape->channels));
    TRY(store_put_integer(image, "/model", "n_positions", shape->positions));
    TRY(store_put_integer(image, "/model", "vocab_size", shape->vocabulary));
    TRY(store_put_number(image, "/model", "layer_norm_epsilon", network_norm_epsilon));
    TRY(store_put_integer(image, "/model", "causal", shape->causal));
    TRY(store_put_integer(image, "/model", "eos_token_id", end));
    if (shape->head == HEAD_SCORE) {
        TRY(store_put_number(image, "/model", "reward_gain", (double)model->reward_gain));
        TRY(store_put_number(image, "/model", "reward_bias", (double)model->reward_bias));
    }
    return STATUS_OK;
}

static Status put_tensors(Writer *writer, const Model *model, const NetworkTensor *tensor,
                          int count, int32_t end)
{
    for (int i = 0; i < count; i++) {
        TRY(writer_room(writer, tensor[i].size * sizeof(float)));
        TRY(store_put(writer->image, tensor[i].name, STORE_F32, tensor[i].rank, tensor[i].extent,
                      model->flat + tensor[i].start, false));
        if (i == 0) TRY(put_attributes(writer->image, model, end));
    }
    return STATUS_OK;
}

/* A slice of m and the same slice of v in each file. */
static Status put_moments(Writer *writer, const AdamW *adamw)
{
    size_t most = writer->limit / (2 * sizeof(float));
    if (most == 0) most = 1;
    for (size_t start = 0; start < adamw->count;) {
        const size_t left = adamw->count - start;
        const size_t slice = left < most ? left : most;
        TRY(writer_room(writer, 2 * slice * sizeof(float)));
        TRY(store_put(writer->image, "/adam/m", STORE_F32, 1, &slice, adamw->m + start, false));
        TRY(store_put(writer->image, "/adam/v", STORE_F32, 1, &slice, adamw->v + start, false));
        TRY(store_put_integer(writer->image, "/adam", "step", adamw->step));
        start += slice;
        if (start < adamw->count) TRY(writer_finish(writer));
    }
    return STATUS_OK;
}

Status network_write_parts(char names[][128], int *count, const char *folder, const char *name,
                           const Model *model, const AdamW *adamw, int32_t end, size_t bytes)
{
    assert(adamw == NULL || adamw->count == model->count);
    NetworkTensor *tensor;
    int tensors;
    TRY(network_tensors(&tensor, &tensors, model->shape));
    Writer writer = {
        .folder = folder, .name = name, .names = names, .count = count, .limit = bytes};
    Status status = put_tensors(&writer, model, tensor, tensors, end);
    if (status == STATUS_OK && adamw != NULL) status = put_moments(&writer, adamw);
    if (status == STATUS_OK) status = writer_finish(&writer);
    store_discard(writer.image);
    memory_release(tensor);
    return status;
}

Status network_write(char names[][128], int *count, const char *folder, const char *name,
                     const Model *model, const AdamW *adamw, int32_t end)
{
    return network_write_parts(names, count, folder, name, model, adamw, end, NETWORK_FILE_BYTES);
}
