/* gemm16_avx2.c - the 16-bit products: vpmaddwd multiplies and adds pairs, 16 products an
 * instruction where f32 has 8. Conversions take the steps of C: peak, factor, product, clamp,
 * rounding to nearest even.
 *
 * Tile of 6 rows x 16 columns: 12 sums, 2 vectors of the panel, a pair of the row broadcast; 192
 * multiply-adds for 8 loads.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/act.h"
#include "kernels/gemm16.h"
#include "kernels/simd.h"

/* Eight sums plus the products of eight pairs. */
SHOAL_INLINE __m256i add_pairs(__m256i acc, __m256i x, __m256i w)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w));
}

enum { TILE = 6 };

SHOAL_INLINE __m256i broadcast_pair(const int16_t *codes)
{
    int32_t pair;
    memcpy(&pair, codes, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* Eight outputs: sum * (row's scale * columns' scales), added to `in` or not. */
SHOAL_INLINE void put_sums(__m256i sum, __m256 scale, const float *in, float *out)
{
    __m256 before = in == NULL ? _mm256_setzero_ps() : _mm256_loadu_ps(in);
    _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, before));
}

/* out [rows, 16] = in + rows of `pairs` pairs by a panel; rows is a constant. */
SHOAL_INLINE void tile(size_t rows, const int16_t *codes, const float *scales,
                       const shoal_panel16 *panel, size_t pairs, const shoal_sums16 *sums)
{
    __m256i lo[TILE];
    __m256i hi[TILE];
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        lo[r] = _mm256_setzero_si256();
        hi[r] = _mm256_setzero_si256();
    }
    const int16_t *b = &panel->codes[0][0][0];
    for (size_t i = 0; i < pairs; i++, b += 2 * SHOAL_PANEL) {
        __m256i b0 = _mm256_loadu_si256((const __m256i *)(const void *)b);
        __m256i b1 = _mm256_loadu_si256((const __m256i *)(const void *)(b + SHOAL_PANEL));
        SHOAL_UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m256i x = broadcast_pair(codes + r * 2 * pairs + 2 * i);
            lo[r] = add_pairs(lo[r], x, b0);
            hi[r] = add_pairs(hi[r], x, b1);
            SHOAL_IN_REGISTER(lo[r]);
            SHOAL_IN_REGISTER(hi[r]);
        }
    }
    __m256 s0 = _mm256_loadu_ps(panel->scale);
    __m256 s1 = _mm256_loadu_ps(panel->scale + 8);
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const float *in = sums->in == NULL ? NULL : sums->in + r * sums->ld_in;
        float *out = sums->out + r * sums->ld_out;
        __m256 s = _mm256_set1_ps(scales[r]);
        put_sums(lo[r], _mm256_mul_ps(s, s0), in, out);
        put_sums(hi[r], _mm256_mul_ps(s, s1), in == NULL ? NULL : in + 8, out + 8);
    }
}

SHOAL_INLINE void advance(shoal_sums16 *sums, size_t rows)
{
    if (sums->in != NULL) sums->in += rows * sums->ld_in;
    sums->out += rows * sums->ld_out;
}

/* Full width, any number of rows. */
static void gemm16_full(const int16_t *codes, const float *scales, size_t T,
                        const shoal_panel16 *panel, size_t pairs, shoal_sums16 sums)
{
    for (; T >= TILE; T -= TILE, codes += TILE * 2 * pairs, scales += TILE) {
        tile(TILE, codes, scales, panel, pairs, &sums);
        advance(&sums, TILE);
    }
    switch (T) {
    case 5: tile(5, codes, scales, panel, pairs, &sums); break;
    case 4: tile(4, codes, scales, panel, pairs, &sums); break;
    case 3: tile(3, codes, scales, panel, pairs, &sums); break;
    case 2: tile(2, codes, scales, panel, pairs, &sums); break;
    case 1: tile(1, codes, scales, panel, pairs, &sums); break;
    default: break;
    }
}

/* A narrow panel is computed at full width on the side, from and to its first `cols` columns. */
static void gemm16_narrow(const int16_t *codes, const float *scales, size_t T,
                          const shoal_panel16 *panel, size_t pairs, shoal_sums16 sums, size_t cols)
{
    for (size_t t = 0; t < T; t++, codes += 2 * pairs) {
        float side[SHOAL_PANEL] = {0};
        shoal_sums16 row = {side, side, SHOAL_PANEL, SHOAL_PANEL};
        if (sums.in != NULL) memcpy(side, sums.in, cols * sizeof *side);
        tile(1, codes, scales + t, panel, pairs, &row);
        memcpy(sums.out, side, cols * sizeof *side);
        advance(&sums, 1);
    }
}

