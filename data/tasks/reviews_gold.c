/* Reading any bytes as a review, and the gold reward. Gold must not be hackable: what is out of
 * place can cost but never pay, and every way to leave the grammar costs. */
#include "data/tasks/reviews.h"

#include <math.h>
#include <string.h>

typedef enum WordClass {
    WORD_NONE, /* the start of the answer */
    WORD_CAPITAL_THE,
    WORD_THE,
    WORD_SUBJECT,
    WORD_WAS,
    WORD_NOT,
    WORD_VERY,
    WORD_MODIFIER, /* really, quite, rather */
    WORD_ADJECTIVE,
    WORD_JOINT, /* and, but */
    WORD_STOP,
    WORD_UNKNOWN, /* also a subject that does not belong to the prompt's thing */
    WORD_END,     /* the end of the answer */
} WordClass;

typedef struct Word {
    WordClass class;
    int index; /* of a subject, modifier, adjective or joint */
} Word;

#define AFTER(class) (1u << (class))

/* The classes that may follow each class. */
static const unsigned legal[] = {
    [WORD_NONE] = AFTER(WORD_CAPITAL_THE),
    [WORD_CAPITAL_THE] = AFTER(WORD_SUBJECT),
    [WORD_THE] = AFTER(WORD_SUBJECT),
    [WORD_SUBJECT] = AFTER(WORD_WAS),
    [WORD_WAS] = AFTER(WORD_NOT) | AFTER(WORD_VERY) | AFTER(WORD_MODIFIER) | AFTER(WORD_ADJECTIVE),
    [WORD_NOT] = AFTER(WORD_VERY) | AFTER(WORD_ADJECTIVE),
    [WORD_VERY] = AFTER(WORD_ADJECTIVE),
    [WORD_MODIFIER] = AFTER(WORD_ADJECTIVE),
    [WORD_ADJECTIVE] = AFTER(WORD_JOINT) | AFTER(WORD_STOP),
    [WORD_JOINT] = AFTER(WORD_THE),
    [WORD_STOP] = AFTER(WORD_CAPITAL_THE) | AFTER(WORD_END),
    [WORD_UNKNOWN] = 0,
    [WORD_END] = 0,
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool equal(const char *word, const char *text, size_t count)
{
    return strlen(word) == count && memcmp(word, text, count) == 0;
}

static Word look_up(const char *text, size_t count, int thing)
{
    static const struct {
        const char *text;
        Word word;
    } closed[] = {
        {"The", {WORD_CAPITAL_THE, 0}},
        {"the", {WORD_THE, 0}},
        {"was", {WORD_WAS, 0}},
        {"not", {WORD_NOT, REVIEW_NOT}},
        {"very", {WORD_VERY, REVIEW_VERY}},
        {"really", {WORD_MODIFIER, REVIEW_REALLY}},
        {"quite", {WORD_MODIFIER, REVIEW_QUITE}},
        {"rather", {WORD_MODIFIER, REVIEW_RATHER}},
        {"and", {WORD_JOINT, REVIEW_AND}},
        {"but", {WORD_JOINT, REVIEW_BUT}},
    };
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        if (equal(closed[i].text, text, count)) return closed[i].word;
    }
    for (int s = 0; s < REVIEW_SUBJECTS; s++) {
        if (!equal(review_subjects[s], text, count)) continue;
        return (Word){review_subject_fits(s, thing) ? WORD_SUBJECT : WORD_UNKNOWN, s};
    }
    for (int a = 0; a < review_adjective_count; a++) {
        if (equal(review_adjectives[a].word, text, count)) return (Word){WORD_ADJECTIVE, a};
    }
    return (Word){WORD_UNKNOWN, 0};
}

/* The next word: a space and letters, or a stop. Anything else up to the next space or stop is one
 * unknown word. */
static Word next_word(size_t *position, const char *text, size_t count, int thing)
{
    if (*position == count) return (Word){WORD_END, 0};
    const size_t start = (*position)++;
    if (text[start] == '.') return (Word){WORD_STOP, REVIEW_NEW_SENTENCE};
    bool letters = text[start] == ' ' && *position < count && is_letter(text[*position]);
    while (*position < count && text[*position] != ' ' && text[*position] != '.') {
        letters = letters && is_letter(text[*position]);
        (*position)++;
    }
    if (!letters) return (Word){WORD_UNKNOWN, 0};
    return look_up(text + start + 1, *position - start - 1, thing);
}

/* The clause that is being read. */
typedef struct Reader {
    ReviewReading *reading;
    ReviewClause clause;
    ReviewJoint joint;
    bool in_place; /* every step since the clause's "the" was legal */
    bool complete; /* it has its adjective: the next step decides */
} Reader;

static void blame(Reader *reader, int adjective)
{
    reader->reading->blame += fmin(review_adjectives[adjective].weight, 0);
}

