#include "ppo/ppo_update.h"

#include "data/memory.h"
#include "ppo/advantage.h"
#include "ppo/kl.h"

Sequences rollout_sequences(const Rollout *rollout)
{
    return (Sequences){.count = rollout->count,
                       .token = rollout->id,
                       .offset = rollout->offset,
                       .prompt = rollout->prompt_length};
}

Status rollout_plan(BlockPlan *plan, const Rollout *rollout)
{
    void *memory;
    TRY(memory_claim(&memory, (size_t)rollout->count * sizeof(int32_t)));
    int32_t *length = memory;
    for (int i = 0; i < rollout->count; i++) {
        length[i] = rollout->prompt_length[i] + rollout->response_length[i];
    }
    const Status status = block_plan_from(plan, rollout->block, length, rollout->count);
    memory_release(memory);
    return status;
}

static void shape_sequence(Rollout *rollout, int i)
{
    const int64_t first = rollout->offset[i] + rollout->prompt_length[i];
    const int length = rollout->response_length[i];
    const double score = (double)rollout->score[i];
    shape_rewards(rollout->reward + first, rollout->logp + first, rollout->reference_logp + first,
                  length, rollout->kl_coef, score);
    double kl = 0.0;
    for (int64_t t = first; t < first + length; t++) {
        kl += kl_k1((double)rollout->logp[t] - (double)rollout->reference_logp[t]);
    }
    rollout->kl[i] = (float)kl;
    rollout->rlhf_reward[i] = (float)(score - rollout->kl_coef * kl);
}

/* Copies what `from` says of response tokens end to end; returns how many. */
static int gather_responses(float *compact, const float *from, const Rollout *rollout)
{
    int n = 0;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (rollout->is_response[t]) compact[n++] = from[t];
    }
    return n;
}

void ppo_shape_rewards(Rollout *rollout)
{
    for (int i = 0; i < rollout->count; i++) shape_sequence(rollout, i);
}

void ppo_shape_advantages(Rollout *rollout, float *compact, const PpoConfig *config)
{
    const int n = gather_responses(compact, rollout->reward, rollout);
    if (config->whiten_rewards) whiten(compact, n, true);

    const float *reward = compact;
    for (int i = 0; i < rollout->count; i++) {
        const int64_t first = rollout->offset[i] + rollout->prompt_length[i];
        const int length = rollout->response_length[i];
        advantages(rollout->advantage + first, rollout->returns + first, reward,
                   rollout->value + first, length, config->gamma, config->lambda);
        reward += length;
    }
}

void ppo_shape(Rollout *rollout, float *compact, const PpoConfig *config)
{
    ppo_shape_rewards(rollout);
    ppo_shape_advantages(rollout, compact, config);
}
