#include "data/tokenizer_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

Status tokens_add(Tokens *tokens, int32_t id)
{
    if (tokens->count == tokens->capacity) {
        const size_t capacity = tokens->capacity + tokens->capacity / 2 + 64;
        void *larger = tokens->id;
        TRY(memory_resize(&larger, capacity * sizeof *tokens->id));
        tokens->id = larger;
        tokens->capacity = capacity;
    }
    tokens->id[tokens->count++] = id;
    return STATUS_OK;
}

void tokens_free(Tokens *tokens)
{
    memory_release(tokens->id);
    *tokens = (Tokens){0};
}

/* ! to ~, then the upper half of Latin-1 without its blanks, then everything else in order. */
static unsigned char token_byte(int32_t id)
{
    if (id < 94) return (unsigned char)('!' + id);
    if (id < 106) return (unsigned char)(0xa1 + id - 94);
    if (id < 188) return (unsigned char)(0xae + id - 106);
    if (id < 221) return (unsigned char)(id - 188);
    if (id < 255) return (unsigned char)(0x7f + id - 221);
    return 0xad;
}

int32_t byte_token(unsigned char byte)
{
    if (byte >= '!' && byte <= '~') return byte - '!';
    if (byte >= 0xa1 && byte <= 0xac) return byte - 0xa1 + 94;
    if (byte >= 0xae) return byte - 0xae + 106;
    if (byte <= ' ') return byte + 188;
    if (byte == 0xad) return 255;
    return byte - 0x7f + 221;
}

static Status tokenizer_new(Tokenizer **tokenizer)
{
    void *block;
    TRY(memory_claim(&block, sizeof **tokenizer));
    *tokenizer = block;
    return STATUS_OK;
}

Status tokenizer_new_bytes(Tokenizer **tokenizer)
{
    TRY(tokenizer_new(tokenizer));
    for (int32_t id = 0; id < BYTE_TOKENS; id++) {
        const char byte = (char)token_byte(id);
        const Status status = texts_add(&(*tokenizer)->token, &byte, 1);
        if (status != STATUS_OK) {
            tokenizer_free(*tokenizer);
            *tokenizer = NULL;
            return status;
        }
    }
    return STATUS_OK;
}

Status tokenizer_add_merge(Tokenizer *tokenizer, int32_t left, int32_t right)
{
    void *merge = tokenizer->merge;
    TRY(memory_resize(&merge, ((size_t)tokenizer->merges + 1) * sizeof *tokenizer->merge));
    tokenizer->merge = merge;
    tokenizer->merge[tokenizer->merges] = (Merge){left, right};

    int64_t *rank;
    TRY(pair_table_slot(&rank, &tokenizer->rank, left, right));
    *rank = tokenizer->merges;

    Bytes bytes = {0};
    Status status = tokenizer_decode(&bytes, tokenizer, (const int32_t[]){left, right}, 2);
    if (status == STATUS_OK) status = texts_add(&tokenizer->token, bytes.data, bytes.count);
    bytes_free(&bytes);
    if (status == STATUS_OK) tokenizer->merges++;
    return status;
}

/* A word and its id, since qsort has no context to pass. */
typedef struct Word {
    const char *text;
    size_t count;
    int32_t id;
} Word;

static int order_bytes(const char *a, size_t a_count, const char *b, size_t b_count)
{
    const int order = memcmp(a, b, a_count < b_count ? a_count : b_count);
    return order != 0 ? order : (a_count > b_count) - (a_count < b_count);
}

static int compare_words(const void *left, const void *right)
{
    const Word *a = left, *b = right;
    const int order = order_bytes(a->text, a->count, b->text, b->count);
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

static Status sort_words(Tokenizer *tokenizer)
{
    const int count = tokenizer->token.count;
    void *block;
    TRY(memory_claim(&block, (size_t)count * sizeof(Word)));
    Word *word = block;
    for (int i = 0; i < count; i++) {
        word[i].text = texts_at(&tokenizer->token, i, &word[i].count);
        word[i].id = i;
    }
    qsort(word, (size_t)count, sizeof *word, compare_words);
    for (int i = 0; i < count; i++) tokenizer->sorted[i] = word[i].id;
    memory_release(block);
    return STATUS_OK;
}

Status tokenizer_words(Tokenizer **tokenizer, const char *const *words, int count)
{
    TRY(tokenizer_new(tokenizer));
    Tokenizer *t = *tokenizer;
    t->word_level = true;
    void *sorted = NULL;
    Status status = memory_claim(&sorted, (size_t)count * sizeof *t->sorted);
    t->sorted = sorted;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        status = texts_add(&t->token, words[i], strlen(words[i]));
    }
    if (status == STATUS_OK) status = sort_words(t);
    if (status != STATUS_OK) {
        tokenizer_free(t);
        *tokenizer = NULL;
    }
    return status;
}

