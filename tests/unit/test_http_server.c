/* The HTTP server over loopback: libcurl and raw sockets as clients, plain HTTP. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "kernels/base/mem.h"
#include "proto/net/http_server.h"

enum { BIG_BYTES = 8 * 1024 * 1024, N_PARALLEL = 100 };

static void pause_us(long us)
{
    struct timespec t = {.tv_nsec = us * 1000};
    (void)nanosleep(&t, NULL);
}

/* One server on its own thread; counters are read by the test after the fact. */
typedef struct fixture {
    shoal_loop *loop;
    shoal_http_server *server;
    shoal_http_limits lim;
    pthread_t thread;
    char base[64];
    uint16_t port;
    uint8_t *big;
    atomic_int gone, released, requests, uploaded;
    shoal_timer *timer;
    shoal_http_request *later[N_PARALLEL]; /* long polls */
    size_t n_later;
    bool answering;    /* one of these, this very moment */
    atomic_int nested; /* requests that came in the middle of that */
    shoal_http_request *streaming;
    atomic_int drains;
} fixture;

static void on_gone(void *ctx, shoal_http_request *r)
{
    fixture *f = ctx;
    for (size_t i = 0; i < f->n_later; i++) {
        if (f->later[i] == r) {
            f->later[i] = f->later[--f->n_later];
            break;
        }
    }
    f->streaming = f->streaming == r ? NULL : f->streaming;
    atomic_fetch_add(&f->gone, 1);
}

static shoal_status on_piece(void *ctx, shoal_http_request *r, const uint8_t *data, size_t n)
{
    fixture *f = ctx;
    if (data[0] == '!') {
        shoal_http_respond(r, 409, "text/plain", "stop", 4);
        return SHOAL_ERR_STATE;
    }
    atomic_fetch_add(&f->uploaded, (int)n);
    return SHOAL_OK;
}

static void on_headers(void *ctx, shoal_http_request *r, shoal_http_accept *a)
{
    a->on_gone = on_gone;
    a->ctx = ctx;
    const char *path = shoal_http_path(r);
    if (strcmp(path, "/echo") == 0) {
        a->max_body = 1000;
    } else if (strcmp(path, "/upload") == 0) {
        a->max_body = 64 * 1024 * 1024;
        a->on_body = on_piece;
    } else if (strcmp(path, "/forbidden") == 0) {
        shoal_http_respond(r, 403, "text/plain", "no", 2);
    }
}

static void released(void *ctx)
{
    atomic_fetch_add(&((fixture *)ctx)->released, 1);
}

static void answer_later(void *ctx)
{
    fixture *f = ctx;
    while (f->n_later > 0) {
        f->answering = true;
        shoal_http_respond(f->later[--f->n_later], 200, "text/plain", "later", 5);
        f->answering = false;
    }
}

static void stream_more(void *ctx, shoal_http_request *r)
{
    fixture *f = ctx;
    for (int i = 0; i < 64; i++) {
        if (shoal_http_stream_write(r, f->big, 65536) == SHOAL_ERR_AGAIN) {
            atomic_fetch_add(&f->drains, 1);
            shoal_http_stream_on_drain(r, stream_more, f);
            return;
        }
    }
    shoal_http_stream_end(r);
}

/* Three pieces from a worker thread, each through the loop. */
static void stream_piece(void *ctx)
{
    fixture *f = ctx;
    if (f->streaming != NULL) {
        (void)shoal_http_stream_write(f->streaming, "token ", 6);
    }
}

static void stream_work(void *ctx)
{
    fixture *f = ctx;
    for (int i = 0; i < 3; i++) {
        (void)shoal_loop_post(f->loop, stream_piece, f);
        pause_us(1000);
    }
}

static void stream_done(void *ctx)
{
    fixture *f = ctx;
    if (f->streaming != NULL) {
        shoal_http_stream_end(f->streaming);
        f->streaming = NULL;
    }
}

