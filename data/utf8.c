#include "data/utf8.h"

#include <utf8proc.h>

Status utf8_append(Bytes *out, const char *text, size_t count)
{
    size_t at = 0;
    while (at < count) {
        utf8proc_int32_t character;
        const utf8proc_ssize_t size = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                       (utf8proc_ssize_t)(count - at), &character);
        if (size <= 0) {
            TRY(bytes_text(out, "\xEF\xBF\xBD")); /* U+FFFD, the replacement character */
        } else if (character == 0) {
            TRY(bytes_text(out, "\xE2\x90\x80")); /* U+2400, the symbol for NUL */
        } else {
            TRY(bytes_append(out, text + at, (size_t)size));
        }
        at += size > 0 ? (size_t)size : 1;
    }
    return STATUS_OK;
}
