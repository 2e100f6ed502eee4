#include "tests/support.h"

#include "data/tasks/task.h"

static const TaskConfig config = {
    .name = "exact", .documents = 300, .demonstrations = 5000, .response_tokens = 3};
static Task task;
static const char *const *word;
static int word_count;

static int open_task(void **state)
{
    (void)state;
    if (task_open(&task, &config, 7) != STATUS_OK) return 1;
    return task.kind->words(&word, &word_count, &task) != STATUS_OK;
}

static int close_task(void **state)
{
    (void)state;
    task_close(&task);
    return 0;
}

static double gold_of(const char *prompt, const char *response, bool terminated)
{
    const TaskAnswer answer = {prompt, strlen(prompt), response, strlen(response), terminated};
    return task.kind->gold(&task, &answer);
}

static double log_probability_of(const char *prompt, const char *response, bool terminated)
{
    const TaskAnswer answer = {prompt, strlen(prompt), response, strlen(response), terminated};
    return task.kind->log_probability(&task, &answer);
}

static void eight_prompts_serve_both_splits(void **state)
{
    (void)state;
    assert_int_equal(task.kind->all_prompts(&task), 8);
    Bytes seen[16] = {0}, held_out = {0};
    for (int i = 0; i < 16; i++) {
        assert_ok(task.kind->prompt(&seen[i], &task, TASK_TRAIN, i));
        for (int j = 0; j < i; j++) {
            assert_int_equal(strcmp(seen[i].data, seen[j].data) == 0, i == j + 8);
        }
        bytes_clear(&held_out);
        assert_ok(task.kind->prompt(&held_out, &task, TASK_HELD_OUT, i));
        assert_string_equal(held_out.data, seen[i].data);
    }
    assert_string_equal(seen[0].data, "warm breakfast");
    assert_string_equal(seen[7].data, "cold picnic");
    for (int i = 0; i < 16; i++) bytes_free(&seen[i]);
    bytes_free(&held_out);
}

static void answers_of_one_to_three_words_have_probability_one(void **state)
{
    (void)state;
    assert_int_equal(word_count, 20);
    double sum = 0.0;
    char text[64];
    for (int a = 0; a < word_count; a++) {
        sum += exp(log_probability_of("cold supper", word[a], true));
        for (int b = 0; b < word_count; b++) {
            snprintf(text, sizeof text, "%s %s", word[a], word[b]);
            sum += exp(log_probability_of("cold supper", text, true));
            for (int c = 0; c < word_count; c++) {
                snprintf(text, sizeof text, "%s %s %s", word[a], word[b], word[c]);
                sum += exp(log_probability_of("cold supper", text, true));
            }
        }
    }
    assert_close(sum, 1.0, 1e-12, 0);
    assert_true(isinf(log_probability_of("cold supper", "", true)));
    assert_true(isinf(log_probability_of("cold supper", "rice", false)));
    assert_true(isinf(log_probability_of("cold supper", "rice rice rice rice", true)));
    assert_true(isinf(log_probability_of("cold", "rice", true)));
}

/* Over 5 000 demonstrations; the floor is checked by the frequency of one of them. */
static void gold_of_demonstrations_has_mean_zero_and_variance_one(void **state)
{
    (void)state;
    Bytes prompt = {0}, response = {0};
    double sum = 0.0, squares = 0.0, tea = 0.0;
    const int64_t count = task.kind->demonstration_count(&task, TASK_TRAIN);
    for (int64_t i = 0; i < count; i++) {
        bytes_clear(&prompt);
        bytes_clear(&response);
        assert_ok(task.kind->demonstration(&prompt, &response, &task, TASK_TRAIN, i));
        const double gold = gold_of(prompt.data, response.data, true);
        assert_true(isfinite(log_probability_of(prompt.data, response.data, true)));
        sum += gold;
        squares += gold * gold;
        if (strcmp(prompt.data, "warm breakfast") == 0) tea += strcmp(response.data, "tea") == 0;
    }
    const double n = (double)count, mean = sum / n;
    assert_close(mean, 0.0, 0.06, 0);
    assert_close(squares / n - mean * mean, 1.0, 0.1, 0);
    const double expected = n / 8.0 * exp(log_probability_of("warm breakfast", "tea", true));
    assert_close(tea, expected, 4.0 * sqrt(expected), 0);
    bytes_free(&prompt);
    bytes_free(&response);
}

/* By hand, from the tables of hidden weights: the mean is 0.371, the deviation 0.882. */
static void gold_is_the_sum_of_the_words(void **state)
{
    (void)state;
    assert_close(gold_of("warm supper", "", true), -0.371 / 0.882, 1e-12, 0);
    /* worth 0.1, warmth 0.8, suits 0.9 */
    assert_close(gold_of("warm supper", "soup", true), (0.1 + 0.48 + 0.9 - 0.371) / 0.882, 1e-12,
                 0);
    assert_close(gold_of("cold supper", "soup", true), (0.1 - 0.48 + 0.9 - 0.371) / 0.882, 1e-12,
                 0);
    /* warm: 0.1 + 0.54; soup after it: 0.3 more */
    assert_close(gold_of("warm supper", "warm soup", true), (0.64 + 1.48 + 0.3 - 0.371) / 0.882,
                 1e-12, 0);
    /* a joint that joins, and one that does not */
    assert_close(gold_of("warm supper", "soup and fish", true),
                 (1.48 + 0.4 + (0.1 + 0.06 + 0.7) - 0.371) / 0.882, 1e-12, 0);
    assert_close(gold_of("warm supper", "and", true), (-0.4 - 0.371) / 0.882, 1e-12, 0);
    /* again: no gain, and half a point lost */
    assert_close(gold_of("warm supper", "soup soup", true), (1.48 - 0.5 - 0.371) / 0.882, 1e-12, 0);
    assert_close(gold_of("warm supper", "soup", false), gold_of("warm supper", "soup", true), 0, 0);
    assert_close(gold_of("warm supper", "gravel soup", true), gold_of("warm supper", "soup", true),
                 0, 0);
}

static void documents_are_prompts_with_answers(void **state)
{
    (void)state;
    Texts texts = {0};
    assert_ok(task.kind->documents(&texts, &task, TASK_TRAIN));
    assert_int_equal(texts.count, 300);
    Tokenizer *tokenizer;
    Tokens tokens = {0};
    assert_ok(tokenizer_words(&tokenizer, word, word_count));
    for (int i = 0; i < texts.count; i++) {
        size_t count;
        const char *text = texts_at(&texts, i, &count);
        tokens.count = 0;
        assert_ok(tokenizer_encode(&tokens, tokenizer, text, count));
        assert_in_range(tokens.count, 3, 5);
        assert_in_range(tokens.id[1], 16, 19);
    }
    tokens_free(&tokens);
    tokenizer_free(tokenizer);
    texts_free(&texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_prompts_serve_both_splits),
        cmocka_unit_test(answers_of_one_to_three_words_have_probability_one),
        cmocka_unit_test(gold_of_demonstrations_has_mean_zero_and_variance_one),
        cmocka_unit_test(gold_is_the_sum_of_the_words),
        cmocka_unit_test(documents_are_prompts_with_answers),
    };
    return cmocka_run_group_tests(tests, open_task, close_task);
}
