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

/* Mean of ln P over the words of `text`, nats a word, its first words seen after `before`; *words is
 * their number. No words: 0. */
double ngram_mean_logp(int *words, const Ngram *ngram, const char *before, size_t before_count,
                       const char *text, size_t count);

#endif
