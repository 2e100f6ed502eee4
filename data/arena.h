/* Memory planned once, claimed once.
 *
 * A *_layout() function only pushes arrays, so it runs twice: on a measuring arena to
 * learn the size, on a real one to get the pointers. Nothing in a loop allocates. */
#ifndef DATA_ARENA_H
#define DATA_ARENA_H

#include "data/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Arena {
    char *base;      /* NULL while measuring */
    size_t used;     /* bytes pushed so far, alignment included */
    size_t capacity; /* bytes; 0 while measuring */
} Arena;

/* An arena without memory: pushes return NULL and only count. */
Arena arena_measure(void);

/* Claims `capacity` bytes of zeros; the one place where memory can run out. */
Status arena_init(Arena *arena, size_t capacity);
void arena_free(Arena *arena);

/* `count` elements of `size` bytes, aligned to 64, zero. A real arena must have been
 * measured with the same pushes: running past its end is a programmer's error. */
void *arena_push(Arena *arena, size_t count, size_t size);
float *arena_floats(Arena *arena, size_t count);
double *arena_doubles(Arena *arena, size_t count);
int32_t *arena_ints(Arena *arena, size_t count);

#endif