static void gemm16(const int16_t *codes, const float *scales, size_t T, const shoal_panel16 *panel,
                   size_t k, shoal_sums16 sums, size_t cols)
{
    if (cols == SHOAL_PANEL) {
        gemm16_full(codes, scales, T, panel, (k + 1) / 2, sums);
    } else {
        gemm16_narrow(codes, scales, T, panel, (k + 1) / 2, sums, cols);
    }
}

/* ---- conversions ------------------------------------------------------------------------------
 */

enum { VEC = 8, HALF = SHOAL_PANEL / 2 };

SHOAL_INLINE __m256 absolute(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* most / peak, and its inverse in *scale; zero where the peak counts as zero. */
SHOAL_INLINE __m256 factor_of(__m256 peak, float most, __m256 *scale)
{
    __m256 m = _mm256_set1_ps(most);
    __m256 used = _mm256_cmp_ps(peak, _mm256_set1_ps(SHOAL_ACT_PEAK_MIN), _CMP_GT_OQ);
    *scale = _mm256_and_ps(_mm256_div_ps(peak, m), used);
    return _mm256_and_ps(_mm256_div_ps(m, peak), used);
}

/* Eight codes in 32 bits each. A NaN becomes -most, as in C. */
SHOAL_INLINE __m256i codes_of(__m256 x, __m256 factor, float most)
{
    __m256 v = _mm256_max_ps(_mm256_mul_ps(x, factor), _mm256_set1_ps(-most));
    return _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(most)));
}

/* Sixteen codes of 16 bits, in order, from sixteen values. */
SHOAL_INLINE __m256i codes_row(const float *x, __m256 factor, float most)
{
    __m256i lo = codes_of(_mm256_loadu_ps(x), factor, most);
    __m256i hi = codes_of(_mm256_loadu_ps(x + VEC), factor, most);
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(lo, hi), 0xd8);
}

