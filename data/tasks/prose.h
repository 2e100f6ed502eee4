/* A book of prose as text to learn from: its paragraphs, dealt out into three parts, and passages
 * (the beginning of a sentence and how it goes on) to prompt with. */
#ifndef DATA_TASKS_PROSE_H
#define DATA_TASKS_PROSE_H

#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum ProsePart {
    PROSE_TRAIN,    /* seven tenths: the policy learns from it */
    PROSE_HELD_OUT, /* a tenth */
    PROSE_FLUENCY,  /* a fifth: what an ordinary sentence is, for gold only */
    PROSE_PARTS
} ProsePart;

/* Cuts a book whose lines are wrapped and whose paragraphs are parted by empty lines: each
 * paragraph on one line, without the underscores that mean italics; headings are left out. Forty
 * paragraphs at a time go to one part. Zero-initialise the parts. STATUS_DATA: no paragraphs. */
Status prose_cut(Texts parts[PROSE_PARTS], const char *book, size_t count);

typedef struct PassageLimits {
    int prompt_words;                   /* exactly */
    int shortest_words, longest_words;  /* of the rest of the sentence */
    size_t longest_bytes;               /* of it, its leading space included */
} PassageLimits;

/* Where in a paragraph a prompt begins, where it ends (a space is next) and where its sentence
 * ends: byte offsets. */
typedef struct Passage {
    int paragraph;
    int start, middle, end;
} Passage;

/* All passages that begin a sentence or a clause, hold no quotation and do not overlap. *list is
 * claimed; it may be empty. */
Status prose_passages(Passage **list, int *count, const Texts *paragraphs,
                      const PassageLimits *limits);

/* Whether a sentence ends at the end of `text`: . ! or ?, but not "Mr." and the like. */
bool prose_ends_sentence(const char *text, size_t count);

#endif
