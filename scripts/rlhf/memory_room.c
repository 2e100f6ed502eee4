#include "scripts/rlhf/memory_room.h"

#include "data/io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 1 << 16, FOLDER = 2048 };

/* Where one of the two kinds of cgroups keeps what. */
typedef struct Hierarchy {
    const char *line; /* before the path in /proc/self/cgroup */
    const char *mount, *limit, *usage;
} Hierarchy;

static const Hierarchy hierarchies[] = {
    {"0::", "/sys/fs/cgroup", "memory.max", "memory.current"},
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"},
};

static bool read_text(Bytes *text, const char *folder, const char *file)
{
    char path[FOLDER + 64];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return io_exists(path) && io_read(text, path, TEXT_MAX) == STATUS_OK;
}

/* The number behind `word` in the file; NaN where there is none ("max"). */
static double number_in(const char *folder, const char *file, const char *word)
{
    Bytes text = {0};
    double number = NAN;
    const char *at = read_text(&text, folder, file) ? strstr(text.data, word) : NULL;
    if (at != NULL) {
        const char *digits = at + strlen(word);
        char *end;
        number = strtod(digits, &end);
        if (end == digits) number = NAN;
    }
    bytes_free(&text);
    return number;
}

static double room_of_group(const char *folder, const Hierarchy *hierarchy)
{
    const double limit = number_in(folder, hierarchy->limit, "");
    const double usage = number_in(folder, hierarchy->usage, "");
    const double droppable = number_in(folder, "memory.stat", "inactive_file ");
    if (isnan(limit) || isnan(usage)) return INFINITY;
    return fmax(limit - usage + (isnan(droppable) ? 0 : droppable), 0);
}

/* Of the group at `path` and of all above it. A container may see its own group as the mount. */
static double room_of_hierarchy(const char *root, const Hierarchy *hierarchy, const char *path)
{
    char folder[FOLDER];
    double room = INFINITY;
    const size_t mount = strlen(root) + strlen(hierarchy->mount);
    snprintf(folder, sizeof folder, "%s%s%.*s", root, hierarchy->mount, (int)strcspn(path, "\n"),
             path);
    for (;;) {
        room = fmin(room, room_of_group(folder, hierarchy));
        char *last = strrchr(folder, '/');
        if (last == NULL || (size_t)(last - folder) < mount) return room;
        *last = '\0';
    }
}

double memory_room(const char *root)
{
    char folder[FOLDER];
    snprintf(folder, sizeof folder, "%s/proc", root);
    double room = 1024 * number_in(folder, "meminfo", "MemAvailable:");
    if (isnan(room)) room = INFINITY;
    Bytes text = {0};
    if (read_text(&text, folder, "self/cgroup")) {
        for (size_t h = 0; h < sizeof hierarchies / sizeof hierarchies[0]; h++) {
            const char *line = strstr(text.data, hierarchies[h].line);
            if (line == NULL) continue;
            const char *path = line + strlen(hierarchies[h].line);
            room = fmin(room, room_of_hierarchy(root, &hierarchies[h], path));
        }
    }
    bytes_free(&text);
    return room;
}
