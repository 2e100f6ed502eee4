/* --dry-run: what would run, how long, how much disk and memory. Counts, and one measured speed. */
#include "scripts/rlhf/run.h"

#include "data/io.h"
#include "data/parallel.h"
#include "policy/blocks.h"
#include "policy/gemm.h"
#include "policy/generate.h"
#include "policy/transformer.h"
#include "scripts/rlhf/interrupt.h"
#include "scripts/rlhf/memory_room.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>

/* Share of the speed of bare products that whole stages reach; a rough figure. */
static const double EFFICIENCY = 0.5;
static const double MEASURE_SECONDS = 0.3;
/* Share of the places for prompt and answer that are filled; rough too. */
static const double FILLED = 0.6;
/* Bytes of a token in files: of one that is text to be read, of its id, of a rollout's numbers. */
static const double TEXT_BYTES = 5, TOKEN_BYTES = 4, ROLLOUT_BYTES = 33;
/* Bytes of memory: the program with its libraries and the task's text, a file in the making. */
static const double PROGRAM_BYTES = 25e6, FILE_BYTES = 512e6;

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

static ModelShape model_shape(const Settings *settings)
{
    return (ModelShape){.vocabulary = (int)settings->task.vocabulary,
                        .positions = (int)settings->model.positions,
                        .channels = (int)settings->model.channels,
                        .heads = (int)settings->model.heads,
                        .layers = (int)settings->model.layers,
                        .causal = true,
                        .head = HEAD_LANGUAGE};
}

