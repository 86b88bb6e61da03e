/* dense.h - small products of strided f32 views: the arithmetic of attention and of adapters.
 *
 * Every output has one accumulation order, fixed by the length of the sum alone, so a value does
 * not depend on how many rows or columns were asked for together: nt         eight partial sums
 * (lane l takes every k with k mod 8 = l), then
 *              ((0+1)+(2+3)) + ((4+5)+(6+7))
 *   nn         k ascending from 0, the total times `s` added to c last
 * These are the contracts of the table's slots; here are the portable versions.
 *
 * Layer: kernels/, internal. Threads: pure.
 */
#ifndef SHOAL_KERNELS_DENSE_H
#define SHOAL_KERNELS_DENSE_H

#include <stddef.h>

/* c [m, n] = a [m, k] b [n, k]^T; ld* are row strides in floats. */
void shoal_dense_nt_c(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                      size_t ldb, float *c, size_t ldc);

/* c [m, n] += s * a [m, k] b [k, n]; element (i, k) of a is a[i * a_row + k * a_col], so a may be
 * read transposed. */
void shoal_dense_nn_c(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                      size_t a_col, const float *b, size_t ldb, float *c, size_t ldc);

/* out [cols, rows] = in [rows, cols]^T. */
void shoal_dense_transpose_c(size_t rows, size_t cols, const float *in, size_t ld_in, float *out,
                             size_t ld_out);

#endif
