/* table.h - the table of function pointers behind kernels.h.
 *
 * A slot is the arithmetic of one tile, row or panel: no threads, no allocation, no checks. The
 * drivers (matmul.c, attention.c, ...) cut the work into ranges and call slots on them. The table
 * is filled from portable C, which is the definition of right; then a staircase of processor
 * levels replaces what it does better. How to add a slot or a level: kernels/README.md.
 *
 * Layer: kernels/, private to it and its tests. Threads: a table is constant once selected.
 */
#ifndef SHOAL_KERNELS_TABLE_H
#define SHOAL_KERNELS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Slots that exist once a weight type are arrays indexed by shoal_type. */
enum { SHOAL_TYPE_SLOTS = SHOAL_TYPE_P6_A + 1 };

/* ---- 8-bit activations (act.c) ----------------------------------------------------------------
 *
 * Rows are packed in tiles of SHOAL_ACT_TILE rows (the last one may hold fewer, n rows). A tile is
 * N / 32 blocks; a block is int8 q[n][32] followed by float ds[n][2] where, per row,
 *   ds[0] = d, the scale (x is about d * q, |q| <= 127);  ds[1] = d * sum(q).
 * So tile t0 starts at byte t0 * (N / 32) * SHOAL_ACT_BLOCK_BYTES. */
enum { SHOAL_QBLOCK = 32, SHOAL_ACT_TILE = 32, SHOAL_ACT_BLOCK_BYTES = 32 + 2 * 4 };

/* Packs `n` rows x [n, N] (row stride N) into one tile. N is a multiple of 32. */
typedef void shoal_act_pack_fn(const float *x, size_t n, size_t N, void *tile);

/* y[t * ldy + r] = <row r of w, row t of the tile> for rows x n values; w is `blocks` times 32
 * weights a row, rows `row_bytes` apart. Per output: integer dot of each block, then one f32
 * accumulator over the blocks in order, whatever rows and n are. */
typedef void shoal_dot_q8_fn(const void *w, size_t row_bytes, size_t rows, size_t blocks,
                             const void *tile, size_t n, float *y, size_t ldy);

/* ---- f32 panels -------------------------------------------------------------------------------*/

/* A panel is SHOAL_PANEL columns of a right-hand side, k deep: float [k][SHOAL_PANEL]. */
enum { SHOAL_PANEL = 16 };

/* out [n] = n weights expanded, bit for bit as quant.h defines them. `part` is the sub-block of 32
 * to start at in the first block of a K type, 0 for others; n is a multiple of 32 for block types.
 */
typedef void shoal_dequant_fn(const void *row, size_t part, float *out, size_t n);

/* panel [k][16] = transpose of rows [16] of k values, `ld` apart; rows beyond `n` are zero. */
typedef void shoal_panel_fn(const float *rows, size_t ld, size_t n, size_t k, float *panel);

/* c [T, cols] (+)= a [T, k] panel [k, cols]; row strides lda, ldc; cols <= 16. One accumulator an
 * output, in the order of k, from 0 (not from c), whatever T and cols are. */
typedef void shoal_gemm_panel_fn(const float *a, size_t lda, size_t T, const float *panel, size_t k,
                                 float *c, size_t ldc, size_t cols, bool add);

/* ---- 16-bit products (gemm16.h) ---------------------------------------------------------------*/

/* Depth of a chunk, and the largest codes: SHOAL_GEMM16_K * CODE_X * CODE_W stays below 2^31. */
enum { SHOAL_GEMM16_K = 128, SHOAL_CODE16_X = 8191, SHOAL_CODE16_W = 2047 };

/* 16 columns of a right-hand side, one chunk deep: b[i][j] = scale[j] * codes[i / 2][j][i % 2]. An
 * odd depth ends with zeros. */
typedef struct shoal_panel16 {
    float scale[SHOAL_PANEL];
    int16_t codes[SHOAL_GEMM16_K / 2][SHOAL_PANEL][2];
} shoal_panel16;

/* n rows of k <= SHOAL_GEMM16_K values, `ld` apart: codes [n][k rounded up to even], scales [n]. */
typedef void shoal_pack16_fn(const float *x, size_t ld, size_t n, size_t k, int16_t *codes,
                             float *scales);

/* A panel whose columns are n <= 16 rows of k values, `ld` apart; and one of n <= 16 columns of k
 * rows, in order. Columns beyond n are zero. */
typedef void shoal_panel16_fn(const float *rows, size_t ld, size_t n, size_t k,
                              shoal_panel16 *panel);

