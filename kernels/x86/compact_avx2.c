/* compact_avx2.c - f32 to binary16 and to 8-bit blocks, the bits of compact.c. */
#include <immintrin.h>

#include "kernels/blocks.h"
#include "kernels/compact.h"
#include "kernels/matmul.h"
#include "kernels/simd.h"
#include "kernels/x86/avx2_math.h"

enum { VEC = 8, VECS = SHOAL_QBLOCK / VEC };

static void half_pack(const float *x, size_t n, uint16_t *out)
{
    const __m256 most = _mm256_set1_ps(SHOAL_HALF_MAX), least = _mm256_set1_ps(-SHOAL_HALF_MAX);
    size_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        __m256 v = _mm256_max_ps(least, _mm256_min_ps(most, _mm256_loadu_ps(x + i)));
        _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    shoal_half_pack_c(x + i, n - i, out + i);
}

/* Four vectors of integers as 32 bytes, in order. */
SHOAL_INLINE __m256i narrow32(const __m256i q[VECS])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i lo = _mm256_packs_epi32(q[0], q[1]), hi = _mm256_packs_epi32(q[2], q[3]);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), order);
}

static void q8_pack(const float *x, size_t blocks, uint8_t *out)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 most = _mm256_set1_ps(127.0f), least = _mm256_set1_ps(-127.0f);
    for (; blocks > 0; blocks--, x += SHOAL_QBLOCK, out += SHOAL_Q8_0_BYTES) {
        __m256 v[VECS], peak = _mm256_setzero_ps();
        __m256i q[VECS];
        SHOAL_UNROLL
        for (int i = 0; i < VECS; i++) {
            v[i] = _mm256_loadu_ps(x + VEC * i);
            peak = _mm256_max_ps(_mm256_andnot_ps(sign, v[i]), peak);
        }
        float d = max8(peak) / 127.0f;
        shoal_store_f16(out, d > SHOAL_HALF_MAX ? SHOAL_HALF_MAX : d);
        d = shoal_load_f16(out);
        const __m256 scale = _mm256_set1_ps(d > 0.0f ? 1.0f / d : 0.0f);
        SHOAL_UNROLL
        for (int i = 0; i < VECS; i++) {
            __m256 code = _mm256_max_ps(_mm256_mul_ps(v[i], scale), least);
            q[i] = _mm256_cvtps_epi32(_mm256_min_ps(code, most));
        }
        _mm256_storeu_si256((__m256i *)(out + 2), narrow32(q));
    }
}

void shoal_compact_init_avx2(shoal_table *t)
{
    t->half_pack = half_pack;
    t->q8_pack = q8_pack;
}
