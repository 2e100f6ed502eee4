#include "ppo/replay.h"

#include "data/prompts.h"
#include "policy/inputs.h"
#include "ppo/difference.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- opening ---- */

/* A journal that lacks a step or has one twice belongs to no run. */
static Status read_journal(Replay *replay)
{
    const char *path = replay->journal_path;
    TRY(stage_path(replay->journal_path, replay->job.stage, "metrics.jsonl"));
    if (!io_exists(path)) {
        return status_fail(STATUS_DATA, "%s: missing; run: rlhf ppo %s", path,
                           replay->job.stage->run);
    }
    TRY(metric_columns_read(&replay->journal, path));
    replay->steps = replay->journal.rows;
    for (int i = 0; i < replay->journal.rows; i++) {
        if (replay->journal.step[i] == i + 1) continue;
        return status_fail(STATUS_BROKEN, "%s: line %d: step is %" PRId64 ", not %d", path, i + 1,
                           replay->journal.step[i], i + 1);
    }
    const int64_t steps = replay->job.config->steps;
    if (replay->steps > steps || (replay->finished && replay->steps < steps)) {
        return status_fail(STATUS_BROKEN, "%s: %" PRId64 " steps, not %" PRId64, path,
                           replay->steps, steps);
    }
    return STATUS_OK;
}

static Status claim_columns(Replay *replay)
{
    const int count = (int)replay->job.config->rollouts;
    const int64_t tokens = (int64_t)count * replay->run.reference.shape.positions;
    Arena plan = arena_measure();
    rollout_layout(&replay->again, &plan, count, tokens);
    TRY(arena_init(&replay->arena, plan.used));
    rollout_layout(&replay->again, &replay->arena, count, tokens);
    return STATUS_OK;
}

Status replay_open(Replay *replay, const PpoJob *job)
{
    *replay = (Replay){.job = *job};
    Stage *stage = job->stage;
    PpoRun *run = &replay->run;
    run->job = &replay->job;
    char manifest[STAGE_PATH];
    AdamW none = {0}, none_either = {0};
    TRY(ppo_config_check(job->config));
    TRY(path_join(stage->folder, stage->run, stage->name));
    TRY(stage_path(manifest, stage, "manifest.json"));
    replay->finished = io_exists(manifest);
    TRY(read_journal(replay));
    TRY(checkpoint_steps(&replay->kept, &replay->kepts, stage->folder));
    TRY(ppo_read_inputs(run));
    TRY(ppo_first_networks(run));
    TRY(ppo_claim_memory(run, &none, &none_either));
    TRY(ppo_exact_open(run));
    TRY(claim_columns(replay));
    return replay_seek(replay, 0);
}

void replay_close(Replay *replay)
{
    rollout_free(&replay->file);
    arena_free(&replay->arena);
    metric_columns_free(&replay->journal);
    memory_release(replay->kept);
    ppo_run_free(&replay->run);
    *replay = (Replay){0};
}

/* ---- where to begin ---- */

/* The checkpoint is of this stage, and the journal still begins as it did when it was made. */
static Status check_checkpoint(const Replay *replay)
{
    const Stage *stage = replay->job.stage;
    const Manifest *manifest = &stage->checkpoint_manifest;
    if (strcmp(manifest->stage, stage->name) != 0 ||
        !digest_equal(manifest->made_from, stage->made_from)) {
        return status_fail(STATUS_BROKEN, "%s: made from other settings or inputs than this run",
                           stage->checkpoint);
    }
    const ManifestFile *journal = &manifest->journal;
    bool ours;
    TRY(digest_log_check(&ours, replay->journal_path, journal->size, journal->digest));
    if (ours) return STATUS_OK;
    return status_fail(STATUS_BROKEN, "%s: its first %" PRIu64 " bytes are not those that %s saw",
                       replay->journal_path, journal->size, stage->checkpoint);
}

