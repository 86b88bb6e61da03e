/* pointwise_avx2.c - rmsnorm, gated units and soft-caps in AVX2.
 *
 * The last, partial vector goes through masked loads and stores and the same arithmetic, so that a
 * value does not depend on where a range or a row ends.
 */
#include "kernels/x86/rowops_avx2.h"

#include <math.h>

#include "kernels/x86/avx2_math.h"

enum { VEC = 8 };

float shoal_rmsnorm_avx2(const float *x, const float *w, float eps, size_t D, float *y)
{
    __m256 sum = _mm256_setzero_ps();
    size_t full = D / VEC * VEC;
    __m256i mask = tail_mask(D - full);
    for (size_t i = 0; i < full; i += VEC) {
        __m256 v = _mm256_loadu_ps(x + i);
        sum = _mm256_fmadd_ps(v, v, sum);
    }
    __m256 last = _mm256_maskload_ps(x + full, mask);
    sum = _mm256_fmadd_ps(last, last, sum);
    float rstd = 1.0f / sqrtf(sum8(sum) / (float)D + eps);
    const __m256 r = _mm256_set1_ps(rstd);
    for (size_t i = 0; i < full; i += VEC) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), r);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
    last = _mm256_mul_ps(_mm256_mul_ps(last, r), _mm256_maskload_ps(w + full, mask));
    _mm256_maskstore_ps(y + full, mask, last);
    return rstd;
}

static inline __m256 load(const float *p, bool whole, __m256i mask)
{
    return whole ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mask);
}

static inline void store(float *p, bool whole, __m256i mask, __m256 v)
{
    if (whole) {
        _mm256_storeu_ps(p, v);
    } else {
        _mm256_maskstore_ps(p, mask, v);
    }
}

void shoal_rmsnorm_grad_avx2(const float *x, const float *w, float rstd, const float *dy, size_t D,
                             float *dx, bool accumulate)
{
    __m256 sum = _mm256_setzero_ps();
    for (size_t i = 0; i < D; i += VEC) {
        bool whole = D - i >= VEC;
        __m256i mask = tail_mask(D - i);
        __m256 g = _mm256_mul_ps(load(w + i, whole, mask), load(dy + i, whole, mask));
        sum = _mm256_fmadd_ps(g, load(x + i, whole, mask), sum);
    }
    const __m256 along = _mm256_set1_ps(sum8(sum) * rstd * rstd * rstd / (float)D);
    const __m256 r = _mm256_set1_ps(rstd);
    for (size_t i = 0; i < D; i += VEC) {
        bool whole = D - i >= VEC;
        __m256i mask = tail_mask(D - i);
        __m256 g = _mm256_mul_ps(load(w + i, whole, mask), load(dy + i, whole, mask));
        __m256 d = _mm256_mul_ps(load(x + i, whole, mask), along);
        d = _mm256_fmsub_ps(g, r, d);
        if (accumulate) {
            d = _mm256_add_ps(load(dx + i, whole, mask), d);
        }
        store(dx + i, whole, mask, d);
    }
}

static inline __m256 sigmoid8(__m256 g)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e = exp8(_mm256_xor_ps(g, _mm256_set1_ps(-0.0f)));
    return _mm256_div_ps(one, _mm256_add_ps(one, e));
}

void shoal_swiglu_avx2(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += VEC) {
        bool whole = n - i >= VEC;
        __m256i mask = tail_mask(n - i);
        __m256 gate = load(g + i, whole, mask);
        __m256 silu = _mm256_mul_ps(gate, sigmoid8(gate));
        store(y + i, whole, mask, _mm256_mul_ps(silu, load(u + i, whole, mask)));
    }
}

