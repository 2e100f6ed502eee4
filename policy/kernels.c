#include "policy/kernels.h"

#include "policy/lanes.h"

#include <math.h>

static const float norm_epsilon = 1e-5f;

HOT void embed_forward(float *x, const float *token_embedding, const float *position_embedding,
                       const int32_t *token, const int32_t *place, int N, int C)
{
    for (int i = 0; i < N; i++) {
        float *out = row_at(x, i, C);
        const float *word = row_of(token_embedding, token[i], C);
        const float *position = row_of(position_embedding, place[i], C);
        for (int c = 0; c < C; c++) out[c] = word[c] + position[c];
    }
}

HOT void embed_backward(float *dtoken_embedding, float *dposition_embedding, const float *dx,
                        const int32_t *token, const int32_t *place, int N, int C)
{
    for (int i = 0; i < N; i++) {
        const float *d = row_of(dx, i, C);
        float *dword = row_at(dtoken_embedding, token[i], C);
        float *dposition = row_at(dposition_embedding, place[i], C);
        for (int c = 0; c < C; c++) {
            dword[c] += d[c];
            dposition[c] += d[c];
        }
    }
}

HOT void layer_norm_forward(float *restrict out, float *restrict normal, float *restrict rstd,
                            const float *restrict x, const float *restrict gain,
                            const float *restrict bias, int N, int C)
{
    for (int i = 0; i < N; i++) {
        const float *in = row_of(x, i, C);
        float *unit = row_at(normal, i, C);
        float *o = row_at(out, i, C);
        const float mean = row_sum(in, C) / (float)C;
        for (int c = 0; c < C; c++) unit[c] = in[c] - mean;
        const float variance = row_dot(unit, unit, C) / (float)C;
        const float scale = 1.0f / sqrtf(variance + norm_epsilon);
        for (int c = 0; c < C; c++) {
            unit[c] *= scale;
            o[c] = unit[c] * gain[c] + bias[c];
        }
        rstd[i] = scale;
    }
}

HOT void layer_norm_rebuild(float *restrict out, const float *restrict normal,
                            const float *restrict gain, const float *restrict bias, int N, int C)
{
    for (int i = 0; i < N; i++) {
        const float *unit = row_of(normal, i, C);
        float *o = row_at(out, i, C);
        for (int c = 0; c < C; c++) o[c] = unit[c] * gain[c] + bias[c];
    }
}

/* With d = dout * gain:  dx = rstd (d - mean(d) - normal mean(d normal)). */
HOT void layer_norm_backward(float *restrict dx, float *restrict dgain, float *restrict dbias,
                             const float *restrict dout, const float *restrict normal,
                             const float *restrict rstd, const float *restrict gain, int N, int C)
{
    for (int i = 0; i < N; i++) {
        const float *d = row_of(dout, i, C);
        const float *unit = row_of(normal, i, C);
        float *dinput = row_at(dx, i, C);
        float along[LANES] = {0.0f}, level[LANES] = {0.0f};
        int c = 0;
        for (; c + LANES <= C; c += LANES) {
            for (int l = 0; l < LANES; l++) {
                const float dnormal = d[c + l] * gain[c + l];
                level[l] += dnormal;
                along[l] += dnormal * unit[c + l];
            }
        }
        for (; c < C; c++) {
            const float dnormal = d[c] * gain[c];
            level[c % LANES] += dnormal;
            along[c % LANES] += dnormal * unit[c];
        }
        const float mean = lanes_sum(level) / (float)C;
        const float slope = lanes_sum(along) / (float)C;
        for (c = 0; c < C; c++) {
            dgain[c] += d[c] * unit[c];
            dbias[c] += d[c];
            dinput[c] += rstd[i] * (d[c] * gain[c] - mean - unit[c] * slope);
        }
    }
}

