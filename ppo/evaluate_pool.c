#include "data/prompts.h"
#include "policy/generate.h"
#include "ppo/best_of_n.h"
#include "ppo/evaluation.h"
#include "reward/reward_model.h"

#include <string.h>

/* One prompt's pool at a time; arrays of answers: (pool). */
typedef struct Pool {
    GenerateRequest *request;
    uint8_t *terminated;
    float *gold, *score;
    double *value, *proxy;
    int *order;
    double *best_gold, *best_score; /* (sizes, prompts) */
    Sequences answers;
    Arena arena;
    Arena answering; /* what generate() keeps from prompt to prompt */
} Pool;

static void pool_layout(Pool *p, Arena *arena, const BestOfN *best)
{
    const size_t n = (size_t)best->pool;
    p->request = arena_push(arena, n, sizeof *p->request);
    p->terminated = arena_push(arena, n, sizeof *p->terminated);
    p->gold = arena_floats(arena, n);
    p->score = arena_floats(arena, n);
    p->value = arena_doubles(arena, n);
    p->proxy = arena_doubles(arena, n);
    p->order = arena_push(arena, n, sizeof *p->order);
    p->best_gold = arena_doubles(arena, (size_t)(best->sizes * best->prompts));
    p->best_score = arena_doubles(arena, (size_t)(best->sizes * best->prompts));
}

/* Pools for `best->pool` answers to prompt `k`. */
static Status fill_pool(Pool *p, const Evaluation *e, int k)
{
    const EvaluateJob *job = e->job;
    const GenerateConfig config = {
        .temperature = job->temperature,
        .top_p = 1.0,
        .response_tokens = (int)job->task->config->response_tokens,
        .end = tokenizer_end(e->tokenizer),
        .threads = job->stage->threads,
        .kept = &p->answering,
        .seed = job->stage->seed,
        .stage = RNG_EVALUATE,
        .purpose = RNG_BEST_OF_N,
    };
    for (int i = 0; i < e->best.pool; i++) {
        p->request[i] = (GenerateRequest){.prompt_id = e->prompt_id[k], .sample = i, .prompt = k};
    }
    sequences_free(&p->answers);
    TRY(generate(&p->answers, p->terminated, &e->sft, &e->prompts, p->request, e->best.pool,
                 &config));
    TRY(answers_gold(p->gold, job->task, &p->answers, e->tokenizer));
    TRY(reward_score(p->score, &e->reward_model, &p->answers, job->stage->threads));
    for (int i = 0; i < e->best.pool; i++) {
        p->value[i] = p->gold[i];
        p->proxy[i] = p->score[i];
    }
    return STATUS_OK;
}

static bool same_answer(const Sequences *answers, int a, int b)
{
    const int64_t length = sequences_length(answers, a);
    return length == sequences_length(answers, b) &&
           memcmp(answers->token + answers->offset[a], answers->token + answers->offset[b],
                  sizeof *answers->token * (size_t)length) == 0;
}

static int different_answers(const Sequences *answers)
{
    int different = 0;
    for (int i = 0; i < answers->count; i++) {
        int earlier = 0;
        while (earlier < i && !same_answer(answers, earlier, i)) earlier++;
        different += earlier == i;
    }
    return different;
}

static Status walk_prompts(Pool *p, Evaluation *e)
{
    BestOfN *best = &e->best;
    for (int k = 0; k < best->prompts; k++) {
        if (stage_should_stop(e->job->stage)) {
            return status_fail(STATUS_STOPPED, "stopped at best-of-n, prompt %d of %d", k,
                               best->prompts);
        }
        TRY(fill_pool(p, e, k));
        best->unique += (double)different_answers(&p->answers) / best->prompts;
        for (int s = 0; s < best->sizes; s++) {
            const int place = s * best->prompts + k;
            p->best_gold[place] = best_of_n(p->proxy, p->value, best->pool, best->n[s], p->order);
            p->best_score[place] = best_of_n(p->proxy, p->proxy, best->pool, best->n[s], p->order);
        }
    }
    for (int s = 0; s < best->sizes; s++) {
        best->gold[s] = estimate_of(p->best_gold + s * best->prompts, best->prompts);
        best->score[s] = estimate_of(p->best_score + s * best->prompts, best->prompts);
    }
    return STATUS_OK;
}

Status evaluate_best_of_n(Evaluation *e)
{
    BestOfN *best = &e->best;
    best->prompts = (int)e->job->config->best_of_prompts;
    best->pool = (int)e->job->config->best_of_pool;
    if (best->prompts > e->count) best->prompts = e->count;
    if (best->prompts == 0) return STATUS_OK;
    for (int n = 1; n <= best->pool && best->sizes < BEST_SIZES; n *= 2) best->n[best->sizes++] = n;

    Pool pool = {0};
    Arena measure = arena_measure();
    pool_layout(&pool, &measure, best);
    Status status = arena_init(&pool.arena, measure.used);
    if (status == STATUS_OK) {
        pool_layout(&pool, &pool.arena, best);
        status = walk_prompts(&pool, e);
    }
    sequences_free(&pool.answers);
    arena_free(&pool.arena);
    arena_free(&pool.answering);
    return status_context(status, "best of n");
}