static bool same_shape(ModelShape a, ModelShape b)
{
    return a.vocabulary == b.vocabulary && a.positions == b.positions && a.channels == b.channels &&
           a.heads == b.heads && a.layers == b.layers && a.causal == b.causal && a.head == b.head;
}

/* Puts the moments that were read in place of those there are. */
static Status take_moments(PpoRun *run, AdamW *policy, AdamW *critic, const char *folder)
{
    ModelShape wanted = run->reference.shape;
    bool fits = same_shape(run->policy.shape, wanted);
    wanted.head = HEAD_VALUE;
    fits = fits && same_shape(run->critic.shape, wanted);
    if (!fits) return status_fail(STATUS_BROKEN, "%s: not of the shape of this run", folder);
    adamw_free(&run->updater.policy.adamw);
    adamw_free(&run->updater.critic.adamw);
    run->updater.policy.adamw = *policy;
    run->updater.critic.adamw = *critic;
    *policy = *critic = (AdamW){0};
    return STATUS_OK;
}

static Status load_checkpoint(Replay *replay, int64_t step)
{
    PpoRun *run = &replay->run;
    Stage *stage = replay->job.stage;
    TRY(checkpoint_at(stage->checkpoint, &stage->checkpoint_manifest, stage->folder, step));
    TRY(check_checkpoint(replay));
    TRY(ppo_read_state(&run->state, stage->checkpoint, &stage->checkpoint_manifest, step));
    AdamW policy = {0}, critic = {0};
    model_free(&run->policy);
    model_free(&run->critic);
    Status status = ppo_load_networks(run, &policy, &critic);
    if (status == STATUS_OK) status = take_moments(run, &policy, &critic, stage->checkpoint);
    adamw_free(&policy);
    adamw_free(&critic);
    return status == STATUS_OK ? ppo_load_guards(run) : status;
}

static Status begin_again(Replay *replay)
{
    PpoRun *run = &replay->run;
    run->state = (PpoState){.kl_coef = replay->job.config->kl_coef};
    model_free(&run->policy);
    model_free(&run->critic);
    TRY(ppo_first_networks(run));
    adamw_free(&run->updater.policy.adamw);
    adamw_free(&run->updater.critic.adamw);
    TRY(adamw_init(&run->updater.policy.adamw, &run->policy));
    return adamw_init(&run->updater.critic.adamw, &run->critic);
}

Status replay_seek(Replay *replay, int64_t step)
{
    int64_t from = 0;
    for (int i = 0; i < replay->kepts && replay->kept[i] <= step; i++) from = replay->kept[i];
    return from == 0 ? begin_again(replay) : load_checkpoint(replay, from);
}

/* ---- rollouts ---- */

static Status check_place(const Replay *replay, int64_t step)
{
    const Rollout *rollout = &replay->file.rollout;
    const PpoConfig *config = replay->job.config;
    const char *path = replay->file_path;
    if (rollout->step != step) {
        return status_fail(STATUS_BROKEN, "%s: of step %" PRId64, path, rollout->step);
    }
    if (rollout->count != config->rollouts || rollout->temperature != config->temperature) {
        return status_fail(STATUS_BROKEN, "%s: %d answers at temperature %g, not %" PRId64 " at %g",
                           path, rollout->count, rollout->temperature, config->rollouts,
                           config->temperature);
    }
    const int longest = replay->run.reference.shape.positions;
    for (int i = 0; i < rollout->count; i++) {
        const int length = rollout->prompt_length[i] + rollout->response_length[i];
        if (length <= longest) continue;
        return status_fail(STATUS_BROKEN, "%s: sequence %d: %d tokens, at most %d", path, i, length,
                           longest);
    }
    return STATUS_OK;
}

/* Without the hash that a finished stage has of it: verify_files compares those, and here a changed
 * file is to be told by the first number that does not follow. */
