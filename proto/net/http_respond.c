/* http_respond.c - answers: whole, shared, streamed; and those the server gives itself. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels/base/mem.h"
#include "proto/net/http_conn.h"

enum { PIECE_BYTES = 65536, MAX_HEAD = 8192 };

static const char *status_text(int status)
{
    return http_status_str((enum http_status)status);
}

/* IMF-fixdate (RFC 9110, 5.6.7); written by hand because strftime follows the locale. */
static void put_date(shoal_buf *b)
{
    static const char DAYS[] = "SunMonTueWedThuFriSat";
    static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm t;
    if (gmtime_r(&now, &t) != NULL) {
        shoal_buf_putf(b, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n", DAYS + 3 * t.tm_wday,
                       t.tm_mday, MONTHS + 3 * t.tm_mon, 1900 + t.tm_year, t.tm_hour, t.tm_min,
                       t.tm_sec);
    }
}

/* Status line and headers; body_n < 0: length unknown. */
static void put_head(shoal_buf *b, shoal_http_request *r, int status, const char *media_type,
                     int64_t body_n)
{
    http_conn *c = r->conn;
    shoal_buf_putf(b, "HTTP/1.1 %d %s\r\n", status, status_text(status));
    put_date(b);
    if (media_type != NULL) {
        shoal_buf_putf(b, "Content-Type: %s\r\n", media_type);
    }
    if (body_n >= 0 && status != 204 && status != 304) {
        shoal_buf_putf(b, "Content-Length: %lld\r\n", (long long)body_n);
    } else if (r->chunked_answer) {
        shoal_buf_put_str(b, "Transfer-Encoding: chunked\r\n");
    }
    shoal_buf_put(b, r->extra.data, r->extra.len);
    if (c->close_after || c->server->stopping) {
        c->close_after = true;
        shoal_buf_put_str(b, "Connection: close\r\n");
    } else if (c->parser.http_minor == 0) {
        shoal_buf_put_str(b, "Connection: keep-alive\r\n");
    }
    shoal_buf_put_str(b, "\r\n");
}

bool shoal_http_add_header(shoal_http_request *r, const char *name, const char *value)
{
    if (strpbrk(name, "\r\n: ") != NULL || strpbrk(value, "\r\n") != NULL) {
        return false;
    }
    size_t before = r->extra.len;
    if (!shoal_buf_putf(&r->extra, "%s: %s\r\n", name, value)) {
        r->extra.len = before;
        r->extra.failed = false;
        return false;
    }
    return true;
}

/* True when the request may still be answered; an answer before the body was read means that the
 * rest of it will not be. */
static bool begin_answer(shoal_http_request *r)
{
    http_conn *c = r->conn;
    if (!r->open || r->answer != ANSWER_NONE || c->closing) {
        return false;
    }
    if (c->phase == HTTP_BODY || (c->phase == HTTP_HEADERS && r->has_body)) {
        c->close_after = true;
    }
    return true;
}

/* The whole answer is queued. While input is being parsed, the parser's loop goes on by itself
 * once it sees the answer. */
static void answer_done(shoal_http_request *r)
{
    http_conn *c = r->conn;
    r->answer = ANSWER_DONE;
    http_request_over(r);
    if (c->phase == HTTP_ANSWER || !c->parsing) {
        http_conn_next(c);
    }
}

static void send_whole(shoal_http_request *r, int status, const char *media_type, const void *body,
                       size_t n)
{
    shoal_buf out = shoal_buf_init(MAX_HEAD + n);
    put_head(&out, r, status, media_type, (int64_t)n);
    if (!r->head) {
        shoal_buf_put(&out, body, n);
    }
    if (shoal_buf_status(&out, NULL) != SHOAL_OK) {
        http_conn_drop(r->conn);
    } else {
        (void)http_conn_send(r->conn, out.data, out.len);
    }
    shoal_buf_clear(&out);
}

void shoal_http_respond(shoal_http_request *r, int status, const char *media_type, const void *body,
                        size_t n)
{
    if (!begin_answer(r)) {
        r->open = false;
        return;
    }
    r->open = false;
    send_whole(r, status, media_type, body, n);
    answer_done(r);
}

