#include "data/json.h"
#include "policy/network_file.h"
#include "ppo/ppo_run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { STATE_BYTES_MAX = 1 << 16, CHECKPOINT_FILES_MAX = 2 * NETWORK_FILES_MAX + 4 };

static const double kl_budget_default = 15.0; /* nats a sequence */

int64_t ppo_keep_every(const PpoJob *job)
{
    if (job->keep_every > 0) return job->keep_every;
    return job->config->steps >= 10 ? job->config->steps / 10 : 1;
}

void ppo_note_best(PpoRun *run, int64_t step, const double *value)
{
    PpoState *state = &run->state;
    if (run->last_checkpoint != step - 1) return;
    const double budget = run->job->kl_budget > 0.0 ? run->job->kl_budget : kl_budget_default;
    if (value[PPO_KL] <= budget &&
        (state->proxy_step == PPO_NONE || value[PPO_SCORES] > state->proxy)) {
        state->proxy_step = step - 1;
        state->proxy = value[PPO_SCORES];
    }
    if (isfinite(value[PPO_GOLD]) &&
        (state->gold_step == PPO_NONE || value[PPO_GOLD] > state->gold)) {
        state->gold_step = step - 1;
        state->gold = value[PPO_GOLD];
    }
}

static Status write_state(const PpoState *state, const char *folder)
{
    char path[STAGE_PATH], digest[DIGEST_TEXT];
    TRY(path_join(path, folder, "state.json"));
    digest_text(digest, state->list);
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_integer(&json, "step", state->step);
    json_put_number(&json, "kl_coef", state->kl_coef);
    json_put_integer(&json, "proxy_step", state->proxy_step);
    json_put_number(&json, "proxy", state->proxy);
    json_put_integer(&json, "gold_step", state->gold_step);
    json_put_number(&json, "gold", state->gold);
    json_put_integer(&json, "list_size", (int64_t)state->list_size);
    json_put_text(&json, "list_xxh3_128", digest);
    json_close(&json);
    Status status = json_done(&json);
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    bytes_free(&text);
    return status;
}

static Status parse_list(PpoState *state, Json root)
{
    int64_t size;
    const char *digest;
    TRY(json_get_integer(&size, root, "list_size"));
    TRY(json_get_text(&digest, root, "list_xxh3_128"));
    if (size < 0 || !digest_parse(&state->list, digest)) {
        return json_fail(root, "list_size or list_xxh3_128 is none");
    }
    state->list_size = (uint64_t)size;
    return STATUS_OK;
}

static Status parse_state(PpoState *state, Json root)
{
    TRY(json_get_integer(&state->step, root, "step"));
    TRY(json_get_number(&state->kl_coef, root, "kl_coef"));
    TRY(json_get_integer(&state->proxy_step, root, "proxy_step"));
    TRY(json_get_number(&state->proxy, root, "proxy"));
    TRY(json_get_integer(&state->gold_step, root, "gold_step"));
    TRY(json_get_number(&state->gold, root, "gold"));
    return parse_list(state, root);
}

Status ppo_read_state(PpoState *state, const char *folder, const Manifest *manifest, int64_t step)
{
    const Digest *expected;
    TRY(manifest_digest(&expected, manifest, folder, "state.json"));
    char path[STAGE_PATH];
    TRY(path_join(path, folder, "state.json"));
    JsonDocument *document = NULL;
    TRY(json_read(&document, STATUS_DATA, path, STATE_BYTES_MAX, expected));
    const Status status = parse_state(state, json_root(document));
    json_free(document);
    if (status == STATUS_OK && state->step != step) {
        return status_fail(STATUS_DATA, "%s: step is %" PRId64 ", not %" PRId64, path, state->step,
                           step);
    }
    return status;
}

Status ppo_load_guards(PpoRun *run)
{
    const Stage *stage = run->job->stage;
    TRY(guard_read(&run->updater.policy.guard, stage->checkpoint, "policy",
                   &stage->checkpoint_manifest));
    return guard_read(&run->updater.critic.guard, stage->checkpoint, "critic",
                      &stage->checkpoint_manifest);
}

