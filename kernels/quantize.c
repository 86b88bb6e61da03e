/* quantize.c - f32 weights to the element types of quant.h, in portable C.
 *
 * Blocks are written byte by byte: they lie unaligned in files.
 */
#include <math.h>
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/matmul.h"

static void store_f16(uint8_t *p, float f)
{
    uint16_t h = shoal_f32_to_f16(f);
    p[0] = (uint8_t)(h & 0xff);
    p[1] = (uint8_t)(h >> 8);
}

/* Truncates toward zero into [lo, hi]; NaN gives lo. */
static int clamp_int(float v, int lo, int hi)
{
    if (!(v > (float)lo)) return lo;
    return v >= (float)hi ? hi : (int)v;
}

static float inverse(float d)
{
    return d != 0.0f ? 1.0f / d : 0.0f;
}

/* Packs 32 codes 0..15 into 16 bytes. code = trunc((x - shift) * scale + bias). */
static void pack_nibbles(const float *x, float shift, float scale, float bias, uint8_t *out)
{
    for (size_t j = 0; j < 16; j++) {
        int lo = clamp_int((x[j] - shift) * scale + bias, 0, 15);
        int hi = clamp_int((x[16 + j] - shift) * scale + bias, 0, 15);
        out[j] = (uint8_t)(lo | hi << 4);
    }
}

static void quantize_block_q4_0(const float *x, uint8_t *p)
{
    float extreme = 0.0f; /* the value of largest magnitude, with its sign: it becomes code 0 */
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        if (fabsf(x[j]) > fabsf(extreme)) {
            extreme = x[j];
        }
    }
    float d = extreme / -8.0f;
    store_f16(p, d);
    pack_nibbles(x, 0.0f, inverse(d), 8.5f, p + 2);
}

static void quantize_block_q4_1(const float *x, uint8_t *p)
{
    float lo = x[0];
    float hi = x[0];
    for (size_t j = 1; j < SHOAL_QBLOCK; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    float d = (hi - lo) / 15.0f;
    store_f16(p, d);
    store_f16(p + 2, lo);
    pack_nibbles(x, lo, inverse(d), 0.5f, p + 4);
}

static void quantize_block_q8_0(const float *x, uint8_t *p)
{
    float peak = 0.0f;
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        peak = fmaxf(peak, fabsf(x[j]));
    }
    float d = peak / 127.0f;
    float scale = inverse(d);
    store_f16(p, d);
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        p[2 + j] = (uint8_t)(int8_t)clamp_int(roundf(x[j] * scale), -127, 127);
    }
}

static void quantize_f16(const float *in, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        store_f16(p + 2 * i, in[i]);
    }
}

typedef void quantize_block_fn(const float *x, uint8_t *p);

static void quantize_blocks(quantize_block_fn *fn, size_t bytes, const float *in, uint8_t *p,
                            size_t n)
{
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += bytes) {
        fn(in + i, p);
    }
}

bool shoal_type_writable(shoal_type type)
{
    switch (type) {
    case SHOAL_TYPE_F32:
    case SHOAL_TYPE_F16:
    case SHOAL_TYPE_Q4_0:
    case SHOAL_TYPE_Q4_1:
    case SHOAL_TYPE_Q8_0: return true;
    default: return false;
    }
}

void shoal_quantize(shoal_type type, const float *in, void *row, size_t n)
{
    switch (type) {
    case SHOAL_TYPE_F32: memcpy(row, in, n * sizeof *in); break;
    case SHOAL_TYPE_F16: quantize_f16(in, row, n); break;
    case SHOAL_TYPE_Q4_0: quantize_blocks(quantize_block_q4_0, SHOAL_Q4_0_BYTES, in, row, n); break;
    case SHOAL_TYPE_Q4_1: quantize_blocks(quantize_block_q4_1, SHOAL_Q4_1_BYTES, in, row, n); break;
    case SHOAL_TYPE_Q8_0: quantize_blocks(quantize_block_q8_0, SHOAL_Q8_0_BYTES, in, row, n); break;
    default: break;
    }
}
