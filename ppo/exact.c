#include "ppo/exact.h"

#include "data/prompts.h"
#include "ppo/ppo_score.h"
#include "reward/reward_model.h"

#include <assert.h>
#include <math.h>

/* Parts of the enumeration whose gradients are added up apart; fixed, so that threads change no
 * bit. */
enum { SHARDS = 8 };

/* ---- the tree ---- */

/* Numbers of nodes, leaves and answers; false: there are too many. */
static bool count_tree(Exact *exact, int words, int64_t limit)
{
    if (words < 2 || limit > EXACT_LONGEST) return false;
    int64_t nodes = 1, leaves = 1;
    for (int64_t length = 1; length < limit && nodes <= EXACT_ANSWERS; length++) {
        leaves *= words;
        nodes += leaves;
    }
    const int64_t answers = nodes + leaves * words;
    if (answers > EXACT_ANSWERS) return false;
    exact->words = words;
    exact->limit = (int)limit;
    exact->nodes = (int)nodes;
    exact->leaves = (int)leaves;
    exact->answers = (int)answers;
    return true;
}

bool exact_possible(const Task *task, int vocabulary)
{
    Exact exact;
    return task->kind->all_prompts != NULL &&
           count_tree(&exact, vocabulary - 1, task->config->response_tokens);
}

int exact_edges(const Exact *exact)
{
    return exact->nodes * (exact->words + 1);
}

int exact_child(const Exact *exact, int edge)
{
    const int W = exact->words, node = edge / (W + 1), token = edge % (W + 1);
    const int child = node * W + 1 + token;
    return token == W || child >= exact->nodes ? EXACT_END : child;
}

Status exact_sequence(Sequences *sequences, const Exact *exact, int prompt, int edge)
{
    const int W = exact->words;
    const Sequences *prompts = &exact->prompts;
    int32_t token[EXACT_LONGEST];
    int length = 0;
    for (int node = edge / (W + 1); node > 0; node = (node - 1) / W) length++;
    token[length] = edge % (W + 1);
    for (int node = edge / (W + 1), t = length; node > 0; node = (node - 1) / W) {
        token[--t] = (node - 1) % W;
    }
    return sequences_add(sequences, prompts->token + prompts->offset[prompt],
                         prompts->prompt[prompt], token, length + 1);
}

/* The prefix of `depth` words on the path to a leaf; -1 where an earlier leaf has it on its path
 * too, so that every prefix is looked at once. */
static int path_node(const Exact *exact, int leaf, int depth)
{
    int node = exact->nodes - exact->leaves + leaf, shared = 1;
    for (int d = exact->limit - 1; d > depth; d--) {
        node = (node - 1) / exact->words;
        shared *= exact->words;
    }
    return leaf % shared == 0 ? node : -1;
}

/* ---- one pass of a network over all prefixes ---- */

/* Response tokens of the paths, and where their prefix's edges begin in the tables. */
static bool path_next(ResponseToken *at, ptrdiff_t *edges, const Exact *exact, const Block *block)
{
    if (!response_next(at, block, &exact->paths)) return false;
    const int path = block->member[at->sequence];
    const int prompt = path / exact->leaves;
    const int node = path_node(exact, path % exact->leaves, at->place - exact->paths.prompt[path]);
    const int V = exact->words + 1;
    *edges = node < 0 ? -1 : (ptrdiff_t)prompt * exact_edges(exact) + (ptrdiff_t)node * V;
    return true;
}

static void log_softmax(double *logp, const float *logits, int V, double temperature)
{
    double largest = (double)logits[0], sum = 0.0;
    for (int v = 1; v < V; v++) largest = fmax(largest, (double)logits[v]);
    for (int v = 0; v < V; v++) sum += exp(((double)logits[v] - largest) / temperature);
    for (int v = 0; v < V; v++) logp[v] = ((double)logits[v] - largest) / temperature - log(sum);
}

typedef struct Reading {
    const Exact *exact;
    double *logp; /* (prompts, edges) */
} Reading;

/* For trainer_measure: no loss, but the table of log-probabilities. */
static Status read_block(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    (void)sums;
    const Reading *reading = context;
    const Exact *exact = reading->exact;
    const int V = exact->words + 1;
    const int n = response_rows(block->rows, block->activations->hidden, block->block,
                                &exact->paths, block->model->shape.channels);
    language_head_forward(block->logits, block->rows, block->model, n);
    ResponseToken at = RESPONSE_START;
    ptrdiff_t edges;
    for (size_t i = 0; path_next(&at, &edges, exact, block->block); i++) {
        if (edges < 0) continue;
        log_softmax(reading->logp + edges, block->logits + i * (size_t)V, V,
                    exact->job.config->temperature);
        if (!isfinite(reading->logp[edges])) {
            return status_fail(STATUS_DIVERGED, "exact: a log-probability is %g",
                               reading->logp[edges]);
        }
    }
    return STATUS_OK;
}

