#include "policy/blocks.h"

#include "data/memory.h"

#include <assert.h>
#include <gsl/gsl_heapsort.h>
#include <stdbool.h>
#include <string.h>

/* A unit to place, or a block being filled. */
typedef struct Load {
    int64_t rows;
    int index;
} Load;

static int longest_first(const void *left, const void *right)
{
    const Load *a = left, *b = right;
    if (a->rows != b->rows) return a->rows > b->rows ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool lighter(Load a, Load b)
{
    return a.rows != b.rows ? a.rows < b.rows : a.index < b.index;
}

/* Restores the heap (lightest block on top) after its top has grown. */
static void heap_sink(Load *heap, int count)
{
    const Load grown = heap[0];
    int hole = 0;
    for (int child = 1; child < count; child = 2 * hole + 1) {
        if (child + 1 < count && lighter(heap[child + 1], heap[child])) child++;
        if (!lighter(heap[child], grown)) break;
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = grown;
}

/* Places the units in `blocks` blocks. False if a block of several units is over BLOCK_ROWS. */
static bool place_units(int32_t *block, Load *heap, int blocks, const Load *unit, int units)
{
    for (int b = 0; b < blocks; b++) heap[b] = (Load){0, b};
    for (int u = 0; u < units; u++) {
        const bool overfull = heap[0].rows > 0 && heap[0].rows + unit[u].rows > BLOCK_ROWS;
        if (overfull) return false;
        block[unit[u].index] = heap[0].index;
        heap[0].rows += unit[u].rows;
        heap_sink(heap, blocks);
    }
    return true;
}

/* The plan in which sequence i stands in block[i / unit]. */
static Status plan_fill(BlockPlan *plan, int blocks, const int32_t *block, const int32_t *length,
                        int count, int unit)
{
    *plan = (BlockPlan){.blocks = blocks};
    void *first, *member, *rows;
    TRY(memory_claim(&first, ((size_t)blocks + 1) * sizeof *plan->first));
    plan->first = first;
    TRY(memory_claim(&member, (size_t)count * sizeof *plan->member));
    plan->member = member;
    TRY(memory_claim(&rows, (size_t)blocks * sizeof(int)));

    for (int i = 0; i < count; i++) {
        const int b = block[i / unit];
        plan->first[b + 1]++;
        ((int *)rows)[b] += length[i];
        if (length[i] > plan->longest) plan->longest = length[i];
    }
    for (int b = 0; b < blocks; b++) {
        if (((int *)rows)[b] > plan->rows) plan->rows = ((int *)rows)[b];
        ((int *)rows)[b] = plan->first[b]; /* from here on: where its next member goes */
        plan->first[b + 1] += plan->first[b];
    }
    for (int i = 0; i < count; i++) plan->member[((int *)rows)[block[i / unit]]++] = i;
    memory_release(rows);
    return STATUS_OK;
}

/* The least multiple of `multiple` blocks into which the units go. */
static int cut_units(int32_t *block, Load *heap, const Load *unit, int units, int multiple)
{
    int64_t rows = 0; /* of a longer unit only what fills its own block, so blocks < most */
    for (int u = 0; u < units; u++) rows += unit[u].rows < BLOCK_ROWS ? unit[u].rows : BLOCK_ROWS;
    const int64_t room = (int64_t)BLOCK_ROWS * multiple;
    int blocks = (int)(rows > 0 ? (rows + room - 1) / room : 1) * multiple;
    while (!place_units(block, heap, blocks, unit, units)) blocks += multiple;
    return blocks;
}

Status block_plan_cut(BlockPlan *plan, const int32_t *length, int count, int unit, int multiple)
{
    assert(unit >= 1 && multiple >= 1 && count % unit == 0);
    *plan = (BlockPlan){0};
    const int units = count / unit;
    const size_t most = (size_t)units + (size_t)multiple; /* one unit a block always fits */
    void *load, *heap = NULL, *block = NULL;
    TRY(memory_claim(&load, (size_t)units * sizeof(Load)));
    Status status = memory_claim(&heap, most * sizeof(Load));
    if (status == STATUS_OK) status = memory_claim(&block, (size_t)units * sizeof(int32_t));
    if (status == STATUS_OK) {
        Load *sorted = load;
        for (int i = 0; i < count; i++) {
            sorted[i / unit].index = i / unit;
            sorted[i / unit].rows += length[i];
        }
        gsl_heapsort(sorted, (size_t)units, sizeof *sorted, longest_first);
        const int blocks = cut_units(block, heap, sorted, units, multiple);
        status = plan_fill(plan, blocks, block, length, count, unit);
    }
    memory_release(block);
    memory_release(heap);
    memory_release(load);
    if (status != STATUS_OK) block_plan_free(plan);
    return status;
}

Status block_plan_from(BlockPlan *plan, const int32_t *block, const int32_t *length, int count)
{
    *plan = (BlockPlan){0};
    int blocks = 0;
    for (int i = 0; i < count; i++) {
        if (block[i] < 0 || block[i] >= count) {
            return status_fail(STATUS_DATA, "block of sequence %d is %d, not in [0, %d)", i,
                               block[i], count);
        }
        if (block[i] >= blocks) blocks = block[i] + 1;
    }
    const Status status = plan_fill(plan, blocks, block, length, count, 1);
    if (status != STATUS_OK) block_plan_free(plan);
    return status;
}

void block_plan_free(BlockPlan *plan)
{
    memory_release(plan->first);
    memory_release(plan->member);
    *plan = (BlockPlan){0};
}

void block_layout(Block *block, Arena *arena, int rows, int sequences)
{
    *block = (Block){
        .token = arena_ints(arena, (size_t)rows),
        .start = arena_ints(arena, (size_t)sequences + 1),
        .member = arena_ints(arena, (size_t)sequences),
        .place = arena_ints(arena, (size_t)rows),
    };
}

void block_fill(Block *block, const BlockPlan *plan, int index, const Sequences *sequences)
{
    assert(index >= 0 && index < plan->blocks);
    const int first = plan->first[index];
    block->sequences = plan->first[index + 1] - first;
    block->rows = 0;
    for (int s = 0; s < block->sequences; s++) {
        const int member = plan->member[first + s];
        const int64_t from = sequences->offset[member];
        const int length = (int)(sequences->offset[member + 1] - from);
        block->member[s] = member;
        block->start[s] = block->rows;
        memcpy(block->token + block->rows, sequences->token + from,
               sizeof *block->token * (size_t)length);
        for (int t = 0; t < length; t++) block->place[block->rows + t] = t;
        block->rows += length;
    }
    block->start[block->sequences] = block->rows;
}
