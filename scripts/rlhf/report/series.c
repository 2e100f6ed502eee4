#include "scripts/rlhf/report/series.h"

#include "data/memory.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>

static Status claim(double **array, int count)
{
    void *block;
    TRY(memory_claim(&block, (size_t)count * sizeof **array));
    *array = block;
    return STATUS_OK;
}

static Status series_claim(Series *series, int count)
{
    TRY(claim(&series->step, count));
    TRY(claim(&series->value, count));
    return claim(&series->smooth, count);
}

Status series_read(Series *series, const MetricColumns *columns, const char *metric)
{
    *series = (Series){0};
    const double *value = metric_column(columns, metric);
    if (value == NULL || columns->rows == 0) return STATUS_OK;
    const Status status = series_claim(series, columns->rows);
    if (status != STATUS_OK) {
        series_free(series);
        return status;
    }
    for (int i = 0; i < columns->rows; i++) {
        if (!isfinite(value[i])) continue;
        series->step[series->count] = (double)columns->step[i];
        series->value[series->count++] = value[i];
    }
    return STATUS_OK;
}

void series_free(Series *series)
{
    memory_release(series->step);
    memory_release(series->value);
    memory_release(series->smooth);
    *series = (Series){0};
}

double series_weight(int count)
{
    return count < 20 ? 0.0 : floor(100 * exp(-40.0 / count)) / 100;
}

void series_smooth(double *smooth, const double *value, int count, double weight)
{
    double mean = 0.0, bias = 1.0;
    for (int i = 0; i < count; i++) {
        mean = weight * mean + (1.0 - weight) * value[i];
        bias *= weight;
        smooth[i] = weight > 0.0 ? mean / (1.0 - bias) : value[i];
    }
}

int series_thin(int index[SERIES_POINTS], int most, const double *value, int count)
{
    int kept = 0;
    assert(most >= 4 && most <= SERIES_POINTS);
    if (count <= most) {
        for (; kept < count; kept++) index[kept] = kept;
        return kept;
    }
    const int buckets = (most - 2) / 2;
    index[kept++] = 0;
    for (int b = 0; b < buckets; b++) {
        /* The values between the first and the last, in equal parts. */
        const int begin = 1 + (int)((int64_t)b * (count - 2) / buckets);
        const int end = 1 + (int)((int64_t)(b + 1) * (count - 2) / buckets);
        int low = begin, high = begin;
        for (int i = begin + 1; i < end; i++) {
            if (value[i] < value[low]) low = i;
            if (value[i] > value[high]) high = i;
        }
        index[kept++] = low < high ? low : high;
        if (low != high) index[kept++] = low < high ? high : low;
    }
    index[kept++] = count - 1;
    return kept;
}

/* The next step of any series; INFINITY: all are at their end. */
static double next_step(const Series *const *series, const int *at, int count)
{
    double step = INFINITY;
    for (int i = 0; i < count; i++) {
        if (at[i] < series[i]->count) step = fmin(step, series[i]->step[at[i]]);
    }
    return step;
}

static void fill(SeriesBand *band, const Series *const *series, int *at, int count)
{
    for (double step; isfinite(step = next_step(series, at, count)); band->count++) {
        double sum = 0.0, low = INFINITY, high = -INFINITY;
        int runs = 0;
        for (int i = 0; i < count; i++) {
            if (at[i] >= series[i]->count || series[i]->step[at[i]] > step) continue;
            const double value = series[i]->smooth[at[i]++];
            sum += value;
            low = fmin(low, value);
            high = fmax(high, value);
            runs++;
        }
        band->step[band->count] = step;
        band->mean[band->count] = sum / runs;
        band->low[band->count] = low;
        band->high[band->count] = high;
    }
}

Status series_band(SeriesBand *band, const Series *const *series, int count)
{
    *band = (SeriesBand){0};
    int total = 0;
    void *at = NULL;
    for (int i = 0; i < count; i++) total += series[i]->count;
    if (total == 0) return STATUS_OK;
    Status status = memory_claim(&at, (size_t)count * sizeof(int));
    if (status == STATUS_OK) status = claim(&band->step, total);
    if (status == STATUS_OK) status = claim(&band->mean, total);
    if (status == STATUS_OK) status = claim(&band->low, total);
    if (status == STATUS_OK) status = claim(&band->high, total);
    if (status == STATUS_OK) fill(band, series, at, count);
    if (status != STATUS_OK) series_band_free(band);
    memory_release(at);
    return status;
}

void series_band_free(SeriesBand *band)
{
    memory_release(band->step);
    memory_release(band->mean);
    memory_release(band->low);
    memory_release(band->high);
    *band = (SeriesBand){0};
}