SHOAL_INLINE float max_lane(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

/* Peak of a row of k values, k a multiple of 8. */
SHOAL_INLINE float row_peak(const float *x, size_t k)
{
    __m256 peak = _mm256_setzero_ps();
    for (size_t i = 0; i < k; i += VEC) {
        peak = _mm256_max_ps(absolute(_mm256_loadu_ps(x + i)), peak);
    }
    return max_lane(peak);
}

/* A row whose length does not fill vectors, as one that does: zeros behind. */
SHOAL_INLINE const float *padded(const float *x, size_t k, float *side)
{
    memset(side, 0, SHOAL_GEMM16_K * sizeof *side);
    memcpy(side, x, k * sizeof *side);
    return side;
}

static void pack_row(const float *x, size_t k, int16_t *codes, float *scale)
{
    __m256 s;
    __m256 factor = factor_of(_mm256_set1_ps(row_peak(x, k)), SHOAL_CODE16_X, &s);
    *scale = _mm256_cvtss_f32(s);
    for (size_t i = 0; i < k; i += 2 * VEC) {
        _mm256_storeu_si256((__m256i *)(void *)(codes + i),
                            codes_row(x + i, factor, SHOAL_CODE16_X));
    }
}

static void pack16(const float *x, size_t ld, size_t n, size_t k, int16_t *codes, float *scales)
{
    size_t even = k + k % 2;
    for (size_t t = 0; t < n; t++, x += ld, codes += even) {
        if (k % (2 * VEC) == 0) {
            pack_row(x, k, codes, scales + t);
            continue;
        }
        float side[SHOAL_GEMM16_K];
        int16_t row[SHOAL_GEMM16_K];
        pack_row(padded(x, k, side), (k + 15) / 16 * 16, row, scales + t);
        memcpy(codes, row, even * sizeof *codes);
    }
}

/* Eight rows of eight pairs to columns: out[i][j] = pair i of row j; rows of out are a panel's. */
SHOAL_INLINE void transpose_pairs(const __m256i r[8], int16_t *out)
{
    __m256i t[8];
    __m256i u[8];
    SHOAL_UNROLL
    for (size_t i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    SHOAL_UNROLL
    for (size_t i = 0; i < 8; i += 4) {
        u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    SHOAL_UNROLL
    for (size_t i = 0; i < 4; i++) {
        __m256i *lo = (__m256i *)(void *)(out + i * 2 * SHOAL_PANEL);
        __m256i *hi = (__m256i *)(void *)(out + (i + 4) * 2 * SHOAL_PANEL);
        _mm256_storeu_si256(lo, _mm256_permute2x128_si256(u[i], u[4 + i], 0x20));
        _mm256_storeu_si256(hi, _mm256_permute2x128_si256(u[i], u[4 + i], 0x31));
    }
}

/* Columns [at, at + 8) of a panel from eight rows of k values, k a multiple of 16. */
static void panel_half(const float *rows, size_t ld, size_t k, size_t at, shoal_panel16 *panel)
{
    float peaks[HALF];
    float factors[HALF];
    for (size_t j = 0; j < HALF; j++) {
        peaks[j] = row_peak(rows + j * ld, k);
    }
    __m256 scale;
    _mm256_storeu_ps(factors, factor_of(_mm256_loadu_ps(peaks), SHOAL_CODE16_W, &scale));
    _mm256_storeu_ps(panel->scale + at, scale);
    for (size_t i = 0; i < k; i += 2 * VEC) {
        __m256i r[HALF];
        SHOAL_UNROLL
        for (size_t j = 0; j < HALF; j++) {
            r[j] = codes_row(rows + j * ld + i, _mm256_set1_ps(factors[j]), SHOAL_CODE16_W);
        }
        transpose_pairs(r, &panel->codes[i / 2][at][0]);
    }
}

static void panel16_rows(const float *rows, size_t ld, size_t n, size_t k, shoal_panel16 *panel)
{
    if (n == SHOAL_PANEL && k % (2 * VEC) == 0) {
        panel_half(rows, ld, k, 0, panel);
        panel_half(rows + HALF * ld, ld, k, HALF, panel);
        return;
    }
    float side[SHOAL_PANEL][SHOAL_GEMM16_K] = {{0}};
    for (size_t j = 0; j < n; j++) {
        memcpy(side[j], rows + j * ld, k * sizeof *rows);
    }
    size_t wide = (k + 2 * VEC - 1) / (2 * VEC) * 2 * VEC;
    panel_half(side[0], SHOAL_GEMM16_K, wide, 0, panel);
    panel_half(side[HALF], SHOAL_GEMM16_K, wide, HALF, panel);
}

/* Columns [at, at + 8) of a panel from k rows of eight values. */
static void panel_columns(const float *rows, size_t ld, size_t k, size_t at, shoal_panel16 *panel)
{
    __m256 peak = _mm256_setzero_ps();
    for (size_t i = 0; i < k; i++) {
        peak = _mm256_max_ps(absolute(_mm256_loadu_ps(rows + i * ld)), peak);
    }
    __m256 scale;
    __m256 factor = factor_of(peak, SHOAL_CODE16_W, &scale);
    _mm256_storeu_ps(panel->scale + at, scale);
    for (size_t i = 0; i < k; i += 2, rows += 2 * ld) {
        __m256i even = codes_of(_mm256_loadu_ps(rows), factor, SHOAL_CODE16_W);
        __m256i odd = _mm256_setzero_si256();
        if (i + 1 < k) odd = codes_of(_mm256_loadu_ps(rows + ld), factor, SHOAL_CODE16_W);
        __m256i pairs = _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa);
        _mm256_storeu_si256((__m256i *)(void *)&panel->codes[i / 2][at][0], pairs);
    }
}

static void panel16_cols(const float *rows, size_t ld, size_t n, size_t k, shoal_panel16 *panel)
{
    if (n == SHOAL_PANEL) {
        panel_columns(rows, ld, k, 0, panel);
        panel_columns(rows + VEC, ld, k, VEC, panel);
        return;
    }
    float side[SHOAL_GEMM16_K][SHOAL_PANEL];
    for (size_t i = 0; i < k; i++) {
        memset(side[i], 0, sizeof side[i]);
        memcpy(side[i], rows + i * ld, n * sizeof *rows);
    }
    panel_columns(side[0], SHOAL_PANEL, k, 0, panel);
    panel_columns(side[0] + VEC, SHOAL_PANEL, k, VEC, panel);
}

void shoal_gemm16_init_avx2(shoal_table *t)
{
    t->pack16 = pack16;
    t->panel16_rows = panel16_rows;
    t->panel16_cols = panel16_cols;
    t->gemm16 = gemm16;
}
