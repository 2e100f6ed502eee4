/* What a run directory holds and what its run is at. Only looks: takes no lock, changes nothing. */
#ifndef SCRIPTS_RLHF_STATUS_H
#define SCRIPTS_RLHF_STATUS_H

#include "data/io.h"
#include "data/run_dir.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/summary.h"

typedef struct StageStatus {
    const char *name;
    StageState state;
    StageTimes times;
    int64_t steps; /* planned; 0: not known before it is done */
    uint64_t bytes;
} StageStatus;

extern const char *const stage_state_names[]; /* by StageState */

/* Seconds that a stage will still take; NAN where that is not known. */
double stage_seconds_left(const StageStatus *stage);

/* What the run as a whole is at. */
typedef enum RunState {
    RUN_NEW,
    RUN_RUNNING,
    RUN_FINISHED,
    RUN_PAUSED, /* ended well, before its last stage */
    RUN_STOPPED,
    RUN_FAILED,
    RUN_CRASHED, /* its last life did not say how it ended */
} RunState;

typedef struct RunStatus {
    RunState state;
    RunLife life;
    char holder[IO_HOLDER];
    StageStatus stage[STAGES];
    Texts damaged; /* checkpoints moved aside, as DIR/STAGE/checkpoints/NAME */
} RunStatus;

/* Zero-initialise; free with run_status_free, also after a failure. */
Status run_status_read(RunStatus *run, const Pipeline *pipeline);
void run_status_free(RunStatus *run);

/* Appends one line: what it is at, and what to do about it. */
Status run_status_describe(Bytes *line, const RunStatus *run, const char *path);

#endif
