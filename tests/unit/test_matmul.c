/* test_matmul.c - matrix products, slot by slot and through kernels.h, at every level.
 *
 * References are in double over the expanded weights. Bounds: an f32 sum of n products, in any
 * order, is off by at most g(n) * sum |a b| with g(n) = n u / (1 - n u), u = 2^-24 (Higham
 * 2002, 3.1); here 2 n u, which is more for every n used.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/blocks.h"
#include "kernels/table.h"
#include "tests/support/gradcheck.h"
#include "tests/support/kernel_test.h"

static const shoal_type types[] = {
    SHOAL_TYPE_F32,  SHOAL_TYPE_F16,  SHOAL_TYPE_BF16, SHOAL_TYPE_Q4_0,
    SHOAL_TYPE_Q4_1, SHOAL_TYPE_Q5_0, SHOAL_TYPE_Q5_1, SHOAL_TYPE_IQ4_NL,
    SHOAL_TYPE_Q8_0, SHOAL_TYPE_Q2_K, SHOAL_TYPE_Q3_K, SHOAL_TYPE_Q4_K,
    SHOAL_TYPE_Q5_K, SHOAL_TYPE_Q6_K, SHOAL_TYPE_Q4_A, SHOAL_TYPE_Q6_A};
enum { N_PLAIN = 3, N_TYPES = sizeof types / sizeof types[0], N_QUANTS = N_TYPES - N_PLAIN };
static const shoal_type *const quants = types + N_PLAIN;

static size_t block_of(shoal_type type)
{
    return shoal_type_get((uint32_t)type)->block;
}
static const double UNIT = 0x1p-24;

/* ---- a weight with its expansion ----------------------------------------------------------------
 */

typedef struct weight {
    shoal_mat mat;
    fenced bytes; /* a read past the last row ends the program */
    float *full;  /* [M, N] */
} weight;

static weight weight_open(shoal_type type, size_t M, size_t N, uint64_t seed)
{
    shoal_rng rng = shoal_rng_init(seed);
    const shoal_type_info *info = shoal_type_get((uint32_t)type);
    size_t row_bytes = shoal_type_row_bytes(info, N);
    weight w = {.bytes = fenced_open(M * row_bytes)};
    w.full = malloc((M * N + 1) * sizeof *w.full);
    fill_weights(&rng, type, M, N, w.bytes.p);
    w.mat = (shoal_mat){w.bytes.p, type, M, N, row_bytes};
    for (size_t r = 0; r < M; r++) {
        shoal_dequantize(type, (char *)w.bytes.p + r * row_bytes, w.full + r * N, N);
    }
    return w;
}

static void weight_close(weight *w)
{
    fenced_close(&w->bytes);
    free(w->full);
}

/* ---- references ---------------------------------------------------------------------------------
 */

/* One output in double, and how far an f32 computation of it may be. */
typedef struct expected {
    double value, bound;
} expected;

static expected exact_dot(const float *a, const float *b, size_t n)
{
    expected e = {0};
    for (size_t i = 0; i < n; i++) {
        double p = (double)a[i] * (double)b[i];
        e.value += p;
        e.bound += fabs(p);
    }
    e.bound *= 2 * ((double)n + 2) * UNIT;
    return e;
}

/* The 8-bit scheme written down plainly: a block of x becomes round(127 x / peak) * peak / 127. The
 * implementation adds two products a block of 32 to one f32, one of codes and one of minimums; no
 * code's or minimum's share of a weight is more than twice the block's largest weight here. */
