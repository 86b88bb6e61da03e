/* unpack_k_arm.h - super-blocks of eight weight rows for the ARM products. See unpack_arm.h.
 *
 * A super-block of eight rows is taken apart in one go: the order of its codes serves two or four
 * sub-blocks with one transpose, and integer scales are decoded in the lanes.
 *
 * Layer: kernels/arm, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_ARM_UNPACK_K_ARM_H
#define SHOAL_KERNELS_ARM_UNPACK_K_ARM_H

#include "kernels/arm/unpack_arm.h"

enum { SUBS = SHOAL_KBLOCK / SHOAL_QBLOCK };

/* 32 bytes at p of eight rows: vectors 0 .. 7 and 8 .. 15 as codes are kept. */
SHOAL_INLINE void rows32(code_order order, const uint8_t *p, size_t stride, uint8x16_t out[16])
{
    rows16(order, p, stride, out);
    rows16(order, p + 16, stride, out + 8);
}

/* Byte b of every lane. */
SHOAL_INLINE uint32x4_t byte_of(uint32x4_t v, size_t b)
{
    return vandq_u32(vshlq_u32(v, vdupq_n_s32(-8 * (int)b)), vdupq_n_u32(255));
}

/* The same of signed bytes. */
SHOAL_INLINE int32x4_t signed_byte_of(uint32x4_t v, size_t b)
{
    int32x4_t top = vreinterpretq_s32_u32(vshlq_u32(v, vdupq_n_s32(24 - 8 * (int)b)));
    return vshrq_n_s32(top, 24);
}

/* Bits `low` of a, and bits of b shifted left into 0x30: six-bit numbers, four a lane. */
SHOAL_INLINE uint32x4_t six_bits(uint32x4_t a, uint32x4_t b)
{
    return vorrq_u32(vandq_u32(a, vdupq_n_u32(0x0f0f0f0f)), vandq_u32(b, vdupq_n_u32(0x30303030)));
}

/* Scales and minimums of Q4_K and Q5_K from the 16 bytes both start with. */
SHOAL_INLINE void k_scales(const uint8_t *p, size_t stride, group_block g[SUBS])
{
    const uint32x4_t six = vdupq_n_u32(0x3f3f3f3f);
    uint32x4_t head[2];
    float32x4_t d[2], dmin[2];
    heads(p, stride, head);
    lower_halves(head, d);
    upper_halves(head, dmin);
    uint8x16_t bytes[8]; /* dword j of the 16 bytes is vector 2 j + i */
    rows16(ROWS4, p, stride, bytes);
    for (size_t i = 0; i < 2; i++) {
        uint32x4_t a = vreinterpretq_u32_u8(bytes[2 + i]), b = vreinterpretq_u32_u8(bytes[4 + i]);
        uint32x4_t c = vreinterpretq_u32_u8(bytes[6 + i]);
        const uint32x4_t scale[2] = {vandq_u32(a, six), six_bits(c, vshrq_n_u32(a, 2))};
        const uint32x4_t min[2] = {vandq_u32(b, six),
                                   six_bits(vshrq_n_u32(c, 4), vshrq_n_u32(b, 2))};
        for (size_t k = 0; k < SUBS; k++) {
            g[k].d[i] = vmulq_f32(d[i], vcvtq_f32_u32(byte_of(scale[k / 4], k % 4)));
            g[k].m[i] = vmulq_f32(vnegq_f32(dmin[i]), vcvtq_f32_u32(byte_of(min[k / 4], k % 4)));
        }
    }
}

SHOAL_INLINE void unpack_q4_k(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    k_scales(p, stride, g);
    for (size_t i = 0; i < 4; i++, g += 2) {
        uint8x16_t q[16];
        rows32(order, p + 16 + 32 * i, stride, q);
        SHOAL_UNROLL
        for (size_t j = 0; j < 16; j++) {
            g[0].code[j] = low_four(q[j]);
            g[1].code[j] = high_four(q[j]);
        }
    }
}

SHOAL_INLINE void unpack_q5_k(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    const uint8x16_t fifth = vdupq_n_u8(16);
    uint8x16_t high[16];
    k_scales(p, stride, g);
    rows32(order, p + 16, stride, high);
    for (size_t i = 0; i < 4; i++, g += 2) {
        uint8x16_t q[16];
        rows32(order, p + 48 + 32 * i, stride, q);
        for (size_t j = 0; j < 16; j++) {
            /* bit 2 i of high belongs to the low nibble, bit 2 i + 1 to the high one */
            int8x16_t even = vreinterpretq_s8_u8(vandq_u8(vshlq_n_u8(high[j], 4), fifth));
            int8x16_t odd = vreinterpretq_s8_u8(vandq_u8(vshlq_n_u8(high[j], 3), fifth));
            g[0].code[j] = vorrq_s8(low_four(q[j]), even);
            g[1].code[j] = vorrq_s8(high_four(q[j]), odd);
            high[j] = vshrq_n_u8(high[j], 2);
        }
    }
}

/* Sub-block k of a type with a signed scale for each 16 weights: scale 2 k + h is a byte of
 * scales[2 j + i], dword j of rows 4 i .. 4 i + 3. */
