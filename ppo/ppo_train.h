/* Stage 5: proximal policy optimisation against the reward model (Ziegler et al. 2019;
 * Stiennon et al. 2020).
 *
 * An iteration generates, scores, shapes and closes rollouts/NNNNNN.h5; the update is a function of
 * that file and of the checkpoint of the step before, and of nothing else. Gold is computed for
 * the file and the journal and read by nothing. */
#ifndef PPO_PPO_TRAIN_H
#define PPO_PPO_TRAIN_H

#include "data/stage.h"
#include "data/tasks/task.h"
#include "ppo/faults.h"
#include "ppo/ppo_config.h"
#include "ppo/ppo_metrics.h"

typedef struct PpoJob {
    Stage *stage;
    const Task *task;
    const PpoConfig *config;
    const char *sources; /* of the stage, into rollout files for people */
    int64_t text_rows;       /* rollout.text_rows */
    const Fault *fault; /* a mistake made on purpose; NULL: none */
    /* options: which checkpoints are kept for good */
    int64_t keep_every; /* every so many steps; 0: a tenth of the run */
    double kl_budget;   /* the best proxy up to this objective/kl, nats a sequence; 0: 15 */
} PpoJob;

/* Reads sft/policy.h5 and reward/model.h5; leaves policy.h5, critic.h5, tokenizer.json, rollouts/
 * and samples.h5. */
Status ppo_run(const PpoJob *job);

#endif
