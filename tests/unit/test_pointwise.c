/* test_pointwise.c - exp, rmsnorm, rope, gated units, soft-caps, sums: values, gradients, levels,
 * threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/expf.h"
#include "kernels/table.h"
#include "tests/support/gradcheck.h"
#include "tests/support/kernel_test.h"

static const double U = 0x1p-24; /* half a unit in the last place, relative */

/* ---- exp ---- */

static void test_expf_error_bound(void **state)
{
    (void)state;
    double worst = 0;
    for (float x = SHOAL_EXP_LO; x <= SHOAL_EXP_HI; x += 0.000311f) {
        double want = exp((double)x);
        worst = fmax(worst, fabs((double)shoal_expf(x) - want) / want);
    }
    assert_true(worst <= 3 * U); /* 1.5 units in the last place */
    assert_true(shoal_expf(0.0f) == 1.0f);
    assert_true(shoal_expf(-INFINITY) == 0.0f);
    assert_true(shoal_expf(-88.0f) == 0.0f);
    assert_true(isfinite(shoal_expf(1000.0f)));
    assert_true(isnan(shoal_expf(NAN)));
}

/* The vector exp, reached through row_softmax, keeps the same bound. */
static void test_vector_expf(void **state)
{
    (void)state;
    enum { N = 100000 };
    kt_buf x = kt_buf_open(N, 1);
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        for (size_t i = 0; i < N; i++) {
            x.p[i] = SHOAL_EXP_LO + (SHOAL_EXP_HI - SHOAL_EXP_LO) * (float)i / N;
        }
        x.p[0] = -INFINITY;
        x.p[1] = NAN;
        x.p[2] = 200.0f;
        ex.table->row_softmax(x.p, N, 0.0f, 1.0f);
        assert_true(x.p[0] == 0.0f && isnan(x.p[1]) && isfinite(x.p[2]));
        for (size_t i = 3; i < N; i++) {
            double want =
                exp((double)(SHOAL_EXP_LO + (SHOAL_EXP_HI - SHOAL_EXP_LO) * (float)i / N));
            assert_true(fabs((double)x.p[i] - want) <= 3 * U * want);
        }
        kt_exec_close(&ex);
    }
    kt_buf_close(&x);
}

/* ---- rmsnorm ---- */

static const float EPS = 1e-5f;

typedef struct norm_ctx {
    const float *w, *dy;
} norm_ctx;

static double norm_loss(void *ctx, const double *x, size_t n)
{
    const norm_ctx *c = ctx;
    double sum = 0, out = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    double rstd = 1 / sqrt(sum / (double)n + (double)EPS);
    for (size_t i = 0; i < n; i++) {
        out += (double)c->dy[i] * x[i] * rstd * (double)c->w[i];
    }
    return out;
}

static void check_norm(const shoal_exec *ex, size_t T, size_t D, size_t skew)
{
    kt_buf x = kt_buf_random(T * D, skew, 1), w = kt_buf_random(D, skew + 1, 2);
    kt_buf dy = kt_buf_random(T * D, skew + 2, 3), y = kt_buf_open(T * D, skew + 3);
    kt_buf rstd = kt_buf_open(T, skew + 1), dx = kt_buf_open(T * D, skew);
    shoal_rmsnorm_fwd(ex, x.p, w.p, EPS, T, D, y.p, rstd.p);
    shoal_rmsnorm_bwd(ex, x.p, w.p, rstd.p, dy.p, T, D, dx.p, false);
    double *v = shoal_alloc(D * sizeof *v);
    for (size_t t = 0; t < T; t++) {
        double sum = 0;
        for (size_t i = 0; i < D; i++) {
            v[i] = (double)x.p[t * D + i];
            sum += v[i] * v[i];
        }
        double r = 1 / sqrt(sum / (double)D + (double)EPS);
        kt_close(rstd.p + t, &r, 1, r * ((double)D / 8 + 8) * U);
        for (size_t i = 0; i < D; i++) {
            double want = v[i] * r * (double)w.p[i];
            kt_close(y.p + t * D + i, &want, 1, fabs(want) * ((double)D / 8 + 12) * U);
        }
        norm_ctx c = {w.p, dy.p + t * D};
        double error = gradcheck(norm_loss, &c, v, D, dx.p + t * D);
        if (D > 1) assert_true(error < 1e-5); /* with D = 1 the gradient is nearly zero */
    }
    /* accumulate adds the same numbers */
    kt_buf twice = kt_buf_random(T * D, skew, 9);
    shoal_rmsnorm_bwd(ex, x.p, w.p, rstd.p, dy.p, T, D, twice.p, true);
    kt_buf base = kt_buf_random(T * D, skew, 9);
    for (size_t i = 0; i < T * D; i++) {
        double want = (double)base.p[i] + (double)dx.p[i];
        kt_close(twice.p + i, &want, 1, 4 * U * (1 + fabs(want) + fabs((double)dx.p[i])));
    }
    /* in place: y over x, dx over dy */
    shoal_rmsnorm_bwd(ex, x.p, w.p, rstd.p, dy.p, T, D, dy.p, false);
    kt_same_bits(dy.p, dx.p, T * D);
    shoal_rmsnorm_fwd(ex, x.p, w.p, EPS, T, D, x.p, NULL);
    kt_same_bits(x.p, y.p, T * D);
    shoal_free(v);
    kt_buf *all[] = {&x, &w, &dy, &y, &rstd, &dx, &twice, &base};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        kt_buf_close(all[i]);
    }
}

