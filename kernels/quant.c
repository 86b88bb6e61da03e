/* quant.c - element types, binary16 and expansion of the block formats of quant.h, in portable C.
 *
 * Blocks are read byte by byte: they lie unaligned in files.
 */
#include "kernels/quant.h"

#include <string.h>

#include "kernels/blocks.h"
#include "kernels/matmul.h"

static const shoal_type_info type_list[] = {
    {SHOAL_TYPE_F32, "F32", 1, 4, 1},
    {SHOAL_TYPE_F16, "F16", 1, 2, 1},
    {SHOAL_TYPE_Q4_0, "Q4_0", SHOAL_QBLOCK, SHOAL_Q4_0_BYTES, 1},
    {SHOAL_TYPE_Q4_1, "Q4_1", SHOAL_QBLOCK, SHOAL_Q4_1_BYTES, 1},
    {SHOAL_TYPE_Q5_0, "Q5_0", SHOAL_QBLOCK, SHOAL_Q5_0_BYTES, 1},
    {SHOAL_TYPE_Q5_1, "Q5_1", SHOAL_QBLOCK, SHOAL_Q5_1_BYTES, 1},
    {SHOAL_TYPE_Q8_0, "Q8_0", SHOAL_QBLOCK, SHOAL_Q8_0_BYTES, 1},
    {SHOAL_TYPE_Q2_K, "Q2_K", SHOAL_KBLOCK, SHOAL_Q2_K_BYTES, 1},
    {SHOAL_TYPE_Q3_K, "Q3_K", SHOAL_KBLOCK, SHOAL_Q3_K_BYTES, 1},
    {SHOAL_TYPE_Q4_K, "Q4_K", SHOAL_KBLOCK, SHOAL_Q4_K_BYTES, 1},
    {SHOAL_TYPE_Q5_K, "Q5_K", SHOAL_KBLOCK, SHOAL_Q5_K_BYTES, 1},
    {SHOAL_TYPE_Q6_K, "Q6_K", SHOAL_KBLOCK, SHOAL_Q6_K_BYTES, 1},
    {SHOAL_TYPE_IQ4_NL, "IQ4_NL", SHOAL_QBLOCK, SHOAL_IQ4_NL_BYTES, 1},
    {SHOAL_TYPE_BF16, "BF16", 1, 2, 1},
    {SHOAL_TYPE_Q4_A, "Q4_A", SHOAL_QBLOCK, SHOAL_Q4_A_BYTES, 1},
    {SHOAL_TYPE_Q6_A, "Q6_A", SHOAL_QBLOCK, SHOAL_Q6_A_BYTES, 1},
    {SHOAL_TYPE_P4_0, "P4_0", SHOAL_QBLOCK, SHOAL_Q4_0_BYTES, SHOAL_LANES},
    {SHOAL_TYPE_P4_1, "P4_1", SHOAL_QBLOCK, SHOAL_Q4_1_BYTES, SHOAL_LANES},
    {SHOAL_TYPE_P8_0, "P8_0", SHOAL_QBLOCK, SHOAL_Q8_0_BYTES, SHOAL_LANES},
    {SHOAL_TYPE_P4_A, "P4_A", SHOAL_QBLOCK, SHOAL_Q4_A_BYTES, SHOAL_LANES},
    {SHOAL_TYPE_P6_A, "P6_A", SHOAL_QBLOCK, SHOAL_Q6_A_BYTES, SHOAL_LANES},
};

const shoal_type_info *shoal_type_get(uint32_t gguf_type)
{
    for (size_t i = 0; i < sizeof type_list / sizeof type_list[0]; i++) {
        if ((uint32_t)type_list[i].type == gguf_type) return &type_list[i];
    }
    return NULL;
}

static bool same_letters(const char *a, const char *upper)
{
    for (; *a != '\0' && *upper != '\0'; a++, upper++) {
        char c = *a >= 'a' && *a <= 'z' ? (char)(*a - 'a' + 'A') : *a;
        if (c != *upper) return false;
    }
    return *a == *upper;
}

