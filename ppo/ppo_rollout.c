#include "data/prompts.h"
#include "policy/inputs.h"
#include "ppo/invariants.h"
#include "ppo/ppo_run.h"
#include "ppo/rollout_list.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void ppo_rollout_layout(PpoRun *run, Arena *arena)
{
    const int64_t rollouts = run->job->config->rollouts;
    const int64_t tokens = rollouts * run->reference.shape.positions;
    rollout_layout(&run->rollout, arena, (int)rollouts, tokens);
    run->request = arena_push(arena, (size_t)rollouts, sizeof *run->request);
    run->entropy = arena_doubles(arena, (size_t)tokens);
    run->kl_exact = arena_doubles(arena, (size_t)tokens);
    run->compact = arena_floats(arena, (size_t)tokens);
}

GenerateConfig ppo_sampling(PpoRun *run, RngPurpose purpose, int64_t step)
{
    return (GenerateConfig){
        .temperature = run->job->config->temperature,
        .top_p = 1.0,
        .response_tokens = (int)run->job->task->config->response_tokens,
        .end = tokenizer_end(run->tokenizer),
        .threads = run->job->stage->threads,
        .kept = &run->answering,
        .seed = run->job->stage->seed,
        .stage = RNG_PPO,
        .purpose = purpose,
        .step = (uint64_t)step,
    };
}

Status ppo_rollout_path(char path[STAGE_PATH], const PpoRun *run, int64_t step)
{
    char name[ROLLOUT_NAME], folder[STAGE_PATH];
    rollout_file_name(name, step);
    TRY(stage_path(folder, run->job->stage, "rollouts"));
    return path_join(path, folder, name);
}

/* One answer to each of this iteration's prompts. */
static Status answer_prompts(Sequences *answers, PpoRun *run, int64_t step)
{
    Rollout *rollout = &run->rollout;
    const int count = (int)run->job->config->rollouts;
    for (int i = 0; i < count; i++) {
        rollout->prompt_id[i] = (step - 1) * count + i;
        run->request[i] =
            (GenerateRequest){.prompt_id = rollout->prompt_id[i], .sample = 0, .prompt = i};
    }
    Sequences prompts = {0};
    GenerateConfig config = ppo_sampling(run, RNG_SAMPLING, step);
    config.hooks = &run->job->stage->hooks;
    FAULT(run->job->fault, requests, run->request, count);
    Status status = prompts_read(&prompts, run->job->task, run->tokenizer, TASK_TRAIN,
                                 rollout->prompt_id, count);
    if (status == STATUS_OK) {
        status = generate(answers, rollout->terminated, &run->policy, &prompts, run->request, count,
                          &config);
    }
    sequences_free(&prompts);
    return status;
}

static void zero_token_columns(Rollout *rollout)
{
    float *const columns[] = {rollout->logp,   rollout->reference_logp, rollout->value,
                              rollout->reward, rollout->advantage,      rollout->returns};
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        memset(columns[c], 0, (size_t)rollout->tokens * sizeof *columns[c]);
    }
}

/* Ids and lengths; prompt tokens carry zeros in every column. */
static void take_answers(PpoRun *run, const Sequences *answers, int64_t step)
{
    Rollout *rollout = &run->rollout;
    rollout->step = step;
    rollout->kl_coef = run->state.kl_coef;
    rollout->temperature = run->job->config->temperature;
    rollout->policy = model_digest(&run->policy);
    rollout->critic = model_digest(&run->critic);
    const double start = stage_seconds();
    rollout->reference = model_digest(&run->reference);
    rollout->reward_model = model_digest(&run->reward_model);
    run->job->stage->time[TIME_INVARIANTS] += stage_seconds() - start;
    rollout->count = answers->count;
    rollout->tokens = sequences_tokens(answers);
    memcpy(rollout->id, answers->token, (size_t)rollout->tokens * sizeof *rollout->id);
    memcpy(rollout->offset, answers->offset,
           ((size_t)rollout->count + 1) * sizeof *rollout->offset);
    zero_token_columns(rollout);
    for (int i = 0; i < rollout->count; i++) {
        rollout->prompt_length[i] = answers->prompt[i];
        rollout->response_length[i] = (int32_t)sequences_response(answers, i);
        rollout->truncated[i] = !rollout->terminated[i];
        for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
            rollout->is_response[t] = t - rollout->offset[i] >= rollout->prompt_length[i];
        }
    }
}

