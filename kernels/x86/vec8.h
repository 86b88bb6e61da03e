/* vec8.h - 8 lanes of 32 bits with AVX-VNNI, or AVX-512 where that is compiled for: the operations
 * dot_vnni.h is written in.
 *
 * The names are those of vec16.h. With SHOAL_EMULATE_SIMD (tests only) vpdpbusd is AVX2 arithmetic
 * of the same result, so that the products can be checked on a processor without it.
 *
 * Needs -mavx2 -mfma, and -mavxvnni or -mavx512vnni -mavx512vl when not emulated. Layer:
 * kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_VEC8_H
#define SHOAL_KERNELS_X86_VEC8_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/x86/dpbusd_avx2.h"
#include "kernels/simd.h"

enum { VEC_LANES = 8 };

typedef __m256 vf;
typedef __m256i vi;

/* Each lane of acc += sum of its 4 unsigned bytes of u times its 4 signed bytes of s. */
SHOAL_INLINE vi vi_dot(vi acc, vi u, vi s)
{
#if defined(SHOAL_EMULATE_SIMD)
    return dpbusd_avx2(acc, u, s);
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpbusd_epi32(acc, u, s);
#elif defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(acc, u, s);
#else
    return dpbusd_avx2(acc, u, s);
#endif
}

/* Bytes without their signs (-128 becomes 128, unsigned), and x negated where `sign` is negative;
 * where `sign` is 0, anything. */
SHOAL_INLINE vi vi_abs_bytes(vi v)
{
    return _mm256_abs_epi8(v);
}

SHOAL_INLINE vi vi_sign_bytes(vi x, vi sign)
{
    return _mm256_sign_epi8(x, sign);
}

/* Vectors of two groups of eight rows as one; here there is one group. */
SHOAL_INLINE vi vi_join(const __m256i *lo, const __m256i *hi)
{
    (void)hi;
    return *lo;
}

SHOAL_INLINE vf vf_join(const __m256 *lo, const __m256 *hi)
{
    (void)hi;
    return *lo;
}

SHOAL_INLINE vi vi_zero(void)
{
    return _mm256_setzero_si256();
}

SHOAL_INLINE vi vi_set1(int32_t v)
{
    return _mm256_set1_epi32(v);
}

SHOAL_INLINE vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}

SHOAL_INLINE vi vi_sub(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}

SHOAL_INLINE vi vi_mul(vi a, vi b)
{
    return _mm256_mullo_epi32(a, b);
}

/* The upper 16 bits of every lane, sign extended. */
SHOAL_INLINE vi vi_high16(vi v)
{
    return _mm256_srai_epi32(v, 16);
}

SHOAL_INLINE vf vi_to_f32(vi v)
{
    return _mm256_cvtepi32_ps(v);
}

SHOAL_INLINE vf vf_zero(void)
{
    return _mm256_setzero_ps();
}

SHOAL_INLINE vf vf_set1(float v)
{
    return _mm256_set1_ps(v);
}

SHOAL_INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

/* a b + c and c - a b, rounded once. */
SHOAL_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

SHOAL_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

SHOAL_INLINE void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}

#endif
