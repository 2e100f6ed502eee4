/* Signals. SIGINT and SIGTERM ask for a stop; a second one leaves at once with 128 + its number.
 * SIGUSR1 asks for a checkpoint. SIGXFSZ and SIGPIPE are ignored: writes fail and say so.
 *
 * A process that is forked has its parent's handlers and what they noted until it installs its own:
 * a signal that comes in between must be held back, or it is forgotten. */
#ifndef SCRIPTS_RLHF_INTERRUPT_H
#define SCRIPTS_RLHF_INTERRUPT_H

#include <stdbool.h>

/* Nothing is asked for yet but by what was held back, which comes now. */
void interrupt_install(void);
/* Holds the three back, around a fork: in the parent until interrupt_release, in the child until
 * interrupt_install. */
void interrupt_hold(void);
void interrupt_release(void);
bool interrupt_stop(void);       /* a stop was asked for */
const char *interrupt_name(void); /* by which signal; NULL: none */
bool interrupt_checkpoint(void); /* a checkpoint was asked for; asking again needs a new signal */

/* Seconds, monotonic. */
double clock_seconds(void);

#endif
