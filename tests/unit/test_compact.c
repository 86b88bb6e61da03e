/* test_compact.c - arrays in binary16 and in 8-bit blocks: error, range, every level's bits. */
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

static const shoal_type TYPES[] = {SHOAL_TYPE_F32, SHOAL_TYPE_F16, SHOAL_TYPE_Q8_0};

/* Most that value i of x may be off: half a step, the rounding of the scale included. */
static double allowed(shoal_type type, const float *x, size_t n, size_t i)
{
    double v = fabs((double)x[i]);
    if (type == SHOAL_TYPE_F32) return 0.0;
    if (type == SHOAL_TYPE_F16) return v > 65504.0 ? v - 65504.0 : fmax(v * 0x1p-11, 0x1p-25);
    double peak = 0.0;
    for (size_t j = i / 32 * 32; j < n && j < i / 32 * 32 + 32; j++) {
        peak = fmax(peak, fabs((double)x[j]));
    }
    double d = peak / 127.0;
    return fmax(d * (0.5 + 127.0 * 0x1p-11), 127.0 * 0x1p-25) * 1.001;
}

static void check(const shoal_exec *ex, shoal_type type, size_t n, float factor)
{
    kt_buf x = kt_buf_random(n, n, n), y = kt_buf_open(n, 3);
    size_t bytes = shoal_compact_bytes(type, n);
    guarded put = guarded_open(bytes, 0);
    guarded want = guarded_open(bytes, 0);
    shoal_exec portable = kt_exec_open(kt_level(0), 0);
    for (size_t i = 0; i < n; i++) {
        x.p[i] *= i % 67 == 5 ? factor * 1000 : factor; /* some blocks with one that is far out */
    }
    shoal_compact(ex, type, x.p, n, put.p);
    shoal_compact(&portable, type, x.p, n, want.p);
    assert_memory_equal(put.p, want.p, bytes);
    assert_true(guarded_intact(&put));
    shoal_compact_expand(ex, type, put.p, n, y.p);
    for (size_t i = 0; i < n; i++) {
        double off = fabs((double)y.p[i] - (double)x.p[i]);
        if (!(off <= allowed(type, x.p, n, i))) {
            fail_msg("type %d, value %zu of %zu: %g became %g", (int)type, i, n, (double)x.p[i],
                     (double)y.p[i]);
        }
    }
    kt_exec_close(&portable);
    guarded_close(&put);
    guarded_close(&want);
    kt_buf_close(&x);
    kt_buf_close(&y);
}

static void test_errors_and_levels(void **state)
{
    (void)state;
    static const float FACTORS[] = {1e-6f, 1e-2f, 1.0f, 300.0f};
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
            for (size_t f = 0; f < sizeof FACTORS / sizeof *FACTORS; f++) {
                for (size_t n = 1; n <= 100; n++) {
                    check(&ex, TYPES[t], n, FACTORS[f]);
                }
                check(&ex, TYPES[t], 8192 * 2 + 77, FACTORS[f]);
            }
        }
        kt_exec_close(&ex);
    }
}

static void test_edges(void **state)
{
    (void)state;
    float x[32] = {0.0f, -0.0f, 65504.0f, 65520.0f, 1e38f, -1e38f, 0x1p-24f, -0x1p-14f};
    float y[32];
    uint16_t h[32];
    uint8_t q[34];
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        shoal_compact(&ex, SHOAL_TYPE_F16, x, 32, h);
        shoal_compact_expand(&ex, SHOAL_TYPE_F16, h, 32, y);
        assert_true(y[0] == 0.0f && signbit(y[1]) && y[2] == 65504.0f && y[3] == 65504.0f);
        assert_true(y[4] == 65504.0f && y[5] == -65504.0f && y[6] == x[6] && y[7] == x[7]);
        memset(y, 1, sizeof y);
        const float zero[32] = {0};
        shoal_compact(&ex, SHOAL_TYPE_Q8_0, zero, 32, q);
        shoal_compact_expand(&ex, SHOAL_TYPE_Q8_0, q, 32, y);
        assert_memory_equal(y, zero, sizeof y);
        shoal_compact(&ex, SHOAL_TYPE_Q8_0, x, 32, q); /* a scale out of range */
        shoal_compact_expand(&ex, SHOAL_TYPE_Q8_0, q, 32, y);
        assert_true(y[4] == 127.0f * 65504.0f && y[5] == -127.0f * 65504.0f);
        kt_exec_close(&ex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_and_levels),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
