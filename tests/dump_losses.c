/* Prints what this program makes of preference pairs, for tests/oracle_losses.py to compare with
 * PyTorch. A line: chosen rejected margin centring label_smoothing, then loss, dchosen, drejected.
 */
#include "data/rng.h"
#include "reward/bradley_terry.h"

#include <stdio.h>

static double spread(Rng *rng, double from, double to)
{
    return from + (to - from) * rng_uniform(rng);
}

int main(void)
{
    Rng rng = rng_stream(1, RNG_TEST, RNG_ORACLE, 0, 0, 0);
    for (int i = 0; i < 400; i++) {
        const double width = i % 4 == 0 ? 300 : 4; /* far scores too */
        const double chosen = spread(&rng, -width, width), rejected = spread(&rng, -width, width);
        const double margin = i % 2 ? spread(&rng, 0, 3) : 0;
        const BradleyTerryConfig config = {
            .centring = i % 3 ? spread(&rng, 0, 0.1) : 0,
            .label_smoothing = i % 5 ? spread(&rng, 0, 0.5) : 0,
        };
        double dchosen, drejected;
        const double loss =
            bradley_terry_pair(&dchosen, &drejected, chosen, rejected, margin, &config);
        printf("%.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g\n", chosen, rejected, margin,
               config.centring, config.label_smoothing, loss, dchosen, drejected);
    }
    return 0;
}
