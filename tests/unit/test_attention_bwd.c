/* test_attention_bwd.c - attention gradients against finite differences of a double forward. */
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

typedef struct problem {
    shoal_attn a;
    uint32_t *first, *hole;
    kt_buf q, k, v, d_o, o, lse, delta, dq, dk, dv;
} problem;

/* run 0: plain causal; otherwise conversations of `run` tokens packed one after another. */
static problem problem_open(size_t T, size_t H, size_t K, size_t E, size_t run, size_t skew)
{
    problem p = {.a = {.T = T, .H = H, .K = K, .E = E, .kv_type = SHOAL_TYPE_F32}};
    p.q = kt_buf_random(T * H * E, skew, 1);
    p.k = kt_buf_random(T * K * E, skew + 1, 2);
    p.v = kt_buf_random(T * K * E, skew + 2, 3);
    p.d_o = kt_buf_random(T * H * E, skew + 3, 4);
    p.o = kt_buf_open(T * H * E, skew);
    p.lse = kt_buf_open(T * H, skew);
    p.delta = kt_buf_open(T * H, skew + 1);
    p.dq = kt_buf_open(T * H * E, skew + 2);
    p.dk = kt_buf_open(T * K * E, skew + 3);
    p.dv = kt_buf_open(T * K * E, skew + 4);
    p.a.q = p.q.p;
    p.a.k = p.k.p;
    p.a.v = p.v.p;
    p.a.scale = 1.0f / sqrtf((float)E);
    if (run > 0) {
        p.first = shoal_alloc(T * sizeof *p.first);
        for (size_t t = 0; t < T; t++) {
            p.first[t] = (uint32_t)(t / run * run);
        }
        p.a.first = p.first;
    }
    return p;
}

/* A beginning of `shared` tokens, and behind it branches of `run` that see it and themselves. */
static void problem_branch(problem *p, size_t shared, size_t run)
{
    size_t T = p->a.T;
    p->hole = shoal_calloc(2 * T, sizeof *p->hole);
    p->a.hole = p->hole;
    p->a.hole_end = p->hole + T;
    for (size_t t = shared; t < T; t++) {
        p->hole[t] = (uint32_t)shared;
        p->hole[T + t] = (uint32_t)(shared + (t - shared) / run * run);
    }
}

/* No row sees more than `window` keys, itself included. */
static void problem_window(problem *p, size_t window)
{
    size_t T = p->a.T;
    if (p->first == NULL) p->first = shoal_calloc(T, sizeof *p->first);
    for (size_t t = window; t < T; t++) {
        uint32_t from = (uint32_t)(t + 1 - window);
        if (p->first[t] < from) p->first[t] = from;
    }
    p->a.first = p->first;
}

static void problem_close(problem *p)
{
    kt_buf *all[] = {&p->q,   &p->k,     &p->v,  &p->d_o, &p->o,
                     &p->lse, &p->delta, &p->dq, &p->dk,  &p->dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        kt_buf_close(all[i]);
    }
    shoal_free(p->first);
    shoal_free(p->hole);
}

static void run(const shoal_exec *ex, problem *p)
{
    shoal_attn_fwd(ex, &p->a, p->o.p, p->lse.p);
    shoal_attn_bwd(ex, &p->a, p->o.p, p->lse.p, p->d_o.p, p->delta.p, p->dq.p, p->dk.p, p->dv.p);
}

typedef struct loss_ctx {
    const problem *p;
    const kt_buf *varied;
} loss_ctx;

static double value(const loss_ctx *c, const double *x, const kt_buf *of, size_t i)
{
    return c->varied == of ? x[i] : (double)of->p[i];
}

/* <d_o, attention> of row t, head h. */
static double loss_row(const loss_ctx *c, const double *x, size_t t, size_t h)
{
    const problem *p = c->p;
    size_t E = p->a.E, kh = h / (p->a.H / p->a.K), at = (t * p->a.H + h) * E;
    double sum = 0, out = 0;
    for (size_t s = p->first == NULL ? 0 : p->first[t]; s <= t; s++) {
        if (p->hole != NULL && s >= p->hole[t] && s < p->hole[p->a.T + t]) continue;
        double score = 0, gain = 0;
        for (size_t e = 0; e < E; e++) {
            size_t key = (s * p->a.K + kh) * E + e;
            score += value(c, x, &p->q, at + e) * value(c, x, &p->k, key);
            gain += (double)p->d_o.p[at + e] * value(c, x, &p->v, key);
        }
        double cap = (double)p->a.softcap, scaled = score * (double)p->a.scale;
        double w = exp(cap > 0 ? cap * tanh(scaled / cap) : scaled);
        sum += w;
        out += w * gain;
    }
    return out / sum;
}

