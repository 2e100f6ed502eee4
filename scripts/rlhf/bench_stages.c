/* rlhf bench --kernels: where the time of a PPO iteration goes. Stages are timed around whole
 * calls; what the kernels' sum misses of them are caches, copies and waiting. */
#include "scripts/rlhf/bench.h"

#include "data/io.h"
#include "data/json.h"

#include <string.h>

/* Indented names are parts of the stage above them. */
typedef struct BenchStage {
    const char *name;
    double seconds;
} BenchStage;

enum { STAGES = 10 };

typedef struct Dissection {
    BenchStage stage[STAGES];
    BenchKernel kernel[BENCH_KERNELS];
    double whole;              /* seconds of an iteration, without its file */
    double rollout_file_share; /* of the time of an iteration with its file */
    int threads;
} Dissection;

/* ---- stages ---- */

typedef struct FileWork {
    const Rollout *rollout;
    char path[BENCH_FOLDER + 16];
} FileWork;

static Status write_file(void *context)
{
    const FileWork *work = context;
    return rollout_write(work->rollout, NULL, 0, NULL, work->path, NULL);
}

/* The rollout's file, synced, in a folder of its own. */
static Status time_file(double *seconds, const BenchPpo *ppo)
{
    char folder[BENCH_FOLDER];
    TRY(bench_folder(folder));
    FileWork work = {.rollout = &ppo->rollout};
    snprintf(work.path, sizeof work.path, "%s/000001.h5", folder);
    const Status status = bench_median(seconds, write_file, &work, ppo->sizes.repeats);
    const Status removed = io_remove_tree(folder);
    return status != STATUS_OK ? status : removed;
}

static Status score_policies(void *context)
{
    const BenchPpo *ppo = context;
    const PpoNetworks networks = {.policy = &ppo->policy, .reference = &ppo->reference};
    return bench_score(context, &networks);
}

static Status score_critic(void *context)
{
    const BenchPpo *ppo = context;
    const PpoNetworks networks = {.critic = &ppo->critic};
    return bench_score(context, &networks);
}

static Status score_reward(void *context)
{
    const BenchPpo *ppo = context;
    const PpoNetworks networks = {.reward_model = &ppo->reward_model};
    return bench_score(context, &networks);
}

static Status time_stages(BenchStage line[STAGES], BenchPpo *ppo)
{
    enum { MOST = 100 };
    double sample[BENCH_PARTS][MOST], part[BENCH_PARTS], policies, critic, reward, values, file;
    const int count = ppo->sizes.repeats < MOST ? ppo->sizes.repeats : MOST;
    TRY(bench_ppo_iteration(ppo)); /* warms up */
    for (int i = 0; i < count; i++) {
        TRY(bench_ppo_iteration(ppo));
        for (int p = 0; p < BENCH_PARTS; p++) sample[p][i] = ppo->seconds[p];
    }
    for (int p = 0; p < BENCH_PARTS; p++) part[p] = bench_median_of(sample[p], count);
    TRY(bench_median(&policies, score_policies, ppo, count));
    TRY(bench_median(&critic, score_critic, ppo, count));
    TRY(bench_median(&reward, score_reward, ppo, count));
    TRY(bench_median(&values, bench_critic_update, ppo, count));
    TRY(time_file(&file, ppo));
    const BenchStage all[STAGES] = {
        {"generate", part[BENCH_GENERATE]},
        {"score", part[BENCH_SCORE]},
        {"  policy and reference", policies},
        {"  critic", critic},
        {"  reward model", reward},
        {"shape", part[BENCH_SHAPE]},
        {"update", part[BENCH_UPDATE]},
        {"  policy", part[BENCH_UPDATE] - values},
        {"  critic", values},
        {"rollout file", file},
    };
    memcpy(line, all, sizeof all);
    return STATUS_OK;
}

/* ---- what is shown ---- */

static double kernel_seconds(const Dissection *d, int k)
{
    return d->kernel[k].calls * d->kernel[k].seconds / d->threads;
}

static Status print_tables(FILE *out, const Dissection *d)
{
    fprintf(out, "%-28s %10s %7s\n", "stage of an iteration", "seconds", "share");
    fprintf(out, "%-28s %10.4f %6.1f%%\n", "all", d->whole, 100.0);
    for (int i = 0; i < STAGES; i++) {
        fprintf(out, "%-28s %10.4f %6.1f%%\n", d->stage[i].name, d->stage[i].seconds,
                100 * d->stage[i].seconds / d->whole);
    }
    fprintf(out, "(the file is no part of all)\n\n%-28s %10s %7s %8s %11s %9s\n",
            "kernel, on one thread", "seconds", "share", "calls", "us a call", "GFLOP/s");
    double sum = 0.0;
    for (int k = 0; k < BENCH_KERNELS; k++) {
        const BenchKernel *kernel = &d->kernel[k];
        const double seconds = kernel_seconds(d, k);
        sum += seconds;
        fprintf(out, "%-28s %10.4f %6.1f%% %8.0f %11.1f", kernel->name, seconds,
                100 * seconds / d->whole, kernel->calls, 1e6 * kernel->seconds);
        if (kernel->flops > 0) fprintf(out, " %9.1f", 1e-9 * kernel->flops / kernel->seconds);
        fputc('\n', out);
    }
    fprintf(out, "%-28s %10.4f %6.1f%%\n", "sum", sum, 100 * sum / d->whole);
    return STATUS_OK;
}

static Status print_json(FILE *out, const Dissection *d)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_number(&json, "ppo_iter_s", d->whole);
    json_put_number(&json, "rollout_file_share", d->rollout_file_share);
    json_open(&json, "stages", '[');
    for (int i = 0; i < STAGES; i++) {
        json_open(&json, NULL, '{');
        json_put_text(&json, "name", d->stage[i].name);
        json_put_number(&json, "seconds", d->stage[i].seconds);
        json_close(&json);
    }
    json_close(&json);
    json_open(&json, "kernels", '[');
    for (int k = 0; k < BENCH_KERNELS; k++) {
        json_open(&json, NULL, '{');
        json_put_text(&json, "name", d->kernel[k].name);
        json_put_number(&json, "seconds", kernel_seconds(d, k));
        json_put_number(&json, "calls", d->kernel[k].calls);
        json_put_number(&json, "flops", d->kernel[k].flops);
        json_close(&json);
    }
    json_close(&json);
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bytes_free(&text);
    return status;
}

Status bench_stages(FILE *out, const BenchSizes *sizes, bool json)
{
    BenchPpo ppo;
    Dissection d = {.threads = sizes->threads};
    TRY(bench_ppo_init(&ppo, sizes));
    Status status = time_stages(d.stage, &ppo);
    if (status == STATUS_OK) status = bench_time_kernels(d.kernel, &ppo);
    bench_ppo_free(&ppo);
    TRY(status);
    d.whole = 0.0;
    double file = 0.0;
    for (int i = 0; i < STAGES; i++) {
        if (strcmp(d.stage[i].name, "rollout file") == 0) {
            file = d.stage[i].seconds;
        } else if (d.stage[i].name[0] != ' ') {
            d.whole += d.stage[i].seconds;
        }
    }
    d.rollout_file_share = file / (d.whole + file);
    return json ? print_json(out, &d) : print_tables(out, &d);
}
