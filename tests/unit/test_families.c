/* test_families.c - tiny models of every family against an independent float64 computation
 * (tests/kat/gen/tiny_forward.py), through the session and through the trainer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kernels/base/mem.h"
#include "lora/train/trainer.h"
#include "tests/support/tiny_session.h"

enum { MAX_TOKENS = 64 };

static const double NLL_BOUND = 1e-4, LOGIT_BOUND = 1e-3;

typedef struct expected {
    const shoal_tiny_variant *variant;
    uint64_t seed;
    int32_t ids[MAX_TOKENS];
    double nll[MAX_TOKENS];
    size_t n;
    const json_t *last_logits;
} expected;

static json_t *load_expected(void)
{
    json_error_t error;
    json_t *root = json_load_file("tests/kat/tiny_forward.json", 0, &error);
    if (root == NULL) fail_msg("%s:%d: %s", error.source, error.line, error.text);
    return root;
}

static expected expected_of(const json_t *item)
{
    expected e = {.variant =
                      shoal_tiny_variant_find(json_string_value(json_object_get(item, "variant")))};
    assert_non_null(e.variant);
    e.seed = (uint64_t)json_integer_value(json_object_get(item, "seed"));
    const json_t *ids = json_object_get(item, "ids");
    const json_t *nll = json_object_get(item, "nll");
    e.n = json_array_size(ids);
    assert_in_range(e.n, 16, MAX_TOKENS);
    assert_int_equal(json_array_size(nll), e.n - 1);
    for (size_t i = 0; i < e.n; i++) {
        e.ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        e.nll[i] = json_number_value(json_array_get(nll, i)); /* 0 past the end */
    }
    e.last_logits = json_object_get(item, "last_logits");
    return e;
}

static void check_session(const expected *e, const tiny_engine *engine)
{
    double nll[MAX_TOKENS], split[MAX_TOKENS];
    for (size_t chunk = 7; chunk <= MAX_TOKENS; chunk += MAX_TOKENS - 7) {
        shoal_session *s = NULL;
        shoal_session_opts opts = {.n_ctx = MAX_TOKENS, .chunk = chunk};
        assert_int_equal(shoal_session_open(&s, engine->m, &engine->ex, &opts, NULL), SHOAL_OK);
        double *out = chunk == 7 ? split : nll;
        assert_int_equal(shoal_session_score(s, e->ids, e->n, out, NULL, NULL), SHOAL_OK);
        for (size_t i = 0; i < json_array_size(e->last_logits); i++) {
            double want = json_number_value(json_array_get(e->last_logits, i));
            assert_true(fabs((double)shoal_session_logits(s, 0)[i] - want) <= LOGIT_BOUND);
        }
        shoal_session_close(s);
    }
    for (size_t i = 0; i + 1 < e->n; i++) {
        if (!(fabs(nll[i] - e->nll[i]) <= NLL_BOUND)) {
            fail_msg("%s, token %zu: %.7f instead of %.7f", e->variant->name, i, nll[i], e->nll[i]);
        }
    }
    assert_memory_equal(nll, split, (e->n - 1) * sizeof *nll); /* windows across chunks */
}

/* All tokens are targets, in two packed copies of which the first is cut short. */
static void check_trainer(const expected *e, const tiny_engine *engine)
{
    uint8_t mask[MAX_TOKENS];
    double sums[2] = {0}, want[2] = {0};
    memset(mask, 1, sizeof mask);
    const shoal_sample samples[2] = {{e->ids, mask, e->n / 2}, {e->ids, mask, e->n}};
    for (size_t i = 0; i + 1 < e->n; i++) {
        want[0] += i + 1 < e->n / 2 ? e->nll[i] : 0;
        want[1] += e->nll[i];
    }
    shoal_lora_spec spec = {2, 4.0f, SHOAL_TARGETS_ALL, 0, {0}};
    shoal_adapter *a = NULL;
    shoal_trainer *tr = NULL;
    assert_int_equal(shoal_adapter_open(&a, engine->m, &spec, 1, NULL), SHOAL_OK); /* B is 0 */
    shoal_trainer_options opts = {.plan = {.max_tokens = 2 * MAX_TOKENS}};
    assert_int_equal(shoal_trainer_open(&tr, engine->m, a, &engine->ex, &opts, NULL), SHOAL_OK);
    shoal_loss loss = {.nll = sums};
    assert_int_equal(shoal_trainer_loss(tr, samples, 2, &loss, NULL), SHOAL_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_true(fabs(sums[i] - want[i]) <= NLL_BOUND * (double)e->n);
    }
    shoal_trainer_close(tr);
    shoal_adapter_close(a);
}

static void every_family_matches_the_reference(void **state)
{
    (void)state;
    json_t *root = load_expected();
    const shoal_tiny_variant *v = NULL;
    for (size_t i = 0; (v = shoal_tiny_variant_at(i)) != NULL; i++) {
        expected e = expected_of(json_array_get(root, i));
        assert_ptr_equal(e.variant, v); /* none is left out */
        tiny_engine engine;
        tiny_engine_open(&engine, e.seed, &v->opts, 2, true);
        check_session(&e, &engine);
        check_trainer(&e, &engine);
        tiny_engine_close(&engine);
    }
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_matches_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