bool shoal_type_parse(const char *name, shoal_type *out)
{
    for (size_t i = 0; i < sizeof type_list / sizeof type_list[0]; i++) {
        if (same_letters(name, type_list[i].name)) {
            *out = type_list[i].type;
            return true;
        }
    }
    return false;
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

/* The cases are worked out side by side and chosen without a branch, so that compilers turn loops
 * over it into vectors. Below 2^-14 the result is a multiple of 2^-24: adding 0.5 makes the FPU
 * round there, to nearest even, and leaves the multiple in the low bits. From there on the rounding
 * carry may reach infinity, which is right. A NaN keeps its upper payload and becomes quiet. */
static inline uint16_t half_of(float f)
{
    const uint32_t min_normal = 0x38800000u, overflow = 0x47800000u, infinity = 0x7f800000u;
    uint32_t bits = bits_of_float(f);
    uint32_t m = bits & 0x7fffffffu;
    uint32_t small = bits_of_float(float_of_bits(m < min_normal ? m : 0) + 0.5f) - 0x3f000000u;
    uint32_t normal = (m - 0x38000000u + 0xfffu + (m >> 13 & 1u)) >> 13;
    uint32_t h = m < min_normal ? small : normal;
    h = m >= overflow ? 0x7c00u : h;
    h = m > infinity ? (0x7e00u | (m >> 13 & 0x3ffu)) : h;
    return (uint16_t)((bits >> 16 & 0x8000u) | h);
}

uint16_t shoal_f32_to_f16(float f)
{
    return half_of(f);
}

void shoal_halves_store(const float *in, uint8_t *out, size_t n)
{
    uint16_t h[SHOAL_QBLOCK];
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK) {
        size_t m = n - i < SHOAL_QBLOCK ? n - i : SHOAL_QBLOCK;
        for (size_t j = 0; j < m; j++) {
            h[j] = half_of(in[i + j]);
        }
        memcpy(out + 2 * i, h, 2 * m); /* little-endian, as files are */
    }
}

/* ---- expansion ------------------------------------------------------------------------------- */

static void dequant_f32(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    memcpy(out, row, n * sizeof *out);
}

static void dequant_f16(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i++) {
        out[i] = shoal_load_f16(p + 2 * i);
    }
}

static void dequant_bf16(const void *row, size_t part, float *out, size_t n)
{
    (void)part;
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i++) {
        out[i] = float_of_bits((uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24);
    }
}

static void expand_block(const shoal_wblock *w, float *out)
{
    for (size_t h = 0; h < 2; h++) {
        float d = w->d * (float)w->scale[h];
        float m = w->m * (float)w->min[h];
        for (size_t j = h * 16; j < h * 16 + 16; j++) {
            out[j] = d * (float)w->code[j] - m;
        }
    }
}

static void dequant_blocks(shoal_unpack_fn *unpack, size_t subs, size_t block_bytes,
                           const uint8_t *p, size_t part, float *out, size_t n)
{
    for (size_t i = 0; i < n / SHOAL_QBLOCK; i++) {
        shoal_wblock w;
        unpack(p + (part + i) / subs * block_bytes, (part + i) % subs, &w);
        expand_block(&w, out + i * SHOAL_QBLOCK);
    }
}

