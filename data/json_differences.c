#include "data/json.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_MAX = 28 }; /* bytes of a value that are worth reading */

typedef struct Difference {
    Bytes *out;
    Bytes before, now; /* the values being compared, as text */
} Difference;

/* As JSON on one line; absent: nothing. */
static Status value_text(Bytes *text, Json value)
{
    bytes_clear(text);
    TRY(bytes_text(text, ""));
    if (value.item == NULL) return STATUS_OK;
    JsonWriter writer = json_writer(text, 0);
    json_put_value(&writer, NULL, value);
    return json_done(&writer);
}

static Status add(Difference *difference, const char *name, Json before, Json now)
{
    Bytes *const a = &difference->before, *const b = &difference->now;
    TRY(value_text(a, before));
    TRY(value_text(b, now));
    if (a->count == b->count && memcmp(a->data, b->data, a->count) == 0) return STATUS_OK;
    const char *comma = difference->out->count > 0 ? ", " : "";
    if (a->count > SHOWN_MAX || b->count > SHOWN_MAX) {
        return bytes_print(difference->out, "%s%s", comma, name);
    }
    return bytes_print(difference->out, "%s%s: %s -> %s", comma, name,
                       a->count > 0 ? a->data : "none", b->count > 0 ? b->data : "none");
}

static bool is_object(Json value)
{
    return value.item != NULL && json_kind(value) == JSON_OBJECT;
}

/* The members of `now` against those of `before`; with `only_absent` just those that it lacks. */
static Status compare(Difference *difference, const char *prefix, Json before, Json now,
                      bool only_absent)
{
    for (Json member = json_first(now); member.item != NULL; member = json_next(member)) {
        char name[160];
        const Json other = json_find(before, json_key(member));
        snprintf(name, sizeof name, "%.60s%s%.90s", prefix, *prefix != '\0' ? "." : "",
                 json_key(member));
        if (is_object(member) && is_object(other)) {
            TRY(compare(difference, name, other, member, only_absent));
        } else if (only_absent && other.item == NULL) {
            TRY(add(difference, name, member, other));
        } else if (!only_absent) {
            TRY(add(difference, name, other, member));
        }
    }
    return STATUS_OK;
}

Status json_differences(Bytes *out, Json before, Json now)
{
    Difference difference = {.out = out};
    Status status = compare(&difference, "", before, now, false);
    if (status == STATUS_OK) status = compare(&difference, "", now, before, true);
    bytes_free(&difference.before);
    bytes_free(&difference.now);
    return status;
}
