/* Clients that mean ill, or are too many, against the HTTPS server on loopback: silent ones, slow
 * ones, floods of handshakes, of connections and of requests. In each test an honest client is
 * served meanwhile. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <mbedtls/entropy.h>

#include "kernels/base/mem.h"
#include "proto/x509.h"
#include "tests/support/mbedtls_both.h"
#include "tests/support/web_fixture.h"

enum { CROWD = 60 };

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

/* ---- the server -------------------------------------------------------------------------------
 */

typedef struct site {
    web_fixture web;
    shoal_http_limits lim;
    shoal_http_request *kept[16]; /* requests to /keep, never answered */
    atomic_int n_kept;
} site;

static void keep_gone(void *ctx, shoal_http_request *r)
{
    site *s = ctx;
    for (int i = 0; i < 16; i++) {
        if (s->kept[i] == r) {
            s->kept[i] = NULL;
            atomic_fetch_sub(&s->n_kept, 1);
        }
    }
}

static void answer(void *ctx, shoal_http_request *r)
{
    site *s = ctx;
    if (strcmp(shoal_http_path(r), "/keep") == 0) {
        shoal_http_on_gone(r, keep_gone, s);
        for (int i = 0; i < 16; i++) {
            if (s->kept[i] == NULL) {
                s->kept[i] = r;
                atomic_fetch_add(&s->n_kept, 1);
                return;
            }
        }
    }
    shoal_http_respond(r, 200, "text/plain", "here", 4);
}

static void start(site *s, bool tls, const shoal_http_limits *lim)
{
    memset(s, 0, sizeof *s);
    s->lim = *lim;
    s->web.handle = answer;
    s->web.ctx = s;
    s->web.plain = !tls;
    s->web.limits = &s->lim;
    s->web.resume_s = 3600;
    web_fixture_open(&s->web);
}

static shoal_http_counts counts(site *s)
{
    shoal_http_counts c;
    web_fixture_counts(&s->web, &c);
    return c;
}

/* Waits until `now` says so, ten seconds at most. */
#define WAIT_FOR(s, condition)                                       \
    do {                                                             \
        shoal_http_counts now = counts(s);                           \
        for (int tries = 0; tries < 1000 && !(condition); tries++) { \
            pause_ms(10);                                            \
            now = counts(s);                                         \
        }                                                            \
        assert_true(condition);                                      \
    } while (0)

/* ---- ill-meaning clients ----------------------------------------------------------------------
 */

/* From 127.0.0.`from`, so that several addresses can take part. */
static int dial(const site *s, uint8_t from)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + from)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(s->web.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval tv = {.tv_sec = 8};
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void dial_crowd(const site *s, int fds[CROWD], uint8_t from, const void *words, size_t n)
{
    for (int i = 0; i < CROWD; i++) {
        fds[i] = dial(s, from);
        (void)send(fds[i], words, n, MSG_NOSIGNAL);
    }
}

static void hang_up(int fds[CROWD])
{
    for (int i = 0; i < CROWD; i++) {
        (void)close(fds[i]);
    }
}

static bool is_closed(int fd)
{
    char c;
    return recv(fd, &c, 1, 0) == 0;
}

static int keep_words(void *ctx, const unsigned char *data, size_t n)
{
    return shoal_buf_put(ctx, data, n) ? (int)n : -1;
}

static int hear_nothing(void *ctx, unsigned char *out, size_t n)
{
    (void)ctx;
    (void)out;
    (void)n;
    return MBEDTLS_ERR_SSL_WANT_READ;
}

/* A true first message of a client that will never send a second one. */
static shoal_buf make_hello(void)
{
    static mbedtls_ssl_context ssl;
    static mbedtls_ssl_config conf;
    static mbedtls_entropy_context entropy;
    static mbedtls_ctr_drbg_context drbg;
    shoal_buf out = shoal_buf_init(1 << 16);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_config_init(&conf);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&drbg);
    assert_int_equal(mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, NULL, 0), 0);
    assert_int_equal(mbedtls_ssl_config_defaults(&conf, MBEDTLS_SSL_IS_CLIENT,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    mbedtls_ssl_conf_rng(&conf, mbedtls_ctr_drbg_random, &drbg);
    mbedtls_ssl_conf_authmode(&conf, MBEDTLS_SSL_VERIFY_NONE);
    only_tls12(&conf);
    assert_int_equal(mbedtls_ssl_setup(&ssl, &conf), 0);
    mbedtls_ssl_set_bio(&ssl, &out, keep_words, hear_nothing, NULL);
    assert_int_equal(mbedtls_ssl_handshake(&ssl), MBEDTLS_ERR_SSL_WANT_READ);
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&conf);
    mbedtls_ctr_drbg_free(&drbg);
    mbedtls_entropy_free(&entropy);
    assert_true(out.len > 100);
    return out;
}

