/* neon_math.h - what the NEON kernels of this folder share: eight values at a time, exp, tails.
 *
 * Eight lanes are two registers: the lane sums keep the order the portable code has, and two
 * chains of operations hide half of their latency.
 *
 * Layer: kernels/arm, internal.
 */
#ifndef SHOAL_KERNELS_ARM_NEON_MATH_H
#define SHOAL_KERNELS_ARM_NEON_MATH_H

#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "kernels/expf.h"
#include "kernels/simd.h"

enum { VEC = 8 };

typedef struct f8 {
    float32x4_t lo, hi;
} f8;

/* Lanes that pass a test. */
typedef struct m8 {
    uint32x4_t lo, hi;
} m8;

SHOAL_INLINE f8 f8_all(float v)
{
    return (f8){vdupq_n_f32(v), vdupq_n_f32(v)};
}

SHOAL_INLINE f8 f8_load(const float *p)
{
    return (f8){vld1q_f32(p), vld1q_f32(p + 4)};
}

SHOAL_INLINE void f8_store(float *p, f8 v)
{
    vst1q_f32(p, v.lo);
    vst1q_f32(p + 4, v.hi);
}

/* The first n values, zero beyond; n may exceed 8. */
SHOAL_INLINE f8 f8_load_some(const float *p, size_t n)
{
    if (n >= VEC) return f8_load(p);
    float part[VEC] = {0};
    memcpy(part, p, n * sizeof *p);
    return f8_load(part);
}

SHOAL_INLINE void f8_store_some(float *p, size_t n, f8 v)
{
    if (n >= VEC) {
        f8_store(p, v);
        return;
    }
    float part[VEC];
    f8_store(part, v);
    memcpy(p, part, n * sizeof *p);
}

/* Eight binary16, any alignment; exact. */
SHOAL_INLINE f8 f8_halves(const void *p)
{
    float16x8_t half = vreinterpretq_f16_u8(vld1q_u8(p));
    return (f8){vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)};
}

/* The binary16 at p in all lanes. */
SHOAL_INLINE f8 f8_all_half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h)));
    return (f8){v, v};
}

/* Eight signed bytes. */
SHOAL_INLINE f8 f8_codes(int8x8_t q)
{
    int16x8_t v = vmovl_s8(q);
    return (f8){vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_high_s16(v))};
}

SHOAL_INLINE f8 f8_load_codes(const uint8_t *p)
{
    return f8_codes(vreinterpret_s8_u8(vld1_u8(p)));
}

SHOAL_INLINE f8 f8_add(f8 a, f8 b)
{
    return (f8){vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)};
}

SHOAL_INLINE f8 f8_sub(f8 a, f8 b)
{
    return (f8){vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)};
}

SHOAL_INLINE f8 f8_mul(f8 a, f8 b)
{
    return (f8){vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)};
}

SHOAL_INLINE f8 f8_div(f8 a, f8 b)
{
    return (f8){vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)};
}

/* a * b + c, rounded once. */
SHOAL_INLINE f8 f8_fma(f8 a, f8 b, f8 c)
{
    return (f8){vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)};
}

/* c - a * b, rounded once. */
SHOAL_INLINE f8 f8_fnma(f8 a, f8 b, f8 c)
{
    return (f8){vfmsq_f32(c.lo, a.lo, b.lo), vfmsq_f32(c.hi, a.hi, b.hi)};
}

/* Maximum and minimum that let a NaN through. */
SHOAL_INLINE f8 f8_max(f8 a, f8 b)
{
    return (f8){vmaxq_f32(a.lo, b.lo), vmaxq_f32(a.hi, b.hi)};
}

SHOAL_INLINE f8 f8_min(f8 a, f8 b)
{
    return (f8){vminq_f32(a.lo, b.lo), vminq_f32(a.hi, b.hi)};
}

/* Maximum that a NaN leaves alone. */
SHOAL_INLINE f8 f8_top(f8 a, f8 b)
{
    return (f8){vmaxnmq_f32(a.lo, b.lo), vmaxnmq_f32(a.hi, b.hi)};
}

/* v where the lane passes, else 0. */
SHOAL_INLINE f8 f8_keep(m8 m, f8 v)
{
    return (f8){vreinterpretq_f32_u32(vandq_u32(m.lo, vreinterpretq_u32_f32(v.lo))),
                vreinterpretq_f32_u32(vandq_u32(m.hi, vreinterpretq_u32_f32(v.hi)))};
}

/* v where the lane passes, else w. */
SHOAL_INLINE f8 f8_select(m8 m, f8 v, f8 w)
{
    return (f8){vbslq_f32(m.lo, v.lo, w.lo), vbslq_f32(m.hi, v.hi, w.hi)};
}

