#include "policy/gemm.h"
#include "policy/kernels.h"
#include "policy/lanes.h"

#include <assert.h>
#include <math.h>

size_t attention_scratch(int T)
{
    const int rows = T < ATTENTION_TILE ? T : ATTENTION_TILE;
    return 2 * (size_t)rows * (size_t)T;
}

/* What is common to the tiles of one head. */
typedef struct Head {
    const float *q, *k, *v; /* (T, width), rows 3C apart */
    int T, C, width;
    float scale;
    bool causal;
} Head;

/* Queries are taken a tile at a time, so that the scratch does not grow with the square of the
 * sequence, and a causal tile leaves out the keys that none of its rows may see: queries first to
 * first + rows - 1, and how many keys the tile reaches. */
typedef struct Tile {
    int first, rows, reach;
} Tile;

static Head head_of(const float *qkv, int T, int C, int H, int h, bool causal)
{
    const int width = C / H;
    const float *q = qkv + (ptrdiff_t)h * width;
    return (Head){q, q + C, q + 2 * (ptrdiff_t)C, T, C, width, 1.0f / sqrtf((float)width), causal};
}

static Tile tile_at(const Head *head, int first)
{
    const int left = head->T - first;
    const int rows = left < ATTENTION_TILE ? left : ATTENTION_TILE;
    return (Tile){first, rows, head->causal ? first + rows : head->T};
}

/* How much of a row takes part in the softmax: what it sees, in whole lanes where they fit. */
INLINE int row_edge(int seen, int reach)
{
    const int whole = (seen + LANES - 1) / LANES * LANES;
    return whole < reach ? whole : reach;
}

/* In three passes over the rows: one row is too short to keep a processor busy while its maximum
 * and its sum are being folded. */
HOT void attention_softmax(float *weight, int stride, int rows, int reach, int seen, int step)
{
    assert(rows <= ATTENTION_TILE);
    float max[ATTENTION_TILE], lane[ATTENTION_TILE][LANES];
    for (int r = 0; r < rows; r++) {
        float *w = row_at(weight, r, stride);
        const int last = seen + r * step, edge = row_edge(last, reach);
        for (int s = last; s < edge; s++) w[s] = -INFINITY;
        max[r] = row_max(w, edge);
    }
    for (int r = 0; r < rows; r++) {
        float *w = row_at(weight, r, stride);
        const int edge = row_edge(seen + r * step, reach);
        float sum[LANES] = {0.0f};
        int s = 0;
        for (; s + LANES <= edge; s += LANES) {
            for (int l = 0; l < LANES; l++) {
                const float e = lane_exp(w[s + l] - max[r]);
                w[s + l] = e;
                sum[l] += e;
            }
        }
        for (; s < edge; s++) {
            w[s] = lane_exp(w[s] - max[r]);
            sum[s % LANES] += w[s];
        }
        memcpy(lane[r], sum, sizeof sum);
    }
    for (int r = 0; r < rows; r++) {
        float *w = row_at(weight, r, stride);
        const int edge = row_edge(seen + r * step, reach);
        const float inverse = 1.0f / lanes_sum(lane[r]);
        for (int s = 0; s < edge; s++) w[s] *= inverse;
        for (int s = edge; s < reach; s++) w[s] = 0.0f;
    }
}

static void tile_weights(float *weight, const Head *head, Tile tile)
{
    const int row = 3 * head->C;
    gemm_part(weight, head->T, row_of(head->q, tile.first, row), row, head->k, row, tile.rows,
              tile.reach, head->width, false, true, head->scale, 0.0f);
    const int seen = head->causal ? tile.first + 1 : tile.reach;
    attention_softmax(weight, head->T, tile.rows, tile.reach, seen, head->causal ? 1 : 0);
}

/* w = softmax(score), so  dscore = w (dw - sum of w dw). */
HOT static void tile_softmax_backward(float *dweight, const float *weight, int stride, int rows,
                                      int reach)
{
    for (int r = 0; r < rows; r++) {
        float *dw = row_at(dweight, r, stride);
        const float *w = row_of(weight, r, stride);
        const float mean = row_dot(w, dw, reach);
        for (int s = 0; s < reach; s++) dw[s] = w[s] * (dw[s] - mean);
    }
}

void attention_forward(float *out, float *weight, float *scratch, const float *qkv, int T, int C,
                       int H, bool causal)
{
    for (int h = 0; h < H; h++) {
        const Head head = head_of(qkv, T, C, H, h, causal);
        for (int first = 0; first < T; first += ATTENTION_TILE) {
            const Tile tile = tile_at(&head, first);
            float *w = weight != NULL ? row_at(weight, h * T + first, T) : scratch;
            tile_weights(w, &head, tile);
            gemm_part(row_at(out, first, C) + h * head.width, C, w, T, head.v, 3 * C, tile.rows,
                      head.width, tile.reach, false, false, 1.0f, 0.0f);
        }
    }
}

void attention_backward(float *dqkv, float *scratch, const float *dout, const float *weight,
                        const float *qkv, int T, int C, int H, bool causal)
{
    const int row = 3 * C;
    memset(dqkv, 0, sizeof *dqkv * (size_t)T * (size_t)row);
    float *dweight = scratch;
    float *again = scratch + attention_scratch(T) / 2;
    for (int h = 0; h < H; h++) {
        const Head head = head_of(qkv, T, C, H, h, causal);
        float *dq = dqkv + (ptrdiff_t)h * head.width, *dk = dq + C, *dv = dk + C;
        for (int first = 0; first < T; first += ATTENTION_TILE) {
            const Tile tile = tile_at(&head, first);
            const float *dtile = row_of(dout, first, C) + h * head.width;
            const float *w = weight != NULL ? row_of(weight, h * T + first, T) : again;
            if (weight == NULL) tile_weights(again, &head, tile);

            gemm_part(dv, row, w, T, dtile, C, tile.reach, head.width, tile.rows, true, false, 1.0f,
                      1.0f);
            gemm_part(dweight, T, dtile, C, head.v, row, tile.rows, tile.reach, head.width, false,
                      true, 1.0f, 0.0f);
            tile_softmax_backward(dweight, w, T, tile.rows, tile.reach);
            gemm_part(row_at(dq, first, row), row, dweight, T, head.k, row, tile.rows, head.width,
                      tile.reach, false, false, head.scale, 0.0f);
            gemm_part(dk, row, dweight, T, row_of(head.q, first, row), row, tile.reach, head.width,
                      tile.rows, true, false, head.scale, 1.0f);
        }
    }
}
