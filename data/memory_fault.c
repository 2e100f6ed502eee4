#include "data/memory_fault.h"

#include "data/memory.h"

#include <stdlib.h>
#include <string.h>

static long fault_countdown; /* 0: no fault planned */
static int fault_persistent;
static bool environment_asked;

/* RLHF_MEMORY_FAULT=N[:persist]; what cannot be read makes every allocation fail. */
static void ask_environment(void)
{
    environment_asked = true;
    const char *text = getenv("RLHF_MEMORY_FAULT");
    if (text == NULL) return;
    char *end;
    fault_countdown = strtol(text, &end, 10);
    fault_persistent = strcmp(end, ":persist") == 0;
    if (fault_countdown >= 1 && (*end == '\0' || fault_persistent)) return;
    fault_countdown = fault_persistent = 1;
}

void memory_fault(long call, int persistent)
{
    environment_asked = true;
    fault_countdown = call;
    fault_persistent = persistent;
}

bool memory_strikes(void)
{
    if (!environment_asked) ask_environment();
    if (fault_countdown == 0) return false;
    if (fault_countdown > 1) {
        fault_countdown--;
        return false;
    }
    if (!fault_persistent) fault_countdown = 0;
    return true;
}
