/* A metrics journal, as whoever plots a run reads it; short ones become metrics.h5 too. */
#include "tests/fuzz/fuzz.h"

#include "data/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    enum { PUBLISHED_BYTES = 256 };
    static const MetricInfo infos[] = {
        {"loss", "nats a token", "mean of -log p", "tokens", 0, 10, "a learning rate too high"},
    };
    static const MetricTable table = {.metrics = infos, .count = 1};
    const char *path = fuzz_file("metrics.jsonl", bytes, count);
    MetricColumns columns;
    const Status status = metric_columns_read(&columns, path);
    FUZZ_MUST(status == STATUS_OK || status == STATUS_DATA);
    if (status != STATUS_OK) return 0;
    for (int i = 0; i < columns.columns; i++) {
        FUZZ_MUST(strlen(columns.name[i]) < sizeof *columns.name);
        FUZZ_MUST(metric_column(&columns, columns.name[i]) ==
                  columns.value + (size_t)i * (size_t)columns.rows);
    }
    metric_columns_free(&columns);
    if (count <= PUBLISHED_BYTES) {
        char published[128];
        snprintf(published, sizeof published, "%s/metrics.h5", fuzz_folder());
        if (metrics_publish(published, path, &table, NULL) != STATUS_OK) {
            FUZZ_MUST(status_message()[0] != '\0');
        }
    }
    return 0;
}
