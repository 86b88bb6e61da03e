/* dot_avx2.h - what the AVX2 products of all formats share: eight rows of W in the lanes.
 *
 * Lane r of every vector belongs to row r of a group of eight. A block of the group is transposed
 * once, 4 weights a lane and vector (code[j] holds weights 4j .. 4j + 3), and then meets all rows
 * of the activation tile: 4 activations are broadcast, vpmaddubsw multiplies, and one f32
 * accumulator an output collects the blocks in order. No sum ever crosses lanes, so there is one
 * order of operations for every shape, hence one result.
 *
 * A format is an unpacker and one of the add_... functions:
 *   add_q4     codes 0..15: 2 * 15 * 127 = 3810 a 16-bit lane and step; 8 steps are
 *              30480 <= 32767, so one widening add a block suffices
 *   add_q5     codes 0..31: 7874 a step, widened after 4 steps (31496)
 *   add_q6     codes 0..63: 16002 a step, widened after 2 steps (32004)
 *   add_q8     codes -128..127: |code| unsigned, the sign moved to x; 32512, widened each step
 *   add_half   codes -32..32 with an integer scale for each 16: 8128 a step, 4 steps (32512)
 *              meet their scale in the widening multiply
 *   add_half_min   codes 0..3 with integer scale and minimum for each 16
 *
 * Needs -mavx2 -mfma -mf16c. Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_DOT_AVX2_H
#define SHOAL_KERNELS_X86_DOT_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/table.h"
#include "kernels/simd.h"

enum { LANES = 8 };

/* 32 weights of eight rows: codes transposed, scale and minimum a row. */
typedef struct group_block {
    __m256i code[8];
    __m256 d, m;     /* w = d * code + m; or by halves of 16 weights, h = 0, 1: */
    __m256i half[2]; /* w = d * half[h] * code - m * low[h]; 16 bit, twice in a lane */
    __m256i low[2];  /* unsigned bytes, four times in a lane */
} group_block;

SHOAL_INLINE __m256i two_rows(const uint8_t *a, const uint8_t *b)
{
    __m128i lo = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i hi = _mm_loadu_si128((const __m128i *)(const void *)b);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
}

/* 16 bytes at p of eight rows, `stride` apart: out[j] lane r = dword j of row r. */
SHOAL_INLINE void transpose16(const uint8_t *p, size_t stride, __m256i out[4])
{
    const uint8_t *q = p + 4 * stride;
    __m256i a0 = two_rows(p, q);
    __m256i a1 = two_rows(p + stride, q + stride);
    __m256i a2 = two_rows(p + 2 * stride, q + 2 * stride);
    __m256i a3 = two_rows(p + 3 * stride, q + 3 * stride);
    __m256i t0 = _mm256_unpacklo_epi32(a0, a1);
    __m256i t1 = _mm256_unpackhi_epi32(a0, a1);
    __m256i t2 = _mm256_unpacklo_epi32(a2, a3);
    __m256i t3 = _mm256_unpackhi_epi32(a2, a3);
    out[0] = _mm256_unpacklo_epi64(t0, t2);
    out[1] = _mm256_unpackhi_epi64(t0, t2);
    out[2] = _mm256_unpacklo_epi64(t1, t3);
    out[3] = _mm256_unpackhi_epi64(t1, t3);
}

SHOAL_INLINE int load_i32(const void *p)
{
    int v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The first 4 bytes of eight rows, a row a lane. */
SHOAL_INLINE __m256i heads(const uint8_t *p, size_t stride)
{
    const uint8_t *q = p + 4 * stride;
    __m128i lo = _mm_cvtsi32_si128(load_i32(p));
    __m128i hi = _mm_cvtsi32_si128(load_i32(q));
    lo = _mm_insert_epi32(lo, load_i32(p + stride), 1);
    hi = _mm_insert_epi32(hi, load_i32(q + stride), 1);
    lo = _mm_insert_epi32(lo, load_i32(p + 2 * stride), 2);
    hi = _mm_insert_epi32(hi, load_i32(q + 2 * stride), 2);
    lo = _mm_insert_epi32(lo, load_i32(p + 3 * stride), 3);
    hi = _mm_insert_epi32(hi, load_i32(q + 3 * stride), 3);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
}

/* Lower 16 bits of every lane to the lower half, upper 16 bits to the upper half. */
SHOAL_INLINE __m256i split_halves(__m256i v)
{
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0,
                                           1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, order), 0xd8);
}

