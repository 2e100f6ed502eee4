/* metrics: the journal, what of it is read back, and metrics.h5. */
#include "tests/support.h"

#include "tests/folder.h"

#include "data/json.h"
#include "data/metrics.h"
#include "data/store/store.h"

static const MetricInfo infos[] = {
    {"objective/kl", "nats a sequence", "mean over sequences of sum_t (logp - ref_logp)",
     "sequences", 0, 15, "above: the policy has left the reference"},
    {"loss/value_avg", "score squared", "mean over tokens of (value - return)^2", "tokens", NAN,
     NAN, "below the variance of the return: the critic learns"},
    {"lr", "1", "learning rate", "steps", NAN, NAN, "none"},
};
static const MetricAlias aliases[] = {{"lr", "elsewhere rate (a second)"}, {NULL, NULL}};
static const MetricTable table = {.metrics = infos, .count = 3, .aliases = aliases};

static void a_metric_is_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(metric_find(&table, "lr"), &infos[2]);
    assert_null(metric_find(&table, "objective"));
}

static void other_names_and_healthy_ranges_are_said(void **state)
{
    (void)state;
    assert_string_equal(metric_aliases(&table, "lr"), "elsewhere rate (a second)");
    assert_null(metric_aliases(&table, "objective/kl"));
    const MetricTable bare = {.metrics = infos, .count = 3};
    assert_null(metric_aliases(&bare, "lr"));

    char text[64];
    MetricInfo info = infos[0];
    metric_healthy(text, &info);
    assert_string_equal(text, "0 to 15");
    info.low = NAN;
    metric_healthy(text, &info);
    assert_string_equal(text, "at most 15");
    info.high = NAN;
    metric_healthy(text, &info);
    assert_string_equal(text, "");
    info.low = 0.5;
    metric_healthy(text, &info);
    assert_string_equal(text, "at least 0.5");
}

static void a_record_is_a_line(void **state)
{
    (void)state;
    const char *path = in("metrics.jsonl");
    Journal journal;
    assert_ok(journal_open(&journal, path, &table, 0));
    assert_ok(journal_write(&journal, 1, (const double[]){0.1, NAN, 1e-5}));
    assert_ok(journal_write(&journal, 2, (const double[]){-0.0, INFINITY, 3}));
    uint64_t length;
    Digest digest;
    assert_ok(digest_log_commit(&length, &digest, &journal.file));
    assert_int_equal(length, 99);
    assert_ok(journal_close(&journal));
    assert_ok(journal_close(&journal));
    assert_file(path, "{\"step\":1,\"objective/kl\":0.1,\"lr\":1e-05}\n"
                      "{\"step\":2,\"objective/kl\":-0,\"loss/value_avg\":null,\"lr\":3}\n");
    Digest whole;
    assert_ok(io_digest(&whole, &length, path, UINT64_MAX));
    assert_true(digest_equal(digest, whole));
}

static void a_journal_goes_on_where_it_is_told(void **state)
{
    (void)state;
    const char *path = in("metrics.jsonl");
    Journal journal;
    assert_ok(journal_open(&journal, path, &table, 0));
    assert_ok(journal_write(&journal, 1, (const double[]){1, 1, 1}));
    uint64_t committed, length;
    Digest first, digest, whole;
    assert_ok(digest_log_commit(&committed, &first, &journal.file));
    assert_ok(journal_write(&journal, 2, (const double[]){2, 2, 2}));
    assert_ok(journal_close(&journal));

    assert_ok(journal_open(&journal, path, &table, committed));
    assert_ok(digest_log_commit(&length, &digest, &journal.file));
    assert_true(length == committed && digest_equal(digest, first));
    assert_ok(journal_write(&journal, 2, (const double[]){3, 3, 3}));
    assert_ok(digest_log_commit(&length, &digest, &journal.file));
    assert_ok(journal_close(&journal));
    assert_ok(io_digest(&whole, &length, path, UINT64_MAX));
    assert_true(digest_equal(digest, whole));
    assert_file(path, "{\"step\":1,\"objective/kl\":1,\"loss/value_avg\":1,\"lr\":1}\n"
                      "{\"step\":2,\"objective/kl\":3,\"loss/value_avg\":3,\"lr\":3}\n");

    assert_fails(journal_open(&journal, path, &table, 1000), STATUS_DATA, "1000 were committed");
    assert_ok(journal_open(&journal, path, &table, 0));
    assert_ok(journal_close(&journal));
    assert_file(path, "");
}