static expected quantised_dot(const weight *w, size_t row, const float *x)
{
    expected e = {0};
    const float *full = w->full + row * w->mat.cols;
    for (size_t i = 0; i < w->mat.cols; i += 32) {
        float peak = 0, top = 0;
        for (size_t j = 0; j < 32; j++) {
            peak = fmaxf(peak, fabsf(x[i + j]));
            top = fmaxf(top, fabsf(full[i + j]));
        }
        float scale = peak > 0 ? 127.0f / peak : 0.0f;
        double d = (double)peak / 127;
        for (size_t j = 0; j < 32; j++) {
            double q = (double)rintf(x[i + j] * scale);
            e.value += (double)full[i + j] * q * d;
            e.bound += 4 * (double)top * fabs(q) * d;
        }
    }
    /* 2 sums a block, 3 roundings in each product, and f32 rounding of expanded weights. */
    e.bound *= 2 * ((double)w->mat.cols / 16 + 4) * UNIT;
    e.bound += 1e-12;
    return e;
}

static void expect_near(float got, expected want)
{
    if (!(fabs((double)got - want.value) <= want.bound)) {
        fail_msg("got %.9g, want %.9g within %.3g", (double)got, want.value, want.bound);
    }
}

/* ---- slots --------------------------------------------------------------------------------------
 */

enum { SLOT_M = 40, SLOT_T = 32 };

/* All row counts and tile heights of one weight type at one width. */
static void sweep_dot(const shoal_table *table, const weight *w, const kt_buf *x,
                      const expected *want)
{
    size_t N = w->mat.cols;
    size_t blocks = N / 32;
    for (size_t T = 1; T <= SLOT_T; T += T < 20 ? 1 : 12) {
        guarded tile = guarded_open(T * blocks * SHOAL_ACT_BLOCK_BYTES, 4);
        table->act_pack(x->p, T, N, tile.p);
        assert_true(guarded_intact(&tile));
        for (size_t M = 0; M <= SLOT_M; M++) {
            kt_buf y = kt_buf_open(T * M, M);
            shoal_mat last = shoal_mat_rows(&w->mat, SLOT_M - M, M); /* up to the fence */
            table->dot_q8[last.type](last.data, last.row_bytes, M, blocks, tile.p, T, y.p, M);
            for (size_t i = 0; i < T * M; i++) {
                expect_near(y.p[i], want[i / M * SLOT_M + SLOT_M - M + i % M]);
            }
            kt_buf_close(&y);
        }
        guarded_close(&tile);
    }
}

static void dot_equals_the_8_bit_scheme(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_QUANTS * 4; i++) {
        size_t N = (size_t[]){32, 64, 128, 288}[i % 4];
        if (block_of(quants[i / 4]) > 32) {
            if (i % 4 > 1) continue;
            N = (size_t[]){256, 768}[i % 4];
        }
        weight w = weight_open(quants[i / 4], SLOT_M, N, i + 1);
        kt_buf x = kt_buf_random(SLOT_T * N, 1, i + 100);
        memset(x.p, 0, 32 * sizeof(float)); /* a block of zeros */
        x.p[N - 1] = 300.0f;                /* an outlier */
        expected *want = malloc(SLOT_T * SLOT_M * sizeof *want);
        for (size_t j = 0; j < SLOT_T * SLOT_M; j++) {
            want[j] = quantised_dot(&w, j % SLOT_M, x.p + j / SLOT_M * N);
        }
        for (size_t level = 0; level < kt_levels(); level++) {
            shoal_table table;
            shoal_table_select(&table, kt_level(level));
            sweep_dot(&table, &w, &x, want);
        }
        free(want);
        kt_buf_close(&x);
        weight_close(&w);
    }
}

/* Nine rows of blocks that are one byte repeated, with d = dmin = 1. */
static weight weight_extreme(shoal_type type, size_t N, int byte)
{
    weight w = weight_open(type, 9, N, 1);
    size_t at[2], total = 9 * w.mat.row_bytes;
    unsigned char *p = w.bytes.p;
    memset(p, byte, total);
    shoal_block_scales(type, at);
    for (size_t b = 0; b < total; b += shoal_type_get((uint32_t)type)->block_bytes) {
        for (size_t i = 0; i < 2 && at[i] != SIZE_MAX; i++) {
            memcpy(p + b + at[i], "\x00\x3c", 2);
        }
    }
    for (size_t r = 0; r < 9; r++) {
        shoal_dequantize(type, p + r * w.mat.row_bytes, w.full + r * N, N);
    }
    return w;
}

