/* A trigram model of words: how ordinary a piece of prose is.
 *
 * Interpolated by Witten and Bell (1991, method C): with c(h) words seen after the history h, T(h)
 * of them different, and h' the history without its first word,
 *
 *   P(w | h) = (c(h w) + T(h) P(w | h')) / (c(h) + T(h))
 *
 * down to P(w | nothing), whose last resort is 1 / 50 000, also for words never seen. */
#ifndef DATA_TASKS_NGRAM_H
#define DATA_TASKS_NGRAM_H

#include "data/memory.h"
#include "data/status.h"

typedef struct Ngram Ngram;

/* Counts over the texts, each of which begins with an empty history. */
Status ngram_train(Ngram **ngram, const Texts *texts);
void ngram_free(Ngram *ngram); /* NULL is fine */

/* Means over the words of a text, nats a word; 0 where there are no words. */
typedef struct NgramScore {
    int words;
    double logp; /* ln P(w | h): low for rare words and for words out of order */
    double gain; /* ln P(w | h) - ln P(w): what the order is worth; low for any heap of words */
} NgramScore;

/* Scores `text`, whose first words are seen after `before`. */
NgramScore ngram_score(const Ngram *ngram, const char *before, size_t before_count,
                       const char *text, size_t count);

#endif
