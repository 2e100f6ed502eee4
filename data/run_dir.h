/* A run directory: lock, resolved settings, one entry a life in run.json. */
#ifndef DATA_RUN_DIR_H
#define DATA_RUN_DIR_H

#include "data/json.h"
#include "data/path.h"
#include "data/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct RunDir {
    char path[PATH_TEXT];
    int lock;      /* descriptor; -1: not held */
    bool has_life; /* run.json tells of this life */
} RunDir;

/* Makes the folder where it is missing and takes the lock. Held by another process: STATUS_LOCKED
 * with its pid and host. Unwritable: STATUS_IO. */
Status run_dir_open(RunDir *run, const char *path);
void run_dir_close(RunDir *run);

/* True where the folder holds config.json. */
bool run_dir_exists(const char *path);

/* Publishes config.json, the text given. */
Status run_dir_write_config(const RunDir *run, const char *text);

/* Adds this life to run.json: what changed no result (versions, host, threads, BLAS kernel,
 * options, times). `entry` is one JSON object as text. */
Status run_dir_add_life(RunDir *run, const char *entry);

/* Says in run.json how the life added last ended: its exit status, `reason` and the time. */
Status run_dir_end_life(const RunDir *run, int exit_status, const char *reason);

/* The first of the lives that run.json tells of, in `document`, which is to be freed also where this
 * fails; no run.json is no life. */
Status run_dir_lives(JsonDocument **document, Json *first, const char *path);

/* The last life of the run at `path`, as run.json tells it. */
typedef struct RunLife {
    int lives;         /* 0: never begun */
    bool ended;        /* it said how; false: it runs, or nothing could be said any more */
    int64_t exit_status;
    int64_t process;
    char started[32], ended_at[32], host[128], reason[512];
} RunLife;

/* No run.json is no lives. */
Status run_dir_last_life(RunLife *life, const char *path);

#endif
