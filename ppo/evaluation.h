/* What the evaluate stage gathers, for its own files: every policy's answers to the same held-out
 * prompts and what they are worth, best-of-n, how good the judge is. */
#ifndef PPO_EVALUATION_H
#define PPO_EVALUATION_H

#include "data/arena.h"
#include "data/sequences.h"
#include "data/tokenizer.h"
#include "policy/model.h"
#include "ppo/evaluate.h"
#include "reward/calibration.h"

/* The policies, by the stage that published them, in the order they are trained. */
enum { POLICY_PRETRAIN, POLICY_SFT, POLICY_PPO, POLICIES };
extern const char *const policy_stage[POLICIES];

/* What is measured of an answer. */
enum {
    MEASURE_GOLD,        /* NaN where the task has none */
    MEASURE_SCORE,       /* the reward model's normalised output: the proxy */
    MEASURE_KL,          /* sum over response tokens of logp - SFT's logp, nats */
    MEASURE_KL_EXACT,    /* sum of the exact divergences of the states on its way, nats */
    MEASURE_LENGTH,      /* response tokens, the end included */
    MEASURE_WELL_FORMED, /* 0 to 1; NaN where the task does not say */
    MEASURE_TERMINATED,  /* 1: it ended by itself */
    MEASURES
};
extern const char *const evaluation_measure[MEASURES];

typedef struct PolicyAnswers {
    bool present; /* the stage has published a policy */
    Sequences answers;
    double *value[MEASURES]; /* (prompts) */
    Arena arena;
} PolicyAnswers;

typedef struct Estimate {
    double mean, error, std; /* error: of the mean; std: sample standard deviation */
} Estimate;

enum { BEST_SIZES = 24 };

typedef struct BestOfN {
    int prompts, pool, sizes;
    int n[BEST_SIZES];
    Estimate gold[BEST_SIZES], score[BEST_SIZES]; /* over prompts */
    double unique; /* different answers in a pool, mean over prompts */
    int done;      /* prompts whose pool has been drawn */
    double *prompt_gold, *prompt_score; /* (sizes, prompts) of the best of n */
    Arena arena;
} BestOfN;

typedef struct Evaluation {
    const EvaluateJob *job;
    Tokenizer *tokenizer;
    Model sft, reward_model;
    int count; /* prompts */
    Sequences prompts;
    int64_t *prompt_id; /* (count) */
    PolicyAnswers policy[POLICIES];
    BestOfN best;
    Calibration judge;
    double gold_spearman, length_correlation; /* of the proxy over SFT's answers */
    double sft_loss, sft_floor; /* nats a response token, held out; NaN: not known */
    int64_t step; /* done: 1 to POLICIES are policies, then comes a pool each */
} Evaluation;

/* One answer to each prompt by the policy of stage policy_stage[which], and its measures; `present`
 * only where all of it is there. Asked to stop: STATUS_STOPPED. */
Status evaluate_policy(Evaluation *evaluation, int which);
/* Memory for the measures of `count` answers. */
Status policy_answers_claim(PolicyAnswers *answers, int count);

/* Pools of SFT answers to the first prompts, and the best of n of them for n = 1, 2, 4, ...: what
 * is to be done and memory for it, then from best.done on. Asked to stop: STATUS_STOPPED. */
Status evaluate_pools_claim(Evaluation *evaluation);
Status evaluate_best_of_n(Evaluation *evaluation);

/* What stands at evaluation->step as a checkpoint; the one that stage_open found, if any, back. */
Status evaluation_save(Evaluation *evaluation);
Status evaluation_load(Evaluation *evaluation);

/* Mean, its standard error and the sample deviation; NaN where a value is. */
Estimate estimate_of(const double *value, int n);

/* Share of prompts on which a is larger, ties half. */
Estimate win_rate(const double *a, const double *b, int n);

/* scorecard.json and samples.h5 into the stage's folder. */
Status evaluation_write_scorecard(const Evaluation *evaluation);
Status evaluation_write_samples(const Evaluation *evaluation);

#endif
