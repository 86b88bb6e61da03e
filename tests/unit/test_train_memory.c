/* Training within a bound on memory: every bound gives the same bits or a refusal that names a
 * bound and a length that work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "lora/model/residency.h"
#include "tests/support/train_fixture.h"

enum { TOKENS = 80, RANK = 4 };

/* Layers of 2.6 MB in f32: large against the 64 KB in which weights come and go. */
static const shoal_tiny_opts LARGE_LAYERS = {
    .n_layer = 6, .n_embd = 256, .n_ff = 512, .plain_types = true};

static shoal_model *model;
static shoal_adapter *adapter;
static fixture_samples samples;

static int open_all(void **state)
{
    (void)state;
    char path[128];
    shoal_error err = {0};
    assert_int_equal(shoal_tiny_model_temp(path, 3, &LARGE_LAYERS, &err), SHOAL_OK);
    shoal_status st = shoal_model_open_pages(&model, path, SHOAL_PAGES_SMALL, &err);
    (void)remove(path); /* the mapping stays */
    assert_int_equal(st, SHOAL_OK);
    adapter = fixture_adapter(model, RANK, SHOAL_TARGETS_ALL, 0, 1);
    fixture_samples_fill(&samples, model->cfg.n_vocab, 33);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    shoal_adapter_close(adapter);
    shoal_model_close(model);
    return 0;
}

/* Loss and gradient within a bound; *plan is what it was made with. */
static double gradient_within(size_t max_ram, unsigned threads, shoal_plan *plan, float *grad)
{
    shoal_error err = {0};
    fixture_exec f;
    shoal_trainer *tr = NULL;
    shoal_loss loss = {.nll = NULL};
    shoal_trainer_options o = {.plan = {.max_tokens = TOKENS, .max_ram = max_ram}};
    fixture_exec_open(&f, threads, false);
    if (shoal_trainer_open(&tr, model, adapter, &f.ex, &o, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    *plan = *shoal_trainer_plan(tr);
    assert_int_equal(shoal_plan_bound_weights(plan, model, &err), SHOAL_OK);
    uint64_t allocated = shoal_mem_count();
    assert_int_equal(
        shoal_trainer_accumulate(tr, samples.items, FIXTURE_SAMPLES, 0.1f, &loss, &err), SHOAL_OK);
    assert_int_equal(shoal_mem_count(), allocated);
    memcpy(grad, shoal_trainer_grad(tr), adapter->n_params * sizeof *grad);
    shoal_trainer_close(tr);
    assert_true(shoal_residency_get_stats(model).peak_bytes <= plan->window_bytes);
    shoal_residency_close(model);
    fixture_exec_close(&f);
    return loss.nll_sum;
}

static shoal_status plan_within(size_t max_tokens, size_t max_ram, shoal_plan *plan,
                                shoal_error *err)
{
    const shoal_plan_options o = {.max_tokens = max_tokens, .max_ram = max_ram};
    return shoal_plan_make(plan, model, adapter, &o, err);
}

/* From all that is wanted down to the least, in steps: each thing is given up in its turn. */
static void test_bounds_do_not_change_bits(void **state)
{
    (void)state;
    size_t n = adapter->n_params;
    float *want = shoal_alloc(n * sizeof *want);
    float *got = shoal_alloc(n * sizeof *got);
    shoal_plan plan;
    shoal_plan before;
    assert_non_null(want);
    assert_non_null(got);
    double loss = gradient_within(0, 1, &plan, want);
    assert_int_equal(plan.window_bytes, 0);
    assert_int_equal(plan.tapes, LARGE_LAYERS.n_layer);

    size_t most = plan.peak_bytes;
    size_t n_windows = 0;
    before = plan;
    for (size_t bound = most; plan_within(TOKENS, bound, &plan, NULL) == SHOAL_OK;
         bound -= most / (before.tapes == 1 ? 400 : 40)) {
        assert_true(loss == gradient_within(bound, 1 + (unsigned)(bound / 1000 % 2), &plan, got));
        assert_memory_equal(got, want, n * sizeof *want);
        assert_true(plan.peak_bytes <= bound);
        n_windows += plan.window_bytes != 0;
        assert_true(plan.tapes == LARGE_LAYERS.n_layer || plan.window_bytes != 0);
        before = plan;
    }
    assert_true(n_windows > 5);
    assert_true(before.peak_bytes < most / 2);
    print_message("%zu bytes down to %zu, %zu bounds with a window\n", most, before.peak_bytes,
                  n_windows);
    shoal_free(want);
    shoal_free(got);
}

static void test_refusal_says_what_works(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_plan plan;
    shoal_plan least;
    assert_int_equal(plan_within(1, (size_t)1 << 30, &plan, &err), SHOAL_OK);
    size_t bound = (size_t)11 << 20;
    assert_int_equal(plan_within(4096, bound, &plan, &err), SHOAL_ERR_NOMEM);
    unsigned long mib = 0;
    unsigned long tokens = 0;
    if (sscanf(err.hint, "allow %luM, or at most %lu tokens", &mib, &tokens) != 2) {
        fail_msg("hint: %s", err.hint);
    }
    assert_int_equal(plan_within(4096, (size_t)mib << 20, &plan, &err), SHOAL_OK);
    assert_int_equal(plan_within((size_t)tokens, bound, &least, &err), SHOAL_OK);
    assert_int_equal(plan_within((size_t)tokens + 1, bound, &least, &err), SHOAL_ERR_NOMEM);
    assert_int_equal(plan_within(4096, ((size_t)mib - 1) << 20, &plan, &err), SHOAL_ERR_NOMEM);
}

/* What the program holds besides is part of the bound. */
static void test_other_bytes_count(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_plan alone;
    shoal_plan both;
    shoal_plan_options o = {.max_tokens = TOKENS, .max_ram = (size_t)16 << 20};
    assert_int_equal(shoal_plan_make(&alone, model, adapter, &o, &err), SHOAL_OK);
    o.other_bytes = 5000000;
    o.max_ram += o.other_bytes;
    assert_int_equal(shoal_plan_make(&both, model, adapter, &o, &err), SHOAL_OK);
    assert_int_equal(both.peak_bytes, alone.peak_bytes + o.other_bytes);
    assert_int_equal(both.tapes, alone.tapes);
    assert_int_equal(both.window_bytes, alone.window_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_do_not_change_bits),
        cmocka_unit_test(test_refusal_says_what_works),
        cmocka_unit_test(test_other_bytes_count),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
