/* A hash table from a pair of ids to a number: counts while a tokenizer is trained, ranks while it
 * encodes. Open addressing; grows. Zero-initialise. */
#ifndef DATA_PAIR_TABLE_H
#define DATA_PAIR_TABLE_H

#include "data/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct PairEntry {
    uint64_t key; /* (left + 1) << 32 | right; 0: free */
    int64_t value;
} PairEntry;

typedef struct PairTable {
    PairEntry *entry; /* (capacity), a power of two */
    size_t capacity, used;
} PairTable;

/* The value of a pair, made 0 where it is new. */
Status pair_table_slot(int64_t **value, PairTable *table, int32_t left, int32_t right);
/* NULL: not there. */
const int64_t *pair_table_find(const PairTable *table, int32_t left, int32_t right);
void pair_table_free(PairTable *table);

static inline int32_t pair_left(const PairEntry *entry)
{
    return (int32_t)(entry->key >> 32) - 1;
}

static inline int32_t pair_right(const PairEntry *entry)
{
    return (int32_t)(entry->key & 0xffffffffu);
}

#endif
