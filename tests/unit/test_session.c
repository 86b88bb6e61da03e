/* test_session.c - evaluation in any split gives the same bits; memory and limits hold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/train/adapter.h"
#include "tests/support/tiny_session.h"

enum { N = 150 };

static shoal_session *open_session(const tiny_engine *e, const shoal_session_opts *opts)
{
    shoal_session *s = NULL;
    shoal_error err = {0};
    if (shoal_session_open(&s, e->m, &e->ex, opts, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    return s;
}

static void eval(shoal_session *s, const int32_t *ids, size_t n, shoal_logits which)
{
    shoal_error err = {0};
    if (shoal_session_eval(s, ids, n, which, &err) != SHOAL_OK) fail_msg("%s", err.msg);
}

static void check_same_bits(const float *a, const float *b, size_t n, size_t row)
{
    if (memcmp(a, b, n * sizeof *a) != 0) fail_msg("row %zu differs", row);
}

/* Logits of all N rows, read one token at a time: the meaning of the model. */
static float *one_by_one(const tiny_engine *e, const shoal_session_opts *opts, const int32_t *ids)
{
    size_t V = e->m->cfg.n_vocab;
    float *all = shoal_calloc(N * V, sizeof *all);
    shoal_session *s = open_session(e, opts);
    for (size_t i = 0; i < N; i++) {
        eval(s, ids + i, 1, SHOAL_LOGITS_LAST);
        memcpy(all + i * V, shoal_session_logits(s, 0), V * sizeof *all);
    }
    shoal_session_close(s);
    return all;
}

/* Random splits with logits for every row, chunks smaller than splits, against one by one. */
static void check_splits(const tiny_engine *e, shoal_session_opts opts, uint64_t seed)
{
    size_t V = e->m->cfg.n_vocab;
    int32_t ids[N];
    tiny_random_ids(e, seed, ids, N);
    opts.logit_rows = N;
    float *want = one_by_one(e, &opts, ids);
    shoal_rng rng = shoal_rng_init(seed);
    const size_t chunks[] = {1, 7, 32, 256};
    for (size_t k = 0; k < sizeof chunks / sizeof chunks[0]; k++) {
        opts.chunk = chunks[k];
        shoal_session *s = open_session(e, &opts);
        size_t most = k == 3 ? N : 40; /* the last run: all at once */
        for (size_t at = 0; at < N;) {
            size_t n = k == 3 ? N : 1 + (size_t)shoal_rng_below(&rng, most);
            n = n < N - at ? n : N - at;
            eval(s, ids + at, n, SHOAL_LOGITS_ALL);
            for (size_t i = 0; i < n; i++) {
                check_same_bits(shoal_session_logits(s, i), want + (at + i) * V, V, at + i);
            }
            at += n;
        }
        shoal_session_close(s);
    }
    shoal_free(want);
}

static void any_split_gives_the_same_bits(void **state)
{
    (void)state;
    const uint32_t masks[] = {SHOAL_CPU_ALL, 0}; /* the best kernels here, and portable C */
    for (size_t i = 0; i < 4; i++) {
        bool exact = i % 2 == 1;
        tiny_engine e;
        tiny_engine_open(&e, 7, NULL, 2, exact);
        shoal_exec_close(&e.ex);
        assert_int_equal(shoal_exec_open(&e.ex, e.pool, masks[i / 2], exact, NULL), SHOAL_OK);
        check_splits(&e, (shoal_session_opts){0}, 11);
        check_splits(&e, (shoal_session_opts){.kv = SHOAL_KV_F32}, 12);
        tiny_engine_close(&e);
    }
}

/* Long enough for a cache to be walked in several parts. */
static void long_contexts_give_the_same_bits(void **state)
{
    (void)state;
    enum { LONG = 1500, TAIL = 6 };
    static int32_t ids[LONG];
    tiny_engine e;
    tiny_engine_open(&e, 17, &(shoal_tiny_opts){.n_ctx = LONG}, 2, false);
    tiny_random_ids(&e, 8, ids, LONG);
    size_t V = e.m->cfg.n_vocab;
    shoal_session *batch = open_session(&e, NULL);
    shoal_session *single = open_session(&e, &(shoal_session_opts){.chunk = 17});
    eval(batch, ids, LONG - TAIL, SHOAL_LOGITS_NONE);
    eval(batch, ids + LONG - TAIL, TAIL, SHOAL_LOGITS_ALL);
    eval(single, ids, LONG - TAIL, SHOAL_LOGITS_NONE);
    for (size_t i = 0; i < TAIL; i++) {
        eval(single, ids + LONG - TAIL + i, 1, SHOAL_LOGITS_LAST);
        check_same_bits(shoal_session_logits(single, 0), shoal_session_logits(batch, i), V, i);
    }
    shoal_session_close(batch);
    shoal_session_close(single);
    tiny_engine_close(&e);
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    int32_t ids[N];
    float *first = NULL;
    for (unsigned threads = 1; threads <= 4; threads++) {
        tiny_engine e;
        tiny_engine_open(&e, 3, NULL, threads, false);
        tiny_random_ids(&e, 1, ids, N);
        shoal_session *s = open_session(&e, NULL);
        eval(s, ids, N, SHOAL_LOGITS_LAST);
        size_t V = e.m->cfg.n_vocab;
        if (first == NULL) {
            first = shoal_calloc(V, sizeof *first);
            memcpy(first, shoal_session_logits(s, 0), V * sizeof *first);
        }
        check_same_bits(shoal_session_logits(s, 0), first, V, N - 1);
        shoal_session_close(s);
        tiny_engine_close(&e);
    }
    shoal_free(first);
}

