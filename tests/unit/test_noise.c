/* test_noise.c - masks and noise: how often, how independent, and the same wherever they are asked
 * for. Bounds are five standard deviations of what chance gives; the keys are fixed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/noise.h"

enum { ROWS = 128, COLS = 600 };

static uint64_t keys[ROWS];
static float ones[ROWS][COLS];

static int open_all(void **state)
{
    (void)state;
    for (size_t t = 0; t < ROWS; t++) {
        keys[t] = shoal_noise_key(3, t);
        for (size_t i = 0; i < COLS; i++) {
            ones[t][i] = 1.0f;
        }
    }
    return 0;
}

static void fill(double p, uint64_t salt, float (*mask)[COLS])
{
    const shoal_dropout d = {.keys = keys, .salt = salt, .level = shoal_dropout_level(p)};
    shoal_dropout_apply(&d, 0, ROWS, 0, COLS, ones[0], COLS, mask[0], COLS);
}

static void test_levels(void **state)
{
    (void)state;
    assert_int_equal(shoal_dropout_level(0.0), 0);
    assert_int_equal(shoal_dropout_level(-0.1), 0);
    assert_int_equal(shoal_dropout_level((double)NAN), 0);
    assert_int_equal(shoal_dropout_level(1e-9), 1);
    assert_int_equal(shoal_dropout_level(0.5), SHOAL_DROPOUT_ONE / 2);
    assert_int_equal(shoal_dropout_level(0.9999999), SHOAL_DROPOUT_ONE - 1);
}

/* Values are 0 or 1 / (1 - p), as many as p says: in all, and in no row or column too many. */
static void test_share(void **state)
{
    (void)state;
    static const double P[] = {0.01, 0.05, 0.1, 0.5, 0.9};
    static float mask[ROWS][COLS];
    for (size_t k = 0; k < sizeof P / sizeof *P; k++) {
        double p = shoal_dropout_level(P[k]) / (double)SHOAL_DROPOUT_ONE;
        size_t dropped = 0;
        size_t in_column[COLS] = {0};
        double sum = 0.0;
        fill(P[k], 1, mask);
        for (size_t t = 0; t < ROWS; t++) {
            size_t in_row = 0;
            for (size_t i = 0; i < COLS; i++) {
                size_t out = mask[t][i] == 0.0f;
                assert_true(out == 1 ||
                            fabs((double)mask[t][i] - 1.0 / (1.0 - p)) < 1e-6 / (1.0 - p));
                in_row += out;
                in_column[i] += out;
                sum += (double)mask[t][i];
            }
            assert_true(fabs((double)in_row - p * COLS) < 5.0 * sqrt(p * (1.0 - p) * COLS) + 2.0);
            dropped += in_row;
        }
        double n = (double)ROWS * COLS;
        assert_true(fabs((double)dropped - p * n) < 5.0 * sqrt(p * (1.0 - p) * n));
        assert_true(fabs(sum / n - 1.0) < 5.0 * sqrt(p / ((1.0 - p) * n)));
        for (size_t i = 0; i < COLS; i++) {
            double far = fabs((double)in_column[i] - p * ROWS);
            assert_true(far < 5.0 * sqrt(p * (1.0 - p) * ROWS) + 2.0);
        }
    }
}

/* Agreement of two masks with p = 1/2 beyond chance, in standard deviations. */
static double likeness(float (*a)[COLS], float (*b)[COLS], size_t shift_rows, size_t shift_cols)
{
    size_t same = 0;
    size_t n = 0;
    for (size_t t = 0; t + shift_rows < ROWS; t++) {
        for (size_t i = 0; i + shift_cols < COLS; i++) {
            same += (a[t][i] == 0.0f) == (b[t + shift_rows][i + shift_cols] == 0.0f);
            n++;
        }
    }
    return fabs((double)same - 0.5 * (double)n) / (0.5 * sqrt((double)n));
}

