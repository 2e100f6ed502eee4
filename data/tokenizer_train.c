/* Byte-pair encoding learned from text (Sennrich et al. 2016, algorithm 1, on bytes): again and
 * again the most frequent pair of neighbours inside a piece becomes a new id.
 *
 * Pieces are counted once each; a merge touches only the pieces that hold it. */
#include "data/tokenizer_private.h"

#include <stdlib.h>
#include <string.h>

/* One distinct piece of the text. */
typedef struct Piece {
    const char *text;
    size_t length; /* bytes */
    int64_t count; /* how often it occurs */
    int32_t *id;   /* its ids now, `ids` of them */
    size_t ids;
} Piece;

typedef struct Pieces {
    Piece *piece;
    size_t count, capacity;
    int32_t *memory; /* ids of all pieces */
} Pieces;

static Status pieces_add(Pieces *pieces, const char *text, size_t length)
{
    if (pieces->count == pieces->capacity) {
        const size_t capacity = 2 * pieces->capacity + 1024;
        void *larger = pieces->piece;
        TRY(memory_resize(&larger, capacity * sizeof *pieces->piece));
        pieces->piece = larger;
        pieces->capacity = capacity;
    }
    pieces->piece[pieces->count++] = (Piece){.text = text, .length = length, .count = 1};
    return STATUS_OK;
}

static int compare_pieces(const void *a, const void *b)
{
    const Piece *left = a, *right = b;
    const size_t shorter = left->length < right->length ? left->length : right->length;
    const int order = memcmp(left->text, right->text, shorter);
    return order != 0 ? order : (left->length > right->length) - (left->length < right->length);
}

static Status collect_pieces(Pieces *pieces, const Texts *texts)
{
    for (int i = 0; i < texts->count; i++) {
        size_t count;
        const char *text = texts_at(texts, i, &count);
        for (size_t start = 0; start < count;) {
            const size_t length = tokenizer_piece(text + start, count - start);
            TRY(pieces_add(pieces, text + start, length));
            start += length;
        }
    }
    return STATUS_OK;
}

/* Sorts, joins equal pieces and spells each in bytes. */
static Status count_pieces(Pieces *pieces)
{
    qsort(pieces->piece, pieces->count, sizeof *pieces->piece, compare_pieces);
    size_t kept = 0, bytes = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        if (kept > 0 && compare_pieces(&pieces->piece[kept - 1], &pieces->piece[i]) == 0) {
            pieces->piece[kept - 1].count++;
        } else {
            bytes += pieces->piece[i].length;
            pieces->piece[kept++] = pieces->piece[i];
        }
    }
    pieces->count = kept;

    void *memory;
    TRY(memory_claim(&memory, bytes * sizeof *pieces->memory));
    pieces->memory = memory;
    int32_t *id = pieces->memory;
    for (size_t i = 0; i < kept; i++) {
        Piece *piece = &pieces->piece[i];
        piece->id = id;
        piece->ids = piece->length;
        for (size_t b = 0; b < piece->length; b++)
            id[b] = byte_token((unsigned char)piece->text[b]);
        id += piece->length;
    }
    return STATUS_OK;
}

/* Adds `sign` times the piece's pairs to the counts. */
static Status count_pairs(PairTable *pairs, const Piece *piece, int sign)
{
    for (size_t i = 0; i + 1 < piece->ids; i++) {
        int64_t *count;
        TRY(pair_table_slot(&count, pairs, piece->id[i], piece->id[i + 1]));
        *count += sign * piece->count;
    }
    return STATUS_OK;
}

/* The most frequent pair; at a tie the one with the lower ids. NULL: no pair is left. */
static const PairEntry *most_frequent(const PairTable *pairs)
{
    const PairEntry *best = NULL;
    for (size_t i = 0; i < pairs->capacity; i++) {
        const PairEntry *entry = &pairs->entry[i];
        if (entry->key == 0 || entry->value <= 0) continue;
        if (best == NULL || entry->value > best->value ||
            (entry->value == best->value && entry->key < best->key)) {
            best = entry;
        }
    }
    return best;
}

static bool holds_pair(const Piece *piece, Merge merge)
{
    for (size_t i = 0; i + 1 < piece->ids; i++) {
        if (piece->id[i] == merge.left && piece->id[i + 1] == merge.right) return true;
    }
    return false;
}

static void join_pair(Piece *piece, Merge merge, int32_t joined)
{
    size_t kept = 0;
    for (size_t i = 0; i < piece->ids; kept++) {
        const bool joins =
            i + 1 < piece->ids && piece->id[i] == merge.left && piece->id[i + 1] == merge.right;
        piece->id[kept] = joins ? joined : piece->id[i];
        i += joins ? 2 : 1;
    }
    piece->ids = kept;
}

static Status learn_merges(Tokenizer *tokenizer, Pieces *pieces, PairTable *pairs, int vocabulary)
{
    for (size_t i = 0; i < pieces->count; i++) TRY(count_pairs(pairs, &pieces->piece[i], 1));

    while (tokenizer_vocabulary(tokenizer) < vocabulary) {
        const PairEntry *best = most_frequent(pairs);
        if (best == NULL) break;
        const Merge merge = {pair_left(best), pair_right(best)};
        const int32_t joined = BYTE_TOKENS + tokenizer->merges;
        TRY(tokenizer_add_merge(tokenizer, merge.left, merge.right));
        for (size_t i = 0; i < pieces->count; i++) {
            Piece *piece = &pieces->piece[i];
            if (!holds_pair(piece, merge)) continue;
            TRY(count_pairs(pairs, piece, -1));
            join_pair(piece, merge, joined);
            TRY(count_pairs(pairs, piece, 1));
        }
    }
    return STATUS_OK;
}

Status tokenizer_train(Tokenizer **tokenizer, const Texts *texts, int vocabulary)
{
    *tokenizer = NULL;
    if (vocabulary < BYTE_TOKENS + 1) {
        return status_fail(STATUS_SETTINGS, "a byte-level vocabulary has at least %d ids, not %d",
                           BYTE_TOKENS + 1, vocabulary);
    }
    if (texts->bytes.count == 0) return status_fail(STATUS_DATA, "the text to learn from is empty");

    Pieces pieces = {0};
    PairTable pairs = {0};
    Status status = collect_pieces(&pieces, texts);
    if (status == STATUS_OK) status = count_pieces(&pieces);
    if (status == STATUS_OK) status = tokenizer_new_bytes(tokenizer);
    if (status == STATUS_OK) status = learn_merges(*tokenizer, &pieces, &pairs, vocabulary);
    if (status != STATUS_OK) {
        tokenizer_free(*tokenizer);
        *tokenizer = NULL;
    }
    pair_table_free(&pairs);
    memory_release(pieces.piece);
    memory_release(pieces.memory);
    return status;
}
