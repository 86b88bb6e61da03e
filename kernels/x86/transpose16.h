/* transpose16.h - 16 vectors of 16 lanes of 32 bits turned around.
 *
 * Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_TRANSPOSE16_H
#define SHOAL_KERNELS_X86_TRANSPOSE16_H

#include "kernels/x86/vec16.h"

/* Columns of four rows x: out[k] holds columns k, 4 + k, 8 + k and 12 + k. */
SHOAL_INLINE void vi_transpose_four(const vi *x, vi out[4])
{
    vi a = vi_low32(x[0], x[1]), b = vi_high32(x[0], x[1]);
    vi c = vi_low32(x[2], x[3]), d = vi_high32(x[2], x[3]);
    out[0] = vi_low64(a, c);
    out[1] = vi_high64(a, c);
    out[2] = vi_low64(b, d);
    out[3] = vi_high64(b, d);
}

/* Lane i of x[j] and lane j of x[i] change places. */
SHOAL_INLINE void vi_transpose(vi x[VEC_LANES])
{
    vi part[4][4];
    SHOAL_UNROLL
    for (int i = 0; i < 4; i++) {
        vi_transpose_four(x + 4 * i, part[i]);
    }
    SHOAL_UNROLL
    for (int k = 0; k < 4; k++) {
        vi even_ab = vi_even128(part[0][k], part[1][k]), odd_ab = vi_odd128(part[0][k], part[1][k]);
        vi even_cd = vi_even128(part[2][k], part[3][k]), odd_cd = vi_odd128(part[2][k], part[3][k]);
        x[k] = vi_even128(even_ab, even_cd);
        x[4 + k] = vi_even128(odd_ab, odd_cd);
        x[8 + k] = vi_odd128(even_ab, even_cd);
        x[12 + k] = vi_odd128(odd_ab, odd_cd);
    }
}

#endif
