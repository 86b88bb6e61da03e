/* unpack_legacy.h - blocks of 32 weights of eight rows taken apart.
 *
 * Needs -mavx2 -mfma -mf16c. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_UNPACK_LEGACY_H
#define SHOAL_KERNELS_X86_UNPACK_LEGACY_H

#include "kernels/x86/dot_avx2.h"

SHOAL_INLINE void unpack_nibbles(const uint8_t *p, size_t stride, __m256i code[8])
{
    const __m256i low = _mm256_set1_epi8(15);
    __m256i q[4];
    transpose16(p, stride, q);
    for (int j = 0; j < 4; j++) {
        code[j] = _mm256_and_si256(q[j], low);
        code[4 + j] = _mm256_and_si256(_mm256_srli_epi16(q[j], 4), low);
    }
}

SHOAL_INLINE void unpack_q4_0(const uint8_t *p, size_t stride, group_block *g)
{
    __m256i h = split_halves(heads(p, stride));
    g->d = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    g->m = _mm256_mul_ps(g->d, _mm256_set1_ps(-8.0f));
    unpack_nibbles(p + 2, stride, g->code);
}

SHOAL_INLINE void unpack_q4_1(const uint8_t *p, size_t stride, group_block *g)
{
    __m256i h = split_halves(heads(p, stride));
    g->d = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    g->m = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
    unpack_nibbles(p + 4, stride, g->code);
}

SHOAL_INLINE void unpack_q8_0(const uint8_t *p, size_t stride, group_block *g)
{
    __m256i h = split_halves(heads(p, stride));
    g->d = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    transpose16(p + 2, stride, g->code);
    transpose16(p + 18, stride, g->code + 4);
}

/* code |= 16 where the row's word of fifth bits has a one; bit i belongs to weight i. */
SHOAL_INLINE void add_fifth_bits(__m256i words, __m256i code[8])
{
    const __m256i sixteen = _mm256_set1_epi8(16);
    SHOAL_UNROLL
    for (int j = 0; j < 8; j++) {
        /* byte j / 2 of the word in all four bytes of the lane, then one bit of it in each */
        const __m256i pick =
            _mm256_add_epi8(_mm256_set1_epi8((char)(j / 2)),
                            _mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12, 0,
                                             0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
        const __m256i bit = _mm256_set1_epi32(j % 2 == 0 ? 0x08040201 : (int)0x80402010u);
        __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(words, pick), bit);
        __m256i set = _mm256_and_si256(_mm256_cmpeq_epi8(bits, bit), sixteen);
        code[j] = _mm256_or_si256(code[j], set);
    }
}

SHOAL_INLINE void unpack_q5_0(const uint8_t *p, size_t stride, group_block *g)
{
    __m256i h = split_halves(heads(p, stride));
    g->d = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    g->m = _mm256_mul_ps(g->d, _mm256_set1_ps(-16.0f));
    unpack_nibbles(p + 6, stride, g->code);
    add_fifth_bits(heads(p + 2, stride), g->code);
}

SHOAL_INLINE void unpack_q5_1(const uint8_t *p, size_t stride, group_block *g)
{
    __m256i h = split_halves(heads(p, stride));
    g->d = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    g->m = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
    unpack_nibbles(p + 8, stride, g->code);
    add_fifth_bits(heads(p + 4, stride), g->code);
}

SHOAL_INLINE void unpack_iq4_nl(const uint8_t *p, size_t stride, group_block *g)
{
    __m128i levels = _mm_loadu_si128((const __m128i *)(const void *)shoal_iq4_levels);
    __m256i h = split_halves(heads(p, stride));
    g->d = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    unpack_nibbles(p + 2, stride, g->code);
    SHOAL_UNROLL
    for (int j = 0; j < 8; j++) {
        g->code[j] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), g->code[j]);
    }
}