/* acc + the block's part for one activation row: q [32], ds [2]. Codes 0..15. */
SHOAL_INLINE __m256 add_q4(const group_block *g, const int8_t *q, const int8_t *ds, __m256 acc)
{
    __m256i even = _mm256_maddubs_epi16(g->code[0], _mm256_set1_epi32(load_i32(q)));
    __m256i odd = _mm256_maddubs_epi16(g->code[1], _mm256_set1_epi32(load_i32(q + 4)));
    for (int j = 2; j < 8; j += 2) {
        __m256i x0 = _mm256_set1_epi32(load_i32(q + 4 * j));
        __m256i x1 = _mm256_set1_epi32(load_i32(q + 4 * j + 4));
        even = _mm256_add_epi16(even, _mm256_maddubs_epi16(g->code[j], x0));
        odd = _mm256_add_epi16(odd, _mm256_maddubs_epi16(g->code[j + 1], x1));
    }
    __m256i sum = _mm256_madd_epi16(_mm256_add_epi16(even, odd), _mm256_set1_epi16(1));
    __m256 scale = _mm256_mul_ps(g->d, _mm256_castsi256_ps(_mm256_set1_epi32(load_i32(ds))));
    __m256 s = _mm256_castsi256_ps(_mm256_set1_epi32(load_i32(ds + 4)));
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, acc);
    return _mm256_fmadd_ps(g->m, s, acc);
}

/* The same, codes -128..127 and no minimum. */
SHOAL_INLINE __m256 add_q8(const group_block *g, const int8_t *q, const int8_t *ds, __m256 acc)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    for (int j = 0; j < 8; j++) {
        __m256i x = _mm256_set1_epi32(load_i32(q + 4 * j));
        __m256i product =
            _mm256_maddubs_epi16(_mm256_abs_epi8(g->code[j]), _mm256_sign_epi8(x, g->code[j]));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(product, one));
    }
    __m256 scale = _mm256_mul_ps(g->d, _mm256_castsi256_ps(_mm256_set1_epi32(load_i32(ds))));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, acc);
}

/* Four activations in every lane. */
SHOAL_INLINE __m256i four(const int8_t *q)
{
    return _mm256_set1_epi32(load_i32(q));
}

/* The scale or sum of an activation block in every lane. */
SHOAL_INLINE __m256 scalar(const int8_t *p)
{
    return _mm256_castsi256_ps(_mm256_set1_epi32(load_i32(p)));
}

/* Sum of codes 4 j .. 4 j + 15 times activations, unsigned codes of at most 31. */
SHOAL_INLINE __m256i half_sum(const __m256i *code, const int8_t *q)
{
    __m256i sum = _mm256_maddubs_epi16(code[0], four(q));
    for (int j = 1; j < 4; j++) {
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(code[j], four(q + 4 * j)));
    }
    return sum;
}

/* The same with signed codes of magnitude at most 32. */
SHOAL_INLINE __m256i signed_half_sum(const __m256i *code, const int8_t *q)
{
    __m256i sum = _mm256_setzero_si256();
    for (int j = 0; j < 4; j++) {
        __m256i x = _mm256_sign_epi8(four(q + 4 * j), code[j]);
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_abs_epi8(code[j]), x));
    }
    return sum;
}

SHOAL_INLINE __m256 add_q5(const group_block *g, const int8_t *q, const int8_t *ds, __m256 acc)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i sum = _mm256_madd_epi16(half_sum(g->code, q), one);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(half_sum(g->code + 4, q + 16), one));
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(g->d, scalar(ds)), acc);
    return _mm256_fmadd_ps(g->m, scalar(ds + 4), acc);
}