Status ppo_load_state(PpoRun *run)
{
    const Stage *stage = run->job->stage;
    const Manifest *manifest = &stage->checkpoint_manifest;
    TRY(ppo_read_state(&run->state, stage->checkpoint, manifest, stage->step));
    TRY(ppo_samples_read(run, stage->checkpoint, manifest));
    TRY(ppo_load_guards(run));
    run->last_checkpoint = run->state.step;
    return STATUS_OK;
}

Status ppo_load_networks(PpoRun *run, AdamW *policy_moments, AdamW *critic_moments)
{
    const Stage *stage = run->job->stage;
    ModelShape expected = run->reference.shape;
    TRY(network_read(&run->policy, policy_moments, stage->checkpoint, "policy",
                     &stage->checkpoint_manifest, &expected));
    expected.head = HEAD_VALUE;
    return network_read(&run->critic, critic_moments, stage->checkpoint, "critic",
                        &stage->checkpoint_manifest, &expected);
}

/* Networks, state and samples into the folder; their names into `names`. */
static Status write_files(char names[][128], int *count, const PpoRun *run, const char *folder)
{
    const int32_t end = tokenizer_end(run->tokenizer);
    TRY(network_write(names, count, folder, "policy", &run->policy, &run->updater.policy.adamw,
                      end));
    TRY(network_write(names, count, folder, "critic", &run->critic, &run->updater.critic.adamw,
                      end));
    TRY(guard_write(names, count, folder, "policy", &run->updater.policy.guard));
    TRY(guard_write(names, count, folder, "critic", &run->updater.critic.guard));
    TRY(write_state(&run->state, folder));
    snprintf(names[(*count)++], 128, "state.json");
    if (run->samples.count == 0) return STATUS_OK;
    TRY(ppo_samples_write(run, folder));
    snprintf(names[(*count)++], 128, "samples.h5");
    return STATUS_OK;
}

/* The steps to keep for good: every so many, and the two best. Release *keep with
 * memory_release. */
static Status steps_to_keep(int64_t **keep, int *keeps, const PpoRun *run)
{
    const PpoState *state = &run->state;
    const int64_t every = ppo_keep_every(run->job);
    void *block;
    TRY(memory_claim(&block, ((size_t)(state->step / every) + 2) * sizeof **keep));
    int64_t *list = block;
    int count = 0;
    for (int64_t step = every; step <= state->step; step += every) list[count++] = step;
    if (state->proxy_step != PPO_NONE) list[count++] = state->proxy_step;
    if (state->gold_step != PPO_NONE) list[count++] = state->gold_step;
    *keep = list;
    *keeps = count;
    return STATUS_OK;
}

Status ppo_save(PpoRun *run)
{
    Stage *stage = run->job->stage;
    const int64_t step = run->state.step;
    char folder[STAGE_PATH], names[CHECKPOINT_FILES_MAX][128];
    int count = 0;
    TRY(ppo_list_commit(run));
    TRY(stage_checkpoint_begin(stage, folder, step));
    TRY(write_files(names, &count, run, folder));
    const char *list[CHECKPOINT_FILES_MAX];
    for (int i = 0; i < count; i++) list[i] = names[i];

    int64_t *keep;
    int keeps;
    TRY(steps_to_keep(&keep, &keeps, run));
    const Status status = stage_checkpoint(stage, folder, step, list, count, keep, keeps);
    memory_release(keep);
    if (status == STATUS_OK) run->last_checkpoint = step;
    return status;
}

Status ppo_finish(PpoRun *run, const char *const *names, int count)
{
    int64_t *keep;
    int keeps;
    TRY(steps_to_keep(&keep, &keeps, run));
    const Status status = stage_finish(run->job->stage, run->state.step, names, count, keep, keeps);
    memory_release(keep);
    return status;
}