/* Neighbours in row and column, matrices that read the same rows, and other keys share nothing. */
static void test_independence(void **state)
{
    (void)state;
    static float a[ROWS][COLS];
    static float b[ROWS][COLS];
    fill(0.5, 1, a);
    assert_true(likeness(a, a, 0, 0) > 100.0);
    for (size_t shift = 1; shift <= 8; shift++) {
        assert_true(likeness(a, a, 0, shift) < 5.0);
        assert_true(likeness(a, a, shift, 0) < 5.0);
    }
    for (uint64_t salt = 2; salt < 12; salt++) {
        fill(0.5, salt, b);
        assert_true(likeness(a, b, 0, 0) < 5.0);
        assert_true(likeness(a, b, 1, 0) < 5.0);
        assert_true(likeness(a, b, 0, 4) < 5.0);
    }
    assert_true(shoal_noise_key(1, 2) != shoal_noise_key(2, 1));
}

/* A piece of the rows and columns has the bits it has in the whole; adding adds the same. */
static void test_pieces(void **state)
{
    (void)state;
    static float whole[ROWS][COLS];
    float piece[5][70];
    float sum[5][70];
    const shoal_dropout d = {.keys = keys, .salt = 9, .level = 9000};
    fill(9000.0 / SHOAL_DROPOUT_ONE, 9, whole);
    for (size_t n0 = 0; n0 < 512; n0 += SHOAL_DROPOUT_BLOCK) {
        shoal_dropout_apply(&d, 40, 5, n0, 70, &ones[40][n0], COLS, piece[0], 70);
        for (size_t t = 0; t < 5; t++) {
            assert_memory_equal(piece[t], &whole[40 + t][n0], sizeof piece[t]);
            for (size_t i = 0; i < 70; i++) {
                sum[t][i] = 2.0f;
            }
        }
        shoal_dropout_add(&d, 40, 5, n0, 70, &ones[40][n0], COLS, sum[0], 70);
        for (size_t i = 0; i < 70; i++) {
            assert_true(sum[3][i] == 2.0f + piece[3][i]);
        }
    }
}

/* A value that is left out leaves nothing, even when it is no number. */
static void test_dropped_is_zero(void **state)
{
    (void)state;
    float x[COLS];
    float out[COLS];
    size_t zeros = 0;
    const shoal_dropout d = {.keys = keys, .salt = 2, .level = SHOAL_DROPOUT_ONE / 2};
    for (size_t i = 0; i < COLS; i++) {
        x[i] = INFINITY;
    }
    shoal_dropout_apply(&d, 0, 1, 0, COLS, x, COLS, out, COLS);
    for (size_t i = 0; i < COLS; i++) {
        assert_true(out[i] == 0.0f || out[i] == INFINITY);
        zeros += out[i] == 0.0f;
    }
    assert_in_range(zeros, COLS / 3, 2 * COLS / 3);
}

/* Uniform in (-scale, scale): mean 0, variance scale^2 / 3, and an odd end is served. */
static void test_uniform(void **state)
{
    (void)state;
    enum { N = 20001 };
    static float y[N + 1];
    double sum = 0.0;
    double squares = 0.0;
    memset(y, 0, sizeof y);
    shoal_uniform_add(5, 0.25f, N, y);
    assert_true(y[N] == 0.0f);
    for (size_t i = 0; i < N; i++) {
        assert_true(y[i] > -0.25f && y[i] < 0.25f && y[i] != 0.0f);
        sum += (double)y[i];
        squares += (double)y[i] * (double)y[i];
    }
    double variance = 0.0625 / 3.0;
    assert_true(fabs(sum / N) < 5.0 * sqrt(variance / N));
    assert_true(fabs(squares / N - variance) < 5.0 * sqrt(0.8 * variance * variance / N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),          cmocka_unit_test(test_share),
        cmocka_unit_test(test_independence),    cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_dropped_is_zero), cmocka_unit_test(test_uniform),
    };
    return cmocka_run_group_tests(tests, open_all, NULL);
}
