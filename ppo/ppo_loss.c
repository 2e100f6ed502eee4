#include "ppo/ppo_loss.h"

#include <math.h>

enum { LARGEST_EXPONENT = 20 };

static double clamp(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

PolicyTerm policy_term(double logp, double old_logp, double advantage, double clip_range)
{
    const double change = logp - old_logp;
    /* Not fmin and fmax here: they would turn NaN into a number. */
    const double exponent = change > LARGEST_EXPONENT    ? LARGEST_EXPONENT
                            : change < -LARGEST_EXPONENT ? -LARGEST_EXPONENT
                                                         : change;
    const double ratio = exp(exponent);
    const double free_loss = -advantage * ratio;
    const double held_loss = -advantage * clamp(ratio, 1.0 - clip_range, 1.0 + clip_range);
    const bool clipped = held_loss > free_loss;
    return (PolicyTerm){
        .loss = clipped ? held_loss : free_loss,
        /* d ratio / d logp = ratio, and 0 where the exponent is held */
        .slope = clipped || exponent != change ? 0.0 : free_loss,
        .ratio = ratio,
        .clipped = clipped,
    };
}

ValueTerm value_term(double value, double old_value, double returns, double clip_range)
{
    const double error = value - returns;
    ValueTerm term = {.loss = 0.5 * error * error, .slope = error, .clipped = false};
    const double change = value - old_value;
    if (clip_range <= 0.0 || fabs(change) <= clip_range) return term;

    const double held = old_value + clamp(change, -clip_range, clip_range);
    const double held_error = held - returns;
    if (held_error * held_error > error * error) {
        /* The larger error is that of a value at the edge of the range, which does not move. */
        term = (ValueTerm){.loss = 0.5 * held_error * held_error, .slope = 0.0, .clipped = true};
    }
    return term;
}
