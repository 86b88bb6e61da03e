/* halves_avx2.c - rows in binary16 under a power of two, the bits of halves.c. */
#include <immintrin.h>

#include "kernels/halves.h"
#include "kernels/quant.h"
#include "kernels/x86/avx2_math.h"
#include "kernels/x86/rowops_avx2.h"

enum { LANES = 8 };

static float peak_of(const float *x, size_t n)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 peak = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        peak = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)), peak);
    }
    float most = max8(peak);
    for (; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    return most;
}

float shoal_half_put_avx2(const float *x, size_t n, uint16_t *out)
{
    int exponent = shoal_half_exponent(peak_of(x, n));
    float factor = shoal_half_power(SHOAL_HALF_TOP - exponent);
    const __m256 in = _mm256_set1_ps(factor);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), in);
        __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(out + i), half);
    }
    for (; i < n; i++) {
        out[i] = shoal_f32_to_f16(x[i] * factor);
    }
    return shoal_half_power(exponent - SHOAL_HALF_TOP);
}

void shoal_half_take_avx2(const uint16_t *in, size_t n, float scale, float *x)
{
    const __m256 out = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(in + i));
        _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_cvtph_ps(half), out));
    }
    for (; i < n; i++) {
        x[i] = shoal_f16_to_f32(in[i]) * scale;
    }
}
