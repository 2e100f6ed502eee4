/* Signals. SIGINT and SIGTERM ask for a stop; a second one leaves at once with 128 + its number.
 * SIGUSR1 asks for a checkpoint. SIGXFSZ and SIGPIPE are ignored: writes fail and say so. */
#ifndef SCRIPTS_RLHF_INTERRUPT_H
#define SCRIPTS_RLHF_INTERRUPT_H

#include <stdbool.h>

void interrupt_install(void);
bool interrupt_stop(void);       /* a stop was asked for */
const char *interrupt_name(void); /* by which signal; NULL: none */
bool interrupt_checkpoint(void); /* a checkpoint was asked for; asking again needs a new signal */

/* Seconds, monotonic. */
double clock_seconds(void);

#endif
