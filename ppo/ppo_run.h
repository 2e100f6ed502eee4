/* What the PPO stage holds while it runs. For its own files: rollouts, samples, checkpoints and the
 * loop over iterations. */
#ifndef PPO_PPO_RUN_H
#define PPO_PPO_RUN_H

#include "data/digest_log.h"
#include "data/json.h"
#include "data/rollout.h"
#include "policy/generate.h"
#include "ppo/exact.h"
#include "ppo/ppo_score.h"
#include "ppo/ppo_train.h"
#include "ppo/ppo_update.h"

enum { PPO_SAMPLE_PROMPTS = 16, PPO_NONE = -1 };

/* Numbers that a checkpoint carries beside the networks. */
typedef struct PpoState {
    int64_t step;        /* iterations done */
    double kl_coef;      /* of the next iteration */
    int64_t proxy_step;  /* checkpoint with the best proxy inside the KL budget, or PPO_NONE */
    int64_t gold_step;   /* with the best gold, or PPO_NONE; says which to keep and nothing else */
    double proxy, gold;  /* of those */
    uint64_t list_size;  /* bytes of PPO_LIST_FILE up to here */
    Digest list;         /* of them */
} PpoState;

/* What was written into rollouts/, a line a step in PPO_LIST_FILE. Arrays: (steps). */
#define PPO_LIST_FILE "rollouts.jsonl"
typedef struct PpoList {
    DigestLog log;
    uint64_t *size;
    Digest *digest; /* taken of the bytes on their way to the disk */
} PpoList;

/* Answers to the 16 fixed prompts through time. */
typedef struct PpoSamples {
    Sequences answers;
    int count, capacity; /* samples */
    /* (capacity) */
    int64_t *step, *prompt_id;
    float *score, *gold;
    uint8_t *terminated;
} PpoSamples;

typedef struct PpoRun {
    const PpoJob *job;
    PpoConfig learning; /* the settings as scoring and update see them: the job's, but for faults */
    Tokenizer *tokenizer;
    Model policy, reference, reward_model, critic;
    Digest reference_digest, reward_digest; /* as they were at the start */
    PpoUpdater updater;
    PpoScorer scorer;
    PpoState state;
    PpoList list;
    int64_t last_checkpoint; /* its step, or PPO_NONE */
    int64_t critic_warmup;   /* first iterations that train only the critic */
    PpoSamples samples;
    bool enumerated; /* all answers are known, in `exact` */
    Exact exact;
    /* one iteration */
    Rollout rollout;
    GenerateRequest *request;   /* (rollouts) */
    double *entropy, *kl_exact; /* (tokens) */
    float *compact;             /* (tokens) scratch */
    Arena arena;
    Arena answering; /* what generate() keeps from call to call */
} PpoRun;

/* How answers are drawn: as they are scored, without top-k and top-p. */
GenerateConfig ppo_sampling(PpoRun *run, RngPurpose purpose, int64_t step);

/* ---- ppo_train.c ---- */

/* Tokenizer, reference and reward model from what earlier stages published. */
Status ppo_read_inputs(PpoRun *run);
/* Policy and critic as they are before step 1: out of the reference and the reward model. */
Status ppo_first_networks(PpoRun *run);
/* All other memory; moments that were read from a checkpoint take the place of fresh ones. */
Status ppo_claim_memory(PpoRun *run, AdamW *policy_moments, AdamW *critic_moments);
/* Everything from PPO_APPROXKL to PPO_EPISODE into value[PPO_METRICS], of the update from
 * run->rollout. */
void ppo_update_metrics(double *value, const PpoRun *run, const PpoUpdateReport *report);
void ppo_run_free(PpoRun *run);

/* ---- ppo_rollout.c ---- */

void ppo_rollout_layout(PpoRun *run, Arena *arena);
Status ppo_rollout_path(char path[STAGE_PATH], const PpoRun *run, int64_t step);
/* Answers, scores, rewards and advantages of iteration `step` into run->rollout and its metrics
 * into value[PPO_METRICS]; writes rollouts/NNNNNN.h5, then checks it (ppo/invariants.h). Asked to
 * stop: STATUS_STOPPED. */
Status ppo_rollout(PpoRun *run, int64_t step, double *value);
/* PPO_KL_EXACT and PPO_SAMPLING_ENTROPY, from run->kl_exact and run->entropy. */
void ppo_score_metrics(double *value, const PpoRun *run);

/* ---- ppo_list.c ---- */

void ppo_list_layout(PpoRun *run, Arena *arena);
/* Begins the list. Of a resumed stage: takes up that of the checkpoint, removes rollouts beyond it
 * and checks size and hash of the others; the first that differs is named: STATUS_DATA. */
Status ppo_list_open(PpoRun *run);
Status ppo_list_add(PpoRun *run, int64_t step); /* the step is done and its file written */
Status ppo_list_commit(PpoRun *run); /* synced; into run->state */
/* rollouts/manifest.json: size and hash of the files of all steps, as they were written. */
Status ppo_list_publish(const PpoRun *run);

/* ---- ppo_exact.c ---- */

/* Enumerates all answers, where the task is small enough. */
Status ppo_exact_open(PpoRun *run);
/* The exact values of the policy that made run->rollout, NaN where nothing is enumerated. Changes
 * nothing that training reads. */
Status ppo_exact_metrics(double *value, PpoRun *run);

/* ---- ppo_samples.c ---- */

void ppo_samples_layout(PpoRun *run, Arena *arena);
/* Answers of the policy as it is after `step`; changes nothing that training reads. */
Status ppo_samples_add(PpoRun *run, int64_t step);
Status ppo_samples_write(const PpoRun *run, const char *folder);
/* From a checkpoint's folder, which `manifest` vouches for. */
Status ppo_samples_read(PpoRun *run, const char *folder, const Manifest *manifest);

/* ---- ppo_events.c ---- */

/* Distributions over run->rollout, for the record of its step. */
Status ppo_events_rollout(PpoRun *run);
/* The newest answers to the fixed prompts, a record of their own. */
Status ppo_events_samples(const PpoRun *run, int64_t step);

/* ---- ppo_checkpoint.c ---- */

/* Iteration `step` has measured the policy of checkpoint step - 1, if there is one. */
void ppo_note_best(PpoRun *run, int64_t step, const double *value);
int64_t ppo_keep_every(const PpoJob *job);
Status ppo_save(PpoRun *run);
/* stage_finish over `names`, with the checkpoints that are kept for good. */
Status ppo_finish(PpoRun *run, const char *const *names, int count);
/* state.json of the checkpoint of `step`, which `manifest` vouches for. */
Status ppo_read_state(PpoState *state, const char *folder, const Manifest *manifest, int64_t step);
/* Policy, critic, moments, state and samples from the checkpoint that stage_open found. */
Status ppo_load_networks(PpoRun *run, AdamW *policy_moments, AdamW *critic_moments);
/* What was skipped so far, once the updater is there; ppo_load_state does it. */
Status ppo_load_guards(PpoRun *run);
Status ppo_load_state(PpoRun *run);

#endif
