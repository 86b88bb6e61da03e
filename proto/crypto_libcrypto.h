/* crypto_libcrypto.h - three primitives from OpenSSL's libcrypto, where the machine has it.
 * Internal to crypto.c.
 *
 * X25519, ECDSA P-256 verification and SHA-256 in portable C are what a session costs besides its
 * masks; libcrypto has them in assembly. It is loaded at run time, checked against known answers,
 * and not used at all when it is missing or a check fails: mbedTLS then does the same work.
 *
 * Layer: proto/. Threads: any, once shoal_libcrypto_ready has returned in it.
 */
#ifndef SHOAL_PROTO_CRYPTO_LIBCRYPTO_H
#define SHOAL_PROTO_CRYPTO_LIBCRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Loads and checks the library on the first call. False: do without. */
bool shoal_libcrypto_ready(void);

/* Tests: false makes shoal_libcrypto_ready say no until true is given again. One thread only. */
void shoal_libcrypto_allow(bool allow);

/* The rest only when ready. */

/* RFC 7748; peer NULL: the base point. False when the result is zero. */
bool shoal_libcrypto_x25519(uint8_t out[32], const uint8_t secret[32], const uint8_t *peer);
/* One secret, n peers: out [n][32]. The library computes a public key from each secret it is given,
 * which takes as long as the exchange. */
bool shoal_libcrypto_x25519_many(uint8_t (*out)[32], const uint8_t secret[32],
                                 const uint8_t *const *peers, size_t n);

/* Whether r || s is a signature of the digest under 04 || x || y; checks that the point is on the
 * curve. Both s and n - s count. */
bool shoal_libcrypto_verify(const uint8_t point[65], const uint8_t digest[32],
                            const uint8_t sig[64]);

enum { SHOAL_LIBCRYPTO_SHA256_BYTES = 112 };
/* state [SHOAL_LIBCRYPTO_SHA256_BYTES], aligned for uint64_t. */
bool shoal_libcrypto_sha256_init(void *state);
bool shoal_libcrypto_sha256_update(void *state, const void *data, size_t n);
bool shoal_libcrypto_sha256_final(void *state, uint8_t out[32]);

#ifdef __cplusplus
}
#endif
#endif