/* Codes, scales and activations at the ends of their ranges: no intermediate sum may saturate. */
static void dot_does_not_saturate(void **state)
{
    (void)state;
    static const int bytes[] = {0x00, 0x7f, 0x80, 0xff, 0xf0, 0x0f};
    for (size_t i = 0; i < N_QUANTS * 6 * kt_levels(); i++) {
        shoal_type type = quants[i / 6 / kt_levels()];
        size_t N = block_of(type);
        weight w = weight_extreme(type, N, bytes[i / kt_levels() % 6]);
        shoal_table table;
        shoal_table_select(&table, kt_level(i % kt_levels()));
        for (size_t signs = 0; signs < 3; signs++) {
            float x[256], y[9];
            unsigned char tile[8 * SHOAL_ACT_BLOCK_BYTES];
            for (size_t j = 0; j < N; j++) {
                x[j] = signs == 1 || (signs == 2 && j % 2 != 0) ? -127.0f : 127.0f;
            }
            table.act_pack(x, 1, N, tile);
            table.dot_q8[type](w.mat.data, w.mat.row_bytes, 9, N / 32, tile, 1, y, 9);
            for (size_t r = 0; r < 9; r++) {
                expect_near(y[r], quantised_dot(&w, r, x));
            }
        }
        weight_close(&w);
    }
}

static void act_pack_agrees_at_all_levels(void **state)
{
    (void)state;
    shoal_table c;
    shoal_table best;
    shoal_table_select(&c, 0);
    shoal_table_select(&best, SHOAL_CPU_ALL);
    for (size_t i = 0; i < 32 * 4; i++) {
        size_t T = i % 32 + 1;
        size_t N = 32 * (i / 32 + 1);
        size_t bytes = T * N / 32 * SHOAL_ACT_BLOCK_BYTES;
        kt_buf x = kt_buf_random(T * N, i, i);
        guarded a = guarded_open(bytes, 0);
        guarded b = guarded_open(bytes, 4);
        x.p[0] = 1e-38f; /* tiny and huge peaks */
        x.p[T * N - 1] = 1e30f;
        c.act_pack(x.p, T, N, a.p);
        best.act_pack(x.p, T, N, b.p);
        assert_memory_equal(a.p, b.p, bytes);
        assert_true(guarded_intact(&a) && guarded_intact(&b));
        guarded_close(&a);
        guarded_close(&b);
        kt_buf_close(&x);
    }
}

/* c [T, cols] of one gemm_panel call against double. */
static void check_gemm(const shoal_table *table, size_t T, size_t cols, size_t k, bool add)
{
    size_t lda = k + 3;
    kt_buf a = kt_buf_random(T * lda, 1, T + 1);
    kt_buf panel = kt_buf_random(k * SHOAL_PANEL, 0, cols + 1);
    kt_buf c = kt_buf_random(T * cols, 1, k + 1);
    float *before = malloc((T * cols + 1) * sizeof *before);
    memcpy(before, c.p, T * cols * sizeof *before);
    table->gemm_panel(a.p, lda, T, panel.p, k, c.p, cols, cols, add);
    for (size_t i = 0; i < T * cols; i++) {
        expected want = {0};
        float column[300];
        for (size_t j = 0; j < k; j++) {
            column[j] = panel.p[j * SHOAL_PANEL + i % cols];
        }
        want = exact_dot(a.p + i / cols * lda, column, k);
        want.value += add ? (double)before[i] : 0;
        want.bound += add ? 2 * UNIT * (1 + fabs(want.value)) : 0;
        expect_near(c.p[i], want);
    }
    free(before);
    kt_buf_close(&a);
    kt_buf_close(&panel);
    kt_buf_close(&c);
}

