/* gemm16.c - blocking and portable slots of the 16-bit products. See gemm16.h. */
#include "kernels/gemm16.h"

#include <math.h>
#include <string.h>

#include "kernels/act.h"

enum { ROWS = 48 }; /* of a chunk: 12 KB, in L1 beside a panel; a multiple of the tiles' rows */

_Static_assert((int64_t)SHOAL_GEMM16_K *SHOAL_CODE16_X *SHOAL_CODE16_W <= INT32_MAX,
               "the integer sum of a chunk fits 32 bits");

static size_t even(size_t k)
{
    return k + k % 2;
}

static size_t count_chunks(size_t N)
{
    return (N + SHOAL_GEMM16_K - 1) / SHOAL_GEMM16_K;
}

size_t shoal_act16_bytes(size_t T, size_t N)
{
    return T * even(N) * sizeof(int16_t) + T * count_chunks(N) * sizeof(float);
}

shoal_act16 shoal_act16_chunk(const shoal_act *a, size_t at)
{
    int16_t *codes = a->packed;
    float *scales = (float *)(void *)(codes + a->T * even(a->N));
    size_t left = a->N - at;
    return (shoal_act16){.codes = codes + a->T * at,
                         .scales = scales + at / SHOAL_GEMM16_K * a->T,
                         .k = left < SHOAL_GEMM16_K ? left : SHOAL_GEMM16_K};
}

typedef struct pack16_job {
    const shoal_table *table;
    const shoal_act *a;
} pack16_job;

static void pack16_rows(void *ctx, size_t begin, size_t end, unsigned worker)
{
    (void)worker;
    const pack16_job *job = ctx;
    const shoal_act *a = job->a;
    for (size_t at = 0; at < a->N; at += SHOAL_GEMM16_K) {
        shoal_act16 chunk = shoal_act16_chunk(a, at);
        job->table->pack16(a->x + begin * a->N + at, a->N, end - begin, chunk.k,
                           chunk.codes + begin * even(chunk.k), chunk.scales + begin);
    }
}

void shoal_act16_prepare(const shoal_exec *ex, shoal_act *a)
{
    pack16_job job = {.table = ex->table, .a = a};
    shoal_parallel_for(ex->pool, a->T, ROWS, pack16_rows, &job);
}

/* From y or zero to scratch, from scratch to scratch, from scratch to y; or at once. */
static shoal_sums16 sums_of(const shoal_strip16 *s, size_t cols, bool first, bool last)
{
    shoal_sums16 sums = {s->scratch, s->scratch, cols, cols};
    if (first) {
        sums.in = s->add ? s->y : NULL;
        sums.ld_in = s->ldy;
    }
    if (last) {
        sums.out = s->y;
        sums.ld_out = s->ldy;
    }
    return sums;
}

static shoal_sums16 sums_from(shoal_sums16 sums, size_t row, size_t col)
{
    if (sums.in != NULL) sums.in += row * sums.ld_in + col;
    sums.out += row * sums.ld_out + col;
    return sums;
}

void shoal_gemm16_panels(const shoal_table *table, const shoal_act *a, size_t at, size_t t0,
                         size_t n, const shoal_panel16 *panels, size_t cols,
                         const shoal_strip16 *strip)
{
    shoal_act16 chunk = shoal_act16_chunk(a, at);
    shoal_sums16 sums = sums_of(strip, cols, at == 0, at + chunk.k == a->N);
    for (size_t t = 0; t < n; t += ROWS) {
        size_t rows = n - t < ROWS ? n - t : ROWS;
        const shoal_panel16 *panel = panels;
        for (size_t j = 0; j < cols; j += SHOAL_PANEL, panel++) {
            size_t w = cols - j < SHOAL_PANEL ? cols - j : SHOAL_PANEL;
            table->gemm16(chunk.codes + (t0 + t) * even(chunk.k), chunk.scales + t0 + t, rows,
                          panel, chunk.k, sums_from(sums, t, j), w);
        }
    }
}

/* What turns values up to `peak` into codes up to `most`; 0 for a peak that counts as zero. */
static float code_factor(float peak, int most)
{
    return peak > SHOAL_ACT_PEAK_MIN ? (float)most / peak : 0.0f;
}

static float code_scale(float peak, int most)
{
    return peak > SHOAL_ACT_PEAK_MIN ? peak / (float)most : 0.0f;
}

/* Rounds to nearest even, as SIMD conversions do. */
static int16_t code_of(float x, float factor, int most)
{
    return (int16_t)lrintf(fminf(fmaxf(x * factor, (float)-most), (float)most));
}

/* Peak of n values, `step` apart. */
static float peak_of(const float *x, size_t n, size_t step)
{
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++) {
        peak = fmaxf(peak, fabsf(x[i * step]));
    }
    return peak;
}

static void pack16_c(const float *x, size_t ld, size_t n, size_t k, int16_t *codes, float *scales)
{
    for (size_t t = 0; t < n; t++, x += ld, codes += even(k)) {
        float peak = peak_of(x, k, 1);
        float factor = code_factor(peak, SHOAL_CODE16_X);
        scales[t] = code_scale(peak, SHOAL_CODE16_X);
        codes[even(k) - 1] = 0;
        for (size_t i = 0; i < k; i++) {
            codes[i] = code_of(x[i], factor, SHOAL_CODE16_X);
        }
    }
}

/* Column j of a panel from k values, `step` apart. */
static void panel_column(const float *x, size_t k, size_t step, size_t j, shoal_panel16 *panel)
{
    float peak = peak_of(x, k, step);
    float factor = code_factor(peak, SHOAL_CODE16_W);
    panel->scale[j] = code_scale(peak, SHOAL_CODE16_W);
    for (size_t i = 0; i < k; i++) {
        panel->codes[i / 2][j][i % 2] = code_of(x[i * step], factor, SHOAL_CODE16_W);
    }
}

static void panel16_rows_c(const float *rows, size_t ld, size_t n, size_t k, shoal_panel16 *panel)
{
    memset(panel, 0, sizeof *panel);
    for (size_t j = 0; j < n; j++) {
        panel_column(rows + j * ld, k, 1, j, panel);
    }
}

static void panel16_cols_c(const float *rows, size_t ld, size_t n, size_t k, shoal_panel16 *panel)
{
    memset(panel, 0, sizeof *panel);
    for (size_t j = 0; j < n; j++) {
        panel_column(rows + j, k, ld, j, panel);
    }
}

static int32_t dot_column(const int16_t *codes, const shoal_panel16 *panel, size_t k, size_t j)
{
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++) {
        sum += codes[i] * panel->codes[i / 2][j][i % 2];
    }
    return sum;
}

static void gemm16_c(const int16_t *codes, const float *scales, size_t T,
                     const shoal_panel16 *panel, size_t k, shoal_sums16 sums, size_t cols)
{
    for (size_t t = 0; t < T; t++, codes += even(k)) {
        shoal_sums16 row = sums_from(sums, t, 0);
        for (size_t j = 0; j < cols; j++) {
            float sum = (float)dot_column(codes, panel, k, j);
            float before = row.in == NULL ? 0.0f : row.in[j];
            row.out[j] = fmaf(sum, scales[t] * panel->scale[j], before);
        }
    }
}

void shoal_gemm16_init_c(shoal_table *t)
{
    t->pack16 = pack16_c;
    t->panel16_rows = panel16_rows_c;
    t->panel16_cols = panel16_cols_c;
    t->gemm16 = gemm16_c;
}
