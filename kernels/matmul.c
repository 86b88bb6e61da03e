/* matmul.c - y = x W^T for a group of matrices in one parallel section.
 *
 * The outputs of each matrix are cut into strips of rows; the strips of all matrices of the group
 * form one list, and a range of the parallel loop is one strip for all T rows of x. A strip never
 * crosses matrices and its size depends on the arithmetic only.
 *
 * Three arithmetics, by the kind of the activations: 8 bit (dot_q8.c), 16 bit and f32 (panels,
 * gemm16.c and gemm.c). Each gives an output the same bits for every T and every number of threads.
 */
#include "kernels/matmul.h"

#include <assert.h>

#include "kernels/act.h"
#include "kernels/blocks.h"
#include "kernels/gemm.h"
#include "kernels/gemm16.h"
#include "kernels/lowrank.h"

enum {
    FAST_STRIP = 32, /* rows of a strip that meets many rows of x: 11 KB of Q4_1 at N = 576, so it
                        stays in L1 */
    STREAM_T = 8,    /* up to so many rows of x, reading W takes the time: ... */
    STREAM_BYTES = 64 * 1024, /* ... a strip is a run long enough for the prefetchers to pay */
    STRIP_ALIGN = 16,
    PANEL_STRIP = 3 * SHOAL_PANEL,
    EXPAND_AHEAD = 8,  /* rows between the one asked for and the one expanded */
    GRAIN_STRIPS = 256 /* more strips than this are taken several at a time */
};

typedef struct strip16_scratch {
    shoal_panel16 panels[PANEL_STRIP / SHOAL_PANEL];
    float block[SHOAL_PANEL * SHOAL_GEMM16_K]; /* expanded rows of one panel */
    float sums[SHOAL_GEMM16_ROWS * PANEL_STRIP];
} strip16_scratch;

_Static_assert(sizeof(strip16_scratch) <= SHOAL_SCRATCH_FLOATS * sizeof(float),
               "what a strip of 16-bit products needs fits a worker's scratch");
_Static_assert(PANEL_STRIP / SHOAL_PANEL * SHOAL_PANEL_FLOATS + SHOAL_PANEL_FLOATS <=
                   SHOAL_SCRATCH_FLOATS,
               "panels of a strip and one block of expanded rows fit a worker's scratch");

shoal_mat shoal_mat_rows(const shoal_mat *w, size_t first, size_t n)
{
    assert(first <= w->rows && n <= w->rows - first);
    assert(first % shoal_type_get((uint32_t)w->type)->group == 0);
    shoal_mat view = *w;
    view.data = (const char *)w->data + first * w->row_bytes;
    view.rows = n;
    return view;
}

const void *shoal_mat_at(const shoal_mat *w, size_t row, size_t col)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)w->type);
    size_t group = row - row % info->group;
    size_t block = col / info->block * info->block_bytes * info->group;
    return (const char *)w->data + group * w->row_bytes + block;
}

/* See shoal_dequant_fn. */
static size_t part_of(const shoal_mat *w, size_t row, size_t col)
{
    const shoal_type_info *info = shoal_type_get((uint32_t)w->type);
    return info->group > 1 ? row % info->group : col % info->block / SHOAL_QBLOCK;
}

void shoal_mat_expand(const shoal_table *table, const shoal_mat *w, size_t row, size_t col,
                      float *out, size_t n)
{
    table->dequant[w->type](shoal_mat_at(w, row, col), part_of(w, row, col), out, n);
}

void shoal_mat_fetch(const shoal_mat *w, size_t first, size_t n, size_t col, size_t k)
{
#if defined(__GNUC__)
    const shoal_type_info *info = shoal_type_get((uint32_t)w->type);
    if (col >= w->cols) return;
    k = w->cols - col < k ? w->cols - col : k;
    size_t blocks = (col % info->block + k + info->block - 1) / info->block;
    size_t last = blocks * info->block_bytes * info->group - 1;
    for (size_t i = 0; i < n && first + i < w->rows; i += info->group) {
        const char *p = shoal_mat_at(w, first + i, col);
        for (size_t at = 0; at < last; at += 64) {
            __builtin_prefetch(p + at, 0, 2);
        }
        __builtin_prefetch(p + last, 0, 2);
    }
#else
    (void)w, (void)first, (void)n, (void)col, (void)k;
#endif
}