static void gemm_panel_is_right_for_every_shape(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_table table;
        shoal_table_select(&table, kt_level(level));
        for (size_t T = 0; T <= 20; T++) {
            for (size_t cols = 1; cols <= SHOAL_PANEL; cols++) {
                check_gemm(&table, T, cols, (T * 16 + cols) % 131, (T + cols) % 2 == 0);
            }
        }
        check_gemm(&table, 13, 16, 256, false);
    }
}

static void panel_is_the_transpose_padded_with_zeros(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_table table;
        shoal_table_select(&table, kt_level(level));
        for (size_t i = 0; i < 131 * 16; i++) {
            size_t k = i % 131;
            size_t n = i / 131 + 1;
            kt_buf rows = kt_buf_random(n * k, i % 5, i);
            kt_buf panel = kt_buf_open(k * SHOAL_PANEL, i % 3);
            table.panel(rows.p, k, n, k, panel.p);
            for (size_t j = 0; j < k * SHOAL_PANEL; j++) {
                size_t r = j % SHOAL_PANEL;
                float want = r < n ? rows.p[r * k + j / SHOAL_PANEL] : 0.0f;
                assert_true(panel.p[j] == want);
            }
            kt_buf_close(&rows);
            kt_buf_close(&panel);
        }
    }
}

/* ---- products through kernels.h
 * ------------------------------------------------------------------- */

static void *packed_open(shoal_act_kind kind, size_t T, size_t N)
{
    void *p = shoal_alloc_aligned(shoal_act_bytes(kind, T, N) + 1);
    assert_non_null(p);
    return p;
}

/* y = x W^T for one matrix. */
static void forward_of(const shoal_exec *ex, shoal_act_kind kind, const shoal_mat *w,
                       const float *x, size_t T, float *y)
{
    shoal_act a;
    void *packed = packed_open(kind, T, w->cols);
    shoal_act_prepare(ex, &a, kind, x, T, w->cols, packed);
    shoal_matmul(ex, &a, &w, &y, 1);
    shoal_free_aligned(packed);
}

static void forward(const shoal_exec *ex, const shoal_mat *w, const float *x, size_t T, float *y)
{
    forward_of(ex, SHOAL_ACT_8BIT, w, x, T, y);
}

/* dx (+)= dy W. */
static void backward_of(const shoal_exec *ex, shoal_act_kind kind, const shoal_mat *w,
                        const float *dy, size_t T, float *dx, bool add)
{
    shoal_act a;
    void *packed = packed_open(kind, T, w->rows);
    shoal_act_prepare(ex, &a, kind, dy, T, w->rows, packed);
    shoal_matmul_dx(ex, w, &a, dx, add);
    shoal_free_aligned(packed);
}

/* A group of three matrices of one type against the reference of the mode. */
static void check_group(shoal_exec *ex, shoal_type type, size_t N, size_t T)
{
    static const size_t rows[] = {1, 40, 99};
    weight w[3];
    kt_buf y[3];
    const shoal_mat *mats[3];
    float *outs[3];
    kt_buf x = kt_buf_random(T * N, 1, T);
    void *packed = packed_open(SHOAL_ACT_8BIT, T, N);
    for (size_t i = 0; i < 3; i++) {
        w[i] = weight_open(type, rows[i], N, i + N);
        y[i] = kt_buf_open(T * rows[i], i);
        mats[i] = &w[i].mat;
        outs[i] = y[i].p;
    }
    shoal_act a;
    shoal_act_prepare(ex, &a, SHOAL_ACT_8BIT, x.p, T, N, packed);
    shoal_matmul(ex, &a, mats, outs, 3);
    bool fast = !ex->exact && block_of(type) > 1;
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < T * rows[i]; j++) {
            size_t r = j % rows[i];
            const float *xt = x.p + j / rows[i] * N;
            expect_near(y[i].p[j],
                        fast ? quantised_dot(&w[i], r, xt) : exact_dot(w[i].full + r * N, xt, N));
        }
        kt_buf_close(&y[i]);
        weight_close(&w[i]);
    }
    shoal_free_aligned(packed);
    kt_buf_close(&x);
}