/* ---- honest clients ---------------------------------------------------------------------------
 */

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    return shoal_buf_put(ctx, data, size * n) ? size * n : 0;
}

static CURL *client(const site *s, const char *path)
{
    char url[128];
    CURL *c = curl_easy_init();
    (void)snprintf(url, sizeof url, "%s%s", s->web.base, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 9000L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_INTERFACE, "host!127.0.0.200");
    return c;
}

/* The status of one request, 0 when there was no answer. */
static long ask(CURL *c, shoal_buf *body)
{
    long status = 0;
    shoal_buf local = shoal_buf_init(1 << 16);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, body != NULL ? body : &local);
    if (curl_easy_perform(c) == CURLE_OK) {
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    }
    shoal_buf_clear(&local);
    return status;
}

static void expect_served(const site *s)
{
    CURL *c = client(s, "/");
    assert_int_equal(ask(c, NULL), 200);
    curl_easy_cleanup(c);
}

/* Gives the client a certificate of the site's CA. */
static shoal_key *make_identity(const site *s, shoal_buf *cert_pem, shoal_buf *key_pem)
{
    shoal_key *key;
    uint8_t spki[SHOAL_SPKI_BYTES];
    int64_t now = (int64_t)time(NULL);
    shoal_buf der = shoal_buf_init(4096);
    *cert_pem = shoal_buf_init(8192);
    *key_pem = shoal_buf_init(8192);
    assert_int_equal(shoal_key_generate(&key, NULL), SHOAL_OK);
    shoal_key_spki(key, spki);
    shoal_cert_template t = {
        .kind = SHOAL_CERT_CLIENT, .spki = spki, .not_before_s = now - 9, .not_after_s = now + 999};
    assert_int_equal(
        shoal_cert_issue(s->web.ca_key, s->web.ca_der.data, s->web.ca_der.len, &t, &der, NULL),
        SHOAL_OK);
    assert_int_equal(shoal_cert_encode_pem(der.data, der.len, cert_pem, NULL), SHOAL_OK);
    assert_int_equal(shoal_key_encode_pem(key, key_pem, NULL), SHOAL_OK);
    shoal_buf_clear(&der);
    return key;
}

