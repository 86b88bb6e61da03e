/* test_optimizer.c - AdamW against algorithm 2 in double; sum of squares; threads. */
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

enum { STEPS = 20 };

static const shoal_adamw OPT = {.lr = 1e-2f,
                                .beta1 = 0.9f,
                                .beta2 = 0.999f,
                                .eps = 1e-8f,
                                .weight_decay = 0.1f,
                                .grad_scale = 0.5f};

/* Loshchilov and Hutter 2019, algorithm 2, with the schedule multiplier 1. */
static void adamw_reference(double *p, double *m, double *v, double g, double step)
{
    double b1 = (double)OPT.beta1, b2 = (double)OPT.beta2, lr = (double)OPT.lr;
    g *= (double)OPT.grad_scale;
    *m = b1 * *m + (1 - b1) * g;
    *v = b2 * *v + (1 - b2) * g * g;
    double mh = *m / (1 - pow(b1, step)), vh = *v / (1 - pow(b2, step));
    *p -= lr * mh / (sqrt(vh) + (double)OPT.eps) + lr * (double)OPT.weight_decay * *p;
}

static void check_adamw(const shoal_exec *ex, size_t n)
{
    kt_buf p = kt_buf_random(n, n, 1), m = kt_buf_open(n, n + 1), v = kt_buf_open(n, n + 2);
    double *want = shoal_calloc(n + 1, 3 * sizeof *want);
    double *wm = want + n, *wv = wm + n;
    for (size_t i = 0; i < n; i++) {
        want[i] = (double)p.p[i];
        m.p[i] = v.p[i] = 0;
    }
    for (uint64_t step = 1; step <= STEPS; step++) {
        kt_buf g = kt_buf_random(n, n + 3, 100 + step);
        shoal_adamw o = OPT;
        o.step = step;
        shoal_adamw_step(ex, &o, p.p, g.p, m.p, v.p, n);
        for (size_t i = 0; i < n; i++) {
            adamw_reference(&want[i], &wm[i], &wv[i], (double)g.p[i], (double)step);
        }
        kt_buf_close(&g);
    }
    kt_close(m.p, wm, n, 1e-6);
    kt_close(v.p, wv, n, 1e-6);
    kt_close(p.p, want, n, STEPS * 4e-7);
    shoal_free(want);
    kt_buf_close(&p);
    kt_buf_close(&m);
    kt_buf_close(&v);
}

static void test_adamw(void **state)
{
    (void)state;
    shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), 2);
    for (size_t n = 0; n <= 130; n += 1 + n / 20) {
        check_adamw(&ex, n);
    }
    check_adamw(&ex, 20001);
    kt_exec_close(&ex);
}

static void test_sum_squares(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 8, 9, 130, 4095, 4096, 4097, 100003, 1100000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        kt_buf x = kt_buf_random(sizes[s], s, s);
        double want = 0, first = 0;
        for (size_t i = 0; i < x.n; i++) {
            want += (double)x.p[i] * (double)x.p[i];
        }
        for (unsigned threads = 0; threads <= 7; threads = threads * 3 + 1) {
            shoal_exec ex = kt_exec_open(kt_level(threads & 1), threads);
            uint64_t before = shoal_mem_count();
            double got = shoal_sum_squares(&ex, x.p, x.n);
            assert_true(shoal_mem_count() == before);
            assert_true(fabs(got - want) <= 1e-12 * want);
            if (threads == 0) {
                first = got;
            }
            assert_memory_equal(&got, &first, sizeof got);
            kt_exec_close(&ex);
        }
        kt_buf_close(&x);
    }
}

static void test_adamw_bits(void **state)
{
    (void)state;
    enum { N = 50001 };
    kt_buf one = kt_buf_random(N, 0, 1), g = kt_buf_random(N, 0, 2);
    for (unsigned threads = 0; threads <= 7; threads = threads * 3 + 1) {
        shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), threads);
        kt_buf p = kt_buf_random(N, threads, 1), m = kt_buf_random(N, 1, 3);
        kt_buf v = kt_buf_random(N, 2, 4);
        for (size_t i = 0; i < N; i++) {
            v.p[i] *= v.p[i];
        }
        shoal_adamw o = OPT;
        o.step = 3;
        shoal_adamw_step(&ex, &o, p.p, g.p, m.p, v.p, N);
        if (threads == 0) {
            memcpy(one.p, p.p, N * sizeof(float));
        }
        kt_same_bits(one.p, p.p, N);
        kt_buf_close(&p);
        kt_buf_close(&m);
        kt_buf_close(&v);
        kt_exec_close(&ex);
    }
    kt_buf_close(&one);
    kt_buf_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_sum_squares),
        cmocka_unit_test(test_adamw_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
