/* join_link.h - the one-time link that brings a device in.
 *
 *   shoal://HOST:PORT/join#TOKEN.PIN
 *
 * TOKEN: 32 hex digits, one use, short-lived. PIN: 64 hex digits, SHA-256 of the server key's SPKI,
 * so that the first connection is already authenticated. HOST is a DNS name, an IPv4 address or an
 * IPv6 address in brackets. PROTOCOL.md section 2.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_JOIN_LINK_H
#define SHOAL_PROTO_JOIN_LINK_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "proto/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_TOKEN_BYTES = 16 };

typedef struct shoal_join_link {
    char host[SHOAL_LIMIT_HOST]; /* without brackets */
    uint16_t port;
    uint8_t token[SHOAL_TOKEN_BYTES];
    uint8_t pin[32];
} shoal_join_link;

SHOAL_MUST_USE shoal_status shoal_join_link_encode(const shoal_join_link *l, shoal_buf *out,
                                                   shoal_error *err);
/* Surrounding white space is ignored. FORMAT says which part is wrong. */
SHOAL_MUST_USE shoal_status shoal_join_link_decode(const char *text, shoal_join_link *out,
                                                   shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
