/* sequences, comparisons.h5, rollouts/000001.h5: what is written is read back, what is broken is
 * named.
 */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/io.h"
#include "data/preference.h"
#include "data/rollout.h"

#include <hdf5.h>

enum { VOCABULARY = 5 };

static void make_tokenizer(Tokenizer **tokenizer)
{
    static const char *const words[] = {"zero", "one", "two", "three"};
    assert_ok(tokenizer_words(tokenizer, words, 4)); /* <|endoftext|> is 4 */
}

static void sequences_lie_end_to_end(void **state)
{
    (void)state;
    Sequences sequences = {0};
    assert_int_equal(sequences_tokens(&sequences), 0);
    for (int i = 0; i < 1000; i++) {
        const int32_t prompt[2] = {i, i + 1}, response[3] = {-i, 0, i};
        assert_ok(sequences_add(&sequences, prompt, i % 3, response, i % 4));
    }
    int64_t at = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(sequences.offset[i], at);
        assert_int_equal(sequences.prompt[i], i % 3);
        assert_int_equal(sequences_length(&sequences, i), i % 3 + i % 4);
        assert_int_equal(sequences_response(&sequences, i), i % 4);
        if (i % 3 > 1) assert_int_equal(sequences.token[at + 1], i + 1);
        if (i % 4 > 0) assert_int_equal(sequences.token[at + i % 3], -i);
        at += i % 3 + i % 4;
    }
    assert_int_equal(sequences_tokens(&sequences), at);
    sequences_free(&sequences);
    assert_null(sequences.token);
}

/* ---- comparisons.h5 ---- */

static void fill_preferences(Preferences *preferences)
{
    const int32_t prompt[2] = {1, 2}, good[3] = {3, 3, 4}, bad[2] = {0, 4};
    *preferences = (Preferences){0};
    assert_ok(sequences_add(&preferences->completion, prompt, 2, good, 3));
    assert_ok(sequences_add(&preferences->completion, prompt, 2, bad, 2));
    assert_ok(sequences_add(&preferences->completion, prompt, 1, bad, 0));
    assert_ok(preferences_add(preferences, (Preference){.prompt_id = 1LL << 40,
                                                        .chosen = 0,
                                                        .rejected = 1,
                                                        .gold_margin = 1.5f,
                                                        .flipped = 0,
                                                        .annotator = 3,
                                                        .split = 1}));
    assert_ok(preferences_add(preferences, (Preference){.prompt_id = 7,
                                                        .chosen = 2,
                                                        .rejected = 0,
                                                        .gold_margin = NAN,
                                                        .flipped = 1,
                                                        .annotator = 0,
                                                        .split = 0}));
}

static void preferences_come_back(void **state)
{
    (void)state;
    Preferences written, read;
    fill_preferences(&written);
    assert_ok(preferences_write(&written, NULL, in("c.h5")));
    assert_ok(preferences_read(&read, in("c.h5"), NULL, VOCABULARY));
    assert_int_equal(read.count, 2);
    assert_memory_equal(read.prompt_id, written.prompt_id, 2 * sizeof *read.prompt_id);
    assert_memory_equal(read.chosen, written.chosen, 2 * sizeof *read.chosen);
    assert_memory_equal(read.rejected, written.rejected, 2 * sizeof *read.rejected);
    assert_memory_equal(read.gold_margin, written.gold_margin, 2 * sizeof *read.gold_margin);
    assert_memory_equal(read.flipped, written.flipped, 2);
    assert_memory_equal(read.annotator, written.annotator, 2 * sizeof *read.annotator);
    assert_memory_equal(read.split, written.split, 2);
    assert_int_equal(read.completion.count, 3);
    assert_memory_equal(read.completion.offset, written.completion.offset, 4 * sizeof(int64_t));
    assert_memory_equal(read.completion.prompt, written.completion.prompt, 3 * sizeof(int32_t));
    assert_memory_equal(read.completion.token, written.completion.token, 10 * sizeof(int32_t));
    preferences_free(&read);
    preferences_free(&written);
}

