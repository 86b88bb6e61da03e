/* tls.h - the server side of TLS 1.2, as bytes in and bytes out; no sockets.
 *
 * Hardened to what the protocol needs: TLS 1.2 only, ECDHE-ECDSA with ChaCha20-Poly1305,
 * AES-128-GCM or AES-256-GCM, extended master secret required, no renegotiation, no compression.
 * Client certificates may be required or optional; a certificate is accepted when it is a single
 * leaf signed by the given CA and inside its dates. Who it belongs to and whether it is revoked is
 * the handler's decision, at every request: it gets the SHA-256 of the leaf's DER bytes.
 *
 * Sessions are resumed by tickets (RFC 5077): the server seals the session, with the client's
 * certificate in it, under a key that only this process knows and that is replaced every
 * resume_s seconds. Clients that ask for no ticket (libcurl over OpenSSL) resume by session id,
 * from a table in memory. Either way a resumed session has the certificate of the one it began
 * with, so nothing that the handler decides by it can be evaded, and it is not renewed by being
 * resumed: after resume_s the client shows its certificate again.
 *
 * Cost: a handshake with certificates takes milliseconds of a processor (about 7 where this was
 * written), a resumed one tenths. shoal_tls_feed can be told to stop before the former, so that a
 * loop does what is cheap and a worker thread the rest. A session between records holds some 3 KiB:
 * record buffers are lent for as long as half a record is in them (tls_buffers.h), and nothing of
 * mbedTLS is allocated before the client's whole first message is there.
 *
 * Layer: proto/net; tls*.c are the only users of mbedTLS's ssl module.
 * Threads: a context serves sessions on many threads, a session has one owner at a time.
 */
#ifndef SHOAL_PROTO_NET_TLS_H
#define SHOAL_PROTO_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_tls_context shoal_tls_context;
typedef struct shoal_tls_session shoal_tls_session;

typedef enum shoal_tls_client_auth {
    SHOAL_TLS_CLIENT_NONE,     /* no certificate is asked for */
    SHOAL_TLS_CLIENT_OPTIONAL, /* asked for; none is fine, a bad one ends the handshake */
    SHOAL_TLS_CLIENT_REQUIRED
} shoal_tls_client_auth;

typedef struct shoal_tls_options {
    const uint8_t *cert_der; /* server certificate, borrowed during the call */
    size_t cert_len;
    const uint8_t *key_der; /* its private key (SEC1 or PKCS#8 DER), borrowed during the call */
    size_t key_len;
    const uint8_t *ca_der; /* issuers of client certificates, one DER certificate behind the other;
                              may be NULL with CLIENT_NONE */
    size_t ca_len;
    shoal_tls_client_auth client_auth;
    uint32_t resume_s;      /* how long; 0: no session is resumed. At most SHOAL_TLS_RESUME_MAX_S */
    size_t resume_sessions; /* about how many are kept for clients without tickets; 0: none */
} shoal_tls_options;

/* A week, as in RFC 8446 4.6.1; the life of a device certificate as well. */
enum { SHOAL_TLS_RESUME_MAX_S = 7 * 24 * 3600 };

/* What shoal_tls_feed may do in one call. */
typedef enum shoal_tls_effort {
    SHOAL_TLS_CHEAP, /* nothing with public keys */
    SHOAL_TLS_ANY
} shoal_tls_effort;

SHOAL_MUST_USE shoal_status shoal_tls_context_open(shoal_tls_context **out,
                                                   const shoal_tls_options *opt, shoal_error *err);
void shoal_tls_context_close(shoal_tls_context *c);

/* Accepts clients of these further issuers from now on; those that are known already are skipped.
 * Sessions that are open go on. */
SHOAL_MUST_USE shoal_status shoal_tls_context_add_ca(shoal_tls_context *c, const uint8_t *der,
                                                     size_t n, shoal_error *err);

/* One connection. The context must outlive it. */
SHOAL_MUST_USE shoal_status shoal_tls_session_open(shoal_tls_session **out, shoal_tls_context *c,
                                                   shoal_error *err);
void shoal_tls_session_close(shoal_tls_session *s);

/* Ciphertext from the peer, all of it consumed. What the session wants sent is appended to
 * `wire_out`, decrypted bytes to `plain_out`. Returns SHOAL_OK, SHOAL_ERR_CANCELLED when the peer
 * closed the session in an orderly way, or the reason the connection must be dropped (an alert may
 * be in wire_out; send it first). With SHOAL_TLS_CHEAP also SHOAL_ERR_AGAIN: the session has kept
 * the bytes, and public-key work comes next; call again with SHOAL_TLS_ANY, no bytes are needed. */
SHOAL_MUST_USE shoal_status shoal_tls_feed(shoal_tls_session *s, shoal_tls_effort effort,
                                           const uint8_t *data, size_t n, shoal_buf *wire_out,
                                           shoal_buf *plain_out, shoal_error *err);

/* True once the handshake is complete and shoal_tls_seal may be called. */
bool shoal_tls_ready(const shoal_tls_session *s);

/* True when the session resumes an earlier one. */
bool shoal_tls_resumed(const shoal_tls_session *s);

/* Encrypts all n bytes; records are appended to wire_out. */
SHOAL_MUST_USE shoal_status shoal_tls_seal(shoal_tls_session *s, const uint8_t *data, size_t n,
                                           shoal_buf *wire_out, shoal_error *err);

/* Appends the close_notify alert. */
void shoal_tls_finish(shoal_tls_session *s, shoal_buf *wire_out);

/* SHA-256 [32] of the DER bytes of the client's verified certificate, of this session or of the one
 * it resumes; NULL when there is none. Valid while the session is. */
const uint8_t *shoal_tls_peer_cert_hash(const shoal_tls_session *s);
/* Its DER bytes; NULL when there is none. */
const uint8_t *shoal_tls_peer_cert(const shoal_tls_session *s, size_t *n);

#ifdef __cplusplus
}
#endif
#endif
