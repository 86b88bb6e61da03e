/* dpbusd_avx2.h - vpdpbusd in AVX2, for tests on processors without it.
 *
 * Bytes are widened to 16 bits before they are multiplied, so that, as in the instruction and
 * unlike vpmaddubsw, no sum of products saturates.
 *
 * Needs -mavx2. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_DPBUSD_AVX2_H
#define SHOAL_KERNELS_X86_DPBUSD_AVX2_H

#include <immintrin.h>

#include "kernels/simd.h"

SHOAL_INLINE __m256i dpbusd_avx2(__m256i acc, __m256i u, __m256i s)
{
    __m256i u_even = _mm256_and_si256(u, _mm256_set1_epi16(255));
    __m256i s_even = _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8);
    __m256i even = _mm256_madd_epi16(u_even, s_even);
    __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
    return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
}

#endif