SHOAL_INLINE void half_scales(const uint8x16_t scales[8], size_t k, int32x4_t half[2][2])
{
    for (size_t h = 0; h < 2; h++) {
        for (size_t i = 0; i < 2; i++) {
            uint32x4_t word = vreinterpretq_u32_u8(scales[k / 2 * 2 + i]);
            half[h][i] = signed_byte_of(word, k % 2 * 2 + h);
        }
    }
}

/* Six bits of each code, less 32: bits of `four` below, two bits of `two` at 4 and 5. */
SHOAL_INLINE int8x16_t q6_code(int8x16_t four, uint8x16_t two)
{
    int8x16_t pair = vreinterpretq_s8_u8(vandq_u8(two, vdupq_n_u8(0x30)));
    return vsubq_s8(vorrq_s8(four, pair), vdupq_n_s8(32));
}

SHOAL_INLINE void unpack_q6_k(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint8x16_t scales[8];
    uint32x4_t tail[2];
    rows16(ROWS4, p + 192, stride, scales);
    heads(p + 206, stride, tail); /* two scales, then d */
    for (size_t k = 0; k < SUBS; k++) {
        upper_halves(tail, g[k].d);
        half_scales(scales, k, g[k].half);
    }
    for (size_t n = 0; n < 2; n++, g += 4) {
        uint8x16_t a[16], b[16], high[16];
        rows32(order, p + 64 * n, stride, a);
        rows32(order, p + 64 * n + 32, stride, b);
        rows32(order, p + 128 + 32 * n, stride, high);
        for (size_t j = 0; j < 16; j++) {
            g[0].code[j] = q6_code(low_four(a[j]), vshlq_n_u8(high[j], 4));
            g[1].code[j] = q6_code(low_four(b[j]), vshlq_n_u8(high[j], 2));
            g[2].code[j] = q6_code(high_four(a[j]), high[j]);
            g[3].code[j] = q6_code(high_four(b[j]), vshrq_n_u8(high[j], 2));
        }
    }
}

/* Q3_K's 16 scales of six bits, less 32, as bytes: dword j of four rows in scales[2 j + i]. */
SHOAL_INLINE void q3_k_scales(const uint8_t *p, size_t stride, uint8x16_t scales[8])
{
    uint32x4_t a[2], b[2], high[2];
    heads(p, stride, a);
    heads(p + 4, stride, b);
    heads(p + 8, stride, high);
    for (size_t i = 0; i < 2; i++) {
        const uint32x4_t s[4] = {six_bits(a[i], vshlq_n_u32(high[i], 4)),
                                 six_bits(b[i], vshlq_n_u32(high[i], 2)),
                                 six_bits(vshrq_n_u32(a[i], 4), high[i]),
                                 six_bits(vshrq_n_u32(b[i], 4), vshrq_n_u32(high[i], 2))};
        for (size_t j = 0; j < 4; j++) {
            scales[2 * j + i] = vsubq_u8(vreinterpretq_u8_u32(s[j]), vdupq_n_u8(32));
        }
    }
}

SHOAL_INLINE void unpack_q3_k(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    const uint8x16_t two = vdupq_n_u8(3), third = vdupq_n_u8(4);
    uint8x16_t scales[8], high[16];
    uint32x4_t tail[2];
    q3_k_scales(p + 96, stride, scales);
    heads(p + 106, stride, tail); /* two bytes of scales, then d */
    for (size_t k = 0; k < SUBS; k++) {
        upper_halves(tail, g[k].d);
        half_scales(scales, k, g[k].half);
    }
    rows32(order, p, stride, high);
    for (size_t n = 0; n < 2; n++) {
        uint8x16_t q[16];
        rows32(order, p + 32 + 32 * n, stride, q);
        for (size_t k = 0; k < 4; k++, g++) {
            for (size_t j = 0; j < 16; j++) {
                uint8x16_t bit = vandq_u8(vshlq_n_u8(high[j], 2), third);
                uint8x16_t code = vorrq_u8(vandq_u8(q[j], two), bit);
                g->code[j] = vreinterpretq_s8_u8(vsubq_u8(code, third));
                q[j] = vshrq_n_u8(q[j], 2);
                high[j] = vshrq_n_u8(high[j], 1);
            }
        }
    }
}

SHOAL_INLINE void q2_k_scales(const uint8_t *p, size_t stride, group_block g[SUBS])
{
    uint8x16_t s[8], scales[8], mins[8];
    uint32x4_t tail[2];
    rows16(ROWS4, p, stride, s);
    heads(p + 80, stride, tail);
    for (size_t i = 0; i < 8; i++) {
        scales[i] = vandq_u8(s[i], vdupq_n_u8(15));
        mins[i] = vshrq_n_u8(s[i], 4);
    }
    for (size_t k = 0; k < SUBS; k++) {
        lower_halves(tail, g[k].d);
        upper_halves(tail, g[k].m);
        half_scales(scales, k, g[k].half);
        half_scales(mins, k, g[k].low);
    }
}

SHOAL_INLINE void unpack_q2_k(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    q2_k_scales(p, stride, g);
    for (size_t n = 0; n < 2; n++) {
        uint8x16_t q[16];
        rows32(order, p + 16 + 32 * n, stride, q);
        for (size_t k = 0; k < 4; k++, g++) {
            for (size_t j = 0; j < 16; j++) {
                g->code[j] = vreinterpretq_s8_u8(vandq_u8(q[j], vdupq_n_u8(3)));
                q[j] = vshrq_n_u8(q[j], 2);
            }
        }
    }
}

#endif
