/* act.h - where a tile of packed activations lies (layout: table.h).
 *
 * Layer: kernels/, private. Threads: pure.
 */
#ifndef SHOAL_KERNELS_ACT_H
#define SHOAL_KERNELS_ACT_H

#include "kernels/table.h"

/* Below this peak a block counts as zero: 127 / peak would leave f32. */
#define SHOAL_ACT_PEAK_MIN 1e-30f

/* Tile holding rows t0.. of a; t0 is a multiple of SHOAL_ACT_TILE. */
const void *shoal_act_tile(const shoal_act *a, size_t t0);

void shoal_act_pack_c(const float *x, size_t n, size_t N, void *tile);

#endif
