#include "data/config.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 128 }; /* "section.field" */

/* A value on its way into a field, from a file or from --set. */
typedef struct Value {
    JsonKind kind;
    double number;
    bool whole; /* the number is an integer, and exact */
    bool flag;
    const char *text;
} Value;

/* A field and where it lies. */
typedef struct Slot {
    const ConfigField *field;
    size_t offset; /* in the whole settings */
    char path[NAME_SIZE];
} Slot;

/* The best so far in a search for what the user meant. */
typedef struct Nearest {
    const char *wrong;
    int distance; /* largest that still counts */
    char name[NAME_SIZE];
} Nearest;

static void path_of(char path[NAME_SIZE], const char *section, const char *name)
{
    const char *dot = *section != '\0' ? "." : "";
    const int length = snprintf(path, NAME_SIZE, "%s%s%s", section, dot, name);
    assert(length < NAME_SIZE);
}

static void store(void *place, const ConfigField *field, const Value *value)
{
    switch (field->type) {
    case CONFIG_INTEGER:
        *(int64_t *)place = (int64_t)value->number;
        break;
    case CONFIG_REAL:
        *(double *)place = value->number;
        break;
    case CONFIG_FLAG:
        *(bool *)place = value->flag;
        break;
    case CONFIG_CHOICE:
    case CONFIG_STRING:
        /* zeros behind the text, so that equal settings are equal bytes */
        memset(place, 0, CONFIG_TEXT);
        memcpy(place, value->text, strlen(value->text));
        break;
    }
}

void config_defaults(const ConfigTable *table, void *settings)
{
    for (size_t s = 0; s < table->count; s++) {
        const ConfigSection *section = &table->sections[s];
        for (size_t f = 0; f < section->count; f++) {
            const ConfigField *field = &section->fields[f];
            assert(field->text == NULL || strlen(field->text) < CONFIG_TEXT);
            const Value value = {
                .number = field->initial, .flag = field->initial != 0, .text = field->text};
            store((char *)settings + section->offset + field->offset, field, &value);
        }
    }
}

static bool is_section(const ConfigTable *table, const char *name)
{
    for (size_t s = 0; s < table->count; s++) {
        if (*name != '\0' && strcmp(table->sections[s].name, name) == 0) return true;
    }
    return false;
}

static bool find_slot(Slot *slot, const ConfigTable *table, const char *section, const char *name)
{
    for (size_t s = 0; s < table->count; s++) {
        const ConfigSection *candidate = &table->sections[s];
        if (strcmp(candidate->name, section) != 0) continue;
        for (size_t f = 0; f < candidate->count; f++) {
            if (strcmp(candidate->fields[f].name, name) != 0) continue;
            slot->field = &candidate->fields[f];
            slot->offset = candidate->offset + slot->field->offset;
            path_of(slot->path, section, name);
            return true;
        }
    }
    return false;
}

/* Letters to insert, delete, replace or swap with their neighbour (optimal string alignment). */
static int edit_distance(const char *a, const char *b)
{
    const size_t m = strlen(a), n = strlen(b);
    if (m >= NAME_SIZE || n >= NAME_SIZE) return NAME_SIZE;

    int rows[3][NAME_SIZE];
    int *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n; j++) above[j] = (int)j;
    for (size_t i = 1; i <= m; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            row[j] = best;
        }
        int *const oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[n];
}

static Nearest nearest_start(const char *wrong)
{
    return (Nearest){.wrong = wrong, .distance = 1 + (int)(strlen(wrong) / 4)};
}

/* True where `name` is nearer than all before it. */
static bool nearest_take(Nearest *nearest, const char *name)
{
    const int distance = edit_distance(nearest->wrong, name);
    if (distance > nearest->distance) return false;
    nearest->distance = distance - 1;
    snprintf(nearest->name, NAME_SIZE, "%s", name);
    return true;
}

const char *config_nearest(const char *wrong, const char *const *names, size_t count)
{
    Nearest nearest = nearest_start(wrong);
    const char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (nearest_take(&nearest, names[i])) found = names[i];
    }
    return found;
}