static void equal_preferences_give_equal_bytes(void **state)
{
    (void)state;
    Preferences preferences;
    Bytes first = {0}, second = {0};
    fill_preferences(&preferences);
    assert_ok(preferences_write(&preferences, NULL, in("c.h5")));
    assert_ok(io_read(&first, in("c.h5"), 1 << 20));
    assert_ok(preferences_write(&preferences, NULL, in("c.h5")));
    assert_ok(io_read(&second, in("c.h5"), 1 << 20));
    assert_int_equal(first.count, second.count);
    assert_memory_equal(first.data, second.data, first.count);
    bytes_free(&first);
    bytes_free(&second);
    preferences_free(&preferences);
}

/* Writes `preferences`, expects the reader to refuse them, and frees them. */
static void expect_no_preferences(Preferences *preferences, const char *part)
{
    Preferences read;
    assert_ok(preferences_write(preferences, NULL, in("c.h5")));
    assert_fails(preferences_read(&read, in("c.h5"), NULL, VOCABULARY), STATUS_DATA, part);
    assert_non_null(strstr(status_message(), "/c.h5: "));
    assert_null(read.chosen);
    preferences_free(preferences);
}

static void broken_preferences_are_named(void **state)
{
    (void)state;
    Preferences p = {0};
    expect_no_preferences(&p, "holds no pairs");
    fill_preferences(&p);
    p.completion.token[9] = VOCABULARY;
    expect_no_preferences(&p, "/completion/token: token 9 is 5 of a vocabulary of 5");
    fill_preferences(&p);
    p.completion.token[0] = -1;
    expect_no_preferences(&p, "/completion/token: token 0 is -1 of a vocabulary of 5");
    fill_preferences(&p);
    p.chosen[1] = 3;
    expect_no_preferences(&p, "pair 1: completions 3 and 0 of 3");
    fill_preferences(&p);
    p.rejected[0] = -1;
    expect_no_preferences(&p, "pair 0: completions 0 and -1 of 3");
    fill_preferences(&p);
    p.rejected[0] = 0;
    expect_no_preferences(&p, "pair 0: completions 0 and 0 of 3");
    fill_preferences(&p);
    p.completion.offset[1] = 11;
    expect_no_preferences(&p, "/completion/offset: completion 0 is 0 to 11 of 10 tokens");
    fill_preferences(&p);
    p.completion.offset[2] = 4;
    expect_no_preferences(&p, "/completion/offset: completion 1 is 5 to 4 of 10 tokens");
    fill_preferences(&p);
    p.completion.prompt[2] = 2;
    expect_no_preferences(&p, "completion 2 has 1 tokens, its prompt 2");
    fill_preferences(&p);
    p.split[0] = 2;
    expect_no_preferences(&p, "pair 0: flipped is 0 and split 2");
    fill_preferences(&p);
    p.gold_margin[1] = INFINITY;
    expect_no_preferences(&p, "pair 1: gold margin is inf");
    fill_preferences(&p);
    p.annotator[1] = -2;
    expect_no_preferences(&p, "pair 1: prompt 7, annotator -2");
}

/* ---- rollouts ---- */

enum { ROLLOUTS = 3, TOKENS = 12 };

static const int prompts[ROLLOUTS] = {2, 1, 3}, responses[ROLLOUTS] = {3, 1, 2};

/* Rollouts whose every number differs, in *arena. */
static void fill_rollout(Rollout *rollout, Arena *arena)
{
    Arena plan = arena_measure();
    rollout_layout(rollout, &plan, ROLLOUTS, TOKENS);
    assert_ok(arena_init(arena, plan.used));
    *rollout = (Rollout){.step = 17,
                         .kl_coef = 0.05,
                         .temperature = 0.7,
                         .policy = {1, 2},
                         .reference = {3, 4},
                         .reward_model = {5, 6},
                         .critic = {0x8000000000000000ULL, 8},
                         .count = ROLLOUTS,
                         .tokens = TOKENS};
    rollout_layout(rollout, arena, ROLLOUTS, TOKENS);
    for (int i = 0; i < ROLLOUTS; i++) {
        rollout->prompt_id[i] = 1000 + i;
        rollout->prompt_length[i] = prompts[i];
        rollout->response_length[i] = responses[i];
        rollout->block[i] = i / 2;
        rollout->score[i] = 0.5f - (float)i;
        rollout->raw_score[i] = 0.25f + (float)i;
        rollout->gold[i] = i == 1 ? NAN : (float)i;
        rollout->kl[i] = 3.5f * (float)i;
        rollout->rlhf_reward[i] = -1.25f * (float)i;
        rollout->terminated[i] = i != 2;
        rollout->truncated[i] = i == 2;
        rollout->offset[i + 1] = rollout->offset[i] + prompts[i] + responses[i];
        for (int t = 0; t < responses[i]; t++) {
            rollout->is_response[rollout->offset[i] + prompts[i] + t] = 1;
        }
    }
    for (int t = 0; t < TOKENS; t++) {
        const float x = 1.0f + (float)t;
        rollout->id[t] = t % VOCABULARY;
        rollout->logp[t] = -x;
        rollout->reference_logp[t] = -x / 3;
        rollout->value[t] = x / 7;
        rollout->reward[t] = x * x;
        rollout->advantage[t] = 1 / x;
        rollout->returns[t] = x / 5;
    }
}

