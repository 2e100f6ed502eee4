/* Byte-level BPE: GPT-2's cut, merges worked out by hand, any bytes there and back, files. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/rng.h"
#include "data/tokenizer.h"

static void assert_pieces(const char *text, const char *const *expected)
{
    size_t start = 0, count = strlen(text);
    for (; *expected != NULL; expected++) {
        const size_t length = tokenizer_piece(text + start, count - start);
        assert_int_equal(length, strlen(*expected));
        assert_memory_equal(text + start, *expected, length);
        start += length;
    }
    assert_int_equal(start, count);
}

/* Worked out from the expression in tokenizer.h, one alternative after the other. */
static void text_is_cut_as_gpt2_cuts_it(void **state)
{
    (void)state;
    assert_pieces("Hello world!", (const char *[]){"Hello", " world", "!", NULL});
    assert_pieces("I'm we'll it's 'tis",
                  (const char *[]){"I", "'m", " we", "'ll", " it", "'s", " '", "tis", NULL});
    assert_pieces("a  b\n\n c", (const char *[]){"a", " ", " b", "\n\n", " c", NULL});
    assert_pieces("x   ", (const char *[]){"x", "   ", NULL});
    assert_pieces("\n", (const char *[]){"\n", NULL});
    assert_pieces("12a 34", (const char *[]){"12", "a", " 34", NULL});
    assert_pieces("na\u00efve \u65e5\u672c \u0663!?",
                  (const char *[]){"na\u00efve", " \u65e5\u672c", " \u0663", "!?", NULL});
    assert_pieces("a\u00a0\u2003b", (const char *[]){"a", "\u00a0", "\u2003", "b", NULL});
    assert_pieces("a\xff\xfe b", (const char *[]){"a", "\xff\xfe", " b", NULL});
    assert_int_equal(tokenizer_piece("", 0), 0);
}

static Status train(Tokenizer **tokenizer, const char *text, int vocabulary)
{
    Texts texts = {0};
    assert_ok(texts_add(&texts, text, strlen(text)));
    const Status status = tokenizer_train(tokenizer, &texts, vocabulary);
    texts_free(&texts);
    return status;
}

/* "aaab" three times and "ab": aa occurs 6 times, ab 4; joining aa leaves (aa)ab three times
 * and ab once, so ab (4) comes second and (aa)(ab) third. */
static void merges_go_by_frequency(void **state)
{
    (void)state;
    Tokenizer *tokenizer;
    assert_ok(train(&tokenizer, "aaab\naaab\naaab\nab", 260));
    assert_int_equal(tokenizer_vocabulary(tokenizer), 260);
    assert_int_equal(tokenizer_end(tokenizer), 259);
    Tokens tokens = {0};
    assert_ok(tokenizer_encode(&tokens, tokenizer, "aaabab", 6));
    assert_int_equal(tokens.count, 2);
    assert_int_equal(tokens.id[0], 258);
    assert_int_equal(tokens.id[1], 257);
    tokens.count = 0;
    assert_ok(tokenizer_encode(&tokens, tokenizer, "aab", 3));
    assert_int_equal(tokens.count, 2);
    assert_int_equal(tokens.id[0], 256);
    assert_int_equal(tokens.id[1], 'b' - '!');
    tokens_free(&tokens);
    tokenizer_free(tokenizer);
}

static void merges_never_cross_pieces(void **state)
{
    (void)state;
    Tokenizer *tokenizer;
    assert_ok(train(&tokenizer, "ab, ab, ab, ab, ab, ab,", 300));
    Tokens tokens = {0};
    assert_ok(tokenizer_encode(&tokens, tokenizer, " ab,", 4));
    assert_int_equal(tokens.count, 2); /* " ab" and "," */
    tokens_free(&tokens);
    assert_true(tokenizer_vocabulary(tokenizer) < 300); /* no more pairs to learn */
    tokenizer_free(tokenizer);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    Tokenizer *tokenizer;
    assert_ok(
        train(&tokenizer, "the cat sat on the mat, the end \u00e9\u00e8 \u65e5\u672c\u8a9e", 300));
    for (int trial = 0; trial < 200; trial++) {
        Rng rng = rng_stream(1, RNG_TEST, RNG_WORLD, (uint64_t)trial, 0, 0);
        char text[64];
        const size_t count = (size_t)rng_below(&rng, 64);
        for (size_t i = 0; i < count; i++) text[i] = (char)rng_below(&rng, 256);
        Tokens tokens = {0};
        Bytes back = {0};
        assert_ok(tokenizer_encode(&tokens, tokenizer, text, count));
        assert_ok(tokens_add(&tokens, tokenizer_end(tokenizer)));
        assert_ok(tokenizer_decode(&back, tokenizer, tokens.id, tokens.count));
        assert_int_equal(back.count, count);
        if (count > 0) assert_memory_equal(back.data, text, count);
        tokens_free(&tokens);
        bytes_free(&back);
    }
    tokenizer_free(tokenizer);
}

static void the_end_never_comes_out_of_text(void **state)
{
    (void)state;
    Tokenizer *tokenizer;
    assert_ok(train(&tokenizer, "<|endoftext|> <|endoftext|> <|endoftext|>", 300));
    Tokens tokens = {0};
    assert_ok(tokenizer_encode(&tokens, tokenizer, "<|endoftext|>", 13));
    for (size_t i = 0; i < tokens.count; i++) {
        assert_int_not_equal(tokens.id[i], tokenizer_end(tokenizer));
    }
    tokens_free(&tokens);
    tokenizer_free(tokenizer);
}

