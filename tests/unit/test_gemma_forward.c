/* test_gemma_forward.c - Gemma 3 270M against torch in fp32: NLL, logits, greedy text, on prompts
 * of which one is longer than the sliding window. Source of vectors and tolerances:
 * shared/vectors/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/base/cpu.h"
#include "lora/model/model.h"
#include "tests/support/forward_parity.h"
#include "tests/support/vectors.h"

enum { LONGEST = 761 };

static shoal_model *g_model;
static shoal_pool *g_pool;

static int set_up(void **state)
{
    (void)state;
    shoal_error err = {0};
    if (shoal_model_open(&g_model, gemma_path(), &err) != SHOAL_OK ||
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

static deviation run_forward(bool exact, double close_call)
{
    deviation d = {.close_call = close_call};
    size_t longest = 0;
    json_t *prompts = vectors_load("gemma3-270m/forward.json");
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *prompt = json_array_get(prompts, i);
        const parity_run r = {g_model, g_pool, 1024, exact, SHOAL_CPU_ALL, NULL};
        size_t n = json_array_size(json_object_get(prompt, "ids"));
        longest = n > longest ? n : longest;
        parity_prompt(&r, prompt, &d);
    }
    json_decref(prompts);
    assert_int_equal(longest, LONGEST);
    return d;
}

static void exact_mode_matches_torch(void **state)
{
    (void)state;
    deviation d = run_forward(true, 0.01);
    parity_report("exact", &d);
    assert_true(d.nll_max <= 1e-3);
    assert_true(d.logit_max <= 3e-3);
    assert_int_equal(d.argmax_equal, d.n_argmax);
    assert_int_equal(d.greedy_equal, d.n_greedy);
}

static void fast_mode_is_within_tolerance(void **state)
{
    (void)state;
    deviation d = run_forward(false, 0.0);
    parity_report("fast", &d);
    assert_true(d.nll_max <= 1.0);
    assert_true(d.nll_sum / (double)d.n_nll <= 0.12);
    assert_true(d.logit_max <= 1.2);
    assert_true((double)d.argmax_equal >= 0.94 * (double)d.n_argmax);
}

int main(void)
{
    (void)gemma_path(); /* skips before cmocka reports a failed set-up */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_mode_matches_torch),
        cmocka_unit_test(fast_mode_is_within_tolerance),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
