/* Token sequences end to end, without padding: sequence i is token[offset[i]] up to
 * token[offset[i + 1]], its first prompt[i] tokens are the prompt, the rest the response. */
#ifndef DATA_SEQUENCES_H
#define DATA_SEQUENCES_H

#include "data/status.h"

#include <stdint.h>

/* Zero-initialise. */
typedef struct Sequences {
    int count;
    int32_t *token;   /* (offset[count]) */
    int64_t *offset;  /* (count + 1) */
    int32_t *prompt;  /* (count) tokens of the prompt */
    int64_t token_capacity;
    int capacity;
} Sequences;

/* Appends one sequence: the prompt's tokens, then the response's. */
Status sequences_add(Sequences *sequences, const int32_t *prompt, int64_t prompt_count,
                     const int32_t *response, int64_t response_count);
int64_t sequences_length(const Sequences *sequences, int index);   /* prompt + response */
int64_t sequences_response(const Sequences *sequences, int index); /* tokens of the response */
int64_t sequences_tokens(const Sequences *sequences);              /* in all */
void sequences_free(Sequences *sequences);

#endif
