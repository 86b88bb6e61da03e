/* interrupt.h - Ctrl-C and SIGTERM as a question a loop can ask.
 *
 * Layer: client. Threads: the flag may be read anywhere; install on the main thread.
 */
#ifndef SHOAL_CLIENT_INTERRUPT_H
#define SHOAL_CLIENT_INTERRUPT_H

#include <stdatomic.h>
#include <stdbool.h>

/* No C++ here: <stdatomic.h> is C. */

/* From now on SIGINT and SIGTERM set a flag instead of ending the program; SIGPIPE and SIGXFSZ are
 * ignored, so that a closed pipe and a file size limit are failed writes. A second SIGINT while the
 * flag is still set ends the program at once. Reads and sleeps in progress return early (no
 * SA_RESTART). */
void shoal_interrupt_install(void);

bool shoal_interrupted(void);
/* The flag itself, for loops that take one to watch. */
const atomic_bool *shoal_interrupt_flag(void);
/* Forgets the signal, e.g. after an answer was stopped. */
void shoal_interrupt_clear(void);

#endif
