#include "reward/task_pairs.h"

#include "data/memory.h"

#include <inttypes.h>

/* One pair at a time. */
typedef struct PairReader {
    Sequences *answers;
    const Task *task;
    const Tokenizer *tokenizer;
    int positions;
    Bytes prompt, answer[2];
    Tokens prompt_id, answer_id;
} PairReader;

static Status encode(Tokens *tokens, const PairReader *reader, const Bytes *text)
{
    tokens->count = 0;
    return tokenizer_encode(tokens, reader->tokenizer, text->data ? text->data : "", text->count);
}

static Status add_answer(PairReader *reader, int index, int which)
{
    TRY(encode(&reader->answer_id, reader, &reader->answer[which]));
    TRY(tokens_add(&reader->answer_id, tokenizer_end(reader->tokenizer)));
    const int64_t prompt = (int64_t)reader->prompt_id.count;
    const int64_t answer = (int64_t)reader->answer_id.count;
    if (prompt + answer > reader->positions) {
        return status_fail(STATUS_DATA,
                           "pair %d: %" PRId64 " tokens of prompt and %" PRId64
                           " of the %s answer do not fit in %d positions",
                           index, prompt, answer, which == 0 ? "chosen" : "rejected",
                           reader->positions);
    }
    return sequences_add(reader->answers, reader->prompt_id.id, prompt, reader->answer_id.id,
                         answer);
}

static Status add_pair(PairReader *reader, int index)
{
    Bytes *answer = reader->answer;
    bytes_clear(&reader->prompt);
    for (int a = 0; a < 2; a++) bytes_clear(&answer[a]);
    TRY(reader->task->kind->pair(&reader->prompt, &answer[0], &answer[1], reader->task, index));
    TRY(encode(&reader->prompt_id, reader, &reader->prompt));
    for (int a = 0; a < 2; a++) TRY(add_answer(reader, index, a));
    return STATUS_OK;
}

Status task_pairs_read(Sequences *answers, const Task *task, const Tokenizer *tokenizer,
                       int positions, int first, int count)
{
    PairReader reader = {
        .answers = answers, .task = task, .tokenizer = tokenizer, .positions = positions};
    Status status = STATUS_OK;
    for (int i = first; i < first + count && status == STATUS_OK; i++) {
        status = add_pair(&reader, i);
    }
    tokens_free(&reader.answer_id);
    tokens_free(&reader.prompt_id);
    for (int a = 0; a < 2; a++) bytes_free(&reader.answer[a]);
    bytes_free(&reader.prompt);
    return status;
}
