#include "ppo/evaluation.h"

#include "data/memory.h"
#include "data/prompts.h"
#include "policy/generate.h"
#include "policy/inputs.h"
#include "ppo/ppo_score.h"
#include "reward/reward_model.h"

#include <gsl/gsl_statistics_double.h>
#include <math.h>

const char *const policy_stage[POLICIES] = {"pretrain", "sft", "ppo"};

Estimate estimate_of(const double *value, int n)
{
    Estimate estimate = {.mean = gsl_stats_mean(value, 1, (size_t)n), .error = NAN, .std = NAN};
    if (n < 2) return estimate;
    estimate.std = gsl_stats_sd_m(value, 1, (size_t)n, estimate.mean);
    estimate.error = estimate.std / sqrt(n);
    return estimate;
}

Estimate win_rate(const double *a, const double *b, int n)
{
    double wins = 0.0, squares = 0.0;
    for (int i = 0; i < n; i++) {
        const double win = a[i] > b[i] ? 1.0 : a[i] < b[i] ? 0.0 : 0.5;
        wins += win;
        squares += win * win;
    }
    const double mean = wins / n;
    const double std = n > 1 ? sqrt((squares - n * mean * mean) / (n - 1)) : NAN;
    return (Estimate){.mean = mean, .error = std / sqrt(n), .std = std};
}

static void measures_layout(PolicyAnswers *p, Arena *arena, int count)
{
    for (int m = 0; m < MEASURES; m++) p->value[m] = arena_doubles(arena, (size_t)count);
}

static Status draw(Evaluation *e, int which, const Model *policy, const GenerateRequest *request,
                   uint8_t *terminated)
{
    const EvaluateJob *job = e->job;
    const GenerateConfig config = {
        .temperature = job->temperature,
        .top_p = 1.0,
        .response_tokens = (int)job->task->config->response_tokens,
        .end = tokenizer_end(e->tokenizer),
        .threads = job->stage->threads,
        .hooks = &job->stage->hooks,
        .seed = job->stage->seed,
        .stage = RNG_EVALUATE,
        .purpose = RNG_SAMPLING,
        .step = (uint64_t)which,
    };
    return generate(&e->policy[which].answers, terminated, policy, &e->prompts, request, e->count,
                    &config);
}

/* Gold, form, length and end of every answer: what needs no network. */
static Status read_answers(Evaluation *e, PolicyAnswers *p, const uint8_t *terminated)
{
    const Task *task = e->job->task;
    Bytes prompt = {0}, response = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < e->count && status == STATUS_OK; i++) {
        TaskAnswer answer;
        status = answer_read(&answer, &prompt, &response, &p->answers, i, e->tokenizer);
        if (status != STATUS_OK) break;
        p->value[MEASURE_GOLD][i] = task->kind->gold ? task->kind->gold(task, &answer) : NAN;
        p->value[MEASURE_WELL_FORMED][i] =
            task->kind->well_formed ? task->kind->well_formed(task, &answer) : NAN;
        p->value[MEASURE_LENGTH][i] = (double)sequences_response(&p->answers, i);
        p->value[MEASURE_TERMINATED][i] = terminated[i];
    }
    bytes_free(&response);
    bytes_free(&prompt);
    return status;
}

/* ---- divergence from the SFT policy ---- */

/* Scratch of one scoring pass; tokens as in the sequences. */
typedef struct Divergence {
    BlockPlan plan;
    PpoScorer scorer;
    int32_t *length;                      /* (count) */
    float *logp, *reference_logp, *score; /* (tokens), (tokens), (count) */
    double *exact;                        /* (tokens) */
    Arena arena;
} Divergence;

static void divergence_layout(Divergence *d, Arena *arena, const Sequences *answers)
{
    const size_t tokens = (size_t)sequences_tokens(answers), count = (size_t)answers->count;
    d->length = arena_ints(arena, count);
    d->logp = arena_floats(arena, tokens);
    d->reference_logp = arena_floats(arena, tokens);
    d->score = arena_floats(arena, count);
    d->exact = arena_doubles(arena, tokens);
}

