#include "tests/support.h"

/* A second copy of the kernels, without vector registers, under other names. */
#define LANES_PLAIN
#define embed_forward plain_embed_forward
#define embed_backward plain_embed_backward
#define layer_norm_forward plain_layer_norm_forward
#define layer_norm_rebuild plain_layer_norm_rebuild
#define layer_norm_backward plain_layer_norm_backward
#define bias_forward plain_bias_forward
#define bias_backward plain_bias_backward
#define bias_gelu_forward plain_bias_gelu_forward
#define gelu_backward plain_gelu_backward
#define softmax_sums plain_softmax_sums
#define scale_row plain_scale_row
#define add_scaled_row plain_add_scaled_row
#define dot_rows plain_dot_rows
#define sum_of_squares plain_sum_of_squares
#define any_above plain_any_above
#define attention_scratch plain_attention_scratch
#define attention_softmax plain_attention_softmax
#define attention_forward plain_attention_forward
#define attention_backward plain_attention_backward
#include "policy/attention.c"
#include "policy/kernels.c"
#undef layer_norm_forward
#undef layer_norm_backward
#undef bias_backward
#undef bias_gelu_forward
#undef gelu_backward
#undef softmax_sums
#undef dot_rows
#undef sum_of_squares
#undef any_above
#undef attention_scratch
#undef attention_forward
#undef attention_backward
extern __typeof__(plain_layer_norm_forward) layer_norm_forward;
extern __typeof__(plain_layer_norm_backward) layer_norm_backward;
extern __typeof__(plain_bias_backward) bias_backward;
extern __typeof__(plain_bias_gelu_forward) bias_gelu_forward;
extern __typeof__(plain_gelu_backward) gelu_backward;
extern __typeof__(plain_softmax_sums) softmax_sums;
extern __typeof__(plain_dot_rows) dot_rows;
extern __typeof__(plain_sum_of_squares) sum_of_squares;
extern __typeof__(plain_any_above) any_above;
extern __typeof__(plain_attention_scratch) attention_scratch;
extern __typeof__(plain_attention_forward) attention_forward;
extern __typeof__(plain_attention_backward) attention_backward;

#include "data/rng.h"
#include "policy/transformer.h"

static void fill(float *x, size_t count, double size, uint64_t name)
{
    Rng rng = rng_stream(1, RNG_TEST, RNG_WORLD, name, 0, 0);
    for (size_t i = 0; i < count; i++) x[i] = (float)(size * (2.0 * rng_uniform(&rng) - 1.0));
}

static void exp_is_right_to_two_units_in_the_last_place(void **state)
{
    (void)state;
    for (int i = 0; i <= 1670000; i++) {
        const float x = (float)(-87.0 + 1e-4 * i);
        assert_close((double)lane_exp(x), exp((double)x), 0.0, 2.4e-7);
    }
    assert_true(lane_exp(-87.7f) == 0.0f && lane_exp(-INFINITY) == 0.0f);
    assert_true(lane_exp(0.0f) == 1.0f);
    assert_close((double)lane_exp(1000.0f), exp(80.0), 0.0, 2.4e-7);
    assert_true(isnan(lane_exp(NAN)));
}

/* gelu(1) = (1 + tanh(0.7978845608 * 1.044715)) / 2 = 0.8411920, and so on. */
static void gelu_matches_the_tanh_form(void **state)
{
    (void)state;
    const float in[6] = {1.0f, -1.0f, 3.0f, 0.0f, -12.0f, 40.0f};
    const double expected[6] = {0.841191990608, -0.158808009392, 2.996362607918, 0.0, 0.0, 40.0};
    const float bias[6] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
    float x[6], out[6], dx[6];
    for (int i = 0; i < 6; i++) x[i] = in[i] - 0.5f;
    bias_gelu_forward(out, x, bias, 1, 6);
    for (int i = 0; i < 6; i++) {
        assert_true(x[i] == in[i]);
        assert_close((double)out[i], expected[i], 1e-12, 3e-7);
        dx[i] = 2.0f;
    }
    gelu_backward(out, dx, x, 6);
    for (int i = 0; i < 6; i++) {
        const double h = 1e-4, scale = sqrt(2.0 / 3.14159265358979323846);
        double side[2];
        for (int s = 0; s < 2; s++) {
            const double at = (double)in[i] + (s == 0 ? h : -h);
            side[s] = 0.5 * at * (1.0 + tanh(scale * (at + 0.044715 * at * at * at)));
        }
        assert_close((double)dx[i], 2.0 * (side[0] - side[1]) / (2.0 * h), 1e-6, 1e-6);
        assert_close((double)out[i], expected[i], 1e-12, 3e-7);
    }
}