#define DEQUANT(lower, UPPER, subs)                                                           \
    static void dequant_##lower(const void *row, size_t part, float *out, size_t n)           \
    {                                                                                         \
        dequant_blocks(shoal_unpack_##lower, subs, SHOAL_##UPPER##_BYTES, row, part, out, n); \
    }

DEQUANT(q4_0, Q4_0, 1)
DEQUANT(q4_1, Q4_1, 1)
DEQUANT(q5_0, Q5_0, 1)
DEQUANT(q5_1, Q5_1, 1)
DEQUANT(q8_0, Q8_0, 1)
DEQUANT(iq4_nl, IQ4_NL, 1)
DEQUANT(q4_a, Q4_A, 1)
DEQUANT(q6_a, Q6_A, 1)
DEQUANT(q2_k, Q2_K, 8)
DEQUANT(q3_k, Q3_K, 8)
DEQUANT(q4_k, Q4_K, 8)
DEQUANT(q5_k, Q5_K, 8)
DEQUANT(q6_k, Q6_K, 8)

static void dequant_packed(shoal_unpack_fn *unpack, size_t block_bytes, const uint8_t *p,
                           size_t lane, float *out, size_t n)
{
    for (size_t i = 0; i < n; i += SHOAL_QBLOCK, p += block_bytes * SHOAL_LANES) {
        shoal_wblock w;
        unpack(p, lane, &w);
        expand_block(&w, out + i);
    }
}

#define DEQUANT_PACKED(lower, UPPER)                                                    \
    static void dequant_##lower(const void *row, size_t part, float *out, size_t n)     \
    {                                                                                   \
        dequant_packed(shoal_unpack_##lower, SHOAL_##UPPER##_BYTES, row, part, out, n); \
    }

DEQUANT_PACKED(p4_0, Q4_0)
DEQUANT_PACKED(p4_1, Q4_1)
DEQUANT_PACKED(p8_0, Q8_0)
DEQUANT_PACKED(p4_a, Q4_A)
DEQUANT_PACKED(p6_a, Q6_A)

static shoal_dequant_fn *const dequant_c[SHOAL_TYPE_SLOTS] = {
    [SHOAL_TYPE_F32] = dequant_f32,   [SHOAL_TYPE_F16] = dequant_f16,
    [SHOAL_TYPE_BF16] = dequant_bf16, [SHOAL_TYPE_Q4_0] = dequant_q4_0,
    [SHOAL_TYPE_Q4_1] = dequant_q4_1, [SHOAL_TYPE_Q5_0] = dequant_q5_0,
    [SHOAL_TYPE_Q5_1] = dequant_q5_1, [SHOAL_TYPE_Q8_0] = dequant_q8_0,
    [SHOAL_TYPE_Q2_K] = dequant_q2_k, [SHOAL_TYPE_Q3_K] = dequant_q3_k,
    [SHOAL_TYPE_Q4_K] = dequant_q4_k, [SHOAL_TYPE_Q5_K] = dequant_q5_k,
    [SHOAL_TYPE_Q6_K] = dequant_q6_k, [SHOAL_TYPE_IQ4_NL] = dequant_iq4_nl,
    [SHOAL_TYPE_P4_0] = dequant_p4_0, [SHOAL_TYPE_P4_1] = dequant_p4_1,
    [SHOAL_TYPE_P8_0] = dequant_p8_0, [SHOAL_TYPE_Q4_A] = dequant_q4_a,
    [SHOAL_TYPE_Q6_A] = dequant_q6_a, [SHOAL_TYPE_P4_A] = dequant_p4_a,
    [SHOAL_TYPE_P6_A] = dequant_p6_a,
};

void shoal_quant_init_c(shoal_table *t)
{
    memcpy(t->dequant, dequant_c, sizeof dequant_c);
}

void shoal_dequantize(shoal_type type, const void *row, float *out, size_t n)
{
    dequant_c[type](row, 0, out, n);
}

shoal_dequant_fn *shoal_dequant_portable(shoal_type type)
{
    return dequant_c[type];
}

void shoal_block_scales(shoal_type type, size_t at[2])
{
    at[0] = 0;
    at[1] = SIZE_MAX;
    switch (type) {
    case SHOAL_TYPE_Q4_1:
    case SHOAL_TYPE_Q5_1:
    case SHOAL_TYPE_Q4_K:
    case SHOAL_TYPE_Q5_K: at[1] = 2; break;
    case SHOAL_TYPE_Q2_K: at[0] = 80, at[1] = 82; break;
    case SHOAL_TYPE_Q3_K: at[0] = 108; break;
    case SHOAL_TYPE_Q6_K: at[0] = 208; break;
    default: break;
    }
}
