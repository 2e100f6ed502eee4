/* Text of models and strangers made fit for files that other programs read as UTF-8. */
#ifndef DATA_UTF8_H
#define DATA_UTF8_H

#include "data/memory.h"
#include "data/status.h"

#include <stddef.h>

/* Appends `text` as UTF-8 without NUL: a byte that is no part of a character becomes U+FFFD, NUL
 * U+2400. */
Status utf8_append(Bytes *out, const char *text, size_t count);

#endif
