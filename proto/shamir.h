/* shamir.h - t-of-n sharing of 32-byte secrets, bytewise over GF(2^8).
 *
 * Field polynomial x^8 + x^4 + x^3 + x + 1 (0x11b, FIPS 197 4.2). Each byte of the secret is the
 * constant term of its own polynomial of degree t - 1; share x is the value at x, x in 1..254.
 * Every coefficient is uniform, zero included, the leading one too. Multiplication is constant
 * time: no tables, no branches on secrets. Places are public.   Source: Shamir 1979.
 *
 * Layer: proto/. Threads: pure functions.
 */
#ifndef SHOAL_PROTO_SHAMIR_H
#define SHOAL_PROTO_SHAMIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_SHARE_BYTES = 32, SHOAL_SHAMIR_MAX = 254 };

/* Bytes of randomness a split needs: 32 * (t - 1). */
size_t shoal_shamir_coeff_bytes(size_t t);

/* shares [n][32], share i at x = i + 1. coeffs [32 * (t - 1)] must be fresh and uniform (row d - 1
 * holds the coefficients of x^d) and wiped by the caller. ARG unless 1 <= t <= n <= 254. */
SHOAL_MUST_USE shoal_status shoal_shamir_split(const uint8_t secret[32], size_t t, size_t n,
                                               const uint8_t *coeffs, uint8_t (*shares)[32],
                                               shoal_error *err);

/* out [n_at][32]: values at the places at[] of the polynomial through t points, as below. */
SHOAL_MUST_USE shoal_status shoal_shamir_evaluate(const uint8_t *x, const uint8_t (*shares)[32],
                                                  size_t t, const uint8_t *at, size_t n_at,
                                                  uint8_t (*out)[32], shoal_error *err);

/* Value at `at` of the polynomial through t points (x[i], shares[i]); at = 0 gives the secret.
 * FORMAT when an x is zero, above 254 or repeated. */
SHOAL_MUST_USE shoal_status shoal_shamir_combine(const uint8_t *x, const uint8_t (*shares)[32],
                                                 size_t t, uint8_t at, uint8_t out[32],
                                                 shoal_error *err);

/* Which of m shares are false: true when all but at most (m - t) / 2 lie on one polynomial of
 * degree t - 1, the others marked in wrong [m]. Branches on errors only: of true shares nothing
 * shows. */
bool shoal_shamir_locate(const uint8_t *x, const uint8_t (*shares)[32], size_t m, size_t t,
                         bool *wrong);

#ifdef __cplusplus
}
#endif
#endif
