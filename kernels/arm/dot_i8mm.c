/* dot_i8mm.c - block formats times two or more rows of 8-bit activations with smmla (Armv8.6).
 *
 * smmla multiplies 2 x 8 codes by the 8 x 2 of two activation rows: a pair of rows has its sums in
 * the lanes w0 x0, w0 x1, w1 x0, w1 x1 of four vectors, and its accumulators too until they are
 * stored. An odd last row is paired with itself. One row alone goes to sdot, which has nothing to
 * waste there; the bits are the same. See dot_arm.h.
 */
#include "kernels/arm/arm.h"
#include "kernels/arm/dot_arm.h"

enum { PAIRS = SHOAL_LANES / 2 };

/* Row scales as the accumulators need them: of row 2 p twice, of row 2 p + 1 twice. */
typedef struct pair_scales {
    float32x4_t d[PAIRS], m[PAIRS];
    int32x4_t half[2][PAIRS], low[2][PAIRS];
} pair_scales;

SHOAL_INLINE void double_f32(const float32x4_t v[2], float32x4_t out[PAIRS])
{
    SHOAL_UNROLL
    for (size_t i = 0; i < 2; i++) {
        out[2 * i] = vzip1q_f32(v[i], v[i]);
        out[2 * i + 1] = vzip2q_f32(v[i], v[i]);
    }
}

SHOAL_INLINE void double_s32(const int32x4_t v[2], int32x4_t out[PAIRS])
{
    SHOAL_UNROLL
    for (size_t i = 0; i < 2; i++) {
        out[2 * i] = vzip1q_s32(v[i], v[i]);
        out[2 * i + 1] = vzip2q_s32(v[i], v[i]);
    }
}

SHOAL_INLINE void double_scales(const group_type *type, const group_block *g, pair_scales *s)
{
    double_f32(g->d, s->d);
    if (type->minimum || type->low) {
        double_f32(g->m, s->m);
    }
    for (size_t h = 0; h < 2 && type->halves; h++) {
        double_s32(g->half[h], s->half[h]);
    }
    for (size_t h = 0; h < 2 && type->low; h++) {
        double_s32(g->low[h], s->low[h]);
    }
}

/* Two rows of activations: x[g] = values 8 g .. 8 g + 7 of the one, then of the other. */
typedef struct row_pair {
    int8x16_t x[4];
    float32x4_t d, s; /* of the one, the other, and again */
} row_pair;

SHOAL_INLINE row_pair take_pair(const int8_t *q0, const int8_t *q1, const int8_t *ds0,
                                const int8_t *ds1)
{
    row_pair r;
    SHOAL_UNROLL
    for (size_t i = 0; i < 2; i++) {
        int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(q0 + 16 * i));
        int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(q1 + 16 * i));
        r.x[2 * i] = vreinterpretq_s8_s64(vzip1q_s64(a, b));
        r.x[2 * i + 1] = vreinterpretq_s8_s64(vzip2q_s64(a, b));
    }
    float32x4_t ds = vreinterpretq_f32_s8(vcombine_s8(vld1_s8(ds0), vld1_s8(ds1)));
    r.d = vuzp1q_f32(ds, ds);
    r.s = vuzp2q_f32(ds, ds);
    return r;
}

/* sum [p] = products of rows 2 p, 2 p + 1 with the pair, over 16 weights from vector 8 half on. */
SHOAL_INLINE void half_products(const int8x16_t *code, const row_pair *r, size_t half,
                                int32x4_t sum[PAIRS])
{
    SHOAL_UNROLL
    for (size_t g = 2 * half; g < 2 * half + 2; g++) {
        SHOAL_UNROLL
        for (size_t p = 0; p < PAIRS; p++) {
            sum[p] = vmmlaq_s32(sum[p], code[4 * g + p], r->x[g]);
        }
    }
}

/* The block's exact sums, halves weighed where the format does. */
SHOAL_INLINE void products(const group_type *type, const group_block *g, const pair_scales *s,
                           const row_pair *r, int32x4_t sum[PAIRS])
{
    int32x4_t second[PAIRS];
    SHOAL_UNROLL
    for (size_t p = 0; p < PAIRS; p++) {
        sum[p] = second[p] = vdupq_n_s32(0);
    }
    half_products(g->code, r, 0, sum);
    half_products(g->code, r, 1, type->halves ? second : sum);
    if (!type->halves) return;
    SHOAL_UNROLL
    for (size_t p = 0; p < PAIRS; p++) {
        sum[p] = vmlaq_s32(vmulq_s32(sum[p], s->half[0][p]), second[p], s->half[1][p]);
    }
}

/* Sums of 16 activations from vector 2 half on: of the one row, the other, and again. */
SHOAL_INLINE int32x4_t activation_sums(const row_pair *r, size_t half)
{
    int16x8_t pairs = vpadalq_s8(vpaddlq_s8(r->x[2 * half]), r->x[2 * half + 1]);
    int32x4_t fours = vpaddlq_s16(pairs); /* two lanes of each row */
    return vpaddq_s32(fours, fours);
}

SHOAL_INLINE void add_pair(const group_type *type, const group_block *g, const pair_scales *s,
                           const row_pair *r, float32x4_t acc[PAIRS])
{
    int32x4_t sum[PAIRS];
    products(type, g, s, r, sum);
    SHOAL_UNROLL
    for (size_t p = 0; p < PAIRS; p++) {
        acc[p] = vfmaq_f32(acc[p], vcvtq_f32_s32(sum[p]), vmulq_f32(s->d[p], r->d));
        if (type->minimum) {
            acc[p] = vfmaq_f32(acc[p], s->m[p], r->s);
        }
        if (type->low) {
            int32x4_t low = vmulq_s32(s->low[0][p], activation_sums(r, 0));
            low = vmlaq_s32(low, s->low[1][p], activation_sums(r, 1));
            acc[p] = vfmsq_f32(acc[p], vcvtq_f32_s32(low), vmulq_f32(s->m[p], r->d));
        }
    }
}

SHOAL_INLINE void add_rows(const group_type *type, const group_block *g, const int8_t *x, size_t n,
                           float32x4_t *acc)
{
    const int8_t *ds = x + n * SHOAL_QBLOCK;
    pair_scales s;
    double_scales(type, g, &s);
    for (size_t t = 0; t < n; t += 2) {
        size_t u = t + 1 < n ? t + 1 : t;
        row_pair r = take_pair(x + t * SHOAL_QBLOCK, x + u * SHOAL_QBLOCK, ds + t * 8, ds + u * 8);
        add_pair(type, g, &s, &r, acc + 2 * t);
    }
}

SHOAL_INLINE void store_rows(const float32x4_t *acc, size_t n, size_t rows, float *y, size_t ldy)
{
    for (size_t t = 0; t < n; t += 2, acc += PAIRS) {
        float32x4_t lo = vuzp1q_f32(acc[0], acc[1]), hi = vuzp1q_f32(acc[2], acc[3]);
        store_lanes(lo, hi, rows, y + t * ldy);
        if (t + 1 == n) break;
        lo = vuzp2q_f32(acc[0], acc[1]);
        hi = vuzp2q_f32(acc[2], acc[3]);
        store_lanes(lo, hi, rows, y + (t + 1) * ldy);
    }
}

static const dot_level i8mm = {ROWS2, add_rows, store_rows, shoal_dot_dotprod};

SHOAL_DOT_ARM_ALL(i8mm)

shoal_dot_q8_fn *const shoal_dot_i8mm[SHOAL_TYPE_SLOTS] = SHOAL_DOT_ARM_SLOTS;