HOT void bias_forward(float *restrict x, const float *restrict bias, int N, int width)
{
    for (int i = 0; i < N; i++) {
        float *row = row_at(x, i, width);
        for (int c = 0; c < width; c++) row[c] += bias[c];
    }
}

HOT void bias_backward(float *restrict dbias, const float *restrict dx, int N, int width)
{
    for (int i = 0; i < N; i++) {
        const float *row = row_of(dx, i, width);
        for (int c = 0; c < width; c++) dbias[c] += row[c];
    }
}

static const float gelu_scale = 0.7978845608f; /* sqrt(2 / pi) */
static const float gelu_cubic = 0.044715f;

/* 1 / (1 + e^(-2u)): the factor that gelu puts on x. */
INLINE float gelu_gate(float x)
{
    const float u = gelu_scale * (x + gelu_cubic * x * x * x);
    return 1.0f / (1.0f + lane_exp(-2.0f * u));
}

HOT void bias_gelu_forward(float *restrict out, float *restrict x, const float *restrict bias,
                           int N, int width)
{
    for (int i = 0; i < N; i++) {
        float *row = row_at(x, i, width);
        float *o = row_at(out, i, width);
        for (int c = 0; c < width; c++) {
            const float sum = row[c] + bias[c];
            row[c] = sum;
            o[c] = sum * gelu_gate(sum);
        }
    }
}

/* gelu = x g(2u), g' = g (1 - g), so  dgelu/dx = g + x g (1 - g) 2 du/dx. */
HOT void gelu_backward(float *restrict out, float *restrict dx, const float *restrict x,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float gate = gelu_gate(x[i]);
        const float du = gelu_scale * (1.0f + 3.0f * gelu_cubic * x[i] * x[i]);
        out[i] = x[i] * gate;
        dx[i] *= gate + out[i] * (1.0f - gate) * 2.0f * du;
    }
}

/* How many terms go into float lanes before they move to a double. */
enum { SOFTMAX_RUN = 512 };

HOT SoftmaxSums softmax_sums(float *power, const float *logits, int V, float inverse_temperature)
{
    SoftmaxSums sums = {.max = row_max(logits, V)};
    for (int start = 0; start < V; start += SOFTMAX_RUN) {
        const int end = V - start < SOFTMAX_RUN ? V : start + SOFTMAX_RUN;
        float sum[LANES] = {0.0f}, weighted[LANES] = {0.0f};
        int i = start;
        for (; i + LANES <= end; i += LANES) {
            float e[LANES];
            for (int l = 0; l < LANES; l++) {
                const float z = (logits[i + l] - sums.max) * inverse_temperature;
                e[l] = lane_exp(z);
                sum[l] += e[l];
                weighted[l] += z * e[l];
            }
            if (power != NULL) memcpy(power + i, e, sizeof e);
        }
        for (; i < end; i++) {
            const float z = (logits[i] - sums.max) * inverse_temperature;
            const float e = lane_exp(z);
            sum[i % LANES] += e;
            weighted[i % LANES] += z * e;
            if (power != NULL) power[i] = e;
        }
        sums.sum += (double)lanes_sum(sum);
        sums.weighted += (double)lanes_sum(weighted);
    }
    return sums;
}

HOT void scale_row(float *x, float factor, int n)
{
    for (int i = 0; i < n; i++) x[i] *= factor;
}

HOT void add_scaled_row(float *restrict x, float factor, const float *restrict y, int n)
{
    for (int i = 0; i < n; i++) x[i] += factor * y[i];
}

HOT float dot_rows(const float *a, const float *b, int n)
{
    return row_dot(a, b, n);
}

HOT double sum_of_squares(const float *x, int n)
{
    double lane[LANES] = {0.0};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
    }
    for (; i < n; i++) lane[i % LANES] += (double)x[i] * (double)x[i];
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    }
    return lane[0];
}

HOT bool any_above(const float *x, float limit, int n)
{
    int above = 0;
    for (int i = 0; i < n; i++) above |= x[i] > limit;
    return above != 0;
}