static void columns_are_read_and_a_torn_line_is_dropped(void **state)
{
    (void)state;
    const char *path = in("metrics.jsonl");
    write_file(path, "{\"step\":1,\"a\":1.5,\"b/c\":null}\n"
                     "{\"late\":9,\"a\":2.5,\"step\":3}\r\n"
                     "{\"step\":7,\"b/c\":-1}\n"
                     "{\"step\":8,\"a\":4");
    MetricColumns columns;
    assert_ok(metric_columns_read(&columns, path));
    assert_int_equal(columns.rows, 3);
    assert_int_equal(columns.columns, 3);
    assert_int_equal(columns.step[0], 1);
    assert_int_equal(columns.step[1], 3);
    assert_int_equal(columns.step[2], 7);
    assert_string_equal(columns.name[0], "a");
    assert_string_equal(columns.name[1], "b/c");
    assert_string_equal(columns.name[2], "late");
    const double *a = metric_column(&columns, "a"), *late = metric_column(&columns, "late");
    assert_true(a[0] == 1.5 && a[1] == 2.5 && isnan(a[2]));
    assert_true(isnan(late[0]) && late[1] == 9 && isnan(late[2]));
    const double *b = metric_column(&columns, "b/c");
    assert_true(isnan(b[0]) && isnan(b[1]) && b[2] == -1);
    assert_null(metric_column(&columns, "step"));
    metric_columns_free(&columns);
}

