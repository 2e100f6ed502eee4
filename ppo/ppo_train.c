#include "ppo/ppo_train.h"

#include "data/prompts.h"
#include "policy/inputs.h"
#include "policy/network_file.h"
#include "ppo/invariants.h"
#include "ppo/ppo_run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum {
    BLIND_CRITIC_WARMUP = 5, /* iterations, where the critic knows nothing of the reward model */
    PUBLISHED_MAX = 2 * NETWORK_FILES_MAX + 4,
};

/* ---- what it starts from ---- */

/* The policy fits the tokenizer, and the reward model, causal or not, the policy. */
static Status read_frozen(PpoRun *run)
{
    const char *folder = run->job->stage->run;
    ModelShape expected = {.vocabulary = tokenizer_vocabulary(run->tokenizer)};
    TRY(input_network(&run->reference, folder, "sft", "policy", &expected));
    expected = run->reference.shape;
    expected.causal = false;
    expected.head = HEAD_SCORE;
    return input_network(&run->reward_model, folder, "reward", "model", &expected);
}

Status ppo_read_inputs(PpoRun *run)
{
    TRY(stage_read_tokenizer(&run->tokenizer, run->job->stage->run, "sft"));
    TRY(read_frozen(run));
    run->learning = *run->job->config;
    FAULT(run->job->fault, settings, &run->learning);
    run->reference_digest = model_digest(&run->reference);
    run->reward_digest = model_digest(&run->reward_model);

    const int64_t warmup = run->job->config->critic_warmup;
    const bool blind = !run->reward_model.shape.causal && warmup < BLIND_CRITIC_WARMUP;
    run->critic_warmup = blind ? BLIND_CRITIC_WARMUP : warmup;
    return STATUS_OK;
}

/* The critic is the reward model, where that reads as a critic must. */
Status ppo_first_networks(PpoRun *run)
{
    TRY(model_init(&run->policy, run->reference.shape));
    model_copy(&run->policy, &run->reference);
    ModelShape shape = run->reference.shape;
    shape.head = HEAD_VALUE;
    TRY(model_init(&run->critic, shape));
    if (run->reward_model.shape.causal) {
        model_value_from_score(&run->critic, &run->reward_model);
    } else {
        model_copy(&run->critic, &run->reference);
    }
    return STATUS_OK;
}

static void run_layout(PpoRun *run, Arena *arena)
{
    ppo_rollout_layout(run, arena);
    ppo_samples_layout(run, arena);
    ppo_list_layout(run, arena);
}

Status ppo_claim_memory(PpoRun *run, AdamW *policy_moments, AdamW *critic_moments)
{
    const ModelShape shape = run->reference.shape;
    const int longest = shape.positions, threads = run->job->stage->threads;
    const int rows = longest > BLOCK_ROWS ? longest : BLOCK_ROWS;
    Arena plan = arena_measure();
    run_layout(run, &plan);
    TRY(arena_init(&run->arena, plan.used));
    run_layout(run, &run->arena);
    TRY(ppo_scorer_init(&run->scorer, shape, rows, longest, threads));
    TRY(ppo_updater_init(&run->updater, &run->policy, &run->critic, run->job->config, rows, longest,
                         threads));
    if (policy_moments->m == NULL) return STATUS_OK;
    adamw_free(&run->updater.policy.adamw);
    adamw_free(&run->updater.critic.adamw);
    run->updater.policy.adamw = *policy_moments;
    run->updater.critic.adamw = *critic_moments;
    *policy_moments = *critic_moments = (AdamW){0};
    return STATUS_OK;
}

static Status begin(PpoRun *run)
{
    Stage *stage = run->job->stage;
    TRY(ppo_config_check(run->job->config));
    TRY(ppo_read_inputs(run));
    TRY(stage_open(stage, &ppo_metrics));

    AdamW policy_moments = {0}, critic_moments = {0};
    Status status = stage->resumed ? ppo_load_networks(run, &policy_moments, &critic_moments)
                                   : ppo_first_networks(run);
    if (status == STATUS_OK) status = ppo_claim_memory(run, &policy_moments, &critic_moments);
    adamw_free(&policy_moments);
    adamw_free(&critic_moments);
    TRY(status);
    TRY(ppo_exact_open(run));
    if (stage->resumed) {
        TRY(ppo_load_state(run));
        TRY(ppo_samples_write(run, stage->folder)); /* what lies there may be of a later step */
    }
    return ppo_list_open(run);
}

