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
        .hooks = &job->stage->hooks,
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
    TRY(reward_score_in(job->stage, p->score, &e->reward_model, &p->answers));
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

static Status one_prompt(Pool *p, Evaluation *e)
{
    BestOfN *best = &e->best;
    const int k = best->done;
    TRY(fill_pool(p, e, k));
    best->unique += (double)different_answers(&p->answers) / best->prompts;
    for (int s = 0; s < best->sizes; s++) {
        const int place = s * best->prompts + k;
        best->prompt_gold[place] = best_of_n(p->proxy, p->value, best->pool, best->n[s], p->order);
        best->prompt_score[place] = best_of_n(p->proxy, p->proxy, best->pool, best->n[s], p->order);
    }
    best->done++;
    e->step = POLICIES + best->done;
    return stage_checkpoint_due(e->job->stage) ? evaluation_save(e) : STATUS_OK;
}

static Status walk_prompts(Pool *p, Evaluation *e)
{
    BestOfN *best = &e->best;
    while (best->done < best->prompts) {
        TRY(stage_leave(&e->job->stage->hooks));
        TRY(one_prompt(p, e));
    }
    for (int s = 0; s < best->sizes; s++) {
        best->gold[s] = estimate_of(best->prompt_gold + s * best->prompts, best->prompts);
        best->score[s] = estimate_of(best->prompt_score + s * best->prompts, best->prompts);
    }
    return STATUS_OK;
}

static void best_layout(BestOfN *best, Arena *arena)
{
    const size_t count = (size_t)best->sizes * (size_t)best->prompts;
    best->prompt_gold = arena_doubles(arena, count);
    best->prompt_score = arena_doubles(arena, count);
}

Status evaluate_pools_claim(Evaluation *e)
{
    BestOfN *best = &e->best;
    best->prompts = (int)e->job->config->best_of_prompts;
    best->pool = (int)e->job->config->best_of_pool;
    if (best->prompts > e->count) best->prompts = e->count;
    if (best->prompts == 0) return STATUS_OK;
    for (int n = 1; n <= best->pool && best->sizes < BEST_SIZES; n *= 2) best->n[best->sizes++] = n;

    Arena measure = arena_measure();
    best_layout(best, &measure);
    TRY(arena_init(&best->arena, measure.used));
    best_layout(best, &best->arena);
    return STATUS_OK;
}

Status evaluate_best_of_n(Evaluation *e)
{
    BestOfN *best = &e->best;
    if (best->prompts == 0) return STATUS_OK;
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
