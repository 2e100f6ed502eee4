/* ppo/rollouts/000001.h5: everything one PPO update is a function of, beside the checkpoint of the
 * step before. logp, reference_logp and value of a response token are read at the position before
 * it; prompt tokens carry zeros. */
#ifndef DATA_ROLLOUT_H
#define DATA_ROLLOUT_H

#include "data/arena.h"
#include "data/io.h"
#include "data/status.h"
#include "data/tokenizer.h"

#include <stdint.h>

typedef struct Rollout {
    int64_t step;
    double kl_coef;
    double temperature;
    Digest policy, reference, reward_model, critic; /* of the weights used */
    int count;       /* N rollouts */
    int64_t tokens;  /* M, prompts included */
    /* (N) */
    int64_t *prompt_id;
    int32_t *prompt_length, *response_length;
    int32_t *block; /* which block the rollout is computed in, cut once and for all */
    float *score, *raw_score, *gold, *kl, *rlhf_reward; /* gold NaN where the task has none */
    uint8_t *terminated, *truncated;
    int64_t *offset; /* (N + 1) */
    /* (M) */
    int32_t *id;
    uint8_t *is_response;
    float *logp, *reference_logp, *value, *reward, *advantage, *returns; /* "/token/return" */
} Rollout;

/* Pushes arrays for up to `count` rollouts of `tokens` tokens together. */
void rollout_layout(Rollout *rollout, Arena *arena, int count, int64_t tokens);

/* Attributes of the file: format_version, step, kl_coef, temperature, {policy, reference,
 * reward_model, critic}_hash and, for people, format, stage, `config` (the resolved config.json;
 * NULL: none). Text columns for the first `text_rows` rollouts; none where `tokenizer` is NULL. */
Status rollout_write(const Rollout *rollout, const Tokenizer *tokenizer, int text_rows,
                     const char *config, const char *path, Digest *digest);

/* A rollout read from a file; free with rollout_free. Checked: offsets, ids, lengths, blocks. */
typedef struct RolloutFile {
    Rollout rollout;
    Arena arena;
} RolloutFile;

Status rollout_read(RolloutFile *file, const char *path, const Digest *expected, int vocabulary);
void rollout_free(RolloutFile *file);

#endif