/* Where the sums so far are, row by row, and where they go; `in` may be NULL (zeros) or `out`. */
typedef struct shoal_sums16 {
    const float *in;
    float *out;
    size_t ld_in, ld_out;
} shoal_sums16;

/* out [T, cols] = in + chunk of k values a row, T rows, by a panel; cols <= 16. Per output: an
 * integer sum, then one FMA with the product of the two scales. NULL at levels that gain nothing
 * over f32: SHOAL_ACT_16BIT is then f32. */
typedef void shoal_gemm16_fn(const int16_t *codes, const float *scales, size_t T,
                             const shoal_panel16 *panel, size_t k, shoal_sums16 sums, size_t cols);

/* ---- rows: attention, low-rank pair, pointwise, loss ------------------------------------------*/

/* The dense products; orders of accumulation are in dense.h. */
typedef void shoal_dense_nt_fn(size_t m, size_t n, size_t k, const float *a, size_t lda,
                               const float *b, size_t ldb, float *c, size_t ldc);
typedef void shoal_dense_nn_fn(size_t m, size_t n, size_t k, float s, const float *a, size_t a_row,
                               size_t a_col, const float *b, size_t ldb, float *c, size_t ldc);
typedef void shoal_dense_transpose_fn(size_t rows, size_t cols, const float *in, size_t ld_in,
                                      float *out, size_t ld_out);

/* out [rows, n] = rows of binary16, `ld` values apart, as f32 (exact). */
typedef void shoal_half_rows_fn(const uint16_t *in, size_t ld, size_t rows, size_t n, float *out);

/* A row put away in binary16 under a power of two (halves.h); returns what gets it back. And back:
 * x [n] = in * scale. The same bits at every level. */
typedef float shoal_half_put_fn(const float *x, size_t n, uint16_t *out);
typedef void shoal_half_take_fn(const uint16_t *in, size_t n, float scale, float *x);

/* What attention does with rows of a cache, without expanding them to memory; E a multiple of 8
 * (f16) or 32 (q8: Q8_0 blocks). The same bits as expanding them and calling the dense slots of the
 * same level. C has none of these (NULL): it expands.
 *   scores  s [rows, n] = q [rows, E] K^T, keys key_bytes apart, rows of s lds apart
 *   values  acc [rows, E] += w [rows, n] V, values value_bytes apart, rows of w ldw apart */
typedef void shoal_scores_fn(size_t rows, size_t n, size_t E, const float *q, const void *keys,
                             size_t key_bytes, float *s, size_t lds);
typedef void shoal_values_fn(size_t rows, size_t n, size_t E, const float *w, size_t ldw,
                             const void *values, size_t value_bytes, float *acc);

/* One row of scores against a tile of n <= 64 keys, of which [lo, hi) are visible. s becomes
 * exp(s - m') with m' = max(*m, visible scores), zero elsewhere; *m = m', *l = *l * shrink +
 * sum(s); returns shrink = exp(*m - m'), 1 when nothing is visible. s has room for n rounded up
 * to 8. */
typedef float shoal_softmax_tile_fn(float *s, size_t lo, size_t hi, size_t n, float *m, float *l);

/* Its backward: s becomes P = exp(s - lse), dp becomes P * (dp - delta); zero outside [lo, hi). */
typedef void shoal_softmax_grad_fn(float *s, float *dp, size_t lo, size_t hi, size_t n, float lse,
                                   float delta);

/* One row each; see the functions of kernels.h. rmsnorm returns rstd. */
typedef float shoal_rmsnorm_fn(const float *x, const float *w, float eps, size_t D, float *y);
typedef void shoal_rmsnorm_grad_fn(const float *x, const float *w, float rstd, const float *dy,
                                   size_t D, float *dx, bool accumulate);
typedef void shoal_swiglu_fn(const float *g, const float *u, size_t n, float *y);
typedef void shoal_swiglu_grad_fn(const float *g, const float *u, const float *dy, size_t n,
                                  float *dg, float *du);
typedef void shoal_geglu_fn(const float *g, const float *u, size_t n, float *y);
typedef void shoal_geglu_grad_fn(const float *g, const float *u, const float *dy, size_t n,
                                 float *dg, float *du);
typedef void shoal_softcap_fn(const float *x, size_t n, float cap, float *y);
typedef void shoal_softcap_grad_fn(const float *y, size_t n, float cap, float *dy);

/* Maximum of a row (-inf for none); sum of exp(x - shift); x = factor * exp(x - shift). */
typedef float shoal_row_max_fn(const float *x, size_t n);
typedef double shoal_row_exp_sum_fn(const float *x, size_t n, float shift);
typedef void shoal_row_softmax_fn(float *x, size_t n, float shift, float factor);

