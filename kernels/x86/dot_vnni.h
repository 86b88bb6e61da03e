/* dot_vnni.h - the products of all formats by vpdpbusd: 8 rows of W in the lanes, or 16.
 *
 * As in dot_avx2.h lane r of every vector belongs to row r of a group, and 4 activations are
 * broadcast to meet 4 codes of each row. vpdpbusd adds four products of an unsigned and a signed
 * byte to 32 bits and nothing saturates, so one chain serves codes of any width:
 *   unsigned codes   u = code, s = activations
 *   signed codes     u = activations + 128, s = code; the sums start at -128 times the sum of the
 *                    codes, once a block, so that they end at the true ones. For one row of
 *                    activations u = |code|, s = activations with the code's sign: no start to work
 *                    out
 * The integer sums are exact and the f32 operations are those of dot_avx2.h in the same order:
 * every level gives the same bits.
 *
 * A 16-lane vector is two groups of eight, so the unpackers are those of AVX2.
 *
 * SHOAL_VEC is 8 (vec8.h) or 16 (vec16.h), whose flags are needed besides -mavx2 -mfma -mf16c.
 * Layer: kernels/x86, internal.
 */
#ifndef SHOAL_KERNELS_X86_DOT_VNNI_H
#define SHOAL_KERNELS_X86_DOT_VNNI_H

#include <string.h>

#include "kernels/blocks.h"
#include "kernels/table.h"
#include "kernels/x86/dot_avx2.h"
#include "kernels/x86/unpack_k.h"
#include "kernels/x86/unpack_legacy.h"
#if defined(SHOAL_VEC) && SHOAL_VEC == 16
#include "kernels/x86/vec16.h"
#else
#include "kernels/x86/vec8.h"
#endif

enum { VEC_GROUPS = VEC_LANES / LANES };

/* 32 weights of VEC_LANES rows. */
typedef struct vec_block {
    vi code[8];
    vf d, m;
    vi start[2]; /* signed codes: where the sum of each half begins */
    vi scale[2]; /* integer scale of each half */
    vi low[2];   /* integer minimum of each half, four times in a lane */
} vec_block;

typedef enum vec_form {
    FORM_MIN,      /* w = d * code + m, code unsigned */
    FORM_SIGNED,   /* w = d * code */
    FORM_HALF,     /* w = d * scale[h] * code, code signed */
    FORM_HALF_MIN, /* w = d * scale[h] * code - m * low[h], code unsigned */
} vec_form;

/* A format; always a constant where it is used, so that everything below is inlined. */
typedef struct vec_type {
    unpack_fn *unpack;
    vec_form form;
    size_t subs, bytes; /* of a block: parts of 32 weights, size */
    bool packed;        /* eight rows interleaved: their blocks lie together */
} vec_type;

SHOAL_INLINE bool codes_are_signed(vec_form form)
{
    return form == FORM_SIGNED || form == FORM_HALF;
}

/* True where signed codes meet n rows of activations by their magnitude. */
SHOAL_INLINE bool by_magnitude(size_t n)
{
    return n == 1;
}

/* -128 times the sum of the codes of each half. */
SHOAL_INLINE void set_start(vec_block *w)
{
    const vi offset = vi_set1((int32_t)0x80808080u); /* 128, unsigned */
    SHOAL_UNROLL
    for (int h = 0; h < 2; h++) {
        vi sum = vi_zero();
        SHOAL_UNROLL
        for (int j = 0; j < 4; j++) {
            sum = vi_dot(sum, offset, w->code[4 * h + j]);
        }
        w->start[h] = vi_sub(vi_zero(), sum);
    }
}

