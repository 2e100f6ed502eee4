#include "ppo/verify.h"

#include "data/prompts.h"
#include "ppo/difference.h"
#include "ppo/rollout_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Damage is what is looked for here. */
static Status broken(Status status)
{
    if (status != STATUS_DATA) return status;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", status_message());
    return status_fail(STATUS_BROKEN, "%s", reason);
}

/* ---- files ---- */

static Status verify_file(VerifyReport *report, const ManifestFile *file, const char *folder)
{
    TRY(manifest_verify_file(file, folder));
    report->files++;
    report->bytes += file->size;
    return STATUS_OK;
}

static Status verify_list(VerifyReport *report, Json files, int64_t steps, const char *folder)
{
    int64_t step = 0;
    for (Json entry = json_first(files); entry.item != NULL; entry = json_next(entry)) {
        ManifestFile file;
        TRY(rollout_list_entry(&file, entry, ++step));
        TRY(verify_file(report, &file, folder));
    }
    if (step == steps) return STATUS_OK;
    return json_fail(files, "%" PRId64 " files for %" PRId64 " steps", step, steps);
}

static Status verify_rollout_files(VerifyReport *report, int64_t steps, const char *stage_folder)
{
    char folder[STAGE_PATH];
    JsonDocument *document;
    Json files;
    TRY(path_join(folder, stage_folder, "rollouts"));
    TRY(rollout_list_open(&document, &files, folder));
    const Status status = verify_list(report, files, steps, folder);
    json_free(document);
    return status;
}

static Status verify_stage(VerifyReport *report, const char *folder, const char *stage,
                           Digest made_from)
{
    Manifest manifest = {0};
    TRY(manifest_read(&manifest, folder));
    if (strcmp(manifest.stage, stage) != 0) {
        return status_fail(STATUS_DATA, "%s/manifest.json: of stage %s", folder, manifest.stage);
    }
    if (!digest_equal(manifest.made_from, made_from)) {
        return status_fail(STATUS_DATA,
                           "%s/manifest.json: made from other settings or inputs than config.json "
                           "and the stages before say",
                           folder);
    }
    for (int i = 0; i < manifest.count; i++) TRY(verify_file(report, &manifest.file[i], folder));
    if (strcmp(stage, "ppo") == 0) TRY(verify_rollout_files(report, manifest.step, folder));
    report->stages++;
    return STATUS_OK;
}

Status verify_files(VerifyReport *report, const char *run, const char *stage, Digest made_from)
{
    char folder[STAGE_PATH];
    TRY(path_join(folder, run, stage));
    return broken(verify_stage(report, folder, stage, made_from));
}

/* ---- rollouts ---- */

/* The columns that are computed again, zero at prompt tokens; the others are those of the file. */
static Rollout columns_again(const Replay *replay)
{
    const Rollout *found = &replay->file.rollout, *own = &replay->again;
    Rollout again = *found;
    again.reward = own->reward;
    again.advantage = own->advantage;
    again.returns = own->returns;
    again.score = own->score;
    again.gold = own->gold;
    again.kl = own->kl;
    again.rlhf_reward = own->rlhf_reward;
    float *const columns[] = {again.reward, again.advantage, again.returns};
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        memset(columns[c], 0, (size_t)found->tokens * sizeof *columns[c]);
    }
    return again;
}

static Status compute_columns(Rollout *again, const Replay *replay)
{
    const PpoConfig *config = replay->job.config;
    const Sequences sequences = rollout_sequences(again);
    for (int i = 0; i < again->count; i++) {
        again->score[i] =
            (float)ppo_config_score(config, (double)again->raw_score[i], again->terminated[i]);
    }
    TRY(answers_gold(again->gold, replay->job.task, &sequences, replay->run.tokenizer));
    ppo_shape(again, replay->run.compact, config);
    return STATUS_OK;
}

static Status compare_columns(const Rollout *found, const Rollout *again, const char *path)
{
    const int count = found->count;
    TRY(difference_sequences(path, "score", count, found->score, again->score));
    TRY(difference_tokens(path, "reward", found, found->reward, again->reward));
    TRY(difference_tokens(path, "advantage", found, found->advantage, again->advantage));
    TRY(difference_tokens(path, "return", found, found->returns, again->returns));
    TRY(difference_sequences(path, "kl", count, found->kl, again->kl));
    TRY(difference_sequences(path, "rlhf_reward", count, found->rlhf_reward, again->rlhf_reward));
    return difference_sequences(path, "gold", count, found->gold, again->gold);
}

/* An answer ends at its first end token or runs out of places. */
static Status compare_end(const Replay *replay, int i)
{
    const Rollout *rollout = &replay->file.rollout;
    const int32_t end = tokenizer_end(replay->run.tokenizer);
    const int64_t last = rollout->offset[i + 1] - 1;
    for (int64_t t = rollout->offset[i] + rollout->prompt_length[i]; t <= last; t++) {
        if ((rollout->id[t] == end) == (t == last && rollout->terminated[i])) continue;
        return status_fail(STATUS_BROKEN,
                           "%s: sequence %d, token %" PRId64 ": id is %d in an answer that %s",
                           replay->file_path, i, t - rollout->offset[i], rollout->id[t],
                           rollout->terminated[i] ? "ends at its last token" : "does not end");
    }
    return STATUS_OK;
}

