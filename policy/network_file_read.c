#include "policy/network_file_private.h"

#include "data/path.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What the first file says about the network. */
enum {
    LAYERS,
    HEADS,
    CHANNELS,
    POSITIONS,
    VOCABULARY,
    CAUSAL,
    EPSILON,
    GAIN,
    BIAS,
    SCORE,
    VALUE,
    SHAPE_FIELDS
};

static const StoreField shape_schema[SHAPE_FIELDS] = {
    [LAYERS] = {"/model", "n_layer", STORE_I64, 0, {0}, false},
    [HEADS] = {"/model", "n_head", STORE_I64, 0, {0}, false},
    [CHANNELS] = {"/model", "n_embd", STORE_I64, 0, {0}, false},
    [POSITIONS] = {"/model", "n_positions", STORE_I64, 0, {0}, false},
    [VOCABULARY] = {"/model", "vocab_size", STORE_I64, 0, {0}, false},
    [CAUSAL] = {"/model", "causal", STORE_I64, 0, {0}, false},
    [EPSILON] = {"/model", "layer_norm_epsilon", STORE_F64, 0, {0}, false},
    [GAIN] = {"/model", "reward_gain", STORE_F64, 0, {0}, true},
    [BIAS] = {"/model", "reward_bias", STORE_F64, 0, {0}, true},
    [SCORE] = {"/model/score.weight", NULL, STORE_F32, 2, {1, -1}, true},
    [VALUE] = {"/model/v_head.summary.weight", NULL, STORE_F32, 2, {1, -1}, true},
};

/* Sane limits, so that a hostile file cannot ask for more memory than any network needs. */
static const int64_t shape_limit[CAUSAL + 1] = {1 << 10, 1 << 10, 1 << 16, 1 << 20, 1 << 24, 1};

/* The files of one network while they are read. */
typedef struct Reader {
    const char *folder, *name;
    const Manifest *manifest;
    const ModelShape *expected; /* NULL: any */
    char path[PATH_TEXT];       /* of the current file */
    const Digest *digest;       /* of it; NULL: not known */
    Model *model;
    AdamW *adamw;          /* NULL: not asked for */
    NetworkTensor *tensor; /* (tensors) */
    int tensors;
    StoreField *field; /* (tensors + 3) asked of every file */
    bool *found;       /* (tensors) */
    size_t moments;    /* elements of m and v read so far */
} Reader;

/* Turns to file `part`; *found is false where the network has none. */
static Status reader_turn(bool *found, Reader *reader, int part)
{
    char name[128];
    network_file_name(name, reader->name, part);
    TRY(path_join(reader->path, reader->folder, name));
    const ManifestFile *file =
        reader->manifest != NULL ? manifest_find(reader->manifest, name) : NULL;
    reader->digest = file != NULL ? &file->digest : NULL;
    *found = reader->manifest != NULL ? file != NULL : io_exists(reader->path);
    return STATUS_OK;
}

/* Weights lie uncompressed, so files too small for them lie about their shape. */
static Status check_size(Reader *reader, size_t parameters)
{
    uint64_t total = 0;
    bool found = true;
    for (int part = 0; part < NETWORK_FILES_MAX; part++) {
        uint64_t bytes;
        TRY(reader_turn(&found, reader, part));
        if (!found) break;
        TRY(io_size(&bytes, reader->path));
        if (bytes > STORE_FILE_MAX) { /* a hole as well: it is never read, so it holds nothing */
            return status_fail(STATUS_DATA, "%s: %" PRIu64 " bytes, at most %zu", reader->path,
                               bytes, STORE_FILE_MAX);
        }
        total += bytes;
    }
    TRY(reader_turn(&found, reader, 0));
    if (parameters > total / sizeof(float)) {
        return status_fail(STATUS_DATA, "%s: %" PRIu64 " bytes cannot hold %zu weights",
                           reader->path, total, parameters);
    }
    return STATUS_OK;
}

