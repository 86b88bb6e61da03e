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

/* A row in slices of awkward lengths: nll, and the gradient of sum_d acc[d] with one weight a
 * logit, against whole rows. The greatest logit comes first, last and in between. */
static void check_slices(const shoal_exec *ex, size_t V, size_t slice, size_t T)
{
    enum { D = 3 };
    kt_buf x = kt_buf_random(T * V, 0, V + slice), whole = kt_buf_open(T * V, 1);
    kt_buf part = kt_buf_open(T * slice, 2), acc = kt_buf_open(T * D, 0);
    shoal_softmax_row rows[8];
    int32_t targets[8];
    double nll[8];
    assert_true(T <= 8);
    for (size_t t = 0; t < T; t++) {
        rows[t] = SHOAL_SOFTMAX_ROW_INIT;
        targets[t] = (int32_t)(t * (V - 1) / T);
        for (size_t i = 0; i < V; i++) {
            x.p[t * V + i] *= 30;
        }
    }
    memcpy(whole.p, x.p, T * V * sizeof *x.p);
    shoal_cross_entropy(ex, whole.p, targets, T, V, 1.0f, nll, NULL);
    for (size_t first = 0; first < V; first += slice) {
        size_t n = V - first < slice ? V - first : slice;
        for (size_t t = 0; t < T; t++) {
            memcpy(part.p + t * n, x.p + t * V + first, n * sizeof *x.p);
        }
        shoal_softmax_fold(ex, part.p, T, first, n, targets, rows, acc.p, D);
        for (size_t i = 0; i < T * n; i++) { /* "weights" of 1, 2 and the logit's number */
            float *a = acc.p + i / n * D;
            a[0] += part.p[i];
            a[1] += 2 * part.p[i];
            a[2] += (float)(first + i % n) * part.p[i];
        }
    }
    for (size_t t = 0; t < T; t++) {
        double total = 0, others = shoal_softmax_others(&rows[t], &total), want[2] = {0, 0};
        for (size_t i = 0; i < V; i++) {
            want[0] += (int32_t)i == targets[t] ? 0 : (double)whole.p[t * V + i];
            want[1] += (int32_t)i == targets[t] ? 0 : (double)whole.p[t * V + i] * (double)i;
        }
        assert_true(fabs(shoal_softmax_nll(&rows[t]) - nll[t]) < 1e-5);
        assert_true(fabs(others - want[0]) < 1e-5 * others);
        assert_true(fabs((double)acc.p[t * D] / total - want[0]) < 1e-5);
        assert_true(acc.p[t * D + 1] == 2 * acc.p[t * D]);
        assert_true(fabs((double)acc.p[t * D + 2] / total - want[1]) < 1e-5 * (double)V);
        assert_true(rows[t].target == x.p[t * V + (size_t)targets[t]]);
    }
    kt_buf_close(&x);
    kt_buf_close(&whole);
    kt_buf_close(&part);
    kt_buf_close(&acc);
}

static void test_slices(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        for (unsigned threads = 0; threads <= 2; threads += 2) {
            shoal_exec ex = kt_exec_open(kt_level(level), threads);
            check_slices(&ex, 2, 1, 1);
            check_slices(&ex, 130, 1, 2);
            check_slices(&ex, 130, 129, 7);
            check_slices(&ex, 1027, 256, 8);
            check_slices(&ex, 1027, 1027, 3);
            kt_exec_close(&ex);
        }
    }
}

/* The loss alone leaves acc out, and a number that is none shows. */
static void test_slices_of_a_loss(void **state)
{
    (void)state;
    shoal_exec ex = kt_exec_open(kt_level(0), 0);
    float x[2][4] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
    const double wide[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int32_t target = 5;
    shoal_softmax_row row = SHOAL_SOFTMAX_ROW_INIT;
    shoal_softmax_fold(&ex, x[0], 1, 0, 4, &target, &row, NULL, 0);
    shoal_softmax_fold(&ex, x[1], 1, 4, 4, &target, &row, NULL, 0);
    assert_true(fabs(shoal_softmax_nll(&row) - row_nll(wide, 8, target)) < 1e-6);
    float bad[3] = {0, NAN, 1};
    shoal_softmax_fold(&ex, bad, 1, 8, 3, &target, &row, NULL, 0);
    assert_true(isnan(shoal_softmax_nll(&row)));
    kt_exec_close(&ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_slices_of_a_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
