/* load_device.h - thousands of devices in one process: HTTPS clients over OpenSSL, each with a
 * certificate of its own, on one epoll loop.
 *
 * A device is told to connect, to ask, or to drop its connection, and says once what came of it. It
 * keeps its TLS session, and resumes it by ticket or by id the next time, unless told otherwise.
 *
 * Only loopback is ever connected to. Threads: one.
 */
#ifndef SHOAL_TESTS_BENCH_LOAD_DEVICE_H
#define SHOAL_TESTS_BENCH_LOAD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

enum { LOAD_REPLY_MAX = 4096 };

/* How a device comes back. */
typedef enum load_resume { LOAD_BY_TICKET, LOAD_BY_ID, LOAD_NEVER } load_resume;

typedef enum load_state {
    LOAD_AWAY,
    LOAD_CONNECTING,
    LOAD_SHAKING,
    LOAD_IDLE,  /* connected, asks nothing */
    LOAD_ASKING /* a request is on its way */
} load_state;

typedef struct load_device load_device;
typedef struct load_crowd load_crowd;

struct load_device {
    load_crowd *crowd;
    size_t index;
    X509 *cert;
    EVP_PKEY *key;
    load_state state;
    int fd;
    SSL *ssl;
    SSL_SESSION *session;
    bool resumed;    /* the connection it has now */
    double began_ms; /* of the connection or the request */
    double retry_ms; /* when to try again; 0: not */
    unsigned tries;
    size_t n;
    char reply[LOAD_REPLY_MAX];
};

typedef struct load_events {
    void *ctx;
    /* Connected (ok), or not; a device whose connection ends by itself later says `ok` false too.
     */
    void (*connected)(void *ctx, load_device *d, bool ok);
    void (*replied)(void *ctx, load_device *d, int status); /* 0: the connection broke */
} load_events;

struct load_crowd {
    int epoll;
    uint16_t port;
    load_resume resume;
    SSL_CTX *ctx;
    load_device *devices; /* [n] */
    size_t n;
    load_events events;
    const char *request; /* a whole one */
    size_t request_n;
};

double load_now_ms(void);

/* Opens nothing yet. Certificates and keys are set by the caller and freed by load_close. */
bool load_open(load_crowd *c, size_t n);
void load_close(load_crowd *c);

void load_connect(load_device *d);
void load_ask(load_device *d);
void load_drop(load_device *d); /* says nothing */

/* Waits for events and handles them, at most this long. */
void load_turn(load_crowd *c, int timeout_ms);

#endif
