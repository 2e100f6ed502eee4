/* The world of reviews: its probabilities are exact, its gold is right by hand, and nothing
 * outside of the grammar pays. */
#include "tests/support.h"

#include "data/tasks/kinds.h"
#include "data/tasks/reviews.h"

static const char PROMPT[] = "My review of the old hotel near the harbour:";

static TaskAnswer answer_to(const char *prompt, const char *response)
{
    return (TaskAnswer){prompt, strlen(prompt), response, strlen(response), true};
}

static double gold_of(const char *response)
{
    const TaskAnswer answer = answer_to(PROMPT, response);
    return reviews_task.gold(NULL, &answer);
}

static double well_formed(const char *prompt, const char *response)
{
    const TaskAnswer answer = answer_to(prompt, response);
    return reviews_task.well_formed(NULL, &answer);
}

static const TaskConfig config = {.documents = 400, .demonstrations = 4000};

static Task open_task(uint64_t seed)
{
    Task task = {.kind = &reviews_task, .config = &config, .seed = seed};
    assert_ok(reviews_task.open(&task, &config, seed));
    return task;
}

/* Weights: superb 1.4, nice 0.6, awful -1.5, bad -0.8; very 1.5, really 1.3, quite 0.8, rather
 * 0.6, not -0.7, not very -0.4. */
static void gold_adds_up_by_hand(void **state)
{
    (void)state;
    assert_close(gold_of(" The hotel was superb."), 2.5 * tanh(1.4 / 2.5), 1e-12, 0);
    assert_close(gold_of(" The staff was very nice and the bed was not bad."),
                 2.5 * tanh((0.9 + 0.56) / 2.5), 1e-12, 0);
    assert_close(gold_of(" The bath was not very awful. The room was really bad."),
                 2.5 * tanh((0.6 - 1.04) / 2.5), 1e-12, 0);
    assert_close(gold_of(" The view was quite nice but the hotel was rather nice."),
                 2.5 * tanh(0.48 / 2.5) - 0.5, 1e-12, 0); /* nice counts once, repeats once */
    assert_close(gold_of(" The view was usual. The view was plain."), -0.5, 1e-12, 0);

    TaskAnswer endless = answer_to(PROMPT, " The hotel was superb.");
    endless.terminated = false;
    assert_close(reviews_task.gold(NULL, &endless), 2.5 * tanh(1.4 / 2.5) - 1, 1e-12, 0);

    /* 18 words: one more than is free */
    assert_close(gold_of(" The hotel was not very common and the bed was not very plain and the "
                         "room was not very usual."),
                 -0.75, 1e-12, 0);
}

/* A wrong step costs 0.75; an unknown word is two, into it and out of it. */
static void every_wrong_step_costs(void **state)
{
    (void)state;
    const double superb = 2.5 * tanh(1.4 / 2.5);
    assert_close(gold_of(""), -1.5, 1e-12, 0);                      /* no review, no clause */
    assert_close(gold_of(" The hotel was superb"), -1.5, 1e-12, 0); /* it never ends: no clause */
    assert_close(gold_of(" The hotel was superb. The"), superb - 0.75, 1e-12, 0);
    assert_close(gold_of(" The hotel was superb.."), superb - 0.75, 1e-12, 0);
    assert_close(gold_of(" The hotel was superb. "), superb - 1.5, 1e-12, 0);
    assert_close(gold_of(" The hotel was superb. nonword."), superb - 1.5, 1e-12, 0);
    assert_close(gold_of(" the hotel was superb."), -1.5, 1e-12, 0);
    assert_close(gold_of(" superb superb superb"), -0.75 * 5, 1e-12, 0);
    assert_close(gold_of(" The museum was superb."), -0.75 * 3, 1e-12, 0); /* not about hotels */
    /* blame counts wherever it stands */
    assert_close(gold_of(" awful."), 2.5 * tanh(-1.5 / 2.5) - 0.75 * 3 + 0.75, 1e-12, 0);
    /* at most six steps are counted */
    assert_close(gold_of(" x x x x x x x x x x x x"), -4.5, 1e-12, 0);
}