static void foreign_lines_are_refused_with_their_number(void **state)
{
    (void)state;
    const char *path = in("m.jsonl");
    static const char *const cases[][2] = {
        {"{\"step\":1}\n{\"step\":2,}\n", "m.jsonl:2:11: expected a key in quotes, found '}'"},
        {"{\"step\":1}\n\n", "m.jsonl:2:1: expected a value, found the end"},
        {"[1]\n", "m.jsonl:1:1: expected an object, found an array"},
        {"{\"a\":1}\n", "m.jsonl:1:1: step: missing"},
        {"{\"step\":1.5}\n", "m.jsonl:1:2: step: expected an integer of at most 2^53, found 1.5"},
        {"{\"step\":1,\"a\":\"x\"}\n", "m.jsonl:1:11: a: expected a number, found text"},
        {"{\"step\":1,\"a\":1,\"a\":1}\n", "m.jsonl:1:17: a: repeated, first at 1:11"},
        {"{\"step\":1,\"\xff\":1}\n", "m.jsonl:1:12: byte 0xff is not UTF-8"},
        {"{\"step\":1,\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1}\n",
         "m.jsonl:1:11: a metric's name of more than 63 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(path, cases[i][0]);
        MetricColumns columns;
        assert_fails(metric_columns_read(&columns, path), STATUS_DATA, cases[i][1]);
        assert_null(columns.value);
    }
    MetricColumns columns;
    assert_fails(metric_columns_read(&columns, "/tmp/rlhf-none.jsonl"), STATUS_DATA,
                 "/tmp/rlhf-none.jsonl: missing");
}

/* More memory than its bytes account for is given to no journal. */
static void a_sparse_journal_claims_no_memory(void **state)
{
    (void)state;
    const char *path = in("m.jsonl");
    Bytes text = {0};
    for (int i = 0; i < 20000; i++) assert_ok(bytes_text(&text, "{\"step\":1}\n"));
    for (int i = 0; i < 20; i++) assert_ok(bytes_print(&text, "{\"step\":2,\"m%d\":1}\n", i));
    write_file(path, text.data);
    MetricColumns columns;
    assert_fails(metric_columns_read(&columns, path), STATUS_DATA,
                 "m.jsonl:20015:11: too many metrics, 15 in 20020 rows");
    bytes_clear(&text);
    for (int i = 0; i < 1 << 16; i++) assert_ok(bytes_text(&text, "\n"));
    write_file(path, text.data);
    assert_fails(metric_columns_read(&columns, path), STATUS_DATA, "m.jsonl:1:1: expected a value");
    bytes_free(&text);
}

/* Only a line has a longest size; a torn last one has none. */
static void a_line_of_a_megabyte_is_refused(void **state)
{
    (void)state;
    const char *path = in("m.jsonl");
    Bytes text = {0};
    assert_ok(bytes_text(&text, "{\"step\":1}\n"));
    for (int i = 0; i < 1 << 17; i++) assert_ok(bytes_text(&text, "          "));
    write_file(path, text.data);
    MetricColumns columns;
    assert_ok(metric_columns_read(&columns, path));
    assert_int_equal(columns.rows, 1);
    metric_columns_free(&columns);
    assert_ok(bytes_text(&text, "{\"step\":1}\n"));
    write_file(path, text.data);
    assert_fails(metric_columns_read(&columns, path), STATUS_DATA,
                 "m.jsonl:2:1: a line of more than 1048576 bytes");
    bytes_free(&text);
}

static void a_thousand_metrics_are_too_many(void **state)
{
    (void)state;
    const char *path = in("m.jsonl");
    Bytes text = {0};
    assert_ok(bytes_text(&text, "{\"step\":1"));
    for (int i = 0; i < 1025; i++) assert_ok(bytes_print(&text, ",\"m%d\":%d", i, i));
    assert_ok(bytes_text(&text, "}\n"));
    write_file(path, text.data);
    MetricColumns columns;
    assert_fails(metric_columns_read(&columns, path), STATUS_DATA, "too many metrics, 1025 in 1");
    bytes_free(&text);
}

static void the_snapshot_holds_the_journal(void **state)
{
    (void)state;
    char snapshot[128];
    const char *path = in("metrics.jsonl");
    snprintf(snapshot, sizeof snapshot, "%s/metrics.h5", folder);
    Journal journal;
    assert_ok(journal_open(&journal, path, &table, 0));
    for (int step = 1; step <= 300; step++) {
        const double value[] = {1.0 / step, step == 7 ? NAN : 0.1 * step, 1e-3};
        assert_ok(journal_write(&journal, step * 10, value));
    }
    assert_ok(journal_close(&journal));
    Digest digest;
    assert_ok(metrics_publish(snapshot, path, &table, &digest));

    const StoreField schema[] = {
        {.name = "/step", .type = STORE_I64, .rank = 1, .extent = {-1}},
        {.name = "/objective/kl", .type = STORE_F64, .rank = 1, .extent = {300}},
        {.name = "/loss/value_avg", .type = STORE_F64, .rank = 1, .extent = {300}},
        {.name = "/lr", .type = STORE_F64, .rank = 1, .extent = {300}},
    };
    StoreContent content;
    assert_ok(store_read(&content, snapshot, &digest, schema, 4));
    assert_int_equal(content.array[0].count, 300);
    const int64_t *step = content.array[0].data;
    const double *kl = content.array[1].data, *loss = content.array[2].data;
    for (int i = 0; i < 300; i++) {
        assert_int_equal(step[i], 10 * (i + 1));
        assert_true(kl[i] == 1.0 / (i + 1));
        assert_true(i == 6 ? isnan(loss[i]) : loss[i] == 0.1 * (i + 1));
    }
    store_content_free(&content);

    char command[400];
    snprintf(command, sizeof command, "h5dump -A %s 2>/dev/null", snapshot);
    FILE *dump = popen(command, "r");
    assert_non_null(dump);
    static char text[20000];
    const size_t size = fread(text, 1, sizeof text - 1, dump);
    text[size] = '\0';
    if (pclose(dump) != 0) skip(); /* no h5dump here */
    assert_non_null(strstr(text, "nats a sequence"));
    assert_non_null(strstr(text, "mean over tokens of (value - return)^2"));
    assert_non_null(strstr(text, "below the variance of the return: the critic learns"));
    assert_non_null(strstr(text, "0 to 15"));
    assert_non_null(strstr(text, "elsewhere rate (a second)"));
    assert_non_null(strstr(text, "DIMENSION_SCALE"));
    assert_non_null(strstr(text, "DIMENSION_LIST"));
}

static void an_empty_journal_has_a_snapshot_too(void **state)
{
    (void)state;
    char snapshot[128];
    const char *path = in("metrics.jsonl");
    snprintf(snapshot, sizeof snapshot, "%s/metrics.h5", folder);
    write_file(path, "");
    assert_ok(metrics_publish(snapshot, path, &table, NULL));
    const StoreField schema = {.name = "/step", .type = STORE_I64, .rank = 1, .extent = {0}};
    StoreContent content;
    assert_ok(store_read(&content, snapshot, NULL, &schema, 1));
    store_content_free(&content);

    write_file(path, "{\"step\":1,\"\":2}\n");
    assert_fails(metrics_publish(snapshot, path, &table, NULL), STATUS_IO, "metrics.h5: ");
}

static void memory_may_run_out_while_reading(void **state)
{
    (void)state;
    const char *path = in("m.jsonl");
    write_file(path, "{\"step\":1,\"a\":1}\n{\"step\":2,\"b\":1}\n");
    Status status = STATUS_FAILED;
    for (long call = 1; status == STATUS_FAILED; call++) {
        MetricColumns columns;
        memory_fault(call, 0);
        status = metric_columns_read(&columns, path);
        memory_fault(0, 0);
        if (status == STATUS_OK) metric_columns_free(&columns);
    }
    assert_int_equal(status, STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_metric_is_found_by_name),
        IN_FOLDER(other_names_and_healthy_ranges_are_said),
        IN_FOLDER(a_record_is_a_line),
        IN_FOLDER(a_journal_goes_on_where_it_is_told),
        IN_FOLDER(columns_are_read_and_a_torn_line_is_dropped),
        IN_FOLDER(foreign_lines_are_refused_with_their_number),
        IN_FOLDER(a_sparse_journal_claims_no_memory),
        IN_FOLDER(a_line_of_a_megabyte_is_refused),
        IN_FOLDER(a_thousand_metrics_are_too_many),
        IN_FOLDER(the_snapshot_holds_the_journal),
        IN_FOLDER(an_empty_journal_has_a_snapshot_too),
        IN_FOLDER(memory_may_run_out_while_reading),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
