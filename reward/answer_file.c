#include "reward/answer_file.h"

#include "data/path.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { VERSION, TOKEN, OFFSET, PROMPT_LENGTH, FIXED };

static const StoreField fixed[FIXED] = {
    [VERSION] = {.name = "/", .attribute = "format_version", .type = STORE_I64},
    [TOKEN] = {.name = "/answer/token", .type = STORE_I32, .rank = 1, .extent = {-1}},
    [OFFSET] = {.name = "/answer/offset", .type = STORE_I64, .rank = 1, .extent = {-1}},
    [PROMPT_LENGTH] = {.name = "/answer/prompt_length",
                       .type = STORE_I32,
                       .rank = 1,
                       .extent = {-1}},
};

typedef char ColumnNames[ANSWER_FILE_COLUMNS][STORE_NAME];

static void name_columns(ColumnNames names, const AnswerColumn *column, int columns)
{
    assert(columns <= ANSWER_FILE_COLUMNS);
    for (int c = 0; c < columns; c++) {
        snprintf(names[c], STORE_NAME, "/answer/%.100s", column[c].name);
    }
}

/* ---- writing ---- */

static Status put(StoreImage *image, const Sequences *answers, const AnswerColumn *column,
                  int columns)
{
    const size_t count = (size_t)answers->count, offsets = count + 1;
    const size_t tokens = (size_t)sequences_tokens(answers);
    ColumnNames names;
    name_columns(names, column, columns);
    TRY(store_put_text(image, "/", "format", "rlhf answers"));
    TRY(store_put_integer(image, "/", "format_version", ANSWER_FILE_VERSION));
    /* Tokens lie plain: answers that are all alike would pack further than a reader believes. */
    TRY(store_put(image, fixed[TOKEN].name, STORE_I32, 1, &tokens, answers->token, false));
    TRY(store_put(image, fixed[OFFSET].name, STORE_I64, 1, &offsets, answers->offset, true));
    TRY(store_put(image, fixed[PROMPT_LENGTH].name, STORE_I32, 1, &count, answers->prompt, true));
    for (int c = 0; c < columns; c++) {
        const bool packed = column[c].type != STORE_F32 && column[c].type != STORE_F64;
        TRY(store_put(image, names[c], column[c].type, 1, &count, column[c].data, packed));
    }
    return STATUS_OK;
}

Status answer_file_write(const Sequences *answers, const AnswerColumn *column, int columns,
                         const char *folder, const char *name)
{
    assert(answers->count > 0);
    char path[PATH_TEXT];
    TRY(path_join(path, folder, name));
    StoreImage *image;
    TRY(store_create(&image));
    const Status status = put(image, answers, column, columns);
    if (status == STATUS_OK) return store_publish(image, path, NULL);
    store_discard(image);
    return status_context(status, "%s", path);
}

/* ---- reading ---- */

static Status check_counts(const StoreArray *array, int columns, int count)
{
    const int64_t version = *(const int64_t *)array[VERSION].data;
    if (version != ANSWER_FILE_VERSION) {
        return status_fail(STATUS_DATA, "format version is %" PRId64 ", not %d", version,
                           ANSWER_FILE_VERSION);
    }
    for (int f = PROMPT_LENGTH; f < FIXED + columns; f++) {
        if (array[f].count == (size_t)count) continue;
        return status_fail(STATUS_DATA, "%zu answers, not %d", array[f].count, count);
    }
    const int64_t *offset = array[OFFSET].data;
    if (array[OFFSET].count != (size_t)count + 1 || offset[0] != 0 ||
        offset[count] != (int64_t)array[TOKEN].count) {
        return status_fail(STATUS_DATA, "%s does not fit", fixed[OFFSET].name);
    }
    return STATUS_OK;
}

static Status take_answer(Sequences *answers, const StoreArray *array, int i, int vocabulary)
{
    const int64_t *offset = array[OFFSET].data;
    const int64_t start = offset[i], end = offset[i + 1];
    const int32_t prompt = ((const int32_t *)array[PROMPT_LENGTH].data)[i];
    const int32_t *token = array[TOKEN].data;
    if (start < 0 || end < start || end > (int64_t)array[TOKEN].count || prompt < 0 ||
        prompt > end - start) {
        return status_fail(STATUS_DATA, "answer %d: lengths do not fit", i);
    }
    for (int64_t t = start; t < end; t++) {
        if (token[t] >= 0 && token[t] < vocabulary) continue;
        return status_fail(STATUS_DATA, "answer %d: token %" PRId32 " of a vocabulary of %d", i,
                           token[t], vocabulary);
    }
    return sequences_add(answers, token + start, prompt, token + start + prompt,
                         end - start - prompt);
}

static Status take(Sequences *answers, const AnswerColumn *column, int columns, int count,
                   const StoreArray *array, int vocabulary)
{
    TRY(check_counts(array, columns, count));
    for (int i = 0; i < count; i++) TRY(take_answer(answers, array, i, vocabulary));
    for (int c = 0; c < columns; c++) {
        memcpy(column[c].data, array[FIXED + c].data,
               (size_t)count * store_type_size(column[c].type));
    }
    return STATUS_OK;
}

Status answer_file_read(Sequences *answers, const AnswerColumn *column, int columns, int count,
                        const char *folder, const char *name, const Manifest *manifest,
                        int vocabulary)
{
    assert(count > 0);
    char path[PATH_TEXT];
    TRY(path_join(path, folder, name));
    const ManifestFile *file = manifest_find(manifest, name);
    if (file == NULL) return status_fail(STATUS_DATA, "%s: not in the manifest", path);

    ColumnNames names;
    StoreField schema[FIXED + ANSWER_FILE_COLUMNS];
    name_columns(names, column, columns);
    memcpy(schema, fixed, sizeof fixed);
    for (int c = 0; c < columns; c++) {
        schema[FIXED + c] =
            (StoreField){.name = names[c], .type = column[c].type, .rank = 1, .extent = {-1}};
    }
    StoreContent content;
    TRY(store_read(&content, path, &file->digest, schema, FIXED + columns));
    const Status status = take(answers, column, columns, count, content.array, vocabulary);
    store_content_free(&content);
    return status_context(status, "%s", path);
}
