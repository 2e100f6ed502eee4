/* Prose, ratings and fluency: each by hand, then the task on a small made-up book, then, where the
 * real data have been fetched, on Austen and VADER. */
#include "tests/support.h"

#include "data/io.h"
#include "data/rng.h"
#include "data/tasks/kinds.h"
#include "data/tasks/lexicon.h"
#include "data/tasks/ngram.h"
#include "data/tasks/prose.h"
#include "data/tasks/vader.h"

/* ---- words ---- */

static void text_is_cut_into_lower_case_words_and_marks(void **state)
{
    (void)state;
    static const char *const expected[] = {"she", "didn't", "say",  "'",    "yes", "'",
                                           "-",   "-",      "\xc3", "\xa9", "9"};
    const char *text = "  She didn't\nsay 'Yes'-- \xc3\xa9 9";
    size_t position = 0;
    ProseWord word;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(word_next(&word, text, strlen(text), &position));
        assert_int_equal(word.count, strlen(expected[i]));
        assert_memory_equal(word.text, expected[i], word.count);
        assert_int_equal(word.letters, word.count > 1);
    }
    assert_false(word_next(&word, text, strlen(text), &position));
}

static void a_lexicon_finds_every_word_it_was_given(void **state)
{
    (void)state;
    Lexicon lexicon = {0};
    char text[16];
    assert_int_equal(lexicon_find(&lexicon, "x", 1), -1);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5000; i++) {
            const int length = snprintf(text, sizeof text, "w%d", i);
            int number;
            assert_ok(lexicon_add(&number, &lexicon, text, (size_t)length));
            assert_int_equal(number, i);
        }
    }
    assert_int_equal(lexicon.words.count, 5000);
    assert_int_equal(lexicon_find(&lexicon, "w4321", 5), 4321);
    assert_int_equal(lexicon_find(&lexicon, "w5000", 5), -1);
    lexicon_free(&lexicon);
}

/* ---- fluency ---- */

static double p_of(const Ngram *ngram, const char *before, const char *word)
{
    return exp(ngram_score(ngram, before, strlen(before), word, strlen(word)).logp);
}

/* "a b a c": a twice, b and c once; after a: b and c once each; after "b a": c. */
static void trigrams_match_witten_and_bell(void **state)
{
    (void)state;
    Texts texts = {0};
    assert_ok(texts_add(&texts, "a b a c", 7));
    Ngram *ngram;
    assert_ok(ngram_train(&ngram, &texts));
    const double floor = 1.0 / 50000;
    const double b = (1 + 3 * floor) / 7, c = b, unknown = 3 * floor / 7;
    const double c_after_a = (1 + 2 * c) / 4;
    const double c_after_b_a = (1 + c_after_a) / 2;
    assert_close(p_of(ngram, "z z", "c"), c, 0, 1e-12); /* an unknown history says nothing */
    assert_close(p_of(ngram, "c a", "c"), c_after_a, 0, 1e-12);
    assert_close(p_of(ngram, "b a", "c"), c_after_b_a, 0, 1e-12);
    assert_close(p_of(ngram, "z z", "zzz"), unknown, 0, 1e-12);
    assert_close(p_of(ngram, "b a", "zzz"), (2 * unknown / 4) / 2, 0, 1e-12);

    const NgramScore score = ngram_score(ngram, "b", 1, "a c", 3);
    assert_int_equal(score.words, 2);
    /* "b" alone is not how the text began, so only its word is known: a after b */
    const double a = (2 + 3 * floor) / 7, a_after_b = (1 + a) / 2;
    assert_close(score.logp, (log(a_after_b) + log(c_after_b_a)) / 2, 1e-12, 0);
    assert_close(score.gain, (log(a_after_b / a) + log(c_after_b_a / c)) / 2, 1e-12, 0);
    assert_int_equal(ngram_score(ngram, "", 0, " ", 1).words, 0);
    ngram_free(ngram);
    texts_free(&texts);
}