/* The row 1, 3: mean 2, variance 1, so (x - 2) / sqrt(1 + 1e-5). */
static void layer_norm_matches_hand_numbers(void **state)
{
    (void)state;
    const float x[2] = {1.0f, 3.0f}, gain[2] = {2.0f, 3.0f}, bias[2] = {0.5f, -0.5f};
    float out[2], normal[2], rstd[1], again[2];
    layer_norm_forward(out, normal, rstd, x, gain, bias, 1, 2);
    const double unit = 1.0 / sqrt(1.00001);
    assert_close((double)rstd[0], unit, 0, 1e-6);
    assert_close((double)out[0], 0.5 - 2.0 * unit, 0, 1e-6);
    assert_close((double)out[1], -0.5 + 3.0 * unit, 0, 1e-6);
    plain_layer_norm_rebuild(again, normal, gain, bias, 1, 2);
    assert_memory_equal(again, out, sizeof out);
}

static void layer_norm_gradient_is_a_slope_and_adds_up(void **state)
{
    (void)state;
    enum { N = 3, C = 21 };
    float x[N * C], gain[C], bias[C], dout[N * C], out[N * C], normal[N * C], rstd[N];
    float dx[N * C], dgain[C], dbias[C];
    fill(x, N * C, 2.0, 1);
    fill(gain, C, 1.5, 2);
    fill(bias, C, 1.0, 3);
    fill(dout, N * C, 1.0, 4);
    for (int i = 0; i < N * C; i++) dx[i] = 10.0f;
    for (int c = 0; c < C; c++) dgain[c] = dbias[c] = 20.0f;
    layer_norm_forward(out, normal, rstd, x, gain, bias, N, C);
    layer_norm_backward(dx, dgain, dbias, dout, normal, rstd, gain, N, C);

    float *const input[3] = {x, gain, bias};
    const float *const found[3] = {dx, dgain, dbias};
    const int count[3] = {N * C, C, C};
    const double start[3] = {10.0, 20.0, 20.0};
    for (int which = 0; which < 3; which++) {
        for (int i = 0; i < count[which]; i++) {
            const float kept = input[which][i];
            double loss[2] = {0.0, 0.0};
            for (int side = 0; side < 2; side++) {
                input[which][i] = kept + (side == 0 ? 0.01f : -0.01f);
                layer_norm_forward(out, normal, rstd, x, gain, bias, N, C);
                for (int o = 0; o < N * C; o++) {
                    loss[side] += (double)out[o] * (double)dout[o];
                }
            }
            input[which][i] = kept;
            assert_close((double)found[which][i] - start[which], (loss[0] - loss[1]) / 0.02, 2e-3,
                         1e-2);
        }
    }
}

/* Attention as it is written in the paper, in doubles. */
static void slow_attention(double *out, const float *qkv, int T, int C, int H, bool causal)
{
    const int width = C / H;
    for (int h = 0; h < H; h++) {
        for (int t = 0; t < T; t++) {
            double total = 0.0, mixed[64] = {0.0};
            for (int s = 0; s < (causal ? t + 1 : T); s++) {
                double score = 0.0;
                for (int c = 0; c < width; c++) {
                    score += (double)qkv[t * 3 * C + h * width + c] *
                             (double)qkv[s * 3 * C + C + h * width + c];
                }
                const double weight = exp(score / sqrt(width));
                total += weight;
                for (int c = 0; c < width; c++) {
                    mixed[c] += weight * (double)qkv[s * 3 * C + 2 * C + h * width + c];
                }
            }
            for (int c = 0; c < width; c++) out[t * C + h * width + c] = mixed[c] / total;
        }
    }
}

