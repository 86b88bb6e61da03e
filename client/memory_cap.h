/* memory_cap.h - --max-ram: sessions of a process whose resident memory has a bound.
 *
 * The bound holds for everything the program has in memory: itself and its libraries, the
 * vocabulary, the session, and as much of the weights as is left room for (lora/model/residency.h).
 * It is planned before anything is allocated.
 *
 * Layer: client. Threads: an engine has one user at a time.
 */
#ifndef SHOAL_CLIENT_MEMORY_CAP_H
#define SHOAL_CLIENT_MEMORY_CAP_H

#include "client/engine.h"
#include "lora/infer/session.h"

/* Opens a session of e's model. Without a bound that is all. With one, what `opts` leaves open
 * (context, chunk, rows of logits) is chosen so that it fits, the weights' budget becomes what is
 * left, and TOO_LARGE names the smallest bound that works. One session at a time then. */
SHOAL_MUST_USE shoal_status shoal_engine_open_session(const shoal_engine *e,
                                                      const shoal_session_opts *opts,
                                                      shoal_session **out, shoal_error *err);

#endif
