#include "tests/support.h"

#include "data/io.h"
#include "data/prompts.h"

/* A world whose prompts are "p<index>" (held out: "q<index>") and whose answers say it back. */
static Status toy_prompt(Bytes *prompt, const Task *task, TaskSplit split, int64_t index)
{
    (void)task;
    if (index == 13) return STATUS_OK; /* an empty one */
    if (index == 99) return status_fail(STATUS_DATA, "no such line");
    return bytes_print(prompt, "%c%d", split == TASK_TRAIN ? 'p' : 'q', (int)index);
}

static Status toy_demonstration(Bytes *prompt, Bytes *response, const Task *task, TaskSplit split,
                                int64_t index)
{
    TRY(toy_prompt(prompt, task, split, index));
    return bytes_print(response, " said %d", (int)index);
}

/* Length of the answer, a hundred more where it ended. */
static double toy_gold(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    return (double)answer->response_count + (answer->terminated ? 100.0 : 0.0);
}

static const TaskKind toy = {
    .name = "toy", .prompt = toy_prompt, .demonstration = toy_demonstration, .gold = toy_gold};

static Tokenizer *make_tokenizer(void)
{
    Texts texts = {0};
    Tokenizer *tokenizer;
    assert_ok(texts_add(&texts, " said said said p1 p2 q1 q2", 27));
    assert_ok(tokenizer_train(&tokenizer, &texts, 262));
    texts_free(&texts);
    return tokenizer;
}

static void assert_decodes(const Tokenizer *tokenizer, const int32_t *id, int64_t count,
                           const char *text)
{
    Bytes bytes = {0};
    assert_ok(tokenizer_decode(&bytes, tokenizer, id, (size_t)count));
    assert_int_equal(bytes.count, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.count);
    bytes_free(&bytes);
}

static void prompts_are_sequences_without_answers(void **state)
{
    (void)state;
    const Task task = {.kind = &toy};
    Tokenizer *tokenizer = make_tokenizer();
    Sequences prompts = {0};
    const int64_t index[3] = {5, 0, 71};
    assert_ok(prompts_read(&prompts, &task, tokenizer, TASK_HELD_OUT, index, 3));
    assert_int_equal(prompts.count, 3);
    static const char *const text[3] = {"q5", "q0", "q71"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(prompts.prompt[i], sequences_length(&prompts, i));
        assert_decodes(tokenizer, prompts.token + prompts.offset[i], prompts.prompt[i], text[i]);
    }
    sequences_free(&prompts);
    tokenizer_free(tokenizer);
}

static void demonstrations_end_with_the_end(void **state)
{
    (void)state;
    const Task task = {.kind = &toy};
    Tokenizer *tokenizer = make_tokenizer();
    Sequences sequences = {0};
    assert_ok(demonstrations_read(&sequences, &task, tokenizer, TASK_TRAIN, 20, 2, 64));
    assert_int_equal(sequences.count, 2);
    for (int i = 0; i < 2; i++) {
        const int32_t *id = sequences.token + sequences.offset[i];
        const int64_t length = sequences_length(&sequences, i), prompt = sequences.prompt[i];
        assert_decodes(tokenizer, id, prompt, i == 0 ? "p20" : "p21");
        assert_decodes(tokenizer, id + prompt, length - prompt, i == 0 ? " said 20" : " said 21");
        assert_int_equal(id[length - 1], tokenizer_end(tokenizer));
        for (int64_t t = 0; t + 1 < length; t++) assert_true(id[t] != tokenizer_end(tokenizer));
    }
    sequences_free(&sequences);
    tokenizer_free(tokenizer);
}

