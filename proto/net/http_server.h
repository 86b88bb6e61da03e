/* http_server.h - the one HTTP/1.1 server of the project, plain or over TLS, on one event loop.
 *
 * Life of a request:
 *   on_headers  the request line and headers are in. The handler looks at method and path and
 * either answers at once (404, 405, 403: the body is then not read) or says how large a body it
 * takes and, for large uploads, where the pieces go. on_body     per piece, only when asked for in
 * on_headers. on_request  the body is complete. The handler answers now, or keeps the handle and
 * answers later from the loop's thread (long poll, work on another thread). answer
 * shoal_http_respond*, or shoal_http_stream_begin / write / end. The handle becomes invalid when
 * the answer is given (respond*, stream_end). When the peer goes away first, `on_gone` of the
 * request is called once and the handle is invalid afterwards. Exactly one of the two happens to
 * every request that reached on_headers.
 *
 * Limits and timeouts hold at every point: bytes of headers, bytes of body, connections, requests
 * per connection, time for the TLS handshake and headers, time for the body, idle time, bytes
 * queued for writing. A request that breaks one gets 408, 413, 431 or 400 (body by `on_error`) and
 * the connection is closed. What is too much at the moment, of one client or of all together, gets
 * 429 or 503 with a time to come back after, no two the same.
 *
 * TLS handshakes with certificates, which cost milliseconds, are done by worker threads, a few at a
 * time, in the order in which the clients came; those resumed from a ticket are done at once, on
 * the loop's thread. So requests never wait behind handshakes, and a client with a ticket never
 * waits behind those without.
 *
 * A connection between requests is cheap (3 to 4 KiB with TLS). When the last one is taken, the
 * connection that has been idle longest makes room for a new one.
 *
 * Layer: proto/net. Threads: all calls from the loop's thread.
 */
#ifndef SHOAL_PROTO_NET_HTTP_SERVER_H
#define SHOAL_PROTO_NET_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "proto/net/loop.h"
#include "proto/net/tls.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_http_server shoal_http_server;
typedef struct shoal_http_request shoal_http_request;

enum { SHOAL_HTTP_PEER_KEY = 32 }; /* bytes by which peers are told apart */

/* A client is who a certificate names; an address is one of IPv4, or a /64 of IPv6: many clients
 * may share one. 0 switches a limit "per ..." or a rate off. */
typedef struct shoal_http_limits {
    size_t max_header_bytes; /* request line and headers */
    size_t max_connections;  /* in all */
    size_t max_connections_per_address;
    size_t max_connections_per_client;
    size_t max_requests;      /* per connection, then Connection: close */
    size_t write_high_water;  /* queued bytes from which stream_write says AGAIN */
    size_t max_write_queue;   /* queued bytes of a stream at which the connection is dropped */
    size_t max_open_requests; /* not answered yet, in all */
    size_t max_open_requests_per_client;
    uint32_t request_rate, request_burst; /* requests a second of a client, or of an address where
                                             there is no certificate */
    size_t max_body_bytes;                /* of buffered bodies, in all */
    size_t max_handshakes;                /* full ones going on; further ones wait for their turn */
    size_t max_handshakes_per_address;    /* going on or waiting; further ones are closed */
    uint32_t handshake_rate, handshake_burst; /* full ones a second of an address */
    size_t handshake_workers;                 /* threads of the loop's pool that may work on them */
    uint64_t handshake_timeout_ms;            /* from accept to the end of the handshake */
    uint64_t header_timeout_ms; /* from then (or first byte of a request) to end of headers */
    uint64_t body_timeout_ms;   /* longest silence inside a body */
    size_t min_body_rate;       /* bytes per second a body must reach, after a grace of one
                                   body_timeout_ms (slow-loris) */
    uint64_t idle_timeout_ms;   /* keep-alive connection without a request */
    uint64_t write_timeout_ms;  /* longest time without progress while bytes wait to be written */
    uint32_t retry_after_ms;    /* what 429 and 503 ask for, at least; at most twice as much */
} shoal_http_limits;

