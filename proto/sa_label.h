/* sa_label.h - domain separation of SA-1: every hash, signature and key names its purpose.
 *
 * Internal to proto/. PROTOCOL.md 1.4, 5.4.2, 5.6.2.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_SA_LABEL_H
#define SHOAL_PROTO_SA_LABEL_H

#include <stddef.h>
#include <stdint.h>

#include "proto/crypto.h"
#include "proto/mask.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Spec 1.4: H(label || 00 || ctx || u32 len || body); a NULL ctx is 32 zero bytes. */
SHOAL_MUST_USE shoal_status shoal_sa_digest(const char *label, const uint8_t *ctx, const void *body,
                                            size_t n, uint8_t out[32], shoal_error *err);

/* HKDF(ikm[32], salt = roster_hash, info = label || 00 || ctx || u16 places...), 32 bytes. */
SHOAL_MUST_USE shoal_status shoal_sa_derive(const char *label, const shoal_mask_scope *scope,
                                            const uint8_t ikm[32], const uint16_t *places,
                                            size_t n_places, uint8_t key[32], shoal_error *err);

/* Sign or verify a labelled digest of `body`. */
SHOAL_MUST_USE shoal_status shoal_sa_sign(const shoal_key *key, const char *label,
                                          const uint8_t *ctx, const void *body, size_t n,
                                          uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_sa_verify(const uint8_t spki[SHOAL_SPKI_BYTES], const char *label,
                                            const uint8_t *ctx, const void *body, size_t n,
                                            const uint8_t sig[SHOAL_SIG_BYTES], shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