static void test_rmsnorm(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t D = 1; D <= 130; D++) {
            check_norm(&ex, 1 + D % 3, D, D);
        }
        check_norm(&ex, 2, 577, 3);
        kt_exec_close(&ex);
    }
}

/* ---- rope ---- */

static void check_rope(const shoal_exec *ex, shoal_rope_style style, size_t T, size_t heads,
                       size_t E, size_t skew)
{
    kt_buf x = kt_buf_random(T * heads * E, skew, 1), x0 = kt_buf_random(T * heads * E, 0, 1);
    kt_buf cs = kt_buf_open(T * E, 1), freq = kt_buf_open(E / 2, 0);
    uint32_t *pos = shoal_alloc(T * sizeof *pos);
    for (size_t t = 0; t < T; t++) {
        pos[t] = (uint32_t)(t * 37);
    }
    for (size_t j = 0; j < E / 2; j++) {
        freq.p[j] = powf(10000.0f, -2.0f * (float)j / (float)E);
    }
    shoal_rope_table(pos, freq.p, T, E, cs.p);
    shoal_rope(ex, style, x.p, cs.p, T, heads, E, false);
    for (size_t i = 0; i < T * heads * (E / 2); i++) {
        size_t row = i / (E / 2), j = i % (E / 2), t = row / heads;
        size_t a = row * E + (style == SHOAL_ROPE_PAIRS ? 2 * j : j);
        size_t b = style == SHOAL_ROPE_PAIRS ? a + 1 : a + E / 2;
        double angle = (double)((float)pos[t] * freq.p[j]);
        double want_a = (double)x0.p[a] * cos(angle) - (double)x0.p[b] * sin(angle);
        double want_b = (double)x0.p[a] * sin(angle) + (double)x0.p[b] * cos(angle);
        kt_close(x.p + a, &want_a, 1, 8 * U);
        kt_close(x.p + b, &want_b, 1, 8 * U);
    }
    /* A rotation's transpose is its inverse, so this checks the backward as well. */
    shoal_rope(ex, style, x.p, cs.p, T, heads, E, true);
    for (size_t i = 0; i < x.n; i++) {
        double want = (double)x0.p[i];
        kt_close(x.p + i, &want, 1, 12 * U);
    }
    shoal_free(pos);
    kt_buf *all[] = {&x, &x0, &cs, &freq};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        kt_buf_close(all[i]);
    }
}

/* <dy, one head of x rotated by cs>. */
typedef struct rope_ctx {
    const float *cs, *dy;
    shoal_rope_style style;
} rope_ctx;

