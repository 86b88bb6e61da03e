/* halves.h - rows in binary16 under a power of two: the portable slots and what a row's exponent
 * is.
 *
 * The exponent is chosen so that the row's largest value uses binary16's upper end: residual
 * streams outgrow plain binary16 in some models, and gradients fall below it. Scaling by a power of
 * two is exact, so a value is rounded once, to 11 bits; rounding what was rounded changes nothing.
 *
 * Layer: kernels/, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_HALVES_H
#define SHOAL_KERNELS_HALVES_H

#include <math.h>
#include <stdint.h>

#include "kernels/table.h"

enum {
    SHOAL_HALF_TOP = 15,    /* the largest value is scaled into [2^14, 2^15) */
    SHOAL_HALF_LEAST = -100 /* exponents of smaller rows are held here: 2^115 still is a float */
};

/* The exponent of a row whose largest magnitude is `peak`: values times 2^(SHOAL_HALF_TOP - it) are
 * put away. A peak of 0, infinity or no number gives SHOAL_HALF_TOP: as they are. */
static inline int shoal_half_exponent(float peak)
{
    int exponent = SHOAL_HALF_TOP;
    if (peak > 0.0f && isfinite(peak)) (void)frexpf(peak, &exponent);
    return exponent < SHOAL_HALF_LEAST ? SHOAL_HALF_LEAST : exponent;
}

/* 2^n, for what leads into binary16 and out of it. */
static inline float shoal_half_power(int n)
{
    return ldexpf(1.0f, n);
}

float shoal_half_put_c(const float *x, size_t n, uint16_t *out);
void shoal_half_take_c(const uint16_t *in, size_t n, float scale, float *x);

#endif
