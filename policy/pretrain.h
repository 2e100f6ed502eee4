/* Stage 1: next-token loss on the task's text. Leaves policy.h5 and tokenizer.json. */
#ifndef POLICY_PRETRAIN_H
#define POLICY_PRETRAIN_H

#include "data/stage.h"
#include "data/tasks/task.h"
#include "policy/optimiser.h"

typedef struct ModelConfig {
    int64_t channels, layers, heads, positions;
} ModelConfig;

typedef struct PretrainConfig {
    int64_t steps, batch; /* sequences of `context` tokens a step */
    int64_t context;      /* tokens a sequence; 0: positions of the model */
    int64_t shards;
    int64_t evaluate_every; /* steps between losses on held-out text; 0: only at the end */
    OptimiserConfig optimiser;
} PretrainConfig;

extern const ConfigSection model_section, pretrain_section;
extern const MetricTable pretrain_metrics;

typedef struct PretrainJob {
    Stage *stage; /* made, not opened */
    const Task *task;
    const ModelConfig *model;
    const PretrainConfig *config;
} PretrainJob;

Status pretrain_run(const PretrainJob *job);

#endif
