/* test_gemm16.c - the 16-bit products: slots against C to the bit, products against double.
 *
 * Bound of a product: half a step of each operand's chunk, 0.5 / 8191 and 0.5 / 2047 of its peak,
 * at every term; values here are below 1 in magnitude, so N (6.2e-5 + 2.5e-4) and rounding.
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
#include "kernels/gemm16.h"
#include "tests/support/kernel_test.h"

static shoal_table table_of(uint32_t mask)
{
    shoal_table t;
    shoal_table_select(&t, mask);
    return t;
}

/* ---- slots ------------------------------------------------------------------------------------
 */

static void same_packed(const shoal_table *c, const shoal_table *t, size_t n, size_t k)
{
    kt_buf x = kt_buf_random(n * k, k % 3, n + k);
    int16_t codes[2][8 * SHOAL_GEMM16_K];
    float scales[2][8];
    c->pack16(x.p, k, n, k, codes[0], scales[0]);
    t->pack16(x.p, k, n, k, codes[1], scales[1]);
    assert_memory_equal(codes[0], codes[1], n * (k + k % 2) * sizeof **codes);
    assert_memory_equal(scales[0], scales[1], n * sizeof **scales);
    kt_buf_close(&x);
}

static void same_panels(const shoal_table *c, const shoal_table *t, size_t n, size_t k)
{
    size_t used = (k + 1) / 2 * SHOAL_PANEL * 2 * sizeof(int16_t);
    kt_buf w = kt_buf_random(n * k, n % 3, n * k);
    static shoal_panel16 want, got;
    c->panel16_rows(w.p, k, n, k, &want);
    t->panel16_rows(w.p, k, n, k, &got);
    assert_memory_equal(want.scale, got.scale, sizeof want.scale);
    assert_memory_equal(want.codes, got.codes, used);
    c->panel16_cols(w.p, n, n, k, &want);
    t->panel16_cols(w.p, n, n, k, &got);
    assert_memory_equal(want.scale, got.scale, sizeof want.scale);
    assert_memory_equal(want.codes, got.codes, used);
    kt_buf_close(&w);
}

/* The largest codes at full depth: the sum of a chunk must not leave 32 bits. */
static void fill_most(int16_t *codes, shoal_panel16 *panel, size_t T, size_t k)
{
    for (size_t i = 0; i < T * k; i++) {
        codes[i] = i / k % 2 == 0 ? SHOAL_CODE16_X : -SHOAL_CODE16_X;
    }
    for (size_t i = 0; i < k / 2 * SHOAL_PANEL * 2; i++) {
        (&panel->codes[0][0][0])[i] = SHOAL_CODE16_W;
    }
}

static void same_products(const shoal_table *c, const shoal_table *t, size_t T, size_t k,
                          size_t cols, bool most)
{
    kt_buf x = kt_buf_random(T * k, 0, T), w = kt_buf_random(k * SHOAL_PANEL, 0, k);
    kt_buf y[2] = {kt_buf_random(T * cols, 1, 5), kt_buf_random(T * cols, 1, 5)};
    int16_t codes[13 * SHOAL_GEMM16_K];
    float scales[13];
    static shoal_panel16 panel;
    c->pack16(x.p, k, T, k, codes, scales);
    c->panel16_cols(w.p, SHOAL_PANEL, SHOAL_PANEL, k, &panel);
    if (most) fill_most(codes, &panel, T, k);
    for (int from = 0; from < 3; from++) { /* zero, in place, from elsewhere */
        for (int i = 0; i < 2; i++) {
            const float *in = from == 0 ? NULL : from == 1 ? y[i].p : x.p;
            shoal_sums16 sums = {in, y[i].p, from == 2 ? k : cols, cols};
            if (from == 2 && k < cols) continue;
            (i == 0 ? c : t)->gemm16(codes, scales, T, &panel, k, sums, cols);
        }
        kt_same_bits(y[1].p, y[0].p, T * cols);
    }
    kt_buf_close(&x);
    kt_buf_close(&w);
    kt_buf_close(&y[0]);
    kt_buf_close(&y[1]);
}

static void slots_have_the_bits_of_c(void **state)
{
    (void)state;
    static const size_t depths[] = {1, 2, 7, 16, 31, 32, 33, 64, 127, 128};
    shoal_table c = table_of(0);
    for (size_t l = 0; l < kt_levels(); l++) {
        shoal_table t = table_of(kt_level(l));
        for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
            for (size_t n = 1; n <= SHOAL_PANEL; n++) {
                same_packed(&c, &t, n % 8 + 1, depths[i]);
                same_panels(&c, &t, n, depths[i]);
                if (t.gemm16 == NULL) continue;
                same_products(&c, &t, n % 13 + 1, depths[i], n, false);
            }
        }
        if (t.gemm16 != NULL) same_products(&c, &t, 13, SHOAL_GEMM16_K, SHOAL_PANEL, true);
    }
}

static void rows_of_zeros_and_tiny_values_are_zero(void **state)
{
    (void)state;
    for (size_t l = 0; l < kt_levels(); l++) {
        shoal_table t = table_of(kt_level(l));
        float x[2 * 32] = {0};
        int16_t codes[2 * 32];
        float scales[2];
        x[32] = 1e-31f;
        t.pack16(x, 32, 2, 32, codes, scales);
        for (size_t i = 0; i < 2 * 32; i++) {
            assert_int_equal(codes[i], 0);
        }
        assert_true(scales[0] == 0.0f && scales[1] == 0.0f);
    }
}

/* ---- products through kernels.h ---------------------------------------------------------------
 */