static void trigram_chances_add_up(void **state)
{
    (void)state;
    Texts texts = {0};
    const char *text = "the cat saw the dog and the dog saw the cat and the bird";
    assert_ok(texts_add(&texts, text, strlen(text)));
    assert_ok(texts_add(&texts, "the bird saw a dog", 18));
    Ngram *ngram;
    assert_ok(ngram_train(&ngram, &texts));
    static const char *const words[] = {"the", "cat", "saw", "dog", "and", "bird", "a"};
    static const char *const histories[] = {"", "the", "saw the", "and the", "x the", "x y"};
    for (size_t h = 0; h < sizeof histories / sizeof histories[0]; h++) {
        double sum = (50000 - 7) * p_of(ngram, histories[h], "unheard");
        for (int w = 0; w < 7; w++) sum += p_of(ngram, histories[h], words[w]);
        assert_close(sum, 1, 1e-12, 0);
    }
    ngram_free(ngram);
    texts_free(&texts);
}

/* ---- ratings ---- */

static Status parse(Vader *vader, const char *text)
{
    return vader_parse(vader, text, strlen(text));
}

static void ratings_are_read_and_broken_lines_are_named(void **state)
{
    (void)state;
    Vader vader = {0};
    assert_ok(parse(&vader, "$:\t-1.5\t0.8\t[-1, -1, -1, -1, -3, -1, -3, -1, -2, -1]\n"
                            "fine\t0.8\t0.6\t[1, 0, 1, 1, 0, 1, 2, 1, 1, 0]"));
    const VaderWord *fine = vader_find(&vader, "fine", 4);
    assert_non_null(fine);
    assert_close(fine->mean, 0.8, 0, 0);
    assert_int_equal(fine->rating[6], 2);
    assert_int_equal(vader_find(&vader, "$:", 2)->rating[4], -3);
    assert_null(vader_find(&vader, "fin", 3));
    vader_free(&vader);

    static const char *const broken[] = {
        "a\t1\t1\t[1, 1, 1, 1, 1, 1, 1, 1, 1]",    "a\t1\t1\t[1, 1, 1, 1, 1, 1, 1, 1, 1, 5]",
        "a\tx\t1\t[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "a 1 1 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
        "a\t1\t1\t[1, 1, 1, 1, 1, 1, 1, 1, 1, 1",  "a\tnan\t1\t[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        Bytes text = {0};
        assert_ok(bytes_print(&text, "ok\t0\t0\t[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n%s\n", broken[i]));
        assert_fails(parse(&vader, text.data), STATUS_DATA,
                     "line 2: not a word, two numbers and ten ratings");
        vader_free(&vader);
        bytes_free(&text);
    }
    assert_fails(parse(&vader, ""), STATUS_DATA, "no words");
    vader_free(&vader);
}

/* ---- prose ---- */

static void paragraphs_are_unwrapped_and_headings_dropped(void **state)
{
    (void)state;
    const char *book = "EMMA\n\nBy Somebody\n\nCHAPTER I\n\nShe was\n  _very_ young.\r\n\n\n"
                       "\"Yes,\" said he.";
    Texts parts[PROSE_PARTS] = {{0}};
    assert_ok(prose_cut(parts, book, strlen(book)));
    assert_int_equal(parts[PROSE_HELD_OUT].count, 2); /* the first forty */
    size_t count;
    const char *text = texts_at(&parts[PROSE_HELD_OUT], 0, &count);
    assert_int_equal(count, 19);
    assert_memory_equal(text, "She was very young.", 19);
    for (int part = 0; part < PROSE_PARTS; part++) texts_free(&parts[part]);
    assert_fails(prose_cut(parts, "CHAPTER I\n", 10), STATUS_DATA, "no paragraphs of prose");
}

static bool ends(const char *text)
{
    return prose_ends_sentence(text, strlen(text));
}

static void abbreviations_do_not_end_sentences(void **state)
{
    (void)state;
    assert_true(ends("was young."));
    assert_true(ends("Really?"));
    assert_true(ends("So it is!"));
    assert_false(ends("with Mr."));
    assert_false(ends("Mrs."));
    assert_false(ends("to J."));
    assert_false(ends("was young"));
    assert_false(ends("was young,"));
    assert_false(ends(""));
    assert_false(prose_ends_sentence("a\0", 2));
}

