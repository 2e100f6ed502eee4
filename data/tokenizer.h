/* Byte-level BPE, as GPT-2's: text is cut by GPT-2's pre-tokenisation, each piece is merged by
 * rank. Any bytes round-trip. Saved as a Hugging Face tokenizer.json.
 *
 * Ids: 0..255 are the bytes (in GPT-2's byte order), then one id a merge, then <|endoftext|>, the
 * last id, which ends an answer and parts documents. It never comes out of text.
 * A task may bring a word list instead (type WordLevel): one token a word, parted by spaces. */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include "data/io.h"
#include "data/memory.h"
#include "data/status.h"

#include <stdint.h>

typedef struct Tokenizer Tokenizer;

/* Ids that grow. Zero-initialise. */
typedef struct Tokens {
    int32_t *id;
    size_t count, capacity;
} Tokens;

Status tokens_add(Tokens *tokens, int32_t id);
void tokens_free(Tokens *tokens);

/* Learns merges until there are `vocabulary` ids in all (at least 257). Ties go to the pair with
 * the lower ids, so equal texts give equal tokenizers. Fewer ids where the text has no more pairs.
 * Empty text: STATUS_DATA. */
Status tokenizer_train(Tokenizer **tokenizer, const Texts *texts, int vocabulary);
/* One id a word, then <|endoftext|>. */
Status tokenizer_words(Tokenizer **tokenizer, const char *const *words, int count);
void tokenizer_free(Tokenizer *tokenizer);

int tokenizer_vocabulary(const Tokenizer *tokenizer); /* ids in all */
int32_t tokenizer_end(const Tokenizer *tokenizer);    /* <|endoftext|> */

/* Appends ids. A word list fails on a word it does not have (STATUS_DATA). */
Status tokenizer_encode(Tokens *tokens, const Tokenizer *tokenizer, const char *text, size_t count);
/* Appends the bytes of the ids; <|endoftext|> gives none. */
Status tokenizer_decode(Bytes *text, const Tokenizer *tokenizer, const int32_t *id, size_t count);
/* The same as one more text. */
Status tokenizer_add_text(Texts *texts, const Tokenizer *tokenizer, const int32_t *id,
                          size_t count);

Status tokenizer_write(const Tokenizer *tokenizer, const char *path);
/* Anything but such a file: STATUS_DATA with line and column. `expected` may be NULL. */
Status tokenizer_read(Tokenizer **tokenizer, const char *path, const Digest *expected);

/* GPT-2's pre-tokenisation, by hand since no packaged regex has it at this cost:
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * The length in bytes of the piece that begins `text`. */
size_t tokenizer_piece(const char *text, size_t count);

#endif
