/* gemm.h - f32 products over panels, shared by matmul.c (forward) and matmul_dx.c (backward).
 *
 * Both walk the summed dimension in steps of SHOAL_GEMM_K: expand that piece of the weights into
 * panels in the worker's scratch, multiply all T rows by it, add to the output. Blocking after
 * Goto and van de Geijn 2008: a panel (16 KB) stays in L1, the panels of a range and a chunk of
 * rows in L2.
 *
 * Layer: kernels/, private. Threads: called inside a parallel range.
 */
#ifndef SHOAL_KERNELS_GEMM_H
#define SHOAL_KERNELS_GEMM_H

#include "kernels/table.h"

enum {
    SHOAL_GEMM_K = 256,    /* depth of a panel */
    SHOAL_GEMM_ROWS = 126, /* rows of a chunk; a multiple of 6, the tile */
    SHOAL_PANEL_FLOATS = SHOAL_GEMM_K * SHOAL_PANEL
};

/* c [T, cols] (+)= a [T, k] B [k, cols]; B is ceil(cols / 16) panels, SHOAL_PANEL_FLOATS apart. */
void shoal_gemm_panels(const shoal_table *table, const float *a, size_t lda, size_t T,
                       const float *panels, size_t k, float *c, size_t ldc, size_t cols, bool add);

void shoal_gemm_init_c(shoal_table *t);
void shoal_gemm_init_avx2(shoal_table *t);

#endif
