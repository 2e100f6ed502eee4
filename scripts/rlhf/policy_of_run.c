#include "scripts/rlhf/policy_of_run.h"

#include "data/parallel.h"
#include "policy/gemm.h"
#include "policy/network_file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const policy_stages[] = {"ppo", "sft", "pretrain"};
enum { POLICY_STAGES = 3 };

static Status has_manifest(bool *has, const char *run, const char *stage)
{
    char path[STAGE_PATH], folder[STAGE_PATH];
    TRY(path_join(folder, run, stage));
    TRY(path_join(path, folder, "manifest.json"));
    *has = io_exists(path);
    return STATUS_OK;
}

static Status choose_latest(RunPolicy *policy)
{
    for (int i = 0; i < POLICY_STAGES; i++) {
        bool has;
        TRY(has_manifest(&has, policy->run, policy_stages[i]));
        if (!has) continue;
        snprintf(policy->which, sizeof policy->which, "%s", policy_stages[i]);
        return STATUS_OK;
    }
    return status_fail(STATUS_DATA, "%s: no stage has published a policy yet; run: rlhf resume %s",
                       policy->run, policy->run);
}

/* Parts DIR@WHICH. */
static Status read_source(RunPolicy *policy, const char *source)
{
    const char *at = strrchr(source, '@');
    const size_t length = at != NULL ? (size_t)(at - source) : strlen(source);
    if (length == 0 || length > 300) {
        return status_fail(STATUS_USAGE, "%.40s: not a run directory", source);
    }
    snprintf(policy->run, sizeof policy->run, "%.*s", (int)length, source);
    if (at == NULL) return choose_latest(policy);
    snprintf(policy->which, sizeof policy->which, "%.31s", at + 1);
    if (isdigit((unsigned char)policy->which[0])) return STATUS_OK;
    for (int i = 0; i < POLICY_STAGES; i++) {
        if (strcmp(policy->which, policy_stages[i]) == 0) return STATUS_OK;
    }
    const char *near = config_nearest(policy->which, policy_stages, POLICY_STAGES);
    return status_fail(STATUS_USAGE, "@%s: no stage with a policy, no step; did you mean @%s?",
                       policy->which, near != NULL ? near : "ppo");
}

static Status load(RunPolicy *policy)
{
    char folder[STAGE_PATH], path[STAGE_PATH];
    Manifest manifest = {0};
    Digest digest;
    const bool step = isdigit((unsigned char)policy->which[0]);
    if (step) {
        char stage[STAGE_PATH];
        TRY(path_join(stage, policy->run, "ppo"));
        TRY(checkpoint_at(folder, &manifest, stage, strtoll(policy->which, NULL, 10)));
    } else {
        TRY(stage_input(path, &digest, policy->run, policy->which, "policy.h5"));
        TRY(path_join(folder, policy->run, policy->which));
        TRY(manifest_read(&manifest, folder));
    }
    TRY(stage_read_tokenizer(&policy->tokenizer, policy->run, step ? "sft" : policy->which));
    const ModelShape expected = {.vocabulary = tokenizer_vocabulary(policy->tokenizer)};
    return network_read(&policy->model, NULL, folder, "policy", &manifest, &expected);
}

Status run_policy_open(RunPolicy *policy, const char *source)
{
    *policy = (RunPolicy){0};
    TRY(gemm_setup());
    TRY(read_source(policy, source));
    TRY(settings_of_run(&policy->settings, policy->run));
    TRY(task_open(&policy->task, &policy->settings.task, (uint64_t)policy->settings.seed));
    return load(policy);
}

void run_policy_close(RunPolicy *policy)
{
    model_free(&policy->model);
    tokenizer_free(policy->tokenizer);
    task_close(&policy->task);
    *policy = (RunPolicy){0};
}

static GenerateConfig generate_config(const RunPolicy *policy, const Sampling *sampling)
{
    const bool greedy = sampling->temperature <= 0;
    return (GenerateConfig){.temperature = greedy ? 1 : sampling->temperature,
                            .top_k = greedy ? 1 : sampling->top_k,
                            .top_p = sampling->top_p,
                            .response_tokens = (int)policy->settings.task.response_tokens,
                            .end = tokenizer_end(policy->tokenizer),
                            .threads = parallel_cpus(),
                            .seed = sampling->seed,
                            .stage = RNG_GENERATE,
                            .purpose = RNG_SAMPLING};
}

Status run_policy_answer(Sequences *answers, const RunPolicy *policy, const Sequences *prompts,
                         const Sampling *sampling)
{
    const int count = prompts->count * sampling->samples;
    void *requests = NULL, *terminated = NULL;
    Status status = memory_claim(&requests, (size_t)count * sizeof(GenerateRequest));
    if (status == STATUS_OK) status = memory_claim(&terminated, (size_t)count);
    if (status == STATUS_OK) {
        GenerateRequest *request = requests;
        for (int i = 0; i < count; i++) {
            const int prompt = i / sampling->samples;
            request[i] = (GenerateRequest){prompt, i % sampling->samples, prompt};
        }
        const GenerateConfig config = generate_config(policy, sampling);
        status = generate(answers, terminated, &policy->model, prompts, requests, count, &config);
    }
    memory_release(requests);
    memory_release(terminated);
    return status;
}
