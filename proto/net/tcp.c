/* tcp.c - TCP over libuv. All streams share the loop's receive buffer: libuv asks for a buffer,
 * fills it and hands it over before it asks again. */
#include "proto/net/tcp.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "kernels/base/mem.h"
#include "proto/net/loop_uv.h"

enum {
    BACKLOG = 4096, /* thousands may come back at once; the system has its own limit */
    ACCEPTS_PER_TURN = 64,
    NO_MEMORY_MS = 100, /* until a connection is taken that could not be */
    KEEPALIVE_S = 60    /* notices peers that vanished during a long poll */
};

struct shoal_tcp_listener {
    uv_tcp_t handle;
    shoal_loop *loop;
    void (*on_accept)(void *ctx, shoal_tcp_stream *s);
    void *ctx;
    uint16_t port;
    shoal_timer *later;
    uint64_t turn_ms; /* of the last connections taken, */
    size_t n_taken;   /* and how many they were */
};

struct shoal_tcp_stream {
    uv_tcp_t handle;
    uv_shutdown_t shutdown;
    shoal_tcp_events ev;
    size_t queued;
    bool started;
    bool closing;
    bool shut;
    char peer[64];
};

typedef struct write_item {
    uv_write_t req;
    shoal_tcp_stream *stream;
    shoal_buf bytes;
} write_item;

static void read_peer(shoal_tcp_stream *s)
{
    struct sockaddr_storage ss;
    int len = (int)sizeof ss;
    if (uv_tcp_getpeername(&s->handle, (struct sockaddr *)&ss, &len) != 0) {
        return;
    }
    if (ss.ss_family == AF_INET) {
        (void)uv_ip4_name((const struct sockaddr_in *)&ss, s->peer, sizeof s->peer);
    } else if (ss.ss_family == AF_INET6) {
        (void)uv_ip6_name((const struct sockaddr_in6 *)&ss, s->peer, sizeof s->peer);
    }
}

static void stream_freed(uv_handle_t *handle)
{
    shoal_tcp_stream *s = handle->data;
    if (s->started && s->ev.on_closed != NULL) {
        s->ev.on_closed(s->ev.ctx);
    }
    shoal_free(s);
}

void shoal_tcp_close(shoal_tcp_stream *s)
{
    if (!s->closing) {
        s->closing = true;
        uv_close((uv_handle_t *)&s->handle, stream_freed);
    }
}

static void take_connection(shoal_tcp_listener *l)
{
    uv_stream_t *server = (uv_stream_t *)&l->handle;
    shoal_tcp_stream *s = shoal_calloc(1, sizeof *s);
    if (s == NULL || uv_tcp_init(server->loop, &s->handle) != 0) {
        shoal_free(s);
        shoal_timer_start(l->later, NO_MEMORY_MS, 0); /* libuv says nothing more before that */
        return;
    }
    s->handle.data = s;
    if (uv_accept(server, (uv_stream_t *)&s->handle) != 0) {
        shoal_tcp_close(s);
        return;
    }
    (void)uv_tcp_nodelay(&s->handle, 1);
    (void)uv_tcp_keepalive(&s->handle, 1, KEEPALIVE_S);
    read_peer(s);
    l->on_accept(l->ctx, s);
}

/* Thousands may knock at one moment: a turn of the loop takes so many, the others a turn later.
 * libuv asks for no further connection while this one has not been taken. */
static void accept_one(uv_stream_t *server, int status)
{
    shoal_tcp_listener *l = server->data;
    if (status != 0) {
        return; /* e.g. EMFILE: libuv has already shed the connection */
    }
    uint64_t now = shoal_loop_now_ms(l->loop);
    l->n_taken = now == l->turn_ms ? l->n_taken + 1 : 1;
    l->turn_ms = now;
    if (l->n_taken > ACCEPTS_PER_TURN) {
        shoal_timer_start(l->later, 1, 0);
    } else {
        take_connection(l);
    }
}

static void accept_later(void *ctx)
{
    shoal_tcp_listener *l = ctx;
    l->turn_ms = shoal_loop_now_ms(l->loop);
    l->n_taken = 1;
    take_connection(l);
}

static shoal_status resolve(shoal_loop *loop, const char *host, uint16_t port,
                            struct sockaddr_storage *out, shoal_error *err)
{
    char service[8];
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t req = {0};
    int rc = uv_getaddrinfo(shoal_loop_uv(loop), &req, NULL, host, service, &hints);
    if (rc != 0) {
        shoal_status st = shoal_fail(err, SHOAL_ERR_NOT_FOUND, "cannot resolve the address %s: %s",
                                     host, uv_strerror(rc));
        shoal_hint(err, "use a numeric address of this machine, e.g. 127.0.0.1 or 0.0.0.0");
        return st;
    }
    memset(out, 0, sizeof *out);
    if (req.addrinfo->ai_addrlen <= sizeof *out) {
        memcpy(out, req.addrinfo->ai_addr, req.addrinfo->ai_addrlen);
    }
    uv_freeaddrinfo(req.addrinfo);
    return SHOAL_OK;
}

static uint16_t bound_port(const uv_tcp_t *handle)
{
    struct sockaddr_storage ss = {0};
    int len = (int)sizeof ss;
    if (uv_tcp_getsockname(handle, (struct sockaddr *)&ss, &len) != 0) {
        return 0;
    }
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&ss;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&ss;
    uint16_t net = ss.ss_family == AF_INET6 ? v6->sin6_port : v4->sin_port;
    return ntohs(net);
}

static void listener_freed(uv_handle_t *handle)
{
    shoal_free(handle->data);
}

