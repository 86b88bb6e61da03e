/* enrol.h - what device and CA compute alike when a device joins or renews. PROTOCOL.md section 2.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_ENROL_H
#define SHOAL_PROTO_ENROL_H

#include <stddef.h>
#include <stdint.h>

#include "proto/crypto.h"
#include "proto/join_link.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_NONCE_BYTES = 32, SHOAL_CHALLENGE_BYTES = 32 };

/* What a deployment asks a device to show of itself. */
typedef enum shoal_attestation_kind {
    SHOAL_ATTESTATION_NONE = 0,
    SHOAL_ATTESTATION_SOFTWARE = 1, /* a signature by a key the deployment knows (tests, fleets) */
    SHOAL_ATTESTATION_ANDROID = 2   /* Android key attestation of the identity key */
} shoal_attestation_kind;

/* Under which the CA keeps a token; its first SHOAL_TOKEN_BYTES are the token id, which names the
 * token without being worth anything. (Spec 2.2) */
SHOAL_MUST_USE shoal_status shoal_token_hash(const uint8_t token[SHOAL_TOKEN_BYTES],
                                             uint8_t out[32], shoal_error *err);

/* What an attestation must contain: bound to this token, this nonce and the request's key, so that
 * evidence cannot be taken to another enrolment. (Spec 2.9) */
SHOAL_MUST_USE shoal_status shoal_enrol_digest(const uint8_t token_id[SHOAL_TOKEN_BYTES],
                                               const uint8_t nonce[SHOAL_NONCE_BYTES],
                                               const uint8_t spki[SHOAL_SPKI_BYTES],
                                               uint8_t out[SHOAL_CHALLENGE_BYTES],
                                               shoal_error *err);

/* The old key's word for a renewal: without it whoever sees a certificate could ask for the next
 * one with a key of his own. TAMPERED when it does not verify. (Spec 2.7) */
SHOAL_MUST_USE shoal_status shoal_renew_sign(const shoal_key *old_key, const void *old_cert,
                                             size_t old_cert_n, const void *csr, size_t csr_n,
                                             uint8_t proof[SHOAL_SIG_BYTES], shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_renew_verify(const uint8_t old_spki[SHOAL_SPKI_BYTES],
                                               const void *old_cert, size_t old_cert_n,
                                               const void *csr, size_t csr_n,
                                               const uint8_t proof[SHOAL_SIG_BYTES],
                                               shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
