/* tls_hello.h - what the first message of a TLS client says, read before anything is allocated for
 * it (RFC 5246 7.4.1.2).
 *
 * The scan decides three things a server wants to know early: whether the bytes are a ClientHello
 * at all, whether the extended master secret (RFC 7627) is offered, and whether the client names
 * a session to resume, by a ticket (RFC 5077) or an id, which makes the handshake cheap.
 *
 * Layer: proto/net, private. Threads: any.
 */
#ifndef SHOAL_PROTO_NET_TLS_HELLO_H
#define SHOAL_PROTO_NET_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Larger ones are refused. Clients with post-quantum key shares send less than 2 KiB; with one of
 * our tickets, 1 KiB more. */
enum { TLS_HELLO_MAX = 8192 };

typedef enum tls_hello_state {
    TLS_HELLO_MORE, /* a beginning of one; ask again with more bytes */
    TLS_HELLO_READY,
    TLS_HELLO_BAD /* no ClientHello in one record, malformed, or too large */
} tls_hello_state;

typedef struct tls_hello {
    bool master_secret;        /* offers the extended master secret */
    bool ticket;               /* brings a session ticket */
    const uint8_t *session_id; /* in `data`; names a session to resume, or is just random */
    size_t session_id_n;       /* 0..32 */
} tls_hello;

/* `out` is set when READY, and points into data. Bytes after the first record are not looked at. */
tls_hello_state tls_hello_scan(const uint8_t *data, size_t n, tls_hello *out);

#ifdef __cplusplus
}
#endif
#endif
