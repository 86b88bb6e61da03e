/* loss_avx2.c - the three passes of cross-entropy over a row of logits. */
#include "kernels/x86/rowops_avx2.h"

#include <math.h>

#include "kernels/x86/avx2_math.h"

enum { VEC = 8, SUM_CHUNK = 512 };

float shoal_row_max_avx2(const float *x, size_t n)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 a = none, b = none;
    size_t i = 0;
    for (; i + 2 * VEC <= n; i += 2 * VEC) {
        a = _mm256_max_ps(_mm256_loadu_ps(x + i), a); /* a NaN leaves the maximum alone */
        b = _mm256_max_ps(_mm256_loadu_ps(x + i + VEC), b);
    }
    for (; i < n; i += VEC) {
        __m256i mask = tail_mask(n - i);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        a = _mm256_max_ps(_mm256_blendv_ps(none, v, _mm256_castsi256_ps(mask)), a);
    }
    return max8(_mm256_max_ps(a, b));
}

double shoal_row_exp_sum_avx2(const float *x, size_t n, float shift)
{
    const __m256 top = _mm256_set1_ps(shift);
    double total = 0;
    for (size_t base = 0; base < n; base += SUM_CHUNK) {
        size_t end = n - base < SUM_CHUNK ? n : base + SUM_CHUNK, i = base;
        __m256 sum = _mm256_setzero_ps();
        for (; i + VEC <= end; i += VEC) {
            sum = _mm256_add_ps(sum, exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i), top)));
        }
        if (i < end) {
            __m256i mask = tail_mask(end - i);
            __m256 e = exp8(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), top));
            sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
        }
        total += (double)sum8(sum);
    }
    return total;
}

void shoal_row_softmax_avx2(float *x, size_t n, float shift, float factor)
{
    const __m256 top = _mm256_set1_ps(shift), f = _mm256_set1_ps(factor);
    size_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i), top));
        _mm256_storeu_ps(x + i, _mm256_mul_ps(f, e));
    }
    if (i < n) {
        __m256i mask = tail_mask(n - i);
        __m256 e = exp8(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), top));
        _mm256_maskstore_ps(x + i, mask, _mm256_mul_ps(f, e));
    }
}