/* Prompts of 3 words, answers of 2 to 4: only the second clause of the first sentence and the third
 * sentence fit; the second is quoted, the last too short. */
static void passages_keep_within_their_limits(void **state)
{
    (void)state;
    Texts paragraphs = {0};
    const char *text =
        "One two three four five six, seven eight nine ten Mr. eleven. \"Are you all "
        "here today?\" It was. We went to the old town. It was late then.";
    assert_ok(texts_add(&paragraphs, text, strlen(text)));
    const PassageLimits limits = {3, 2, 4, 100};
    Passage *list;
    int count;
    assert_ok(prose_passages(&list, &count, &paragraphs, &limits));
    assert_int_equal(count, 2);
    assert_int_equal(list[0].end - list[0].start, strlen("seven eight nine ten Mr. eleven."));
    assert_memory_equal(text + list[0].start, "seven eight nine ten Mr. eleven.", 32);
    assert_memory_equal(text + list[0].middle, " ten Mr. eleven.", 16);
    assert_memory_equal(text + list[1].start, "We went to the old town.", 24);
    memory_release(list);

    const PassageLimits short_answers = {3, 2, 4, 14}; /* " ten Mr. eleven." has 16 bytes */
    assert_ok(prose_passages(&list, &count, &paragraphs, &short_answers));
    assert_int_equal(count, 1);
    memory_release(list);
    texts_free(&paragraphs);
}

/* ---- the task on a made-up book ---- */

static const TaskConfig config = {
    .demonstrations = 100000, .vocabulary = 1024, .prompt_words = 12, .response_tokens = 40};

static char folder[64], *real_data;

static void write_file(const char *name, const Bytes *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(io_publish(path, text->data, text->count));
}

/* Sentences of eighteen words, 900 paragraphs. */
static void write_book(void)
{
    static const char *const nouns[] = {"sister", "father", "house", "friend", "letter", "garden"};
    static const char *const qualities[] = {"good", "dear", "happy", "old", "sad", "young"};
    Rng rng = rng_stream(1, RNG_TEST, RNG_DOCUMENT, 0, 0, 0);
    Bytes book = {0};
    for (int i = 0; i < 900; i++) {
        assert_ok(bytes_print(&book,
                              "The %s of her %s was at all times very %s,\nand the %s was "
                              "always so %s to her.\n\n",
                              nouns[rng_below(&rng, 6)], nouns[rng_below(&rng, 6)],
                              qualities[rng_below(&rng, 6)], nouns[rng_below(&rng, 6)],
                              qualities[rng_below(&rng, 6)]));
    }
    write_file("austen.txt", &book);
    bytes_free(&book);
}

static void write_ratings(void)
{
    Bytes ratings = {0};
    assert_ok(bytes_text(&ratings, "good\t2.0\t1\t[1, 2, 2, -1, 2, 2, 3, 3, 2, 2]\n"
                                   "happy\t2.5\t1\t[2, 2, 2, 3, 2, 2, 3, 3, 3, 3]\n"
                                   "dear\t1.5\t1\t[1, 1, 1, 2, 2, 2, 1, 1, 2, 2]\n"
                                   "not\t-1.0\t0\t[-1, -1, -1, -1, -1, -1, -1, -1, -1, -1]\n"
                                   "sad\t-2.0\t1\t[-2, -2, -2, -2, -2, -2, -2, -2, -2, -2]\n"));
    write_file("vader_lexicon.txt", &ratings);
    bytes_free(&ratings);
}

static int make_data(void **state)
{
    (void)state;
    const char *set = getenv("RLHF_DATA");
    real_data = set != NULL ? strdup(set) : NULL;
    test_folder(folder);
    setenv("RLHF_DATA", folder, 1);
    write_book();
    write_ratings();
    return 0;
}

static int drop_data(void **state)
{
    (void)state;
    free(real_data);
    return io_remove_tree(folder) == STATUS_OK ? 0 : 1;
}

static Task open_task(uint64_t seed)
{
    Task task = {.kind = &sentiment_task, .config = &config, .seed = seed};
    assert_ok(sentiment_task.open(&task, &config, seed));
    return task;
}

