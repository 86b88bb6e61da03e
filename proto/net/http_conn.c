/* http_conn.c - life of one connection: bytes in, bytes out, deadlines, closing. */
#include "kernels/base/mem.h"
#include "proto/net/http_conn.h"

enum {
    LINGER_MS = 1500,           /* for an unread body: long enough for the answer to arrive */
    MAX_FEED = 4 * 65536,       /* plain bytes of one receive, TLS record slack included */
    MAX_WIRE = 64 * 1024 * 1024 /* one write; callers cut large answers into pieces */
};

/* ---- deadlines --------------------------------------------------------------------------------
 */

static bool is_writing(const http_conn *c)
{
    return shoal_tcp_queued(c->tcp) > 0;
}

/* A request that came before its turn: its turn is a call of on_timer. */
static bool is_next_here(const http_conn *c)
{
    return c->phase == HTTP_IDLE && c->pending.len > 0 && !c->parsing;
}

void http_conn_arm(http_conn *c)
{
    uint64_t now = shoal_loop_now_ms(c->server->loop);
    uint64_t at = c->phase_deadline;
    if (is_next_here(c) && !c->closing) {
        shoal_timer_start(c->timer, 0, 0);
        return;
    }
    if (is_writing(c)) {
        uint64_t w = c->write_progress_ms + c->server->lim.write_timeout_ms;
        at = at == 0 || w < at ? w : at;
    }
    if (at == 0 || c->closing) {
        shoal_timer_stop(c->timer);
    } else {
        shoal_timer_start(c->timer, at > now ? at - now : 1, 0);
    }
}

static void leave_idle(http_conn *c)
{
    shoal_http_server *s = c->server;
    if (c->idle) {
        *(c->idle_prev != NULL ? &c->idle_prev->idle_next : &s->idle_first) = c->idle_next;
        *(c->idle_next != NULL ? &c->idle_next->idle_prev : &s->idle_last) = c->idle_prev;
        c->idle_next = c->idle_prev = NULL;
        c->idle = false;
    }
}

static void enter_idle(http_conn *c)
{
    shoal_http_server *s = c->server;
    c->idle = true;
    c->idle_prev = s->idle_last;
    *(s->idle_last != NULL ? &s->idle_last->idle_next : &s->idle_first) = c;
    s->idle_last = c;
}

void http_conn_phase(http_conn *c, http_phase phase, uint64_t timeout_ms)
{
    leave_idle(c);
    if (phase == HTTP_IDLE && !c->closing) {
        enter_idle(c);
    }
    c->phase = phase;
    c->phase_deadline = timeout_ms == 0 ? 0 : shoal_loop_now_ms(c->server->loop) + timeout_ms;
    http_conn_arm(c);
}

/* While a request waits for its answer, further bytes are kept up to a limit; then reading stops.
 */
static void hold_back(http_conn *c)
{
    if (c->phase == HTTP_ANSWER && c->pending.len > c->server->lim.max_header_bytes) {
        c->paused = true;
        shoal_tcp_pause(c->tcp);
    }
}

static void on_timer(void *ctx)
{
    http_conn *c = ctx;
    uint64_t now = shoal_loop_now_ms(c->server->loop);
    if (is_writing(c) && now >= c->write_progress_ms + c->server->lim.write_timeout_ms) {
        http_conn_drop(c);
        return;
    }
    if (is_next_here(c)) {
        http_conn_phase(c, HTTP_HEADERS, c->server->lim.header_timeout_ms);
        http_parse_input(c);
        hold_back(c);
        return;
    }
    if (c->phase_deadline == 0 || now < c->phase_deadline) {
        http_conn_arm(c);
        return;
    }
    bool speaks = c->tls == NULL || (!c->at_work && shoal_tls_ready(c->tls));
    c->server->count.slow += c->phase == HTTP_BODY || c->phase == HTTP_HEADERS;
    if (c->phase == HTTP_BODY) {
        http_fail(c, 408, "request body came too slowly");
    } else if (c->phase == HTTP_HEADERS && speaks) {
        http_fail(c, 408, "request header came too slowly");
    } else {
        http_conn_drop(c);
    }
}

/* ---- writing ----------------------------------------------------------------------------------
 */

bool http_conn_write(http_conn *c, shoal_buf *wire)
{
    if (wire->failed) {
        shoal_buf_clear(wire);
        return false;
    }
    if (!is_writing(c)) {
        c->write_progress_ms = shoal_loop_now_ms(c->server->loop);
    }
    return shoal_tcp_write(c->tcp, wire) == SHOAL_OK;
}

bool http_conn_send(http_conn *c, const void *data, size_t n)
{
    if (c->closing) {
        return false;
    }
    shoal_buf wire = shoal_buf_init(MAX_WIRE);
    bool ok;
    if (c->tls != NULL) {
        ok = shoal_tls_seal(c->tls, data, n, &wire, NULL) == SHOAL_OK;
    } else {
        ok = shoal_buf_put(&wire, data, n);
    }
    ok = http_conn_write(c, &wire) && ok;
    if (!ok) {
        http_conn_drop(c);
    } else {
        http_conn_arm(c);
    }
    return ok;
}

