#include "reward/labeller.h"

#include "reward/bradley_terry.h"

#include <gsl/gsl_randist.h>
#include <math.h>

static const ConfigField label_fields[] = {
    FIELD_INTEGER(LabelConfig, pairs, 8000, 0, 1e8,
                  "pairs of answers to label, train and held out together"),
    FIELD_REAL(LabelConfig, held_out, 0.1, 0, 0.9, "share of the pairs kept for measuring"),
    FIELD_REAL(LabelConfig, temperature, 0.5, 0, 1e6,
               "of the labeller, in standard deviations of gold; 0: never errs"),
    FIELD_REAL(LabelConfig, flip_rate, 0, 0, 0.5, "share of labels turned around at random"),
    FIELD_REAL(LabelConfig, length_bias, 0, -1e3, 1e3,
               "gold that an extra token is worth to the labeller"),
    FIELD_INTEGER(LabelConfig, annotators, 10, 1, 1e4, "people who share the work, pair by pair"),
    FIELD_REAL(LabelConfig, annotator_spread, 0, 0, 5,
               "how much their temperatures differ: standard deviation of the logarithm"),
    FIELD_REAL(LabelConfig, sampling_temperature, 1, 1e-3, 100,
               "at which the fine-tuned policy answers"),
};

const ConfigSection label_section = {
    .name = "label",
    .fields = label_fields,
    .count = sizeof label_fields / sizeof label_fields[0],
    .help = "two answers a prompt, one preferred by the simulated human",
};

double labeller_probability(double gold_a, double gold_b, double length_a, double length_b,
                            double sigma, double temperature, const LabelConfig *config)
{
    const double gap = gold_a - gold_b + config->length_bias * (length_a - length_b);
    const double scale = temperature * sigma;
    double chance;
    if (scale > 0.0) {
        chance = sigmoid(gap / scale);
    } else {
        chance = gap > 0.0 ? 1.0 : gap < 0.0 ? 0.0 : 0.5;
    }
    return (1.0 - 2.0 * config->flip_rate) * chance + config->flip_rate;
}

double labeller_temperature(const LabelConfig *config, uint64_t seed, int annotator)
{
    Rng rng = rng_stream(seed, RNG_LABEL, RNG_WORLD, 0, (uint64_t)annotator, 0);
    const gsl_rng generator = rng_gsl(&rng);
    return config->temperature * exp(gsl_ran_gaussian(&generator, config->annotator_spread));
}
