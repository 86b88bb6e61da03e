/* blocks_affine.c - the affine types Q4_A and Q6_A: unpackers and quantisers (layout: quant.h).
 *
 * Where Q4_1 spends 32 bits on the scale and minimum of 32 weights, these spend 16. The zero point
 * is counted in fractions of the block's own step, so that its rounding does not depend on how far
 * the block lies from zero, and codes are chosen after both are rounded.
 */
#include <math.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/fit.h"
#include "kernels/matmul.h"

/* What distinguishes the two. */
typedef struct affine_type {
    int top;         /* largest code */
    float zero_unit; /* z = u * zero_unit */
} affine_type;

static const affine_type affine4 = {15, 1.0f / 8.0f};
static const affine_type affine6 = {63, 1.0f / 2.0f};

enum {
    ZERO_MASK = (1 << SHOAL_AFFINE_ZERO_BITS) - 1,
    STEPS_BELOW = 12, /* scales tried below the one that spans the range: down to 0.76 of it */
    STEPS_ABOVE = 2
};

float shoal_affine_scale(unsigned s)
{
    uint32_t bits =
        ((uint32_t)s << (23 - SHOAL_AFFINE_FRACTION_BITS)) + ((uint32_t)SHOAL_AFFINE_BIAS << 23);
    float d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* ---- unpacking --------------------------------------------------------------------------------
 */

/* d and m = d * z, which is exact: 6 bits times 7. */
static void set_affine(const affine_type *type, const uint8_t *p, shoal_wblock *w)
{
    unsigned word = (unsigned)p[0] | (unsigned)p[1] << 8;
    w->d = shoal_affine_scale(word >> SHOAL_AFFINE_ZERO_BITS);
    w->m = w->d * ((float)(word & ZERO_MASK) * type->zero_unit);
    for (size_t h = 0; h < 2; h++) {
        w->scale[h] = 1;
        w->min[h] = 1;
    }
}

static void low_codes(const uint8_t *p, int8_t *code)
{
    for (size_t j = 0; j < 16; j++) {
        code[j] = (int8_t)(p[j] & 15);
        code[16 + j] = (int8_t)(p[j] >> 4);
    }
}

void shoal_unpack_q4_a(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_affine(&affine4, p, w);
    low_codes(p + 2, w->code);
}

void shoal_unpack_q6_a(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    (void)sub;
    set_affine(&affine6, p, w);
    low_codes(p + 2, w->code);
    for (size_t i = 0; i < SHOAL_QBLOCK; i++) {
        w->code[i] = (int8_t)(w->code[i] | (p[18 + i % 8] >> i / 8 * 2 & 3) << 4);
    }
}

float shoal_type_span(shoal_type type)
{
    float most = shoal_affine_scale(SHOAL_AFFINE_SCALES - 1);
    switch (shoal_type_plain(type)) {
    case SHOAL_TYPE_Q4_A: return most * (float)affine4.top;
    case SHOAL_TYPE_Q6_A: return most * (float)affine6.top;
    default: return INFINITY;
    }
}

/* ---- quantising -------------------------------------------------------------------------------
 */

/* The largest s whose scale is at most d. */
static unsigned scale_below(float d)
{
    uint32_t bits;
    if (!(d > shoal_affine_scale(0))) return 0; /* NaN too */
    if (d >= shoal_affine_scale(SHOAL_AFFINE_SCALES - 1)) return SHOAL_AFFINE_SCALES - 1;
    memcpy(&bits, &d, sizeof bits);
    return (bits >> (23 - SHOAL_AFFINE_FRACTION_BITS)) -
           ((unsigned)SHOAL_AFFINE_BIAS << SHOAL_AFFINE_FRACTION_BITS);
}

/* Squared error of x under scale s and zero point u. */
static float affine_error(const affine_type *type, const float *x, unsigned s, int u)
{
    float d = shoal_affine_scale(s), inverse = 1.0f / d;
    float z = (float)u * type->zero_unit, top = (float)type->top;
    float sum = 0.0f;
    for (size_t i = 0; i < SHOAL_QBLOCK; i++) {
        float code = fminf(fmaxf(rintf(x[i] * inverse + z), 0.0f), top);
        float e = d * (code - z) - x[i];
        sum += e * e;
    }
    return sum;
}

/* The word with the least squared error: scales around the one that spans the range, each with the
 * zero point that centres it, then the neighbours of that zero point. */
static unsigned fit_word(const affine_type *type, const float *x)
{
    float lo = 0.0f, hi = 0.0f; /* 0 stays in range, so that z fits its bits */
    for (size_t i = 0; i < SHOAL_QBLOCK; i++) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    unsigned span = scale_below((hi - lo) / (float)type->top);
    unsigned first = span < STEPS_BELOW ? 0 : span - STEPS_BELOW;
    unsigned best_s = first;
    int best_u = 0;
    float best = INFINITY;
    for (unsigned s = first; s <= span + STEPS_ABOVE && s < SHOAL_AFFINE_SCALES; s++) {
        float centre = 0.5f * (float)type->top - 0.5f * (lo + hi) / shoal_affine_scale(s);
        int u = shoal_nearest(centre / type->zero_unit, 0, ZERO_MASK);
        float e = affine_error(type, x, s, u);
        if (e < best) best = e, best_s = s, best_u = u;
    }
    int centre = best_u;
    for (int u = centre - 1; u <= centre + 1; u += 2) {
        if (u < 0 || u > ZERO_MASK) continue;
        float e = affine_error(type, x, best_s, u);
        if (e < best) best = e, best_u = u;
    }
    return best_s << SHOAL_AFFINE_ZERO_BITS | (unsigned)best_u;
}

/* Writes the word at p and gives the codes. */
static void quantize_affine(const affine_type *type, const float *x, uint8_t *p,
                            int codes[SHOAL_QBLOCK])
{
    unsigned word = fit_word(type, x);
    float inverse = 1.0f / shoal_affine_scale(word >> SHOAL_AFFINE_ZERO_BITS);
    float z = (float)(word & ZERO_MASK) * type->zero_unit;
    p[0] = (uint8_t)(word & 0xff);
    p[1] = (uint8_t)(word >> 8);
    for (size_t i = 0; i < SHOAL_QBLOCK; i++) {
        codes[i] = shoal_nearest(x[i] * inverse + z, 0, type->top);
    }
}

static void put_low_codes(const int *codes, uint8_t *p)
{
    for (size_t j = 0; j < 16; j++) {
        p[j] = (uint8_t)((codes[j] & 15) | (codes[16 + j] & 15) << 4);
    }
}

void shoal_quantize_block_q4_a(const float *x, uint8_t *p)
{
    int codes[SHOAL_QBLOCK];
    quantize_affine(&affine4, x, p, codes);
    put_low_codes(codes, p + 2);
}

void shoal_quantize_block_q6_a(const float *x, uint8_t *p)
{
    int codes[SHOAL_QBLOCK];
    quantize_affine(&affine6, x, p, codes);
    put_low_codes(codes, p + 2);
    memset(p + 18, 0, 8);
    for (size_t i = 0; i < SHOAL_QBLOCK; i++) {
        p[18 + i % 8] = (uint8_t)(p[18 + i % 8] | (codes[i] >> 4) << i / 8 * 2);
    }
}