static void groups_of_matrices_are_right_in_both_modes(void **state)
{
    (void)state;
    static const size_t heights[] = {1, 2, 5, 8, 33, 65, 130};
    for (size_t i = 0; i < kt_levels() * 2; i++) {
        shoal_exec ex = kt_exec_open(kt_level(i / 2), 2);
        ex.exact = i % 2 == 1;
        for (size_t t = 0; t < N_TYPES; t++) {
            size_t block = block_of(types[t]);
            size_t N = block == 1 ? 259 : block == 32 ? 320 : 512;
            for (size_t h = 0; h < sizeof heights / sizeof heights[0]; h++) {
                check_group(&ex, types[t], N, heights[h]);
            }
        }
        kt_exec_close(&ex);
    }
}

static void f32_weights_take_any_width(void **state)
{
    (void)state;
    shoal_exec ex = kt_exec_open(SHOAL_CPU_ALL, 0);
    for (size_t N = 1; N <= 130; N += 3) {
        check_group(&ex, SHOAL_TYPE_F32, N, N % 7 + 1);
        check_group(&ex, SHOAL_TYPE_F16, N, N % 5 + 1);
    }
    kt_exec_close(&ex);
}

/* dx of one shape against double. */
static void check_dx(const shoal_exec *ex, shoal_type type, size_t M, size_t N, size_t T, bool add)
{
    weight w = weight_open(type, M, N, M + N);
    kt_buf dy = kt_buf_random(T * M, 1, T + 7);
    kt_buf dx = kt_buf_random(T * N, 3, T + 8);
    float *before = malloc((T * N + 1) * sizeof *before);
    float *column = malloc((M + 1) * sizeof *column);
    memcpy(before, dx.p, T * N * sizeof *before);
    backward_of(ex, SHOAL_ACT_F32, &w.mat, dy.p, T, dx.p, add);
    for (size_t j = 0; j < N; j++) {
        for (size_t r = 0; r < M; r++) {
            column[r] = w.full[r * N + j];
        }
        for (size_t t = 0; t < T; t++) {
            expected want = exact_dot(dy.p + t * M, column, M);
            want.value += add ? (double)before[t * N + j] : 0;
            want.bound += add ? 8 * UNIT * (1 + fabs(want.value)) : 0;
            expect_near(dx.p[t * N + j], want);
        }
    }
    free(before);
    free(column);
    kt_buf_close(&dy);
    kt_buf_close(&dx);
    weight_close(&w);
}

static void dx_is_right_for_every_type_and_shape(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t i = 0; i < N_TYPES; i++) {
            size_t block = block_of(types[i]);
            for (size_t M = 1; M <= 40; M += 3) {
                size_t blocks = block > 32 ? M % 2 + 1 : M % 5 + 1;
                check_dx(&ex, types[i], M, block > 1 ? block * blocks : M * 3 + 1, M % 21,
                         M % 2 == 0);
            }
            check_dx(&ex, types[i], 519, block > 32 ? 256 : block > 1 ? 224 : 201, 130, true);
        }
        kt_exec_close(&ex);
    }
}

static void row_views_and_lookup_match_the_matrix(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        enum { N = 768 };
        weight w = weight_open(types[i], 11, N, i);
        shoal_mat view = shoal_mat_rows(&w.mat, 4, 5);
        float row[N];
        assert_int_equal(view.rows, 5);
        shoal_mat_row(&view, 3, row);
        assert_memory_equal(row, w.full + 7 * N, sizeof row);
        assert_int_equal(shoal_mat_rows(&w.mat, 11, 0).rows, 0);
        weight_close(&w);
    }
}

/* ---- same bits
 * ----------------------------------------------------------------------------------- */

