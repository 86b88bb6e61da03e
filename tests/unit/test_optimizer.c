/* test_optimizer.c - AdamW and momentum against their algorithms in double, 8-bit moments against
 * f32 ones; sum of squares; threads. */
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

/* Codes and scales of n moments, zeroed. */
typedef struct moments {
    shoal_moments8 q;
    size_t blocks;
} moments;

static moments moments_open(size_t n)
{
    moments s = {.blocks = (n + SHOAL_MOMENT_BLOCK - 1) / SHOAL_MOMENT_BLOCK};
    s.q.m = shoal_calloc(n + 1, 1);
    s.q.v = shoal_calloc(n + 1, 1);
    s.q.m_peak = shoal_calloc(s.blocks + 1, sizeof(float));
    s.q.v_peak = shoal_calloc(s.blocks + 1, sizeof(float));
    return s;
}

static void moments_close(moments *s)
{
    shoal_free(s->q.m);
    shoal_free(s->q.v);
    shoal_free(s->q.m_peak);
    shoal_free(s->q.v_peak);
}

/* Gradients whose scale differs from value to value, as rows of an adapter do. */
static kt_buf uneven_gradient(size_t n, uint64_t step)
{
    kt_buf g = kt_buf_random(n, 0, 1000 + step);
    for (size_t i = 0; i < n; i++) {
        g.p[i] = (g.p[i] + 0.3f) * 1e-3f * (float)(1 + i % 23);
    }
    return g;
}

/* 300 steps with either kind of moments, far beyond the memory of m: parameters travel nearly the
 * same way, and v neither sticks nor drifts. */
static void test_adamw8_follows_adamw(void **state)
{
    (void)state;
    enum { N = 1000, MANY = 300 };
    shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), 2);
    kt_buf p = kt_buf_random(N, 0, 1), p8 = kt_buf_random(N, 3, 1), start = kt_buf_random(N, 0, 1);
    kt_buf m = kt_buf_random(N, 0, 2), v = kt_buf_random(N, 0, 3);
    memset(m.p, 0, N * sizeof(float));
    memset(v.p, 0, N * sizeof(float));
    moments q = moments_open(N);
    for (uint64_t step = 1; step <= MANY; step++) {
        kt_buf g = uneven_gradient(N, step);
        shoal_adamw o = OPT;
        o.step = step;
        o.lr = 1e-3f;
        shoal_adamw_step(&ex, &o, p.p, g.p, m.p, v.p, N);
        shoal_adamw8_step(&ex, &o, p8.p, g.p, &q.q, N);
        kt_buf_close(&g);
    }
    double apart = 0, way = 0;
    for (size_t i = 0; i < N; i++) {
        apart += pow((double)p8.p[i] - (double)p.p[i], 2);
        way += pow((double)p.p[i] - (double)start.p[i], 2);
    }
    assert_true(way > 1.0);
    assert_true(sqrt(apart / way) < 0.05);
    moments_close(&q);
    kt_buf_close(&p);
    kt_buf_close(&p8);
    kt_buf_close(&start);
    kt_buf_close(&m);
    kt_buf_close(&v);
    kt_exec_close(&ex);
}

/* Sum of v over the codes: 16 exponents and 4 bits of mantissa below the block's peak. */
static double sum_v(const moments *s, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % SHOAL_MOMENT_BLOCK == 0 || s->q.v[i] == 0)
            continue; /* first of a block: the peak */
        double unit = (double)s->q.v_peak[i / SHOAL_MOMENT_BLOCK] / 1.9375;
        sum += unit * ldexp(1.0 + s->q.v[i] % 16 / 16.0, s->q.v[i] / 16 - 15);
    }
    return sum;
}

/* Where the gradient ends while a neighbour's goes on, v decays as it should, though a thousandth
 * is far below a code's width: after 700 steps half is left, on average. */
static void test_adamw8_decays(void **state)
{
    (void)state;
    enum { N = 8192 };
    shoal_exec ex = kt_exec_open(kt_level(0), 1);
    kt_buf p = kt_buf_random(N, 0, 1), g = kt_buf_random(N, 0, 2);
    moments q = moments_open(N);
    double begun = 0;
    for (uint64_t step = 1; step <= 700; step++) {
        for (size_t i = 0; i < N; i++) {
            g.p[i] = i % SHOAL_MOMENT_BLOCK == 0 ? 1.0f : step == 1 ? g.p[i] : 0.0f;
        }
        shoal_adamw o = OPT;
        o.step = step;
        shoal_adamw8_step(&ex, &o, p.p, g.p, &q.q, N);
        if (step == 1) begun = sum_v(&q, N);
    }
    assert_true(begun > 0.0);
    double left = sum_v(&q, N) / begun;
    if (fabs(left - pow(0.999, 699)) > 0.03) {
        fail_msg("%g of v is left", left);
    }
    moments_close(&q);
    kt_buf_close(&p);
    kt_buf_close(&g);
    kt_exec_close(&ex);
}

