#include "tests/support.h"

#include "data/store/store.h"
#include "ppo/rollout_list.h"
#include "ppo/verify.h"
#include "tests/toy_ppo.h"

/* A finished toy stage with checkpoints of steps 2 and 4, and what looks at it. */
typedef struct Subject {
    Toy toy;
    Stage stage;
    PpoJob job;
    Replay replay;
} Subject;

static void subject_look(Subject *subject, int threads)
{
    Toy *toy = &subject->toy;
    subject->stage = toy_stage(toy->run, "ppo", threads);
    subject->job = toy->job;
    subject->job.stage = &subject->stage;
}

static void subject_begin(Subject *subject)
{
    toy_begin(&subject->toy);
    subject->toy.job.keep_every = 2;
    subject->toy.config.kl_target = 0.5;
    snprintf(subject->toy.config.kl_controller, CONFIG_TEXT, "adaptive");
}

static void subject_train(Subject *subject)
{
    assert_ok(toy_life(&subject->toy, 1, (StageHooks){0}));
    subject_look(subject, 1);
}

/* Repeats every update from every place one can begin at. */
static void check_all_updates(Subject *subject, int threads)
{
    subject_look(subject, threads);
    Replay *replay = &subject->replay;
    assert_ok(replay_open(replay, &subject->job));
    assert_int_equal(replay->steps, 5);
    for (int64_t from = 4; from >= 0; from--) {
        assert_ok(replay_seek(replay, from));
        assert_int_equal(replay->run.state.step, from == 1 ? 0 : from == 3 ? 2 : from);
        while (replay->run.state.step < 5) {
            assert_ok(replay_update(replay));
            const int64_t step = replay->run.state.step;
            assert_int_equal(replay->as_next_rollout, step < 5);
            assert_int_equal(replay->as_published, step == 5);
            assert_int_equal(replay->as_checkpoint, step == 2 || step == 4);
        }
    }
    VerifyReport report = {0};
    assert_ok(verify_rollouts(&report, replay));
    assert_int_equal(report.rollouts, 5);
    assert_int_equal(report.answers, 5 * 16);
    assert_ok(verify_updates(&report, replay, 0, 0));
    assert_int_equal(report.updates, 3); /* 1, 3 and 5 */
    assert_true(report.scored > 0);
    assert_ok(verify_updates(&report, replay, 2, 4));
    assert_int_equal(report.updates, 3 + 4); /* from the start on */
    replay_close(replay);
}

static void updates_come_out_again_to_the_bit(void **state)
{
    (void)state;
    Subject subject;
    subject_begin(&subject);
    subject_train(&subject);
    check_all_updates(&subject, 1);
    check_all_updates(&subject, 3);
    toy_end(&subject.toy);
}

static void so_they_do_under_every_rule(void **state)
{
    (void)state;
    Subject subject;
    subject_begin(&subject);
    PpoConfig *config = &subject.toy.config;
    config->whiten_rewards = true;
    config->critic_warmup = 2;
    config->target_kl = 0.001;
    config->reward_clip = 0.5;
    config->value_clip_range = 0;
    config->gamma = 0.9;
    config->temperature = 0.7;
    config->sample_every = 0;
    snprintf(config->missing_eos, CONFIG_TEXT, "subtract");
    subject_train(&subject);
    check_all_updates(&subject, 2);
    toy_end(&subject.toy);
}

static void so_they_do_with_a_judge_that_reads_in_both_directions(void **state)
{
    (void)state;
    Subject subject;
    subject_begin(&subject);
    toy_publish_reward_model(subject.toy.run, false);
    subject_train(&subject);
    check_all_updates(&subject, 1);
    toy_end(&subject.toy);
}

/* ---- forgeries: changed files whose hashes fit ---- */

/* The trained run that tests forge in and mend. */
static Subject victim;

static int make_victim(void **state)
{
    (void)state;
    store_setup();
    subject_begin(&victim);
    subject_train(&victim);
    return 0;
}

static int drop_victim(void **state)
{
    (void)state;
    toy_end(&victim.toy);
    return 0;
}

static void keep_file(Bytes *kept, const char *path)
{
    assert_ok(io_read(kept, path, (size_t)1 << 30));
}

static void mend_file(Bytes *kept, const char *path)
{
    assert_ok(io_publish(path, kept->data, kept->count));
    bytes_free(kept);
}

static Status verify_all(int64_t first, int64_t last)
{
    VerifyReport report = {0};
    Replay *replay = &victim.replay;
    Status status = replay_open(replay, &victim.job);
    if (status == STATUS_OK && first == 0) status = verify_rollouts(&report, replay);
    if (status == STATUS_OK && first > 0) status = verify_updates(&report, replay, first, last);
    replay_close(replay);
    return status;
}

