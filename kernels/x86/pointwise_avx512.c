/* pointwise_avx512.c - gated units, soft-caps, softmax and binary16 rows, 16 values at a time.
 *
 * The operations are those of pointwise_avx2.c in the same order: the same bits. Row sums stay with
 * AVX2, whose eight lanes are fixed.
 */
#include <string.h>

#include "kernels/expf.h"
#include "kernels/x86/init.h"
#include "kernels/x86/vec16.h"

/* shoal_expf of 16 values; the operand order of max and min lets a NaN through. */
static inline vf exp16(vf x)
{
    const vf low = vf_set1(SHOAL_EXP_LO), magic = vf_set1(SHOAL_EXP_ROUND);
    vf c = vf_min(vf_set1(SHOAL_EXP_HI), vf_max(low, x));
    vf shifted = vf_fma(c, vf_set1(SHOAL_EXP_LOG2E), magic);
    vf n = vf_sub(shifted, magic);
    vf r = vf_fnma(n, vf_set1(SHOAL_EXP_LN2_HI), c);
    r = vf_fnma(n, vf_set1(SHOAL_EXP_LN2_LO), r);
    vf q = vf_set1(SHOAL_EXP_C6);
    q = vf_fma(q, r, vf_set1(SHOAL_EXP_C5));
    q = vf_fma(q, r, vf_set1(SHOAL_EXP_C4));
    q = vf_fma(q, r, vf_set1(SHOAL_EXP_C3));
    q = vf_fma(q, r, vf_set1(SHOAL_EXP_C2));
    vf e = vf_add(vf_fma(vf_mul(r, r), q, r), vf_set1(1.0f));
    vi pow2 = vi_add(vi_exponent(vf_as_i32(shifted)), vi_set1(0x3f800000));
    return vf_keep_from(x, low, vf_mul(e, vi_as_f32(pow2)));
}

static inline vf sigmoid16(vf g)
{
    vf negative = vi_as_f32(vi_xor(vf_as_i32(g), vi_set1(INT32_MIN)));
    return vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), exp16(negative)));
}

static void swiglu(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vmask here = vm_first(n - i);
        vf gate = vf_load_part(g + i, here);
        vf silu = vf_mul(gate, sigmoid16(gate));
        vf_store_part(y + i, here, vf_mul(silu, vf_load_part(u + i, here)));
    }
}

static void swiglu_grad(const float *g, const float *u, const float *dy, size_t n, float *dg,
                        float *du)
{
    const vf one = vf_set1(1.0f);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vmask here = vm_first(n - i);
        vf gate = vf_load_part(g + i, here), d = vf_load_part(dy + i, here);
        vf s = sigmoid16(gate);
        vf slope = vf_mul(s, vf_fma(gate, vf_sub(one, s), one));
        vf to_gate = vf_mul(vf_mul(d, vf_load_part(u + i, here)), slope);
        vf_store_part(du + i, here, vf_mul(d, vf_mul(gate, s)));
        vf_store_part(dg + i, here, to_gate);
    }
}

/* gelu_weight of pointwise.c: s = sigmoid(z); *slope = gelu'(x). */
static inline vf gelu_weight16(vf x, vf *slope)
{
    const vf far = vf_set1(SHOAL_GELU_FAR), linear = vf_set1(SHOAL_GELU_LINEAR);
    vf t = vf_min(far, vf_max(vf_sub(vf_zero(), far), x));
    vf square = vf_mul(t, t);
    vf z = vf_fma(vf_set1(SHOAL_GELU_CUBIC), square, linear);
    vf s = sigmoid16(vf_mul(t, z));
    vf dz = vf_fma(vf_set1(3.0f * SHOAL_GELU_CUBIC), square, linear);
    vf bend = vf_mul(vf_mul(t, s), vf_sub(vf_set1(1.0f), s));
    *slope = vf_fma(bend, dz, s);
    return s;
}

static void geglu(const float *g, const float *u, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vmask here = vm_first(n - i);
        vf gate = vf_load_part(g + i, here), slope;
        vf gelu = vf_mul(gate, gelu_weight16(gate, &slope));
        vf_store_part(y + i, here, vf_mul(gelu, vf_load_part(u + i, here)));
    }
}

static void geglu_grad(const float *g, const float *u, const float *dy, size_t n, float *dg,
                       float *du)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vmask here = vm_first(n - i);
        vf gate = vf_load_part(g + i, here), d = vf_load_part(dy + i, here), slope;
        vf s = gelu_weight16(gate, &slope);
        vf to_gate = vf_mul(vf_mul(d, vf_load_part(u + i, here)), slope);
        vf_store_part(du + i, here, vf_mul(d, vf_mul(gate, s)));
        vf_store_part(dg + i, here, to_gate);
    }
}

static void softcap(const float *x, size_t n, float cap, float *y)
{
    const vf twice = vf_set1(2.0f / cap), c = vf_set1(cap);
    const vf one = vf_set1(1.0f), two = vf_set1(2.0f);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vmask here = vm_first(n - i);
        vf e = exp16(vf_mul(vf_load_part(x + i, here), twice));
        vf tanh = vf_sub(one, vf_div(two, vf_add(one, e)));
        vf_store_part(y + i, here, vf_mul(c, tanh));
    }
}

static void softcap_grad(const float *y, size_t n, float cap, float *dy)
{
    const vf inv = vf_set1(1.0f / cap), one = vf_set1(1.0f);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vmask here = vm_first(n - i);
        vf t = vf_mul(vf_load_part(y + i, here), inv);
        vf slope = vf_fnma(t, t, one);
        vf_store_part(dy + i, here, vf_mul(vf_load_part(dy + i, here), slope));
    }
}

static void row_softmax(float *x, size_t n, float shift, float factor)
{
    const vf top = vf_set1(shift), f = vf_set1(factor);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vmask here = vm_first(n - i);
        vf e = exp16(vf_sub(vf_load_part(x + i, here), top));
        vf_store_part(x + i, here, vf_mul(f, e));
    }
}

static void half_rows(const uint16_t *in, size_t ld, size_t rows, size_t n, float *out)
{
    size_t full = n / VEC_LANES * VEC_LANES;
    for (size_t r = 0; r < rows; r++, in += ld, out += n) {
        for (size_t i = 0; i < full; i += VEC_LANES) {
            vf_store(out + i, vf_load_f16(in + i));
        }
        if (full < n) {
            uint16_t last[VEC_LANES] = {0};
            memcpy(last, in + full, (n - full) * sizeof *last);
            vf_store_part(out + full, vm_first(n - full), vf_load_f16(last));
        }
    }
}

void shoal_pointwise_init_avx512(shoal_table *t)
{
    t->swiglu = swiglu;
    t->swiglu_grad = swiglu_grad;
    t->geglu = geglu;
    t->geglu_grad = geglu_grad;
    t->softcap = softcap;
    t->softcap_grad = softcap_grad;
    t->row_softmax = row_softmax;
    t->half_rows = half_rows;
}
