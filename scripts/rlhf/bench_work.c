#include "scripts/rlhf/bench.h"

#include "data/memory.h"
#include "scripts/rlhf/interrupt.h"

#include <gsl/gsl_sort_double.h>
#include <gsl/gsl_statistics_double.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS_MAX = 1000 };
static const double SHORTEST_SAMPLE = 0.005; /* seconds */
static const double LEARNING_RATE = 1e-5;

ModelShape bench_shape(const BenchSizes *sizes, ModelHead head)
{
    return (ModelShape){.vocabulary = sizes->vocabulary,
                        .positions = sizes->prompt + sizes->response,
                        .channels = sizes->channels,
                        .heads = sizes->heads,
                        .layers = sizes->layers,
                        .causal = true,
                        .head = head};
}

double bench_token_flops(const BenchSizes *sizes)
{
    const double d = sizes->channels, L = sizes->layers, V = sizes->vocabulary;
    return 2.0 * (12.0 * L * d * d + V * d);
}

double bench_ppo_passes(const BenchSizes *sizes)
{
    return 1.0 + 4.0 + 2.0 * 3.0 * sizes->epochs;
}

double bench_median_of(double *sample, int count)
{
    gsl_sort(sample, 1, (size_t)count);
    return gsl_stats_median_from_sorted_data(sample, 1, (size_t)count);
}

Status bench_median(double *seconds, BenchWork *work, void *context, int repeats)
{
    double sample[REPEATS_MAX];
    double start = clock_seconds();
    TRY(work(context));
    const double first = clock_seconds() - start;
    const int calls = first < SHORTEST_SAMPLE ? (int)(SHORTEST_SAMPLE / (first + 1e-6)) + 1 : 1;
    const int count = repeats < REPEATS_MAX ? repeats : REPEATS_MAX;
    for (int i = 0; i < count; i++) {
        start = clock_seconds();
        for (int c = 0; c < calls; c++) TRY(work(context));
        sample[i] = (clock_seconds() - start) / calls;
    }
    *seconds = bench_median_of(sample, count);
    return STATUS_OK;
}

static PpoConfig ppo_defaults(void)
{
    PpoConfig config;
    const ConfigTable table = {&ppo_section, 1};
    config_defaults(&table, &config);
    return config;
}

OptimiserConfig bench_optimiser(void)
{
    OptimiserConfig optimiser = ppo_defaults().optimiser;
    snprintf(optimiser.schedule, sizeof optimiser.schedule, "constant");
    optimiser.warmup_steps = 0;
    optimiser.learning_rate = LEARNING_RATE;
    return optimiser;
}

Status bench_random_model(Model *model, ModelShape shape, uint64_t seed)
{
    TRY(model_init(model, shape));
    model_randomise(model, seed, RNG_PPO, false);
    return STATUS_OK;
}

Status bench_random_sequences(Sequences *sequences, int count, int prompt, int response, int V)
{
    void *memory;
    const int length = prompt + response;
    TRY(memory_claim(&memory, (size_t)length * sizeof(int32_t)));
    int32_t *token = memory;
    Rng rng = rng_stream(BENCH_SEED, RNG_PPO, RNG_PROMPT, 0, 0, 0);
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        for (int t = 0; t < length; t++) token[t] = 1 + rng_below(&rng, V - 1);
        status = sequences_add(sequences, token, prompt, token + prompt, response);
    }
    memory_release(memory);
    return status;
}

static int most_rows(const BenchSizes *sizes)
{
    const int longest = sizes->prompt + sizes->response;
    return longest > BLOCK_ROWS ? longest : BLOCK_ROWS;
}

Status bench_folder(char folder[BENCH_FOLDER])
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, BENCH_FOLDER, "%s/rlhf-bench-XXXXXX", parent != NULL ? parent : "/tmp");
    if (mkdtemp(folder) == NULL) return status_fail(STATUS_IO, "%s: cannot be made", folder);
    return STATUS_OK;
}

/* ---- PPO ---- */

static PpoConfig bench_config(const BenchSizes *sizes)
{
    PpoConfig config = ppo_defaults();
    config.steps = 1000000;
    config.rollouts = sizes->rollouts;
    config.epochs = sizes->epochs;
    config.minibatches = sizes->minibatches;
    config.shards = sizes->shards;
    snprintf(config.missing_eos, sizeof config.missing_eos, "none");
    config.optimiser = config.critic_optimiser = bench_optimiser();
    return config;
}

