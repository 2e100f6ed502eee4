#include "data/tasks/reviews.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Good, then neutral, then bad: the grammar draws within a polarity. */
const ReviewAdjective review_adjectives[] = {
    {"perfect", 1.5},   {"superb", 1.4},    {"amazing", 1.3},   {"brilliant", 1.2},
    {"lovely", 1.1},    {"splendid", 1.05}, {"great", 1.0},     {"charming", 0.9},
    {"good", 0.8},      {"cheerful", 0.75}, {"pleasant", 0.7},  {"friendly", 0.65},
    {"nice", 0.6},      {"solid", 0.5},     {"tidy", 0.45},     {"bright", 0.4},
    {"fine", 0.35},     {"decent", 0.3},    {"fair", 0.2},      {"plain", 0.0},
    {"simple", 0.0},    {"usual", 0.0},     {"modern", 0.0},    {"common", 0.0},
    {"local", 0.0},     {"awful", -1.5},    {"dreadful", -1.4}, {"horrid", -1.3},
    {"terrible", -1.2}, {"nasty", -1.1},    {"rotten", -1.05},  {"dismal", -1.0},
    {"ugly", -0.9},     {"bad", -0.8},      {"grim", -0.75},    {"poor", -0.7},
    {"shabby", -0.65},  {"gloomy", -0.6},   {"dull", -0.5},     {"messy", -0.45},
    {"weak", -0.4},     {"tired", -0.35},   {"bland", -0.3},    {"slow", -0.2},
};
const int review_adjective_count = sizeof review_adjectives / sizeof review_adjectives[0];

static const struct {
    const char *words;  /* before the adjective */
    double factor;      /* of its weight; negative: it negates */
    double probability; /* in the grammar */
} modifiers[REVIEW_MODIFIERS] = {
    [REVIEW_PLAIN] = {"", 1.0, 0.45},
    [REVIEW_VERY] = {"very", 1.5, 0.14},
    [REVIEW_REALLY] = {"really", 1.3, 0.11},
    [REVIEW_QUITE] = {"quite", 0.8, 0.09},
    [REVIEW_RATHER] = {"rather", 0.6, 0.06},
    [REVIEW_NOT] = {"not", -0.7, 0.10},
    [REVIEW_NOT_VERY] = {"not very", -0.4, 0.05},
};

/* Four things to stay in, four to eat in, four to look at; then three subjects for each of those
 * kinds and three for all. */
const char *const review_subjects[REVIEW_SUBJECTS] = {
    "hotel",  "inn",     "hostel",  "cabin", "cafe", "bakery", "diner",   "bar",
    "museum", "theatre", "gallery", "zoo",   "room", "bed",    "bath",    "food",
    "coffee", "menu",    "show",    "guide", "shop", "staff",  "service", "view",
};
enum { KIND_THINGS = 4, KIND_SUBJECTS = 3, FIRST_SHARED = 21 };

static const char *const headings[REVIEW_HEADINGS] = {"My review of", "Our visit to", "A day at",
                                                      "How we found"};
static const char *const openings[REVIEW_HEADINGS] = {"my review of", "our visit to", "a day at",
                                                      "how we found"};
static const char *const attributes[REVIEW_ATTRIBUTES] = {"old",  "new", "big",   "little",
                                                          "blue", "red", "white", "green"};
static const char *const prepositions[REVIEW_PREPOSITIONS] = {"near", "by", "behind", "opposite"};
static const char *const places[REVIEW_PLACES] = {"harbour", "river",  "station", "bridge",
                                                  "market",  "park",   "church",  "beach",
                                                  "forest",  "castle", "school",  "lake"};

bool review_subject_fits(int subject, int thing)
{
    if (thing < 0 || subject >= FIRST_SHARED) return true;
    if (subject < REVIEW_THINGS) return subject == thing;
    return (subject - REVIEW_THINGS) / KIND_SUBJECTS == thing / KIND_THINGS;
}

double review_factor(int modifier)
{
    return modifiers[modifier].factor;
}

double review_clause_value(const ReviewClause *clause)
{
    return review_adjectives[clause->adjective].weight * review_factor(clause->modifier);
}

