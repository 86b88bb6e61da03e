/* http_server.c - the listening side, and what a handler may ask about a request. */
#include "proto/net/http_server.h"

#include <string.h>
#include <strings.h>

#include "kernels/base/mem.h"
#include "proto/net/http_conn.h"
#include "proto/net/loop_uv.h"

shoal_http_limits shoal_http_limits_default(void)
{
    return (shoal_http_limits){.max_header_bytes = 16 * 1024,
                               .max_connections = 4096,
                               .max_connections_per_address = 1024,
                               .max_connections_per_client = 8,
                               .max_requests = 1000,
                               .write_high_water = 256 * 1024,
                               .max_write_queue = 4 * 1024 * 1024,
                               .max_open_requests = 16384,
                               .max_open_requests_per_client = 8,
                               .request_rate = 200,
                               .request_burst = 1000,
                               .max_body_bytes = 64 * 1024 * 1024,
                               .max_handshakes = 512,
                               .max_handshakes_per_address = 128,
                               .handshake_rate = 50,
                               .handshake_burst = 500,
                               .handshake_workers = 2,
                               .handshake_timeout_ms = 10 * 1000,
                               .header_timeout_ms = 10 * 1000,
                               .body_timeout_ms = 15 * 1000,
                               .min_body_rate = 1024,
                               .idle_timeout_ms = 60 * 1000,
                               .write_timeout_ms = 30 * 1000,
                               .retry_after_ms = 1000};
}

/* One more than `n` would be over `max`; 0: no limit. */
static bool is_full(size_t n, size_t max)
{
    return max != 0 && n >= max;
}

/* A connection that waits for its next request can come back with a ticket; a new one has nothing
 * yet. */
static bool make_room(shoal_http_server *s)
{
    http_conn *longest = s->idle_first;
    if (longest == NULL) {
        return false;
    }
    s->count.made_room++;
    http_conn_drop(longest);
    return true;
}

static void on_accept(void *ctx, shoal_tcp_stream *stream)
{
    shoal_http_server *s = ctx;
    uint8_t key[HTTP_PEER_KEY];
    http_peer_key_of_address(shoal_tcp_peer(stream), key);
    http_peer *from = http_peers_get(s->peers, key, shoal_loop_now_ms(s->loop));
    s->count.accepted++;
    if (s->stopping || from == NULL || is_full(from->n_conns, s->lim.max_connections_per_address) ||
        (s->count.connections >= s->lim.max_connections && !make_room(s))) {
        s->count.shut_out += !s->stopping;
        shoal_tcp_close(stream);
        return;
    }
    http_conn_open(s, stream, from);
}

shoal_status shoal_http_server_open(shoal_http_server **out, shoal_loop *loop,
                                    const shoal_http_options *opt, shoal_error *err)
{
    *out = NULL;
    if (opt->handler.on_headers == NULL || opt->handler.on_request == NULL) {
        return shoal_fail(err, SHOAL_ERR_ARG, "a server needs its two handlers");
    }
    shoal_http_server *s = shoal_calloc(1, sizeof *s);
    if (s == NULL || (s->peers = http_peers_open(opt->seed)) == NULL) {
        shoal_free(s);
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a server");
    }
    s->rng = shoal_rng_init(opt->seed);
    s->arrived.last = &s->arrived.first;
    s->started.last = &s->started.first;
    s->early.last = &s->early.first;
    s->loop = loop;
    s->tls = opt->tls;
    s->lim = opt->limits != NULL ? *opt->limits : shoal_http_limits_default();
    s->h = opt->handler;
    const char *host = opt->host != NULL ? opt->host : "127.0.0.1";
    shoal_status st = shoal_timer_open(&s->early_timer, loop, http_tls_next_turn, s, err);
    if (st == SHOAL_OK) {
        st = shoal_tcp_listen(&s->listener, loop, host, opt->port, on_accept, s, err);
    }
    if (st != SHOAL_OK) {
        shoal_timer_close(s->early_timer);
        http_peers_close(s->peers);
        shoal_free(s);
        return st;
    }
    s->port = shoal_tcp_listener_port(s->listener);
    *out = s;
    return SHOAL_OK;
}

uint16_t shoal_http_server_port(const shoal_http_server *s)
{
    return s->port;
}

size_t shoal_http_server_connections(const shoal_http_server *s)
{
    return s->n_conns;
}

void shoal_http_server_counts(const shoal_http_server *s, shoal_http_counts *out)
{
    *out = s->count;
}

static void drop_all(shoal_http_server *s)
{
    for (http_conn *c = s->conns; c != NULL; c = c->next) {
        http_conn_drop(c);
    }
}

static void grace_over(void *ctx)
{
    drop_all(ctx);
}

static void tell_stopped(shoal_http_server *s)
{
    if (s->grace != NULL) {
        shoal_timer_close(s->grace);
        s->grace = NULL;
    }
    shoal_loop_fn *fn = s->on_stopped;
    s->on_stopped = NULL;
    if (fn != NULL) {
        fn(s->stopped_ctx);
    }
}

void http_server_conn_closed(shoal_http_server *s)
{
    s->n_conns--;
    if (s->stopping && s->n_conns == 0) {
        tell_stopped(s);
    }
}

