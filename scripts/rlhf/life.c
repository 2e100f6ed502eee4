#include "scripts/rlhf/life.h"

#include "data/parallel.h"
#include "policy/gemm.h"
#include "scripts/rlhf/interrupt.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/versions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void versions_write(JsonWriter *json)
{
    json_put_text(json, "rlhf", RLHF_VERSION);
    json_put_text(json, "sources", PROGRAM_HASH);
    json_put_text(json, "hdf5", HDF5_BUILT_VERSION);
    json_put_text(json, "gsl", gsl_version);
    json_put_text(json, "blas", "OpenBLAS");
    json_put_text(json, "blas_kernel", gemm_kernel());
}

void versions_made_by(char text[MADE_BY])
{
    snprintf(text, MADE_BY, "rlhf %s (sources %s), BLAS kernel %s", RLHF_VERSION, PROGRAM_HASH,
             gemm_kernel());
}

static void write_options(JsonWriter *json, const Options *options)
{
    json_open(json, "options", '{');
    json_put_integer(json, "threads", options->threads);
    json_put_number(json, "checkpoint_seconds", options->checkpoint_seconds);
    json_put_integer(json, "keep_every", options->keep_every);
    json_put_number(json, "max_hours", options->max_hours);
    json_put_bool(json, "check_room", options->check_room);
    json_put_bool(json, "tensorboard", options->tensorboard);
    json_put_text(json, "out", options->out);
    json_close(json);
}

static Status write_life(Bytes *entry, const Options *options)
{
    char host[256] = "", started[32];
    gethostname(host, sizeof host - 1);
    const time_t now = time(NULL);
    struct tm utc;
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));

    JsonWriter json = json_writer(entry, 0);
    json_open(&json, NULL, '{');
    json_put_text(&json, "started", started);
    json_put_text(&json, "host", host);
    json_put_integer(&json, "process", getpid());
    json_put_integer(&json, "cpus", parallel_cpus());
    json_put_integer(&json, "threads", options->threads);
    versions_write(&json);
    write_options(&json, options);
    const char *ignored = getenv("OMP_NUM_THREADS");
    if (ignored != NULL) json_put_text(&json, "omp_num_threads_ignored", ignored);
    json_close(&json);
    return json_done(&json);
}

Status life_record(RunDir *directory, const Options *options)
{
    Bytes entry = {0};
    Status status = write_life(&entry, options);
    if (status == STATUS_OK) status = run_dir_add_life(directory, entry.data);
    bytes_free(&entry);
    return status;
}

/* Of the options only those that say how the run is kept, not what this machine or life is like. */
static void keep_options(Options *options, const Options *before)
{
    options->checkpoint_seconds = before->checkpoint_seconds;
    options->keep_every = before->keep_every;
    options->tensorboard = before->tensorboard;
    options->check_room = before->check_room;
}

Status life_options(Options *options, const char *run)
{
    const ConfigTable table = options_table();
    Options before;
    config_defaults(&table, &before);
    JsonDocument *document = NULL;
    Json life = {0}, next;
    Status status = run_dir_lives(&document, &next, run);
    for (; next.item != NULL && status == STATUS_OK; next = json_next(next)) life = next;
    const Json told = life.item != NULL ? json_find(life, "options") : life;
    if (told.item != NULL) status = config_apply(&table, &before, told);
    if (status == STATUS_OK && told.item != NULL) keep_options(options, &before);
    json_free(document);
    return status;
}

enum { PLACE = 64 };

/* "ppo step 3", "sft, finished" or "" where nothing is committed yet. */
static Status last_good(char place[PLACE], const char *run)
{
    place[0] = '\0';
    for (int i = 0; i < STAGES; i++) {
        char folder[STAGE_PATH], manifest[STAGE_PATH];
        TRY(path_join(folder, run, pipeline_stages[i].name));
        TRY(path_join(manifest, folder, "manifest.json"));
        if (io_exists(manifest)) {
            snprintf(place, PLACE, "%s, finished", pipeline_stages[i].name);
            continue;
        }
        int64_t *steps;
        int count;
        const Status status = checkpoint_steps(&steps, &count, folder);
        if (status == STATUS_OK && count > 0) {
            snprintf(place, PLACE, "%s step %" PRId64, pipeline_stages[i].name, steps[count - 1]);
        }
        memory_release(steps);
        return status;
    }
    return STATUS_OK;
}

/* Behind the reason: what is safe and what to do. */
static Status advise(const char *run)
{
    char reason[STATUS_TEXT], place[PLACE];
    status_keep(reason);
    STATUS_ASIDE(last_good(place, run));
    const bool full = strstr(reason, strerror(ENOSPC)) != NULL ||
                      strstr(reason, strerror(EDQUOT)) != NULL ||
                      strstr(reason, "of disk are needed") != NULL;
    return status_fail(STATUS_IO, "%.1000s; %s%s; %s, then run: rlhf %s%s", reason,
                       place[0] != '\0' ? "last good: " : "nothing is lost, as nothing was done",
                       place, full ? "free space" : "see to the disk",
                       run_dir_exists(run) ? "resume " : "run ... --resume --out ", run);
}

Status life_end(const RunDir *directory, const char *run, Status status)
{
    if (status == STATUS_IO) status = advise(run);
    if (!directory->has_life) return status;

    char reason[STATUS_TEXT];
    status_keep(reason);
    if (status == STATUS_OK) snprintf(reason, sizeof reason, "done");
    if (status == STATUS_STOPPED) {
        const char *name = interrupt_name();
        snprintf(reason, sizeof reason, "%s", name != NULL ? name : "--max-hours");
    }
    STATUS_ASIDE(run_dir_end_life(directory, (int)status, reason));
    return status;
}
