/* unpack_k_avx2.c - super-blocks of eight rows of a K type taken apart. See unpack_k.h.
 *
 * In one go: the order of their codes serves two or four sub-blocks with one transpose, and integer
 * scales are decoded in the lanes.
 */
#include "kernels/x86/unpack_k.h"

#define AND _mm256_and_si256
#define OR _mm256_or_si256

/* 32 bytes at p of eight rows: out[j] lane r = dword j of row r. */
SHOAL_INLINE void transpose32(const uint8_t *p, size_t stride, __m256i out[8])
{
    transpose16(p, stride, out);
    transpose16(p + 16, stride, out + 4);
}

SHOAL_INLINE __m256i every32(int v)
{
    return _mm256_set1_epi32(v);
}

/* Byte b of every lane as f32; b a constant. */
SHOAL_INLINE __m256 byte_f32(__m256i v, int b)
{
    return _mm256_cvtepi32_ps(AND(_mm256_srli_epi32(v, 8 * b), every32(255)));
}

/* Scales and minimums of Q4_K and Q5_K from the 16 bytes both start with. */
SHOAL_INLINE void k_scales(const uint8_t *p, size_t stride, group_block g[8])
{
    const __m256i six = every32(0x3f3f3f3f), four_bits = every32(0x0f0f0f0f);
    const __m256i top = every32(0x30303030);
    __m256i head[4];
    transpose16(p, stride, head);
    __m256i h = split_halves(head[0]);
    __m256 d = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    __m256 dmin = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
    dmin = _mm256_sub_ps(_mm256_setzero_ps(), dmin);
    __m256i scale[2], min[2];
    scale[0] = AND(head[1], six);
    min[0] = AND(head[2], six);
    scale[1] = OR(AND(head[3], four_bits), AND(_mm256_srli_epi32(head[1], 2), top));
    min[1] =
        OR(AND(_mm256_srli_epi32(head[3], 4), four_bits), AND(_mm256_srli_epi32(head[2], 2), top));
    SHOAL_UNROLL
    for (int k = 0; k < 8; k++) {
        g[k].d = _mm256_mul_ps(d, byte_f32(scale[k / 4], k % 4));
        g[k].m = _mm256_mul_ps(dmin, byte_f32(min[k / 4], k % 4));
    }
}

void shoal_unpack8_q4_k(const uint8_t *p, size_t stride, group_block *g)
{
    const __m256i low = _mm256_set1_epi8(15);
    k_scales(p, stride, g);
    for (int i = 0; i < 4; i++) {
        __m256i q[8];
        transpose32(p + 16 + 32 * i, stride, q);
        SHOAL_UNROLL
        for (int j = 0; j < 8; j++) {
            g[2 * i].code[j] = AND(q[j], low);
            g[2 * i + 1].code[j] = AND(_mm256_srli_epi16(q[j], 4), low);
        }
    }
}

void shoal_unpack8_q5_k(const uint8_t *p, size_t stride, group_block *g)
{
    const __m256i low = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    __m256i high[8];
    k_scales(p, stride, g);
    transpose32(p + 16, stride, high);
    for (int i = 0; i < 4; i++) {
        __m256i q[8];
        transpose32(p + 48 + 32 * i, stride, q);
        SHOAL_UNROLL
        for (int j = 0; j < 8; j++) {
            /* bit 2 i of high belongs to the low nibble, bit 2 i + 1 to the high one */
            __m256i even = AND(_mm256_slli_epi16(high[j], 4), fifth);
            __m256i odd = AND(_mm256_slli_epi16(high[j], 3), fifth);
            g[2 * i].code[j] = OR(AND(q[j], low), even);
            g[2 * i + 1].code[j] = OR(AND(_mm256_srli_epi16(q[j], 4), low), odd);
            high[j] = _mm256_srli_epi16(high[j], 2);
        }
    }
}

/* The scale at two bytes b (0 or 2) of `scales` for the two halves of a sub-block: 16 bit, twice in
 * a lane, sign extended. */
SHOAL_INLINE void half_scales(__m256i scales, int b, __m256i half[2])
{
    SHOAL_UNROLL
    for (int h = 0; h < 2; h++) {
        const __m256i lane = _mm256_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12);
        /* bytes (zero, b + h, zero, b + h) of the lane; 0x80 makes a zero */
        __m256i pick = _mm256_mullo_epi32(lane, every32(0x01000100));
        pick = _mm256_add_epi32(pick, every32((b + h) * 0x01000100));
        pick = OR(pick, every32(0x00800080));
        half[h] = _mm256_srai_epi16(_mm256_shuffle_epi8(scales, pick), 8);
    }
}

/* The binary16 at p of eight rows. */
SHOAL_INLINE __m256 half_floats(const uint8_t *p, size_t stride)
{
    uint16_t d[LANES];
    for (size_t r = 0; r < LANES; r++) {
        memcpy(&d[r], p + r * stride, sizeof d[r]);
    }
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)d));
}