/* The loss -J itself: its slopes are known, so they only flow back. */
static Status slope_block(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    (void)sums;
    const Exact *exact = context;
    const int V = exact->words + 1;
    const int n = response_rows(block->rows, block->activations->hidden, block->block,
                                &exact->paths, block->model->shape.channels);
    ResponseToken at = RESPONSE_START;
    ptrdiff_t edges;
    for (size_t i = 0; path_next(&at, &edges, exact, block->block); i++) {
        float *row = block->logits + i * (size_t)V;
        for (int v = 0; v < V; v++) row[v] = edges < 0 ? 0.0f : (float)exact->slope[edges + v];
    }
    language_head_backward(block->drows, block->gradient, block->logits, block->rows, block->model,
                           n);
    response_rows_back(block, &exact->paths);
    return STATUS_OK;
}

/* ---- setting up ---- */

static void exact_layout(Exact *exact, Arena *arena)
{
    const size_t all = (size_t)exact->prompts.count * (size_t)exact_edges(exact);
    exact->logp = arena_doubles(arena, all);
    exact->reference_logp = arena_doubles(arena, all);
    exact->score = arena_doubles(arena, all);
    exact->gold = arena_doubles(arena, all);
    exact->slope = arena_doubles(arena, all);
    exact->path = arena_push(arena, (size_t)exact->nodes, sizeof *exact->path);
    exact->gradient = arena_floats(arena, exact->job.policy->count);
}

static Status read_prompts(Exact *exact)
{
    const ExactJob *job = &exact->job;
    const int count = job->task->kind->all_prompts(job->task);
    for (int64_t i = 0; i < count; i++) {
        TRY(prompts_read(&exact->prompts, job->task, job->tokenizer, TASK_TRAIN, &i, 1));
        const int tokens = exact->prompts.prompt[i];
        if (tokens + exact->limit > job->policy->shape.positions) {
            return status_fail(STATUS_DATA,
                               "prompt %d: %d tokens and %d of answer do not fit in %d positions",
                               (int)i, tokens, exact->limit, job->policy->shape.positions);
        }
    }
    return STATUS_OK;
}

static Status write_paths(Exact *exact)
{
    const int V = exact->words + 1, first = exact->nodes - exact->leaves;
    for (int p = 0; p < exact->prompts.count; p++) {
        for (int node = first; node < exact->nodes; node++) {
            TRY(exact_sequence(&exact->paths, exact, p, node * V + exact->words));
        }
    }
    void *memory;
    TRY(memory_claim(&memory, (size_t)exact->paths.count * sizeof(int32_t)));
    int32_t *length = memory;
    for (int i = 0; i < exact->paths.count; i++) {
        length[i] = (int32_t)sequences_length(&exact->paths, i);
    }
    const Status status = block_plan_cut(&exact->plan, length, exact->paths.count, 1, SHARDS);
    memory_release(memory);
    return status;
}

/* Score and gold of all answers to one prompt, by number, into the tables of edges. */
static Status judge_answers(Exact *exact, const Sequences *answers, float *number, int prompt)
{
    const ExactJob *job = &exact->job;
    const int V = exact->words + 1, edges = exact_edges(exact);
    double *score = exact->score + (ptrdiff_t)prompt * edges;
    double *gold = exact->gold + (ptrdiff_t)prompt * edges;
    TRY(reward_score(number, job->reward_model, answers, job->threads));
    for (int e = 0, i = 0; e < edges; e++) {
        if (exact_child(exact, e) != EXACT_END) continue;
        const bool terminated = e % V == exact->words;
        score[e] = ppo_config_score(job->config, (double)number[i++], terminated);
    }
    TRY(answers_gold(number, job->task, answers, job->tokenizer));
    for (int e = 0, i = 0; e < edges; e++) {
        if (exact_child(exact, e) == EXACT_END) gold[e] = (double)number[i++];
    }
    return STATUS_OK;
}

static Status judge_prompt(Exact *exact, float *number, int prompt)
{
    Sequences answers = {0};
    Status status = STATUS_OK;
    for (int e = 0; e < exact_edges(exact) && status == STATUS_OK; e++) {
        if (exact_child(exact, e) != EXACT_END) continue;
        status = exact_sequence(&answers, exact, prompt, e);
    }
    if (status == STATUS_OK) status = judge_answers(exact, &answers, number, prompt);
    sequences_free(&answers);
    return status;
}

