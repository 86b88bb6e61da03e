/* avx2_math.h - what the AVX2 kernels of this folder share: exp, sums, tails.
 *
 * Needs -mavx2 -mfma. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_AVX2_MATH_H
#define SHOAL_KERNELS_X86_AVX2_MATH_H

#include <immintrin.h>
#include <stddef.h>

#include "kernels/expf.h"

/* Lanes 0 .. left - 1 are all ones; left may exceed 8. */
static inline __m256i tail_mask(size_t left)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left < 8 ? (int)left : 8), lane);
}

/* ((0+1)+(2+3)) + ((4+5)+(6+7)), as shoal_lane_sum. */
static inline float sum8(__m256 v)
{
    __m128 s = _mm_hadd_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_hadd_ps(s, s);
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* The four sums of four vectors, each in the order of sum8. */
static inline __m128 sum8x4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

static inline float max8(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* shoal_expf of eight values; the operand order of max and min lets a NaN through. */
static inline __m256 exp8(__m256 x)
{
    const __m256 low = _mm256_set1_ps(SHOAL_EXP_LO);
    const __m256 magic = _mm256_set1_ps(SHOAL_EXP_ROUND);
    __m256 c = _mm256_min_ps(_mm256_set1_ps(SHOAL_EXP_HI), _mm256_max_ps(low, x));
    __m256 shifted = _mm256_fmadd_ps(c, _mm256_set1_ps(SHOAL_EXP_LOG2E), magic);
    __m256 n = _mm256_sub_ps(shifted, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(SHOAL_EXP_LN2_HI), c);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(SHOAL_EXP_LN2_LO), r);
    __m256 q = _mm256_set1_ps(SHOAL_EXP_C6);
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(SHOAL_EXP_C5));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(SHOAL_EXP_C4));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(SHOAL_EXP_C3));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(SHOAL_EXP_C2));
    __m256 e = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(r, r), q, r), _mm256_set1_ps(1.0f));
    __m256i pow2 = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23),
                                    _mm256_set1_epi32(0x3f800000));
    __m256 y = _mm256_mul_ps(e, _mm256_castsi256_ps(pow2));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, low, _CMP_LT_OQ), y);
}

#endif