static void on_request(void *ctx, shoal_http_request *r)
{
    fixture *f = ctx;
    atomic_fetch_add(&f->requests, 1);
    atomic_fetch_add(&f->nested, f->answering);
    const char *path = shoal_http_path(r);
    char text[256];
    size_t n;
    if (strcmp(path, "/echo") == 0) {
        const uint8_t *body = shoal_http_body(r, &n);
        shoal_http_add_header(r, "X-Method", shoal_http_method(r));
        shoal_http_respond(r, 200, "application/octet-stream", body, n);
    } else if (strcmp(path, "/upload") == 0) {
        int len = snprintf(text, sizeof text, "%d", atomic_load(&f->uploaded));
        shoal_http_respond(r, 200, "text/plain", text, (size_t)len);
    } else if (strcmp(path, "/query") == 0) {
        bool ok = shoal_http_query_get(r, "name", text, sizeof text);
        shoal_http_respond(r, ok ? 200 : 400, "text/plain", text, ok ? strlen(text) : 0);
    } else if (strcmp(path, "/later") == 0) {
        f->later[f->n_later++] = r;
        shoal_timer_start(f->timer, 150, 0);
    } else if (strcmp(path, "/never") == 0) {
        f->streaming = r;
    } else if (strcmp(path, "/big") == 0) {
        const shoal_http_shared what = {
            .body = f->big, .n = BIG_BYTES, .release = released, .ctx = f};
        shoal_http_respond_shared(r, 200, "application/octet-stream", &what);
    } else if (strcmp(path, "/parts") == 0) {
        shoal_buf rest = shoal_buf_init(BIG_BYTES);
        (void)shoal_buf_put(&rest, f->big, BIG_BYTES / 2);
        const shoal_http_shared what = {
            .body = f->big, .n = BIG_BYTES, .release = released, .ctx = f, .rest = &rest};
        shoal_http_respond_shared(r, 200, "application/octet-stream", &what);
    } else if (strcmp(path, "/tokens") == 0) {
        f->streaming = r;
        shoal_http_stream_begin(r, 200, "text/event-stream");
        assert_int_equal(shoal_loop_work(f->loop, stream_work, stream_done, f, NULL), SHOAL_OK);
    } else if (strcmp(path, "/flood") == 0) {
        shoal_http_stream_begin(r, 200, "application/octet-stream");
        stream_more(f, r);
    } else {
        shoal_http_respond(r, 404, "text/plain", "nothing here", 12);
    }
}

static void on_error(void *ctx, const shoal_http_refusal *why, shoal_buf *body, const char **type)
{
    (void)ctx;
    *type = "application/json";
    shoal_buf_putf(body, "{\"error\":{\"code\":%d,\"message\":\"%s\",\"retry_after_ms\":%u}}",
                   why->status, why->reason, why->retry_after_ms);
}

static void *serve(void *ctx)
{
    shoal_loop_run(((fixture *)ctx)->loop);
    return NULL;
}

static void start(fixture *f, const shoal_http_limits *lim)
{
    memset(f, 0, sizeof *f);
    shoal_error err = {0};
    f->lim = lim != NULL ? *lim : shoal_http_limits_default();
    f->big = shoal_alloc(BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++) {
        f->big[i] = (uint8_t)(i * 31 + (i >> 16));
    }
    assert_int_equal(shoal_loop_open(&f->loop, &err), SHOAL_OK);
    assert_int_equal(shoal_timer_open(&f->timer, f->loop, answer_later, f, &err), SHOAL_OK);
    shoal_http_options opt = {
        .limits = &f->lim,
        .handler = {
            .ctx = f, .on_headers = on_headers, .on_request = on_request, .on_error = on_error}};
    assert_int_equal(shoal_http_server_open(&f->server, f->loop, &opt, &err), SHOAL_OK);
    f->port = shoal_http_server_port(f->server);
    (void)snprintf(f->base, sizeof f->base, "http://127.0.0.1:%u", (unsigned)f->port);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void stop_loop(void *ctx)
{
    shoal_loop_stop(((fixture *)ctx)->loop);
}

static void stop_server(void *ctx)
{
    fixture *f = ctx;
    shoal_http_server_stop(f->server, 200, stop_loop, f);
}

static void stop(fixture *f)
{
    assert_true(shoal_loop_post(f->loop, stop_server, f));
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    assert_int_equal(shoal_http_server_connections(f->server), 0);
    shoal_timer_close(f->timer);
    shoal_http_server_close(f->server);
    shoal_loop_close(f->loop);
    shoal_free(f->big);
}

/* ---- clients ----------------------------------------------------------------------------------
 */

typedef struct reply {
    long status;
    shoal_buf body;
    shoal_buf head;
    CURLcode code;
} reply;

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    return shoal_buf_put(ctx, data, size * n) ? size * n : 0;
}

