/* web_fixture.c - a small server for tests of the client. */
#include "tests/support/web_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/x509.h"

enum { BODY_MAX = 1 << 20 };

static void on_headers(void *ctx, shoal_http_request *r, shoal_http_accept *a)
{
    (void)ctx;
    (void)r;
    a->max_body = BODY_MAX;
}

static void on_request(void *ctx, shoal_http_request *r)
{
    web_fixture *f = ctx;
    atomic_fetch_add(&f->requests, 1);
    f->handle(f->ctx, r);
}

static void *serve(void *arg)
{
    web_fixture *f = arg;
    shoal_loop_run(f->loop);
    return NULL;
}

static void stop(void *arg)
{
    web_fixture *f = arg;
    shoal_loop_stop(f->loop);
}

/* A CA, and a server certificate for 127.0.0.1 issued by it. */
static void make_tls(web_fixture *f)
{
    static const char *const hosts[] = {"127.0.0.1"};
    uint8_t spki[SHOAL_SPKI_BYTES];
    int64_t now = (int64_t)time(NULL);
    shoal_buf key = shoal_buf_init(4096);
    f->ca_der = shoal_buf_init(4096);
    f->cert_der = shoal_buf_init(4096);
    assert_int_equal(shoal_key_generate(&f->ca_key, NULL), SHOAL_OK);
    assert_int_equal(shoal_key_generate(&f->server_key, NULL), SHOAL_OK);
    assert_int_equal(
        shoal_ca_create(f->ca_key, "test CA", now - 60, now + 86400, NULL, &f->ca_der, NULL),
        SHOAL_OK);
    shoal_key_spki(f->server_key, spki);
    assert_int_equal(shoal_sha256(spki, sizeof spki, f->pin, NULL), SHOAL_OK);
    shoal_cert_template t = {.kind = SHOAL_CERT_SERVER,
                             .spki = spki,
                             .hosts = hosts,
                             .n_hosts = 1,
                             .not_before_s = now - 60,
                             .not_after_s = now + 86400};
    assert_int_equal(
        shoal_cert_issue(f->ca_key, f->ca_der.data, f->ca_der.len, &t, &f->cert_der, NULL),
        SHOAL_OK);
    assert_int_equal(shoal_key_encode_der(f->server_key, &key, NULL), SHOAL_OK);
    shoal_tls_options opt = {.cert_der = f->cert_der.data,
                             .cert_len = f->cert_der.len,
                             .key_der = key.data,
                             .key_len = key.len,
                             .ca_der = f->ca_der.data,
                             .ca_len = f->ca_der.len,
                             .client_auth = SHOAL_TLS_CLIENT_OPTIONAL,
                             .resume_s = f->resume_s,
                             .resume_sessions = 100};
    assert_int_equal(shoal_tls_context_open(&f->tls, &opt, NULL), SHOAL_OK);
    shoal_buf_wipe(&key);
}

void web_fixture_open(web_fixture *f)
{
    atomic_store(&f->requests, 0);
    if (!f->plain) make_tls(f);
    assert_int_equal(shoal_loop_open(&f->loop, NULL), SHOAL_OK);
    shoal_http_options opt = {
        .host = f->host,
        .tls = f->tls,
        .limits = f->limits,
        .handler = {.ctx = f, .on_headers = on_headers, .on_request = on_request}};
    assert_int_equal(shoal_http_server_open(&f->server, f->loop, &opt, NULL), SHOAL_OK);
    f->port = shoal_http_server_port(f->server);
    bool v6 = f->host != NULL && strchr(f->host, ':') != NULL;
    (void)snprintf(f->base, sizeof f->base, "%s://%s%s%s:%u", f->plain ? "http" : "https",
                   v6 ? "[" : "", f->host != NULL ? f->host : "127.0.0.1", v6 ? "]" : "",
                   (unsigned)f->port);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

typedef struct counts_wish {
    web_fixture *f;
    shoal_http_counts *out;
    atomic_bool done;
} counts_wish;

static void take_counts(void *ctx)
{
    counts_wish *w = ctx;
    shoal_http_server_counts(w->f->server, w->out);
    atomic_store(&w->done, true);
}

void web_fixture_counts(web_fixture *f, shoal_http_counts *out)
{
    counts_wish w = {.f = f, .out = out};
    assert_true(shoal_loop_post(f->loop, take_counts, &w));
    while (!atomic_load(&w.done)) {
        struct timespec t = {.tv_nsec = 1000000};
        (void)nanosleep(&t, NULL);
    }
}

void web_fixture_close(web_fixture *f)
{
    assert_true(shoal_loop_post(f->loop, stop, f));
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    shoal_http_server_close(f->server);
    shoal_loop_close(f->loop);
    shoal_tls_context_close(f->tls);
    shoal_key_close(f->server_key);
    shoal_key_close(f->ca_key);
    shoal_buf_clear(&f->ca_der);
    shoal_buf_clear(&f->cert_der);
    memset(f, 0, sizeof *f);
}
