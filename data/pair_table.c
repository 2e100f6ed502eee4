#include "data/pair_table.h"

#include "data/memory.h"

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)(left + 1) << 32 | (uint32_t)right;
}

/* Where `key` is, or the free place where it belongs. Fibonacci hashing of the key. */
static size_t place_of(const PairTable *table, uint64_t key)
{
    const size_t mask = table->capacity - 1;
    size_t place = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & mask;
    while (table->entry[place].key != 0 && table->entry[place].key != key) {
        place = (place + 1) & mask;
    }
    return place;
}

static Status grow(PairTable *table)
{
    PairTable larger = {.capacity = table->capacity > 0 ? 2 * table->capacity : 1024};
    void *entry;
    TRY(memory_claim(&entry, larger.capacity * sizeof *larger.entry));
    larger.entry = entry;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entry[i].key != 0) {
            larger.entry[place_of(&larger, table->entry[i].key)] = table->entry[i];
        }
    }
    larger.used = table->used;
    memory_release(table->entry);
    *table = larger;
    return STATUS_OK;
}

Status pair_table_slot(int64_t **value, PairTable *table, int32_t left, int32_t right)
{
    if (2 * table->used >= table->capacity) TRY(grow(table));
    const uint64_t key = pair_key(left, right);
    PairEntry *entry = &table->entry[place_of(table, key)];
    if (entry->key == 0) {
        *entry = (PairEntry){.key = key};
        table->used++;
    }
    *value = &entry->value;
    return STATUS_OK;
}

const int64_t *pair_table_find(const PairTable *table, int32_t left, int32_t right)
{
    if (table->capacity == 0) return NULL;
    const uint64_t key = pair_key(left, right);
    const PairEntry *entry = &table->entry[place_of(table, key)];
    return entry->key == key ? &entry->value : NULL;
}

void pair_table_free(PairTable *table)
{
    memory_release(table->entry);
    *table = (PairTable){0};
}