/* What the project uses everywhere unless a role says otherwise. */
shoal_http_limits shoal_http_limits_default(void);

/* What on_headers decides. Zeroed before the call: no body, nothing watched. */
typedef struct shoal_http_accept {
    size_t max_body; /* larger bodies get 413; buffered unless on_body is set */
    /* For large uploads: pieces in order. Anything but SHOAL_OK stops the upload: the handler has
     * answered the request itself in this call, or the server answers 400. */
    shoal_status (*on_body)(void *ctx, shoal_http_request *req, const uint8_t *data, size_t n);
    void (*on_gone)(void *ctx, shoal_http_request *req); /* may be NULL */
    void *ctx;                                           /* for the two above */
} shoal_http_accept;

/* Why the server itself refuses a request. */
typedef struct shoal_http_refusal {
    int status;
    const char *reason;      /* a sentence for a person */
    uint32_t retry_after_ms; /* 0: no use */
} shoal_http_refusal;

typedef struct shoal_http_handler {
    void *ctx;
    void (*on_headers)(void *ctx, shoal_http_request *req, shoal_http_accept *accept);
    void (*on_request)(void *ctx, shoal_http_request *req);
    /* Body and media type of an error the server itself answers with (400, 408, 413, 429, 431, 500,
     * 503). NULL: a line of plain text. */
    void (*on_error)(void *ctx, const shoal_http_refusal *why, shoal_buf *body,
                     const char **media_type);
} shoal_http_handler;

typedef struct shoal_http_options {
    const char *host;                /* numeric address or name; NULL means 127.0.0.1 */
    uint16_t port;                   /* 0: the system chooses */
    shoal_tls_context *tls;          /* NULL: plain HTTP. Borrowed; must outlive the server */
    const shoal_http_limits *limits; /* NULL: the defaults; copied */
    uint64_t seed;                   /* random: spreads clients that come back */
    shoal_http_handler handler;      /* copied */
} shoal_http_options;

/* Binds and listens; requests are served while the loop runs. */
SHOAL_MUST_USE shoal_status shoal_http_server_open(shoal_http_server **out, shoal_loop *loop,
                                                   const shoal_http_options *opt, shoal_error *err);

/* The port it listens on. */
uint16_t shoal_http_server_port(const shoal_http_server *s);
size_t shoal_http_server_connections(const shoal_http_server *s);

/* What has happened since the server was opened, and what is going on. */
typedef struct shoal_http_counts {
    size_t connections, open_requests, handshakes; /* now; handshakes with certificates only */
    size_t body_bytes;                             /* held now */
    uint64_t accepted;
    uint64_t shut_out;  /* connections closed because of a limit on connections or handshakes */
    uint64_t made_room; /* idle ones closed for newer ones */
    uint64_t shaken, resumed; /* handshakes completed with certificates, and with tickets */
    uint64_t busy;            /* requests answered 429 or 503 */
    uint64_t slow;            /* connections that ran into a timeout before their request was in */
} shoal_http_counts;
void shoal_http_server_counts(const shoal_http_server *s, shoal_http_counts *out);

/* Graceful stop: no new connections or requests; open requests may still be answered for at most
 * grace_ms, then are cut (on_gone). on_stopped(ctx) is called once all connections are closed. */
void shoal_http_server_stop(shoal_http_server *s, uint64_t grace_ms, shoal_loop_fn *on_stopped,
                            void *ctx);

/* Cuts what is left (on_gone is called) and frees. NULL is fine. Before shoal_loop_close. Not from
 * a callback of this server. */
void shoal_http_server_close(shoal_http_server *s);

