#include "policy/generate.h"

#include "data/parallel.h"
#include "policy/blocks.h"
#include "policy/decode.h"
#include "policy/sampling.h"
#include "policy/transformer.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Wider groups make wider products, as long as their keys and values lie near the processor. */
enum { GROUP_WIDEST = 64, GROUP_WIDE = 16 };
static const size_t group_near = (size_t)6 << 20;    /* bytes */
static const size_t group_cache = (size_t)256 << 20; /* bytes */

/* What one thread needs for one group. A slot of the cache belongs to one request of the group. */
typedef struct Worker {
    Decoder decoder;
    float *last;                      /* (group, C) hidden row of each prompt's last token */
    float *logits;                    /* (group, V) */
    float *probability;               /* (V) */
    SamplingCandidate *candidate;     /* (V) */
    Rng *rng;                         /* (group) */
    int32_t *token, *slot, *position; /* (rows) of the next decode_rows */
} Worker;

/* One call of generate(). */
typedef struct Job {
    const Model *model;
    const Sequences *prompts;
    const GenerateRequest *request;
    const GenerateConfig *config;
    SamplingConfig sampling;
    int count, group, longest;
    int32_t *answer; /* (count, response_tokens) */
    int32_t *length; /* (count) tokens of the answer */
    uint8_t *terminated;
    Worker *worker; /* (threads) */
} Job;

/* The requests first .. first + count - 1. */
typedef struct Group {
    const Job *job;
    Worker *worker;
    int first, count;
} Group;

static int prompt_length(const Job *job, int request)
{
    return (int)sequences_length(job->prompts, job->request[request].prompt);
}

/* ---- the prompts of a group ---- */

/* The first slot of the group with the same prompt. */
static int owner_of(const Group *group, int slot)
{
    const GenerateRequest *request = group->job->request + group->first;
    int owner = 0;
    while (request[owner].prompt != request[slot].prompt) owner++;
    return owner;
}

/* Works through n gathered rows and keeps the hidden rows of prompts' last tokens. */
static void flush_rows(const Group *group, int n)
{
    const Job *job = group->job;
    Worker *worker = group->worker;
    const size_t C = (size_t)job->model->shape.channels;
    decode_rows(&worker->decoder, job->model, worker->token, worker->slot, worker->position, n);
    for (int i = 0; i < n; i++) {
        const int slot = worker->slot[i];
        if (worker->position[i] != prompt_length(job, group->first + slot) - 1) continue;
        memcpy(worker->last + C * (size_t)slot, worker->decoder.hidden + C * (size_t)i,
               sizeof(float) * C);
    }
}

/* Every prompt once, however many answers it gets. */
static void read_prompts(const Group *group)
{
    const Job *job = group->job;
    Worker *worker = group->worker;
    const size_t C = (size_t)job->model->shape.channels;
    int n = 0;
    for (int slot = 0; slot < group->count; slot++) {
        if (owner_of(group, slot) != slot) continue;
        const int prompt = job->request[group->first + slot].prompt;
        const int32_t *token = job->prompts->token + job->prompts->offset[prompt];
        const int length = prompt_length(job, group->first + slot);
        for (int t = 0; t < length; t++) {
            worker->token[n] = token[t];
            worker->slot[n] = slot;
            worker->position[n] = t;
            if (++n < worker->decoder.rows) continue;
            flush_rows(group, n);
            n = 0;
        }
    }
    if (n > 0) flush_rows(group, n);
    for (int slot = 0; slot < group->count; slot++) {
        const int owner = owner_of(group, slot);
        if (owner == slot) continue;
        decode_copy(&worker->decoder, slot, owner, prompt_length(job, group->first + slot));
        memcpy(worker->last + C * (size_t)slot, worker->last + C * (size_t)owner,
               sizeof(float) * C);
    }
}

/* ---- the answers of a group ---- */

/* Draws the next token of the `live` sequences, whose hidden rows are given in the order of
 * worker->slot; those that go on stay in that order. *live is then their number. */
static Status draw_tokens(const Group *group, int *live, const float *hidden)
{
    const Job *job = group->job;
    const GenerateConfig *config = job->config;
    Worker *worker = group->worker;
    const int V = job->model->shape.vocabulary;
    int kept = 0;
    language_head_forward(worker->logits, hidden, job->model, *live);
    for (int row = 0; row < *live; row++) {
        const int32_t slot = worker->slot[row];
        const int request = group->first + slot;
        int32_t *length = &job->length[request], token;
        TRY(status_context(sampling_draw(&token, worker->probability, worker->candidate,
                                         worker->logits + (ptrdiff_t)row * V, V, &job->sampling,
                                         rng_uniform(&worker->rng[slot])),
                           "answer %d, token %" PRId32, request, *length));
        job->answer[(ptrdiff_t)request * config->response_tokens + *length] = token;
        ++*length;
        job->terminated[request] = token == config->end;
        if (token == config->end || *length == config->response_tokens) continue;
        worker->token[kept] = token;
        worker->slot[kept] = slot;
        worker->position[kept] = prompt_length(job, request) + *length - 1;
        kept++;
    }
    *live = kept;
    return STATUS_OK;
}

