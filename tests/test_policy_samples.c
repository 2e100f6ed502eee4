/* policy_samples: evaluate/samples.h5 read back; files that do not fit are refused. */
#include "tests/support.h"

#include "data/store/store.h"
#include "ppo/policy_samples.h"

/* Two answers, of 2 + 3 and 1 + 1 tokens; what a test changes. */
typedef struct Made {
    int64_t offset[3];
    int32_t id[7], prompt[2];
    size_t golds;
} Made;

static const Made sound = {
    .offset = {0, 5, 7}, .id = {4, 5, 6, 7, 9, 3, 9}, .prompt = {2, 1}, .golds = 2};

static void publish(char path[96], const Made *made)
{
    static const double scores[2] = {0.25, -1.5}, gold[2] = {1.75, NAN};
    const size_t two = 2, three = 3, tokens = 7;
    char folder[64];
    StoreImage *image;
    test_folder(folder);
    snprintf(path, 96, "%s/samples.h5", folder);
    assert_ok(store_create(&image));
    assert_ok(store_put(image, "/sft/offset", STORE_I64, 1, &three, made->offset, true));
    assert_ok(store_put(image, "/sft/id", STORE_I32, 1, &tokens, made->id, true));
    assert_ok(store_put(image, "/sft/prompt_length", STORE_I32, 1, &two, made->prompt, true));
    assert_ok(store_put(image, "/sft/scores", STORE_F64, 1, &two, scores, false));
    if (made->golds > 0) {
        assert_ok(store_put(image, "/sft/gold", STORE_F64, 1, &made->golds, gold, false));
    }
    assert_ok(store_publish(image, path, NULL));
}

static void answers_come_back_with_what_they_were_worth(void **state)
{
    (void)state;
    char path[96];
    PolicySamples samples;
    publish(path, &sound);
    assert_ok(policy_samples_read(&samples, path, "sft", 10));
    assert_true(samples.present);
    assert_int_equal(samples.count, 2);
    assert_int_equal(samples.answers.count, 2);
    assert_int_equal(samples.answers.prompt[0], 2);
    assert_int_equal(sequences_response(&samples.answers, 0), 3);
    assert_int_equal(sequences_response(&samples.answers, 1), 1);
    assert_memory_equal(samples.answers.token, sound.id, sizeof sound.id);
    assert_true(samples.score[0] == 0.25 && samples.score[1] == -1.5);
    assert_true(samples.gold[0] == 1.75 && isnan(samples.gold[1]));
    policy_samples_free(&samples);
}

static void a_policy_that_did_not_run_is_absent(void **state)
{
    (void)state;
    char path[96];
    PolicySamples samples;
    publish(path, &sound);
    assert_ok(policy_samples_read(&samples, path, "ppo", 10));
    assert_false(samples.present);
    assert_int_equal(samples.count, 0);
    policy_samples_free(&samples);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    Made made[6];
    static const char *const error[6] = {
        "/sft: offset does not fit",          "/sft: answer 0: lengths do not fit",
        "/sft: answer 1: lengths do not fit", "/sft: id: 10 at 3 is not below 10",
        "/sft: columns differ in length",     "/sft: gold: missing",
    };
    for (int i = 0; i < 6; i++) made[i] = sound;
    made[0].offset[2] = 8;
    made[1].offset[1] = 9;
    made[2].prompt[1] = 3;
    made[3].id[3] = 10;
    made[4].golds = 1;
    made[5].golds = 0;
    for (int i = 0; i < 6; i++) {
        char path[96];
        PolicySamples samples;
        publish(path, &made[i]);
        assert_fails(policy_samples_read(&samples, path, "sft", 10), STATUS_DATA, error[i]);
        assert_non_null(strstr(status_message(), path));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_back_with_what_they_were_worth),
        cmocka_unit_test(a_policy_that_did_not_run_is_absent),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
