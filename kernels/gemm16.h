/* gemm16.h - products in 16 bits, for training: wide enough for gradients, twice the rate of f32.
 *
 * Both operands become integers, a scale for every SHOAL_GEMM16_K values of the summed dimension:
 * activations and gradients 14 bits, one scale a row; weights 12 bits, one scale a column of a
 * panel. A chunk's sum of products is an exact 32-bit integer; chunks are added up in f32, one FMA
 * each, in order. So an output has the same bits whatever the level, T and the number of threads.
 *
 * The error of a value is at most half a step of its chunk's peak: 2^-14 for activations, 2^-12 for
 * weights, against 2^-8 of 8-bit activations. Weights are expanded from their blocks first, so any
 * type works, and a strip of them is converted once for all rows.
 *
 * Layer: kernels/, private. Threads: called inside a parallel range.
 */
#ifndef SHOAL_KERNELS_GEMM16_H
#define SHOAL_KERNELS_GEMM16_H

#include "kernels/table.h"

/* Chunk of the summed dimension that starts at `at`: at a multiple of SHOAL_GEMM16_K, of k values.
 */
typedef struct shoal_act16 {
    int16_t *codes; /* [T][k rounded up to even] */
    float *scales;  /* [T] */
    size_t k;
} shoal_act16;

shoal_act16 shoal_act16_chunk(const shoal_act *a, size_t at);

/* The 16-bit kind of act.c. */
size_t shoal_act16_bytes(size_t T, size_t N);
void shoal_act16_prepare(const shoal_exec *ex, shoal_act *a);

/* Sums of a strip gather in scratch, because rows of an output are far apart: with a power of two
 * between them they would fight for a few lines of L1 at every chunk. So many rows at a time. */
enum { SHOAL_GEMM16_ROWS = 512 };

/* Output of n <= SHOAL_GEMM16_ROWS rows of a strip: y [n, cols] (+)= the product. */
typedef struct shoal_strip16 {
    float *y;
    size_t ldy;
    bool add;
    float *scratch; /* [n, cols] */
} shoal_strip16;

/* Adds what rows [t0, t0 + n) of the chunk that starts at `at`, of a dimension of `depth`, give by
 * B [k, cols], ceil(cols / 16) panels one behind the other. The first chunk starts from y or zero,
 * the last one leaves the sums in y. */
void shoal_gemm16_panels(const shoal_table *table, const shoal_act *a, size_t at, size_t t0,
                         size_t n, const shoal_panel16 *panels, size_t cols,
                         const shoal_strip16 *strip);

void shoal_gemm16_init_c(shoal_table *t);
void shoal_gemm16_init_avx2(shoal_table *t);

#endif
