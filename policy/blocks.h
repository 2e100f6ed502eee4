/* Blocks: the unit of computation. A block is a few whole sequences end to end, about 256 rows
 * (one longer sequence is a block of its own). Only attention looks at where sequences start.
 *
 * OpenBLAS's bits depend on the number of rows, so the cut is made once and everything that must
 * agree to the bit (old log-probabilities and the update's) goes through the same blocks. */
#ifndef POLICY_BLOCKS_H
#define POLICY_BLOCKS_H

#include "data/arena.h"
#include "data/sequences.h"
#include "data/status.h"

#include <stdint.h>

enum { BLOCK_ROWS = 256 };

/* Which sequences make which block: block b is member[first[b]] .. member[first[b + 1] - 1]. */
typedef struct BlockPlan {
    int blocks;
    int *first;  /* (blocks + 1) */
    int *member; /* (sequences) */
    int rows;    /* of the largest block */
    int longest; /* longest sequence */
} BlockPlan;

/* Cuts `count` sequences (or units: see `unit`) of `length[i]` rows into k * multiple blocks, the
 * least k that keeps blocks at about BLOCK_ROWS rows: longest first, each to the block with the
 * fewest rows so far (lowest index at a tie). Members stay in ascending order. Blocks may be empty
 * where there are fewer sequences than blocks. `unit` sequences in a row always stay together (2
 * for pairs); count is a multiple of it. */
Status block_plan_cut(BlockPlan *plan, const int32_t *length, int count, int unit, int multiple);
/* The plan that a rollout file recorded: block[i] of each sequence. */
Status block_plan_from(BlockPlan *plan, const int32_t *block, const int32_t *length, int count);
void block_plan_free(BlockPlan *plan);

/* One block, gathered. */
typedef struct Block {
    int sequences, rows;
    int32_t *token;  /* (rows) */
    int32_t *start;  /* (sequences + 1) row where each sequence starts */
    int32_t *member; /* (sequences) */
    int32_t *place;  /* (rows) position within its sequence */
} Block;

void block_layout(Block *block, Arena *arena, int rows, int sequences);
void block_fill(Block *block, const BlockPlan *plan, int index, const Sequences *sequences);

#endif
