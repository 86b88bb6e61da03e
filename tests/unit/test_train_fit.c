/* test_train_fit.c - the order in which a run becomes smaller, and its place in a checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "client/train_fit.h"

/* What the run is after `fit`, if nothing else bounds it. */
static shoal_train_size after(const shoal_train_fit *fit, shoal_train_size s)
{
    if (fit->layers != 0) s.layers = fit->layers;
    if (fit->ctx != 0) s.ctx = fit->ctx;
    if (s.longest > s.ctx) s.longest = s.ctx;
    s.rows = fit->rows != 0 ? fit->rows : s.rows < s.ctx ? s.rows : s.ctx;
    return s;
}

static size_t steps_until_end(shoal_train_fit *fit, shoal_train_size start)
{
    size_t n = 0;
    shoal_train_size now = after(fit, start);
    while (shoal_train_fit_less(fit, &now)) {
        shoal_train_size less = after(fit, start);
        assert_true(less.rows <= now.rows && less.layers <= now.layers && less.ctx <= now.ctx);
        assert_true(less.rows < now.rows || less.layers < now.layers || less.ctx < now.ctx);
        assert_true(less.rows >= less.longest);
        now = less;
        assert_true(++n < 64);
    }
    return n;
}

static void test_order(void **state)
{
    (void)state;
    shoal_train_fit fit = {0};
    shoal_train_size s = {.rows = 512, .longest = 200, .layers = 30, .ctx = 512};
    const shoal_train_fit want[] = {{256, 0, 0}, {200, 0, 0}, {200, 15, 0}, {200, 7, 0},
                                    {200, 3, 0}, {200, 2, 0}, {0, 2, 100},  {0, 2, 64}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        shoal_train_size now = after(&fit, s);
        assert_true(shoal_train_fit_less(&fit, &now));
        assert_memory_equal(&fit, &want[i], sizeof fit);
    }
    shoal_train_size now = after(&fit, s);
    assert_false(shoal_train_fit_less(&fit, &now));
}

static void test_what_is_fixed_stays(void **state)
{
    (void)state;
    shoal_train_fit fit = {0};
    shoal_train_size s = {.rows = 512, .longest = 300, .layers = 30, .ctx = 512};
    s.layers_fixed = true;
    (void)steps_until_end(&fit, s);
    assert_int_equal(fit.layers, 0);
    assert_int_equal(fit.ctx, 64);
    fit = (shoal_train_fit){0};
    s.layers_fixed = false;
    s.ctx_fixed = true;
    (void)steps_until_end(&fit, s);
    assert_int_equal(fit.layers, 2);
    assert_int_equal(fit.ctx, 0);
    assert_int_equal(fit.rows, 300);
    fit = (shoal_train_fit){0};
    s.layers_fixed = true;
    s.rows = s.longest;
    assert_int_equal(steps_until_end(&fit, s), 0);
}

static void test_any_size_ends(void **state)
{
    (void)state;
    for (uint64_t i = 1; i < 3000; i++) {
        shoal_train_fit fit = {0};
        shoal_train_size s = {.longest = i % 700 + 2, .layers = i % 97 + 1, .ctx = i % 700 + 2};
        s.rows = s.longest + i % 13 * 50;
        s.rows = s.rows < s.ctx ? s.rows : s.ctx;
        (void)steps_until_end(&fit, s);
    }
}

static void test_checkpoint(void **state)
{
    (void)state;
    shoal_error err = {0};
    size_t used = 0;
    shoal_train_fit got = {0};
    const shoal_train_fit fit = {.rows = 256, .layers = 7, .ctx = 64};
    shoal_buf b = shoal_buf_init(64);
    shoal_train_fit_encode(&fit, &b);
    assert_int_equal(shoal_train_fit_decode(&got, b.data, b.len, &used, &err), SHOAL_OK);
    assert_int_equal(used, b.len);
    assert_memory_equal(&got, &fit, sizeof fit);
    for (size_t n = 0; n < b.len; n++) {
        assert_int_equal(shoal_train_fit_decode(&got, b.data, n, &used, &err), SHOAL_ERR_FORMAT);
    }
    b.data[b.len - 1] = 1; /* more tokens than any run has */
    assert_int_equal(shoal_train_fit_decode(&got, b.data, b.len, &used, &err), SHOAL_ERR_FORMAT);
    assert_memory_equal(&got, &fit, sizeof fit);
    shoal_buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_what_is_fixed_stays),
        cmocka_unit_test(test_any_size_ends),
        cmocka_unit_test(test_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
