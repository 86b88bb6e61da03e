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
 * Affine types are Shoal's own, with all scaling in one 16-bit word: half a bit a weight where Q4_1
 * spends a whole one. The word is s << 7 | u, d = 2^(s / 32 - 13) * (1 + s % 32 / 32) for s in
 * 0..511, and the zero point z is u / 8 (Q4_A) or u / 2 (Q6_A).
 *   Q4_A    word, nibbles [16]                w = d * (q - z)
 *   Q6_A    word, nibbles [16], pairs [8]     bits 2 h, 2 h + 1 of pair k: bits 4, 5 of weight 8 h
 * + k
 *
 * Packed types too are Shoal's own: a plain type with eight rows interleaved as the products
 * read them, so that nothing is shuffled or copied at run time. Their numbers are far above those
 * GGUF has given out; readers that do not know them refuse the file. Rows are a multiple of 8. A
 * group of 8 rows is its blocks in order; a block of the group is 8 d or words, (P4_1) 8 m, then
 * the code bytes in fours: bytes 4 j .. 4 j + 3 of row 0, of row 1, ... of row 7, for j = 0, 1, ...
 * The bytes are those of the plain type, so packing loses nothing and changes no result.
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
    SHOAL_TYPE_BF16 = 30,
    SHOAL_TYPE_Q4_A = 248, /* from here on Shoal's own */
    SHOAL_TYPE_Q6_A = 249,
    SHOAL_TYPE_P4_0 = 250,
    SHOAL_TYPE_P4_1 = 251,
    SHOAL_TYPE_P8_0 = 252,
    SHOAL_TYPE_P4_A = 253,
    SHOAL_TYPE_P6_A = 254
} shoal_type;

typedef struct shoal_type_info {
    shoal_type type;
    const char *name;   /* "Q4_1" */
    size_t block;       /* weights in a block; a row is a whole number of blocks */
    size_t block_bytes; /* bytes of a block */
    size_t group;       /* rows that lie interleaved: 8 for packed types, else 1 */
} shoal_type_info;

/* Description of a GGUF type number; NULL for types this build does not compute with. */
const shoal_type_info *shoal_type_get(uint32_t gguf_type);

/* The type of this name ("Q4_K", any case), among those computed with; false when there is none. */
bool shoal_type_parse(const char *name, shoal_type *out);

/* Bytes of a row of n weights; 0 when n is not a multiple of the block or the product overflows. */
size_t shoal_type_row_bytes(const shoal_type_info *info, size_t n);

float shoal_f16_to_f32(uint16_t h);
uint16_t shoal_f32_to_f16(float f); /* round to nearest, ties to even */

/* The packed form of a plain type and the plain form of a packed one; the type itself when it has
 * none. */
shoal_type shoal_type_packed(shoal_type plain);
shoal_type shoal_type_plain(shoal_type packed);

/* Interleaves 8 plain rows of n weights, row_bytes apart, into a group of the packed type. */
void shoal_pack_group(shoal_type packed, const void *rows, size_t row_bytes, size_t n, void *out);

/* Expands n weights (a multiple of the block) of a row, bit for bit as the formats define it.
 * Packed types have no rows of their own: see shoal_mat_row. */
void shoal_dequantize(shoal_type type, const void *row, float *out, size_t n);

/* Whether shoal_quantize writes this type: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K,
 * Q5_K, Q6_K, Q4_A and Q6_A. */
bool shoal_type_writable(shoal_type type);

/* Most that the weights of a block may span, 0 included, without being clipped: 118 for Q4_A, 496
 * for Q6_A and their packed forms, infinity for the others (F16's own range aside). */
float shoal_type_span(shoal_type type);

/* Quantises n weights (a multiple of the block) into a row of a writable type. Scales and minimums
 * are searched for the least weighted error (fit.h); Q8_0 takes d = absmax / 127. */
void shoal_quantize(shoal_type type, const float *in, void *row, size_t n);

#ifdef __cplusplus
}
#endif
#endif
