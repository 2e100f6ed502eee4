#include "reward/reward_scale.h"

#include "data/prompts.h"
#include "policy/generate.h"
#include "policy/inputs.h"

#include <gsl/gsl_statistics_double.h>
#include <gsl/gsl_statistics_float.h>
#include <math.h>

/* The answers and what is known of them; arrays: (count). */
typedef struct Fresh {
    int count;
    int64_t *index;
    GenerateRequest *request;
    uint8_t *terminated;
    float *score, *gold;
    double *a, *b, *scratch; /* scratch: (2 count) */
    Sequences prompts, answers;
    Arena arena;
} Fresh;

static void fresh_layout(Fresh *f, Arena *arena)
{
    const size_t n = (size_t)f->count;
    f->index = arena_push(arena, n, sizeof *f->index);
    f->request = arena_push(arena, n, sizeof *f->request);
    f->terminated = arena_push(arena, n, sizeof *f->terminated);
    f->score = arena_floats(arena, n);
    f->gold = arena_floats(arena, n);
    f->a = arena_doubles(arena, n);
    f->b = arena_doubles(arena, n);
    f->scratch = arena_doubles(arena, 2 * n);
}

static Status draw(Fresh *f, const RewardJob *job, const Tokenizer *tokenizer, int64_t first_prompt)
{
    const GenerateConfig config = {
        .temperature = job->sampling_temperature,
        .top_p = 1.0,
        .response_tokens = (int)job->task->config->response_tokens,
        .end = tokenizer_end(tokenizer),
        .threads = job->stage->threads,
        .hooks = &job->stage->hooks,
        .seed = job->stage->seed,
        .stage = RNG_REWARD,
        .purpose = RNG_SAMPLING,
    };
    for (int i = 0; i < f->count; i++) {
        f->index[i] = first_prompt + i;
        f->request[i] = (GenerateRequest){.prompt_id = f->index[i], .sample = 0, .prompt = i};
    }
    TRY(prompts_read(&f->prompts, job->task, tokenizer, TASK_TRAIN, f->index, f->count));
    Model policy = {0};
    const ModelShape expected = {.vocabulary = tokenizer_vocabulary(tokenizer)};
    Status status = input_network(&policy, job->stage->run, "sft", "policy", &expected);
    if (status == STATUS_OK) {
        status = generate(&f->answers, f->terminated, &policy, &f->prompts, f->request, f->count,
                          &config);
    }
    model_free(&policy);
    return status;
}

static void correlate(RewardScale *scale, Fresh *f)
{
    const size_t n = (size_t)f->count;
    for (int i = 0; i < f->count; i++) {
        f->a[i] = f->score[i];
        f->b[i] = (double)sequences_response(&f->answers, i);
    }
    scale->length_correlation = linear_correlation(f->a, f->b, f->count);
    for (int i = 0; i < f->count; i++) f->b[i] = f->gold[i];
    const double mean = gsl_stats_mean(f->b, 1, n);
    scale->gold_std = gsl_stats_sd_with_fixed_mean(f->b, 1, n, mean);
    scale->gold_spearman = isnan(mean) ? NAN : rank_correlation(f->a, f->b, f->count, f->scratch);
}

static Status normalise(RewardScale *scale, Fresh *f, Model *model, const RewardJob *job,
                        const Tokenizer *tokenizer, int64_t first_prompt)
{
    Arena measure = arena_measure();
    fresh_layout(f, &measure);
    TRY(arena_init(&f->arena, measure.used));
    fresh_layout(f, &f->arena);
    TRY(draw(f, job, tokenizer, first_prompt));

    model->reward_gain = 1.0F;
    model->reward_bias = 0.0F;
    TRY(reward_score_in(job->stage, f->score, model, &f->answers));
    TRY(answers_gold(f->gold, job->task, &f->answers, tokenizer));

    const size_t n = (size_t)f->count;
    scale->answers = f->count;
    scale->mean = gsl_stats_float_mean(f->score, 1, n);
    scale->std = gsl_stats_float_sd_with_fixed_mean(f->score, 1, n, scale->mean);
    const double gain = scale->std > 0.0 ? 1.0 / scale->std : 1.0;
    model->reward_gain = (float)gain;
    model->reward_bias = (float)(-scale->mean * gain);
    correlate(scale, f);
    return STATUS_OK;
}

Status reward_normalise(RewardScale *scale, Model *model, const RewardJob *job,
                        const Tokenizer *tokenizer, int64_t first_prompt)
{
    Fresh fresh = {.count = (int)job->config->normalise_answers};
    const Status status = normalise(scale, &fresh, model, job, tokenizer, first_prompt);
    sequences_free(&fresh.answers);
    sequences_free(&fresh.prompts);
    arena_free(&fresh.arena);
    return status;
}