static Status judge_all(Exact *exact)
{
    void *number;
    TRY(memory_claim(&number, (size_t)exact->answers * sizeof(float)));
    Status status = STATUS_OK;
    for (int p = 0; p < exact->prompts.count && status == STATUS_OK; p++) {
        status = judge_prompt(exact, number, p);
    }
    memory_release(number);
    return status;
}

/* The most blocks a minibatch may have here: a pass over all paths, or a batch of PPO's. */
static int most_blocks(const Exact *exact)
{
    const PpoConfig *config = exact->job.config;
    const int batch = (int)(config->rollouts + config->minibatches * config->shards);
    return batch > exact->plan.blocks ? batch : exact->plan.blocks;
}

static Status read_network(Exact *exact, double *logp, Trainer *trainer)
{
    double sums[TRAINER_SUMS];
    Reading reading = {exact, logp};
    return trainer_measure(sums, trainer, &exact->paths, &exact->plan, read_block, &reading);
}

static Status read_reference(Exact *exact)
{
    Trainer trainer;
    TRY(trainer_init(&trainer, exact->job.reference, 0, exact->job.threads, exact->plan.rows,
                     exact->plan.longest, exact->plan.blocks));
    const Status status = read_network(exact, exact->reference_logp, &trainer);
    trainer_free(&trainer);
    return status;
}

static Status enumerate(Exact *exact)
{
    const ExactJob *job = &exact->job;
    TRY(read_prompts(exact));
    TRY(write_paths(exact));
    Arena plan = arena_measure();
    exact_layout(exact, &plan);
    TRY(arena_init(&exact->arena, plan.used));
    exact_layout(exact, &exact->arena);
    TRY(judge_all(exact));
    TRY(read_reference(exact));
    const int positions = job->policy->shape.positions;
    const int rows = positions > BLOCK_ROWS ? positions : BLOCK_ROWS;
    return trainer_init(&exact->trainer, job->policy, SHARDS, job->threads, rows, positions,
                        most_blocks(exact));
}

Status exact_open(Exact *exact, const ExactJob *job)
{
    *exact = (Exact){.job = *job};
    const int V = tokenizer_vocabulary(job->tokenizer);
    assert(exact_possible(job->task, V) && tokenizer_end(job->tokenizer) == V - 1);
    count_tree(exact, V - 1, job->task->config->response_tokens);
    const Status status = enumerate(exact);
    if (status != STATUS_OK) exact_free(exact);
    return status_context(status, "enumerating answers");
}

void exact_free(Exact *exact)
{
    trainer_free(&exact->trainer);
    block_plan_free(&exact->plan);
    sequences_free(&exact->paths);
    sequences_free(&exact->prompts);
    arena_free(&exact->arena);
    *exact = (Exact){0};
}

/* ---- a policy ---- */

Status exact_measure(ExactReport *report, Exact *exact, double kl_coef)
{
    TRY(read_network(exact, exact->logp, &exact->trainer));
    exact_values(report, exact, kl_coef);
    return STATUS_OK;
}

static Status whole_gradient(Exact *exact, const Sequences *sequences, const BlockPlan *plan,
                             TrainerLoss *loss, void *context)
{
    double sums[TRAINER_SUMS];
    void *memory;
    TRY(memory_claim(&memory, (size_t)plan->blocks * sizeof(int)));
    int *index = memory;
    for (int b = 0; b < plan->blocks; b++) index[b] = b;
    const Status status = trainer_gradient(sums, &exact->trainer, sequences, plan, index,
                                           plan->blocks, loss, context);
    memory_release(memory);
    return status;
}

Status exact_gradient(Exact *exact)
{
    TRY(whole_gradient(exact, &exact->paths, &exact->plan, slope_block, exact));
    const float *from = exact->trainer.gradient[0].flat;
    for (size_t i = 0; i < exact->job.policy->count; i++) exact->gradient[i] = from[i];
    return STATUS_OK;
}

Status exact_cosine(double *cosine, Exact *exact, const PpoLoss *loss, const BlockPlan *plan)
{
    PpoLoss context = *loss;
    TRY(whole_gradient(exact, loss->sequences, plan, ppo_policy_loss, &context));
    const float *ppo = exact->trainer.gradient[0].flat;
    double product = 0.0, a = 0.0, b = 0.0;
    for (size_t i = 0; i < exact->job.policy->count; i++) {
        product += (double)ppo[i] * (double)exact->gradient[i];
        a += (double)ppo[i] * (double)ppo[i];
        b += (double)exact->gradient[i] * (double)exact->gradient[i];
    }
    *cosine = a > 0.0 && b > 0.0 ? product / sqrt(a * b) : NAN;
    return STATUS_OK;
}
