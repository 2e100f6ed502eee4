/* Stage 2: supervised fine-tuning on demonstrations, loss on the response only (prompt tokens carry
 * none, <|endoftext|> does). Reads pretrain/policy.h5, leaves policy.h5 and tokenizer.json. */
#ifndef POLICY_SFT_H
#define POLICY_SFT_H

#include "data/sequences.h"
#include "data/stage.h"
#include "data/tasks/task.h"
#include "policy/optimiser.h"

typedef struct SftConfig {
    int64_t epochs, batch, shards;
    int64_t evaluate_every;
    OptimiserConfig optimiser;
} SftConfig;

extern const ConfigSection sft_section;
extern const MetricTable sft_metrics;

typedef struct SftJob {
    Stage *stage;
    const Task *task;
    const SftConfig *config;
    /* Changes the labels that the loss reads (ppo/faults.h): tokens and prompt lengths of a copy
     * of the demonstrations. NULL: they are the demonstrations. */
    void (*alter_labels)(Sequences *labels);
} SftJob;

Status sft_run(const SftJob *job);

#endif
