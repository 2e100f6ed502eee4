/* A policy that a run published, ready to answer: `DIR`, `DIR@sft`, `DIR@40` (PPO's checkpoint of
 * step 40). */
#ifndef SCRIPTS_RLHF_POLICY_OF_RUN_H
#define SCRIPTS_RLHF_POLICY_OF_RUN_H

#include "data/prompts.h"
#include "policy/generate.h"
#include "policy/model.h"
#include "scripts/rlhf/settings.h"

typedef struct RunPolicy {
    char run[STAGE_PATH];
    char which[32]; /* "ppo", "40" */
    Settings settings;
    Task task;
    Tokenizer *tokenizer;
    Model model;
} RunPolicy;

/* Without @: the policy of the last stage that has published one. Nothing there: STATUS_DATA. */
Status run_policy_open(RunPolicy *policy, const char *source);
void run_policy_close(RunPolicy *policy); /* fine on a zeroed one */

typedef struct Sampling {
    double temperature; /* 0: the likeliest token */
    int top_k;
    double top_p;
    uint64_t seed;
    int samples; /* answers a prompt */
} Sampling;

/* Answers of `samples` a prompt, prompt by prompt, added to *answers. */
Status run_policy_answer(Sequences *answers, const RunPolicy *policy, const Sequences *prompts,
                         const Sampling *sampling);

#endif
