/* http_tls.c - TLS of connections: what is done at once, what waits for a worker thread, and who a
 * connection belongs to once its certificate is known.
 *
 * A handshake with certificates goes through two queues. In `arrived` are clients of whom nothing
 * is held but their first message; `max_handshakes` of them are let into the handshake. In
 * `started` are those whose next message has come. Workers take from `started` first: who has begun
 * is finished before others begin, so that under a flood handshakes still complete.
 */
#include "kernels/base/mem.h"
#include "proto/net/http_conn.h"

enum { MAX_PLAIN = 4 * 65536, MAX_WIRE = 1024 * 1024, EARLY_PER_TURN = 16 };

/* ---- queues -----------------------------------------------------------------------------------
 */

static void enqueue(http_queue *q, http_conn *c)
{
    c->waits_in = q;
    c->wait_next = NULL;
    c->wait_link = q->last;
    *q->last = c;
    q->last = &c->wait_next;
}

static void dequeue(http_conn *c)
{
    *c->wait_link = c->wait_next;
    if (c->wait_next != NULL) {
        c->wait_next->wait_link = c->wait_link;
    } else {
        c->waits_in->last = c->wait_link;
    }
    c->waits_in = NULL;
}

static void dispatch(shoal_http_server *s);

static void leave_handshake(http_conn *c)
{
    shoal_http_server *s = c->server;
    if (c->waits_in != NULL) {
        dequeue(c);
    }
    if (c->shake != SHAKE_NONE) {
        s->count.handshakes -= c->shake == SHAKE_STARTED;
        c->address->n_handshakes--;
        c->shake = SHAKE_NONE;
    }
}

void http_tls_leave(http_conn *c)
{
    leave_handshake(c);
    dispatch(c->server);
}

/* ---- the client is known ----------------------------------------------------------------------
 */

/* A device that lost its network comes back while the server still believes in its old
 * connections: they make room. */
static bool drop_oldest_of(http_peer *client, shoal_http_server *s)
{
    for (http_conn *c = s->idle_first; c != NULL; c = c->idle_next) {
        if (c->client == client) {
            s->count.made_room++;
            http_conn_drop(c);
            return true;
        }
    }
    return false;
}

