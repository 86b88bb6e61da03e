/* gemm_avx512.c - the f32 panel product: a row of the panel is one vector.
 *
 * Tile of 14 rows x 16 columns: 14 accumulators, a vector of the panel, broadcasts from memory; 126
 * rows, a chunk of gemm.h, are nine tiles. Each four rows have a pointer. An output is one chain of
 * FMA over k from 0 whatever the tile, as in gemm_avx2.c: the same bits.
 */
#include "kernels/gemm.h"
#include "kernels/x86/init.h"
#include "kernels/x86/vec16.h"

enum { TILE = 14 };

/* c [rows, cols] (+)= a [rows, k] panel; rows is a constant, `cols` the columns wanted. */
SHOAL_INLINE void tile(size_t rows, const float *a, size_t lda, const float *panel, size_t k,
                       float *c, size_t ldc, vmask cols, bool add)
{
    vf acc[TILE];
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        acc[r] = vf_zero();
    }
    const float *four[(TILE + 3) / 4];
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r += 4) {
        four[r / 4] = a + r * lda;
        SHOAL_OWN_POINTER(four[r / 4]);
    }
    for (size_t i = 0; i < k; i++, panel += SHOAL_PANEL) {
        vf b = vf_load(panel);
        SHOAL_UNROLL
        for (size_t r = 0; r < rows; r++) {
            acc[r] = vf_fma(vf_set1(four[r / 4][r % 4 * lda + i]), b, acc[r]);
        }
    }
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        if (add) {
            acc[r] = vf_add(vf_load_part(c + r * ldc, cols), acc[r]);
        }
        vf_store_part(c + r * ldc, cols, acc[r]);
    }
}

static void gemm_panel(const float *a, size_t lda, size_t T, const float *panel, size_t k, float *c,
                       size_t ldc, size_t cols, bool add)
{
    vmask mask = vm_first(cols);
    for (; T >= TILE; T -= TILE, a += TILE * lda, c += TILE * ldc) {
        tile(TILE, a, lda, panel, k, c, ldc, mask, add);
    }
    for (; T >= 4; T -= 4, a += 4 * lda, c += 4 * ldc) {
        tile(4, a, lda, panel, k, c, ldc, mask, add);
    }
    if (T >= 2) {
        tile(2, a, lda, panel, k, c, ldc, mask, add);
        T -= 2, a += 2 * lda, c += 2 * ldc;
    }
    if (T == 1) {
        tile(1, a, lda, panel, k, c, ldc, mask, add);
    }
}

void shoal_gemm_init_avx512(shoal_table *t)
{
    t->gemm_panel = gemm_panel;
}
