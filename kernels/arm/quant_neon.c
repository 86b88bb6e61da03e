/* quant_neon.c - expansion of weights and packing of activations in NEON.
 *
 * Bit for bit what quant.c and act.c compute: products and sums are written apart (no FMA). Weights
 * are read as bytes, so that no alignment is assumed.
 */
#include "kernels/act.h"
#include "kernels/arm/arm.h"
#include "kernels/arm/neon_math.h"
#include "kernels/blocks.h"
#include "kernels/matmul.h"

static void dequant_f16(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        f8_store(out + i, f8_halves(p + 2 * i));
    }
    for (; i < n; i++) {
        out[i] = shoal_load_f16(p + 2 * i);
    }
}

static void dequant_bf16(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += 8) {
        uint16_t top[8] = {0};
        memcpy(top, p + 2 * i, 2 * (n - i < 8 ? n - i : 8));
        uint16x8_t v = vld1q_u16(top);
        f8 wide = {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(v), 16)),
                   vreinterpretq_f32_u32(vshll_high_n_u16(v, 16))};
        f8_store_some(out + i, n - i, wide);
    }
}

/* out [16] = q * d + m */
SHOAL_INLINE void scale16(int8x16_t q, f8 d, f8 m, float *out)
{
    f8_store(out, f8_add(f8_mul(f8_codes(vget_low_s8(q)), d), m));
    f8_store(out + 8, f8_add(f8_mul(f8_codes(vget_high_s8(q)), d), m));
}

/* out [16] = q * d */
SHOAL_INLINE void scale16_plain(int8x16_t q, f8 d, float *out)
{
    f8_store(out, f8_mul(f8_codes(vget_low_s8(q)), d));
    f8_store(out + 8, f8_mul(f8_codes(vget_high_s8(q)), d));
}

SHOAL_INLINE int8x16_t low_nibbles(uint8x16_t q)
{
    return vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15)));
}

SHOAL_INLINE int8x16_t high_nibbles(uint8x16_t q)
{
    return vreinterpretq_s8_u8(vshrq_n_u8(q, 4));
}

/* out [32] = (nibble - 8) * d */
SHOAL_INLINE void expand_4_0(uint8x16_t q, f8 d, float *out)
{
    const int8x16_t eight = vdupq_n_s8(8);
    scale16_plain(vsubq_s8(low_nibbles(q), eight), d, out);
    scale16_plain(vsubq_s8(high_nibbles(q), eight), d, out + 16);
}

/* out [32] = nibble * d + m */
SHOAL_INLINE void expand_4_1(uint8x16_t q, f8 d, f8 m, float *out)
{
    scale16(low_nibbles(q), d, m, out);
    scale16(high_nibbles(q), d, m, out + 16);
}

static void dequant_q4_0(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q4_0_BYTES) {
        expand_4_0(vld1q_u8(p + 2), f8_all_half(p), out + i);
    }
}

static void dequant_q4_1(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q4_1_BYTES) {
        expand_4_1(vld1q_u8(p + 4), f8_all_half(p), f8_all_half(p + 2), out + i);
    }
}

static void dequant_q8_0(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q8_0_BYTES) {
        f8 d = f8_all_half(p);
        scale16_plain(vreinterpretq_s8_u8(vld1q_u8(p + 2)), d, out + i);
        scale16_plain(vreinterpretq_s8_u8(vld1q_u8(p + 18)), d, out + i + 16);
    }
}

/* Dwords 0, 8, 16, 24 from p: a row's code bytes in a packed block, p at its lane. */
SHOAL_INLINE uint8x16_t lane16(const uint8_t *p)
{
    uint32_t v[4];
    for (int i = 0; i < 4; i++) {
        memcpy(&v[i], p + 32 * i, sizeof v[i]);
    }
    return vreinterpretq_u8_u32(vld1q_u32(v));
}

static void dequant_p4_0(const void *row, size_t lane, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q4_0_BYTES) {
        expand_4_0(lane16(p + 16 + 4 * lane), f8_all_half(p + 2 * lane), out + i);
    }
}