/* One part of 32 weights of both groups of rows, to meet n rows of activations. */
SHOAL_INLINE void join_groups(vec_form form, const group_block *lo, const group_block *hi, size_t n,
                              vec_block *w)
{
    SHOAL_UNROLL
    for (int j = 0; j < 8; j++) {
        w->code[j] = vi_join(&lo->code[j], &hi->code[j]);
    }
    w->d = vf_join(&lo->d, &hi->d);
    if (!codes_are_signed(form)) {
        w->m = vf_join(&lo->m, &hi->m);
    }
    SHOAL_UNROLL
    for (int h = 0; h < 2; h++) {
        if (form == FORM_HALF || form == FORM_HALF_MIN) {
            w->scale[h] = vi_high16(vi_join(&lo->half[h], &hi->half[h]));
        }
        if (form == FORM_HALF_MIN) {
            w->low[h] = vi_join(&lo->low[h], &hi->low[h]);
        }
        w->start[h] = vi_zero();
    }
    if (codes_are_signed(form) && !by_magnitude(n)) {
        set_start(w);
    }
}

/* Four activations in every lane. */
SHOAL_INLINE vi vi_four(const int8_t *q)
{
    return vi_set1(load_i32(q));
}

/* The scale or sum of an activation block in every lane. */
SHOAL_INLINE vf vf_scalar(const int8_t *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return vf_set1(v);
}

/* sum[h] = codes times activations of half h. */
SHOAL_INLINE void dot_halves(vec_form form, const vec_block *w, const int8_t *q, size_t n,
                             vi sum[2])
{
    SHOAL_UNROLL
    for (int h = 0; h < 2; h++) {
        sum[h] = w->start[h];
        SHOAL_UNROLL
        for (int j = 4 * h; j < 4 * h + 4; j++) {
            vi x = vi_four(q + 4 * j);
            if (!codes_are_signed(form)) {
                sum[h] = vi_dot(sum[h], w->code[j], x);
            } else if (by_magnitude(n)) {
                sum[h] = vi_dot(sum[h], vi_abs_bytes(w->code[j]), vi_sign_bytes(x, w->code[j]));
            } else {
                sum[h] = vi_dot(sum[h], x, w->code[j]);
            }
        }
    }
}

/* Integer minimums times activations. */
SHOAL_INLINE vi dot_low(const vec_block *w, const int8_t *q)
{
    vi sum = vi_zero();
    SHOAL_UNROLL
    for (int j = 0; j < 8; j++) {
        sum = vi_dot(sum, w->low[j / 4], vi_four(q + 4 * j));
    }
    return sum;
}

/* acc + the part's share for one activation row of n: q [32], offset by 128 where signed codes want
 * it; ds [2]. */
SHOAL_INLINE vf add_part(vec_form form, const vec_block *w, const int8_t *q, const int8_t *ds,
                         size_t n, vf acc)
{
    vi sum[2];
    dot_halves(form, w, q, n, sum);
    if (form == FORM_HALF || form == FORM_HALF_MIN) {
        sum[0] = vi_mul(sum[0], w->scale[0]);
        sum[1] = vi_mul(sum[1], w->scale[1]);
    }
    vf d = vf_scalar(ds);
    acc = vf_fma(vi_to_f32(vi_add(sum[0], sum[1])), vf_mul(w->d, d), acc);
    if (form == FORM_MIN) {
        acc = vf_fma(w->m, vf_scalar(ds + 4), acc);
    } else if (form == FORM_HALF_MIN) {
        acc = vf_fnma(vi_to_f32(dot_low(w, q)), vf_mul(w->m, d), acc);
    }
    return acc;
}

/* to [n][32] = q + 128 as unsigned bytes. */
SHOAL_INLINE void offset_rows(const int8_t *q, size_t n, int8_t *to)
{
    const __m256i offset = _mm256_set1_epi8((char)-128);
    for (size_t t = 0; t < n * SHOAL_QBLOCK; t += SHOAL_QBLOCK) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(q + t));
        _mm256_storeu_si256((__m256i *)(void *)(to + t), _mm256_xor_si256(v, offset));
    }
}

