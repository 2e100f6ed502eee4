/* Settings: a config.json, and the same bytes as the text of a --set. */
#include "tests/fuzz/fuzz.h"

#include "data/json.h"
#include "scripts/rlhf/settings.h"

/* A document as text, which must read back to the same text. */
static void write_again(Bytes *text, const JsonDocument *document)
{
    JsonWriter writer = json_writer(text, 2);
    json_put_value(&writer, NULL, json_root(document));
    FUZZ_MUST(json_done(&writer) == STATUS_OK);
}

static void reads_back(const JsonDocument *document)
{
    Bytes once = {0}, twice = {0};
    JsonDocument *again;
    write_again(&once, document);
    FUZZ_MUST(json_parse(&again, STATUS_SETTINGS, "again", once.data, once.count) == STATUS_OK);
    write_again(&twice, again);
    FUZZ_MUST(once.count == twice.count && memcmp(once.data, twice.data, once.count) == 0);
    json_free(again);
    bytes_free(&once);
    bytes_free(&twice);
}

/* What was accepted can be written down and taken again. */
static void resolves(const Settings *settings)
{
    Bytes once = {0}, twice = {0};
    Settings again;
    FUZZ_MUST(settings_text(&once, settings) == STATUS_OK);
    const char *path = fuzz_file("resolved.json", (const uint8_t *)once.data, once.count);
    FUZZ_MUST(settings_read(&again, path) == STATUS_OK);
    FUZZ_MUST(settings_text(&twice, &again) == STATUS_OK);
    FUZZ_MUST(strcmp(once.data, twice.data) == 0);
    bytes_free(&once);
    bytes_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    JsonDocument *document;
    Settings settings;
    Options options = {0};
    const ConfigTable table = settings_table(), options_of = options_table();
    config_defaults(&table, &settings);
    config_defaults(&options_of, &options);
    if (json_parse(&document, STATUS_SETTINGS, "a.json", (const char *)bytes, count) == STATUS_OK) {
        reads_back(document);
        const Status status = config_apply(&table, &settings, json_root(document));
        if (status == STATUS_OK) resolves(&settings);
        FUZZ_MUST(status == STATUS_OK || status == STATUS_SETTINGS);
        if (settings_check(&settings) != STATUS_OK) FUZZ_MUST(status_message()[0] != '\0');
        json_free(document);
    }
    char assignment[4096];
    if (count < sizeof assignment) {
        snprintf(assignment, sizeof assignment, "%.*s", (int)count, (const char *)bytes);
        if (settings_set(&settings, &options, assignment) == STATUS_OK) resolves(&settings);
    }
    return 0;
}