/* ---- probabilities ---- */

enum { BLAME, NEITHER, PRAISE, POLARITIES };
enum { MOODS = 3 };

static const double mood_probability[MOODS] = {0.3, 0.4, 0.3};
static const double polarity_in_mood[MOODS][POLARITIES] = {
    {0.75, 0.10, 0.15},
    {0.44, 0.12, 0.44},
    {0.15, 0.10, 0.75},
};
/* After clause 1 and 2; clause 3 is the last. */
static const double stop_probability[REVIEW_CLAUSES] = {0.2, 0.6, 1.0};
static const double new_sentence_probability = 0.4;
/* "and" joins clauses that agree, "but" those that do not: nearly always. */
static const double fitting_joint_probability = 0.9;
/* People repeat a subject now and then. */
static const double thing_preference = 3.0, reluctance_to_repeat = 0.05;

static int polarity_of(double value)
{
    return value > 0 ? PRAISE : value < 0 ? BLAME : NEITHER;
}

static int adjectives_of(int polarity)
{
    int count = 0;
    for (int i = 0; i < review_adjective_count; i++) {
        count += polarity_of(review_adjectives[i].weight) == polarity;
    }
    return count;
}

/* probability[s] for clause `index` of a review whose earlier clauses are drawn. */
static void subject_probabilities(double probability[REVIEW_SUBJECTS], const Review *review,
                                  int index, int thing)
{
    double sum = 0;
    for (int s = 0; s < REVIEW_SUBJECTS; s++) {
        probability[s] = !review_subject_fits(s, thing) ? 0 : s == thing ? thing_preference : 1;
        for (int i = 0; i < index; i++) {
            if (review->clause[i].subject == s) {
                probability[s] *= reluctance_to_repeat;
                break;
            }
        }
        sum += probability[s];
    }
    for (int s = 0; s < REVIEW_SUBJECTS; s++) probability[s] /= sum;
}

/* probability[j] that a clause of this polarity is joined by j to one of `earlier` polarity. */
static void joint_probabilities(double probability[3], int earlier, int polarity)
{
    const bool agree = earlier == polarity;
    const double joined = 1 - new_sentence_probability;
    const double fitting = joined * fitting_joint_probability;
    probability[REVIEW_NEW_SENTENCE] = new_sentence_probability;
    probability[REVIEW_AND] = agree ? fitting : joined - fitting;
    probability[REVIEW_BUT] = agree ? joined - fitting : fitting;
}

static int draw(Rng *rng, const double *probability, int count)
{
    double left = rng_uniform(rng);
    int last = 0;
    for (int i = 0; i < count; i++) {
        if (probability[i] <= 0) continue;
        if (left < probability[i]) return i;
        left -= probability[i];
        last = i;
    }
    return last;
}

static int draw_modifier(Rng *rng)
{
    double probability[REVIEW_MODIFIERS];
    for (int i = 0; i < REVIEW_MODIFIERS; i++) probability[i] = modifiers[i].probability;
    return draw(rng, probability, REVIEW_MODIFIERS);
}

static int draw_adjective(Rng *rng, int polarity)
{
    int left = rng_below(rng, adjectives_of(polarity));
    int adjective = 0;
    while (polarity_of(review_adjectives[adjective].weight) != polarity || left-- > 0) adjective++;
    return adjective;
}

static void draw_clause(Review *review, Rng *rng, int index, int mood, int thing)
{
    ReviewClause *clause = &review->clause[index];
    const int polarity = draw(rng, polarity_in_mood[mood], POLARITIES);
    if (index > 0) {
        double joint[3];
        joint_probabilities(joint, polarity_of(review_clause_value(clause - 1)), polarity);
        clause->joint = (ReviewJoint)draw(rng, joint, 3);
    }
    double subject[REVIEW_SUBJECTS];
    subject_probabilities(subject, review, index, thing);
    clause->subject = draw(rng, subject, REVIEW_SUBJECTS);
    clause->modifier = draw_modifier(rng);
    const bool negates = modifiers[clause->modifier].factor < 0;
    clause->adjective = draw_adjective(rng, negates ? PRAISE - polarity : polarity);
}