/* ---- iterations ---- */

static bool sample_due(const PpoRun *run, int64_t step)
{
    const PpoConfig *config = run->job->config;
    if (config->sample_every == 0) return false;
    return step % config->sample_every == 0 || step == config->steps;
}

/* An update may only be dropped where the step before it can be loaded again. */
static Status update(PpoRun *run, PpoUpdateReport *report)
{
    const bool committed = run->state.step == 0 || run->last_checkpoint == run->state.step;
    const PpoUpdateJob job = {
        .rollout = &run->rollout,
        .config = &run->learning,
        .seed = run->job->stage->seed,
        .fault = run->job->fault,
        .critic_only = run->rollout.step <= run->critic_warmup,
        .hooks = committed ? &run->job->stage->hooks : NULL,
    };
    return ppo_update(report, &run->updater, &job);
}

void ppo_update_metrics(double *value, const PpoRun *run, const PpoUpdateReport *report)
{
    const PpoConfig *config = run->job->config;
    const int64_t step = run->rollout.step;
    const bool warming = step <= run->critic_warmup;
    value[PPO_APPROXKL] = report->approxkl;
    value[PPO_APPROXKL_K3] = report->approxkl3;
    value[PPO_CLIPFRAC] = report->clipfrac;
    value[PPO_UPDATE_ENTROPY] = report->entropy;
    value[PPO_POLICY_LOSS] = report->policy_loss;
    value[PPO_VALUE_LOSS] = report->value_loss;
    value[PPO_VALUE_CLIPFRAC] = report->value_clipfrac;
    value[PPO_RATIO] = report->ratio;
    value[PPO_RATIO_VAR] = report->ratio_variance;
    value[PPO_FIRST_RATIO] = report->first_deviation;
    value[PPO_POLICY_NORM] = report->policy_norm;
    value[PPO_CRITIC_NORM] = report->critic_norm;
    value[PPO_EPOCHS] = report->epochs;
    value[PPO_SKIPPED] = guard_metric(&run->updater.policy.guard);
    value[PPO_CRITIC_SKIPPED] = guard_metric(&run->updater.critic.guard);
    value[PPO_LR] = warming ? 0.0 : schedule_rate(&config->optimiser, step - 1, config->steps);
    value[PPO_CRITIC_LR] = schedule_rate(&config->critic_optimiser, step - 1, config->steps);
    value[PPO_EPISODE] = (double)(step * config->rollouts);
}

/* The coefficient of the next iteration. */
static Status control_kl(PpoRun *run, double kl)
{
    const PpoJob *job = run->job;
    if (run->state.step <= run->critic_warmup) return STATUS_OK;
    if (job->fault != NULL && job->fault->controller != NULL) {
        TRY(job->fault->controller(&kl, run));
    }
    run->state.kl_coef = ppo_config_next_kl_coef(job->config, run->state.kl_coef, kl);
    return STATUS_OK;
}

/* The update from run->rollout, checked. */
static Status learn(PpoRun *run, double *value)
{
    Stage *stage = run->job->stage;
    PpoUpdateReport report;
    TRY(update(run, &report));
    ppo_update_metrics(value, run, &report);
    FAULT(run->job->fault, updated, run);
    if (report.starved) return STATUS_OK;
    const double start = stage_seconds();
    const Status status = invariants_of_update(value, run->policy.shape.vocabulary,
                                               run->rollout.step <= run->critic_warmup);
    stage->time[TIME_INVARIANTS] += stage_seconds() - start;
    return status;
}

/* Before the update, of what the rollout file holds: going on from there ends alike. */
static Status check_ceiling(const PpoRun *run, double kl)
{
    const double ceiling = run->job->config->kl_ceiling;
    if (ceiling == 0.0 || kl <= ceiling) return STATUS_OK;
    return status_fail(STATUS_DIVERGED,
                       "the mean KL to the reference is %g nats a sequence, above ppo.kl_ceiling = "
                       "%g: a higher ppo.kl_coef holds it",
                       kl, ceiling);
}

