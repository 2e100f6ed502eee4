/* Checkpoints of a stage: STAGE/checkpoints/step-000400/, a folder of files and a manifest,
 * renamed into place, so it exists whole or not at all. What is in the files is the stage's
 * business; this knows names, order, validity and which to delete. */
#ifndef DATA_CHECKPOINT_H
#define DATA_CHECKPOINT_H

#include "data/manifest.h"
#include "data/path.h"
#include "data/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Starts checkpoint `step` of `stage_folder`: an empty folder with a temporary name, whose path is
 * left in `folder` for the stage to publish its files into. */
Status checkpoint_begin(char folder[PATH_TEXT], const char *stage_folder, int64_t step);

/* Writes the manifest over `names`, renames the folder into place (manifest->step names it); a step
 * that is committed already stays as it is. Only after it is durable are older ones deleted: all
 * but the newest two and the steps in `keep`. */
Status checkpoint_commit(const char *folder, const char *stage_folder, Manifest *manifest,
                         const char *const *names, int count, const int64_t *keep, int keeps);

/* The newest checkpoint whose files all match their hashes and that the stage's journal still
 * begins like; those that do not are moved aside to "damaged-step-..." and counted in *damaged.
 * *found is false where there is none; `folder` gets its path. Where the journal fits none of the
 * whole ones: STATUS_DATA, the journal named, and they stay. */
Status checkpoint_newest(bool *found, char folder[PATH_TEXT], Manifest *manifest, int *damaged,
                         const char *stage_folder);

/* Path of the checkpoint of `step`, verified; STATUS_DATA where there is none, with the steps there
 * are. Changes nothing. */
Status checkpoint_at(char folder[PATH_TEXT], Manifest *manifest, const char *stage_folder,
                     int64_t step);

/* The steps that have a checkpoint, ascending; release *steps with memory_release. Verifies and
 * changes nothing. */
Status checkpoint_steps(int64_t **steps, int *count, const char *stage_folder);

/* Appends the names of the checkpoints that were found damaged and moved aside. */
Status checkpoint_damaged(Texts *names, const char *stage_folder);

/* Deletes all of them, and what was being built, but not those found damaged. */
Status checkpoint_clear(const char *stage_folder);

/* Deletes all but the steps in `keep`, and what was being built. */
Status checkpoint_finish(const char *stage_folder, const int64_t *keep, int keeps);

#endif
