#include "data/sequences.h"

#include "data/memory.h"

#include <assert.h>
#include <string.h>

static Status grow_tokens(Sequences *sequences, int64_t needed)
{
    if (needed <= sequences->token_capacity) return STATUS_OK;
    const int64_t capacity = needed + needed / 2 + 1024;
    void *token = sequences->token;
    TRY(memory_resize(&token, (size_t)capacity * sizeof *sequences->token));
    sequences->token = token;
    sequences->token_capacity = capacity;
    return STATUS_OK;
}

/* Room for one more sequence. */
static Status grow_count(Sequences *sequences)
{
    if (sequences->count < sequences->capacity) return STATUS_OK;
    const int capacity = sequences->count + sequences->count / 2 + 64;
    void *offset = sequences->offset;
    TRY(memory_resize(&offset, ((size_t)capacity + 1) * sizeof *sequences->offset));
    sequences->offset = offset;
    void *prompt = sequences->prompt;
    TRY(memory_resize(&prompt, (size_t)capacity * sizeof *sequences->prompt));
    sequences->prompt = prompt;
    sequences->capacity = capacity;
    if (sequences->count == 0) sequences->offset[0] = 0;
    return STATUS_OK;
}

Status sequences_add(Sequences *sequences, const int32_t *prompt, int64_t prompt_count,
                     const int32_t *response, int64_t response_count)
{
    assert(prompt_count >= 0 && prompt_count <= INT32_MAX && response_count >= 0);
    const int64_t start = sequences_tokens(sequences);
    const int64_t end = start + prompt_count + response_count;
    TRY(grow_tokens(sequences, end));
    TRY(grow_count(sequences));

    int32_t *at = sequences->token + start;
    if (prompt_count > 0) memcpy(at, prompt, (size_t)prompt_count * sizeof *at);
    if (response_count > 0) {
        memcpy(at + prompt_count, response, (size_t)response_count * sizeof *at);
    }
    sequences->prompt[sequences->count] = (int32_t)prompt_count;
    sequences->count++;
    sequences->offset[sequences->count] = end;
    return STATUS_OK;
}

int64_t sequences_length(const Sequences *sequences, int index)
{
    assert(index >= 0 && index < sequences->count);
    return sequences->offset[index + 1] - sequences->offset[index];
}

int64_t sequences_response(const Sequences *sequences, int index)
{
    return sequences_length(sequences, index) - sequences->prompt[index];
}

int64_t sequences_tokens(const Sequences *sequences)
{
    return sequences->count > 0 ? sequences->offset[sequences->count] : 0;
}

void sequences_free(Sequences *sequences)
{
    memory_release(sequences->token);
    memory_release(sequences->offset);
    memory_release(sequences->prompt);
    *sequences = (Sequences){0};
}
