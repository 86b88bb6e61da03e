/* gemm.c - cache blocking and portable slots of the f32 products. See gemm.h. */
#include "kernels/gemm.h"

#include <string.h>

void shoal_gemm_panels(const shoal_table *table, const float *a, size_t lda, size_t T,
                       const float *panels, size_t k, float *c, size_t ldc, size_t cols, bool add)
{
    for (size_t t = 0; t < T; t += SHOAL_GEMM_ROWS) {
        size_t n = T - t < SHOAL_GEMM_ROWS ? T - t : SHOAL_GEMM_ROWS;
        const float *panel = panels;
        for (size_t j = 0; j < cols; j += SHOAL_PANEL, panel += SHOAL_PANEL_FLOATS) {
            size_t w = cols - j < SHOAL_PANEL ? cols - j : SHOAL_PANEL;
            table->gemm_panel(a + t * lda, lda, n, panel, k, c + t * ldc + j, ldc, w, add);
        }
    }
}

static void panel_c(const float *rows, size_t ld, size_t n, size_t k, float *panel)
{
    for (size_t i = 0; i < k; i++) {
        for (size_t r = 0; r < SHOAL_PANEL; r++) {
            panel[i * SHOAL_PANEL + r] = r < n ? rows[r * ld + i] : 0.0f;
        }
    }
}

static void store_row(const float *acc, float *c, size_t cols, bool add)
{
    for (size_t j = 0; j < cols; j++) {
        c[j] = add ? c[j] + acc[j] : acc[j];
    }
}

static void gemm_panel_c(const float *a, size_t lda, size_t T, const float *panel, size_t k,
                         float *c, size_t ldc, size_t cols, bool add)
{
    for (size_t t = 0; t < T; t++) {
        float acc[SHOAL_PANEL] = {0};
        for (size_t i = 0; i < k; i++) {
            float v = a[t * lda + i];
            for (size_t j = 0; j < SHOAL_PANEL; j++) {
                acc[j] += v * panel[i * SHOAL_PANEL + j];
            }
        }
        store_row(acc, c + t * ldc, cols, add);
    }
}

void shoal_gemm_init_c(shoal_table *t)
{
    t->panel = panel_c;
    t->gemm_panel = gemm_panel_c;
}