/* Row t alone, in every batch height, gives the bits it has in the largest batch. */
static void rows_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    enum { M = 57, T = 140 };
    for (size_t i = 0; i < kt_levels() * N_TYPES * 2; i++) {
        const size_t N = block_of(types[i / (kt_levels() * 2)]) > 32 ? 256 : 320;
        shoal_exec ex = kt_exec_open(kt_level(i % kt_levels()), 0);
        ex.exact = i / kt_levels() % 2 == 1;
        weight w = weight_open(types[i / (kt_levels() * 2)], M, N, i);
        kt_buf x = kt_buf_random(T * N, 0, i + 1);
        kt_buf whole = kt_buf_open(T * M, 0);
        kt_buf part = kt_buf_open(T * M, 1);
        forward(&ex, &w.mat, x.p, T, whole.p);
        for (size_t n = 1; n <= 13; n++) {
            size_t t = n * 7 % (T - 13);
            forward(&ex, &w.mat, x.p + t * N, n, part.p);
            kt_same_bits(part.p, whole.p + t * M, n * M);
        }
        forward(&ex, &w.mat, x.p + 31 * N, 45, part.p);
        kt_same_bits(part.p, whole.p + 31 * M, 45 * M);
        kt_buf_close(&x);
        kt_buf_close(&whole);
        kt_buf_close(&part);
        weight_close(&w);
        kt_exec_close(&ex);
    }
}

static void run_both_ways(uint32_t mask, unsigned threads, bool exact, const weight *w,
                          const float *x, size_t T, float *y, float *dx)
{
    shoal_exec ex = kt_exec_open(mask, threads);
    ex.exact = exact;
    forward(&ex, &w->mat, x, T, y);
    backward_of(&ex, SHOAL_ACT_F32, &w->mat, y, T, dx, false);
    kt_exec_close(&ex);
}

static void results_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { M = 300, T = 37 };
    static const unsigned threads[] = {0, 1, 2, 7};
    for (size_t i = 0; i < kt_levels() * N_TYPES * 2; i++) {
        uint32_t mask = kt_level(i % kt_levels());
        bool exact = i / kt_levels() % 2 == 1;
        const size_t N = block_of(types[i / (kt_levels() * 2)]) > 32 ? 512 : 416;
        weight w = weight_open(types[i / (kt_levels() * 2)], M, N, i);
        kt_buf x = kt_buf_random(T * N, 0, i + 1);
        kt_buf y[2] = {kt_buf_open(T * M, 0), kt_buf_open(T * M, 1)};
        kt_buf dx[2] = {kt_buf_open(T * N, 0), kt_buf_open(T * N, 1)};
        run_both_ways(mask, threads[0], exact, &w, x.p, T, y[0].p, dx[0].p);
        for (size_t n = 1; n < 4; n++) {
            run_both_ways(mask, threads[n], exact, &w, x.p, T, y[1].p, dx[1].p);
            kt_same_bits(y[1].p, y[0].p, T * M);
            kt_same_bits(dx[1].p, dx[0].p, T * N);
        }
        for (size_t n = 0; n < 2; n++) {
            kt_buf_close(&y[n]);
            kt_buf_close(&dx[n]);
        }
        kt_buf_close(&x);
        weight_close(&w);
    }
}

/* ---- packed types
 * -------------------------------------------------------------------------------- */

/* The packed form of w, at a fence of its own. */
static shoal_mat pack_weight(const weight *w, fenced *bytes)
{
    shoal_mat p = w->mat;
    p.type = shoal_type_packed(p.type);
    *bytes = fenced_open(p.rows * p.row_bytes);
    p.data = bytes->p;
    for (size_t r = 0; r < p.rows; r += 8) {
        shoal_pack_group(p.type, (const char *)w->mat.data + r * p.row_bytes, p.row_bytes, p.cols,
                         (char *)bytes->p + r * p.row_bytes);
    }
    return p;
}