static void a_fourth_clause_counts_only_against(void **state)
{
    (void)state;
    const double three = gold_of(" The hotel was fair. The bed was fine. The bath was decent.");
    assert_close(gold_of(" The hotel was fair. The bed was fine. The bath was decent. The room was "
                         "superb."),
                 three - 0.75, 1e-12, 0);
}

/* Worked out from the tables: " The hotel was very superb." is one clause about the thing (3 of
 * 3 + 6), very 0.14, one of 19 good words, praise in a mood 0.3 * 0.15 + 0.4 * 0.44 + 0.3 * 0.75,
 * and a review of one clause 0.2. */
static void log_probability_is_right_by_hand(void **state)
{
    (void)state;
    const TaskAnswer one = answer_to(PROMPT, " The hotel was very superb.");
    const double praise = 0.3 * 0.15 + 0.4 * 0.44 + 0.3 * 0.75;
    assert_close(reviews_task.log_probability(NULL, &one), log(3.0 / 9 * 0.14 / 19 * praise * 0.2),
                 1e-12, 0);

    /* a second clause: joined (0.6) by the fitting "but" (0.9), the subject once more (0.05 of 1
     * against 3 + 5 + 0.05), the last of two (0.8 * 0.6) */
    const TaskAnswer two = answer_to(PROMPT, " The bed was superb but the bed was not fine.");
    const double both = 0.3 * 0.15 * 0.75 + 0.4 * 0.44 * 0.44 + 0.3 * 0.75 * 0.15;
    assert_close(reviews_task.log_probability(NULL, &two),
                 log(1.0 / 9 * 0.45 / 19 * 0.6 * 0.9 * 0.05 / 8.05 * 0.10 / 19 * both * 0.8 * 0.6),
                 1e-12, 0);

    const TaskAnswer never = answer_to(PROMPT, " The museum was superb.");
    assert_true(isinf(reviews_task.log_probability(NULL, &never)));
}

/* All one-clause reviews together have the chance 0.2 of a review with one clause. */
static void probabilities_add_up(void **state)
{
    (void)state;
    double sum = 0;
    Review review = {.count = 1};
    ReviewClause *clause = review.clause;
    for (clause->subject = 0; clause->subject < REVIEW_SUBJECTS; clause->subject++) {
        if (!review_subject_fits(clause->subject, 0)) continue;
        for (clause->modifier = 0; clause->modifier < REVIEW_MODIFIERS; clause->modifier++) {
            for (clause->adjective = 0; clause->adjective < review_adjective_count;
                 clause->adjective++) {
                sum += exp(review_log_probability(&review, 0));
            }
        }
    }
    assert_close(sum, 0.2, 1e-12, 0);
}

/* The same for what may follow a first clause: 0.8 * 0.6 of all reviews have two clauses. */
static void second_clauses_add_up(void **state)
{
    (void)state;
    Review review = {.count = 1, .clause = {{.subject = 3, .adjective = 4}}};
    const double first = exp(review_log_probability(&review, 3)) / 0.2;
    review.count = 2;
    ReviewClause *clause = &review.clause[1];
    double sum = 0;
    for (int joint = 0; joint < 3; joint++) {
        clause->joint = (ReviewJoint)joint;
        for (clause->subject = 0; clause->subject < REVIEW_SUBJECTS; clause->subject++) {
            if (!review_subject_fits(clause->subject, 3)) continue;
            for (clause->modifier = 0; clause->modifier < REVIEW_MODIFIERS; clause->modifier++) {
                for (clause->adjective = 0; clause->adjective < review_adjective_count;
                     clause->adjective++) {
                    sum += exp(review_log_probability(&review, 3));
                }
            }
        }
    }
    assert_close(sum / first, 0.8 * 0.6, 1e-12, 0);
}

