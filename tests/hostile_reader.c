/* Reads files that others may have made, as the program does, and says what became of each:
 *
 *   hostile_reader read FILE[:DATASET|:@ATTRIBUTE]...   one line a file
 *   hostile_reader KIND SEED COUNT FILE SCRATCH         COUNT random mutants of FILE, a rollout,
 *                                                       pairs, samples or a checkpoint's network */
#include "data/manifest.h"
#include "data/preference.h"
#include "data/rng.h"
#include "data/rollout.h"
#include "data/store/store.h"
#include "policy/network_file.h"
#include "ppo/sample_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { VOCABULARY = 320 }; /* of preset tiny */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Seconds, megabytes of the largest reader so far, and the refusal or "data". */
static void read_one(char *word)
{
    StoreField field = {.name = "/x", .type = STORE_F32, .rank = 1, .extent = {-1}};
    char *colon = strchr(word, ':');
    if (colon != NULL) {
        *colon = '\0';
        if (colon[1] == '@') {
            field = (StoreField){.name = "/", .attribute = colon + 2, .type = STORE_F64};
        } else {
            field.name = colon + 1;
        }
    }
    StoreContent content;
    struct rusage used;
    const double begun = now();
    const Status status = store_read(&content, word, NULL, &field, 1);
    const double taken = now() - begun;
    store_content_free(&content);
    getrusage(RUSAGE_CHILDREN, &used);
    printf("%.3f\t%ld\t%s\n", taken, used.ru_maxrss / 1024,
           status == STATUS_OK ? "data" : status_message());
    fflush(stdout);
}

static uint32_t draw(gsl_rng *source, size_t below)
{
    return (uint32_t)gsl_rng_uniform_int(source, below);
}

/* Mostly one to four bytes changed; now and then a number made extreme, a piece copied, an end
 * cut off. */
static void mutate(Bytes *bad, const Bytes *good, gsl_rng *source)
{
    static const uint64_t extremes[] = {0, 1, UINT64_MAX, UINT64_MAX >> 1, 0xffffffff, 1ULL << 40};
    bytes_clear(bad);
    if (bytes_append(bad, good->data, good->count) != STATUS_OK) abort();
    const uint32_t kind = draw(source, 10);
    if (kind == 0) {
        memcpy(bad->data + draw(source, bad->count - 8), &extremes[draw(source, 6)],
               (size_t)1 << draw(source, 4));
    } else if (kind == 1) {
        const size_t length = 1 + draw(source, 64);
        memmove(bad->data + draw(source, bad->count - length),
                bad->data + draw(source, bad->count - length), length);
    } else if (kind == 2) {
        bad->count = draw(source, bad->count);
    } else {
        for (uint32_t edit = 0; edit <= draw(source, 4); edit++) {
            bad->data[draw(source, bad->count)] = (char)draw(source, 256);
        }
    }
}

static void put_file(const char *path, const Bytes *bytes)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes->data, 1, bytes->count, file) != bytes->count ||
        fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static Status read_rollout(const char *folder, const char *path, const Bytes *bytes)
{
    (void)folder, (void)bytes;
    RolloutFile file = {0};
    const Status status = rollout_read(&file, path, NULL, VOCABULARY);
    rollout_free(&file);
    return status;
}

static Status read_pairs(const char *folder, const char *path, const Bytes *bytes)
{
    (void)folder, (void)bytes;
    Preferences pairs = {0};
    const Status status = preferences_read(&pairs, path, NULL, VOCABULARY);
    preferences_free(&pairs);
    return status;
}

static Status read_samples(const char *folder, const char *path, const Bytes *bytes)
{
    (void)folder, (void)bytes;
    SampleFile file;
    const Status status = sample_file_read(&file, path, NULL, VOCABULARY);
    sample_file_free(&file);
    return status;
}

/* Weights and moments. The manifest is made to fit, so that the hash is not what notices. */
static Status read_checkpoint(const char *folder, const char *path, const Bytes *bytes)
{
    (void)path;
    Manifest manifest = {.stage = "mutant"};
    Model model = {0};
    AdamW moments = {0};
    const ModelShape expected = {.vocabulary = VOCABULARY};
    TRY(manifest_add_known(&manifest, "policy.h5", bytes->count,
                           digest_of(bytes->data, bytes->count)));
    const Status status = network_read(&model, &moments, folder, "policy", &manifest, &expected);
    model_free(&model);
    adamw_free(&moments);
    return status;
}

typedef struct Kind {
    const char *name, *file;
    Status (*read)(const char *folder, const char *path, const Bytes *bytes);
} Kind;

static const Kind kinds[] = {
    {"rollout", "rollout.h5", read_rollout},
    {"pairs", "comparisons.h5", read_pairs},
    {"samples", "samples.h5", read_samples},
    {"checkpoint", "policy.h5", read_checkpoint},
};

static int read_mutants(const Kind *kind, uint64_t seed, int count, const char *from,
                        const char *scratch)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", scratch, kind->file);
    Bytes good = {0}, bad = {0};
    if (io_read(&good, from, (size_t)1 << 30) != STATUS_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    Rng rng = rng_stream(seed, RNG_TEST, 0, 0, 0, 0);
    gsl_rng source = rng_gsl(&rng);
    int data = 0, crashed = 0, late = 0, odd = 0;
    double slowest = 0.0;
    for (int i = 0; i < count; i++) {
        mutate(&bad, &good, &source);
        put_file(path, &bad);
        const double begun = now();
        const Status status = kind->read(scratch, path, &bad);
        const double taken = now() - begun;
        slowest = taken > slowest ? taken : slowest;
        data += status == STATUS_OK;
        if (status == STATUS_OK) continue;
        crashed += strstr(status_message(), "crashed on it") != NULL;
        late += strstr(status_message(), "to read it") != NULL;
        if (status != STATUS_DATA || strstr(status_message(), scratch) == NULL) {
            odd++;
            fprintf(stderr, "mutant %d: status %d: %s\n", i, (int)status, status_message());
        }
    }
    printf("%d mutants: %d data, %d refused; of these the reader crashed on %d and was stopped on "
           "%d; slowest %.2f s\n",
           count, data, count - data, crashed, late, slowest);
    bytes_free(&good);
    bytes_free(&bad);
    return odd > 0;
}

int main(int count, char **words)
{
    if (count > 2 && strcmp(words[1], "read") == 0) {
        for (int i = 2; i < count; i++) read_one(words[i]);
        return 0;
    }
    for (size_t k = 0; count == 6 && k < sizeof kinds / sizeof kinds[0]; k++) {
        if (strcmp(words[1], kinds[k].name) != 0) continue;
        return read_mutants(&kinds[k], strtoull(words[2], NULL, 10), atoi(words[3]), words[4],
                            words[5]);
    }
    fprintf(stderr, "usage: hostile_reader read FILE... | KIND SEED COUNT FILE SCRATCH\n");
    return 2;
}
