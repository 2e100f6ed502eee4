/* Vector arithmetic that gives the same bits on every machine: sums run in 16 lanes whose order
 * is written out, and exp is a polynomial with fixed operations. The compiler turns the lanes into
 * whatever vector registers there are; only .c files of kernels include this. */
#ifndef POLICY_LANES_H
#define POLICY_LANES_H

#include <stdint.h>
#include <string.h>

enum { LANES = 16 };

/* One copy of a function a vector width, chosen when the program starts. Not under sanitizers,
 * which are not ready when the choice is made, nor by early clangs, whose copies other files cannot
 * call: they get one plain copy, slower and with the same bits. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LANES_PLAIN
#elif defined(__clang__)
#if __clang_major__ < 17
#define LANES_PLAIN
#endif
#endif
#if defined(__x86_64__) && !defined(LANES_PLAIN)
#define HOT __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define HOT
#endif
#define INLINE static inline __attribute__((always_inline))

/* Lanes as one value, where several sums must stay in registers; read from any float's address. */
typedef float LaneVector
    __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* The lanes added up, in a fixed tree. */
INLINE float lanes_sum(float lane[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    }
    return lane[0];
}

INLINE float lanes_max(float lane[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            lane[l] = lane[l] > lane[l + half] ? lane[l] : lane[l + half];
        }
    }
    return lane[0];
}

INLINE float row_sum(const float *x, int n)
{
    float lane[LANES] = {0.0f};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] += x[i + l];
    }
    for (; i < n; i++) lane[i % LANES] += x[i];
    return lanes_sum(lane);
}

INLINE float row_dot(const float *a, const float *b, int n)
{
    float lane[LANES] = {0.0f};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] += a[i + l] * b[i + l];
    }
    for (; i < n; i++) lane[i % LANES] += a[i] * b[i];
    return lanes_sum(lane);
}

/* A NaN is passed over here; it comes back through the sum that follows a maximum. */
INLINE float row_max(const float *x, int n)
{
    float lane[LANES];
    for (int l = 0; l < LANES; l++) lane[l] = x[0];
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    }
    for (; i < n; i++) lane[i % LANES] = x[i] > lane[i % LANES] ? x[i] : lane[i % LANES];
    return lanes_max(lane);
}

/* e^x within 2 units in the last place: 0 below -87.7, e^80 above 80 (so that 1 / (1 + e^x) never
 * gets subnormal, which is slow), NaN for NaN.
 *
 *   e^x = 2^n e^r,  n = round(x / ln 2),  r = x - n ln 2 in two parts (Cody and Waite 1980)
 *
 * and a polynomial in r of degree 7 (the coefficients of Cephes' expf). Adding 1.5 * 2^23 rounds to
 * a whole number, which then stands in the low bits of the sum; n = -127 makes the power 0. */
INLINE float lane_exp(float x)
{
    const float above = x < -88.0f ? -88.0f : x;
    const float held = above > 80.0f ? 80.0f : above;
    const float shifted = held * 1.44269504f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    const float r = (held - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;

    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + (127u << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

#endif
