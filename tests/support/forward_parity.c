/* forward_parity.c - scores, last logits and greedy text against the reference. */
#include "tests/support/forward_parity.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "lora/infer/generate.h"
#include "tests/support/vectors.h"

enum { TOP = 8, MAX_GREEDY = 64 };

static double reals(const json_t *array, size_t i)
{
    return json_number_value(json_array_get(array, i));
}

static bool is_close_call(const json_t *want, const char *margins, size_t i, const deviation *d)
{
    const json_t *list = json_object_get(want, margins);
    return list != NULL && reals(list, i) < d->close_call;
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
        if (is_close_call(want, "argmax_margin", i, d)) continue;
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
    return c->n < c->max;
}

static void compare_greedy(shoal_session *s, const json_t *want, deviation *d)
{
    size_t n = 0;
    size_t n_want = 0;
    int32_t *ids = vectors_ids(json_object_get(want, "ids"), &n);
    int32_t *greedy = vectors_ids(json_object_get(want, "greedy"), &n_want);
    assert_in_range(n_want, 1, MAX_GREEDY);
    for (size_t i = 0; i < n_want; i++) {
        if (is_close_call(want, "greedy_margin", i, d)) n_want = i; /* from here on it may differ */
    }
    collected got = {.max = n_want};
    shoal_gen_opts opts = {.ignore_stop = true, .on_token = collect, .ctx = &got};
    shoal_gen_result result;
    if (n_want > 0) {
        assert_int_equal(shoal_generate(s, ids, n, &opts, &result, NULL), SHOAL_OK);
    }
    size_t same = 0;
    while (same < got.n && same < n_want && got.ids[same] == greedy[same]) {
        same++;
    }
    d->greedy_equal += same;
    d->n_greedy += n_want;
    shoal_free(ids);
    shoal_free(greedy);
}

void parity_report(const char *what, const deviation *d)
{
    print_message(
        "%s: NLL max %.2e mean %.2e, top logits max %.2e, argmax %zu/%zu, greedy %zu/%zu\n", what,
        d->nll_max, d->nll_sum / (double)d->n_nll, d->logit_max, d->argmax_equal, d->n_argmax,
        d->greedy_equal, d->n_greedy);
}

void parity_prompt(const parity_run *r, const json_t *prompt, deviation *d)
{
    shoal_exec ex;
    shoal_session *s = NULL;
    shoal_session_opts opts = {.n_ctx = r->n_ctx, .logit_rows = 16, .adapter = r->adapter};
    assert_int_equal(shoal_exec_open(&ex, r->pool, r->cpu_mask, r->exact, NULL), SHOAL_OK);
    assert_int_equal(shoal_session_open(&s, r->model, &ex, &opts, NULL), SHOAL_OK);
    compare_scores(s, prompt, d);
    compare_greedy(s, prompt, d);
    shoal_session_close(s);
    shoal_exec_close(&ex);
}
