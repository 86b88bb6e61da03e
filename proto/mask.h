/* mask.h - the masks of SA-1: keys by HKDF, streams by ChaCha20, sums modulo 2^R.
 *
 *   K_ij  = HKDF(ikm = X25519(sk_i, pk_j), salt = roster_hash,
 *                info = "shoal/sa1/pair" 00 ctx u16 min(i,j) u16 max(i,j))
 *   Kself = HKDF(ikm = b_i, salt = roster_hash, info = "shoal/sa1/self" 00 ctx u16 i)
 *   y_i   = x_i + PRG(Kself_i) + sum_{j > i} PRG(K_ij) - sum_{j < i} PRG(K_ij)
 *
 * Arithmetic is modulo 2^32; only the low R bits leave the device, and 2^R divides 2^32, so that is
 * arithmetic modulo 2^R.   Source: Bonawitz et al. 2017, section 4; PROTOCOL.md section 5.
 *
 * Layer: proto/. Threads: pure functions; keys are secrets, wiped by the caller.
 */
#ifndef SHOAL_PROTO_MASK_H
#define SHOAL_PROTO_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What both key derivations are bound to. */
typedef struct shoal_mask_scope {
    const uint8_t *ctx;         /* [32] hash of the session descriptor */
    const uint8_t *roster_hash; /* [32] */
} shoal_mask_scope;

/* Key of the pair (i, j), the same from both sides; i != j are session indices from 1. `shared` is
 * X25519 of one's secret and the other's public key. */
SHOAL_MUST_USE shoal_status shoal_mask_pair_key(const shoal_mask_scope *scope,
                                                const uint8_t shared[32], uint16_t i, uint16_t j,
                                                uint8_t key[32], shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_mask_self_key(const shoal_mask_scope *scope, const uint8_t b[32],
                                                uint16_t i, uint8_t key[32], shoal_error *err);

/* The stream of a mask key, for shoal_chacha_add_all; it is as secret as the key. */
shoal_key_stream shoal_mask_stream(const uint8_t key[32], bool subtract);

/* acc [n] += (or -=) all the streams, modulo 2^32. */
SHOAL_MUST_USE shoal_status shoal_mask_apply_all(const shoal_exec *ex,
                                                 const shoal_key_stream *streams, size_t n_streams,
                                                 uint32_t *acc, size_t n, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
