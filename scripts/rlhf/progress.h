/* Where a run stands: one redrawn line on a terminal, a plain line every few seconds elsewhere; the
 * plain lines also go to log.txt. */
#ifndef SCRIPTS_RLHF_PROGRESS_H
#define SCRIPTS_RLHF_PROGRESS_H

#include "data/io.h"
#include "data/stage.h"
#include "scripts/rlhf/terminal.h"

typedef struct Progress {
    Terminal terminal;
    IoLog log;            /* closed: none */
    char prefix[64];      /* before every plain line, where several runs share a terminal */
    const char *stage;    /* NULL before the first */
    double started;       /* of this stage, seconds, monotonic */
    double last_drawn, last_plain;
    int64_t first_step;   /* steps done before this life */
    double tokens;        /* of this stage in this life */
    bool drawn;           /* a redrawn line stands on the terminal */
} Progress;

Progress progress_on(FILE *file);
/* Opens run/log.txt for appending. */
Status progress_log(Progress *progress, const char *run);
void progress_close(Progress *progress);

/* The hook of a stage. */
void progress_step(Progress *progress, const StageProgress *now);
/* A line of its own, on the terminal and in the log. */
void progress_say(Progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A stage begins; ends, with its time. */
void progress_begin(Progress *progress, const char *stage);
void progress_end(Progress *progress, const char *outcome);

#endif