/* acc [n] += or -= the key stream from block `counter`; the blocks must not wrap the counter. */
typedef void shoal_chacha_fn(const uint32_t key[8], uint32_t counter, uint32_t *acc, size_t n,
                             bool subtract);

/* acc [8 groups] += words of `bits` bits each, 1..32; a group is `bits` bytes. Eight bytes beyond
 * the last group can be read. */
typedef void shoal_ring_add_fn(const uint8_t *packed, uint32_t bits, uint32_t *acc, size_t groups);

typedef struct shoal_table {
    const char *name; /* "c", "avx2", "neon", ... */

    /* matrix products: matmul.c, matmul_dx.c, act.c, quant.c */
    shoal_act_pack_fn *act_pack;
    shoal_dot_q8_fn *dot_q8[SHOAL_TYPE_SLOTS];   /* NULL for F32, F16, BF16: the f32 path */
    shoal_dequant_fn *dequant[SHOAL_TYPE_SLOTS]; /* NULL for unused type numbers */
    shoal_panel_fn *panel;
    shoal_gemm_panel_fn *gemm_panel;
    shoal_pack16_fn *pack16;
    shoal_panel16_fn *panel16_rows, *panel16_cols;
    shoal_gemm16_fn *gemm16;

    /* rows: attention.c, lowrank.c, pointwise.c, loss.c, halves.c, chacha.c, ring.c */
    shoal_dense_nt_fn *dense_nt;
    shoal_dense_nn_fn *dense_nn;
    shoal_dense_transpose_fn *dense_transpose;
    shoal_half_rows_fn *half_rows;
    shoal_half_put_fn *half_put;
    shoal_half_take_fn *half_take;
    shoal_scores_fn *scores_f16, *scores_q8; /* may be NULL, like the next two */
    shoal_values_fn *values_f16, *values_q8;
    shoal_softmax_tile_fn *softmax_tile;
    shoal_softmax_grad_fn *softmax_grad;
    shoal_rmsnorm_fn *rmsnorm;
    shoal_rmsnorm_grad_fn *rmsnorm_grad;
    shoal_swiglu_fn *swiglu;
    shoal_swiglu_grad_fn *swiglu_grad;
    shoal_geglu_fn *geglu;
    shoal_geglu_grad_fn *geglu_grad;
    shoal_softcap_fn *softcap;
    shoal_softcap_grad_fn *softcap_grad;
    shoal_row_max_fn *row_max;
    shoal_row_exp_sum_fn *row_exp_sum;
    shoal_row_softmax_fn *row_softmax;
    shoal_chacha_fn *chacha;
    shoal_ring_add_fn *ring_add;
} shoal_table;

/* Fillers: one a family and level. */
void shoal_matmul_init_c(shoal_table *t);
void shoal_quant_init_c(shoal_table *t);
void shoal_rowops_init_c(shoal_table *t);

/* x86 staircase (x86/init.c): `flags` is what the machine has and the mask allows. */
void shoal_table_init_x86(shoal_table *t, uint32_t flags);
void shoal_rowops_init_avx2(shoal_table *t);

/* ARM staircase (arm/init.c). */
void shoal_table_init_arm(shoal_table *t, uint32_t flags);

/* Fills *t for this machine under `mask` and checks it. */
void shoal_table_select(shoal_table *t, uint32_t mask);

/* Runs every replaced slot once on a fixed input: one that disagrees with C goes back to C with one
 * warning in the log. Returns how many did. */
unsigned shoal_table_check(shoal_table *t);

/* One self-check: runs the slot of both tables on a fixed input; true when they agree within the
 * slot's bound. `offset` is the slot's place in shoal_table. */
typedef struct shoal_slot_check {
    const char *name;
    size_t offset;
    bool (*agrees)(const shoal_table *c, const shoal_table *t);
} shoal_slot_check;

extern const shoal_slot_check shoal_matmul_checks[]; /* ends with a NULL name */
extern const shoal_slot_check shoal_rowops_checks[];

/* Scratch of one worker of ex for the length of one parallel section: SHOAL_SCRATCH_FLOATS floats,
 * 64-byte aligned, contents undefined. */
enum { SHOAL_SCRATCH_FLOATS = 72 * 1024 };
float *shoal_exec_scratch(const shoal_exec *ex, unsigned worker);

/* One more area that belongs to no worker: partial results that outlive a section (attention). */
enum { SHOAL_SHARED_FLOATS = 128 * 1024 };
float *shoal_exec_shared(const shoal_exec *ex);

#ifdef __cplusplus
}
#endif
#endif