Status replay_read_rollout(Replay *replay, int64_t step)
{
    rollout_free(&replay->file);
    TRY(ppo_rollout_path(replay->file_path, &replay->run, step));
    TRY(rollout_read(&replay->file, replay->file_path, NULL,
                     tokenizer_vocabulary(replay->run.tokenizer)));
    replay->run.rollout = replay->file.rollout;
    return check_place(replay, step);
}

/* ---- one update ---- */

static Status compare_hashes(const Replay *replay)
{
    const Rollout *rollout = &replay->file.rollout;
    const PpoRun *run = &replay->run;
    const char *path = replay->file_path;
    TRY(difference_digest(path, "policy_hash", rollout->policy, model_digest(&run->policy)));
    TRY(difference_digest(path, "critic_hash", rollout->critic, model_digest(&run->critic)));
    TRY(difference_digest(path, "reference_hash", rollout->reference,
                          model_digest(&run->reference)));
    return difference_digest(path, "reward_model_hash", rollout->reward_model,
                             model_digest(&run->reward_model));
}

static void clear_columns(Rollout *again, int64_t tokens)
{
    float *const columns[] = {again->logp, again->reference_logp, again->value};
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        memset(columns[c], 0, (size_t)tokens * sizeof *columns[c]);
    }
}

/* What the four networks say of the answers, in the blocks of the file. */
static Status score_again(Replay *replay)
{
    PpoRun *run = &replay->run;
    Rollout *again = &replay->again;
    const Rollout *rollout = &replay->file.rollout;
    const Sequences sequences = rollout_sequences(rollout);
    const PpoNetworks networks = {&run->policy, &run->reference, &run->reward_model, &run->critic};
    const PpoScores scores = {again->logp,  again->reference_logp, again->value,
                              run->entropy, run->kl_exact,         again->raw_score};
    clear_columns(again, rollout->tokens);
    BlockPlan plan;
    TRY(status_context(rollout_plan(&plan, rollout), "%s", replay->file_path));
    Status status = STATUS_OK;
    if (plan.rows > run->scorer.rows) {
        status = status_fail(STATUS_BROKEN, "%s: a block of %d rows, at most %d", replay->file_path,
                             plan.rows, run->scorer.rows);
    }
    if (status == STATUS_OK) {
        status =
            ppo_score(&run->scorer, &scores, &networks, &sequences, &plan, rollout->temperature);
    }
    block_plan_free(&plan);
    return status;
}

static Status compare_scores(Replay *replay)
{
    const Rollout *rollout = &replay->file.rollout, *again = &replay->again;
    const char *path = replay->file_path;
    TRY(difference_tokens(path, "logp", rollout, rollout->logp, again->logp));
    TRY(difference_tokens(path, "reference_logp", rollout, rollout->reference_logp,
                          again->reference_logp));
    TRY(difference_tokens(path, "value", rollout, rollout->value, again->value));
    TRY(difference_sequences(path, "raw_score", rollout->count, rollout->raw_score,
                             again->raw_score));
    for (int i = 0; i < rollout->count; i++) replay->tokens += rollout->response_length[i];
    return STATUS_OK;
}

/* Everything that stands before the update, against the rollouts. */
static Status compare_rollout(Replay *replay, double *value)
{
    PpoRun *run = &replay->run;
    const int64_t step = run->rollout.step;
    const char *path = replay->journal_path;
    if (replay->file.rollout.kl_coef != run->state.kl_coef) {
        return status_fail(STATUS_BROKEN, "%s: kl_coef is %.17g, computed again %.17g",
                           replay->file_path, replay->file.rollout.kl_coef, run->state.kl_coef);
    }
    TRY(compare_hashes(replay));
    TRY(score_again(replay));
    TRY(compare_scores(replay));
    ppo_score_metrics(value, run);
    TRY(difference_metrics(path, &replay->journal, &ppo_metrics, step, value, PPO_KL_EXACT,
                           PPO_SAMPLING_ENTROPY));
    TRY(ppo_exact_metrics(value, run));
    return difference_metrics(path, &replay->journal, &ppo_metrics, step, value, PPO_EXACT_KL,
                              PPO_EXACT_COSINE);
}