void tokenizer_free(Tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    memory_release(tokenizer->merge);
    memory_release(tokenizer->sorted);
    pair_table_free(&tokenizer->rank);
    texts_free(&tokenizer->token);
    memory_release(tokenizer);
}

int tokenizer_vocabulary(const Tokenizer *tokenizer)
{
    return tokenizer->token.count + 1;
}

int32_t tokenizer_end(const Tokenizer *tokenizer)
{
    return tokenizer->token.count;
}

/* Merges the ids of one piece in place, lowest rank first, leftmost first; returns how many are
 * left. Pieces are short, so the plain quadratic loop is the fast one. */
static size_t merge_piece(const Tokenizer *tokenizer, int32_t *id, size_t count)
{
    while (count > 1) {
        int64_t best = INT64_MAX;
        for (size_t i = 0; i + 1 < count; i++) {
            const int64_t *rank = pair_table_find(&tokenizer->rank, id[i], id[i + 1]);
            if (rank != NULL && *rank < best) best = *rank;
        }
        if (best == INT64_MAX) break;

        const Merge merge = tokenizer->merge[best];
        size_t kept = 0;
        for (size_t i = 0; i < count; kept++) {
            const bool joins = i + 1 < count && id[i] == merge.left && id[i + 1] == merge.right;
            id[kept] = joins ? BYTE_TOKENS + (int32_t)best : id[i];
            i += joins ? 2 : 1;
        }
        count = kept;
    }
    return count;
}

static Status encode_bytes(Tokens *tokens, const Tokenizer *tokenizer, const char *text,
                           size_t count)
{
    for (size_t start = 0; start < count;) {
        const size_t length = tokenizer_piece(text + start, count - start);
        const size_t first = tokens->count;
        for (size_t i = 0; i < length; i++) {
            TRY(tokens_add(tokens, byte_token((unsigned char)text[start + i])));
        }
        tokens->count = first + merge_piece(tokenizer, tokens->id + first, length);
        start += length;
    }
    return STATUS_OK;
}

/* The id of a word, -1 where there is none. */
static int32_t find_word(const Tokenizer *tokenizer, const char *word, size_t count)
{
    int low = 0, high = tokenizer->token.count;
    while (low < high) {
        const int middle = (low + high) / 2;
        size_t length;
        const char *text = texts_at(&tokenizer->token, tokenizer->sorted[middle], &length);
        const int order = order_bytes(text, length, word, count);
        if (order == 0) return tokenizer->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static Status encode_words(Tokens *tokens, const Tokenizer *tokenizer, const char *text,
                           size_t count)
{
    for (size_t start = 0; start < count;) {
        size_t end = start;
        while (end < count && text[end] != ' ') end++;
        if (end > start) {
            const int32_t id = find_word(tokenizer, text + start, end - start);
            if (id < 0) {
                return status_fail(STATUS_DATA, "the task has no word \"%.*s\"",
                                   (int)(end - start < 60 ? end - start : 60), text + start);
            }
            TRY(tokens_add(tokens, id));
        }
        start = end + 1;
    }
    return STATUS_OK;
}

Status tokenizer_encode(Tokens *tokens, const Tokenizer *tokenizer, const char *text, size_t count)
{
    return tokenizer->word_level ? encode_words(tokens, tokenizer, text, count)
                                 : encode_bytes(tokens, tokenizer, text, count);
}

Status tokenizer_decode(Bytes *text, const Tokenizer *tokenizer, const int32_t *id, size_t count)
{
    const char *between = "";
    for (size_t i = 0; i < count; i++) {
        assert(id[i] >= 0 && id[i] <= tokenizer_end(tokenizer));
        if (id[i] == tokenizer_end(tokenizer)) continue;
        size_t length;
        const char *bytes = texts_at(&tokenizer->token, id[i], &length);
        TRY(bytes_text(text, between));
        TRY(bytes_append(text, bytes, length));
        if (tokenizer->word_level) between = " ";
    }
    return STATUS_OK;
}

Status tokenizer_add_text(Texts *texts, const Tokenizer *tokenizer, const int32_t *id, size_t count)
{
    Bytes text = {0};
    Status status = tokenizer_decode(&text, tokenizer, id, count);
    if (status == STATUS_OK) status = texts_add(texts, text.data, text.count);
    bytes_free(&text);
    return status;
}
