/* Whether a run is what it says: files against hashes, everything that follows from the numbers
 * of a rollout computed again, updates repeated (ppo/replay.h). Writes nothing.
 *
 * What does not hold, a missing or damaged file too: STATUS_BROKEN, file first. */
#ifndef PPO_VERIFY_H
#define PPO_VERIFY_H

#include "ppo/replay.h"

/* What was found equal, so far. */
typedef struct VerifyReport {
    int stages;
    int64_t files;
    uint64_t bytes;
    int64_t rollouts, answers, tokens; /* files, answers and response tokens */
    int64_t updates;
    int64_t scored; /* response tokens that the networks scored again */
} VerifyReport;

/* The manifest of run/STAGE is of that stage and made from `made_from`; every file it names, and
 * for ppo every file of rollouts/, has its size and hash. */
Status verify_files(VerifyReport *report, const char *run, const char *stage, Digest made_from);

/* Rewards, advantages, returns, kl, rlhf_reward and score of the rollouts in replay->file from
 * logp, reference_logp, value and raw_score; gold and prompts by the task; the metrics from PPO_KL
 * to PPO_EXPLAINED_VAR into value[PPO_METRICS]. Compared with the columns of the file. */
Status verify_rollout(double *value, Replay *replay);

/* All rollout files of the run: the above, the KL coefficient by its rule, the metrics against the
 * journal. */
Status verify_rollouts(VerifyReport *report, Replay *replay);

/* Repeats updates first .. last; first 0: those after every kept checkpoint and the very first. */
Status verify_updates(VerifyReport *report, Replay *replay, int64_t first, int64_t last);

/* A file of the ppo stage is not what it was (`status`, STATUS_BROKEN): adds which number in it
 * does not follow from the others, if one does not. */
Status verify_locate(Status status, const PpoJob *job);

#endif
