/* The truth beside the estimates, where all answers to all prompts can be enumerated: exact KL,
 * rewards, entropy, the optimum of the objective and the policy gradient.
 *
 * Answers form a tree. Its nodes are the prefixes of an answer, numbered as in a heap: node 0 is
 * the empty one, child w of node n is n W + 1 + w, with W words. Edge n V + a is token a after
 * prefix n, where V = W + 1 and the last token is the end. An edge ends an answer where its token
 * is the end or its child would lie beyond the last node: an answer that runs out of places is an
 * episode that ends there. With beta the KL coefficient and gamma 1:
 *
 *   J(pi) = mean over prompts of sum_y pi(y) [score(y) - beta log(pi(y) / reference(y))]
 *   J*    = mean over prompts of beta log sum_y reference(y) exp(score(y) / beta)
 *   J* - J(pi) = beta KL(pi || pi*),   pi*(y) = reference(y) exp(score(y) / beta) / Z */
#ifndef PPO_EXACT_H
#define PPO_EXACT_H

#include "data/tasks/task.h"
#include "data/tokenizer.h"
#include "ppo/ppo_update.h"

/* A tree of more answers is not enumerated. With two words or more none is longer than this. */
enum { EXACT_ANSWERS = 20000, EXACT_LONGEST = 16, EXACT_END = -1 };

typedef struct ExactJob {
    const Task *task;
    const Tokenizer *tokenizer;
    Model *policy, *reference; /* must outlive it; only the policy may change */
    const Model *reward_model; /* looked at once */
    const PpoConfig *config;
    int threads;
} ExactJob;

/* Exact values of one policy; means over prompts. */
typedef struct ExactReport {
    double probability;  /* of all answers together: 1 */
    double kl;           /* KL(policy || reference) by the chain rule over prefixes, nats */
    double kl_k1, kl_k3; /* the estimators of answers weighted by their probabilities, nats */
    double gold, proxy;  /* expected; the proxy is the score that enters the reward */
    double entropy;      /* nats a sequence */
    double objective, optimum, regret; /* J, J*, J* - J */
    double optimum_kl;   /* KL(pi* || policy), nats; NaN where the coefficient is 0 */
} ExactReport;

/* Sums over the tokens of a prefix, nats, and what it is worth from there on. */
typedef struct ExactPath {
    double logp, reference_logp, k3;
    double value; /* expected score less what the penalty will take */
} ExactPath;

typedef struct Exact {
    ExactJob job;
    Sequences prompts;
    int words, limit; /* W; tokens of the longest answer */
    int nodes, leaves, answers; /* of a prompt; leaves: last nodes, prefixes of limit - 1 words */
    /* (prompts, edges) */
    double *logp, *reference_logp; /* of the token after the prefix, nats */
    double *score, *gold;          /* of answers; 0 where an edge ends none */
    double *slope;                 /* d -J / d logits of the policy */
    ExactPath *path;               /* (nodes) of the prompt at work */
    Sequences paths; /* prompt p, the words of leaf l and the end, at p * leaves + l */
    BlockPlan plan;  /* of the paths */
    Trainer trainer;
    float *gradient; /* (weights) d -J / d weights, from exact_gradient */
    Arena arena;
} Exact;

/* Whether the task's answers are few enough. */
bool exact_possible(const Task *task, int vocabulary);

/* Enumerates; scores all answers by reward model and gold, weighs them by the reference. */
Status exact_open(Exact *exact, const ExactJob *job);
void exact_free(Exact *exact); /* fine on a zeroed one */

/* The policy as it is now, at this KL coefficient; leaves exact->slope. */
Status exact_measure(ExactReport *report, Exact *exact, double kl_coef);

/* exact->gradient of the policy that exact_measure has seen. */
Status exact_gradient(Exact *exact);

/* Cosine between exact->gradient and that of PPO's policy loss over the whole of a batch. */
Status exact_cosine(double *cosine, Exact *exact, const PpoLoss *loss, const BlockPlan *plan);

/* Edges of a prompt's tree; the node that one leads to, EXACT_END where it ends an answer. */
int exact_edges(const Exact *exact);
int exact_child(const Exact *exact, int edge);
/* Appends prompt `prompt` and the tokens up to and with `edge`. */
Status exact_sequence(Sequences *sequences, const Exact *exact, int prompt, int edge);

/* The report and exact->slope from the tables (exact_values.c). */
void exact_values(ExactReport *report, Exact *exact, double kl_coef);

#endif
