/* load_device.c - see load_device.h. */
#define _GNU_SOURCE /* SOCK_NONBLOCK, IP_BIND_ADDRESS_NO_PORT */
#include "tests/bench/load_device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

enum { PER_ADDRESS = 100, EVENTS = 256 };

double load_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* Called when the server has given a ticket, or at the end of a full handshake. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    load_device *d = SSL_get_app_data(ssl);
    SSL_SESSION_free(d->session);
    d->session = session;
    return 1; /* the reference is ours */
}

bool load_open(load_crowd *c, size_t n)
{
    c->n = n;
    c->devices = calloc(n, sizeof *c->devices);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (c->devices == NULL || c->epoll < 0 || c->ctx == NULL) {
        return false;
    }
    (void)SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION);
    (void)SSL_CTX_set_max_proto_version(c->ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL); /* pins are tested elsewhere */
    (void)SSL_CTX_set_session_cache_mode(c->ctx,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(c->ctx, keep_session);
    (void)SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS);
    for (size_t i = 0; i < n; i++) {
        c->devices[i] = (load_device){.crowd = c, .index = i, .fd = -1};
    }
    return true;
}

void load_drop(load_device *d)
{
    if (d->fd >= 0) {
        (void)close(d->fd);
    }
    if (d->ssl != NULL) {
        SSL_set_shutdown(d->ssl, SSL_SENT_SHUTDOWN); /* or the session would count as broken */
        SSL_free(d->ssl);
    }
    d->fd = -1;
    d->ssl = NULL;
    d->n = 0;
    d->state = LOAD_AWAY;
}

void load_close(load_crowd *c)
{
    for (size_t i = 0; c->devices != NULL && i < c->n; i++) {
        load_device *d = &c->devices[i];
        load_drop(d);
        SSL_SESSION_free(d->session);
        X509_free(d->cert);
        EVP_PKEY_free(d->key);
    }
    free(c->devices);
    SSL_CTX_free(c->ctx);
    if (c->epoll >= 0) {
        (void)close(c->epoll);
    }
}

/* The device has no use for its connection any more. */
static void fail(load_device *d)
{
    load_state was = d->state;
    load_drop(d);
    ERR_clear_error();
    if (was == LOAD_ASKING) {
        d->crowd->events.replied(d->crowd->events.ctx, d, 0);
    } else {
        d->crowd->events.connected(d->crowd->events.ctx, d, false);
    }
}

/* A hundred devices share an address of the loopback network, as phones behind one router do. */
static bool dial(load_device *d)
{
    uint32_t own = 0x7f010001u + (uint32_t)(d->index / PER_ADDRESS);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(own)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(d->crowd->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = d};
    return d->fd >= 0 &&
           setsockopt(d->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) == 0 &&
           setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 &&
           bind(d->fd, (struct sockaddr *)&from, sizeof from) == 0 &&
           (connect(d->fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS) &&
           epoll_ctl(d->crowd->epoll, EPOLL_CTL_ADD, d->fd, &ev) == 0;
}

void load_connect(load_device *d)
{
    d->began_ms = load_now_ms();
    d->retry_ms = 0;
    d->state = LOAD_CONNECTING;
    if (!dial(d)) {
        fail(d);
    }
}

static bool begin_tls(load_device *d)
{
    load_resume how = d->crowd->resume;
    d->ssl = SSL_new(d->crowd->ctx);
    if (d->ssl == NULL || SSL_set_fd(d->ssl, d->fd) != 1 ||
        SSL_use_certificate(d->ssl, d->cert) != 1 || SSL_use_PrivateKey(d->ssl, d->key) != 1) {
        return false;
    }
    (void)SSL_set_app_data(d->ssl, d);
    if (how != LOAD_BY_TICKET) {
        (void)SSL_set_options(d->ssl, SSL_OP_NO_TICKET);
    }
    if (how != LOAD_NEVER && d->session != NULL) {
        (void)SSL_set_session(d->ssl, d->session);
    }
    SSL_set_connect_state(d->ssl);
    return true;
}

static bool wants_more(load_device *d, int rc)
{
    int e = SSL_get_error(d->ssl, rc);
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

static void go_on_shaking(load_device *d)
{
    int rc = SSL_do_handshake(d->ssl);
    if (rc == 1) {
        d->state = LOAD_IDLE;
        d->resumed = SSL_session_reused(d->ssl) == 1;
        d->crowd->events.connected(d->crowd->events.ctx, d, true);
    } else if (!wants_more(d, rc)) {
        fail(d);
    }
}

void load_ask(load_device *d)
{
    d->began_ms = load_now_ms();
    d->state = LOAD_ASKING;
    d->n = 0;
    /* a few hundred bytes always fit into an empty socket */
    if (SSL_write(d->ssl, d->crowd->request, (int)d->crowd->request_n) <= 0) {
        fail(d);
    }
}

/* The status once the whole answer is there, 0 before, -1 when it cannot be understood. */
static int read_status(load_device *d)
{
    d->reply[d->n] = '\0';
    const char *end = strstr(d->reply, "\r\n\r\n");
    const char *length = strcasestr(d->reply, "\r\ncontent-length:");
    if (end == NULL) {
        return d->n + 1 < LOAD_REPLY_MAX ? 0 : -1;
    }
    size_t head = (size_t)(end - d->reply) + 4;
    long body = length != NULL && length < end ? strtol(length + 17, NULL, 10) : 0;
    if (strncmp(d->reply, "HTTP/1.1 ", 9) != 0 || body < 0 ||
        head + (size_t)body >= LOAD_REPLY_MAX) {
        return -1;
    }
    return d->n >= head + (size_t)body ? atoi(d->reply + 9) : 0;
}

static void go_on_reading(load_device *d)
{
    for (;;) {
        int rc = SSL_read(d->ssl, d->reply + d->n, (int)(LOAD_REPLY_MAX - 1 - d->n));
        if (rc <= 0) {
            if (!wants_more(d, rc)) {
                fail(d);
            }
            return;
        }
        d->n += (size_t)rc;
        int status = d->state == LOAD_ASKING ? read_status(d) : -1;
        if (status < 0) {
            fail(d);
            return;
        }
        if (status > 0) {
            d->state = LOAD_IDLE;
            d->n = 0;
            d->crowd->events.replied(d->crowd->events.ctx, d, status);
            return;
        }
    }
}

static void handle(load_device *d, uint32_t events)
{
    if (d->state == LOAD_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        int why = 0;
        socklen_t n = sizeof why;
        if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &why, &n) != 0 || why != 0 || !begin_tls(d)) {
            fail(d);
            return;
        }
        d->state = LOAD_SHAKING;
    }
    if (d->state == LOAD_SHAKING) {
        go_on_shaking(d);
    } else if (d->state == LOAD_ASKING || d->state == LOAD_IDLE) {
        go_on_reading(d);
    }
}

void load_turn(load_crowd *c, int timeout_ms)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(c->epoll, ev, EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        load_device *d = ev[i].data.ptr;
        if (d->fd >= 0) {
            handle(d, ev[i].events);
        }
    }
}
