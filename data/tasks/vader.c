#include "data/tasks/vader.h"

#include <stdlib.h>
#include <string.h>

/* The tab after the field at `text`, NULL where there is none on the line. */
static const char *field_end(const char *text, const char *line_end)
{
    return memchr(text, '\t', (size_t)(line_end - text));
}

/* "[1, -2, ...]": whole numbers from -4 to 4. */
static bool parse_ratings(signed char rating[VADER_RATERS], const char *text)
{
    if (*text++ != '[') return false;
    for (int i = 0; i < VADER_RATERS; i++) {
        char *end;
        const long value = strtol(text, &end, 10);
        if (end == text || value < -4 || value > 4) return false;
        rating[i] = (signed char)value;
        if (*end != (i < VADER_RATERS - 1 ? ',' : ']')) return false;
        text = end + 1;
    }
    return true;
}

/* `line` is followed by a newline or a NUL, so numbers end before the memory does. */
static bool parse_line(VaderWord *word, size_t *word_count, const char *line, const char *line_end)
{
    const char *mean = field_end(line, line_end);
    const char *deviation = mean != NULL ? field_end(mean + 1, line_end) : NULL;
    const char *ratings = deviation != NULL ? field_end(deviation + 1, line_end) : NULL;
    if (ratings == NULL) return false;
    char *end;
    word->mean = strtod(mean + 1, &end);
    *word_count = (size_t)(mean - line);
    return end == deviation && word->mean >= -4 && word->mean <= 4 &&
           parse_ratings(word->rating, ratings + 1);
}

static Status add_word(Vader *vader, size_t *capacity, const char *text, size_t count,
                       const VaderWord *word)
{
    int number;
    TRY(lexicon_add(&number, &vader->lexicon, text, count));
    if ((size_t)number >= *capacity) {
        const size_t larger = 2 * *capacity + 1024;
        void *memory = vader->word;
        TRY(memory_resize(&memory, larger * sizeof *vader->word));
        vader->word = memory;
        *capacity = larger;
    }
    vader->word[number] = *word;
    return STATUS_OK;
}

Status vader_parse(Vader *vader, const char *text, size_t count)
{
    size_t capacity = 0;
    const char *end = text + count;
    int line_number = 0;
    for (const char *line = text; line < end; line_number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline != NULL ? newline : end;
        VaderWord word;
        size_t word_count;
        if (line_end > line) {
            if (!parse_line(&word, &word_count, line, line_end)) {
                return status_fail(STATUS_DATA, "line %d: not a word, two numbers and ten ratings",
                                   line_number + 1);
            }
            TRY(add_word(vader, &capacity, line, word_count, &word));
        }
        line = line_end + 1;
    }
    if (vader->lexicon.words.count == 0) return status_fail(STATUS_DATA, "no words");
    return STATUS_OK;
}

const VaderWord *vader_find(const Vader *vader, const char *text, size_t count)
{
    const int number = lexicon_find(&vader->lexicon, text, count);
    return number >= 0 ? &vader->word[number] : NULL;
}

void vader_free(Vader *vader)
{
    lexicon_free(&vader->lexicon);
    memory_release(vader->word);
    *vader = (Vader){0};
}
