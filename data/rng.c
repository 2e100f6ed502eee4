#include "data/rng.h"

#include <Random123/philox.h>
#include <assert.h>
#include <string.h>

Rng rng_stream(uint64_t seed, RngStage stage, RngPurpose purpose, uint64_t step, uint64_t prompt,
               uint64_t sample)
{
    return (Rng){
        .key = {seed, (uint64_t)stage << 32 | (uint64_t)purpose},
        .counter = {0, step, prompt, sample},
    };
}

uint64_t rng_bits(Rng *rng)
{
    if (rng->left == 0) {
        philox4x64_ctr_t counter;
        philox4x64_key_t key;
        memcpy(counter.v, rng->counter, sizeof counter.v);
        memcpy(key.v, rng->key, sizeof key.v);
        const philox4x64_ctr_t drawn = philox4x64(counter, key);
        memcpy(rng->block, drawn.v, sizeof rng->block);
        rng->counter[0]++;
        rng->left = 4;
    }
    return rng->block[4 - rng->left--];
}

double rng_uniform(Rng *rng)
{
    return (double)(rng_bits(rng) >> 11) * 0x1p-53;
}

int rng_below(Rng *rng, int n)
{
    assert(n > 0);
    return (int)(rng_uniform(rng) * n);
}

void rng_shuffle(Rng *rng, int *order, int n)
{
    for (int i = n - 1; i > 0; i--) {
        const int j = rng_below(rng, i + 1);
        const int kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

static void gsl_set(void *state, unsigned long int seed)
{
    *(Rng *)state = rng_stream(seed, RNG_TEST, RNG_WORLD, 0, 0, 0);
}

static unsigned long int gsl_get(void *state)
{
    return (unsigned long int)(rng_bits(state) >> 32);
}

static double gsl_get_double(void *state)
{
    return rng_uniform(state);
}

static const gsl_rng_type philox_type = {
    .name = "philox4x64",
    .max = 0xffffffffUL,
    .min = 0,
    .size = sizeof(Rng),
    .set = gsl_set,
    .get = gsl_get,
    .get_double = gsl_get_double,
};

gsl_rng rng_gsl(Rng *rng)
{
    return (gsl_rng){.type = &philox_type, .state = rng};
}
