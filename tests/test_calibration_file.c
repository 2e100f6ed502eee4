/* calibration_file: what is written is read back; a file that is not one is refused. */
#include "tests/support.h"

#include "reward/calibration_file.h"

enum { PAIRS = 300 };

static void written(char run[64])
{
    double gap[PAIRS], gold[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        gap[i] = 6 * fmod(i * 0.618033988749895, 1.0) - 1.7;
        gold[i] = 3 * fmod(i * 0.414213562373095, 1.0) - 1;
    }
    Calibration calibration;
    calibrate(&calibration, gap, gold, PAIRS, 0.9);
    const RewardScale scale = {.answers = 512,
                               .mean = -0.3,
                               .std = 1.7,
                               .gold_std = 0.9,
                               .gold_spearman = 0.62,
                               .length_correlation = NAN};
    const Model model = {.reward_gain = 0.5F, .reward_bias = 0.25F, .count = 1000};
    Stage stage = {0};
    test_folder(run);
    assert_ok(path_join(stage.folder, run, "reward"));
    assert_ok(io_make_folder(stage.folder));
    assert_ok(calibration_write(&stage, &calibration, &scale, &model));

    CalibrationFile file;
    assert_ok(calibration_read(&file, run));
    const Calibration *read = &file.calibration;
    assert_true(file.binned);
    assert_int_equal(read->pairs, PAIRS);
    assert_true(read->accuracy == calibration.accuracy && read->ceiling == calibration.ceiling);
    assert_true(read->gold_accuracy == calibration.gold_accuracy);
    assert_true(read->nll == calibration.nll && read->ece == calibration.ece);
    assert_true(read->brier == calibration.brier);
    int empty = 0;
    for (int b = 0; b < CALIBRATION_BINS; b++) {
        const ReliabilityBin *bin = &read->reliability[b], *made = &calibration.reliability[b];
        assert_int_equal(bin->pairs, made->pairs);
        empty += bin->pairs == 0;
        assert_true(bin->pairs == 0
                        ? isnan(bin->confidence) && isnan(bin->accuracy)
                        : bin->confidence == made->confidence && bin->accuracy == made->accuracy);
    }
    assert_true(empty < CALIBRATION_BINS);
    for (int b = 0; b < MARGIN_BINS; b++) {
        assert_int_equal(read->margin_pairs[b], calibration.margin_pairs[b]);
        assert_true(read->margin_pairs[b] == 0 ||
                    read->margin_accuracy[b] == calibration.margin_accuracy[b]);
    }
    assert_int_equal(file.scale.answers, 512);
    assert_true(file.scale.gold_std == 0.9 && file.scale.std == 1.7 && file.scale.mean == -0.3);
    assert_true(file.scale.gold_spearman == 0.62 && isnan(file.scale.length_correlation));
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    char run[64];
    written(run);
}

/* Replaces `from` by `to` in the file of a fresh run. */
static void changed(char run[64], const char *from, const char *to)
{
    char path[128];
    Bytes text = {0}, other = {0};
    written(run);
    snprintf(path, sizeof path, "%s/reward/calibration.json", run);
    assert_ok(io_read(&text, path, 1 << 20));
    const char *place = strstr(text.data, from);
    assert_non_null(place);
    assert_ok(bytes_append(&other, text.data, (size_t)(place - text.data)));
    assert_ok(bytes_text(&other, to));
    assert_ok(bytes_text(&other, place + strlen(from)));
    assert_ok(io_publish(path, other.data, other.count));
    bytes_free(&other);
    bytes_free(&text);
}

static void a_file_that_is_not_one_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *error;
    } cases[] = {
        {"\"ece\":", "\"ecce\":", "ece: missing"},
        {"\"format_version\": 1", "\"format_version\": 2", "format_version is 2"},
        {"\"pairs\": 300", "\"pairs\": -1", "json:3:3: expected a count, found -1"},
        {"\"pairs\": 300", "\"pairs\": 299", "the bins do not hold 299 pairs together"},
        {"\"pairs\": 300", "\"pairs\": 301", "the bins do not hold 301 pairs together"},
        /* what all bins but the last hold */
        {"\"pairs\": 300", "\"pairs\": 232", "the bins do not hold 232 pairs together"},
        {"\"pairs\": 300", "\"pairs\": \"many\"", "expected an integer, found text"},
        {"\"gold_std\": 0.9", "\"gold_std\": -0.9", "-0.9 is not in [0, inf]"},
        {"\"gold_spearman\": 0.62", "\"gold_spearman\": 6.2", "6.2 is not in [-1, 1]"},
        {"\"margin_pairs\": [", "\"margin_pairs\": [3,", "expected a list of 5"},
        {"\"reliability\": [", "\"reliability\": [{},", "expected a list of 10"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char run[64];
        CalibrationFile file;
        changed(run, cases[i].from, cases[i].to);
        assert_fails(calibration_read(&file, run), STATUS_DATA, cases[i].error);
    }
    char run[64];
    CalibrationFile file;
    test_folder(run);
    assert_fails(calibration_read(&file, run), STATUS_DATA, "calibration.json");
}

static void a_file_without_bins_is_from_an_older_run(void **state)
{
    (void)state;
    char run[64];
    CalibrationFile file;
    changed(run, "\"reliability\":", "\"unknown\":");
    assert_ok(calibration_read(&file, run));
    assert_false(file.binned);
    assert_int_equal(file.calibration.pairs, PAIRS);
    changed(run, "\"gold_std\":", "\"unknown\":");
    assert_ok(calibration_read(&file, run));
    assert_true(isnan(file.scale.gold_std));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_file_that_is_not_one_is_refused),
        cmocka_unit_test(a_file_without_bins_is_from_an_older_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
