/* dot_q8.c - block-quantised weights times 8-bit activations, in portable C.
 *
 * 32 weights are unpacked once to int8 codes and used for all rows of the tile, so
 *   <w, x> = sum over blocks of  d d_x (sum over halves of scale * sum(code * q))
 *                              - m d_x (sum over halves of min * sum(q))
 * in the letters of blocks.h. The inner sums are exact.
 */
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/matmul.h"

enum { HALF = SHOAL_QBLOCK / 2 };

static int32_t dot_half(const int8_t *a, const int8_t *b)
{
    int32_t sum = 0;
    for (size_t j = 0; j < HALF; j++) {
        sum += a[j] * b[j];
    }
    return sum;
}

static int32_t sum_half(const int8_t *q)
{
    int32_t sum = 0;
    for (size_t j = 0; j < HALF; j++) {
        sum += q[j];
    }
    return sum;
}

/* d_x times the sum of min * q; ds as in table.h. */
static float min_part(const shoal_wblock *w, const int8_t *q, const float ds[2])
{
    if (w->min[0] == w->min[1]) return (float)w->min[0] * ds[1];
    int32_t sum = w->min[0] * sum_half(q) + w->min[1] * sum_half(q + HALF);
    return ds[0] * (float)sum;
}

/* acc[t] += the block's part of the product, for the n rows of one activation block. */
static void add_block(const shoal_wblock *w, const int8_t *block, size_t n, float *acc)
{
    const int8_t *scales = block + n * SHOAL_QBLOCK;
    for (size_t t = 0; t < n; t++) {
        const int8_t *q = block + t * SHOAL_QBLOCK;
        float ds[2];
        memcpy(ds, scales + t * sizeof ds, sizeof ds);
        int32_t dot = w->scale[0] * dot_half(w->code, q);
        dot += w->scale[1] * dot_half(w->code + HALF, q + HALF);
        acc[t] += w->d * ds[0] * (float)dot;
        acc[t] -= w->m * min_part(w, q, ds);
    }
}

/* A type's `subs` unpackable parts a block, and its bytes. */
static void dot_rows(shoal_unpack_fn *unpack, size_t subs, size_t block_bytes, const void *w,
                     size_t row_bytes, size_t rows, size_t blocks, const void *tile, size_t n,
                     float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *p = (const uint8_t *)w + r * row_bytes;
        const int8_t *x = tile;
        float acc[SHOAL_ACT_TILE] = {0};
        for (size_t b = 0; b < blocks; b++, x += n * SHOAL_ACT_BLOCK_BYTES) {
            shoal_wblock wb;
            unpack(p + b / subs * block_bytes, b % subs, &wb);
            add_block(&wb, x, n, acc);
        }
        for (size_t t = 0; t < n; t++) {
            y[t * ldy + r] = acc[t];
        }
    }
}

/* The same over groups of rows of a packed type. */
static void dot_packed(shoal_unpack_fn *unpack, size_t block_bytes, const void *w, size_t row_bytes,
                       size_t rows, size_t blocks, const void *tile, size_t n, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *p = (const uint8_t *)w + r / SHOAL_LANES * SHOAL_LANES * row_bytes;
        const int8_t *x = tile;
        float acc[SHOAL_ACT_TILE] = {0};
        for (size_t b = 0; b < blocks; b++, x += n * SHOAL_ACT_BLOCK_BYTES) {
            shoal_wblock wb;
            unpack(p + b * SHOAL_LANES * block_bytes, r % SHOAL_LANES, &wb);
            add_block(&wb, x, n, acc);
        }
        for (size_t t = 0; t < n; t++) {
            y[t * ldy + r] = acc[t];
        }
    }
}

#define DOT(lower, UPPER, subs)                                                                 \
    static void dot_##lower(const void *w, size_t row_bytes, size_t rows, size_t blocks,        \
                            const void *tile, size_t n, float *y, size_t ldy)                   \
    {                                                                                           \
        dot_rows(shoal_unpack_##lower, subs, SHOAL_##UPPER##_BYTES, w, row_bytes, rows, blocks, \
                 tile, n, y, ldy);                                                              \
    }

#define DOT_PACKED(lower, UPPER)                                                                  \
    static void dot_##lower(const void *w, size_t row_bytes, size_t rows, size_t blocks,          \
                            const void *tile, size_t n, float *y, size_t ldy)                     \
    {                                                                                             \
        dot_packed(shoal_unpack_##lower, SHOAL_##UPPER##_BYTES, w, row_bytes, rows, blocks, tile, \
                   n, y, ldy);                                                                    \
    }

DOT_PACKED(p4_0, Q4_0)
DOT_PACKED(p4_1, Q4_1)
DOT_PACKED(p8_0, Q8_0)
DOT_PACKED(p4_a, Q4_A)
DOT_PACKED(p6_a, Q6_A)
DOT(q4_0, Q4_0, 1)
DOT(q4_1, Q4_1, 1)
DOT(q5_0, Q5_0, 1)
DOT(q5_1, Q5_1, 1)
DOT(q8_0, Q8_0, 1)
DOT(iq4_nl, IQ4_NL, 1)
DOT(q4_a, Q4_A, 1)
DOT(q6_a, Q6_A, 1)
DOT(q2_k, Q2_K, 8)
DOT(q3_k, Q3_K, 8)
DOT(q4_k, Q4_K, 8)
DOT(q5_k, Q5_K, 8)
DOT(q6_k, Q6_K, 8)

void shoal_dot_init_c(shoal_table *t)
{
    t->dot_q8[SHOAL_TYPE_Q4_0] = dot_q4_0;
    t->dot_q8[SHOAL_TYPE_Q4_1] = dot_q4_1;
    t->dot_q8[SHOAL_TYPE_Q5_0] = dot_q5_0;
    t->dot_q8[SHOAL_TYPE_Q5_1] = dot_q5_1;
    t->dot_q8[SHOAL_TYPE_Q8_0] = dot_q8_0;
    t->dot_q8[SHOAL_TYPE_IQ4_NL] = dot_iq4_nl;
    t->dot_q8[SHOAL_TYPE_Q2_K] = dot_q2_k;
    t->dot_q8[SHOAL_TYPE_Q3_K] = dot_q3_k;
    t->dot_q8[SHOAL_TYPE_Q4_K] = dot_q4_k;
    t->dot_q8[SHOAL_TYPE_Q5_K] = dot_q5_k;
    t->dot_q8[SHOAL_TYPE_Q6_K] = dot_q6_k;
    t->dot_q8[SHOAL_TYPE_P4_0] = dot_p4_0;
    t->dot_q8[SHOAL_TYPE_P4_1] = dot_p4_1;
    t->dot_q8[SHOAL_TYPE_P8_0] = dot_p8_0;
    t->dot_q8[SHOAL_TYPE_Q4_A] = dot_q4_a;
    t->dot_q8[SHOAL_TYPE_Q6_A] = dot_q6_a;
    t->dot_q8[SHOAL_TYPE_P4_A] = dot_p4_a;
    t->dot_q8[SHOAL_TYPE_P6_A] = dot_p6_a;
}