/* The request. Texts stay valid until the handle is invalid. */
const char *shoal_http_method(const shoal_http_request *r); /* "GET", "POST", ... */
const char *shoal_http_path(const shoal_http_request *r);   /* as sent, without the query */
const char *shoal_http_query(const shoal_http_request *r);  /* raw text after '?', or "" */
/* Value of a header, name matched without case; NULL when absent; the first when repeated. */
const char *shoal_http_header(const shoal_http_request *r, const char *name);
/* Copies the percent-decoded value of a query parameter; false when absent, malformed or too long.
 */
bool shoal_http_query_get(const shoal_http_request *r, const char *name, char *out, size_t cap);
/* Body length as announced; -1 when chunked. */
int64_t shoal_http_content_length(const shoal_http_request *r);
/* The buffered body; valid from on_request until the handle is invalid. */
const uint8_t *shoal_http_body(const shoal_http_request *r, size_t *n);
/* Moves the buffered body out: the caller owns the buffer, which outlives the request. */
shoal_buf shoal_http_body_take(shoal_http_request *r);
/* SHA-256 [32] of the DER bytes of the verified client certificate, or NULL. On a resumed session
 * it is the certificate of the session it began with: whether that still counts is for the handler
 * to find out, at every request. */
const uint8_t *shoal_http_peer_cert_hash(const shoal_http_request *r);
/* Its DER bytes, or NULL. */
const uint8_t *shoal_http_peer_cert(const shoal_http_request *r, size_t *n);
/* Numeric address of the peer, without port. */
const char *shoal_http_peer(const shoal_http_request *r);

/* What counts as one address: that of IPv4, of IPv6 the /64 a line has for itself. Zero-padded. */
void shoal_http_peer_key(const shoal_http_request *r, uint8_t key[SHOAL_HTTP_PEER_KEY]);

/* A pointer of the handler's own, kept with the request. */
void shoal_http_set_user(shoal_http_request *r, void *user);
void *shoal_http_user(const shoal_http_request *r);

/* Replaces the gone-callback given in on_headers. */
void shoal_http_on_gone(shoal_http_request *r, void (*on_gone)(void *ctx, shoal_http_request *req),
                        void *ctx);

/* Adds a response header; before the answer. False when it does not fit (4 KiB in all) or holds a
 * line break. Content-Type, Content-Length, Date and Connection are written by the server. */
bool shoal_http_add_header(shoal_http_request *r, const char *name, const char *value);

/* Answers; the body is copied. media_type NULL: no body type (n is then normally 0). */
void shoal_http_respond(shoal_http_request *r, int status, const char *media_type, const void *body,
                        size_t n);

/* Bytes that stay where they are: release(ctx) is called once when they are no longer needed, also
 * when the peer goes away. Behind them the body goes on with `rest`, which is taken over (NULL:
 * nothing). */
typedef struct shoal_http_shared {
    const void *body;
    size_t n;
    shoal_loop_fn *release;
    void *ctx;
    shoal_buf *rest;
} shoal_http_shared;

/* Answers with them. For large downloads: memory used per connection is the write high-water mark
 * and `rest`, not n. */
void shoal_http_respond_shared(shoal_http_request *r, int status, const char *media_type,
                               const shoal_http_shared *what);

/* Answers piece by piece (chunked). Between begin and end `on_gone` may still be called. */
void shoal_http_stream_begin(shoal_http_request *r, int status, const char *media_type);
/* SHOAL_OK; SHOAL_ERR_AGAIN: taken, but the queue is over the high-water mark, so wait for
 * on_drain; SHOAL_ERR_TOO_LARGE: not taken, the connection is being dropped and on_gone follows. */
shoal_status shoal_http_stream_write(shoal_http_request *r, const void *data, size_t n);
void shoal_http_stream_on_drain(shoal_http_request *r,
                                void (*on_drain)(void *ctx, shoal_http_request *req), void *ctx);
void shoal_http_stream_end(shoal_http_request *r);

#ifdef __cplusplus
}
#endif
#endif
