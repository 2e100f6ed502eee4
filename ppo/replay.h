/* Updates of a PPO stage repeated from its files, bit for bit: from a kept checkpoint and the
 * rollouts behind it. Generates nothing and writes nothing.
 *
 * A number that comes out otherwise than the run has it: STATUS_BROKEN, naming file, step and
 * place. A file that is missing or damaged: STATUS_DATA. */
#ifndef PPO_REPLAY_H
#define PPO_REPLAY_H

#include "ppo/ppo_run.h"

#include <stdbool.h>

typedef struct Replay {
    PpoJob job;
    PpoRun run;            /* run.state.step: updates done; run.rollout: of `file` */
    MetricColumns journal; /* row i is of step i + 1 */
    char journal_path[STAGE_PATH];
    int64_t steps;   /* updates that the run has done: rows of its journal */
    bool finished;   /* the stage has published */
    int64_t *kept;   /* (kepts) steps that have a checkpoint, ascending */
    int kepts;
    RolloutFile file; /* the rollouts last read */
    char file_path[STAGE_PATH];
    Rollout again; /* columns computed again: room for a whole iteration */
    Arena arena;
    /* What the weights after the last update were equal to. */
    bool as_next_rollout, as_checkpoint, as_published;
    int64_t tokens; /* response tokens scored again so far */
} Replay;

/* Memory, inputs and journal. Sets folder, checkpoint and checkpoint_manifest of job->stage and
 * nothing else of it: the stage is not opened. Never begun: STATUS_DATA. Free with replay_close,
 * also after a failure. */
Status replay_open(Replay *replay, const PpoJob *job);
void replay_close(Replay *replay);

/* Networks, moments and coefficient of the nearest checkpoint at or before `step`; where there is
 * none, those before step 1. */
Status replay_seek(Replay *replay, int64_t step);

/* Reads rollouts/NNNNNN.h5 into replay->file and run.rollout; checks that it is one of this run. */
Status replay_read_rollout(Replay *replay, int64_t step);

/* The next update. Compared: hashes of the networks, log-probabilities, values and scores with the
 * rollouts; the metrics that do not follow from them with the journal; weights (and moments)
 * after it with the rollouts of the next step, the checkpoint of this one and what the stage
 * published, as far as there are. */
Status replay_update(Replay *replay);

#endif