static bool admit_client(http_conn *c)
{
    shoal_http_server *s = c->server;
    const uint8_t *hash = shoal_tls_peer_cert_hash(c->tls);
    if (hash == NULL) {
        return true;
    }
    http_peer *client = http_peers_get(s->peers, hash, shoal_loop_now_ms(s->loop));
    if (client == NULL) {
        return false;
    }
    size_t max = s->lim.max_connections_per_client;
    if (max != 0 && client->n_conns >= max && !drop_oldest_of(client, s)) {
        s->count.shut_out++;
        return false;
    }
    client->n_conns++;
    c->client = client;
    return true;
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static void give_up(http_conn *c)
{
    if (shoal_tcp_queued(c->tcp) > 0) { /* the alert that says why */
        shoal_tcp_shutdown(c->tcp);
        c->close_after = true;
        http_conn_phase(c, HTTP_LINGER, c->server->lim.write_timeout_ms);
    } else {
        http_conn_drop(c);
    }
}

/* A client in whose handshake work and memory were put has half the time left to go on. */
static void expect_answer(http_conn *c)
{
    uint64_t half = c->server->lim.handshake_timeout_ms / 2;
    uint64_t now = shoal_loop_now_ms(c->server->loop);
    if (c->shake == SHAKE_STARTED && c->phase_deadline > now + half) {
        http_conn_phase(c, HTTP_HEADERS, half);
    }
}

/* After a call of shoal_tls_feed that did not end with AGAIN. True: c->pending may be parsed. */
static bool fed(http_conn *c, bool was_ready, shoal_status st, shoal_buf *wire)
{
    shoal_http_server *s = c->server;
    bool sent = http_conn_write(c, wire);
    if (st != SHOAL_OK || !sent) {
        http_tls_leave(c);
        if (sent) {
            give_up(c);
        } else {
            http_conn_drop(c);
        }
        return false;
    }
    http_conn_arm(c);
    if (was_ready || !shoal_tls_ready(c->tls)) {
        if (!was_ready) {
            expect_answer(c);
        }
        return was_ready;
    }
    http_tls_leave(c);
    *(shoal_tls_resumed(c->tls) ? &s->count.resumed : &s->count.shaken) += 1;
    if (!admit_client(c)) {
        http_conn_drop(c);
        return false;
    }
    http_conn_phase(c, HTTP_HEADERS, s->lim.header_timeout_ms);
    return true;
}

typedef struct tls_job {
    http_conn *conn;
    shoal_buf wire, plain;
    shoal_status st;
} tls_job;

static void work(void *ctx)
{
    tls_job *j = ctx;
    j->st = shoal_tls_feed(j->conn->tls, SHOAL_TLS_ANY, NULL, 0, &j->wire, &j->plain, NULL);
}

/* Back on the loop. */
static void take_result(http_conn *c, tls_job *j)
{
    if (c->gone) {
        http_conn_free(c);
        return;
    }
    if (c->closing) {
        return; /* freed when TCP says that it is closed */
    }
    shoal_tcp_resume(c->tcp);
    if (!shoal_buf_put(&c->pending, j->plain.data, j->plain.len)) {
        http_conn_drop(c);
    } else if (fed(c, false, j->st, &j->wire)) {
        http_parse_input(c);
    }
}

static void work_done(void *ctx)
{
    tls_job *j = ctx;
    shoal_http_server *s = j->conn->server;
    j->conn->at_work = false;
    s->workers--;
    dispatch(s); /* first: freeing the connection may free what holds the server open */
    take_result(j->conn, j);
    shoal_buf_clear(&j->wire);
    shoal_buf_clear(&j->plain);
    shoal_free(j);
}

/* Nothing more is read from the connection until the worker is done with the session. */
static void start_work(http_conn *c)
{
    shoal_http_server *s = c->server;
    tls_job *j = shoal_calloc(1, sizeof *j);
    if (j != NULL) {
        *j = (tls_job){
            .conn = c, .wire = shoal_buf_init(MAX_WIRE), .plain = shoal_buf_init(MAX_PLAIN)};
        if (shoal_loop_work(s->loop, work, work_done, j, NULL) == SHOAL_OK) {
            c->at_work = true;
            s->workers++;
            shoal_tcp_pause(c->tcp);
            return;
        }
    }
    shoal_free(j);
    http_conn_drop(c);
}

static void dispatch(shoal_http_server *s)
{
    while (s->workers < s->lim.handshake_workers) {
        http_conn *c = s->started.first;
        if (c != NULL) {
            dequeue(c);
        } else if (s->arrived.first != NULL && s->count.handshakes < s->lim.max_handshakes) {
            c = s->arrived.first;
            dequeue(c);
            c->shake = SHAKE_STARTED;
            s->count.handshakes++;
        } else {
            return;
        }
        if (!c->closing) {
            start_work(c);
        }
    }
}

/* Public-key work comes next. */
static void ask_for_worker(http_conn *c)
{
    shoal_http_server *s = c->server;
    const shoal_http_limits *lim = &s->lim;
    if (c->shake == SHAKE_NONE) {
        size_t max = lim->max_handshakes_per_address;
        if ((max != 0 && c->address->n_handshakes >= max) ||
            !http_bucket_take(&c->address->handshakes, lim->handshake_rate, lim->handshake_burst,
                              shoal_loop_now_ms(s->loop))) {
            s->count.shut_out++;
            http_conn_drop(c);
            return;
        }
        c->shake = SHAKE_ARRIVED;
        c->address->n_handshakes++;
    }
    if (c->waits_in == NULL) {
        enqueue(c->shake == SHAKE_STARTED ? &s->started : &s->arrived, c);
    }
    dispatch(s);
}

static bool feed(http_conn *c, const uint8_t *data, size_t n)
{
    shoal_buf wire = shoal_buf_init(MAX_WIRE);
    bool was_ready = shoal_tls_ready(c->tls);
    shoal_status st = shoal_tls_feed(c->tls, SHOAL_TLS_CHEAP, data, n, &wire, &c->pending, NULL);
    if (st == SHOAL_ERR_AGAIN) {
        shoal_buf_clear(&wire); /* a session that waits has said nothing */
        ask_for_worker(c);
        return false;
    }
    return fed(c, was_ready, st, &wire);
}

/* ---- taking turns -----------------------------------------------------------------------------
 */

/* What is cheap once is not cheap a thousand times: when thousands come back at one moment, a few
 * of their handshakes are looked at in a turn of the loop, between requests of those who are
 * connected. */
static bool has_turn(http_conn *c)
{
    shoal_http_server *s = c->server;
    uint64_t now = shoal_loop_now_ms(s->loop);
    if (now != s->early_ms && s->early.first == NULL) {
        s->early_ms = now;
        s->early_left = EARLY_PER_TURN;
    }
    if (s->early_left == 0) {
        return false;
    }
    s->early_left--;
    return true;
}

static void look_at_early(http_conn *c)
{
    shoal_buf held = c->held;
    c->held = shoal_buf_init(0);
    shoal_tcp_resume(c->tcp);
    if (feed(c, held.data, held.len)) {
        http_parse_input(c);
    }
    shoal_buf_clear(&held);
}

void http_tls_next_turn(void *ctx)
{
    shoal_http_server *s = ctx;
    for (int i = 0; i < EARLY_PER_TURN && s->early.first != NULL; i++) {
        http_conn *c = s->early.first;
        dequeue(c);
        if (!c->closing) {
            look_at_early(c);
        }
    }
    s->early_ms = shoal_loop_now_ms(s->loop);
    s->early_left = 0; /* who comes in this turn stands behind those who wait */
    if (s->early.first != NULL) {
        shoal_timer_start(s->early_timer, 1, 0);
    }
}

static void wait_for_turn(http_conn *c, const uint8_t *data, size_t n)
{
    shoal_http_server *s = c->server;
    c->held = shoal_buf_init(MAX_PLAIN);
    if (!shoal_buf_put(&c->held, data, n)) {
        http_conn_drop(c);
        return;
    }
    shoal_tcp_pause(c->tcp);
    if (s->early.first == NULL) {
        shoal_timer_start(s->early_timer, 1, 0);
    }
    enqueue(&s->early, c);
}

bool http_tls_input(http_conn *c, const uint8_t *data, size_t n)
{
    /* who stands in a queue already only has more kept: a connection is in one queue at a time */
    bool waits = c->waits_in != NULL;
    if (!waits && !shoal_tls_ready(c->tls) && !has_turn(c)) {
        wait_for_turn(c, data, n);
        return false;
    }
    return feed(c, data, n);
}
