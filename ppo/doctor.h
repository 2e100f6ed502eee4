/* The doctor: which stage of a run is broken, by what anybody has who trains on labels.
 *
 * Gates look at a finished stage before work goes on from it; alarms look at PPO's steps. Read are
 * config.json, run.json, the journals, the tokenizer and the task's held-out documents, the labelled
 * pairs, the reward model and its calibration.json; no finding rests on gold or what comes of it: a
 * run without gold gets the same diagnosis. It only looks. */
#ifndef PPO_DOCTOR_H
#define PPO_DOCTOR_H

#include "data/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DIAGNOSIS_MAX = 40, EVIDENCE_TEXT = 240, VERDICT_TEXT = 320 };

typedef enum FindingMark {
    FINDING_FINE,   /* looked at, nothing wrong */
    FINDING_ALARM,  /* PPO went wrong here */
    FINDING_FAILED, /* a gate: what follows builds on sand */
} FindingMark;

/* One thing looked at. */
typedef struct Finding {
    FindingMark mark;
    const char *stage; /* whose fault it would be: "label" for labels that mislead the reward model */
    const char *name;  /* short and stable: "kl-explosion" */
    int64_t step;      /* PPO: the first at which it shows; 0: it belongs to no step */
    char evidence[EVIDENCE_TEXT]; /* one sentence with figures */
    const char *cause;            /* the likely one; NULL where fine */
    const char *advice;           /* what to set: "--set ppo.kl_coef=0.1"; NULL where fine */
} Finding;

typedef struct Diagnosis {
    int count;
    Finding finding[DIAGNOSIS_MAX]; /* stage by stage, in the order of a run */
} Diagnosis;

/* Looks at what `run` has so far: finished stages (`stage` NULL: all; else this one's checks) and
 * PPO's steps as far as they are. A stage that is not there is left out. Damaged files: STATUS_DATA;
 * a file that a finished stage should have and has not: STATUS_DATA. */
Status doctor_examine(Diagnosis *diagnosis, const char *run, const char *stage);

/* The worst of `stage` (NULL: of all): a gate that failed, then an alarm; among equals the earliest
 * in the run, of a step the first. NULL: nothing wrong. */
const Finding *diagnosis_worst(const Diagnosis *diagnosis, const char *stage);
/* The stage to mend first: the earliest with anything wrong; NULL: healthy. */
const char *diagnosis_stage(const Diagnosis *diagnosis);
bool diagnosis_gate_failed(const Diagnosis *diagnosis);
/* One line: "fine: 3 checks" or the worst finding and its evidence. */
void diagnosis_verdict(char text[VERDICT_TEXT], const Diagnosis *diagnosis);
/* "fine", "alarm" or "failed". */
const char *finding_mark_text(FindingMark mark);

#endif
