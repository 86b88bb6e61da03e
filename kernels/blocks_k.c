/* blocks_k.c - unpackers of the K quants: super-blocks of 256 weights, taken 32 at a time.
 *
 * Q4_K and Q5_K: bytes 32 i .. 32 i + 31 of the nibbles hold sub-block 2 i (low) and 2 i + 1
 * (high). Q2_K, Q3_K: 32 bytes hold four sub-blocks, two bits each. Q6_K: 64 bytes of nibbles and
 * 32 bytes of bit pairs hold four sub-blocks.
 */
#include "kernels/blocks.h"
#include "kernels/matmul.h"

_Static_assert(SHOAL_Q2_K_BYTES == 16 + 64 + 2 + 2, "scales, codes, d, dmin");
_Static_assert(SHOAL_Q3_K_BYTES == 32 + 64 + 12 + 2, "high bits, codes, scales, d");
_Static_assert(SHOAL_Q4_K_BYTES == 2 + 2 + 12 + 128, "d, dmin, scales, nibbles");
_Static_assert(SHOAL_Q5_K_BYTES == 2 + 2 + 12 + 32 + 128, "d, dmin, scales, high bits, nibbles");
_Static_assert(SHOAL_Q6_K_BYTES == 128 + 64 + 16 + 2, "nibbles, bit pairs, scales, d");
_Static_assert(SHOAL_KBLOCK == 8 * SHOAL_QBLOCK, "eight sub-blocks");

void shoal_k_scale_min(const uint8_t *p, size_t sub, int *scale, int *min)
{
    if (sub < 4) {
        *scale = p[sub] & 63;
        *min = p[sub + 4] & 63;
    } else {
        *scale = (p[sub + 4] & 15) | p[sub - 4] >> 6 << 4;
        *min = p[sub + 4] >> 4 | p[sub] >> 6 << 4;
    }
}

int shoal_q3_k_scale(const uint8_t *p, size_t i)
{
    int low = i < 8 ? p[i] & 15 : p[i - 8] >> 4;
    int high = p[8 + i % 4] >> i / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

void shoal_unpack_q2_k(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    const uint8_t *codes = p + 16 + sub / 4 * 32;
    for (size_t h = 0; h < 2; h++) {
        w->scale[h] = p[2 * sub + h] & 15;
        w->min[h] = p[2 * sub + h] >> 4;
    }
    w->d = shoal_load_f16(p + 80);
    w->m = shoal_load_f16(p + 82);
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        w->code[j] = (int8_t)(codes[j] >> sub % 4 * 2 & 3);
    }
}

void shoal_unpack_q3_k(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    const uint8_t *codes = p + 32 + sub / 4 * 32;
    for (size_t h = 0; h < 2; h++) {
        w->scale[h] = shoal_q3_k_scale(p + 96, 2 * sub + h);
        w->min[h] = 0;
    }
    w->d = shoal_load_f16(p + 108);
    w->m = 0.0f;
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        int high = (p[j] >> sub & 1) << 2;
        w->code[j] = (int8_t)((codes[j] >> sub % 4 * 2 & 3) + high - 4);
    }
}

/* d, dmin and the scale and minimum of a sub-block of Q4_K and Q5_K, which start alike. */
static void k_scales(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    w->d = shoal_load_f16(p);
    w->m = shoal_load_f16(p + 2);
    shoal_k_scale_min(p + 4, sub, &w->scale[0], &w->min[0]);
    w->scale[1] = w->scale[0];
    w->min[1] = w->min[0];
}

void shoal_unpack_q4_k(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    const uint8_t *codes = p + 16 + sub / 2 * 32;
    k_scales(p, sub, w);
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        w->code[j] = (int8_t)(codes[j] >> sub % 2 * 4 & 15);
    }
}

void shoal_unpack_q5_k(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    const uint8_t *codes = p + 48 + sub / 2 * 32;
    k_scales(p, sub, w);
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        int high = (p[16 + j] >> sub & 1) << 4;
        w->code[j] = (int8_t)((codes[j] >> sub % 2 * 4 & 15) | high);
    }
}

void shoal_unpack_q6_k(const uint8_t *p, size_t sub, shoal_wblock *w)
{
    size_t half = sub / 4, quarter = sub % 4;
    const uint8_t *low = p + 64 * half + 32 * (quarter % 2);
    const uint8_t *high = p + 128 + 32 * half;
    for (size_t h = 0; h < 2; h++) {
        w->scale[h] = (int8_t)p[192 + 2 * sub + h];
        w->min[h] = 0;
    }
    w->d = shoal_load_f16(p + 208);
    w->m = 0.0f;
    for (size_t j = 0; j < SHOAL_QBLOCK; j++) {
        int code = (low[j] >> quarter / 2 * 4 & 15) | (high[j] >> 2 * quarter & 3) << 4;
        w->code[j] = (int8_t)(code - 32);
    }
}
