/* test_lowrank.c - the adapter pair: forward against double, gradients by finite differences. */
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

typedef struct shape {
    size_t R, N, M, T;
} shape;

static const shape shapes[] = {{1, 1, 1, 1},     {4, 20, 12, 3},    {8, 64, 72, 1},
                               {16, 33, 65, 9},  {6, 100, 40, 130}, {40, 24, 24, 66},
                               {256, 16, 20, 5}, {300, 9, 11, 2}};
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const float SCALE = 1.5f;

/* Keys of rows, as a training step would have them. */
static uint64_t keys[150];
static const shoal_dropout DROP = {.keys = keys, .salt = 77, .level = SHOAL_DROPOUT_ONE / 4};

typedef struct arrays {
    shape s;
    kt_buf A, B, x, h, y, y0, dy, dh, dA, dB, dx;
} arrays;

static arrays arrays_open(shape s, size_t skew)
{
    arrays a = {.s = s};
    a.A = kt_buf_random(s.R * s.N, skew, 1);
    a.B = kt_buf_random(s.M * s.R, skew + 1, 2);
    a.x = kt_buf_random(s.T * s.N, skew + 2, 3);
    a.h = kt_buf_open(s.T * s.R, skew + 3);
    a.y = kt_buf_random(s.T * s.M, skew, 4);
    a.y0 = kt_buf_random(s.T * s.M, skew, 4);
    a.dy = kt_buf_random(s.T * s.M, skew + 1, 5);
    a.dh = kt_buf_open(s.T * s.R, skew);
    a.dA = kt_buf_open(s.R * s.N, skew + 5);
    a.dB = kt_buf_open(s.M * s.R, skew + 7);
    a.dx = kt_buf_open(s.T * s.N, skew + 2);
    memset(a.dA.p, 0, a.dA.n * sizeof(float));
    memset(a.dB.p, 0, a.dB.n * sizeof(float));
    memset(a.dx.p, 0, a.dx.n * sizeof(float));
    return a;
}

static void arrays_close(arrays *a)
{
    kt_buf *all[] = {&a->A,  &a->B,  &a->x,  &a->h,  &a->y, &a->y0,
                     &a->dy, &a->dh, &a->dA, &a->dB, &a->dx};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        kt_buf_close(all[i]);
    }
}

static void run_fwd_dropout(const shoal_exec *ex, const shoal_dropout *drop, arrays *a)
{
    shape s = a->s;
    shoal_lowrank_fwd_dropout(ex, drop, a->A.p, a->B.p, s.R, s.N, s.M, SCALE, a->x.p, s.T, a->h.p,
                              a->y.p);
}

static void run_bwd_dropout(const shoal_exec *ex, const shoal_dropout *drop, arrays *a)
{
    shape s = a->s;
    shoal_lowrank_bwd_dropout(ex, drop, a->A.p, a->B.p, s.R, s.N, s.M, SCALE, a->x.p, a->h.p,
                              a->dy.p, s.T, a->dh.p, a->dA.p, a->dB.p, a->dx.p);
}

static void run_fwd(const shoal_exec *ex, arrays *a)
{
    shape s = a->s;
    shoal_lowrank_fwd(ex, a->A.p, a->B.p, s.R, s.N, s.M, SCALE, a->x.p, s.T, a->h.p, a->y.p);
}

static void run_bwd(const shoal_exec *ex, arrays *a, bool with_dx)
{
    shape s = a->s;
    shoal_lowrank_bwd(ex, a->A.p, a->B.p, s.R, s.N, s.M, SCALE, a->x.p, a->h.p, a->dy.p, s.T,
                      a->dh.p, a->dA.p, a->dB.p, with_dx ? a->dx.p : NULL);
}

/* <dy, SCALE * (x o mask) A^T B^T> with the varied array taken from v. */
typedef struct loss_ctx {
    const arrays *a;
    const kt_buf *varied;
    const float *mask; /* [T, N] factors of x, or NULL */
} loss_ctx;

