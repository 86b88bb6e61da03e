/* test_attention.c - attention forward: against double, and the promise about bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/base/mem.h"
#include "kernels/table.h"
#include "tests/support/kernel_test.h"

/* One problem with its arrays; k and v hold n_past + T keys. */
typedef struct problem {
    shoal_attn a;
    kt_buf q, k, v;
    uint16_t *half_k, *half_v;
    uint32_t *first, *hole;
} problem;

static uint16_t *to_half(kt_buf *x)
{
    uint16_t *h = shoal_alloc(x->n * sizeof *h);
    for (size_t i = 0; i < x->n; i++) {
        h[i] = shoal_f32_to_f16(x->p[i]);
        x->p[i] = shoal_f16_to_f32(h[i]); /* the reference sees what the cache holds */
    }
    return h;
}

static problem problem_open(size_t T, size_t n_past, size_t H, size_t K, size_t E, bool half,
                            size_t skew)
{
    problem p = {.a = {.T = T, .H = H, .K = K, .E = E, .n_past = n_past}};
    size_t S = n_past + T;
    p.q = kt_buf_random(T * H * E, skew, 11);
    p.k = kt_buf_random(S * K * E, skew + 1, 12);
    p.v = kt_buf_random(S * K * E, skew + 2, 13);
    for (size_t i = 0; i < p.q.n; i++) {
        p.q.p[i] *= 4; /* peaked weights, so that running maxima really move */
    }
    p.a.scale = 1.0f / sqrtf((float)E);
    p.a.q = p.q.p;
    p.a.k = p.k.p;
    p.a.v = p.v.p;
    p.a.kv_type = SHOAL_TYPE_F32;
    if (half) {
        p.a.k = p.half_k = to_half(&p.k);
        p.a.v = p.half_v = to_half(&p.v);
        p.a.kv_type = SHOAL_TYPE_F16;
    }
    return p;
}

/* Rows see keys from a multiple of `run` on: packed conversations of that length. */
static void problem_pack(problem *p, size_t run)
{
    p->first = shoal_alloc(p->a.T * sizeof *p->first);
    for (size_t t = 0; t < p->a.T; t++) {
        p->first[t] = (uint32_t)((p->a.n_past + t) / run * run);
    }
    p->a.first = p->first;
}

/* A beginning of `shared` keys, and behind it branches of `run` that see it and themselves. */
static void problem_branch(problem *p, size_t shared, size_t run)
{
    size_t T = p->a.T;
    p->hole = shoal_calloc(2 * T, sizeof *p->hole);
    p->a.hole = p->hole;
    p->a.hole_end = p->hole + T;
    for (size_t t = 0; t < T; t++) {
        size_t key = p->a.n_past + t;
        size_t back = key < shared ? 0 : (key - shared) / run * run;
        p->hole[t] = (uint32_t)shared;
        p->hole[T + t] = (uint32_t)(shared + back);
    }
}

/* Rows see at most `width` keys. */
static void problem_window(problem *p, size_t width)
{
    p->first = shoal_alloc(p->a.T * sizeof *p->first);
    for (size_t t = 0; t < p->a.T; t++) {
        size_t end = p->a.n_past + t + 1;
        p->first[t] = (uint32_t)(end > width ? end - width : 0);
    }
    p->a.first = p->first;
}

static void problem_close(problem *p)
{
    kt_buf_close(&p->q);
    kt_buf_close(&p->k);
    kt_buf_close(&p->v);
    shoal_free(p->half_k);
    shoal_free(p->half_v);
    shoal_free(p->first);
    shoal_free(p->hole);
}

/* Row t, head h straight from the definition. */
static void reference_row(const problem *p, size_t t, size_t h, double *o, double *lse)
{
    const shoal_attn *a = &p->a;
    size_t kh = h / (a->H / a->K), first = p->first == NULL ? 0 : p->first[t];
    size_t end = a->n_past + t + 1;
    double top = -HUGE_VAL, sum = 0;
    double *w = shoal_alloc(end * sizeof *w);
    for (size_t s = first; s < end; s++) {
        w[s] = -HUGE_VAL;
        if (p->hole != NULL && s >= p->hole[t] && s < p->hole[a->T + t]) continue;
        w[s] = 0;
        for (size_t e = 0; e < a->E; e++) {
            w[s] += (double)p->q.p[(t * a->H + h) * a->E + e] *
                    (double)p->k.p[(s * a->K + kh) * a->E + e];
        }
        w[s] *= (double)a->scale;
        if (a->softcap > 0) w[s] = (double)a->softcap * tanh(w[s] / (double)a->softcap);
        top = fmax(top, w[s]);
    }
    memset(o, 0, a->E * sizeof *o);
    for (size_t s = first; s < end; s++) {
        double x = exp(w[s] - top);
        sum += x;
        for (size_t e = 0; e < a->E; e++) {
            o[e] += x * (double)p->v.p[(s * a->K + kh) * a->E + e];
        }
    }
    for (size_t e = 0; e < a->E; e++) {
        o[e] /= sum;
    }
    *lse = top + log(sum);
    shoal_free(w);
}

