/* Plays files, and all files of folders, to a fuzz target: each must be done with within a second,
 * all within the memory that a campaign has. Arguments: files and folders. */
#include "tests/fuzz/fuzz.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

/* Sanitizers take several times the memory and the time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SECONDS = 5, MEGABYTES = 2048 };
#else
enum { SECONDS = 1, MEGABYTES = 512 };
#endif

static int played, failed;

/* Of CPU, so that a busy machine fails nothing. */
static double seconds_used(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void play_file(const char *path)
{
    Bytes input = {0};
    FUZZ_MUST(io_read(&input, path, (size_t)1 << 30) == STATUS_OK);
    /* A block of exactly this size, so that a read behind its end is seen. */
    uint8_t *bytes = malloc(input.count > 0 ? input.count : 1);
    FUZZ_MUST(bytes != NULL);
    if (input.count > 0) memcpy(bytes, input.data, input.count);
    const double begun = seconds_used();
    LLVMFuzzerTestOneInput(bytes, input.count);
    const double taken = seconds_used() - begun;
    free(bytes);
    bytes_free(&input);
    played++;
    if (taken > SECONDS) {
        fprintf(stderr, "%s: took %.1f s\n", path, taken);
        failed = 1;
    }
}

static void play(const char *path)
{
    struct stat facts;
    FUZZ_MUST(stat(path, &facts) == 0);
    if (!S_ISDIR(facts.st_mode)) {
        play_file(path);
        return;
    }
    Texts names = {0};
    FUZZ_MUST(io_list(&names, path) == STATUS_OK);
    for (int i = 0; i < names.count; i++) {
        size_t count;
        char inner[512];
        const char *name = texts_at(&names, i, &count);
        snprintf(inner, sizeof inner, "%s/%.*s", path, (int)count, name);
        play_file(inner);
    }
    texts_free(&names);
}

int main(int count, char **paths)
{
    for (int i = 1; i < count; i++) play(paths[i]);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    if (used.ru_maxrss / 1024 > MEGABYTES) {
        fprintf(stderr, "%ld MB of memory\n", used.ru_maxrss / 1024);
        failed = 1;
    }
    printf("%d inputs\n", played);
    return played > 0 ? failed : 1;
}
