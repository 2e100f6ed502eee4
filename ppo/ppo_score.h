/* One pass over answers: what the policy, the reference, the reward model and the critic say of
 * every token, in the blocks that the update will use, so that its first ratios are exactly 1.
 *
 * Response token t of a sequence is predicted by the row before it; so logits and values are read
 * there, and the reward model's score at the last row. */
#ifndef PPO_PPO_SCORE_H
#define PPO_PPO_SCORE_H

#include "data/arena.h"
#include "data/sequences.h"
#include "policy/blocks.h"
#include "policy/model.h"

/* Networks of one trunk shape; NULL: left out. */
typedef struct PpoNetworks {
    const Model *policy, *reference, *reward_model, *critic;
} PpoNetworks;

/* Where the results go; NULL: not wanted. Arrays of tokens are (offset[count]), indexed as the
 * sequences' tokens are; entries of prompt tokens are left alone. */
typedef struct PpoScores {
    float *logp, *reference_logp; /* nats at the temperature, rounded to float once */
    float *value;
    double *entropy;  /* of the policy's distribution over tokens, nats */
    double *kl_exact; /* KL(policy || reference) of the state before the token, nats */
    float *raw_score; /* (count) gain * head + bias at the last token */
} PpoScores;

/* Memory for blocks of up to `rows` rows and sequences of up to `longest` tokens. */
typedef struct PpoScorer {
    int threads, rows, longest;
    ModelShape shape; /* trunk; heads may differ */
    struct ScoreWorker *worker; /* (threads) */
    Arena arena;
} PpoScorer;

Status ppo_scorer_init(PpoScorer *scorer, ModelShape shape, int rows, int longest, int threads);
void ppo_scorer_free(PpoScorer *scorer);

/* Fills `scores` block by block; threads change no bit. A number that is not finite:
 * STATUS_DIVERGED with the sequence, the token and what it is. */
Status ppo_score(const PpoScorer *scorer, const PpoScores *scores, const PpoNetworks *networks,
                 const Sequences *sequences, const BlockPlan *plan, double temperature);

/* Gathers the rows of a block that predict response tokens, in order, into `rows` (n, C);
 * token[i] (n) is the place among all tokens of what row i predicts, row[i] its row in the block;
 * returns n. Score and update both go through here. */
int response_rows(float *rows, int64_t *token, int32_t *row, const float *hidden,
                  const Block *block, const Sequences *sequences, int channels);

#endif