static void identify(CURL *c, const shoal_buf *cert_pem, const shoal_buf *key_pem)
{
    struct curl_blob cert = {cert_pem->data, cert_pem->len, CURL_BLOB_COPY};
    struct curl_blob key = {key_pem->data, key_pem->len, CURL_BLOB_COPY};
    curl_easy_setopt(c, CURLOPT_SSLCERT_BLOB, &cert);
    curl_easy_setopt(c, CURLOPT_SSLKEY_BLOB, &key);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void test_half_open(void **state)
{
    (void)state;
    site s;
    int silent[CROWD], half[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.handshake_timeout_ms = 2500;
    start(&s, true, &lim);
    shoal_buf hello = make_hello();
    dial_crowd(&s, silent, 1, "", 0);
    dial_crowd(&s, half, 1, hello.data, hello.len / 2);
    expect_served(&s);
    WAIT_FOR(&s, now.slow == 2 * CROWD && now.connections <= 1);
    assert_int_equal(counts(&s).handshakes, 0); /* none of them got as far */
    assert_true(is_closed(silent[0]) && is_closed(half[CROWD - 1]));
    hang_up(silent);
    hang_up(half);
    shoal_buf_clear(&hello);
    web_fixture_close(&s.web);
}

/* Handshakes that are begun and left hanging take their address's share and no more, for half the
 * time a handshake may take. */
static void test_handshake_flood(void **state)
{
    (void)state;
    site s;
    int fds[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.handshake_timeout_ms = 60000;
    lim.max_handshakes = 40;
    lim.max_handshakes_per_address = 30;
    start(&s, true, &lim);
    shoal_buf hello = make_hello();
    dial_crowd(&s, fds, 1, hello.data, hello.len);
    WAIT_FOR(&s, now.shut_out == CROWD - 30 && now.handshakes == 30);
    expect_served(&s);
    expect_served(&s);
    hang_up(fds);
    WAIT_FOR(&s, now.handshakes == 0);
    shoal_buf_clear(&hello);
    web_fixture_close(&s.web);
}

/* Two addresses take all places: who says nothing is thrown out after half the time. */
static void test_handshake_places(void **state)
{
    (void)state;
    site s;
    int fds[CROWD], more[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.handshake_timeout_ms = 5000;
    lim.max_handshakes = 40;
    lim.max_handshakes_per_address = 30;
    start(&s, true, &lim);
    shoal_buf hello = make_hello();
    dial_crowd(&s, fds, 2, hello.data, hello.len);
    dial_crowd(&s, more, 3, hello.data, hello.len);
    CURL *c = client(&s, "/");
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 60000L);
    long status = 0;
    for (int i = 0; i < 5 && status == 0;
         i++) { /* on a busy machine its own time may be up first */
        status = ask(c, NULL);
    }
    assert_int_equal(status, 200);
    WAIT_FOR(&s, now.slow >= 41 && now.handshakes == 0);
    curl_easy_cleanup(c);
    hang_up(fds);
    hang_up(more);
    shoal_buf_clear(&hello);
    web_fixture_close(&s.web);
}

static void test_handshake_rate(void **state)
{
    (void)state;
    site s;
    int fds[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.handshake_rate = 1;
    lim.handshake_burst = 10;
    start(&s, true, &lim);
    shoal_buf hello = make_hello();
    dial_crowd(&s, fds, 1, hello.data, hello.len);
    WAIT_FOR(&s, now.shut_out >= CROWD - 20 && now.accepted == CROWD);
    assert_true(counts(&s).shut_out <= CROWD - 10);
    expect_served(&s);
    hang_up(fds);
    shoal_buf_clear(&hello);
    web_fixture_close(&s.web);
}

/* A client that resumes its session (libcurl by id) does not take part in any of that. */
static void test_resumed_pass_by(void **state)
{
    (void)state;
    site s;
    shoal_buf cert, key_pem;
    shoal_http_limits lim = shoal_http_limits_default();
    lim.handshake_rate = 1;
    lim.handshake_burst = 1;
    start(&s, true, &lim);
    shoal_key *key = make_identity(&s, &cert, &key_pem);
    CURL *c = client(&s, "/");
    identify(c, &cert, &key_pem);
    curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L); /* a connection for every request */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(c, NULL), 200);
    }
    shoal_http_counts n = counts(&s);
    assert_int_equal(n.shaken, 1);
    assert_int_equal(n.resumed, 19);
    curl_easy_cleanup(c);
    shoal_key_close(key);
    shoal_buf_clear(&cert);
    shoal_buf_wipe(&key_pem);
    web_fixture_close(&s.web);
}

static void test_connections_per_address(void **state)
{
    (void)state;
    site s;
    int fds[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_connections_per_address = 10;
    start(&s, true, &lim);
    dial_crowd(&s, fds, 1, "", 0);
    WAIT_FOR(&s, now.shut_out == CROWD - 10);
    expect_served(&s);
    hang_up(fds);
    WAIT_FOR(&s, now.connections <= 1);
    fds[0] = dial(&s, 1);
    WAIT_FOR(&s, now.connections >= 1 && now.accepted == CROWD + 2);
    assert_int_equal(counts(&s).shut_out, CROWD - 10);
    (void)close(fds[0]);
    web_fixture_close(&s.web);
}

/* When all connections are taken, the one that has been idle longest goes; those that are in a
 * request, or have not made one yet, stay. */
static void test_idle_ones_make_room(void **state)
{
    (void)state;
    site s;
    static const char KEEP[] = "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char QUICK[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char text[512];
    int fds[4];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_connections = 4;
    start(&s, false, &lim);
    for (int i = 0; i < 4; i++) {
        const char *words = i == 0 ? KEEP : QUICK;
        fds[i] = dial(&s, 1);
        assert_int_equal(send(fds[i], words, strlen(words), MSG_NOSIGNAL), (ssize_t)strlen(words));
        assert_true(i == 0 || recv(fds[i], text, sizeof text, 0) > 0);
    }
    WAIT_FOR(&s, now.connections == 4 && now.open_requests == 1);
    int fifth = dial(&s, 1);
    assert_true(is_closed(fds[1]));
    assert_int_equal(send(fds[2], QUICK, strlen(QUICK), MSG_NOSIGNAL), (ssize_t)strlen(QUICK));
    assert_true(recv(fds[2], text, sizeof text, 0) > 0); /* was next, and is now the youngest */
    int sixth = dial(&s, 1);
    assert_true(is_closed(fds[3]));
    int seventh = dial(&s, 1);
    assert_true(is_closed(fds[2]));
    int eighth = dial(&s, 1); /* no idle one is left */
    assert_true(is_closed(eighth));
    shoal_http_counts n = counts(&s);
    assert_int_equal(n.made_room, 3);
    assert_int_equal(n.shut_out, 1);
    for (int i = 0; i < 4; i++) {
        (void)close(fds[i]);
    }
    (void)close(fifth);
    (void)close(sixth);
    (void)close(seventh);
    (void)close(eighth);
    web_fixture_close(&s.web);
}

/* One certificate, many connections. */
static void test_connections_per_client(void **state)
{
    (void)state;
    site s;
    shoal_buf cert, key_pem;
    CURL *c[5];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_connections_per_client = 4;
    start(&s, true, &lim);
    shoal_key *key = make_identity(&s, &cert, &key_pem);
    for (int i = 0; i < 5; i++) {
        c[i] = client(&s, "/");
        identify(c[i], &cert, &key_pem);
        assert_int_equal(ask(c[i], NULL), 200);
    }
    WAIT_FOR(&s, now.made_room == 1 && now.connections == 4); /* the oldest made room */
    CURLM *m = curl_multi_init();
    for (int i = 1; i < 5; i++) {
        char url[128];
        (void)snprintf(url, sizeof url, "%s/keep", s.web.base);
        curl_easy_setopt(c[i], CURLOPT_URL, url);
        curl_multi_add_handle(m, c[i]);
    }
    int running = 4;
    for (int i = 0; i < 1000 && atomic_load(&s.n_kept) < 4; i++) {
        assert_int_equal(curl_multi_perform(m, &running), CURLM_OK);
        (void)curl_multi_poll(m, NULL, 0, 10, NULL);
    }
    assert_int_equal(atomic_load(&s.n_kept), 4);
    assert_int_equal(ask(c[0], NULL), 0); /* no connection is to be had beside four busy ones */
    expect_served(&s);
    assert_int_equal(counts(&s).shut_out, 1);
    for (int i = 1; i < 5; i++) {
        curl_multi_remove_handle(m, c[i]);
    }
    for (int i = 0; i < 5; i++) {
        curl_easy_cleanup(c[i]);
    }
    curl_multi_cleanup(m);
    shoal_key_close(key);
    shoal_buf_clear(&cert);
    shoal_buf_wipe(&key_pem);
    web_fixture_close(&s.web);
}

/* 429 comes with a time to wait, and that time is spread. */
static void test_request_flood(void **state)
{
    (void)state;
    site s;
    shoal_http_limits lim = shoal_http_limits_default();
    lim.request_rate = 1;
    lim.request_burst = 20;
    start(&s, true, &lim);
    CURL *c = client(&s, "/");
    int good = 0, busy = 0, spread = 0;
    curl_off_t first = 0;
    for (int i = 0; i < 40; i++) {
        long status = ask(c, NULL);
        curl_off_t wait = 0;
        good += status == 200;
        if (status == 429) {
            busy++;
            curl_easy_getinfo(c, CURLINFO_RETRY_AFTER, &wait);
            assert_true(wait >= 1 && wait <= 2);
            first = first == 0 ? wait : first;
            spread += wait != first;
        }
    }
    assert_true(good >= 20 && good <= 30);
    assert_int_equal(good + busy, 40);
    assert_int_equal(counts(&s).busy, busy);
    curl_easy_cleanup(c);
    int other = dial(&s, 9); /* another address is not concerned */
    (void)close(other);
    (void)spread;
    web_fixture_close(&s.web);
}

static void test_open_requests(void **state)
{
    (void)state;
    site s;
    static const char KEEP[] = "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char MORE[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    int fds[3];
    char text[2048] = "";
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_open_requests = 3;
    start(&s, false, &lim);
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&s, 1);
        assert_int_equal(send(fds[i], KEEP, strlen(KEEP), MSG_NOSIGNAL), (ssize_t)strlen(KEEP));
    }
    WAIT_FOR(&s, now.open_requests == 3);
    int late = dial(&s, 2);
    assert_int_equal(send(late, MORE, strlen(MORE), MSG_NOSIGNAL), (ssize_t)strlen(MORE));
    assert_true(recv(late, text, sizeof text - 1, 0) > 0);
    assert_int_equal(strncmp(text, "HTTP/1.1 503", 12), 0);
    assert_non_null(strstr(text, "Retry-After: "));
    (void)close(late);
    (void)close(fds[0]);
    WAIT_FOR(&s, now.open_requests == 2);
    expect_served(&s);
    (void)close(fds[1]);
    (void)close(fds[2]);
    web_fixture_close(&s.web);
}