/* Cuts the blocks in which everything from here on is computed. */
static Status cut_blocks(BlockPlan *plan, PpoRun *run)
{
    Rollout *rollout = &run->rollout;
    const PpoConfig *config = run->job->config;
    for (int i = 0; i < rollout->count; i++) {
        /* The lengths, until the blocks are known. */
        rollout->block[i] = rollout->prompt_length[i] + rollout->response_length[i];
    }
    TRY(block_plan_cut(plan, rollout->block, rollout->count, 1,
                       (int)(config->minibatches * config->shards)));
    for (int b = 0; b < plan->blocks; b++) {
        for (int m = plan->first[b]; m < plan->first[b + 1]; m++) {
            rollout->block[plan->member[m]] = b;
        }
    }
    return STATUS_OK;
}

static Status score_rollout(PpoRun *run)
{
    Rollout *rollout = &run->rollout;
    const Sequences sequences = rollout_sequences(rollout);
    const PpoNetworks networks = {.policy = &run->policy,
                                  .reference = &run->reference,
                                  .reward_model = &run->reward_model,
                                  .critic = &run->critic};
    const PpoScores scores = {.logp = rollout->logp,
                              .reference_logp = rollout->reference_logp,
                              .value = rollout->value,
                              .entropy = run->entropy,
                              .kl_exact = run->kl_exact,
                              .raw_score = rollout->raw_score};
    BlockPlan plan;
    TRY(cut_blocks(&plan, run));
    run->scorer.hooks = &run->job->stage->hooks;
    Status status =
        ppo_score(&run->scorer, &scores, &networks, &sequences, &plan, run->learning.temperature);
    block_plan_free(&plan);
    if (status == STATUS_OK) {
        status = answers_gold(rollout->gold, run->job->task, &sequences, run->tokenizer);
    }
    for (int i = 0; i < rollout->count && status == STATUS_OK; i++) {
        rollout->score[i] = (float)ppo_config_score(run->job->config, (double)rollout->raw_score[i],
                                                    rollout->terminated[i]);
    }
    return status;
}

static Status check_rollout(const PpoRun *run, const double *value)
{
    Stage *stage = run->job->stage;
    const InvariantsOfRollout facts = {
        .rollout = &run->rollout,
        .entropy = run->entropy,
        .kl_exact = run->kl_exact,
        .value = value,
        .reference = run->reference_digest,
        .reward_model = run->reward_digest,
        .vocabulary = run->reference.shape.vocabulary,
        .longest = (int)run->job->task->config->response_tokens,
        .end = tokenizer_end(run->tokenizer),
        .untouched = run->rollout.step <= run->critic_warmup + 1,
    };
    const double start = stage_seconds();
    const Status status = invariants_of_rollout(&facts);
    stage->time[TIME_INVARIANTS] += stage_seconds() - start;
    return status;
}

void ppo_score_metrics(double *value, const PpoRun *run)
{
    const Rollout *rollout = &run->rollout;
    double entropy = 0.0, kl = 0.0, tokens = 0.0;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (!rollout->is_response[t]) continue;
        entropy += run->entropy[t];
        kl += run->kl_exact[t];
        tokens += 1.0;
    }
    value[PPO_SAMPLING_ENTROPY] = entropy / tokens;
    value[PPO_KL_EXACT] = kl / rollout->count;
}

Status ppo_rollout(PpoRun *run, int64_t step, double *value)
{
    const PpoJob *job = run->job;
    Sequences answers = {0};
    Status status = answer_prompts(&answers, run, step);
    if (status == STATUS_OK) take_answers(run, &answers, step);
    sequences_free(&answers);
    TRY(status);
    Rollout *rollout = &run->rollout;
    TRY(score_rollout(run));
    FAULT(job->fault, scored, rollout);
    ppo_shape_rewards(rollout);
    FAULT(job->fault, rewards, rollout);
    ppo_shape_advantages(rollout, run->compact, job->config);
    FAULT(job->fault, advantages, rollout, job->config);
    ppo_rollout_metrics(value, rollout);
    FAULT(job->fault, metrics, value, rollout);
    ppo_score_metrics(value, run);

    char path[STAGE_PATH];
    TRY(ppo_rollout_path(path, run, step));
    const double start = stage_seconds();
    TRY(rollout_write(rollout, run->tokenizer, (int)job->text_rows, job->sources, path,
                      &run->list.digest[step - 1]));
    TRY(io_size(&run->list.size[step - 1], path));
    job->stage->time[TIME_ROLLOUT_FILE] += stage_seconds() - start;
    return check_rollout(run, value);
}
