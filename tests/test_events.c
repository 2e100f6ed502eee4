/* Event files: records and fields by hand, cutting back, failures. That a stranger reads them is
 * tested by test_events.sh. */
#include "tests/support.h"

#include "data/event_record.h"
#include "data/events.h"
#include "data/path.h"
#include "data/stage.h"
#include "data/utf8.h"

#include <errno.h>

enum { FILE_MAX = 1 << 20 };

static void the_check_is_a_masked_castagnoli_crc(void **state)
{
    (void)state;
    /* CRC-32C of "123456789" is e3069283, of 32 zeros 8a9136aa (RFC 3720, B.4) */
    const uint32_t digits = 0xe3069283u, zeros = 0x8a9136aau;
    const char zero[32] = {0};
    assert_int_equal(record_check("123456789", 9), (digits >> 15 | digits << 17) + 0xa282ead8u);
    assert_int_equal(record_check(zero, 32), (zeros >> 15 | zeros << 17) + 0xa282ead8u);
}

static void a_record_is_whole_or_none(void **state)
{
    (void)state;
    Bytes file = {0};
    const char *data;
    size_t size, whole;
    assert_ok(record_append(&file, "abc", 3));
    assert_ok(record_append(&file, "defg", 4));
    assert_int_equal(file.count, 12 + 3 + 4 + 12 + 4 + 4);
    assert_memory_equal(file.data, "\3\0\0\0\0\0\0\0", 8);
    assert_true(record_at(&data, &size, &whole, file.data, file.count));
    assert_int_equal(size, 3);
    assert_memory_equal(data, "abc", 3);
    assert_true(record_at(&data, &size, &whole, file.data + whole, file.count - whole));
    assert_memory_equal(data, "defg", 4);
    for (size_t length = 0; length < 19; length++) {
        assert_false(record_at(&data, &size, &whole, file.data, length));
    }
    for (size_t i = 0; i < 19; i++) {
        file.data[i] ^= 0x10;
        assert_false(record_at(&data, &size, &whole, file.data, file.count));
        file.data[i] ^= 0x10;
    }
    bytes_free(&file);
}

static void fields_are_protobuf(void **state)
{
    (void)state;
    Bytes out = {0};
    const double packed[] = {1.0, -2.0};
    assert_ok(field_integer(&out, 2, 300));
    assert_ok(field_text(&out, 1, "ab"));
    assert_ok(field_float(&out, 2, 1.0f));
    assert_ok(field_double(&out, 1, -2.0));
    assert_ok(field_doubles(&out, 7, packed, 2));
    static const char expected[] = "\x10\xac\x02"
                                   "\x0a\x02"
                                   "ab"
                                   "\x15\0\0\x80\x3f"
                                   "\x09\0\0\0\0\0\0\0\xc0"
                                   "\x3a\x10\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\xc0";
    assert_int_equal(out.count, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.count);

    int64_t value;
    assert_true(field_find_integer(&value, 2, out.data, out.count));
    assert_int_equal(value, 300);
    assert_true(field_find_integer(&value, 3, out.data, out.count));
    assert_int_equal(value, 0);
    assert_false(field_find_integer(&value, 2, out.data, out.count - 1));
    assert_false(field_find_integer(&value, 2, "\x17", 1)); /* a wire type that there is not */
    bytes_clear(&out);
    assert_ok(field_integer(&out, 2, -1));
    assert_int_equal(out.count, 11);
    assert_true(field_find_integer(&value, 2, out.data, out.count));
    assert_int_equal(value, -1);
    bytes_free(&out);
}

/* The steps of all records of the file that `events` writes, as digits. */
static void assert_steps(const EventLog *events, const char *expected)
{
    Bytes file = {0};
    assert_ok(io_read(&file, events->log.path, FILE_MAX));
    char steps[64] = "";
    const char *data;
    size_t size, whole, at = 0;
    for (; at < file.count; at += whole) {
        int64_t step;
        assert_true(record_at(&data, &size, &whole, file.data + at, file.count - at));
        assert_true(field_find_integer(&step, 2, data, size));
        const size_t used = strlen(steps);
        snprintf(steps + used, sizeof steps - used, "%d", (int)step);
    }
    assert_string_equal(steps, expected);
    bytes_free(&file);
}

