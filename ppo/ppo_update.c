#include "ppo/ppo_update.h"

#include "data/rng.h"
#include "ppo/advantage.h"

#include <math.h>
#include <stddef.h>

/* A block may hold a single answer. */
static int most_blocks(const PpoConfig *config)
{
    return (int)(config->rollouts + config->minibatches * config->shards);
}

static void updater_layout(PpoUpdater *updater, Arena *arena, const PpoConfig *config, int longest)
{
    updater->advantage = arena_floats(arena, (size_t)config->rollouts * (size_t)longest);
    updater->order = arena_push(arena, (size_t)most_blocks(config), sizeof *updater->order);
}

Status ppo_updater_init(PpoUpdater *updater, Model *policy, Model *critic, const PpoConfig *config,
                        int rows, int longest, int threads)
{
    *updater = (PpoUpdater){0};
    Arena plan = arena_measure();
    updater_layout(updater, &plan, config, longest);
    TRY(arena_init(&updater->arena, plan.used));
    updater_layout(updater, &updater->arena, config, longest);

    const int blocks = most_blocks(config) / (int)config->minibatches + 1;
    const int shards = (int)config->shards;
    TRY(trainer_init(&updater->policy, policy, shards, threads, rows, longest, blocks));
    return trainer_init(&updater->critic, critic, shards, threads, rows, longest, blocks);
}

void ppo_updater_free(PpoUpdater *updater)
{
    trainer_free(&updater->policy);
    trainer_free(&updater->critic);
    arena_free(&updater->arena);
    *updater = (PpoUpdater){0};
}

void ppo_loss_advantages(float *advantage, const Rollout *rollout, bool whitened)
{
    int n = 0;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (rollout->is_response[t]) advantage[n++] = rollout->advantage[t];
    }
    if (whitened) whiten(advantage, n, false);
    for (int64_t t = rollout->tokens - 1; t >= 0; t--) {
        advantage[t] = rollout->is_response[t] ? advantage[--n] : 0.0f;
    }
}

/* One update on its way. */
typedef struct Update {
    PpoUpdater *updater;
    const PpoUpdateJob *job;
    Sequences sequences;
    BlockPlan plan;
    PpoLoss loss;
    double rate, critic_rate;
    PpoUpdateReport *report;
    int minibatches, policy_minibatches; /* that had tokens, so far */
    double square;                       /* of the minibatches' mean ratios, summed */
    double epoch_approxkl;
    int epoch_minibatches;
} Update;

static double response_tokens(const Update *update, const int *index, int count)
{
    const BlockPlan *plan = &update->plan;
    double tokens = 0.0;
    for (int b = 0; b < count; b++) {
        for (int m = plan->first[index[b]]; m < plan->first[index[b] + 1]; m++) {
            tokens += update->job->rollout->response_length[plan->member[m]];
        }
    }
    return tokens;
}

static Status policy_step(Update *update, const int *index, int count)
{
    double sums[TRAINER_SUMS], norm = 0.0;
    const PpoConfig *config = update->job->config;
    update->loss.unmoved = update->policy_minibatches == 0;
    FAULT(update->job->fault, minibatch, update->updater->advantage, update->job->rollout,
          &update->plan, index, count);
    TRY(trainer_step(sums, &norm, &update->updater->policy, &update->sequences, &update->plan,
                     index, count, ppo_policy_loss, &update->loss, &config->optimiser,
                     update->rate));
    if (update->updater->policy.skipped) return STATUS_OK;
    const double tokens = update->loss.tokens;
    PpoUpdateReport *report = update->report;
    if (update->policy_minibatches++ == 0) {
        report->first_deviation = sums[POLICY_SUM_DEVIATION] / tokens;
    }
    const double ratio = sums[POLICY_SUM_RATIO] / tokens;
    const double approxkl = sums[POLICY_SUM_APPROXKL] / tokens;
    report->policy_loss += sums[POLICY_SUM_LOSS] / tokens;
    report->approxkl += approxkl;
    report->approxkl3 += sums[POLICY_SUM_K3] / tokens;
    report->clipfrac += sums[POLICY_SUM_CLIPPED] / tokens;
    report->entropy += sums[POLICY_SUM_ENTROPY] / tokens;
    report->ratio += ratio;
    report->policy_norm += norm;
    update->square += (ratio - 1.0) * (ratio - 1.0);
    update->epoch_approxkl += approxkl;
    update->epoch_minibatches++;
    return STATUS_OK;
}