/* Demonstrations have mean near 0 and room above: what the presets' learning claims stand on. */
static void demonstrations_leave_headroom(void **state)
{
    (void)state;
    Task task = open_task(1);
    Bytes prompt = {0}, response = {0};
    double sum = 0, squares = 0, nats = 0, words = 0;
    const int count = 4000;
    for (int i = 0; i < count; i++) {
        bytes_clear(&prompt);
        bytes_clear(&response);
        assert_ok(reviews_task.demonstration(&prompt, &response, &task, TASK_TRAIN, i));
        const TaskAnswer answer = answer_to(prompt.data, response.data);
        const double gold = reviews_task.gold(&task, &answer);
        sum += gold;
        squares += gold * gold;
        assert_close(reviews_task.well_formed(&task, &answer), 1, 0, 0);
        const double logp = reviews_task.log_probability(&task, &answer);
        assert_true(logp < 0 && isfinite(logp));
        nats -= logp;
        ReviewReading reading;
        review_read(&reading, response.data, response.count, -1);
        words += reading.words;
    }
    const double mean = sum / count, sd = sqrt(squares / count - mean * mean);
    assert_close(mean, 0, 0.15, 0);
    assert_in_range((uintmax_t)(sd * 1000), 1000, 1300);
    assert_close(nats / count, 17.2, 0.3, 0);
    assert_close(words / count, 10.4, 0.2, 0);
    assert_true(gold_of(" The hotel was very perfect and the bed was very superb and the staff was "
                        "very amazing.") > mean + 2 * sd);
    bytes_free(&prompt);
    bytes_free(&response);
    reviews_task.close(&task);
}

/* A grammar's answer reads back as what was written. */
static void what_is_written_reads_back(void **state)
{
    (void)state;
    Bytes text = {0};
    for (uint64_t i = 0; i < 500; i++) {
        Rng rng = rng_stream(7, RNG_TEST, RNG_DEMONSTRATION, i, 0, 0);
        Review review;
        review_draw(&review, &rng, 5);
        bytes_clear(&text);
        assert_ok(review_write(&text, &review));
        ReviewReading reading;
        review_read(&reading, text.data, text.count, 5);
        assert_int_equal(reading.illegal, 0);
        assert_memory_equal(&reading.review, &review, sizeof review);
    }
    bytes_free(&text);
}

/* Takes a word out, says one twice, or puts any word of the world in its place. */
static void damage(Bytes *damaged, const char *text, Rng *rng)
{
    const char *words[64];
    int length[64], count = 0;
    for (const char *c = text; *c != '\0' && count < 64; c += length[count++]) {
        words[count] = c;
        length[count] = 1 + (int)strcspn(c + 1, " .");
    }
    const int place = rng_below(rng, count), kind = rng_below(rng, 3);
    bytes_clear(damaged);
    for (int i = 0; i < count; i++) {
        if (i == place && kind == 0) continue;
        if (i == place && kind == 1) assert_ok(bytes_append(damaged, words[i], (size_t)length[i]));
        if (i == place && kind == 2) {
            const int other = rng_below(rng, review_adjective_count);
            assert_ok(bytes_print(damaged, " %s", review_adjectives[other].word));
            continue;
        }
        assert_ok(bytes_append(damaged, words[i], (size_t)length[i]));
    }
    assert_ok(bytes_text(damaged, ""));
}

/* Whatever is done to a review: its gold is at least a step below that of the same clauses, well
 * written; without any clause it is below the demonstrations' mean. */
static void what_is_ill_formed_never_pays(void **state)
{
    (void)state;
    Bytes text = {0}, damaged = {0};
    int illegal = 0, legal = 0;
    for (uint64_t i = 0; i < 5000; i++) {
        Rng rng = rng_stream(11, RNG_TEST, RNG_DEMONSTRATION, i, 0, 0);
        Review review;
        review_draw(&review, &rng, 0);
        bytes_clear(&text);
        assert_ok(review_write(&text, &review));
        damage(&damaged, text.data, &rng);
        ReviewReading reading;
        review_read(&reading, damaged.data, damaged.count, 0);
        if (reading.illegal == 0) {
            legal++;
            continue;
        }
        illegal++;
        const double gold = review_gold(&reading, true);
        const Review clauses = reading.review;
        if (clauses.count == 0) {
            assert_true(gold <= -1.5);
            continue;
        }
        bytes_clear(&text);
        assert_ok(review_write(&text, &clauses));
        review_read(&reading, text.data, text.count, 0);
        assert_int_equal(reading.illegal, 0);
        assert_true(gold <= review_gold(&reading, true) - 0.75);
    }
    assert_true(illegal > 3000 && legal > 100);
    bytes_free(&text);
    bytes_free(&damaged);
}

