/* What the tokenizer's own files share: tokenizer.c (encode, decode), tokenizer_train.c and
 * tokenizer_file.c. */
#ifndef DATA_TOKENIZER_PRIVATE_H
#define DATA_TOKENIZER_PRIVATE_H

#include "data/pair_table.h"
#include "data/tokenizer.h"

#include <stdbool.h>

enum { BYTE_TOKENS = 256 };

#define END_OF_TEXT "<|endoftext|>"

typedef struct Merge {
    int32_t left, right; /* become id BYTE_TOKENS + rank */
} Merge;

struct Tokenizer {
    bool word_level;
    int merges;
    Merge *merge;    /* (merges), by rank */
    PairTable rank;  /* pair -> rank */
    Texts token;     /* bytes of each id but the last, <|endoftext|> */
    int32_t *sorted; /* word level: ids in strcmp order of their words */
};

/* The id of a byte: GPT-2 numbers the printable ones first. */
int32_t byte_token(unsigned char byte);

/* A tokenizer with the 256 bytes and no merges yet. */
Status tokenizer_new_bytes(Tokenizer **tokenizer);
/* Adds the merge of the next rank. */
Status tokenizer_add_merge(Tokenizer *tokenizer, int32_t left, int32_t right);

#endif