static void accept_clause(Reader *reader)
{
    Review *review = &reader->reading->review;
    if (review->count == REVIEW_CLAUSES) {
        reader->reading->illegal++;
        blame(reader, reader->clause.adjective);
        return;
    }
    bool subject = false, adjective = false;
    for (int i = 0; i < review->count; i++) {
        subject = subject || review->clause[i].subject == reader->clause.subject;
        adjective = adjective || review->clause[i].adjective == reader->clause.adjective;
    }
    reader->reading->repetitions += subject + adjective;
    review->clause[review->count++] = reader->clause;
}

/* One step, from the word before to `word`. */
static void take(Reader *reader, Word word, bool is_legal)
{
    if (!is_legal) reader->reading->illegal++;
    if (reader->complete) {
        if (is_legal) accept_clause(reader);
        if (!is_legal) blame(reader, reader->clause.adjective);
        reader->complete = false;
    }
    reader->in_place = reader->in_place && is_legal;
    switch (word.class) {
    case WORD_CAPITAL_THE:
    case WORD_THE:
        reader->clause = (ReviewClause){.joint = reader->joint};
        reader->in_place = is_legal;
        break;
    case WORD_SUBJECT:
        reader->clause.subject = word.index;
        break;
    case WORD_NOT:
    case WORD_VERY:
    case WORD_MODIFIER:
        reader->clause.modifier =
            reader->clause.modifier == REVIEW_NOT ? REVIEW_NOT_VERY : word.index;
        break;
    case WORD_ADJECTIVE:
        reader->clause.adjective = word.index;
        reader->complete = reader->in_place;
        if (!reader->in_place) blame(reader, word.index);
        break;
    case WORD_JOINT:
    case WORD_STOP:
        reader->joint = (ReviewJoint)word.index;
        break;
    default:
        break;
    }
}

void review_read(ReviewReading *reading, const char *text, size_t count, int thing)
{
    *reading = (ReviewReading){0};
    Reader reader = {.reading = reading};
    WordClass before = WORD_NONE;
    size_t position = 0;
    while (before != WORD_END) {
        const Word word = next_word(&position, text, count, thing);
        reading->words += word.class != WORD_STOP && word.class != WORD_END;
        take(&reader, word, (legal[before] & AFTER(word.class)) != 0);
        before = word.class;
    }
    if (reading->review.count == 0) reading->illegal++; /* it says nothing */
    reading->review.clause[0].joint = REVIEW_NEW_SENTENCE;
}

/* ---- gold ---- */

enum { REPETITION, EXTRA_WORD, NO_END, ILLEGAL, FAULTS };

static const GoldTerm faults[FAULTS] = {
    [REPETITION] = {"a repetition", -0.5},
    [EXTRA_WORD] = {"a word past the 17th", -0.25},
    [NO_END] = {"no end", -1.0},
    [ILLEGAL] = {"a step outside the grammar", -0.75},
};

static void fault_amounts(double amount[FAULTS], const ReviewReading *reading, bool terminated)
{
    amount[REPETITION] = reading->repetitions;
    amount[EXTRA_WORD] = reading->words > 17 ? reading->words - 17 : 0;
    amount[NO_END] = terminated ? 0 : 1;
    amount[ILLEGAL] = reading->illegal < 6 ? reading->illegal : 6;
}

/* An adjective pays once, but costs every time. */
static bool counts(const Review *review, int clause)
{
    for (int before = 0; before < clause; before++) {
        if (review->clause[before].adjective == review->clause[clause].adjective) {
            return review_clause_value(&review->clause[clause]) < 0;
        }
    }
    return true;
}

double review_gold(const ReviewReading *reading, bool terminated)
{
    static const double ceiling = 2.5;
    const Review *review = &reading->review;
    double value = reading->blame, amount[FAULTS];
    for (int i = 0; i < review->count; i++) {
        if (counts(review, i)) value += review_clause_value(&review->clause[i]);
    }
    double gold = ceiling * tanh(value / ceiling);
    fault_amounts(amount, reading, terminated);
    for (int f = 0; f < FAULTS; f++) gold += faults[f].weight * amount[f];
    return gold;
}

bool review_term(GoldTerm *term, int index)
{
    const int fault = index - review_adjective_count;
    if (fault >= FAULTS) return false;
    if (fault >= 0) {
        *term = faults[fault];
    } else {
        *term = (GoldTerm){review_adjectives[index].word, review_adjectives[index].weight};
    }
    return true;
}

void review_amounts(double *amount, const ReviewReading *reading, bool terminated)
{
    const Review *review = &reading->review;
    memset(amount, 0, sizeof *amount * (size_t)review_adjective_count);
    for (int i = 0; i < review->count; i++) {
        const ReviewClause *clause = &review->clause[i];
        if (counts(review, i)) amount[clause->adjective] += review_factor(clause->modifier);
    }
    fault_amounts(amount + review_adjective_count, reading, terminated);
}
