/* test_net_http2.c - the client behind a front end that offers HTTP/2: nghttpx (Debian's
 * nghttp2-proxy), which hands everything on to our own server. Skipped where it is not installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/net.h"
#include "kernels/base/file.h"
#include "proto/x509.h"
#include "tests/support/temp_dir.h"
#include "tests/support/web_fixture.h"

enum { BODY = 300000, SKIPPED = 77 };

typedef struct front {
    web_fixture web;
    char dir[TEMP_DIR_MAX];
    char url[64];
    uint16_t port;
    pid_t pid;
} front;

static void handle(void *ctx, shoal_http_request *r)
{
    size_t n = 0;
    const uint8_t *body = shoal_http_body(r, &n);
    (void)ctx;
    shoal_http_respond(r, strcmp(shoal_http_path(r), "/echo") == 0 ? 200 : 404,
                       "application/octet-stream", body, n);
}

static const char *at(const front *f, const char *name)
{
    static char path[2][TEMP_DIR_MAX + 32];
    static int turn;
    turn ^= 1;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", f->dir, name);
    return path[turn];
}

static void write_keys(front *f)
{
    shoal_buf pem = shoal_buf_init(8192);
    assert_int_equal(shoal_key_encode_pem(f->web.server_key, &pem, NULL), SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(at(f, "key.pem"), pem.data, pem.len, 0600, NULL),
                     SHOAL_OK);
    shoal_buf_wipe(&pem);
    assert_int_equal(shoal_cert_encode_pem(f->web.cert_der.data, f->web.cert_der.len, &pem, NULL),
                     SHOAL_OK);
    assert_int_equal(shoal_file_write_atomic(at(f, "cert.pem"), pem.data, pem.len, 0600, NULL),
                     SHOAL_OK);
    shoal_buf_clear(&pem);
}

/* One that was free a moment ago. */
static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static bool answers(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    (void)close(fd);
    return yes;
}

static void start_front(front *f)
{
    char frontend[64], backend[64], log[TEMP_DIR_MAX + 64], errors[TEMP_DIR_MAX + 64];
    f->port = free_port();
    (void)snprintf(frontend, sizeof frontend, "--frontend=127.0.0.1,%u", (unsigned)f->port);
    (void)snprintf(backend, sizeof backend, "--backend=127.0.0.1,%u;;tls", (unsigned)f->web.port);
    (void)snprintf(log, sizeof log, "--accesslog-file=%s", at(f, "access.log"));
    (void)snprintf(errors, sizeof errors, "--errorlog-file=%s", at(f, "error.log"));
    (void)snprintf(f->url, sizeof f->url, "https://127.0.0.1:%u", (unsigned)f->port);
    const char *key = at(f, "key.pem"), *cert = at(f, "cert.pem");
    f->pid = fork();
    if (f->pid == 0) {
        (void)execlp("nghttpx", "nghttpx", "--conf=/dev/null", "--single-process", "--workers=1",
                     "--no-ocsp", "--insecure", frontend, backend, log, errors,
                     "--accesslog-format=$alpn $request $status", key, cert, (char *)NULL);
        _exit(127);
    }
    assert_true(f->pid > 0);
    for (int i = 0; i < 500 && !answers(f->port); i++) {
        assert_int_equal(waitpid(f->pid, NULL, WNOHANG), 0);
        struct timespec t = {.tv_nsec = 20 * 1000000};
        (void)nanosleep(&t, NULL);
    }
}

static int set_up(void **state)
{
    front *f = test_calloc(1, sizeof *f);
    f->web.handle = handle;
    temp_dir_make(f->dir);
    web_fixture_open(&f->web);
    write_keys(f);
    start_front(f);
    *state = f;
    return 0;
}

static void stop_front(front *f)
{
    if (f->pid > 0) {
        (void)kill(f->pid, SIGTERM);
        (void)waitpid(f->pid, NULL, 0);
        f->pid = 0;
    }
}

static int tear_down(void **state)
{
    front *f = *state;
    stop_front(f);
    web_fixture_close(&f->web);
    temp_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static shoal_status echo(front *f, shoal_net *net, const char *method, uint8_t *body, size_t n)
{
    shoal_net_request rq = {.method = method,
                            .path = "/echo",
                            .content_type = "application/octet-stream",
                            .body = body,
                            .body_len = n,
                            .timeout_s = 20};
    shoal_buf reply = shoal_buf_init(n + 1);
    int http = 0;
    (void)f;
    shoal_status st = shoal_net_exchange(net, &rq, &reply, &http, NULL);
    if (st == SHOAL_OK) {
        assert_int_equal(http, 200);
        assert_int_equal(reply.len, n);
        assert_true(n == 0 || memcmp(reply.data, body, n) == 0);
    }
    shoal_buf_clear(&reply);
    return st;
}

/* How often this stands in the log of the front end, which must have ended. */
static size_t logged(const front *f, const char *text)
{
    shoal_buf log = shoal_buf_init(1u << 20);
    size_t n = 0;
    assert_int_equal(shoal_file_read(at(f, "access.log"), 1u << 20, &log, NULL), SHOAL_OK);
    for (const char *p = shoal_buf_str(&log); (p = strstr(p, text)) != NULL; p++) {
        n++;
    }
    shoal_buf_clear(&log);
    return n;
}

static void requests_and_large_bodies_go_over_http2(void **state)
{
    front *f = *state;
    static uint8_t body[BODY];
    shoal_net *net = NULL;
    shoal_net_config cfg = {.base_url = f->url, .pin = f->web.pin};
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (uint8_t)(i * 31 + i / 253);
    }
    assert_int_equal(shoal_net_open(&net, &cfg, NULL), SHOAL_OK);
    assert_int_equal(echo(f, net, "GET", NULL, 0), SHOAL_OK);
    assert_int_equal(echo(f, net, "POST", body, 5), SHOAL_OK);
    assert_int_equal(echo(f, net, "PUT", body, sizeof body), SHOAL_OK);
    shoal_net_close(net);
    stop_front(f);
    assert_int_equal(logged(f, "h2 GET /echo HTTP/2 200"), 1);
    assert_int_equal(logged(f, "h2 POST /echo HTTP/2 200"), 1);
    assert_int_equal(logged(f, "h2 PUT /echo HTTP/2 200"), 1);
    assert_int_equal(atomic_load(&f->web.requests), 3);
}

/* Spec 2.3: the key decides, whatever the protocol. */
static void another_key_is_refused(void **state)
{
    front *f = *state;
    uint8_t pin[32];
    shoal_net *net = NULL;
    memcpy(pin, f->web.pin, sizeof pin);
    pin[31] ^= 1;
    shoal_net_config cfg = {.base_url = f->url, .pin = pin};
    assert_int_equal(shoal_net_open(&net, &cfg, NULL), SHOAL_OK);
    assert_int_equal(echo(f, net, "GET", NULL, 0), SHOAL_ERR_TAMPERED);
    shoal_net_close(net);
    assert_int_equal(atomic_load(&f->web.requests), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_and_large_bodies_go_over_http2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_key_is_refused, set_up, tear_down)};
    /* The shell knows the path; nothing of ours is in the command. */
    if (system("command -v nghttpx >/dev/null 2>&1") != 0) {
        (void)fprintf(stderr, "skipped: nghttpx is not installed\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
