/* unpack_arm.h - blocks of eight weight rows brought into the registers of the ARM products.
 *
 * A group is eight rows of W; 32 weights of it are 16 vectors of 16 codes, in one of two orders:
 *
 *   ROWS4   vector 2 j + h: weights 4 j .. 4 j + 3 of rows 4 h .. 4 h + 3. A 32-bit lane belongs to
 *           one row, which is what sdot wants: it adds four products to a lane.
 *   ROWS2   vector 4 g + p: weights 8 g .. 8 g + 7 of rows 2 p and 2 p + 1: the 2 x 8 matrix that
 *           smmla multiplies by the 8 x 2 of two activation rows.
 *
 * In both, vectors 0 .. 7 hold the first 16 weights and 8 .. 15 the others, so the nibbles, bits
 * and offsets of a format are taken the same way in either, element by element. Scales are per row
 * and always in the order of rows. Blocks are read as bytes: no alignment is assumed.
 *
 * Layer: kernels/arm, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_ARM_UNPACK_ARM_H
#define SHOAL_KERNELS_ARM_UNPACK_ARM_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/simd.h"

typedef enum code_order { ROWS4, ROWS2 } code_order;

/* 32 weights of eight rows. */
typedef struct group_block {
    int8x16_t code[16];
    float32x4_t d[2], m[2]; /* w = d * code + m; or by halves of 16 weights, h = 0, 1: */
    int32x4_t half[2][2];   /* w = d * half[h] * code - m * low[h] */
    int32x4_t low[2][2];
} group_block;

SHOAL_INLINE uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* out[j], j < 4: dword j of four rows' 16 bytes. */
SHOAL_INLINE void transpose_4_rows(const uint8_t *p, size_t stride, uint8x16_t *out, size_t step)
{
    uint32x4_t r0 = vreinterpretq_u32_u8(vld1q_u8(p));
    uint32x4_t r1 = vreinterpretq_u32_u8(vld1q_u8(p + stride));
    uint32x4_t r2 = vreinterpretq_u32_u8(vld1q_u8(p + 2 * stride));
    uint32x4_t r3 = vreinterpretq_u32_u8(vld1q_u8(p + 3 * stride));
    uint64x2_t a = vreinterpretq_u64_u32(vtrn1q_u32(r0, r1));
    uint64x2_t b = vreinterpretq_u64_u32(vtrn2q_u32(r0, r1));
    uint64x2_t c = vreinterpretq_u64_u32(vtrn1q_u32(r2, r3));
    uint64x2_t d = vreinterpretq_u64_u32(vtrn2q_u32(r2, r3));
    out[0] = vreinterpretq_u8_u64(vtrn1q_u64(a, c));
    out[step] = vreinterpretq_u8_u64(vtrn1q_u64(b, d));
    out[2 * step] = vreinterpretq_u8_u64(vtrn2q_u64(a, c));
    out[3 * step] = vreinterpretq_u8_u64(vtrn2q_u64(b, d));
}

/* 16 bytes at p of eight rows, `stride` apart, in the order asked for. */
SHOAL_INLINE void rows16(code_order order, const uint8_t *p, size_t stride, uint8x16_t out[8])
{
    if (order == ROWS4) {
        transpose_4_rows(p, stride, out, 2);
        transpose_4_rows(p + 4 * stride, stride, out + 1, 2);
        return;
    }
    SHOAL_UNROLL
    for (size_t i = 0; i < 4; i++, p += 2 * stride) {
        uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(p));
        uint64x2_t b = vreinterpretq_u64_u8(vld1q_u8(p + stride));
        out[i] = vreinterpretq_u8_u64(vtrn1q_u64(a, b));
        out[4 + i] = vreinterpretq_u8_u64(vtrn2q_u64(a, b));
    }
}

