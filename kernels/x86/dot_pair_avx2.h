/* dot_pair_avx2.h - many rows of activations: two groups of eight weight rows at once.
 *
 * With one group, two thirds of the loads bring activations: 8 broadcasts for 8 products. Here half
 * a block of two groups is in registers, 2 x 4 vectors of codes, so that a broadcast serves two
 * products; the other half follows in a second pass over the rows, with the first one's sums kept
 * in L1. Integer sums are exact and each output's f32 operations are those of dot_avx2.h in the
 * same order, so results have the same bits.
 *
 * For formats whose 16-bit sums hold half a block: codes to 15 (and the whole block), codes to 31
 * (`wide`: sums are widened each half). Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_DOT_PAIR_AVX2_H
#define SHOAL_KERNELS_X86_DOT_PAIR_AVX2_H

#include "kernels/x86/dot_avx2.h"

enum {
    PAIR_ROWS = 2 * LANES,
    PAIR_MIN_PACKED = 6, /* rows of activations from which the second pass pays; measured */
    PAIR_MIN_PLAIN = 16
};

/* What a tile of n activation rows has come to: sums of half a block, and outputs. */
typedef struct pair_tile {
    __m256i half[2 * SHOAL_ACT_TILE];
    __m256 acc[2 * SHOAL_ACT_TILE];
} pair_tile;

/* Codes of half a block times its 16 activations, as 16-bit sums or, when wide, 32-bit ones. */
SHOAL_INLINE __m256i pair_half(const __m256i *code, const __m256i x[4], bool wide)
{
    __m256i even = _mm256_maddubs_epi16(code[0], x[0]);
    __m256i odd = _mm256_maddubs_epi16(code[1], x[1]);
    even = _mm256_add_epi16(even, _mm256_maddubs_epi16(code[2], x[2]));
    odd = _mm256_add_epi16(odd, _mm256_maddubs_epi16(code[3], x[3]));
    __m256i sum = _mm256_add_epi16(even, odd);
    return wide ? _mm256_madd_epi16(sum, _mm256_set1_epi16(1)) : sum;
}

SHOAL_INLINE __m256 pair_join(__m256i a, __m256i b, bool wide)
{
    __m256i sum = wide ? _mm256_add_epi32(a, b)
                       : _mm256_madd_epi16(_mm256_add_epi16(a, b), _mm256_set1_epi16(1));
    return _mm256_cvtepi32_ps(sum);
}

/* First halves: tile->half = sums of 16 weights. */
SHOAL_INLINE void pair_first(const group_block *a, const group_block *b, const int8_t *x, size_t n,
                             bool wide, pair_tile *tile)
{
    for (size_t t = 0; t < n; t++, x += SHOAL_QBLOCK) {
        const __m256i v[4] = {four(x), four(x + 4), four(x + 8), four(x + 12)};
        tile->half[2 * t] = pair_half(a->code, v, wide);
        tile->half[2 * t + 1] = pair_half(b->code, v, wide);
    }
}

/* Second halves, and the block's part of the outputs. */
SHOAL_INLINE void pair_second(const group_block *a, const group_block *b, const int8_t *x, size_t n,
                              bool wide, pair_tile *tile)
{
    const int8_t *ds = x + n * SHOAL_QBLOCK;
    for (size_t t = 0; t < n; t++, x += SHOAL_QBLOCK, ds += 8) {
        const __m256i v[4] = {four(x + 16), four(x + 20), four(x + 24), four(x + 28)};
        __m256 dot_a = pair_join(tile->half[2 * t], pair_half(a->code + 4, v, wide), wide);
        __m256 dot_b = pair_join(tile->half[2 * t + 1], pair_half(b->code + 4, v, wide), wide);
        __m256 d = scalar(ds), s = scalar(ds + 4);
        __m256 acc_a = _mm256_fmadd_ps(dot_a, _mm256_mul_ps(a->d, d), tile->acc[2 * t]);
        __m256 acc_b = _mm256_fmadd_ps(dot_b, _mm256_mul_ps(b->d, d), tile->acc[2 * t + 1]);
        tile->acc[2 * t] = _mm256_fmadd_ps(a->m, s, acc_a);
        tile->acc[2 * t + 1] = _mm256_fmadd_ps(b->m, s, acc_b);
    }
}

