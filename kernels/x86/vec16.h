/* vec16.h - 16 lanes of 32 bits with AVX-512: the operations its kernels are written in.
 *
 * With SHOAL_EMULATE_SIMD (tests only) a vector is two of AVX2 and every operation has the result
 * of the instruction, so that the kernels can be checked on a processor without AVX-512
 * (test_vec16). Names without a comment do what they say, lane by lane.
 *
 * Needs -mavx2 -mfma -mf16c, and -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni when not
 * emulated. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_VEC16_H
#define SHOAL_KERNELS_X86_VEC16_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/simd.h"

enum { VEC_LANES = 16 };

#if defined(__AVX512VNNI__) && !defined(SHOAL_EMULATE_SIMD)

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vmask;

/* Each lane of acc += sum of its 4 unsigned bytes of u times its 4 signed bytes of s. */
SHOAL_INLINE vi vi_dot(vi acc, vi u, vi s)
{
    return _mm512_dpbusd_epi32(acc, u, s);
}

/* Each lane of acc += the products of the two signed halves of a and b. */
SHOAL_INLINE vi vi_dot_pairs(vi acc, vi a, vi b)
{
    return _mm512_dpwssd_epi32(acc, a, b);
}

/* Bytes without their signs (-128 becomes 128, unsigned), and x negated where `sign` is negative;
 * where `sign` is 0, anything. */
SHOAL_INLINE vi vi_abs_bytes(vi v)
{
    return _mm512_abs_epi8(v);
}

SHOAL_INLINE vi vi_sign_bytes(vi x, vi sign)
{
    return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(sign), _mm512_setzero_si512(), x);
}

/* Vectors of two groups of eight rows as one. */
SHOAL_INLINE vi vi_join(const __m256i *lo, const __m256i *hi)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(*lo), *hi, 1);
}

SHOAL_INLINE vf vf_join(const __m256 *lo, const __m256 *hi)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(*lo), *hi, 1);
}

SHOAL_INLINE vi vi_zero(void)
{
    return _mm512_setzero_si512();
}

SHOAL_INLINE vi vi_set1(int32_t v)
{
    return _mm512_set1_epi32(v);
}

/* 0, 1, ... 15. */
SHOAL_INLINE vi vi_lanes(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

SHOAL_INLINE vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

SHOAL_INLINE void vi_store(void *p, vi v)
{
    _mm512_storeu_si512(p, v);
}

SHOAL_INLINE vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}

SHOAL_INLINE vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}

SHOAL_INLINE vi vi_mul(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}

SHOAL_INLINE vi vi_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}

/* 32 halves in order, the lanes of a, then those of b; every lane fits 16 bits. */
SHOAL_INLINE vi vi_narrow(vi a, vi b)
{
    __m256i lo = _mm512_cvtepi32_epi16(a), hi = _mm512_cvtepi32_epi16(b);
    return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

/* The same of one vector, to memory. */
SHOAL_INLINE void vi_store_narrow(int16_t *p, vi v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(v));
}

/* Lanes of two halves: the lower one of a, that of b. */
SHOAL_INLINE vi vi_pairs(vi a, vi b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaau, a, _mm512_slli_epi32(b, 16));
}

/* The upper 16 bits of every lane, sign extended. */
SHOAL_INLINE vi vi_high16(vi v)
{
    return _mm512_srai_epi32(v, 16);
}

/* Every lane times 2^23: an exponent moved to its place. */
SHOAL_INLINE vi vi_exponent(vi v)
{
    return _mm512_slli_epi32(v, 23);
}

/* Every lane rotated left by n bits, 0 < n < 32. A macro, since n goes into the instruction: counts
 * in registers would be four registers that ChaCha20 lacks. */
#define vi_rotate(v, n) _mm512_rol_epi32((v), (n))

/* Within each 128 bits: words 0 and 1 of a and b in turn. */
SHOAL_INLINE vi vi_low32(vi a, vi b)
{
    return _mm512_unpacklo_epi32(a, b);
}

/* The same of words 2 and 3. */
SHOAL_INLINE vi vi_high32(vi a, vi b)
{
    return _mm512_unpackhi_epi32(a, b);
}

/* Within each 128 bits: the lower half of a, that of b. */
SHOAL_INLINE vi vi_low64(vi a, vi b)
{
    return _mm512_unpacklo_epi64(a, b);
}

/* The same of upper halves. */
SHOAL_INLINE vi vi_high64(vi a, vi b)
{
    return _mm512_unpackhi_epi64(a, b);
}

/* With a = a0 a1 a2 a3 of 128 bits each: a0 a2 b0 b2. */
SHOAL_INLINE vi vi_even128(vi a, vi b)
{
    return _mm512_shuffle_i32x4(a, b, 0x88);
}

/* a1 a3 b1 b3. */
SHOAL_INLINE vi vi_odd128(vi a, vi b)
{
    return _mm512_shuffle_i32x4(a, b, 0xdd);
}

SHOAL_INLINE vf vi_to_f32(vi v)
{
    return _mm512_cvtepi32_ps(v);
}

/* To nearest, ties to even; the value fits. */
SHOAL_INLINE vi vf_round(vf v)
{
    return _mm512_cvtps_epi32(v);
}

/* The same bits as the other type. */
SHOAL_INLINE vf vi_as_f32(vi v)
{
    return _mm512_castsi512_ps(v);
}

SHOAL_INLINE vi vf_as_i32(vf v)
{
    return _mm512_castps_si512(v);
}

SHOAL_INLINE vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

SHOAL_INLINE vf vf_set1(float v)
{
    return _mm512_set1_ps(v);
}

SHOAL_INLINE vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

SHOAL_INLINE void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

/* Lanes 0 .. left - 1; left may exceed 16. */
SHOAL_INLINE vmask vm_first(size_t left)
{
    return (vmask)(left < 16 ? (1u << left) - 1 : 0xffffu);
}

/* The lanes of m; others are zero, and their memory is not touched. */
SHOAL_INLINE vf vf_load_part(const float *p, vmask m)
{
    return _mm512_maskz_loadu_ps(m, p);
}

SHOAL_INLINE void vf_store_part(float *p, vmask m, vf v)
{
    _mm512_mask_storeu_ps(p, m, v);
}

/* 16 binary16. */
SHOAL_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

SHOAL_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

SHOAL_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

SHOAL_INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

SHOAL_INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

/* b where either is NaN. */
SHOAL_INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

SHOAL_INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

SHOAL_INLINE vf vf_abs(vf v)
{
    return _mm512_abs_ps(v);
}

/* The largest lane; none is NaN. */
SHOAL_INLINE float vf_max_lane(vf v)
{
    return _mm512_reduce_max_ps(v);
}

/* a b + c and c - a b, rounded once. */
SHOAL_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

SHOAL_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* v, but zero where x < least; a NaN x keeps v. */
SHOAL_INLINE vf vf_keep_from(vf x, vf least, vf v)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ), v);
}

/* v, but zero where x is not above the limit. */
SHOAL_INLINE vf vf_keep_above(vf x, vf limit, vf v)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GT_OQ), v);
}

#else
#include "kernels/x86/vec16_emulated.h"
#endif

#endif