static void dequant_p4_1(const void *row, size_t lane, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q4_1_BYTES) {
        f8 d = f8_all_half(p + 2 * lane), m = f8_all_half(p + 16 + 2 * lane);
        expand_4_1(lane16(p + 32 + 4 * lane), d, m, out + i);
    }
}

static void dequant_p8_0(const void *row, size_t lane, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_LANES * SHOAL_Q8_0_BYTES) {
        f8 d = f8_all_half(p + 2 * lane);
        scale16_plain(vreinterpretq_s8_u8(lane16(p + 16 + 4 * lane)), d, out + i);
        scale16_plain(vreinterpretq_s8_u8(lane16(p + 144 + 4 * lane)), d, out + i + 16);
    }
}

/* ---- activations ------------------------------------------------------------------------------
 */

/* round(x * scale), to nearest even, within -127 .. 127; a NaN becomes -127 as in act.c. */
SHOAL_INLINE int16x4_t to_codes(float32x4_t x, float32x4_t scale)
{
    float32x4_t v = vmaxnmq_f32(vmulq_f32(x, scale), vdupq_n_f32(-127.0f));
    return vmovn_s32(vcvtnq_s32_f32(vminnmq_f32(v, vdupq_n_f32(127.0f))));
}

SHOAL_INLINE void pack_block(const float *x, int8_t *q, float ds[2])
{
    float32x4_t v[8], peaks = vdupq_n_f32(0.0f);
    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + 4 * i);
        peaks = vmaxnmq_f32(peaks, vabsq_f32(v[i]));
    }
    float peak = vmaxnmvq_f32(peaks);
    float32x4_t scale = vdupq_n_f32(peak > SHOAL_ACT_PEAK_MIN ? 127.0f / peak : 0.0f);
    int sum = 0;
    for (int i = 0; i < 2; i++) {
        int16x8_t a = vcombine_s16(to_codes(v[4 * i], scale), to_codes(v[4 * i + 1], scale));
        int16x8_t b = vcombine_s16(to_codes(v[4 * i + 2], scale), to_codes(v[4 * i + 3], scale));
        int8x16_t codes = vcombine_s8(vmovn_s16(a), vmovn_s16(b));
        vst1q_s8(q + 16 * i, codes);
        sum += vaddlvq_s8(codes);
    }
    ds[0] = peak > SHOAL_ACT_PEAK_MIN ? peak / 127.0f : 0.0f;
    ds[1] = ds[0] * (float)sum;
}

static void act_pack(const float *x, size_t n, size_t N, void *tile)
{
    int8_t *block = tile;
    for (size_t b = 0; b < N / SHOAL_QBLOCK; b++, block += n * SHOAL_ACT_BLOCK_BYTES) {
        int8_t *scales = block + n * SHOAL_QBLOCK;
        for (size_t t = 0; t < n; t++) {
            float ds[2];
            pack_block(x + t * N + b * SHOAL_QBLOCK, block + t * SHOAL_QBLOCK, ds);
            memcpy(scales + t * sizeof ds, ds, sizeof ds);
        }
    }
}

void shoal_quant_init_neon(shoal_table *t)
{
    t->dequant[SHOAL_TYPE_F16] = dequant_f16;
    t->dequant[SHOAL_TYPE_BF16] = dequant_bf16;
    t->dequant[SHOAL_TYPE_Q4_0] = dequant_q4_0;
    t->dequant[SHOAL_TYPE_Q4_1] = dequant_q4_1;
    t->dequant[SHOAL_TYPE_Q8_0] = dequant_q8_0;
    t->dequant[SHOAL_TYPE_P4_0] = dequant_p4_0;
    t->dequant[SHOAL_TYPE_P4_1] = dequant_p4_1;
    t->dequant[SHOAL_TYPE_P8_0] = dequant_p8_0;
    t->act_pack = act_pack;
}