typedef void Forge(Rollout *rollout);

/* The first response token of sequence 3. */
static int64_t a_token(const Rollout *rollout)
{
    return rollout->offset[3] + rollout->prompt_length[3];
}
static void nudge(float *x)
{
    *x += 0.25f;
}
static void forge_logp(Rollout *rollout)
{
    nudge(&rollout->logp[a_token(rollout)]);
}
static void forge_reference(Rollout *rollout)
{
    nudge(&rollout->reference_logp[a_token(rollout)]);
}
static void forge_value(Rollout *rollout)
{
    nudge(&rollout->value[a_token(rollout)]);
}
static void forge_reward(Rollout *rollout)
{
    nudge(&rollout->reward[a_token(rollout)]);
}
static void forge_prompt(Rollout *rollout)
{
    rollout->reward[rollout->offset[3]] = 1e-30f;
}
static void forge_advantage(Rollout *rollout)
{
    nudge(&rollout->advantage[a_token(rollout)]);
}
static void forge_return(Rollout *rollout)
{
    nudge(&rollout->returns[a_token(rollout)]);
}
static void forge_score(Rollout *rollout)
{
    nudge(&rollout->score[3]);
}
static void forge_raw_score(Rollout *rollout)
{
    nudge(&rollout->raw_score[3]);
}
static void forge_kl(Rollout *rollout)
{
    nudge(&rollout->kl[3]);
}
static void forge_rlhf_reward(Rollout *rollout)
{
    nudge(&rollout->rlhf_reward[3]);
}
static void forge_gold(Rollout *rollout)
{
    nudge(&rollout->gold[3]);
}
static void forge_coefficient(Rollout *rollout)
{
    rollout->kl_coef += 1e-9;
}
static void forge_prompt_id(Rollout *rollout)
{
    rollout->prompt_id[3] += 3;
}
static void forge_step(Rollout *rollout)
{
    rollout->step = 4;
}
static void forge_temperature(Rollout *rollout)
{
    rollout->temperature = 0.9;
}
static void forge_word(Rollout *rollout)
{
    int32_t *id = &rollout->id[rollout->offset[3]];
    *id = (*id + 1) % TOY_WORDS;
}
static void forge_end(Rollout *rollout)
{
    rollout->terminated[3] = !rollout->terminated[3];
    rollout->truncated[3] = !rollout->truncated[3];
}
static void forge_policy_hash(Rollout *rollout)
{
    rollout->policy.low ^= 1;
}
static void forge_critic_hash(Rollout *rollout)
{
    rollout->critic.low ^= 1;
}
static void forge_judge_hash(Rollout *rollout)
{
    rollout->reward_model.high ^= 1;
}

/* Rewrites rollouts/000003.h5, changed; `check` must then say `part`. */
static void check_forged(Forge *forge, int64_t first, const char *part)
{
    char path[600];
    Bytes kept = {0};
    RolloutFile file;
    toy_path(path, &victim.toy, "rollouts/000003.h5");
    keep_file(&kept, path);
    assert_ok(rollout_read(&file, path, NULL, TOY_WORDS + 1));
    forge(&file.rollout);
    assert_ok(rollout_write(&file.rollout, NULL, 0, NULL, path, NULL));
    rollout_free(&file);
    assert_fails(verify_all(first, 3), STATUS_BROKEN, part);
    assert_non_null(strstr(status_message(), "rollouts/000003.h5"));
    mend_file(&kept, path);
}

static void rollouts_that_do_not_follow_are_named(void **state)
{
    (void)state;
    assert_ok(verify_all(0, 0));
    check_forged(forge_logp, 0, "000003.h5: sequence 3, token 3: reward is ");
    check_forged(forge_reference, 0, "sequence 3, token 3: reward is ");
    check_forged(forge_value, 0, "sequence 3, token 3: advantage is ");
    check_forged(forge_reward, 0, "sequence 3, token 3: reward is ");
    check_forged(forge_prompt, 0, "sequence 3, token 0: reward is 1e-30, computed again 0");
    check_forged(forge_advantage, 0, "sequence 3, token 3: advantage is ");
    check_forged(forge_return, 0, "sequence 3, token 3: return is ");
    check_forged(forge_score, 0, "sequence 3: score is ");
    check_forged(forge_raw_score, 0, "sequence 3: score is ");
    check_forged(forge_kl, 0, "sequence 3: kl is ");
    check_forged(forge_rlhf_reward, 0, "sequence 3: rlhf_reward is ");
    check_forged(forge_gold, 0, "sequence 3: gold is ");
    check_forged(forge_coefficient, 0, "kl_coef is ");
    check_forged(forge_prompt_id, 0, "sequence 3: prompt_id is 38, not 35");
    check_forged(forge_word, 0, "sequence 3: its prompt is not number 35 of the task");
    check_forged(forge_end, 0, "sequence 3, token ");
    check_forged(forge_step, 0, "000003.h5: of step 4");
    check_forged(forge_temperature, 0, "16 answers at temperature 0.9, not 16 at 1");
    assert_ok(verify_all(0, 0));
}