/* `count` vectors (4 or 8) in the order ROWS4, brought to the order asked for. */
SHOAL_INLINE void reorder(code_order order, const uint8x16_t *v, size_t count, uint8x16_t *out)
{
    SHOAL_UNROLL
    for (size_t i = 0; i < count; i++) {
        if (order == ROWS4) {
            out[i] = v[i];
            continue;
        }
        /* vector 4 g + i: two dwords of two rows from v[4 g] and v[4 g + 2], or the next ones */
        size_t at = i / 4 * 4 + i % 4 / 2;
        uint32x4_t a = vreinterpretq_u32_u8(v[at]), b = vreinterpretq_u32_u8(v[at + 2]);
        out[i] = vreinterpretq_u8_u32(i % 2 == 0 ? vzip1q_u32(a, b) : vzip2q_u32(a, b));
    }
}

/* 16 bytes a row of a packed group, which lies in the order ROWS4. */
SHOAL_INLINE void packed16(code_order order, const uint8_t *p, uint8x16_t out[8])
{
    uint8x16_t v[8];
    SHOAL_UNROLL
    for (size_t i = 0; i < 8; i++) {
        v[i] = vld1q_u8(p + 16 * i);
    }
    reorder(order, v, 8, out);
}

/* The first 4 bytes of eight rows, a row a lane. */
SHOAL_INLINE void heads(const uint8_t *p, size_t stride, uint32x4_t out[2])
{
    SHOAL_UNROLL
    for (size_t h = 0; h < 2; h++, p += 4 * stride) {
        uint32x4_t v = vdupq_n_u32(load_u32(p));
        v = vsetq_lane_u32(load_u32(p + stride), v, 1);
        v = vsetq_lane_u32(load_u32(p + 2 * stride), v, 2);
        out[h] = vsetq_lane_u32(load_u32(p + 3 * stride), v, 3);
    }
}

/* The lower and the upper binary16 of every lane. */
SHOAL_INLINE void lower_halves(const uint32x4_t v[2], float32x4_t out[2])
{
    out[0] = vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(v[0])));
    out[1] = vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(v[1])));
}

SHOAL_INLINE void upper_halves(const uint32x4_t v[2], float32x4_t out[2])
{
    out[0] = vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(v[0], 16)));
    out[1] = vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(v[1], 16)));
}

/* m = d * offset: formats whose codes have a fixed zero point. */
SHOAL_INLINE void fixed_minimum(group_block *g, float offset)
{
    g->m[0] = vmulq_n_f32(g->d[0], offset);
    g->m[1] = vmulq_n_f32(g->d[1], offset);
}

SHOAL_INLINE int8x16_t low_four(uint8x16_t q)
{
    return vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15)));
}

SHOAL_INLINE int8x16_t high_four(uint8x16_t q)
{
    return vreinterpretq_s8_u8(vshrq_n_u8(q, 4));
}

SHOAL_INLINE void split_nibbles(const uint8x16_t q[8], int8x16_t code[16])
{
    SHOAL_UNROLL
    for (size_t i = 0; i < 8; i++) {
        code[i] = low_four(q[i]);
        code[8 + i] = high_four(q[i]);
    }
}

SHOAL_INLINE void unpack_nibbles(code_order order, const uint8_t *p, size_t stride,
                                 int8x16_t code[16])
{
    uint8x16_t q[8];
    rows16(order, p, stride, q);
    split_nibbles(q, code);
}

SHOAL_INLINE void signed_codes(const uint8x16_t q[8], int8x16_t code[8])
{
    SHOAL_UNROLL
    for (size_t i = 0; i < 8; i++) {
        code[i] = vreinterpretq_s8_u8(q[i]);
    }
}

SHOAL_INLINE void unpack_q4_0(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint32x4_t head[2];
    heads(p, stride, head);
    lower_halves(head, g->d);
    fixed_minimum(g, -8.0f);
    unpack_nibbles(order, p + 2, stride, g->code);
}

SHOAL_INLINE void unpack_q4_1(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint32x4_t head[2];
    heads(p, stride, head);
    lower_halves(head, g->d);
    upper_halves(head, g->m);
    unpack_nibbles(order, p + 4, stride, g->code);
}

SHOAL_INLINE void unpack_q8_0(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint32x4_t head[2];
    uint8x16_t q[8];
    heads(p, stride, head);
    lower_halves(head, g->d);
    rows16(order, p + 2, stride, q);
    signed_codes(q, g->code);
    rows16(order, p + 18, stride, q);
    signed_codes(q, g->code + 8);
}

