/* test_dense.c - the strided f32 products at every level, against sums in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/table.h"
#include "tests/support/kernel_test.h"

/* A sum of k products of values in (-1, 1) is off by at most (k + 1) roundings of at most k. */
static double sum_bound(size_t k)
{
    return ((double)k + 2) * ((double)k + 2) * 0x1p-24;
}

static double reference(size_t k, const float *a, size_t a_step, const float *b, size_t b_step)
{
    double sum = 0;
    for (size_t p = 0; p < k; p++) {
        sum += (double)a[p * a_step] * (double)b[p * b_step];
    }
    return sum;
}

static void check_nt(const shoal_table *t, size_t m, size_t n, size_t k, size_t skew)
{
    size_t lda = k + 3, ldb = k + 1, ldc = n + 2;
    kt_buf a = kt_buf_random(m * lda, skew, 1), b = kt_buf_random(n * ldb, skew + 1, 2);
    kt_buf c = kt_buf_random(m * ldc, skew + 2, 3), before = kt_buf_random(m * ldc, 0, 3);
    t->dense_nt(m, n, k, a.p, lda, b.p, ldb, c.p, ldc);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double want = reference(k, a.p + i * lda, 1, b.p + j * ldb, 1);
            kt_close(c.p + i * ldc + j, &want, 1, sum_bound(k));
        }
        kt_same_bits(c.p + i * ldc + n, before.p + i * ldc + n, 2);
    }
    kt_buf_close(&a);
    kt_buf_close(&b);
    kt_buf_close(&c);
    kt_buf_close(&before);
}

/* a is read as stored, or transposed. */
static void check_nn(const shoal_table *t, size_t m, size_t n, size_t k, bool turned, size_t skew)
{
    size_t lda = (turned ? m : k) + 1, ldb = n + 1, ldc = n + 2;
    size_t a_row = turned ? 1 : lda, a_col = turned ? lda : 1;
    kt_buf a = kt_buf_random((turned ? k : m) * lda, skew, 1);
    kt_buf b = kt_buf_random(k * ldb, skew + 1, 2);
    kt_buf c = kt_buf_random(m * ldc, skew + 2, 3), before = kt_buf_random(m * ldc, 0, 3);
    t->dense_nn(m, n, k, 0.75f, a.p, a_row, a_col, b.p, ldb, c.p, ldc);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double want = (double)before.p[i * ldc + j] +
                          0.75 * reference(k, a.p + i * a_row, a_col, b.p + j, ldb);
            kt_close(c.p + i * ldc + j, &want, 1, sum_bound(k));
        }
        kt_same_bits(c.p + i * ldc + n, before.p + i * ldc + n, 2);
    }
    kt_buf_close(&a);
    kt_buf_close(&b);
    kt_buf_close(&c);
    kt_buf_close(&before);
}

static void check_transpose(const shoal_table *t, size_t rows, size_t cols, size_t skew)
{
    kt_buf in = kt_buf_random(rows * (cols + 1), skew, 4);
    kt_buf out = kt_buf_open(cols * rows, skew + 3);
    t->dense_transpose(rows, cols, in.p, cols + 1, out.p, rows);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            kt_same_bits(out.p + j * rows + i, in.p + i * (cols + 1) + j, 1);
        }
    }
    kt_buf_close(&in);
    kt_buf_close(&out);
}

static const size_t widths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 33, 64, 65, 100, 130};
enum { WIDTHS = sizeof widths / sizeof *widths };

static void test_all_shapes(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        for (size_t m = 0; m <= 13; m++) {
            for (size_t w = 0; w < WIDTHS; w++) {
                for (size_t k = 0; k <= 20; k += 1 + k / 9) {
                    check_nt(ex.table, m, widths[w], k, m + w);
                    check_nn(ex.table, m, widths[w], k, false, m + w);
                    check_nn(ex.table, m, widths[w], k, true, m + w);
                }
                check_transpose(ex.table, m, widths[w], m + w);
                check_transpose(ex.table, widths[w], m, m + w);
            }
        }
        check_nt(ex.table, 3, 5, 1536, 1);
        check_nn(ex.table, 7, 33, 2048, true, 1);
        kt_exec_close(&ex);
    }
}

/* One output alone has the same bits as inside a block of any shape. */
static void test_bits_do_not_depend_on_shape(void **state)
{
    (void)state;
    enum { M = 21, N = 45, K = 77 };
    kt_buf a = kt_buf_random(M * K, 0, 1), b = kt_buf_random(N * K, 1, 2);
    kt_buf bt = kt_buf_open(K * N, 3), c = kt_buf_open(M * N, 0);
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        const shoal_table *t = ex.table;
        t->dense_transpose(N, K, b.p, K, bt.p, N);
        for (int nt = 0; nt < 2; nt++) {
            memset(c.p, 0, c.n * sizeof *c.p);
            if (nt) {
                t->dense_nt(M, N, K, a.p, K, b.p, K, c.p, N);
            } else {
                t->dense_nn(M, N, K, 0.5f, a.p, K, 1, bt.p, N, c.p, N);
            }
            for (size_t i = 0; i < M * N; i++) {
                float one = 0;
                if (nt) {
                    t->dense_nt(1, 1, K, a.p + i / N * K, K, b.p + i % N * K, K, &one, 1);
                } else {
                    t->dense_nn(1, 1, K, 0.5f, a.p + i / N * K, K, 1, bt.p + i % N, N, &one, 1);
                }
                kt_same_bits(&one, c.p + i, 1);
            }
        }
        kt_exec_close(&ex);
    }
    kt_buf_close(&a);
    kt_buf_close(&b);
    kt_buf_close(&bt);
    kt_buf_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_shapes),
        cmocka_unit_test(test_bits_do_not_depend_on_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