void shoal_tcp_listener_close(shoal_tcp_listener *l)
{
    if (l != NULL) {
        shoal_timer_close(l->later);
        uv_close((uv_handle_t *)&l->handle, listener_freed);
    }
}

static shoal_status fail_listen(shoal_error *err, int rc, const char *host, uint16_t port)
{
    shoal_status st = shoal_fail(err, SHOAL_ERR_IO, "cannot listen on %s port %u: %s", host,
                                 (unsigned)port, uv_strerror(rc));
    if (rc == UV_EADDRINUSE) {
        shoal_hint(err, "another program uses that port; choose one with --port");
    } else if (rc == UV_EACCES) {
        shoal_hint(err, "ports below 1024 need privileges; choose one with --port");
    }
    return st;
}

shoal_status shoal_tcp_listen(shoal_tcp_listener **out, shoal_loop *loop, const char *host,
                              uint16_t port, void (*on_accept)(void *ctx, shoal_tcp_stream *s),
                              void *ctx, shoal_error *err)
{
    *out = NULL;
    struct sockaddr_storage addr;
    SHOAL_TRY(resolve(loop, host, port, &addr, err));
    shoal_tcp_listener *l = shoal_calloc(1, sizeof *l);
    if (l == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for a listening socket");
    }
    shoal_status st = shoal_timer_open(&l->later, loop, accept_later, l, err);
    if (st != SHOAL_OK) {
        shoal_free(l);
        return st;
    }
    int rc = uv_tcp_init(shoal_loop_uv(loop), &l->handle);
    if (rc != 0) {
        shoal_timer_close(l->later);
        shoal_free(l);
        return shoal_fail_uv(err, rc, "cannot open a socket");
    }
    l->handle.data = l;
    l->loop = loop;
    l->on_accept = on_accept;
    l->ctx = ctx;
    rc = uv_tcp_bind(&l->handle, (const struct sockaddr *)&addr, 0);
    if (rc == 0) {
        rc = uv_listen((uv_stream_t *)&l->handle, BACKLOG, accept_one);
    }
    if (rc != 0) {
        shoal_tcp_listener_close(l);
        return fail_listen(err, rc, host, port);
    }
    l->port = bound_port(&l->handle);
    *out = l;
    return SHOAL_OK;
}

uint16_t shoal_tcp_listener_port(const shoal_tcp_listener *l)
{
    return l->port;
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    size_t n;
    char *base = shoal_loop_read_buf(handle->loop, &n);
    *buf = uv_buf_init(base, (unsigned)n);
}

static void data_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    shoal_tcp_stream *s = stream->data;
    if (n > 0) {
        s->ev.on_data(s->ev.ctx, (const uint8_t *)buf->base, (size_t)n);
    } else if (n < 0) {
        (void)uv_read_stop(stream);
        s->ev.on_end(s->ev.ctx);
    }
}

shoal_status shoal_tcp_start(shoal_tcp_stream *s, const shoal_tcp_events *events)
{
    s->ev = *events;
    int rc = uv_read_start((uv_stream_t *)&s->handle, give_buffer, data_read);
    s->started = rc == 0;
    return rc == 0 ? SHOAL_OK : SHOAL_ERR_IO;
}

void shoal_tcp_pause(shoal_tcp_stream *s)
{
    if (!s->closing) {
        (void)uv_read_stop((uv_stream_t *)&s->handle);
    }
}

void shoal_tcp_resume(shoal_tcp_stream *s)
{
    if (!s->closing) {
        (void)uv_read_start((uv_stream_t *)&s->handle, give_buffer, data_read);
    }
}

static void write_done(uv_write_t *req, int status)
{
    write_item *w = req->data;
    shoal_tcp_stream *s = w->stream;
    s->queued -= w->bytes.len;
    shoal_buf_clear(&w->bytes);
    shoal_free(w);
    if (s->closing) {
        return;
    }
    if (status == 0) {
        s->ev.on_sent(s->ev.ctx);
    } else {
        s->ev.on_end(s->ev.ctx);
    }
}

shoal_status shoal_tcp_write(shoal_tcp_stream *s, shoal_buf *bytes)
{
    if (s->closing || bytes->len == 0) {
        shoal_buf_clear(bytes);
        return s->closing ? SHOAL_ERR_STATE : SHOAL_OK;
    }
    write_item *w = shoal_calloc(1, sizeof *w);
    if (w == NULL) {
        shoal_buf_clear(bytes);
        return SHOAL_ERR_NOMEM;
    }
    w->req.data = w;
    w->stream = s;
    w->bytes = *bytes;
    *bytes = shoal_buf_init(w->bytes.max);
    /* libuv counts in unsigned int; callers write far less than 4 GiB at once. */
    uv_buf_t buf = uv_buf_init((char *)w->bytes.data, (unsigned)w->bytes.len);
    int rc = uv_write(&w->req, (uv_stream_t *)&s->handle, &buf, 1, write_done);
    if (rc != 0) {
        shoal_buf_clear(&w->bytes);
        shoal_free(w);
        return SHOAL_ERR_IO;
    }
    s->queued += w->bytes.len;
    return SHOAL_OK;
}

size_t shoal_tcp_queued(const shoal_tcp_stream *s)
{
    return s->queued;
}

void shoal_tcp_shutdown(shoal_tcp_stream *s)
{
    if (!s->closing && !s->shut) {
        s->shut = true;
        (void)uv_shutdown(&s->shutdown, (uv_stream_t *)&s->handle, NULL);
    }
}

const char *shoal_tcp_peer(const shoal_tcp_stream *s)
{
    return s->peer;
}