/* Zero, tiny and huge gradients leave finite parameters; those without a gradient do not move. */
static void test_adamw8_extremes(void **state)
{
    (void)state;
    enum { N = 200 };
    static const float SCALES[] = {0.0f, 1e-30f, 1e-18f, 1.0f, 1e15f};
    shoal_exec ex = kt_exec_open(kt_level(0), 1);
    for (size_t s = 0; s < sizeof SCALES / sizeof *SCALES; s++) {
        kt_buf p = kt_buf_random(N, 0, 1), start = kt_buf_random(N, 0, 1);
        kt_buf g = kt_buf_random(N, 0, 2);
        moments q = moments_open(N);
        for (size_t i = 0; i < N; i++) {
            g.p[i] = i < 128 ? g.p[i] * SCALES[s] : 0.0f;
        }
        for (uint64_t step = 1; step <= 10; step++) {
            shoal_adamw o = OPT;
            o.step = step;
            o.weight_decay = 0.0f;
            shoal_adamw8_step(&ex, &o, p.p, g.p, &q.q, N);
        }
        for (size_t i = 0; i < N; i++) {
            assert_true(fabsf(p.p[i] - start.p[i]) < 0.2f); /* ten steps of 0.01, and some */
        }
        kt_same_bits(p.p + 128, start.p + 128, N - 128);
        moments_close(&q);
        kt_buf_close(&p);
        kt_buf_close(&start);
        kt_buf_close(&g);
    }
    kt_exec_close(&ex);
}

static void test_adamw8_bits(void **state)
{
    (void)state;
    enum { N = 50001 };
    kt_buf one = kt_buf_random(N, 0, 1), g = kt_buf_random(N, 0, 2);
    moments first = moments_open(N);
    for (unsigned threads = 0; threads <= 7; threads = threads * 3 + 1) {
        shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), threads);
        kt_buf p = kt_buf_random(N, threads, 1);
        moments q = moments_open(N);
        uint64_t before = shoal_mem_count();
        for (uint64_t step = 1; step <= 3; step++) {
            shoal_adamw o = OPT;
            o.step = step;
            shoal_adamw8_step(&ex, &o, p.p, g.p, threads == 0 ? &first.q : &q.q, N);
        }
        assert_true(shoal_mem_count() == before);
        if (threads == 0) {
            memcpy(one.p, p.p, N * sizeof(float));
        } else {
            kt_same_bits(one.p, p.p, N);
            assert_memory_equal(first.q.m, q.q.m, N);
            assert_memory_equal(first.q.v, q.q.v, N);
            kt_same_bits(first.q.v_peak, q.q.v_peak, q.blocks);
        }
        moments_close(&q);
        kt_buf_close(&p);
        kt_exec_close(&ex);
    }
    moments_close(&first);
    kt_buf_close(&one);
    kt_buf_close(&g);
}

/* Against Loshchilov and Hutter 2019, algorithm 1, in double; 1 and 7 threads give the same bits.
 */
static void check_sgd(size_t n, unsigned threads)
{
    shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), threads);
    kt_buf p = kt_buf_random(n, n, 1), m = kt_buf_open(n, n + 1);
    double *want = shoal_calloc(n + 1, 2 * sizeof *want);
    double *wm = want + n;
    for (size_t i = 0; i < n; i++) {
        want[i] = (double)p.p[i];
        m.p[i] = 0;
    }
    for (uint64_t step = 1; step <= STEPS; step++) {
        kt_buf g = kt_buf_random(n, n + 3, 100 + step);
        shoal_sgd_step(&ex, &OPT, p.p, g.p, m.p, n);
        for (size_t i = 0; i < n; i++) {
            wm[i] = (double)OPT.beta1 * wm[i] + (double)OPT.grad_scale * (double)g.p[i];
            want[i] -= (double)OPT.lr * ((double)OPT.weight_decay * want[i] + wm[i]);
        }
        kt_buf_close(&g);
    }
    kt_close(m.p, wm, n, 2e-6);
    kt_close(p.p, want, n, STEPS * 4e-7);
    shoal_free(want);
    kt_buf_close(&p);
    kt_buf_close(&m);
    kt_exec_close(&ex);
}

static void test_sgd(void **state)
{
    (void)state;
    check_sgd(0, 1);
    check_sgd(1, 1);
    check_sgd(131, 1);
    check_sgd(20001, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw),         cmocka_unit_test(test_sum_squares),
        cmocka_unit_test(test_adamw_bits),    cmocka_unit_test(test_adamw8_follows_adamw),
        cmocka_unit_test(test_adamw8_decays), cmocka_unit_test(test_adamw8_extremes),
        cmocka_unit_test(test_adamw8_bits),   cmocka_unit_test(test_sgd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