/* Around the length of a tile (32), so that there are one and several tiles, full and ragged. */
static void attention_matches_the_paper(void **state)
{
    (void)state;
    enum { MOST = 150, C = 12, H = 2 };
    static float qkv[MOST * 3 * C], out[MOST * C], weight[H * MOST * MOST], scratch[2 * 64 * MOST];
    static double expected[MOST * C];
    const int lengths[5] = {1, 31, 32, 65, MOST};
    fill(qkv, MOST * 3 * C, 1.5, 5);
    for (int i = 0; i < 5; i++) {
        for (int causal = 0; causal < 2; causal++) {
            const int T = lengths[i];
            assert_true(attention_scratch(T) <= sizeof scratch / sizeof scratch[0]);
            slow_attention(expected, qkv, T, C, H, causal);
            attention_forward(out, weight, scratch, qkv, T, C, H, causal);
            for (int o = 0; o < T * C; o++) {
                assert_close((double)out[o], expected[o], 3e-6, 3e-6);
            }
        }
    }
}

static void attention_gradient_is_a_slope_with_and_without_kept_weights(void **state)
{
    (void)state;
    enum { T = 70, C = 8, H = 2, COUNT = T * 3 * C };
    static float qkv[COUNT], dout[T * C], out[T * C], weight[H * T * T], scratch[2 * 64 * T];
    static float dqkv[COUNT], again[COUNT], moved[COUNT];
    static double side[2][T * C];
    fill(qkv, COUNT, 1.5, 6);
    fill(dout, T * C, 1.0, 7);
    for (int causal = 0; causal < 2; causal++) {
        attention_forward(out, weight, scratch, qkv, T, C, H, causal);
        attention_backward(dqkv, scratch, dout, weight, qkv, T, C, H, causal);
        attention_backward(again, scratch, dout, NULL, qkv, T, C, H, causal);
        assert_memory_equal(again, dqkv, sizeof dqkv);
        for (int i = 0; i < COUNT; i += 7) {
            double slope = 0.0;
            for (int s = 0; s < 2; s++) {
                memcpy(moved, qkv, sizeof moved);
                moved[i] += s == 0 ? 0.01f : -0.01f;
                slow_attention(side[s], moved, T, C, H, causal);
            }
            for (int o = 0; o < T * C; o++) {
                slope += (double)dout[o] * (side[0][o] - side[1][o]) / 0.02;
            }
            assert_close((double)dqkv[i], slope, 3e-4, 1e-3);
        }
    }
}

/* Logits 0, ln 2, ln 5: probabilities 1/8, 2/8, 5/8. At temperature 2 their roots. */
static void token_score_matches_hand_numbers(void **state)
{
    (void)state;
    const float logits[3] = {0.0f, (float)log(2.0), (float)log(5.0)};
    float probability[3];
    TokenScore score = token_score(probability, logits, 3, 1.0, 1);
    assert_close(score.logp, log(0.25), 1e-7, 0);
    assert_close(score.entropy, -0.125 * log(0.125) - 0.25 * log(0.25) - 0.625 * log(0.625), 1e-6,
                 0);
    assert_close((double)probability[0], 0.125, 1e-7, 0);
    assert_close((double)probability[2], 0.625, 1e-7, 0);

    score = token_score(NULL, logits, 3, 2.0, 2);
    assert_close(score.logp, log(sqrt(5.0) / (1.0 + sqrt(2.0) + sqrt(5.0))), 1e-7, 0);
}

static void token_score_holds_for_a_large_vocabulary_and_in_place(void **state)
{
    (void)state;
    enum { V = 50257 };
    static float logits[V], probability[V];
    fill(logits, V, 9.0, 8);
    double sum = 0.0, entropy = 0.0, total = 0.0;
    for (int v = 0; v < V; v++) sum += exp((double)logits[v] / 0.7);
    for (int v = 0; v < V; v++) {
        const double p = exp((double)logits[v] / 0.7) / sum;
        entropy -= p * log(p);
    }
    const TokenScore score = token_score(probability, logits, V, 0.7, 4711);
    assert_close(score.logp, (double)logits[4711] / 0.7 - log(sum), 1e-6, 0);
    assert_close(score.entropy, entropy, 1e-5, 0);
    for (int v = 0; v < V; v++) total += (double)probability[v];
    assert_close(total, 1.0, 1e-5, 0);

    const TokenScore in_place = token_score(logits, logits, V, 0.7, 4711);
    assert_memory_equal(&in_place, &score, sizeof score);
    assert_memory_equal(logits, probability, sizeof probability);
}

