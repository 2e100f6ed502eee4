#include "scripts/rlhf/presets.h"

#include "data/config.h"

#include <string.h>

const Preset *preset_find(const char *name)
{
    for (int i = 0; i < preset_count; i++) {
        if (strcmp(presets[i].name, name) == 0) return &presets[i];
    }
    return NULL;
}

Status preset_unknown(const char *name)
{
    const char *names[16];
    for (int i = 0; i < preset_count && i < 16; i++) names[i] = presets[i].name;
    const char *near = config_nearest(name, names, (size_t)preset_count);
    if (near != NULL) {
        return status_fail(STATUS_USAGE, "%s: no such preset or file; did you mean %s?", name,
                           near);
    }
    return status_fail(STATUS_USAGE,
                       "%s: no such preset or file; presets: quickstart, "
                       "overoptimise, sentiment, tiny",
                       name);
}
