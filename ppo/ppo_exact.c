#include "ppo/ppo_run.h"

#include <math.h>

Status ppo_exact_open(PpoRun *run)
{
    const PpoJob *job = run->job;
    run->enumerated = exact_possible(job->task, run->reference.shape.vocabulary);
    if (!run->enumerated) return STATUS_OK;
    const ExactJob exact = {
        .task = job->task,
        .tokenizer = run->tokenizer,
        .policy = &run->policy,
        .reference = &run->reference,
        .reward_model = &run->reward_model,
        .config = job->config,
        .threads = job->stage->threads,
    };
    return exact_open(&run->exact, &exact);
}

/* What the update is about to do with the whole batch, against the exact gradient. */
static Status gradient_cosine(double *cosine, PpoRun *run)
{
    const Rollout *rollout = &run->rollout;
    const PpoConfig *config = run->job->config;
    const Sequences sequences = rollout_sequences(rollout);
    PpoLoss loss = {.rollout = rollout,
                    .sequences = &sequences,
                    .config = config,
                    .advantage = run->updater.advantage};
    for (int i = 0; i < rollout->count; i++) loss.tokens += rollout->response_length[i];
    ppo_loss_advantages(run->updater.advantage, rollout, config->whiten_advantages);
    BlockPlan plan;
    TRY(rollout_plan(&plan, rollout));
    const Status status = exact_cosine(cosine, &run->exact, &loss, &plan);
    block_plan_free(&plan);
    return status;
}

Status ppo_exact_metrics(double *value, PpoRun *run)
{
    for (int m = PPO_EXACT_KL; m <= PPO_EXACT_COSINE; m++) value[m] = NAN;
    if (!run->enumerated) return STATUS_OK;
    ExactReport report;
    TRY(exact_measure(&report, &run->exact, run->rollout.kl_coef));
    value[PPO_EXACT_KL] = report.kl;
    value[PPO_EXACT_KL_K1] = report.kl_k1;
    value[PPO_EXACT_KL_K3] = report.kl_k3;
    value[PPO_EXACT_GOLD] = report.gold;
    value[PPO_EXACT_PROXY] = report.proxy;
    value[PPO_EXACT_ENTROPY] = report.entropy;
    value[PPO_EXACT_OBJECTIVE] = report.objective;
    value[PPO_EXACT_OPTIMUM] = report.optimum;
    value[PPO_EXACT_REGRET] = report.regret;
    value[PPO_EXACT_OPTIMUM_KL] = report.optimum_kl;
    TRY(exact_gradient(&run->exact));
    return gradient_cosine(&value[PPO_EXACT_COSINE], run);
}
