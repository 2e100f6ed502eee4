/* The work of training, on random weights and random tokens, for rlhf bench to measure. Everything
 * goes through the code that the stages run; only files are left out. */
#ifndef SCRIPTS_RLHF_BENCH_H
#define SCRIPTS_RLHF_BENCH_H

#include "data/rollout.h"
#include "policy/generate.h"
#include "policy/trainer.h"
#include "ppo/ppo_score.h"
#include "ppo/ppo_update.h"

#include <stdio.h>

/* What the flags say. */
typedef struct BenchSizes {
    int threads, channels, layers, heads, vocabulary;
    int prompt, response;              /* tokens */
    int batch;                         /* sequences a training step */
    int rollouts, epochs, minibatches; /* of a PPO iteration */
    int shards, repeats;
} BenchSizes;

/* Token 0 ends an answer; it is never drawn. */
enum { BENCH_END = 0, BENCH_SEED = 1, BENCH_FOLDER = 512 };

ModelShape bench_shape(const BenchSizes *sizes, ModelHead head);
/* Model FLOPs of one sequence token forward, 2 (12 L d^2 + V d); training takes three times it. */
double bench_token_flops(const BenchSizes *sizes);
/* Passes of all sequence tokens through a network forward that one PPO iteration is worth: one for
 * the answers, four for the scores, three for each of two networks an epoch. */
double bench_ppo_passes(const BenchSizes *sizes);

/* One call of something to measure. */
typedef Status BenchWork(void *context);
/* Median seconds of a call over `repeats` samples; the first call warms up. Calls are repeated
 * within a sample where they are short. */
Status bench_median(double *seconds, BenchWork *work, void *context, int repeats);
double bench_median_of(double *sample, int count); /* sorts them */

/* ---- bench_work.c ---- */

OptimiserConfig bench_optimiser(void); /* the defaults of PPO, at a small constant rate */
Status bench_random_model(Model *model, ModelShape shape, uint64_t seed);
/* `count` sequences of random tokens but the end, `prompt` and `response` long. */
Status bench_random_sequences(Sequences *sequences, int count, int prompt, int response, int V);
/* Makes a folder under $TMPDIR for io_remove_tree to remove. */
Status bench_folder(char folder[BENCH_FOLDER]);

/* ---- bench_training.c ---- */

/* Language modelling: one minibatch of random text. */
typedef struct BenchTraining {
    BenchSizes sizes;
    Model model;
    Sequences text;
    BlockPlan plan;
    int *order; /* (blocks) */
    OptimiserConfig optimiser;
    Trainer trainer;
    double loss; /* of the last step, nats a token, before its update */
    Sequences prompts;        /* for bench_training_answers, as the next three */
    GenerateRequest *request; /* (batch); NULL before the first call */
    uint8_t *terminated;      /* (batch) */
    Arena answering;          /* what generate() keeps from call to call */
} BenchTraining;

Status bench_training_init(BenchTraining *training, const BenchSizes *sizes);
void bench_training_free(BenchTraining *training);
BenchWork bench_training_step;
BenchWork bench_training_checkpoint; /* weights and moments, into a folder of their own */
BenchWork bench_training_answers;    /* `batch` of them, of `response` tokens */

/* ---- bench_work.c ---- */

/* The parts of a PPO iteration whose times add up to all of it. */
typedef enum BenchPart { BENCH_GENERATE, BENCH_SCORE, BENCH_SHAPE, BENCH_UPDATE, BENCH_PARTS }
    BenchPart;

typedef struct BenchPpo {
    BenchSizes sizes;
    PpoConfig config;
    Model policy, reference, reward_model, critic;
    Sequences prompts;
    GenerateRequest *request; /* (rollouts) */
    PpoScorer scorer;
    PpoUpdater updater;
    Rollout rollout;
    BlockPlan plan;             /* of the rollout, once it is scored */
    double *entropy, *kl_exact; /* (tokens) */
    float *compact;             /* (tokens) scratch */
    Arena arena;
    Arena answering; /* what generate() keeps from call to call */
    int64_t step;
    double seconds[BENCH_PARTS]; /* of the last iteration */
} BenchPpo;

Status bench_ppo_init(BenchPpo *ppo, const BenchSizes *sizes);
void bench_ppo_free(BenchPpo *ppo);
PpoNetworks bench_networks(const BenchPpo *ppo);
Status bench_score(BenchPpo *ppo, const PpoNetworks *networks); /* in the blocks of ppo->plan */
/* The first `parts` parts of an iteration; ppo->seconds has the time of each. */
Status bench_ppo_parts(BenchPpo *ppo, int parts);
BenchWork bench_ppo_iteration; /* all of them */
BenchWork bench_critic_update; /* the part of the update that is the critic's */

/* ---- bench_kernels.c ---- */

typedef struct BenchKernel {
    const char *name;
    double calls;   /* an iteration, on all threads together */
    double flops;   /* of a call; 0: no product */
    double seconds; /* of a call */
} BenchKernel;

enum { BENCH_KERNELS = 22 };

/* After an iteration: each kernel alone, on one thread. Its data lies in the nearest cache, so the
 * sum over an iteration is a lower bound. */
Status bench_time_kernels(BenchKernel found[BENCH_KERNELS], BenchPpo *ppo);

/* ---- bench_stages.c, bench_check.c ---- */

/* The time of every stage of one iteration and of every kernel in it. */
Status bench_stages(FILE *out, const BenchSizes *sizes, bool json);
/* Weights and tokens into `folder`, and the losses they give, for another program to compare. */
Status bench_check(FILE *out, const BenchSizes *sizes, const char *folder);

#endif
