#include "data/rollout.h"

#include "data/store/store.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum { FORMAT_VERSION = 1 };

/* Every array of a file: X(member, name, store type, packed). Ids and flags are packed; float
 * columns are not, since they hardly shrink. */
#define ROLLOUT_COLUMNS(X)                                                                         \
    X(prompt_id, "/rollout/prompt_id", STORE_I64, true)                                            \
    X(prompt_length, "/rollout/prompt_length", STORE_I32, true)                                    \
    X(response_length, "/rollout/response_length", STORE_I32, true)                                \
    X(block, "/rollout/block", STORE_I32, true)                                                    \
    X(score, "/rollout/score", STORE_F32, false)                                                   \
    X(raw_score, "/rollout/raw_score", STORE_F32, false)                                           \
    X(gold, "/rollout/gold", STORE_F32, false)                                                     \
    X(kl, "/rollout/kl", STORE_F32, false)                                                         \
    X(rlhf_reward, "/rollout/rlhf_reward", STORE_F32, false)                                       \
    X(terminated, "/rollout/terminated", STORE_U8, true)                                           \
    X(truncated, "/rollout/truncated", STORE_U8, true)

#define TOKEN_COLUMNS(X)                                                                           \
    X(id, "/token/id", STORE_I32, true)                                                            \
    X(is_response, "/token/is_response", STORE_U8, true)                                           \
    X(logp, "/token/logp", STORE_F32, false)                                                       \
    X(reference_logp, "/token/reference_logp", STORE_F32, false)                                   \
    X(value, "/token/value", STORE_F32, false)                                                     \
    X(reward, "/token/reward", STORE_F32, false)                                                   \
    X(advantage, "/token/advantage", STORE_F32, false)                                             \
    X(returns, "/token/return", STORE_F32, false)

#define OFFSET_COLUMN(X) X(offset, "/rollout/offset", STORE_I64, true)

/* The networks whose hashes a file carries, each as the attribute NETWORK_hash. */
#define NETWORKS(X) X(policy) X(reference) X(reward_model) X(critic)

/* What a file holds, in the order of its schema. */
#define FIELD_OF(member, name, type, packed) FIELD_##member,
#define FIELD_OF_HASH(network) FIELD_##network,
/* clang-format off */
enum {
    FIELD_VERSION,
    FIELD_STEP,
    FIELD_KL_COEF,
    FIELD_TEMPERATURE,
    NETWORKS(FIELD_OF_HASH)
    ROLLOUT_COLUMNS(FIELD_OF)
    OFFSET_COLUMN(FIELD_OF)
    TOKEN_COLUMNS(FIELD_OF)
    FIELD_COUNT
};

