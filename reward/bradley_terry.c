#include "reward/bradley_terry.h"

#include <math.h>

double softplus(double x)
{
    return fmax(x, 0.0) + log1p(exp(-fabs(x)));
}

double sigmoid(double x)
{
    const double e = exp(-fabs(x));
    return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

double bradley_terry_pair(double *dchosen, double *drejected, double chosen, double rejected,
                          double margin, const BradleyTerryConfig *config)
{
    const double gap = chosen - rejected - margin;
    const double wrong = config->label_smoothing;
    const double sum = chosen + rejected;

    /* d softplus(x) / dx = sigmoid(x) */
    const double slope = wrong * sigmoid(gap) - (1.0 - wrong) * sigmoid(-gap);
    const double pull = 2.0 * config->centring * sum;
    *dchosen = slope + pull;
    *drejected = -slope + pull;
    return (1.0 - wrong) * softplus(-gap) + wrong * softplus(gap) + config->centring * sum * sum;
}
