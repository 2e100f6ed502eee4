#include "ppo/policy_samples.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

enum { OFFSET, ID, PROMPT_LENGTH, SCORES, GOLD, FIELDS };

static const struct {
    const char *name;
    StoreType type;
} column[FIELDS] = {
    [OFFSET] = {"offset", STORE_I64},
    [ID] = {"id", STORE_I32},
    [PROMPT_LENGTH] = {"prompt_length", STORE_I32},
    [SCORES] = {"scores", STORE_F64},
    [GOLD] = {"gold", STORE_F64},
};

static Status check_shape(const StoreArray *field)
{
    const size_t n = field[SCORES].count;
    for (int f = 0; f < FIELDS; f++) {
        if (!field[f].present) return status_fail(STATUS_DATA, "%s: missing", column[f].name);
    }
    if (field[GOLD].count != n || field[PROMPT_LENGTH].count != n) {
        return status_fail(STATUS_DATA, "columns differ in length");
    }
    const int64_t *offset = field[OFFSET].data;
    if (n >= INT_MAX || field[OFFSET].count != n + 1 || offset[0] != 0 ||
        offset[n] != (int64_t)field[ID].count) {
        return status_fail(STATUS_DATA, "offset does not fit");
    }
    return STATUS_OK;
}

static Status take_answer(PolicySamples *samples, const StoreArray *field, int i, int vocabulary)
{
    const int64_t *offset = field[OFFSET].data;
    const int64_t start = offset[i], end = offset[i + 1];
    const int32_t prompt = ((const int32_t *)field[PROMPT_LENGTH].data)[i];
    const int32_t *id = field[ID].data;
    if (end < start || end > (int64_t)field[ID].count || prompt < 0 || prompt > end - start) {
        return status_fail(STATUS_DATA, "answer %d: lengths do not fit", i);
    }
    for (int64_t t = start; t < end; t++) {
        if (id[t] < 0 || id[t] >= vocabulary) {
            return status_fail(STATUS_DATA, "id: %d at %" PRId64 " is not below %d", (int)id[t], t,
                               vocabulary);
        }
    }
    return sequences_add(&samples->answers, id + start, prompt, id + start + prompt,
                         end - start - prompt);
}

static Status take(PolicySamples *samples, int vocabulary)
{
    const StoreArray *field = samples->content.array;
    if (!field[OFFSET].present) return STATUS_OK; /* the stage had not run */
    TRY(check_shape(field));
    samples->present = true;
    samples->count = (int)field[SCORES].count;
    samples->score = field[SCORES].data;
    samples->gold = field[GOLD].data;
    for (int i = 0; i < samples->count; i++) TRY(take_answer(samples, field, i, vocabulary));
    return STATUS_OK;
}

Status policy_samples_read(PolicySamples *samples, const char *path, const char *policy,
                           int vocabulary)
{
    *samples = (PolicySamples){0};
    char name[FIELDS][STORE_NAME];
    StoreField schema[FIELDS];
    for (int f = 0; f < FIELDS; f++) {
        snprintf(name[f], sizeof name[f], "/%.31s/%s", policy, column[f].name);
        schema[f] = (StoreField){
            .name = name[f], .type = column[f].type, .rank = 1, .extent = {-1}, .optional = true};
    }
    TRY(store_read(&samples->content, path, NULL, schema, FIELDS));
    const Status status =
        status_context(status_context(take(samples, vocabulary), "/%s", policy), "%s", path);
    if (status != STATUS_OK) policy_samples_free(samples);
    return status;
}

void policy_samples_free(PolicySamples *samples)
{
    sequences_free(&samples->answers);
    store_content_free(&samples->content);
    *samples = (PolicySamples){0};
}
