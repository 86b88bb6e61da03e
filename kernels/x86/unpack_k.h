/* unpack_k.h - super-blocks of eight rows of a K type taken apart, for the products of every level.
 *
 * One copy of each, called and not inlined: a call is nothing beside 8 x 256 weights, and the
 * products that use them compile in seconds.
 *
 * Needs -mavx2 -mfma -mf16c. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_UNPACK_K_H
#define SHOAL_KERNELS_X86_UNPACK_K_H

#include "kernels/x86/dot_avx2.h"

/* The super-blocks at p, `stride` bytes apart, into g [8]. Q2_K: d, m, half, low; Q3_K, Q6_K: d,
 * half; Q4_K, Q5_K: d, m; codes always. */
unpack_fn shoal_unpack8_q2_k, shoal_unpack8_q3_k, shoal_unpack8_q4_k, shoal_unpack8_q5_k,
    shoal_unpack8_q6_k;

#endif