/* code |= 16 where the row's word of fifth bits has a one; bit i belongs to weight i. */
SHOAL_INLINE void add_fifth_bits(code_order order, const uint32x4_t words[2], int8x16_t code[16])
{
    static const uint8_t bytes4[16] = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    static const uint8_t bytes2[16] = {0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4};
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t first = vld1q_u8(order == ROWS4 ? bytes4 : bytes2), all = vld1q_u8(bits);
    const uint8x16_t even = vreinterpretq_u8_u32(vdupq_n_u32(0x08040201));
    const uint8x16_t odd = vreinterpretq_u8_u32(vdupq_n_u32(0x80402010u));
    SHOAL_UNROLL
    for (size_t i = 0; i < 16; i++) {
        /* the byte of the row's word that holds the bits of these weights, then a bit in each */
        size_t word = order == ROWS4 ? i % 2 : i % 4 / 2;
        size_t byte = order == ROWS4 ? i / 4 : i / 4 + i % 2 * 8;
        uint8x16_t pick = vaddq_u8(first, vdupq_n_u8((uint8_t)byte));
        uint8x16_t bit = order == ROWS2 ? all : i / 2 % 2 == 0 ? even : odd;
        uint8x16_t set = vtstq_u8(vqtbl1q_u8(vreinterpretq_u8_u32(words[word]), pick), bit);
        set = vandq_u8(set, vdupq_n_u8(16));
        code[i] = vorrq_s8(code[i], vreinterpretq_s8_u8(set));
    }
}

SHOAL_INLINE void unpack_q5_0(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint32x4_t head[2], fifth[2];
    heads(p, stride, head);
    heads(p + 2, stride, fifth);
    lower_halves(head, g->d);
    fixed_minimum(g, -16.0f);
    unpack_nibbles(order, p + 6, stride, g->code);
    add_fifth_bits(order, fifth, g->code);
}

SHOAL_INLINE void unpack_q5_1(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint32x4_t head[2], fifth[2];
    heads(p, stride, head);
    heads(p + 4, stride, fifth);
    lower_halves(head, g->d);
    upper_halves(head, g->m);
    unpack_nibbles(order, p + 8, stride, g->code);
    add_fifth_bits(order, fifth, g->code);
}

SHOAL_INLINE void unpack_iq4_nl(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    const int8x16_t levels = vld1q_s8(shoal_iq4_levels);
    uint32x4_t head[2];
    heads(p, stride, head);
    lower_halves(head, g->d);
    unpack_nibbles(order, p + 2, stride, g->code);
    SHOAL_UNROLL
    for (size_t i = 0; i < 16; i++) {
        g->code[i] = vqtbl1q_s8(levels, vreinterpretq_u8_s8(g->code[i]));
    }
}

/* Scales and minimums of affine words, one a lane; z = u * unit. */
SHOAL_INLINE void affine_words(const uint32x4_t words[2], float unit, group_block *g)
{
    const uint32x4_t bias = vdupq_n_u32((uint32_t)SHOAL_AFFINE_BIAS << 23);
    const uint32x4_t mask = vdupq_n_u32((1u << SHOAL_AFFINE_ZERO_BITS) - 1);
    SHOAL_UNROLL
    for (size_t i = 0; i < 2; i++) {
        uint32x4_t scale = vshrq_n_u32(words[i], SHOAL_AFFINE_ZERO_BITS);
        scale = vaddq_u32(vshlq_n_u32(scale, 23 - SHOAL_AFFINE_FRACTION_BITS), bias);
        g->d[i] = vreinterpretq_f32_u32(scale);
        float32x4_t z = vmulq_n_f32(vcvtq_f32_u32(vandq_u32(words[i], mask)), -unit);
        g->m[i] = vmulq_f32(g->d[i], z);
    }
}

/* The word that eight plain rows start with, a row a lane. */
SHOAL_INLINE void plain_words(const uint8_t *p, size_t stride, uint32x4_t out[2])
{
    heads(p, stride, out);
    out[0] = vandq_u32(out[0], vdupq_n_u32(0xffff));
    out[1] = vandq_u32(out[1], vdupq_n_u32(0xffff));
}