static void a_word_list_has_one_id_a_word(void **state)
{
    (void)state;
    Tokenizer *tokenizer;
    const char *const words[] = {"red", "green", "blue"};
    assert_ok(tokenizer_words(&tokenizer, words, 3));
    assert_int_equal(tokenizer_vocabulary(tokenizer), 4);
    Tokens tokens = {0};
    assert_ok(tokenizer_encode(&tokens, tokenizer, "blue red  green", 15));
    assert_int_equal(tokens.count, 3);
    assert_int_equal(tokens.id[0], 2);
    assert_int_equal(tokens.id[1], 0);
    assert_int_equal(tokens.id[2], 1);
    Bytes text = {0};
    assert_ok(tokenizer_decode(&text, tokenizer, tokens.id, 3));
    assert_string_equal(text.data, "blue red green");
    assert_fails(tokenizer_encode(&tokens, tokenizer, "blue pink", 9), STATUS_DATA,
                 "the task has no word \"pink\"");
    bytes_free(&text);
    tokens_free(&tokens);
    tokenizer_free(tokenizer);
}

static void a_written_tokenizer_reads_back_the_same(void **state)
{
    (void)state;
    const char *path = in("tokenizer.json");
    const char *text = "she sells \"sea shells\" by the \\ sea shore \u00e9\u00e8 \x7f\xff the sea";
    Tokenizer *first, *second;
    assert_ok(train(&first, text, 290));
    assert_ok(tokenizer_write(first, path));
    Bytes bytes = {0}, again = {0};
    assert_ok(io_read(&bytes, path, 1 << 20));
    const Digest digest = digest_of(bytes.data, bytes.count);
    assert_ok(tokenizer_read(&second, path, &digest));
    assert_int_equal(tokenizer_vocabulary(second), tokenizer_vocabulary(first));
    Tokens a = {0}, b = {0};
    assert_ok(tokenizer_encode(&a, first, text, strlen(text)));
    assert_ok(tokenizer_encode(&b, second, text, strlen(text)));
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.id, b.id, a.count * sizeof *a.id);
    assert_ok(tokenizer_write(second, path));
    assert_ok(io_read(&again, path, 1 << 20));
    assert_int_equal(again.count, bytes.count);
    assert_memory_equal(again.data, bytes.data, bytes.count);

    tokenizer_free(second);
    const Digest other = {1, 2};
    assert_fails(tokenizer_read(&second, path, &other), STATUS_DATA, "hash");
    tokens_free(&a);
    tokens_free(&b);
    bytes_free(&bytes);
    bytes_free(&again);
    tokenizer_free(first);
}

static void assert_refused(const char *text, const char *part)
{
    char path[128];
    Tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/broken.json", folder);
    assert_ok(io_publish(path, text, strlen(text)));
    assert_fails(tokenizer_read(&tokenizer, path, NULL), STATUS_DATA, part);
    assert_null(tokenizer);
}

static void foreign_files_are_refused_with_a_place(void **state)
{
    (void)state;
    assert_refused("{\"model\":", "broken.json:1:");
    assert_refused("{}", "model: missing");
    assert_refused("{\"model\":{\"type\":\"BPE\"}}", "vocab: missing");
    assert_refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"<|endoftext|>\":0}}}",
                   "neither BPE nor WordLevel");
    assert_refused("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"b\":0}}}",
                   "id 0 occurs twice");
    assert_refused("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"b\":7}}}",
                   "id 7 is not in [0, 2)");
    assert_refused("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"b\":1}}}",
                   "the last id is not <|endoftext|>");
    assert_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<|endoftext|>\":1}}}",
                   "too few");
}

static void empty_text_and_small_vocabularies_are_refused(void **state)
{
    (void)state;
    Tokenizer *tokenizer;
    assert_fails(train(&tokenizer, "", 300), STATUS_DATA, "empty");
    assert_fails(train(&tokenizer, "text", 256), STATUS_SETTINGS, "at least 257");
}

/* A stranger's list in descending order: 200 000 words one before the other are 20 000 million
 * comparisons for who inserts each before the others. */
static void a_long_list_in_the_wrong_order_is_read_at_once(void **state)
{
    (void)state;
    enum { WORDS = 200000 };
    Bytes text = {0}, line = {0};
    Tokens tokens = {0};
    Tokenizer *tokenizer;
    assert_ok(bytes_text(&text, "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{"));
    for (int i = 0; i < WORDS; i++) {
        assert_ok(bytes_print(&text, "\"w%06d\":%d,", WORDS - 1 - i, i));
    }
    assert_ok(bytes_print(&text, "\"<|endoftext|>\":%d}}}", WORDS));
    assert_ok(io_publish(in("words.json"), text.data, text.count));
    alarm(60); /* a hundredth of it is enough */
    assert_ok(tokenizer_read(&tokenizer, in("words.json"), NULL));
    alarm(0);
    for (int i = 0; i < WORDS; i += 997) {
        bytes_clear(&line);
        tokens.count = 0;
        assert_ok(bytes_print(&line, "w%06d", i));
        assert_ok(tokenizer_encode(&tokens, tokenizer, line.data, line.count));
        assert_int_equal(tokens.count, 1);
        assert_int_equal(tokens.id[0], WORDS - 1 - i);
    }
    tokenizer_free(tokenizer);
    tokens_free(&tokens);
    bytes_free(&line);
    bytes_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_as_gpt2_cuts_it),
        cmocka_unit_test(merges_go_by_frequency),
        cmocka_unit_test(merges_never_cross_pieces),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(the_end_never_comes_out_of_text),
        cmocka_unit_test(a_word_list_has_one_id_a_word),
        IN_FOLDER(a_written_tokenizer_reads_back_the_same),
        IN_FOLDER(foreign_files_are_refused_with_a_place),
        cmocka_unit_test(empty_text_and_small_vocabularies_are_refused),
        IN_FOLDER(a_long_list_in_the_wrong_order_is_read_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
