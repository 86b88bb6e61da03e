/* codec.h - from an update to ring elements and back.
 *
 *   f = min(1, C / |x|_2)                      clip to L2 norm C, in double
 *   r = f x, or its rotation (rotate.h), each coordinate cut at +-L
 *   q_i = round(w * r_i * 2^scale_log2)        stochastic rounding, unbiased
 *   words = q_0 .. q_{dim-1}, w                modulo 2^R; w is the client's integer weight
 *
 * L = C without rotation; with blocks of 2^b, 8 C / 2^(b/2). A sum of at most n_max such vectors
 * cannot wrap: the check n_max * (W L 2^scale_log2 + 1) < 2^(R-1) is made before a session exists,
 * by both sides. The weighted mean is then sum(q_i) / (2^scale_log2 * sum(w)), rotated back.
 *
 * Layer: proto/. Threads: pure functions over their arguments.
 */
#ifndef SHOAL_PROTO_CODEC_H
#define SHOAL_PROTO_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shoal_codec {
    uint32_t dim;        /* model coordinates; the vector has dim + 1 words */
    uint32_t ring_bits;  /* R, 16..32 */
    int32_t scale_log2;  /* -32..40 */
    double clip_norm;    /* C > 0 */
    uint32_t weight_max; /* W >= 1 */
    uint32_t n_max;      /* clients in a sum, at most */
    uint32_t rotation;   /* log2 of the rotated blocks; 0: none (shoal_rotation_valid) */
} shoal_codec;

typedef struct shoal_codec_stats {
    double norm; /* of the update before clipping */
    bool clipped;
    size_t cut; /* coordinates beyond L after the rotation */
} shoal_codec_stats;

/* Refuses (ARG with a hint) parameters under which a sum could wrap. */
SHOAL_MUST_USE shoal_status shoal_codec_check(const shoal_codec *c, shoal_error *err);

/* The largest scale_log2 that passes the check, written into c; ARG when none does. */
SHOAL_MUST_USE shoal_status shoal_codec_fit_scale(shoal_codec *c, shoal_error *err);

size_t shoal_codec_words(const shoal_codec *c); /* dim + 1 */

/* Keys of a session's coding, 32 bytes each. */
typedef struct shoal_codec_keys {
    const uint8_t *rounding; /* of this device's rounding bits: secret, fresh for each session */
    const uint8_t *rotation; /* of the signs: public, from ctx (shoal_sa_rotation_key); may be NULL
                                when the codec does not rotate */
} shoal_codec_keys;

/* words [dim + 1] = encoding of x [dim]: same keys, same words. A subnormal coordinate counts as 0.
 * ARG when weight is 0 or above W; FORMAT when x holds NaN or infinity. On any failure words are
 * zeroed. stats may be NULL. */
SHOAL_MUST_USE shoal_status shoal_codec_encode(const shoal_exec *ex, const shoal_codec *c,
                                               const float *x, uint32_t weight,
                                               const shoal_codec_keys *keys, uint32_t *words,
                                               shoal_codec_stats *stats, shoal_error *err);

/* mean [dim] and *weight_sum from a sum of encodings [dim + 1]. FORMAT when the weight is
 * impossible (0 or above n_max * W). rotation_key as above. */
SHOAL_MUST_USE shoal_status shoal_codec_decode(const shoal_exec *ex, const shoal_codec *c,
                                               const uint8_t rotation_key[32], const uint32_t *sum,
                                               float *mean, uint64_t *weight_sum, shoal_error *err);

/* R bits a value, least significant bit first, values in order; the last byte's spare bits are 0.
 */
size_t shoal_packed_bytes(size_t n, uint32_t ring_bits);
/* out [shoal_packed_bytes(n)]; bits above R of a word are ignored. */
void shoal_pack(const uint32_t *words, size_t n, uint32_t ring_bits, uint8_t *out);
/* acc [n] += a whole packed vector, modulo 2^32 (hence modulo 2^R). FORMAT, acc untouched, when
 * bytes differs from shoal_packed_bytes(n) or a spare bit is set. */
SHOAL_MUST_USE shoal_status shoal_packed_add(const shoal_exec *ex, const uint8_t *packed,
                                             size_t bytes, size_t n, uint32_t ring_bits,
                                             uint32_t *acc, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
