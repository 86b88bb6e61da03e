/* test_forward.c - the real model against torch in fp32: NLL, logits, greedy text; adapters.
 * Source of vectors and tolerances: shared/vectors/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "lora/model/model.h"
#include "lora/train/adapter.h"
#include "tests/support/forward_parity.h"
#include "tests/support/vectors.h"

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

static void run_prompt(const json_t *prompt, bool exact, uint32_t mask, const shoal_adapter *a,
                       deviation *d)
{
    const parity_run r = {g_model, g_pool, 512, exact, mask, a};
    parity_prompt(&r, prompt, d);
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
    parity_report("exact", &d);
    check_exact(&d);
}

static void fast_mode_is_within_tolerance(void **state)
{
    (void)state;
    deviation d = run_forward(false, SHOAL_CPU_ALL);
    parity_report("fast", &d);
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
    parity_report("base, exact", &base);
    parity_report("adapter, exact", &tuned);
    parity_report("adapter, fast", &fast);
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
