/* Presets: the JSON files of scripts/presets, built into the binary, so that `rlhf run quickstart`
 * works from any folder. */
#ifndef SCRIPTS_RLHF_PRESETS_H
#define SCRIPTS_RLHF_PRESETS_H

#include "data/status.h"

typedef struct Preset {
    const char *name;
    const char *text; /* JSON */
} Preset;

extern const Preset presets[]; /* preset_texts.c, made by CMake */
extern const int preset_count;

const Preset *preset_find(const char *name); /* NULL: none */
/* STATUS_USAGE with the nearest name. */
Status preset_unknown(const char *name);

#endif
