/* quantize.c - f32 weights to the element types of quant.h, in portable C.
 *
 * Blocks are written byte by byte: they lie unaligned in files.
 */
#include <math.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/fit.h"
#include "kernels/matmul.h"

void shoal_store_f16(uint8_t *p, float f)
{
    uint16_t h = shoal_f32_to_f16(f);
    p[0] = (uint8_t)(h & 0xff);
    p[1] = (uint8_t)(h >> 8);
}

static float inverse(float d)
{
    return d != 0.0f ? 1.0f / d : 0.0f;
}

/* d rounded to binary16 and written at p. */
static float put_f16(uint8_t *p, float d)
{
    shoal_store_f16(p, d);
    return shoal_load_f16(p);
}

/* Codes of (x - m) / d, 0..top once `offset` is added, as nibbles and a word of fifth bits. */
static uint32_t pack_codes(const float *x, float d, float m, int offset, int top, uint8_t *nibbles)
{
    float scale = inverse(d);
    uint32_t fifth = 0;
    memset(nibbles, 0, 16);
    for (size_t i = 0; i < SHOAL_QBLOCK; i++) {
        int code = shoal_nearest((x[i] - m) * scale, -offset, top - offset) + offset;
        nibbles[i % 16] = (uint8_t)(nibbles[i % 16] | (code & 15) << i / 16 * 4);
        fifth |= (uint32_t)(code >> 4) << i;
    }
    return fifth;
}

static void store_u32(uint8_t *p, uint32_t v)
{
    for (size_t i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> 8 * i & 0xff);
    }
}

static void quantize_block_q4_0(const float *x, uint8_t *p)
{
    float d = put_f16(p, shoal_fit_scale(x, SHOAL_QBLOCK, -8, 7));
    (void)pack_codes(x, d, 0.0f, 8, 15, p + 2);
}

static void quantize_block_q5_0(const float *x, uint8_t *p)
{
    float d = put_f16(p, shoal_fit_scale(x, SHOAL_QBLOCK, -16, 15));
    store_u32(p + 2, pack_codes(x, d, 0.0f, 16, 31, p + 6));
}

static void quantize_block_q4_1(const float *x, uint8_t *p)
{
    float d, m;
    shoal_fit_affine(x, SHOAL_QBLOCK, 15, 0, &d, &m);
    d = put_f16(p, d);
    m = put_f16(p + 2, m);
    (void)pack_codes(x, d, m, 0, 15, p + 4);
}

static void quantize_block_q5_1(const float *x, uint8_t *p)
{
    float d, m;
    shoal_fit_affine(x, SHOAL_QBLOCK, 31, 0, &d, &m);
    d = put_f16(p, d);
    m = put_f16(p + 2, m);
    store_u32(p + 4, pack_codes(x, d, m, 0, 31, p + 8));
}

static void quantize_block_q8_0(const float *x, uint8_t *p)
{
    float peak = 0.0f;
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        peak = fmaxf(peak, fabsf(x[j]));
    }
    float d = peak / 127.0f;
    float scale = inverse(d);
    shoal_store_f16(p, d);
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        p[2 + j] = (uint8_t)(int8_t)shoal_nearest(x[j] * scale, -127, 127);
    }
}

/* The upper half of an f32, rounded to nearest even; a NaN stays one. */
static void quantize_bf16(const float *in, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], sizeof bits);
        bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        bits = nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1);
        p[2 * i] = (uint8_t)(bits >> 16 & 0xff);
        p[2 * i + 1] = (uint8_t)(bits >> 24);
    }
}

static shoal_quantize_block_fn *const block_fns[SHOAL_TYPE_SLOTS] = {
    [SHOAL_TYPE_Q4_0] = quantize_block_q4_0,       [SHOAL_TYPE_Q4_1] = quantize_block_q4_1,
    [SHOAL_TYPE_Q5_0] = quantize_block_q5_0,       [SHOAL_TYPE_Q5_1] = quantize_block_q5_1,
    [SHOAL_TYPE_Q8_0] = quantize_block_q8_0,       [SHOAL_TYPE_Q4_K] = shoal_quantize_block_q4_k,
    [SHOAL_TYPE_Q5_K] = shoal_quantize_block_q5_k, [SHOAL_TYPE_Q6_K] = shoal_quantize_block_q6_k,
    [SHOAL_TYPE_Q4_A] = shoal_quantize_block_q4_a, [SHOAL_TYPE_Q6_A] = shoal_quantize_block_q6_a,
};

bool shoal_type_writable(shoal_type type)
{
    return type == SHOAL_TYPE_F32 || type == SHOAL_TYPE_F16 || type == SHOAL_TYPE_BF16 ||
           block_fns[type] != NULL;
}

void shoal_quantize(shoal_type type, const float *in, void *row, size_t n)
{
    switch (type) {
    case SHOAL_TYPE_F32: memcpy(row, in, n * sizeof *in); return;
    case SHOAL_TYPE_F16: shoal_halves_store(in, row, n); return;
    case SHOAL_TYPE_BF16: quantize_bf16(in, row, n); return;
    default: break;
    }
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    uint8_t *p = row;
    for (size_t i = 0; i < n; i += info->block, p += info->block_bytes) {
        block_fns[type](in + i, p);
    }
}
