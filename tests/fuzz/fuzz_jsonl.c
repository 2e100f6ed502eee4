/* Own data as JSONL. The first byte chooses what the rest is read as. */
#include "tests/fuzz/fuzz.h"

#include "data/tasks/jsonl.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count == 0) return 0;
    const JsonlKind kind = (JsonlKind)(bytes[0] % 4);
    JsonlRows rows = {0};
    const Status status = jsonl_read(&rows, fuzz_file("a.jsonl", bytes + 1, count - 1), kind);
    FUZZ_MUST(status == STATUS_OK || status == STATUS_DATA);
    if (status == STATUS_OK) {
        const bool answers = kind != JSONL_PROMPTS, prompts = kind != JSONL_TEXT;
        FUZZ_MUST(rows.first.count == (answers ? rows.count : 0));
        FUZZ_MUST(rows.prompt.count == (prompts ? rows.count : 0));
        FUZZ_MUST(rows.second.count == (kind == JSONL_PAIRS ? rows.count : 0));
    } else {
        FUZZ_MUST(strstr(status_message(), "/a.jsonl:") != NULL);
    }
    jsonl_free(&rows);
    return 0;
}
