/* blocks.h - block formats taken apart: what expansion and the 8-bit products in C share.
 *
 * Every block format of quant.h is unpacked 32 weights at a time into one shape, so a new format
 * is one unpacker. Layer: kernels/, private. Threads: pure.
 */
#ifndef SHOAL_KERNELS_BLOCKS_H
#define SHOAL_KERNELS_BLOCKS_H

#include "kernels/table.h"

enum {
    SHOAL_Q4_0_BYTES = 18,
    SHOAL_Q4_1_BYTES = 20,
    SHOAL_Q5_0_BYTES = 22,
    SHOAL_Q5_1_BYTES = 24,
    SHOAL_Q8_0_BYTES = 34,
    SHOAL_IQ4_NL_BYTES = 18,
    SHOAL_Q4_A_BYTES = 18,
    SHOAL_Q6_A_BYTES = 26,
    SHOAL_KBLOCK = 256, /* weights of a K super-block */
    SHOAL_Q2_K_BYTES = 84,
    SHOAL_Q3_K_BYTES = 110,
    SHOAL_Q4_K_BYTES = 144,
    SHOAL_Q5_K_BYTES = 176,
    SHOAL_Q6_K_BYTES = 210
};

/* 32 weights; h = 0 for the first 16, 1 for the rest:
 *   w[i] = (d * scale[h]) * code[i] - (m * min[h])     products and difference each rounded once */
typedef struct shoal_wblock {
    int8_t code[SHOAL_QBLOCK];
    int scale[2], min[2];
    float d, m;
} shoal_wblock;

/* Takes apart sub-block `sub` (0 for legacy types) of the block at p. */
typedef void shoal_unpack_fn(const uint8_t *p, size_t sub, shoal_wblock *w);

shoal_unpack_fn shoal_unpack_q4_0, shoal_unpack_q4_1, shoal_unpack_q5_0, shoal_unpack_q5_1,
    shoal_unpack_q8_0, shoal_unpack_iq4_nl, shoal_unpack_q4_a, shoal_unpack_q6_a;
shoal_unpack_fn shoal_unpack_q2_k, shoal_unpack_q3_k, shoal_unpack_q4_k, shoal_unpack_q5_k,
    shoal_unpack_q6_k;

/* The same for packed types, of the row `lane` in the group's block at p. */
shoal_unpack_fn shoal_unpack_p4_0, shoal_unpack_p4_1, shoal_unpack_p8_0, shoal_unpack_p4_a,
    shoal_unpack_p6_a;

/* Rows of a packed group. */
enum { SHOAL_LANES = 8 };

/* The word of an affine block: s << 7 | u. */
enum {
    SHOAL_AFFINE_ZERO_BITS = 7,
    SHOAL_AFFINE_FRACTION_BITS = 5,
    SHOAL_AFFINE_SCALES = 512,
    SHOAL_AFFINE_BIAS = 127 - 13 /* from s / 32 to the exponent field of an f32 */
};

/* d of a word's upper 9 bits s. */
float shoal_affine_scale(unsigned s);

/* The 16 levels of IQ4_NL. */
extern const int8_t shoal_iq4_levels[16];

/* Q4_K's and Q5_K's twelve bytes: 6-bit scale and minimum of sub-block `sub`. */
void shoal_k_scale_min(const uint8_t *p, size_t sub, int *scale, int *min);

/* Q3_K's twelve bytes: 6-bit scale of 16 weights, -32..31. */
int shoal_q3_k_scale(const uint8_t *p, size_t i);

/* Writes n values as binary16 at out, which may lie anywhere. */
void shoal_halves_store(const float *in, uint8_t *out, size_t n);

/* Writes the binary16 nearest to f at p. */
void shoal_store_f16(uint8_t *p, float f);

/* Quantises one block of x to p. */
typedef void shoal_quantize_block_fn(const float *x, uint8_t *p);
shoal_quantize_block_fn shoal_quantize_block_q4_k, shoal_quantize_block_q5_k,
    shoal_quantize_block_q6_k, shoal_quantize_block_q4_a, shoal_quantize_block_q6_a;

/* The portable expansion of a type. */
shoal_dequant_fn *shoal_dequant_portable(shoal_type type);

/* Where the binary16 scales of a block lie; the second is SIZE_MAX where there is one only.
 * (Random bytes become a sane block by setting these: tests and self-checks.) */
void shoal_block_scales(shoal_type type, size_t at[2]);

#endif
