/* The simulated human: prefers the answer with more gold, noisily.
 *
 *   gap         = gold_a - gold_b + bias (length_a - length_b)
 *   P(a over b) = (1 - 2 flip) sigmoid(gap / (T sigma)) + flip
 *
 * (Coste et al. 2023 for the flips.) sigma is the standard deviation of gold over
 * the answers at hand, so the temperature has one meaning in every task. */
#ifndef REWARD_LABELLER_H
#define REWARD_LABELLER_H

#include "data/config.h"
#include "data/rng.h"
#include "data/stage.h"
#include "data/tasks/task.h"

typedef struct LabelConfig {
    int64_t pairs;         /* to make, train and held out together */
    double held_out;       /* share of pairs held out */
    double temperature;    /* of the labeller, in standard deviations of gold; 0: never errs */
    double flip_rate;      /* share of labels turned around at random */
    double length_bias;    /* gold an extra token is worth to the labeller */
    int64_t annotators;    /* people who share the work, pair by pair */
    double annotator_spread; /* how much temperatures differ between annotators (log-normal sd) */
    double sampling_temperature; /* of the SFT policy's answers */
} LabelConfig;

extern const ConfigSection label_section;
extern const MetricTable label_metrics;

/* Chance that a (gold, length) is preferred to b. temperature 0: a step function, 1/2 at a tie. */
double labeller_probability(double gold_a, double gold_b, double length_a, double length_b,
                            double sigma, double temperature, const LabelConfig *config);

/* Annotator k's own temperature: config->temperature times a fixed log-normal factor. */
double labeller_temperature(const LabelConfig *config, uint64_t seed, int annotator);

/* Stage 3: two answers a prompt from the SFT policy, one preferred; exact ties are dropped and
 * counted. Leaves comparisons.h5 and tokenizer.json. A task that brings its own pairs (files) has
 * them taken instead; none left: STATUS_DATA. */
typedef struct LabelJob {
    Stage *stage;
    const Task *task;
    const LabelConfig *config;
} LabelJob;

Status label_run(const LabelJob *job);

#endif
