/* expf.h - e^x in f32 by one polynomial, the same at every processor level; constants of gelu.
 *
 * x = n ln2 + r with |r| <= ln2 / 2; e^r = 1 + r + r^2 q(r), q of degree 4 interpolating
 * (e^r - 1 - r) / r^2 at the Chebyshev nodes (relative error of the polynomial 1.1e-8); the result
 * is scaled by 2^n through the exponent bits. Error: at most 1.5 units in the last place for
 * SHOAL_EXP_LO <= x <= SHOAL_EXP_HI (checked by test_pointwise); 0 below (no subnormals), the value
 * at SHOAL_EXP_HI above, NaN for NaN.
 *
 * Layer: kernels/, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_EXPF_H
#define SHOAL_KERNELS_EXPF_H

#include <stdint.h>
#include <string.h>

#define SHOAL_EXP_LO (-87.33f) /* just above ln of the smallest normal number */
#define SHOAL_EXP_HI 88.37f    /* just below ln of 2^127.5: n stays at most 127 */
#define SHOAL_EXP_LOG2E 0x1.715476p+0f
#define SHOAL_EXP_LN2_HI 0x1.62e4p-1f /* 15 bits: n * hi is exact */
#define SHOAL_EXP_LN2_LO 0x1.7f7d1cf7p-20f
#define SHOAL_EXP_C2 0x1p-1f
#define SHOAL_EXP_C3 0x1.5554dcp-3f
#define SHOAL_EXP_C4 0x1.55551ap-5f
#define SHOAL_EXP_C5 0x1.120b6ep-7f
#define SHOAL_EXP_C6 0x1.6d110ap-10f
#define SHOAL_EXP_ROUND 12582912.0f /* 1.5 * 2^23: adding it leaves round(x) in the low bits */

/* z = x (LINEAR + CUBIC x^2): gelu(x) = x sigmoid(z). Beyond FAR the sigmoid is 0 or 1 to the last
 * bit, and z is not followed further. */
#define SHOAL_GELU_LINEAR 1.5957691216057308f  /* 2 sqrt(2 / pi) */
#define SHOAL_GELU_CUBIC 0.071354816272600252f /* times 0.044715 */
#define SHOAL_GELU_FAR 16.0f

static inline float shoal_expf(float x)
{
    float c = x < SHOAL_EXP_LO ? SHOAL_EXP_LO : x;
    c = c > SHOAL_EXP_HI ? SHOAL_EXP_HI : c;
    float shifted = c * SHOAL_EXP_LOG2E + SHOAL_EXP_ROUND;
    float n = shifted - SHOAL_EXP_ROUND;
    float r = (c - n * SHOAL_EXP_LN2_HI) - n * SHOAL_EXP_LN2_LO;
    float q = SHOAL_EXP_C6;
    q = q * r + SHOAL_EXP_C5;
    q = q * r + SHOAL_EXP_C4;
    q = q * r + SHOAL_EXP_C3;
    q = q * r + SHOAL_EXP_C2;
    float e = (r * r) * q + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u; /* 2^n */
    float pow2;
    memcpy(&pow2, &bits, sizeof pow2);
    return x < SHOAL_EXP_LO ? 0.0f : e * pow2;
}

#endif