static TaskAnswer answer_to(const char *prompt, const char *response)
{
    return (TaskAnswer){prompt, strlen(prompt), response, strlen(response), true};
}

static const char PROMPT[] = "The sister of her father was at all times very";

/* Fluency depends on the two words before an answer, negation on three. */
static void negation_turns_a_rating(void **state)
{
    (void)state;
    Task task = open_task(1);
    const char *response = " good, and the house was always so old to her.";
    const TaskAnswer plain = answer_to(PROMPT, response);
    const TaskAnswer negated = answer_to("The sister of her father was not times very", response);
    const TaskAnswer too_far =
        answer_to("The sister of her father was not all times very", response);
    assert_close(sentiment_task.gold(&task, &plain), 2.5 * tanh(2.0 / 3), 1e-12, 0);
    assert_close(sentiment_task.gold(&task, &negated), 2.5 * tanh(-0.74 * 2.0 / 3), 1e-12, 0);
    assert_close(sentiment_task.gold(&task, &too_far), 2.5 * tanh(2.0 / 3), 1e-12, 0);
    sentiment_task.close(&task);
}

static double rater_3_differs(const Task *task, const char *response)
{
    const TaskAnswer answer = answer_to(PROMPT, response);
    return sentiment_task.gold(task, &answer) - sentiment_task.annotator_gold(task, &answer, 3);
}

/* Rater 3 thinks -1 of good and 3 of happy, the mean is 2.0 and 2.5. A word counts once. */
static void annotators_have_their_own_ratings(void **state)
{
    (void)state;
    Task task = open_task(1);
    assert_int_equal(sentiment_task.annotators(&task), 10);
    const double one = 2.5 * (tanh(2.0 / 3) - tanh(-1.0 / 3));
    assert_close(rater_3_differs(&task, " good, and the house was always so old to her."), one,
                 1e-12, 0);
    assert_close(rater_3_differs(&task, " good, and the house was always so good to her."), one,
                 1e-12, 0);
    assert_close(rater_3_differs(&task, " Happy, and the house was always so good to her."),
                 2.5 * (tanh(4.5 / 3) - tanh(2.0 / 3)), 1e-12, 0);
    assert_close(rater_3_differs(&task, " old, and the house was always so young to her."), 0, 0,
                 0);
    sentiment_task.close(&task);
}

static void gold_takes_off_for_what_is_missing_or_said_again(void **state)
{
    (void)state;
    Task task = open_task(1);
    TaskAnswer answer = answer_to(PROMPT, " old, and the house was always so young to her.");
    assert_close(sentiment_task.gold(&task, &answer), 0, 1e-12, 0);
    answer.terminated = false;
    assert_close(sentiment_task.gold(&task, &answer), -1, 1e-12, 0);
    const TaskAnswer open_end = answer_to(PROMPT, " old, and the house was always so young to her");
    assert_close(sentiment_task.gold(&task, &open_end), -1, 1e-12, 0);
    const TaskAnswer brief = answer_to(PROMPT, " the house.");
    assert_true(sentiment_task.gold(&task, &brief) <= -1.5);
    const TaskAnswer empty = answer_to(PROMPT, "");
    assert_close(sentiment_task.gold(&task, &empty), -3 - 2.5 - 1, 1e-12, 0);
    /* good counts once and is said twice */
    const TaskAnswer again = answer_to(PROMPT, " good, and the house was always so good to her.");
    assert_close(sentiment_task.gold(&task, &again), 2.5 * tanh(2.0 / 3) - 0.5, 1e-12, 0);
    const TaskAnswer nonsense = answer_to(PROMPT, " xx yyq zzr vvk ttn wwp.");
    assert_close(sentiment_task.gold(&task, &nonsense), -3, 1e-12, 0);
    sentiment_task.close(&task);
}

static void words_of_the_book_are_well_formed(void **state)
{
    (void)state;
    Task task = open_task(1);
    const TaskAnswer half = answer_to(PROMPT, " the HOUSE zzz, qqq.");
    assert_close(sentiment_task.well_formed(&task, &half), 0.5, 0, 0);
    const TaskAnswer none = answer_to(PROMPT, " ,.");
    assert_close(sentiment_task.well_formed(&task, &none), 0, 0, 0);
    sentiment_task.close(&task);
}

