/* codec.h - from an update to ring elements and back.
 *
 *   f = min(1, C / |x|_2)                      clip to L2 norm C, in double
 *   q_i = round(w * f * x_i * 2^scale_log2)    stochastic rounding, unbiased
 *   words = q_0 .. q_{dim-1}, w                modulo 2^R; w is the client's integer weight
 *
 * A sum of at most n_max such vectors cannot wrap: the check n_max * (W C 2^scale_log2 + 1) <
 * 2^(R-1) is made before a session exists, by both sides. The weighted mean is then
 * sum(q_i) / (2^scale_log2 * sum(w)).
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
} shoal_codec;

typedef struct shoal_codec_stats {
    double norm; /* of the update before clipping */
    bool clipped;
} shoal_codec_stats;

/* Refuses (ARG with a hint) parameters under which a sum could wrap. */
SHOAL_MUST_USE shoal_status shoal_codec_check(const shoal_codec *c, shoal_error *err);

/* The largest scale_log2 that passes the check, written into c; ARG when none does. */
SHOAL_MUST_USE shoal_status shoal_codec_fit_scale(shoal_codec *c, shoal_error *err);

size_t shoal_codec_words(const shoal_codec *c); /* dim + 1 */

/* words [dim + 1] = encoding of x [dim]. The rounding bits come from ChaCha20 under `seed`: same
 * seed, same words. ARG when weight is 0 or above W; FORMAT when x holds NaN or infinity (words are
 * then zeroed). stats may be NULL. */
SHOAL_MUST_USE shoal_status shoal_codec_encode(const shoal_exec *ex, const shoal_codec *c,
                                               const float *x, uint32_t weight,
                                               const uint8_t seed[32], uint32_t *words,
                                               shoal_codec_stats *stats, shoal_error *err);

/* mean [dim] and *weight_sum from a sum of encodings [dim + 1]. FORMAT when the weight is
 * impossible (0 or above n_max * W). */
SHOAL_MUST_USE shoal_status shoal_codec_decode(const shoal_codec *c, const uint32_t *sum,
                                               float *mean, uint64_t *weight_sum, shoal_error *err);

/* R bits a value, least significant bit first, values in order; the last byte's spare bits are 0.
 */
size_t shoal_packed_bytes(size_t n, uint32_t ring_bits);
/* out [shoal_packed_bytes(n)]; bits above R of a word are ignored. */
void shoal_pack(const uint32_t *words, size_t n, uint32_t ring_bits, uint8_t *out);
/* words [n] from a whole packed vector; FORMAT when bytes differs from shoal_packed_bytes(n) or a
 * spare bit is set. */
SHOAL_MUST_USE shoal_status shoal_unpack(const uint8_t *packed, size_t bytes, size_t n,
                                         uint32_t ring_bits, uint32_t *words, shoal_error *err);
/* acc [n] += the packed vector, modulo 2^32 (hence modulo 2^R). Same errors, acc then untouched. */
SHOAL_MUST_USE shoal_status shoal_packed_add(const uint8_t *packed, size_t bytes, size_t n,
                                             uint32_t ring_bits, uint32_t *acc, shoal_error *err);

#ifdef __cplusplus
}
#endif
#endif
