/* loop.h - one event loop: timers, signals, work on other threads and messages back from them.
 *
 * Everything a server does happens on the thread that runs the loop; other threads reach it only
 * through shoal_loop_post. Long computations go to shoal_loop_work. Callbacks must not block.
 *
 * Layer: proto/net. Threads: all calls from the loop's thread, except shoal_loop_post.
 */
#ifndef SHOAL_PROTO_NET_LOOP_H
#define SHOAL_PROTO_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_loop shoal_loop;
typedef struct shoal_timer shoal_timer;
typedef void shoal_loop_fn(void *ctx);

SHOAL_MUST_USE shoal_status shoal_loop_open(shoal_loop **out, shoal_error *err);

/* Runs callbacks until shoal_loop_stop, or until nothing is left that could call one. */
void shoal_loop_run(shoal_loop *loop);

/* Makes shoal_loop_run return after the current callback. */
void shoal_loop_stop(shoal_loop *loop);

/* Releases the loop and what still hangs on it: pending work is waited for (its `done` runs),
 * queued posts are run. Servers on the loop must have been closed before. NULL is fine. */
void shoal_loop_close(shoal_loop *loop);

/* Milliseconds of a monotonic clock, read once per loop turn. */
uint64_t shoal_loop_now_ms(const shoal_loop *loop);

/* From any thread: fn(ctx) will be called on the loop's thread, in the order of the posts.
 * False when memory is out (fn will not be called). */
bool shoal_loop_post(shoal_loop *loop, shoal_loop_fn *fn, void *ctx);

/* Runs work(ctx) on a worker thread, then done(ctx) on the loop's thread. */
SHOAL_MUST_USE shoal_status shoal_loop_work(shoal_loop *loop, shoal_loop_fn *work,
                                            shoal_loop_fn *done, void *ctx, shoal_error *err);

/* Calls fn(ctx) on the loop's thread when the process receives the signal. At most 8. */
SHOAL_MUST_USE shoal_status shoal_loop_on_signal(shoal_loop *loop, int signo, shoal_loop_fn *fn,
                                                 void *ctx, shoal_error *err);

/* A stopped timer. Close it before the loop. */
SHOAL_MUST_USE shoal_status shoal_timer_open(shoal_timer **out, shoal_loop *loop, shoal_loop_fn *fn,
                                             void *ctx, shoal_error *err);

/* Calls the function after delay_ms, then every repeat_ms (0: once). Starting again moves it. */
void shoal_timer_start(shoal_timer *t, uint64_t delay_ms, uint64_t repeat_ms);
void shoal_timer_stop(shoal_timer *t);
void shoal_timer_close(shoal_timer *t);

#ifdef __cplusplus
}
#endif
#endif
