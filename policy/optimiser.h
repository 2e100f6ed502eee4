/* AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, torch's form) and schedules.
 *
 *   m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
 *   w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) - lr decay w
 *
 * decay only on matrices. */
#ifndef POLICY_OPTIMISER_H
#define POLICY_OPTIMISER_H

#include "data/config.h"
#include "policy/model.h"

#include <stdint.h>

/* The optimiser's settings, part of every training stage's section. */
typedef struct OptimiserConfig {
    double learning_rate;
    char schedule[CONFIG_TEXT]; /* constant | linear | cosine */
    int64_t warmup_steps;
    double final_rate; /* the schedule ends at final_rate * learning_rate */
    double beta1, beta2, epsilon, weight_decay;
    double max_grad_norm; /* global norm; 0: no clipping */
    char on_spike[CONFIG_TEXT]; /* off | skip | stop; empty is off */
    double spike_sigmas;
} OptimiserConfig;

/* Rows for a section whose struct `type_` holds `member`, an OptimiserConfig; `p` prefixes names
 * (empty, or critic_); `shape` is the schedule. */
#define OPTIMISER_FIELD(type_, member, name_, field, kind_, initial_, low, high, help_)            \
    {.name = name_, .type = kind_, .offset = offsetof(type_, member.field), .initial = (initial_), \
     .minimum = (low), .maximum = (high), .help = (help_)}
#define OPTIMISER_FIELDS(type_, member, p, rate, warmup, ratio, b2, eps, decay)                    \
    OPTIMISER_SHAPED_FIELDS(type_, member, p, "cosine", rate, warmup, ratio, b2, eps, decay)
#define OPTIMISER_SHAPED_FIELDS(type_, member, p, shape, rate, warmup, ratio, b2, eps, decay)      \
    OPTIMISER_FIELD(type_, member, p "learning_rate", learning_rate, CONFIG_REAL, rate, 0, 10,     \
                    "peak learning rate"),                                                         \
    {.name = p "schedule", .type = CONFIG_CHOICE, .offset = offsetof(type_, member.schedule),      \
     .text = shape, .choices = "constant|linear|cosine",                                           \
     .help = "how the learning rate falls after the warm-up"},                                     \
    OPTIMISER_FIELD(type_, member, p "warmup_steps", warmup_steps, CONFIG_INTEGER, warmup, 0, 1e9, \
                    "steps in which the learning rate rises linearly"),                            \
    OPTIMISER_FIELD(type_, member, p "final_rate", final_rate, CONFIG_REAL, ratio, 0, 1,           \
                    "where the schedule ends, as a share of the peak"),                            \
    OPTIMISER_FIELD(type_, member, p "beta1", beta1, CONFIG_REAL, 0.9, 0, 0.999999,                \
                    "AdamW: decay of the first moment"),                                           \
    OPTIMISER_FIELD(type_, member, p "beta2", beta2, CONFIG_REAL, b2, 0, 0.999999,                 \
                    "AdamW: decay of the second moment"),                                          \
    OPTIMISER_FIELD(type_, member, p "epsilon", epsilon, CONFIG_REAL, eps, 1e-16, 1,               \
                    "AdamW: added to the root of the second moment"),                              \
    OPTIMISER_FIELD(type_, member, p "weight_decay", weight_decay, CONFIG_REAL, decay, 0, 10,      \
                    "AdamW: decay of matrices (not of biases, norms, embeddings, heads)"),         \
    OPTIMISER_FIELD(type_, member, p "max_grad_norm", max_grad_norm, CONFIG_REAL, 1.0, 0, 1e9,     \
                    "gradients are scaled to at most this global norm; 0: never"),                 \
    {.name = p "on_spike", .type = CONFIG_CHOICE, .offset = offsetof(type_, member.on_spike),      \
     .text = "off", .choices = "off|skip|stop",                                                    \
     .help = "what to do with an update whose loss is far above its running mean"},                \
    OPTIMISER_FIELD(type_, member, p "spike_sigmas", spike_sigmas, CONFIG_REAL, 6, 1, 1e6,         \
                    "on_spike: how many standard deviations above the mean are a spike")

/* Learning rate of step `step` (from 0) of `steps`. */
double schedule_rate(const OptimiserConfig *config, int64_t step, int64_t steps);

/* Moments of one network, flat, in the order of the weight list. */
typedef struct AdamW {
    float *m, *v; /* (count) */
    int64_t step; /* updates done */
    size_t count;
    Arena arena;
} AdamW;

Status adamw_init(AdamW *adamw, const Model *model);
void adamw_free(AdamW *adamw);

/* One update from `gradient` scaled by `scale`; threads change no bit. */
void adamw_update(AdamW *adamw, Model *model, const float *gradient, double scale,
                  const OptimiserConfig *config, double rate, int threads);

#endif
