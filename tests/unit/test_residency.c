/* test_residency.c - weights within a budget: same bits, the budget kept, no order of use hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "lora/model/residency.h"
#include "tests/support/tiny_session.h"

enum { N = 40, ROWS = 8 };

/* A tiny engine whose file every reader so far mapped in huge pages, and this one in small ones. */
static void small_engine_open(tiny_engine *e, uint64_t seed, const shoal_tiny_opts *opts,
                              unsigned threads, bool exact)
{
    shoal_error err = {0};
    tiny_engine_open(e, seed, opts, threads, exact);
    assert_int_equal(shoal_residency_open(e->m, SIZE_MAX, &err), SHOAL_ERR_ARG);
    shoal_model_close(e->m);
    if (shoal_model_open_pages(&e->m, e->path, SHOAL_PAGES_SMALL, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
}

static void set_budget(tiny_engine *e, size_t budget)
{
    shoal_error err = {0};
    if (shoal_residency_open(e->m, budget, &err) != SHOAL_OK) fail_msg("%s", err.msg);
}

/* Logits of the last ROWS rows of ids [N], read in two evaluations of several chunks. */
static void read_all(const tiny_engine *e, const int32_t *ids, float *out)
{
    shoal_session *s = NULL;
    const shoal_session_opts opts = {.chunk = 7};
    size_t V = e->m->cfg.n_vocab;
    assert_int_equal(shoal_session_open(&s, e->m, &e->ex, &opts, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_eval(s, ids, N - ROWS, SHOAL_LOGITS_LAST, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_eval(s, ids + N - ROWS, ROWS, SHOAL_LOGITS_ALL, NULL), SHOAL_OK);
    for (size_t i = 0; i < ROWS; i++) {
        memcpy(out + i * V, shoal_session_logits(s, i), V * sizeof *out);
    }
    shoal_session_close(s);
}

static void check_variant(const shoal_tiny_opts *opts, bool exact)
{
    tiny_engine e;
    int32_t ids[N];
    small_engine_open(&e, 5, opts, 2, exact);
    tiny_random_ids(&e, 6, ids, N);
    size_t n = ROWS * e.m->cfg.n_vocab;
    float *want = shoal_calloc(n, sizeof *want);
    float *got = shoal_calloc(n, sizeof *got);
    read_all(&e, ids, want);
    size_t least = shoal_residency_least(e.m);
    size_t most = shoal_residency_most(e.m);
    const size_t budgets[] = {least, (least + most) / 2, most, 2 * most};
    for (size_t i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        set_budget(&e, budgets[i]);
        assert_true(shoal_residency_head_slices(e.m) > 1);
        memset(got, 0, n * sizeof *got);
        read_all(&e, ids, got);
        if (memcmp(got, want, n * sizeof *got) != 0) fail_msg("budget %zu: other bits", i);
        assert_true(shoal_residency_get_stats(e.m).peak_bytes <= budgets[i]);
    }
    shoal_residency_close(e.m);
    read_all(&e, ids, got);
    assert_memory_equal(got, want, n * sizeof *got);
    shoal_free(want);
    shoal_free(got);
    tiny_engine_close(&e);
}

static void budgets_do_not_change_bits(void **state)
{
    (void)state;
    check_variant(NULL, false);
    check_variant(NULL, true);
    check_variant(&(shoal_tiny_opts){.untied = true, .n_layer = 5}, false);
    check_variant(&(shoal_tiny_opts){.arch = "gemma3", .n_layer = 7}, false);
    check_variant(&(shoal_tiny_opts){.arch = "qwen2"}, false);
}

/* Each evaluation needs every layer once a chunk and every slice once; what is kept is read once,
 * the rest each time. */
static void parts_are_read_as_planned(void **state)
{
    (void)state;
    tiny_engine e;
    int32_t ids[4];
    small_engine_open(&e, 5, &(shoal_tiny_opts){.n_layer = 6}, 1, false);
    tiny_random_ids(&e, 6, ids, 4);
    const size_t budgets[] = {shoal_residency_least(e.m),
                              (shoal_residency_least(e.m) + shoal_residency_most(e.m)) / 2,
                              shoal_residency_most(e.m)};
    size_t kept_before = 0;
    for (size_t i = 0; i < 3; i++) {
        shoal_session *s = NULL;
        set_budget(&e, budgets[i]);
        assert_int_equal(shoal_session_open(&s, e.m, &e.ex, NULL, NULL), SHOAL_OK);
        for (size_t t = 0; t < 4; t++) {
            assert_int_equal(shoal_session_eval(s, ids + t, 1, SHOAL_LOGITS_LAST, NULL), SHOAL_OK);
        }
        shoal_residency_stats st = shoal_residency_get_stats(e.m);
        size_t slices = shoal_residency_head_slices(e.m);
        assert_int_equal(st.n_parts, 6 + slices);
        assert_int_equal(st.needs, 4 * (6 + slices));
        uint64_t least_loads = st.n_kept + 4 * (st.n_parts - st.n_kept);
        assert_true(st.loads >= least_loads);
        assert_true(st.loads <= least_loads + st.n_parts); /* read ahead for a fifth token */
        assert_true(st.n_kept >= kept_before && st.kept_bytes + st.window <= budgets[i]);
        assert_true(i != 0 || st.n_kept == 0);
        assert_true(i != 2 || st.n_kept == st.n_parts);
        kept_before = st.n_kept;
        shoal_session_close(s);
    }
    tiny_engine_close(&e);
}

/* Users may leave the order at any part, and repeat one. */
static void any_order_of_use_is_served(void **state)
{
    (void)state;
    tiny_engine e;
    small_engine_open(&e, 5, &(shoal_tiny_opts){.n_layer = 4}, 1, false);
    size_t least = shoal_residency_least(e.m);
    size_t most = shoal_residency_most(e.m);
    for (size_t budget = least; budget <= most; budget += (most - least) / 3) {
        set_budget(&e, budget);
        size_t n = shoal_residency_get_stats(e.m).n_parts;
        for (size_t k = 0; k < 200; k++) {
            size_t i = k * k * 7 % n;
            shoal_residency_need(e.m, i);
            shoal_residency_done(e.m, i);
        }
        for (size_t k = 0; k < 3 * n; k++) { /* backwards, as training's second half */
            size_t i = n - 1 - k % n;
            shoal_residency_need(e.m, i);
            shoal_residency_done(e.m, i);
        }
        shoal_residency_stats st = shoal_residency_get_stats(e.m);
        assert_int_equal(st.needs, 200 + 3 * n);
        assert_true(st.peak_bytes <= budget);
    }
    tiny_engine_close(&e);
}

static void too_little_is_refused(void **state)
{
    (void)state;
    tiny_engine e;
    shoal_error err = {0};
    small_engine_open(&e, 5, NULL, 1, false);
    size_t least = shoal_residency_least(e.m);
    assert_int_equal(shoal_residency_open(e.m, least - 1, &err), SHOAL_ERR_TOO_LARGE);
    assert_true(err.hint[0] != '\0');
    assert_int_equal(shoal_residency_head_slices(e.m), 1);
    assert_int_equal(shoal_residency_get_stats(e.m).n_parts, 0);
    for (uint64_t k = 1; k <= 3; k++) {
        shoal_mem_fail_at(k, false);
        assert_int_equal(shoal_residency_open(e.m, least, &err), SHOAL_ERR_NOMEM);
        shoal_mem_fail_at(0, false);
    }
    tiny_engine_close(&e);
}

/* Resident bytes of the mapping of a file in this process; SIZE_MAX where that cannot be asked. */
static size_t mapped_rss(const char *path)
{
    char line[512];
    bool ours = false;
    size_t total = SIZE_MAX;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        size_t kb = 0;
        if (strchr(line, '-') != NULL && strstr(line, " r--p ") != NULL) {
            ours = strstr(line, path) != NULL;
        } else if (ours && sscanf(line, "Rss: %zu kB", &kb) == 1) {
            total = (total == SIZE_MAX ? 0 : total) + kb * 1024;
            ours = false;
        }
    }
    if (f != NULL) (void)fclose(f);
    return total;
}

/* The real thing: 21 MB of f32 weights, the kernel's own count of what is mapped in. */
static void the_kernel_agrees(void **state)
{
    (void)state;
    enum { LAYERS = 8, TOKENS = 12 };
    tiny_engine e;
    int32_t ids[TOKENS];
    const shoal_tiny_opts opts = {
        .n_layer = LAYERS, .n_embd = 256, .n_ff = 512, .plain_types = true};
    small_engine_open(&e, 5, &opts, 2, false);
    tiny_random_ids(&e, 6, ids, TOKENS);
    size_t budget = shoal_residency_least(e.m);
    size_t whole = shoal_residency_most(e.m) - budget;
    assert_true(budget < whole / 3);
    shoal_session *s = NULL;
    assert_int_equal(shoal_session_open(&s, e.m, &e.ex, NULL, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_eval(s, ids, TOKENS, SHOAL_LOGITS_LAST, NULL), SHOAL_OK);
    size_t unbounded = mapped_rss(e.path);
    if (unbounded == SIZE_MAX || unbounded < whole / 2) {
        print_message("no smaps here: only the counts were checked\n");
    } else {
        shoal_session_truncate(s, 0);
        set_budget(&e, budget);
        for (size_t t = 0; t < TOKENS; t++) {
            assert_int_equal(shoal_session_eval(s, ids + t, 1, SHOAL_LOGITS_LAST, NULL), SHOAL_OK);
            size_t rss = mapped_rss(e.path);
            if (rss > budget) fail_msg("%zu bytes resident, the budget is %zu", rss, budget);
        }
    }
    shoal_session_close(s);
    tiny_engine_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_do_not_change_bits), cmocka_unit_test(parts_are_read_as_planned),
        cmocka_unit_test(any_order_of_use_is_served), cmocka_unit_test(too_little_is_refused),
        cmocka_unit_test(the_kernel_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