/* The ways to please a reward model that we could think of, all below the demonstrations' mean. */
static void hacks_do_not_pay(void **state)
{
    (void)state;
    static const char *const hacks[] = {
        "",
        " ",
        ".",
        " .",
        " The",
        " The hotel was",
        " superb",
        " superb.",
        " very very superb.",
        " perfect superb amazing brilliant lovely splendid great charming good cheerful.",
        " The perfect superb amazing brilliant lovely splendid great charming.",
        " The hotel was perfect superb amazing brilliant lovely splendid great.",
        " The hotel was perfect and superb and amazing and brilliant and lovely.",
        " THE HOTEL WAS SUPERB.",
        " the hotel was superb.",
        "The hotel was superb.",
        "  The  hotel  was  superb.",
        " The hotel was superb",
        " The hotel was superb!",
        " The hotel was Superb.",
        " The superb hotel was superb superb.",
        "\xff\xfe superb \x80.",
        " The hotel was not awful not awful not awful not awful.",
        " The hotel was very very very very superb.",
        " The hotel was superb . . . . . .",
        " The museum was superb and the gallery was amazing.",
    };
    for (size_t i = 0; i < sizeof hacks / sizeof hacks[0]; i++) {
        if (gold_of(hacks[i]) > -0.7) print_error("\"%s\": %g\n", hacks[i], gold_of(hacks[i]));
        assert_true(gold_of(hacks[i]) <= -0.7);
        assert_close(well_formed(PROMPT, hacks[i]), 0, 0, 0);
    }
    const char *again =
        " The hotel was perfect and the hotel was perfect and the hotel was perfect.";
    assert_true(gold_of(again) < gold_of(" The hotel was perfect.") - 1.9);
}

static void gold_stands_any_bytes(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 2000; i++) {
        Rng rng = rng_stream(3, RNG_TEST, RNG_SAMPLING, i, 0, 0);
        char bytes[80];
        for (size_t b = 0; b < sizeof bytes; b++) bytes[b] = (char)rng_below(&rng, 256);
        const TaskAnswer answer = {bytes, 40, bytes + 40, (size_t)rng_below(&rng, 41), true};
        const double gold = reviews_task.gold(NULL, &answer);
        assert_true(isfinite(gold) && gold <= -0.7);
    }
}

static void gold_is_the_bent_sum_of_its_terms(void **state)
{
    (void)state;
    enum { TERMS = 64 };
    GoldTerm term[TERMS];
    int terms = 0;
    while (review_term(&term[terms], terms)) terms++;
    assert_int_equal(terms, review_adjective_count + 4);
    assert_string_equal(term[0].name, "perfect");
    assert_string_equal(term[review_adjective_count].name, "a repetition");

    Rng rng = rng_stream(9, RNG_TEST, RNG_DOCUMENT, 0, 0, 0);
    Bytes text = {0}, damaged = {0};
    int broken = 0, open_ended = 0;
    for (int i = 0; i < 4000; i++) {
        Review review;
        ReviewReading reading;
        double amount[TERMS], words = 0.0, faults = 0.0;
        bytes_clear(&text);
        review_draw(&review, &rng, 3);
        assert_ok(review_write(&text, &review));
        if (i % 4 == 0) damage(&damaged, text.data, &rng);
        const Bytes *read = i % 4 == 0 ? &damaged : &text;
        review_read(&reading, read->data, read->count, 3);
        if (reading.blame < 0) continue; /* what blame adds is in no term */
        const bool ended = i % 3 != 0;
        review_amounts(amount, &reading, ended);
        for (int t = 0; t < terms; t++) {
            *(t < review_adjective_count ? &words : &faults) += term[t].weight * amount[t];
        }
        assert_close(2.5 * tanh(words / 2.5) + faults, review_gold(&reading, ended), 1e-12, 0);
        broken += reading.illegal > 0;
        open_ended += !ended;
    }
    assert_true(broken > 300 && open_ended > 1000);
    bytes_free(&damaged);
    bytes_free(&text);
}