static Status iterate(PpoRun *run, int64_t step)
{
    Stage *stage = run->job->stage;
    static const char *const shown[] = {"objective/kl", "objective/scores", "objective/gold", NULL};
    double value[PPO_METRICS];
    TRY(ppo_rollout(run, step, value));
    TRY(check_ceiling(run, value[PPO_KL]));
    TRY(ppo_exact_metrics(value, run));
    ppo_note_best(run, step, value);
    if (stage_should_stop(stage)) return status_fail(STATUS_STOPPED, "stopped");
    TRY(learn(run, value));

    run->state.step = step;
    TRY(ppo_list_add(run, step));
    TRY(control_kl(run, value[PPO_KL]));
    TRY(ppo_events_rollout(run));
    TRY(stage_record(stage, step, run->job->config->steps, run->rollout.tokens, value, shown));
    if (sample_due(run, step)) TRY(ppo_samples_add(run, step));
    const bool due = stage_checkpoint_due(stage);
    if (due || step % ppo_keep_every(run->job) == 0) return ppo_save(run);
    return STATUS_OK;
}

/* Says behind the reason what is left to reproduce the failure with. */
static Status say_what_is_kept(const PpoRun *run, int64_t step, Status status)
{
    char path[STAGE_PATH] = "";
    STATUS_ASIDE(ppo_rollout_path(path, run, step));
    return guard_explain(run->job->stage, status, path);
}

/* Leaves after the last finished step, committed. */
static Status stop(PpoRun *run)
{
    if (run->state.step > 0 && run->last_checkpoint != run->state.step) TRY(ppo_save(run));
    return status_fail(STATUS_STOPPED, "stopped after step %" PRId64 " of %" PRId64,
                       run->state.step, run->job->config->steps);
}

static Status iterations(PpoRun *run)
{
    if (run->state.step == 0 && sample_due(run, 0)) {
        TRY(say_what_is_kept(run, 0, ppo_samples_add(run, 0)));
    }
    while (run->state.step < run->job->config->steps) {
        if (stage_should_stop(run->job->stage)) return stop(run);
        const int64_t step = run->state.step + 1;
        const Status status = iterate(run, step);
        if (status == STATUS_STOPPED) return stop(run);
        if (status != STATUS_OK) {
            return status_context(say_what_is_kept(run, step, status), "ppo step %" PRId64, step);
        }
    }
    return STATUS_OK;
}

static Status publish(PpoRun *run)
{
    Stage *stage = run->job->stage;
    const int32_t end = tokenizer_end(run->tokenizer);
    char names[PUBLISHED_MAX][128];
    int count = 0;
    TRY(ppo_list_commit(run)); /* the last step need not be a checkpoint */
    TRY(network_write(names, &count, stage->folder, "policy", &run->policy, NULL, end));
    TRY(network_write(names, &count, stage->folder, "critic", &run->critic, NULL, end));
    TRY(input_copy_tokenizer(stage, "sft"));
    TRY(ppo_list_publish(run));
    snprintf(names[count++], 128, "tokenizer.json");
    snprintf(names[count++], 128, "rollouts/manifest.json");
    snprintf(names[count++], 128, PPO_LIST_FILE);
    if (run->samples.count > 0) {
        TRY(ppo_samples_write(run, stage->folder));
        snprintf(names[count++], 128, "samples.h5");
    }
    const char *list[PUBLISHED_MAX];
    for (int i = 0; i < count; i++) list[i] = names[i];
    return ppo_finish(run, list, count);
}

void ppo_run_free(PpoRun *run)
{
    exact_free(&run->exact);
    ppo_updater_free(&run->updater);
    ppo_scorer_free(&run->scorer);
    sequences_free(&run->samples.answers);
    arena_free(&run->arena);
    arena_free(&run->answering);
    model_free(&run->policy);
    model_free(&run->reference);
    model_free(&run->reward_model);
    model_free(&run->critic);
    tokenizer_free(run->tokenizer);
}

Status ppo_run(const PpoJob *job)
{
    PpoRun run = {
        .job = job,
        .state = {.kl_coef = job->config->kl_coef, .proxy_step = PPO_NONE, .gold_step = PPO_NONE},
        .last_checkpoint = PPO_NONE,
    };
    Status status = begin(&run);
    if (status == STATUS_OK) status = iterations(&run);
    if (status == STATUS_OK) status = publish(&run);
    STATUS_ASIDE(digest_log_close(&run.list.log)); /* synced by whatever committed */
    stage_close(job->stage);
    ppo_run_free(&run);
    return status;
}