static double rope_loss(void *ctx, const double *x, size_t E)
{
    const rope_ctx *c = ctx;
    double out = 0;
    for (size_t j = 0; j < E / 2; j++) {
        size_t a = c->style == SHOAL_ROPE_PAIRS ? 2 * j : j;
        size_t b = c->style == SHOAL_ROPE_PAIRS ? a + 1 : a + E / 2;
        double cosine = (double)c->cs[2 * j], sine = (double)c->cs[2 * j + 1];
        out += (double)c->dy[a] * (x[a] * cosine - x[b] * sine);
        out += (double)c->dy[b] * (x[a] * sine + x[b] * cosine);
    }
    return out;
}

static void check_rope_gradient(const shoal_exec *ex, shoal_rope_style style, size_t E)
{
    enum { T = 3, HEADS = 2 };
    const uint32_t pos[T] = {0, 5, 1000};
    kt_buf dy = kt_buf_random(T * HEADS * E, E, 3), dx = kt_buf_random(T * HEADS * E, 0, 3);
    kt_buf cs = kt_buf_open(T * E, 1), freq = kt_buf_random(E / 2, 0, 4);
    double x[64];
    shoal_rope_table(pos, freq.p, T, E, cs.p);
    shoal_rope(ex, style, dx.p, cs.p, T, HEADS, E, true);
    for (size_t row = 0; row < T * HEADS; row++) {
        rope_ctx c = {cs.p + row / HEADS * E, dy.p + row * E, style};
        for (size_t i = 0; i < E; i++) {
            x[i] = cos((double)(i + row));
        }
        assert_true(gradcheck(rope_loss, &c, x, E, dx.p + row * E) < 2e-6);
    }
    kt_buf *all[] = {&dy, &dx, &cs, &freq};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        kt_buf_close(all[i]);
    }
}

static void test_rope_gradient(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t E = 2; E <= 64; E += 2) {
            check_rope_gradient(&ex, SHOAL_ROPE_PAIRS, E);
            check_rope_gradient(&ex, SHOAL_ROPE_HALVES, E);
        }
        kt_exec_close(&ex);
    }
}

static void test_rope(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t E = 2; E <= 128; E += 2) {
            check_rope(&ex, SHOAL_ROPE_PAIRS, 3, 2, E, E);
            check_rope(&ex, SHOAL_ROPE_HALVES, 3, 2, E, E);
        }
        check_rope(&ex, SHOAL_ROPE_PAIRS, 70, 9, 64, 0);
        kt_exec_close(&ex);
    }
}

/* ---- gated units ---- */

/* A unit y = act(g) u: its kernels and its definition. */
typedef struct unit {
    void (*fwd)(const shoal_exec *ex, const float *g, const float *u, size_t n, float *y);
    void (*bwd)(const shoal_exec *ex, const float *g, const float *u, const float *dy, size_t n,
                float *dg, float *du);
    double (*act)(double g);
    double far_error; /* of act, absolute: where 1 + tanh cancels */
} unit;

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static double gelu(double g)
{
    return 0.5 * g * (1 + tanh(sqrt(2 / acos(-1.0)) * (g + 0.044715 * g * g * g)));
}

static const unit UNITS[] = {{shoal_swiglu_fwd, shoal_swiglu_bwd, silu, 0},
                             {shoal_geglu_fwd, shoal_geglu_bwd, gelu, 1e-12}};
enum { N_UNITS = sizeof UNITS / sizeof UNITS[0] };

typedef struct gate_ctx {
    const unit *of;
    const kt_buf *g, *u, *dy;
    bool vary_gate;
} gate_ctx;

static double gate_loss(void *ctx, const double *x, size_t n)
{
    const gate_ctx *c = ctx;
    double out = 0;
    for (size_t i = 0; i < n; i++) {
        double g = c->vary_gate ? x[i] : (double)c->g->p[i];
        double u = c->vary_gate ? (double)c->u->p[i] : x[i];
        out += (double)c->dy->p[i] * c->of->act(g) * u;
    }
    return out;
}

static void check_gate_gradient(const unit *of_unit, const kt_buf *g, const kt_buf *u,
                                const kt_buf *dy, const float *grad, bool vary_gate)
{
    gate_ctx c = {of_unit, g, u, dy, vary_gate};
    const kt_buf *of = vary_gate ? g : u;
    double *x = shoal_alloc(of->n * sizeof *x);
    for (size_t i = 0; i < of->n; i++) {
        x[i] = (double)of->p[i];
    }
    assert_true(gradcheck(gate_loss, &c, x, of->n, grad) < 2e-6);
    shoal_free(x);
}

