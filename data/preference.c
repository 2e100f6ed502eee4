#include "data/preference.h"

#include "data/memory.h"
#include "data/store/store.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum { FORMAT_VERSION = 1, TEXT_ROWS = 64 };

/* The columns of a pair: X(member, store type). Each is /pair/MEMBER. */
#define PAIR_COLUMNS(X)                                                                            \
    X(prompt_id, STORE_I64)                                                                        \
    X(chosen, STORE_I32)                                                                           \
    X(rejected, STORE_I32)                                                                         \
    X(gold_margin, STORE_F32)                                                                      \
    X(flipped, STORE_U8)                                                                           \
    X(annotator, STORE_I32)                                                                        \
    X(split, STORE_U8)

/* What a file holds, in the order of its schema. */
/* clang-format off */
#define FIELD_OF(member, type) FIELD_##member,
#define SCHEMA_OF(member, type_)                                                                   \
    [FIELD_##member] = {.name = "/pair/" #member, .type = (type_), .rank = 1, .extent = {-1}},

enum {
    FIELD_VERSION,
    PAIR_COLUMNS(FIELD_OF)
    FIELD_TOKEN,
    FIELD_OFFSET,
    FIELD_PROMPT_LENGTH,
    FIELD_COUNT
};

static const StoreField schema[FIELD_COUNT] = {
    [FIELD_VERSION] = {.name = "/", .attribute = "format_version", .type = STORE_I64},
    PAIR_COLUMNS(SCHEMA_OF)
    [FIELD_TOKEN] = {.name = "/completion/token", .type = STORE_I32, .rank = 1, .extent = {-1}},
    [FIELD_OFFSET] = {.name = "/completion/offset", .type = STORE_I64, .rank = 1, .extent = {-1}},
    [FIELD_PROMPT_LENGTH] =
        {.name = "/completion/prompt_length", .type = STORE_I32, .rank = 1, .extent = {-1}},
};
/* clang-format on */

/* Room for `capacity` pairs. */
static Status grow(Preferences *preferences, int capacity)
{
#define GROW(member, type)                                                                         \
    {                                                                                              \
        void *block = preferences->member;                                                         \
        TRY(memory_resize(&block, (size_t)capacity * sizeof *preferences->member));                \
        preferences->member = block;                                                               \
    }
    PAIR_COLUMNS(GROW)
#undef GROW
    preferences->capacity = capacity;
    return STATUS_OK;
}

Status preferences_add(Preferences *preferences, Preference pair)
{
    if (preferences->count == preferences->capacity) {
        TRY(grow(preferences, preferences->count + preferences->count / 2 + 64));
    }
    const int at = preferences->count++;
#define SET(member, type) preferences->member[at] = pair.member;
    PAIR_COLUMNS(SET)
#undef SET
    return STATUS_OK;
}

void preferences_free(Preferences *preferences)
{
#define RELEASE(member, type) memory_release(preferences->member);
    PAIR_COLUMNS(RELEASE)
#undef RELEASE
    sequences_free(&preferences->completion);
    *preferences = (Preferences){0};
}

/* ---- writing ---- */

static Status put_numbers(StoreImage *image, const Preferences *preferences)
{
    const Sequences *completion = &preferences->completion;
    const size_t pairs = (size_t)preferences->count, completions = (size_t)completion->count;
    const size_t tokens = (size_t)sequences_tokens(completion), offsets = completions + 1;
    const int64_t none = 0;
#define PUT(member, type)                                                                          \
    TRY(store_put(image, schema[FIELD_##member].name, type, 1, &pairs, preferences->member, true));
    PAIR_COLUMNS(PUT)
#undef PUT
    TRY(store_put(image, schema[FIELD_TOKEN].name, STORE_I32, 1, &tokens, completion->token, true));
    TRY(store_put(image, schema[FIELD_OFFSET].name, STORE_I64, 1, &offsets,
                  completions > 0 ? completion->offset : &none, true));
    return store_put(image, schema[FIELD_PROMPT_LENGTH].name, STORE_I32, 1, &completions,
                     completion->prompt, true);
}

static Status add_prompt(Texts *texts, const Tokenizer *tokenizer, const Sequences *completion,
                         int index)
{
    return tokenizer_add_text(texts, tokenizer, completion->token + completion->offset[index],
                              (size_t)completion->prompt[index]);
}

static Status add_response(Texts *texts, const Tokenizer *tokenizer, const Sequences *completion,
                           int index)
{
    const int64_t start = completion->offset[index] + completion->prompt[index];
    return tokenizer_add_text(texts, tokenizer, completion->token + start,
                              (size_t)sequences_response(completion, index));
}

typedef struct PairTexts {
    Texts prompt, chosen, rejected;
} PairTexts;

static Status decode_pairs(PairTexts *texts, const Preferences *preferences,
                           const Tokenizer *tokenizer)
{
    const Sequences *completion = &preferences->completion;
    for (int i = 0; i < preferences->count && i < TEXT_ROWS; i++) {
        const int chosen = preferences->chosen[i], rejected = preferences->rejected[i];
        TRY(add_prompt(&texts->prompt, tokenizer, completion, chosen));
        TRY(add_response(&texts->chosen, tokenizer, completion, chosen));
        TRY(add_response(&texts->rejected, tokenizer, completion, rejected));
    }
    return STATUS_OK;
}

static Status put_texts(StoreImage *image, const Preferences *preferences,
                        const Tokenizer *tokenizer)
{
    PairTexts texts = {0};
    if (tokenizer == NULL) return STATUS_OK;
    Status status = decode_pairs(&texts, preferences, tokenizer);
    if (status == STATUS_OK) status = store_put_texts(image, "/text/prompt", &texts.prompt);
    if (status == STATUS_OK) status = store_put_texts(image, "/text/chosen", &texts.chosen);
    if (status == STATUS_OK) status = store_put_texts(image, "/text/rejected", &texts.rejected);
    texts_free(&texts.prompt);
    texts_free(&texts.chosen);
    texts_free(&texts.rejected);
    return status;
}

static Status fill(StoreImage *image, const Preferences *preferences, const Tokenizer *tokenizer)
{
    TRY(store_put_text(image, "/", "format", "rlhf comparisons"));
    TRY(store_put_integer(image, "/", "format_version", FORMAT_VERSION));
    TRY(store_put_text(image, "/", "stage", "label"));
    TRY(put_numbers(image, preferences));
    return put_texts(image, preferences, tokenizer);
}

Status preferences_write(const Preferences *preferences, const Tokenizer *tokenizer,
                         const char *path)
{
    StoreImage *image;
    TRY(status_context(store_create(&image), "%s", path));
    const Status status = fill(image, preferences, tokenizer);
    if (status != STATUS_OK) {
        store_discard(image);
        return status_context(status, "%s", path);
    }
    return store_publish(image, path, NULL);
}

/* ---- reading ---- */

static Status check_counts(const StoreContent *content)
{
    const StoreArray *array = content->array;
    const int64_t version = *(const int64_t *)array[FIELD_VERSION].data;
    if (version != FORMAT_VERSION) {
        return status_fail(STATUS_DATA, "format version is %lld, not %d", (long long)version,
                           FORMAT_VERSION);
    }
    const size_t pairs = array[FIELD_prompt_id].count;
    if (pairs == 0) return status_fail(STATUS_DATA, "holds no pairs");
    if (pairs > INT_MAX / 2) return status_fail(STATUS_DATA, "%zu pairs are too many", pairs);
#define CHECK(member, type)                                                                        \
    if (array[FIELD_##member].count != pairs) {                                                    \
        return status_fail(STATUS_DATA, "/pair/" #member ": %zu values for %zu pairs",             \
                           array[FIELD_##member].count, pairs);                                    \
    }
    PAIR_COLUMNS(CHECK)
#undef CHECK
    const size_t completions = array[FIELD_PROMPT_LENGTH].count;
    if (completions > INT_MAX / 2 || array[FIELD_OFFSET].count != completions + 1) {
        return status_fail(STATUS_DATA, "/completion/offset: %zu values for %zu completions",
                           array[FIELD_OFFSET].count, completions);
    }
    return STATUS_OK;
}

/* One completion lies where offsets and prompt length say. */
static Status check_completion(const StoreContent *content, size_t index)
{
    const int64_t *offset = content->array[FIELD_OFFSET].data;
    const int32_t *prompt = content->array[FIELD_PROMPT_LENGTH].data;
    const int64_t tokens = (int64_t)content->array[FIELD_TOKEN].count;
    const int64_t start = offset[index], end = offset[index + 1];
    if (start < 0 || end < start || end > tokens) {
        return status_fail(STATUS_DATA,
                           "/completion/offset: completion %zu is %lld to %lld of %lld tokens",
                           index, (long long)start, (long long)end, (long long)tokens);
    }
    if (prompt[index] < 0 || prompt[index] > end - start) {
        return status_fail(STATUS_DATA,
                           "/completion/prompt_length: completion %zu has %lld tokens, its prompt "
                           "%d",
                           index, (long long)(end - start), prompt[index]);
    }
    return STATUS_OK;
}

static Status check_completions(const StoreContent *content, int vocabulary)
{
    const StoreArray *array = content->array;
    const int64_t *offset = array[FIELD_OFFSET].data;
    const int32_t *token = array[FIELD_TOKEN].data;
    const size_t completions = array[FIELD_PROMPT_LENGTH].count;
    for (size_t i = 0; i < completions; i++) TRY(check_completion(content, i));
    if (offset[0] != 0 || offset[completions] != (int64_t)array[FIELD_TOKEN].count) {
        return status_fail(STATUS_DATA, "/completion/offset: runs from %lld to %lld, not 0 to %zu",
                           (long long)offset[0], (long long)offset[completions],
                           array[FIELD_TOKEN].count);
    }
    for (size_t i = 0; i < array[FIELD_TOKEN].count; i++) {
        if (token[i] < 0 || token[i] >= vocabulary) {
            return status_fail(STATUS_DATA,
                               "/completion/token: token %zu is %d of a vocabulary of "
                               "%d",
                               i, token[i], vocabulary);
        }
    }
    return STATUS_OK;
}

static Status check_pair(const Preferences *preferences, int i)
{
    const int completions = preferences->completion.count;
    const int chosen = preferences->chosen[i], rejected = preferences->rejected[i];
    if (chosen < 0 || chosen >= completions || rejected < 0 || rejected >= completions ||
        chosen == rejected) {
        return status_fail(STATUS_DATA, "pair %d: completions %d and %d of %d", i, chosen, rejected,
                           completions);
    }
    if (preferences->prompt_id[i] < 0 || preferences->annotator[i] < 0) {
        return status_fail(STATUS_DATA, "pair %d: prompt %lld, annotator %d", i,
                           (long long)preferences->prompt_id[i], preferences->annotator[i]);
    }
    if (preferences->flipped[i] > 1 || preferences->split[i] > 1) {
        return status_fail(STATUS_DATA, "pair %d: flipped is %d and split %d, not 0 or 1", i,
                           preferences->flipped[i], preferences->split[i]);
    }
    if (isinf(preferences->gold_margin[i])) {
        return status_fail(STATUS_DATA, "pair %d: gold margin is %g", i,
                           (double)preferences->gold_margin[i]);
    }
    return STATUS_OK;
}

static Status take(Preferences *preferences, const StoreContent *content)
{
    const StoreArray *array = content->array;
    const int pairs = (int)array[FIELD_prompt_id].count;
    TRY(grow(preferences, pairs));
    preferences->count = pairs;
#define COPY(member, type)                                                                         \
    memcpy(preferences->member, array[FIELD_##member].data,                                        \
           (size_t)pairs * sizeof *preferences->member);
    PAIR_COLUMNS(COPY)
#undef COPY

    const int64_t *offset = array[FIELD_OFFSET].data;
    const int32_t *token = array[FIELD_TOKEN].data;
    const int32_t *prompt = array[FIELD_PROMPT_LENGTH].data;
    for (size_t i = 0; i < array[FIELD_PROMPT_LENGTH].count; i++) {
        const int32_t *start = token + offset[i];
        TRY(sequences_add(&preferences->completion, start, prompt[i], start + prompt[i],
                          offset[i + 1] - offset[i] - prompt[i]));
    }
    for (int i = 0; i < pairs; i++) TRY(check_pair(preferences, i));
    return STATUS_OK;
}

Status preferences_read(Preferences *preferences, const char *path, const Digest *expected,
                        int vocabulary)
{
    *preferences = (Preferences){0};
    StoreContent content;
    TRY(store_read(&content, path, expected, schema, FIELD_COUNT));
    Status status = check_counts(&content);
    if (status == STATUS_OK) status = check_completions(&content, vocabulary);
    if (status == STATUS_OK) status = take(preferences, &content);
    if (status != STATUS_OK) preferences_free(preferences);
    store_content_free(&content);
    return status_context(status, "%s", path);
}
