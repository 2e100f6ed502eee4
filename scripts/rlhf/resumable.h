/* May a run go on from what lies there? A stage is bound to the settings, the data and the inputs it
 * was made from; one that is under way to the program and its BLAS kernel too. What differs is told
 * by name, and nothing but a damaged checkpoint, which is moved aside, is touched. */
#ifndef SCRIPTS_RLHF_RESUMABLE_H
#define SCRIPTS_RLHF_RESUMABLE_H

#include "scripts/rlhf/pipeline.h"

/* Stages 0 to `last`, up to where work begins. Made from something else, or by another program
 * unless `force`: STATUS_SETTINGS, what differs and what to do. Damaged: STATUS_DATA. */
Status check_resumable(const Pipeline *pipeline, int last, bool force);

/* The failure of a stage that cannot be taken as it lies there (STAGE_CHANGED, STAGE_DAMAGED). */
Status needs_restart(const Pipeline *pipeline, int index);

/* Appends the paths of a stage's checkpoints that were found damaged and moved aside. */
Status damaged_checkpoints(Texts *paths, const char *run, const char *stage);

#endif
