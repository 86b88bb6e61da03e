/* vec16_emulated.h - the 16 lanes of vec16.h as two vectors of AVX2, for tests. See there.
 *
 * Needs -mavx2 -mfma -mf16c. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_VEC16_EMULATED_H
#define SHOAL_KERNELS_X86_VEC16_EMULATED_H

#include "kernels/x86/avx2_math.h"
#include "kernels/x86/dpbusd_avx2.h"

typedef struct vf {
    __m256 lo, hi;
} vf;
typedef struct vi {
    __m256i lo, hi;
} vi;
typedef struct vmask {
    __m256i lo, hi;
} vmask;

SHOAL_INLINE vi vi_dot(vi acc, vi u, vi s)
{
    return (vi){dpbusd_avx2(acc.lo, u.lo, s.lo), dpbusd_avx2(acc.hi, u.hi, s.hi)};
}

SHOAL_INLINE vi vi_dot_pairs(vi acc, vi a, vi b)
{
    return (vi){_mm256_add_epi32(acc.lo, _mm256_madd_epi16(a.lo, b.lo)),
                _mm256_add_epi32(acc.hi, _mm256_madd_epi16(a.hi, b.hi))};
}

SHOAL_INLINE vi vi_abs_bytes(vi v)
{
    return (vi){_mm256_abs_epi8(v.lo), _mm256_abs_epi8(v.hi)};
}

SHOAL_INLINE vi vi_sign_bytes(vi x, vi sign)
{
    return (vi){_mm256_sign_epi8(x.lo, sign.lo), _mm256_sign_epi8(x.hi, sign.hi)};
}

SHOAL_INLINE vi vi_join(const __m256i *lo, const __m256i *hi)
{
    return (vi){*lo, *hi};
}

SHOAL_INLINE vf vf_join(const __m256 *lo, const __m256 *hi)
{
    return (vf){*lo, *hi};
}

SHOAL_INLINE vi vi_zero(void)
{
    return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

SHOAL_INLINE vi vi_set1(int32_t v)
{
    return (vi){_mm256_set1_epi32(v), _mm256_set1_epi32(v)};
}

SHOAL_INLINE vi vi_lanes(void)
{
    return (vi){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

SHOAL_INLINE vi vi_load(const void *p)
{
    const __m256i *q = p;
    return (vi){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}

SHOAL_INLINE void vi_store(void *p, vi v)
{
    __m256i *q = p;
    _mm256_storeu_si256(q, v.lo);
    _mm256_storeu_si256(q + 1, v.hi);
}

SHOAL_INLINE vi vi_add(vi a, vi b)
{
    return (vi){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}

SHOAL_INLINE vi vi_sub(vi a, vi b)
{
    return (vi){_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}

SHOAL_INLINE vi vi_mul(vi a, vi b)
{
    return (vi){_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
}

SHOAL_INLINE vi vi_xor(vi a, vi b)
{
    return (vi){_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}

SHOAL_INLINE __m256i narrow_avx2(vi v)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(v.lo, v.hi), 0xd8);
}

SHOAL_INLINE vi vi_narrow(vi a, vi b)
{
    return (vi){narrow_avx2(a), narrow_avx2(b)};
}

SHOAL_INLINE void vi_store_narrow(int16_t *p, vi v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, narrow_avx2(v));
}

SHOAL_INLINE vi vi_pairs(vi a, vi b)
{
    return (vi){_mm256_blend_epi16(a.lo, _mm256_slli_epi32(b.lo, 16), 0xaa),
                _mm256_blend_epi16(a.hi, _mm256_slli_epi32(b.hi, 16), 0xaa)};
}

SHOAL_INLINE vi vi_high16(vi v)
{
    return (vi){_mm256_srai_epi32(v.lo, 16), _mm256_srai_epi32(v.hi, 16)};
}

SHOAL_INLINE vi vi_exponent(vi v)
{
    return (vi){_mm256_slli_epi32(v.lo, 23), _mm256_slli_epi32(v.hi, 23)};
}

SHOAL_INLINE vi vi_rotate(vi v, int n)
{
    __m128i left = _mm_cvtsi32_si128(n), right = _mm_cvtsi32_si128(32 - n);
    return (vi){_mm256_or_si256(_mm256_sll_epi32(v.lo, left), _mm256_srl_epi32(v.lo, right)),
                _mm256_or_si256(_mm256_sll_epi32(v.hi, left), _mm256_srl_epi32(v.hi, right))};
}

SHOAL_INLINE vi vi_low32(vi a, vi b)
{
    return (vi){_mm256_unpacklo_epi32(a.lo, b.lo), _mm256_unpacklo_epi32(a.hi, b.hi)};
}

SHOAL_INLINE vi vi_high32(vi a, vi b)
{
    return (vi){_mm256_unpackhi_epi32(a.lo, b.lo), _mm256_unpackhi_epi32(a.hi, b.hi)};
}

SHOAL_INLINE vi vi_low64(vi a, vi b)
{
    return (vi){_mm256_unpacklo_epi64(a.lo, b.lo), _mm256_unpacklo_epi64(a.hi, b.hi)};
}

SHOAL_INLINE vi vi_high64(vi a, vi b)
{
    return (vi){_mm256_unpackhi_epi64(a.lo, b.lo), _mm256_unpackhi_epi64(a.hi, b.hi)};
}

SHOAL_INLINE vi vi_even128(vi a, vi b)
{
    return (vi){_mm256_permute2x128_si256(a.lo, a.hi, 0x20),
                _mm256_permute2x128_si256(b.lo, b.hi, 0x20)};
}

SHOAL_INLINE vi vi_odd128(vi a, vi b)
{
    return (vi){_mm256_permute2x128_si256(a.lo, a.hi, 0x31),
                _mm256_permute2x128_si256(b.lo, b.hi, 0x31)};
}

SHOAL_INLINE vf vi_to_f32(vi v)
{
    return (vf){_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)};
}

SHOAL_INLINE vi vf_round(vf v)
{
    return (vi){_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi)};
}

SHOAL_INLINE vf vi_as_f32(vi v)
{
    return (vf){_mm256_castsi256_ps(v.lo), _mm256_castsi256_ps(v.hi)};
}

SHOAL_INLINE vi vf_as_i32(vf v)
{
    return (vi){_mm256_castps_si256(v.lo), _mm256_castps_si256(v.hi)};
}

SHOAL_INLINE vf vf_zero(void)
{
    return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

SHOAL_INLINE vf vf_set1(float v)
{
    return (vf){_mm256_set1_ps(v), _mm256_set1_ps(v)};
}

SHOAL_INLINE vf vf_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

SHOAL_INLINE void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
}

SHOAL_INLINE vmask vm_first(size_t left)
{
    return (vmask){tail_mask(left), tail_mask(left < 8 ? 0 : left - 8)};
}

SHOAL_INLINE vf vf_load_part(const float *p, vmask m)
{
    return (vf){_mm256_maskload_ps(p, m.lo), _mm256_maskload_ps(p + 8, m.hi)};
}

SHOAL_INLINE void vf_store_part(float *p, vmask m, vf v)
{
    _mm256_maskstore_ps(p, m.lo, v.lo);
    _mm256_maskstore_ps(p + 8, m.hi, v.hi);
}

SHOAL_INLINE vf vf_load_f16(const uint16_t *p)
{
    const __m128i *q = (const __m128i *)(const void *)p;
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}

SHOAL_INLINE vf vf_add(vf a, vf b)
{
    return (vf){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

SHOAL_INLINE vf vf_sub(vf a, vf b)
{
    return (vf){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

SHOAL_INLINE vf vf_mul(vf a, vf b)
{
    return (vf){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

SHOAL_INLINE vf vf_div(vf a, vf b)
{
    return (vf){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

SHOAL_INLINE vf vf_max(vf a, vf b)
{
    return (vf){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

SHOAL_INLINE vf vf_min(vf a, vf b)
{
    return (vf){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

SHOAL_INLINE vf vf_abs(vf v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (vf){_mm256_andnot_ps(sign, v.lo), _mm256_andnot_ps(sign, v.hi)};
}

SHOAL_INLINE float vf_max_lane(vf v)
{
    return max8(_mm256_max_ps(v.lo, v.hi));
}

SHOAL_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return (vf){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

SHOAL_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return (vf){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}

SHOAL_INLINE vf vf_keep_from(vf x, vf least, vf v)
{
    return (vf){_mm256_andnot_ps(_mm256_cmp_ps(x.lo, least.lo, _CMP_LT_OQ), v.lo),
                _mm256_andnot_ps(_mm256_cmp_ps(x.hi, least.hi, _CMP_LT_OQ), v.hi)};
}

SHOAL_INLINE vf vf_keep_above(vf x, vf limit, vf v)
{
    return (vf){_mm256_and_ps(_mm256_cmp_ps(x.lo, limit.lo, _CMP_GT_OQ), v.lo),
                _mm256_and_ps(_mm256_cmp_ps(x.hi, limit.hi, _CMP_GT_OQ), v.hi)};
}

#endif