static double value(const loss_ctx *c, const double *v, const kt_buf *of, size_t i)
{
    return c->varied == of ? v[i] : (double)of->p[i];
}

static double loss(void *ctx, const double *v, size_t n)
{
    (void)n;
    const loss_ctx *c = ctx;
    shape s = c->a->s;
    double total = 0;
    for (size_t t = 0; t < s.T; t++) {
        for (size_t r = 0; r < s.R; r++) {
            double h = 0, back = 0;
            for (size_t i = 0; i < s.N; i++) {
                double factor = c->mask == NULL ? 1.0 : (double)c->mask[t * s.N + i];
                h += factor * value(c, v, &c->a->x, t * s.N + i) *
                     value(c, v, &c->a->A, r * s.N + i);
            }
            for (size_t m = 0; m < s.M; m++) {
                back += (double)c->a->dy.p[t * s.M + m] * value(c, v, &c->a->B, m * s.R + r);
            }
            total += h * back;
        }
    }
    return (double)SCALE * total;
}

static void check_gradient(const arrays *a, const kt_buf *of, const kt_buf *grad, const float *mask)
{
    loss_ctx c = {a, of, mask};
    double *v = shoal_alloc(of->n * sizeof *v);
    for (size_t i = 0; i < of->n; i++) {
        v[i] = (double)of->p[i];
    }
    double error = gradcheck(loss, &c, v, of->n, grad->p);
    if (!(error < 2e-6)) fail_msg("relative error %.3g", error);
    shoal_free(v);
}

static void test_gradients(void **state)
{
    (void)state;
    static const shape small[] = {{1, 1, 1, 1}, {4, 12, 10, 5}, {9, 17, 20, 3}, {33, 8, 9, 2}};
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
            arrays a = arrays_open(small[i], i);
            run_fwd(&ex, &a);
            run_bwd(&ex, &a, true);
            check_gradient(&a, &a.A, &a.dA, NULL);
            check_gradient(&a, &a.B, &a.dB, NULL);
            check_gradient(&a, &a.x, &a.dx, NULL);
            arrays_close(&a);
        }
        kt_exec_close(&ex);
    }
}

static void test_gradients_with_dropout(void **state)
{
    (void)state;
    static const shape small[] = {{4, 12, 10, 5}, {9, 70, 20, 3}, {3, 130, 9, 4}};
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
            shape s = small[i];
            arrays a = arrays_open(s, i);
            kt_buf ones = kt_buf_open(s.T * s.N, 0);
            kt_buf mask = kt_buf_open(s.T * s.N, 0);
            for (size_t k = 0; k < ones.n; k++) {
                ones.p[k] = 1.0f;
            }
            shoal_dropout_apply(&DROP, 0, s.T, 0, s.N, ones.p, s.N, mask.p, s.N);
            run_fwd_dropout(&ex, &DROP, &a);
            run_bwd_dropout(&ex, &DROP, &a);
            check_gradient(&a, &a.A, &a.dA, mask.p);
            check_gradient(&a, &a.B, &a.dB, mask.p);
            check_gradient(&a, &a.x, &a.dx, mask.p);
            kt_buf_close(&ones);
            kt_buf_close(&mask);
            arrays_close(&a);
        }
        kt_exec_close(&ex);
    }
}

/* Rows wider than a range's scratch at once: the same bits on any number of threads, and those of
 * the plain pair on an x that was thinned beforehand (but for dA, which sums in pieces). */