/* Roundings of act's exponent, which its exponential turns into a relative error. */
static double unit_reach(const unit *gu, double g)
{
    return gu->act == gelu ? 4 * 1.6 * fabs(g + 0.044715 * g * g * g) : 0;
}

static void check_unit(const unit *gu, const shoal_exec *ex, size_t n)
{
    kt_buf g = kt_buf_random(n, n, 1), u = kt_buf_random(n, n + 1, 2);
    kt_buf dy = kt_buf_random(n, n + 2, 3), y = kt_buf_open(n, n + 3);
    kt_buf dg = kt_buf_open(n, n), du = kt_buf_open(n, n + 5);
    for (size_t i = 0; i < n; i++) {
        g.p[i] *= 12;
    }
    gu->fwd(ex, g.p, u.p, n, y.p);
    gu->bwd(ex, g.p, u.p, dy.p, n, dg.p, du.p);
    for (size_t i = 0; i < n; i++) {
        double want = gu->act((double)g.p[i]) * (double)u.p[i];
        kt_close(y.p + i, &want, 1,
                 (8 + fabs(unit_reach(gu, (double)g.p[i]))) * U * fabs(want) + gu->far_error);
    }
    if (n > 0) {
        check_gate_gradient(gu, &g, &u, &dy, dg.p, true);
        check_gate_gradient(gu, &g, &u, &dy, du.p, false);
    }
    /* in place: y over g, dg over g, du over u */
    kt_buf g2 = kt_buf_open(n, n + 6), u2 = kt_buf_open(n, n + 7);
    memcpy(g2.p, g.p, n * sizeof(float));
    gu->fwd(ex, g2.p, u.p, n, g2.p);
    kt_same_bits(g2.p, y.p, n);
    memcpy(g2.p, g.p, n * sizeof(float));
    memcpy(u2.p, u.p, n * sizeof(float));
    gu->bwd(ex, g2.p, u2.p, dy.p, n, g2.p, u2.p);
    kt_same_bits(g2.p, dg.p, n);
    kt_same_bits(u2.p, du.p, n);
    kt_buf *all[] = {&g, &u, &dy, &y, &dg, &du, &g2, &u2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        kt_buf_close(all[i]);
    }
}

static void test_units(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t n = 0; n <= 130; n++) {
            for (size_t i = 0; i < N_UNITS; i++) {
                check_unit(&UNITS[i], &ex, n);
            }
        }
        kt_exec_close(&ex);
    }
}

/* Large magnitudes saturate instead of becoming NaN. */
static void test_units_saturate(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        for (size_t i = 0; i < N_UNITS; i++) {
            float g[4] = {1e4f, -1e4f, 100.0f, -100.0f}, u[4] = {1, 1, 1, 1}, d[4] = {1, 1, 1, 1};
            float y[4], dg[4], du[4];
            UNITS[i].fwd(&ex, g, u, 4, y);
            UNITS[i].bwd(&ex, g, u, d, 4, dg, du);
            assert_true(y[0] == 1e4f && fabsf(y[1]) < 1e-30f);
            assert_true(y[2] == 100.0f && fabsf(y[3]) < 1e-30f);
            assert_true(dg[0] == 1.0f && fabsf(dg[1]) < 1e-30f && fabsf(dg[3]) < 1e-30f);
        }
        kt_exec_close(&ex);
    }
}

/* ---- soft-caps and biases ---- */

typedef struct cap_ctx {
    const float *dy;
    double cap;
} cap_ctx;

static double cap_loss(void *ctx, const double *x, size_t n)
{
    const cap_ctx *c = ctx;
    double out = 0;
    for (size_t i = 0; i < n; i++) {
        out += (double)c->dy[i] * c->cap * tanh(x[i] / c->cap);
    }
    return out;
}

