/* test_attention_cache.c - attention over caches of every type and layout: f16 and 8-bit rows used
 * directly, head by head, in rings; never other bits than expanded rows in order give. */
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

static const shoal_type TYPES[] = {SHOAL_TYPE_F32, SHOAL_TYPE_F16, SHOAL_TYPE_Q8_0};
enum { N_TYPES = 3, MAX_ROWS = 13 };

/* ---- slots ------------------------------------------------------------------------------------
 */

/* n rows of E values in a type, ending where memory ends, and the same rows expanded. */
typedef struct cached_rows {
    fenced cache;
    size_t row_bytes;
    kt_buf wide;
} cached_rows;

static cached_rows rows_open(shoal_type type, size_t n, size_t E)
{
    cached_rows r = {.row_bytes = shoal_type_row_bytes(shoal_type_get(type), E)};
    r.wide = kt_buf_random(n * E, 0, 5);
    r.cache = fenced_open(n * r.row_bytes);
    shoal_quantize(type, r.wide.p, r.cache.p, n * E);
    shoal_dequantize(type, r.cache.p, r.wide.p, n * E);
    return r;
}

static void rows_close(cached_rows *r)
{
    fenced_close(&r->cache);
    kt_buf_close(&r->wide);
}

static void check_scores(const shoal_table *t, shoal_scores_fn *slot, shoal_type type, size_t m,
                         size_t n, size_t E)
{
    size_t lds = n + 3;
    cached_rows keys = rows_open(type, n, E);
    kt_buf q = kt_buf_random(m * E, 1, 6);
    kt_buf got = kt_buf_open(m * lds, 2), want = kt_buf_open(m * lds, 0);
    t->dense_nt(m, n, E, q.p, E, keys.wide.p, E, want.p, lds);
    slot(m, n, E, q.p, keys.cache.p, keys.row_bytes, got.p, lds);
    for (size_t i = 0; i < m; i++) {
        kt_same_bits(got.p + i * lds, want.p + i * lds, n);
        if (i + 1 < m) assert_true(isnan(got.p[i * lds + n])); /* between rows: untouched */
    }
    kt_buf_close(&q);
    kt_buf_close(&got);
    kt_buf_close(&want);
    rows_close(&keys);
}

static void check_values(const shoal_table *t, shoal_values_fn *slot, shoal_type type, size_t m,
                         size_t n, size_t E)
{
    size_t ldw = n + 5;
    cached_rows values = rows_open(type, n, E);
    kt_buf w = kt_buf_random(m * ldw, 1, 6);
    kt_buf got = kt_buf_random(m * E, 2, 7), want = kt_buf_random(m * E, 0, 7);
    t->dense_nn(m, E, n, 1.0f, w.p, ldw, 1, values.wide.p, E, want.p, E);
    slot(m, n, E, w.p, ldw, values.cache.p, values.row_bytes, got.p);
    kt_same_bits(got.p, want.p, m * E);
    kt_buf_close(&w);
    kt_buf_close(&got);
    kt_buf_close(&want);
    rows_close(&values);
}

static void check_slots(const shoal_table *t, shoal_type type, size_t step, shoal_scores_fn *scores,
                        shoal_values_fn *values)
{
    assert_true((scores == NULL) == (values == NULL));
    if (scores == NULL) return;
    for (size_t m = 1; m <= MAX_ROWS; m++) {
        for (size_t n = 1; n <= 66; n += n < 9 ? 1 : 19) {
            for (size_t E = step; E <= 256; E = E < 2 * step + 64 ? E + step : E * 2) {
                check_scores(t, scores, type, m, n, E);
                check_values(t, values, type, m, n, E);
            }
        }
    }
}

static void test_direct_products_are_the_expanded_ones(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        const shoal_table *t = ex.table;
        check_slots(t, SHOAL_TYPE_F16, 8, t->scores_f16, t->values_f16);
        check_slots(t, SHOAL_TYPE_Q8_0, 32, t->scores_q8, t->values_q8);
        kt_exec_close(&ex);
    }
}