/* Like `wrong` among all settings and sections; else the setting of that name elsewhere. */
static void nearest_setting(Nearest *nearest, const ConfigTable *table, const char *wrong)
{
    *nearest = nearest_start(wrong);
    const char *dot = strrchr(wrong, '.');
    const char *last = dot != NULL ? dot + 1 : wrong;
    char path[NAME_SIZE], elsewhere[NAME_SIZE] = "";
    for (size_t s = 0; s < table->count; s++) {
        const ConfigSection *section = &table->sections[s];
        if (dot == NULL) nearest_take(nearest, section->name);
        for (size_t f = 0; f < section->count; f++) {
            path_of(path, section->name, section->fields[f].name);
            nearest_take(nearest, path);
            if (strcmp(section->fields[f].name, last) == 0) memcpy(elsewhere, path, NAME_SIZE);
        }
    }
    if (*nearest->name == '\0') memcpy(nearest->name, elsewhere, NAME_SIZE);
}

static Status fail_unknown(const ConfigTable *table, const char *path)
{
    if (is_section(table, path)) {
        return status_fail(STATUS_SETTINGS, "%s: is a section, not a setting", path);
    }
    Nearest nearest;
    nearest_setting(&nearest, table, path);
    const bool found = *nearest.name != '\0';
    return status_fail(STATUS_SETTINGS, "%.*s: no such setting%s%s%s", NAME_SIZE, path,
                       found ? "; did you mean " : "", nearest.name, found ? "?" : "");
}

static Status fail_type(const char *path, const char *expected, const Value *value)
{
    static const char *const kinds[] = {[JSON_NULL] = "null",
                                        [JSON_TEXT] = "text",
                                        [JSON_ARRAY] = "an array",
                                        [JSON_OBJECT] = "an object"};
    char number[32];
    json_number_text(number, value->number);
    const char *found = value->kind == JSON_NUMBER ? number
                        : value->kind == JSON_BOOL ? (value->flag ? "true" : "false")
                                                   : kinds[value->kind];
    return status_fail(STATUS_SETTINGS, "%s: expected %s, found %s", path, expected, found);
}

static Status check_range(const Slot *slot, double number)
{
    const ConfigField *field = slot->field;
    if (number >= field->minimum && number <= field->maximum) return STATUS_OK;
    char given[32], low[32], high[32];
    json_number_text(given, number);
    json_number_text(low, field->minimum);
    json_number_text(high, field->maximum);
    return status_fail(STATUS_SETTINGS, "%s = %s: must be in [%s, %s]", slot->path, given, low,
                       high);
}

static Status check_choice(const Slot *slot, const char *text)
{
    const char *choice = slot->field->choices;
    while (choice != NULL) {
        const size_t length = strcspn(choice, "|");
        if (strlen(text) == length && memcmp(choice, text, length) == 0) return STATUS_OK;
        choice = choice[length] == '|' ? choice + length + 1 : NULL;
    }
    return status_fail(STATUS_SETTINGS, "%s = %.*s: must be one of %s", slot->path, NAME_SIZE, text,
                       slot->field->choices);
}

/* What --set gives must be the same when it is read from config.json. */
static Status check_string(const Slot *slot, const char *text)
{
    if (strlen(text) >= CONFIG_TEXT) {
        return status_fail(STATUS_SETTINGS, "%s: longer than %d bytes", slot->path,
                           CONFIG_TEXT - 1);
    }
    if (json_is_plain(text)) return STATUS_OK;
    return status_fail(STATUS_SETTINGS, "%s: not UTF-8, or with control characters", slot->path);
}

static Status check_value(const Slot *slot, const Value *value)
{
    switch (slot->field->type) {
    case CONFIG_INTEGER:
        if (value->kind == JSON_NUMBER && value->whole) return check_range(slot, value->number);
        return fail_type(slot->path, "an integer", value);
    case CONFIG_REAL:
        if (value->kind == JSON_NUMBER) return check_range(slot, value->number);
        return fail_type(slot->path, "a number", value);
    case CONFIG_FLAG:
        return value->kind == JSON_BOOL ? STATUS_OK : fail_type(slot->path, "true or false", value);
    case CONFIG_CHOICE:
        if (value->kind == JSON_TEXT) return check_choice(slot, value->text);
        return fail_type(slot->path, "text", value);
    case CONFIG_STRING:
        if (value->kind != JSON_TEXT) return fail_type(slot->path, "text", value);
        return check_string(slot, value->text);
    }
    return STATUS_OK;
}