static void check_dropout_bits(uint32_t level, shape s)
{
    arrays one = arrays_open(s, 0);
    arrays plain = arrays_open(s, 0);
    shoal_exec serial = kt_exec_open(level, 1);
    run_fwd_dropout(&serial, &DROP, &one);
    run_bwd_dropout(&serial, &DROP, &one);
    shoal_dropout_apply(&DROP, 0, s.T, 0, s.N, one.x.p, s.N, plain.x.p, s.N);
    run_fwd(&serial, &plain);
    run_bwd(&serial, &plain, false);
    kt_same_bits(one.y.p, plain.y.p, one.y.n);
    kt_same_bits(one.dB.p, plain.dB.p, one.dB.n);
    for (unsigned threads = 2; threads <= 7; threads += 5) {
        shoal_exec ex = kt_exec_open(level, threads);
        arrays many = arrays_open(s, 1);
        run_fwd_dropout(&ex, &DROP, &many);
        run_bwd_dropout(&ex, &DROP, &many);
        kt_same_bits(one.y.p, many.y.p, one.y.n);
        kt_same_bits(one.dA.p, many.dA.p, one.dA.n);
        kt_same_bits(one.dx.p, many.dx.p, one.dx.n);
        arrays_close(&many);
        kt_exec_close(&ex);
    }
    kt_exec_close(&serial);
    arrays_close(&plain);
    arrays_close(&one);
}

static void test_dropout_bits(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        check_dropout_bits(kt_level(level), (shape){8, 96, 200, 150});
        check_dropout_bits(kt_level(level), (shape){3, 1500, 20, 70});
    }
}

/* No dropout is the plain pair, to the bit. */
static void test_without_dropout(void **state)
{
    (void)state;
    shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), 2);
    arrays a = arrays_open((shape){8, 96, 200, 130}, 0);
    arrays b = arrays_open((shape){8, 96, 200, 130}, 0);
    run_fwd(&ex, &a);
    run_bwd(&ex, &a, true);
    run_fwd_dropout(&ex, NULL, &b);
    run_bwd_dropout(&ex, NULL, &b);
    kt_same_bits(a.y.p, b.y.p, a.y.n);
    kt_same_bits(a.dA.p, b.dA.p, a.dA.n);
    kt_same_bits(a.dx.p, b.dx.p, a.dx.n);
    arrays_close(&a);
    arrays_close(&b);
    kt_exec_close(&ex);
}

static void check_forward(const arrays *a)
{
    shape s = a->s;
    double bound = (double)(s.N + s.R + 4) * (double)(s.N * s.R + 4) * 0x1p-23;
    for (size_t t = 0; t < s.T; t++) {
        double h[300];
        for (size_t r = 0; r < s.R; r++) {
            h[r] = 0;
            for (size_t i = 0; i < s.N; i++) {
                h[r] += (double)a->x.p[t * s.N + i] * (double)a->A.p[r * s.N + i];
            }
        }
        kt_close(a->h.p + t * s.R, h, s.R, (double)s.N * (double)(s.N + 2) * 0x1p-24);
        for (size_t m = 0; m < s.M; m++) {
            double y = (double)a->y0.p[t * s.M + m];
            for (size_t r = 0; r < s.R; r++) {
                y += (double)SCALE * h[r] * (double)a->B.p[m * s.R + r];
            }
            kt_close(a->y.p + t * s.M + m, &y, 1, bound);
        }
    }
}

static void test_forward(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t i = 0; i < SHAPES; i++) {
            arrays a = arrays_open(shapes[i], i);
            run_fwd(&ex, &a);
            check_forward(&a);
            arrays_close(&a);
        }
        kt_exec_close(&ex);
    }
}

/* Same bits with 1, 2 and 7 threads; and each row alone equals the row in the batch. */
static void check_bits(uint32_t level, shape s)
{
    arrays one = arrays_open(s, 0);
    shoal_exec serial = kt_exec_open(level, 1);
    run_fwd(&serial, &one);
    run_bwd(&serial, &one, true);
    for (unsigned threads = 2; threads <= 7; threads += 5) {
        shoal_exec ex = kt_exec_open(level, threads);
        arrays many = arrays_open(s, 1);
        run_fwd(&ex, &many);
        run_bwd(&ex, &many, true);
        kt_same_bits(one.y.p, many.y.p, one.y.n);
        kt_same_bits(one.dA.p, many.dA.p, one.dA.n);
        kt_same_bits(one.dB.p, many.dB.p, one.dB.n);
        kt_same_bits(one.dx.p, many.dx.p, one.dx.n);
        arrays_close(&many);
        kt_exec_close(&ex);
    }
    float *h = shoal_alloc(s.R * sizeof *h);
    for (size_t t = 0; t < s.T; t++) {
        float *y = one.y0.p + t * s.M;
        shoal_lowrank_fwd(&serial, one.A.p, one.B.p, s.R, s.N, s.M, SCALE, one.x.p + t * s.N, 1, h,
                          y);
        kt_same_bits(y, one.y.p + t * s.M, s.M);
    }
    shoal_free(h);
    kt_exec_close(&serial);
    arrays_close(&one);
}

