#include "data/config.h"

#include <stdio.h>
#include <string.h>

static const void *place_of(const void *settings, const ConfigSection *section,
                            const ConfigField *field)
{
    return (const char *)settings + section->offset + field->offset;
}

static bool is_named(const char *name, const char *const *only)
{
    if (only == NULL) return true;
    while (*only != NULL && strcmp(*only, name) != 0) only++;
    return *only != NULL;
}

static void put_field(JsonWriter *writer, const ConfigField *field, const void *place)
{
    switch (field->type) {
    case CONFIG_INTEGER:
        json_put_integer(writer, field->name, *(const int64_t *)place);
        break;
    case CONFIG_REAL:
        json_put_number(writer, field->name, *(const double *)place);
        break;
    case CONFIG_FLAG:
        json_put_bool(writer, field->name, *(const bool *)place);
        break;
    case CONFIG_CHOICE:
    case CONFIG_STRING:
        json_put_text(writer, field->name, place);
        break;
    }
}

Status config_write(Bytes *out, const ConfigTable *table, const void *settings,
                    const char *const *only)
{
    JsonWriter writer = json_writer(out, 2);
    json_open(&writer, NULL, '{');
    for (size_t s = 0; s < table->count; s++) {
        const ConfigSection *section = &table->sections[s];
        if (!is_named(section->name, only)) continue;
        const bool nested = *section->name != '\0';
        if (nested) json_open(&writer, section->name, '{');
        for (size_t f = 0; f < section->count; f++) {
            const ConfigField *field = &section->fields[f];
            const void *place = place_of(settings, section, field);
            if (!field->quiet || *(const char *)place != '\0') put_field(&writer, field, place);
        }
        if (nested) json_close(&writer);
    }
    json_close(&writer);
    return json_done(&writer);
}

static void put_choices(JsonWriter *writer, const char *choices)
{
    json_open(writer, "enum", '[');
    while (*choices != '\0') {
        const size_t length = strcspn(choices, "|");
        json_put_bytes(writer, NULL, choices, length);
        choices += length + (choices[length] == '|');
    }
    json_close(writer);
}

static void put_field_schema(JsonWriter *writer, const ConfigField *field)
{
    static const char *const types[] = {[CONFIG_INTEGER] = "integer",
                                        [CONFIG_REAL] = "number",
                                        [CONFIG_FLAG] = "boolean",
                                        [CONFIG_CHOICE] = "string",
                                        [CONFIG_STRING] = "string"};
    json_open(writer, field->name, '{');
    json_put_text(writer, "type", types[field->type]);
    json_put_text(writer, "description", field->help);
    if (field->type == CONFIG_INTEGER || field->type == CONFIG_REAL) {
        json_put_number(writer, "default", field->initial);
        json_put_number(writer, "minimum", field->minimum);
        json_put_number(writer, "maximum", field->maximum);
    } else if (field->type == CONFIG_FLAG) {
        json_put_bool(writer, "default", field->initial != 0);
    } else {
        json_put_text(writer, "default", field->text);
        if (field->type == CONFIG_CHOICE) put_choices(writer, field->choices);
        if (field->type == CONFIG_STRING) json_put_integer(writer, "maxLength", CONFIG_TEXT - 1);
    }
    json_close(writer);
}

static void put_section_schema(JsonWriter *writer, const ConfigSection *section)
{
    const bool nested = *section->name != '\0';
    if (nested) {
        json_open(writer, section->name, '{');
        json_put_text(writer, "type", "object");
        json_put_text(writer, "description", section->help);
        json_put_bool(writer, "additionalProperties", false);
        json_open(writer, "properties", '{');
    }
    for (size_t f = 0; f < section->count; f++) put_field_schema(writer, &section->fields[f]);
    if (nested) {
        json_close(writer);
        json_close(writer);
    }
}

