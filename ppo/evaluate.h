/* Stage 6: every stage's policy on the same held-out prompts: gold beside proxy, KL, length, win
 * rate against SFT, best-of-n; scorecard.json and samples.h5. */
#ifndef PPO_EVALUATE_H
#define PPO_EVALUATE_H

#include "data/config.h"
#include "data/metrics.h"
#include "data/stage.h"
#include "data/tasks/task.h"

typedef struct EvaluateConfig {
    int64_t prompts;         /* held-out prompts, one answer each */
    int64_t samples;         /* prompts shown side by side */
    int64_t best_of_prompts; /* prompts of the best-of-n pool; 0: no best-of-n */
    int64_t best_of_pool;    /* SFT answers a prompt */
} EvaluateConfig;

extern const ConfigSection evaluate_section;
extern const MetricTable evaluate_metrics;

typedef struct EvaluateJob {
    Stage *stage;
    const Task *task;
    const EvaluateConfig *config;
    double temperature; /* ppo.temperature: answers are drawn as in training */
} EvaluateJob;

Status evaluate_run(const EvaluateJob *job);

#endif