/* Scales and minimums of affine words, one in the low half of each lane; z = u * unit. */
SHOAL_INLINE void affine_words(__m256i words, float unit, group_block *g)
{
    __m256i scale = _mm256_srli_epi32(words, SHOAL_AFFINE_ZERO_BITS);
    scale = _mm256_slli_epi32(scale, 23 - SHOAL_AFFINE_FRACTION_BITS);
    scale = _mm256_add_epi32(scale, _mm256_set1_epi32(SHOAL_AFFINE_BIAS << 23));
    g->d = _mm256_castsi256_ps(scale);
    __m256i zero = _mm256_and_si256(words, _mm256_set1_epi32((1 << SHOAL_AFFINE_ZERO_BITS) - 1));
    __m256 z = _mm256_mul_ps(_mm256_cvtepi32_ps(zero), _mm256_set1_ps(-unit));
    g->m = _mm256_mul_ps(g->d, z);
}

/* code |= bits 4 and 5, of which pairs[0] and pairs[1] hold those of weights 8 h .. 8 h + 3 and
 * 8 h + 4 .. 8 h + 7 at bits 2 h. */
SHOAL_INLINE void add_pairs(const __m256i pairs[2], __m256i code[8])
{
    const __m256i mask = _mm256_set1_epi8(0x30);
    SHOAL_UNROLL
    for (int j = 0; j < 8; j++) {
        __m256i p = pairs[j % 2];
        p = j < 2   ? _mm256_slli_epi16(p, 4)
            : j < 4 ? _mm256_slli_epi16(p, 2)
            : j < 6 ? p
                    : _mm256_srli_epi16(p, 2);
        code[j] = _mm256_or_si256(code[j], _mm256_and_si256(p, mask));
    }
}

SHOAL_INLINE void unpack_q4_a(const uint8_t *p, size_t stride, group_block *g)
{
    affine_words(_mm256_and_si256(heads(p, stride), _mm256_set1_epi32(0xffff)), 1.0f / 8, g);
    unpack_nibbles(p + 2, stride, g->code);
}

SHOAL_INLINE void unpack_q6_a(const uint8_t *p, size_t stride, group_block *g)
{
    const __m256i pairs[2] = {heads(p + 18, stride), heads(p + 22, stride)};
    affine_words(_mm256_and_si256(heads(p, stride), _mm256_set1_epi32(0xffff)), 1.0f / 2, g);
    unpack_nibbles(p + 2, stride, g->code);
    add_pairs(pairs, g->code);
}

SHOAL_INLINE __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Eight binary16 that lie together. */
SHOAL_INLINE __m256 eight_halves(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Codes of a packed block: already transposed. */
SHOAL_INLINE void packed_nibbles(const uint8_t *p, __m256i code[8])
{
    const __m256i low = _mm256_set1_epi8(15);
    SHOAL_UNROLL
    for (int j = 0; j < 4; j++) {
        __m256i q = load32(p + 32 * j);
        code[j] = _mm256_and_si256(q, low);
        code[4 + j] = _mm256_and_si256(_mm256_srli_epi16(q, 4), low);
    }
}

SHOAL_INLINE void unpack_p4_0(const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    g->d = eight_halves(p);
    g->m = _mm256_mul_ps(g->d, _mm256_set1_ps(-8.0f));
    packed_nibbles(p + 16, g->code);
}

SHOAL_INLINE void unpack_p4_1(const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    g->d = eight_halves(p);
    g->m = eight_halves(p + 16);
    packed_nibbles(p + 32, g->code);
}

SHOAL_INLINE void unpack_p8_0(const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    g->d = eight_halves(p);
    SHOAL_UNROLL
    for (int j = 0; j < 8; j++) {
        g->code[j] = load32(p + 16 + 32 * j);
    }
}

/* Eight words that lie together, each in its lane. */
SHOAL_INLINE __m256i eight_words(const uint8_t *p)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

SHOAL_INLINE void unpack_p4_a(const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    affine_words(eight_words(p), 1.0f / 8, g);
    packed_nibbles(p + 16, g->code);
}

SHOAL_INLINE void unpack_p6_a(const uint8_t *p, size_t stride, group_block *g)
{
    (void)stride;
    const __m256i pairs[2] = {load32(p + 144), load32(p + 176)};
    affine_words(eight_words(p), 1.0f / 2, g);
    packed_nibbles(p + 16, g->code);
    add_pairs(pairs, g->code);
}

#endif