static void expect_equal(const Rollout *a, const Rollout *b)
{
    assert_int_equal(a->step, b->step);
    assert_true(a->kl_coef == b->kl_coef && a->temperature == b->temperature);
    assert_true(digest_equal(a->policy, b->policy) && digest_equal(a->reference, b->reference));
    assert_true(digest_equal(a->reward_model, b->reward_model));
    assert_true(digest_equal(a->critic, b->critic));
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->tokens, b->tokens);
#define EXPECT(member, count)                                                                      \
    assert_memory_equal(a->member, b->member, (count) * sizeof *a->member);
    EXPECT(prompt_id, ROLLOUTS)
    EXPECT(prompt_length, ROLLOUTS)
    EXPECT(response_length, ROLLOUTS)
    EXPECT(block, ROLLOUTS)
    EXPECT(score, ROLLOUTS)
    EXPECT(raw_score, ROLLOUTS)
    EXPECT(gold, ROLLOUTS)
    EXPECT(kl, ROLLOUTS)
    EXPECT(rlhf_reward, ROLLOUTS)
    EXPECT(terminated, ROLLOUTS)
    EXPECT(truncated, ROLLOUTS)
    EXPECT(offset, ROLLOUTS + 1)
    EXPECT(id, TOKENS)
    EXPECT(is_response, TOKENS)
    EXPECT(logp, TOKENS)
    EXPECT(reference_logp, TOKENS)
    EXPECT(value, TOKENS)
    EXPECT(reward, TOKENS)
    EXPECT(advantage, TOKENS)
    EXPECT(returns, TOKENS)
#undef EXPECT
}

static void rollouts_come_back(void **state)
{
    (void)state;
    Rollout rollout;
    RolloutFile file;
    Arena arena;
    Digest first, second;
    fill_rollout(&rollout, &arena);
    assert_ok(rollout_write(&rollout, NULL, 64, NULL, in("r.h5"), &first));
    assert_ok(rollout_read(&file, in("r.h5"), &first, VOCABULARY));
    expect_equal(&file.rollout, &rollout);
    /* What was read is written to the same bytes. */
    assert_ok(rollout_write(&file.rollout, NULL, 64, NULL, in("s.h5"), &second));
    assert_true(digest_equal(first, second));
    rollout_free(&file);
    arena_free(&arena);
}

static void expect_no_rollout(void (*change)(Rollout *rollout), const char *part)
{
    Rollout rollout;
    RolloutFile file;
    Arena arena;
    fill_rollout(&rollout, &arena);
    change(&rollout);
    assert_ok(rollout_write(&rollout, NULL, 0, NULL, in("r.h5"), NULL));
    assert_fails(rollout_read(&file, in("r.h5"), NULL, VOCABULARY), STATUS_DATA, part);
    assert_non_null(strstr(status_message(), "/r.h5: "));
    assert_null(file.rollout.id);
    arena_free(&arena);
}

static void no_rollouts(Rollout *rollout)
{
    rollout->count = 0;
    rollout->tokens = 0;
}

static void id_too_large(Rollout *rollout)
{
    rollout->id[11] = VOCABULARY;
}

static void offset_falls(Rollout *rollout)
{
    rollout->offset[2] = 4;
}

static void offset_ends_early(Rollout *rollout)
{
    rollout->tokens = 13; /* the arena rounds up: one more zero is there */
}

static void lengths_do_not_add_up(Rollout *rollout)
{
    rollout->response_length[1] = 2;
}

static void prompt_token_is_a_response(Rollout *rollout)
{
    rollout->is_response[1] = 1;
}