/* Every binary16 value, in the place of a key: its product with 1. */
static void test_every_half_is_converted(void **state)
{
    (void)state;
    enum { E = 8 };
    uint16_t key[E] = {0};
    float one[E] = {1}, acc[E];
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        for (uint32_t h = 0; h < 65536 && ex.table->scores_f16 != NULL; h++) {
            float got, want = shoal_f16_to_f32((uint16_t)h) + 0.0f;
            key[0] = (uint16_t)h;
            ex.table->scores_f16(1, 1, E, one, key, sizeof key, &got, 1);
            memset(acc, 0, sizeof acc);
            ex.table->values_f16(1, 1, E, one, 1, key, sizeof key, acc);
            if (isnan(want)) {
                assert_true(isnan(got) && isnan(acc[0]));
            } else {
                assert_true(got == want && acc[0] == want);
            }
        }
        kt_exec_close(&ex);
    }
}

/* ---- whole attention --------------------------------------------------------------------------
 */

/* One problem over a cache [S, K, E] of a type. */
typedef struct problem {
    shoal_attn a;
    kt_buf q;
    unsigned char *k, *v;
    uint32_t *first;
} problem;

static unsigned char *random_cache(shoal_type type, size_t rows, size_t E, uint64_t seed)
{
    kt_buf x = kt_buf_random(rows * E, 0, seed);
    unsigned char *cache = shoal_alloc(rows * shoal_type_row_bytes(shoal_type_get(type), E));
    shoal_quantize(type, x.p, cache, rows * E);
    kt_buf_close(&x);
    return cache;
}

/* window 0: rows see all before them. */
static problem problem_open(shoal_type type, size_t T, size_t n_past, size_t H, size_t K, size_t E,
                            size_t window)
{
    problem p = {.a = {.T = T, .H = H, .K = K, .E = E, .n_past = n_past, .kv_type = type}};
    p.q = kt_buf_random(T * H * E, 1, 11);
    p.k = random_cache(type, (n_past + T) * K, E, 12);
    p.v = random_cache(type, (n_past + T) * K, E, 13);
    p.first = shoal_calloc(T, sizeof *p.first);
    for (size_t t = 0; t < T; t++) {
        size_t end = n_past + t + 1;
        p.first[t] = (uint32_t)(window != 0 && end > window ? end - window : 0);
    }
    p.a.scale = 4.0f / sqrtf((float)E);
    p.a.q = p.q.p;
    p.a.k = p.k;
    p.a.v = p.v;
    p.a.first = p.first;
    return p;
}

static void problem_close(problem *p)
{
    kt_buf_close(&p->q);
    shoal_free(p->k);
    shoal_free(p->v);
    shoal_free(p->first);
}

/* The rows of [S, K, E] head by head, later ones over earlier ones, in `slots` slots. */
static unsigned char *by_heads(const problem *p, const unsigned char *rows, size_t slots,
                               size_t row_bytes)
{
    const shoal_attn *a = &p->a;
    unsigned char *out = shoal_calloc(a->K * slots, row_bytes);
    for (size_t s = 0; s < a->n_past + a->T; s++) {
        for (size_t h = 0; h < a->K; h++) {
            memcpy(out + (h * slots + s % slots) * row_bytes, rows + (s * a->K + h) * row_bytes,
                   row_bytes);
        }
    }
    return out;
}

/* The same rows head by head in `slots` slots (ring: s % slots) give the bits of [S, K, E]. */
static void check_layout(const problem *p, const shoal_exec *ex, size_t slots, bool ring)
{
    shoal_attn a = p->a;
    size_t n = a.T * a.H * a.E;
    size_t row_bytes = shoal_type_row_bytes(shoal_type_get(a.kv_type), a.E);
    kt_buf want = kt_buf_open(n, 0), got = kt_buf_open(n, 3);
    shoal_attn_fwd(ex, &a, want.p, NULL);
    unsigned char *k = by_heads(p, p->k, slots, row_bytes);
    unsigned char *v = by_heads(p, p->v, slots, row_bytes);
    a.k = k;
    a.v = v;
    a.kv_row = row_bytes;
    a.kv_head = slots * row_bytes;
    a.kv_slots = ring ? slots : 0;
    shoal_attn_fwd(ex, &a, got.p, NULL);
    kt_same_bits(got.p, want.p, n);
    shoal_free(k);
    shoal_free(v);
    kt_buf_close(&want);
    kt_buf_close(&got);
}

