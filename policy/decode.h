/* A causal network worked through row by row, with the keys and values of earlier rows cached: the
 * same numbers as transformer_forward up to rounding, at the cost of the new rows alone.
 *
 * A row is (token, slot, position): one token of the sequence that owns the slot. Rows of one call
 * may belong to any slots, so the same code works through a prompt and decodes many answers. */
#ifndef POLICY_DECODE_H
#define POLICY_DECODE_H

#include "data/arena.h"
#include "policy/model.h"

#include <stdint.h>

typedef struct Decoder {
    ModelShape shape;
    int slots;   /* sequences in the cache */
    int longest; /* positions a slot has room for, a multiple of the lanes */
    int rows;    /* most rows in a call */
    float *key;   /* (L, slots, C, longest): a channel's keys lie side by side */
    float *value; /* (L, slots, longest, C) */
    float *residual, *normed, *unit; /* (rows, C) */
    float *rstd;                     /* (rows) */
    float *hidden;     /* (rows, C) after the final norm: what decode_rows leaves */
    float *qkv;        /* (rows, 3C) */
    float *up, *gated; /* (rows, 4C) */
    float *weight;     /* (H, longest) attention of one row */
} Decoder;

void decoder_layout(Decoder *decoder, Arena *arena, ModelShape shape, int slots, int longest,
                    int rows);

/* decoder->hidden of n rows. Of each slot, positions before the first row here have been worked
 * through, and its rows come in ascending order without a gap. */
void decode_rows(Decoder *decoder, const Model *model, const int32_t *token, const int32_t *slot,
                 const int32_t *position, int n);

/* Slot `to` now holds the first `positions` positions of slot `from`. */
void decode_copy(Decoder *decoder, int to, int from, int positions);

#endif
