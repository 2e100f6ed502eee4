/* The world of `reviews`, private to its three files and their test: words with hidden weights, a
 * grammar that draws reviews from them, and how a review is read back.
 *
 *   prompt  = heading " the " attribute thing preposition " the " place ":"
 *   review  = clause { (". The" | " and the" | " but the") clause } "."    1 to 3 clauses
 *   clause  = subject " was" [modifier] adjective                   e.g. " The staff was very good"
 *
 * A subject is the prompt's thing or something such a thing has. A review has a mood (good, mixed,
 * bad), which says how often its clauses praise and blame; it is never written down. */
#ifndef DATA_TASKS_REVIEWS_H
#define DATA_TASKS_REVIEWS_H

#include "data/rng.h"
#include "data/tasks/task.h"

enum {
    REVIEW_HEADINGS = 4,
    REVIEW_ATTRIBUTES = 8,
    REVIEW_THINGS = 12,
    REVIEW_PREPOSITIONS = 4,
    REVIEW_PLACES = 12,
    /* prompts there are; each has a number below this */
    REVIEW_PROMPTS = REVIEW_HEADINGS * REVIEW_ATTRIBUTES * REVIEW_THINGS * REVIEW_PREPOSITIONS *
                     REVIEW_PLACES,
    REVIEW_SUBJECTS = 24, /* the things first, then what they have */
    REVIEW_CLAUSES = 3, /* the longest review */
};

/* ---- words (reviews_grammar.c) ---- */

/* What may stand before an adjective. */
enum {
    REVIEW_PLAIN,
    REVIEW_VERY,
    REVIEW_REALLY,
    REVIEW_QUITE,
    REVIEW_RATHER,
    REVIEW_NOT,
    REVIEW_NOT_VERY,
    REVIEW_MODIFIERS
};

typedef struct ReviewAdjective {
    const char *word;
    double weight; /* hidden: what the simulated human makes of it; its sign is its polarity */
} ReviewAdjective;

extern const ReviewAdjective review_adjectives[];
extern const int review_adjective_count;
extern const char *const review_subjects[REVIEW_SUBJECTS];

/* Whether a review of `thing` may speak of `subject`; thing -1 (somebody's own prompt): yes. */
bool review_subject_fits(int subject, int thing);

/* ---- reviews as structures ---- */

typedef enum ReviewJoint { REVIEW_NEW_SENTENCE, REVIEW_AND, REVIEW_BUT } ReviewJoint;

typedef struct ReviewClause {
    ReviewJoint joint; /* to the clause before; the first has none */
    int subject, modifier, adjective;
} ReviewClause;

typedef struct Review {
    int count;
    ReviewClause clause[REVIEW_CLAUSES];
} Review;

/* What a modifier makes of an adjective's weight; negative: it negates. */
double review_factor(int modifier);

/* Weight times factor. */
double review_clause_value(const ReviewClause *clause);

void review_draw(Review *review, Rng *rng, int thing);
Status review_write(Bytes *text, const Review *review);
/* ln P(review | thing), its end included, summed over the moods. */
double review_log_probability(const Review *review, int thing);

/* Prompt `number`; the thing in it; whether it is held out (a hash of the number, one in ten). */
Status review_prompt_write(Bytes *text, int number);
int review_prompt_thing(int number);
bool review_prompt_held_out(int number);
/* The first word of a prompt that names a thing; -1: none. */
int review_thing_in(const char *prompt, size_t count);
/* "Here is my review of the ...": how half of the documents open. */
Status review_opening_write(Bytes *text, int number);

/* ---- reading and judging (reviews_gold.c) ---- */

/* What was found in any bytes whatever. */
typedef struct ReviewReading {
    Review review;   /* the first clauses that are whole and in place */
    int words;       /* all words, also unknown ones */
    int illegal;     /* steps from word to word that the grammar never makes */
    int repetitions; /* subjects and adjectives of `review` that it had before */
    double blame;    /* <= 0: bad adjectives outside of those clauses */
} ReviewReading;

void review_read(ReviewReading *reading, const char *text, size_t count, int thing);

/* gold = 2.5 tanh(v / 2.5) - repetitions / 2 - max(0, words - 17) / 4 - [not terminated]
 *        - 0.75 min(illegal, 6)
 * with v the sum of the clauses' values, each adjective once, plus the blame. */
double review_gold(const ReviewReading *reading, bool terminated);

/* The terms of gold: the adjectives, then repetitions, words beyond 17, a missing end and illegal
 * steps. Amounts of adjectives are the factors of the clauses that count; blame is in none. */
bool review_term(GoldTerm *term, int index);
void review_amounts(double *amount, const ReviewReading *reading, bool terminated);

#endif