/* Forward, dx and lookup of both forms: the same bits. */
static void expect_packed_alike(const shoal_exec *ex, const shoal_mat *plain,
                                const shoal_mat *packed, size_t T)
{
    size_t M = plain->rows, N = plain->cols;
    kt_buf x = kt_buf_random(T * N, 0, T), dy = kt_buf_random(T * M, 0, T + 1);
    kt_buf y[2] = {kt_buf_open(T * M, 0), kt_buf_open(T * M, 1)};
    kt_buf dx[2] = {kt_buf_open(T * N, 0), kt_buf_open(T * N, 1)};
    kt_buf row[2] = {kt_buf_open(N, 0), kt_buf_open(N, 1)};
    for (size_t i = 0; i < 2; i++) {
        const shoal_mat *w = i == 0 ? plain : packed;
        forward(ex, w, x.p, T, y[i].p);
        backward_of(ex, SHOAL_ACT_F32, w, dy.p, T, dx[i].p, false);
        shoal_mat_row(w, M - 3, row[i].p);
    }
    kt_same_bits(y[1].p, y[0].p, T * M);
    kt_same_bits(dx[1].p, dx[0].p, T * N);
    kt_same_bits(row[1].p, row[0].p, N);
    for (size_t i = 0; i < 2; i++) {
        kt_buf_close(&y[i]);
        kt_buf_close(&dx[i]);
        kt_buf_close(&row[i]);
    }
    kt_buf_close(&x);
    kt_buf_close(&dy);
}

static void packed_types_change_no_bit(void **state)
{
    (void)state;
    static const shoal_type plains[] = {SHOAL_TYPE_Q4_0, SHOAL_TYPE_Q4_1, SHOAL_TYPE_Q8_0};
    static const size_t rows[] = {8, 16, 40, 304}, cols[] = {32, 288, 576};
    static const size_t heights[] = {1, 2, 5, 33};
    for (size_t i = 0; i < kt_levels() * 2 * 3 * 12; i++) {
        shoal_exec ex = kt_exec_open(kt_level(i % kt_levels()), 2);
        ex.exact = i / kt_levels() % 2 == 1;
        size_t shape = i / (kt_levels() * 6);
        size_t M = rows[shape % 4];
        weight w = weight_open(plains[i / (kt_levels() * 2) % 3], M, cols[shape / 4], i);
        fenced bytes;
        shoal_mat packed = pack_weight(&w, &bytes);
        for (size_t h = 0; h < 4; h++) {
            expect_packed_alike(&ex, &w.mat, &packed, heights[h]);
        }
        for (size_t b = 0; b < M * w.mat.row_bytes; b++) {
            assert_int_equal(shoal_mat_plain_byte(&packed, b), shoal_mat_plain_byte(&w.mat, b));
        }
        shoal_mat views[2] = {shoal_mat_rows(&w.mat, M - 8, 8), shoal_mat_rows(&packed, M - 8, 8)};
        expect_packed_alike(&ex, &views[0], &views[1], 3);
        fenced_close(&bytes);
        weight_close(&w);
        kt_exec_close(&ex);
    }
}