static Value value_of(Json json)
{
    Value value = {.kind = json_kind(json)};
    int64_t integer;
    if (value.kind == JSON_NUMBER) {
        (void)json_number(&value.number, json);
        value.whole = json_integer(&integer, json) == STATUS_OK;
    }
    if (value.kind == JSON_BOOL) (void)json_bool(&value.flag, json);
    if (value.kind == JSON_TEXT) (void)json_text(&value.text, json);
    return value;
}

/* One member that is a setting; `settings` NULL: only checks. */
static Status apply_field(const ConfigTable *table, void *settings, const char *section,
                          Json member)
{
    Slot slot;
    if (!find_slot(&slot, table, section, json_key(member))) {
        Bytes path = {0};
        Status status =
            bytes_print(&path, "%s%s%s", section, *section != '\0' ? "." : "", json_key(member));
        if (status == STATUS_OK) status = fail_unknown(table, path.data);
        bytes_free(&path);
        return json_context(status, member);
    }
    const Value value = value_of(member);
    TRY(json_context(check_value(&slot, &value), member));
    if (settings != NULL) store((char *)settings + slot.offset, slot.field, &value);
    return STATUS_OK;
}

static Status apply_section(const ConfigTable *table, void *settings, Json section)
{
    if (json_kind(section) != JSON_OBJECT) {
        const Value value = value_of(section);
        return json_context(fail_type(json_key(section), "an object", &value), section);
    }
    for (Json member = json_first(section); member.item != NULL; member = json_next(member)) {
        TRY(apply_field(table, settings, json_key(section), member));
    }
    return STATUS_OK;
}

static Status apply_object(const ConfigTable *table, void *settings, Json object)
{
    for (Json member = json_first(object); member.item != NULL; member = json_next(member)) {
        const char *key = json_key(member);
        if (strcmp(key, "$schema") == 0) continue; /* for editors */
        TRY(is_section(table, key) ? apply_section(table, settings, member)
                                   : apply_field(table, settings, "", member));
    }
    return STATUS_OK;
}

Status config_apply(const ConfigTable *table, void *settings, Json object)
{
    if (json_kind(object) != JSON_OBJECT)
        return json_fail(object, "expected an object of settings");
    TRY(apply_object(table, NULL, object));
    return apply_object(table, settings, object);
}

/* Numbers and flags are read as JSON; what is not JSON is text, and so refused with its name. */
static Status assign(const Slot *slot, void *settings, const char *text)
{
    Value value = {.kind = JSON_TEXT, .text = text};
    JsonDocument *document = NULL;
    if (slot->field->type != CONFIG_CHOICE && slot->field->type != CONFIG_STRING) {
        const Status status = json_parse(&document, STATUS_SETTINGS, "--set", text, strlen(text));
        if (status == STATUS_FAILED) return status;
        if (document != NULL) value = value_of(json_root(document));
    }
    const Status status = check_value(slot, &value);
    if (status == STATUS_OK) store((char *)settings + slot->offset, slot->field, &value);
    json_free(document);
    return status;
}

Status config_set(const ConfigTable *table, void *settings, const char *assignment)
{
    char path[2 * NAME_SIZE];
    const size_t length = strcspn(assignment, "=");
    if (assignment[length] == '\0' || length == 0) {
        return status_fail(STATUS_USAGE, "--set: expected NAME=VALUE, found %s", assignment);
    }
    snprintf(path, sizeof path, "%.*s", (int)(length < sizeof path ? length : sizeof path - 1),
             assignment);

    char section[2 * NAME_SIZE] = "";
    const char *dot = strchr(path, '.');
    if (dot != NULL) memcpy(section, path, (size_t)(dot - path));
    Slot slot;
    const bool found = find_slot(&slot, table, section, dot != NULL ? dot + 1 : path);
    const Status status =
        found ? assign(&slot, settings, assignment + length + 1) : fail_unknown(table, path);
    return status_context(status, "--set");
}
