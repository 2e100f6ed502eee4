/* --dry-run: what would run, how long, how much disk and memory. Counts, and one measured speed. */
#include "scripts/rlhf/run.h"

#include "data/io.h"
#include "data/parallel.h"
#include "policy/gemm.h"
#include "scripts/rlhf/interrupt.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Share of the speed of bare products that whole stages reach; a rough figure. */
static const double EFFICIENCY = 0.5;
static const double MEASURE_SECONDS = 0.3;
/* Share of the places for prompt and answer that are filled; rough too. */
static const double FILLED = 0.6;

/* The work of one stage in sequence tokens: through a network forward only, or in training. */
typedef struct StageWork {
    double forward, training;
} StageWork;

/* Model FLOPs of a token forward: 2 (12 L d^2 + V d). */
static double token_flops(const Settings *settings)
{
    const double d = (double)settings->model.channels, L = (double)settings->model.layers;
    return 2 * (12 * L * d * d + (double)settings->task.vocabulary * d);
}

static size_t parameters(const Settings *settings)
{
    const ModelShape shape = {.vocabulary = (int)settings->task.vocabulary,
                              .positions = (int)settings->model.positions,
                              .channels = (int)settings->model.channels,
                              .heads = (int)settings->model.heads,
                              .layers = (int)settings->model.layers,
                              .causal = true,
                              .head = HEAD_LANGUAGE};
    return model_parameters(shape);
}

/* A prompt and its answer. */
static double sequence_tokens(const Settings *settings)
{
    const TaskConfig *task = &settings->task;
    return fmin((double)settings->model.positions,
                FILLED * (double)(task->response_tokens + task->prompt_words));
}

static StageWork stage_work(const Settings *settings, int index)
{
    const double T = sequence_tokens(settings);
    const PretrainConfig *pretrain = &settings->pretrain;
    const PpoConfig *ppo = &settings->ppo;
    const EvaluateConfig *evaluate = &settings->evaluate;
    const double context =
        (double)(pretrain->context > 0 ? pretrain->context : settings->model.positions);
    const double pairs = (double)settings->label.pairs;
    const double batch = (double)ppo->rollouts * T; /* tokens of an iteration */
    const StageWork work[STAGES] = {
        {0, (double)(pretrain->steps * pretrain->batch) * context},
        {0, (double)(settings->sft.epochs * settings->task.demonstrations) * T},
        {2 * pairs * T, 0},
        {(double)settings->reward.normalise_answers * 2 * T,
         2 * pairs * (1 - settings->label.held_out) * (double)settings->reward.epochs * T},
        /* generation, and scoring by policy, reference, reward model and critic */
        {5 * (double)ppo->steps * batch, 2 * (double)(ppo->steps * ppo->epochs) * batch},
        {(double)(3 * 3 * evaluate->prompts +
                  2 * evaluate->best_of_prompts * evaluate->best_of_pool) *
             T,
         0},
    };
    return work[index];
}

static double stage_flops(const Settings *settings, int index)
{
    const StageWork work = stage_work(settings, index);
    return token_flops(settings) * (work.forward + 3 * work.training);
}

/* FLOPs a second of bare products shaped like a block's, on one thread. */
static Status measure_speed(double *speed, int channels)
{
    enum { PRODUCTS = 20 };
    const int rows = 256, inner = channels, columns = 4 * channels;
    Arena arena;
    TRY(arena_init(
        &arena, sizeof(float) * (size_t)(rows * inner + inner * columns + rows * columns) + 1024));
    float *a = arena_floats(&arena, (size_t)(rows * inner));
    float *b = arena_floats(&arena, (size_t)(inner * columns));
    float *c = arena_floats(&arena, (size_t)(rows * columns));
    const double start = clock_seconds();
    const double flops = 2.0 * rows * columns * inner * PRODUCTS;
    *speed = 0; /* of the fastest round: others may be using the machine */
    for (double now = start; now - start < MEASURE_SECONDS;) {
        const double begun = now;
        for (int i = 0; i < PRODUCTS; i++) {
            gemm(c, a, b, rows, columns, inner, false, false, 0.0f);
        }
        now = clock_seconds();
        *speed = fmax(*speed, flops / fmax(now - begun, 1e-9));
    }
    arena_free(&arena);
    return STATUS_OK;
}

/* Bytes: two copies of every network, and a rollout's eight numbers a token with its file's rest.
 */
static double disk_bytes(const Settings *settings)
{
    const double network = 4.0 * (double)parameters(settings);
    const double rollouts =
        (double)(settings->ppo.steps * settings->ppo.rollouts) * sequence_tokens(settings) * 33.0;
    const double checkpoints =
        12 * 6 * network; /* kept: a tenth of the run, two networks with moments */
    return 5 * network + checkpoints + rollouts;
}