static Status critic_step(Update *update, const int *index, int count)
{
    double sums[TRAINER_SUMS], norm = 0.0;
    const PpoConfig *config = update->job->config;
    TRY(trainer_step(sums, &norm, &update->updater->critic, &update->sequences, &update->plan,
                     index, count, ppo_value_loss, &update->loss, &config->critic_optimiser,
                     update->critic_rate));
    if (update->updater->critic.skipped) return STATUS_OK;
    const double tokens = update->loss.tokens;
    update->minibatches++;
    update->report->value_loss += sums[VALUE_SUM_LOSS] / tokens;
    update->report->value_clipfrac += sums[VALUE_SUM_CLIPPED] / tokens;
    update->report->critic_norm += norm;
    return STATUS_OK;
}

/* Blocks order[0..per): those beyond the plan hold no sequences. */
static Status minibatch(Update *update, int *order, int per)
{
    const PpoUpdateJob *job = update->job;
    TRY(stage_leave(job->hooks));
    int count = 0;
    for (int b = 0; b < per; b++) {
        if (order[b] < update->plan.blocks) order[count++] = order[b];
    }
    update->loss.tokens = response_tokens(update, order, count);
    update->updater->policy.units = update->updater->critic.units = update->loss.tokens;
    if (update->loss.tokens == 0.0) return STATUS_OK;
    if (!job->critic_only) TRY(policy_step(update, order, count));
    return critic_step(update, order, count);
}

static Status epoch(Update *update, int number)
{
    const PpoUpdateJob *job = update->job;
    const int parts = (int)(job->config->minibatches * job->config->shards);
    const int blocks = (update->plan.blocks + parts - 1) / parts * parts;
    const int per = blocks / (int)job->config->minibatches;
    int *order = update->updater->order;
    for (int b = 0; b < blocks; b++) order[b] = b;
    Rng rng = rng_stream(job->seed, RNG_PPO, RNG_ORDER, (uint64_t)job->rollout->step,
                         (uint64_t)number, 0);
    rng_shuffle(&rng, order, blocks);

    update->epoch_approxkl = 0.0;
    update->epoch_minibatches = 0;
    for (int m = 0; m < job->config->minibatches; m++) {
        const Status status = minibatch(update, order + (ptrdiff_t)m * per, per);
        if (status != STATUS_OK) {
            return status_context(status, "epoch %d, minibatch %d", number + 1, m + 1);
        }
    }
    return STATUS_OK;
}

static bool moved_too_far(const Update *update)
{
    const double target = update->job->config->target_kl;
    if (target <= 0.0 || update->epoch_minibatches == 0) return false;
    return update->epoch_approxkl / update->epoch_minibatches > 1.5 * target;
}

static Status epochs(Update *update)
{
    const PpoUpdateJob *job = update->job;
    for (int e = 0; e < job->config->epochs; e++) {
        TRY(epoch(update, e));
        update->report->epochs = e + 1;
        if (moved_too_far(update)) break;
    }
    return STATUS_OK;
}

/* Sums over minibatches become means. */
static void close_report(Update *update)
{
    PpoUpdateReport *report = update->report;
    report->starved =
        update->minibatches == 0 || (!update->job->critic_only && update->policy_minibatches == 0);
    report->value_loss /= update->minibatches;
    report->value_clipfrac /= update->minibatches;
    report->critic_norm /= update->minibatches;

    const double n = update->job->critic_only ? (double)NAN : (double)update->policy_minibatches;
    report->policy_loss /= n;
    report->approxkl /= n;
    report->approxkl3 /= n;
    report->clipfrac /= n;
    report->entropy /= n;
    report->ratio /= n;
    report->policy_norm /= n;
    const double off = report->ratio - 1.0;
    report->ratio_variance = n > 1.0 ? (update->square - n * off * off) / (n - 1.0) : 0.0;
    if (update->job->critic_only) report->ratio_variance = report->first_deviation = NAN;
}

Status ppo_update(PpoUpdateReport *report, PpoUpdater *updater, const PpoUpdateJob *job)
{
    const Rollout *rollout = job->rollout;
    const PpoConfig *config = job->config;
    *report = (PpoUpdateReport){0};
    Update update = {
        .updater = updater,
        .job = job,
        .sequences = rollout_sequences(rollout),
        .rate = schedule_rate(&config->optimiser, rollout->step - 1, config->steps),
        .critic_rate = schedule_rate(&config->critic_optimiser, rollout->step - 1, config->steps),
        .report = report,
    };
    ppo_loss_advantages(updater->advantage, rollout, config->whiten_advantages);
    update.loss = (PpoLoss){.rollout = rollout,
                            .sequences = &update.sequences,
                            .config = config,
                            .advantage = updater->advantage,
                            .fault = job->fault};
    TRY(rollout_plan(&update.plan, rollout));
    const Status status = epochs(&update);
    block_plan_free(&update.plan);
    if (status == STATUS_OK) close_report(&update);
    return status;
}
