/* test_net.c - pinned TLS, caps, timeouts and resumed downloads over loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/net.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "tests/support/temp_dir.h"
#include "tests/support/web_fixture.h"

enum { FILE_BYTES = 300000 };

/* What the server holds, and how it misbehaves. */
typedef struct site {
    web_fixture web;
    char dir[TEMP_DIR_MAX];
    uint8_t file[FILE_BYTES];
    bool no_ranges;
    char range[64]; /* last Range header */
} site;

static void serve_file(site *s, shoal_http_request *r)
{
    const char *range = shoal_http_header(r, "Range");
    unsigned long long from = 0;
    (void)snprintf(s->range, sizeof s->range, "%s", range != NULL ? range : "");
    if (range == NULL || s->no_ranges || sscanf(range, "bytes=%llu-", &from) != 1) {
        shoal_http_respond(r, 200, "application/octet-stream", s->file, FILE_BYTES);
        return;
    }
    if (from >= FILE_BYTES) {
        shoal_http_respond(r, 416, NULL, NULL, 0);
        return;
    }
    char text[96];
    (void)snprintf(text, sizeof text, "bytes %llu-%d/%d", from, FILE_BYTES - 1, FILE_BYTES);
    (void)shoal_http_add_header(r, "Content-Range", text);
    shoal_http_respond(r, 206, "application/octet-stream", s->file + from,
                       FILE_BYTES - (size_t)from);
}

static void handle(void *ctx, shoal_http_request *r)
{
    site *s = ctx;
    const char *path = shoal_http_path(r);
    size_t n = 0;
    const uint8_t *body = shoal_http_body(r, &n);
    if (strcmp(path, "/file") == 0) {
        serve_file(s, r);
    } else if (strcmp(path, "/echo") == 0) {
        shoal_http_respond(r, 200, "application/octet-stream", body, n);
    } else if (strcmp(path, "/method") == 0) {
        shoal_http_respond(r, 200, "text/plain", shoal_http_method(r),
                           strlen(shoal_http_method(r)));
    } else if (strcmp(path, "/moved") == 0) {
        (void)shoal_http_add_header(r, "Location", "/echo");
        shoal_http_respond(r, 302, NULL, NULL, 0);
    } else if (strcmp(path, "/never") == 0) {
        return; /* held until the peer goes away */
    } else {
        shoal_http_respond(r, 404, "text/plain", "no", 2);
    }
}

static site *open_site(bool plain, const char *host)
{
    site *s = test_calloc(1, sizeof *s);
    s->web.handle = handle;
    s->web.ctx = s;
    s->web.plain = plain;
    s->web.host = host;
    for (size_t i = 0; i < FILE_BYTES; i++)
        s->file[i] = (uint8_t)(i * 7 + i / 251);
    temp_dir_make(s->dir);
    web_fixture_open(&s->web);
    return s;
}

static int set_up_tls(void **state)
{
    *state = open_site(false, NULL);
    return 0;
}

static int set_up_plain(void **state)
{
    *state = open_site(true, NULL);
    return 0;
}

static int tear_down(void **state)
{
    site *s = *state;
    web_fixture_close(&s->web);
    temp_dir_remove(s->dir);
    test_free(s);
    return 0;
}

static shoal_net *open_net(site *s, bool (*stop)(void))
{
    shoal_net *net = NULL;
    shoal_net_config cfg = {.base_url = s->web.base, .pin = s->web.pin, .stop = stop};
    assert_int_equal(shoal_net_open(&net, &cfg, NULL), SHOAL_OK);
    return net;
}

static shoal_status exchange(shoal_net *net, const char *method, const char *path, const char *body,
                             size_t max, shoal_buf *reply, int *http, shoal_error *err)
{
    shoal_net_request rq = {.method = method,
                            .path = path,
                            .body = body,
                            .body_len = body != NULL ? strlen(body) : 0,
                            .timeout_s = 10};
    *reply = shoal_buf_init(max);
    return shoal_net_exchange(net, &rq, reply, http, err);
}

