/* The pieces of a transformer, forward and backward by hand, as pure functions over pointers and
 * sizes. Additions run in 16 fixed lanes, so every vector width gives the same bits.
 *
 * Legend: N rows of a block, C channels, H heads, V vocabulary. Backward functions add to gradients
 * of weights and write gradients of inputs, unless they say otherwise. */
#ifndef POLICY_KERNELS_H
#define POLICY_KERNELS_H

#include "policy/blocks.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#endif
