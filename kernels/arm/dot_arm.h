/* dot_arm.h - what the ARM products of all formats and levels share.
 *
 * Eight rows of W are taken apart once, block by block (unpack_arm.h), and meet all rows of the
 * activation tile. The sum of a block is an exact integer, whichever instructions make it; then
 *   acc = fma(float(sum), d_w * d_x, acc);   acc = fma(m_w, d_x * sum(q_x), acc)
 * per output and block, in order. So every shape and every level gives the same bits.
 *
 * A level is an order of codes with two functions: one adds a block to the accumulators of n rows,
 * one stores them. A format is an unpacker and a few facts. All are constants where they are used,
 * so that everything here is inlined into one function a format, level and small number of rows.
 *
 * Layer: kernels/arm, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_ARM_DOT_ARM_H
#define SHOAL_KERNELS_ARM_DOT_ARM_H

#include "kernels/arm/unpack_arm.h"
#include "kernels/arm/unpack_k_arm.h"
#include "kernels/matmul.h"

typedef void unpack_fn(code_order order, const uint8_t *p, size_t stride, group_block *g);

typedef struct group_type {
    unpack_fn *unpack;
    size_t subs, bytes; /* of a block: parts of 32 weights, size */
    bool packed;        /* eight rows interleaved: their blocks lie together */
    size_t run;         /* steps of four codes a row that 16 bits hold: dot_neon.c */
    bool minimum;       /* m counts */
    bool halves;        /* an integer scale for each 16 weights */
    bool low;           /* m times an integer minimum for each 16 weights */
} group_type;

/* acc [n] += the block's part for the n rows at x (q [n][32], ds [n][2]); two vectors a row. */
typedef void add_rows_fn(const group_type *type, const group_block *g, const int8_t *x, size_t n,
                         float32x4_t *acc);

/* y [n] = the first `rows` of eight values each. */
typedef void store_rows_fn(const float32x4_t *acc, size_t n, size_t rows, float *y, size_t ldy);

typedef struct dot_level {
    code_order order;
    add_rows_fn *add_rows;
    store_rows_fn *store_rows;
    shoal_dot_q8_fn *const *one_row; /* another level's slots, for n = 1; or NULL */
} dot_level;

/* Where the rows of a group lie. A group of fewer than eight rows is copied block by block, the
 * last row repeated, so that nothing is read past W. */
typedef struct group_rows {
    const uint8_t *p;
    size_t stride;
    size_t rows;
} group_rows;

static const uint8_t *copy_group(const group_rows *g, size_t at, size_t block_bytes, uint8_t *to)
{
    for (size_t r = 0; r < SHOAL_LANES; r++) {
        size_t from = r < g->rows ? r : g->rows - 1;
        memcpy(to + r * block_bytes, g->p + from * g->stride + at, block_bytes);
    }
    return to;
}

/* Takes apart the block at `at` of the group, straight from W where all eight rows are there, and
 * asks for the part of the next group that lies as far into it. */
SHOAL_INLINE void take_block(const dot_level *level, const group_type *type, const group_rows *rows,
                             size_t at, group_block *g)
{
    if (rows->rows >= SHOAL_LANES) {
        shoal_prefetch(rows->p, SHOAL_LANES * (rows->stride + at), SHOAL_LANES * type->bytes);
        const uint8_t *p = rows->p + (type->packed ? SHOAL_LANES * at : at);
        type->unpack(level->order, p, rows->stride, g);
    } else {
        uint8_t copy[SHOAL_LANES * SHOAL_Q6_K_BYTES];
        type->unpack(level->order, copy_group(rows, at, type->bytes, copy), type->bytes, g);
    }
}

/* acc [n] += all blocks of the group. n is a constant where registers should hold acc; a block of
 * one part stays in registers too, which an array would not. */
SHOAL_INLINE void group_dot(const dot_level *level, const group_type *type, const group_rows *rows,
                            size_t blocks, const int8_t *x, size_t n, float32x4_t *acc)
{
    for (size_t b = 0; b < blocks; b += type->subs) {
        size_t at = b / type->subs * type->bytes;
        if (type->subs == 1) {
            group_block g;
            take_block(level, type, rows, at, &g);
            level->add_rows(type, &g, x, n, acc);
            x += n * SHOAL_ACT_BLOCK_BYTES;
            continue;
        }
        group_block g[SUBS];
        take_block(level, type, rows, at, g);
        for (size_t i = 0; i < type->subs; i++, x += n * SHOAL_ACT_BLOCK_BYTES) {
            level->add_rows(type, &g[i], x, n, acc);
        }
    }
}

SHOAL_INLINE void group_any(const dot_level *level, const group_type *type, const group_rows *rows,
                            size_t blocks, const int8_t *x, size_t n, float *y, size_t ldy)
{
    float32x4_t acc[2 * SHOAL_ACT_TILE];
    for (size_t t = 0; t < (n + 1) / 2 * 4; t++) {
        acc[t] = vdupq_n_f32(0.0f);
    }
    group_dot(level, type, rows, blocks, x, n, acc);
    level->store_rows(acc, n, rows->rows, y, ldy);
}