static void what_cannot_be_used_is_named(void **state)
{
    (void)state;
    const Task task = {.kind = &toy};
    Tokenizer *tokenizer = make_tokenizer();
    Sequences sequences = {0};
    const int64_t empty = 13, missing = 99;
    assert_fails(prompts_read(&sequences, &task, tokenizer, TASK_TRAIN, &empty, 1), STATUS_DATA,
                 "prompt 13: the prompt is empty");
    assert_fails(prompts_read(&sequences, &task, tokenizer, TASK_TRAIN, &missing, 1), STATUS_DATA,
                 "prompt 99: no such line");
    assert_fails(demonstrations_read(&sequences, &task, tokenizer, TASK_TRAIN, 13, 1, 64),
                 STATUS_DATA, "demonstration 13: the prompt is empty");
    assert_ok(demonstrations_read(&sequences, &task, tokenizer, TASK_TRAIN, 7, 1, 64));
    const int64_t length = sequences_length(&sequences, 0);
    assert_ok(demonstrations_read(&sequences, &task, tokenizer, TASK_TRAIN, 7, 1, length));
    char expected[128];
    snprintf(expected, sizeof expected,
             "demonstration 7: %d tokens of prompt and %d of answer do not fit in %d positions",
             (int)sequences.prompt[0], (int)(length - sequences.prompt[0]), (int)length - 1);
    assert_fails(demonstrations_read(&sequences, &task, tokenizer, TASK_TRAIN, 7, 1, length - 1),
                 STATUS_DATA, expected);
    assert_int_equal(sequences.count, 2);
    sequences_free(&sequences);
    tokenizer_free(tokenizer);
}

/* " said 20" has 8 bytes; the second answer lost its end, the third has nothing but it. */
static void gold_sees_text_and_whether_it_ended(void **state)
{
    (void)state;
    Task task = {.kind = &toy};
    Tokenizer *tokenizer = make_tokenizer();
    Sequences read = {0}, answers = {0};
    assert_ok(demonstrations_read(&read, &task, tokenizer, TASK_TRAIN, 20, 1, 64));
    const int64_t prompt = read.prompt[0], response = sequences_response(&read, 0);
    const int32_t end = tokenizer_end(tokenizer);
    assert_ok(sequences_add(&answers, read.token, prompt, read.token + prompt, response));
    assert_ok(sequences_add(&answers, read.token, prompt, read.token + prompt, response - 1));
    assert_ok(sequences_add(&answers, read.token, prompt, &end, 1));
    assert_ok(sequences_add(&answers, read.token, prompt, NULL, 0));
    float gold[4];
    assert_ok(answers_gold(gold, &task, &answers, tokenizer));
    assert_true(gold[0] == 108.0f && gold[1] == 8.0f && gold[2] == 100.0f && gold[3] == 0.0f);

    TaskAnswer answer;
    Bytes prompt_text = {0}, response_text = {0};
    assert_ok(answer_read(&answer, &prompt_text, &response_text, &answers, 2, tokenizer));
    assert_int_equal(answer.prompt_count, 3);
    assert_memory_equal(answer.prompt, "p20", 3);
    assert_int_equal(answer.response_count, 0);
    assert_string_equal(answer.response, "");
    assert_true(answer.terminated);
    bytes_free(&prompt_text);
    bytes_free(&response_text);

    TaskKind mute = toy;
    mute.gold = NULL;
    task.kind = &mute;
    assert_ok(answers_gold(gold, &task, &answers, tokenizer));
    for (int i = 0; i < 4; i++) assert_true(isnan(gold[i]));
    sequences_free(&read);
    sequences_free(&answers);
    tokenizer_free(tokenizer);
}

static void a_missing_tokenizer_says_what_to_run(void **state)
{
    (void)state;
    char folder[64], expected[128];
    Tokenizer *tokenizer = NULL;
    test_folder(folder);
    snprintf(expected, sizeof expected, "%s/pretrain", folder);
    assert_fails(stage_read_tokenizer(&tokenizer, folder, "pretrain"), STATUS_DATA, expected);
    assert_fails(stage_read_tokenizer(&tokenizer, folder, "pretrain"), STATUS_DATA,
                 "run: rlhf pretrain ");
    assert_ok(io_remove_tree(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_sequences_without_answers),
        cmocka_unit_test(demonstrations_end_with_the_end),
        cmocka_unit_test(what_cannot_be_used_is_named),
        cmocka_unit_test(gold_sees_text_and_whether_it_ended),
        cmocka_unit_test(a_missing_tokenizer_says_what_to_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