static void bodies_and_methods_arrive(void **state)
{
    site *s = *state;
    shoal_net *net = open_net(s, NULL);
    static const char *const methods[] = {"GET", "POST", "PUT", "GET"};
    shoal_buf reply;
    int http = 0;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            exchange(net, methods[i], "/method", i % 3 == 0 ? NULL : "x", 100, &reply, &http, NULL),
            SHOAL_OK);
        assert_int_equal(http, 200);
        assert_string_equal(shoal_buf_str(&reply), methods[i]);
        shoal_buf_clear(&reply);
    }
    assert_int_equal(exchange(net, "POST", "/echo", "hello", 100, &reply, &http, NULL), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&reply), "hello");
    shoal_buf_clear(&reply);
    assert_int_equal(exchange(net, "GET", "/absent", NULL, 100, &reply, &http, NULL), SHOAL_OK);
    assert_int_equal(http, 404);
    shoal_buf_clear(&reply);
    shoal_net_close(net);
}

/* Spec 2.3 */
static void another_key_is_refused_before_anything_is_sent(void **state)
{
    site *s = *state;
    shoal_error err = {0};
    shoal_buf reply;
    int http = 0;
    s->web.pin[5] ^= 1;
    shoal_net *net = open_net(s, NULL);
    assert_int_equal(exchange(net, "POST", "/echo", "secret", 100, &reply, &http, &err),
                     SHOAL_ERR_TAMPERED);
    assert_non_null(strstr(err.hint, "fresh link"));
    assert_int_equal(atomic_load(&s->web.requests), 0);
    shoal_net_close(net);
}

static void a_redirect_is_not_followed(void **state)
{
    site *s = *state;
    shoal_net *net = open_net(s, NULL);
    shoal_buf reply;
    int http = 0;
    assert_int_equal(exchange(net, "GET", "/moved", NULL, 100, &reply, &http, NULL), SHOAL_OK);
    assert_int_equal(http, 302);
    assert_int_equal(atomic_load(&s->web.requests), 1);
    shoal_buf_clear(&reply);
    shoal_net_close(net);
}

static void an_answer_over_its_cap_is_refused(void **state)
{
    site *s = *state;
    shoal_net *net = open_net(s, NULL);
    shoal_buf reply;
    int http = 0;
    assert_int_equal(exchange(net, "GET", "/file", NULL, 1000, &reply, &http, NULL),
                     SHOAL_ERR_TOO_LARGE);
    shoal_buf_clear(&reply);
    assert_int_equal(exchange(net, "POST", "/echo", "again", 100, &reply, &http, NULL), SHOAL_OK);
    shoal_buf_clear(&reply);
    shoal_net_close(net);
}

static bool always(void)
{
    return true;
}

static void waits_are_bounded_and_can_be_stopped(void **state)
{
    site *s = *state;
    shoal_buf reply = shoal_buf_init(100);
    int http = 0;
    shoal_net *net = open_net(s, NULL);
    shoal_net_request rq = {.method = "GET", .path = "/never", .timeout_s = 1};
    assert_int_equal(shoal_net_exchange(net, &rq, &reply, &http, NULL), SHOAL_ERR_TIMEOUT);
    shoal_net_close(net);
    net = open_net(s, always);
    rq.timeout_s = 60;
    assert_int_equal(shoal_net_exchange(net, &rq, &reply, &http, NULL), SHOAL_ERR_CANCELLED);
    shoal_net_close(net);
}

/* The server of an IPv6 address; its certificate need not name it, as the key is pinned. */
static void ipv6_works(void **state)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool there = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    (void)state;
    (void)close(fd);
    if (!there) skip();
    site *s = open_site(false, "::1");
    shoal_buf reply;
    int http = 0;
    assert_int_equal(strncmp(s->web.base, "https://[::1]:", 14), 0);
    shoal_net *net = open_net(s, NULL);
    assert_int_equal(exchange(net, "POST", "/echo", "six", 100, &reply, &http, NULL), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&reply), "six");
    shoal_buf_clear(&reply);
    shoal_net_close(net);
    void *end = s;
    (void)tear_down(&end);
}

