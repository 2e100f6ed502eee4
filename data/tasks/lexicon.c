#include "data/tasks/lexicon.h"

#include <stdint.h>
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

bool word_next(ProseWord *word, const char *text, size_t count, size_t *position)
{
    size_t at = *position;
    while (at < count && is_space(text[at])) at++;
    *word = (ProseWord){.letters = at < count && is_letter(text[at])};
    if (at < count && !word->letters) word->text[word->count++] = text[at++];
    while (word->letters && at < count) {
        const bool inside = text[at] == '\'' && at + 1 < count && is_letter(text[at + 1]);
        if (!is_letter(text[at]) && !inside) break;
        const char lower = text[at] >= 'A' && text[at] <= 'Z' ? (char)(text[at] + 32) : text[at];
        if (word->count < WORD_LONGEST) word->text[word->count++] = lower;
        at++;
    }
    *position = at;
    return word->count > 0;
}

bool word_equal(const ProseWord *a, const ProseWord *b)
{
    return a->count == b->count && memcmp(a->text, b->text, a->count) == 0;
}

/* FNV-1a. */
static uint64_t hash(const char *text, size_t count)
{
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) {
        value ^= (unsigned char)text[i];
        value *= 0x100000001b3u;
    }
    return value;
}

/* The slot of a word, or the free one where it belongs; slots is a power of two, some are free. */
static size_t slot_of(const Lexicon *lexicon, const char *text, size_t count)
{
    size_t slot = hash(text, count) & (lexicon->slots - 1);
    while (lexicon->slot[slot] != 0) {
        size_t length;
        const char *other = texts_at(&lexicon->words, lexicon->slot[slot] - 1, &length);
        if (length == count && memcmp(other, text, count) == 0) break;
        slot = (slot + 1) & (lexicon->slots - 1);
    }
    return slot;
}

static Status grow(Lexicon *lexicon)
{
    Lexicon larger = {.words = lexicon->words,
                      .slots = lexicon->slots > 0 ? 2 * lexicon->slots : 1024};
    void *slot;
    TRY(memory_claim(&slot, larger.slots * sizeof *larger.slot));
    larger.slot = slot;
    for (int i = 0; i < larger.words.count; i++) {
        size_t count;
        const char *text = texts_at(&larger.words, i, &count);
        larger.slot[slot_of(&larger, text, count)] = i + 1;
    }
    memory_release(lexicon->slot);
    *lexicon = larger;
    return STATUS_OK;
}

Status lexicon_add(int *number, Lexicon *lexicon, const char *text, size_t count)
{
    if (2 * ((size_t)lexicon->words.count + 1) > lexicon->slots) TRY(grow(lexicon));
    const size_t slot = slot_of(lexicon, text, count);
    if (lexicon->slot[slot] == 0) {
        TRY(texts_add(&lexicon->words, text, count));
        lexicon->slot[slot] = lexicon->words.count;
    }
    *number = lexicon->slot[slot] - 1;
    return STATUS_OK;
}

int lexicon_find(const Lexicon *lexicon, const char *text, size_t count)
{
    if (lexicon->slots == 0) return -1;
    return lexicon->slot[slot_of(lexicon, text, count)] - 1;
}

void lexicon_free(Lexicon *lexicon)
{
    texts_free(&lexicon->words);
    memory_release(lexicon->slot);
    *lexicon = (Lexicon){0};
}