static void ended_twice(Rollout *rollout)
{
    rollout->truncated[0] = 1;
}

static void block_too_large(Rollout *rollout)
{
    rollout->block[2] = ROLLOUTS;
}

static void value_is_nan(Rollout *rollout)
{
    rollout->value[5] = NAN;
}

static void score_is_infinite(Rollout *rollout)
{
    rollout->score[0] = INFINITY;
}

static void coefficient_is_nan(Rollout *rollout)
{
    rollout->kl_coef = NAN;
}

static void broken_rollouts_are_named(void **state)
{
    (void)state;
    expect_no_rollout(no_rollouts, "holds no rollouts");
    expect_no_rollout(id_too_large, "/token/id: token 11 is 5 of a vocabulary of 5");
    expect_no_rollout(offset_falls, "/rollout/offset: rollout 1 is 5 to 4 of 12 tokens");
    expect_no_rollout(offset_ends_early, "/rollout/offset: runs from 0 to 12, not 0 to 13");
    expect_no_rollout(lengths_do_not_add_up,
                      "rollout 1: a prompt of 1 and a response of 2 tokens in 2");
    expect_no_rollout(prompt_token_is_a_response, "/token/is_response: token 1 is 1");
    expect_no_rollout(ended_twice, "rollout 0: terminated is 1 and truncated 1");
    expect_no_rollout(block_too_large, "rollout 2: prompt 1002, block 3 of at most 3");
    expect_no_rollout(value_is_nan, "token 5: a number is not finite");
    expect_no_rollout(score_is_infinite, "rollout 0: a number is not finite");
    expect_no_rollout(coefficient_is_nan, "kl_coef is nan, temperature 0.7");
}

static void another_kind_of_file_is_refused(void **state)
{
    (void)state;
    Preferences preferences;
    RolloutFile file;
    fill_preferences(&preferences);
    assert_ok(preferences_write(&preferences, NULL, in("c.h5")));
    assert_fails(rollout_read(&file, in("c.h5"), NULL, VOCABULARY), STATUS_DATA,
                 "/c.h5: /: attribute step: missing");
    preferences_free(&preferences);
}

/* ---- text for people, read by HDF5 itself ---- */

static void expect_texts(const char *path, const char *name, const char *const *expected, int count)
{
    char *rows[8] = {NULL};
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(set >= 0);
    const hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    assert_int_equal(H5Sget_simple_extent_npoints(space), count);
    assert_true(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
    for (int i = 0; i < count; i++) assert_string_equal(rows[i], expected[i]);
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, rows);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(set);
    H5Fclose(file);
}

static void the_first_answers_stand_there_as_text(void **state)
{
    (void)state;
    Tokenizer *tokenizer;
    Rollout rollout;
    Arena arena;
    Preferences preferences;
    make_tokenizer(&tokenizer);
    fill_rollout(&rollout, &arena);
    assert_ok(rollout_write(&rollout, tokenizer, 2, "{}", in("r.h5"), NULL));
    /* ids 0 1 | 2 3 4 and 0 | 1 */
    expect_texts(in("r.h5"), "/text/prompt", (const char *const[]){"zero one", "zero"}, 2);
    expect_texts(in("r.h5"), "/text/response", (const char *const[]){"two three", "one"}, 2);
    assert_ok(rollout_write(&rollout, tokenizer, 64, "{}", in("r.h5"), NULL));
    expect_texts(in("r.h5"), "/text/prompt", (const char *const[]){"zero one", "zero", "two three"},
                 3);
    arena_free(&arena);

    fill_preferences(&preferences);
    assert_ok(preferences_write(&preferences, tokenizer, in("c.h5")));
    expect_texts(in("c.h5"), "/text/prompt", (const char *const[]){"one two", "one"}, 2);
    expect_texts(in("c.h5"), "/text/rejected", (const char *const[]){"zero", "three three"}, 2);
    preferences_free(&preferences);
    tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_lie_end_to_end),
        cmocka_unit_test(preferences_come_back),
        cmocka_unit_test(equal_preferences_give_equal_bytes),
        cmocka_unit_test(broken_preferences_are_named),
        cmocka_unit_test(rollouts_come_back),
        cmocka_unit_test(broken_rollouts_are_named),
        cmocka_unit_test(another_kind_of_file_is_refused),
        cmocka_unit_test(the_first_answers_stand_there_as_text),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