void shoal_swiglu_grad_avx2(const float *g, const float *u, const float *dy, size_t n, float *dg,
                            float *du)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += VEC) {
        bool whole = n - i >= VEC;
        __m256i mask = tail_mask(n - i);
        __m256 gate = load(g + i, whole, mask), d = load(dy + i, whole, mask);
        __m256 s = sigmoid8(gate);
        __m256 slope = _mm256_fmadd_ps(gate, _mm256_sub_ps(one, s), one);
        slope = _mm256_mul_ps(s, slope);
        __m256 to_gate = _mm256_mul_ps(_mm256_mul_ps(d, load(u + i, whole, mask)), slope);
        store(du + i, whole, mask, _mm256_mul_ps(d, _mm256_mul_ps(gate, s)));
        store(dg + i, whole, mask, to_gate);
    }
}

/* gelu_weight of pointwise.c: s = sigmoid(z); *slope = gelu'(x). */
static inline __m256 gelu_weight8(__m256 x, __m256 *slope)
{
    const __m256 far = _mm256_set1_ps(SHOAL_GELU_FAR), one = _mm256_set1_ps(1.0f);
    const __m256 linear = _mm256_set1_ps(SHOAL_GELU_LINEAR);
    __m256 t = _mm256_max_ps(_mm256_sub_ps(_mm256_setzero_ps(), far), x);
    t = _mm256_min_ps(far, t);
    __m256 square = _mm256_mul_ps(t, t);
    __m256 z = _mm256_fmadd_ps(_mm256_set1_ps(SHOAL_GELU_CUBIC), square, linear);
    __m256 s = sigmoid8(_mm256_mul_ps(t, z));
    __m256 dz = _mm256_fmadd_ps(_mm256_set1_ps(3.0f * SHOAL_GELU_CUBIC), square, linear);
    __m256 bend = _mm256_mul_ps(_mm256_mul_ps(t, s), _mm256_sub_ps(one, s));
    *slope = _mm256_fmadd_ps(bend, dz, s);
    return s;
}

void shoal_geglu_avx2(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += VEC) {
        bool whole = n - i >= VEC;
        __m256i mask = tail_mask(n - i);
        __m256 gate = load(g + i, whole, mask), slope;
        __m256 gelu = _mm256_mul_ps(gate, gelu_weight8(gate, &slope));
        store(y + i, whole, mask, _mm256_mul_ps(gelu, load(u + i, whole, mask)));
    }
}

void shoal_geglu_grad_avx2(const float *g, const float *u, const float *dy, size_t n, float *dg,
                           float *du)
{
    for (size_t i = 0; i < n; i += VEC) {
        bool whole = n - i >= VEC;
        __m256i mask = tail_mask(n - i);
        __m256 gate = load(g + i, whole, mask), d = load(dy + i, whole, mask), slope;
        __m256 s = gelu_weight8(gate, &slope);
        __m256 to_gate = _mm256_mul_ps(_mm256_mul_ps(d, load(u + i, whole, mask)), slope);
        store(du + i, whole, mask, _mm256_mul_ps(d, _mm256_mul_ps(gate, s)));
        store(dg + i, whole, mask, to_gate);
    }
}

void shoal_softcap_avx2(const float *x, size_t n, float cap, float *y)
{
    const __m256 twice = _mm256_set1_ps(2.0f / cap), c = _mm256_set1_ps(cap);
    const __m256 one = _mm256_set1_ps(1.0f), two = _mm256_set1_ps(2.0f);
    for (size_t i = 0; i < n; i += VEC) {
        bool whole = n - i >= VEC;
        __m256i mask = tail_mask(n - i);
        __m256 e = exp8(_mm256_mul_ps(load(x + i, whole, mask), twice));
        __m256 tanh = _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(one, e)));
        store(y + i, whole, mask, _mm256_mul_ps(c, tanh));
    }
}

void shoal_softcap_grad_avx2(const float *y, size_t n, float cap, float *dy)
{
    const __m256 inv = _mm256_set1_ps(1.0f / cap), one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += VEC) {
        bool whole = n - i >= VEC;
        __m256i mask = tail_mask(n - i);
        __m256 t = _mm256_mul_ps(load(y + i, whole, mask), inv);
        __m256 slope = _mm256_fnmadd_ps(t, t, one);
        store(dy + i, whole, mask, _mm256_mul_ps(load(dy + i, whole, mask), slope));
    }
}