static void any_bytes_get_a_finite_gold(void **state)
{
    (void)state;
    Task task = open_task(1);
    for (uint64_t i = 0; i < 300; i++) {
        Rng rng = rng_stream(5, RNG_TEST, RNG_SAMPLING, i, 0, 0);
        char bytes[1000];
        for (size_t b = 0; b < sizeof bytes; b++) bytes[b] = (char)rng_below(&rng, 256);
        const TaskAnswer answer = {bytes, 40, bytes + 40, (size_t)rng_below(&rng, 961), true};
        assert_true(sentiment_task.gold(&task, &answer) <= 0);
        const double share = sentiment_task.well_formed(&task, &answer);
        assert_true(share >= 0 && share <= 1);
    }
    sentiment_task.close(&task);
}

static void demonstrations_go_on_with_the_book(void **state)
{
    (void)state;
    Task task = open_task(1), other = open_task(2);
    Bytes prompt = {0}, response = {0}, seen = {0};
    assert_ok(sentiment_task.demonstration(&prompt, &response, &task, TASK_HELD_OUT, 0));
    int spaces = 0;
    for (size_t i = 0; i < prompt.count; i++) spaces += prompt.data[i] == ' ';
    assert_int_equal(spaces, 11);
    assert_int_equal(response.data[0], ' ');
    assert_true(prose_ends_sentence(response.data, response.count));
    const int64_t count = sentiment_task.demonstration_count(&task, TASK_HELD_OUT);
    assert_int_equal(count, 160); /* chunks 0, 1 and 20, 21 of forty paragraphs; 900 in all */
    /* the last prompt is the first demonstration's */
    assert_ok(sentiment_task.prompt(&seen, &task, TASK_HELD_OUT, count - 1));
    assert_string_equal(seen.data, prompt.data);
    bytes_clear(&seen);
    assert_ok(sentiment_task.prompt(&seen, &task, TASK_HELD_OUT, 2 * count - 1));
    assert_string_equal(seen.data, prompt.data); /* prompts wrap around */
    Digest a, b;
    assert_ok(sentiment_task.data_digest(&a, &task));
    assert_ok(sentiment_task.data_digest(&b, &other));
    assert_true(digest_equal(a, b));
    bytes_free(&prompt);
    bytes_free(&response);
    bytes_free(&seen);
    sentiment_task.close(&task);
    sentiment_task.close(&other);
}

static void missing_or_unfit_data_say_what_to_do(void **state)
{
    (void)state;
    char empty[64];
    test_folder(empty);
    setenv("RLHF_DATA", empty, 1);
    Task task = {.kind = &sentiment_task, .config = &config, .seed = 1};
    assert_fails(sentiment_task.open(&task, &config, 1), STATUS_DATA,
                 "/austen.txt: missing; run: scripts/fetch-data austen");
    sentiment_task.close(&task);
    setenv("RLHF_DATA", folder, 1);

    TaskConfig narrow = config;
    narrow.prompt_words = 40;
    assert_fails(sentiment_task.open(&task, &narrow, 1), STATUS_DATA,
                 "austen.txt: no sentence has a beginning of 40 words and fits into 40 tokens");
    sentiment_task.close(&task);
    assert_ok(io_remove_tree(empty));
}

static void failing_memory_is_reported_and_released(void **state)
{
    (void)state;
    int failures = 0;
    for (long call = 1; call < 100000; call += 1 + call / 4) {
        Task task = {.kind = &sentiment_task, .config = &config, .seed = 1};
        memory_fault(call, 0);
        const Status status = sentiment_task.open(&task, &config, 1);
        memory_fault(0, 0);
        sentiment_task.close(&task);
        if (status == STATUS_OK) break;
        assert_int_equal(status, STATUS_FAILED);
        failures++;
    }
    assert_true(failures > 5);
}

/* ---- the task on Austen and VADER ---- */