enum { M = 150, N = 288, ROWS = 530 }; /* more rows than are summed at a time */

typedef struct problem {
    shoal_mat w; /* F32 or Q8_0 */
    void *bytes;
    float *full; /* [M, N] */
    kt_buf x;    /* [ROWS, N] */
    kt_buf dy;   /* [ROWS, M] */
} problem;

static problem problem_open(shoal_type type)
{
    size_t row_bytes = shoal_type_row_bytes(shoal_type_get((uint32_t)type), N);
    problem p = {.bytes = malloc(M * row_bytes), .full = malloc(M * N * sizeof(float))};
    kt_buf w = kt_buf_random(M * N, 0, 3);
    for (size_t r = 0; r < M; r++) {
        shoal_quantize(type, w.p + r * N, (char *)p.bytes + r * row_bytes, N);
        shoal_dequantize(type, (char *)p.bytes + r * row_bytes, p.full + r * N, N);
    }
    kt_buf_close(&w);
    p.w = (shoal_mat){p.bytes, type, M, N, row_bytes};
    p.x = kt_buf_random((size_t)ROWS * N, 0, 4);
    p.dy = kt_buf_random((size_t)ROWS * M, 0, 5);
    return p;
}

static void problem_close(problem *p)
{
    free(p->bytes);
    free(p->full);
    kt_buf_close(&p->x);
    kt_buf_close(&p->dy);
}

/* y [T, M] and dx [T, N] (+= when it holds something) for T rows from `first` on. */
static void both_ways(const shoal_exec *ex, const problem *p, size_t first, size_t T, float *y,
                      float *dx, bool add)
{
    shoal_act a;
    const shoal_mat *w = &p->w;
    void *packed = shoal_alloc_aligned(shoal_act_bytes(SHOAL_ACT_16BIT, T, N));
    assert_non_null(packed);
    shoal_act_prepare(ex, &a, SHOAL_ACT_16BIT, p->x.p + first * N, T, N, packed);
    shoal_matmul(ex, &a, &w, &y, 1);
    shoal_act_prepare(ex, &a, SHOAL_ACT_16BIT, p->dy.p + first * M, T, M, packed);
    shoal_matmul_dx(ex, w, &a, dx, add);
    shoal_free_aligned(packed);
}

/* Sum of n products, a_step and b_step apart. */
static double dot(const float *a, const float *b, size_t b_step, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i * b_step];
    }
    return sum;
}

static void products_are_near(void **state)
{
    (void)state;
    static const shoal_type types[] = {SHOAL_TYPE_F32, SHOAL_TYPE_Q8_0};
    const double step = 0.51 / SHOAL_CODE16_X + 0.51 / SHOAL_CODE16_W;
    for (size_t i = 0; i < 2 * kt_levels(); i++) {
        problem p = problem_open(types[i % 2]);
        shoal_exec ex = kt_exec_open(kt_level(i / 2), 2);
        kt_buf y = kt_buf_open((size_t)ROWS * M, 0), dx = kt_buf_random((size_t)ROWS * N, 0, 9);
        kt_buf before = kt_buf_random((size_t)ROWS * N, 0, 9);
        both_ways(&ex, &p, 0, ROWS, y.p, dx.p, true);
        for (size_t t = 0; t < ROWS; t += 23) {
            for (size_t j = 0; j < M; j++) {
                double want = dot(p.x.p + t * N, p.full + j * N, 1, N);
                assert_true(fabs((double)y.p[t * M + j] - want) <= N * step);
            }
            for (size_t j = 0; j < N; j++) {
                double want = (double)before.p[t * N + j] + dot(p.dy.p + t * M, p.full + j, N, M);
                assert_true(fabs((double)dx.p[t * N + j] - want) <= M * step);
            }
        }
        kt_buf_close(&y);
        kt_buf_close(&dx);
        kt_buf_close(&before);
        kt_exec_close(&ex);
        problem_close(&p);
    }
}

static void rows_have_the_same_bits_alone_and_on_any_thread(void **state)
{
    (void)state;
    problem p = problem_open(SHOAL_TYPE_Q8_0);
    for (size_t l = 0; l < kt_levels(); l++) {
        shoal_exec one = kt_exec_open(kt_level(l), 0), many = kt_exec_open(kt_level(l), 3);
        kt_buf y[2] = {kt_buf_open((size_t)ROWS * M, 0), kt_buf_open((size_t)ROWS * M, 1)};
        kt_buf dx[2] = {kt_buf_open((size_t)ROWS * N, 0), kt_buf_open((size_t)ROWS * N, 1)};
        both_ways(&one, &p, 0, ROWS, y[0].p, dx[0].p, false);
        both_ways(&many, &p, 0, ROWS, y[1].p, dx[1].p, false);
        kt_same_bits(y[1].p, y[0].p, (size_t)ROWS * M);
        kt_same_bits(dx[1].p, dx[0].p, (size_t)ROWS * N);
        both_ways(&many, &p, 509, 5, y[1].p, dx[1].p, false);
        kt_same_bits(y[1].p, y[0].p + (size_t)509 * M, 5 * M);
        kt_same_bits(dx[1].p, dx[0].p + (size_t)509 * N, 5 * N);
        for (size_t i = 0; i < 2; i++) {
            kt_buf_close(&y[i]);
            kt_buf_close(&dx[i]);
        }
        kt_exec_close(&one);
        kt_exec_close(&many);
    }
    problem_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_have_the_bits_of_c),
        cmocka_unit_test(rows_of_zeros_and_tiny_values_are_zero),
        cmocka_unit_test(products_are_near),
        cmocka_unit_test(rows_have_the_same_bits_alone_and_on_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
