/* attention_avx2.c - the row steps of attention's softmax, forward and backward. */
#include "kernels/x86/rowops_avx2.h"

#include <math.h>

#include "kernels/x86/avx2_math.h"

enum { VEC = 8 };

/* All ones in the lanes of positions at .. at + 7 that lie in [lo, hi). */
static inline __m256 visible(size_t at, size_t lo, size_t hi)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i pos = _mm256_add_epi32(lane, _mm256_set1_epi32((int)at));
    __m256i from = _mm256_cmpgt_epi32(pos, _mm256_set1_epi32((int)lo - 1));
    __m256i to = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), pos);
    return _mm256_castsi256_ps(_mm256_and_si256(from, to));
}

float shoal_softmax_tile_avx2(float *s, size_t lo, size_t hi, size_t n, float *m, float *l)
{
    const __m256 minus_inf = _mm256_set1_ps(-INFINITY);
    if (lo >= hi) {
        for (size_t j = 0; j < n; j += VEC) {
            _mm256_storeu_ps(s + j, _mm256_setzero_ps());
        }
        return 1.0f;
    }
    __m256 tops = _mm256_set1_ps(*m);
    for (size_t j = lo / VEC * VEC; j < hi; j += VEC) {
        __m256 x = _mm256_blendv_ps(minus_inf, _mm256_loadu_ps(s + j), visible(j, lo, hi));
        tops = _mm256_max_ps(x, tops); /* keeps the old maximum when x is NaN */
    }
    float top = max8(tops);
    __m256 sums = _mm256_setzero_ps(), shift = _mm256_set1_ps(top);
    for (size_t j = 0; j < n; j += VEC) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), shift));
        e = _mm256_and_ps(e, visible(j, lo, hi));
        _mm256_storeu_ps(s + j, e);
        sums = _mm256_add_ps(sums, e);
    }
    float shrink = *m == top ? 1.0f : shoal_expf(*m - top);
    *m = top;
    *l = *l * shrink + sum8(sums);
    return shrink;
}

void shoal_softmax_grad_avx2(float *s, float *dp, size_t lo, size_t hi, size_t n, float lse,
                             float delta)
{
    const __m256 shift = _mm256_set1_ps(lse), mean = _mm256_set1_ps(delta);
    for (size_t j = 0; j < n; j += VEC) {
        __m256 seen = visible(j, lo, hi);
        __m256 w = exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), shift));
        w = _mm256_and_ps(w, seen);
        __m256 d = _mm256_mul_ps(w, _mm256_sub_ps(_mm256_loadu_ps(dp + j), mean));
        _mm256_storeu_ps(s + j, w);
        _mm256_storeu_ps(dp + j, _mm256_and_ps(d, seen));
    }
}
