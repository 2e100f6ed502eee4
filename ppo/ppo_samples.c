#include "data/prompts.h"
#include "data/store/store.h"
#include "ppo/ppo_run.h"
#include "ppo/sample_file.h"
#include "reward/reward_model.h"

#include <string.h>

static const char samples_file[] = "samples.h5";

void ppo_samples_layout(PpoRun *run, Arena *arena)
{
    PpoSamples *samples = &run->samples;
    const PpoConfig *config = run->job->config;
    /* Before the first step, every so many, and after the last. */
    const int64_t times = config->sample_every > 0 ? config->steps / config->sample_every + 2 : 0;
    const size_t capacity = (size_t)times * PPO_SAMPLE_PROMPTS;
    samples->capacity = (int)capacity;
    samples->step = arena_push(arena, capacity, sizeof *samples->step);
    samples->prompt_id = arena_push(arena, capacity, sizeof *samples->prompt_id);
    samples->score = arena_floats(arena, capacity);
    samples->gold = arena_floats(arena, capacity);
    samples->terminated = arena_push(arena, capacity, sizeof *samples->terminated);
}

/* Answers to the fixed prompts with score and gold, at the end of the arrays. */
static Status answer_fixed_prompts(Sequences *prompts, Sequences *answers, PpoRun *run,
                                   int64_t step)
{
    PpoSamples *samples = &run->samples;
    const int from = samples->count;
    GenerateRequest request[PPO_SAMPLE_PROMPTS];
    for (int i = 0; i < PPO_SAMPLE_PROMPTS; i++) {
        samples->step[from + i] = step;
        samples->prompt_id[from + i] = i;
        request[i] = (GenerateRequest){.prompt_id = i, .sample = 0, .prompt = i};
    }
    const GenerateConfig config = ppo_sampling(run, RNG_SAMPLES, step);
    TRY(prompts_read(prompts, run->job->task, run->tokenizer, TASK_HELD_OUT,
                     samples->prompt_id + from, PPO_SAMPLE_PROMPTS));
    TRY(generate(answers, samples->terminated + from, &run->policy, prompts, request,
                 PPO_SAMPLE_PROMPTS, &config));
    TRY(reward_score(samples->score + from, &run->reward_model, answers, run->job->stage->threads));
    return answers_gold(samples->gold + from, run->job->task, answers, run->tokenizer);
}

Status ppo_samples_add(PpoRun *run, int64_t step)
{
    PpoSamples *samples = &run->samples;
    Sequences prompts = {0}, answers = {0};
    Status status = answer_fixed_prompts(&prompts, &answers, run, step);
    for (int i = 0; i < answers.count && status == STATUS_OK; i++) {
        const int32_t *token = answers.token + answers.offset[i];
        status = sequences_add(&samples->answers, token, answers.prompt[i],
                               token + answers.prompt[i], sequences_response(&answers, i));
    }
    sequences_free(&answers);
    sequences_free(&prompts);
    TRY(status_context(status, "samples after step %lld", (long long)step));
    samples->count += PPO_SAMPLE_PROMPTS;
    TRY(ppo_events_samples(run, step));
    return ppo_samples_write(run, run->job->stage->folder);
}

static Status put_column(StoreImage *image, const char *name, StoreType type, int64_t count,
                         const void *data, bool packed)
{
    const size_t extent[1] = {(size_t)count};
    return store_put(image, name, type, 1, extent, data, packed);
}

static Status put_numbers(StoreImage *image, const PpoRun *run)
{
    const PpoSamples *samples = &run->samples;
    const Sequences *answers = &samples->answers;
    const int n = samples->count;
    TRY(put_column(image, "/sample/step", STORE_I64, n, samples->step, true));
    TRY(put_column(image, "/sample/prompt_id", STORE_I64, n, samples->prompt_id, true));
    TRY(put_column(image, "/sample/prompt_length", STORE_I32, n, answers->prompt, true));
    TRY(put_column(image, "/sample/score", STORE_F32, n, samples->score, false));
    TRY(put_column(image, "/sample/gold", STORE_F32, n, samples->gold, false));
    TRY(put_column(image, "/sample/terminated", STORE_U8, n, samples->terminated, true));
    TRY(put_column(image, "/sample/offset", STORE_I64, n + 1, answers->offset, true));
    TRY(put_column(image, "/token/id", STORE_I32, sequences_tokens(answers), answers->token, true));
    TRY(store_put_text(image, "/", "format", "rlhf samples"));
    TRY(store_put_integer(image, "/", "format_version", SAMPLE_FORMAT_VERSION));
    TRY(store_put_number(image, "/", "temperature", run->job->config->temperature));
    return store_put_integer(image, "/", "seed", (int64_t)run->job->stage->seed);
}

/* Prompt and response of every sample, for people. */
static Status put_texts(StoreImage *image, const PpoRun *run, Texts *prompts, Texts *responses,
                        Bytes *prompt, Bytes *response)
{
    for (int i = 0; i < run->samples.count; i++) {
        TaskAnswer answer;
        bytes_clear(prompt);
        bytes_clear(response);
        TRY(answer_read(&answer, prompt, response, &run->samples.answers, i, run->tokenizer));
        TRY(texts_add(prompts, answer.prompt, answer.prompt_count));
        TRY(texts_add(responses, answer.response, answer.response_count));
    }
    TRY(store_put_texts(image, "/text/prompt", prompts));
    return store_put_texts(image, "/text/response", responses);
}

Status ppo_samples_write(const PpoRun *run, const char *folder)
{
    if (run->samples.count == 0) return STATUS_OK;
    char path[STAGE_PATH];
    TRY(path_join(path, folder, samples_file));
    StoreImage *image = NULL;
    TRY(store_create(&image));
    Texts prompts = {0}, responses = {0};
    Bytes prompt = {0}, response = {0};
    Status status = put_numbers(image, run);
    if (status == STATUS_OK) {
        status = put_texts(image, run, &prompts, &responses, &prompt, &response);
    }
    texts_free(&prompts);
    texts_free(&responses);
    bytes_free(&prompt);
    bytes_free(&response);
    if (status == STATUS_OK) return store_publish(image, path, NULL);
    store_discard(image);
    return status_context(status, "%s", path);
}

Status ppo_samples_read(PpoRun *run, const char *folder, const Manifest *manifest)
{
    PpoSamples *samples = &run->samples;
    if (samples->capacity == 0) return STATUS_OK;
    char path[STAGE_PATH];
    const Digest *expected;
    SampleFile file;
    TRY(manifest_digest(&expected, manifest, folder, samples_file));
    TRY(path_join(path, folder, samples_file));
    TRY(sample_file_read(&file, path, expected, tokenizer_vocabulary(run->tokenizer)));
    const size_t n = (size_t)file.count;
    Status status = STATUS_OK;
    if (file.count > samples->capacity) {
        status = status_fail(STATUS_DATA, "%s: %d samples where %d can be", path, file.count,
                             samples->capacity);
    } else {
        samples->count = file.count;
        samples->answers = file.answers;
        file.answers = (Sequences){0};
        memcpy(samples->step, file.step, n * sizeof *samples->step);
        memcpy(samples->prompt_id, file.prompt_id, n * sizeof *samples->prompt_id);
        memcpy(samples->score, file.score, n * sizeof *samples->score);
        memcpy(samples->gold, file.gold, n * sizeof *samples->gold);
        memcpy(samples->terminated, file.terminated, n * sizeof *samples->terminated);
    }
    sample_file_free(&file);
    return status;
}