static void check_softcap(const shoal_exec *ex, size_t n, float cap)
{
    kt_buf x = kt_buf_random(n, n, 1), dy = kt_buf_random(n, n + 1, 2), y = kt_buf_open(n, n + 2);
    kt_buf dx = kt_buf_random(n, n + 3, 2);
    double *v = shoal_alloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        x.p[i] *= i % 5 == 0 ? 300 : 3;
        v[i] = (double)x.p[i];
    }
    shoal_softcap_fwd(ex, x.p, n, cap, y.p);
    shoal_softcap_bwd(ex, y.p, n, cap, dx.p);
    for (size_t i = 0; i < n; i++) {
        double want = (double)cap * tanh(v[i] / (double)cap);
        kt_close(y.p + i, &want, 1, 6 * U * (double)cap);
    }
    cap_ctx c = {dy.p, (double)cap};
    assert_true(n == 0 || gradcheck(cap_loss, &c, v, n, dx.p) < 2e-6);
    shoal_softcap_fwd(ex, x.p, n, cap, x.p); /* in place */
    kt_same_bits(x.p, y.p, n);
    shoal_free(v);
    kt_buf *all[] = {&x, &dy, &y, &dx};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        kt_buf_close(all[i]);
    }
}

static void test_softcap(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t n = 0; n <= 130; n++) {
            check_softcap(&ex, n, 2.5f);
        }
        check_softcap(&ex, 20000, 30.0f);
        kt_exec_close(&ex);
    }
}

static void test_add_bias(void **state)
{
    (void)state;
    enum { T = 50, M = 577 };
    shoal_exec ex = kt_exec_open(kt_level(0), 2);
    kt_buf b = kt_buf_random(M, 1, 1), y = kt_buf_random(T * M, 2, 2),
           y0 = kt_buf_random(T * M, 0, 2);
    shoal_add_bias(&ex, b.p, T, M, y.p);
    for (size_t i = 0; i < T * M; i++) {
        assert_true(y.p[i] == y0.p[i] + b.p[i % M]);
    }
    kt_buf_close(&b);
    kt_buf_close(&y);
    kt_buf_close(&y0);
    kt_exec_close(&ex);
}

/* ---- all of them: ranges ---- */

/* 1, 2 and 7 threads, and one element or row at a time, give the same bits. */
static void test_bits(void **state)
{
    (void)state;
    enum { T = 61, D = 577, N = T * D };
    kt_buf x = kt_buf_random(N, 0, 1), w = kt_buf_random(D, 1, 2), u = kt_buf_random(N, 3, 3);
    kt_buf y[2], z[2];
    for (size_t level = 0; level < kt_levels(); level++) {
        for (unsigned threads = 0; threads <= 7; threads = threads * 3 + 1) {
            size_t slot = threads == 0 ? 0 : 1;
            shoal_exec ex = kt_exec_open(kt_level(level), threads);
            y[slot] = kt_buf_open(N, slot);
            z[slot] = kt_buf_random(N, slot, 5);
            uint64_t before = shoal_mem_count();
            shoal_rmsnorm_fwd(&ex, x.p, w.p, EPS, T, D, y[slot].p, NULL);
            shoal_add(&ex, y[slot].p, N, z[slot].p);
            shoal_swiglu_fwd(&ex, y[slot].p, u.p, N, y[slot].p);
            assert_true(shoal_mem_count() == before);
            if (slot == 1) {
                kt_same_bits(y[0].p, y[1].p, N);
                kt_same_bits(z[0].p, z[1].p, N);
                float one[D];
                shoal_rmsnorm_fwd(&ex, x.p + 7 * D, w.p, EPS, 1, D, one, NULL);
                for (size_t i = 0; i < D; i++) {
                    shoal_swiglu_fwd(&ex, one + i, u.p + 7 * D + i, 1, one + i);
                }
                kt_same_bits(one, y[0].p + 7 * D, D);
                kt_buf_close(&y[1]);
                kt_buf_close(&z[1]);
            }
            kt_exec_close(&ex);
        }
        kt_buf_close(&y[0]);
        kt_buf_close(&z[0]);
    }
    kt_buf_close(&x);
    kt_buf_close(&w);
    kt_buf_close(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expf_error_bound), cmocka_unit_test(test_vector_expf),
        cmocka_unit_test(test_rmsnorm),          cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rope_gradient),    cmocka_unit_test(test_units),
        cmocka_unit_test(test_units_saturate),   cmocka_unit_test(test_softcap),
        cmocka_unit_test(test_add_bias),         cmocka_unit_test(test_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
