/* lane.h - one computation at a time beside the loop, in the order they were asked for; pieces of
 * bulk data behind the rest.
 *
 * Checking messages, adding vectors and expanding masks take milliseconds to seconds: too long for
 * the loop, and all of them share one thread pool. A job's `work` runs on a worker thread, its
 * `done` on the loop's thread before the next job starts; so inside `done`, and whenever the
 * running job belongs to somebody else, an owner's state may be read from the loop.
 *
 * Layer: aggregator. Threads: calls from the loop's thread.
 */
#ifndef SHOAL_AGGREGATOR_LANE_H
#define SHOAL_AGGREGATOR_LANE_H

#include <stdbool.h>

#include "proto/net/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_LANE_TURNS = 8 }; /* other jobs that may go before a piece of bulk data */

typedef struct shoal_lane shoal_lane;

SHOAL_MUST_USE shoal_status shoal_lane_open(shoal_lane **out, shoal_loop *loop, shoal_error *err);
/* The lane must be empty: run the loop until shoal_lane_busy(NULL) is false. */
void shoal_lane_close(shoal_lane *lane);

/* `owner` only labels the job. On failure nothing was queued. */
SHOAL_MUST_USE shoal_status shoal_lane_push(shoal_lane *lane, const void *owner,
                                            shoal_loop_fn *work, shoal_loop_fn *done, void *ctx,
                                            shoal_error *err);

/* The same for a piece of bulk data: it waits until no other work does, so that control messages
 * never stand behind it, but at most behind SHOAL_LANE_TURNS of those (then it has its turn).
 * Pieces keep their order. */
SHOAL_MUST_USE shoal_status shoal_lane_push_bulk(shoal_lane *lane, const void *owner,
                                                 shoal_loop_fn *work, shoal_loop_fn *done,
                                                 void *ctx, shoal_error *err);

/* Is a job of this owner running now? NULL: is anything running or queued? */
bool shoal_lane_busy(const shoal_lane *lane, const void *owner);

#ifdef __cplusplus
}
#endif
#endif
