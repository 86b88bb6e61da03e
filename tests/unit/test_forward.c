/* test_forward.c - the real model against torch in fp32: NLL, logits, greedy text; adapters.
 * Source of vectors and tolerances: shared/vectors/README.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "lora/infer/generate.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"
#include "tests/support/vectors.h"

enum { TOP = 8, MAX_GREEDY = 64, END_OF_TURN = 2 };

/* What one run over the prompts showed. */
typedef struct deviation {
    double nll_max, nll_sum, logit_max;
    size_t n_nll, argmax_equal, n_argmax;
    size_t greedy_equal, n_greedy; /* tokens before the first difference, and in all */
} deviation;

static shoal_model *g_model;
static shoal_pool *g_pool;

static int set_up(void **state)
{
    (void)state;
    shoal_error err = {0};
    if (shoal_model_open(&g_model, real_model_path(), &err) != SHOAL_OK ||
        shoal_pool_open(&g_pool, 2, &err) != SHOAL_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shoal_pool_close(g_pool);
    shoal_model_close(g_model);
    return 0;
}

static double reals(const json_t *array, size_t i)
{
    return json_number_value(json_array_get(array, i));
}

static void compare_scores(shoal_session *s, const json_t *want, deviation *d)
{
    size_t n = 0;
    int32_t *ids = vectors_ids(json_object_get(want, "ids"), &n);
    double *nll = shoal_calloc(n, sizeof *nll);
    int32_t *best = shoal_calloc(n, sizeof *best);
    assert_int_equal(shoal_session_score(s, ids, n, nll, best, NULL), SHOAL_OK);
    const json_t *want_nll = json_object_get(want, "nll");
    assert_int_equal(json_array_size(want_nll), n - 1);
    for (size_t i = 0; i + 1 < n; i++) {
        double off = fabs(nll[i] - reals(want_nll, i));
        d->nll_max = fmax(d->nll_max, off);
        d->nll_sum += off;
        d->n_nll++;
    }
    const json_t *want_best = json_object_get(want, "argmax");
    for (size_t i = 0; i < json_array_size(want_best); i++) {
        d->argmax_equal += best[i] == (int32_t)reals(want_best, i);
        d->n_argmax++;
    }
    const float *logits = shoal_session_logits(s, 0);
    for (size_t i = 0; i < TOP; i++) {
        size_t id = (size_t)reals(json_object_get(want, "last_top_ids"), i);
        double off = fabs((double)logits[id] - reals(json_object_get(want, "last_top_logits"), i));
        d->logit_max = fmax(d->logit_max, off);
    }
    shoal_free(ids);
    shoal_free(nll);
    shoal_free(best);
}

typedef struct collected {
    int32_t ids[MAX_GREEDY];
    size_t n, max;
} collected;

static bool collect(void *ctx, int32_t id)
{
    collected *c = ctx;
    c->ids[c->n++] = id;
    return id != END_OF_TURN && c->n < c->max; /* the vectors keep the token that ended them */
}

static void compare_greedy(shoal_session *s, const json_t *want, deviation *d)
{
    size_t n = 0;
    size_t n_want = 0;
    int32_t *ids = vectors_ids(json_object_get(want, "ids"), &n);
    int32_t *greedy = vectors_ids(json_object_get(want, "greedy"), &n_want);
    collected got = {.max = n_want};
    assert_in_range(n_want, 1, MAX_GREEDY);
    shoal_gen_opts opts = {.ignore_stop = true, .on_token = collect, .ctx = &got};
    shoal_gen_result result;
    assert_int_equal(shoal_generate(s, ids, n, &opts, &result, NULL), SHOAL_OK);
    size_t same = 0;
    while (same < got.n && same < n_want && got.ids[same] == greedy[same]) {
        same++;
    }
    d->greedy_equal += same;
    d->n_greedy += n_want;
    shoal_free(ids);
    shoal_free(greedy);
}

static void report(const char *what, const deviation *d)
{
    print_message(
        "%s: NLL max %.2e mean %.2e, top logits max %.2e, argmax %zu/%zu, greedy %zu/%zu\n", what,
        d->nll_max, d->nll_sum / (double)d->n_nll, d->logit_max, d->argmax_equal, d->n_argmax,
        d->greedy_equal, d->n_greedy);
}

static void run_prompt(const json_t *prompt, bool exact, uint32_t mask, const shoal_adapter *a,
                       deviation *d)
{
    shoal_exec ex;
    shoal_session *s = NULL;
    shoal_session_opts opts = {.n_ctx = 512, .logit_rows = 16, .adapter = a};
    assert_int_equal(shoal_exec_open(&ex, g_pool, mask, exact, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_open(&s, g_model, &ex, &opts, NULL), SHOAL_OK);
    compare_scores(s, prompt, d);
    compare_greedy(s, prompt, d);
    shoal_session_close(s);
    shoal_exec_close(&ex);
}

static deviation run_forward(bool exact, uint32_t mask)
{
    deviation d = {0};
    json_t *prompts = vectors_load("smollm2-135m/forward.json");
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        run_prompt(json_array_get(prompts, i), exact, mask, NULL, &d);
    }
    json_decref(prompts);
    assert_true(d.n_nll > 100);
    return d;
}

static void check_exact(const deviation *d)
{
    assert_true(d->nll_max <= 3e-4);
    assert_true(d->logit_max <= 1e-3);
    assert_int_equal(d->argmax_equal, d->n_argmax);
    assert_true(d->greedy_equal * 48 >= d->n_greedy * 40);
}

static void exact_mode_matches_torch(void **state)
{
    (void)state;
    deviation d = run_forward(true, SHOAL_CPU_ALL);
    report("exact", &d);
    check_exact(&d);
}

static void fast_mode_is_within_tolerance(void **state)
{
    (void)state;
    deviation d = run_forward(false, SHOAL_CPU_ALL);
    report("fast", &d);
    assert_true(d.nll_max <= 1.0);
    assert_true(d.nll_sum / (double)d.n_nll <= 0.12);
    assert_true(d.logit_max <= 1.2);
    assert_true((double)d.argmax_equal >= 0.94 * (double)d.n_argmax);
}

static void adapters_match_torch(void **state)
{
    (void)state;
    shoal_adapter *a = NULL;
    shoal_error err = {0};
    const char *path = vectors_path("smollm2-135m/adapter/adapter.gguf");
    if (shoal_adapter_load(&a, g_model, path, &err) != SHOAL_OK) fail_msg("%s", err.msg);
    json_t *root = vectors_load("smollm2-135m/adapter/outputs.json");
    const json_t *prompts = json_object_get(root, "prompts");
    deviation base = {0};
    deviation tuned = {0};
    deviation fast = {0};
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *prompt = json_array_get(prompts, i);
        run_prompt(json_object_get(prompt, "base"), true, SHOAL_CPU_ALL, NULL, &base);
        run_prompt(json_object_get(prompt, "tuned"), true, SHOAL_CPU_ALL, a, &tuned);
        run_prompt(json_object_get(prompt, "tuned"), false, SHOAL_CPU_ALL, a, &fast);
    }
    report("base, exact", &base);
    report("adapter, exact", &tuned);
    report("adapter, fast", &fast);
    check_exact(&base);
    check_exact(&tuned);
    assert_true(fast.nll_max <= 1.2);
    assert_true(fast.logit_max <= 1.2);
    json_decref(root);
    shoal_adapter_close(a);
}

int main(void)
{
    (void)real_model_path(); /* skips before cmocka reports a failed set-up */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_mode_matches_torch),
        cmocka_unit_test(fast_mode_is_within_tolerance),
        cmocka_unit_test(adapters_match_torch),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
