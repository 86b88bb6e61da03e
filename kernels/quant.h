/* quant.h - tensor element types of GGUF files and how their blocks are laid out.
 *
 * Values of shoal_type are GGUF's own type numbers, so a file's field converts by a checked lookup.
 * Block formats (GGUF/ggml "legacy" quants, 32 weights a block, little-endian, d and m are IEEE
 * binary16):
 *   Q4_0  d, 16 bytes of nibbles: w[i] = d * (nibble - 8)        low nibbles 0..15, high 16..31
 *   Q4_1  d, m, 16 bytes of nibbles: w[i] = d * nibble + m       same order
 *   Q8_0  d, 32 signed bytes: w[i] = d * q
 *
 * Layer: kernels/. Threads: pure functions.
 */
#ifndef SHOAL_KERNELS_QUANT_H
#define SHOAL_KERNELS_QUANT_H

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
    SHOAL_TYPE_Q8_0 = 8
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

/* Quantises n weights into a row (round to nearest; scale choice as the reference quantisers:
 * Q4_0 d = signed absmax / -8, Q4_1 d = (max - min) / 15, Q8_0 d = absmax / 127). */
void shoal_quantize(shoal_type type, const float *in, void *row, size_t n);

#ifdef __cplusplus
}
#endif
#endif
