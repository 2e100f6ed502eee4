/* A folder's manifest.json, beside two files that it may name. */
#include "tests/fuzz/fuzz.h"

#include "data/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static Manifest manifest, again;
    fuzz_file("policy.h5", (const uint8_t *)"weights", 7);
    fuzz_file("metrics.jsonl", (const uint8_t *)"{\"step\":1}\n", 11);
    fuzz_file("manifest.json", bytes, count);
    const Status status = manifest_read(&manifest, fuzz_folder());
    FUZZ_MUST(status == STATUS_OK || status == STATUS_DATA);
    if (status != STATUS_OK) return 0;

    FUZZ_MUST(manifest.count >= 0 && manifest.count <= MANIFEST_FILES_MAX);
    for (int i = 0; i < manifest.count; i++) {
        FUZZ_MUST(manifest_find(&manifest, manifest.file[i].name) == &manifest.file[i]);
    }
    const Status verified = manifest_verify(&manifest, fuzz_folder());
    FUZZ_MUST(verified == STATUS_OK || verified == STATUS_DATA || verified == STATUS_IO);
    FUZZ_MUST(manifest_write(&manifest, fuzz_folder()) == STATUS_OK);
    FUZZ_MUST(manifest_read(&again, fuzz_folder()) == STATUS_OK);
    FUZZ_MUST(memcmp(&again, &manifest, sizeof manifest) == 0);
    return 0;
}
