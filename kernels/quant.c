/* quant.c - element types, binary16 and the block formats of quant.h, in portable C.
 *
 * Blocks are read and written byte by byte: they lie unaligned in files.
 */
#include "kernels/quant.h"

#include <math.h>
#include <string.h>

#include "kernels/matmul.h"

static const shoal_type_info type_list[] = {
    {SHOAL_TYPE_F32, "F32", 1, 4},
    {SHOAL_TYPE_F16, "F16", 1, 2},
    {SHOAL_TYPE_Q4_0, "Q4_0", SHOAL_QBLOCK, SHOAL_Q4_0_BYTES},
    {SHOAL_TYPE_Q4_1, "Q4_1", SHOAL_QBLOCK, SHOAL_Q4_1_BYTES},
    {SHOAL_TYPE_Q8_0, "Q8_0", SHOAL_QBLOCK, SHOAL_Q8_0_BYTES},
};

const shoal_type_info *shoal_type_get(uint32_t gguf_type)
{
    for (size_t i = 0; i < sizeof type_list / sizeof type_list[0]; i++) {
        if ((uint32_t)type_list[i].type == gguf_type) return &type_list[i];
    }
    return NULL;
}

size_t shoal_type_row_bytes(const shoal_type_info *info, size_t n)
{
    if (n % info->block != 0) return 0;
    size_t blocks = n / info->block;
    if (blocks > SIZE_MAX / info->block_bytes) return 0;
    return blocks * info->block_bytes;
}

/* ---- binary16 -------------------------------------------------------------------------------- */

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float shoal_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu;
    uint32_t fraction = h & 0x3ffu;
    if (exponent == 0) {
        /* Zero or subnormal: fraction * 2^-24, exact in f32. */
        float magnitude = (float)fraction * 0x1p-24f;
        return float_of_bits(sign | bits_of_float(magnitude));
    }
    if (exponent == 31) {
        uint32_t quiet =
            fraction != 0 ? 0x400000u : 0; /* NaNs come out quiet, as F16C makes them */
        return float_of_bits(sign | 0x7f800000u | quiet | fraction << 13);
    }
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t shoal_f32_to_f16(float f)
{
    uint32_t bits = bits_of_float(f);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) { /* NaN: keep the upper payload, make it quiet */
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    }
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 2^16 and above, infinity */
    if (magnitude < 0x38800000u) {
        /* Below 2^-14 the result is a multiple of 2^-24. Adding 0.5 makes the FPU round there, to
         * nearest even, and leaves the multiple in the low bits. */
        uint32_t rounded = bits_of_float(float_of_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (rounded - 0x3f000000u));
    }
    uint32_t odd = (magnitude >> 13) & 1u;
    uint32_t rounded =
        magnitude - 0x38000000u + 0xfffu + odd; /* a carry may reach infinity: right */
    return (uint16_t)(sign | rounded >> 13);
}

static void store_f16(uint8_t *p, float f)
{
    uint16_t h = shoal_f32_to_f16(f);
    p[0] = (uint8_t)(h & 0xff);
    p[1] = (uint8_t)(h >> 8);
}

/* ---- expansion ------------------------------------------------------------------------------- */

static void dequant_f32(const void *row, float *out, size_t n)
{
    memcpy(out, row, n * sizeof *out);
}

static void dequant_f16(const void *row, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i++) {
        out[i] = shoal_load_f16(p + 2 * i);
    }
}

static void dequant_q4_0(const void *row, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q4_0_BYTES) {
        float d = shoal_load_f16(p);
        for (size_t j = 0; j < 16; j++) {
            out[i + j] = (float)((p[2 + j] & 15) - 8) * d;
            out[i + 16 + j] = (float)((p[2 + j] >> 4) - 8) * d;
        }
    }
}

static void dequant_q4_1(const void *row, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q4_1_BYTES) {
        float d = shoal_load_f16(p);
        float m = shoal_load_f16(p + 2);
        for (size_t j = 0; j < 16; j++) {
            out[i + j] = (float)(p[4 + j] & 15) * d + m;
            out[i + 16 + j] = (float)(p[4 + j] >> 4) * d + m;
        }
    }
}

static void dequant_q8_0(const void *row, float *out, size_t n)
{
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += SHOAL_Q8_0_BYTES) {
        float d = shoal_load_f16(p);
        for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
            out[i + j] = (float)(int8_t)p[2 + j] * d;
        }
    }
}

void shoal_quant_init_c(shoal_table *t)
{
    t->dequant[SHOAL_TYPE_F32] = dequant_f32;
    t->dequant[SHOAL_TYPE_F16] = dequant_f16;
    t->dequant[SHOAL_TYPE_Q4_0] = dequant_q4_0;
    t->dequant[SHOAL_TYPE_Q4_1] = dequant_q4_1;
    t->dequant[SHOAL_TYPE_Q8_0] = dequant_q8_0;
}

void shoal_dequantize(shoal_type type, const void *row, float *out, size_t n)
{
    switch (type) {
    case SHOAL_TYPE_F32: dequant_f32(row, out, n); break;
    case SHOAL_TYPE_F16: dequant_f16(row, out, n); break;
    case SHOAL_TYPE_Q4_0: dequant_q4_0(row, out, n); break;
    case SHOAL_TYPE_Q4_1: dequant_q4_1(row, out, n); break;
    case SHOAL_TYPE_Q8_0: dequant_q8_0(row, out, n); break;
    }
}

/* ---- quantisation ---------------------------------------------------------------------------- */

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

void shoal_quantize(shoal_type type, const float *in, void *row, size_t n)
{
    switch (type) {
    case SHOAL_TYPE_F32: memcpy(row, in, n * sizeof *in); break;
    case SHOAL_TYPE_F16: quantize_f16(in, row, n); break;
    case SHOAL_TYPE_Q4_0: quantize_blocks(quantize_block_q4_0, SHOAL_Q4_0_BYTES, in, row, n); break;
    case SHOAL_TYPE_Q4_1: quantize_blocks(quantize_block_q4_1, SHOAL_Q4_1_BYTES, in, row, n); break;
    case SHOAL_TYPE_Q8_0: quantize_blocks(quantize_block_q8_0, SHOAL_Q8_0_BYTES, in, row, n); break;
    }
}