static void release_shared(shoal_http_request *r)
{
    shoal_loop_fn *release = r->release;
    r->release = NULL;
    r->shared = NULL;
    r->shared_n = r->shared_at = 0;
    if (release != NULL) {
        release(r->release_ctx);
    }
}

void http_release(shoal_http_request *r)
{
    release_shared(r);
    shoal_buf_clear(&r->rest);
    r->rest_at = 0;
}

/* Goes on from *at, as far as the connection takes it. False when the connection broke. */
static bool pump_bytes(http_conn *c, const uint8_t *data, size_t n, size_t *at)
{
    while (*at < n && shoal_tcp_queued(c->tcp) < c->server->lim.write_high_water) {
        size_t piece = n - *at < PIECE_BYTES ? n - *at : PIECE_BYTES;
        if (!http_conn_send(c, data + *at, piece)) {
            return false; /* released when the connection is freed */
        }
        *at += piece;
    }
    return true;
}

static void pump_shared(shoal_http_request *r)
{
    http_conn *c = r->conn;
    if (!pump_bytes(c, r->shared, r->shared_n, &r->shared_at) || r->shared_at < r->shared_n) {
        return;
    }
    release_shared(r);
    if (!pump_bytes(c, r->rest.data, r->rest.len, &r->rest_at) || r->rest_at < r->rest.len) {
        return;
    }
    http_release(r);
    answer_done(r);
}

void http_pump(http_conn *c)
{
    shoal_http_request *r = &c->req;
    if (c->closing) {
        return;
    }
    if (r->answer == ANSWER_SHARED) {
        pump_shared(r);
    } else if (r->answer == ANSWER_STREAM && r->on_drain != NULL &&
               shoal_tcp_queued(c->tcp) < c->server->lim.write_high_water) {
        void (*drained)(void *, shoal_http_request *) = r->on_drain;
        r->on_drain = NULL;
        drained(r->drain_ctx, r);
    }
}

static void take_shared(shoal_http_request *r, const shoal_http_shared *what)
{
    r->answer = ANSWER_SHARED;
    r->release = what->release;
    r->release_ctx = what->ctx;
    r->shared = what->body;
    r->shared_n = what->n;
    if (what->rest != NULL) {
        r->rest = *what->rest;
        *what->rest = shoal_buf_init(0);
    }
}

void shoal_http_respond_shared(shoal_http_request *r, int status, const char *media_type,
                               const shoal_http_shared *what)
{
    bool ok = begin_answer(r);
    r->open = false;
    if (!ok) {
        what->release(what->ctx);
        if (what->rest != NULL) {
            shoal_buf_clear(what->rest);
        }
        return;
    }
    take_shared(r, what);
    shoal_buf out = shoal_buf_init(MAX_HEAD);
    put_head(&out, r, status, media_type, (int64_t)(r->shared_n + r->rest.len));
    ok = shoal_buf_status(&out, NULL) == SHOAL_OK && http_conn_send(r->conn, out.data, out.len);
    shoal_buf_clear(&out);
    if (!ok || r->head) {
        http_release(r);
    }
    if (ok) {
        pump_shared(r);
    } else {
        http_conn_drop(r->conn);
    }
}

void shoal_http_stream_begin(shoal_http_request *r, int status, const char *media_type)
{
    if (!begin_answer(r)) {
        return;
    }
    http_conn *c = r->conn;
    r->answer = ANSWER_STREAM;
    r->chunked_answer = c->parser.http_minor >= 1;
    c->close_after = c->close_after || !r->chunked_answer; /* HTTP/1.0: the end is the close */
    shoal_buf out = shoal_buf_init(MAX_HEAD);
    put_head(&out, r, status, media_type, -1);
    if (shoal_buf_status(&out, NULL) == SHOAL_OK) {
        (void)http_conn_send(c, out.data, out.len);
    } else {
        http_conn_drop(c);
    }
    shoal_buf_clear(&out);
}

