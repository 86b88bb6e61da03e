/* test_loss.c - cross-entropy: values and gradients against double, edges, threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/kernels.h"
#include "tests/support/gradcheck.h"
#include "tests/support/kernel_test.h"

static double row_nll(const double *x, size_t V, int32_t target)
{
    double top = x[0], sum = 0;
    for (size_t i = 1; i < V; i++) {
        top = fmax(top, x[i]);
    }
    for (size_t i = 0; i < V; i++) {
        sum += exp(x[i] - top);
    }
    return top + log(sum) - x[target];
}

static double loss(void *ctx, const double *x, size_t n)
{
    return row_nll(x, n, *(const int32_t *)ctx);
}

static void check_row(const shoal_exec *ex, size_t V, size_t skew)
{
    kt_buf x = kt_buf_random(V, skew, V), copy = kt_buf_open(V, 0);
    double *wide = shoal_alloc(V * sizeof *wide);
    int32_t target = (int32_t)(V * 2 / 3), argmax = -1;
    double nll;
    for (size_t i = 0; i < V; i++) {
        copy.p[i] = x.p[i] *= 8;
        wide[i] = (double)x.p[i];
    }
    shoal_cross_entropy(ex, x.p, &target, 1, V, 0, &nll, &argmax);
    kt_same_bits(x.p, copy.p, V); /* scale 0: logits stay */
    double want = row_nll(wide, V, target);
    assert_true(fabs(nll - want) <= 70 * 0x1p-24); /* 512 / 8 roundings of the lane sums and exp */
    for (size_t i = 0; i < V; i++) {
        assert_true(copy.p[i] <= copy.p[argmax]);
        assert_true(copy.p[i] < copy.p[argmax] || (int32_t)i >= argmax);
    }
    shoal_cross_entropy(ex, x.p, &target, 1, V, 1.0f, &nll, NULL);
    if (V > 1 && V < 2000) assert_true(gradcheck(loss, &target, wide, V, x.p) < 2e-6);
    double sum = 0;
    for (size_t i = 0; i < V; i++) {
        sum += (double)x.p[i];
    }
    assert_true(fabs(sum) < 1e-5); /* a softmax minus a one-hot */
    shoal_free(wide);
    kt_buf_close(&x);
    kt_buf_close(&copy);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t V = 1; V <= 130; V++) {
            check_row(&ex, V, V);
        }
        check_row(&ex, 1027, 1);
        check_row(&ex, 49152, 3);
        kt_exec_close(&ex);
    }
}

static void test_extremes(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        float x[3][12];
        int32_t targets[3] = {1, -1, 3}, argmax[3];
        double nll[3];
        for (size_t i = 0; i < 36; i++) {
            x[i / 12][i % 12] = i % 12 == 4 ? 3e4f : -3e4f;
        }
        x[2][3] = x[2][4]; /* a tie: the first wins */
        shoal_cross_entropy(&ex, x[0], targets, 3, 12, 0.5f, nll, argmax);
        assert_true(nll[0] == 6e4 && argmax[0] == 4);
        assert_true(x[0][4] == 0.5f && x[0][1] == -0.5f && x[0][0] == 0.0f);
        assert_true(nll[1] == 0.0 && argmax[1] == 4 && x[1][4] == 0.0f && x[1][0] == 0.0f);
        assert_true(fabs(nll[2] - log(2)) < 1e-7 && argmax[2] == 3);
        assert_true(x[2][3] == -0.25f && x[2][4] == 0.25f);
        float bad[9] = {0, 1, NAN, 0, 0, 0, 0, 0, 0};
        shoal_cross_entropy(&ex, bad, targets, 1, 9, 0, nll, NULL);
        assert_true(isnan(nll[0]));
        kt_exec_close(&ex);
    }
}

static void test_bits(void **state)
{
    (void)state;
    enum { T = 23, V = 1001 };
    int32_t targets[T];
    double nll[2][T];
    for (int32_t t = 0; t < T; t++) {
        targets[t] = t * 31;
    }
    for (size_t level = 0; level < kt_levels(); level++) {
        kt_buf one = kt_buf_random(T * V, 0, 7);
        shoal_exec serial = kt_exec_open(kt_level(level), 0);
        for (size_t t = 0; t < T; t++) {
            shoal_cross_entropy(&serial, one.p + t * V, targets + t, 1, V, 0.1f, nll[0] + t, NULL);
        }
        for (unsigned threads = 2; threads <= 7; threads += 5) {
            shoal_exec ex = kt_exec_open(kt_level(level), threads);
            kt_buf many = kt_buf_random(T * V, 1, 7);
            uint64_t before = shoal_mem_count();
            shoal_cross_entropy(&ex, many.p, targets, T, V, 0.1f, nll[1], NULL);
            assert_true(shoal_mem_count() == before);
            kt_same_bits(one.p, many.p, T * V);
            assert_memory_equal(nll[0], nll[1], sizeof nll[0]);
            kt_buf_close(&many);
            kt_exec_close(&ex);
        }
        kt_exec_close(&serial);
        kt_buf_close(&one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
