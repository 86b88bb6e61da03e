/* fuzz_http.c - any bytes as a client's side of an HTTP connection, in one piece or many, to the
 * real server over loopback; its handler answers at once, late, in a stream, or takes an upload.
 * The first byte is the size of the pieces, 0 for all in one.
 *
 * Every request that reached the handler ends exactly once (answered or gone), every connection is
 * closed when the client has left, and what the server writes is HTTP. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/net/http_server.h"
#include "tests/fuzz/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 300, TURNS_MAX = 20000, LATER_MAX = 64 };

typedef struct site {
    shoal_loop *loop;
    shoal_http_server *server;
    struct sockaddr_in at;
    shoal_http_request *later[LATER_MAX]; /* to be answered in the next turn */
    size_t n_later;
    long opened, ended, turns;
    const uint8_t *next; /* of the input */
    size_t left, piece;
    int fd;
    size_t got;
    uint8_t answer[64]; /* the beginning of what came back */
} site;

static site g;

/* ---- the handler ---- */

static void forget(shoal_http_request *r)
{
    for (size_t i = 0; i < g.n_later; i++) {
        if (g.later[i] == r) g.later[i--] = g.later[--g.n_later];
    }
}

static void on_gone(void *ctx, shoal_http_request *r)
{
    (void)ctx;
    forget(r);
    g.ended++;
}

static shoal_status on_piece(void *ctx, shoal_http_request *r, const uint8_t *data, size_t n)
{
    (void)ctx;
    if (n == 0 || data[0] != '!') return SHOAL_OK;
    shoal_http_respond(r, 409, "text/plain", "stop", 4);
    g.ended++;
    return SHOAL_ERR_STATE;
}

static void on_headers(void *ctx, shoal_http_request *r, shoal_http_accept *a)
{
    char value[16];
    const char *path = shoal_http_path(r);
    (void)ctx;
    g.opened++;
    must(strlen(shoal_http_method(r)) > 0 && strlen(shoal_http_query(r)) < 65536);
    must(shoal_http_content_length(r) >= -1);
    must(shoal_http_peer_cert_hash(r) == NULL);
    if (shoal_http_query_get(r, "wait", value, sizeof value)) must(strlen(value) < sizeof value);
    if (shoal_http_query_get(r, "", value, sizeof value)) must(strlen(value) < sizeof value);
    (void)shoal_http_header(r, "Accept");
    a->on_gone = on_gone;
    a->max_body = path[1] == 'n' ? 0 : BODY_MAX;
    if (path[1] == 'u') a->on_body = on_piece;
    if (path[1] == 'd') { /* decided at once, the body stays unread */
        g.ended++;
        (void)shoal_http_add_header(r, "X-Test", value[0] != 0 ? path : "x");
        shoal_http_respond(r, 403, "text/plain", "no", 2);
    }
}

static void on_request(void *ctx, shoal_http_request *r)
{
    size_t n = 0;
    const uint8_t *body = shoal_http_body(r, &n);
    (void)ctx;
    must(n <= BODY_MAX);
    switch (shoal_http_path(r)[1]) {
    case 'l':
        if (g.n_later < LATER_MAX) {
            g.later[g.n_later++] = r;
            return;
        }
        break;
    case 's':
        shoal_http_stream_begin(r, 200, "text/plain");
        (void)(shoal_http_stream_write(r, body, n) == SHOAL_OK);
        g.ended++; /* end gives the handle back */
        shoal_http_stream_end(r);
        return;
    default: break;
    }
    g.ended++;
    shoal_http_respond(r, 200, "application/octet-stream", body, n);
}

/* ---- the client ---- */

static void read_answer(void)
{
    uint8_t chunk[4096];
    ssize_t n;
    while ((n = recv(g.fd, chunk, sizeof chunk, MSG_DONTWAIT)) > 0) {
        for (size_t i = 0; i < (size_t)n && g.got + i < sizeof g.answer; i++) {
            g.answer[g.got + i] = chunk[i];
        }
        g.got += (size_t)n;
    }
}

static void write_piece(void)
{
    if (g.fd < 0 || g.left == 0) return;
    size_t n = g.piece == 0 || g.piece > g.left ? g.left : g.piece;
    ssize_t sent = send(g.fd, g.next, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        g.left = 0; /* the server has closed */
    } else {
        g.next += sent;
        g.left -= (size_t)sent;
    }
    if (g.left == 0) (void)shutdown(g.fd, SHUT_WR);
}

/* One turn of the loop: late answers, the next piece, and whether all is over. */
static void turn(void *ctx)
{
    (void)ctx;
    while (g.n_later > 0) {
        shoal_http_request *r = g.later[0];
        forget(r);
        g.ended++;
        shoal_http_respond(r, 200, "text/plain", "late", 4);
    }
    write_piece();
    read_answer();
    must(g.turns++ < TURNS_MAX); /* a connection that nobody closes */
    if (g.left == 0 && g.turns > 3 && shoal_http_server_connections(g.server) == 0) {
        shoal_loop_stop(g.loop);
    } else {
        must(shoal_loop_post(g.loop, turn, NULL));
    }
}

static void open_site(void)
{
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_header_bytes = 2048;
    lim.max_requests = 8;
    shoal_http_options opt = {.limits = &lim,
                              .handler = {.on_headers = on_headers, .on_request = on_request}};
    must(shoal_loop_open(&g.loop, NULL) == SHOAL_OK);
    must(shoal_http_server_open(&g.server, g.loop, &opt, NULL) == SHOAL_OK);
    g.at.sin_family = AF_INET;
    g.at.sin_port = htons(shoal_http_server_port(g.server));
    g.at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (g.loop == NULL) open_site();
    if (size < 2 || size > 8192) return 0;
    g.next = data + 1;
    g.left = size - 1;
    g.piece = data[0];
    g.turns = 0;
    g.got = 0;
    g.fd = socket(AF_INET, SOCK_STREAM, 0);
    must(g.fd >= 0);
    must(connect(g.fd, (const struct sockaddr *)&g.at, sizeof g.at) == 0);
    must(shoal_loop_post(g.loop, turn, NULL));
    shoal_loop_run(g.loop);
    read_answer();
    (void)close(g.fd);
    must(g.opened == g.ended);
    must(g.got == 0 || (g.got > 12 && memcmp(g.answer, "HTTP/1.1 ", 9) == 0));
    return 0;
}
