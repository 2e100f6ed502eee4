/* Sums over the tree of answers, in double: see ppo/exact.h for its edges. */
#include "ppo/exact.h"
#include "ppo/kl.h"

#include <math.h>

/* The tables of one prompt; arrays: (edges). */
typedef struct Tree {
    const Exact *exact;
    int edges, V;
    const double *logp, *reference_logp, *score, *gold;
    double *slope;
} Tree;

static Tree prompt_tree(const Exact *exact, int prompt)
{
    const ptrdiff_t first = (ptrdiff_t)prompt * exact_edges(exact);
    return (Tree){
        .exact = exact,
        .edges = exact_edges(exact),
        .V = exact->words + 1,
        .logp = exact->logp + first,
        .reference_logp = exact->reference_logp + first,
        .score = exact->score + first,
        .gold = exact->gold + first,
        .slope = exact->slope + first,
    };
}

/* Sums over tokens up to and with an edge. */
static ExactPath along(const Tree *tree, int edge)
{
    ExactPath path = tree->exact->path[edge / tree->V];
    path.logp += tree->logp[edge];
    path.reference_logp += tree->reference_logp[edge];
    path.k3 += kl_k3(tree->logp[edge] - tree->reference_logp[edge]);
    return path;
}

/* Adds the answer that ends with the last edge of `path`. */
static void add_answer(ExactReport *report, ExactPath path, double score, double gold)
{
    const double p = exp(path.logp);
    report->probability += p;
    report->kl_k1 += p * kl_k1(path.logp - path.reference_logp);
    report->kl_k3 += p * path.k3;
    report->entropy -= p * path.logp;
    report->proxy += p * score;
    report->gold += p * gold;
}

/* From the root outwards; children come after their parents. */
static void walk_answers(ExactReport *report, const Tree *tree)
{
    tree->exact->path[0] = (ExactPath){0};
    for (int e = 0; e < tree->edges; e++) {
        const ExactPath path = along(tree, e);
        const int child = exact_child(tree->exact, e);
        report->kl += exp(path.logp) * (tree->logp[e] - tree->reference_logp[e]);
        if (child == EXACT_END) {
            add_answer(report, path, tree->score[e], tree->gold[e]);
        } else {
            tree->exact->path[child] = path;
        }
    }
}

/* Values of the prefixes from the last to the first, and with
 *   Q(s, a) = -beta log(pi(a|s) / reference(a|s)) + [value of s a, or the answer's score]
 * the policy gradient (Sutton et al. 2000, theorem 1; the penalty's own gradient has mean 0):
 *   dJ / dlogits(s, a) = P(s) pi(a|s) (Q(s, a) - V(s)) / temperature */
static void walk_values(const Tree *tree, double kl_coef, double weight)
{
    const Exact *exact = tree->exact;
    for (int node = exact->nodes - 1; node >= 0; node--) {
        ExactPath *path = &exact->path[node];
        path->value = 0.0;
        for (int e = node * tree->V; e < (node + 1) * tree->V; e++) {
            const int child = exact_child(exact, e);
            const double rest = child == EXACT_END ? tree->score[e] : exact->path[child].value;
            const double q = rest - kl_coef * (tree->logp[e] - tree->reference_logp[e]);
            tree->slope[e] = q;
            path->value += exp(tree->logp[e]) * q;
        }
        for (int e = node * tree->V; e < (node + 1) * tree->V; e++) {
            const double better = tree->slope[e] - path->value;
            tree->slope[e] = -weight * exp(path->logp + tree->logp[e]) * better;
        }
    }
}

/* log Z = log sum_y reference(y) exp(score(y) / beta), and KL(pi* || pi), in one pass: sums are
 * kept relative to the largest exponent so far. */
static void walk_optimum(ExactReport *report, const Tree *tree, double kl_coef)
{
    double largest = -INFINITY, sum = 0.0, gap = 0.0;
    for (int e = 0; e < tree->edges; e++) {
        if (exact_child(tree->exact, e) != EXACT_END) continue;
        const ExactPath path = along(tree, e);
        const double exponent = path.reference_logp + tree->score[e] / kl_coef;
        if (exponent > largest) {
            sum *= exp(largest - exponent);
            gap *= exp(largest - exponent);
            largest = exponent;
        }
        sum += exp(exponent - largest);
        gap += exp(exponent - largest) * (exponent - path.logp);
    }
    const double log_partition = largest + log(sum);
    report->optimum += kl_coef * log_partition;
    report->optimum_kl += gap / sum - log_partition;
}

/* Without a penalty the best answer is all there is. */
static double best_score(const Tree *tree)
{
    double best = -INFINITY;
    for (int e = 0; e < tree->edges; e++) {
        if (exact_child(tree->exact, e) == EXACT_END) best = fmax(best, tree->score[e]);
    }
    return best;
}

void exact_values(ExactReport *report, Exact *exact, double kl_coef)
{
    const int prompts = exact->prompts.count;
    *report = (ExactReport){0};
    for (int p = 0; p < prompts; p++) {
        const Tree tree = prompt_tree(exact, p);
        walk_answers(report, &tree);
        walk_values(&tree, kl_coef, 1.0 / (prompts * exact->job.config->temperature));
        if (kl_coef > 0.0) {
            walk_optimum(report, &tree, kl_coef);
        } else {
            report->optimum += best_score(&tree);
            report->optimum_kl = NAN;
        }
    }
    double *const sums[] = {&report->probability, &report->kl,      &report->kl_k1,
                            &report->kl_k3,       &report->gold,    &report->proxy,
                            &report->entropy,     &report->optimum, &report->optimum_kl};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) *sums[i] /= prompts;
    report->objective = report->proxy - kl_coef * report->kl;
    report->regret = report->optimum - report->objective;
}
