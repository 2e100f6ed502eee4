/* What every stage is given and leaves behind, whatever it computes: a folder, a seed, hooks, the
 * journals, checkpoints and the manifest that says "finished".
 *
 * A stage never prints and never asks the clock for anything but timings.jsonl and event files. */
#ifndef DATA_STAGE_H
#define DATA_STAGE_H

#include "data/checkpoint.h"
#include "data/events.h"
#include "data/manifest.h"
#include "data/metrics.h"
#include "data/path.h"
#include "data/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { STAGE_SHOWN_MAX = 4, STAGE_PATH = PATH_TEXT };

typedef struct StageProgress {
    const char *stage;
    int64_t step, steps;
    int64_t tokens;      /* sequence tokens worked through by this call's step(s) */
    int shown;           /* the two or three numbers that matter */
    const char *name[STAGE_SHOWN_MAX];
    double value[STAGE_SHOWN_MAX];
} StageProgress;

typedef struct StageHooks {
    void *context;
    void (*progress)(void *context, const StageProgress *progress); /* may be NULL */
    bool (*should_stop)(void *context);                             /* may be NULL */
    bool (*should_checkpoint)(void *context); /* asked once a step; may be NULL */
} StageHooks;

/* What a step's time is told apart into, "time/NAME" in timings.jsonl. */
typedef enum StageTime {
    TIME_INVARIANTS,
    TIME_ROLLOUT_FILE,
    TIME_CHECKPOINT,
    STAGE_TIMES
} StageTime;

typedef struct Stage {
    /* set by the caller */
    const char *name;     /* "ppo" */
    const char *run;      /* the run directory */
    uint64_t seed;
    int threads;          /* changes no result */
    double checkpoint_seconds; /* a checkpoint at least this often; 0: only on a signal */
    Digest made_from;     /* settings that count and inputs; binds manifest and checkpoints */
    const char *sources;  /* the JSON text that made_from is the digest of, kept beside the results
                           * as made_from.json; NULL: not kept */
    const char *made_by;  /* the program and its BLAS kernel, told in checkpoints; may be NULL */
    StageHooks hooks;
    bool tensorboard;     /* write an event file; changes no result */
    const char *config;   /* resolved config.json, for the event file; may be NULL */

    /* filled by stage_open */
    char folder[STAGE_PATH]; /* run/name */
    const MetricTable *table;
    Journal metrics;
    IoLog timings;
    EventLog events; /* does nothing where there is to be none */
    bool resumed;
    int64_t step;                      /* steps done, from the checkpoint */
    char checkpoint[STAGE_PATH];       /* folder of the checkpoint to load, where resumed */
    Manifest checkpoint_manifest;
    int damaged;                       /* checkpoints found damaged and moved aside */
    double last_checkpoint, last_record; /* seconds, monotonic */
    double checkpoint_began;
    double time[STAGE_TIMES]; /* seconds since the last record, added up by who took them */
    int64_t last_step;                 /* newest checkpoint of this stage; -1: none */
    double next_snapshot;              /* when a checkpoint makes metrics.h5 anew; monotonic */
} Stage;

/* Makes the folder and opens the journals; goes on from the newest valid checkpoint whose
 * made_from is this stage's, with the journal cut back to the length in the checkpoint's manifest.
 * metrics.h5 is removed: it may tell of more. Where there is none it starts clean: all that lies in
 * the folder is removed, manifest.json first. A journal that begins like no whole checkpoint's,
 * whatever that was made from: STATUS_DATA. */
Status stage_open(Stage *stage, const MetricTable *table);

/* One step is done: a row in metrics.jsonl; one in timings.jsonl (step, seconds since the last
 * record, tokens, tokens_per_second, max_resident_kb; time/NAME where that took any); progress to
 * the hook. `value` as in journal_write; `shown` names up to STAGE_SHOWN_MAX metrics, NULL-ended;
 * may be NULL. The event file gets the row, with what was added to stage->events before. */
Status stage_record(Stage *stage, int64_t step, int64_t steps, int64_t tokens, const double *value,
                    const char *const *shown);

/* A clock for timings.jsonl and nothing else, seconds. */
double stage_seconds(void);

/* True when the stage should leave (signal, --max-hours): commit, then return STATUS_STOPPED. */
bool stage_should_stop(const Stage *stage);
/* The same inside a piece of work whose threads all ask, so the hook must be fit for that:
 * STATUS_STOPPED, "stopped", where it says so. NULL: nobody asks. */
Status stage_leave(const StageHooks *hooks);
/* True when a checkpoint is due: time, signal, or about to stop. */
bool stage_checkpoint_due(const Stage *stage);

/* Checkpoint `step` begins; `folder` gets the empty folder that its files are to be put into. */
Status stage_checkpoint_begin(Stage *stage, char folder[PATH_TEXT], int64_t step);
/* It is made of `names`, which lie there. Makes metrics.h5 anew where that is a minute old; it is no
 * part of the checkpoint. */
Status stage_checkpoint(Stage *stage, const char *folder, int64_t step, const char *const *names,
                        int count, const int64_t *keep, int keeps);

/* Publishes metrics.h5, unless the journal is too long for one, and writes the manifest over `names`
 * (files in the folder), metrics.jsonl, metrics.h5 and made_from.json; then removes all checkpoints
 * but those of the steps in `keep`. */
Status stage_finish(Stage *stage, int64_t step, const char *const *names, int count,
                    const int64_t *keep, int keeps);
/* Closes what is open; fine on a stage that failed or never opened. Who opens a stage closes it:
 * pretrain_run, sft_run and the others do both, their callers neither. */
void stage_close(Stage *stage);

/* A file that an earlier stage published: its path (STAGE_PATH bytes) and digest (may be NULL).
 * Missing or not matching: STATUS_DATA, which file, what was expected, what to run, e.g.
 * "runs/a/sft/manifest.json: missing; run: rlhf sft runs/a". */
Status stage_input(char *path, Digest *digest, const char *run, const char *stage,
                   const char *file);

#endif
