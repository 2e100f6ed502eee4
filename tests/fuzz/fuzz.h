/* Coverage-guided fuzzing: one program a kind of input that others may have written. Each defines
 * LLVMFuzzerTestOneInput, which libFuzzer calls with inputs of its making, and replay.c with the
 * seeds and found cases in seeds/. Beside not crashing, each target checks what must hold for what
 * was accepted. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "data/io.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* What must hold does not: the fuzzer keeps the input. */
#define FUZZ_MUST(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, status_message());  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static char fuzz_folder_path[64];

static inline void fuzz_drop_folder(void)
{
    if (io_remove_tree(fuzz_folder_path) != STATUS_OK) fprintf(stderr, "%s\n", status_message());
}

/* A folder in memory for readers that want a path; it goes with the program. */
static inline const char *fuzz_folder(void)
{
    if (fuzz_folder_path[0] == '\0') {
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(fuzz_folder_path, sizeof fuzz_folder_path, "%s/rlhf-fuzz-XXXXXX", base);
        FUZZ_MUST(mkdtemp(fuzz_folder_path) != NULL);
        atexit(fuzz_drop_folder);
    }
    return fuzz_folder_path;
}

/* folder/name with these bytes; good until the next call. */
static inline const char *fuzz_file(const char *name, const uint8_t *bytes, size_t count)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    FILE *file = fopen(path, "wb");
    FUZZ_MUST(file != NULL);
    FUZZ_MUST(fwrite(bytes, 1, count, file) == count);
    FUZZ_MUST(fclose(file) == 0);
    return path;
}

#endif