void shoal_unpack8_q6_k(const uint8_t *p, size_t stride, group_block *g)
{
    const __m256i low = _mm256_set1_epi8(15), pair = _mm256_set1_epi8(0x30);
    const __m256i middle = _mm256_set1_epi8(32);
    __m256i scales[4];
    transpose16(p + 192, stride, scales);
    __m256 d = half_floats(p + 208, stride);
    SHOAL_UNROLL
    for (int k = 0; k < 8; k++) {
        g[k].d = d;
        half_scales(scales[k / 2], k % 2 * 2, g[k].half);
    }
    for (int n = 0; n < 2; n++, g += 4) {
        __m256i a[8], b[8], high[8];
        transpose32(p + 64 * n, stride, a);
        transpose32(p + 64 * n + 32, stride, b);
        transpose32(p + 128 + 32 * n, stride, high);
        SHOAL_UNROLL
        for (int j = 0; j < 8; j++) {
            __m256i c0 = OR(AND(a[j], low), AND(_mm256_slli_epi16(high[j], 4), pair));
            __m256i c1 = OR(AND(b[j], low), AND(_mm256_slli_epi16(high[j], 2), pair));
            __m256i c2 = OR(AND(_mm256_srli_epi16(a[j], 4), low), AND(high[j], pair));
            __m256i c3 =
                OR(AND(_mm256_srli_epi16(b[j], 4), low), AND(_mm256_srli_epi16(high[j], 2), pair));
            g[0].code[j] = _mm256_sub_epi8(c0, middle);
            g[1].code[j] = _mm256_sub_epi8(c1, middle);
            g[2].code[j] = _mm256_sub_epi8(c2, middle);
            g[3].code[j] = _mm256_sub_epi8(c3, middle);
        }
    }
}

/* Q3_K's 16 scales of six bits, less 32, as bytes. */
SHOAL_INLINE void q3_k_scales(const uint8_t *p, size_t stride, __m256i scales[4])
{
    const __m256i low = every32(0x0f0f0f0f), top = every32(0x30303030);
    const __m256i middle = _mm256_set1_epi8(32);
    __m256i s[4]; /* the last four bytes are d and not scales */
    transpose16(p - 4, stride, s);
    __m256i a = s[1], b = s[2], high = s[3];
    scales[0] = OR(AND(a, low), AND(_mm256_slli_epi32(high, 4), top));
    scales[1] = OR(AND(b, low), AND(_mm256_slli_epi32(high, 2), top));
    scales[2] = OR(AND(_mm256_srli_epi32(a, 4), low), AND(high, top));
    scales[3] = OR(AND(_mm256_srli_epi32(b, 4), low), AND(_mm256_srli_epi32(high, 2), top));
    SHOAL_UNROLL
    for (int i = 0; i < 4; i++) {
        scales[i] = _mm256_sub_epi8(scales[i], middle);
    }
}

void shoal_unpack8_q3_k(const uint8_t *p, size_t stride, group_block *g)
{
    const __m256i two = _mm256_set1_epi8(3), third = _mm256_set1_epi8(4);
    __m256i scales[4], high[8];
    q3_k_scales(p + 96, stride, scales);
    __m256 d = half_floats(p + 108, stride);
    SHOAL_UNROLL
    for (int k = 0; k < 8; k++) {
        g[k].d = d;
        half_scales(scales[k / 2], k % 2 * 2, g[k].half);
    }
    transpose32(p, stride, high);
    for (int n = 0; n < 2; n++) {
        __m256i q[8];
        transpose32(p + 32 + 32 * n, stride, q);
        for (int k = 0; k < 4; k++, g++) {
            SHOAL_UNROLL
            for (int j = 0; j < 8; j++) {
                __m256i bit = AND(_mm256_slli_epi16(high[j], 2), third);
                g->code[j] = _mm256_sub_epi8(OR(AND(q[j], two), bit), third);
                q[j] = _mm256_srli_epi16(q[j], 2);
                high[j] = _mm256_srli_epi16(high[j], 1);
            }
        }
    }
}

SHOAL_INLINE void q2_k_scales(const uint8_t *p, size_t stride, group_block g[8])
{
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12, 0,
                                            0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
    __m256i s[4];
    transpose16(p, stride, s);
    __m256 d = half_floats(p + 80, stride);
    __m256 m = half_floats(p + 82, stride);
    SHOAL_UNROLL
    for (int k = 0; k < 8; k++) {
        __m256i mins = AND(_mm256_srli_epi16(s[k / 2], 4), low);
        g[k].d = d;
        g[k].m = m;
        half_scales(AND(s[k / 2], low), k % 2 * 2, g[k].half);
        SHOAL_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i pick = _mm256_add_epi8(spread, _mm256_set1_epi8((char)(k % 2 * 2 + h)));
            g[k].low[h] = _mm256_shuffle_epi8(mins, pick);
        }
    }
}

void shoal_unpack8_q2_k(const uint8_t *p, size_t stride, group_block *g)
{
    const __m256i two = _mm256_set1_epi8(3);
    q2_k_scales(p, stride, g);
    for (int n = 0; n < 2; n++) {
        __m256i q[8];
        transpose32(p + 16 + 32 * n, stride, q);
        for (int k = 0; k < 4; k++, g++) {
            SHOAL_UNROLL
            for (int j = 0; j < 8; j++) {
                g->code[j] = AND(q[j], two);
                q[j] = _mm256_srli_epi16(q[j], 2);
            }
        }
    }
}
