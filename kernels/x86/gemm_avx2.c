/* gemm_avx2.c - the f32 panel product and the transpose that fills a panel.
 *
 * Tile of 6 rows x 16 columns: 12 accumulators, 2 vectors of the panel, 1 broadcast (the shape of
 * BLIS's Haswell kernel, Van Zee and van de Geijn 2015); 12 FMA for 8 loads a step of k. An output
 * is one chain of FMA over k from 0 whatever the tile, so shapes agree bit for bit.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/simd.h"

enum { TILE = 6 };

/* c [rows, 16] (+)= a [rows, k] panel; rows is a constant. */
SHOAL_INLINE void tile(size_t rows, const float *a, size_t lda, const float *panel, size_t k,
                       float *c, size_t ldc, bool add)
{
    __m256 lo[TILE];
    __m256 hi[TILE];
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        lo[r] = _mm256_setzero_ps();
        hi[r] = _mm256_setzero_ps();
    }
    for (size_t i = 0; i < k; i++, panel += SHOAL_PANEL) {
        __m256 b0 = _mm256_loadu_ps(panel);
        __m256 b1 = _mm256_loadu_ps(panel + 8);
        SHOAL_UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m256 v = _mm256_broadcast_ss(a + r * lda + i);
            lo[r] = _mm256_fmadd_ps(v, b0, lo[r]);
            hi[r] = _mm256_fmadd_ps(v, b1, hi[r]);
        }
    }
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        if (add) {
            lo[r] = _mm256_add_ps(_mm256_loadu_ps(c + r * ldc), lo[r]);
            hi[r] = _mm256_add_ps(_mm256_loadu_ps(c + r * ldc + 8), hi[r]);
        }
        _mm256_storeu_ps(c + r * ldc, lo[r]);
        _mm256_storeu_ps(c + r * ldc + 8, hi[r]);
    }
}

#include "kernels/gemm_simd.inc"

/* 8 rows of 8 floats, `ld` apart, to columns of out [8][16]. */
SHOAL_INLINE void transpose8(const float *rows, size_t ld, float *out)
{
    __m256 r[8];
    __m256 t[8];
    for (size_t i = 0; i < 8; i++) {
        r[i] = _mm256_loadu_ps(rows + i * ld);
    }
    for (size_t i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (size_t i = 0; i < 2; i++) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (size_t i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * SHOAL_PANEL, _mm256_permute2f128_ps(r[i], r[4 + i], 0x20));
        _mm256_storeu_ps(out + (4 + i) * SHOAL_PANEL, _mm256_permute2f128_ps(r[i], r[4 + i], 0x31));
    }
}

static void panel_avx2(const float *rows, size_t ld, size_t n, size_t k, float *panel)
{
    size_t done = 0;
    if (n == SHOAL_PANEL) {
        for (; done + 8 <= k; done += 8) {
            transpose8(rows + done, ld, panel + done * SHOAL_PANEL);
            transpose8(rows + 8 * ld + done, ld, panel + done * SHOAL_PANEL + 8);
        }
    }
    for (size_t i = done; i < k; i++) {
        for (size_t r = 0; r < SHOAL_PANEL; r++) {
            panel[i * SHOAL_PANEL + r] = r < n ? rows[r * ld + i] : 0.0f;
        }
    }
}

void shoal_gemm_init_avx2(shoal_table *t)
{
    t->panel = panel_avx2;
    t->gemm_panel = gemm_panel;
}
