#include "data/tasks/prose.h"

#include <string.h>

enum { CHUNK = 40 /* paragraphs */, DEAL = 20, HELD_OUT = 2, FLUENCY = 4 };

/* ---- paragraphs ---- */

static bool is_prose(const char *text, size_t count)
{
    bool lower_case = false;
    for (size_t i = 0; i < count; i++)
        lower_case = lower_case || (text[i] >= 'a' && text[i] <= 'z');
    return lower_case && strchr(".!?\"')", text[count - 1]) != NULL;
}

static ProsePart part_of(int paragraph)
{
    const int chunk = paragraph / CHUNK % DEAL;
    if (chunk < HELD_OUT) return PROSE_HELD_OUT;
    return chunk < HELD_OUT + FLUENCY ? PROSE_FLUENCY : PROSE_TRAIN;
}

/* Appends a line to the paragraph, words parted by one space. */
static Status add_line(Bytes *paragraph, const char *line, size_t count)
{
    bool gap = paragraph->count > 0;
    for (size_t i = 0; i < count; i++) {
        const bool space = line[i] == ' ' || line[i] == '\t' || line[i] == '\r';
        gap = gap || space;
        if (space || line[i] == '_') continue;
        if (gap && paragraph->count > 0) TRY(bytes_append(paragraph, " ", 1));
        gap = false;
        TRY(bytes_append(paragraph, line + i, 1));
    }
    return STATUS_OK;
}

static Status end_paragraph(Texts parts[PROSE_PARTS], int *paragraphs, Bytes *paragraph)
{
    if (paragraph->count > 0 && is_prose(paragraph->data, paragraph->count)) {
        TRY(texts_add(&parts[part_of(*paragraphs)], paragraph->data, paragraph->count));
        (*paragraphs)++;
    }
    bytes_clear(paragraph);
    return STATUS_OK;
}

static Status cut(Texts parts[PROSE_PARTS], Bytes *paragraph, const char *book, size_t count)
{
    int paragraphs = 0;
    for (size_t start = 0; start < count;) {
        const char *newline = memchr(book + start, '\n', count - start);
        const size_t length = newline != NULL ? (size_t)(newline - book) - start : count - start;
        const size_t before = paragraph->count;
        TRY(add_line(paragraph, book + start, length));
        if (paragraph->count == before) TRY(end_paragraph(parts, &paragraphs, paragraph));
        start += length + 1;
    }
    TRY(end_paragraph(parts, &paragraphs, paragraph));
    if (paragraphs == 0) return status_fail(STATUS_DATA, "no paragraphs of prose");
    return STATUS_OK;
}

Status prose_cut(Texts parts[PROSE_PARTS], const char *book, size_t count)
{
    Bytes paragraph = {0};
    const Status status = cut(parts, &paragraph, book, count);
    bytes_free(&paragraph);
    return status;
}

/* ---- passages ---- */

bool prose_ends_sentence(const char *text, size_t count)
{
    static const char *const abbreviations[] = {"Mr.",   "Mrs.", "Dr.",  "St.",    "Col.",
                                                "Capt.", "Esq.", "etc.", "Messrs."};
    if (count == 0 || strchr(".!?", text[count - 1]) == NULL || text[count - 1] == '\0')
        return false;
    if (text[count - 1] != '.') return true;
    size_t word = count;
    while (word > 0 && text[word - 1] != ' ') word--;
    for (size_t i = 0; i < sizeof abbreviations / sizeof abbreviations[0]; i++) {
        const size_t length = strlen(abbreviations[i]);
        if (length == count - word && memcmp(abbreviations[i], text + word, length) == 0)
            return false;
    }
    return count - word > 2; /* "J." is an initial */
}

/* Where the space or the end after the word at `start` is. */
static size_t word_end(const char *text, size_t count, size_t start)
{
    const char *space = memchr(text + start, ' ', count - start);
    return space != NULL ? (size_t)(space - text) : count;
}

static bool is_plain(const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char c = text[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && memchr(" ,;:.!?'-", c, 9) == NULL) return false;
    }
    return true;
}

/* The passage that begins at byte `start`, if there is one within the limits. */
static bool passage_at(Passage *passage, const char *text, size_t count, size_t start,
                       const PassageLimits *limits)
{
    size_t end = start, middle = 0;
    const int longest = limits->prompt_words + limits->longest_words;
    for (int words = 1; words <= longest && end < count; words++) {
        end = word_end(text, count, words == 1 ? start : end + 1);
        if (words == limits->prompt_words) middle = end;
        if (!prose_ends_sentence(text + start, end - start)) continue;
        *passage = (Passage){.start = (int)start, .middle = (int)middle, .end = (int)end};
        return words >= limits->prompt_words + limits->shortest_words &&
               end - middle <= limits->longest_bytes && is_plain(text + start, end - start);
    }
    return false;
}

/* Passages of one paragraph are counted and, where there is a list, written behind *count. */
static void paragraph_passages(Passage *list, int *count, const Texts *paragraphs, int index,
                               const PassageLimits *limits)
{
    size_t length;
    const char *text = texts_at(paragraphs, index, &length);
    size_t start = 0;
    while (start < length) {
        Passage passage;
        const bool begins = start == 0 || strchr(".!?,;:", text[start - 2]) != NULL;
        if (begins && passage_at(&passage, text, length, start, limits)) {
            passage.paragraph = index;
            if (list != NULL) list[*count] = passage;
            (*count)++;
            start = (size_t)passage.end + 1;
        } else {
            start = word_end(text, length, start) + 1;
        }
    }
}

Status prose_passages(Passage **list, int *count, const Texts *paragraphs,
                      const PassageLimits *limits)
{
    int found = 0;
    for (int i = 0; i < paragraphs->count; i++) {
        paragraph_passages(NULL, &found, paragraphs, i, limits);
    }
    void *memory;
    TRY(memory_claim(&memory, (size_t)found * sizeof **list));
    *list = memory;
    *count = 0;
    for (int i = 0; i < paragraphs->count; i++) {
        paragraph_passages(*list, count, paragraphs, i, limits);
    }
    return STATUS_OK;
}
