#include "reward/reward_pairs.h"

#include "data/memory.h"
#include "data/rng.h"

#include <inttypes.h>

static void pairs_layout(Pairs *p, Arena *arena)
{
    const size_t n = (size_t)p->count;
    p->gold_margin = arena_doubles(arena, n);
    p->gap = arena_doubles(arena, n);
    p->score = arena_doubles(arena, 2 * n);
    p->length = arena_ints(arena, 2 * n);
}

static Status add_answer(Pairs *p, const Preferences *from, int32_t completion, int positions)
{
    const Sequences *all = &from->completion;
    const int32_t *token = all->token + all->offset[completion];
    const int64_t length = sequences_length(all, completion);
    const int32_t prompt = all->prompt[completion];
    if (length < 1 || length > positions) {
        return status_fail(STATUS_DATA,
                           "comparisons.h5: completion %d has %" PRId64
                           " tokens, the model reads 1 to %d",
                           (int)completion, length, positions);
    }
    p->length[p->answers.count] = (int32_t)length;
    return sequences_add(&p->answers, token, prompt, token + prompt, length - prompt);
}

Status pairs_take(Pairs *p, const Preferences *from, uint8_t split, int positions)
{
    for (int i = 0; i < from->count; i++) p->count += from->split[i] == split;
    Arena measure = arena_measure();
    pairs_layout(p, &measure);
    TRY(arena_init(&p->arena, measure.used));
    pairs_layout(p, &p->arena);
    for (int i = 0; i < from->count; i++) {
        if (from->split[i] != split) continue;
        p->gold_margin[p->answers.count / 2] = from->gold_margin[i];
        TRY(add_answer(p, from, from->chosen[i], positions));
        TRY(add_answer(p, from, from->rejected[i], positions));
    }
    return STATUS_OK;
}

void pairs_free(Pairs *p)
{
    sequences_free(&p->answers);
    arena_free(&p->arena);
}

int minibatch_pairs(const Minibatches *b, int64_t step)
{
    const int64_t left = b->pairs - step % b->steps_an_epoch * b->batch;
    return left < b->batch ? (int)left : b->batch;
}

/* Blocks of pairs order[0 .. count); `length` is scratch (2 count). */
static Status cut_one(BlockPlan *plan, const Pairs *p, const int *order, int count, int shards,
                      int32_t *length)
{
    for (int i = 0; i < 2 * count; i++) length[i] = p->length[2 * order[i / 2] + i % 2];
    TRY(block_plan_cut(plan, length, 2 * count, 2, shards));
    for (int i = 0; i < 2 * count; i++) {
        plan->member[i] = 2 * order[plan->member[i] / 2] + plan->member[i] % 2;
    }
    return STATUS_OK;
}

static Status cut_all(Minibatches *b, const Pairs *p, int shards, uint64_t seed, int *order,
                      int32_t *length)
{
    for (int64_t step = 0; step < b->steps; step++) {
        const int64_t place = step % b->steps_an_epoch;
        if (place == 0) {
            const uint64_t epoch = (uint64_t)(step / b->steps_an_epoch);
            Rng rng = rng_stream(seed, RNG_REWARD, RNG_ORDER, epoch, 0, 0);
            for (int i = 0; i < p->count; i++) order[i] = i;
            rng_shuffle(&rng, order, p->count);
        }
        TRY(cut_one(&b->plan[step], p, order + place * b->batch, minibatch_pairs(b, step), shards,
                    length));
    }
    return STATUS_OK;
}

Status minibatches_cut(Minibatches *b, const Pairs *p, int64_t epochs, int64_t batch, int shards,
                       uint64_t seed)
{
    b->pairs = p->count;
    b->batch = (int)batch;
    b->steps_an_epoch = (p->count + batch - 1) / batch;
    b->steps = b->steps_an_epoch * epochs;
    void *plan = NULL, *order = NULL, *length = NULL;
    Status status = memory_claim(&plan, sizeof *b->plan * (size_t)b->steps);
    b->plan = plan;
    if (status == STATUS_OK) status = memory_claim(&order, sizeof(int) * (size_t)p->count);
    if (status == STATUS_OK) {
        status = memory_claim(&length, sizeof(int32_t) * 2 * (size_t)p->count);
    }
    if (status == STATUS_OK) status = cut_all(b, p, shards, seed, order, length);
    memory_release(length);
    memory_release(order);
    return status;
}

void minibatches_free(Minibatches *b)
{
    for (int64_t i = 0; b->plan && i < b->steps; i++) block_plan_free(&b->plan[i]);
    memory_release(b->plan);
    *b = (Minibatches){0};
}
