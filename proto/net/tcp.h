/* tcp.h - listening sockets and byte streams on the loop. Not for the roles: they use
 * http_server.h.
 *
 * Layer: proto/net, private; loop.c and tcp.c are the only users of libuv.
 * Threads: the loop's.
 */
#ifndef SHOAL_PROTO_NET_TCP_H
#define SHOAL_PROTO_NET_TCP_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "proto/net/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_tcp_listener shoal_tcp_listener;
typedef struct shoal_tcp_stream shoal_tcp_stream;

typedef struct shoal_tcp_events {
    void (*on_data)(void *ctx, const uint8_t *data, size_t n);
    void (*on_end)(void *ctx);    /* the peer sends no more, or the connection broke */
    void (*on_sent)(void *ctx);   /* some queued bytes have left */
    void (*on_closed)(void *ctx); /* last call, after shoal_tcp_close; the stream is freed next */
    void *ctx;
} shoal_tcp_events;

/* host: name or numeric address; port 0 lets the system choose. on_accept(ctx, stream) owns the
 * stream: it must call shoal_tcp_start or shoal_tcp_close. */
SHOAL_MUST_USE shoal_status shoal_tcp_listen(shoal_tcp_listener **out, shoal_loop *loop,
                                             const char *host, uint16_t port,
                                             void (*on_accept)(void *ctx, shoal_tcp_stream *s),
                                             void *ctx, shoal_error *err);
uint16_t shoal_tcp_listener_port(const shoal_tcp_listener *l);
/* Frees in the next turn of the loop; no on_accept after this call. NULL is fine. */
void shoal_tcp_listener_close(shoal_tcp_listener *l);

/* Sets the callbacks and begins to read. */
SHOAL_MUST_USE shoal_status shoal_tcp_start(shoal_tcp_stream *s, const shoal_tcp_events *events);
void shoal_tcp_pause(shoal_tcp_stream *s);
void shoal_tcp_resume(shoal_tcp_stream *s);

/* Queues the buffer's bytes and takes them: the buffer is empty afterwards, also on failure. */
SHOAL_MUST_USE shoal_status shoal_tcp_write(shoal_tcp_stream *s, shoal_buf *bytes);
/* Bytes queued and not yet taken by the system. */
size_t shoal_tcp_queued(const shoal_tcp_stream *s);
/* Says "no more from me" once the queue is empty. */
void shoal_tcp_shutdown(shoal_tcp_stream *s);
/* Drops the connection; on_closed follows from the loop, nothing else does. */
void shoal_tcp_close(shoal_tcp_stream *s);

/* Numeric address of the peer, "" when unknown. */
const char *shoal_tcp_peer(const shoal_tcp_stream *s);

#ifdef __cplusplus
}
#endif
#endif