/* Steps 1 to 4, a scalar each, below a session. */
static void write_four(EventLog *events, const char *folder)
{
    assert_ok(events_open(events, folder, 0, "runs/a", "{\"seed\": 1, \"ppo\": {\"lr\": 0.5}}"));
    for (int64_t step = 1; step <= 4; step++) {
        assert_ok(events_scalar(events, "loss", (double)step));
        assert_ok(events_write(events, step));
    }
    assert_steps(events, "001234");
}

static void a_file_goes_on_at_the_committed_step(void **state)
{
    (void)state;
    char folder[64], path[PATH_TEXT];
    test_folder(folder);
    EventLog events;
    write_four(&events, folder);
    snprintf(path, sizeof path, "%s", events.log.path);
    assert_ok(events_finish(&events, 4));
    assert_steps(&events, "0012345");
    events_close(&events);

    assert_ok(events_open(&events, folder, 4, "runs/a", "{}"));
    assert_string_equal(events.log.path, path);
    assert_steps(&events, "001234"); /* the session's end is gone too */
    events_close(&events);
    assert_ok(events_open(&events, folder, 2, "runs/a", "{}"));
    assert_steps(&events, "0012");
    assert_ok(events_scalar(&events, "loss", 3.0));
    assert_ok(events_write(&events, 3));
    assert_steps(&events, "00123");
    events_close(&events);
}

static void a_torn_or_damaged_record_ends_the_file(void **state)
{
    (void)state;
    char folder[64];
    test_folder(folder);
    EventLog events;
    write_four(&events, folder);
    assert_ok(io_log_append(&events.log, "\x20\0\0\0", 4));
    events_close(&events);
    assert_ok(events_open(&events, folder, 9, "runs/a", "{}"));
    assert_steps(&events, "001234");
    char path[PATH_TEXT];
    snprintf(path, sizeof path, "%s", events.log.path);
    events_close(&events);

    Bytes file = {0};
    assert_ok(io_read(&file, path, FILE_MAX));
    file.data[file.count - 30] ^= 1; /* in the last record */
    assert_ok(io_publish(path, file.data, file.count));
    assert_ok(events_open(&events, folder, 9, "runs/a", "{}"));
    assert_steps(&events, "00123");
    events_close(&events);

    file.data[3] ^= 1; /* nothing is whole: it begins again */
    assert_ok(io_publish(path, file.data, file.count));
    assert_ok(events_open(&events, folder, 9, "runs/a", "{}"));
    assert_steps(&events, "00");
    events_close(&events);
    bytes_free(&file);
}

/* Records of many sizes, some larger than the pieces that are read. */
static void a_long_file_is_cut_at_the_committed_step(void **state)
{
    (void)state;
    enum { STEPS = 60, KEPT = 41 };
    char folder[64], path[PATH_TEXT];
    test_folder(folder);
    EventLog events;
    uint64_t length[STEPS + 1], size;
    static char text[160 * 1024];
    memset(text, 'a', sizeof text);
    assert_ok(events_open(&events, folder, 0, "runs/a", NULL));
    snprintf(path, sizeof path, "%s", events.log.path);
    for (int step = 1; step <= STEPS; step++) {
        Texts cells = {0};
        assert_ok(texts_add(&cells, "answer", 6));
        assert_ok(texts_add(&cells, text, (size_t)(step * 7919) % sizeof text));
        assert_ok(events_table(&events, "samples", &cells, 1));
        assert_ok(events_write(&events, step));
        assert_ok(io_size(&length[step], path));
        texts_free(&cells);
    }
    events_close(&events);
    assert_true(length[STEPS] > 4u << 20);

    assert_ok(events_open(&events, folder, STEPS, "runs/a", NULL)); /* all of it stays */
    assert_ok(io_size(&size, path));
    assert_int_equal(size, length[STEPS]);
    assert_ok(io_log_append(&events.log, text, 100000)); /* no record */
    events_close(&events);
    assert_ok(events_open(&events, folder, STEPS, "runs/a", NULL));
    assert_ok(io_size(&size, path));
    assert_int_equal(size, length[STEPS]);
    events_close(&events);

    assert_ok(events_open(&events, folder, KEPT, "runs/a", NULL));
    assert_ok(io_size(&size, path));
    assert_int_equal(size, length[KEPT]);
    events_close(&events);
}