static void replaying_names_what_the_networks_do_not_say(void **state)
{
    (void)state;
    assert_ok(verify_all(3, 3));
    check_forged(forge_logp, 3, "update 3: ");
    check_forged(forge_logp, 3, "sequence 3, token 3: logp is ");
    check_forged(forge_reference, 3, "sequence 3, token 3: reference_logp is ");
    check_forged(forge_value, 3, "sequence 3, token 3: value is ");
    check_forged(forge_raw_score, 3, "sequence 3: raw_score is ");
    check_forged(forge_coefficient, 3, "kl_coef is ");
    check_forged(forge_policy_hash, 3, "policy_hash is ");
    check_forged(forge_critic_hash, 2, "update 2: ");
    check_forged(forge_judge_hash, 3, "reward_model_hash is ");
    assert_ok(verify_all(3, 3));
}

/* An advantage enters the update: what follows differs, wherever it is seen first. */
static void replaying_notices_another_advantage(void **state)
{
    (void)state;
    char path[600];
    Bytes kept = {0};
    RolloutFile file;
    toy_path(path, &victim.toy, "rollouts/000003.h5");
    keep_file(&kept, path);
    assert_ok(rollout_read(&file, path, NULL, TOY_WORDS + 1));
    file.rollout.advantage[a_token(&file.rollout)] += 1.0f;
    assert_ok(rollout_write(&file.rollout, NULL, 0, NULL, path, NULL));
    rollout_free(&file);
    assert_fails(verify_all(3, 3), STATUS_BROKEN, "metrics.jsonl: step 3: ");
    mend_file(&kept, path);
}

/* Replaces the number of `name` in line `step` of the journal by 0.125. */
static void forge_metric(const char *path, int step, const char *name)
{
    Bytes text = {0}, forged = {0};
    keep_file(&text, path);
    const char *line = text.data;
    for (int i = 1; i < step; i++) line = strchr(line, '\n') + 1;
    const char *number = strstr(line, name) + strlen(name) + 2;
    const size_t length = strcspn(number, ",}");
    assert_ok(bytes_append(&forged, text.data, (size_t)(number - text.data)));
    assert_ok(bytes_text(&forged, "0.125"));
    assert_ok(bytes_text(&forged, number + length));
    assert_ok(io_publish(path, forged.data, forged.count));
    bytes_free(&text);
    bytes_free(&forged);
}

static void check_forged_metric(const char *name, int64_t first)
{
    char path[600], part[128];
    Bytes kept = {0};
    toy_path(path, &victim.toy, "metrics.jsonl");
    keep_file(&kept, path);
    forge_metric(path, 3, name);
    snprintf(part, sizeof part, "metrics.jsonl: step 3: %s is 0.125, computed again ", name);
    assert_fails(verify_all(first, 3), STATUS_BROKEN, part);
    mend_file(&kept, path);
}

static void every_metric_is_computed_again(void **state)
{
    (void)state;
    for (int m = 0; m < PPO_METRICS; m++) {
        if (m >= PPO_EXACT_KL) continue; /* not of this world; and nothing was skipped */
        check_forged_metric(ppo_metrics.metrics[m].name, m <= PPO_EXPLAINED_VAR ? 0 : 3);
    }
}

static void a_journal_that_skips_a_step_is_refused(void **state)
{
    (void)state;
    char path[600];
    Bytes kept = {0};
    toy_path(path, &victim.toy, "metrics.jsonl");
    keep_file(&kept, path);
    const char *second = strchr(kept.data, '\n') + 1;
    assert_ok(io_publish(path, second, kept.count - (size_t)(second - kept.data)));
    assert_fails(verify_all(0, 0), STATUS_BROKEN, "metrics.jsonl: line 1: step is 2, not 1");
    assert_ok(io_publish(path, kept.data, (size_t)(second - kept.data)));
    assert_fails(verify_all(0, 0), STATUS_BROKEN, "metrics.jsonl: 1 steps, not 5");
    mend_file(&kept, path);
}