/* Bodies of all connections together are bounded: what was announced beyond that is refused before
 * a byte of it is read, and what comes unannounced when the room is used up. */
static void test_bodies_in_all(void **state)
{
    (void)state;
    site s;
    static char half[60000];
    char text[2048] = "";
    shoal_http_limits lim = shoal_http_limits_default();
    lim.max_body_bytes = 100000;
    start(&s, false, &lim);
    memset(half, 'x', sizeof half);
    static const char HEAD[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60001\r\n\r\n";
    int a = dial(&s, 1);
    assert_int_equal(send(a, HEAD, strlen(HEAD), MSG_NOSIGNAL), (ssize_t)strlen(HEAD));
    assert_int_equal(send(a, half, sizeof half, MSG_NOSIGNAL), (ssize_t)sizeof half);
    WAIT_FOR(&s, now.body_bytes == sizeof half);
    int b = dial(&s, 1);
    assert_int_equal(send(b, HEAD, strlen(HEAD), MSG_NOSIGNAL), (ssize_t)strlen(HEAD));
    assert_true(recv(b, text, sizeof text - 1, 0) > 0);
    assert_int_equal(strncmp(text, "HTTP/1.1 503", 12), 0);
    (void)close(b);
    static const char CHUNKED[] = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "ea60\r\n"; /* 60,000 */
    b = dial(&s, 1);
    assert_int_equal(send(b, CHUNKED, strlen(CHUNKED), MSG_NOSIGNAL), (ssize_t)strlen(CHUNKED));
    (void)send(b, half, sizeof half, MSG_NOSIGNAL);
    memset(text, 0, sizeof text);
    assert_true(recv(b, text, sizeof text - 1, 0) > 0);
    assert_int_equal(strncmp(text, "HTTP/1.1 503", 12), 0);
    (void)close(b);
    assert_int_equal(send(a, "y", 1, MSG_NOSIGNAL), 1);
    assert_true(recv(a, text, sizeof text, 0) > 0);
    assert_int_equal(strncmp(text, "HTTP/1.1 200", 12), 0);
    WAIT_FOR(&s, now.body_bytes == 0);
    (void)close(a);
    web_fixture_close(&s.web);
}

/* A crowd that sends headers byte by byte, and one that never reads, beside honest requests. */
static void test_slow_crowd(void **state)
{
    (void)state;
    site s;
    int slow[CROWD], mute[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.header_timeout_ms = 600;
    lim.idle_timeout_ms = 600;
    start(&s, false, &lim);
    dial_crowd(&s, slow, 1, "GET / HTTP/1.1\r\nX: ", 19);
    dial_crowd(&s, mute, 2, "", 0);
    for (int turn = 0; turn < 5; turn++) {
        for (int i = 0; i < CROWD; i++) {
            (void)send(slow[i], "T", 1, MSG_NOSIGNAL);
        }
        expect_served(&s);
        pause_ms(50);
    }
    WAIT_FOR(&s, now.connections <= 1 && now.slow == 2 * CROWD);
    hang_up(slow);
    hang_up(mute);
    web_fixture_close(&s.web);
}

/* Connections that end while a worker has their session. */
static void test_gone_while_at_work(void **state)
{
    (void)state;
    site s;
    int fds[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    start(&s, true, &lim);
    shoal_buf hello = make_hello();
    for (int turn = 0; turn < 3; turn++) {
        dial_crowd(&s, fds, 1, hello.data, hello.len);
        hang_up(fds);
    }
    expect_served(&s);
    WAIT_FOR(&s, now.handshakes == 0 && now.connections <= 1);
    dial_crowd(&s, fds, 1, hello.data, hello.len);
    web_fixture_close(&s.web); /* and the server itself, in the middle of all */
    hang_up(fds);
    shoal_buf_clear(&hello);
}

/* First messages, then one byte after another while these wait: a connection stands in one queue
 * at a time, whatever else it sends. */
static void test_bytes_while_waiting(void **state)
{
    (void)state;
    site s;
    int fds[CROWD];
    shoal_http_limits lim = shoal_http_limits_default();
    lim.handshake_rate = 0; /* no limit */
    start(&s, true, &lim);
    shoal_buf hello = make_hello();
    for (int turn = 0; turn < 4; turn++) {
        dial_crowd(&s, fds, 1, hello.data, hello.len);
        for (int byte = 0; byte < 40; byte++) {
            for (int i = 0; i < CROWD; i++) {
                (void)send(fds[i], "\x16", 1, MSG_NOSIGNAL);
            }
        }
        hang_up(fds);
    }
    expect_served(&s);
    WAIT_FOR(&s, now.handshakes == 0 && now.connections <= 1);
    shoal_buf_clear(&hello);
    web_fixture_close(&s.web);
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_open),           cmocka_unit_test(test_handshake_flood),
        cmocka_unit_test(test_handshake_places),    cmocka_unit_test(test_handshake_rate),
        cmocka_unit_test(test_resumed_pass_by),     cmocka_unit_test(test_connections_per_address),
        cmocka_unit_test(test_idle_ones_make_room), cmocka_unit_test(test_connections_per_client),
        cmocka_unit_test(test_request_flood),       cmocka_unit_test(test_open_requests),
        cmocka_unit_test(test_bodies_in_all),       cmocka_unit_test(test_slow_crowd),
        cmocka_unit_test(test_gone_while_at_work),  cmocka_unit_test(test_bytes_while_waiting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