static void truncating_forgets_exactly(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 5, NULL, 1, false);
    int32_t ids[N];
    int32_t other[N];
    tiny_random_ids(&e, 2, ids, N);
    tiny_random_ids(&e, 3, other, N);
    memcpy(other, ids, 50 * sizeof *ids); /* they part ways at 50 */
    other[50] = (ids[50] + 1) % (int32_t)e.m->cfg.n_vocab;
    size_t V = e.m->cfg.n_vocab;
    shoal_session *fresh = open_session(&e, NULL);
    shoal_session *used = open_session(&e, NULL);
    eval(fresh, ids, N, SHOAL_LOGITS_LAST);
    eval(used, other, N, SHOAL_LOGITS_NONE);
    (void)shoal_session_truncate(used, 50);
    assert_int_equal(shoal_session_past(used), 50);
    eval(used, ids + 50, N - 50, SHOAL_LOGITS_LAST);
    check_same_bits(shoal_session_logits(used, 0), shoal_session_logits(fresh, 0), V, N - 1);
    /* sync finds the common part by itself, also when the whole text is already there */
    assert_int_equal(shoal_session_sync(used, other, N, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_sync(used, ids, N, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_sync(used, ids, N, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_past(used), N);
    assert_memory_equal(shoal_session_tokens(used), ids, sizeof ids);
    check_same_bits(shoal_session_logits(used, 0), shoal_session_logits(fresh, 0), V, N - 1);
    shoal_session_close(fresh);
    shoal_session_close(used);
    tiny_engine_close(&e);
}

static double nll_of(const float *logits, size_t n, int32_t target)
{
    double top = (double)logits[0];
    for (size_t i = 1; i < n; i++) {
        top = fmax(top, (double)logits[i]);
    }
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)logits[i] - top);
    }
    return top + log(sum) - (double)logits[target];
}

static void scores_are_the_logits_nll(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 9, NULL, 2, true);
    int32_t ids[N];
    tiny_random_ids(&e, 4, ids, N);
    size_t V = e.m->cfg.n_vocab;
    shoal_session_opts opts = {.chunk = 33, .logit_rows = 5};
    float *want = one_by_one(&e, &opts, ids);
    shoal_session *s = open_session(&e, &opts);
    double nll[N - 1];
    int32_t best[N];
    assert_int_equal(shoal_session_score(s, ids, N, nll, best, NULL), SHOAL_OK);
    for (size_t i = 0; i < N; i++) {
        const float *row = want + i * V;
        if (i + 1 < N) assert_true(fabs(nll[i] - nll_of(row, V, ids[i + 1])) < 1e-5);
        for (size_t k = 0; k < V; k++) {
            assert_true(row[k] <= row[best[i]]);
        }
    }
    check_same_bits(shoal_session_logits(s, 0), want + (N - 1) * V, V, N - 1);
    assert_int_equal(shoal_session_score(s, ids, N, NULL, NULL, NULL), SHOAL_OK);
    shoal_session_close(s);
    shoal_free(want);
    tiny_engine_close(&e);
}

static void a_full_context_is_refused(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 9, NULL, 1, false);
    int32_t ids[N];
    tiny_random_ids(&e, 4, ids, N);
    shoal_session_opts opts = {.n_ctx = 20, .logit_rows = 4};
    shoal_session *s = open_session(&e, &opts);
    shoal_error err = {0};
    assert_int_equal(shoal_session_eval(s, ids, 21, SHOAL_LOGITS_NONE, &err), SHOAL_ERR_TOO_LARGE);
    assert_true(err.hint[0] != '\0');
    assert_int_equal(shoal_session_past(s), 0);
    eval(s, ids, 20, SHOAL_LOGITS_LAST);
    assert_int_equal(shoal_session_eval(s, ids, 1, SHOAL_LOGITS_NONE, &err), SHOAL_ERR_TOO_LARGE);
    (void)shoal_session_truncate(s, 10);
    assert_int_equal(shoal_session_eval(s, ids, 5, SHOAL_LOGITS_ALL, &err), SHOAL_ERR_TOO_LARGE);
    const int32_t bad[] = {-1, (int32_t)e.m->cfg.n_vocab};
    assert_int_equal(shoal_session_eval(s, bad, 1, SHOAL_LOGITS_NONE, &err), SHOAL_ERR_ARG);
    assert_int_equal(shoal_session_eval(s, bad + 1, 1, SHOAL_LOGITS_NONE, &err), SHOAL_ERR_ARG);
    assert_int_equal(shoal_session_past(s), 10);
    shoal_session_close(s);
    opts.n_ctx = e.m->cfg.n_ctx + 1;
    assert_int_equal(shoal_session_open(&s, e.m, &e.ex, &opts, &err), SHOAL_ERR_ARG);
    assert_null(s);
    tiny_engine_close(&e);
}

