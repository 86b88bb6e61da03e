/* quantize_k.c - f32 weights to the K quants users ask for: Q4_K, Q5_K, Q6_K.
 *
 * Each sub-block is fitted alone (fit.h); its scale and minimum are then rounded to integers under
 * the super-block's d and dmin, and the codes are taken against the rounded ones.
 */
#include <math.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/fit.h"
#include "kernels/matmul.h"

enum { SUBS = SHOAL_KBLOCK / SHOAL_QBLOCK, SIXTEENTHS = 16, SCALE_TOP = 63 };

static float inverse(float d)
{
    return d != 0.0f ? 1.0f / d : 0.0f;
}

/* v [n] as integers 0..63 under one factor, which is returned as it reads back from p. */
static float pack_positive(const float *v, size_t n, uint8_t *p, int *out)
{
    float top = 0.0f;
    for (size_t i = 0; i < n; i++) {
        top = fmaxf(top, v[i]);
    }
    shoal_store_f16(p, top / SCALE_TOP);
    float d = shoal_load_f16(p);
    for (size_t i = 0; i < n; i++) {
        out[i] = shoal_nearest(v[i] * inverse(d), 0, SCALE_TOP);
    }
    return d;
}

/* Writes six-bit scales and minimums: the inverse of shoal_k_scale_min. */
static void store_scales(const int *scale, const int *min, uint8_t *p)
{
    for (size_t i = 0; i < 4; i++) {
        p[i] = (uint8_t)(scale[i] | scale[i + 4] >> 4 << 6);
        p[i + 4] = (uint8_t)(min[i] | min[i + 4] >> 4 << 6);
        p[i + 8] = (uint8_t)((scale[i + 4] & 15) | (min[i + 4] & 15) << 4);
    }
}

/* Scales of a Q4_K or Q5_K block into its first 16 bytes, and the codes 0..top. */
static void affine_codes(const float *x, int top, uint8_t *p, uint8_t *codes)
{
    float d[SUBS], m[SUBS];
    int scale[SUBS], min[SUBS];
    for (size_t k = 0; k < SUBS; k++) {
        shoal_fit_affine(x + k * SHOAL_QBLOCK, SHOAL_QBLOCK, top, 1, &d[k], &m[k]);
        m[k] = -m[k];
    }
    float all_d = pack_positive(d, SUBS, p, scale);
    float all_m = pack_positive(m, SUBS, p + 2, min);
    store_scales(scale, min, p + 4);
    for (size_t i = 0; i < SHOAL_KBLOCK; i++) {
        size_t k = i / SHOAL_QBLOCK;
        float step = all_d * (float)scale[k];
        codes[i] = (uint8_t)shoal_nearest((x[i] + all_m * (float)min[k]) * inverse(step), 0, top);
    }
}

/* Nibbles of sub-blocks 2 i and 2 i + 1 share 32 bytes. */
static void store_nibbles(const uint8_t *codes, uint8_t *p)
{
    for (size_t i = 0; i < SHOAL_KBLOCK / 2; i++) {
        const uint8_t *low = codes + i / 32 * 64 + i % 32;
        p[i] = (uint8_t)((low[0] & 15) | (low[32] & 15) << 4);
    }
}

void shoal_quantize_block_q4_k(const float *x, uint8_t *p)
{
    uint8_t codes[SHOAL_KBLOCK];
    affine_codes(x, 15, p, codes);
    store_nibbles(codes, p + 16);
}

void shoal_quantize_block_q5_k(const float *x, uint8_t *p)
{
    uint8_t codes[SHOAL_KBLOCK];
    affine_codes(x, 31, p, codes);
    memset(p + 16, 0, 32);
    for (size_t i = 0; i < SHOAL_KBLOCK; i++) {
        p[16 + i % 32] = (uint8_t)(p[16 + i % 32] | codes[i] >> 4 << i / 32);
    }
    store_nibbles(codes, p + 48);
}

/* The 16 scales of a Q6_K block as int8 under d, all written to p; returns d. */
static float q6_k_scales(const float *x, uint8_t *p)
{
    float scale[SIXTEENTHS], extreme = 0.0f;
    for (size_t k = 0; k < SIXTEENTHS; k++) {
        scale[k] = shoal_fit_scale(x + 16 * k, 16, -32, 31);
        extreme = fabsf(scale[k]) > fabsf(extreme) ? scale[k] : extreme;
    }
    shoal_store_f16(p + 208, extreme / -128.0f);
    float d = shoal_load_f16(p + 208);
    for (size_t k = 0; k < SIXTEENTHS; k++) {
        p[192 + k] = (uint8_t)(int8_t)shoal_nearest(scale[k] * inverse(d), -128, 127);
    }
    return d;
}

void shoal_quantize_block_q6_k(const float *x, uint8_t *p)
{
    float d = q6_k_scales(x, p);
    memset(p, 0, 192);
    for (size_t i = 0; i < SHOAL_KBLOCK; i++) {
        float step = d * (float)(int8_t)p[192 + i / 16];
        int code = shoal_nearest(x[i] * inverse(step), -32, 31) + 32;
        size_t half = i / 128, quarter = i / 32 % 4, j = i % 32;
        uint8_t *low = p + 64 * half + 32 * (quarter % 2) + j;
        uint8_t *high = p + 128 + 32 * half + j;
        *low = (uint8_t)(*low | (code & 15) << quarter / 2 * 4);
        *high = (uint8_t)(*high | code >> 4 << 2 * quarter);
    }
}
