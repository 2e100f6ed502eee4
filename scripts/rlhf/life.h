/* One life of a run, from its start to whatever ended it. Its beginning is life_record in run.h. */
#ifndef SCRIPTS_RLHF_LIFE_H
#define SCRIPTS_RLHF_LIFE_H

#include "data/run_dir.h"
#include "data/status.h"

/* The life of `run` ends with `status`, which is returned: says how in run.json, where that tells
 * of it, and behind the reason of an I/O failure what the last good step is and what to do. */
Status life_end(const RunDir *directory, const char *run, Status status);

#endif
