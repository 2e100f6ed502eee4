#include "data/path.h"

#include <stdio.h>

Status path_join(char path[PATH_TEXT], const char *folder, const char *name)
{
    const int length = snprintf(path, PATH_TEXT, "%s/%s", folder, name);
    if (length < PATH_TEXT) return STATUS_OK;
    return status_fail(STATUS_USAGE, "%.60s...: path is longer than %d bytes", folder,
                       PATH_TEXT - 1);
}