/* What of a checkpoint's or the published network is changed. */
typedef enum Part { PART_WEIGHT, PART_M, PART_V, PART_UPDATES } Part;

/* One number of folder/NAME.h5, with the folder's manifest made anew. */
static void forge_network(const char *folder, const char *name, Part part, bool moments)
{
    Manifest manifest;
    Model model = {0};
    AdamW adamw = {0};
    assert_ok(manifest_read(&manifest, folder));
    assert_ok(network_read(&model, moments ? &adamw : NULL, folder, name, &manifest, NULL));
    const size_t at = model.count - 2;
    if (part == PART_WEIGHT) nudge(&model.flat[at]);
    if (part == PART_M) nudge(&adamw.m[at]);
    if (part == PART_V) nudge(&adamw.v[at]);
    if (part == PART_UPDATES) adamw.step++;
    char names[NETWORK_FILES_MAX][128];
    int count = 0;
    assert_ok(
        network_write(names, &count, folder, name, &model, moments ? &adamw : NULL, TOY_WORDS));
    assert_ok(manifest_add(&manifest, folder, names[0]));
    assert_ok(manifest_write(&manifest, folder));
    model_free(&model);
    adamw_free(&adamw);
}

static void check_forged_network(const char *folder, const char *name, Part part,
                                 const char *expected)
{
    char path[700], manifest[700], place[600];
    Bytes kept = {0}, kept_manifest = {0};
    toy_path(place, &victim.toy, folder);
    snprintf(path, sizeof path, "%s/%s.h5", place, name);
    snprintf(manifest, sizeof manifest, "%s/manifest.json", place);
    keep_file(&kept, path);
    keep_file(&kept_manifest, manifest);
    forge_network(place, name, part, folder[0] == 'c');
    assert_fails(verify_all(1, 5), STATUS_BROKEN, expected);
    mend_file(&kept, path);
    mend_file(&kept_manifest, manifest);
}

static void networks_are_compared_tensor_by_tensor(void **state)
{
    (void)state;
    assert_ok(verify_all(1, 5));
    check_forged_network("checkpoints/step-000002", "policy", PART_WEIGHT,
                         "step-000002/policy.h5: transformer.ln_f.bias, element 14: is ");
    check_forged_network("checkpoints/step-000004", "critic", PART_WEIGHT,
                         "step-000004/critic.h5: v_head.summary.weight, element 15: is ");
    check_forged_network("checkpoints/step-000004", "policy", PART_M,
                         "policy.h5: first moment of transformer.ln_f.bias, element 14: is ");
    check_forged_network("checkpoints/step-000004", "critic", PART_V,
                         "critic.h5: second moment of v_head.summary.weight, element 15: is ");
    check_forged_network("checkpoints/step-000002", "policy", PART_UPDATES,
                         "policy.h5: after 9 updates, computed again 8");
    check_forged_network("", "policy", PART_WEIGHT,
                         "ppo/policy.h5: transformer.ln_f.bias, element 14: is ");
    assert_ok(verify_all(1, 5));
}

/* Replaying from it does not know what it was, but rollouts do. */
static void a_forged_checkpoint_does_not_lead_on(void **state)
{
    (void)state;
    char folder[600], path[700], manifest[700];
    Bytes kept = {0}, kept_manifest = {0};
    toy_path(folder, &victim.toy, "checkpoints/step-000002");
    snprintf(path, sizeof path, "%s/policy.h5", folder);
    snprintf(manifest, sizeof manifest, "%s/manifest.json", folder);
    keep_file(&kept, path);
    keep_file(&kept_manifest, manifest);
    forge_network(folder, "policy", PART_WEIGHT, true);
    assert_fails(verify_all(3, 3), STATUS_BROKEN, "rollouts/000003.h5: policy_hash is ");
    mend_file(&kept, path);
    keep_file(&kept, path);
    assert_fails(verify_all(3, 3), STATUS_BROKEN, "policy.h5: its hash is ");
    mend_file(&kept_manifest, manifest);
    mend_file(&kept, path);

    victim.stage.made_from.low = 1;
    assert_fails(verify_all(3, 3), STATUS_BROKEN,
                 "step-000002: made from other settings or inputs than this run");
    victim.stage.made_from.low = 0;
    assert_ok(verify_all(3, 3));
}

