/* crypto.h - the only door to the cryptographic primitives.
 *
 * SHA-256 (FIPS 180-4), HKDF (RFC 5869), X25519 (RFC 7748), ECDSA P-256 with RFC 6979 nonces and
 * low s, ChaCha20-Poly1305 (RFC 8439), random bytes from CTR_DRBG (SP 800-90A) seeded by the
 * operating system. Implemented by crypto.c over mbedTLS, classic API.
 *
 * Failures that depend on a secret or a foreign value say only SHOAL_ERR_TAMPERED.
 *
 * Layer: proto/. Threads: everything here may be called from any thread; a shoal_key is read-only
 * after it was opened. Never fork after the first random byte and go on drawing in both.
 */
#ifndef SHOAL_PROTO_CRYPTO_H
#define SHOAL_PROTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_HASH_BYTES = 32,
    SHOAL_SIG_BYTES = 64,  /* r || s, big-endian each, s <= n/2 */
    SHOAL_SPKI_BYTES = 91, /* SubjectPublicKeyInfo of an uncompressed P-256 point, DER */
    SHOAL_ID_BYTES = 16,   /* first bytes of SHA-256(SPKI) */
    SHOAL_X25519_BYTES = 32,
    SHOAL_AEAD_KEY_BYTES = 32,
    SHOAL_AEAD_NONCE_BYTES = 12,
    SHOAL_AEAD_TAG_BYTES = 16
};

/* ---- random ---- */

/* Where random bytes come from, so that tests can repeat a run. A NULL source means the system. */
typedef struct shoal_entropy {
    shoal_status (*fill)(void *ctx, void *out, size_t n, shoal_error *err);
    void *ctx;
} shoal_entropy;

SHOAL_MUST_USE shoal_status shoal_random(void *out, size_t n, shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_entropy_fill(const shoal_entropy *src, void *out, size_t n,
                                               shoal_error *err);

/* ---- hashes ---- */

typedef struct shoal_sha256_ctx {
    uint64_t opaque[20];
} shoal_sha256_ctx;

SHOAL_MUST_USE shoal_status shoal_sha256(const void *data, size_t n, uint8_t out[32],
                                         shoal_error *err);

/* Streaming: init, any number of updates, final (which also wipes). A failure in between is kept
 * and reported by final. */
void shoal_sha256_init(shoal_sha256_ctx *c);
void shoal_sha256_update(shoal_sha256_ctx *c, const void *data, size_t n);
SHOAL_MUST_USE shoal_status shoal_sha256_final(shoal_sha256_ctx *c, uint8_t out[32],
                                               shoal_error *err);

/* out_n <= 255 * 32. salt may be NULL with salt_n 0. */
SHOAL_MUST_USE shoal_status shoal_hkdf(const void *salt, size_t salt_n, const void *ikm,
                                       size_t ikm_n, const void *info, size_t info_n, void *out,
                                       size_t out_n, shoal_error *err);

/* True when equal; the time does not depend on where they differ. */
bool shoal_equal(const void *a, const void *b, size_t n);

/* ---- X25519 ---- */

SHOAL_MUST_USE shoal_status shoal_x25519_public(uint8_t out[32], const uint8_t secret[32],
                                                shoal_error *err);
/* out [n][32]: one secret with n peers' values, faster than one by one. TAMPERED, all of out wiped,
 * when one of them has low order. */
SHOAL_MUST_USE shoal_status shoal_x25519_many(uint8_t (*out)[32], const uint8_t secret[32],
                                              const uint8_t *const *peers, size_t n,
                                              shoal_error *err);
/* TAMPERED when the peer's value has low order (an all-zero result). */
SHOAL_MUST_USE shoal_status shoal_x25519(uint8_t out[32], const uint8_t secret[32],
                                         const uint8_t peer[32], shoal_error *err);

/* ---- ECDSA P-256 ---- */

typedef struct shoal_key shoal_key; /* a private key and its public half */

SHOAL_MUST_USE shoal_status shoal_key_generate(shoal_key **out, shoal_error *err);
/* PKCS#8 or SEC1, DER or PEM; FORMAT for anything but an unencrypted P-256 key. */
SHOAL_MUST_USE shoal_status shoal_key_load(shoal_key **out, const void *bytes, size_t n,
                                           shoal_error *err);
/* From a bare scalar, big-endian (known-answer tests). */
SHOAL_MUST_USE shoal_status shoal_key_from_scalar(shoal_key **out, const uint8_t scalar[32],
                                                  shoal_error *err);
void shoal_key_close(shoal_key *key); /* wipes */

/* Appends the private key as PEM or DER (SEC1). The buffer then holds a secret: wipe it. */
SHOAL_MUST_USE shoal_status shoal_key_encode_pem(const shoal_key *key, shoal_buf *out,
                                                 shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_key_encode_der(const shoal_key *key, shoal_buf *out,
                                                 shoal_error *err);

void shoal_key_spki(const shoal_key *key, uint8_t out[SHOAL_SPKI_BYTES]);

/* Identity of a public key: the first 16 bytes of SHA-256(SPKI). */
SHOAL_MUST_USE shoal_status shoal_spki_id(const uint8_t spki[SHOAL_SPKI_BYTES],
                                          uint8_t id[SHOAL_ID_BYTES], shoal_error *err);

/* Signs a SHA-256 digest. Same key and digest, same bytes. */
SHOAL_MUST_USE shoal_status shoal_sign(const shoal_key *key, const uint8_t digest[32],
                                       uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err);
/* TAMPERED unless the signature is right and has low s. */
SHOAL_MUST_USE shoal_status shoal_verify(const uint8_t spki[SHOAL_SPKI_BYTES],
                                         const uint8_t digest[32],
                                         const uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err);

/* ---- AEAD ---- */

typedef struct shoal_aead_in {
    const uint8_t *key;   /* [32] */
    const uint8_t *nonce; /* [12] */
    const void *aad;
    size_t aad_n;
} shoal_aead_in;

/* out [n + 16] = ciphertext || tag. */
SHOAL_MUST_USE shoal_status shoal_aead_seal(const shoal_aead_in *in, const void *plain, size_t n,
                                            uint8_t *out, shoal_error *err);
/* out [n - 16]; TAMPERED (out zeroed) unless the tag is right. */
SHOAL_MUST_USE shoal_status shoal_aead_open(const shoal_aead_in *in, const uint8_t *sealed,
                                            size_t n, uint8_t *out, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
