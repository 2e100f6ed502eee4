/* Settings described once, in tables: name, type, default, range, one line of help. JSON files,
 * --set, help, the resolved config.json and the JSON Schema all come from them.
 *
 * A section is a struct of settings and the table of its fields; the program's sections are
 * gathered in scripts/rlhf/settings.c. Nothing has been changed when a call here fails. */
#ifndef DATA_CONFIG_H
#define DATA_CONFIG_H

#include "data/json.h"
#include "data/memory.h"
#include "data/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum ConfigType {
    CONFIG_INTEGER, /* int64_t in the struct; range in minimum and maximum */
    CONFIG_REAL,    /* double */
    CONFIG_FLAG,    /* bool */
    CONFIG_CHOICE,  /* char[CONFIG_TEXT], one of `choices` ("a|b|c") */
    CONFIG_STRING,  /* char[CONFIG_TEXT], any text that fits */
} ConfigType;

enum { CONFIG_TEXT = 256 };

typedef struct ConfigField {
    const char *name;
    ConfigType type;
    size_t offset; /* in the section's struct */
    double initial, minimum, maximum;
    const char *text;    /* default of a choice or string */
    const char *choices; /* "fixed|adaptive" */
    const char *help;    /* one line: what it does, with its unit */
    bool quiet;          /* text: written only where it is not empty */
} ConfigField;

typedef struct ConfigSection {
    const char *name; /* "" : top level */
    const ConfigField *fields;
    size_t count;
    size_t offset;    /* of the section's struct in the whole */
    const char *help; /* one line */
} ConfigSection;

/* Table rows: FIELD_REAL(PpoConfig, clip_range, 0.2, 0, 1, "how far ..."). */
#define FIELD_INTEGER(type_, name_, initial_, minimum_, maximum_, help_)                           \
    {.name = #name_, .type = CONFIG_INTEGER, .offset = offsetof(type_, name_),                     \
     .initial = (initial_), .minimum = (minimum_), .maximum = (maximum_), .help = (help_)}
#define FIELD_REAL(type_, name_, initial_, minimum_, maximum_, help_)                              \
    {.name = #name_, .type = CONFIG_REAL, .offset = offsetof(type_, name_), .initial = (initial_), \
     .minimum = (minimum_), .maximum = (maximum_), .help = (help_)}
#define FIELD_FLAG(type_, name_, initial_, help_)                                                  \
    {.name = #name_, .type = CONFIG_FLAG, .offset = offsetof(type_, name_),                        \
     .initial = (initial_), .maximum = 1, .help = (help_)}
#define FIELD_CHOICE(type_, name_, initial_, choices_, help_)                                      \
    {.name = #name_, .type = CONFIG_CHOICE, .offset = offsetof(type_, name_), .text = (initial_),  \
     .choices = (choices_), .help = (help_)}
#define FIELD_STRING(type_, name_, initial_, help_)                                                \
    {.name = #name_, .type = CONFIG_STRING, .offset = offsetof(type_, name_), .text = (initial_),  \
     .help = (help_)}

typedef struct ConfigTable {
    const ConfigSection *sections;
    size_t count;
} ConfigTable;

/* Every field gets its default. `settings` is the whole struct the section offsets refer to. */
void config_defaults(const ConfigTable *table, void *settings);

/* Applies a JSON object on top of what is there. Unknown or repeated key, wrong type, value out of
 * range: STATUS_SETTINGS, "a.json:4:7: ppo.clip_rnage: no such setting; did you mean
 * ppo.clip_range?". */
Status config_apply(const ConfigTable *table, void *settings, Json object);

/* One --set: "ppo.clip_range=0.1". */
Status config_set(const ConfigTable *table, void *settings, const char *assignment);

/* Writes every setting, resolved, as a JSON object; only the named sections where `only` is not
 * NULL (a NULL-ended list; "" is the top level). The same settings always give the same bytes. */
Status config_write(Bytes *out, const ConfigTable *table, const void *settings,
                    const char *const *only);

/* The JSON Schema (draft 2020-12) of the table. */
Status config_schema(Bytes *out, const ConfigTable *table);

/* Appends one line a field that differs, "ppo.clip_range: 0.2 -> 0.1"; *differences counts them. */
Status config_diff(Bytes *out, int *differences, const ConfigTable *table, const void *a,
                   const void *b);

/* Help: a line a field of one section (name, type or range, default, help). STATUS_USAGE where
 * there is no such section. */
Status config_help(Bytes *out, const ConfigTable *table, const char *section);

/* The nearest of `count` names to `wrong` by edit distance; NULL where none is near. */
const char *config_nearest(const char *wrong, const char *const *names, size_t count);

#endif
