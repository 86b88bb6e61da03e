/* lowrank.h - what the matrix products share with lowrank.c.
 *
 * Layer: kernels/, private. Threads: called inside a parallel range.
 */
#ifndef SHOAL_KERNELS_LOWRANK_H
#define SHOAL_KERNELS_LOWRANK_H

#include "kernels/table.h"

/* y [T, M] += scale * h [T, R] B^T, B [M, R], rows of y `ldy` apart; the same bits of an output
 * whatever T and M are. */
void shoal_lowrank_add(const shoal_table *t, size_t T, size_t M, size_t R, float scale,
                       const float *h, const float *B, float *y, size_t ldy);

#endif
