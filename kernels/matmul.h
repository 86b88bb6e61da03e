/* matmul.h - what the files of the matrix products share.
 *
 * Layer: kernels/, private. Threads: pure.
 */
#ifndef SHOAL_KERNELS_MATMUL_H
#define SHOAL_KERNELS_MATMUL_H

#include "kernels/table.h"

/* First byte of the block that holds element (row, col) of w: of the group's for packed types. */
const void *shoal_mat_at(const shoal_mat *w, size_t row, size_t col);

/* out [n] = weights col .. col + n - 1 of a row. For block types col and n are multiples of 32. */
void shoal_mat_expand(const shoal_table *table, const shoal_mat *w, size_t row, size_t col,
                      float *out, size_t n);

/* The binary16 at p, little-endian, any alignment. */
static inline float shoal_load_f16(const uint8_t *p)
{
    return shoal_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Asks for the lines of [p + ahead, p + ahead + bytes); the address need not be valid. For
 * weights read once, which the hardware prefetcher of a virtual machine may not follow. */
static inline void shoal_prefetch(const void *p, size_t ahead, size_t bytes)
{
#if defined(__GNUC__)
    uintptr_t at = (uintptr_t)p + ahead;
    for (uintptr_t end = at + bytes; at < end; at += 64) {
        __builtin_prefetch((const void *)at);
    }
#else
    (void)p, (void)ahead, (void)bytes;
#endif
}

/* Asks for columns [col, col + k) of rows [first, first + n) of w, of those that there are: into
 * L2, while other things are computed. k is not 0. */
void shoal_mat_fetch(const shoal_mat *w, size_t first, size_t n, size_t col, size_t k);

void shoal_dot_init_c(shoal_table *t);
void shoal_dot_init_avx2(shoal_table *t);
void shoal_dot_k_init_avx2(shoal_table *t); /* called by the above */
void shoal_quant_init_avx2(shoal_table *t);

#endif
