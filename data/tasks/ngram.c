#include "data/tasks/ngram.h"

#include "data/tasks/lexicon.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { ORDER = 3, WORD_BITS = 21, NO_WORD = 0 /* before the first */, WORDS_IN_ALL = 50000 };

/* The distinct runs of n words, ascending. A run is one number, 21 bits a word, so that those with
 * one history lie side by side. */
typedef struct Runs {
    uint64_t *run;  /* (count) */
    int64_t *below; /* (count + 1) occurrences of all runs before this one */
    size_t count;
} Runs;

struct Ngram {
    Lexicon lexicon; /* word 0 is NO_WORD */
    Runs runs[ORDER];
};

static const uint64_t run_mask[ORDER] = {(1ull << WORD_BITS) - 1, (1ull << 2 * WORD_BITS) - 1,
                                         (1ull << 3 * WORD_BITS) - 1};

/* A history is the run of the last ORDER words, the newest in the low bits. */
static uint64_t history_with(uint64_t history, int word)
{
    return (history << WORD_BITS | (uint64_t)word) & run_mask[ORDER - 1];
}

static int compare_runs(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts all the runs of one length and keeps the distinct ones with their counts. */
static Status runs_count(Runs *runs, const uint64_t *all, size_t count, uint64_t mask)
{
    void *run, *below;
    TRY(memory_claim(&run, count * sizeof *runs->run));
    runs->run = run;
    TRY(memory_claim(&below, (count + 1) * sizeof *runs->below));
    runs->below = below;
    for (size_t i = 0; i < count; i++) runs->run[i] = all[i] & mask;
    qsort(runs->run, count, sizeof *runs->run, compare_runs);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || runs->run[i] != runs->run[runs->count - 1]) {
            runs->run[runs->count++] = runs->run[i];
        }
        runs->below[runs->count] = (int64_t)i + 1;
    }
    return STATUS_OK;
}

/* Every run of ORDER words of the texts; word numbers are given as the words come. */
static Status collect_runs(uint64_t **all, size_t *count, Ngram *ngram, const Texts *texts)
{
    size_t capacity = 0;
    for (int i = 0; i < texts->count; i++) {
        uint64_t history = NO_WORD;
        size_t length, position = 0;
        const char *text = texts_at(texts, i, &length);
        ProseWord word;
        while (word_next(&word, text, length, &position)) {
            int number;
            TRY(lexicon_add(&number, &ngram->lexicon, word.text, word.count));
            history = history_with(history, number);
            if (*count == capacity) {
                capacity = 2 * capacity + 4096;
                void *larger = *all;
                TRY(memory_resize(&larger, capacity * sizeof **all));
                *all = larger;
            }
            (*all)[(*count)++] = history;
        }
    }
    if ((uint64_t)ngram->lexicon.words.count > run_mask[0]) {
        return status_fail(STATUS_DATA, "%d distinct words: too many for the n-gram model",
                           ngram->lexicon.words.count);
    }
    return STATUS_OK;
}

static Status count_all(Ngram *ngram, uint64_t **all, const Texts *texts)
{
    int no_word;
    TRY(lexicon_add(&no_word, &ngram->lexicon, "", 0));
    size_t count = 0;
    TRY(collect_runs(all, &count, ngram, texts));
    for (int n = 0; n < ORDER; n++) {
        TRY(runs_count(&ngram->runs[n], *all, count, run_mask[n]));
    }
    return STATUS_OK;
}

Status ngram_train(Ngram **ngram, const Texts *texts)
{
    void *memory;
    TRY(memory_claim(&memory, sizeof **ngram));
    *ngram = memory;
    uint64_t *all = NULL;
    const Status status = count_all(*ngram, &all, texts);
    memory_release(all);
    if (status != STATUS_OK) {
        ngram_free(*ngram);
        *ngram = NULL;
    }
    return status;
}

void ngram_free(Ngram *ngram)
{
    if (ngram == NULL) return;
    for (int n = 0; n < ORDER; n++) {
        memory_release(ngram->runs[n].run);
        memory_release(ngram->runs[n].below);
    }
    lexicon_free(&ngram->lexicon);
    memory_release(ngram);
}

/* How many distinct runs are smaller than `run`. */
static size_t runs_below(const Runs *runs, uint64_t run)
{
    size_t low = 0, high = runs->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (runs->run[middle] < run) low = middle + 1;
        if (runs->run[middle] >= run) high = middle;
    }
    return low;
}

/* P(last word | the n words before it) for n = 0 up to the longest history that was seen;
 * *alone is that for n = 0. */
static double probability(double *alone, const Ngram *ngram, uint64_t history)
{
    double p = 1.0 / WORDS_IN_ALL;
    for (int n = 0; n < ORDER; n++) {
        const Runs *runs = &ngram->runs[n];
        const uint64_t run = history & run_mask[n];
        const uint64_t first = run & ~run_mask[0]; /* the smallest run with this history */
        const size_t from = runs_below(runs, first), to = runs_below(runs, first + run_mask[0] + 1);
        if (from == to) break;
        const size_t at = runs_below(runs, run);
        const bool seen = at < to && runs->run[at] == run;
        const int64_t times = seen ? runs->below[at + 1] - runs->below[at] : 0;
        const double all = (double)(runs->below[to] - runs->below[from]);
        const double different = (double)(to - from);
        p = ((double)times + different * p) / (all + different);
        if (n == 0) *alone = p;
    }
    return p;
}

/* A word that was never seen gets a number that no run holds. */
static int number_of(const Ngram *ngram, const ProseWord *word)
{
    const int number = lexicon_find(&ngram->lexicon, word->text, word->count);
    return number >= 0 ? number : (int)run_mask[0];
}

NgramScore ngram_score(const Ngram *ngram, const char *before, size_t before_count,
                       const char *text, size_t count)
{
    uint64_t history = NO_WORD;
    ProseWord word;
    size_t position = 0;
    while (word_next(&word, before, before_count, &position)) {
        history = history_with(history, number_of(ngram, &word));
    }
    NgramScore score = {0};
    position = 0;
    while (word_next(&word, text, count, &position)) {
        history = history_with(history, number_of(ngram, &word));
        double alone = 1;
        const double here = probability(&alone, ngram, history);
        score.logp += log(here);
        score.gain += log(here) - log(alone);
        score.words++;
    }
    if (score.words > 0) {
        score.logp /= score.words;
        score.gain /= score.words;
    }
    return score;
}
