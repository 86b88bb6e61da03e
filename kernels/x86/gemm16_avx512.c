/* gemm16_avx512.c - the 16-bit products with vpdpwssd: 32 multiply-adds an instruction, and the sum
 * with it.
 *
 * Tile of 12 rows x 16 columns: 12 sums, a pair of depths of the panel in one vector, a pair of
 * each row broadcast from memory. The integer sums are exact and the f32 operations those of
 * gemm16_avx2.c, conversions too: the same bits.
 */
#include <string.h>

#include "kernels/act.h"
#include "kernels/gemm16.h"
#include "kernels/x86/init.h"
#include "kernels/x86/transpose16.h"
#include "kernels/x86/vec16.h"

enum { TILE = 12, FULL = SHOAL_GEMM16_K / 2 };

SHOAL_INLINE vi broadcast_pair(const int16_t *codes)
{
    int32_t pair;
    memcpy(&pair, codes, sizeof pair);
    return vi_set1(pair);
}

/* A whole tile fetches the codes of the next one, a line a step.
 *
 * out [rows, cols] = in + rows of `pairs` pairs by a panel; rows is a constant. */
SHOAL_INLINE void tile(size_t rows, const int16_t *codes, const float *scales,
                       const shoal_panel16 *panel, size_t pairs, const shoal_sums16 *sums,
                       size_t at, vmask cols)
{
    vi sum[TILE];
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        sum[r] = vi_zero();
    }
    const int16_t *four[(TILE + 3) / 4], *b = &panel->codes[0][0][0];
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r += 4) {
        four[r / 4] = codes + r * 2 * pairs;
        SHOAL_OWN_POINTER(four[r / 4]);
    }
    uintptr_t next = (uintptr_t)(codes + rows * 2 * pairs); /* need not be there */
    for (size_t i = 0; i < pairs; i++, b += 2 * SHOAL_PANEL) {
        vi w = vi_load(b);
        if (rows == TILE) _mm_prefetch((const char *)(next + 64 * i), _MM_HINT_T0);
        SHOAL_UNROLL
        for (size_t r = 0; r < rows; r++) {
            const int16_t *x = four[r / 4] + r % 4 * 2 * pairs + 2 * i;
            sum[r] = vi_dot_pairs(sum[r], w, broadcast_pair(x));
        }
    }
    vf scale = vf_load(panel->scale);
    const float *in = sums->in == NULL ? NULL : sums->in + at * sums->ld_in;
    float *out = sums->out + at * sums->ld_out;
    SHOAL_UNROLL
    for (size_t r = 0; r < rows; r++) {
        vf before = in == NULL ? vf_zero() : vf_load_part(in + r * sums->ld_in, cols);
        vf s = vf_mul(vf_set1(scales[r]), scale);
        vf_store_part(out + r * sums->ld_out, cols, vf_fma(vi_to_f32(sum[r]), s, before));
    }
}

/* Any number of rows; `pairs` may be a constant. */
SHOAL_INLINE void all_rows(const int16_t *codes, const float *scales, size_t T,
                           const shoal_panel16 *panel, size_t pairs, const shoal_sums16 *sums,
                           vmask cols)
{
    size_t t = 0;
    for (; t + TILE <= T; t += TILE) {
        tile(TILE, codes + t * 2 * pairs, scales + t, panel, pairs, sums, t, cols);
    }
    for (; t + 4 <= T; t += 4) {
        tile(4, codes + t * 2 * pairs, scales + t, panel, pairs, sums, t, cols);
    }
    for (; t < T; t++) {
        tile(1, codes + t * 2 * pairs, scales + t, panel, pairs, sums, t, cols);
    }
}

static void gemm16(const int16_t *codes, const float *scales, size_t T, const shoal_panel16 *panel,
                   size_t k, shoal_sums16 sums, size_t cols)
{
    vmask mask = vm_first(cols);
    if (k == SHOAL_GEMM16_K) { /* distances between rows become constants */
        all_rows(codes, scales, T, panel, FULL, &sums, mask);
    } else {
        all_rows(codes, scales, T, panel, (k + 1) / 2, &sums, mask);
    }
}

/* ---- conversions ------------------------------------------------------------------------------
 */

/* most / peak, and its inverse in *scale; zero where the peak counts as zero. */
SHOAL_INLINE vf factor_of(vf peak, float most, vf *scale)
{
    vf m = vf_set1(most), least = vf_set1(SHOAL_ACT_PEAK_MIN);
    *scale = vf_keep_above(peak, least, vf_div(peak, m));
    return vf_keep_above(peak, least, vf_div(m, peak));
}

