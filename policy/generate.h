/* Sampling answers: a KV cache, groups of sequences decoded together so that products are wide.
 *
 * Token t of answer (prompt, sample) is drawn by inverse CDF from uniform t of the stream (seed,
 * stage, purpose, step, prompt id, sample), so it depends on neither threads nor neighbours but
 * through the last bits of a product. Groups are fixed by the order of the requests. */
#ifndef POLICY_GENERATE_H
#define POLICY_GENERATE_H

#include "data/arena.h"
#include "data/rng.h"
#include "data/sequences.h"
#include "data/stage.h"
#include "policy/model.h"

#include <stdint.h>

typedef struct GenerateConfig {
    double temperature;
    int top_k;           /* 0: off (always off while training) */
    double top_p;        /* 1: off */
    int response_tokens; /* longest answer, <|endoftext|> included */
    int32_t end;         /* id of <|endoftext|> */
    bool never_end;      /* for benches: the end is never drawn */
    int group;           /* sequences decoded together; 0: generate_group() */
    int threads;
    Arena *kept;         /* memory that the next call may use again; the caller frees it.
                            NULL: claimed and released in the call */
    const StageHooks *hooks; /* asked before every token whether to leave; NULL: never */
    uint64_t seed;
    RngStage stage;
    RngPurpose purpose;
    uint64_t step;
} GenerateConfig;

/* One answer a request. */
typedef struct GenerateRequest {
    int64_t prompt_id; /* names the stream */
    int64_t sample;    /* names the stream */
    int prompt;        /* index into `prompts` */
} GenerateRequest;

/* Sequences in a group of `count` requests, for any number of threads the same: as many of 16 to 64
 * as have their keys and values within 6 MB, fewer where 16 take more than 256 MB; so many groups
 * that two threads (from 16 requests on, four) have equally much to do. */
int generate_group(ModelShape shape, int count);

/* Adds one sequence a request, in order, to *answers: its prompt and its answer, <|endoftext|>
 * included where it came; terminated[i] says whether it did. An empty prompt or one that leaves
 * too little room: STATUS_DATA, "prompt 3: 70 tokens and 32 of answer do not fit in 96 positions".
 * Logits that are not finite: STATUS_DIVERGED. Asked to leave: STATUS_STOPPED, nothing
 * is added. */
Status generate(Sequences *answers, uint8_t *terminated, const Model *model,
                const Sequences *prompts, const GenerateRequest *request, int count,
                const GenerateConfig *config);

#endif
