/* keeper.h - a CA in a process of its own, started by `run` and started again when it ends.
 *
 *   run ──fork── keeper ──fork── CA
 *
 * The keeper touches no key; it waits, and starts the CA again when that was killed. Both end when
 * the aggregator does, however it does: their end of the socket then reads as closed.
 *
 * Layer: aggregator. Threads: before any other is started, and before a random byte was drawn.
 */
#ifndef SHOAL_AGGREGATOR_KEEPER_H
#define SHOAL_AGGREGATOR_KEEPER_H

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* *fd: the aggregator's end of a signer.h socket. Started as root, the CA becomes the user who owns
 * DIR/ca. That the CA cannot start shows in the first question to it; it says why on stderr. */
SHOAL_MUST_USE shoal_status shoal_keeper_start(const char *dir, int *fd, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