static void products_allocate_nothing_and_take_one_section(void **state)
{
    (void)state;
    enum { M = 200, N = 256, T = 40 };
    shoal_exec ex = kt_exec_open(SHOAL_CPU_ALL, 2);
    weight w = weight_open(SHOAL_TYPE_Q4_1, M, N, 1);
    kt_buf x = kt_buf_random(T * N, 0, 2);
    kt_buf y = kt_buf_open(3 * T * M, 0);
    kt_buf dx = kt_buf_open(T * N, 0);
    void *packed = packed_open(SHOAL_ACT_8BIT, T, N);
    uint64_t before = shoal_mem_count();
    shoal_act a;
    const shoal_mat *mats[3] = {&w.mat, &w.mat, &w.mat};
    float *outs[3] = {y.p, y.p + T * M, y.p + 2 * T * M};
    shoal_act_prepare(&ex, &a, SHOAL_ACT_8BIT, x.p, T, N, packed);
    unsigned long long sections = shoal_pool_sections(ex.pool);
    shoal_matmul(&ex, &a, mats, outs, 3);
    assert_int_equal(shoal_pool_sections(ex.pool), sections + 1);
    shoal_act dy;
    shoal_act_prepare(&ex, &dy, SHOAL_ACT_F32, y.p, T, M, NULL);
    shoal_matmul_dx(&ex, &w.mat, &dy, dx.p, false);
    shoal_act_prepare(&ex, &a, SHOAL_ACT_F32, x.p, T, N, NULL);
    shoal_matmul(&ex, &a, mats, outs, 3);
    assert_int_equal(shoal_mem_count(), before);
    shoal_free_aligned(packed);
    kt_buf_close(&x);
    kt_buf_close(&y);
    kt_buf_close(&dx);
    weight_close(&w);
    kt_exec_close(&ex);
}

/* <dy, x W^T> as a function of x [T, N]. */
typedef struct product_ctx {
    const weight *w;
    const float *dy;
} product_ctx;

static double product_loss(void *ctx, const double *x, size_t n)
{
    const product_ctx *c = ctx;
    size_t M = c->w->mat.rows, N = c->w->mat.cols;
    double out = 0;
    for (size_t i = 0; i < n / N * M; i++) {
        double y = 0;
        for (size_t j = 0; j < N; j++) {
            y += x[i / M * N + j] * (double)c->w->full[i % M * N + j];
        }
        out += (double)c->dy[i] * y;
    }
    return out;
}

static void check_dx_by_differences(const shoal_exec *ex, const weight *w, const shoal_mat *mat)
{
    enum { T = 3 };
    size_t M = mat->rows, N = mat->cols;
    kt_buf dy = kt_buf_random(T * M, 1, 5), dx = kt_buf_open(T * N, 2);
    double *x = malloc(T * N * sizeof *x);
    for (size_t i = 0; i < T * N; i++) {
        x[i] = sin((double)i);
    }
    backward_of(ex, SHOAL_ACT_F32, mat, dy.p, T, dx.p, false);
    product_ctx c = {w, dy.p};
    assert_true(gradcheck(product_loss, &c, x, T * N, dx.p) < 2e-6);
    free(x);
    kt_buf_close(&dy);
    kt_buf_close(&dx);
}

static void dx_equals_finite_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < kt_levels() * N_TYPES; i++) {
        shoal_type type = types[i % N_TYPES];
        shoal_exec ex = kt_exec_open(kt_level(i / N_TYPES), 2);
        weight w = weight_open(type, 24, block_of(type) > 32 ? 256 : 64, i);
        check_dx_by_differences(&ex, &w, &w.mat);
        if (shoal_type_packed(type) != type) {
            fenced bytes;
            shoal_mat packed = pack_weight(&w, &bytes);
            check_dx_by_differences(&ex, &w, &packed);
            fenced_close(&bytes);
        }
        weight_close(&w);
        kt_exec_close(&ex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dot_equals_the_8_bit_scheme),
        cmocka_unit_test(dot_does_not_saturate),
        cmocka_unit_test(act_pack_agrees_at_all_levels),
        cmocka_unit_test(gemm_panel_is_right_for_every_shape),
        cmocka_unit_test(panel_is_the_transpose_padded_with_zeros),
        cmocka_unit_test(groups_of_matrices_are_right_in_both_modes),
        cmocka_unit_test(f32_weights_take_any_width),
        cmocka_unit_test(dx_is_right_for_every_type_and_shape),
        cmocka_unit_test(dx_equals_finite_differences),
        cmocka_unit_test(row_views_and_lookup_match_the_matrix),
        cmocka_unit_test(rows_do_not_depend_on_the_batch),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(packed_types_change_no_bit),
        cmocka_unit_test(products_allocate_nothing_and_take_one_section),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
