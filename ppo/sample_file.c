#include "ppo/sample_file.h"

#include "data/io.h"
#include "data/path.h"
#include "data/stage.h"

#include <limits.h>

enum {
    STEP,
    PROMPT_ID,
    PROMPT_LENGTH,
    SCORE,
    GOLD,
    TERMINATED,
    OFFSET,
    ID,
    VERSION,
    FIELDS,
};

static const StoreField schema[FIELDS] = {
    [STEP] = {.name = "/sample/step", .type = STORE_I64, .rank = 1, .extent = {-1}},
    [PROMPT_ID] = {.name = "/sample/prompt_id", .type = STORE_I64, .rank = 1, .extent = {-1}},
    [PROMPT_LENGTH] = {.name = "/sample/prompt_length",
                       .type = STORE_I32,
                       .rank = 1,
                       .extent = {-1}},
    [SCORE] = {.name = "/sample/score", .type = STORE_F32, .rank = 1, .extent = {-1}},
    [GOLD] = {.name = "/sample/gold", .type = STORE_F32, .rank = 1, .extent = {-1}},
    [TERMINATED] = {.name = "/sample/terminated", .type = STORE_U8, .rank = 1, .extent = {-1}},
    [OFFSET] = {.name = "/sample/offset", .type = STORE_I64, .rank = 1, .extent = {-1}},
    [ID] = {.name = "/token/id", .type = STORE_I32, .rank = 1, .extent = {-1}},
    [VERSION] = {.name = "/", .attribute = "format_version", .type = STORE_I64},
};

static Status check_shape(const StoreArray *field)
{
    const int64_t version = *(const int64_t *)field[VERSION].data;
    const size_t n = field[STEP].count;
    if (version != SAMPLE_FORMAT_VERSION) {
        return status_fail(STATUS_DATA, "format version is %lld, not %d", (long long)version,
                           SAMPLE_FORMAT_VERSION);
    }
    for (int f = PROMPT_ID; f <= TERMINATED; f++) {
        if (field[f].count != n) return status_fail(STATUS_DATA, "columns differ in length");
    }
    const int64_t *offset = field[OFFSET].data;
    if (n >= INT_MAX || field[OFFSET].count != n + 1 || offset[0] != 0 ||
        offset[n] != (int64_t)field[ID].count) {
        return status_fail(STATUS_DATA, "/sample/offset does not fit");
    }
    return STATUS_OK;
}

static Status check_ids(const StoreArray *ids, int vocabulary)
{
    const int32_t *id = ids->data;
    for (size_t t = 0; t < ids->count; t++) {
        if (id[t] < 0 || id[t] >= vocabulary) {
            return status_fail(STATUS_DATA, "/token/id: %d at %zu is not below %d", (int)id[t], t,
                               vocabulary);
        }
    }
    return STATUS_OK;
}

static Status take_answers(SampleFile *file, const StoreArray *field)
{
    const int64_t *offset = field[OFFSET].data, tokens = (int64_t)field[ID].count;
    const int32_t *prompt = field[PROMPT_LENGTH].data, *id = field[ID].data;
    for (int i = 0; i < file->count; i++) {
        const int64_t start = offset[i], end = offset[i + 1];
        if (end < start || end > tokens || prompt[i] < 0 || prompt[i] > end - start) {
            return status_fail(STATUS_DATA, "sample %d: lengths do not fit", i);
        }
        const int32_t *response = id + start + prompt[i];
        TRY(sequences_add(&file->answers, id + start, prompt[i], response,
                          end - start - prompt[i]));
    }
    return STATUS_OK;
}

static Status take(SampleFile *file, int vocabulary)
{
    const StoreArray *field = file->content.array;
    TRY(check_shape(field));
    TRY(check_ids(&field[ID], vocabulary));
    file->count = (int)field[STEP].count;
    file->step = field[STEP].data;
    file->prompt_id = field[PROMPT_ID].data;
    file->score = field[SCORE].data;
    file->gold = field[GOLD].data;
    file->terminated = field[TERMINATED].data;
    return take_answers(file, field);
}

Status sample_file_read(SampleFile *file, const char *path, const Digest *expected, int vocabulary)
{
    *file = (SampleFile){0};
    TRY(store_read(&file->content, path, expected, schema, FIELDS));
    const Status status = status_context(take(file, vocabulary), "%s", path);
    if (status != STATUS_OK) sample_file_free(file);
    return status;
}

Status sample_file_of_run(SampleFile *file, const char *run, int vocabulary)
{
    char path[STAGE_PATH], manifest[STAGE_PATH];
    Digest digest;
    *file = (SampleFile){0};
    TRY(path_join(manifest, run, "ppo/manifest.json"));
    if (!io_exists(manifest)) {
        TRY(path_join(path, run, "ppo/samples.h5"));
        return sample_file_read(file, path, NULL, vocabulary);
    }
    TRY(stage_input(path, &digest, run, "ppo", "samples.h5"));
    return sample_file_read(file, path, &digest, vocabulary);
}

void sample_file_free(SampleFile *file)
{
    sequences_free(&file->answers);
    store_content_free(&file->content);
    *file = (SampleFile){0};
}
