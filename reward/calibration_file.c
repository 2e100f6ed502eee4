#include "reward/calibration_file.h"

#include "data/json.h"
#include "data/memory.h"
#include "policy/inputs.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>

enum { FORMAT_VERSION = 1, FILE_BYTES = 1 << 20 };

/* ---- writing ---- */

static void put_reliability(JsonWriter *w, const Calibration *calibration)
{
    json_open(w, "reliability", '[');
    for (int b = 0; b < CALIBRATION_BINS; b++) {
        const ReliabilityBin *bin = &calibration->reliability[b];
        json_open(w, NULL, '{');
        json_put_integer(w, "pairs", bin->pairs);
        json_put_number(w, "confidence", bin->confidence);
        json_put_number(w, "accuracy", bin->accuracy);
        json_close(w);
    }
    json_close(w);
}

static void put_margins(JsonWriter *w, const Calibration *calibration)
{
    json_open(w, "margin_accuracy", '[');
    for (int b = 0; b < MARGIN_BINS; b++) {
        json_put_number(w, NULL, calibration->margin_accuracy[b]);
    }
    json_close(w);
    json_open(w, "margin_pairs", '[');
    for (int b = 0; b < MARGIN_BINS; b++) json_put_integer(w, NULL, calibration->margin_pairs[b]);
    json_close(w);
}

Status calibration_write(const Stage *stage, const Calibration *calibration,
                         const RewardScale *scale, const Model *model)
{
    Bytes text = {0};
    JsonWriter w = json_writer(&text, 2);
    json_open(&w, NULL, '{');
    json_put_integer(&w, "format_version", FORMAT_VERSION);
    json_put_integer(&w, "pairs", calibration->pairs);
    json_put_number(&w, "accuracy", calibration->accuracy);
    json_put_number(&w, "gold_accuracy", calibration->gold_accuracy);
    json_put_number(&w, "ceiling", calibration->ceiling);
    json_put_number(&w, "nll", calibration->nll);
    json_put_number(&w, "ece", calibration->ece);
    json_put_number(&w, "brier", calibration->brier);
    put_reliability(&w, calibration);
    put_margins(&w, calibration);
    json_put_integer(&w, "answers", scale->answers);
    json_put_number(&w, "gold_std", scale->gold_std);
    json_put_number(&w, "gold_spearman", scale->gold_spearman);
    json_put_number(&w, "length_correlation", scale->length_correlation);
    json_put_number(&w, "mean", scale->mean);
    json_put_number(&w, "std", scale->std);
    json_put_number(&w, "reward_gain", (double)model->reward_gain);
    json_put_number(&w, "reward_bias", (double)model->reward_bias);
    json_put_integer(&w, "parameters", (int64_t)model->count);
    json_close(&w);
    char path[STAGE_PATH];
    Status status = json_done(&w);
    if (status == STATUS_OK) status = stage_path(path, stage, "calibration.json");
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    bytes_free(&text);
    return status;
}

/* ---- reading ---- */

static Status read_count(int *count, Json value)
{
    int64_t number;
    TRY(json_integer(&number, value));
    if (number < 0 || number > INT_MAX) {
        return json_fail(value, "expected a count, found %" PRId64, number);
    }
    *count = (int)number;
    return STATUS_OK;
}

static Status get_count(int *count, Json object, const char *key)
{
    Json value;
    TRY(json_get(&value, object, key));
    return read_count(count, value);
}

/* null: NaN. A share or correlation of 1 may have come out a rounding error above it. */
static Status read_between(double *number, Json value, double low, double high)
{
    *number = NAN;
    if (json_kind(value) == JSON_NULL) return STATUS_OK;
    TRY(json_number(number, value));
    if (*number < low - 1e-12 || *number > high + 1e-12) {
        return json_fail(value, "%g is not in [%g, %g]", *number, low, high);
    }
    return STATUS_OK;
}