static void damage_is_located_in_the_numbers(void **state)
{
    (void)state;
    char path[600];
    Bytes kept = {0};
    toy_path(path, &victim.toy, "metrics.jsonl");
    keep_file(&kept, path);
    forge_metric(path, 2, "objective/kl_k3");
    VerifyReport report = {0};
    const Status status = verify_files(&report, victim.toy.run, "ppo", (Digest){0});
    assert_fails(status, STATUS_BROKEN, "ppo/metrics.jsonl: ");
    assert_fails(verify_locate(status, &victim.job), STATUS_BROKEN,
                 "step 2: objective/kl_k3 is 0.125, computed again ");
    mend_file(&kept, path);
    report = (VerifyReport){0};
    assert_ok(verify_files(&report, victim.toy.run, "ppo", (Digest){0}));
    assert_int_equal(report.files, 8 + 5);
    assert_fails(verify_files(&report, victim.toy.run, "ppo", (Digest){.low = 1}), STATUS_BROKEN,
                 "ppo/manifest.json: made from other settings");
    assert_fails(verify_files(&report, victim.toy.run, "label", (Digest){0}), STATUS_BROKEN,
                 "label/manifest.json: missing");
    assert_fails(verify_locate(status_fail(STATUS_BROKEN, "x.h5: gone"), &victim.job),
                 STATUS_BROKEN, "x.h5: gone");
}

/* A finished stage of one step, its list of rollouts in `version`. */
static void make_listed(const char *run, int version)
{
    char path[PATH_TEXT], text[512], digest[DIGEST_TEXT];
    Manifest manifest = {.stage = "ppo", .step = 1};
    snprintf(path, sizeof path, "%s/ppo/rollouts", run);
    assert_ok(io_make_folder(path));
    snprintf(path, sizeof path, "%s/ppo/rollouts/000001.h5", run);
    assert_ok(io_publish(path, "abc", 3));
    digest_text(digest, digest_of("abc", 3));
    const int count = snprintf(text, sizeof text,
                               "{\"format_version\": %d, \"files\": [{\"name\": \"000001.h5\", "
                               "\"size\": 3, \"xxh3_128\": \"%s\"}]}",
                               version, digest);
    snprintf(path, sizeof path, "%s/ppo/rollouts/manifest.json", run);
    assert_ok(io_publish(path, text, (size_t)count));
    snprintf(path, sizeof path, "%s/ppo", run);
    assert_ok(manifest_add(&manifest, path, "rollouts/manifest.json"));
    assert_ok(manifest_write(&manifest, path));
}

static void a_list_of_rollouts_in_another_format_is_refused(void **state)
{
    (void)state;
    char run[64];
    VerifyReport report = {0};
    test_folder(run);
    make_listed(run, ROLLOUT_LIST_VERSION);
    assert_ok(verify_files(&report, run, "ppo", (Digest){0}));
    assert_int_equal(report.files, 2);
    make_listed(run, ROLLOUT_LIST_VERSION + 1);
    assert_fails(verify_files(&report, run, "ppo", (Digest){0}), STATUS_BROKEN,
                 "rollouts/manifest.json:1:1: format_version = 2: this program reads 1");
    assert_ok(io_remove_tree(run));
}

static void missing_memory_is_a_failure_and_leaks_nothing(void **state)
{
    (void)state;
    Status status = STATUS_FAILED;
    int call = 1;
    for (; call < 5000 && status != STATUS_OK; call += 7) {
        memory_fault(call, 0);
        status = replay_open(&victim.replay, &victim.job);
        if (status == STATUS_OK) status = replay_update(&victim.replay);
        replay_close(&victim.replay);
        memory_fault(0, 0);
        if (status != STATUS_OK) assert_int_equal(status, STATUS_FAILED);
    }
    assert_true(call > 50 && call < 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_come_out_again_to_the_bit),
        cmocka_unit_test(so_they_do_under_every_rule),
        cmocka_unit_test(so_they_do_with_a_judge_that_reads_in_both_directions),
        cmocka_unit_test(rollouts_that_do_not_follow_are_named),
        cmocka_unit_test(replaying_names_what_the_networks_do_not_say),
        cmocka_unit_test(replaying_notices_another_advantage),
        cmocka_unit_test(every_metric_is_computed_again),
        cmocka_unit_test(a_journal_that_skips_a_step_is_refused),
        cmocka_unit_test(networks_are_compared_tensor_by_tensor),
        cmocka_unit_test(a_forged_checkpoint_does_not_lead_on),
        cmocka_unit_test(damage_is_located_in_the_numbers),
        cmocka_unit_test(a_list_of_rollouts_in_another_format_is_refused),
        cmocka_unit_test(missing_memory_is_a_failure_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, make_victim, drop_victim);
}