/* Sixteen codes in 32 bits each. A NaN becomes -most, as in C. */
SHOAL_INLINE vi codes_of(vf x, vf factor, float most)
{
    return vf_round(vf_min(vf_max(vf_mul(x, factor), vf_set1(-most)), vf_set1(most)));
}

/* Peak of a row of k values; NaN counts for nothing. */
SHOAL_INLINE float row_peak(const float *x, size_t k)
{
    vf peak = vf_zero();
    for (size_t i = 0; i < k; i += VEC_LANES) {
        peak = vf_max(vf_abs(vf_load_part(x + i, vm_first(k - i))), peak);
    }
    return vf_max_lane(peak);
}

static void pack16(const float *x, size_t ld, size_t n, size_t k, int16_t *codes, float *scales)
{
    size_t even = k + k % 2, full = k / VEC_LANES * VEC_LANES;
    for (size_t t = 0; t < n; t++, x += ld, codes += even) {
        vf s[1], factor = factor_of(vf_set1(row_peak(x, k)), SHOAL_CODE16_X, s);
        vf_store_part(scales + t, vm_first(1), s[0]);
        for (size_t i = 0; i < full; i += VEC_LANES) {
            vi_store_narrow(codes + i, codes_of(vf_load(x + i), factor, SHOAL_CODE16_X));
        }
        if (full < k) {
            int16_t last[VEC_LANES];
            vf part = vf_load_part(x + full, vm_first(k - full));
            vi_store_narrow(last, codes_of(part, factor, SHOAL_CODE16_X));
            memcpy(codes + full, last, (even - full) * sizeof *last);
        }
    }
}

/* Depths [i, i + 32) of a row of k values, as codes. */
SHOAL_INLINE vi row_codes(const float *x, size_t i, size_t k, vf factor)
{
    vmask lo = vm_first(k - i), hi = vm_first(k - i < VEC_LANES ? 0 : k - i - VEC_LANES);
    return vi_narrow(codes_of(vf_load_part(x + i, lo), factor, SHOAL_CODE16_W),
                     codes_of(vf_load_part(x + i + VEC_LANES, hi), factor, SHOAL_CODE16_W));
}

static void panel16_rows(const float *rows, size_t ld, size_t n, size_t k, shoal_panel16 *panel)
{
    float peaks[SHOAL_PANEL] = {0}, factors[SHOAL_PANEL];
    vf scale;
    for (size_t j = 0; j < n; j++) {
        peaks[j] = row_peak(rows + j * ld, k);
    }
    vf_store(factors, factor_of(vf_load(peaks), SHOAL_CODE16_W, &scale));
    vf_store(panel->scale, scale);
    for (size_t i = 0; i < k; i += 2 * VEC_LANES) {
        vi r[SHOAL_PANEL];
        for (size_t j = 0; j < SHOAL_PANEL; j++) {
            r[j] = j < n ? row_codes(rows + j * ld, i, k, vf_set1(factors[j])) : vi_zero();
        }
        vi_transpose(r);
        SHOAL_UNROLL
        for (size_t j = 0; j < SHOAL_PANEL; j++) {
            vi_store(panel->codes[i / 2 + j], r[j]);
        }
    }
}

static void panel16_cols(const float *rows, size_t ld, size_t n, size_t k, shoal_panel16 *panel)
{
    vmask cols = vm_first(n);
    vf peak = vf_zero(), scale;
    for (size_t i = 0; i < k; i++) {
        peak = vf_max(vf_abs(vf_load_part(rows + i * ld, cols)), peak);
    }
    vf factor = factor_of(peak, SHOAL_CODE16_W, &scale);
    vf_store(panel->scale, scale);
    for (size_t i = 0; i < k; i += 2, rows += 2 * ld) {
        vi even = codes_of(vf_load_part(rows, cols), factor, SHOAL_CODE16_W), odd = vi_zero();
        if (i + 1 < k) odd = codes_of(vf_load_part(rows + ld, cols), factor, SHOAL_CODE16_W);
        vi_store(panel->codes[i / 2], vi_pairs(even, odd));
    }
}

void shoal_gemm16_init_avx512(shoal_table *t)
{
    t->pack16 = pack16;
    t->panel16_rows = panel16_rows;
    t->panel16_cols = panel16_cols;
    t->gemm16 = gemm16;
}
