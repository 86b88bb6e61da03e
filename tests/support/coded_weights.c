/* coded_weights.c - see coded_weights.h. */
#include "tests/support/coded_weights.h"

#include <stdint.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/blocks.h"

/* Of a block with random codes and d = 1: the deviation of its weights, and the minimum (m, dmin)
 * that makes their mean 0. */
typedef struct coded_type {
    shoal_type type;
    float deviation, minimum;
} coded_type;

static const coded_type TYPES[] = {
    {SHOAL_TYPE_Q4_0, 4.6f, 0},    {SHOAL_TYPE_Q4_1, 4.6f, -7.5f}, {SHOAL_TYPE_Q5_0, 9.2f, 0},
    {SHOAL_TYPE_Q5_1, 9.2f, -15},  {SHOAL_TYPE_Q8_0, 74, 0},       {SHOAL_TYPE_IQ4_NL, 68, 0},
    {SHOAL_TYPE_Q2_K, 14, 1.5f},   {SHOAL_TYPE_Q3_K, 43, 0},       {SHOAL_TYPE_Q4_K, 258, 7.5f},
    {SHOAL_TYPE_Q5_K, 527, 15.5f}, {SHOAL_TYPE_Q6_K, 1366, 0},     {SHOAL_TYPE_Q4_A, 4.6f, 0},
    {SHOAL_TYPE_Q6_A, 18.5f, 0},
};

static const coded_type *find_type(shoal_type type)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (TYPES[i].type == type) return &TYPES[i];
    }
    return NULL;
}

/* A sum of four uniform numbers of 16 bits has a deviation of 65536 / sqrt(3). */
void coded_values(shoal_rng *rng, float mean, float std, float *x, size_t n)
{
    float unit = std * (1.7320508f / 65536.0f);
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = shoal_rng_u64(rng);
        int32_t sum = -2 * 65535;
        for (size_t part = 0; part < 4; part++) {
            sum += (int32_t)(bits >> 16 * part & 0xffff);
        }
        float scaled = unit * (float)sum; /* a statement of its own: never a fused operation */
        x[i] = scaled;
        x[i] += mean;
    }
}

/* The word of an affine type: the largest scale not above d, a random fraction, the zero point in
 * the middle of the codes (7.5 or 31.5) and a little around it. */
static void store_word(shoal_rng *rng, shoal_type type, float d, unsigned char *p)
{
    unsigned s = SHOAL_AFFINE_SCALES - 1;
    while (s > 0 && shoal_affine_scale(s) > d) {
        s--;
    }
    unsigned zero = type == SHOAL_TYPE_Q4_A ? 60 : 63;
    zero += (unsigned)shoal_rng_below(rng, 4);
    unsigned word = s << SHOAL_AFFINE_ZERO_BITS | zero;
    p[0] = (unsigned char)(word & 0xff);
    p[1] = (unsigned char)(word >> 8);
}

/* Scales lie between 0.75 and 1.25 of what gives the deviation asked for. */
static void store_scales(shoal_rng *rng, const coded_type *t, float std, unsigned char *block)
{
    size_t at[2];
    float d = std / t->deviation * (float)(12 + shoal_rng_below(rng, 9)) / 16.0f;
    shoal_block_scales(t->type, at);
    if (t->type == SHOAL_TYPE_Q4_A || t->type == SHOAL_TYPE_Q6_A) {
        store_word(rng, t->type, d, block);
        return;
    }
    shoal_store_f16(block + at[0], d);
    if (at[1] != SIZE_MAX) shoal_store_f16(block + at[1], d * t->minimum);
}

static void fill_plain(shoal_rng *rng, const coded_type *t, float std, size_t n_blocks,
                       unsigned char *out)
{
    size_t block_bytes = shoal_type_get((uint32_t)t->type)->block_bytes;
    for (size_t b = 0; b < n_blocks; b++, out += block_bytes) {
        for (size_t i = 0; i < block_bytes; i++) {
            out[i] = (unsigned char)(shoal_rng_u64(rng) >> 56);
        }
        store_scales(rng, t, std, out);
    }
}

static bool fill_floats(shoal_rng *rng, shoal_type type, float std, size_t n, unsigned char *out)
{
    float *x = shoal_calloc(n, sizeof *x);
    if (x == NULL) return false;
    coded_values(rng, 0.0f, std, x, n);
    shoal_quantize(type, x, out, n);
    shoal_free(x);
    return true;
}

static bool pack_rows(shoal_type packed, size_t rows, size_t row_bytes, size_t cols,
                      unsigned char *w)
{
    unsigned char *plain = shoal_calloc(rows, row_bytes);
    if (plain == NULL) return false;
    memcpy(plain, w, rows * row_bytes);
    for (size_t r = 0; r < rows; r += SHOAL_LANES) {
        shoal_pack_group(packed, plain + r * row_bytes, row_bytes, cols, w + r * row_bytes);
    }
    shoal_free(plain);
    return true;
}

bool coded_weights(shoal_rng *rng, shoal_type type, float std, size_t rows, size_t cols,
                   unsigned char *out)
{
    shoal_type plain = shoal_type_plain(type);
    const shoal_type_info *info = shoal_type_get((uint32_t)plain);
    const coded_type *coded = find_type(plain);
    if (info == NULL || cols % info->block != 0) return false;
    if (info->block == 1) return fill_floats(rng, plain, std, rows * cols, out);
    if (coded == NULL || (type != plain && rows % SHOAL_LANES != 0)) return false;
    fill_plain(rng, coded, std, rows * cols / info->block, out);
    size_t row_bytes = cols / info->block * info->block_bytes;
    return type == plain || pack_rows(type, rows, row_bytes, cols, out);
}