static Status compare_prompt(const Replay *replay, const Sequences *prompts, int i)
{
    const Rollout *rollout = &replay->file.rollout;
    const int64_t length = sequences_length(prompts, i);
    if (rollout->prompt_length[i] == length &&
        memcmp(rollout->id + rollout->offset[i], prompts->token + prompts->offset[i],
               (size_t)length * sizeof *rollout->id) == 0) {
        return STATUS_OK;
    }
    return status_fail(STATUS_BROKEN,
                       "%s: sequence %d: its prompt is not number %" PRId64 " of the task",
                       replay->file_path, i, rollout->prompt_id[i]);
}

/* Prompts follow each other through the whole run. */
static Status compare_prompts(const Replay *replay)
{
    const Rollout *rollout = &replay->file.rollout;
    for (int i = 0; i < rollout->count; i++) {
        const int64_t id = (rollout->step - 1) * rollout->count + i;
        if (rollout->prompt_id[i] == id) continue;
        return status_fail(STATUS_BROKEN, "%s: sequence %d: prompt_id is %" PRId64 ", not %" PRId64,
                           replay->file_path, i, rollout->prompt_id[i], id);
    }
    Sequences prompts = {0};
    Status status = prompts_read(&prompts, replay->job.task, replay->run.tokenizer, TASK_TRAIN,
                                 rollout->prompt_id, rollout->count);
    for (int i = 0; i < rollout->count && status == STATUS_OK; i++) {
        status = compare_prompt(replay, &prompts, i);
    }
    sequences_free(&prompts);
    return status;
}

Status verify_rollout(double *value, Replay *replay)
{
    const Rollout *found = &replay->file.rollout;
    Rollout again = columns_again(replay);
    TRY(compare_prompts(replay));
    for (int i = 0; i < found->count; i++) TRY(compare_end(replay, i));
    TRY(compute_columns(&again, replay));
    TRY(compare_columns(found, &again, replay->file_path));
    ppo_rollout_metrics(value, &again);
    return STATUS_OK;
}

static Status verify_step(VerifyReport *report, double *kl_coef, Replay *replay, int64_t step)
{
    double value[PPO_METRICS];
    TRY(replay_read_rollout(replay, step));
    const Rollout *rollout = &replay->file.rollout;
    if (rollout->kl_coef != *kl_coef) {
        return status_fail(STATUS_BROKEN, "%s: kl_coef is %.17g, by its rule %.17g",
                           replay->file_path, rollout->kl_coef, *kl_coef);
    }
    TRY(verify_rollout(value, replay));
    TRY(difference_metrics(replay->journal_path, &replay->journal, &ppo_metrics, step, value,
                           PPO_KL, PPO_EXPLAINED_VAR));
    if (step > replay->run.critic_warmup) {
        *kl_coef = ppo_config_next_kl_coef(replay->job.config, *kl_coef, value[PPO_KL]);
    }
    report->rollouts++;
    report->answers += rollout->count;
    for (int i = 0; i < rollout->count; i++) report->tokens += rollout->response_length[i];
    return STATUS_OK;
}

Status verify_rollouts(VerifyReport *report, Replay *replay)
{
    double kl_coef = replay->job.config->kl_coef;
    for (int64_t step = 1; step <= replay->steps; step++) {
        TRY(broken(verify_step(report, &kl_coef, replay, step)));
    }
    return STATUS_OK;
}

/* ---- updates ---- */

static Status repeat(VerifyReport *report, Replay *replay, int64_t first, int64_t last)
{
    TRY(replay_seek(replay, first - 1));
    while (replay->run.state.step < last) {
        TRY(replay_update(replay));
        report->updates++;
        report->scored = replay->tokens;
    }
    return STATUS_OK;
}

Status verify_updates(VerifyReport *report, Replay *replay, int64_t first, int64_t last)
{
    if (first > 0) return broken(repeat(report, replay, first, last));
    if (replay->steps == 0) return STATUS_OK;
    TRY(broken(repeat(report, replay, 1, 1)));
    for (int i = 0; i < replay->kepts; i++) {
        const int64_t step = replay->kept[i] + 1;
        if (step <= replay->steps) TRY(broken(repeat(report, replay, step, step)));
    }
    return STATUS_OK;
}

/* ---- where ---- */

Status verify_locate(Status status, const PpoJob *job)
{
    if (status != STATUS_BROKEN) return status;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", status_message());
    Replay replay;
    VerifyReport report = {0};
    status = broken(replay_open(&replay, job));
    if (status == STATUS_OK) status = verify_rollouts(&report, &replay);
    if (status == STATUS_OK) status = verify_updates(&report, &replay, 0, 0);
    replay_close(&replay);
    if (status != STATUS_BROKEN || strcmp(status_message(), reason) == 0) {
        return status_fail(STATUS_BROKEN, "%s", reason);
    }
    return status_context(STATUS_BROKEN, "%s", reason);
}
