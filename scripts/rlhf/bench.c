/* rlhf bench: how fast this machine trains, against the speed of its bare matrix products. */
#include "scripts/rlhf/bench.h"

#include "data/json.h"
#include "data/parallel.h"
#include "policy/gemm.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/interrupt.h"
#include "scripts/rlhf/terminal.h"

#include <sys/resource.h>

/* Seconds; 0: not measured. */
typedef struct BenchTimes {
    double sgemm_gflops;
    double train, ppo, generate, score, checkpoint;
    int answers;     /* that `generate` took */
    double resident; /* bytes at most, before the products */
} BenchTimes;

/* ---- the speed of bare products ---- */

enum { PRODUCT_REPEATS = 5, PRODUCT_LARGEST = 2048 };

/* Square products, one an item. */
typedef struct Products {
    float *a, *b, *c; /* c: one matrix an item */
    int size, items, threads;
} Products;

static Status product(void *context, int item, int worker)
{
    (void)worker;
    const Products *p = context;
    const size_t count = (size_t)p->size * (size_t)p->size;
    gemm(p->c + (size_t)item * count, p->a, p->b, p->size, p->size, p->size, false, false, 0.0f);
    return STATUS_OK;
}

static Status run_products(void *context)
{
    const Products *p = context;
    return parallel_for(p->items, p->threads, product, context);
}

static Status products_rate(double *gflops, Products *p)
{
    for (p->size = 512; p->size <= PRODUCT_LARGEST; p->size *= 2) {
        double seconds;
        TRY(bench_median(&seconds, run_products, p, PRODUCT_REPEATS));
        const double flops = 2.0 * p->size * p->size * p->size * p->items;
        if (flops / seconds * 1e-9 > *gflops) *gflops = flops / seconds * 1e-9;
    }
    return STATUS_OK;
}

/* The best median of 512^3, 1024^3 and 2048^3: one product on OpenBLAS's own threads, or one on
 * each of ours. */
static Status sgemm_rate(double *gflops, int threads)
{
    const size_t count = (size_t)PRODUCT_LARGEST * PRODUCT_LARGEST;
    Arena arena;
    TRY(arena_init(&arena, sizeof(float) * count * ((size_t)threads + 2) + 1024));
    Products p = {.a = arena_floats(&arena, count), .b = arena_floats(&arena, count)};
    p.c = arena_floats(&arena, count * (size_t)threads);
    for (size_t i = 0; i < count; i++) {
        p.a[i] = (float)(i % 101) / 101.0f;
        p.b[i] = (float)(i % 103) / 103.0f;
    }
    *gflops = 0.0;
    p.items = p.threads = threads;
    Status status = products_rate(gflops, &p);
    if (status == STATUS_OK && threads > 1) {
        gemm_own_threads(threads);
        p.items = p.threads = 1;
        status = products_rate(gflops, &p);
        gemm_own_threads(1);
    }
    arena_free(&arena);
    return status;
}

/* ---- the works ---- */

/* A checkpoint and answers are made while everything that training needs is still there. */
static Status time_pretraining(BenchTimes *times, BenchTraining *training)
{
    const int repeats = training->sizes.repeats;
    TRY(bench_median(&times->train, bench_training_step, training, repeats));
    TRY(bench_median(&times->checkpoint, bench_training_checkpoint, training, repeats));
    times->answers = training->sizes.batch;
    return bench_median(&times->generate, bench_training_answers, training, repeats);
}

static Status time_training(BenchTimes *times, const BenchSizes *sizes, bool training_only)
{
    BenchTraining training;
    TRY(bench_training_init(&training, sizes));
    const Status status =
        training_only ? time_pretraining(times, &training)
                      : bench_median(&times->train, bench_training_step, &training, sizes->repeats);
    bench_training_free(&training);
    return status;
}

/* Every iteration tells its parts, so answers and scores are timed where they happen. */
static Status time_iterations(BenchTimes *times, BenchPpo *ppo)
{
    enum { MOST = 100 };
    double whole[MOST], generate[MOST], score[MOST];
    const int count = ppo->sizes.repeats < MOST ? ppo->sizes.repeats : MOST;
    TRY(bench_ppo_iteration(ppo)); /* warms up */
    for (int i = 0; i < count; i++) {
        const double start = clock_seconds();
        TRY(bench_ppo_iteration(ppo));
        whole[i] = clock_seconds() - start;
        generate[i] = ppo->seconds[BENCH_GENERATE];
        score[i] = ppo->seconds[BENCH_SCORE];
    }
    times->ppo = bench_median_of(whole, count);
    times->generate = bench_median_of(generate, count);
    times->answers = ppo->sizes.rollouts;
    times->score = bench_median_of(score, count);
    return STATUS_OK;
}

static Status time_ppo(BenchTimes *times, const BenchSizes *sizes)
{
    BenchPpo ppo;
    TRY(bench_ppo_init(&ppo, sizes));
    const Status status = time_iterations(times, &ppo);
    bench_ppo_free(&ppo);
    return status;
}

static double resident_bytes(void)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    return 1024.0 * (double)usage.ru_maxrss;
}

static Status measure(BenchTimes *times, const BenchSizes *sizes, bool training_only)
{
    *times = (BenchTimes){0};
    TRY(time_training(times, sizes, training_only));
    if (!training_only) TRY(time_ppo(times, sizes));
    times->resident = resident_bytes();
    return sgemm_rate(&times->sgemm_gflops, sizes->threads);
}