#define SCHEMA_OF(member, name_, type_, packed)                                                    \
    [FIELD_##member] = {.name = name_, .type = (type_), .rank = 1, .extent = {-1}},
#define SCHEMA_OF_HASH(network)                                                                    \
    [FIELD_##network] = {                                                                          \
        .name = "/", .attribute = #network "_hash", .type = STORE_U64, .rank = 1, .extent = {2}},

static const StoreField schema[FIELD_COUNT] = {
    [FIELD_VERSION] = {.name = "/", .attribute = "format_version", .type = STORE_I64},
    [FIELD_STEP] = {.name = "/", .attribute = "step", .type = STORE_I64},
    [FIELD_KL_COEF] = {.name = "/", .attribute = "kl_coef", .type = STORE_F64},
    [FIELD_TEMPERATURE] = {.name = "/", .attribute = "temperature", .type = STORE_F64},
    NETWORKS(SCHEMA_OF_HASH)
    ROLLOUT_COLUMNS(SCHEMA_OF)
    OFFSET_COLUMN(SCHEMA_OF)
    TOKEN_COLUMNS(SCHEMA_OF)
};
/* clang-format on */

void rollout_layout(Rollout *rollout, Arena *arena, int count, int64_t tokens)
{
    size_t length = (size_t)count;
#define PUSH(member, name, type, packed)                                                           \
    rollout->member = arena_push(arena, length, sizeof *rollout->member);
    ROLLOUT_COLUMNS(PUSH)
    length = (size_t)count + 1;
    OFFSET_COLUMN(PUSH)
    length = (size_t)tokens;
    TOKEN_COLUMNS(PUSH)
#undef PUSH
}

/* ---- writing ---- */

static Status put_attributes(StoreImage *image, const Rollout *rollout, const char *config)
{
    TRY(store_put_text(image, "/", "format", "rlhf rollouts"));
    TRY(store_put_integer(image, "/", "format_version", FORMAT_VERSION));
    TRY(store_put_text(image, "/", "stage", "ppo"));
    TRY(store_put_integer(image, "/", "step", rollout->step));
    TRY(store_put_number(image, "/", "kl_coef", rollout->kl_coef));
    TRY(store_put_number(image, "/", "temperature", rollout->temperature));
#define PUT_HASH(network) TRY(store_put_digest(image, "/", #network "_hash", rollout->network));
    NETWORKS(PUT_HASH)
#undef PUT_HASH
    return config != NULL ? store_put_text(image, "/", "config", config) : STATUS_OK;
}

static Status put_columns(StoreImage *image, const Rollout *rollout)
{
    size_t length = (size_t)rollout->count;
#define PUT(member, name, type, packed)                                                            \
    TRY(store_put(image, name, type, 1, &length, rollout->member, packed));
    ROLLOUT_COLUMNS(PUT)
    length = (size_t)rollout->count + 1;
    OFFSET_COLUMN(PUT)
    length = (size_t)rollout->tokens;
    TOKEN_COLUMNS(PUT)
#undef PUT
    return STATUS_OK;
}

static Status put_texts(StoreImage *image, const Rollout *rollout, const Tokenizer *tokenizer,
                        int text_rows)
{
    Texts prompts = {0}, responses = {0};
    Status status = STATUS_OK;
    const int rows = text_rows < rollout->count ? text_rows : rollout->count;
    for (int i = 0; i < rows && status == STATUS_OK; i++) {
        const int32_t *id = rollout->id + rollout->offset[i];
        const size_t prompt = (size_t)rollout->prompt_length[i];
        const size_t response = (size_t)rollout->response_length[i];
        status = tokenizer_add_text(&prompts, tokenizer, id, prompt);
        if (status != STATUS_OK) break;
        status = tokenizer_add_text(&responses, tokenizer, id + prompt, response);
    }
    if (status == STATUS_OK) status = store_put_texts(image, "/text/prompt", &prompts);
    if (status == STATUS_OK) status = store_put_texts(image, "/text/response", &responses);
    texts_free(&prompts);
    texts_free(&responses);
    return status;
}

Status rollout_write(const Rollout *rollout, const Tokenizer *tokenizer, int text_rows,
                     const char *config, const char *path, Digest *digest)
{
    StoreImage *image;
    TRY(status_context(store_create(&image), "%s", path));
    Status status = put_attributes(image, rollout, config);
    if (status == STATUS_OK) status = put_columns(image, rollout);
    if (status == STATUS_OK && tokenizer != NULL) {
        status = put_texts(image, rollout, tokenizer, text_rows);
    }
    if (status != STATUS_OK) {
        store_discard(image);
        return status_context(status, "%s", path);
    }
    return store_publish(image, path, digest);
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
    size_t length = array[FIELD_prompt_id].count;
    if (length == 0) return status_fail(STATUS_DATA, "holds no rollouts");
    if (length > INT_MAX / 2) return status_fail(STATUS_DATA, "%zu rollouts are too many", length);
#define CHECK(member, name, type, packed)                                                          \
    if (array[FIELD_##member].count != length) {                                                   \
        return status_fail(STATUS_DATA, name ": %zu values, not %zu", array[FIELD_##member].count, \
                           length);                                                                \
    }
    ROLLOUT_COLUMNS(CHECK)
    length++;
    OFFSET_COLUMN(CHECK)
    length = array[FIELD_id].count;
    TOKEN_COLUMNS(CHECK)
#undef CHECK
    return STATUS_OK;
}

static Digest digest_at(const StoreArray *array)
{
    const uint64_t *half = array->data;
    return (Digest){.high = half[0], .low = half[1]};
}

static void take_attributes(Rollout *rollout, const StoreArray *array)
{
    rollout->step = *(const int64_t *)array[FIELD_STEP].data;
    rollout->kl_coef = *(const double *)array[FIELD_KL_COEF].data;
    rollout->temperature = *(const double *)array[FIELD_TEMPERATURE].data;
#define TAKE_HASH(network) rollout->network = digest_at(&array[FIELD_##network]);
    NETWORKS(TAKE_HASH)
#undef TAKE_HASH
}

static Status take(RolloutFile *file, const StoreContent *content)
{
    const StoreArray *array = content->array;
    Rollout *rollout = &file->rollout;
    rollout->count = (int)array[FIELD_prompt_id].count;
    rollout->tokens = (int64_t)array[FIELD_id].count;
    take_attributes(rollout, array);

    Arena plan = arena_measure();
    rollout_layout(rollout, &plan, rollout->count, rollout->tokens);
    TRY(arena_init(&file->arena, plan.used));
    rollout_layout(rollout, &file->arena, rollout->count, rollout->tokens);
#define COPY(member, name, type, packed)                                                           \
    memcpy(rollout->member, array[FIELD_##member].data,                                            \
           array[FIELD_##member].count * sizeof *rollout->member);
    ROLLOUT_COLUMNS(COPY)
    OFFSET_COLUMN(COPY)
    TOKEN_COLUMNS(COPY)
#undef COPY
    return STATUS_OK;
}

/* Tokens of rollout i lie where its offset and lengths say, prompt first. */
static Status check_place(const Rollout *rollout, int i)
{
    const int64_t start = rollout->offset[i], end = rollout->offset[i + 1];
    const int64_t prompt = rollout->prompt_length[i], response = rollout->response_length[i];
    if (start < 0 || end < start || end > rollout->tokens) {
        return status_fail(STATUS_DATA,
                           "/rollout/offset: rollout %d is %lld to %lld of %lld tokens", i,
                           (long long)start, (long long)end, (long long)rollout->tokens);
    }
    if (prompt < 1 || response < 1 || prompt + response != end - start) {
        return status_fail(STATUS_DATA,
                           "rollout %d: a prompt of %lld and a response of %lld tokens in %lld", i,
                           (long long)prompt, (long long)response, (long long)(end - start));
    }
    for (int64_t t = start; t < end; t++) {
        if (rollout->is_response[t] != (t - start >= prompt)) {
            return status_fail(STATUS_DATA, "/token/is_response: token %lld is %d", (long long)t,
                               rollout->is_response[t]);
        }
    }
    return STATUS_OK;
}

static Status check_rollout(const Rollout *rollout, int i)
{
    TRY(check_place(rollout, i));
    if (rollout->prompt_id[i] < 0 || rollout->block[i] < 0 || rollout->block[i] >= rollout->count) {
        return status_fail(STATUS_DATA, "rollout %d: prompt %lld, block %d of at most %d", i,
                           (long long)rollout->prompt_id[i], rollout->block[i], rollout->count);
    }
    if (rollout->terminated[i] > 1 || rollout->truncated[i] != !rollout->terminated[i]) {
        return status_fail(STATUS_DATA, "rollout %d: terminated is %d and truncated %d", i,
                           rollout->terminated[i], rollout->truncated[i]);
    }
    if (!isfinite(rollout->score[i]) || !isfinite(rollout->raw_score[i]) ||
        !isfinite(rollout->kl[i]) || !isfinite(rollout->rlhf_reward[i]) ||
        isinf(rollout->gold[i])) {
        return status_fail(STATUS_DATA, "rollout %d: a number is not finite", i);
    }
    return STATUS_OK;
}

static Status check_token(const Rollout *rollout, int64_t t, int vocabulary)
{
    if (rollout->id[t] < 0 || rollout->id[t] >= vocabulary) {
        return status_fail(STATUS_DATA, "/token/id: token %lld is %d of a vocabulary of %d",
                           (long long)t, rollout->id[t], vocabulary);
    }
    if (!isfinite(rollout->logp[t]) || !isfinite(rollout->reference_logp[t]) ||
        !isfinite(rollout->value[t]) || !isfinite(rollout->reward[t]) ||
        !isfinite(rollout->advantage[t]) || !isfinite(rollout->returns[t])) {
        return status_fail(STATUS_DATA, "token %lld: a number is not finite", (long long)t);
    }
    return STATUS_OK;
}

static Status check(const Rollout *rollout, int vocabulary)
{
    if (!isfinite(rollout->kl_coef) || !isfinite(rollout->temperature)) {
        return status_fail(STATUS_DATA, "kl_coef is %g, temperature %g", rollout->kl_coef,
                           rollout->temperature);
    }
    for (int i = 0; i < rollout->count; i++) TRY(check_rollout(rollout, i));
    if (rollout->offset[0] != 0 || rollout->offset[rollout->count] != rollout->tokens) {
        return status_fail(STATUS_DATA, "/rollout/offset: runs from %lld to %lld, not 0 to %lld",
                           (long long)rollout->offset[0],
                           (long long)rollout->offset[rollout->count], (long long)rollout->tokens);
    }
    for (int64_t t = 0; t < rollout->tokens; t++) TRY(check_token(rollout, t, vocabulary));
    return STATUS_OK;
}

Status rollout_read(RolloutFile *file, const char *path, const Digest *expected, int vocabulary)
{
    *file = (RolloutFile){0};
    StoreContent content;
    TRY(store_read(&content, path, expected, schema, FIELD_COUNT));
    Status status = check_counts(&content);
    if (status == STATUS_OK) status = take(file, &content);
    if (status == STATUS_OK) status = check(&file->rollout, vocabulary);
    if (status != STATUS_OK) rollout_free(file);
    store_content_free(&content);
    return status_context(status, "%s", path);
}

void rollout_free(RolloutFile *file)
{
    arena_free(&file->arena);
    *file = (RolloutFile){0};
}