/* Rows r .. r + 15 of W. */
SHOAL_INLINE void pair_dot(const group_type *type, bool wide, const uint8_t *w, size_t row_bytes,
                           size_t blocks, const int8_t *x, size_t n, pair_tile *tile)
{
    const group_rows rows[2] = {{w, row_bytes, LANES}, {w + LANES * row_bytes, row_bytes, LANES}};
    group_block a[8], b[8];
    for (size_t i = 0; i < 2 * n; i++) {
        tile->acc[i] = _mm256_setzero_ps();
    }
    for (size_t block = 0; block < blocks; block += type->subs) {
        size_t at = block / type->subs * type->bytes;
        take_block(type, &rows[0], 2, at, a);
        take_block(type, &rows[1], 2, at, b);
        for (size_t i = 0; i < type->subs; i++, x += n * SHOAL_ACT_BLOCK_BYTES) {
            pair_first(&a[i], &b[i], x, n, wide, tile);
            pair_second(&a[i], &b[i], x, n, wide, tile);
        }
    }
}

SHOAL_INLINE void pair_rows(const group_type *type, bool wide, const uint8_t *w, size_t row_bytes,
                            size_t rows, size_t blocks, const int8_t *x, size_t n, float *y,
                            size_t ldy)
{
    pair_tile tile;
    for (size_t r = 0; r < rows; r += PAIR_ROWS) {
        pair_dot(type, wide, w + r * row_bytes, row_bytes, blocks, x, n, &tile);
        for (size_t t = 0; t < n; t++) {
            _mm256_storeu_ps(y + t * ldy + r, tile.acc[2 * t]);
            _mm256_storeu_ps(y + t * ldy + r + LANES, tile.acc[2 * t + 1]);
        }
    }
}

/* As SHOAL_DOT_AVX2; whole pairs of groups go here when n is large enough to pay for it. Two
 * functions, so that neither loop costs the other registers. */
#define SHOAL_DOT_PAIR_AVX2(lower, UPPER, adder, wide, parts, group)                              \
    SHOAL_NOINLINE static void pairs_##lower(const uint8_t *w, size_t row_bytes, size_t rows,     \
                                             size_t blocks, const int8_t *x, size_t n, float *y,  \
                                             size_t ldy)                                          \
    {                                                                                             \
        const group_type type = {unpack_##lower, adder, parts, SHOAL_##UPPER##_BYTES, group};     \
        pair_rows(&type, wide, w, row_bytes, rows, blocks, x, n, y, ldy);                         \
    }                                                                                             \
    SHOAL_NOINLINE static void groups_##lower(const uint8_t *w, size_t row_bytes, size_t rows,    \
                                              size_t blocks, const int8_t *x, size_t n, float *y, \
                                              size_t ldy)                                         \
    {                                                                                             \
        const group_type type = {unpack_##lower, adder, parts, SHOAL_##UPPER##_BYTES, group};     \
        dot_rows(&type, w, row_bytes, rows, blocks, x, n, y, ldy);                                \
    }                                                                                             \
    static void dot_##lower(const void *w, size_t row_bytes, size_t rows, size_t blocks,          \
                            const void *tile, size_t n, float *y, size_t ldy)                     \
    {                                                                                             \
        size_t least = (group) ? PAIR_MIN_PACKED : PAIR_MIN_PLAIN;                                \
        size_t pairs = n < least ? 0 : rows / PAIR_ROWS * PAIR_ROWS;                              \
        if (pairs > 0) pairs_##lower(w, row_bytes, pairs, blocks, tile, n, y, ldy);               \
        groups_##lower((const uint8_t *)w + pairs * row_bytes, row_bytes, rows - pairs, blocks,   \
                       tile, n, y + pairs, ldy);                                                  \
    }

#endif
