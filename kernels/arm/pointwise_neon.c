/* pointwise_neon.c - rmsnorm, gated units and soft-caps in NEON.
 *
 * The last, partial vector goes through padded copies and the same arithmetic, so that a value does
 * not depend on where a range or a row ends.
 */
#include "kernels/arm/rowops_neon.h"

#include <math.h>

#include "kernels/arm/neon_math.h"

float shoal_rmsnorm_neon(const float *x, const float *w, float eps, size_t D, float *y)
{
    f8 sum = f8_all(0.0f);
    for (size_t i = 0; i < D; i += VEC) {
        f8 v = f8_load_some(x + i, D - i);
        sum = f8_fma(v, v, sum);
    }
    float rstd = 1.0f / sqrtf(f8_sum(sum) / (float)D + eps);
    const f8 r = f8_all(rstd);
    for (size_t i = 0; i < D; i += VEC) {
        f8 v = f8_mul(f8_load_some(x + i, D - i), r);
        f8_store_some(y + i, D - i, f8_mul(v, f8_load_some(w + i, D - i)));
    }
    return rstd;
}

void shoal_rmsnorm_grad_neon(const float *x, const float *w, float rstd, const float *dy, size_t D,
                             float *dx, bool accumulate)
{
    f8 sum = f8_all(0.0f);
    for (size_t i = 0; i < D; i += VEC) {
        f8 g = f8_mul(f8_load_some(w + i, D - i), f8_load_some(dy + i, D - i));
        sum = f8_fma(g, f8_load_some(x + i, D - i), sum);
    }
    const f8 back = f8_all(-f8_sum(sum) * rstd * rstd * rstd / (float)D), r = f8_all(rstd);
    for (size_t i = 0; i < D; i += VEC) {
        f8 g = f8_mul(f8_load_some(w + i, D - i), f8_load_some(dy + i, D - i));
        f8 d = f8_fma(g, r, f8_mul(f8_load_some(x + i, D - i), back));
        if (accumulate) {
            d = f8_add(f8_load_some(dx + i, D - i), d);
        }
        f8_store_some(dx + i, D - i, d);
    }
}

static inline f8 sigmoid(f8 x)
{
    const f8 one = f8_all(1.0f);
    f8 e = f8_exp((f8){vnegq_f32(x.lo), vnegq_f32(x.hi)});
    return f8_div(one, f8_add(one, e));
}

void shoal_swiglu_neon(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += VEC) {
        f8 gate = f8_load_some(g + i, n - i);
        f8 silu = f8_mul(gate, sigmoid(gate));
        f8_store_some(y + i, n - i, f8_mul(silu, f8_load_some(u + i, n - i)));
    }
}

void shoal_swiglu_grad_neon(const float *g, const float *u, const float *dy, size_t n, float *dg,
                            float *du)
{
    const f8 one = f8_all(1.0f);
    for (size_t i = 0; i < n; i += VEC) {
        f8 gate = f8_load_some(g + i, n - i), d = f8_load_some(dy + i, n - i);
        f8 s = sigmoid(gate);
        f8 slope = f8_mul(s, f8_fma(gate, f8_sub(one, s), one));
        f8 to_gate = f8_mul(f8_mul(d, f8_load_some(u + i, n - i)), slope);
        f8_store_some(du + i, n - i, f8_mul(d, f8_mul(gate, s)));
        f8_store_some(dg + i, n - i, to_gate);
    }
}

/* gelu_weight of pointwise.c: s = sigmoid(z); *slope = gelu'(x). */
static inline f8 gelu_weight8(f8 x, f8 *slope)
{
    const f8 far = f8_all(SHOAL_GELU_FAR), near = f8_all(-SHOAL_GELU_FAR), one = f8_all(1.0f);
    const f8 linear = f8_all(SHOAL_GELU_LINEAR);
    f8 t = f8_min(f8_max(x, near), far);
    f8 square = f8_mul(t, t);
    f8 z = f8_fma(f8_all(SHOAL_GELU_CUBIC), square, linear);
    f8 s = sigmoid(f8_mul(t, z));
    f8 dz = f8_fma(f8_all(3.0f * SHOAL_GELU_CUBIC), square, linear);
    f8 bend = f8_mul(f8_mul(t, s), f8_sub(one, s));
    *slope = f8_fma(bend, dz, s);
    return s;
}

void shoal_geglu_neon(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += VEC) {
        f8 gate = f8_load_some(g + i, n - i), slope;
        f8 gelu = f8_mul(gate, gelu_weight8(gate, &slope));
        f8_store_some(y + i, n - i, f8_mul(gelu, f8_load_some(u + i, n - i)));
    }
}

void shoal_geglu_grad_neon(const float *g, const float *u, const float *dy, size_t n, float *dg,
                           float *du)
{
    for (size_t i = 0; i < n; i += VEC) {
        f8 gate = f8_load_some(g + i, n - i), d = f8_load_some(dy + i, n - i), slope;
        f8 s = gelu_weight8(gate, &slope);
        f8 to_gate = f8_mul(f8_mul(d, f8_load_some(u + i, n - i)), slope);
        f8_store_some(du + i, n - i, f8_mul(d, f8_mul(gate, s)));
        f8_store_some(dg + i, n - i, to_gate);
    }
}

void shoal_softcap_neon(const float *x, size_t n, float cap, float *y)
{
    const f8 twice = f8_all(2.0f / cap), c = f8_all(cap), one = f8_all(1.0f), two = f8_all(2.0f);
    for (size_t i = 0; i < n; i += VEC) {
        f8 e = f8_exp(f8_mul(f8_load_some(x + i, n - i), twice));
        f8 tanh = f8_sub(one, f8_div(two, f8_add(one, e)));
        f8_store_some(y + i, n - i, f8_mul(c, tanh));
    }
}

void shoal_softcap_grad_neon(const float *y, size_t n, float cap, float *dy)
{
    const f8 inv = f8_all(1.0f / cap), one = f8_all(1.0f);
    for (size_t i = 0; i < n; i += VEC) {
        f8 t = f8_mul(f8_load_some(y + i, n - i), inv);
        f8 slope = f8_fnma(t, t, one);
        f8_store_some(dy + i, n - i, f8_mul(f8_load_some(dy + i, n - i), slope));
    }
}