SHOAL_INLINE __m256 add_q6(const group_block *g, const int8_t *q, const int8_t *ds, __m256 acc)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    SHOAL_UNROLL
    for (int j = 0; j < 8; j += 2) {
        __m256i pair = _mm256_maddubs_epi16(g->code[j], four(q + 4 * j));
        pair = _mm256_add_epi16(pair, _mm256_maddubs_epi16(g->code[j + 1], four(q + 4 * j + 4)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pair, one));
    }
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(g->d, scalar(ds)), acc);
    return _mm256_fmadd_ps(g->m, scalar(ds + 4), acc);
}

/* |sum| <= 2 * 128 * 2 * 32512 < 2^24: exact as f32. */
SHOAL_INLINE __m256 add_half(const group_block *g, const int8_t *q, const int8_t *ds, __m256 acc)
{
    __m256i sum = _mm256_madd_epi16(signed_half_sum(g->code, q), g->half[0]);
    __m256i hi = _mm256_madd_epi16(signed_half_sum(g->code + 4, q + 16), g->half[1]);
    __m256 dot = _mm256_cvtepi32_ps(_mm256_add_epi32(sum, hi));
    return _mm256_fmadd_ps(dot, _mm256_mul_ps(g->d, scalar(ds)), acc);
}

/* Minimums are at most 15, so their products with activations add like codes of Q4. */
SHOAL_INLINE __m256 add_half_min(const group_block *g, const int8_t *q, const int8_t *ds,
                                 __m256 acc)
{
    __m256i sum = _mm256_madd_epi16(half_sum(g->code, q), g->half[0]);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(half_sum(g->code + 4, q + 16), g->half[1]));
    __m256i low = _mm256_setzero_si256();
    for (int j = 0; j < 8; j++) {
        low = _mm256_add_epi16(low, _mm256_maddubs_epi16(g->low[j / 4], four(q + 4 * j)));
    }
    low = _mm256_madd_epi16(low, _mm256_set1_epi16(1));
    __m256 d = scalar(ds);
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(g->d, d), acc);
    return _mm256_fnmadd_ps(_mm256_cvtepi32_ps(low), _mm256_mul_ps(g->m, d), acc);
}

/* Takes apart one block of eight rows into `subs` group blocks. */
typedef void unpack_fn(const uint8_t *p, size_t stride, group_block *g);
typedef __m256 add_fn(const group_block *g, const int8_t *q, const int8_t *ds, __m256 acc);

/* A format; always a constant where it is used, so that everything below is inlined. */
typedef struct group_type {
    unpack_fn *unpack;
    add_fn *add;
    size_t subs, bytes; /* of a block: parts of 32 weights, size */
    bool packed;        /* eight rows interleaved: their blocks lie together */
} group_type;

/* Where the rows of a group lie. A group of fewer than eight rows is copied block by block, the
 * last row repeated, so that nothing is read past W. */
typedef struct group_rows {
    const uint8_t *p;
    size_t stride;
    size_t rows;
} group_rows;

static const uint8_t *copy_group(const group_rows *g, size_t at, size_t block_bytes, uint8_t *to)
{
    for (size_t r = 0; r < LANES; r++) {
        size_t from = r < g->rows ? r : g->rows - 1;
        memcpy(to + r * block_bytes, g->p + from * g->stride + at, block_bytes);
    }
    return to;
}

/* Brings in the part of a later group that lies as far into it as this block into this one. */
SHOAL_INLINE void prefetch_group(const uint8_t *p, size_t ahead, size_t at, size_t block_bytes)
{
    uintptr_t next = (uintptr_t)p + ahead + LANES * at;
    for (size_t i = 0; i < LANES * block_bytes; i += 64) {
        _mm_prefetch((const char *)(next + i), _MM_HINT_T0);
    }
}

/* Takes apart the block at `at` of the group, straight from W where all eight rows are there, and
 * fetches the same block of the group that lies `ahead` groups behind. */