void review_draw(Review *review, Rng *rng, int thing)
{
    *review = (Review){0};
    const int mood = draw(rng, mood_probability, MOODS);
    bool more = true;
    while (more) {
        draw_clause(review, rng, review->count, mood, thing);
        more = rng_uniform(rng) >= stop_probability[review->count];
        review->count++;
    }
}

double review_log_probability(const Review *review, int thing)
{
    double common = 0; /* what does not depend on the mood */
    double mood[MOODS];
    memcpy(mood, mood_probability, sizeof mood);
    for (int i = 0; i < review->count; i++) {
        const ReviewClause *clause = &review->clause[i];
        const int polarity = polarity_of(review_clause_value(clause));
        double subject[REVIEW_SUBJECTS];
        subject_probabilities(subject, review, i, thing);
        const int drawn_from = polarity_of(review_adjectives[clause->adjective].weight);
        common += log(subject[clause->subject]) + log(modifiers[clause->modifier].probability) -
                  log(adjectives_of(drawn_from));
        if (i > 0) {
            double joint[3];
            joint_probabilities(joint, polarity_of(review_clause_value(clause - 1)), polarity);
            common += log(joint[clause->joint]);
        }
        const bool last = i == review->count - 1;
        common += log(last ? stop_probability[i] : 1 - stop_probability[i]);
        for (int m = 0; m < MOODS; m++) mood[m] *= polarity_in_mood[m][polarity];
    }
    return common + log(mood[0] + mood[1] + mood[2]);
}

/* ---- text ---- */

Status review_write(Bytes *text, const Review *review)
{
    static const char *const joints[] = {". The", " and the", " but the"};
    for (int i = 0; i < review->count; i++) {
        const ReviewClause *clause = &review->clause[i];
        const char *modifier = modifiers[clause->modifier].words;
        TRY(bytes_print(text, "%s %s was%s%s %s", i == 0 ? " The" : joints[clause->joint],
                        review_subjects[clause->subject], modifier[0] != '\0' ? " " : "", modifier,
                        review_adjectives[clause->adjective].word));
    }
    return bytes_text(text, ".");
}

/* A number is read as digits of mixed base: place, preposition, thing, attribute, heading. */
static Status place_write(Bytes *text, const char *const *heads, int number)
{
    assert(number >= 0 && number < REVIEW_PROMPTS);
    const int place = number % REVIEW_PLACES;
    number /= REVIEW_PLACES;
    const int preposition = number % REVIEW_PREPOSITIONS;
    number /= REVIEW_PREPOSITIONS;
    const int thing = number % REVIEW_THINGS;
    number /= REVIEW_THINGS;
    const int attribute = number % REVIEW_ATTRIBUTES;
    return bytes_print(text, "%s the %s %s %s the %s", heads[number / REVIEW_ATTRIBUTES],
                       attributes[attribute], review_subjects[thing], prepositions[preposition],
                       places[place]);
}

Status review_prompt_write(Bytes *text, int number)
{
    TRY(place_write(text, headings, number));
    return bytes_text(text, ":");
}

Status review_opening_write(Bytes *text, int number)
{
    TRY(bytes_text(text, "Here is "));
    TRY(place_write(text, openings, number));
    return bytes_text(text, ".");
}

int review_prompt_thing(int number)
{
    return number / (REVIEW_PLACES * REVIEW_PREPOSITIONS) % REVIEW_THINGS;
}

bool review_prompt_held_out(int number)
{
    Rng rng = rng_stream(0, RNG_TASK, RNG_PROMPT, (uint64_t)number, 0, 0);
    return rng_below(&rng, 10) == 0;
}

int review_thing_in(const char *prompt, size_t count)
{
    size_t start = 0;
    for (size_t i = 0; i <= count; i++) {
        if (i < count && prompt[i] >= 'a' && prompt[i] <= 'z') continue;
        for (int thing = 0; thing < REVIEW_THINGS; thing++) {
            const size_t length = strlen(review_subjects[thing]);
            if (length == i - start &&
                memcmp(review_subjects[thing], prompt + start, length) == 0) {
                return thing;
            }
        }
        start = i + 1;
    }
    return -1;
}
