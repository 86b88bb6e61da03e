/* rotate.h - the randomised Hadamard rotation of an update, and back.
 *
 * An L2 bound lets one coordinate hold the whole norm, and the ring must have room for that. After
 * random signs and a Hadamard transform of a block of B = 2^b coordinates, each is about norm /
 * sqrt(B), whatever the update was, so the same ring carries steps of sqrt(B) / SLACK times the
 * fineness.
 *
 * Blocks lie side by side; what is left over at the end is covered by one more block that ends with
 * the vector and overlaps the one before. So nothing is padded, and the map is orthonormal. b is
 * even: the factor 1 / sqrt(B) is a power of two, and every operation has one result in IEEE 754.
 *
 * Source: Suresh et al. 2017 (arXiv 1611.00429), section 3; PROTOCOL.md 5.6.6.
 *
 * Layer: proto/. Threads: pure functions over their arguments.
 */
#ifndef SHOAL_PROTO_ROTATE_H
#define SHOAL_PROTO_ROTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHOAL_ROTATION_MIN = 10, /* log2 of the smallest block */
    SHOAL_ROTATION_MAX = 20, /* of the largest: 8 MiB of doubles */
    SHOAL_ROTATION_SLACK = 8 /* a coordinate beyond SLACK * norm / sqrt(B) is cut there; of a random
                              * rotation one in 4 * 10^13 is (2 exp(-SLACK^2 / 2)) */
};

/* 0 (no rotation), or even, in MIN..MAX, with a block no longer than the vector. */
bool shoal_rotation_valid(uint32_t log2_block, size_t n);

/* The largest valid rotation up to 16, or 0 when the vector is too short for one. */
uint32_t shoal_rotation_fit(size_t n);

/* x [n] of floats, in place, at any alignment. key: of the signs (shoal_sa_rotation_key).
 * log2_block is valid for n and not 0. NOMEM, INTERNAL. */
SHOAL_MUST_USE shoal_status shoal_rotate(const shoal_exec *ex, uint32_t log2_block,
                                         const uint8_t key[32], void *x, size_t n,
                                         shoal_error *err);
SHOAL_MUST_USE shoal_status shoal_rotate_back(const shoal_exec *ex, uint32_t log2_block,
                                              const uint8_t key[32], void *x, size_t n,
                                              shoal_error *err);

/* A subnormal counts as 0: it is far below any step, and slow. Zeros have one form, +0. Without a
 * branch, for x is secret. Spec 5.6.5. */
static inline float shoal_flush_subnormal(float x)
{
    const uint32_t exponent = 0x7f800000;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0u - ((bits & exponent) != 0 ? 1u : 0u);
    memcpy(&x, &bits, sizeof x);
    return x;
}

#ifdef __cplusplus
}
#endif
#endif