/* Groups of eight rows; the last one may overlap the one before, computing the same values again.
 */
SHOAL_INLINE void dot_groups(const dot_level *level, const group_type *type, const void *w,
                             size_t row_bytes, size_t rows, size_t blocks, const void *tile,
                             size_t n, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r += SHOAL_LANES) {
        if (rows >= SHOAL_LANES && rows - r < SHOAL_LANES) {
            r = rows - SHOAL_LANES;
        }
        group_rows g = {(const uint8_t *)w + r * row_bytes, row_bytes, rows - r};
        if (n == 1 && level->one_row == NULL) {
            group_any(level, type, &g, blocks, tile, 1, y + r, ldy);
        } else if (n == 2) {
            group_any(level, type, &g, blocks, tile, 2, y + r, ldy);
        } else {
            group_any(level, type, &g, blocks, tile, n, y + r, ldy);
        }
    }
}

/* The slot of a format at a level; after the block's bytes the other facts of group_type. */
#define SHOAL_DOT_ARM(level, lower, UPPER, size, ...)                                         \
    static void dot_##lower(const void *w, size_t row_bytes, size_t rows, size_t blocks,      \
                            const void *tile, size_t n, float *y, size_t ldy)                 \
    {                                                                                         \
        const group_type type = {                                                             \
            .unpack = unpack_##lower, .bytes = SHOAL_##size##_BYTES, __VA_ARGS__};            \
        if ((level).one_row != NULL && n == 1) {                                              \
            (level).one_row[SHOAL_TYPE_##UPPER](w, row_bytes, rows, blocks, tile, n, y, ldy); \
            return;                                                                           \
        }                                                                                     \
        dot_groups(&(level), &type, w, row_bytes, rows, blocks, tile, n, y, ldy);             \
    }

/* The slots of all formats at a level. */
#define SHOAL_DOT_ARM_ALL(level)                                                                 \
    SHOAL_DOT_ARM(level, q4_0, Q4_0, Q4_0, .subs = 1, .minimum = true, .run = 8)                 \
    SHOAL_DOT_ARM(level, q4_1, Q4_1, Q4_1, .subs = 1, .minimum = true, .run = 8)                 \
    SHOAL_DOT_ARM(level, q5_0, Q5_0, Q5_0, .subs = 1, .minimum = true, .run = 8)                 \
    SHOAL_DOT_ARM(level, q5_1, Q5_1, Q5_1, .subs = 1, .minimum = true, .run = 8)                 \
    SHOAL_DOT_ARM(level, q8_0, Q8_0, Q8_0, .subs = 1, .run = 2)                                  \
    SHOAL_DOT_ARM(level, iq4_nl, IQ4_NL, IQ4_NL, .subs = 1, .run = 2)                            \
    SHOAL_DOT_ARM(level, p4_0, P4_0, Q4_0, .subs = 1, .minimum = true, .packed = true, .run = 8) \
    SHOAL_DOT_ARM(level, p4_1, P4_1, Q4_1, .subs = 1, .minimum = true, .packed = true, .run = 8) \
    SHOAL_DOT_ARM(level, p8_0, P8_0, Q8_0, .subs = 1, .packed = true, .run = 2)                  \
    SHOAL_DOT_ARM(level, q4_a, Q4_A, Q4_A, .subs = 1, .minimum = true, .run = 8)                 \
    SHOAL_DOT_ARM(level, q6_a, Q6_A, Q6_A, .subs = 1, .minimum = true, .run = 4)                 \
    SHOAL_DOT_ARM(level, p4_a, P4_A, Q4_A, .subs = 1, .minimum = true, .packed = true, .run = 8) \
    SHOAL_DOT_ARM(level, p6_a, P6_A, Q6_A, .subs = 1, .minimum = true, .packed = true, .run = 4) \
    SHOAL_DOT_ARM(level, q2_k, Q2_K, Q2_K, .subs = SUBS, .halves = true, .low = true, .run = 8)  \
    SHOAL_DOT_ARM(level, q3_k, Q3_K, Q3_K, .subs = SUBS, .halves = true, .run = 8)               \
    SHOAL_DOT_ARM(level, q4_k, Q4_K, Q4_K, .subs = SUBS, .minimum = true, .run = 8)              \
    SHOAL_DOT_ARM(level, q5_k, Q5_K, Q5_K, .subs = SUBS, .minimum = true, .run = 8)              \
    SHOAL_DOT_ARM(level, q6_k, Q6_K, Q6_K, .subs = SUBS, .halves = true, .run = 8)

/* Their table. */
#define SHOAL_DOT_ARM_SLOTS                                                                       \
    {                                                                                             \
        [SHOAL_TYPE_Q4_A] = dot_q4_a, [SHOAL_TYPE_Q6_A] = dot_q6_a, [SHOAL_TYPE_P4_A] = dot_p4_a, \
        [SHOAL_TYPE_P6_A] = dot_p6_a, [SHOAL_TYPE_Q4_0] = dot_q4_0, [SHOAL_TYPE_Q4_1] = dot_q4_1, \
        [SHOAL_TYPE_Q5_0] = dot_q5_0, [SHOAL_TYPE_Q5_1] = dot_q5_1, [SHOAL_TYPE_Q8_0] = dot_q8_0, \
        [SHOAL_TYPE_IQ4_NL] = dot_iq4_nl, [SHOAL_TYPE_P4_0] = dot_p4_0,                           \
        [SHOAL_TYPE_P4_1] = dot_p4_1, [SHOAL_TYPE_P8_0] = dot_p8_0, [SHOAL_TYPE_Q2_K] = dot_q2_k, \
        [SHOAL_TYPE_Q3_K] = dot_q3_k, [SHOAL_TYPE_Q4_K] = dot_q4_k, [SHOAL_TYPE_Q5_K] = dot_q5_k, \
        [SHOAL_TYPE_Q6_K] = dot_q6_k,                                                             \
    }

/* ---- the order ROWS4: a lane is a row of W ----------------------------------------------------
 */

/* sum = products of `vectors` (8 or 16) code vectors with the activations at q, a lane a row. */
typedef void sum_fn(const int8x16_t *code, size_t vectors, const int8_t *q, size_t run,
                    int32x4_t sum[2]);

/* The two halves of a block, each times its scale: at most 2 * 128 * 16 * 32 * 127 < 2^24, exact as
 * f32. */
SHOAL_INLINE void scaled_halves(const group_type *type, sum_fn *sum_codes, const group_block *g,
                                const int8_t *q, int32x4_t sum[2])
{
    int32x4_t second[2];
    sum_codes(g->code, 8, q, type->run, sum);
    sum_codes(g->code + 8, 8, q + 16, type->run, second);
    for (size_t i = 0; i < 2; i++) {
        sum[i] = vmlaq_s32(vmulq_s32(sum[i], g->half[0][i]), second[i], g->half[1][i]);
    }
}

SHOAL_INLINE void add_row4(const group_type *type, sum_fn *sum_codes, const group_block *g,
                           const int8_t *q, const int8_t *ds, float32x4_t acc[2])
{
    const float32x2_t scale = vreinterpret_f32_s8(vld1_s8(ds)); /* d, d * sum(q) */
    int32x4_t sum[2];
    if (type->halves) {
        scaled_halves(type, sum_codes, g, q, sum);
    } else {
        sum_codes(g->code, 16, q, type->run, sum);
    }
    SHOAL_UNROLL
    for (size_t i = 0; i < 2; i++) {
        float32x4_t d = vmulq_lane_f32(g->d[i], scale, 0);
        acc[i] = vfmaq_f32(acc[i], vcvtq_f32_s32(sum[i]), d);
        if (type->minimum) {
            acc[i] = vfmaq_lane_f32(acc[i], g->m[i], scale, 1);
        }
        if (type->low) {
            int32x4_t low = vmulq_n_s32(g->low[0][i], vaddlvq_s8(vld1q_s8(q)));
            low = vmlaq_n_s32(low, g->low[1][i], vaddlvq_s8(vld1q_s8(q + 16)));
            float32x4_t m = vmulq_lane_f32(g->m[i], scale, 0);
            acc[i] = vfmsq_f32(acc[i], vcvtq_f32_s32(low), m);
        }
    }
}

SHOAL_INLINE void add_rows4(const group_type *type, sum_fn *sum_codes, const group_block *g,
                            const int8_t *x, size_t n, float32x4_t *acc)
{
    const int8_t *ds = x + n * SHOAL_QBLOCK;
    for (size_t t = 0; t < n; t++) {
        add_row4(type, sum_codes, g, x + t * SHOAL_QBLOCK, ds + t * 8, acc + 2 * t);
    }
}

/* One activation row's outputs: eight rows of W, or the first `rows` of them. */
SHOAL_INLINE void store_lanes(float32x4_t lo, float32x4_t hi, size_t rows, float *y)
{
    float lanes[SHOAL_LANES];
    float *to = rows >= SHOAL_LANES ? y : lanes;
    vst1q_f32(to, lo);
    vst1q_f32(to + 4, hi);
    if (to == lanes) {
        memcpy(y, lanes, rows * sizeof *y);
    }
}

SHOAL_INLINE void store_rows4(const float32x4_t *acc, size_t n, size_t rows, float *y, size_t ldy)
{
    for (size_t t = 0; t < n; t++) {
        store_lanes(acc[2 * t], acc[2 * t + 1], rows, y + t * ldy);
    }
}

#endif
