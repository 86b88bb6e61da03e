/* test_halves.c - rows put away in binary16 under a power of two: error, range, every level's bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/kernels.h"
#include "tests/support/kernel_test.h"

enum { ROWS = 5, WIDTHS = 6 };

static const size_t WIDTH[WIDTHS] = {1, 7, 8, 33, 192, 1536};
/* Rows of every size: the residual streams of some models, gradients, what no binary16 holds. */
static const float FACTOR[ROWS] = {1.0f, 3e7f, 1e-9f, 1e-36f, 0.0f};

/* Half a step of a value: of its own 11 bits, of the least that the row's power leaves, or that any
 * does. */
static double allowed(float x, float peak)
{
    return fmax(fmax(fabs((double)x) * 0x1p-11, (double)peak * 0x1p-39), 0x1p-140);
}

static float peak_of(const float *x, size_t n)
{
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++) {
        peak = fmaxf(peak, fabsf(x[i]));
    }
    return peak;
}

static void fill(kt_buf *x, size_t n)
{
    for (size_t t = 0; t < ROWS; t++) {
        for (size_t i = 0; i < n; i++) {
            x->p[t * n + i] *= FACTOR[t] * (i % 61 == 3 ? 1000.0f : 1.0f);
        }
    }
}

static void check_errors(const float *x, const float *y, size_t n)
{
    for (size_t t = 0; t < ROWS; t++, x += n, y += n) {
        float peak = peak_of(x, n);
        for (size_t i = 0; i < n; i++) {
            double off = fabs((double)y[i] - (double)x[i]);
            if (!(off <= allowed(x[i], peak))) {
                fail_msg("row %zu, value %zu of %zu: %g became %g", t, i, n, (double)x[i],
                         (double)y[i]);
            }
        }
    }
}

static void check(const shoal_exec *ex, size_t n)
{
    size_t bytes = ROWS * n * sizeof(uint16_t);
    float scale[2][ROWS];
    kt_buf x = kt_buf_random(ROWS * n, ROWS * n, n), y = kt_buf_open(ROWS * n, 3);
    guarded put = guarded_open(bytes, 0);
    guarded want = guarded_open(bytes, 0);
    shoal_exec portable = kt_exec_open(kt_level(0), 0);
    fill(&x, n);
    shoal_halves_put(ex, x.p, ROWS, n, (uint16_t *)(void *)put.p, scale[0]);
    shoal_halves_put(&portable, x.p, ROWS, n, (uint16_t *)(void *)want.p, scale[1]);
    assert_memory_equal(put.p, want.p, bytes);
    assert_memory_equal(scale[0], scale[1], sizeof scale[0]);
    assert_true(guarded_intact(&put));
    shoal_halves_take(ex, (const uint16_t *)(const void *)put.p, scale[0], ROWS, n, y.p);
    check_errors(x.p, y.p, n);

    /* Rounding is both, and once is enough. */
    shoal_halves_round(ex, x.p, ROWS, n);
    assert_memory_equal(x.p, y.p, ROWS * n * sizeof *x.p);
    shoal_halves_round(ex, x.p, ROWS, n);
    assert_memory_equal(x.p, y.p, ROWS * n * sizeof *x.p);
    kt_exec_close(&portable);
    guarded_close(&put);
    guarded_close(&want);
    kt_buf_close(&x);
    kt_buf_close(&y);
}

static void test_errors_and_levels(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        for (size_t i = 0; i < WIDTHS; i++) {
            check(&ex, WIDTH[i]);
        }
        kt_exec_close(&ex);
    }
}

/* What is no number stays none, so that a loss tells. */
static void test_no_numbers(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        float x[9] = {1, 2, 3, INFINITY, 5, NAN, 7, 8, 9};
        shoal_halves_round(&ex, x, 1, 9);
        assert_true(isinf(x[3]));
        assert_true(isnan(x[5]));
        kt_exec_close(&ex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_and_levels),
        cmocka_unit_test(test_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