static void on_sent(void *ctx)
{
    http_conn *c = ctx;
    c->write_progress_ms = shoal_loop_now_ms(c->server->loop);
    if (c->phase == HTTP_LINGER && !is_writing(c)) {
        if (c->peer_done) {
            http_conn_drop(c);
        } else {
            http_conn_phase(c, HTTP_LINGER, LINGER_MS);
        }
        return;
    }
    http_pump(c);
    http_conn_arm(c);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void on_data(void *ctx, const uint8_t *data, size_t n)
{
    http_conn *c = ctx;
    if (c->phase == HTTP_LINGER || c->closing) {
        return; /* thrown away */
    }
    if (c->phase == HTTP_IDLE) {
        http_conn_phase(c, HTTP_HEADERS, c->server->lim.header_timeout_ms);
    }
    if (c->tls != NULL) {
        if (!http_tls_input(c, data, n)) {
            return;
        }
    } else if (!shoal_buf_put(&c->pending, data, n)) {
        http_conn_drop(c);
        return;
    }
    http_parse_input(c);
    hold_back(c);
}

/* The peer has gone, or has only said that it sends no more: an answer on its way is finished, a
 * request that nobody has answered yet is over. */
static void on_end(void *ctx)
{
    http_conn *c = ctx;
    c->peer_done = true;
    bool answering = c->phase == HTTP_ANSWER && c->req.answer == ANSWER_SHARED;
    if ((answering || c->phase == HTTP_LINGER) && is_writing(c)) {
        c->close_after = true;
        return;
    }
    http_conn_drop(c);
}

/* ---- opening and closing ----------------------------------------------------------------------
 */

void http_conn_free(http_conn *c)
{
    shoal_http_server *s = c->server;
    *c->link = c->next;
    if (c->next != NULL) {
        c->next->link = c->link;
    }
    http_request_clear(&c->req);
    shoal_buf_clear(&c->pending);
    shoal_buf_clear(&c->held);
    shoal_tls_session_close(c->tls);
    shoal_timer_close(c->timer);
    c->address->n_conns--;
    if (c->client != NULL) {
        c->client->n_conns--;
    }
    shoal_free(c);
    http_server_conn_closed(s);
}

static void on_closed(void *ctx)
{
    http_conn *c = ctx;
    http_tell_gone(&c->req);
    c->gone = true;
    c->tcp = NULL;
    http_tls_leave(c);
    if (!c->at_work) {
        http_conn_free(c);
    }
}

void http_conn_drop(http_conn *c)
{
    if (!c->closing) {
        c->closing = true;
        c->server->count.connections--;
        leave_idle(c);
        shoal_timer_stop(c->timer);
        shoal_tcp_close(c->tcp);
    }
}

/* Says goodbye, and reads on for a moment: closing with unread bytes would make the system send a
 * reset that can overtake the answer. */
static void say_goodbye(http_conn *c)
{
    if (c->tls != NULL) {
        shoal_buf wire = shoal_buf_init(4096);
        shoal_tls_finish(c->tls, &wire);
        (void)http_conn_write(c, &wire);
    }
    shoal_buf_clear(&c->pending);
    shoal_tcp_shutdown(c->tcp);
    if (c->peer_done && !is_writing(c)) {
        http_conn_drop(c);
        return;
    }
    if (c->paused) {
        c->paused = false;
        shoal_tcp_resume(c->tcp);
    }
    uint64_t wait = is_writing(c) ? c->server->lim.write_timeout_ms : LINGER_MS;
    http_conn_phase(c, HTTP_LINGER, wait);
}

void http_conn_next(http_conn *c)
{
    if (c->closing) {
        return;
    }
    if (c->close_after || c->server->stopping || c->peer_done) {
        say_goodbye(c);
        return;
    }
    http_request_clear(&c->req);
    http_request_init(&c->req, c);
    http_conn_phase(c, HTTP_IDLE, c->server->lim.idle_timeout_ms);
    if (c->paused) {
        c->paused = false;
        shoal_tcp_resume(c->tcp);
    }
    /* What came already is parsed by the loop going on, or by on_timer: no handler is called from
     * inside an answer, in the middle of what the one that answers is doing. */
}

static shoal_status start_conn(http_conn *c, shoal_tcp_stream *stream)
{
    shoal_http_server *s = c->server;
    SHOAL_TRY(shoal_timer_open(&c->timer, s->loop, on_timer, c, NULL));
    if (s->tls != NULL) {
        SHOAL_TRY(shoal_tls_session_open(&c->tls, s->tls, NULL));
    }
    shoal_tcp_events ev = {
        .on_data = on_data, .on_end = on_end, .on_sent = on_sent, .on_closed = on_closed, .ctx = c};
    return shoal_tcp_start(stream, &ev);
}

void http_conn_open(shoal_http_server *s, shoal_tcp_stream *stream, http_peer *from)
{
    http_conn *c = shoal_calloc(1, sizeof *c);
    if (c == NULL) {
        shoal_tcp_close(stream);
        return;
    }
    c->server = s;
    c->tcp = stream;
    c->pending = shoal_buf_init(s->lim.max_header_bytes + MAX_FEED);
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    http_request_init(&c->req, c);
    if (start_conn(c, stream) != SHOAL_OK) {
        shoal_tls_session_close(c->tls);
        shoal_timer_close(c->timer);
        shoal_free(c);
        shoal_tcp_close(stream);
        return;
    }
    c->next = s->conns;
    c->link = &s->conns;
    if (s->conns != NULL) {
        s->conns->link = &c->next;
    }
    s->conns = c;
    s->n_conns++;
    s->count.connections++;
    c->address = from;
    from->n_conns++;
    http_conn_phase(c, HTTP_HEADERS,
                    c->tls != NULL ? s->lim.handshake_timeout_ms : s->lim.header_timeout_ms);
}
