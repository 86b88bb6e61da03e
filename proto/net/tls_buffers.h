/* tls_buffers.h - record buffers that many TLS sessions share.
 *
 * mbedTLS gives every session two record buffers, 33 KiB together, for as long as it lives; only a
 * session with half a record in them needs them. Between records a session is "parked": its buffers
 * go to a pool, and what stays is where its pointers stood and the counter that TLS keeps in front
 * of the input. The next record borrows a pair. Thousands of idle connections so share the few
 * pairs that are in use at one moment.
 *
 * This reaches into mbedtls_ssl_context, as mbedTLS itself does when it is built with
 * MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH, which distributions do not. Lengths are never assumed: pairs
 * are made by mbedtls_ssl_setup and ended by mbedtls_ssl_free, which wipes them.
 *
 * Layer: proto/net, private; part of tls.c. Threads: a pool serves all; a session has one owner.
 */
#ifndef SHOAL_PROTO_NET_TLS_BUFFERS_H
#define SHOAL_PROTO_NET_TLS_BUFFERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mbedtls/ssl.h>

/* 3.x hides the fields of its structures behind this macro; 2.28 has no such thing. */
#ifndef MBEDTLS_PRIVATE
#define MBEDTLS_PRIVATE(member) member
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { TLS_POOL_MAX = 16, TLS_POINTERS = 6 };

typedef struct tls_pair {
    unsigned char *in, *out;
    size_t in_n, out_n; /* only where mbedTLS itself resizes them */
} tls_pair;

typedef struct tls_pool {
    pthread_mutex_t lock;
    tls_pair spare[TLS_POOL_MAX];
    size_t n;
} tls_pool;

/* What a session keeps while parked. */
typedef struct tls_parked {
    bool yes;
    uint16_t in_at[TLS_POINTERS], out_at[TLS_POINTERS]; /* of its pointers, in their buffers */
    uint8_t in_counter[8];                              /* sequence number of the next record */
} tls_parked;

bool tls_pool_init(tls_pool *p);
void tls_pool_clear(tls_pool *p); /* no session may be borrowing */

/* Gives the buffers back when nothing is in them; otherwise does nothing. Only after the
 * handshake. */
void tls_park(tls_pool *p, mbedtls_ssl_context *ssl, tls_parked *parked);

/* The opposite; false when memory is out. Does nothing for a session that is not parked. */
bool tls_unpark(tls_pool *p, mbedtls_ssl_context *ssl, tls_parked *parked);

#ifdef __cplusplus
}
#endif
#endif
