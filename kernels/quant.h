/* quant.h - tensor element types of GGUF files and how their blocks are laid out.
 *
 * Values of shoal_type are GGUF's own type numbers, so a file's field converts by a checked lookup.
 * Little-endian throughout; d and m are IEEE binary16, BF16 is the upper half of an f32.
 *
 * Blocks of 32 weights ("legacy" quants). Nibbles: low ones are weights 0..15, high 16..31; qh is a
 * 32-bit word whose bit i is bit 4 of weight i.
 *   Q4_0    d, nibbles [16]           w = d * (q - 8)
 *   Q4_1    d, m, nibbles [16]        w = d * q + m
 *   Q5_0    d, qh, nibbles [16]       w = d * (q - 16)
 *   Q5_1    d, m, qh, nibbles [16]    w = d * q + m
 *   Q8_0    d, int8 [32]              w = d * q
 *   IQ4_NL  d, nibbles [16]           w = d * level[q], 16 fixed levels that are not evenly spaced
 *
 * Super-blocks of 256 weights (K quants): 8 sub-blocks of 32 (or 16 of 16) with small integer
 * scales s and minimums u under one d and dmin; w = (d * s) * q - (dmin * u).
 *   Q2_K  16 x (4-bit s, 4-bit u), 2-bit codes [64], d, dmin       u, s per 16 weights
 *   Q3_K  high bits [32], 2-bit codes [64], 16 6-bit s - 32 [12], d   q in -4..3, s per 16, no u
 *   Q4_K  d, dmin, 8 x (6-bit s, 6-bit u) [12], nibbles [128]      s, u per 32
 *   Q5_K  d, dmin, 8 x (6-bit s, 6-bit u) [12], high bits [32], nibbles [128]
 *   Q6_K  low nibbles [128], high bit pairs [64], int8 s [16], d   q in -32..31, s per 16, no u
 * The order of codes inside is in blocks_k.c. Source: ggml-common.h, ggml-quants.c (the formats).
 *
 * Layer: kernels/. Threads: pure functions.
 */
#ifndef SHOAL_KERNELS_QUANT_H
#define SHOAL_KERNELS_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum shoal_type {
    SHOAL_TYPE_F32 = 0,
    SHOAL_TYPE_F16 = 1,
    SHOAL_TYPE_Q4_0 = 2,
    SHOAL_TYPE_Q4_1 = 3,
    SHOAL_TYPE_Q5_0 = 6,
    SHOAL_TYPE_Q5_1 = 7,
    SHOAL_TYPE_Q8_0 = 8,
    SHOAL_TYPE_Q2_K = 10,
    SHOAL_TYPE_Q3_K = 11,
    SHOAL_TYPE_Q4_K = 12,
    SHOAL_TYPE_Q5_K = 13,
    SHOAL_TYPE_Q6_K = 14,
    SHOAL_TYPE_IQ4_NL = 20,
    SHOAL_TYPE_BF16 = 30
} shoal_type;

typedef struct shoal_type_info {
    shoal_type type;
    const char *name;   /* "Q4_1" */
    size_t block;       /* weights in a block; a row is a whole number of blocks */
    size_t block_bytes; /* bytes of a block */
} shoal_type_info;

/* Description of a GGUF type number; NULL for types this build does not compute with. */
const shoal_type_info *shoal_type_get(uint32_t gguf_type);

/* Bytes of a row of n weights; 0 when n is not a multiple of the block or the product overflows. */
size_t shoal_type_row_bytes(const shoal_type_info *info, size_t n);

float shoal_f16_to_f32(uint16_t h);
uint16_t shoal_f32_to_f16(float f); /* round to nearest, ties to even */

/* Expands n weights (a multiple of the block) of a row, bit for bit as the formats define it. */
void shoal_dequantize(shoal_type type, const void *row, float *out, size_t n);

/* Whether shoal_quantize writes this type: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K
 * and Q6_K. */
bool shoal_type_writable(shoal_type type);

/* Quantises n weights (a multiple of the block) into a row of a writable type. Scales and minimums
 * are searched for the least weighted error (fit.h); Q8_0 takes d = absmax / 127. */
void shoal_quantize(shoal_type type, const float *in, void *row, size_t n);

#ifdef __cplusplus
}
#endif
#endif
