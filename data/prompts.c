#include "data/prompts.h"

#include "data/stage.h"

#include <inttypes.h>
#include <math.h>

/* Texts and ids of one example, kept from example to example. */
typedef struct Example {
    Bytes prompt, response;
    Tokens prompt_id, response_id;
} Example;

static void example_free(Example *example)
{
    bytes_free(&example->prompt);
    bytes_free(&example->response);
    tokens_free(&example->prompt_id);
    tokens_free(&example->response_id);
}

static Status read_prompt(Example *example, const Task *task, const Tokenizer *tokenizer,
                          TaskSplit split, int64_t index)
{
    bytes_clear(&example->prompt);
    example->prompt_id.count = 0;
    TRY(task->kind->prompt(&example->prompt, task, split, index));
    TRY(tokenizer_encode(&example->prompt_id, tokenizer, example->prompt.data,
                         example->prompt.count));
    if (example->prompt_id.count == 0) return status_fail(STATUS_DATA, "the prompt is empty");
    return STATUS_OK;
}

Status prompts_read(Sequences *prompts, const Task *task, const Tokenizer *tokenizer,
                    TaskSplit split, const int64_t *index, int count)
{
    Example example = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        status = read_prompt(&example, task, tokenizer, split, index[i]);
        if (status == STATUS_OK) {
            status = sequences_add(prompts, example.prompt_id.id, (int64_t)example.prompt_id.count,
                                   NULL, 0);
        }
        status = status_context(status, "prompt %" PRId64, index[i]);
    }
    example_free(&example);
    return status;
}

static Status read_demonstration(Example *example, const Task *task, const Tokenizer *tokenizer,
                                 TaskSplit split, int64_t index, int64_t longest)
{
    bytes_clear(&example->prompt);
    bytes_clear(&example->response);
    example->prompt_id.count = 0;
    example->response_id.count = 0;
    TRY(task->kind->demonstration(&example->prompt, &example->response, task, split, index));
    TRY(tokenizer_encode(&example->prompt_id, tokenizer, example->prompt.data,
                         example->prompt.count));
    TRY(tokenizer_encode(&example->response_id, tokenizer, example->response.data,
                         example->response.count));
    TRY(tokens_add(&example->response_id, tokenizer_end(tokenizer)));
    const int64_t prompt = (int64_t)example->prompt_id.count;
    const int64_t response = (int64_t)example->response_id.count;
    if (prompt == 0) return status_fail(STATUS_DATA, "the prompt is empty");
    if (prompt + response > longest) {
        return status_fail(STATUS_DATA,
                           "%" PRId64 " tokens of prompt and %" PRId64
                           " of answer do not fit in %" PRId64 " positions",
                           prompt, response, longest);
    }
    return STATUS_OK;
}

Status demonstrations_read(Sequences *sequences, const Task *task, const Tokenizer *tokenizer,
                           TaskSplit split, int64_t first, int64_t count, int64_t longest)
{
    Example example = {0};
    Status status = STATUS_OK;
    for (int64_t i = first; i < first + count && status == STATUS_OK; i++) {
        status = read_demonstration(&example, task, tokenizer, split, i, longest);
        if (status == STATUS_OK) {
            status =
                sequences_add(sequences, example.prompt_id.id, (int64_t)example.prompt_id.count,
                              example.response_id.id, (int64_t)example.response_id.count);
        }
        status = status_context(status, "demonstration %" PRId64, i);
    }
    example_free(&example);
    return status;
}

Status answer_read(TaskAnswer *answer, Bytes *prompt, Bytes *response, const Sequences *sequences,
                   int index, const Tokenizer *tokenizer)
{
    const int32_t *id = sequences->token + sequences->offset[index];
    const int64_t prompt_count = sequences->prompt[index];
    const int64_t response_count = sequences_response(sequences, index);
    bytes_clear(prompt);
    bytes_clear(response);
    TRY(tokenizer_decode(prompt, tokenizer, id, (size_t)prompt_count));
    TRY(tokenizer_decode(response, tokenizer, id + prompt_count, (size_t)response_count));
    *answer = (TaskAnswer){
        .prompt = prompt->data != NULL ? prompt->data : "",
        .prompt_count = prompt->count,
        .response = response->data != NULL ? response->data : "",
        .response_count = response->count,
        .terminated =
            response_count > 0 && id[prompt_count + response_count - 1] == tokenizer_end(tokenizer),
    };
    return STATUS_OK;
}

Status answers_gold(float *gold, const Task *task, const Sequences *sequences,
                    const Tokenizer *tokenizer)
{
    Bytes prompt = {0}, response = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < sequences->count && status == STATUS_OK; i++) {
        gold[i] = NAN;
        if (task->kind->gold == NULL) continue;
        TaskAnswer answer;
        status = answer_read(&answer, &prompt, &response, sequences, i, tokenizer);
        if (status == STATUS_OK) gold[i] = (float)task->kind->gold(task, &answer);
    }
    bytes_free(&prompt);
    bytes_free(&response);
    return status;
}

Status stage_read_tokenizer(Tokenizer **tokenizer, const char *run, const char *stage)
{
    char path[STAGE_PATH];
    Digest digest;
    TRY(stage_input(path, &digest, run, stage, "tokenizer.json"));
    return tokenizer_read(tokenizer, path, &digest);
}
