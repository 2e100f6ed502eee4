/* GPT-2's pre-tokenisation, alternative by alternative, in the order of the expression in
 * tokenizer.h. A byte that is no UTF-8 counts as punctuation of one byte. */
#include "data/tokenizer.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

typedef enum CharKind { CHAR_SPACE, CHAR_LETTER, CHAR_NUMBER, CHAR_OTHER } CharKind;

/* Unicode's White_Space property, which is what \s means to the tokenizers of the field. */
static bool is_white_space(utf8proc_int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Kind and length in bytes of the character that begins `text` (count > 0). */
static CharKind char_kind(size_t *length, const char *text, size_t count)
{
    utf8proc_int32_t c;
    const utf8proc_ssize_t used =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)count, &c);
    *length = used > 0 ? (size_t)used : 1;
    if (used <= 0) return CHAR_OTHER;
    if (is_white_space(c)) return CHAR_SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return CHAR_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CHAR_NUMBER;
    default:
        return CHAR_OTHER;
    }
}

/* 's|'t|'re|'ve|'m|'ll|'d: its length, 0 where there is none. */
static size_t contraction(const char *text, size_t count)
{
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t length = strlen(endings[i]);
        if (length <= count && memcmp(text, endings[i], length) == 0) return length;
    }
    return 0;
}

/* Where a run of characters of `kind` that begins at `start` ends; *last is where its last
 * character begins. */
static size_t run_end(size_t *last, const char *text, size_t count, size_t start, CharKind kind)
{
    size_t end = start;
    *last = start;
    while (end < count) {
        size_t length;
        if (char_kind(&length, text + end, count - end) != kind) break;
        *last = end;
        end += length;
    }
    return end;
}

size_t tokenizer_piece(const char *text, size_t count)
{
    if (count == 0) return 0;
    const size_t short_form = contraction(text, count);
    if (short_form > 0) return short_form;

    size_t length, last;
    const size_t start = text[0] == ' ' && count > 1 ? 1 : 0;
    const CharKind kind = char_kind(&length, text + start, count - start);
    if (kind != CHAR_SPACE) return run_end(&last, text, count, start, kind);

    /* \s+(?!\S)|\s+: the last space before a word belongs to the word, where there are more. */
    const size_t end = run_end(&last, text, count, 0, CHAR_SPACE);
    return end == count || last == 0 ? end : last;
}