static double loss(void *ctx, const double *x, size_t n)
{
    (void)n;
    const loss_ctx *c = ctx;
    double total = 0;
    for (size_t t = 0; t < c->p->a.T; t++) {
        for (size_t h = 0; h < c->p->a.H; h++) {
            total += loss_row(c, x, t, h);
        }
    }
    return total;
}

static void check_gradient(const problem *p, const kt_buf *of, const kt_buf *grad)
{
    loss_ctx c = {p, of};
    double *x = shoal_alloc(of->n * sizeof *x);
    for (size_t i = 0; i < of->n; i++) {
        x[i] = (double)of->p[i];
    }
    double error = gradcheck(loss, &c, x, of->n, grad->p);
    if (!(error < 5e-6)) {
        fail_msg("T %zu H %zu K %zu E %zu: relative error %.3g", p->a.T, p->a.H, p->a.K, p->a.E,
                 error);
    }
    shoal_free(x);
}

typedef struct shape {
    size_t T, H, K, E, run, shared;
} shape;

static problem shape_open(const shape *s, size_t skew)
{
    problem p = problem_open(s->T, s->H, s->K, s->E, s->shared > 0 ? 0 : s->run, skew);
    if (s->shared > 0) problem_branch(&p, s->shared, s->run);
    return p;
}

static void test_gradients(void **state)
{
    (void)state;
    static const struct {
        shape of;
        float softcap;
        size_t window;
    } cases[] = {{{1, 1, 1, 1, 0, 0}, 0, 0},      {{5, 3, 1, 4, 0, 0}, 0, 0},
                 {{9, 4, 2, 6, 4, 0}, 0, 0},      {{24, 6, 2, 3, 0, 0}, 0, 0},
                 {{70, 1, 1, 2, 0, 0}, 0, 0},     {{70, 2, 1, 2, 9, 0}, 0, 0},
                 {{24, 6, 2, 3, 0, 0}, 0.7f, 0},  {{70, 2, 1, 2, 9, 0}, 0.7f, 0},
                 {{24, 6, 2, 3, 5, 7}, 0, 0},     {{70, 2, 1, 2, 3, 20}, 0, 0},
                 {{70, 2, 1, 2, 9, 11}, 0.7f, 0}, {{24, 4, 2, 3, 0, 0}, 0, 5},
                 {{70, 2, 1, 2, 9, 0}, 0.7f, 6},  {{70, 2, 1, 2, 9, 11}, 0.7f, 16}};
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            problem p = shape_open(&cases[i].of, i);
            p.a.softcap = cases[i].softcap;
            if (cases[i].window > 0) problem_window(&p, cases[i].window);
            run(&ex, &p);
            check_gradient(&p, &p.q, &p.dq);
            check_gradient(&p, &p.k, &p.dk);
            check_gradient(&p, &p.v, &p.dv);
            problem_close(&p);
        }
        kt_exec_close(&ex);
    }
}

static double largest(const float *x, size_t n)
{
    double top = 0;
    for (size_t i = 0; i < n; i++) {
        top = fmax(top, fabs((double)x[i]));
    }
    return top;
}

static void check_near(const kt_buf *got, const kt_buf *want)
{
    double bound = 1e-5 * largest(want->p, want->n) + 1e-6;
    for (size_t i = 0; i < got->n; i++) {
        double w = (double)want->p[i];
        kt_close(got->p + i, &w, 1, bound);
    }
}

/* Real head shapes: the levels agree, and 1, 2 and 7 threads give the same bits. */
static void test_levels_and_threads(void **state)
{
    (void)state;
    static const shape cases[] = {{200, 9, 3, 64, 0, 0},
                                  {130, 9, 3, 64, 50, 0},
                                  {80, 4, 1, 256, 0, 0},
                                  {200, 9, 3, 64, 23, 30}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem c = shape_open(&cases[i], 0);
        shoal_exec plain = kt_exec_open(kt_level(0), 1);
        run(&plain, &c);
        problem one = shape_open(&cases[i], 1);
        shoal_exec serial = kt_exec_open(kt_level(kt_levels() - 1), 1);
        run(&serial, &one);
        check_near(&one.dq, &c.dq);
        check_near(&one.dk, &c.dk);
        check_near(&one.dv, &c.dv);
        for (unsigned threads = 2; threads <= 7; threads += 5) {
            shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), threads);
            problem many = shape_open(&cases[i], 2);
            uint64_t before = shoal_mem_count();
            run(&ex, &many);
            assert_true(shoal_mem_count() == before);
            kt_same_bits(many.dq.p, one.dq.p, one.dq.n);
            kt_same_bits(many.dk.p, one.dk.p, one.dk.n);
            kt_same_bits(many.dv.p, one.dv.p, one.dv.n);
            problem_close(&many);
            kt_exec_close(&ex);
        }
        problem_close(&c);
        problem_close(&one);
        kt_exec_close(&plain);
        kt_exec_close(&serial);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_levels_and_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
