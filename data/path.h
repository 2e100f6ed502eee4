/* Paths of a bounded length, so that none is ever cut short in silence. */
#ifndef DATA_PATH_H
#define DATA_PATH_H

#include "data/status.h"

enum { PATH_TEXT = 512 }; /* bytes, with the NUL */

/* folder/name; STATUS_USAGE where it does not fit. `path` may not be `folder`. */
Status path_join(char path[PATH_TEXT], const char *folder, const char *name);

#endif
