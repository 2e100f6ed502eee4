/* Words of prose: how text is cut into them, and a table that numbers the distinct ones.
 *
 * A word is a run of letters with apostrophes inside, in lower case; any other byte but a space is
 * a word of its own, so that nothing in an answer escapes the count. */
#ifndef DATA_TASKS_LEXICON_H
#define DATA_TASKS_LEXICON_H

#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>

enum { WORD_LONGEST = 32 }; /* longer words are cut off */

typedef struct ProseWord {
    char text[WORD_LONGEST];
    size_t count;
    bool letters; /* a word proper, not a mark */
} ProseWord;

/* The first word at or after *position, which is moved behind it; false: there is none. */
bool word_next(ProseWord *word, const char *text, size_t count, size_t *position);
bool word_equal(const ProseWord *a, const ProseWord *b);

/* Distinct words, numbered as they came. Zero-initialise. */
typedef struct Lexicon {
    Texts words;
    int *slot; /* (slots) 1 + number of a word, 0 where free; open addressing */
    size_t slots;
} Lexicon;

/* *number is that of the word, a new one where it was not there. */
Status lexicon_add(int *number, Lexicon *lexicon, const char *text, size_t count);
int lexicon_find(const Lexicon *lexicon, const char *text, size_t count); /* -1: not there */
void lexicon_free(Lexicon *lexicon);

#endif
