/* http_conn.h - one HTTP connection: the state that http_server.c, http_conn.c, http_tls.c,
 * http_parse.c and http_respond.c share. Not for the roles.
 *
 * A connection carries one request at a time. Bytes that arrive while a request waits for its
 * answer are kept (up to the header limit) and parsed afterwards, so that a disconnect is still
 * noticed.
 *
 * Layer: proto/net, private. Threads: the loop's.
 */
#ifndef SHOAL_PROTO_NET_HTTP_CONN_H
#define SHOAL_PROTO_NET_HTTP_CONN_H

#include <http_parser.h>

#include "kernels/base/rng.h"
#include "proto/net/http_peers.h"
#include "proto/net/http_server.h"
#include "proto/net/tcp.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct http_conn http_conn;

typedef enum http_phase {
    HTTP_IDLE,    /* between requests */
    HTTP_HEADERS, /* TLS handshake, request line, headers */
    HTTP_BODY,
    HTTP_ANSWER, /* the handler has the request, or its answer is being written */
    HTTP_LINGER  /* answered and shut down; reading on so that the peer gets the answer */
} http_phase;

typedef enum http_answer {
    ANSWER_NONE,
    ANSWER_STREAM, /* stream_begin was called */
    ANSWER_SHARED, /* bytes of the handler are being written */
    ANSWER_DONE    /* everything is queued */
} http_answer;

struct shoal_http_request {
    http_conn *conn;
    shoal_buf text; /* method, path, query, then header names and values, each NUL-terminated */
    size_t path_at; /* offsets into text */
    size_t query_at;
    size_t headers_at;
    shoal_buf url;
    shoal_buf body;
    shoal_buf extra; /* response headers added by the handler */
    shoal_http_accept accept;
    bool open; /* the handler has the handle: answered by it or gone */
    bool in_value;
    bool complete;
    bool chunked_answer;
    bool has_body;
    bool head;        /* HEAD: the answer has no body */
    bool counted;     /* among the open requests of the server and of its client */
    size_t body_held; /* bytes of `body` that count as the server's */
    http_answer answer;
    int fail_status; /* what the server itself will answer with; 0: nothing */
    const char *fail_reason;
    uint64_t body_began_ms;
    uint64_t body_seen;
    void *user;
    void (*on_gone)(void *ctx, shoal_http_request *req);
    void *gone_ctx;
    void (*on_drain)(void *ctx, shoal_http_request *req);
    void *drain_ctx;
    const uint8_t *shared; /* of a shared answer, sent up to shared_at */
    size_t shared_n, shared_at;
    shoal_loop_fn *release;
    void *release_ctx;
    shoal_buf rest; /* what follows it, sent up to rest_at */
    size_t rest_at;
};

typedef struct http_queue {
    http_conn *first, **last;
} http_queue;

/* Where a connection stands with its TLS handshake. */
typedef enum http_shake {
    SHAKE_NONE,    /* not begun, or cheap, or over, or no TLS */
    SHAKE_ARRIVED, /* a full one: waits until fewer are going on */
    SHAKE_STARTED
} http_shake;

struct http_conn {
    http_conn *next, **link;           /* in the server's list */
    http_conn *idle_next, *idle_prev;  /* among the idle ones, longest idle first */
    http_conn *wait_next, **wait_link; /* in a queue for handshake work */
    http_queue *waits_in;              /* which; NULL: none */
    shoal_buf held;                    /* what the peer sent before its turn came */
    http_peer *address, *client;       /* client: NULL without a certificate */
    http_shake shake;
    bool idle;    /* in the list of idle ones */
    bool at_work; /* a worker thread has the TLS session */
    bool gone;    /* TCP is closed; freed once no longer at work */
    shoal_http_server *server;
    shoal_tcp_stream *tcp;
    shoal_tls_session *tls;
    shoal_timer *timer;
    http_parser parser;
    shoal_buf pending; /* plain bytes not yet parsed */
    http_phase phase;
    uint64_t phase_deadline; /* 0: none */
    uint64_t write_progress_ms;
    size_t n_requests;
    bool close_after; /* no further request on this connection */
    bool closing;
    bool peer_done;
    bool parsing; /* parse_input is on the stack */
    bool paused;
    shoal_http_request req;
};

struct shoal_http_server {
    shoal_loop *loop;
    http_peers *peers;
    shoal_rng rng;
    shoal_http_counts count;
    http_conn *idle_first, *idle_last;
    http_queue arrived, started; /* connections that wait for a worker */
    http_queue early;            /* those that wait for the loop itself to look at them */
    shoal_timer *early_timer;
    size_t early_left; /* looks left in this turn */
    uint64_t early_ms; /* when the turn was */
    size_t workers;    /* at work now */
    shoal_tcp_listener *listener;
    shoal_tls_context *tls;
    shoal_http_limits lim;
    shoal_http_handler h;
    http_conn *conns;
    size_t n_conns; /* those still to be freed included */
    uint16_t port;
    bool stopping;
    shoal_timer *grace;
    shoal_loop_fn *on_stopped;
    void *stopped_ctx;
};

/* http_conn.c */
void http_conn_open(shoal_http_server *s, shoal_tcp_stream *stream, http_peer *from);
void http_conn_drop(http_conn *c); /* on_gone and the freeing follow from the loop */
void http_conn_arm(http_conn *c);  /* sets the timer to the nearest deadline */
void http_conn_phase(http_conn *c, http_phase phase, uint64_t timeout_ms);
void http_conn_next(http_conn *c); /* the answer is queued: next request or close */
void http_conn_free(http_conn *c); /* the last thing; not while a worker has it */
/* Queues bytes for the peer, encrypted when over TLS. False: the connection is being dropped. */
bool http_conn_send(http_conn *c, const void *data, size_t n);

/* Queues ciphertext or plain bytes as they are, and takes them. */
bool http_conn_write(http_conn *c, shoal_buf *wire);

/* http_tls.c */
/* Bytes for the TLS session. True: there may be plain ones in c->pending now. */
bool http_tls_input(http_conn *c, const uint8_t *data, size_t n);
void http_tls_leave(http_conn *c);     /* it takes no part in handshakes any more */
void http_tls_next_turn(void *server); /* the early timer's */

/* http_parse.c */
void http_request_init(shoal_http_request *r, http_conn *c);
void http_request_clear(shoal_http_request *r);
void http_request_over(shoal_http_request *r); /* it was answered, or never will be */
void http_parse_input(http_conn *c);           /* parses c->pending as far as possible */

/* http_respond.c */
void http_fail(http_conn *c, int status, const char *reason); /* answers and closes */
void http_pump(http_conn *c); /* continues a shared answer; tells a stream that it drained */
void http_release(shoal_http_request *r);   /* gives shared bytes back */
void http_tell_gone(shoal_http_request *r); /* calls on_gone if the handler has the handle */

/* http_server.c */
void http_server_conn_closed(shoal_http_server *s);

#ifdef __cplusplus
}
#endif
#endif
