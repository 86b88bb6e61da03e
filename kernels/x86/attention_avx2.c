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

void shoal_half_rows_avx2(const uint16_t *in, size_t ld, size_t rows, size_t n, float *out)
{
    size_t full = n / VEC * VEC;
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < full; i += VEC) {
            __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(in + i));
            _mm256_storeu_ps(out + i, _mm256_cvtph_ps(half));
        }
        for (size_t i = full; i < n; i++) {
            out[i] = _cvtsh_ss(in[i]);
        }
        in += ld;
        out += n;
    }
}

/* Maximum of *m and the visible scores. */
static float top_of(const float *s, size_t lo, size_t hi, float m)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 tops = _mm256_set1_ps(m);
    size_t j = lo / VEC * VEC;
    if (j < lo) {
        tops = _mm256_max_ps(_mm256_blendv_ps(none, _mm256_loadu_ps(s + j), visible(j, lo, hi)),
                             tops); /* a NaN score leaves the maximum alone */
        j += VEC;
    }
    for (; j + VEC <= hi; j += VEC) {
        tops = _mm256_max_ps(_mm256_loadu_ps(s + j), tops);
    }
    if (j < hi) {
        tops =
            _mm256_max_ps(_mm256_blendv_ps(none, _mm256_loadu_ps(s + j), visible(j, lo, hi)), tops);
    }
    return max8(tops);
}

float shoal_softmax_tile_avx2(float *s, size_t lo, size_t hi, size_t n, float *m, float *l)
{
    size_t from = lo < hi ? lo / VEC * VEC : n, to = lo < hi ? hi : n;
    for (size_t j = 0; j < from; j += VEC) {
        _mm256_storeu_ps(s + j, _mm256_setzero_ps());
    }
    if (lo >= hi) return 1.0f;
    float top = top_of(s, lo, hi, *m);
    __m256 sums = _mm256_setzero_ps(), shift = _mm256_set1_ps(top);
    size_t j = from;
    for (; j < to; j += VEC) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), shift));
        if (j < lo || j + VEC > hi) {
            e = _mm256_and_ps(e, visible(j, lo, hi));
        }
        _mm256_storeu_ps(s + j, e);
        sums = _mm256_add_ps(sums, e);
    }
    for (; j < n; j += VEC) {
        _mm256_storeu_ps(s + j, _mm256_setzero_ps());
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
