/* The data flow: which stage reads what, which settings count for it, and the job it is handed.
 *
 * A stage is bound to what it was made from by one digest: the format, the settings that count, the
 * data outside the program and the manifests of the stages it reads. Equal digest, equal result; so
 * a finished stage is skipped like a target of make. */
#ifndef SCRIPTS_RLHF_PIPELINE_H
#define SCRIPTS_RLHF_PIPELINE_H

#include "data/io.h"
#include "data/manifest.h"
#include "data/metrics.h"
#include "data/stage.h"
#include "data/tasks/task.h"
#include "ppo/ppo_train.h"
#include "scripts/rlhf/settings.h"

enum { STAGE_PPO = 4, STAGES = 6 }; /* STAGE_PPO: its index */

typedef struct Pipeline {
    const Settings *settings;
    const Options *options;
    const char *run; /* the run directory */
    StageHooks hooks;
    Task task;
    Digest data;     /* of the task's data outside the program */
    Bytes config;    /* resolved config.json */
} Pipeline;

/* What one stage is. */
typedef struct PipelineStage {
    const char *name;
    const char *const *sections; /* settings that count, NULL-ended */
    const char *const *inputs;   /* stages it reads, NULL-ended */
    const MetricTable *metrics;
    Status (*run)(const Pipeline *pipeline, Stage *stage);
} PipelineStage;

extern const PipelineStage pipeline_stages[STAGES]; /* in the order they run */

/* Index of the stage of that name; unknown: STATUS_USAGE with the nearest. */
Status pipeline_find(int *index, const char *name);

typedef enum StageState {
    STAGE_MISSING,  /* never begun */
    STAGE_BEGUN,    /* no manifest yet */
    STAGE_FINISHED, /* made from these settings and inputs */
    STAGE_CHANGED,  /* made from others */
    STAGE_DAMAGED,  /* its manifest cannot be read */
} StageState;

/* Opens the task. */
Status pipeline_open(Pipeline *pipeline);
void pipeline_close(Pipeline *pipeline);

/* What `index` would be made from, as JSON: the format, the data's hash, its inputs' and the
 * settings that count. The inputs must be there: STATUS_DATA, what to run. */
Status pipeline_sources(Bytes *text, const Pipeline *pipeline, int index);
/* The digest of that text. */
Status pipeline_made_from(Digest *digest, const Pipeline *pipeline, int index);
/* Only looks. A stage whose inputs are not there is missing, begun or changed. */
Status pipeline_state(StageState *state, const Pipeline *pipeline, int index);
/* What a Stage points to; `text` is to be freed. */
typedef struct PipelineSources {
    Bytes text;
    char made_by[MADE_BY];
} PipelineSources;

/* A stage as its job gets it; bound to what it would be made from. */
Status pipeline_stage(Stage *stage, PipelineSources *sources, const Pipeline *pipeline, int index);
PpoJob pipeline_ppo_job(const Pipeline *pipeline, Stage *stage);
Status pipeline_run_stage(const Pipeline *pipeline, int index);
/* Deletes what stages index and later left. */
Status pipeline_forget(const char *run, int index);

#endif