void shoal_http_server_stop(shoal_http_server *s, uint64_t grace_ms, shoal_loop_fn *on_stopped,
                            void *ctx)
{
    if (s->stopping) {
        return;
    }
    s->stopping = true;
    s->on_stopped = on_stopped;
    s->stopped_ctx = ctx;
    shoal_tcp_listener_close(s->listener);
    s->listener = NULL;
    for (http_conn *c = s->conns; c != NULL; c = c->next) {
        bool silent = c->phase == HTTP_HEADERS && (c->at_work || c->pending.len == 0);
        if (c->phase == HTTP_IDLE || silent) {
            http_conn_drop(c);
        }
    }
    if (s->n_conns == 0) {
        tell_stopped(s);
    } else if (shoal_timer_open(&s->grace, s->loop, grace_over, s, NULL) == SHOAL_OK) {
        shoal_timer_start(s->grace, grace_ms, 0);
    } else {
        drop_all(s); /* without a timer nobody would cut the slow ones */
    }
}

void shoal_http_server_close(shoal_http_server *s)
{
    if (s == NULL) {
        return;
    }
    s->stopping = true;
    s->on_stopped = NULL;
    shoal_tcp_listener_close(s->listener);
    drop_all(s);
    while (s->n_conns > 0) {
        shoal_loop_turn(s->loop);
    }
    tell_stopped(s);
    shoal_timer_close(s->early_timer);
    http_peers_close(s->peers);
    shoal_free(s);
}

/* ---- the request ------------------------------------------------------------------------------
 */

const char *shoal_http_method(const shoal_http_request *r)
{
    return http_method_str((enum http_method)r->conn->parser.method);
}

const char *shoal_http_path(const shoal_http_request *r)
{
    return shoal_buf_str(&r->text) + r->path_at;
}

const char *shoal_http_query(const shoal_http_request *r)
{
    return shoal_buf_str(&r->text) + r->query_at;
}

const char *shoal_http_header(const shoal_http_request *r, const char *name)
{
    const char *s = shoal_buf_str(&r->text);
    while (*s != '\0') {
        const char *value = s + strlen(s) + 1;
        if (strcasecmp(s, name) == 0) {
            return value;
        }
        s = value + strlen(value) + 1;
    }
    return NULL;
}

/* One percent-decoded character at *p; advances. -1 when malformed. */
static int decode_char(const char **p)
{
    char c = **p;
    if (c != '%') {
        *p += 1;
        return c == '+' ? ' ' : (unsigned char)c;
    }
    uint8_t byte;
    char hex[3] = {(*p)[1], (*p)[1] != '\0' ? (*p)[2] : '\0', '\0'};
    for (int i = 0; i < 2; i++) {
        hex[i] = (char)(hex[i] >= 'A' && hex[i] <= 'F' ? hex[i] - 'A' + 'a' : hex[i]);
    }
    if (!shoal_hex_decode(hex, &byte, 1) || byte == 0) {
        return -1;
    }
    *p += 3;
    return byte;
}

static bool decode_value(const char *p, char *out, size_t cap)
{
    size_t n = 0;
    while (*p != '\0' && *p != '&') {
        int c = decode_char(&p);
        if (c < 0 || n + 1 >= cap) {
            return false;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

bool shoal_http_query_get(const shoal_http_request *r, const char *name, char *out, size_t cap)
{
    size_t len = strlen(name);
    for (const char *q = shoal_http_query(r); q != NULL; q = strchr(q, '&')) {
        q += *q == '&';
        if (strncmp(q, name, len) == 0 && q[len] == '=') {
            return cap > 0 && decode_value(q + len + 1, out, cap);
        }
    }
    return false;
}

int64_t shoal_http_content_length(const shoal_http_request *r)
{
    const char *v = shoal_http_header(r, "Content-Length");
    uint64_t n = 0;
    if (v == NULL) {
        return shoal_http_header(r, "Transfer-Encoding") != NULL ? -1 : 0;
    }
    return shoal_parse_u64(v, &n) && n <= INT64_MAX ? (int64_t)n : -1;
}

const uint8_t *shoal_http_body(const shoal_http_request *r, size_t *n)
{
    *n = r->body.len;
    return r->body.data;
}

shoal_buf shoal_http_body_take(shoal_http_request *r)
{
    shoal_buf body = r->body;
    r->conn->server->count.body_bytes -= r->body_held; /* from now on they are the caller's */
    r->body_held = 0;
    r->body = shoal_buf_init(0);
    return body;
}

const uint8_t *shoal_http_peer_cert_hash(const shoal_http_request *r)
{
    return r->conn->tls != NULL ? shoal_tls_peer_cert_hash(r->conn->tls) : NULL;
}

const uint8_t *shoal_http_peer_cert(const shoal_http_request *r, size_t *n)
{
    *n = 0;
    return r->conn->tls != NULL ? shoal_tls_peer_cert(r->conn->tls, n) : NULL;
}

const char *shoal_http_peer(const shoal_http_request *r)
{
    return shoal_tcp_peer(r->conn->tcp);
}

void shoal_http_peer_key(const shoal_http_request *r, uint8_t key[SHOAL_HTTP_PEER_KEY])
{
    http_peer_key_of_address(shoal_http_peer(r), key);
}

void shoal_http_set_user(shoal_http_request *r, void *user)
{
    r->user = user;
}

void *shoal_http_user(const shoal_http_request *r)
{
    return r->user;
}

void shoal_http_on_gone(shoal_http_request *r, void (*on_gone)(void *ctx, shoal_http_request *req),
                        void *ctx)
{
    r->on_gone = on_gone;
    r->gone_ctx = ctx;
}