static Status get_between(double *number, Json object, const char *key, double low, double high)
{
    Json value;
    TRY(json_get(&value, object, key));
    return read_between(number, value, low, high);
}

static Status expect_items(Json list, int count)
{
    if (json_kind(list) != JSON_ARRAY || json_count(list) != count) {
        return json_fail(list, "expected a list of %d", count);
    }
    return STATUS_OK;
}

static Status read_reliability(Calibration *calibration, Json list)
{
    TRY(expect_items(list, CALIBRATION_BINS));
    ReliabilityBin *bin = calibration->reliability;
    int64_t pairs = 0;
    for (Json item = json_first(list); item.item != NULL; item = json_next(item), bin++) {
        TRY(get_count(&bin->pairs, item, "pairs"));
        TRY(get_between(&bin->confidence, item, "confidence", 0.5, 1.0));
        TRY(get_between(&bin->accuracy, item, "accuracy", 0.0, 1.0));
        pairs += bin->pairs;
    }
    if (pairs != calibration->pairs) {
        return json_fail(list, "the bins do not hold %d pairs together", calibration->pairs);
    }
    return STATUS_OK;
}

static Status read_margins(Calibration *calibration, Json root)
{
    Json accuracy, pairs;
    TRY(json_get(&accuracy, root, "margin_accuracy"));
    TRY(json_get(&pairs, root, "margin_pairs"));
    TRY(expect_items(accuracy, MARGIN_BINS));
    TRY(expect_items(pairs, MARGIN_BINS));
    accuracy = json_first(accuracy);
    pairs = json_first(pairs);
    for (int b = 0; b < MARGIN_BINS; b++) {
        TRY(read_between(&calibration->margin_accuracy[b], accuracy, 0.0, 1.0));
        TRY(read_count(&calibration->margin_pairs[b], pairs));
        accuracy = json_next(accuracy);
        pairs = json_next(pairs);
    }
    return STATUS_OK;
}

static Status read_file(CalibrationFile *file, Json root)
{
    Calibration *c = &file->calibration;
    RewardScale *s = &file->scale;
    int version = 0;
    TRY(get_count(&version, root, "format_version"));
    if (version != FORMAT_VERSION) return json_fail(root, "format_version is %d", version);
    TRY(get_count(&c->pairs, root, "pairs"));
    TRY(get_between(&c->accuracy, root, "accuracy", 0.0, 1.0));
    TRY(get_between(&c->gold_accuracy, root, "gold_accuracy", 0.0, 1.0));
    TRY(get_between(&c->ceiling, root, "ceiling", 0.0, 1.0));
    TRY(get_between(&c->nll, root, "nll", 0.0, INFINITY));
    TRY(get_between(&c->ece, root, "ece", 0.0, 1.0));
    TRY(get_between(&c->brier, root, "brier", 0.0, 1.0));
    TRY(read_margins(c, root));
    const Json reliability = json_find(root, "reliability"), gold = json_find(root, "gold_std");
    file->binned = reliability.item != NULL;
    if (file->binned) TRY(read_reliability(c, reliability));
    s->gold_std = NAN;
    if (gold.item != NULL) TRY(read_between(&s->gold_std, gold, 0.0, INFINITY));
    TRY(get_count(&s->answers, root, "answers"));
    TRY(get_between(&s->gold_spearman, root, "gold_spearman", -1.0, 1.0));
    TRY(get_between(&s->length_correlation, root, "length_correlation", -1.0, 1.0));
    TRY(get_between(&s->mean, root, "mean", -INFINITY, INFINITY));
    return get_between(&s->std, root, "std", 0.0, INFINITY);
}

Status calibration_read(CalibrationFile *file, const char *run)
{
    *file = (CalibrationFile){0};
    char path[STAGE_PATH];
    TRY(path_join(path, run, "reward/calibration.json"));
    JsonDocument *document;
    TRY(json_read(&document, STATUS_DATA, path, FILE_BYTES, NULL));
    const Status status = read_file(file, json_root(document));
    json_free(document);
    return status;
}
