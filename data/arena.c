#include "data/arena.h"

#include "data/memory.h"

#include <assert.h>
#include <stdint.h>

enum { ARENA_ALIGNMENT = 64 }; /* a cache line, and the widest vector register */

static size_t round_up(size_t bytes)
{
    return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

/* The first aligned address in a block that was claimed with room to align. */
static char *aligned(char *base)
{
    return base + (ARENA_ALIGNMENT - (uintptr_t)base % ARENA_ALIGNMENT) % ARENA_ALIGNMENT;
}

Arena arena_measure(void)
{
    return (Arena){0};
}

Status arena_init(Arena *arena, size_t capacity)
{
    void *base;
    *arena = (Arena){0};
    TRY(memory_claim(&base, capacity + ARENA_ALIGNMENT));
    *arena = (Arena){.base = base, .capacity = capacity};
    return STATUS_OK;
}

void arena_free(Arena *arena)
{
    memory_release(arena->base);
    *arena = (Arena){0};
}

void *arena_push(Arena *arena, size_t count, size_t size)
{
    size_t bytes;
    const int overflow = __builtin_mul_overflow(count, size, &bytes);
    assert(!overflow && bytes < SIZE_MAX / 4);
    const size_t start = arena->used;
    arena->used += round_up(bytes);
    if (arena->base == NULL) return NULL;
    assert(arena->used <= arena->capacity);
    return aligned(arena->base) + start;
}

float *arena_floats(Arena *arena, size_t count)
{
    return arena_push(arena, count, sizeof(float));
}

double *arena_doubles(Arena *arena, size_t count)
{
    return arena_push(arena, count, sizeof(double));
}

int32_t *arena_ints(Arena *arena, size_t count)
{
    return arena_push(arena, count, sizeof(int32_t));
}
