#include "scripts/rlhf/run.h"

#include "data/parallel.h"
#include "policy/gemm.h"
#include "scripts/rlhf/versions.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void versions_write(JsonWriter *json)
{
    json_put_text(json, "rlhf", RLHF_VERSION);
    json_put_text(json, "hdf5", HDF5_BUILT_VERSION);
    json_put_text(json, "gsl", gsl_version);
    json_put_text(json, "blas", "OpenBLAS");
    json_put_text(json, "blas_kernel", gemm_kernel());
}

static void write_options(JsonWriter *json, const Options *options)
{
    json_open(json, "options", '{');
    json_put_integer(json, "threads", options->threads);
    json_put_number(json, "checkpoint_seconds", options->checkpoint_seconds);
    json_put_integer(json, "keep_every", options->keep_every);
    json_put_number(json, "max_hours", options->max_hours);
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

Status life_record(const RunDir *directory, const Options *options)
{
    Bytes entry = {0};
    Status status = write_life(&entry, options);
    if (status == STATUS_OK) status = run_dir_add_life(directory, entry.data);
    bytes_free(&entry);
    return status;
}