/* ---- what is shown ---- */

/* The contract's numbers, in its order; a part that was not measured is left out. */
typedef struct BenchNumber {
    const char *key, *label, *unit;
    double value;
    int digits;
    bool shown;
} BenchNumber;

enum { NUMBERS = 11 };

static void list_numbers(BenchNumber number[NUMBERS], const BenchTimes *t, const BenchSizes *sizes)
{
    const double longest = sizes->prompt + sizes->response;
    const double flops = bench_token_flops(sizes), peak = t->sgemm_gflops * 1e9;
    const double batch = sizes->batch * longest, rollout = sizes->rollouts * longest;
    const double train = batch / t->train;
    const bool ppo = t->ppo > 0.0;
    const BenchNumber all[NUMBERS] = {
        {"threads", "threads", "", sizes->threads, 0, true},
        {"params", "parameters", "", (double)model_parameters(bench_shape(sizes, HEAD_LANGUAGE)), 0,
         true},
        {"sgemm_gflops", "bare sgemm", "GFLOP/s", t->sgemm_gflops, 1, true},
        {"train_tok_s", "training", "tokens/s", train, 0, true},
        {"score_tok_s", "scoring by four networks", "tokens/s", rollout / t->score, 0, ppo},
        {"generate_tok_s", "generation", "tokens/s",
         (double)t->answers * sizes->response / t->generate, 0, true},
        {"ppo_iter_s", "PPO iteration", "s", t->ppo, 3, ppo},
        {"train_mfu", "training, of bare sgemm", "", 3.0 * flops * train / peak, 3, true},
        {"ppo_mfu", "PPO, of bare sgemm", "",
         bench_ppo_passes(sizes) * flops * rollout / (t->ppo * peak), 3, ppo},
        {"checkpoint_s", "checkpoint, synced", "s", t->checkpoint, 3, !ppo},
        {"peak_mb", "memory at most", "MB", t->resident * 1e-6, 1, true},
    };
    for (int i = 0; i < NUMBERS; i++) number[i] = all[i];
}

static Status print_json(FILE *out, const BenchNumber *number)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    for (int i = 0; i < NUMBERS; i++) {
        if (number[i].shown) json_put_number(&json, number[i].key, number[i].value);
    }
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bytes_free(&text);
    return status;
}

static Status print_table(FILE *out, const BenchNumber *number, const BenchSizes *sizes)
{
    fprintf(out, "d %d, %d layers, %d heads, vocabulary %d, prompt %d, response %d; OpenBLAS %s\n",
            sizes->channels, sizes->layers, sizes->heads, sizes->vocabulary, sizes->prompt,
            sizes->response, gemm_kernel());
    fprintf(out, "%d sequences a training step; PPO: %d rollouts, %d x %d minibatches\n\n",
            sizes->batch, sizes->rollouts, sizes->epochs, sizes->minibatches);
    for (int i = 0; i < NUMBERS; i++) {
        if (!number[i].shown) continue;
        fprintf(out, "%-26s %14.*f %s\n", number[i].label, number[i].digits, number[i].value,
                number[i].unit);
    }
    return STATUS_OK;
}

/* ---- the command ---- */

static Status read_sizes(BenchSizes *sizes, const Cli *cli)
{
    const struct {
        const char *flag;
        int *size, initial, low, high;
    } number[] = {
        {"--threads", &sizes->threads, 2, 1, 1024},
        {"--d", &sizes->channels, 128, 1, 16384},
        {"--layers", &sizes->layers, 4, 1, 1000},
        {"--heads", &sizes->heads, 4, 1, 1000},
        {"--vocab", &sizes->vocabulary, 512, 2, 1000000},
        {"--prompt", &sizes->prompt, 32, 1, 100000},
        {"--response", &sizes->response, 64, 1, 100000},
        {"--batch", &sizes->batch, 64, 1, 100000},
        {"--rollouts", &sizes->rollouts, 128, 1, 100000},
        {"--epochs", &sizes->epochs, 4, 1, 1000},
        {"--minibatches", &sizes->minibatches, 4, 1, 10000},
        {"--shards", &sizes->shards, 8, 1, 4096},
        {"--repeats", &sizes->repeats, 5, 1, 100},
    };
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++) {
        int64_t value;
        TRY(cli_integer(&value, cli, number[i].flag, number[i].initial, number[i].low,
                        number[i].high));
        *number[i].size = (int)value;
    }
    if (sizes->channels % sizes->heads == 0) return STATUS_OK;
    return status_fail(STATUS_USAGE, "--heads %d does not divide --d %d", sizes->heads,
                       sizes->channels);
}

Status command_bench(Cli *cli)
{
    BenchSizes sizes;
    BenchTimes times;
    BenchNumber number[NUMBERS];
    TRY(read_sizes(&sizes, cli));
    TRY(gemm_setup());
    const bool json = cli_has(cli, "--json");
    const char *folder = cli_value(cli, "--check");
    if (folder != NULL) return bench_check(cli->out, &sizes, folder);
    if (cli_has(cli, "--kernels")) return bench_stages(cli->out, &sizes, json);
    TRY(measure(&times, &sizes, cli_has(cli, "--training")));
    list_numbers(number, &times, &sizes);
    return json ? print_json(cli->out, number) : print_table(cli->out, number, &sizes);
}
