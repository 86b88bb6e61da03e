/* f8_avx2.h - eight f32 values under the names that kernels/ shares between x86 and ARM (there:
 * neon_math.h), for bodies written once.
 *
 * Needs -mavx2 -mfma -mf16c. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_F8_AVX2_H
#define SHOAL_KERNELS_X86_F8_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/simd.h"
#include "kernels/x86/avx2_math.h"

enum { VEC = 8 };

typedef __m256 f8;

SHOAL_INLINE f8 f8_all(float v)
{
    return _mm256_set1_ps(v);
}

SHOAL_INLINE f8 f8_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

SHOAL_INLINE void f8_store(float *p, f8 v)
{
    _mm256_storeu_ps(p, v);
}

/* Eight binary16, any alignment; exact. */
SHOAL_INLINE f8 f8_halves(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* The binary16 at p in all lanes. */
SHOAL_INLINE f8 f8_all_half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* Eight signed bytes. */
SHOAL_INLINE f8 f8_load_codes(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

SHOAL_INLINE f8 f8_add(f8 a, f8 b)
{
    return _mm256_add_ps(a, b);
}

SHOAL_INLINE f8 f8_mul(f8 a, f8 b)
{
    return _mm256_mul_ps(a, b);
}

/* a * b + c, rounded once. */
SHOAL_INLINE f8 f8_fma(f8 a, f8 b, f8 c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* ((0+1)+(2+3)) + ((4+5)+(6+7)), as shoal_lane_sum. */
SHOAL_INLINE float f8_sum(f8 v)
{
    return sum8(v);
}

/* out [4] = the sums of four vectors. */
SHOAL_INLINE void f8_store_sum4(float *out, const f8 v[4])
{
    _mm_storeu_ps(out, sum8x4(v[0], v[1], v[2], v[3]));
}

#endif