static void a_server_that_is_away_says_so(void **state)
{
    (void)state;
    uint8_t pin[32] = {0};
    shoal_net *net = NULL;
    shoal_net_config cfg = {.base_url = "https://127.0.0.1:1", .pin = pin};
    shoal_buf reply;
    shoal_error err = {0};
    int http = 0;
    assert_int_equal(shoal_net_open(&net, &cfg, NULL), SHOAL_OK);
    shoal_status st = exchange(net, "GET", "/", NULL, 10, &reply, &http, &err);
    assert_int_equal(st, SHOAL_ERR_IO);
    assert_true(shoal_net_is_away(st));
    assert_non_null(strstr(err.msg, "127.0.0.1:1"));
    shoal_net_close(net);
    cfg.base_url = "http://127.0.0.1:1";
    assert_int_equal(shoal_net_open(&net, &cfg, NULL), SHOAL_ERR_ARG);
}

/* ---- proxies ----------------------------------------------------------------------------------
 */

/* A CONNECT proxy (RFC 9110 9.3.6) for one connection: whatever is asked for, it leads to `port`.
 */
typedef struct proxy {
    int listener;
    uint16_t own_port, port;
    char request[512];
} proxy;

static int listen_loopback(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n) | listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void relay(int a, int b)
{
    struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char bytes[4096];
    while (poll(fds, 2, 10000) > 0) {
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents == 0) continue;
            ssize_t n = recv(fds[i].fd, bytes, sizeof bytes, 0);
            if (n <= 0 || send(fds[1 - i].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n) return;
        }
    }
}

static void *run_proxy(void *ctx)
{
    proxy *p = ctx;
    int client = accept(p->listener, NULL, NULL);
    size_t n = 0;
    while (n < sizeof p->request - 1 && strstr(p->request, "\r\n\r\n") == NULL) {
        ssize_t got = recv(client, p->request + n, sizeof p->request - 1 - n, 0);
        if (got <= 0) break;
        n += (size_t)got;
    }
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(p->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int server = socket(AF_INET, SOCK_STREAM, 0);
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    if (connect(server, (struct sockaddr *)&a, sizeof a) == 0 &&
        send(client, yes, sizeof yes - 1, MSG_NOSIGNAL) == (ssize_t)sizeof yes - 1) {
        relay(client, server);
    }
    (void)close(server);
    (void)close(client);
    return NULL;
}

/* The proxy of the environment is used, and the server's key is checked through it all the same. */
static void a_proxy_leads_to_the_server(void **state)
{
    site *s = *state;
    char env[64];
    char url[64];
    for (int wrong = 0; wrong < 2; wrong++) {
        proxy p = {.port = s->web.port};
        uint8_t pin[32];
        pthread_t t;
        shoal_net *net = NULL;
        shoal_error err = {0};
        shoal_buf reply = shoal_buf_init(100);
        int http = 0;
        p.listener = listen_loopback(&p.own_port);
        assert_int_equal(pthread_create(&t, NULL, run_proxy, &p), 0);
        (void)snprintf(env, sizeof env, "http://127.0.0.1:%u", (unsigned)p.own_port);
        (void)snprintf(url, sizeof url, "https://aggregator.invalid:%u", (unsigned)s->web.port);
        assert_int_equal(setenv("HTTPS_PROXY", env, 1), 0);
        memcpy(pin, s->web.pin, sizeof pin);
        pin[0] ^= (uint8_t)wrong;
        shoal_net_config cfg = {.base_url = url, .pin = pin};
        assert_int_equal(shoal_net_open(&net, &cfg, NULL), SHOAL_OK);
        shoal_status st = exchange(net, "POST", "/echo", "through", 100, &reply, &http, &err);
        shoal_net_close(net);
        assert_int_equal(pthread_join(t, NULL), 0);
        assert_int_equal(unsetenv("HTTPS_PROXY"), 0);
        assert_non_null(strstr(p.request, "CONNECT aggregator.invalid:"));
        assert_int_equal(st, wrong ? SHOAL_ERR_TAMPERED : SHOAL_OK);
        if (!wrong) assert_string_equal(shoal_buf_str(&reply), "through");
        (void)close(p.listener);
        shoal_buf_clear(&reply);
    }
}

/* A proxy cannot reach this machine's own loopback: it is not asked to. */
static void loopback_needs_no_proxy(void **state)
{
    site *s = *state;
    shoal_buf reply = shoal_buf_init(100);
    int http = 0;
    assert_int_equal(setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1), 0);
    shoal_net *net = open_net(s, NULL);
    assert_int_equal(exchange(net, "POST", "/echo", "direct", 100, &reply, &http, NULL), SHOAL_OK);
    assert_string_equal(shoal_buf_str(&reply), "direct");
    assert_int_equal(unsetenv("HTTPS_PROXY"), 0);
    shoal_net_close(net);
    shoal_buf_clear(&reply);
}

