/* watch.h - calls back when a file descriptor can be read.
 *
 * Layer: proto/net. Threads: all calls from the loop's thread.
 */
#ifndef SHOAL_PROTO_NET_WATCH_H
#define SHOAL_PROTO_NET_WATCH_H

#include "kernels/base/status.h"
#include "proto/net/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_watch shoal_watch;

/* fn(ctx) whenever `fd` (a socket or pipe, borrowed until close) has bytes or its end to read. */
SHOAL_MUST_USE shoal_status shoal_watch_open(shoal_watch **out, shoal_loop *loop, int fd,
                                             shoal_loop_fn *fn, void *ctx, shoal_error *err);
void shoal_watch_close(shoal_watch *w); /* NULL is fine; before the fd and the loop */

#ifdef __cplusplus
}
#endif
#endif