static void token_score_survives_huge_logits_and_shows_nan(void **state)
{
    (void)state;
    float logits[3] = {1000.0f, 1001.0f, 999.0f};
    assert_close(token_score(NULL, logits, 3, 1.0, 0).logp, -1.4076059644, 1e-6, 0);
    logits[1] = NAN;
    assert_true(isnan(token_score(NULL, logits, 3, 1.0, 0).logp));
}

static void rows_of_odd_lengths_add_up(void **state)
{
    (void)state;
    float a[37], b[37], limit[3] = {1.0f, 3.0f, 2.0f};
    fill(a, 37, 1.0, 9);
    fill(b, 37, 1.0, 10);
    double dot = 0.0, square = 0.0;
    for (int i = 0; i < 37; i++) {
        dot += (double)a[i] * (double)b[i];
        square += (double)a[i] * (double)a[i];
    }
    assert_close((double)dot_rows(a, b, 37), dot, 1e-6, 0);
    assert_close(sum_of_squares(a, 37), square, 1e-14, 0);
    assert_true(any_above(limit, 2.0f, 3));
    assert_false(any_above(limit, 3.0f, 3));
}

static void the_vector_width_changes_no_bit(void **state)
{
    (void)state;
    enum { N = 7, C = 75, T = 70, H = 3 };
    static float x[2][N * C], out[2][N * C], normal[2][N * C], rstd[2][N], gain[C], bias[C];
    static float dx[2][N * C], dgain[2][C], dbias[2][C];
    fill(gain, C, 1.5, 11);
    fill(bias, C, 1.0, 12);
    fill(x[0], N * C, 3.0, 13);
    memcpy(x[1], x[0], sizeof x[0]);
    layer_norm_forward(out[0], normal[0], rstd[0], x[0], gain, bias, N, C);
    plain_layer_norm_forward(out[1], normal[1], rstd[1], x[1], gain, bias, N, C);
    layer_norm_backward(dx[0], dgain[0], dbias[0], x[0], normal[0], rstd[0], gain, N, C);
    plain_layer_norm_backward(dx[1], dgain[1], dbias[1], x[1], normal[1], rstd[1], gain, N, C);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
    assert_memory_equal(dgain[0], dgain[1], sizeof dgain[0]);

    bias_gelu_forward(out[0], x[0], bias, N, C);
    plain_bias_gelu_forward(out[1], x[1], bias, N, C);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    gelu_backward(out[0], dx[0], x[0], N * C);
    plain_gelu_backward(out[1], dx[1], x[1], N * C);
    assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
    bias_backward(dbias[0], x[0], N, C);
    plain_bias_backward(dbias[1], x[1], N, C);
    assert_memory_equal(dbias[0], dbias[1], sizeof dbias[0]);

    const SoftmaxSums sums = softmax_sums(out[0], x[0], N * C, 1.3f);
    const SoftmaxSums plain = plain_softmax_sums(out[1], x[1], N * C, 1.3f);
    assert_true(sums.max == plain.max && sums.sum == plain.sum);
    assert_true(sums.weighted == plain.weighted);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    assert_true(dot_rows(x[0], normal[0], N * C) == plain_dot_rows(x[0], normal[0], N * C));
    assert_true(sum_of_squares(x[0], N * C) == plain_sum_of_squares(x[0], N * C));

    static float qkv[T * 3 * C], dout[T * C], mixed[2][T * C], weight[2][H * T * T];
    static float scratch[2][2 * 64 * T], dqkv[2][T * 3 * C];
    fill(qkv, T * 3 * C, 1.5, 14);
    fill(dout, T * C, 1.0, 15);
    attention_forward(mixed[0], weight[0], scratch[0], qkv, T, C, H, true);
    plain_attention_forward(mixed[1], weight[1], scratch[1], qkv, T, C, H, true);
    assert_memory_equal(mixed[0], mixed[1], sizeof mixed[0]);
    attention_backward(dqkv[0], scratch[0], dout, weight[0], qkv, T, C, H, true);
    plain_attention_backward(dqkv[1], scratch[1], dout, weight[1], qkv, T, C, H, true);
    assert_memory_equal(dqkv[0], dqkv[1], sizeof dqkv[0]);
}

