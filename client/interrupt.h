/* interrupt.h - Ctrl-C and SIGTERM as a question a loop can ask.
 *
 * Layer: client. Threads: the flag may be read anywhere; install on the main thread.
 */
#ifndef SHOAL_CLIENT_INTERRUPT_H
#define SHOAL_CLIENT_INTERRUPT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* From now on SIGINT and SIGTERM set a flag instead of ending the program; SIGPIPE is ignored. A
 * second SIGINT while the flag is still set ends the program at once. Reads and sleeps in progress
 * return early (no SA_RESTART). */
void shoal_interrupt_install(void);

bool shoal_interrupted(void);
/* Forgets the signal, e.g. after an answer was stopped. */
void shoal_interrupt_clear(void);

#ifdef __cplusplus
}
#endif
#endif