static void test_bits(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        check_bits(kt_level(level), (shape){8, 96, 200, 150});
        check_bits(kt_level(level), (shape){37, 50, 70, 65});
    }
}

/* Products with the term have the bits of the product, then the pair. */
static void check_term(const shoal_exec *ex, shape s, shoal_act_kind kind)
{
    arrays a = arrays_open(s, 0);
    kt_buf w = kt_buf_random(s.M * s.N, 0, 9), y = kt_buf_random(s.T * s.M, 0, 4);
    kt_buf dx = kt_buf_open(s.T * s.N, 1);
    shoal_mat mat = {w.p, SHOAL_TYPE_F32, s.M, s.N, s.N * sizeof(float)};
    const shoal_mat *one = &mat;
    size_t wide = s.N > s.M ? s.N : s.M;
    void *packed = shoal_alloc_aligned(shoal_act_bytes(kind, s.T, wide));
    shoal_act act;

    shoal_act_prepare(ex, &act, kind, a.x.p, s.T, s.N, packed);
    shoal_matmul(ex, &act, &one, &a.y.p, 1);
    run_fwd(ex, &a);
    shoal_lowrank_term term = {a.h.p, a.B.p, s.R, SCALE};
    shoal_matmul_lowrank(ex, &act, &one, &term, &y.p, 1);
    kt_same_bits(y.p, a.y.p, y.n);

    shoal_act_prepare(ex, &act, kind, a.dy.p, s.T, s.M, packed);
    for (int add = 0; add < 2; add++) {
        memcpy(dx.p, a.dx.p, dx.n * sizeof(float));
        shoal_matmul_dx(ex, one, &act, a.dx.p, add == 1);
        run_bwd(ex, &a, true);
        term = (shoal_lowrank_term){a.dh.p, a.A.p, s.R, 1.0f};
        shoal_matmul_dx_lowrank(ex, one, &act, &term, dx.p, add == 1);
        kt_same_bits(dx.p, a.dx.p, dx.n);
    }
    shoal_free_aligned(packed);
    kt_buf_close(&w);
    kt_buf_close(&y);
    kt_buf_close(&dx);
    arrays_close(&a);
}

static void test_terms_of_products(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        check_term(&ex, (shape){8, 288, 200, 150}, SHOAL_ACT_16BIT);
        check_term(&ex, (shape){8, 288, 200, 150}, SHOAL_ACT_F32);
        check_term(&ex, (shape){300, 40, 70, 9}, SHOAL_ACT_16BIT);
        kt_exec_close(&ex);
    }
}

static void test_no_dx_and_no_allocation(void **state)
{
    (void)state;
    shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), 2);
    arrays a = arrays_open((shape){8, 64, 64, 100}, 0);
    uint64_t before = shoal_mem_count();
    run_fwd(&ex, &a);
    run_bwd(&ex, &a, false);
    assert_true(shoal_mem_count() == before);
    for (size_t i = 0; i < a.dx.n; i++) {
        assert_true(a.dx.p[i] == 0.0f);
    }
    arrays_close(&a);
    kt_exec_close(&ex);
}

int main(void)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        keys[i] = shoal_noise_key(5, i);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradients_with_dropout),
        cmocka_unit_test(test_dropout_bits),
        cmocka_unit_test(test_without_dropout),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_terms_of_products),
        cmocka_unit_test(test_no_dx_and_no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
