/* rlhf watch: what is known of a run that goes on elsewhere, and a picture of it in text. Only
 * looks: changes nothing. */
#ifndef SCRIPTS_RLHF_WATCH_H
#define SCRIPTS_RLHF_WATCH_H

#include "data/memory.h"
#include "data/metrics.h"
#include "data/tokenizer.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/status.h"

enum { WATCH_NONE = -1 };

typedef struct WatchView {
    const Pipeline *pipeline;
    RunStatus run;
    int at;    /* the stage at work, or the last one finished; WATCH_NONE: nothing has begun */
    int drawn; /* the stage whose curves are shown; WATCH_NONE: none has two steps */
    MetricColumns journal; /* of `drawn` */
    double *step;          /* (journal.rows) */
    /* the newest answers to the fixed prompts, safe to show */
    int64_t sample_step; /* WATCH_NONE: there are none */
    Texts prompts, answers;
    uint64_t samples_size; /* of the file they were read from */
    Tokenizer *tokenizer;
} WatchView;

/* {.pipeline = ...} to begin with. A file that is being replaced is STATUS_DATA or STATUS_IO: the
 * view is then partly old, and reading again is fine. */
Status watch_read(WatchView *view);
void watch_free(WatchView *view);

/* A picture of `rows` lines of at most `columns` columns; no escape sequence, no line break. */
typedef struct WatchFrame {
    Texts lines;
    int bold[2]; /* which lines are headings */
} WatchFrame;

Status watch_draw(WatchFrame *frame, const WatchView *view, int columns, int rows);
void watch_frame_free(WatchFrame *frame);

/* "ppo step 12/40  kl 0.31  scores 0.2  gold 0.1  ETA 0:12" */
Status watch_line(Bytes *line, const WatchView *view);
/* What the run is at and what to do about it, safe to show. */
Status watch_describe(Bytes *line, const WatchView *view);

#endif
