/* The memory plan: exact, monotone in the budget, and a refusal before anything is allocated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "lora/train/workspace.h"
#include "tests/support/train_fixture.h"

static const shoal_tiny_opts SIX_LAYERS = {.n_layer = 6};

static shoal_model *model;
static shoal_adapter *adapter;

static int open_all(void **state)
{
    (void)state;
    model = fixture_model(3, &SIX_LAYERS);
    adapter = fixture_adapter(model, 4, SHOAL_TARGETS_ALL, 0, 1);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    shoal_adapter_close(adapter);
    shoal_model_close(model);
    return 0;
}

static shoal_plan plan_of(const shoal_adapter *a, shoal_plan_options opts)
{
    shoal_error err = {0};
    shoal_plan plan;
    uint64_t allocated = shoal_mem_count();
    if (shoal_plan_make(&plan, model, a, &opts, &err) != SHOAL_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(shoal_mem_count(), allocated);
    return plan;
}

/* The parts add up, and what is laid out fills the arena to the last byte. */
static void check_exact(const shoal_adapter *a, shoal_plan_options opts)
{
    shoal_error err = {0};
    shoal_workspace ws;
    shoal_plan p = plan_of(a, opts);
    assert_int_equal(p.arena_bytes,
                     p.work_bytes + p.input_bytes + p.optim_bytes + (p.tapes - 1) * p.tape_bytes);
    assert_int_equal(p.peak_bytes,
                     p.arena_bytes + p.adapter_bytes + p.weight_bytes + p.other_bytes);
    assert_int_equal(p.weight_bytes, p.base_bytes); /* not opened to be streamed */
    uint64_t allocated = shoal_mem_count();
    assert_int_equal(shoal_workspace_open(&ws, &p, model, a, &err), SHOAL_OK);
    assert_int_equal(shoal_mem_count() - allocated, 1);
    assert_int_equal(ws.arena.size, p.arena_bytes);
    assert_int_equal(ws.arena.used, p.arena_bytes);
    shoal_workspace_close(&ws);
}

static void test_plan_is_exact(void **state)
{
    (void)state;
    static const size_t TOKENS[] = {1, 7, 64, 333};
    shoal_adapter *some = fixture_adapter(model, 3, 1u << SHOAL_PROJ_V, 4, 1);
    for (size_t i = 0; i < sizeof TOKENS / sizeof *TOKENS; i++) {
        for (int r = SHOAL_RECOMPUTE_AUTO; r <= SHOAL_RECOMPUTE_ON; r++) {
            shoal_plan_options opts = {.max_tokens = TOKENS[i], .recompute = (shoal_recompute)r};
            check_exact(adapter, opts);
            check_exact(some, opts);
            opts.exact = true;
            check_exact(adapter, opts);
            check_exact(some, opts);
        }
    }
    shoal_adapter_close(some);
}

static void test_tapes_follow_the_budget(void **state)
{
    (void)state;
    shoal_plan_options opts = {.max_tokens = 64, .recompute = SHOAL_RECOMPUTE_ON};
    shoal_plan least = plan_of(adapter, opts);
    opts.recompute = SHOAL_RECOMPUTE_OFF;
    shoal_plan most = plan_of(adapter, opts);
    assert_int_equal(least.tapes, 1);
    assert_int_equal(most.tapes, 6);
    opts.recompute = SHOAL_RECOMPUTE_AUTO;
    for (size_t k = 1; k <= 6; k++) {
        opts.max_ram = least.peak_bytes + (k - 1) * least.tape_bytes;
        shoal_plan p = plan_of(adapter, opts);
        assert_int_equal(p.tapes, k);
        assert_int_equal(p.peak_bytes, opts.max_ram);
        opts.max_ram += least.tape_bytes - 1; /* one byte short of the next */
        p = plan_of(adapter, opts);
        assert_int_equal(p.tapes, k);
        assert_true(p.peak_bytes <= opts.max_ram);
    }
    assert_int_equal(plan_of(adapter, opts).peak_bytes, most.peak_bytes);
}

/* Adapting only upper layers keeps nothing of the lower ones. */
static void test_fewer_layers_need_less(void **state)
{
    (void)state;
    shoal_adapter *top = fixture_adapter(model, 4, SHOAL_TARGETS_ALL, 4, 1);
    shoal_plan_options opts = {.max_tokens = 64, .recompute = SHOAL_RECOMPUTE_OFF, .exact = true};
    shoal_plan all = plan_of(adapter, opts);
    shoal_plan few = plan_of(top, opts);
    assert_int_equal(few.tapes, 2);
    assert_int_equal(few.tape_bytes, all.tape_bytes);
    assert_int_equal(few.input_bytes * 7, all.input_bytes * 3);
    opts.exact = false;
    shoal_plan few_halves = plan_of(top, opts);
    shoal_plan all_halves = plan_of(adapter, opts);
    assert_true(few_halves.input_bytes < all_halves.input_bytes);
    assert_true(all_halves.input_bytes < all.input_bytes * 6 / 10 + few.input_bytes / 3);
    assert_true(all_halves.tape_bytes < all.tape_bytes * 6 / 10);
    shoal_adapter_close(top);
}

static void test_refuses_what_does_not_fit(void **state)
{
    (void)state;
    shoal_error err = {0};
    shoal_plan plan;
    shoal_plan_options opts = {.max_tokens = 64, .recompute = SHOAL_RECOMPUTE_ON};
    opts.max_ram = plan_of(adapter, opts).peak_bytes - 1;
    uint64_t allocated = shoal_mem_count();
    assert_int_equal(shoal_plan_make(&plan, model, adapter, &opts, &err), SHOAL_ERR_NOMEM);
    assert_true(err.hint[0] != '\0');
    opts.recompute = SHOAL_RECOMPUTE_AUTO;
    assert_int_equal(shoal_plan_make(&plan, model, adapter, &opts, &err), SHOAL_ERR_NOMEM);
    opts.max_ram = 0;
    opts.max_tokens = 0;
    assert_int_equal(shoal_plan_make(&plan, model, adapter, &opts, &err), SHOAL_ERR_ARG);
    opts.max_tokens = SIZE_MAX / 2;
    assert_int_equal(shoal_plan_make(&plan, model, adapter, &opts, &err), SHOAL_ERR_ARG);
    assert_int_equal(shoal_mem_count(), allocated);
}

static void test_prints(void **state)
{
    (void)state;
    shoal_buf text = shoal_buf_init(4096);
    shoal_plan plan = {.tapes = 3, .tape_bytes = 1500000, .weight_bytes = 98362432};
    shoal_plan_print(&plan, &text);
    assert_non_null(strstr(shoal_buf_str(&text), "tapes                             3.0 MB\n"));
    assert_non_null(strstr(shoal_buf_str(&text), "98.3 MB\n"));
    shoal_buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_is_exact),
        cmocka_unit_test(test_tapes_follow_the_budget),
        cmocka_unit_test(test_fewer_layers_need_less),
        cmocka_unit_test(test_refuses_what_does_not_fit),
        cmocka_unit_test(test_prints),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