void shoal_mat_row(const shoal_mat *w, size_t index, float *out)
{
    assert(index < w->rows);
    shoal_dequant_fn *expand = shoal_dequant_portable(w->type);
    expand(shoal_mat_at(w, index, 0), part_of(w, index, 0), out, w->cols);
}

typedef struct matmul_job {
    const shoal_exec *ex;
    const shoal_act *a;
    const shoal_mat *const *w;
    const shoal_lowrank_term *terms; /* may be NULL */
    float *const *y;
    size_t n;
} matmul_job;

static bool is_8bit(const shoal_exec *ex, const shoal_act *a, const shoal_mat *w)
{
    return a->kind == SHOAL_ACT_8BIT && ex->table->dot_q8[w->type] != NULL;
}

/* Rows of a strip that streams W once: equal shares of the matrix, an even number of them. */
static size_t stream_rows(const shoal_mat *w)
{
    size_t shares = (w->rows * w->row_bytes / STREAM_BYTES + 1) / 2 * 2;
    size_t rows = shares == 0 ? w->rows : (w->rows + shares - 1) / shares;
    return (rows + STRIP_ALIGN - 1) / STRIP_ALIGN * STRIP_ALIGN;
}

static size_t strip_rows(const shoal_exec *ex, const shoal_act *a, const shoal_mat *w)
{
    if (!is_8bit(ex, a, w)) return PANEL_STRIP;
    return a->T > STREAM_T ? FAST_STRIP : stream_rows(w);
}

static size_t count_strips(const shoal_exec *ex, const shoal_act *a, const shoal_mat *w)
{
    size_t rows = strip_rows(ex, a, w);
    return (w->rows + rows - 1) / rows;
}

/* y [T, M], columns [first, first + rows), from 8-bit activations. */
static void fast_strip(const shoal_exec *ex, const shoal_act *a, const shoal_mat *w, size_t first,
                       size_t rows, float *y)
{
    shoal_dot_q8_fn *dot = ex->table->dot_q8[w->type];
    const void *data = shoal_mat_at(w, first, 0);
    for (size_t t = 0; t < a->T; t += SHOAL_ACT_TILE) {
        size_t n = a->T - t < SHOAL_ACT_TILE ? a->T - t : SHOAL_ACT_TILE;
        dot(data, w->row_bytes, rows, a->N / SHOAL_QBLOCK, shoal_act_tile(a, t), n,
            y + t * w->rows + first, w->rows);
    }
}

/* Expands n <= 16 rows of w from `first` on, columns [k0, k0 + k), to block [n, k]. */
static void expand_block(const shoal_table *table, const shoal_mat *w, size_t first, size_t n,
                         size_t k0, size_t k, float *block)
{
    size_t bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)w->type), k);
    for (size_t i = 0; i < n; i++) {
        shoal_prefetch(shoal_mat_at(w, first + i, k0), EXPAND_AHEAD * w->row_bytes, bytes);
        shoal_mat_expand(table, w, first + i, k0, block + i * k, k);
    }
}

static void f32_strip(const shoal_exec *ex, const shoal_act *a, const shoal_mat *w, size_t first,
                      size_t rows, float *y, float *scratch)
{
    float *panels = scratch + SHOAL_PANEL_FLOATS;
    for (size_t k0 = 0; k0 < a->N; k0 += SHOAL_GEMM_K) {
        size_t k = a->N - k0 < SHOAL_GEMM_K ? a->N - k0 : SHOAL_GEMM_K;
        float *panel = panels;
        for (size_t r = 0; r < rows; r += SHOAL_PANEL, panel += SHOAL_PANEL_FLOATS) {
            size_t n = rows - r < SHOAL_PANEL ? rows - r : SHOAL_PANEL;
            expand_block(ex->table, w, first + r, n, k0, k, scratch);
            ex->table->panel(scratch, k, n, k, panel);
        }
        shoal_gemm_panels(ex->table, a->x + k0, a->N, a->T, panels, k, y + first, w->rows, rows,
                          k0 > 0);
    }
}