/* acc [n] += one part of 32 weights, for the n rows of the activation block at x. */
SHOAL_INLINE void add_part_rows(vec_form form, const vec_block *w, const int8_t *x, size_t n,
                                vf *acc)
{
    int8_t offset[SHOAL_ACT_TILE * SHOAL_QBLOCK];
    const int8_t *ds = x + n * SHOAL_QBLOCK, *q = x;
    if (codes_are_signed(form) && !by_magnitude(n)) {
        offset_rows(x, n, offset);
        q = offset;
    }
    for (size_t t = 0; t < n; t++) {
        acc[t] = add_part(form, w, q + t * SHOAL_QBLOCK, ds + t * 8, n, acc[t]);
    }
}

/* Where the rows of a vector lie: one or two groups; missing rows repeat others. */
typedef struct vec_rows {
    group_rows group[VEC_GROUPS];
    size_t rows;
} vec_rows;

SHOAL_INLINE vec_rows find_rows(const uint8_t *w, size_t row_bytes, size_t rows)
{
    vec_rows v = {.rows = rows};
    for (size_t i = 0; i < VEC_GROUPS; i++) {
        bool there = rows > i * LANES;
        v.group[i] = (group_rows){w + (there ? i * LANES : 0) * row_bytes, row_bytes,
                                  there ? rows - i * LANES : rows};
    }
    return v;
}

/* Takes apart the block at `at` of one group; see take_block of dot_avx2.h. */
SHOAL_INLINE void take_group(const vec_type *type, const group_rows *rows, size_t at,
                             group_block *g)
{
    uint8_t copy[LANES * SHOAL_Q6_K_BYTES + 2];
    if (rows->rows >= LANES) {
        const uint8_t *ahead = rows->p + (VEC_LANES - LANES) * rows->stride;
        prefetch_group(ahead, LANES * rows->stride, at, type->bytes);
        type->unpack(rows->p + (type->packed ? LANES * at : at), rows->stride, g);
    } else {
        type->unpack(copy_group(rows, at, type->bytes, copy), type->bytes, g);
    }
}

/* acc [n] += all blocks of the rows. n is a constant where registers should hold acc; a block of
 * one part stays in registers too, which an array would not. */
SHOAL_INLINE void vec_dot(const vec_type *type, const vec_rows *rows, size_t blocks,
                          const int8_t *x, size_t n, vf *acc)
{
    for (size_t b = 0; b < blocks; b += type->subs) {
        size_t at = b / type->subs * type->bytes;
        vec_block w;
        if (type->subs == 1) {
            group_block lo, hi;
            take_group(type, &rows->group[0], at, &lo);
            if (VEC_GROUPS > 1) take_group(type, &rows->group[VEC_GROUPS - 1], at, &hi);
            join_groups(type->form, &lo, VEC_GROUPS > 1 ? &hi : &lo, n, &w);
            add_part_rows(type->form, &w, x, n, acc);
            x += n * SHOAL_ACT_BLOCK_BYTES;
            continue;
        }
        group_block g[VEC_GROUPS][8];
        SHOAL_UNROLL
        for (int i = 0; i < VEC_GROUPS; i++) {
            take_group(type, &rows->group[i], at, g[i]);
        }
        for (size_t i = 0; i < type->subs; i++, x += n * SHOAL_ACT_BLOCK_BYTES) {
            join_groups(type->form, &g[0][i], &g[VEC_GROUPS - 1][i], n, &w);
            add_part_rows(type->form, &w, x, n, acc);
        }
    }
}

static void store_rows(const vf *acc, size_t n, size_t rows, float *y, size_t ldy)
{
    for (size_t t = 0; t < n; t++) {
        float lanes[VEC_LANES];
        float *to = rows >= VEC_LANES ? y + t * ldy : lanes;
        vf_store(to, acc[t]);
        if (to == lanes) {
            memcpy(y + t * ldy, lanes, rows * sizeof *y);
        }
    }
}

