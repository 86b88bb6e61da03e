/* web_fixture.h - an HTTPS (or plain HTTP) server of a test, on its own thread and loopback. */
#ifndef SHOAL_TESTS_SUPPORT_WEB_FIXTURE_H
#define SHOAL_TESTS_SUPPORT_WEB_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "proto/crypto.h"
#include "proto/net/http_server.h"
#include "proto/net/loop.h"
#include "proto/net/tls.h"

/* Answers a request whose body is complete; called on the server's thread. */
typedef void web_handler(void *ctx, shoal_http_request *r);

typedef struct web_fixture {
    web_handler *handle; /* set before web_fixture_open */
    void *ctx;
    const char *host;                /* numeric; NULL: 127.0.0.1 */
    bool plain;                      /* HTTP without TLS */
    const shoal_http_limits *limits; /* NULL: the defaults */
    uint32_t resume_s;

    char base[64]; /* "https://HOST:PORT" */
    uint16_t port;
    uint8_t pin[32]; /* of the server's key */
    shoal_key *ca_key;
    shoal_buf ca_der, cert_der;
    shoal_key *server_key;
    atomic_int requests;

    /* private */
    shoal_tls_context *tls;
    shoal_loop *loop;
    shoal_http_server *server;
    pthread_t thread;
} web_fixture;

/* Fail the running test when something goes wrong. */
void web_fixture_open(web_fixture *f);
/* The server's counts, asked for on its thread. */
void web_fixture_counts(web_fixture *f, shoal_http_counts *out);
void web_fixture_close(web_fixture *f);

#endif