/* Four networks, moments of two, gradients of the shards, activations of the threads' blocks. */
static double memory_bytes(const Settings *settings, int threads)
{
    const double network = 4.0 * (double)parameters(settings);
    const double d = (double)settings->model.channels, L = (double)settings->model.layers;
    const double activations = 4.0 * 256 * (L * 20 * d + 3 * (double)settings->task.vocabulary);
    return 40e6 + network * (4 + 4 + 2 * (double)settings->ppo.shards) + threads * activations;
}

/* By what the estimate may be too high. */
static const double DISK_SLACK = 0.5;

static Status check_disk(const Pipeline *pipeline)
{
    uint64_t room, used;
    char text[16], room_text[16];
    TRY(io_free_space(&room, pipeline->run));
    TRY(io_usage(&used, pipeline->run));
    const double needed = disk_bytes(pipeline->settings) - (double)used;
    if ((double)room >= DISK_SLACK * needed) return STATUS_OK;
    return status_fail(
        STATUS_IO,
        "%s: about %s of disk are needed, %s are free (--set check_room=false begins "
        "all the same)",
        pipeline->run, bytes_text_of(text, needed), bytes_text_of(room_text, (double)room));
}

/* MemAvailable of Linux; where there is none nothing is refused. */
static Status check_memory(const Pipeline *pipeline)
{
    enum { MEMINFO_MAX = 1 << 16 };
    Bytes text = {0};
    double available = INFINITY;
    if (io_read(&text, "/proc/meminfo", MEMINFO_MAX) == STATUS_OK) {
        const char *line = strstr(text.data, "MemAvailable:");
        if (line != NULL) available = 1024 * strtod(line + strlen("MemAvailable:"), NULL);
    }
    bytes_free(&text);
    const double needed = memory_bytes(pipeline->settings, (int)pipeline->options->threads);
    if (needed <= available) return STATUS_OK;
    char needed_text[16], available_text[16];
    return status_fail(STATUS_FAILED,
                       "about %s of memory are needed, %s are available: a smaller model, fewer "
                       "ppo.shards or threads (--set check_room=false begins all the same)",
                       bytes_text_of(needed_text, needed),
                       bytes_text_of(available_text, available));
}

Status plan_check(const Pipeline *pipeline)
{
    TRY(check_disk(pipeline));
    return check_memory(pipeline);
}

static Status print_stages(FILE *out, const RunRequest *request, const Pipeline *pipeline,
                           double speed)
{
    double total = 0;
    bool stale = false;
    char count[16], clock[16];
    fprintf(out, "stage      would             model FLOPs      about\n");
    for (int i = request->first; i <= request->last; i++) {
        StageState state;
        TRY(pipeline_state(&state, pipeline, i));
        stale = stale || (request->restart >= 0 && i >= request->restart);
        const bool finished = state == STAGE_FINISHED && !stale;
        const double flops = stage_flops(pipeline->settings, i);
        const double seconds = finished ? 0 : flops / (speed * EFFICIENCY);
        total += seconds;
        fprintf(out, "%-10s %-17s %11s %10s\n", pipeline_stages[i].name,
                finished                           ? "be skipped: done"
                : state == STAGE_CHANGED && !stale ? "need --restart"
                : state == STAGE_BEGUN && !stale   ? "go on"
                                                   : "run",
                count_text(count, flops), clock_text(clock, seconds));
    }
    fprintf(out, "%-10s %-17s %11s %10s\n\n", "all", "", "", clock_text(clock, total));
    return STATUS_OK;
}

static Status print_plan(FILE *out, const RunRequest *request, const Pipeline *pipeline)
{
    const Settings *settings = pipeline->settings;
    const int threads = (int)pipeline->options->threads;
    double speed;
    uint64_t free_bytes;
    char text[16], free_text[16];
    TRY(gemm_setup());
    TRY(measure_speed(&speed, (int)settings->model.channels));
    fprintf(out, "%s: task %s, seed %lld, %s parameters a network, %d threads\n\n", request->run,
            settings->task.name, (long long)settings->seed,
            count_text(text, (double)parameters(settings)), threads);
    TRY(print_stages(out, request, pipeline, speed * threads));
    TRY(io_free_space(&free_bytes, request->run));
    fprintf(out, "disk about %s, of %s free\n", bytes_text_of(text, disk_bytes(settings)),
            bytes_text_of(free_text, (double)free_bytes));
    fprintf(out, "memory about %s\n", bytes_text_of(text, memory_bytes(settings, threads)));
    fprintf(out,
            "times are an estimate: products run at %.0f GFLOP/s a thread here, and stages are "
            "taken to reach %.0f %% of it\n",
            speed * 1e-9, 100 * EFFICIENCY);
    return STATUS_OK;
}

Status plan_print(FILE *out, const RunRequest *request)
{
    Options options = request->options;
    if (options.threads == 0) options.threads = parallel_cpus();
    Pipeline pipeline = {.settings = &request->settings, .options = &options, .run = request->run};
    Status status = pipeline_open(&pipeline);
    if (status == STATUS_OK) status = print_plan(out, request, &pipeline);
    pipeline_close(&pipeline);
    return status;
}