static void what_is_not_finite_is_left_out(void **state)
{
    (void)state;
    char folder[64];
    test_folder(folder);
    EventLog events;
    const float none[] = {NAN, INFINITY};
    Texts heading = {0};
    assert_ok(texts_add(&heading, "prompt", 6));
    assert_ok(events_open(&events, folder, 0, "runs/a", NULL));
    assert_ok(events_scalar(&events, "gold", NAN));
    assert_ok(events_histogram(&events, "gold", none, 2));
    assert_ok(events_histogram(&events, "gold", none, 0));
    assert_ok(events_table(&events, "samples", &heading, 1));
    assert_int_equal(events.values.count, 0);
    assert_ok(events_write(&events, 1));
    assert_steps(&events, "0");
    assert_ok(events_scalar(&events, "loss", INFINITY));
    assert_ok(events_write(&events, 1));
    assert_steps(&events, "01");
    events_close(&events);
    texts_free(&heading);
}

static void a_closed_log_does_nothing(void **state)
{
    (void)state;
    EventLog events = {0};
    const float one = 1;
    assert_ok(events_scalar(&events, "loss", 1));
    assert_ok(events_histogram(&events, "loss", &one, 1));
    assert_ok(events_write(&events, 1));
    assert_ok(events_sync(&events));
    assert_ok(events_finish(&events, 1));
    assert_int_equal(events.values.count, 0);
    events_close(&events);
    events_close(&events);
}

static void settings_that_are_not_json_are_refused(void **state)
{
    (void)state;
    char folder[64];
    test_folder(folder);
    EventLog events;
    assert_fails(events_open(&events, folder, 0, "runs/a", "{"), STATUS_DATA,
                 "settings:1:2: expected a key in quotes");
    events_close(&events);
}

static const MetricInfo infos[] = {
    {"loss", "nats a token", "mean of -log p", "tokens", 0, 10, "a learning rate too high"},
};
static const MetricTable table = {.metrics = infos, .count = 1};

static void a_full_disk_stops_the_stage(void **state)
{
    (void)state;
    char run[64];
    test_folder(run);
    const double value = 1;
    Stage stage = {.name = "sft", .run = run, .tensorboard = true};
    assert_ok(stage_open(&stage, &table));
    io_fault("write", 3, ENOSPC, false); /* journal, timings, events */
    const Status status = stage_record(&stage, 1, 2, 10, &value, NULL);
    io_fault(NULL, 0, 0, false);
    assert_fails(status, STATUS_IO, "/sft/events.out.tfevents.");
    assert_fails(status, STATUS_IO, "bytes: No space left on device");
    assert_steps(&stage.events, "0");
    stage_close(&stage);

    for (long call = 1;; call++) { /* any call of a resume */
        Stage again = {.name = "sft", .run = run, .tensorboard = true};
        io_fault(NULL, call, EIO, false);
        const Status opened = stage_open(&again, &table);
        io_fault(NULL, 0, 0, false);
        stage_close(&again);
        if (opened == STATUS_OK && call > 8) break;
    }
}

static void memory_that_runs_out_is_said(void **state)
{
    (void)state;
    char folder[64];
    test_folder(folder);
    for (long call = 1;; call++) {
        EventLog events;
        memory_fault(call, 0);
        const Status status = events_open(&events, folder, 0, "runs/a", "{\"seed\": 1}");
        memory_fault(0, 0);
        events_close(&events);
        if (status == STATUS_OK) {
            assert_true(call > 5);
            return;
        }
        assert_int_equal(status, STATUS_FAILED);
    }
}

static void text_becomes_valid_utf8(void **state)
{
    (void)state;
    Bytes out = {0};
    assert_ok(utf8_append(&out, "a\xff\0\xc3\xa9\xc3", 6));
    assert_string_equal(out.data, "a\xef\xbf\xbd\xe2\x90\x80\xc3\xa9\xef\xbf\xbd");
    bytes_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_check_is_a_masked_castagnoli_crc),
        cmocka_unit_test(a_record_is_whole_or_none),
        cmocka_unit_test(fields_are_protobuf),
        cmocka_unit_test(a_file_goes_on_at_the_committed_step),
        cmocka_unit_test(a_torn_or_damaged_record_ends_the_file),
        cmocka_unit_test(a_long_file_is_cut_at_the_committed_step),
        cmocka_unit_test(what_is_not_finite_is_left_out),
        cmocka_unit_test(a_closed_log_does_nothing),
        cmocka_unit_test(settings_that_are_not_json_are_refused),
        cmocka_unit_test(a_full_disk_stops_the_stage),
        cmocka_unit_test(memory_that_runs_out_is_said),
        cmocka_unit_test(text_becomes_valid_utf8),
    };
    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
