/* Faults that a test plans for the allocations of data/memory, from inside (memory_fault in
 * data/memory.h) or from outside by RLHF_MEMORY_FAULT. For data/memory.c only. */
#ifndef DATA_MEMORY_FAULT_H
#define DATA_MEMORY_FAULT_H

#include <stdbool.h>

/* Asked before every allocation: whether it is to fail. */
bool memory_strikes(void);

#endif