SHOAL_INLINE void take_block(const group_type *type, const group_rows *rows, size_t ahead,
                             size_t at, group_block *g)
{
    uint8_t copy[LANES * SHOAL_Q6_K_BYTES + 2];
    if (type->packed || rows->rows >= LANES) {
        prefetch_group(rows->p, ahead * LANES * rows->stride, at, type->bytes);
        type->unpack(rows->p + (type->packed ? LANES * at : at), rows->stride, g);
    } else {
        type->unpack(copy_group(rows, at, type->bytes, copy), type->bytes, g);
    }
}

SHOAL_INLINE void add_rows(const group_type *type, const group_block *g, const int8_t *x, size_t n,
                           __m256 *acc)
{
    const int8_t *ds = x + n * SHOAL_QBLOCK;
    for (size_t t = 0; t < n; t++) {
        acc[t] = type->add(g, x + t * SHOAL_QBLOCK, ds + t * 8, acc[t]);
    }
}

/* acc [n] += all blocks of the group. n is a constant where registers should hold acc; a block of
 * one part stays in registers too, which an array would not. */
SHOAL_INLINE void group_dot(const group_type *type, const group_rows *rows, size_t blocks,
                            const int8_t *x, size_t n, __m256 *acc)
{
    for (size_t b = 0; b < blocks; b += type->subs) {
        size_t at = b / type->subs * type->bytes;
        if (type->subs == 1) {
            group_block g;
            take_block(type, rows, 1, at, &g);
            add_rows(type, &g, x, n, acc);
            x += n * SHOAL_ACT_BLOCK_BYTES;
            continue;
        }
        group_block g[8];
        take_block(type, rows, 1, at, g);
        for (size_t i = 0; i < type->subs; i++, x += n * SHOAL_ACT_BLOCK_BYTES) {
            add_rows(type, &g[i], x, n, acc);
        }
    }
}

static void store_lanes(const __m256 *acc, size_t n, size_t rows, float *y, size_t ldy)
{
    for (size_t t = 0; t < n; t++) {
        if (rows >= LANES) {
            _mm256_storeu_ps(y + t * ldy, acc[t]);
        } else {
            float lanes[LANES];
            _mm256_storeu_ps(lanes, acc[t]);
            memcpy(y + t * ldy, lanes, rows * sizeof *y);
        }
    }
}

SHOAL_INLINE void group_any(const group_type *type, const group_rows *rows, size_t blocks,
                            const int8_t *x, size_t n, float *y, size_t ldy)
{
    __m256 acc[SHOAL_ACT_TILE];
    for (size_t t = 0; t < n; t++) {
        acc[t] = _mm256_setzero_ps();
    }
    group_dot(type, rows, blocks, x, n, acc);
    store_lanes(acc, n, rows->rows, y, ldy);
}

/* Groups of eight rows; the last one may overlap the one before, computing the same values again.
 */
SHOAL_INLINE void dot_rows(const group_type *type, const void *w, size_t row_bytes, size_t rows,
                           size_t blocks, const void *tile, size_t n, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r += LANES) {
        if (rows >= LANES && rows - r < LANES) {
            r = rows - LANES;
        }
        group_rows g = {(const uint8_t *)w + r * row_bytes, row_bytes, rows - r};
        switch (n) {
        case 1: group_any(type, &g, blocks, tile, 1, y + r, ldy); break;
        case 2: group_any(type, &g, blocks, tile, 2, y + r, ldy); break;
        default: group_any(type, &g, blocks, tile, n, y + r, ldy); break;
        }
    }
}

/* The slot of a format; packed ones always have whole groups of rows. */
#define SHOAL_DOT_AVX2(lower, UPPER, adder, parts, group)                                     \
    static void dot_##lower(const void *w, size_t row_bytes, size_t rows, size_t blocks,      \
                            const void *tile, size_t n, float *y, size_t ldy)                 \
    {                                                                                         \
        const group_type type = {unpack_##lower, adder, parts, SHOAL_##UPPER##_BYTES, group}; \
        dot_rows(&type, w, row_bytes, rows, blocks, tile, n, y, ldy);                         \
    }

#endif