static CURL *handle(const fixture *f, const char *path, reply *out)
{
    *out = (reply){.body = shoal_buf_init(64 * 1024 * 1024), .head = shoal_buf_init(65536)};
    char url[256];
    (void)snprintf(url, sizeof url, "%s%s", f->base, path);
    CURL *c = curl_easy_init();
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &out->body);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &out->head);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 10000L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    return c;
}

static void perform(CURL *c, reply *out)
{
    out->code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &out->status);
}

static reply get(const fixture *f, const char *path)
{
    reply r;
    CURL *c = handle(f, path, &r);
    perform(c, &r);
    curl_easy_cleanup(c);
    return r;
}

static reply post(const fixture *f, const char *path, const void *body, size_t n)
{
    reply r;
    CURL *c = handle(f, path, &r);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    perform(c, &r);
    curl_easy_cleanup(c);
    return r;
}

static void reply_clear(reply *r)
{
    shoal_buf_clear(&r->body);
    shoal_buf_clear(&r->head);
}

static int dial(const fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(f->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval tv = {.tv_sec = 8};
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Everything until the server closes. */
static size_t hear(int fd, char *out, size_t cap)
{
    size_t n = 0;
    ssize_t got;
    while (n + 1 < cap && (got = recv(fd, out + n, cap - 1 - n, 0)) > 0) {
        n += (size_t)got;
    }
    out[n] = '\0';
    return n;
}

static void expect_raw(const fixture *f, const char *request, const char *status_line)
{
    char text[4096];
    int fd = dial(f);
    say(fd, request);
    hear(fd, text, sizeof text);
    (void)close(fd);
    if (strncmp(text, status_line, strlen(status_line)) != 0) {
        fail_msg("request %.60s: wanted %s, got %.200s", request, status_line, text);
    }
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void test_get_post(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    reply r = post(&f, "/echo", "hello", 5);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.len, 5);
    assert_memory_equal(r.body.data, "hello", 5);
    assert_non_null(strstr(shoal_buf_str(&r.head), "X-Method: POST"));
    assert_non_null(strstr(shoal_buf_str(&r.head), "Date: "));
    reply_clear(&r);
    r = get(&f, "/nowhere");
    assert_int_equal(r.status, 404);
    reply_clear(&r);
    r = get(&f, "/query?x=1&name=a%20b%2Fc+d&z");
    assert_int_equal(r.status, 200);
    assert_string_equal(shoal_buf_str(&r.body), "a b/c d");
    reply_clear(&r);
    r = get(&f, "/query?name=%zz");
    assert_int_equal(r.status, 400);
    reply_clear(&r);
    r = get(&f, "/forbidden");
    assert_int_equal(r.status, 403);
    reply_clear(&r);
    stop(&f);
    assert_int_equal(f.gone, 0);
}

static void test_head_has_no_body(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    reply r;
    CURL *c = handle(&f, "/nowhere", &r);
    curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    perform(c, &r);
    curl_easy_cleanup(c);
    assert_int_equal(r.code, CURLE_OK);
    assert_int_equal(r.status, 404);
    assert_int_equal(r.body.len, 0);
    assert_non_null(strstr(shoal_buf_str(&r.head), "Content-Length: 12"));
    reply_clear(&r);
    stop(&f);
}

static void test_keep_alive(void **state)
{
    (void)state;
    fixture f;
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_requests = 3;
    start(&f, &lim);
    reply r;
    CURL *c = handle(&f, "/nowhere", &r);
    long total = 0;
    for (int i = 0; i < 6; i++) {
        long n = 0;
        perform(c, &r);
        assert_int_equal(r.status, 404);
        curl_easy_getinfo(c, CURLINFO_NUM_CONNECTS, &n);
        total += n;
    }
    assert_int_equal(total, 2); /* two connections of three requests each */
    curl_easy_cleanup(c);
    reply_clear(&r);
    stop(&f);
}

/* Two requests in one packet are answered in order; HTTP/1.0 closes. */
static void test_pipelining_and_close(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    char text[4096];
    int fd = dial(&f);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\noneGET /later HTTP/1.1\r\n"
            "Host: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Length: 5\r\n\r\nthree");
    hear(fd, text, sizeof text);
    (void)close(fd);
    const char *one = strstr(text, "\r\n\r\none");
    const char *later = strstr(text, "\r\n\r\nlater");
    const char *three = strstr(text, "\r\n\r\nthree");
    assert_true(one != NULL && later != NULL && three != NULL && one < later && later < three);
    assert_int_equal(atomic_load(&f.nested), 0); /* who answers is not called meanwhile */
    expect_raw(&f, "GET /nowhere HTTP/1.0\r\n\r\n", "HTTP/1.1 404");
    stop(&f);
    assert_int_equal(f.requests, 4);
}

static void test_bad_requests(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    expect_raw(&f, "NONSENSE\r\n\r\n", "HTTP/1.1 400");
    expect_raw(&f, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"); /* no Host */
    expect_raw(&f, "GET / HTTP/2.0\r\nHost: x\r\n\r\n", "HTTP/1.1 400");
    expect_raw(&f, "GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n", "HTTP/1.1 400");
    expect_raw(&f, "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405");
    /* two lengths, and a length together with chunks: request smuggling */
    expect_raw(&f,
               "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
               "HTTP/1.1 400");
    expect_raw(&f,
               "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
               "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
               "HTTP/1.1 400");
    expect_raw(&f, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400");
    stop(&f);
    assert_int_equal(f.requests, 0);
}

static void test_caps(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    static char body[2000];
    memset(body, 'x', sizeof body);
    reply r = post(&f, "/echo", body, 1000);
    assert_int_equal(r.status, 200);
    reply_clear(&r);
    r = post(&f, "/echo", body, 1001);
    assert_int_equal(r.status, 413);
    assert_non_null(strstr(shoal_buf_str(&r.head), "application/json"));
    assert_non_null(strstr(shoal_buf_str(&r.body), "\"code\":413"));
    reply_clear(&r);
    static char chunked[3000];
    (void)snprintf(chunked, sizeof chunked,
                   "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "7d0\r\n%.2000s\r\n0\r\n\r\n",
                   body);
    expect_raw(&f, chunked, "HTTP/1.1 413");
    static char huge[20000];
    (void)snprintf(huge, sizeof huge, "GET / HTTP/1.1\r\nHost: x\r\nX-Pad: %017000d\r\n\r\n", 0);
    expect_raw(&f, huge, "HTTP/1.1 431");
    size_t at = (size_t)snprintf(huge, sizeof huge, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 80; i++) {
        at += (size_t)snprintf(huge + at, sizeof huge - at, "A%d: b\r\n", i);
    }
    (void)snprintf(huge + at, sizeof huge - at, "\r\n");
    expect_raw(&f, huge, "HTTP/1.1 431");
    stop(&f);
    assert_int_equal(f.requests, 1);
    assert_int_equal(f.gone, 2); /* the two bodies refused after on_headers: 413, 413 */
}

static void test_upload_in_pieces(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    memset(f.big, 'u', BIG_BYTES);
    reply r = post(&f, "/upload", f.big, BIG_BYTES); /* curl asks with Expect: 100-continue */
    assert_int_equal(r.status, 200);
    char want[32];
    (void)snprintf(want, sizeof want, "%d", BIG_BYTES);
    assert_string_equal(shoal_buf_str(&r.body), want);
    reply_clear(&r);
    f.big[0] = '!'; /* the handler answers in the middle of the upload */
    r = post(&f, "/upload", f.big, BIG_BYTES);
    assert_int_equal(r.status, 409);
    assert_string_equal(shoal_buf_str(&r.body), "stop");
    reply_clear(&r);
    stop(&f);
}

static void test_shared_answer(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    reply r = get(&f, "/big");
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.len, BIG_BYTES);
    assert_memory_equal(r.body.data, f.big, BIG_BYTES);
    reply_clear(&r);
    r = get(&f, "/parts");
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.len, BIG_BYTES + BIG_BYTES / 2);
    assert_memory_equal(r.body.data, f.big, BIG_BYTES);
    assert_memory_equal(r.body.data + BIG_BYTES, f.big, BIG_BYTES / 2);
    reply_clear(&r);
    assert_int_equal(f.released, 2);
    for (int i = 0; i < 2; i++) { /* goes away in the middle */
        int fd = dial(&f);
        char some[1000];
        say(fd, i == 0 ? "GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
                       : "GET /parts HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(recv(fd, some, sizeof some, 0) > 0);
        (void)close(fd);
    }
    for (int i = 0; i < 200 && f.released < 4; i++) {
        pause_us(10000);
    }
    assert_int_equal(f.released, 4);
    CURL *c = handle(&f, "/parts", &r);
    curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    perform(c, &r);
    curl_easy_cleanup(c);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.len, 0);
    reply_clear(&r);
    stop(&f);
}

static void test_streams(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    reply r = get(&f, "/tokens");
    assert_int_equal(r.status, 200);
    assert_string_equal(shoal_buf_str(&r.body), "token token token ");
    assert_non_null(strstr(shoal_buf_str(&r.head), "text/event-stream"));
    reply_clear(&r);
    stop(&f);
}

/* A reader slower than the writer: the high-water mark is met and the stream goes on by on_drain.
 */
static void test_backpressure(void **state)
{
    (void)state;
    fixture f;
    shoal_http_limits lim = shoal_http_limits_default();
    lim.write_high_water = 16 * 1024;
    start(&f, &lim);
    int fd = dial(&f);
    say(fd, "GET /flood HTTP/1.0\r\n\r\n");
    pause_us(100000);
    size_t total = 0;
    static char part[65536];
    ssize_t n;
    while (total < 20u * 1024 * 1024 && (n = recv(fd, part, sizeof part, 0)) > 0) {
        total += (size_t)n;
    }
    assert_true(total > 1024 * 1024);
    assert_true(f.drains > 3);
    (void)close(fd);
    stop(&f);
}

static void test_gone(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    int fd = dial(&f);
    say(fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 200 && f.requests < 1; i++) {
        pause_us(5000);
    }
    assert_int_equal(f.gone, 0);
    (void)close(fd);
    for (int i = 0; i < 200 && f.gone < 1; i++) {
        pause_us(5000);
    }
    assert_int_equal(f.gone, 1);
    fd = dial(&f); /* and one that is still open when the server stops */
    say(fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 200 && f.requests < 2; i++) {
        pause_us(5000);
    }
    stop(&f);
    assert_int_equal(f.gone, 2);
    (void)close(fd);
}

static void test_slow_clients(void **state)
{
    (void)state;
    fixture f;
    shoal_http_limits lim = shoal_http_limits_default();
    lim.header_timeout_ms = 200;
    lim.body_timeout_ms = 200;
    lim.min_body_rate = 1000;
    lim.idle_timeout_ms = 200;
    start(&f, &lim);
    expect_raw(&f, "GET / HTT", "HTTP/1.1 408");
    expect_raw(&f, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
               "HTTP/1.1 408");
    char text[2048]; /* idle: closed without a word */
    int fd = dial(&f);
    say(fd, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fd, text, sizeof text);
    assert_null(strstr(text, "408"));
    (void)close(fd);
    fd = dial(&f); /* a byte every 50 ms never trips the silence timer, but the rate */
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n");
    for (int i = 0; i < 12; i++) {
        (void)send(fd, "x", 1, MSG_NOSIGNAL);
        pause_us(50000);
    }
    hear(fd, text, sizeof text);
    assert_int_equal(strncmp(text, "HTTP/1.1 408", 12), 0);
    (void)close(fd);
    stop(&f);
}

/* Connections in a request are never closed for newer ones. */
static void test_connection_cap(void **state)
{
    (void)state;
    fixture f;
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_connections = 2;
    start(&f, &lim);
    int a = dial(&f), b = dial(&f);
    char text[64];
    say(a, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
    say(b, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 200 && f.requests < 2; i++) {
        pause_us(5000);
    }
    int c = dial(&f);
    assert_int_equal(recv(c, text, sizeof text, 0), 0);
    assert_int_equal(f.gone, 0);
    (void)close(a);
    (void)close(b);
    (void)close(c);
    stop(&f);
}

static void test_parallel(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    CURLM *m = curl_multi_init();
    static reply r[N_PARALLEL];
    static CURL *c[N_PARALLEL];
    for (int i = 0; i < N_PARALLEL; i++) {
        c[i] = handle(&f, i % 2 ? "/later" : "/nowhere", &r[i]);
        curl_multi_add_handle(m, c[i]);
    }
    int running = 1;
    while (running > 0) {
        assert_int_equal(curl_multi_perform(m, &running), CURLM_OK);
        (void)curl_multi_poll(m, NULL, 0, 100, NULL);
    }
    for (int i = 0; i < N_PARALLEL; i++) {
        curl_easy_getinfo(c[i], CURLINFO_RESPONSE_CODE, &r[i].status);
        assert_int_equal(r[i].status, i % 2 ? 200 : 404);
        curl_multi_remove_handle(m, c[i]);
        curl_easy_cleanup(c[i]);
        reply_clear(&r[i]);
    }
    curl_multi_cleanup(m);
    stop(&f);
    assert_int_equal(f.requests, N_PARALLEL);
}

static void test_port_in_use(void **state)
{
    (void)state;
    fixture f;
    start(&f, NULL);
    shoal_loop *loop;
    shoal_http_server *s;
    shoal_error err = {0};
    assert_int_equal(shoal_loop_open(&loop, &err), SHOAL_OK);
    shoal_http_options opt = {.port = f.port,
                              .handler = {.on_headers = on_headers, .on_request = on_request}};
    assert_int_equal(shoal_http_server_open(&s, loop, &opt, &err), SHOAL_ERR_IO);
    assert_non_null(strstr(err.hint, "--port"));
    opt.host = "no-such-host.invalid";
    assert_int_equal(shoal_http_server_open(&s, loop, &opt, &err), SHOAL_ERR_NOT_FOUND);
    shoal_loop_close(loop);
    stop(&f);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_get_post),
                                       cmocka_unit_test(test_head_has_no_body),
                                       cmocka_unit_test(test_keep_alive),
                                       cmocka_unit_test(test_pipelining_and_close),
                                       cmocka_unit_test(test_bad_requests),
                                       cmocka_unit_test(test_caps),
                                       cmocka_unit_test(test_upload_in_pieces),
                                       cmocka_unit_test(test_shared_answer),
                                       cmocka_unit_test(test_streams),
                                       cmocka_unit_test(test_backpressure),
                                       cmocka_unit_test(test_gone),
                                       cmocka_unit_test(test_slow_clients),
                                       cmocka_unit_test(test_connection_cap),
                                       cmocka_unit_test(test_parallel),
                                       cmocka_unit_test(test_port_in_use)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