Status config_schema(Bytes *out, const ConfigTable *table)
{
    JsonWriter writer = json_writer(out, 2);
    json_open(&writer, NULL, '{');
    json_put_text(&writer, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_put_text(&writer, "title", "settings of rlhf");
    json_put_text(&writer, "type", "object");
    json_put_bool(&writer, "additionalProperties", false);
    json_open(&writer, "properties", '{');
    json_open(&writer, "$schema", '{');
    json_put_text(&writer, "type", "string");
    json_close(&writer);
    for (size_t s = 0; s < table->count; s++) put_section_schema(&writer, &table->sections[s]);
    json_close(&writer);
    json_close(&writer);
    return json_done(&writer);
}

/* A value as people write it; `room` holds a number. */
static const char *value_text(char room[32], const ConfigField *field, const void *place)
{
    switch (field->type) {
    case CONFIG_INTEGER:
        json_number_text(room, (double)*(const int64_t *)place);
        return room;
    case CONFIG_REAL:
        json_number_text(room, *(const double *)place);
        return room;
    case CONFIG_FLAG:
        return *(const bool *)place ? "true" : "false";
    case CONFIG_CHOICE:
    case CONFIG_STRING:
        return *(const char *)place != '\0' ? place : "\"\"";
    }
    return "";
}

Status config_diff(Bytes *out, int *differences, const ConfigTable *table, const void *a,
                   const void *b)
{
    *differences = 0;
    for (size_t s = 0; s < table->count; s++) {
        const ConfigSection *section = &table->sections[s];
        for (size_t f = 0; f < section->count; f++) {
            const ConfigField *field = &section->fields[f];
            char room_a[32], room_b[32];
            const char *text_a = value_text(room_a, field, place_of(a, section, field));
            const char *text_b = value_text(room_b, field, place_of(b, section, field));
            if (strcmp(text_a, text_b) == 0) continue;
            ++*differences;
            TRY(bytes_print(out, "%s%s%s: %s -> %s\n", section->name,
                            *section->name != '\0' ? "." : "", field->name, text_a, text_b));
        }
    }
    return STATUS_OK;
}

/* "integer in [1, 64]", "a|b", "true|false", "text". */
static void domain_text(char domain[CONFIG_TEXT], const ConfigField *field)
{
    char low[32], high[32];
    json_number_text(low, field->minimum);
    json_number_text(high, field->maximum);
    if (field->type == CONFIG_INTEGER || field->type == CONFIG_REAL) {
        snprintf(domain, CONFIG_TEXT, "%s in [%s, %s]",
                 field->type == CONFIG_INTEGER ? "integer" : "number", low, high);
    } else if (field->type == CONFIG_FLAG) {
        snprintf(domain, CONFIG_TEXT, "true|false");
    } else {
        snprintf(domain, CONFIG_TEXT, "%s", field->type == CONFIG_CHOICE ? field->choices : "text");
    }
}

static const char *default_text(char room[32], const ConfigField *field)
{
    if (field->type == CONFIG_FLAG) return field->initial != 0 ? "true" : "false";
    if (field->text != NULL) return *field->text != '\0' ? field->text : "\"\"";
    json_number_text(room, field->initial);
    return room;
}

static void widen(int *width, const char *text)
{
    const int length = (int)strlen(text);
    if (length > *width) *width = length;
}

static Status help_section(Bytes *out, const ConfigSection *section)
{
    char domain[CONFIG_TEXT], room[32];
    int names = 0, domains = 0, defaults = 0;
    for (size_t f = 0; f < section->count; f++) {
        domain_text(domain, &section->fields[f]);
        widen(&names, section->fields[f].name);
        widen(&domains, domain);
        widen(&defaults, default_text(room, &section->fields[f]));
    }
    const char *dot = *section->name != '\0' ? "." : "";
    for (size_t f = 0; f < section->count; f++) {
        const ConfigField *field = &section->fields[f];
        domain_text(domain, field);
        TRY(bytes_print(out, "  %s%s%-*s  %-*s  %-*s  %s\n", section->name, dot, names, field->name,
                        domains, domain, defaults, default_text(room, field), field->help));
    }
    return STATUS_OK;
}

Status config_help(Bytes *out, const ConfigTable *table, const char *section)
{
    for (size_t s = 0; s < table->count; s++) {
        if (strcmp(table->sections[s].name, section) == 0) {
            return help_section(out, &table->sections[s]);
        }
    }
    return status_fail(STATUS_USAGE, "%s: no such section of settings", section);
}
