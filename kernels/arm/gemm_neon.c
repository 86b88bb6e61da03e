/* gemm_neon.c - the f32 panel product and the transpose that fills a panel.
 *
 * Tile of 6 rows x 16 columns: 24 accumulators, 4 vectors of the panel, the value of a row as a
 * lane of FMA: 30 of 32 registers. An output is one chain of FMA over k from 0 whatever the tile,
 * so shapes agree bit for bit.
 */
#include "kernels/arm/arm.h"
#include "kernels/arm/neon_math.h"
#include "kernels/gemm.h"

enum { TILE = 6, QUADS = SHOAL_PANEL / 4 };

/* c [rows, 16] (+)= a [rows, k] panel; rows is a constant. */
SHOAL_INLINE void tile(size_t rows, const float *a, size_t lda, const float *panel, size_t k,
                       float *c, size_t ldc, bool add)
{
    float32x4_t acc[TILE][QUADS];
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        SHOAL_UNROLL
        for (size_t v = 0; v < QUADS; v++) {
            acc[r][v] = vdupq_n_f32(0.0f);
        }
    }
    for (size_t i = 0; i < k; i++, panel += SHOAL_PANEL) {
        float32x4_t b[QUADS];
        SHOAL_UNROLL
        for (size_t v = 0; v < QUADS; v++) {
            b[v] = vld1q_f32(panel + 4 * v);
        }
        SHOAL_UNROLL
        for (size_t r = 0; r < rows; r++) {
            float x = a[r * lda + i];
            SHOAL_UNROLL
            for (size_t v = 0; v < QUADS; v++) {
                acc[r][v] = vfmaq_n_f32(acc[r][v], b[v], x);
            }
        }
    }
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        SHOAL_UNROLL
        for (size_t v = 0; v < QUADS; v++) {
            float *to = c + r * ldc + 4 * v;
            vst1q_f32(to, add ? vaddq_f32(vld1q_f32(to), acc[r][v]) : acc[r][v]);
        }
    }
}

#include "kernels/gemm_simd.inc"

static void panel_neon(const float *rows, size_t ld, size_t n, size_t k, float *panel)
{
    size_t done = n == SHOAL_PANEL ? k / 4 * 4 : 0;
    for (size_t i = 0; i < done; i += 4) {
        SHOAL_UNROLL
        for (size_t r = 0; r < SHOAL_PANEL; r += 4) {
            transpose_4x4(rows + r * ld + i, ld, panel + i * SHOAL_PANEL + r, SHOAL_PANEL);
        }
    }
    for (size_t i = done; i < k; i++) {
        for (size_t r = 0; r < SHOAL_PANEL; r++) {
            panel[i * SHOAL_PANEL + r] = r < n ? rows[r * ld + i] : 0.0f;
        }
    }
}

void shoal_gemm_init_neon(shoal_table *t)
{
    t->panel = panel_neon;
    t->gemm_panel = gemm_panel;
}