static Status update(Replay *replay, double *value)
{
    PpoRun *run = &replay->run;
    const int64_t step = run->rollout.step;
    const PpoUpdateJob job = {
        .rollout = &run->rollout,
        .config = replay->job.config,
        .seed = replay->job.stage->seed,
        .critic_only = step <= run->critic_warmup,
    };
    PpoUpdateReport report;
    TRY(ppo_update(&report, &run->updater, &job));
    ppo_update_metrics(value, run, &report);
    run->state.step = step;
    if (step > run->critic_warmup) {
        ppo_rollout_metrics(value, &run->rollout);
        run->state.kl_coef =
            ppo_config_next_kl_coef(replay->job.config, run->state.kl_coef, value[PPO_KL]);
    }
    return difference_metrics(replay->journal_path, &replay->journal, &ppo_metrics, step, value,
                              PPO_APPROXKL, PPO_EPISODE);
}

static bool is_kept(const Replay *replay, int64_t step)
{
    int i = 0;
    while (i < replay->kepts && replay->kept[i] != step) i++;
    return i < replay->kepts;
}

static Status compare_networks(const Replay *replay, const char *folder, const Manifest *manifest,
                               bool moments)
{
    const PpoRun *run = &replay->run;
    const AdamW *policy = moments ? &run->updater.policy.adamw : NULL;
    const AdamW *critic = moments ? &run->updater.critic.adamw : NULL;
    TRY(difference_network(folder, "policy", manifest, &run->policy, policy));
    return difference_network(folder, "critic", manifest, &run->critic, critic);
}

static Status compare_checkpoint(Replay *replay)
{
    Stage *stage = replay->job.stage;
    const int64_t step = replay->run.state.step;
    PpoState state;
    TRY(checkpoint_at(stage->checkpoint, &stage->checkpoint_manifest, stage->folder, step));
    TRY(check_checkpoint(replay));
    TRY(ppo_read_state(&state, stage->checkpoint, &stage->checkpoint_manifest, step));
    if (state.kl_coef != replay->run.state.kl_coef) {
        return status_fail(STATUS_BROKEN, "%s/state.json: kl_coef is %.17g, computed again %.17g",
                           stage->checkpoint, state.kl_coef, replay->run.state.kl_coef);
    }
    return compare_networks(replay, stage->checkpoint, &stage->checkpoint_manifest, true);
}

static Status compare_published(const Replay *replay)
{
    const Stage *stage = replay->job.stage;
    Manifest manifest = {0};
    TRY(manifest_read(&manifest, stage->folder));
    return compare_networks(replay, stage->folder, &manifest, false);
}

/* The weights after the update, wherever the run has them. */
static Status compare_after(Replay *replay)
{
    const int64_t step = replay->run.state.step;
    replay->as_checkpoint = is_kept(replay, step);
    replay->as_next_rollout = step < replay->steps;
    replay->as_published = step == replay->steps && replay->finished;
    if (replay->as_checkpoint) TRY(compare_checkpoint(replay));
    if (replay->as_next_rollout) {
        TRY(replay_read_rollout(replay, step + 1));
        TRY(compare_hashes(replay));
    }
    return replay->as_published ? compare_published(replay) : STATUS_OK;
}

Status replay_update(Replay *replay)
{
    double value[PPO_METRICS];
    const int64_t step = replay->run.state.step + 1;
    TRY(replay_read_rollout(replay, step));
    Status status = compare_rollout(replay, value);
    if (status == STATUS_OK) status = update(replay, value);
    if (status == STATUS_OK) status = compare_after(replay);
    return status_context(status, "update %" PRId64, step);
}
