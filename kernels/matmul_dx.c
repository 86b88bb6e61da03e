/* matmul_dx.c - dx = dy W, the backward of a product with frozen weights.
 *
 * The columns of dx are cut into strips. A strip walks the rows of W in chunks, expands its columns
 * of these rows into panels (W is already in the order a panel wants: no transpose) and adds the
 * product for all T rows. The order of the sum is that of W's rows, whatever T and the number of
 * threads are. f32 or 16 bit, by the kind of dy.
 */
#include <assert.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/gemm16.h"
#include "kernels/matmul.h"

enum { DX_PANELS = 6, DX_STRIP = DX_PANELS * SHOAL_PANEL }; /* 96 columns: whole blocks of 32 */

_Static_assert(DX_STRIP % SHOAL_QBLOCK == 0, "a strip starts at a block");
_Static_assert(DX_PANELS *SHOAL_PANEL_FLOATS + DX_STRIP <= SHOAL_SCRATCH_FLOATS,
               "panels and one expanded row fit a worker's scratch");

typedef struct dx16_scratch {
    shoal_panel16 panels[DX_PANELS];
    float rows[SHOAL_GEMM16_K * DX_STRIP]; /* a chunk of rows of W, expanded */
    float sums[SHOAL_GEMM16_ROWS * DX_STRIP];
} dx16_scratch;

_Static_assert(sizeof(dx16_scratch) <= SHOAL_SCRATCH_FLOATS * sizeof(float), "the same in 16 bit");

typedef struct dx_job {
    const shoal_exec *ex;
    const shoal_mat *w;
    const shoal_act *dy;
    const shoal_lowrank_term *term;
    float *dx;
    bool accumulate;
} dx_job;

/* Spreads one row of `cols` weights over the panels: 16 to each, at depth i. */
static void scatter_row(const float *row, size_t cols, size_t i, float *panels)
{
    float *to = panels + i * SHOAL_PANEL;
    for (size_t j = 0; j < cols; j += SHOAL_PANEL, to += SHOAL_PANEL_FLOATS) {
        if (cols - j >= SHOAL_PANEL) {
            memcpy(to, row + j, SHOAL_PANEL * sizeof *to);
        } else {
            memset(to, 0, SHOAL_PANEL * sizeof *to);
            memcpy(to, row + j, (cols - j) * sizeof *to);
        }
    }
}

/* Columns [first, first + cols) of dx. */
static void dx_strip_f32(const dx_job *job, size_t first, size_t cols, float *scratch)
{
    const shoal_table *table = job->ex->table;
    const shoal_mat *w = job->w;
    float *panels = scratch;
    float *row = scratch + DX_PANELS * SHOAL_PANEL_FLOATS;
    for (size_t m = 0; m < w->rows; m += SHOAL_GEMM_K) {
        size_t k = w->rows - m < SHOAL_GEMM_K ? w->rows - m : SHOAL_GEMM_K;
        for (size_t i = 0; i < k; i++) {
            shoal_mat_expand(table, w, m + i, first, row, cols);
            scatter_row(row, cols, i, panels);
        }
        shoal_gemm_panels(table, job->dy->x + m, w->rows, job->dy->T, panels, k, job->dx + first,
                          w->cols, cols, job->accumulate || m > 0);
    }
}

/* Rows [t0, t0 + n) of a strip, in 16 bit. */
static void dx_rows16(const dx_job *job, size_t first, size_t cols, size_t t0, size_t n,
                      dx16_scratch *s)
{
    const shoal_table *table = job->ex->table;
    const shoal_mat *w = job->w;
    shoal_strip16 out = {.y = job->dx + t0 * w->cols + first,
                         .ldy = w->cols,
                         .add = job->accumulate,
                         .scratch = s->sums};
    for (size_t m = 0; m < w->rows; m += SHOAL_GEMM16_K) {
        size_t k = w->rows - m < SHOAL_GEMM16_K ? w->rows - m : SHOAL_GEMM16_K;
        for (size_t i = 0; i < k; i++) {
            shoal_mat_expand(table, w, m + i, first, s->rows + i * DX_STRIP, cols);
        }
        for (size_t j = 0; j < cols; j += SHOAL_PANEL) {
            size_t width = cols - j < SHOAL_PANEL ? cols - j : SHOAL_PANEL;
            table->panel16_cols(s->rows + j, DX_STRIP, width, k, &s->panels[j / SHOAL_PANEL]);
        }
        shoal_mat_fetch(w, m + k, SHOAL_GEMM16_K, first, cols);
        shoal_gemm16_panels(table, job->dy, m, t0, n, s->panels, cols, &out);
    }
}

static void dx_strip16(const dx_job *job, size_t first, size_t cols, float *scratch)
{
    dx16_scratch *s = (dx16_scratch *)(void *)scratch;
    for (size_t t = 0; t < job->dy->T; t += SHOAL_GEMM16_ROWS) {
        size_t n = job->dy->T - t < SHOAL_GEMM16_ROWS ? job->dy->T - t : SHOAL_GEMM16_ROWS;
        dx_rows16(job, first, cols, t, n, s);
    }
}

/* Adds the term's part of columns [first, first + cols). */
static void add_dx_term(const dx_job *job, size_t first, size_t cols)
{
    const shoal_lowrank_term *term = job->term;
    size_t N = job->w->cols;
    job->ex->table->dense_nn(job->dy->T, cols, term->rank, term->scale, term->left, term->rank, 1,
                             term->right + first, N, job->dx + first, N);
}

static void run_dx_strips(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const dx_job *job = ctx;
    for (size_t i = begin; i < end; i++) {
        size_t first = i * DX_STRIP;
        size_t cols = job->w->cols - first < DX_STRIP ? job->w->cols - first : DX_STRIP;
        float *scratch = shoal_exec_scratch(job->ex, worker);
        if (job->dy->kind == SHOAL_ACT_16BIT) {
            dx_strip16(job, first, cols, scratch);
        } else {
            dx_strip_f32(job, first, cols, scratch);
        }
        if (job->term->left != NULL) {
            add_dx_term(job, first, cols);
        }
    }
}

void shoal_matmul_dx(const shoal_exec *ex, const shoal_mat *w, const shoal_act *dy, float *dx,
                     bool accumulate)
{
    const shoal_lowrank_term none = {0};
    shoal_matmul_dx_lowrank(ex, w, dy, &none, dx, accumulate);
}

void shoal_matmul_dx_lowrank(const shoal_exec *ex, const shoal_mat *w, const shoal_act *dy,
                             const shoal_lowrank_term *term, float *dx, bool accumulate)
{
    assert(dy->N == w->rows && dy->kind != SHOAL_ACT_8BIT);
    dx_job job = {.ex = ex, .w = w, .dy = dy, .term = term, .dx = dx, .accumulate = accumulate};
    size_t strips = (w->cols + DX_STRIP - 1) / DX_STRIP;
    shoal_parallel_for(ex->pool, strips, 1, run_dx_strips, &job);
}