static void ppo_layout(BenchPpo *ppo, Arena *arena)
{
    const int rollouts = ppo->sizes.rollouts;
    const size_t tokens = (size_t)rollouts * (size_t)(ppo->sizes.prompt + ppo->sizes.response);
    rollout_layout(&ppo->rollout, arena, rollouts, (int64_t)tokens);
    ppo->request = arena_push(arena, (size_t)rollouts, sizeof *ppo->request);
    ppo->entropy = arena_doubles(arena, tokens);
    ppo->kl_exact = arena_doubles(arena, tokens);
    ppo->compact = arena_floats(arena, tokens);
}

static Status init_networks(BenchPpo *ppo)
{
    const BenchSizes *sizes = &ppo->sizes;
    TRY(bench_random_model(&ppo->policy, bench_shape(sizes, HEAD_LANGUAGE), BENCH_SEED));
    TRY(bench_random_model(&ppo->reference, bench_shape(sizes, HEAD_LANGUAGE), BENCH_SEED));
    TRY(bench_random_model(&ppo->reward_model, bench_shape(sizes, HEAD_SCORE), BENCH_SEED + 1));
    TRY(model_init(&ppo->critic, bench_shape(sizes, HEAD_VALUE)));
    model_value_from_score(&ppo->critic, &ppo->reward_model);
    return STATUS_OK;
}

static Status ppo_init(BenchPpo *ppo)
{
    const BenchSizes *sizes = &ppo->sizes;
    const int longest = sizes->prompt + sizes->response, rows = most_rows(sizes);
    TRY(ppo_config_check(&ppo->config));
    TRY(init_networks(ppo));
    TRY(bench_random_sequences(&ppo->prompts, sizes->rollouts, sizes->prompt, 0,
                               sizes->vocabulary));
    Arena plan = arena_measure();
    ppo_layout(ppo, &plan);
    TRY(arena_init(&ppo->arena, plan.used));
    ppo_layout(ppo, &ppo->arena);
    for (int i = 0; i < sizes->rollouts; i++) {
        ppo->request[i] = (GenerateRequest){.prompt_id = i, .sample = 0, .prompt = i};
    }
    TRY(ppo_scorer_init(&ppo->scorer, ppo->policy.shape, rows, longest, sizes->threads));
    return ppo_updater_init(&ppo->updater, &ppo->policy, &ppo->critic, &ppo->config, rows, longest,
                            sizes->threads);
}

Status bench_ppo_init(BenchPpo *ppo, const BenchSizes *sizes)
{
    *ppo = (BenchPpo){.sizes = *sizes, .config = bench_config(sizes)};
    const Status status = ppo_init(ppo);
    if (status != STATUS_OK) bench_ppo_free(ppo);
    return status;
}

void bench_ppo_free(BenchPpo *ppo)
{
    ppo_updater_free(&ppo->updater);
    ppo_scorer_free(&ppo->scorer);
    block_plan_free(&ppo->plan);
    sequences_free(&ppo->prompts);
    arena_free(&ppo->arena);
    arena_free(&ppo->answering);
    model_free(&ppo->policy);
    model_free(&ppo->reference);
    model_free(&ppo->reward_model);
    model_free(&ppo->critic);
    *ppo = (BenchPpo){0};
}

static void take_answers(Rollout *rollout, const Sequences *answers)
{
    rollout->count = answers->count;
    rollout->tokens = sequences_tokens(answers);
    memcpy(rollout->id, answers->token, (size_t)rollout->tokens * sizeof *rollout->id);
    memcpy(rollout->offset, answers->offset,
           ((size_t)rollout->count + 1) * sizeof *rollout->offset);
    for (int i = 0; i < rollout->count; i++) {
        rollout->prompt_id[i] = i;
        rollout->prompt_length[i] = answers->prompt[i];
        rollout->response_length[i] = (int32_t)sequences_response(answers, i);
        rollout->truncated[i] = !rollout->terminated[i];
        for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
            rollout->is_response[t] = t - rollout->offset[i] >= rollout->prompt_length[i];
        }
    }
}

