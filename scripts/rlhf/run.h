/* One run: the stages in order, finished ones skipped, under the lock of its directory. */
#ifndef SCRIPTS_RLHF_RUN_H
#define SCRIPTS_RLHF_RUN_H

#include "data/run_dir.h"
#include "scripts/rlhf/cli.h"
#include "scripts/rlhf/pipeline.h"

typedef struct RunRequest {
    Settings settings;
    Options options;
    char run[STAGE_PATH]; /* the run directory */
    int first, last;      /* stages */
    bool resume;          /* a directory that holds a run is gone on with */
    int restart;          /* the first stage to do again; -1: none */
    bool force;           /* go on although a gate failed or another program began a stage */
    bool json;            /* scorecard instead of tables */
    bool quiet;           /* no tables: part of a sweep */
    const char *prefix;   /* before lines of progress, NULL: none */
} RunRequest;

Status run_execute(const RunRequest *request, FILE *out, FILE *errors);

/* The run directory as it is written in paths: no trailing slash; too long: STATUS_USAGE. */
Status run_path(char path[STAGE_PATH], const char *text);

/* "quickstart" or "my" of "a/my.json": what runs of this source are called. */
void run_source_name(char name[64], const char *source);

/* Adds this life of the run to run.json: versions, host, threads, BLAS kernel, options, time. */
Status life_record(RunDir *directory, const Options *options);

/* The options of the run's last life that a resumed one keeps: checkpoint_seconds, keep_every,
 * tensorboard, check_room. Without a life nothing changes. */
Status life_options(Options *options, const char *run);

/* Refuses to begin where what is left to do cannot fit: less than half of the disk's estimate is
 * free (STATUS_IO), or less memory is available than the hungriest stage needs (STATUS_FAILED). */
Status plan_check(const RunRequest *request, const Pipeline *pipeline);

/* What `--dry-run` says. */
Status plan_print(FILE *out, const RunRequest *request);

/* --seeds and lists in --set: one run a combination. */
typedef struct SweepRequest {
    const char *source;       /* preset or file */
    const char *folder;       /* runs are made below it */
    const char *seeds;        /* "1..5", "1,2,3" or NULL */
    const char *const *set;   /* assignments, in order */
    int sets;
    int jobs;
    RunRequest base;          /* flags of every run */
} SweepRequest;

/* Does the assignment name several values: a comma list on a numeric setting? */
bool sweep_is_list(const char *assignment);
Status sweep_execute(const SweepRequest *request, FILE *out, FILE *errors);

#endif