static void products_match_doubles_in_every_transposition(void **state)
{
    (void)state;
    enum { M = 5, N = 7, K = 9, A_ROW = 13, B_ROW = 14, C_ROW = 11 };
    float a[A_ROW * A_ROW], b[B_ROW * B_ROW], c[M * C_ROW], start[M * C_ROW];
    fill(a, A_ROW * A_ROW, 1.0, 16);
    fill(b, B_ROW * B_ROW, 1.0, 17);
    fill(start, M * C_ROW, 1.0, 18);
    for (int way = 0; way < 4; way++) {
        const bool ta = way & 1, tb = way & 2;
        memcpy(c, start, sizeof c);
        gemm_part(c, C_ROW, a, A_ROW, b, B_ROW, M, N, K, ta, tb, 0.5f, 2.0f);
        for (int m = 0; m < M; m++) {
            for (int n = 0; n < C_ROW; n++) {
                double sum = 0.0;
                for (int k = 0; k < K; k++) {
                    sum += (double)a[ta ? k * A_ROW + m : m * A_ROW + k] *
                           (double)b[tb ? n * B_ROW + k : k * B_ROW + n];
                }
                const double before = (double)start[m * C_ROW + n];
                assert_close((double)c[m * C_ROW + n], n < N ? 0.5 * sum + 2.0 * before : before,
                             1e-5, 0);
            }
        }
    }
}

/* The few rows of decoding, and as many as are never cut into columns. */
static void products_of_few_rows_match_doubles(void **state)
{
    (void)state;
    enum { N = 512, K = 200, MOST = 100 };
    static float a[MOST * K], b[N * K], start[MOST * N], c[MOST * N];
    fill(a, MOST * K, 1.0, 19);
    fill(b, N * K, 1.0, 20);
    fill(start, MOST * N, 1.0, 21);
    static const int rows[] = {1, 13, 16, 64, MOST};
    for (int way = 0; way < 4; way++) {
        const bool tb = way & 1, add = way & 2;
        for (int r = 0; r < 5; r++) {
            memcpy(c, start, sizeof c);
            gemm(c, a, b, rows[r], N, K, false, tb, add ? 1.0f : 0.0f);
            for (int i = 0; i < MOST * N; i++) {
                const int m = i / N, n = i % N;
                double sum = add ? (double)start[i] : 0.0;
                for (int k = 0; k < K; k++) {
                    sum += (double)a[m * K + k] * (double)b[tb ? n * K + k : k * N + n];
                }
                assert_close((double)c[i], m < rows[r] ? sum : (double)start[i], 1e-4, 0);
            }
        }
    }
}

static void the_blas_in_use_is_openblas_with_one_thread(void **state)
{
    (void)state;
    int openblas_get_num_threads(void);
    assert_ok(gemm_setup());
    assert_true(strlen(gemm_kernel()) > 0);
    assert_int_equal(openblas_get_num_threads(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_blas_in_use_is_openblas_with_one_thread),
        cmocka_unit_test(products_match_doubles_in_every_transposition),
        cmocka_unit_test(products_of_few_rows_match_doubles),
        cmocka_unit_test(exp_is_right_to_two_units_in_the_last_place),
        cmocka_unit_test(gelu_matches_the_tanh_form),
        cmocka_unit_test(layer_norm_matches_hand_numbers),
        cmocka_unit_test(layer_norm_gradient_is_a_slope_and_adds_up),
        cmocka_unit_test(attention_matches_the_paper),
        cmocka_unit_test(attention_gradient_is_a_slope_with_and_without_kept_weights),
        cmocka_unit_test(token_score_matches_hand_numbers),
        cmocka_unit_test(token_score_holds_for_a_large_vocabulary_and_in_place),
        cmocka_unit_test(token_score_survives_huge_logits_and_shows_nan),
        cmocka_unit_test(rows_of_odd_lengths_add_up),
        cmocka_unit_test(the_vector_width_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