static void test_layouts_give_the_same_bits(void **state)
{
    (void)state;
    enum { WINDOW = 70, RING = 192 };
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 2);
        for (size_t type = 0; type < N_TYPES; type++) {
            for (size_t T = 1; T < 40; T += T < 5 ? 1 : 17) {
                problem all = problem_open(TYPES[type], T, 301, 6, 2, 32, 0);
                check_layout(&all, &ex, 301 + T, false);
                check_layout(&all, &ex, 301 + T + 9, false);
                problem_close(&all);
            }
            for (size_t past = 0; past < 2 * RING + 70; past += past % RING < 66 ? 1 : 13) {
                problem local = problem_open(TYPES[type], 3, past, 3, 1, 32, WINDOW);
                check_layout(&local, &ex, RING, true);
                problem_close(&local);
            }
        }
        kt_exec_close(&ex);
    }
}

/* Rows alone, in twos, ... have the bits they have in one batch, with any number of threads: the
 * rows that read the cache directly and those that share an expanded tile. */
static void check_batches(const problem *p, uint32_t level)
{
    size_t row = p->a.H * p->a.E, T = p->a.T;
    kt_buf whole = kt_buf_open(T * row, 0), part = kt_buf_open(T * row, 1);
    shoal_exec serial = kt_exec_open(level, 0);
    shoal_attn_fwd(&serial, &p->a, whole.p, NULL);
    kt_exec_close(&serial);
    for (unsigned threads = 1; threads <= 4; threads += 3) {
        shoal_exec ex = kt_exec_open(level, threads);
        for (size_t n = 1; n <= T; n += n < 9 ? 1 : 5) {
            shoal_attn tail = p->a;
            size_t skip = T - n;
            tail.T = n;
            tail.n_past += skip;
            tail.q += skip * row;
            tail.first += skip;
            shoal_attn_fwd(&ex, &tail, part.p, NULL);
            kt_same_bits(part.p, whole.p + skip * row, n * row);
        }
        kt_exec_close(&ex);
    }
    kt_buf_close(&whole);
    kt_buf_close(&part);
}

static void test_batches_give_the_same_bits(void **state)
{
    (void)state;
    static const struct {
        size_t T, past, H, K, E, window;
    } cases[] = {{31, 490, 9, 3, 64, 0}, {24, 500, 4, 1, 256, 300}, {24, 0, 8, 8, 32, 7}};
    for (size_t level = 0; level < kt_levels(); level++) {
        for (size_t type = 0; type < N_TYPES; type++) {
            for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                problem p = problem_open(TYPES[type], cases[i].T, cases[i].past, cases[i].H,
                                         cases[i].K, cases[i].E, cases[i].window);
                check_batches(&p, kt_level(level));
                problem_close(&p);
            }
        }
    }
}

/* Keys that no row sees may be anything but are never read for a single row: here, not a number. */
static void test_keys_out_of_sight_do_not_matter(void **state)
{
    (void)state;
    for (size_t level = 0; level < kt_levels(); level++) {
        shoal_exec ex = kt_exec_open(kt_level(level), 0);
        problem p = problem_open(SHOAL_TYPE_F16, 1, 200, 3, 1, 32, 100);
        kt_buf want = kt_buf_open(3 * 32, 0), got = kt_buf_open(3 * 32, 1);
        shoal_attn_fwd(&ex, &p.a, want.p, NULL);
        memset(p.k, 0xff, 101 * 64);
        memset(p.v, 0xff, 101 * 64);
        shoal_attn_fwd(&ex, &p.a, got.p, NULL);
        kt_same_bits(got.p, want.p, got.n);
        kt_buf_close(&want);
        kt_buf_close(&got);
        problem_close(&p);
        kt_exec_close(&ex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct_products_are_the_expanded_ones),
        cmocka_unit_test(test_every_half_is_converted),
        cmocka_unit_test(test_layouts_give_the_same_bits),
        cmocka_unit_test(test_batches_give_the_same_bits),
        cmocka_unit_test(test_keys_out_of_sight_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
