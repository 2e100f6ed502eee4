#include "data/status.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_SIZE = STATUS_TEXT };

static _Thread_local char message[MESSAGE_SIZE];

/* The text goes to terminals and may quote a stranger's file: nothing in it is acted on. */
static void disarm(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        const bool upper = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0; /* U+0080 to U+009F */
        if (*c < 0x20 || *c == 0x7f || upper) *c = '?';
        if (upper) *++c = '?';
    }
}

Status status_fail_list(Status code, const char *format, va_list values)
{
    assert(code != STATUS_OK);
    vsnprintf(message, sizeof message, format, values);
    disarm(message);
    return code;
}

Status status_fail(Status code, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    const Status status = status_fail_list(code, format, values);
    va_end(values);
    return status;
}

Status status_context(Status status, const char *format, ...)
{
    if (status == STATUS_OK) return STATUS_OK;

    char inner[MESSAGE_SIZE];
    memcpy(inner, message, sizeof inner);

    va_list values;
    va_start(values, format);
    const int length = vsnprintf(message, sizeof message, format, values);
    va_end(values);

    disarm(message);
    const size_t used = length < MESSAGE_SIZE ? (size_t)length : MESSAGE_SIZE - 1;
    snprintf(message + used, sizeof message - used, ": %s", inner);
    return status;
}

const char *status_message(void)
{
    return message;
}

void status_keep(char text[STATUS_TEXT])
{
    memcpy(text, message, sizeof message);
}

void status_restore(const char text[STATUS_TEXT])
{
    memcpy(message, text, sizeof message);
}