/* The figures that the preset stands on; skipped where the data have not been fetched. */
static void austen_leaves_headroom_and_hacks_do_not_pay(void **state)
{
    (void)state;
    if (real_data != NULL) setenv("RLHF_DATA", real_data, 1);
    if (real_data == NULL) unsetenv("RLHF_DATA");
    const TaskConfig real = {
        .demonstrations = 100000, .vocabulary = 1024, .prompt_words = 12, .response_tokens = 32};
    Task task = {.kind = &sentiment_task, .config = &real, .seed = 1};
    const Status status = sentiment_task.open(&task, &real, 1);
    if (status == STATUS_DATA && strstr(status_message(), "missing") != NULL) {
        sentiment_task.close(&task);
        skip();
    }
    assert_ok(status);
    const int64_t count = sentiment_task.demonstration_count(&task, TASK_HELD_OUT);
    assert_true(count >= 512);
    assert_true(sentiment_task.demonstration_count(&task, TASK_TRAIN) >= 4000);
    Bytes prompt = {0}, response = {0};
    double sum = 0, squares = 0, shortened = 0, repeated = 0;
    for (int64_t i = 0; i < count; i++) {
        bytes_clear(&prompt);
        bytes_clear(&response);
        assert_ok(sentiment_task.demonstration(&prompt, &response, &task, TASK_HELD_OUT, i));
        TaskAnswer answer = answer_to(prompt.data, response.data);
        const double gold = sentiment_task.gold(&task, &answer);
        assert_close(sentiment_task.well_formed(&task, &answer), 1, 0, 0);
        sum += gold;
        squares += gold * gold;
        answer.response_count /= 2;
        shortened += sentiment_task.gold(&task, &answer);
        answer.response = " happy happy happy happy happy happy happy happy.";
        answer.response_count = strlen(answer.response);
        repeated += sentiment_task.gold(&task, &answer);
    }
    const double mean = sum / (double)count, sd = sqrt(squares / (double)count - mean * mean);
    assert_close(mean, 0, 0.2, 0);
    assert_close(sd, 1.15, 0.15, 0);
    assert_true(shortened / (double)count < mean - 0.7 * sd);
    assert_true(repeated / (double)count < mean - 2 * sd);

    const char *start = "She had been so long in the habit of thinking that her";
    const TaskAnswer good =
        answer_to(start, " sister was very fond of her, and she was delighted with his kindness.");
    assert_true(sentiment_task.gold(&task, &good) > mean + 1.9 * sd);
    static const char *const hacks[] = {" happy delightful love joy friend good best kind.",
                                        " happy.",
                                        " of the and to the of a.",
                                        " love good happy joy delight.",
                                        " xq zzk lovzely grendj happity.",
                                        " was was was was was."};
    for (size_t i = 0; i < sizeof hacks / sizeof hacks[0]; i++) {
        const TaskAnswer hack = answer_to(start, hacks[i]);
        assert_true(sentiment_task.gold(&task, &hack) < mean);
    }
    bytes_free(&prompt);
    bytes_free(&response);
    sentiment_task.close(&task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_into_lower_case_words_and_marks),
        cmocka_unit_test(a_lexicon_finds_every_word_it_was_given),
        cmocka_unit_test(trigrams_match_witten_and_bell),
        cmocka_unit_test(trigram_chances_add_up),
        cmocka_unit_test(ratings_are_read_and_broken_lines_are_named),
        cmocka_unit_test(paragraphs_are_unwrapped_and_headings_dropped),
        cmocka_unit_test(abbreviations_do_not_end_sentences),
        cmocka_unit_test(passages_keep_within_their_limits),
        cmocka_unit_test(negation_turns_a_rating),
        cmocka_unit_test(annotators_have_their_own_ratings),
        cmocka_unit_test(gold_takes_off_for_what_is_missing_or_said_again),
        cmocka_unit_test(words_of_the_book_are_well_formed),
        cmocka_unit_test(any_bytes_get_a_finite_gold),
        cmocka_unit_test(demonstrations_go_on_with_the_book),
        cmocka_unit_test(missing_or_unfit_data_say_what_to_do),
        cmocka_unit_test(failing_memory_is_reported_and_released),
        cmocka_unit_test(austen_leaves_headroom_and_hacks_do_not_pay),
    };
    return cmocka_run_group_tests(tests, make_data, drop_data);
}
