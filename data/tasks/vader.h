/* VADER's lexicon (Hutto and Gilbert 2014): what ten people thought of each of 7 500 words, from -4
 * (very bad) to +4 (very good). */
#ifndef DATA_TASKS_VADER_H
#define DATA_TASKS_VADER_H

#include "data/tasks/lexicon.h"

enum { VADER_RATERS = 10 };

typedef struct VaderWord {
    double mean;
    signed char rating[VADER_RATERS];
} VaderWord;

/* Zero-initialise. */
typedef struct Vader {
    Lexicon lexicon;
    VaderWord *word; /* (lexicon.words.count) */
} Vader;

/* Reads the text of vader_lexicon.txt, which a NUL follows: a line a word, parted by tabs, "word
 * mean sd [ten ratings]". Broken: STATUS_DATA with the line. Emoticons and phrases are read like
 * words. */
Status vader_parse(Vader *vader, const char *text, size_t count);
const VaderWord *vader_find(const Vader *vader, const char *text, size_t count); /* NULL: unrated */
void vader_free(Vader *vader);

#endif