static void evaluation_allocates_nothing(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 9, NULL, 2, false);
    int32_t ids[N];
    tiny_random_ids(&e, 4, ids, N);
    shoal_session *s = open_session(&e, NULL);
    uint64_t before = shoal_mem_count();
    eval(s, ids, N, SHOAL_LOGITS_LAST);
    for (size_t i = 0; i < 20; i++) {
        eval(s, ids + i, 1, SHOAL_LOGITS_LAST);
    }
    assert_int_equal(shoal_mem_count(), before);
    shoal_session_close(s);
    tiny_engine_close(&e);
}

static void the_plan_is_what_is_allocated(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 9, NULL, 1, false);
    size_t small = 0;
    size_t large = 0;
    shoal_session_opts opts = {.n_ctx = 100};
    assert_int_equal(shoal_session_plan(e.m, &e.ex, &opts, &small, NULL), SHOAL_OK);
    opts.n_ctx = 200;
    assert_int_equal(shoal_session_plan(e.m, &e.ex, &opts, &large, NULL), SHOAL_OK);
    const shoal_config *c = &e.m->cfg;
    size_t kv = 100 * c->n_layer * 2 * c->n_head_kv * c->head_dim * sizeof(uint16_t);
    assert_true(large - small >= kv);
    for (uint64_t n = 1; n <= 2; n++) { /* out of memory: refused, nothing lost */
        shoal_session *s = NULL;
        shoal_mem_fail_at(n, false);
        assert_int_equal(shoal_session_open(&s, e.m, &e.ex, &opts, NULL), SHOAL_ERR_NOMEM);
        assert_null(s);
    }
    shoal_mem_fail_at(0, false);
    tiny_engine_close(&e);
}

static void cancelling_keeps_finished_chunks(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 9, NULL, 1, false);
    int32_t ids[N];
    tiny_random_ids(&e, 4, ids, N);
    shoal_session *s = open_session(&e, NULL);
    atomic_bool flag = true;
    shoal_session_set_cancel(s, &flag);
    assert_int_equal(shoal_session_eval(s, ids, N, SHOAL_LOGITS_LAST, NULL), SHOAL_ERR_CANCELLED);
    assert_int_equal(shoal_session_past(s), 0);
    shoal_session_set_cancel(s, NULL);
    eval(s, ids, N, SHOAL_LOGITS_LAST);
    shoal_session_close(s);
    tiny_engine_close(&e);
}

/* A fresh adapter changes no bit; one with weights does, also in every split. */
static void adapters_apply_unmerged(void **state)
{
    (void)state;
    tiny_engine e;
    tiny_engine_open(&e, 21, NULL, 2, false);
    size_t V = e.m->cfg.n_vocab;
    int32_t ids[N];
    tiny_random_ids(&e, 6, ids, N);
    shoal_lora_spec spec = {.rank = 4, .alpha = 8, .targets = SHOAL_TARGETS_ALL};
    shoal_adapter *a = NULL;
    assert_int_equal(shoal_adapter_open(&a, e.m, &spec, 1, NULL), SHOAL_OK);
    shoal_session_opts opts = {.adapter = a};
    shoal_session *base = open_session(&e, NULL);
    shoal_session *tuned = open_session(&e, &opts);
    eval(base, ids, N, SHOAL_LOGITS_LAST);
    eval(tuned, ids, N, SHOAL_LOGITS_LAST);
    check_same_bits(shoal_session_logits(base, 0), shoal_session_logits(tuned, 0), V, N - 1);
    shoal_rng rng = shoal_rng_init(5);
    for (size_t i = 0; i < a->n_params; i++) {
        a->params[i] = 0.1f * (float)shoal_rng_normal(&rng);
    }
    (void)shoal_session_truncate(tuned, 0);
    eval(tuned, ids, N, SHOAL_LOGITS_LAST);
    assert_memory_not_equal(shoal_session_logits(base, 0), shoal_session_logits(tuned, 0),
                            V * sizeof(float));
    check_splits(&e, opts, 13);
    shoal_session_close(base);
    shoal_session_close(tuned);
    shoal_adapter_close(a);
    tiny_engine_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_gives_the_same_bits),
        cmocka_unit_test(long_contexts_give_the_same_bits),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(truncating_forgets_exactly),
        cmocka_unit_test(scores_are_the_logits_nll),
        cmocka_unit_test(a_full_context_is_refused),
        cmocka_unit_test(evaluation_allocates_nothing),
        cmocka_unit_test(the_plan_is_what_is_allocated),
        cmocka_unit_test(cancelling_keeps_finished_chunks),
        cmocka_unit_test(adapters_apply_unmerged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