static Status generate_answers(BenchPpo *ppo)
{
    const GenerateConfig config = {.temperature = ppo->config.temperature,
                                   .top_p = 1.0,
                                   .response_tokens = ppo->sizes.response,
                                   .end = BENCH_END,
                                   .never_end = true,
                                   .threads = ppo->sizes.threads,
                                   .kept = &ppo->answering,
                                   .seed = BENCH_SEED,
                                   .stage = RNG_PPO,
                                   .purpose = RNG_SAMPLING,
                                   .step = (uint64_t)ppo->step};
    Sequences answers = {0};
    const Status status = generate(&answers, ppo->rollout.terminated, &ppo->policy, &ppo->prompts,
                                   ppo->request, ppo->sizes.rollouts, &config);
    if (status == STATUS_OK) take_answers(&ppo->rollout, &answers);
    sequences_free(&answers);
    return status;
}

PpoNetworks bench_networks(const BenchPpo *ppo)
{
    return (PpoNetworks){.policy = &ppo->policy,
                         .reference = &ppo->reference,
                         .reward_model = &ppo->reward_model,
                         .critic = &ppo->critic};
}

Status bench_score(BenchPpo *ppo, const PpoNetworks *networks)
{
    const Rollout *rollout = &ppo->rollout;
    const Sequences sequences = rollout_sequences(rollout);
    const PpoScores scores = {.logp = rollout->logp,
                              .reference_logp = rollout->reference_logp,
                              .value = rollout->value,
                              .entropy = ppo->entropy,
                              .kl_exact = ppo->kl_exact,
                              .raw_score = rollout->raw_score};
    return ppo_score(&ppo->scorer, &scores, networks, &sequences, &ppo->plan,
                     ppo->config.temperature);
}

/* As ppo/ppo_rollout.c does: the blocks are cut here, once. */
static Status score_answers(BenchPpo *ppo)
{
    Rollout *rollout = &ppo->rollout;
    for (int i = 0; i < rollout->count; i++) {
        rollout->block[i] = rollout->prompt_length[i] + rollout->response_length[i];
    }
    block_plan_free(&ppo->plan);
    TRY(block_plan_cut(&ppo->plan, rollout->block, rollout->count, 1,
                       (int)(ppo->config.minibatches * ppo->config.shards)));
    for (int b = 0; b < ppo->plan.blocks; b++) {
        for (int m = ppo->plan.first[b]; m < ppo->plan.first[b + 1]; m++) {
            rollout->block[ppo->plan.member[m]] = b;
        }
    }
    const PpoNetworks networks = bench_networks(ppo);
    TRY(bench_score(ppo, &networks));
    for (int i = 0; i < rollout->count; i++) {
        rollout->score[i] = (float)ppo_config_score(&ppo->config, (double)rollout->raw_score[i],
                                                    rollout->terminated[i]);
    }
    return STATUS_OK;
}

static Status shape(BenchPpo *ppo)
{
    ppo_shape(&ppo->rollout, ppo->compact, &ppo->config);
    return STATUS_OK;
}

static Status update(BenchPpo *ppo, bool critic_only)
{
    PpoUpdateReport report;
    const PpoUpdateJob job = {.rollout = &ppo->rollout,
                              .config = &ppo->config,
                              .seed = BENCH_SEED,
                              .critic_only = critic_only};
    return ppo_update(&report, &ppo->updater, &job);
}

static Status update_both(BenchPpo *ppo)
{
    return update(ppo, false);
}

Status bench_critic_update(void *context)
{
    return update(context, true);
}

Status bench_ppo_parts(BenchPpo *ppo, int parts)
{
    static Status (*const part[BENCH_PARTS])(BenchPpo *) = {generate_answers, score_answers, shape,
                                                            update_both};
    ppo->rollout.step = ++ppo->step;
    ppo->rollout.kl_coef = ppo->config.kl_coef;
    ppo->rollout.temperature = ppo->config.temperature;
    for (int p = 0; p < parts; p++) {
        const double start = clock_seconds();
        TRY(part[p](ppo));
        ppo->seconds[p] = clock_seconds() - start;
    }
    return STATUS_OK;
}

Status bench_ppo_iteration(void *context)
{
    return bench_ppo_parts(context, BENCH_PARTS);
}
