/* One pass over answers: what the policy, the reference, the reward model and the critic say of
 * every token, in the blocks that the update will use, so that its first ratios are exactly 1.
 *
 * Response token t of a sequence is predicted by the row before it; so logits and values are read
 * there, and the reward model's score at the last row. */
#ifndef PPO_PPO_SCORE_H
#define PPO_PPO_SCORE_H

#include "data/arena.h"
#include "data/sequences.h"
#include "data/stage.h"
#include "policy/blocks.h"
#include "policy/model.h"
#include "policy/trainer.h"

#include <stdbool.h>

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
    const StageHooks *hooks; /* asked before every block whether to leave; NULL: never */
    Arena arena;
} PpoScorer;

Status ppo_scorer_init(PpoScorer *scorer, ModelShape shape, int rows, int longest, int threads);
void ppo_scorer_free(PpoScorer *scorer);

/* Fills `scores` block by block; threads change no bit. A number that is not finite:
 * STATUS_DIVERGED with the sequence, the token and what it is. Asked to leave: STATUS_STOPPED. */
Status ppo_score(const PpoScorer *scorer, const PpoScores *scores, const PpoNetworks *networks,
                 const Sequences *sequences, const BlockPlan *plan, double temperature);

/* A walk over the response tokens of a block, in order. Score and update both go this way. */
typedef struct ResponseToken {
    int sequence;  /* in the block; -1 before the first */
    int place;     /* in its sequence, prompt included */
    int row;       /* of the block: the one that predicts it */
    int64_t token; /* among all tokens of all sequences */
} ResponseToken;

static const ResponseToken RESPONSE_START = {.sequence = -1};

/* The next one; false at the end. */
bool response_next(ResponseToken *at, const Block *block, const Sequences *sequences);

/* Copies the rows that predict response tokens end to end into `rows` (n, C); returns n. */
int response_rows(float *rows, const float *hidden, const Block *block, const Sequences *sequences,
                  int channels);
/* The way back: the block's drows, in the same order, into dhidden; zero in all other rows. */
void response_rows_back(const TrainerBlock *block, const Sequences *sequences);

#endif