static Status score_tokens(Divergence *d, const Evaluation *e, const PolicyAnswers *p,
                           const Model *policy)
{
    Arena measure = arena_measure();
    divergence_layout(d, &measure, &p->answers);
    TRY(arena_init(&d->arena, measure.used));
    divergence_layout(d, &d->arena, &p->answers);
    for (int i = 0; i < e->count; i++) {
        d->length[i] = (int32_t)sequences_length(&p->answers, i);
    }
    const int threads = e->job->stage->threads;
    TRY(block_plan_cut(&d->plan, d->length, e->count, 1, 1));
    TRY(ppo_scorer_init(&d->scorer, e->sft.shape, d->plan.rows, d->plan.longest, threads));
    d->scorer.hooks = &e->job->stage->hooks;
    const PpoNetworks networks = {.policy = policy, .reference = &e->sft};
    const PpoScores scores = {
        .logp = d->logp, .reference_logp = d->reference_logp, .kl_exact = d->exact};
    TRY(ppo_score(&d->scorer, &scores, &networks, &p->answers, &d->plan, e->job->temperature));
    return reward_score_in(e->job->stage, d->score, &e->reward_model, &p->answers);
}

static Status measure_scores(Evaluation *e, PolicyAnswers *p, const Model *policy)
{
    Divergence d = {0};
    const Status status = score_tokens(&d, e, p, policy);
    for (int i = 0; status == STATUS_OK && i < e->count; i++) {
        double kl = 0.0, exact = 0.0;
        for (int64_t t = p->answers.offset[i] + p->answers.prompt[i]; t < p->answers.offset[i + 1];
             t++) {
            kl += (double)d.logp[t] - (double)d.reference_logp[t];
            exact += d.exact[t];
        }
        p->value[MEASURE_KL][i] = kl;
        p->value[MEASURE_KL_EXACT][i] = exact;
        p->value[MEASURE_SCORE][i] = d.score[i];
    }
    ppo_scorer_free(&d.scorer);
    block_plan_free(&d.plan);
    arena_free(&d.arena);
    return status;
}

/* ---- one policy ---- */

static Status measure_policy(Evaluation *e, int which, const Model *policy)
{
    PolicyAnswers *p = &e->policy[which];
    void *request, *terminated = NULL;
    TRY(memory_claim(&request, sizeof(GenerateRequest) * (size_t)e->count));
    for (int i = 0; i < e->count; i++) {
        ((GenerateRequest *)request)[i] =
            (GenerateRequest){.prompt_id = e->prompt_id[i], .sample = 0, .prompt = i};
    }
    Status status = memory_claim(&terminated, (size_t)e->count);
    if (status == STATUS_OK) status = draw(e, which, policy, request, terminated);
    if (status == STATUS_OK) status = read_answers(e, p, terminated);
    memory_release(terminated);
    memory_release(request);
    TRY(status);
    return measure_scores(e, p, policy);
}

Status policy_answers_claim(PolicyAnswers *p, int count)
{
    Arena measure = arena_measure();
    measures_layout(p, &measure, count);
    TRY(arena_init(&p->arena, measure.used));
    measures_layout(p, &p->arena, count);
    return STATUS_OK;
}

Status evaluate_policy(Evaluation *e, int which)
{
    TRY(policy_answers_claim(&e->policy[which], e->count));

    Model policy = {0};
    Status status =
        input_network(&policy, e->job->stage->run, policy_stage[which], "policy", &e->sft.shape);
    if (status == STATUS_OK) status = measure_policy(e, which, &policy);
    model_free(&policy);
    e->policy[which].present = status == STATUS_OK;
    return status_context(status, "%s", policy_stage[which]);
}
