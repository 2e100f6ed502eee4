/* ppo/samples.h5 read back: the fixed prompts answered through time. The stage goes on from it, and
 * people look at it. */
#ifndef PPO_SAMPLE_FILE_H
#define PPO_SAMPLE_FILE_H

#include "data/sequences.h"
#include "data/store/store.h"

/* Samples in the order they were drawn: all prompts of one step, then of the next. Free with
 * sample_file_free. */
typedef struct SampleFile {
    int count;
    Sequences answers;
    /* (count) */
    const int64_t *step, *prompt_id;
    const float *score, *gold; /* gold NaN where the task has none */
    const uint8_t *terminated;
    StoreContent content; /* owns the columns */
} SampleFile;

enum { SAMPLE_FORMAT_VERSION = 1 };

/* Checked: `expected` (may be NULL), version, lengths, offsets, ids below `vocabulary`. STATUS_DATA
 * with path and cause. */
Status sample_file_read(SampleFile *file, const char *path, const Digest *expected, int vocabulary);

/* Those of a run that has some. Once its PPO stage is finished they must be what the manifest names;
 * before that nothing vouches for them. */
Status sample_file_of_run(SampleFile *file, const char *run, int vocabulary);

void sample_file_free(SampleFile *file); /* fine on a zeroed one */

#endif