static Status shape_from(ModelShape *shape, const StoreContent *content)
{
    int64_t value[CAUSAL + 1];
    for (int i = 0; i <= CAUSAL; i++) {
        value[i] = *(const int64_t *)content->array[i].data;
        const int64_t least = i == CAUSAL ? 0 : 1;
        if (value[i] < least || value[i] > shape_limit[i]) {
            return status_fail(STATUS_DATA,
                               "%s = %" PRId64 ": must be in [%" PRId64 ", %" PRId64 "]",
                               shape_schema[i].attribute, value[i], least, shape_limit[i]);
        }
    }
    const double epsilon = *(const double *)content->array[EPSILON].data;
    if (epsilon != network_norm_epsilon) {
        return status_fail(STATUS_DATA, "layer_norm_epsilon = %g: this program computes with %g",
                           epsilon, network_norm_epsilon);
    }
    if (value[CHANNELS] % value[HEADS] != 0) {
        return status_fail(STATUS_DATA, "n_embd = %" PRId64 " is no multiple of n_head = %" PRId64,
                           value[CHANNELS], value[HEADS]);
    }
    if (content->array[SCORE].present && content->array[VALUE].present) {
        return status_fail(STATUS_DATA, "both score.weight and v_head.summary.weight");
    }
    *shape = (ModelShape){
        .vocabulary = (int)value[VOCABULARY],
        .positions = (int)value[POSITIONS],
        .channels = (int)value[CHANNELS],
        .heads = (int)value[HEADS],
        .layers = (int)value[LAYERS],
        .causal = value[CAUSAL] != 0,
        .head = content->array[SCORE].present   ? HEAD_SCORE
                : content->array[VALUE].present ? HEAD_VALUE
                                                : HEAD_LANGUAGE,
    };
    return STATUS_OK;
}

static Status check_number(const char *what, int found, int wanted)
{
    if (found == wanted) return STATUS_OK;
    return status_fail(STATUS_DATA, "%s is %d, not %d", what, found, wanted);
}

static Status check_expected(const ModelShape *shape, const ModelShape *expected)
{
    static const char *const kind[] = {"a language model", "a reward model", "a critic"};
    const int found[] = {shape->layers, shape->heads, shape->channels, shape->positions,
                         shape->vocabulary};
    const int wanted[] = {expected->layers, expected->heads, expected->channels,
                          expected->positions, expected->vocabulary};
    if (shape->head != expected->head) {
        return status_fail(STATUS_DATA, "it is %s, not %s", kind[shape->head],
                           kind[expected->head]);
    }
    for (int i = LAYERS; i <= VOCABULARY; i++) {
        if (wanted[i] == 0) continue;
        TRY(check_number(shape_schema[i].attribute, found[i], wanted[i]));
    }
    const bool any = expected->head == HEAD_SCORE && !expected->causal;
    return any ? STATUS_OK : check_number(shape_schema[CAUSAL].attribute, shape->causal, true);
}

/* Makes the model that the first file describes, its weights still zero. */
static Status read_shape(Reader *reader)
{
    StoreContent content = {0};
    ModelShape shape;
    TRY(store_read(&content, reader->path, reader->digest, shape_schema, SHAPE_FIELDS));
    float gain = 1.0f, bias = 0.0f;
    if (content.array[GAIN].present) gain = (float)*(const double *)content.array[GAIN].data;
    if (content.array[BIAS].present) bias = (float)*(const double *)content.array[BIAS].data;
    Status status = shape_from(&shape, &content);
    if (status == STATUS_OK && reader->expected != NULL) {
        status = check_expected(&shape, reader->expected);
    }
    if (status == STATUS_OK && !(isfinite(gain) && isfinite(bias))) {
        status = status_fail(STATUS_DATA, "reward_gain or reward_bias is not finite");
    }
    store_content_free(&content);
    TRY(status_context(status, "%s", reader->path));
    TRY(check_size(reader, model_parameters(shape)));
    TRY(model_init(reader->model, shape));
    reader->model->reward_gain = gain;
    reader->model->reward_bias = bias;
    return STATUS_OK;
}

static Status reader_schema(Reader *reader)
{
    void *block;
    TRY(network_tensors(&reader->tensor, &reader->tensors, reader->model->shape));
    TRY(memory_claim(&block, sizeof *reader->field * ((size_t)reader->tensors + 3)));
    reader->field = block;
    TRY(memory_claim(&block, sizeof *reader->found * (size_t)reader->tensors));
    reader->found = block;
    for (int i = 0; i < reader->tensors; i++) {
        const NetworkTensor *tensor = &reader->tensor[i];
        reader->field[i] = (StoreField){
            .name = tensor->name,
            .type = STORE_F32,
            .rank = tensor->rank,
            .extent = {(int64_t)tensor->extent[0], (int64_t)tensor->extent[1]},
            .optional = true,
        };
    }
    StoreField *moment = reader->field + reader->tensors;
    moment[0] = (StoreField){"/adam/m", NULL, STORE_F32, 1, {-1}, true};
    moment[1] = (StoreField){"/adam/v", NULL, STORE_F32, 1, {-1}, true};
    moment[2] = (StoreField){"/adam", "step", STORE_I64, 0, {0}, true};
    return STATUS_OK;
}