/* ---- downloads --------------------------------------------------------------------------------
 */

static shoal_status download(site *s, const char *what, uint64_t max, char path[200],
                             shoal_error *err)
{
    char url[100];
    (void)snprintf(url, sizeof url, "%s/%s", s->web.base, what);
    (void)snprintf(path, 200, "%s/out", s->dir);
    shoal_net_download d = {.url = url, .path = path, .max_bytes = max};
    return shoal_net_fetch_file(&d, err);
}

static void assert_whole(const site *s, const char *path)
{
    shoal_buf b;
    assert_int_equal(shoal_file_read(path, FILE_BYTES, &b, NULL), SHOAL_OK);
    assert_int_equal(b.len, FILE_BYTES);
    assert_memory_equal(b.data, s->file, FILE_BYTES);
    shoal_buf_clear(&b);
}

static void write_part(const site *s, size_t n)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/out", s->dir);
    assert_int_equal(shoal_file_write_atomic(path, s->file, n, 0644, NULL), SHOAL_OK);
}

static void a_download_goes_on_where_it_stopped(void **state)
{
    site *s = *state;
    char path[200];
    assert_int_equal(download(s, "file", FILE_BYTES, path, NULL), SHOAL_OK);
    assert_whole(s, path);
    assert_string_equal(s->range, "");
    write_part(s, 100000);
    assert_int_equal(download(s, "file", FILE_BYTES, path, NULL), SHOAL_OK);
    assert_string_equal(s->range, "bytes=100000-");
    assert_whole(s, path);
}

static void a_server_without_ranges_is_asked_from_the_start(void **state)
{
    site *s = *state;
    char path[200];
    s->no_ranges = true;
    write_part(s, 100000);
    assert_int_equal(download(s, "file", FILE_BYTES, path, NULL), SHOAL_OK);
    assert_whole(s, path);
}

static void a_complete_part_is_fetched_afresh(void **state)
{
    site *s = *state;
    char path[200];
    write_part(s, FILE_BYTES);
    assert_int_equal(download(s, "file", FILE_BYTES, path, NULL), SHOAL_OK);
    assert_whole(s, path);
}

static void a_missing_or_too_large_file_is_an_error(void **state)
{
    site *s = *state;
    char path[200];
    shoal_error err = {0};
    assert_int_equal(download(s, "absent", FILE_BYTES, path, &err), SHOAL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "404"));
    assert_int_equal(download(s, "file", 1000, path, &err), SHOAL_ERR_TOO_LARGE);
}

static void a_full_disk_is_named(void **state)
{
    site *s = *state;
    char url[100];
    shoal_error err = {0};
    if (access("/dev/full", W_OK) != 0) skip();
    (void)snprintf(url, sizeof url, "%s/file", s->web.base);
    shoal_net_download d = {.url = url, .path = "/dev/full", .max_bytes = FILE_BYTES};
    assert_int_equal(shoal_net_fetch_file(&d, &err), SHOAL_ERR_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bodies_and_methods_arrive, set_up_tls, tear_down),
        cmocka_unit_test_setup_teardown(another_key_is_refused_before_anything_is_sent, set_up_tls,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_redirect_is_not_followed, set_up_tls, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_over_its_cap_is_refused, set_up_tls, tear_down),
        cmocka_unit_test_setup_teardown(waits_are_bounded_and_can_be_stopped, set_up_tls,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_proxy_leads_to_the_server, set_up_tls, tear_down),
        cmocka_unit_test_setup_teardown(loopback_needs_no_proxy, set_up_tls, tear_down),
        cmocka_unit_test(ipv6_works),
        cmocka_unit_test(a_server_that_is_away_says_so),
        cmocka_unit_test_setup_teardown(a_download_goes_on_where_it_stopped, set_up_plain,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_server_without_ranges_is_asked_from_the_start,
                                        set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_complete_part_is_fetched_afresh, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_or_too_large_file_is_an_error, set_up_plain,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_is_named, set_up_plain, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