static size_t parameters(const Settings *settings)
{
    return model_parameters(model_shape(settings));
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

static double network_bytes(const Settings *settings)
{
    return 4.0 * (double)parameters(settings);
}

/* Bytes that a stage has on disk at most: what it publishes, its newest two checkpoints, networks
 * with their moments, and what PPO keeps for good. */
static double stage_disk(const Settings *settings, const Options *options, int index)
{
    const double N = network_bytes(settings), T = sequence_tokens(settings);
    const PpoConfig *ppo = &settings->ppo;
    const EvaluateConfig *evaluate = &settings->evaluate;
    const double steps = (double)ppo->steps, rollouts = (double)ppo->rollouts;
    const double every =
        options->keep_every > 0 ? (double)options->keep_every : fmax(floor(steps / 10), 1);
    const double kept = fmin(floor(steps / every) + 2 + 2, steps + 1); /* and the two best */
    const double read = fmin((double)settings->rollout.text_rows, rollouts);
    const double disk[STAGES] = {
        N + 2 * 3 * N,
        N + 2 * 3 * N,
        2 * (double)settings->label.pairs * T * (TOKEN_BYTES + TEXT_BYTES),
        N + 2 * 3 * N,
        2 * N + kept * 6 * N + steps * T * (rollouts * ROLLOUT_BYTES + read * TEXT_BYTES),
        3 * (double)evaluate->prompts * T * (TOKEN_BYTES + TEXT_BYTES),
    };
    return disk[index];
}

/* Blocks are at most so large; a longer sequence is one of its own. */
static int block_rows(const Settings *settings)
{
    const int positions = (int)settings->model.positions;
    return positions > BLOCK_ROWS ? positions : BLOCK_ROWS;
}

/* What a thread needs to put a block through a network, or to train on it. */
static double block_bytes(const Settings *settings, bool backward)
{
    const ModelShape shape = model_shape(settings);
    const double rows = (double)block_rows(settings);
    Activations activations;
    Arena plan = arena_measure();
    activations_layout(&activations, &plan, shape, block_rows(settings), shape.positions, backward);
    return (double)plan.used + 4 * rows * (shape.vocabulary + 2.0 * shape.channels);
}

/* Weights, AdamW's moments, a gradient a shard, a block a thread. */
static double trainer_bytes(const Settings *settings, int64_t shards, double threads)
{
    return (3 + (double)shards) * network_bytes(settings) + threads * block_bytes(settings, true);
}

/* Keys, values and logits of a thread's group of answers. */
static double generating_bytes(const Settings *settings)
{
    enum { MANY = 1 << 20 };
    const ModelShape shape = model_shape(settings);
    const double group = generate_group(shape, MANY);
    const double cache = 2.0 * shape.layers * shape.positions * shape.channels;
    return 4 * (group * (cache + shape.vocabulary) + 17.0 * BLOCK_ROWS * shape.channels);
}

/* Bytes that a stage needs at once, beside the program. */
static double stage_memory(const Settings *settings, double threads, int index)
{
    const double N = network_bytes(settings), T = sequence_tokens(settings);
    const PpoConfig *ppo = &settings->ppo;
    const EvaluateConfig *evaluate = &settings->evaluate;
    const double generating = threads * generating_bytes(settings);
    const double block = block_bytes(settings, false);
    const double logits = 4.0 * block_rows(settings) * (double)settings->task.vocabulary;
    const double scoring = threads * (block + logits); /* of policy and reference */
    const double pairs = 2 * (double)settings->label.pairs * T * (TOKEN_BYTES + TEXT_BYTES);
    const double memory[STAGES] = {
        trainer_bytes(settings, settings->pretrain.shards, threads),
        trainer_bytes(settings, settings->sft.shards, threads) +
            (double)settings->task.demonstrations * T * TOKEN_BYTES,
        N + generating + 2 * pairs,
        trainer_bytes(settings, settings->reward.shards, threads) + N + generating +
            threads * block + pairs,
        2 * trainer_bytes(settings, ppo->shards, threads) + 2 * N + generating + scoring +
            3 * (double)ppo->rollouts * T * ROLLOUT_BYTES,
        4 * N + generating + scoring +
            (double)(evaluate->prompts + evaluate->best_of_prompts * evaluate->best_of_pool) * T *
                TOKEN_BYTES,
    };
    return memory[index];
}

/* Bytes of the program itself, the task's text and of a file that is made in memory. */
static double standing_bytes(const Settings *settings)
{
    return PROGRAM_BYTES + fmin(6 * network_bytes(settings), FILE_BYTES);
}

/* What is left to do of the request's stages, and what it takes. */
typedef struct Plan {
    StageState state[STAGES];
    bool left[STAGES]; /* to be worked on */
    double disk;       /* bytes, beside what the unfinished stages have already */
    double memory;     /* bytes, of the stage that needs most; 0: nothing is left */
} Plan;

static Status count_stage(Plan *plan, const Pipeline *pipeline, int index)
{
    const Settings *settings = pipeline->settings;
    const double threads = (double)pipeline->options->threads;
    char folder[STAGE_PATH];
    uint64_t used;
    TRY(path_join(folder, pipeline->run, pipeline_stages[index].name));
    TRY(io_usage(&used, folder));
    plan->disk += fmax(stage_disk(settings, pipeline->options, index) - (double)used, 0);
    plan->memory =
        fmax(plan->memory, standing_bytes(settings) + stage_memory(settings, threads, index));
    return STATUS_OK;
}

/* A stage that --restart will forget is left to do, and so are all after it. */
static Status make_plan(Plan *plan, const RunRequest *request, const Pipeline *pipeline)
{
    *plan = (Plan){0};
    for (int i = request->first; i <= request->last; i++) {
        TRY(pipeline_state(&plan->state[i], pipeline, i));
        const bool forgotten = request->restart >= 0 && i >= request->restart;
        plan->left[i] = forgotten || plan->state[i] != STAGE_FINISHED;
        if (plan->left[i]) TRY(count_stage(plan, pipeline, i));
    }
    return STATUS_OK;
}

/* By what the estimate may be too high. */
static const double DISK_SLACK = 0.5;

static Status check_disk(const Plan *plan, const char *run)
{
    uint64_t room;
    char text[16], room_text[16];
    TRY(io_free_space(&room, run));
    if ((double)room >= DISK_SLACK * plan->disk) return STATUS_OK;
    return status_fail(
        STATUS_IO,
        "%s: about %s of disk are needed, %s are free (--set check_room=false begins "
        "all the same)",
        run, bytes_text_of(text, plan->disk), bytes_text_of(room_text, (double)room));
}

static Status check_memory(const Plan *plan)
{
    const double available = memory_room("");
    if (plan->memory <= available) return STATUS_OK;
    char needed_text[16], available_text[16];
    return status_fail(STATUS_FAILED,
                       "about %s of memory are needed, %s are available: a smaller model, fewer "
                       "shards or threads (--set check_room=false begins all the same)",
                       bytes_text_of(needed_text, plan->memory),
                       bytes_text_of(available_text, available));
}

Status plan_check(const RunRequest *request, const Pipeline *pipeline)
{
    Plan plan;
    TRY(make_plan(&plan, request, pipeline));
    TRY(check_disk(&plan, pipeline->run));
    return check_memory(&plan);
}

static void print_stages(FILE *out, const Plan *plan, const RunRequest *request,
                         const Settings *settings, double speed)
{
    double total = 0;
    char count[16], clock[16];
    fprintf(out, "stage      would             model FLOPs      about\n");
    for (int i = request->first; i <= request->last; i++) {
        const bool stale = request->restart >= 0 && i >= request->restart;
        const bool unusable = plan->state[i] == STAGE_CHANGED || plan->state[i] == STAGE_DAMAGED;
        const double flops = stage_flops(settings, i);
        const double seconds = plan->left[i] ? flops / (speed * EFFICIENCY) : 0;
        total += seconds;
        fprintf(out, "%-10s %-17s %11s %10s\n", pipeline_stages[i].name,
                !plan->left[i]                            ? "be skipped: done"
                : unusable && !stale                      ? "need --restart"
                : plan->state[i] == STAGE_BEGUN && !stale ? "go on"
                                                          : "run",
                count_text(count, flops), clock_text(clock, seconds));
    }
    fprintf(out, "%-10s %-17s %11s %10s\n\n", "all", "", "", clock_text(clock, total));
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
    Plan plan;
    TRY(make_plan(&plan, request, pipeline));
    print_stages(out, &plan, request, settings, speed * threads);
    TRY(io_free_space(&free_bytes, request->run));
    fprintf(out, "disk about %s, of %s free\n", bytes_text_of(text, plan.disk),
            bytes_text_of(free_text, (double)free_bytes));
    const double room = memory_room("");
    fprintf(out, "memory about %s, of %s available\n", bytes_text_of(text, plan.memory),
            isfinite(room) ? bytes_text_of(free_text, room) : "an unknown number");
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