/* A number that is none would be found by the first step that computes with it, which then blames
 * the data; one that is negative in v makes such a number. */
static Status check_values(const Reader *reader, const char *name, const StoreArray *array,
                           bool may_be_negative)
{
    const float *value = array->data;
    for (size_t i = 0; i < array->count; i++) {
        if (isfinite(value[i]) && (may_be_negative || value[i] >= 0.0F)) continue;
        return status_fail(STATUS_DATA, "%s: %s: value %zu is %g", reader->path, name, i,
                           (double)value[i]);
    }
    return STATUS_OK;
}

static Status take_moments(Reader *reader, const StoreArray array[3])
{
    AdamW *adamw = reader->adamw;
    if (!array[0].present || !array[1].present || !array[2].present) return STATUS_OK;
    const size_t count = array[0].count;
    if (array[1].count != count || count > adamw->count - reader->moments) {
        return status_fail(
            STATUS_DATA, "%s: /adam: slices of %zu and %zu, with %zu of %zu still to come",
            reader->path, count, array[1].count, adamw->count - reader->moments, adamw->count);
    }
    TRY(check_values(reader, "/adam/m", &array[0], true));
    TRY(check_values(reader, "/adam/v", &array[1], false));
    const int64_t step = *(const int64_t *)array[2].data;
    if (step < 0) {
        return status_fail(STATUS_DATA, "%s: /adam: step is %" PRId64, reader->path, step);
    }
    memcpy(adamw->m + reader->moments, array[0].data, count * sizeof *adamw->m);
    memcpy(adamw->v + reader->moments, array[1].data, count * sizeof *adamw->v);
    adamw->step = step;
    reader->moments += count;
    return STATUS_OK;
}

static Status take_tensor(Reader *reader, int index, const StoreArray *array)
{
    const NetworkTensor *tensor = &reader->tensor[index];
    if (!array->present) return STATUS_OK;
    TRY(check_values(reader, tensor->name, array, true));
    memcpy(reader->model->flat + tensor->start, array->data, tensor->size * sizeof(float));
    reader->found[index] = true;
    return STATUS_OK;
}

static Status read_part(Reader *reader)
{
    StoreContent content = {0};
    const int fields = reader->tensors + (reader->adamw != NULL ? 3 : 0);
    TRY(store_read(&content, reader->path, reader->digest, reader->field, fields));
    Status status = STATUS_OK;
    for (int i = 0; i < reader->tensors && status == STATUS_OK; i++) {
        status = take_tensor(reader, i, &content.array[i]);
    }
    if (status == STATUS_OK && reader->adamw != NULL) {
        status = take_moments(reader, content.array + reader->tensors);
    }
    store_content_free(&content);
    return status;
}

static Status read_all(Reader *reader)
{
    bool found;
    TRY(reader_turn(&found, reader, 0));
    /* Without a manifest, a first file that is not there is left to store_read, which says so. */
    if (!found && reader->manifest != NULL) {
        return status_fail(STATUS_DATA, "%s/manifest.json: it does not name %s.h5", reader->folder,
                           reader->name);
    }
    TRY(read_shape(reader));
    if (reader->adamw != NULL) TRY(adamw_init(reader->adamw, reader->model));
    TRY(reader_schema(reader));
    for (int part = 0; part < NETWORK_FILES_MAX; part++) {
        TRY(reader_turn(&found, reader, part));
        if (!found) break;
        TRY(read_part(reader));
    }
    for (int i = 0; i < reader->tensors; i++) {
        if (reader->found[i]) continue;
        return status_fail(STATUS_DATA, "%s/%s.h5: %s: missing", reader->folder, reader->name,
                           reader->tensor[i].name);
    }
    if (reader->adamw != NULL && reader->moments < reader->adamw->count) {
        return status_fail(STATUS_DATA, "%s/%s.h5: /adam: %zu of %zu moments", reader->folder,
                           reader->name, reader->moments, reader->adamw->count);
    }
    return STATUS_OK;
}

Status network_read(Model *model, AdamW *adamw, const char *folder, const char *name,
                    const Manifest *manifest, const ModelShape *expected)
{
    Reader reader = {.folder = folder,
                     .name = name,
                     .manifest = manifest,
                     .expected = expected,
                     .model = model,
                     .adamw = adamw};
    *model = (Model){0};
    if (adamw != NULL) *adamw = (AdamW){0};
    const Status status = read_all(&reader);
    memory_release(reader.tensor);
    memory_release(reader.field);
    memory_release(reader.found);
    if (status != STATUS_OK) {
        model_free(model);
        if (adamw != NULL) adamw_free(adamw);
    }
    return status;
}
