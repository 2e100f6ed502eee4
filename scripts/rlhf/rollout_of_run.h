/* The rollouts of one PPO step of a run, ready to look at: numbers, text, and what is made of them
 * for people. */
#ifndef SCRIPTS_RLHF_ROLLOUT_OF_RUN_H
#define SCRIPTS_RLHF_ROLLOUT_OF_RUN_H

#include "data/rollout.h"
#include "data/stage.h"
#include "data/tokenizer.h"

/* Steps whose rollouts a run has, rising. Zero-initialise; free with memory_release(list.step). */
typedef struct StepList {
    int count;
    int64_t *step;
} StepList;

/* None: STATUS_DATA that says what to run. */
Status rollout_steps(StepList *steps, const char *run);

typedef struct RunRollout {
    char run[STAGE_PATH];
    RolloutFile file;
    Tokenizer *tokenizer;
    double *gap; /* (N) z(score) - z(gold), each over the step; NULL where the task has no gold */
} RunRollout;

/* `step` 0 is the newest. No such step: STATUS_DATA with those there are. */
Status run_rollout_open(RunRollout *view, const char *run, int64_t step);
void run_rollout_close(RunRollout *view); /* fine on a zeroed one */

/* Append bytes as they are; the end token of an answer gives none. */
Status run_rollout_prompt(Bytes *text, const RunRollout *view, int64_t row);
Status run_rollout_answer(Bytes *text, const RunRollout *view, int64_t row);
/* One token, by its place in the file; the end token is "<|endoftext|>". */
Status run_rollout_token(Bytes *text, const RunRollout *view, int64_t token);
/* logp - reference_logp of a token, nats. */
double run_rollout_k1(const RunRollout *view, int64_t token);

#endif