/* Rows [t0, t0 + n) of a strip's outputs y, from 16-bit activations. */
static void strip16_rows(const shoal_exec *ex, const shoal_act *a, const shoal_mat *w, size_t first,
                         size_t rows, size_t t0, size_t n, float *y, strip16_scratch *s)
{
    shoal_strip16 out = {.y = y, .ldy = w->rows, .scratch = s->sums};
    for (size_t k0 = 0; k0 < a->N; k0 += SHOAL_GEMM16_K) {
        size_t k = a->N - k0 < SHOAL_GEMM16_K ? a->N - k0 : SHOAL_GEMM16_K;
        for (size_t r = 0; r < rows; r += SHOAL_PANEL) {
            size_t m = rows - r < SHOAL_PANEL ? rows - r : SHOAL_PANEL;
            expand_block(ex->table, w, first + r, m, k0, k, s->block);
            ex->table->panel16_rows(s->block, k, m, k, &s->panels[r / SHOAL_PANEL]);
        }
        shoal_mat_fetch(w, first, rows, k0 + k, SHOAL_GEMM16_K);
        shoal_gemm16_panels(ex->table, a, k0, t0, n, s->panels, rows, &out);
    }
}

static void strip16(const shoal_exec *ex, const shoal_act *a, const shoal_mat *w, size_t first,
                    size_t rows, float *y, float *scratch)
{
    strip16_scratch *s = (strip16_scratch *)(void *)scratch;
    for (size_t t = 0; t < a->T; t += SHOAL_GEMM16_ROWS) {
        size_t n = a->T - t < SHOAL_GEMM16_ROWS ? a->T - t : SHOAL_GEMM16_ROWS;
        strip16_rows(ex, a, w, first, rows, t, n, y + t * w->rows + first, s);
    }
}

/* Adds the term's part of columns [first, first + rows) of y [T, M]. */
static void add_term(const shoal_exec *ex, const shoal_lowrank_term *term, size_t T, size_t M,
                     size_t first, size_t rows, float *y)
{
    if (term->left == NULL) return;
    shoal_lowrank_add(ex->table, T, rows, term->rank, term->scale, term->left,
                      term->right + first * term->rank, y + first, M);
}

static void run_strip(const matmul_job *job, size_t i, size_t strip, unsigned worker)
{
    const shoal_exec *ex = job->ex;
    const shoal_act *a = job->a;
    const shoal_mat *w = job->w[i];
    size_t step = strip_rows(ex, a, w);
    size_t first = strip * step;
    size_t rows = w->rows - first < step ? w->rows - first : step;
    float *scratch = shoal_exec_scratch(ex, worker);
    if (is_8bit(ex, a, w)) {
        fast_strip(ex, a, w, first, rows, job->y[i]);
    } else if (a->kind == SHOAL_ACT_16BIT) {
        strip16(ex, a, w, first, rows, job->y[i], scratch);
    } else {
        f32_strip(ex, a, w, first, rows, job->y[i], scratch);
    }
    if (job->terms != NULL) {
        add_term(ex, &job->terms[i], a->T, w->rows, first, rows, job->y[i]);
    }
}

/* Items are strips, counted through the matrices of the group in order. */
static void run_strips(void *ctx, size_t begin, size_t end, unsigned worker)
{
    const matmul_job *job = ctx;
    size_t before = 0; /* strips of earlier matrices */
    for (size_t i = 0; i < job->n; i++) {
        size_t count = count_strips(job->ex, job->a, job->w[i]);
        for (; begin < end && begin < before + count; begin++) {
            run_strip(job, i, begin - before, worker);
        }
        before += count;
    }
}

void shoal_matmul(const shoal_exec *ex, const shoal_act *a, const shoal_mat *const *w,
                  float *const *y, size_t n)
{
    shoal_matmul_lowrank(ex, a, w, NULL, y, n);
}

void shoal_matmul_lowrank(const shoal_exec *ex, const shoal_act *a, const shoal_mat *const *w,
                          const shoal_lowrank_term *terms, float *const *y, size_t n)
{
    assert(n <= SHOAL_GROUP_MAX);
    size_t strips = 0;
    for (size_t i = 0; i < n; i++) {
        assert(w[i]->cols == a->N);
        strips += count_strips(ex, a, w[i]);
    }
    matmul_job job = {.ex = ex, .a = a, .w = w, .terms = terms, .y = y, .n = n};
    shoal_parallel_for(ex->pool, strips, 1 + strips / GRAIN_STRIPS, run_strips, &job);
}

void shoal_matmul_init_c(shoal_table *t)
{
    shoal_quant_init_c(t);
    t->act_pack = shoal_act_pack_c;
    shoal_dot_init_c(t);
    shoal_gemm_init_c(t);
    shoal_gemm16_init_c(t);
}
