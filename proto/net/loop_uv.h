/* loop_uv.h - what the other files of proto/net need from the loop. Not for the roles.
 *
 * Layer: proto/net, private.
 */
#ifndef SHOAL_PROTO_NET_LOOP_UV_H
#define SHOAL_PROTO_NET_LOOP_UV_H

#include <stddef.h>

#include "kernels/base/status.h"
#include "proto/net/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;

/* libuv's own loop. */
struct uv_loop_s *shoal_loop_uv(shoal_loop *loop);

/* The loop's receive buffer. */
char *shoal_loop_read_buf(struct uv_loop_s *uv, size_t *n);

/* Runs callbacks once, waiting for one when there is nothing to do. */
void shoal_loop_turn(shoal_loop *loop);

/* shoal_fail with libuv's text for its error code. */
shoal_status shoal_fail_uv(shoal_error *err, int uv_code, const char *what);

#ifdef __cplusplus
}
#endif
#endif