SHOAL_INLINE void vec_any(const vec_type *type, const vec_rows *rows, size_t blocks,
                          const int8_t *x, size_t n, float *y, size_t ldy)
{
    vf acc[SHOAL_ACT_TILE];
    for (size_t t = 0; t < n; t++) {
        acc[t] = vf_zero();
    }
    vec_dot(type, rows, blocks, x, n, acc);
    store_rows(acc, n, rows->rows, y, ldy);
}

/* VEC_LANES rows at a time; the last ones may overlap those before, computing the same values
 * again (a multiple of eight rows apart for packed types, which have whole groups). */
SHOAL_INLINE void vec_all(const vec_type *type, const void *w, size_t row_bytes, size_t rows,
                          size_t blocks, const void *tile, size_t n, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r += VEC_LANES) {
        if (rows >= VEC_LANES && rows - r < VEC_LANES) {
            r = rows - VEC_LANES;
        }
        vec_rows v = find_rows((const uint8_t *)w + r * row_bytes, row_bytes, rows - r);
        if (n == 1) {
            vec_any(type, &v, blocks, tile, 1, y + r, ldy);
        } else {
            vec_any(type, &v, blocks, tile, n, y + r, ldy);
        }
    }
}

/* All formats: X(name, type, whose block, unpacker, form, parts, packed). */
#define VNNI_FORMATS(X)                                              \
    X(q4_0, Q4_0, Q4_0, unpack_q4_0, FORM_MIN, 1, false)             \
    X(q4_1, Q4_1, Q4_1, unpack_q4_1, FORM_MIN, 1, false)             \
    X(q5_0, Q5_0, Q5_0, unpack_q5_0, FORM_MIN, 1, false)             \
    X(q5_1, Q5_1, Q5_1, unpack_q5_1, FORM_MIN, 1, false)             \
    X(q8_0, Q8_0, Q8_0, unpack_q8_0, FORM_SIGNED, 1, false)          \
    X(iq4_nl, IQ4_NL, IQ4_NL, unpack_iq4_nl, FORM_SIGNED, 1, false)  \
    X(p4_0, P4_0, Q4_0, unpack_p4_0, FORM_MIN, 1, true)              \
    X(p4_1, P4_1, Q4_1, unpack_p4_1, FORM_MIN, 1, true)              \
    X(p8_0, P8_0, Q8_0, unpack_p8_0, FORM_SIGNED, 1, true)           \
    X(q4_a, Q4_A, Q4_A, unpack_q4_a, FORM_MIN, 1, false)             \
    X(q6_a, Q6_A, Q6_A, unpack_q6_a, FORM_MIN, 1, false)             \
    X(p4_a, P4_A, Q4_A, unpack_p4_a, FORM_MIN, 1, true)              \
    X(p6_a, P6_A, Q6_A, unpack_p6_a, FORM_MIN, 1, true)              \
    X(q2_k, Q2_K, Q2_K, shoal_unpack8_q2_k, FORM_HALF_MIN, 8, false) \
    X(q3_k, Q3_K, Q3_K, shoal_unpack8_q3_k, FORM_HALF, 8, false)     \
    X(q4_k, Q4_K, Q4_K, shoal_unpack8_q4_k, FORM_MIN, 8, false)      \
    X(q5_k, Q5_K, Q5_K, shoal_unpack8_q5_k, FORM_MIN, 8, false)      \
    X(q6_k, Q6_K, Q6_K, shoal_unpack8_q6_k, FORM_HALF, 8, false)

/* dot_NAME: the slot of a format. */
#define DOT_VNNI(name, TYPE, BLOCK, unpacker, form, parts, packed)                      \
    static void dot_##name(const void *w, size_t row_bytes, size_t rows, size_t blocks, \
                           const void *tile, size_t n, float *y, size_t ldy)            \
    {                                                                                   \
        const vec_type type = {unpacker, form, parts, SHOAL_##BLOCK##_BYTES, packed};   \
        vec_all(&type, w, row_bytes, rows, blocks, tile, n, y, ldy);                    \
    }
VNNI_FORMATS(DOT_VNNI)

#endif