/* Scores have an error of about E/8 + 3 roundings of values up to sum |q k| scale <= 4 sqrt(E);
 * a weight's relative error is that, plus the exp's, and o is an average of |v| <= 1. */
static double score_bound(size_t E)
{
    double u = 0x1p-24;
    return ((double)E / 8 + 5) * u * 4 * sqrt((double)E);
}

static void check_against_reference(problem *p, uint32_t level)
{
    const shoal_attn *a = &p->a;
    shoal_exec ex = kt_exec_open(level, 2);
    kt_buf o = kt_buf_open(a->T * a->H * a->E, 3), lse = kt_buf_open(a->T * a->H, 5);
    shoal_attn_fwd(&ex, a, o.p, lse.p);
    double want[SHOAL_ATTN_MAX_E], want_lse;
    double bound = score_bound(a->E);
    for (size_t t = 0; t < a->T; t++) {
        for (size_t h = 0; h < a->H; h++) {
            reference_row(p, t, h, want, &want_lse);
            kt_close(o.p + (t * a->H + h) * a->E, want, a->E, 2 * bound + 40 * 0x1p-24);
            kt_close(lse.p + t * a->H + h, &want_lse, 1, bound + 40 * 0x1p-24);
        }
    }
    kt_buf_close(&o);
    kt_buf_close(&lse);
    kt_exec_close(&ex);
}

static void test_against_double(void **state)
{
    (void)state;
    static const struct {
        size_t T, past, H, K, E;
    } cases[] = {{1, 0, 1, 1, 1},    {1, 0, 9, 3, 64},   {3, 5, 9, 3, 64},  {1, 300, 9, 3, 64},
                 {2, 700, 4, 1, 24}, {65, 0, 3, 1, 16},  {70, 60, 6, 2, 8}, {130, 0, 9, 3, 64},
                 {40, 3, 2, 2, 256}, {7, 520, 4, 4, 80}, {9, 0, 5, 1, 7},   {300, 0, 2, 1, 32}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (size_t level = 0; level < kt_levels(); level++) {
            for (int half = 0; half < 2; half++) {
                problem p = problem_open(cases[c].T, cases[c].past, cases[c].H, cases[c].K,
                                         cases[c].E, half != 0, c);
                check_against_reference(&p, kt_level(level));
                problem_close(&p);
            }
        }
    }
}

static void test_first_limits(void **state)
{
    (void)state;
    static const size_t runs[] = {1, 3, 17, 64, 100, 129, 400};
    for (size_t level = 0; level < kt_levels(); level++) {
        for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
            problem packed = problem_open(150, 20, 4, 2, 16, false, 0);
            problem_pack(&packed, runs[r]);
            check_against_reference(&packed, kt_level(level));
            problem_close(&packed);
            problem window = problem_open(3, 600, 6, 2, 16, true, 0);
            problem_window(&window, runs[r]);
            check_against_reference(&window, kt_level(level));
            problem_close(&window);
        }
    }
}

/* Branches behind a common beginning, on and off the borders of tiles. */
static void test_holes(void **state)
{
    (void)state;
    static const size_t shared[] = {1, 22, 64, 130}, runs[] = {1, 17, 64, 90};
    for (size_t level = 0; level < kt_levels(); level++) {
        for (size_t r = 0; r < 16; r++) {
            problem p =
                problem_open(r % 2 == 0 ? 190 : 3, r % 2 == 0 ? 20 : 600, 6, 2, 16, r % 3 == 0, r);
            problem_branch(&p, shared[r / 4], runs[r % 4]);
            p.a.softcap = r % 5 == 0 ? 1.5f : 0.0f;
            check_against_reference(&p, kt_level(level));
            problem_window(&p, 33);
            check_against_reference(&p, kt_level(level));
            problem_close(&p);
        }
    }
}

/* The cap adds its own rounding: half a unit of the cap, which is what the bound has room for. */
static void test_softcap(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        problem p = problem_open(70, 60, 6, 2, 16, false, 0);
        p.a.softcap = 1.5f;
        check_against_reference(&p, kt_level(level));
        problem_close(&p);
    }
}

/* Computes the last `rows` rows of p alone, as a later batch over the same keys. */
static void run_tail(const shoal_exec *ex, const problem *p, size_t rows, float *o, float *lse)
{
    shoal_attn tail = p->a;
    size_t skip = p->a.T - rows;
    tail.T = rows;
    tail.n_past = p->a.n_past + skip;
    tail.q = p->a.q + skip * p->a.H * p->a.E;
    tail.first = p->a.first == NULL ? NULL : p->a.first + skip;
    tail.hole = p->a.hole == NULL ? NULL : p->a.hole + skip;
    tail.hole_end = p->a.hole == NULL ? NULL : p->a.hole_end + skip;
    shoal_attn_fwd(ex, &tail, o, lse);
}