/* Lanes of the positions at .. at + 7 that lie in [lo, hi). */
SHOAL_INLINE m8 m8_between(size_t at, size_t lo, size_t hi)
{
    static const uint32_t lane[VEC] = {0, 1, 2, 3, 4, 5, 6, 7};
    const uint32x4_t from = vdupq_n_u32((uint32_t)lo), to = vdupq_n_u32((uint32_t)hi);
    uint32x4_t a = vaddq_u32(vld1q_u32(lane), vdupq_n_u32((uint32_t)at));
    uint32x4_t b = vaddq_u32(vld1q_u32(lane + 4), vdupq_n_u32((uint32_t)at));
    return (m8){vandq_u32(vcgeq_u32(a, from), vcltq_u32(a, to)),
                vandq_u32(vcgeq_u32(b, from), vcltq_u32(b, to))};
}

/* ((0+1)+(2+3)) + ((4+5)+(6+7)), as shoal_lane_sum. */
SHOAL_INLINE float f8_sum(f8 v)
{
    float32x4_t pairs = vpaddq_f32(v.lo, v.hi);
    float32x4_t fours = vpaddq_f32(pairs, pairs);
    return vgetq_lane_f32(fours, 0) + vgetq_lane_f32(fours, 1);
}

/* out [4] = the sums of four vectors, each in the order of f8_sum. */
SHOAL_INLINE void f8_store_sum4(float *out, const f8 v[4])
{
    float32x4_t lo = vpaddq_f32(vpaddq_f32(v[0].lo, v[1].lo), vpaddq_f32(v[2].lo, v[3].lo));
    float32x4_t hi = vpaddq_f32(vpaddq_f32(v[0].hi, v[1].hi), vpaddq_f32(v[2].hi, v[3].hi));
    vst1q_f32(out, vaddq_f32(lo, hi));
}

/* The largest lane; NaN lanes are passed over. */
SHOAL_INLINE float f8_top_lane(f8 v)
{
    return vmaxnmvq_f32(vmaxnmq_f32(v.lo, v.hi));
}

/* out [4, 4] = in [4, 4]^T. */
SHOAL_INLINE void transpose_4x4(const float *in, size_t ld_in, float *out, size_t ld_out)
{
    float32x4_t r0 = vld1q_f32(in), r1 = vld1q_f32(in + ld_in);
    float32x4_t r2 = vld1q_f32(in + 2 * ld_in), r3 = vld1q_f32(in + 3 * ld_in);
    float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1));
    float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1));
    float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3));
    float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
    vst1q_f32(out, vreinterpretq_f32_f64(vtrn1q_f64(a, c)));
    vst1q_f32(out + ld_out, vreinterpretq_f32_f64(vtrn1q_f64(b, d)));
    vst1q_f32(out + 2 * ld_out, vreinterpretq_f32_f64(vtrn2q_f64(a, c)));
    vst1q_f32(out + 3 * ld_out, vreinterpretq_f32_f64(vtrn2q_f64(b, d)));
}

/* One half of f8_exp. */
SHOAL_INLINE float32x4_t exp4(float32x4_t x)
{
    const float32x4_t low = vdupq_n_f32(SHOAL_EXP_LO), magic = vdupq_n_f32(SHOAL_EXP_ROUND);
    float32x4_t c = vminq_f32(vmaxq_f32(x, low), vdupq_n_f32(SHOAL_EXP_HI));
    float32x4_t shifted = vfmaq_f32(magic, c, vdupq_n_f32(SHOAL_EXP_LOG2E));
    float32x4_t n = vsubq_f32(shifted, magic);
    float32x4_t r = vfmsq_f32(c, n, vdupq_n_f32(SHOAL_EXP_LN2_HI));
    r = vfmsq_f32(r, n, vdupq_n_f32(SHOAL_EXP_LN2_LO));
    float32x4_t q = vdupq_n_f32(SHOAL_EXP_C6);
    q = vfmaq_f32(vdupq_n_f32(SHOAL_EXP_C5), q, r);
    q = vfmaq_f32(vdupq_n_f32(SHOAL_EXP_C4), q, r);
    q = vfmaq_f32(vdupq_n_f32(SHOAL_EXP_C3), q, r);
    q = vfmaq_f32(vdupq_n_f32(SHOAL_EXP_C2), q, r);
    float32x4_t e = vaddq_f32(vfmaq_f32(r, vmulq_f32(r, r), q), vdupq_n_f32(1.0f));
    uint32x4_t pow2 = vshlq_n_u32(vreinterpretq_u32_f32(shifted), 23);
    pow2 = vaddq_u32(pow2, vdupq_n_u32(0x3f800000u));
    float32x4_t y = vmulq_f32(e, vreinterpretq_f32_u32(pow2));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y), vcltq_f32(x, low)));
}

/* shoal_expf of eight values; NaN for NaN. */
SHOAL_INLINE f8 f8_exp(f8 x)
{
    return (f8){exp4(x.lo), exp4(x.hi)};
}

#endif