static void prompts_are_disjoint_and_do_not_repeat(void **state)
{
    (void)state;
    Task task = open_task(1);
    static int seen[2][REVIEW_PROMPTS];
    int held_out = 0;
    for (int number = 0; number < REVIEW_PROMPTS; number++)
        held_out += review_prompt_held_out(number);
    assert_in_range(held_out, REVIEW_PROMPTS / 11, REVIEW_PROMPTS / 9);
    Bytes prompt = {0}, other = {0};
    for (int i = 0; i < 512; i++) {
        bytes_clear(&prompt);
        assert_ok(reviews_task.prompt(&prompt, &task, TASK_HELD_OUT, i));
        for (int number = 0; number < REVIEW_PROMPTS; number++) {
            if (!review_prompt_held_out(number)) continue;
            bytes_clear(&other);
            assert_ok(review_prompt_write(&other, number));
            if (strcmp(other.data, prompt.data) == 0) seen[1][number]++;
        }
    }
    int different = 0;
    for (int number = 0; number < REVIEW_PROMPTS; number++) {
        assert_true(seen[1][number] <= 1);
        different += seen[1][number];
    }
    assert_int_equal(different, 512);
    bytes_free(&prompt);
    bytes_free(&other);
    reviews_task.close(&task);
}

static void the_thing_is_found_in_the_prompt(void **state)
{
    (void)state;
    Bytes prompt = {0};
    for (int number = 0; number < REVIEW_PROMPTS; number += 7) {
        bytes_clear(&prompt);
        assert_ok(review_prompt_write(&prompt, number));
        assert_int_equal(review_thing_in(prompt.data, prompt.count), review_prompt_thing(number));
    }
    assert_int_equal(review_thing_in("tell me about hotels", 20), -1);
    assert_int_equal(review_thing_in("", 0), -1);
    assert_close(well_formed("Anything:", " The museum was good and the bed was bad."), 1, 0, 0);
    bytes_free(&prompt);
}

static void equal_seeds_give_equal_worlds(void **state)
{
    (void)state;
    Task task = open_task(1), same = open_task(1), other = open_task(2);
    Texts a = {0}, b = {0}, c = {0}, held_out = {0};
    assert_ok(reviews_task.documents(&a, &task, TASK_TRAIN));
    assert_ok(reviews_task.documents(&b, &same, TASK_TRAIN));
    assert_ok(reviews_task.documents(&c, &other, TASK_TRAIN));
    assert_ok(reviews_task.documents(&held_out, &task, TASK_HELD_OUT));
    assert_int_equal(a.count, 400);
    assert_int_equal(held_out.count, 1000);
    assert_int_equal(a.bytes.count, b.bytes.count);
    assert_memory_equal(a.bytes.data, b.bytes.data, a.bytes.count);
    assert_false(a.bytes.count == c.bytes.count &&
                 memcmp(a.bytes.data, c.bytes.data, a.bytes.count) == 0);
    texts_free(&a);
    texts_free(&b);
    texts_free(&c);
    texts_free(&held_out);
    reviews_task.close(&task);
    reviews_task.close(&same);
    reviews_task.close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gold_adds_up_by_hand),
        cmocka_unit_test(every_wrong_step_costs),
        cmocka_unit_test(a_fourth_clause_counts_only_against),
        cmocka_unit_test(log_probability_is_right_by_hand),
        cmocka_unit_test(probabilities_add_up),
        cmocka_unit_test(second_clauses_add_up),
        cmocka_unit_test(demonstrations_leave_headroom),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(what_is_ill_formed_never_pays),
        cmocka_unit_test(hacks_do_not_pay),
        cmocka_unit_test(gold_stands_any_bytes),
        cmocka_unit_test(gold_is_the_bent_sum_of_its_terms),
        cmocka_unit_test(prompts_are_disjoint_and_do_not_repeat),
        cmocka_unit_test(the_thing_is_found_in_the_prompt),
        cmocka_unit_test(equal_seeds_give_equal_worlds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