/* Whatever the batch a row is computed in, and by however many threads, its bits are the same. */
static void check_split(problem *p, uint32_t level)
{
    static const unsigned threads[] = {1, 2, 7};
    size_t row = p->a.H * p->a.E, T = p->a.T;
    kt_buf whole = kt_buf_open(T * row, 0), part = kt_buf_open(T * row, 1);
    kt_buf lse = kt_buf_open(T * p->a.H, 0), part_lse = kt_buf_open(T * p->a.H, 1);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        shoal_exec ex = kt_exec_open(level, threads[i]);
        if (i == 0) {
            shoal_attn_fwd(&ex, &p->a, whole.p, lse.p);
        }
        for (size_t rows = 1; rows <= T; rows = rows < 6 ? rows + 1 : rows * 2) {
            run_tail(&ex, p, rows, part.p, part_lse.p);
            kt_same_bits(whole.p + (T - rows) * row, part.p, rows * row);
            kt_same_bits(lse.p + (T - rows) * p->a.H, part_lse.p, rows * p->a.H);
        }
        kt_exec_close(&ex);
    }
    kt_buf_close(&whole);
    kt_buf_close(&part);
    kt_buf_close(&lse);
    kt_buf_close(&part_lse);
}

static void test_bits_do_not_depend_on_batch(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        for (int half = 0; half < 2; half++) {
            problem p = problem_open(45, 560, 6, 2, 24, half != 0, 0);
            check_split(&p, kt_level(level));
            problem_window(&p, 333);
            check_split(&p, kt_level(level));
            problem_branch(&p, 300, 29);
            check_split(&p, kt_level(level));
            problem_close(&p);
        }
        problem wide = problem_open(20, 250, 2, 1, 256, true, 0);
        check_split(&wide, kt_level(level));
        problem_close(&wide);
    }
}

/* Scores far apart: nothing overflows, and the largest score takes the weight. */
static void test_extreme_scores(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        problem p = problem_open(70, 0, 2, 1, 8, false, 0);
        for (size_t i = 0; i < p.q.n; i++) {
            p.q.p[i] *= 1e4f;
        }
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        kt_buf o = kt_buf_open(70 * 2 * 8, 0), lse = kt_buf_open(70 * 2, 0);
        shoal_attn_fwd(&ex, &p.a, o.p, lse.p);
        double want[8], want_lse;
        for (size_t t = 0; t < 70; t++) {
            reference_row(&p, t, 1, want, &want_lse);
            assert_true(fabs((double)lse.p[t * 2 + 1] - want_lse) <= 1e-5 * fabs(want_lse) + 1e-2);
            for (size_t e = 0; e < 8; e++) {
                assert_true(fabsf(o.p[(t * 2 + 1) * 8 + e]) <= 1.0001f);
            }
        }
        kt_buf_close(&o);
        kt_buf_close(&lse);
        kt_exec_close(&ex);
        problem_close(&p);
    }
}

/* Every binary16 value, through the slot that expands cached keys. */
static void test_half_rows(void **state)
{
    (void)state;
    enum { ROWS = 64, N = 1021, LD = 1024 }; /* the last values of a row: tail code */
    uint16_t *half = shoal_alloc(ROWS * LD * sizeof *half);
    for (size_t i = 0; i < ROWS * LD; i++) {
        half[i] = (uint16_t)(i * 5); /* 5 is odd: all 65536 values */
    }
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        kt_buf out = kt_buf_open(ROWS * N, 3);
        ex.table->half_rows(half, LD, ROWS, N, out.p);
        for (size_t i = 0; i < out.n; i++) {
            float want = shoal_f16_to_f32(half[i / N * LD + i % N]);
            if (isnan(want)) {
                assert_true(isnan(out.p[i]));
            } else {
                kt_same_bits(out.p + i, &want, 1);
            }
        }
        kt_buf_close(&out);
        kt_exec_close(&ex);
    }
    shoal_free(half);
}

static void test_no_allocation(void **state)
{
    (void)state;
    problem p = problem_open(5, 900, 9, 3, 64, true, 0);
    shoal_exec ex = kt_exec_open(kt_level(kt_levels() - 1), 2);
    kt_buf o = kt_buf_open(5 * 9 * 64, 0);
    uint64_t before = shoal_mem_count();
    shoal_attn_fwd(&ex, &p.a, o.p, NULL);
    assert_true(shoal_mem_count() == before);
    kt_buf_close(&o);
    kt_exec_close(&ex);
    problem_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double), cmocka_unit_test(test_first_limits),
        cmocka_unit_test(test_softcap),        cmocka_unit_test(test_bits_do_not_depend_on_batch),
        cmocka_unit_test(test_extreme_scores), cmocka_unit_test(test_half_rows),
        cmocka_unit_test(test_no_allocation),  cmocka_unit_test(test_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
