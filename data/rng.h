/* Chance: counter-based streams (Philox4x64-10, Salmon et al. 2011, through Random123).
 *
 * A stream is named by what it is for, never by how many numbers were drawn before it, so
 * results do not depend on order, threads or resuming, and a checkpoint needs no generator. */
#ifndef DATA_RNG_H
#define DATA_RNG_H

#include <gsl/gsl_rng.h>
#include <stdint.h>

typedef enum RngStage {
    RNG_TASK = 1, /* the task's own worlds: prompts, demonstrations, hidden weights */
    RNG_PRETRAIN,
    RNG_SFT,
    RNG_LABEL,
    RNG_REWARD,
    RNG_PPO,
    RNG_EVALUATE,
    RNG_GENERATE, /* rlhf generate and chat */
    RNG_TEST,
} RngStage;

typedef enum RngPurpose {
    RNG_INITIAL_WEIGHTS = 1,
    RNG_ORDER,    /* which examples, in which order */
    RNG_SAMPLING, /* tokens */
    RNG_LABELLER,
    RNG_SAMPLES, /* the fixed prompts answered through time */
    RNG_BEST_OF_N,
    RNG_PROMPT,
    RNG_DEMONSTRATION,
    RNG_DOCUMENT,
    RNG_WORLD, /* hidden weights of a task */
    RNG_ORACLE,
} RngPurpose;

/* The state of one stream; a plain value, 80 bytes. */
typedef struct Rng {
    uint64_t key[2];     /* seed; stage and purpose */
    uint64_t counter[4]; /* draw, step, prompt, sample */
    uint64_t block[4];   /* numbers drawn and not yet handed out */
    int left;
} Rng;

/* The stream of (seed, stage, purpose, step, prompt, sample). Equal names, equal numbers. */
Rng rng_stream(uint64_t seed, RngStage stage, RngPurpose purpose, uint64_t step, uint64_t prompt,
               uint64_t sample);

uint64_t rng_bits(Rng *rng);     /* 64 random bits */
double rng_uniform(Rng *rng);    /* in [0, 1), 53 bits */
int rng_below(Rng *rng, int n);  /* in [0, n) */
void rng_shuffle(Rng *rng, int *order, int n); /* Fisher and Yates */

/* The same stream as a GSL generator, for every gsl_ran_*; it draws from `rng`, which must
 * outlive it. */
gsl_rng rng_gsl(Rng *rng);

#endif