/* Eight words that lie together. */
SHOAL_INLINE void packed_words(const uint8_t *p, uint32x4_t out[2])
{
    uint16x8_t v = vreinterpretq_u16_u8(vld1q_u8(p));
    out[0] = vmovl_u16(vget_low_u16(v));
    out[1] = vmovl_high_u16(v);
}

/* code |= bits 4 and 5: bits 2 h, 2 h + 1 of a row's byte k belong to weight 8 h + k. `lies` holds
 * the rows' eight bytes in the order ROWS4. */
SHOAL_INLINE void add_pairs(code_order order, const uint8x16_t lies[4], int8x16_t code[16])
{
    uint8x16_t pairs[4];
    reorder(order, lies, 4, pairs);
    SHOAL_UNROLL
    for (size_t i = 0; i < 4; i++) {
        const uint8x16_t mask = vdupq_n_u8(0x30), p = pairs[i];
        const uint8x16_t moved[4] = {vshlq_n_u8(p, 4), vshlq_n_u8(p, 2), p, vshrq_n_u8(p, 2)};
        SHOAL_UNROLL
        for (size_t h = 0; h < 4; h++) {
            int8x16_t top = vreinterpretq_s8_u8(vandq_u8(moved[h], mask));
            code[4 * h + i] = vorrq_s8(code[4 * h + i], top);
        }
    }
}

SHOAL_INLINE void unpack_q4_a(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint32x4_t words[2];
    plain_words(p, stride, words);
    affine_words(words, 1.0f / 8, g);
    unpack_nibbles(order, p + 2, stride, g->code);
}

SHOAL_INLINE void unpack_q6_a(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint32x4_t words[2], pairs[4];
    uint8x16_t lies[4];
    plain_words(p, stride, words);
    affine_words(words, 1.0f / 2, g);
    unpack_nibbles(order, p + 2, stride, g->code);
    heads(p + 18, stride, pairs);
    heads(p + 22, stride, pairs + 2);
    SHOAL_UNROLL
    for (size_t i = 0; i < 4; i++) {
        lies[i] = vreinterpretq_u8_u32(pairs[i]);
    }
    add_pairs(order, lies, g->code);
}

/* Eight binary16 that lie together. */
SHOAL_INLINE void eight_halves(const uint8_t *p, float32x4_t out[2])
{
    float16x8_t half = vreinterpretq_f16_u8(vld1q_u8(p));
    out[0] = vcvt_f32_f16(vget_low_f16(half));
    out[1] = vcvt_high_f32_f16(half);
}

SHOAL_INLINE void unpack_p4_0(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    uint8x16_t q[8];
    eight_halves(p, g->d);
    fixed_minimum(g, -8.0f);
    packed16(order, p + 16, q);
    split_nibbles(q, g->code);
}

SHOAL_INLINE void unpack_p4_1(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    uint8x16_t q[8];
    eight_halves(p, g->d);
    eight_halves(p + 16, g->m);
    packed16(order, p + 32, q);
    split_nibbles(q, g->code);
}

SHOAL_INLINE void unpack_p8_0(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    uint8x16_t q[8];
    eight_halves(p, g->d);
    packed16(order, p + 16, q);
    signed_codes(q, g->code);
    packed16(order, p + 144, q);
    signed_codes(q, g->code + 8);
}

SHOAL_INLINE void unpack_p4_a(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    uint32x4_t words[2];
    uint8x16_t q[8];
    packed_words(p, words);
    affine_words(words, 1.0f / 8, g);
    packed16(order, p + 16, q);
    split_nibbles(q, g->code);
}

SHOAL_INLINE void unpack_p6_a(code_order order, const uint8_t *p, size_t stride, group_block *g)
{
    uint8x16_t lies[4];
    SHOAL_UNROLL
    for (size_t i = 0; i < 4; i++) {
        lies[i] = vld1q_u8(p + 144 + 16 * i);
    }
    uint32x4_t words[2];
    uint8x16_t q[8];
    (void)stride;
    packed_words(p, words);
    affine_words(words, 1.0f / 2, g);
    packed16(order, p + 16, q);
    split_nibbles(q, g->code);
    add_pairs(order, lies, g->code);
}

#endif