static Status run_group(void *context, int item, int worker_index)
{
    const Job *job = context;
    const GenerateConfig *config = job->config;
    Worker *worker = &job->worker[worker_index];
    const int first = item * job->group, left = job->count - first;
    const Group group = {job, worker, first, left < job->group ? left : job->group};
    for (int slot = 0; slot < group.count; slot++) {
        const GenerateRequest *request = &job->request[first + slot];
        worker->rng[slot] = rng_stream(config->seed, config->stage, config->purpose, config->step,
                                       (uint64_t)request->prompt_id, (uint64_t)request->sample);
    }
    TRY(stage_leave(config->hooks));
    read_prompts(&group);
    for (int slot = 0; slot < group.count; slot++) worker->slot[slot] = slot;
    int live = group.count;
    TRY(draw_tokens(&group, &live, worker->last));
    while (live > 0) {
        TRY(stage_leave(config->hooks));
        decode_rows(&worker->decoder, job->model, worker->token, worker->slot, worker->position,
                    live);
        TRY(draw_tokens(&group, &live, worker->decoder.hidden));
    }
    return STATUS_OK;
}

/* ---- the whole call ---- */

static Status check_prompts(Job *job)
{
    const int positions = job->model->shape.positions, response = job->config->response_tokens;
    for (int i = 0; i < job->count; i++) {
        const int length = prompt_length(job, i);
        if (length == 0) {
            return status_fail(STATUS_DATA, "prompt %d is empty", job->request[i].prompt);
        }
        if (length > positions - response) {
            return status_fail(STATUS_DATA,
                               "prompt %d: %d tokens and %d of answer do not fit in %d positions",
                               job->request[i].prompt, length, response, positions);
        }
        if (length + response > job->longest) job->longest = length + response;
    }
    return STATUS_OK;
}

static void job_layout(Job *job, Arena *arena, int threads)
{
    const ModelShape shape = job->model->shape;
    const size_t group = (size_t)job->group, V = (size_t)shape.vocabulary;
    const int rows = job->group > BLOCK_ROWS ? job->group : BLOCK_ROWS;
    job->answer = arena_ints(arena, (size_t)job->count * (size_t)job->config->response_tokens);
    job->length = arena_ints(arena, (size_t)job->count);
    job->worker = arena_push(arena, (size_t)threads, sizeof *job->worker);
    for (int t = 0; t < threads; t++) {
        Worker worker;
        decoder_layout(&worker.decoder, arena, shape, job->group, job->longest, rows);
        worker.last = arena_floats(arena, group * (size_t)shape.channels);
        worker.logits = arena_floats(arena, group * V);
        worker.probability = arena_floats(arena, V);
        worker.candidate = arena_push(arena, V, sizeof *worker.candidate);
        worker.rng = arena_push(arena, group, sizeof *worker.rng);
        worker.token = arena_ints(arena, (size_t)rows);
        worker.slot = arena_ints(arena, (size_t)rows);
        worker.position = arena_ints(arena, (size_t)rows);
        if (job->worker != NULL) job->worker[t] = worker;
    }
}

static Status claim_memory(Arena *arena, Job *job, int threads)
{
    Arena plan = arena_measure();
    job_layout(job, &plan, threads);
    if (plan.used > arena->capacity) {
        arena_free(arena);
        TRY(arena_init(arena, plan.used));
    }
    arena->used = 0;
    job_layout(job, arena, threads);
    memset(job->length, 0, sizeof *job->length * (size_t)job->count);
    return STATUS_OK;
}

static Status run_job(Sequences *answers, Job *job, Arena *arena)
{
    const int groups = (job->count + job->group - 1) / job->group;
    const int wanted = job->config->threads < 1 ? 1 : job->config->threads;
    const int threads = wanted < groups ? wanted : groups;
    TRY(claim_memory(arena, job, threads));
    TRY(parallel_for(groups, threads, run_group, job));
    for (int i = 0; i < job->count; i++) {
        const int prompt = job->request[i].prompt;
        TRY(sequences_add(answers, job->prompts->token + job->prompts->offset[prompt],
                          sequences_length(job->prompts, prompt),
                          job->answer + (ptrdiff_t)i * job->config->response_tokens,
                          job->length[i]));
    }
    return STATUS_OK;
}

static int between(size_t value, int low, int high)
{
    return value < (size_t)low ? low : value > (size_t)high ? high : (int)value;
}

int generate_group(ModelShape shape, int count)
{
    const size_t row = sizeof(float) * 2 * (size_t)shape.channels; /* a key and a value */
    const size_t sequence = row * (size_t)shape.layers * (size_t)shape.positions;
    const int near = between(group_near / sequence, GROUP_WIDE, GROUP_WIDEST);
    const int widest = between(group_cache / sequence, 1, near);
    const int share = count < GROUP_WIDE ? 2 : 4;
    const int least = (count + widest - 1) / widest;
    const int groups = (least + share - 1) / share * share;
    return (count + groups - 1) / groups;
}

Status generate(Sequences *answers, uint8_t *terminated, const Model *model,
                const Sequences *prompts, const GenerateRequest *request, int count,
                const GenerateConfig *config)
{
    assert(config->response_tokens > 0 && model->shape.head == HEAD_LANGUAGE);
    if (count == 0) return STATUS_OK;
    const int group = config->group > 0 ? config->group : generate_group(model->shape, count);
    Arena own = {0};
    Job job = {
        .model = model,
        .prompts = prompts,
        .request = request,
        .config = config,
        .sampling = {config->temperature, config->top_k, config->top_p,
                     config->never_end ? config->end : -1},
        .count = count,
        .group = group < count ? group : count,
        .terminated = terminated,
    };
    TRY(check_prompts(&job));
    const Status status = run_job(answers, &job, config->kept != NULL ? config->kept : &own);
    arena_free(&own);
    return status;
}