shoal_status shoal_http_stream_write(shoal_http_request *r, const void *data, size_t n)
{
    http_conn *c = r->conn;
    if (c->closing || r->answer != ANSWER_STREAM) {
        return SHOAL_ERR_TOO_LARGE;
    }
    size_t queued = shoal_tcp_queued(c->tcp);
    if (n > c->server->lim.max_write_queue || queued > c->server->lim.max_write_queue - n) {
        http_conn_drop(c); /* the peer does not read */
        return SHOAL_ERR_TOO_LARGE;
    }
    if (n == 0 || r->head) {
        return SHOAL_OK; /* an empty chunk would end the answer */
    }
    shoal_buf out = shoal_buf_init(n + 32);
    if (r->chunked_answer) {
        shoal_buf_putf(&out, "%zx\r\n", n);
    }
    shoal_buf_put(&out, data, n);
    if (r->chunked_answer) {
        shoal_buf_put_str(&out, "\r\n");
    }
    bool ok = !out.failed && http_conn_send(c, out.data, out.len);
    shoal_buf_clear(&out);
    if (!ok) {
        http_conn_drop(c);
        return SHOAL_ERR_TOO_LARGE;
    }
    return queued + n > c->server->lim.write_high_water ? SHOAL_ERR_AGAIN : SHOAL_OK;
}

void shoal_http_stream_on_drain(shoal_http_request *r,
                                void (*on_drain)(void *ctx, shoal_http_request *req), void *ctx)
{
    r->on_drain = on_drain;
    r->drain_ctx = ctx;
}

void shoal_http_stream_end(shoal_http_request *r)
{
    http_conn *c = r->conn;
    r->open = false;
    r->on_drain = NULL;
    if (r->answer != ANSWER_STREAM || c->closing) {
        return;
    }
    static const char LAST[] = "0\r\n\r\n";
    if (r->chunked_answer && !r->head && !http_conn_send(c, LAST, sizeof LAST - 1)) {
        return;
    }
    answer_done(r);
}

void http_tell_gone(shoal_http_request *r)
{
    http_request_over(r);
    if (r->open) {
        r->open = false;
        if (r->on_gone != NULL) {
            r->on_gone(r->gone_ctx, r);
        }
    }
}

/* What a client that comes at a bad time is told: some time, and no two the same, so that those who
 * came together do not come back together. */
static shoal_http_refusal refusal_of(shoal_http_server *s, int status, const char *reason)
{
    shoal_http_refusal why = {.status = status, .reason = reason};
    if (status == 429 || status == 503) {
        uint32_t ms = s->lim.retry_after_ms;
        why.retry_after_ms = ms + (uint32_t)shoal_rng_below(&s->rng, (uint64_t)ms + 1);
        s->count.busy++;
    }
    return why;
}

static void write_refusal(http_conn *c, const shoal_http_refusal *why)
{
    shoal_http_request *r = &c->req;
    char seconds[16];
    const char *media_type = "text/plain; charset=utf-8";
    shoal_buf body = shoal_buf_init(MAX_HEAD);
    if (c->server->h.on_error != NULL) {
        c->server->h.on_error(c->server->h.ctx, why, &body, &media_type);
    } else {
        shoal_buf_putf(&body, "%s\n", why->reason);
    }
    if (why->retry_after_ms > 0) {
        (void)snprintf(seconds, sizeof seconds, "%u", (why->retry_after_ms + 999) / 1000);
        (void)shoal_http_add_header(r, "Retry-After", seconds);
    }
    send_whole(r, why->status, media_type, body.data, body.len);
    shoal_buf_clear(&body);
}

void http_fail(http_conn *c, int status, const char *reason)
{
    shoal_http_request *r = &c->req;
    http_tell_gone(r);
    if (c->closing || r->answer != ANSWER_NONE) {
        http_conn_drop(c);
        return;
    }
    c->close_after = true;
    r->extra.len = 0;
    shoal_http_refusal why = refusal_of(c->server, status, reason);
    write_refusal(c, &why);
    r->answer = ANSWER_DONE;
    http_conn_next(c);
}
